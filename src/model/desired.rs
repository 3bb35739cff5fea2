//! The configuration: all resources of all owners, whole and immutable.

use std::hash::Hash;
use std::sync::Arc;

use rpds::{HashTrieMapSync, HashTrieSetSync};

use crate::{App, AppId, Domain, Hostname, Instance, InstanceId, Kind, Resource, Revision};

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
    instances_of: Map<AppId, Set<InstanceId>>,
    domains_of: Map<AppId, Set<Hostname>>,
}

impl Default for Desired {
    fn default() -> Self {
        Self {
            revision: Revision(0),
            apps: map(),
            instances: map(),
            domains: map(),
            instances_of: map(),
            domains_of: map(),
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

    /// Whether there is a resource with this key. One hash lookup.
    pub fn contains(&self, kind: Kind, key: &str) -> bool {
        match kind {
            Kind::App => self.apps.contains_key(key),
            Kind::Instance => self.instances.contains_key(key),
            Kind::Domain => self.domains.contains_key(key),
        }
    }

    /// The number of resources of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::App => self.apps.size(),
            Kind::Instance => self.instances.size(),
            Kind::Domain => self.domains.size(),
        }
    }

    /// All resources, parents first, in no other order.
    pub fn resources(&self) -> impl Iterator<Item = Resource> {
        let apps = self.apps.values().cloned().map(Resource::from);
        let instances = self.instances.values().cloned().map(Resource::from);
        let domains = self.domains.values().cloned().map(Resource::from);
        apps.chain(instances).chain(domains)
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
        match resource {
            Resource::App(app) => self.apps.insert_mut(app.id.clone(), app),
            Resource::Instance(instance) => {
                link(&mut self.instances_of, &instance.app, instance.id.clone());
                self.instances.insert_mut(instance.id.clone(), instance);
            }
            Resource::Domain(domain) => {
                if let Some(old) = self.domains.get(&domain.name)
                    && old.app != domain.app
                {
                    unlink(&mut self.domains_of, &old.app, &domain.name);
                }
                link(&mut self.domains_of, &domain.app, domain.name.clone());
                self.domains.insert_mut(domain.name.clone(), domain);
            }
        }
    }

    pub(crate) fn remove(&mut self, resource: &Resource) {
        match resource {
            Resource::App(app) => _ = self.apps.remove_mut(&app.id),
            Resource::Instance(instance) => {
                self.instances.remove_mut(&instance.id);
                unlink(&mut self.instances_of, &instance.app, &instance.id);
            }
            Resource::Domain(domain) => {
                self.domains.remove_mut(&domain.name);
                unlink(&mut self.domains_of, &domain.app, &domain.name);
            }
        }
    }
}

fn map<K: Eq + Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(ahash::RandomState::new())
}

fn link<T: Eq + Hash + Clone>(index: &mut Map<AppId, Set<T>>, app: &AppId, item: T) {
    match index.get_mut(app) {
        Some(set) => set.insert_mut(item),
        None => {
            let mut set = Set::new_with_hasher_with_ptr_kind(ahash::RandomState::new());
            set.insert_mut(item);
            index.insert_mut(app.clone(), set);
        }
    }
}

fn unlink<T: Eq + Hash>(index: &mut Map<AppId, Set<T>>, app: &AppId, item: &T) {
    let Some(set) = index.get_mut(app) else { return };
    set.remove_mut(item);
    if set.is_empty() {
        index.remove_mut(app);
    }
}
