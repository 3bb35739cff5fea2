//! Parts of a policy that decide about traffic: retries, rate limits, circuit breakers, hedging.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use crate::{Percent, StatusSet};

/// Further attempts of failed requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Retries {
    /// Attempts of one request, the first included; at most
    /// [`limits::ATTEMPTS_MAX`](crate::limits::ATTEMPTS_MAX).
    pub attempts_max: NonZeroU8,
    /// Retries of a pool, as a share of its successful exchanges.
    pub budget: Percent,
    /// Retries of a pool that are admitted in any case, per second.
    pub budget_floor: u16,
    /// Whether only requests are repeated that cannot take effect twice.
    pub idempotent_only: bool,
    /// Statuses of an endpoint that another attempt follows.
    pub statuses: StatusSet,
    /// Header field, lower case, that makes a request repeatable whatever its method.
    pub idempotency_key: Option<Arc<str>>,
    /// Shortest pause before an attempt, after a failure other than of the connection.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts_max: const { NonZeroU8::new(3).expect("not 0") },
            budget: Percent::whole(10),
            budget_floor: 3,
            idempotent_only: true,
            statuses: StatusSet::of([502, 503, 504]),
            idempotency_key: None,
            backoff_min: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
        }
    }
}

/// Limit of the request rate, for each key of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    /// Requests in [`per`](Self::per).
    pub requests: u32,
    /// The time for them.
    pub per: Duration,
    /// Requests at once; at least 1.
    pub burst: u32,
    /// Properties of a request that are counted together; none counts all requests of the policy.
    pub key: Box<[RateLimitKey]>,
    /// Ban of a key that goes on after refusals.
    pub ban: Option<Ban>,
    /// Whether responses have `RateLimit` and `RateLimit-Policy` fields.
    pub sends_fields: bool,
    /// Whether it only counts the requests that it would refuse.
    pub dry_run: bool,
}

/// Property of a request by which it is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RateLimitKey {
    /// Its route.
    Route,
    /// Address of its client; of IPv6 the network of 64 bits.
    Client,
    /// Its tenant.
    Tenant,
    /// Its host.
    Host,
    /// Value of a header field, whose name is in lower case.
    Header(Arc<str>),
}

/// Ban of a key of a [`RateLimit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ban {
    /// Refused requests beyond the limit until it begins.
    pub after: u32,
    /// Its duration.
    pub duration: Duration,
}

/// Circuit breaker over all endpoints of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CircuitBreaker {
    /// Share of failures that opens it.
    pub error_threshold: Option<Percent>,
    /// Requests of the last 10 s from which the share counts.
    pub requests_min: u32,
    /// Failures in a row that open it.
    pub failures: Option<u32>,
    /// Time until it admits a probe; doubles up to four times with each failed one.
    pub open: Duration,
    /// Successful probes that close it.
    pub successes: u8,
    /// Whether it only counts the requests that it would refuse.
    pub dry_run: bool,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            error_threshold: Some(Percent::whole(50)),
            requests_min: 20,
            failures: None,
            open: Duration::from_secs(30),
            successes: 2,
            dry_run: false,
        }
    }
}

/// Second attempt of a safe request whose response is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hedge {
    /// Time until it begins.
    pub delay: HedgeDelay,
    /// Second attempts as a share of all requests.
    pub budget: Percent,
    /// Whether it only counts the attempts that it would make.
    pub dry_run: bool,
}

/// Time until a second attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HedgeDelay {
    /// This time.
    After(Duration),
    /// The time in which 95 % of the pool's responses come.
    P95,
}
