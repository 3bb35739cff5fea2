//! Plain connections that have been silent for a while: a line in a table of the core each, and no session.
//!
//! ```text
//! session ─ silence ─► park ─ something to read ─► session, where it stopped
//!                        └─ its time is over, or the drain ─► closed
//! ```

use std::net::IpAddr;
use std::rc::Rc;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{PeerState, Stream, Wakeup, spawn};
use ringway_telemetry::{ConnectionClosed, Observer};

use crate::accept;
use crate::accept::listener::{Door, HttpMode};
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::Runtime;
use crate::session::Begun;
use crate::session::downstream::DownstreamConn;
use crate::transport::Transport;

/// What is kept of a client without TLS; everything else follows from it.
#[derive(Debug)]
pub(crate) struct Silent {
    peer: IpAddr,
    mode: HttpMode,
    exchanges: u32,
    /// When its next request has to begin.
    until: Tick,
}

impl Silent {
    /// `None` for a client that has more than can be kept here.
    pub(crate) fn of<S>(client: &DownstreamConn<S>, exchanges: u32, until: Tick) -> Option<Self> {
        match client.door {
            Door::Http(mode) => Some(Self { peer: client.peer, mode, exchanges, until }),
            Door::Https(_) => None,
        }
    }

    /// When its next request has to begin.
    pub(crate) fn until(&self) -> Tick {
        self.until
    }
}

/// Takes up again what comes to life, for as long as the core runs.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>) {
    let id = core.id;
    spawn(watch(core.clone()), move |panic| {
        tracing::error!(core = id.0, %panic, "watching silent connections panicked");
    });
}

async fn watch(core: Rc<Core<MonoioRuntime>>) {
    let mut left = Vec::new();
    loop {
        if let Err(error) = core.runtime.silent.wait(&mut left).await {
            tracing::error!(core = core.id.0, %error, "silent connections are not watched any more");
            break;
        }
        for one in left.drain(..) {
            match one {
                Wakeup::Ready(stream, silent) => resume(&core, Transport::Tcp(stream), &silent),
                Wakeup::Expired(silent) => tell_closed(&core, &silent),
            }
        }
    }
    end(&core);
}

/// Ends all of them; what they have sent by now is still served.
pub(crate) fn end<R: Runtime>(core: &Rc<Core<R>>) {
    for (stream, silent) in core.runtime.take_parked() {
        match stream {
            Some(stream) if stream.peek_state() == PeerState::HasData => resume(core, stream, &silent),
            _ => tell_closed(core, &silent),
        }
    }
}

fn resume<R: Runtime>(core: &Rc<Core<R>>, stream: R::Stream, silent: &Silent) {
    let client = DownstreamConn::new(stream, silent.peer, Door::Http(silent.mode), &core.settings);
    // What has begun in time may take its usual time.
    let first_byte_by = core.runtime.now().after(limits::IDLE_BUFFER_GRACE).max(silent.until);
    accept::resume(core, client, Begun { exchanges: silent.exchanges, first_byte_by });
}

fn tell_closed<R: Runtime>(core: &Core<R>, silent: &Silent) {
    core.telemetry
        .connection_closed(&ConnectionClosed { client_ip: silent.peer, exchanges: silent.exchanges });
    core.publish_load();
}
