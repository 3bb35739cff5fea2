//! Tests of the table: shared keys, full sets, the clock that goes round, and threads.

use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::rate_limit::{Bans, Decision, Gcra, Limit};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000;
/// The clock goes round.
const ROUND: u64 = 1 << TAT_BITS;

fn limit(requests: u32, per: Duration, burst: u32) -> Limit {
    Limit { rate: Gcra::new(requests, per, burst), bans: None }
}

fn per_second(requests: u32, burst: u32) -> Limit {
    limit(requests, Duration::from_secs(1), burst)
}

fn per_hour(requests: u32, burst: u32) -> Limit {
    limit(requests, Duration::from_secs(3_600), burst)
}

/// Requests of `count` that are admitted at one moment.
fn admitted(limit: &Limit, table: &RateLimitTable, key: Key, now_us: u64, count: usize) -> usize {
    (0..count).filter(|_| is_admitted(limit.decide(table, key, now_us))).count()
}

fn is_admitted(decision: Decision) -> bool {
    matches!(decision, Decision::Admitted { .. })
}

/// Keys of one set, each with its own fingerprint.
fn key_of_one_set(number: u64) -> Key {
    Key((number + 1) << TAT_BITS)
}

fn words(table: &RateLimitTable) -> Vec<u64> {
    table.sets().iter().flat_map(|set| set.0.iter().map(|word| word.load(Ordering::Relaxed))).collect()
}

#[test]
fn each_key_has_its_own_burst_and_rate() {
    let (table, limit) = (RateLimitTable::with_words(1024), per_second(10, 3));
    for number in 0..5 {
        assert_eq!(admitted(&limit, &table, key_of_one_set(number), 0, 10), 3, "key {number}");
    }
    assert_eq!(admitted(&limit, &table, key_of_one_set(0), 99_999, 10), 0);
    assert_eq!(admitted(&limit, &table, key_of_one_set(0), 100_000, 10), 1);
    assert_eq!(admitted(&limit, &table, key_of_one_set(1), 10 * SECOND, 10), 3);
    assert_eq!(table.evictions(), 0);
}

#[test]
fn a_refusal_names_the_wait_and_writes_nothing() {
    let (table, limit, key) = (RateLimitTable::with_words(64), per_second(10, 1), key_of_one_set(3));
    assert_eq!(limit.decide(&table, key, 7), Decision::Admitted { debt_us: 100_000 });
    let before = words(&table);
    let retry_after = Duration::from_micros(99_000);
    assert_eq!(limit.decide(&table, key, 1_007), Decision::Limited { retry_after });
    assert_eq!(words(&table), before);
}

#[test]
fn a_full_set_evicts_the_key_with_the_least_debt() {
    let (table, limit) = (RateLimitTable::with_words(WAYS), per_hour(1, 10));
    for number in 0..8 {
        assert_eq!(
            admitted(&limit, &table, key_of_one_set(number), 0, number as usize + 1),
            number as usize + 1
        );
    }
    assert_eq!(table.evictions(), 0);
    assert_eq!(admitted(&limit, &table, key_of_one_set(8), 0, 3), 3);
    assert_eq!(table.evictions(), 1);
    for number in 1..8 {
        let left = 10 - number as usize - 1;
        assert_eq!(
            admitted(&limit, &table, key_of_one_set(number), 0, 20),
            left,
            "key {number} is as it was"
        );
    }
    assert_eq!(admitted(&limit, &table, key_of_one_set(0), 0, 20), 10, "the evicted key begins again");
}

#[test]
fn keys_whose_debt_is_paid_make_room_without_an_eviction() {
    let (table, limit) = (RateLimitTable::with_words(WAYS), per_second(1, 1));
    for round in 0..100 {
        for number in 0..8 {
            let key = key_of_one_set(8 * round + number);
            assert_eq!(admitted(&limit, &table, key, round * SECOND, 3), 1, "{round} {number}");
        }
    }
    assert_eq!(table.evictions(), 0);
}

