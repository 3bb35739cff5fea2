//! Upstream phases: attempts, until one has a response head.
//!
//! ```text
//! select ─► attempt: connect ─► send ─► response head ─► decide (`traffic::retry`) ─► deliver
//!    ▲                                                      │
//!    └── pause ◄── another attempt, while nothing has reached the client and it is safe
//! ```
//! A response that is to be retried for its status keeps its connection until the next endpoint is chosen: if
//! there is none, or no budget, it is the client's.

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use ringway_middleware::FieldNames;
use ringway_model::Retries;
use ringway_net::Stream;
use ringway_telemetry::{HedgeOutcome, RetryOutcome};
use ringway_traffic::balance::{self, Picked, TriedSet, Unavailable};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::in_flight;
use ringway_traffic::request_key::{RequestFields, key_value};
use ringway_traffic::retry::{self, Allowance, Body, FailedAttempt, Retry, Stopped};
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_traffic::virtual_host::{Action, Rule};
use ringway_wire::h1::ResponseHead;
use ringway_wire::message::Framing;

use crate::core::{ConnBuffers, Core};
use crate::exchange::cause::Cause;
use crate::exchange::failure::Failure;
use crate::exchange::local_reply::LimitedBy;
use crate::exchange::request_body::{BodyUse, RequestBody, read_more};
use crate::exchange::{Exchange, Interrupt, Target, attempt_warnings, forwarded, passive_health};
use crate::limits;
use crate::runtime::Runtime;
use crate::upstream::{Attempt, Failed, Reuse, Upload, UpstreamResponse};

/// Attempts of one request so far.
#[derive(Default)]
pub(super) struct Attempts<'a> {
    /// Endpoints that the next attempt avoids.
    pub(super) tried: TriedSet,
    /// Attempts that replayed the one before them.
    replays: u32,
    /// Counts the request at the endpoint of the last attempt, from the choice on.
    pub(super) in_flight: Option<in_flight::Guard<'a>>,
}

/// Age of the pinned snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pinned {
    /// Nothing was awaited since it was pinned.
    Now,
    /// A newer one may be in force.
    Before,
}

