//! Deadlines of an exchange, where the policy of its rule sets timeouts over more than one wait.
//!
//! ```text
//! match ── attempt ── attempt ── response head ── body ── end
//!   ├────────────── timeout ──────────┤                     again from the last byte of a long request
//!               ├── per_try_timeout ──┤
//!   ├────────────────── total_timeout ────────────────────┤
//! ```
//! They are kept to a tenth of a second, as all deadlines; that of an attempt to a millisecond, by a timer
//! beside its I/O, for it may be shorter than that tenth.

use std::cell::Cell;
use std::time::Duration;

use ringway_model::Tick;
use ringway_traffic::policy::Policy;

/// Deadlines of one exchange. There are none until [`Deadlines::begin`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Deadlines {
    began: Cell<Tick>,
    /// Timeout of the client, in place of a longer one of the policy.
    of_client: Cell<Option<Duration>>,
    /// Of the whole exchange.
    end: Cell<Option<Tick>>,
    /// Of the response head of the attempt under way.
    head: Cell<Option<Tick>>,
    /// `head` is the attempt's own: the exchange has time for another one.
    is_of_attempt: Cell<bool>,
    /// End of the attempt under way in microseconds, where it is the attempt's own.
    attempt_end_us: Cell<u64>,
    /// The timer of the attempt has cancelled its I/O.
    has_expired: Cell<bool>,
}

impl Deadlines {
    /// Begins an exchange.
    pub(crate) fn begin(&self, policy: &Policy, now: Tick) {
        self.began.set(now);
        self.end.set(policy.total_timeout.map(|timeout| now.after(timeout)));
    }

    /// Begins an exchange of one attempt, which ends at `deadline`.
    pub(crate) fn end_at(&self, deadline: Tick) {
        self.end.set(Some(deadline));
        self.head.set(Some(deadline));
    }

    /// Lowers the timeout of the policy to the one that the client has set for its call.
    pub(crate) fn lower(&self, of_client: Option<Duration>) {
        self.of_client.set(of_client);
    }

    /// Begins an attempt. `now_us` is the same time on the fine clock.
    pub(crate) fn begin_attempt(&self, policy: &Policy, now: Tick, now_us: u64) {
        if let Some(timeout) = policy.per_try_timeout {
            let timeout_us = u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX);
            self.attempt_end_us.set(now_us.saturating_add(timeout_us));
        }
        let own = policy.per_try_timeout.map(|timeout| now.after(timeout));
        let all = self.all_attempts(policy);
        self.is_of_attempt.set(own.is_some_and(|own| all.is_none_or(|all| own < all)));
        self.head.set(earliest(own, all));
    }

    /// Notes that the request is still to be read: the time for the head begins with its last byte.
    pub(crate) fn begin_upload(&self) {
        self.is_of_attempt.set(false);
        self.head.set(self.end.get());
    }

    /// Deadline of the response head of this attempt.
    pub(crate) fn head(&self) -> Tick {
        self.head.get().unwrap_or(Tick::NEVER)
    }

    /// Deadline of the whole exchange.
    pub(crate) fn end(&self) -> Tick {
        self.end.get().unwrap_or(Tick::NEVER)
    }

    /// Whether the exchange has an end.
    pub(crate) fn has_end(&self) -> bool {
        self.end.get().is_some()
    }

    /// Whether the exchange is past its end.
    pub(crate) fn has_ended(&self, now: Tick) -> bool {
        self.end.get().is_some_and(|end| end <= now)
    }

    /// Whether another attempt may follow one that has taken too long.
    pub(crate) fn is_of_attempt(&self) -> bool {
        self.is_of_attempt.get()
    }

    /// Time until the attempt's own timeout, where it is what ends the attempt. `now_us` is read in that case
    /// only.
    pub(crate) fn attempt_left(&self, now_us: impl FnOnce() -> u64) -> Option<Duration> {
        let left = || Duration::from_micros(self.attempt_end_us.get().saturating_sub(now_us()));
        self.is_of_attempt.get().then(left)
    }

    /// Notes that the attempt's I/O is cancelled for its timeout, or no longer.
    pub(crate) fn set_expired(&self, has_expired: bool) {
        self.has_expired.set(has_expired);
    }

    /// Whether I/O was cancelled for the attempt's timeout.
    pub(crate) fn has_expired(&self) -> bool {
        self.has_expired.get()
    }

    /// Whether there is no time left for another attempt.
    pub(crate) fn are_over(&self, policy: &Policy, now: Tick) -> bool {
        self.all_attempts(policy).is_some_and(|deadline| deadline <= now)
    }

    /// Time that is left until the response head; `None` where nothing limits it.
    pub(crate) fn time_left(&self, policy: &Policy, now: Tick) -> Option<Duration> {
        self.all_attempts(policy).map(|deadline| now.until(deadline))
    }

    fn all_attempts(&self, policy: &Policy) -> Option<Tick> {
        let timeout =
            policy.timeout.map(|timeout| self.of_client.get().map_or(timeout, |own| own.min(timeout)));
        earliest(timeout.map(|timeout| self.began.get().after(timeout)), self.end.get())
    }
}

