//! Slow start: an endpoint that comes into rotation gets its share of the requests little by little.
//!
//! Caches are cold and code is not compiled yet in a process that has just started, or that was ejected and
//! recovers. Its share rises linearly from a tenth to the whole: a pick that finds such an endpoint takes it
//! with that probability, else another one. Where no other is left, it takes the request all the same.
//!
//! The state is observed by picks alone: a pick that meets the endpoint out of rotation (joining, unhealthy,
//! breaker not closed) notes it, and the first one that meets it back begins the ramp. Neither the breaker
//! nor health checks have to know of it, and all cores share one ramp. Endpoints that begin together, as
//! after a start of the process, have equal shares all the while.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

use ringway_model::{Percent, Tick};

/// Part of an endpoint's regular share, in 65,536ths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Share(u32);

impl Share {
    /// The regular share.
    pub(crate) const FULL: Self = Self(1 << 16);
    /// The share at the begin of a ramp: a tenth.
    pub(crate) const FIRST: Self = Self((1 << 16) / 10);

    /// Whether a request takes the endpoint; `draw` is uniform over all numbers.
    #[inline]
    pub(crate) fn takes(self, draw: u64) -> bool {
        (draw >> 48) < u64::from(self.0)
    }

    /// The share in percent, rounded down to hundredths.
    fn percent(self) -> Percent {
        // At most 10,000.
        Percent::from_hundredths((self.0 * 10_000 / Self::FULL.0) as u16).unwrap_or(Percent::ALL)
    }

    /// The share of a weight, in 65,536ths of one.
    #[inline]
    pub(crate) fn of(self, weight: u16) -> u64 {
        u64::from(weight) * u64::from(self.0)
    }
}

/// Begin of an endpoint's rise, on one word that all cores share. Written twice per outage.
#[derive(Debug)]
pub(crate) struct Ramp {
    /// The tick of its begin, plus one; 0 while the endpoint is out of rotation.
    begun: AtomicU64,
}

impl Default for Ramp {
    /// The ramp of a new endpoint, which was not in rotation yet.
    fn default() -> Self {
        Self { begun: AtomicU64::new(OUT) }
    }
}

const OUT: u64 = 0;

impl Ramp {
    /// Notes that the endpoint is out of rotation. One relaxed load; stores once.
    #[inline]
    pub(crate) fn leave(&self) {
        if self.begun.load(Ordering::Relaxed) != OUT {
            self.begun.store(OUT, Ordering::Relaxed);
        }
    }

    /// The share at `now` of an endpoint in rotation, whose ramp takes `duration`. The first call after
    /// [`leave`](Self::leave) begins the ramp. One relaxed load otherwise.
    #[inline]
    pub(crate) fn share(&self, duration: Duration, now: Tick) -> Share {
        let begun = match self.begun.load(Ordering::Relaxed) {
            OUT => self.begin(now),
            begun => Tick(begun - 1),
        };
        share_after(begun.until(now), duration)
    }

    /// The share in percent of a ramp in progress, which this does not begin; `None` when there is none.
    pub(crate) fn progress(&self, duration: Duration, now: Tick) -> Option<Percent> {
        let begun = self.begun.load(Ordering::Relaxed);
        let share = share_after(Tick(begun.checked_sub(1)?).until(now), duration);
        (share < Share::FULL).then(|| share.percent())
    }

    #[cold]
    fn begin(&self, now: Tick) -> Tick {
        let begun = now.0.saturating_add(1);
        // Of several cores the first one counts.
        match self.begun.compare_exchange(OUT, begun, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) | Err(OUT) => now,
            Err(known) => Tick(known - 1),
        }
    }
}

fn share_after(elapsed: Duration, duration: Duration) -> Share {
    let (elapsed, duration) = (elapsed.as_millis(), duration.as_millis());
    if elapsed >= duration {
        return Share::FULL;
    }
    let (first, full) = (u128::from(Share::FIRST.0), u128::from(Share::FULL.0));
    // Below `full`, for `elapsed` is below `duration`.
    Share((first + (full - first) * elapsed / duration) as u32)
}

#[cfg(all(test, not(loom)))]
#[path = "slow_start_tests.rs"]
mod tests;
