#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ringway_model::{CoreId, Health, Outliers, Percent, Tick};

use super::fixture::{outliers, pool};
use super::*;
use crate::balance::{Cursors, TriedSet};
use crate::breaker::{BreakerView, Candidate};
use crate::pool_state::EjectionReason::{ConsecutiveFailures, ErrorRate};

const START_US: u64 = 1_000_000_000;
const SECOND_US: u64 = 1_000_000;

fn percent(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).unwrap()
}

fn tick(now_us: u64) -> Tick {
    Tick(now_us / 1_000)
}

/// Sends a request to an endpoint, if its breaker lets it pass, and records its verdict.
fn attempt(pool: &Pool, index: usize, verdict: Verdict, now_us: u64) -> Option<Transition> {
    let endpoint = &pool.endpoints[index];
    let breaker = &pool.settings.breaker;
    let admission = endpoint.state.admit(Candidate::Ready, breaker, tick(now_us))?;
    record(pool, (endpoint, admission), verdict, (0, tick(now_us)))
}

/// Fails an endpoint as often as it takes to eject it.
fn fail(pool: &Pool, index: usize, now_us: u64) -> Option<Transition> {
    let failures = 0..pool.traffic.as_ref().unwrap().settings.outliers.consecutive_failures;
    // All of them are made, in order.
    failures.fold(None, |last, _| attempt(pool, index, Verdict::Failure, now_us).or(last))
}

fn ejected(pool: &Pool) -> Vec<usize> {
    let endpoints = pool.endpoints.iter().enumerate();
    endpoints.filter(|(_, endpoint)| endpoint.state.is_ejected()).map(|(index, _)| index).collect()
}

fn state(pool: &Pool) -> &PoolState {
    &pool.traffic.as_ref().unwrap().state
}

/// The same pool with these endpoints only.
fn with_endpoints(pool: &Pool, kept: &[usize]) -> Pool {
    let endpoints = kept.iter().map(|index| pool.endpoints[*index].clone()).collect();
    Pool { endpoints, ..pool.clone() }
}

#[test]
fn an_endpoint_is_ejected_at_its_last_failure_in_a_row_and_not_before() {
    for failures in [1, 2, 5, 100] {
        let pool = pool(2, Outliers { consecutive_failures: failures, ..outliers() });
        for _ in 1..failures {
            assert_eq!(attempt(&pool, 0, Verdict::Failure, START_US), None);
        }
        assert_eq!(attempt(&pool, 1, Verdict::Success, START_US), None);
        let until = tick(START_US).after(Duration::from_secs(30));
        let opened = attempt(&pool, 0, Verdict::Failure, START_US);
        assert_eq!(opened, Some(Transition::Opened { until }), "after {failures}");
        assert_eq!(state(&pool).ejections(ConsecutiveFailures), 1);
    }
}

#[test]
fn a_success_and_a_neutral_verdict_between_failures() {
    let pool = pool(2, outliers());
    for verdict in [Verdict::Success, Verdict::Neutral] {
        for _ in 0..4 {
            assert_eq!(attempt(&pool, 0, Verdict::Failure, START_US), None);
        }
        attempt(&pool, 0, verdict, START_US);
    }
    // The success ended the row, the neutral one did not.
    assert!(attempt(&pool, 0, Verdict::Failure, START_US).is_some());
}

#[test]
fn a_pool_of_one_endpoint_never_loses_it() {
    for max in [0, 5_000, 9_999] {
        let pool = pool(1, Outliers { max_ejection: percent(max), ..outliers() });
        for count in 1..=3 {
            assert_eq!(fail(&pool, 0, START_US), None);
            assert_eq!(state(&pool).would_eject(ConsecutiveFailures), count);
        }
        assert!(ejected(&pool).is_empty());
    }
    let all = pool(1, Outliers { max_ejection: Percent::ALL, ..outliers() });
    assert!(fail(&all, 0, START_US).is_some(), "where all may be ejected, it is");
}

#[test]
fn no_more_than_the_share_is_ejected() {
    for (count, max, expected) in
        [(2, 5_000, 1), (3, 5_000, 1), (4, 5_000, 2), (3, 3_333, 0), (3, 3_334, 1), (10, 1_000, 1)]
    {
        let pool = pool(count, Outliers { max_ejection: percent(max), ..outliers() });
        for index in 0..count {
            fail(&pool, index, START_US);
        }
        assert_eq!(ejected(&pool).len(), expected, "{count} endpoints, {max}");
        assert_eq!(state(&pool).ejections(ConsecutiveFailures), expected as u64);
        assert_eq!(state(&pool).would_eject(ConsecutiveFailures), (count - expected) as u64);
    }
}

