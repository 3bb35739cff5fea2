//! Causes of failures, for logs and metrics: the rule that was broken and by which field, or the system's
//! error.
//!
//! ```text
//! connect, read ─► Transfer::cause ┐
//! failure, parsed head ────────────┴► Cause ─► UpstreamError of the event, and the warning about the instance
//! ```
//! Nothing here runs for a request that goes well. Texts hold names of fields and never values.

use std::cell::Cell;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use crate::limits;
use ringway_net::tls::TlsError;
use ringway_telemetry::UpstreamError;
use ringway_traffic::policy::Policy;
use ringway_wire::h1::{FaultyField, RequestError, RequestHead, ResponseError, ResponseHead};
use rustls::CertificateError;

use crate::core::ConnBuffers;
use crate::exchange::failure::Failure;
use crate::h2::StreamError;

/// Cause of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cause {
    /// Reason from a fixed vocabulary; absent where the failure's code says it all.
    reason: Option<&'static str>,
    text: Box<str>,
}

/// Cell in which the parts of an attempt leave the cause of its failure.
pub(crate) type Slot = Cell<Option<Box<Cause>>>;

impl Cause {
    fn new(reason: impl Into<Option<&'static str>>, text: impl fmt::Display) -> Self {
        Self { reason: reason.into(), text: printable(&text.to_string()).into() }
    }

    /// No connection to an address.
    pub(crate) fn of_connect(address: SocketAddr, error: &io::Error) -> Box<Self> {
        let reason = match error.kind() {
            ErrorKind::ConnectionRefused => "connect_refused",
            ErrorKind::ConnectionReset => "connect_reset",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "connect_unreachable",
            ErrorKind::AddrNotAvailable => "connect_no_address",
            ErrorKind::PermissionDenied => "connect_denied",
            ErrorKind::TimedOut => {
                return Box::new(Self::new(None, format_args!("{address}: no connection in time")));
            }
            _ => "connect_failed",
        };
        Box::new(Self::new(reason, format_args!("{address}: {error}")))
    }

    /// No TLS on a connection to an address.
    pub(crate) fn of_tls(address: SocketAddr, error: &TlsError) -> Box<Self> {
        let reason = match error {
            TlsError::Tls(error) => tls_reason(error),
            TlsError::NotTls(_) => "tls_not_spoken",
            TlsError::Closed => "tls_closed",
            TlsError::TimedOut => return Box::new(Self::new(None, format_args!("{address}: {error}"))),
            _ => "tls_failed",
        };
        let cause = std::error::Error::source(error);
        Box::new(match cause {
            Some(cause) => Self::new(reason, format_args!("{address}: TLS: {cause}")),
            None => Self::new(reason, format_args!("{address}: TLS: {error}")),
        })
    }

