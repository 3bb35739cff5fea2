//! Adaptive limit: additive increase, multiplicative decrease, by a latency target.
//!
//! A response over the target lowers the limit to four fifths, once per target at most: those that were
//! admitted before are slow as well. A good one raises it by 1/limit while at least half of the permits are
//! in use; until the first one over half the target by 1, so that a route reaches its capacity soon after the
//! start, and not more. There is no baseline that could drift, and no probe that refuses requests of a
//! healthy route.

use std::time::Duration;

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::AdaptiveSettings;
use crate::limits::ADAPTIVE_START;

/// Current limit. Written by each decrease, and by one good response of many; all accesses are relaxed, for
/// it publishes no other memory.
#[derive(Debug)]
pub(super) struct AdaptiveLimit {
    /// The limit, and [`HAS_STARTED`].
    limit: AtomicU32,
    /// Time of the last decrease, in microseconds; 0 before the first one.
    fallen_us: AtomicU64,
}

impl AdaptiveLimit {
    pub(super) fn new() -> Self {
        Self { limit: AtomicU32::new(ADAPTIVE_START), fallen_us: AtomicU64::new(0) }
    }

    /// Current limit, within the lowest one and `max`.
    pub(super) fn current(&self, settings: &AdaptiveSettings, max: u32) -> u32 {
        let limit = self.limit.load(Ordering::Relaxed) & !HAS_STARTED;
        limit.max(settings.min).min(max)
    }

    /// Lowers the limit, unless it was lowered within the last target.
    pub(super) fn lower(&self, settings: &AdaptiveSettings, max: u32, now_us: u64) {
        let before = self.fallen_us.load(Ordering::Relaxed);
        let is_due = before == 0 || now_us.saturating_sub(before) >= micros(settings.target);
        let now_us = now_us.max(1);
        // One core wins.
        if is_due
            && self.fallen_us.compare_exchange(before, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let limit = self.current(settings, max);
            let lowered = (limit - limit.div_ceil(5)).max(settings.min).max(1);
            self.limit.store(lowered | HAS_STARTED, Ordering::Relaxed);
        }
    }

    /// Notes a good response that was over half the target: from now on, the limit rises slowly.
    pub(super) fn end_start(&self) {
        if self.limit.load(Ordering::Relaxed) & HAS_STARTED == 0 {
            self.limit.fetch_or(HAS_STARTED, Ordering::Relaxed);
        }
    }

    /// Good responses that raise the limit by one.
    pub(super) fn step(&self, limit: u32) -> u32 {
        if self.limit.load(Ordering::Relaxed) & HAS_STARTED == 0 { 1 } else { limit }
    }

    /// Raises the limit by one, to `max` at most.
    pub(super) fn raise(&self, settings: &AdaptiveSettings, max: u32) {
        let raised = |word: u32| {
            let limit = (word & !HAS_STARTED).max(settings.min);
            (limit < max).then(|| (limit + 1) | (word & HAS_STARTED))
        };
        // Refused at the maximum.
        let _ = self.limit.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised);
    }
}

/// Whole microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A response has been over half the target since the start.
const HAS_STARTED: u32 = 1 << 31;
