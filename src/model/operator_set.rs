//! Operator sets: all resources of one operator's owner, replaced as a whole.
//!
//! ```text
//! OperatorSet ── conflicts with the other owners' resources? ── yes ─► Rejection::Conflicts, all of them
//!                              │ no
//!                              └─► reconciled to deltas: unchanged resources stay as they are
//! ```
//! **Claims.** A host pattern has one owner, and a second claim is a conflict of the newcomer. One exception:
//! a route with a condition on the path may attach to the host of a registered domain, whose app keeps all
//! other paths.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::change::Draft;
use crate::{
    App, AppId, Balancer, Certificate, CertificateSpec, ConfigVersion, Desired, Domain, FailurePolicy,
    Generation, HealthCheck, HostPattern, Hostname, Instance, InstanceId, Kind, Middleware, MiddlewareSpec,
    OnAllUnhealthy, Owner, Plugin, PluginSpec, Policy, PolicyId, PolicyRef, PolicySettings, PoolRef,
    PoolTraffic, Rejection, Route, RouteAction, RouteId, RouteSpec, Script, ScriptSpec, SetVersion,
    StageSpec, Target, TrafficSpec, UpstreamTls, limits,
};

/// All resources of one owner. Ids are unique within each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorSet {
    /// Named policies.
    pub policies: Vec<PolicySpec>,
    /// Pools.
    pub pools: Vec<PoolSpec>,
    /// Routes.
    pub routes: Vec<Arc<RouteSpec>>,
    /// Certificates.
    pub certificates: Vec<CertificateSpec>,
    /// Chains of middleware stages.
    pub middlewares: Vec<Arc<MiddlewareSpec>>,
    /// Plugins.
    pub plugins: Vec<Arc<PluginSpec>>,
    /// Lua scripts, in the order of their ids.
    pub scripts: Vec<Arc<ScriptSpec>>,
}

/// A named policy as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySpec {
    /// The id.
    pub id: PolicyId,
    /// The values.
    pub settings: PolicySettings,
}

/// A pool as configured: it becomes an [`App`] with an [`Instance`] for each endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// The id.
    pub id: AppId,
    /// Endpoints, at different addresses.
    pub endpoints: Vec<EndpointSpec>,
    /// Load balancing algorithm.
    pub balancer: Balancer,
    /// TLS settings of its `https://` endpoints.
    pub upstream_tls: Option<UpstreamTls>,
    /// Results that count against an endpoint.
    pub failures: FailurePolicy,
    /// Treatment of requests while no endpoint is healthy.
    pub on_all_unhealthy: OnAllUnhealthy,
    /// Policy of its requests, where their routes leave a value out.
    pub policy: Option<PolicyRef>,
    /// Outliers, circuit breaker, and limits of its endpoints.
    pub traffic: Arc<PoolTraffic>,
}

/// An endpoint of a pool as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The id, made from pool and address by [`InstanceId::of_endpoint`].
    pub id: InstanceId,
    /// The address.
    pub target: Target,
    /// Share of the requests, relative to the other endpoints; 0 takes no new ones.
    pub weight: u16,
    /// The settings of its health check.
    pub health_check: HealthCheck,
}

/// Replacement of an owner's set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// The owner.
    pub owner: Owner,
    /// The new set.
    pub set: Arc<OperatorSet>,
    /// The version that must be the present one; any when absent. The inner `None` is "no version yet".
    pub expect: Option<Option<SetVersion>>,
    /// Entry for the history; without one the history stays as it is.
    pub version: Option<NewVersion>,
}

/// Entry of the history; see [`ConfigVersion`] for its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVersion {
    /// Hash of the content.
    pub version: SetVersion,
    /// Name of the user or source.
    pub by: Arc<str>,
    /// The reason that was given.
    pub reason: Arc<str>,
    /// The compressed documents.
    pub source: Arc<[u8]>,
    /// Whether it is trusted at a start already.
    pub is_proven: bool,
}

