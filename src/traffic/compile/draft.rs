//! Draft of the next snapshot: adds and removes virtual hosts, pools and endpoints, assigns ids and metric
//! slots.
//!
//! Unchanged items are kept as they are: they stay shared with the previous snapshot, and keep their ids.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use ringway_model::{
    AppId, Desired, Domain, Health, Hostname, Instance, OnAllUnhealthy, Revision, Scheme, Target, TargetHost,
    TenantHash, TenantId,
};

use super::{Compiled, Compiler, CompilerSettings, Effects, Name, SlotChange, State};
use crate::balance::affinity;
use crate::breaker::{EndpointState, Trickle};
use crate::in_flight::InFlight;
use crate::retry::Budget;
use crate::snapshot::{Endpoint, EndpointId, Fallback, MetricSlot, Pool, PoolId, Snapshot, map};
use crate::virtual_host::{Action, Rule, RuleId, Rules, Tenant, TlsSettings, VirtualHost};

/// Mutable draft of the next snapshot.
pub(super) struct Draft {
    settings: CompilerSettings,
    pub(super) snapshot: Snapshot,
    pub(super) state: State,
    pub(super) effects: Effects,
    /// Names that lost or got a user. Those without any are dropped at the end: a name keeps its addresses
    /// when one instance leaves it and another takes it in the same batch.
    names_touched: BTreeSet<Hostname>,
    /// Initial health of new endpoints.
    pub(super) new_health: Health,
}

impl Draft {
    /// Returns a draft without changes.
    pub(super) fn new(compiler: &Compiler) -> Self {
        Self {
            settings: compiler.settings.clone(),
            snapshot: Snapshot::clone(&compiler.state.snapshot),
            state: compiler.state.clone(),
            effects: Effects::default(),
            names_touched: BTreeSet::new(),
            new_health: Health::Unknown,
        }
    }

    /// Adds or replaces the virtual host of a domain, unless it is unchanged.
    pub(super) fn put_host(&mut self, desired: &Desired, domain: &Domain) {
        let pool = match self.snapshot.pool_ids.get(&domain.app) {
            Some(pool) => *pool,
            None => {
                self.put_pool(desired, &domain.app);
                self.snapshot.pool_ids[&domain.app]
            }
        };
        let old = self.snapshot.hosts.get(&domain.name).cloned();
        let old_rule = old.as_ref().map(|old| {
            let Rules::One(rule) = &old.rules;
            rule
        });
        let (id, metric) = match old_rule {
            Some(old) => (old.id, old.metric),
            None => (RuleId(count(&mut self.state.rules_made)), self.state.rule_slots.take()),
        };
        let owner = domain.owner.clone();
        let defaults = &self.settings.defaults;
        let rule = Rule {
            id,
            owner: owner.clone(),
            app: domain.app.clone(),
            action: Action::Proxy(pool),
            policy: defaults.policy.clone(),
            stages: defaults.stages.clone(),
            metric,
        };
        let is_moved = old_rule.is_some_and(|old| old.app != rule.app);
        let rules = match old_rule.filter(|old| ***old == rule) {
            Some(same) => Rules::One(same.clone()),
            None => Rules::One(Arc::new(rule)),
        };
        let host = VirtualHost {
            owner,
            host: domain.name.clone(),
            tenant: domain.tenant.clone().map(|id| tenant(self.settings.hash_key, id)),
            tls: TlsSettings {
                certificate: self.state.certificates.get(&domain.name).copied(),
                client_auth: domain.client_auth.clone(),
            },
            rules,
        };
        if old.as_deref() == Some(&host) {
            return;
        }
        self.snapshot.rules_removed += u64::from(is_moved);
        if metric != MetricSlot::SHARED && (is_moved || old.is_none()) {
            self.effects.slots.push(SlotChange::NameRoute {
                slot: metric,
                host: domain.name.clone(),
                app: domain.app.clone(),
            });
        }
        self.snapshot.hosts.insert_mut(domain.name.clone(), Arc::new(host));
        self.effects.work.hosts += 1;
    }

    /// Removes a virtual host with its rules, if there is one.
    pub(super) fn remove_host(&mut self, host: &Hostname) {
        let Some(old) = self.snapshot.hosts.get(host) else { return };
        for rule in old.rules.iter() {
            if self.state.rule_slots.give(rule.metric) {
                self.effects.slots.push(SlotChange::FreeRoute { slot: rule.metric });
            }
            self.snapshot.rules_removed += 1;
        }
        self.snapshot.hosts.remove_mut(host);
        self.effects.work.hosts += 1;
    }

