//! Listeners of a worker: the protocol of their connections, and the handler of their requests.
//!
//! ```text
//! http   plain       Gateway
//!        redirect    Gateway, which redirects hosts that have a certificate to https
//!        https_only  AcmeOnly
//! https              Gateway
//! forward            Forward, without TLS
//! ```
//! ACME challenges are answered by every handler: a CA follows redirects (RFC 8555 §8.3).

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{Permit, Permits};
use ringway_traffic::policy::Policy;
use ringway_wire::h1;

use crate::settings::Settings;

/// Configuration of a listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Protocol of its connections.
    pub protocol: ListenerProtocol,
    /// Handler of its requests.
    pub handler: Handler,
    /// Timeouts and limits of its connections; absent: those of [`Settings`].
    pub limits: Option<Arc<ListenerLimits>>,
}

/// Timeouts and limits of the client connections of a listener.
#[derive(Clone, Debug)]
pub struct ListenerLimits {
    /// Timeout of a request head: from its first byte, or from accept, to its last.
    pub head_timeout: Duration,
    /// Timeout between two requests of a connection.
    pub idle_timeout: Duration,
    /// Longest time in which a client sends no byte of a request body that is not a stream; absent: the
    /// `body_progress_timeout` of the rule's policy.
    pub read_timeout: Option<Duration>,
    /// Longest time in which a client takes no byte of its response; absent: the `body_progress_timeout` of
    /// the rule's policy.
    pub write_timeout: Option<Duration>,
    /// Limits of request heads.
    pub heads: h1::Limits,
    /// Connections at a time, of all cores together; absent: only the limit of each core.
    pub connections: Option<Permits>,
}

/// Listener of a core, by its position in the configuration. The same on all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerId(u16);

/// Listeners of a core, with the limits in force.
pub(crate) struct Listeners(Box<[CoreListener]>);

/// Listener of a core.
pub(crate) struct CoreListener {
    pub(crate) protocol: ListenerProtocol,
    pub(crate) handler: Handler,
    pub(crate) limits: ListenerLimits,
}

/// Admission of a connection by its listener, kept for as long as it is open.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) listener: ListenerId,
    /// Place among the connections of the listener, where it has a limit.
    #[expect(dead_code, reason = "held for its drop")]
    permit: Option<Rc<Permit>>,
}

/// Protocol of the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP/1.1 without TLS.
    Http,
    /// HTTP/1.1 or HTTP/2 over TLS.
    Https,
}

/// Handler of the requests of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handler {
    /// Routes requests to apps.
    Gateway {
        /// Whether requests for hosts that can be served over TLS are redirected to https.
        redirects_to_https: bool,
    },
    /// Answers ACME challenges, and refuses all other requests.
    AcmeOnly,
    /// The forward proxy.
    Forward,
}

/// Mode of the `http` listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMode {
    /// All hosts are served, as over TLS.
    Plain,
    /// Hosts that can be served over TLS are redirected to https; the others are served.
    #[default]
    Redirect,
    /// Only ACME challenges are answered.
    HttpsOnly,
}

impl ListenerConfig {
    /// A listener without TLS.
    pub fn http(mode: HttpMode) -> Self {
        let handler = match mode {
            HttpMode::Plain => Handler::Gateway { redirects_to_https: false },
            HttpMode::Redirect => Handler::Gateway { redirects_to_https: true },
            HttpMode::HttpsOnly => Handler::AcmeOnly,
        };
        Self { protocol: ListenerProtocol::Http, handler, limits: None }
    }

    /// A listener of the forward proxy, without TLS.
    pub fn forward() -> Self {
        Self { protocol: ListenerProtocol::Http, handler: Handler::Forward, limits: None }
    }

    /// A listener with TLS.
    pub fn https() -> Self {
        let handler = Handler::Gateway { redirects_to_https: false };
        Self { protocol: ListenerProtocol::Https, handler, limits: None }
    }

    /// Sets timeouts and limits of its own.
    #[must_use]
    pub fn limits(self, limits: Arc<ListenerLimits>) -> Self {
        Self { limits: Some(limits), ..self }
    }
}

impl ListenerLimits {
    /// Those of a listener that has none of its own.
    pub fn of(settings: &Settings) -> Self {
        Self {
            head_timeout: settings.head_timeout,
            idle_timeout: settings.idle_timeout,
            read_timeout: None,
            write_timeout: None,
            heads: settings.heads,
            connections: None,
        }
    }

    /// Longest time in which a client sends no byte of its request's body.
    pub(crate) fn read_stall(&self, policy: &Policy) -> Duration {
        self.read_timeout.unwrap_or(policy.body_progress_timeout)
    }

    /// Longest time in which a client takes no byte of its response.
    pub(crate) fn write_stall(&self, policy: &Policy) -> Duration {
        self.write_timeout.unwrap_or(policy.body_progress_timeout)
    }
}

impl Listeners {
    /// Listeners with these configurations, in this order.
    pub(crate) fn new(configs: Vec<ListenerConfig>, settings: &Settings) -> Self {
        let listener = |config: ListenerConfig| CoreListener {
            protocol: config.protocol,
            handler: config.handler,
            limits: config.limits.map_or_else(|| ListenerLimits::of(settings), |own| (*own).clone()),
        };
        Self(configs.into_iter().map(listener).collect())
    }

    /// Their IDs, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = ListenerId> + use<> {
        (0..self.0.len() as u16).map(ListenerId)
    }

    /// Returns a listener.
    #[inline]
    pub(crate) fn get(&self, id: ListenerId) -> &CoreListener {
        &self.0[usize::from(id.0)]
    }

    /// Admits a connection; `None` when the listener has as many as it may have.
    pub(crate) fn admit(&self, id: ListenerId) -> Option<Admission> {
        let permit = match &self.get(id).limits.connections {
            Some(connections) => Some(Rc::new(connections.take()?)),
            None => None,
        };
        Some(Admission { listener: id, permit })
    }
}

impl Admission {
    /// The admission of one HTTP/2 stream, which its connection outlives.
    pub(crate) fn of_stream(&self) -> Self {
        Self { listener: self.listener, permit: None }
    }
}
