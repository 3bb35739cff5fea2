#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, AuthMethod, AuthStage, Change, ExternalFilter, ExternalProtocol, FailMode, HostPattern, IpAcl,
    MiddlewareId, MiddlewareSpec, OperatorSet, Owner, PluginId, PluginRef, PluginSpec, PoolRef, PoolSpec,
    Replacement, RouteSpec, Timestamp,
};

use super::*;

/// A set with a route for each name behind the chain `c` of these stages, which may use the plugin.
fn set(routes: &[&str], stages: &[StageSpec], fail_mode: FailMode) -> OperatorSet {
    let (pool, chain) = (AppId::parse("p").unwrap(), MiddlewareId::parse("c").unwrap());
    let route = |name: &&str| {
        let host = HostPattern::parse("a.example").unwrap();
        let spec = RouteSpec::new(RouteId::parse(name).unwrap(), host, PoolRef::Pool(pool.clone()));
        Arc::new(RouteSpec { middleware: [chain.clone()].into(), ..spec })
    };
    let filter = ExternalFilter {
        pool: pool.clone(),
        protocol: ExternalProtocol::Grpc,
        timeout: Duration::from_millis(50),
        fail_mode,
        send: Box::default(),
        asserts: Box::default(),
        failed_open_header: None,
        cache: None,
    };
    let plugin = PluginSpec { id: PluginId::parse("g").unwrap(), kind: PluginKind::External(filter) };
    OperatorSet {
        routes: routes.iter().map(route).collect(),
        pools: vec![PoolSpec { id: pool.clone(), ..pool_spec() }],
        middlewares: vec![Arc::new(MiddlewareSpec { id: chain.clone(), stages: stages.into() })],
        plugins: vec![Arc::new(plugin)],
        ..OperatorSet::default()
    }
}

fn pool_spec() -> PoolSpec {
    PoolSpec {
        traffic: Default::default(),
        id: AppId::parse("p").unwrap(),
        endpoints: Vec::new(),
        balancer: Default::default(),
        upstream_tls: None,
        failures: Default::default(),
        on_all_unhealthy: Default::default(),
        policy: None,
    }
}

fn auth(optional: bool) -> StageSpec {
    StageSpec::Auth(AuthStage { any_of: [AuthMethod::ClientCertificate {}].into(), optional })
}

fn plugin() -> StageSpec {
    StageSpec::Plugin(PluginRef { plugin: PluginId::parse("g").unwrap() })
}

/// `lost a, gained b`
fn changes(before: OperatorSet, after: OperatorSet) -> String {
    let put = |desired: &Desired, set: OperatorSet| {
        let replacement =
            Replacement { owner: Owner::Admin, set: Arc::new(set), expect: None, version: None };
        desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(1)).unwrap()
    };
    let before = put(&Desired::default(), before).desired;
    let applied = put(&before, after);
    let changes = auth_changes(&before, &applied.desired, &applied.deltas);
    let words = changes.iter().map(|(change, route)| format!("{change:?} {route}").to_lowercase());
    words.collect::<Vec<_>>().join(", ")
}

#[test]
fn routes_that_lose_gain_or_change_their_authentication_are_named() {
    let closed = FailMode::Closed;
    let acl = || StageSpec::IpAcl(IpAcl::default());
    let set = |routes: &[&str], stages: &[StageSpec]| self::set(routes, stages, closed);
    assert_eq!(changes(OperatorSet::default(), set(&["a", "b"], &[auth(false)])), "gained a, gained b");
    // The routes stay as they are, and their chain is another one.
    assert_eq!(changes(set(&["a", "b"], &[auth(false)]), set(&["a", "b"], &[])), "lost a, lost b");
    assert_eq!(changes(set(&["a"], &[auth(false)]), set(&["a"], &[auth(true)])), "lost a");
    assert_eq!(changes(set(&["a"], &[auth(false)]), set(&["a"], &[auth(false), plugin()])), "changed a");
    assert_eq!(changes(set(&["a", "b"], &[auth(false)]), set(&["b"], &[auth(false)])), "lost a");
    // Those that lost it come first.
    assert_eq!(changes(set(&["z"], &[plugin()]), set(&["a"], &[plugin()])), "lost z, gained a");
    for stages in [&[][..], &[auth(false), acl()]] {
        assert_eq!(changes(set(&["a"], stages), set(&["a"], stages)), "");
    }
    assert_eq!(changes(set(&["a"], &[auth(false)]), set(&["a"], &[acl(), auth(false)])), "");
}

#[test]
fn another_plugin_and_certificates_of_clients_are_authentication() {
    let stages = [plugin()];
    let closed = || set(&["a"], &stages, FailMode::Closed);
    assert_eq!(changes(closed(), set(&["a"], &stages, FailMode::Open)), "changed a");
    let mut certified = set(&["a"], &[], FailMode::Closed);
    let route = RouteSpec::clone(&certified.routes[0]);
    certified.routes[0] = Arc::new(RouteSpec { requires_client_cert: true, ..route });
    let open = || set(&["a"], &[], FailMode::Closed);
    assert_eq!(changes(open(), certified.clone()), "gained a");
    assert_eq!(changes(certified, open()), "lost a");
}
