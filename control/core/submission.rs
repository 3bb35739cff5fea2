//! What is asked of the plane, and what it answers.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Change, CoreId, Generation, Outcome, Rejection, Revision};

/// A change that somebody wants, with the conditions under which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What to do.
    pub change: Change,
    /// Only if the configuration is still at this revision (RFC 9110 §13.1.1, `If-Match`).
    pub if_match: Option<Revision>,
    /// The caller's key and a hash of what it asked: the same key with the same hash is done once only.
    pub idempotency: Option<(Box<str>, u64)>,
}

impl Submission {
    /// A change without conditions.
    pub fn of(change: Change) -> Self {
        Self { change, if_match: None, idempotency: None }
    }
}

/// An accepted change: it is on disk, and every core that is not named in `pending` routes by it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The revision that the change made; the present one when nothing changed.
    pub revision: Revision,
    /// What it did.
    pub outcome: Outcome,
    /// The generation of the instance that it registered.
    pub generation: Option<Generation>,
    /// Cores that had not acknowledged within [`APPLY_DEADLINE`](crate::limits::APPLY_DEADLINE), or were known
    /// to lag: they will follow.
    pub pending: Vec<CoreId>,
    /// Whether this is the answer to an earlier submission with the same idempotency key.
    pub replayed: bool,
    /// From submission to answer.
    pub applied_in: Duration,
}

/// Why a submission had no effect. (Except [`Refusal::Unconfirmed`], where it is not known.)
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The change does not fit the configuration.
    Rejected(Rejection),
    /// The configuration is at another revision than the caller believes.
    RevisionMismatch {
        /// Where it is.
        current: Revision,
    },
    /// The idempotency key was used for something else.
    IdempotencyConflict,
    /// [`CHANGES_WAITING_MAX`](crate::limits::CHANGES_WAITING_MAX) submissions wait already.
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// It could not be compiled or written to the store. The configuration is what it was.
    Storage(StorageFailure),
    /// The process is ending.
    ShuttingDown,
    /// No answer came: the change may or may not take effect. Only a [`Client`](crate::Client) says so.
    Unconfirmed,
}

/// What the store said, shared by all submissions that went down together.
#[derive(Clone, Debug)]
pub struct StorageFailure(Arc<dyn Error + Send + Sync>);

impl StorageFailure {
    /// Wraps the store's error.
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
            Self::Busy { .. } => f.write_str("too many changes wait already; try again soon"),
            Self::Storage(_) => f.write_str("the change could not be stored and was not made"),
            Self::ShuttingDown => f.write_str("the process is ending"),
            Self::Unconfirmed => f.write_str("no answer; the change may still take effect"),
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
