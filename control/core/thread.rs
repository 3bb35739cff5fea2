//! The control thread: start, loop and end.
//!
//! ```text
//!  start: load ─► compile ─► publish ─► thread ─► services (the API), health checks ─► loop
//!  loop:  wake-up, or the next deadline ─► reports, calls, events of the store ─► one turn each
//!  end:   not ready ─► cores drain ─► store closed ─► services dropped ─► thread ends
//! ```

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::limits::{BLOCKING_THREADS, CHANGES_PER_BATCH_MAX, CHANGES_WAITING_MAX, CONTROL_START_TIMEOUT};
use ringway_bridge::{
    MailboxReceiver, MailboxSender, ReplySender, SlotReceiver, WakeSource, Waker, mailbox, reply, wake_pair,
};
use ringway_certs::{Certificates, Opened};
use ringway_config::Finding;
use ringway_health::NetProber;
use ringway_model::limits::{DNS_IN_FLIGHT_MAX, REPORTS_MAX};
use ringway_model::{Delta, Desired};
use ringway_net::{Notified, RuntimeOptions, clock, spawn, yield_now};
use ringway_store::{Batch, Store, StoreError};
use ringway_telemetry::{LogReading, Registry};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::pattern::Patterns;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{CertificateVersion, Snapshot};

use crate::certificates::certificate_host::CertificateHost;
use crate::certificates::file_watch;
use crate::client::{Call, Client};
use crate::configuration::{self, ConfigClient, ConfigurationLink, ConfigurationSettings, Notice, Started};
use crate::control::Control;
use crate::discovery::TargetResolver;
use crate::discovery::threads;
use crate::engine::store_thread;
use crate::engine::{Engine, EngineParts, WorkerLink};
use crate::error_chain::with_causes;
use crate::instances::probe_tls::AppProbeTls;
use crate::liveness::Liveness;
use crate::own_event::EventHook;
use crate::settings::ControlSettings;
use crate::time::Now;
use crate::trial::probation::Probation;

/// Service on the control thread, such as the admin API. It is dropped when the control plane ends.
pub type Service = Box<dyn FnOnce(Control) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Components of the control thread.
pub struct Parts {
    /// Store of the configuration; loaded by [`start`].
    pub store: Box<dyn Store>,
    /// Workers, one link each.
    pub links: Vec<WorkerLink>,
    /// Receiving ends of the control thread.
    pub inbox: Inbox,
    /// Counters of all cores, with each core added.
    pub registry: Registry,
    /// Reads the state of the access log, if there is one.
    pub log: Option<Box<dyn Fn() -> LogReading + Send>>,
    /// Called for what no client has ordered, for example to record it.
    pub on_event: Option<EventHook>,
    /// The opened certificate component; without it there are no certificates.
    pub certificates: Option<Opened>,
    /// Store of responses; without it no route has a cache.
    pub cache: Option<Arc<ringway_cache::Store>>,
    /// External source of targets for hosts that are not registered.
    pub resolver: Option<Arc<dyn TargetResolver>>,
    /// Settings of the operator.
    pub settings: ControlSettings,
    /// Source of the operator's routes, pools and policies.
    pub configuration: ConfigurationSettings,
    /// Further services on the thread.
    pub services: Vec<Service>,
}

/// Receiving ends of the control thread, created before it: the workers need the sending ends.
#[derive(Debug)]
pub struct Inbox {
    waker: Waker,
    source: WakeSource,
    reports: MailboxReceiver<Report>,
}

/// Creates the inbox for `cores` cores, and the sender of the workers' reports.
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
    /// Handle for other threads.
    pub client: Client,
    /// First published snapshot, with which the workers start.
    pub snapshot: Arc<Snapshot>,
    /// Liveness of the control thread and of all workers.
    pub liveness: Liveness,
    thread: JoinHandle<io::Result<()>>,
}

