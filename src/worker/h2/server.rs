//! One client connection that speaks HTTP/2: its requests are exchanges like any other, each a task of its own.
//!
//! ```text
//!            ┌──────────── the connection's task ────────────┐      ┌──── one task per request ────┐
//! client ◄──►│ pumps ◄─► guard ◄─► h2: frames, windows, HPACK │ ◄──► │ H2Stream ◄─► exchange ◄─► app │
//!            └───────────────────────────────────────────────┘      └──────────────────────────────┘
//! ends by:  silence without requests, age, drain ─► GOAWAY, the requests under way finish, close
//!           abuse ─► what came before it is taken, GOAWAY, close
//! ```
//! What a client may cost is bounded: requests at one time by their tasks, which live on when a request is taken back;
//! what it sends ahead by windows; what it does not take by pace; everything else by the [guard](super::flood).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::limits;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request};
use ringway_model::Tick;
use ringway_net::Stream;
use ringway_telemetry::{ConnectionAbused, Observer, Rejected};
use ringway_wire::h1::{HeadFault, Parse, ResponseHead};
use slab::Slab;

use super::fields::Malformed;
use super::flood::{Abuse, Guard};
use super::head;
use super::pipe::{self, Driver, Pipe, Watch};
use super::stream::H2Stream;
use super::task_pool;
use super::window::{self, Grant, Growth};
use crate::core::{ConnBuffers, Core};
use crate::exchange;
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::grpc;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session::downstream::{DownstreamConn, Phase};
use crate::session::linger::{self, Request as Received};
use crate::transport::Transport;

/// Serves a connection to its end, from the client's preface on. `scheme` is what it carries: `https` over TLS. Returns
/// how many requests it carried.
pub(crate) async fn serve(
    core: &Rc<Core<MonoioRuntime>>,
    connection: &Rc<DownstreamConn<Transport>>,
    scheme: &'static str,
) -> u32 {
    // The drain is told to the connection, which knows what its requests are doing.
    connection.phase.set(Phase::Tunnel);
    let now = core.runtime.now();
    let guard = Guard::new(now);
    let malformed = guard.malformed();
    let (pipe, driver) = pipe::pipe(RefCell::new(guard));
    driver.set_read_by(now.after(core.settings.head_timeout));
    let shared = Rc::new(Shared {
        core: core.clone(),
        connection: connection.clone(),
        driver,
        scheme,
        addresses: (connection.stream.peer_addr(), connection.stream.local_addr()),
        streams: RefCell::default(),
        heads: Rc::default(),
        malformed,
        requests: Cell::new(0),
        is_closing: Cell::new(false),
        is_unread: Cell::new(false),
        discarding: Cell::new(0),
        fault: Cell::new(None),
        waker: Cell::new(None),
    });
    let stall = core.settings.policy.body_progress_timeout;
    shared.driver.drive(&connection.stream, stall, shared.run(pipe, now)).await;
    let abuse = shared.driver.watch().borrow().abuse().map(Abuse::word);
    if let Some(reason) = abuse.or(shared.fault.get()) {
        core.telemetry.connection_abused(&ConnectionAbused { client_ip: connection.peer, reason });
    }
    // From here on there is nobody to be told of the drain.
    connection.phase.set(Phase::Busy);
    if shared.driver.is_broken() {
        connection.stream.abort();
    } else {
        let received = match abuse {
            None if shared.is_unread.get() => Received::Unread,
            _ => Received::Read,
        };
        linger::close(core, &connection.stream, connection.peer, received, Tick::NEVER).await;
    }
    shared.requests.get()
}

/// What the connection and its requests share.
struct Shared {
    core: Rc<Core<MonoioRuntime>>,
    connection: Rc<DownstreamConn<Transport>>,
    driver: Driver<RefCell<Guard>>,
    scheme: &'static str,
    addresses: (Option<SocketAddr>, Option<SocketAddr>),
    /// The requests whose tasks live.
    streams: RefCell<Slab<Rc<DownstreamConn<Transport>>>>,
    heads: Rc<RefCell<ResponseHead>>,
    /// Streams whose trailers are malformed.
    malformed: Rc<Malformed>,
    requests: Cell<u32>,
    /// No more requests are wanted.
    is_closing: Cell<bool>,
    /// A request was answered, and the client may be sending more of it.
    is_unread: Cell<bool>,
    /// Requests that were answered and whose rest is being discarded.
    discarding: Cell<usize>,
    /// What the crate ended the connection for.
    fault: Cell<Option<&'static str>>,
    /// Of the connection's task, while it takes no more requests.
    waker: Cell<Option<Waker>>,
}

