//! Calls of a stage: each request asks a service before it goes on, while the service is dead, slow, lying
//! and flooding, and clients leave in the middle.
//!
//! A call gets its own answer, whole, or an error, at its timeout at the latest and to the microsecond. A
//! call that ends early ends its connection. A GET comes twice at most, and only after a kept connection that
//! ended without an answer; a POST comes once. Nothing of a call is left at the end, and a client that leaves
//! is no failure of the service.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringway_bridge::blocking_mailbox;
use ringway_middleware::{
    Call, CallError, CallKind, Chain, Flow, LocalReply, Middleware, Pending, RequestCtx, Stage,
};
use ringway_model::{AppId, AppSpec, Change, CoreId, Tick, limits};
use ringway_telemetry::{Registry, RequestIds, Telemetry};
use ringway_traffic::breaker::BreakerView;

use super::engine::Engine;
use super::network::End;
use super::requests::{Case, Framing, Inbox, chunked};
use super::world::{Endpoints, Sim};
use super::{Plane, Recorder, TIME_MAX, domain, host, instance, request_policy};
use crate::core::Core;
use crate::exchange::stage_calls;
use crate::settings::Settings;
use crate::{accept, apply, drain, limits as own_limits};

const MILLI: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// Duration of the load.
const LOAD: u64 = 20 * SECOND;
/// Time in which services behave alike.
const PHASE: u64 = 3 * SECOND;
/// Longest ways through the network, of a close and of what causes it.
const WAYS: u64 = 100 * MILLI;
/// Most bytes of a flood that are on their way until its sender sees that the core has closed.
const FLOOD_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Number of the app whose endpoints are the service.
const SERVICE: usize = 1;

/// Result of the stage.
type Record = Arc<Mutex<BTreeMap<usize, Asked>>>;

/// A call of the stage.
struct Asked {
    began_us: u64,
    timeout_us: u64,
    /// The end, where the call was not dropped before.
    ended: Option<(u64, Result<Vec<u8>, CallError>)>,
}

/// Stage that lets a request pass once its service has answered. The request says how it asks.
struct Asks(Record);

impl Middleware for Asks {
    fn on_request(&self, _: &mut RequestCtx<'_>) -> Flow {
        Flow::Wait
    }

    fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        Box::pin(async move {
            let services = request.services();
            let number = |name| -> u64 {
                let value = request.field(name).next().expect("the client sends it");
                std::str::from_utf8(value).unwrap().parse().unwrap()
            };
            let (id, timeout_us) = (number("x-id") as usize, number("x-timeout"));
            let path = format!("/check/{id}");
            let method = if request.method() == "POST" { "POST" } else { "GET" };
            let asked = Asked { began_us: services.now_micros(), timeout_us, ended: None };
            self.0.lock().unwrap().insert(id, asked);
            let called = services.call(Call {
                pool: "app1",
                kind: CallKind::Http { method, path: &path },
                lines: b"X-Of: stage\r\n",
                body: if method == "POST" { path.as_bytes() } else { b"" },
                timeout: Duration::from_micros(timeout_us),
                response_bytes_max: usize::MAX,
            });
            let result = called.await.map(|response| response.body).map_err(|failure| failure.error);
            let is_allowed = result.is_ok();
            let ended = Some((services.now_micros(), result));
            self.0.lock().unwrap().get_mut(&id).expect("it began").ended = ended;
            match is_allowed {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(LocalReply::error(503)),
            }
        })
    }
}

/// A request of a call as it came to the service.
struct Arrival {
    /// Others came before on its connection.
    is_reused: bool,
    /// A part of an answer has certainly come to the core.
    is_answered: bool,
}

