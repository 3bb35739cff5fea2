//! What can go wrong in an exchange, and what follows from it: the one table.
//!
//! A [`Failure`] says at which stage, by whose fault and why. [`Failure::consequence`] gives what the client
//! is told, what happens to its connection and whether the endpoint is blamed. There is no catch-all arm: a
//! new failure does not compile until its consequence is decided.

use std::borrow::Cow;
use std::time::Duration;

use ringway_traffic::balance::Unavailable;
use ringway_wire::h1::{BodyError, RequestError, ResponseError};
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
    pub(crate) blames_endpoint: bool,
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
            Self::UpstreamClosed => {
                blamed(502, "upstream_closed", "the app's instance closed the connection without an answer")
            }
            Self::ResponseTimedOut => {
                blamed(504, "upstream_timeout", "the app's instance did not begin its answer in time")
            }
            Self::BadResponse(_) => {
                blamed(502, "upstream_bad_response", "the app's instance gave a broken answer")
            }
            Self::ResponseHeadCut => blamed(
                502,
                "upstream_head_cut",
                "the app's instance closed the connection within its answer's head",
            ),
            Self::UnaskedUpgrade => blamed(
                502,
                "upstream_unasked_upgrade",
                "the app's instance switched protocols without being asked",
            ),
            Self::InterimFlood => {
                blamed(502, "upstream_interim_flood", "the app's instance sent interim answers without end")
            }

            Self::ResponseCut => cut("response_cut"),
            Self::ResponseStalled => cut("response_stalled"),
            Self::ResponseBodyMalformed(_) => cut("response_bad_body"),

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
        blames_endpoint: false,
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
    Consequence { blames_endpoint: true, retry_after, ..told(status, word, message, Connection::Keep) }
}

fn cut(word: &'static str) -> Consequence {
    Consequence { blames_endpoint: true, ..silent(word, Connection::Abort) }
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
        Unavailable::AllUnhealthy => {
            unavailable("all_unhealthy", "no instance of the app is healthy", Duration::from_secs(5))
        }
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

    #[test]
    fn whoever_is_to_blame_is_blamed() {
        let retry_after = Duration::from_secs(30);
        for (failure, status, connection, blames_endpoint) in [
            (Failure::HeadTimedOut, Some(408), Connection::Close, false),
            (Failure::MethodRefused, Some(405), Connection::Close, false),
            (Failure::BodyTooLarge, Some(413), Connection::Close, false),
            (Failure::ClientClosed, None, Connection::Close, false),
            (Failure::RequestBodyTimedOut, Some(408), Connection::Close, false),
            (Failure::ClientStalled, None, Connection::Abort, false),
            (Failure::UnknownHost, Some(404), Connection::Keep, false),
            (Failure::Unresolved, Some(503), Connection::Keep, false),
            (Failure::NotRunning, Some(503), Connection::Keep, false),
            (Failure::Misdirected, Some(421), Connection::Keep, false),
            (Failure::HttpsOnly, Some(421), Connection::Keep, false),
            (Failure::PlainOnTls, Some(400), Connection::Close, false),
            (Failure::Loop, Some(508), Connection::Keep, false),
            (Failure::UnknownChallenge, Some(404), Connection::Keep, false),
            (Failure::Unavailable(Unavailable::NoEndpoints), Some(502), Connection::Keep, false),
            (
                Failure::Unavailable(Unavailable::BreakersOpen { retry_after }),
                Some(502),
                Connection::Keep,
                false,
            ),
            (Failure::Overloaded, Some(503), Connection::Close, false),
            (Failure::Exhausted, Some(503), Connection::Keep, false),
            (Failure::ConnectFailed, Some(502), Connection::Keep, true),
            (Failure::ConnectTimedOut, Some(504), Connection::Keep, true),
            (Failure::UpstreamTlsFailed, Some(502), Connection::Keep, true),
            (Failure::UpstreamTlsUnloadable, Some(502), Connection::Keep, false),
            (Failure::UpstreamClosed, Some(502), Connection::Keep, true),
            (Failure::ResponseTimedOut, Some(504), Connection::Keep, true),
            (Failure::UnaskedUpgrade, Some(502), Connection::Keep, true),
            (Failure::InterimFlood, Some(502), Connection::Keep, true),
            (Failure::ResponseCut, None, Connection::Abort, true),
            (Failure::ResponseStalled, None, Connection::Abort, true),
            (Failure::Filtered(403), Some(403), Connection::Keep, false),
        ] {
            let consequence = failure.consequence(502);
            assert_eq!(
                (consequence.status, consequence.connection, consequence.blames_endpoint),
                (status, connection, blames_endpoint),
                "{failure:?}"
            );
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
