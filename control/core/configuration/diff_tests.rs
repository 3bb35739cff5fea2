#![allow(clippy::unwrap_used)]
use std::time::Duration;

use proptest::prelude::*;
use ringway_model::{
    AppId, Balancer, Change, EndpointSpec, FailurePolicy, HealthCheck, InstanceId, OnAllUnhealthy,
    OperatorSet, PathMatch, PolicyId, PolicyRef, PolicySettings, PolicySpec, PoolRef, PoolSpec, Replacement,
    RouteId, RouteSpec, Target, Timestamp,
};

use super::*;
use crate::configuration::fields::Fields;

// --- Sets -------------------------------------------------------------------------------------------------

fn pool(number: usize, ports: &[u16], weight: u16) -> PoolSpec {
    let id = AppId::parse(&format!("pool-{number}")).unwrap();
    let endpoint = |port: &u16| {
        let target = Target::parse(&format!("http://10.0.0.1:{port}")).unwrap();
        EndpointSpec {
            id: InstanceId::of_endpoint(&id, &target),
            target,
            weight,
            health_check: HealthCheck::default(),
        }
    };
    PoolSpec {
        traffic: Default::default(),
        endpoints: ports.iter().map(endpoint).collect(),
        id: id.clone(),
        balancer: if weight > 1 { Balancer::WeightedRoundRobin } else { Balancer::RoundRobin },
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    }
}

fn policy(number: usize, seconds: u64) -> PolicySpec {
    let settings =
        PolicySettings { timeout: Some(Duration::from_secs(seconds)), ..PolicySettings::default() };
    PolicySpec { id: PolicyId::parse(&format!("policy-{number}")).unwrap(), settings }
}

/// A route: its host, path, pool and policy by number.
type RouteDraw = (u8, u8, u8, u8);

/// A set of the resources that are drawn; routes whose pool is missing are left out.
fn set(
    pools: &[Option<(Vec<u16>, u16)>],
    policies: &[Option<u64>],
    routes: &[Option<RouteDraw>],
    rotation: usize,
) -> OperatorSet {
    let mut set = OperatorSet::default();
    for (number, drawn) in pools.iter().enumerate() {
        set.pools.extend(drawn.as_ref().map(|(ports, weight)| pool(number, ports, *weight)));
    }
    for (number, seconds) in policies.iter().enumerate() {
        set.policies.extend(seconds.map(|seconds| policy(number, seconds)));
    }
    let count = routes.len();
    for order in 0..count {
        let number = (order + rotation) % count;
        let Some((host, path, to, named)) = routes[number] else { continue };
        let to = usize::from(to) % pools.len();
        if pools[to].is_none() {
            continue;
        }
        let id = RouteId::parse(&format!("route-{number}")).unwrap();
        let host = HostPattern::parse(["a.example", "b.example", "*.c.example", "*"][usize::from(host) % 4])
            .unwrap();
        let pool = PoolRef::Pool(AppId::parse(&format!("pool-{to}")).unwrap());
        let mut spec = RouteSpec::new(id, host, pool);
        // Unlike conditions: identical ones are a mistake of the documents.
        spec.matcher.path = match path % 3 {
            0 => PathMatch::Prefix(format!("/p{number}").into()),
            1 => PathMatch::Exact(format!("/e{number}").into()),
            _ => PathMatch::Regex(format!("^/r{number}/[0-9]+$").into()),
        };
        spec.order = u32::try_from(order).unwrap();
        let named = usize::from(named) % (policies.len() + 1);
        spec.policies = match policies.get(named) {
            Some(Some(_)) => {
                Box::new([PolicyRef::Named(PolicyId::parse(&format!("policy-{named}")).unwrap())])
            }
            _ => Box::default(),
        };
        set.routes.push(Arc::new(spec));
    }
    set
}

fn any_set() -> impl Strategy<Value = OperatorSet> {
    let pools = prop::collection::vec(
        prop::option::of((prop::sample::subsequence(vec![1_u16, 2, 3, 4], 0..4), 1_u16..3)),
        3,
    );
    let policies = prop::collection::vec(prop::option::of(1_u64..4), 2);
    let routes = prop::collection::vec(prop::option::of(any::<RouteDraw>()), 6);
    (pools, policies, routes, 0_usize..6)
        .prop_map(|(pools, policies, routes, rotation)| set(&pools, &policies, &routes, rotation))
}

