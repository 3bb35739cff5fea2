//! Whether the clock can be believed, and whether a CA is in order. Pure.

use std::time::Duration;

use crate::limits::{
    AUTHORITY_FAILOVER_AFTER, AUTHORITY_FAILURES_MAX, AUTHORITY_PAUSE_MAX, AUTHORITY_PAUSE_MIN,
};
use ringway_model::{Hostname, Tick, Timestamp};

use crate::course::After;

/// Judges the system's clock. A wrong one would make every certificate look expired, or young.
#[derive(Debug)]
pub(crate) struct ClockJudge {
    /// The latest time that was seen, before the last restart, too.
    seen: Timestamp,
    /// Since when the clock has been behind that.
    behind_since: Option<Tick>,
}

/// Why the clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockFault {
    /// It is earlier than this program.
    BeforeRelease,
    /// It was set back.
    SetBack,
}

/// 2026-11-01T00:00:00Z: this version was made after it.
const RELEASED: Timestamp = Timestamp(1_793_491_200_000);
/// So much back is what a correction of the clock may be.
const STEP_TOLERANCE: Duration = Duration::from_secs(3600);
/// A clock that stays back for so long was wrong before.
const BELIEVED_AGAIN_AFTER: Duration = Duration::from_secs(24 * 3600);

impl ClockJudge {
    pub(crate) fn new(seen: Timestamp) -> Self {
        Self { seen, behind_since: None }
    }

    /// What is wrong with the clock that says `now`, if anything.
    pub(crate) fn judge(&mut self, now: Timestamp, tick: Tick) -> Option<ClockFault> {
        if now < RELEASED {
            return Some(ClockFault::BeforeRelease);
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
        Some(ClockFault::SetBack)
    }
}

impl ClockFault {
    pub(crate) fn words(self, now: Timestamp) -> String {
        let now = now.to_rfc3339();
        match self {
            Self::BeforeRelease => {
                format!("the clock of this machine says {now}, which is before this program was made: set it")
            }
            Self::SetBack => format!(
                "the clock of this machine was set back, to {now}: no certificate is judged by it until it is right, or a day \
                 has passed"
            ),
        }
    }
}

/// Whether a CA is in order, as far as we know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    failures: u32,
    down_since: Option<Tick>,
    paused_until: Tick,
    problem: Option<String>,
    is_hopeless: bool,
    /// The last domain whose order it failed to serve, and when, while no other domain's has failed and none succeeded.
    suspected_by: Option<(Hostname, Tick)>,
}

impl Health {
    /// It did what it should.
    pub(crate) fn rise(&mut self) {
        *self = Self::default();
    }

    /// It did not. Several orders that fail in one outage are one failure.
    pub(crate) fn fall(&mut self, why: String, retry_after: Option<Duration>, now: Tick) {
        self.problem = Some(why);
        self.down_since.get_or_insert(now);
        if now < self.paused_until {
            return;
        }
        self.failures += 1;
        self.paused_until = now.after(pause(self.failures, retry_after));
    }

    /// It failed to serve an order of this domain. One domain says nothing of the CA, however often it fails; two of them
    /// with no success between do.
    pub(crate) fn suspect(&mut self, host: &Hostname, why: String, retry_after: Option<Duration>, now: Tick) {
        let before = self.suspected_by.replace((host.clone(), now));
        if before.is_some_and(|(other, at)| other != *host && now.since(at) < AUTHORITY_PAUSE_MAX) {
            self.fall(why, retry_after, now);
        }
    }

    /// It will not deal with us until somebody changes the settings: the next one is asked at once.
    pub(crate) fn give_up(&mut self, why: String, now: Tick) {
        self.fall(why, Some(AUTHORITY_FAILOVER_AFTER), now);
        self.is_hopeless = true;
    }

    /// Whether an order may go to it. One that has failed is tried with one order at a time.
    pub(crate) fn is_usable(&self, in_flight: usize, now: Tick) -> bool {
        now >= self.paused_until && (self.failures == 0 || in_flight == 0)
    }

    /// Whether the next CA takes over.
    pub(crate) fn is_failed_over(&self, now: Tick) -> bool {
        self.is_hopeless
            || self.failures >= AUTHORITY_FAILURES_MAX
            || self.down_since.is_some_and(|since| now.since(since) >= AUTHORITY_FAILOVER_AFTER)
    }

    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub(crate) fn paused_until(&self) -> Tick {
        self.paused_until
    }
}

