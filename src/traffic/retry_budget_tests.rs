use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000;
/// Any time of the process: the window may begin before its start.
const START: u64 = 3 * SECOND;

fn size(percent: u16, floor: u16) -> BudgetSize {
    BudgetSize { share: Percent::whole(percent), floor }
}

/// Withdraws until the budget is exhausted.
fn withdraw_all(budget: &RetryBudget, size: BudgetSize, now_us: u64) -> usize {
    (0..).take_while(|_| budget.withdraw(size, now_us)).count()
}

#[test]
fn a_pool_without_successes_has_the_floor_of_ten_seconds() {
    let budget = RetryBudget::new(1);
    assert_eq!(budget.tokens(size(10, 3), START), 30);
    assert_eq!(withdraw_all(&budget, size(10, 3), START), 30);
    assert_eq!(budget.tokens(size(10, 3), START), 0);
    assert!(!budget.withdraw(size(10, 3), START + 10 * SECOND), "ten seconds have not passed for all");
    assert_eq!(withdraw_all(&budget, size(10, 3), START + 11 * SECOND), 30);
    assert!(!RetryBudget::new(1).withdraw(size(100, 0), START));
}

#[test]
fn successes_of_all_cores_earn_their_share() {
    let budget = RetryBudget::new(3);
    for success in 0..300 {
        budget.deposit(success % 3, START);
    }
    assert_eq!(withdraw_all(&budget, size(10, 0), START), 30);
    assert_eq!(budget.tokens(size(10, 0), START + 9 * SECOND), 0);
    assert!(!budget.withdraw(size(10, 0), START + 20 * SECOND), "successes of long ago earn nothing");
}

#[test]
fn a_sum_is_read_again_after_a_tenth_of_a_second() {
    let budget = RetryBudget::new(1);
    assert!(!budget.withdraw(size(100, 0), START));
    budget.deposit(0, START);
    assert!(!budget.withdraw(size(100, 0), START + SUM_INTERVAL_US - 1));
    assert!(budget.withdraw(size(100, 0), START + SUM_INTERVAL_US));
}

#[test]
fn an_exact_withdrawal_counts_the_newest_successes() {
    let budget = RetryBudget::new(2);
    for success in 1..=4 {
        assert!(!budget.withdraw_exactly(size(50, 0), START + success));
        budget.deposit(0, START + success);
        assert!(!budget.withdraw_exactly(size(50, 0), START + success));
        budget.deposit(1, START + success);
        assert!(budget.withdraw_exactly(size(50, 0), START + success));
    }
    assert_eq!(budget.tokens(size(50, 0), START + 5), 0);
}

#[test]
fn routes_of_one_pool_share_what_was_withdrawn() {
    let budget = RetryBudget::new(1);
    assert_eq!(withdraw_all(&budget, size(0, 1), START), 10);
    assert_eq!(budget.tokens(size(0, 3), START), 20);
    assert_eq!((withdraw_all(&budget, size(0, 3), START), budget.tokens(size(0, 1), START)), (20, 0));
}

#[test]
fn counts_and_times_do_not_overflow() {
    let budget = RetryBudget::new(1);
    let most = BudgetSize { share: Percent::ALL, floor: u16::MAX };
    budget.deposit(0, u64::MAX);
    assert!(budget.withdraw(most, u64::MAX) && budget.tokens(most, u64::MAX) > 0);
    // A core that lags by more than the window spends nothing.
    let ahead = RetryBudget::new(1);
    assert!(ahead.withdraw(most, START + SLOTS as u64 * SECOND) && !ahead.withdraw(most, START));
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Deposit,
    Withdraw,
}

/// Times of deposits, and of withdrawals that were granted.
#[derive(Default)]
struct Ledger {
    deposits: Vec<u64>,
    withdrawals: Vec<u64>,
}

fn within(times: &[u64], from: u64, to: u64) -> u64 {
    times.iter().filter(|at| (from..=to).contains(*at)).count() as u64
}

proptest! {
    /// In any ten seconds no more is withdrawn than the successes of these ten seconds and the floor allow;
    /// and nothing is refused while the budget, counted the most strictly, has something left.
    #[test]
    fn no_window_exceeds_its_budget_and_none_is_refused_within_it(
        percent in 0..=100_u16,
        floor in 0..4_u16,
        pauses in prop::collection::vec((0..4_u8, 0..1_000_000_u64), 1..400),
    ) {
        let (budget, size) = (RetryBudget::new(2), size(percent, floor));
        let (mut now, mut ledger) = (START, Ledger::default());
        for (kind, pause) in pauses {
            now += if kind == 3 { pause * 4 } else { pause / 100 };
            let event = if kind == 0 { Event::Withdraw } else { Event::Deposit };
            match event {
                Event::Deposit => {
                    budget.deposit((pause % 2) as usize, now);
                    ledger.deposits.push(now);
                }
                Event::Withdraw => {
                    let spent = within(&ledger.withdrawals, now.saturating_sub(11 * SECOND), now);
                    let settled = now.saturating_sub(SUM_INTERVAL_US);
                    let sure = size.of(within(&ledger.deposits, now.saturating_sub(9 * SECOND), settled));
                    if budget.withdraw(size, now) {
                        ledger.withdrawals.push(now);
                        let after = now.saturating_sub(10 * SECOND) + 1;
                        let most = size.of(within(&ledger.deposits, after, now));
                        prop_assert!(within(&ledger.withdrawals, after, now) <= most);
                    } else {
                        prop_assert!(spent >= sure, "{spent} of {sure}");
                    }
                }
            }
        }
    }
}
