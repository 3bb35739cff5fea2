//! Incremental compiler from the registered configuration to snapshots; its cost follows the size of the
//! change.
//!
//! ```text
//! Compiler ── compile(desired, deltas) ──► Compiled ── commit ──► Published { snapshot, … }
//!    ▲      (the store fails: drop it)                   │
//!    └───────────────────────────────────────────────────┘
//! ```
//! Compiling changes nothing: ids, metric slots and the snapshot in use move on at [`Compiler::commit`].
//! Deltas only name the changed resources; their state is read from the desired configuration, which compiles
//! a batch of changes once, whatever its intermediate states.
//!
//! The compiler also holds the addresses of names, because endpoints contain them: [`Published`] lists new
//! names, and [`Compiler::update_addresses`] takes their resolved addresses.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_model::{
    AppId, Delta, Desired, Health, HostPattern, Hostname, InstanceId, Kind, Resource, Serial, Target, limits,
};

use self::draft::Draft;
use self::slots::Slots;
use crate::breaker::EndpointState;
use crate::policy::Defaults;
use crate::snapshot::{CertificateVersion, Map, MetricSlot, Snapshot, map};
use crate::virtual_host::{TlsSettings, VirtualHost};

mod draft;
mod slots;

/// Settings of a compiler.
#[derive(Clone, Default)]
pub struct CompilerSettings {
    /// Key of the pseudonyms of tenants in access logs; readers of the logs must not know it.
    pub hash_key: u64,
    /// Number of data cores, which have numbers from 0: each has its own counters of an endpoint's requests.
    pub cores: usize,
    /// Default settings of rules and pools.
    pub defaults: Defaults,
}

impl fmt::Debug for CompilerSettings {
    /// Omits the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompilerSettings").field("cores", &self.cores).finish_non_exhaustive()
    }
}

/// Compiles snapshots; lives on the control thread.
#[derive(Clone, Debug)]
pub struct Compiler {
    settings: CompilerSettings,
    state: State,
}

/// Compiled snapshot that is not published yet. Dropping it discards the change.
#[derive(Debug)]
#[must_use = "nothing is published before it is committed"]
pub struct Compiled {
    /// Serial of the snapshot that it was compiled from.
    base: Serial,
    state: State,
    effects: Effects,
}

/// Published snapshot and its side effects.
#[derive(Debug)]
pub struct Published {
    /// For all cores.
    pub snapshot: Arc<Snapshot>,
    /// Changes of metric slots, in order.
    pub slots: Vec<SlotChange>,
    /// Names to resolve from now on; their endpoints take no traffic until they have addresses.
    pub names_added: Vec<Hostname>,
    /// Names that no endpoint uses, whose resolution ends.
    pub names_removed: Vec<Hostname>,
    /// Size of the compilation.
    pub work: Work,
}

/// Size of a compilation. Everything else is shared with the previous snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Virtual hosts that were added, changed or removed.
    pub hosts: usize,
    /// Pools that were added, changed or removed.
    pub pools: usize,
}

/// Assignment or release of a metric slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotChange {
    /// Assigned to a route, or to the same route with another app.
    NameRoute {
        /// The slot.
        slot: MetricSlot,
        /// The domain, or the id of an operator's route.
        route: Arc<str>,
        /// The app or pool that serves it, if it forwards requests.
        app: Option<AppId>,
    },
    /// Released by its route.
    FreeRoute {
        /// The slot.
        slot: MetricSlot,
    },
    /// Assigned to a pool.
    NamePool {
        /// The slot.
        slot: MetricSlot,
        /// The pool's app.
        app: AppId,
    },
    /// Released by its pool.
    FreePool {
        /// The slot.
        slot: MetricSlot,
    },
    /// Assigned to an endpoint.
    NameEndpoint {
        /// The slot.
        slot: MetricSlot,
        /// The app that it serves.
        app: AppId,
        /// The instance behind it.
        instance: InstanceId,
        /// The instance's target.
        target: Target,
    },
    /// Released by its endpoint.
    FreeEndpoint {
        /// The slot.
        slot: MetricSlot,
    },
}

/// Commit conflict: another snapshot was committed since this one was compiled. Compile again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outdated;

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another snapshot was published since this one was compiled")
    }
}

impl std::error::Error for Outdated {}

/// State that a commit replaces. Its maps are persistent: a clone copies a few pointers.
#[derive(Clone, Debug)]
struct State {
    snapshot: Arc<Snapshot>,
    rules_made: u64,
    pools_made: u64,
    endpoints_made: u64,
    rule_slots: Slots,
    pool_slots: Slots,
    endpoint_slots: Slots,
    names: Map<Hostname, Name>,
    certificates: Map<Hostname, CertificateVersion>,
}

