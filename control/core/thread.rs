//! The control thread: its start, its loop, its end.
//!
//! ```text
//!  start: load ─► compile ─► publish ─► thread ─► services (the API), health checks ─► loop
//!  loop:  wake-up, or the next deadline ─► reports, calls, the store's answers ─► one turn each
//!  end:   not ready ─► cores drain ─► store closed ─► services dropped ─► thread ends
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::limits::{BLOCKING_THREADS, CHANGES_PER_BATCH_MAX, CHANGES_WAITING_MAX, CONTROL_START_TIMEOUT};
use ringway_bridge::{
    MailboxReceiver, MailboxSender, ReplySender, WakeSource, Waker, mailbox, reply, wake_pair,
};
use ringway_certs::{Certificates, Opened};
use ringway_health::NetProber;
use ringway_model::limits::{DNS_IN_FLIGHT_MAX, REPORTS_MAX};
use ringway_model::{Desired, Tick};
use ringway_net::{Notified, RuntimeOptions, clock, spawn, yield_now};
use ringway_store::{Store, StoreError};
use ringway_telemetry::{LogReading, Registry};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{CertificateVersion, Snapshot};

use crate::certificates::certificate_host::CertificateHost;
use crate::certificates::file_watch;
use crate::client::{Call, Client};
use crate::control::Control;
use crate::discovery::threads::{self, TargetResolver};
use crate::engine::store_thread;
use crate::engine::{ControlSettings, Engine, EngineParts, WorkerLink};
use crate::instances::probe_tls::AppTrust;
use crate::time::Now;

/// Something that runs on the control thread beside the plane, such as the admin API. It is dropped when the plane ends.
pub type Service = Box<dyn FnOnce(Control) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// What the control thread is made of.
pub struct Parts {
    /// Where the configuration is kept; loaded by [`start`].
    pub store: Box<dyn Store>,
    /// The workers, one link each.
    pub links: Vec<WorkerLink>,
    /// What reaches the control thread.
    pub inbox: Inbox,
    /// The counters of all cores, each core added already.
    pub registry: Registry,
    /// Reads what became of the access log, when there is one.
    pub log: Option<Box<dyn Fn() -> LogReading + Send>>,
    /// Certificates, opened; without them none is looked after.
    pub certificates: Option<Opened>,
    /// Who is asked about hosts that nobody registered.
    pub resolver: Option<Arc<dyn TargetResolver>>,
    /// What the operator settled.
    pub settings: ControlSettings,
    /// What else runs on the thread.
    pub services: Vec<Service>,
}

/// The receiving ends of the control thread. Made first, for the workers need the other ends before it starts.
#[derive(Debug)]
pub struct Inbox {
    waker: Waker,
    source: WakeSource,
    reports: MailboxReceiver<Report>,
}

/// Makes an inbox for so many cores, and what the workers report through.
///
/// # Errors
/// The system's, when no file descriptor is left.
pub fn inbox(cores: usize) -> io::Result<(Inbox, MailboxSender<Report>)> {
    let (waker, source) = wake_pair()?;
    let (sender, reports) = mailbox(REPORTS_MAX.saturating_mul(cores.max(1)), waker.clone());
    Ok((Inbox { waker, source, reports }, sender))
}

/// A running control thread.
#[derive(Debug)]
pub struct ControlThread {
    /// To speak with it.
    pub client: Client,
    /// What it published first: the workers begin with it.
    pub snapshot: Arc<Snapshot>,
    /// Whether everything makes progress.
    pub pulse: Pulse,
    thread: JoinHandle<io::Result<()>>,
}

impl ControlThread {
    /// Waits for its end, which [`Client::shutdown`] brings about.
    ///
    /// # Errors
    /// What ended its runtime. A panic of the loop is one, too.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the control thread panicked")))
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// When the control thread and all workers were last known to make progress. Any thread may read it; a watchdog should
/// be fed only while it is young.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(crate) fn beat(&self, now: Tick) {
        // Relaxed: a number that stands for nothing but itself.
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// When it was, on the clock of [`ringway_net::clock::now`].
    pub fn last(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    /// Whether it was less than `age_max` ago. It beats every second at least, and stops
    /// [`CORE_STALL`](crate::limits::CORE_STALL) after a worker did.
    pub fn is_young(&self, age_max: Duration) -> bool {
        clock::now().since(self.last()) < age_max
    }
}

/// Why the control thread did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be used.
    Store(StoreError),
    /// No thread or no runtime can be made.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("the store cannot be used"),
            Self::Thread(_) => f.write_str("the control thread cannot be started"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Thread(error) => Some(error),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Thread(error)
    }
}

