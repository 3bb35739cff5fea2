//! Renewal time and expiry warnings of a certificate. Pure; relative to the lifetime, because lifetimes
//! become shorter every year.

use std::time::Duration;

use ringway_model::{Hostname, Timestamp};
use ringway_tls::Facts;
use serde::{Deserialize, Serialize};

/// Renewal window suggested by the CA (RFC 9773 §4.2), in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suggestion {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Returns the renewal time: the point of the CA's window that the name's hash selects; without a window,
/// when a third of the lifetime is left (half of lifetimes up to ten days), or `renew_before` expiry where
/// that is less than half of the lifetime. A late window is cut off, to leave a reserve.
pub(crate) fn renewal_at(
    host: &Hostname,
    facts: &Facts,
    renew_before: Option<Duration>,
    suggestion: Option<Suggestion>,
) -> Timestamp {
    let life = life(facts);
    if let Some(Suggestion { start, end }) = suggestion {
        let window = end.saturating_sub(start);
        let chosen = start.saturating_add(part(window, fraction(host, "ari")));
        // A window that ends with the certificate, or after it, leaves no time for a second attempt.
        return Timestamp(chosen.min(facts.not_after.0.saturating_sub(life / RESERVE_SHARE)));
    }
    let left = match renew_before.map(|before| before.as_millis() as u64) {
        Some(before) if before < life / 2 => before,
        Some(_) | None if life <= SHORT_LIFE.as_millis() as u64 => life / 2,
        Some(_) | None => life / 3,
    };
    // Earlier by up to a thirtieth of the lifetime, so that certificates issued together are not renewed
    // together.
    let spread = part(life / SPREAD_SHARE, fraction(host, "renewal"));
    Timestamp(facts.not_after.0.saturating_sub(left).saturating_sub(spread).max(facts.not_before.0))
}

/// Up to this lifetime, renewal is at half of it: a third of six days is too short for an outage of a CA.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 24 * 3600);
/// Last tenth of the lifetime: a suggested window never reaches into it.
const RESERVE_SHARE: u64 = 10;
const SPREAD_SHARE: u64 = 30;

/// Expiry warning level of a certificate that should have been renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Lateness {
    /// No warning.
    #[default]
    None,
    /// A quarter of the lifetime is left.
    Quarter,
    /// An eighth is left.
    Eighth,
}

impl Lateness {
    pub(crate) fn of(facts: &Facts, now: Timestamp) -> Self {
        let (life, left) = (life(facts), facts.not_after.0.saturating_sub(now.0));
        if left <= life / 8 {
            Self::Eighth
        } else if left <= life / 4 {
            Self::Quarter
        } else {
            Self::None
        }
    }

    /// Returns the time of the next level.
    pub(crate) fn next_at(facts: &Facts, now: Timestamp) -> Option<Timestamp> {
        let life = life(facts);
        let points = [life / 4, life / 8].map(|left| Timestamp(facts.not_after.0.saturating_sub(left)));
        points.into_iter().find(|at| *at > now)
    }
}

/// Whether a renewal is overdue: two thirds of the lifetime are over, and the renewal time has passed by a
/// margin.
pub(crate) fn is_overdue(facts: &Facts, renewal_at: Timestamp, now: Timestamp) -> bool {
    let life = life(facts);
    let two_thirds = facts.not_after.0.saturating_sub(life / 3);
    now.0 > two_thirds && now.0 > renewal_at.0.saturating_add(life / SPREAD_SHARE)
}

fn life(facts: &Facts) -> u64 {
    facts.not_after.0.saturating_sub(facts.not_before.0)
}