/// Host name of one or more targets.
#[derive(Clone, Debug)]
struct Name {
    /// Its addresses, in the resolver's order; empty until it is resolved.
    addresses: Arc<[IpAddr]>,
    /// Apps with instances at the name, and their number.
    users: Map<AppId, u32>,
}

/// Effects of a commit, other than the new state.
#[derive(Debug, Default)]
struct Effects {
    slots: Vec<SlotChange>,
    names_added: Vec<Hostname>,
    names_removed: Vec<Hostname>,
    renewed: Vec<Arc<EndpointState>>,
    work: Work,
}

impl Compiler {
    /// Returns a compiler with an empty snapshot.
    pub fn new(settings: CompilerSettings) -> Self {
        let state = State {
            snapshot: Arc::new(Snapshot::default()),
            rules_made: 0,
            pools_made: 0,
            endpoints_made: 0,
            rule_slots: Slots::default(),
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

    /// Names to resolve, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &Hostname> {
        self.state.names.keys()
    }

    /// Known addresses of a name; `None` when no target has it.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.state.names.get(name).map(|name| &*name.addresses)
    }

    /// Compiles `desired`, which differs by `deltas` from the configuration of the snapshot in use.
    ///
    /// The cost follows the deltas: a virtual host for each domain, and a pool for each app that got or lost
    /// an instance. New endpoints are [joining](Health::Joining): until their first health check succeeds,
    /// endpoints in rotation are preferred.
    pub fn compile(&self, desired: &Desired, deltas: &[Delta]) -> Compiled {
        let touched = Touched::of(desired, deltas);
        self.compile_these(desired, Health::Joining, touched)
    }

    /// Compiles the overlay of discovered hosts: apps, instances and domains of an external resolver, with
    /// names that do not occur in the configuration. The snapshot has the same revision and the next serial.
    pub fn compile_resolved(&self, resolved: &Desired, deltas: &[Delta]) -> Compiled {
        let touched = Touched::of(resolved, deltas);
        // Discovered instances have no health checks: they take traffic at once.
        let mut compiled = self.compile_these(resolved, Health::Unknown, touched);
        Arc::make_mut(&mut compiled.state.snapshot).revision = self.state.snapshot.revision;
        compiled
    }

    /// Compiles all of `desired`, independent of the configuration of the snapshot in use. Unchanged items
    /// keep their ids.
    pub fn compile_all(&self, desired: &Desired) -> Compiled {
        // The oldest first: the same items get metric slots of their own after every start.
        let mut apps: Vec<_> = desired.apps().collect();
        apps.sort_unstable_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let domains =
            desired.domains().map(|domain| (domain.created_at, HostPattern::Exact(domain.name.clone())));
        let routes = desired.routes().map(|route| (route.created_at, route.spec.host.clone()));
        let mut hosts: Vec<_> = domains.chain(routes).collect();
        hosts.sort_unstable();
        hosts.dedup_by(|a, b| a.1 == b.1);
        let old = &self.state.snapshot;
        let gone_apps = old.pool_ids.keys().filter(|app| desired.app(app.as_str()).is_none());
        let touched = Touched {
            apps: gone_apps.chain(apps.iter().map(|app| &app.id)).cloned().collect(),
            hosts: old
                .virtual_hosts()
                .map(|host| host.host.clone())
                .filter(|host| !is_served(desired, host))
                .chain(hosts.into_iter().map(|(_, host)| host))
                .collect(),
        };
        self.compile_these(desired, Health::Unknown, touched)
    }

    /// Sets the resolved addresses of `name`. The snapshot has the same revision and the next serial.
    ///
    /// `None` without an effect: no target has the name, or the set of addresses is the same; many resolvers
    /// rotate their order. At most [`limits::DNS_ADDRESSES_MAX`] are used. Not to be called after a failed
    /// resolution, which keeps the known addresses; an empty list takes the endpoints out of rotation.
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

