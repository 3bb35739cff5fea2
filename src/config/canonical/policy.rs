//! Canonical form of retries, limits and breakers of a policy.

use ringway_model::{CircuitBreaker, Hedge, HedgeDelay, RateLimit, Retries};
use serde_json::{Value as Json, json};

use super::Members;
use crate::shapes::key_text;
use crate::values::{duration_text, percent_value};

pub(super) fn retries(retries: &Retries) -> Json {
    let mut members = Members::default();
    members.add("max_attempts", Some(retries.attempts_max.get()));
    members.add("budget_percent", Some(percent_value(retries.budget)));
    members.add("min_per_second", Some(retries.budget_floor));
    members.add("idempotent_only", Some(retries.idempotent_only));
    members.add("statuses", Some(retries.statuses.parts().collect::<Vec<_>>()));
    members.add("idempotency_key", retries.idempotency_key.as_deref());
    let (min, max) = (duration_text(retries.backoff_min), duration_text(retries.backoff_max));
    members.add("backoff", Some(json!({ "min": min, "max": max })));
    members.finish()
}

pub(super) fn rate_limit(limit: &RateLimit) -> Json {
    let mut members = Members::default();
    let rate = match limit.per.as_secs() {
        3_600 => "requests_per_hour",
        60 => "requests_per_minute",
        _ => "requests_per_second",
    };
    members.add(rate, Some(limit.requests));
    members.add("burst", Some(limit.burst));
    members.add("key", Some(limit.key.iter().map(key_text).collect::<Vec<_>>()));
    members.add("ban_after", limit.ban.as_ref().map(|ban| ban.after));
    members.add("ban_for", limit.ban.as_ref().map(|ban| duration_text(ban.duration)));
    members.add("headers", Some(true).filter(|_| limit.sends_fields));
    members.add("dry_run", Some(true).filter(|_| limit.dry_run));
    members.finish()
}

pub(super) fn circuit_breaker(breaker: &CircuitBreaker) -> Json {
    let mut members = Members::default();
    members.add("error_threshold_percent", breaker.error_threshold.map(percent_value));
    // Without a share of failures there is nothing that it would be for.
    members.add("min_requests", breaker.error_threshold.map(|_| breaker.requests_min));
    members.add("failure_threshold", breaker.failures);
    members.add("open_duration", Some(duration_text(breaker.open)));
    members.add("success_threshold", Some(breaker.successes));
    members.add("dry_run", Some(true).filter(|_| breaker.dry_run));
    members.finish()
}

pub(super) fn hedge(hedge: &Hedge) -> Json {
    let mut members = Members::default();
    let delay = match hedge.delay {
        HedgeDelay::P95 => "p95".to_owned(),
        HedgeDelay::After(delay) => duration_text(delay),
    };
    members.add("delay", Some(delay));
    members.add("budget_percent", Some(percent_value(hedge.budget)));
    members.add("dry_run", Some(true).filter(|_| hedge.dry_run));
    members.finish()
}
