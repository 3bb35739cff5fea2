//! Canaries: compared with their stable pools every ten seconds; braked when they fail, stepped while they do
//! not.
//!
//! ```text
//! counts of the cores ─► Watch ─► worse ─► weight 0 on all cores at once ─► stored, logged, webhook
//!                          └────► step due, enough requests, no difference ─► next weight ─► stored
//! ```
//! A decision is in force before it is stored as the route's [`CanaryState`]: each look compares the two, and
//! stores the state again where it differs. A state belongs to one plan; that of
//! another one is removed.

mod status;
mod watched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CanaryState, Change, Desired, Route, RouteId, SetWeight, Tick, Timestamp};
use ringway_traffic::plan::TrafficPlan;
use ringway_traffic::snapshot::Snapshot;

pub use self::status::{CanaryComparison, CanaryStatus, NextStep};
use self::watched::Watched;
use crate::time::Now;
use crate::view::View;

/// All canaries of the configuration in force and of the one on trial.
#[derive(Debug)]
pub(crate) struct Canaries {
    interval: Duration,
    next_look: Tick,
    watched: BTreeMap<PlanKey, Watched>,
    counters: CanaryCounters,
}

/// Route and number of a plan: the configuration on trial may have another plan of the same route.
type PlanKey = (RouteId, u64);

/// Decisions since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CanaryCounters {
    /// Canaries that were braked.
    pub(crate) braked: u64,
    /// Canaries that would have been braked, in dry runs.
    pub(crate) would_brake: u64,
    /// Steps that were taken.
    pub(crate) steps: u64,
}

/// Work that follows a look.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Store or remove a state.
    Submit(RouteId, Box<Change>),
    /// Report a canary that was braked.
    Braked(CanaryState),
}

/// Reason why a canary refuses an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CanaryError {
    /// The route has no canary, or there is no such route.
    NoCanary,
    /// It is not braked, and so cannot be resumed.
    NotBraked,
    /// It is braked: a weight would have no effect.
    Braked,
    /// It steps by its plan: the next step would replace a weight.
    Stepping,
}

impl Canaries {
    /// Begins to compare one interval from now.
    pub(crate) fn new(interval: Duration, view: View<'_>) -> Self {
        let mut canaries = Self {
            interval,
            next_look: view.now.tick.after(interval),
            watched: BTreeMap::new(),
            counters: CanaryCounters::default(),
        };
        canaries.follow(view);
        canaries
    }

    /// Time of the next look.
    pub(crate) fn next_deadline(&self) -> Tick {
        self.next_look
    }

    /// Decisions since the start.
    pub(crate) fn counters(&self) -> CanaryCounters {
        self.counters
    }

    /// Compares all canaries, when that is due. A walk over the operators' routes, and some microseconds for
    /// each canary.
    pub(crate) fn advance(&mut self, view: View<'_>) -> Vec<Effect> {
        if view.now.tick < self.next_look {
            return Vec::new();
        }
        self.next_look = view.now.tick.after(self.interval);
        self.follow(view);
        let mut effects = Vec::new();
        for watched in self.watched.values_mut() {
            if watched.look(view.now, &mut self.counters)
                && let Some(state) = &watched.state
            {
                effects.push(Effect::Braked(state.clone()));
            }
        }
        effects.extend(
            self.unstored(view.desired).map(|(route, change)| Effect::Submit(route, Box::new(change))),
        );
        effects
    }

    /// Follows the plans of the configuration: those that are new begin where they were stored.
    pub(crate) fn follow(&mut self, view: View<'_>) {
        let mut known: BTreeSet<PlanKey> = BTreeSet::new();
        let trial = view.trial.map(|(desired, snapshot)| (desired, snapshot, false));
        for (desired, snapshot, is_in_force) in [(view.desired, view.snapshot, true)].into_iter().chain(trial)
        {
            for (route, plan) in plans(desired, snapshot) {
                let Some(canary) = &plan.canary else { continue };
                let key = (route.spec.id.clone(), canary.id);
                if !known.insert(key.clone()) {
                    continue;
                }
                match self.watched.get_mut(&key) {
                    Some(watched) if Arc::ptr_eq(&watched.plan.state, &plan.state) => {
                        watched.plan = plan;
                        watched.route = route;
                        watched.is_in_force = is_in_force;
                    }
                    _ => {
                        let stored = desired.canary_state(route.spec.id.as_str()).map(|state| &**state);
                        let watched = Watched::new(route, plan, stored, is_in_force, view.now);
                        self.watched.insert(key, watched);
                    }
                }
            }
        }
        self.watched.retain(|key, _| known.contains(key));
    }

