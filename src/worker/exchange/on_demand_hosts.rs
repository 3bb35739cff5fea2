//! On-demand hosts: unregistered hosts that an external resolver may know. One lookup, however many requests
//! wait.
//!
//! ```text
//! no route ──► HostWanted ──► snapshot with its route ─► served
//!    │                   └──► HostAbsent ─► 404, or 503; cached for a moment
//!    └ no result in time ─────────────────► 503
//! default host: asked like a host without a route, and serves one that is absent
//! route of a resolver ──► served, and HostWanted once in a while, to refresh it
//! ```

use std::cell::RefCell;
use std::task::{Poll, Waker};

use crate::limits;
use ahash::AHashMap;
use ringway_bridge::MailboxSender;
use ringway_model::{CoreId, HostPattern, Hostname, Owner, Tick};
use ringway_net::Waits;
use ringway_traffic::report::{Absence, Report};
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::VirtualHost;
use ringway_wire::h1::RequestHead;

use crate::accept::listener::Handler;
use crate::core::{ConnBuffers, Core};
use crate::exchange::failure::Failure;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::{Interrupt, acme_challenge};
use crate::lru_cache::LruCache;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

/// On-demand hosts of one core.
pub(crate) struct Hosts {
    core: CoreId,
    known: RefCell<LruCache<Hostname, Known>>,
    waiting: RefCell<AHashMap<Hostname, Vec<Waker>>>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// Deadline of the last lookup.
    asked_until: Tick,
    /// End of the time in which the host needs no refresh.
    fresh_until: Tick,
    /// Negative result of the last lookup, and its expiry.
    absent: Option<(Absence, Tick)>,
}

/// Result of a wait for a host that has no route after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// No app serves the host.
    Unknown,
    /// The resolver did not reply in time, or its queue is full.
    Unresolved,
}

impl From<Absent> for Interrupt<'_> {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Unknown => LocalReply::unknown_host().into(),
            Absent::Unresolved => Failure::Unresolved.into(),
        }
    }
}

impl Hosts {
    pub(crate) fn new(core: CoreId) -> Self {
        let known = RefCell::new(LruCache::new(limits::HOSTS_PER_CORE_MAX));
        Self { core, known, waiting: RefCell::default() }
    }

    /// Wakes the requests that wait for a host that a new snapshot settles.
    pub(crate) fn handle_snapshot(&self, snapshot: &Snapshot) {
        let mut woken = Vec::new();
        self.waiting.borrow_mut().retain(|host, waiters| {
            let is_settled = snapshot.is_settled(host.as_str());
            if is_settled {
                woken.append(waiters);
                // The lookup is over: when the route goes again, the next one may begin at once.
                if let Some(known) = self.known.borrow_mut().get(host) {
                    known.asked_until = Tick::default();
                }
            }
            !is_settled
        });
        woken.into_iter().for_each(Waker::wake);
    }

    /// Notes a host without a route.
    pub(crate) fn handle_absent(&self, host: &Hostname, why: Absence, now: Tick) {
        let until = now.after(limits::HOST_ABSENT_AGE);
        let known = Known { absent: Some((why, until)), ..Known::default() };
        self.known.borrow_mut().insert(host.clone(), known);
        self.wake(host);
    }

    fn wake(&self, host: &Hostname) {
        let waiters = self.waiting.borrow_mut().remove(host);
        waiters.into_iter().flatten().for_each(Waker::wake);
    }

    /// Requests a refresh of a route of a resolver that is old enough.
    fn refresh(&self, host: &VirtualHost, now: Tick, reports: &MailboxSender<Report>) {
        // A resolver knows names only.
        let Some(name) = host.name() else { return };
        let mut known = self.known.borrow_mut();
        let entry = match known.get(name) {
            Some(entry) if now < entry.fresh_until => return,
            Some(entry) => *entry,
            None => Known::default(),
        };
        let fresh_until = now.after(ringway_model::limits::RESOLVED_FRESH);
        known.insert(name.clone(), Known { fresh_until, ..entry });
        // Full: the next request tries again.
        let _ = reports.send(Report::HostWanted { core: self.core, host: name.clone() });
    }

