//! Retries by a policy, while the endpoints fail more and less: with statuses, resets and silence.
//!
//! No request has more attempts than its policy allows, and in no ten seconds are there more retries than the
//! budget of the pool: a share of its successes, a floor, and one for the core. Each response ends its
//! connection, so that every attempt after the first is a retry by the policy, and not the replay of a
//! request that an idle connection has lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU8;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::blocking_mailbox;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, DomainSpec, Percent, PolicyRef, PolicySettings, Retries, Tick, limits,
};
use ringway_telemetry::{Registry, RequestIds, Telemetry};

use super::engine::Engine;
use super::network::End;
use super::requests::{Case, Framing, Inbox};
use super::world::{Endpoints, Sim};
use super::{Plane, Recorder, TIME_MAX, domain, host, instance, request_policy};
use crate::core::Core;
use crate::settings::Settings;
use crate::{accept, apply, drain};

const SECOND: u64 = 1_000_000;
/// Duration of the load.
const LOAD: u64 = 40 * SECOND;
/// Time in which endpoints fail alike.
const PHASE: u64 = 7 * SECOND;
const WINDOW: u64 = 10 * SECOND;
/// Longest time from the decision for a retry to its arrival, and from a success to its count.
const DELAY: u64 = SECOND / 2;

/// Endpoints of a run, and the record of their requests.
pub(super) struct Outage {
    engine: Rc<Engine>,
    retries: Retries,
    /// Probability of a failure in percent, by phase.
    levels: Vec<u64>,
    ends: u64,
    /// Clients that have not left.
    clients: Cell<usize>,
    requests: Cell<usize>,
    /// Attempts by request.
    attempts: RefCell<BTreeMap<usize, usize>>,
    /// Times of the attempts after the first ones.
    repeated: RefCell<Vec<u64>>,
    /// Times of the good responses.
    successes: RefCell<Vec<u64>>,
}

impl Outage {
    fn is_over(&self) -> bool {
        self.engine.now() >= self.ends
    }

    /// Counts an attempt, and checks it.
    fn count(&self, id: usize) {
        let (engine, now) = (&self.engine, self.engine.now());
        let mut attempts = self.attempts.borrow_mut();
        let count = attempts.entry(id).or_default();
        *count += 1;
        let max = usize::from(self.retries.attempts_max.get());
        engine.check(*count <= max, || format!("request {id} has {count} attempts, {max} are allowed"));
        if *count == 1 {
            return;
        }
        self.repeated.borrow_mut().push(now);
        let since =
            |times: &[u64], window| times.iter().rev().take_while(|at| **at + window > now).count() as u64;
        let repeated = since(&self.repeated.borrow(), WINDOW - DELAY);
        let successes = since(&self.successes.borrow(), WINDOW + 2 * DELAY);
        let floor = u64::from(self.retries.budget_floor) * WINDOW / SECOND;
        let budget = self.retries.budget.of(successes) + floor + 1;
        engine.check(repeated <= budget, || {
            format!("{repeated} retries in ten seconds with {successes} successes: the budget is {budget}")
        });
    }
}

/// An endpoint's side of a connection: one request.
pub(super) async fn serve(outage: Rc<Outage>, end: End) {
    let engine = outage.engine.clone();
    let end = Rc::new(end);
    let mut inbox = Inbox::new(end.clone());
    let Ok(Some(head)) = inbox.head().await else { return };
    let id = head.first.split(' ').nth(1).and_then(|path| path.strip_prefix("/r/")?.parse().ok());
    let Some(id) = id else { return engine.violate(format!("unknown request {:?}", head.first)) };
    outage.count(id);
    let phase = (engine.now() / PHASE) as usize % outage.levels.len();
    let way = if engine.chance(outage.levels[phase]) { 1 + engine.below(8) } else { 0 };
    engine.note(|| format!("endpoint {}: request {id} in way {way}", end.number()));
    match way {
        0 => {
            engine.sleep(engine.below(20_000)).await;
            // From now on it may count.
            outage.successes.borrow_mut().push(engine.now());
            end.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
        }
        1 => end.abort(),
        2 => while inbox.more().await {},
        _ => {
            let status = [502, 503, 504][engine.below(3) as usize];
            let response =
                format!("HTTP/1.1 {status} Busy\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy");
            end.send(response.as_bytes()).await;
        }
    }
}

/// Sends requests, and now and then leaves one alone.
async fn ask(outage: Rc<Outage>, core: Rc<Core<Sim>>, number: u8) {
    let engine = outage.engine.clone();
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, number), 1_000));
    while !outage.is_over() {
        let (stream, end) = core.runtime.connection(address);
        accept::serve(&core, super::admitted(&core, stream, address.ip()));
        let end = Rc::new(end);
        let mut inbox = Inbox::new(end.clone());
        for _ in 0..1 + engine.below(20) {
            engine.sleep(engine.below(200_000)).await;
            let id = outage.requests.replace(outage.requests.get() + 1);
            let request = format!("GET /r/{id} HTTP/1.1\r\nHost: {}\r\n\r\n", host(0, 0));
            end.send(request.as_bytes()).await;
            if engine.chance(5) {
                engine.sleep(engine.below(50_000)).await;
                end.abort();
                break;
            }
            let Ok(Some(head)) = inbox.head().await else { break };
            let framing = head.framing().unwrap_or(None).unwrap_or(Framing::UntilClose);
            if inbox.body(framing).await.is_err() {
                break;
            }
        }
    }
}

