//! Status of a canary.

use std::time::Duration;

use ringway_model::{AppId, BrakeMode, Braked, Owner, Percent, RouteId, SetWeight, Timestamp};
use ringway_traffic::brake::{Comparison, Hold};
use ringway_traffic::plan::Position;
use ringway_traffic::tally::Counts;

use super::watched::Watched;
use crate::trial::Tally;

/// Status of the canary of one route.
#[derive(Clone, Debug, PartialEq)]
pub struct CanaryStatus {
    /// The route.
    pub route: RouteId,
    /// Owner of the route.
    pub owner: Owner,
    /// Pool of the stable variant.
    pub stable: AppId,
    /// Pool of the canary.
    pub canary: AppId,
    /// Weight in force; 0 while it is braked.
    pub weight: Percent,
    /// Weight of the plan, were none set and were it not braked.
    pub configured_weight: Percent,
    /// Weight that an operator has set in place of the plan's.
    pub set_weight: Option<SetWeight>,
    /// Number of steps taken.
    pub step: u8,
    /// Number of steps of the plan.
    pub steps: usize,
    /// The step that follows; `None` after the last one, and while it is braked.
    pub next: Option<NextStep>,
    /// Whether it is braked when it fails.
    pub mode: BrakeMode,
    /// Requests of the last minute, as of the last look.
    pub window: CanaryComparison,
    /// Requests since the last step.
    pub since_step: CanaryComparison,
    /// The brake, where it has acted.
    pub braked: Option<Braked>,
    /// Time since which a dry run would have braked it.
    pub would_brake_since: Option<Timestamp>,
    /// Requests that the stable pool took because the canary had no available endpoint.
    pub fallbacks: u64,
}

/// A step that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextStep {
    /// Its weight.
    pub weight: Percent,
    /// Time until it is due; zero when it waits for something else.
    pub left: Duration,
    /// Reason why it was not taken at the last look: `time`, `traffic` or `failures`; `None` before the first
    /// one.
    pub hold: Option<&'static str>,
}

/// Requests of both variants over the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CanaryComparison {
    /// Requests of the stable pool.
    pub stable: Tally,
    /// Requests of the canary.
    pub canary: Tally,
    /// Probability of so many failures of the canary if both failed alike; `None` while one of them had no
    /// requests.
    pub p_value: Option<f64>,
}

impl From<Comparison> for CanaryComparison {
    fn from(Comparison { totals, p_value }: Comparison) -> Self {
        let tally = |counts: Counts| Tally { requests: counts.total(), errors: counts.failures };
        Self { stable: tally(totals.stable), canary: tally(totals.canary), p_value }
    }
}

impl CanaryStatus {
    /// Whether the canary takes all requests for good, so that it should become the stable pool.
    pub fn is_complete(&self) -> bool {
        self.weight == Percent::ALL && self.next.is_none()
    }
}

impl Watched {
    pub(super) fn status(&self, now: Timestamp) -> Option<CanaryStatus> {
        let canary = self.plan.canary.as_ref()?;
        let position = self.plan.state.position();
        let stepped_at = self.state.as_ref().map_or(now, |state| state.stepped_at);
        let elapsed = Duration::from_millis(now.0.saturating_sub(stepped_at.0));
        Some(CanaryStatus {
            route: self.route.spec.id.clone(),
            owner: self.route.owner.clone(),
            stable: self.route.spec.pool()?.clone(),
            canary: canary.settings.pool.id().clone(),
            weight: self.plan.weight(),
            configured_weight: canary.weight_at(Position { step: position.step, ..Position::default() }),
            set_weight: self.set_weight().cloned(),
            step: position.step,
            steps: canary.settings.steps.len(),
            next: canary.next_step(position).map(|next| NextStep {
                weight: next.weight,
                left: next.after.saturating_sub(elapsed),
                hold: self.hold.map(Hold::as_str),
            }),
            mode: canary.settings.brake,
            window: self.look.window.into(),
            since_step: self.look.since_step.into(),
            braked: self.state.as_ref().and_then(|state| state.braked.clone()),
            would_brake_since: self.would_brake_since,
            fallbacks: self.plan.state.fallbacks(),
        })
    }
}
