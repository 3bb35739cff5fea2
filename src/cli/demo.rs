//! `ringway demo`: the proxy, two sample apps that register themselves through its API, and a live count of
//! requests per instance, all in this process. Needs no root and no other service, and leaves nothing behind.
//!
//! ```text
//! you ── curl ──► proxy (ringway::Gateway) ──► sample apps (threads, plain sockets)
//!                   │ observer: counts            │ register, send heartbeats, deregister
//!                   ▼                             ▼
//!             live view ◄── health ── admin API ◄─┘
//! ```

mod authority;
mod live_view;
mod sample_app;

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use ringway::{Admin, DriverChoice, Gateway, Handle, HttpMode, certs};
use ringway_wire::message::Method;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::client::Address;
use super::client::http::{HttpClient, HttpError};
use super::client::text::{Style, Tone, print};
use authority::Authority;
use live_view::{Counter, LiveView};
use sample_app::SampleApp;

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Port of the proxy on 127.0.0.1 and ::1 [default: 8081, or any free one]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Port of the admin API on 127.0.0.1 [default: 8080, or any free one]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// Also serve the sample apps over TLS, with certificates of a temporary CA
    #[arg(long)]
    tls: bool,
    /// With --tls: port of HTTPS on 127.0.0.1 and ::1 [default: 8443, or any free one]
    #[arg(long, value_name = "PORT", requires = "tls")]
    https_port: Option<u16>,
    /// Worker threads [default: one per CPU]
    #[arg(long, value_name = "COUNT")]
    workers: Option<usize>,
    /// I/O driver: auto, io_uring or epoll
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    driver: DriverChoice,
    /// Send this many requests to the sample apps, show their distribution, and exit
    #[arg(long, value_name = "COUNT")]
    requests: Option<u64>,
    /// Exit after this time, as 30s or 5m; by default Ctrl-C ends it
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
}

/// Ports of the README, used if they are free.
const HTTP_PORT: u16 = 8081;
const API_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;

/// App and instance. The first app has two, to show load balancing.
const INSTANCES: [(&str, &str); 3] = [("shop", "shop-1"), ("shop", "shop-2"), ("blog", "blog-1")];
/// Domain, app and tenant.
const DOMAINS: [(&str, &str, Option<&str>); 3] = [
    ("shop.localhost", "shop", None),
    ("blog.localhost", "blog", None),
    ("www.customer.example", "shop", Some("tenant-123")),
];

/// Signals that end the demo: Ctrl-C, `kill`, and a closed terminal.
const STOP_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// File with the demo's CA.
const CA_NAME: &str = "ca.pem";
/// Time between two updates of the health of instances.
const UPDATE_INTERVAL: Duration = Duration::from_millis(500);
/// Drain timeout at the end.
const DRAIN: Duration = Duration::from_secs(2);
/// Length of the queue of failed attempts; further ones are dropped.
const FAILURES_MAX: usize = 64;

impl DemoArgs {
    pub(crate) fn run(self) -> ExitCode {
        match demo(&self, &std::env::temp_dir()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("ringway demo: {failure}");
                let mut source = failure.source();
                while let Some(cause) = source {
                    eprintln!("  {cause}");
                    source = cause.source();
                }
                ExitCode::FAILURE
            }
        }
    }
}

