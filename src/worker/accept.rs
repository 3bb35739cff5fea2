//! Taking connections: one loop per listener.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringway_net::{Listener, TcpStream, sleep, spawn};
use ringway_telemetry::{
    ConnectionClosed, ConnectionOpened, ConnectionRefused, Observer, Panicked, RefusalReason,
};

use crate::client::Client;
use crate::core::Core;
use crate::session::{self, Entry};
use crate::transport::Transport;
use crate::uring::Uring;

/// Begins to accept.
pub(crate) fn start(core: &Rc<Core<Uring>>, listener: Rc<Listener>) {
    let id = core.id;
    spawn(accept(core.clone(), listener), move |panic| {
        tracing::error!(core = id.0, %panic, "accepting panicked");
    });
}

/// Accepts until the listener is stopped, then serves what the kernel had queued by then.
async fn accept(core: Rc<Core<Uring>>, listener: Rc<Listener>) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                admit(&core, stream, peer);
            }
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
    while let Some((stream, peer)) = listener.accept_now() {
        admit(&core, stream, peer);
    }
}

fn admit(core: &Rc<Core<Uring>>, stream: TcpStream, peer: SocketAddr) {
    let stream = Transport::Tcp(stream);
    if core.clients.borrow().len() >= core.settings.connections_max {
        core.telemetry
            .connection_refused(&ConnectionRefused { client_ip: peer.ip(), reason: RefusalReason::Full });
        spawn(session::turn_away(core.clone(), stream), |_| {});
        return;
    }
    let client = Rc::new(Client::new(stream, peer, &core.settings));
    let entry = Entry::new(core, &client);
    core.telemetry.connection_opened(&ConnectionOpened { client_ip: client.peer });
    let (served_by, panicked_on) = ((core.clone(), client.clone()), (core.clone(), client));
    spawn(
        async move {
            let _entry = entry;
            let (core, client) = served_by;
            let exchanges = session::session(&core, &client).await;
            core.telemetry.connection_closed(&ConnectionClosed { client_ip: client.peer, exchanges });
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
