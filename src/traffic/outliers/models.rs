//! Loom models of ejections that several cores decide at once, over all interleavings: see
//! [`breaker`](crate::breaker).

use std::time::Duration;

use loom::thread;
use ringway_model::{Outliers, Tick};

use super::fixture::{outliers, pool};
use super::*;
use crate::breaker::Candidate;

const NOW_US: u64 = 1_000_000_000;

/// Runs the same on two cores.
fn on_two_cores<T: 'static>(pool: &Pool, run: impl Fn(&Pool, usize) -> T + Clone + 'static) -> [T; 2] {
    let (other, run_there) = (pool.clone(), run.clone());
    let thread = thread::spawn(move || run_there(&other, 1));
    let mine = run(pool, 0);
    [mine, thread.join().expect("a thread of the model")]
}

fn attempt(pool: &Pool, index: usize, verdict: Verdict, core: usize, now_us: u64) -> Option<Transition> {
    let endpoint = &pool.endpoints[index];
    let breaker = &pool.settings.breaker;
    let admission = endpoint.state.admit(Candidate::Ready, breaker, Tick(now_us / 1_000))?;
    record(pool, (endpoint, admission), verdict, (core, Tick(now_us / 1_000)))
}

fn ejected(pool: &Pool) -> usize {
    pool.endpoints.iter().filter(|endpoint| endpoint.state.is_ejected()).count()
}

fn at_first_failure() -> Outliers {
    Outliers { consecutive_failures: 1, ..outliers() }
}

/// Two endpoints fail on two cores at once: one place, and one ejection at most. A core that found the other
/// deciding tries again with its next failure.
#[test]
fn two_cores_do_not_take_one_place() {
    loom::model(|| {
        let pool = pool(2, at_first_failure());
        let opened = on_two_cores(&pool, |pool, core| attempt(pool, core, Verdict::Failure, core, NOW_US));
        assert_eq!(opened.iter().flatten().count(), 1, "{opened:?}");
        assert_eq!(ejected(&pool), 1);
    });
}

#[test]
fn one_endpoint_takes_one_place() {
    loom::model(|| {
        let pool = pool(4, at_first_failure());
        let opened = on_two_cores(&pool, |pool, core| attempt(pool, 0, Verdict::Failure, core, NOW_US));
        assert_eq!(opened.iter().flatten().count(), 1, "{opened:?}");
        assert_eq!(ejected(&pool), 1);
    });
}

/// An endpoint recovers while another fails: never more than the one place, and none in the end.
#[test]
fn a_place_that_is_given_back_is_taken_once() {
    loom::model(|| {
        let pool = pool(2, at_first_failure());
        let Some(Transition::Opened { until }) = attempt(&pool, 0, Verdict::Failure, 0, NOW_US) else {
            panic!("it has a place")
        };
        let due_us = until.0 * 1_000;
        let [closed, opened] = on_two_cores(&pool, move |pool, core| {
            let verdict = [Verdict::Success, Verdict::Failure][core];
            attempt(pool, core, verdict, core, due_us)
        });
        assert_eq!(closed, Some(Transition::Closed));
        assert_eq!(ejected(&pool), usize::from(opened.is_some()));
        let later_us = due_us + Duration::from_secs(30).as_micros() as u64;
        for index in 0..2 {
            attempt(&pool, index, Verdict::Success, 0, later_us);
        }
        assert_eq!(ejected(&pool), 0);
    });
}

/// A pool shrinks to one endpoint while that one fails: it stays, or is reinstated.
#[test]
fn a_pool_that_shrinks_keeps_its_last_endpoint() {
    loom::model(|| {
        let old = pool(2, at_first_failure());
        let last = Pool { endpoints: old.endpoints[..1].into(), ..old.clone() };
        let [_, _] = on_two_cores(&last, |last, core| match core {
            0 => _ = attempt(last, 0, Verdict::Failure, 0, NOW_US),
            _ => last.reinstate_excess().for_each(drop),
        });
        assert_eq!(ejected(&last), 0);
        // A core with the old snapshot may still eject it; the next choice then finds the excess.
        attempt(&old, 0, Verdict::Failure, 0, NOW_US);
        last.reinstate_excess().for_each(drop);
        assert_eq!(ejected(&last), 0);
    });
}
