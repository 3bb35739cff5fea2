//! Local replies: responses of the proxy itself.

use std::borrow::Cow;

use ringway_wire::headers::{self, FieldError};

use crate::edits;

/// Response of the proxy itself. `Date`, `Content-Length`, `Connection` and `X-Request-ID` are added when it
/// is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    status: u16,
    lines: Vec<u8>,
    body: ReplyBody,
}

/// Body of a local reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The proxy's error body for the status: JSON, HTML or a gRPC status, by the client's `Accept`.
    Error {
        /// Code in the body, in logs and in metrics.
        code: &'static str,
        /// Message for people.
        message: Cow<'static, str>,
    },
    /// These bytes; `Content-Type` is to be added like any other field.
    Bytes(Cow<'static, [u8]>),
}

impl LocalReply {
    /// Returns an error with the proxy's own error body. `status` is clamped to 400 to 599.
    pub fn error(status: u16) -> Self {
        Self::refusal(status, "filtered", "a middleware rejected the request")
    }

    /// Returns an error with a code and a message of its own. `status` is clamped to 400 to 599.
    pub fn refusal(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let body = ReplyBody::Error { code, message: message.into() };
        Self { status: status.clamp(400, 599), lines: Vec::new(), body }
    }

    /// Returns a response with these bytes as its body. `status` is clamped to 200 to 599.
    pub fn new(status: u16, body: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { status: status.clamp(200, 599), lines: Vec::new(), body: ReplyBody::Bytes(body.into()) }
    }

    /// Adds a line to the head.
    ///
    /// # Errors
    /// Name or value is invalid (RFC 9110 §5.1, §5.5).
    pub fn with_field(mut self, name: &str, value: &[u8]) -> Result<Self, FieldError> {
        self.push_field(name, value)?;
        Ok(self)
    }

    /// The same in place; nothing is added on an error.
    pub(crate) fn push_field(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        headers::push_field(&mut self.lines, name, value)
    }

    /// Its status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Its body.
    pub fn body(&self) -> &ReplyBody {
        &self.body
    }

    /// Value of a field of its head.
    pub fn field<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        edits::values(&self.lines, name).next()
    }

    /// Lines of its head, each with its CRLF.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn statuses_are_clamped_to_final_responses() {
        assert_eq!(
            [0, 99, 101, 200, 999].map(|status| LocalReply::new(status, &b""[..]).status()),
            [200, 200, 200, 200, 599]
        );
        assert_eq!([200, 403, 700].map(|status| LocalReply::error(status).status()), [400, 403, 599]);
        assert!(matches!(LocalReply::error(403).body(), ReplyBody::Error { code: "filtered", .. }));
    }

    #[test]
    fn a_field_that_would_split_the_head_is_refused() {
        assert!(LocalReply::error(500).with_field("X-A", b"1\r\nX-B: 2").is_err());
    }
}
