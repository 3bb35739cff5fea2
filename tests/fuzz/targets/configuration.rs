//! Any history of changes: the configuration keeps its own rules, the records that it wrote make it again,
//! and what was compiled step by step is what is compiled at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringway_model::{
    AppId, AppSpec, CertificateMode, Change, ClientAuth, ClientAuthNeed, Delta, Desired, DomainKind,
    DomainSpec, DomainUpdate, FailurePolicy, FilePath, Generation, HealthCheck, HostPattern, Hostname,
    InstanceId, InstanceSpec, Kind, OnAllUnhealthy, Outcome, Patch, Resource, Revision, StatusSet, Target,
    TenantId, TimeoutPolicy, Timestamp, UpstreamTls, WebhookSecret, WebhookUrl,
};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::snapshot::{CertificateVersion, Endpoint, MetricSlot, Snapshot};
use ringway_traffic::virtual_host::{Tenant, TlsSettings, VirtualHost};

use crate::source::Source;

/// Steps of one run: enough for every pair of changes to meet.
const STEPS_MAX: usize = 64;

pub(crate) fn check(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut plane = Plane::new();
    for step in 1..=STEPS_MAX {
        if source.is_empty() {
            break;
        }
        plane.step(&mut source, Timestamp(step as u64));
    }
    plane.is_made_again();
}

/// A control plane in small, and the records that its store would have.
struct Plane {
    desired: Desired,
    compiler: Compiler,
    records: Records,
    addresses: BTreeMap<Hostname, Vec<IpAddr>>,
    names: BTreeSet<Hostname>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Records(BTreeMap<(Kind, String), Resource>);

impl Plane {
    fn new() -> Self {
        Self {
            desired: Desired::default(),
            compiler: Compiler::new(CompilerSettings {
                hash_key: 7,
                cores: 4,
                ..CompilerSettings::default()
            }),
            records: Records::default(),
            addresses: BTreeMap::new(),
            names: BTreeSet::new(),
        }
    }

    fn step(&mut self, source: &mut Source<'_>, now: Timestamp) {
        let before = self.compiler.snapshot().clone();
        let compiled = match source.below(12) {
            0 => {
                // Compiled, but refused by the store.
                let (desired, deltas) = self.apply(&changes(source), now);
                drop(self.compiler.compile(&desired, &deltas));
                assert_eq!(self.compiler.snapshot().serial, before.serial);
                return;
            }
            1 => {
                let name = pick(source, NAMES, Hostname::parse);
                let addresses = (0..source.below(4)).map(|_| IpAddr::from([10, 1, 1, source.byte() % 4]));
                let mut addresses: Vec<IpAddr> = addresses.collect();
                let Some(compiled) = self.compiler.update_addresses(&name, &addresses) else { return };
                let mut seen = BTreeSet::new();
                addresses.retain(|address| seen.insert(*address));
                self.addresses.insert(name, addresses);
                compiled
            }
            2 => {
                let version = source.option(|source| CertificateVersion(source.byte().into()));
                let host = pick(source, HOSTS, Hostname::parse);
                let Some(compiled) = self.compiler.update_certificates(&[(host, version)]) else { return };
                compiled
            }
            3 => self.compiler.compile_all(&self.desired),
            _ => {
                let (desired, deltas) = self.apply(&changes(source), now);
                let compiled = self.compiler.compile(&desired, &deltas);
                self.desired = desired;
                deltas.into_iter().for_each(|delta| self.records.take(delta));
                compiled
            }
        };
        let published = self.compiler.commit(compiled).expect("compiled from the snapshot in use");
        assert_eq!(published.snapshot.serial, before.serial.next());
        for name in &published.names_removed {
            assert!(self.names.remove(name), "{name} was not there");
            self.addresses.remove(name);
        }
        for name in published.names_added {
            assert!(self.names.insert(name), "a name was there");
        }
        assert_eq!(self.names, self.compiler.names().cloned().collect());
        keeps_its_rules(&self.desired);
        is_consistent(&published.snapshot);
        assert_eq!(published.snapshot.revision, self.desired.revision());
        assert_eq!(self.records, Records::of(&self.desired), "what the store has");
        for (app, old) in endpoints(&before) {
            if let Some(new) = published.snapshot.endpoint(app.as_str(), old.instance.as_str())
                && new.id == old.id
            {
                assert!(Arc::ptr_eq(&new.state, &old.state), "an endpoint that stays keeps its breaker");
                assert_eq!(new.target, old.target);
            } else {
                assert!(!published.snapshot.has_endpoint(old.id), "an id that went");
            }
        }
    }

