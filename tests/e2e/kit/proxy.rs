//! The real binary as a process: on ports of the kernel's choice, with its own store and a captured log,
//! stopped by its process ID.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::{Api, Client, Origin, eventually, eventually_within};

/// I/O driver of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driver {
    IoUring,
    Epoll,
}

impl Driver {
    /// The value of `PROXY_DRIVER`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Driver::IoUring => "io_uring",
            Driver::Epoll => "epoll",
        }
    }
}

/// Builder of a process.
pub(crate) struct Builder {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    /// Command that executes the process, as `prlimit`.
    wrapper: Vec<String>,
    folder: Arc<tempfile::TempDir>,
}

/// Running ringway; killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    ready: Value,
    /// Builder to start it again on the same store.
    builder: Builder,
}

/// Timeout for a process to be ready, or to exit after its drain. The machine may be busy.
const PROCESS_LIMIT: Duration = Duration::from_secs(60);

impl Proxy {
    /// Builder with two workers, short health check intervals, and an empty store.
    pub(crate) fn on(driver: Driver) -> Builder {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let builder =
            Builder { environment: BTreeMap::new(), arguments: Vec::new(), wrapper: Vec::new(), folder };
        builder
            .env("PROXY_DRIVER", driver.name())
            .env("PROXY_WORKERS", "2")
            .env("PROXY_HTTP_PORT", "0")
            .env("PROXY_API_PORT", "0")
            .env("PROXY_HTTP_MODE", "plain")
            .env("HEALTH_CHECK_INTERVAL", "1s")
            .env("LOG_FORMAT", "json")
            .env("LOG_LEVEL", "info")
    }

    /// Starts a process with the defaults.
    pub(crate) fn start(driver: Driver) -> Self {
        Self::on(driver).start()
    }

    /// Starts a process with the app `app`, its only instance `origin`, and the domain `app.test`.
    pub(crate) fn serving(driver: Driver, origin: &Origin) -> Self {
        let proxy = Self::start(driver);
        proxy.serve("app", "app.test", origin);
        proxy
    }

    /// Registers `origin` as the first instance of `app`, and `domain` for it.
    pub(crate) fn serve(&self, app: &str, domain: &str, origin: &Origin) {
        let api = self.api();
        api.register(app, &format!("{app}-1"), &origin.target());
        api.domain(domain, app, None);
    }

    /// Address of the HTTP listener.
    pub(crate) fn http(&self) -> SocketAddr {
        let addresses = self.ready["http"].as_array().expect("`http` in the ready line");
        let addresses: Vec<SocketAddr> =
            addresses.iter().filter_map(Value::as_str).filter_map(|text| text.parse().ok()).collect();
        let mut chosen = *addresses.iter().find(|one| one.is_ipv4()).expect("an IPv4 listener");
        if chosen.ip().is_unspecified() {
            chosen.set_ip([127, 0, 0, 1].into());
        }
        chosen
    }

    /// Address of the HTTPS listener.
    pub(crate) fn https(&self) -> SocketAddr {
        let addresses = self.ready["https"].as_array().expect("`https` in the ready line");
        let mut addresses = addresses.iter().filter_map(Value::as_str).filter_map(|text| text.parse().ok());
        let mut chosen: SocketAddr = addresses.find(SocketAddr::is_ipv4).expect("an IPv4 listener");
        if chosen.ip().is_unspecified() {
            chosen.set_ip([127, 0, 0, 1].into());
        }
        chosen
    }

    /// Address of the forward proxy.
    pub(crate) fn forward(&self) -> SocketAddr {
        let addresses = self.ready["forward"].as_array().expect("`forward` in the ready line");
        addresses[0].as_str().unwrap().parse().unwrap()
    }

    /// The IPv6 listener, where the machine has one.
    pub(crate) fn http_v6(&self) -> Option<SocketAddr> {
        let addresses = self.ready["http"].as_array().expect("`http` in the ready line");
        let mut parsed = addresses.iter().filter_map(Value::as_str).filter_map(|text| text.parse().ok());
        let mut chosen: SocketAddr = parsed.find(SocketAddr::is_ipv6)?;
        if chosen.ip().is_unspecified() {
            chosen.set_ip(std::net::Ipv6Addr::LOCALHOST.into());
        }
        Some(chosen)
    }

    /// Sum of the series with this name and all these labels (`status="200"`).
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let answer = self.api().get("/metrics").is(200);
        let text = answer.message.text();
        text.lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter(|line| labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    pub(crate) fn api_address(&self) -> SocketAddr {
        let text = self.ready["api"].as_str().expect("`api` in the ready line");
        text.parse().unwrap_or_else(|_| panic!("the API's address {text}"))
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.api_address())
    }

