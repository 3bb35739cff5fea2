//! `traffic_management`: canaries, cohorts, overload protection and mirrors of routes.

use std::sync::Arc;

use ringway_model::{AppId, RouteId, TrafficSpec};

use crate::draft::{Draft, TrafficEntry};
use crate::values::id_schema;
use crate::{Fault, Field, Reader};

mod canary;
mod cohorts;
mod mirror;
mod overload;

/// Reads `traffic_management`.
pub(super) fn traffic_management(reader: &mut Reader<'_>, draft: &mut Draft) {
    let doc = "Canaries, cohorts, overload protection and mirrors; one entry for each route that has any.";
    let entries = reader.list("traffic_management", doc, |reader| entry(reader, draft));
    draft.sections.traffic |= entries.is_some();
    draft.traffic.extend(entries.unwrap_or_default());
}

fn entry(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<TrafficEntry> {
    let route = reader.required(&ROUTE);
    let stable = pool(reader, draft, &STABLE_POOL);
    let (cohorts, hash_of_cohorts) = cohorts::cohorts(reader, draft);
    let canary = canary::canary(reader, draft, hash_of_cohorts);
    let overload = overload::overload(reader);
    let mirror = mirror::mirror(reader, draft);
    let (route, spec) = (route?, TrafficSpec { canary, cohorts, overload, mirror });
    Some(TrafficEntry {
        route_at: draft.reference(reader, ringway_model::Kind::Route, route.as_str(), ROUTE.name),
        canary_at: draft.reference(reader, ringway_model::Kind::App, "", canary::POOL),
        route,
        stable,
        spec: (spec != TrafficSpec::default()).then(|| Arc::new(spec)),
    })
}

/// Reads a field that names a pool.
fn pool(reader: &mut Reader<'_>, draft: &mut Draft, field: &Field<AppId>) -> Option<AppId> {
    let pool = reader.optional(field)?;
    draft.refer(reader, ringway_model::Kind::App, pool.as_str(), field.name);
    Some(pool)
}

static ROUTE: Field<RouteId> = Field {
    name: "route",
    doc: "The route; one that forwards.",
    schema: || id_schema("api-route"),
    parse: |given| RouteId::parse(given.text()?).map_err(Fault::invalid),
};

static STABLE_POOL: Field<AppId> = Field {
    name: "stable_pool",
    doc: "Pool of the present version, in place of the route's pool.",
    schema: || id_schema("api-v1"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

#[cfg(test)]
#[path = "traffic_tests.rs"]
mod tests;
