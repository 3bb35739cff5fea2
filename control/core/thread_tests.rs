//! The control thread with a store in memory, and workers that take and acknowledge snapshots.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpListener;
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::limits::APPLY_DEADLINE;
use ringway_bridge::{MailboxReceiver, MailboxSender, SlotReceiver, WakeSource, mailbox, slot, wake_pair};
use ringway_model::limits::ORDERS_MAX;
use ringway_model::{
    AppId, AppSpec, Change, CoreId, DomainKind, DomainSpec, Generation, Health, HealthCheck, Hostname,
    InstanceId, InstanceSpec, Kind, Outcome, Rejection, Revision, Target, Timestamp,
};
use ringway_net::{DriverChoice, clock};
use ringway_store::{Batch, Description, Loaded, Memory, Store, StoreError};
use ringway_telemetry::Registry;
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;

use crate::{
    Client, ControlSettings, ControlThread, CoreState, InstanceState, Parts, Refusal, Service, State,
    Submission, WorkerLink, inbox, start,
};

/// Timeout of every wait; reached by failures only.
const PATIENCE: Duration = Duration::from_secs(20);

// --- Kit ---------------------------------------------------------------------------------------------------

/// Worker without traffic: takes snapshots and orders, and reports, unless it is stuck.
struct Worker {
    current: Arc<Mutex<Arc<Snapshot>>>,
    is_stuck: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

struct WorkerEnds {
    core: CoreId,
    snapshots: SlotReceiver<Arc<Snapshot>>,
    orders: MailboxReceiver<Order>,
    source: WakeSource,
    reports: MailboxSender<Report>,
}

impl Worker {
    fn start(ends: WorkerEnds) -> Self {
        let current: Arc<Mutex<Arc<Snapshot>>> = Arc::default();
        let is_stuck = Arc::new(AtomicBool::new(false));
        let (seen, stuck) = (Arc::clone(&current), Arc::clone(&is_stuck));
        let thread = thread::spawn(move || {
            let mut wake = ends.source.stream().unwrap();
            wake.set_nonblocking(false).unwrap();
            // Wakes up by itself: there is no wake-up when it stops being stuck.
            wake.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            let mut bytes = [0; 64];
            loop {
                if matches!(wake.read(&mut bytes), Ok(0)) {
                    return;
                }
                ends.source.rearm();
                if stuck.load(Ordering::SeqCst) {
                    continue;
                }
                if let Some(snapshot) = ends.snapshots.take() {
                    let serial = snapshot.serial;
                    assert!(serial > seen.lock().unwrap().serial, "serials only rise");
                    *seen.lock().unwrap() = snapshot;
                    ends.reports.send(Report::Applied { core: ends.core, serial }).unwrap();
                }
                for order in ends.orders.drain(ORDERS_MAX) {
                    match order {
                        Order::Drain { .. } => {
                            ends.reports.send(Report::Drained { core: ends.core }).unwrap();
                        }
                        Order::HostAbsent { .. } => {}
                        Order::Stop => return,
                    }
                }
            }
        });
        Self { current, is_stuck, thread }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.lock().unwrap())
    }

    fn has_route(&self, host: &str) -> bool {
        self.snapshot().virtual_host(host).is_some()
    }
}

/// Control thread with two workers.
struct Stage {
    control: ControlThread,
    client: Client,
    workers: Vec<Worker>,
    reports: MailboxSender<Report>,
}

impl Stage {
    fn new(store: impl Store + 'static) -> Self {
        Self::with(store, |_| {}, Vec::new())
    }

    fn with(
        store: impl Store + 'static,
        settle: impl FnOnce(&mut ControlSettings),
        services: Vec<Service>,
    ) -> Self {
        let (inbox, reports) = inbox(2).unwrap();
        let mut registry = Registry::new();
        let (mut links, mut workers) = (Vec::new(), Vec::new());
        for core in [CoreId(0), CoreId(1)] {
            drop(registry.add_core(core));
            let (waker, source) = wake_pair().unwrap();
            let (snapshots, snapshot_receiver) = slot(waker.clone());
            let (orders, order_receiver) = mailbox(ORDERS_MAX, waker);
            links.push(WorkerLink { core, snapshots, orders });
            workers.push(Worker::start(WorkerEnds {
                core,
                snapshots: snapshot_receiver,
                orders: order_receiver,
                source,
                reports: reports.clone(),
            }));
        }
        let mut settings = ControlSettings {
            certificate_webhook: None,
            defaults: Default::default(),
            health: ringway_health::Defaults::default(),
            heartbeat_timeout: Duration::from_secs(30),
            hash_key: 7,
            driver: DriverChoice::Auto,
            version: "0.0.0-test",
            commit: "unknown",
        };
        settle(&mut settings);
        let control = start(Parts {
            store: Box::new(store),
            links,
            inbox,
            registry,
            log: None,
            certificates: None,
            resolver: None,
            settings,
            services,
        })
        .unwrap();
        let client = control.client.clone();
        let stage = Self { control, client, workers, reports };
        stage.until("all cores have a snapshot", |stage| stage.status().state != State::Starting);
        stage
    }