    /// Ready line of the process.
    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.http())
    }

    /// Sends one GET on a new connection.
    pub(crate) fn get(&self, host: &str, target: &str) -> super::Message {
        self.client().get(host, target)
    }

    /// Sends one small POST on a new connection.
    pub(crate) fn client_post(&self, host: &str) -> super::Message {
        let mut client = self.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n\r\nhello"));
        client.response("POST")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All lines of standard output and standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Waits until all cores drain and connections are refused. A refused connection alone may be due to the
    /// core that stopped listening first.
    pub(crate) fn await_drain(&self) {
        eventually("all cores drain", || {
            let log = self.log();
            let ready = log.iter().find(|line| line.contains(r#""event":"ready""#))?;
            let ready: Value = serde_json::from_str(ready).ok()?;
            let draining = log.iter().filter(|line| line.contains(r#""message":"draining""#)).count();
            (draining as u64 >= ready["workers"].as_u64()?).then_some(())
        });
        eventually("connections are refused", || Client::try_connect(self.http()).is_err().then_some(()));
    }

    /// Folder with the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.builder.store()
    }

    /// Lines of the audit log at its usual path, once `is_there` is true of one.
    pub(crate) fn audited(&self, is_there: impl Fn(&Value) -> bool) -> Vec<Value> {
        let path = self.store().with_file_name("audit.log");
        eventually("the line is written", || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            lines.iter().any(&is_there).then_some(lines)
        })
    }

    pub(crate) fn sigterm(&self) {
        self.signal(libc::SIGTERM);
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: a plain system call; the child was not waited for yet, so that its id is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "kill({pid}, {signal})");
    }

    /// Kills the process, and waits until it is gone.
    pub(crate) fn kill9(mut self) -> Builder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.builder.again()
    }

    /// Waits for the end of the process.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually_within(PROCESS_LIMIT, "the process ends", || child.try_wait().unwrap())
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Stops the process by SIGTERM; returns a builder to start it again on the same store.
    pub(crate) fn stop(mut self) -> Builder {
        self.sigterm();
        let status = self.wait_exit();
        assert!(status.success(), "{status}; log:\n{}", self.log().join("\n"));
        self.builder.again()
    }

    /// Runs a client command of the same binary against this process.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.env_remove("RUST_BACKTRACE").env("PROXY_API_PORT", self.api_address().port().to_string());
        output(command.args(arguments), PROCESS_LIMIT)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            eprintln!(
                "--- the end of the proxy's log ---\n{}",
                log[log.len().saturating_sub(60)..].join("\n")
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Builder {
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts through a command that executes the process.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("routes.db")
    }

    /// A scratch folder beside the store.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn start(self) -> Proxy {
        let mut child = self.process().spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        capture(child.stdout.take().unwrap(), &log);
        capture(child.stderr.take().unwrap(), &log);
        let mut proxy = Proxy { child, log, ready: Value::Null, builder: self };
        proxy.ready = eventually_within(PROCESS_LIMIT, "the process says that it is ready", || {
            if let Some(status) = proxy.child.try_wait().unwrap() {
                panic!("the process ended with {status}; log:\n{}", proxy.log().join("\n"));
            }
            proxy.log.lock().unwrap().iter().find_map(|line| ready_line(line))
        });
        proxy
    }

    /// Runs a process that is expected to exit, as with a wrong configuration.
    pub(crate) fn run(self) -> Output {
        self.run_within(PROCESS_LIMIT)
    }

    /// Like [`Builder::run`], with its own timeout.
    pub(crate) fn run_within(self, limit: Duration) -> Output {
        output(&mut self.process(), limit)
    }

    fn process(&self) -> Command {
        let words = [self.wrapper.as_slice(), &[env!("CARGO_BIN_EXE_ringway").to_owned()]].concat();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        for (name, _) in std::env::vars() {
            if ["RINGWAY_", "PROXY_", "HEALTH_", "HEARTBEAT_", "LOG_", "ACCESS_", "ACME_", "DNS_"]
                .iter()
                .any(|known| name.starts_with(known))
            {
                command.env_remove(name);
            }
        }
        command
            .args(&self.arguments)
            .env_remove("RUST_BACKTRACE")
            .env_remove("NOTIFY_SOCKET")
            .env("PROXY_DB_PATH", self.store())
            .envs(&self.environment)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Copies the builder, with the same store.
    pub(crate) fn again(&self) -> Self {
        Self {
            environment: self.environment.clone(),
            arguments: self.arguments.clone(),
            wrapper: self.wrapper.clone(),
            folder: Arc::clone(&self.folder),
        }
    }
}

/// Runs a command to its end, with a timeout.
pub(crate) fn output(command: &mut Command, limit: Duration) -> Output {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let out = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let guard = Guard(&mut child);
    let status = eventually_within(limit, "the command ends", || guard.0.try_wait().unwrap());
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

/// Kills a command when a test fails.
struct Guard<'a>(&'a mut Child);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn capture(pipe: impl Read + Send + 'static, log: &Arc<Mutex<Vec<String>>>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            log.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

/// `{"event":"ready","http":["127.0.0.1:1234"],"api":"127.0.0.1:2345",…}`
fn ready_line(line: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(line).ok()?;
    (value["event"] == "ready").then_some(value)
}
