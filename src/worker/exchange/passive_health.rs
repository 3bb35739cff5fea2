//! What the result of an attempt says about its endpoint.

use ringway_model::TimeoutPolicy;
use ringway_telemetry::{BreakerOpened, Observer};
use ringway_traffic::balance::Picked;
use ringway_traffic::breaker::Transition;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{Endpoint, Pool};

use crate::core::Core;
use crate::exchange::failure::{Blame, Failure};
use crate::runtime::Runtime;
use crate::upstream::Failed;

/// The endpoint answered with a head that can be used: its body may still break off, so that the verdict waits for the
/// end, [`ended`]. Two do not wait: a status that the app's policy counts as a failure, and a probe, which may be a stream
/// of hours while everybody else is refused.
pub(crate) fn begun<R: Runtime>(core: &Core<R>, picked: &Picked<'_>, status: u16, pool: &Pool) {
    let state = &picked.endpoint.state;
    let transition = if pool.failures.statuses.has(status) {
        state.record_failure(picked.admission, &pool.settings.breaker, core.runtime.now())
    } else if picked.admission.is_probe() || status == 101 {
        state.record_success(picked.admission)
    } else {
        None
    };
    tell_transition(core, picked.endpoint, transition, pool);
}

/// The answer with this status was handed over whole, or its client gave it up.
pub(crate) fn ended<R: Runtime>(core: &Core<R>, picked: &Picked<'_>, status: u16, pool: &Pool) {
    // What became of a tunnel says nothing about answers.
    if status != 101 && !pool.failures.statuses.has(status) {
        let transition = picked.endpoint.state.record_success(picked.admission);
        tell_transition(core, picked.endpoint, transition, pool);
    }
}

/// The attempt failed. Where that does not count against the endpoint, the head that it had sent does, if any: its
/// `status`, else 0.
pub(crate) fn blame<R: Runtime>(
    core: &Core<R>,
    picked: &Picked<'_>,
    failed: &Failed,
    status: u16,
    pool: &Pool,
) {
    let (endpoint, now) = (picked.endpoint, core.runtime.now());
    let (state, failure) = (&endpoint.state, failed.failure);
    let transition = match judge(core, picked, failed, pool) {
        // One request counts once.
        Verdict::Failure if pool.failures.statuses.has(status) => return,
        Verdict::Failure => state.record_failure(picked.admission, &pool.settings.breaker, now),
        Verdict::Nothing if failure.is_clients() && status != 0 => return ended(core, picked, status, pool),
        Verdict::Nothing => {
            state.abandon(picked.admission, now);
            None
        }
        Verdict::Success => state.record_success(picked.admission),
    };
    tell_transition(core, endpoint, transition, pool);
    if matches!(failure, Failure::ConnectFailed | Failure::ConnectTimedOut) {
        // A hint, sent once a second at most by the control thread's own count: a full mailbox may lose it.
        let _ = core.reports.send(Report::ConnectFailed { instance: endpoint.instance.clone() });
    }
}

/// Meaning of a failure for its endpoint.
enum Verdict {
    Failure,
    Nothing,
    Success,
}

fn judge<R: Runtime>(core: &Core<R>, picked: &Picked<'_>, failed: &Failed, pool: &Pool) -> Verdict {
    match failed.failure.consequence(core.settings.unavailable_status).blame {
        Blame::Endpoint => Verdict::Failure,
        Blame::Nothing => Verdict::Nothing,
        Blame::Closed | Blame::Late if failed.is_excused => Verdict::Nothing,
        Blame::Closed => Verdict::Failure,
        Blame::Late => match pool.failures.timeouts {
            TimeoutPolicy::Always => Verdict::Failure,
            TimeoutPolicy::Never => Verdict::Nothing,
            TimeoutPolicy::Unchecked if !picked.endpoint.state.is_vouched_for() => Verdict::Failure,
            // A probe that got through to an endpoint whose check passes found what it was sent for.
            TimeoutPolicy::Unchecked if picked.admission.is_probe() => Verdict::Success,
            TimeoutPolicy::Unchecked => Verdict::Nothing,
        },
    }
}

fn tell_transition<R: Runtime>(
    core: &Core<R>,
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
    // LocalReply for logs and webhooks; the state itself is in the endpoint's atomics, where every core sees it.
    let _ = core.reports.send(Report::BreakerChanged { endpoint: id, instance, open });
}
