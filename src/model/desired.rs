//! The configuration: all resources of all owners, whole and immutable.

use std::hash::Hash;
use std::sync::Arc;

use rpds::{HashTrieMapSync, HashTrieSetSync};

use crate::{
    App, AppId, CanaryState, Certificate, ConfigVersion, Domain, EndpointOverride, HostPattern, Hostname,
    Instance, InstanceId, Kind, Middleware, MiddlewareId, Owner, Plugin, PluginId, Policy, PolicyId,
    PolicyRef, Resource, Revision, Route, RouteId, Script, StageSpec,
};

type Map<K, V> = HashTrieMapSync<K, V, ahash::RandomState>;
type Set<T> = HashTrieSetSync<T, ahash::RandomState>;

/// All resources at one [`Revision`].
///
/// Persistent: a clone is one pointer, and [`Desired::apply`](Desired::apply) makes the next one at a cost
/// that follows the change. Every resource's parent exists.
#[derive(Clone, Debug)]
pub struct Desired {
    revision: Revision,
    apps: Map<AppId, Arc<App>>,
    instances: Map<InstanceId, Arc<Instance>>,
    domains: Map<Hostname, Arc<Domain>>,
    policies: Map<PolicyId, Arc<Policy>>,
    routes: Map<RouteId, Arc<Route>>,
    versions: Map<Arc<str>, Arc<ConfigVersion>>,
    certificates: Map<Arc<str>, Arc<Certificate>>,
    canary_states: Map<RouteId, Arc<CanaryState>>,
    endpoint_overrides: Map<InstanceId, Arc<EndpointOverride>>,
    middlewares: Map<MiddlewareId, Arc<Middleware>>,
    plugins: Map<PluginId, Arc<Plugin>>,
    scripts: Map<Arc<str>, Arc<Script>>,
    instances_of: Map<AppId, Set<InstanceId>>,
    domains_of: Map<AppId, Set<Hostname>>,
    routes_of_host: Map<HostPattern, Set<RouteId>>,
    routes_of_pool: Map<AppId, Set<RouteId>>,
    users_of_policy: Map<PolicyId, Set<(Kind, Arc<str>)>>,
    /// Users of pools, chains and plugins by middleware.
    users: Map<Reference, Set<Reference>>,
    /// Keys of operators' resources.
    owned: Map<(Owner, Kind), Set<Arc<str>>>,
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            revision: Revision(0),
            apps: map(),
            instances: map(),
            domains: map(),
            policies: map(),
            routes: map(),
            versions: map(),
            certificates: map(),
            canary_states: map(),
            endpoint_overrides: map(),
            middlewares: map(),
            plugins: map(),
            scripts: map(),
            instances_of: map(),
            domains_of: map(),
            routes_of_host: map(),
            routes_of_pool: map(),
            users_of_policy: map(),
            users: map(),
            owned: map(),
        }
    }
}

impl Desired {
    /// Builds a configuration from stored resources, in any order. Resources whose parent is missing are left
    /// out and returned: one lost record affects only its dependents.
    pub fn restore(
        revision: Revision,
        resources: impl IntoIterator<Item = Resource>,
    ) -> (Self, Vec<Resource>) {
        let mut desired = Self { revision, ..Self::default() };
        let mut orphans = Vec::new();
        let mut by_kind: [Vec<Resource>; Kind::COUNT] = Default::default();
        for resource in resources {
            by_kind[resource.kind().index()].push(resource);
        }
        for resource in by_kind.into_iter().flatten() {
            if resource.parent().is_none_or(|(kind, key)| desired.contains(kind, key)) {
                desired.put(resource);
            } else {
                orphans.push(resource);
            }
        }
        (desired, orphans)
    }

