//! Operators' routes, pools and policies in snapshots, beside registered domains.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ringway_model::{
    AppSpec, Balancer, CacheSpec, CacheTtl, CertificateFiles, CertificateSpec, Change, ClientAuth,
    ClientAuthNeed, DomainKind, DomainSpec, EndpointSpec, FailurePolicy, FilePath, HealthCheck, Hedge,
    HedgeDelay, HostPattern, Mirror, OnAllUnhealthy, OperatorSet, Owner, PathMatch, Percent, PolicyId,
    PolicyRef, PolicySettings, PolicySpec, PoolRef, PoolSpec, Replacement, Rewrite, RouteAction, RouteId,
    RouteMatch, RouteSpec, TenantId, Timestamp, TrafficSpec,
};
use ringway_wire::h1::RequestHead;

use super::tests::{app, host, settings};
use super::*;
use crate::policy::Policy;
use crate::virtual_host::{Rule, Rules};

/// A configuration with its compiler.
struct Plane {
    desired: Desired,
    compiler: Compiler,
}

impl Plane {
    fn new() -> Self {
        Self { desired: Desired::default(), compiler: Compiler::new(settings(1)) }
    }

    fn change(&mut self, change: &Change) -> Published {
        let applied = self.desired.apply(change, Timestamp(1)).unwrap();
        let compiled = self.compiler.compile(&applied.desired, &applied.deltas);
        self.desired = applied.desired;
        self.compiler.commit(compiled).unwrap()
    }

    fn replace(&mut self, set: OperatorSet) -> Published {
        let replacement = Replacement { owner: Owner::File, set: Arc::new(set), expect: None, version: None };
        self.change(&Change::ReplaceOwned(Arc::new(replacement)))
    }

    fn register(&mut self, id: &str, name: &str, policy: Option<PolicyRef>) -> Published {
        let domain = DomainSpec {
            name: host(name),
            app: app(id),
            tenant: Some(TenantId::parse("acme").unwrap()),
            kind: DomainKind::Custom,
            cname_target: None,
            certificate: None,
            client_auth: None,
            policy,
        };
        self.change(&Change::Register { app: AppSpec::new(app(id)), instance: None, domain: Some(domain) })
    }

    fn rule(&self, name: &str, path: &str) -> Option<Arc<Rule>> {
        let text = format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n");
        let mut head = RequestHead::default();
        head.parse(text.as_bytes(), &Default::default()).unwrap();
        self.compiler.snapshot().virtual_host(name)?.rules.find(&head, text.as_bytes()).cloned()
    }

    fn policy(&self, name: &str, path: &str) -> Arc<Policy> {
        self.rule(name, path).unwrap().policy.clone()
    }
}

fn pool(id: &str) -> PoolSpec {
    let target = Target::parse("http://10.0.0.1:80").unwrap();
    PoolSpec {
        traffic: Default::default(),
        id: app(id),
        endpoints: vec![EndpointSpec {
            id: InstanceId::of_endpoint(&app(id), &target),
            target,
            weight: 1,
            health_check: HealthCheck::default(),
        }],
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        policy: None,
    }
}

fn route(id: &str, name: &str, prefix: &str, to: PoolRef) -> RouteSpec {
    let mut spec = RouteSpec::new(RouteId::parse(id).unwrap(), HostPattern::parse(name).unwrap(), to);
    if !prefix.is_empty() {
        spec.matcher.path = PathMatch::Prefix(prefix.into());
    }
    spec
}

fn to_pool(id: &str) -> PoolRef {
    PoolRef::Pool(app(id))
}

fn set(pools: Vec<PoolSpec>, routes: Vec<RouteSpec>) -> OperatorSet {
    OperatorSet { pools, routes: routes.into_iter().map(Arc::new).collect(), ..OperatorSet::default() }
}

fn inline(timeout: u64) -> PolicyRef {
    PolicyRef::Inline(Arc::new(timeout_of(timeout)))
}

fn timeout_of(seconds: u64) -> PolicySettings {
    PolicySettings { timeout: Some(Duration::from_secs(seconds)), ..PolicySettings::default() }
}

fn seconds(count: u64) -> Option<Duration> {
    Some(Duration::from_secs(count))
}