    /// Adds or replaces the pool of an app, unless it is unchanged. Unchanged instances keep their endpoints.
    pub(super) fn put_pool(&mut self, desired: &Desired, app: &AppId) {
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
        let mut draining = Vec::new();
        let known = desired.app(app.as_str());
        let tls = known.and_then(|app| app.upstream_tls.clone());
        let failures = known.map(|app| app.failures).unwrap_or_default();
        let policy = known.map(|app| app.on_all_unhealthy).unwrap_or_default();
        let mut same = old.as_ref().is_some_and(|old| {
            old.all_endpoints().count() == instances.len()
                && old.tls == tls
                && old.failures == failures
                && old.fallback.policy() == policy
        });
        for instance in instances {
            let known = old.as_ref().and_then(|old| old.endpoint(instance.id.as_str()));
            // The TLS settings have changed: existing connections must not carry further requests, and
            // connections are removed with their endpoint.
            let tls_changed =
                instance.target.scheme() == Scheme::Https && old.as_ref().is_some_and(|old| old.tls != tls);
            let was_draining = known.is_some_and(|known| old.as_ref().is_some_and(|old| !old.offers(known)));
            same &= was_draining == instance.draining.is_some();
            let health = if tls_changed { Health::Unknown } else { self.new_health };
            let endpoint = match known.filter(|known| known.target == instance.target && !tls_changed) {
                Some(known) if known.generation == instance.generation => known.clone(),
                Some(known) => {
                    same = false;
                    self.effects.renewed.push(known.state.clone());
                    Endpoint { generation: instance.generation, ..known.clone() }
                }
                None => {
                    same = false;
                    self.make_endpoint(id, instance, health)
                }
            };
            match instance.draining {
                Some(_) => draining.push(endpoint),
                None => endpoints.push(endpoint),
            }
        }
        if same {
            return;
        }
        let fallback = match (policy, old.as_ref().map(|old| &old.fallback)) {
            (OnAllUnhealthy::Reject, _) => Fallback::Reject,
            (OnAllUnhealthy::PanicOpen, _) => Fallback::PanicOpen,
            (OnAllUnhealthy::Trickle, Some(old @ Fallback::Trickle(_))) => old.clone(),
            (OnAllUnhealthy::Trickle, _) => Fallback::Trickle(Arc::new(Trickle::default())),
        };
        let pool = Pool {
            id,
            app: app.clone(),
            tls,
            failures,
            fallback,
            settings: self.settings.defaults.pool.clone(),
            retry_budget: old.as_ref().map_or(Budget::default(), |old| old.retry_budget.clone()),
            endpoints: endpoints.into(),
            draining: draining.into(),
            metric,
        };
        for gone in old.iter().flat_map(|old| old.all_endpoints()) {
            if pool.endpoint(gone.instance.as_str()).is_none_or(|kept| kept.id != gone.id) {
                self.drop_endpoint(app, gone);
            }
        }
        self.snapshot.pool_ids.insert_mut(app.clone(), id);
        self.snapshot.pools.insert_mut(id, Arc::new(pool));
        self.effects.work.pools += 1;
    }

    /// Removes an app's pool with its endpoints, if there is one.
    pub(super) fn remove_pool(&mut self, app: &AppId) {
        let Some(id) = self.snapshot.pool_ids.get(app).copied() else { return };
        if let Some(pool) = self.snapshot.pools.get(&id).cloned() {
            for endpoint in pool.all_endpoints() {
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

    /// Sets the addresses of the endpoints at `name`. Endpoints keep their ids: connections to former
    /// addresses remain in use until they end by themselves.
    pub(super) fn readdress_pool(&mut self, app: &AppId, name: &Hostname) {
        let Some(pool) = self.snapshot.pool_ids.get(app).and_then(|id| self.snapshot.pools.get(id)) else {
            return;
        };
        let readdress = |endpoint: &Endpoint| match endpoint.name() == Some(name) {
            true => Endpoint { addresses: self.addresses_of(&endpoint.target), ..endpoint.clone() },
            false => endpoint.clone(),
        };
        let endpoints = pool.endpoints.iter().map(readdress).collect();
        let draining = pool.draining.iter().map(readdress).collect();
        let pool = Pool { endpoints, draining, ..Pool::clone(pool) };
        self.snapshot.pools.insert_mut(pool.id, Arc::new(pool));
        self.effects.work.pools += 1;
    }

    fn make_endpoint(&mut self, pool: PoolId, instance: &Instance, health: Health) -> Endpoint {
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
            state: Arc::new(EndpointState::new(health)),
            in_flight: Arc::new(InFlight::new(self.settings.cores)),
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

    /// Returns the socket addresses of a target; empty while its name is not resolved.
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

    /// Counts one more endpoint of the app at this name.
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

    /// Counts one endpoint of the app less at this name.
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

    /// Drops names without users, and assigns the next serial.
    pub(super) fn finish(mut self, compiler: &Compiler, revision: Revision) -> Compiled {
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

fn count(made: &mut u64) -> u64 {
    *made += 1;
    *made
}

fn tenant(hash_key: u64, id: TenantId) -> Tenant {
    let line = format!("X-Tenant-ID: {id}\r\n").into_bytes().into();
    Tenant { hash: TenantHash::new(hash_key, &id), line, id }
}
