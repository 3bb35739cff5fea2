//! `cache`: caches of routes, as rules of a section or in place on a route, and defaults for them.
//!
//! As a list the section has rules; as an object it has settings of the store, defaults, and rules.

use std::cell::RefCell;

use ringway_model::{CacheTtl, Kind, RouteId};

use super::process;
use crate::draft::{CacheDefaults, CacheEntry, CacheFields, Draft};
use crate::values::{boolean, id_schema};
use crate::{Fault, Field, Reader};

mod key;
mod settings;

use settings::{PATTERNS, RESPECTS_HEADERS, settings};

/// Reads the section `cache`.
pub(super) fn section(reader: &mut Reader<'_>, draft: &mut Draft) {
    let draft = RefCell::new(draft);
    let mut is_object = false;
    reader.list_or_object(
        NAME,
        "Caches: rules of routes, or the store, defaults of the caches, and rules.",
        |reader| {
            rule(reader, &mut draft.borrow_mut());
            Some(())
        },
        |reader| {
            is_object = true;
            store(reader, &mut draft.borrow_mut());
            Some(())
        },
    );
    draft.borrow_mut().sections.cache |= reader.has(NAME) && !is_object;
}

/// Reads `cache` of a route.
pub(super) fn of_route(reader: &mut Reader<'_>, draft: &mut Draft, route: Option<&RouteId>) {
    let fields = reader.short_or_object(&IN_PLACE, settings).flatten();
    if let (Some(route), Some(fields)) = (route, fields) {
        add(reader, draft, route.clone(), (NAME, fields));
    }
}

/// Reads `cache` of a rule of `routing`.
pub(super) fn of_forward(reader: &mut Reader<'_>) -> bool {
    reader.optional(&IN_FORWARD).unwrap_or(false)
}

/// Adds the cache of a rule of `routing`, whose lifetime is that of the process.
pub(super) fn add_to_forward(reader: &Reader<'_>, draft: &mut Draft, route: RouteId, member: &'static str) {
    let mut fields = CacheFields::default();
    fields.spec.ttl = Some(CacheTtl::Default);
    add(reader, draft, route, (member, fields));
}

fn rule(reader: &mut Reader<'_>, draft: &mut Draft) {
    let route = reader.required(&ROUTE);
    let fields = settings(reader).flatten();
    if let (Some(route), Some(fields)) = (route, fields) {
        add(reader, draft, route, (ROUTE.name, fields));
    }
}

fn add(
    reader: &Reader<'_>,
    draft: &mut Draft,
    route: RouteId,
    (member, fields): (&'static str, CacheFields),
) {
    let route_at = draft.reference(reader, Kind::Route, route.as_str(), member);
    draft.caches.push(CacheEntry { route, route_at, fields });
}

/// Reads the object: settings of the process, defaults, and rules.
fn store(reader: &mut Reader<'_>, draft: &mut Draft) {
    process::members_of_section(reader, NAME);
    let defaults = CacheDefaults {
        respects_headers: reader.optional(&RESPECTS_HEADERS),
        patterns: reader.optional(&PATTERNS).map(Into::into),
        has_ttl: reader.has(DEFAULT_TTL),
    };
    let rules = reader.list("rules", "Rules, one for each route.", |reader| {
        rule(reader, draft);
        Some(())
    });
    draft.sections.cache |= rules.is_some();
    let known = &mut draft.cache_defaults;
    let differs = [
        (RESPECTS_HEADERS.name, differs(known.respects_headers, defaults.respects_headers)),
        (PATTERNS.name, differs(known.patterns.as_ref(), defaults.patterns.as_ref())),
    ];
    for (name, _) in differs.into_iter().filter(|(_, differs)| *differs) {
        let message = "differs from that of another file".to_owned();
        reader.fault(name, Fault { code: "conflict", message });
    }
    known.respects_headers = known.respects_headers.or(defaults.respects_headers);
    known.patterns = known.patterns.take().or(defaults.patterns);
    known.has_ttl |= defaults.has_ttl;
}

fn differs<T: PartialEq>(known: Option<T>, new: Option<T>) -> bool {
    known.zip(new).is_some_and(|(known, new)| known != new)
}

const NAME: &str = "cache";
/// Member of the object, a setting of the process.
const DEFAULT_TTL: &str = "default_ttl";

static ROUTE: Field<RouteId> = Field {
    name: "route",
    doc: "The route; one that forwards.",
    schema: || id_schema("api-route"),
    parse: |given| RouteId::parse(given.text()?).map_err(Fault::invalid),
};

static IN_PLACE: Field<Option<CacheFields>> = Field {
    name: NAME,
    doc: "Cache of the responses: true for one with all defaults, or its settings; none when absent.",
    schema: || (IN_FORWARD.schema)(),
    parse: |given| Ok(given.boolean()?.then(CacheFields::default)),
};

static IN_FORWARD: Field<bool> =
    boolean(NAME, "Whether responses are cached; those without a lifetime for the default_ttl of the store.");

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
