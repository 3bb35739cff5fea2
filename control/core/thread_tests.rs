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

// --- Kit --------------------------------------------------------------------------------------------------

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
                        Order::HostAbsent { .. }
                        | Order::CredentialsSettled { .. }
                        | Order::PasswordVerified { .. }
                        | Order::ReportSamples => {}
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
struct Harness {
    control: ControlThread,
    client: Client,
    workers: Vec<Worker>,
    reports: MailboxSender<Report>,
}

impl Harness {
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
            ..ControlSettings::default()
        };
        settle(&mut settings);
        let control = start(Parts {
            store: Box::new(store),
            links,
            inbox,
            registry,
            log: None,
            on_event: None,
            certificates: None,
            cache: None,
            resolver: None,
            settings,
            configuration: crate::ConfigurationSettings::default(),
            services,
        })
        .unwrap();
        let client = control.client.clone();
        let harness = Self { control, client, workers, reports };
        harness.until("all cores have a snapshot", |harness| harness.status().state != State::Starting);
        harness
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
        policy: None,
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

// --- Changes ----------------------------------------------------------------------------------------------

#[test]
fn an_acknowledged_change_is_on_disk_and_on_every_core() {
    let memory = Memory::new();
    let harness = Harness::new(memory.clone());
    for n in 1..=20 {
        let receipt = harness.submit(register(&format!("shop{n}"))).unwrap();
        assert_eq!(receipt.outcome, Outcome::Created);
        assert_eq!(receipt.generation, Some(Generation(receipt.revision.0)));
        let host = format!("shop{n}.test");
        // On an overloaded machine a core may be pending, and the receipt does not cover it.
        let acknowledged =
            |core: usize| !receipt.pending.iter().any(|pending| usize::from(pending.0) == core);
        for core in (0..2).filter(|core| acknowledged(*core)) {
            assert!(harness.workers[core].has_route(&host), "core {core} acknowledged it");
        }
        assert_eq!(memory.clone().load().unwrap().revision, receipt.revision, "and it is on disk");
    }
    assert_eq!(harness.client.desired().unwrap().count(Kind::Domain), 20);
    let removed =
        harness.submit(Change::RemoveDomain { name: Hostname::parse("shop3.test").unwrap() }).unwrap();
    assert_eq!(removed.outcome, Outcome::Removed);
    harness.until("it is gone everywhere", |harness| {
        harness.workers.iter().all(|worker| !worker.has_route("shop3.test"))
    });
    harness.end();
}

#[test]
fn the_first_snapshot_has_the_stored_configuration() {
    let memory = Memory::new();
    let harness = Harness::new(memory.clone());
    harness.submit(register("shop")).unwrap();
    harness.end();
    let harness = Harness::new(memory);
    assert!(harness.control.snapshot.virtual_host("shop.test").is_some());
    assert!(harness.workers.iter().all(|worker| worker.has_route("shop.test")));
    let status = harness.status();
    assert_eq!((status.revision, status.counts.instances), (Revision(1), 1));
    assert_eq!(status.state, State::Ready, "{:?}", status.warnings);
    harness.end();
}

#[test]
fn concurrent_changes_share_batches_and_get_their_own_revisions() {
    let (open, gate) = mpsc::channel();
    let store = FaultyStore { gate: Some(gate), ..FaultyStore::new() };
    let harness = Harness::new(store);
    let callers: Vec<_> = (0..40)
        .map(|n| {
            let client = harness.client.clone();
            thread::spawn(move || client.submit(Submission::of(register(&format!("shop{n}")))).unwrap())
        })
        .collect();
    // The store blocks on the first change until all others wait.
    harness.until("all wait", |harness| harness.status().counts.changes_waiting == 40);
    drop(open);
    let revisions: BTreeSet<Revision> =
        callers.into_iter().map(|caller| caller.join().unwrap().revision).collect();
    assert_eq!(revisions, (1..=40).map(Revision).collect());
    let counts = harness.status().counts;
    assert_eq!(counts.changes_stored, 40);
    assert!(counts.batches_stored <= 3, "{} batches", counts.batches_stored);
    harness.end();
}