    /// Result of the changes, without refused ones.
    fn apply(&self, changes: &[Change], now: Timestamp) -> (Desired, Vec<Delta>) {
        let (mut desired, mut deltas) = (self.desired.clone(), Vec::new());
        for change in changes {
            let Ok(applied) = desired.apply(change, now) else { continue };
            assert_eq!(applied.deltas.is_empty(), applied.outcome == Outcome::Unchanged);
            let next = match applied.outcome {
                Outcome::Unchanged => desired.revision(),
                Outcome::Created | Outcome::Updated | Outcome::Removed => desired.revision().next(),
            };
            assert_eq!(applied.revision(), next);
            for delta in &applied.deltas {
                if let Delta::Put(Resource::Instance(instance)) = delta {
                    assert_eq!(instance.generation, Generation(next.0));
                }
            }
            desired = applied.desired;
            deltas.extend(applied.deltas);
        }
        (desired, deltas)
    }

    /// From the records alone, in one step.
    fn is_made_again(&self) {
        let (restored, orphans) = Desired::restore(self.desired.revision(), self.records.0.values().cloned());
        assert!(orphans.is_empty());
        assert_eq!(Records::of(&restored), self.records);
        assert_eq!(restored.revision(), self.desired.revision());
        keeps_its_rules(&restored);

        let mut fresh =
            Compiler::new(CompilerSettings { hash_key: 7, cores: 4, ..CompilerSettings::default() });
        let compiled = fresh.compile_all(&restored);
        fresh.commit(compiled).expect("the first");
        for (name, addresses) in &self.addresses {
            if let Some(compiled) = fresh.update_addresses(name, addresses) {
                fresh.commit(compiled).expect("the next");
            }
        }
        assert_eq!(content(fresh.snapshot()), content(self.compiler.snapshot()), "step by step and at once");
        let same = self.compiler.compile_all(&self.desired);
        assert_eq!(same.work(), ringway_traffic::compile::Work::default(), "nothing is left to compile");
    }
}

impl Records {
    fn of(desired: &Desired) -> Self {
        Self(desired.resources().map(|resource| (key(&resource), resource)).collect())
    }

