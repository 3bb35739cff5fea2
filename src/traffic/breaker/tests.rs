use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::machine::{EPOCH_MASK, Phase, SUCCESSES_MASK, State, VALUE_MASK};
use super::*;

const NOW: Tick = Tick(1_000_000);
const BREAKER: BreakerSettings = BreakerSettings::DEFAULT;
const LATER: Tick = Tick(1_000_001);
const IN_1_S: Tick = Tick(1_001_000);
const A_SECOND_AGO: Tick = Tick(999_000);
const NEARLY_1_S_AGO: Tick = Tick(999_001);
const IN_30_S: Tick = Tick(1_030_000);
const IN_60_S: Tick = Tick(1_060_000);
const IN_120_S: Tick = Tick(1_120_000);

fn closed(failures: u32) -> Phase {
    Phase::Closed { failures }
}

fn open(until: Tick, level: u8) -> Phase {
    Phase::Open { until, level }
}

fn probing(until: Tick, level: u8) -> Phase {
    Phase::Probing { until, level, successes: 0 }
}

/// Expected result of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The event is refused or ignored.
    No,
    /// This phase, in the same epoch.
    Same(Phase),
    /// This phase, in the next epoch.
    Next(Phase),
}

#[test]
fn every_event_in_every_state_follows_the_table() {
    use Expected::{Next, No, Same};
    // State, then the result of: admit, admit streaming, success, failure, abandon, renew; all in the present
    // epoch, at NOW.
    let closed_again = Same(closed(0));
    let table = [
        (closed(0), [Same(closed(0)), Same(closed(0)), closed_again, Same(closed(1)), No, Next(closed(0))]),
        (closed(3), [Same(closed(3)), Same(closed(3)), closed_again, Same(closed(4)), No, Next(closed(0))]),
        (
            closed(4),
            [Same(closed(4)), Same(closed(4)), closed_again, Next(open(IN_30_S, 0)), No, Next(closed(0))],
        ),
        (open(LATER, 0), [No, No, No, No, No, Next(open(Tick(0), 0))]),
        (open(LATER, 2), [No, No, No, No, No, Next(open(Tick(0), 2))]),
        (open(NOW, 0), [Next(probing(IN_1_S, 0)), No, No, No, No, Next(open(Tick(0), 0))]),
        (open(NOW, 2), [Next(probing(IN_1_S, 2)), No, No, No, No, Next(open(Tick(0), 2))]),
        (open(NEARLY_1_S_AGO, 2), [Next(probing(IN_1_S, 2)), No, No, No, No, Next(open(Tick(0), 2))]),
        (
            open(A_SECOND_AGO, 2),
            [Next(probing(IN_1_S, 2)), Next(probing(NOW, 2)), No, No, No, Next(open(Tick(0), 2))],
        ),
        (
            probing(LATER, 0),
            [No, No, closed_again, Next(open(IN_60_S, 1)), Same(probing(NOW, 0)), Next(open(Tick(0), 0))],
        ),
        (
            probing(LATER, 1),
            [No, No, closed_again, Next(open(IN_120_S, 2)), Same(probing(NOW, 1)), Next(open(Tick(0), 1))],
        ),
        (
            probing(LATER, 2),
            [No, No, closed_again, Next(open(IN_120_S, 2)), Same(probing(NOW, 2)), Next(open(Tick(0), 2))],
        ),
        (
            probing(NOW, 1),
            [
                Same(probing(IN_1_S, 1)),
                No,
                closed_again,
                Next(open(IN_120_S, 2)),
                Same(probing(NOW, 1)),
                Next(open(Tick(0), 1)),
            ],
        ),
        (
            probing(A_SECOND_AGO, 0),
            [
                Same(probing(IN_1_S, 0)),
                Same(probing(NOW, 0)),
                closed_again,
                Next(open(IN_60_S, 1)),
                Same(probing(A_SECOND_AGO, 0)),
                Next(open(Tick(0), 0)),
            ],
        ),
    ];
    for (phase, expected) in table {
        let epoch = Epoch(7);
        let breaker = State { epoch, phase };
        let then = |after: Option<State>| match after {
            None => No,
            Some(State { epoch: Epoch(7), phase }) => Same(phase),
            Some(State { epoch: Epoch(8), phase }) => Next(phase),
            Some(State { epoch: Epoch(strange), .. }) => panic!("epoch 7 became {strange}"),
        };
        let got = [
            then(breaker.admit(Candidate::Ready, &BREAKER, NOW)),
            then(breaker.admit(Candidate::Streaming, &BREAKER, NOW)),
            then(breaker.succeed(epoch, 1)),
            then(breaker.fail(epoch, &BREAKER, NOW)),
            then(breaker.abandon(epoch, NOW)),
            then(Some(breaker.renew())),
        ];
        assert_eq!(got, expected, "{phase:?}");
        for other in [Epoch(6), Epoch(8), Epoch(0)] {
            assert_eq!(breaker.succeed(other, 1), None, "late success, {phase:?}");
            assert_eq!(breaker.fail(other, &BREAKER, NOW), None, "late failure, {phase:?}");
            assert_eq!(breaker.abandon(other, NOW), None, "late abandon, {phase:?}");
        }
    }
}

