//! Writing of heads for the next hop: normal form, received field lines copied in runs.
//!
//! ```text
//! start line │ Host │ kept fields in runs │ framing │ upgrade or connection │ the caller's lines │ CRLF
//! ```
//! Fields of the proxy are written behind the copied ones and only here: a `Connection` field of the peer
//! cannot remove them, and fields of the peer with the same meaning are dropped.

use crate::headers::{
    FieldError, FieldKind, FieldKinds, HOP_BY_HOP, IDENTITY, OWN_IDENTITY, WEBSOCKET, is_field_value,
    push_field,
};
use crate::message::{Framing, Method, Version, reason_phrase};

use super::fields::{Field, FieldLine};
use super::{RequestHead, ResponseHead};

/// Trust in the peer's fields about the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The peer's `X-Forwarded-*`, `Forwarded`, `X-Real-IP` and `X-Request-ID` are dropped.
    #[default]
    Untrusted,
    /// They are kept, unless the caller removes a kind to replace it. `X-Tenant-ID` and `X-Original-Host` are
    /// dropped in any case: only this proxy sets them.
    Trusted,
}

/// Handling of request fields with an underscore in their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Underscores {
    /// Dropped: CGI, WSGI and others do not distinguish `X_Real_IP` from `X-Real-IP`.
    #[default]
    Drop,
    /// Kept, except those that resemble a field which is dropped or replaced.
    Keep,
}

/// Framing fields of the outgoing message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutFraming {
    /// Framing as received, in normal form: one `Content-Length`, `Transfer-Encoding: chunked`, or nothing.
    /// A response to HEAD and a 304 keep their `Content-Length`.
    #[default]
    AsReceived,
    /// `Transfer-Encoding: chunked`, for a close-delimited body that is sent in chunks. No field if a
    /// response has no body.
    Chunked,
    /// `Content-Length`.
    Length(u64),
    /// No framing field: the body ends with the connection, for HTTP/1.0 clients.
    None,
}

/// Forwarding of the request's `Expect: 100-continue`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectLine {
    /// Dropped: the proxy has sent the 100 response, or replays a buffered body.
    #[default]
    Drop,
    /// Forwarded if the client waits for a 100 response.
    Keep,
}

/// Forwarding of the request's `TE: trailers` (RFC 9110 §10.1.4), which gRPC servers require.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TeLine {
    /// Dropped.
    #[default]
    Drop,
    /// Written if the client accepts trailers, when the proxy forwards them.
    Keep,
}

/// Upgrade fields of the outgoing request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpgradeLine {
    /// No upgrade; the handshake fields (`Sec-WebSocket-*`) are dropped too.
    #[default]
    None,
    /// `Connection: Upgrade` and `Upgrade: websocket`.
    WebSocket,
}

/// `Connection` field of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConnectionSignal {
    /// No field: HTTP/1.1 connections are persistent by default.
    #[default]
    Implicit,
    /// `Connection: keep-alive`, which HTTP/1.0 clients require.
    KeepAlive,
    /// `Connection: close`.
    Close,
    /// `Connection: Upgrade` and `Upgrade: websocket`, with a 101.
    WebSocket,
}

impl ConnectionSignal {
    /// Returns the signal that keeps the connection of a client of this version open, or closes it.
    pub fn for_client(version: Version, keep_alive: bool) -> Self {
        match (version, keep_alive) {
            (_, false) => Self::Close,
            (Version::Http10, true) => Self::KeepAlive,
            (Version::Http11, true) => Self::Implicit,
        }
    }
}

/// Rewrite of a request head for the upstream. The default is right for a request of an untrusted client.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestRewrite<'a> {
    /// Trust in the peer that sent the request.
    pub trust: Trust,
    /// Handling of names with underscores.
    pub underscores: Underscores,
    /// Replacement of the target in origin-form; must be visible ASCII. `None`: the received one.
    pub target: Option<&'a str>,
    /// Replacement of the authority in `Host`; must be valid. `None`: the normalised host and port of the
    /// head.
    pub host: Option<&'a str>,
    /// Framing fields.
    pub framing: OutFraming,
    /// `Expect`.
    pub expect: ExpectLine,
    /// `TE`.
    pub te: TeLine,
    /// `Upgrade`.
    pub upgrade: UpgradeLine,
    /// Further kinds to remove, for example [`FieldKind::XForwardedFor`] when the caller appends its own.
    pub remove_kinds: FieldKinds,
    /// Further names to remove, case-insensitive, each with a line feed behind it.
    pub remove: &'a str,
    /// Field lines with CRLF to add, written with [`crate::headers::push_field`]; the second part is for
    /// those that are kept elsewhere.
    pub append: [&'a [u8]; 2],
}

