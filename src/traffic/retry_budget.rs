//! Budget of additional attempts: a share of the successful exchanges of a pool, and a floor.
//!
//! ```text
//! success on core c ─► deposit: core c's line of a Tally         ┐
//!                                                                ├─ withdrawn < share × successes + floor × 10 s
//! retry on any core ─► withdraw: the word of the present second  ┘   yes: withdrawn + 1, no: no retry
//! ```
//! Where everything fails, each retry adds to the load of what cannot bear it: the budget then leaves the
//! floor alone. Where little fails, it is not noticed. It counts over a window of ten seconds rather than
//! what is in progress at one time: of requests that fail at once hardly any are, however many there are.
//!
//! Successes are counted for the last nine to ten seconds and withdrawals for the last ten to eleven, so that
//! no window of ten seconds has more withdrawals than the budget at its end. Two cores at the turn of a
//! second may both take the last one: one too many for each core, at most.

#[cfg(not(all(test, loom)))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[cfg(all(test, loom))]
use loom::sync::atomic::{AtomicU64, Ordering};

use ringway_model::Percent;

use crate::tally::{BUCKETS, Tally};
use crate::verdict::Verdict;

/// Size of a budget, from the policy of a route: routes of one pool may have unlike ones, and share what was
/// withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSize {
    /// Share of the successful exchanges of the last ten seconds.
    pub share: Percent,
    /// Attempts per second in any case.
    pub floor: u16,
}

impl BudgetSize {
    fn of(self, successes: u64) -> u64 {
        self.share.of(successes) + u64::from(self.floor) * BUCKETS as u64
    }
}

/// State of a budget, shared by all cores and snapshots.
#[derive(Debug)]
pub struct RetryBudget {
    successes: Tally,
    /// Sum of the successes as it was last read, with the number of the interval in which it was.
    last_sum: AtomicU64,
    withdrawals: Withdrawals,
}

impl RetryBudget {
    /// Returns a budget of `cores` cores without successes.
    pub fn new(cores: usize) -> Self {
        Self {
            successes: Tally::new(cores, PERIOD),
            last_sum: AtomicU64::new(pack(u32::MAX, 0)),
            withdrawals: Withdrawals::default(),
        }
    }

    /// Counts a successful exchange. Called by core number `core` only: a store to its own line.
    #[inline]
    pub fn deposit(&self, core: usize, now_us: u64) {
        self.successes.add(core, Verdict::Success, now_us);
    }

    /// Withdraws an attempt; false when the budget is exhausted. One exchange on memory that all cores share,
    /// and at most one sum over their lines per `SUM_INTERVAL`.
    pub fn withdraw(&self, size: BudgetSize, now_us: u64) -> bool {
        self.withdrawals.take(size.of(self.successes(now_us)), period(now_us))
    }

    /// Withdraws an attempt by all successes up to now; false when the budget is exhausted. Where there is no
    /// floor the newest successes may be the only ones, and those of a moment ago are too few. Reads every
    /// core's line before it refuses.
    pub fn withdraw_exactly(&self, size: BudgetSize, now_us: u64) -> bool {
        let withdraw = |successes| self.withdrawals.take(size.of(successes), period(now_us));
        withdraw(self.successes(now_us)) || withdraw(self.read_successes(now_us))
    }

    /// Attempts that could be withdrawn now.
    pub fn tokens(&self, size: BudgetSize, now_us: u64) -> u64 {
        let budget = size.of(self.successes(now_us));
        budget.saturating_sub(self.withdrawals.since(first_period(period(now_us))))
    }

    /// Successes of the window, as of a moment ago. A sum never outlives its periods, for they begin together
    /// with an interval: it may lack the newest successes, and has none that are too old.
    fn successes(&self, now_us: u64) -> u64 {
        match unpack(self.last_sum.load(Ordering::Relaxed)) {
            (at, sum) if at == interval(now_us) => sum.into(),
            _ => self.read_successes(now_us),
        }
    }

    /// Successes of the window up to now.
    fn read_successes(&self, now_us: u64) -> u64 {
        let sum = u32::try_from(self.successes.sum(now_us).successes).unwrap_or(u32::MAX);
        self.last_sum.store(pack(interval(now_us), sum), Ordering::Relaxed);
        sum.into()
    }
}

/// Withdrawals per second, a word for each second of the window: number of the second, and count.
#[derive(Debug)]
struct Withdrawals([AtomicU64; SLOTS]);

impl Default for Withdrawals {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Withdrawals {
    /// Adds one to those of `period`, where the window has fewer than `budget`.
    fn take(&self, budget: u64, period: u32) -> bool {
        let slot = &self.0[period as usize % SLOTS];
        let mut word = slot.load(Ordering::Relaxed);
        loop {
            // A slot of a later period is that of a core whose clock is a whole ring ahead: the window is not
            // known any longer.
            let (of, count) = unpack(word);
            if of > period || self.since(first_period(period)) >= budget {
                return false;
            }
            let count = if of == period { count } else { 0 };
            let next = pack(period, count.saturating_add(1));
            match slot.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                // Another core has withdrawn meanwhile: count again.
                Err(now_there) => word = now_there,
            }
        }
    }

    /// Withdrawals of `first` and all later periods.
    fn since(&self, first: u32) -> u64 {
        let counts = self.0.iter().map(|slot| match unpack(slot.load(Ordering::Relaxed)) {
            (period, count) if period >= first => u64::from(count),
            _ => 0,
        });
        counts.sum()
    }
}

/// Number of the interval in which a sum may be used again.
fn interval(now_us: u64) -> u32 {
    u32::try_from(now_us / SUM_INTERVAL_US).unwrap_or(u32::MAX - 1)
}

fn period(now_us: u64) -> u32 {
    u32::try_from(now_us / PERIOD.as_micros() as u64).unwrap_or(u32::MAX)
}

/// First period of the window of withdrawals: before the present one there are ten whole ones.
fn first_period(period: u32) -> u32 {
    period.saturating_sub(WINDOW)
}

fn pack(number: u32, count: u32) -> u64 {
    u64::from(number) << 32 | u64::from(count)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// Length of a bucket of the window.
const PERIOD: Duration = Duration::from_secs(1);
/// Time for which a sum of the successes is used again: a tenth of [`PERIOD`].
const SUM_INTERVAL: Duration = Duration::from_millis(100);
const SUM_INTERVAL_US: u64 = SUM_INTERVAL.as_micros() as u64;
/// Whole periods of the window of withdrawals. Models have one, for each word multiplies their interleavings.
const WINDOW: u32 = if cfg!(all(test, loom)) { 1 } else { BUCKETS as u32 };
/// Those periods, the present one, and one that a core may be ahead of another.
const SLOTS: usize = WINDOW as usize + 2;

#[cfg(all(test, loom))]
#[path = "retry_budget_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "retry_budget_tests.rs"]
mod tests;
