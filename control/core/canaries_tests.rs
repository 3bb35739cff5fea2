#![allow(clippy::unwrap_used)]
use ringway_model::{
    AppId, Balancer, BrakeMode, Braked, Canary, CanaryStep, FailurePolicy, HostPattern, OnAllUnhealthy,
    OperatorSet, Owner, Percent, PoolRef, PoolSpec, Replacement, RouteSpec, TrafficSpec, Variant,
};
use ringway_traffic::compile::{Compiler, CompilerSettings};
use ringway_traffic::verdict::Verdict;

use super::*;

/// Control plane of one route with a canary of 10 %, in the manner of the engine.
struct Harness {
    desired: Desired,
    compiler: Compiler,
    canaries: Canaries,
    seconds: u64,
}

fn route_id() -> RouteId {
    RouteId::parse("shop").unwrap()
}

fn set(canary: Option<Canary>) -> OperatorSet {
    let pool = |id: &str| PoolSpec {
        id: AppId::parse(id).unwrap(),
        endpoints: Vec::new(),
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::default(),
        policy: None,
        traffic: Arc::default(),
    };
    let stable = PoolRef::Pool(AppId::parse("v1").unwrap());
    let mut route = RouteSpec::new(route_id(), HostPattern::parse("a.example").unwrap(), stable);
    route.traffic = Some(Arc::new(TrafficSpec { canary, ..TrafficSpec::default() }));
    OperatorSet {
        pools: vec![pool("v1"), pool("v2")],
        routes: vec![Arc::new(route)],
        ..OperatorSet::default()
    }
}

fn canary(brake: BrakeMode) -> Canary {
    Canary {
        pool: PoolRef::Pool(AppId::parse("v2").unwrap()),
        weight: Percent::whole(10),
        steps: Box::default(),
        hash: None,
        cookie: None,
        brake,
    }
}

fn stepped() -> Canary {
    let step = |weight| CanaryStep { weight: Percent::whole(weight), after: Duration::from_secs(300) };
    Canary { steps: [step(50), step(100)].into(), ..canary(BrakeMode::On) }
}

impl Harness {
    fn new(canary: Canary) -> Self {
        Self::start(replaced(&Desired::default(), set(Some(canary))), 0)
    }

    fn start(desired: Desired, seconds: u64) -> Self {
        let mut compiler = Compiler::new(CompilerSettings { cores: 1, ..CompilerSettings::default() });
        let compiled = compiler.compile_all(&desired);
        compiler.commit(compiled).unwrap();
        let canaries = Canaries::new(Duration::from_secs(10), view(&desired, &compiler, seconds));
        Self { desired, compiler, canaries, seconds }
    }

    fn restart(self) -> Self {
        Self::start(self.desired, self.seconds)
    }

    fn replace(&mut self, canary: Option<Canary>) {
        self.desired = replaced(&self.desired, set(canary));
        let compiled = self.compiler.compile_all(&self.desired);
        self.compiler.commit(compiled).unwrap();
        self.canaries.follow(view(&self.desired, &self.compiler, self.seconds));
    }

    fn plan(&self) -> Arc<TrafficPlan> {
        plans(&self.desired, self.compiler.snapshot()).remove(0).1
    }

    /// Ten seconds in which so many requests, and failures among them, came.
    fn pass(&mut self, stable: (u32, u32), canary: (u32, u32)) -> Vec<Effect> {
        let plan = self.plan();
        for (variant, (requests, failures)) in [(Variant::Stable, stable), (Variant::Canary, canary)] {
            for request in 0..requests {
                let verdict = if request < failures { Verdict::Failure } else { Verdict::Success };
                plan.state.count(0, variant, verdict);
            }
        }
        self.seconds += 10;
        let effects = self.canaries.advance(view(&self.desired, &self.compiler, self.seconds));
        for effect in &effects {
            if let Effect::Submit(_, change) = effect {
                self.submit(change);
            }
        }
        effects
    }

    fn submit(&mut self, change: &Change) {
        self.desired = self.desired.apply(change, Timestamp(self.seconds * 1_000)).unwrap().desired;
        if let Change::PutCanaryState(state) = change {
            let now = now(self.seconds);
            self.canaries.handle_stored(state, now);
        }
    }