/// Services of a run, and the record of what they got.
pub(super) struct Services {
    engine: Rc<Engine>,
    record: Record,
    ends: u64,
    /// Probability of a failure in percent, by phase.
    levels: Vec<u64>,
    /// Failures are silence, and nothing else.
    is_silent: bool,
    clients: Cell<usize>,
    requests: Cell<usize>,
    arrivals: RefCell<BTreeMap<usize, Vec<Arrival>>>,
    /// Calls that got a flood.
    flooded: RefCell<Vec<usize>>,
    /// Requests whose client has left, and when.
    left: RefCell<BTreeMap<usize, u64>>,
}

impl Services {
    fn is_over(&self) -> bool {
        self.engine.now() >= self.ends
    }

    /// Notes an arrival, and checks it.
    fn arrive(&self, id: usize, method: &str, arrival: Arrival) {
        let mut arrivals = self.arrivals.borrow_mut();
        let earlier = arrivals.entry(id).or_default();
        if let Some(first) = earlier.last() {
            let may_repeat = method == "GET" && first.is_reused && !first.is_answered && earlier.len() == 1;
            self.engine.check(may_repeat, || format!("call {id}, a {method}, came again"));
        }
        earlier.push(arrival);
    }

    /// Checks that a connection whose call got nothing was closed in time.
    fn check_closed(&self, id: usize) {
        let now = self.engine.now();
        let asked = self.record.lock().unwrap();
        let call = &asked[&id];
        let end = call.began_us + call.timeout_us + WAYS;
        let left = self.left.borrow().get(&id).copied();
        let left = left.map(|at| at + own_limits::QUEUE_WATCH_INTERVAL.as_micros() as u64 + WAYS);
        let end = left.map_or(end, |left| left.min(end));
        self.engine
            .check(now <= end, || format!("the connection of call {id} is open until {now}, not {end}"));
    }
}

/// Body of the answer to a call.
fn answer(id: usize, bytes: usize) -> Vec<u8> {
    let mut body = format!("answer {id}:").into_bytes();
    body.extend((0..bytes).map(|at| (id * 31 + at * 7) as u8));
    body
}

fn is_answer(id: usize, body: &[u8]) -> bool {
    let start = format!("answer {id}:").len();
    body.len() >= start && answer(id, body.len() - start) == body
}

/// An endpoint's side of a connection: of the app, or of the service.
pub(super) async fn serve(services: Rc<Services>, end: End, address: SocketAddr) {
    let SocketAddr::V4(v4) = address else { return };
    let is_service = usize::from(v4.ip().octets()[2]) == SERVICE;
    let end = Rc::new(end);
    let mut inbox = Inbox::new(end.clone());
    let mut served = 0;
    loop {
        let Ok(Some(head)) = inbox.head().await else { return };
        let framing = head.framing().ok().flatten().unwrap_or(Framing::Length(0));
        let Ok((body, true)) = inbox.body(framing).await else { return };
        let engine = &services.engine;
        let (method, path) = head.first.split_once(' ').unwrap();
        let path = path.strip_suffix(" HTTP/1.1").unwrap();
        if !is_service {
            let id: usize = path.strip_prefix("/r/").and_then(|id| id.parse().ok()).unwrap();
            let is_allowed = matches!(&services.record.lock().unwrap()[&id].ended, Some((_, Ok(_))));
            engine.check(is_allowed, || format!("request {id} came to the app without an answer"));
            if !end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await {
                return;
            }
            continue;
        }
        let id: usize = path.strip_prefix("/check/").and_then(|id| id.parse().ok()).unwrap();
        let is_sound = head.get("x-of") == Some("stage")
            && head.get("host") == Some(&address.to_string())
            && body == if method == "POST" { path.as_bytes() } else { b"" };
        engine.check(is_sound, || format!("call {id} came changed"));
        let level = services.levels[(engine.now() / PHASE) as usize % services.levels.len()];
        let way = match engine.chance(level) {
            true if services.is_silent => 1,
            true => 1 + engine.below(10),
            false => 0,
        };
        engine.note(|| format!("service {}: call {id} in way {way}", end.number()));
        let is_answered = matches!(way, 4 | 7 | 8);
        services.arrive(id, method, Arrival { is_reused: served > 0, is_answered });
        served += 1;
        if !serve_call(&services, &end, &mut inbox, id, way).await {
            return;
        }
    }
}

