//! Issuance state of one domain: its persisted record, and the decision about its next step. Pure.
//!
//! ```text
//!                 ┌────────── retried with backoff ◀───────────┐
//!                 ▼                                            │ DNS points elsewhere
//!  no certificate, or renewal due ─▶ verification ─────────────┤
//!                 ▲                                            │ ready
//!                 ├── retried with backoff ◀─ refused ─ order ◀┘
//!                 │                                 │
//!    renewal due  └──────────── issued ◀────────────┘       failing for weeks ─▶ parked
//! ```
//! Outages and rate limits of the CA are not part of it: they are no failure of a domain.

use std::time::Duration;

use ringway_model::{Hostname, Timestamp};
use serde::{Deserialize, Serialize};

use crate::limits::{
    PARK_AFTER_DNS, PARK_AFTER_REFUSALS, PARK_ATTEMPTS_MIN, RETRY_DNS_MAX, RETRY_DNS_MIN, RETRY_ORDER_MAX,
    RETRY_ORDER_MIN,
};
use crate::queue::OrderKind;
use crate::renewal::{Lateness, Suggestion, fraction, part};

/// Issuance step in progress for a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// None.
    #[default]
    Idle,
    /// Queued for verification, or being verified.
    Verifying(OrderKind),
    /// Queued for an order.
    Queued(OrderKind),
    /// Order in flight.
    Ordering(OrderKind),
}

/// Persisted record of a domain. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct IssuanceRecord {
    /// Failed attempts of the same kind since the last success.
    pub(crate) failures: u32,
    /// Kind of those failures.
    #[serde(rename = "trouble")]
    pub(crate) failure_kind: Option<FailureKind>,
    /// Time of the first of them.
    pub(crate) failing_since: Option<u64>,
    /// Earliest time of the next attempt.
    pub(crate) next_try: Option<u64>,
    /// Reason of the last failure, and the remedy.
    pub(crate) reason: Option<String>,
    /// Attempts stopped, for the registration last changed at this time.
    pub(crate) parked: Option<u64>,
    /// Origin of the certificate from a CA.
    pub(crate) issued: Option<Origin>,
    /// Last expiry warning, so that it is not repeated.
    pub(crate) warned: Option<Warned>,
}

/// Origin of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// URL of the CA's directory.
    pub(crate) directory: String,
    /// Fingerprint of the certificate; a hand-placed one has another.
    pub(crate) fingerprint: String,
    /// Certificate identifier (RFC 9773 §4.1).
    pub(crate) certificate_id: Option<String>,
    /// Renewal window suggested by the CA.
    #[serde(default)]
    pub(crate) suggestion: Option<Suggestion>,
    /// Time of the next renewal information request.
    #[serde(default)]
    pub(crate) ask_at: u64,
}

/// Kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureKind {
    /// The domain does not point to this server.
    Dns,
    /// The CA refused the order.
    Refusal,
}

/// See [`IssuanceRecord::warned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warned {
    pub(crate) not_after: u64,
    pub(crate) lateness: Lateness,
}

/// Next step for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextStep {
    /// Nothing until this time, when the certificate is reconsidered.
    Rest(Timestamp),
    /// Retry at this time.
    Wait(Timestamp),
    /// Verify, then order.
    Try(OrderKind),
    /// Nothing: attempts stopped.
    Parked,
}

/// Certificate of a domain, as far as the decision needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Installed {
    /// None that can be served.
    None,
    /// A certificate with its renewal time; `None` while the clock is wrong.
    Certificate(Option<Timestamp>),
}

impl IssuanceRecord {
    /// Decides the next step. `updated_at`: last change of the registration.
    pub(crate) fn next(&self, installed: Installed, updated_at: Timestamp, now: Timestamp) -> NextStep {
        let kind = match installed {
            Installed::None => OrderKind::Issue,
            // Reconsidered when the clock may be right again.
            Installed::Certificate(None) => return NextStep::Rest(Timestamp::after(now, CLOCK_RETRY)),
            Installed::Certificate(Some(renewal_at)) if renewal_at > now => {
                return NextStep::Rest(renewal_at);
            }
            Installed::Certificate(_) => OrderKind::Renew,
        };
        if self.parked == Some(updated_at.0) {
            return NextStep::Parked;
        }
        match self.next_try {
            // A time too far ahead was computed with a wrong clock.
            Some(at) if at > now.0 && at - now.0 <= 2 * RETRY_ORDER_MAX.as_millis() as u64 => {
                NextStep::Wait(Timestamp(at))
            }
            Some(_) | None => NextStep::Try(kind),
        }
    }

