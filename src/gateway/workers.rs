//! Threads of the workers: their parts, their start, and the report of an unexpected end.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use ringway_bridge::{MailboxReceiver, MailboxSender, ReplySender, SlotReceiver, WakeSource, reply};
use ringway_control::{Client, ControlThread, State, WorkerLink};
use ringway_model::{CoreId, limits};
use ringway_net::{Driver, DriverChoice, clock};
use ringway_telemetry::Telemetry;
use ringway_tls::{SecretRequest, SecretUpdate, ServerTls};
use ringway_traffic::report::{Order, Report};
use ringway_traffic::snapshot::Snapshot;
use ringway_worker::{FillWakeups, ForwardSource, ListenerConfig, Rebalancer, SecretSource, SharedCache};

use super::StartError;
use super::forward::Mailboxes;

/// Workers before their start, and the other ends of their channels.
#[derive(Default)]
pub(super) struct Wired {
    pub(super) workers: Vec<WorkerParts>,
    /// Ends of the control thread.
    pub(super) links: Vec<WorkerLink>,
    /// Ends of the certificate loader.
    pub(super) loaders: Vec<MailboxSender<SecretUpdate>>,
    /// Ends of the forward proxy's threads.
    pub(super) forward: Mailboxes,
}

/// Parts of one worker.
pub(super) struct WorkerParts {
    pub(super) core: CoreId,
    pub(super) cpu: Option<usize>,
    pub(super) listeners: Vec<(TcpListener, ListenerConfig)>,
    pub(super) https_port: Option<u16>,
    pub(super) loaded: MailboxReceiver<SecretUpdate>,
    pub(super) snapshots: SlotReceiver<Arc<Snapshot>>,
    pub(super) orders: MailboxReceiver<Order>,
    pub(super) wake: WakeSource,
    pub(super) rebalancer: Option<Rebalancer>,
    pub(super) cache: Option<(SharedCache, FillWakeups)>,
    pub(super) forward: Option<ForwardSource>,
    pub(super) telemetry: Telemetry,
}

/// Parts that all workers share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) driver: DriverChoice,
    pub(super) tls: Arc<ServerTls>,
    pub(super) settings: Arc<ringway_worker::Settings>,
    pub(super) wanted: MailboxSender<SecretRequest>,
    pub(super) resolves: bool,
}

/// Starts all workers, and waits until they serve and have reported to the control thread. Returns their
/// driver.
pub(super) fn start(
    workers: Vec<WorkerParts>,
    common: &Common,
    control: &ControlThread,
    reports: &MailboxSender<Report>,
) -> Result<(Vec<JoinHandle<()>>, Option<Driver>), StartError> {
    let mut threads = Vec::with_capacity(workers.len());
    let mut starts = Vec::with_capacity(workers.len());
    for part in workers {
        let (started, starting) = reply();
        let thread = start_worker(part, common.clone(), control, reports.clone(), started)
            .map_err(StartError::System)?;
        threads.push(thread);
        starts.push(starting);
    }
    let mut driver = None;
    for starting in starts {
        match starting.wait(limits::WORKER_START_TIMEOUT) {
            Ok(Ok(started)) => driver = Some(started),
            Ok(Err(error)) => return Err(StartError::Worker(error)),
            Err(_) => return Err(StartError::Worker(ErrorKind::TimedOut.into())),
        }
    }
    wait_for_cores(&control.client)?;
    Ok((threads, driver))
}

/// Starts a worker on a thread of its own. Sends the result to `started`, and reports an unexpected end to
/// the control plane.
fn start_worker(
    part: WorkerParts,
    common: Common,
    control: &ControlThread,
    reports: MailboxSender<Report>,
    started: ReplySender<io::Result<Driver>>,
) -> io::Result<JoinHandle<()>> {
    let (core, snapshot) = (part.core, control.snapshot.clone());
    let parts = ringway_worker::Parts {
        id: core,
        cpu: part.cpu,
        driver: common.driver,
        listeners: part.listeners,
        https_port: part.https_port,
        tls: Some(common.tls),
        secrets: Some(SecretSource { requests: common.wanted, updates: part.loaded }),
        rebalancer: part.rebalancer,
        cache: part.cache,
        forward: part.forward,
        resolves_hosts: common.resolves,
        snapshot,
        snapshots: part.snapshots,
        orders: part.orders,
        wake: part.wake,
        reports: reports.clone(),
        telemetry: part.telemetry,
        settings: common.settings,
    };
    std::thread::Builder::new().name(format!("worker-{core}")).spawn(move || {
        let started = Cell::new(Some(started));
        let reply = |result| {
            if let Some(started) = started.take() {
                // Fails when the caller has timed out.
                let _ = started.send(result);
            }
        };
        let run = || ringway_worker::run(parts, &|driver| reply(Ok(driver)));
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(core = core.0, %error, "worker stopped by an error");
                reply(Err(error));
                let _ = reports.send(Report::WorkerPanicked { core });
            }
            Err(_) => {
                tracing::error!(core = core.0, "worker panicked and stopped");
                let _ = reports.send(Report::WorkerPanicked { core });
            }
        }
    })
}

/// Waits until the control thread has a report of every core, and the process is ready. Takes microseconds,
/// because the cores have their first snapshot already.
fn wait_for_cores(client: &Client) -> Result<(), StartError> {
    let deadline = clock::now().after(limits::WORKER_START_TIMEOUT);
    loop {
        let status = client.status().map_err(|_| StartError::System(ErrorKind::BrokenPipe.into()))?;
        if status.state != State::Starting {
            return Ok(());
        }
        if clock::now() >= deadline {
            return Err(StartError::Worker(ErrorKind::TimedOut.into()));
        }
        std::thread::yield_now();
    }
}
