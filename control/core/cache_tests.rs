#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ringway_cache::{StoreSettings, Usage};
use ringway_model::{
    AppId, CacheSpec, Change, Desired, HostPattern, OperatorSet, Owner, PoolRef, PoolSpec, Replacement,
    RouteId, RouteSpec, TenantId,
};
use ringway_traffic::cache_rule::CacheRule;
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::policy::Defaults;

use super::*;
use crate::time::{Micros, Now};

/// A compiler with a store, and the configuration that it compiled last.
struct Scene {
    compiler: Compiler,
    desired: Desired,
    cache: Cache,
    now: u64,
}

impl Scene {
    fn new() -> Self {
        let defaults = Defaults { cache_ttl: Some(Duration::from_secs(300)), ..Defaults::default() };
        let mut compiler =
            Compiler::new(CompilerSettings { cores: 1, defaults, ..CompilerSettings::default() });
        let desired = Desired::default();
        compiler.commit(compiler.compile_all(&desired)).unwrap();
        let max = Usage { bytes: u64::MAX, entries: u64::MAX };
        let store = Store::new(&StoreSettings { max, ..StoreSettings::default() });
        Self { compiler, desired, cache: Cache::new(Arc::new(store)), now: 0 }
    }

    /// Puts these routes of the tenant `acme` into force, with these sizes of their caches.
    fn configure(&mut self, routes: &[(&str, u64)]) -> Arc<Snapshot> {
        let pool = PoolSpec {
            traffic: Default::default(),
            endpoints: Vec::new(),
            balancer: Default::default(),
            upstream_tls: None,
            failures: Default::default(),
            on_all_unhealthy: Default::default(),
            policy: None,
            id: AppId::parse("web").unwrap(),
        };
        let route = |(id, max_size): &(&str, u64)| {
            let host = HostPattern::parse(&format!("{id}.test")).unwrap();
            let mut route = RouteSpec::new(RouteId::parse(id).unwrap(), host, PoolRef::Pool(pool.id.clone()));
            route.tenant = TenantId::parse("acme").ok();
            route.cache = Some(Arc::new(CacheSpec { max_size: *max_size, ..CacheSpec::default() }));
            route.into()
        };
        let routes = routes.iter().map(route).collect();
        let set = OperatorSet { pools: vec![pool.clone()], routes, ..OperatorSet::default() };
        let replacement = Replacement { owner: Owner::File, set: Arc::new(set), expect: None, version: None };
        let applied = self.desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(1)).unwrap();
        let compiled = self.compiler.compile(&applied.desired, &applied.deltas);
        let published = self.compiler.commit(compiled).unwrap();
        self.desired = applied.desired;
        published.snapshot
    }

    /// Lets a second pass with these snapshots in force.
    fn pass(&mut self, snapshot: &Snapshot, on_trial: Option<&Snapshot>) {
        self.now += 1_000;
        let now = Now { tick: Tick(self.now), micros: Micros(self.now * 1_000), at: Timestamp(self.now) };
        let trial = on_trial.map(|snapshot| (&self.desired, snapshot));
        self.cache.advance(View { desired: &self.desired, snapshot, trial, now });
    }

    fn routes(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.cache.store().scope_stats().iter().map(|stats| stats.name.route.to_string()).collect();
        names.sort();
        names
    }
}

fn rule<'a>(snapshot: &'a Snapshot, route: &str) -> &'a CacheRule {
    let host = snapshot.virtual_host(&format!("{route}.test")).unwrap();
    host.rules.iter().find_map(|rule| rule.cache.as_deref()).unwrap()
}

#[test]
fn scopes_of_routes_that_are_gone_are_dropped_and_come_back() {
    let mut scene = Scene::new();
    let both = scene.configure(&[("one", 5), ("two", 5)]);
    for route in ["one", "two"] {
        rule(&both, route).scope(scene.cache.store());
    }
    scene.pass(&both, None);
    assert_eq!(scene.routes(), ["one", "two"]);
    let first = scene.cache.store().find_scope(&rule(&both, "two").name).unwrap().id();
    let one = scene.configure(&[("one", 5)]);
    scene.pass(&one, None);
    assert_eq!(scene.routes(), ["one"]);
    let again = scene.configure(&[("one", 5), ("two", 5)]);
    let scope = rule(&again, "two").scope(scene.cache.store());
    assert_ne!(scope.id(), first, "nothing of before");
    scene.pass(&again, None);
    assert_eq!(scene.routes(), ["one", "two"]);
    let new = scene.cache.store().find_scope(&rule(&again, "two").name).unwrap();
    assert!(Arc::ptr_eq(&new, rule(&again, "two").scope(scene.cache.store())));
}

#[test]
fn a_core_that_is_behind_does_not_keep_the_scope_of_a_route_that_is_gone() {
    let mut scene = Scene::new();
    let old = scene.configure(&[("one", 5), ("two", 5)]);
    rule(&old, "one").scope(scene.cache.store());
    let new = scene.configure(&[("one", 5)]);
    scene.pass(&new, None);
    rule(&old, "two").scope(scene.cache.store());
    assert_eq!(scene.routes(), ["one", "two"]);
    scene.pass(&new, None);
    assert_eq!(scene.routes(), ["one"]);
}

#[test]
fn both_configurations_of_a_trial_keep_their_entries() {
    let mut scene = Scene::new();
    let base = scene.configure(&[("one", 100)]);
    let candidate = scene.configure(&[("one", 200), ("two", 5)]);
    let (before, after) = (rule(&base, "one").epoch, rule(&candidate, "one").epoch);
    assert!(before < after);
    for snapshot in [&base, &candidate] {
        rule(snapshot, "one").scope(scene.cache.store());
    }
    rule(&candidate, "two").scope(scene.cache.store());
    let state = |scene: &Scene| {
        let stats = scene.cache.store().scope_stats();
        let one = stats.iter().find(|stats| &*stats.name.route == "one").unwrap();
        let scope = scene.cache.store().find_scope(&one.name).unwrap();
        (scope.epoch(), scope.oldest_epoch(), one.max.bytes, stats.len())
    };
    scene.pass(&base, Some(&candidate));
    assert_eq!(state(&scene), (after, before, 200, 2));
    // Reverted: the settings of the base are in force, and the route of the candidate is gone.
    scene.pass(&base, None);
    assert_eq!(state(&scene), (before, before, 100, 1));
}