    /// Records a failed attempt; returns the time of the next one, or `None` when attempts stop.
    pub(crate) fn fail(
        &mut self,
        host: &Hostname,
        kind: FailureKind,
        reason: String,
        updated_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.failure_kind != Some(kind) {
            // A failure of another kind starts a new sequence.
            (self.failures, self.failing_since) = (0, None);
        }
        self.failure_kind = Some(kind);
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(reason);
        let since = *self.failing_since.get_or_insert(now.0);
        let (delay, park_after) = match kind {
            FailureKind::Dns => (backoff(host, self.failures, RETRY_DNS_MIN, RETRY_DNS_MAX), PARK_AFTER_DNS),
            FailureKind::Refusal => {
                (backoff(host, self.failures, RETRY_ORDER_MIN, RETRY_ORDER_MAX), PARK_AFTER_REFUSALS)
            }
        };
        let lasts = now.0.saturating_sub(since);
        if self.failures >= PARK_ATTEMPTS_MIN && lasts >= park_after.as_millis() as u64 {
            self.parked = Some(updated_at.0);
            self.next_try = None;
            return None;
        }
        let at = Timestamp::after(now, delay);
        self.next_try = Some(at.0);
        Some(at)
    }

    /// Clears backoff and parking, after a successful verification or a change of the registration; returns
    /// whether there was any.
    pub(crate) fn retry_now(&mut self) -> bool {
        let was_waiting = self.parked.is_some() || self.next_try.is_some();
        (self.parked, self.next_try) = (None, None);
        was_waiting
    }

    /// Ends a sequence of DNS failures, after a successful verification.
    pub(crate) fn clear_dns_failures(&mut self) {
        if self.failure_kind == Some(FailureKind::Dns) {
            (self.failure_kind, self.failures, self.failing_since) = (None, 0, None);
        }
    }

    /// Records a success.
    pub(crate) fn succeed(&mut self, origin: Origin) {
        *self = Self { issued: Some(origin), ..Self::default() };
    }
}

/// Exponential backoff with jitter by the name, so that domains which failed together are not retried
/// together.
fn backoff(host: &Hostname, failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest);
    let millis = doubled.as_millis() as u64;
    let share = fraction(host, &failures.to_string());
    Duration::from_millis(millis - millis / 4 + part(millis / 4, share))
}

/// Retry interval while the clock is wrong.
const CLOCK_RETRY: Duration = Duration::from_secs(60);

/// Arithmetic of timestamps.
pub(crate) trait After {
    /// Adds a duration.
    fn after(self, by: Duration) -> Self;
}

