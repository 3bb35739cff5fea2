//! Failures of an exchange, and the consequences of each: one table.
//!
//! | method                      | consequence                                          |
//! |-----------------------------|------------------------------------------------------|
//! | [`Failure::code`]           | code in error body, access log and metrics           |
//! | [`Failure::reply`]          | response to the client, if it still can be sent one  |
//! | [`Failure::disposition`]    | the client's connection                              |
//! | [`Failure::blame`]          | the endpoint's circuit breaker                       |
//!
//! Responses that configuration asks for (redirects, unknown hosts, refusals of a middleware) are no
//! failures: see [`LocalReply`](crate::exchange::local_reply).
//!
//! Anyone on the internet is a client, and all clients of an app share its instances' breakers. Nothing
//! counts against an instance that a client can cause by the way it sends its request:
//!
//! | result                                                    | [`Blame`]   | counts                                      |
//! |-----------------------------------------------------------|-------------|---------------------------------------------|
//! | not reached: refused, timed out, TLS failed               | `Endpoint`  | always                                      |
//! | closed without a response, or within head or body         | `Closed`    | unless the client had kept it waiting       |
//! | head or body that breaks RFC 9110, 9112 or 9113           | `Endpoint`  | always                                      |
//! | late response, stalled body                               | `Late`      | by the app's `failures.timeouts`            |
//! | head, fields, interim responses, chunk extensions, trailers, transfer coding beyond our limits | `Nothing` | never |
//! | stream of HTTP/2 refused, not opened, reset by the endpoint, or ended by our own limits | `Nothing` | never         |
//! | request for a WebSocket: closed, not opened, opened wrongly | `Nothing` | never                                     |
//! | connection of HTTP/2 lost                                 | `Closed`    | once, however many requests were on it      |
//! | client gone, slow, or malformed; ringway short of something | `Nothing` | never                                       |
//! | status of the app                                         | no failure  | by the app's `failures.statuses`            |

use std::borrow::Cow;
use std::time::Duration;

use ringway_middleware as middleware;
use ringway_model::OnAllUnhealthy;
use ringway_traffic::balance::Unavailable;
use ringway_wire::h1::{BodyError, HeadFault, RequestError, ResponseError};
use ringway_wire::path::PathError;
use ringway_wire::websocket::HandshakeError;

use crate::exchange::disposition::Disposition;
use crate::exchange::grpc;
use crate::exchange::local_reply::LocalReply;

/// Reason why an exchange did not end with a complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    // The client's fault, before anything was sent upstream.
    /// The head breaks a rule of RFC 9110 or 9112, or a limit.
    BadRequest(RequestError),
    /// The head did not arrive in time.
    HeadTimedOut,
    /// The path of a request to a host with rules by path is ambiguous.
    BadPath(PathError),
    /// An attempt to upgrade to WebSocket that breaks RFC 6455 §4.2.1.
    BadUpgrade(HandshakeError),
    /// The body is longer than the limit.
    BodyTooLarge,
    /// A request without TLS on a TLS listener.
    PlainOnTls,

    // The client's fault, on the way.
    /// The connection ended before the request did.
    ClientClosed,
    /// The body's framing is broken.
    RequestBodyMalformed(BodyError),
    /// The body stopped moving, or moves too slowly.
    RequestBodyTimedOut,
    /// The client does not read its response.
    ClientStalled,

    /// No app is registered for the host, and the resolver did not reply in time.
    Unresolved,
    /// The resolver knows the host's app, and none of its targets is healthy.
    NotRunning,
    /// No endpoint can take the request.
    Unavailable(Unavailable),
    /// The core has no room for another connection.
    Overloaded,
    /// No connection can be opened: file descriptors or memory are short.
    Exhausted,
    /// Upstream CA or client certificate cannot be loaded.
    UpstreamTlsUnloadable,
    /// All local ports for connections to the endpoint are in use.
    PortsExhausted,
    /// The endpoint did not process the request and says so: its stream limit is reached, or it is shutting
    /// down.
    UpstreamRefused,

    /// Another request got this status of the app, and a stored response in its place; there is none for this
    /// one.
    OriginFailed(u16),

    /// The exchange took longer than its rule allows, bodies included.
    TotalTimedOut,

    /// A middleware did not pass a body on.
    TransformFailed(middleware::BodyError),

    // The endpoint's fault.
    /// No connection: refused, unreachable, reset.
    ConnectFailed,
    /// No connection in time.
    ConnectTimedOut,
    /// TLS handshake failed: no TLS, or an untrusted or wrong certificate.
    UpstreamTlsFailed,
    /// The endpoint does not speak HTTP/2 over TLS, which its pool asks for.
    UpstreamNoHttp2,
    /// The connection ended before the first byte of a response.
    UpstreamClosed,
    /// The response head did not arrive in time.
    ResponseTimedOut,
    /// The response head breaks a rule of RFC 9110 or 9112, or a limit.
    BadResponse(ResponseError),
    /// The connection ended within the response head.
    ResponseHeadCut,
    /// A 101 without a request to upgrade, or to another protocol.
    UnaskedUpgrade,
    /// A 101 to WebSocket with a wrong `Sec-WebSocket-Accept` (RFC 6455 §4.1).
    BadAccept,
    /// A 2xx instead of the 101, which to a client of HTTP/2 would be an open tunnel.
    UpgradeIgnored,
    /// More interim responses than the limit.
    InterimFlood,

    // The endpoint's fault, after the response head was sent: only a reset can show it to the client.
    /// The connection ended before the body did.
    ResponseCut,
    /// The body stopped moving.
    ResponseStalled,
    /// The body's framing is broken.
    ResponseBodyMalformed(BodyError),
}

