//! The seam between the API and what it administers.
//!
//! The handlers know nothing of stores, cores and threads: they hand over changes and read what is there. The
//! tests put a plane of their own behind it.

use std::future::Future;
use std::time::Duration;

use ringway_model::{
    Change, CoreId, Desired, Generation, Health, InstanceId, Outcome, Rejection, Revision, Timestamp,
};

/// What the API administers.
pub trait Plane: 'static {
    /// Applies a change: stored, published, and acknowledged by the cores or by the deadline.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>>;
    /// Takes note that an instance lives.
    ///
    /// # Errors
    /// [`Rejection::UnknownInstance`], and [`Rejection::StaleGeneration`] for the message of a replaced process.
    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection>;
    /// The configuration as it is now. One pointer.
    fn desired(&self) -> Desired;
    /// What is known of an instance besides its registration.
    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus>;
    /// How the process does.
    fn status(&self) -> Status;
    /// Whether traffic should be sent here: configuration loaded, listeners open, not draining.
    fn is_ready(&self) -> bool;
    /// Appends the metrics in the Prometheus text format.
    fn metrics(&self, out: &mut String);
}

/// A change with its conditions.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What to do.
    pub change: Change,
    /// Only if the configuration is at this revision.
    pub if_match: Option<Revision>,
    /// Once only: a second submission with the same key is answered with the first one's receipt.
    pub idempotency: Option<Idempotency>,
}

/// An idempotency key and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// A hash of the request that came with it: another request with the same key is refused.
    pub request_hash: u64,
}

/// What became of an accepted change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The revision that has it.
    pub revision: Revision,
    /// What it did.
    pub outcome: Outcome,
    /// The generation of the instance that it registered.
    pub generation: Option<Generation>,
    /// Cores that have not acknowledged it by the deadline.
    pub pending: Vec<CoreId>,
    /// Whether this is the receipt of an earlier submission with the same key.
    pub replayed: bool,
    /// From submission to the last acknowledgement.
    pub applied_in: Duration,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The configuration does not allow it.
    Rejected(Rejection),
    /// The configuration is not at the revision that was asked for.
    RevisionMismatch {
        /// Where it is.
        current: Revision,
    },
    /// The idempotency key came with another request.
    IdempotencyConflict,
    /// Too many changes wait.
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store did not take it, and it was not made.
    Storage,
    /// The process ends.
    ShuttingDown,
    /// No answer came in time: it may or may not take effect.
    Unconfirmed,
}

/// What checks, leases and requests say about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// In rotation or not, by active checks.
    pub health: Health,
    /// Why the last check failed, in words; none after a success.
    pub reason: Option<String>,
    /// Consecutive results of the last kind.
    pub streak: u32,
    /// When the last check ended.
    pub last_check: Option<Timestamp>,
    /// When the last heartbeat came; none if none ever did.
    pub last_heartbeat: Option<Timestamp>,
    /// The circuit breaker: `closed`, `open` or `half_open`.
    pub circuit_breaker: &'static str,
}

/// How the process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Time since the start.
    pub uptime: Duration,
    /// Why it is degraded; empty when it is not.
    pub degraded: Vec<String>,
    /// The store's name.
    pub store: String,
    /// One per core.
    pub workers: Vec<WorkerStatus>,
}

/// How a core does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Which.
    pub core: CoreId,
    /// `io_uring` or `epoll`.
    pub driver: &'static str,
    /// The revision that it serves.
    pub revision: Revision,
    /// Client connections that are open.
    pub connections: u64,
    /// Requests since the start.
    pub requests: u64,
}
