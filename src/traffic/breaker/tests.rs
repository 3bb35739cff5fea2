use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;

const NOW: Tick = Tick(1_000_000);
const LATER: Tick = Tick(1_000_001);
const LEASE: Tick = Tick(1_060_000);
const IN_30_S: Tick = Tick(1_030_000);
const IN_60_S: Tick = Tick(1_060_000);
const IN_120_S: Tick = Tick(1_120_000);

fn closed(failures: u8) -> Phase {
    Phase::Closed { failures }
}

fn open(until: Tick, level: u8) -> Phase {
    Phase::Open { until, level }
}

fn probing(until: Tick, level: u8) -> Phase {
    Phase::Probing { until, level }
}

/// What becomes of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The event is refused, or counts for nothing.
    No,
    /// This phase, in the same epoch.
    Same(Phase),
    /// This phase, in the next epoch.
    Next(Phase),
}

#[test]
fn every_state_meets_every_event() {
    use Then::{Next, No, Same};
    // State, then what follows from: admit, success, failure, abandon, renew; results of the present epoch, at NOW.
    let table = [
        (closed(0), [Same(closed(0)), Same(closed(0)), Same(closed(1)), No, Next(closed(0))]),
        (closed(3), [Same(closed(3)), Same(closed(0)), Same(closed(4)), No, Next(closed(0))]),
        (closed(4), [Same(closed(4)), Same(closed(0)), Next(open(IN_30_S, 0)), No, Next(closed(0))]),
        (open(LATER, 0), [No, No, No, No, Next(open(Tick(0), 0))]),
        (open(LATER, 2), [No, No, No, No, Next(open(Tick(0), 2))]),
        (open(NOW, 0), [Next(probing(LEASE, 0)), No, No, No, Next(open(Tick(0), 0))]),
        (open(NOW, 2), [Next(probing(LEASE, 2)), No, No, No, Next(open(Tick(0), 2))]),
        (
            probing(LATER, 0),
            [No, Same(closed(0)), Next(open(IN_60_S, 1)), Next(open(NOW, 0)), Next(open(Tick(0), 0))],
        ),
        (
            probing(LATER, 1),
            [No, Same(closed(0)), Next(open(IN_120_S, 2)), Next(open(NOW, 1)), Next(open(Tick(0), 1))],
        ),
        (
            probing(LATER, 2),
            [No, Same(closed(0)), Next(open(IN_120_S, 2)), Next(open(NOW, 2)), Next(open(Tick(0), 2))],
        ),
        (
            probing(NOW, 1),
            [
                Next(probing(LEASE, 1)),
                Same(closed(0)),
                Next(open(IN_120_S, 2)),
                Next(open(NOW, 1)),
                Next(open(Tick(0), 1)),
            ],
        ),
    ];
    for (phase, expected) in table {
        let epoch = Epoch(7);
        let breaker = Breaker { epoch, phase };
        let then = |after: Option<Breaker>| match after {
            None => No,
            Some(Breaker { epoch: Epoch(7), phase }) => Same(phase),
            Some(Breaker { epoch: Epoch(8), phase }) => Next(phase),
            Some(Breaker { epoch: Epoch(strange), .. }) => panic!("epoch 7 became {strange}"),
        };
        let got = [
            then(breaker.admit(NOW)),
            then(breaker.succeed(epoch)),
            then(breaker.fail(epoch, NOW)),
            then(breaker.abandon(epoch, NOW)),
            then(Some(breaker.renew())),
        ];
        assert_eq!(got, expected, "{phase:?}");
        for other in [Epoch(6), Epoch(8), Epoch(0)] {
            assert_eq!(breaker.succeed(other), None, "late success, {phase:?}");
            assert_eq!(breaker.fail(other, NOW), None, "late failure, {phase:?}");
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
        let probe = state.admit(now).unwrap();
        assert!(probe.is_probe());
        let until = now.after(Duration::from_secs(seconds));
        assert_eq!(state.record_failure(probe, now), Some(Transition::Opened { until }));
    }
    let BreakerView::Open { until } = state.breaker(now) else { panic!("not open") };
    let probe = state.admit(until).unwrap();
    assert_eq!(state.record_success(probe), Some(Transition::Closed));
    // All is forgiven: the next time begins with 30 s again.
    assert_eq!(fail_until_open(&state, until), until.after(Duration::from_secs(30)));
}

#[test]
fn opens_at_the_fifth_failure_in_a_row_and_not_before() {
    let state = EndpointState::default();
    for _ in 0..3 {
        for _ in 0..limits::BREAKER_FAILURES - 1 {
            assert_eq!(state.record_failure(state.admit(NOW).unwrap(), NOW), None);
        }
        assert_eq!(state.record_success(state.admit(NOW).unwrap()), None);
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
    assert_eq!(state.admit(Tick(until.0 - 1)), None);
    assert!(state.is_available(until));
    assert!(state.admit(until).unwrap().is_probe());
    assert!(!state.is_available(until));
    assert_eq!(state.admit(until), None);
    assert_eq!(state.breaker(until), BreakerView::HalfOpen);
    assert_eq!(state.breaker_wait(until), Some(PROBE_WAIT));
}

#[test]
fn a_late_result_disturbs_nothing() {
    let state = EndpointState::default();
    let late = state.admit(NOW).unwrap();
    let until = fail_until_open(&state, NOW);
    assert_eq!(state.record_success(late), None);
    assert_eq!(state.record_failure(late, NOW), None);
    assert_eq!(state.breaker(NOW), BreakerView::Open { until });

    let probe = state.admit(until).unwrap();
    assert_eq!(state.record_success(late), None);
    assert_eq!(state.record_failure(late, until), None);
    assert_eq!(state.breaker(until), BreakerView::HalfOpen);

    assert_eq!(state.record_success(probe), Some(Transition::Closed));
    for _ in 0..limits::BREAKER_FAILURES {
        assert_eq!(state.record_failure(late, until), None);
    }
    assert_eq!(state.breaker(until), BreakerView::Closed);
}

#[test]
fn a_probe_that_never_reports_is_replaced_and_its_result_ignored() {
    let state = EndpointState::default();
    let until = fail_until_open(&state, NOW);
    let lost = state.admit(until).unwrap();
    let lease = until.after(limits::BREAKER_PROBE_LEASE);
    assert_eq!(state.admit(Tick(lease.0 - 1)), None);
    let second = state.admit(lease).unwrap();
    assert!(second.is_probe());
    assert_eq!(state.record_failure(lost, lease), None);
    assert_eq!(state.record_success(lost), None);
    assert_eq!(state.breaker(lease), BreakerView::HalfOpen);
    assert_eq!(state.record_success(second), Some(Transition::Closed));
}

#[test]
fn an_abandoned_probe_lets_the_next_request_be_it() {
    let state = EndpointState::default();
    let until = fail_until_open(&state, NOW);
    let probe = state.admit(until).unwrap();
    state.abandon(probe, until);
    let second = state.admit(until).unwrap();
    assert!(second.is_probe());
    // Whatever the first one still tells.
    state.abandon(probe, until);
    assert_eq!(state.admit(until), None);
    assert_eq!(state.record_success(second), Some(Transition::Closed));
    // Without a probe there is nothing to hand back.
    let admission = state.admit(until).unwrap();
    state.abandon(admission, until);
    assert_eq!(state.admit(until), Some(admission));
}

#[test]
fn unhealthy_takes_no_request_and_unknown_does() {
    let state = EndpointState::default();
    assert_eq!(state.health(), Health::Unknown);
    assert!(state.is_available(NOW));
    state.set_health(Health::Unhealthy);
    assert_eq!(state.health(), Health::Unhealthy);
    assert!(!state.is_available(NOW));
    assert_eq!(state.admit(NOW), None);
    state.set_health(Health::Healthy);
    assert_eq!(state.health(), Health::Healthy);
    assert!(state.admit(NOW).is_some());
    assert_eq!(state.admit_joining(NOW), None);
    state.set_health(Health::Joining);
    assert_eq!(state.health(), Health::Joining);
    assert!(state.is_available(NOW) && !state.is_in_rotation());
    assert_eq!(state.admit(NOW), None);
    assert!(state.admit_joining(NOW).is_some());
}

#[test]
fn a_new_registration_forgives() {
    let state = EndpointState::default();
    let of_old_process = state.admit(NOW).unwrap();
    state.set_health(Health::Unhealthy);
    state.renew();
    assert_eq!(state.health(), Health::Joining);
    state.set_health(Health::Healthy);
    for _ in 0..limits::BREAKER_FAILURES {
        assert_eq!(state.record_failure(of_old_process, NOW), None);
    }
    assert_eq!(state.breaker(NOW), BreakerView::Closed);

    let _ = fail_until_open(&state, NOW);
    state.set_health(Health::Healthy);
    state.renew();
    assert_eq!(state.health(), Health::Healthy);
    assert_eq!(state.breaker(NOW), BreakerView::HalfOpen);
    assert!(state.admit(NOW).unwrap().is_probe());
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
            now = now.after(limits::BREAKER_OPEN_MAX + limits::BREAKER_PROBE_LEASE);
            start
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (start, probes) in starts.iter().zip(&probes) {
                    barrier.wait();
                    let admission = state.admit(*start);
                    if let Some(admission) = admission {
                        assert!(admission.is_probe());
                        probes.fetch_add(1, Ordering::Relaxed);
                    }
                    barrier.wait();
                    if let Some(admission) = admission {
                        assert!(state.record_failure(admission, *start).is_some());
                    }
                }
            });
        }
    });
    assert!(probes.iter().all(|probes| probes.load(Ordering::Relaxed) == 1), "{probes:?}");
}

