//! What the result of an attempt says about its endpoint.

use ringway_telemetry::{BreakerOpened, Observer};
use ringway_traffic::balance::Picked;
use ringway_traffic::breaker::Transition;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{Endpoint, Pool};

use crate::core::Core;
use crate::failure::Failure;
use crate::world::World;

/// The endpoint answered with a head that can be used: its body may still break off, so that the verdict waits for the
/// end, [`ended`]. Two do not wait: a gateway's error, which says that something behind the endpoint fails, and a probe,
/// which may be a stream of hours while everybody else is refused.
pub(crate) fn begun<W: World>(core: &Core<W>, picked: &Picked<'_>, status: u16, pool: &Pool) {
    let state = &picked.endpoint.state;
    let transition = match status {
        GATEWAY_ERRORS_FIRST..=GATEWAY_ERRORS_LAST => {
            state.record_failure(picked.admission, core.world.now())
        }
        _ if picked.admission.is_probe() || status == 101 => state.record_success(picked.admission),
        _ => None,
    };
    tell_transition(core, picked.endpoint, transition, pool);
}

/// The answer with this status was handed over whole, or its client gave it up.
pub(crate) fn ended<W: World>(core: &Core<W>, picked: &Picked<'_>, status: u16, pool: &Pool) {
    // What became of a tunnel says nothing about answers.
    if !matches!(status, 101 | GATEWAY_ERRORS_FIRST..=GATEWAY_ERRORS_LAST) {
        let transition = picked.endpoint.state.record_success(picked.admission);
        tell_transition(core, picked.endpoint, transition, pool);
    }
}

/// The attempt failed: by the endpoint's fault, or by the client's, which says nothing about the endpoint beyond the
/// head that it had sent, if any: its `status`, else 0.
pub(crate) fn blame<W: World>(
    core: &Core<W>,
    picked: &Picked<'_>,
    failure: Failure,
    status: u16,
    pool: &Pool,
) {
    let now = core.world.now();
    let endpoint = picked.endpoint;
    match (failure.consequence(core.settings.unavailable_status).blames_endpoint, status) {
        (false, 0) => return endpoint.state.abandon(picked.admission, now),
        (false, _) => return ended(core, picked, status, pool),
        // One request counts once.
        (true, GATEWAY_ERRORS_FIRST..=GATEWAY_ERRORS_LAST) => return,
        (true, _) => {}
    }
    let transition = endpoint.state.record_failure(picked.admission, now);
    tell_transition(core, endpoint, transition, pool);
    if matches!(failure, Failure::ConnectFailed | Failure::ConnectTimedOut) {
        // A hint, sent once a second at most by the control thread's own count: a full mailbox may lose it.
        let _ = core.reports.send(Report::ConnectFailed { instance: endpoint.instance.clone() });
    }
}

/// 502, 503 and 504 (RFC 9110 §15.6.3 to §15.6.5).
const GATEWAY_ERRORS_FIRST: u16 = 502;
const GATEWAY_ERRORS_LAST: u16 = 504;

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
