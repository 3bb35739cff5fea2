//! Retry decision after a failed attempt.
//!
//! A request is repeated only if the endpoint cannot have processed it, or its method is idempotent. RFC 9110
//! §9.2.2: "A proxy MUST NOT automatically retry non-idempotent requests". Body bytes that were forwarded are
//! gone, unless they are still buffered.
//!
//! | failure                                       | retry, if the whole body can be sent            |
//! |-----------------------------------------------|-------------------------------------------------|
//! | the connection attempt                        | the next endpoint                               |
//! | a pooled connection, before it took a byte    | the same endpoint, over a new connection        |
//! | the endpoint refused it as not processed      | the same endpoint                               |
//! | a pooled connection, before a response byte   | the same endpoint over a new one, if idempotent |
//! | a new connection, before a response byte      | none                                            |
//! | the response head: later than one attempt may take | the next endpoint, if idempotent           |
//! | the response head: late or malformed          | none                                            |
//! | the response, after a part reached the client | none                                            |
//! | the client                                    | none                                            |
//!
//! A pooled connection that ends before a response was most likely closed by its server while it was idle:
//! the only replay that is on by default. A *new* connection that ends like this may have ended because of
//! this very request, and a retry could crash the next instance, too.

use ringway_model::limits;

use crate::policy::Policy;

/// Failed attempt, as far as the decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Attempts made for this request, the failed one included.
    pub attempts: u32,
    /// Point of the failure.
    pub failed: Failed,
    /// State of the request's body.
    pub body: Body,
    /// Class of the request's method.
    pub method: Method,
}

/// Point at which an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failed {
    /// No connection was established: refused, unreachable, timed out.
    Connect,
    /// A pooled connection took no byte of the request.
    PooledUnsent,
    /// The endpoint refused the request as not processed (HTTP/2 REFUSED_STREAM, GOAWAY).
    Refused,
    /// A pooled connection ended before any byte of the response.
    PooledEnded,
    /// A new connection ended before any byte of the response.
    NewEnded,
    /// The attempt took longer than one may, and the exchange has time left.
    TryTimeout,
    /// The response head timed out.
    HeadTimeout,
    /// The response could not be forwarded.
    BadResponse,
    /// The client has received a part of the response, or a 1xx.
    Answered,
    /// The client failed: disconnected, too slow, or its body was malformed.
    Client,
}

/// State of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// No body, or all of its received bytes are still buffered.
    Whole,
    /// Some of it was forwarded and is no longer buffered.
    Consumed,
}

/// Whether a request may be processed twice without harm (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET, HEAD, OPTIONS, PUT, DELETE.
    Idempotent,
    /// POST, PATCH, and all unknown methods.
    Other,
}

/// Decision after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No retry: the client gets an error response.
    No,
    /// The same endpoint, over a new connection.
    SameEndpoint,
    /// Another endpoint.
    NextEndpoint,
}

/// Retry budget of a pool. Attempts of which the endpoint has processed nothing do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// No limit.
    #[default]
    Unlimited,
}

impl Budget {
    /// Withdraws one attempt; false when the budget is exhausted.
    fn withdraw(&self) -> bool {
        match self {
            Self::Unlimited => true,
        }
    }
}

/// Decides which attempt follows a failed one: none beyond the policy's attempts, or without budget.
pub fn decide(attempt: &FailedAttempt, policy: &Policy, budget: &Budget) -> Retry {
    let attempts_max = u32::from(policy.attempts_max.get()).min(limits::ATTEMPTS_MAX as u32);
    if attempt.attempts >= attempts_max || attempt.body == Body::Consumed {
        return Retry::No;
    }
    match (attempt.failed, attempt.method) {
        (Failed::PooledUnsent | Failed::Refused, Method::Idempotent | Method::Other) => Retry::SameEndpoint,
        (Failed::Connect, Method::Idempotent | Method::Other) if budget.withdraw() => Retry::NextEndpoint,
        (Failed::PooledEnded, Method::Idempotent) if budget.withdraw() => Retry::SameEndpoint,
        (Failed::TryTimeout, Method::Idempotent) if budget.withdraw() => Retry::NextEndpoint,
        (Failed::Connect | Failed::PooledEnded | Failed::TryTimeout, Method::Idempotent | Method::Other) => {
            Retry::No
        }
        (
            Failed::NewEnded | Failed::HeadTimeout | Failed::BadResponse | Failed::Answered | Failed::Client,
            Method::Idempotent | Method::Other,
        ) => Retry::No,
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
