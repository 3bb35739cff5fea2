//! Graceful shutdown of a core.
//!
//! ```text
//! Order::Drain ─► no connection migrates to other cores; those from cores that do not drain yet are served
//!              ─► listeners stop; connections that the kernel had queued are served
//!              ─► busy connections finish their request and close; tunnels are closed
//!              ─► idle ones have DRAIN_IDLE_GRACE for a request that is on its way, and close; likewise those whose last
//!                 response announced keep-alive
//!              ─► none is left, or the deadline: Report::Drained
//! ```

use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::Stream;
use ringway_traffic::report::Report;

use crate::accept::rebalance::Rebalancer;
use crate::core::Core;
use crate::exchange::security_events;
use crate::runtime::Runtime;
use crate::session::downstream_conn::Phase;
use crate::session::idle;

/// Ends all connections of the core, by the deadline at the latest, and reports it. `stop_listening` is
/// called once sessions see that the core drains.
pub(crate) async fn drain<R: Runtime>(core: Rc<Core<R>>, stop_listening: impl FnOnce(), deadline: Tick) {
    core.draining.set(true);
    if let Some(rebalancer) = &core.rebalancer {
        rebalancer.leave();
    }
    tracing::info!(core = core.id.0, connections = core.connections(), "draining");
    stop_listening();
    core.upstreams.borrow_mut().clear();
    let idle_until = core.runtime.now().after(limits::DRAIN_IDLE_GRACE);
    loop {
        // In every round: a busy connection may have fallen idle, and a queued one may have been accepted.
        let idle_is_over = core.runtime.now() >= idle_until;
        for (_, client) in core.clients.borrow().iter() {
            match client.phase.get() {
                Phase::Tunnel => client.stream.cancel_reads(),
                Phase::Idle if idle_is_over => client.stream.cancel_reads(),
                Phase::Idle | Phase::Leaving | Phase::Busy => {}
            }
        }
        if idle_is_over {
            core.pending.cancel_waits();
            idle::end(&core);
        }
        let left = core.connections();
        if left == 0 && core.rebalancer.as_ref().is_none_or(Rebalancer::is_done) {
            break;
        }
        if core.runtime.now() >= deadline {
            tracing::warn!(
                core = core.id.0,
                connections = left,
                "drain deadline reached; connections closed"
            );
            break;
        }
        core.runtime.sleep(ROUND).await;
    }
    // The control thread waits for this until the same deadline: a full mailbox costs time only.
    security_events::report(&core);
    while core.reports.send(Report::Drained { core: core.id }).is_err() && core.runtime.now() < deadline {
        core.runtime.sleep(ROUND).await;
    }
}

/// Interval of the rounds.
const ROUND: Duration = Duration::from_millis(20);
