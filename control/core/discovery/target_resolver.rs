//! The `TargetResolver` trait: an external source of targets, such as a process manager or a service
//! registry.

use std::error::Error;
use std::fmt;

use ringway_model::Target;

use crate::error_chain::with_causes;

/// External source of the targets of hosts that are not registered.
///
/// Called when a request for such a host arrives, and about once a second while requests keep coming.
/// Registered domains take precedence, and results are never stored. A request waits for the first result, at
/// most [`RESOLVER_TIMEOUT`](ringway_model::limits::RESOLVER_TIMEOUT). While a lookup runs the last result
/// stays in use, and for `RESOLVED_STALE_MAX` while the resolver fails.
///
/// Calls come from a few dedicated threads, several at once but never two for the same host, and may block; a
/// call that does not return blocks its thread.
pub trait TargetResolver: Send + Sync + 'static {
    /// Looks up the targets of `host`, a name in lower case without a port or a trailing dot.
    ///
    /// # Errors
    /// When the lookup fails. Clients get 503 unless there is a former result.
    fn resolve(&self, host: &str) -> Result<Resolved, ResolverError>;
}

/// Result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// No app serves the host: clients get 404.
    Unknown,
    /// Targets of the host, in no order. An empty list, or one without a healthy target, means that the app
    /// exists but cannot respond: clients get 503, or the response that the operator chose.
    Targets(Vec<ResolvedTarget>),
}

/// One process that serves a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTarget {
    /// Its address. A name is resolved by DNS.
    pub target: Target,
    /// Whether it may receive requests. ringway runs no health checks on it; its circuit breaker works as for
    /// registered instances.
    pub healthy: bool,
}

/// Failure of a lookup, as a sentence for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolverError(String);

impl ResolverError {
    /// Creates an error from its reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// Creates an error from another one and its causes.
    pub fn because(error: &dyn Error) -> Self {
        Self(with_causes(error))
    }
}

impl fmt::Display for ResolverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for ResolverError {}
