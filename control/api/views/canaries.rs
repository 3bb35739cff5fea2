//! Canaries of routes.

use ringway_control::{CanaryComparison, CanaryStatus, Tally};
use ringway_model::{Percent, SetWeight};
use serde::Serialize;
use utoipa::ToSchema;

/// Canaries, by route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CanariesView {
    /// Canaries of the first routes by id; at most as many as a page has.
    pub(crate) canaries: Vec<CanaryView>,
    /// Number of all canaries.
    pub(crate) total: usize,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// Canary of a route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CanaryView {
    pub(crate) route: String,
    #[schema(examples("file", "admin"))]
    pub(crate) owner: String,
    pub(crate) stable_pool: String,
    pub(crate) canary_pool: String,
    /// `braked`: it failed and gets no requests by weight; `stepping`: a higher weight follows; `complete`:
    /// it gets all requests, and should become the stable pool; else `steady`.
    #[schema(examples("steady", "stepping", "complete", "braked"))]
    pub(crate) state: &'static str,
    /// Share of the requests in force, in percent.
    pub(crate) weight: f64,
    /// Share that the plan has at its step, in percent; in force unless it is braked, or a weight is set.
    pub(crate) configured_weight: f64,
    /// Weight that was set at run time in place of the plan's; null without one.
    pub(crate) set_weight: Option<SetWeightView>,
    /// Steps that were taken.
    pub(crate) step: u8,
    /// Steps of the plan.
    pub(crate) steps: usize,
    /// The next step; null after the last one, and while it is braked.
    pub(crate) next_step: Option<NextStepView>,
    /// `on`, `dry_run` or `off`.
    #[schema(examples("on"))]
    pub(crate) brake: &'static str,
    /// Requests of the last minute, as of the last comparison.
    pub(crate) window: ComparisonView,
    /// Requests since the last step, or since the canary began.
    pub(crate) since_step: ComparisonView,
    /// Time of the brake; null while it is not braked.
    pub(crate) braked_at: Option<String>,
    /// Reason of the brake.
    pub(crate) braked_because: Option<String>,
    /// Time since which it would have been braked without its dry run.
    pub(crate) would_brake_since: Option<String>,
    /// Requests that the stable pool took because the canary had no available endpoint, since the start.
    pub(crate) fallbacks: u64,
}

/// Weight of a canary that was set at run time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SetWeightView {
    /// Share of the requests, in percent.
    pub(crate) weight: f64,
    #[schema(format = "date-time")]
    pub(crate) at: String,
    /// User who set it.
    pub(crate) by: String,
    /// The reason that was given; empty when there was none.
    pub(crate) reason: String,
}

impl From<&SetWeight> for SetWeightView {
    fn from(set: &SetWeight) -> Self {
        Self {
            weight: percent(set.weight),
            at: set.at.to_rfc3339_millis(),
            by: set.by.to_string(),
            reason: set.reason.to_string(),
        }
    }
}

/// Step that follows.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NextStepView {
    /// Its weight, in percent.
    pub(crate) weight: f64,
    /// Seconds until it is due.
    pub(crate) due_in_seconds: f64,
    /// Reason why it was not taken at the last comparison: `time`, `traffic` (too few requests) or `failures`
    /// (the canary fails more often).
    #[schema(examples("time"))]
    pub(crate) held_by: Option<&'static str>,
}

/// Requests of both variants over the same time.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ComparisonView {
    pub(crate) stable: VariantView,
    pub(crate) canary: VariantView,
    /// Probability of so many failures of the canary if both variants failed alike; null while one of them
    /// had no requests.
    pub(crate) p_value: Option<f64>,
}

/// Requests to the endpoints of one variant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VariantView {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    /// Share of errors, in percent.
    pub(crate) error_rate: f64,
}

impl From<&CanaryStatus> for CanaryView {
    fn from(status: &CanaryStatus) -> Self {
        let braked = status.braked.as_ref();
        Self {
            route: status.route.to_string(),
            owner: status.owner.to_string(),
            stable_pool: status.stable.to_string(),
            canary_pool: status.canary.to_string(),
            state: match (&status.braked, &status.next) {
                (Some(_), _) => "braked",
                (None, Some(_)) => "stepping",
                (None, None) if status.is_complete() => "complete",
                (None, None) => "steady",
            },
            weight: percent(status.weight),
            configured_weight: percent(status.configured_weight),
            set_weight: status.set_weight.as_ref().map(SetWeightView::from),
            step: status.step,
            steps: status.steps,
            next_step: status.next.map(|next| NextStepView {
                weight: percent(next.weight),
                due_in_seconds: next.left.as_secs_f64(),
                held_by: next.hold,
            }),
            brake: status.mode.as_str(),
            window: (&status.window).into(),
            since_step: (&status.since_step).into(),
            braked_at: braked.map(|braked| braked.at.to_rfc3339()),
            braked_because: braked.map(|braked| braked.reason.to_string()),
            would_brake_since: status.would_brake_since.map(|at| at.to_rfc3339()),
            fallbacks: status.fallbacks,
        }
    }
}

impl From<&CanaryComparison> for ComparisonView {
    fn from(comparison: &CanaryComparison) -> Self {
        let of = |Tally { requests, errors }| VariantView {
            requests,
            errors,
            error_rate: (errors as f64 / requests.max(1) as f64 * 10_000.0).round() / 100.0,
        };
        let CanaryComparison { stable, canary, p_value } = *comparison;
        Self { stable: of(stable), canary: of(canary), p_value }
    }
}

pub(super) fn percent(percent: Percent) -> f64 {
    f64::from(percent.hundredths()) / 100.0
}
