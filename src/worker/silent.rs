//! Plain connections that have been silent for a while: a line in a table of the core each, and no session.
//!
//! ```text
//! session ─ silence ─► park ─ something to read ─► session, where it stopped
//!                        └─ its time is over, or the drain ─► closed
//! ```

use std::net::IpAddr;
use std::rc::Rc;

use ringway_model::{Tick, limits};
use ringway_net::{Left, PeerState, Stream, spawn};
use ringway_telemetry::{ConnectionClosed, Observer};

use crate::accept;
use crate::client::Client;
use crate::core::Core;
use crate::door::{Door, HttpMode};
use crate::session::Begun;
use crate::transport::Transport;
use crate::uring::Uring;
use crate::world::World;

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
    pub(crate) fn of<S>(client: &Client<S>, exchanges: u32, until: Tick) -> Option<Self> {
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
pub(crate) fn start(core: &Rc<Core<Uring>>) {
    let id = core.id;
    spawn(watch(core.clone()), move |panic| {
        tracing::error!(core = id.0, %panic, "watching silent connections panicked");
    });
}

async fn watch(core: Rc<Core<Uring>>) {
    let mut left = Vec::new();
    loop {
        if let Err(error) = core.world.silent.wait(&mut left).await {
            tracing::error!(core = core.id.0, %error, "silent connections are not watched any more");
            break;
        }
        for one in left.drain(..) {
            match one {
                Left::Ready(stream, silent) => resume(&core, Transport::Tcp(stream), &silent),
                Left::Expired(silent) => tell_closed(&core, &silent),
            }
        }
    }
    end(&core);
}

/// Ends all of them; what they have sent by now is still served.
pub(crate) fn end<W: World>(core: &Rc<Core<W>>) {
    for (stream, silent) in core.world.take_parked() {
        match stream {
            Some(stream) if stream.peek_state() == PeerState::HasData => resume(core, stream, &silent),
            _ => tell_closed(core, &silent),
        }
    }
}

fn resume<W: World>(core: &Rc<Core<W>>, stream: W::Stream, silent: &Silent) {
    let client = Client::new(stream, silent.peer, Door::Http(silent.mode), &core.settings);
    // What has begun in time may take its usual time.
    let first_byte_by = core.world.now().after(limits::IDLE_BUFFER_GRACE).max(silent.until);
    accept::resume(core, client, Begun { exchanges: silent.exchanges, first_byte_by });
}

fn tell_closed<W: World>(core: &Core<W>, silent: &Silent) {
    core.telemetry
        .connection_closed(&ConnectionClosed { client_ip: silent.peer, exchanges: silent.exchanges });
    core.tell_neighbours();
}
