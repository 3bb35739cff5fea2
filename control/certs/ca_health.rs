//! Health of a CA: pauses after failures, and failover to the next CA. Pure.

use std::time::Duration;

use crate::limits::{
    AUTHORITY_FAILOVER_AFTER, AUTHORITY_FAILURES_MAX, AUTHORITY_PAUSE_MAX, AUTHORITY_PAUSE_MIN,
};
use ringway_model::{Hostname, Tick};

/// Health of a CA.
#[derive(Clone, Debug, Default)]
pub(crate) struct CaHealth {
    failures: u32,
    down_since: Option<Tick>,
    paused_until: Tick,
    problem: Option<String>,
    /// Misconfigured: only a change of the settings helps.
    is_misconfigured: bool,
    /// Last domain whose order the CA failed to serve, and the time, while no other domain's has failed and
    /// none succeeded.
    suspected_by: Option<(Hostname, Tick)>,
}

impl CaHealth {
    /// Records a success.
    pub(crate) fn record_success(&mut self) {
        *self = Self::default();
    }

    /// Records a failure. Several orders that fail in one outage count once.
    pub(crate) fn record_failure(&mut self, reason: String, retry_after: Option<Duration>, now: Tick) {
        self.problem = Some(reason);
        self.down_since.get_or_insert(now);
        if now < self.paused_until {
            return;
        }
        self.failures += 1;
        self.paused_until = now.after(pause(self.failures, retry_after));
    }

    /// Records a failure to serve one domain's order. One domain proves nothing about the CA, however often
    /// it fails; two domains with no success between do.
    pub(crate) fn record_order_failure(
        &mut self,
        host: &Hostname,
        reason: String,
        retry_after: Option<Duration>,
        now: Tick,
    ) {
        let before = self.suspected_by.replace((host.clone(), now));
        if before.is_some_and(|(other, at)| other != *host && now.since(at) < AUTHORITY_PAUSE_MAX) {
            self.record_failure(reason, retry_after, now);
        }
    }

    /// Records a misconfiguration: fails over at once.
    pub(crate) fn record_misconfiguration(&mut self, reason: String, now: Tick) {
        self.record_failure(reason, Some(AUTHORITY_FAILOVER_AFTER), now);
        self.is_misconfigured = true;
    }

    /// Whether an order may be sent. After a failure, one order at a time probes the CA.
    pub(crate) fn is_usable(&self, in_flight: usize, now: Tick) -> bool {
        now >= self.paused_until && (self.failures == 0 || in_flight == 0)
    }

    /// Whether the next CA takes over.
    pub(crate) fn is_failed_over(&self, now: Tick) -> bool {
        self.is_misconfigured
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

/// Pause after consecutive failures: exponential up to a bound, and no shorter than the CA's `Retry-After`.
pub(crate) fn pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let doubled = AUTHORITY_PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(AUTHORITY_PAUSE_MAX).max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

/// Bound on `Retry-After`.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::host;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(time: Duration) -> Tick {
        Tick(0).after(time)
    }

    #[test]
    fn one_outage_with_many_orders_counts_once() {
        let mut health = CaHealth::default();
        assert!(health.is_usable(4, Tick(0)));
        for _ in 0..5 {
            health.record_failure("gone".into(), None, at(HOUR));
        }
        assert_eq!(health.failures, 1);
        assert!(!health.is_usable(0, at(HOUR)));
        let again = health.paused_until();
        assert_eq!(again, at(HOUR).after(AUTHORITY_PAUSE_MIN));
        assert!(health.is_usable(0, again) && !health.is_usable(1, again), "one order probes the CA");
        health.record_success();
        assert!(health.is_usable(4, again) && health.problem().is_none());
    }

    #[test]
    fn only_failures_of_two_domains_pause_the_ca() {
        let (a, b) = (host("a.example"), host("b.example"));
        let mut health = CaHealth::default();
        for n in 0..100 {
            health.record_order_failure(&a, "500".into(), None, Tick(n));
            assert!(health.is_usable(4, Tick(n)) && health.problem().is_none());
        }
        health.record_order_failure(&b, "500".into(), None, Tick(100));
        assert!(!health.is_usable(0, Tick(100)) && health.problem() == Some("500"));
        // A success between clears the suspicion.
        let mut health = CaHealth::default();
        health.record_order_failure(&a, "500".into(), None, Tick(0));
        health.record_success();
        health.record_order_failure(&b, "500".into(), None, Tick(1));
        assert!(health.is_usable(4, Tick(1)));
        // The same after half an hour.
        let mut health = CaHealth::default();
        health.record_order_failure(&a, "500".into(), None, Tick(0));
        health.record_order_failure(&b, "500".into(), None, Tick(0).after(AUTHORITY_PAUSE_MAX));
        assert!(health.is_usable(4, Tick(0).after(AUTHORITY_PAUSE_MAX)));
    }

    #[test]
    fn fails_over_after_failures_or_time() {
        let mut health = CaHealth::default();
        let mut now = Tick(0);
        for n in 1..=AUTHORITY_FAILURES_MAX {
            assert!(!health.is_failed_over(now), "{n}");
            health.record_failure("gone".into(), None, now);
            now = health.paused_until();
        }
        assert!(health.is_failed_over(now));
        let mut health = CaHealth::default();
        health.record_failure("gone".into(), None, Tick(0));
        assert!(!health.is_failed_over(Tick(1)));
        assert!(health.is_failed_over(at(AUTHORITY_FAILOVER_AFTER)));
        let mut health = CaHealth::default();
        health.record_misconfiguration("an account binding is required".into(), Tick(0));
        assert!(health.is_failed_over(Tick(0)) && !health.is_usable(0, Tick(0)));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut health = CaHealth::default();
        let mut now = Tick(0);
        for _ in 0..40 {
            health.record_failure("gone".into(), None, now);
            let pause = now.until(health.paused_until());
            assert!(pause >= AUTHORITY_PAUSE_MIN && pause <= AUTHORITY_PAUSE_MAX);
            now = health.paused_until();
        }
        let mut health = CaHealth::default();
        health.record_failure("busy".into(), Some(HOUR), Tick(0));
        assert_eq!(health.paused_until(), at(HOUR), "as Retry-After says");
        let mut health = CaHealth::default();
        health.record_failure("busy".into(), Some(1_000 * HOUR), Tick(0));
        assert_eq!(health.paused_until(), at(RETRY_AFTER_MAX));
    }
}
