//! Request heads (RFC 9112 §3 to §7).
//!
//! ```text
//! Start ──CRLF?──▶ RequestLine ──▶ Fields ──empty line──▶ Done
//! ```
//! Each stage resumes where the bytes ended. Only the request line can be rejected before its end has
//! arrived: an invalid first byte or an overlong target need not wait for the head's deadline.

use std::ops::Range;

use crate::headers::{FieldKind, TOKEN_FOLD, list_elements, trim};
use crate::message::{Framing, Method, Version};
use crate::normalize::Authority;
use crate::path::{self, PathError, Slashes};
use crate::scan;
use crate::websocket::{self, HandshakeError};

use super::fields::{ConnectionOptions, DeclaredBody, Field, FieldLine, Section, impl_head_accessors};
use super::{HeadFault, Limits, Parse, RequestError};

/// 32: longest method; the longest registered one has 17 bytes (UPDATEREDIRECTREF).
pub const METHOD_BYTES_MAX: usize = 32;

/// Request head: offsets into the buffer that it was parsed from, which the accessors take as an argument.
///
/// Reusable: after [`reset`](Self::reset) the next head allocates nothing. Accessors are valid only after
/// [`Parse::Complete`], and only with the same bytes.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    section: Section,
    stage: Stage,
    method: Method,
    method_span: Span,
    form: TargetForm,
    target: Span,
    path: Path,
    /// Path and query, where they do not stand in the buffer: normalised ones, and those of
    /// `http://host?query`.
    rebuilt: String,
    authority: Authority,
    /// The authority's host, as text that needs no check at each use.
    host: String,
    version: Version,
    framing: Framing,
    is_persistent: bool,
    expects_continue: bool,
    upgrade: Option<Upgrade>,
}

/// Form of a request target (RFC 9112 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`: forwarded in origin-form; its authority replaces `Host`.
    Absolute,
    /// `host:port`, only for CONNECT.
    Authority,
    /// `*`, only for OPTIONS.
    Asterisk,
}

/// Requested protocol upgrade. `Upgrade` to protocols other than WebSocket is ignored, which RFC 9110 §7.8
/// allows: its fields are dropped and the request is served normally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// A valid opening handshake (RFC 6455 §4.2.1).
    WebSocket,
    /// Invalid opening handshake, to be rejected with [`HandshakeError::status`].
    InvalidWebSocket(HandshakeError),
}

impl RequestHead {
    /// Clears the head for the next message; keeps the allocated memory.
    pub fn reset(&mut self) {
        self.section.reset();
        self.stage = Stage::Start;
        self.rebuilt.clear();
        self.host.clear();
        self.expects_continue = false;
        self.upgrade = None;
    }

