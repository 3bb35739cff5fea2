//! Retry decision after an attempt that failed, or whose response has a status that is retried.
//!
//! A request is repeated only if the endpoint cannot have processed it, or its method is idempotent. RFC 9110
//! §9.2.2: "A proxy MUST NOT automatically retry non-idempotent requests". Body bytes that were forwarded are
//! gone, unless they are still buffered.
//!
//! | result, with the whole body still buffered         | by default              | with `retries` of a policy |
//! |-----------------------------------------------------|-------------------------|----------------------------|
//! | no connection                                       | next endpoint           | next, at once              |
//! | a pooled connection took no byte                    | same, new connection    | the same                   |
//! | the endpoint refused it as not processed            | same                    | the same                   |
//! | a pooled connection ended before a response byte    | same, if idempotent     | the same                   |
//! | a new connection took no byte                       | none                    | next, at once              |
//! | any other connection ended before the response head | none                    | next, if idempotent        |
//! | the head is later than one attempt may take         | next, if idempotent     | next, if idempotent        |
//! | a status of the policy                              | none                    | next, if idempotent        |
//! | the head is too late, or malformed                  | none                    | none                       |
//! | this process is short of connections                | none                    | none                       |
//! | a part of the response has reached the client       | none                    | none                       |
//! | the client failed                                   | none                    | none                       |
//!
//! A pooled connection that ends before a response was most likely closed by its server while it was idle. A
//! *new* connection that ends like this may have ended because of this very request, and a retry could crash
//! the next instance, too: hence only a policy retries it.
//!
//! The same endpoint again is a *replay*: nothing was processed, or a connection had ended that has carried a
//! response before, so that replays never outnumber responses. They are on without a policy, and with one
//! they count neither as its attempts nor for its budget. A retry by a policy does ([`RetryBudget`]); where
//! the budget is exhausted, the client gets the result of the last attempt, the endpoint's own response
//! included.

use std::time::Duration;

use ringway_model::{Retries, limits};

use crate::policy::Policy;
use crate::retry_budget::{BudgetSize, RetryBudget};

/// Attempt that failed, or was rejected for its status, as far as the decision depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Attempts made for this request, this one included.
    pub attempts: u32,
    /// Attempts that were replays.
    pub replays: u32,
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
    /// A new connection took no byte of the request.
    NewUnsent,
    /// A new connection ended before the response, or any connection within its head.
    Ended,
    /// This process has no descriptor or no memory for a connection: no endpoint would do better.
    OwnShortage,
    /// The attempt took longer than one may, and the exchange has time left.
    TryTimeout,
    /// The response head timed out.
    HeadTimeout,
    /// The response could not be forwarded.
    BadResponse,
    /// A response head with this status, which is not forwarded yet.
    Status(u16),
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
    /// GET, HEAD, OPTIONS, PUT, DELETE; and what the policy declares to be repeatable.
    Idempotent,
    /// POST, PATCH, and all unknown methods.
    Other,
}

/// Decision after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// No retry: the client gets this attempt's result.
    No(Option<Stopped>),
    /// The same endpoint, over a new connection: a replay, which is neither counted nor budgeted.
    SameEndpoint,
    /// Another endpoint, after a pause.
    NextEndpoint(Duration),
}

/// Reason for which a result that the policy would retry is the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stopped {
    /// The request has had all of its attempts, or there is no time for another one.
    Exhausted,
    /// The retry budget of the pool is exhausted.
    Budget,
    /// A part of the request's body is no longer buffered.
    Body,
}

/// Retries that a policy configures, at the time of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Allowance<'a> {
    /// Settings of the policy.
    pub retries: &'a Retries,
    /// Budget of the pool.
    pub budget: &'a RetryBudget,
    /// Time that is left until the response head is due.
    pub left: Duration,
    /// `Retry-After` of the response, where it has one.
    pub retry_after: Option<Duration>,
    /// Present time, for the budget.
    pub now_us: u64,
    /// Random number, for the pause.
    pub draw: u64,
}

