//! Fields of retries, limits and breakers of a policy. All of their values have one: a default too is a value
//! in force.

use ringway_model::{CircuitBreaker, Hedge, HedgeDelay, RateLimit, RateLimitKey, Retries};

use super::seconds;

/// A field of a policy.
type Field = (&'static str, String);

pub(super) fn retries(retries: &Retries) -> Vec<Field> {
    let Retries {
        attempts_max,
        budget,
        budget_floor,
        idempotent_only,
        statuses,
        idempotency_key,
        backoff_min,
        backoff_max,
    } = retries;
    let mut fields = vec![
        ("/retries/max_attempts", attempts_max.to_string()),
        ("/retries/budget_percent", budget.to_string()),
        ("/retries/min_per_second", budget_floor.to_string()),
        ("/retries/idempotent_only", idempotent_only.to_string()),
        ("/retries/statuses", if statuses.is_empty() { "none".to_owned() } else { statuses.to_string() }),
        ("/retries/backoff", format!("{} to {}", seconds(*backoff_min), seconds(*backoff_max))),
    ];
    fields.extend(idempotency_key.as_ref().map(|name| ("/retries/idempotency_key", name.to_string())));
    fields
}

pub(super) fn rate_limit(limit: &RateLimit) -> Vec<Field> {
    let RateLimit { requests, per, burst, key, ban, sends_fields, dry_run } = limit;
    let rate = match per.as_secs() {
        3_600 => "/rate_limit/requests_per_hour",
        60 => "/rate_limit/requests_per_minute",
        _ => "/rate_limit/requests_per_second",
    };
    let part = |part: &RateLimitKey| match part {
        RateLimitKey::Route => "route".to_owned(),
        RateLimitKey::Client => "client".to_owned(),
        RateLimitKey::Tenant => "tenant".to_owned(),
        RateLimitKey::Host => "host".to_owned(),
        RateLimitKey::Header(name) => format!("header:{name}"),
    };
    let mut fields = vec![
        (rate, requests.to_string()),
        ("/rate_limit/burst", burst.to_string()),
        ("/rate_limit/key", key.iter().map(part).collect::<Vec<_>>().join(", ")),
    ];
    if let Some(ban) = ban {
        fields.push(("/rate_limit/ban_after", ban.after.to_string()));
        fields.push(("/rate_limit/ban_for", seconds(ban.duration)));
    }
    fields.extend(sends_fields.then(|| ("/rate_limit/headers", "true".to_owned())));
    fields.extend(dry_run.then(|| ("/rate_limit/dry_run", "true".to_owned())));
    fields
}

pub(super) fn circuit_breaker(breaker: &CircuitBreaker) -> Vec<Field> {
    let CircuitBreaker { error_threshold, requests_min, failures, open, successes, dry_run } = breaker;
    let mut fields = vec![
        ("/circuit_breaker/open_duration", seconds(*open)),
        ("/circuit_breaker/success_threshold", successes.to_string()),
    ];
    if let Some(threshold) = error_threshold {
        fields.push(("/circuit_breaker/error_threshold_percent", threshold.to_string()));
        fields.push(("/circuit_breaker/min_requests", requests_min.to_string()));
    }
    fields.extend(failures.map(|failures| ("/circuit_breaker/failure_threshold", failures.to_string())));
    fields.extend(dry_run.then(|| ("/circuit_breaker/dry_run", "true".to_owned())));
    fields
}

pub(super) fn hedge(hedge: &Hedge) -> Vec<Field> {
    let Hedge { delay, budget, dry_run } = hedge;
    let delay = match delay {
        HedgeDelay::P95 => "p95".to_owned(),
        HedgeDelay::After(delay) => seconds(*delay),
    };
    let mut fields = vec![("/hedge/delay", delay), ("/hedge/budget_percent", budget.to_string())];
    fields.extend(dry_run.then(|| ("/hedge/dry_run", "true".to_owned())));
    fields
}
