//! Forward proxy on one core: the rules in force, names, and what becomes of each request.
//!
//! ```text
//! head ─► admit: client, rate, credentials, target, lists ─► names ─► addresses ─┬─ http:// ─► an exchange
//!    │                                                                           │    with its own snapshot
//!    └─ Denial ─► local reply, line of the access log                            └─ CONNECT ─► relay
//! ```
//! A core never resolves a name and never reads a list: both are the business of `control/forward`.

mod admit;
mod connect;
mod names;
mod relay;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ringway_bridge::{MailboxReceiver, MailboxSender};
use ringway_forward::messages::{NameMessage, Update};
use ringway_forward::{ClientKey, Clients, Policy, limits};
use ringway_model::{CoreId, Tick};
use ringway_traffic::destination::{self, DestinationId};
use ringway_traffic::policy::Policy as RequestPolicy;

use self::names::Names;
use crate::core::Tables;
use crate::lru_cache::LruCache;

pub(crate) use admit::{Admitted, admit};
pub(crate) use relay::{Ends, relay};

/// Connection of a core to the threads of the forward proxy.
pub struct ForwardSource {
    /// The first rules.
    pub policy: Arc<Policy>,
    /// Requests for names.
    pub names: MailboxSender<NameMessage>,
    /// Rules, and addresses of names; each wakes the core.
    pub updates: MailboxReceiver<Update>,
}

/// State of the forward proxy on one core.
pub(crate) struct ForwardState {
    core: CoreId,
    rules: RefCell<Rules>,
    pub(crate) names: Names,
    updates: MailboxReceiver<Update>,
    clients: RefCell<Clients>,
    destinations: RefCell<LruCache<(Box<str>, u16), DestinationId>>,
    next_destination: Cell<u64>,
}

/// Rules in force, and the settings of requests that follow from them.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) policy: Arc<Policy>,
    pub(crate) requests: Arc<RequestPolicy>,
}

/// Tunnel of a client, counted while it lives.
pub(crate) struct TunnelPermit<'c> {
    state: &'c ForwardState,
    client: ClientKey,
}

impl ForwardState {
    pub(crate) fn new(core: CoreId, source: ForwardSource, defaults: &RequestPolicy) -> Self {
        Self {
            core,
            rules: RefCell::new(rules(source.policy, defaults)),
            names: Names::new(core, source.names),
            updates: source.updates,
            clients: RefCell::default(),
            destinations: RefCell::new(LruCache::new(limits::NAMES_PER_CORE_MAX)),
            next_destination: Cell::new(0),
        }
    }

    /// Takes rules and addresses that have come.
    pub(crate) fn handle_updates(&self, now: Tick, defaults: &RequestPolicy) {
        for update in self.updates.drain(limits::MESSAGES_MAX) {
            match update {
                Update::Policy(policy) => {
                    // Connections to targets of the former rules are not reused.
                    self.destinations.replace(LruCache::new(limits::NAMES_PER_CORE_MAX));
                    self.rules.replace(rules(policy, defaults));
                }
                Update::Resolved(resolved) => self.names.handle_resolved(resolved, now),
            }
        }
    }

    /// The rules in force.
    pub(crate) fn rules(&self) -> Rules {
        self.rules.borrow().clone()
    }

    /// Whether a connection of this client is accepted.
    pub(crate) fn accepts(&self, client: IpAddr) -> bool {
        self.rules.borrow().policy.admits_client(client)
    }

    /// Counts a tunnel of a client; `None` where it has too many.
    pub(crate) fn begin_tunnel(&self, client: IpAddr, now: Tick) -> Option<TunnelPermit<'_>> {
        let max = self.rules.borrow().policy.spec.limits.tunnels_per_client;
        let client = ClientKey::from(client);
        self.clients.borrow_mut().begin_tunnel(client, max, now).then(|| TunnelPermit { state: self, client })
    }

    /// The snapshot of a destination. Connections to it are pooled by its name and port.
    fn tables(&self, host: &str, addresses: &[SocketAddr], rules: &Rules) -> Option<Rc<Tables>> {
        let port = addresses.first()?.port();
        let key = (Box::from(host), port);
        let mut destinations = self.destinations.borrow_mut();
        let id = match destinations.get(&key) {
            Some(id) => *id,
            None => {
                let id = DestinationId::new(self.next_destination.get());
                self.next_destination.set(self.next_destination.get() + 1);
                destinations.insert(key, id);
                id
            }
        };
        let snapshot = destination::snapshot(id, addresses, &rules.requests, self.core.0).ok()?;
        Some(Rc::new(Tables { snapshot: Arc::new(snapshot) }))
    }
}

impl Drop for TunnelPermit<'_> {
    fn drop(&mut self) {
        self.state.clients.borrow_mut().end_tunnel(self.client);
    }
}

fn rules(policy: Arc<Policy>, defaults: &RequestPolicy) -> Rules {
    let requests = RequestPolicy {
        body_bytes_max: Some(policy.spec.limits.body),
        attempts_max: std::num::NonZeroU8::MIN,
        // Its tunnel would follow the configuration of apps; clients use CONNECT.
        admits_websocket: false,
        ..defaults.clone()
    };
    Rules { policy, requests: Arc::new(requests) }
}
