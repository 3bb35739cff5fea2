//! Trials in the engine: three cores on virtual time, with the counters of real requests.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{SlotReceiver, mailbox, slot, wake_pair};
use ringway_model::{
    AppId, AppSpec, Balancer, Change, CoreId, Desired, DomainKind, DomainSpec, EndpointSpec, FailurePolicy,
    HealthCheck, HostPattern, Hostname, InstanceId, NewVersion, OnAllUnhealthy, OperatorSet, Owner, PoolRef,
    PoolSpec, Replacement, RouteId, RouteSpec, SetVersion, Target, Timestamp,
};
use ringway_net::sync::{Receiver, oneshot};
use ringway_store::{LoadReport, Memory, Store};
use ringway_telemetry::{Event, Exchange, Metrics, Observer, Panicked, Protocol, Registry};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::Snapshot;

use crate::engine::{Engine, EngineParts, ReplyTo, WorkerLink, store_thread};
use crate::engine_tests::{at, eventually};
use crate::liveness::Liveness;
use crate::settings::ControlSettings;
use crate::submission::{Receipt, Refusal, Submission};
use crate::trial::{RevertReason, TrialState, TrialStatus};

const CORES: [CoreId; 3] = [CoreId(0), CoreId(1), CoreId(2)];
const BAKE: Duration = Duration::from_secs(5);

/// Replacement of the operator's files: a pool at an address, and a route to it.
fn of_file(host: &str, address: u8) -> Change {
    let pool = AppId::parse("pool").unwrap();
    let target = Target::parse(&format!("http://127.0.0.{address}:9")).unwrap();
    let endpoint = EndpointSpec {
        id: InstanceId::of_endpoint(&pool, &target),
        target,
        weight: 1,
        health_check: HealthCheck::default(),
    };
    let spec = PoolSpec {
        traffic: Default::default(),
        id: pool.clone(),
        endpoints: vec![endpoint],
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        policy: None,
    };
    let id = RouteId::parse("route").unwrap();
    let route = RouteSpec::new(id, HostPattern::parse(host).unwrap(), PoolRef::Pool(pool));
    let version = NewVersion {
        version: SetVersion::parse(&format!("{address:012x}")).unwrap(),
        by: "test".into(),
        reason: "".into(),
        source: [].into(),
        is_proven: false,
    };
    let set = OperatorSet { pools: vec![spec], routes: vec![Arc::new(route)], ..OperatorSet::default() };
    Change::ReplaceOwned(Arc::new(Replacement {
        owner: Owner::File,
        set: Arc::new(set),
        expect: None,
        version: Some(version),
    }))
}

