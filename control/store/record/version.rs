//! Stored form of a version of an operator's configuration.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ringway_model::{ConfigVersion, SetVersion, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;

/// The format of versions that this version writes.
const FORMAT: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredVersion {
    format: u32,
    owner: StoredOwner,
    sequence: u64,
    version: String,
    at: u64,
    by: String,
    reason: String,
    is_proven: bool,
    /// Compressed documents in Base64.
    source: String,
}

impl From<&ConfigVersion> for StoredVersion {
    fn from(version: &ConfigVersion) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(version.owner.clone()),
            sequence: version.sequence,
            version: version.version.to_string(),
            at: version.at.0,
            by: version.by.to_string(),
            reason: version.reason.to_string(),
            is_proven: version.is_proven,
            source: STANDARD.encode(&version.source),
        }
    }
}

impl StoredVersion {
    pub(super) fn into_model(self) -> Option<ConfigVersion> {
        (self.format <= FORMAT).then_some(())?;
        let owner = self.owner.0;
        Some(ConfigVersion {
            key: ConfigVersion::key_of(&owner, self.sequence),
            owner,
            sequence: self.sequence,
            version: SetVersion::parse(&self.version)?,
            at: Timestamp(self.at),
            by: self.by.into(),
            reason: self.reason.into(),
            source: STANDARD.decode(self.source).ok()?.into(),
            is_proven: self.is_proven,
        })
    }
}
