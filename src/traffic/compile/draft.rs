//! Draft of the next snapshot: adds and removes virtual hosts, pools and endpoints, assigns ids and metric
//! slots.
//!
//! Unchanged items are kept as they are: they stay shared with the previous snapshot, and keep their ids.
//! During a trial, an item that the other configuration has already is adopted from it: the same instance is
//! one endpoint on all cores.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use ringway_model::{
    AppId, Balancer, ClientAuth, ClientAuthNeed, Desired, Domain, Health, HostPattern, Hostname, Instance,
    OnAllUnhealthy, Outliers, Owner, PolicyRef, PolicySettings, Route, RouteAction, RouteMatch, Scheme,
    Target, TargetHost, TenantHash, TenantId,
};

use super::ids::{Branch, Ids};
use super::traffic::{Layers, weight_of};
use super::{Compiler, CompilerSettings, Effects, Name, SlotChange, Tables};
use crate::balance::affinity;
use crate::breaker::{BreakerSettings, EndpointState};
use crate::host_patterns::HostPatterns;
use crate::in_flight::InFlight;
use crate::limits::TALLY_BUCKET;
use crate::pattern::Patterns;
use crate::policy::{Policy, PoolSettings};
use crate::rate_limit::RateLimitTable;
use crate::retry_budget::RetryBudget;
use crate::rewrite::Rewrite;
use crate::rule_table::{Rejected, RuleEntry, RuleTable, TableError};
use crate::rule_traffic::{PoolTraffic, RuleTraffic};
#[cfg(feature = "lua")]
use crate::scripts::ScriptState;
use crate::selection::Selection;
use crate::snapshot::{
    CertificateVersion, Endpoint, EndpointId, Fallback, Map, MetricSlot, Pool, PoolId, Snapshot, map,
};
use crate::tally::Tally;
use crate::trickle::{Trickle, TrickleCount};
use crate::virtual_host::{Action, Rule, RuleId, Rules, Tenant, TlsSettings, VirtualHost};
use crate::weights::Shares;

/// Mutable draft of the next snapshot of one configuration.
pub(super) struct Draft<'a> {
    pub(super) settings: &'a CompilerSettings,
    patterns: &'a Patterns,
    pub(super) rate_limits: &'a Arc<RateLimitTable>,
    trickles: &'a Arc<TrickleCount>,
    pub(super) default_traffic: &'a Option<Arc<RuleTraffic>>,
    certificates: &'a Map<Hostname, CertificateVersion>,
    #[cfg(feature = "lua")]
    pub(super) script_state: &'a Arc<ScriptState>,
    /// The configuration that it is a draft of.
    pub(super) branch: Branch,
    /// Tables of the other configuration, during a trial.
    other: Option<&'a Tables>,
    pub(super) ids: Ids,
    pub(super) snapshot: Snapshot,
    pub(super) names: Map<Hostname, Name>,
    pub(super) effects: Effects,
    /// Names that lost or got a user. Those without any are dropped at the end: a name keeps its addresses
    /// when one instance leaves it and another takes it in the same batch.
    names_touched: BTreeSet<Hostname>,
    /// Initial health of new endpoints.
    pub(super) new_health: Health,
    /// Compiled policies, shared by the rules with the same values.
    policies: HashMap<PolicySettings, Arc<Policy>>,
    /// Apps of rules that are gone: their pools may be unused now.
    released: BTreeSet<AppId>,
}

/// Policy of requests to operators' pools while no endpoint can be reached.
const OPERATOR_UNAVAILABLE_STATUS: u16 = 503;

/// Rules of a host by owner and name.
type RulesByName = HashMap<(Owner, Arc<str>), Arc<Rule>>;

