//! A core on a virtual clock: see `README.md`.
#![allow(clippy::unwrap_used)]

mod client;
mod copied_routes;
mod engine;
mod network;
mod origin;
mod requests;
mod retries;
mod stage_calls;
mod tenants;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, MailboxSender, blocking_mailbox};
use ringway_middleware::Chain;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, Desired, DomainKind, DomainSpec, HealthCheck, Hostname, InstanceId,
    InstanceSpec, Target, Timestamp, limits,
};
use ringway_telemetry::{Event, HedgeOutcome, Observer, Registry, RequestIds, Telemetry};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::in_flight::InFlight;
use ringway_traffic::policy::{Defaults, Policy};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::Snapshot;

use self::engine::Engine;
use self::network::SimStream;
use self::requests::{Case, Request};
use self::world::{Endpoints, Sim};
use crate::accept::listener::{HttpMode, ListenerConfig, ListenerProtocol};
use crate::core::{Core, CoreParts};
use crate::exchange::via::Via;
use crate::session::downstream_conn::DownstreamConn;
use crate::settings::Settings;
use crate::{accept, apply, drain, exchange};

/// Observer that records the events of the core.
#[derive(Default)]
struct Recorder {
    ends: Mutex<Vec<Ended>>,
    serials: Mutex<Vec<u64>>,
    /// Number of copies that were made or not made.
    copies: Mutex<usize>,
    /// Calls of stages by their result.
    calls: Mutex<BTreeMap<&'static str, usize>>,
}

struct Ended {
    id: Option<usize>,
    status: u16,
    attempts: u32,
    failure: Option<&'static str>,
    hedge: Option<HedgeOutcome>,
    micros: u64,
}

impl Ended {
    fn is_hedged(&self) -> bool {
        matches!(self.hedge, Some(HedgeOutcome::Won | HedgeOutcome::Lost))
    }
}

impl Observer for Recorder {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Exchange(exchange) => {
                let path = std::str::from_utf8(exchange.path).unwrap_or_default();
                self.ends.lock().unwrap().push(Ended {
                    id: path.strip_prefix("/r/").and_then(|id| id.parse().ok()),
                    status: exchange.status,
                    attempts: exchange.attempts,
                    failure: exchange.failure,
                    hedge: exchange.hedge,
                    micros: exchange.duration_us,
                });
            }
            Event::SnapshotApplied(applied) => self.serials.lock().unwrap().push(applied.serial.0),
            Event::Called(called) => *self.calls.lock().unwrap().entry(called.result).or_default() += 1,
            Event::Mirrored(_) => *self.copies.lock().unwrap() += 1,
            _ => {}
        }
    }
}

/// Timeouts of all requests: the defaults, but tunnels end within a simulation.
fn request_policy() -> Policy {
    Policy { tunnel_idle_timeout: Duration::from_secs(100), ..Policy::default() }
}

/// Minimal control plane.
struct Plane {
    desired: Desired,
    compiler: Compiler,
}

impl Plane {
    /// Without apps; the policy of all rules is [`request_policy`].
    fn new() -> Self {
        Self::with_stages(None)
    }

    /// The same, with these stages for all rules.
    fn with_stages(stages: Option<Arc<Chain>>) -> Self {
        let defaults = Defaults { policy: Arc::new(request_policy()), stages, ..Defaults::default() };
        let compiler = Compiler::new(CompilerSettings {
            hash_key: 7,
            cores: 4,
            defaults,
            ..CompilerSettings::default()
        });
        Self { desired: Desired::default(), compiler }
    }

    /// Applies a change; a rejected one has no effect.
    fn change(&mut self, change: &Change) -> Arc<Snapshot> {
        if let Ok(applied) = self.desired.apply(change, Timestamp(0)) {
            let compiled = self.compiler.compile(&applied.desired, &applied.deltas);
            self.desired = applied.desired;
            self.compiler.commit(compiled).unwrap();
        }
        self.compiler.snapshot().clone()
    }
}

fn instance(app: usize, number: u64) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::parse(&format!("i{app}-{number}")).unwrap(),
        app: AppId::parse(&format!("app{app}")).unwrap(),
        target: Target::parse(&format!("http://10.0.{app}.{number}:80")).unwrap(),
        health_check: HealthCheck::default(),
    }
}

fn host(app: usize, number: u64) -> Hostname {
    Hostname::parse(&format!("h{number}.app{app}.test")).unwrap()
}

