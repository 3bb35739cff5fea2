//! From what users registered to what cores route by, at a cost that follows the change.
//!
//! ```text
//! Compiler ── compile(desired, deltas) ──► Compiled ── commit ──► Published { snapshot, … }
//!    ▲      (the store says no: drop it)                 │
//!    └───────────────────────────────────────────────────┘
//! ```
//! Compiling changes nothing: ids, metric slots and the snapshot in use move on at [`Compiler::commit`]. Deltas only
//! name what to look at; what becomes of it is read from the desired state, so that a batch of changes is compiled
//! once, whatever happened in between.
//!
//! The compiler also knows the addresses of names, for endpoints have to be compiled with them: [`Published`] tells
//! which names are new, and [`Compiler::update_addresses`] takes what the resolver found.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ringway_model::{
    AppId, Delta, Desired, Domain, Hostname, Instance, InstanceId, Scheme, Serial, Target, TargetHost,
    TenantId, limits,
};
use rpds::QueueSync;

use crate::balance::affinity;
use crate::breaker::EndpointState;
use crate::snapshot::{
    CertificateVersion, Endpoint, EndpointId, Map, MetricSlot, Pool, PoolId, Route, RouteId, Snapshot, map,
};

/// How a compiler compiles.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Key of the hash that stands for a tenant in access logs; readers of the logs must not know it.
    pub hash_key: u64,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

/// Compiles snapshots; lives on the control thread.
#[derive(Clone, Debug)]
pub struct Compiler {
    settings: Settings,
    state: State,
}

/// A snapshot that is not in use yet. Dropping it undoes everything.
#[derive(Debug)]
#[must_use = "nothing is published before it is committed"]
pub struct Compiled {
    /// The serial of the snapshot that it was made from.
    base: Serial,
    state: State,
    effects: Effects,
}

/// A snapshot in use, and what else follows from it.
#[derive(Debug)]
pub struct Published {
    /// For all cores.
    pub snapshot: Arc<Snapshot>,
    /// What metric slots stand for from now on, in this order.
    pub slots: Vec<SlotChange>,
    /// Names that have to be resolved from now on; their endpoints take no traffic until then.
    pub names_added: Vec<Hostname>,
    /// Names that need not be resolved any more.
    pub names_removed: Vec<Hostname>,
    /// What was compiled.
    pub work: Work,
}

/// How much was compiled. Everything else is shared with the snapshot before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Routes that were made, changed or removed.
    pub routes: usize,
    /// Pools that were made, changed or removed.
    pub pools: usize,
}

/// A metric slot got another meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotChange {
    /// It stands for a route, or for the same route to another app.
    NameRoute {
        /// Which slot.
        slot: MetricSlot,
        /// The domain.
        host: Hostname,
        /// The app that serves it.
        app: AppId,
    },
    /// It stands for no route.
    FreeRoute {
        /// Which slot.
        slot: MetricSlot,
    },
    /// It stands for a pool.
    NamePool {
        /// Which slot.
        slot: MetricSlot,
        /// The pool's app.
        app: AppId,
    },
    /// It stands for no pool.
    FreePool {
        /// Which slot.
        slot: MetricSlot,
    },
    /// It stands for an endpoint.
    NameEndpoint {
        /// Which slot.
        slot: MetricSlot,
        /// The app that it serves.
        app: AppId,
        /// The instance behind it.
        instance: InstanceId,
        /// Where that listens.
        target: Target,
    },
    /// It stands for no endpoint.
    FreeEndpoint {
        /// Which slot.
        slot: MetricSlot,
    },
}

/// A compiled snapshot was not committed, for another one was committed since it was made: compile again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated;

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another snapshot was published since this one was compiled")
    }
}

impl std::error::Error for Outdated {}

/// What a commit replaces. Persistent: a clone is a few pointers.
#[derive(Clone, Debug)]
struct State {
    snapshot: Arc<Snapshot>,
    routes_made: u64,
    pools_made: u64,
    endpoints_made: u64,
    route_slots: Slots,
    pool_slots: Slots,
    endpoint_slots: Slots,
    names: Map<Hostname, Name>,
    certificates: Map<Hostname, CertificateVersion>,
}

