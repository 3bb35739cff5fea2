//! Cost of finding a route, choosing an endpoint, and applying a change, among few and a million domains.

use ringway_model::{
    AppId, AppSpec, Change, CoreId, Desired, DomainKind, DomainSpec, HealthCheck, Hostname, InstanceId,
    InstanceSpec, Target, Tick, Timestamp,
};
use ringway_traffic::balance::{Cursors, TriedSet, sticky};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::compile::{Compiler, CompilerSettings};

use ringway_wire::h1::{Limits, RequestHead};

use crate::harness::Harness;

/// Instances of each app: the number that the product promises to support.
const INSTANCES: usize = 100;

pub(crate) fn run(bench: &mut Harness) {
    for domains in [1, 5_000, 1_000_000] {
        if bench.has_time_for(domains)
            && ["route", "change", "balance", "breaker"].iter().any(|word| bench.wants(word))
        {
            among(bench, domains);
        }
    }
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
