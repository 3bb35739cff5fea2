//! Accept loops, one per listener; new connections go to sessions, here or on another core ([`rebalance`]).

pub(crate) mod cert_selector;
pub(crate) mod handshakes;
pub(crate) mod listener;
pub(crate) mod pending_connection;
pub(crate) mod rebalance;
pub(crate) mod secrets;
pub(crate) mod tls_accept;
pub(crate) mod tls_info;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_model::{Tick, limits};
use ringway_net::{Accepted, Listener, Stream, sleep, spawn};
use ringway_telemetry::{ConnectionClosed, ConnectionOpened, ConnectionRefused, Panicked, RefusalReason};

use self::listener::{Handler, ListenerId, ListenerProtocol};
use crate::core::Core;
use crate::exchange::failure::Failure;
use crate::h2;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;
use crate::session::{self, Ended, Registration, Start};
use crate::transport::Transport;

/// Starts the accept loop of a listener.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>, socket: Rc<Listener>, listener: ListenerId) {
    let id = core.id;
    spawn(accept(core.clone(), socket, listener), move |panic| {
        tracing::error!(core = id.0, %panic, "accept loop panicked; listener closed on this core");
    });
}

/// Accepts until the listener is stopped, then serves the connections that the kernel had queued.
async fn accept(core: Rc<Core<MonoioRuntime>>, socket: Rc<Listener>, listener: ListenerId) {
    let mut failing = false;
    loop {
        match socket.take().await.and_then(|accepted| place(&core, accepted, listener)) {
            Ok(()) => failing = false,
            Err(_) if core.draining.get() => break,
            Err(error) => {
                if !failing {
                    tracing::warn!(core = core.id.0, %error, "cannot accept connections");
                }
                failing = true;
                // File descriptors or memory are exhausted until other connections end. Without the pause
                // this loop would starve those connections.
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while let Some(accepted) = socket.take_now() {
        if let Err(error) = admit(&core, accepted, listener) {
            tracing::debug!(core = core.id.0, %error, "accepted connection failed before it was served");
        }
    }
}

/// Serves a new connection here, or migrates it to a core with clearly fewer connections.
fn place(core: &Rc<Core<MonoioRuntime>>, accepted: Accepted, listener: ListenerId) -> io::Result<()> {
    match rebalance::migrate(core, accepted, listener) {
        Some(kept) => admit(core, kept, listener),
        None => Ok(()),
    }
}

/// Serves a connection, or rejects it when the core or the listener is full.
pub(crate) fn admit(
    core: &Rc<Core<MonoioRuntime>>,
    accepted: Accepted,
    listener: ListenerId,
) -> io::Result<()> {
    let address = accepted.peer().ip().to_canonical();
    let stream = accepted.adopt()?;
    let protocol = core.listeners.get(listener).protocol;
    if core.listeners.get(listener).handler == Handler::Forward
        && !core.settings.expects_proxy_header(address)
        && core.forward.as_ref().is_none_or(|forward| !forward.accepts(address))
    {
        // No response: nobody there is to use this port.
        core.telemetry.emit(ConnectionRefused { client_ip: address, reason: RefusalReason::Client });
        return Ok(());
    }
    let has_room = core.connections() < core.settings.connections_max && core.has_descriptor();
    let Some(admission) = has_room.then(|| core.listeners.admit(listener)).flatten() else {
        core.telemetry.emit(ConnectionRefused { client_ip: address, reason: RefusalReason::Full });
        reject(core, Transport::Tcp(stream), protocol);
        return Ok(());
    };
    match protocol {
        ListenerProtocol::Http if !core.settings.expects_proxy_header(address) => {
            let stream = Transport::Tcp(stream);
            serve(core, DownstreamConn::new(stream, address, admission, None, &core.settings));
        }
        ListenerProtocol::Http | ListenerProtocol::Https => {
            pending_connection::start(core, stream, address, admission);
        }
    }
    Ok(())
}

/// Rejects a connection with 503. With TLS, where the handshake would cost more than it saves, and beyond the
/// limit of such responses in progress, the connection is reset.
pub(crate) fn reject<R: Runtime>(core: &Rc<Core<R>>, stream: R::Stream, protocol: ListenerProtocol) {
    let rejections_max = limits::rejections_max(core.settings.connection_files_max);
    if protocol == ListenerProtocol::Https || core.rejections.get() >= rejections_max {
        stream.abort();
        return;
    }
    let rejection = Rejection::new(core);
    core.runtime.spawn(
        async move {
            session::reject_connection(&rejection.0, stream, Failure::Overloaded, Tick::NEVER).await;
        },
        |_| {},
    );
}

/// Rejection in progress, counted while it lives.
struct Rejection<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Rejection<R> {
    fn new(core: &Rc<Core<R>>) -> Self {
        core.rejections.update(|count| count + 1);
        Self(core.clone())
    }
}

impl<R: Runtime> Drop for Rejection<R> {
    fn drop(&mut self) {
        self.0.rejections.update(|count| count - 1);
    }
}

/// Serves a new HTTP/1.1 connection in a task of its own.
pub(crate) fn serve<R: Runtime>(core: &Rc<Core<R>>, client: DownstreamConn<R::Stream>) {
    core.telemetry.emit(ConnectionOpened { client_ip: client.peer });
    let start = session::start(core, client.admission.listener);
    resume(core, client, start);
}

/// Resumes the session of a connection that was idle.
pub(crate) fn resume<R: Runtime>(core: &Rc<Core<R>>, client: DownstreamConn<R::Stream>, start: Start) {
    spawn_session(core, client, async move |core, client| session::session(core, client, start).await);
}

/// Serves a new HTTP/2 connection in a task of its own.
pub(crate) fn serve_http2(core: &Rc<Core<MonoioRuntime>>, client: DownstreamConn<Transport>) {
    core.telemetry.emit(ConnectionOpened { client_ip: client.peer });
    spawn_session(core, client, async |core, client| {
        Ended::Closed(h2::serve(core, client, client.scheme()).await)
    });
}

/// Spawns the task of a session. Generic, because the future of an HTTP/1.1 session is much smaller than that
/// of HTTP/2.
fn spawn_session<R: Runtime>(
    core: &Rc<Core<R>>,
    client: DownstreamConn<R::Stream>,
    session: impl AsyncFnOnce(&Rc<Core<R>>, &Rc<DownstreamConn<R::Stream>>) -> Ended + 'static,
) {
    let client = Rc::new(client);
    let registration = Registration::new(core, &client);
    let (served_by, panicked_on) = ((core.clone(), client.clone()), (core.clone(), client));
    core.runtime.spawn(
        async move {
            let _registration = registration;
            let (core, client) = served_by;
            if let Ended::Closed(exchanges) = session(&core, &client).await {
                core.telemetry.emit(ConnectionClosed { client_ip: client.peer, exchanges });
            }
        },
        move |panic| {
            let (core, client) = panicked_on;
            let request_id = client.request_id.get();
            let request_id = request_id.as_ref().map(|id| id.as_str());
            tracing::error!(core = core.id.0, request_id, %panic, "connection task panicked; connection closed");
            core.telemetry.emit(Panicked { request_id });
            core.telemetry.emit(ConnectionClosed { client_ip: client.peer, exchanges: 0 });
        },
    );
}

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
