//! Trials in the compiler: two configurations never give one id or slot to different things, and what ends
//! leaves no trace.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use ringway_model::{
    AppSpec, Balancer, Change, DomainKind, DomainSpec, EndpointSpec, FailurePolicy, HealthCheck, HostPattern,
    InstanceSpec, OnAllUnhealthy, OperatorSet, PoolRef, PoolSpec, Replacement, RouteId, RouteSpec, Timestamp,
};

use super::tests::{app, check_consistency, host, settings};
use super::*;
use crate::snapshot::Endpoint;

fn register(id: &str, target: &str) -> [Change; 2] {
    let health_check = HealthCheck::default();
    let domain = DomainSpec {
        policy: None,
        certificate: None,
        client_auth: None,
        name: host(&format!("{id}.example")),
        app: app(id),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
    };
    let instance = InstanceSpec {
        id: InstanceId::parse(&format!("{id}-1")).unwrap(),
        app: app(id),
        target: Target::parse(target).unwrap(),
        health_check,
    };
    [
        Change::Register { app: AppSpec::new(app(id)), instance: None, domain: Some(domain) },
        Change::AddInstance(instance),
    ]
}

fn remove(id: &str) -> [Change; 2] {
    [Change::RemoveDomain { name: host(&format!("{id}.example")) }, Change::RemoveApp { id: app(id) }]
}

/// The operator's set: pools with their targets, and a route `HOST → pool` each.
fn set(pools: &[(&str, &[&str])], routes: &[(&str, &str)]) -> Change {
    let pool = |(id, targets): &(&str, &[&str])| PoolSpec {
        traffic: Default::default(),
        id: app(id),
        endpoints: targets
            .iter()
            .map(|target| {
                let target = Target::parse(target).unwrap();
                let id = InstanceId::of_endpoint(&app(id), &target);
                EndpointSpec { id, target, weight: 1, health_check: HealthCheck::default() }
            })
            .collect(),
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        policy: None,
    };
    let route = |(at, (name, pool)): (usize, &(&str, &str))| {
        let id = RouteId::parse(&format!("route-{at}")).unwrap();
        Arc::new(RouteSpec::new(id, HostPattern::parse(name).unwrap(), PoolRef::Pool(app(pool))))
    };
    let set = OperatorSet {
        pools: pools.iter().map(pool).collect(),
        routes: routes.iter().enumerate().map(route).collect(),
        ..OperatorSet::default()
    };
    let replacement = Replacement { owner: Owner::File, set: Arc::new(set), expect: None, version: None };
    Change::ReplaceOwned(Arc::new(replacement))
}

/// Minimal control plane with a trial, that follows metric slots as the registry does.
struct Plane {
    desired: Desired,
    on_trial: Option<(Desired, Vec<Delta>)>,
    compiler: Compiler,
    names: BTreeSet<Hostname>,
    slots: [BTreeMap<MetricSlot, String>; 3],
    /// Every thing that an id was ever given to.
    seen: [BTreeMap<u64, String>; 3],
}

impl Plane {
    fn new() -> Self {
        Self {
            desired: Desired::default(),
            on_trial: None,
            compiler: Compiler::new(settings(7)),
            names: BTreeSet::new(),
            slots: Default::default(),
            seen: Default::default(),
        }
    }

    fn apply(desired: &Desired, changes: &[Change]) -> (Desired, Vec<Delta>) {
        let mut desired = desired.clone();
        let mut deltas = Vec::new();
        for change in changes {
            if let Ok(applied) = desired.apply(change, Timestamp(0)) {
                desired = applied.desired;
                deltas.extend(applied.deltas);
            }
        }
        (desired, deltas)
    }

    /// Applies changes to both configurations; those that the trial forbids are left out.
    fn change(&mut self, changes: &[Change]) {
        let (desired, deltas) = Self::apply(&self.desired, changes);
        let on_trial = match &self.on_trial {
            Some((on_trial, own)) => {
                let is_own = |kind: Kind, key: &str| {
                    own.iter().any(|delta| {
                        let (Delta::Put(own) | Delta::Remove(own)) = delta;
                        (own.kind(), own.key()) == (kind, key)
                    })
                };
                match on_trial.rebase(&desired, &deltas, is_own) {
                    Ok(on_trial) => Some((on_trial, own.clone())),
                    Err(_) => return,
                }
            }
            None => None,
        };
        let tried = on_trial.as_ref().map(|(desired, _)| desired);
        let compiled = self.compiler.compile_both(&desired, tried, &deltas);
        self.desired = desired;
        self.on_trial = on_trial;
        self.commit(compiled);
    }