fn domain(app: usize, number: u64) -> DomainSpec {
    DomainSpec {
        policy: None,
        certificate: None,
        client_auth: None,
        name: host(app, number),
        app: AppId::parse(&format!("app{app}")).unwrap(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
    }
}

/// A drained or removed endpoint: no new request may be sent to it.
struct Left {
    instance: InstanceId,
    in_flight: Arc<InFlight>,
    /// Its requests in flight at the last check.
    requests: u64,
}

type LeftEndpoints = Rc<RefCell<Vec<Left>>>;

/// Result of a run.
struct Outcome {
    violations: Vec<String>,
    trace: String,
    /// Number of requests, and of those that got a response.
    requests: usize,
    answered: usize,
    /// Number of second attempts, and of copies.
    hedged: usize,
    copied: usize,
}

const APPS: u64 = 2;
const HOSTS: u64 = 2;
const INSTANCES: u64 = 3;
/// Twice the longest possible run: a task that has not ended by then never ends.
const TIME_MAX: u64 = 4 * 3_600 * 1_000_000;

fn requests_of(engine: &Engine, case: &Case, count: u64) -> Vec<usize> {
    let mut ids = Vec::new();
    for index in 0..count {
        let app = engine.below(APPS) as usize;
        let method = ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "PATCH"];
        let method = method[engine.below(method.len() as u64) as usize];
        let has_body = matches!(method, "POST" | "PUT" | "PATCH");
        let bytes = match engine.below(10) {
            0 => 66_000 + engine.below(60_000),
            1..=3 => engine.below(40_000),
            _ => engine.below(300),
        };
        let is_upgrade = index + 1 == count && engine.chance(10);
        let number = engine.below(HOSTS);
        ids.push(case.add(Request {
            app,
            host: host(app, number).as_str().to_owned(),
            method: if is_upgrade { "GET" } else { method },
            body_bytes: if has_body && !is_upgrade { bytes as usize } else { 0 },
            is_chunked: has_body && !is_upgrade && engine.chance(40),
            is_upgrade,
            is_hedged: case.is_copied
                && !has_body
                && !is_upgrade
                && matches!(method, "GET" | "HEAD")
                && number == copied_routes::NUMBER,
            attempts: Vec::new(),
            finishes: 0,
            status: None,
        }));
    }
    ids
}