/// Decides which attempt follows one that failed, or whose response has a status that is retried.
///
/// Without an `allowance` the defaults hold, which need no configuration: an attempt of which the endpoint
/// has processed nothing, and a pooled connection that had ended.
pub fn decide(attempt: &FailedAttempt, policy: &Policy, allowance: Option<&Allowance<'_>>) -> Retry {
    let attempts_max = match allowance {
        Some(_) => limits::ATTEMPTS_MAX,
        None => usize::from(policy.attempts_max.get()).min(limits::ATTEMPTS_MAX),
    };
    let is_repeatable = attempt.method == Method::Idempotent;
    let can_repeat = attempt.attempts < attempts_max as u32 && attempt.body == Body::Whole;
    match (attempt.failed, allowance) {
        (Failed::PooledUnsent | Failed::Refused, _) if can_repeat => Retry::SameEndpoint,
        (Failed::PooledEnded, _) if can_repeat && is_repeatable => Retry::SameEndpoint,
        (failed, Some(allowance)) if allowance.covers(failed, is_repeatable) => allowance.decide(attempt),
        (Failed::Connect, None) if can_repeat => Retry::NextEndpoint(Duration::ZERO),
        (Failed::TryTimeout, None) if can_repeat && is_repeatable => Retry::NextEndpoint(Duration::ZERO),
        _ => Retry::No(None),
    }
}

impl Allowance<'_> {
    /// Whether the policy retries such a result.
    fn covers(&self, failed: Failed, is_repeatable: bool) -> bool {
        match failed {
            Failed::Connect | Failed::NewUnsent | Failed::PooledUnsent | Failed::Refused => true,
            Failed::PooledEnded | Failed::Ended | Failed::TryTimeout => is_repeatable,
            Failed::Status(status) => is_repeatable && self.retries.statuses.has(status),
            Failed::HeadTimeout
            | Failed::BadResponse
            | Failed::OwnShortage
            | Failed::Answered
            | Failed::Client => false,
        }
    }

    /// Decides on a retry, and withdraws it from the budget. To be asked last of all: what is withdrawn is
    /// not given back.
    fn decide(&self, attempt: &FailedAttempt) -> Retry {
        let counted = attempt.attempts.saturating_sub(attempt.replays);
        let attempts_max = usize::from(self.retries.attempts_max.get()).min(limits::ATTEMPTS_MAX) as u32;
        let pause = match attempt.failed {
            // Another endpoint need not be spared for it.
            Failed::Connect | Failed::NewUnsent => Duration::ZERO,
            _ => self.pause(counted),
        };
        let is_late = self.retry_after.unwrap_or_default().max(pause) >= self.left;
        if attempt.body == Body::Consumed {
            Retry::No(Some(Stopped::Body))
        } else if counted >= attempts_max || attempt.attempts >= limits::ATTEMPTS_MAX as u32 || is_late {
            Retry::No(Some(Stopped::Exhausted))
        } else if !self.budget.withdraw(self.size(), self.now_us) {
            Retry::No(Some(Stopped::Budget))
        } else {
            Retry::NextEndpoint(pause)
        }
    }

    /// Pause before the attempt after `attempts` ones: evenly distributed from the shortest to one that
    /// doubles with each attempt, so that requests that failed together do not return together.
    fn pause(&self, attempts: u32) -> Duration {
        let Retries { backoff_min, backoff_max, .. } = *self.retries;
        let longest = backoff_min.saturating_mul(1 << attempts.min(16)).min(backoff_max).max(backoff_min);
        let range_us = u64::try_from((longest - backoff_min).as_micros()).unwrap_or(u64::MAX - 1);
        backoff_min + Duration::from_micros(self.draw % (range_us + 1))
    }

    fn size(&self) -> BudgetSize {
        BudgetSize { share: self.retries.budget, floor: self.retries.budget_floor }
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