    fn status(&self) -> crate::Status {
        self.client.status().unwrap()
    }

    fn submit(&self, change: Change) -> Result<crate::Receipt, Refusal> {
        self.client.submit(Submission::of(change))
    }

    /// Waits for a condition.
    #[expect(clippy::disallowed_methods, reason = "only the pause between two checks; the end is a deadline")]
    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < end, "timed out: {what}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn end(self) {
        let drained = self.client.shutdown(PATIENCE).unwrap();
        assert!(drained.pending.is_empty(), "{drained:?}");
        self.control.join().unwrap();
        for worker in self.workers {
            worker.thread.join().unwrap();
        }
    }
}

fn app(id: &str) -> AppSpec {
    AppSpec::new(AppId::parse(id).unwrap())
}

fn instance(id: &str, app: &str, target: &str) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::parse(id).unwrap(),
        app: AppId::parse(app).unwrap(),
        target: Target::parse(target).unwrap(),
        health_check: HealthCheck::default(),
    }
}

fn domain(name: &str, app: &str) -> DomainSpec {
    DomainSpec {
        certificate: None,
        client_auth: None,
        name: Hostname::parse(name).unwrap(),
        app: AppId::parse(app).unwrap(),
        tenant: None,
        kind: DomainKind::Custom,
        cname_target: None,
    }
}

fn register(name: &str) -> Change {
    Change::Register {
        app: app(name),
        instance: Some(instance(&format!("{name}-1"), name, "http://127.0.0.1:9")),
        domain: Some(domain(&format!("{name}.test"), name)),
    }
}

/// Store that fails or blocks on demand.
struct FaultyStore {
    inner: Memory,
    fails: Arc<AtomicBool>,
    /// Each commit waits for a message of this gate.
    gate: Option<mpsc::Receiver<()>>,
    is_closed: Arc<AtomicBool>,
}

impl FaultyStore {
    fn new() -> Self {
        Self { inner: Memory::new(), fails: Arc::default(), gate: None, is_closed: Arc::default() }
    }
}

impl Store for FaultyStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        if let Some(gate) = &self.gate {
            // Returns as well when the test drops its end.
            let _ = gate.recv();
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Transfer(std::io::ErrorKind::StorageFull.into()));
        }
        self.inner.commit(batch)
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.is_closed.store(true, Ordering::SeqCst);
        self.inner.close()
    }

    fn describe(&self) -> Description {
        self.inner.describe()
    }
}

// --- Changes
// ------------------------------------------------------------------------------------------------

#[test]
fn an_acknowledged_change_is_on_disk_and_on_every_core() {
    let memory = Memory::new();
    let stage = Stage::new(memory.clone());
    for n in 1..=20 {
        let receipt = stage.submit(register(&format!("shop{n}"))).unwrap();
        assert_eq!(receipt.outcome, Outcome::Created);
        assert_eq!(receipt.generation, Some(Generation(receipt.revision.0)));
        let host = format!("shop{n}.test");
        // On an overloaded machine a core may be pending; the receipt then promises nothing about it.
        let acknowledged =
            |core: usize| !receipt.pending.iter().any(|pending| usize::from(pending.0) == core);
        for core in (0..2).filter(|core| acknowledged(*core)) {
            assert!(stage.workers[core].has_route(&host), "core {core} acknowledged it");
        }
        assert_eq!(memory.clone().load().unwrap().revision, receipt.revision, "and it is on disk");
    }
    assert_eq!(stage.client.desired().unwrap().count(Kind::Domain), 20);
    let removed =
        stage.submit(Change::RemoveDomain { name: Hostname::parse("shop3.test").unwrap() }).unwrap();
    assert_eq!(removed.outcome, Outcome::Removed);
    stage.until("it is gone everywhere", |stage| {
        stage.workers.iter().all(|worker| !worker.has_route("shop3.test"))
    });
    stage.end();
}

