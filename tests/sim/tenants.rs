//! Two tenants of one app: one misbehaves in every way that a client can, and the other must not notice.
//!
//! The endpoints are healthy: they serve valid requests, and time out as servers do. In half of the runs they
//! are away for a while, so that breakers open, and recover under the same load. A request of the good tenant
//! may fail while they are away and until the longest that a breaker stays open is over; at any other time it
//! has to be served, as it would be if breakers never opened.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use ringway_bridge::blocking_mailbox;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, FailurePolicy, Health, StatusSet, TimeoutPolicy, limits,
};
use ringway_telemetry::{Registry, RequestIds, Telemetry};
use ringway_traffic::breaker::BreakerView;

use super::engine::Engine;
use super::network::End;
use super::requests::{Case, Framing, Inbox};
use super::world::{Endpoints, Sim};
use super::{Plane, Recorder, TIME_MAX, domain, host, instance, request_policy};
use crate::core::Core;
use crate::settings::Settings;
use crate::{accept, apply, drain};

const SECOND: u64 = 1_000_000;
/// Duration of a run without an outage, and the additional time of one with it.
const LOAD: u64 = 200 * SECOND;
/// Longest time of an open breaker, and the time for the request that closes it.
const RECOVERY: u64 = 125 * SECOND;

/// Outage of the endpoints in a run.
pub(super) struct Stage {
    engine: Rc<Engine>,
    away: Option<(u64, u64)>,
    ends: u64,
    /// Number of clients that have not left.
    clients: Cell<usize>,
}

impl Stage {
    fn is_away(&self) -> bool {
        self.away.is_some_and(|(from, until)| (from..until).contains(&self.engine.now()))
    }

    fn is_over(&self) -> bool {
        self.engine.now() >= self.ends
    }

    /// Whether a request that began at `begun` and ended now may have failed because of the outage.
    fn may_fail(&self, begun: u64) -> bool {
        self.away.is_some_and(|(from, until)| self.engine.now() >= from && begun < until + RECOVERY)
    }

    /// Runs a client.
    fn begin(self: &Rc<Self>, client: impl Future<Output = ()> + 'static) {
        self.clients.set(self.clients.get() + 1);
        let stage = self.clone();
        self.engine.spawn(false, async move {
            client.await;
            stage.clients.set(stage.clients.get() - 1);
        });
    }

    /// Whether connections to endpoints are refused.
    pub(super) fn refuses(&self) -> bool {
        self.is_away()
    }
}

/// An endpoint's side of a connection.
pub(super) async fn serve(stage: Rc<Stage>, end: End) {
    let engine = stage.engine.clone();
    let end = Rc::new(end);
    let mut inbox = Inbox::new(end.clone());
    while let Ok(Some(head)) = inbox.head().await {
        let path = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        if stage.is_away() {
            return;
        }
        engine.note(|| format!("endpoint {}: {}", end.number(), head.first));
        let framing = head.framing().unwrap_or(None).unwrap_or(Framing::Length(0));
        let whole = match path.as_str() {
            // Times out on an upload that stands still.
            "/upload" => {
                let patience = engine.now() + 3 * SECOND + engine.below(20 * SECOND);
                let (closing, watch) = (end.clone(), engine.clone());
                let is_read = Rc::new(Cell::new(false));
                let read = is_read.clone();
                engine.spawn(false, async move {
                    watch.sleep(patience.saturating_sub(watch.now())).await;
                    if !read.get() {
                        closing.close();
                    }
                });
                let whole = inbox.body(framing).await.is_ok_and(|(_, whole)| whole);
                is_read.set(true);
                whole
            }
            "/early" => true,
            _ => inbox.body(framing).await.is_ok_and(|(_, whole)| whole),
        };
        if !whole {
            return;
        }
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".as_slice();
        match path.as_str() {
            "/slow" => {
                engine.sleep(engine.below(100 * SECOND)).await;
                end.send(ok).await;
            }
            "/silent" => {
                while inbox.more().await {}
                return;
            }
            "/stall" => {
                end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun").await;
                while inbox.more().await {}
                return;
            }
            "/big" => {
                let head =
                    format!("HTTP/1.1 200 OK\r\nX-Big: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(17_000));
                end.send(head.as_bytes()).await;
            }
            "/interim" => {
                end.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(30).as_bytes()).await;
                end.send(ok).await;
            }
            "/trailers" => {
                let trailers = "X: y\r\n".repeat(5_000);
                let response =
                    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n");
                end.send(response.as_bytes()).await;
            }
            // Times out on a client that does not read.
            "/download" => {
                let body = vec![b'd'; 400_000];
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let begun = engine.now();
                end.send(head.as_bytes()).await;
                for part in body.chunks(16_000) {
                    end.send(part).await;
                    if engine.now() - begun > 20 * SECOND {
                        return;
                    }
                }
            }
            "/ws" => {
                end.send(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                )
                .await;
                inbox.more().await;
                return;
            }
            path => match path.strip_prefix("/status/") {
                Some(status) => {
                    let response = format!("HTTP/1.1 {status} Busy\r\nContent-Length: 4\r\n\r\nbusy");
                    end.send(response.as_bytes()).await;
                }
                None => {
                    end.send(ok).await;
                }
            },
        }
        if path == "/early" {
            // The rest of the request ends where the next one begins.
            if !inbox.body(framing).await.is_ok_and(|(_, whole)| whole) {
                return;
            }
        }
    }
}