/// Result of an attempt: a response whose head stands in the buffers, or a failure.
pub(super) type AttemptResult<'a, R> = Result<UpstreamResponse<'a, R>, Failed>;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Sends the request to an endpoint, and to another one where that is safe, until a response head has
    /// come that the client is to get.
    pub(super) async fn fetch(
        &mut self,
        target: &Target<'a>,
    ) -> Result<UpstreamResponse<'a, R>, Interrupt<'a>> {
        self.begin_body(target.matched.rule)?;
        self.prepare_request(target);
        let mut attempts = Attempts::default();
        let mut picked = self.select_first(target, &mut attempts)?;
        let traffic = target.matched.rule.traffic.as_deref();
        if let Some(mirror) = traffic.and_then(|traffic| traffic.mirror.as_ref()) {
            self.mirror(target, mirror);
        }
        let mut reuse = Reuse::Allowed;
        loop {
            let hedging = self.hedging(target, &picked);
            let result = match hedging {
                // Boxed: exchanges need not be larger for it.
                Some(hedging) if !hedging.is_dry_run() => {
                    Box::pin(self.hedged_attempt(target, &mut picked, &mut attempts, hedging)).await
                }
                _ => self.attempt(target, picked, reuse).await,
            };
            if let Some(hedging) = hedging.filter(|hedging| hedging.is_dry_run()) {
                self.note_dry_run(hedging);
            }
            let decision = self.decide(target, &result, &attempts);
            if decision != Retry::SameEndpoint {
                self.judge(target, &picked, &result);
            }
            let next = match decision {
                Retry::No(stopped) => return self.end_attempts(target, result, attempts, stopped),
                // A stale connection says nothing about the endpoint: the next attempt does.
                Retry::SameEndpoint => {
                    attempts.replays += 1;
                    picked
                }
                Retry::NextEndpoint(pause) => {
                    attempts.tried.insert(picked.endpoint.id);
                    if self.has_left_in(pause).await {
                        self.give_up(target, &picked, result);
                        return Err(Failure::ClientClosed.into());
                    }
                    match self.select_next(target, &mut attempts) {
                        Some(next) => next,
                        None => {
                            attempts.in_flight = target.pool.begin(picked.endpoint, self.core.id.0.into());
                            return self.end_attempts(target, result, attempts, Some(Stopped::Exhausted));
                        }
                    }
                }
            };
            self.info.report_attempt(self.core, self.buffers, picked.endpoint, failure_code(&result));
            self.give_up(target, &picked, result);
            reuse = if decision == Retry::SameEndpoint { Reuse::Never } else { Reuse::Allowed };
            picked = next;
        }
    }

    /// Makes one attempt.
    async fn attempt(
        &mut self,
        target: &Target<'a>,
        picked: Picked<'a>,
        reuse: Reuse,
    ) -> AttemptResult<'a, R> {
        self.info.begin_attempt(self.core.runtime.now_micros(), picked.endpoint);
        let mut attempt = Attempt {
            core: self.core,
            client: self.client,
            transfer: self.transfer,
            buffers: self.buffers,
            body: &mut self.body,
            info: &mut self.info,
            picked,
            pool: target.pool,
            policy: &target.matched.rule.policy,
            reuse,
            upgrade: self.upgrade,
            stages: &mut self.stages,
        };
        attempt.run().await
    }

    /// Decides what follows an attempt.
    fn decide(&self, target: &Target<'a>, result: &AttemptResult<'a, R>, attempts: &Attempts<'a>) -> Retry {
        let retries = retries(target);
        let (failed, body) = match (result, retries) {
            (Ok(_), None) => return Retry::No(None),
            // Nearly all responses end here: the rest is for those that fail.
            (Ok(_), Some(retries)) if !retries.statuses.has(self.buffers.response.status()) => {
                return Retry::No(None);
            }
            (Ok(response), Some(_)) => self.point_of(response),
            (Err(failed), _) => (failed.point(), failed.body),
        };
        let policy = &target.matched.rule.policy;
        let deadlines = &self.transfer.activity.deadlines;
        let now = self.core.runtime.now();
        if retries.is_none() && deadlines.are_over(policy, now) {
            return Retry::No(None);
        }
        let attempt = FailedAttempt {
            attempts: self.info.attempts,
            replays: attempts.replays,
            failed,
            body,
            method: self.method(retries),
        };
        let now_us = self.core.runtime.now_micros();
        let allowance = retries.map(|retries| Allowance {
            retries,
            budget: &target.pool.retry_budget,
            left: deadlines.time_left(policy, now).unwrap_or(policy.head_timeout()),
            retry_after: result.is_ok().then(|| self.retry_after()).flatten(),
            now_us,
            draw: self.core.cursors.borrow_mut().draw(),
        });
        retry::decide(&attempt, policy, allowance.as_ref())
    }

    /// Point at which a response would be rejected, and the state of the request's body then.
    #[cold]
    fn point_of(&self, response: &UpstreamResponse<'a, R>) -> (retry::Failed, Body) {
        let failed = match self.transfer.has_answered.get() {
            true => retry::Failed::Answered,
            false => retry::Failed::Status(self.buffers.response.status()),
        };
        (failed, if response.is_streaming { Body::Consumed } else { Body::Whole })
    }

    /// Class of the request's method, and of what the policy declares to be repeatable.
    fn method(&self, retries: Option<&Retries>) -> retry::Method {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let is_declared = |retries: &Retries| {
            let key = retries.idempotency_key.as_deref();
            !retries.idempotent_only || key.is_some_and(|key| request.field(client_in, key).next().is_some())
        };
        match request.method().is_idempotent() || retries.is_some_and(is_declared) {
            true => retry::Method::Idempotent,
            false => retry::Method::Other,
        }
    }

    /// `Retry-After` of the response in the buffers, in seconds; a date is not understood.
    #[cold]
    fn retry_after(&self) -> Option<Duration> {
        let ConnBuffers { response, upstream_in, .. } = &*self.buffers;
        let value = response.field(upstream_in, "retry-after").next()?;
        let seconds = std::str::from_utf8(value).ok()?.trim().parse::<u32>().ok()?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Records the result of an attempt, once for each that is not replayed.
    fn judge(&mut self, target: &Target<'a>, picked: &Picked<'a>, result: &AttemptResult<'a, R>) {
        match result {
            Ok(_) => {
                let status = self.buffers.response.status();
                passive_health::on_response_head(self.core, picked, status, target);
            }
            Err(failed) => {
                self.note_cause(target, picked.endpoint, failed.fault.failure);
                passive_health::on_failure(self.core, picked, &failed.fault, None, target);
            }
        }
    }

    /// Ends the attempts with the result of the last one.
    fn end_attempts(
        &mut self,
        target: &Target<'a>,
        result: AttemptResult<'a, R>,
        attempts: Attempts<'a>,
        stopped: Option<Stopped>,
    ) -> Result<UpstreamResponse<'a, R>, Interrupt<'a>> {
        if retries(target).is_some() {
            let is_hedged = matches!(self.info.hedge, Some(HedgeOutcome::Won | HedgeOutcome::Lost));
            let has_retried = self.info.attempts > attempts.replays + 1 + u32::from(is_hedged);
            self.info.retry = match stopped {
                Some(Stopped::Exhausted) => Some(RetryOutcome::Exhausted),
                Some(Stopped::Budget) => Some(RetryOutcome::Budget),
                Some(Stopped::Body) => Some(RetryOutcome::Body),
                None if !has_retried => None,
                None if result.is_ok() => Some(RetryOutcome::Success),
                None => Some(RetryOutcome::Exhausted),
            };
            if result.is_ok() && stopped.is_none() {
                // The time of the response's head spares a look at the clock.
                let now_us = self.info.response_us.unwrap_or_else(|| self.core.runtime.now_micros());
                target.pool.retry_budget.deposit(self.core.id.0.into(), now_us);
            }
        }
        match result {
            Ok(response) => Ok(UpstreamResponse { in_flight: attempts.in_flight, ..response }),
            Err(failed) => Err(failed.fault.failure.into()),
        }
    }

    /// Gives up the result of an attempt that another one follows, or whose client has left. The connection
    /// of a response is kept where all of it has come, and closed otherwise.
    fn give_up(&mut self, target: &Target<'a>, picked: &Picked<'a>, result: AttemptResult<'a, R>) {
        let Ok(response) = result else { return };
        let (core, status) = (self.core, self.buffers.response.status());
        passive_health::on_success(core, picked, status, target);
        let ConnBuffers { response: head, upstream_in, .. } = &mut *self.buffers;
        let is_sent = matches!(response.upload, Upload::None) && self.transfer.upload.is_whole();
        if is_sent && is_all_there(head, upstream_in, &response.conn.stream) && !core.draining.get() {
            response.conn.keep_alive.set(head.keep_alive_timeout());
            let is_in_use = |endpoint| core.keeps_connections(endpoint);
            core.upstreams.borrow_mut().give(response.conn, core.runtime.now(), is_in_use);
        }
    }

    /// Waits before the next attempt. True when the client has left: before that, it is known only after a
    /// while.
    async fn has_left_in(&self, pause: Duration) -> bool {
        if !pause.is_zero() {
            // Boxed: exchanges need not be larger for a pause.
            Box::pin(self.core.runtime.sleep(pause)).await;
        }
        (!pause.is_zero() || self.has_waited(self.info.attempt_us)) && self.has_left().await
    }

    /// Gives up a response whose place another one takes.
    pub(super) fn give_up_response(&mut self, target: &Target<'a>, response: UpstreamResponse<'a, R>) {
        let picked = response.picked;
        self.give_up(target, &picked, Ok(response));
    }

    /// Writes what stages cannot change: the added fields, and the target.
    pub(super) fn prepare_request(&mut self, target: &Target<'a>) {
        self.write_added_headers(target);
        self.rewrite_target(target);
    }

    /// Judges the beginning of the request's body.
    fn begin_body(&mut self, rule: &Rule) -> Result<(), Failure> {
        let (framing, head_bytes) = (self.buffers.request.framing(), self.buffers.request.len());
        let body_use =
            if self.stages.request_body().is_empty() { BodyUse::PassThrough } else { BodyUse::Data };
        let refused_trailers = match &rule.stages {
            Some(stages) if framing == Framing::Chunked => stages.refused_trailers(&self.stages),
            _ => FieldNames::default(),
        };
        read_more(self.client, self.buffers);
        let client_in = &mut self.buffers.client_in;
        let bytes_max = rule.policy.body_bytes_max;
        let body = RequestBody::begin(framing, head_bytes, client_in, bytes_max, body_use, refused_trailers)?;
        self.body = Some(body);
        Ok(())
    }

    /// Rewrites the target for the endpoint, where the rule says so.
    fn rewrite_target(&mut self, target: &Target<'a>) {
        let ConnBuffers { target: rewritten, request, client_in, .. } = &mut *self.buffers;
        rewritten.clear();
        if let Action::Proxy { rewrite: Some(rewrite), .. } = &target.matched.rule.action {
            rewrite.apply(rewritten, request.path_and_query(client_in));
        }
        #[cfg(feature = "lua")]
        if let Some(path) = self.script_path().map(str::to_owned) {
            self.buffers.target = path;
        }
    }

    /// Writes the fields about the client and its request, in place of any that the client sent.
    fn write_added_headers(&mut self, target: &Target<'a>) {
        if self.write_proxy_headers() {
            return;
        }
        let (client, settings) = (self.client, &self.core.settings);
        let ConnBuffers { added_headers, request, client_in, .. } = &mut *self.buffers;
        added_headers.clear();
        if client.trusted {
            let hop = (client.peer, client.scheme());
            forwarded::push_hop_lines(added_headers, hop, self.info.client, request, client_in);
        } else {
            added_headers.extend_from_slice(&client.address_lines);
        }
        forwarded::push_host_lines(added_headers, request, client.trusted.then_some(client_in));
        forwarded::push_reach_line(added_headers, request, client_in);
        if let Some(via) = &settings.via {
            added_headers.extend_from_slice(via.line(request.version(), client.is_http2));
        }
        if let Some(tenant) = target.matched.tenant() {
            added_headers.extend_from_slice(&tenant.line);
        }
        added_headers.extend_from_slice(client.client_cert_headers(target.matched.host));
        added_headers.extend_from_slice(b"X-Request-ID: ");
        added_headers.extend_from_slice(self.info.request_id(client_in));
        added_headers.extend_from_slice(b"\r\n");
    }

    /// Picks the endpoint of the first attempt. Nothing but a request stage is awaited between pinning the
    /// snapshot and here.
    fn select_first(
        &mut self,
        target: &Target<'a>,
        attempts: &mut Attempts<'a>,
    ) -> Result<Picked<'a>, Interrupt<'a>> {
        let (circuits, now) = (target.circuits(), self.core.runtime.now());
        self.note_circuits(circuits, now);
        let passed = match circuits.admit(self.candidate(), now) {
            Ok(passed) => passed,
            Err(open) => return Err(self.refuse_circuit(target, open)),
        };
        let pinned = if self.has_paused { Pinned::Before } else { Pinned::Now };
        let picked = self.begin_at_endpoint(target.pool, attempts, pinned).map_err(|unavailable| {
            circuits.abandon(passed, now);
            if let Unavailable::Busy { .. } = unavailable {
                let limit = target.pool.endpoint_limit().unwrap_or_default();
                self.info.limited_by = Some(LimitedBy { policy: target.pool.app.as_str(), limit });
            }
            Failure::Unavailable(unavailable)
        })?;
        Ok(Picked { passed, ..picked })
    }

    /// Picks an endpoint that was not tried; where the policy retries and all were, any. `None` where none is
    /// available, or a circuit breaker of route or pool is open.
    fn select_next(&self, target: &Target<'a>, attempts: &mut Attempts<'a>) -> Option<Picked<'a>> {
        // The attempt is over: its permit is free for others, and for this request.
        attempts.in_flight = None;
        let (circuits, now) = (target.circuits(), self.core.runtime.now());
        let passed = circuits.admit(self.candidate(), now).ok()?;
        let mut picked = self.begin_at_endpoint(target.pool, attempts, Pinned::Before);
        if matches!(picked, Err(Unavailable::Exhausted)) && retries(target).is_some() {
            attempts.tried.restart();
            picked = self.begin_at_endpoint(target.pool, attempts, Pinned::Before);
        }
        match picked {
            Ok(picked) => Some(Picked { passed, ..picked }),
            Err(_) => {
                circuits.abandon(passed, now);
                None
            }
        }
    }

    /// Picks an endpoint and counts the request there, with a permit where the pool limits its endpoints.
    pub(super) fn begin_at_endpoint(
        &self,
        pool: &'a Pool,
        attempts: &mut Attempts<'a>,
        pinned: Pinned,
    ) -> Result<Picked<'a>, Unavailable> {
        let (picked, in_flight) = begin_at(self.core, pool, || match pinned {
            Pinned::Now => self.select(pool, &attempts.tried),
            Pinned::Before => self.select_again(pool, &mut attempts.tried),
        })?;
        attempts.in_flight = Some(in_flight);
        Ok(picked)
    }

    pub(super) fn candidate(&self) -> Candidate {
        match self.body.as_ref().is_none_or(RequestBody::is_complete) {
            true => Candidate::Ready,
            false => Candidate::Streaming,
        }
    }

    /// Picks the next endpoint in turn; for a WebSocket the one that this client had before, while it is
    /// healthy: its session may live there.
    fn select(&self, pool: &'a Pool, tried: &TriedSet) -> Result<Picked<'a>, Unavailable> {
        let (candidate, now) = (self.candidate(), self.core.runtime.now());
        if self.upgrade {
            let hash = sticky_hash(self.core.settings.sticky_key, self.info.client);
            return balance::sticky(pool, hash, tried, now);
        }
        if pool.is_keyed()
            && let Some(key) = self.key_hash(pool)
        {
            return balance::by_key(pool, key, tried, candidate, now);
        }
        self.core.cursors.borrow_mut().pick(pool, tried, candidate, now)
    }

    /// Hash of the request's key, the same on every core and after a restart; `None` for a request without
    /// one.
    #[cold]
    fn key_hash(&self, pool: &Pool) -> Option<u64> {
        let key = pool.traffic.as_ref()?.settings.hash_by.as_ref()?;
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let edits = self.stages.request_edits();
        let fields = RequestFields::received(request, client_in).edited(edits.removed_names(), edits.lines());
        let value = key_value(key, fields, self.info.client)?;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.core.settings.sticky_key);
        hasher.write(value.as_bytes());
        Some(hasher.finish())
    }

    /// Picks an endpoint for another attempt, or after a pause. The pinned snapshot may be old by now: an
    /// endpoint that drains, or was removed, since it was pinned gets no request, for its last one may have
    /// been counted already.
    fn select_again(&self, pool: &'a Pool, tried: &mut TriedSet) -> Result<Picked<'a>, Unavailable> {
        let tables = self.core.tables();
        let newest = tables.snapshot.pool(pool.id);
        for _ in 0..ringway_model::limits::ATTEMPTS_MAX {
            let picked = self.select(pool, tried)?;
            if newest.is_some_and(|newest| newest.offers(picked.endpoint)) {
                return Ok(picked);
            }
            picked.endpoint.state.abandon(picked.admission, self.core.runtime.now());
            tried.insert(picked.endpoint.id);
        }
        Err(Unavailable::Exhausted)
    }

    /// Notes why an attempt failed, and reports it where the instance is to blame.
    #[cold]
    pub(super) fn note_cause(&mut self, target: &Target<'a>, endpoint: &Endpoint, failure: Failure) {
        let (core, slot) = (self.core, &self.transfer.cause);
        let cause = Cause::of_attempt(failure, slot, self.buffers, &target.matched.rule.policy);
        if let Some(cause) = &cause {
            attempt_warnings::report(core, target.pool, endpoint, cause, failure.code());
        }
        self.info.cause = cause;
    }
}