    fn status(&self) -> CanaryStatus {
        self.canaries.statuses(Timestamp(self.seconds * 1_000)).remove(0)
    }

    fn weight(&self) -> u16 {
        self.plan().weight().hundredths() / 100
    }
}

fn replaced(desired: &Desired, set: OperatorSet) -> Desired {
    let replacement = Replacement { owner: Owner::File, set: Arc::new(set), expect: None, version: None };
    desired.apply(&Change::ReplaceOwned(Arc::new(replacement)), Timestamp(0)).unwrap().desired
}

fn now(seconds: u64) -> Now {
    let micros = crate::time::Micros(seconds * 1_000_000);
    Now { micros, tick: Tick(seconds * 1_000), at: Timestamp(seconds * 1_000) }
}

fn view<'a>(desired: &'a Desired, compiler: &'a Compiler, seconds: u64) -> View<'a> {
    View { desired, snapshot: compiler.snapshot(), trial: None, now: now(seconds) }
}

const HEALTHY: (u32, u32) = (1_000, 1);

fn puts_state(change: &Change) -> bool {
    matches!(change, Change::PutCanaryState(_))
}

#[test]
fn a_canary_that_fails_is_braked_stored_and_reported_once() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    assert_eq!(harness.pass(HEALTHY, (100, 0)), []);
    let effects = harness.pass(HEALTHY, (100, 60));
    assert!(matches!(&effects[..], [Effect::Braked(_), Effect::Submit(_, change)] if puts_state(change)));
    assert_eq!(harness.weight(), 0);
    let reason = harness.status().braked.unwrap().reason;
    assert!(reason.contains("60 of 200 requests (30.0 %) failed in the canary"), "{reason}");
    assert_eq!(harness.pass(HEALTHY, (5, 5)), [], "nothing more to do");
    assert_eq!(harness.canaries.counters().braked, 1);
}

#[test]
fn the_brake_is_in_force_before_it_is_stored_and_stored_until_it_is() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    let unstored = harness.desired.clone();
    harness.pass(HEALTHY, (100, 60));
    harness.desired = unstored;
    assert_eq!(harness.weight(), 0);
    let again = harness.pass(HEALTHY, (0, 0));
    assert!(matches!(&again[..], [Effect::Submit(_, change)] if puts_state(change)), "{again:?}");
}

#[test]
fn a_brake_outlives_a_restart_and_a_file_that_is_read_again() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    harness.pass(HEALTHY, (100, 60));
    harness.replace(Some(Canary { cookie: Some("bucket".into()), ..canary(BrakeMode::On) }));
    assert_eq!(harness.weight(), 0, "the same pools and weights");
    let mut harness = harness.restart();
    assert_eq!(harness.weight(), 0);
    assert_eq!(harness.pass(HEALTHY, (0, 0)), []);
    assert!(harness.status().braked.is_some());
}

#[test]
fn another_plan_is_not_braked_and_the_state_of_the_former_is_removed() {
    for other in [Some(Canary { weight: Percent::whole(20), ..canary(BrakeMode::On) }), None] {
        let mut harness = Harness::new(canary(BrakeMode::On));
        harness.pass(HEALTHY, (100, 60));
        let is_left = other.is_some();
        harness.replace(other);
        harness.seconds += 10;
        let effects = harness.canaries.advance(view(&harness.desired, &harness.compiler, harness.seconds));
        assert_eq!(
            effects,
            [Effect::Submit(route_id(), Box::new(Change::RemoveCanaryState { route: route_id() }))]
        );
        if is_left {
            assert_eq!(harness.weight(), 20);
        }
    }
}