#[test]
fn opens_for_30_60_and_at_most_120_seconds() {
    let state = EndpointState::default();
    let mut now = NOW;
    assert_eq!(fail_until_open(&state, now), now.after(Duration::from_secs(30)));
    for seconds in [60, 120, 120, 120] {
        let BreakerView::Open { until } = state.breaker(now) else { panic!("not open") };
        now = until;
        let probe = state.admit(Candidate::Ready, &BREAKER, now).unwrap();
        assert!(probe.is_probe());
        let until = now.after(Duration::from_secs(seconds));
        assert_eq!(state.record_failure(probe, &BREAKER, now), Some(Transition::Opened { until }));
    }
    let BreakerView::Open { until } = state.breaker(now) else { panic!("not open") };
    let probe = state.admit(Candidate::Ready, &BREAKER, until).unwrap();
    assert_eq!(state.record_success(probe), Some(Transition::Closed));
    // A success resets the level: the next open time is 30 s again.
    assert_eq!(fail_until_open(&state, until), until.after(Duration::from_secs(30)));
}

#[test]
fn opens_at_the_fifth_failure_in_a_row_and_not_before() {
    let state = EndpointState::default();
    for _ in 0..3 {
        for _ in 0..crate::limits::BREAKER_FAILURES - 1 {
            assert_eq!(
                state.record_failure(state.admit(Candidate::Ready, &BREAKER, NOW).unwrap(), &BREAKER, NOW),
                None
            );
        }
        assert_eq!(state.record_success(state.admit(Candidate::Ready, &BREAKER, NOW).unwrap()), None);
    }
    assert_eq!(state.breaker(NOW), BreakerView::Closed);
    assert_eq!(fail_until_open(&state, NOW), IN_30_S);
    assert_eq!(state.breaker(NOW), BreakerView::Open { until: IN_30_S });
    assert_eq!(state.breaker(IN_30_S), BreakerView::HalfOpen);
    assert_eq!(state.breaker_wait(NOW), Some(Duration::from_secs(30)));
    assert_eq!(state.breaker_wait(IN_30_S), None);
}

#[test]
fn admits_nothing_before_the_time_is_over_and_one_probe_then() {
    let state = EndpointState::default();
    let until = fail_until_open(&state, NOW);
    assert!(!state.is_available(Tick(until.0 - 1)));
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, Tick(until.0 - 1)), None);
    assert!(state.is_available(until));
    assert!(state.admit(Candidate::Ready, &BREAKER, until).unwrap().is_probe());
    assert!(!state.is_available(until));
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, until), None);
    assert_eq!(state.breaker(until), BreakerView::HalfOpen);
    assert_eq!(state.breaker_wait(until), Some(PROBE_WAIT));
}

