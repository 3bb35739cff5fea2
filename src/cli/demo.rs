//! `ringway demo`: the proxy in this process, two sample apps that register themselves through its real API, and a
//! live count of where requests go. Needs no root and no other service, and leaves nothing behind.
//!
//! ```text
//! you ── curl ──► proxy (ringway::Gateway) ──► sample apps (threads, plain sockets)
//!                   │ observer: counts            │ register, send heartbeats, deregister
//!                   ▼                             ▼
//!                 board ◄── health ── admin API ◄─┘
//! ```

mod authority;
mod board;
mod sample;

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
use super::client::http::{Client, HttpError};
use super::client::text::{Look, Tone, print};
use authority::Authority;
use board::{Board, Counter};
use sample::Sample;

#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Port of the proxy on 127.0.0.1 and ::1 [default: 8081, or any free one]
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Port of the admin API on 127.0.0.1 [default: 8080, or any free one]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// Serve the sample apps over TLS too, with certificates of a CA that is made for it
    #[arg(long)]
    tls: bool,
    /// With --tls: port of HTTPS on 127.0.0.1 and ::1 [default: 8443, or any free one]
    #[arg(long, value_name = "PORT", requires = "tls")]
    https_port: Option<u16>,
    /// Worker threads [default: one per CPU]
    #[arg(long, value_name = "COUNT")]
    workers: Option<usize>,
    /// auto, io_uring or epoll
    #[arg(long, value_name = "DRIVER", default_value = "auto")]
    driver: DriverChoice,
    /// Send so many requests to the sample apps, tell where they went, and end
    #[arg(long, value_name = "COUNT")]
    requests: Option<u64>,
    /// End after this time, as 30s or 5m; else Ctrl-C ends it
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
}

/// The ports that the README names, taken if they are free.
const HTTP_PORT: u16 = 8081;
const API_PORT: u16 = 8080;
const HTTPS_PORT: u16 = 8443;

/// App, instance. The first app has two, so that there is something to balance.
const INSTANCES: [(&str, &str); 3] = [("shop", "shop-1"), ("shop", "shop-2"), ("blog", "blog-1")];
/// Domain, app, tenant.
const DOMAINS: [(&str, &str, Option<&str>); 3] = [
    ("shop.localhost", "shop", None),
    ("blog.localhost", "blog", None),
    ("www.customer.example", "shop", Some("tenant-123")),
];

/// What ends the demo: Ctrl-C, `kill`, and a terminal that is closed.
const STOP_SIGNALS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The file with the demo's CA.
const CA_NAME: &str = "ca.pem";
/// How often the board looks at the health of instances.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// For requests under way at the end. They are the visitor's own.
const DRAIN: Duration = Duration::from_secs(2);
/// Things that happened and wait to be told; more are not worth telling.
const NEWS_MAX: usize = 64;

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
    let (news, news_of_cores) = sync_channel(NEWS_MAX);
    let counter = Arc::new(Counter::new(news));
    let handle = start(args, &folder, &counter)?;
    let stage = Stage::of(&handle, &folder);
    let authority = args.tls.then(Authority::new).transpose().map_err(DemoError::Authority)?;
    if let Some(authority) = &authority {
        std::fs::write(folder.path.join(CA_NAME), authority.pem()).map_err(DemoError::Folder)?;
    }

    let mut samples = Vec::new();
    for (app, instance) in INSTANCES {
        samples.push(Sample::start(app, instance, stage.api()).map_err(DemoError::Sample)?);
    }
    for (domain, app, tenant) in DOMAINS {
        let path = if tenant.is_some() { "/api/tenants/custom-domains" } else { "/api/tenants/domains" };
        let mut body = json!({ "domain": domain, "app_id": app });
        if let Some(tenant) = tenant {
            body["tenant_id"] = json!(tenant);
        }
        ask(&stage.api(), Method::Post, path, &body).map_err(DemoError::Sample)?;
        if let Some(authority) = &authority {
            let pair = authority.issue(domain).map_err(DemoError::Authority)?;
            let body = json!({ "domain": domain, "certificate": pair.certificate, "key": pair.key });
            ask(&stage.api(), Method::Post, "/api/tenants/domains/certificate", &body)
                .map_err(DemoError::Sample)?;
        }
    }

    let look = Look::of_stdout();
    print(&stage.introduction(args, look)).map_err(DemoError::Output)?;
    let mut board = Board::new(look, counter, news_of_cores);
    let end = args.time.map(|time| Instant::now() + time);
    let played = match args.requests {
        Some(count) => visit(&stage, count, &stop, &mut board).and_then(|more| match (more, end) {
            (true, Some(end)) => watch(&stage, Some(end), &stop, &mut board),
            _ => Ok(()),
        }),
        None => watch(&stage, end, &stop, &mut board),
    };

    // The orderly end is part of the show, whatever went wrong before it.
    let last = board.finish(&instances(&stage.api()).unwrap_or_default());
    for sample in &samples {
        sample.deregister();
    }
    // Requests under way still need their apps. An error means that the control thread has ended already.
    let _ = handle.shutdown(DRAIN);
    drop(samples);
    let removed = folder.remove();
    played?;
    last.map_err(DemoError::Output)?;
    removed.map_err(DemoError::Folder)?;
    print("instances deregistered, proxy ended, store removed\n").map_err(DemoError::Output)
}

