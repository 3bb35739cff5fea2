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

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_middleware::Credentials;
use ringway_model::{
    AppId, CredentialSource, Delta, Desired, Health, HostPattern, Hostname, InstanceId, Kind, Owner,
    Resource, Revision, Serial, Target, limits,
};

use self::draft::Draft;
use self::ids::{Branch, Ids};
use crate::breaker::EndpointState;
use crate::pattern::Patterns;
use crate::policy::Defaults;
use crate::rate_limit::{LimitScope, RateLimitTable, RateLimiter};
use crate::rule_table::Rejected;
use crate::rule_traffic::RuleTraffic;
use crate::scripts::ScriptFinding;
#[cfg(feature = "lua")]
use crate::scripts::ScriptState;
use crate::snapshot::{CertificateVersion, Map, MetricSlot, Pool, Snapshot, map};
use crate::trickle::TrickleCount;
use crate::virtual_host::{TlsSettings, VirtualHost};

mod cache;
mod draft;
mod ids;
mod middleware;
mod scripts;
mod traffic;

/// Settings of a compiler.
#[derive(Clone, Default)]
pub struct CompilerSettings {
    /// Key of the pseudonyms of tenants in access logs; readers of the logs must not know it.
    pub hash_key: u64,
    /// Secret of which the keys of the buckets of canaries are derived; the same one after a restart keeps
    /// clients in their buckets.
    pub bucket_secret: Arc<[u8]>,
    /// Number of data cores, which have numbers from 0: each has its own counters of an endpoint's requests.
    pub cores: usize,
    /// Default settings of rules and pools.
    pub defaults: Defaults,
    /// Compiled patterns, which a check of the routes may have made.
    pub patterns: Patterns,
}

impl fmt::Debug for CompilerSettings {
    /// Omits the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompilerSettings").field("cores", &self.cores).finish_non_exhaustive()
    }
}

/// Compiles snapshots; lives on the control thread.
#[derive(Clone, Debug)]
pub struct Compiler {
    settings: CompilerSettings,
    /// Debts of all rate limits, shared by all snapshots.
    rate_limits: Arc<RateLimitTable>,
    /// Requests that the trickles of all pools have let pass, shared by all snapshots.
    trickles: Arc<TrickleCount>,
    /// Traffic decisions of rules without settings of their own.
    default_traffic: Option<Arc<RuleTraffic>>,
    /// State of scripts, shared by all snapshots.
    #[cfg(feature = "lua")]
    script_state: Arc<ScriptState>,
    state: State,
}

/// Compiled snapshot that is not published yet. Dropping it discards the change.
#[derive(Debug)]
#[must_use = "nothing is published before it is committed"]
pub struct Compiled {
    /// Serial of the snapshot that it was compiled from.
    from: Serial,
    state: State,
    effects: Effects,
    work_on_trial: Work,
}

/// Published snapshot and its side effects.
#[derive(Debug)]
pub struct Published {
    /// For all cores; for all but one during a trial.
    pub snapshot: Arc<Snapshot>,
    /// The snapshot on trial, with the same serial.
    pub on_trial: Option<Arc<Snapshot>>,
    /// Changes of metric slots, in order.
    pub slots: Vec<SlotChange>,
    /// Names to resolve from now on; their endpoints take no traffic until they have addresses.
    pub names_added: Vec<Hostname>,
    /// Names that no endpoint uses, whose resolution ends.
    pub names_removed: Vec<Hostname>,
    /// Routes that could not be compiled, and serve nothing.
    pub rejected: Vec<Rejected>,
    /// Reason why the scripts could not be compiled; the former ones serve.
    pub refused_scripts: Option<ScriptFinding>,
    /// Pools and endpoints whose circuit breakers closed, because more were ejected than their pool allows
    /// now.
    pub reinstated: Vec<(AppId, InstanceId)>,
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
    ids: Ids,
    /// The configuration in force.
    base: Tables,
    trial: Option<Trial>,
    certificates: Map<Hostname, CertificateVersion>,
}

/// Tables that a configuration is compiled to.
#[derive(Clone, Debug)]
struct Tables {
    snapshot: Arc<Snapshot>,
    names: Map<Hostname, Name>,
}

/// The configuration on trial, and effects that wait for its promotion.
#[derive(Clone, Debug)]
struct Trial {
    tables: Tables,
    /// Names of slots that the configuration in force uses too.
    renamed: BTreeMap<MetricSlot, SlotChange>,
    renewed: Vec<Arc<EndpointState>>,
}