/// The windows of a connection, and what makes them grow.
struct Windows {
    growth: Growth,
    grant: Grant,
    pings: Option<PingPong>,
}

type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

impl Shared {
    async fn run(self: &Rc<Self>, pipe: Pipe<RefCell<Guard>>, born: Tick) {
        let Some(mut h2) = self.handshake(pipe).await else { return };
        let client = (!self.connection.trusted).then_some(self.connection.peer);
        let mut windows = Windows {
            growth: Growth::new(limits::H2_STREAM_WINDOW),
            grant: self.core.windows.grant(client),
            pings: h2.ping_pong(),
        };
        self.driver.set_read_by(self.core.runtime.now().after(self.core.settings.idle_timeout));
        while let Some((request, respond)) = poll_fn(|cx| {
            self.tend_windows(&mut h2, &mut windows, cx);
            self.poll_request(&mut h2, cx)
        })
        .await
        {
            self.requests.set(self.requests.get().saturating_add(1));
            self.start(request, respond);
            if !self.is_closing.get() && self.core.runtime.now().since(born) >= limits::H2_CONNECTION_AGE {
                self.close(&mut h2);
            }
        }
    }

    /// The preface and the settings (RFC 9113 §3.4); nothing if they do not come, or not in time.
    async fn handshake(&self, pipe: Pipe<RefCell<Guard>>) -> Option<Connection<Pipe<RefCell<Guard>>, Bytes>> {
        let mut handshake = pin!(settings().handshake::<_, Bytes>(pipe));
        poll_fn(|cx| {
            let is_unwanted = self.driver.take_interrupted() && self.core.draining.get();
            if is_unwanted || self.driver.take_overdue() {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(cx).map(Result::ok)
        })
        .await
    }

    /// Measures what the client sends, and lets it send more ahead where its way is long and fast.
    fn tend_windows(
        &self,
        h2: &mut Connection<Pipe<RefCell<Guard>>, Bytes>,
        Windows { growth, grant, pings }: &mut Windows,
        cx: &mut Context<'_>,
    ) {
        let Some(pings) = pings else { return };
        let world = &self.core.runtime;
        let bytes = self.driver.watch().borrow_mut().take_data_bytes();
        if bytes > 0 {
            growth.note_data(bytes, world.now_micros());
        }
        if matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)))
            && let Some(window) = growth.end(world.now_micros(), world.now())
        {
            let connection_window = window::connection_window(window);
            let more = connection_window - limits::H2_CONNECTION_WINDOW;
            // The settings before may not have been acknowledged yet.
            if grant.raise_to(more) && h2.set_initial_window_size(window).is_ok() {
                h2.set_target_window_size(connection_window);
                growth.grow(window);
            } else {
                growth.rest(world.now());
            }
        }
        if growth.wants_ping(world.now()) && pings.send_ping(Ping::opaque()).is_ok() {
            growth.begin(world.now_micros());
        }
    }

    /// The next request; nothing when the connection is over.
    fn poll_request(
        &self,
        h2: &mut Connection<Pipe<RefCell<Guard>>, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Incoming>> {
        if self.driver.take_interrupted() && self.core.draining.get() {
            self.close(h2);
            for (_, stream) in self.streams.borrow().iter() {
                if stream.phase.get() == Phase::Tunnel {
                    stream.stream.cancel_reads();
                }
            }
        }
        if self.driver.take_overdue() {
            if self.is_closing.get() {
                return Poll::Ready(None);
            }
            self.close(h2);
        }
        let polled = self.poll_frames(h2, cx);
        let abuse = self.driver.watch().borrow().abuse();
        match abuse {
            // All that came before it has been taken: GOAWAY names the last request of it (RFC 9113 §6.8).
            Some(abuse) if polled.is_pending() => {
                h2.abrupt_shutdown(abuse.reason());
                self.poll_frames(h2, cx)
            }
            _ => polled,
        }
    }

    /// Takes what has come, up to the next request.
    fn poll_frames(
        &self,
        h2: &mut Connection<Pipe<RefCell<Guard>>, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Incoming>> {
        if self.streams.borrow().len() < limits::H2_STREAMS_MAX as usize {
            return h2.poll_accept(cx).map(|incoming| match incoming? {
                Ok(request) => Some(request),
                Err(error) => {
                    self.blame(&error);
                    None
                }
            });
        }
        // Requests that were taken back still cost until their tasks have ended: no more begin meanwhile.
        self.waker.set(Some(cx.waker().clone()));
        h2.poll_closed(cx).map(|closed| {
            if let Err(error) = closed {
                self.blame(&error);
            }
            None
        })
    }

    /// Keeps what the crate found wrong with the client's frames.
    fn blame(&self, error: &h2::Error) {
        if error.is_go_away() && error.is_library() {
            self.fault.set(Some(match error.reason() {
                Some(Reason::ENHANCE_YOUR_CALM) => "calm",
                Some(Reason::FLOW_CONTROL_ERROR) => "flow_control",
                Some(Reason::COMPRESSION_ERROR) => "compression",
                _ => "protocol",
            }));
        }
    }

    /// Tells the client to go elsewhere with what comes next; what has come is served.
    fn close(&self, h2: &mut Connection<Pipe<RefCell<Guard>>, Bytes>) {
        if self.is_closing.replace(true) {
            return;
        }
        h2.graceful_shutdown();
        if self.streams.borrow().is_empty() {
            self.driver.set_read_by(self.core.runtime.now().after(ringway_model::limits::LINGER_TIMEOUT));
        }
    }

    /// Gives a request a task of its own.
    fn start(self: &Rc<Self>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        // Each may hold what a connection of HTTP/1 holds.
        if self.core.streams.get() >= self.core.settings.connections_max {
            let code = "overloaded";
            let rejected = Rejected { client_ip: self.connection.peer, code, status: 503 };
            self.core.telemetry.rejected(&rejected);
            // It fails when the client has given the request up.
            let _ = respond.send_response(overloaded(is_call(request.headers())), true);
            if !request.body().is_end_stream() {
                let (core, peer) = (self.core.clone(), self.connection.peer);
                self.core
                    .runtime
                    .spawn(async move { linger::hold(&core, peer, (request, respond)).await }, |_| {});
            }
            return;
        }
        let (parts, body) = request.into_parts();
        let method = head::method(&parts);
        // It fails only outside of our runtime.
        let Ok(stream) =
            H2Stream::new(body, respond, method, self.heads.clone(), self.malformed.clone(), self.addresses)
        else {
            return;
        };
        let client = Rc::new(self.connection.for_stream(Transport::H2(Box::new(stream))));
        let entry = Entry::new(self, &client);
        task_pool::run(&self.core, Job { client, request: parts, entry, scheme: self.scheme });
    }
}

/// A request that is to be served.
pub(crate) struct Job {
    pub(crate) client: Rc<DownstreamConn<Transport>>,
    request: http::request::Parts,
    scheme: &'static str,
    entry: Entry,
}

/// A request that was answered before all of it came.
pub(crate) struct Unread {
    client: Rc<DownstreamConn<Transport>>,
    entry: Entry,
}

impl Unread {
    /// Discards the rest of it for a while, before the stream is reset: some clients take a reset for a failure, even after the whole
    /// response and without an error (RFC 9113 §8.1), and have its frame before their user has the response.
    pub(crate) async fn discard(self, core: &Core<MonoioRuntime>) {
        let Self { client, entry } = self;
        let count = &entry.shared.discarding;
        count.update(|count| count + 1);
        if count.get() <= limits::H2_DISCARDED_STREAMS_MAX {
            linger::discard_request(core, &client).await;
        } else {
            // Others need the place. Not at once: the reset would go out in one record with the response.
            core.runtime.sleep(limits::H2_RESET_DELAY).await;
        }
        count.update(|count| count - 1);
        if let Transport::H2(stream) = &client.stream {
            entry.shared.is_unread.update(|is_unread| is_unread || !stream.is_received());
        }
    }
}

/// Serves a request, from its head to the end of its response. Gives back a request that is not all there.
pub(crate) async fn exchange(
    core: &Core<MonoioRuntime>,
    job: Job,
    buffers: &mut ConnBuffers,
) -> Option<Unread> {
    let Job { client, request, scheme, entry } = job;
    let Transport::H2(stream) = &client.stream else { return None };
    client.phase.set(Phase::Busy);
    let started_us = core.runtime.now_micros();
    let is_call = is_call(&request.headers);
    let next = match read_head(core, stream, request, buffers, (scheme, started_us)).await {
        Ok(()) => exchange::serve(core, &client, buffers, started_us).await,
        Err(failure) => exchange::reject(core, &client, buffers, failure, started_us, is_call).await,
    };
    match next {
        Disposition::Reset => stream.reset(Reason::INTERNAL_ERROR),
        // With its last byte the response has ended. What the client still sends is not wanted: the crate says so when the stream is dropped.
        Disposition::Keep | Disposition::Close | Disposition::CloseUnread | Disposition::CloseNow
            if stream.is_answered() =>
        {
            stream.resume_reads();
            return (!stream.is_received()).then_some(Unread { client, entry });
        }
        Disposition::Keep | Disposition::Close | Disposition::CloseUnread | Disposition::CloseNow => {
            stream.reset(Reason::CANCEL)
        }
    }
    None
}

/// Puts the text of the head into `input`, with what is there of the body, and has it judged.
async fn read_head(
    core: &Core<MonoioRuntime>,
    stream: &H2Stream,
    request: http::request::Parts,
    buffers: &mut ConnBuffers,
    (scheme, nonce): (&str, u64),
) -> Result<(), Failure> {
    let ConnBuffers { client_in, request: parsed, .. } = buffers;
    client_in.clear();
    parsed.reset();
    let coding = head::write(client_in, &request, stream.look().await, scheme, nonce);
    let length = head::body_length(&request);
    // From here on it is text.
    drop(request);
    stream.set_coding(coding.map_err(Failure::BadRequest)?, length);
    client_in.reserve(ringway_model::limits::HEAD_BUFFER_BYTES.saturating_sub(client_in.len()));
    stream.read_now(client_in).await;
    match parsed.parse(client_in, &core.settings.heads).map_err(Failure::BadRequest)? {
        Parse::Complete if length == Some(0) => wait_for_the_end(core, stream).await,
        Parse::Complete => Ok(()),
        // The text ends where it says.
        Parse::Partial => Err(Failure::BadRequest(HeadFault::HeadTooLarge.into())),
    }
}

/// The answer to a request that there is no room for.
fn overloaded(is_call: bool) -> http::Response<()> {
    let mut response = http::Response::new(());
    let fields = response.headers_mut();
    if is_call {
        fields.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        fields.insert("grpc-status", HeaderValue::from(grpc::Status::Unavailable as u16));
        fields.insert("grpc-message", HeaderValue::from_static("too many requests at one time"));
    } else {
        fields.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Whether a request is a call of gRPC.
fn is_call(fields: &HeaderMap) -> bool {
    let content_type = fields.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| grpc::is_grpc(grpc::media_type(value.as_bytes())))
}

/// A request that says that it has no body is whole by its text: whether DATA come all the same must be known before anything of
/// it goes on (RFC 9113 §8.1.1).
async fn wait_for_the_end(core: &Core<MonoioRuntime>, stream: &H2Stream) -> Result<(), Failure> {
    let deadline = core.runtime.now().after(core.settings.policy.body_progress_timeout);
    match stream.read(Vec::with_capacity(1), deadline).await.0 {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Failure::RequestBodyTimedOut),
        Err(_) => Err(Failure::ClientClosed),
    }
}

fn settings() -> Builder {
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(limits::H2_STREAMS_MAX)
        .initial_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_header_list_size(limits::H2_HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(limits::H2_STREAM_SEND_BYTES_MAX)
        .max_concurrent_reset_streams(limits::H2_ERRORS_MAX as usize)
        .max_local_error_reset_streams(Some(limits::H2_CONNECTION_ERRORS_MAX))
        .max_pending_accept_reset_streams(limits::H2_RESETS_MAX as usize)
        .enable_connect_protocol();
    settings
}

/// A request as its connection sees it: entered while its task lives.
struct Entry {
    shared: Rc<Shared>,
    key: usize,
}

impl Entry {
    fn new(shared: &Rc<Shared>, client: &Rc<DownstreamConn<Transport>>) -> Self {
        // While a request is under way the client may be silent.
        shared.driver.set_read_by(Tick::NEVER);
        shared.core.streams.update(|streams| streams + 1);
        let key = shared.streams.borrow_mut().insert(client.clone());
        Self { shared: shared.clone(), key }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let Shared { core, driver, streams, is_closing, waker, .. } = &*self.shared;
        core.streams.update(|streams| streams - 1);
        let client = streams.borrow_mut().remove(self.key);
        drop(client);
        if streams.borrow().is_empty() {
            let patience = if is_closing.get() {
                ringway_model::limits::LINGER_TIMEOUT
            } else {
                core.settings.idle_timeout
            };
            driver.set_read_by(core.runtime.now().after(patience));
        }
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

impl Watch for RefCell<Guard> {
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize {
        self.borrow_mut().read(bytes, now)
    }

    fn on_written(&self, bytes: &[u8]) {
        self.borrow_mut().written(bytes);
    }
}