/// Hashes a name for a purpose to a number from 0 to 2³²: stable and evenly spread.
pub(crate) fn fraction(host: &Hostname, purpose: &str) -> u32 {
    // FNV-1a with a final mix, so that similar names do not get similar numbers.
    let bytes = purpose.bytes().chain([0]).chain(host.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (hash >> 32) as u32
}

/// Scales a whole by a fraction of 2³².
pub(crate) fn part(whole: u64, fraction: u32) -> u64 {
    ((u128::from(whole) * u128::from(fraction)) >> 32) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::host;
    use proptest::prelude::*;
    use ringway_tls::KeyKind;

    const DAY: u64 = 24 * 3600 * 1000;

    fn facts(days: u64) -> Facts {
        Facts {
            names: vec!["a.example".into()],
            not_before: Timestamp(1_000 * DAY),
            not_after: Timestamp((1_000 + days) * DAY),
            serial: String::new(),
            issuer: String::new(),
            fingerprint: String::new(),
            key: KeyKind::Ecdsa,
            for_servers: true,
        }
    }

    /// Share of the lifetime left at the renewal time, in thousandths.
    fn left(days: u64, renew_before: Option<u64>) -> u64 {
        let facts = facts(days);
        let before = renew_before.map(|days| Duration::from_millis(days * DAY));
        let at = renewal_at(&host("a.example"), &facts, before, None);
        (facts.not_after.0 - at.0) * 1000 / (days * DAY)
    }

    #[test]
    fn renews_when_a_third_is_left_or_half_of_short_ones() {
        for days in [90, 64, 45, 11, 398] {
            assert!((333..=367).contains(&left(days, None)), "{days}");
        }
        for days in [1, 6, 10] {
            assert!((500..=534).contains(&left(days, None)), "{days}");
        }
    }

    #[test]
    fn renew_before_counts_below_half_of_the_lifetime() {
        assert!((333..=367).contains(&left(90, Some(30))));
        assert!((55..=90).contains(&left(90, Some(5))));
        // Thirty days of 45 would be every two weeks, and of six days always.
        assert!((333..=367).contains(&left(45, Some(30))));
        assert!((500..=534).contains(&left(6, Some(30))));
        assert!((488..=525).contains(&left(90, Some(44))));
    }

    #[test]
    fn renewals_are_spread() {
        let facts = facts(90);
        let mut days: Vec<u64> =
            (0..1_000).map(|n| renewal_at(&host(&format!("d{n}.example")), &facts, None, None).0).collect();
        days.sort_unstable();
        days.dedup();
        assert!(days.len() > 990);
        assert!(days.last().unwrap() - days.first().unwrap() > 2 * DAY, "over some three days");
        assert!(days[days.len() / 2] - days[0] > DAY);
    }

    #[test]
    fn renews_within_the_suggested_window() {
        let facts = facts(90);
        let of = |name: &str, start: u64, end: u64| {
            renewal_at(&host(name), &facts, Some(Duration::ZERO), Some(Suggestion { start, end })).0
        };
        let (start, end) = (1_010 * DAY, 1_012 * DAY);
        for n in 0..100 {
            let at = of(&format!("d{n}.example"), start, end);
            assert!((start..end).contains(&at));
            assert_eq!(at, of(&format!("d{n}.example"), start, end), "stable");
        }
        assert_eq!(of("a.example", 0, 1), 0, "a past window: at once");
        assert!(of("a.example", 2_000 * DAY, 2_001 * DAY) < facts.not_after.0 - 8 * DAY, "not too late");
        assert!(of("a.example", end, start) >= start, "an inverted window");
    }

    #[test]
    fn warns_at_a_quarter_and_at_an_eighth() {
        let facts = facts(80);
        let at = |day: u64| Timestamp((1_000 + day) * DAY);
        for (day, expected) in [
            (0, Lateness::None),
            (59, Lateness::None),
            (60, Lateness::Quarter),
            (69, Lateness::Quarter),
            (70, Lateness::Eighth),
            (90, Lateness::Eighth),
        ] {
            assert_eq!(Lateness::of(&facts, at(day)), expected, "{day}");
        }
        assert_eq!(Lateness::next_at(&facts, at(0)), Some(at(60)));
        assert_eq!(Lateness::next_at(&facts, at(60)), Some(at(70)));
        assert_eq!(Lateness::next_at(&facts, at(70)), None);
    }

    #[test]
    fn is_overdue_after_two_thirds_and_the_renewal_time() {
        let facts = facts(90);
        let at = |day: u64| Timestamp((1_000 + day) * DAY);
        assert!(!is_overdue(&facts, at(58), at(60)));
        assert!(is_overdue(&facts, at(58), at(63)));
        assert!(!is_overdue(&facts, at(85), at(80)), "not due yet");
        assert!(is_overdue(&facts, at(85), at(89)));
        assert!(!is_overdue(&facts, at(10), at(30)), "new");
    }

    proptest! {
        #[test]
        fn the_renewal_time_is_within_the_lifetime(days in 1u64..1_000, before in prop::option::of(0u64..2_000), name in "[a-z]{1,20}") {
            let facts = facts(days);
            let before = before.map(|days| Duration::from_millis(days * DAY));
            let at = renewal_at(&host(&format!("{name}.example")), &facts, before, None);
            prop_assert!(at >= facts.not_before && at <= facts.not_after);
        }

        #[test]
        fn any_window_is_safe(start in any::<u64>(), end in any::<u64>()) {
            let facts = facts(90);
            let at = renewal_at(&host("a.example"), &facts, None, Some(Suggestion { start, end }));
            prop_assert!(at.0 <= facts.not_after.0 - 9 * DAY);
        }
    }
}