impl State {
    /// A name of the configuration in force, or of that on trial; both have the same addresses.
    fn name(&self, name: &str) -> Option<&Name> {
        self.base.names.get(name).or_else(|| self.trial.as_ref()?.tables.names.get(name))
    }
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
    /// Changes of names that a trial postpones; `None` takes one back.
    renamed: BTreeMap<MetricSlot, Option<SlotChange>>,
    /// Names that may be new or unused.
    names_touched: BTreeSet<Hostname>,
    renewed: Vec<Arc<EndpointState>>,
    /// Changed pools with a cap of ejections.
    capped: Vec<Arc<Pool>>,
    rejected: Vec<Rejected>,
    refused_scripts: Option<ScriptFinding>,
    work: Work,
}

impl Compiler {
    /// Returns a compiler with an empty snapshot.
    pub fn new(settings: CompilerSettings) -> Self {
        let base = Tables { snapshot: Arc::new(Snapshot::default()), names: map() };
        let state = State { ids: Ids::default(), base, trial: None, certificates: map() };
        let rate_limits = Arc::<RateLimitTable>::default();
        let default_traffic = settings.defaults.rate_limit.clone().map(|limit| {
            let limiter = RateLimiter::new(LimitScope::Process, limit, rate_limits.clone());
            Arc::new(RuleTraffic { rate_limit: Some(Arc::new(limiter)), ..RuleTraffic::default() })
        });
        Self {
            #[cfg(feature = "lua")]
            script_state: Arc::new(ScriptState::new(rate_limits.clone())),
            settings,
            rate_limits,
            trickles: Arc::default(),
            default_traffic,
            state,
        }
    }

    /// Debts of the keys of all rate limits.
    pub fn rate_limits(&self) -> &Arc<RateLimitTable> {
        &self.rate_limits
    }

    /// Requests that were let through to pools without an available endpoint.
    pub fn trickles(&self) -> &TrickleCount {
        &self.trickles
    }

