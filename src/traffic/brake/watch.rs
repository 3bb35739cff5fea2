//! Sliding window over the totals of one plan.

use std::collections::VecDeque;
use std::time::Duration;

use ringway_model::Tick;

use super::{BRAKE_WINDOW, Comparison, Totals};

/// Readings of one plan's totals over the last window, and those at its last step.
///
/// ```
/// use ringway_model::Tick;
/// use ringway_traffic::brake::{Totals, Watch};
/// use ringway_traffic::tally::Counts;
///
/// let mut watch = Watch::new(Tick(0), Totals::default());
/// let stable = Counts { successes: 899, failures: 1 };
/// let canary = Counts { successes: 60, failures: 40 };
/// let look = watch.look(Tick(10_000), Totals { stable, canary });
/// assert!(look.window.is_worse());
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    /// In order of time; the first is the beginning of the window.
    readings: VecDeque<Reading>,
    at_step: Totals,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Tick,
    totals: Totals,
}

/// Comparisons at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Look {
    /// Attempts of the last [`BRAKE_WINDOW`].
    pub window: Comparison,
    /// Attempts since the last step, or since the watch began.
    pub since_step: Comparison,
}

impl Watch {
    /// Begins to watch a plan whose totals are known.
    pub fn new(now: Tick, totals: Totals) -> Self {
        Self { readings: VecDeque::from([Reading { at: now, totals }]), at_step: totals }
    }

    /// Compares the variants by their totals at `now`.
    pub fn look(&mut self, now: Tick, totals: Totals) -> Look {
        let is_old = |reading: &Reading| now.since(reading.at) + TOLERANCE >= BRAKE_WINDOW;
        while self.readings.get(1).is_some_and(is_old) {
            self.readings.pop_front();
        }
        let begin = self.readings.front().map_or(totals, |reading| reading.totals);
        if self.readings.back().is_none_or(|last| now.since(last.at) >= READING_INTERVAL_MIN) {
            self.readings.push_back(Reading { at: now, totals });
        }
        let (window, since_step) = (totals.since(begin).compare(), totals.since(self.at_step).compare());
        Look { window, since_step }
    }

    /// Begins a step: the attempts so far were made by another weight, and count neither for the next one nor
    /// in the window.
    pub fn begin_step(&mut self, now: Tick, totals: Totals) {
        *self = Self::new(now, totals);
    }

    #[cfg(test)]
    pub(super) fn readings(&self) -> usize {
        self.readings.len()
    }
}

/// Time by which a reading may be younger than the window and still begin it: looks are never quite punctual.
const TOLERANCE: Duration = Duration::from_secs(5);
/// Interval at which readings are kept: at most about sixty, however often one looks.
const READING_INTERVAL_MIN: Duration = Duration::from_secs(1);
