//! What can go wrong in an exchange, and what follows from it: the one table.
//!
//! A [`Failure`] says at which stage, by whose fault and why. [`Failure::consequence`] gives what the client
//! is told, what happens to its connection and whether the endpoint is blamed. There is no catch-all arm: a
//! new failure does not compile until its consequence is decided.
//!
//! Anybody on the internet is a client, and all clients of an app share its instances' breakers. So nothing counts
//! against an instance that a client can bring about by the way in which it asks:
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

use ringway_model::OnAllUnhealthy;
use ringway_traffic::balance::Unavailable;
use ringway_wire::h1::{BodyError, HeadFault, RequestError, ResponseError};
use ringway_wire::websocket::HandshakeError;

/// Why an exchange did not end as its client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    // The client's fault, before anything was sent upstream.
    /// The head breaks a rule of RFC 9110 or 9112, or a limit.
    BadRequest(RequestError),
    /// The head did not arrive in time.
    HeadTimedOut,
    /// The method is not served here: TRACE and CONNECT.
    MethodRefused,
    /// An attempt to upgrade to WebSocket that breaks RFC 6455 §4.2.1.
    BadUpgrade(HandshakeError),
    /// The body is longer than the limit.
    BodyTooLarge,

    // The client's fault, on the way.
    /// The connection ended before the request did.
    ClientClosed,
    /// The body's framing is broken.
    RequestBodyMalformed(BodyError),
    /// The body stopped moving, or moves too slowly.
    RequestBodyTimedOut,
    /// The client does not read its response.
    ClientStalled,

    // Nobody's fault.
    /// The host is not registered.
    UnknownHost,
    /// Nobody registered the host, and who may know it does not answer.
    Unresolved,
    /// A resolver knows the host's app, and none of its targets is healthy.
    NotRunning,
    /// No endpoint can take the request.
    Unavailable(Unavailable),
    /// The domain is not served on this connection: it was made for another, or what its clients must prove was not
    /// asked for.
    Misdirected,
    /// Nothing but challenges is served without TLS.
    HttpsOnly,
    /// It came without TLS where TLS is spoken.
    PlainOnTls,
    /// It was here before, more often than there is a reason for.
    Loop,
    /// No order of ours has a challenge of this name.
    UnknownChallenge,
    /// The core has no room for another connection.
    Overloaded,
    /// This machine cannot make another connection: descriptors or memory are short.
    Exhausted,
    /// What its instances are spoken to with cannot be loaded: a CA, or our own certificate.
    UpstreamTlsUnloadable,
    /// All local ports for connections to the endpoint are in use.
    PortsExhausted,
    /// The endpoint has done nothing with the request, and says so: it has as many as it takes, or is about to end.
    UpstreamRefused,

    // The endpoint's fault.
    /// No connection: refused, unreachable, reset.
    ConnectFailed,
    /// No connection in time.
    ConnectTimedOut,
    /// It speaks no TLS, or is not the one that was meant.
    UpstreamTlsFailed,
    /// The connection ended before the first byte of a response.
    UpstreamClosed,
    /// The response head did not arrive in time.
    ResponseTimedOut,
    /// The response head breaks a rule of RFC 9110 or 9112, or a limit.
    BadResponse(ResponseError),
    /// The connection ended within the response head.
    ResponseHeadCut,
    /// A 101 that nobody asked for, or to another protocol.
    UnaskedUpgrade,
    /// A 101 to WebSocket without proof that the handshake was read (RFC 6455 §4.1).
    BadAccept,
    /// A success instead of the 101, which to a client of HTTP/2 would be an open tunnel.
    UpgradeIgnored,
    /// More interim responses than anyone needs.
    InterimFlood,

    // The endpoint's fault, after the response began: the client can only be told by a broken connection.
    /// The connection ended before the body did.
    ResponseCut,
    /// The body stopped moving.
    ResponseStalled,
    /// The body's framing is broken.
    ResponseBodyMalformed(BodyError),

    // An embedder's filter.
    /// A filter answered instead of the app.
    Filtered(u16),
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It serves on, if the request's body has been read.
    Keep,
    /// It is closed in an orderly way, after the answer.
    Close,
    /// It is reset, so that nobody takes what arrived for the whole.
    Abort,
}

/// Whether a failure counts against the endpoint's breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// Never: it says nothing about the endpoint.
    Nothing,
    /// Always.
    Endpoint,
    /// The endpoint ended a connection: unless its client had kept it waiting, for which servers do that.
    Closed,
    /// The endpoint took too long: as the app's policy has it, and not when its client had kept it waiting.
    Late,
}

