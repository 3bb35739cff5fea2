use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use proptest::prelude::*;
use ringway_model::{
    AppSpec, Change, DomainKind, DomainSpec, DomainUpdate, FailurePolicy, Generation, Health, HealthCheck,
    InstanceSpec, OnAllUnhealthy, Owner, Patch, Revision, StatusSet, TenantHash, TenantId, Tick,
    TimeoutPolicy, Timestamp,
};

use ringway_wire::h1::{Limits, Parse, RequestHead};
use ringway_wire::path::Slashes;

use super::*;
use crate::breaker::Candidate;
use crate::limits::TRICKLE_INTERVAL;
use crate::policy::Policy;
use crate::snapshot::{Endpoint, EndpointId, Fallback, Pool, PoolId};
use crate::virtual_host::{Rule, Rules, Tenant};

pub(super) fn settings(hash_key: u64) -> CompilerSettings {
    CompilerSettings { hash_key, cores: 4, ..CompilerSettings::default() }
}

fn rule_of<'s>(snapshot: &'s Snapshot, host: &str) -> &'s Arc<Rule> {
    let Rules::One(rule) = &snapshot.virtual_host(host).unwrap().rules else {
        panic!("{host} has conditions")
    };
    rule
}

fn request(text: &str) -> (RequestHead, Vec<u8>) {
    let mut head = RequestHead::default();
    assert_eq!(head.parse(text.as_bytes(), &Limits::default()), Ok(Parse::Complete));
    (head, text.as_bytes().to_vec())
}

pub(super) fn app(text: &str) -> AppId {
    AppId::parse(text).unwrap()
}

pub(super) fn host(text: &str) -> Hostname {
    Hostname::parse(text).unwrap()
}

fn target(text: &str) -> Target {
    Target::parse(text).unwrap()
}

fn instance_spec(id: &str, app_id: &str, at: &str) -> InstanceSpec {
    let health_check = HealthCheck::default();
    InstanceSpec { id: InstanceId::parse(id).unwrap(), app: app(app_id), target: target(at), health_check }
}

fn domain_spec(name: &str, app_id: &str, tenant: Option<&str>) -> DomainSpec {
    DomainSpec {
        policy: None,
        certificate: None,
        client_auth: None,
        name: host(name),
        app: app(app_id),
        tenant: tenant.map(|tenant| TenantId::parse(tenant).unwrap()),
        kind: DomainKind::Custom,
        cname_target: None,
    }
}

fn register(app_id: &str) -> Change {
    Change::Register { app: AppSpec::new(app(app_id)), instance: None, domain: None }
}

fn tenant_line(host: &VirtualHost) -> &[u8] {
    host.tenant.as_ref().map_or(b"", |tenant| &tenant.line)
}

/// Minimal control plane: applies, compiles, commits.
struct Plane {
    desired: Desired,
    compiler: Compiler,
}

impl Plane {
    fn new() -> Self {
        Self { desired: Desired::default(), compiler: Compiler::new(settings(7)) }
    }

    /// Compiles the changes, except those that are refused.
    fn prepare(&self, changes: &[Change]) -> (Desired, Compiled) {
        let mut desired = self.desired.clone();
        let mut deltas = Vec::new();
        for change in changes {
            if let Ok(applied) = desired.apply(change, Timestamp(0)) {
                desired = applied.desired;
                deltas.extend(applied.deltas);
            }
        }
        let compiled = self.compiler.compile(&desired, &deltas);
        (desired, compiled)
    }

    fn change(&mut self, changes: &[Change]) -> Published {
        let (desired, compiled) = self.prepare(changes);
        self.desired = desired;
        self.compiler.commit(compiled).unwrap()
    }

    fn resolve(&mut self, name: &str, addresses: &[[u8; 4]]) -> Option<Published> {
        let addresses: Vec<IpAddr> = addresses.iter().map(|octets| IpAddr::from(*octets)).collect();
        let compiled = self.compiler.update_addresses(&host(name), &addresses)?;
        Some(self.compiler.commit(compiled).unwrap())
    }

    fn snapshot(&self) -> &Arc<Snapshot> {
        self.compiler.snapshot()
    }
}

/// Returns a plane with an app that has a tenant's domain and two instances, and an app without instances.
fn plane() -> Plane {
    let mut plane = Plane::new();
    plane.change(&[
        register("shop"),
        Change::AddInstance(instance_spec("shop-2", "shop", "http://10.0.0.2:80")),
        Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.1:80")),
        Change::AddDomain(domain_spec("shop.example", "shop", Some("acme"))),
        register("blog"),
        Change::AddDomain(domain_spec("blog.example", "blog", None)),
    ]);
    plane
}

