//! HTTP/2 connection of a client. Its requests are exchanges like any other, each in a task of its own.
//!
//! ```text
//!            ┌──────────── the connection's task ────────────┐      ┌──── one task per request ────┐
//! client ◄──►│ pumps ◄─► flood ◄─► h2: frames, windows, HPACK │ ◄──► │ H2Stream ◄─► exchange ◄─► app │
//!            └───────────────────────────────────────────────┘      └──────────────────────────────┘
//! ends by:  idle timeout, age, drain ─► GOAWAY, the requests in progress finish, close
//!           violation ─► the frames before it are processed, GOAWAY, close
//! ```
//! The cost of a client is bounded: concurrent requests by their tasks, which go on when a request is reset;
//! bodies by windows; slow reading by a minimum rate; frames by [flood protection](super::flood).

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::limits;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request};
use ringway_model::Tick;
use ringway_net::Stream;
use ringway_telemetry::{ConnectionAbused, Rejected};
use ringway_wire::h1::{HeadFault, Parse, ResponseHead};
use slab::Slab;

use super::fields::Malformed;
use super::flood::{FloodGuard, Violation};
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
use crate::session::linger::{self, Request as Received};
use crate::session::{
    self,
    downstream_conn::{DownstreamConn, Phase},
};
use crate::transport::Transport;

/// Serves a connection, from the client's preface on. `scheme` is that of its requests: `https` with TLS.
/// Returns the number of requests.
pub(crate) async fn serve(
    core: &Rc<Core<MonoioRuntime>>,
    connection: &Rc<DownstreamConn<Transport>>,
    scheme: &'static str,
) -> u32 {
    // The drain interrupts the connection, which knows the phases of its requests.
    connection.phase.set(Phase::Tunnel);
    let now = core.runtime.now();
    let guard = FloodGuard::new(now);
    let malformed = guard.malformed();
    let (pipe, driver) = pipe::pipe(RefCell::new(guard));
    let limits = session::limits_of(core, connection);
    driver.set_read_by(now.after(limits.head_timeout));
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
    let stall = limits.write_stall(&core.settings.policy);
    shared.driver.drive(&connection.stream, stall, shared.run(pipe, now)).await;
    let violation = shared.driver.watch().borrow().violation().map(Violation::as_str);
    if let Some(reason) = violation.or(shared.fault.get()) {
        core.telemetry.emit(ConnectionAbused { client_ip: connection.peer, reason });
    }
    // From here on the drain does not interrupt it.
    connection.phase.set(Phase::Busy);
    if shared.driver.is_broken() {
        connection.stream.abort();
    } else {
        let received = match violation {
            None if shared.is_unread.get() => Received::Unread,
            _ => Received::Read,
        };
        linger::close(core, &connection.stream, connection.peer, received, Tick::NEVER).await;
    }
    shared.requests.get()
}

/// State that the connection and its requests share.
struct Shared {
    core: Rc<Core<MonoioRuntime>>,
    connection: Rc<DownstreamConn<Transport>>,
    driver: Driver<RefCell<FloodGuard>>,
    scheme: &'static str,
    addresses: (Option<SocketAddr>, Option<SocketAddr>),
    /// Requests whose tasks live.
    streams: RefCell<Slab<Rc<DownstreamConn<Transport>>>>,
    heads: Rc<RefCell<ResponseHead>>,
    /// Streams whose trailers are malformed.
    malformed: Rc<Malformed>,
    requests: Cell<u32>,
    /// No more requests are accepted.
    is_closing: Cell<bool>,
    /// The client may be sending the rest of a request that has its response.
    is_unread: Cell<bool>,
    /// Requests whose rest is being discarded after their response.
    discarding: Cell<usize>,
    /// Violation for which the `h2` crate ended the connection.
    fault: Cell<Option<&'static str>>,
    /// Waker of the connection's task while it is at the maximum of requests.
    waker: Cell<Option<Waker>>,
}

/// Windows of a connection, and their growth.
struct Windows {
    growth: Growth,
    grant: Grant,
    pings: Option<PingPong>,
}

