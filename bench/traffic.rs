//! Cost of finding a route, choosing an endpoint, and applying a change, among few and a million domains.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, AppSpec, Balancer, Change, CoreId, Desired, DomainKind, DomainSpec, EndpointSpec, FailurePolicy,
    HealthCheck, Hostname, InstanceId, InstanceSpec, OnAllUnhealthy, OperatorSet, Owner, PathMatch, PoolSpec,
    Replacement, RouteMatch, Target, Tick, Timestamp,
};
use ringway_traffic::balance::{Cursors, TriedSet, by_key, sticky};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::pattern::Patterns;
use ringway_traffic::rule_table::{RuleEntry, RuleTable};
use ringway_traffic::selection::{Algorithm, Selection};
use ringway_traffic::snapshot::{MetricSlot, Pool, PoolId};
use ringway_traffic::virtual_host::{Action, Rule, RuleId};
use ringway_wire::h1::{Limits, RequestHead};
use ringway_wire::path::Slashes;

use crate::harness::Harness;

/// Instances of each app: the number that the product promises to support.
const INSTANCES: usize = 100;

pub(crate) fn run(bench: &mut Harness) {
    paths(bench);
    for prefixes in [1, 8, 100, 5_000] {
        table_of(bench, prefixes);
    }
    weights(bench);
    for domains in [1, 5_000, 1_000_000] {
        if bench.has_time_for(domains)
            && ["route", "change", "balance", "breaker"].iter().any(|word| bench.wants(word))
        {
            among(bench, domains);
        }
    }
}

/// Normalisation of the paths of hosts with rules by path.
fn paths(bench: &mut Harness) {
    for (what, target) in
        [("plain", "/services/42/orders/1234567?page=2"), ("dotted", "/services/./42//orders/%31")]
    {
        let text = format!("GET {target} HTTP/1.1\r\nHost: bench.test\r\n\r\n").into_bytes();
        let mut head = RequestHead::default();
        head.parse(&text, &Limits::default()).expect("a request head");
        bench.line(&format!("path: normalise a {what} one"), || {
            head.clone().normalize_path(&text, Slashes::Merge).is_ok()
        });
    }
}

/// Search among the rules of one host.
fn table_of(bench: &mut Harness, prefixes: usize) {
    if !bench.wants("table") {
        return;
    }
    let rule = |number: usize| Rule {
        traffic: None,
        id: RuleId(number as u64),
        owner: Owner::Api,
        name: format!("route-{number}").into(),
        app: None,
        tenant: None,
        requires_client_cert: false,
        action: Action::Proxy { pool: PoolId(1), rewrite: None },
        policy: Arc::default(),
        stages: None,
        is_logged: true,
        cache: None,
        metric: MetricSlot::SHARED,
    };
    let entries = (0..prefixes).map(|number| RuleEntry {
        matcher: RouteMatch {
            path: PathMatch::Prefix(format!("/services/{number}").into()),
            ..RouteMatch::default()
        },
        priority: 0,
        order: number as u32,
        rule: Arc::new(rule(number)),
    });
    let (table, _) = RuleTable::new(entries.collect(), Slashes::Merge, &Patterns::default());
    let heads: Vec<(RequestHead, Vec<u8>)> = (0..prefixes.min(512))
        .map(|number| {
            let number = number * (prefixes / prefixes.min(512));
            let text =
                format!("GET /services/{number}/orders/1234567?page=2 HTTP/1.1\r\nHost: bench.test\r\n\r\n");
            let mut head = RequestHead::default();
            head.parse(text.as_bytes(), &Limits::default()).expect("a request head");
            (head, text.into_bytes())
        })
        .collect();
    let mut at = 0;
    bench.line(&format!("table: find one of {prefixes} prefixes"), || {
        at = (at + 1) % heads.len();
        let (head, text) = &heads[at];
        table.find(head, text).is_some()
    });
}

/// Choice among endpoints of unlike weights.
fn weights(bench: &mut Harness) {
    if !bench.wants("balance") {
        return;
    }
    let id = app_id(0);
    let endpoint = |number: usize| {
        let target = Target::parse(&format!("http://10.0.0.{}:3000", number + 1)).expect("a target");
        let (id, weight) = (InstanceId::of_endpoint(&id, &target), 1 + number as u16);
        EndpointSpec { id, target, weight, health_check: HealthCheck::default() }
    };
    let pool = PoolSpec {
        traffic: Default::default(),
        endpoints: (0..INSTANCES).map(endpoint).collect(),
        id: id.clone(),
        balancer: Balancer::WeightedRoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
    };
    let set = Arc::new(OperatorSet { pools: vec![pool], ..OperatorSet::default() });
    let replacement = Replacement { owner: Owner::File, set, expect: None, version: None };
    let change = Change::ReplaceOwned(Arc::new(replacement));
    let desired = Desired::default().apply(&change, Timestamp(1)).expect("it is valid").desired;
    let mut compiler = Compiler::new(CompilerSettings { cores: 4, ..CompilerSettings::default() });
    publish_all(&mut compiler, &desired);
    let snapshot = compiler.snapshot().clone();
    let pool = snapshot.pool_of_app("app-0").expect("it is registered");
    let mut cursors = Cursors::new(CoreId(1));
    bench.line(&format!("balance: next of {INSTANCES} endpoints by weight"), || {
        cursors.pick(pool, &TriedSet::default(), Candidate::Ready, Tick(1)).is_ok()
    });
}