/// Policies change the pool and not its endpoints; an unchanged trickle keeps its state.
#[test]
fn policies_of_an_app_apply_to_its_pool() {
    let mut plane = plane();
    let before = plane.snapshot().pool_of_app("shop").unwrap().clone();
    assert_eq!(
        (before.failures, before.fallback.policy()),
        (FailurePolicy::default(), OnAllUnhealthy::Reject)
    );
    let failures =
        FailurePolicy { statuses: StatusSet::parse("503").unwrap(), timeouts: TimeoutPolicy::Never };
    let change = |failures, on_all_unhealthy| Change::Register {
        app: AppSpec {
            failures: Some(failures),
            on_all_unhealthy: Some(on_all_unhealthy),
            ..AppSpec::new(app("shop"))
        },
        instance: None,
        domain: None,
    };
    let published = plane.change(&[change(failures, OnAllUnhealthy::Trickle)]);
    assert_eq!((published.work, published.slots.len()), (Work { hosts: 0, pools: 1 }, 0));
    let with_trickle = plane.snapshot().pool_of_app("shop").unwrap().clone();
    assert_eq!(with_trickle.failures, failures);
    let ids = |pool: &Pool| pool.endpoints.iter().map(|endpoint| endpoint.id).collect::<Vec<_>>();
    assert_eq!(ids(&with_trickle), ids(&before));
    let Fallback::Trickle(trickle) = &with_trickle.fallback else { panic!("{:?}", with_trickle.fallback) };
    assert!(trickle.admit(TRICKLE_INTERVAL, Tick(1_000)));

    plane.change(&[change(FailurePolicy::default(), OnAllUnhealthy::Trickle)]);
    let Fallback::Trickle(trickle) = &plane.snapshot().pool_of_app("shop").unwrap().fallback else {
        panic!("the trickle was replaced")
    };
    assert!(!trickle.admit(TRICKLE_INTERVAL, Tick(1_000)));
    plane.change(&[change(FailurePolicy::default(), OnAllUnhealthy::PanicOpen)]);
    let pool = plane.snapshot().pool_of_app("shop").unwrap();
    assert!(matches!(pool.fallback, Fallback::PanicOpen));
    assert_eq!(plane.change(&[register("shop")]).work, Work { hosts: 0, pools: 0 });
}

