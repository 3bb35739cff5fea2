//! Connections to endpoints that speak HTTP/2: requests of many clients share them.
//!
//! ```text
//! join ─► a stream of a connection with room
//!      └► none: one connects, the others wait for what comes of it ─► begin ─► a task drives it
//! ```
//! A connection takes no more requests when it has been idle, when the endpoint says so, or when the endpoint is no longer
//! configured; what is under way on it finishes. An endpoint that owes an answer and is silent may be asked for a sign of
//! life ([`liveness`](super::liveness)): without one, the connection is over.

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
use ringway_net::{Stream, Waits, clock, spawn};
use ringway_traffic::snapshot::EndpointId;
use ringway_wire::h1::RequestHead;

use super::fields::Malformed;
use super::liveness::Look;
use super::pipe::{self, Driver, Pipe};
use super::stream::{Ask, H2Stream};
use super::upstream_liveness::Heard;
use super::window::{self, Growth};
use crate::transport::Transport;

/// The connections of one core, by endpoint.
#[derive(Clone, Default)]
pub(crate) struct Connections(Rc<RefCell<HashMap<EndpointId, Shared>>>);

/// What is known of one endpoint.
#[derive(Default)]
struct Shared {
    connections: Vec<Line>,
    /// Somebody connects.
    is_connecting: bool,
    /// It was asked for HTTP/2 and chose HTTP/1.1: there is nothing to wait for.
    speaks_http1: bool,
    waiting: Vec<Waker>,
}

/// One connection, as long as it takes requests.
struct Line {
    send: SendRequest<Bytes>,
    heads: Rc<RefCell<RequestHead>>,
    scheme: &'static str,
    state: Rc<State>,
}

struct State {
    driver: Driver<Heard>,
    /// When the last request ended.
    idle_since: Cell<Tick>,
    /// Requests at one time.
    active_max: Cell<usize>,
    /// The same, as their windows allow.
    streams_max: Cell<usize>,
    malformed: Rc<Malformed>,
    opened: Cell<u32>,
    is_over: Cell<bool>,
    /// Its end was counted against the endpoint.
    is_counted: Cell<bool>,
}

/// What a request gets.
pub(crate) enum Joined<S> {
    /// A stream of a connection that others use, too.
    Stream(S),
    /// The turn to connect.
    Connect(Permit),
}

/// The turn to connect to an endpoint; others wait while it lives.
pub(crate) struct Permit {
    connections: Connections,
    endpoint: EndpointId,
}

/// Counts a stream on its connection.
pub(crate) struct Lease(Rc<State>);

impl Connections {
    /// A stream, or the turn to connect; `None` at the deadline.
    pub(crate) async fn join(&self, endpoint: EndpointId, deadline: Tick) -> Option<Joined<Transport>> {
        loop {
            if let Some(joined) = self.try_join(endpoint) {
                return Some(joined);
            }
            let turn = |cx: &mut Context<'_>| {
                let mut endpoints = self.0.borrow_mut();
                match endpoints.get_mut(&endpoint).filter(|shared| shared.is_connecting) {
                    Some(shared) => {
                        shared.waiting.push(cx.waker().clone());
                        Poll::Pending
                    }
                    None => Poll::Ready(Ok(())),
                }
            };
            Waits::new().ok()?.read(deadline, turn).await.ok()?;
        }
    }

    fn try_join(&self, endpoint: EndpointId) -> Option<Joined<Transport>> {
        let mut endpoints = self.0.borrow_mut();
        let shared = endpoints.entry(endpoint).or_default();
        if let Some(stream) = shared.open() {
            return Some(Joined::Stream(stream));
        }
        if shared.is_connecting && !shared.speaks_http1 {
            return None;
        }
        shared.is_connecting = true;
        Some(Joined::Connect(Permit { connections: self.clone(), endpoint }))
    }

    /// Begins HTTP/2 on a new connection, and opens its first stream. A peer that takes nothing for `stall` breaks it.
    ///
    /// # Errors
    /// When the connection cannot carry a request.
    pub(crate) fn begin(
        &self,
        endpoint: EndpointId,
        stream: Transport,
        stall: Duration,
    ) -> io::Result<Transport> {
        let scheme = if matches!(stream, Transport::Tls(_)) { "https" } else { "http" };
        stream.set_user_timeout(limits::H2_UPSTREAM_UNACKNOWLEDGED_MAX);
        let heard = Heard::new(clock::now());
        let malformed = heard.malformed();
        let (pipe, driver) = pipe::pipe(heard);
        // It only writes, and the pipe takes what it writes at once.
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
        let line = Line { send, heads: Rc::default(), scheme, state };
        let first = line.open().ok_or(ErrorKind::ConnectionReset)?;
        let mut endpoints = self.0.borrow_mut();
        let shared = endpoints.entry(endpoint).or_default();
        shared.speaks_http1 = false;
        shared.connections.push(line);
        Ok(first)
    }

    /// The endpoint chose HTTP/1.1.
    pub(crate) fn note_http1(&self, endpoint: EndpointId) {
        self.0.borrow_mut().entry(endpoint).or_default().speaks_http1 = true;
    }

    /// Takes no more requests to the endpoints that are not to be kept.
    pub(crate) fn keep_only(&self, keep: impl Fn(EndpointId) -> bool) {
        self.0.borrow_mut().retain(|endpoint, shared| {
            shared.connections.retain(|line| !line.state.is_over.get());
            // Whoever connects gives the turn back to the others.
            keep(*endpoint) || shared.is_connecting
        });
    }
}