/// Choices beyond turns and weights.
fn selections(bench: &mut Harness, pool: &Pool, cursors: &mut Cursors) {
    let with = |algorithm, slow_start, endpoint_max_concurrent| {
        let mut pool = pool.clone();
        pool.selection = Some(Arc::new(Selection::new(algorithm, slow_start, endpoint_max_concurrent)));
        pool
    };
    let (none, tick) = (TriedSet::default(), Tick(1));
    let busy = with(Algorithm::LeastRequest, None, None);
    bench.line(&format!("balance: less loaded of two among {INSTANCES} endpoints, counted"), || {
        let picked = cursors.pick(&busy, &none, Candidate::Ready, tick).expect("all are available");
        busy.begin(picked.endpoint, 1).is_some()
    });
    let hashed = with(Algorithm::Hash(Default::default()), None, None);
    let mut key = 0;
    bench.line(&format!("balance: endpoint of one of 256 keys among {INSTANCES}"), || {
        key = (key + 1) % 256;
        by_key(&hashed, key, &none, Candidate::Ready, tick).is_ok()
    });
    let limited = with(Algorithm::InTurn, Some(Duration::from_secs(30)), Some(1_000));
    // All begin their slow start here; it is over below.
    for _ in 0..2 * INSTANCES {
        let begun = cursors.pick(&limited, &none, Candidate::Ready, tick);
        assert!(begun.is_ok(), "all are available");
    }
    bench.line("balance: next with a slow start and a limit, counted", || {
        let picked =
            cursors.pick(&limited, &none, Candidate::Ready, Tick(60_000)).expect("all are available");
        limited.begin(picked.endpoint, 1).is_some()
    });
}

fn among(bench: &mut Harness, domains: usize) {
    let now = Timestamp(1_700_000_000_000);
    let mut desired = configuration(domains, now);
    let mut compiler =
        Compiler::new(CompilerSettings { hash_key: 7, cores: 4, ..CompilerSettings::default() });
    publish_all(&mut compiler, &desired);
    let snapshot = compiler.snapshot().clone();

    let hosts: Vec<String> =
        (0..domains.min(4096)).map(|number| host(number * (domains / domains.min(4096)))).collect();
    let text = b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n";
    let mut head = RequestHead::default();
    head.parse(text, &Limits::default()).expect("a request head");
    let mut at = 0;
    bench.line(&format!("route: find one of {domains} domains"), || {
        at = (at + 1) % hosts.len();
        snapshot.virtual_host(&hosts[at]).map(|host| host.rules.find(&head, text))
    });
    bench.line(&format!("route: miss among {domains} domains"), || {
        snapshot.virtual_host("unknown.bench.test").is_some()
    });

    if domains == 1 {
        let pool = snapshot.pool_of_app("app-0").expect("it is registered");
        let mut cursors = Cursors::new(CoreId(0));
        let tick = Tick(1);
        bench.line(&format!("balance: next of {INSTANCES} endpoints, and its breaker"), || {
            cursors.pick(pool, &TriedSet::default(), Candidate::Ready, tick).is_ok()
        });
        bench.line(&format!("balance: sticky choice among {INSTANCES} endpoints"), || {
            sticky(pool, 42, &TriedSet::default(), tick).is_ok()
        });
        selections(bench, pool, &mut cursors);
        let endpoint = &pool.endpoints[0];
        let breaker = &pool.settings.breaker;
        let admission =
            endpoint.state.admit(Candidate::Ready, breaker, tick).expect("a new breaker is closed");
        bench.line("breaker: admit and succeed", || {
            let admission = endpoint.state.admit(Candidate::Ready, breaker, tick);
            (endpoint.state.record_success(admission.expect("it stays closed")), tick)
        });
        bench.line("breaker: fail and succeed", || {
            endpoint.state.record_failure(admission, breaker, tick);
            endpoint.state.record_success(admission)
        });
    }

    // Removes a domain and adds it again: two changes, each compiled into a snapshot that shares all the
    // rest.
    let remove = Change::RemoveDomain { name: name(0) };
    let add = Change::AddDomain(domain(0, 0));
    bench.line(&format!("change: apply and compile two changes among {domains} domains"), || {
        for change in [&remove, &add] {
            let applied = desired.apply(change, now).expect("it is valid");
            desired = applied.desired;
            let compiled = compiler.compile(&desired, &applied.deltas);
            compiler.commit(compiled).expect("the only committer");
        }
    });
}

fn publish_all(compiler: &mut Compiler, desired: &Desired) {
    let compiled = compiler.compile_all(desired);
    compiler.commit(compiled).expect("the only committer");
}

fn configuration(domains: usize, now: Timestamp) -> Desired {
    let mut desired = Desired::default();
    let mut apply = |change: Change| desired = desired.apply(&change, now).expect("it is valid").desired;
    for app in 0..domains.min(10) {
        apply(Change::Register { app: AppSpec::new(app_id(app)), instance: None, domain: None });
        for number in 0..INSTANCES {
            apply(Change::AddInstance(InstanceSpec {
                id: InstanceId::parse(&format!("app-{app}-{number}")).expect("an id"),
                app: app_id(app),
                target: Target::parse(&format!("http://10.0.{app}.{}:3000", number + 1)).expect("a target"),
                health_check: HealthCheck::default(),
            }));
        }
    }
    for number in 0..domains {
        apply(Change::AddDomain(domain(number, number % domains.min(10))));
    }
    desired
}

fn domain(number: usize, app: usize) -> DomainSpec {
    DomainSpec {
        policy: None,
        certificate: None,
        client_auth: None,
        name: name(number),
        app: app_id(app),
        tenant: None,
        kind: DomainKind::Subdomain,
        cname_target: None,
    }
}

fn host(number: usize) -> String {
    format!("tenant-{number}.bench.test")
}

fn name(number: usize) -> Hostname {
    Hostname::parse(&host(number)).expect("a name")
}

fn app_id(number: usize) -> AppId {
    AppId::parse(&format!("app-{number}")).expect("an id")
}