    fn begin(&mut self, change: Change) {
        let (desired, deltas) = Self::apply(&self.desired, &[change]);
        let compiled = self.compiler.begin_trial(&desired, &deltas);
        self.on_trial = Some((desired, deltas));
        self.commit(compiled);
    }

    fn promote(&mut self) {
        let (desired, _) = self.on_trial.take().unwrap();
        self.commit(self.compiler.promote(desired.revision()));
        self.desired = desired;
    }

    fn revert(&mut self) {
        self.on_trial = None;
        self.commit(self.compiler.revert());
    }

    fn commit(&mut self, compiled: Compiled) {
        let before = self.compiler.snapshot().serial;
        let published = self.compiler.commit(compiled).unwrap();
        assert_eq!(published.snapshot.serial, before.next());
        for change in published.slots {
            match change {
                SlotChange::NameRoute { slot, route, app } => {
                    self.slots[0].insert(slot, format!("{route} {app:?}"));
                }
                SlotChange::FreeRoute { slot } => assert!(self.slots[0].remove(&slot).is_some()),
                SlotChange::NamePool { slot, app } => _ = self.slots[1].insert(slot, app.to_string()),
                SlotChange::FreePool { slot } => assert!(self.slots[1].remove(&slot).is_some()),
                SlotChange::NameEndpoint { slot, instance, target, .. } => {
                    self.slots[2].insert(slot, format!("{instance} {target}"));
                }
                SlotChange::FreeEndpoint { slot } => assert!(self.slots[2].remove(&slot).is_some()),
            }
        }
        self.names.extend(published.names_added);
        for name in published.names_removed {
            assert!(self.names.remove(&name));
        }
        self.check();
    }

    /// Checks both snapshots against each other and against the slots.
    fn check(&mut self) {
        let snapshots: Vec<Arc<Snapshot>> =
            [Some(self.compiler.snapshot()), self.compiler.snapshot_on_trial()]
                .into_iter()
                .flatten()
                .cloned()
                .collect();
        let mut used: [BTreeSet<MetricSlot>; 3] = Default::default();
        let mut names = BTreeSet::new();
        for (at, snapshot) in snapshots.iter().enumerate() {
            check_consistency(snapshot);
            assert_eq!(snapshot.serial, self.compiler.snapshot().serial);
            let mut see = |kind: usize, id: u64, thing: String| {
                let known = self.seen[kind].entry(id).or_insert_with(|| thing.clone());
                assert_eq!(*known, thing, "an id was given to two things");
            };
            for host in snapshot.virtual_hosts() {
                for rule in host.rules.iter() {
                    see(0, rule.id.0, format!("{} {} {}", host.host, rule.owner, rule.name));
                    used[0].insert(rule.metric);
                    if at == 0 {
                        let name = format!("{} {:?}", rule.name, rule.app);
                        assert_eq!(self.slots[0].get(&rule.metric), Some(&name));
                    }
                }
            }
            for pool in snapshot.pools() {
                see(1, pool.id.0, pool.app.to_string());
                used[1].insert(pool.metric);
                assert_eq!(self.slots[1].get(&pool.metric), Some(&pool.app.to_string()));
                for endpoint in pool.all_endpoints() {
                    let thing = format!("{} {}", endpoint.instance, endpoint.target);
                    see(2, endpoint.id.0, thing.clone());
                    used[2].insert(endpoint.metric);
                    assert_eq!(self.slots[2].get(&endpoint.metric), Some(&thing));
                    names.extend(endpoint.name().cloned());
                }
            }
        }
        for (used, named) in used.iter().zip(&self.slots) {
            assert_eq!(used.iter().collect::<Vec<_>>(), named.keys().collect::<Vec<_>>(), "no slot leaks");
        }
        assert_eq!(names, self.names, "the names to resolve are those of both");
        if let [base, on_trial] = &snapshots[..] {
            for pool in base.pools() {
                for endpoint in pool.all_endpoints() {
                    let other = on_trial.endpoint(pool.app.as_str(), endpoint.instance.as_str());
                    let Some(other) = other else { continue };
                    let is_same = |a: &Endpoint, b: &Endpoint| Arc::ptr_eq(&a.state, &b.state);
                    assert_eq!(other.id == endpoint.id, is_same(other, endpoint));
                    if other.target == endpoint.target && other.generation == endpoint.generation {
                        assert_eq!(other.id, endpoint.id, "one instance is one endpoint on all cores");
                    }
                }
            }
        }
    }
}

