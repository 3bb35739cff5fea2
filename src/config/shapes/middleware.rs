//! `middleware`: chains of stages around requests, by name or in place on a route; `plugins`.
//!
//! | module | stages |
//! |---|---|
//! | `observe` | `request_id`, `access_log`, `tracing` |
//! | `headers` | `header_transform`, `security_headers` |
//! | `cors` | `cors` |
//! | `auth` | `auth`: tokens, passwords, keys, services, certificates |
//! | `access` | `ip_acl`, `maintenance`, `rate_limit` |
//! | `paths` | `redirect`, `rewrite`, `canonical_host` |
//! | `content` | `body_limit`, `error_pages` |
//! | `compression`, beside this module | `compress` |
//! | `external` | services that decide, of plugins and of `auth` |
//! | `plugins` | `plugin`, and the section `plugins` |

use std::sync::Arc;

use ringway_model::{Compress, Kind, MiddlewareId, MiddlewareSpec, RouteId, StageSpec, limits::STAGES_MAX};
use serde_json::Value as Json;

use super::compression;
use crate::document::Origin;
use crate::draft::{Declared, Draft};
use crate::reader::Tag;
use crate::values::id_schema;
use crate::{Fault, Field, Given, Reader, Report};

mod access;
mod auth;
mod content;
mod cors;
mod external;
mod headers;
mod lua;
mod observe;
mod paths;
mod plugins;

pub(super) use access::networks;
use auth::POOL_OF_CHAIN;
pub(super) use headers::response_fields;
use plugins::POOL_OF_PLUGIN;
pub(super) use plugins::plugins;

/// Chain whose stages are read.
struct Scope<'d> {
    draft: &'d mut Draft,
    /// The id, where it could be read.
    chain: Option<MiddlewareId>,
    /// Services with an address in place, so far.
    addresses: usize,
}

/// Reads `middleware`.
pub(super) fn middleware(reader: &mut Reader<'_>, draft: &mut Draft) {
    let chains = reader.list("middleware", "Chains of stages around requests.", |reader| {
        let id = reader.required(&ID);
        match &id {
            Some(id) => draft.declare(reader, Kind::Middleware, id.as_str(), ID.name),
            None => draft.names.unreadable.push(Kind::Middleware),
        }
        let mut scope = Scope { draft, chain: id.clone(), addresses: 0 };
        let stages =
            reader.list(STAGES, "Stages, in the order of requests.", |reader| stage(reader, &mut scope));
        if stages.is_none() && !reader.is_faulty(STAGES) {
            reader.fault(STAGES, Fault { code: "missing", message: "is required".to_owned() });
        }
        let stages = stages?;
        check_count(reader, STAGES, stages.len());
        let id = id?;
        draft.stages.insert(id.clone(), places(reader, draft, STAGES, stages.len()));
        Some(Arc::new(MiddlewareSpec { id, stages: stages.into() }))
    });
    draft.sections.middlewares |= chains.is_some();
    draft.middlewares.extend(chains.unwrap_or_default());
}

