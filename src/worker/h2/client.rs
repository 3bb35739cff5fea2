//! HTTP/2 connections to endpoints, shared by the requests of many clients.
//!
//! ```text
//! acquire ─► stream of a connection with room
//!         └► none: one request connects, the others wait for its connection ─► start ─► a task drives it
//! ```
//! A connection takes no new requests after it was idle for a while, after GOAWAY, or once the endpoint is no
//! longer configured; requests in progress finish. An endpoint that owes a response and sends nothing gets a
//! PING ([`liveness`](super::liveness)): without an ACK the connection ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::limits;
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use ringway_model::Tick;
use ringway_net::sync::Semaphore;
use ringway_net::{Stream, Waits, clock, spawn};
use ringway_traffic::snapshot::EndpointId;
use ringway_wire::h1::RequestHead;

use super::fields::Malformed;
use super::liveness::Look;
use super::pipe::{self, Driver, Pipe};
use super::stream::{H2Stream, NewRequest};
use super::upstream_liveness::UpstreamWatch;
use super::window::{self, Growth};
use crate::connector::Acquired;
use crate::transport::Transport;

/// Shared connections of one core, by endpoint.
#[derive(Clone, Default)]
pub(crate) struct SharedConnections(Rc<RefCell<HashMap<EndpointId, Shared>>>);

/// Shared connections to one endpoint.
struct Shared {
    connections: Vec<SharedConnection>,
    /// Permit to connect: one request connects, the others wait for its connection.
    connecting: Semaphore,
    /// The endpoint selected HTTP/1.1: there is no connection to wait for.
    is_http1_only: bool,
}

/// Connection that takes requests.
struct SharedConnection {
    send: SendRequest<Bytes>,
    heads: Rc<RefCell<RequestHead>>,
    scheme: &'static str,
    state: Rc<State>,
}

struct State {
    driver: Driver<UpstreamWatch>,
    /// End of the last request.
    idle_since: Cell<Tick>,
    /// Maximum concurrent requests.
    active_max: Cell<usize>,
    /// The same, as far as the windows allow.
    streams_max: Cell<usize>,
    malformed: Rc<Malformed>,
    opened: Cell<u32>,
    is_over: Cell<bool>,
    /// Its end has counted against the endpoint.
    is_counted: Cell<bool>,
}

/// Stream of a connection, counted while it lives.
pub(crate) struct Lease(Rc<State>);

impl SharedConnections {
    /// Returns a stream, or the permit to connect; `None` at the deadline.
    pub(crate) async fn acquire(&self, endpoint: EndpointId, deadline: Tick) -> Option<Acquired<Transport>> {
        let mut permit = match self.open(endpoint) {
            Ok(acquired) => return Some(acquired),
            Err(connecting) => connecting.acquire(),
        };
        let poll = |cx: &mut Context<'_>| Pin::new(&mut permit).poll(cx).map_err(io::Error::other);
        let permit = Waits::new().ok()?.read(deadline, poll).await.ok()?;
        // The request that held the permit has connected, or failed.
        Some(self.open(endpoint).unwrap_or(Acquired::Connect(Some(permit))))
    }

    /// Opens a stream, where a connection has room; else returns the semaphore that the request waits for.
    fn open(&self, endpoint: EndpointId) -> Result<Acquired<Transport>, Semaphore> {
        let mut endpoints = self.0.borrow_mut();
        let shared = endpoints.entry(endpoint).or_default();
        match shared.open() {
            Some(stream) => Ok(Acquired::Stream(stream)),
            None if shared.is_http1_only => Ok(Acquired::Connect(None)),
            None => Err(shared.connecting.clone()),
        }
    }

