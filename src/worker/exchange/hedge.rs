//! Hedging: a second attempt of a safe request whose response is late, at another endpoint. The first
//! response head that can be the client's wins.
//!
//! ```text
//! exchange ─┬─ task: first attempt ──────────────── head? ─┐
//!           └─ delay ─► task: second attempt ─────── head? ┴─► winner: the client's; loser: stopped, Neutral
//! ```
//! Both attempts are tasks of their own ([`Detached`]), for neither can be ended at once wherever it is, and
//! the client of the faster one must not wait for that. The exchange picks their endpoints, counts them
//! there, watches the client, and gives each of them one verdict.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::InstanceId;
use ringway_net::sync::Notify;
use ringway_telemetry::HedgeOutcome;
use ringway_traffic::balance::Picked;
use ringway_traffic::hedge::Hedging;
use ringway_traffic::in_flight;
use ringway_traffic::policy::Policy;
use ringway_traffic::snapshot::PoolId;
use ringway_wire::h1::RequestRewrite;
use ringway_wire::message::{Framing, Method};

use crate::connector::Connector;
use crate::core::{ConnBuffers, Core, Tables};
use crate::exchange::activity::Kind;
use crate::exchange::attempts::{AttemptResult, Attempts, Pinned, attempts_max, retries};
use crate::exchange::cause::Cause;
use crate::exchange::deadlines::Deadlines;
use crate::exchange::request_body::is_followed;
use crate::exchange::{Exchange, Target, passive_health};
use crate::limits;
use crate::runtime::Runtime;
use crate::session::limits_of;
use crate::upstream::{
    Detached, DetachedResponse, Failed, RequestTraits, Reuse, Stop, Transfer, Upload, UpstreamResponse,
    Versions, write_head,
};

/// Result of an attempt, with the cause of its failure.
type LaneResult<R> = Result<DetachedResponse<<R as Connector>::Stream>, Lost>;

/// A failed attempt.
struct Lost {
    failed: Failed,
    cause: Option<Box<Cause>>,
}

/// Attempts of one request that run beside each other.
struct Race<R: Runtime> {
    /// Results that the exchange has not taken yet, by the number of the attempt.
    results: RefCell<Vec<(usize, LaneResult<R>)>>,
    notify: Notify,
}

impl<R: Runtime> Race<R> {
    /// The result that came first.
    fn take(&self) -> Option<(usize, LaneResult<R>)> {
        let mut results = self.results.borrow_mut();
        (!results.is_empty()).then(|| results.remove(0))
    }

    fn end(&self, number: usize, result: LaneResult<R>) {
        self.results.borrow_mut().push((number, result));
        self.notify.notify();
    }
}

