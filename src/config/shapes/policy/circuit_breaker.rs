//! `circuit_breaker` of a policy, a pool or the whole document.

use std::time::Duration;

use ringway_model::{CircuitBreaker, Percent};
use serde_json::json;

use crate::limits::{BREAKER_COUNT_MAX, BREAKER_SUCCESSES_MAX, OPEN_MS_MAX, OPEN_MS_MIN};
use crate::values::{boolean, count, ranged, some_percent, time_within};
use crate::{Fault, Field, Reader};

/// Reads `circuit_breaker`.
pub(in crate::shapes) fn circuit_breaker(reader: &mut Reader<'_>) -> Option<CircuitBreaker> {
    let doc = "Circuit breaker: while it is open, requests are answered with 503.";
    reader.object("circuit_breaker", doc, |reader| {
        let defaults = CircuitBreaker::default();
        let error_threshold = reader.optional(&ERROR_THRESHOLD);
        let requests_min = reader.optional(&MIN_REQUESTS);
        let failures = reader.optional(&FAILURE_THRESHOLD);
        let (open, timeout) = (reader.optional(&OPEN_DURATION), reader.optional(&TIMEOUT));
        if open.is_some() && timeout.is_some() {
            let message = "means the same as open_duration: give one of them".to_owned();
            reader.fault(TIMEOUT.name, Fault { code: "conflict", message });
        }
        let successes = reader.optional(&SUCCESS_THRESHOLD).unwrap_or(defaults.successes);
        let dry_run = reader.optional(&DRY_RUN).unwrap_or(false);
        // Failures in a row alone: the share of failures is not looked at.
        let counts_share = error_threshold.is_some() || requests_min.is_some() || failures.is_none();
        Some(CircuitBreaker {
            error_threshold: error_threshold.or(defaults.error_threshold).filter(|_| counts_share),
            requests_min: requests_min.unwrap_or(defaults.requests_min),
            failures,
            open: open.or(timeout).unwrap_or(defaults.open),
            successes,
            dry_run,
        })
    })
}

static ERROR_THRESHOLD: Field<Percent> = some_percent(
    "error_threshold_percent",
    "Share of failures within 10 seconds that opens it; 50 when this and failure_threshold are absent.",
);

static MIN_REQUESTS: Field<u32> = count::<1, BREAKER_COUNT_MAX>(
    "min_requests",
    "Requests within 10 seconds from which their share of failures is judged; 20 when absent.",
);

static FAILURE_THRESHOLD: Field<u32> = count::<1, BREAKER_COUNT_MAX>(
    "failure_threshold",
    "Failures in a row that open it; any number when absent.",
);

static OPEN_DURATION: Field<Duration> = time_within::<OPEN_MS_MIN, OPEN_MS_MAX>(
    "open_duration",
    "Time until a trial request; doubles up to fourfold while trials fail. 30s when absent.",
);

static TIMEOUT: Field<Duration> =
    Field { name: "timeout", doc: "The same as open_duration.", ..OPEN_DURATION };

static SUCCESS_THRESHOLD: Field<u8> = Field {
    name: "success_threshold",
    doc: "Successful trials in a row that close it; 2 when absent.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": BREAKER_SUCCESSES_MAX }),
    parse: |given| ranged(given, 1, u64::from(BREAKER_SUCCESSES_MAX)).map(|number| number as u8),
};

static DRY_RUN: Field<bool> = boolean("dry_run", "Whether it only counts what it would refuse.");