/// Picks an endpoint by `pick` and counts a request there, with a permit where the pool limits its endpoints.
pub(super) fn begin_at<'p, R: Runtime>(
    core: &Core<R>,
    pool: &'p Pool,
    mut pick: impl FnMut() -> Result<Picked<'p>, Unavailable>,
) -> Result<(Picked<'p>, in_flight::Guard<'p>), Unavailable> {
    let mut busy = Unavailable::Exhausted;
    for _ in 0..PERMIT_RACES_MAX {
        let picked = pick()?;
        if picked.has_reinstated {
            passive_health::on_reinstatement(core, pool);
        }
        if let Some(in_flight) = pool.begin(picked.endpoint, core.id.0.into()) {
            return Ok((picked, in_flight));
        }
        // Another core took the last permit since the pick.
        picked.endpoint.state.abandon(picked.admission, core.runtime.now());
        busy = pool
            .endpoint_max_concurrent()
            .map_or(busy, |max_concurrent| Unavailable::Busy { max_concurrent });
    }
    Err(busy)
}

/// Retries that the policy of a rule configures.
pub(super) fn retries<'a>(target: &Target<'a>) -> Option<&'a Retries> {
    target.matched.rule.traffic.as_deref()?.retries.as_deref()
}

/// Maximum attempts of a request.
pub(super) fn attempts_max(target: &Target<'_>) -> u8 {
    let of_retries = retries(target).map(|retries| retries.attempts_max);
    of_retries.unwrap_or(target.matched.rule.policy.attempts_max).get()
}

