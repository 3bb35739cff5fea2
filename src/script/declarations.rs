//! Declarations of a bundle: the routes and hooks that its scripts declare while they are loaded.

use std::collections::BTreeSet;
use std::time::Duration;

use ringway_model::{AppId, HostPattern};

use crate::failure::Place;
use crate::pattern::Pattern;

/// Everything that the scripts of a bundle declare. Plain data: loading the same bundle declares the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// Scripts, in the order of loading.
    pub scripts: Vec<ScriptDeclaration>,
    /// Hooks; a [`HookId`] is an index.
    pub hooks: Vec<HookDeclaration>,
    /// Handlers; a [`HandlerId`] is an index.
    pub handlers: Vec<Place>,
    /// Routes, in the order of declaration.
    pub routes: Vec<RouteDeclaration>,
    /// Handlers of requests without a route.
    pub fallbacks: Vec<FallbackDeclaration>,
    /// Names of shared dictionaries.
    pub dictionaries: BTreeSet<Box<str>>,
    /// Rate limits, by name.
    pub limits: Vec<RateLimit>,
}

impl Declarations {
    /// Pools that targets name. A handler may name others at run time.
    pub fn pools(&self) -> BTreeSet<&AppId> {
        let proxies = self.routes.iter().filter_map(|route| match &route.target {
            RouteTarget::Proxy(proxy) => Some(&proxy.pool),
            RouteTarget::Handler(_) => None,
        });
        proxies.collect()
    }

    /// Hosts that routes name; `None` stands for routes that name none.
    pub fn hosts(&self) -> BTreeSet<Option<&HostPattern>> {
        let routes = self.routes.iter().map(|route| route.host.as_ref());
        routes.chain(self.fallbacks.iter().map(|fallback| fallback.host.as_ref())).collect()
    }

    /// The script with an id.
    pub fn script(&self, id: &str) -> Option<&ScriptDeclaration> {
        self.scripts.iter().find(|script| &*script.id == id)
    }
}

/// Script of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptDeclaration {
    /// Id: the name of its file without `.lua`, or the one of the configuration.
    pub id: Box<str>,
    /// Path of its file in the bundle.
    pub file: Box<str>,
    /// Hooks of its outermost `gw.use`: those of a route's `lua` stage.
    pub hooks: Vec<HookId>,
}

/// Number of a hook in its bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId(pub(crate) u32);

/// Number of a handler in its bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandlerId(pub(crate) u32);

impl HookId {
    /// Index into [`Declarations::hooks`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl HandlerId {
    /// Index into [`Declarations::handlers`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Hook: functions around a request. At least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookDeclaration {
    /// Index of its script.
    pub script: usize,
    /// Place of its declaration.
    pub place: Place,
    /// It has a function for requests.
    pub on_request: bool,
    /// It has a function for responses.
    pub on_response: bool,
    /// It has a function for finished requests.
    pub on_log: bool,
}

/// Route of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDeclaration {
    /// Index of its script.
    pub script: usize,
    /// Place of its declaration.
    pub place: Place,
    /// Host; `None` for the hosts of its script.
    pub host: Option<HostPattern>,
    /// Method; `None` for any.
    pub method: Option<RouteMethod>,
    /// Pattern of the path, with the prefixes of its groups.
    pub pattern: Pattern,
    /// Hooks, in the order of request processing.
    pub hooks: Vec<HookId>,
    /// Target.
    pub target: RouteTarget,
}

/// Method of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteMethod {
    /// GET. Routes for it serve HEAD, unless one is declared for that.
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// OPTIONS
    Options,
}

impl RouteMethod {
    /// All of them, in the order of `Allow`.
    pub const ALL: [Self; 7] =
        [Self::Get, Self::Head, Self::Post, Self::Put, Self::Patch, Self::Delete, Self::Options];

    /// The token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }

    /// The method with this token.
    pub fn parse(token: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == token)
    }
}

/// Target of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Function of the script.
    Handler(HandlerId),
    /// Pool: no Lua runs for a request, but hooks.
    Proxy(ProxyTarget),
}

/// `gw.proxy{…}`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTarget {
    /// The pool.
    pub pool: AppId,
    /// Prefix of whole segments that is removed from the path.
    pub strip_prefix: Option<Box<str>>,
    /// Timeout of the response.
    pub timeout: Option<Duration>,
}

/// Handler of requests for which no route is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackDeclaration {
    /// Index of its script.
    pub script: usize,
    /// Host; `None` for the hosts of its script.
    pub host: Option<HostPattern>,
    /// Requests that it is for.
    pub kind: FallbackKind,
    /// Hooks, in the order of request processing.
    pub hooks: Vec<HookId>,
    /// The function.
    pub handler: HandlerId,
    /// Place of its declaration.
    pub place: Place,
}

/// Requests that a fallback is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FallbackKind {
    /// No pattern matches the path.
    NotFound,
    /// A pattern matches the path, for other methods.
    MethodNotAllowed,
}

/// `gw.limit{…}`: a rate that is counted by key, for all cores together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Name, unique in its namespace.
    pub name: Box<str>,
    /// Requests of a period.
    pub requests: u32,
    /// The period.
    pub per: Duration,
    /// Requests at once.
    pub burst: u32,
}
