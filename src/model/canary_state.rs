//! State of a canary that outlives reloads and restarts.

use std::sync::Arc;

use crate::change::Draft;
use crate::{Configured, Kind, Owner, Percent, RouteId, Timestamp};

/// Progress of a route's canary: its step, and whether it is braked. It belongs to the plan with this hash;
/// another plan of the route begins from its own weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanaryState {
    /// The route.
    pub route: RouteId,
    /// The owner: always the registration API, because the owners of routes replace only what they wrote.
    pub owner: Owner,
    /// Hash of the plan.
    pub plan: u64,
    /// The brake, where it has acted.
    pub braked: Option<Braked>,
    /// Steps that were taken.
    pub step: u8,
    /// Time of the last step, or of the beginning.
    pub stepped_at: Timestamp,
    /// Weight that an operator has set in place of the plan's.
    pub set_weight: Option<SetWeight>,
}

/// Weight of a canary that was set at run time. Ends with the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetWeight {
    /// The weight.
    pub weight: Percent,
    /// Time of the change.
    pub at: Timestamp,
    /// Name of the user who made it.
    pub by: Arc<str>,
    /// The reason that was given; empty when there was none.
    pub reason: Arc<str>,
}

/// Act of the brake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Braked {
    /// Its time.
    pub at: Timestamp,
    /// Its reason, for people.
    pub reason: Arc<str>,
}

impl Configured for CanaryState {
    fn key(&self) -> &str {
        self.route.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}

impl Draft<'_> {
    pub(crate) fn put_canary_state(&mut self, state: &CanaryState) {
        if self.desired.canary_state(state.route.as_str()).map(|known| &**known) != Some(state) {
            self.put(state.clone());
        }
    }

    pub(crate) fn remove_canary_state(&mut self, route: &RouteId) {
        if let Some(known) = self.desired.canary_state(route.as_str()).cloned() {
            self.remove(known);
        }
    }
}
