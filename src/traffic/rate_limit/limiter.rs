//! Rate limit of a rule.

use std::sync::Arc;

use ringway_model::RateLimit;

/// Rate limit of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimiter {
    /// The policy that has it, or the route with one in place. Rules with the same scope count together,
    /// as far as the key says.
    pub scope: LimitScope,
    /// The settings.
    pub settings: RateLimit,
}

/// Owner of the counts of a rate limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// A named policy.
    Policy(Arc<str>),
    /// A route, or a registered domain.
    Route(Arc<str>),
    /// An app or pool with a policy in place.
    Pool(Arc<str>),
}
