use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{AppSpec, Change, Delta, DomainKind, DomainSpec, Outcome, PathMatch, Resource, Timestamp};

fn pool(id: &str, ports: &[u16]) -> PoolSpec {
    let id = AppId::parse(id).unwrap();
    let endpoint = |port: &u16| {
        let target = Target::parse(&format!("http://10.0.0.1:{port}")).unwrap();
        EndpointSpec {
            id: InstanceId::of_endpoint(&id, &target),
            target,
            weight: 1,
            health_check: HealthCheck::default(),
        }
    };
    PoolSpec {
        traffic: Default::default(),
        endpoints: ports.iter().map(endpoint).collect(),
        id,
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        policy: None,
    }
}

fn route(id: &str, host: &str, prefix: &str, pool: &str) -> Arc<RouteSpec> {
    let pool = PoolRef::Pool(AppId::parse(pool).unwrap());
    let mut spec = RouteSpec::new(RouteId::parse(id).unwrap(), HostPattern::parse(host).unwrap(), pool);
    if !prefix.is_empty() {
        spec.matcher.path = PathMatch::Prefix(prefix.into());
    }
    Arc::new(spec)
}

fn set(pools: Vec<PoolSpec>, routes: Vec<Arc<RouteSpec>>) -> OperatorSet {
    OperatorSet { pools, routes, ..OperatorSet::default() }
}

fn replace(desired: &Desired, owner: Owner, set: OperatorSet) -> Result<crate::Applied, Rejection> {
    replace_version(desired, owner, set, None)
}

fn replace_version(
    desired: &Desired,
    owner: Owner,
    set: OperatorSet,
    version: Option<NewVersion>,
) -> Result<crate::Applied, Rejection> {
    let replacement = Replacement { owner, set: Arc::new(set), expect: None, version };
    desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(7))
}