fn demo(args: &DemoArgs, temporary: &Path) -> Result<(), DemoError> {
    let stop = stop_signals().map_err(DemoError::Signals)?;
    let folder = Folder::new(temporary).map_err(DemoError::Folder)?;
    let (sender, failures) = sync_channel(FAILURES_MAX);
    let counter = Arc::new(Counter::new(sender));
    let handle = start(args, &folder, &counter)?;
    let proxy = DemoProxy::of(&handle, &folder);
    let authority = args.tls.then(Authority::new).transpose().map_err(DemoError::Authority)?;
    if let Some(authority) = &authority {
        std::fs::write(folder.path.join(CA_NAME), authority.pem()).map_err(DemoError::Folder)?;
    }

    let mut samples = Vec::new();
    for (app, instance) in INSTANCES {
        samples.push(SampleApp::start(app, instance, proxy.api()).map_err(DemoError::SampleApp)?);
    }
    for (domain, app, tenant) in DOMAINS {
        let path = if tenant.is_some() { "/api/tenants/custom-domains" } else { "/api/tenants/domains" };
        let mut body = json!({ "domain": domain, "app_id": app });
        if let Some(tenant) = tenant {
            body["tenant_id"] = json!(tenant);
        }
        call(&proxy.api(), Method::Post, path, &body).map_err(DemoError::SampleApp)?;
        if let Some(authority) = &authority {
            let pair = authority.issue(domain).map_err(DemoError::Authority)?;
            let body = json!({ "domain": domain, "certificate": pair.certificate, "key": pair.key });
            call(&proxy.api(), Method::Post, "/api/tenants/domains/certificate", &body)
                .map_err(DemoError::SampleApp)?;
        }
    }

    let style = Style::of_stdout();
    print(&proxy.introduction(args, style)).map_err(DemoError::Output)?;
    let mut view = LiveView::new(style, counter, failures);
    let end = args.time.map(|time| Instant::now() + time);
    let played = match args.requests {
        Some(count) => visit(&proxy, count, &stop, &mut view).and_then(|more| match (more, end) {
            (true, Some(end)) => watch(&proxy, Some(end), &stop, &mut view),
            _ => Ok(()),
        }),
        None => watch(&proxy, end, &stop, &mut view),
    };

    // An orderly shutdown, also after an error.
    let last = view.finish(&instances(&proxy.api()).unwrap_or_default());
    for sample in &samples {
        sample.deregister();
    }
    // Requests in flight still need their apps. An error means that the control thread has ended already.
    let _ = handle.shutdown(DRAIN);
    drop(samples);
    let removed = folder.remove();
    played?;
    last.map_err(DemoError::Output)?;
    removed.map_err(DemoError::Folder)?;
    print("instances deregistered, proxy stopped, store removed\n").map_err(DemoError::Output)
}

/// Starts the proxy, as an embedder would.
fn start(args: &DemoArgs, folder: &Folder, counter: &Arc<Counter>) -> Result<Handle, DemoError> {
    let store = ringway_store::Fjall::open(folder.path.join("routes.db")).map_err(DemoError::Store)?;
    let http_port = port(args.http_port, HTTP_PORT);
    let api_port = port(args.api_port, API_PORT);
    let on_loopback =
        |port: u16| vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    let mut builder = Gateway::builder()
        .driver(args.driver)
        .http(on_loopback(http_port))
        // All printed commands work unchanged, with and without TLS.
        .http_mode(HttpMode::Plain)
        .admin(Admin { addresses: vec![(Ipv4Addr::LOCALHOST, api_port).into()], ..Admin::default() })
        .store(Box::new(store))
        .observer(counter.clone());
    if let Some(workers) = args.workers {
        builder = builder.workers(workers);
    }
    if args.tls {
        let https_port = port(args.https_port, HTTPS_PORT);
        let certificates = certs::CertificateSettings::new(folder.path.join("certificates"));
        builder = builder.https(on_loopback(https_port)).certificates(certificates);
    }
    builder.spawn().map_err(DemoError::Start)
}

/// Chooses a port: the given one, else the usual one if it is free, else 0 for any.
fn port(given: Option<u16>, usual: u16) -> u16 {
    let is_free = |ip: IpAddr| match TcpListener::bind((ip, usual)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrInUse,
    };
    let is_usual_free = || is_free(Ipv4Addr::LOCALHOST.into()) && is_free(Ipv6Addr::LOCALHOST.into());
    given.unwrap_or_else(|| if is_usual_free() { usual } else { 0 })
}

/// Starts the signal thread, which sends a message at the first signal; a second one ends the process at
/// once.
fn stop_signals() -> io::Result<Receiver<()>> {
    let is_second = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in STOP_SIGNALS {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_second))?;
        signal_hook::flag::register(signal, Arc::clone(&is_second))?;
    }
    let mut signals = signal_hook::iterator::Signals::new(STOP_SIGNALS)?;
    let (sender, receiver) = sync_channel(1);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            // Fails when the demo has ended by itself.
            let _ = sender.send(());
        }
    })?;
    Ok(receiver)
}

