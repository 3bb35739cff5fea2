//! Canary of a route: the pool of the next version, and the share of the requests for it.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{AppId, BrakeMode, Canary, CanaryStep, Percent, PoolRef, RequestKey};
use serde_json::json;

use super::pool;
use crate::draft::Draft;
use crate::limits::{CANARY_STEP_MS_MAX, CANARY_STEP_MS_MIN, CANARY_STEPS_MAX};
use crate::shapes::request_key::{cookie_field, request_key, short_key};
use crate::values::{id_schema, percent, time_within};
use crate::{Fault, Field, Reader};

/// Name of the member with the canary's pool.
pub(super) const POOL: &str = CANARY_POOL.name;

/// Reads the members of a canary. `hash_of_cohorts` is the `hash` of `cohort_routing`, which means the same
/// as that of the entry.
pub(super) fn canary(
    reader: &mut Reader<'_>,
    draft: &mut Draft,
    hash_of_cohorts: Option<RequestKey>,
) -> Option<Canary> {
    let pool = pool(reader, draft, &CANARY_POOL);
    let weight = reader.optional(&CANARY_WEIGHT);
    let steps = steps(reader, weight);
    let brake = reader.optional(&BRAKE);
    let hash = request_key(reader, &HASH);
    let cookie = reader.optional(&STICKY_COOKIE);
    if hash.is_some() && hash_of_cohorts.is_some() && hash != hash_of_cohorts {
        let message =
            "differs from hash of cohort_routing, which means the same: give one of them".to_owned();
        reader.fault(HASH.name, Fault { code: "conflict", message });
    }
    if !reader.has(POOL) {
        for name in [CANARY_WEIGHT.name, STEPS, BRAKE.name, HASH.name, STICKY_COOKIE.name] {
            if reader.has(name) {
                reader.fault(
                    name,
                    Fault { code: "missing", message: format!("needs {POOL}, the pool of the canary") },
                );
            }
        }
        if hash_of_cohorts.is_some() {
            let message = format!("has hash, which needs {POOL}: it decides who is sent there");
            reader.fault("cohort_routing", Fault { code: "missing", message });
        }
        return None;
    }
    if !reader.has(CANARY_WEIGHT.name) {
        let message = format!("is required beside {POOL}: the share of the requests for it, such as 10");
        reader.fault(CANARY_WEIGHT.name, Fault { code: "missing", message });
    }
    let brake = brake.unwrap_or(BrakeMode::On);
    if brake == BrakeMode::Off && !steps.is_empty() {
        let message = "must not be off beside canary_steps: each step needs its test".to_owned();
        reader.fault(BRAKE.name, Fault { code: "conflict", message });
    }
    Some(Canary {
        pool: PoolRef::Pool(pool?),
        weight: weight?,
        steps: steps.into(),
        hash: hash.or(hash_of_cohorts),
        cookie,
        brake,
    })
}

fn steps(reader: &mut Reader<'_>, weight: Option<Percent>) -> Vec<CanaryStep> {
    let mut last = weight;
    let doc = "Further weights, taken one after the other while the canary is no worse than the stable pool.";
    let steps = reader.list(STEPS, doc, |reader| {
        let weight = reader.required(&STEP_WEIGHT);
        let after = reader.required(&AFTER);
        if let (Some(before), Some(weight)) = (last, weight)
            && weight <= before
        {
            reader.fault(STEP_WEIGHT.name, Fault::range("must be above the weight before it"));
        }
        last = weight.or(last);
        Some(CanaryStep { weight: weight?, after: after? })
    });
    let steps = steps.unwrap_or_default();
    if steps.len() > CANARY_STEPS_MAX {
        let message = format!("must not have more than {CANARY_STEPS_MAX} items");
        reader.fault(STEPS, Fault::range(message));
    }
    steps
}

static CANARY_POOL: Field<AppId> = Field {
    name: "canary_pool",
    doc: "Pool of the next version.",
    schema: || id_schema("api-v2"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

static CANARY_WEIGHT: Field<Percent> = percent("canary_weight", "Share of the requests for canary_pool.");

const STEPS: &str = "canary_steps";

static STEP_WEIGHT: Field<Percent> = percent("weight", "Share of the requests for canary_pool.");

static AFTER: Field<Duration> = time_within::<CANARY_STEP_MS_MIN, CANARY_STEP_MS_MAX>(
    "after",
    "Time at the weight before until this one is taken.",
);

static BRAKE: Field<BrakeMode> = Field {
    name: "brake",
    doc: "Brake that sends all requests to the stable pool when the canary fails more of them: on, off, or dry_run, which \
          only reports it. on when absent.",
    schema: || json!({ "type": "string", "enum": BrakeMode::ALL.map(BrakeMode::as_str) }),
    parse: |given| {
        BrakeMode::parse(given.text()?).ok_or_else(|| {
            Fault::invalid(format_args!(
                "must be one of {}",
                BrakeMode::ALL.map(BrakeMode::as_str).join(", ")
            ))
        })
    },
};

static HASH: Field<RequestKey> = short_key(
    "hash",
    "Value that decides whether a request is for the canary, so that a user stays where he is: client for the address, \
     header:NAME or cookie:NAME, or {header: NAME} or {cookie: NAME}. By chance when absent.",
);

static STICKY_COOKIE: Field<Arc<str>> = cookie_field(
    "sticky_cookie",
    "Cookie that ringway sets so that a client stays where it is while the weight grows; none when absent.",
);
