//! Upstream phases: attempts, until one has a response head.
//!
//! ```text
//! [ select ─► connect ─► send ─► response head ]
//!      ▲────── again, while nothing reached the client and it is safe (`traffic::retry`)
//! ```

use std::hash::{DefaultHasher, Hasher};
use std::net::IpAddr;

use ringway_traffic::balance::{self, Picked, TriedSet, Unavailable};
use ringway_traffic::breaker::Candidate;
use ringway_traffic::in_flight;
use ringway_traffic::request_key::key_value;
use ringway_traffic::retry::{self, Retry};
use ringway_traffic::snapshot::{Endpoint, Pool};
use ringway_traffic::virtual_host::Action;

use crate::core::ConnBuffers;
use crate::exchange::cause::Cause;
use crate::exchange::failure::Failure;
use crate::exchange::local_reply::LimitedBy;
use crate::exchange::request_body::{BodyUse, RequestBody, read_more};
use crate::exchange::{Exchange, Interrupt, Target, attempt_warnings, forwarded, passive_health};
use crate::runtime::Runtime;
use crate::upstream::{Attempt, Reuse, UpstreamResponse};

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Sends the request to an endpoint, and to another one where that is safe, until a response head has
    /// come.
    pub(super) async fn fetch(
        &mut self,
        target: &Target<'a>,
    ) -> Result<UpstreamResponse<'a, R>, Interrupt<'a>> {
        self.begin_body(target.matched.rule.policy.body_bytes_max)?;
        self.write_added_headers(target);
        self.rewrite_target(target);
        let (core, pool, policy) = (self.core, target.pool, &*target.matched.rule.policy);
        let body_is_complete = self.body.as_ref().is_none_or(RequestBody::is_complete);
        let candidate = if body_is_complete { Candidate::Ready } else { Candidate::Streaming };
        let mut tried = TriedSet::default();
        let mut again: Option<Picked<'a>> = None;
        let mut last = None;
        // Counted from the choice on. Nothing but a request stage is awaited between pinning the snapshot and
        // here.
        let mut in_flight = None;
        loop {
            let (picked, reuse) = match again.take() {
                Some(picked) => (picked, Reuse::Never),
                None => {
                    // The failed attempt is over: its permit is free for others, and for this request.
                    in_flight = None;
                    let is_first = last.is_none() && !self.has_paused;
                    let (circuits, now) = (target.circuits(), core.runtime.now());
                    let passed = match circuits.admit(candidate, now) {
                        Ok(passed) => passed,
                        Err(open) => {
                            return Err(match last {
                                Some((_, failure)) => Interrupt::Failure(failure),
                                None => self.refuse_circuit(target, open),
                            });
                        }
                    };
                    let selected = self.begin_at_endpoint(pool, &mut tried, candidate, is_first);
                    if let (Err(Unavailable::Busy { .. }), None) = (&selected, last) {
                        let limit = pool.endpoint_limit().unwrap_or_default();
                        self.info.limited_by = Some(LimitedBy { policy: pool.app.as_str(), limit });
                    }
                    let (picked, counted) = selected.map_err(|unavailable| {
                        circuits.abandon(passed, now);
                        last.map_or(Failure::Unavailable(unavailable), |(_, failure)| failure)
                    })?;
                    in_flight = Some(counted);
                    (Picked { passed, ..picked }, Reuse::Allowed)
                }
            };
            let endpoint = picked.endpoint;
            // The last attempt is the exchange's.
            if let Some((endpoint, failure)) = last {
                self.info.report_attempt(core, self.buffers, endpoint, failure);
            }
            self.info.begin_attempt(core.runtime.now_micros(), endpoint);
            let mut attempt = Attempt {
                core,
                client: self.client,
                transfer: self.transfer,
                buffers: self.buffers,
                body: &mut self.body,
                info: &mut self.info,
                picked,
                pool,
                policy,
                reuse,
                upgrade: self.upgrade,
                stages: &mut self.stages,
            };
            let failed = match attempt.run().await {
                Ok(mut response) => {
                    passive_health::on_response_head(core, &picked, self.buffers.response.status(), target);
                    response.in_flight = in_flight;
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            let failure = failed.fault.failure;
            let failed_attempt = failed.failed_attempt(self.buffers.request.method(), self.info.attempts);
            let decision = match self.transfer.activity.deadlines.are_over(policy, core.runtime.now()) {
                true => Retry::No,
                false => retry::decide(&failed_attempt, policy, &pool.retry_budget),
            };
            if decision != Retry::SameEndpoint {
                self.note_cause(target, endpoint, failure);
            }
            match decision {
                // A stale connection says nothing about the endpoint: the next attempt does.
                Retry::SameEndpoint => again = Some(picked),
                Retry::NextEndpoint => {
                    passive_health::on_failure(core, &picked, &failed.fault, None, target);
                    if self.has_waited(self.info.attempt_us) && self.has_left().await {
                        return Err(Failure::ClientClosed.into());
                    }
                    tried.insert(endpoint.id);
                }
                Retry::No => {
                    passive_health::on_failure(core, &picked, &failed.fault, None, target);
                    return Err(failure.into());
                }
            }
            last = Some((endpoint, failure));
        }
    }

    /// Judges the beginning of the request's body.
    fn begin_body(&mut self, bytes_max: Option<u64>) -> Result<(), Failure> {
        let (framing, head_bytes) = (self.buffers.request.framing(), self.buffers.request.len());
        let body_use =
            if self.stages.request_body().is_empty() { BodyUse::PassThrough } else { BodyUse::Data };
        read_more(self.client, self.buffers);
        let client_in = &mut self.buffers.client_in;
        self.body = Some(RequestBody::begin(framing, head_bytes, client_in, bytes_max, body_use)?);
        Ok(())
    }

    /// Rewrites the target for the endpoint, where the rule says so.
    fn rewrite_target(&mut self, target: &Target<'a>) {
        let ConnBuffers { target: rewritten, request, client_in, .. } = &mut *self.buffers;
        rewritten.clear();
        if let Action::Proxy { rewrite: Some(rewrite), .. } = &target.matched.rule.action {
            rewrite.apply(rewritten, request.path_and_query(client_in));
        }
    }

    /// Writes the fields about the client and its request, in place of any that the client sent.
    fn write_added_headers(&mut self, target: &Target<'a>) {
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

    /// Picks an endpoint and counts the request there, with a permit where the pool limits its endpoints.
    fn begin_at_endpoint(
        &self,
        pool: &'a Pool,
        tried: &mut TriedSet,
        candidate: Candidate,
        is_first: bool,
    ) -> Result<(Picked<'a>, in_flight::Guard<'a>), Unavailable> {
        let mut busy = Unavailable::Exhausted;
        for _ in 0..PERMIT_RACES_MAX {
            let picked = match is_first {
                true => self.select(pool, tried, candidate)?,
                false => self.select_again(pool, tried, candidate)?,
            };
            if let Some(counted) = pool.begin(picked.endpoint, self.core.id.0.into()) {
                return Ok((picked, counted));
            }
            // Another core took the last permit since the pick.
            picked.endpoint.state.abandon(picked.admission, self.core.runtime.now());
            busy = pool
                .endpoint_max_concurrent()
                .map_or(busy, |max_concurrent| Unavailable::Busy { max_concurrent });
        }
        Err(busy)
    }

    /// Picks the next endpoint in turn; for a WebSocket the one that this client had before, while it is
    /// healthy: its session may live there.
    fn select(
        &self,
        pool: &'a Pool,
        tried: &TriedSet,
        candidate: Candidate,
    ) -> Result<Picked<'a>, Unavailable> {
        let now = self.core.runtime.now();
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
        let value = key_value(key, request, client_in, self.info.client)?;
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.core.settings.sticky_key);
        hasher.write(value.as_bytes());
        Some(hasher.finish())
    }

    /// Picks an endpoint for another attempt, or after a pause. The pinned snapshot may be old by now: an
    /// endpoint that drains, or was removed, since it was pinned gets no request, for its last one may have
    /// been counted already.
    fn select_again(
        &self,
        pool: &'a Pool,
        tried: &mut TriedSet,
        candidate: Candidate,
    ) -> Result<Picked<'a>, Unavailable> {
        let tables = self.core.tables();
        let newest = tables.snapshot.pool(pool.id);
        for _ in 0..ringway_model::limits::ATTEMPTS_MAX {
            let picked = self.select(pool, tried, candidate)?;
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