/// What follows from a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Consequence {
    /// The status of our own answer; absent when the response has begun or nobody is there to read it.
    pub(crate) status: Option<u16>,
    /// The word in the error body, the access log and the metrics.
    pub(crate) word: &'static str,
    /// What a person reads.
    pub(crate) message: Cow<'static, str>,
    /// What becomes of the client's connection.
    pub(crate) connection: Connection,
    /// Counts against the endpoint's breaker.
    pub(crate) blame: Blame,
    /// `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// `X-Proxy-Circuit-Open`.
    pub(crate) circuit_open: bool,
}

impl Failure {
    /// It was the client that failed, or nobody asked an endpoint at all.
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

    /// The client sends nothing more, or too slowly to be waited for.
    pub(crate) fn is_of_silent_client(self) -> bool {
        matches!(self, Self::ClientClosed | Self::HeadTimedOut | Self::RequestBodyTimedOut)
    }

    /// The table. `unavailable` is the status for domains none of whose instances can answer (C3).
    pub(crate) fn consequence(self, unavailable: u16) -> Consequence {
        use Connection::{Abort, Close, Keep};
        match self {
            Self::BadRequest(error) => told(error.status(), error.code(), error.to_string(), Close),
            Self::HeadTimedOut => {
                told(408, "request_timeout", "the request head did not arrive in time", Close)
            }
            Self::MethodRefused => told(405, "method_not_allowed", "this method is not served here", Close),
            Self::BadUpgrade(error) => told(error.status(), error.code(), error.to_string(), Close),
            Self::BodyTooLarge => {
                told(413, "body_too_large", "the request body is larger than allowed", Close)
            }

            Self::ClientClosed => silent("client_closed", Close),
            Self::RequestBodyMalformed(_) => {
                told(400, "bad_body", "the framing of the request body is broken", Close)
            }
            Self::RequestBodyTimedOut => {
                told(408, "body_timeout", "the request body stopped arriving", Close)
            }
            Self::ClientStalled => silent("client_stalled", Abort),

            Self::UnknownHost => told(404, "unknown_host", "no app is registered for this domain", Keep),
            Self::NotRunning => {
                let told =
                    told(503, "not_running", "the app of this domain is not running at the moment", Keep);
                Consequence { retry_after: Some(Duration::from_secs(1)), ..told }
            }
            Self::Unresolved => {
                let told = told(
                    503,
                    "unresolved",
                    "the apps of this domain cannot be asked for at the moment",
                    Keep,
                );
                Consequence { retry_after: Some(Duration::from_secs(1)), ..told }
            }
            Self::Misdirected => {
                told(421, "misdirected", "this domain is not served on this connection; make a new one", Keep)
            }
            Self::HttpsOnly => told(421, "https_only", "this domain is served over https only", Keep),
            Self::PlainOnTls => {
                told(400, "plain_http", "this port speaks TLS: ask again with https://", Close)
            }
            Self::Loop => told(
                508,
                "loop_detected",
                "the request came back here again and again: a target of this domain's app leads to this proxy",
                Keep,
            ),
            Self::UnknownChallenge => told(404, "unknown_challenge", "there is no such challenge", Keep),
            Self::Unavailable(why) => unavailable_because(why, unavailable),
            Self::Overloaded => {
                let told = told(503, "overloaded", "too many connections", Close);
                Consequence { retry_after: Some(Duration::from_secs(1)), ..told }
            }

            Self::Exhausted => {
                let told = told(503, "exhausted", "too many connections", Keep);
                Consequence { retry_after: Some(Duration::from_secs(1)), ..told }
            }

            Self::ConnectFailed => {
                blamed(502, "upstream_connect_failed", "the app's instance could not be reached")
            }
            Self::ConnectTimedOut => {
                blamed(504, "upstream_connect_timeout", "the app's instance could not be reached in time")
            }
            Self::UpstreamTlsFailed => {
                blamed(502, "upstream_tls_failed", "the app's instance could not be reached securely")
            }
            Self::UpstreamTlsUnloadable => {
                told(502, "upstream_tls_unloadable", "the app's instances cannot be reached securely", Keep)
            }
            Self::PortsExhausted => {
                let told = told(
                    503,
                    "ports_exhausted",
                    "too many connections to the app's instance are open or were closed lately",
                    Keep,
                );
                Consequence { retry_after: Some(Duration::from_secs(1)), ..told }
            }
            Self::UpstreamRefused => Consequence {
                blame: Blame::Nothing,
                ..blamed(502, "upstream_refused", "the app's instance takes no more requests at the moment")
            },
            Self::UpstreamClosed => Consequence {
                blame: Blame::Closed,
                ..blamed(502, "upstream_closed", "the app's instance closed the connection without an answer")
            },
            Self::ResponseTimedOut => Consequence {
                blame: Blame::Late,
                ..blamed(504, "upstream_timeout", "the app's instance did not begin its answer in time")
            },
            Self::BadResponse(error) => Consequence {
                blame: blame_of_head(error),
                ..blamed(502, "upstream_bad_response", "the app's instance gave a broken answer")
            },
            Self::ResponseHeadCut => Consequence {
                blame: Blame::Closed,
                ..blamed(
                    502,
                    "upstream_head_cut",
                    "the app's instance broke off before the end of its answer's head",
                )
            },
            Self::UnaskedUpgrade => blamed(
                502,
                "upstream_unasked_upgrade",
                "the app's instance switched protocols without being asked",
            ),
            Self::InterimFlood => Consequence {
                blame: Blame::Nothing,
                ..blamed(502, "upstream_interim_flood", "the app's instance sent interim answers without end")
            },
            // Neither counts: any client can ask any page for a WebSocket.
            Self::BadAccept => Consequence {
                blame: Blame::Nothing,
                ..blamed(
                    502,
                    "upstream_bad_accept",
                    "the app's instance opened a WebSocket without the right Sec-WebSocket-Accept",
                )
            },
            Self::UpgradeIgnored => {
                told(502, "upstream_no_upgrade", "the app's instance opened no WebSocket", Keep)
            }

            Self::ResponseCut => cut("response_cut", Blame::Closed),
            Self::ResponseStalled => cut("response_stalled", Blame::Late),
            Self::ResponseBodyMalformed(error) => cut("response_bad_body", blame_of_body(error)),

            Self::Filtered(status) => told(status, "filtered", "the request was answered by a filter", Keep),
        }
    }
}

