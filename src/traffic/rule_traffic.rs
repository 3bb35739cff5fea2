//! Traffic decisions of a rule and of a pool, beyond choosing an endpoint in turn: settings of the snapshot,
//! and state that outlives it.
//!
//! The next snapshot has the same state for the same rule and pool: a change of numbers, or of anything
//! else, resets no limit, breaker or canary.

use std::sync::Arc;

use ringway_model::Retries;

use crate::hedge::Hedging;
use crate::mirror::Mirror;
use crate::overload::LoadLimit;
use crate::plan::TrafficPlan;
use crate::pool_breaker::PoolBreaker;
use crate::pool_state::PoolState;
use crate::rate_limit::RateLimiter;

/// Traffic decisions of a rule; a rule without any has none of this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTraffic {
    /// Further attempts of failed requests.
    pub retries: Option<Arc<Retries>>,
    /// Limit of the request rate.
    pub rate_limit: Option<Arc<RateLimiter>>,
    /// Rate limits that stages number; `None` admits all.
    pub stage_limits: Box<[Option<Arc<RateLimiter>>]>,
    /// Circuit breaker of its requests to its pool.
    pub breaker: Option<Arc<PoolBreaker>>,
    /// Canary and cohorts.
    pub plan: Option<Arc<TrafficPlan>>,
    /// Limit of concurrent requests.
    pub overload: Option<Arc<LoadLimit>>,
    /// Second attempts of requests whose responses are late.
    pub hedge: Option<Arc<Hedging>>,
    /// Copies of requests for another pool.
    pub mirror: Option<Arc<Mirror>>,
}

impl RuleTraffic {
    /// Whether there is nothing to decide.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Traffic decisions of an operator's pool.
#[derive(Clone, Debug)]
pub struct PoolTraffic {
    /// The settings.
    pub settings: Arc<ringway_model::PoolTraffic>,
    /// Circuit breaker of all routes together.
    pub breaker: Option<Arc<PoolBreaker>>,
    /// Ejections and other state of all endpoints.
    pub state: Arc<PoolState>,
}

impl PoolTraffic {
    /// Traffic decisions with these settings, and the state of `known`.
    pub fn new(settings: &Arc<ringway_model::PoolTraffic>, known: Option<&Self>, cores: usize) -> Self {
        let breaker = settings.circuit_breaker.as_ref().map(|breaker| {
            let known = known.and_then(|known| known.breaker.as_deref());
            Arc::new(PoolBreaker::new(breaker.clone(), known, cores))
        });
        let state = known.map_or_else(|| Arc::new(PoolState::new(cores)), |known| known.state.clone());
        Self { settings: settings.clone(), breaker, state }
    }
}

/// By the settings.
impl PartialEq for PoolTraffic {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

impl Eq for PoolTraffic {}
