//! Overload protection of a route: requests at a time, and those that wait.

use std::time::Duration;

use ringway_model::{AdaptiveLimit, Overload};
use serde_json::json;

use crate::limits::{CONCURRENT_MAX, QUEUE_MAX, QUEUE_MS_MAX};
use crate::values::{boolean, count, time_within};
use crate::{Fault, Field, Reader};

/// Reads `overload_protection`.
pub(super) fn overload(reader: &mut Reader<'_>) -> Option<Overload> {
    let doc = "Limit of the requests of the route at a time; more wait, or are answered with 503.";
    reader.object("overload_protection", doc, |reader| {
        let max_concurrent = reader.required(&MAX_CONCURRENT);
        let queue_size = reader.optional(&QUEUE_SIZE).unwrap_or(0);
        let queue_timeout = reader.optional(&QUEUE_TIMEOUT);
        let adaptive = reader.short_or_object(&ADAPTIVE, |reader| {
            let target = reader.optional(&TARGET);
            let min = reader.optional(&MIN).unwrap_or(ADAPTIVE_MIN);
            Some(Some(AdaptiveLimit { target, min }))
        });
        let adaptive = adaptive.flatten();
        let dry_run = reader.optional(&DRY_RUN).unwrap_or(false);
        if queue_timeout.is_some() && queue_size == 0 && !reader.is_faulty(QUEUE_SIZE.name) {
            let message = "needs queue_size: without a queue nothing waits".to_owned();
            reader.fault(QUEUE_TIMEOUT.name, Fault { code: "missing", message });
        }
        if let (Some(adaptive), Some(most)) = (&adaptive, max_concurrent)
            && adaptive.min > most
        {
            let message =
                format!("must leave room below max_concurrent: its lowest limit is {}", adaptive.min);
            reader.fault(ADAPTIVE.name, Fault::range(message));
        }
        let queue_timeout = queue_timeout.unwrap_or(QUEUE_TIME);
        Some(Overload { max_concurrent: max_concurrent?, queue_size, queue_timeout, adaptive, dry_run })
    })
}

/// Longest wait where none is given.
const QUEUE_TIME: Duration = Duration::from_secs(1);
/// Lowest adaptive limit where none is given.
const ADAPTIVE_MIN: u32 = 4;

static MAX_CONCURRENT: Field<u32> = count::<1, CONCURRENT_MAX>(
    "max_concurrent",
    "Requests at a time, until the end of their responses; with adaptive the highest limit.",
);

static QUEUE_SIZE: Field<u32> =
    count::<0, QUEUE_MAX>("queue_size", "Requests that wait, the first come first; none when absent.");

static QUEUE_TIMEOUT: Field<Duration> =
    time_within::<1, QUEUE_MS_MAX>("queue_timeout", "Longest wait; 1s when absent.");

static ADAPTIVE: Field<Option<AdaptiveLimit>> = Field {
    name: "adaptive",
    doc: "Whether the limit follows the time of the responses; true, or an object.",
    schema: || json!({ "type": "boolean" }),
    parse: |given| {
        given.boolean().map(|is_on| is_on.then_some(AdaptiveLimit { target: None, min: ADAPTIVE_MIN }))
    },
};

static TARGET: Field<Duration> = time_within::<1, QUEUE_MS_MAX>(
    "target",
    "Time to the head of a response beyond which the limit falls; half of the route's timeout when absent.",
);

static MIN: Field<u32> = count::<1, CONCURRENT_MAX>("min", "Lowest limit; 4 when absent.");

static DRY_RUN: Field<bool> = boolean("dry_run", "Whether refusals are only counted.");