/// Reason why a set cannot be in force beside the resources of other owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The id belongs to another owner.
    IdTaken {
        /// The kind.
        kind: Kind,
        /// The id.
        id: Arc<str>,
        /// The owner that has it.
        holder: Owner,
    },
    /// The host pattern belongs to another owner.
    HostTaken {
        /// The route of the set.
        route: RouteId,
        /// Its host.
        host: HostPattern,
        /// The resource that has the host.
        holder: Holder,
    },
    /// A route names a pool that does not exist.
    UnknownPool {
        /// The route of the set.
        route: RouteId,
        /// The pool.
        pool: AppId,
    },
    /// A resource names a policy that does not exist.
    UnknownPolicy {
        /// Its kind.
        kind: Kind,
        /// Its id.
        id: Arc<str>,
        /// The policy.
        policy: PolicyId,
    },
    /// A route, chain or plugin names something of its middleware that does not exist.
    Unknown {
        /// The kind of the resource that names it.
        user_kind: Kind,
        /// Its id.
        user: Arc<str>,
        /// The kind of the missing resource.
        kind: Kind,
        /// Its id.
        id: Arc<str>,
    },
    /// A resource that the set leaves out is in use by another owner.
    InUse {
        /// The kind of the resource that is left out.
        kind: Kind,
        /// Its id.
        id: Arc<str>,
        /// The kind of the resource that uses it.
        user_kind: Kind,
        /// Its id.
        user: Arc<str>,
        /// Its owner.
        owner: Owner,
    },
    /// A limit is exceeded.
    Full {
        /// The things that are limited.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

/// Ids that a set contains.
struct Kept<'a> {
    pools: &'a Ids<'a>,
    policies: &'a Ids<'a>,
    middlewares: &'a Ids<'a>,
    plugins: &'a Ids<'a>,
}

/// Ids of one kind.
type Ids<'a> = HashSet<&'a str, ahash::RandomState>;

/// Resources by which others have a host.
struct Holders<'a> {
    route: Option<&'a Arc<Route>>,
    domain: Option<&'a Arc<Domain>>,
}

impl Holders<'_> {
    /// The one in the way of a route, if it cannot attach to it.
    fn against(&self, route: &RouteSpec) -> Option<Holder> {
        if let Some(other) = self.route {
            return Some(Holder::Route { id: other.id().clone(), owner: other.owner.clone() });
        }
        let domain = self.domain.filter(|_| !route.matcher.path.is_condition())?;
        Some(Holder::Domain { app: domain.app.clone(), owner: domain.owner.clone() })
    }
}

/// Resource that has a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A registered domain.
    Domain {
        /// The app that it belongs to.
        app: AppId,
        /// Its owner.
        owner: Owner,
    },
    /// A route.
    Route {
        /// Its id.
        id: RouteId,
        /// Its owner.
        owner: Owner,
    },
}

impl Holder {
    /// The owner of the resource.
    pub fn owner(&self) -> &Owner {
        match self {
            Self::Domain { owner, .. } | Self::Route { owner, .. } => owner,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain { app, owner } => write!(f, "the registered domain of app {app} (owner {owner})"),
            Self::Route { id, owner } => write!(f, "route {id} (owner {owner})"),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdTaken { kind, id, holder } => {
                write!(f, "{kind} {id} belongs to owner {holder}; ids are unique over all owners")
            }
            Self::HostTaken { route, host, holder } => {
                write!(f, "host {host} of route {route} belongs to {holder}")?;
                match holder {
                    Holder::Domain { .. } => f.write_str("; a route with a path may attach to it"),
                    Holder::Route { .. } => Ok(()),
                }
            }
            Self::UnknownPool { route, pool } => {
                write!(f, "route {route} names pool {pool}, which does not exist")
            }
            Self::UnknownPolicy { kind, id, policy } => {
                write!(f, "{kind} {id} names policy {policy}, which does not exist")
            }
            Self::Unknown { user_kind, user, kind, id } => {
                let noun = if *kind == Kind::App { "pool" } else { kind.as_str() };
                write!(f, "{user_kind} {user} names {noun} {id}, which does not exist")
            }
            Self::InUse { kind, id, user_kind, user, owner } => {
                write!(f, "{kind} {id} cannot be removed: {user_kind} {user} (owner {owner}) uses it")
            }
            Self::Full { what, max } => {
                write!(f, "there would be more than {max} {what}, which is the limit")
            }
        }
    }
}