/// The proxy, as an embedder would start it.
fn start(args: &DemoArgs, folder: &Folder, counter: &Arc<Counter>) -> Result<Handle, DemoError> {
    let store = ringway_store::Fjall::open(folder.path.join("routes.db")).map_err(DemoError::Store)?;
    let http_port = port(args.http_port, HTTP_PORT);
    let api_port = port(args.api_port, API_PORT);
    let on_loopback =
        |port: u16| vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    let mut builder = Gateway::builder()
        .driver(args.driver)
        .http(on_loopback(http_port))
        // Everything that is shown works as it stands, over TLS or not.
        .http_mode(HttpMode::Plain)
        .admin(Admin { addresses: vec![(Ipv4Addr::LOCALHOST, api_port).into()], ..Admin::default() })
        .store(Box::new(store))
        .observer(counter.clone());
    if let Some(workers) = args.workers {
        builder = builder.workers(workers);
    }
    if args.tls {
        let https_port = port(args.https_port, HTTPS_PORT);
        let certificates = certs::Settings::new(folder.path.join("certificates"));
        builder = builder.https(on_loopback(https_port)).certificates(certificates);
    }
    builder.spawn().map_err(DemoError::Start)
}

/// The port that was asked for; else the usual one if nobody listens there, else 0 for any.
fn port(asked: Option<u16>, usual: u16) -> u16 {
    let is_free = |ip: IpAddr| match TcpListener::bind((ip, usual)) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrInUse,
    };
    let is_usual_free = || is_free(Ipv4Addr::LOCALHOST.into()) && is_free(Ipv6Addr::LOCALHOST.into());
    asked.unwrap_or_else(|| if is_usual_free() { usual } else { 0 })
}

/// A message when the process is to end; a second signal ends it at once.
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
            // Nobody receives when the demo has ended by itself.
            let _ = sender.send(());
        }
    })?;
    Ok(receiver)
}

/// Shows the board until the end.
fn watch(
    stage: &Stage,
    end: Option<Instant>,
    stop: &Receiver<()>,
    board: &mut Board,
) -> Result<(), DemoError> {
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        if let Some(instances) = instances(&stage.api()) {
            board.show(&instances).map_err(DemoError::Output)?;
        }
        match stop.recv_timeout(left.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL)) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Sends requests to the demo's domains in turn. False when it was told to stop.
fn visit(stage: &Stage, count: u64, stop: &Receiver<()>, board: &mut Board) -> Result<bool, DemoError> {
    let mut looked = Instant::now();
    for (number, (domain, ..)) in (0..count).zip(DOMAINS.iter().cycle()) {
        if stop.try_recv().is_ok() {
            return Ok(false);
        }
        let answer = stage.http().host(domain).send(Method::Get, "/", None).map_err(DemoError::Visit)?;
        if answer.status != 200 {
            return Err(DemoError::Answer { domain, status: answer.status });
        }
        if (looked.elapsed() >= LOOK_INTERVAL || number + 1 == count)
            && let Some(instances) = instances(&stage.api())
        {
            looked = Instant::now();
            board.show(&instances).map_err(DemoError::Output)?;
        }
    }
    Ok(true)
}

/// Where everything is.
struct Stage {
    http: SocketAddr,
    https: Option<SocketAddr>,
    api: SocketAddr,
    folder: PathBuf,
    workers: usize,
    driver: &'static str,
}

impl Stage {
    fn of(handle: &Handle, folder: &Folder) -> Self {
        let first = |addresses: &[SocketAddr]| {
            *addresses.first().expect("a gateway that was told to listen has an address")
        };
        Self {
            http: first(handle.http_addresses()),
            https: handle.https_addresses().first().copied(),
            api: first(handle.admin_addresses()),
            folder: folder.path.clone(),
            workers: handle.workers(),
            driver: handle.driver().map_or("io_uring or epoll", |driver| driver.as_str()),
        }
    }

    fn api(&self) -> Client {
        Client::new(Address::Tcp(self.api.to_string()))
    }

    fn http(&self) -> Client {
        Client::new(Address::Tcp(self.http.to_string()))
    }

