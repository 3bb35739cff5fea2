use super::*;
use crate::{
    AppId, AppSpec, Balancer, Change, DomainKind, DomainSpec, EndpointSpec, FailurePolicy, HealthCheck,
    Hostname, InstanceId, InstanceSpec, OnAllUnhealthy, OperatorSet, PoolRef, PoolSpec, Replacement, RouteId,
    RouteSpec, Target, Timestamp,
};

fn app(text: &str) -> AppId {
    AppId::parse(text).unwrap()
}

fn target(port: u16) -> Target {
    Target::parse(&format!("http://10.0.0.1:{port}")).unwrap()
}

fn domain(name: &str, of: &str) -> Change {
    let domain = DomainSpec {
        name: Hostname::parse(name).unwrap(),
        app: app(of),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
        certificate: None,
        client_auth: None,
        policy: None,
    };
    Change::Register { app: AppSpec::new(app(of)), instance: None, domain: Some(domain) }
}

fn instance(id: &str, of: &str) -> Change {
    Change::AddInstance(InstanceSpec {
        id: InstanceId::parse(id).unwrap(),
        app: app(of),
        target: target(9),
        health_check: HealthCheck::default(),
    })
}

/// A set with a pool and a route to it, or to the pool of another owner.
fn replace(owner: Owner, pool: Option<&str>, host: &str, to: &str) -> Change {
    let pools = pool.map(|id| PoolSpec {
        traffic: Default::default(),
        id: app(id),
        endpoints: vec![EndpointSpec {
            id: InstanceId::of_endpoint(&app(id), &target(1)),
            target: target(1),
            weight: 1,
            health_check: HealthCheck::default(),
        }],
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::Reject,
        policy: None,
    });
    let id = RouteId::parse(&format!("{owner}-route")).unwrap();
    let route = RouteSpec::new(id, HostPattern::parse(host).unwrap(), PoolRef::Pool(app(to)));
    let set = OperatorSet {
        pools: pools.into_iter().collect(),
        routes: vec![std::sync::Arc::new(route)],
        ..OperatorSet::default()
    };
    Change::ReplaceOwned(std::sync::Arc::new(Replacement {
        owner,
        set: set.into(),
        expect: None,
        version: None,
    }))
}

fn apply(desired: &Desired, changes: &[Change]) -> (Desired, Vec<Delta>) {
    let mut desired = desired.clone();
    let mut deltas = Vec::new();
    for change in changes {
        let applied = desired.apply(change, Timestamp(1)).unwrap();
        desired = applied.desired;
        deltas.extend(applied.deltas);
    }
    (desired, deltas)
}

/// Tries `tried` on top of `before`, then stores `stored`.
fn rebase(
    before: &[Change],
    tried: &[Change],
    stored: &[Change],
) -> Result<(Desired, Desired), Contradiction> {
    let (base, _) = apply(&Desired::default(), before);
    let (on_trial, own) = apply(&base, tried);
    let (base, deltas) = apply(&base, stored);
    let is_changed = |kind: Kind, key: &str| {
        own.iter().any(|delta| {
            let (Delta::Put(own) | Delta::Remove(own)) = delta;
            (own.kind(), own.key()) == (kind, key)
        })
    };
    Ok((on_trial.rebase(&base, &deltas, is_changed)?, base))
}

fn content(desired: &Desired) -> Vec<String> {
    let mut content: Vec<_> = desired.resources().map(|resource| format!("{resource:?}")).collect();
    content.sort_unstable();
    content
}

#[test]
fn registrations_are_in_both() {
    let before = [domain("a.example", "a"), instance("a-1", "a")];
    let tried = replace(Owner::File, Some("pool"), "shop.example", "pool");
    let stored = [
        domain("b.example", "b"),
        Change::RemoveInstance { id: InstanceId::parse("a-1").unwrap(), generation: None },
        instance("a-2", "a"),
    ];
    let (rebased, base) = rebase(&before, std::slice::from_ref(&tried), &stored).unwrap();
    assert_eq!(rebased.revision(), base.revision().next());
    // The registrations have the same generations, and the rest is as if it had been applied afterwards.
    let generation = |desired: &Desired| desired.instance("a-2").unwrap().generation;
    assert_eq!(generation(&rebased), generation(&base));
    let (afterwards, _) = apply(&base, &[tried]);
    let others = |desired: &Desired| -> Vec<_> {
        let all = content(desired);
        all.into_iter().filter(|text| !text.contains("InstanceId(pool@")).collect()
    };
    assert_eq!(others(&rebased), others(&afterwards));
    assert!(rebased.instance("pool@10.0.0.1:1").is_some());
}