type Incoming = (Request<RecvStream>, SendResponse<Bytes>);

impl Shared {
    async fn run(self: &Rc<Self>, pipe: Pipe<RefCell<FloodGuard>>, opened_at: Tick) {
        let Some(mut h2) = self.handshake(pipe).await else { return };
        let client = (!self.connection.trusted).then_some(self.connection.peer);
        let mut windows = Windows {
            growth: Growth::new(limits::H2_STREAM_WINDOW),
            grant: self.core.windows.grant(client),
            pings: h2.ping_pong(),
        };
        let timeout = session::limits_of(&self.core, &self.connection).idle_timeout;
        self.driver.set_read_by(self.core.runtime.now().after(timeout));
        while let Some((request, respond)) = poll_fn(|cx| {
            self.adjust_windows(&mut h2, &mut windows, cx);
            self.poll_request(&mut h2, cx)
        })
        .await
        {
            self.requests.set(self.requests.get().saturating_add(1));
            self.start(request, respond);
            if !self.is_closing.get() && self.core.runtime.now().since(opened_at) >= limits::H2_CONNECTION_AGE
            {
                self.close(&mut h2);
            }
        }
    }

    /// Waits for the preface and the settings (RFC 9113 §3.4); `None` when they do not come in time.
    async fn handshake(
        &self,
        pipe: Pipe<RefCell<FloodGuard>>,
    ) -> Option<Connection<Pipe<RefCell<FloodGuard>>, Bytes>> {
        let mut handshake = pin!(settings().handshake::<_, Bytes>(pipe));
        poll_fn(|cx| {
            let is_draining = self.driver.take_interrupted() && self.core.draining.get();
            if is_draining || self.driver.take_overdue() {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(cx).map(Result::ok)
        })
        .await
    }

    /// Measures the client's throughput, and grows the windows where bandwidth and delay ask for it.
    fn adjust_windows(
        &self,
        h2: &mut Connection<Pipe<RefCell<FloodGuard>>, Bytes>,
        Windows { growth, grant, pings }: &mut Windows,
        cx: &mut Context<'_>,
    ) {
        let Some(pings) = pings else { return };
        let runtime = &self.core.runtime;
        let bytes = self.driver.watch().borrow_mut().take_data_bytes();
        if bytes > 0 {
            growth.note_data(bytes, runtime.now_micros());
        }
        if matches!(pings.poll_pong(cx), Poll::Ready(Ok(_)))
            && let Some(window) = growth.end(runtime.now_micros(), runtime.now())
        {
            let connection_window = window::connection_window(window);
            let more = connection_window - limits::H2_CONNECTION_WINDOW;
            // It fails while earlier settings are not acknowledged.
            if grant.raise_to(more) && h2.set_initial_window_size(window).is_ok() {
                h2.set_target_window_size(connection_window);
                growth.grow(window);
            } else {
                growth.rest(runtime.now());
            }
        }
        if growth.wants_ping(runtime.now()) && pings.send_ping(Ping::opaque()).is_ok() {
            growth.begin(runtime.now_micros());
        }
    }

    /// Polls for the next request; `None` at the end of the connection.
    fn poll_request(
        &self,
        h2: &mut Connection<Pipe<RefCell<FloodGuard>>, Bytes>,
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
        let violation = self.driver.watch().borrow().violation();
        match violation {
            // All frames before it were processed: GOAWAY names the last of their requests (RFC 9113 §6.8).
            Some(violation) if polled.is_pending() => {
                h2.abrupt_shutdown(violation.reason());
                self.poll_frames(h2, cx)
            }
            _ => polled,
        }
    }

    /// Processes frames, up to the next request.
    fn poll_frames(
        &self,
        h2: &mut Connection<Pipe<RefCell<FloodGuard>>, Bytes>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Incoming>> {
        if self.streams.borrow().len() < limits::H2_STREAMS_MAX as usize {
            return h2.poll_accept(cx).map(|incoming| match incoming? {
                Ok(request) => Some(request),
                Err(error) => {
                    self.note_fault(&error);
                    None
                }
            });
        }
        // Requests that were reset count until their tasks have ended.
        self.waker.set(Some(cx.waker().clone()));
        h2.poll_closed(cx).map(|closed| {
            if let Err(error) = closed {
                self.note_fault(&error);
            }
            None
        })
    }

    /// Records the violation that the `h2` crate found.
    fn note_fault(&self, error: &h2::Error) {
        if error.is_go_away() && error.is_library() {
            self.fault.set(Some(match error.reason() {
                Some(Reason::ENHANCE_YOUR_CALM) => "calm",
                Some(Reason::FLOW_CONTROL_ERROR) => "flow_control",
                Some(Reason::COMPRESSION_ERROR) => "compression",
                _ => "protocol",
            }));
        }
    }

    /// Sends GOAWAY; requests that were received are served.
    fn close(&self, h2: &mut Connection<Pipe<RefCell<FloodGuard>>, Bytes>) {
        if self.is_closing.replace(true) {
            return;
        }
        h2.graceful_shutdown();
        if self.streams.borrow().is_empty() {
            self.driver.set_read_by(self.core.runtime.now().after(ringway_model::limits::LINGER_TIMEOUT));
        }
    }

    /// Starts the task of a request.
    fn start(self: &Rc<Self>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        // A request may hold as much memory as a connection of HTTP/1.
        if self.core.streams.get() >= self.core.settings.connections_max {
            let code = "overloaded";
            let rejected = Rejected { client_ip: self.connection.peer, code, status: 503 };
            self.core.telemetry.emit(rejected);
            // It fails when the client has reset the stream.
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
        // It fails only outside of the runtime.
        let Ok(stream) =
            H2Stream::new(body, respond, method, self.heads.clone(), self.malformed.clone(), self.addresses)
        else {
            return;
        };
        let client = Rc::new(self.connection.for_stream(Transport::H2(Box::new(stream))));
        let registration = Registration::new(self, &client);
        task_pool::run(&self.core, Job { client, request: parts, registration, scheme: self.scheme });
    }
}

/// Request to serve.
pub(crate) struct Job {
    pub(crate) client: Rc<DownstreamConn<Transport>>,
    request: http::request::Parts,
    scheme: &'static str,
    registration: Registration,
}

/// Request that got its response before its end.
pub(crate) struct Unread {
    client: Rc<DownstreamConn<Transport>>,
    registration: Registration,
}

impl Unread {
    /// Discards the rest of the request for a while, before the stream is reset: some clients treat a reset
    /// as a failure, even after the whole response and with NO_ERROR (RFC 9113 §8.1), and process it before
    /// the user of the client has the response.
    pub(crate) async fn discard(self, core: &Core<MonoioRuntime>) {
        let Self { client, registration } = self;
        let count = &registration.shared.discarding;
        count.update(|count| count + 1);
        if count.get() <= limits::H2_DISCARDED_STREAMS_MAX {
            linger::discard_request(core, &client).await;
        } else {
            // Other requests need the stream. Not at once: the reset would be sent in one record with the
            // response.
            core.runtime.sleep(limits::H2_RESET_DELAY).await;
        }
        count.update(|count| count - 1);
        if let Transport::H2(stream) = &client.stream {
            registration.shared.is_unread.update(|is_unread| is_unread || !stream.is_received());
        }
    }
}

/// Serves a request, from its head to the end of its response. Returns a request that was not received
/// completely.
pub(crate) async fn exchange(
    core: &Core<MonoioRuntime>,
    job: Job,
    buffers: &mut ConnBuffers,
) -> Option<Unread> {
    let Job { client, request, scheme, registration } = job;
    let Transport::H2(stream) = &client.stream else { return None };
    client.phase.set(Phase::Busy);
    let started_us = core.runtime.now_micros();
    let is_call = is_call(&request.headers);
    let next = match read_head(core, &client, request, buffers, (scheme, started_us)).await {
        Ok(()) => session::handle(core, &client, buffers, started_us).await,
        Err(failure) => exchange::reject(core, &client, buffers, failure, started_us, is_call).await,
    };
    match next {
        Disposition::Reset => stream.reset(Reason::INTERNAL_ERROR),
        // The response is complete. The `h2` crate resets the stream when it is dropped before the request's
        // end.
        Disposition::Keep | Disposition::Close | Disposition::CloseUnread | Disposition::CloseNow
            if stream.is_answered() =>
        {
            stream.resume_reads();
            return (!stream.is_received()).then_some(Unread { client, registration });
        }
        Disposition::Keep | Disposition::Close | Disposition::CloseUnread | Disposition::CloseNow => {
            stream.reset(Reason::CANCEL)
        }
    }
    None
}

/// Writes the head as HTTP/1.1 to `client_in`, with the received part of the body, and parses it.
async fn read_head(
    core: &Core<MonoioRuntime>,
    client: &DownstreamConn<Transport>,
    request: http::request::Parts,
    buffers: &mut ConnBuffers,
    (scheme, nonce): (&str, u64),
) -> Result<(), Failure> {
    let Transport::H2(stream) = &client.stream else { return Err(Failure::ClientClosed) };
    let limits = session::limits_of(core, client);
    let ConnBuffers { client_in, request: parsed, .. } = buffers;
    client_in.clear();
    parsed.reset();
    let coding = head::write(client_in, &request, stream.look().await, scheme, nonce);
    let length = head::body_length(&request);
    drop(request);
    stream.set_coding(coding.map_err(Failure::BadRequest)?, length);
    client_in.reserve(ringway_model::limits::HEAD_BUFFER_BYTES.saturating_sub(client_in.len()));
    stream.read_now(client_in).await;
    match parsed.parse(client_in, &limits.heads).map_err(Failure::BadRequest)? {
        Parse::Complete if length == Some(0) => {
            wait_for_end(core, stream, limits.read_stall(&core.settings.policy)).await
        }
        Parse::Complete => Ok(()),
        // The text is complete: it exceeds a limit of the parser.
        Parse::Partial => Err(Failure::BadRequest(HeadFault::HeadTooLarge.into())),
    }
}

/// Response to a request beyond the limit of concurrent requests.
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

/// Whether a request is a gRPC call.
fn is_call(fields: &HeaderMap) -> bool {
    let content_type = fields.get(http::header::CONTENT_TYPE);
    content_type.is_some_and(|value| grpc::is_grpc(grpc::media_type(value.as_bytes())))
}

/// Waits for the end of a request with `content-length: 0`: DATA would make it malformed, which must be known
/// before it is forwarded (RFC 9113 §8.1.1).
async fn wait_for_end(core: &Core<MonoioRuntime>, stream: &H2Stream, stall: Duration) -> Result<(), Failure> {
    let deadline = core.runtime.now().after(stall);
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

/// Registration of a request with its connection, while its task lives.
struct Registration {
    shared: Rc<Shared>,
    key: usize,
}

impl Registration {
    fn new(shared: &Rc<Shared>, client: &Rc<DownstreamConn<Transport>>) -> Self {
        // No idle timeout while a request is in progress.
        shared.driver.set_read_by(Tick::NEVER);
        shared.core.streams.update(|streams| streams + 1);
        let key = shared.streams.borrow_mut().insert(client.clone());
        Self { shared: shared.clone(), key }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let Shared { core, connection, driver, streams, is_closing, waker, .. } = &*self.shared;
        core.streams.update(|streams| streams - 1);
        let client = streams.borrow_mut().remove(self.key);
        drop(client);
        if streams.borrow().is_empty() {
            let timeout = if is_closing.get() {
                ringway_model::limits::LINGER_TIMEOUT
            } else {
                session::limits_of(core, connection).idle_timeout
            };
            driver.set_read_by(core.runtime.now().after(timeout));
        }
        if let Some(waker) = waker.take() {
            waker.wake();
        }
    }
}

impl Watch for RefCell<FloodGuard> {
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize {
        self.borrow_mut().on_read(bytes, now)
    }

    fn on_written(&self, bytes: &[u8]) {
        self.borrow_mut().on_written(bytes);
    }
}
