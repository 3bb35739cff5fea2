//! Errors of HTTP/2 streams to endpoints.

use std::fmt;
use std::io::{self, ErrorKind};

use h2::Reason;

/// End of a failed stream, as far as it decides about retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The endpoint has not processed the request, as it states (RFC 9113 §6.8, §8.7).
    Refused,
    /// The endpoint reset this stream only; it may have processed the request.
    Reset,
    /// The connection ended, or the body of the response was cut.
    Broken,
}

impl StreamEnd {
    /// End of a stream that failed before its response.
    pub(super) fn before_response(error: &h2::Error) -> Self {
        let is_refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
        match error.is_reset() || error.is_go_away() {
            true if error.is_remote() && is_refused => Self::Refused,
            true if error.is_reset() => Self::Reset,
            _ => Self::Broken,
        }
    }

    /// Returns the end of a stream by the error of a read or write.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<StreamError>().map(|error| error.end)
    }
}

/// Error of a stream, the source of an [`io::Error`].
#[derive(Debug)]
pub(crate) struct StreamError {
    pub(crate) end: StreamEnd,
    /// Label in logs: the error code of RST_STREAM or GOAWAY.
    pub(crate) reason: Option<&'static str>,
    pub(crate) text: String,
}

impl StreamError {
    pub(super) fn new(end: StreamEnd, error: &h2::Error) -> Self {
        Self { end, reason: error.reason().map(reason_label), text: format!("HTTP/2: {error}") }
    }

    /// Malformed response: its trailers have a pseudo-field.
    pub(super) fn pseudo_field_in_trailers() -> Self {
        let text = "HTTP/2: pseudo-field in trailers (RFC 9113 §8.1)".to_owned();
        Self { end: StreamEnd::Broken, reason: None, text }
    }

    /// The stream failed after its request was sent.
    pub(super) fn after_request() -> Self {
        Self { end: StreamEnd::Reset, reason: None, text: "HTTP/2: stream ended".to_owned() }
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(ErrorKind::ConnectionReset, error)
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StreamError {}

/// RFC 9113 §7.
fn reason_label(reason: Reason) -> &'static str {
    match reason {
        Reason::NO_ERROR => "h2_no_error",
        Reason::PROTOCOL_ERROR => "h2_protocol_error",
        Reason::INTERNAL_ERROR => "h2_internal_error",
        Reason::FLOW_CONTROL_ERROR => "h2_flow_control_error",
        Reason::STREAM_CLOSED => "h2_stream_closed",
        Reason::FRAME_SIZE_ERROR => "h2_frame_size_error",
        Reason::REFUSED_STREAM => "h2_refused_stream",
        Reason::CANCEL => "h2_cancel",
        Reason::COMPRESSION_ERROR => "h2_compression_error",
        Reason::ENHANCE_YOUR_CALM => "h2_enhance_your_calm",
        Reason::HTTP_1_1_REQUIRED => "h2_http_1_1_required",
        _ => "h2_error",
    }
}