    /// Starts HTTP/2 on a new connection, and opens its first stream. A peer that takes no bytes for `stall`
    /// breaks it.
    ///
    /// # Errors
    /// When the connection cannot carry a request.
    pub(crate) fn start(
        &self,
        endpoint: EndpointId,
        stream: Transport,
        stall: Duration,
    ) -> io::Result<Transport> {
        let scheme = if matches!(stream, Transport::Tls(_)) { "https" } else { "http" };
        stream.set_user_timeout(limits::H2_UPSTREAM_UNACKNOWLEDGED_MAX);
        let watch = UpstreamWatch::new(clock::now());
        let malformed = watch.malformed();
        let (pipe, driver) = pipe::pipe(watch);
        // The client's handshake only writes, and the pipe takes everything at once.
        let settings = settings();
        let handshake = pin!(settings.handshake::<_, Bytes>(pipe));
        let Poll::Ready(Ok((send, connection))) = handshake.poll(&mut Context::from_waker(Waker::noop()))
        else {
            return Err(ErrorKind::InvalidData.into());
        };
        let state = Rc::new(State {
            driver,
            idle_since: Cell::new(clock::now()),
            active_max: Cell::new(limits::H2_UPSTREAM_STREAMS_MAX),
            streams_max: Cell::new(window::streams_max(limits::H2_UPSTREAM_WINDOW)),
            malformed,
            opened: Cell::new(0),
            is_over: Cell::new(false),
            is_counted: Cell::new(false),
        });
        let ended = state.clone();
        spawn(run(stream, connection, state.clone(), stall), move |_| ended.is_over.set(true));
        let connection = SharedConnection { send, heads: Rc::default(), scheme, state };
        let first = connection.open().ok_or(ErrorKind::ConnectionReset)?;
        let mut endpoints = self.0.borrow_mut();
        let shared = endpoints.entry(endpoint).or_default();
        shared.is_http1_only = false;
        shared.connections.push(connection);
        Ok(first)
    }

    /// Records that the endpoint selected HTTP/1.1.
    pub(crate) fn set_http1_only(&self, endpoint: EndpointId) {
        self.0.borrow_mut().entry(endpoint).or_default().is_http1_only = true;
    }

    /// Drops the connections to all other endpoints; their requests finish.
    pub(crate) fn retain(&self, keep: impl Fn(EndpointId) -> bool) {
        self.0.borrow_mut().retain(|endpoint, shared| {
            shared.connections.retain(|connection| !connection.state.is_over.get());
            keep(*endpoint)
        });
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self { connections: Vec::new(), connecting: Semaphore::new(1, usize::MAX), is_http1_only: false }
    }
}

impl Shared {
    fn open(&mut self) -> Option<Transport> {
        self.connections.retain(|connection| !connection.state.is_over.get());
        let mut with_room = self.connections.iter().filter(|connection| connection.has_room());
        if let Some(stream) = with_room.find_map(SharedConnection::open) {
            return Some(stream);
        }
        // At the maximum of connections, requests wait for the endpoint's own limit.
        match self.connections.len() < limits::H2_UPSTREAM_CONNECTIONS_MAX {
            true => None,
            false => self.connections.iter().min_by_key(|connection| connection.state.active())?.open(),
        }
    }
}

impl SharedConnection {
    fn has_room(&self) -> bool {
        let State { active_max, streams_max, .. } = &*self.state;
        let most = active_max.get().min(streams_max.get()).min(self.send.current_max_send_streams());
        self.state.active() < most
    }

    fn open(&self) -> Option<Transport> {
        let state = &self.state;
        let mut send = self.send.clone();
        let ready = send.poll_ready(&mut Context::from_waker(Waker::noop()));
        if !matches!(ready, Poll::Ready(Ok(()))) || state.opened.get() >= limits::UPSTREAM_REQUESTS_MAX {
            state.is_over.set(true);
            return None;
        }
        state.opened.update(|opened| opened + 1);
        let lease = Lease::new(state);
        let (heads, malformed) = (self.heads.clone(), state.malformed.clone());
        let request = NewRequest { send, heads, scheme: self.scheme, malformed, lease };
        H2Stream::to_endpoint(request).ok().map(|stream| Transport::H2(Box::new(stream)))
    }
}