#[test]
fn a_registered_host_contradicts_a_route_that_is_tried() {
    let tried = [replace(Owner::File, Some("pool"), "shop.example", "pool")];
    let contradiction = rebase(&[], &tried, &[domain("shop.example", "a")]).unwrap_err();
    assert!(matches!(contradiction, Contradiction::HostTaken { .. }), "{contradiction}");
    assert!(contradiction.to_string().contains("shop.example"), "{contradiction}");
    rebase(&[], &tried, &[domain("other.example", "a")]).unwrap();
}

#[test]
fn the_same_resource_contradicts() {
    let tried = [replace(Owner::File, Some("pool"), "shop.example", "pool")];
    let stored = [Change::Register { app: AppSpec::new(app("pool")), instance: None, domain: None }];
    let contradiction = rebase(&[], &tried, &stored).unwrap_err();
    assert_eq!(contradiction, Contradiction::SameResource(Kind::App, "pool".into()));
}

#[test]
fn a_removed_resource_must_not_be_in_use() {
    let before = [replace(Owner::Admin, Some("pool"), "a.example", "pool")];
    let tried = [replace(Owner::File, None, "b.example", "pool")];
    let stored = [replace(Owner::Admin, Some("next"), "a.example", "next")];
    let contradiction = rebase(&before, &tried, &stored).unwrap_err();
    assert!(matches!(contradiction, Contradiction::Dangling { .. }), "{contradiction}");
    let same = [replace(Owner::Admin, Some("pool"), "c.example", "pool")];
    rebase(&before, &tried, &same).unwrap();
}

/// A set with a chain that asks a pool.
fn middleware(owner: Owner, chain: Option<(&str, &str)>) -> Change {
    let asks = |pool: &str| {
        let filter = crate::ExternalFilter {
            pool: app(pool),
            protocol: crate::ExternalProtocol::Http { path: "/".into() },
            timeout: std::time::Duration::from_millis(50),
            fail_mode: crate::FailMode::Closed,
            send: Box::default(),
            asserts: Box::default(),
            failed_open_header: None,
            cache: None,
        };
        let any_of = Box::new([crate::AuthMethod::Forward(filter)]);
        crate::StageSpec::Auth(crate::AuthStage { any_of, optional: false })
    };
    let chains = chain.map(|(id, pool)| {
        let id = crate::MiddlewareId::parse(id).unwrap();
        std::sync::Arc::new(crate::MiddlewareSpec { id, stages: Box::new([asks(pool)]) })
    });
    let set = OperatorSet { middlewares: chains.into_iter().collect(), ..OperatorSet::default() };
    Change::ReplaceOwned(std::sync::Arc::new(Replacement {
        owner,
        set: set.into(),
        expect: None,
        version: None,
    }))
}

#[test]
fn a_removed_chain_must_not_be_in_use() {
    let before = [replace(Owner::File, Some("pool"), "p.example", "pool")];
    let chain = middleware(Owner::Admin, Some(("c", "pool")));
    let with_chain: Vec<_> = before.iter().cloned().chain([chain]).collect();
    // A route that passes a chain is tried while the chain is removed.
    let pool = replace(Owner::File, Some("pool"), "p.example", "pool");
    let Change::ReplaceOwned(pool) = &pool else { panic!() };
    let mut set = OperatorSet::clone(&pool.set);
    let mut route = RouteSpec::clone(&set.routes[0]);
    route.middleware = Box::new([crate::MiddlewareId::parse("c").unwrap()]);
    set.routes = vec![std::sync::Arc::new(route)];
    let tried = [Change::ReplaceOwned(std::sync::Arc::new(Replacement {
        set: set.into(),
        ..Replacement::clone(pool)
    }))];
    let removed = [middleware(Owner::Admin, None)];
    let contradiction = rebase(&with_chain, &tried, &removed).unwrap_err();
    let expected = "route file-route refers to middleware c, which does not exist";
    assert_eq!(contradiction.to_string(), expected);
    rebase(&with_chain, &tried, &[domain("b.example", "b")]).unwrap();
}

#[test]
fn a_removed_pool_must_not_decide() {
    let before = [replace(Owner::File, Some("pool"), "p.example", "pool")];
    let tried = [middleware(Owner::Admin, Some(("c", "pool")))];
    let removed = [replace(Owner::File, Some("next"), "p.example", "next")];
    let contradiction = rebase(&before, &tried, &removed).unwrap_err();
    let expected = "middleware c refers to app pool, which does not exist";
    assert_eq!(contradiction.to_string(), expected);
    // The other way around: the chain is stored while the pool's removal is tried.
    let contradiction = rebase(&before, &removed, &tried).unwrap_err();
    assert_eq!(contradiction.to_string(), expected);
}
