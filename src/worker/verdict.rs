//! What the result of an attempt says about its endpoint.

use ringway_telemetry::{BreakerOpened, Observer};
use ringway_traffic::balance::Picked;
use ringway_traffic::breaker::Transition;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{Endpoint, Pool};

use crate::core::Core;
use crate::failure::Failure;
use crate::world::World;

/// The endpoint answered with a head that can be used. A gateway's error is no success: something behind the endpoint fails.
pub(crate) fn praise<W: World>(core: &Core<W>, picked: &Picked<'_>, status: u16, pool: &Pool) {
    let now = core.world.now();
    let state = &picked.endpoint.state;
    let transition = match status {
        502..=504 => state.record_failure(picked.admission, now),
        _ => state.record_success(picked.admission),
    };
    tell_transition(core, picked.endpoint, transition, pool);
}

/// The attempt failed: by the endpoint's fault, or by the client's, which says nothing about the endpoint.
pub(crate) fn blame<W: World>(core: &Core<W>, picked: &Picked<'_>, failure: Failure, pool: &Pool) {
    let now = core.world.now();
    let endpoint = picked.endpoint;
    if !failure.consequence(core.settings.unavailable_status).blames_endpoint {
        return endpoint.state.abandon(picked.admission, now);
    }
    let transition = endpoint.state.record_failure(picked.admission, now);
    tell_transition(core, endpoint, transition, pool);
    if matches!(failure, Failure::ConnectFailed | Failure::ConnectTimedOut) {
        // A hint, sent once a second at most by the control thread's own count: a full mailbox may lose it.
        let _ = core.reports.send(Report::ConnectFailed { instance: endpoint.instance.clone() });
    }
}

fn tell_transition<W: World>(
    core: &Core<W>,
    endpoint: &Endpoint,
    transition: Option<Transition>,
    pool: &Pool,
) {
    let Some(transition) = transition else { return };
    let open = matches!(transition, Transition::Opened { .. });
    if open {
        let instance = endpoint.instance.as_str();
        core.telemetry.breaker_opened(&BreakerOpened { pool: pool.metric.0, instance });
    }
    let (id, instance) = (endpoint.id, endpoint.instance.clone());
    // Told for logs and webhooks; the state itself is in the endpoint's atomics, where every core sees it.
    let _ = core.reports.send(Report::BreakerChanged { endpoint: id, instance, open });
}
