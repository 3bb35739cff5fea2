//! The API over real sockets, with a fake plane that applies changes like the real one.
#![allow(clippy::unwrap_used)]

mod audit;
mod cache;
mod certificates;
mod configuration;
mod connections;
mod endpoints;
mod fake;
mod hostile;
mod listeners;
mod lists;
mod operators;
mod semantics;
mod trail;
mod waits;
mod whole;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use ringway_net::{DriverChoice, Notified, RuntimeOptions};
use serde_json::Value as Json;

use crate::{AccessSettings, Listeners, Settings, Token, serve};
use fake::{FakePlane, State};

/// Timeout of a test for an expected event.
const PATIENCE: Duration = Duration::from_secs(20);

/// Access control with a single token.
fn access(token: Option<&str>) -> AccessSettings {
    AccessSettings { token: token.map(|token| Token::parse(token).unwrap()), ..AccessSettings::default() }
}

/// A running API.
struct Api {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Api {
    fn start() -> Self {
        Self::with(Settings::default(), DriverChoice::Auto, Listeners::default())
    }

    /// Starts an API with these parts and a TCP listener.
    fn with(settings: Settings, driver: DriverChoice, mut listeners: Listeners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listeners.tcp.push(listener);
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = UnixStream::pair().unwrap();
        let plane = FakePlane(Arc::clone(&state));
        let thread = std::thread::spawn(move || {
            let options = RuntimeOptions { driver, blocking_threads: 1, ..RuntimeOptions::default() };
            ringway_net::run(options, |_| async move {
                let mut stopped = Notified::new(stopped)?;
                let stop = async move {
                    let _ = stopped.wait().await;
                };
                serve(listeners, Rc::new(plane), settings, stop).await
            })
            .and_then(|served| served)
        });
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn connect(&self) -> Client<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream, pending: Vec::new() }
    }

    /// Sends one request on a new connection.
    fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.connect().ask(method, path, &[], body)
    }

    /// Stops the server; `finish` waits for its end.
    fn begin_stop(&mut self) {
        self.stop = None;
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.stop = None;
        match self.thread.take() {
            Some(thread) => thread.join().unwrap(),
            None => Ok(()),
        }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let ended = self.finish();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// A client that writes raw bytes and reads responses by their framing.
struct Client<S> {
    stream: S,
    pending: Vec<u8>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl<S: Read + Write> Client<S> {
    fn ask(&mut self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\n");
        if !fields.iter().any(|(name, _)| *name == "Host") {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.send(format!("{head}\r\n{body}").as_bytes());
        self.reply(method == "HEAD")
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Reads one response and checks its framing.
    fn reply(&mut self, is_head: bool) -> Reply {
        let end = loop {
            if let Some(at) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read(), "the connection ended within a head: {:?}", self.pending.escape_ascii());
        };
        let head = String::from_utf8(self.pending.drain(..end).collect()).unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        if is_head || status < 200 || status == 204 || status == 304 {
            return reply;
        }
        if let Some(length) = reply.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.pending.len() < length {
                assert!(self.read(), "the connection ended within a body");
            }
            reply.body = self.pending.drain(..length).collect();
        } else if reply.field("transfer-encoding") == Some("chunked") {
            reply.body = self.chunks();
        } else {
            while self.read() {}
            reply.body = std::mem::take(&mut self.pending);
        }
        reply
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = self.pending.windows(2).position(|window| window == b"\r\n") {
                    break at;
                }
                assert!(self.read(), "the connection ended within a chunked body");
            };
            let line: Vec<u8> = self.pending.drain(..end + 2).collect();
            let length = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
            while self.pending.len() < length + 2 {
                assert!(self.read(), "the connection ended within a chunk");
            }
            body.extend(self.pending.drain(..length));
            assert_eq!(self.pending.drain(..2).collect::<Vec<_>>(), b"\r\n");
            if length == 0 {
                return body;
            }
        }
    }

    /// Whether the server has closed without a further byte.
    fn is_closed(&mut self) -> bool {
        self.pending.is_empty() && !self.read()
    }

    fn read(&mut self) -> bool {
        let mut buf = [0; 16 * 1024];
        match self.stream.read(&mut buf) {
            Ok(0) => false,
            Ok(count) => {
                self.pending.extend_from_slice(&buf[..count]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }
}

impl Reply {
    fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value.trim()))
    }

    fn json(&self) -> Json {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body.escape_ascii().to_string()))
    }

    /// The code of a problem, which must be complete; empty for other responses.
    fn code(&self) -> String {
        if self.field("content-type") != Some("application/problem+json") {
            return String::new();
        }
        let problem = self.json();
        let code = problem["code"].as_str().unwrap().to_owned();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], format!("urn:ringway:problem:{code}"));
        assert_eq!(problem["instance"].as_str(), self.field("x-request-id"));
        assert!(
            !problem["title"].as_str().unwrap().is_empty() && !problem["detail"].as_str().unwrap().is_empty()
        );
        code
    }

    /// `field code` of every finding.
    fn findings(&self) -> Vec<String> {
        let problem = self.json();
        let Some(errors) = problem["errors"].as_array() else { return Vec::new() };
        let text = |value: &Json| value.as_str().unwrap().to_owned();
        errors
            .iter()
            .map(|finding| format!("{} {}", text(&finding["field"]), text(&finding["code"])))
            .collect()
    }
}