#[test]
fn the_first_snapshot_has_the_stored_configuration() {
    let memory = Memory::new();
    let stage = Stage::new(memory.clone());
    stage.submit(register("shop")).unwrap();
    stage.end();
    let stage = Stage::new(memory);
    assert!(stage.control.snapshot.virtual_host("shop.test").is_some());
    assert!(stage.workers.iter().all(|worker| worker.has_route("shop.test")));
    let status = stage.status();
    assert_eq!((status.revision, status.counts.instances), (Revision(1), 1));
    assert_eq!(status.state, State::Ready, "{:?}", status.warnings);
    stage.end();
}

#[test]
fn concurrent_changes_share_batches_and_get_their_own_revisions() {
    let (open, gate) = mpsc::channel();
    let store = FaultyStore { gate: Some(gate), ..FaultyStore::new() };
    let stage = Stage::new(store);
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let client = stage.client.clone();
            thread::spawn(move || client.submit(Submission::of(register(&format!("shop{n}")))).unwrap())
        })
        .collect();
    // The store blocks on the first change until all others wait.
    stage.until("all wait", |stage| stage.status().counts.changes_waiting == 40);
    drop(open);
    let revisions: BTreeSet<Revision> =
        callers.into_iter().map(|caller| caller.join().unwrap().revision).collect();
    assert_eq!(revisions, (1..=40).map(Revision).collect());
    let counts = stage.status().counts;
    assert_eq!(counts.changes_stored, 40);
    assert!(counts.batches_stored <= 3, "{} batches", counts.batches_stored);
    stage.end();
}

#[test]
fn a_failing_store_refuses_changes_and_keeps_the_configuration() {
    let store = FaultyStore::new();
    let fails = Arc::clone(&store.fails);
    let stage = Stage::new(store);
    stage.submit(register("before")).unwrap();
    fails.store(true, Ordering::SeqCst);
    let refusal = stage.submit(register("lost")).unwrap_err();
    assert!(matches!(refusal, Refusal::Storage(_)), "{refusal:?}");
    let status = stage.status();
    assert_eq!((status.revision, status.state), (Revision(1), State::Degraded));
    assert!(!status.store.degraded.is_empty());
    assert!(
        stage.workers.iter().all(|worker| worker.has_route("before.test") && !worker.has_route("lost.test"))
    );
    fails.store(false, Ordering::SeqCst);
    assert_eq!(stage.submit(register("after")).unwrap().revision, Revision(2));
    assert_eq!(stage.status().state, State::Ready);
    stage.end();
}

#[test]
fn a_slow_store_blocks_nothing_else() {
    let (open, gate) = mpsc::channel();
    let memory = Memory::new();
    // An instance is registered before, for the heartbeat below.
    let mut before = FaultyStore { inner: memory.clone(), ..FaultyStore::new() };
    before.load().unwrap();
    let stage = Stage::new(before);
    stage.submit(register("shop")).unwrap();
    stage.end();
    let stage = Stage::new(FaultyStore { inner: memory, gate: Some(gate), ..FaultyStore::new() });
    let client = stage.client.clone();
    let slow = thread::spawn(move || client.submit(Submission::of(register("slow"))).unwrap());
    stage.until("it waits", |stage| stage.status().counts.changes_waiting == 1);
    stage.client.heartbeat(InstanceId::parse("shop-1").unwrap(), None).unwrap();
    assert_eq!(stage.client.desired().unwrap().count(Kind::App), 1, "not in force before it is stored");
    drop(open);
    assert_eq!(slow.join().unwrap().revision, Revision(2));
    stage.end();
}