#[test]
fn a_failing_store_refuses_changes_and_keeps_the_configuration() {
    let store = FaultyStore::new();
    let fails = Arc::clone(&store.fails);
    let harness = Harness::new(store);
    harness.submit(register("before")).unwrap();
    fails.store(true, Ordering::SeqCst);
    let refusal = harness.submit(register("lost")).unwrap_err();
    assert!(matches!(refusal, Refusal::Storage(_)), "{refusal:?}");
    let status = harness.status();
    assert_eq!((status.revision, status.state), (Revision(1), State::Degraded));
    assert!(!status.store.degraded.is_empty());
    assert!(
        harness
            .workers
            .iter()
            .all(|worker| worker.has_route("before.test") && !worker.has_route("lost.test"))
    );
    fails.store(false, Ordering::SeqCst);
    assert_eq!(harness.submit(register("after")).unwrap().revision, Revision(2));
    assert_eq!(harness.status().state, State::Ready);
    harness.end();
}

#[test]
fn a_slow_store_blocks_nothing_else() {
    let (open, gate) = mpsc::channel();
    let memory = Memory::new();
    // An instance is registered before, for the heartbeat below.
    let mut before = FaultyStore { inner: memory.clone(), ..FaultyStore::new() };
    before.load().unwrap();
    let harness = Harness::new(before);
    harness.submit(register("shop")).unwrap();
    harness.end();
    let harness = Harness::new(FaultyStore { inner: memory, gate: Some(gate), ..FaultyStore::new() });
    let client = harness.client.clone();
    let slow = thread::spawn(move || client.submit(Submission::of(register("slow"))).unwrap());
    harness.until("it waits", |harness| harness.status().counts.changes_waiting == 1);
    harness.client.heartbeat(InstanceId::parse("shop-1").unwrap(), None).unwrap();
    assert_eq!(harness.client.desired().unwrap().count(Kind::App), 1, "not in force before it is stored");
    drop(open);
    assert_eq!(slow.join().unwrap().revision, Revision(2));
    harness.end();
}

#[test]
fn a_slow_core_is_pending_and_follows_later() {
    let harness = Harness::new(Memory::new());
    harness.workers[1].is_stuck.store(true, Ordering::SeqCst);
    let receipt = harness.submit(register("shop")).unwrap();
    assert_eq!(receipt.pending, [CoreId(1)]);
    assert!(receipt.applied_in >= APPLY_DEADLINE);
    assert!(harness.workers[0].has_route("shop.test") && !harness.workers[1].has_route("shop.test"));
    let status = harness.status();
    assert_eq!(status.cores[1].state, CoreState::Lagging);
    assert_eq!(status.state, State::Degraded);
    let next = harness.submit(register("next")).unwrap();
    assert_eq!(next.pending, [CoreId(1)]);
    harness.workers[1].is_stuck.store(false, Ordering::SeqCst);
    harness.until("it has caught up", |harness| harness.status().cores[1].state == CoreState::Following);
    assert!(harness.workers[1].has_route("shop.test") && harness.workers[1].has_route("next.test"));
    assert!(harness.submit(register("last")).unwrap().pending.is_empty());
    harness.end();
}

#[test]
fn a_panicked_worker_is_pending_and_a_warning() {
    let harness = Harness::new(Memory::new());
    harness.reports.send(Report::WorkerPanicked { core: CoreId(0) }).unwrap();
    harness.until("it is known", |harness| harness.status().cores[0].state == CoreState::Dead);
    let receipt = harness.submit(register("shop")).unwrap();
    assert_eq!(receipt.pending, [CoreId(0)]);
    assert!(harness.status().warnings.iter().any(|warning| warning.contains("core 0")));
    harness.client.shutdown(PATIENCE).unwrap();
    harness.control.join().unwrap();
}

// --- Instances --------------------------------------------------------------------------------------------