/// Code of the failure of an attempt that another one follows.
fn failure_code<R: Runtime>(result: &AttemptResult<'_, R>) -> &'static str {
    match result {
        Ok(_) => STATUS_RETRIED,
        Err(failed) => failed.fault.failure.code(),
    }
}

/// Code of an attempt whose response was rejected for its status.
const STATUS_RETRIED: &str = "status_retried";

/// Whether all of a response has come, and nothing behind it, on a connection that stays open. Reads what has
/// come since its head, without waiting.
fn is_all_there<S: Stream>(head: &ResponseHead, upstream_in: &mut Vec<u8>, stream: &S) -> bool {
    let body_bytes = match head.framing() {
        Framing::Empty => 0,
        Framing::Length(length) => usize::try_from(length).unwrap_or(usize::MAX),
        Framing::Chunked | Framing::UntilClose => return false,
    };
    let Some(end) = head.len().checked_add(body_bytes) else { return false };
    if !head.keep_alive() || end > limits::RELAY_BUFFER_BYTES {
        return false;
    }
    if upstream_in.len() < end {
        upstream_in.reserve_exact(end - upstream_in.len());
        stream.read_more(upstream_in);
    }
    upstream_in.len() == end
}

/// Picks of a request whose endpoint another core fills before it is counted there. Each of them is another
/// request that got its place.
const PERMIT_RACES_MAX: usize = 16;

/// Hash of a client's address, the same on every core and after a restart.
fn sticky_hash(key: u64, client: IpAddr) -> u64 {
    let bits = match client {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        // A home's or a phone's network, for the rest of the address changes from one connection to the next.
        IpAddr::V6(address) => u128::from(address) >> 64,
    };
    (bits as u64 ^ key).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29) ^ (bits >> 64) as u64
}
