//! Passive health: one verdict for each attempt, given to all that count it.

use ringway_model::TimeoutPolicy;
use ringway_telemetry::BreakerOpened;
use ringway_traffic::balance::Picked;
use ringway_traffic::breaker::Transition;
use ringway_traffic::outliers;
use ringway_traffic::plan::Variant;
use ringway_traffic::pool_breaker::{Circuit, Circuits};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_traffic::verdict::Verdict;
use ringway_traffic::virtual_host::Rule;

use crate::core::Core;
use crate::exchange::failure::{Blame, Failure};
use crate::exchange::match_rule::Target;
use crate::runtime::Runtime;
use crate::upstream::Fault;

/// Those that count an attempt beside its endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pool: &'a Pool,
    circuits: Circuits<'a>,
    /// Rule of the request, and the variant of its canary; none for a call of a stage.
    rule: Option<(&'a Rule, Option<Variant>)>,
}

impl<'a> Scope<'a> {
    /// Scope of a call of a stage: no route counts it.
    pub(crate) fn of_pool(pool: &'a Pool) -> Self {
        let breaker = pool.traffic.as_ref().and_then(|traffic| traffic.breaker.as_deref());
        Self { pool, circuits: Circuits { route: None, pool: breaker }, rule: None }
    }

    /// The breakers of the attempt.
    pub(crate) fn circuits(&self) -> Circuits<'a> {
        self.circuits
    }
}

impl<'a> From<&Target<'a>> for Scope<'a> {
    #[inline]
    fn from(target: &Target<'a>) -> Self {
        let rule = Some((&**target.matched.rule, target.variant));
        Self { pool: target.pool, circuits: target.circuits(), rule }
    }
}

/// Reports a final response head. The body may still break off, so that the verdict is given at its end, by
/// [`on_success`]. Two do not wait: a status that the pool's policy counts as a failure, and a switch of
/// protocols, whose end says nothing about responses. A probe does not wait either to let others pass: it may
/// be a stream of hours.
pub(crate) fn on_response_head<'a, R: Runtime>(
    core: &Core<R>,
    picked: &Picked<'_>,
    status: u16,
    scope: impl Into<Scope<'a>>,
) {
    let scope = scope.into();
    confirm_probes(core, picked, status, &scope);
    if let Some(verdict) = verdict_of_head(status, scope.pool) {
        give(core, picked, &scope, verdict);
    }
}

/// Reports that the response with this status was delivered whole, or that its client gave it up.
pub(crate) fn on_success<'a, R: Runtime>(
    core: &Core<R>,
    picked: &Picked<'_>,
    status: u16,
    scope: impl Into<Scope<'a>>,
) {
    let scope = scope.into();
    if verdict_of_head(status, scope.pool).is_none() {
        give(core, picked, &scope, Verdict::Success);
    }
}

/// Reports a failed attempt. Where the failure does not count against the endpoint, the response head that it
/// had sent does: its status, if there was one.
pub(crate) fn on_failure<'a, R: Runtime>(
    core: &Core<R>,
    picked: &Picked<'_>,
    fault: &Fault,
    head_status: Option<u16>,
    scope: impl Into<Scope<'a>>,
) {
    let (scope, endpoint, failure) = (scope.into(), picked.endpoint, fault.failure);
    // One attempt counts once.
    if head_status.and_then(|status| verdict_of_head(status, scope.pool)).is_none() {
        let verdict = match judge(picked, fault, scope.pool) {
            Verdict::Neutral if head_status.is_some() && failure.is_clients() => Verdict::Success,
            verdict => verdict,
        };
        give(core, picked, &scope, verdict);
    }
    if matches!(failure, Failure::ConnectFailed | Failure::ConnectTimedOut) {
        // A hint, sent once a second at most by the control thread's own count: a full mailbox may lose it.
        let _ = core.reports.send(Report::ConnectFailed { instance: endpoint.instance.clone() });
    }
}

/// Reports an attempt that was ended because its result is not needed.
pub(crate) fn on_cancelled<'a, R: Runtime>(core: &Core<R>, picked: &Picked<'_>, scope: impl Into<Scope<'a>>) {
    give(core, picked, &scope.into(), Verdict::Neutral);
}

