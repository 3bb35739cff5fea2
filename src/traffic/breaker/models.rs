//! Loom models of a breaker that several cores change concurrently, over all interleavings.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-traffic --lib --target-dir target/loom models
//! ```
//! Each model collects the outcomes of all interleavings and compares them with the expected set: an
//! interleaving that loom does not explore fails it, too.

use std::collections::BTreeSet;
use std::sync::Mutex;

use loom::sync::Arc;
use loom::thread;

use super::*;

const NOW: Tick = Tick(1_000_000);
const BREAKER: BreakerSettings = BreakerSettings::DEFAULT;

/// Operation of one core.
type Event<T> = Box<dyn FnOnce(&EndpointState) -> T>;

/// Runs the events concurrently, one thread each, and returns their results in order.
fn concurrently<T: 'static>(
    state: &Arc<EndpointState>,
    events: impl IntoIterator<Item = Event<T>>,
) -> Vec<T> {
    let threads: Vec<_> = events
        .into_iter()
        .map(|event| {
            let state = state.clone();
            thread::spawn(move || event(&state))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("a thread of the model")).collect()
}

/// Returns the results of a model over all interleavings.
fn outcomes<T: Ord + Send + 'static>(model: impl Fn() -> T + Sync + Send + 'static) -> BTreeSet<T> {
    let all = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let these = all.clone();
    loom::model(move || {
        let outcome = model();
        these.lock().expect("no model panicked with the lock held").insert(outcome);
    });
    std::mem::take(&mut *all.lock().expect("no model panicked with the lock held"))
}

fn failed(state: &EndpointState, times: u8) -> Option<Transition> {
    (0..times)
        .filter_map(|_| {
            state.record_failure(state.admit(Candidate::Ready, &BREAKER, NOW).expect("closed"), &BREAKER, NOW)
        })
        .last()
}