fn register(id: &str, name: &str) -> Change {
    let app = AppId::parse(id).unwrap();
    let domain = DomainSpec {
        name: Hostname::parse(name).unwrap(),
        app: app.clone(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
        certificate: None,
        client_auth: None,
        policy: None,
    };
    Change::Register { app: AppSpec::new(app), instance: None, domain: Some(domain) }
}

/// An engine with three cores that acknowledge at once, and the counters of their requests.
struct Scene {
    engine: Engine,
    cores: Vec<(SlotReceiver<Arc<Snapshot>>, Metrics)>,
    /// The snapshot of each core.
    held: Vec<Arc<Snapshot>>,
    now: u64,
}

impl Scene {
    fn new() -> Self {
        let (waker, _source) = wake_pair().unwrap();
        let mut registry = Registry::new();
        let (mut links, mut cores) = (Vec::new(), Vec::new());
        for core in CORES {
            let (snapshots, receiver) = slot(waker.clone());
            let (orders, _) = mailbox(1, waker.clone());
            cores.push((receiver, registry.add_core(core)));
            links.push(WorkerLink { core, snapshots, orders });
        }
        let mut compiler = Compiler::new(CompilerSettings { cores: 3, ..CompilerSettings::default() });
        let first = compiler.commit(compiler.compile_all(&Desired::default())).unwrap();
        let store = Box::new(Memory::new());
        let parts = EngineParts {
            reserved: Default::default(),
            certificates: None,
            cache: None,
            resolver: None,
            settings: ControlSettings::default(),
            desired: Desired::default(),
            compiler,
            first,
            registry,
            log: None,
            on_event: None,
            links,
            description: store.describe(),
            store: store_thread::start(store, Vec::new(), waker.clone()).unwrap(),
            report: LoadReport::default(),
            probation: Default::default(),
            liveness: Liveness::default(),
            waker,
        };
        let engine = Engine::new(parts, at(0));
        let mut scene = Self { engine, cores, held: Vec::new(), now: 0 };
        scene.held = scene.cores.iter().map(|(snapshots, _)| snapshots.take().unwrap()).collect();
        scene.acknowledge();
        scene
    }

    /// Each core takes its newest snapshot and acknowledges it.
    fn acknowledge(&mut self) {
        for (at_core, (snapshots, _)) in self.cores.iter().enumerate() {
            if let Some(newest) = snapshots.take() {
                assert!(newest.serial > self.held[at_core].serial, "serials rise on every core");
                self.held[at_core] = newest;
            }
            let serial = self.held[at_core].serial;
            self.engine.handle_report(Report::Applied { core: CORES[at_core], serial }, at(self.now));
        }
        self.advance();
    }

    fn advance(&mut self) {
        self.engine.advance(at(self.now));
    }

    fn submit(&mut self, submission: Submission) -> Receiver<Result<Receipt, Refusal>> {
        let (reply, receiver) = oneshot();
        self.engine.handle_submit(submission, ReplyTo::Task(reply), at(self.now));
        self.advance();
        receiver
    }

    /// Lets the store thread finish what it has, and the cores follow.
    fn settle(&mut self, is_done: impl Fn(&Engine) -> bool) {
        eventually("the store", || {
            self.advance();
            self.acknowledge();
            is_done(&self.engine).then_some(())
        });
        self.acknowledge();
    }

    /// Seconds with so many requests on each core, of which `failing` on the cores whose snapshot is bad.
    fn pass(&mut self, seconds: u64, requests: usize, failing: usize, is_bad: impl Fn(&Snapshot) -> bool) {
        for _ in 0..seconds * 4 {
            for (held, (_, metrics)) in self.held.iter().zip(&self.cores) {
                let failing = if is_bad(held) { failing } else { 0 };
                for n in 0..requests / 4 {
                    let status = if n < failing / 4 { 502 } else { 200 };
                    metrics.on_event(&Event::Exchange(&exchange(status)));
                }
            }
            self.now += 250;
            self.advance();
            self.acknowledge();
        }
    }

    fn trial(&self) -> TrialStatus {
        self.engine.trial(at(self.now)).unwrap()
    }

    /// Whether each core has the route of a host.
    fn have(&self, host: &str) -> Vec<bool> {
        self.held.iter().map(|snapshot| snapshot.virtual_host(host).is_some()).collect()
    }

    /// After a minute of traffic and with a first configuration, a trial has begun.
    fn on_trial(requests: usize) -> Self {
        let mut scene = Self::new();
        scene.pass(2, requests, 0, |_| false);
        let _reply = scene.submit(Submission::on_trial(of_file("shop.example", 2), BAKE));
        scene.acknowledge();
        assert_eq!(scene.trial().state, TrialState::Running);
        assert_eq!(scene.have("shop.example"), [true, false, false]);
        scene
    }
}

fn exchange(status: u16) -> Exchange<'static> {
    Exchange {
        time: Timestamp(0),
        request_id: "r",
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        method: b"GET",
        host: b"shop.example",
        path: b"/",
        query: None,
        protocol: Protocol::Http11,
        status,
        bytes_in: 0,
        bytes_out: 0,
        duration_us: 1,
        upstream_us: None,
        route: 0,
        pool: 0,
        endpoint: 0,
        route_id: None,
        app: None,
        tenant: None,
        instance: None,
        attempts: 0,
        failure: None,
        upstream_error: None,
        request_error: None,
        user_agent: None,
        referer: None,
        upgrade: None,
        tls: None,
        variant: None,
        queue_us: None,
        stages_us: 0,
        limited_by: None,
        retry: None,
        hedge: None,
        breaker: None,
        middleware: None,
        filter_failure: None,
        compression: None,
        cache: None,
        is_logged: true,
    }
}

fn is_new(snapshot: &Snapshot) -> bool {
    snapshot.virtual_host("shop.example").is_some()
}