/// Rule by which a failure counts against the endpoint's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Never: it says nothing about the endpoint.
    Nothing,
    /// Always.
    Endpoint,
    /// The endpoint ended a connection: counts unless its client had kept it waiting, for which servers do
    /// that.
    Closed,
    /// The endpoint took too long: counts by the app's policy, and not when its client had kept it waiting.
    Late,
}

/// Row of the table.
struct Row {
    /// `None` where the response has begun or its client is gone.
    status: Option<Status>,
    code: &'static str,
    /// Empty where [`Failure::message`] builds it.
    message: &'static str,
    disposition: Disposition,
    blame: Blame,
    retry_after: Option<Duration>,
}

/// Status of a local reply.
#[derive(Clone, Copy)]
enum Status {
    Fixed(u16),
    /// The operator's status for apps without an available instance.
    Unavailable,
}

impl Failure {
    /// Code in the error body, the access log and the metrics.
    pub(crate) fn code(self) -> &'static str {
        self.row().code
    }

    /// Handling of the client connection.
    pub(crate) fn disposition(self) -> Disposition {
        self.row().disposition
    }

    /// Whether the endpoint's circuit breaker counts it.
    pub(crate) fn blame(self) -> Blame {
        self.row().blame
    }

    /// Response to the client; `None` where the response has begun or the client is gone. `unavailable` is
    /// the operator's status for apps without an available instance.
    pub(crate) fn reply(self, unavailable: u16) -> Option<LocalReply<'static>> {
        let row = self.row();
        let status = match row.status? {
            Status::Fixed(status) => status,
            Status::Unavailable => unavailable,
        };
        let mut reply = LocalReply::error(status, row.code, self.message()).with_disposition(row.disposition);
        if let Some(grpc) = self.grpc_status() {
            reply = reply.with_grpc_status(grpc);
        }
        if let Some(after) = row.retry_after {
            reply = reply.with_field("Retry-After", seconds(after).to_string().as_bytes());
        }
        if let Self::Unavailable(Unavailable::BreakersOpen { .. }) = self {
            reply = reply.with_field("X-Proxy-Circuit-Open", b"true");
        }
        Some(reply)
    }

    /// Text for people.
    fn message(self) -> Cow<'static, str> {
        match self {
            Self::BadRequest(error) => error.to_string().into(),
            Self::BadUpgrade(error) => error.to_string().into(),
            Self::BadPath(error) => error.to_string().into(),
            _ => self.row().message.into(),
        }
    }

    /// Status of gRPC where it does not follow from the HTTP status: our own timeouts. The call may have been
    /// executed, and must not look as if it could be repeated.
    fn grpc_status(self) -> Option<grpc::Status> {
        let is_timeout = matches!(
            self,
            Self::ResponseTimedOut | Self::RequestBodyTimedOut | Self::HeadTimedOut | Self::TotalTimedOut
        );
        is_timeout.then_some(grpc::Status::DeadlineExceeded)
    }

    /// Whether the endpoint could not be reached, or broke off before a whole response head.
    pub(crate) fn is_disconnect(self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::ConnectFailed
                | Self::ConnectTimedOut
                | Self::UpstreamTlsFailed
                | Self::UpstreamNoHttp2
                | Self::UpstreamRefused
                | Self::UpstreamClosed
                | Self::ResponseHeadCut
        )
    }

    /// Whether the client failed, before or while an endpoint processed its request.
    pub(crate) fn is_clients(self) -> bool {
        matches!(
            self,
            Self::ClientClosed
                | Self::ClientStalled
                | Self::RequestBodyMalformed(_)
                | Self::RequestBodyTimedOut
                | Self::BodyTooLarge
        )
    }

    /// Whether the client sends nothing more, or too slowly to wait for.
    pub(crate) fn is_of_silent_client(self) -> bool {
        matches!(self, Self::ClientClosed | Self::HeadTimedOut | Self::RequestBodyTimedOut)
    }

    /// The table. It has no catch-all arm: a new failure does not compile until its consequences are decided.
    fn row(self) -> Row {
        use Disposition::{Close, Keep, Reset};
        match self {
            Self::BadRequest(error) => row(error.status(), error.code(), "", Close),
            Self::HeadTimedOut => {
                row(408, "request_timeout", "the request head did not arrive in time", Close)
            }
            Self::BadPath(_) => row(400, "bad_path", "", Keep),
            Self::BadUpgrade(error) => row(error.status(), error.code(), "", Close),
            Self::BodyTooLarge => {
                row(413, "body_too_large", "the request body is larger than allowed", Close)
            }
            Self::PlainOnTls => {
                row(400, "plain_http", "this port speaks TLS: ask again with https://", Close)
            }

            Self::ClientClosed => silent("client_closed", Close),
            Self::RequestBodyMalformed(_) => {
                row(400, "bad_body", "the framing of the request body is broken", Close)
            }
            Self::RequestBodyTimedOut => row(408, "body_timeout", "the request body stopped arriving", Close),
            Self::ClientStalled => silent("client_stalled", Reset),

            Self::NotRunning => {
                row(503, "not_running", "the app of this domain is not running at the moment", Keep)
                    .retry_after(1)
            }
            Self::Unresolved => {
                row(503, "unresolved", "the resolver of this domain is not available", Keep).retry_after(1)
            }
            Self::Unavailable(why) => unavailable(why),
            Self::Overloaded => row(503, "overloaded", "too many connections", Close).retry_after(1),
            Self::Exhausted => row(503, "exhausted", "too many connections", Keep).retry_after(1),
            Self::UpstreamTlsUnloadable => {
                row(502, "upstream_tls_unloadable", "the app's instances cannot be reached securely", Keep)
            }
            Self::PortsExhausted => row(
                503,
                "ports_exhausted",
                "too many connections to the app's instance are open or were closed lately",
                Keep,
            )
            .retry_after(1),
            Self::UpstreamRefused => upstream(
                502,
                "upstream_refused",
                "the app's instance takes no more requests at the moment",
                Blame::Nothing,
            ),

            Self::OriginFailed(_) => {
                upstream(502, "origin_failed", "the app fails at the moment", Blame::Nothing)
            }

            Self::TotalTimedOut => {
                row(504, "total_timeout", "the request took longer than this path allows", Close)
            }
            Self::TransformFailed(_) => {
                row(500, "middleware_failed", "a middleware did not pass the body on", Close)
            }

            Self::ConnectFailed => upstream(
                502,
                "upstream_connect_failed",
                "the app's instance could not be reached",
                Blame::Endpoint,
            ),
            Self::ConnectTimedOut => upstream(
                504,
                "upstream_connect_timeout",
                "the app's instance could not be reached in time",
                Blame::Endpoint,
            ),
            Self::UpstreamTlsFailed => upstream(
                502,
                "upstream_tls_failed",
                "the app's instance could not be reached securely",
                Blame::Endpoint,
            ),
            Self::UpstreamNoHttp2 => upstream(
                502,
                "upstream_no_http2",
                "the app's instance does not speak HTTP/2 over TLS (protocol: h2)",
                Blame::Endpoint,
            ),
            Self::UpstreamClosed => upstream(
                502,
                "upstream_closed",
                "the app's instance closed the connection without a response",
                Blame::Closed,
            ),
            Self::ResponseTimedOut => upstream(
                504,
                "upstream_timeout",
                "the app's instance did not begin its response in time",
                Blame::Late,
            ),
            Self::BadResponse(error) => upstream(
                502,
                "upstream_bad_response",
                "the app's instance sent a malformed response",
                blame_of_head(error),
            ),
            Self::ResponseHeadCut => upstream(
                502,
                "upstream_head_cut",
                "the app's instance closed the connection within the response head",
                Blame::Closed,
            ),
            Self::UnaskedUpgrade => upstream(
                502,
                "upstream_unasked_upgrade",
                "the app's instance switched protocols without being asked",
                Blame::Endpoint,
            ),
            Self::InterimFlood => upstream(
                502,
                "upstream_interim_flood",
                "the app's instance sent too many interim responses",
                Blame::Nothing,
            ),
            // Neither counts: any client can request a WebSocket from any page.
            Self::BadAccept => upstream(
                502,
                "upstream_bad_accept",
                "the app's instance opened a WebSocket without the right Sec-WebSocket-Accept",
                Blame::Nothing,
            ),
            Self::UpgradeIgnored => {
                row(502, "upstream_no_upgrade", "the app's instance opened no WebSocket", Keep)
            }

            Self::ResponseCut => Row { blame: Blame::Closed, ..silent("response_cut", Reset) },
            Self::ResponseStalled => Row { blame: Blame::Late, ..silent("response_stalled", Reset) },
            Self::ResponseBodyMalformed(error) => {
                Row { blame: blame_of_body(error), ..silent("response_bad_body", Reset) }
            }
        }
    }
}

