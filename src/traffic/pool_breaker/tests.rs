use std::time::Duration;

use proptest::prelude::*;
use ringway_model::Percent;

use super::*;

const START_US: u64 = 1_000_000_000;
const SECOND_US: u64 = 1_000_000;

fn settings() -> CircuitBreaker {
    CircuitBreaker {
        error_threshold: Some(Percent::whole(50)),
        requests_min: 20,
        failures: None,
        open: Duration::from_secs(30),
        successes: 2,
        dry_run: false,
    }
}

fn breaker(settings: CircuitBreaker) -> PoolBreaker {
    PoolBreaker::new(settings, None, 2)
}

fn tick(now_us: u64) -> Tick {
    Tick(now_us / 1_000)
}

fn attempt(breaker: &PoolBreaker, verdict: Verdict, now_us: u64) -> Option<Transition> {
    let admission = breaker.admit(Candidate::Ready, tick(now_us)).ok()?;
    finish(breaker, 0, admission, verdict, now_us)
}

/// Ends an attempt: the response head of a probe comes before its verdict.
fn finish(
    breaker: &PoolBreaker,
    core: usize,
    admission: Admission,
    verdict: Verdict,
    now_us: u64,
) -> Option<Transition> {
    let is_confirmed = admission.is_probe() && verdict == Verdict::Success;
    let confirmed = is_confirmed.then(|| breaker.confirm(admission, tick(now_us))).flatten();
    confirmed.or(breaker.record(core, admission, verdict, tick(now_us)))
}

/// Sends as many attempts, a tenth of a second apart, until it opens; returns their number and the time.
fn fail_until_open(breaker: &PoolBreaker, from_us: u64) -> (u64, u64) {
    for count in 1..=1_000 {
        let now_us = from_us + count * SECOND_US / 10;
        if attempt(breaker, Verdict::Failure, now_us).is_some() {
            return (count, now_us);
        }
    }
    panic!("it did not open");
}

#[test]
fn opens_at_the_threshold_and_with_enough_requests() {
    let breaker = breaker(settings());
    let (count, now_us) = fail_until_open(&breaker, START_US);
    assert_eq!(count, 20);
    assert_eq!(breaker.state().trips(), 1);
    let until = tick(now_us).after(Duration::from_secs(30));
    assert_eq!(breaker.state().view(tick(now_us)), BreakerView::Open { until });
    let refused = breaker.admit(Candidate::Ready, tick(now_us + SECOND_US));
    assert_eq!(refused, Err(Duration::from_secs(29)));
}

#[test]
fn stays_closed_below_the_threshold() {
    for (failing, opens) in [(49, false), (51, true)] {
        let breaker = breaker(settings());
        let mut transitions = 0;
        for round in 0..300 {
            let fails = round * failing / 100 != (round + 1) * failing / 100;
            let verdict = if fails { Verdict::Failure } else { Verdict::Success };
            transitions += usize::from(attempt(&breaker, verdict, START_US + round * 33_000).is_some());
        }
        assert_eq!(transitions > 0, opens, "{failing} %");
    }
}

#[test]
fn neutral_attempts_do_not_count() {
    let breaker = breaker(settings());
    for round in 0..200 {
        let verdict = if round % 2 == 0 { Verdict::Success } else { Verdict::Neutral };
        assert_eq!(attempt(&breaker, verdict, START_US + round * 10_000), None);
    }
    assert_eq!(breaker.state().counts(START_US + 2 * SECOND_US), Counts { successes: 100, failures: 0 });
}

#[test]
fn failures_older_than_ten_seconds_do_not_count() {
    let breaker = breaker(settings());
    for round in 0..100 {
        // One in a second: there are never twenty in the window.
        assert_eq!(attempt(&breaker, Verdict::Failure, START_US + round * SECOND_US), None);
    }
}

#[test]
fn opens_by_failures_in_a_row_where_they_are_set() {
    let breaker = breaker(CircuitBreaker { error_threshold: None, failures: Some(3), ..settings() });
    for _ in 0..2 {
        assert_eq!(attempt(&breaker, Verdict::Failure, START_US), None);
        assert_eq!(attempt(&breaker, Verdict::Failure, START_US), None);
        assert_eq!(attempt(&breaker, Verdict::Success, START_US), None);
    }
    for _ in 0..2 {
        assert_eq!(attempt(&breaker, Verdict::Failure, START_US), None);
    }
    assert!(matches!(attempt(&breaker, Verdict::Failure, START_US), Some(Transition::Opened { .. })));
}

