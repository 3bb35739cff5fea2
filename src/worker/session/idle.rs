//! Idle client connections without TLS: an entry in the core's idle set each, and no session.
//!
//! ```text
//! session ─ idle ─► idle set ─ readable ─► session, where it stopped
//!                      └─ deadline, or drain ─► closed
//! ```

use std::rc::Rc;

use crate::limits;
use ringway_net::{PeerState, Stream, Wakeup, spawn};
use ringway_telemetry::ConnectionClosed;

use crate::accept;
use crate::core::Core;
use crate::monoio_runtime::MonoioRuntime;
use crate::runtime::{IdleConn, Runtime};
use crate::session::Start;
use crate::session::downstream_conn::DownstreamConn;
use crate::transport::Transport;

/// Starts the task that resumes connections of the idle set, for as long as the core runs.
pub(crate) fn start(core: &Rc<Core<MonoioRuntime>>) {
    let id = core.id;
    spawn(watch(core.clone()), move |panic| {
        tracing::error!(core = id.0, %panic, "idle connection task panicked; idle connections are not resumed");
    });
}

async fn watch(core: Rc<Core<MonoioRuntime>>) {
    let mut wakeups = Vec::new();
    loop {
        if let Err(error) = core.runtime.idle.wait(&mut wakeups).await {
            tracing::error!(core = core.id.0, %error, "epoll of the idle set failed; idle connections closed");
            break;
        }
        for wakeup in wakeups.drain(..) {
            match wakeup {
                Wakeup::Ready(stream, idle) => resume(&core, Transport::Tcp(stream), idle),
                Wakeup::Expired(idle) => report_closed(&core, &idle),
            }
        }
    }
    end(&core);
}

/// Closes all idle connections; those that have sent something are served.
pub(crate) fn end<R: Runtime>(core: &Rc<Core<R>>) {
    for (stream, idle) in core.runtime.take_idle() {
        match stream {
            Some(stream) if stream.peek_state() == PeerState::HasData => resume(core, stream, idle),
            _ => report_closed(core, &idle),
        }
    }
}

fn resume<R: Runtime>(core: &Rc<Core<R>>, stream: R::Stream, idle: IdleConn) {
    let client = DownstreamConn::new(stream, idle.peer, idle.admission, None, &core.settings);
    // A request that began in time has its usual time.
    let first_byte_by = core.runtime.now().after(limits::IDLE_BUFFER_GRACE).max(idle.deadline);
    accept::resume(core, client, Start { exchanges: idle.exchanges, first_byte_by });
}

fn report_closed<R: Runtime>(core: &Core<R>, idle: &IdleConn) {
    core.telemetry.emit(ConnectionClosed { client_ip: idle.peer, exchanges: idle.exchanges });
    core.publish_load();
}