#[test]
fn a_late_result_is_ignored() {
    let state = EndpointState::default();
    let late = state.admit(Candidate::Ready, &BREAKER, NOW).unwrap();
    let until = fail_until_open(&state, NOW);
    assert_eq!(state.record_success(late), None);
    assert_eq!(state.record_failure(late, &BREAKER, NOW), None);
    assert_eq!(state.breaker(NOW), BreakerView::Open { until });

    let probe = state.admit(Candidate::Ready, &BREAKER, until).unwrap();
    assert_eq!(state.record_success(late), None);
    assert_eq!(state.record_failure(late, &BREAKER, until), None);
    assert_eq!(state.breaker(until), BreakerView::HalfOpen);

    assert_eq!(state.record_success(probe), Some(Transition::Closed));
    for _ in 0..crate::limits::BREAKER_FAILURES {
        assert_eq!(state.record_failure(late, &BREAKER, until), None);
    }
    assert_eq!(state.breaker(until), BreakerView::Closed);
}

/// The first probe to end decides, whichever it is; the results of the others count as of ordinary requests,
/// or are ignored.
#[test]
fn a_probe_that_does_not_end_is_followed_by_another_each_second() {
    for first_to_end in [0, 1, 2] {
        let state = EndpointState::default();
        let mut now = fail_until_open(&state, NOW);
        let probes = [(); 3].map(|()| {
            let probe = state.admit(Candidate::Ready, &BREAKER, now).unwrap();
            assert!(probe.is_probe());
            assert_eq!(state.admit(Candidate::Ready, &BREAKER, Tick(now.0 + 999)), None);
            now = now.after(crate::limits::BREAKER_PROBE_INTERVAL);
            probe
        });
        assert_eq!(state.breaker(now), BreakerView::HalfOpen);
        assert_eq!(state.record_success(probes[first_to_end]), Some(Transition::Closed));
        assert_eq!(state.record_failure(probes[(first_to_end + 1) % 3], &BREAKER, now), None);
        assert_eq!(state.breaker(now), BreakerView::Closed);

        let mut now = fail_until_open(&state, now);
        let probes = [(); 3].map(|()| {
            let probe = state.admit(Candidate::Ready, &BREAKER, now).unwrap();
            now = now.after(crate::limits::BREAKER_PROBE_INTERVAL);
            probe
        });
        let until = now.after(Duration::from_secs(60));
        assert_eq!(
            state.record_failure(probes[first_to_end], &BREAKER, now),
            Some(Transition::Opened { until })
        );
        assert_eq!(state.record_success(probes[(first_to_end + 1) % 3]), None);
        assert_eq!(state.breaker(now), BreakerView::Open { until });
    }
}

/// Failed probes open it again, and it is open since its first opening.
#[test]
fn a_breaker_is_open_since_it_left_the_closed_state() {
    let state = EndpointState::default();
    assert_eq!(state.opened_at(), None);
    let due = fail_until_open(&state, NOW);
    assert_eq!(state.opened_at(), Some(NOW));
    let probe = state.admit(Candidate::Ready, &BREAKER, due).unwrap();
    assert_eq!(state.opened_at(), Some(NOW), "half open");
    assert!(state.record_failure(probe, &BREAKER, due).is_some());
    assert_eq!(state.opened_at(), Some(NOW));
    state.renew();
    let probe = state.admit(Candidate::Ready, &BREAKER, due).unwrap();
    assert_eq!(state.record_success(probe), Some(Transition::Closed));
    assert_eq!(state.opened_at(), None);
    fail_until_open(&state, due);
    assert_eq!(state.opened_at(), Some(due));
}

