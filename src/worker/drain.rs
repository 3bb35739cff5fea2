//! The orderly end of a core.
//!
//! ```text
//! Order::Drain ─► nothing is handed to other cores any more; what comes from those that do not drain yet is served
//!              ─► listeners stop, what the kernel had queued is still served
//!              ─► busy connections finish their request and close, tunnels say goodbye
//!              ─► idle ones have a moment for a request that is on its way, and close; so have those that fall idle after an
//!                 answer that did not tell them yet
//!              ─► all gone, or the deadline: Report::Drained
//! ```

use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::Stream;
use ringway_traffic::report::Report;

use crate::accept::rebalance::Rebalancer;
use crate::core::Core;
use crate::runtime::Runtime;
use crate::session::downstream::Phase;
use crate::session::idle;

/// Ends all connections of the core, by the deadline at the latest, and reports it. `stop_listening` is called once
/// connections can know that the core drains.
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
        // Every round anew: a connection that was busy may have fallen idle, and a queued one may have come in.
        let idle_is_over = core.runtime.now() >= idle_until;
        for (_, client) in core.clients.borrow().iter() {
            match client.phase.get() {
                Phase::Tunnel => client.stream.cancel_reads(),
                Phase::Idle if idle_is_over => client.stream.cancel_reads(),
                Phase::Idle | Phase::Leaving | Phase::Busy => {}
            }
        }
        if idle_is_over {
            core.arrivals.cancel_waits();
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
                "the drain's time is over, connections are cut"
            );
            break;
        }
        core.runtime.sleep(ROUND).await;
    }
    // The control thread waits for this; it also gives up at the deadline, so a full mailbox costs nothing but time.
    while core.reports.send(Report::Drained { core: core.id }).is_err() && core.runtime.now() < deadline {
        core.runtime.sleep(ROUND).await;
    }
}

/// Between two looks at what is left.
const ROUND: Duration = Duration::from_millis(20);
