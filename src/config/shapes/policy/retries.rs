//! `retries` of a policy.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::limits::ATTEMPTS_MAX;
use ringway_model::{Retries, StatusSet};
use serde_json::json;

use crate::limits::{BACKOFF_MS_MAX, RETRY_FLOOR_MAX};
use crate::shapes::request_key::header_field;
use crate::values::{boolean, failure_statuses, percent, status_set_schema, time_within};
use crate::{Fault, Field, Reader};

/// Reads `retries`.
pub(in crate::shapes) fn retries(reader: &mut Reader<'_>) -> Option<Retries> {
    reader.object("retries", "Further attempts of failed requests, within a budget of the pool.", |reader| {
        let defaults = Retries::default();
        let attempts_max = reader.optional(&MAX_ATTEMPTS).unwrap_or(defaults.attempts_max);
        let budget = reader.optional(&BUDGET_PERCENT).unwrap_or(defaults.budget);
        let budget_floor = reader.optional(&MIN_PER_SECOND).unwrap_or(defaults.budget_floor);
        let idempotent_only = reader.optional(&IDEMPOTENT_ONLY).unwrap_or(defaults.idempotent_only);
        let statuses = reader.optional(&STATUSES).unwrap_or(defaults.statuses);
        let idempotency_key = reader.optional(&IDEMPOTENCY_KEY);
        let backoff =
            reader.object("backoff", "Pause before a retry, random up to a bound that doubles.", backoff);
        let (backoff_min, backoff_max) = backoff.unwrap_or((defaults.backoff_min, defaults.backoff_max));
        if idempotency_key.is_some() && !idempotent_only {
            let message = "has no use beside idempotent_only: false, which repeats all requests".to_owned();
            reader.fault(IDEMPOTENCY_KEY.name, Fault { code: "conflict", message });
        }
        if budget.hundredths() == 0 && budget_floor == 0 {
            let message = "must not be 0 beside min_per_second: 0: nothing would be repeated".to_owned();
            reader.fault(BUDGET_PERCENT.name, Fault { code: "conflict", message });
        }
        Some(Retries {
            attempts_max,
            budget,
            budget_floor,
            idempotent_only,
            statuses,
            idempotency_key,
            backoff_min,
            backoff_max,
        })
    })
}

fn backoff(reader: &mut Reader<'_>) -> Option<(Duration, Duration)> {
    let defaults = Retries::default();
    let (min, max) = (reader.optional(&BACKOFF_MIN), reader.optional(&BACKOFF_MAX));
    // One bound alone moves the other along.
    let (low, high) = match (min, max) {
        (Some(min), None) => (min, defaults.backoff_max.max(min)),
        (None, Some(max)) => (defaults.backoff_min.min(max), max),
        (min, max) => (min.unwrap_or(defaults.backoff_min), max.unwrap_or(defaults.backoff_max)),
    };
    if low > high {
        reader.fault(BACKOFF_MIN.name, Fault::range("must not be longer than max"));
    }
    Some((low, high))
}

static MAX_ATTEMPTS: Field<NonZeroU8> = Field {
    name: "max_attempts",
    doc: "Attempts of one request, the first included; 3 when absent.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": ATTEMPTS_MAX }),
    parse: |given| {
        let number = given.unsigned()?;
        u8::try_from(number)
            .ok()
            .filter(|number| usize::from(*number) <= ATTEMPTS_MAX)
            .and_then(NonZeroU8::new)
            .ok_or_else(|| {
                Fault::range(format_args!(
                    "must be from 1 to {ATTEMPTS_MAX}, the first attempt included: more multiply the load on \
                     endpoints that fail already"
                ))
            })
    },
};

static BUDGET_PERCENT: Field<ringway_model::Percent> = percent(
    "budget_percent",
    "Retries of the pool in 10 seconds, as a share of its successful requests; 10 when absent.",
);

static MIN_PER_SECOND: Field<u16> = Field {
    name: "min_per_second",
    doc: "Retries of the pool that are admitted in any case, per second; 3 when absent.",
    schema: || json!({ "type": "integer", "minimum": 0, "maximum": RETRY_FLOOR_MAX }),
    parse: |given| crate::values::ranged(given, 0, u64::from(RETRY_FLOOR_MAX)).map(|number| number as u16),
};

static IDEMPOTENT_ONLY: Field<bool> = boolean(
    "idempotent_only",
    "Whether only requests with idempotent methods are repeated; they are when absent.",
);

static STATUSES: Field<StatusSet> = Field {
    name: "statuses",
    doc: "Statuses that are repeated, from 500 to 599; 502, 503 and 504 when absent, none when empty.",
    schema: status_set_schema,
    parse: failure_statuses,
};

static IDEMPOTENCY_KEY: Field<Arc<str>> = header_field(
    "idempotency_key",
    "Header field that makes a request of any method repeatable, as Idempotency-Key; none when absent.",
);

static BACKOFF_MIN: Field<Duration> =
    time_within::<0, BACKOFF_MS_MAX>("min", "First bound of the pause; 25ms when absent.");

static BACKOFF_MAX: Field<Duration> =
    time_within::<0, BACKOFF_MS_MAX>("max", "Last bound of the pause; 250ms when absent.");
