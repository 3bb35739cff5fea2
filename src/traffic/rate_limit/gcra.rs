//! Arithmetic of the generic cell rate algorithm (GCRA): a rate, a burst, and what one request costs.
//!
//! A key is in *debt* for as long as its theoretical arrival time (TAT) lies ahead: each admitted request
//! adds one interval to the debt, and time pays it off. A request is admitted while the debt leaves room for
//! it.
//!
//! Times are whole microseconds, intervals are not: of 3,000 per second, one takes 333 µs and the next 334.
//! The longer steps are at fixed points of the clock, so that no remainder has to be stored with the key and
//! the rate is exact in the long run.

use std::time::Duration;

use crate::limits;

/// Rate and burst of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gcra {
    /// Requests of a period, at most one per microsecond of it.
    requests: u64,
    /// Length of the period.
    per_us: u64,
    /// Whole microseconds between two requests.
    interval_us: u64,
    /// Microseconds of the period that `requests` times the interval leaves over.
    rest: u64,
    /// Largest debt at which a request is admitted.
    tolerance_us: u64,
    /// Largest debt after an admitted request.
    capacity_us: u64,
}

impl Gcra {
    /// Rate of `requests` in each period of length `per`, of which `burst` are admitted at once.
    ///
    /// Zero counts as one. A rate beyond one request per microsecond counts as that, a period beyond 50 days
    /// as that, and a burst as far as its debt is below 101 days.
    pub fn new(requests: u32, per: Duration, burst: u32) -> Self {
        const PERIOD_US_MAX: u64 = limits::RATE_LIMIT_DEBT_US_MAX / 2;
        let per_us = micros(per).clamp(1, PERIOD_US_MAX);
        let requests = u64::from(requests).clamp(1, per_us);
        let (interval_us, rest) = (per_us / requests, per_us % requests);
        let longest_step = interval_us + u64::from(rest > 0);
        let waits = u128::from(burst.max(1) - 1) * u128::from(per_us);
        let tolerance_us = u64::try_from(waits.div_ceil(u128::from(requests)))
            .unwrap_or(u64::MAX)
            .min(limits::RATE_LIMIT_DEBT_US_MAX - longest_step);
        Self { requests, per_us, interval_us, rest, tolerance_us, capacity_us: tolerance_us + longest_step }
    }

    /// Whether a key in this debt may send a request; else the time until it may.
    pub(super) fn check(&self, debt_us: u64) -> Result<(), Duration> {
        match debt_us.checked_sub(self.tolerance_us) {
            None | Some(0) => Ok(()),
            Some(wait_us) => Err(Duration::from_micros(wait_us)),
        }
    }

    /// Debt that one request adds for a key whose TAT is `tat_us`.
    pub(super) fn step(&self, tat_us: u64) -> u64 {
        if self.rest == 0 {
            return self.interval_us;
        }
        // Number of the interval that contains the TAT, of a grid that begins with the clock.
        let requests = u128::from(self.requests);
        let number = ((u128::from(tat_us) + 1) * requests).div_ceil(u128::from(self.per_us)) - 1;
        // Its place in the period is below 2³², and so is the rest.
        let phase = (number % requests) as u64 * self.rest % self.requests;
        self.interval_us + u64::from(phase + self.rest >= self.requests)
    }

    /// Largest debt of an admitted request. A larger one comes from other settings, or from a clock that went
    /// round, and counts as this.
    pub fn capacity_us(&self) -> u64 {
        self.capacity_us
    }

    /// Requests that a key in this debt may send at once.
    pub fn remaining(&self, debt_us: u64) -> u64 {
        let Some(room_us) = self.tolerance_us.checked_sub(debt_us) else { return 0 };
        let intervals = u128::from(room_us) * u128::from(self.requests) / u128::from(self.per_us);
        u64::try_from(intervals).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// Whole microseconds of a duration.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "gcra_tests.rs"]
mod tests;