impl ControlThread {
    /// Waits for its end, which [`Client::shutdown`] causes.
    ///
    /// # Errors
    /// The error or panic that ended its runtime.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the control thread panicked")))
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Error of the start of the control thread.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be used.
    Store(StoreError),
    /// The operator's documents name what does not exist: one finding each.
    Configuration(Vec<Finding>),
    /// The thread or its runtime cannot be created.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(_) => f.write_str("the store cannot be used"),
            Self::Configuration(findings) => {
                f.write_str("the configuration has mistakes")?;
                findings.iter().try_for_each(|finding| write!(f, "\n{finding}"))
            }
            Self::Thread(_) => f.write_str("the control thread cannot be started"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Store(error) => Some(error),
            Self::Configuration(_) => None,
            Self::Thread(error) => Some(error),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Thread(error)
    }
}

/// Loads and compiles the configuration, publishes it to the workers, and runs the control plane on its own
/// thread.
///
/// Returns when the first snapshot is published and the services have started. Blocks while the store is
/// loaded.
///
/// # Errors
/// See [`StartError`].
pub fn start(parts: Parts) -> Result<ControlThread, StartError> {
    let Parts {
        mut store,
        links,
        inbox,
        registry,
        log,
        on_event,
        certificates,
        cache,
        resolver,
        settings,
        configuration,
        services,
    } = parts;
    let (stored, report) = store.load().map_err(StartError::Store)?.restore();
    for finding in report.findings() {
        tracing::warn!(%finding, "store opened with a finding");
    }
    let mut probation = Probation::open(store.describe().path.as_deref());
    // The check of the documents and the compiler share the compiled patterns.
    let patterns = Patterns::default();
    let of_routes = (settings.defaults.clone(), patterns.clone());
    let configuration =
        configuration::prepare(stored, configuration, of_routes, &mut probation, clock::timestamp())
            .map_err(StartError::Configuration)?;
    // Before anything is served: a crash must find this start counted.
    if let Err(error) = probation.save() {
        tracing::warn!(%error, "probation of the configuration not saved");
    }
    let unsaved = store_configuration(&mut *store, &configuration);
    let reserved = configuration.reserved();
    let desired = configuration.desired.clone();
    let description = store.describe();
    let cores = links.iter().map(|link| usize::from(link.core.0) + 1).max().unwrap_or(0);
    let mut compiler = Compiler::new(CompilerSettings {
        hash_key: settings.hash_key,
        bucket_secret: settings.bucket_secret.clone(),
        cores,
        defaults: settings.defaults.clone(),
        patterns,
    });
    if let Some(opened) = &certificates {
        compile_certificates(&mut compiler, opened, &desired);
    }
    let mut compiled = compiler.compile_all(&desired);
    let first = loop {
        match compiler.commit(compiled) {
            Ok(first) => break first,
            // Cannot be outdated here: nothing else was published. Compiling again is right in any case.
            Err(_) => compiled = compiler.compile_all(&desired),
        }
    };
    let snapshot = Arc::clone(&first.snapshot);
    let liveness = Liveness::default();
    liveness.record(clock::now());
    let (calls, calls_receiver) = mailbox(CHANGES_WAITING_MAX, inbox.waker.clone());
    let store = store_thread::start(store, unsaved, inbox.waker.clone())?;
    let plane = Arc::new(Client::new(calls.clone()));
    let configuration = configuration::start(plane, configuration, inbox.waker.clone())?;
    let resolver = resolver.map(|resolver| threads::start(resolver, inbox.waker.clone())).transpose()?;
    let options = RuntimeOptions {
        name: "control".to_owned(),
        core: None,
        driver: settings.driver,
        blocking_threads: DNS_IN_FLIGHT_MAX + BLOCKING_THREADS,
    };
    let (started, start) = reply();
    let waker = inbox.waker.clone();
    let thread_liveness = liveness.clone();
    let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        ringway_net::run(options, |_driver| async move {
            let engine = EngineParts {
                settings,
                desired,
                reserved,
                compiler,
                certificates: certificates.map(Certificates::new),
                cache,
                resolver,
                first,
                registry,
                log,
                on_event,
                links,
                store,
                description,
                report,
                probation,
                liveness: thread_liveness,
                waker,
            };
            let ConfigurationLink { channels, notices } = configuration;
            let control = Control::new(Engine::new(engine, Now::read()), ConfigClient::new(channels));
            drive(control, inbox, calls_receiver, notices, services, started).await
        })?
    })?;
    if start.wait(CONTROL_START_TIMEOUT).is_err() {
        // The thread ended during its start; its result has the reason.
        let failure = match thread.is_finished() {
            true => thread.join().unwrap_or_else(|_| Err(io::Error::other("the control thread panicked"))),
            false => Err(io::ErrorKind::TimedOut.into()),
        };
        return Err(StartError::Thread(failure.err().unwrap_or_else(|| io::ErrorKind::Interrupted.into())));
    }
    Ok(ControlThread { client: Client::new(calls), snapshot, liveness, thread })
}