#[test]
fn a_place_is_free_when_its_endpoint_recovers() {
    let pool = pool(3, outliers());
    let Some(Transition::Opened { until }) = fail(&pool, 0, START_US) else { panic!("it has a place") };
    assert_eq!(fail(&pool, 1, START_US), None, "it has no place");
    let later_us = until.0 * 1_000;
    // Half open, and open again: it keeps its place.
    assert!(matches!(attempt(&pool, 0, Verdict::Failure, later_us), Some(Transition::Opened { .. })));
    assert_eq!(fail(&pool, 1, later_us), None);
    let later_us = later_us + 60 * SECOND_US;
    assert_eq!(attempt(&pool, 0, Verdict::Success, later_us), Some(Transition::Closed));
    assert!(fail(&pool, 1, later_us).is_some());
    assert_eq!(ejected(&pool), [1]);
}

#[test]
fn a_place_is_free_when_its_endpoint_leaves_the_pool() {
    let old = pool(4, outliers());
    let admission = old.endpoints[0].state.admit(Candidate::Ready, &old.settings.breaker, tick(START_US));
    fail(&old, 0, START_US);
    fail(&old, 1, START_US);
    let new = with_endpoints(&old, &[2, 3]);
    assert!(fail(&new, 0, START_US).is_some(), "one of two");
    assert_eq!(fail(&new, 1, START_US), None);
    // A late result of an endpoint that is gone ejects nothing, and frees nothing.
    let gone = &old.endpoints[0];
    for verdict in [Verdict::Failure, Verdict::Success] {
        assert_eq!(record(&new, (gone, admission.unwrap()), verdict, (0, tick(START_US))), None);
    }
    assert_eq!(ejected(&new), [0]);
}

#[test]
fn an_endpoint_that_has_left_takes_no_place() {
    let old = pool(4, outliers());
    let new = with_endpoints(&old, &[1, 2, 3]);
    let gone = &old.endpoints[0];
    for _ in 0..10 {
        let admission = gone.state.admit(Candidate::Ready, &old.settings.breaker, tick(START_US)).unwrap();
        assert_eq!(record(&new, (gone, admission), Verdict::Failure, (0, tick(START_US))), None);
    }
    assert!(!gone.state.is_ejected());
    assert_eq!(state(&new).would_eject(ConsecutiveFailures), 0);
}

/// Its response head closes the breaker, its end is the one that counts.
#[test]
fn a_probe_counts_once_for_the_error_rate() {
    let pool = pool(4, Outliers { error_rate: Some(Percent::whole(50)), ..outliers() });
    fail(&pool, 0, START_US);
    let endpoint = &pool.endpoints[0];
    let due = tick(START_US).after(pool.traffic.as_ref().unwrap().settings.outliers.ejection);
    let before = endpoint.tally.sum_since(0, due.as_micros()).successes;
    let probe = endpoint.state.admit(Candidate::Ready, &pool.settings.breaker, due).unwrap();
    assert!(probe.is_probe());
    assert_eq!(confirm(&pool, (endpoint, probe), due), Some(Transition::Closed));
    assert_eq!(record(&pool, (endpoint, probe), Verdict::Success, (0, due)), None);
    assert_eq!(endpoint.tally.sum_since(0, due.as_micros()).successes - before, 1);
}

#[test]
fn a_pool_that_shrinks_reinstates_the_excess() {
    let old = pool(4, outliers());
    fail(&old, 0, START_US);
    fail(&old, 1, START_US);
    assert_eq!(old.reinstate_excess().count(), 0);
    let new = with_endpoints(&old, &[0, 1, 2]);
    assert_eq!(new.reinstate_excess().count(), 1);
    assert_eq!(ejected(&new).len(), 1);
    let last = with_endpoints(&new, &ejected(&new));
    assert_eq!(last.reinstate_excess().count(), 1);
    assert!(ejected(&last).is_empty());
    // Its next failures count from the beginning.
    assert_eq!(attempt(&last, 0, Verdict::Failure, START_US), None);
}

