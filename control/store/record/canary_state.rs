//! Stored form of a canary's state.

use ringway_model::{Braked, CanaryState, Percent, RouteId, SetWeight, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;

/// The format of canary states that this version writes.
const FORMAT: u32 = 5;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set_weight: Option<StoredSetWeight>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredSetWeight {
    /// In hundredths of a percent.
    weight: u16,
    at: u64,
    by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl From<&SetWeight> for StoredSetWeight {
    fn from(set: &SetWeight) -> Self {
        Self {
            weight: set.weight.hundredths(),
            at: set.at.0,
            by: set.by.to_string(),
            reason: set.reason.to_string(),
        }
    }
}

impl StoredSetWeight {
    fn into_model(self) -> Option<SetWeight> {
        Some(SetWeight {
            weight: Percent::from_hundredths(self.weight)?,
            at: Timestamp(self.at),
            by: self.by.into(),
            reason: self.reason.into(),
        })
    }
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
            set_weight: state.set_weight.as_ref().map(StoredSetWeight::from),
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
            set_weight: match self.set_weight {
                Some(set) => Some(set.into_model()?),
                None => None,
            },
        })
    }
}