async fn drive(
    control: Control,
    inbox: Inbox,
    calls: MailboxReceiver<Call>,
    notices: SlotReceiver<Notice>,
    services: Vec<Service>,
    started: ReplySender<()>,
) -> io::Result<()> {
    let Inbox { source, reports, .. } = inbox;
    let mut notified = Notified::new(source.stream()?)?;
    start_health_checks(&control);
    start_certificates(&control);
    spawn(file_watch::watch(control.clone()), |panic| {
        tracing::error!(%panic, "file watch task panicked; named files are not checked");
    });
    for service in services {
        // The control plane continues without a service that panicked.
        spawn(service(control.clone()), |panic| {
            tracing::error!(%panic, "service of the control thread panicked and ended");
        });
    }
    // Fails after the start has timed out; its caller has dropped the client as well, and the process is
    // about to end.
    let _ = started.send(());
    loop {
        source.rearm();
        for report in reports.drain(REPORTS_PER_TURN_MAX) {
            control.turn(|engine, now| engine.handle_report(report, now));
        }
        for call in calls.drain(CHANGES_PER_BATCH_MAX) {
            call.run(&control);
        }
        if let Some(notice) = notices.take() {
            control.turn(|engine, _| engine.handle_configuration_notice(notice));
        }
        control.configuration().advance(clock::now());
        // One turn for the work that is due, then the next deadline: a turn runs its event before that work.
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

/// Stores the differences that the documents of the start make. Returns those that could not be stored.
fn store_configuration(store: &mut dyn Store, configuration: &Started) -> Vec<Delta> {
    let Started { desired, deltas, .. } = configuration;
    if deltas.is_empty() {
        return Vec::new();
    }
    match store.commit(&Batch { revision: desired.revision(), deltas }) {
        Ok(()) => Vec::new(),
        Err(error) => {
            tracing::warn!(
                error = %with_causes(&error),
                "the configuration is in force and could not be stored; it is stored with the next change"
            );
            deltas.clone()
        }
    }
}

/// Adds the certificate versions to the first snapshot, before it is published.
fn compile_certificates(compiler: &mut Compiler, opened: &Opened, desired: &Desired) {
    let versions: Vec<_> = desired
        .domains()
        .filter_map(|domain| Some((domain.name.clone(), Some(CertificateVersion(opened.version(domain)?)))))
        .collect();
    let compiled = [
        compiler.update_certificates(&versions),
        compiler.update_default_certificate(opened.default_version().map(CertificateVersion)),
    ];
    for compiled in compiled.into_iter().flatten() {
        // Cannot be outdated: the compiler is not in use yet.
        drop(compiler.commit(compiled));
    }
}

fn start_certificates(control: &Control) {
    let Some(certificates) = control.certificates() else { return };
    let host = CertificateHost::new(control.clone());
    spawn(certificates.run(host), |panic| {
        tracing::error!(%panic, "certificate task panicked; renewal stopped");
    });
}

fn start_health_checks(control: &Control) {
    let checker = control.turn(|engine, _| engine.instances().checker().clone());
    let control = control.clone();
    let prober = NetProber::with_tls(AppProbeTls::new(control.clone()));
    let checks = checker.run(prober, move |change| {
        control.turn(|engine, now| engine.handle_health_change(&change, now));
    });
    spawn(checks, |panic| tracing::error!(%panic, "health check task panicked; health checks stopped"));
}

/// Reports handled before calls and deadlines get their turn.
const REPORTS_PER_TURN_MAX: usize = 1_024;
