//! ACME CA for tests: Debian's `pebble` with its own DNS server, on free ports.
//!
//! Self-contained: the tests of `control/certs` include it by its path. Its HTTPS endpoint has a certificate
//! of a CA that is made here; issued certificates are signed by its own root, see [`Pebble::root`].

#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "a kit offers more than one scenario uses")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt;
use std::os::unix;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Version of pebble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Release {
    /// 2.10, as tests/pebble.sh fetches it: with ARI and profiles.
    New,
    /// 2.4, the package of Debian 12: without, and with OCSP.
    Debian12,
}

/// Behaviour of a CA.
#[derive(Clone, Debug)]
pub(crate) struct Habits {
    /// Version of pebble.
    pub(crate) release: Release,
    /// Where it fetches challenges: the port at which the gateway serves plain HTTP.
    pub(crate) http_port: u16,
    /// Percentage of valid nonces that it refuses (pebble's default: 5).
    pub(crate) bad_nonces_percent: u8,
    /// Percentage of authorizations that it reuses (pebble's default: 50).
    pub(crate) authz_reuse_percent: u8,
    /// Whether accounts need an external binding; then key id `kid-1` and this HMAC key, [`EAB_HMAC`].
    pub(crate) needs_eab: bool,
    /// Seconds that a certificate is valid; six days at most with the profile `shortlived`. Where no profile
    /// is asked for, pebble takes one of the two by chance.
    pub(crate) lifetime_seconds: u64,
    /// `Retry-After` of pending authorizations and orders, in seconds.
    pub(crate) retry_after_seconds: u64,
    /// A name that it never issues for, and all below it.
    pub(crate) blocked: &'static str,
}

impl Habits {
    /// Those of pebble, for a gateway at `http_port`.
    pub(crate) fn at(http_port: u16) -> Self {
        Self {
            release: Release::New,
            http_port,
            bad_nonces_percent: 5,
            authz_reuse_percent: 50,
            needs_eab: false,
            lifetime_seconds: 90 * 24 * 3600,
            retry_after_seconds: 1,
            blocked: "blocked.example",
        }
    }
}

/// The key id that an account is bound with, where [`Habits::needs_eab`].
pub(crate) const EAB_KID: &str = "kid-1";
/// Its HMAC key, in base64url.
pub(crate) const EAB_HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// A running CA. It ends with this value.
pub(crate) struct Pebble {
    habits: Habits,
    /// Holds its certificate, its configuration and its log.
    home: tempfile::TempDir,
    ca: SocketAddr,
    management: SocketAddr,
    names: Names,
    process: Option<Child>,
}

/// Its DNS server, with configurable records.
pub(crate) struct Names {
    /// Ask here.
    pub(crate) dns: SocketAddr,
    management: SocketAddr,
    process: Child,
}

impl Pebble {
    /// Starts a CA and its DNS server. Every name resolves to 127.0.0.1 by default.
    ///
    /// # Panics
    /// When pebble is not there and cannot be fetched, or does not come up.
    pub(crate) fn start(habits: Habits) -> Self {
        let home = tempfile::tempdir().unwrap();
        write_own_certificate(home.path());
        let names = Names::start(home.path());
        let mut pebble = Self { habits, home, ca: nowhere(), management: nowhere(), names, process: None };
        // A port that was free may be taken by the time that pebble binds it.
        for _ in 0..PORT_TRIES {
            (pebble.ca, pebble.management) = (free_address(), free_address());
            if pebble.launch() {
                return pebble;
            }
        }
        panic!("pebble does not start: {}", pebble.log());
    }