/// Drives a connection until it closes.
async fn run(
    stream: Transport,
    mut connection: Connection<Pipe<UpstreamWatch>, Bytes>,
    state: Rc<State>,
    stall: Duration,
) {
    let mut pings = connection.ping_pong();
    let mut growth = Growth::new(limits::H2_UPSTREAM_WINDOW);
    let look_again = || state.driver.set_read_by(clock::now().after(limits::H2_UPSTREAM_CHECK_INTERVAL));
    look_again();
    let driven = poll_fn(|cx| {
        let watch = state.driver.watch();
        // Reads are cancelled here only.
        state.driver.take_interrupted();
        if watch.is_flood() {
            return Poll::Ready(());
        }
        if state.driver.take_overdue() {
            let now = clock::now();
            let mut liveness = watch.liveness.borrow_mut();
            let look = liveness.look(now, state.active());
            let is_over = match state.active() {
                0 if state.is_over.get() => true,
                0 => now >= state.idle_since.get().after(limits::UPSTREAM_IDLE_TIMEOUT),
                _ => false,
            };
            if is_over || look == Look::Dead {
                return Poll::Ready(());
            }
            if look == Look::Ping
                && pings.as_mut().is_some_and(|pings| pings.send_ping(Ping::opaque()).is_ok())
            {
                liveness.note_ping(now);
            }
            look_again();
        }
        if let Some(pings) = &mut pings {
            adjust_windows(&state, &mut connection, &mut growth, pings, cx);
        }
        Pin::new(&mut connection).poll(cx).map(drop)
    });
    // Boxed: for the compiler it is a recursive type, polled through another `Transport`.
    Box::pin(state.driver.drive(&stream, stall, driven)).await;
    state.is_over.set(true);
    // Requests in progress fail now.
    drop(connection);
    let _ = Box::pin(stream.shutdown_write(clock::now().after(ringway_model::limits::LINGER_TIMEOUT))).await;
}

/// Measures the endpoint's throughput, and grows the windows where bandwidth and delay ask for it, within the
/// window of the connection.
fn adjust_windows(
    state: &State,
    connection: &mut Connection<Pipe<UpstreamWatch>, Bytes>,
    growth: &mut Growth,
    pings: &mut PingPong,
    cx: &mut Context<'_>,
) {
    let watch = state.driver.watch();
    let bytes = watch.take_data_bytes();
    if bytes > 0 {
        growth.note_data(bytes, clock::now_micros());
    }
    let is_measured = matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)));
    let now = clock::now();
    if is_measured && let Some(window) = growth.end(clock::now_micros(), now) {
        let streams_max = window::streams_max(window);
        if state.active() <= streams_max && connection.set_initial_window_size(window).is_ok() {
            state.streams_max.set(streams_max);
            growth.grow(window);
        } else {
            growth.rest(now);
        }
    }
    let mut liveness = watch.liveness.borrow_mut();
    if growth.wants_ping(now) && liveness.may_ping(now) && pings.send_ping(Ping::opaque()).is_ok() {
        growth.begin(clock::now_micros());
        liveness.note_ping(now);
    }
}

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings
        .enable_push(false)
        .initial_window_size(limits::H2_UPSTREAM_WINDOW)
        // A slow client must not stall the others.
        .initial_connection_window_size(window::UPSTREAM_CONNECTION_WINDOW)
        .max_header_list_size(limits::H2_UPSTREAM_HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(limits::H2_STREAM_SEND_BYTES_MAX);
    settings
}

impl State {
    fn active(&self) -> usize {
        self.driver.watch().active.get()
    }
}

impl Lease {
    fn new(state: &Rc<State>) -> Self {
        let watch = state.driver.watch();
        watch.active.update(|active| active + 1);
        watch.liveness.borrow_mut().note_request(clock::now());
        Self(state.clone())
    }

    /// Lowers the maximum of concurrent requests: the endpoint refused a stream below it, or has not sent its
    /// SETTINGS yet.
    pub(crate) fn note_refused(&self) {
        self.0.active_max.set(self.0.active().saturating_sub(1).max(1));
    }

    /// Whether flood protection ended the connection.
    pub(crate) fn is_flood(&self) -> bool {
        self.0.driver.watch().is_flood()
    }

    /// Counts the end of the connection; `true` for the first of its streams.
    pub(crate) fn count_end(&self) -> bool {
        !self.0.is_counted.replace(true)
    }

    /// Records a protocol violation of the endpoint: the connection takes no more requests, and ends with
    /// those in progress.
    pub(crate) fn note_violation(&self) {
        self.0.is_over.set(true);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.driver.watch().active.update(|active| active - 1);
        if self.0.active() == 0 {
            self.0.idle_since.set(clock::now());
        }
    }
}
