//! One canary: its comparisons, and the decisions that follow.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{BrakeMode, Braked, CanaryState, Owner, Route, SetWeight, Timestamp};
use ringway_traffic::brake::{self, Comparison, Hold, Look, Totals, Watch};
use ringway_traffic::plan::{CanaryPlan, Position, TrafficPlan};

use super::{CanaryCounters, CanaryError};
use crate::time::Now;

/// One canary.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) plan: Arc<TrafficPlan>,
    pub(super) route: Arc<Route>,
    watch: Watch,
    pub(super) look: Look,
    /// The state in force; `None` while it is that of a plan at its beginning without steps.
    pub(super) state: Option<CanaryState>,
    /// First comparison in which a dry run would have braked.
    pub(super) would_brake_since: Option<Timestamp>,
    pub(super) hold: Option<Hold>,
    /// It is of the configuration in force, and not only of the one on trial.
    pub(super) is_in_force: bool,
}

impl Watched {
    pub(super) fn new(
        route: Arc<Route>,
        plan: Arc<TrafficPlan>,
        stored: Option<&CanaryState>,
        is_in_force: bool,
        now: Now,
    ) -> Self {
        let (id, has_steps) =
            plan.canary.as_ref().map_or((0, false), |canary| (canary.id, !canary.settings.steps.is_empty()));
        // A plan with steps counts their time from its beginning, over restarts.
        let begin = || has_steps.then(|| beginning(&route, id, now.at));
        let state = stored.filter(|stored| stored.plan == id).cloned().or_else(begin);
        let watch = Watch::new(now.tick, Totals::default());
        Self {
            plan,
            route,
            watch,
            look: Look::default(),
            state,
            would_brake_since: None,
            hold: None,
            is_in_force,
        }
    }

    /// Compares the variants, and acts on it. True when the canary was braked by it.
    pub(super) fn look(&mut self, now: Now, counters: &mut CanaryCounters) -> bool {
        let Some(canary) = self.plan.canary.clone() else { return false };
        self.look = self.watch.look(now.tick, self.plan.state.totals());
        let is_braked = self.state.as_ref().is_some_and(|state| state.braked.is_some());
        if is_braked {
            self.hold = None;
            return false;
        }
        if self.look.window.is_worse() {
            match canary.settings.brake {
                BrakeMode::On => {
                    counters.braked += 1;
                    self.brake(canary.id, now);
                    return true;
                }
                BrakeMode::DryRun if self.would_brake_since.is_none() => {
                    counters.would_brake += 1;
                    self.would_brake_since = Some(now.at);
                    let (route, reason) = (self.route.spec.id.as_str(), reason(&self.look.window));
                    tracing::warn!(route, reason, "canary fails; it would be braked without its dry run");
                }
                BrakeMode::DryRun | BrakeMode::Off => {}
            }
        } else {
            self.would_brake_since = None;
        }
        // Not during a trial, whose core alone has the requests of this plan.
        if self.is_in_force && self.step(&canary, now) {
            counters.steps += 1;
        }
        false
    }

    fn brake(&mut self, plan: u64, now: Now) {
        let reason: Arc<str> = reason(&self.look.window).into();
        let known = self.state.take().unwrap_or_else(|| beginning(&self.route, plan, now.at));
        tracing::warn!(route = %known.route, %reason, "canary braked: all its requests go to the stable pool");
        let braked = Some(Braked { at: now.at, reason });
        let state = CanaryState { braked, ..known };
        self.plan.state.set_position(Position::from(&state));
        self.state = Some(state);
    }

    /// Takes the next step if it is due.
    fn step(&mut self, canary: &CanaryPlan, now: Now) -> bool {
        self.hold = None;
        let Some(state) = &self.state else { return false };
        let Some(next) = canary.next_step(Position::from(state)) else { return false };
        let elapsed = Duration::from_millis(now.at.0.saturating_sub(state.stepped_at.0));
        if let Err(hold) = brake::take_step(next.after, elapsed, &self.look) {
            self.hold = Some(hold);
            return false;
        }
        tracing::info!(route = %state.route, weight_percent = %next.weight, "canary stepped to its next weight");
        let state = CanaryState { step: state.step + 1, stepped_at: now.at, ..state.clone() };
        self.put(state, now);
        true
    }

    /// The weight that was set in place of the plan's.
    pub(super) fn set_weight(&self) -> Option<&SetWeight> {
        self.state.as_ref()?.set_weight.as_ref()
    }

    /// The state with another set weight.
    pub(super) fn weighted(
        &self,
        set_weight: Option<SetWeight>,
        now: Timestamp,
    ) -> Result<CanaryState, CanaryError> {
        let canary = self.plan.canary.as_ref().ok_or(CanaryError::NoCanary)?;
        let position = self.plan.state.position();
        if position.is_braked {
            return Err(CanaryError::Braked);
        }
        if canary.next_step(position).is_some() {
            return Err(CanaryError::Stepping);
        }
        let Some(known) = &self.state else {
            return Ok(CanaryState { set_weight, ..beginning(&self.route, canary.id, now) });
        };
        // Later than the state in force, though the clock may have been set back: see `handle_stored`.
        let stepped_at = now.max(Timestamp(known.stepped_at.0.saturating_add(1)));
        Ok(CanaryState { set_weight, stepped_at, ..known.clone() })
    }

    /// Puts a state into force, on all cores at once.
    pub(super) fn put(&mut self, state: CanaryState, now: Now) {
        self.plan.state.set_position(Position::from(&state));
        self.watch.begin_step(now.tick, self.plan.state.totals());
        self.look = Look::default();
        self.state = Some(state);
    }
}

/// State of a plan at its beginning.
fn beginning(route: &Route, plan: u64, at: Timestamp) -> CanaryState {
    CanaryState {
        route: route.spec.id.clone(),
        owner: Owner::Api,
        plan,
        braked: None,
        step: 0,
        stepped_at: at,
        set_weight: None,
    }
}

/// Reason of the brake, for people.
fn reason(comparison: &Comparison) -> String {
    let of = |counts: ringway_traffic::tally::Counts| {
        let rate = brake::failure_rate(counts) * 100.0;
        format!("{} of {} requests ({rate:.1} %)", counts.failures, counts.total())
    };
    let (canary, stable) = (of(comparison.totals.canary), of(comparison.totals.stable));
    format!("in the last minute {canary} failed in the canary, and {stable} in the stable pool")
}