/// Answers a call; false where the connection is over.
async fn serve_call(services: &Services, end: &Rc<End>, inbox: &mut Inbox, id: usize, way: u64) -> bool {
    let engine = &services.engine;
    let body = answer(id, engine.below(3_000) as usize);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let whole = [head.as_bytes(), &body].concat();
    match way {
        0 => {
            engine.sleep(engine.below(5 * MILLI)).await;
            if engine.chance(30) {
                let chunks = chunked(engine, &body);
                return end.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await
                    && end.send(&chunks).await;
            }
            end.send(&whole).await
        }
        // Silence.
        1 => {
            while inbox.more().await {}
            services.check_closed(id);
            false
        }
        // Dead.
        2 => {
            end.abort();
            false
        }
        3 => false,
        // Half an answer, and the end.
        4 => {
            end.send(&whole[..1 + engine.below(whole.len() as u64 - 1) as usize]).await;
            false
        }
        // Half an answer, and silence.
        5 => {
            end.send(&whole[..1 + engine.below(whole.len() as u64 - 1) as usize]).await;
            while inbox.more().await {}
            services.check_closed(id);
            false
        }
        // Slow, perhaps too slow.
        6 => {
            engine.sleep(engine.below(2 * SECOND)).await;
            end.send(&whole).await
        }
        // A flood.
        7 => {
            services.flooded.borrow_mut().push(id);
            let starts = [
                "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "HTTP/1.1 200 OK\r\n\r\n",
                "HTTP/1.1 200 OK\r\nX-Flood: ",
                "HTTP/1.1 103 Early Hints\r\n\r\n",
            ];
            let kind = engine.below(5) as usize;
            let part = match kind {
                1 => b"1\r\na\r\n".repeat(2_000),
                4 => starts[4].as_bytes().repeat(200),
                _ => vec![b'a'; 16_000],
            };
            let mut sent = 0;
            let mut is_open = end.send(starts[kind].as_bytes()).await;
            while is_open {
                is_open = end.send(&part).await;
                sent += part.len();
                engine.check(sent <= FLOOD_BYTES_MAX, || format!("call {id} takes a flood of {sent} bytes"));
                if engine.is_violated() {
                    return false;
                }
            }
            false
        }
        // Not HTTP.
        8 => {
            end.send(b"nonsense\r\n\r\n").await;
            while inbox.more().await {}
            false
        }
        // A second answer behind the first one, for whatever call comes next.
        9 => {
            end.send(&whole).await;
            engine.sleep(engine.below(100 * MILLI)).await;
            // One that meets a request on its way could not be told from its answer.
            let unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
            if inbox.bytes.is_empty() && end.is_quiet() && end.place(unasked) {
                engine.check(!inbox.more().await, || "a call came behind an unasked answer".to_owned());
            }
            false
        }
        // An answer, and the end of the kept connection a while later.
        _ => {
            if end.send(&whole).await {
                engine.sleep(engine.below(100 * MILLI)).await;
            }
            false
        }
    }
}

