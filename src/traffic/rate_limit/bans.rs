//! Bans of keys that go on after refusals.
//!
//! Refusals are counted like requests, as a debt of their own in the same table: `after` of them within one
//! period of the limit ban the key. A debt beyond the one of a count is a ban, until it is paid off to there;
//! the period after a ban counts on, so that a key that has learnt nothing is banned again soon.

use std::time::Duration;

use super::gcra::{Gcra, micros};
use super::table::{Key, RateLimitTable};
use crate::limits;

/// Settings of bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bans {
    refusals: Gcra,
    duration_us: u64,
}

impl Bans {
    /// Bans for `duration` after `after` refusals within `per`.
    pub fn new(after: u32, per: Duration, duration: Duration) -> Self {
        let refusals = Gcra::new(after, per, after);
        let longest = limits::RATE_LIMIT_DEBT_US_MAX - refusals.capacity_us();
        Self { refusals, duration_us: micros(duration).min(longest) }
    }

    /// Time for which the key of a limit is still banned. Writes nothing.
    pub(super) fn left(&self, table: &RateLimitTable, key: Key, now_us: u64) -> Option<Duration> {
        let debt = table.debt(of_bans(key), now_us).min(self.refusals.capacity_us() + self.duration_us);
        let left = debt.checked_sub(self.refusals.capacity_us()).filter(|left| *left > 0);
        left.map(Duration::from_micros)
    }

    /// Counts a refusal; the duration of the ban if one begins, or has begun.
    pub(super) fn count(&self, table: &RateLimitTable, key: Key, now_us: u64) -> Option<Duration> {
        let counted = table.update(of_bans(key), now_us, |debt, now| {
            if debt > self.refusals.capacity_us() {
                return Err(Duration::from_micros(debt - self.refusals.capacity_us()));
            }
            let debt = debt + self.refusals.step(now.after(debt));
            match self.refusals.check(debt) {
                Ok(()) => Ok((debt, None)),
                Err(_) => {
                    let ban = Duration::from_micros(self.duration_us);
                    Ok((self.refusals.capacity_us() + self.duration_us, Some(ban)))
                }
            }
        });
        counted.unwrap_or_else(Some)
    }
}

/// Key of the refusals of a limit's key: another set of the table.
fn of_bans(key: Key) -> Key {
    const REFUSALS: u64 = 0x9E37_79B9_7F4A_7C15;
    Key(key.0.rotate_left(32) ^ REFUSALS)
}