#[test]
fn closes_after_two_probes_one_after_the_other() {
    let breaker = breaker(settings());
    let (_, opened_us) = fail_until_open(&breaker, START_US);
    let due_us = opened_us + 30 * SECOND_US;
    assert!(breaker.admit(Candidate::Ready, tick(due_us - 1_000)).is_err());
    for expected in [None, Some(Transition::Closed)] {
        let probe = breaker.admit(Candidate::Ready, tick(due_us)).expect("it is half open");
        assert!(probe.is_probe());
        assert_eq!(breaker.admit(Candidate::Ready, tick(due_us)), Err(PROBE_WAIT), "one at a time");
        assert_eq!(finish(&breaker, 1, probe, Verdict::Success, due_us), expected);
    }
    // The failures before it opened do not count again.
    assert_eq!(attempt(&breaker, Verdict::Failure, due_us + SECOND_US), None);
    assert_eq!(breaker.state().counts(due_us + SECOND_US).failures, 1);
}

#[test]
fn a_failed_probe_doubles_the_open_time_to_four_times() {
    let breaker = breaker(settings());
    let (_, mut now_us) = fail_until_open(&breaker, START_US);
    let mut open_s = 30;
    for next_s in [60, 120, 120] {
        now_us += open_s * SECOND_US;
        // One success is not enough to forget it.
        assert_eq!(attempt(&breaker, Verdict::Success, now_us), None);
        let until = tick(now_us).after(Duration::from_secs(next_s));
        assert_eq!(attempt(&breaker, Verdict::Failure, now_us), Some(Transition::Opened { until }));
        open_s = next_s;
    }
    assert_eq!(breaker.state().trips(), 4);
}

/// A response of hours, whose probe closed the breaker at its head, and which then breaks off.
#[test]
fn a_confirmed_probe_that_breaks_off_is_one_failure() {
    let breaker = breaker(CircuitBreaker { successes: 1, failures: Some(2), ..settings() });
    let (_, opened_us) = fail_until_open(&breaker, START_US);
    let due_us = opened_us + 30 * SECOND_US;
    let probe = breaker.admit(Candidate::Ready, tick(due_us)).expect("it is half open");
    assert_eq!(breaker.confirm(probe, tick(due_us)), Some(Transition::Closed));
    assert_eq!(breaker.record(0, probe, Verdict::Failure, tick(due_us)), None);
    assert_eq!(breaker.state().view(tick(due_us)), BreakerView::Closed);
    assert!(attempt(&breaker, Verdict::Failure, due_us).is_some(), "the second in a row");
}

#[test]
fn a_neutral_probe_lets_the_next_one_pass() {
    let breaker = breaker(settings());
    let (_, opened_us) = fail_until_open(&breaker, START_US);
    let due_us = opened_us + 30 * SECOND_US;
    assert_eq!(attempt(&breaker, Verdict::Neutral, due_us), None);
    assert!(breaker.admit(Candidate::Ready, tick(due_us)).expect("the first said nothing").is_probe());
}

#[test]
fn results_from_before_it_opened_are_ignored() {
    let breaker = breaker(settings());
    let late = breaker.admit(Candidate::Ready, tick(START_US)).expect("it is closed");
    let (_, opened_us) = fail_until_open(&breaker, START_US);
    let due_us = opened_us + 30 * SECOND_US;
    let probe = breaker.admit(Candidate::Ready, tick(due_us)).expect("it is half open");
    for verdict in [Verdict::Success, Verdict::Success, Verdict::Failure, Verdict::Neutral] {
        assert_eq!(breaker.record(0, late, verdict, tick(due_us)), None);
    }
    assert_eq!(breaker.admit(Candidate::Ready, tick(due_us)), Err(PROBE_WAIT), "the probe is on its way");
    assert_eq!(finish(&breaker, 0, probe, Verdict::Success, due_us), None);
}

#[test]
fn a_dry_run_counts_once_per_window_and_never_opens() {
    for settings in [
        CircuitBreaker { dry_run: true, ..settings() },
        CircuitBreaker { dry_run: true, error_threshold: None, failures: Some(20), ..settings() },
    ] {
        let breaker = breaker(settings);
        for round in 0..60 {
            let now_us = START_US + round * SECOND_US / 10;
            let admission = breaker.admit(Candidate::Ready, tick(now_us)).expect("a dry run admits all");
            assert_eq!(breaker.record(0, admission, Verdict::Failure, tick(now_us)), None);
        }
        assert!((2..=3).contains(&breaker.state().would_trip()), "{}", breaker.state().would_trip());
        assert_eq!((breaker.state().trips(), breaker.state().view(tick(START_US))), (0, BreakerView::Closed));
    }
}