    /// Parses the received bytes. `buf` begins with the first byte of the message and grows between calls;
    /// earlier bytes and the limits stay the same. Bytes behind the head are ignored.
    ///
    /// Cost: one scan of each byte, also if they arrive one by one; no allocation once the field table has
    /// grown.
    ///
    /// # Errors
    /// [`RequestError`], which has the status. The connection must be closed: the end of the request is
    /// unknown.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parse, RequestError> {
        let window = limits.window(buf);
        if self.stage == Stage::Start {
            match window {
                [] | [b'\r'] => return Ok(Parse::Partial),
                [b'\r', b'\n', rest @ ..] => {
                    // One empty line is skipped (RFC 9112 §2.2); old clients send it after a body.
                    match rest {
                        [] | [b'\r'] => return Ok(Parse::Partial),
                        [b'\r' | b'\n', ..] => return Err(RequestError::EmptyLines),
                        _ => self.section.advance(2),
                    }
                }
                _ => {}
            }
            self.stage = Stage::RequestLine;
        }
        if self.stage == Stage::RequestLine {
            if self.read_request_line(window, limits)? == Parse::Partial {
                return Ok(limits.partial(buf)?);
            }
            self.stage = Stage::Fields;
        }
        if self.stage == Stage::Fields {
            if self.section.read(buf, limits)? == Parse::Partial {
                return Ok(Parse::Partial);
            }
            self.finish(buf)?;
            self.stage = Stage::Done;
        }
        Ok(Parse::Complete)
    }

    /// Returns whether a byte of the request has arrived: distinguishes an idle connection from a slow
    /// request.
    pub fn has_begun(&self) -> bool {
        self.stage != Stage::Start
    }

    /// Returns the method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the method as received.
    pub fn method_str<'a>(&self, buf: &'a [u8]) -> &'a str {
        self.method.name().unwrap_or_else(|| ascii(&buf[self.method_span.range()]))
    }

    /// Returns the form of the received target.
    pub fn target_form(&self) -> TargetForm {
        self.form
    }

    /// Returns the target as received.
    pub fn target<'a>(&self, buf: &'a [u8]) -> &'a str {
        ascii(&buf[self.target.range()])
    }

    /// Returns the target in origin-form for the upstream: begins with `/`, or is `*`. For CONNECT the
    /// authority. Normalised after [`normalize_path`](Self::normalize_path).
    pub fn path_and_query<'a>(&'a self, buf: &'a [u8]) -> &'a str {
        ascii(self.path_and_query_bytes(buf))
    }

    /// As [`path_and_query`](Self::path_and_query), without the check that it is ASCII.
    pub(super) fn path_and_query_bytes<'a>(&'a self, buf: &'a [u8]) -> &'a [u8] {
        match self.path {
            Path::Span(span) => &buf[span.range()],
            Path::Root => b"/",
            Path::Asterisk => b"*",
            Path::Rebuilt => self.rebuilt.as_bytes(),
        }
    }

    /// Returns [`path_and_query`](Self::path_and_query) up to the first `?`.
    pub fn path<'a>(&'a self, buf: &'a [u8]) -> &'a str {
        let target = self.path_and_query(buf);
        target.split_once('?').map_or(target, |(path, _)| path)
    }

    /// Returns the part behind the first `?`, if any.
    pub fn query<'a>(&'a self, buf: &'a [u8]) -> Option<&'a str> {
        self.path_and_query(buf).split_once('?').map(|(_, query)| query)
    }

    /// Normalises the path: the accessors return its normal form from then on, with the query as received.
    /// `*` and the authority of CONNECT stay as they are.
    ///
    /// Cost: one scan of a path that needs no change; otherwise a copy, into memory that is kept.
    ///
    /// # Errors
    /// [`PathError`]; the accessors return the path as received.
    pub fn normalize_path(&mut self, buf: &[u8], slashes: Slashes) -> Result<(), PathError> {
        // Without a span, the path is `/`.
        let Path::Span(span) = self.path else { return Ok(()) };
        if self.form == TargetForm::Authority {
            return Ok(());
        }
        let target = &buf[span.range()];
        let path_len = target.iter().position(|&b| b == b'?').unwrap_or(target.len());
        let (path, query) = target.split_at(path_len);
        if path::is_plain(path) {
            return Ok(());
        }
        self.rebuilt.clear();
        path::normalize(&mut self.rebuilt, ascii(path), slashes)?;
        self.rebuilt.push_str(ascii(query));
        self.path = Path::Rebuilt;
        Ok(())
    }

    /// Returns the normalised host for routing, logs and upstream: lower case, no trailing dot, no port, IPv6
    /// in brackets. Empty only for HTTP/1.0 without `Host`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port of the authority, if any.
    pub fn port(&self) -> Option<u16> {
        self.authority.port()
    }

    /// Returns host and port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the protocol version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the framing of the body; never [`Framing::UntilClose`].
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns whether the connection is persistent (RFC 9112 §9.3).
    pub fn keep_alive(&self) -> bool {
        self.is_persistent
    }

    /// Returns whether the client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1). False
    /// without a body and in HTTP/1.0, where the field has no meaning.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    /// Returns the requested protocol upgrade.
    pub fn upgrade(&self) -> Option<Upgrade> {
        self.upgrade
    }

    /// Returns whether `Accept` lists HTML, as browsers do, unlike command-line clients and API libraries.
    pub fn accepts_html(&self, buf: &[u8]) -> bool {
        self.values(buf, FieldKind::Accept).flat_map(list_elements).any(|element| {
            let mut parts = element.split(|&b| b == b';').map(trim);
            let media = parts.next().unwrap_or_default();
            (media.eq_ignore_ascii_case(b"text/html") || media.eq_ignore_ascii_case(b"application/xhtml+xml"))
                && !parts.any(is_zero_weight)
        })
    }

    /// Returns whether `TE` lists `trailers` (RFC 9110 §10.1.4).
    pub fn accepts_trailers(&self, buf: &[u8]) -> bool {
        let mut codings = self.values(buf, FieldKind::Te).flat_map(list_elements);
        codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
    }

    fn read_request_line(&mut self, window: &[u8], limits: &Limits) -> Result<Parse, RequestError> {
        let start = self.section.at;
        let line = &window[start..];
        // Slowly arriving bytes are scanned only while an early error is possible, or after a line end has
        // arrived.
        let may_fail_early = line.len() <= METHOD_BYTES_MAX + 1 || line.len() > limits.uri_bytes_max;
        if self.section.searched > start && !self.section.has_line_end(window) && !may_fail_early {
            return Ok(Parse::Partial);
        }
        self.section.searched = self.section.searched.max(start);

        let Some(method_len) = method_len(line)? else { return Ok(self.wait(window)) };
        let target_start = method_len + 1;
        let target_len = scan::first(&line[target_start..], |word| scan::below(word, b' ' + 1));
        if target_len > limits.uri_bytes_max {
            return Err(RequestError::UriTooLong);
        }
        let target_end = target_start + target_len;
        let rest = &line[target_end..];
        let rest_len = match rest.starts_with(b" HTTP/1.1\r\n") {
            true => Some(10),
            false => rest.iter().position(|&b| b == b'\n'),
        };
        let Some(rest_len) = rest_len else { return Ok(self.wait(window)) };

        let target = &line[target_start..target_end];
        let rest = &rest[..rest_len];
        check_target(target)?;
        self.version = parse_rest(&line[..method_len], target, rest)?;
        self.method_span = Span::new(start, start + method_len);
        self.method = Method::from_bytes(&line[..method_len]);
        self.target = Span::new(start + target_start, start + target_end);
        self.resolve_target(target)?;
        self.section.advance(start + target_end + rest_len + 1);
        Ok(Parse::Complete)
    }

    fn wait(&mut self, window: &[u8]) -> Parse {
        self.section.searched = window.len();
        Parse::Partial
    }

    /// Determines the form, path and authority of the target (RFC 9112 §3.2.1 to §3.2.4).
    fn resolve_target(&mut self, target: &[u8]) -> Result<(), RequestError> {
        self.authority.clear();
        if self.method == Method::Connect {
            self.form = TargetForm::Authority;
            self.path = Path::Span(self.target);
            self.authority.read(target).map_err(RequestError::BadHost)?;
            // RFC 9112 §3.2.3: the port is required.
            return if self.authority.port().is_some() { Ok(()) } else { Err(RequestError::BadTarget) };
        }
        match target {
            [b'/', ..] => {
                self.form = TargetForm::Origin;
                self.path = Path::Span(self.target);
                Ok(())
            }
            b"*" if self.method == Method::Options => {
                self.form = TargetForm::Asterisk;
                self.path = Path::Asterisk;
                Ok(())
            }
            _ => self.resolve_absolute(target),
        }
    }

    fn resolve_absolute(&mut self, target: &[u8]) -> Result<(), RequestError> {
        let scheme_len = target.iter().position(|&b| b == b':').ok_or(RequestError::BadTarget)?;
        let (scheme, rest) = target.split_at(scheme_len);
        let Some(hierarchy) = rest.strip_prefix(b"://") else { return Err(RequestError::BadTarget) };
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return Err(RequestError::UnsupportedScheme);
        }
        let authority_len = hierarchy.iter().position(|&b| b == b'/' || b == b'?').unwrap_or(hierarchy.len());
        let (authority, path) = hierarchy.split_at(authority_len);
        self.form = TargetForm::Absolute;
        self.authority.read(authority).map_err(RequestError::BadHost)?;
        self.path = match path {
            // RFC 9112 §3.2.4: the last proxy turns an empty path of OPTIONS into the asterisk-form.
            [] if self.method == Method::Options => Path::Asterisk,
            [] => Path::Root,
            [b'/', ..] => {
                Path::Span(Span { start: self.target.end - path.len() as u32, end: self.target.end })
            }
            _ => {
                self.rebuilt.push('/');
                self.rebuilt.push_str(ascii(path));
                Path::Rebuilt
            }
        };
        Ok(())
    }

    /// Evaluates the fields once the head is complete.
    fn finish(&mut self, buf: &[u8]) -> Result<(), RequestError> {
        self.resolve_host(buf)?;
        self.host.push_str(self.authority.host());
        self.framing = match self.section.declared_body(buf, self.version)? {
            DeclaredBody::None => Framing::Empty,
            DeclaredBody::Length(length) => Framing::Length(length),
            DeclaredBody::Chunked => Framing::Chunked,
        };
        let options = self.section.connection_options(buf)?;
        self.is_persistent = options.is_persistent(self.version);
        if self.has(FieldKind::Expect) {
            let is_known =
                self.values(buf, FieldKind::Expect).all(|value| value.eq_ignore_ascii_case(b"100-continue"));
            if !is_known {
                return Err(RequestError::UnsupportedExpectation);
            }
            self.expects_continue = self.version == Version::Http11 && self.framing.has_body();
        }
        self.upgrade = self.classify_upgrade(buf, options);
        Ok(())
    }

    fn resolve_host(&mut self, buf: &[u8]) -> Result<(), RequestError> {
        if self.section.repeated.has(FieldKind::Host) {
            return Err(RequestError::DuplicateHost);
        }
        let Some(value) = self.section.values(buf, FieldKind::Host).next() else {
            return if self.version == Version::Http10 { Ok(()) } else { Err(RequestError::MissingHost) };
        };
        // RFC 9112 §3.2.2: the authority of an absolute-form target has precedence; the field must still be
        // valid.
        match self.form {
            TargetForm::Origin | TargetForm::Asterisk => self.authority.read(value),
            TargetForm::Absolute | TargetForm::Authority => Authority::parse(value).map(drop),
        }
        .map_err(RequestError::BadHost)
    }

    /// Classifies `Upgrade` (RFC 6455 §4.2.1). In HTTP/1.0 it is ignored (RFC 9110 §7.8).
    fn classify_upgrade(&self, buf: &[u8], options: ConnectionOptions) -> Option<Upgrade> {
        let is_requested = self.version == Version::Http11
            && self
                .values(buf, FieldKind::Upgrade)
                .flat_map(list_elements)
                .any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        if !is_requested {
            return None;
        }
        Some(match self.check_handshake(buf, options) {
            Ok(()) => Upgrade::WebSocket,
            Err(error) => Upgrade::InvalidWebSocket(error),
        })
    }

    fn check_handshake(&self, buf: &[u8], options: ConnectionOptions) -> Result<(), HandshakeError> {
        if self.method != Method::Get {
            return Err(HandshakeError::Method);
        }
        if !options.upgrade {
            return Err(HandshakeError::Connection);
        }
        if self.framing.has_body() {
            return Err(HandshakeError::Body);
        }
        // The version comes before the key: a client of another version may have other fields.
        if !is_only(self.values(buf, FieldKind::SecWebSocketVersion), |value| value == b"13") {
            return Err(HandshakeError::Version);
        }
        if !is_only(self.values(buf, FieldKind::SecWebSocketKey), websocket::is_valid_key) {
            return Err(HandshakeError::Key);
        }
        Ok(())
    }
}