fn earliest(a: Option<Tick>, b: Option<Tick>) -> Option<Tick> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(timeout: Option<u64>, per_try: Option<u64>, total: Option<u64>) -> Policy {
        let millis = |value: Option<u64>| value.map(Duration::from_millis);
        Policy {
            timeout: millis(timeout),
            per_try_timeout: millis(per_try),
            total_timeout: millis(total),
            ..Policy::default()
        }
    }

    #[test]
    fn a_policy_without_timeouts_sets_no_deadline() {
        let (deadlines, policy) = (Deadlines::default(), Policy::default());
        deadlines.begin(&policy, Tick(100));
        deadlines.begin_attempt(&policy, Tick(200), 200_000);
        assert_eq!((deadlines.head(), deadlines.end()), (Tick::NEVER, Tick::NEVER));
        assert!(!deadlines.are_over(&policy, Tick(u64::MAX)) && !deadlines.is_of_attempt());
    }

    #[test]
    fn the_earliest_deadline_ends_an_attempt_and_only_its_own_admits_another() {
        let (deadlines, policy) = (Deadlines::default(), policy(Some(1_000), Some(400), None));
        deadlines.begin(&policy, Tick(0));
        for (attempt, head, is_of_attempt) in [(0, 400, true), (400, 800, true), (800, 1_000, false)] {
            assert!(!deadlines.are_over(&policy, Tick(attempt)));
            deadlines.begin_attempt(&policy, Tick(attempt), attempt * 1_000);
            assert_eq!((deadlines.head(), deadlines.is_of_attempt()), (Tick(head), is_of_attempt));
        }
        assert!(deadlines.are_over(&policy, Tick(1_000)));
    }

    #[test]
    fn an_attempt_s_own_end_is_known_to_a_microsecond() {
        let (deadlines, policy) = (Deadlines::default(), policy(Some(1_000), Some(400), None));
        let left = |now_us| deadlines.attempt_left(|| now_us).map(|left| left.as_micros());
        deadlines.begin(&policy, Tick(0));
        deadlines.begin_attempt(&policy, Tick(0), 7);
        assert_eq!(
            (left(7), left(400_006), left(400_007), left(500_000)),
            (Some(400_000), Some(1), Some(0), Some(0))
        );
        // The exchange's end comes first, or the request is still to be read.
        deadlines.begin_attempt(&policy, Tick(700), 700_000);
        assert_eq!(left(700_000), None);
        deadlines.begin_attempt(&policy, Tick(0), 0);
        deadlines.begin_upload();
        assert_eq!(left(0), None);
    }

    #[test]
    fn the_end_of_the_exchange_bounds_every_attempt_and_what_follows() {
        let (deadlines, policy) = (Deadlines::default(), policy(Some(1_000), None, Some(600)));
        deadlines.begin(&policy, Tick(0));
        deadlines.begin_attempt(&policy, Tick(10), 10_000);
        assert_eq!((deadlines.head(), deadlines.end()), (Tick(600), Tick(600)));
        assert!(!deadlines.has_ended(Tick(599)) && deadlines.has_ended(Tick(600)));
    }

    #[test]
    fn the_client_can_only_lower_the_timeout() {
        let (deadlines, policy) = (Deadlines::default(), policy(Some(1_000), None, None));
        for (of_client, head) in [(Some(300), 300), (Some(5_000), 1_000), (None, 1_000)] {
            deadlines.begin(&policy, Tick(0));
            deadlines.lower(of_client.map(Duration::from_millis));
            assert_eq!(deadlines.time_left(&policy, Tick(0)), Some(Duration::from_millis(head)));
        }
    }

    #[test]
    fn a_request_that_is_still_to_be_read_is_bounded_by_the_end_only() {
        let (deadlines, policy) = (Deadlines::default(), policy(Some(1_000), Some(400), None));
        deadlines.begin(&policy, Tick(0));
        deadlines.begin_attempt(&policy, Tick(0), 0);
        deadlines.begin_upload();
        assert_eq!(deadlines.head(), Tick::NEVER);
        assert!(!deadlines.is_of_attempt());
    }
}
