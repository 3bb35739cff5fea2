//! Hosts that nobody registered, where a resolver may know them: asked for once, however many requests wait.
//!
//! ```text
//! no route ──► HostWanted ──► a snapshot with its route ─► served
//!    │                   └──► HostAbsent ─► 404, or 503; remembered for a moment
//!    └ no answer in time ─────────────────► 503
//! route of a resolver ──► served, and HostWanted once in a while, so that the answer stays fresh
//! ```

use std::cell::RefCell;
use std::task::{Poll, Waker};

use crate::limits;
use ahash::AHashMap;
use ringway_bridge::MailboxSender;
use ringway_model::{CoreId, Hostname, Owner, Tick};
use ringway_net::Waits;
use ringway_traffic::report::{Absence, Report};
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::VirtualHost;
use ringway_wire::h1::RequestHead;

use crate::accept::listener::Handler;
use crate::core::{ConnBuffers, Core};
use crate::exchange::acme_challenge;
use crate::exchange::failure::Failure;
use crate::lru_cache::LruCache;
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;

/// What a core knows of such hosts.
pub(crate) struct Hosts {
    core: CoreId,
    known: RefCell<LruCache<Hostname, Known>>,
    waiting: RefCell<AHashMap<Hostname, Vec<Waker>>>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// Until when an answer to the last question is waited for.
    asked_until: Tick,
    /// Until when the host counts as fresh: nothing is asked.
    fresh_until: Tick,
    /// What the last answer was, and until when it holds.
    absent: Option<(Absence, Tick)>,
}

impl Hosts {
    pub(crate) fn new(core: CoreId) -> Self {
        let known = RefCell::new(LruCache::new(limits::HOSTS_PER_CORE_MAX));
        Self { core, known, waiting: RefCell::default() }
    }

    /// A snapshot came: whoever waits for a host that is settled now goes on.
    pub(crate) fn handle_snapshot(&self, snapshot: &Snapshot) {
        let mut woken = Vec::new();
        self.waiting.borrow_mut().retain(|host, waiters| {
            let is_settled = snapshot.is_settled(host.as_str());
            if is_settled {
                woken.append(waiters);
                // The question has its answer: when the route goes again, another one may be asked at once.
                if let Some(known) = self.known.borrow_mut().get(host) {
                    known.asked_until = Tick::default();
                }
            }
            !is_settled
        });
        woken.into_iter().for_each(Waker::wake);
    }

    /// The control thread says that there is no route.
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

    /// A request is served by what a resolver said a while ago: has it asked again when that is long enough ago.
    fn refresh(&self, host: &VirtualHost, now: Tick, reports: &MailboxSender<Report>) {
        let mut known = self.known.borrow_mut();
        let entry = match known.get(host.host.as_str()) {
            Some(entry) if now < entry.fresh_until => return,
            Some(entry) => *entry,
            None => Known::default(),
        };
        let fresh_until = now.after(ringway_model::limits::RESOLVED_FRESH);
        known.insert(host.host.clone(), Known { fresh_until, ..entry });
        // Full: the next request asks.
        let _ = reports.send(Report::HostWanted { core: self.core, host: host.host.clone() });
    }

    /// What is known of a host that is not settled. Asks when nobody has.
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
        let asked_until = now.after(limits::HOST_PATIENCE);
        known.insert(host.clone(), Known { asked_until, ..Known::default() });
        None
    }

    /// Has the waker called when something is known of the host; false when too many hosts are waited for.
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

/// Whether a request needs to wait until a resolver was asked; sees to it that hosts which one knows stay known.
pub(crate) fn is_wanted<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &ConnBuffers,
    snapshot: &Snapshot,
) -> bool {
    let Some(hosts) = &core.on_demand_hosts else { return false };
    let request = &buffers.request;
    if !is_routed(request, &buffers.client_in, client.handler) {
        return false;
    }
    match snapshot.virtual_host(request.host()) {
        None => true,
        Some(host) if host.owner == Owner::Resolver => {
            hosts.refresh(host, core.runtime.now(), &core.reports);
            !snapshot.is_settled(request.host())
        }
        Some(_) => false,
    }
}

/// Whether a request is answered by an app, if its host has one.
fn is_routed(request: &RequestHead, input: &[u8], handler: Handler) -> bool {
    handler != Handler::AcmeOnly && acme_challenge::token(request, input).is_none()
}

/// Waits until the host has a route or is known to have none; what to tell the client if there is none after that.
pub(crate) async fn wait<R: Runtime>(core: &Core<R>, host: &str) -> Failure {
    let Some(hosts) = &core.on_demand_hosts else { return Failure::UnknownHost };
    // An address, or a name that no domain can have.
    let Ok(host) = Hostname::parse(host) else { return Failure::UnknownHost };
    let deadline = core.runtime.now().after(limits::HOST_PATIENCE);
    let poll = |cx: &mut std::task::Context<'_>| {
        if core.tables().snapshot.is_settled(host.as_str()) {
            return Poll::Ready(Ok(Failure::UnknownHost));
        }
        match hosts.look(&host, core.runtime.now(), &core.reports) {
            Some(Absence::Unknown) => Poll::Ready(Ok(Failure::UnknownHost)),
            Some(Absence::Unresolved) => Poll::Ready(Ok(Failure::Unresolved)),
            None if hosts.register(&host, cx.waker()) => Poll::Pending,
            None => Poll::Ready(Ok(Failure::Unresolved)),
        }
    };
    let waited = match Waits::new() {
        Ok(waits) => waits.read(deadline, poll).await,
        Err(error) => Err(error),
    };
    waited.unwrap_or_else(|_| {
        // The others who wait look again, and find out for themselves.
        hosts.wake(&host);
        Failure::Unresolved
    })
}
