//! Rate limit phase: counts the request against the limit of its rule's policy, and refuses what is beyond.
//!
//! It comes once for each request of a client, before any work for it: retries, hedges and mirrored requests
//! count nothing.

use std::time::Duration;

use ringway_telemetry::PolicyDecision;
use ringway_traffic::rate_limit::{Decision, KeySource, RateLimiter};
use ringway_traffic::request_key::RequestFields;

use crate::core::ConnBuffers;
use crate::exchange::grpc;
use crate::exchange::local_reply::{LimitedBy, LocalReply};
use crate::exchange::match_rule::Match;
use crate::exchange::{Exchange, Interrupt};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Counts the request, where its rule has a rate limit. Allocates nothing for a request that passes.
    #[inline]
    pub(super) fn limit_rate(&mut self, matched: Match<'a>) -> Result<(), Interrupt<'a>> {
        let traffic = matched.rule.traffic.as_deref();
        match traffic.and_then(|traffic| traffic.rate_limit.as_deref()) {
            None => Ok(()),
            Some(limiter) => self.count_against(limiter, matched),
        }
    }

    /// Counts the request against a limit of its rule.
    pub(super) fn count_against(
        &mut self,
        limiter: &'a RateLimiter,
        matched: Match<'a>,
    ) -> Result<(), Interrupt<'a>> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let edits = self.stages.request_edits();
        let source = KeySource {
            rule: matched.rule.id,
            client: self.info.client,
            tenant: matched.tenant().map(|tenant| tenant.id.as_str()),
            fields: RequestFields::received(request, client_in).edited(edits.removed_names(), edits.lines()),
        };
        let decision = limiter.decide(&source, self.core.runtime.now_micros());
        if limiter.has_fields() {
            self.info.rate_limit = Some((limiter, decision));
        }
        let (refusal, counted) = match (decision, limiter.is_dry_run()) {
            (Decision::Admitted { .. }, _) => return Ok(()),
            (Decision::Limited { .. }, true) => (None, PolicyDecision::WouldLimit),
            (Decision::Banned { .. }, true) => (None, PolicyDecision::WouldBan),
            (Decision::Limited { retry_after }, false) => {
                let reply = LocalReply::error(429, "rate_limited", "too many requests; repeat it later");
                (Some((reply, retry_after)), PolicyDecision::Limited)
            }
            (Decision::Banned { retry_after }, false) => {
                let reply = LocalReply::error(429, "banned", "refused for a while, after too many requests");
                (Some((reply, retry_after)), PolicyDecision::Banned)
            }
        };
        self.core.telemetry.emit(counted.of(matched.rule.metric.0));
        let Some((reply, retry_after)) = refusal else { return Ok(()) };
        if matches!(decision, Decision::Banned { .. }) {
            self.core.security_events.note_banned(&matched.rule.name, self.info.client);
        }
        let by = LimitedBy { policy: limiter.policy(), limit: limiter.words() };
        self.info.limited_by = Some(by);
        let reply = reply.with_field("Retry-After", seconds(retry_after).to_string().as_bytes());
        Err(reply.with_grpc_status(grpc::Status::ResourceExhausted).into())
    }
}

/// Seconds of a duration, rounded up, and one at least: a client that waits for them is admitted.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