fn told(
    status: u16,
    word: &'static str,
    message: impl Into<Cow<'static, str>>,
    connection: Connection,
) -> Consequence {
    Consequence {
        status: Some(status),
        word,
        message: message.into(),
        connection,
        blame: Blame::Nothing,
        retry_after: None,
        circuit_open: false,
    }
}

fn silent(word: &'static str, connection: Connection) -> Consequence {
    Consequence { status: None, ..told(0, word, "", connection) }
}

/// Before the response began: the client keeps its connection, the endpoint takes the blame.
fn blamed(status: u16, word: &'static str, message: &'static str) -> Consequence {
    let retry_after = Some(Duration::from_secs(1));
    Consequence { blame: Blame::Endpoint, retry_after, ..told(status, word, message, Connection::Keep) }
}

fn cut(word: &'static str, blame: Blame) -> Consequence {
    Consequence { blame, ..silent(word, Connection::Abort) }
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

/// Our limits are not rules of HTTP: a response beyond them is a sound one, and a client may know how to get it.
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

fn unavailable_because(why: Unavailable, status: u16) -> Consequence {
    let unavailable = |word, message: &'static str, retry_after| {
        let told = told(status, word, message, Connection::Keep);
        Consequence { retry_after: Some(retry_after), ..told }
    };
    match why {
        Unavailable::NoEndpoints => {
            unavailable("no_instances", "no instance of the app is registered", Duration::from_secs(5))
        }
        // Anybody may read this: which instance, and what its check found, stands in log and status.
        Unavailable::AllUnhealthy(OnAllUnhealthy::Reject) => unavailable(
            "all_unhealthy",
            "all instances of the app fail their health checks (on_all_unhealthy: reject)",
            Duration::from_secs(5),
        ),
        Unavailable::AllUnhealthy(OnAllUnhealthy::PanicOpen) => unavailable(
            "all_unhealthy",
            "all instances of the app fail their health checks (on_all_unhealthy: panic_open)",
            Duration::from_secs(5),
        ),
        Unavailable::AllUnhealthy(OnAllUnhealthy::Trickle) => unavailable(
            "all_unhealthy",
            "all instances of the app fail their health checks, and one request a second is let through \
             (on_all_unhealthy: trickle)",
            Duration::from_secs(1),
        ),
        Unavailable::Unresolved => unavailable(
            "unresolved",
            "the names of the app's instances do not resolve",
            Duration::from_secs(5),
        ),
        // Only the first pick's result is told to a client, and it has tried nothing.
        Unavailable::Exhausted => {
            unavailable("all_tried", "no instance of the app could be reached", Duration::from_secs(1))
        }
        Unavailable::BreakersOpen { retry_after } => Consequence {
            circuit_open: true,
            ..unavailable(
                "circuit_open",
                "all instances of the app failed lately and are given a pause",
                retry_after,
            )
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every failure: status of our own answer, the client's connection, and whether the endpoint's breaker counts it.
    #[test]
    fn whoever_is_to_blame_is_blamed() {
        use Blame::{Closed, Endpoint, Late, Nothing};
        use Connection::{Abort, Close, Keep};
        let retry_after = Duration::from_secs(30);
        let unavailable = Failure::Unavailable;
        let mut table = vec![
            (Failure::BadRequest(RequestError::BadMethod), Some(400), Close, Nothing),
            (Failure::HeadTimedOut, Some(408), Close, Nothing),
            (Failure::MethodRefused, Some(405), Close, Nothing),
            (Failure::BadUpgrade(HandshakeError::Key), Some(400), Close, Nothing),
            (Failure::BodyTooLarge, Some(413), Close, Nothing),
            (Failure::ClientClosed, None, Close, Nothing),
            (Failure::RequestBodyMalformed(BodyError::BadSizeLine), Some(400), Close, Nothing),
            (Failure::RequestBodyTimedOut, Some(408), Close, Nothing),
            (Failure::ClientStalled, None, Abort, Nothing),
            (Failure::UnknownHost, Some(404), Keep, Nothing),
            (Failure::Unresolved, Some(503), Keep, Nothing),
            (Failure::NotRunning, Some(503), Keep, Nothing),
            (unavailable(Unavailable::NoEndpoints), Some(502), Keep, Nothing),
            (unavailable(Unavailable::Unresolved), Some(502), Keep, Nothing),
            (unavailable(Unavailable::Exhausted), Some(502), Keep, Nothing),
            (unavailable(Unavailable::BreakersOpen { retry_after }), Some(502), Keep, Nothing),
            (Failure::Misdirected, Some(421), Keep, Nothing),
            (Failure::HttpsOnly, Some(421), Keep, Nothing),
            (Failure::PlainOnTls, Some(400), Close, Nothing),
            (Failure::Loop, Some(508), Keep, Nothing),
            (Failure::UnknownChallenge, Some(404), Keep, Nothing),
            (Failure::Overloaded, Some(503), Close, Nothing),
            (Failure::Exhausted, Some(503), Keep, Nothing),
            (Failure::UpstreamTlsUnloadable, Some(502), Keep, Nothing),
            (Failure::PortsExhausted, Some(503), Keep, Nothing),
            (Failure::UpstreamRefused, Some(502), Keep, Nothing),
            (Failure::ConnectFailed, Some(502), Keep, Endpoint),
            (Failure::ConnectTimedOut, Some(504), Keep, Endpoint),
            (Failure::UpstreamTlsFailed, Some(502), Keep, Endpoint),
            (Failure::UpstreamClosed, Some(502), Keep, Closed),
            (Failure::ResponseTimedOut, Some(504), Keep, Late),
            (Failure::ResponseHeadCut, Some(502), Keep, Closed),
            (Failure::UnaskedUpgrade, Some(502), Keep, Endpoint),
            (Failure::BadAccept, Some(502), Keep, Nothing),
            (Failure::UpgradeIgnored, Some(502), Keep, Nothing),
            (Failure::InterimFlood, Some(502), Keep, Nothing),
            (Failure::ResponseCut, None, Abort, Closed),
            (Failure::ResponseStalled, None, Abort, Late),
            (Failure::Filtered(403), Some(403), Keep, Nothing),
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
            table.push((Failure::ResponseBodyMalformed(error), None, Abort, blame));
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
            table.push((Failure::ResponseBodyMalformed(BodyError::BadTrailer(fault)), None, Abort, blame));
        }
        for (failure, status, connection, blame) in table {
            let consequence = failure.consequence(502);
            assert_eq!(
                (consequence.status, consequence.connection, consequence.blame),
                (status, connection, blame),
                "{failure:?}"
            );
        }
    }

    /// Strangers read the answer: it names the setting, and no instance.
    #[test]
    fn the_answer_of_an_app_without_a_healthy_instance_names_the_setting() {
        for policy in OnAllUnhealthy::ALL {
            let answer = Failure::Unavailable(Unavailable::AllUnhealthy(policy)).consequence(502);
            let setting = format!("on_all_unhealthy: {}", policy.as_str());
            assert!(answer.message.contains(&setting), "{}", answer.message);
            assert!(answer.message.contains("fail their health checks"), "{}", answer.message);
        }
    }

    #[test]
    fn an_open_circuit_says_so_and_when_to_come_back() {
        let retry_after = Duration::from_secs(7);
        let open = Failure::Unavailable(Unavailable::BreakersOpen { retry_after }).consequence(503);
        assert_eq!((open.status, open.circuit_open, open.retry_after), (Some(503), true, Some(retry_after)));
        let none = Failure::Unavailable(Unavailable::NoEndpoints).consequence(503);
        assert_eq!((none.status, none.circuit_open), (Some(503), false));
    }
}
