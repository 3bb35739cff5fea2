//! Times of two clocks that are never mixed: [`Tick`] measures durations, [`Timestamp`] is the time of day.

use std::time::Duration;

/// Milliseconds on the process's monotonic clock, the same on all threads. For deadlines and durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// A deadline that never expires.
    pub const NEVER: Self = Self(u64::MAX);

    /// The tick `by` later; [`Tick::NEVER`] when that overflows.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same time in microseconds.
    pub fn as_micros(self) -> u64 {
        self.0.saturating_mul(1_000)
    }

    /// The time from here until `later`; zero when it has passed.
    pub fn until(self, later: Self) -> Duration {
        later.since(self)
    }
}

/// Milliseconds since the Unix epoch by the system clock. For people and records only: the clock may jump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);