/// A name that targets have.
#[derive(Clone, Debug)]
struct Name {
    /// What it resolves to, in the resolver's order; empty until it did.
    addresses: Arc<[IpAddr]>,
    /// The apps with instances there, and how many each has.
    users: Map<AppId, u32>,
}

/// What is done at commit, beside replacing the state.
#[derive(Debug, Default)]
struct Effects {
    slots: Vec<SlotChange>,
    names_added: Vec<Hostname>,
    names_removed: Vec<Hostname>,
    renewed: Vec<Arc<EndpointState>>,
    work: Work,
}

impl Compiler {
    /// A compiler whose snapshot is empty.
    pub fn new(settings: Settings) -> Self {
        let state = State {
            snapshot: Arc::new(Snapshot::default()),
            routes_made: 0,
            pools_made: 0,
            endpoints_made: 0,
            route_slots: Slots::default(),
            pool_slots: Slots::default(),
            endpoint_slots: Slots::default(),
            names: map(),
            certificates: map(),
        };
        Self { settings, state }
    }

    /// The snapshot in use.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.state.snapshot
    }

    /// The names that have to be resolved, in no order.
    pub fn names(&self) -> impl Iterator<Item = &Hostname> {
        self.state.names.keys()
    }

    /// What a name resolves to as far as is known; `None` when no target has it.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.state.names.get(name).map(|name| &*name.addresses)
    }

    /// Compiles `desired`, which differs from what the snapshot in use was compiled from by `deltas`.
    ///
    /// The cost follows the deltas: a route for each domain, and for each app that got or lost an instance a pool.
    pub fn compile(&self, desired: &Desired, deltas: &[Delta]) -> Compiled {
        let mut apps = BTreeSet::new();
        let mut hosts = BTreeSet::new();
        for delta in deltas {
            match delta {
                Delta::PutApp(app) => apps.insert(&app.id),
                Delta::RemoveApp(app) | Delta::RemoveInstance(app, _) => apps.insert(app),
                Delta::PutInstance(instance) => apps.insert(&instance.app),
                Delta::PutDomain(domain) => hosts.insert(&domain.name),
                Delta::RemoveDomain(host) => hosts.insert(host),
            };
        }
        self.compile_these(desired, apps.into_iter(), hosts.into_iter())
    }

    /// Compiles what a resolver says beside the configuration: another set of apps, instances and domains, whose names are
    /// not those of the configuration. The snapshot has the same revision and the next serial.
    pub fn compile_resolved(&self, resolved: &Desired, deltas: &[Delta]) -> Compiled {
        let mut compiled = self.compile(resolved, deltas);
        Arc::make_mut(&mut compiled.state.snapshot).revision = self.state.snapshot.revision;
        compiled
    }

    /// Compiles all of `desired`, whatever the snapshot in use was compiled from. What is the same keeps its id.
    pub fn compile_all(&self, desired: &Desired) -> Compiled {
        // The oldest first, so that the same ones have metric slots of their own after every start.
        let mut apps: Vec<_> = desired.apps().collect();
        apps.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let mut domains: Vec<_> = desired.domains().collect();
        domains.sort_unstable_by(|a, b| (a.created_at, &a.name).cmp(&(b.created_at, &b.name)));
        let old = &self.state.snapshot;
        let gone_apps = old.pool_ids.keys().filter(|app| desired.app(app.as_str()).is_none());
        let gone_hosts = old.routes.keys().filter(|host| desired.domain(host.as_str()).is_none());
        self.compile_these(
            desired,
            gone_apps.chain(apps.iter().map(|app| &app.id)),
            gone_hosts.chain(domains.iter().map(|domain| &domain.name)),
        )
    }

    /// Takes what `name` resolves to. The snapshot has the same revision and the next serial.
    ///
    /// `None` when nothing follows: no target has the name, or the addresses are those that are known, in whatever
    /// order, for many resolvers turn them round at each answer. [`limits::DNS_ADDRESSES_MAX`] are used. When a
    /// resolution fails, keep what is known and do not call this; none at all takes the endpoints out of rotation.
    pub fn update_addresses(&self, name: &Hostname, addresses: &[IpAddr]) -> Option<Compiled> {
        let known = self.state.names.get(name)?;
        let mut seen = HashSet::new();
        let new: Vec<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|address| seen.insert(*address))
            .take(limits::DNS_ADDRESSES_MAX)
            .collect();
        if new.len() == known.addresses.len() && known.addresses.iter().all(|address| new.contains(address)) {
            return None;
        }
        let mut draft = Draft::new(self);
        let apps: Vec<AppId> = known.users.keys().cloned().collect();
        if let Some(name) = draft.state.names.get_mut(name) {
            name.addresses = new.into();
        }
        for app in &apps {
            draft.readdress_pool(app, name);
        }
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Takes which certificates domains have now, or that they have none. The snapshot has the same revision and the next
    /// serial. `None` when nothing follows for any route; what is said of a domain that has no route yet is kept for it.
    pub fn update_certificates(
        &mut self,
        updates: &[(Hostname, Option<CertificateVersion>)],
    ) -> Option<Compiled> {
        let mut changed = Vec::new();
        for (host, version) in updates {
            let before = match version {
                Some(version) => {
                    let before = self.state.certificates.get(host).copied();
                    self.state.certificates.insert_mut(host.clone(), *version);
                    before
                }
                None => {
                    let before = self.state.certificates.get(host).copied();
                    self.state.certificates.remove_mut(host);
                    before
                }
            };
            if before != *version && self.state.snapshot.routes.contains_key(host) {
                changed.push((host, *version));
            }
        }
        if changed.is_empty() {
            return None;
        }
        let mut draft = Draft::new(self);
        for (host, certificate) in changed {
            if let Some(route) = draft.snapshot.routes.get(host).cloned() {
                let route = Route { certificate, ..Route::clone(&route) };
                draft.snapshot.routes.insert_mut(host.clone(), Arc::new(route));
                draft.effects.work.routes += 1;
            }
        }
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Takes the operator's default certificate. The same revision, the next serial; `None` when it is the same.
    pub fn update_default_certificate(&self, version: Option<CertificateVersion>) -> Option<Compiled> {
        if self.state.snapshot.default_certificate == version {
            return None;
        }
        let mut draft = Draft::new(self);
        draft.snapshot.default_certificate = version;
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Answers a challenge of the CA from now on, or no more. The same revision, the next serial; `None` when it is so already.
    /// [`limits::CHALLENGES_MAX`] are kept; whoever makes orders stays far below.
    pub fn update_challenge(&self, token: &str, key_authorization: Option<Arc<str>>) -> Option<Compiled> {
        let challenges = &self.state.snapshot.challenges;
        if challenges.get(token) == key_authorization.as_ref()
            || (key_authorization.is_some() && challenges.size() >= limits::CHALLENGES_MAX)
        {
            return None;
        }
        let mut draft = Draft::new(self);
        match key_authorization {
            Some(answer) => draft.snapshot.challenges.insert_mut(token.into(), answer),
            None => {
                draft.snapshot.challenges.remove_mut(token);
            }
        }
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Puts a compiled snapshot in use: from now on it is what the next one is compiled from.
    ///
    /// Endpoints that registered again are [renewed](EndpointState::renew).
    pub fn commit(&mut self, compiled: Compiled) -> Result<Published, Outdated> {
        if compiled.base != self.state.snapshot.serial {
            return Err(Outdated);
        }
        self.state = compiled.state;
        let Effects { slots, names_added, names_removed, renewed, work } = compiled.effects;
        for endpoint in renewed {
            endpoint.renew();
        }
        let snapshot = self.state.snapshot.clone();
        Ok(Published { snapshot, slots, names_added, names_removed, work })
    }

    fn compile_these<'a>(
        &self,
        desired: &Desired,
        apps: impl Iterator<Item = &'a AppId>,
        hosts: impl Iterator<Item = &'a Hostname>,
    ) -> Compiled {
        let mut draft = Draft::new(self);
        for app in apps {
            match desired.app(app.as_str()) {
                Some(_) => draft.put_pool(desired, app),
                None => draft.remove_pool(app),
            }
        }
        for host in hosts {
            match desired.domain(host.as_str()) {
                Some(domain) => draft.put_route(desired, domain),
                None => draft.remove_route(host),
            }
        }
        draft.finish(self, desired.revision())
    }
}

impl Compiled {
    /// The snapshot as it will be published.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.state.snapshot
    }

    /// What was compiled.
    pub fn work(&self) -> Work {
        self.effects.work
    }
}

