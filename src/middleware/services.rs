//! Services of the core that stages use: what a pure stage cannot have itself.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ringway_compress::EncoderPool;
use ringway_model::{AppId, CredentialSource};

use crate::auth::failures::Failures;
use crate::auth::password_cache::PasswordCache;
use crate::auth::token_cache::TokenCache;
use crate::credentials::Credentials;
use crate::external::decision_cache::DecisionCache;

/// Services of the core that serves a request. Stages get them with the request's context.
pub trait Services {
    /// Wall clock, in seconds since 1970.
    fn now(&self) -> u64;

    /// Monotonic clock in microseconds.
    fn now_micros(&self) -> u64;

    /// Revision of the configuration that serves the request.
    fn revision(&self) -> u64;

    /// State of all stages on this core.
    fn core(&self) -> &CoreState;

    /// Credentials as the control plane loaded them last; `None` while they were never loaded.
    fn credentials(&self, source: &CredentialSource) -> Option<&Arc<Credentials>>;

    /// Asks the control plane for newer credentials, and waits for them for a moment. Returns the newest
    /// ones; `None` while they were never loaded. One request to the control plane serves all that wait.
    fn refresh<'s>(&'s self, source: &'s CredentialSource) -> Waiting<'s, Option<Arc<Credentials>>>;

    /// Verifies a password against a hash on a thread for it: `None` when its queue is full.
    fn verify_password(&self, hash: Arc<str>, password: Box<[u8]>) -> Waiting<'_, Option<bool>>;

    /// Sends a request to a pool, and returns the response. Dropped, it closes its connection, or resets its
    /// stream, and counts nothing against the endpoint.
    fn call<'s>(&'s self, call: Call<'s>) -> Waiting<'s, Result<CallResponse, CallFailure>>;

    /// Counts the decision of an external filter, by the pool of its service, with the time that it took.
    /// Calls that failed at an endpoint are reported for the log where they fail.
    fn note_decision(&self, pool: &AppId, result: DecisionResult, duration_us: u64);
}

/// Result of asking an external filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecisionResult {
    /// The request continues.
    Allowed,
    /// The client gets a reply.
    Denied,
    /// An earlier decision holds, whatever it is.
    Cached,
    /// There is no decision, and the request is refused; the reason, from a fixed vocabulary.
    FailedClosed(&'static str),
    /// There is no decision, and the request continues; the reason, from a fixed vocabulary.
    FailedOpen(&'static str),
}

impl DecisionResult {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Cached => "cached",
            Self::FailedClosed(_) => "failed_closed",
            Self::FailedOpen(_) => "failed_open",
        }
    }

    /// The reason why there is no decision.
    pub fn failure(self) -> Option<&'static str> {
        match self {
            Self::Allowed | Self::Denied | Self::Cached => None,
            Self::FailedClosed(reason) | Self::FailedOpen(reason) => Some(reason),
        }
    }
}

/// Result that is waited for.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Request of a stage to a pool.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Id of the pool.
    pub pool: &'a str,
    /// Protocol and target.
    pub kind: CallKind<'a>,
    /// Field lines, each with its CRLF, valid in a head; without framing and `Host`.
    pub lines: &'a [u8],
    /// Content.
    pub body: &'a [u8],
    /// Timeout of everything: connection, request and response. Held to a millisecond.
    pub timeout: std::time::Duration,
    /// Maximum bytes of the response's content; more is a failure. The core has a maximum of its own.
    pub response_bytes_max: usize,
}

/// Protocol of a [`Call`].
#[derive(Clone, Copy, Debug)]
pub enum CallKind<'a> {
    /// HTTP, by the version that the pool speaks.
    Http {
        /// Method.
        method: &'a str,
        /// Path and query.
        path: &'a str,
    },
    /// A unary call of gRPC over HTTP/2; body and response are one message each, without its prefix.
    Grpc {
        /// `/package.Service/Method`.
        path: &'a str,
    },
}

/// Whole response to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResponse {
    /// Status, from 200 on.
    pub status: u16,
    /// Field lines of the head, each with its CRLF, without framing and those of the connection.
    pub lines: Vec<u8>,
    /// Content; of gRPC the message.
    pub body: Vec<u8>,
}

/// Failure of a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// The reason.
    pub error: CallError,
    /// The response as far as it came, where its head did.
    pub partial: Option<PartialResponse>,
}

impl From<CallError> for CallFailure {
    fn from(error: CallError) -> Self {
        Self { error, partial: None }
    }
}

/// Response whose head came, and whose content or trailers did not come whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialResponse {
    /// Status, from 200 on.
    pub status: u16,
    /// Start of the content; of gRPC of the message, where that is not compressed.
    pub content: Vec<u8>,
}

/// Reason why a [`Call`] has no whole response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The pool is not configured, or has no endpoint that takes requests.
    Unavailable,
    /// The circuit breaker of the pool is open.
    CircuitOpen {
        /// Time until it admits a probe; never zero.
        retry_after: std::time::Duration,
    },
    /// Too many calls are under way on this core, or at every endpoint of the pool.
    Busy,
    /// No connection.
    Connect,
    /// The connection broke.
    Broken,
    /// The timeout ended.
    Timeout,
    /// The response breaks a rule of its protocol, or is not one of gRPC; or the call itself cannot be sent.
    Invalid,
    /// The response is larger than it may be.
    TooLarge,
    /// A call of gRPC ended with a status other than 0.
    Status,
}

impl CallError {
    /// The word in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Busy => "busy",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Status => "grpc_status",
        }
    }
}

/// State of all stages on one core: what they remember between requests.
#[derive(Debug, Default)]
pub struct CoreState {
    pub(crate) tokens: RefCell<TokenCache>,
    pub(crate) passwords: RefCell<PasswordCache>,
    pub(crate) failures: RefCell<Failures>,
    pub(crate) decisions: RefCell<DecisionCache>,
    pub(crate) encoders: EncoderPool,
}

impl CoreState {
    /// Encoders of content codings on this core.
    pub fn encoders(&self) -> &EncoderPool {
        &self.encoders
    }
}