/// The pause after so many failures in a row: twice as long with each, up to a bound, and no shorter than the CA asks for.
pub(crate) fn pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = AUTHORITY_PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(AUTHORITY_PAUSE_MAX).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// A CA that says "tomorrow" is asked again before.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::host;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn at(time: Duration) -> Tick {
        Tick(0).after(time)
    }

    #[test]
    fn a_clock_before_the_release_is_not_believed() {
        let mut judge = ClockJudge::new(Timestamp(0));
        assert_eq!(judge.judge(Timestamp(0), Tick(0)), Some(ClockFault::BeforeRelease));
        assert_eq!(judge.judge(Timestamp(RELEASED.0 - 1), Tick(1)), Some(ClockFault::BeforeRelease));
        assert_eq!(judge.judge(RELEASED, Tick(2)), None);
        assert_eq!(RELEASED.to_rfc3339(), "2026-11-01T00:00:00Z");
    }

    #[test]
    fn a_clock_that_was_set_back_is_not_believed_for_a_day() {
        let mut judge = ClockJudge::new(NOW);
        assert_eq!(judge.judge(NOW, Tick(0)), None);
        assert_eq!(judge.judge(Timestamp(NOW.0 - 1000), Tick(1)), None, "a small correction");
        let back = Timestamp(NOW.0 - 48 * HOUR.as_millis() as u64);
        assert_eq!(judge.judge(back, at(HOUR)), Some(ClockFault::SetBack));
        assert_eq!(judge.judge(NOW, at(2 * HOUR)), None, "it is right again");
        assert_eq!(judge.judge(back, at(3 * HOUR)), Some(ClockFault::SetBack));
        assert_eq!(judge.judge(back.after(23 * HOUR), at(26 * HOUR)), Some(ClockFault::SetBack));
        assert_eq!(judge.judge(back.after(24 * HOUR), at(27 * HOUR)), None, "it was wrong before");
        assert_eq!(judge.judge(back.after(25 * HOUR), at(28 * HOUR)), None);
    }

    #[test]
    fn one_outage_with_many_orders_is_one_failure() {
        let mut health = Health::default();
        assert!(health.is_usable(4, Tick(0)));
        for _ in 0..5 {
            health.fall("gone".into(), None, at(HOUR));
        }
        assert_eq!(health.failures, 1);
        assert!(!health.is_usable(0, at(HOUR)));
        let again = health.paused_until();
        assert_eq!(again, at(HOUR).after(AUTHORITY_PAUSE_MIN));
        assert!(health.is_usable(0, again) && !health.is_usable(1, again), "one order tries");
        health.rise();
        assert!(health.is_usable(4, again) && health.problem().is_none());
    }

    #[test]
    fn one_domain_never_pauses_the_ca_and_two_do() {
        let (a, b) = (host("a.example"), host("b.example"));
        let mut health = Health::default();
        for n in 0..100 {
            health.suspect(&a, "500".into(), None, Tick(n));
            assert!(health.is_usable(4, Tick(n)) && health.problem().is_none());
        }
        health.suspect(&b, "500".into(), None, Tick(100));
        assert!(!health.is_usable(0, Tick(100)) && health.problem() == Some("500"));
        // A success between says that it was the domain.
        let mut health = Health::default();
        health.suspect(&a, "500".into(), None, Tick(0));
        health.rise();
        health.suspect(&b, "500".into(), None, Tick(1));
        assert!(health.is_usable(4, Tick(1)));
        // And so does half an hour.
        let mut health = Health::default();
        health.suspect(&a, "500".into(), None, Tick(0));
        health.suspect(&b, "500".into(), None, Tick(0).after(AUTHORITY_PAUSE_MAX));
        assert!(health.is_usable(4, Tick(0).after(AUTHORITY_PAUSE_MAX)));
    }

    #[test]
    fn the_next_ca_takes_over_after_some_failures_or_some_time() {
        let mut health = Health::default();
        let mut now = Tick(0);
        for n in 1..=AUTHORITY_FAILURES_MAX {
            assert!(!health.is_failed_over(now), "{n}");
            health.fall("gone".into(), None, now);
            now = health.paused_until();
        }
        assert!(health.is_failed_over(now));
        let mut health = Health::default();
        health.fall("gone".into(), None, Tick(0));
        assert!(!health.is_failed_over(Tick(1)));
        assert!(health.is_failed_over(at(AUTHORITY_FAILOVER_AFTER)));
        let mut health = Health::default();
        health.give_up("it wants a binding".into(), Tick(0));
        assert!(health.is_failed_over(Tick(0)) && !health.is_usable(0, Tick(0)));
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        let mut health = Health::default();
        let mut now = Tick(0);
        for _ in 0..40 {
            health.fall("gone".into(), None, now);
            let pause = now.until(health.paused_until());
            assert!(pause >= AUTHORITY_PAUSE_MIN && pause <= AUTHORITY_PAUSE_MAX);
            now = health.paused_until();
        }
        let mut health = Health::default();
        health.fall("busy".into(), Some(HOUR), Tick(0));
        assert_eq!(health.paused_until(), at(HOUR), "as the CA asks");
        let mut health = Health::default();
        health.fall("busy".into(), Some(1_000 * HOUR), Tick(0));
        assert_eq!(health.paused_until(), at(RETRY_AFTER_MAX));
    }
}
