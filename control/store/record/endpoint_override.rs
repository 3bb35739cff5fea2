//! Stored form of an endpoint's override.

use ringway_model::{EndpointOverride, InstanceId, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;

/// The format of overrides that this version writes.
const FORMAT: u32 = 5;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredOverride {
    format: u32,
    owner: StoredOwner,
    instance: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    is_drained: bool,
    at: u64,
    by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
}

impl From<&EndpointOverride> for StoredOverride {
    fn from(of: &EndpointOverride) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(of.owner.clone()),
            instance: of.instance.to_string(),
            weight: of.weight,
            is_drained: of.is_drained,
            at: of.at.0,
            by: of.by.to_string(),
            reason: of.reason.to_string(),
        }
    }
}

impl StoredOverride {
    pub(super) fn into_model(self) -> Option<EndpointOverride> {
        (self.format <= FORMAT).then_some(())?;
        Some(EndpointOverride {
            instance: InstanceId::parse(&self.instance).ok()?,
            owner: self.owner.0,
            weight: self.weight,
            is_drained: self.is_drained,
            at: Timestamp(self.at),
            by: self.by.into(),
            reason: self.reason.into(),
        })
    }
}
