use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn seconds(count: u64) -> u64 {
    count * 1_000_000
}

fn counts(successes: u64, failures: u64) -> Counts {
    Counts { successes, failures }
}

#[test]
fn a_line_of_a_core_has_128_bytes() {
    assert_eq!((size_of::<Line>(), align_of::<Line>()), (128, 128));
}

#[test]
fn attempts_of_all_cores_are_added_up_and_neutral_ones_are_not_counted() {
    let tally = Tally::new(3, SECOND);
    assert_eq!(tally.sum(seconds(1)), counts(0, 0));
    tally.add(0, Verdict::Success, seconds(1));
    tally.add(2, Verdict::Success, seconds(1));
    tally.add(2, Verdict::Failure, seconds(1));
    tally.add(1, Verdict::Neutral, seconds(1));
    assert_eq!(tally.sum(seconds(1)), counts(2, 1));
}

#[test]
fn an_idle_tally_has_no_lines() {
    let tally = Tally::new(3, SECOND);
    tally.add(1, Verdict::Neutral, seconds(5));
    assert_eq!(tally.sum(seconds(5)), counts(0, 0));
    assert!(tally.lines.get().is_none());
}

#[test]
fn a_bucket_leaves_the_window_after_ten_periods_and_is_used_again() {
    let tally = Tally::new(1, SECOND);
    tally.add(0, Verdict::Failure, seconds(3));
    assert_eq!(tally.sum(seconds(12) + 999_999), counts(0, 1));
    assert_eq!(tally.sum(seconds(13)), counts(0, 0));
    tally.add(0, Verdict::Success, seconds(13));
    assert_eq!(tally.sum(seconds(13)), counts(1, 0));
}

#[test]
fn a_window_that_starts_again_counts_only_periods_that_begin_after_it() {
    let tally = Tally::new(1, SECOND);
    for at in [4, 5, 6] {
        tally.add(0, Verdict::Failure, seconds(at));
    }
    assert_eq!(tally.sum_since(seconds(5), seconds(6)), counts(0, 2));
    assert_eq!(tally.sum_since(seconds(5) + 1, seconds(6)), counts(0, 1));
    assert_eq!(tally.sum_since(seconds(6) + 1, seconds(6) + 2), counts(0, 0));
}

#[test]
fn counters_stop_at_their_largest_value() {
    let tally = Tally::new(1, SECOND);
    tally.add(0, Verdict::Success, seconds(1));
    let line = &tally.lines.get().expect("it was written")[0];
    line.0[1].successes.store(u32::MAX, Ordering::Relaxed);
    tally.add(0, Verdict::Success, seconds(1));
    assert_eq!(tally.sum(seconds(1)), counts(u32::MAX.into(), 0));
}

proptest! {
    /// The sum is that of a list of all attempts, for every core, length of a bucket and time.
    #[test]
    fn the_sum_is_that_of_the_last_ten_periods(
        bucket_us in 1_u64..10_000_000,
        attempts in prop::collection::vec((0_usize..3, any::<bool>(), 0_u64..20_000_000), 0..60),
    ) {
        let tally = Tally::new(3, Duration::from_micros(bucket_us));
        let (mut now_us, mut list) = (0, Vec::new());
        for (core, is_success, later_us) in attempts {
            now_us += later_us;
            tally.add(core, if is_success { Verdict::Success } else { Verdict::Failure }, now_us);
            list.push((now_us / bucket_us, is_success));
            let last = now_us / bucket_us;
            let of = |wanted| {
                list.iter().filter(|(period, kind)| last - period < 10 && *kind == wanted).count() as u64
            };
            prop_assume!(last < u32::MAX.into());
            prop_assert_eq!(tally.sum(now_us), counts(of(true), of(false)));
        }
    }
}
