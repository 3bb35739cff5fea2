//! Sample app: one instance, an HTTP/1.1 server on threads. It registers itself, sends heartbeats,
//! deregisters at its end, and can be stopped for a while.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cli::limits::DEMO_CONNECTIONS_MAX;
use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody, Limits, Parse, RequestHead};
use ringway_wire::message::{Framing, Method};
use serde_json::{Value, json};

use super::super::client::http::HttpClient;
use super::{CallError, call};

/// Time that an instance is down after `/crash`.
const DOWN_TIME: Duration = Duration::from_secs(10);
/// Time between two heartbeats: a third of the proxy's heartbeat timeout.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two attempts to bind a port that another process has taken meanwhile.
const BIND_INTERVAL: Duration = Duration::from_millis(200);
/// Lines of `/stream`, and the time between them.
const STREAM_LINES: usize = 5;
const STREAM_INTERVAL: Duration = Duration::from_secs(1);

/// Running instance.
pub(super) struct SampleApp {
    shared: Arc<Shared>,
    generation: Option<u64>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    app: &'static str,
    name: &'static str,
    address: SocketAddr,
    api: HttpClient,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    phase: Phase,
    connections: Vec<(u64, TcpStream)>,
    accepted: u64,
}

/// State of the simulated process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Alive,
    /// Down until this time.
    Dead(Instant),
    /// Ended.
    Ended,
}

impl SampleApp {
    /// Listens on a free port, then registers: an instance must be reachable when it is registered.
    pub(super) fn start(app: &'static str, name: &'static str, api: HttpClient) -> Result<Self, CallError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(CallError::Socket)?;
        let address = listener.local_addr().map_err(CallError::Socket)?;
        let shared =
            Arc::new(Shared { app, name, address, api, state: Mutex::default(), changed: Condvar::new() });
        let serving = spawn(name, {
            let shared = Arc::clone(&shared);
            move || shared.serve(listener)
        })?;
        let mut sample = Self { shared, generation: None, threads: vec![serving] };
        sample.generation = sample.register()?["generation"].as_u64();
        let (shared, generation) = (Arc::clone(&sample.shared), sample.generation);
        sample.threads.push(spawn(name, move || shared.send_heartbeats(generation))?);
        Ok(sample)
    }

    fn register(&self) -> Result<Value, CallError> {
        let Shared { app, name, address, api, .. } = &*self.shared;
        // Faster than the default of 10 s, to show changes of health.
        let health_check = json!({
            "path": "/health", "interval": "1s", "timeout": "1s", "unhealthy_threshold": 2, "healthy_threshold": 2,
        });
        let instance = json!({ "instance_id": name, "target": format!("http://{address}"), "health_check": health_check });
        call(api, Method::Post, "/api/apps/register", &json!({ "app_id": app, "instance": instance }))
    }

    /// Deregisters: no further requests arrive, and those in flight are finished.
    pub(super) fn deregister(&self) {
        let body = json!({ "instance_id": self.shared.name, "generation": self.generation });
        // Ignored: the proxy stops next.
        let _ = call(&self.shared.api, Method::Delete, "/api/apps/instances", &body);
    }
}

