//! Events that no client has ordered, for the audit log.

use ringway_model::{CanaryState, Timestamp};
use ringway_traffic::security_event::{SecurityCount, SecurityEvent};

/// Decision or observation of ringway itself.
#[derive(Debug)]
pub enum OwnEvent<'a> {
    /// A canary was braked.
    Braked(&'a CanaryState),
    /// Something about the protection of routes, once in a minute for equal observations.
    Security {
        /// Time of the report.
        at: Timestamp,
        /// The observation.
        event: &'a SecurityEvent,
        /// Observations since the last report, and the client of the first one.
        count: SecurityCount,
    },
}

/// Callback for each of these events, on the control thread: it must not block.
pub type EventHook = Box<dyn Fn(OwnEvent<'_>) + Send>;
