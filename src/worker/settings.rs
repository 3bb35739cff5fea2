//! What the operator decides about the data plane; the same on every core.

use std::net::IpAddr;
use std::time::Duration;

use crate::limits;
use ringway_model::Cidr;
use ringway_traffic::policy::Policy;
use ringway_wire::h1;

use crate::exchange::public_health::PublicHealth;
use crate::exchange::via::Via;

/// Settings of every worker. The defaults are those of `ringway_model::limits`, and a name in `Via` that no other has.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the first byte of a request head, or from accept, to its last.
    pub head_timeout: Duration,
    /// Between two requests of one connection.
    pub idle_timeout: Duration,
    /// Timeouts and limits of a request: the default of all rules, and what holds where no rule is matched.
    pub policy: Policy,
    /// How long upgraded connections outlast their instance, app or domain when that is removed without a drain.
    pub drain_timeout: Duration,
    /// Connections of one core.
    pub connections_max: usize,
    /// Open files of one core for connections of clients and to endpoints together; each has what the other leaves.
    pub connection_files_max: usize,
    /// Peers whose `X-Forwarded-*` and `X-Request-ID` are believed (C24).
    pub trusted_proxies: Vec<Cidr>,
    /// Load balancers that begin each connection with a PROXY header, and must.
    pub proxy_protocol: Vec<Cidr>,
    /// Handshakes of one client under way on one core; trusted proxies have no such limit.
    pub handshakes_per_client_max: usize,
    /// Handshakes that one client may begin a second on one core, in the long run; 0 is no limit.
    pub handshake_rate_per_client: u32,
    /// The status when no instance of an app can answer: 502, or 503 (C3).
    pub unavailable_status: u16,
    /// Limits of request and response heads.
    pub heads: h1::Limits,
    /// What this proxy calls itself in `Via`, by which it knows loops; without it there is no such line, and no such knowledge.
    pub via: Option<Via>,
    /// Paths by which load balancers ask for this process's health; without them none is answered.
    pub public_health: Option<PublicHealth>,
    /// Keys the choice of an endpoint for WebSocket reconnects; the same on all cores and after a restart.
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
    /// Does this peer begin its connections with a PROXY header? Of others such a header is never read.
    pub fn expects_proxy_header(&self, peer: IpAddr) -> bool {
        self.proxy_protocol.iter().any(|network| network.contains(peer))
    }

    /// Is this peer a proxy of ours?
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}