impl Drop for SampleApp {
    fn drop(&mut self) {
        self.shared.enter(Phase::Ended);
        for thread in self.threads.drain(..) {
            // A panic of the thread was printed already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of one connection leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters the next phase: closes all connections, wakes waiting threads, and the listener by connecting
    /// to it.
    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase == Phase::Ended {
            return;
        }
        state.phase = phase;
        for (_, stream) in state.connections.drain(..) {
            // May be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(state);
        self.changed.notify_all();
        // Refused when it does not listen, which is fine.
        let _ = TcpStream::connect(self.address);
    }

    /// Waits; `true` when the instance is still up afterwards.
    fn lives_after(&self, time: Duration) -> bool {
        let state = self.state();
        let waited = self.changed.wait_timeout_while(state, time, |state| state.phase == Phase::Alive);
        waited.unwrap_or_else(PoisonError::into_inner).0.phase == Phase::Alive
    }

    /// Listens, is down for a while, listens again.
    fn serve(self: &Arc<Self>, listener: TcpListener) {
        let mut listener = Some(listener);
        loop {
            if let Some(listener) = listener.take() {
                self.accept(&listener);
            }
            let mut state = self.state();
            loop {
                let left = match state.phase {
                    Phase::Ended => return,
                    Phase::Alive => break,
                    Phase::Dead(until) => until.saturating_duration_since(Instant::now()),
                };
                if left.is_zero() {
                    match TcpListener::bind(self.address) {
                        Ok(again) => {
                            listener = Some(again);
                            state.phase = Phase::Alive;
                            break;
                        }
                        // Another process has taken the port meanwhile; it is registered, hence wait for it.
                        Err(_) => state = self.wait(state, BIND_INTERVAL),
                    }
                } else {
                    state = self.wait(state, left);
                }
            }
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Serves each connection on a thread, until the phase ends.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            let mut state = self.state();
            if state.phase != Phase::Alive {
                return;
            }
            let Ok((stream, _)) = accepted else {
                // Most likely out of descriptors: connections end meanwhile.
                drop(self.wait(state, BIND_INTERVAL));
                continue;
            };
            if state.connections.len() >= DEMO_CONNECTIONS_MAX {
                continue;
            }
            let Ok(copy) = stream.try_clone() else { continue };
            state.accepted += 1;
            let id = state.accepted;
            state.connections.push((id, copy));
            drop(state);
            let shared = Arc::clone(self);
            let serving = std::thread::Builder::new().name(self.name.into()).spawn(move || {
                // Errors of clients are expected.
                let _ = shared.serve_connection(stream);
                shared.forget(id);
            });
            if serving.is_err() {
                self.forget(id);
            }
        }
    }

    fn forget(&self, id: u64) {
        self.state().connections.retain(|(known, _)| *known != id);
    }

    /// Serves the requests of one connection.
    fn serve_connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buf = Vec::new();
        let mut head = RequestHead::default();
        loop {
            head.reset();
            while head.parse(&buf, &Limits::default()).map_err(invalid)? == Parse::Partial {
                if fill(&mut stream, &mut buf)? == 0 {
                    return Ok(());
                }
            }
            let message: Vec<u8> = buf.drain(..head.len()).collect();
            if head.expects_continue() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            skip_body(&mut stream, &mut buf, head.framing())?;
            self.respond(&mut stream, &message, &head)?;
            if !head.keep_alive() {
                return Ok(());
            }
        }
    }

    fn respond(&self, stream: &mut TcpStream, message: &[u8], head: &RequestHead) -> io::Result<()> {
        let method = head.method();
        match head.path(message) {
            "/health" => write(stream, method, 200, "ok\n"),
            "/stream" if method == Method::Get => self.stream(stream),
            "/crash" => {
                let seconds = DOWN_TIME.as_secs();
                write(
                    stream,
                    method,
                    200,
                    &format!("{} stops now and comes back in {seconds} s\n", self.name),
                )?;
                self.enter(Phase::Dead(Instant::now() + DOWN_TIME));
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            _ => write(stream, method, 200, &self.greeting(message, head)),
        }
    }

    /// Response of `/`: the instance, and the fields that the proxy added.
    fn greeting(&self, message: &[u8], head: &RequestHead) -> String {
        let mut text = format!(
            "hello from {}, an instance of {}\n\n{} {}\n",
            self.name,
            self.app,
            head.method_str(message),
            head.path_and_query(message)
        );
        for field in head.fields(message) {
            let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
            if name == "host" || name.starts_with("x-") {
                text.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(field.value)));
            }
        }
        text
    }

    fn stream(&self, stream: &mut TcpStream) -> io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        for number in 1..=STREAM_LINES {
            let line = format!("line {number} of {STREAM_LINES} from {}\n", self.name);
            stream.write_all(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes())?;
            if number < STREAM_LINES && !self.lives_after(STREAM_INTERVAL) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
        }
        stream.write_all(b"0\r\n\r\n")
    }

    /// Sends heartbeats while the instance is up.
    fn send_heartbeats(&self, generation: Option<u64>) {
        let body = json!({ "instance_id": self.name, "generation": generation });
        let mut state = self.state();
        loop {
            match state.phase {
                Phase::Ended => return,
                Phase::Dead(_) => {}
                Phase::Alive => {
                    drop(state);
                    // A lost heartbeat does no harm; the next one follows.
                    let _ = call(&self.api, Method::Post, "/api/apps/heartbeat", &body);
                    state = self.state();
                    if state.phase == Phase::Ended {
                        return;
                    }
                }
            }
            state = self.wait(state, HEARTBEAT_INTERVAL);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, CallError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(CallError::Socket)
}

fn write(stream: &mut TcpStream, method: Method, status: u16, body: &str) -> io::Result<()> {
    let reason = ringway_wire::message::reason_phrase(status);
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    if method != Method::Head {
        text.push_str(body);
    }
    stream.write_all(text.as_bytes())
}

fn skip_body(stream: &mut TcpStream, buf: &mut Vec<u8>, framing: Framing) -> io::Result<()> {
    match framing {
        Framing::Empty | Framing::UntilClose => Ok(()),
        Framing::Length(mut left) => loop {
            let taken = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            buf.drain(..taken);
            left -= taken as u64;
            if left == 0 {
                return Ok(());
            }
            if fill(stream, buf)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        },
        Framing::Chunked => {
            let mut chunks = ChunkedBody::new(ChunkMode::Decode);
            loop {
                let fed = chunks.feed(buf).map_err(invalid)?;
                buf.drain(..fed.consumed);
                if fed.state == BodyState::Done {
                    return Ok(());
                }
                if fill(stream, buf)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

fn fill(stream: &mut TcpStream, buf: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; 16 * 1024];
    let count = stream.read(&mut piece)?;
    buf.extend_from_slice(&piece[..count]);
    Ok(count)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
