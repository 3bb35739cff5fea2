//! Process manager with an embedded ringway: starts, stops and restarts apps behind one HTTPS listener.
//!
//! ```text
//! cargo run --release --example process_manager
//! > status
//! > restart shop
//! > stop blog
//! ```
//! Prints curl commands to try. Nothing is registered: ringway resolves hosts to processes through the
//! manager ([`TargetResolver`]). The certificate is the operator's, by path; the example creates one.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ringway::certs::CertificateSettings;
use ringway::model::{CertificateFiles, FilePath, Target};
use ringway::{Gateway, Resolved, ResolvedTarget, ResolverError, TargetResolver};

/// Desired and running apps.
struct Manager {
    apps: Mutex<BTreeMap<&'static str, App>>,
}

/// App, named after its host.
#[derive(Default)]
struct App {
    is_wanted: bool,
    process: Option<Process>,
    starts: u32,
}

struct Process {
    child: Child,
    port: u16,
}

impl TargetResolver for Manager {
    fn resolve(&self, host: &str) -> Result<Resolved, ResolverError> {
        let mut apps = self.apps();
        let Some(app) = apps.get_mut(host) else { return Ok(Resolved::Unknown) };
        let mut targets = Vec::new();
        if let Some(process) = &mut app.process {
            let target = format!("http://127.0.0.1:{}", process.port);
            let target = Target::parse(&target).map_err(|error| ResolverError::because(&error))?;
            targets.push(ResolvedTarget { target, healthy: process.is_running() });
        }
        Ok(Resolved::Targets(targets))
    }
}

impl Manager {
    fn new(hosts: &[&'static str]) -> Self {
        let apps = hosts.iter().map(|host| (*host, App { is_wanted: true, ..App::default() }));
        Self { apps: Mutex::new(apps.collect()) }
    }

    fn apps(&self) -> MutexGuard<'_, BTreeMap<&'static str, App>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts and stops processes until they match the desired apps; called in a loop, so that a process that
    /// ended is started again.
    fn reconcile(&self) {
        for (host, app) in self.apps().iter_mut() {
            if app.process.as_mut().is_some_and(|process| !process.is_running()) {
                app.process = None;
            }
            match (app.is_wanted, &app.process) {
                (true, None) => match Process::start(host) {
                    Ok(process) => {
                        app.starts += 1;
                        app.process = Some(process);
                    }
                    Err(error) => eprintln!("{host} cannot be started: {error}"),
                },
                (false, Some(_)) => app.process = None,
                (true, Some(_)) | (false, None) => {}
            }
        }
    }

    fn run_command(&self, command: &str) {
        let (verb, name) = command.split_once(' ').unwrap_or((command, ""));
        if verb != "status" {
            let mut apps = self.apps();
            let host = apps.keys().copied().find(|host| host.split('.').next() == Some(name));
            let Some(app) = host.and_then(|host| apps.get_mut(host)) else {
                return println!("commands: status, start APP, stop APP, restart APP");
            };
            match verb {
                "start" => app.is_wanted = true,
                "stop" => app.is_wanted = false,
                "restart" => app.process = None,
                _ => return println!("commands: status, start APP, stop APP, restart APP"),
            }
        }
        self.reconcile();
        for (host, app) in self.apps().iter() {
            match &app.process {
                Some(process) => println!("{host}: port {}, start number {}", process.port, app.starts),
                None => println!("{host}: stopped"),
            }
        }
    }
}

impl Process {
    /// This program as an app; it prints the port that it listens on.
    fn start(host: &str) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", host])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let port = line.trim().parse().map_err(|_| io::Error::other("it did not say its port"))?;
        Ok(Self { child, port })
    }

    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", host] => Ok(serve(host)?),
        [] => manage(8443),
        [port] => manage(port.parse()?),
        _ => Err("usage: process_manager [PORT]".into()),
    }
}

fn manage(port: u16) -> Result<(), Box<dyn Error>> {
    let hosts = ["blog.localhost", "shop.localhost"];
    let manager = Arc::new(Manager::new(&hosts));
    manager.reconcile();
    let (running, ended) = mpsc::channel();
    let watched = manager.clone();
    let watcher = thread::spawn(move || watch(&watched, &ended));

    let folder = std::env::temp_dir().join(format!("ringway-process-manager-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let pair = rcgen::generate_simple_self_signed(hosts.map(String::from))?;
    std::fs::write(&certificate, pair.cert.pem())?;
    std::fs::write(&key, pair.signing_key.serialize_pem())?;

    let gateway = Gateway::builder()
        .http(Vec::new())
        .https(vec![([127, 0, 0, 1], port).into()])
        .certificates(CertificateSettings {
            default_files: Some(CertificateFiles { certificate: path(&certificate)?, key: path(&key)? }),
            ..CertificateSettings::new(folder.join("certificates"))
        })
        .resolver(manager.clone())
        .spawn()?;
    let port = gateway.https_addresses().first().map_or(port, |address| address.port());
    for host in hosts {
        let to = format!("--resolve {host}:{port}:127.0.0.1");
        println!("curl --cacert {} {to} https://{host}:{port}/", certificate.display());
    }
    println!("status, start APP, stop APP or restart APP; end of input stops it");
    io::stdout().flush()?;
    for line in io::stdin().lock().lines() {
        manager.run_command(line?.trim());
    }
    gateway.shutdown(Duration::from_secs(5))?;
    drop::<mpsc::Sender<()>>(running);
    watcher.join().map_err(|_| "the reconciliation loop panicked")?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn path(path: &Path) -> Result<FilePath, Box<dyn Error>> {
    Ok(FilePath::parse(path.to_str().ok_or("the name of the temporary folder is not text")?)?)
}

/// Reconciliation loop; ends when the channel is closed.
fn watch(manager: &Manager, ended: &mpsc::Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(Duration::from_millis(500)) {
        manager.reconcile();
    }
}

/// Sample app: responds with its name and process id, one request per connection; ends with the manager.
fn serve(host: &str) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    thread::spawn(|| {
        // The manager holds the other end, which closes when the manager ends.
        let _ = io::stdin().read_line(&mut String::new());
        std::process::exit(0);
    });
    for stream in listener.incoming().flatten() {
        let lines = BufReader::new(&stream).lines().map_while(Result::ok);
        if lines.take_while(|line| !line.is_empty()).count() == 0 {
            continue;
        }
        let body = format!("{host}, process {}\n", std::process::id());
        let length = body.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        // The client may have left.
        let _ = (&stream).write_all(answer.as_bytes());
    }
    Ok(())
}
