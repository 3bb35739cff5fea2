//! Schedule of one source: regular loads, retries, loads that requests ask for, and the age of what is in
//! use.

use std::time::Duration;

use ringway_model::Tick;

use crate::limits::{
    FILE_INTERVAL, REFRESH_DEFAULT, REFRESH_MAX, REFRESH_MIN, RETRY_MAX, RETRY_MIN, STALE_MAX,
    UNKNOWN_KEY_INTERVAL,
};

/// Schedule of a source.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    is_file: bool,
    due: Tick,
    is_loading: bool,
    /// Failures in a row.
    failures: u32,
    loaded_at: Option<Tick>,
    /// Time of the last load that a request asked for.
    hurried_at: Option<Tick>,
}

impl Schedule {
    /// A source that is loaded at once.
    pub(crate) fn new(is_file: bool, now: Tick) -> Self {
        Self { is_file, due: now, is_loading: false, failures: 0, loaded_at: None, hurried_at: None }
    }

    /// The time of the next load; `None` while one is under way.
    pub(crate) fn due(&self) -> Option<Tick> {
        (!self.is_loading).then_some(self.due)
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Begins a load.
    pub(crate) fn begin(&mut self) {
        self.is_loading = true;
    }

    /// Brings the next load forward for a request. `false` where requests have had one lately: the answer is
    /// what is known.
    pub(crate) fn hurry(&mut self, now: Tick) -> bool {
        // One that is due begins as soon as there is a place, and is not what the request brought forward.
        if self.is_loading || self.due <= now {
            return true;
        }
        let is_recent = self.hurried_at.is_some_and(|at| now < at.after(UNKNOWN_KEY_INTERVAL));
        if !is_recent {
            self.hurried_at = Some(now);
            self.due = now;
        }
        !is_recent
    }

    /// Ends a load that was good; `max_age` is the answer's.
    pub(crate) fn succeed(&mut self, max_age: Option<Duration>, now: Tick) {
        self.is_loading = false;
        self.failures = 0;
        self.loaded_at = Some(now);
        let interval = match self.is_file {
            true => FILE_INTERVAL,
            false => max_age.unwrap_or(REFRESH_DEFAULT).clamp(REFRESH_MIN, REFRESH_MAX),
        };
        self.due = now.after(interval);
    }

    /// Takes credentials of the disk, which were loaded before a restart: they are as old as can be told.
    pub(crate) fn restore(&mut self, age: Duration, now: Tick) {
        let past = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.loaded_at = Some(Tick(now.0.saturating_sub(past)));
    }

    /// Ends a load that failed. `true` when what is in use has become too old.
    pub(crate) fn fail(&mut self, now: Tick) -> bool {
        self.is_loading = false;
        self.failures += 1;
        let pause = match self.is_file {
            true => FILE_INTERVAL,
            false => RETRY_MIN.saturating_mul(1 << (self.failures - 1).min(16)).min(RETRY_MAX),
        };
        self.due = now.after(pause);
        // A file that was good stays in use: only the operator writes it.
        !self.is_file && self.loaded_at.take_if(|at| now >= at.after(STALE_MAX)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick(seconds * 1000)
    }

    #[test]
    fn answers_are_loaded_again_by_their_age_within_bounds() {
        let mut schedule = Schedule::new(false, at(0));
        for (max_age, due) in [(Some(1), 300), (Some(600), 600), (None, 3600), (Some(1_000_000), 86_400)] {
            schedule.begin();
            assert_eq!(schedule.due(), None);
            schedule.succeed(max_age.map(Duration::from_secs), at(0));
            assert_eq!(schedule.due(), Some(at(due)), "{max_age:?}");
        }
    }

    #[test]
    fn failures_are_repeated_with_pauses_and_end_what_is_too_old() {
        let mut schedule = Schedule::new(false, at(0));
        schedule.begin();
        schedule.succeed(None, at(0));
        let mut now = 3600;
        for pause in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            schedule.begin();
            assert!(!schedule.fail(at(now)));
            assert_eq!(schedule.due(), Some(at(now + pause)));
            now += pause;
        }
        schedule.begin();
        assert!(schedule.fail(at(86_400)), "a day old");
        schedule.begin();
        assert!(!schedule.fail(at(86_700)), "it has ended already");
    }

    #[test]
    fn a_request_that_waits_for_the_first_load_may_hurry_the_next() {
        let mut schedule = Schedule::new(false, at(0));
        assert!(schedule.hurry(at(0)), "due, but not begun: all places are taken");
        schedule.begin();
        schedule.succeed(None, at(1));
        assert!(schedule.hurry(at(1)));
        assert_eq!(schedule.due(), Some(at(1)));
    }

    #[test]
    fn requests_hurry_a_load_once_in_ten_seconds() {
        let mut schedule = Schedule::new(false, at(0));
        schedule.begin();
        assert!(schedule.hurry(at(0)), "it is under way");
        schedule.succeed(None, at(1));
        assert!(schedule.hurry(at(2)), "a regular load does not count");
        assert_eq!(schedule.due(), Some(at(2)));
        schedule.begin();
        schedule.succeed(None, at(3));
        assert!(!schedule.hurry(at(11)));
        assert!(schedule.hurry(at(12)));
    }

    #[test]
    fn restored_credentials_keep_their_age() {
        let mut schedule = Schedule::new(false, at(10));
        schedule.restore(Duration::from_secs(86_400 - 5), at(1_000_000));
        schedule.begin();
        assert!(!schedule.fail(at(1_000_004)));
        schedule.begin();
        assert!(schedule.fail(at(1_000_006)));
    }
}