#[test]
fn a_host_has_a_rule_with_a_pool() {
    let plane = plane();
    let snapshot = plane.snapshot();
    let shop = snapshot.virtual_host("shop.example").unwrap();
    assert_eq!((&shop.owner, tenant_line(shop)), (&Owner::Api, &b"X-Tenant-ID: acme\r\n"[..]));
    let (head, text) = request("GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let rule = shop.rules.find(&head, &text).unwrap();
    assert_eq!((rule.app.as_ref().unwrap().as_str(), &rule.owner), ("shop", &Owner::Api));
    let pool = snapshot.pool_of(rule).unwrap();
    let instances: Vec<_> = pool.endpoints.iter().map(|endpoint| endpoint.instance.as_str()).collect();
    assert_eq!(instances, ["shop-1", "shop-2"]);
    assert_eq!(*pool.endpoints[0].addresses, ["10.0.0.1:80".parse().unwrap()]);
    assert_eq!(pool.endpoints[0].state.health(), ringway_model::Health::Joining);
    assert_eq!(snapshot.pool_of_app("shop").unwrap().id, pool.id);
    assert_eq!(snapshot.endpoint("shop", "shop-2").unwrap().id, pool.endpoints[1].id);
    assert_eq!((snapshot.host_count(), snapshot.pool_count(), snapshot.endpoint_count()), (2, 2, 2));

    let blog = snapshot.virtual_host("blog.example").unwrap();
    assert!(tenant_line(blog).is_empty() && blog.tenant.is_none());
    assert!(snapshot.pool_of(rule_of(snapshot, "blog.example")).unwrap().endpoints.is_empty());
}

#[test]
fn all_rules_and_pools_share_the_operators_defaults() {
    let defaults = Defaults {
        rate_limit: None,
        cache_ttl: None,
        slashes: Slashes::Keep,
        policy: Arc::new(Policy { body_bytes_max: Some(7), ..Policy::default() }),
        pool: Arc::default(),
        stages: Some(Arc::default()),
        ..Defaults::default()
    };
    let compiler = Compiler::new(CompilerSettings { defaults: defaults.clone(), ..settings(7) });
    let mut plane = Plane { desired: Desired::default(), compiler };
    plane.change(&[
        register("shop"),
        Change::AddDomain(domain_spec("a.example", "shop", None)),
        Change::AddDomain(domain_spec("b.example", "shop", None)),
    ]);
    for host in ["a.example", "b.example"] {
        let rule = rule_of(plane.snapshot(), host);
        assert!(Arc::ptr_eq(&rule.policy, &defaults.policy));
        assert!(rule.stages.as_ref().is_some_and(|stages| defaults.stages.as_ref() == Some(stages)));
    }
    let pool = plane.snapshot().pool_of_app("shop").unwrap();
    assert!(Arc::ptr_eq(&pool.settings, &defaults.pool));
}

#[test]
fn a_new_certificate_does_not_change_the_rule() {
    let mut plane = plane();
    let before = rule_of(plane.snapshot(), "shop.example").clone();
    let version = Some(CertificateVersion(3));
    let compiled = plane.compiler.update_certificates(&[(host("shop.example"), version)]).unwrap();
    plane.compiler.commit(compiled).unwrap();
    let shop = plane.snapshot().virtual_host("shop.example").unwrap();
    assert_eq!(shop.tls.certificate, version);
    assert!(Arc::ptr_eq(rule_of(plane.snapshot(), "shop.example"), &before));
}

#[test]
fn unregistered_names_are_not_found() {
    let plane = plane();
    let snapshot = plane.snapshot();
    for miss in ["", "example", "www.shop.example", "shop.example.", "SHOP.example", "shop.example:80"] {
        assert!(snapshot.virtual_host(miss).is_none(), "{miss}");
    }
    assert!(snapshot.pool_of_app("none").is_none());
    assert!(snapshot.pool(PoolId(99)).is_none());
    assert!(snapshot.endpoint("shop", "shop-3").is_none());
    assert!(snapshot.endpoint("blog", "shop-1").is_none());
    assert!(!snapshot.has_endpoint(EndpointId(99)));
    assert!(Snapshot::default().virtual_host("shop.example").is_none());
}

#[test]
fn a_tenant_is_hashed_with_the_key_of_the_compiler() {
    let acme = TenantId::parse("acme").unwrap();
    let plane = plane();
    let hash =
        plane.snapshot().virtual_host("shop.example").unwrap().tenant.as_ref().map(|tenant| tenant.hash);
    assert_eq!(hash, Some(TenantHash::new(7, &acme)));
}

#[test]
fn a_change_of_one_app_costs_the_same_in_a_large_configuration() {
    const APPS: usize = 200;
    const DOMAINS: usize = 10_000;
    let name = |n: usize| format!("d{n}.example");
    let mut changes: Vec<Change> = (0..APPS).map(|n| register(&format!("app{n}"))).collect();
    changes.extend(
        (0..DOMAINS)
            .map(|n| Change::AddDomain(domain_spec(&name(n), &format!("app{}", n % APPS), Some("tenant")))),
    );
    changes.extend((0..APPS).map(|n| {
        Change::AddInstance(instance_spec(&format!("i{n}"), &format!("app{n}"), "http://127.0.0.1:3000"))
    }));
    let mut plane = Plane::new();
    assert_eq!(plane.change(&changes).work, Work { hosts: DOMAINS, pools: APPS });
    let before = plane.snapshot().clone();

    let steps = [
        (Change::AddDomain(domain_spec("new.example", "app5", None)), Work { hosts: 1, pools: 0 }),
        (Change::RemoveDomain { name: host(&name(77)) }, Work { hosts: 1, pools: 0 }),
        // An app with 50 domains: one pool, no host.
        (
            Change::AddInstance(instance_spec("more", "app9", "http://127.0.0.1:3001")),
            Work { hosts: 0, pools: 1 },
        ),
    ];
    for (change, work) in steps {
        assert_eq!(plane.change(&[change]).work, work);
    }

    let after = plane.snapshot();
    let same = before
        .virtual_hosts()
        .filter(|old| after.virtual_host_of(&old.host).is_some_and(|new| Arc::ptr_eq(old, new)));
    assert_eq!(same.count(), DOMAINS - 1);
    let same = before.pools().filter(|old| after.pools.get(&old.id).is_some_and(|new| Arc::ptr_eq(old, new)));
    assert_eq!(same.count(), APPS - 1);
    // The old snapshot is unchanged.
    assert!(before.virtual_host(&name(77)).is_some() && before.virtual_host("new.example").is_none());
    assert_eq!(before.pool_of_app("app9").unwrap().endpoints.len(), 1);
    assert_eq!(after.pool_of_app("app9").unwrap().endpoints.len(), 2);
}

#[test]
fn a_dropped_compilation_has_no_effect() {
    let mut plane = plane();
    let before = plane.snapshot().clone();
    plane.snapshot().endpoint("shop", "shop-1").unwrap().state.set_health(Health::Unhealthy);
    let changes = [
        Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.1:80")),
        Change::AddInstance(instance_spec("shop-3", "shop", "http://name.internal")),
        Change::AddDomain(domain_spec("new.example", "shop", None)),
    ];
    let (_, dropped) = plane.prepare(&changes);
    let dropped_snapshot = dropped.snapshot().clone();
    assert!(dropped_snapshot.virtual_host("new.example").is_some());
    drop(dropped);

    assert!(Arc::ptr_eq(&before, plane.snapshot()));
    assert_eq!(plane.compiler.names().count(), 0);
    assert_eq!(before.endpoint("shop", "shop-1").unwrap().state.health(), Health::Unhealthy);
    // Ids and slots were not used up either.
    let published = plane.change(&changes);
    let ids = |snapshot: &Snapshot| {
        let endpoint = snapshot.endpoint("shop", "shop-3").unwrap();
        let rule = rule_of(snapshot, "new.example");
        (snapshot.serial, endpoint.id, endpoint.metric, rule.id, rule.metric)
    };
    assert_eq!(ids(&published.snapshot), ids(&dropped_snapshot));
}

#[test]
fn of_two_concurrent_compilations_one_is_committed() {
    let mut plane = plane();
    let (_, one) = plane.prepare(&[Change::AddDomain(domain_spec("one.example", "shop", None))]);
    let (_, two) = plane.prepare(&[Change::AddDomain(domain_spec("two.example", "shop", None))]);
    plane.compiler.commit(one).unwrap();
    assert_eq!(plane.compiler.commit(two).err(), Some(Outdated));
    assert!(plane.snapshot().virtual_host("one.example").is_some());
    assert!(plane.snapshot().virtual_host("two.example").is_none());
}

#[test]
fn every_commit_has_the_next_serial_and_the_revision_of_its_configuration() {
    let mut plane = plane();
    assert_eq!((plane.snapshot().serial, plane.snapshot().revision), (Serial(1), Revision(6)));
    plane.change(&[Change::AddInstance(instance_spec("shop-3", "shop", "http://name.internal"))]);
    assert_eq!((plane.snapshot().serial, plane.snapshot().revision), (Serial(2), Revision(7)));
    plane.resolve("name.internal", &[[10, 0, 0, 3]]).unwrap();
    assert_eq!((plane.snapshot().serial, plane.snapshot().revision), (Serial(3), Revision(7)));
}

#[test]
fn a_new_registration_keeps_the_endpoint_and_resets_its_health() {
    let mut plane = plane();
    let old = plane.snapshot().endpoint("shop", "shop-1").unwrap().clone();
    let other = plane.snapshot().endpoint("shop", "shop-2").unwrap().clone();
    old.state.set_health(Health::Unhealthy);
    other.state.set_health(Health::Unhealthy);
    plane.change(&[Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.1:80"))]);
    let new = plane.snapshot().endpoint("shop", "shop-1").unwrap();
    assert_eq!((new.id, new.metric), (old.id, old.metric));
    assert!(Arc::ptr_eq(&new.state, &old.state));
    assert!(new.generation > old.generation);
    assert_eq!(new.state.health(), Health::Joining);
    assert_eq!(other.state.health(), Health::Unhealthy, "the other instance did not register again");
    assert_eq!(plane.snapshot().endpoints_removed, 0);
}

#[test]
fn a_new_target_makes_a_new_endpoint() {
    let mut plane = plane();
    let old = plane.snapshot().endpoint("shop", "shop-1").unwrap().clone();
    old.state.set_health(Health::Unhealthy);
    plane.change(&[Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.1:81"))]);
    let snapshot = plane.snapshot();
    let new = snapshot.endpoint("shop", "shop-1").unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!(new.state.health(), Health::Joining);
    assert_eq!(old.state.health(), Health::Unhealthy);
    assert!(snapshot.has_endpoint(new.id) && !snapshot.has_endpoint(old.id));
    assert_eq!((snapshot.endpoint_count(), snapshot.endpoints_removed), (2, 1));
}

#[test]
fn ids_are_never_reused() {
    let mut plane = plane();
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let snapshot = plane.change(&[
            Change::AddInstance(instance_spec("x", "blog", "http://10.0.0.9:80")),
            Change::AddDomain(domain_spec("x.example", "blog", None)),
        ]);
        let snapshot = snapshot.snapshot;
        let endpoint = snapshot.endpoint("blog", "x").unwrap().id.0;
        assert!(seen.insert((endpoint, rule_of(&snapshot, "x.example").id.0)));
        plane.change(&[
            Change::RemoveInstance { id: InstanceId::parse("x").unwrap(), generation: None },
            Change::RemoveDomain { name: host("x.example") },
        ]);
    }
    let endpoints: BTreeSet<_> = seen.iter().map(|(endpoint, _)| endpoint).collect();
    let rules: BTreeSet<_> = seen.iter().map(|(_, rule)| rule).collect();
    assert_eq!((endpoints.len(), rules.len()), (5, 5));
}

#[test]
fn a_name_takes_traffic_when_it_is_resolved() {
    let mut plane = plane();
    let by_name =
        |id: &str, app: &str| Change::AddInstance(instance_spec(id, app, "http://origin.internal:8080"));
    let published = plane.change(&[by_name("n1", "blog")]);
    assert_eq!(published.names_added, [host("origin.internal")]);
    let now = ringway_model::Tick(0);
    let endpoint = published.snapshot.endpoint("blog", "n1").unwrap().clone();
    assert!(!endpoint.is_available(now));
    assert_eq!(plane.compiler.addresses("origin.internal"), Some([].as_slice()));

    let published = plane.resolve("origin.internal", &[[10, 0, 0, 7], [10, 0, 0, 8], [10, 0, 0, 7]]).unwrap();
    assert_eq!(published.work, Work { hosts: 0, pools: 1 });
    let resolved = published.snapshot.endpoint("blog", "n1").unwrap();
    assert_eq!(*resolved.addresses, ["10.0.0.7:8080".parse().unwrap(), "10.0.0.8:8080".parse().unwrap()]);
    assert!(resolved.is_available(now));
    assert_eq!(resolved.id, endpoint.id);
    assert!(Arc::ptr_eq(&resolved.state, &endpoint.state));

    // Another order is no change, a subset is.
    assert!(plane.resolve("origin.internal", &[[10, 0, 0, 8], [10, 0, 0, 7]]).is_none());
    assert!(plane.resolve("unknown.internal", &[[10, 0, 0, 8]]).is_none());
    plane.resolve("origin.internal", &[[10, 0, 0, 8]]).unwrap();

    // A second app gets the known addresses; both get the next ones.
    let published = plane.change(&[by_name("n2", "shop")]);
    assert_eq!(published.names_added, []);
    assert!(published.snapshot.endpoint("shop", "n2").unwrap().is_available(now));
    assert_eq!(plane.resolve("origin.internal", &[[10, 0, 0, 9]]).unwrap().work.pools, 2);
    for (app, instance) in [("shop", "n2"), ("blog", "n1")] {
        let endpoint = plane.snapshot().endpoint(app, instance).unwrap();
        assert_eq!(*endpoint.addresses, ["10.0.0.9:8080".parse().unwrap()]);
    }
}

#[test]
fn a_name_is_removed_with_its_last_instance() {
    let mut plane = plane();
    let add = |id: &str, app: &str| Change::AddInstance(instance_spec(id, app, "http://origin.internal"));
    let remove = |id: &str| Change::RemoveInstance { id: InstanceId::parse(id).unwrap(), generation: None };
    plane.change(&[add("n1", "blog"), add("n2", "blog"), add("n3", "shop")]);
    plane.resolve("origin.internal", &[[10, 0, 0, 7]]).unwrap();
    assert_eq!(plane.change(&[remove("n1"), remove("n3")]).names_removed, []);

    // A name that one instance leaves and another takes in one batch keeps its addresses.
    let published = plane.change(&[remove("n2"), add("n4", "shop")]);
    assert_eq!((published.names_added, published.names_removed), (vec![], vec![]));
    assert!(!plane.snapshot().endpoint("shop", "n4").unwrap().addresses.is_empty());

    assert_eq!(plane.change(&[remove("n4")]).names_removed, [host("origin.internal")]);
    assert_eq!(plane.compiler.names().count(), 0);
    // A name that is added and removed within one batch is not reported.
    let published = plane.change(&[add("n5", "shop"), remove("n5")]);
    assert_eq!((published.names_added, published.names_removed), (vec![], vec![]));
}

#[test]
fn addresses_of_one_name_are_bounded() {
    let mut plane = plane();
    plane.change(&[Change::AddInstance(instance_spec("n1", "blog", "http://origin.internal"))]);
    let many: Vec<[u8; 4]> =
        (0..=ringway_model::limits::DNS_ADDRESSES_MAX as u8).map(|n| [10, 0, 0, n]).collect();
    plane.resolve("origin.internal", &many).unwrap();
    let endpoint = plane.snapshot().endpoint("blog", "n1").unwrap();
    assert_eq!(endpoint.addresses.len(), ringway_model::limits::DNS_ADDRESSES_MAX);
}

#[test]
fn the_longest_free_slot_is_reused_first_and_the_overflow_shares_one() {
    let mut plane = Plane::new();
    let add = |n: usize| Change::AddDomain(domain_spec(&format!("d{n}.example"), "app", None));
    let remove = |n: usize| Change::RemoveDomain { name: host(&format!("d{n}.example")) };
    let slot = |plane: &Plane, n: usize| rule_of(plane.snapshot(), &format!("d{n}.example")).metric.0;
    plane.change(&[register("app")]);
    let max = ringway_model::limits::METRIC_SLOTS_MAX;
    for n in 0..max {
        let published = plane.change(&[add(n)]);
        let slot = MetricSlot(n as u16 + 1);
        let named =
            SlotChange::NameRoute { slot, route: format!("d{n}.example").into(), app: Some(app("app")) };
        assert_eq!(published.slots, [named]);
    }
    // Beyond the limit: the shared slot, without a report of its use or release.
    assert_eq!(plane.change(&[add(max)]).slots, []);
    assert_eq!(slot(&plane, max), 0);
    assert_eq!(plane.change(&[remove(max)]).slots, []);

    assert_eq!(plane.change(&[remove(4)]).slots, [SlotChange::FreeRoute { slot: MetricSlot(5) }]);
    plane.change(&[remove(2)]);
    plane.change(&[add(max + 1)]);
    plane.change(&[add(max + 2)]);
    plane.change(&[add(max + 3)]);
    assert_eq!([1, 2, 3].map(|n| slot(&plane, max + n)), [5, 3, 0]);
}

#[test]
fn slots_follow_their_route_pool_or_endpoint() {
    let mut plane = plane();
    let slot_of = |plane: &Plane, name: &str| rule_of(plane.snapshot(), name).metric;
    let moved = slot_of(&plane, "shop.example");
    let update = DomainUpdate { app: Some(app("blog")), ..DomainUpdate::new(host("shop.example")) };
    let slots = plane.change(&[Change::UpdateDomain(update.clone())]).slots;
    assert_eq!(
        slots,
        [SlotChange::NameRoute { slot: moved, route: "shop.example".into(), app: Some(app("blog")) }]
    );
    assert_eq!(slot_of(&plane, "shop.example"), moved);
    // Another tenant does not change the rule.
    let update = DomainUpdate { app: None, tenant: Patch::Clear, ..update };
    assert_eq!(plane.change(&[Change::UpdateDomain(update)]).slots, []);

    let endpoints: Vec<_> = ["shop-1", "shop-2"]
        .map(|id| SlotChange::FreeEndpoint { slot: plane.snapshot().endpoint("shop", id).unwrap().metric })
        .into();
    let pool = SlotChange::FreePool { slot: plane.snapshot().pool_of_app("shop").unwrap().metric };
    let slots = plane.change(&[Change::RemoveApp { id: app("shop") }]).slots;
    assert_eq!(slots, [endpoints, vec![pool]].concat());
}

#[test]
fn a_start_compiles_the_oldest_first() {
    let mut desired = Desired::default();
    let mut at = 0;
    let mut apply = |change: Change| {
        at += 1;
        desired = desired.apply(&change, Timestamp(at)).unwrap().desired;
    };
    apply(register("z"));
    apply(register("a"));
    apply(Change::AddDomain(domain_spec("z.example", "a", None)));
    apply(Change::AddDomain(domain_spec("a.example", "z", None)));
    let compiled = Compiler::new(settings(1)).compile_all(&desired);
    let snapshot = compiled.snapshot();
    assert_eq!(rule_of(snapshot, "z.example").metric, MetricSlot(1));
    assert_eq!(rule_of(snapshot, "a.example").metric, MetricSlot(2));
    assert_eq!(snapshot.pool_of_app("z").unwrap().metric, MetricSlot(1));
    assert_eq!((snapshot.serial, snapshot.revision), (Serial(1), Revision(4)));
}

#[test]
fn cursors_of_removed_pools_do_not_accumulate() {
    let mut plane = Plane::new();
    let mut cursors = crate::balance::Cursors::new(ringway_model::CoreId(0));
    let none = crate::balance::TriedSet::default();
    for n in 0..500 {
        let id = format!("app{n}");
        plane.change(&[register(&id), Change::AddInstance(instance_spec("i", &id, "http://127.0.0.1:80"))]);
        cursors.keep_only(plane.snapshot());
        let pool = plane.snapshot().pool_of_app(&id).unwrap();
        cursors.pick(pool, &none, Candidate::Ready, Tick(0)).unwrap();
        assert!(cursors.len() <= 100, "{}", cursors.len());
        plane.change(&[Change::RemoveApp { id: app(&id) }]);
    }
    assert!(!cursors.is_empty());
}

// --- Random histories ------------------------------------------------------------------------------------

/// Content of a snapshot, without the numbers that depend on the order of changes.
#[allow(clippy::type_complexity)] // plain tuples suffice for a comparison
#[derive(Debug, PartialEq, Eq)]
struct Content {
    revision: Revision,
    hosts: BTreeMap<String, (Vec<Option<AppId>>, Owner, Option<Tenant>, TlsSettings)>,
    pools: BTreeMap<AppId, Vec<(InstanceId, Generation, String, Vec<SocketAddr>)>>,
    names: BTreeMap<Hostname, Vec<IpAddr>>,
}

fn content(compiler: &Compiler) -> Content {
    let snapshot = compiler.snapshot();
    let host = |host: &Arc<VirtualHost>| {
        let VirtualHost { owner, host, tenant, tls, rules } = VirtualHost::clone(host);
        (host.to_string(), (rules.iter().map(|rule| rule.app.clone()).collect(), owner, tenant, tls))
    };
    let endpoint = |endpoint: &Endpoint| {
        let Endpoint { instance, generation, target, addresses, .. } = endpoint.clone();
        (instance, generation, target.to_string(), addresses.into())
    };
    Content {
        revision: snapshot.revision,
        hosts: snapshot.virtual_hosts().map(host).collect(),
        pools: snapshot
            .pools()
            .map(|pool| (pool.app.clone(), pool.all_endpoints().map(endpoint).collect()))
            .collect(),
        names: compiler
            .state
            .base
            .names
            .iter()
            .map(|(name, of)| (name.clone(), of.addresses.to_vec()))
            .collect(),
    }
}

/// Asserts the invariants of every snapshot.
pub(super) fn check_consistency(snapshot: &Snapshot) {
    let mut endpoints = BTreeSet::new();
    let mut slots = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    let mut own = |kind: usize, slot: MetricSlot| {
        assert!(slot == MetricSlot::SHARED || slots[kind].insert(slot), "slot {slot:?} has two owners");
    };
    let mut rule_ids = BTreeSet::new();
    for host in snapshot.virtual_hosts() {
        assert!(snapshot.virtual_host_of(&host.host).is_some_and(|found| Arc::ptr_eq(found, host)));
        for rule in host.rules.iter() {
            assert_eq!(snapshot.pool_of(rule).map(|pool| &pool.app), rule.app.as_ref());
            assert!(rule_ids.insert(rule.id));
            own(0, rule.metric);
        }
    }
    for pool in snapshot.pools() {
        assert_eq!(snapshot.pool_of_app(pool.app.as_str()).map(|found| found.id), Some(pool.id));
        assert!(pool.endpoints.is_sorted_by(|a, b| a.instance < b.instance));
        own(1, pool.metric);
        for endpoint in pool.all_endpoints() {
            assert!(endpoints.insert(endpoint.id));
            assert!(snapshot.has_endpoint(endpoint.id));
            own(2, endpoint.metric);
        }
    }
    assert_eq!(snapshot.endpoint_count(), endpoints.len());
}

#[derive(Clone, Debug)]
enum Step {
    /// Stored and published.
    Batch(Vec<Change>),
    /// Compiled, but the store failed.
    Lost(Vec<Change>),
    Resolved(String, Vec<[u8; 4]>),
    /// Everything is compiled again.
    Everything,
}

const TARGETS: [&str; 4] =
    ["http://10.0.0.1:80", "http://10.0.0.2:80", "http://one.internal", "http://two.internal:81"];

fn drain(id: &str) -> Change {
    Change::DrainInstance { id: InstanceId::parse(id).unwrap(), generation: None, until: Timestamp(9) }
}

/// States of an endpoint in the order of a rolling deploy.
#[test]
fn a_draining_instance_keeps_its_endpoint_and_takes_no_new_requests() {
    let mut plane = plane();
    let before = plane.snapshot().endpoint("shop", "shop-1").unwrap().clone();
    let published = plane.change(&[drain("shop-1")]);
    let pool = published.snapshot.pool_of_app("shop").unwrap();
    let ids = |endpoints: &[crate::snapshot::Endpoint]| -> Vec<String> {
        endpoints.iter().map(|endpoint| endpoint.instance.to_string()).collect()
    };
    assert_eq!((ids(&pool.endpoints), ids(&pool.draining)), (vec!["shop-2".into()], vec!["shop-1".into()]));
    let draining = published.snapshot.endpoint("shop", "shop-1").unwrap();
    assert!(!pool.offers(draining) && pool.offers(&pool.endpoints[0]));
    assert_eq!(draining.id, before.id);
    assert!(Arc::ptr_eq(&draining.in_flight, &before.in_flight), "requests in flight stay counted");
    assert!(published.snapshot.has_endpoint(before.id), "its idle connections stay until it is removed");
    assert_eq!(published.snapshot.endpoints_removed, 0);
    assert_eq!(plane.change(&[drain("shop-1")]).work, Work::default(), "a repeated drain has no effect");

    // A new registration ends the drain.
    plane.change(&[Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.1:80"))]);
    let pool = plane.snapshot().pool_of_app("shop").unwrap();
    assert_eq!((pool.endpoints.len(), pool.draining.len()), (2, 0));
    assert_eq!(pool.endpoints[0].id, before.id);

    let remove = Change::RemoveInstance { id: InstanceId::parse("shop-1").unwrap(), generation: None };
    let published = plane.change(&[drain("shop-1"), remove]);
    assert!(!published.snapshot.has_endpoint(before.id));
    assert_eq!(published.snapshot.endpoints_removed, 1);
}

#[test]
fn new_instances_are_joining_except_at_a_start() {
    use ringway_model::Health;
    let mut plane = plane();
    let health = |plane: &Plane| plane.snapshot().endpoint("shop", "shop-1").unwrap().state.health();
    assert_eq!(health(&plane), Health::Joining);
    let state = plane.snapshot().endpoint("shop", "shop-1").unwrap().state.clone();
    for (known, after) in [
        (Health::Healthy, Health::Healthy),
        (Health::Unhealthy, Health::Joining),
        (Health::Joining, Health::Joining),
    ] {
        state.set_health(known);
        plane.change(&[Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.1:80"))]);
        assert_eq!(health(&plane), after, "registered again when {known:?}");
    }
    state.set_health(Health::Healthy);
    plane.change(&[Change::AddInstance(instance_spec("shop-1", "shop", "http://10.0.0.7:80"))]);
    assert_eq!(health(&plane), Health::Joining, "at another target");
    let mut fresh = Compiler::new(settings(7));
    let compiled = fresh.compile_all(&plane.desired);
    let published = fresh.commit(compiled).unwrap();
    assert_eq!(published.snapshot.endpoint("shop", "shop-1").unwrap().state.health(), Health::Unknown);
}

#[test]
fn removed_and_moved_rules_are_counted() {
    let mut plane = plane();
    let count = |plane: &Plane| plane.snapshot().rules_removed;
    plane.change(&[Change::AddDomain(domain_spec("new.example", "shop", None))]);
    assert_eq!(count(&plane), 0);
    plane.change(&[Change::RemoveDomain { name: host("new.example") }]);
    assert_eq!(count(&plane), 1);
    plane.change(&[Change::UpdateDomain(DomainUpdate {
        app: Some(app("blog")),
        ..DomainUpdate::new(host("shop.example"))
    })]);
    assert_eq!(count(&plane), 2);
}

fn change() -> impl Strategy<Value = Change> {
    let app_id = || (0..3_u8).prop_map(|n| format!("app{n}"));
    let name = || (0..5_u8).prop_map(|n| format!("d{n}.example"));
    let instance = || (0..5_u8).prop_map(|n| format!("i{n}"));
    let tenant = || prop::option::of((0..2_u8).prop_map(|n| format!("t{n}")));
    prop_oneof![
        2 => app_id().prop_map(|id| register(&id)),
        4 => (instance(), app_id(), prop::sample::select(&TARGETS[..]))
            .prop_map(|(id, app, at)| Change::AddInstance(instance_spec(&id, &app, at))),
        2 => instance().prop_map(|id| Change::RemoveInstance {
            id: InstanceId::parse(&id).unwrap(),
            generation: None
        }),
        2 => (instance(), 0..3_u64).prop_map(|(id, until)| Change::DrainInstance {
            id: InstanceId::parse(&id).unwrap(),
            generation: None,
            until: Timestamp(until),
        }),
        1 => app_id().prop_map(|id| Change::RemoveApp { id: app(&id) }),
        3 => (name(), app_id(), tenant())
            .prop_map(|(name, app, tenant)| Change::AddDomain(domain_spec(&name, &app, tenant.as_deref()))),
        2 => (name(), prop::option::of(app_id()), prop::option::of(tenant())).prop_map(|(name, to, tenant)| {
            Change::UpdateDomain(DomainUpdate {
                app: to.map(|to| app(&to)),
                tenant: tenant.map_or(Patch::Keep, |tenant| {
                    tenant.map(|tenant| TenantId::parse(&tenant).unwrap()).into()
                }),
                ..DomainUpdate::new(host(&name))
            })
        }),
        2 => name().prop_map(|name| Change::RemoveDomain { name: host(&name) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let batch = || prop::collection::vec(change(), 1..5);
    let names = prop::sample::select(vec!["one.internal".to_owned(), "two.internal".to_owned()]);
    let addresses = prop::collection::vec((0..4_u8).prop_map(|n| [10, 1, 1, n]), 0..3);
    prop_oneof![
        8 => batch().prop_map(Step::Batch),
        2 => batch().prop_map(Step::Lost),
        2 => (names, addresses).prop_map(|(name, addresses)| Step::Resolved(name, addresses)),
        1 => Just(Step::Everything),
    ]
}

proptest! {
    #[test]
    fn incremental_and_full_compilation_agree(steps in prop::collection::vec(step(), 1..30)) {
        let mut plane = Plane::new();
        let mut slots: BTreeMap<(u8, MetricSlot), String> = BTreeMap::new();
        let mut names: BTreeSet<Hostname> = BTreeSet::new();
        for step in steps {
            let before = plane.snapshot().clone();
            let published = match step {
                Step::Batch(changes) => plane.change(&changes),
                Step::Lost(changes) => {
                    drop(plane.prepare(&changes));
                    continue;
                }
                Step::Resolved(name, addresses) => match plane.resolve(&name, &addresses) {
                    Some(published) => published,
                    None => continue,
                },
                Step::Everything => {
                    let compiled = plane.compiler.compile_all(&plane.desired);
                    prop_assert_eq!(compiled.work(), Work::default());
                    plane.compiler.commit(compiled).unwrap()
                }
            };
            prop_assert_eq!(published.snapshot.serial, before.serial.next());
            check_consistency(&published.snapshot);

            // A remaining endpoint keeps its id and state, and removed ones are counted.
            let mut removed = 0;
            for old in before.pools().flat_map(|pool| pool.all_endpoints().map(move |e| (pool.app.as_str(), e))) {
                let new = published.snapshot.endpoint(old.0, old.1.instance.as_str());
                match new.filter(|new| new.id == old.1.id) {
                    Some(new) => {
                        prop_assert!(Arc::ptr_eq(&new.state, &old.1.state));
                        prop_assert_eq!(&new.target, &old.1.target);
                    }
                    None => removed += 1,
                }
            }
            prop_assert_eq!(published.snapshot.endpoints_removed, before.endpoints_removed + removed);

            // The reported changes of slots and names add up to the present state.
            for change in published.slots {
                match change {
                    SlotChange::NameRoute { slot, route, app } => {
                        slots.insert((0, slot), format!("{route} {app:?}"))
                    }
                    SlotChange::NamePool { slot, app } => slots.insert((1, slot), app.to_string()),
                    SlotChange::NameEndpoint { slot, app, instance, target } => {
                        slots.insert((2, slot), format!("{app} {instance} {target}"))
                    }
                    SlotChange::FreeRoute { slot } => slots.remove(&(0, slot)),
                    SlotChange::FreePool { slot } => slots.remove(&(1, slot)),
                    SlotChange::FreeEndpoint { slot } => slots.remove(&(2, slot)),
                };
            }
            names.extend(published.names_added);
            for name in &published.names_removed {
                prop_assert!(names.remove(name));
            }
        }
        let snapshot = plane.snapshot();
        let mut expected = BTreeMap::new();
        for host in snapshot.virtual_hosts() {
            for rule in host.rules.iter() {
                expected.insert((0, rule.metric), format!("{} {:?}", rule.name, rule.app));
            }
        }
        for pool in snapshot.pools() {
            expected.insert((1, pool.metric), pool.app.to_string());
            for endpoint in pool.all_endpoints() {
                let text = format!("{} {} {}", pool.app, endpoint.instance, endpoint.target);
                expected.insert((2, endpoint.metric), text);
            }
        }
        prop_assert_eq!(slots, expected);
        prop_assert_eq!(&names, &plane.compiler.names().cloned().collect::<BTreeSet<_>>());

        let mut fresh = Compiler::new(settings(7));
        let compiled = fresh.compile_all(&plane.desired);
        fresh.commit(compiled).unwrap();
        for name in names {
            let addresses = plane.compiler.addresses(name.as_str()).unwrap();
            if let Some(compiled) = fresh.update_addresses(&name, addresses) {
                fresh.commit(compiled).unwrap();
            }
        }
        prop_assert_eq!(content(&fresh), content(&plane.compiler));
    }
}
