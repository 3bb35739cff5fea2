//! Permit of a route's overload protection.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use ringway_traffic::overload::LoadLimit;

use crate::core::Core;
use crate::exchange::load_queues;
use crate::runtime::Runtime;

/// Permit of a request, given back when it is dropped.
#[must_use = "the permit is given back when this is dropped"]
pub(crate) struct LoadPermit<'a, R: Runtime> {
    core: &'a Core<R>,
    limit: &'a Arc<LoadLimit>,
    /// Time since when an adaptive limit counts the latency, until it was noted.
    since_us: Cell<Option<u64>>,
}

impl<'a, R: Runtime> LoadPermit<'a, R> {
    /// Wraps a permit that was taken. Reads the clock for adaptive limits only.
    pub(super) fn new(core: &'a Core<R>, limit: &'a Arc<LoadLimit>) -> Self {
        let since_us = limit.settings.adaptive.map(|_| core.runtime.now_micros());
        Self { core, limit, since_us: Cell::new(since_us) }
    }

    /// Notes that a good response head has come.
    pub(super) fn note_response_head(&self) {
        if let Some(since_us) = self.since_us.take() {
            self.note(since_us, |_| true);
        }
    }

    /// Notes the latency, if it counts.
    fn note(&self, since_us: u64, counts: impl FnOnce(Duration) -> bool) {
        let now_us = self.core.runtime.now_micros();
        let latency = Duration::from_micros(now_us.saturating_sub(since_us));
        if counts(latency) && self.limit.note_latency(self.core.id.0.into(), latency, now_us) {
            load_queues::serve(self.core, self.limit);
        }
    }
}

impl<R: Runtime> Drop for LoadPermit<'_, R> {
    fn drop(&mut self) {
        if let Some(since_us) = self.since_us.take() {
            // A request without a good response says something about load only if it took too long.
            let target = self.limit.settings.adaptive.map_or(Duration::MAX, |adaptive| adaptive.target);
            self.note(since_us, |latency| latency > target);
        }
        load_queues::release(self.core, self.limit);
    }
}
