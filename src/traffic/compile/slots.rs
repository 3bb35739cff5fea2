//! Allocator of metric slots.

use ringway_model::limits;
use rpds::QueueSync;

use crate::snapshot::MetricSlot;

/// Metric slots of one kind: routes, pools or endpoints. Slots are reused in the order of their release: an
/// exchange that began under the former owner may still be counted.
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
    /// Takes an unused slot, or the shared one when all are in use.
    pub(super) fn take(&mut self) -> MetricSlot {
        if usize::from(self.used_max) < limits::METRIC_SLOTS_MAX {
            self.used_max += 1;
            return MetricSlot(self.used_max);
        }
        let Some(slot) = self.free.peek().copied() else { return MetricSlot::SHARED };
        self.free.dequeue_mut();
        MetricSlot(slot)
    }

    /// Releases a slot; false for the shared one, which has no single owner.
    pub(super) fn give(&mut self, slot: MetricSlot) -> bool {
        let own = slot != MetricSlot::SHARED;
        if own {
            self.free.enqueue_mut(slot.0);
        }
        own
    }
}

const _: () = assert!(limits::METRIC_SLOTS_MAX < u16::MAX as usize, "a slot has sixteen bits");