#[test]
fn heartbeats_renew_a_lease_and_missing_ones_deregister() {
    let timeout = Duration::from_secs(2);
    let harness = Harness::with(Memory::new(), |settings| settings.heartbeat_timeout = timeout, Vec::new());
    harness.submit(register("silent")).unwrap();
    harness.submit(register("shop")).unwrap();
    let id = InstanceId::parse("shop-1").unwrap();
    let before = harness.client.instance_status(id.clone()).unwrap().unwrap();
    assert_eq!((before.last_heartbeat, before.lease_expires), (None, None));
    harness.client.heartbeat(id.clone(), None).unwrap();
    let leased = harness.client.instance_status(id.clone()).unwrap().unwrap();
    let (beat, end) = (leased.last_heartbeat.unwrap(), leased.lease_expires.unwrap());
    // The two clocks are read one after the other, and the thread may be suspended in between.
    let is_about = |time: Timestamp, wanted: u64| time.0.abs_diff(wanted) < 500;
    assert!(is_about(end, beat.0 + 2_000), "{beat:?} to {end:?}");
    assert!(is_about(leased.deregisters_at.unwrap(), beat.0 + 4_000), "{leased:?}");
    harness.until("it leaves the rotation", |harness| {
        let status = harness.client.instance_status(id.clone()).unwrap().expect("it is still registered");
        status.health == Health::Unhealthy && status.reason.unwrap().starts_with("no heartbeat for ")
    });
    harness.until("it is gone", |harness| harness.client.instance_status(id.clone()).unwrap().is_none());
    let status = harness.status();
    assert_eq!((status.counts.leases_expired, status.counts.instances), (1, 1));
    assert!(
        harness.client.instance_status(InstanceId::parse("silent-1").unwrap()).unwrap().is_some(),
        "an instance that never sent a heartbeat has no lease"
    );
    for worker in &harness.workers {
        assert!(worker.snapshot().endpoint("shop", "shop-1").is_none(), "gone from every core");
    }
    for refusal in [
        harness.client.heartbeat(id.clone(), None).unwrap_err(),
        harness.submit(Change::RemoveInstance { id: id.clone(), generation: None }).unwrap_err(),
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
    harness.submit(register("shop")).unwrap();
    harness.submit(Change::RemoveInstance { id: id.clone(), generation: None }).unwrap();
    let refusal = harness.client.heartbeat(id, None).unwrap_err();
    assert!(
        matches!(refusal, Refusal::Rejected(Rejection::UnknownInstance(_))),
        "removed on demand: {refusal:?}"
    );
    harness.end();
}

#[test]
fn a_late_message_of_an_old_process_has_no_effect() {
    let harness = Harness::new(Memory::new());
    let old = harness.submit(register("shop")).unwrap().generation.unwrap();
    let id = InstanceId::parse("shop-1").unwrap();
    harness.client.heartbeat(id.clone(), Some(old)).unwrap();
    let new = harness.submit(register("shop")).unwrap().generation.unwrap();
    assert!(new > old);
    let status = harness.client.instance_status(id.clone()).unwrap().unwrap();
    assert_eq!(status.lease_expires, None, "a new registration has not sent a heartbeat");
    for refusal in [
        harness.client.heartbeat(id.clone(), Some(old)).unwrap_err(),
        harness.submit(Change::RemoveInstance { id: id.clone(), generation: Some(old) }).unwrap_err(),
    ] {
        let Refusal::Rejected(Rejection::StaleGeneration { current, .. }) = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(current, new);
    }
    assert_eq!(harness.client.instance_status(id.clone()).unwrap().unwrap().generation, new);
    harness.client.heartbeat(id, Some(new)).unwrap();
    harness.end();
}

#[test]
fn a_named_target_has_addresses_when_its_registration_is_confirmed() {
    let harness = Harness::new(Memory::new());
    let spec = instance("shop-1", "shop", "http://localhost:3000");
    let receipt =
        harness.submit(Change::Register { app: app("shop"), instance: Some(spec), domain: None }).unwrap();
    let is_resolved = |worker: &Worker| {
        worker.snapshot().endpoint("shop", "shop-1").is_some_and(|endpoint| !endpoint.addresses.is_empty())
    };
    if receipt.applied_in < APPLY_DEADLINE {
        assert!(harness.workers.iter().all(is_resolved), "resolved before the reply");
    }
    harness.until("it is resolved", |harness| harness.workers.iter().all(is_resolved));
    for worker in &harness.workers {
        let snapshot = worker.snapshot();
        let endpoint = snapshot.endpoint("shop", "shop-1").unwrap();
        assert!(
            endpoint.addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 3000)
        );
    }
    let id = InstanceId::parse("shop-1").unwrap();
    let status = harness.client.instance_status(id).unwrap().unwrap();
    assert!(!status.addresses.is_empty());
    assert_eq!(harness.status().revision, Revision(1), "addresses create no revision");
    harness.end();
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
    let harness = Harness::with(Memory::new(), settle, Vec::new());
    let spec = instance("shop-1", "shop", &target);
    harness.submit(Change::Register { app: app("shop"), instance: Some(spec), domain: None }).unwrap();
    let id = InstanceId::parse("shop-1").unwrap();
    let health = |harness: &Harness| harness.client.instance_status(id.clone()).unwrap().unwrap().health;
    harness.until("it is healthy", |harness| health(harness) == Health::Healthy);
    let seen = harness.workers[0].snapshot();
    let state = &seen.endpoint("shop", "shop-1").unwrap().state;
    assert_eq!(state.health(), Health::Healthy);
    drop(listener);
    harness.until("it is unhealthy", |harness| health(harness) == Health::Unhealthy);
    assert_eq!(state.health(), Health::Unhealthy, "visible in an earlier snapshot");
    let status = harness.client.instance_status(id).unwrap().unwrap();
    assert!(status.reason.is_some() && status.streak >= 3 && status.last_checked.is_some(), "{status:?}");
    assert_eq!(harness.status().unhealthy, 1);
    assert_eq!(harness.status().revision, Revision(1), "no revision was created");
    let warnings = harness.status().warnings;
    let begin = "no instance of app shop is healthy: shop-1: connection refused, ";
    let end = " in a row; requests are refused (on_all_unhealthy: reject)";
    assert!(
        warnings.iter().any(|warning| warning.starts_with(begin) && warning.ends_with(end)),
        "{warnings:?}"
    );
    assert_eq!(harness.status().state, State::Ready, "an outage of an app does not degrade the process");
    harness.end();
}

