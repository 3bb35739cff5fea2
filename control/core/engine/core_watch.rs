//! Watch over the cores: logs changes of their states and detects stalled ones.

use super::core_acks::CoreProgress;
use crate::limits::CORE_STALL;
use crate::status::CoreState;
use crate::time::Micros;

/// Last logged state of each core.
#[derive(Debug)]
pub(crate) struct CoreWatch(Vec<CoreState>);

impl CoreWatch {
    /// A watch over `count` following cores.
    pub(crate) fn new(count: usize) -> Self {
        Self(vec![CoreState::Following; count])
    }

    /// Logs changes of state.
    pub(crate) fn log_changes(&mut self, cores: impl Iterator<Item = CoreProgress>) {
        for (core, logged) in cores.zip(&mut self.0) {
            if core.state == *logged {
                continue;
            }
            let id = core.id.0;
            match core.state {
                CoreState::Lagging => {
                    tracing::warn!(core = id, "core has not acknowledged the configuration in time");
                }
                CoreState::Following => {
                    tracing::info!(core = id, "core has caught up with the configuration")
                }
                CoreState::Drained => tracing::info!(core = id, "core has drained"),
                // Logged with the report of the panic.
                CoreState::Dead => {}
            }
            *logged = core.state;
        }
    }
}

/// Whether a core makes no progress. One that has drained need not.
pub(crate) fn has_stalled(core: &CoreProgress, now: Micros) -> bool {
    match core.state {
        CoreState::Following | CoreState::Lagging => {
            core.behind_since.is_some_and(|since| since.after(CORE_STALL) <= now)
        }
        CoreState::Drained => false,
        CoreState::Dead => true,
    }
}