/// One of them, as its exchange knows it.
struct Lane<'a> {
    picked: Picked<'a>,
    in_flight: Option<in_flight::Guard<'a>>,
    began_us: u64,
    stop: Rc<Stop>,
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// The hedging of the next attempt, where the rule has it and the request may be hedged: a GET or HEAD
    /// without a body, at its first attempt, which is no probe of a breaker.
    #[inline]
    pub(super) fn hedging(&self, target: &Target<'a>, picked: &Picked<'a>) -> Option<&'a Hedging> {
        let hedging = target.matched.rule.traffic.as_deref()?.hedge.as_deref()?;
        self.may_hedge(target, picked).then_some(hedging)
    }

    fn may_hedge(&self, target: &Target<'a>, picked: &Picked<'a>) -> bool {
        let request = &self.buffers.request;
        matches!(request.method(), Method::Get | Method::Head)
            && request.framing() == Framing::Empty
            && self.info.attempts == 0
            && !self.upgrade
            && self.body.as_ref().is_none_or(|body| !body.as_data)
            && attempts_max(target) > 1
            && !is_probe(target, picked)
    }

    /// Makes the first attempt, and a second one where no response head has come after the delay. `picked`
    /// becomes the one whose result is returned.
    pub(super) async fn hedged_attempt(
        &mut self,
        target: &Target<'a>,
        picked: &mut Picked<'a>,
        attempts: &mut Attempts<'a>,
        hedging: &'a Hedging,
    ) -> AttemptResult<'a, R> {
        let began_us = self.core.runtime.now_micros();
        hedging.begin(self.core.id.0.into(), began_us);
        let race = Rc::new(Race { results: RefCell::default(), notify: Notify::default() });
        let mut due_us = hedging.delay(began_us).map(|delay| after(began_us, delay));
        let first = self.begin_lane(target, &race, 0, *picked, attempts.in_flight.take());
        let mut lanes = [Some(first), None];
        let mut spare: Option<(Lane<'a>, LaneResult<R>)> = None;
        let (lane, result) = loop {
            let ended = race.take();
            if let Some((lane, result)) =
                ended.and_then(|(number, result)| Some((lanes[number].take()?, result)))
            {
                let is_last = lanes.iter().all(Option::is_none);
                if self.is_accepted(target, &result) {
                    if let Some((loser, result)) = spare {
                        self.judge_loser(target, loser, result);
                    }
                    break (lane, result);
                }
                match spare.take() {
                    None if is_last => break (lane, result),
                    None => spare = Some((lane, result)),
                    // A response is more than a failure; of two the earlier one counts.
                    Some((earlier, other)) => {
                        let (kept, loser) = match other.is_err() && result.is_ok() {
                            true => ((lane, result), (earlier, other)),
                            false => ((earlier, other), (lane, result)),
                        };
                        self.judge_loser(target, loser.0, loser.1);
                        break kept;
                    }
                }
                continue;
            }
            let now_us = self.core.runtime.now_micros();
            if due_us.is_some_and(|due_us| due_us <= now_us) {
                due_us = None;
                lanes[1] = self.begin_second(target, &race, picked, hedging);
            }
            let until_due = due_us.map(|due_us| Duration::from_micros(due_us.saturating_sub(now_us)));
            let wait = until_due.unwrap_or(Duration::MAX).min(limits::CLIENT_WATCH_DELAY);
            let is_notified = self.core.runtime.timeout(race.notify.notified(), wait).await.is_some();
            if !is_notified && self.has_waited(began_us) && self.has_left().await {
                let [first, second] = &mut lanes;
                let Some(left) = first.take().or_else(|| second.take()) else { continue };
                left.stop.give();
                if let Some((loser, result)) = spare {
                    self.judge_loser(target, loser, result);
                }
                break (left, Err(Lost { failed: Failed::of_client(), cause: None }));
            }
        };
        for loser in lanes.into_iter().flatten() {
            loser.stop.give();
            passive_health::on_cancelled(self.core, &loser.picked, target);
        }
        let now_us = self.core.runtime.now_micros();
        if result.is_ok() {
            hedging.record(self.core.id.0.into(), now_us.saturating_sub(began_us), now_us);
        }
        if self.info.hedge == Some(HedgeOutcome::Lost) && lane.picked.endpoint.id != picked.endpoint.id {
            self.info.hedge = Some(HedgeOutcome::Won);
        }
        *picked = lane.picked;
        self.info.endpoint = Some(lane.picked.endpoint);
        self.info.attempt_us = lane.began_us;
        attempts.in_flight = lane.in_flight;
        match result {
            Ok(response) => Ok(self.adopt(target, lane.picked, response)),
            Err(Lost { failed, cause }) => {
                self.transfer.cause.set(cause);
                Err(failed)
            }
        }
    }

    /// Counts a second attempt that a dry run would have made beside the last one.
    #[cold]
    pub(super) fn note_dry_run(&mut self, hedging: &Hedging) {
        let (core, now_us) = (usize::from(self.core.id.0), self.core.runtime.now_micros());
        hedging.begin(core, self.info.attempt_us);
        let latency_us = self.info.response_us.unwrap_or(now_us).saturating_sub(self.info.attempt_us);
        let is_late = hedging.delay(now_us).is_some_and(|delay| u128::from(latency_us) >= delay.as_micros());
        if is_late {
            let is_admitted = hedging.withdraw(now_us);
            self.info.hedge = Some(if is_admitted { HedgeOutcome::DryRun } else { HedgeOutcome::Budget });
        }
        hedging.record(core, latency_us, now_us);
    }

    /// Begins the second attempt, at another endpoint, unless one of its conditions fails: an endpoint that
    /// is no probe, room in the route's limit, time, and last of all the budget.
    fn begin_second(
        &mut self,
        target: &Target<'a>,
        race: &Rc<Race<R>>,
        first: &Picked<'a>,
        hedging: &Hedging,
    ) -> Option<Lane<'a>> {
        let (core, circuits, now) = (self.core, target.circuits(), self.core.runtime.now());
        let traffic = target.matched.rule.traffic.as_deref();
        let load = traffic.and_then(|traffic| traffic.overload.as_deref());
        let deadlines = &self.transfer.activity.deadlines;
        if load.is_some_and(|load| load.is_nearly_full())
            || deadlines.are_over(&target.matched.rule.policy, now)
            || !target.pool.has_available(now)
        {
            return None;
        }
        let passed = circuits.admit(self.candidate(), now).ok()?;
        let mut attempts = Attempts::default();
        attempts.tried.insert(first.endpoint.id);
        let picked = self.begin_at_endpoint(target.pool, &mut attempts, Pinned::Before);
        let picked = picked.map(|picked| Picked { passed, ..picked });
        let Ok(picked) = picked else {
            circuits.abandon(passed, now);
            return None;
        };
        let is_trial = is_probe(target, &picked);
        if is_trial || !hedging.withdraw(core.runtime.now_micros()) {
            if !is_trial {
                self.info.hedge = Some(HedgeOutcome::Budget);
            }
            circuits.abandon(passed, now);
            picked.endpoint.state.abandon(picked.admission, now);
            return None;
        }
        self.info.hedge = Some(HedgeOutcome::Lost);
        Some(self.begin_lane(target, race, 1, picked, attempts.in_flight))
    }

    /// Starts the task of an attempt.
    fn begin_lane(
        &mut self,
        target: &Target<'a>,
        race: &Rc<Race<R>>,
        number: usize,
        picked: Picked<'a>,
        in_flight: Option<in_flight::Guard<'a>>,
    ) -> Lane<'a> {
        let (core, began_us) = (self.core, self.core.runtime.now_micros());
        self.info.begin_attempt(began_us, picked.endpoint);
        let deadlines = self.transfer.activity.deadlines.clone();
        deadlines.begin_attempt(&target.matched.rule.policy, core.runtime.now(), began_us);
        let mut request = Vec::with_capacity(self.buffers.request.len() + limits::ADDED_HEAD_BYTES);
        write_head(&mut request, self.buffers, self.stages.request_edits(), &RequestRewrite::default());
        let stop = Rc::new(Stop::default());
        let task = Task {
            core: core.handle(),
            tables: self.tables.clone(),
            pool: target.pool.id,
            instance: picked.endpoint.instance.clone(),
            policy: target.matched.rule.policy.clone(),
            deadlines,
            request,
            method: self.buffers.request.method(),
            stop: stop.clone(),
        };
        let (race, of_panic, id) = (race.clone(), race.clone(), core.id);
        core.runtime.spawn(async move { race.end(number, task.run().await) }, move |panic| {
            tracing::error!(core = id.0, %panic, "task of a hedged attempt panicked; the attempt failed");
            of_panic.end(number, Err(Lost { failed: Failed::of_own_shortage(), cause: None }));
        });
        Lane { picked, in_flight, began_us, stop }
    }

    /// Whether a result can be the client's while another attempt is under way.
    fn is_accepted(&self, target: &Target<'a>, result: &LaneResult<R>) -> bool {
        let Ok(response) = result else { return false };
        let status = response.head.status();
        !target.pool.failures.statuses.has(status)
            && !retries(target).is_some_and(|retries| retries.statuses.has(status))
    }

    /// Records the result of an attempt that another one has beaten, though it ended by itself.
    fn judge_loser(&mut self, target: &Target<'a>, lane: Lane<'a>, result: LaneResult<R>) {
        let (core, picked) = (self.core, &lane.picked);
        match result {
            Ok(response) => {
                let status = response.head.status();
                passive_health::on_response_head(core, picked, status, target);
                passive_health::on_success(core, picked, status, target);
            }
            Err(Lost { failed, cause }) => {
                let failure = failed.fault.failure;
                self.transfer.cause.set(cause);
                self.note_cause(target, picked.endpoint, failure);
                passive_health::on_failure(core, picked, &failed.fault, None, target);
                self.info.report_attempt(core, self.buffers, picked.endpoint, failure.code());
                self.info.cause = None;
            }
        }
    }

    /// Makes the response of an attempt the one of this exchange.
    fn adopt(
        &mut self,
        target: &Target<'a>,
        picked: Picked<'a>,
        response: DetachedResponse<R::Stream>,
    ) -> UpstreamResponse<'a, R> {
        let Self { core, client, transfer, .. } = *self;
        let now = core.runtime.now();
        self.info.response_us = Some(core.runtime.now_micros());
        let ConnBuffers { request, client_in, upstream_in, response: head, .. } = &mut *self.buffers;
        transfer.upload.begin(false);
        if is_followed(request, client_in, self.body.as_ref()) {
            transfer.upload.set_followed();
        }
        transfer.upload.finish(now);
        transfer.activity.begin(Kind::Transfer, &target.matched.rule.policy, limits_of(core, client), now);
        let traits = RequestTraits::of(request, client_in, false);
        (*upstream_in, *head) = (response.bytes, response.head);
        UpstreamResponse {
            picked,
            conn: response.conn,
            upload: Upload::None,
            traits,
            is_streaming: false,
            in_flight: None,
        }
    }
}

