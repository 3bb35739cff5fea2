//! Trials on scripted counters: bad, quiet, crash and harmless changes.
#![allow(clippy::unwrap_used)]

use super::*;

const BAKE: Duration = Duration::from_secs(15);
const CORES: [CoreId; 3] = [CoreId(0), CoreId(1), CoreId(2)];
/// The busiest by a request.
const BUSY: CoreId = CoreId(1);

/// Three cores with steady traffic, second by second.
struct Scene {
    trials: Trials,
    counts: Vec<CoreCounts>,
    now: Micros,
    state: CoreState,
}

impl Scene {
    /// After a minute of traffic.
    fn new(rps: u64) -> Self {
        let count = |core| CoreCounts { core, tally: Tally::default(), panics: 0 };
        let counts = CORES.map(count).to_vec();
        let mut scene =
            Self { trials: Trials::default(), counts, now: Micros(1_000_000), state: CoreState::Following };
        scene.trials.record(scene.counts.iter().copied(), scene.now);
        scene.counts[1].tally.requests += 1;
        for _ in 0..60 {
            assert_eq!(scene.pass(rps, 0), None);
        }
        scene
    }

    fn begin(&mut self) {
        let core = self.trials.choose_core(|_| true).unwrap();
        assert_eq!(core, BUSY);
        let begun = Begun {
            id: TrialId(0),
            owner: Owner::default(),
            version: None,
            bake: BAKE,
            core,
            serial: Serial(7),
        };
        self.trials.begin(begun, Now { micros: self.now, ..Now::default() });
        assert_eq!(self.review(Serial(6)), None);
        assert_eq!(self.review(Serial(7)), None);
    }

    fn review(&mut self, acknowledged: Serial) -> Option<Verdict> {
        let progress = |id| CoreProgress {
            id,
            acknowledged: Some(acknowledged),
            behind_since: None,
            last_ack_micros: None,
            state: self.state,
        };
        self.trials.review(self.counts.iter().copied(), |id| Some(progress(id)), self.now)
    }

    /// A second with so many requests on each core, of which so many fail on the trial's.
    fn pass(&mut self, rps: u64, failing: u64) -> Option<Verdict> {
        for _ in 0..4 {
            self.now.0 += 250_000;
            if self.now.0.is_multiple_of(1_000_000) {
                for counts in &mut self.counts {
                    counts.tally.requests += rps;
                }
                self.counts[1].tally.errors += failing;
            }
            self.trials.record(self.counts.iter().copied(), self.now);
            if let Some(verdict) = self.review(Serial(7)) {
                return Some(verdict);
            }
        }
        None
    }

    /// Passes until there is a verdict; returns it with the seconds.
    fn run(&mut self, rps: u64, failing: u64) -> (Verdict, u64) {
        (1..100).find_map(|second| Some((self.pass(rps, failing)?, second))).unwrap()
    }
}

#[test]
fn a_harmless_change_is_promoted_after_its_bake_time() {
    let mut scene = Scene::new(50);
    scene.begin();
    assert_eq!(scene.run(50, 0), (Verdict::Promote, 15));
    scene.trials.handle_promoting();
    assert_eq!(scene.trials.status(scene.now).unwrap().state, TrialState::Promoting);
    assert_eq!(scene.review(Serial(7)), None, "decided");
    let status = scene.trials.handle_promoted(scene.now).unwrap();
    assert_eq!(status.state, TrialState::Promoted { is_judged: true });
    assert_eq!((status.on_trial.requests, status.others.requests), (750, 1500));
    assert_eq!(status.before.requests, 9001);
    assert_eq!(scene.trials.status(scene.now).unwrap(), status, "the last one");
}

#[test]
fn a_bad_change_is_reverted_within_a_second() {
    let mut scene = Scene::new(50);
    scene.begin();
    assert_eq!(scene.run(50, 40), (Verdict::Revert(RevertReason::Worse), 1));
    let status = scene.trials.handle_reverted(RevertReason::Worse, scene.now).unwrap();
    assert_eq!((status.on_trial.errors, status.others.errors), (40, 0));
    assert!(status.z.unwrap() > 4.0);
    assert_eq!(scene.trials.counters().reverted, 1);
    assert!(scene.trials.status(scene.now).unwrap().state.is_over());
}

#[test]
fn a_quiet_trial_is_promoted_without_a_judgement() {
    let mut scene = Scene::new(0);
    scene.begin();
    assert_eq!(scene.run(1, 0), (Verdict::Promote, 15));
    let status = scene.trials.handle_promoted(scene.now).unwrap();
    assert_eq!(status.state, TrialState::Promoted { is_judged: false });
}

#[test]
fn a_panic_reverts_without_any_traffic() {
    let mut scene = Scene::new(0);
    scene.begin();
    scene.counts[0].panics += 1;
    assert_eq!(scene.pass(0, 0), None, "on another core");
    scene.counts[1].panics += 1;
    assert_eq!(scene.pass(0, 0), Some(Verdict::Revert(RevertReason::Panicked)));
}

#[test]
fn a_lost_core_reverts() {
    for state in [CoreState::Dead, CoreState::Lagging, CoreState::Drained] {
        let mut scene = Scene::new(10);
        scene.begin();
        assert_eq!(scene.pass(10, 0), None);
        scene.state = state;
        assert_eq!(scene.pass(10, 0), Some(Verdict::Revert(RevertReason::CoreLost)));
    }
}

#[test]
fn the_bake_time_begins_with_the_acknowledgement() {
    let mut scene = Scene::new(10);
    scene.begin();
    scene.trials.running.as_mut().unwrap().since = None;
    scene.trials.running.as_mut().unwrap().serial = Serial(8);
    scene.now.0 += 100_000_000;
    assert_eq!(scene.review(Serial(7)), None);
    assert_eq!(scene.review(Serial(8)), None);
    let due = scene.trials.next_deadline();
    assert_eq!(due, scene.now.after(REVIEW_INTERVAL).min(due));
    assert_eq!(scene.trials.running.as_ref().unwrap().baked(), scene.now.after(BAKE));
}
