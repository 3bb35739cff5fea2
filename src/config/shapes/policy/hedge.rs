//! `hedge` of a policy.

use std::time::Duration;

use ringway_model::{Hedge, HedgeDelay, Percent};
use serde_json::json;

use crate::limits::{HEDGE_MS_MAX, HEDGE_MS_MIN};
use crate::values::{boolean, some_percent, time_within};
use crate::{Fault, Field, Reader};

/// Reads `hedge`.
pub(in crate::shapes) fn hedge(reader: &mut Reader<'_>) -> Option<Hedge> {
    let doc = "A second request to another endpoint when the first is slow, of GET and HEAD without a body.";
    reader.object("hedge", doc, |reader| {
        let delay = reader.optional(&DELAY).unwrap_or(HedgeDelay::P95);
        let budget = reader.optional(&BUDGET_PERCENT).unwrap_or(BUDGET);
        let dry_run = reader.optional(&DRY_RUN).unwrap_or(false);
        Some(Hedge { delay, budget, dry_run })
    })
}

/// Second requests as a share of all, where none is given.
const BUDGET: Percent = Percent::whole(5);

static DELAY: Field<HedgeDelay> = Field {
    name: "delay",
    doc: "Time without a response head until the second request: a duration, or p95 for the time in which 95 of 100 \
          responses of the route begin; p95 when absent.",
    schema: || {
        json!({ "oneOf": [
            { "type": "string", "pattern": "^(p95|[0-9]+(ms|s|m|h|d))$", "examples": ["p95", "100ms"] },
            { "type": "integer", "minimum": 0, "description": "Seconds." },
        ] })
    },
    parse: |given| match given.text() {
        Ok("p95") => Ok(HedgeDelay::P95),
        _ => (AFTER.parse)(given).map(HedgeDelay::After).map_err(|fault| match fault.code {
            "invalid" => Fault::invalid("must be p95, or a duration such as 100ms"),
            _ => fault,
        }),
    },
};

static AFTER: Field<Duration> = time_within::<HEDGE_MS_MIN, HEDGE_MS_MAX>("delay", "");

static BUDGET_PERCENT: Field<Percent> =
    some_percent("budget_percent", "Second requests as a share of all; 5 when absent.");

static DRY_RUN: Field<bool> = boolean("dry_run", "Whether second requests are only counted.");