/// An attempt on its way into its own task.
struct Task<R: Runtime> {
    core: Rc<Core<R>>,
    /// The snapshot of the exchange, which has the endpoint.
    tables: Rc<Tables>,
    pool: PoolId,
    instance: InstanceId,
    policy: Arc<Policy>,
    deadlines: Deadlines,
    request: Vec<u8>,
    method: Method,
    stop: Rc<Stop>,
}

impl<R: Runtime> Task<R> {
    async fn run(self) -> LaneResult<R> {
        let lost = |failed| Lost { failed, cause: None };
        let pool = self.tables.snapshot.pool(self.pool);
        let found = pool.and_then(|pool| Some((pool, pool.endpoint(self.instance.as_str())?)));
        let Some((pool, endpoint)) = found else { return Err(lost(Failed::of_own_shortage())) };
        let mut transfer = Transfer::default();
        transfer.activity.deadlines = self.deadlines;
        let detached = Detached {
            core: &self.core,
            pool,
            endpoint,
            policy: &self.policy,
            transfer: &transfer,
            reuse: Reuse::Allowed,
            request: self.request,
            method: self.method,
            versions: Versions::OfPool,
            stop: &self.stop,
        };
        let result = detached.run().await;
        result.map_err(|failed| Lost { failed, cause: transfer.cause.take() })
    }
}

/// Whether an attempt is the probe of a breaker: its endpoint's, or one of its circuits'.
fn is_probe(target: &Target<'_>, picked: &Picked<'_>) -> bool {
    picked.admission.is_probe()
        || target.circuits().of(picked.passed).any(|(_, _, admission)| admission.is_probe())
}

fn after(now_us: u64, delay: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
}