    /// A connection that broke while a response was awaited or read.
    pub(crate) fn of_read(error: &io::Error) -> Option<Box<Self>> {
        if let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref::<StreamError>()) {
            return Some(Box::new(Self::new(fault.reason, &fault.text)));
        }
        // An error that we made has no text of its own.
        error.raw_os_error().map(|_| Box::new(Self::new(None, error)))
    }

    /// HTTP/2 that could not begin on a new connection.
    pub(crate) fn of_http2(address: SocketAddr) -> Box<Self> {
        Box::new(Self::new("h2_failed", format_args!("{address}: HTTP/2 could not begin")))
    }

    /// A response head that breaks a rule, with the field that does, of the bytes that it was parsed from.
    #[cold]
    pub(crate) fn of_head(error: ResponseError, response: &ResponseHead, bytes: &[u8]) -> Box<Self> {
        Box::new(bad_response(error, response, bytes))
    }

    /// Cause of an attempt's failure: the one left in `slot`, or else the failure itself with the head that
    /// was parsed last. `None` where the failure is not the instance's.
    #[cold]
    pub(crate) fn of_attempt(
        failure: Failure,
        slot: &Slot,
        buffers: &ConnBuffers,
        policy: &Policy,
    ) -> Option<Box<Self>> {
        let ConnBuffers { response, upstream_in, .. } = buffers;
        let times = (policy.connect_timeout, head_timeout(policy));
        let own = of_failure(failure, response, upstream_in, times)?;
        Some(slot.take().unwrap_or_else(|| Box::new(own)))
    }

    /// The same of a call of a stage, whose timeout is that of everything. `known` is the cause that the
    /// attempt has left.
    #[cold]
    pub(crate) fn of_call(
        failure: Failure,
        known: Option<Box<Self>>,
        timeout: Duration,
    ) -> Option<Box<Self>> {
        let own = of_failure(failure, &ResponseHead::default(), &[], (timeout, timeout))?;
        Some(known.unwrap_or_else(|| Box::new(own)))
    }

    /// Cause of a request's refusal, where the request broke a rule. To be made before its head is forgotten.
    #[cold]
    pub(crate) fn of_request(failure: Failure, request: &RequestHead, input: &[u8]) -> Option<Box<Self>> {
        let Failure::BadRequest(error) = failure else { return None };
        let field = match error {
            RequestError::Head(fault) => request.faulty_field(input, fault),
            _ => None,
        };
        Some(Box::new(Self::new(error.code(), Rule(error, field))))
    }

    /// The cause as events have it; `code` is the failure's.
    pub(crate) fn upstream_error(&self, code: &'static str) -> UpstreamError<'_> {
        UpstreamError { reason: self.reason.unwrap_or(code), text: &self.text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Longest wait for a response head by a policy.
fn head_timeout(policy: &Policy) -> Duration {
    policy.per_try_timeout.map_or(policy.head_timeout(), |per_try| per_try.min(policy.head_timeout()))
}

/// Cause of a failure that names no more than itself, and the timeouts of connection and response head.
fn of_failure(
    failure: Failure,
    response: &ResponseHead,
    upstream_in: &[u8],
    (connect_timeout, head_timeout): (Duration, Duration),
) -> Option<Cause> {
    let within = |missing, time: Duration| Cause::new(None, format_args!("{missing} within {time:?}"));
    let fixed = |text: &str| Some(Cause::new(None, text));
    match failure {
        Failure::BadResponse(error) => Some(bad_response(error, response, upstream_in)),
        Failure::ResponseBodyMalformed(error) => Some(Cause::new(error.code(), error)),
        Failure::ConnectFailed => fixed("no connection"),
        Failure::ConnectTimedOut => Some(within("no connection", connect_timeout)),
        Failure::UpstreamTlsFailed => fixed("no TLS connection"),
        Failure::UpstreamNoHttp2 => fixed("ALPN did not select h2"),
        Failure::UpstreamTlsUnloadable => {
            fixed("the CA or the client certificate for this app cannot be loaded")
        }
        Failure::PortsExhausted => fixed("no local port is free for another connection to this address"),
        Failure::UpstreamRefused => fixed("request refused, nothing done with it (RFC 9113 §8.7)"),
        Failure::UpstreamClosed => fixed("connection closed before a response"),
        Failure::ResponseTimedOut => Some(within("no whole response head", head_timeout)),
        Failure::ResponseHeadCut => Some(Cause::new(
            None,
            format_args!(
                "connection closed within the response head, after {} bytes of it",
                upstream_in.len()
            ),
        )),
        Failure::UnaskedUpgrade => fixed("status 101 without a request to upgrade to that protocol"),
        Failure::BadAccept => {
            fixed("status 101 without the Sec-WebSocket-Accept that belongs to the key (RFC 6455 §4.1)")
        }
        Failure::UpgradeIgnored => {
            fixed("a success instead of status 101 to a WebSocket over HTTP/2 (RFC 8441 §5)")
        }
        Failure::InterimFlood => Some(Cause::new(
            None,
            format_args!("more than {} interim responses", limits::INTERIM_RESPONSES_MAX),
        )),
        Failure::ResponseCut => fixed("connection closed within the response body"),
        Failure::ResponseStalled => fixed("no byte of the response body in time"),

        Failure::BadRequest(_)
        | Failure::OriginFailed(_)
        | Failure::BadPath(_)
        | Failure::TotalTimedOut
        | Failure::HeadTimedOut
        | Failure::BadUpgrade(_)
        | Failure::BodyTooLarge
        | Failure::ClientClosed
        | Failure::RequestBodyMalformed(_)
        | Failure::RequestBodyTimedOut
        | Failure::ClientStalled
        | Failure::Unresolved
        | Failure::NotRunning
        | Failure::Unavailable(_)
        | Failure::PlainOnTls
        | Failure::Overloaded
        | Failure::Exhausted
        | Failure::TransformFailed(_) => None,
    }
}

fn bad_response(error: ResponseError, response: &ResponseHead, upstream_in: &[u8]) -> Cause {
    let field = match error {
        ResponseError::Head(fault) => response.faulty_field(upstream_in, fault),
        _ => None,
    };
    Cause::new(error.code(), Rule(error, field))
}

/// Rule of a request's body or upgrade that was broken, or reason of a middleware that did not pass a body
/// on.
pub(crate) fn request_error(failure: Failure) -> Option<String> {
    match failure {
        Failure::RequestBodyMalformed(error) => Some(error.to_string()),
        Failure::BadUpgrade(error) => Some(error.to_string()),
        Failure::TransformFailed(error) => Some(error.to_string()),
        _ => None,
    }
}

/// A rule and the field that broke it.
struct Rule<'a, E>(E, Option<FaultyField<'a>>);

impl<E: fmt::Display> fmt::Display for Rule<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rule, field) = self;
        match field {
            Some(FaultyField::Named(name)) => write!(f, "{rule}: \"{}\"", name.escape_ascii()),
            Some(FaultyField::After(name)) => write!(f, "{rule}, after \"{}\"", name.escape_ascii()),
            None => rule.fmt(f),
        }
    }
}

fn tls_reason(error: &rustls::Error) -> &'static str {
    use rustls::Error;
    match error {
        Error::InvalidCertificate(error) => match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "tls_certificate_expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "tls_certificate_not_valid_yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "tls_certificate_wrong_name"
            }
            CertificateError::UnknownIssuer => "tls_unknown_issuer",
            CertificateError::Revoked => "tls_certificate_revoked",
            _ => "tls_bad_certificate",
        },
        Error::AlertReceived(_) => "tls_alert",
        Error::NoApplicationProtocol => "tls_no_common_protocol",
        Error::PeerIncompatible(_) => "tls_incompatible",
        Error::InvalidMessage(_) => "tls_not_spoken",
        _ => "tls_failed",
    }
}