/// The next snapshot in the making.
struct Draft {
    settings: Settings,
    snapshot: Snapshot,
    state: State,
    effects: Effects,
    /// Names that lost or got a user. Those without any are dropped at the end: a name that one instance gives up and
    /// another takes in the same batch keeps its addresses.
    names_touched: BTreeSet<Hostname>,
}

impl Draft {
    fn new(compiler: &Compiler) -> Self {
        Self {
            settings: compiler.settings,
            snapshot: Snapshot::clone(&compiler.state.snapshot),
            state: compiler.state.clone(),
            effects: Effects::default(),
            names_touched: BTreeSet::new(),
        }
    }

    fn put_route(&mut self, desired: &Desired, domain: &Domain) {
        let pool = match self.snapshot.pool_ids.get(&domain.app) {
            Some(pool) => *pool,
            None => {
                self.put_pool(desired, &domain.app);
                self.snapshot.pool_ids[&domain.app]
            }
        };
        let old = self.snapshot.routes.get(&domain.name).cloned();
        let (id, metric) = match &old {
            Some(old) => (old.id, old.metric),
            None => (RouteId(count(&mut self.state.routes_made)), self.state.route_slots.take()),
        };
        let route = Route {
            id,
            host: domain.name.clone(),
            app: domain.app.clone(),
            tenant: domain.tenant.clone(),
            tenant_hash: domain.tenant.as_ref().map(|tenant| tenant_hash(self.settings.hash_key, tenant)),
            pool,
            tenant_line: tenant_line(domain.tenant.as_ref()),
            metric,
            kind: domain.kind,
            certificate: self.state.certificates.get(&domain.name).copied(),
            client_auth: domain.client_auth.clone(),
        };
        if old.as_deref() == Some(&route) {
            return;
        }
        if metric != MetricSlot::SHARED && old.is_none_or(|old| old.app != route.app) {
            self.effects.slots.push(SlotChange::NameRoute {
                slot: metric,
                host: route.host.clone(),
                app: route.app.clone(),
            });
        }
        self.snapshot.routes.insert_mut(route.host.clone(), Arc::new(route));
        self.effects.work.routes += 1;
    }

