//! Passive health: results of attempts, as the endpoint's circuit breaker counts them.

use ringway_model::TimeoutPolicy;
use ringway_telemetry::BreakerOpened;
use ringway_traffic::balance::Picked;
use ringway_traffic::breaker::Transition;
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_traffic::verdict::Verdict;

use crate::core::Core;
use crate::exchange::failure::{Blame, Failure};
use crate::exchange::match_rule::Target;
use crate::runtime::Runtime;
use crate::upstream::Fault;

/// Reports a final response head. The body may still break off, so that the success is recorded at its end,
/// by [`on_success`]. Two do not wait: a status that the app's policy counts as a failure, and a probe, which
/// may be a stream of hours while all other requests are refused.
pub(crate) fn on_response_head<R: Runtime>(
    core: &Core<R>,
    picked: &Picked<'_>,
    status: u16,
    target: &Target<'_>,
) {
    let (state, pool) = (&picked.endpoint.state, target.pool);
    let transition = if pool.failures.statuses.has(status) {
        give(core, target, Verdict::Failure);
        state.record_failure(picked.admission, &pool.settings.breaker, core.runtime.now())
    } else if picked.admission.is_probe() || status == 101 {
        state.record_success(picked.admission)
    } else {
        None
    };
    report_transition(core, picked.endpoint, transition, pool);
}

/// Reports that the response with this status was delivered whole, or that its client gave it up.
pub(crate) fn on_success<R: Runtime>(core: &Core<R>, picked: &Picked<'_>, status: u16, target: &Target<'_>) {
    let pool = target.pool;
    // The end of a tunnel says nothing about responses.
    if status != 101 && !pool.failures.statuses.has(status) {
        give(core, target, Verdict::Success);
        let transition = picked.endpoint.state.record_success(picked.admission);
        report_transition(core, picked.endpoint, transition, pool);
    }
}

/// Reports a failed attempt. Where the failure does not count against the endpoint, the response head that it
/// had sent does: its status, if there was one.
pub(crate) fn on_failure<R: Runtime>(
    core: &Core<R>,
    picked: &Picked<'_>,
    fault: &Fault,
    head_status: Option<u16>,
    target: &Target<'_>,
) {
    let pool = target.pool;
    let (endpoint, now) = (picked.endpoint, core.runtime.now());
    let (state, failure) = (&endpoint.state, fault.failure);
    let transition = match (judge(picked, fault, pool), head_status) {
        // One request counts once.
        (Outcome::Failure, Some(status)) if pool.failures.statuses.has(status) => return,
        (Outcome::Failure, _) => {
            give(core, target, Verdict::Failure);
            state.record_failure(picked.admission, &pool.settings.breaker, now)
        }
        (Outcome::Nothing, Some(status)) if failure.is_clients() => {
            return on_success(core, picked, status, target);
        }
        (Outcome::Nothing, _) => {
            state.abandon(picked.admission, now);
            None
        }
        (Outcome::Success, _) => {
            give(core, target, Verdict::Success);
            state.record_success(picked.admission)
        }
    };
    report_transition(core, endpoint, transition, pool);
    if matches!(failure, Failure::ConnectFailed | Failure::ConnectTimedOut) {
        // A hint, sent once a second at most by the control thread's own count: a full mailbox may lose it.
        let _ = core.reports.send(Report::ConnectFailed { instance: endpoint.instance.clone() });
    }
}

/// Gives the verdict of an attempt to what its rule counts.
fn give<R: Runtime>(core: &Core<R>, target: &Target<'_>, verdict: Verdict) {
    let Some(traffic) = &target.matched.rule.traffic else { return };
    if let (Some(plan), Some(variant)) = (&traffic.plan, target.variant) {
        plan.state.count(core.id.0.into(), variant, verdict);
    }
}

/// Meaning of a failure for its endpoint.
enum Outcome {
    Failure,
    Nothing,
    Success,
}

fn judge(picked: &Picked<'_>, fault: &Fault, pool: &Pool) -> Outcome {
    match fault.failure.blame() {
        Blame::Endpoint => Outcome::Failure,
        Blame::Nothing => Outcome::Nothing,
        Blame::Closed | Blame::Late if fault.is_excused => Outcome::Nothing,
        Blame::Closed => Outcome::Failure,
        Blame::Late => match pool.failures.timeouts {
            TimeoutPolicy::Always => Outcome::Failure,
            TimeoutPolicy::Never => Outcome::Nothing,
            TimeoutPolicy::Unchecked if !picked.endpoint.state.is_known_healthy() => Outcome::Failure,
            // The health check passes, and the probe reached the endpoint: it may close the breaker.
            TimeoutPolicy::Unchecked if picked.admission.is_probe() => Outcome::Success,
            TimeoutPolicy::Unchecked => Outcome::Nothing,
        },
    }
}

fn report_transition<R: Runtime>(
    core: &Core<R>,
    endpoint: &Endpoint,
    transition: Option<Transition>,
    pool: &Pool,
) {
    let Some(transition) = transition else { return };
    let open = matches!(transition, Transition::Opened { .. });
    if open {
        let instance = endpoint.instance.as_str();
        core.telemetry.emit(BreakerOpened { pool: pool.metric.0, instance });
    }
    let (id, instance) = (endpoint.id, endpoint.instance.clone());
    // For logs and webhooks; the state itself is in the endpoint's atomics, where every core sees it.
    let _ = core.reports.send(Report::BreakerChanged { endpoint: id, instance, open });
}