/// The state of the others changed after the ejections: the request that finds none left says so.
#[test]
fn a_pick_that_reinstates_says_so() {
    let pool = pool(4, outliers());
    fail(&pool, 0, START_US);
    fail(&pool, 1, START_US);
    let mut cursors = Cursors::new(CoreId(0));
    let mut pick = |pool: &Pool| {
        let picked = cursors.pick(pool, &TriedSet::default(), Candidate::Ready, tick(START_US)).unwrap();
        (picked.endpoint.id.0, picked.has_reinstated)
    };
    assert!(!pick(&pool).1);
    pool.endpoints[2].state.set_health(Health::Unhealthy);
    pool.endpoints[3].state.set_health(Health::Unhealthy);
    let first = pick(&pool);
    assert!(first.1 && first.0 <= 2, "{first:?}");
    assert!(!pick(&pool).1, "once");
}

#[test]
fn endpoints_that_could_not_serve_do_not_count() {
    let mut pool = pool(4, outliers());
    pool.endpoints[2].state.set_health(Health::Unhealthy);
    pool.endpoints[3].weight = 0;
    assert!(fail(&pool, 0, START_US).is_some(), "one of two");
    assert_eq!(fail(&pool, 1, START_US), None);
    pool.endpoints[1].state.set_health(Health::Unhealthy);
    assert_eq!(pool.reinstate_excess().count(), 1, "the only one left");
}

#[test]
fn a_dry_run_counts_and_ejects_nothing() {
    let settings = Outliers { error_rate: Some(Percent::whole(50)), dry_run: true, ..outliers() };
    let pool = pool(4, settings);
    fail(&pool, 0, START_US);
    assert_eq!(state(&pool).would_eject(ConsecutiveFailures), 1);
    for round in 0..40 {
        let now_us = START_US + round * SECOND_US / 10;
        let verdict = if round % 3 == 0 { Verdict::Success } else { Verdict::Failure };
        attempt(&pool, 0, verdict, now_us);
        for index in 1..4 {
            attempt(&pool, index, Verdict::Success, now_us);
        }
    }
    assert_eq!(state(&pool).would_eject(ErrorRate), 1);
    assert_eq!((ejected(&pool), state(&pool).ejections(ErrorRate)), (vec![], 0));
}

#[test]
fn a_dry_run_takes_back_earlier_ejections() {
    let live = pool(4, outliers());
    fail(&live, 0, START_US);
    let mut dry = live.clone();
    let traffic = Arc::make_mut(dry.traffic.as_mut().unwrap());
    Arc::make_mut(&mut traffic.settings).outliers.dry_run = true;
    assert_eq!(dry.reinstate_excess().count(), 1);
    assert!(ejected(&dry).is_empty());
}

/// Sends rounds of requests over 5 s, of which these percents fail, in a row of less than five.
fn run(pool: &Pool, failing: &[u64]) -> Vec<Transition> {
    let mut seen = Vec::new();
    for round in 0..100 {
        let now_us = START_US + round * SECOND_US / 20;
        for (index, percent) in failing.iter().enumerate() {
            let fails = round * percent / 100 != (round + 1) * percent / 100;
            let verdict = if fails { Verdict::Failure } else { Verdict::Success };
            seen.extend(attempt(pool, index, verdict, now_us));
        }
    }
    seen
}

#[test]
fn an_error_rate_far_above_that_of_the_others_ejects() {
    let by_rate = || Outliers { error_rate: Some(Percent::whole(50)), ..outliers() };
    for (failing, expected) in [
        (vec![60, 0, 0, 0], vec![0]),
        (vec![0, 10, 75, 0], vec![2]),
        // Below the threshold.
        (vec![45, 0, 0, 0], vec![]),
        // A common cause.
        (vec![60, 55, 60, 50], vec![]),
        // Fewer than three endpoints.
        (vec![60, 0], vec![]),
    ] {
        let pool = pool(failing.len(), by_rate());
        let opened = run(&pool, &failing);
        assert_eq!(ejected(&pool), expected, "{failing:?}");
        assert_eq!(opened.len(), expected.len());
        assert_eq!(state(&pool).ejections(ErrorRate), expected.len() as u64);
    }
}

#[test]
fn endpoints_with_few_attempts_are_no_comparison() {
    let pool = pool(4, Outliers { error_rate: Some(Percent::whole(50)), ..outliers() });
    // Only two have volume.
    run(&pool, &[60, 0]);
    assert!(ejected(&pool).is_empty());
}