/// An upload in flight, perhaps for hours, does not prevent a request without a body from being the probe.
#[test]
fn an_upload_is_the_probe_when_no_other_request_is() {
    let state = EndpointState::default();
    let until = fail_until_open(&state, NOW);
    let second = crate::limits::BREAKER_PROBE_INTERVAL;
    assert_eq!(state.admit(Candidate::Streaming, &BREAKER, Tick(until.after(second).0 - 1)), None);
    let due = until.after(second);
    let upload = state.admit(Candidate::Streaming, &BREAKER, due).unwrap();
    assert!(upload.is_probe());
    assert_eq!(state.admit(Candidate::Streaming, &BREAKER, due), None, "one a second");
    let ready = state.admit(Candidate::Ready, &BREAKER, due).unwrap();
    assert!(ready.is_probe());
    // Uploads wait for two intervals after it.
    assert_eq!(state.admit(Candidate::Streaming, &BREAKER, Tick(due.after(2 * second).0 - 1)), None);
    assert!(state.admit(Candidate::Streaming, &BREAKER, due.after(2 * second)).is_some());
    assert_eq!(state.record_success(ready), Some(Transition::Closed));

    // An endpoint that gets only uploads recovers by them.
    let until = fail_until_open(&state, due);
    let upload = state.admit(Candidate::Streaming, &BREAKER, until.after(second)).unwrap();
    assert_eq!(state.record_success(upload), Some(Transition::Closed));
}

#[test]
fn an_abandoned_probe_lets_the_next_request_be_it() {
    let state = EndpointState::default();
    let until = fail_until_open(&state, NOW);
    let probe = state.admit(Candidate::Ready, &BREAKER, until).unwrap();
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, until), None);
    state.abandon(probe, until);
    let second = state.admit(Candidate::Ready, &BREAKER, until).unwrap();
    assert!(second.is_probe());
    assert_eq!(state.record_success(second), Some(Transition::Closed));
    // Abandoning an ordinary admission has no effect.
    let admission = state.admit(Candidate::Ready, &BREAKER, until).unwrap();
    state.abandon(admission, until);
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, until), Some(admission));
}

/// Health is ignored, the breaker is not.
#[test]
fn admission_can_ignore_health() {
    let state = EndpointState::default();
    state.set_health(Health::Unhealthy);
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, NOW), None);
    for _ in 0..crate::limits::BREAKER_FAILURES {
        let admission = state.admit_ignoring_health(Candidate::Ready, &BREAKER, NOW).unwrap();
        state.record_failure(admission, &BREAKER, NOW);
    }
    assert_eq!(state.admit_ignoring_health(Candidate::Ready, &BREAKER, NOW), None);
    assert!(state.admit_ignoring_health(Candidate::Ready, &BREAKER, IN_30_S).unwrap().is_probe());
}

#[test]
fn an_endpoint_is_known_healthy_only_after_a_passed_check() {
    let state = EndpointState::default();
    assert!(!state.is_known_healthy());
    state.set_health(Health::Healthy);
    assert!(state.is_known_healthy());
    state.set_health(Health::Unhealthy);
    assert!(!state.is_known_healthy());
    state.renew();
    assert!(!state.is_known_healthy());
}

#[test]
fn unhealthy_takes_no_request_and_unknown_does() {
    let state = EndpointState::default();
    assert_eq!(state.health(), Health::Unknown);
    assert!(state.is_available(NOW));
    state.set_health(Health::Unhealthy);
    assert_eq!(state.health(), Health::Unhealthy);
    assert!(!state.is_available(NOW));
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, NOW), None);
    state.set_health(Health::Healthy);
    assert_eq!(state.health(), Health::Healthy);
    assert!(state.admit(Candidate::Ready, &BREAKER, NOW).is_some());
    assert_eq!(state.admit_joining(Candidate::Ready, &BREAKER, NOW), None);
    state.set_health(Health::Joining);
    assert_eq!(state.health(), Health::Joining);
    assert!(state.is_available(NOW) && !state.is_in_rotation());
    assert_eq!(state.admit(Candidate::Ready, &BREAKER, NOW), None);
    assert!(state.admit_joining(Candidate::Ready, &BREAKER, NOW).is_some());
}

