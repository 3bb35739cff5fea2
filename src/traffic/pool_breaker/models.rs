//! Loom models of a pool's breaker that several cores use at once, over all interleavings: see
//! [`breaker`](crate::breaker).

use std::time::Duration;

use loom::thread;
use ringway_model::Percent;

use super::*;

const NOW: Tick = Tick(1_000_000);
const OPEN: Duration = Duration::from_secs(30);

/// Returns a breaker that opens at the second failure in a row.
fn breaker() -> PoolBreaker {
    let settings = CircuitBreaker {
        error_threshold: Some(Percent::whole(50)),
        requests_min: 20,
        failures: Some(2),
        open: OPEN,
        successes: 2,
        dry_run: false,
    };
    PoolBreaker::new(settings, None, 2)
}

/// Runs the same on two cores, and returns both results.
fn on_two_cores<T: 'static>(
    breaker: &PoolBreaker,
    run: impl Fn(&PoolBreaker, usize) -> T + Clone + 'static,
) -> [T; 2] {
    let (other, run_there) = (breaker.clone(), run.clone());
    let thread = thread::spawn(move || run_there(&other, 1));
    let mine = run(breaker, 0);
    [mine, thread.join().expect("a thread of the model")]
}

fn admit(breaker: &PoolBreaker, now: Tick) -> Admission {
    breaker.admit(Candidate::Ready, now).expect("it admits")
}

fn open(breaker: &PoolBreaker) {
    for _ in 0..2 {
        breaker.record(0, admit(breaker, NOW), Verdict::Failure, NOW);
    }
    assert_eq!(breaker.state().trips(), 1);
}

#[test]
fn two_failures_at_once_open_it_once() {
    loom::model(|| {
        let breaker = breaker();
        let admission = admit(&breaker, NOW);
        let transitions = on_two_cores(&breaker, move |breaker, core| {
            breaker.record(core, admission, Verdict::Failure, NOW)
        });
        assert_eq!(transitions.iter().flatten().count(), 1, "{transitions:?}");
        assert_eq!(breaker.state().trips(), 1);
    });
}

/// A success comes before both failures, between them, or after: it opens at most once, and never when the
/// success was between.
#[test]
fn a_success_between_two_failures_keeps_it_closed() {
    loom::model(|| {
        let breaker = breaker();
        let admission = admit(&breaker, NOW);
        breaker.record(0, admission, Verdict::Failure, NOW);
        let [_, opened] = on_two_cores(&breaker, move |breaker, core| {
            let verdict = [Verdict::Success, Verdict::Failure][core];
            breaker.record(core, admission, verdict, NOW)
        });
        let is_open = matches!(breaker.state().view(NOW), BreakerView::Open { .. });
        assert_eq!(opened.is_some(), is_open);
    });
}

#[test]
fn of_all_cores_one_sends_the_probe() {
    loom::model(|| {
        let breaker = breaker();
        open(&breaker);
        let due = NOW.after(OPEN);
        let admitted = on_two_cores(&breaker, move |breaker, _| breaker.admit(Candidate::Ready, due));
        assert_eq!(admitted.iter().filter(|admitted| admitted.is_ok()).count(), 1, "{admitted:?}");
    });
}

#[test]
fn two_successful_probes_close_it_once() {
    loom::model(|| {
        let breaker = breaker();
        open(&breaker);
        // The first is slow: another one followed it.
        let (due, later) = (NOW.after(OPEN), NOW.after(OPEN + PROBE_WAIT));
        let probes = [admit(&breaker, due), admit(&breaker, later)];
        let transitions = on_two_cores(&breaker, move |breaker, core| breaker.confirm(probes[core], later));
        assert_eq!(transitions.iter().flatten().count(), 1, "{transitions:?}");
        assert_eq!(breaker.state().view(later), BreakerView::Closed);
    });
}
