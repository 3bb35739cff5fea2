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
use std::net::IpAddr;
use std::sync::Arc;

use ringway_model::{AppId, Delta, Desired, Health, Hostname, InstanceId, Resource, Serial, Target, limits};

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
    /// Data cores, which are numbered from 0: each counts the requests of an endpoint by itself.
    pub cores: usize,
    /// Settings of rules and pools that have no others.
    pub defaults: Defaults,
}

impl fmt::Debug for CompilerSettings {
    /// Without the key.
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
    /// New meanings of metric slots, in this order.
    pub slots: Vec<SlotChange>,
    /// Names that have to be resolved from now on; their endpoints take no traffic until then.
    pub names_added: Vec<Hostname>,
    /// Names that need not be resolved any more.
    pub names_removed: Vec<Hostname>,
    /// Size of the compilation.
    pub work: Work,
}

/// Size of a compilation. Everything else is shared with the snapshot before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Virtual hosts that were made, changed or removed.
    pub hosts: usize,
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

/// State that a commit replaces. Persistent: a clone is a few pointers.
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

/// A name that targets have.
#[derive(Clone, Debug)]
struct Name {
    /// Its addresses, in the resolver's order; empty until it did.
    addresses: Arc<[IpAddr]>,
    /// The apps with instances there, and how many each has.
    users: Map<AppId, u32>,
}

/// Effects of a commit, beside replacing the state.
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

    /// The names that have to be resolved, in no order.
    pub fn names(&self) -> impl Iterator<Item = &Hostname> {
        self.state.names.keys()
    }

    /// Known addresses of a name; `None` when no target has it.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.state.names.get(name).map(|name| &*name.addresses)
    }

    /// Compiles `desired`, which differs from what the snapshot in use was compiled from by `deltas`.
    ///
    /// The cost follows the deltas: a route for each domain, and for each app that got or lost an instance a pool. New
    /// endpoints [join](Health::Joining): whoever is in rotation serves until their first check succeeds.
    pub fn compile(&self, desired: &Desired, deltas: &[Delta]) -> Compiled {
        let (apps, hosts) = touched(deltas);
        self.compile_these(desired, Health::Joining, apps.into_iter(), hosts.into_iter())
    }

    /// Compiles what a resolver says beside the configuration: another set of apps, instances and domains, whose names are
    /// not those of the configuration. The snapshot has the same revision and the next serial.
    pub fn compile_resolved(&self, resolved: &Desired, deltas: &[Delta]) -> Compiled {
        let (apps, hosts) = touched(deltas);
        // Nothing checks their health: they take traffic at once.
        let mut compiled = self.compile_these(resolved, Health::Unknown, apps.into_iter(), hosts.into_iter());
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
        let gone_hosts = old.hosts.keys().filter(|host| desired.domain(host.as_str()).is_none());
        self.compile_these(
            desired,
            Health::Unknown,
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
    ///
    /// # Errors
    /// [`Outdated`], and nothing is changed.
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
        newcomers: Health,
        apps: impl Iterator<Item = &'a AppId>,
        hosts: impl Iterator<Item = &'a Hostname>,
    ) -> Compiled {
        let mut draft = Draft::new(self);
        draft.newcomers = newcomers;
        for app in apps {
            match desired.app(app.as_str()) {
                Some(_) => draft.put_pool(desired, app),
                None => draft.remove_pool(app),
            }
        }
        for host in hosts {
            match desired.domain(host.as_str()) {
                Some(domain) => draft.put_host(desired, domain),
                None => draft.remove_host(host),
            }
        }
        draft.finish(self, desired.revision())
    }
}

/// The apps and domains that deltas concern.
fn touched(deltas: &[Delta]) -> (BTreeSet<&AppId>, BTreeSet<&Hostname>) {
    let mut apps = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for delta in deltas {
        match delta {
            Delta::Put(Resource::App(app)) | Delta::Remove(Resource::App(app)) => apps.insert(&app.id),
            Delta::Put(Resource::Instance(instance)) | Delta::Remove(Resource::Instance(instance)) => {
                apps.insert(&instance.app)
            }
            Delta::Put(Resource::Domain(domain)) | Delta::Remove(Resource::Domain(domain)) => {
                hosts.insert(&domain.name)
            }
        };
    }
    (apps, hosts)
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
