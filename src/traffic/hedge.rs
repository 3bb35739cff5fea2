//! Hedging of a rule: the delay after which a second attempt begins, and the budget of second attempts.
//!
//! ```text
//! request on core c ─► begin: core c's line of the budget
//! response head     ─► record: core c's line of the latencies
//! no head by the delay ─► withdraw: withdrawn < share × requests of 10 s? ─► second attempt
//! ```
//! The budget has no floor: while all responses are late, second attempts would double the load of what
//! cannot bear it.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Hedge, HedgeDelay};

use crate::latencies::Latencies;
use crate::retry_budget::{BudgetSize, RetryBudget};

/// Hedging of a rule: its settings, which come with a snapshot, and its state, which outlives snapshots.
#[derive(Clone, Debug)]
pub struct Hedging {
    settings: Hedge,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    budget: RetryBudget,
    latencies: Latencies,
}

impl Hedging {
    /// Hedging with these settings, and the state of `known`, or a new one for `cores` cores.
    pub fn new(settings: Hedge, known: Option<&Self>, cores: usize) -> Self {
        let new = || Arc::new(State { budget: RetryBudget::new(cores), latencies: Latencies::new(cores) });
        Self { settings, state: known.map_or_else(new, |known| known.state.clone()) }
    }

    /// Whether second attempts are only counted.
    pub fn is_dry_run(&self) -> bool {
        self.settings.dry_run
    }

    /// Time after which a second attempt begins; `None` while too few latencies are known. At most once a
    /// second one core reads the lines of all, and otherwise this is one relaxed load.
    pub fn delay(&self, now_us: u64) -> Option<Duration> {
        match self.settings.delay {
            HedgeDelay::After(delay) => Some(delay),
            HedgeDelay::P95 => self.state.latencies.p95(now_us),
        }
    }

    /// Counts a request that could be hedged. Called by core number `core` only: a store to its own line.
    pub fn begin(&self, core: usize, now_us: u64) {
        self.state.budget.deposit(core, now_us);
    }

    /// Records the time until the response head of a request. Called by core number `core` only: stores to
    /// its own line, and nothing where the delay is fixed.
    pub fn record(&self, core: usize, latency_us: u64, now_us: u64) {
        if self.settings.delay == HedgeDelay::P95 {
            self.state.latencies.record(core, latency_us, now_us);
        }
    }

    /// Withdraws a second attempt from the budget; false when it is exhausted. The request that asks has
    /// begun before: a share of all admits a second attempt of each.
    pub fn withdraw(&self, now_us: u64) -> bool {
        self.state.budget.withdraw_exactly(BudgetSize { share: self.settings.budget, floor: 0 }, now_us)
    }
}

/// The same settings, and the same state.
impl PartialEq for Hedging {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings && Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for Hedging {}

#[cfg(test)]
mod tests {
    use ringway_model::Percent;

    use super::*;

    fn hedging(budget: Percent) -> Hedging {
        let settings = Hedge { delay: HedgeDelay::P95, budget, dry_run: false };
        Hedging::new(settings, None, 2)
    }

    #[test]
    fn the_budget_is_a_share_of_the_requests_without_a_floor() {
        let hedging = hedging(Percent::whole(5));
        assert!(!hedging.withdraw(0), "nothing has come");
        for _ in 0..40 {
            hedging.begin(0, 1_000_000);
        }
        let admitted = (0..10).filter(|_| hedging.withdraw(1_500_000)).count();
        assert_eq!(admitted, 2);
    }

    #[test]
    fn state_outlives_a_change_of_the_settings() {
        let before = hedging(Percent::ALL);
        before.begin(1, 0);
        let settings = Hedge { delay: HedgeDelay::P95, budget: Percent::ALL, dry_run: true };
        let after = Hedging::new(settings, Some(&before), 2);
        assert!(after != before && after.is_dry_run() && after.withdraw(500_000));
    }
}
