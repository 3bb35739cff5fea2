//! Stored form of a canary's state.

use ringway_model::{Braked, CanaryState, RouteId, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;

/// The format of canary states that this version writes.
const FORMAT: u32 = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredCanaryState {
    format: u32,
    owner: StoredOwner,
    route: String,
    plan: u64,
    /// Time and reason of the brake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    braked: Option<(u64, String)>,
    step: u8,
    stepped_at: u64,
}

impl From<&CanaryState> for StoredCanaryState {
    fn from(state: &CanaryState) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(state.owner.clone()),
            route: state.route.to_string(),
            plan: state.plan,
            braked: state.braked.as_ref().map(|braked| (braked.at.0, braked.reason.to_string())),
            step: state.step,
            stepped_at: state.stepped_at.0,
        }
    }
}

impl StoredCanaryState {
    pub(super) fn into_model(self) -> Option<CanaryState> {
        (self.format <= FORMAT).then_some(())?;
        Some(CanaryState {
            route: RouteId::parse(&self.route).ok()?,
            owner: self.owner.0,
            plan: self.plan,
            braked: self.braked.map(|(at, reason)| Braked { at: Timestamp(at), reason: reason.into() }),
            step: self.step,
            stepped_at: Timestamp(self.stepped_at),
        })
    }
}