fn register(desired: &Desired, app: &str, domain: &str) -> Result<crate::Applied, Rejection> {
    let app = AppId::parse(app).unwrap();
    let domain = DomainSpec {
        name: Hostname::parse(domain).unwrap(),
        app: app.clone(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
        certificate: None,
        client_auth: None,
        policy: None,
    };
    let change = Change::Register { app: AppSpec::new(app), instance: None, domain: Some(domain) };
    desired.apply(&change, Timestamp(3))
}

fn conflicts(result: Result<crate::Applied, Rejection>) -> Vec<Conflict> {
    match result {
        Err(Rejection::Conflicts(conflicts)) => conflicts.into_vec(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn replaces_a_set_by_the_differences_alone() {
    let first = set(
        vec![pool("api", &[1, 2]), pool("old", &[9])],
        vec![route("a", "a.example", "/v1", "api"), route("b", "a.example", "", "old")],
    );
    let one = replace(&Desired::default(), Owner::File, first.clone()).unwrap();
    assert_eq!(one.deltas.len(), 2 + 3 + 2);
    let same = replace(&one.desired, Owner::File, first).unwrap();
    assert_eq!((same.outcome, same.deltas.len()), (Outcome::Unchanged, 0));

    let second = set(vec![pool("api", &[1, 3])], vec![route("a", "a.example", "/v1", "api")]);
    let two = replace(&one.desired, Owner::File, second).unwrap();
    let names: Vec<_> = two
        .deltas
        .iter()
        .map(|delta| match delta {
            Delta::Put(resource) => format!("+{}", resource.key()),
            Delta::Remove(resource) => format!("-{}", resource.key()),
        })
        .collect();
    assert_eq!(names, ["+api@10.0.0.1:3", "-b", "-old@10.0.0.1:9", "-api@10.0.0.1:2", "-old"]);
    let kept = two.desired.instance("api@10.0.0.1:1").unwrap();
    assert_eq!(Some(kept), one.desired.instance("api@10.0.0.1:1"));
    let empty = replace(&two.desired, Owner::File, OperatorSet::default()).unwrap();
    assert_eq!(empty.desired.resources().count(), 0);
    assert_eq!(empty.desired.owned(&Owner::File).count(), 0);
}

#[test]
fn an_owner_changes_only_its_own_resources() {
    let with_pool = replace(&Desired::default(), Owner::File, set(vec![pool("api", &[1])], Vec::new()));
    let with_pool = with_pool.unwrap().desired;
    let not_owned = |result: Result<crate::Applied, Rejection>| {
        assert!(matches!(&result, Err(Rejection::NotOwned { owner: Owner::File, .. })), "{result:?}");
    };
    let api = AppId::parse("api").unwrap();
    not_owned(with_pool.apply(&Change::RemoveApp { id: api.clone() }, Timestamp(1)));
    let register = Change::Register { app: AppSpec::new(api.clone()), instance: None, domain: None };
    not_owned(with_pool.apply(&register, Timestamp(1)));
    let id = InstanceId::parse("api@10.0.0.1:1").unwrap();
    not_owned(with_pool.apply(&Change::RemoveInstance { id: id.clone(), generation: None }, Timestamp(1)));
    let drain = Change::DrainInstance { id, generation: None, until: Timestamp(9) };
    not_owned(with_pool.apply(&drain, Timestamp(1)));
    not_owned(with_pool.apply(&Change::RemoveWebhook { app: api }, Timestamp(1)));

    let other = conflicts(replace(&with_pool, Owner::Admin, set(vec![pool("api", &[2])], Vec::new())));
    assert_eq!(other, [Conflict::IdTaken { kind: Kind::App, id: "api".into(), holder: Owner::File }]);
}

#[test]
fn a_host_has_one_owner() {
    let held = replace(
        &Desired::default(),
        Owner::File,
        set(vec![pool("api", &[1])], vec![route("a", "a.example", "/v1", "api")]),
    )
    .unwrap()
    .desired;
    let second = set(Vec::new(), vec![route("b", "a.example", "/v2", "api")]);
    let holder = Holder::Route { id: RouteId::parse("a").unwrap(), owner: Owner::File };
    assert_eq!(
        conflicts(replace(&held, Owner::Admin, second)),
        [Conflict::HostTaken {
            route: RouteId::parse("b").unwrap(),
            host: HostPattern::parse("a.example").unwrap(),
            holder,
        }]
    );
    assert!(matches!(
        register(&held, "shop", "a.example"),
        Err(Rejection::HostClaimed { owner: Owner::File, .. })
    ));
    assert!(
        replace(&held, Owner::Admin, set(Vec::new(), vec![route("b", "*.a.example", "", "api")])).is_ok()
    );
}

#[test]
fn a_route_with_a_path_attaches_to_a_registered_domain() {
    let domain = register(&Desired::default(), "shop", "shop.example").unwrap().desired;
    let whole = set(vec![pool("api", &[1])], vec![route("a", "shop.example", "/", "api")]);
    assert!(matches!(
        &conflicts(replace(&domain, Owner::File, whole))[..],
        [Conflict::HostTaken { holder: Holder::Domain { owner: Owner::Api, .. }, .. }]
    ));
    let part = set(vec![pool("api", &[1])], vec![route("a", "shop.example", "/api", "api")]);
    let attached = replace(&domain, Owner::File, part.clone()).unwrap().desired;
    assert!(attached.route("a").unwrap().is_attached);

    // The route stays attached while the domain is away, and the domain may come back.
    let name = Hostname::parse("shop.example").unwrap();
    let away = attached.apply(&Change::RemoveDomain { name }, Timestamp(4)).unwrap().desired;
    let again = replace(&away, Owner::File, part).unwrap();
    assert_eq!(again.outcome, Outcome::Unchanged);
    assert!(register(&again.desired, "shop", "shop.example").is_ok());
}

#[test]
fn references_are_checked_in_both_directions() {
    let dangling = set(Vec::new(), vec![route("a", "a.example", "", "nowhere")]);
    let found = conflicts(replace(&Desired::default(), Owner::File, dangling));
    assert!(matches!(&found[..], [Conflict::UnknownPool { .. }]));

    let pools = replace(&Desired::default(), Owner::File, set(vec![pool("api", &[1])], Vec::new())).unwrap();
    let uses = set(Vec::new(), vec![route("a", "a.example", "", "api")]);
    let used = replace(&pools.desired, Owner::Admin, uses).unwrap().desired;
    let found = conflicts(replace(&used, Owner::File, OperatorSet::default()));
    assert!(matches!(&found[..], [Conflict::InUse { owner: Owner::Admin, .. }]), "{found:?}");

    let domain = register(&pools.desired, "shop", "shop.example").unwrap().desired;
    assert!(replace(&domain, Owner::File, OperatorSet::default()).is_ok());
}

fn chain(id: &str, stages: Vec<StageSpec>) -> Arc<MiddlewareSpec> {
    Arc::new(MiddlewareSpec { id: crate::MiddlewareId::parse(id).unwrap(), stages: stages.into() })
}

/// A filter whose decisions come from a pool.
fn filter(pool: &str) -> crate::ExternalFilter {
    crate::ExternalFilter {
        pool: AppId::parse(pool).unwrap(),
        protocol: crate::ExternalProtocol::Grpc,
        timeout: std::time::Duration::from_millis(50),
        fail_mode: crate::FailMode::Closed,
        send: Box::default(),
        asserts: Box::default(),
        failed_open_header: None,
        cache: None,
    }
}

fn plugin(id: &str, pool: &str) -> Arc<PluginSpec> {
    let kind = crate::PluginKind::External(filter(pool));
    Arc::new(PluginSpec { id: crate::PluginId::parse(id).unwrap(), kind })
}

fn runs_plugin(id: &str) -> StageSpec {
    StageSpec::Plugin(crate::PluginRef { plugin: crate::PluginId::parse(id).unwrap() })
}

fn asks(pool: &str) -> StageSpec {
    let any_of = Box::new([crate::AuthMethod::Forward(filter(pool))]);
    StageSpec::Auth(crate::AuthStage { any_of, optional: false })
}

/// A route of host `a.example` that passes a chain.
fn chained(chain: &str) -> Arc<RouteSpec> {
    let mut spec = RouteSpec::clone(&route("a", "a.example", "", "api"));
    spec.middleware = Box::new([crate::MiddlewareId::parse(chain).unwrap()]);
    Arc::new(spec)
}

#[test]
fn references_of_middleware_are_checked() {
    let limits = StageSpec::RateLimit(crate::RateLimitRef { policy_ref: PolicyId::parse("none").unwrap() });
    let dangling = OperatorSet {
        middlewares: vec![
            chain("c", vec![runs_plugin("none"), asks("nowhere")]),
            chain("limits", vec![limits]),
        ],
        plugins: vec![plugin("p", "nowhere")],
        ..set(vec![pool("api", &[1])], vec![chained("missing")])
    };
    let found = conflicts(replace(&Desired::default(), Owner::File, dangling));
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "route a names middleware missing, which does not exist",
            "middleware c names plugin none, which does not exist",
            "middleware c names pool nowhere, which does not exist",
            "middleware limits names policy none, which does not exist",
            "plugin p names pool nowhere, which does not exist",
        ]
    );
}

#[test]
fn a_chain_stays_while_a_route_of_another_owner_passes_it() {
    let whole = OperatorSet {
        middlewares: vec![chain("c", vec![runs_plugin("p")])],
        plugins: vec![plugin("p", "decides")],
        ..set(vec![pool("api", &[1]), pool("decides", &[2])], Vec::new())
    };
    let has = replace(&Desired::default(), Owner::File, whole.clone()).unwrap().desired;
    let used = replace(&has, Owner::Admin, set(Vec::new(), vec![chained("c")])).unwrap().desired;
    let without = OperatorSet { middlewares: Vec::new(), ..whole.clone() };
    let found = conflicts(replace(&used, Owner::File, without));
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["middleware c cannot be removed: route a (owner admin) uses it"]);
    // Within the owner's own set the mistake is the reference.
    let without = OperatorSet { plugins: Vec::new(), ..whole.clone() };
    let found = conflicts(replace(&used, Owner::File, without));
    assert!(matches!(&found[..], [Conflict::Unknown { kind: Kind::Plugin, .. }]), "{found:?}");
    // The chain's id is taken, and the other owner's route may go.
    let taken = OperatorSet { middlewares: vec![chain("c", Vec::new())], ..OperatorSet::default() };
    let found = conflicts(replace(&used, Owner::Admin, taken));
    assert!(matches!(&found[..], [Conflict::IdTaken { kind: Kind::Middleware, .. }]), "{found:?}");
    let free = replace(&used, Owner::Admin, OperatorSet::default()).unwrap().desired;
    let empty = replace(&free, Owner::File, OperatorSet::default()).unwrap().desired;
    assert_eq!(empty.resources().count(), 0);
}

#[test]
fn keeps_a_bounded_history() {
    let mut desired = Desired::default();
    for n in 0..limits::VERSIONS_PER_OWNER_MAX + 5 {
        let version = NewVersion {
            version: SetVersion::parse(&format!("{n:012x}")).unwrap(),
            by: "test".into(),
            reason: "".into(),
            source: vec![0; 10].into(),
            is_proven: n == 1,
        };
        let port = 1 + n as u16;
        let next = set(vec![pool("api", &[port])], Vec::new());
        desired = replace_version(&desired, Owner::Admin, next, Some(version)).unwrap().desired;
    }
    let history = desired.versions_of(&Owner::Admin);
    assert_eq!(history.len(), limits::VERSIONS_PER_OWNER_MAX);
    assert!(history[0].is_proven, "the last proven version stays");
    assert_eq!(history[1].sequence, 7);
    assert_eq!(desired.version_of(&Owner::Admin).unwrap().sequence, 105);

    let stale = Replacement {
        owner: Owner::Admin,
        set: Arc::default(),
        expect: Some(SetVersion::parse("0123456789ab")),
        version: None,
    };
    let refused = desired.apply(&Change::ReplaceOwned(Arc::new(stale)), Timestamp(9));
    assert!(matches!(refused, Err(Rejection::StaleVersion { current: Some(_), .. })));
}

#[test]
fn endpoint_ids_are_identifiers_of_any_pool_and_address() {
    let long = AppId::parse(&"p".repeat(limits::ID_BYTES_MAX)).unwrap();
    let target = Target::parse("http://[::1]:80").unwrap();
    let other = Target::parse("http://[::2]:80").unwrap();
    assert_eq!(InstanceId::of_endpoint(&AppId::parse("p").unwrap(), &target).as_str(), "p@::1:80");
    assert_ne!(InstanceId::of_endpoint(&long, &target), InstanceId::of_endpoint(&long, &other));
}

proptest! {
    /// Whatever set follows another, the configuration is the one that a fresh start with it would have.
    #[test]
    fn a_replacement_equals_a_fresh_start(
        first in proptest::collection::vec((0..4_u8, 0..4_u8, 1..4_u16), 0..8),
        second in proptest::collection::vec((0..4_u8, 0..4_u8, 1..4_u16), 0..8),
    ) {
        let make = |parts: &[(u8, u8, u16)]| {
            let mut made = OperatorSet::default();
            for (host, path, port) in parts {
                let id = format!("p{port}");
                if !made.pools.iter().any(|pool| pool.id.as_str() == id) {
                    made.pools.push(pool(&id, &[*port, port + 10]));
                }
                let name = format!("r{host}-{path}");
                if !made.routes.iter().any(|route| route.id.as_str() == name) {
                    made.routes.push(route(&name, &format!("h{host}.example"), &format!("/{path}"), &id));
                }
            }
            made
        };
        let contents = |desired: &Desired| {
            let mut lines: Vec<String> = desired.resources().map(|resource| match resource {
                Resource::Instance(instance) => format!("{} {}", instance.id, instance.target),
                Resource::Route(route) => format!("{:?}", route.spec),
                other => format!("{:?}", other.key()),
            }).collect();
            lines.sort();
            lines
        };
        let start = Desired::default();
        let one = replace(&start, Owner::File, make(&first)).unwrap().desired;
        let two = replace(&one, Owner::File, make(&second)).unwrap().desired;
        let fresh = replace(&start, Owner::File, make(&second)).unwrap().desired;
        prop_assert_eq!(contents(&two), contents(&fresh));
    }
}
