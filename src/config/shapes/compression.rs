//! Compression of responses: the section `compression` of all routes, `compress` of a route, and the stage of
//! that name.
//!
//! Section and routes are short for the stage: it becomes the chain `compression`, or `compress.ID` for a
//! route with settings of its own.

use std::sync::Arc;

use ringway_model::{Coding, Compress, Kind, MiddlewareId, RouteId};
use serde_json::json;

use super::matcher::is_token;
use crate::draft::{Draft, RouteCompression, SectionCompression};
use crate::limits::MEDIA_TYPES_MAX;
use crate::values::{boolean, count, list_of, size, strings_schema};
use crate::{Fault, Field, Given, Reader};

/// Reads the section `compression`.
pub(super) fn section(reader: &mut Reader<'_>, draft: &mut Draft) {
    let given = reader.short_or_object(&SECTION, |reader| {
        let is_enabled = reader.optional(&ENABLED).unwrap_or(true);
        let names = Names { level: &LEVEL, bytes: &MIN_SIZE, types: &CONTENT_TYPES };
        Some(SectionCompression { is_enabled, settings: settings(reader, &names)? })
    });
    let Some(given) = given else { return };
    declare_shared(reader, draft, SECTION.name);
    if draft.compression.as_ref().is_some_and(|known| *known != given) {
        let message = "differs from that of another file".to_owned();
        reader.fault(SECTION.name, Fault { code: "conflict", message });
    }
    draft.compression = Some(given);
}

/// Reads `compress` of a route.
pub(super) fn of_route(reader: &mut Reader<'_>, draft: &mut Draft, route: Option<&RouteId>) {
    let own = |reader: &mut Reader<'_>| settings(reader, &STAGE).map(RouteCompression::Own);
    let given = reader.short_or_object(&ROUTE, own);
    let (Some(given), Some(route)) = (given, route) else { return };
    match &given {
        RouteCompression::Off => {}
        RouteCompression::Shared => declare_shared(reader, draft, ROUTE.name),
        RouteCompression::Own(_) => match chain_of_route(route) {
            Some(chain) => draft.declare(reader, Kind::Middleware, chain.as_str(), ROUTE.name),
            None => {
                let message =
                    format!("needs a shorter id of the route: its settings become the chain {OF_ROUTE}ID");
                reader.fault(ROUTE.name, Fault::range(message));
            }
        },
    }
    draft.compressed.push((route.clone(), given));
}

/// Reads the settings of the stage.
pub(super) fn stage(reader: &mut Reader<'_>) -> Option<Compress> {
    settings(reader, &STAGE)
}

/// Declares the chain of the section once, by its section or the first route.
fn declare_shared(reader: &mut Reader<'_>, draft: &mut Draft, member: &'static str) {
    if !draft.has_shared_compression {
        draft.declare(reader, Kind::Middleware, CHAIN, member);
        draft.has_shared_compression = true;
    }
}

/// Id of the chain of all routes.
pub(crate) const CHAIN: &str = "compression";
/// Begin of the ids of chains of single routes.
const OF_ROUTE: &str = "compress.";

/// Id of the chain of a route with settings of its own.
pub(crate) fn chain_of_route(route: &RouteId) -> Option<MiddlewareId> {
    MiddlewareId::parse(&format!("{OF_ROUTE}{route}")).ok()
}

/// Whether a chain is made by a section or by a route.
pub(super) fn is_made_here(chain: &str) -> bool {
    chain == CHAIN || chain.starts_with(OF_ROUTE)
}

/// Fields with other names in the section.
struct Names {
    level: &'static Field<u32>,
    bytes: &'static Field<u64>,
    types: &'static Field<Vec<Arc<str>>>,
}

static STAGE: Names = Names { level: &GZIP_LEVEL, bytes: &MIN_BYTES, types: &TYPES };