/// Reads `middleware` of a route: a chain, several, or the stages of one in place.
pub(super) fn middleware_of_route(
    reader: &mut Reader<'_>,
    draft: &mut Draft,
    route: Option<&RouteId>,
) -> Box<[MiddlewareId]> {
    let chain = route.and_then(|route| MiddlewareId::parse(&format!("{IN_PLACE}{route}")).ok());
    let mut scope = Scope { draft, chain: chain.clone(), addresses: 0 };
    let used = reader.one_or_more(&CHAIN, |reader| stage(reader, &mut scope).map(Use::Stage));
    let (mut chains, mut stages) = (Vec::new(), Vec::new());
    for one in used.unwrap_or_default() {
        match one {
            Use::Chain(id) => chains.push(id),
            Use::Stage(stage) => stages.push(stage),
        }
    }
    if !chains.is_empty() && !stages.is_empty() {
        let message = "must be chains by their ids, or stages; not both".to_owned();
        reader.fault(CHAIN.name, Fault { code: "conflict", message });
        return Box::default();
    }
    check_count(reader, CHAIN.name, chains.len().max(stages.len()));
    for (at, id) in chains.iter().enumerate() {
        draft.refer(reader, Kind::Middleware, id.as_str(), CHAIN.name);
        if chains[..at].contains(id) {
            let message = format!("names the chain {id} twice");
            reader.fault(CHAIN.name, Fault { code: "duplicate", message });
        }
    }
    if stages.is_empty() {
        return chains.into();
    }
    let Some(id) = chain else {
        if route.is_some() {
            let message =
                format!("needs a shorter id of the route: its stages become the chain {IN_PLACE}ID");
            reader.fault(CHAIN.name, Fault::range(message));
        }
        return Box::default();
    };
    draft.declare(reader, Kind::Middleware, id.as_str(), CHAIN.name);
    draft.stages.insert(id.clone(), places(reader, draft, CHAIN.name, stages.len()));
    draft.middlewares.push(Arc::new(MiddlewareSpec { id: id.clone(), stages: stages.into() }));
    Box::new([id])
}

/// Places of the stages in a member of the object under reading.
fn places(reader: &Reader<'_>, draft: &Draft, member: &'static str, count: usize) -> Box<[Declared]> {
    let place = |index: usize| {
        let index = index.to_string();
        let place = draft.place(reader.position_below(member, &index).or_else(|| reader.position(member)));
        Declared { pointer: reader.pointer(member).child(&index), place }
    };
    (0..count).map(place).collect()
}

/// Begin of the ids of chains in place.
const IN_PLACE: &str = "route.";

/// The section that a chain of this id comes from.
pub(crate) fn origin_of_chain(id: &str) -> Origin {
    match id.starts_with(IN_PLACE) || id == super::security::CHAIN || compression::is_made_here(id) {
        true => Origin::Routes,
        false => Origin::Middlewares,
    }
}

/// The section that a pool of this id comes from.
pub(crate) fn origin_of_pool(id: &str) -> Origin {
    if id.starts_with(POOL_OF_PLUGIN) {
        return Origin::Plugins;
    }
    id.strip_prefix(POOL_OF_CHAIN).map_or(Origin::Pools, origin_of_chain)
}

/// Chain of a route, or a stage of the one in place.
#[derive(PartialEq)]
enum Use {
    Chain(MiddlewareId),
    Stage(StageSpec),
}

/// Reads a stage.
fn stage(reader: &mut Reader<'_>, scope: &mut Scope<'_>) -> Option<StageSpec> {
    reader.variant(&TYPE, |reader, kind| match kind {
        "request_id" => observe::request_id(reader).map(StageSpec::RequestId),
        "access_log" => observe::access_log(reader).map(StageSpec::AccessLog),
        "tracing" => observe::tracing(reader).map(StageSpec::Tracing),
        "header_transform" => headers::header_transform(reader).map(StageSpec::HeaderTransform),
        "security_headers" => headers::security_headers(reader).map(StageSpec::SecurityHeaders),
        "cors" => cors::cors(reader).map(StageSpec::Cors),
        "auth" => auth::auth(reader, scope).map(StageSpec::Auth),
        "ip_acl" => access::ip_acl(reader).map(StageSpec::IpAcl),
        "rate_limit" => access::rate_limit(reader, scope.draft).map(StageSpec::RateLimit),
        "maintenance" => access::maintenance(reader).map(StageSpec::Maintenance),
        "redirect" => paths::redirect(reader).map(StageSpec::Redirect),
        "rewrite" => paths::rewrite(reader).map(StageSpec::Rewrite),
        "canonical_host" => paths::canonical_host(reader).map(StageSpec::CanonicalHost),
        "body_limit" => content::body_limit(reader).map(StageSpec::BodyLimit),
        "error_pages" => content::error_pages(reader).map(StageSpec::ErrorPages),
        "compress" => compress(reader).map(StageSpec::Compress),
        "lua" => lua::lua_stage(reader, scope.draft).map(StageSpec::Lua),
        _ => plugins::plugin_stage(reader, scope.draft).map(StageSpec::Plugin),
    })
}

