//! Changes as submitted to the control plane, and their results.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Applied, Change, CoreId, Generation, Outcome, Owner, Rejection, Revision};

use crate::trial::{Rollout, TrialId};

/// A requested change and its conditions.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The change.
    pub change: Change,
    /// Required revision of the configuration (RFC 9110 §13.1.1, `If-Match`).
    pub if_match: Option<Revision>,
    /// Applies the change once, however often it is submitted.
    pub idempotency: Option<Idempotency>,
    /// Way in which it comes into force.
    pub rollout: Rollout,
    /// Result of the change, if the submitter knows it already.
    pub result: Option<KnownResult>,
}

/// Result of a change to the configuration of one revision. It saves the control thread the work as long as
/// that configuration is in force; otherwise the change is applied to the present one.
#[derive(Clone, Debug)]
pub struct KnownResult {
    /// Revision of the configuration, which was in force.
    pub base: Revision,
    /// The result of [`Desired::apply`](ringway_model::Desired::apply).
    pub applied: Applied,
}

/// Idempotency key and the request that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Key chosen by the caller.
    pub key: Box<str>,
    /// Hash of the request: the same key with another hash is refused.
    pub request_hash: u64,
}

impl Submission {
    /// Creates a submission without conditions.
    pub fn of(change: Change) -> Self {
        Self { change, if_match: None, idempotency: None, rollout: Rollout::Direct, result: None }
    }

    /// Creates a submission without conditions that is tried on one core first.
    pub fn on_trial(change: Change, bake: Duration) -> Self {
        Self { rollout: Rollout::Trial { bake }, ..Self::of(change) }
    }
}

/// Confirmation of a change: it is on disk, and every core that is not named in `pending` routes by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Revision that the change created; the present one without an effect.
    pub revision: Revision,
    /// Effect of the change.
    pub outcome: Outcome,
    /// Generation of the registered instance.
    pub generation: Option<Generation>,
    /// The trial that began with the change: it is on one core, and not on disk. `Control::trial` has its
    /// progress.
    pub trial: Option<TrialId>,
    /// Cores that had not acknowledged within `APPLY_DEADLINE`, or were
    /// lagging already; they follow later.
    pub pending: Vec<CoreId>,
    /// Whether this receipt belongs to an earlier submission with the same idempotency key.
    pub replayed: bool,
    /// Time from submission to reply.
    pub applied_in: Duration,
}

/// Reason why a submission had no effect; for [`Refusal::Unconfirmed`] that is unknown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The configuration does not allow the change.
    Rejected(Rejection),
    /// The configuration is not at the required revision.
    RevisionMismatch {
        /// Present revision.
        current: Revision,
    },
    /// The idempotency key was used for another request.
    IdempotencyConflict,
    /// The queue of `CHANGES_WAITING_MAX` submissions is full.
    Busy {
        /// Delay before a retry.
        retry_after: Duration,
    },
    /// The change could not be compiled or stored. The configuration is unchanged.
    Storage(StorageFailure),
    /// The configuration of another owner is on trial: wait for its end, promote it or abort it.
    OnTrial {
        /// The trial.
        trial: TrialId,
        /// Its owner.
        owner: Owner,
    },
    /// The process is shutting down.
    ShuttingDown,
    /// No reply arrived: the change may or may not take effect.
    Unconfirmed,
}

/// Error of the store, shared by all submissions of the batch.
#[derive(Clone, Debug)]
pub struct StorageFailure(Arc<dyn Error + Send + Sync>);

impl StorageFailure {
    /// Wraps an error of the store.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for StorageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for StorageFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::RevisionMismatch { current } => {
                write!(f, "the configuration is at revision {current}; read it again before you change it")
            }
            Self::IdempotencyConflict => {
                f.write_str("this idempotency key was used for another request; use a new key")
            }
            Self::Busy { .. } => f.write_str("too many changes are waiting; try again soon"),
            Self::Storage(_) => f.write_str("the change could not be stored and has no effect"),
            Self::OnTrial { owner, .. } => write!(
                f,
                "a configuration of owner {owner} is on trial; wait for its end, promote it or abort it"
            ),
            Self::ShuttingDown => f.write_str("the process is shutting down"),
            Self::Unconfirmed => f.write_str("no reply in time; the change may still take effect"),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(rejection) => rejection.source(),
            Self::Storage(failure) => Some(failure),
            Self::RevisionMismatch { .. }
            | Self::IdempotencyConflict
            | Self::Busy { .. }
            | Self::OnTrial { .. }
            | Self::ShuttingDown
            | Self::Unconfirmed => None,
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}