/// Sends requests, and now and then leaves one alone.
async fn ask(services: Rc<Services>, core: Rc<Core<Sim>>, number: u8, leaves: u64) {
    let engine = services.engine.clone();
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, number), 1_000));
    while !services.is_over() {
        let (stream, end) = core.runtime.connection(address);
        accept::serve(&core, super::admitted(&core, stream, address.ip()));
        let end = Rc::new(end);
        let mut inbox = Inbox::new(end.clone());
        for _ in 0..1 + engine.below(20) {
            engine.sleep(engine.below(100 * MILLI)).await;
            let id = services.requests.replace(services.requests.get() + 1);
            let method = if engine.chance(30) { "POST" } else { "GET" };
            let timeout = match services.is_silent {
                true => 60 * SECOND,
                false => [20 * MILLI, 300 * MILLI, SECOND][engine.below(3) as usize] + engine.below(1_000),
            };
            let request = format!(
                "{method} /r/{id} HTTP/1.1\r\nHost: {}\r\nX-Id: {id}\r\nX-Timeout: {timeout}\r\n\
                 Content-Length: 0\r\n\r\n",
                host(0, 0)
            );
            end.send(request.as_bytes()).await;
            if engine.chance(leaves) {
                engine.sleep(engine.below(600 * MILLI)).await;
                if engine.chance(50) {
                    end.abort();
                }
                services.left.borrow_mut().insert(id, engine.now());
                break;
            }
            let Ok(Some(head)) = inbox.head().await else { break };
            let framing = head.framing().unwrap_or(None).unwrap_or(Framing::UntilClose);
            if inbox.body(framing).await.is_err() {
                break;
            }
            let is_allowed = matches!(&services.record.lock().unwrap()[&id].ended, Some((_, Ok(_))));
            let status = head.first.split(' ').nth(1).unwrap_or_default();
            let is_sound = if is_allowed { status != "401" } else { status == "503" };
            engine.check(is_sound, || format!("request {id} has {status}, allowed: {is_allowed}"));
        }
    }
}

struct Outcome {
    violations: Vec<String>,
    trace: String,
    /// Results of calls, by their word.
    results: BTreeMap<&'static str, usize>,
    repeated: usize,
}

/// Shape of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Services fail in all ways.
    All,
    /// Services are silent, and all clients leave before the timeout.
    Left,
}

fn world(engine: &Rc<Engine>, endpoints: Endpoints, evil: u64, live: &Rc<Cell<usize>>) -> Sim {
    let case = Case { is_calm: true, is_copied: false, evil, rude: 0, requests: RefCell::default() };
    Sim {
        engine: engine.clone(),
        case: Rc::new(case),
        endpoints,
        live: live.clone(),
        connections: Rc::default(),
        splices: false,
    }
}

/// A plane with an app and `count` endpoints of the service.
fn plane(stages: Option<Arc<Chain>>, count: u64) -> Plane {
    let mut plane = Plane::with_stages(stages);
    for app in [0, SERVICE] {
        let spec = AppSpec::new(AppId::parse(&format!("app{app}")).unwrap());
        plane.change(&Change::Register { app: spec, instance: None, domain: None });
        for number in 0..if app == SERVICE { count } else { 1 } {
            plane.change(&Change::AddInstance(instance(app, number)));
        }
    }
    plane.change(&Change::AddDomain(domain(0, 0)));
    plane
}

fn services(engine: &Rc<Engine>, levels: Vec<u64>, is_silent: bool) -> Rc<Services> {
    Rc::new(Services {
        engine: engine.clone(),
        record: Record::default(),
        ends: engine.now() + LOAD,
        levels,
        is_silent,
        clients: Cell::new(0),
        requests: Cell::new(0),
        arrivals: RefCell::default(),
        flooded: RefCell::default(),
        left: RefCell::default(),
    })
}

