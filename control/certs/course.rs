//! The course of one domain with the CA: what is remembered of it, and what comes next. Pure.
//!
//! ```text
//!                 ┌────────────── later, less and less often ◀─┐
//!                 ▼                                            │ DNS leads elsewhere
//!  no certificate, or one whose renewal is due ─▶ verified ────┤
//!                 ▲                                            │ ready
//!                 ├── later, backing off ◀─ refused ─ order ◀──┘
//!                 │                                 │
//!   its moment    └──────────── issued ◀────────────┘             too long in vain ─▶ parked, until somebody asks
//! ```
//! An outage of the CA, and its limits, are no part of this: no domain is blamed for them.

use std::time::Duration;

use crate::limits::{
    PARK_AFTER_DNS, PARK_AFTER_REFUSALS, PARK_ATTEMPTS_MIN, RETRY_DNS_MAX, RETRY_DNS_MIN, RETRY_ORDER_MAX,
    RETRY_ORDER_MIN,
};
use ringway_model::{Hostname, Timestamp};
use serde::{Deserialize, Serialize};

use crate::queue::Errand;
use crate::renewal::{Lateness, Suggestion, fraction, part};

/// What is remembered of a domain, and kept on the disk. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    /// Attempts that failed since the last success, and of what kind they were.
    pub(crate) failures: u32,
    pub(crate) trouble: Option<Trouble>,
    /// When the first of them was.
    pub(crate) failing_since: Option<u64>,
    /// Nothing is tried before.
    pub(crate) next_try: Option<u64>,
    /// Why the last one failed, and what to do.
    pub(crate) reason: Option<String>,
    /// It was given up, for the registration as it was changed last at this time.
    pub(crate) parked: Option<u64>,
    /// The certificate that it has from a CA.
    pub(crate) issued: Option<Origin>,
    /// What was said about a certificate that is late in its life, lest it be said again.
    pub(crate) warned: Option<Warned>,
}

/// Where a certificate came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The URL of the CA's directory.
    pub(crate) directory: String,
    /// The certificate this is about: one that was put there by other hands has another.
    pub(crate) fingerprint: String,
    /// Its name in RFC 9773.
    pub(crate) certificate_id: Option<String>,
    /// What the CA suggests about its renewal.
    #[serde(default)]
    pub(crate) suggestion: Option<Suggestion>,
    /// When the CA is asked again.
    #[serde(default)]
    pub(crate) ask_at: u64,
}

/// What an attempt failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
    /// The domain does not lead here.
    Dns,
    /// The CA refused.
    Refusal,
}

/// See [`Memory::warned`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Warned {
    pub(crate) not_after: u64,
    pub(crate) lateness: Lateness,
}

/// What comes next for a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Its certificate is good until this moment, at which it is looked at again.
    Rest(Timestamp),
    /// It is tried at this moment, not before.
    Wait(Timestamp),
    /// It is to be verified, and then ordered for.
    Try(Errand),
    /// It is not tried any more.
    Parked,
}

/// What a domain has now.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Has {
    /// Nothing that can be served.
    Nothing,
    /// A certificate, to be renewed then; nothing is said of the moment while the clock cannot be believed.
    Certificate(Option<Timestamp>),
}

impl Memory {
    /// What comes next. `updated_at`: when the registration was changed last.
    pub(crate) fn next(&self, has: Has, updated_at: Timestamp, now: Timestamp) -> Next {
        let errand = match has {
            Has::Nothing => Errand::Issue,
            // Looked at again when the clock may be right.
            Has::Certificate(None) => return Next::Rest(Timestamp::after(now, CLOCK_RETRY)),
            Has::Certificate(Some(renewal_at)) if renewal_at > now => return Next::Rest(renewal_at),
            Has::Certificate(_) => Errand::Renew,
        };
        if self.parked == Some(updated_at.0) {
            return Next::Parked;
        }
        match self.next_try {
            // A moment that is too far away comes from a clock that was wrong.
            Some(at) if at > now.0 && at - now.0 <= 2 * RETRY_ORDER_MAX.as_millis() as u64 => {
                Next::Wait(Timestamp(at))
            }
            Some(_) | None => Next::Try(errand),
        }
    }