    fn remove_route(&mut self, host: &Hostname) {
        let Some(old) = self.snapshot.routes.get(host) else { return };
        if self.state.route_slots.give(old.metric) {
            self.effects.slots.push(SlotChange::FreeRoute { slot: old.metric });
        }
        self.snapshot.routes.remove_mut(host);
        self.effects.work.routes += 1;
    }

    fn put_pool(&mut self, desired: &Desired, app: &AppId) {
        let old = self.snapshot.pool_ids.get(app).and_then(|id| self.snapshot.pools.get(id)).cloned();
        let (id, metric) = match &old {
            Some(old) => (old.id, old.metric),
            None => (PoolId(count(&mut self.state.pools_made)), self.state.pool_slots.take()),
        };
        if old.is_none() && metric != MetricSlot::SHARED {
            self.effects.slots.push(SlotChange::NamePool { slot: metric, app: app.clone() });
        }
        let mut instances: Vec<_> = desired.instances_of(app.as_str()).collect();
        instances.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut endpoints = Vec::with_capacity(instances.len());
        let tls = desired.app(app.as_str()).and_then(|app| app.upstream_tls.clone());
        let mut same =
            old.as_ref().is_some_and(|old| old.endpoints.len() == instances.len() && old.tls == tls);
        for instance in instances {
            let known = old.as_ref().and_then(|old| old.endpoint(instance.id.as_str()));
            // Whom to believe has changed: a connection that was made before must not carry requests from now on, and
            // connections go with their endpoint.
            let distrusted =
                instance.target.scheme() == Scheme::Https && old.as_ref().is_some_and(|old| old.tls != tls);
            let endpoint = match known.filter(|known| known.target == instance.target && !distrusted) {
                Some(known) if known.generation == instance.generation => known.clone(),
                Some(known) => {
                    same = false;
                    self.effects.renewed.push(known.state.clone());
                    Endpoint { generation: instance.generation, ..known.clone() }
                }
                None => {
                    same = false;
                    self.make_endpoint(id, instance)
                }
            };
            endpoints.push(endpoint);
        }
        if same {
            return;
        }
        let pool = Pool { id, app: app.clone(), tls, endpoints: endpoints.into(), metric };
        for gone in old.iter().flat_map(|old| &old.endpoints) {
            if pool.endpoint(gone.instance.as_str()).is_none_or(|kept| kept.id != gone.id) {
                self.drop_endpoint(app, gone);
            }
        }
        self.snapshot.pool_ids.insert_mut(app.clone(), id);
        self.snapshot.pools.insert_mut(id, Arc::new(pool));
        self.effects.work.pools += 1;
    }