    /// Sets or removes the certificate versions of domains. The snapshot has the same revision and the next
    /// serial. `None` when no virtual host changes; the version of a domain without a virtual host is kept
    /// until it has one.
    pub fn update_certificates(
        &mut self,
        updates: &[(Hostname, Option<CertificateVersion>)],
    ) -> Option<Compiled> {
        let mut changed = Vec::new();
        for (host, version) in updates {
            let before = self.state.certificates.get(host).copied();
            match version {
                Some(version) => self.state.certificates.insert_mut(host.clone(), *version),
                None => {
                    self.state.certificates.remove_mut(host);
                }
            }
            if before != *version && self.state.snapshot.hosts.contains_key(host) {
                changed.push((host, *version));
            }
        }
        if changed.is_empty() {
            return None;
        }
        let mut draft = Draft::new(self);
        for (host, certificate) in changed {
            if let Some(known) = draft.snapshot.hosts.get(host).cloned() {
                let tls = TlsSettings { certificate, ..known.tls.clone() };
                let known = VirtualHost { tls, ..VirtualHost::clone(&known) };
                draft.snapshot.hosts.insert_mut(host.clone(), Arc::new(known));
                draft.effects.work.hosts += 1;
            }
        }
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Sets the operator's default certificate. The same revision, the next serial; `None` when it is
    /// unchanged.
    pub fn update_default_certificate(&self, version: Option<CertificateVersion>) -> Option<Compiled> {
        if self.state.snapshot.default_certificate == version {
            return None;
        }
        let mut draft = Draft::new(self);
        draft.snapshot.default_certificate = version;
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Adds or removes the response to a CA's challenge. The same revision, the next serial; `None` when
    /// nothing changes, or beyond [`limits::CHALLENGES_MAX`], which the orders in flight stay far below.
    pub fn update_challenge(&self, token: &str, key_authorization: Option<Arc<str>>) -> Option<Compiled> {
        let challenges = &self.state.snapshot.challenges;
        if challenges.get(token) == key_authorization.as_ref()
            || (key_authorization.is_some() && challenges.size() >= limits::CHALLENGES_MAX)
        {
            return None;
        }
        let mut draft = Draft::new(self);
        match key_authorization {
            Some(response) => draft.snapshot.challenges.insert_mut(token.into(), response),
            None => {
                draft.snapshot.challenges.remove_mut(token);
            }
        }
        Some(draft.finish(self, self.state.snapshot.revision))
    }

    /// Publishes a compiled snapshot: it becomes the base of the next compilation.
    ///
    /// Endpoints that registered again are [renewed](EndpointState::renew).
    ///
    /// # Errors
    /// [`Outdated`], without an effect.
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

    fn compile_these(&self, desired: &Desired, new_health: Health, touched: Touched) -> Compiled {
        let mut draft = Draft::new(self);
        draft.new_health = new_health;
        let mut hosts = touched.hosts;
        for app in &touched.apps {
            if draft.put_or_remove_pool(desired, app) {
                hosts.extend(hosts_of_app(desired, app));
            }
        }
        let mut done = HashSet::new();
        for host in &hosts {
            if done.insert(host) {
                draft.put_or_remove_host(desired, host);
            }
        }
        draft.remove_unused_pools(desired);
        draft.finish(self, desired.revision())
    }
}

/// Apps and hosts that deltas concern, in the order of their compilation.
struct Touched {
    apps: Vec<AppId>,
    hosts: Vec<HostPattern>,
}

impl Touched {
    fn of(desired: &Desired, deltas: &[Delta]) -> Self {
        let mut apps = BTreeSet::new();
        let mut hosts = BTreeSet::new();
        for delta in deltas {
            let (Delta::Put(resource) | Delta::Remove(resource)) = delta;
            match resource {
                Resource::App(app) => _ = apps.insert(app.id.clone()),
                Resource::Instance(instance) => _ = apps.insert(instance.app.clone()),
                Resource::Domain(domain) => _ = hosts.insert(HostPattern::Exact(domain.name.clone())),
                Resource::Route(route) => _ = hosts.insert(route.spec.host.clone()),
                Resource::Policy(policy) => {
                    for (kind, key, _) in desired.users_of_policy(policy.id.as_str()) {
                        match kind {
                            Kind::App => apps.extend(desired.app(&key).map(|app| app.id.clone())),
                            Kind::Domain => {
                                let domain = desired.domain(&key);
                                hosts.extend(domain.map(|domain| HostPattern::Exact(domain.name.clone())));
                            }
                            Kind::Route => {
                                hosts.extend(desired.route(&key).map(|route| route.spec.host.clone()));
                            }
                            Kind::Instance | Kind::Policy | Kind::ConfigVersion => {}
                        }
                    }
                }
                Resource::ConfigVersion(_) => {}
            }
        }
        Self { apps: apps.into_iter().collect(), hosts: hosts.into_iter().collect() }
    }
}

/// Hosts whose rules forward to an app.
fn hosts_of_app(desired: &Desired, app: &AppId) -> Vec<HostPattern> {
    let domains = desired.domains_of(app.as_str()).map(|domain| HostPattern::Exact(domain.name.clone()));
    let routes = desired.routes_of_pool(app.as_str()).map(|route| route.spec.host.clone());
    domains.chain(routes).collect()
}

/// Whether a domain or route serves a host.
fn is_served(desired: &Desired, host: &HostPattern) -> bool {
    host.exact().is_some_and(|name| desired.domain(name.as_str()).is_some())
        || desired.routes_of_host(host).next().is_some()
}

impl Compiled {
    /// The snapshot as it will be published.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.state.snapshot
    }

    /// Size of the compilation.
    pub fn work(&self) -> Work {
        self.effects.work
    }
}

#[cfg(test)]
mod tests;