#[test]
fn a_slow_core_is_pending_and_follows_later() {
    let stage = Stage::new(Memory::new());
    stage.workers[1].is_stuck.store(true, Ordering::SeqCst);
    let receipt = stage.submit(register("shop")).unwrap();
    assert_eq!(receipt.pending, [CoreId(1)]);
    assert!(receipt.applied_in >= APPLY_DEADLINE);
    assert!(stage.workers[0].has_route("shop.test") && !stage.workers[1].has_route("shop.test"));
    let status = stage.status();
    assert_eq!(status.cores[1].state, CoreState::Lagging);
    assert_eq!(status.state, State::Degraded);
    let next = stage.submit(register("next")).unwrap();
    assert_eq!(next.pending, [CoreId(1)]);
    stage.workers[1].is_stuck.store(false, Ordering::SeqCst);
    stage.until("it has caught up", |stage| stage.status().cores[1].state == CoreState::Following);
    assert!(stage.workers[1].has_route("shop.test") && stage.workers[1].has_route("next.test"));
    assert!(stage.submit(register("last")).unwrap().pending.is_empty());
    stage.end();
}

#[test]
fn a_panicked_worker_is_pending_and_a_warning() {
    let stage = Stage::new(Memory::new());
    stage.reports.send(Report::WorkerPanicked { core: CoreId(0) }).unwrap();
    stage.until("it is known", |stage| stage.status().cores[0].state == CoreState::Dead);
    let receipt = stage.submit(register("shop")).unwrap();
    assert_eq!(receipt.pending, [CoreId(0)]);
    assert!(stage.status().warnings.iter().any(|warning| warning.contains("core 0")));
    stage.client.shutdown(PATIENCE).unwrap();
    stage.control.join().unwrap();
}

// --- Instances
// ----------------------------------------------------------------------------------------------

#[test]
fn heartbeats_renew_a_lease_and_missing_ones_deregister() {
    let timeout = Duration::from_secs(2);
    let stage = Stage::with(Memory::new(), |settings| settings.heartbeat_timeout = timeout, Vec::new());
    stage.submit(register("silent")).unwrap();
    stage.submit(register("shop")).unwrap();
    let id = InstanceId::parse("shop-1").unwrap();
    let before = stage.client.instance_status(id.clone()).unwrap().unwrap();
    assert_eq!((before.last_heartbeat, before.lease_expires), (None, None));
    stage.client.heartbeat(id.clone(), None).unwrap();
    let leased = stage.client.instance_status(id.clone()).unwrap().unwrap();
    let (beat, end) = (leased.last_heartbeat.unwrap(), leased.lease_expires.unwrap());
    assert!(end.0.abs_diff(beat.0 + 2_000) <= 2, "{beat:?} to {end:?}");
    assert!(leased.deregisters_at.unwrap().0.abs_diff(beat.0 + 4_000) <= 2);
    stage.until("it leaves the rotation", |stage| {
        let status = stage.client.instance_status(id.clone()).unwrap().expect("it is still registered");
        status.health == Health::Unhealthy && status.reason.unwrap().starts_with("no heartbeat for ")
    });
    stage.until("it is gone", |stage| stage.client.instance_status(id.clone()).unwrap().is_none());
    let status = stage.status();
    assert_eq!((status.counts.leases_expired, status.counts.instances), (1, 1));
    assert!(
        stage.client.instance_status(InstanceId::parse("silent-1").unwrap()).unwrap().is_some(),
        "an instance that never sent a heartbeat has no lease"
    );
    for worker in &stage.workers {
        assert!(worker.snapshot().endpoint("shop", "shop-1").is_none(), "gone from every core");
    }
    for refusal in [
        stage.client.heartbeat(id.clone(), None).unwrap_err(),
        stage.submit(Change::RemoveInstance { id: id.clone(), generation: None }).unwrap_err(),
    ] {
        let Refusal::Rejected(rejection @ Rejection::Deregistered { .. }) = refusal else {
            panic!("{refusal:?}");
        };
        let text = rejection.to_string();
        assert!(
            text.starts_with("shop-1 was deregistered at 2") && text.contains(": no heartbeat for "),
            "{text}"
        );
        assert!(text.ends_with(" s; register it again"), "{text}");
    }
    stage.submit(register("shop")).unwrap();
    stage.submit(Change::RemoveInstance { id: id.clone(), generation: None }).unwrap();
    let refusal = stage.client.heartbeat(id, None).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Rejected(Rejection::UnknownInstance(_))),
        "removed on demand: {refusal:?}"
    );
    stage.end();
}

