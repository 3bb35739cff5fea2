//! Errors of heads: one variant for each cause, so logs and metrics distinguish kinds of attacks.

use std::fmt;

use crate::normalize::AuthorityError;
use crate::websocket::HandshakeError;

/// Error in the field section, which requests and responses share: field lines and body framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadFault {
    /// The head is longer than `head_bytes_max` (RFC 6585 §5).
    HeadTooLarge,
    /// More field lines than `fields_max` (RFC 6585 §5).
    TooManyFields,
    /// A line ends in LF without CR (RFC 9112 §2.2).
    BareLf,
    /// CR without LF (RFC 9112 §2.2).
    BareCr,
    /// A field is continued on a second line (RFC 9112 §5.2).
    ObsFold,
    /// White space before the first field line (RFC 9112 §2.2).
    LeadingWhitespace,
    /// A line begins with a colon (RFC 9112 §5).
    EmptyFieldName,
    /// White space between a name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A byte in a field name that is not valid in a token (RFC 9110 §5.1).
    BadFieldName,
    /// A line without a colon (RFC 9112 §5).
    MissingColon,
    /// A control byte in a field value (RFC 9110 §5.5).
    BadFieldValue,
    /// `Content-Length` is not 1 to 19 digits: empty, signed, a list, too large (RFC 9110 §8.6).
    BadContentLength,
    /// `Content-Length` twice, even if both say the same (RFC 9112 §6.3 item 5).
    DuplicateContentLength,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 §6.3 item 3).
    LengthAndTransferEncoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message (RFC 9112 §6.1).
    TransferEncodingInHttp10,
    /// `Transfer-Encoding` in more than one field line: readers disagree about which of them counts.
    DuplicateTransferEncoding,
    /// `Transfer-Encoding` that does not end in a single `chunked`, or is not a list of tokens (RFC 9112 §6.3
    /// item 4).
    BadTransferEncoding,
    /// `Transfer-Encoding` with another coding than `chunked` (RFC 9112 §6.1).
    UnsupportedTransferCoding,
    /// `Connection` is not a list of tokens (RFC 9110 §7.6.1).
    BadConnection,
    /// More connection options than the limit; each costs a walk over all fields.
    TooManyConnectionOptions,
}

impl HeadFault {
    fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::UnsupportedTransferCoding => 501,
            Self::BareLf
            | Self::BareCr
            | Self::ObsFold
            | Self::LeadingWhitespace
            | Self::EmptyFieldName
            | Self::SpaceBeforeColon
            | Self::BadFieldName
            | Self::MissingColon
            | Self::BadFieldValue
            | Self::BadContentLength
            | Self::DuplicateContentLength
            | Self::LengthAndTransferEncoding
            | Self::TransferEncodingInHttp10
            | Self::DuplicateTransferEncoding
            | Self::BadTransferEncoding
            | Self::BadConnection
            | Self::TooManyConnectionOptions => 400,
        }
    }

    /// Stable code for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyFields => "too_many_fields",
            Self::BareLf => "bare_lf",
            Self::BareCr => "bare_cr",
            Self::ObsFold => "obs_fold",
            Self::LeadingWhitespace => "leading_whitespace",
            Self::EmptyFieldName => "empty_field_name",
            Self::SpaceBeforeColon => "space_before_colon",
            Self::BadFieldName => "bad_field_name",
            Self::MissingColon => "missing_colon",
            Self::BadFieldValue => "bad_field_value",
            Self::BadContentLength => "bad_content_length",
            Self::DuplicateContentLength => "duplicate_content_length",
            Self::LengthAndTransferEncoding => "length_and_transfer_encoding",
            Self::TransferEncodingInHttp10 => "transfer_encoding_in_http10",
            Self::DuplicateTransferEncoding => "duplicate_transfer_encoding",
            Self::BadTransferEncoding => "bad_transfer_encoding",
            Self::UnsupportedTransferCoding => "unsupported_transfer_coding",
            Self::BadConnection => "bad_connection",
            Self::TooManyConnectionOptions => "too_many_connection_options",
        }
    }
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeadTooLarge => "the head is too large",
            Self::TooManyFields => "the head has too many fields",
            Self::BareLf => "a line ends in a bare LF",
            Self::BareCr => "a CR without LF",
            Self::ObsFold => "a field is continued on a second line",
            Self::LeadingWhitespace => "white space before the first field",
            Self::EmptyFieldName => "a field without a name",
            Self::SpaceBeforeColon => "white space in or behind a field name",
            Self::BadFieldName => "a field name that is not a token",
            Self::MissingColon => "a field line without a colon",
            Self::BadFieldValue => "a control byte in a field value",
            Self::BadContentLength => "an invalid Content-Length",
            Self::DuplicateContentLength => "Content-Length given twice",
            Self::LengthAndTransferEncoding => "both Content-Length and Transfer-Encoding",
            Self::TransferEncodingInHttp10 => "Transfer-Encoding in an HTTP/1.0 message",
            Self::DuplicateTransferEncoding => "Transfer-Encoding given twice",
            Self::BadTransferEncoding => "an invalid Transfer-Encoding",
            Self::UnsupportedTransferCoding => "a transfer coding other than chunked",
            Self::BadConnection => "an invalid Connection field",
            Self::TooManyConnectionOptions => "too many connection options",
        })
    }
}

impl std::error::Error for HeadFault {}

