//! Open tunnels of a core, and their end after configuration changes.
//!
//! ```text
//! snapshot without the endpoint, or without the rule ─► until = now + drain time (now, after a drain) ─► due: woken
//! ```
//! A request ends by itself and is left alone; a tunnel may last for days, and would keep the process of a
//! removed instance alive as long. Tunnels of on-demand hosts are left alone as well: their rules expire
//! without requests, and stopping their processes ends their connections.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use ahash::{AHashMap, AHashSet};
use ringway_model::{HostPattern, Owner, Tick};
use ringway_traffic::in_flight::InFlight;
use ringway_traffic::snapshot::{Endpoint, EndpointId, PoolId, Snapshot};
use ringway_traffic::virtual_host::RuleId;
use slab::Slab;

use crate::exchange::match_rule::Match;

/// Open tunnels of one core.
#[derive(Default)]
pub(crate) struct Tunnels {
    open: RefCell<Slab<Rc<Entry>>>,
    /// Next time at which [`Tunnels::expire`] has to end a tunnel.
    next: Cell<Option<Tick>>,
    /// [`Snapshot::endpoints_removed`] and [`Snapshot::rules_removed`] of the last snapshot that was checked.
    seen: Cell<(u64, u64)>,
}

struct Entry {
    host: HostPattern,
    rule: RuleId,
    pool: Option<PoolId>,
    endpoint: EndpointId,
    in_flight: Arc<InFlight>,
    is_resolved: bool,
    /// Deadline of its end, once that is known.
    until: Cell<Option<Tick>>,
    is_due: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// A tunnel, open until this is dropped.
pub(crate) struct Open<'a> {
    tunnels: &'a Tunnels,
    key: usize,
    entry: Rc<Entry>,
}

impl Tunnels {
    /// Registers a tunnel. `snapshot` is the newest one, which may be newer than the one that routed it.
    pub(crate) fn open(
        &self,
        Match { host, rule }: Match<'_>,
        endpoint: &Endpoint,
        snapshot: &Snapshot,
        now: Tick,
        drain: Duration,
    ) -> Open<'_> {
        let entry = Rc::new(Entry {
            host: host.host.clone(),
            rule: rule.id,
            pool: rule.pool(),
            endpoint: endpoint.id,
            in_flight: endpoint.in_flight.clone(),
            is_resolved: host.owner == Owner::Resolver,
            until: Cell::new(None),
            is_due: Cell::new(false),
            waker: Cell::new(None),
        });
        let key = self.open.borrow_mut().insert(entry.clone());
        if entry.is_stranded(snapshot, &mut Routed::default()) {
            self.leave(&entry, now, drain);
        }
        Open { tunnels: self, key, entry }
    }

    /// Applies a newer snapshot. Tunnels are checked only when endpoints or rules were removed.
    pub(crate) fn handle_snapshot(&self, snapshot: &Snapshot, now: Tick, drain: Duration) {
        let removed = (snapshot.endpoints_removed, snapshot.rules_removed);
        if self.seen.replace(removed) == removed {
            return;
        }
        let mut routed = Routed::default();
        for (_, entry) in self.open.borrow().iter() {
            if entry.until.get().is_none() && entry.is_stranded(snapshot, &mut routed) {
                self.leave(entry, now, drain);
            }
        }
    }

    /// Wakes the tunnels past their deadline.
    pub(crate) fn expire(&self, now: Tick) {
        if self.next.get().is_none_or(|next| next > now) {
            return;
        }
        let mut next: Option<Tick> = None;
        for (_, entry) in self.open.borrow().iter().filter(|(_, entry)| !entry.is_due.get()) {
            match entry.until.get() {
                Some(until) if until <= now => entry.wake(),
                Some(until) => next = Some(next.map_or(until, |next| next.min(until))),
                None => {}
            }
        }
        self.next.set(next);
    }

    fn leave(&self, entry: &Entry, now: Tick, drain: Duration) {
        if entry.in_flight.is_drained() {
            entry.until.set(Some(now));
            return entry.wake();
        }
        let until = now.after(drain);
        entry.until.set(Some(until));
        self.next.set(Some(self.next.get().map_or(until, |next| next.min(until))));
    }
}

/// Rules of the hosts of tunnels with the pools that they lead to, gathered once for all tunnels of a host:
/// both may be thousands.
#[derive(Default)]
struct Routed(AHashMap<HostPattern, AHashSet<(RuleId, Option<PoolId>)>>);

