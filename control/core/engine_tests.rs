//! The engine over time, without its thread.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use crate::limits::{CORE_STALL, LIVENESS_INTERVAL};
use ringway_bridge::{SlotReceiver, mailbox, reply, slot, wake_pair};
use ringway_health::{Failure, HealthChange, Streak};
use ringway_model::limits::JOINING_TIME;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, Desired, DomainKind, DomainSpec, Health, HealthCheck, Hostname,
    InstanceId, InstanceSpec, Serial, Target, Tick, Timestamp,
};
use ringway_net::{DriverChoice, clock};
use ringway_store::{LoadReport, Memory, Store};
use ringway_telemetry::Registry;
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::Snapshot;

use crate::discovery::threads::{self, ResolverLink};
use crate::discovery::{Resolved, ResolvedTarget, ResolverError, TargetResolver};
use crate::engine::store_thread;
use crate::engine::{Engine, EngineParts, ReplyTo, WorkerLink};
use crate::liveness::Liveness;
use crate::settings::ControlSettings;
use crate::status::{InstanceStatus, Status, status_report};
use crate::submission::Submission;
use crate::time::{Micros, Now};
use crate::view::View;

pub(crate) const CORE: CoreId = CoreId(0);

pub(crate) fn at(millis: u64) -> Now {
    Now { micros: Micros(millis * 1_000), tick: Tick(millis), at: Timestamp(millis) }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

fn status(engine: &Engine, now: Now) -> Status {
    status_report::status(engine, now)
}

fn instance_status(engine: &Engine, id: &InstanceId, now: Now) -> Option<InstanceStatus> {
    status_report::instance_status(engine, id, now)
}

fn engine() -> (Engine, SlotReceiver<Arc<Snapshot>>, Liveness) {
    engine_with(Desired::default())
}

/// An engine with one core that takes no snapshot by itself.
pub(crate) fn engine_with(desired: Desired) -> (Engine, SlotReceiver<Arc<Snapshot>>, Liveness) {
    engine_of(desired, None)
}

fn engine_of(
    desired: Desired,
    resolver: Option<ResolverLink>,
) -> (Engine, SlotReceiver<Arc<Snapshot>>, Liveness) {
    let (waker, _source) = wake_pair().unwrap();
    let (snapshots, receiver) = slot(waker.clone());
    let (orders, _orders) = mailbox(1, waker.clone());
    let mut compiler = Compiler::new(CompilerSettings { cores: 4, ..CompilerSettings::default() });
    let compiled = compiler.compile_all(&desired);
    let first = compiler.commit(compiled).unwrap();
    let liveness = Liveness::default();
    let store = Box::new(Memory::new());
    let parts = EngineParts {
        reserved: Default::default(),
        certificates: None,
        cache: None,
        resolver,
        settings: ControlSettings {
            certificate_webhook: None,
            defaults: Default::default(),
            health: ringway_health::Defaults::default(),
            heartbeat_timeout: Duration::from_secs(30),
            hash_key: 0,
            driver: DriverChoice::Auto,
            version: "0",
            commit: "unknown",
            ..ControlSettings::default()
        },
        desired,
        compiler,
        first,
        registry: Registry::new(),
        log: None,
        on_event: None,
        links: vec![WorkerLink { core: CORE, snapshots, orders }],
        description: store.describe(),
        store: store_thread::start(store, Vec::new(), waker.clone()).unwrap(),
        report: LoadReport::default(),
        probation: Default::default(),
        liveness: liveness.clone(),
        waker,
    };
    (Engine::new(parts, at(0)), receiver, liveness)
}

/// Waits for another thread of the test.
pub(crate) fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now().after(Duration::from_secs(30));
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(clock::now() < deadline, "timed out: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_idle_core_gets_the_same_configuration_to_acknowledge() {
    let (mut engine, snapshots, _) = engine();
    let first = snapshots.take().unwrap();
    engine.handle_report(Report::Applied { core: CORE, serial: first.serial }, at(1));
    let due = millis(LIVENESS_INTERVAL);
    engine.advance(at(due - 1));
    assert!(snapshots.take().is_none());
    engine.advance(at(due));
    let again = snapshots.take().unwrap();
    assert_eq!(again.serial, first.serial.next());
    assert_eq!(again.revision, first.revision);
    engine.advance(at(due + 1));
    assert!(snapshots.take().is_none(), "once");
}

#[test]
fn liveness_stops_with_a_stalled_core_and_resumes_with_it() {
    let (mut engine, snapshots, liveness) = engine();
    let stalled = millis(CORE_STALL);
    engine.advance(at(stalled - 1));
    assert_eq!(liveness.last(), Tick(stalled - 1));
    engine.advance(at(stalled));
    engine.advance(at(stalled + 5_000));
    assert_eq!(liveness.last(), Tick(stalled - 1), "not recorded while the core stalls");
    let newest = snapshots.take().unwrap().serial;
    engine.handle_report(Report::Applied { core: CORE, serial: newest }, at(stalled + 6_000));
    engine.advance(at(stalled + 6_000));
    assert_eq!(liveness.last(), Tick(stalled + 6_000));
}

#[test]
fn liveness_stops_with_a_panicked_core_but_not_with_a_drained_one() {
    let (mut engine, _snapshots, liveness) = engine();
    engine.handle_report(Report::Drained { core: CORE }, at(1));
    engine.advance(at(60_000));
    assert_eq!(liveness.last(), Tick(60_000));
    engine.handle_report(Report::WorkerPanicked { core: CORE }, at(60_001));
    engine.advance(at(60_001));
    assert_eq!(liveness.last(), Tick(60_000));
}

#[test]
fn ready_with_the_first_acknowledgement_of_every_core() {
    let (mut engine, snapshots, _) = engine();
    assert!(!engine.is_ready());
    assert_eq!(status(&engine, at(0)).state.as_str(), "starting");
    let serial = snapshots.take().unwrap().serial;
    assert_eq!(serial, Serial(1));
    engine.handle_report(Report::Applied { core: CORE, serial }, at(1));
    assert!(engine.is_ready());
    engine.handle_shutdown(Tick(1_000), None, at(2));
    assert!(!engine.is_ready());
    assert_eq!(status(&engine, at(2)).state.as_str(), "draining");
}

/// A deploy may be waiting for a recent instance; an older one takes traffic at once.
#[test]
fn an_instance_registered_shortly_before_the_start_joins() {
    let change = Change::Register {
        app: AppSpec::new(AppId::parse("shop").unwrap()),
        instance: Some(InstanceSpec {
            id: InstanceId::parse("shop-1").unwrap(),
            app: AppId::parse("shop").unwrap(),
            target: Target::parse("http://127.0.0.1:9").unwrap(),
            health_check: HealthCheck::default(),
        }),
        domain: None,
    };
    let desired = Desired::default().apply(&change, Timestamp(0)).unwrap().desired;
    let (engine, snapshots, _) = engine_with(desired);
    let snapshot = snapshots.take().unwrap();
    let state = &snapshot.endpoint("shop", "shop-1").unwrap().state;
    assert_eq!(state.health(), Health::Joining);
    state.set_health(Health::Unknown);
    let now = at(millis(JOINING_TIME));
    engine.instances().mark_joining(View {
        desired: engine.desired(),
        snapshot: &snapshot,
        trial: None,
        now,
    });
    assert_eq!(state.health(), Health::Unknown);
}

/// An engine with the instance `shop-1`, its first snapshot taken.
fn engine_with_instance() -> (Engine, SlotReceiver<Arc<Snapshot>>, InstanceId) {
    let id = InstanceId::parse("shop-1").unwrap();
    let app = AppId::parse("shop").unwrap();
    let change = Change::Register {
        app: AppSpec::new(app.clone()),
        instance: Some(InstanceSpec {
            id: id.clone(),
            app,
            target: Target::parse("http://127.0.0.1:1").unwrap(),
            health_check: HealthCheck::default(),
        }),
        domain: None,
    };
    let desired = Desired::default().apply(&change, Timestamp(0)).unwrap().desired;
    let (mut engine, snapshots, _) = engine_with(desired);
    let serial = snapshots.take().unwrap().serial;
    engine.handle_report(Report::Applied { core: CORE, serial }, at(1));
    (engine, snapshots, id)
}

fn change(engine: &Engine, id: &InstanceId, health: Health, reason: Option<Failure>) -> HealthChange {
    let generation = engine.desired().instance(id.as_str()).unwrap().generation;
    let plan = engine.instances().checker().status(id.as_str()).unwrap().plan;
    HealthChange { instance: id.clone(), generation, health, reason, plan, streak: Streak::Successes(1) }
}

/// Either input takes an instance out of rotation, and both must agree before it returns.
#[test]
fn heartbeats_and_checks_must_agree() {
    let (mut engine, _snapshots, id) = engine_with_instance();
    let health = |engine: &Engine, now| instance_status(engine, &id, at(now)).unwrap().health;
    let passing = change(&engine, &id, Health::Healthy, None);
    let failing = change(&engine, &id, Health::Unhealthy, Some(Failure::Refused));
    engine.handle_health_change(&passing, at(5));
    engine.handle_heartbeat(&id, None, at(10)).unwrap();
    engine.advance(at(30_009));
    assert_eq!(health(&engine, 30_009), Health::Healthy);
    engine.advance(at(30_010));
    assert_eq!(health(&engine, 30_010), Health::Unhealthy);
    let reason = instance_status(&engine, &id, at(30_010)).unwrap().reason;
    assert_eq!(reason.as_deref(), Some("no heartbeat for 30 s"));

    engine.handle_health_change(&passing, at(31_000));
    assert_eq!(health(&engine, 31_000), Health::Unhealthy, "a passing check is no heartbeat");
    engine.handle_health_change(&failing, at(32_000));
    engine.handle_health_change(&passing, at(33_000));
    assert_eq!(health(&engine, 33_000), Health::Unhealthy);

    // The checks decide once the heartbeats resume; none has run yet.
    engine.handle_heartbeat(&id, None, at(34_000)).unwrap();
    assert_eq!(health(&engine, 34_000), Health::Joining, "as after its registration");
    engine.handle_health_change(&failing, at(35_000));
    engine.handle_heartbeat(&id, None, at(36_000)).unwrap();
    assert_eq!(health(&engine, 36_000), Health::Unhealthy, "a heartbeat is no passing check");
}

#[test]
fn an_instance_without_heartbeats_is_removed_after_the_second_timeout() {
    let (mut engine, _snapshots, id) = engine_with_instance();
    engine.handle_heartbeat(&id, None, at(0)).unwrap();
    engine.advance(at(30_000));
    engine.advance(at(59_999));
    let found = instance_status(&engine, &id, at(59_999)).unwrap();
    assert_eq!(
        (found.lease_expires, found.deregisters_at),
        (Some(Timestamp(30_000)), Some(Timestamp(60_000)))
    );
    assert_eq!(status(&engine, at(59_999)).counts.changes_waiting, 0);
    engine.advance(at(60_000));
    assert_eq!(status(&engine, at(60_000)).counts.changes_waiting, 1, "its removal is submitted");
}

/// The overlay's own routes are removed by a second snapshot, whose acknowledgement must count.
#[test]
fn a_registration_of_a_host_of_the_overlay_is_acknowledged_by_the_newest_snapshot() {
    struct Fixed;
    impl TargetResolver for Fixed {
        fn resolve(&self, _: &str) -> Result<Resolved, ResolverError> {
            let target = Target::parse("http://127.0.0.1:9").unwrap();
            Ok(Resolved::Targets(vec![ResolvedTarget { target, healthy: true }]))
        }
    }
    let (waker, _source) = wake_pair().unwrap();
    let resolver = threads::start(Arc::new(Fixed), waker).unwrap();
    let (mut engine, snapshots, _) = engine_of(Desired::default(), Some(resolver));
    let acknowledge = |engine: &mut Engine, now| {
        let snapshot = eventually("a snapshot is published", || {
            engine.advance(at(now));
            snapshots.take()
        });
        engine.handle_report(Report::Applied { core: CORE, serial: snapshot.serial }, at(now));
        engine.advance(at(now));
        snapshot
    };
    acknowledge(&mut engine, 1);
    let host = Hostname::parse("app.test").unwrap();
    engine.handle_report(Report::HostWanted { core: CORE, host: host.clone() }, at(2));
    assert!(acknowledge(&mut engine, 4).virtual_host("app.test").is_some(), "routed by the resolver");

    let app = AppSpec::new(AppId::parse("shop").unwrap());
    let domain = DomainSpec {
        policy: None,
        name: host,
        app: app.id.clone(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
        certificate: None,
        client_auth: None,
    };
    let (reply, receipt) = reply();
    let change = Change::Register { app, instance: None, domain: Some(domain) };
    engine.handle_submit(Submission::of(change), ReplyTo::Client(reply), at(5));
    eventually("the change is stored", || {
        engine.advance(at(5));
        engine.desired().app("shop").cloned()
    });
    acknowledge(&mut engine, 6);
    let receipt = receipt.wait(Duration::ZERO).unwrap().unwrap();
    assert!(receipt.pending.is_empty(), "{receipt:?}");
}