fn put(desired: &Desired, owner: Owner, set: OperatorSet) -> (Desired, Vec<Delta>) {
    let replacement = Replacement { owner, set: Arc::new(set), expect: None, version: None };
    let applied = desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(1)).unwrap();
    (applied.desired, applied.deltas)
}

// --- Model: a configuration as texts ----------------------------------------------------------------------

/// Fields of all resources of an owner by kind and id.
fn texts(desired: &Desired, owner: &Owner) -> BTreeMap<(&'static str, Arc<str>), BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for (kind, id) in desired.owned(owner) {
        let fields: Fields = fields(&desired.resource(kind, id).unwrap());
        let fields = fields.into_iter().map(|(path, value)| (path.to_owned(), value)).collect();
        texts.insert((kind_name(kind).unwrap(), id.clone()), fields);
    }
    texts
}

/// Sequence of an owner's routes in the order of its documents.
fn order(desired: &Desired, owner: &Owner) -> Vec<Arc<str>> {
    let routes = desired.owned_of(owner, Kind::Route);
    let mut routes: Vec<_> = routes.map(|id| (desired.route(id).unwrap().spec.order, id.clone())).collect();
    routes.sort();
    routes.into_iter().map(|(_, id)| id).collect()
}

proptest! {
    #[test]
    fn the_listed_changes_make_the_proposal_and_nothing_else(first in any_set(), second in any_set()) {
        let owner = Owner::File;
        let (before, _) = put(&Desired::default(), owner.clone(), first);
        let (after, deltas) = put(&before, owner.clone(), second);
        let changes = changes(&before, &after, &deltas, &owner);
        prop_assert_eq!(changes.is_empty(), deltas.is_empty() || order_only(&before, &after, &owner));
        let mut patched = texts(&before, &owner);
        let mut moved: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for change in &changes {
            let key = (change.kind, change.id.clone());
            match change.op {
                // A new resource is listed in one line, which names all its fields.
                ChangeOp::Add => {
                    let new = texts(&after, &owner).remove(&key).unwrap();
                    let line = new.iter().map(|(path, value)| format!("{}: {value}", &path[1..])).collect::<Vec<_>>().join(", ");
                    prop_assert_eq!(change.to.as_deref(), Some(&*line));
                    prop_assert!(patched.insert(key, new).is_none());
                }
                ChangeOp::Remove => prop_assert!(patched.remove(&key).is_some()),
                ChangeOp::Change if &*change.path == "/order" => {
                    moved.insert(change.id.clone(), change.to.as_ref().unwrap().parse().unwrap());
                }
                ChangeOp::Change => {
                    let fields = patched.get_mut(&key).unwrap();
                    prop_assert_eq!(fields.get(&*change.path).map(|value| &**value), change.from.as_deref());
                    match &change.to {
                        Some(to) => _ = fields.insert(change.path.to_string(), to.to_string()),
                        None => _ = fields.remove(&*change.path),
                    }
                }
            }
        }
        prop_assert_eq!(patched, texts(&after, &owner));
        // Ranks that are not listed stay.
        let kept = |id: &Arc<str>| before.route(id).is_some() && after.route(id).is_some();
        let old: Vec<_> = order(&before, &owner).into_iter().filter(kept).collect();
        let new: Vec<_> = order(&after, &owner).into_iter().filter(kept).collect();
        let mut ranked: Vec<_> = old.iter().zip(1_usize..).map(|(id, rank)| (moved.get(id).copied().unwrap_or(rank), id.clone())).collect();
        ranked.sort();
        prop_assert_eq!(ranked.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), new);
    }

    #[test]
    fn effects_name_the_hosts_whose_routes_differ(first in any_set(), second in any_set()) {
        let (before, _) = put(&Desired::default(), Owner::File, first);
        let (after, deltas) = put(&before, Owner::File, second);
        let effects = effects(&before, &after, &deltas);
        let hosts = |desired: &Desired| -> BTreeSet<Arc<str>> {
            desired.routes().map(|route| route.spec.host.to_string().into()).collect()
        };
        let (old, new) = (hosts(&before), hosts(&after));
        prop_assert_eq!(effects.hosts_added.iter().cloned().collect::<BTreeSet<_>>(), &new - &old);
        prop_assert_eq!(effects.hosts_removed.iter().cloned().collect::<BTreeSet<_>>(), &old - &new);
        prop_assert!(effects.hosts_changed.iter().all(|host| old.contains(host) && new.contains(host)));
        let endpoints = |desired: &Desired| desired.instances().count();
        prop_assert_eq!(endpoints(&before) + effects.endpoints_added, endpoints(&after) + effects.endpoints_removed);
    }

    /// Sets of both operators and a registered domain, in every order of arrival: each pattern has one owner,
    /// the first one keeps it, and a refused set leaves nothing behind.
    #[test]
    fn the_first_claim_wins_in_any_order(sets in prop::collection::vec((any::<bool>(), any_set()), 1..5), domain_at in 0_usize..5) {
        let mut desired = Desired::default();
        for (at, (is_file, set)) in sets.into_iter().enumerate() {
            if at == domain_at {
                desired = register(&desired, "a.example").unwrap_or(desired);
            }
            let owner = if is_file { Owner::File } else { Owner::Admin };
            // Ids of their own: the claims are what differs.
            let set = renamed(set, &owner);
            let conflicts = desired.conflicts(&owner, &set);
            let holders: BTreeMap<_, _> = claims(&desired);
            let replacement = Replacement { owner: owner.clone(), set: Arc::new(set), expect: None, version: None };
            match desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(2)) {
                Ok(applied) => {
                    prop_assert!(conflicts.is_empty());
                    desired = applied.desired;
                }
                Err(_) => prop_assert!(!conflicts.is_empty()),
            }
            for (host, holder) in claims(&desired) {
                prop_assert_eq!(holder.len(), 1, "{} has {:?}", host, &holder);
                // A pattern changes its owner only after the former one has left it.
                if let Some(former) = holders.get(&host).filter(|former| former.iter().next() != Some(&owner)) {
                    prop_assert_eq!(&holder, former);
                }
            }
        }
    }
}

