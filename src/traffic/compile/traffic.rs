//! Traffic decisions of rules, and the policies that they come from.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{AppId, Desired, Instance, PolicyId, PolicyRef, PolicySettings, Route};

use super::draft::{Draft, Known, settings_of};
use crate::hedge::Hedging;
use crate::mirror::Mirror;
use crate::overload::LoadLimit;
use crate::plan::{PlanSource, TrafficPlan};
use crate::pool_breaker::PoolBreaker;
use crate::rate_limit::{LimitScope, RateLimiter};
use crate::rule_traffic::RuleTraffic;

/// Policies of a rule, the most specific first, each with the scope of its rate limit.
pub(super) struct Layers(pub(super) Vec<(LimitScope, Arc<PolicySettings>)>);

impl Layers {
    /// The values of all.
    pub(super) fn merged(&self) -> PolicySettings {
        self.0.iter().fold(PolicySettings::default(), |merged, (_, layer)| merged.or(layer))
    }
}

impl Draft<'_> {
    /// The policies of a rule, the most specific first: its own, then that of its app or pool.
    pub(super) fn layers(
        &self,
        desired: &Desired,
        rule: &Arc<str>,
        own: &[PolicyRef],
        app: Option<&AppId>,
    ) -> Layers {
        let scope = |policy: &PolicyRef| match policy {
            PolicyRef::Named(id) => LimitScope::Policy(id.as_str().into()),
            PolicyRef::Inline(_) => LimitScope::Route(rule.clone()),
        };
        let of_rule = own.iter().filter_map(|policy| Some((scope(policy), settings_of(desired, policy)?)));
        let of_app = app.and_then(|app| {
            let settings = self.snapshot.pool_of_app(app.as_str())?.policy.clone()?;
            let policy = desired.app(app.as_str()).and_then(|app| app.policy.as_ref()?.name());
            let named = policy.map(|id| LimitScope::Policy(id.as_str().into()));
            Some((named.unwrap_or_else(|| LimitScope::Pool(app.as_str().into())), settings))
        });
        Layers(of_rule.chain(of_app).collect())
    }

    /// The traffic decisions of a rule, with the state of the known one.
    pub(super) fn rule_traffic(
        &mut self,
        desired: &Desired,
        layers: &Layers,
        (route, head_timeout): (Option<&Route>, Duration),
        counted: &[PolicyId],
        known: Known<'_>,
    ) -> Option<Arc<RuleTraffic>> {
        let managed = route.and_then(|route| route.spec.traffic.as_ref());
        if layers.0.is_empty() && managed.is_none() && counted.is_empty() {
            return self.default_traffic.clone();
        }
        let (known, known_app) = match known {
            Known::Own(known) | Known::Adopted(known) => (known.traffic.clone(), known.app.as_ref()),
            Known::New => (None, None),
        };
        let is_same_pool = route.is_none_or(|route| route.spec.pool() == known_app);
        let known = known.as_deref();
        let cores = self.settings.cores;
        let settings = layers.merged();
        let stored =
            route.and_then(|route| desired.canary_state(route.id().as_str())).map(|stored| &**stored);
        let stable = route.and_then(|route| Some((route.id().as_str(), route.spec.pool()?)));
        let traffic = RuleTraffic {
            retries: settings.retries.map(Arc::new),
            rate_limit: self.rate_limit(layers, counted),
            stage_limits: self.stage_limits(desired, counted),
            breaker: settings.circuit_breaker.map(|breaker| {
                // It counts the requests of one route to one pool.
                let known = known.filter(|_| is_same_pool).and_then(|known| known.breaker.as_deref());
                Arc::new(PoolBreaker::new(breaker, known, cores))
            }),
            plan: managed.filter(|spec| spec.canary.is_some() || spec.cohorts.is_some()).zip(stable).map(
                |(spec, (name, app))| {
                    let source = PlanSource {
                        route: name,
                        stable: (app, self.pool_of_app(desired, app)),
                        spec,
                        stored,
                        known: known.and_then(|known| known.plan.as_deref()),
                        cores,
                        secret: &self.settings.bucket_secret,
                    };
                    Arc::new(TrafficPlan::new(&source, |app| self.pool_of_app(desired, app)))
                },
            ),
            overload: managed.and_then(|spec| spec.overload.clone()).map(|overload| {
                let known = known.and_then(|known| known.overload.as_deref());
                Arc::new(LoadLimit::of_route(&overload, head_timeout, known, cores))
            }),
            hedge: settings.hedge.map(|hedge| {
                // Its latencies are those of one route at one pool.
                let known = known.filter(|_| is_same_pool).and_then(|known| known.hedge.as_deref());
                Arc::new(Hedging::new(hedge, known, cores))
            }),
            mirror: managed.and_then(|spec| spec.mirror.as_ref()).map(|mirror| {
                let pool = self.pool_of_app(desired, mirror.pool.id());
                Arc::new(Mirror { pool, settings: mirror.clone() })
            }),
        };
        (!traffic.is_empty()).then(|| Arc::new(traffic))
    }

    /// The rate limit of the most specific policy that has one, or else the process's. `None` where a stage
    /// counts it.
    pub(super) fn rate_limit(&self, layers: &Layers, counted: &[PolicyId]) -> Option<Arc<RateLimiter>> {
        let own = layers.0.iter().find_map(|(scope, layer)| Some((scope, layer.rate_limit.as_ref()?)));
        match own {
            Some((LimitScope::Policy(id), _)) if counted.iter().any(|of| of.as_str() == &**id) => None,
            Some((scope, settings)) => {
                let limiter = RateLimiter::new(scope.clone(), settings.clone(), self.rate_limits.clone());
                Some(Arc::new(limiter))
            }
            None => self.default_traffic.as_ref()?.rate_limit.clone(),
        }
    }
}

impl Draft<'_> {
    /// The rate limits of stages. A policy without one has the process's, and without that one admits all.
    fn stage_limits(&self, desired: &Desired, counted: &[PolicyId]) -> Box<[Option<Arc<RateLimiter>>]> {
        let limiter = |id: &PolicyId| {
            let own = desired.policy(id.as_str()).and_then(|policy| policy.settings.rate_limit.clone());
            let scope = LimitScope::Policy(id.as_str().into());
            let own = own.map(|own| Arc::new(RateLimiter::new(scope, own, self.rate_limits.clone())));
            own.or_else(|| self.default_traffic.as_ref()?.rate_limit.clone())
        };
        counted.iter().map(limiter).collect()
    }
}

/// Weight of an endpoint: its own, or that of its override; 0 while it is drained.
pub(super) fn weight_of(desired: &Desired, instance: &Instance) -> u16 {
    match desired.endpoint_override(instance.id.as_str()) {
        Some(of) if of.is_drained => 0,
        Some(of) => of.weight.unwrap_or(instance.weight),
        None => instance.weight,
    }
}