fn run(seed: u64, traced: bool, shape: Shape) -> Outcome {
    let engine = Engine::new(seed, traced);
    let levels = match shape {
        Shape::All => (0..6).map(|_| [0, 10, 50, 100][engine.below(4) as usize]).collect(),
        Shape::Left => vec![100],
    };
    let services = services(&engine, levels, shape == Shape::Left);
    let chain = Chain::new(vec![Stage::Custom(Arc::new(Asks(services.record.clone())))]);
    let snapshot = plane(Some(Arc::new(chain)), 1 + engine.below(3)).compiler.snapshot().clone();
    let live = Rc::new(Cell::new(0));
    let evil = if shape == Shape::All { [0, 30][engine.below(2) as usize] } else { 0 };
    let world = world(&engine, Endpoints::Called(services.clone()), evil, &live);
    let recorder = Arc::new(Recorder::default());
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(0)), None, Some(recorder.clone()));
    let (reports, reported) = blocking_mailbox(limits::REPORTS_MAX);
    let settings = Arc::new(Settings { policy: request_policy(), ..Settings::default() });
    let core = super::core(world, settings, telemetry, reports, snapshot.clone());
    core.request_ids.replace(RequestIds::from_parts(seed, [seed, !seed]));
    apply::start_housekeeping(&core);
    for number in 0..2 + engine.below(6) as u8 {
        services.clients.set(services.clients.get() + 1);
        let leaves = if shape == Shape::Left { 100 } else { 10 };
        let (left, client) = (services.clone(), ask(services.clone(), core.clone(), number, leaves));
        engine.spawn(false, async move {
            client.await;
            left.clients.set(left.clients.get() - 1);
        });
    }
    let (draining, end) = (core.clone(), services.clone());
    engine.spawn(false, async move {
        end.engine.sleep(LOAD).await;
        drain::drain(draining, || {}, Tick(end.engine.now() / 1_000 + 600_000)).await;
    });
    let mut steps = 0_u64;
    while !engine.is_violated() {
        if services.clients.get() == 0 && core.draining.get() && engine.product_tasks() == 1 {
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
        check_end(&engine, &services, &core, &recorder);
        engine.check(live.get() == 0, || format!("{} sockets are left", live.get()));
        let endpoints: Vec<_> = snapshot.pools().flat_map(|pool| pool.endpoints.iter()).collect();
        let counted: u64 = endpoints.iter().map(|endpoint| endpoint.in_flight.requests()).sum();
        engine.check(counted == 0, || format!("{counted} requests are counted in flight"));
        if shape == Shape::Left {
            let now = Tick(engine.now() / 1_000);
            let are_closed =
                endpoints.iter().all(|endpoint| endpoint.state.breaker(now) == BreakerView::Closed);
            engine.check(are_closed, || "clients that left opened a breaker".to_owned());
        }
    }
    engine.end();
    let (violations, trace) = engine.take_result();
    let repeated = services.arrivals.borrow().values().filter(|arrivals| arrivals.len() > 1).count();
    let results = std::mem::take(&mut *recorder.calls.lock().unwrap());
    Outcome { violations, trace, results, repeated }
}

/// Checks every call, and that the core has forgotten them.
fn check_end(engine: &Engine, services: &Services, core: &Core<Sim>, recorder: &Recorder) {
    let record = services.record.lock().unwrap();
    for (id, Asked { began_us, timeout_us, ended }) in &*record {
        let Some((at, result)) = ended else {
            let has_left = services.left.borrow().contains_key(id);
            engine.check(has_left, || format!("call {id} was dropped, and its client had not left"));
            continue;
        };
        let took = at - began_us;
        engine.check(took <= *timeout_us, || format!("call {id} took {took} us of {timeout_us}"));
        match result {
            Ok(body) => engine.check(is_answer(*id, body), || format!("call {id} has the answer of another")),
            Err(CallError::Timeout) => {
                engine.check(took == *timeout_us, || {
                    format!("call {id} timed out at {took} us of {timeout_us}")
                });
            }
            Err(_) => {}
        }
    }
    for id in &*services.flooded.borrow() {
        let is_rejected = !matches!(&record[id].ended, Some((_, Ok(_))));
        engine.check(is_rejected, || format!("call {id} has a flood for an answer"));
    }
    let counted: usize = recorder.calls.lock().unwrap().values().sum();
    engine.check(counted == record.len(), || format!("{counted} calls are counted of {}", record.len()));
    let count = core.calls.count();
    engine.check(count == 0, || format!("{count} calls are under way"));
}

