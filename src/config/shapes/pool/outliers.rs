//! `outlier_detection` and `health.passive` of a pool: two names of one machine.

use std::fmt::Display;
use std::time::Duration;

use ringway_model::{Outliers, Percent};
use serde_json::json;

use crate::draft::Draft;
use crate::limits::{CONSECUTIVE_FAILURES_MAX, OPEN_MS_MAX, OPEN_MS_MIN};
use crate::values::{boolean, duration_text, percent, ranged, some_percent, time_within};
use crate::{Fault, Field, Reader};

/// A value, and its place for a finding about another one that contradicts it.
type Placed<T> = Option<(T, String)>;

/// Values that both sections have.
#[derive(Default)]
pub(super) struct Passive {
    failures: Placed<u8>,
    ejection: Placed<Duration>,
    dry_run: Placed<bool>,
}

/// Reads `passive` of a pool's `health`.
pub(super) fn passive(reader: &mut Reader<'_>, draft: &Draft) -> Passive {
    let doc = "Results of requests that take an endpoint out of rotation; the same as outlier_detection.";
    reader.object("passive", doc, |reader| Some(shared(reader, draft))).unwrap_or_default()
}

/// Reads `outlier_detection` beside the values of `health.passive`.
pub(super) fn outliers(reader: &mut Reader<'_>, draft: &Draft, passive: Passive) -> Outliers {
    let doc = "Results of requests that take an endpoint out of rotation.";
    let defaults = Outliers::default();
    let given = reader.object("outlier_detection", doc, |reader| {
        let own = shared(reader, draft);
        agree(reader, &own.failures, &passive.failures, CONSECUTIVE_FAILURES.name, u8::to_string);
        agree(reader, &own.ejection, &passive.ejection, EJECTION_DURATION.name, |time| duration_text(*time));
        agree(reader, &own.dry_run, &passive.dry_run, DRY_RUN.name, bool::to_string);
        let error_rate = reader.optional(&ERROR_RATE);
        let max_ejection = reader.optional(&MAX_EJECTION);
        Some((own, error_rate, max_ejection))
    });
    let (own, error_rate, max_ejection) = given.unwrap_or_default();
    Outliers {
        consecutive_failures: own
            .failures
            .or(passive.failures)
            .map_or(defaults.consecutive_failures, |(failures, _)| failures),
        ejection: own.ejection.or(passive.ejection).map_or(defaults.ejection, |(time, _)| time),
        error_rate: error_rate.or(defaults.error_rate),
        max_ejection: max_ejection.unwrap_or(defaults.max_ejection),
        dry_run: own.dry_run.or(passive.dry_run).is_some_and(|(dry_run, _)| dry_run),
    }
}

fn shared(reader: &mut Reader<'_>, draft: &Draft) -> Passive {
    Passive {
        failures: placed(reader, draft, &CONSECUTIVE_FAILURES),
        ejection: placed(reader, draft, &EJECTION_DURATION),
        dry_run: placed(reader, draft, &DRY_RUN),
    }
}

fn placed<T: PartialEq>(reader: &mut Reader<'_>, draft: &Draft, field: &Field<T>) -> Placed<T> {
    let value = reader.optional(field)?;
    let at = match draft.place(reader.position(field.name)) {
        Some(place) => place.to_string(),
        None => reader.pointer(field.name).to_string(),
    };
    Some((value, at))
}

/// Reports two different values of one number.
fn agree<T: PartialEq, S: Display>(
    reader: &mut Reader<'_>,
    own: &Placed<T>,
    passive: &Placed<T>,
    name: &'static str,
    shown: impl Fn(&T) -> S,
) {
    if let (Some((own, _)), Some((other, at))) = (own, passive)
        && own != other
    {
        let message = format!(
            "is {} here and {} in health.passive at {at}: both mean the same; give it once",
            shown(own),
            shown(other)
        );
        reader.fault(name, Fault { code: "conflict", message });
    }
}

static CONSECUTIVE_FAILURES: Field<u8> = Field {
    name: "consecutive_failures",
    doc: "Failures in a row that take an endpoint out; 5 when absent.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": CONSECUTIVE_FAILURES_MAX }),
    parse: |given| ranged(given, 1, u64::from(CONSECUTIVE_FAILURES_MAX)).map(|number| number as u8),
};

static EJECTION_DURATION: Field<Duration> = time_within::<OPEN_MS_MIN, OPEN_MS_MAX>(
    "ejection_duration",
    "Time until a trial request to the endpoint; 30s when absent.",
);

static DRY_RUN: Field<bool> = boolean("dry_run", "Whether ejections are only counted.");

static ERROR_RATE: Field<Percent> = some_percent(
    "error_rate_threshold",
    "Share of failures within 10 seconds that takes an endpoint out, if the others are better; none when absent.",
);

static MAX_EJECTION: Field<Percent> = percent(
    "max_ejection_percent",
    "Largest share of the endpoints that is out at a time; 50 when absent, so that one of one stays.",
);