    fn remove_pool(&mut self, app: &AppId) {
        let Some(id) = self.snapshot.pool_ids.get(app).copied() else { return };
        if let Some(pool) = self.snapshot.pools.get(&id).cloned() {
            for endpoint in &pool.endpoints {
                self.drop_endpoint(app, endpoint);
            }
            if self.state.pool_slots.give(pool.metric) {
                self.effects.slots.push(SlotChange::FreePool { slot: pool.metric });
            }
        }
        self.snapshot.pools.remove_mut(&id);
        self.snapshot.pool_ids.remove_mut(app);
        self.effects.work.pools += 1;
    }

    /// Gives the endpoints at `name` its addresses. They keep their ids: connections to the former addresses serve
    /// until they end by themselves.
    fn readdress_pool(&mut self, app: &AppId, name: &Hostname) {
        let Some(pool) = self.snapshot.pool_ids.get(app).and_then(|id| self.snapshot.pools.get(id)) else {
            return;
        };
        let endpoints = pool.endpoints.iter().map(|endpoint| match endpoint.name() == Some(name) {
            true => Endpoint { addresses: self.addresses_of(&endpoint.target), ..endpoint.clone() },
            false => endpoint.clone(),
        });
        let pool = Pool { endpoints: endpoints.collect(), ..Pool::clone(pool) };
        self.snapshot.pools.insert_mut(pool.id, Arc::new(pool));
        self.effects.work.pools += 1;
    }

    fn make_endpoint(&mut self, pool: PoolId, instance: &Instance) -> Endpoint {
        let id = EndpointId(count(&mut self.state.endpoints_made));
        let metric = self.state.endpoint_slots.take();
        if metric != MetricSlot::SHARED {
            self.effects.slots.push(SlotChange::NameEndpoint {
                slot: metric,
                app: instance.app.clone(),
                instance: instance.id.clone(),
                target: instance.target.clone(),
            });
        }
        if let TargetHost::Name(name) = instance.target.host() {
            self.use_name(name, &instance.app);
        }
        self.snapshot.endpoints.insert_mut(id, pool);
        Endpoint {
            id,
            instance: instance.id.clone(),
            generation: instance.generation,
            target: instance.target.clone(),
            addresses: self.addresses_of(&instance.target),
            state: Arc::new(EndpointState::default()),
            metric,
            affinity: affinity(instance.id.as_str()),
        }
    }