/// A connection of a client to the core.
fn connect(core: &Rc<Core<Sim>>, tenant: u8, number: u64) -> End {
    let address = SocketAddr::from((Ipv4Addr::new(192, 0, tenant, number as u8), 1_000));
    let (stream, end) = core.runtime.connection(address);
    accept::serve(core, super::admitted(core, stream, address.ip()));
    end
}

/// The good tenant: sends a request now and then, and has to be served.
async fn ask(stage: Rc<Stage>, core: Rc<Core<Sim>>, number: u64) {
    let engine = stage.engine.clone();
    while !stage.is_over() {
        engine.sleep(engine.below(3 * SECOND)).await;
        let end = Rc::new(connect(&core, 2, number));
        let mut inbox = Inbox::new(end.clone());
        for _ in 0..1 + engine.below(4) {
            let begun = engine.now();
            let host = host(0, 1);
            let request = match engine.below(3) {
                0 => format!("POST /ok HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"),
                _ => format!("GET /ok HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            };
            end.send(request.as_bytes()).await;
            let response = match inbox.head().await {
                Ok(Some(head)) => {
                    let framing = head.framing().unwrap_or(None).unwrap_or(Framing::UntilClose);
                    let body = inbox.body(framing).await.map(|(body, _)| body).unwrap_or_default();
                    format!("{} {}", head.first, String::from_utf8_lossy(&body))
                }
                other => format!("{:?}", other.map(|_| ())),
            };
            let is_served = response == "HTTP/1.1 200 OK ok";
            engine.note(|| format!("good client {}: {response}", end.number()));
            engine.check(is_served || stage.may_fail(begun), || {
                format!("a request of the good tenant, sent at {begun}, got {response:?}")
            });
            if !is_served || engine.is_violated() {
                break;
            }
            if engine.chance(50) {
                engine.sleep(engine.below(2 * SECOND)).await;
            }
        }
    }
}

/// The bad tenant: misbehaves in every way that a client can.
async fn misbehave(stage: Rc<Stage>, core: Rc<Core<Sim>>, number: u64) {
    let engine = stage.engine.clone();
    // Most repeat one way for a while: breakers count failures in a row.
    let mut way = engine.below(WAYS);
    while !stage.is_over() {
        engine.sleep(engine.below(SECOND)).await;
        if engine.chance(20) {
            way = engine.below(WAYS);
        }
        // Alone, or in a crowd: enough in a row that no success comes between them.
        let count = if engine.chance(25) { 12 } else { 1 };
        let crowd: Vec<_> = (0..count).map(|_| Rc::new(connect(&core, 3, number))).collect();
        let (last, others) = crowd.split_last().expect("one at least");
        for end in others {
            stage.begin(misbehave_once(stage.clone(), end.clone(), way));
        }
        misbehave_once(stage.clone(), last.clone(), way).await;
    }
}

const WAYS: u64 = 16;

async fn misbehave_once(stage: Rc<Stage>, end: Rc<End>, way: u64) {
    let engine = &stage.engine;
    engine.note(|| format!("bad client {}: way {way}", end.number()));
    go_a_bad_way(&stage, &end, way).await;
    match engine.below(3) {
        0 => end.abort(),
        1 => end.finish(),
        _ => {}
    }
}

async fn go_a_bad_way(stage: &Stage, end: &End, way: u64) {
    let engine = &stage.engine;
    let host = host(0, 0);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let post = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n")
    };
    match way {
        // Just above the least rate, for as long as it is served.
        0 | 1 => {
            let path = if way == 0 { "/upload" } else { "/early" };
            end.send(post(path, 20_000).as_bytes()).await;
            for _ in 0..engine.below(600) {
                if !end.send(&[b'u'; 30]).await || stage.is_over() {
                    return;
                }
                engine.sleep(300_000).await;
            }
        }
        // Stands still in the middle.
        2 => {
            end.send(post("/upload", 20_000).as_bytes()).await;
            engine.sleep(engine.below(70 * SECOND)).await;
        }
        3 => {
            let path = ["/slow", "/silent"][engine.below(2) as usize];
            end.send(get(path).as_bytes()).await;
            engine.sleep(engine.below(40 * SECOND)).await;
        }
        4 => {
            let status = [500, 502, 503, 504][engine.below(4) as usize];
            end.send(get(&format!("/status/{status}")).as_bytes()).await;
            end.receive().await;
        }
        5..=8 => {
            let path = ["/big", "/interim", "/trailers", "/stall"][way as usize - 5];
            end.send(get(path).as_bytes()).await;
            while !end.receive().await.is_empty() {}
        }
        // Reads a little now and then.
        9 => {
            end.send(get("/download").as_bytes()).await;
            for _ in 0..engine.below(12) {
                engine.sleep(engine.below(30 * SECOND)).await;
                if end.receive().await.is_empty() {
                    return;
                }
            }
        }
        10 => {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Huge: {}\r\n\r\n", "x".repeat(40_000));
            end.send(head.as_bytes()).await;
            end.receive().await;
        }
        11 => {
            end.send(get("/slow").as_bytes()).await;
            end.finish();
            end.receive().await;
        }
        12 => {
            let head = format!(
                "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            end.send(head.as_bytes()).await;
            let garbage: Vec<u8> = (0..engine.below(500)).map(|_| engine.below(256) as u8).collect();
            end.send(&garbage).await;
            end.receive().await;
        }
        13 => {
            let head = format!(
                "POST /ok HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n"
            );
            end.send(head.as_bytes()).await;
            end.receive().await;
        }
        14 => {
            let head = format!(
                "POST /ok HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
            );
            end.send(head.as_bytes()).await;
            engine.sleep(engine.below(20 * SECOND)).await;
        }
        // Stops anywhere.
        _ => {
            let whole = post("/upload", 3_000) + &"x".repeat(3_000);
            let cut = engine.below(whole.len() as u64) as usize;
            end.send(&whole.as_bytes()[..cut]).await;
        }
    }
}

struct Outcome {
    violations: Vec<String>,
    trace: String,
}

/// Runs a seed with the app's failure policy.
fn run(seed: u64, policy: FailurePolicy, traced: bool) -> Outcome {
    let engine = Engine::new(seed, traced);
    let is_calm = engine.chance(50);
    let case = Rc::new(Case { is_calm, is_copied: false, evil: 0, rude: 0, requests: RefCell::default() });
    let mut plane = Plane::new();
    // Without health checks timeouts count, unless the app's policy excludes them.
    let is_checked = engine.chance(70);
    let timeouts = if is_checked { policy.timeouts } else { TimeoutPolicy::Never };
    let app = AppSpec {
        failures: Some(FailurePolicy { timeouts, ..policy }),
        ..AppSpec::new(AppId::parse("app0").unwrap())
    };
    plane.change(&Change::Register { app, instance: None, domain: None });
    for number in 0..1 + engine.below(2) {
        plane.change(&Change::AddInstance(instance(0, number)));
    }
    for number in 0..2 {
        plane.change(&Change::AddDomain(domain(0, number)));
    }
    let snapshot = plane.compiler.snapshot().clone();
    let endpoints = || snapshot.pools().flat_map(|pool| pool.endpoints.iter());
    if is_checked {
        endpoints().for_each(|endpoint| endpoint.state.set_health(Health::Healthy));
    }
    let away = engine.chance(50).then(|| {
        let from = engine.now() + engine.below(60 * SECOND);
        (from, from + SECOND + engine.below(100 * SECOND))
    });
    let ends = away.map_or(engine.now(), |(_, until)| until + RECOVERY) + LOAD;
    let stage = Rc::new(Stage { engine: engine.clone(), away, ends, clients: Cell::new(0) });
    engine.note(|| format!("away {away:?}, vouched for {is_checked}"));
    let live = Rc::new(Cell::new(0));
    let world = Sim {
        engine: engine.clone(),
        case,
        endpoints: Endpoints::OfTenants(stage.clone()),
        live: live.clone(),
        connections: Rc::default(),
        splices: engine.chance(50),
    };
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(0)), None, Some(Arc::new(Recorder::default())));
    let (reports, reported) = blocking_mailbox(limits::REPORTS_MAX);
    let settings = Arc::new(Settings { policy: request_policy(), ..Settings::default() });
    let core = super::core(world, settings, telemetry, reports, snapshot.clone());
    core.request_ids.replace(RequestIds::from_parts(seed, [seed, !seed]));
    apply::start_housekeeping(&core);

    for number in 0..1 + engine.below(2) {
        stage.begin(ask(stage.clone(), core.clone(), number));
    }
    for number in 0..1 + engine.below(6) {
        stage.begin(misbehave(stage.clone(), core.clone(), number));
    }
    let (draining, stage_of_drain) = (core.clone(), stage.clone());
    engine.spawn(false, async move {
        let engine = &stage_of_drain.engine;
        engine.sleep(stage_of_drain.ends.saturating_sub(engine.now()) + 300 * SECOND).await;
        let deadline = ringway_model::Tick(engine.now() / 1_000 + 3_600_000);
        drain::drain(draining, || {}, deadline).await;
    });

    let mut steps = 0_u64;
    loop {
        let is_over = stage.clients.get() == 0 && core.draining.get() && engine.product_tasks() == 1;
        if is_over || engine.is_violated() {
            break;
        }
        if !engine.step() || engine.now() > TIME_MAX {
            engine.violate(format!("{} tasks of the core never end", engine.product_tasks() - 1));
            break;
        }
        steps += 1;
        if steps.is_multiple_of(64) {
            for _ in reported.drain(limits::REPORTS_MAX) {}
            let now = ringway_model::Tick(engine.now() / 1_000);
            // No client can open a breaker, or keep one open.
            if !stage.may_fail(engine.now()) {
                for endpoint in endpoints() {
                    let view = endpoint.state.breaker(now);
                    // Between requests of the good tenant a half-open one may wait for the next.
                    let is_fine = !matches!(view, BreakerView::Open { .. });
                    engine.check(is_fine, || format!("the breaker of {} is {view:?}", endpoint.instance));
                }
            }
        }
    }
    engine.note(|| format!("over after {steps} steps"));
    engine.end();
    let (violations, trace) = engine.take_result();
    Outcome { violations, trace }
}