/// Rule of the last snapshot, by which the next one is compiled.
#[derive(Clone, Copy)]
pub(super) enum Known<'a> {
    /// Of this configuration.
    Own(&'a Arc<Rule>),
    /// Of the other configuration alone.
    Adopted(&'a Arc<Rule>),
    New,
}

impl<'a> Draft<'a> {
    /// Returns a draft without changes.
    pub(super) fn new(
        compiler: &'a Compiler,
        ids: Ids,
        (branch, tables): (Branch, &Tables),
        other: Option<&'a Tables>,
    ) -> Self {
        Self {
            settings: &compiler.settings,
            patterns: &compiler.settings.patterns,
            rate_limits: &compiler.rate_limits,
            trickles: &compiler.trickles,
            default_traffic: &compiler.default_traffic,
            certificates: &compiler.state.certificates,
            #[cfg(feature = "lua")]
            script_state: &compiler.script_state,
            branch,
            other,
            ids,
            snapshot: Snapshot::clone(&tables.snapshot),
            names: tables.names.clone(),
            effects: Effects::default(),
            names_touched: BTreeSet::new(),
            new_health: Health::Unknown,
            policies: HashMap::new(),
            released: BTreeSet::new(),
        }
    }

    /// Compiles a host from its domain and routes, or removes it when it has neither.
    pub(super) fn put_or_remove_host(&mut self, desired: &Desired, host: &HostPattern) {
        let domain = host.exact().and_then(|name| desired.domain(name.as_str())).map(|domain| &**domain);
        // Attached routes serve with their domain; other routes have the host alone.
        let mut routes: Vec<&Route> = desired
            .routes_of_host(host)
            .map(|route| &**route)
            .filter(|route| route.is_attached == domain.is_some())
            .collect();
        routes.sort_unstable_by(|a, b| (a.spec.order, a.id()).cmp(&(b.spec.order, b.id())));
        match (domain, routes.first()) {
            (None, None) if self.script_routes(host).is_some() => self.put_host(desired, host, None, &[]),
            (None, None) => self.remove_host(host),
            (Some(domain), _) => self.put_host(desired, host, Some(domain), &routes),
            (None, Some(_)) => self.put_host(desired, host, None, &routes),
        }
    }

    fn put_host(
        &mut self,
        desired: &Desired,
        host: &HostPattern,
        domain: Option<&Domain>,
        routes: &[&Route],
    ) {
        let old = self.snapshot.virtual_host_of(host).cloned();
        let old_rules = rules_by_name(old.as_ref());
        let other_rules = rules_by_name(self.other.and_then(|other| other.snapshot.virtual_host_of(host)));
        let known = |owner: &Owner, name: &str| {
            let key = (owner.clone(), name.into());
            let own = old_rules.get(&key).map(Known::Own);
            own.or_else(|| other_rules.get(&key).map(Known::Adopted)).unwrap_or(Known::New)
        };
        let mut entries = Vec::with_capacity(routes.len() + 1);
        for route in routes {
            let known = known(&route.owner, route.id().as_str());
            let rule = self.route_rule(desired, route, domain, known);
            entries.push(RuleEntry {
                matcher: route.spec.matcher.clone(),
                priority: route.spec.priority,
                order: route.spec.order,
                rule,
            });
        }
        if let Some(domain) = domain {
            // Behind all routes: the app keeps the paths that no route takes.
            let rule = self.domain_rule(desired, domain, known(&domain.owner, domain.name.as_str()));
            entries.push(RuleEntry {
                matcher: RouteMatch::default(),
                priority: i32::MIN,
                order: u32::MAX,
                rule,
            });
        }
        let scripted = self.script_routes(host).filter(|_| domain.is_none());
        if let Some(routes) = scripted {
            // Behind all routes: these win.
            let known = known(&Owner::File, &routes.name());
            let rule = self.script_rule(desired, routes, known);
            entries.push(RuleEntry {
                matcher: RouteMatch::default(),
                priority: i32::MIN,
                order: u32::MAX,
                rule,
            });
        }
        let kept: HashSet<RuleId> = entries.iter().map(|entry| entry.rule.id).collect();
        for gone in old_rules.values().filter(|old| !kept.contains(&old.id)) {
            self.drop_rule(gone);
        }
        let regex = match host {
            HostPattern::Regex(text) => match self.patterns.compile(text) {
                Ok(pattern) => Some((pattern, routes.first().map_or(0, |route| route.spec.order))),
                Err(error) => {
                    for entry in entries {
                        self.reject(Rejected { rule: entry.rule, error: TableError::Host(error.clone()) });
                    }
                    return self.forget_host(host);
                }
            },
            HostPattern::Exact(_) | HostPattern::OneLabel(_) | HostPattern::Suffix(_) | HostPattern::Any => {
                None
            }
        };
        let owner = match domain {
            Some(domain) => domain.owner.clone(),
            None => routes.first().map_or(Owner::File, |route| route.owner.clone()),
        };
        let certificate = host.exact().and_then(|name| self.certificates.get(name.as_str()).copied());
        let new = VirtualHost {
            owner,
            host: host.clone(),
            tenant: domain.and_then(|domain| domain.tenant.clone()).map(|id| self.tenant(id)),
            tls: TlsSettings { certificate, client_auth: client_auth(domain, routes) },
            rules: self.rules(entries, old.as_ref().map(|old| &old.rules)),
        };
        // The order among regular expressions is no part of a host.
        if old.as_deref() == Some(&new) && regex.is_none() {
            return;
        }
        match host {
            HostPattern::Exact(name) => self.snapshot.hosts.insert_mut(name.clone(), Arc::new(new)),
            _ => self.host_patterns().put(Arc::new(new), regex),
        }
        self.effects.work.hosts += 1;
    }

    /// Compiles the rules of a host: one without conditions, or a table. A path that is rewritten is to be
    /// normal, as in a table.
    fn rules(&mut self, entries: Vec<RuleEntry>, old: Option<&Rules>) -> Rules {
        if let [only] = &entries[..]
            && only.matcher == RouteMatch::default()
            && !matches!(only.rule.action, Action::Proxy { rewrite: Some(_), .. } | Action::Script(_))
        {
            return Rules::One(only.rule.clone());
        }
        let slashes = self.settings.defaults.slashes;
        let (table, rejected) = RuleTable::new(entries, slashes, self.patterns);
        for rejected in rejected {
            self.reject(rejected);
        }
        match old {
            Some(Rules::Table(known)) if **known == table => Rules::Table(known.clone()),
            _ => Rules::Table(Arc::new(table)),
        }
    }

    /// Leaves a rule out of the snapshot.
    fn reject(&mut self, rejected: Rejected) {
        self.drop_rule(&rejected.rule);
        self.effects.rejected.push(rejected);
    }

    fn host_patterns(&mut self) -> &mut HostPatterns {
        Arc::make_mut(self.snapshot.host_patterns.get_or_insert_default())
    }

    /// The rule of a domain: all requests go to its app.
    fn domain_rule(&mut self, desired: &Desired, domain: &Domain, known: Known<'_>) -> Arc<Rule> {
        let pool = self.pool_of_app(desired, &domain.app);
        let name: Arc<str> = domain.name.as_str().into();
        let layers = self.layers(desired, &name, domain.policy.as_slice(), Some(&domain.app));
        let policy = self.policy(&layers, None);
        let traffic = self.rule_traffic(desired, &layers, (None, policy.head_timeout()), &[], known);
        let (id, metric) = self.rule_id(known);
        let requires_client_cert = domain_needs_certificate(domain);
        let rule = Rule {
            id,
            owner: domain.owner.clone(),
            name,
            app: Some(domain.app.clone()),
            tenant: None,
            requires_client_cert,
            action: Action::Proxy { pool, rewrite: None },
            policy,
            traffic,
            stages: self.settings.defaults.stages.clone(),
            is_logged: true,
            cache: None,
            metric,
        };
        self.keep_or_make(rule, known)
    }

    /// The rule of an operator's route.
    fn route_rule(
        &mut self,
        desired: &Desired,
        route: &Route,
        domain: Option<&Domain>,
        known: Known<'_>,
    ) -> Arc<Rule> {
        let spec = &route.spec;
        let middleware = self.middleware(desired, route, known);
        let action = match &spec.action {
            RouteAction::Proxy { pool, rewrite } => {
                let slashes = self.settings.defaults.slashes;
                // A rule with an invalid path is rejected by its table.
                let own = Rewrite::new(rewrite, &spec.matcher.path, slashes).ok().flatten();
                let of_stage = middleware.rewrite.as_ref().map(|of| Rewrite::of_stage(of, slashes));
                let rewrite = of_stage.and_then(Result::ok).or(own);
                Action::Proxy { pool: self.pool_of_app(desired, pool.id()), rewrite: rewrite.map(Arc::new) }
            }
            RouteAction::Redirect(redirect) => Action::Redirect(Arc::new(redirect.clone())),
            RouteAction::Respond(response) => Action::Respond(Arc::new(response.clone())),
        };
        let fallback = Some(OPERATOR_UNAVAILABLE_STATUS);
        let name: Arc<str> = spec.id.as_str().into();
        let mut layers = self.layers(desired, &name, &spec.policies, spec.pool());
        layers.limit_bodies(middleware.body_limit);
        let policy = self.policy(&layers, fallback);
        let shape = (Some(route), policy.head_timeout());
        let traffic = self.rule_traffic(desired, &layers, shape, &middleware.limits, known);
        let (id, metric) = self.rule_id(known);
        let mut rule = Rule {
            id,
            owner: route.owner.clone(),
            name,
            app: spec.pool().cloned(),
            tenant: spec.tenant.clone().map(|id| Arc::new(self.tenant(id))),
            // A route that attaches to a domain does not open a path of it.
            requires_client_cert: needs_certificate(route) || domain.is_some_and(domain_needs_certificate),
            action,
            policy,
            traffic,
            stages: middleware.chain,
            is_logged: middleware.is_logged.unwrap_or(true),
            cache: None,
            metric,
        };
        let tenant = spec.tenant.as_ref().or_else(|| domain?.tenant.as_ref());
        rule.cache = self.cache(route, tenant, &rule, known);
        self.keep_or_make(rule, known)
    }

    pub(super) fn rule_id(&mut self, known: Known<'_>) -> (RuleId, MetricSlot) {
        match known {
            Known::Own(old) => (old.id, old.metric),
            Known::Adopted(other) => {
                self.ids.rule_slots.share(other.metric, self.branch);
                (other.id, other.metric)
            }
            Known::New => (self.ids.rule(), self.ids.rule_slots.take(self.branch)),
        }
    }

    /// The known rule if it is the same, or the new one with its effects.
    pub(super) fn keep_or_make(&mut self, rule: Rule, known: Known<'_>) -> Arc<Rule> {
        let is_moved = match known {
            Known::Own(known) | Known::Adopted(known) if **known == rule => return known.clone(),
            Known::Own(known) | Known::Adopted(known) => !known.apps().eq(rule.apps()),
            Known::New => false,
        };
        if let Known::Own(old) = known
            && is_moved
        {
            self.snapshot.rules_removed = self.ids.removed_rule();
            self.released.extend(old.apps().cloned());
        }
        if rule.metric != MetricSlot::SHARED && (is_moved || matches!(known, Known::New)) {
            let is_shared = self.ids.rule_slots.is_shared(rule.metric);
            let name =
                SlotChange::NameRoute { slot: rule.metric, route: rule.name.clone(), app: rule.app.clone() };
            match self.branch {
                Branch::Trial if is_shared => _ = self.effects.renamed.insert(rule.metric, Some(name)),
                Branch::Trial | Branch::Base => self.effects.slots.push(name),
            }
        }
        Arc::new(rule)
    }

    fn drop_rule(&mut self, rule: &Rule) {
        if self.ids.rule_slots.give(rule.metric, self.branch) {
            self.effects.slots.push(SlotChange::FreeRoute { slot: rule.metric });
        }
        self.effects.renamed.insert(rule.metric, None);
        self.snapshot.rules_removed = self.ids.removed_rule();
        self.released.extend(rule.apps().cloned());
    }

    /// Removes a virtual host with its rules, if there is one.
    fn remove_host(&mut self, host: &HostPattern) {
        let Some(old) = self.snapshot.virtual_host_of(host).cloned() else { return };
        for rule in old.rules.iter() {
            self.drop_rule(rule);
        }
        self.forget_host(host);
    }

    fn forget_host(&mut self, host: &HostPattern) {
        match host {
            HostPattern::Exact(name) => _ = self.snapshot.hosts.remove_mut(name),
            pattern => {
                self.host_patterns().remove(pattern);
                self.snapshot.host_patterns.take_if(|patterns| patterns.len() == 0);
            }
        }
        self.effects.work.hosts += 1;
    }

    /// Sets or removes the operators' certificates of these names.
    pub(super) fn put_certificates(&mut self, desired: &Desired, names: &[HostPattern]) {
        for name in names {
            match desired.certificate(&name.to_string()) {
                Some(known) => self.snapshot.certificates.insert_mut(name.clone(), known.files.clone()),
                None => _ = self.snapshot.certificates.remove_mut(name),
            }
        }
    }

    /// The compiled policy of a rule: its own values, then those of its app or pool, then the process's.
    pub(super) fn policy(&mut self, layers: &Layers, unavailable_status: Option<u16>) -> Arc<Policy> {
        let defaults = &self.settings.defaults.policy;
        if layers.0.is_empty() && unavailable_status.is_none() {
            return defaults.clone();
        }
        let mut settings = layers.merged();
        settings.unavailable_status = settings.unavailable_status.or(unavailable_status);
        if let Some(known) = self.policies.get(&settings) {
            return known.clone();
        }
        let policy = Arc::new(defaults.with(&settings));
        self.policies.insert(settings, policy.clone());
        policy
    }

    pub(super) fn pool_of_app(&mut self, desired: &Desired, app: &AppId) -> PoolId {
        match self.snapshot.pool_ids.get(app) {
            Some(pool) => *pool,
            None => {
                self.put_pool(desired, app);
                self.snapshot.pool_ids[app]
            }
        }
    }

    fn tenant(&self, id: TenantId) -> Tenant {
        tenant(self.settings.hash_key, id)
    }

    /// Compiles the pool of an app. It is removed when the app is gone and no route names it. True when the
    /// app's policy has changed, which is part of its rules.
    pub(super) fn put_or_remove_pool(&mut self, desired: &Desired, app: &AppId) -> bool {
        let before = self.snapshot.pool_of_app(app.as_str()).map(|pool| pool.policy.clone());
        if is_used(desired, app) {
            self.put_pool(desired, app);
        } else {
            self.remove_pool(app);
        }
        let after = self.snapshot.pool_of_app(app.as_str()).map(|pool| pool.policy.clone());
        before.is_some() && after.is_some() && before != after
    }

    /// Removes the pools of apps that are not registered and that no rule names any longer.
    pub(super) fn remove_unused_pools(&mut self, desired: &Desired) {
        for app in std::mem::take(&mut self.released) {
            if !is_used(desired, &app) {
                self.remove_pool(&app);
            }
        }
    }

    /// Adds or replaces the pool of an app, unless it is unchanged. Unchanged instances keep their endpoints.
    fn put_pool(&mut self, desired: &Desired, app: &AppId) {
        let old = self.snapshot.pool_ids.get(app).and_then(|id| self.snapshot.pools.get(id)).cloned();
        let other = self.other.and_then(|other| other.snapshot.pool_of_app(app.as_str()));
        let (id, metric) = match (&old, other) {
            (Some(old), _) => (old.id, old.metric),
            (None, Some(other)) => {
                self.ids.pool_slots.share(other.metric, self.branch);
                (other.id, other.metric)
            }
            (None, None) => (self.ids.pool(), self.ids.pool_slots.take(self.branch)),
        };
        if old.is_none() && other.is_none() && metric != MetricSlot::SHARED {
            self.effects.slots.push(SlotChange::NamePool { slot: metric, app: app.clone() });
        }
        let mut instances: Vec<_> = desired.instances_of(app.as_str()).collect();
        instances.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut endpoints = Vec::with_capacity(instances.len());
        let mut draining = Vec::new();
        let known = desired.app(app.as_str());
        let tls = known.and_then(|app| app.upstream_tls.clone());
        let failures = known.map(|app| app.failures).unwrap_or_default();
        let on_all_unhealthy = known.map(|app| app.on_all_unhealthy).unwrap_or_default();
        let policy = known.and_then(|app| settings_of(desired, app.policy.as_ref()?));
        let balancer = known.map(|app| app.balancer).unwrap_or_default();
        let managed = known.and_then(|app| app.traffic.as_deref());
        let settings = self.pool_settings(balancer, managed.map(|managed| &managed.outliers));
        let traffic = known.and_then(|app| app.traffic.as_ref()).map(|settings| {
            let known = old.as_deref().or(other).and_then(|known| known.traffic.as_deref());
            Arc::new(PoolTraffic::new(settings, known, self.settings.cores))
        });
        let mut same = old.as_ref().is_some_and(|old| {
            old.all_endpoints().count() == instances.len()
                && old.tls == tls
                && old.failures == failures
                && old.fallback.policy() == on_all_unhealthy
                && old.settings == settings
                && old.traffic == traffic
                && old.policy == policy
        });
        for instance in instances {
            let weight = weight_of(desired, instance);
            let known = old.as_ref().and_then(|old| old.endpoint(instance.id.as_str()));
            // The TLS settings have changed: existing connections must not carry further requests, and
            // connections are removed with their endpoint.
            let tls_changed =
                instance.target.scheme() == Scheme::Https && old.as_ref().is_some_and(|old| old.tls != tls);
            let was_draining = known.is_some_and(|known| old.as_ref().is_some_and(|old| !old.offers(known)));
            same &= was_draining == instance.draining.is_some();
            let health = if tls_changed { Health::Unknown } else { self.new_health };
            let adoptable = other.and_then(|other| {
                let has_same_tls = instance.target.scheme() != Scheme::Https || other.tls == tls;
                let known = other.endpoint(instance.id.as_str()).filter(|_| has_same_tls)?;
                (known.target == instance.target && known.generation == instance.generation).then_some(known)
            });
            let endpoint = match known.filter(|known| known.target == instance.target && !tls_changed) {
                Some(known) if known.generation == instance.generation => {
                    same &= known.weight == weight;
                    Endpoint { weight, ..known.clone() }
                }
                _ if let Some(other) = adoptable => {
                    same = false;
                    self.adopt_endpoint(other, instance, weight)
                }
                Some(known) => {
                    same = false;
                    self.effects.renewed.push(known.state.clone());
                    Endpoint { generation: instance.generation, weight, ..known.clone() }
                }
                None => {
                    same = false;
                    self.make_endpoint(instance, weight, health)
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
        let known = old.as_deref().or(other);
        let fallback = match on_all_unhealthy {
            OnAllUnhealthy::Reject => Fallback::Reject,
            OnAllUnhealthy::PanicOpen => Fallback::PanicOpen,
            OnAllUnhealthy::Trickle => match known.map(|known| &known.fallback) {
                Some(Fallback::Trickle(known)) => Fallback::Trickle(known.clone()),
                _ => Fallback::Trickle(Arc::new(Trickle::counted_by(self.trickles.clone()))),
            },
        };
        let pool = Pool {
            id,
            app: app.clone(),
            tls,
            failures,
            fallback,
            settings,
            traffic,
            retry_budget: known.map_or_else(
                || Arc::new(RetryBudget::new(self.settings.cores)),
                |known| known.retry_budget.clone(),
            ),
            shares: shares(&endpoints, balancer, known),
            selection: selection(&endpoints, (balancer, managed), known),
            endpoints: endpoints.into(),
            draining: draining.into(),
            metric,
            policy,
        };
        for gone in old.iter().flat_map(|old| old.all_endpoints()) {
            if pool.endpoint(gone.instance.as_str()).is_none_or(|kept| kept.id != gone.id) {
                self.drop_endpoint(app, gone);
            }
        }
        for endpoint in pool.all_endpoints() {
            let takes_requests = endpoint.weight > 0;
            if self.snapshot.endpoints.get(&endpoint.id) != Some(&takes_requests) {
                self.snapshot.endpoints.insert_mut(endpoint.id, takes_requests);
            }
        }
        let pool = Arc::new(pool);
        if pool.traffic.is_some() && self.branch == Branch::Base {
            self.effects.capped.push(pool.clone());
        }
        self.snapshot.pool_ids.insert_mut(app.clone(), id);
        self.snapshot.pools.insert_mut(id, pool);
        self.effects.work.pools += 1;
    }

    /// Settings of a pool; those of the process are shared.
    fn pool_settings(&self, balancer: Balancer, outliers: Option<&Outliers>) -> Arc<PoolSettings> {
        let defaults = &self.settings.defaults.pool;
        let breaker = outliers.map_or(defaults.breaker, |outliers| {
            BreakerSettings::new(outliers.consecutive_failures.into(), outliers.ejection)
        });
        match balancer == defaults.balancer && breaker == defaults.breaker {
            true => defaults.clone(),
            false => Arc::new(PoolSettings { balancer, breaker, ..PoolSettings::clone(defaults) }),
        }
    }

    /// Removes an app's pool with its endpoints, if there is one.
    fn remove_pool(&mut self, app: &AppId) {
        let Some(id) = self.snapshot.pool_ids.get(app).copied() else { return };
        if let Some(pool) = self.snapshot.pools.get(&id).cloned() {
            for endpoint in pool.all_endpoints() {
                self.drop_endpoint(app, endpoint);
            }
            if self.ids.pool_slots.give(pool.metric, self.branch) {
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

    fn make_endpoint(&mut self, instance: &Instance, weight: u16, health: Health) -> Endpoint {
        let id = self.ids.endpoint();
        let metric = self.ids.endpoint_slots.take(self.branch);
        if metric != MetricSlot::SHARED {
            self.effects.slots.push(SlotChange::NameEndpoint {
                slot: metric,
                app: instance.app.clone(),
                instance: instance.id.clone(),
                target: instance.target.clone(),
            });
        }
        self.add_endpoint(id, instance, weight);
        Endpoint {
            id,
            instance: instance.id.clone(),
            generation: instance.generation,
            target: instance.target.clone(),
            addresses: self.addresses_of(&instance.target),
            state: Arc::new(EndpointState::new(health)),
            in_flight: Arc::new(InFlight::new(self.settings.cores)),
            tally: Arc::new(Tally::new(self.settings.cores, TALLY_BUCKET)),
            weight,
            metric,
            affinity: affinity(instance.id.as_str()),
        }
    }

    /// Takes over an endpoint of the other configuration, with its state.
    fn adopt_endpoint(&mut self, other: &Endpoint, instance: &Instance, weight: u16) -> Endpoint {
        if !self.snapshot.has_endpoint(other.id) {
            self.ids.endpoint_slots.share(other.metric, self.branch);
            self.add_endpoint(other.id, instance, weight);
        }
        let addresses = self.addresses_of(&instance.target);
        Endpoint { addresses, weight, ..other.clone() }
    }

    fn add_endpoint(&mut self, id: EndpointId, instance: &Instance, weight: u16) {
        if let TargetHost::Name(name) = instance.target.host() {
            self.use_name(name, &instance.app);
        }
        self.snapshot.endpoints.insert_mut(id, weight > 0);
    }

    fn drop_endpoint(&mut self, app: &AppId, endpoint: &Endpoint) {
        if self.ids.endpoint_slots.give(endpoint.metric, self.branch) {
            self.effects.slots.push(SlotChange::FreeEndpoint { slot: endpoint.metric });
        }
        if let Some(name) = endpoint.name() {
            self.leave_name(name, app);
        }
        self.snapshot.endpoints.remove_mut(&endpoint.id);
        self.snapshot.endpoints_removed = self.ids.removed_endpoint();
    }

    /// Returns the socket addresses of a target; empty while its name is not resolved.
    fn addresses_of(&self, target: &Target) -> Box<[SocketAddr]> {
        match target.host() {
            TargetHost::Address(address) => [SocketAddr::new(*address, target.port())].into(),
            TargetHost::Name(name) => match self.names.get(name) {
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
        let mut entry = match (self.names.get(name), self.other.and_then(|other| other.names.get(name))) {
            (Some(entry), _) => entry.clone(),
            (None, Some(other)) => Name { addresses: other.addresses.clone(), users: map() },
            (None, None) => Name { addresses: [].into(), users: map() },
        };
        let count = entry.users.get(app).copied().unwrap_or(0) + 1;
        entry.users.insert_mut(app.clone(), count);
        self.names.insert_mut(name.clone(), entry);
    }

    /// Counts one endpoint of the app less at this name.
    fn leave_name(&mut self, name: &Hostname, app: &AppId) {
        self.names_touched.insert(name.clone());
        let Some(entry) = self.names.get_mut(name) else { return };
        match entry.users.get(app).copied() {
            Some(count) if count > 1 => entry.users.insert_mut(app.clone(), count - 1),
            Some(_) | None => {
                entry.users.remove_mut(app);
            }
        }
    }

    /// Drops names without users, and assigns the serial of the publication.
    pub(super) fn finish(mut self) -> (Ids, Tables, Effects) {
        for name in std::mem::take(&mut self.names_touched) {
            if self.names.get(&name).is_some_and(|entry| entry.users.is_empty()) {
                self.names.remove_mut(&name);
            }
            self.effects.names_touched.insert(name);
        }
        self.snapshot.serial = self.ids.serial;
        (self.ids, Tables { snapshot: Arc::new(self.snapshot), names: self.names }, self.effects)
    }
}

/// Whether a pool is needed for an app: it is registered, or a route names it.
fn is_used(desired: &Desired, app: &AppId) -> bool {
    desired.app(app.as_str()).is_some() || desired.routes_of_pool(app.as_str()).next().is_some()
}

/// The values of a policy; `None` when it is not known.
pub(super) fn settings_of(desired: &Desired, policy: &PolicyRef) -> Option<Arc<PolicySettings>> {
    match policy {
        PolicyRef::Named(id) => desired.policy(id.as_str()).map(|policy| Arc::new(policy.settings.clone())),
        PolicyRef::Inline(settings) => Some(settings.clone()),
    }
}

/// Shares of the endpoints of a pool: by their weights, or equal ones of all with a weight.
fn shares(endpoints: &[Endpoint], balancer: Balancer, known: Option<&Pool>) -> Shares {
    let weight = |endpoint: &Endpoint| match balancer {
        Balancer::RoundRobin => endpoint.weight.min(1),
        Balancer::WeightedRoundRobin | Balancer::LeastRequest | Balancer::ConsistentHash => endpoint.weight,
    };
    let weights: Vec<u16> = endpoints.iter().map(weight).collect();
    match known {
        Some(known)
            if known.settings.balancer == balancer
                && known.endpoints.iter().map(weight).eq(weights.iter().copied()) =>
        {
            known.shares.clone()
        }
        _ => Shares::new(&weights),
    }
}

/// Rules for the choice of an endpoint; those of the known pool where nothing of it differs.
fn selection(
    endpoints: &[Endpoint],
    (balancer, traffic): (Balancer, Option<&ringway_model::PoolTraffic>),
    known: Option<&Pool>,
) -> Option<Arc<Selection>> {
    let of = |endpoint: &Endpoint| (endpoint.affinity, endpoint.weight);
    let known = known.filter(|known| known.endpoints.iter().map(of).eq(endpoints.iter().map(of)));
    Selection::of(balancer, traffic, known.and_then(|known| known.selection.as_ref()))
}

/// Whether the requests of a route need a client certificate.
fn needs_certificate(route: &Route) -> bool {
    let auth = route.spec.client_auth.as_ref();
    route.spec.requires_client_cert || auth.is_some_and(|auth| auth.need == ClientAuthNeed::Required)
}

/// The same of a domain.
fn domain_needs_certificate(domain: &Domain) -> bool {
    domain.client_auth.as_ref().is_some_and(|auth| auth.need == ClientAuthNeed::Required)
}

/// Client certificates that handshakes of a host ask for: required where every rule needs one.
fn client_auth(domain: Option<&Domain>, routes: &[&Route]) -> Option<ClientAuth> {
    let of_domain = domain.and_then(|domain| domain.client_auth.clone());
    let auth = of_domain.or_else(|| routes.iter().find_map(|route| route.spec.client_auth.clone()))?;
    let is_needed_by_all = routes.iter().all(|route| needs_certificate(route))
        && domain.is_none_or(|domain| domain.client_auth.is_some());
    let need = if is_needed_by_all { auth.need } else { ClientAuthNeed::Optional };
    Some(ClientAuth { need, ..auth })
}

fn rules_by_name(host: Option<&Arc<VirtualHost>>) -> RulesByName {
    let rules = host.into_iter().flat_map(|host| host.rules.iter());
    rules.map(|rule| ((rule.owner.clone(), rule.name.clone()), rule.clone())).collect()
}

fn tenant(hash_key: u64, id: TenantId) -> Tenant {
    let line = format!("X-Tenant-ID: {id}\r\n").into_bytes().into();
    Tenant { hash: TenantHash::new(hash_key, &id), line, id }
}
