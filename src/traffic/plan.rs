//! Traffic plan of a rule: canary, cohorts, mirroring.

use std::sync::Arc;

use ringway_model::{AppId, CanaryState, TrafficSpec};

use crate::snapshot::PoolId;

/// Traffic plan of a rule.
#[derive(Clone, Debug)]
pub struct TrafficPlan {
    /// The plan as configured.
    pub spec: Arc<TrafficSpec>,
    /// Pool of the canary.
    pub canary: Option<PoolId>,
    /// Pools of the cohorts, in the order of their mappings.
    pub cohorts: Box<[PoolId]>,
    /// Pool that gets copies.
    pub mirror: Option<PoolId>,
    /// The stored progress of the canary, where it is this plan's.
    pub progress: Option<Arc<CanaryState>>,
    /// State that outlives snapshots.
    pub state: Arc<PlanState>,
}

/// State of a [`TrafficPlan`].
#[derive(Debug, Default)]
pub struct PlanState {}

impl TrafficPlan {
    /// Compiles a plan, whose pools `pool` finds, with the state of `known`.
    pub fn new(
        spec: &Arc<TrafficSpec>,
        stored: Option<&Arc<CanaryState>>,
        known: Option<&Self>,
        mut pool: impl FnMut(&AppId) -> PoolId,
    ) -> Self {
        Self {
            spec: spec.clone(),
            canary: spec.canary.as_ref().map(|canary| pool(canary.pool.id())),
            cohorts: spec
                .cohorts
                .iter()
                .flat_map(|cohorts| &cohorts.mappings)
                .map(|(_, to)| pool(to.id()))
                .collect(),
            mirror: spec.mirror.as_ref().map(|mirror| pool(mirror.pool.id())),
            progress: stored.cloned(),
            state: known.map_or_else(Arc::default, |known| known.state.clone()),
        }
    }
}

/// By plan and progress.
impl PartialEq for TrafficPlan {
    fn eq(&self, other: &Self) -> bool {
        (&self.spec, self.canary, &self.cohorts, self.mirror, &self.progress)
            == (&other.spec, other.canary, &other.cohorts, other.mirror, &other.progress)
    }
}

impl Eq for TrafficPlan {}