#[test]
fn a_bad_configuration_is_reverted_by_itself() {
    let mut scene = Scene::on_trial(80);
    scene.pass(2, 80, 60, is_new);
    assert_eq!(scene.trial().state, TrialState::Reverted(RevertReason::Worse));
    assert!(scene.trial().on_trial.errors >= 15 && scene.trial().z.unwrap() > 4.0, "{:?}", scene.trial());
    assert_eq!(scene.have("shop.example"), [false; 3]);
    assert!(scene.engine.desired().route("route").is_none(), "never stored");
    assert!(scene.held.iter().all(|held| held.serial == scene.held[0].serial));
}

#[test]
fn a_harmless_configuration_is_promoted_and_stored() {
    let mut scene = Scene::on_trial(80);
    scene.pass(6, 80, 0, is_new);
    scene.settle(|engine| engine.desired().route("route").is_some());
    assert_eq!(scene.trial().state, TrialState::Promoted { is_judged: true });
    assert_eq!(scene.have("shop.example"), [true; 3]);
}

#[test]
fn without_traffic_it_is_promoted_and_marked() {
    let mut scene = Scene::on_trial(0);
    scene.pass(6, 0, 0, is_new);
    scene.settle(|engine| engine.desired().route("route").is_some());
    assert_eq!(scene.trial().state, TrialState::Promoted { is_judged: false });
}

#[test]
fn an_outage_of_all_cores_is_not_blamed_on_it() {
    let mut scene = Scene::on_trial(80);
    scene.pass(6, 80, 40, |_| true);
    scene.settle(|engine| engine.desired().route("route").is_some());
    assert_eq!(scene.trial().state, TrialState::Promoted { is_judged: true });
}

#[test]
fn a_panic_on_its_core_reverts_it() {
    let mut scene = Scene::on_trial(0);
    let panicked = Panicked { request_id: None };
    scene.cores[0].1.on_event(&Event::Panicked(panicked));
    scene.pass(1, 0, 0, is_new);
    assert_eq!(scene.trial().state, TrialState::Reverted(RevertReason::Panicked));
    assert_eq!(scene.have("shop.example"), [false; 3]);
}

#[test]
fn the_end_of_its_core_reverts_it() {
    let mut scene = Scene::on_trial(0);
    scene.engine.handle_report(Report::WorkerPanicked { core: CORES[0] }, at(scene.now));
    scene.advance();
    assert_eq!(scene.trial().state, TrialState::Reverted(RevertReason::CoreLost));
}

#[test]
fn registrations_of_the_meantime_reach_all_cores_and_stay() {
    for promoted in [true, false] {
        let mut scene = Scene::on_trial(0);
        let _reply = scene.submit(Submission::of(register("a", "a.example")));
        scene.settle(|engine| engine.desired().app("a").is_some());
        assert_eq!(scene.have("a.example"), [true; 3]);
        assert_eq!(scene.have("shop.example"), [true, false, false]);
        if promoted {
            scene.engine.promote_trial().unwrap();
            scene.settle(|engine| engine.desired().route("route").is_some());
        } else {
            scene.engine.abort_trial().unwrap();
            scene.advance();
            scene.acknowledge();
            assert_eq!(scene.trial().state, TrialState::Reverted(RevertReason::Aborted));
            assert!(scene.engine.abort_trial().is_err() && scene.engine.promote_trial().is_err());
        }
        assert_eq!(scene.have("a.example"), [true; 3]);
        assert_eq!(scene.have("shop.example"), [promoted; 3]);
    }
}

#[test]
fn its_endpoints_are_checked_while_it_runs() {
    let mut scene = Scene::on_trial(0);
    let id = InstanceId::parse("pool@127.0.0.2:9").unwrap();
    assert!(scene.engine.instances().checker().status(id.as_str()).is_some());
    assert!(scene.engine.view(at(scene.now)).endpoint(&id).is_some());
    scene.engine.abort_trial().unwrap();
    scene.advance();
    assert!(scene.engine.instances().checker().status(id.as_str()).is_none());
    assert!(scene.engine.view(at(scene.now)).endpoint(&id).is_none());
}

#[test]
fn a_shutdown_reverts_it() {
    let mut scene = Scene::on_trial(0);
    scene.engine.handle_shutdown(at(scene.now + 1_000).tick, None, at(scene.now));
    scene.advance();
    assert_eq!(scene.trial().state, TrialState::Reverted(RevertReason::ShuttingDown));
}