#[test]
fn a_recovered_endpoint_is_not_ejected_by_its_former_failures() {
    let settings =
        Outliers { error_rate: Some(Percent::whole(50)), ejection: Duration::from_secs(1), ..outliers() };
    let pool = pool(4, settings);
    run(&pool, &[60, 0, 0, 0]);
    assert_eq!(ejected(&pool), [0]);
    let mut times = (50..95).map(|tenths| START_US + tenths * SECOND_US / 10);
    let now_us = times.find(|now_us| attempt(&pool, 0, Verdict::Success, *now_us).is_some()).unwrap();
    let counts = pool.endpoints[0].tally.sum(now_us);
    assert!(counts.total() > 20 && counts.error_rate() > Percent::whole(50), "they are still in the window");
    assert_eq!(attempt(&pool, 0, Verdict::Failure, now_us + SECOND_US / 5), None);
    assert!(ejected(&pool).is_empty());
}

#[test]
fn an_app_without_settings_loses_all_of_its_endpoints() {
    let app = Pool { traffic: None, ..pool(2, outliers()) };
    for index in 0..2 {
        for _ in 0..5 {
            attempt(&app, index, Verdict::Failure, START_US);
        }
    }
    assert_eq!(ejected(&app), [0, 1]);
    assert_eq!(app.reinstate_excess().count(), 0);
}

#[derive(Clone, Debug)]
enum Event {
    Attempt(usize, Verdict),
    Wait(u64),
    Health(usize, bool),
    Keep(Vec<bool>),
}

fn event() -> impl Strategy<Value = Event> {
    let verdict =
        prop_oneof![4 => Just(Verdict::Failure), 1 => Just(Verdict::Success), 1 => Just(Verdict::Neutral)];
    prop_oneof![
        20 => (0_usize..8, verdict).prop_map(|(index, verdict)| Event::Attempt(index, verdict)),
        2 => (1_u64..40 * SECOND_US).prop_map(Event::Wait),
        1 => (0_usize..8, any::<bool>()).prop_map(|(index, healthy)| Event::Health(index, healthy)),
        1 => prop::collection::vec(any::<bool>(), 8).prop_map(Event::Keep),
    ]
}

proptest! {
    /// A pool whose endpoints come, go, and fail in any order: an ejection never makes more than the share,
    /// and after each change of the pool there are none in excess.
    #[test]
    fn ejections_keep_within_the_share(
        max in 0_u16..=10_000,
        failures in 1_u8..4,
        events in prop::collection::vec(event(), 1..300),
    ) {
        let settings = Outliers {
            consecutive_failures: failures,
            error_rate: Some(Percent::whole(50)),
            max_ejection: percent(max),
            ..outliers()
        };
        let all = pool(8, settings);
        let (mut members, mut now_us) = ((0..8).collect::<Vec<_>>(), START_US);
        for event in events {
            let current = with_endpoints(&all, &members);
            match event {
                Event::Wait(us) => now_us += us,
                Event::Health(index, is_healthy) => all.endpoints[index].state
                    .set_health(if is_healthy { Health::Healthy } else { Health::Unhealthy }),
                Event::Keep(kept) => {
                    members = (0..8).filter(|index| kept[*index]).collect();
                    let new = with_endpoints(&all, &members);
                    new.reinstate_excess().for_each(drop);
                    let ejected = new.endpoints.iter()
                        .filter(|endpoint| could_serve(endpoint) && endpoint.state.is_ejected()).count();
                    let serving = new.endpoints.iter().filter(|endpoint| could_serve(endpoint)).count();
                    prop_assert!(ejected * 10_000 <= serving * usize::from(max));
                }
                Event::Attempt(index, verdict) if index < members.len() => {
                    let before = ejected(&current).len();
                    attempt(&current, index, verdict, now_us);
                    let serving = current.endpoints.iter().filter(|endpoint| could_serve(endpoint));
                    let (count, after) =
                        serving.fold((0, 0), |(count, ejected), endpoint| {
                            (count + 1, ejected + usize::from(endpoint.state.is_ejected()))
                        });
                    if ejected(&current).len() > before {
                        prop_assert!(after * 10_000 <= count * usize::from(max));
                    }
                }
                Event::Attempt(..) => {}
            }
        }
        // Everything recovers.
        for index in 0..8 {
            all.endpoints[index].state.set_health(Health::Healthy);
            attempt(&all, index, Verdict::Success, now_us + 1_000 * SECOND_US);
        }
        prop_assert_eq!(ejected(&all), Vec::<usize>::new());
    }
}

#[test]
fn an_ejected_endpoint_is_seen_as_open() {
    let pool = pool(2, outliers());
    fail(&pool, 1, START_US);
    let view = pool.endpoints[1].state.breaker(tick(START_US));
    assert!(matches!(view, BreakerView::Open { .. }));
}
