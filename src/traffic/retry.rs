//! Whether a failed attempt may be followed by another one.
//!
//! Only what cannot be seen twice is repeated. RFC 9110 §9.2.2: "A proxy MUST NOT automatically retry non-idempotent
//! requests", and what a client sent of a body is gone once it has been passed on, unless it is still held.
//!
//! | what failed                                   | may be followed by, if the body can be sent whole        |
//! |-----------------------------------------------|-----------------------------------------------------------|
//! | the connection was not made                   | the next endpoint                                         |
//! | a pooled connection, before it took a byte    | the same endpoint, over a new connection                  |
//! | the endpoint, saying that it has done nothing | the same endpoint                                         |
//! | a pooled connection, before a response byte   | the same endpoint over a new one, idempotent methods only |
//! | a new connection, before a response byte      | nothing                                                   |
//! | the response head: late or malformed          | nothing                                                   |
//! | the response, after the client got some of it | nothing                                                   |
//! | the client                                    | nothing                                                   |
//!
//! A pooled connection that ends before it answers was most likely closed by its server while it lay idle: the one
//! replay that is on by default. A *new* connection that ends so may well have ended because of this
//! very request, and repeating it would take the next instance down too.

use ringway_model::limits;

use crate::policy::Policy;

/// Facts about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Attempts made for this request, the failed one included.
    pub attempts: u32,
    /// Where it failed.
    pub failed: Failed,
    /// Whether the request's body can be sent from its first byte on.
    pub body: Body,
    /// Whether the method may be seen twice.
    pub method: Method,
}

/// Where an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failed {
    /// No connection was made: refused, unreachable, too slow.
    Connect,
    /// A connection that had carried requests before took no byte of this one.
    PooledUnsent,
    /// The endpoint said that it has done nothing with the request, as HTTP/2 has it.
    Refused,
    /// A connection that had carried requests before ended, before any byte of the response.
    PooledEnded,
    /// A new connection ended, before any byte of the response.
    NewEnded,
    /// The response's head did not come in time.
    HeadTimeout,
    /// The response could not be passed on.
    BadResponse,
    /// The client has got a part of the response, or a 1xx.
    Answered,
    /// It was the client: gone, too slow, or its body was malformed.
    Client,
}

/// State of the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// There is none, or all that was taken from the client is still held.
    Whole,
    /// Some of it was passed on and is not held any more.
    Consumed,
}

/// Whether a request may be processed twice without harm (RFC 9110 §9.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// GET, HEAD, OPTIONS, PUT, DELETE.
    Idempotent,
    /// POST, PATCH, and every method that is not known.
    Other,
}

/// Decision after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nothing: the failure is told to the client.
    No,
    /// The same endpoint, over a new connection.
    SameEndpoint,
    /// Another endpoint.
    NextEndpoint,
}

/// Budget of a pool for repeated attempts. Attempts of which the endpoint has processed nothing are outside of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Budget {
    /// No limit.
    #[default]
    Unlimited,
}

impl Budget {
    /// Takes one attempt out of the budget; false when it is exhausted.
    fn withdraw(&self) -> bool {
        match self {
            Self::Unlimited => true,
        }
    }
}

/// Decides which attempt follows a failed one: none beyond the policy's attempts, or without budget.
pub fn decide(facts: &Facts, policy: &Policy, budget: &Budget) -> Retry {
    let attempts_max = u32::from(policy.attempts_max.get()).min(limits::ATTEMPTS_MAX as u32);
    if facts.attempts >= attempts_max || facts.body == Body::Consumed {
        return Retry::No;
    }
    match (facts.failed, facts.method) {
        (Failed::PooledUnsent | Failed::Refused, Method::Idempotent | Method::Other) => Retry::SameEndpoint,
        (Failed::Connect, Method::Idempotent | Method::Other) if budget.withdraw() => Retry::NextEndpoint,
        (Failed::PooledEnded, Method::Idempotent) if budget.withdraw() => Retry::SameEndpoint,
        (Failed::Connect | Failed::PooledEnded, Method::Idempotent | Method::Other) => Retry::No,
        (
            Failed::NewEnded | Failed::HeadTimeout | Failed::BadResponse | Failed::Answered | Failed::Client,
            Method::Idempotent | Method::Other,
        ) => Retry::No,
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