struct Outcome {
    violations: Vec<String>,
    trace: String,
    requests: usize,
    repeated: usize,
}

fn run(seed: u64, traced: bool) -> Outcome {
    let engine = Engine::new(seed, traced);
    let case =
        Rc::new(Case { is_calm: true, is_copied: false, evil: 0, rude: 0, requests: RefCell::default() });
    let retries = Retries {
        attempts_max: NonZeroU8::new(2 + engine.below(3) as u8).expect("two at least"),
        budget: Percent::whole([0, 10, 50][engine.below(3) as usize]),
        budget_floor: 1 + engine.below(3) as u16,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(20),
        ..Retries::default()
    };
    let settings = PolicySettings {
        retries: Some(retries.clone()),
        per_try_timeout: Some(Duration::from_millis(300)),
        ..PolicySettings::default()
    };
    let mut plane = Plane::new();
    let app = AppSpec::new(AppId::parse("app0").unwrap());
    plane.change(&Change::Register { app, instance: None, domain: None });
    for number in 0..1 + engine.below(3) {
        plane.change(&Change::AddInstance(instance(0, number)));
    }
    let policy = Some(PolicyRef::Inline(Arc::new(settings)));
    plane.change(&Change::AddDomain(DomainSpec { policy, ..domain(0, 0) }));
    let snapshot = plane.compiler.snapshot().clone();
    let outage = Rc::new(Outage {
        engine: engine.clone(),
        retries,
        levels: (0..6).map(|_| [0, 10, 50, 100][engine.below(4) as usize]).collect(),
        ends: engine.now() + LOAD,
        clients: Cell::new(0),
        requests: Cell::new(0),
        attempts: RefCell::default(),
        repeated: RefCell::default(),
        successes: RefCell::default(),
    });
    engine.note(|| format!("{:?}, failures in percent: {:?}", outage.retries, outage.levels));
    let live = Rc::new(Cell::new(0));
    let world = Sim {
        engine: engine.clone(),
        case,
        endpoints: Endpoints::Failing(outage.clone()),
        live: live.clone(),
        connections: Rc::default(),
        splices: false,
    };
    let recorder = Arc::new(Recorder::default());
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(0)), None, Some(recorder.clone()));
    let (reports, reported) = blocking_mailbox(limits::REPORTS_MAX);
    let settings = Arc::new(Settings { policy: request_policy(), ..Settings::default() });
    let core = super::core(world, settings, telemetry, reports, snapshot.clone());
    core.request_ids.replace(RequestIds::from_parts(seed, [seed, !seed]));
    apply::start_housekeeping(&core);
    for number in 0..2 + engine.below(4) as u8 {
        outage.clients.set(outage.clients.get() + 1);
        let (left, client) = (outage.clone(), ask(outage.clone(), core.clone(), number));
        engine.spawn(false, async move {
            client.await;
            left.clients.set(left.clients.get() - 1);
        });
    }
    let (draining, end) = (core.clone(), outage.clone());
    engine.spawn(false, async move {
        end.engine.sleep(LOAD).await;
        drain::drain(draining, || {}, Tick(end.engine.now() / 1_000 + 600_000)).await;
    });

    let mut steps = 0_u64;
    while !engine.is_violated() {
        if outage.clients.get() == 0 && core.draining.get() && engine.product_tasks() == 1 {
            break;
        }
        if !engine.step() || engine.now() > TIME_MAX {
            engine.violate(format!("{} tasks of the core never end", engine.product_tasks() - 1));
        }
        steps += 1;
        if steps.is_multiple_of(64) {
            for _ in reported.drain(limits::REPORTS_MAX) {}
        }
    }
    if !engine.is_violated() {
        let endpoints = snapshot.pools().flat_map(|pool| pool.endpoints.iter());
        let counted: u64 = endpoints.map(|endpoint| endpoint.in_flight.requests()).sum();
        engine.check(counted == 0, || format!("{counted} requests are counted in flight"));
        engine.check(live.get() == 0, || format!("{} sockets are left", live.get()));
        let max = u32::from(outage.retries.attempts_max.get());
        for ended in &*recorder.ends.lock().unwrap() {
            engine.check(ended.attempts <= max, || format!("{} attempts, {max} are allowed", ended.attempts));
        }
    }
    engine.end();
    let (violations, trace) = engine.take_result();
    let repeated = outage.repeated.borrow().len();
    Outcome { violations, trace, requests: outage.requests.get(), repeated }
}

#[test]
fn retries_stay_within_their_budget() {
    if let Ok(seed) = std::env::var("RINGWAY_SIM_SEED") {
        let seed = seed.parse().expect("RINGWAY_SIM_SEED is a number");
        let outcome = run(seed, true);
        println!("{}", outcome.trace);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        return;
    }
    let count = std::env::var("RINGWAY_SIM_COUNT").map(|count| count.parse::<u64>().expect("a number"));
    let (mut requests, mut repeated) = (0, 0);
    for seed in 0..count.unwrap_or(SEEDS) {
        let outcome = run(seed, false);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\nagain, with its trace: RINGWAY_SIM_SEED={seed} cargo test -p ringway-worker --lib \
             sim::retries::retries_stay -- --nocapture",
            outcome.violations
        );
        requests += outcome.requests;
        repeated += outcome.repeated;
    }
    // A simulation that repeats nothing finds nothing.
    assert!(repeated * 100 > requests, "{repeated} retries of {requests} requests");
}

const SEEDS: u64 = 100;

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..4 {
        let (first, second) = (run(seed, true), run(seed, true));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
