//! The binary under test: its help, and a running process that answers HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Prefixes of the variables that the binary reads.
const VARIABLES: [&str; 8] =
    ["PROXY_", "RINGWAY_", "ACME_", "HEALTH_", "HEARTBEAT_", "LOG_", "ACCESS_LOG", "DNS_"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    for (name, _) in std::env::vars_os() {
        if VARIABLES.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env("COLUMNS", "100").args(arguments).stdin(Stdio::null());
    command
}

/// Returns what a command prints on standard output.
pub(crate) fn output(arguments: &[&str]) -> String {
    let output = command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A running proxy on free ports, with HTTPS, a CA that cannot be reached, and an access log.
pub(crate) struct Process {
    child: Child,
    api: String,
    http: String,
    _folder: tempfile::TempDir,
}

impl Process {
    /// Starts it and waits until it serves.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (certificates, log) = (path("certificates"), path("access.log"));
        let arguments = [
            ["--storage", "memory"],
            ["--workers", "1"],
            ["--http-port", "0"],
            ["--http-bind", "127.0.0.1"],
            ["--https-port", "0"],
            ["--api-port", "0"],
            ["--acme-directory-url", "https://127.0.0.1:1/directory"],
            ["--cert-path", &certificates],
            ["--access-log", &log],
            ["--log-output", "off"],
        ];
        let mut child =
            command(&arguments.concat()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        let address = |value: &Value| value.as_str().unwrap().to_owned();
        Self { api: address(&ready["api"]), http: address(&ready["http"][0]), child, _folder: folder }
    }

    /// Returns the body of `GET path` at the admin API.
    pub(crate) fn api(&self, path: &str) -> String {
        get(&self.api, path)
    }

    /// Sends one request to the public port.
    pub(crate) fn public(&self, path: &str) -> String {
        get(&self.http, path)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    body.to_owned()
}