fn seeds(range: std::ops::Range<u64>) {
    if let Ok(seed) = std::env::var("RINGWAY_SIM_SEED") {
        let seed = seed.parse().expect("RINGWAY_SIM_SEED is a number");
        let outcome = run(seed, FailurePolicy::default(), true);
        println!("{}", outcome.trace);
        assert!(outcome.violations.is_empty(), "seed {seed}: {:#?}", outcome.violations);
        return;
    }
    let count = std::env::var("RINGWAY_SIM_COUNT").map(|count| count.parse::<u64>().expect("a number"));
    for seed in range.start..count.map_or(range.end, |count| range.start + count) {
        let outcome = run(seed, FailurePolicy::default(), false);
        assert!(
            outcome.violations.is_empty(),
            "seed {seed}: {:#?}\nagain, with its trace: RINGWAY_SIM_SEED={seed} cargo test -p ringway-worker --lib \
             sim::tenants::a_bad_tenant_1 -- --nocapture",
            outcome.violations
        );
    }
}

#[test]
fn a_bad_tenant_1() {
    seeds(0..SEEDS);
}

#[test]
fn a_bad_tenant_2() {
    seeds(10_000..10_000 + SEEDS);
}

const SEEDS: u64 = 60;

#[test]
fn a_seed_always_runs_the_same_way() {
    for seed in 0..4 {
        let (first, second) =
            (run(seed, FailurePolicy::default(), true), run(seed, FailurePolicy::default(), true));
        assert!(!first.trace.is_empty());
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}

/// Under policies with which one tenant does make the app unavailable to the other, the same runs find it.
#[test]
fn policies_that_blame_the_app_for_its_clients_are_found() {
    let statuses = StatusSet::parse("502-504").unwrap();
    for policy in [
        FailurePolicy { statuses, ..FailurePolicy::default() },
        FailurePolicy { timeouts: TimeoutPolicy::Always, ..FailurePolicy::default() },
    ] {
        let found = (0..20).any(|seed| !run(seed, policy, false).violations.is_empty());
        assert!(found, "{policy:?}");
    }
}
