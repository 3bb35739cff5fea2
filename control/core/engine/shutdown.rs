//! Orderly shutdown: the cores drain, the store is closed, the callers get their reply. Pure but for the
//! replies.
//!
//! ```text
//!  running ── begin ──► draining ── drained or deadline ──► closing ── closed or timeout ──► ended
//! ```

use std::time::Duration;

use ringway_bridge::ReplySender;
use ringway_model::{CoreId, Tick};

/// Result of a shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Cores that had not drained by the deadline. Empty when no connection was cut.
    pub pending: Vec<CoreId>,
}

/// Progress of the shutdown.
#[derive(Debug)]
pub(crate) enum Shutdown {
    /// No shutdown.
    Running,
    /// The cores end their connections.
    Draining { deadline: Tick, callers: Vec<ReplySender<Drained>> },
    /// The store is being closed.
    Closing { deadline: Tick, callers: Vec<ReplySender<Drained>>, result: Drained },
    /// The control thread may end.
    Ended,
}

impl Shutdown {
    pub(crate) fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }

    /// Time at which the next step is due whatever the cores do.
    pub(crate) fn next_deadline(&self) -> Tick {
        match self {
            Self::Running | Self::Ended => Tick::NEVER,
            Self::Draining { deadline, .. } => deadline.after(DRAIN_GRACE),
            Self::Closing { deadline, .. } => *deadline,
        }
    }

    /// Begins the shutdown, or moves the deadline of a running one forward. Returns whether it began now.
    pub(crate) fn begin(&mut self, deadline: Tick, caller: Option<ReplySender<Drained>>) -> bool {
        match self {
            Self::Running => {
                *self = Self::Draining { deadline, callers: caller.into_iter().collect() };
                return true;
            }
            Self::Draining { deadline: until, callers } => {
                *until = deadline.min(*until);
                callers.extend(caller);
            }
            Self::Closing { callers, .. } => callers.extend(caller),
            Self::Ended => {}
        }
        false
    }

    /// Whether the store is to be closed now: the drain is complete (`is_drained`), or has timed out.
    pub(crate) fn is_closing_due(&self, is_drained: bool, now: Tick) -> bool {
        match self {
            Self::Draining { deadline, .. } => is_drained || now >= deadline.after(DRAIN_GRACE),
            Self::Running | Self::Closing { .. } | Self::Ended => false,
        }
    }

    /// Records that the store is being closed, until `deadline` at the latest. `pending` are the cores that
    /// have not drained.
    pub(crate) fn handle_closing(&mut self, pending: Vec<CoreId>, deadline: Tick) {
        if let Self::Draining { callers, .. } = self {
            *self = Self::Closing { deadline, callers: std::mem::take(callers), result: Drained { pending } };
        }
    }

    /// Records that the store is closed.
    pub(crate) fn handle_closed(&mut self, now: Tick) {
        if let Self::Closing { deadline, .. } = self {
            *deadline = now;
        }
    }

    /// Ends the shutdown and replies to its callers once the store is closed or its timeout has passed.
    pub(crate) fn end_if_due(&mut self, now: Tick) {
        let Self::Closing { deadline, callers, result } = self else { return };
        if now < *deadline {
            return;
        }
        tracing::info!(pending = ?result.pending, "shutdown complete");
        for caller in callers.drain(..) {
            let _ = caller.send(result.clone());
        }
        *self = Self::Ended;
    }
}

/// Time that a core has to cut the remaining connections at its deadline and to report it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
