//! Retries, limits of rates, circuit breakers, passive health, outliers, discovery.

use super::object;
use crate::Reader;
use crate::values::{boolean, number, percent, text, texts, time};

/// Reads `retries` of a policy.
pub(in crate::shapes) fn retries(reader: &mut Reader<'_>) {
    object(reader, "retries", "Further attempts of failed requests.", |reader| {
        reader.optional(&number::<1, 10>("max_attempts", "Attempts, the first included."));
        reader.optional(&percent("budget_percent", "Share of the successful requests that may be retried."));
        reader.optional(&boolean("idempotent_only", "Whether only idempotent methods are retried."));
    });
}

/// Reads `rate_limit` of a policy.
pub(in crate::shapes) fn rate_limit(reader: &mut Reader<'_>) {
    object(reader, "rate_limit", "Limit of the request rate.", |reader| {
        reader.optional(&number::<1, 1_000_000_000>("requests_per_second", "Requests per second."));
        reader.optional(&number::<1, 1_000_000_000>("burst", "Requests at once."));
    });
}

/// Reads `circuit_breaker` of a policy, a pool or the whole document.
pub(in crate::shapes) fn circuit_breaker(reader: &mut Reader<'_>) {
    object(reader, "circuit_breaker", "Circuit breaker.", |reader| {
        reader.optional(&percent("error_threshold_percent", "Share of failures that opens it."));
        reader.optional(&number::<1, 1_000_000>("min_requests", "Requests from which it is judged."));
        reader.optional(&time("open_duration", "Time until a trial request."));
        reader.optional(&number::<1, 1_000_000>("failure_threshold", "Failures in a row that open it."));
        reader.optional(&time("timeout", "The same as open_duration."));
        reader.optional(&number::<1, 1_000_000>("success_threshold", "Successes in a row that close it."));
    });
}

/// Reads `health.passive` of a pool.
pub(in crate::shapes) fn passive(reader: &mut Reader<'_>) {
    object(reader, "passive", "Results of requests that take an endpoint out of rotation.", |reader| {
        reader.optional(&number::<1, 1_000_000>("consecutive_failures", "Failures in a row."));
        reader.optional(&time("ejection_duration", "Time out of rotation."));
    });
}

/// Reads `outlier_detection` of a pool.
pub(in crate::shapes) fn outlier_detection(reader: &mut Reader<'_>) {
    object(reader, "outlier_detection", "Endpoints that are worse than the others.", |reader| {
        reader.optional(&number::<1, 1_000_000>("consecutive_failures", "Failures in a row."));
        reader.optional(&percent("error_rate_threshold", "Share of failures."));
        reader.optional(&percent("max_ejection_percent", "Largest share of endpoints out of rotation."));
    });
}

/// Reads `discover` of a pool.
pub(in crate::shapes) fn discover(reader: &mut Reader<'_>) {
    object(reader, "discover", "Source of the endpoints.", |reader| {
        for (name, doc) in [
            ("consul", "Service in Consul."),
            ("kubernetes", "Service in Kubernetes."),
            ("srv", "Name of an SRV record."),
            ("http", "URL of a list of endpoints."),
        ] {
            reader.optional(&text(name, doc));
        }
        reader.optional(&texts("tags", "Tags that an endpoint must have."));
    });
}