/// Updates the live view until the end.
fn watch(
    proxy: &DemoProxy,
    end: Option<Instant>,
    stop: &Receiver<()>,
    view: &mut LiveView,
) -> Result<(), DemoError> {
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        if let Some(instances) = instances(&proxy.api()) {
            view.show(&instances).map_err(DemoError::Output)?;
        }
        match stop.recv_timeout(left.unwrap_or(UPDATE_INTERVAL).min(UPDATE_INTERVAL)) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Sends requests to the demo's domains in turn. `false` when a signal stopped it.
fn visit(proxy: &DemoProxy, count: u64, stop: &Receiver<()>, view: &mut LiveView) -> Result<bool, DemoError> {
    let mut looked = Instant::now();
    for (number, (domain, ..)) in (0..count).zip(DOMAINS.iter().cycle()) {
        if stop.try_recv().is_ok() {
            return Ok(false);
        }
        let response = proxy.http().host(domain).send(Method::Get, "/", None).map_err(DemoError::Visit)?;
        if response.status != 200 {
            return Err(DemoError::Status { domain, status: response.status });
        }
        if (looked.elapsed() >= UPDATE_INTERVAL || number + 1 == count)
            && let Some(instances) = instances(&proxy.api())
        {
            looked = Instant::now();
            view.show(&instances).map_err(DemoError::Output)?;
        }
    }
    Ok(true)
}

/// Addresses of the running demo.
struct DemoProxy {
    http: SocketAddr,
    https: Option<SocketAddr>,
    api: SocketAddr,
    folder: PathBuf,
    workers: usize,
    driver: &'static str,
}

impl DemoProxy {
    fn of(handle: &Handle, folder: &Folder) -> Self {
        let first = |addresses: &[SocketAddr]| *addresses.first().expect("every listener has an address");
        Self {
            http: first(handle.http_addresses()),
            https: handle.https_addresses().first().copied(),
            api: first(handle.admin_addresses()),
            folder: folder.path.clone(),
            workers: handle.workers(),
            driver: handle.driver().map_or("io_uring or epoll", |driver| driver.as_str()),
        }
    }

    fn api(&self) -> HttpClient {
        HttpClient::new(Address::Tcp(self.api.to_string()))
    }

    fn http(&self) -> HttpClient {
        HttpClient::new(Address::Tcp(self.http.to_string()))
    }

    /// Text at the start: addresses, and commands to try, which work unchanged.
    fn introduction(&self, args: &DemoArgs, style: Style) -> String {
        let (port, api) = (self.http.port(), self.api);
        let ringway = program();
        let flag = if api.port() == API_PORT { String::new() } else { format!(" --api {api}") };
        let lines = |pairs: &[(String, &str)]| {
            let width = pairs.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
            let note = |what: &str| style.paint(Tone::Faint, &format!("# {what}"));
            let longest = pairs.iter().map(|(_, what)| what.len()).max().unwrap_or(0);
            // Notes stand beside their commands where they fit, else above: a wrapped line is hard to copy.
            let fits = style.width.is_none_or(|columns| width + longest + 6 <= columns);
            let line = |(command, what): &(String, &str)| match fits {
                true => format!("  {command:width$}  {}\n", note(what)),
                false => format!("  {}\n  {command}\n", note(what)),
            };
            pairs.iter().map(line).collect::<String>()
        };
        let tries = lines(&[
            (format!("curl http://shop.localhost:{port}/"), "load-balanced over two instances"),
            (format!("curl http://blog.localhost:{port}/"), "another app"),
            (
                format!("curl -H 'Host: www.customer.example' http://127.0.0.1:{port}/"),
                "a tenant's own domain: see x-tenant-id",
            ),
            (format!("curl -N http://blog.localhost:{port}/stream"), "lines arrive as the app writes them"),
            (
                format!("curl http://shop.localhost:{port}/crash"),
                "stops an instance for 10 s; keep sending requests",
            ),
        ]);
        let over_tls = self.https.map_or_else(String::new, |https| {
            let (port, ca) = (https.port(), self.folder.join(CA_NAME));
            let curl = |rest: &str| format!("curl --cacert {} {rest}", ca.display());
            let tries = lines(&[
                (curl(&format!("https://shop.localhost:{port}/")), "its own certificate, HTTP/2"),
                (curl(&format!("https://blog.localhost:{port}/")), "another one"),
                (format!("{ringway} certificates list{flag}"), "state of each certificate"),
            ]);
            format!("Over TLS, with certificates of a temporary CA:\n{tries}\n")
        });
        let looks = lines(&[
            (format!("{ringway} status --watch{flag}"), "cores, connections, requests"),
            (format!("{ringway} instances list{flag}"), "instances in rotation, and reasons of the others"),
        ]);
        let body = r#"{"app_id":"mine","instance_id":"mine-1","target":"http://127.0.0.1:3000","domain":"mine.localhost"}"#;
        let title = format!(
            "ringway {}: {} on {}",
            env!("CARGO_PKG_VERSION"),
            plural(self.workers, "worker"),
            self.driver
        );
        let end = match (args.requests, args.time) {
            (None, None) => "Ctrl-C ends it.",
            _ => "It ends by itself; Ctrl-C ends it sooner.",
        };
        format!(
            "{title}\n\
             proxy      http://127.0.0.1:{port}\n\
             admin API  http://{api}\n\
             store      {} (removed at the end)\n\n\
             Try, in another terminal:\n{tries}\n\
             {over_tls}\
             Look:\n{looks}\n\
             Your own app, here on port 3000, registers itself with one request:\n  \
             python3 -m http.server 3000 &\n  \
             curl http://{api}/api/register \\\n    \
             -d '{body}'\n  \
             curl http://mine.localhost:{port}/\n\n\
             Requests per instance. {end}\n",
            self.folder.display(),
            title = style.paint(Tone::Heading, &title),
        )
    }
}

/// Command of this program: its name if the shell finds it, else its path from here.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "ringway".into() };
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if path.parent().is_some_and(|parent| std::env::split_paths(&folders).any(|folder| folder == parent)) {
        return "ringway".into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(&path).display().to_string()
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// All instances from the API; `None` when it does not respond in time, which the next update retries.
fn instances(api: &HttpClient) -> Option<Vec<Value>> {
    let target = format!("/api/status/instances?limit={}", crate::cli::limits::DEMO_INSTANCES_MAX);
    let response = api.send(Method::Get, &target, None).ok()?;
    let mut page: Value = serde_json::from_slice(&response.body).ok()?;
    match page["instances"].take() {
        Value::Array(instances) => Some(instances),
        _ => None,
    }
}

/// Sends a request to the API, as any app would.
fn call(api: &HttpClient, method: Method, path: &str, body: &Value) -> Result<Value, CallError> {
    let response = api.send(method, path, Some(body.to_string().as_bytes())).map_err(CallError::Http)?;
    let text = String::from_utf8_lossy(&response.body);
    match response.status {
        200..=299 => Ok(serde_json::from_str(&text).unwrap_or_default()),
        status => Err(CallError::Refused { status, text: text.into_owned() }),
    }
}

/// Private directory that is removed at the end of the demo.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(parent: &Path) -> io::Result<Self> {
        let mut last = io::ErrorKind::AlreadyExists.into();
        for attempt in 0..16 {
            let name = format!("ringway-demo-{}-{attempt}", std::process::id());
            let path = parent.join(name);
            // Not recursive: an existing folder belongs to another process.
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    fn remove(self) -> io::Result<()> {
        remove(&self.path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An error cannot be reported here; after an orderly shutdown it is removed already.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Error of the demo.
#[derive(Debug)]
enum DemoError {
    Signals(io::Error),
    Folder(io::Error),
    Store(ringway_store::StoreError),
    Start(ringway::StartError),
    Authority(rcgen::Error),
    SampleApp(CallError),
    Visit(HttpError),
    Status { domain: &'static str, status: u16 },
    Output(io::Error),
}

/// Failed call of the API.
#[derive(Debug)]
enum CallError {
    Socket(io::Error),
    Http(HttpError),
    Refused { status: u16, text: String },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals(_) => f.write_str("cannot install signal handlers"),
            Self::Folder(_) => write!(f, "cannot use {}", std::env::temp_dir().display()),
            Self::Store(_) => f.write_str("cannot open a temporary store"),
            Self::Start(_) => f.write_str("the proxy did not start"),
            Self::Authority(_) => f.write_str("cannot create certificates"),
            Self::SampleApp(_) => f.write_str("a sample app could not register itself"),
            Self::Visit(_) => f.write_str("the proxy did not respond"),
            Self::Status { domain, status } => write!(f, "{domain} responded with {status}"),
            Self::Output(_) => f.write_str("cannot write"),
        }
    }
}

impl Error for DemoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Signals(error) | Self::Folder(error) | Self::Output(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Start(error) => Some(error),
            Self::Authority(error) => Some(error),
            Self::SampleApp(error) => Some(error),
            Self::Visit(error) => Some(error),
            Self::Status { .. } => None,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(_) => f.write_str("cannot create a socket"),
            Self::Http(_) => f.write_str("the admin API did not respond"),
            Self::Refused { status, text } => write!(f, "the admin API responded with {status}: {text}"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Socket(error) => Some(error),
            Self::Http(error) => Some(error),
            Self::Refused { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