    /// What is there and what to try; every line of it works as it stands.
    fn introduction(&self, args: &DemoArgs, look: Look) -> String {
        let (port, api) = (self.http.port(), self.api);
        let ringway = program();
        let flag = if api.port() == API_PORT { String::new() } else { format!(" --api {api}") };
        let lines = |pairs: &[(String, &str)]| {
            let width = pairs.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
            let note = |what: &str| look.paint(Tone::Faint, &format!("# {what}"));
            let longest = pairs.iter().map(|(_, what)| what.len()).max().unwrap_or(0);
            // Beside each other where that fits, else one above the other: a wrapped line is hard to copy.
            let fits = look.width.is_none_or(|columns| width + longest + 6 <= columns);
            let line = |(command, what): &(String, &str)| match fits {
                true => format!("  {command:width$}  {}\n", note(what)),
                false => format!("  {}\n  {command}\n", note(what)),
            };
            pairs.iter().map(line).collect::<String>()
        };
        let tries = lines(&[
            (format!("curl http://shop.localhost:{port}/"), "two instances take turns"),
            (format!("curl http://blog.localhost:{port}/"), "another app"),
            (
                format!("curl -H 'Host: www.customer.example' http://127.0.0.1:{port}/"),
                "a tenant's own domain: see x-tenant-id",
            ),
            (format!("curl -N http://blog.localhost:{port}/stream"), "lines arrive as the app writes them"),
            (format!("curl http://shop.localhost:{port}/crash"), "kills an instance for 10 s; go on asking"),
        ]);
        let over_tls = self.https.map_or_else(String::new, |https| {
            let (port, ca) = (https.port(), self.folder.join(CA_NAME));
            let curl = |rest: &str| format!("curl --cacert {} {rest}", ca.display());
            let tries = lines(&[
                (curl(&format!("https://shop.localhost:{port}/")), "its own certificate, HTTP/2"),
                (curl(&format!("https://blog.localhost:{port}/")), "another one"),
                (format!("{ringway} certificates list{flag}"), "where each certificate stands"),
            ]);
            format!("Over TLS, with certificates of a CA that was made for this demo:\n{tries}\n")
        });
        let looks = lines(&[
            (format!("{ringway} status --watch{flag}"), "cores, connections, requests"),
            (format!("{ringway} instances list{flag}"), "who is in rotation, and why not"),
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
            title = look.paint(Tone::Heading, &title),
        )
    }
}

/// How this program is called: by its name if the shell finds it, else by its path from here.
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

/// All instances, as the API lists them; `None` when it does not answer in time, which the next look may.
fn instances(api: &Client) -> Option<Vec<Value>> {
    let target = format!("/api/status/instances?limit={}", crate::cli::limits::DEMO_INSTANCES_MAX);
    let answer = api.send(Method::Get, &target, None).ok()?;
    let mut page: Value = serde_json::from_slice(&answer.body).ok()?;
    match page["instances"].take() {
        Value::Array(instances) => Some(instances),
        _ => None,
    }
}

/// One request to the API, as any app would send it.
fn ask(api: &Client, method: Method, path: &str, body: &Value) -> Result<Value, AskError> {
    let answer = api.send(method, path, Some(body.to_string().as_bytes())).map_err(AskError::Http)?;
    let text = String::from_utf8_lossy(&answer.body);
    match answer.status {
        200..=299 => Ok(serde_json::from_str(&text).unwrap_or_default()),
        status => Err(AskError::Refused { status, text: text.into_owned() }),
    }
}

/// A folder of our own, gone when the demo is.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(parent: &Path) -> io::Result<Self> {
        let mut last = io::ErrorKind::AlreadyExists.into();
        for attempt in 0..16 {
            let name = format!("ringway-demo-{}-{attempt}", std::process::id());
            let path = parent.join(name);
            // Not recursive: a folder that is there already belongs to somebody else.
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
        // Nobody is left to tell; after an orderly end it is gone already.
        let _ = remove(&self.path);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Why there is no demo.
#[derive(Debug)]
enum DemoError {
    Signals(io::Error),
    Folder(io::Error),
    Store(ringway_store::StoreError),
    Start(ringway::StartError),
    Authority(rcgen::Error),
    Sample(AskError),
    Visit(HttpError),
    Answer { domain: &'static str, status: u16 },
    Output(io::Error),
}

/// Why the API did not do what a sample app asked.
#[derive(Debug)]
enum AskError {
    Socket(io::Error),
    Http(HttpError),
    Refused { status: u16, text: String },
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signals(_) => f.write_str("cannot listen for signals"),
            Self::Folder(_) => write!(f, "cannot use {}", std::env::temp_dir().display()),
            Self::Store(_) => f.write_str("cannot open a temporary store"),
            Self::Start(_) => f.write_str("the proxy did not start"),
            Self::Authority(_) => f.write_str("cannot make certificates"),
            Self::Sample(_) => f.write_str("a sample app could not register itself"),
            Self::Visit(_) => f.write_str("the proxy did not answer"),
            Self::Answer { domain, status } => write!(f, "{domain} answered {status}"),
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
            Self::Sample(error) => Some(error),
            Self::Visit(error) => Some(error),
            Self::Answer { .. } => None,
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(_) => f.write_str("no socket"),
            Self::Http(_) => f.write_str("the admin API did not answer"),
            Self::Refused { status, text } => write!(f, "the admin API answered {status}: {text}"),
        }
    }
}

impl Error for AskError {
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