#[test]
fn a_new_registration_resets_health_and_breaker() {
    let state = EndpointState::default();
    let of_old_process = state.admit(Candidate::Ready, &BREAKER, NOW).unwrap();
    state.set_health(Health::Unhealthy);
    state.renew();
    assert_eq!(state.health(), Health::Joining);
    state.set_health(Health::Healthy);
    for _ in 0..crate::limits::BREAKER_FAILURES {
        assert_eq!(state.record_failure(of_old_process, &BREAKER, NOW), None);
    }
    assert_eq!(state.breaker(NOW), BreakerView::Closed);

    let _ = fail_until_open(&state, NOW);
    state.set_health(Health::Healthy);
    state.renew();
    assert_eq!(state.health(), Health::Healthy);
    assert_eq!(state.breaker(NOW), BreakerView::HalfOpen);
    assert!(state.admit(Candidate::Ready, &BREAKER, NOW).unwrap().is_probe());
}

#[test]
fn one_of_many_threads_gets_the_probe() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 300;
    let state = EndpointState::default();
    let probes: Vec<AtomicUsize> = (0..ROUNDS).map(|_| AtomicUsize::new(0)).collect();
    let barrier = Barrier::new(THREADS);
    let mut now = fail_until_open(&state, NOW);
    let starts: Vec<Tick> = (0..ROUNDS)
        .map(|_| {
            let start = now;
            now = now.after(crate::limits::BREAKER_OPEN_MAX + crate::limits::BREAKER_PROBE_INTERVAL);
            start
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (start, probes) in starts.iter().zip(&probes) {
                    barrier.wait();
                    let admission = state.admit(Candidate::Ready, &BREAKER, *start);
                    if let Some(admission) = admission {
                        assert!(admission.is_probe());
                        probes.fetch_add(1, Ordering::Relaxed);
                    }
                    barrier.wait();
                    if let Some(admission) = admission {
                        assert!(state.record_failure(admission, &BREAKER, *start).is_some());
                    }
                }
            });
        }
    });
    assert!(probes.iter().all(|probes| probes.load(Ordering::Relaxed) == 1), "{probes:?}");
}

