//! Tests of the arithmetic, against exact fractions.

use super::*;
use proptest::prelude::*;

/// Requests admitted at these times, in order.
fn admitted(limit: &Gcra, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut tat = 0;
    times
        .into_iter()
        .filter(|now| {
            let debt = tat.max(*now) - now;
            let is_admitted = limit.check(debt).is_ok();
            if is_admitted {
                tat = now + debt + limit.step(now + debt);
            }
            is_admitted
        })
        .collect()
}

#[test]
fn a_burst_is_admitted_at_once_and_then_one_per_interval() {
    let limit = Gcra::new(100, Duration::from_secs(1), 20);
    assert_eq!(admitted(&limit, [0; 100]).len(), 20);
    let at_10_ms = admitted(&limit, [0; 100].into_iter().chain([9_999, 10_000, 10_000, 19_999, 20_000]));
    assert_eq!(at_10_ms[20..], [10_000, 20_000]);
    assert_eq!(admitted(&limit, [0; 100].into_iter().chain([200_000; 100])).len(), 40, "the burst is back");
}

#[test]
fn intervals_that_are_no_whole_microseconds_add_up() {
    for requests in [3, 7, 3_000, 30_000, 300_000, 999_999] {
        let limit = Gcra::new(requests, Duration::from_secs(1), 1);
        let per_second = admitted(&limit, (0..2_000_000).map(|at| at + 12_345)).len();
        assert!(per_second.abs_diff(2 * requests as usize) <= 1, "{requests}: {per_second}");
    }
}

#[test]
fn what_remains_is_what_is_admitted() {
    let limit = Gcra::new(3, Duration::from_secs(1), 5);
    assert_eq!((limit.remaining(0), limit.remaining(limit.capacity_us())), (5, 0));
    assert_eq!((limit.remaining(333_334), limit.remaining(333_335)), (4, 3));
}

#[test]
fn extreme_numbers_neither_overflow_nor_panic() {
    let durations = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(3_600), Duration::MAX];
    for requests in [0, 1, 1_000_000_000, u32::MAX] {
        for per in durations {
            for burst in [0, 1, u32::MAX] {
                let limit = Gcra::new(requests, per, burst);
                for tat in [0, 1, (1 << 44) - 1] {
                    assert!(limit.step(tat) >= 1, "{limit:?}");
                }
                assert!(limit.capacity_us() <= limits::RATE_LIMIT_DEBT_US_MAX, "{limit:?}");
                assert_eq!(limit.check(0), Ok(()), "{limit:?}");
                assert!(limit.remaining(0) >= 1, "{limit:?}");
            }
        }
    }
}

proptest! {
    /// No window of a run has more than its share, whatever the settings and the times are.
    #[test]
    fn no_window_admits_more_than_burst_and_rate(
        requests in 1u32..2_000_000,
        per_ms in prop_oneof![Just(1_000u64), 1u64..100_000],
        burst in 1u32..50,
        gaps in prop::collection::vec(prop_oneof![Just(0u64), 0u64..50, 0u64..200_000], 1..300),
    ) {
        let per = Duration::from_millis(per_ms);
        let limit = Gcra::new(requests, per, burst);
        let times = gaps.iter().scan(77u64, |now, gap| { *now += gap; Some(*now) });
        let admitted = admitted(&limit, times);
        for (first, begin) in admitted.iter().enumerate() {
            for (last, end) in admitted.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u128;
                // Both are whole microseconds, and the window ends with the last one.
                let of_rate = u128::from(end - begin + 1) * u128::from(requests) / per.as_micros();
                prop_assert!(count <= u128::from(burst) + of_rate + 1, "{count} in {} µs", end - begin);
            }
        }
    }

    /// A client that keeps to the rate is never refused; the burst takes the rounding of its times.
    #[test]
    fn the_rate_itself_is_admitted(requests in 1u32..100_000, burst in 2u32..5, start in 0u64..1 << 43) {
        let limit = Gcra::new(requests, Duration::from_secs(1), burst);
        let times = (0..1_000u64).map(|n| start + (n * 1_000_000).div_ceil(u64::from(requests)));
        prop_assert_eq!(admitted(&limit, times).len(), 1_000);
    }
}
