//! One client connection: its requests, one after the other.
//!
//! ```text
//! ┌► wait ──first byte──► read head ──► exchange ──Keep──┐
//! ├──────────────────────────────────────────────────────┘   every other disposition closes
//! └─ idle ─► no buffers; without TLS no session either ([`idle`]) ─► again
//! ```

pub(crate) mod downstream_conn;
pub(crate) mod idle;
pub(crate) mod linger;

use std::io::ErrorKind;
use std::rc::Rc;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{PeerState, Stream, WriteRate};
use ringway_wire::h1::Parse;

use self::downstream_conn::{DownstreamConn, Phase};
use self::linger::Request;
use crate::accept::listener::{Handler, ListenerId, ListenerLimits};
use crate::core::{ConnBuffers, Core};
use crate::exchange;
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::local_reply::ReplyOptions;
use crate::runtime::Runtime;

/// Start of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    /// Requests that the connection has carried.
    pub(crate) exchanges: u32,
    /// Deadline of the next request's first byte.
    pub(crate) first_byte_by: Tick,
}

/// End of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The connection is closed, after this number of requests.
    Closed(u32),
    /// The connection is in the idle set.
    Parked,
}

/// Serves a connection until it closes, or moves to the idle set.
///
/// The future of a connection that waits is small: what serving needs is in a box of its own, which lives for
/// as long as requests follow each other.
pub(crate) async fn session<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    start: Start,
) -> Ended {
    let Start { mut exchanges, mut first_byte_by } = start;
    loop {
        // Made where it will live: kilobytes, which would be copied from the stack otherwise.
        let serving = Box::write(Box::new_uninit(), serve(core, client, first_byte_by, &mut exchanges));
        let until = match Box::into_pin(serving).await {
            Rest::Idle { until } => until,
            Rest::Over => break,
            Rest::Closing(request) => {
                // Boxed: few come here, and the future of a waiting connection is to be small.
                Box::pin(linger::close(core, &client.stream, client.peer, request, Tick::NEVER)).await;
                break;
            }
        };
        if let Some(idle) = client.to_idle(exchanges, until)
            && core.runtime.park(&client.stream, idle)
        {
            return Ended::Parked;
        }
        let ready = client.stream.readable(until).await;
        if !serves_on(client, ready) {
            break;
        }
        first_byte_by = core.runtime.now().after(limits::IDLE_BUFFER_GRACE).max(until);
    }
    Ended::Closed(exchanges)
}

/// Returns the start of a new connection, whose first request has the head timeout; later ones have the idle
/// timeout.
pub(crate) fn start<R: Runtime>(core: &Core<R>, listener: ListenerId) -> Start {
    let timeout = core.listeners.get(listener).limits.head_timeout;
    Start { exchanges: 0, first_byte_by: core.runtime.now().after(timeout) }
}

/// Reason why a connection is not served at the moment.
enum Rest {
    /// Silent for a while; closed at `until`.
    Idle { until: Tick },
    /// Closed.
    Over,
    /// Closed once the client has the last response.
    Closing(Request),
}

/// Serves requests as long as one follows another.
async fn serve<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    mut first_byte_by: Tick,
    exchanges: &mut u32,
) -> Rest {
    let mut buffers = core.take_buffers();
    client.phase.set(Phase::Idle);
    let rest = loop {
        match wait(core, client, &mut buffers, first_byte_by).await {
            Wait::Bytes => {}
            Wait::Silence => break Rest::Idle { until: first_byte_by },
            Wait::Over => break Rest::Over,
        }
        client.phase.set(Phase::Busy);
        let started_us = core.runtime.now_micros();
        let disposition = match read_head(core, client, &mut buffers).await {
            Ok(()) => handle(core, client, &mut buffers, started_us).await,
            Err(Failure::ClientClosed) => Disposition::Close,
            Err(failure) => exchange::reject(core, client, &mut buffers, failure, started_us, false).await,
        };
        *exchanges += 1;
        match disposition {
            Disposition::Keep if core.draining.get() => {
                client.phase.set(Phase::Leaving);
                first_byte_by = core.runtime.now().after(limits::DRAIN_IDLE_GRACE);
            }
            Disposition::Keep => {
                client.phase.set(Phase::Idle);
                first_byte_by = core.runtime.now().after(limits_of(core, client).idle_timeout);
            }
            // A byte more from the client would make the kernel reset the connection, and lose what was not
            // delivered.
            Disposition::CloseNow
                if client.stream.is_delivered() && client.stream.peek_state() != PeerState::HasData =>
            {
                break Rest::Over;
            }
            Disposition::Close | Disposition::CloseNow => break Rest::Closing(Request::Read),
            Disposition::CloseUnread => break Rest::Closing(Request::Unread),
            Disposition::Reset => {
                client.stream.abort();
                break Rest::Over;
            }
        }
    };
    core.give_buffers(buffers);
    rest
}

