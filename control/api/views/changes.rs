//! Results of changes, as the API shows them.

use ringway_control::Receipt;
use ringway_model::Outcome;
use serde::Serialize;
use utoipa::ToSchema;

/// What a change did, beside the object that it was about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted<T> {
    /// The object after the change; its fields are absent when another change has removed it since.
    #[serde(flatten)]
    pub(crate) object: Option<T>,
    /// The revision that has the change.
    pub(crate) revision: u64,
    #[schema(examples("created", "updated", "unchanged", "removed"))]
    pub(crate) outcome: &'static str,
    /// Cores that do not serve the change yet, by number; only in a 202.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pending: Vec<u16>,
}

impl<T> Accepted<T> {
    pub(crate) fn new(receipt: &Receipt, object: Option<T>) -> Self {
        Self {
            object,
            revision: receipt.revision.0,
            outcome: outcome_word(receipt.outcome),
            pending: receipt.pending.iter().map(|core| core.0).collect(),
        }
    }
}

/// Nothing: the object is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Gone {}

/// The word for an outcome.
pub(crate) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Unchanged => "unchanged",
        Outcome::Removed => "removed",
    }
}