/// Reports that ejected endpoints of a pool were reinstated for a pick.
#[cold]
pub(crate) fn on_reinstatement<R: Runtime>(core: &Core<R>, pool: &Pool) {
    let _ = core.reports.send(Report::Reinstated { pool: pool.app.clone() });
}

/// Gives the verdict of an attempt, once, to all that count it: the endpoint with the outlier detection of
/// its pool, the breakers of pool and route, the canary.
fn give<R: Runtime>(core: &Core<R>, picked: &Picked<'_>, scope: &Scope<'_>, verdict: Verdict) {
    let (index, now) = (usize::from(core.id.0), core.runtime.now());
    let tables = (verdict == Verdict::Failure && scope.pool.traffic.is_some()).then(|| core.tables());
    // The endpoints of now count for the cap, not those of the pinned snapshot.
    let newest = tables.as_ref().and_then(|tables| tables.snapshot.pool(scope.pool.id));
    let attempt = (picked.endpoint, picked.admission);
    let transition = outliers::record(newest.unwrap_or(scope.pool), attempt, verdict, (index, now));
    report_transition(core, picked.endpoint, transition, scope.pool);
    for (circuit, breaker, admission) in scope.circuits.of(picked.passed) {
        report_circuit(core, scope, circuit, breaker.record(index, admission, verdict, now));
    }
    let Some((rule, Some(variant))) = scope.rule else { return };
    if let Some(plan) = rule.traffic.as_ref().and_then(|traffic| traffic.plan.as_ref()) {
        plan.state.count(index, variant, verdict);
    }
}

/// Lets other requests pass the breakers whose probe has a good response head.
fn confirm_probes<R: Runtime>(core: &Core<R>, picked: &Picked<'_>, status: u16, scope: &Scope<'_>) {
    if scope.pool.failures.statuses.has(status) {
        return;
    }
    if picked.admission.is_probe() {
        let now = core.runtime.now();
        let confirmed = outliers::confirm(scope.pool, (picked.endpoint, picked.admission), now);
        report_transition(core, picked.endpoint, confirmed, scope.pool);
    }
    for (circuit, breaker, admission) in scope.circuits.of(picked.passed) {
        if admission.is_probe() {
            report_circuit(core, scope, circuit, breaker.confirm(admission, core.runtime.now()));
        }
    }
}

/// Verdict that a response head decides already.
fn verdict_of_head(status: u16, pool: &Pool) -> Option<Verdict> {
    match status {
        _ if pool.failures.statuses.has(status) => Some(Verdict::Failure),
        101 => Some(Verdict::Success),
        _ => None,
    }
}

/// Meaning of a failure for its endpoint.
fn judge(picked: &Picked<'_>, fault: &Fault, pool: &Pool) -> Verdict {
    match fault.failure.blame() {
        Blame::Endpoint => Verdict::Failure,
        Blame::Nothing => Verdict::Neutral,
        Blame::Closed | Blame::Late if fault.is_excused => Verdict::Neutral,
        Blame::Closed => Verdict::Failure,
        Blame::Late => match pool.failures.timeouts {
            TimeoutPolicy::Always => Verdict::Failure,
            TimeoutPolicy::Never => Verdict::Neutral,
            TimeoutPolicy::Unchecked if !picked.endpoint.state.is_known_healthy() => Verdict::Failure,
            // The health check passes, and the probe reached the endpoint: it may close the breaker.
            TimeoutPolicy::Unchecked if picked.admission.is_probe() => Verdict::Success,
            TimeoutPolicy::Unchecked => Verdict::Neutral,
        },
    }
}

/// Reports a change of a route's or a pool's breaker, for logs and webhooks.
fn report_circuit<R: Runtime>(
    core: &Core<R>,
    scope: &Scope<'_>,
    circuit: Circuit,
    transition: Option<Transition>,
) {
    let Some(transition) = transition else { return };
    let route = scope.rule.filter(|_| circuit == Circuit::Route).map(|(rule, _)| rule.name.clone());
    let open = matches!(transition, Transition::Opened { .. });
    let _ = core.reports.send(Report::CircuitChanged { pool: scope.pool.app.clone(), route, open });
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