#[test]
fn a_resumed_canary_begins_with_a_fresh_window() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    assert_eq!(harness.canaries.resumed(&route_id(), Timestamp(0)), Err(CanaryError::NotBraked));
    let unknown = RouteId::parse("blog").unwrap();
    assert_eq!(harness.canaries.resumed(&unknown, Timestamp(0)), Err(CanaryError::NoCanary));
    harness.pass(HEALTHY, (100, 60));
    // The clock was set back: the state still counts as later than the brake.
    let resumed = harness.canaries.resumed(&route_id(), Timestamp(1)).unwrap();
    assert_eq!(harness.weight(), 0, "not before it is stored");
    harness.submit(&Change::PutCanaryState(Arc::new(resumed)));
    assert_eq!(harness.weight(), 10);
    assert_eq!(harness.pass(HEALTHY, (100, 0)), [], "the failures of before do not count");
    harness.pass(HEALTHY, (100, 60));
    assert_eq!(harness.weight(), 0, "it fails again");
}

#[test]
fn a_late_state_from_before_the_brake_changes_nothing() {
    let mut harness = Harness::new(stepped());
    harness.pass(HEALTHY, (100, 0));
    let before = harness.desired.canary_state("shop").unwrap().clone();
    harness.pass(HEALTHY, (100, 60));
    let now = now(harness.seconds);
    harness.canaries.handle_stored(&before, now);
    assert_eq!(harness.weight(), 0);
}

#[test]
fn a_dry_run_counts_once_and_changes_nothing() {
    let mut harness = Harness::new(canary(BrakeMode::DryRun));
    for _ in 0..3 {
        assert_eq!(harness.pass(HEALTHY, (100, 60)), []);
    }
    assert_eq!(harness.weight(), 10);
    assert_eq!(harness.canaries.counters().would_brake, 1);
    assert_eq!(harness.status().would_brake_since, Some(Timestamp(10_000)));
    let mut harness = Harness::new(canary(BrakeMode::Off));
    harness.pass(HEALTHY, (100, 60));
    assert_eq!((harness.weight(), harness.canaries.counters()), (10, CanaryCounters::default()));
}

#[test]
fn steps_are_taken_with_traffic_and_end_at_all_requests() {
    let mut harness = Harness::new(stepped());
    for _ in 0..31 {
        harness.pass(HEALTHY, (100, 0));
    }
    assert_eq!((harness.weight(), harness.status().step), (50, 1));
    // A restart loses neither the step nor its time.
    let mut harness = harness.restart();
    assert_eq!(harness.weight(), 50);
    for _ in 0..31 {
        harness.pass(HEALTHY, (1_000, 0));
    }
    assert_eq!(harness.weight(), 100);
    assert!(harness.status().is_complete());
    assert_eq!(harness.canaries.counters().steps, 1, "since the restart");
}

#[test]
fn without_traffic_or_with_more_failures_no_step_is_taken() {
    let mut idle = Harness::new(stepped());
    for _ in 0..40 {
        idle.pass(HEALTHY, (0, 0));
    }
    assert_eq!(idle.weight(), 10);
    assert_eq!(idle.status().next.unwrap().hold, Some("traffic"));
    let mut worse = Harness::new(stepped());
    for _ in 0..40 {
        worse.pass((1_000, 10), (100, 3));
    }
    assert_eq!((worse.weight(), worse.status().braked), (10, None::<Braked>));
    assert_eq!(worse.status().next.unwrap().hold, Some("failures"));
}

#[test]
fn a_brake_ends_the_steps() {
    let mut harness = Harness::new(stepped());
    for _ in 0..31 {
        harness.pass(HEALTHY, (100, 0));
    }
    harness.pass(HEALTHY, (1_000, 500));
    assert_eq!(harness.weight(), 0);
    for _ in 0..40 {
        harness.pass(HEALTHY, (0, 0));
    }
    assert_eq!((harness.weight(), harness.status().step), (0, 1));
    assert_eq!(harness.status().next, None);
}

fn set_weight(percent: u16) -> SetWeight {
    SetWeight { weight: Percent::whole(percent), at: Timestamp(1), by: "ops".into(), reason: "a test".into() }
}

impl Harness {
    fn weighted(&self, weight: Option<SetWeight>) -> Result<CanaryState, CanaryError> {
        self.canaries.weighted(&route_id(), weight, Timestamp(self.seconds * 1_000))
    }

    fn store(&mut self, state: CanaryState) {
        self.submit(&Change::PutCanaryState(Arc::new(state)));
    }
}