    /// The URL of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.ca)
    }

    /// A PEM file with the root of its own HTTPS, for `ACME_CA_BUNDLE`.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// The root of what it issues, PEM. Another one after each start.
    pub(crate) fn root(&self) -> String {
        self.ask("roots/0", None)
    }

    /// Its DNS server.
    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("pebble.log")).unwrap_or_default()
    }

    /// Has its renewal information (RFC 9773) say this of a certificate (PEM): a `suggestedWindow` with these
    /// two moments, in RFC 3339.
    pub(crate) fn set_renewal_window(&self, certificate_pem: &str, start: &str, end: &str) {
        let info = serde_json::json!({ "suggestedWindow": { "start": start, "end": end } });
        let body = serde_json::json!({ "certificate": certificate_pem, "ariResponse": info.to_string() });
        self.ask("set-renewal-info/", Some(&body.to_string()));
    }

    /// Stops it: its address refuses connections. It forgets accounts and orders.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again at the same address, with other habits if they were changed.
    pub(crate) fn start_again(&mut self) {
        assert!(self.launch(), "pebble does not start again: {}", self.log());
    }

    /// Its habits, for the next start.
    pub(crate) fn habits(&mut self) -> &mut Habits {
        &mut self.habits
    }

    /// Has it accept connections and answer nothing, until [`Pebble::wake`].
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Has it go on.
    pub(crate) fn wake(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Whether it came up.
    fn launch(&mut self) -> bool {
        self.stop();
        let (home, habits) = (self.home.path(), &self.habits);
        let pebble = serde_json::json!({
            "listenAddress": self.ca.to_string(),
            "managementListenAddress": self.management.to_string(),
            "certificate": home.join("pebble.pem"),
            "privateKey": home.join("pebble.key"),
            "httpPort": habits.http_port,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": habits.needs_eab,
            "externalAccountMACKeys": { EAB_KID: EAB_HMAC },
            "domainBlocklist": [habits.blocked],
            "retryAfter": { "authz": habits.retry_after_seconds, "order": habits.retry_after_seconds },
            "keyAlgorithm": "ecdsa",
            "profiles": {
                "default": { "description": "what everyone gets", "validityPeriod": habits.lifetime_seconds },
                "shortlived": {
                    "description": "six days",
                    "validityPeriod": habits.lifetime_seconds.min(6 * 24 * 3600),
                },
            },
        });
        let config = home.join("pebble.json");
        std::fs::write(&config, serde_json::json!({ "pebble": pebble }).to_string()).unwrap();
        let mut command = Command::new(match habits.release {
            Release::New => program("pebble"),
            Release::Debian12 => PathBuf::from("/usr/bin/pebble"),
        });
        command
            .arg("-config")
            .arg(&config)
            .args(["-strict", "-dnsserver", &self.names.dns.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_WFE_NONCEREJECT", habits.bad_nonces_percent.to_string())
            .env("PEBBLE_AUTHZREUSE", habits.authz_reuse_percent.to_string());
        let mut process = spawn(command, &home.join("pebble.log"));
        let is_up = comes_up(&mut process, &[self.ca, self.management]);
        self.process = Some(process);
        if !is_up {
            self.stop();
        }
        is_up
    }

    /// Sends a request to its management interface, over HTTPS.
    fn ask(&self, path: &str, body: Option<&str>) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--fail", "--silent", "--show-error", "--max-time", "60", "--cacert"]).arg(self.bundle());
        if let Some(body) = body {
            curl.args(["--data", body]);
        }
        let output =
            curl.arg(format!("https://{}/{path}", self.management)).output().expect("curl is installed");
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("--- pebble's log ---\n{}", self.log());
        }
    }
}