#[test]
fn a_late_message_of_an_old_process_has_no_effect() {
    let stage = Stage::new(Memory::new());
    let old = stage.submit(register("shop")).unwrap().generation.unwrap();
    let id = InstanceId::parse("shop-1").unwrap();
    stage.client.heartbeat(id.clone(), Some(old)).unwrap();
    let new = stage.submit(register("shop")).unwrap().generation.unwrap();
    assert!(new > old);
    let status = stage.client.instance_status(id.clone()).unwrap().unwrap();
    assert_eq!(status.lease_expires, None, "a new registration has not sent a heartbeat");
    for refusal in [
        stage.client.heartbeat(id.clone(), Some(old)).unwrap_err(),
        stage.submit(Change::RemoveInstance { id: id.clone(), generation: Some(old) }).unwrap_err(),
    ] {
        let Refusal::Rejected(Rejection::StaleGeneration { current, .. }) = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(current, new);
    }
    assert_eq!(stage.client.instance_status(id.clone()).unwrap().unwrap().generation, new);
    stage.client.heartbeat(id, Some(new)).unwrap();
    stage.end();
}

#[test]
fn a_named_target_has_addresses_when_its_registration_is_confirmed() {
    let stage = Stage::new(Memory::new());
    let spec = instance("shop-1", "shop", "http://localhost:3000");
    let receipt =
        stage.submit(Change::Register { app: app("shop"), instance: Some(spec), domain: None }).unwrap();
    let is_resolved = |worker: &Worker| {
        worker.snapshot().endpoint("shop", "shop-1").is_some_and(|endpoint| !endpoint.addresses.is_empty())
    };
    if receipt.applied_in < APPLY_DEADLINE {
        assert!(stage.workers.iter().all(is_resolved), "resolved before the reply");
    }
    stage.until("it is resolved", |stage| stage.workers.iter().all(is_resolved));
    for worker in &stage.workers {
        let snapshot = worker.snapshot();
        let endpoint = snapshot.endpoint("shop", "shop-1").unwrap();
        assert!(
            endpoint.addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 3000)
        );
    }
    let id = InstanceId::parse("shop-1").unwrap();
    let status = stage.client.instance_status(id).unwrap().unwrap();
    assert!(!status.addresses.is_empty());
    assert_eq!(stage.status().revision, Revision(1), "addresses create no revision");
    stage.end();
}

#[test]
fn health_changes_reach_the_cores_without_a_new_snapshot() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", listener.local_addr().unwrap());
    let settle = |settings: &mut ControlSettings| {
        settings.health.interval = Duration::from_millis(200);
        settings.health.timeout = Duration::from_millis(200);
        settings.health.thresholds.unhealthy = NonZeroU8::new(3).unwrap();
    };
    let stage = Stage::with(Memory::new(), settle, Vec::new());
    let spec = instance("shop-1", "shop", &target);
    stage.submit(Change::Register { app: app("shop"), instance: Some(spec), domain: None }).unwrap();
    let id = InstanceId::parse("shop-1").unwrap();
    let health = |stage: &Stage| stage.client.instance_status(id.clone()).unwrap().unwrap().health;
    stage.until("it is healthy", |stage| health(stage) == Health::Healthy);
    let seen = stage.workers[0].snapshot();
    let state = &seen.endpoint("shop", "shop-1").unwrap().state;
    assert_eq!(state.health(), Health::Healthy);
    drop(listener);
    stage.until("it is unhealthy", |stage| health(stage) == Health::Unhealthy);
    assert_eq!(state.health(), Health::Unhealthy, "visible in an earlier snapshot");
    let status = stage.client.instance_status(id).unwrap().unwrap();
    assert!(status.reason.is_some() && status.streak >= 3 && status.last_checked.is_some(), "{status:?}");
    assert_eq!(stage.status().unhealthy, 1);
    assert_eq!(stage.status().revision, Revision(1), "no revision was created");
    let warnings = stage.status().warnings;
    let begin = "no instance of app shop is healthy: shop-1: connection refused, ";
    let end = " in a row; requests are refused (on_all_unhealthy: reject)";
    assert!(
        warnings.iter().any(|warning| warning.starts_with(begin) && warning.ends_with(end)),
        "{warnings:?}"
    );
    assert_eq!(stage.status().state, State::Ready, "an outage of an app does not degrade the process");
    stage.end();
}

// --- The process
// --------------------------------------------------------------------------------------------