impl After for Timestamp {
    fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::host;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const REGISTERED: Timestamp = Timestamp(1_700_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn later(by: Duration) -> Timestamp {
        NOW.after(by)
    }

    #[test]
    fn the_next_step_by_record_and_certificate() {
        let (due, not_due) = (Installed::Certificate(Some(NOW)), Installed::Certificate(Some(later(DAY))));
        let fresh = IssuanceRecord::default();
        let waits = IssuanceRecord { next_try: Some(later(DAY / 2).0), ..IssuanceRecord::default() };
        let waited = IssuanceRecord { next_try: Some(NOW.0 - 1), ..IssuanceRecord::default() };
        let absurd = IssuanceRecord { next_try: Some(later(1_000 * DAY).0), ..IssuanceRecord::default() };
        let parked = IssuanceRecord { parked: Some(REGISTERED.0), ..IssuanceRecord::default() };
        let parked_before = IssuanceRecord { parked: Some(REGISTERED.0 - 1), ..IssuanceRecord::default() };
        let (issue, renew) = (NextStep::Try(OrderKind::Issue), NextStep::Try(OrderKind::Renew));
        for (record, has, expected) in [
            (&fresh, Installed::None, issue),
            (&fresh, due, renew),
            (&fresh, not_due, NextStep::Rest(later(DAY))),
            (&fresh, Installed::Certificate(None), NextStep::Rest(later(CLOCK_RETRY))),
            (&waits, Installed::None, NextStep::Wait(later(DAY / 2))),
            (&waits, due, NextStep::Wait(later(DAY / 2))),
            (&waits, not_due, NextStep::Rest(later(DAY))),
            (&waited, Installed::None, issue),
            (&waited, due, renew),
            (&absurd, Installed::None, issue),
            (&parked, Installed::None, NextStep::Parked),
            (&parked, due, NextStep::Parked),
            (&parked, not_due, NextStep::Rest(later(DAY))),
            (&parked_before, Installed::None, issue),
            (&parked_before, due, renew),
        ] {
            assert_eq!(record.next(has, REGISTERED, NOW), expected, "{record:?} {has:?}");
        }
    }

    #[test]
    fn backs_off_to_one_attempt_per_day() {
        let mut record = IssuanceRecord::default();
        let mut now = NOW;
        let mut last = Duration::ZERO;
        for n in 1..=12 {
            let at =
                record.fail(&host("a.example"), FailureKind::Refusal, "no".into(), REGISTERED, now).unwrap();
            let delay = Duration::from_millis(at.0 - now.0);
            assert!(delay <= RETRY_ORDER_MAX && delay >= RETRY_ORDER_MIN * 3 / 4, "{n}: {delay:?}");
            if n < 8 {
                assert!(delay > last, "{n}: {delay:?} after {last:?}");
            }
            last = delay;
            now = at;
        }
        assert!(last >= RETRY_ORDER_MAX * 3 / 4);
        assert_eq!(record.failures, 12);
    }

    #[test]
    fn retries_are_spread() {
        let mut moments: Vec<u64> = (0..100)
            .map(|n| {
                let name = host(&format!("d{n}.example"));
                IssuanceRecord::default()
                    .fail(&name, FailureKind::Refusal, String::new(), REGISTERED, NOW)
                    .unwrap()
                    .0
            })
            .collect();
        moments.sort_unstable();
        moments.dedup();
        assert!(moments.len() > 95);
    }

    #[test]
    fn parks_after_weeks_of_failures() {
        let fail_until_parked = |kind, wait: Duration| {
            let mut record = IssuanceRecord::default();
            let mut now = NOW;
            for n in 1..10_000 {
                match record.fail(&host("a.example"), kind, "no".into(), REGISTERED, now) {
                    Some(at) => now = at.after(wait),
                    None => return (n, Duration::from_millis(now.0 - NOW.0), record),
                }
            }
            panic!("never parked");
        };
        for (kind, after) in [(FailureKind::Dns, PARK_AFTER_DNS), (FailureKind::Refusal, PARK_AFTER_REFUSALS)]
        {
            let (attempts, lasted, record) = fail_until_parked(kind, Duration::ZERO);
            assert!(attempts >= PARK_ATTEMPTS_MIN && lasted >= after, "{attempts} {lasted:?}");
            assert_eq!(record.next(Installed::None, REGISTERED, NOW), NextStep::Parked);
        }
        // Time without a running process does not count as attempts.
        let (attempts, ..) = fail_until_parked(FailureKind::Dns, 30 * DAY);
        assert_eq!(attempts, PARK_ATTEMPTS_MIN);
    }

    #[test]
    fn retry_now_clears_backoff_and_parking() {
        let mut record =
            IssuanceRecord { parked: Some(REGISTERED.0), failures: 9, ..IssuanceRecord::default() };
        assert!(record.retry_now());
        assert_eq!(record.next(Installed::None, REGISTERED, NOW), NextStep::Try(OrderKind::Issue));
        assert!(!record.retry_now(), "nothing to clear");
    }

    #[test]
    fn a_refusal_after_dns_failures_starts_a_new_sequence() {
        let mut record = IssuanceRecord::default();
        for _ in 0..8 {
            record.fail(&host("a.example"), FailureKind::Dns, "dns".into(), REGISTERED, NOW);
        }
        record.fail(&host("a.example"), FailureKind::Refusal, "no".into(), REGISTERED, NOW);
        assert_eq!(record.failures, 1);
    }

    #[test]
    fn reads_records_of_older_and_newer_versions() {
        let record: IssuanceRecord = serde_json::from_str(r#"{"failures":3,"of_tomorrow":{"x":1}}"#).unwrap();
        assert_eq!(record, IssuanceRecord { failures: 3, ..IssuanceRecord::default() });
        let text = serde_json::to_string(&IssuanceRecord {
            failure_kind: Some(FailureKind::Dns),
            ..IssuanceRecord::default()
        })
        .unwrap();
        assert!(text.contains(r#""trouble":"dns""#));
    }

    proptest! {
        #[test]
        fn backoff_is_bounded(failures in 1u32..u32::MAX, name in "[a-z]{1,20}") {
            let delay = backoff(&host(&format!("{name}.example")), failures, RETRY_ORDER_MIN, RETRY_ORDER_MAX);
            prop_assert!(delay >= RETRY_ORDER_MIN * 3 / 4 && delay <= RETRY_ORDER_MAX);
        }
    }
}