fn order_only(before: &Desired, after: &Desired, owner: &Owner) -> bool {
    texts(before, owner) == texts(after, owner)
}

fn register(desired: &Desired, domain: &str) -> Option<Desired> {
    let app = AppId::parse("shop").unwrap();
    let domain = ringway_model::DomainSpec {
        name: ringway_model::Hostname::parse(domain).unwrap(),
        app: app.clone(),
        tenant: None,
        kind: ringway_model::DomainKind::Custom,
        cname_target: None,
        certificate: None,
        client_auth: None,
        policy: None,
    };
    let app = ringway_model::AppSpec::new(app);
    let change = Change::Register { app, instance: None, domain: Some(domain) };
    desired.apply(&change, Timestamp(3)).ok().map(|applied| applied.desired)
}

/// Owners of each host pattern, without attached routes.
fn claims(desired: &Desired) -> BTreeMap<String, BTreeSet<Owner>> {
    let mut claims: BTreeMap<String, BTreeSet<Owner>> = BTreeMap::new();
    for route in desired.routes().filter(|route| !route.is_attached) {
        claims.entry(route.spec.host.to_string()).or_default().insert(route.owner.clone());
    }
    for domain in desired.domains() {
        claims.entry(domain.name.to_string()).or_default().insert(domain.owner.clone());
    }
    claims
}

fn renamed(mut set: OperatorSet, owner: &Owner) -> OperatorSet {
    let app = |id: &AppId| AppId::parse(&format!("{owner}-{id}")).unwrap();
    for pool in &mut set.pools {
        pool.id = app(&pool.id);
        for endpoint in &mut pool.endpoints {
            endpoint.id = InstanceId::of_endpoint(&pool.id, &endpoint.target);
        }
    }
    let policy = |id: &PolicyId| PolicyId::parse(&format!("{owner}-{id}")).unwrap();
    for named in &mut set.policies {
        named.id = policy(&named.id);
    }
    for route in &mut set.routes {
        let mut spec = RouteSpec::clone(route);
        spec.id = RouteId::parse(&format!("{owner}-{}", spec.id)).unwrap();
        if let ringway_model::RouteAction::Proxy { pool: PoolRef::Pool(pool), .. } = &mut spec.action {
            *pool = app(pool);
        }
        for reference in &mut spec.policies {
            if let PolicyRef::Named(id) = reference {
                *id = policy(id);
            }
        }
        *route = Arc::new(spec);
    }
    set
}