/// Returns an endpoint with an open breaker, and the time of its first probe.
fn half_open() -> (Arc<EndpointState>, Tick) {
    let state = Arc::new(EndpointState::default());
    match failed(&state, crate::limits::BREAKER_FAILURES) {
        Some(Transition::Opened { until }) => (state, until),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_breaker_that_opens_is_reported_once() {
    loom::model(|| {
        let state = Arc::new(EndpointState::default());
        failed(&state, crate::limits::BREAKER_FAILURES - 1);
        let reported = concurrently(
            &state,
            (0..2).map(|_| {
                let admission = state.admit(Candidate::Ready, &BREAKER, NOW).expect("closed");
                Box::new(move |state: &EndpointState| state.record_failure(admission, &BREAKER, NOW))
                    as Box<_>
            }),
        );
        assert_eq!(reported.iter().flatten().count(), 1, "{reported:?}");
        assert!(matches!(state.breaker(NOW), BreakerView::Open { .. }));
    });
}

#[test]
fn two_failures_are_both_counted() {
    loom::model(|| {
        let state = Arc::new(EndpointState::default());
        failed(&state, crate::limits::BREAKER_FAILURES - 2);
        let reported = concurrently(
            &state,
            (0..2).map(|_| {
                let admission = state.admit(Candidate::Ready, &BREAKER, NOW).expect("closed");
                Box::new(move |state: &EndpointState| state.record_failure(admission, &BREAKER, NOW))
                    as Box<_>
            }),
        );
        assert_eq!(reported.iter().flatten().count(), 1, "{reported:?}");
    });
}

#[test]
fn of_all_cores_one_sends_the_probe() {
    loom::model(|| {
        let (state, until) = half_open();
        let admitted = concurrently(
            &state,
            (0..2).map(|_| {
                Box::new(move |state: &EndpointState| state.admit(Candidate::Ready, &BREAKER, until))
                    as Box<_>
            }),
        );
        let probes: Vec<_> = admitted.iter().copied().flatten().collect();
        assert!(matches!(probes.as_slice(), [Admission::Probe(_)]), "{admitted:?}");
    });
}

/// A probe that succeeds while another core, which was admitted before the breaker opened, fails late.
#[test]
fn a_late_failure_does_not_undo_a_successful_probe() {
    loom::model(|| {
        let state = Arc::new(EndpointState::default());
        let late = state.admit(Candidate::Ready, &BREAKER, NOW).expect("closed");
        let Some(Transition::Opened { until }) = failed(&state, crate::limits::BREAKER_FAILURES) else {
            panic!("closed")
        };
        let probe = state.admit(Candidate::Ready, &BREAKER, until).expect("half open");
        let reported = concurrently(
            &state,
            [
                Box::new(move |state: &EndpointState| state.record_success(probe)) as Box<_>,
                Box::new(move |state: &EndpointState| state.record_failure(late, &BREAKER, until)) as Box<_>,
            ],
        );
        assert_eq!(reported, [Some(Transition::Closed), None]);
        assert_eq!(state.breaker(until), BreakerView::Closed);
    });
}

/// A request that comes while the probe succeeds.
#[test]
fn a_request_during_a_successful_probe_is_no_second_probe() {
    let admitted = outcomes(|| {
        let (state, until) = half_open();
        let probe = state.admit(Candidate::Ready, &BREAKER, until).expect("half open");
        let reported: Vec<Option<Admission>> = concurrently(
            &state,
            [
                Box::new(move |state: &EndpointState| {
                    assert_eq!(state.record_success(probe), Some(Transition::Closed));
                    None
                }) as Event<_>,
                Box::new(move |state: &EndpointState| state.admit(Candidate::Ready, &BREAKER, until))
                    as Box<_>,
            ],
        );
        reported[1].map(Admission::is_probe)
    });
    assert_eq!(admitted, [None, Some(false)].into());
}

/// A slow probe: another core sends the next one while the first one fails.
#[test]
fn a_late_probe_and_the_next_one_come_one_after_the_other() {
    let was_admitted = outcomes(|| {
        let (state, until) = half_open();
        let first = state.admit(Candidate::Ready, &BREAKER, until).expect("half open");
        let over = until.after(crate::limits::BREAKER_PROBE_INTERVAL);
        let next = state.clone();
        let thread = thread::spawn(move || next.admit(Candidate::Ready, &BREAKER, over));
        let reported = state.record_failure(first, &BREAKER, over);
        let second = thread.join().expect("a thread of the model");
        assert!(matches!(reported, Some(Transition::Opened { .. })), "{reported:?}");
        assert!(matches!(state.breaker(over), BreakerView::Open { .. }));
        match second {
            // The breaker opened again before.
            None => false,
            // It was sent before, and its result is late.
            Some(second @ Admission::Probe(_)) => {
                assert_eq!(state.record_success(second), None);
                true
            }
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(was_admitted, [false, true].into());
}

/// A probe is abandoned while another request arrives: that request is the probe, or was too early.
#[test]
fn an_abandoned_probe_frees_the_next() {
    let was_admitted = outcomes(|| {
        let (state, until) = half_open();
        let first = state.admit(Candidate::Ready, &BREAKER, until).expect("half open");
        let next = state.clone();
        let thread = thread::spawn(move || next.admit(Candidate::Ready, &BREAKER, until));
        state.abandon(first, until);
        let second = thread.join().expect("a thread of the model");
        let third = state.admit(Candidate::Ready, &BREAKER, until);
        assert!(second.is_some() != third.is_some(), "{second:?} and {third:?}");
        second.is_some()
    });
    assert_eq!(was_admitted, [false, true].into());
}

/// An upload and a request without a body, concurrently: both are admitted, and no second upload.
#[test]
fn an_upload_does_not_block_another_probe() {
    let admitted = outcomes(|| {
        let (state, until) = half_open();
        let due = until.after(crate::limits::BREAKER_PROBE_INTERVAL);
        let candidates = [Candidate::Streaming, Candidate::Ready];
        let admitted: Vec<Option<Admission>> = concurrently(
            &state,
            candidates.map(|candidate| {
                Box::new(move |state: &EndpointState| state.admit(candidate, &BREAKER, due)) as Event<_>
            }),
        );
        assert_eq!(state.admit(Candidate::Streaming, &BREAKER, due), None);
        (admitted[0].is_some(), admitted[1].is_some())
    });
    assert_eq!(admitted, [(false, true), (true, true)].into());
}

#[test]
fn a_trickle_lets_one_of_all_cores_pass() {
    loom::model(|| {
        let trickle = Arc::new(crate::trickle::Trickle::default());
        let other = trickle.clone();
        let thread = thread::spawn(move || other.admit(crate::limits::TRICKLE_INTERVAL, NOW));
        let mine = trickle.admit(crate::limits::TRICKLE_INTERVAL, NOW);
        let theirs = thread.join().expect("a thread of the model");
        assert!(mine != theirs);
    });
}

#[test]
fn a_result_of_the_previous_process_is_ignored() {
    let was_counted = outcomes(|| {
        let state = Arc::new(EndpointState::default());
        failed(&state, crate::limits::BREAKER_FAILURES - 1);
        let late = state.admit(Candidate::Ready, &BREAKER, NOW).expect("closed");
        let other = state.clone();
        let thread = thread::spawn(move || other.renew());
        let reported = state.record_failure(late, &BREAKER, NOW);
        thread.join().expect("a thread of the model");
        match reported {
            Some(Transition::Opened { .. }) => {
                assert_eq!(state.breaker(NOW), BreakerView::HalfOpen);
                true
            }
            None => {
                assert_eq!(state.breaker(NOW), BreakerView::Closed);
                assert_eq!(
                    failed(&state, crate::limits::BREAKER_FAILURES - 1),
                    None,
                    "counted from the beginning"
                );
                false
            }
            Some(Transition::Closed) => panic!("a failure closes nothing"),
        }
    });
    assert_eq!(was_counted, [false, true].into());
}

/// A health check's result and a registration, concurrently, from every health: the outcome is that of one
/// order of the two.
#[test]
fn health_and_a_registration_come_one_after_the_other() {
    use Health::{Healthy, Joining, Unhealthy, Unknown};
    let renewed = |health| if health == Unhealthy { Joining } else { health };
    for before in [Unknown, Healthy, Unhealthy, Joining] {
        for checked in [Unknown, Healthy, Unhealthy] {
            let left = outcomes(move || {
                let state = Arc::new(EndpointState::default());
                state.set_health(before);
                let events: [Event<()>; 2] = [
                    Box::new(move |state: &EndpointState| state.set_health(checked)),
                    Box::new(EndpointState::renew),
                ];
                concurrently(&state, events);
                state.health() as u8
            });
            let expected = [renewed(checked), checked].map(|health| health as u8);
            assert_eq!(left, expected.into(), "{before:?}, then {checked:?}");
        }
    }
}