/// Loads and compiles the configuration, gives it to the workers, and runs the control plane on a thread of its own.
///
/// Returns when the first snapshot is published and the services have begun. Blocks for as long as loading takes.
///
/// # Errors
/// See [`StartError`].
pub fn start(parts: Parts) -> Result<ControlThread, StartError> {
    let Parts { mut store, links, inbox, registry, log, certificates, resolver, settings, services } = parts;
    let (desired, report) = store.load().map_err(StartError::Store)?.restore();
    for finding in report.findings() {
        tracing::warn!(%finding, "found while the store was opened");
    }
    let description = store.describe();
    let cores = links.iter().map(|link| usize::from(link.core.0) + 1).max().unwrap_or(0);
    let mut compiler = Compiler::new(CompilerSettings {
        hash_key: settings.hash_key,
        cores,
        defaults: settings.defaults.clone(),
    });
    if let Some(opened) = &certificates {
        tell_certificates(&mut compiler, opened, &desired);
    }
    let mut compiled = compiler.compile_all(&desired);
    let first = loop {
        match compiler.commit(compiled) {
            Ok(first) => break first,
            // Nothing else has been published; if it had, compiling again is right.
            Err(_) => compiled = compiler.compile_all(&desired),
        }
    };
    let snapshot = Arc::clone(&first.snapshot);
    let pulse = Pulse::default();
    pulse.beat(clock::now());
    let (calls, calls_receiver) = mailbox(CHANGES_WAITING_MAX, inbox.waker.clone());
    let store = store_thread::start(store, inbox.waker.clone())?;
    let resolver = resolver.map(|resolver| threads::start(resolver, inbox.waker.clone())).transpose()?;
    let options = RuntimeOptions {
        name: "control".to_owned(),
        core: None,
        driver: settings.driver,
        blocking_threads: DNS_IN_FLIGHT_MAX + BLOCKING_THREADS,
    };
    let (begun, beginning) = reply();
    let waker = inbox.waker.clone();
    let thread_pulse = pulse.clone();
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        ringway_net::run(options, |_driver| async move {
            let engine = EngineParts {
                settings,
                desired,
                compiler,
                certificates: certificates.map(Certificates::new),
                resolver,
                first,
                registry,
                log,
                links,
                store,
                description,
                report,
                pulse: thread_pulse,
                waker,
            };
            let control = Control::new(Engine::new(engine, Now::read()));
            drive(control, inbox, calls_receiver, services, begun).await
        })?
    })?;
    if beginning.wait(CONTROL_START_TIMEOUT).is_err() {
        // It ended before it began: its error says why.
        let failure = match thread.is_finished() {
            true => thread.join().unwrap_or_else(|_| Err(io::Error::other("the control thread panicked"))),
            false => Err(io::ErrorKind::TimedOut.into()),
        };
        return Err(StartError::Thread(failure.err().unwrap_or_else(|| io::ErrorKind::Interrupted.into())));
    }
    Ok(ControlThread { client: Client::new(calls), snapshot, pulse, thread })
}

async fn drive(
    control: Control,
    inbox: Inbox,
    calls: MailboxReceiver<Call>,
    services: Vec<Service>,
    begun: ReplySender<()>,
) -> io::Result<()> {
    let Inbox { source, reports, .. } = inbox;
    let mut notified = Notified::new(source.stream()?)?;
    start_health_checks(&control);
    start_certificates(&control);
    spawn(file_watch::watch(control.clone()), |panic| {
        tracing::error!(%panic, "files that apps and domains name are not looked after any more");
    });
    for service in services {
        // A service that panics is gone; the plane goes on, and the watchdog of whoever needs the service decides.
        spawn(service(control.clone()), |panic| {
            tracing::error!(%panic, "a service of the control thread panicked");
        });
    }
    // Whoever started us has given up when this fails; it also dropped our client, so the end is near.
    let _ = begun.send(());
    loop {
        source.rearm();
        for report in reports.drain(REPORTS_PER_TURN_MAX) {
            control.turn(|engine, now| engine.handle_report(report, now));
        }
        for call in calls.drain(CHANGES_PER_BATCH_MAX) {
            call.serve(&control);
        }
        // First what has become due, then what is due next: a turn asks before it acts.
        control.turn(|_, _| ());
        let (deadline, has_ended) = control.turn(|engine, now| (engine.arm(now), engine.has_ended()));
        if has_ended {
            return Ok(());
        }
        if reports.waiting() > 0 || calls.waiting() > 0 {
            yield_now().await;
            continue;
        }
        match notified.wait_until(deadline).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) => return Err(error),
        }
    }
}

/// What the first snapshot says of certificates. Nothing is published yet.
fn tell_certificates(compiler: &mut Compiler, opened: &Opened, desired: &Desired) {
    let versions: Vec<_> = desired
        .domains()
        .filter_map(|domain| Some((domain.name.clone(), Some(CertificateVersion(opened.version(domain)?)))))
        .collect();
    let compiled = [
        compiler.update_certificates(&versions),
        compiler.update_default_certificate(opened.default_version().map(CertificateVersion)),
    ];
    for compiled in compiled.into_iter().flatten() {
        // Nobody else commits: the compiler is not in use yet.
        drop(compiler.commit(compiled));
    }
}

fn start_certificates(control: &Control) {
    let Some(certificates) = control.certificates() else { return };
    let host = CertificateHost::new(control.clone());
    spawn(certificates.run(host), |panic| {
        tracing::error!(%panic, "certificates are not looked after any more");
    });
}

fn start_health_checks(control: &Control) {
    let checker = control.turn(|engine, _| engine.checker().clone());
    let control = control.clone();
    let checks = checker.run(NetProber::trusting(AppTrust::new(control.clone())), move |verdict| {
        control.turn(|engine, now| engine.handle_verdict(&verdict, now));
    });
    spawn(checks, |panic| tracing::error!(%panic, "the health checks ended"));
}

/// Reports between two looks at everything else.
const REPORTS_PER_TURN_MAX: usize = 1_024;