#[test]
fn one_of_many_threads_opens_the_breaker() {
    const THREADS: usize = 4;
    for _ in 0..100 {
        let state = EndpointState::default();
        let opened = AtomicUsize::new(0);
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let admissions: Vec<_> =
                        (0..3).filter_map(|_| state.admit(Candidate::Ready, &BREAKER, NOW)).collect();
                    barrier.wait();
                    for admission in admissions {
                        if state.record_failure(admission, &BREAKER, NOW).is_some() {
                            opened.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(opened.load(Ordering::Relaxed), 1);
        assert_eq!(state.breaker(NOW), BreakerView::Open { until: IN_30_S });
    }
}

#[derive(Clone, Debug)]
enum Event {
    Admit(Candidate),
    Succeed(usize),
    Fail(usize),
    Abandon(usize),
    Renew,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Admit(Candidate::Ready)),
        2 => Just(Event::Admit(Candidate::Streaming)),
        2 => any::<usize>().prop_map(Event::Succeed),
        5 => any::<usize>().prop_map(Event::Fail),
        1 => any::<usize>().prop_map(Event::Abandon),
        1 => Just(Event::Renew),
        2 => (1..3_000_u64).prop_map(Event::Wait),
        2 => (1..70_000_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn a_breaker_packs_into_its_word_and_back(
        kind in 0..3, epoch in 0..=EPOCH_MASK, until in 0..=VALUE_MASK, level in 0..=LEVEL_MAX,
        failures: u32, successes in 0..=SUCCESSES_MASK,
    ) {
        let phase = match kind {
            0 => closed(failures),
            1 => open(Tick(until), level),
            _ => Phase::Probing { until: Tick(until), level, successes },
        };
        let breaker = State { epoch: Epoch(epoch), phase };
        prop_assert_eq!(State::unpack(breaker.pack()), breaker);
    }

    #[test]
    fn a_time_beyond_the_word_is_capped(until in VALUE_MASK..) {
        let breaker = State { epoch: Epoch(1), phase: open(Tick(until), 1) };
        prop_assert_eq!(State::unpack(breaker.pack()).phase, open(Tick(VALUE_MASK), 1));
    }

    /// Results come in any order, also twice and late. Probes are a second apart unless one was abandoned,
    /// and only a probe since the last opening closes a breaker.
    #[test]
    fn probes_keep_their_interval_in_any_order_of_events(events in prop::collection::vec(event(), 1..200)) {
        let state = EndpointState::default();
        let mut now = NOW;
        let mut given: Vec<Admission> = Vec::new();
        let mut probes: Vec<Admission> = Vec::new();
        // Earliest time of the next probe of each kind.
        let (mut ready_due, mut streaming_due) = (Tick(0), Tick(0));
        for event in events {
            let was_closed = state.breaker(now) == BreakerView::Closed;
            let pick = |at: usize| given.get(at % given.len().max(1)).copied();
            let mut succeeded = false;
            match event {
                Event::Wait(ms) => now = Tick(now.0 + ms),
                Event::Admit(candidate) => if let Some(admission) = state.admit(candidate, &BREAKER, now) {
                    prop_assert_eq!(admission.is_probe(), !was_closed);
                    if admission.is_probe() {
                        let interval = crate::limits::BREAKER_PROBE_INTERVAL;
                        match candidate {
                            Candidate::Ready => {
                                prop_assert!(ready_due <= now);
                                ready_due = now.after(interval);
                                streaming_due = ready_due.after(interval);
                            }
                            Candidate::Streaming => {
                                prop_assert!(streaming_due <= now);
                                streaming_due = now.after(interval);
                            }
                        }
                        probes.push(admission);
                    }
                    given.push(admission);
                },
                Event::Succeed(at) => if let Some(admission) = pick(at) {
                    let transition = state.record_success(admission);
                    prop_assert_eq!(transition.is_some(), !was_closed && probes.contains(&admission));
                    succeeded = transition.is_some();
                },
                Event::Fail(at) => if let Some(admission) = pick(at)
                    && let Some(Transition::Opened { until }) = state.record_failure(admission, &BREAKER, now)
                {
                    prop_assert!(until > now && until <= now.after(crate::limits::BREAKER_OPEN_MAX));
                    probes.clear();
                },
                Event::Abandon(at) => if let Some(admission) = pick(at) {
                    state.abandon(admission, now);
                    if probes.contains(&admission) {
                        ready_due = ready_due.min(now);
                        streaming_due = streaming_due.min(now.after(crate::limits::BREAKER_PROBE_INTERVAL));
                    }
                },
                Event::Renew => {
                    state.renew();
                    probes.clear();
                    (ready_due, streaming_due) = (Tick(0), Tick(0));
                }
            }
            let is_closed = state.breaker(now) == BreakerView::Closed;
            prop_assert!(was_closed || !is_closed || succeeded);
            if is_closed {
                (ready_due, streaming_due) = (Tick(0), Tick(0));
            }
        }
    }
}

fn fail_until_open(state: &EndpointState, now: Tick) -> Tick {
    for _ in 0..crate::limits::BREAKER_FAILURES {
        let admission = state.admit(Candidate::Ready, &BREAKER, now).expect("a closed breaker admits");
        if let Some(Transition::Opened { until }) = state.record_failure(admission, &BREAKER, now) {
            return until;
        }
    }
    panic!("the breaker did not open")
}
