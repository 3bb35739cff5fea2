//! `ringway run`: from settings to a running gateway, and to its end.
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
use ringway::store::{Fjall, Memory, Store, StoreError};
use ringway::telemetry::{LogHandle, LogSink};
use ringway::{
    Admin, AdminSettings, Builder, ControlSettings, DataSettings, Gateway, Handle, Policy, StartError,
    TlsSettings, UnixSocket,
};

use super::config::{self, Machine, Settings};
use super::flags::Flags;
use super::parse::{self, Output, Storage};
use super::ready::Ready;
use super::resolver::HttpResolver;
use super::signals::{self, Event};
use super::sockets::{self, Inherited, SocketError};
use super::{FAILED, OK, USAGE, check, files, logging, memory, notify, version};

/// Runs until told to end. `small_pages`: what came of asking for them.
pub(crate) fn run(flags: &Flags, small_pages: io::Result<()>) -> ExitCode {
    let begun = Instant::now();
    let inherited = sockets::take();
    let reading = config::read(flags, std::env::vars_os(), &Machine::here());
    let settings = match reading.outcome {
        Ok(settings) => settings,
        Err(problems) => {
            logging::complain(&check::complaint(&problems));
            return ExitCode::from(USAGE);
        }
    };
    if let Err(error) = logging::start(&settings) {
        let output = parse::output_word(&settings.log_output);
        logging::complain(&format!("cannot write the log to {output}: {error}"));
        return ExitCode::from(FAILED);
    }
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = small_pages {
        tracing::warn!(%error, "idle connections may take more memory: the kernel keeps to huge pages");
    }
    let output = settings.log_output.clone();
    match serve(settings, inherited, begun) {
        Ok(()) => ExitCode::from(OK),
        Err(failure) => {
            let told = failure.told();
            tracing::error!("{told}");
            if output != Some(Output::Stderr) {
                logging::complain(&told);
            }
            ExitCode::from(FAILED)
        }
    }
}

/// Why the process could not start or go on.
#[derive(Debug)]
enum Failure {
    Signals(io::Error),
    Sockets(SocketError),
    Store(StoreError),
    AccessLog(PathBuf, io::Error),
    ApiSocket(PathBuf, io::Error),
    /// A socket for TLS was handed over, and nothing says what to serve on it.
    SocketWithoutTls,
    Start(StartError),
    /// The control plane was gone before it was told to end.
    Lost(ringway::Refusal),
}

fn serve(
    settings: Settings,
    inherited: Result<Inherited, SocketError>,
    begun: Instant,
) -> Result<(), Failure> {
    let events = signals::start().map_err(Failure::Signals)?;
    let inherited = inherited.map_err(Failure::Sockets)?;
    let room = raise_file_limit(&settings);
    let drain_timeout = settings.drain_timeout;
    let api_socket = settings.api_socket.clone();
    let gateway = builder(settings, inherited, room)?.spawn().map_err(Failure::Start)?;

    let ready = Ready::of(&gateway, api_socket);
    ready.print();
    ready.log();
    tracing::debug!(start_ms = begun.elapsed().as_secs_f64() * 1000.0, "started");
    notify::ready(&ready.summary());

    let signal = supervise(&gateway, &events);
    end(gateway, signal, drain_timeout)
}

