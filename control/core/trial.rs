//! Trial of an operator's configuration: first on one core, then on all; reverted when it is worse there.
//!
//! ```text
//!  submitted ─► running on one core ── bake time over, not worse ──► promoting ── stored ──► promoted: all cores
//!                      │                                                  └── not stored ─┐
//!                      └── worse, panic, core lost, aborted, superseded, conflict ────────┴─► reverted
//! ```
//! A trial is stored when it is promoted: a process that ends meanwhile starts with the configuration before
//! it. Registrations, addresses and certificates reach all cores during a trial.

mod gate;
pub(crate) mod history;
pub(crate) mod probation;
pub(crate) mod proving;
pub(crate) mod trials;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{CoreId, Owner, Timestamp};

/// Way in which a change comes into force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rollout {
    /// Stored, then on all cores.
    #[default]
    Direct,
    /// On one core for the bake time, then stored and on all cores. Direct where the change does not affect
    /// requests, and with a bake time of zero.
    Trial {
        /// Time on the one core.
        bake: Duration,
    },
}

/// Number of a trial within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrialId(pub u64);

/// Requests of one core or several, and those of them that failed: with status 500, 502, 503 or 504, or by
/// a response that broke off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Completed requests.
    pub requests: u64,
    /// Failed requests.
    pub errors: u64,
}

/// The present trial, or the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialStatus {
    /// Its number.
    pub id: TrialId,
    /// Owner of the configuration.
    pub owner: Owner,
    /// Version of the configuration.
    pub version: Arc<str>,
    /// Its progress.
    pub state: TrialState,
    /// The core that it runs on.
    pub core: CoreId,
    /// Time of its start.
    pub started_at: Timestamp,
    /// Time since then, or its length.
    pub elapsed: Duration,
    /// Time after which it is promoted.
    pub bake: Duration,
    /// Requests of its core.
    pub on_trial: Tally,
    /// Requests of the other cores during that time.
    pub others: Tally,
    /// Requests of all cores in the minute before it.
    pub before: Tally,
    /// The lower of the z scores against the other cores and against the minute before; `None` without
    /// enough requests.
    pub z: Option<f64>,
}

/// Progress of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// One core routes by the configuration.
    Running,
    /// It is being stored.
    Promoting,
    /// It is stored, and every core routes by it.
    Promoted {
        /// Whether its core had enough requests to compare.
        is_judged: bool,
    },
    /// No core routes by it.
    Reverted(RevertReason),
}

impl TrialState {
    /// Name in the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Promoting => "promoting",
            Self::Promoted { .. } => "promoted",
            Self::Reverted(_) => "reverted",
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Promoted { .. } | Self::Reverted(_))
    }
}

/// Reason why a trial was reverted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RevertReason {
    /// Its core had more failed requests than the other cores, and than before.
    Worse,
    /// A task panicked on its core.
    Panicked,
    /// Its core ended, or did not acknowledge it in time.
    CoreLost,
    /// An operator aborted it.
    Aborted,
    /// A newer change of its owner took its place.
    Superseded,
    /// A registration of the meantime contradicts it.
    Conflict(String),
    /// It could not be stored.
    NotStored(String),
    /// The process shuts down.
    ShuttingDown,
}

impl RevertReason {
    /// Name in the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Panicked => "panicked",
            Self::CoreLost => "core_lost",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::Conflict(_) => "conflict",
            Self::NotStored(_) => "not_stored",
            Self::ShuttingDown => "shutting_down",
        }
    }

    /// Whether the configuration itself is at fault: it should not be tried again by itself.
    pub fn blames_configuration(&self) -> bool {
        match self {
            Self::Worse | Self::Panicked | Self::CoreLost | Self::Aborted => true,
            Self::Superseded | Self::Conflict(_) | Self::NotStored(_) | Self::ShuttingDown => false,
        }
    }
}

impl fmt::Display for RevertReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worse => f.write_str("more requests failed on its core than on the others and than before"),
            Self::Panicked => f.write_str("a task panicked on its core"),
            Self::CoreLost => f.write_str("its core ended or did not acknowledge it in time"),
            Self::Aborted => f.write_str("aborted by an operator"),
            Self::Superseded => f.write_str("a newer change took its place"),
            Self::Conflict(why) => write!(f, "a registration of the meantime contradicts it: {why}"),
            Self::NotStored(why) => write!(f, "it could not be stored: {why}"),
            Self::ShuttingDown => f.write_str("the process shuts down"),
        }
    }
}

/// A request to promote or abort found no trial that it could end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTrial;

impl fmt::Display for NoTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no configuration is on trial")
    }
}

impl std::error::Error for NoTrial {}
