//! Routes: the requests of a host that have certain properties, and the action for them.

use std::sync::Arc;

use crate::{
    AppId, CacheSpec, ClientAuth, Configured, HostPattern, Kind, MiddlewareId, Owner, PolicyRef, RouteId,
    TenantId, Timestamp, TrafficSpec,
};

/// A route of an operator. A registered domain needs none: it is one by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The values that the owner gave.
    pub spec: Arc<RouteSpec>,
    /// The owner.
    pub owner: Owner,
    /// Whether the host belongs to a registered domain: the route serves its paths of it while the domain is
    /// registered, and nothing otherwise. Decided when the route is created, and kept as long as it stays.
    pub is_attached: bool,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Route {
    /// The id.
    pub fn id(&self) -> &RouteId {
        &self.spec.id
    }
}

impl Configured for Route {
    fn key(&self) -> &str {
        self.spec.id.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        match &self.spec.action {
            RouteAction::Proxy { pool: PoolRef::Pool(pool), .. } => Some((Kind::App, pool.as_str())),
            RouteAction::Proxy { pool: PoolRef::App(_), .. }
            | RouteAction::Redirect(_)
            | RouteAction::Respond(_) => None,
        }
    }
}

/// A route as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The id.
    pub id: RouteId,
    /// The hosts.
    pub host: HostPattern,
    /// The tenant, sent in `X-Tenant-ID`; the host's where absent.
    pub tenant: Option<TenantId>,
    /// Conditions on the request.
    pub matcher: RouteMatch,
    /// Rank among the routes of the host, before all other criteria; the highest first.
    pub priority: i32,
    /// Position in its documents, which decides between routes that are alike otherwise.
    pub order: u32,
    /// Action for a request.
    pub action: RouteAction,
    /// Policies, the most specific first; absent values come from the later ones.
    pub policies: Box<[PolicyRef]>,
    /// Client certificates that the host's handshakes ask for.
    pub client_auth: Option<ClientAuth>,
    /// Whether a request needs a client certificate.
    pub requires_client_cert: bool,
    /// Canary, cohorts, overload protection and mirroring.
    pub traffic: Option<Arc<TrafficSpec>>,
    /// Chains of middleware stages, in order.
    pub middleware: Box<[MiddlewareId]>,
    /// Cache of its responses.
    pub cache: Option<Arc<CacheSpec>>,
}

impl RouteSpec {
    /// A route of all requests of a host to a pool, with defaults otherwise.
    pub fn new(id: RouteId, host: HostPattern, pool: PoolRef) -> Self {
        Self {
            id,
            host,
            tenant: None,
            matcher: RouteMatch::default(),
            priority: 0,
            order: 0,
            action: RouteAction::Proxy { pool, rewrite: Rewrite::Keep },
            policies: Box::default(),
            client_auth: None,
            requires_client_cert: false,
            traffic: None,
            middleware: Box::default(),
            cache: None,
        }
    }

    /// Ids of all apps and pools that its requests or copies of them may go to; one may come twice.
    pub fn pools(&self) -> impl Iterator<Item = &AppId> {
        let managed = self.traffic.as_deref().into_iter().flat_map(TrafficSpec::pool_ids);
        self.pool().into_iter().chain(managed)
    }

    /// The app or pool that its requests go to.
    pub fn pool(&self) -> Option<&AppId> {
        match &self.action {
            RouteAction::Proxy { pool, .. } => Some(pool.id()),
            RouteAction::Redirect(_) | RouteAction::Respond(_) => None,
        }
    }
}

/// Conditions of a route; a request must meet all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// The methods, upper case; any when empty.
    pub methods: Box<[Arc<str>]>,
    /// Header fields.
    pub headers: Box<[FieldMatch]>,
    /// Parameters of the query.
    pub query: Box<[FieldMatch]>,
}

/// Condition on the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathMatch {
    /// Every path.
    #[default]
    Any,
    /// This path.
    Exact(Arc<str>),
    /// This path and all below it, by whole segments.
    Prefix(Arc<str>),
    /// All paths that the regular expression matches as a whole.
    Regex(Arc<str>),
}

impl PathMatch {
    /// Whether it leaves out some paths.
    pub fn is_condition(&self) -> bool {
        match self {
            Self::Any => false,
            Self::Prefix(path) => &**path != "/",
            Self::Exact(_) | Self::Regex(_) => true,
        }
    }
}

/// Condition on a header field or a parameter of the query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldMatch {
    /// The name; of a header field in lower case.
    pub name: Arc<str>,
    /// The value.
    pub value: ValueMatch,
}

/// Condition on a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueMatch {
    /// There is one.
    Present,
    /// It is this text, case-sensitive.
    Exact(Arc<str>),
}

/// Action of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteAction {
    /// Forwards the request to an endpoint.
    Proxy {
        /// The pool or app.
        pool: PoolRef,
        /// Change of the path before it is forwarded.
        rewrite: Rewrite,
    },
    /// Redirects the client.
    Redirect(Redirect),
    /// Answers with a fixed response.
    Respond(FixedResponse),
}

/// Reference to endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PoolRef {
    /// A pool, which must exist.
    Pool(AppId),
    /// An app that registers itself; while it is not registered it has no instances.
    App(AppId),
}

impl PoolRef {
    /// The id of the pool or app.
    pub fn id(&self) -> &AppId {
        match self {
            Self::Pool(id) | Self::App(id) => id,
        }
    }
}

/// Change of the path before a request is forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rewrite {
    /// None.
    #[default]
    Keep,
    /// Removes the matched prefix.
    StripPrefix,
    /// Replaces the matched prefix.
    ReplacePrefix(Arc<str>),
    /// Replaces the whole path; the query is kept.
    ReplacePath(Arc<str>),
}

/// Redirect to another place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// An absolute URL, or a path on the same host.
    pub to: Arc<str>,
    /// The status: 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Whether path and query of the request are appended.
    pub keep_path: bool,
}

/// Response without an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// The status, 200 to 599.
    pub status: u16,
    /// The media type.
    pub content_type: Arc<str>,
    /// The content, at most [`limits::FIXED_BODY_BYTES_MAX`](crate::limits::FIXED_BODY_BYTES_MAX) bytes.
    pub body: Arc<str>,
}