#[test]
fn what_both_add_has_ids_of_its_own() {
    let mut plane = Plane::new();
    plane.change(&register("a", "http://10.0.0.1:80"));
    plane.begin(set(&[("canary", &["http://10.0.0.2:80"])], &[("canary.example", "canary")]));
    plane.change(&register("b", "http://10.9.9.9:80"));
    let (base, on_trial) = (plane.compiler.snapshot(), plane.compiler.snapshot_on_trial().unwrap());
    let added = on_trial.endpoint("canary", "canary@10.0.0.2:80").unwrap();
    let registered = base.endpoint("b", "b-1").unwrap();
    assert_ne!((added.id, added.metric), (registered.id, registered.metric));
    assert!(!base.has_endpoint(added.id));
    // The registration is the same endpoint, rule and pool on the core of the trial.
    let on_trials = on_trial.endpoint("b", "b-1").unwrap();
    assert_eq!(on_trials.id, registered.id);
    assert!(Arc::ptr_eq(&on_trials.state, &registered.state));
    assert!(Arc::ptr_eq(&on_trials.in_flight, &registered.in_flight));
    let pools = [base, on_trial].map(|snapshot| snapshot.pool_of_app("b").unwrap().id);
    assert_eq!(pools[0], pools[1]);
}

#[test]
fn a_reverted_trial_leaves_no_trace() {
    let mut plane = Plane::new();
    plane.change(&register("a", "http://10.0.0.1:80"));
    plane.change(&[set(&[("pool", &["http://10.0.0.3:80"])], &[("pool.example", "pool")])]);
    let (before, slots) = (plane.compiler.snapshot().clone(), plane.slots.clone());
    let replaced = [("pool", &["http://pool.internal:80"][..]), ("more", &["http://10.0.0.5:80"][..])];
    plane.begin(set(&replaced, &[("pool.example", "more"), ("more.example", "more")]));
    assert_eq!(plane.names.len(), 1);
    assert_eq!(plane.compiler.snapshot().endpoints_removed, before.endpoints_removed);
    plane.revert();
    let after = plane.compiler.snapshot();
    assert_eq!(plane.slots, slots);
    assert!(plane.names.is_empty());
    assert_eq!(after.host_count(), before.host_count());
    let pools = [&before, after].map(|snapshot| snapshot.pool_of_app("pool").unwrap().endpoints[0].id);
    assert_eq!(pools[0], pools[1], "pooled connections stay");
    // The core of the trial has to forget what only that had.
    assert_ne!(after.endpoints_removed, before.endpoints_removed);
    assert_ne!(after.rules_removed, before.rules_removed);
}

#[test]
fn names_and_renewals_wait_for_the_promotion() {
    let mut plane = Plane::new();
    plane.change(&register("a", "http://10.0.0.1:80"));
    let pools = [("one", &["http://10.0.0.3:80"][..]), ("two", &["http://10.0.0.4:80"][..])];
    plane.change(&[set(&pools, &[("shop.example", "one")])]);
    let before = plane.slots[0].clone();
    plane.begin(set(&pools[1..], &[("shop.example", "two")]));
    assert_eq!(plane.slots[0], before, "the other cores still count for the former pool");
    plane.promote();
    assert!(plane.slots[0].values().any(|name| name.contains("two")));
    assert!(!plane.slots[1].values().any(|name| name == "one"));
    assert!(plane.compiler.snapshot().pool_of_app("one").is_none());
    assert_eq!(plane.compiler.snapshot().revision, plane.desired.revision());
}