    /// An attempt failed: when the next one is, or that there is none.
    pub(crate) fn fail(
        &mut self,
        host: &Hostname,
        trouble: Trouble,
        reason: String,
        updated_at: Timestamp,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if self.trouble != Some(trouble) {
            // Progress, or a step back: either way another course begins.
            (self.failures, self.failing_since) = (0, None);
        }
        self.trouble = Some(trouble);
        self.failures = self.failures.saturating_add(1);
        self.reason = Some(reason);
        let since = *self.failing_since.get_or_insert(now.0);
        let (delay, park_after) = match trouble {
            Trouble::Dns => (backoff(host, self.failures, RETRY_DNS_MIN, RETRY_DNS_MAX), PARK_AFTER_DNS),
            Trouble::Refusal => {
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

    /// Somebody looked, and the domain leads here, or was registered otherwise: it is tried now. Whether that changes anything.
    pub(crate) fn revive(&mut self) -> bool {
        let is_stuck = self.parked.is_some() || self.next_try.is_some();
        (self.parked, self.next_try) = (None, None);
        is_stuck
    }

    /// The domain leads here again: failures for its records are over.
    pub(crate) fn forget_dns(&mut self) {
        if self.trouble == Some(Trouble::Dns) {
            (self.trouble, self.failures, self.failing_since) = (None, 0, None);
        }
    }

    /// It has a certificate.
    pub(crate) fn succeed(&mut self, origin: Origin) {
        *self = Self { issued: Some(origin), ..Self::default() };
    }
}

/// Twice as long with each failure, and a little more or less by the name, so that what failed together is not tried
/// together.
fn backoff(host: &Hostname, failures: u32, first: Duration, longest: Duration) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(longest);
    let millis = doubled.as_millis() as u64;
    let share = fraction(host, &failures.to_string());
    Duration::from_millis(millis - millis / 4 + part(millis / 4, share))
}

/// While the clock cannot be believed.
const CLOCK_RETRY: Duration = Duration::from_secs(60);

/// Arithmetic of moments.
pub(crate) trait After {
    /// So much later.
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
    fn the_table_of_what_comes_next() {
        let (due, not_due) = (Has::Certificate(Some(NOW)), Has::Certificate(Some(later(DAY))));
        let fresh = Memory::default();
        let waits = Memory { next_try: Some(later(DAY / 2).0), ..Memory::default() };
        let waited = Memory { next_try: Some(NOW.0 - 1), ..Memory::default() };
        let absurd = Memory { next_try: Some(later(1_000 * DAY).0), ..Memory::default() };
        let parked = Memory { parked: Some(REGISTERED.0), ..Memory::default() };
        let parked_before = Memory { parked: Some(REGISTERED.0 - 1), ..Memory::default() };
        let (issue, renew) = (Next::Try(Errand::Issue), Next::Try(Errand::Renew));
        for (memory, has, expected) in [
            (&fresh, Has::Nothing, issue),
            (&fresh, due, renew),
            (&fresh, not_due, Next::Rest(later(DAY))),
            (&fresh, Has::Certificate(None), Next::Rest(later(CLOCK_RETRY))),
            (&waits, Has::Nothing, Next::Wait(later(DAY / 2))),
            (&waits, due, Next::Wait(later(DAY / 2))),
            (&waits, not_due, Next::Rest(later(DAY))),
            (&waited, Has::Nothing, issue),
            (&waited, due, renew),
            (&absurd, Has::Nothing, issue),
            (&parked, Has::Nothing, Next::Parked),
            (&parked, due, Next::Parked),
            (&parked, not_due, Next::Rest(later(DAY))),
            (&parked_before, Has::Nothing, issue),
            (&parked_before, due, renew),
        ] {
            assert_eq!(memory.next(has, REGISTERED, NOW), expected, "{memory:?} {has:?}");
        }
    }

    #[test]
    fn tries_less_and_less_often_and_never_rarer_than_once_a_day() {
        let mut memory = Memory::default();
        let mut now = NOW;
        let mut last = Duration::ZERO;
        for n in 1..=12 {
            let at = memory.fail(&host("a.example"), Trouble::Refusal, "no".into(), REGISTERED, now).unwrap();
            let delay = Duration::from_millis(at.0 - now.0);
            assert!(delay <= RETRY_ORDER_MAX && delay >= RETRY_ORDER_MIN * 3 / 4, "{n}: {delay:?}");
            if n < 8 {
                assert!(delay > last, "{n}: {delay:?} after {last:?}");
            }
            last = delay;
            now = at;
        }
        assert!(last >= RETRY_ORDER_MAX * 3 / 4);
        assert_eq!(memory.failures, 12);
    }

    #[test]
    fn what_failed_together_is_not_tried_together() {
        let mut moments: Vec<u64> = (0..100)
            .map(|n| {
                let name = host(&format!("d{n}.example"));
                Memory::default().fail(&name, Trouble::Refusal, String::new(), REGISTERED, NOW).unwrap().0
            })
            .collect();
        moments.sort_unstable();
        moments.dedup();
        assert!(moments.len() > 95);
    }

    #[test]
    fn parks_what_fails_for_long_and_only_that() {
        let fail_until_parked = |trouble, wait: Duration| {
            let mut memory = Memory::default();
            let mut now = NOW;
            for n in 1..10_000 {
                match memory.fail(&host("a.example"), trouble, "no".into(), REGISTERED, now) {
                    Some(at) => now = at.after(wait),
                    None => return (n, Duration::from_millis(now.0 - NOW.0), memory),
                }
            }
            panic!("never parked");
        };
        for (trouble, after) in [(Trouble::Dns, PARK_AFTER_DNS), (Trouble::Refusal, PARK_AFTER_REFUSALS)] {
            let (attempts, lasted, memory) = fail_until_parked(trouble, Duration::ZERO);
            assert!(attempts >= PARK_ATTEMPTS_MIN && lasted >= after, "{attempts} {lasted:?}");
            assert_eq!(memory.next(Has::Nothing, REGISTERED, NOW), Next::Parked);
        }
        // A process that was off for long has not tried for long.
        let (attempts, ..) = fail_until_parked(Trouble::Dns, 30 * DAY);
        assert_eq!(attempts, PARK_ATTEMPTS_MIN);
    }

    #[test]
    fn is_tried_at_once_when_somebody_asks() {
        let mut memory = Memory { parked: Some(REGISTERED.0), failures: 9, ..Memory::default() };
        assert!(memory.revive());
        assert_eq!(memory.next(Has::Nothing, REGISTERED, NOW), Next::Try(Errand::Issue));
        assert!(!memory.revive(), "nothing was in its way");
    }

    #[test]
    fn dns_that_is_mended_is_no_failure_of_the_ca() {
        let mut memory = Memory::default();
        for _ in 0..8 {
            memory.fail(&host("a.example"), Trouble::Dns, "dns".into(), REGISTERED, NOW);
        }
        memory.fail(&host("a.example"), Trouble::Refusal, "no".into(), REGISTERED, NOW);
        assert_eq!(memory.failures, 1);
    }

    #[test]
    fn reads_what_an_older_or_newer_version_wrote() {
        let memory: Memory = serde_json::from_str(r#"{"failures":3,"of_tomorrow":{"x":1}}"#).unwrap();
        assert_eq!(memory, Memory { failures: 3, ..Memory::default() });
        let text =
            serde_json::to_string(&Memory { trouble: Some(Trouble::Dns), ..Memory::default() }).unwrap();
        assert!(text.contains(r#""trouble":"dns""#));
    }

    proptest! {
        #[test]
        fn a_backoff_has_its_bounds(failures in 1u32..u32::MAX, name in "[a-z]{1,20}") {
            let delay = backoff(&host(&format!("{name}.example")), failures, RETRY_ORDER_MIN, RETRY_ORDER_MAX);
            prop_assert!(delay >= RETRY_ORDER_MIN * 3 / 4 && delay <= RETRY_ORDER_MAX);
        }
    }
}