fn run(seed: u64, traced: bool) -> Outcome {
    let engine = Engine::new(seed, traced);
    let is_calm = engine.chance(15);
    let levels = [0, 5, 20, 60];
    let level = |calm| if calm { 0 } else { levels[engine.below(4) as usize] };
    let (evil, rude) = (level(is_calm), level(is_calm));
    // No draw: other seeds stay as they were.
    let is_copied = matches!(seed % 5, 1 | 2);
    let case = Rc::new(Case { is_calm, is_copied, evil, rude, requests: RefCell::default() });
    let is_small = !is_calm && engine.chance(20);
    let settings = Arc::new(Settings {
        policy: request_policy(),
        connections_max: if is_small { 2 } else { 1_000 },
        via: Some(Via::named("sim").unwrap()),
        ..Settings::default()
    });
    let mut plane = Plane::new();
    for app in 0..APPS as usize {
        let spec = AppSpec::new(AppId::parse(&format!("app{app}")).unwrap());
        plane.change(&Change::Register { app: spec, instance: None, domain: None });
        for number in 0..1 + engine.below(INSTANCES) {
            plane.change(&Change::AddInstance(instance(app, number)));
        }
        let domains = (0..HOSTS).filter(|number| !is_copied || *number != copied_routes::NUMBER);
        for number in domains {
            plane.change(&Change::AddDomain(domain(app, number)));
        }
    }
    if is_copied {
        plane.change(&copied_routes::change());
    }
    let live = Rc::new(Cell::new(0));
    let world = Sim {
        engine: engine.clone(),
        case: case.clone(),
        endpoints: Endpoints::OfCase,
        live: live.clone(),
        connections: Rc::default(),
        splices: engine.chance(50),
    };
    let recorder = Arc::new(Recorder::default());
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(0)), None, Some(recorder.clone()));
    let (reports, reported) = blocking_mailbox(limits::REPORTS_MAX);
    let snapshot = plane.compiler.snapshot().clone();
    let core = core(world, settings.clone(), telemetry, reports, snapshot);
    core.request_ids.replace(RequestIds::from_parts(seed, [seed, !seed]));
    apply::start_housekeeping(&core);

    let clients = 1 + engine.below(5);
    let clients_left = Rc::new(Cell::new(clients));
    for number in 0..clients {
        let task = client(engine.clone(), case.clone(), core.clone(), number);
        let left = clients_left.clone();
        engine.spawn(false, async move {
            task.await;
            left.set(left.get() - 1);
        });
    }
    let is_ending = Rc::new(Cell::new(false));
    let left: LeftEndpoints = Rc::default();
    let operator = operate(engine.clone(), core.clone(), plane, left.clone(), is_calm, is_ending.clone());
    engine.spawn(false, operator);

    let mut steps = 0_u64;
    let mut drain_began = None;
    loop {
        if clients_left.get() == 0 {
            is_ending.set(true);
        }
        if core.draining.get() && drain_began.is_none() {
            drain_began = Some(engine.now());
        }
        // The housekeeping task never ends.
        let is_over = clients_left.get() == 0 && core.draining.get() && engine.product_tasks() == 1;
        if is_over || engine.is_violated() {
            break;
        }
        if !engine.step() || engine.now() > TIME_MAX {
            engine.violate(format!("{} tasks of the core never end", engine.product_tasks() - 1));
            break;
        }
        steps += 1;
        check_step(&engine, &core, &registry, &reported, steps);
        check_left(&engine, &left);
    }
    if !engine.is_violated() {
        engine.check(core.connections() == 0, || format!("{} connections are left", core.connections()));
        engine.check(live.get() == 0, || format!("{} sockets are left", live.get()));
        engine.check(core.rejections.get() == 0, || "a rejection does not end".to_owned());
        let snapshot = core.tables().snapshot.clone();
        let endpoints = snapshot.pools().flat_map(|pool| pool.all_endpoints());
        let counted: u64 = endpoints.map(|endpoint| endpoint.in_flight.requests()).sum();
        let counted = counted + left.borrow().iter().map(|left| left.in_flight.requests()).sum::<u64>();
        engine.check(counted == 0, || format!("{counted} requests are counted in flight"));
        check_events(&engine, &case, &recorder, &registry);
    }
    engine.note(|| format!("over after {steps} steps"));
    engine.end();
    let (violations, trace) = engine.take_result();
    let requests = case.requests.borrow();
    let answered = requests.iter().filter(|request| matches!(request.status, Some(101 | 200 | 503))).count();
    let hedged = recorder.ends.lock().unwrap().iter().filter(|ended| ended.is_hedged()).count();
    let copied = *recorder.copies.lock().unwrap();
    Outcome { violations, trace, requests: requests.len(), answered, hedged, copied }
}

/// Checks the invariants that hold after each step.
fn check_step(
    engine: &Engine,
    core: &Core<Sim>,
    registry: &Registry,
    reported: &MailboxReceiver<Report>,
    steps: u64,
) {
    let count = core.connections();
    engine.check(count <= core.settings.connections_max, || format!("{count} connections"));
    if steps.is_multiple_of(64) {
        for _ in reported.drain(limits::REPORTS_MAX) {}
        let reading = registry.cores().next().unwrap();
        let open = reading.connections_open as usize;
        engine.check(open == count || open == count + 1 || open + 1 == count, || {
            format!("the gauge says {open} connections of {count}")
        });
    }
}

/// Checks that no new request goes to an endpoint that an acknowledged snapshot drained or removed.
fn check_left(engine: &Engine, left: &LeftEndpoints) {
    for left in left.borrow_mut().iter_mut() {
        let (now, before) = (left.in_flight.requests(), left.requests);
        engine.check(now <= before, || format!("a request went to {}, which had left", left.instance));
        left.requests = now;
    }
}