impl Shared {
    fn open(&mut self) -> Option<Transport> {
        self.connections.retain(|line| !line.state.is_over.get());
        if let Some(stream) = self.connections.iter().find_map(|line| line.has_room().then(|| line.open())?) {
            return Some(stream);
        }
        // Beyond the most that are allowed, the endpoint's own limit makes requests wait.
        match self.connections.len() < limits::H2_UPSTREAM_CONNECTIONS_MAX {
            true => None,
            false => self.connections.iter().min_by_key(|line| line.state.active())?.open(),
        }
    }
}

impl Line {
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
        let ask = Ask { send, heads, scheme: self.scheme, malformed, lease };
        H2Stream::ask(ask).ok().map(|stream| Transport::H2(Box::new(stream)))
    }
}

/// Drives a connection to its end.
async fn run(
    stream: Transport,
    mut connection: Connection<Pipe<Heard>, Bytes>,
    state: Rc<State>,
    stall: Duration,
) {
    let mut pings = connection.ping_pong();
    let mut growth = Growth::new(limits::H2_UPSTREAM_WINDOW);
    let look_again = || state.driver.set_read_by(clock::now().after(limits::H2_UPSTREAM_LOOK_INTERVAL));
    look_again();
    let driven = poll_fn(|cx| {
        let heard = state.driver.watch();
        // Nobody but us cancels its reads.
        state.driver.take_interrupted();
        if heard.is_flood() {
            return Poll::Ready(());
        }
        if state.driver.take_overdue() {
            let now = clock::now();
            let mut liveness = heard.liveness.borrow_mut();
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
            tend_windows(&state, &mut connection, &mut growth, pings, cx);
        }
        Pin::new(&mut connection).poll(cx).map(drop)
    });
    // Boxed: it is polled through another stream of the same type, as far as the compiler can tell.
    Box::pin(state.driver.drive(&stream, stall, driven)).await;
    state.is_over.set(true);
    // What was under way fails now.
    drop(connection);
    let _ = Box::pin(stream.shutdown_write(clock::now().after(ringway_model::limits::LINGER_TIMEOUT))).await;
}

/// Measures what the endpoint sends, and lets it send more ahead where its way is long and fast. Never by more than what the window
/// of the connection holds for all its streams.
fn tend_windows(
    state: &State,
    connection: &mut Connection<Pipe<Heard>, Bytes>,
    growth: &mut Growth,
    pings: &mut PingPong,
    cx: &mut Context<'_>,
) {
    let heard = state.driver.watch();
    let bytes = heard.take_data_bytes();
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
    let mut liveness = heard.liveness.borrow_mut();
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
        // Whoever reads slowly holds up nobody else.
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
        let heard = state.driver.watch();
        heard.active.update(|active| active + 1);
        heard.liveness.borrow_mut().note_request(clock::now());
        Self(state.clone())
    }

    /// The endpoint takes fewer requests at one time than it said, or has not said yet how many.
    pub(crate) fn note_refused(&self) {
        self.0.active_max.set(self.0.active().saturating_sub(1).max(1));
    }

    /// Whether the connection was ended by a limit of ours.
    pub(crate) fn is_flood(&self) -> bool {
        self.0.driver.watch().is_flood()
    }

    /// Whether the end of the connection is counted for the first time.
    pub(crate) fn count_end(&self) -> bool {
        !self.0.is_counted.replace(true)
    }

    /// The endpoint did what none may: the connection takes no more requests, and ends with those under way.
    pub(crate) fn note_foul(&self) {
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

impl Drop for Permit {
    fn drop(&mut self) {
        let waiting = match self.connections.0.borrow_mut().get_mut(&self.endpoint) {
            Some(shared) => {
                shared.is_connecting = false;
                std::mem::take(&mut shared.waiting)
            }
            None => Vec::new(),
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}