#[test]
fn the_clock_may_begin_anywhere_and_go_round() {
    let limit = per_second(10, 3);
    for start in
        [0, 1, ROUND / 2 - 1, ROUND / 2, ROUND - 150_000, ROUND - 1, ROUND, 3 * ROUND, u64::MAX - SECOND]
    {
        let (table, key) = (RateLimitTable::with_words(WAYS), key_of_one_set(0));
        assert_eq!(admitted(&limit, &table, key, start, 10), 3, "{start}");
        assert_eq!(admitted(&limit, &table, key, start + 200_000, 10), 2, "{start}");
        assert_eq!(admitted(&limit, &table, key, start + SECOND, 10), 3, "{start}");
    }
}

/// Without the clearing, keys of a hundred days ago would look like debts and have the set to themselves.
#[test]
fn keys_of_another_age_take_no_room() {
    let (table, limit) = (RateLimitTable::with_words(WAYS), per_second(1, 1));
    for number in 0..8 {
        assert_eq!(admitted(&limit, &table, key_of_one_set(number), 0, 1), 1);
    }
    let now = ROUND / 2;
    assert_eq!(admitted(&limit, &table, key_of_one_set(8), now, 2), 1);
    let now = now + 10 * SECOND;
    for number in 9..17 {
        assert_eq!(admitted(&limit, &table, key_of_one_set(number), now, 2), 1);
    }
    for number in 9..17 {
        assert_eq!(admitted(&limit, &table, key_of_one_set(number), now, 2), 0, "it is still there");
    }
    assert_eq!(table.evictions(), 0);
}

#[test]
fn a_debt_of_other_settings_counts_as_a_used_up_burst() {
    let (table, key) = (RateLimitTable::with_words(WAYS), key_of_one_set(0));
    assert_eq!(admitted(&per_hour(1, 20), &table, key, 0, 30), 20);
    let faster = per_second(100, 20);
    assert_eq!(admitted(&faster, &table, key, 0, 30), 0);
    let Decision::Limited { retry_after } = faster.decide(&table, key, 0) else { panic!("it is limited") };
    assert!(retry_after <= Duration::from_millis(10), "{retry_after:?}");
}

#[test]
fn extreme_settings_and_clocks_neither_overflow_nor_panic() {
    for (requests, per) in [(1, 3_600), (1_000_000_000, 1), (u32::MAX, 1), (1, u64::MAX), (0, 0)] {
        for burst in [0, 1, u32::MAX] {
            let rate = Gcra::new(requests, Duration::from_secs(per), burst);
            for ban in [Duration::ZERO, Duration::MAX] {
                let bans = Some(Bans::new(burst, Duration::from_secs(per), ban));
                let limit = Limit { rate, bans };
                let table = RateLimitTable::with_words(WAYS);
                for now_us in [0, ROUND - 1, u64::MAX, 1, u64::MAX / 2] {
                    for number in 0..10 {
                        limit.decide(&table, key_of_one_set(number), now_us);
                    }
                }
            }
        }
    }
}

#[test]
fn refusals_in_one_period_ban_a_key_for_a_while() {
    let bans = Some(Bans::new(3, Duration::from_secs(1), Duration::from_secs(60)));
    let limit = Limit { rate: Gcra::new(1, Duration::from_secs(1), 1), bans };
    let table = RateLimitTable::with_words(1024);
    let [key, other] = [1, 2].map(|number: u64| Key(table.hash().hash_one(number)));
    let limited = |wait_ms| Decision::Limited { retry_after: Duration::from_millis(wait_ms) };
    let banned = |wait_ms| Decision::Banned { retry_after: Duration::from_millis(wait_ms) };
    assert!(is_admitted(limit.decide(&table, key, 0)));
    assert_eq!(limit.decide(&table, key, 0), limited(1_000));
    assert_eq!(limit.decide(&table, key, 100_000), limited(900));
    assert_eq!(limit.decide(&table, key, 200_000), banned(60_000));
    let before = words(&table);
    assert_eq!(limit.decide(&table, key, 10 * SECOND), banned(50_200));
    assert_eq!(words(&table), before, "a ban is not made longer by what it refuses");
    assert!(is_admitted(limit.decide(&table, key, 60_200_000)));
    assert!(is_admitted(limit.decide(&table, other, 60_200_000)), "others are not banned");
}