/// Checks the recorded events at the end of a run.
fn check_events(engine: &Engine, case: &Case, recorder: &Recorder, registry: &Registry) {
    let mut requests = case.requests.borrow_mut();
    for ended in &*recorder.ends.lock().unwrap() {
        let (attempts, micros) = (ended.attempts as usize, ended.micros);
        engine.check(attempts <= limits::ATTEMPTS_MAX, || format!("{attempts} attempts"));
        // A deadline is never early.
        let least = match ended.failure {
            Some("upstream_timeout") => limits::RESPONSE_HEAD_TIMEOUT.min(limits::BODY_PROGRESS_TIMEOUT),
            Some("upstream_connect_timeout") => limits::CONNECT_TIMEOUT,
            Some("request_timeout") => limits::HEAD_TIMEOUT,
            Some("client_stalled" | "response_stalled") => limits::BODY_PROGRESS_TIMEOUT,
            _ => Duration::ZERO,
        };
        let least = (least.as_micros() as u64).saturating_sub(5_000);
        engine.check(micros >= least, || format!("{:?} after {micros} µs", ended.failure));
        engine.check(!case.is_calm || micros < copied_routes::CALM_US, || {
            format!("{micros} µs on a calm day: the copies are never answered")
        });
        if let Some(id) = ended.id {
            let request = &mut requests[id];
            request.finishes += 1;
            engine.check(!ended.is_hedged() || request.is_hedged, || format!("request {id} was hedged"));
            let seen = request.attempts.len();
            engine.check(seen <= attempts, || {
                format!("request {id} was seen {seen} times in {attempts} attempts")
            });
            let is_reported = ended.status != 0 || request.status.is_none();
            engine.check(is_reported, || {
                format!("request {id} was answered, and its end says that it was not")
            });
        }
    }
    for (id, request) in requests.iter().enumerate() {
        let count = request.finishes;
        let is_known = !request.attempts.is_empty() || matches!(request.status, Some(101 | 200));
        engine.check(count <= 1 && (count == 1 || !is_known), || format!("request {id} ended {count} times"));
        if case.is_calm {
            let is_served = matches!(request.status, Some(101 | 200));
            engine.check(is_served, || format!("request {id} ended with {:?} on a calm day", request.status));
        }
    }
    let serials = recorder.serials.lock().unwrap();
    engine.check(serials.is_sorted_by(|a, b| a < b), || format!("snapshots were applied as {serials:?}"));
    let reading = registry.cores().next().unwrap();
    engine.check(reading.connections_open == 0, || format!("{} in the gauge", reading.connections_open));
    engine
        .check(reading.upgrades_active == 0, || format!("{} tunnels in the gauge", reading.upgrades_active));
    engine.check(reading.panics == 0, || "a panic".to_owned());
}

/// Opens connections, one after another.
async fn client(engine: Rc<Engine>, case: Rc<Case>, core: Rc<Core<Sim>>, number: u64) {
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, number as u8), 1_000));
    for _ in 0..1 + engine.below(3) {
        engine.sleep(engine.below(2_000_000)).await;
        if core.draining.get() {
            return;
        }
        let (stream, end) = core.runtime.connection(address);
        let peer: IpAddr = address.ip();
        let count = 1 + engine.below(4);
        let ids = requests_of(&engine, &case, count);
        engine.note(|| format!("client {number}: connection {} for {ids:?}", end.number()));
        if core.connections() >= core.settings.connections_max {
            accept::reject(&core, stream, ListenerProtocol::Http);
        } else {
            accept::serve(&core, admitted(&core, stream, peer));
        }
        client::serve(engine.clone(), case.clone(), end, ids).await;
    }
}

/// Builds a core without TLS, secrets and other cores.
fn core(
    world: Sim,
    settings: Arc<Settings>,
    telemetry: Telemetry,
    reports: MailboxSender<Report>,
    snapshot: Arc<Snapshot>,
) -> Rc<Core<Sim>> {
    let parts = CoreParts {
        id: CoreId(0),
        settings,
        listeners: vec![ListenerConfig::http(HttpMode::Plain)],
        telemetry,
        reports,
        snapshot,
        https_port: None,
        tls: None,
        secrets: None,
        resolves_hosts: false,
        rebalancer: None,
        cache: None,
        forward: None,
    };
    Core::new(world, parts)
}

/// Connection of the only listener.
fn admitted(core: &Core<Sim>, stream: SimStream, peer: IpAddr) -> DownstreamConn<SimStream> {
    let listener = core.listeners.ids().next().expect("there is one");
    let admission = core.listeners.admit(listener).expect("it has no limit");
    DownstreamConn::new(stream, peer, admission, None, &core.settings)
}