/// Everything that the gateway is made of.
fn builder(settings: Settings, inherited: Inherited, room: Room) -> Result<Builder, Failure> {
    let store: Box<dyn Store> = match settings.storage {
        Storage::Memory => {
            tracing::info!("registrations are kept in memory only: a restart begins without any");
            Box::new(Memory::new())
        }
        Storage::Fjall => {
            tracing::info!(path = %settings.db_path.display(), "registrations are kept here");
            Box::new(Fjall::open(&settings.db_path).map_err(Failure::Store)?)
        }
    };
    let data = DataSettings {
        head_timeout: settings.head_timeout,
        idle_timeout: settings.idle_timeout,
        drain_timeout: settings.drain_timeout,
        connections_max: room.connections,
        connection_files_max: room.connection_files,
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
        ..DataSettings::default()
    };
    let mut control = ControlSettings {
        heartbeat_timeout: settings.heartbeat_timeout,
        driver: settings.driver,
        version: version::VERSION,
        commit: version::COMMIT,
        ..ControlSettings::default()
    };
    control.certificate_webhook = settings.certificate_webhook;
    control.health.interval = settings.health_interval;
    control.health.timeout = settings.health_timeout;

    let mut unix: Vec<UnixSocket> = inherited.api_unix.into_iter().map(UnixSocket::from).collect();
    if let Some(path) = settings.api_socket {
        unix.push(ringway::bind_unix(&path).map_err(|error| Failure::ApiSocket(path, error))?);
    }
    for address in inherited.api.iter().filter_map(|socket| socket.local_addr().ok()) {
        ringway_api::check_bind(address, settings.api_token.as_ref())
            .map_err(|error| Failure::Start(StartError::OpenAdmin(error)))?;
    }
    let admin = Admin {
        // What was handed over takes the place of what would be opened.
        addresses: if inherited.api.is_empty() { settings.api } else { Vec::new() },
        sockets: inherited.api,
        unix,
        settings: AdminSettings { token: settings.api_token, ..AdminSettings::default() },
    };
    let http = if inherited.http.is_empty() { settings.http } else { Vec::new() };
    let mut builder = Gateway::builder()
        .workers(settings.workers)
        .driver(settings.driver)
        .http(http)
        .http_sockets(inherited.http)
        .http_mode(settings.http_mode)
        .proxy_protocol(settings.proxy_protocol)
        .admin(admin)
        .store(store)
        .data(data)
        .control(control);
    if let Some(url) = settings.resolver {
        builder = builder.resolver(Arc::new(HttpResolver::new(url)));
    }
    if let Some(tls) = settings.tls {
        builder = builder
            .https(if inherited.https.is_empty() { tls.https } else { Vec::new() })
            .https_sockets(inherited.https)
            .tls(TlsSettings { modern: tls.modern })
            .certificates(tls.certificates);
    } else if !inherited.https.is_empty() {
        return Err(Failure::SocketWithoutTls);
    }
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

/// Feeds the watchdog and obeys signals; returns the one that asks to end.
fn supervise(gateway: &Handle, events: &Receiver<Event>) -> i32 {
    let interval = notify::watchdog_interval().unwrap_or(LOOK_INTERVAL);
    let mut was_alive = true;
    loop {
        match events.recv_timeout(interval) {
            Ok(Event::Stop(signal)) => return signal,
            Ok(Event::Reopen) => {
                files::reopen_all();
                gateway.reopen_access_log();
                tracing::info!("log files are opened anew");
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The thread of the signals ends with the process only; if it does not, end as if asked to.
            Err(RecvTimeoutError::Disconnected) => return signal_hook::consts::SIGTERM,
        }
        let is_alive = gateway.is_alive();
        if is_alive {
            notify::alive();
        }
        if is_alive != was_alive {
            was_alive = is_alive;
            if is_alive {
                tracing::info!("every thread makes progress again");
                notify::status("ready");
            } else {
                tracing::error!(
                    "a thread makes no progress; `ringway status` names it, and a watchdog would restart us"
                );
                notify::status("a thread makes no progress");
            }
        }
    }
}

/// Lets what is under way finish. The service manager's watchdog is fed meanwhile, for as long as it may take.
fn end(gateway: Handle, signal: i32, drain_timeout: Duration) -> Result<(), Failure> {
    tracing::info!(
        signal = signals::name(signal),
        timeout_s = drain_timeout.as_secs_f64(),
        "ending: requests under way finish first"
    );
    notify::stopping("draining");
    let (ended, ending) = bounded::<()>(0);
    let feeder = notify::watchdog_interval().and_then(|interval| {
        let beats = (drain_timeout + END_TIME_MAX).as_millis() / interval.as_millis().max(1);
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
        true => tracing::info!("ended; every request was finished"),
        false => tracing::warn!("ended; some connections did not end in time and were closed"),
    }
    Ok(())
}

/// Connections of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// Connections of clients.
    connections: usize,
    /// Open files for those and for connections to instances together.
    connection_files: usize,
}

/// Raises the limit of open files as far as it goes. Returns what a worker may have: as much as those files and the memory
/// suffice for, when nobody has said.
fn raise_file_limit(settings: &Settings) -> Room {
    let granted = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(granted) => granted,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            rlimit::Resource::NOFILE.get_soft().unwrap_or(FILES_ASSUMED)
        }
    };
    let memory = memory::available();
    let memory_mib = memory.map(|bytes| bytes >> 20);
    match settings.connections_max {
        None => {
            let room = room_in(granted, memory, settings.workers);
            tracing::info!(
                open_files = granted,
                memory_mib,
                connections_per_worker = room.connections,
                "connections that open files and memory allow"
            );
            if room.connections < CONNECTIONS_FEW {
                tracing::warn!(
                    open_files = granted,
                    memory_mib,
                    connections_per_worker = room.connections,
                    "these are few: more clients at once are answered with 503; raise LimitNOFILE=, `ulimit -Hn` or the memory limit"
                );
            }
            room
        }
        Some(wanted) => {
            let needed =
                (wanted * settings.workers) as u64 * FILES_PARTS / FILES_PARTS_OF_CLIENTS + FILES_RESERVED;
            if granted < needed {
                tracing::warn!(
                    open_files = granted,
                    needed,
                    "the limit of open files is too low for PROXY_CONNECTIONS_MAX; raise LimitNOFILE= or `ulimit -Hn`"
                );
            }
            let needed = (wanted * settings.workers) as u64 * crate::cli::limits::CONNECTION_BYTES;
            if memory.is_some_and(|memory| memory < needed) {
                tracing::warn!(
                    memory_mib,
                    needed_mib = needed >> 20,
                    "PROXY_CONNECTIONS_MAX is more than the memory suffices for, should all of them send half a request"
                );
            }
            // Whoever says a number has it, while there are files.
            Room { connections: wanted, connection_files: usize::MAX }
        }
    }
}