    /// As a store does.
    fn take(&mut self, delta: Delta) {
        match delta {
            Delta::Put(resource) => _ = self.0.insert(key(&resource), resource),
            Delta::Remove(resource) => _ = self.0.remove(&key(&resource)),
        }
    }
}

fn key(resource: &Resource) -> (Kind, String) {
    (resource.kind(), resource.key().to_owned())
}

fn keeps_its_rules(desired: &Desired) {
    let (mut instances, mut domains) = (0, 0);
    for app in desired.apps() {
        let id = app.id.as_str();
        assert!(desired.instances_of(id).all(|instance| instance.app == app.id));
        assert!(desired.domains_of(id).all(|domain| domain.app == app.id));
        assert_eq!(desired.instances_of(id).count(), desired.instance_count_of(id));
        assert_eq!(desired.domains_of(id).count(), desired.domain_count_of(id));
        instances += desired.instance_count_of(id);
        domains += desired.domain_count_of(id);
        assert!(app.created_at <= app.updated_at);
    }
    // Hence each of them has an existing app.
    assert_eq!((instances, domains), (desired.count(Kind::Instance), desired.count(Kind::Domain)));
    assert_eq!(desired.instances().count(), desired.count(Kind::Instance));
    assert_eq!(desired.domains().count(), desired.count(Kind::Domain));
    assert!(desired.instances().all(|instance| instance.generation.0 <= desired.revision().0));
}

fn is_consistent(snapshot: &Snapshot) {
    let mut seen = BTreeSet::new();
    let mut slots: [BTreeSet<MetricSlot>; 3] = Default::default();
    for host in snapshot.virtual_hosts() {
        assert!(snapshot.virtual_host_of(&host.host).is_some_and(|found| Arc::ptr_eq(found, host)));
        for rule in host.rules.iter() {
            assert_eq!(snapshot.pool_of(rule).map(|pool| &pool.app), rule.app.as_ref());
            assert!(slots[0].insert(rule.metric));
        }
    }
    for pool in snapshot.pools() {
        assert_eq!(snapshot.pool_of_app(pool.app.as_str()).map(|found| found.id), Some(pool.id));
        assert!(pool.endpoints.is_sorted_by(|a, b| a.instance < b.instance));
        assert!(slots[1].insert(pool.metric));
        for endpoint in &pool.endpoints {
            assert!(seen.insert(endpoint.id) && snapshot.has_endpoint(endpoint.id));
            assert!(slots[2].insert(endpoint.metric));
        }
    }
    assert_eq!(snapshot.endpoint_count(), seen.len());
}

fn endpoints(snapshot: &Snapshot) -> impl Iterator<Item = (&AppId, &Endpoint)> {
    snapshot.pools().flat_map(|pool| pool.endpoints.iter().map(|endpoint| (&pool.app, endpoint)))
}

/// Content of a snapshot, without numbers that depend on its history.
#[derive(Debug, PartialEq)]
struct Content {
    revision: Revision,
    hosts: BTreeMap<HostPattern, HostContent>,
    tls: BTreeMap<AppId, Option<UpstreamTls>>,
    endpoints: BTreeMap<(AppId, InstanceId), (Generation, Target, Vec<SocketAddr>)>,
}

type HostContent = (Vec<Option<AppId>>, Option<Tenant>, TlsSettings);

fn content(snapshot: &Snapshot) -> Content {
    let host = |host: &Arc<VirtualHost>| {
        let apps = host.rules.iter().map(|rule| rule.app.clone()).collect();
        let tls = TlsSettings { certificate: None, ..host.tls.clone() };
        (host.host.clone(), (apps, host.tenant.clone(), tls))
    };
    let endpoint = |(app, endpoint): (&AppId, &Endpoint)| {
        let Endpoint { instance, generation, target, addresses, .. } = endpoint.clone();
        ((app.clone(), instance), (generation, target, addresses.into()))
    };
    Content {
        revision: snapshot.revision,
        hosts: snapshot.virtual_hosts().map(host).collect(),
        tls: snapshot.pools().map(|pool| (pool.app.clone(), pool.tls.clone())).collect(),
        endpoints: endpoints(snapshot).map(endpoint).collect(),
    }
}

// --- Any change --------------------------------------------------------------------------------------------

const APPS: &[&str] = &["app0", "app1", "app2"];
const INSTANCES: &[&str] = &["i0", "i1", "i2", "i3", "i4"];
const HOSTS: &[&str] = &["d0.example", "d1.example", "d2.example", "d3.example"];
const TENANTS: &[&str] = &["t0", "t1"];
const NAMES: &[&str] = &["one.internal", "two.internal"];
const TARGETS: &[&str] = &[
    "http://10.0.0.1:80",
    "http://10.0.0.2:80",
    "http://one.internal",
    "http://two.internal:81",
    "https://10.0.0.1:443",
    "https://one.internal",
];
const URLS: &[&str] = &["http://127.0.0.1:9/a", "https://hooks.example/b"];

fn pick<T, E: std::fmt::Debug>(
    source: &mut Source<'_>,
    words: &[&str],
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> T {
    parse(words[source.below(words.len())]).expect("a good word")
}

fn failures(source: &mut Source<'_>) -> FailurePolicy {
    FailurePolicy {
        statuses: pick(source, &["", "503", "500,502-504", "500-599"], StatusSet::parse),
        timeouts: TimeoutPolicy::ALL[source.below(3)],
    }
}

fn changes(source: &mut Source<'_>) -> Vec<Change> {
    (0..=source.below(4)).map(|_| change(source)).collect()
}

fn patch<T>(source: &mut Source<'_>, value: impl FnOnce(&mut Source<'_>) -> T) -> Patch<T> {
    if source.is() { source.option(value).into() } else { Patch::Keep }
}

fn change(source: &mut Source<'_>) -> Change {
    match source.below(9) {
        0 => Change::Register {
            app: AppSpec {
                policy: Default::default(),
                id: pick(source, APPS, AppId::parse),
                name: source.option(|source| pick(source, &["one", "two"], |name| Ok::<_, ()>(name.into()))),
                upstream_tls: patch(source, upstream_tls),
                failures: source.option(failures),
                on_all_unhealthy: source.option(|source| OnAllUnhealthy::ALL[source.below(3)]),
            },
            instance: source.option(instance),
            domain: source.option(domain),
        },
        1 => Change::AddInstance(instance(source)),
        2 => Change::RemoveInstance {
            id: pick(source, INSTANCES, InstanceId::parse),
            generation: source.option(|source| Generation(source.byte().into())),
        },
        3 => Change::RemoveApp { id: pick(source, APPS, AppId::parse) },
        4 => Change::PutWebhook {
            app: pick(source, APPS, AppId::parse),
            url: pick(source, URLS, WebhookUrl::parse),
            secret: patch(source, |source| pick(source, SECRETS, WebhookSecret::parse)),
        },
        5 => Change::RemoveWebhook { app: pick(source, APPS, AppId::parse) },
        6 => Change::AddDomain(domain(source)),
        7 => Change::UpdateDomain(DomainUpdate {
            policy: Default::default(),
            name: pick(source, HOSTS, Hostname::parse),
            app: source.option(|source| pick(source, APPS, AppId::parse)),
            tenant: patch(source, tenant),
            kind: source.option(kind),
            cname_target: patch(source, |source| pick(source, HOSTS, Hostname::parse)),
            certificate: source.option(certificate),
            client_auth: patch(source, client_auth),
        }),
        _ => Change::RemoveDomain { name: pick(source, HOSTS, Hostname::parse) },
    }
}

const SECRETS: &[&str] = &["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

fn instance(source: &mut Source<'_>) -> InstanceSpec {
    InstanceSpec {
        id: pick(source, INSTANCES, InstanceId::parse),
        app: pick(source, APPS, AppId::parse),
        target: pick(source, TARGETS, Target::parse),
        health_check: HealthCheck::default(),
    }
}

fn domain(source: &mut Source<'_>) -> DomainSpec {
    DomainSpec {
        policy: None,
        name: pick(source, HOSTS, Hostname::parse),
        app: pick(source, APPS, AppId::parse),
        tenant: source.option(tenant),
        kind: kind(source),
        cname_target: source.option(|source| pick(source, HOSTS, Hostname::parse)),
        certificate: source.option(certificate),
        client_auth: source.option(client_auth),
    }
}

fn tenant(source: &mut Source<'_>) -> TenantId {
    pick(source, TENANTS, TenantId::parse)
}

fn kind(source: &mut Source<'_>) -> DomainKind {
    pick(source, &["subdomain", "custom", "cname_target"], |word| DomainKind::parse(word).ok_or(()))
}

fn certificate(source: &mut Source<'_>) -> CertificateMode {
    pick(source, &["acme", "provided", "none"], |word| CertificateMode::parse(word).ok_or(()))
}

fn client_auth(source: &mut Source<'_>) -> ClientAuth {
    ClientAuth {
        ca_file: pick(source, &["/ca/one.pem", "/ca/two.pem"], FilePath::parse),
        need: pick(source, &["required", "optional"], |word| ClientAuthNeed::parse(word).ok_or(())),
    }
}

fn upstream_tls(source: &mut Source<'_>) -> UpstreamTls {
    UpstreamTls {
        ca_file: source.option(|source| pick(source, &["/ca/one.pem", "/ca/two.pem"], FilePath::parse)),
        client_certificate: None,
        server_name: source.option(|source| pick(source, NAMES, Hostname::parse)),
        insecure: source.is(),
    }
}
