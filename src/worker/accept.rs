//! Taking connections: one loop per listener, and those that another core has taken ([`mod@rebalancer`]).

pub(crate) mod cert_selector;
pub(crate) mod handshakes;
pub(crate) mod listener;
pub(crate) mod pending_connection;
pub(crate) mod rebalance;
pub(crate) mod secrets;
pub(crate) mod tls_accept;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_model::{Tick, limits};
use ringway_net::{Accepted, Listener, Stream, sleep, spawn};
use ringway_telemetry::{
    ConnectionClosed, ConnectionOpened, ConnectionRefused, Observer, Panicked, RefusalReason,
};

use self::listener::{Door, ListenerProtocol};
use crate::core::Core;
use crate::exchange::failure::Failure;
use crate::h2;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session::downstream::DownstreamConn;
use crate::session::{self, Begun, Ended, Entry};
use crate::transport::Transport;

/// Begins to accept.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>, listener: Rc<Listener>, kind: ListenerProtocol) {
    let id = core.id;
    spawn(accept(core.clone(), listener, kind), move |panic| {
        tracing::error!(core = id.0, %panic, "accepting panicked");
    });
}

/// Accepts until the listener is stopped, then serves what the kernel had queued by then.
async fn accept(core: Rc<Core<MonoioRuntime>>, listener: Rc<Listener>, kind: ListenerProtocol) {
    let mut failing = false;
    loop {
        match listener.take().await.and_then(|accepted| place(&core, accepted, kind)) {
            Ok(()) => failing = false,
            Err(_) if core.draining.get() => break,
            Err(error) => {
                if !failing {
                    tracing::warn!(core = core.id.0, %error, "cannot accept connections");
                }
                failing = true;
                // Descriptors or memory are short: other connections must end before one can begin. Without the
                // pause this loop would take the core from those that could.
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    while let Some(accepted) = listener.take_now() {
        if let Err(error) = admit(&core, accepted, kind) {
            tracing::debug!(core = core.id.0, %error, "a connection was lost at its beginning");
        }
    }
}

/// Has a new connection served: here, or by a core that has clearly less to do.
fn place(core: &Rc<Core<MonoioRuntime>>, accepted: Accepted, kind: ListenerProtocol) -> io::Result<()> {
    match rebalance::hand_over(core, accepted, kind) {
        Some(kept) => admit(core, kept, kind),
        None => Ok(()),
    }
}

/// Serves a connection, or says that there is no room.
pub(crate) fn admit(
    core: &Rc<Core<MonoioRuntime>>,
    accepted: Accepted,
    kind: ListenerProtocol,
) -> io::Result<()> {
    let address = accepted.peer().ip().to_canonical();
    let stream = accepted.adopt()?;
    if core.connections() >= core.settings.connections_max || !core.has_file() {
        core.telemetry
            .connection_refused(&ConnectionRefused { client_ip: address, reason: RefusalReason::Full });
        turn_away(core, Transport::Tcp(stream), kind);
        return Ok(());
    }
    match kind {
        ListenerProtocol::Http(mode) if !core.settings.expects_proxy_header(address) => {
            serve(
                core,
                DownstreamConn::new(Transport::Tcp(stream), address, Door::Http(mode), &core.settings),
            );
        }
        ListenerProtocol::Http(_) | ListenerProtocol::Https => {
            pending_connection::begin(core, stream, address, kind)
        }
    }
    Ok(())
}

/// Says that there is no room, to so many at a time as is no burden itself. Over TLS it cannot be said cheaply.
pub(crate) fn turn_away<R: Runtime>(core: &Rc<Core<R>>, stream: R::Stream, kind: ListenerProtocol) {
    let turned_away_max = limits::turned_away_max(core.settings.connection_files_max);
    if kind == ListenerProtocol::Https || core.turned_away.get() >= turned_away_max {
        stream.abort();
        return;
    }
    let turning = Turning::new(core);
    core.runtime.spawn(
        async move {
            session::turn_away(&turning.0, stream, Failure::Overloaded, Tick::NEVER).await;
        },
        |_| {},
    );
}

/// A connection that is being turned away, counted while it lives.
struct Turning<R: Runtime>(Rc<Core<R>>);

impl<R: Runtime> Turning<R> {
    fn new(core: &Rc<Core<R>>) -> Self {
        core.turned_away.update(|count| count + 1);
        Self(core.clone())
    }
}

impl<R: Runtime> Drop for Turning<R> {
    fn drop(&mut self) {
        self.0.turned_away.update(|count| count - 1);
    }
}

/// Serves a new client that speaks HTTP/1.1, in a task of its own.
pub(crate) fn serve<R: Runtime>(core: &Rc<Core<R>>, client: DownstreamConn<R::Stream>) {
    core.telemetry.connection_opened(&ConnectionOpened { client_ip: client.peer });
    let begun = session::begin(core);
    resume(core, client, begun);
}

/// Goes on with a client that was silent.
pub(crate) fn resume<R: Runtime>(core: &Rc<Core<R>>, client: DownstreamConn<R::Stream>, begun: Begun) {
    serve_by(core, client, async move |core, client| session::session(core, client, begun).await);
}

/// Serves a new client that speaks HTTP/2, in a task of its own.
pub(crate) fn serve_http2(core: &Rc<Core<MonoioRuntime>>, client: DownstreamConn<Transport>) {
    core.telemetry.connection_opened(&ConnectionOpened { client_ip: client.peer });
    serve_by(core, client, async |core, client| {
        Ended::Over(h2::serve(core, client, client.door.scheme()).await)
    });
}

/// Two kinds of tasks, for the one that most connections have is small.
fn serve_by<R: Runtime>(
    core: &Rc<Core<R>>,
    client: DownstreamConn<R::Stream>,
    session: impl AsyncFnOnce(&Rc<Core<R>>, &Rc<DownstreamConn<R::Stream>>) -> Ended + 'static,
) {
    let client = Rc::new(client);
    let entry = Entry::new(core, &client);
    let (served_by, panicked_on) = ((core.clone(), client.clone()), (core.clone(), client));
    core.runtime.spawn(
        async move {
            let _entry = entry;
            let (core, client) = served_by;
            if let Ended::Over(exchanges) = session(&core, &client).await {
                core.telemetry.connection_closed(&ConnectionClosed { client_ip: client.peer, exchanges });
            }
        },
        move |panic| {
            let (core, client) = panicked_on;
            let request_id = client.request_id.get();
            let request_id = request_id.as_ref().map(|id| id.as_str());
            tracing::error!(core = core.id.0, request_id, %panic, "a connection's task panicked and was ended");
            core.telemetry.panicked(&Panicked { request_id });
            core.telemetry.connection_closed(&ConnectionClosed { client_ip: client.peer, exchanges: 0 });
        },
    );
}

/// Until the next try to accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