/// Changes the configuration now and then, and drains the core at the end.
async fn operate(
    engine: Rc<Engine>,
    core: Rc<Core<Sim>>,
    mut plane: Plane,
    left: LeftEndpoints,
    is_calm: bool,
    is_ending: Rc<Cell<bool>>,
) {
    let mut older = plane.compiler.snapshot().clone();
    let drains_early = !is_calm && engine.chance(30);
    let rounds = engine.below(10);
    let mut round = 0;
    while !is_ending.get() {
        engine.sleep(engine.below(1_500_000)).await;
        round += 1;
        if round > rounds && drains_early {
            break;
        }
        if is_calm || round > 100 {
            continue;
        }
        let (app, number) = (engine.below(APPS) as usize, engine.below(INSTANCES));
        let change = match engine.below(8) {
            0 | 1 => Change::AddInstance(instance(app, number)),
            6 | 7 => {
                Change::DrainInstance { id: instance(app, number).id, generation: None, until: Timestamp(1) }
            }
            2 => Change::RemoveInstance { id: instance(app, number).id, generation: None },
            3 => Change::RemoveDomain { name: host(app, number % HOSTS) },
            4 => Change::AddDomain(domain(app, number % HOSTS)),
            _ => {
                apply::apply_snapshot(&core, older.clone()).await;
                continue;
            }
        };
        engine.note(|| format!("change: {change:?}"));
        older = plane.compiler.snapshot().clone();
        let leaving = match &change {
            Change::RemoveInstance { id, .. } | Change::DrainInstance { id, .. } => Some(id.clone()),
            _ => None,
        };
        if let Change::AddInstance(spec) = &change {
            // The same endpoint may be back; requests to the removed one are counted there.
            left.borrow_mut().retain(|left| left.instance != spec.id);
        }
        let known =
            leaving.as_ref().and_then(|id| older.endpoint(&format!("app{app}"), id.as_str())).cloned();
        apply::apply_snapshot(&core, plane.change(&change)).await;
        if let Some(endpoint) = known {
            let requests = endpoint.in_flight.requests();
            let in_flight = endpoint.in_flight;
            left.borrow_mut().push(Left { instance: endpoint.instance, in_flight, requests });
        }
    }
    engine.note(|| "drain".to_owned());
    let deadline = ringway_model::Tick(engine.now() / 1_000 + 10 * 3_600_000);
    drain::drain(core, || {}, deadline).await;
}

/// Runs seeds, and prints the first that fails with its trace.
fn seeds(range: std::ops::Range<u64>) {
    if let Ok(seed) = std::env::var("RINGWAY_SIM_SEED") {
        let seed = seed.parse().expect("RINGWAY_SIM_SEED is a number");
        let outcome = run(seed, true);
        println!("{}", outcome.trace);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        return;
    }
    let count = std::env::var("RINGWAY_SIM_COUNT").map(|count| count.parse::<u64>().expect("a number"));
    let (mut requests, mut answered, mut hedged, mut copied) = (0, 0, 0, 0);
    for seed in range.start..count.map_or(range.end, |count| range.start + count) {
        let outcome = run(seed, false);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\nagain, with its trace: RINGWAY_SIM_SEED={seed} cargo test -p ringway-worker --lib \
             sim::seeds_1 -- --nocapture",
            outcome.violations
        );
        requests += outcome.requests;
        answered += outcome.answered;
        hedged += outcome.hedged;
        copied += outcome.copied;
    }
    // A simulation that serves nothing finds nothing.
    assert!(answered * 3 > requests, "{answered} of {requests} requests were answered");
    assert!(
        hedged * 100 > requests && copied * 20 > requests,
        "{hedged} hedged, {copied} copied of {requests}"
    );
}

#[test]
fn seeds_1() {
    seeds(0..750);
}

#[test]
fn seeds_2() {
    seeds(10_000..10_750);
}

#[test]
fn seeds_3() {
    seeds(20_000..20_750);
}

#[test]
fn seeds_4() {
    seeds(30_000..30_750);
}

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..40 {
        let (first, second) = (run(seed, true), run(seed, true));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// Each connection that serves holds one: it grows with every large future that a phase awaits without a box.
#[test]
fn the_future_of_an_exchange_stays_small() {
    let engine = Engine::new(0, false);
    let case =
        Rc::new(Case { is_calm: true, is_copied: false, evil: 0, rude: 0, requests: RefCell::default() });
    let (live, connections) = (Rc::default(), Rc::default());
    let world =
        Sim { engine: engine.clone(), case, endpoints: Endpoints::OfCase, live, connections, splices: true };
    let telemetry = Telemetry::new(Registry::new().add_core(CoreId(0)), None, None);
    let (reports, _reported) = blocking_mailbox(1);
    let core = core(world, Arc::default(), telemetry, reports, Plane::new().compiler.snapshot().clone());
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1_000));
    let (stream, _end) = core.runtime.connection(peer);
    let client = admitted(&core, stream, peer.ip());
    let mut buffers = core.take_buffers();
    let bytes = std::mem::size_of_val(&exchange::serve(&core, &client, &mut buffers, 0));
    println!("an exchange has {bytes} bytes");
    assert!(bytes <= 3_600, "{bytes} bytes");
}
