//! Replacement of an owner's set: the change, and the versions that it may go back to.

use std::sync::Arc;

use ringway_config::Finding;
use ringway_model::{
    Change, ConfigVersion, Desired, NewVersion, OperatorSet, Owner, Replacement, SetVersion,
};

use super::error::{ConfigError, Step};
use super::history;

/// The change that makes a set an owner's.
pub(super) fn replace(
    owner: &Owner,
    set: &Arc<OperatorSet>,
    expect: Option<Option<SetVersion>>,
    version: Option<NewVersion>,
) -> Change {
    Change::ReplaceOwned(Arc::new(Replacement {
        owner: owner.clone(),
        set: Arc::clone(set),
        expect,
        version,
    }))
}

/// A kept version of an owner; without a version, the one before the present one.
pub(super) fn kept(
    desired: &Desired,
    owner: &Owner,
    version: Option<Arc<str>>,
) -> Result<Arc<ConfigVersion>, ConfigError> {
    let found = match &version {
        Some(version) => history::find(desired, owner, version),
        None => history::previous(desired, owner),
    };
    found.ok_or_else(|| ConfigError::UnknownVersion { owner: owner.clone(), version })
}

/// Refusal of documents with mistakes.
pub(super) fn unreadable(findings: Vec<Finding>) -> ConfigError {
    ConfigError::Refused { step: Step::Reading, findings }
}

/// Owners whose sets are replaced whole.
pub(super) const OPERATORS: [Owner; 2] = [Owner::File, Owner::Admin];