    fn drop_endpoint(&mut self, app: &AppId, endpoint: &Endpoint) {
        if self.state.endpoint_slots.give(endpoint.metric) {
            self.effects.slots.push(SlotChange::FreeEndpoint { slot: endpoint.metric });
        }
        if let Some(name) = endpoint.name() {
            self.leave_name(name, app);
        }
        self.snapshot.endpoints.remove_mut(&endpoint.id);
        self.snapshot.endpoints_removed += 1;
    }

    fn addresses_of(&self, target: &Target) -> Box<[SocketAddr]> {
        match target.host() {
            TargetHost::Address(address) => [SocketAddr::new(*address, target.port())].into(),
            TargetHost::Name(name) => match self.state.names.get(name) {
                Some(name) => {
                    name.addresses.iter().map(|address| SocketAddr::new(*address, target.port())).collect()
                }
                None => [].into(),
            },
        }
    }

    fn use_name(&mut self, name: &Hostname, app: &AppId) {
        self.names_touched.insert(name.clone());
        let mut entry = match self.state.names.get(name) {
            Some(entry) => entry.clone(),
            None => Name { addresses: [].into(), users: map() },
        };
        let count = entry.users.get(app).copied().unwrap_or(0) + 1;
        entry.users.insert_mut(app.clone(), count);
        self.state.names.insert_mut(name.clone(), entry);
    }

    fn leave_name(&mut self, name: &Hostname, app: &AppId) {
        self.names_touched.insert(name.clone());
        let Some(entry) = self.state.names.get_mut(name) else { return };
        match entry.users.get(app).copied() {
            Some(count) if count > 1 => entry.users.insert_mut(app.clone(), count - 1),
            Some(_) | None => {
                entry.users.remove_mut(app);
            }
        }
    }

    fn finish(mut self, compiler: &Compiler, revision: ringway_model::Revision) -> Compiled {
        for name in std::mem::take(&mut self.names_touched) {
            let is_used = self.state.names.get(&name).is_some_and(|entry| !entry.users.is_empty());
            let was_known = compiler.state.names.contains_key(&name);
            if !is_used {
                self.state.names.remove_mut(&name);
            }
            match (was_known, is_used) {
                (false, true) => self.effects.names_added.push(name),
                (true, false) => self.effects.names_removed.push(name),
                (true, true) | (false, false) => {}
            }
        }
        let base = compiler.state.snapshot.serial;
        self.snapshot.serial = base.next();
        self.snapshot.revision = revision;
        self.state.snapshot = Arc::new(self.snapshot);
        Compiled { base, state: self.state, effects: self.effects }
    }
}

/// The metric slots of one kind. Of the free ones, the one that has been free the longest is taken: an exchange that
/// began under its former owner may still be counted.
#[derive(Clone, Debug)]
struct Slots {
    used_max: u16,
    free: QueueSync<u16>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { used_max: 0, free: QueueSync::new_sync() }
    }
}

impl Slots {
    fn take(&mut self) -> MetricSlot {
        if usize::from(self.used_max) < limits::METRIC_SLOTS_MAX {
            self.used_max += 1;
            return MetricSlot(self.used_max);
        }
        let Some(slot) = self.free.peek().copied() else { return MetricSlot::SHARED };
        self.free.dequeue_mut();
        MetricSlot(slot)
    }

    /// Whether it was a slot that somebody else can have now.
    fn give(&mut self, slot: MetricSlot) -> bool {
        let own = slot != MetricSlot::SHARED;
        if own {
            self.free.enqueue_mut(slot.0);
        }
        own
    }
}

const _: () = assert!(limits::METRIC_SLOTS_MAX < u16::MAX as usize, "a slot has sixteen bits");

fn count(made: &mut u64) -> u64 {
    *made += 1;
    *made
}

fn tenant_line(tenant: Option<&TenantId>) -> Box<[u8]> {
    match tenant {
        Some(tenant) => format!("X-Tenant-ID: {tenant}\r\n").into_bytes().into(),
        None => [].into(),
    }
}

/// The same as `telemetry::TenantHash::new`, which may not be imported here.
fn tenant_hash(key: u64, tenant: &TenantId) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(key);
    hasher.write(tenant.as_str().as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
