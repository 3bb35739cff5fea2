//! Response heads (RFC 9112 §4 to §7).
//!
//! Parsing is as strict as for requests: a response whose end two readers find at different bytes would send
//! a part of one tenant's response to another tenant's client.

use std::time::Duration;

use crate::headers::{FieldKind, list_elements, trim};
use crate::message::{Framing, Method, Version};

use super::fields::{ConnectionOptions, DeclaredBody, Field, FieldLine, Section, impl_head_accessors};
use super::request::Span;
use super::{HeadFault, Limits, Parse, ResponseError};

/// Response head: offsets into the buffer that it was parsed from, which the accessors take as an argument.
///
/// Reusable like [`super::RequestHead`]. After an interim response ([`is_interim`](Self::is_interim)) the
/// next head may already be in the buffer behind it: reset and parse there before reading from the socket.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    section: Section,
    stage: Stage,
    version: Version,
    status: u16,
    /// Status, space and reason, copied to the outgoing status line.
    status_line: Span,
    framing: Framing,
    content_length: Option<u64>,
    is_persistent: bool,
    keep_alive_timeout: Option<Duration>,
    switch: Option<Switch>,
}

/// The protocol that a 101 response switches to (RFC 9110 §15.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `Connection: upgrade` and `Upgrade: websocket`.
    WebSocket,
    /// Any other protocol: the proxy never requests one, so the response is an error.
    Other,
}

impl ResponseHead {
    /// Clears the head for the next message; keeps the allocated memory.
    pub fn reset(&mut self) {
        self.section.reset();
        self.stage = Stage::StatusLine;
        self.content_length = None;
        self.keep_alive_timeout = None;
        self.switch = None;
    }

    /// Parses the received bytes; `buf`, cost and repeated calls as in [`super::RequestHead::parse`].
    /// The framing depends on the method of the request (RFC 9112 §6.3 item 1).
    ///
    /// # Errors
    /// [`ResponseError`]. The connection must be closed.
    pub fn parse(
        &mut self,
        buf: &[u8],
        request_method: Method,
        limits: &Limits,
    ) -> Result<Parse, ResponseError> {
        let window = limits.window(buf);
        if self.stage == Stage::StatusLine {
            let Some(lf) = self.status_line_end(window) else {
                return match limits.partial(buf) {
                    // Not HTTP at all rather than a head that is too large.
                    Err(_) if !window.starts_with(b"HTTP/") => Err(ResponseError::BadStatusLine),
                    result => Ok(result?),
                };
            };
            self.read_status_line(&window[..lf])?;
            self.section.advance(lf + 1);
            self.stage = Stage::Fields;
        }
        if self.stage == Stage::Fields {
            if self.section.read(buf, limits)? == Parse::Partial {
                return Ok(Parse::Partial);
            }
            self.finish(buf, request_method)?;
            self.stage = Stage::Done;
        }
        Ok(Parse::Complete)
    }