#[test]
fn a_route_attaches_to_a_domain_and_serves_its_paths_alone() {
    let mut plane = Plane::new();
    plane.register("shop", "shop.example", None);
    let before = plane.rule("shop.example", "/api/x").unwrap();
    plane.replace(set(vec![pool("api")], vec![route("r", "shop.example", "/api", to_pool("api"))]));
    let attached = plane.rule("shop.example", "/api/x").unwrap();
    assert_eq!((&*attached.name, attached.app.as_ref()), ("r", Some(&app("api"))));
    let rest = plane.rule("shop.example", "/other").unwrap();
    assert_eq!((rest.id, rest.app.as_ref()), (before.id, Some(&app("shop"))));
    let known = plane.compiler.snapshot().virtual_host("shop.example").unwrap().clone();
    assert_eq!(
        (&known.owner, known.tenant.as_ref().map(|tenant| &*tenant.line)),
        (&Owner::Api, Some(&b"X-Tenant-ID: acme\r\n"[..]))
    );

    // Without the domain the route sleeps; with it again it serves again.
    plane.change(&Change::RemoveDomain { name: host("shop.example") });
    assert!(plane.compiler.snapshot().virtual_host("shop.example").is_none());
    plane.register("shop", "shop.example", None);
    assert_eq!(&*plane.rule("shop.example", "/api/x").unwrap().name, "r");

    plane.replace(OperatorSet::default());
    let known = plane.compiler.snapshot().virtual_host("shop.example").unwrap();
    assert!(matches!(known.rules, Rules::One(_)), "a plain domain again");
}

#[test]
fn a_route_without_conditions_is_the_only_rule_of_its_host() {
    let mut plane = Plane::new();
    plane.replace(set(vec![pool("api")], vec![route("r", "api.example", "", to_pool("api"))]));
    let known = plane.compiler.snapshot().virtual_host("api.example").unwrap().clone();
    assert!(matches!(known.rules, Rules::One(_)));
    let moved = set(vec![pool("api")], vec![route("r", "www.example", "/", to_pool("api"))]);
    let slot = plane.rule("api.example", "/").unwrap().metric;
    let published = plane.replace(moved);
    assert!(plane.compiler.snapshot().virtual_host("api.example").is_none());
    assert_eq!(&*plane.rule("www.example", "/").unwrap().name, "r");
    assert!(published.slots.contains(&SlotChange::FreeRoute { slot }));
}

#[test]
fn policies_are_layered_from_the_route_to_the_process() {
    let mut plane = Plane::new();
    let named = PolicySpec {
        id: PolicyId::parse("strict").unwrap(),
        settings: PolicySettings { body_size_limit: Some(1_000), ..timeout_of(3) },
    };
    let mut with_policies = route("own", "a.example", "/own", to_pool("api"));
    with_policies.policies = [inline(1), PolicyRef::Named(named.id.clone())].into();
    let of_pool = PoolSpec { policy: Some(inline(7)), ..pool("api") };
    let routes = vec![with_policies, route("plain", "a.example", "/", to_pool("api"))];
    let strict = OperatorSet { policies: vec![named.clone()], ..set(vec![of_pool], routes) };
    plane.replace(strict.clone());
    let own = plane.policy("a.example", "/own");
    assert_eq!((own.timeout, own.body_bytes_max), (seconds(1), Some(1_000)));
    assert_eq!(own.unavailable_status, Some(503), "of an operator's pool");
    assert_eq!(plane.policy("a.example", "/x").timeout, seconds(7));

    // A named policy and a pool's policy reach the rules that have them.
    let mut next = strict;
    next.policies[0].settings.body_size_limit = Some(2_000);
    next.pools[0].policy = Some(inline(8));
    plane.replace(next);
    assert_eq!(plane.policy("a.example", "/own").body_bytes_max, Some(2_000));
    assert_eq!(plane.policy("a.example", "/x").timeout, seconds(8));

    // A registered domain may name it too; others share the default.
    plane.register("shop", "shop.example", Some(PolicyRef::Named(named.id)));
    plane.register("blog", "blog.example", None);
    assert_eq!(plane.policy("shop.example", "/").body_bytes_max, Some(2_000));
    assert!(
        Arc::ptr_eq(&plane.policy("blog.example", "/"), &settings(1).defaults.policy) || {
            *plane.policy("blog.example", "/") == Policy::default()
        }
    );
    let update = AppSpec { policy: ringway_model::Patch::Set(inline(4)), ..AppSpec::new(app("blog")) };
    plane.change(&Change::Register { app: update, instance: None, domain: None });
    assert_eq!(plane.policy("blog.example", "/").timeout, seconds(4));
}

