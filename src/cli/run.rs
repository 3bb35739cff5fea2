//! `ringway run`: starts the gateway from the settings, supervises it, and drains it.
//!
//! ```text
//! settings ─► log ─► signals ─► limits ─► store ─► Gateway ─► ready ─► watchdog … SIGTERM ─► drain ─► 0
//! ```

use std::error::Error;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use ringway::model::ForwardSpec;
use ringway::store::{Fjall, Memory, Store, StoreError};
use ringway::telemetry::{LogHandle, LogSink};
use ringway::{
    Admin, AdminSettings, AuditLog, Builder, ConfigurationSettings, ControlSettings, DataSettings,
    ForwardProxy, Gateway, Handle, Listener, Policy, StartError, TlsSettings, UnixSocket,
};

use ringway_wire::h1::Limits as HeadLimits;

use super::capacity::{Capacity, raise_file_limit};
use super::config::{ListedListener, Protocol, Settings};
use super::configuration::{self, Loaded};
use super::flags::Flags;
use super::parse::{self, Output, Storage};
use super::ready::Ready;
use super::reloads::Reloads;
use super::resolver::HttpResolver;
use super::signals::{self, Event};
use super::sockets::{self, Inherited, SocketError};
use super::{FAILED, OK, USAGE, check, files, logging, notify, version};

