use proptest::prelude::*;

use super::*;

const DURATION: Duration = Duration::from_secs(10);

#[test]
fn the_share_rises_from_a_tenth_to_the_whole() {
    let ramp = Ramp::default();
    let begin = Tick(5_000);
    assert_eq!(ramp.share(DURATION, begin), Share::FIRST);
    let half = ramp.share(DURATION, Tick(10_000));
    assert!((36_040..36_050).contains(&half.0), "55 %, not {half:?}");
    assert!(ramp.share(DURATION, Tick(14_999)) < Share::FULL);
    assert_eq!(ramp.share(DURATION, Tick(15_000)), Share::FULL);
    assert_eq!(ramp.share(DURATION, Tick(u64::MAX)), Share::FULL);
    // A core's clock may be behind that of the core that began it.
    assert_eq!(ramp.share(DURATION, Tick(4_990)), Share::FIRST);
}

#[test]
fn a_return_begins_it_again_and_no_other_pick_does() {
    let ramp = Ramp::default();
    ramp.share(DURATION, Tick(0));
    assert_eq!(ramp.share(DURATION, Tick(20_000)), Share::FULL);
    ramp.leave();
    ramp.leave();
    assert_eq!(ramp.share(DURATION, Tick(30_000)), Share::FIRST);
    assert_eq!(ramp.share(DURATION, Tick(40_000)), Share::FULL);
}

#[test]
fn a_begin_at_the_first_tick_is_one() {
    let ramp = Ramp::default();
    ramp.share(DURATION, Tick(0));
    assert_eq!(ramp.share(DURATION, Tick(10_000)), Share::FULL);
}

#[test]
fn draws_below_the_share_take_it() {
    assert!(Share::FULL.takes(u64::MAX) && Share::FULL.takes(0));
    let edge = u64::from(Share::FIRST.0) << 48;
    assert!(Share::FIRST.takes(edge - 1) && !Share::FIRST.takes(edge));
}

proptest! {
    /// It never falls while the endpoint stays in rotation, and is never below a tenth.
    #[test]
    fn the_share_never_falls(seconds in 1..3_600_u64, mut ticks in prop::collection::vec(0..4_000_000_u64, 2..50)) {
        ticks.sort_unstable();
        let ramp = Ramp::default();
        let mut last = Share::FIRST;
        for tick in ticks {
            let share = ramp.share(Duration::from_secs(seconds), Tick(tick));
            prop_assert!(share >= last && share <= Share::FULL);
            last = share;
        }
    }
}