    /// The revision that made this state.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn at_next_revision(&self) -> Self {
        Self { revision: self.revision.next(), ..self.clone() }
    }

    pub(crate) fn at_revision_after(&self, other: &Self) -> Self {
        Self { revision: other.revision.next(), ..self.clone() }
    }

    /// Whether there is a resource with this key. One hash lookup.
    pub fn contains(&self, kind: Kind, key: &str) -> bool {
        match kind {
            Kind::App => self.apps.contains_key(key),
            Kind::Instance => self.instances.contains_key(key),
            Kind::Domain => self.domains.contains_key(key),
            Kind::Policy => self.policies.contains_key(key),
            Kind::Route => self.routes.contains_key(key),
            Kind::ConfigVersion => self.versions.contains_key(key),
            Kind::Certificate => self.certificates.contains_key(key),
            Kind::CanaryState => self.canary_states.contains_key(key),
            Kind::EndpointOverride => self.endpoint_overrides.contains_key(key),
            Kind::Middleware => self.middlewares.contains_key(key),
            Kind::Plugin => self.plugins.contains_key(key),
            Kind::Script => self.scripts.contains_key(key),
        }
    }

    /// The number of resources of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::App => self.apps.size(),
            Kind::Instance => self.instances.size(),
            Kind::Domain => self.domains.size(),
            Kind::Policy => self.policies.size(),
            Kind::Route => self.routes.size(),
            Kind::ConfigVersion => self.versions.size(),
            Kind::Certificate => self.certificates.size(),
            Kind::CanaryState => self.canary_states.size(),
            Kind::EndpointOverride => self.endpoint_overrides.size(),
            Kind::Middleware => self.middlewares.size(),
            Kind::Plugin => self.plugins.size(),
            Kind::Script => self.scripts.size(),
        }
    }

    /// All resources, parents first, in no other order.
    pub fn resources(&self) -> impl Iterator<Item = Resource> {
        let apps = self.apps.values().cloned().map(Resource::from);
        let instances = self.instances.values().cloned().map(Resource::from);
        let domains = self.domains.values().cloned().map(Resource::from);
        let policies = self.policies.values().cloned().map(Resource::from);
        let routes = self.routes.values().cloned().map(Resource::from);
        let versions = self.versions.values().cloned().map(Resource::from);
        let certificates = self.certificates.values().cloned().map(Resource::from);
        let registered = apps.chain(instances).chain(domains);
        let canaries = self.canary_states.values().cloned().map(Resource::from);
        let overrides = self.endpoint_overrides.values().cloned().map(Resource::from);
        let configured = registered.chain(policies).chain(routes).chain(versions).chain(certificates);
        let middlewares = self.middlewares.values().cloned().map(Resource::from);
        let plugins = self.plugins.values().cloned().map(Resource::from);
        let scripts = self.scripts.values().cloned().map(Resource::from);
        configured.chain(canaries).chain(overrides).chain(middlewares).chain(plugins).chain(scripts)
    }

    /// A resource of any kind. One hash lookup.
    pub fn resource(&self, kind: Kind, key: &str) -> Option<Resource> {
        match kind {
            Kind::App => self.apps.get(key).cloned().map(Resource::from),
            Kind::Instance => self.instances.get(key).cloned().map(Resource::from),
            Kind::Domain => self.domains.get(key).cloned().map(Resource::from),
            Kind::Policy => self.policies.get(key).cloned().map(Resource::from),
            Kind::Route => self.routes.get(key).cloned().map(Resource::from),
            Kind::ConfigVersion => self.versions.get(key).cloned().map(Resource::from),
            Kind::Certificate => self.certificates.get(key).cloned().map(Resource::from),
            Kind::CanaryState => self.canary_states.get(key).cloned().map(Resource::from),
            Kind::EndpointOverride => self.endpoint_overrides.get(key).cloned().map(Resource::from),
            Kind::Middleware => self.middlewares.get(key).cloned().map(Resource::from),
            Kind::Plugin => self.plugins.get(key).cloned().map(Resource::from),
            Kind::Script => self.scripts.get(key).cloned().map(Resource::from),
        }
    }

    /// The owner of a resource. One hash lookup.
    pub fn owner_of(&self, kind: Kind, key: &str) -> Option<&Owner> {
        match kind {
            Kind::App => self.apps.get(key).map(|app| &app.owner),
            Kind::Instance => self.instances.get(key).map(|instance| &instance.owner),
            Kind::Domain => self.domains.get(key).map(|domain| &domain.owner),
            Kind::Policy => self.policies.get(key).map(|policy| &policy.owner),
            Kind::Route => self.routes.get(key).map(|route| &route.owner),
            Kind::ConfigVersion => self.versions.get(key).map(|version| &version.owner),
            Kind::Certificate => self.certificates.get(key).map(|certificate| &certificate.owner),
            Kind::CanaryState => self.canary_states.get(key).map(|state| &state.owner),
            Kind::EndpointOverride => self.endpoint_overrides.get(key).map(|of| &of.owner),
            Kind::Middleware => self.middlewares.get(key).map(|of| &of.owner),
            Kind::Plugin => self.plugins.get(key).map(|of| &of.owner),
            Kind::Script => self.scripts.get(key).map(|of| &of.owner),
        }
    }

    /// Kinds and keys of an operator's resources, in no order.
    pub fn owned(&self, owner: &Owner) -> impl Iterator<Item = (Kind, &Arc<str>)> {
        Kind::ALL.into_iter().flat_map(|kind| self.owned_of(owner, kind).map(move |key| (kind, key)))
    }

    /// Keys of an operator's resources of a kind, in no order.
    pub fn owned_of(&self, owner: &Owner, kind: Kind) -> impl Iterator<Item = &Arc<str>> {
        self.owned.get(&(owner.clone(), kind)).into_iter().flatten()
    }

    /// The number of an operator's resources of a kind. One hash lookup.
    pub fn owned_count(&self, owner: &Owner, kind: Kind) -> usize {
        self.owned.get(&(owner.clone(), kind)).map_or(0, Set::size)
    }

    /// State of a route's canary. One hash lookup.
    pub fn canary_state(&self, route: &str) -> Option<&Arc<CanaryState>> {
        self.canary_states.get(route)
    }

    /// States of all canaries, in no order.
    pub fn canary_states(&self) -> impl Iterator<Item = &Arc<CanaryState>> {
        self.canary_states.values()
    }

    /// Override of an endpoint. One hash lookup.
    pub fn endpoint_override(&self, instance: &str) -> Option<&Arc<EndpointOverride>> {
        self.endpoint_overrides.get(instance)
    }

    /// Overrides of all endpoints, in no order.
    pub fn endpoint_overrides(&self) -> impl Iterator<Item = &Arc<EndpointOverride>> {
        self.endpoint_overrides.values()
    }

    /// A named policy. One hash lookup.
    pub fn policy(&self, id: &str) -> Option<&Arc<Policy>> {
        self.policies.get(id)
    }

    /// A route. One hash lookup.
    pub fn route(&self, id: &str) -> Option<&Arc<Route>> {
        self.routes.get(id)
    }

    /// A certificate by the text form of its names. One hash lookup.
    pub fn certificate(&self, sni: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(sni)
    }

    /// All certificates of operators, in no order.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<Certificate>> {
        self.certificates.values()
    }

    /// An entry of the history by its key. One hash lookup.
    pub fn config_version(&self, key: &str) -> Option<&Arc<ConfigVersion>> {
        self.versions.get(key)
    }

    /// A chain of middleware stages. One hash lookup.
    pub fn middleware(&self, id: &str) -> Option<&Arc<Middleware>> {
        self.middlewares.get(id)
    }

    /// A plugin. One hash lookup.
    pub fn plugin(&self, id: &str) -> Option<&Arc<Plugin>> {
        self.plugins.get(id)
    }

    /// A script. One hash lookup.
    pub fn script(&self, id: &str) -> Option<&Arc<Script>> {
        self.scripts.get(id)
    }

    /// All scripts, in no order.
    pub fn scripts(&self) -> impl Iterator<Item = &Arc<Script>> {
        self.scripts.values()
    }

    /// All chains of middleware stages, in no order.
    pub fn middlewares(&self) -> impl Iterator<Item = &Arc<Middleware>> {
        self.middlewares.values()
    }

    /// All plugins, in no order.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.values()
    }

    /// Resources whose middleware refers to this one: routes to a chain, chains to a plugin or a pool,
    /// plugins to a pool; in no order.
    pub fn users(&self, kind: Kind, id: &str) -> impl Iterator<Item = &(Kind, Arc<str>)> {
        self.users.get(&(kind, Arc::from(id))).into_iter().flatten()
    }

    /// Routes whose chains contain this one, or the plugin; in no order, one may come twice.
    pub fn routes_of_middleware(&self, kind: Kind, id: &str) -> impl Iterator<Item = &Arc<Route>> {
        let users = self.users(kind, id).flat_map(|(kind, id)| {
            let chained = (*kind == Kind::Middleware).then(|| self.users(Kind::Middleware, id));
            std::iter::once((kind, id)).chain(chained.into_iter().flatten().map(|(kind, id)| (kind, id)))
        });
        users.filter(|(kind, _)| **kind == Kind::Route).filter_map(|(_, id)| self.routes.get(&**id))
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// The routes of a host pattern, in no order.
    pub fn routes_of_host(&self, host: &HostPattern) -> impl Iterator<Item = &Arc<Route>> {
        self.routes_of_host.get(host).into_iter().flatten().filter_map(|id| self.routes.get(id))
    }

    /// The routes that forward requests, or copies of them, to an app or pool, in no order.
    pub fn routes_of_pool(&self, app: &str) -> impl Iterator<Item = &Arc<Route>> {
        self.routes_of_pool.get(app).into_iter().flatten().filter_map(|id| self.routes.get(id))
    }

    /// Kind, key and owner of the resources that name a policy, in no order.
    pub fn users_of_policy(&self, id: &str) -> impl Iterator<Item = (Kind, Arc<str>, Owner)> {
        let users = self.users_of_policy.get(id).into_iter().flatten();
        users.filter_map(|(kind, key)| Some((*kind, key.clone(), self.owner_of(*kind, key)?.clone())))
    }

    /// The history of an operator's owner, the oldest first.
    pub fn versions_of(&self, owner: &Owner) -> Vec<Arc<ConfigVersion>> {
        let mut versions: Vec<_> =
            self.versions.values().filter(|version| version.owner == *owner).cloned().collect();
        versions.sort_unstable_by_key(|version| version.sequence);
        versions
    }

    /// The present version of an operator's owner.
    pub fn version_of(&self, owner: &Owner) -> Option<&Arc<ConfigVersion>> {
        self.versions
            .values()
            .filter(|version| version.owner == *owner)
            .max_by_key(|version| version.sequence)
    }

    /// An app. One hash lookup.
    pub fn app(&self, id: &str) -> Option<&Arc<App>> {
        self.apps.get(id)
    }

    /// An instance. One hash lookup.
    pub fn instance(&self, id: &str) -> Option<&Arc<Instance>> {
        self.instances.get(id)
    }

    /// A domain by its normalised name. One hash lookup.
    pub fn domain(&self, name: &str) -> Option<&Arc<Domain>> {
        self.domains.get(name)
    }

    /// All apps, in no order.
    pub fn apps(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values()
    }

    /// All instances, in no order.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    /// All domains, in no order.
    pub fn domains(&self) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains.values()
    }

    /// The instances of an app, in no order.
    pub fn instances_of(&self, app: &str) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances_of.get(app).into_iter().flatten().filter_map(|id| self.instances.get(id))
    }

    /// The domains of an app, in no order.
    pub fn domains_of(&self, app: &str) -> impl Iterator<Item = &Arc<Domain>> {
        self.domains_of.get(app).into_iter().flatten().filter_map(|name| self.domains.get(name))
    }

    /// The number of an app's instances.
    pub fn instance_count_of(&self, app: &str) -> usize {
        self.instances_of.get(app).map_or(0, Set::size)
    }

    /// The number of an app's domains.
    pub fn domain_count_of(&self, app: &str) -> usize {
        self.domains_of.get(app).map_or(0, Set::size)
    }

    pub(crate) fn put(&mut self, resource: Resource) {
        if let Some(old) = self.resource(resource.kind(), resource.key()) {
            self.unlink_references(&old);
        }
        self.link_references(&resource);
        match resource {
            Resource::App(app) => self.apps.insert_mut(app.id.clone(), app),
            Resource::Instance(instance) => self.instances.insert_mut(instance.id.clone(), instance),
            Resource::Domain(domain) => self.domains.insert_mut(domain.name.clone(), domain),
            Resource::Policy(policy) => self.policies.insert_mut(policy.id.clone(), policy),
            Resource::Route(route) => self.routes.insert_mut(route.id().clone(), route),
            Resource::ConfigVersion(version) => self.versions.insert_mut(version.key.clone(), version),
            Resource::Certificate(of) => self.certificates.insert_mut(of.key.clone(), of),
            Resource::CanaryState(of) => self.canary_states.insert_mut(of.route.clone(), of),
            Resource::EndpointOverride(of) => self.endpoint_overrides.insert_mut(of.instance.clone(), of),
            Resource::Middleware(of) => self.middlewares.insert_mut(of.spec.id.clone(), of),
            Resource::Plugin(of) => self.plugins.insert_mut(of.spec.id.clone(), of),
            Resource::Script(of) => self.scripts.insert_mut(of.spec.id.clone(), of),
        }
    }

    pub(crate) fn remove(&mut self, resource: &Resource) {
        self.unlink_references(resource);
        match resource {
            Resource::App(app) => _ = self.apps.remove_mut(&app.id),
            Resource::Instance(instance) => _ = self.instances.remove_mut(&instance.id),
            Resource::Domain(domain) => _ = self.domains.remove_mut(&domain.name),
            Resource::Policy(policy) => _ = self.policies.remove_mut(&policy.id),
            Resource::Route(route) => _ = self.routes.remove_mut(route.id()),
            Resource::ConfigVersion(version) => _ = self.versions.remove_mut(&version.key),
            Resource::Certificate(of) => _ = self.certificates.remove_mut(&of.key),
            Resource::CanaryState(of) => _ = self.canary_states.remove_mut(&of.route),
            Resource::EndpointOverride(of) => _ = self.endpoint_overrides.remove_mut(&of.instance),
            Resource::Middleware(of) => _ = self.middlewares.remove_mut(&of.spec.id),
            Resource::Plugin(of) => _ = self.plugins.remove_mut(&of.spec.id),
            Resource::Script(of) => _ = self.scripts.remove_mut(&of.spec.id),
        }
    }

    /// Adds a resource to the indexes of what it refers to.
    fn link_references(&mut self, resource: &Resource) {
        match resource {
            Resource::App(_)
            | Resource::Policy(_)
            | Resource::ConfigVersion(_)
            | Resource::Certificate(_)
            | Resource::CanaryState(_)
            | Resource::EndpointOverride(_)
            | Resource::Middleware(_)
            | Resource::Plugin(_)
            | Resource::Script(_) => {}
            Resource::Instance(instance) => link(&mut self.instances_of, &instance.app, instance.id.clone()),
            Resource::Domain(domain) => link(&mut self.domains_of, &domain.app, domain.name.clone()),
            Resource::Route(route) => {
                link(&mut self.routes_of_host, &route.spec.host, route.id().clone());
                for pool in route.spec.pools() {
                    link(&mut self.routes_of_pool, pool, route.id().clone());
                }
            }
        }
        for policy in resource.policies() {
            link(&mut self.users_of_policy, policy, (resource.kind(), resource.key().into()));
        }
        for used in resource.of_middleware() {
            link(&mut self.users, &used, (resource.kind(), resource.key().into()));
        }
        if resource.owner().is_operator() {
            let of = (resource.owner().clone(), resource.kind());
            link(&mut self.owned, &of, resource.key().into());
        }
    }

    /// Removes a resource from the indexes of what it refers to.
    fn unlink_references(&mut self, resource: &Resource) {
        match resource {
            Resource::App(_)
            | Resource::Policy(_)
            | Resource::ConfigVersion(_)
            | Resource::Certificate(_)
            | Resource::CanaryState(_)
            | Resource::EndpointOverride(_)
            | Resource::Middleware(_)
            | Resource::Plugin(_)
            | Resource::Script(_) => {}
            Resource::Instance(instance) => unlink(&mut self.instances_of, &instance.app, &instance.id),
            Resource::Domain(domain) => unlink(&mut self.domains_of, &domain.app, &domain.name),
            Resource::Route(route) => {
                unlink(&mut self.routes_of_host, &route.spec.host, route.id());
                for pool in route.spec.pools() {
                    unlink(&mut self.routes_of_pool, pool, route.id());
                }
            }
        }
        for policy in resource.policies() {
            unlink(&mut self.users_of_policy, policy, &(resource.kind(), resource.key().into()));
        }
        for used in resource.of_middleware() {
            unlink(&mut self.users, &used, &(resource.kind(), resource.key().into()));
        }
        if resource.owner().is_operator() {
            let of = (resource.owner().clone(), resource.kind());
            unlink(&mut self.owned, &of, &Arc::from(resource.key()));
        }
    }
}