impl InstanceId {
    /// The id of an endpoint: `POOL@HOST:PORT`, without the brackets of an IPv6 address; shortened with a
    /// hash where it would be too long.
    pub fn of_endpoint(pool: &AppId, target: &Target) -> Self {
        let authority = target.authority().replace(['[', ']'], "");
        let text = format!("{pool}@{authority}");
        let short = || {
            // FNV-1a: the same in every process and version, because the id is stored.
            let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            });
            let kept = limits::ID_BYTES_MAX - 17;
            Self::parse(&format!("{}@{hash:016x}", &pool.as_str()[..pool.as_str().len().min(kept)]))
        };
        Self::parse(&text).or_else(|_| short()).expect("a pool's id with a hash is an identifier")
    }
}

impl OperatorSet {
    /// Number of resources; an endpoint counts as one.
    pub fn len(&self) -> usize {
        self.policies.len()
            + self.pools.len()
            + self.routes.len()
            + self.certificates.len()
            + self.middlewares.len()
            + self.plugins.len()
            + self.scripts.len()
            + self.endpoint_count()
    }

    /// Whether there is no resource.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn endpoint_count(&self) -> usize {
        self.pools.iter().map(|pool| pool.endpoints.len()).sum()
    }
}

impl Desired {
    /// Conflicts of a set with the resources of other owners, and its own dangling references. Empty when
    /// [`Change::ReplaceOwned`](crate::Change::ReplaceOwned) would accept it. The cost follows the set.
    pub fn conflicts(&self, owner: &Owner, set: &OperatorSet) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let taken = |kind: Kind, id: &str| {
            let holder = self.owner_of(kind, id).filter(|holder| *holder != owner)?;
            Some(Conflict::IdTaken { kind, id: id.into(), holder: holder.clone() })
        };
        let policies: Ids<'_> = set.policies.iter().map(|policy| policy.id.as_str()).collect();
        let pools: Ids<'_> = set.pools.iter().map(|pool| pool.id.as_str()).collect();
        conflicts.extend(set.policies.iter().filter_map(|policy| taken(Kind::Policy, policy.id.as_str())));
        let certificates = set.certificates.iter().map(|certificate| certificate.sni.to_string());
        conflicts.extend(certificates.filter_map(|sni| taken(Kind::Certificate, &sni)));
        for pool in &set.pools {
            conflicts.extend(taken(Kind::App, pool.id.as_str()));
            let endpoints = pool.endpoints.iter();
            conflicts.extend(endpoints.filter_map(|endpoint| taken(Kind::Instance, endpoint.id.as_str())));
        }
        let middlewares: Ids<'_> = set.middlewares.iter().map(|of| of.id.as_str()).collect();
        let plugins: Ids<'_> = set.plugins.iter().map(|of| of.id.as_str()).collect();
        conflicts.extend(middlewares.iter().filter_map(|id| taken(Kind::Middleware, id)));
        conflicts.extend(plugins.iter().filter_map(|id| taken(Kind::Plugin, id)));
        conflicts.extend(set.scripts.iter().filter_map(|script| taken(Kind::Script, &script.id)));
        let unknown_policy = |kind: Kind, id: &str, reference: &PolicyRef| {
            let policy = reference.name()?;
            let is_known = policies.contains(policy.as_str())
                || self.policy(policy.as_str()).is_some_and(|known| known.owner != *owner);
            (!is_known).then(|| Conflict::UnknownPolicy { kind, id: id.into(), policy: policy.clone() })
        };
        for pool in &set.pools {
            let reference = pool.policy.as_ref();
            conflicts
                .extend(reference.and_then(|policy| unknown_policy(Kind::App, pool.id.as_str(), policy)));
        }
        // Once for each host, which may have thousands of routes.
        let mut holders: HashMap<&HostPattern, Holders<'_>, ahash::RandomState> = HashMap::default();
        for route in &set.routes {
            let id = route.id.as_str();
            conflicts.extend(taken(Kind::Route, id));
            let others = holders.entry(&route.host).or_insert_with(|| self.holders(owner, &route.host));
            conflicts.extend(others.against(route).map(|holder| Conflict::HostTaken {
                route: route.id.clone(),
                host: route.host.clone(),
                holder,
            }));
            conflicts
                .extend(route.policies.iter().filter_map(|policy| unknown_policy(Kind::Route, id, policy)));
            for pool in route.named_pools() {
                let is_known = pools.contains(pool.as_str())
                    || self
                        .app(pool.as_str())
                        .is_some_and(|known| known.owner.is_operator() && known.owner != *owner);
                if !is_known {
                    let (route, pool) = (route.id.clone(), pool.clone());
                    conflicts.push(Conflict::UnknownPool { route, pool });
                }
            }
        }
        let is_of_others =
            |kind: Kind, id: &str| self.owner_of(kind, id).is_some_and(|of| of.is_operator() && of != owner);
        let unknown = |user_kind: Kind, user: &str, (kind, id): (Kind, Arc<str>)| {
            let is_own = match kind {
                Kind::Middleware => middlewares.contains(&*id),
                Kind::Plugin => plugins.contains(&*id),
                _ => pools.contains(&*id),
            };
            (!is_own && !is_of_others(kind, &id)).then(|| Conflict::Unknown {
                user_kind,
                user: user.into(),
                kind,
                id,
            })
        };
        for route in &set.routes {
            let chains = route.middleware.iter().map(|id| (Kind::Middleware, id.as_str().into()));
            conflicts.extend(chains.filter_map(|chain| unknown(Kind::Route, route.id.as_str(), chain)));
        }
        for chain in &set.middlewares {
            let id = chain.id.as_str();
            conflicts.extend(chain.references().filter_map(|used| unknown(Kind::Middleware, id, used)));
            let counted = chain.stages.iter().filter_map(StageSpec::policy);
            conflicts.extend(counted.filter_map(|policy| {
                unknown_policy(Kind::Middleware, id, &PolicyRef::Named(policy.clone()))
            }));
        }
        for plugin in &set.plugins {
            let pool = plugin.external().map(|filter| (Kind::App, Arc::from(filter.pool.as_str())));
            conflicts.extend(pool.and_then(|pool| unknown(Kind::Plugin, plugin.id.as_str(), pool)));
        }
        let kept = Kept { pools: &pools, policies: &policies, middlewares: &middlewares, plugins: &plugins };
        self.conflicts_of_removals(owner, &kept, &mut conflicts);
        self.conflicts_of_limits(owner, set, &mut conflicts);
        conflicts
    }

    /// Resources by which others than an owner have a host.
    fn holders(&self, owner: &Owner, host: &HostPattern) -> Holders<'_> {
        Holders {
            route: self.routes_of_host(host).find(|other| other.owner != *owner && !other.is_attached),
            domain: host.exact().and_then(|name| self.domain(name.as_str())),
        }
    }

    fn conflicts_of_removals(&self, owner: &Owner, kept: &Kept<'_>, conflicts: &mut Vec<Conflict>) {
        // Kinds that other owners' resources refer to.
        let kinds = [
            (Kind::App, kept.pools),
            (Kind::Policy, kept.policies),
            (Kind::Middleware, kept.middlewares),
            (Kind::Plugin, kept.plugins),
        ];
        let owned = kinds
            .into_iter()
            .flat_map(|(kind, kept)| self.owned_of(owner, kind).map(move |id| (kind, id, kept)));
        for (kind, id, _) in owned.filter(|(_, id, kept)| !kept.contains(&***id)) {
            let user = match kind {
                Kind::App => self.other_user_of_pool(owner, id),
                Kind::Policy => self.users_of_policy(id).find(|(_, _, of)| of != owner),
                _ => None,
            };
            if let Some((user_kind, user, of)) = user.or_else(|| self.other_user(owner, kind, id)) {
                let id = id.clone();
                conflicts.push(Conflict::InUse { kind, id, user_kind, user, owner: of });
            }
        }
    }

    /// A route or domain of another owner that a pool serves.
    fn other_user_of_pool(&self, owner: &Owner, id: &str) -> Option<(Kind, Arc<str>, Owner)> {
        let route = self
            .routes_of_pool(id)
            .find(|route| route.owner != *owner && route.spec.named_pools().any(|pool| pool.as_str() == id));
        route.map(|route| (Kind::Route, Arc::from(route.id().as_str()), route.owner.clone())).or_else(|| {
            let domain = self.domains_of(id).find(|domain| domain.owner != *owner)?;
            Some((Kind::Domain, Arc::from(domain.name.as_str()), domain.owner.clone()))
        })
    }

    /// A resource of another owner whose middleware refers to this one.
    fn other_user(&self, owner: &Owner, kind: Kind, id: &str) -> Option<(Kind, Arc<str>, Owner)> {
        self.users(kind, id).find_map(|(kind, id)| {
            let of = self.owner_of(*kind, id).filter(|of| *of != owner)?;
            Some((*kind, id.clone(), of.clone()))
        })
    }

    fn conflicts_of_limits(&self, owner: &Owner, set: &OperatorSet, conflicts: &mut Vec<Conflict>) {
        let mut limit = |kind: Kind, what: &'static str, count: usize, max: usize| {
            let others = self.count(kind).saturating_sub(self.owned_count(owner, kind));
            if others + count > max {
                conflicts.push(Conflict::Full { what, max });
            }
        };
        limit(Kind::Policy, Kind::Policy.plural(), set.policies.len(), limits::POLICIES_MAX);
        limit(Kind::App, "apps and pools", set.pools.len(), limits::APPS_MAX);
        limit(Kind::Instance, "instances and endpoints", set.endpoint_count(), limits::INSTANCES_MAX);
        limit(Kind::Route, Kind::Route.plural(), set.routes.len(), limits::ROUTES_MAX);
        let certificates = set.certificates.len();
        limit(Kind::Certificate, Kind::Certificate.plural(), certificates, limits::CERTIFICATES_MAX);
        let (middlewares, plugins) = (set.middlewares.len(), set.plugins.len());
        limit(Kind::Middleware, "chains of middleware", middlewares, limits::MIDDLEWARES_MAX);
        limit(Kind::Plugin, Kind::Plugin.plural(), plugins, limits::PLUGINS_MAX);
        limit(Kind::Script, Kind::Script.plural(), set.scripts.len(), limits::SCRIPTS_MAX);
        if set.pools.iter().any(|pool| pool.endpoints.len() > limits::INSTANCES_PER_APP_MAX) {
            let max = limits::INSTANCES_PER_APP_MAX;
            conflicts.push(Conflict::Full { what: "endpoints of one pool", max });
        }
    }
}

