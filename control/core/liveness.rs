//! Liveness of the control thread and of all workers, for a watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway_model::Tick;
use ringway_net::clock;

/// Last time at which the control thread and all workers made progress. Readable from any thread; a watchdog
/// should be fed only while it is recent.
#[derive(Clone, Debug, Default)]
pub struct Liveness(Arc<AtomicU64>);

impl Liveness {
    pub(crate) fn record(&self, now: Tick) {
        // Relaxed: the number guards no other memory.
        self.0.store(now.0, Ordering::Relaxed);
    }

    /// Last recorded progress, on the clock of [`ringway_net::clock::now`].
    pub fn last(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    /// Whether it is less than `age_max` ago. Progress is recorded every second at least, and no longer once
    /// a worker has stalled for `CORE_STALL`.
    pub fn is_recent(&self, age_max: Duration) -> bool {
        clock::now().since(self.last()) < age_max
    }
}