impl Row {
    fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(Duration::from_secs(seconds)), ..self }
    }
}

fn row(status: u16, code: &'static str, message: &'static str, disposition: Disposition) -> Row {
    Row {
        status: Some(Status::Fixed(status)),
        code,
        message,
        disposition,
        blame: Blame::Nothing,
        retry_after: None,
    }
}

fn silent(code: &'static str, disposition: Disposition) -> Row {
    Row { status: None, ..row(0, code, "", disposition) }
}

/// A failure of the endpoint before the response head was sent: the client keeps its connection.
fn upstream(status: u16, code: &'static str, message: &'static str, blame: Blame) -> Row {
    Row { blame, ..row(status, code, message, Disposition::Keep).retry_after(1) }
}

fn blame_of_head(error: ResponseError) -> Blame {
    match error {
        ResponseError::Head(fault) => blame_of_fault(fault),
        ResponseError::BadStatusLine
        | ResponseError::UnsupportedVersion
        | ResponseError::BadStatus
        | ResponseError::InterimWithBody => Blame::Endpoint,
    }
}

fn blame_of_body(error: BodyError) -> Blame {
    match error {
        BodyError::SizeLineTooLong | BodyError::ExtensionsTooLarge | BodyError::TrailersTooLarge => {
            Blame::Nothing
        }
        BodyError::BadTrailer(fault) => blame_of_fault(fault),
        BodyError::BadSizeLine | BodyError::SizeTooLarge | BodyError::BadChunkEnd => Blame::Endpoint,
    }
}