#[test]
fn one_of_many_threads_opens_it() {
    const THREADS: usize = 4;
    for _ in 0..100 {
        let state = EndpointState::default();
        let opened = AtomicUsize::new(0);
        let barrier = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let admissions: Vec<_> = (0..3).filter_map(|_| state.admit(NOW)).collect();
                    barrier.wait();
                    for admission in admissions {
                        if state.record_failure(admission, NOW).is_some() {
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
    Admit,
    Succeed(usize),
    Fail(usize),
    Abandon(usize),
    Renew,
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Admit),
        2 => any::<usize>().prop_map(Event::Succeed),
        5 => any::<usize>().prop_map(Event::Fail),
        1 => any::<usize>().prop_map(Event::Abandon),
        1 => Just(Event::Renew),
        2 => (1..70_000_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    #[test]
    fn the_word_holds_the_whole_machine(
        kind in 0..3, epoch in 0..=EPOCH_MASK, until in 0..=TICK_MASK, level in 0..=LEVEL_MAX, failures in 0..5_u8
    ) {
        let phase = match kind {
            0 => closed(failures),
            1 => open(Tick(until), level),
            _ => probing(Tick(until), level),
        };
        let breaker = Breaker { epoch: Epoch(epoch), phase };
        prop_assert_eq!(Breaker::unpack(breaker.pack()), breaker);
    }

    #[test]
    fn a_time_beyond_the_word_is_as_late_as_it_can_be(until in TICK_MASK..) {
        let breaker = Breaker { epoch: Epoch(1), phase: open(Tick(until), 1) };
        prop_assert_eq!(Breaker::unpack(breaker.pack()).phase, open(Tick(TICK_MASK), 1));
    }

    /// Results come in any order, also twice and long after the fact. While a probe is under way nobody else is
    /// admitted, and only a probe's success closes a breaker.
    #[test]
    fn a_probe_is_alone_whatever_else_happens(events in prop::collection::vec(event(), 1..200)) {
        let state = EndpointState::default();
        let mut now = NOW;
        let mut given: Vec<Admission> = Vec::new();
        let mut probe: Option<(Admission, Tick)> = None;
        for event in events {
            let was_closed = state.breaker(now) == BreakerView::Closed;
            let pick = |at: usize| given.get(at % given.len().max(1)).copied();
            let mut ended = None;
            match event {
                Event::Wait(ms) => now = Tick(now.0 + ms),
                Event::Admit => {
                    let admission = state.admit(now);
                    if let Some((_, lease)) = probe && now < lease {
                        prop_assert_eq!(admission, None);
                    }
                    if let Some(admission) = admission {
                        prop_assert_eq!(admission.is_probe(), !was_closed);
                        if admission.is_probe() {
                            probe = Some((admission, now.after(limits::BREAKER_PROBE_LEASE)));
                        }
                        given.push(admission);
                    }
                }
                Event::Succeed(at) => if let Some(admission) = pick(at) {
                    let transition = state.record_success(admission);
                    let is_the_probe = probe.is_some_and(|(probe, _)| probe == admission);
                    prop_assert_eq!(transition.is_some(), is_the_probe);
                    ended = Some(admission);
                },
                Event::Fail(at) => if let Some(admission) = pick(at) {
                    if let Some(Transition::Opened { until }) = state.record_failure(admission, now) {
                        prop_assert!(until > now && until <= now.after(limits::BREAKER_OPEN_MAX));
                    }
                    ended = Some(admission);
                },
                Event::Abandon(at) => if let Some(admission) = pick(at) {
                    state.abandon(admission, now);
                    ended = Some(admission);
                },
                Event::Renew => {
                    state.renew();
                    probe = None;
                }
            }
            if probe.is_some_and(|(probe, _)| Some(probe) == ended) {
                probe = None;
            }
            let is_closed = state.breaker(now) == BreakerView::Closed;
            prop_assert!(was_closed || !is_closed || ended.is_some_and(Admission::is_probe));
        }
    }
}

fn fail_until_open(state: &EndpointState, now: Tick) -> Tick {
    for _ in 0..limits::BREAKER_FAILURES {
        let admission = state.admit(now).expect("a closed breaker admits");
        if let Some(Transition::Opened { until }) = state.record_failure(admission, now) {
            return until;
        }
    }
    panic!("did not open")
}