/// Runs until a signal stops it. `small_pages`: result of the request for them.
pub(crate) fn run(flags: &Flags, small_pages: io::Result<()>) -> ExitCode {
    let started = Instant::now();
    let inherited = sockets::take();
    let Loaded { reading, configuration, forward } = configuration::load(flags);
    let settings = match reading.outcome {
        Ok(settings) => settings,
        Err(problems) => {
            logging::report_failure(&check::problem_report(&problems));
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = logging::start(&settings) {
        let output = parse::output_word(&settings.log_output);
        logging::report_failure(&format!("cannot write the log to {output}: {error}"));
        return ExitCode::from(FAILED);
    }
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = small_pages {
        tracing::warn!(%error, "huge pages cannot be disabled; idle connections may take more memory");
    }
    let output = settings.log_output.clone();
    match serve(settings, (configuration, forward), inherited, started) {
        Ok(()) => ExitCode::from(OK),
        Err(failure) => {
            let message = failure.message();
            tracing::error!("{message}");
            if output != Some(Output::Stderr) {
                logging::report_failure(&message);
            }
            ExitCode::from(failure.exit())
        }
    }
}

/// Error that ends the process.
#[derive(Debug)]
enum Failure {
    Signals(io::Error),
    Sockets(SocketError),
    Store(StoreError),
    AccessLog(PathBuf, io::Error),
    ApiSocket(PathBuf, io::Error),
    /// A socket for TLS was passed, without a source of certificates.
    SocketWithoutTls,
    Start(StartError),
    /// The control plane ended before the shutdown.
    Lost(ringway::Refusal),
}

fn serve(
    settings: Settings,
    (configuration, forward): (ConfigurationSettings, Option<Arc<ForwardSpec>>),
    inherited: Result<Inherited, SocketError>,
    started: Instant,
) -> Result<(), Failure> {
    let events = signals::start().map_err(Failure::Signals)?;
    let inherited = inherited.map_err(Failure::Sockets)?;
    let capacity = raise_file_limit(&settings);
    let drain_timeout = settings.drain_timeout;
    let api_socket = settings.api_socket.clone();
    let path = configuration.path.clone();
    let dns = settings.dns_resolver;
    let mut builder = builder(settings, inherited, capacity)?.configuration(configuration);
    if let Some(spec) = forward {
        builder = builder.forward(ForwardProxy { spec, dns });
    }
    let gateway = builder.spawn().map_err(Failure::Start)?;
    let reloads = path
        .map(|path| Reloads::start(gateway.client(), gateway.forward().cloned().map(|link| (link, path))))
        .transpose()
        .map_err(Failure::Signals)?;

    let ready = Ready::of(&gateway, api_socket);
    ready.print();
    ready.log();
    tracing::debug!(start_ms = started.elapsed().as_secs_f64() * 1000.0, "started");
    notify::ready(&ready.summary());

    let signal = supervise(&gateway, &events, reloads.as_ref());
    shut_down(gateway, signal, drain_timeout)
}

/// Builds the gateway from the settings.
fn builder(settings: Settings, inherited: Inherited, capacity: Capacity) -> Result<Builder, Failure> {
    let store: Box<dyn Store> = match settings.storage {
        Storage::Memory => {
            tracing::info!("registrations are kept in memory only; a restart loses them");
            Box::new(Memory::new())
        }
        Storage::Fjall => {
            tracing::info!(path = %settings.db_path.display(), "opening the store of registrations");
            Box::new(Fjall::open(&settings.db_path).map_err(Failure::Store)?)
        }
    };
    let data = DataSettings {
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        drain_timeout: settings.drain_timeout,
        connections_max: capacity.connections,
        connection_files_max: capacity.connection_files,
        policy: Policy {
            connect_timeout: settings.connect_timeout,
            response_head_timeout: settings.response_head_timeout,
            body_progress_timeout: settings.body_progress_timeout,
            stream_idle_timeout: settings.stream_idle_timeout,
            body_rate_min: settings.body_rate_min,
            tunnel_idle_timeout: match settings.stream_idle_timeout {
                Duration::MAX => ringway_model::limits::TUNNEL_IDLE_TIMEOUT,
                limit => limit,
            },
            body_bytes_max: settings.body_bytes_max,
            ..Policy::default()
        },
        trusted_proxies: settings.trusted_proxies,
        unavailable_status: settings.unavailable_status,
        via: settings.via,
        public_health: settings.public_health,
        handshake_rate_per_client: settings.handshake_rate,
        sticky_key: sticky_key(),
        heads: HeadLimits {
            uri_bytes_max: settings.heads.uri_bytes_max,
            head_bytes_max: settings.heads.bytes_max,
            fields_max: settings.heads.fields_max,
        },
        ..DataSettings::default()
    };
    let mut control = ControlSettings {
        heartbeat_timeout: settings.heartbeat_timeout,
        driver: settings.driver,
        version: version::VERSION,
        commit: version::COMMIT,
        ..ControlSettings::default()
    };
    if let Ok(id) = std::fs::read(MACHINE_ID) {
        control.bucket_secret = id.into();
    }
    if let Some(limit) = &settings.rate_limit {
        tracing::info!(
            requests = limit.requests,
            per = ?limit.per,
            burst = limit.burst,
            "each client is limited to this rate over all routes without a rate limit of their own"
        );
    }
    control.defaults.rate_limit = settings.rate_limit;
    control.certificate_webhook = settings.certificate_webhook;
    control.health.interval = settings.health_interval;
    control.health.timeout = settings.health_timeout;

    let mut unix: Vec<UnixSocket> = inherited.api_unix.into_iter().map(UnixSocket::from).collect();
    if let Some(path) = settings.api_socket {
        unix.push(ringway::bind_unix(&path).map_err(|error| Failure::ApiSocket(path, error))?);
    }
    for address in inherited.api.iter().filter_map(|socket| socket.local_addr().ok()) {
        settings
            .api_access
            .check_bind(address)
            .map_err(|error| Failure::Start(StartError::OpenAdmin(error)))?;
    }
    let audit = settings.audit_log.map(AuditLog::start).transpose().map_err(StartError::System);
    let audit = audit.map_err(Failure::Start)?;
    let admin = Admin {
        // Sockets that were passed replace those that would be opened.
        addresses: if inherited.api.is_empty() { settings.api } else { Vec::new() },
        sockets: inherited.api,
        unix,
        metrics: settings.metrics,
        settings: AdminSettings { access: settings.api_access, audit, ..AdminSettings::default() },
    };
    // Sockets that were passed replace those that would be opened, the list of the configuration too.
    let is_passed = !inherited.http.is_empty() || !inherited.https.is_empty();
    let http = if inherited.http.is_empty() { settings.http } else { Vec::new() };
    let http =
        settings.listener_limits.apply(Listener::http(http).sockets(inherited.http).mode(settings.http_mode));
    let mut builder = Gateway::builder()
        .workers(settings.workers)
        .driver(settings.driver)
        .listen(http)
        .proxy_protocol(settings.proxy_protocol)
        .admin(admin)
        .store(store)
        .data(data)
        .control(control)
        .cache(settings.cache);
    if let Some(url) = settings.resolver {
        builder = builder.resolver(Arc::new(HttpResolver::new(url)));
    }
    if let Some(tls) = settings.tls {
        let https = if inherited.https.is_empty() { tls.https } else { Vec::new() };
        let https = Listener::https(https).sockets(inherited.https);
        builder = builder
            .listen(settings.listener_limits.apply(https))
            .tls(TlsSettings { modern: tls.modern })
            .certificates(tls.certificates);
    } else if !inherited.https.is_empty() {
        return Err(Failure::SocketWithoutTls);
    }
    let listed = settings.listeners.into_iter().filter(|_| !is_passed);
    builder = listed.map(public_listener).fold(builder, Builder::listen);
    if let Some(output) = settings.access_log {
        let (sink, path) = match output {
            Output::Stdout => (LogSink::Stdout, PathBuf::from("stdout")),
            Output::Stderr => (LogSink::Stderr, PathBuf::from("stderr")),
            Output::File(path) => (LogSink::File(path.clone()), path),
        };
        let log =
            LogHandle::start(sink, settings.log_format).map_err(|error| Failure::AccessLog(path, error))?;
        let log = log.fields(settings.access_log_fields);
        builder = builder.access_log(log);
    }
    Ok(builder)
}

/// A listener of the configuration's list.
fn public_listener(listed: ListedListener) -> Listener {
    let listener = match listed.protocol {
        Protocol::Http(mode) => Listener::http(listed.addresses).mode(mode),
        Protocol::Https => Listener::https(listed.addresses),
    };
    listed.limits.apply(listener)
}

/// Feeds the watchdog and handles signals; returns the signal that stops the process.
fn supervise(gateway: &Handle, events: &Receiver<Event>, reloads: Option<&Reloads>) -> i32 {
    let interval = notify::watchdog_interval().unwrap_or(SUPERVISION_INTERVAL);
    let mut was_alive = true;
    loop {
        match events.recv_timeout(interval) {
            Ok(Event::Stop(signal)) => return signal,
            Ok(Event::Reload) => {
                files::reopen_all();
                gateway.reopen_access_log();
                tracing::info!("log files reopened");
                if let Some(reloads) = reloads {
                    reloads.request();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The signal thread ends with the process only; otherwise drain as after a signal.
            Err(RecvTimeoutError::Disconnected) => return signal_hook::consts::SIGTERM,
        }
        let is_alive = gateway.is_alive();
        if is_alive {
            notify::alive();
        }
        if is_alive != was_alive {
            was_alive = is_alive;
            if is_alive {
                tracing::info!("all threads make progress again");
                notify::status("ready");
            } else {
                tracing::error!(
                    "a thread makes no progress; `ringway status` names it, and a service manager's watchdog restarts ringway"
                );
                notify::status("a thread makes no progress");
            }
        }
    }
}

/// Drains and stops the gateway. Feeds the service manager's watchdog meanwhile, for the longest time this
/// may take.
fn shut_down(gateway: Handle, signal: i32, drain_timeout: Duration) -> Result<(), Failure> {
    tracing::info!(
        signal = signals::name(signal),
        timeout_s = drain_timeout.as_secs_f64(),
        "draining: requests in flight finish first"
    );
    notify::stopping("draining");
    let (ended, ending) = bounded::<()>(0);
    let feeder = notify::watchdog_interval().and_then(|interval| {
        let beats = (drain_timeout + SHUTDOWN_TIME_MAX).as_millis() / interval.as_millis().max(1);
        let feed = move || {
            for _ in 0..=beats {
                notify::alive();
                if ending.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("ringway-watchdog".into()).spawn(feed).ok()
    });
    let drained = gateway.shutdown(drain_timeout);
    drop(ended);
    if let Some(feeder) = feeder {
        let _ = feeder.join();
    }
    match drained.map_err(Failure::Lost)? {
        true => tracing::info!("stopped; every request was finished"),
        false => tracing::warn!("stopped; connections beyond the drain timeout were closed"),
    }
    Ok(())
}

/// Id of the machine: random, the same after every restart, and not known outside of the machine.
const MACHINE_ID: &str = "/etc/machine-id";

/// Key of sticky sessions: the same after every restart on this machine, for clients to return to their
/// instances, and hard to guess from outside. 0 where the machine has no ID.
fn sticky_key() -> u64 {
    let Ok(id) = std::fs::read(MACHINE_ID) else { return 0 };
    let mut hasher = DefaultHasher::new();
    ("ringway sticky", id).hash(&mut hasher);
    hasher.finish()
}

impl Failure {
    /// Exit code of the process.
    fn exit(&self) -> u8 {
        match self {
            Self::Start(StartError::Control(ringway_control::StartError::Configuration(_))) => USAGE,
            _ => FAILED,
        }
    }

    /// Chain of causes, and a remedy where one is known.
    fn message(&self) -> String {
        let mut text = ringway_control::with_causes(self);
        if let Some(advice) = self.advice() {
            text.push_str("; ");
            text.push_str(&advice);
        }
        text
    }

    fn advice(&self) -> Option<String> {
        match self {
            Self::Start(StartError::Bind { address, error }) => match error.kind() {
                io::ErrorKind::PermissionDenied => Some(check::privileged_port(address.port())),
                io::ErrorKind::AddrInUse => {
                    Some(format!("`ss -ltnp 'sport = :{}'` names the process", address.port()))
                }
                io::ErrorKind::AddrNotAvailable => Some(
                    "this machine does not have that address; see PROXY_HTTP_BIND and PROXY_API_BIND"
                        .to_owned(),
                ),
                _ => None,
            },
            // Errors of the store bring their own advice.
            Self::Start(_)
            | Self::Store(_)
            | Self::Signals(_)
            | Self::Sockets(_)
            | Self::AccessLog(..)
            | Self::ApiSocket(..)
            | Self::SocketWithoutTls
            | Self::Lost(_) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals(_) => f.write_str("cannot install signal handlers"),
            Self::Sockets(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::AccessLog(path, _) => write!(f, "cannot write the access log to {}", path.display()),
            Self::ApiSocket(path, _) => write!(f, "cannot create the API's socket {}", path.display()),
            Self::SocketWithoutTls => f.write_str(
                "the service manager passed a socket named `https`, but there is no certificate to serve TLS with; give PROXY_TLS_CERT and \
                 PROXY_TLS_KEY, ACME_EMAIL, or PROXY_CERT_PATH for certificates that are uploaded",
            ),
            Self::Start(error) => error.fmt(f),
            Self::Lost(_) => f.write_str("the control plane ended unexpectedly"),
        }
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Signals(error) | Self::AccessLog(_, error) | Self::ApiSocket(_, error) => Some(error),
            Self::SocketWithoutTls => None,
            Self::Sockets(error) => error.source(),
            Self::Store(error) => error.source(),
            Self::Start(error) => error.source(),
            Self::Lost(refusal) => Some(refusal),
        }
    }
}

/// Time between two checks of the threads without a watchdog.
const SUPERVISION_INTERVAL: Duration = Duration::from_secs(5);
/// Longest shutdown beyond the drain: closing the store and writing the last log lines.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(10);
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privileged_port_is_reported_with_remedies() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let bind = StartError::Bind { address: ([0, 0, 0, 0], 80).into(), error };
        let message = Failure::Start(bind).message();
        for word in ["0.0.0.0:80", "CAP_NET_BIND_SERVICE", "setcap", "--http-port 8081"] {
            assert!(message.contains(word), "{word} in {message}");
        }
    }

    #[test]
    fn a_port_in_use_is_reported_with_a_way_to_find_its_owner() {
        let error = io::Error::from(io::ErrorKind::AddrInUse);
        let bind = StartError::Bind { address: ([127, 0, 0, 1], 8080).into(), error };
        let message = Failure::Start(bind).message();
        assert!(message.contains("127.0.0.1:8080") && message.contains("sport = :8080"), "{message}");
    }
}