/// Error of a request head. The connection closes after the response: the start of the next request is
/// unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestError {
    /// More than one empty line before the request line (RFC 9112 §2.2 allows to skip "at least one").
    EmptyLines,
    /// White space before the method (RFC 9112 §3).
    LeadingWhitespace,
    /// A TLS handshake on a plain-text port.
    TlsHandshake,
    /// The method is not a token, or longer than [`super::METHOD_BYTES_MAX`] (RFC 9112 §3.1).
    BadMethod,
    /// Not three parts with single spaces between them (RFC 9112 §3).
    BadRequestLine,
    /// The target is longer than `uri_bytes_max` (RFC 9110 §15.5.15).
    UriTooLong,
    /// The target has a byte that is not visible ASCII, or none of the four forms fits the method (RFC 9112
    /// §3.2).
    BadTarget,
    /// The target has a fragment (RFC 9110 §7.1).
    FragmentInTarget,
    /// An absolute-form target with another scheme than http or https (RFC 9110 §4.2).
    UnsupportedScheme,
    /// The version is not `HTTP/` and two digits (RFC 9112 §2.3).
    BadVersion,
    /// Another version than 1.0 and 1.1 (RFC 9110 §15.6.6).
    UnsupportedVersion,
    /// The HTTP/2 connection preface (RFC 9113 §3.4) on an HTTP/1 connection.
    Http2Preface,
    /// HTTP/1.1 without `Host` (RFC 9112 §3.2).
    MissingHost,
    /// More than one `Host`, even if they agree (RFC 9112 §3.2).
    DuplicateHost,
    /// An invalid `Host` field or authority (RFC 9112 §3.2).
    BadHost(AuthorityError),
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    UnsupportedExpectation,
    /// A field line, or the body framing.
    Head(HeadFault),
}

impl RequestError {
    /// Returns the status of the response.
    pub fn status(self) -> u16 {
        match self {
            Self::UriTooLong => 414,
            Self::UnsupportedVersion | Self::Http2Preface => 505,
            Self::UnsupportedExpectation => 417,
            Self::Head(fault) => fault.status(),
            Self::EmptyLines
            | Self::LeadingWhitespace
            | Self::TlsHandshake
            | Self::BadMethod
            | Self::BadRequestLine
            | Self::BadTarget
            | Self::FragmentInTarget
            | Self::UnsupportedScheme
            | Self::BadVersion
            | Self::MissingHost
            | Self::DuplicateHost
            | Self::BadHost(_) => 400,
        }
    }

    /// Stable code for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::EmptyLines => "empty_lines",
            Self::LeadingWhitespace => "leading_whitespace",
            Self::TlsHandshake => "tls_handshake",
            Self::BadMethod => "bad_method",
            Self::BadRequestLine => "bad_request_line",
            Self::UriTooLong => "uri_too_long",
            Self::BadTarget => "bad_target",
            Self::FragmentInTarget => "fragment_in_target",
            Self::UnsupportedScheme => "unsupported_scheme",
            Self::BadVersion => "bad_version",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Http2Preface => "http2_preface",
            Self::MissingHost => "missing_host",
            Self::DuplicateHost => "duplicate_host",
            Self::BadHost(_) => "bad_host",
            Self::UnsupportedExpectation => "unsupported_expectation",
            Self::Head(fault) => fault.code(),
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLines => "more than one empty line before the request",
            Self::LeadingWhitespace => "white space before the request",
            Self::TlsHandshake => "a TLS handshake on a plain-text port",
            Self::BadMethod => "an invalid method",
            Self::BadRequestLine => "a malformed request line",
            Self::UriTooLong => "the request target is too long",
            Self::BadTarget => "an invalid request target",
            Self::FragmentInTarget => "a fragment in the request target",
            Self::UnsupportedScheme => "a scheme other than http and https",
            Self::BadVersion => "an invalid protocol version",
            Self::UnsupportedVersion => "a protocol version other than 1.0 and 1.1",
            Self::Http2Preface => "HTTP/2 on an HTTP/1 connection",
            Self::MissingHost => "no Host field",
            Self::DuplicateHost => "more than one Host field",
            Self::BadHost(error) => return write!(f, "an invalid Host: {error}"),
            Self::UnsupportedExpectation => "an expectation other than 100-continue",
            Self::Head(fault) => return fault.fmt(f),
        })
    }
}

impl std::error::Error for RequestError {}

impl From<HeadFault> for RequestError {
    fn from(fault: HeadFault) -> Self {
        Self::Head(fault)
    }
}

/// Error of a response head: the client gets a 502, and the upstream connection is not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResponseError {
    /// The first line is not a status line (RFC 9112 §4).
    BadStatusLine,
    /// The version is neither HTTP/1.0 nor HTTP/1.1 (RFC 9112 §2.3).
    UnsupportedVersion,
    /// The status is not three digits from 100 to 599 (RFC 9110 §15).
    BadStatus,
    /// A 1xx response declares a body (RFC 9110 §8.6, RFC 9112 §6.1).
    InterimWithBody,
    /// A field line, or the body framing.
    Head(HeadFault),
}

impl ResponseError {
    /// Stable code for logs and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadStatusLine => "bad_status_line",
            Self::UnsupportedVersion => "unsupported_version",
            Self::BadStatus => "bad_status",
            Self::InterimWithBody => "interim_with_body",
            Self::Head(fault) => fault.code(),
        }
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadStatusLine => "a malformed status line",
            Self::UnsupportedVersion => "a protocol version other than 1.0 and 1.1",
            Self::BadStatus => "a status outside of 100 to 599",
            Self::InterimWithBody => "an interim response with a body",
            Self::Head(fault) => return fault.fmt(f),
        })
    }
}

impl std::error::Error for ResponseError {}

impl From<HeadFault> for ResponseError {
    fn from(fault: HeadFault) -> Self {
        Self::Head(fault)
    }
}

impl HandshakeError {
    /// Returns the status of the response: 426 for an unsupported version (RFC 6455 §4.2.2 item 4), else 400.
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Method | Self::Connection | Self::Key | Self::Body => 400,
        }
    }
}
