//! The configuration that users asked for, whole and immutable.

use std::sync::Arc;

use rpds::{HashTrieMapSync, HashTrieSetSync};

use crate::{
    AppId, CertificateMode, ClientAuth, FailurePolicy, Generation, HealthCheck, Hostname, InstanceId,
    OnAllUnhealthy, Revision, Target, TenantId, Timestamp, UpstreamTls, Webhook,
};

/// An app: a name for interchangeable instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its id, chosen by the app.
    pub id: AppId,
    /// Its name for people; the id where none was given.
    pub name: Arc<str>,
    /// How its `https://` targets are spoken to, when not in the default way.
    pub upstream_tls: Option<UpstreamTls>,
    /// Results that count against an instance.
    pub failures: FailurePolicy,
    /// Treatment of requests while no instance is healthy.
    pub on_all_unhealthy: OnAllUnhealthy,
    /// Where it hears of what happens to it.
    pub webhook: Option<Webhook>,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When it, or its set of instances, last changed.
    pub updated_at: Timestamp,
}

/// A running process that serves an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its id, chosen by the app, unique over all apps.
    pub id: InstanceId,
    /// The app that it serves.
    pub app: AppId,
    /// Where it listens.
    pub target: Target,
    /// How its health is checked.
    pub health_check: HealthCheck,
    /// When this registration was made.
    pub registered_at: Timestamp,
    /// Which registration of this id it is.
    pub generation: Generation,
    /// The latest time of its removal, once it drains: it gets no new requests. A new registration ends the drain.
    pub draining: Option<Timestamp>,
}

/// A name under which an app is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The name.
    pub name: Hostname,
    /// The app that serves it.
    pub app: AppId,
    /// Told to the app in `X-Tenant-ID`, whatever the kind.
    pub tenant: Option<TenantId>,
    /// What it is to its owner.
    pub kind: DomainKind,
    /// The name that its CNAME record should point to.
    pub cname_target: Option<Hostname>,
    /// Who brings its certificate.
    pub certificate: CertificateMode,
    /// Certificates that its clients present, if they are asked for any.
    pub client_auth: Option<ClientAuth>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What a domain is to its owner. Routing treats all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomainKind {
    /// A name below the app's own.
    Subdomain,
    /// A tenant's own name.
    Custom,
    /// A name below the app's own that tenants' CNAME records point to.
    CnameTarget,
}

impl DomainKind {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subdomain => "subdomain",
            Self::Custom => "custom",
            Self::CnameTarget => "cname_target",
        }
    }

    /// Reads the word that the API uses.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Subdomain, Self::Custom, Self::CnameTarget].into_iter().find(|kind| kind.as_str() == text)
    }
}

type Map<K, V> = HashTrieMapSync<K, V, ahash::RandomState>;
type Set<T> = HashTrieSetSync<T, ahash::RandomState>;

/// All that users registered, at one [`Revision`].
///
/// Persistent: a clone is one pointer, and [`Desired::apply`](Desired::apply) makes the next one at a cost that follows the
/// change. Every instance's and domain's app exists.
#[derive(Clone, Debug)]
pub struct Desired {
    pub(crate) revision: Revision,
    pub(crate) apps: Map<AppId, Arc<App>>,
    pub(crate) instances: Map<InstanceId, Arc<Instance>>,
    pub(crate) domains: Map<Hostname, Arc<Domain>>,
    pub(crate) instances_of: Map<AppId, Set<InstanceId>>,
    pub(crate) domains_of: Map<AppId, Set<Hostname>>,
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
    /// Puts stored records together again. Instances and domains whose app is missing are left out and
    /// returned, so that one lost record harms nothing but what hangs on it.
    pub fn restore(
        revision: Revision,
        apps: impl IntoIterator<Item = App>,
        instances: impl IntoIterator<Item = Instance>,
        domains: impl IntoIterator<Item = Domain>,
    ) -> (Self, Vec<InstanceId>, Vec<Hostname>) {
        let mut desired = Self { revision, ..Self::default() };
        for app in apps {
            desired.put_app(app);
        }
        let (mut instances_left, mut domains_left) = (Vec::new(), Vec::new());
        for instance in instances {
            if desired.apps.contains_key(&instance.app) {
                desired.put_instance(instance);
            } else {
                instances_left.push(instance.id);
            }
        }
        for domain in domains {
            if desired.apps.contains_key(&domain.app) {
                desired.put_domain(domain);
            } else {
                domains_left.push(domain.name);
            }
        }
        (desired, instances_left, domains_left)
    }

    /// The revision that made this state.
    pub fn revision(&self) -> Revision {
        self.revision
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

    /// How many apps there are.
    pub fn app_count(&self) -> usize {
        self.apps.size()
    }

    /// How many instances there are.
    pub fn instance_count(&self) -> usize {
        self.instances.size()
    }

    /// How many domains there are.
    pub fn domain_count(&self) -> usize {
        self.domains.size()
    }

    /// How many instances an app has.
    pub fn instance_count_of(&self, app: &str) -> usize {
        self.instances_of.get(app).map_or(0, Set::size)
    }

    /// How many domains an app has.
    pub fn domain_count_of(&self, app: &str) -> usize {
        self.domains_of.get(app).map_or(0, Set::size)
    }

    pub(crate) fn put_app(&mut self, app: App) {
        self.apps.insert_mut(app.id.clone(), Arc::new(app));
    }

    pub(crate) fn put_instance(&mut self, instance: Instance) {
        link(&mut self.instances_of, &instance.app, instance.id.clone());
        self.instances.insert_mut(instance.id.clone(), Arc::new(instance));
    }

    pub(crate) fn put_domain(&mut self, domain: Domain) {
        if let Some(old) = self.domains.get(&domain.name)
            && old.app != domain.app
        {
            let old = old.app.clone();
            unlink(&mut self.domains_of, &old, &domain.name);
        }
        link(&mut self.domains_of, &domain.app, domain.name.clone());
        self.domains.insert_mut(domain.name.clone(), Arc::new(domain));
    }

    pub(crate) fn remove_app(&mut self, id: &AppId) {
        self.apps.remove_mut(id);
        self.instances_of.remove_mut(id);
        self.domains_of.remove_mut(id);
    }

    pub(crate) fn remove_instance(&mut self, app: &AppId, id: &InstanceId) {
        self.instances.remove_mut(id);
        unlink(&mut self.instances_of, app, id);
    }

    pub(crate) fn remove_domain(&mut self, app: &AppId, name: &Hostname) {
        self.domains.remove_mut(name);
        unlink(&mut self.domains_of, app, name);
    }
}

fn map<K: Eq + std::hash::Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(ahash::RandomState::new())
}

fn link<T: Eq + std::hash::Hash + Clone>(index: &mut Map<AppId, Set<T>>, app: &AppId, item: T) {
    match index.get_mut(app) {
        Some(set) => set.insert_mut(item),
        None => {
            let mut set = Set::new_with_hasher_with_ptr_kind(ahash::RandomState::new());
            set.insert_mut(item);
            index.insert_mut(app.clone(), set);
        }
    }
}

fn unlink<T: Eq + std::hash::Hash>(index: &mut Map<AppId, Set<T>>, app: &AppId, item: &T) {
    let Some(set) = index.get_mut(app) else { return };
    set.remove_mut(item);
    if set.is_empty() {
        index.remove_mut(app);
    }
}