/// Fewer connections of a worker than this are likely nobody's wish.
const CONNECTIONS_FEW: usize = 64;

/// What each worker may have with so many open files and so much memory. Most clients are idle at any moment, and need no
/// connection to an instance: both kinds share the files, but a part that clients leave to instances in any case.
fn room_in(open_files: u64, memory: Option<u64>, workers: usize) -> Room {
    let workers = workers.max(1) as u64;
    let files = open_files.saturating_sub(FILES_RESERVED) / workers;
    let by_files = files * FILES_PARTS_OF_CLIENTS / FILES_PARTS;
    let by_memory = memory.map(|bytes| {
        bytes / crate::cli::limits::CONNECTIONS_MEMORY_PART / crate::cli::limits::CONNECTION_BYTES / workers
    });
    let room = by_memory.map_or(by_files, |by_memory| by_files.min(by_memory));
    let bounded = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let files = bounded(files);
    Room {
        connections: bounded(room).clamp(1, ringway_model::limits::CONNECTIONS_PER_CORE_MAX),
        // One at least to each side, and a few for those who are told that there is no room.
        connection_files: (files - ringway_model::limits::turned_away_max(files)).max(2),
    }
}

/// The same after every restart on this machine, so that clients come back to their instances, and not to be guessed from
/// outside. 0 where the machine has no id.
fn sticky_key() -> u64 {
    let Ok(id) = std::fs::read("/etc/machine-id") else { return 0 };
    let mut hasher = DefaultHasher::new();
    ("ringway sticky", id).hash(&mut hasher);
    hasher.finish()
}

impl Failure {
    /// The whole chain of causes, and what to do where that is known.
    fn told(&self) -> String {
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
                    Some(format!("`ss -ltnp 'sport = :{}'` names who", address.port()))
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
            Self::Signals(_) => f.write_str("cannot listen for signals"),
            Self::Sockets(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::AccessLog(path, _) => write!(f, "cannot write the access log to {}", path.display()),
            Self::ApiSocket(path, _) => write!(f, "cannot make the API's socket {}", path.display()),
            Self::SocketWithoutTls => f.write_str(
                "a socket named `https` was handed over, and there is nothing to serve TLS with; give PROXY_TLS_CERT and \
                 PROXY_TLS_KEY, ACME_EMAIL, or PROXY_CERT_PATH for certificates that are uploaded",
            ),
            Self::Start(error) => error.fmt(f),
            Self::Lost(_) => f.write_str("the control plane ended before it was told to"),
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

/// How often the threads are looked at where no watchdog says otherwise.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// What the end may take beyond the drain: closing the store and writing the last log lines.
const END_TIME_MAX: Duration = Duration::from_secs(10);
/// Clients may have so many of [`FILES_PARTS`] parts of the files for connections; the rest is for instances.
const FILES_PARTS_OF_CLIENTS: u64 = 3;
/// See [`FILES_PARTS_OF_CLIENTS`].
const FILES_PARTS: u64 = 4;
/// Files for everything else: store, logs, rings, listeners, splice pipes, health checks, the API.
const FILES_RESERVED: u64 = 256;
/// The usual soft limit, where it cannot be read.
const FILES_ASSUMED: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_the_open_files() {
        let connections = |files, memory, workers| room_in(files, memory, workers).connections;
        assert_eq!(connections(1024, None, 1), 576);
        assert_eq!(connections(1024, None, 2), 288);
        assert_eq!(connections(1_048_576, None, 2), ringway_model::limits::CONNECTIONS_PER_CORE_MAX);
        assert_eq!(connections(0, None, 64), 1, "a process that can accept nothing is of no use");
        // 10,000 clients, and room for what they ask for.
        assert_eq!(room_in(20_000, None, 1), Room { connections: 14_808, connection_files: 18_720 });
        // Half of 128 MiB for half requests of 40 KiB.
        assert_eq!(connections(1_048_576, Some(128 << 20), 1), 1638);
        assert_eq!(connections(1_048_576, Some(128 << 20), 2), 819);
        assert_eq!(connections(1024, Some(128 << 20), 1), 576);
        assert_eq!(
            connections(1_048_576, Some(64 << 30), 2),
            ringway_model::limits::CONNECTIONS_PER_CORE_MAX
        );
        assert_eq!(connections(1_048_576, Some(0), 2), 1);
    }

    #[test]
    fn a_port_without_privilege_tells_what_to_do() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let bind = StartError::Bind { address: ([0, 0, 0, 0], 80).into(), error };
        let told = Failure::Start(bind).told();
        for word in ["0.0.0.0:80", "CAP_NET_BIND_SERVICE", "setcap", "--http-port 8081"] {
            assert!(told.contains(word), "{word} in {told}");
        }
    }

    #[test]
    fn a_port_that_is_taken_tells_who_to_ask() {
        let error = io::Error::from(io::ErrorKind::AddrInUse);
        let bind = StartError::Bind { address: ([127, 0, 0, 1], 8080).into(), error };
        let told = Failure::Start(bind).told();
        assert!(told.contains("127.0.0.1:8080") && told.contains("sport = :8080"), "{told}");
    }
}