// --- The process ------------------------------------------------------------------------------------------

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
    let harness = Harness::with(Memory::new(), |_| {}, vec![panicking, working]);
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), (Some(Revision(1)), Revision(1)));
    assert_eq!(harness.submit(register("other")).unwrap().revision, Revision(2));
    harness.end();
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
    let harness = Harness::with(Memory::new(), |_| {}, vec![gone]);
    harness.until("it is stored", |harness| harness.status().revision == Revision(1));
    harness.until("it has its reply", |harness| harness.status().counts.changes_waiting == 0);
    harness.end();
}

#[test]
fn shutdown_drains_closes_and_refuses() {
    let store = FaultyStore::new();
    let is_closed = Arc::clone(&store.is_closed);
    let harness = Harness::new(store);
    harness.submit(register("shop")).unwrap();
    harness.workers[1].is_stuck.store(true, Ordering::SeqCst);
    let client = harness.client.clone();
    let ending = thread::spawn(move || client.shutdown(PATIENCE));
    harness.until("it drains", |harness| harness.status().state == State::Draining);
    let refusal = harness.submit(register("late")).unwrap_err();
    assert!(matches!(refusal, Refusal::ShuttingDown), "{refusal:?}");
    assert!(!is_closed.load(Ordering::SeqCst), "not before the cores have ended");
    harness.workers[1].is_stuck.store(false, Ordering::SeqCst);
    assert!(ending.join().unwrap().unwrap().pending.is_empty());
    harness.control.join().unwrap();
    assert!(is_closed.load(Ordering::SeqCst));
    assert!(matches!(harness.client.status().unwrap_err(), Refusal::ShuttingDown));
}