#[test]
fn an_app_that_is_not_registered_has_an_empty_pool_while_a_route_names_it() {
    let mut plane = Plane::new();
    plane.replace(set(Vec::new(), vec![route("r", "*.apps.example", "", PoolRef::App(app("shop")))]));
    let pool_of = |plane: &Plane| plane.compiler.snapshot().pool_of_app("shop").cloned();
    let empty = pool_of(&plane).unwrap();
    assert!(empty.endpoints.is_empty());
    assert_eq!(plane.rule("x.apps.example", "/").unwrap().pool(), Some(empty.id));

    plane.change(&Change::Register { app: AppSpec::new(app("shop")), instance: None, domain: None });
    assert_eq!(pool_of(&plane).unwrap().id, empty.id, "the app takes the pool over");
    plane.change(&Change::RemoveApp { id: app("shop") });
    assert_eq!(pool_of(&plane).unwrap().id, empty.id, "the route keeps it");
    let published = plane.replace(OperatorSet::default());
    assert!(pool_of(&plane).is_none());
    assert!(published.slots.contains(&SlotChange::FreePool { slot: empty.metric }));
}

#[test]
fn a_host_asks_for_client_certificates_when_a_route_does() {
    let mut plane = Plane::new();
    let auth = ClientAuth { ca_file: FilePath::parse("/ca.pem").unwrap(), need: ClientAuthNeed::Required };
    let mut secured = route("admin", "a.example", "/admin", to_pool("api"));
    secured.client_auth = Some(auth.clone());
    secured.requires_client_cert = true;
    let open = route("open", "a.example", "/", to_pool("api"));
    plane.replace(set(vec![pool("api")], vec![secured.clone(), open]));
    let asked =
        |plane: &Plane| plane.compiler.snapshot().virtual_host("a.example").unwrap().tls.client_auth.clone();
    let optional = ClientAuth { need: ClientAuthNeed::Optional, ..auth.clone() };
    assert_eq!(asked(&plane), Some(optional), "other routes serve without one");
    assert!(plane.rule("a.example", "/admin").unwrap().requires_client_cert);
    assert!(!plane.rule("a.example", "/").unwrap().requires_client_cert);
    plane.replace(set(vec![pool("api")], vec![secured.clone()]));
    assert_eq!(asked(&plane), Some(auth.clone()));

    // Required client certificates are enough by themselves.
    secured.requires_client_cert = false;
    plane.replace(set(vec![pool("api")], vec![secured]));
    assert_eq!(asked(&plane), Some(auth));
    assert!(plane.rule("a.example", "/admin").unwrap().requires_client_cert);
}

#[test]
fn a_route_does_not_open_a_path_of_a_domain_with_client_certificates() {
    let mut plane = Plane::new();
    plane.register("shop", "shop.example", None);
    let auth = ClientAuth { ca_file: FilePath::parse("/ca.pem").unwrap(), need: ClientAuthNeed::Required };
    let update = ringway_model::DomainUpdate {
        client_auth: ringway_model::Patch::Set(auth.clone()),
        ..ringway_model::DomainUpdate::new(host("shop.example"))
    };
    plane.change(&Change::UpdateDomain(update));
    plane.replace(set(vec![pool("api")], vec![route("r", "shop.example", "/api", to_pool("api"))]));
    assert!(plane.rule("shop.example", "/api").unwrap().requires_client_cert);
}

#[test]
fn certificates_are_found_by_name_before_the_parents() {
    let mut plane = Plane::new();
    let certificate = |sni: &str, file: &str| CertificateSpec {
        sni: HostPattern::parse(sni).unwrap(),
        files: CertificateFiles {
            certificate: FilePath::parse(file).unwrap(),
            key: FilePath::parse("/key.pem").unwrap(),
        },
    };
    let file = |plane: &Plane, name: &str| {
        plane.compiler.snapshot().certificate_files(name).map(|files| files.certificate.to_string())
    };
    plane.replace(OperatorSet {
        certificates: vec![
            certificate("*.shop.example", "/wild.pem"),
            certificate("a.shop.example", "/a.pem"),
        ],
        ..OperatorSet::default()
    });
    assert_eq!(file(&plane, "a.shop.example").as_deref(), Some("/a.pem"));
    assert_eq!(file(&plane, "b.shop.example").as_deref(), Some("/wild.pem"));
    assert_eq!(file(&plane, "x.b.shop.example"), None);
    assert_eq!(file(&plane, "shop.example"), None);
    plane.replace(OperatorSet::default());
    assert_eq!(file(&plane, "a.shop.example"), None);
}