    /// The snapshot in use.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.state.base.snapshot
    }

    /// The snapshot on trial.
    pub fn snapshot_on_trial(&self) -> Option<&Arc<Snapshot>> {
        self.state.trial.as_ref().map(|trial| &trial.tables.snapshot)
    }

    /// Names to resolve of the configuration in force, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &Hostname> {
        self.state.base.names.keys()
    }

    /// Known addresses of a name; `None` when no target has it.
    pub fn addresses(&self, name: &str) -> Option<&[IpAddr]> {
        self.state.name(name).map(|name| &*name.addresses)
    }

    /// Compiles `desired`, which differs by `deltas` from the configuration of the snapshot in use.
    ///
    /// The cost follows the deltas: a virtual host for each domain, and a pool for each app that got or lost
    /// an instance. New endpoints are [joining](Health::Joining): until their first health check succeeds,
    /// endpoints in rotation are preferred.
    ///
    /// A configuration on trial stays as it is; see [`Compiler::compile_both`].
    pub fn compile(&self, desired: &Desired, deltas: &[Delta]) -> Compiled {
        self.compile_both(desired, None, deltas)
    }

    /// Compiles a change of the configuration in force and of that on trial, which both have the deltas. What
    /// it adds to both is the same endpoint, pool or rule in both.
    pub fn compile_both(&self, desired: &Desired, on_trial: Option<&Desired>, deltas: &[Delta]) -> Compiled {
        self.edit(|draft| {
            let desired = match draft.branch {
                Branch::Base => Some(desired),
                Branch::Trial => on_trial,
            };
            if let Some(desired) = desired {
                draft.new_health = Health::Joining;
                draft.put(desired, Touched::of(desired, deltas));
            }
        })
    }

    /// Begins a trial: compiles `desired`, which differs by `deltas` from the configuration in force, beside
    /// it. The snapshot in force gets a new serial only.
    ///
    /// [`Compiled::work`] is that of the trial. Until [`Compiler::promote`], no metric slot of the
    /// configuration in force is freed or renamed, and none of its endpoints is renewed. The trial before
    /// must have ended.
    pub fn begin_trial(&self, desired: &Desired, deltas: &[Delta]) -> Compiled {
        debug_assert!(self.state.trial.is_none(), "one trial at a time");
        let mut state = self.state.clone();
        state.ids.fork();
        let tables = state.base.clone();
        state.trial = Some(Trial { tables, renamed: BTreeMap::new(), renewed: Vec::new() });
        let forked = Self { state, ..self.clone() };
        let mut compiled = forked.edit(|draft| {
            if draft.branch == Branch::Trial {
                draft.new_health = Health::Joining;
                draft.put(desired, Touched::of(desired, deltas));
            }
        });
        compiled.effects.work = compiled.work_on_trial;
        compiled
    }

    /// Ends the trial: its configuration is in force, at this revision. Without a trial, only the serial
    /// changes.
    pub fn promote(&self, revision: Revision) -> Compiled {
        let mut compiled = self.join(Branch::Trial);
        Arc::make_mut(&mut compiled.state.base.snapshot).revision = revision;
        compiled
    }

    /// Ends the trial: its configuration is dropped. Everything that it took is free.
    pub fn revert(&self) -> Compiled {
        self.join(Branch::Base)
    }

    /// Compiles the overlay of discovered hosts: apps, instances and domains of an external resolver, with
    /// names that do not occur in the configuration. The snapshot has the same revision and the next serial.
    pub fn compile_resolved(&self, resolved: &Desired, deltas: &[Delta]) -> Compiled {
        self.edit(|draft| {
            let mut touched = Touched::of(resolved, deltas);
            // A configured host takes precedence.
            touched.hosts.retain(|host| {
                draft.snapshot.virtual_host_of(host).is_none_or(|known| known.owner == Owner::Resolver)
            });
            // Discovered instances have no health checks: they take traffic at once.
            draft.new_health = Health::Unknown;
            let revision = draft.snapshot.revision;
            draft.put(resolved, touched);
            draft.snapshot.revision = revision;
        })
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
        let old = self.snapshot();
        let gone_apps = old.pool_ids.keys().filter(|app| desired.app(app.as_str()).is_none());
        let touched = Touched {
            apps: gone_apps.chain(apps.iter().map(|app| &app.id)).cloned().collect(),
            hosts: old
                .virtual_hosts()
                .map(|host| host.host.clone())
                .filter(|host| !is_served(desired, host))
                .chain(hosts.into_iter().map(|(_, host)| host))
                .collect(),
            certificates: old
                .certificates
                .keys()
                .cloned()
                .chain(desired.certificates().map(|certificate| certificate.sni.clone()))
                .collect(),
            scripts: true,
        };
        self.edit(|draft| {
            if draft.branch == Branch::Base {
                draft.put(desired, touched.clone());
            }
        })
    }

    /// Sets the resolved addresses of `name`. The snapshot has the same revision and the next serial.
    ///
    /// `None` without an effect: no target has the name, or the set of addresses is the same; many resolvers
    /// rotate their order. At most [`limits::DNS_ADDRESSES_MAX`] are used. Not to be called after a failed
    /// resolution, which keeps the known addresses; an empty list takes the endpoints out of rotation.
    pub fn update_addresses(&self, name: &Hostname, addresses: &[IpAddr]) -> Option<Compiled> {
        let known = self.state.name(name.as_str())?;
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
        let new: Arc<[IpAddr]> = new.into();
        Some(self.edit(|draft| {
            let Some(known) = draft.names.get_mut(name) else { return };
            known.addresses = new.clone();
            let apps: Vec<AppId> = known.users.keys().cloned().collect();
            for app in &apps {
                draft.readdress_pool(app, name);
            }
        }))
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
            let snapshots = [Some(self.snapshot()), self.snapshot_on_trial()];
            let is_served = snapshots.into_iter().flatten().any(|snapshot| snapshot.hosts.contains_key(host));
            if before != *version && is_served {
                changed.push((host, *version));
            }
        }
        if changed.is_empty() {
            return None;
        }
        Some(self.edit(|draft| {
            for (host, certificate) in &changed {
                if let Some(known) = draft.snapshot.hosts.get(*host).cloned() {
                    let tls = TlsSettings { certificate: *certificate, ..known.tls.clone() };
                    let known = VirtualHost { tls, ..VirtualHost::clone(&known) };
                    draft.snapshot.hosts.insert_mut((*host).clone(), Arc::new(known));
                    draft.effects.work.hosts += 1;
                }
            }
        }))
    }

    /// Sets or removes the credentials of a source. The same revision, the next serial; `None` when they are
    /// unchanged.
    pub fn update_credentials(
        &self,
        source: &CredentialSource,
        credentials: Option<&Arc<Credentials>>,
    ) -> Option<Compiled> {
        let known = self.snapshot().credentials(source);
        let is_known = match (known, credentials) {
            (Some(known), Some(credentials)) => Arc::ptr_eq(known, credentials),
            (None, None) => true,
            _ => false,
        };
        if is_known {
            return None;
        }
        Some(self.edit(|draft| match credentials {
            Some(credentials) => draft.snapshot.credentials.insert_mut(source.clone(), credentials.clone()),
            None => _ = draft.snapshot.credentials.remove_mut(source),
        }))
    }

    /// Sets the operator's default certificate. The same revision, the next serial; `None` when it is
    /// unchanged.
    pub fn update_default_certificate(&self, version: Option<CertificateVersion>) -> Option<Compiled> {
        if self.snapshot().default_certificate == version {
            return None;
        }
        Some(self.edit(|draft| draft.snapshot.default_certificate = version))
    }

    /// Adds or removes the response to a CA's challenge. The same revision, the next serial; `None` when
    /// nothing changes, or beyond [`limits::CHALLENGES_MAX`], which the orders in flight stay far below.
    pub fn update_challenge(&self, token: &str, key_authorization: Option<Arc<str>>) -> Option<Compiled> {
        let challenges = &self.snapshot().challenges;
        if challenges.get(token) == key_authorization.as_ref()
            || (key_authorization.is_some() && challenges.size() >= limits::CHALLENGES_MAX)
        {
            return None;
        }
        Some(self.edit(|draft| match &key_authorization {
            Some(response) => draft.snapshot.challenges.insert_mut(token.into(), response.clone()),
            None => {
                draft.snapshot.challenges.remove_mut(token);
            }
        }))
    }

    /// Publishes a compiled snapshot: it becomes the base of the next compilation.
    ///
    /// Endpoints that registered again are [renewed](EndpointState::renew).
    ///
    /// # Errors
    /// [`Outdated`], without an effect.
    pub fn commit(&mut self, compiled: Compiled) -> Result<Published, Outdated> {
        if compiled.from != self.state.ids.serial {
            return Err(Outdated);
        }
        let before = std::mem::replace(&mut self.state, compiled.state);
        let Effects { slots, names_touched, renewed, capped, rejected, refused_scripts, work, .. } =
            compiled.effects;
        for endpoint in renewed {
            endpoint.renew();
        }
        let mut reinstated = Vec::new();
        for pool in capped {
            reinstated.extend(
                pool.reinstate_excess().map(|endpoint| (pool.app.clone(), endpoint.instance.clone())),
            );
        }
        let (mut names_added, mut names_removed) = (Vec::new(), Vec::new());
        for name in names_touched {
            match (before.name(name.as_str()).is_some(), self.state.name(name.as_str()).is_some()) {
                (false, true) => names_added.push(name),
                (true, false) => names_removed.push(name),
                (true, true) | (false, false) => {}
            }
        }
        let (snapshot, on_trial) = (self.snapshot().clone(), self.snapshot_on_trial().cloned());
        Ok(Published {
            snapshot,
            on_trial,
            slots,
            names_added,
            names_removed,
            rejected,
            refused_scripts,
            reinstated,
            work,
        })
    }

    /// Compiles the next snapshot of the configuration in force, then that of the one on trial.
    fn edit(&self, mut edit: impl FnMut(&mut Draft<'_>)) -> Compiled {
        let State { ids, base, trial, certificates } = &self.state;
        let mut ids = ids.clone();
        let from = ids.serial;
        ids.serial = from.next();
        let other = trial.as_ref().map(|trial| &trial.tables);
        let mut draft = Draft::new(self, ids, (Branch::Base, base), other);
        edit(&mut draft);
        let (mut ids, base, mut effects) = draft.finish();
        let mut work_on_trial = Work::default();
        let trial = trial.as_ref().map(|trial| {
            let tables = (Branch::Trial, &trial.tables);
            let mut draft = Draft::new(self, ids.clone(), tables, Some(&base));
            edit(&mut draft);
            let (next_ids, tables, of_trial) = draft.finish();
            ids = next_ids;
            work_on_trial = of_trial.work;
            effects.slots.extend(of_trial.slots);
            effects.names_touched.extend(of_trial.names_touched);
            effects.rejected.extend(of_trial.rejected);
            effects.refused_scripts = effects.refused_scripts.take().or(of_trial.refused_scripts);
            let mut next = Trial { tables, ..trial.clone() };
            next.renewed.extend(of_trial.renewed);
            for (slot, name) in of_trial.renamed {
                match name {
                    Some(name) => _ = next.renamed.insert(slot, name),
                    None => _ = next.renamed.remove(&slot),
                }
            }
            next
        });
        let state = State { ids, base, trial, certificates: certificates.clone() };
        Compiled { from, state, effects, work_on_trial }
    }

    /// Ends the trial; the other configuration is dropped.
    fn join(&self, kept: Branch) -> Compiled {
        let State { ids, base, trial, certificates } = &self.state;
        let mut ids = ids.clone();
        let from = ids.serial;
        ids.serial = from.next();
        let freed = ids.join(kept);
        let mut effects = Effects::default();
        let (kept, dropped) = match (kept, trial) {
            (Branch::Trial, Some(trial)) => {
                effects.slots.extend(trial.renamed.values().cloned());
                effects.renewed.clone_from(&trial.renewed);
                let pools = trial.tables.snapshot.pools();
                effects.capped.extend(pools.filter(|pool| pool.traffic.is_some()).cloned());
                (&trial.tables, Some(base))
            }
            (Branch::Base, Some(trial)) => (base, Some(&trial.tables)),
            (_, None) => (base, None),
        };
        effects.slots.extend(freed.rules.into_iter().map(|slot| SlotChange::FreeRoute { slot }));
        effects.slots.extend(freed.pools.into_iter().map(|slot| SlotChange::FreePool { slot }));
        effects.slots.extend(freed.endpoints.into_iter().map(|slot| SlotChange::FreeEndpoint { slot }));
        effects.names_touched.extend(dropped.into_iter().flat_map(|dropped| dropped.names.keys().cloned()));
        let mut base = kept.clone();
        let snapshot = Arc::make_mut(&mut base.snapshot);
        snapshot.serial = ids.serial;
        if dropped.is_some() {
            // Some core had the other configuration, whose rules and endpoints may be gone.
            snapshot.rules_removed = ids.removed_rule();
            snapshot.endpoints_removed = ids.removed_endpoint();
        }
        let state = State { ids, base, trial: None, certificates: certificates.clone() };
        Compiled { from, state, effects, work_on_trial: Work::default() }
    }
}

