//! Circuit breaker of a script, shared by all cores: a script that keeps failing costs no more CPU time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use ringway_script::limits::{BREAKER_CALLS, BREAKER_FAILURES, BREAKER_KILL_WEIGHT, BREAKER_TRIAL_US};

/// Circuit breaker of a script. It opens after ten failures running, or when half of a hundred calls failed;
/// then one call may try after 10 s, and after 20, 40 and 60 s where it fails again.
///
/// Counts may be off by one where cores count at the same moment, which matters to no decision.
#[derive(Debug, Default)]
pub struct ScriptBreaker {
    /// Time of the next trial in microseconds; 0 while it is closed.
    opens_us: AtomicU64,
    /// Openings since the last success.
    openings: AtomicU32,
    running: AtomicU32,
    calls: AtomicU32,
    failures: AtomicU32,
}

/// Admission of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may run.
    Admitted,
    /// The breaker is open for this many microseconds.
    Refused {
        /// Time until a call may try.
        wait_us: u64,
    },
}

impl ScriptBreaker {
    /// Asks for a call. One load while it is closed.
    pub fn admit(&self, now_us: u64) -> Admission {
        let opens_us = self.opens_us.load(Relaxed);
        if opens_us == 0 {
            return Admission::Admitted;
        }
        if now_us < opens_us {
            return Admission::Refused { wait_us: opens_us - now_us };
        }
        // The one that moves the time on is the trial.
        let next = now_us.saturating_add(BREAKER_TRIAL_US);
        match self.opens_us.compare_exchange(opens_us, next, Relaxed, Relaxed) {
            Ok(_) => Admission::Admitted,
            Err(_) => Admission::Refused { wait_us: BREAKER_TRIAL_US },
        }
    }

    /// Counts a call that ended well.
    pub fn succeed(&self) {
        if self.running.load(Relaxed) != 0 {
            self.running.store(0, Relaxed);
        }
        if self.opens_us.load(Relaxed) != 0 {
            self.close();
        }
        self.count(0);
    }

    /// Counts a failed call; one that a limit stopped counts as five. Returns whether it opened the breaker.
    pub fn fail(&self, is_kill: bool, now_us: u64) -> bool {
        let weight = if is_kill { BREAKER_KILL_WEIGHT } else { 1 };
        let running = self.running.fetch_add(weight, Relaxed) + weight;
        let is_trial = self.opens_us.load(Relaxed) != 0;
        let has_failed_half = self.count(weight);
        if !is_trial && running < BREAKER_FAILURES && !has_failed_half {
            return false;
        }
        let openings = self.openings.fetch_add(1, Relaxed).min(3);
        let open_us = [10, 20, 40, 60][openings as usize] * 1_000_000;
        self.opens_us.store(now_us.saturating_add(open_us).max(1), Relaxed);
        !is_trial
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.opens_us.load(Relaxed) != 0
    }

    fn close(&self) {
        self.opens_us.store(0, Relaxed);
        self.openings.store(0, Relaxed);
        self.calls.store(0, Relaxed);
        self.failures.store(0, Relaxed);
    }

    /// Counts a call of the present hundred; whether half of them have failed.
    fn count(&self, weight: u32) -> bool {
        let calls = self.calls.fetch_add(1, Relaxed) + 1;
        let failures = match weight {
            0 => self.failures.load(Relaxed),
            weight => self.failures.fetch_add(weight, Relaxed) + weight,
        };
        if calls < BREAKER_CALLS {
            return false;
        }
        self.calls.store(0, Relaxed);
        self.failures.store(0, Relaxed);
        failures * 2 >= BREAKER_CALLS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_running_open_it_and_one_trial_closes_it() {
        let breaker = ScriptBreaker::default();
        for _ in 0..9 {
            assert!(!breaker.fail(false, 0));
        }
        breaker.succeed();
        for _ in 0..9 {
            assert!(!breaker.fail(false, 0));
        }
        assert!(breaker.fail(false, 1));
        assert_eq!(breaker.admit(2), Admission::Refused { wait_us: 9_999_999 });
        assert_eq!(breaker.admit(10_000_001), Admission::Admitted);
        assert_eq!(breaker.admit(10_000_001), Admission::Refused { wait_us: BREAKER_TRIAL_US }, "one trial");
        breaker.fail(false, 10_000_002);
        assert_eq!(breaker.admit(10_000_003), Admission::Refused { wait_us: 19_999_999 });
        assert_eq!(breaker.admit(30_000_002), Admission::Admitted);
        breaker.succeed();
        assert_eq!(breaker.admit(30_000_003), Admission::Admitted);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_kill_counts_five() {
        let breaker = ScriptBreaker::default();
        assert!(!breaker.fail(true, 0));
        assert!(breaker.fail(true, 0));
    }

    #[test]
    fn half_of_a_hundred_open_it() {
        let breaker = ScriptBreaker::default();
        let opened = (0..100).any(|number| match number % 2 {
            0 => {
                breaker.succeed();
                false
            }
            _ => breaker.fail(false, 7),
        });
        assert!(opened);
    }
}