/// Printable ASCII, of a bounded length.
fn printable(text: &str) -> String {
    let shown = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.chars().take(ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_wire::h1::{BodyError, Limits};
    use ringway_wire::message::Method;

    fn of_response(bytes: &[u8]) -> Cause {
        let mut response = ResponseHead::default();
        let error = response.parse(bytes, Method::Get, &Limits::default()).expect_err("it breaks a rule");
        of_failure(Failure::BadResponse(error), &response, bytes, (Duration::MAX, Duration::MAX))
            .expect("a cause")
    }

    #[test]
    fn a_malformed_response_names_rule_and_field() {
        for (bytes, reason, text) in [
            (
                &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
                "duplicate_transfer_encoding",
                "Transfer-Encoding given twice",
            ),
            (
                b"HTTP/1.1 200 OK\r\nfoo bar: x\r\n\r\n",
                "space_before_colon",
                "white space in or behind a field name: \"foo bar\"",
            ),
            (
                b"HTTP/1.1 200 OK\r\nX-Y: 1\r\nsecret\r\n\r\n",
                "missing_colon",
                "a field line without a colon, after \"X-Y\"",
            ),
            (b"nonsense\r\n\r\n", "bad_status_line", "a malformed status line"),
        ] {
            let cause = of_response(bytes);
            assert_eq!(cause.upstream_error("upstream_bad_response"), UpstreamError { reason, text });
        }
    }

    #[test]
    fn a_request_s_error_names_rule_and_field() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Y: a\x01secret\r\n\r\n";
        let mut request = RequestHead::default();
        let error = request.parse(bytes, &Limits::default()).expect_err("it breaks a rule");
        let cause = Cause::of_request(Failure::BadRequest(error), &request, bytes).expect("a cause");
        assert_eq!(cause.text(), "a control byte in a field value: \"X-Y\"");
        let body = Failure::RequestBodyMalformed(BodyError::BadSizeLine);
        assert_eq!(request_error(body).as_deref(), Some("an invalid chunk size line"));
    }

    #[test]
    fn a_failed_connection_has_its_address_and_the_system_s_error() {
        let address: SocketAddr = ([10, 0, 0, 1], 3000).into();
        for (code, reason) in [
            (libc::ECONNREFUSED, "connect_refused"),
            (libc::EHOSTUNREACH, "connect_unreachable"),
            (libc::EACCES, "connect_denied"),
            (libc::EPROTO, "connect_failed"),
        ] {
            let error = io::Error::from_raw_os_error(code);
            let cause = Cause::of_connect(address, &error);
            assert_eq!(cause.upstream_error("x").reason, reason);
            assert_eq!(cause.text(), format!("10.0.0.1:3000: {error}"));
        }
        let cause = Cause::of_connect(address, &ErrorKind::TimedOut.into());
        assert_eq!(cause.upstream_error("upstream_connect_timeout").reason, "upstream_connect_timeout");
    }

    #[test]
    fn tls_failures_have_reasons_of_their_own() {
        let address: SocketAddr = ([10, 0, 0, 1], 3000).into();
        let expired = TlsError::Tls(rustls::Error::InvalidCertificate(CertificateError::Expired));
        let cause = Cause::of_tls(address, &expired);
        assert_eq!(cause.upstream_error("x").reason, "tls_certificate_expired");
        assert!(cause.text().starts_with("10.0.0.1:3000: TLS: invalid peer certificate"), "{}", cause.text());
        assert_eq!(Cause::of_tls(address, &TlsError::Closed).upstream_error("x").reason, "tls_closed");
    }

    #[test]
    fn the_cause_in_the_slot_wins_where_the_instance_failed() {
        let (buffers, policy) = (ConnBuffers::default(), Policy::default());
        let slot = Slot::default();
        let own = Cause::of_attempt(Failure::UpstreamClosed, &slot, &buffers, &policy).expect("a cause");
        assert_eq!(own.text(), "connection closed before a response");
        slot.set(Cause::of_read(&io::Error::from_raw_os_error(libc::ECONNRESET)));
        let read = Cause::of_attempt(Failure::UpstreamClosed, &slot, &buffers, &policy).expect("a cause");
        assert_eq!(read.upstream_error("upstream_closed").reason, "upstream_closed");
        assert!(read.text().contains("reset"), "{}", read.text());
        assert!(Cause::of_read(&ErrorKind::ConnectionReset.into()).is_none());
        assert!(Cause::of_attempt(Failure::ClientClosed, &slot, &buffers, &policy).is_none());
    }

    #[test]
    fn texts_are_printable_and_bounded() {
        let cause = Cause::new(None, "a\u{1b}\u{e9}b".repeat(200));
        assert!(
            cause.text().len() == ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX
                && cause.text().starts_with("a??b")
        );
    }
}
