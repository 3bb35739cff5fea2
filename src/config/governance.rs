//! Governance: rules that a change of a configuration must keep.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{AppId, HostPattern, Owner, RouteId, Timestamp};

use crate::Place;

/// A rule for changes.
#[derive(Clone, Debug, PartialEq)]
pub struct GovernanceRule {
    /// The rule.
    pub rule: Rule,
    /// Effect of a violation.
    pub mode: RuleMode,
    /// Place of the rule, if its document has places.
    pub place: Option<Place>,
}

/// Effect of a violation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleMode {
    /// The change is refused.
    #[default]
    Refuse,
    /// The change is made, with a warning.
    Warn,
}

/// Condition of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// Only this owner may have routes of these hosts.
    ReservedHosts {
        /// The hosts.
        hosts: Vec<HostPattern>,
        /// The owner.
        owner: Owner,
    },
    /// A change removes at most this share of each kind; absent kinds are not limited.
    MaxRemoved {
        /// Hosts.
        hosts: Option<Share>,
        /// Routes.
        routes: Option<Share>,
        /// Endpoints.
        endpoints: Option<Share>,
    },
    /// Routes of these hosts, or of all when empty, require TLS.
    RequireTls {
        /// The hosts.
        hosts: Vec<HostPattern>,
    },
    /// Routes of these hosts, or of all when empty, have endpoints with verified TLS only.
    ForbidInsecureUpstream {
        /// The hosts.
        hosts: Vec<HostPattern>,
    },
    /// No timeout is longer: neither of a policy, nor that of the process for routes without one.
    MaxTimeout {
        /// The longest.
        max: Duration,
    },
    /// No policy admits more attempts of a request.
    MaxAttempts {
        /// The most, the first attempt included.
        max: u8,
    },
    /// Routes of these hosts, or of all when empty, have a rate limit that is in force.
    RequireRateLimit {
        /// The hosts.
        hosts: Vec<HostPattern>,
    },
    /// Routes of these hosts, or of all when empty, pass stages of all these types.
    RequireMiddleware {
        /// The types, as in documents; `auth` counts where credentials are not optional.
        types: Vec<Arc<str>>,
        /// The hosts.
        hosts: Vec<HostPattern>,
    },
    /// Every pool has at least this many endpoints.
    MinEndpoints {
        /// The number.
        min: u32,
    },
    /// These are not removed.
    Protect {
        /// Hosts.
        hosts: Vec<HostPattern>,
        /// Routes.
        routes: Vec<RouteId>,
        /// Pools.
        pools: Vec<AppId>,
    },
    /// Nothing is changed in this time.
    Freeze {
        /// The begin; none is always.
        from: Option<Timestamp>,
        /// The end; none is never.
        until: Option<Timestamp>,
        /// The reason, for people.
        message: Arc<str>,
    },
    /// A change states a reason.
    RequireReason,
}

impl Rule {
    /// The name in documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ReservedHosts { .. } => "reserved_hosts",
            Self::MaxRemoved { .. } => "max_removed",
            Self::RequireTls { .. } => "require_tls",
            Self::ForbidInsecureUpstream { .. } => "forbid_insecure_upstream",
            Self::MaxTimeout { .. } => "max_timeout",
            Self::MaxAttempts { .. } => "max_attempts",
            Self::RequireRateLimit { .. } => "require_rate_limit",
            Self::RequireMiddleware { .. } => "require_middleware",
            Self::MinEndpoints { .. } => "min_endpoints",
            Self::Protect { .. } => "protect",
            Self::Freeze { .. } => "freeze",
            Self::RequireReason => "require_reason",
        }
    }
}

/// Part of a number of things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Percent of them.
    Percent(u8),
    /// This many.
    Count(u32),
}

impl Share {
    /// The number of things out of `total`, rounded down.
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Percent(percent) => total.saturating_mul(usize::from(percent)) / 100,
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }
}