#[test]
fn a_service_can_submit_changes_and_its_panic_ends_nothing_else() {
    let (sender, receiver) = mpsc::channel();
    let working: Service = Box::new(move |control| {
        Box::pin(async move {
            let receipt = control.submit(Submission::of(register("shop"))).await;
            sender.send((receipt.map(|receipt| receipt.revision).ok(), control.revision())).unwrap();
        })
    });
    let panicking: Service = Box::new(|_| Box::pin(async { panic!("on purpose") }));
    let stage = Stage::with(Memory::new(), |_| {}, vec![panicking, working]);
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), (Some(Revision(1)), Revision(1)));
    assert_eq!(stage.submit(register("other")).unwrap().revision, Revision(2));
    stage.end();
}

#[test]
fn a_change_takes_effect_without_a_waiting_submitter() {
    let gone: Service = Box::new(|control| {
        Box::pin(async move {
            let waiting = control.submit(Submission::of(register("shop")));
            // Polled once to submit it, then dropped, as when a client of the API disconnects.
            let mut waiting = Box::pin(waiting);
            let once =
                std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending()));
            assert!(once.await);
        })
    });
    let stage = Stage::with(Memory::new(), |_| {}, vec![gone]);
    stage.until("it is stored", |stage| stage.status().revision == Revision(1));
    stage.until("it has its reply", |stage| stage.status().counts.changes_waiting == 0);
    stage.end();
}

#[test]
fn shutdown_drains_closes_and_refuses() {
    let store = FaultyStore::new();
    let is_closed = Arc::clone(&store.is_closed);
    let stage = Stage::new(store);
    stage.submit(register("shop")).unwrap();
    stage.workers[1].is_stuck.store(true, Ordering::SeqCst);
    let client = stage.client.clone();
    let ending = thread::spawn(move || client.shutdown(PATIENCE));
    stage.until("it drains", |stage| stage.status().state == State::Draining);
    let refusal = stage.submit(register("late")).unwrap_err();
    assert!(matches!(refusal, Refusal::ShuttingDown), "{refusal:?}");
    assert!(!is_closed.load(Ordering::SeqCst), "not before the cores have ended");
    stage.workers[1].is_stuck.store(false, Ordering::SeqCst);
    assert!(ending.join().unwrap().unwrap().pending.is_empty());
    stage.control.join().unwrap();
    assert!(is_closed.load(Ordering::SeqCst));
    assert!(matches!(stage.client.status().unwrap_err(), Refusal::ShuttingDown));
}

#[test]
fn shutdown_waits_for_a_core_until_the_deadline_only() {
    let stage = Stage::new(Memory::new());
    stage.workers[1].is_stuck.store(true, Ordering::SeqCst);
    let drained = stage.client.shutdown(Duration::from_millis(50)).unwrap();
    assert_eq!(drained.pending, [CoreId(1)]);
    stage.control.join().unwrap();
    stage.workers[1].is_stuck.store(false, Ordering::SeqCst);
}

#[test]
fn a_store_that_cannot_be_loaded_fails_the_start() {
    struct Broken;
    impl Store for Broken {
        fn load(&mut self) -> Result<Loaded, StoreError> {
            Err(StoreError::NotADirectory { path: "there".into() })
        }
        fn commit(&mut self, _: &Batch<'_>) -> Result<(), StoreError> {
            unreachable!("never loaded")
        }
        fn describe(&self) -> Description {
            unreachable!("never loaded")
        }
    }
    let (inbox, _reports) = inbox(1).unwrap();
    let parts = Parts {
        certificates: None,
        resolver: None,
        store: Box::new(Broken),
        links: Vec::new(),
        inbox,
        registry: Registry::new(),
        log: None,
        settings: ControlSettings {
            certificate_webhook: None,
            defaults: Default::default(),
            health: ringway_health::Defaults::default(),
            heartbeat_timeout: Duration::from_secs(30),
            hash_key: 0,
            driver: DriverChoice::Auto,
            version: "0",
            commit: "unknown",
        },
        services: Vec::new(),
    };
    assert!(matches!(start(parts), Err(crate::StartError::Store(StoreError::NotADirectory { .. }))));
}

#[test]
fn a_panicking_adapter_refuses_its_change_only() {
    struct Panicking(Memory, AtomicBool);
    impl Store for Panicking {
        fn load(&mut self) -> Result<Loaded, StoreError> {
            self.0.load()
        }
        fn commit(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
            assert!(!self.1.swap(false, Ordering::SeqCst), "on purpose");
            self.0.commit(batch)
        }
        fn describe(&self) -> Description {
            self.0.describe()
        }
    }
    let stage = Stage::new(Panicking(Memory::new(), AtomicBool::new(true)));
    assert!(matches!(stage.submit(register("shop")).unwrap_err(), Refusal::Storage(_)));
    assert_eq!(stage.submit(register("shop")).unwrap().revision, Revision(1));
    stage.end();
}