/// Our limits are not rules of HTTP: a response beyond them is a sound one, and a client may know how to get
/// it.
fn blame_of_fault(fault: HeadFault) -> Blame {
    match fault {
        HeadFault::HeadTooLarge
        | HeadFault::TooManyFields
        | HeadFault::TooManyConnectionOptions
        | HeadFault::UnsupportedTransferCoding => Blame::Nothing,
        HeadFault::BareLf
        | HeadFault::BareCr
        | HeadFault::ObsFold
        | HeadFault::LeadingWhitespace
        | HeadFault::EmptyFieldName
        | HeadFault::SpaceBeforeColon
        | HeadFault::BadFieldName
        | HeadFault::MissingColon
        | HeadFault::BadFieldValue
        | HeadFault::BadContentLength
        | HeadFault::DuplicateContentLength
        | HeadFault::LengthAndTransferEncoding
        | HeadFault::TransferEncodingInHttp10
        | HeadFault::DuplicateTransferEncoding
        | HeadFault::BadTransferEncoding
        | HeadFault::BadConnection => Blame::Endpoint,
    }
}

fn unavailable(why: Unavailable) -> Row {
    let unavailable = |code, message, seconds| Row {
        status: Some(Status::Unavailable),
        ..row(0, code, message, Disposition::Keep).retry_after(seconds)
    };
    match why {
        Unavailable::NoEndpoints => unavailable("no_instances", "no instance of the app is registered", 5),
        // Public text: the instance and the result of its check stand in log and status only.
        Unavailable::AllUnhealthy(OnAllUnhealthy::Reject) => unavailable(
            "all_unhealthy",
            "all instances of the app fail their health checks (on_all_unhealthy: reject)",
            5,
        ),
        Unavailable::AllUnhealthy(OnAllUnhealthy::PanicOpen) => unavailable(
            "all_unhealthy",
            "all instances of the app fail their health checks (on_all_unhealthy: panic_open)",
            5,
        ),
        Unavailable::AllUnhealthy(OnAllUnhealthy::Trickle) => unavailable(
            "all_unhealthy",
            "all instances of the app fail their health checks, and one request a second is let through \
             (on_all_unhealthy: trickle)",
            1,
        ),
        Unavailable::Unresolved => {
            unavailable("unresolved", "the names of the app's instances do not resolve", 5)
        }
        // Sent for the first pick only, which has tried nothing.
        Unavailable::Exhausted => unavailable("all_tried", "no instance of the app could be reached", 1),
        Unavailable::Busy { .. } => row(
            503,
            "endpoints_busy",
            "all instances of the app have as many requests in flight as they may (max_concurrent)",
            Disposition::Keep,
        )
        .retry_after(1),
        Unavailable::BreakersOpen { retry_after } => Row {
            retry_after: Some(retry_after),
            ..unavailable("circuit_open", "the circuit breakers of all instances of the app are open", 0)
        },
    }
}