fn run_all(count: u64, shape: Shape) -> (BTreeMap<&'static str, usize>, usize) {
    let (mut results, mut repeated) = (BTreeMap::new(), 0);
    let given = std::env::var("RINGWAY_SIM_SEED").map(|seed| seed.parse::<u64>().expect("a number"));
    let count = std::env::var("RINGWAY_SIM_COUNT").map_or(count, |count| count.parse().expect("a number"));
    let seeds = given.clone().map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let outcome = run(seed, given.is_ok(), shape);
        print!("{}", outcome.trace);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\nagain, with its trace: RINGWAY_SIM_SEED={seed} cargo test -p ringway-worker --lib \
             sim::stage_calls -- --nocapture",
            outcome.violations
        );
        for (result, count) in outcome.results {
            *results.entry(result).or_default() += count;
        }
        repeated += outcome.repeated;
    }
    (results, repeated)
}

#[test]
fn calls_get_their_own_answer_in_time_or_an_error() {
    let (results, repeated) = run_all(SEEDS, Shape::All);
    println!("{results:?}, {repeated} repeated");
    if std::env::var("RINGWAY_SIM_SEED").is_err() {
        // A simulation that sees none of a kind checks nothing of it.
        for kind in ["ok", "unavailable", "connect", "broken", "timeout", "invalid", "too_large", "abandoned"]
        {
            assert!(results.get(kind).is_some_and(|count| *count > 10), "{kind}: {results:?}");
        }
        assert!(repeated > 10, "{repeated} calls were repeated");
    }
}

#[test]
fn clients_that_leave_are_no_failure_of_the_service() {
    let (results, _) = run_all(SEEDS / 4, Shape::Left);
    assert!(results["abandoned"] > 100, "{results:?}");
}

const SEEDS: u64 = 60;

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..3 {
        let (first, second) = (run(seed, true, Shape::All), run(seed, true, Shape::All));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// More calls to a silent service than a core has places: those beyond fail at once, and another pool is
/// served all the while.
#[test]
fn calls_beyond_the_places_of_a_core_fail_at_once() {
    let engine = Engine::new(1, false);
    let silent = services(&engine, vec![100], true);
    let live = Rc::new(Cell::new(0));
    let world = world(&engine, Endpoints::Called(silent.clone()), 0, &live);
    let telemetry = Telemetry::new(Registry::new().add_core(CoreId(0)), None, None);
    let (reports, _reported) = blocking_mailbox(limits::REPORTS_MAX);
    let core =
        super::core(world, Arc::default(), telemetry, reports, plane(None, 1).compiler.snapshot().clone());
    let results: Rc<RefCell<Vec<(u64, CallError)>>> = Rc::default();
    let (count, timeout) = (own_limits::CALLS_PER_CORE_MAX, SECOND);
    for id in 0..count {
        let (core, clock, results) = (core.clone(), engine.clone(), results.clone());
        let began_us = engine.now();
        silent.record.lock().unwrap().insert(id, Asked { began_us, timeout_us: timeout, ended: None });
        let call = async move {
            let path = format!("/check/{id}");
            let call = Call {
                pool: "app1",
                kind: CallKind::Http { method: "GET", path: &path },
                lines: b"X-Of: stage\r\n",
                body: b"",
                timeout: Duration::from_micros(timeout),
                response_bytes_max: 100,
            };
            let failure = stage_calls::call(&core, call).await.expect_err("the service is silent");
            results.borrow_mut().push((clock.now() - began_us, failure.error));
        };
        engine.spawn(true, call);
    }
    while engine.product_tasks() > 0 && !engine.is_violated() {
        assert!(engine.step(), "calls never end");
    }
    let (violations, _) = engine.take_result();
    assert!(violations.is_empty(), "{violations:#?}");
    let results = results.borrow();
    let at = |took: u64, error| results.iter().filter(|result| **result == (took, error)).count();
    assert_eq!(at(0, CallError::Busy), count / 2);
    assert_eq!(at(timeout, CallError::Timeout), count / 2);
    assert_eq!(core.calls.count(), 0);
    engine.end();
}
