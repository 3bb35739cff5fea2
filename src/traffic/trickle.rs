//! Requests to a pool without an available endpoint: one a second over all cores (`trickle`).
//!
//! Each pool has an own limiter. With one for all pools, the requests of a busy pool would take every
//! second's place, and those of another owner's pool would find none.

use std::sync::Arc;
#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

use ringway_model::Tick;

/// Rate limiter of one request per interval over all cores, of one pool. Each of its requests is a probe of
/// its endpoint.
#[derive(Debug, Default)]
pub struct Trickle {
    /// Time from which the next request may pass.
    next: AtomicU64,
    count: Arc<TrickleCount>,
}

/// Number of requests that the trickles of all pools have let pass.
#[derive(Debug, Default)]
pub struct TrickleCount(AtomicU64);

impl Trickle {
    /// Returns a limiter that adds its requests to `count`.
    pub fn counted_by(count: Arc<TrickleCount>) -> Self {
        Self { next: AtomicU64::new(0), count }
    }

    /// Whether this request may pass. A relaxed load; writes once per interval.
    pub fn admit(&self, interval: Duration, now: Tick) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let after = now.after(interval).0;
        let passes = next <= now.0
            && self.next.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if passes {
            self.count.0.fetch_add(1, Ordering::Relaxed);
        }
        passes
    }
}

impl TrickleCount {
    /// Requests that passed so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
#[path = "trickle_tests.rs"]
mod tests;