impl Routed {
    fn of(&mut self, snapshot: &Snapshot, host: &HostPattern) -> &AHashSet<(RuleId, Option<PoolId>)> {
        self.0.entry(host.clone()).or_insert_with(|| {
            let rules = snapshot.virtual_host_of(host).into_iter().flat_map(|host| host.rules.iter());
            rules.map(|rule| (rule.id, rule.pool())).collect()
        })
    }
}

impl Entry {
    /// Whether its endpoint or domain was removed, or the domain leads to another app.
    fn is_stranded(&self, snapshot: &Snapshot, routed: &mut Routed) -> bool {
        let mut leads_there = || {
            snapshot.has_endpoint(self.endpoint)
                && routed.of(snapshot, &self.host).contains(&(self.rule, self.pool))
        };
        !self.is_resolved && !leads_there()
    }

    fn wake(&self) {
        self.is_due.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Open<'_> {
    /// Waits until it has to end.
    pub(crate) async fn due(&self) {
        poll_fn(|cx| {
            if self.entry.is_due.get() {
                return Poll::Ready(());
            }
            self.entry.waker.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.tunnels.open.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::{
        AppId, AppSpec, Change, Desired, DomainKind, DomainSpec, DomainUpdate, HealthCheck, Hostname,
        InstanceId, InstanceSpec, Target, Timestamp,
    };
    use ringway_traffic::compile::{Compiler, CompilerSettings};
    use ringway_traffic::virtual_host::Rules;

    const DRAIN: Duration = Duration::from_secs(30);
    const NOW: Tick = Tick(1_000);

    struct Plane {
        desired: Desired,
        compiler: Compiler,
    }

    impl Plane {
        /// Two apps with one instance each; `x.example` leads to the first.
        fn new() -> Self {
            let mut plane = Self {
                desired: Desired::default(),
                compiler: Compiler::new(CompilerSettings { cores: 1, ..CompilerSettings::default() }),
            };
            for name in ["a", "b"] {
                let app = AppSpec::new(AppId::parse(name).unwrap());
                plane.change(Change::Register { instance: Some(instance(name)), domain: None, app });
            }
            plane.change(domain("a"));
            plane
        }

        fn change(&mut self, change: Change) -> Arc<Snapshot> {
            self.change_as(&Owner::Api, change)
        }

        fn change_as(&mut self, owner: &Owner, change: Change) -> Arc<Snapshot> {
            let applied = self.desired.apply_as(owner, &change, Timestamp(0)).unwrap();
            let compiled = self.compiler.compile(&applied.desired, &applied.deltas);
            self.desired = applied.desired;
            self.compiler.commit(compiled).unwrap().snapshot
        }

        fn open<'a>(&self, tunnels: &'a Tunnels) -> Open<'a> {
            let snapshot = self.compiler.snapshot();
            let endpoint = snapshot.endpoint("a", "a").unwrap();
            tunnels.open(matched(snapshot), endpoint, snapshot, NOW, DRAIN)
        }
    }

    fn matched(snapshot: &Snapshot) -> Match<'_> {
        let host = snapshot.virtual_host("x.example").unwrap();
        let Rules::One(rule) = &host.rules else { panic!("a domain has one rule") };
        Match { host, rule }
    }

    fn instance(name: &str) -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::parse(name).unwrap(),
            app: AppId::parse(name).unwrap(),
            target: Target::parse("http://127.0.0.1:3000").unwrap(),
            health_check: HealthCheck::default(),
        }
    }

    fn domain(app: &str) -> Change {
        domain_of(AppId::parse(app).unwrap())
    }

    fn domain_of(app: AppId) -> Change {
        Change::AddDomain(DomainSpec {
            policy: None,
            certificate: None,
            client_auth: None,
            name: Hostname::parse("x.example").unwrap(),
            app,
            tenant: None,
            kind: DomainKind::Subdomain,
            cname_target: None,
        })
    }

    fn remove_instance() -> Change {
        Change::RemoveInstance { id: InstanceId::parse("a").unwrap(), generation: None }
    }

    fn remove_domain() -> Change {
        Change::RemoveDomain { name: Hostname::parse("x.example").unwrap() }
    }

    fn move_domain() -> Change {
        Change::UpdateDomain(DomainUpdate {
            app: Some(AppId::parse("b").unwrap()),
            ..DomainUpdate::new(Hostname::parse("x.example").unwrap())
        })
    }

    #[test]
    fn a_removal_ends_a_tunnel_after_the_drain_time() {
        for removal in [remove_instance(), remove_domain(), move_domain()] {
            let (mut plane, tunnels) = (Plane::new(), Tunnels::default());
            let open = plane.open(&tunnels);
            tunnels.handle_snapshot(&plane.change(removal.clone()), NOW, DRAIN);
            tunnels.expire(Tick(NOW.after(DRAIN).0 - 1));
            assert!(!open.entry.is_due.get(), "{removal:?}");
            tunnels.expire(NOW.after(DRAIN));
            assert!(open.entry.is_due.get(), "{removal:?}");
        }
    }

    #[test]
    fn an_instance_that_was_drained_loses_its_tunnels_with_its_removal() {
        let (mut plane, tunnels) = (Plane::new(), Tunnels::default());
        let open = plane.open(&tunnels);
        open.entry.in_flight.set_drained(true);
        tunnels.handle_snapshot(&plane.change(remove_instance()), NOW, DRAIN);
        assert!(open.entry.is_due.get());
    }

    #[test]
    fn changes_of_others_and_a_drain_leave_a_tunnel_alone() {
        let (mut plane, tunnels) = (Plane::new(), Tunnels::default());
        let open = plane.open(&tunnels);
        let others = Change::RemoveInstance { id: InstanceId::parse("b").unwrap(), generation: None };
        let id = InstanceId::parse("a").unwrap();
        let drain = Change::DrainInstance { id, generation: None, until: Timestamp(1) };
        for change in [others, drain, Change::AddInstance(instance("a"))] {
            tunnels.handle_snapshot(&plane.change(change), NOW, DRAIN);
        }
        assert_eq!(open.entry.until.get(), None);
    }

    #[test]
    fn an_on_demand_host_that_expires_keeps_its_tunnels() {
        let host = Hostname::parse("x.example").unwrap();
        let app = AppId::resolved(&host);
        let target = Target::parse("http://127.0.0.1:3000").unwrap();
        let id = InstanceId::resolved(&host, &target);
        let instance = InstanceSpec { id: id.clone(), app: app.clone(), target, ..instance("a") };
        let mut plane = Plane {
            desired: Desired::default(),
            compiler: Compiler::new(CompilerSettings { cores: 1, ..CompilerSettings::default() }),
        };
        let register =
            Change::Register { app: AppSpec::new(app.clone()), instance: Some(instance), domain: None };
        plane.change_as(&Owner::Resolver, register);
        plane.change_as(&Owner::Resolver, domain_of(app.clone()));
        let (tunnels, snapshot) = (Tunnels::default(), plane.compiler.snapshot().clone());
        let endpoint = snapshot.endpoint(app.as_str(), id.as_str()).unwrap();
        let open = tunnels.open(matched(&snapshot), endpoint, &snapshot, NOW, DRAIN);
        plane.change_as(&Owner::Resolver, remove_domain());
        let removed = plane.change_as(&Owner::Resolver, Change::RemoveApp { id: app });
        tunnels.handle_snapshot(&removed, NOW, DRAIN);
        assert_eq!(open.entry.until.get(), None);
    }

    #[test]
    fn a_domain_that_is_added_again_does_not_keep_the_tunnels_of_the_old_one() {
        let (mut plane, tunnels) = (Plane::new(), Tunnels::default());
        let open = plane.open(&tunnels);
        plane.change(remove_domain());
        // The core sees the newest snapshot only.
        tunnels.handle_snapshot(&plane.change(domain("a")), NOW, DRAIN);
        assert_eq!(open.entry.until.get(), Some(NOW.after(DRAIN)));
    }

    #[test]
    fn a_tunnel_that_was_routed_by_an_older_snapshot_ends_as_well() {
        let (mut plane, tunnels) = (Plane::new(), Tunnels::default());
        let old = plane.compiler.snapshot().clone();
        let newest = plane.change(remove_instance());
        tunnels.handle_snapshot(&newest, NOW, DRAIN);
        let open = tunnels.open(matched(&old), old.endpoint("a", "a").unwrap(), &newest, NOW, DRAIN);
        assert_eq!(open.entry.until.get(), Some(NOW.after(DRAIN)));
        drop(open);
        assert!(tunnels.open.borrow().is_empty());
    }
}
