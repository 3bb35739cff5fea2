//! Results of changes, as the API shows them.

use ringway_control::Receipt;
use ringway_model::Outcome;
use serde::Serialize;
use utoipa::ToSchema;

/// Result of a change, with the changed object.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted<T> {
    /// Object after the change; its fields are absent when another change has removed it.
    #[serde(flatten)]
    pub(crate) object: Option<T>,
    /// Revision with the change.
    pub(crate) revision: u64,
    #[schema(examples("created", "updated", "unchanged", "removed"))]
    pub(crate) outcome: &'static str,
    /// Numbers of the cores that have not applied the change; only with status 202.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pending: Vec<u16>,
}

impl<T> Accepted<T> {
    pub(crate) fn new(receipt: &Receipt, object: Option<T>) -> Self {
        Self {
            object,
            revision: receipt.revision.0,
            outcome: outcome_name(receipt.outcome),
            pending: receipt.pending.iter().map(|core| core.0).collect(),
        }
    }
}

/// No object, because it was removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Gone {}

/// The name of an outcome.
pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Unchanged => "unchanged",
        Outcome::Removed => "removed",
    }
}