#[test]
fn refusals_far_from_each_other_ban_nobody() {
    let bans = Some(Bans::new(3, Duration::from_secs(1), Duration::from_secs(60)));
    let limit = Limit { rate: Gcra::new(1, Duration::from_secs(10), 1), bans };
    let (table, key) = (RateLimitTable::with_words(1024), key_of_one_set(0));
    let decisions = (0..1_000u64).map(|n| limit.decide(&table, key, n * 500_000));
    assert!(decisions.into_iter().all(|decision| !matches!(decision, Decision::Banned { .. })));
}

/// A million keys, eight times what fits: no key gets more than its burst while it stays in the table, the
/// others are counted.
#[test]
fn a_flood_of_keys_is_bounded_and_counted() {
    let (table, limit) = (RateLimitTable::with_words(128 * 1024), per_hour(1, 1));
    let hot: Vec<Key> = (0..100u64).map(|n| Key(table.hash().hash_one(("hot", n)))).collect();
    let heavy = per_hour(1, 1_000);
    for key in &hot {
        assert_eq!(admitted(&heavy, &table, *key, 0, 1_000), 1_000);
    }
    let flood = (0..1_000_000u64).map(|number| Key(table.hash().hash_one(number)));
    let refused = flood.filter(|key| !is_admitted(limit.decide(&table, *key, 0))).count();
    // Those that share set and fingerprint with another one: 8 of 2^20.
    assert!(refused < 100, "{refused}");
    assert!(table.evictions() > 800_000, "{}", table.evictions());
    for key in &hot {
        assert_eq!(admitted(&heavy, &table, *key, 0, 1), 0, "large debts outlive a flood of small ones");
    }
}

/// Admissions of several threads, each of which asks for the same key so many times at one moment.
fn admitted_by_threads(limit: &Limit, table: &RateLimitTable, key: Key, threads: usize) -> usize {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    admitted(limit, table, key, 5, 200)
                })
            })
            .collect();
        all.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    })
}

#[test]
fn threads_share_a_known_key_exactly_and_a_new_one_within_their_number() {
    let limit = per_hour(1, 100);
    for number in 0..200 {
        let table = RateLimitTable::with_words(WAYS);
        table.prepare();
        let key = key_of_one_set(number);
        let count = admitted_by_threads(&limit, &table, key, 4);
        assert!((100..=103).contains(&count), "{count}");
        assert!(is_admitted(limit.decide(&table, key_of_one_set(number + 1), 5)));
        let known = key_of_one_set(number + 1);
        assert_eq!(admitted_by_threads(&limit, &table, known, 4), 99);
    }
}

proptest! {
    /// While no set is full, each key is limited as if it were alone.
    #[test]
    fn independent_keys_do_not_disturb_each_other(
        requests in prop::collection::vec((0u64..6, 0u64..400_000), 1..300),
        start in 0..u64::MAX / 2,
    ) {
        let (table, limit) = (RateLimitTable::with_words(WAYS), per_second(7, 2));
        let alone: Vec<_> = (0..6).map(|_| RateLimitTable::with_words(WAYS)).collect();
        let mut now_us = start;
        for (number, gap) in requests {
            now_us += gap;
            let key = key_of_one_set(number);
            let expected = limit.decide(&alone[number as usize], key, now_us);
            prop_assert_eq!(limit.decide(&table, key, now_us), expected);
        }
        prop_assert_eq!(table.evictions(), 0);
    }

    /// Whatever the keys are, no more is admitted than one table for each key would admit, plus a burst for
    /// each eviction.
    #[test]
    fn evictions_bound_what_is_admitted_beyond_a_limit(
        requests in prop::collection::vec((0u64..20, 0u64..100_000), 1..500),
    ) {
        let (table, limit) = (RateLimitTable::with_words(WAYS), per_second(2, 3));
        let alone: Vec<_> = (0..20).map(|_| RateLimitTable::with_words(WAYS)).collect();
        let (mut now_us, mut admitted, mut expected) = (0, 0, 0);
        for (number, gap) in requests {
            now_us += gap;
            let key = key_of_one_set(number);
            admitted += u64::from(is_admitted(limit.decide(&table, key, now_us)));
            expected += u64::from(is_admitted(limit.decide(&alone[number as usize], key, now_us)));
        }
        prop_assert!(admitted >= expected && admitted <= expected + 3 * table.evictions());
    }
}