fn settings(reader: &mut Reader<'_>, names: &Names) -> Option<Compress> {
    let default = Compress::default();
    let codings: Box<[Coding]> = reader.optional(&CODINGS).map_or(default.codings, Into::into);
    let level = reader.optional(names.level);
    if level.is_some() && !codings.contains(&Coding::Gzip) {
        reader.warn(names.level.name, "conflict", "has no effect: gzip is not among the codings");
    }
    Some(Compress {
        codings,
        gzip_level: level.map_or(default.gzip_level, |level| level as u8),
        min_bytes: reader.optional(names.bytes).unwrap_or(default.min_bytes),
        types: reader.optional(names.types).map_or(default.types, Into::into),
    })
}

static SECTION: Field<SectionCompression> = Field {
    name: "compression",
    doc: "Compression of the responses of all routes that forward: true, or its settings; none when absent.",
    schema: || json!({ "type": "boolean" }),
    parse: |given| Ok(SectionCompression { is_enabled: given.boolean()?, settings: Compress::default() }),
};

static ROUTE: Field<RouteCompression> = Field {
    name: "compress",
    doc: "Compression of the responses: true for the settings of the section compression, or their defaults; false \
          for none, whatever the section says; or settings.",
    schema: || json!({ "type": "boolean" }),
    parse: |given| match given.boolean()? {
        true => Ok(RouteCompression::Shared),
        false => Ok(RouteCompression::Off),
    },
};

static ENABLED: Field<bool> = boolean("enabled", "Whether all routes compress; true when absent.");

static CODINGS: Field<Vec<Coding>> = Field {
    name: "codings",
    doc: "Codings, best first among those that a client likes equally: zstd, br and gzip; all, in this order, when \
          absent.",
    schema: || strings_schema(json!({ "enum": Coding::ALL.map(Coding::as_str) })),
    parse: |given| {
        let codings = list_of(given, Coding::ALL.len(), |given| {
            let word = given.text()?;
            let known = Coding::ALL.into_iter().find(|coding| coding.as_str() == word);
            known.ok_or_else(|| Fault::invalid("must have some of zstd, br, gzip"))
        })?;
        match codings.is_empty() {
            true => Err(Fault::range("must have at least one coding")),
            false => Ok(codings),
        }
    },
};

static GZIP_LEVEL: Field<u32> =
    count::<1, 9>("gzip_level", "Level of gzip: 1 is the fastest, 9 the smallest; 5 when absent.");
static LEVEL: Field<u32> = count::<1, 9>("level", "The same as gzip_level of the stage.");
static MIN_BYTES: Field<u64> =
    size("min_bytes", "Smallest response that is compressed, where its size is known; 1024 when absent.");
static MIN_SIZE: Field<u64> = size("min_size", "The same as min_bytes of the stage.");

static TYPES: Field<Vec<Arc<str>>> = Field {
    name: "types",
    doc: "Media types that are compressed, with one * for any characters; text, JSON, JavaScript, XML and SVG when \
          absent.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["text/*"] })),
    parse: |given| {
        let types = list_of(given, MEDIA_TYPES_MAX, media_type)?;
        match types.is_empty() {
            true => Err(Fault::range("must have at least one type")),
            false => Ok(types),
        }
    },
};
static CONTENT_TYPES: Field<Vec<Arc<str>>> =
    Field { name: "content_types", doc: "The same as types of the stage.", ..TYPES };

/// Parses a media type without parameters, with at most one star.
fn media_type(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?.to_ascii_lowercase();
    let is_type = text.split_once('/').is_some_and(|(kind, name)| is_token(kind) && is_token(name));
    match is_type && text.bytes().filter(|byte| *byte == b'*').count() <= 1 {
        true => Ok(text.into()),
        false => Err(Fault::invalid(
            "must have media types without parameters, such as application/json or text/*",
        )),
    }
}

#[cfg(test)]
#[path = "compression_tests.rs"]
mod tests;