/// Rewrite of a response head for the client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResponseRewrite<'a> {
    /// `Connection` field.
    pub connection: ConnectionSignal,
    /// Framing fields. A close-delimited response must become [`OutFraming::Chunked`], or the connection
    /// closes.
    pub framing: OutFraming,
    /// Further kinds to remove.
    pub remove_kinds: FieldKinds,
    /// Further names to remove, case-insensitive, each with a line feed behind it.
    pub remove: &'a str,
    /// Field lines with CRLF to add, written with [`crate::headers::push_field`]; the second part is for
    /// those that are kept elsewhere.
    pub append: [&'a [u8]; 2],
}

/// Appends the head of the upstream request. `buf` is the buffer that `head` was parsed from.
///
/// Cost: one copy of the kept bytes; no allocation while `out` has room.
pub fn write_request(out: &mut Vec<u8>, buf: &[u8], head: &RequestHead, rewrite: &RequestRewrite<'_>) {
    out.reserve(head.len() + rewrite.append[0].len() + rewrite.append[1].len() + OWN_LINES_BYTES);
    out.extend_from_slice(head.method_str(buf).as_bytes());
    out.push(b' ');
    let target = rewrite.target.map_or_else(|| head.path_and_query_bytes(buf), str::as_bytes);
    debug_assert!(target.iter().all(u8::is_ascii_graphic), "a replaced target must be visible ASCII");
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
    match rewrite.host {
        Some(host) => out.extend_from_slice(host.as_bytes()),
        None => {
            out.extend_from_slice(head.authority().host_bytes());
            if let Some(port) = head.port() {
                out.push(b':');
                push_decimal(out, port.into());
            }
        }
    }
    out.extend_from_slice(b"\r\n");

    let mut dropped = REQUEST_DROPPED.with(rewrite.remove_kinds);
    if rewrite.trust == Trust::Untrusted {
        dropped = dropped.with(IDENTITY);
    }
    if rewrite.upgrade == UpgradeLine::None {
        dropped = dropped.with(WEBSOCKET);
    }
    copy_runs(out, buf, head.lines(), |line| {
        let is_kept_name = match (line.has_underscore, rewrite.underscores) {
            (false, _) => true,
            (true, Underscores::Drop) => false,
            (true, Underscores::Keep) => {
                !dropped.has(line.alias) && !names(rewrite.remove).any(|name| resembles(line.name(buf), name))
            }
        };
        is_kept_name && !line.is_nominated && !dropped.has(line.kind) && !is_named(line, buf, rewrite.remove)
    });

    match (rewrite.framing, head.framing()) {
        (OutFraming::AsReceived, Framing::Length(length)) | (OutFraming::Length(length), _) => {
            push_content_length(out, length);
        }
        (OutFraming::AsReceived, Framing::Chunked) | (OutFraming::Chunked, _) => {
            out.extend_from_slice(CHUNKED_LINE)
        }
        (OutFraming::AsReceived, Framing::Empty | Framing::UntilClose) | (OutFraming::None, _) => {}
    }
    if rewrite.expect == ExpectLine::Keep && head.expects_continue() {
        out.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    if rewrite.upgrade == UpgradeLine::WebSocket {
        out.extend_from_slice(UPGRADE_LINES);
    } else if rewrite.te == TeLine::Keep && head.accepts_trailers(buf) {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    rewrite.append.iter().for_each(|lines| out.extend_from_slice(lines));
    out.extend_from_slice(b"\r\n");
}

/// Iterates over the fields that [`write_request`] copies by default: without hop-by-hop fields, those that
/// `Connection` nominates, those of the proxy itself, and names with underscores.
pub fn forwarded_fields<'a>(head: &'a RequestHead, buf: &'a [u8]) -> impl Iterator<Item = Field<'a>> {
    let dropped = REQUEST_DROPPED.with(IDENTITY).with(WEBSOCKET);
    let is_kept =
        move |line: &&FieldLine| !line.has_underscore && !line.is_nominated && !dropped.has(line.kind);
    let field = |line: &'a FieldLine| Field { name: line.name(buf), value: line.value(buf), kind: line.kind };
    head.lines().iter().filter(is_kept).map(field)
}

/// Appends the head of the response to the client. `buf` is the buffer that `head` was parsed from. The
/// status line always has HTTP/1.1 (RFC 9110 §2.5); status and reason are the origin's.
///
/// Cost: one copy of the kept bytes; no allocation while `out` has room.
pub fn write_response(out: &mut Vec<u8>, buf: &[u8], head: &ResponseHead, rewrite: &ResponseRewrite<'_>) {
    out.reserve(head.len() + rewrite.append[0].len() + rewrite.append[1].len() + OWN_LINES_BYTES);
    out.extend_from_slice(b"HTTP/1.1 ");
    let status_line = head.status_line(buf);
    out.extend_from_slice(status_line);
    // RFC 9112 §4: the space is required even without a reason.
    out.extend_from_slice(if status_line.len() == 3 { b" \r\n" } else { b"\r\n" });

    let dropped = HOP_BY_HOP.with(rewrite.remove_kinds);
    copy_runs(out, buf, head.lines(), |line| {
        !line.is_nominated && !dropped.has(line.kind) && !is_named(line, buf, rewrite.remove)
    });

    // RFC 9110 §8.6, RFC 9112 §6.1: a 1xx and a 204 have neither field, regardless of `framing`.
    if head.status() >= 200 && head.status() != 204 {
        match (rewrite.framing, head.framing()) {
            (OutFraming::Length(length), _) | (OutFraming::AsReceived, Framing::Length(length)) => {
                push_content_length(out, length);
            }
            (OutFraming::AsReceived, Framing::Empty) => {
                if let Some(length) = head.content_length() {
                    push_content_length(out, length);
                }
            }
            // A response to HEAD and a 304 have no body to send in chunks.
            (OutFraming::AsReceived, Framing::UntilClose)
            | (OutFraming::Chunked, Framing::Empty)
            | (OutFraming::None, _) => {}
            (OutFraming::Chunked, _) | (OutFraming::AsReceived, Framing::Chunked) => {
                out.extend_from_slice(CHUNKED_LINE);
            }
        }
    }
    push_connection(out, rewrite.connection);
    rewrite.append.iter().for_each(|lines| out.extend_from_slice(lines));
    out.extend_from_slice(b"\r\n");
}

/// Response with a body in memory: an error of the proxy, a document of the admin API.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimpleResponse<'a> {
    /// The status; the reason phrase is [`reason_phrase`]'s.
    pub status: u16,
    /// `Connection` field.
    pub connection: ConnectionSignal,
    /// Field lines with CRLF, written with [`crate::headers::push_field`]. Empty: none.
    pub fields: &'a [u8],
    /// Value of `Content-Type`. Empty: no field.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Whether the request was HEAD: `Content-Length` is sent, the body is not (RFC 9110 §9.3.2).
    pub is_head: bool,
}

/// Appends a complete response with `Content-Length`. A 1xx, 204 or 304 gets neither length nor body.
pub fn write_simple_response(out: &mut Vec<u8>, response: &SimpleResponse<'_>) {
    let reason = reason_phrase(response.status);
    out.reserve(response.fields.len() + response.body.len() + OWN_LINES_BYTES);
    out.extend_from_slice(b"HTTP/1.1 ");
    push_decimal(out, response.status.into());
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let has_body = response.status >= 200 && response.status != 204 && response.status != 304;
    if has_body && !response.content_type.is_empty() {
        debug_assert!(is_field_value(response.content_type.as_bytes()), "a media type is a constant");
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(response.content_type.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(response.fields);
    if has_body {
        push_content_length(out, response.body.len() as u64);
    }
    push_connection(out, response.connection);
    out.extend_from_slice(b"\r\n");
    if has_body && !response.is_head {
        out.extend_from_slice(response.body);
    }
}

/// Appends a GET with `Connection: close`, for health checks.
///
/// # Errors
/// Those of [`write_bodiless_request`].
pub fn write_get(
    out: &mut Vec<u8>,
    host: &str,
    path_and_query: &str,
    user_agent: &str,
) -> Result<(), FieldError> {
    let fields = [("User-Agent", user_agent), ("Accept", "*/*")];
    write_bodiless_request(out, Method::Get, host, path_and_query, fields)
}

/// Appends a request without a body, with `fields` and `Connection: close`, for health checks.
///
/// # Errors
/// [`FieldError::Target`] if `path_and_query` is not in origin-form or the method is an extension,
/// [`FieldError::Value`] if `host` or a value is not a field value, [`FieldError::Name`] if a name is not a
/// token. On an error nothing is written.
pub fn write_bodiless_request<'a>(
    out: &mut Vec<u8>,
    method: Method,
    host: &str,
    path_and_query: &str,
    fields: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), FieldError> {
    let is_target = path_and_query.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    let Some(method) = method.name().filter(|_| path_and_query.starts_with('/') && is_target) else {
        return Err(FieldError::Target);
    };
    if !is_field_value(host.as_bytes()) {
        return Err(FieldError::Value);
    }
    let before = out.len();
    for part in [method, " ", path_and_query, " HTTP/1.1\r\nHost: ", host, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in fields {
        if let Err(error) = push_field(out, name, value.as_bytes()) {
            out.truncate(before);
            return Err(error);
        }
    }
    out.extend_from_slice(b"Connection: close\r\n\r\n");
    Ok(())
}

/// Copies the kept lines; adjacent kept lines are copied at once.
fn copy_runs(out: &mut Vec<u8>, buf: &[u8], lines: &[FieldLine], is_kept: impl Fn(&FieldLine) -> bool) {
    let mut run = 0..0;
    for line in lines.iter().filter(|line| is_kept(line)) {
        let (start, end) = (line.start as usize, line.end as usize);
        if run.end == start {
            run.end = end;
        } else {
            out.extend_from_slice(&buf[run]);
            run = start..end;
        }
    }
    out.extend_from_slice(&buf[run]);
}

fn is_named(line: &FieldLine, buf: &[u8], removed: &str) -> bool {
    !removed.is_empty() && names(removed).any(|name| line.name(buf).eq_ignore_ascii_case(name.as_bytes()))
}

/// The names of [`RequestRewrite::remove`].
fn names(removed: &str) -> impl Iterator<Item = &str> {
    removed.split_terminator('\n')
}

/// Returns whether two names are equal to a reader that maps `_` to `-`.
fn resembles(name: &[u8], other: &str) -> bool {
    let fold = |byte: &u8| if *byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.len() == other.len() && name.iter().map(fold).eq(other.as_bytes().iter().map(fold))
}

fn push_connection(out: &mut Vec<u8>, connection: ConnectionSignal) {
    out.extend_from_slice(match connection {
        ConnectionSignal::Implicit => b"",
        ConnectionSignal::KeepAlive => b"Connection: keep-alive\r\n",
        ConnectionSignal::Close => b"Connection: close\r\n",
        ConnectionSignal::WebSocket => UPGRADE_LINES,
    });
}

fn push_content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    push_decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Fields that are never copied from a request: hop-by-hop fields, generated fields, identity that only this
/// proxy sets, and `Proxy`, which becomes the HTTP_PROXY variable under CGI.
const REQUEST_DROPPED: FieldKinds = HOP_BY_HOP.with(OWN_IDENTITY).with(FieldKinds::of(&[
    FieldKind::Host,
    FieldKind::Expect,
    FieldKind::Proxy,
]));

const CHUNKED_LINE: &[u8] = b"Transfer-Encoding: chunked\r\n";
const UPGRADE_LINES: &[u8] = b"Connection: Upgrade\r\nUpgrade: websocket\r\n";

/// Space for the generated lines: host (259), framing, expectation, upgrade, status.
const OWN_LINES_BYTES: usize = 512;