#[test]
fn a_set_weight_replaces_the_plans_until_it_is_reset_or_the_plan_is_another() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    let set = harness.weighted(Some(set_weight(25))).unwrap();
    assert_eq!(harness.weight(), 10, "not before it is stored");
    harness.store(set);
    let status = harness.status();
    assert_eq!((harness.weight(), status.configured_weight), (25, Percent::whole(10)));
    assert_eq!(status.set_weight, Some(set_weight(25)));
    assert_eq!(harness.pass(HEALTHY, (100, 0)), [], "nothing to store");
    let mut harness = harness.restart();
    assert_eq!((harness.weight(), harness.status().set_weight), (25, Some(set_weight(25))));
    harness.replace(Some(Canary { cookie: Some("bucket".into()), ..canary(BrakeMode::On) }));
    assert_eq!(harness.weight(), 25, "the same pools and weights");
    let reset = harness.weighted(None).unwrap();
    harness.store(reset);
    assert_eq!((harness.weight(), harness.status().set_weight), (10, None));
    let set = harness.weighted(Some(set_weight(0))).unwrap();
    harness.store(set);
    assert_eq!(harness.weight(), 0);
    harness.replace(Some(Canary { weight: Percent::whole(20), ..canary(BrakeMode::On) }));
    assert_eq!((harness.weight(), harness.status().set_weight), (20, None));
}

#[test]
fn a_set_weight_is_braked_and_comes_back_with_resume() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    let set = harness.weighted(Some(set_weight(25))).unwrap();
    harness.store(set);
    harness.pass(HEALTHY, (100, 60));
    assert_eq!(harness.weight(), 0);
    assert_eq!(harness.weighted(Some(set_weight(50))), Err(CanaryError::Braked));
    assert_eq!(harness.weighted(None), Err(CanaryError::Braked));
    let resumed = harness.canaries.resumed(&route_id(), Timestamp(harness.seconds * 1_000)).unwrap();
    harness.store(resumed);
    assert_eq!(harness.weight(), 25);
}

#[test]
fn a_canary_with_steps_before_it_takes_no_weight() {
    let mut harness = Harness::new(stepped());
    assert_eq!(harness.weighted(Some(set_weight(25))), Err(CanaryError::Stepping));
    let unknown = RouteId::parse("blog").unwrap();
    assert_eq!(harness.canaries.weighted(&unknown, None, Timestamp(0)), Err(CanaryError::NoCanary));
    for _ in 0..62 {
        harness.pass(HEALTHY, (1_000, 0));
    }
    assert_eq!(harness.weight(), 100);
    let set = harness.weighted(Some(set_weight(50))).unwrap();
    harness.store(set);
    assert_eq!((harness.weight(), harness.status().next), (50, None));
}

/// With a slow store, states of control and of operators wait for it in one queue.
#[test]
fn a_late_state_from_before_a_set_weight_changes_nothing() {
    let mut harness = Harness::new(stepped());
    for _ in 0..62 {
        harness.pass(HEALTHY, (1_000, 0));
    }
    let before = CanaryState::clone(harness.desired.canary_state("shop").unwrap());
    // The clock was set back since.
    let set = harness.canaries.weighted(&route_id(), Some(set_weight(50)), Timestamp(1)).unwrap();
    harness.store(set.clone());
    harness.store(before);
    assert_eq!(harness.weight(), 50);
    let again = harness.pass(HEALTHY, (1_000, 0));
    assert!(matches!(&again[..], [Effect::Submit(_, change)] if puts_state(change)), "{again:?}");
    assert_eq!(**harness.desired.canary_state("shop").unwrap(), set);
}

#[test]
fn a_late_brake_from_before_resume_changes_nothing() {
    let mut harness = Harness::new(canary(BrakeMode::On));
    harness.pass(HEALTHY, (100, 60));
    let braked = CanaryState::clone(harness.desired.canary_state("shop").unwrap());
    let resumed = harness.canaries.resumed(&route_id(), Timestamp(harness.seconds * 1_000)).unwrap();
    harness.store(resumed.clone());
    harness.store(braked);
    assert_eq!(harness.weight(), 10);
    harness.pass(HEALTHY, (100, 0));
    assert_eq!(**harness.desired.canary_state("shop").unwrap(), resumed);
}