/// Whole seconds, rounded up: a client that comes back too early would be refused again.
pub(crate) fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every failure: status of the local reply, the client's connection, and whether the endpoint's breaker
    /// counts it.
    #[test]
    fn each_failure_has_its_status_disposition_and_blame() {
        use Blame::{Closed, Endpoint, Late, Nothing};
        use Disposition::{Close, Keep, Reset};
        let retry_after = Duration::from_secs(30);
        let unavailable = Failure::Unavailable;
        let mut table = vec![
            (Failure::BadRequest(RequestError::BadMethod), Some(400), Close, Nothing),
            (Failure::HeadTimedOut, Some(408), Close, Nothing),
            (Failure::BadUpgrade(HandshakeError::Key), Some(400), Close, Nothing),
            (Failure::BadPath(PathError::AboveRoot), Some(400), Keep, Nothing),
            (Failure::BodyTooLarge, Some(413), Close, Nothing),
            (Failure::ClientClosed, None, Close, Nothing),
            (Failure::RequestBodyMalformed(BodyError::BadSizeLine), Some(400), Close, Nothing),
            (Failure::RequestBodyTimedOut, Some(408), Close, Nothing),
            (Failure::ClientStalled, None, Reset, Nothing),
            (Failure::Unresolved, Some(503), Keep, Nothing),
            (Failure::NotRunning, Some(503), Keep, Nothing),
            (unavailable(Unavailable::NoEndpoints), Some(502), Keep, Nothing),
            (unavailable(Unavailable::Unresolved), Some(502), Keep, Nothing),
            (unavailable(Unavailable::Exhausted), Some(502), Keep, Nothing),
            (unavailable(Unavailable::BreakersOpen { retry_after }), Some(502), Keep, Nothing),
            (unavailable(Unavailable::Busy { max_concurrent: 2 }), Some(503), Keep, Nothing),
            (Failure::PlainOnTls, Some(400), Close, Nothing),
            (Failure::Overloaded, Some(503), Close, Nothing),
            (Failure::Exhausted, Some(503), Keep, Nothing),
            (Failure::UpstreamTlsUnloadable, Some(502), Keep, Nothing),
            (Failure::PortsExhausted, Some(503), Keep, Nothing),
            (Failure::UpstreamRefused, Some(502), Keep, Nothing),
            (Failure::TotalTimedOut, Some(504), Close, Nothing),
            (Failure::TransformFailed(middleware::BodyError { reason: "x" }), Some(500), Close, Nothing),
            (Failure::ConnectFailed, Some(502), Keep, Endpoint),
            (Failure::ConnectTimedOut, Some(504), Keep, Endpoint),
            (Failure::UpstreamTlsFailed, Some(502), Keep, Endpoint),
            (Failure::UpstreamNoHttp2, Some(502), Keep, Endpoint),
            (Failure::UpstreamClosed, Some(502), Keep, Closed),
            (Failure::ResponseTimedOut, Some(504), Keep, Late),
            (Failure::ResponseHeadCut, Some(502), Keep, Closed),
            (Failure::UnaskedUpgrade, Some(502), Keep, Endpoint),
            (Failure::BadAccept, Some(502), Keep, Nothing),
            (Failure::UpgradeIgnored, Some(502), Keep, Nothing),
            (Failure::InterimFlood, Some(502), Keep, Nothing),
            (Failure::ResponseCut, None, Reset, Closed),
            (Failure::ResponseStalled, None, Reset, Late),
        ];
        table.extend(
            OnAllUnhealthy::ALL
                .map(|policy| (unavailable(Unavailable::AllUnhealthy(policy)), Some(502), Keep, Nothing)),
        );
        for (error, blame) in [
            (ResponseError::BadStatusLine, Endpoint),
            (ResponseError::UnsupportedVersion, Endpoint),
            (ResponseError::BadStatus, Endpoint),
            (ResponseError::InterimWithBody, Endpoint),
        ] {
            table.push((Failure::BadResponse(error), Some(502), Keep, blame));
        }
        for (error, blame) in [
            (BodyError::BadSizeLine, Endpoint),
            (BodyError::SizeTooLarge, Endpoint),
            (BodyError::SizeLineTooLong, Nothing),
            (BodyError::ExtensionsTooLarge, Nothing),
            (BodyError::BadChunkEnd, Endpoint),
            (BodyError::TrailersTooLarge, Nothing),
        ] {
            table.push((Failure::ResponseBodyMalformed(error), None, Reset, blame));
        }
        for (fault, blame) in [
            (HeadFault::HeadTooLarge, Nothing),
            (HeadFault::TooManyFields, Nothing),
            (HeadFault::BareLf, Endpoint),
            (HeadFault::BareCr, Endpoint),
            (HeadFault::ObsFold, Endpoint),
            (HeadFault::LeadingWhitespace, Endpoint),
            (HeadFault::EmptyFieldName, Endpoint),
            (HeadFault::SpaceBeforeColon, Endpoint),
            (HeadFault::BadFieldName, Endpoint),
            (HeadFault::MissingColon, Endpoint),
            (HeadFault::BadFieldValue, Endpoint),
            (HeadFault::BadContentLength, Endpoint),
            (HeadFault::DuplicateContentLength, Endpoint),
            (HeadFault::LengthAndTransferEncoding, Endpoint),
            (HeadFault::TransferEncodingInHttp10, Endpoint),
            (HeadFault::DuplicateTransferEncoding, Endpoint),
            (HeadFault::BadTransferEncoding, Endpoint),
            (HeadFault::UnsupportedTransferCoding, Nothing),
            (HeadFault::BadConnection, Endpoint),
            (HeadFault::TooManyConnectionOptions, Nothing),
        ] {
            table.push((Failure::BadResponse(ResponseError::Head(fault)), Some(502), Keep, blame));
            table.push((Failure::ResponseBodyMalformed(BodyError::BadTrailer(fault)), None, Reset, blame));
        }
        for (failure, status, disposition, blame) in table {
            assert_eq!(
                (failure.reply(502).map(|reply| reply.status()), failure.disposition(), failure.blame()),
                (status, disposition, blame),
                "{failure:?}"
            );
        }
    }

    /// The response is public: it names the setting, and no instance.
    #[test]
    fn the_response_of_an_app_without_a_healthy_instance_names_the_setting() {
        for policy in OnAllUnhealthy::ALL {
            let message = Failure::Unavailable(Unavailable::AllUnhealthy(policy)).message();
            let setting = format!("on_all_unhealthy: {}", policy.as_str());
            assert!(message.contains(&setting), "{message}");
            assert!(message.contains("fail their health checks"), "{message}");
        }
    }

    #[test]
    fn an_unavailable_app_has_the_operator_s_status() {
        let retry_after = Duration::from_secs(7);
        for why in [Unavailable::BreakersOpen { retry_after }, Unavailable::NoEndpoints] {
            let reply = Failure::Unavailable(why).reply(503).expect("a reply");
            assert_eq!(reply.status(), 503);
        }
        assert_eq!(
            Failure::Unavailable(Unavailable::NoEndpoints).reply(502).map(|reply| reply.status()),
            Some(502)
        );
    }

    #[test]
    fn a_timeout_of_ours_ends_a_grpc_call_with_deadline_exceeded() {
        for failure in [Failure::ResponseTimedOut, Failure::RequestBodyTimedOut, Failure::HeadTimedOut] {
            assert_eq!(failure.grpc_status(), Some(grpc::Status::DeadlineExceeded), "{failure:?}");
        }
        assert_eq!(Failure::ConnectTimedOut.grpc_status(), None, "nothing was executed");
    }
}
