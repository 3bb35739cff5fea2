//! Canary brake: whether a canary fails more often than the stable variant beside it, from counts. Pure.
//!
//! ```text
//! totals of both variants ─ every 10 s ─► Watch ─► last minute ─► Comparison::is_worse ─► brake
//!                                           └────► since the last step ─► take_step ─► more weight
//! ```
//! The test is conditional: given all failures of a minute, the probability that so many of them hit the
//! canary if both variants failed alike. It needs no model of how often requests fail, holds for counts of
//! any size, and finds nothing in a common cause, which fails both.

mod binomial;
mod watch;

pub use self::watch::{Look, Watch};

use std::time::Duration;

use crate::tally::Counts;

/// Attempts of both variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Attempts of the stable variant.
    pub stable: Counts,
    /// Attempts of the canary.
    pub canary: Counts,
}

impl Totals {
    /// The part that was added after an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        let since = |now: Counts, earlier: Counts| Counts {
            successes: now.successes.saturating_sub(earlier.successes),
            failures: now.failures.saturating_sub(earlier.failures),
        };
        Self { stable: since(self.stable, earlier.stable), canary: since(self.canary, earlier.canary) }
    }

    /// Compares the two.
    pub fn compare(self) -> Comparison {
        let Self { stable, canary } = self;
        let p_value = (stable.total() > 0 && canary.total() > 0).then(|| {
            let share = canary.total() as f64 / (canary.total() as f64 + stable.total() as f64);
            binomial::upper_tail(canary.failures, canary.failures + stable.failures, share)
        });
        Comparison { totals: self, p_value }
    }
}

/// Comparison of a canary with the stable variant over the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Comparison {
    /// The compared attempts.
    pub totals: Totals,
    /// Probability of at least so many failures of the canary, given those of both, if both failed alike;
    /// `None` while one of them had no attempts.
    pub p_value: Option<f64>,
}

impl Comparison {
    /// Whether the canary is worse beyond doubt, so that it should get no more requests.
    pub fn is_worse(&self) -> bool {
        let Totals { stable, canary } = self.totals;
        canary.failures >= BRAKE_FAILURES_MIN
            && failure_rate(canary) - failure_rate(stable) >= BRAKE_MARGIN
            && self.p_value.is_some_and(|p| p < BRAKE_P_VALUE)
    }

    /// Whether there were enough attempts of both variants to judge the canary.
    fn has_traffic(&self) -> bool {
        let Totals { stable, canary } = self.totals;
        canary.total() >= STEP_ATTEMPTS_MIN && stable.total() >= STEP_ATTEMPTS_MIN
    }

    /// Whether the canary looks worse, if not beyond doubt.
    fn is_suspicious(&self) -> bool {
        self.p_value.is_some_and(|p| p < STEP_P_VALUE)
    }
}

/// Reason why a canary does not get its next weight yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The time of the step has not passed.
    Time {
        /// Time that is left.
        left: Duration,
    },
    /// Too few attempts of one of the variants since the last step, or none of the canary in the last minute.
    Traffic,
    /// The canary fails more often, though not so clearly that it is braked.
    Failures,
}

impl Hold {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Time { .. } => "time",
            Self::Traffic => "traffic",
            Self::Failures => "failures",
        }
    }
}

/// Share of failures, 0 to 1; 0 without attempts.
pub fn failure_rate(counts: Counts) -> f64 {
    match counts.total() {
        0 => 0.0,
        total => counts.failures as f64 / total as f64,
    }
}

/// Decides whether a step is taken that is due `after` the last one. It needs traffic to both variants, and
/// no sign that the canary is worse, neither in the last minute nor since the last step.
///
/// # Errors
/// The reason why not.
pub fn take_step(after: Duration, elapsed: Duration, look: &Look) -> Result<(), Hold> {
    if elapsed < after {
        return Err(Hold::Time { left: after - elapsed });
    }
    let Look { window, since_step } = look;
    if !since_step.has_traffic() || window.totals.canary.total() == 0 {
        return Err(Hold::Traffic);
    }
    match window.is_suspicious() || since_step.is_suspicious() {
        true => Err(Hold::Failures),
        false => Ok(()),
    }
}

/// Time over which attempts are compared: long enough for a few failures, short enough to forget old ones.
pub const BRAKE_WINDOW: Duration = Duration::from_secs(60);
/// Interval between two comparisons.
pub const BRAKE_INTERVAL: Duration = Duration::from_secs(10);
/// Failures without which a canary is not braked.
const BRAKE_FAILURES_MIN: u64 = 5;
/// Least difference of the shares of failures: a smaller one is significant under high load, and tolerable.
const BRAKE_MARGIN: f64 = 0.01;
/// Probability of the failures of a healthy canary below which it is braked. There are 60,000 comparisons in
/// a week: with 1e-5 up to a quarter of all weeks brake a healthy canary, with this hardly one in a hundred,
/// and a canary that fails every request is braked as soon.
const BRAKE_P_VALUE: f64 = 1e-7;
/// Attempts of each variant since the last step without which no further one is taken.
const STEP_ATTEMPTS_MIN: u64 = 100;
/// Probability of the failures of a healthy canary below which no step is taken.
const STEP_P_VALUE: f64 = 0.01;

#[cfg(test)]
#[path = "brake_tests.rs"]
mod tests;
