//! Plausibility check of the system clock. Pure.

use std::time::Duration;

use ringway_model::{Tick, Timestamp};

use crate::issuance_state::After;

/// Plausibility check of the system clock: a wrong one would make every certificate look expired, or new.
#[derive(Debug)]
pub(crate) struct ClockCheck {
    /// Latest time seen, also before the last restart.
    seen: Timestamp,
    /// Start of the period in which the clock has been behind that.
    behind_since: Option<Tick>,
}

/// Problem with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockProblem {
    /// It is earlier than the release of this version.
    BeforeRelease,
    /// It was set back.
    SetBack,
}

/// 2026-11-01T00:00:00Z: this version was released after it.
const RELEASED: Timestamp = Timestamp(1_793_491_200_000);
/// Backward step that a normal correction may have.
const STEP_TOLERANCE: Duration = Duration::from_secs(3600);
/// A clock that stays back for this long was wrong before the step.
const BELIEVED_AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);

impl ClockCheck {
    pub(crate) fn new(seen: Timestamp) -> Self {
        Self { seen, behind_since: None }
    }

    /// Checks the clock reading `now`.
    pub(crate) fn check(&mut self, now: Timestamp, tick: Tick) -> Option<ClockProblem> {
        if now < RELEASED {
            return Some(ClockProblem::BeforeRelease);
        }
        if now.after(STEP_TOLERANCE) >= self.seen {
            self.behind_since = None;
            self.seen = self.seen.max(now);
            return None;
        }
        let since = *self.behind_since.get_or_insert(tick);
        if tick.since(since) >= BELIEVED_AGAIN_AFTER {
            (self.seen, self.behind_since) = (now, None);
            return None;
        }
        Some(ClockProblem::SetBack)
    }
}

impl ClockProblem {
    pub(crate) fn message(self, now: Timestamp) -> String {
        let now = now.to_rfc3339();
        match self {
            Self::BeforeRelease => {
                format!(
                    "the clock of this machine says {now}, which is before the release of this version: set the clock"
                )
            }
            Self::SetBack => format!(
                "the clock of this machine was set back to {now}: renewals are suspended until it is right again, or for a \
                 day"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(time: Duration) -> Tick {
        Tick(0).after(time)
    }

    #[test]
    fn a_clock_before_the_release_is_a_problem() {
        let mut clock = ClockCheck::new(Timestamp(0));
        assert_eq!(clock.check(Timestamp(0), Tick(0)), Some(ClockProblem::BeforeRelease));
        assert_eq!(clock.check(Timestamp(RELEASED.0 - 1), Tick(1)), Some(ClockProblem::BeforeRelease));
        assert_eq!(clock.check(RELEASED, Tick(2)), None);
        assert_eq!(RELEASED.to_rfc3339(), "2026-11-01T00:00:00Z");
    }

    #[test]
    fn a_clock_set_back_is_a_problem_for_a_day() {
        let mut clock = ClockCheck::new(NOW);
        assert_eq!(clock.check(NOW, Tick(0)), None);
        assert_eq!(clock.check(Timestamp(NOW.0 - 1000), Tick(1)), None, "a small correction");
        let back = Timestamp(NOW.0 - 48 * HOUR.as_millis() as u64);
        assert_eq!(clock.check(back, at(HOUR)), Some(ClockProblem::SetBack));
        assert_eq!(clock.check(NOW, at(2 * HOUR)), None, "right again");
        assert_eq!(clock.check(back, at(3 * HOUR)), Some(ClockProblem::SetBack));
        assert_eq!(clock.check(back.after(23 * HOUR), at(26 * HOUR)), Some(ClockProblem::SetBack));
        assert_eq!(clock.check(back.after(24 * HOUR), at(27 * HOUR)), None, "it was wrong before the step");
        assert_eq!(clock.check(back.after(25 * HOUR), at(28 * HOUR)), None);
    }
}