#[test]
fn addresses_certificates_and_challenges_reach_both() {
    let mut plane = Plane::new();
    plane.change(&register("a", "http://a.internal:80"));
    plane.begin(set(&[("pool", &["http://p.internal:80"])], &[("p.example", "pool")]));
    for name in ["a.internal", "p.internal"] {
        let addresses = [IpAddr::from([10, 0, 0, 7])];
        let compiled = plane.compiler.update_addresses(&host(name), &addresses).unwrap();
        plane.commit(compiled);
        assert_eq!(plane.compiler.addresses(name), Some(&addresses[..]));
    }
    let version = Some(CertificateVersion(3));
    let updates = [(host("a.example"), version), (host("p.example"), version)];
    let compiled = plane.compiler.update_certificates(&updates).unwrap();
    plane.commit(compiled);
    plane.commit(plane.compiler.update_challenge("token", Some("answer".into())).unwrap());
    plane.commit(plane.compiler.update_default_certificate(version).unwrap());
    let (base, on_trial) = (plane.compiler.snapshot(), plane.compiler.snapshot_on_trial().unwrap());
    for snapshot in [base, on_trial] {
        assert_eq!(snapshot.endpoint("a", "a-1").unwrap().addresses.len(), 1);
        assert_eq!(snapshot.virtual_host("a.example").unwrap().tls.certificate, version);
        assert!(snapshot.challenge("token").is_some());
        assert_eq!(snapshot.default_certificate, version);
    }
    assert_eq!(on_trial.endpoint("pool", "pool@p.internal:80").unwrap().addresses.len(), 1);
    assert_eq!(on_trial.virtual_host("p.example").unwrap().tls.certificate, version);
    plane.promote();
    assert_eq!(plane.compiler.snapshot().virtual_host("p.example").unwrap().tls.certificate, version);
}

#[test]
fn a_compilation_from_before_the_end_of_a_trial_is_outdated() {
    let mut plane = Plane::new();
    plane.begin(set(&[("pool", &["http://10.0.0.3:80"])], &[("p.example", "pool")]));
    let promotion = plane.compiler.promote(Revision(9));
    plane.revert();
    assert_eq!(plane.compiler.commit(promotion).unwrap_err(), Outdated);
    assert_eq!(plane.compiler.snapshot().host_count(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Register(usize, usize),
    Remove(usize),
    Begin(Vec<(usize, usize)>),
    Promote,
    Revert,
    Resolve(usize),
}

const TARGETS: [&str; 4] =
    ["http://10.0.0.1:80", "http://10.0.0.2:80", "http://one.internal:80", "http://two.internal:81"];
const POOLS: [&str; 3] = ["p", "q", "r"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 0..TARGETS.len()).prop_map(|(app, target)| Step::Register(app, target)),
        2 => (0..4_usize).prop_map(Step::Remove),
        3 => prop::collection::vec((0..POOLS.len(), 0..TARGETS.len()), 0..4).prop_map(Step::Begin),
        1 => Just(Step::Promote),
        1 => Just(Step::Revert),
        1 => (2..4_usize).prop_map(Step::Resolve),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    /// Each commit checks all ids, slots and names of both configurations.
    #[test]
    fn ids_slots_and_names_are_exact_over_any_trials(steps in prop::collection::vec(step(), 1..40)) {
        let mut plane = Plane::new();
        for step in steps {
            match step {
                Step::Register(id, target) => plane.change(&register(&format!("a{id}"), TARGETS[target])),
                Step::Remove(id) => plane.change(&remove(&format!("a{id}"))),
                Step::Begin(given) if plane.on_trial.is_none() => {
                    let mut pools: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
                    for (pool, target) in given {
                        let targets = pools.entry(POOLS[pool]).or_default();
                        if !targets.contains(&TARGETS[target]) {
                            targets.push(TARGETS[target]);
                        }
                    }
                    let routes: Vec<(String, &str)> =
                        pools.keys().map(|pool| (format!("{pool}.example"), *pool)).collect();
                    let pools: Vec<(&str, &[&str])> =
                        pools.iter().map(|(pool, targets)| (*pool, &targets[..])).collect();
                    let routes: Vec<(&str, &str)> =
                        routes.iter().map(|(host, pool)| (host.as_str(), *pool)).collect();
                    plane.begin(set(&pools, &routes));
                }
                Step::Promote if plane.on_trial.is_some() => plane.promote(),
                Step::Revert if plane.on_trial.is_some() => plane.revert(),
                Step::Begin(_) | Step::Promote | Step::Revert => {}
                Step::Resolve(name) => {
                    let name = Target::parse(TARGETS[name]).unwrap();
                    let ringway_model::TargetHost::Name(name) = name.host() else { continue };
                    if let Some(compiled) = plane.compiler.update_addresses(name, &[IpAddr::from([1, 2, 3, 4])]) {
                        plane.commit(compiled);
                    }
                }
            }
        }
    }
}
