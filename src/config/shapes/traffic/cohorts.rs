//! Cohorts of a route: groups of clients, named by a header field or a cookie, with a pool each.

use std::sync::Arc;

use ringway_model::{AppId, Cohorts, Kind, PoolRef, RequestKey};
use serde_json::Value as Json;

use crate::draft::Draft;
use crate::limits::{COHORT_BYTES_MAX, COHORTS_MAX};
use crate::shapes::matcher::is_field_value;
use crate::shapes::request_key::{cookie_field, header_field, request_key, short_key};
use crate::values::{boolean, id_schema};
use crate::{Fault, Field, Given, Reader};

/// Reads `cohort_routing`: the cohorts, and its `hash`, which belongs to the canary.
pub(super) fn cohorts(reader: &mut Reader<'_>, draft: &mut Draft) -> (Option<Cohorts>, Option<RequestKey>) {
    let doc = "Pools of cohorts, before the weight of the canary.";
    let given = reader.object("cohort_routing", doc, |reader| {
        let header = reader.optional(&HEADER);
        let cookie = reader.optional(&COOKIE);
        let hash = request_key(reader, &HASH);
        let trusted_only = reader.optional(&TRUSTED_ONLY).unwrap_or(false);
        let brake = reader.optional(&BRAKE_COHORTS).unwrap_or(false);
        let mappings = mappings(reader, draft);
        let has_name = reader.has(HEADER.name) || reader.has(COOKIE.name);
        if !mappings.is_empty() && !has_name {
            let message = "is required, or cookie: the cohort of a request".to_owned();
            reader.fault(HEADER.name, Fault { code: "missing", message });
        }
        if mappings.is_empty() && has_name && !reader.is_faulty_below(MAPPINGS) {
            let message = "is required: the pool of each cohort, such as {beta: api-v2}".to_owned();
            reader.fault(MAPPINGS, Fault { code: "missing", message });
        }
        let cohorts =
            has_name.then(|| Cohorts { header, cookie, trusted_only, mappings: mappings.into(), brake });
        Some((cohorts, hash))
    });
    given.unwrap_or_default()
}

fn mappings(reader: &mut Reader<'_>, draft: &mut Draft) -> Vec<(Arc<str>, PoolRef)> {
    let schema: fn() -> Json = || id_schema("api-v2");
    let parse: fn(Given<'_>) -> Result<AppId, Fault> =
        |given| AppId::parse(given.text()?).map_err(Fault::invalid);
    let doc = "Pool of each cohort; a value that is none of these is left to the canary.";
    let entries = reader.entries(MAPPINGS, doc, (schema, parse)).unwrap_or_default();
    if entries.len() > COHORTS_MAX {
        reader.fault(MAPPINGS, Fault::range(format_args!("must not have more than {COHORTS_MAX} cohorts")));
        return Vec::new();
    }
    let mut mappings: Vec<(Arc<str>, PoolRef)> = Vec::with_capacity(entries.len());
    for (cohort, pool) in entries {
        if cohort.is_empty() || cohort.len() > COHORT_BYTES_MAX || !is_field_value(cohort) {
            let message =
                format!("must have names of 1 to {COHORT_BYTES_MAX} visible characters; {cohort:?} is none");
            reader.fault(MAPPINGS, Fault::invalid(message));
            continue;
        }
        draft.refer_below(reader, Kind::App, pool.as_str(), (MAPPINGS, cohort));
        mappings.push((cohort.into(), PoolRef::Pool(pool)));
    }
    mappings.sort_by(|(a, _), (b, _)| a.cmp(b));
    mappings
}

const MAPPINGS: &str = "mappings";

static HEADER: Field<Arc<str>> = header_field("header", "Header field with the cohort.");

static COOKIE: Field<Arc<str>> =
    cookie_field("cookie", "Cookie with the cohort, where the header field has none.");

static HASH: Field<RequestKey> =
    short_key("hash", "The same as hash of the entry: the value that decides who is sent to canary_pool.");

static TRUSTED_ONLY: Field<bool> = boolean(
    "trusted_only",
    "Whether header field and cookie count only in requests of trusted proxies; any client can send them otherwise.",
);

static BRAKE_COHORTS: Field<bool> =
    boolean("brake_cohorts", "Whether the brake also sends the cohorts of canary_pool to the stable pool.");