impl Draft<'_> {
    /// Compiles the apps and hosts that a change concerns.
    fn put(&mut self, desired: &Desired, touched: Touched) {
        let mut hosts = touched.hosts;
        for app in &touched.apps {
            if self.put_or_remove_pool(desired, app) {
                hosts.extend(hosts_of_app(desired, app));
            }
        }
        if touched.scripts {
            hosts.extend(self.put_scripts(desired));
        }
        let mut done = HashSet::new();
        for host in &hosts {
            if done.insert(host) {
                self.put_or_remove_host(desired, host);
            }
        }
        self.remove_unused_pools(desired);
        self.put_certificates(desired, &touched.certificates);
        self.snapshot.revision = desired.revision();
    }
}

/// Apps and hosts that deltas concern, in the order of their compilation.
#[derive(Clone)]
struct Touched {
    apps: Vec<AppId>,
    hosts: Vec<HostPattern>,
    /// Names of operators' certificates.
    certificates: Vec<HostPattern>,
    /// Scripts have changed.
    scripts: bool,
}

impl Touched {
    fn of(desired: &Desired, deltas: &[Delta]) -> Self {
        let mut apps = BTreeSet::new();
        let mut hosts = BTreeSet::new();
        let mut certificates = Vec::new();
        let mut scripts = false;
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
                            Kind::Middleware => hosts.extend(hosts_of_middleware(desired, kind, &key)),
                            Kind::Instance
                            | Kind::Policy
                            | Kind::ConfigVersion
                            | Kind::Certificate
                            | Kind::CanaryState
                            | Kind::EndpointOverride
                            | Kind::Plugin
                            | Kind::Script => {}
                        }
                    }
                }
                Resource::Middleware(_) | Resource::Plugin(_) => {
                    hosts.extend(hosts_of_middleware(desired, resource.kind(), resource.key()));
                }
                Resource::Script(_) => scripts = true,
                Resource::ConfigVersion(_) => {}
                Resource::Certificate(certificate) => certificates.push(certificate.sni.clone()),
                Resource::CanaryState(state) => {
                    let route = desired.route(state.route.as_str());
                    hosts.extend(route.map(|route| route.spec.host.clone()));
                }
                Resource::EndpointOverride(of) => {
                    let instance = desired.instance(of.instance.as_str());
                    apps.extend(instance.map(|instance| instance.app.clone()));
                }
            }
        }
        let (apps, hosts) = (apps.into_iter().collect(), hosts.into_iter().collect());
        Self { apps, hosts, certificates, scripts }
    }
}

/// Hosts whose rules have a chain, or a chain with a plugin.
fn hosts_of_middleware(desired: &Desired, kind: Kind, id: &str) -> impl Iterator<Item = HostPattern> {
    desired.routes_of_middleware(kind, id).map(|route| route.spec.host.clone())
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
        &self.state.base.snapshot
    }

    /// Size of the compilation.
    pub fn work(&self) -> Work {
        self.effects.work
    }
}

#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trial_tests;