/// Passes a request to the handler of its listener.
pub(crate) async fn handle<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    started_us: u64,
) -> Disposition {
    match core.listeners.get(client.admission.listener).handler {
        Handler::Gateway { .. } | Handler::AcmeOnly => {
            exchange::serve(core, client, buffers, started_us).await
        }
        // Boxed: the futures of other sessions must not be larger for it.
        Handler::Forward => Box::pin(exchange::proxied::serve(core, client, buffers, started_us)).await,
    }
}

/// Result of a wait for a request.
enum Wait {
    /// There are bytes in `client_in`.
    Bytes,
    /// Nothing for a while: the buffers go back.
    Silence,
    /// Closed, idle for too long, or the process drains.
    Over,
}

async fn wait<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
    deadline: Tick,
) -> Wait {
    let until = core.runtime.now().after(limits::IDLE_BUFFER_GRACE).min(deadline);
    loop {
        if !buffers.client_in.is_empty() {
            return Wait::Bytes;
        }
        match read(client, buffers, until).await {
            Ok(0) => return Wait::Over,
            Ok(_) => return Wait::Bytes,
            Err(ErrorKind::TimedOut) if until < deadline => return Wait::Silence,
            Err(kind) => {
                if !serves_on(client, Err(kind.into())) {
                    return Wait::Over;
                }
            }
        }
    }
}

/// Whether a wait that ended is followed by a request. The drain interrupts waits; requests that have come by
/// then are still served.
fn serves_on<S: Stream>(client: &DownstreamConn<S>, ready: std::io::Result<()>) -> bool {
    match ready {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::Interrupted => {
            client.stream.resume_reads();
            client.stream.peek_state() == PeerState::HasData
        }
        Err(_) => false,
    }
}

/// Reads until the head in `client_in` is complete: the decode phase of an exchange.
async fn read_head<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    buffers: &mut ConnBuffers,
) -> Result<(), Failure> {
    let limits = limits_of(core, client);
    let deadline = core.runtime.now().after(limits.head_timeout);
    buffers.request.reset();
    loop {
        match buffers.request.parse(&buffers.client_in, &limits.heads).map_err(Failure::BadRequest)? {
            Parse::Complete => return Ok(()),
            Parse::Partial => {}
        }
        match read(client, buffers, deadline).await {
            Ok(0) => return Err(Failure::ClientClosed),
            Ok(_) => {}
            Err(ErrorKind::TimedOut) => return Err(Failure::HeadTimedOut),
            Err(ErrorKind::Interrupted) => client.stream.resume_reads(),
            Err(_) => return Err(Failure::ClientClosed),
        }
    }
}

/// Timeouts and limits of a client: those of its listener.
pub(crate) fn limits_of<'a, R: Runtime, S>(
    core: &'a Core<R>,
    client: &DownstreamConn<S>,
) -> &'a ListenerLimits {
    &core.listeners.get(client.admission.listener).limits
}

/// Reads from the client into `client_in`.
async fn read<S: Stream>(
    client: &DownstreamConn<S>,
    buffers: &mut ConnBuffers,
    deadline: Tick,
) -> Result<usize, ErrorKind> {
    let mut buf = std::mem::take(&mut buffers.client_in);
    if buf.capacity() == buf.len() {
        buf.reserve_exact(ringway_model::limits::HEAD_BUFFER_BYTES);
    }
    let (read, back) = client.stream.read(buf, deadline).await;
    buffers.client_in = back;
    read.map_err(|error| error.kind())
}

/// Rejects a connection whose request is not read with a local reply, and closes it, by `deadline` at the
/// latest.
pub(crate) async fn reject_connection<R: Runtime, S: Stream>(
    core: &Core<R>,
    stream: S,
    failure: Failure,
    deadline: Tick,
) {
    let Some(reply) = failure.reply(core.settings.unavailable_status) else { return };
    let (id, mut out) = (core.request_ids.borrow_mut().draw(), Vec::new());
    let options = ReplyOptions { close: true, ..ReplyOptions::default() };
    reply.encode(&mut out, &options, id.as_str(), core.runtime.timestamp(), None);
    let rate =
        WriteRate::until(core.runtime.now().after(ringway_model::limits::LINGER_TIMEOUT).min(deadline));
    let (sent, _) = stream.write_all(out, rate).await;
    if let (Ok(()), Some(peer)) = (sent, stream.peer_addr()) {
        // An overloaded core has no connections to spare for a lingering close.
        let request = if failure == Failure::Overloaded { Request::Read } else { Request::Unread };
        linger::close(core, &stream, peer.ip().to_canonical(), request, deadline).await;
    }
}

/// Registration of a client in the core's list, for the drain, while it lives.
pub(crate) struct Registration<R: Runtime> {
    core: Rc<Core<R>>,
    key: usize,
}

impl<R: Runtime> Registration<R> {
    /// Registers a client.
    pub(crate) fn new(core: &Rc<Core<R>>, client: &Rc<DownstreamConn<R::Stream>>) -> Self {
        let key = core.clients.borrow_mut().insert(client.clone());
        core.publish_load();
        Self { core: core.clone(), key }
    }
}

impl<R: Runtime> Drop for Registration<R> {
    fn drop(&mut self) {
        self.core.clients.borrow_mut().remove(self.key);
        self.core.publish_load();
    }
}
