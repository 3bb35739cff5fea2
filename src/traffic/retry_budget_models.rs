//! Loom models of a budget that several cores withdraw from, over all interleavings.

use loom::sync::Arc;
use loom::thread;

use super::*;

/// Withdraws on one thread for each period, and returns the number that was granted.
fn withdraw(withdrawals: &Arc<Withdrawals>, budget: u64, periods: &[u32]) -> usize {
    let threads: Vec<_> = periods
        .iter()
        .map(|&period| {
            let withdrawals = withdrawals.clone();
            thread::spawn(move || withdrawals.take(budget, period))
        })
        .collect();
    let granted = threads.into_iter().map(|thread| thread.join().expect("a thread of the model"));
    granted.filter(|is_granted| *is_granted).count()
}

#[test]
fn the_last_of_a_budget_is_withdrawn_once() {
    loom::model(|| {
        let withdrawals = Arc::new(Withdrawals::default());
        assert_eq!(withdraw(&withdrawals, 1, &[20, 20]), 1);
        assert_eq!(withdrawals.since(0), 1);
    });
}

#[test]
fn no_withdrawal_is_lost() {
    loom::model(|| {
        let withdrawals = Arc::new(Withdrawals::default());
        // A slot of a window that has passed.
        assert!(withdrawals.take(1, 20 - SLOTS as u32));
        assert_eq!(withdraw(&withdrawals, 2, &[20, 20]), 2);
        assert_eq!(withdrawals.since(first_period(20)), 2);
    });
}

#[test]
fn at_the_turn_of_a_period_each_core_takes_one_too_many_at_most() {
    loom::model(|| {
        let withdrawals = Arc::new(Withdrawals::default());
        let granted = withdraw(&withdrawals, 1, &[20, 21]);
        assert!((1..=2).contains(&granted), "{granted}");
        assert_eq!(withdrawals.since(first_period(21)), granted as u64);
        assert!(!withdrawals.take(1, 21) && !withdrawals.take(1, 20));
    });
}
