//! The metric slots of routes, pools or endpoints: who gets one, and when it may be another's.

use ringway_model::limits;
use rpds::QueueSync;

use crate::snapshot::MetricSlot;

/// The metric slots of one kind. Of the free ones, the one that has been free the longest is taken: an exchange that
/// began under its former owner may still be counted.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    used_max: u16,
    free: QueueSync<u16>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { used_max: 0, free: QueueSync::new_sync() }
    }
}

impl Slots {
    /// One that nobody has, or the shared one.
    pub(super) fn take(&mut self) -> MetricSlot {
        if usize::from(self.used_max) < limits::METRIC_SLOTS_MAX {
            self.used_max += 1;
            return MetricSlot(self.used_max);
        }
        let Some(slot) = self.free.peek().copied() else { return MetricSlot::SHARED };
        self.free.dequeue_mut();
        MetricSlot(slot)
    }

    /// Whether it was a slot that somebody else can have now.
    pub(super) fn give(&mut self, slot: MetricSlot) -> bool {
        let own = slot != MetricSlot::SHARED;
        if own {
            self.free.enqueue_mut(slot.0);
        }
        own
    }
}

const _: () = assert!(limits::METRIC_SLOTS_MAX < u16::MAX as usize, "a slot has sixteen bits");