#[test]
fn a_dry_run_closes_what_is_open() {
    let live = breaker(settings());
    let (_, now_us) = fail_until_open(&live, START_US);
    let dry = PoolBreaker::new(CircuitBreaker { dry_run: true, ..settings() }, Some(&live), 2);
    assert_ne!(live, dry);
    assert!(dry.admit(Candidate::Ready, tick(now_us)).is_ok());
    assert_eq!(dry.state().view(tick(now_us)), BreakerView::Closed);
}

#[test]
fn the_state_outlives_the_settings() {
    let old = breaker(settings());
    let (_, now_us) = fail_until_open(&old, START_US);
    let new = PoolBreaker::new(CircuitBreaker { requests_min: 50, ..settings() }, Some(&old), 2);
    assert!(new.admit(Candidate::Ready, tick(now_us)).is_err());
}

proptest! {
    /// Whatever happens: it opens only with a failure, a refusal has a time to wait, and it recovers.
    #[test]
    fn opens_only_by_failures_and_recovers(
        successes in 1_u8..=100,
        failures in prop::option::of(1_u32..10),
        requests_min in 1_u32..30,
        events in prop::collection::vec((0_usize..4, 0_u64..5 * SECOND_US, any::<bool>()), 1..200),
    ) {
        let breaker = breaker(CircuitBreaker { successes, failures, requests_min, ..settings() });
        let mut now_us = START_US;
        for (kind, later_us, is_streaming) in events {
            now_us += later_us / 16;
            let candidate = if is_streaming { Candidate::Streaming } else { Candidate::Ready };
            let was_closed = breaker.state().view(tick(now_us)) == BreakerView::Closed;
            match breaker.admit(candidate, tick(now_us)) {
                Err(wait) => {
                    prop_assert!(!was_closed);
                    prop_assert!(wait > Duration::ZERO && wait <= Duration::from_secs(120));
                    now_us += later_us * 8;
                }
                Ok(admission) => {
                    prop_assert_eq!(admission.is_probe(), !was_closed);
                    let verdict = [Verdict::Success, Verdict::Failure, Verdict::Failure, Verdict::Neutral][kind];
                    let transition = finish(&breaker, 0, admission, verdict, now_us);
                    match verdict {
                        Verdict::Failure => prop_assert_ne!(transition, Some(Transition::Closed)),
                        Verdict::Success => {
                            let may_close = [None, (!was_closed).then_some(Transition::Closed)];
                            prop_assert!(may_close.contains(&transition));
                        }
                        Verdict::Neutral => prop_assert_eq!(transition, None),
                    }
                }
            }
        }
        now_us += 200 * SECOND_US;
        for _ in 0..successes {
            attempt(&breaker, Verdict::Success, now_us);
        }
        prop_assert_eq!(breaker.state().view(tick(now_us)), BreakerView::Closed);
    }
}

#[test]
fn an_attempt_passes_the_breakers_of_route_and_pool() {
    let (route, pool) = (breaker(settings()), breaker(settings()));
    let circuits = Circuits { route: Some(&route), pool: Some(&pool) };
    let passed = circuits.admit(Candidate::Ready, tick(START_US)).expect("both are closed");
    let of: Vec<_> = circuits.of(passed).map(|(circuit, _, _)| circuit).collect();
    assert_eq!(of, [Circuit::Route, Circuit::Pool]);
    let none = Circuits::default();
    assert_eq!(none.of(none.admit(Candidate::Ready, tick(START_US)).expect("there is none")).count(), 0);

    // The route's is half open, the pool's is open: its probe goes to the next one.
    let (_, opened_us) = fail_until_open(&route, START_US);
    fail_until_open(&pool, START_US + 20 * SECOND_US);
    let due = tick(opened_us + 30 * SECOND_US);
    let refused = circuits.admit(Candidate::Ready, due).expect_err("the pool's is open");
    assert_eq!(refused.circuit, Circuit::Pool);
    assert!(refused.retry_after > Duration::ZERO);
    assert!(route.admit(Candidate::Ready, due).expect("it was given back").is_probe());
    let refused = circuits.admit(Candidate::Ready, due).expect_err("the route's probe is under way");
    assert_eq!(refused, CircuitOpen { circuit: Circuit::Route, retry_after: PROBE_WAIT });
}