#[test]
fn a_start_compiles_the_same_as_the_changes_did() {
    let mut plane = Plane::new();
    plane.register("shop", "shop.example", None);
    let mut routes: Vec<_> =
        (0..20).map(|n| route(&format!("r{n}"), "api.example", &format!("/v{n}"), to_pool("api"))).collect();
    routes.push(route("attached", "shop.example", "/api", to_pool("api")));
    routes.push(route("any", "*", "", to_pool("api")));
    plane.replace(set(vec![pool("api")], routes));
    let mut fresh = Compiler::new(settings(1));
    let compiled = fresh.compile_all(&plane.desired);
    fresh.commit(compiled).unwrap();
    let names = |snapshot: &Snapshot| {
        let mut names: Vec<_> = snapshot
            .virtual_hosts()
            .flat_map(|known| known.rules.iter().map(move |rule| format!("{} {}", known.host, rule.name)))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(fresh.snapshot()), names(plane.compiler.snapshot()));
    assert_eq!(names(fresh.snapshot()).len(), 23);
    assert_eq!(&*plane.rule("nowhere.example", "/").unwrap().name, "any");
}

#[test]
fn a_route_that_does_not_compile_serves_nothing_and_takes_no_other_with_it() {
    let mut plane = Plane::new();
    let mut bad_path = route("bad-path", "a.test", "", to_pool("web"));
    bad_path.matcher.path = PathMatch::Regex("/(a".into());
    let fine = route("fine", "a.test", "/fine", to_pool("web"));
    let bad_host = route("bad-host", "(a.test", "", to_pool("web"));
    let routes = || vec![bad_path.clone(), fine.clone(), bad_host.clone()];
    let published = plane.replace(set(vec![pool("web")], routes()));
    let mut rejected: Vec<_> = published.rejected.iter().map(|rejected| &*rejected.rule.name).collect();
    rejected.sort_unstable();
    assert_eq!(rejected, ["bad-host", "bad-path"]);
    let rules = |plane: &Plane, host: &str| {
        let host = plane.compiler.snapshot().virtual_host(host)?;
        Some(host.rules.iter().map(|rule| rule.name.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(rules(&plane, "a.test"), Some(vec!["fine".to_owned()]));
    assert_eq!(plane.compiler.snapshot().host_count(), 1);
    // Corrected, they serve.
    bad_path.matcher.path = PathMatch::Regex("/a".into());
    let good_host = route("bad-host", "(b)[.]test", "", to_pool("web"));
    let published = plane.replace(set(vec![pool("web")], vec![bad_path, fine.clone(), good_host]));
    assert!(published.rejected.is_empty());
    assert_eq!(rules(&plane, "a.test").map(|rules| rules.len()), Some(2));
    assert_eq!(rules(&plane, "b.test"), Some(vec!["bad-host".to_owned()]));
    plane.replace(set(Vec::new(), Vec::new()));
    assert_eq!(plane.compiler.snapshot().host_count(), 0);
}

#[test]
fn a_mirror_is_no_canary_and_hedging_keeps_its_state() {
    let mut plane = Plane::new();
    let mut spec = route("r", "shop.example", "", to_pool("api"));
    let hedge = |dry_run| {
        let hedge = Hedge { delay: HedgeDelay::P95, budget: Percent::ALL, dry_run };
        PolicyRef::Inline(Arc::new(PolicySettings { hedge: Some(hedge), ..PolicySettings::default() }))
    };
    let mirror = Mirror {
        pool: to_pool("copies"),
        share: Percent::ALL,
        methods: Box::default(),
        timeout: Duration::from_secs(1),
    };
    spec.traffic = Some(Arc::new(TrafficSpec { mirror: Some(mirror), ..TrafficSpec::default() }));
    spec.policies = vec![hedge(false)].into();
    plane.replace(set(vec![pool("api"), pool("copies")], vec![spec.clone()]));
    let before = plane.rule("shop.example", "/").unwrap().traffic.clone().unwrap();
    let copies = plane.compiler.snapshot().pool_of_app("copies").unwrap().id;
    assert!(before.plan.is_none());
    assert_eq!(before.mirror.as_ref().map(|mirror| mirror.pool), Some(copies));
    let counted = before.hedge.as_ref().unwrap();
    counted.begin(0, 0);
    spec.policies = vec![hedge(true)].into();
    plane.replace(set(vec![pool("api"), pool("copies")], vec![spec]));
    let after = plane.rule("shop.example", "/").unwrap().traffic.clone().unwrap();
    let after = after.hedge.as_ref().unwrap();
    assert!(after.is_dry_run() && after.withdraw(0), "the request of before is in the budget");
}

/// A route with the default cache.
fn cached(spec: &RouteSpec) -> RouteSpec {
    RouteSpec { cache: Some(Arc::default()), ..spec.clone() }
}

fn plane_with_store() -> Plane {
    let mut settings = settings(1);
    settings.defaults.cache_ttl = Some(Duration::from_secs(300));
    Plane { desired: Desired::default(), compiler: Compiler::new(settings) }
}

#[test]
fn a_rule_has_the_cache_of_its_route_and_without_a_store_none() {
    let spec = route("r", "a.test", "", to_pool("web"));
    let set = |spec: RouteSpec| set(vec![pool("web")], vec![spec]);
    let mut plane = Plane::new();
    plane.replace(set(cached(&spec)));
    assert!(plane.rule("a.test", "/").unwrap().cache.is_none());
    let mut plane = plane_with_store();
    plane.replace(set(spec.clone()));
    assert!(plane.rule("a.test", "/").unwrap().cache.is_none());
    let mut spec = cached(&spec);
    spec.tenant = Some(TenantId::parse("acme").unwrap());
    let cache = CacheSpec { ttl: Some(CacheTtl::Default), max_size: 1 << 20, ..CacheSpec::default() };
    spec.cache = Some(Arc::new(cache));
    plane.replace(set(spec));
    let cache = plane.rule("a.test", "/").unwrap().cache.clone().unwrap();
    assert_eq!((cache.settings.ttl, cache.settings.bytes_max), (Some(300), 1 << 20));
    assert_eq!((cache.name.tenant.as_deref(), &*cache.name.route), (Some("acme"), "r"));
    assert!(!cache.has_pools);
}

#[test]
fn entries_outlive_changes_that_change_nothing_of_them() {
    let mut plane = plane_with_store();
    let spec = cached(&route("r", "a.test", "", to_pool("web")));
    let other = route("other", "b.test", "", to_pool("web"));
    let mut replace = |specs: &[&RouteSpec], pools: &[&str]| {
        let routes = specs.iter().copied().cloned().collect();
        plane.replace(set(pools.iter().map(|id| pool(id)).collect(), routes));
        plane.rule("a.test", "/").unwrap().cache.clone()
    };
    let first = replace(&[&spec], &["web"]).unwrap();
    let same = replace(&[&other, &spec], &["web", "more"]).unwrap();
    assert!(Arc::ptr_eq(&first, &same), "another route, another pool");
    let policy = PolicySettings { timeout: Some(Duration::from_secs(1)), ..PolicySettings::default() };
    let timed = RouteSpec { policies: [PolicyRef::Inline(Arc::new(policy))].into(), ..spec.clone() };
    assert!(Arc::ptr_eq(&first, &replace(&[&timed], &["web"]).unwrap()), "a timeout");
    let mut known = vec![first.epoch];
    let stripped = RouteSpec {
        matcher: RouteMatch { path: PathMatch::Prefix("/".into()), ..RouteMatch::default() },
        action: RouteAction::Proxy { pool: to_pool("web"), rewrite: Rewrite::ReplacePrefix("/v1".into()) },
        ..spec.clone()
    };
    let strict = CacheSpec { auth_aware: true, ..CacheSpec::default() };
    let strict = RouteSpec { cache: Some(Arc::new(strict)), ..spec.clone() };
    let moved = RouteSpec {
        action: RouteAction::Proxy { pool: to_pool("more"), rewrite: Rewrite::Keep },
        ..spec.clone()
    };
    let tenant = RouteSpec { tenant: Some(TenantId::parse("t").unwrap()), ..spec.clone() };
    for changed in [&stripped, &spec, &strict, &moved, &tenant, &spec] {
        let cache = replace(&[changed], &["web", "more"]).unwrap();
        assert!(!known.contains(&cache.epoch), "{changed:?}");
        assert_eq!(cache.name.tenant.is_some(), changed.tenant.is_some());
        known.push(cache.epoch);
    }
    assert!(replace(&[&RouteSpec { cache: None, ..spec.clone() }], &["web"]).is_none());
    let again = replace(&[&spec], &["web"]).unwrap();
    assert!(!known.contains(&again.epoch), "a cache that was away begins without entries");
}

#[test]
fn the_scope_is_taken_at_the_first_request_and_kept() {
    let mut plane = plane_with_store();
    let spec = cached(&route("r", "a.test", "", to_pool("web")));
    plane.replace(set(vec![pool("web")], vec![spec]));
    let max = ringway_cache::Usage { bytes: 1 << 20, entries: 10 };
    let store = ringway_cache::Store::new(&ringway_cache::StoreSettings { max, tenant_share_percent: 25 });
    assert!(store.scope_stats().is_empty(), "compiling takes none");
    let cache = plane.rule("a.test", "/").unwrap().cache.clone().unwrap();
    let scope = cache.scope(&store).clone();
    assert_eq!((scope.name(), scope.epoch()), (&cache.name, cache.epoch));
    assert!(Arc::ptr_eq(&scope, cache.scope(&store)));
    assert_eq!(store.scope_stats().len(), 1);
}
