//! Draft of a document: all that was read of all sources, before references are resolved.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, CacheSpec, CertificateSpec, CircuitBreaker, ClientAuth, Compress, ForwardSpec, HealthCheck, Kind,
    MiddlewareId, MiddlewareSpec, OnAllUnhealthy, PluginSpec, PolicyId, PolicyRef, PolicySpec, PoolSpec,
    RateLimit, RouteId, RouteSpec, ScriptSpec, TrafficSpec,
};

use crate::reader::Report;
use crate::shapes::ScriptPaths;
use crate::{FieldPlace, GovernanceRule, Place, Pointer, Position, Reader, Sections};

/// Values read so far, and the names that were declared and used.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) policies: Vec<PolicySpec>,
    pub(crate) pools: Vec<PoolSpec>,
    pub(crate) routes: Vec<RouteSpec>,
    pub(crate) certificates: Vec<CertificateSpec>,
    pub(crate) middlewares: Vec<Arc<MiddlewareSpec>>,
    pub(crate) plugins: Vec<Arc<PluginSpec>>,
    pub(crate) scripts: Vec<Arc<ScriptSpec>>,
    /// Files of scripts that were read beside the documents: their texts by path.
    pub(crate) script_files: BTreeMap<Arc<str>, Arc<str>>,
    /// Files and folders of scripts that the documents name.
    pub(crate) script_paths: ScriptPaths,
    /// Names of the stages that plugins of the type `builtin` stand for.
    pub(crate) builtins: Vec<Reference>,
    /// Places of the stages of chains.
    pub(crate) stages: HashMap<MiddlewareId, Box<[Declared]>, ahash::RandomState>,
    pub(crate) governance: Vec<GovernanceRule>,
    pub(crate) bake: Option<Duration>,
    pub(crate) forward: Option<Arc<ForwardSpec>>,
    pub(crate) sections: Sections,
    pub(crate) names: Names,
    /// Client certificates of all routes.
    pub(crate) client_auth: Option<ClientAuth>,
    /// Routes that need a client certificate.
    pub(crate) mtls_routes: Vec<Reference>,
    /// Chain of all routes.
    pub(crate) security: Option<MiddlewareId>,
    /// Traffic management of routes, in the order of the text.
    pub(crate) traffic: Vec<TrafficEntry>,
    /// Caches of routes, in the order of the text.
    pub(crate) caches: Vec<CacheEntry>,
    /// Defaults of all caches.
    pub(crate) cache_defaults: CacheDefaults,
    /// Compression of all routes, as given.
    pub(crate) compression: Option<SectionCompression>,
    /// Compression of single routes.
    pub(crate) compressed: Vec<(RouteId, RouteCompression)>,
    /// Whether the chain of the section is declared.
    pub(crate) has_shared_compression: bool,
    /// Circuit breaker of the pools that have none.
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    /// Rate limit of the routes that have none.
    pub(crate) rate_limit: Option<DefaultLimit>,
    /// Defaults of the source under reading.
    pub(crate) defaults: Defaults,
    /// Name of the source under reading.
    pub(crate) file: Arc<str>,
    /// Fields of routes that are checked after the reading.
    pub(crate) checked_later: Vec<((Arc<str>, &'static str), FieldPlace)>,
    /// Routes declared so far: position of the next one.
    pub(crate) order: u32,
}

/// Traffic management of one route.
pub(crate) struct TrafficEntry {
    pub(crate) route: RouteId,
    pub(crate) route_at: Reference,
    /// Place of the canary's pool.
    pub(crate) canary_at: Reference,
    /// Pool in place of the route's own.
    pub(crate) stable: Option<AppId>,
    pub(crate) spec: Option<Arc<TrafficSpec>>,
}

/// Cache of one route.
pub(crate) struct CacheEntry {
    pub(crate) route: RouteId,
    pub(crate) route_at: Reference,
    pub(crate) fields: CacheFields,
}

/// Cache as given; `inherits_*` marks what the section `cache` may have a default for.
#[derive(PartialEq)]
pub(crate) struct CacheFields {
    pub(crate) spec: CacheSpec,
    pub(crate) inherits_headers: bool,
    pub(crate) inherits_patterns: bool,
}

impl Default for CacheFields {
    fn default() -> Self {
        Self { spec: CacheSpec::default(), inherits_headers: true, inherits_patterns: true }
    }
}

/// Defaults of caches.
#[derive(Default)]
pub(crate) struct CacheDefaults {
    pub(crate) respects_headers: Option<bool>,
    pub(crate) patterns: Option<Box<[Arc<str>]>>,
    /// Whether the lifetime of the process holds for caches without one.
    pub(crate) has_ttl: bool,
}

/// Section `compression`.
#[derive(PartialEq)]
pub(crate) struct SectionCompression {
    /// Whether it holds for all routes that do not decide themselves.
    pub(crate) is_enabled: bool,
    pub(crate) settings: Compress,
}

/// Compression of one route.
#[derive(PartialEq)]
pub(crate) enum RouteCompression {
    Off,
    /// By the settings of the section.
    Shared,
    Own(Compress),
}

/// Rate limit of routes without one: a policy of its own, so that a client has one count over all of them.
pub(crate) struct DefaultLimit {
    pub(crate) id: PolicyId,
    pub(crate) limit: RateLimit,
}

/// Defaults of one source.
#[derive(Clone, Default)]
pub(crate) struct Defaults {
    pub(crate) policy: Option<PolicyRef>,
    pub(crate) health: HealthCheck,
    pub(crate) on_all_unhealthy: Option<OnAllUnhealthy>,
}

impl Draft {
    /// Begins with the next source, whose defaults are its own.
    pub(crate) fn begin(&mut self, file: &Arc<str>) {
        self.file = Arc::clone(file);
        self.defaults = Defaults::default();
    }

    /// The place of a position in the source under reading.
    pub(crate) fn place(&self, at: Option<Position>) -> Option<Place> {
        at.map(|at| Place::new(&self.file, at))
    }

    /// Notes a field of a route that is checked after the reading.
    pub(crate) fn check_later(&mut self, reader: &Reader<'_>, route: &RouteId, name: &'static str) {
        let place = self.place(reader.position(name));
        let field = FieldPlace { pointer: reader.pointer(name).to_string(), place };
        self.checked_later.push(((route.as_str().into(), name), field));
    }

    /// Notes the id of a resource; one that is taken is reported at the member `name`.
    pub(crate) fn declare(&mut self, reader: &mut Reader<'_>, kind: Kind, id: &str, name: &str) {
        let at = reader.position(name);
        let place = self.place(at);
        if let Some(taken) = self.names.declared.get(&(kind, Arc::from(id))) {
            let message = match &taken.place {
                Some(taken) => format!("is already the id of a {} at {taken}", noun(kind)),
                None => format!("is already the id of another {}", noun(kind)),
            };
            reader.report(Report::error(reader.pointer(name), "duplicate", message, at));
            return;
        }
        let pointer = reader.pointer(name);
        self.names.declared.insert((kind, id.into()), Declared { pointer, place });
    }

    /// Notes that a member of the object under reading names a resource.
    pub(crate) fn refer(&mut self, reader: &Reader<'_>, kind: Kind, id: &str, name: &str) {
        let reference = self.reference(reader, kind, id, name);
        self.names.references.push(reference);
    }

    /// Notes that an entry with a free name, in a member of the object under reading, names a resource.
    pub(crate) fn refer_below(
        &mut self,
        reader: &Reader<'_>,
        kind: Kind,
        id: &str,
        (name, entry): (&str, &str),
    ) {
        let place = self.place(reader.position_below(name, entry));
        let pointer = reader.pointer(name).child(entry);
        self.names.references.push(Reference { kind, id: id.into(), pointer, place });
    }

    /// A name of a resource at a member of the object under reading.
    pub(crate) fn reference(&self, reader: &Reader<'_>, kind: Kind, id: &str, name: &str) -> Reference {
        let place = self.place(reader.position(name));
        Reference { kind, id: id.into(), pointer: reader.pointer(name), place }
    }
}

/// The word for a kind in documents.
pub(crate) fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::App => "pool",
        kind => kind.as_str(),
    }
}

/// Ids and references of all sources.
#[derive(Default)]
pub(crate) struct Names {
    /// All ids, also those of resources with mistakes.
    pub(crate) declared: HashMap<(Kind, Arc<str>), Declared, ahash::RandomState>,
    pub(crate) references: Vec<Reference>,
    /// Kinds of which an id could not be read: references to them are not judged.
    pub(crate) unreadable: Vec<Kind>,
}

/// Place of a resource's id.
pub(crate) struct Declared {
    pub(crate) pointer: Pointer,
    pub(crate) place: Option<Place>,
}

/// Use of a resource's id.
pub(crate) struct Reference {
    pub(crate) kind: Kind,
    pub(crate) id: Arc<str>,
    pub(crate) pointer: Pointer,
    pub(crate) place: Option<Place>,
}
