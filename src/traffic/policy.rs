//! Settings of rules and pools: compiled once, shared by all rules and pools with the same values.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ringway_middleware::{Builtins, Chain};
use ringway_model::{Balancer, PolicySettings, RateLimit, limits};
use ringway_wire::path::Slashes;

use crate::breaker::BreakerSettings;
use crate::limits::TRICKLE_INTERVAL;

/// Timeouts and limits of a request, from its [`Rule`](crate::virtual_host::Rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Connect timeout of an endpoint: all of its addresses together, TLS handshakes included.
    pub connect_timeout: Duration,
    /// Timeout from the last byte of a request to the last byte of its final response's head.
    pub response_head_timeout: Duration,
    /// Idle timeout of a body transfer, in either direction.
    pub body_progress_timeout: Duration,
    /// Idle timeout, in both directions, of a stream of events or gRPC messages. `Duration::MAX` is no limit.
    pub stream_idle_timeout: Duration,
    /// Idle timeout, in both directions, of an upgraded connection.
    pub tunnel_idle_timeout: Duration,
    /// Minimum rate of a request body, in bytes per second, until the response head; 0 is no limit.
    pub body_rate_min: u64,
    /// Maximum bytes of a request body; no limit when absent.
    pub body_bytes_max: Option<u64>,
    /// Maximum attempts of one request, the first included; capped at [`limits::ATTEMPTS_MAX`].
    pub attempts_max: NonZeroU8,
    /// Timeout from the match of the request's rule to the whole head of its final response, over all
    /// attempts, in place of `response_head_timeout`. Begins again at the last byte of a request that came
    /// later than its head.
    pub timeout: Option<Duration>,
    /// Timeout of one attempt to its response head, after which another one may follow.
    pub per_try_timeout: Option<Duration>,
    /// Timeout of the whole exchange, bodies included.
    pub total_timeout: Option<Duration>,
    /// Whether requests without TLS are redirected to https or refused.
    pub requires_tls: bool,
    /// Status of the response when no endpoint can be reached; the process's where absent.
    pub unavailable_status: Option<u16>,
    /// Whether WebSocket upgrades are admitted.
    pub admits_websocket: bool,
}

impl Policy {
    /// This policy with the values that are given.
    pub fn with(&self, settings: &PolicySettings) -> Self {
        let lower = |limit: u64| self.body_bytes_max.map_or(limit, |of_process| limit.min(of_process));
        Self {
            timeout: settings.timeout.or(self.timeout),
            body_bytes_max: settings.body_size_limit.map(lower).or(self.body_bytes_max),
            per_try_timeout: settings.per_try_timeout.or(self.per_try_timeout),
            total_timeout: settings.total_timeout.or(self.total_timeout),
            requires_tls: settings.require_tls.unwrap_or(self.requires_tls),
            unavailable_status: settings.unavailable_status.or(self.unavailable_status),
            admits_websocket: settings.websocket.unwrap_or(self.admits_websocket),
            ..self.clone()
        }
    }

    /// Longest wait for the whole head of a response, from the last byte of its request on.
    pub fn head_timeout(&self) -> Duration {
        self.timeout.unwrap_or(self.response_head_timeout)
    }
}

impl Default for Policy {
    /// The defaults of `ringway_model::limits`; body sizes and idle streams have no limit.
    fn default() -> Self {
        Self {
            connect_timeout: limits::CONNECT_TIMEOUT,
            response_head_timeout: limits::RESPONSE_HEAD_TIMEOUT,
            body_progress_timeout: limits::BODY_PROGRESS_TIMEOUT,
            stream_idle_timeout: Duration::MAX,
            tunnel_idle_timeout: limits::TUNNEL_IDLE_TIMEOUT,
            body_rate_min: limits::BODY_RATE_MIN,
            body_bytes_max: None,
            attempts_max: ATTEMPTS_MAX,
            timeout: None,
            per_try_timeout: None,
            total_timeout: None,
            requires_tls: false,
            unavailable_status: None,
            admits_websocket: true,
        }
    }
}

const ATTEMPTS_MAX: NonZeroU8 = NonZeroU8::new(limits::ATTEMPTS_MAX as u8).expect("one attempt at least");

/// Settings of a pool. The balancing and breaker state outlives snapshots; changed settings come with the
/// next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Load balancing algorithm. Upgrades use [`sticky`](crate::balance::sticky).
    pub balancer: Balancer,
    /// Circuit breaker of each endpoint.
    pub breaker: BreakerSettings,
    /// Interval between the requests admitted while no endpoint is available, with the `trickle` policy.
    pub trickle_interval: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            balancer: Balancer::RoundRobin,
            breaker: BreakerSettings::DEFAULT,
            trickle_interval: TRICKLE_INTERVAL,
        }
    }
}

/// Default settings of rules and pools.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Policy of rules.
    pub policy: Arc<Policy>,
    /// Settings of pools.
    pub pool: Arc<PoolSettings>,
    /// Rate limit of rules whose policies have none.
    pub rate_limit: Option<RateLimit>,
    /// Middleware of rules; without any, requests have no cost for it.
    pub stages: Option<Arc<Chain>>,
    /// Stages that plugins of the type `builtin` name.
    pub builtins: Arc<Builtins>,
    /// Lifetime of responses without one of their own, for caches that name none. `None`: there is no store,
    /// and rules have no cache.
    pub cache_ttl: Option<Duration>,
    /// Handling of empty segments in paths of hosts with rules by path.
    pub slashes: Slashes,
}