#[test]
fn metrics_have_the_counters_of_the_control_plane() {
    let stage = Stage::new(Memory::new());
    stage.submit(register("shop")).unwrap();
    let text = stage.client.metrics().unwrap();
    for line in [
        "ringway_config_revision 1",
        "ringway_instances 1",
        "ringway_ready 1",
        "ringway_changes_stored_total 1",
        "ringway_store_batches_total 1",
        "proxy_pool_total_endpoints{pool=\"shop\"} 1",
        "proxy_breaker_state{pool=\"shop\",state=\"closed\"} 1",
        "ringway_core_lagging{core=\"1\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    stage.end();
}

#[test]
fn liveness_is_recent_while_all_threads_make_progress() {
    let stage = Stage::new(Memory::new());
    let before = stage.control.liveness.last();
    stage.until("liveness is recorded", |stage| stage.control.liveness.last() > before);
    assert!(stage.control.liveness.is_recent(PATIENCE));
    assert!(stage.control.liveness.last().0 <= clock::now_micros() / 1000);
    stage.end();
}

// --- Drains
// --------------------------------------------------------------------------------------------------

fn drain(id: &str) -> Change {
    let until = Timestamp(clock::timestamp().0 + 3_600_000);
    Change::DrainInstance { id: InstanceId::parse(id).unwrap(), generation: None, until }
}

fn is_registered(stage: &Stage, id: &str) -> bool {
    stage.client.desired().unwrap().instance(id).is_some()
}

#[test]
fn a_drained_instance_is_removed_with_its_last_request() {
    let stage = Stage::new(Memory::new());
    stage.submit(register("shop")).unwrap();
    stage.until("the cores have it", |stage| stage.workers[0].has_route("shop.test"));
    let in_flight = stage.workers[0].snapshot().endpoint("shop", "shop-1").unwrap().in_flight.clone();
    let request = in_flight.begin(1);
    stage.submit(drain("shop-1")).unwrap();
    stage.until("no core sends to it", |stage| {
        let is_empty = |snapshot: &Snapshot| snapshot.pool_of_app("shop").unwrap().endpoints.is_empty();
        stage.workers.iter().all(|worker| is_empty(&worker.snapshot()))
    });
    let status = stage.client.instance_status(InstanceId::parse("shop-1").unwrap()).unwrap().unwrap();
    assert_eq!((status.state, status.in_flight.requests), (InstanceState::Draining, 1));
    assert!(is_registered(&stage, "shop-1"));
    drop(request);
    stage.until("it is removed", |stage| !is_registered(stage, "shop-1"));
    assert!(in_flight.is_drained(), "open tunnels end with it");
    stage.end();
}

#[test]
fn a_drain_waits_for_a_core_without_its_snapshot() {
    let stage = Stage::new(Memory::new());
    stage.submit(register("shop")).unwrap();
    stage.workers[1].is_stuck.store(true, Ordering::SeqCst);
    // The reply comes at the deadline and names the lagging core, which may still send requests to the
    // instance.
    let receipt = stage.submit(drain("shop-1")).unwrap();
    assert_eq!(receipt.pending, [CoreId(1)]);
    assert!(is_registered(&stage, "shop-1"));
    stage.workers[1].is_stuck.store(false, Ordering::SeqCst);
    stage.until("it is removed", |stage| !is_registered(stage, "shop-1"));
    stage.end();
}

#[test]
fn a_drain_continues_after_a_restart() {
    let memory = Memory::new();
    let stage = Stage::new(memory.clone());
    stage.submit(register("shop")).unwrap();
    stage.until("the cores have it", |stage| stage.workers[0].has_route("shop.test"));
    let in_flight = stage.workers[0].snapshot().endpoint("shop", "shop-1").unwrap().in_flight.clone();
    let _request = in_flight.begin(0);
    stage.submit(drain("shop-1")).unwrap();
    stage.end();
    let stage = Stage::new(memory);
    stage.until("it is removed", |stage| !is_registered(stage, "shop-1"));
    stage.end();
}