    /// Takes a stored state into force, unless a later decision is: it resumes a canary, or sets its weight.
    /// An earlier one that a slow store has written late stays without effect, and the next look stores what
    /// is in force again.
    pub(crate) fn handle_stored(&mut self, state: &CanaryState, now: Now) {
        let Some(watched) = self.watched.get_mut(&(state.route.clone(), state.plan)) else { return };
        if watched.state.as_ref().is_some_and(|known| state.stepped_at < known.stepped_at) {
            return;
        }
        let braked = watched.state.as_ref().and_then(|known| known.braked.as_ref());
        if braked.is_some_and(|braked| state.braked.is_none() && state.stepped_at >= braked.at) {
            tracing::info!(route = %state.route, "canary resumed");
            watched.put(state.clone(), now);
        } else if braked.is_none()
            && state.braked.is_none()
            && watched.set_weight() != state.set_weight.as_ref()
        {
            watched.put(state.clone(), now);
            let weight_percent = watched.plan.weight();
            tracing::info!(route = %state.route, %weight_percent, "weight of the canary set at run time");
        }
    }

    /// The state that resumes a braked canary, to be stored.
    ///
    /// # Errors
    /// See [`CanaryError`].
    pub(crate) fn resumed(&self, route: &RouteId, now: Timestamp) -> Result<CanaryState, CanaryError> {
        let mut plans = self.of_route(route).peekable();
        plans.peek().ok_or(CanaryError::NoCanary)?;
        let state = plans.find_map(|watched| watched.state.clone().filter(|state| state.braked.is_some()));
        let mut state = state.ok_or(CanaryError::NotBraked)?;
        // Never before the brake, though the clock may have been set back.
        let braked = state.braked.take().map_or(now, |braked| braked.at);
        state.stepped_at = now.max(braked);
        Ok(state)
    }

    /// The state of a canary with a weight in place of its plan's, or with the plan's again, to be stored.
    ///
    /// # Errors
    /// See [`CanaryError`].
    pub(crate) fn weighted(
        &self,
        route: &RouteId,
        set_weight: Option<SetWeight>,
        now: Timestamp,
    ) -> Result<CanaryState, CanaryError> {
        let mut watched = self.of_route(route).filter(|watched| watched.is_in_force);
        let watched = watched.next().ok_or(CanaryError::NoCanary)?;
        watched.weighted(set_weight, now)
    }

    /// Status of all canaries in force, by route.
    pub(crate) fn statuses(&self, now: Timestamp) -> Vec<CanaryStatus> {
        self.watched
            .values()
            .filter(|watched| watched.is_in_force)
            .filter_map(|watched| watched.status(now))
            .collect()
    }

    fn of_route(&self, route: &RouteId) -> impl Iterator<Item = &Watched> {
        let first = (route.clone(), 0);
        let route = route.clone();
        self.watched.range(first..).map_while(move |((of, _), watched)| (*of == route).then_some(watched))
    }

    /// Changes that store what is in force, and remove the states of plans that are gone.
    fn unstored<'a>(&'a self, desired: &'a Desired) -> impl Iterator<Item = (RouteId, Change)> + 'a {
        let is_known = |state: &CanaryState| self.watched.contains_key(&(state.route.clone(), state.plan));
        let gone = desired
            .canary_states()
            .filter(move |state| !is_known(state))
            .map(|state| (state.route.clone(), Change::RemoveCanaryState { route: state.route.clone() }));
        let in_force = self.watched.values().filter(|watched| watched.is_in_force);
        let changed = in_force.filter_map(|watched| watched.state.as_ref()).filter(|state| {
            desired.canary_state(state.route.as_str()).is_none_or(|stored| **stored != **state)
        });
        let put =
            |state: &CanaryState| (state.route.clone(), Change::PutCanaryState(Arc::new(state.clone())));
        gone.chain(changed.map(put))
    }
}

/// Plans with a canary, and their routes.
fn plans(desired: &Desired, snapshot: &Snapshot) -> Vec<(Arc<Route>, Arc<TrafficPlan>)> {
    let has_canary =
        |route: &&Arc<Route>| route.spec.traffic.as_ref().is_some_and(|traffic| traffic.canary.is_some());
    let routes: Vec<&Arc<Route>> = desired.routes().filter(has_canary).collect();
    let hosts: BTreeSet<_> = routes.iter().map(|route| &route.spec.host).collect();
    let rules = hosts.into_iter().filter_map(|host| snapshot.virtual_host_of(host));
    let plans: BTreeMap<&str, &Arc<TrafficPlan>> = rules
        .flat_map(|host| host.rules.iter())
        .filter_map(|rule| Some((rule.route_id()?, rule.traffic.as_ref()?.plan.as_ref()?)))
        .collect();
    let plan_of = |route: &Arc<Route>| Some((route.clone(), (*plans.get(route.spec.id.as_str())?).clone()));
    routes.into_iter().filter_map(plan_of).collect()
}

#[cfg(test)]
#[path = "canaries_tests.rs"]
mod tests;
