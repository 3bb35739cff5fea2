//! Settings of a rule and of a pool: compiled once, shared by all rules and pools that have the same.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ringway_middleware::Chain;
use ringway_model::limits;

use crate::breaker::BreakerSettings;
use crate::limits::TRICKLE_INTERVAL;

/// Settings of a request, which it has from its [`Rule`](crate::virtual_host::Rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// To connect to an endpoint: all of its addresses together, TLS handshakes included.
    pub connect_timeout: Duration,
    /// From the last byte of a request to the last of its final response's head.
    pub response_head_timeout: Duration,
    /// Longest time without one byte of a body, in either direction.
    pub body_progress_timeout: Duration,
    /// Longest silence, in both directions, of a stream of events or gRPC messages. `Duration::MAX` is no limit.
    pub stream_idle_timeout: Duration,
    /// Longest silence, in both directions, of an upgraded connection.
    pub tunnel_idle_timeout: Duration,
    /// Least bytes a second of a request body until the response has begun; 0 is no limit.
    pub body_rate_min: u64,
    /// Most bytes of a request body; no limit when absent.
    pub body_bytes_max: Option<u64>,
    /// Most attempts for one request, the first included; at most [`limits::ATTEMPTS_MAX`] are made.
    pub attempts_max: NonZeroU8,
}

impl Default for Policy {
    /// The defaults of `ringway_model::limits`; body sizes and silent streams have no limit.
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
        }
    }
}

const ATTEMPTS_MAX: NonZeroU8 = NonZeroU8::new(limits::ATTEMPTS_MAX as u8).expect("one attempt at least");

/// Settings of a pool. The state that they govern outlives snapshots; changed numbers come with the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Choice of the endpoint for a request.
    pub balancer: Balancer,
    /// Circuit breaker of each endpoint.
    pub breaker: BreakerSettings,
    /// From one request to the next that passes while no endpoint is healthy, where the app lets some pass.
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

/// Choice of the endpoint for a request. WebSockets have one of their own: [`sticky`](crate::balance::sticky).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balancer {
    /// Each endpoint in turn, per core.
    RoundRobin,
}

/// Settings of rules and pools that have no others.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Of rules.
    pub policy: Arc<Policy>,
    /// Of pools.
    pub pool: Arc<PoolSettings>,
    /// Middleware of rules; none costs a request nothing.
    pub stages: Option<Arc<Chain>>,
}
