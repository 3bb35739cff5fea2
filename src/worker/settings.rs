//! Settings of the data plane, the same on every core.

use std::net::IpAddr;
use std::time::Duration;

use crate::limits;
use ringway_model::Cidr;
use ringway_traffic::policy::Policy;
use ringway_wire::h1;

use crate::exchange::public_health::PublicHealth;
use crate::exchange::via::Via;

/// Settings of every worker. The defaults are those of `ringway_model::limits`, and a unique pseudonym in
/// `Via`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Timeout of a request head: from its first byte, or from accept, to its last.
    pub head_timeout: Duration,
    /// Timeout between two requests of a connection.
    pub idle_timeout: Duration,
    /// Default policy of all rules: timeouts and limits of requests, also of those that match no rule.
    pub policy: Policy,
    /// Time for which upgraded connections outlast their instance, app or domain when it is removed without a
    /// drain.
    pub drain_timeout: Duration,
    /// Maximum client connections of one core.
    pub connections_max: usize,
    /// Maximum file descriptors of one core for connections of clients and to endpoints together.
    pub connection_files_max: usize,
    /// Proxies whose `X-Forwarded-*` and `X-Request-ID` are used.
    pub trusted_proxies: Vec<Cidr>,
    /// Load balancers that begin each connection with a PROXY header. From them it is required, from others
    /// it is never read.
    pub proxy_protocol: Vec<Cidr>,
    /// Maximum TLS handshakes of one client in progress on one core; trusted proxies have no such limit.
    pub handshakes_per_client_max: usize,
    /// Maximum rate of TLS handshakes per second of one client on one core; 0: none.
    pub handshake_rate_per_client: u32,
    /// Status when no instance of an app is available: 502 or 503.
    pub unavailable_status: u16,
    /// Limits of request and response heads.
    pub heads: h1::Limits,
    /// Pseudonym in `Via`, by which forwarding loops are detected; without it, neither.
    pub via: Option<Via>,
    /// Paths of this process's health checks by load balancers.
    pub public_health: Option<PublicHealth>,
    /// Hash key of sticky endpoint selection for WebSocket reconnects: the same on all cores, and after a
    /// restart.
    pub sticky_key: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            head_timeout: ringway_model::limits::HEAD_TIMEOUT,
            idle_timeout: ringway_model::limits::IDLE_TIMEOUT,
            policy: Policy::default(),
            drain_timeout: ringway_model::limits::DRAIN_TIMEOUT,
            connections_max: ringway_model::limits::CONNECTIONS_PER_CORE_MAX,
            connection_files_max: usize::MAX,
            trusted_proxies: Vec::new(),
            proxy_protocol: Vec::new(),
            handshakes_per_client_max: limits::HANDSHAKES_PER_CLIENT_MAX,
            handshake_rate_per_client: limits::HANDSHAKE_RATE_PER_CLIENT,
            unavailable_status: 502,
            heads: h1::Limits::default(),
            via: Some(Via::unique()),
            public_health: None,
            sticky_key: 0,
        }
    }
}

impl Settings {
    /// Whether this peer begins its connections with a PROXY header.
    pub fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|network| network.contains(peer))
    }

    /// Whether this peer is a trusted proxy.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}