impl Resource {
    /// The named policies that it refers to.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &PolicyId> {
        let policies = match self {
            Self::App(app) => app.policy.as_slice(),
            Self::Domain(domain) => domain.policy.as_slice(),
            Self::Route(route) => &route.spec.policies,
            Self::Instance(_)
            | Self::Policy(_)
            | Self::ConfigVersion(_)
            | Self::Certificate(_)
            | Self::CanaryState(_)
            | Self::EndpointOverride(_)
            | Self::Middleware(_)
            | Self::Plugin(_)
            | Self::Script(_) => &[],
        };
        let stages = match self {
            Self::Middleware(middleware) => &*middleware.spec.stages,
            _ => &[],
        };
        let counted = stages.iter().filter_map(StageSpec::policy);
        policies.iter().filter_map(PolicyRef::name).chain(counted)
    }

    /// The chains, plugins and pools that it refers to by middleware.
    pub(crate) fn of_middleware(&self) -> Vec<Reference> {
        match self {
            Self::Route(route) => {
                let chains = route.spec.middleware.iter();
                chains.map(|chain| (Kind::Middleware, chain.as_str().into())).collect()
            }
            Self::Middleware(middleware) => middleware.spec.references().collect(),
            Self::Plugin(plugin) => {
                let filter = plugin.spec.external();
                filter.map(|filter| (Kind::App, filter.pool.as_str().into())).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Kind and key of a resource.
pub(crate) type Reference = (Kind, Arc<str>);

fn map<K: Eq + Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(ahash::RandomState::new())
}

fn link<K: Eq + Hash + Clone, T: Eq + Hash + Clone>(index: &mut Map<K, Set<T>>, of: &K, item: T) {
    match index.get_mut(of) {
        Some(set) => set.insert_mut(item),
        None => {
            let mut set = Set::new_with_hasher_with_ptr_kind(ahash::RandomState::new());
            set.insert_mut(item);
            index.insert_mut(of.clone(), set);
        }
    }
}

fn unlink<K: Eq + Hash + Clone, T: Eq + Hash>(index: &mut Map<K, Set<T>>, of: &K, item: &T) {
    let Some(set) = index.get_mut(of) else { return };
    set.remove_mut(item);
    if set.is_empty() {
        index.remove_mut(of);
    }
}