    /// Returns the protocol version of the origin.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns the status, 100 to 599.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the reason phrase as received; may be empty and may contain bytes outside ASCII.
    pub fn reason<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        buf[self.status_line.range()].get(4..).unwrap_or_default()
    }

    /// Returns the framing of the body.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns the value of `Content-Length`, also where it frames no body (response to HEAD, 304).
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Returns whether the connection is persistent (RFC 9112 §9.3). False also for a 204 that declares a
    /// body, which a faulty origin may send.
    pub fn keep_alive(&self) -> bool {
        self.is_persistent
    }

    /// Returns the origin's idle timeout of the connection, from `Keep-Alive: timeout=N`.
    pub fn keep_alive_timeout(&self) -> Option<Duration> {
        self.keep_alive_timeout
    }

    /// Returns whether this is a 1xx other than 101, before the final response (RFC 9110 §15.2).
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Returns the protocol that a 101 switches to; `None` for all other statuses.
    pub fn switch(&self) -> Option<Switch> {
        self.switch
    }

    /// Returns the bytes from the status to the end of the reason.
    pub(super) fn status_line<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.status_line.range()]
    }

    /// Returns the offset of the line feed, once it has arrived.
    fn status_line_end(&mut self, window: &[u8]) -> Option<usize> {
        // Bytes that arrive one by one are only searched for it.
        if self.section.searched == 0 {
            let end = crate::headers::value_end(window);
            if window[end..].starts_with(b"\r\n") {
                return Some(end + 1);
            }
        }
        self.section.has_line_end(window).then(|| window.iter().position(|&byte| byte == b'\n')).flatten()
    }

    /// Parses `HTTP-version SP 3DIGIT [SP reason]`; many origins omit the space before an empty reason.
    fn read_status_line(&mut self, line: &[u8]) -> Result<(), ResponseError> {
        let (version, rest) = line.split_first_chunk::<9>().ok_or(ResponseError::BadStatusLine)?;
        self.version = match version {
            b"HTTP/1.1 " => Version::Http11,
            b"HTTP/1.0 " => Version::Http10,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9', b' '] => {
                return Err(ResponseError::UnsupportedVersion);
            }
            _ => return Err(ResponseError::BadStatusLine),
        };
        let Some(rest) = rest.strip_suffix(b"\r") else { return Err(HeadFault::BareLf.into()) };
        if rest.contains(&b'\r') {
            return Err(HeadFault::BareCr.into());
        }
        let (digits, reason) = rest.split_first_chunk::<3>().ok_or(ResponseError::BadStatusLine)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(ResponseError::BadStatus);
        }
        self.status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        if !(100..=599).contains(&self.status) {
            return Err(ResponseError::BadStatus);
        }
        match reason {
            [] => {}
            [b' ', reason @ ..] if crate::headers::value_end(reason) == reason.len() => {}
            _ => return Err(ResponseError::BadStatusLine),
        }
        self.status_line = Span::new(9, 9 + rest.len());
        Ok(())
    }

    /// Determines the framing from the fields, the status and the request's method (RFC 9112 §6.3).
    fn finish(&mut self, buf: &[u8], request_method: Method) -> Result<(), ResponseError> {
        let declared = self.section.declared_body(buf, self.version)?;
        let options = self.section.connection_options(buf)?;
        let says_body = !matches!(declared, DeclaredBody::None | DeclaredBody::Length(0));
        if self.status < 200 && says_body {
            return Err(ResponseError::InterimWithBody);
        }
        self.content_length = match declared {
            DeclaredBody::Length(length) => Some(length),
            DeclaredBody::None | DeclaredBody::Chunked => None,
        };
        self.framing = match declared {
            _ if request_method == Method::Head || self.status < 200 => Framing::Empty,
            _ if self.status == 204 || self.status == 304 => Framing::Empty,
            DeclaredBody::None => Framing::UntilClose,
            DeclaredBody::Length(length) => Framing::Length(length),
            DeclaredBody::Chunked => Framing::Chunked,
        };
        self.is_persistent = options.is_persistent(self.version)
            && self.framing != Framing::UntilClose
            && !(self.status == 204 && says_body);
        self.keep_alive_timeout = self.read_keep_alive_timeout(buf);
        if self.status == 101 {
            self.switch = Some(self.classify_switch(buf, options));
        }
        Ok(())
    }

    fn read_keep_alive_timeout(&self, buf: &[u8]) -> Option<Duration> {
        let seconds =
            self.values(buf, FieldKind::KeepAlive).flat_map(list_elements).find_map(|parameter| {
                let (name, value) = parameter.split_at_checked(parameter.iter().position(|&b| b == b'=')?)?;
                if !trim(name).eq_ignore_ascii_case(b"timeout") {
                    return None;
                }
                std::str::from_utf8(trim(&value[1..])).ok()?.parse::<u32>().ok()
            })?;
        Some(Duration::from_secs(seconds.into()))
    }

    fn classify_switch(&self, buf: &[u8], options: ConnectionOptions) -> Switch {
        let mut protocols = self.values(buf, FieldKind::Upgrade);
        let is_websocket = options.upgrade
            && protocols.next().is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
            && protocols.next().is_none();
        if is_websocket { Switch::WebSocket } else { Switch::Other }
    }
}

impl_head_accessors!(ResponseHead);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    StatusLine,
    Fields,
    Done,
}
