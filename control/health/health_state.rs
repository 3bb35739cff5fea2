//! Health of one instance by rise and fall thresholds; pure.
//!
//! ```text
//!            1 success                       M successes
//!  Unknown ─────────────► Healthy ◄──────────────────────── Unhealthy
//!     └──── N failures ──────┴────── N failures ───────────────►
//! ```
//! N and M count consecutive results: one of the other kind restarts the count.

use std::num::NonZeroU8;

use ringway_model::Health;

/// Numbers of consecutive results that change an instance's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thresholds {
    /// Failures that make it unhealthy.
    pub unhealthy: NonZeroU8,
    /// Successes that make it healthy again.
    pub healthy: NonZeroU8,
}

/// Health of an instance and its latest results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthState {
    /// Present health.
    pub health: Health,
    /// Latest results.
    pub streak: Streak,
}

/// Latest results, all of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streak {
    /// No result yet.
    None,
    /// Consecutive successes.
    Successes(u32),
    /// Consecutive failures.
    Failures(u32),
}

impl Streak {
    /// Number of results.
    pub fn len(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Successes(count) | Self::Failures(count) => count,
        }
    }

    /// Whether there is no result yet.
    pub fn is_empty(self) -> bool {
        self == Self::None
    }
}

impl HealthState {
    /// State of an instance that was never checked.
    pub const UNKNOWN: Self = Self { health: Health::Unknown, streak: Streak::None };

    /// Returns the state after one more success.
    pub fn after_success(self, thresholds: Thresholds) -> Self {
        let successes = match self.streak {
            Streak::Successes(count) => count.saturating_add(1),
            Streak::None | Streak::Failures(_) => 1,
        };
        let health = match self.health {
            Health::Unknown | Health::Joining | Health::Healthy => Health::Healthy,
            Health::Unhealthy if successes >= thresholds.healthy.get().into() => Health::Healthy,
            Health::Unhealthy => Health::Unhealthy,
        };
        Self { health, streak: Streak::Successes(successes) }
    }

    /// Returns the state after one more failure.
    pub fn after_failure(self, thresholds: Thresholds) -> Self {
        let failures = match self.streak {
            Streak::Failures(count) => count.saturating_add(1),
            Streak::None | Streak::Successes(_) => 1,
        };
        let health = match self.health {
            Health::Unknown | Health::Joining | Health::Healthy
                if failures >= thresholds.unhealthy.get().into() =>
            {
                Health::Unhealthy
            }
            health => health,
        };
        Self { health, streak: Streak::Failures(failures) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use Health::{Healthy, Unhealthy, Unknown};
    use Streak::{Failures, Successes};

    fn thresholds(unhealthy: u8, healthy: u8) -> Thresholds {
        Thresholds { unhealthy: unhealthy.try_into().unwrap(), healthy: healthy.try_into().unwrap() }
    }

    /// The whole table for 3 failures and 2 successes: each health, each streak on both sides of its
    /// threshold.
    #[test]
    fn every_transition() {
        let limits = thresholds(3, 2);
        for (health, streak, after_success, after_failure) in [
            (Unknown, Streak::None, (Healthy, Successes(1)), (Unknown, Failures(1))),
            (Unknown, Failures(1), (Healthy, Successes(1)), (Unknown, Failures(2))),
            (Unknown, Failures(2), (Healthy, Successes(1)), (Unhealthy, Failures(3))),
            (Healthy, Successes(1), (Healthy, Successes(2)), (Healthy, Failures(1))),
            (Healthy, Successes(9), (Healthy, Successes(10)), (Healthy, Failures(1))),
            (Healthy, Failures(1), (Healthy, Successes(1)), (Healthy, Failures(2))),
            (Healthy, Failures(2), (Healthy, Successes(1)), (Unhealthy, Failures(3))),
            (Unhealthy, Failures(3), (Unhealthy, Successes(1)), (Unhealthy, Failures(4))),
            (Unhealthy, Failures(9), (Unhealthy, Successes(1)), (Unhealthy, Failures(10))),
            (Unhealthy, Successes(1), (Healthy, Successes(2)), (Unhealthy, Failures(1))),
            (Unhealthy, Failures(1), (Unhealthy, Successes(1)), (Unhealthy, Failures(2))),
        ] {
            let state = HealthState { health, streak };
            let pair = |state: HealthState| (state.health, state.streak);
            assert_eq!(pair(state.after_success(limits)), after_success, "{state:?} and a success");
            assert_eq!(pair(state.after_failure(limits)), after_failure, "{state:?} and a failure");
        }
    }

    #[test]
    fn thresholds_of_one_change_at_once() {
        let limits = thresholds(1, 1);
        let failed = HealthState::UNKNOWN.after_failure(limits);
        assert_eq!(failed.health, Unhealthy);
        assert_eq!(failed.after_success(limits).health, Healthy);
    }

    #[test]
    fn a_lowered_threshold_counts_earlier_results() {
        // Two failures under a threshold of 5, then one more under a threshold of 2.
        let state = HealthState { health: Healthy, streak: Failures(2) };
        assert_eq!(state.after_failure(thresholds(2, 2)).health, Unhealthy);
    }

    #[test]
    fn a_streak_never_overflows() {
        let limits = thresholds(255, 255);
        let state = HealthState { health: Healthy, streak: Successes(u32::MAX) };
        assert_eq!(state.after_success(limits).streak.len(), u32::MAX);
        let state = HealthState { health: Unhealthy, streak: Failures(u32::MAX) };
        assert_eq!(state.after_failure(limits).streak.len(), u32::MAX);
    }

    proptest::proptest! {
        /// For any results: health changes only when the latest ones, all alike, reach a threshold.
        #[test]
        fn health_follows_the_latest_results(results: Vec<bool>, fall in 1u8..6, rise in 1u8..6) {
            let limits = thresholds(fall, rise);
            let mut state = HealthState::UNKNOWN;
            for (at, passed) in results.iter().enumerate() {
                let before = state.health;
                state = if *passed { state.after_success(limits) } else { state.after_failure(limits) };
                let run = results[..=at].iter().rev().take_while(|result| *result == passed).count();
                proptest::prop_assert_eq!(state.streak.len() as usize, run);
                let expected = match (before, *passed) {
                    (Unknown, true) => Healthy,
                    (Unhealthy, true) if run >= rise.into() => Healthy,
                    (Unknown | Healthy, false) if run >= fall.into() => Unhealthy,
                    (health, _) => health,
                };
                proptest::prop_assert_eq!(state.health, expected);
            }
        }
    }
}