#[test]
fn shutdown_waits_for_a_core_until_the_deadline_only() {
    let harness = Harness::new(Memory::new());
    harness.workers[1].is_stuck.store(true, Ordering::SeqCst);
    let drained = harness.client.shutdown(Duration::from_millis(50)).unwrap();
    assert_eq!(drained.pending, [CoreId(1)]);
    harness.control.join().unwrap();
    harness.workers[1].is_stuck.store(false, Ordering::SeqCst);
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
        cache: None,
        resolver: None,
        store: Box::new(Broken),
        links: Vec::new(),
        inbox,
        registry: Registry::new(),
        log: None,
        on_event: None,
        configuration: crate::ConfigurationSettings::default(),
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
    let harness = Harness::new(Panicking(Memory::new(), AtomicBool::new(true)));
    assert!(matches!(harness.submit(register("shop")).unwrap_err(), Refusal::Storage(_)));
    assert_eq!(harness.submit(register("shop")).unwrap().revision, Revision(1));
    harness.end();
}

#[test]
fn metrics_have_the_counters_of_the_control_plane() {
    let harness = Harness::new(Memory::new());
    harness.submit(register("shop")).unwrap();
    let text = harness.client.metrics().unwrap();
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
    harness.end();
}

#[test]
fn liveness_is_recent_while_all_threads_make_progress() {
    let harness = Harness::new(Memory::new());
    let before = harness.control.liveness.last();
    harness.until("liveness is recorded", |harness| harness.control.liveness.last() > before);
    assert!(harness.control.liveness.is_recent(PATIENCE));
    assert!(harness.control.liveness.last().0 <= clock::now_micros() / 1000);
    harness.end();
}

// --- Drains -----------------------------------------------------------------------------------------------

fn drain(id: &str) -> Change {
    let until = Timestamp(clock::timestamp().0 + 3_600_000);
    Change::DrainInstance { id: InstanceId::parse(id).unwrap(), generation: None, until }
}

fn is_registered(harness: &Harness, id: &str) -> bool {
    harness.client.desired().unwrap().instance(id).is_some()
}

#[test]
fn a_drained_instance_is_removed_with_its_last_request() {
    let harness = Harness::new(Memory::new());
    harness.submit(register("shop")).unwrap();
    harness.until("the cores have it", |harness| harness.workers[0].has_route("shop.test"));
    let in_flight = harness.workers[0].snapshot().endpoint("shop", "shop-1").unwrap().in_flight.clone();
    let request = in_flight.begin(1);
    harness.submit(drain("shop-1")).unwrap();
    harness.until("no core sends to it", |harness| {
        let is_empty = |snapshot: &Snapshot| snapshot.pool_of_app("shop").unwrap().endpoints.is_empty();
        harness.workers.iter().all(|worker| is_empty(&worker.snapshot()))
    });
    let status = harness.client.instance_status(InstanceId::parse("shop-1").unwrap()).unwrap().unwrap();
    assert_eq!((status.state, status.in_flight.requests), (InstanceState::Draining, 1));
    assert!(is_registered(&harness, "shop-1"));
    drop(request);
    harness.until("it is removed", |harness| !is_registered(harness, "shop-1"));
    assert!(in_flight.is_drained(), "open tunnels end with it");
    harness.end();
}

#[test]
fn a_drain_waits_for_a_core_without_its_snapshot() {
    let harness = Harness::new(Memory::new());
    harness.submit(register("shop")).unwrap();
    harness.workers[1].is_stuck.store(true, Ordering::SeqCst);
    // The reply comes at the deadline and names the lagging core, which may still send requests to the
    // instance.
    let receipt = harness.submit(drain("shop-1")).unwrap();
    assert_eq!(receipt.pending, [CoreId(1)]);
    assert!(is_registered(&harness, "shop-1"));
    harness.workers[1].is_stuck.store(false, Ordering::SeqCst);
    harness.until("it is removed", |harness| !is_registered(harness, "shop-1"));
    harness.end();
}

#[test]
fn a_drain_continues_after_a_restart() {
    let memory = Memory::new();
    let harness = Harness::new(memory.clone());
    harness.submit(register("shop")).unwrap();
    harness.until("the cores have it", |harness| harness.workers[0].has_route("shop.test"));
    let in_flight = harness.workers[0].snapshot().endpoint("shop", "shop-1").unwrap().in_flight.clone();
    let _request = in_flight.begin(0);
    harness.submit(drain("shop-1")).unwrap();
    harness.end();
    let harness = Harness::new(memory);
    harness.until("it is removed", |harness| !is_registered(harness, "shop-1"));
    harness.end();
}
