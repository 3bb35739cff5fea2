//! Policies: timeouts and limits of requests, shared by name or written in place.

use std::sync::Arc;
use std::time::Duration;

use crate::{CircuitBreaker, Configured, Hedge, Kind, Owner, PolicyId, RateLimit, Retries, Timestamp};

/// A named policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The id.
    pub id: PolicyId,
    /// The owner.
    pub owner: Owner,
    /// The values.
    pub settings: PolicySettings,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Configured for Policy {
    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}

/// Timeouts and limits of requests. An absent value is inherited: a route's policy takes it from its file's
/// defaults, then from its app's or pool's policy, and last from the settings of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PolicySettings {
    /// Timeout to the head of the final response, over all attempts and pauses between them.
    pub timeout: Option<Duration>,
    /// Timeout of one attempt to its response head; another attempt may follow.
    pub per_try_timeout: Option<Duration>,
    /// Timeout of the whole exchange, bodies included.
    pub total_timeout: Option<Duration>,
    /// Maximum bytes of a request body.
    pub body_size_limit: Option<u64>,
    /// Whether requests without TLS are redirected to https or refused.
    pub require_tls: Option<bool>,
    /// Status of the response when no endpoint can be reached: 502 or 503.
    pub unavailable_status: Option<u16>,
    /// Whether WebSocket upgrades are admitted.
    pub websocket: Option<bool>,
    /// Further attempts of failed requests; inherited as a whole, as the following ones.
    pub retries: Option<Retries>,
    /// Limit of the request rate.
    pub rate_limit: Option<RateLimit>,
    /// Circuit breaker of the requests of a route to a pool.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Second attempts of late requests.
    pub hedge: Option<Hedge>,
}

impl PolicySettings {
    /// These values, with absent ones taken from `base`.
    pub fn or(&self, base: &Self) -> Self {
        Self {
            timeout: self.timeout.or(base.timeout),
            per_try_timeout: self.per_try_timeout.or(base.per_try_timeout),
            total_timeout: self.total_timeout.or(base.total_timeout),
            body_size_limit: self.body_size_limit.or(base.body_size_limit),
            require_tls: self.require_tls.or(base.require_tls),
            unavailable_status: self.unavailable_status.or(base.unavailable_status),
            websocket: self.websocket.or(base.websocket),
            retries: self.retries.as_ref().or(base.retries.as_ref()).cloned(),
            rate_limit: self.rate_limit.as_ref().or(base.rate_limit.as_ref()).cloned(),
            circuit_breaker: self.circuit_breaker.as_ref().or(base.circuit_breaker.as_ref()).cloned(),
            hedge: self.hedge.or(base.hedge),
        }
    }
}

/// Reference to a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicyRef {
    /// A policy of any owner, by its id.
    Named(PolicyId),
    /// Values in place.
    Inline(Arc<PolicySettings>),
}

impl PolicyRef {
    /// The id, unless the values stand in place.
    pub fn name(&self) -> Option<&PolicyId> {
        match self {
            Self::Named(id) => Some(id),
            Self::Inline(_) => None,
        }
    }
}