impl RouteSpec {
    /// The pools that it names, which must exist; apps need not.
    fn named_pools(&self) -> impl Iterator<Item = &AppId> {
        let own = match &self.action {
            RouteAction::Proxy { pool, .. } => Some(pool),
            RouteAction::Redirect(_) | RouteAction::Respond(_) => None,
        };
        let managed = self.traffic.as_deref().into_iter().flat_map(TrafficSpec::pools);
        own.into_iter().chain(managed).filter_map(|pool| match pool {
            PoolRef::Pool(id) => Some(id),
            PoolRef::App(_) => None,
        })
    }
}

impl Draft<'_> {
    /// Replaces the set of an operator's owner.
    pub(crate) fn replace_owned(&mut self, replacement: &Replacement) -> Result<(), Rejection> {
        let Replacement { owner, set, expect, version } = replacement;
        let latest = self.desired.version_of(owner).map(|known| known.version.clone());
        if let Some(expected) = expect
            && *expected != latest
        {
            return Err(Rejection::StaleVersion { owner: owner.clone(), current: latest });
        }
        let conflicts = self.desired.conflicts(owner, set);
        if !conflicts.is_empty() {
            return Err(Rejection::Conflicts(conflicts.into()));
        }
        let names: Vec<String> = set.certificates.iter().map(|spec| spec.sni.to_string()).collect();
        for (spec, key) in set.certificates.iter().zip(&names) {
            self.put_certificate(owner, key, spec);
        }
        for policy in &set.policies {
            self.put_policy(owner, policy);
        }
        for spec in &set.plugins {
            self.put_plugin(owner, spec);
        }
        for spec in &set.scripts {
            self.put_script(owner, spec);
        }
        for spec in &set.middlewares {
            self.put_middleware(owner, spec);
        }
        for pool in &set.pools {
            self.put_pool(owner, pool);
            for endpoint in &pool.endpoints {
                self.put_endpoint(owner, &pool.id, endpoint);
            }
        }
        for route in &set.routes {
            self.put_route(owner, route);
        }
        self.remove_others(owner, set, &names);
        if let Some(new) = version
            && latest.as_ref() != Some(&new.version)
        {
            self.put_version(owner, new);
        }
        Ok(())
    }

    /// Records that a version has served well, or no longer counts as proven.
    pub(crate) fn prove_version(&mut self, key: &str, is_proven: bool) {
        if let Some(version) = self.desired.config_version(key).cloned()
            && version.is_proven != is_proven
        {
            self.put(ConfigVersion { is_proven, ..ConfigVersion::clone(&version) });
        }
    }

    fn put_certificate(&mut self, owner: &Owner, key: &str, spec: &CertificateSpec) {
        let old = self.desired.certificate(key);
        if old.is_some_and(|old| old.files == spec.files) {
            return;
        }
        let created_at = old.map_or(self.now, |old| old.created_at);
        let (sni, files) = (spec.sni.clone(), spec.files.clone());
        let (key, owner) = (key.into(), owner.clone());
        self.put(Certificate { key, owner, sni, files, created_at, updated_at: self.now });
    }

    fn put_policy(&mut self, owner: &Owner, spec: &PolicySpec) {
        let old = self.desired.policy(spec.id.as_str());
        if old.is_some_and(|old| old.settings == spec.settings) {
            return;
        }
        let created_at = old.map_or(self.now, |old| old.created_at);
        let (id, settings) = (spec.id.clone(), spec.settings.clone());
        self.put(Policy { id, owner: owner.clone(), settings, created_at, updated_at: self.now });
    }

    fn put_middleware(&mut self, owner: &Owner, spec: &Arc<MiddlewareSpec>) {
        let old = self.desired.middleware(spec.id.as_str());
        if old.is_some_and(|old| old.spec == *spec) {
            return;
        }
        let created_at = old.map_or(self.now, |old| old.created_at);
        self.put(Middleware { spec: spec.clone(), owner: owner.clone(), created_at, updated_at: self.now });
    }

    fn put_plugin(&mut self, owner: &Owner, spec: &Arc<PluginSpec>) {
        let old = self.desired.plugin(spec.id.as_str());
        if old.is_some_and(|old| old.spec == *spec) {
            return;
        }
        let created_at = old.map_or(self.now, |old| old.created_at);
        self.put(Plugin { spec: spec.clone(), owner: owner.clone(), created_at, updated_at: self.now });
    }

    fn put_script(&mut self, owner: &Owner, spec: &Arc<ScriptSpec>) {
        let old = self.desired.script(&spec.id);
        if old.is_some_and(|old| old.spec == *spec) {
            return;
        }
        let created_at = old.map_or(self.now, |old| old.created_at);
        self.put(Script { spec: spec.clone(), owner: owner.clone(), created_at, updated_at: self.now });
    }

    fn put_pool(&mut self, owner: &Owner, spec: &PoolSpec) {
        let old = self.desired.app(spec.id.as_str()).cloned();
        let pool = App {
            id: spec.id.clone(),
            owner: owner.clone(),
            name: spec.id.as_str().into(),
            upstream_tls: spec.upstream_tls.clone(),
            failures: spec.failures,
            on_all_unhealthy: spec.on_all_unhealthy,
            balancer: spec.balancer,
            policy: spec.policy.clone(),
            traffic: Some(spec.traffic.clone()),
            webhook: None,
            created_at: old.as_ref().map_or(self.now, |old| old.created_at),
            updated_at: old.as_ref().map_or(self.now, |old| old.updated_at),
        };
        if old.as_deref() != Some(&pool) {
            self.put(App { updated_at: self.now, ..pool });
        }
    }

    fn put_endpoint(&mut self, owner: &Owner, pool: &AppId, spec: &EndpointSpec) {
        let old = self.desired.instance(spec.id.as_str()).cloned();
        let next = Generation(self.desired.revision().0);
        let endpoint = Instance {
            id: spec.id.clone(),
            owner: owner.clone(),
            app: pool.clone(),
            target: spec.target.clone(),
            weight: spec.weight,
            health_check: spec.health_check.clone(),
            registered_at: old.as_ref().map_or(self.now, |old| old.registered_at),
            // Breaker and health stay: nothing has registered again.
            generation: old.as_ref().map_or(next, |old| old.generation),
            draining: None,
        };
        if old.as_deref() != Some(&endpoint) {
            self.put(endpoint);
        }
    }

    fn put_route(&mut self, owner: &Owner, spec: &Arc<RouteSpec>) {
        let old = self.desired.route(spec.id.as_str()).cloned();
        let was_attached =
            |old: &Route| old.is_attached && old.spec.host == spec.host && spec.matcher.path.is_condition();
        let has_domain =
            spec.host.exact().is_some_and(|host: &Hostname| self.desired.domain(host.as_str()).is_some());
        let is_attached = has_domain || old.as_deref().is_some_and(was_attached);
        if old.as_ref().is_some_and(|old| old.spec == *spec && old.is_attached == is_attached) {
            return;
        }
        if let Some(old) = old.as_ref().filter(|old| old.spec.host != spec.host) {
            // The deltas name the former host too: its rules change as well.
            self.remove(old.clone());
        }
        self.put(Route {
            spec: spec.clone(),
            owner: owner.clone(),
            is_attached,
            created_at: old.map_or(self.now, |old| old.created_at),
            updated_at: self.now,
        });
    }

    /// Removes the resources of an owner that a set leaves out. All those of the set are the owner's by now.
    fn remove_others(&mut self, owner: &Owner, set: &OperatorSet, certificates: &[String]) {
        // Dependents first: routes, endpoints, pools.
        for kind in Kind::ALL.into_iter().rev() {
            let kept: Ids<'_> = match kind {
                Kind::App => set.pools.iter().map(|of| of.id.as_str()).collect(),
                Kind::Instance => {
                    set.pools.iter().flat_map(|pool| &pool.endpoints).map(|of| of.id.as_str()).collect()
                }
                Kind::Policy => set.policies.iter().map(|of| of.id.as_str()).collect(),
                Kind::Route => set.routes.iter().map(|of| of.id.as_str()).collect(),
                Kind::Certificate => certificates.iter().map(String::as_str).collect(),
                Kind::Middleware => set.middlewares.iter().map(|of| of.id.as_str()).collect(),
                Kind::Plugin => set.plugins.iter().map(|of| of.id.as_str()).collect(),
                Kind::Script => set.scripts.iter().map(|of| &*of.id).collect(),
                Kind::ConfigVersion => continue,
                Kind::Domain | Kind::CanaryState | Kind::EndpointOverride => Ids::default(),
            };
            if kept.len() == self.desired.owned_count(owner, kind) {
                continue;
            }
            let owned = self.desired.owned_of(owner, kind);
            let mut gone: Vec<_> = owned.filter(|id| !kept.contains(&***id)).cloned().collect();
            gone.sort_unstable_by(|a, b| b.cmp(a));
            for id in gone {
                if let Some(resource) = self.desired.resource(kind, &id) {
                    self.remove(resource);
                }
            }
        }
    }

    fn put_version(&mut self, owner: &Owner, new: &NewVersion) {
        let mut history = self.desired.versions_of(owner);
        let sequence = history.last().map_or(1, |last| last.sequence + 1);
        self.put(ConfigVersion {
            key: ConfigVersion::key_of(owner, sequence),
            owner: owner.clone(),
            sequence,
            version: new.version.clone(),
            at: self.now,
            by: new.by.clone(),
            reason: new.reason.clone(),
            source: new.source.clone(),
            is_proven: new.is_proven,
        });
        // The oldest go first; the last proven one stays, because a start may need it.
        let proven = history.iter().rposition(|version| version.is_proven);
        let mut bytes = new.source.len() + history.iter().map(|version| version.source.len()).sum::<usize>();
        let mut count = history.len() + 1;
        for (at, version) in history.drain(..).enumerate() {
            if count <= limits::VERSIONS_PER_OWNER_MAX && bytes <= limits::VERSION_BYTES_PER_OWNER_MAX {
                break;
            }
            if Some(at) != proven {
                count -= 1;
                bytes -= version.source.len();
                self.remove(version);
            }
        }
    }
}

#[cfg(test)]
#[path = "operator_set_tests.rs"]
mod tests;