fn compress(reader: &mut Reader<'_>) -> Option<Compress> {
    config_or(reader, Compress::default(), compression::stage)
}

const STAGES: &str = "stages";

static TYPE: Tag = Tag { name: "type", doc: "Kind of the stage.", words: STAGE_TYPES };

/// Types of stages.
pub(crate) const STAGE_TYPES: &[&str] = &[
    "request_id",
    "access_log",
    "tracing",
    "header_transform",
    "security_headers",
    "cors",
    "auth",
    "ip_acl",
    "rate_limit",
    "maintenance",
    "redirect",
    "rewrite",
    "canonical_host",
    "body_limit",
    "error_pages",
    "compress",
    "plugin",
    "lua",
];

static ID: Field<MiddlewareId> = Field {
    name: "id",
    doc: "Id of the chain.",
    schema: || id_schema("api-chain"),
    parse: |given| MiddlewareId::parse(given.text()?).map_err(Fault::invalid),
};

static CHAIN: Field<Use> = Field {
    name: "middleware",
    doc: "Chains of `middleware` that requests pass, in order; or stages in place.",
    schema: || id_schema("api-chain"),
    parse: |given| MiddlewareId::parse(given.text()?).map(Use::Chain).map_err(Fault::invalid),
};

fn check_count(reader: &mut Reader<'_>, name: &'static str, count: usize) {
    if count > STAGES_MAX {
        reader.fault(name, Fault::range(format_args!("must not have more than {STAGES_MAX} items")));
    }
}

/// Reads the settings of a stage that has defaults for all of them.
fn config_or<T>(
    reader: &mut Reader<'_>,
    default: T,
    shape: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Option<T> {
    let config = reader.object(CONFIG, "Settings of the stage.", shape);
    if reader.has(CONFIG) { config } else { Some(default) }
}

/// Reads the settings of a stage that needs some.
fn config<T>(reader: &mut Reader<'_>, shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Option<T> {
    let config = reader.object(CONFIG, "Settings of the stage.", shape);
    if !reader.has(CONFIG) {
        reader.fault(CONFIG, Fault { code: "missing", message: "is required".to_owned() });
    }
    config
}

const CONFIG: &str = "config";

/// Schema and parser of an entry.
type Entry<T> = (fn() -> Json, fn(Given<'_>) -> Result<T, Fault>);

/// Reads an object with free names; `name` of each entry is checked. Sorted by name.
fn named<T>(
    reader: &mut Reader<'_>,
    (member, doc): (&'static str, &'static str),
    value: Entry<T>,
    check: impl Fn(&str) -> Result<(), Fault>,
) -> Vec<(Arc<str>, T)> {
    let entries = reader.entries(member, doc, value).unwrap_or_default();
    if entries.len() > NAMED_MAX {
        reader.fault(member, Fault::range(format_args!("must not have more than {NAMED_MAX} entries")));
        return Vec::new();
    }
    let mut named: Vec<(Arc<str>, T)> = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        let is_twice = named.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let fault = match check(name) {
            Err(fault) => fault,
            Ok(()) if is_twice => {
                Fault { code: "duplicate", message: "is there twice, but for its case".to_owned() }
            }
            Ok(()) => {
                named.push((name.into(), value));
                continue;
            }
        };
        let (pointer, at) = (reader.pointer(member).child(name), reader.position_below(member, name));
        reader.report(Report::error(pointer, fault.code, fault.message, at));
    }
    named.sort_by(|a, b| a.0.cmp(&b.0));
    named
}

/// Entries of an object with free names in a stage.
const NAMED_MAX: usize = 64;

#[cfg(test)]
#[path = "middleware_tests.rs"]
mod tests;
