//! A public listener: its addresses, its protocol, and the timeouts and limits of its connections.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::Permits;
use ringway_model::ForwardLimits;
use ringway_worker::{HttpMode, ListenerConfig, ListenerLimits};

/// Public listener, for [`Builder::listen`](super::Builder::listen). Whatever is not set is as in
/// [`Builder::data`](super::Builder::data).
///
/// ```
/// # use std::time::Duration;
/// use ringway::{HttpMode, Listener};
///
/// let internal = Listener::http(vec!["127.0.0.1:8081".parse().unwrap()])
///     .mode(HttpMode::Plain)
///     .idle_timeout(Duration::from_secs(300))
///     .connections_max(1_000);
/// ```
#[derive(Debug)]
pub struct Listener {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) sockets: Vec<TcpListener>,
    pub(super) protocol: Protocol,
    head_timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
    head_bytes_max: Option<usize>,
    connections_max: Option<u32>,
    uri_bytes_max: Option<usize>,
    fields_max: Option<usize>,
}

/// Protocol of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http(HttpMode),
    Https,
    Forward,
}

impl Listener {
    fn new(addresses: Vec<SocketAddr>, protocol: Protocol) -> Self {
        Self {
            addresses,
            sockets: Vec::new(),
            protocol,
            head_timeout: None,
            idle_timeout: None,
            read_timeout: None,
            write_timeout: None,
            head_bytes_max: None,
            connections_max: None,
            uri_bytes_max: None,
            fields_max: None,
        }
    }

    /// A listener without TLS, in the default mode. Port 0 takes a free one, the same for all addresses.
    pub fn http(addresses: Vec<SocketAddr>) -> Self {
        Self::new(addresses, Protocol::Http(HttpMode::default()))
    }

    /// A listener with TLS. Port 0 takes a free one, the same for all addresses.
    pub fn https(addresses: Vec<SocketAddr>) -> Self {
        Self::new(addresses, Protocol::Https)
    }

    /// A listener of the forward proxy.
    pub(super) fn forward(addresses: Vec<SocketAddr>, limits: &ForwardLimits) -> Self {
        Self {
            head_bytes_max: Some(limits.head),
            connections_max: Some(limits.connections),
            uri_bytes_max: Some(limits.url),
            fields_max: Some(limits.fields),
            ..Self::new(addresses, Protocol::Forward)
        }
    }

    /// Adds listening sockets; all workers accept from each.
    #[must_use]
    pub fn sockets(mut self, sockets: Vec<TcpListener>) -> Self {
        self.sockets.extend(sockets);
        self
    }

    /// Sets the mode of a listener without TLS; one with TLS has none.
    #[must_use]
    pub fn mode(mut self, mode: HttpMode) -> Self {
        if let Protocol::Http(old) = &mut self.protocol {
            *old = mode;
        }
        self
    }

    /// Sets the longest time for a client to send the head of a request.
    #[must_use]
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = Some(timeout);
        self
    }

    /// Sets the longest time between two requests on one connection.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = Some(timeout);
        self
    }

    /// Sets the longest time in which a client sends no byte of a request that it has begun: of its head, and
    /// of its body unless that is a stream of gRPC. A whole transfer has no limit.
    #[must_use]
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = Some(timeout);
        self
    }

    /// Sets the longest time in which a client takes no byte of its response. A whole transfer has no limit.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = Some(timeout);
        self
    }

    /// Sets the longest request head in bytes; longer ones get 431.
    #[must_use]
    pub fn head_bytes_max(mut self, bytes: usize) -> Self {
        self.head_bytes_max = Some(bytes);
        self
    }

    /// Sets the most connections at a time, on all its addresses and all workers together; further ones get
    /// 503, with TLS a reset. The limit of each worker holds besides.
    #[must_use]
    pub fn connections_max(mut self, count: u32) -> Self {
        self.connections_max = Some(count);
        self
    }

    /// Configuration for the workers.
    pub(super) fn config(&self, settings: &ringway_worker::Settings) -> ListenerConfig {
        let config = match self.protocol {
            Protocol::Http(mode) => ListenerConfig::http(mode),
            Protocol::Https => ListenerConfig::https(),
            Protocol::Forward => ListenerConfig::forward(),
        };
        let mut limits = ListenerLimits::of(settings);
        limits.head_timeout = match (self.head_timeout, self.read_timeout) {
            (Some(own), _) => own,
            (None, Some(read)) => limits.head_timeout.min(read),
            (None, None) => limits.head_timeout,
        };
        limits.idle_timeout = self.idle_timeout.unwrap_or(limits.idle_timeout);
        limits.read_timeout = self.read_timeout;
        limits.write_timeout = self.write_timeout;
        limits.heads.head_bytes_max = self.head_bytes_max.unwrap_or(limits.heads.head_bytes_max);
        limits.heads.uri_bytes_max = self.uri_bytes_max.unwrap_or(limits.heads.uri_bytes_max);
        limits.heads.fields_max = self.fields_max.unwrap_or(limits.heads.fields_max);
        limits.connections = self.connections_max.map(Permits::new);
        config.limits(Arc::new(limits))
    }
}