impl_head_accessors!(RequestHead);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Start,
    RequestLine,
    Fields,
    Done,
}

/// Location of the path and query of the origin-form.
#[derive(Clone, Copy, Debug, Default)]
enum Path {
    #[default]
    Root,
    Span(Span),
    Asterisk,
    Rebuilt,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Returns the length of the method, or `None` while it is incomplete.
fn method_len(line: &[u8]) -> Result<Option<usize>, RequestError> {
    let len = line.iter().take(METHOD_BYTES_MAX + 1).take_while(|&&b| TOKEN_FOLD[b as usize] != 0).count();
    match line.get(len) {
        _ if len > METHOD_BYTES_MAX => Err(RequestError::BadMethod),
        None => Ok(None),
        Some(b' ') if len > 0 => Ok(Some(len)),
        Some(b' ' | b'\t') if len == 0 => Err(RequestError::LeadingWhitespace),
        // The record type of a ClientHello (RFC 8446 §5.1).
        Some(0x16) if len == 0 => Err(RequestError::TlsHandshake),
        Some(b'\t' | b'\r' | b'\n') => Err(RequestError::BadRequestLine),
        Some(_) => Err(RequestError::BadMethod),
    }
}

/// Checks a target: visible ASCII without `#` (RFC 9112 §3.2). Stricter upstream parsers may reject more.
fn check_target(target: &[u8]) -> Result<(), RequestError> {
    if target.is_empty() {
        return Err(RequestError::BadRequestLine);
    }
    let end =
        scan::first(target, |word| (scan::between(word, b'!', b'~') ^ scan::HIGHS) | scan::equal(word, b'#'));
    match target.get(end) {
        None => Ok(()),
        Some(b'#') => Err(RequestError::FragmentInTarget),
        Some(_) => Err(RequestError::BadTarget),
    }
}

/// Parses the rest of the request line without the LF: a space, the version, CR.
fn parse_rest(method: &[u8], target: &[u8], rest: &[u8]) -> Result<Version, RequestError> {
    match rest {
        b" HTTP/1.1\r" => return Ok(Version::Http11),
        b" HTTP/1.0\r" => return Ok(Version::Http10),
        _ => {}
    }
    let Some(rest) = rest.strip_suffix(b"\r") else { return Err(HeadFault::BareLf.into()) };
    if rest.contains(&b'\r') {
        return Err(HeadFault::BareCr.into());
    }
    // A control byte ended the target.
    if matches!(rest, [byte, ..] if *byte != b' ' && *byte != b'\t') {
        return Err(RequestError::BadTarget);
    }
    let Some(version) = rest.strip_prefix(b" ") else { return Err(RequestError::BadRequestLine) };
    if version.is_empty() || version.iter().any(|&b| b == b' ' || b == b'\t') {
        return Err(RequestError::BadRequestLine);
    }
    if (method, target, version) == (b"PRI", b"*", b"HTTP/2.0") {
        return Err(RequestError::Http2Preface);
    }
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(RequestError::UnsupportedVersion)
        }
        _ => Err(RequestError::BadVersion),
    }
}

/// Returns whether there is exactly one value and it passes the check.
fn is_only<'a>(mut values: impl Iterator<Item = &'a [u8]>, check: impl Fn(&[u8]) -> bool) -> bool {
    values.next().is_some_and(check) && values.next().is_none()
}

/// Returns whether the parameter is `q=0` in any spelling (RFC 9110 §12.4.2).
fn is_zero_weight(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', b'0'] => true,
        [b'q' | b'Q', b'=', b'0', b'.', digits @ ..] => digits.iter().all(|&b| b == b'0'),
        _ => false,
    }
}

/// Converts bytes that were checked to be ASCII; empty if the caller passed another buffer than the parsed
/// one.
pub(super) fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}