impl Names {
    fn start(home: &Path) -> Self {
        for _ in 0..PORT_TRIES {
            let (dns, management) = (free_address(), free_address());
            let mut command = Command::new(program("pebble-challtestsrv"));
            command.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", ""]);
            command.args(["-defaultIPv4", "127.0.0.1", "-dnsserver", &dns.to_string()]);
            command.args(["-management", &management.to_string()]);
            let mut process = spawn(command, &home.join("names.log"));
            // Over TCP it is there as soon as over UDP.
            if comes_up(&mut process, &[dns, management]) {
                return Self { dns, management, process };
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        panic!(
            "the DNS server does not start: {}",
            std::fs::read_to_string(home.join("names.log")).unwrap_or_default()
        );
    }

    /// Where names lead that were not set; `None`: they do not exist.
    pub(crate) fn set_default(&self, address: Option<Ipv4Addr>) {
        let address = address.map_or(String::new(), |address| address.to_string());
        self.tell("set-default-ipv4", &serde_json::json!({ "ip": address }));
    }

    /// Sets the A records of a name.
    pub(crate) fn set_a(&self, name: &str, addresses: &[&str]) {
        self.tell("clear-a", &serde_json::json!({ "host": dotted(name) }));
        self.tell("add-a", &serde_json::json!({ "host": dotted(name), "addresses": addresses }));
    }

    /// Takes them away: the default counts again.
    pub(crate) fn clear_a(&self, name: &str) {
        self.tell("clear-a", &serde_json::json!({ "host": dotted(name) }));
    }

    /// Sets the AAAA records of a name, or takes them away.
    pub(crate) fn set_aaaa(&self, name: &str, addresses: &[&str]) {
        self.tell("clear-aaaa", &serde_json::json!({ "host": dotted(name) }));
        if !addresses.is_empty() {
            self.tell("add-aaaa", &serde_json::json!({ "host": dotted(name), "addresses": addresses }));
        }
    }

    /// Makes a name an alias.
    pub(crate) fn set_cname(&self, name: &str, target: &str) {
        self.tell("set-cname", &serde_json::json!({ "host": dotted(name), "target": dotted(target) }));
    }

    /// Takes the alias away.
    pub(crate) fn clear_cname(&self, name: &str) {
        self.tell("clear-cname", &serde_json::json!({ "host": dotted(name) }));
    }

    /// Sets one CAA record of a name.
    pub(crate) fn set_caa(&self, name: &str, tag: &str, value: &str) {
        let policies = serde_json::json!([{ "tag": tag, "value": value }]);
        self.tell("clear-caa", &serde_json::json!({ "host": dotted(name) }));
        self.tell("add-caa", &serde_json::json!({ "host": dotted(name), "policies": policies }));
    }

    /// Takes them away.
    pub(crate) fn clear_caa(&self, name: &str) {
        self.tell("clear-caa", &serde_json::json!({ "host": dotted(name) }));
    }

    /// Has every question about a name end with SERVFAIL.
    pub(crate) fn set_servfail(&self, name: &str) {
        self.tell("set-servfail", &serde_json::json!({ "host": dotted(name) }));
    }

    /// Ends that.
    pub(crate) fn clear_servfail(&self, name: &str) {
        self.tell("clear-servfail", &serde_json::json!({ "host": dotted(name) }));
    }

    fn tell(&self, what: &str, body: &serde_json::Value) {
        let body = body.to_string();
        let mut stream = TcpStream::connect(self.management).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut request = String::new();
        write!(
            request,
            "POST /{what} HTTP/1.0\r\nHost: names\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"), "{what}: {answer}");
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Timeout for a program to listen: the machine may be busy with a build.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts with other ports.
const PORT_TRIES: usize = 8;

/// Where a program of pebble's is; fetched when it is missing.
fn program(name: &str) -> PathBuf {
    // The root of the repository is above the crate that includes this file.
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script =
        crate_dir.ancestors().map(|dir| dir.join("tests/pebble.sh")).find(|path| path.exists()).unwrap();
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Path::new(String::from_utf8(output.stdout).unwrap().trim()).join(name)
}

/// A certificate for 127.0.0.1 and the CA behind it.
fn write_own_certificate(home: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // With the same name as the leaf, OpenSSL would take that for self-signed.
    ca.distinguished_name.push(DnType::CommonName, "the CA of the CA");
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(home.join("ca.pem"), ca_pem).unwrap();
    std::fs::write(home.join("pebble.pem"), certificate.pem()).unwrap();
    std::fs::write(home.join("pebble.key"), key.serialize_pem()).unwrap();
}

fn spawn(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Waits until a process listens at all of these addresses, or has ended.
fn comes_up(process: &mut Child, addresses: &[SocketAddr]) -> bool {
    let end = Instant::now() + PATIENCE;
    let (_sender, never) = std::sync::mpsc::sync_channel::<()>(0);
    for address in addresses {
        while TcpStream::connect(address).is_err() {
            if process.try_wait().unwrap().is_some() || Instant::now() > end {
                return false;
            }
            let _ = never.recv_timeout(Duration::from_millis(5));
        }
    }
    // Another process may listen there, and this one may be about to exit for it.
    process.try_wait().unwrap().is_none()
}

/// Finds an address whose port is free on TCP and UDP until this process binds it: outside the kernel's
/// ephemeral range, and reserved among tests by a name that is held as long as the process.
pub(crate) fn free_address() -> SocketAddr {
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let mut claims = CLAIMS.lock().unwrap();
    let first = FREE_PORTS.start + (std::process::id() * 17 % FREE_PORTS.len() as u32) as u16;
    for port in (first..FREE_PORTS.end).chain(FREE_PORTS.start..first) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let name = unix::net::SocketAddr::from_abstract_name(format!("ringway-test-port-{port}")).unwrap();
        let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            claims.push(claim);
            return address;
        }
    }
    panic!("no port of {FREE_PORTS:?} is free");
}

/// Below those of `net.ipv4.ip_local_port_range`.
const FREE_PORTS: Range<u16> = 16_384..32_768;

fn nowhere() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn dotted(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}