    /// Returns the negative result for a host that is not settled, and begins a lookup where none is under
    /// way.
    fn look(&self, host: &Hostname, now: Tick, reports: &MailboxSender<Report>) -> Option<Absence> {
        let mut known = self.known.borrow_mut();
        match known.get(host) {
            Some(Known { absent: Some((why, until)), .. }) if now < *until => return Some(*why),
            Some(Known { asked_until, .. }) if now < *asked_until => return None,
            Some(_) | None => {}
        }
        if reports.send(Report::HostWanted { core: self.core, host: host.clone() }).is_err() {
            return Some(Absence::Unresolved);
        }
        let asked_until = now.after(limits::HOST_RESOLVE_TIMEOUT);
        known.insert(host.clone(), Known { asked_until, ..Known::default() });
        None
    }

    /// Registers a waker for the result of a host; false when the table is full.
    fn register(&self, host: &Hostname, waker: &Waker) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= limits::HOSTS_PER_CORE_MAX && !waiting.contains_key(host) {
            return false;
        }
        let waiters = waiting.entry(host.clone()).or_default();
        if !waiters.iter().any(|waiter| waiter.will_wake(waker)) {
            waiters.push(waker.clone());
        }
        true
    }
}

/// Whether a request has to wait for the resolver. Refreshes routes of a resolver that are old.
pub(crate) fn is_wanted<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &ConnBuffers,
) -> bool {
    let Some(hosts) = &core.on_demand_hosts else { return false };
    let ConnBuffers { request, client_in, .. } = buffers;
    let is_health =
        core.settings.public_health.as_ref().is_some_and(|paths| paths.is_asked(request, client_in));
    let handler = core.listeners.get(client.admission.listener).handler;
    if is_health || !is_routed(request, client_in, handler) {
        return false;
    }
    let tables = core.tables();
    let snapshot = &tables.snapshot;
    match snapshot.virtual_host(request.host()) {
        None => true,
        // The default host serves a name only if the resolver does not know it.
        Some(host) if host.host == HostPattern::Any => true,
        Some(host) if host.owner == Owner::Resolver => {
            hosts.refresh(host, core.runtime.now(), &core.reports);
            !snapshot.is_settled(request.host())
        }
        Some(_) => false,
    }
}

/// Whether an app serves the request, if its host has one.
fn is_routed(request: &RequestHead, client_in: &[u8], handler: Handler) -> bool {
    handler != Handler::AcmeOnly && acme_challenge::token(request, client_in).is_none()
}

/// Waits until the host has a route or is known to have none. The result counts if there is no route after
/// it.
pub(crate) async fn wait<R: Runtime>(core: &Core<R>, host: &str) -> Absent {
    let Some(hosts) = &core.on_demand_hosts else { return Absent::Unknown };
    // An address, or a name that no domain can have.
    let Ok(host) = Hostname::parse(host) else { return Absent::Unknown };
    let deadline = core.runtime.now().after(limits::HOST_RESOLVE_TIMEOUT);
    let poll = |cx: &mut std::task::Context<'_>| {
        if core.tables().snapshot.is_settled(host.as_str()) {
            return Poll::Ready(Ok(Absent::Unknown));
        }
        match hosts.look(&host, core.runtime.now(), &core.reports) {
            Some(Absence::Unknown) => Poll::Ready(Ok(Absent::Unknown)),
            Some(Absence::Unresolved) => Poll::Ready(Ok(Absent::Unresolved)),
            None if hosts.register(&host, cx.waker()) => Poll::Pending,
            None => Poll::Ready(Ok(Absent::Unresolved)),
        }
    };
    let waited = match Waits::new() {
        Ok(waits) => waits.read(deadline, poll).await,
        Err(error) => Err(error),
    };
    waited.unwrap_or_else(|_| {
        // The other waiting requests check again.
        hosts.wake(&host);
        Absent::Unresolved
    })
}
