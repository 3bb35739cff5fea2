//! Checks of instances that are added, changed and removed, fail and recover, in virtual time.

#![allow(clippy::unwrap_used)]

use ringway_model::{AppId, Owner, Probe, Target};

use super::*;
use Health::{Healthy, Unhealthy, Unknown};

const REFUSED: ProbeResult = ProbeResult::Failed(Failure::Refused);

fn instance(id: &str, target: &str, generation: u64) -> Instance {
    Instance {
        weight: 1,
        id: InstanceId::parse(id).unwrap(),
        owner: Owner::Api,
        app: AppId::parse("shop").unwrap(),
        target: Target::parse(target).unwrap(),
        health_check: HealthCheck::default(),
        registered_at: Timestamp(0),
        generation: Generation(generation),
        draining: None,
    }
}

/// Drives checks in virtual time with a fixed result per target.
struct Scenario {
    checks: Checks,
    now: Tick,
    seed: u64,
    results: HashMap<String, ProbeResult>,
    /// Probed targets, in order.
    probed: Vec<String>,
}

impl Scenario {
    fn new() -> Self {
        let checks = Checks::new(Defaults::default());
        Self { checks, now: Tick(0), seed: 1, results: HashMap::new(), probed: Vec::new() }
    }

    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed
    }

    fn upsert(&mut self, instance: &Instance) {
        let random = self.draw();
        self.checks.upsert(instance, Entry::Restored, self.now, random);
    }

    fn register(&mut self, instance: &Instance) {
        let random = self.draw();
        self.checks.upsert(instance, Entry::Registered, self.now, random);
    }

    fn set_result(&mut self, target: &str, result: ProbeResult) {
        self.results.insert(target.to_owned(), result);
    }

    /// Advances the time to the next check and completes the due ones.
    fn step(&mut self) -> Vec<HealthChange> {
        let next = self.checks.next_due();
        assert_ne!(next, Tick::NEVER, "nothing is waiting");
        self.now = self.now.max(next);
        let mut changes = Vec::new();
        while let Some(due) = self.checks.poll_due(self.now) {
            let target = due.plan.target.to_string();
            let result = self.results.get(&target).copied().unwrap_or(ProbeResult::Healthy);
            self.probed.push(target);
            let random = self.draw();
            changes.extend(self.checks.handle_result(
                due.id,
                result,
                self.now,
                Timestamp(self.now.0),
                random,
            ));
        }
        changes
    }

    fn health(&self, instance: &str) -> Health {
        self.checks.status(instance).unwrap().health
    }
}

#[test]
fn an_instance_rises_falls_and_rises_again() {
    let mut scenario = Scenario::new();
    scenario.upsert(&instance("a", "http://10.0.0.1:1", 4));
    assert_eq!(scenario.health("a"), Unknown);
    assert_eq!(scenario.checks.status("a").unwrap().last_checked_at, None);

    let changes = scenario.step();
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].health, changes[0].reason), (Healthy, None));
    assert_eq!(changes[0].generation, Generation(4));

    scenario.set_result("http://10.0.0.1:1", ProbeResult::Failed(Failure::Status(503)));
    assert!(scenario.step().is_empty());
    assert!(scenario.step().is_empty());
    assert_eq!(scenario.health("a"), Healthy);
    let changes = scenario.step();
    assert_eq!((changes[0].health, changes[0].reason), (Unhealthy, Some(Failure::Status(503))));
    assert_eq!(changes[0].streak, Streak::Failures(3));
    let failed_at = Timestamp(scenario.now.0);
    assert!(scenario.step().is_empty(), "reported once");

    scenario.set_result("http://10.0.0.1:1", ProbeResult::Healthy);
    assert!(scenario.step().is_empty());
    let status = scenario.checks.status("a").unwrap();
    assert_eq!((status.health, status.streak), (Unhealthy, Streak::Successes(1)));
    assert_eq!(status.last_failure.unwrap().0, Failure::Status(503));
    assert!(status.last_failure.unwrap().1 > failed_at, "the latest failure, not the deciding one");
    assert_eq!(status.last_checked_at, Some(Timestamp(scenario.now.0)));
    let changes = scenario.step();
    assert_eq!((changes[0].health, changes[0].reason), (Healthy, None));
}

#[test]
fn a_probe_that_could_not_be_sent_has_no_effect() {
    let mut scenario = Scenario::new();
    scenario.upsert(&instance("a", "http://10.0.0.1:1", 1));
    scenario.step();
    let before = scenario.checks.status("a").unwrap();
    scenario.set_result("http://10.0.0.1:1", ProbeResult::NotProbed(LocalFault::NoResources));
    for _ in 0..10 {
        assert!(scenario.step().is_empty());
    }
    let after = scenario.checks.status("a").unwrap();
    assert_eq!((after.health, after.streak), (before.health, before.streak));
    assert_eq!(after.last_checked_at, before.last_checked_at);
    assert_eq!(after.not_probed, Some(LocalFault::NoResources));
    scenario.set_result("http://10.0.0.1:1", ProbeResult::Healthy);
    scenario.step();
    assert_eq!(scenario.checks.status("a").unwrap().not_probed, None);
}

#[test]
fn instances_with_the_same_target_share_its_check_and_have_their_own_thresholds() {
    let mut scenario = Scenario::new();
    scenario.upsert(&instance("a", "http://10.0.0.1:1", 1));
    scenario.upsert(&instance("b", "http://10.0.0.1:1", 2));
    let mut hasty = instance("c", "http://10.0.0.1:1", 3);
    hasty.health_check.unhealthy_threshold = NonZeroU8::new(1);
    scenario.upsert(&hasty);
    let mut other = instance("d", "http://10.0.0.1:1", 4);
    other.health_check.probe = Probe::http("/health").unwrap();
    scenario.upsert(&other);
    assert_eq!((scenario.checks.len(), scenario.checks.check_count()), (4, 2));

    scenario.set_result("http://10.0.0.1:1", REFUSED);
    let mut changes = Vec::new();
    while scenario.probed.len() < 6 {
        changes.extend(scenario.step());
    }
    let order: Vec<_> =
        changes.iter().filter(|v| v.instance.as_str() != "d").map(|v| v.instance.as_str()).collect();
    assert_eq!(order, ["c", "a", "b"]);
    assert!(changes.iter().all(|change| change.health == Unhealthy));

    scenario.checks.remove(&other.id);
    scenario.checks.remove(&hasty.id);
    assert_eq!((scenario.checks.len(), scenario.checks.check_count()), (2, 1));
}

#[test]
fn a_new_registration_restarts_and_an_old_result_does_not_count() {
    let mut scenario = Scenario::new();
    scenario.upsert(&instance("a", "http://10.0.0.1:1", 1));
    scenario.set_result("http://10.0.0.1:1", REFUSED);
    for _ in 0..3 {
        scenario.step();
    }
    assert_eq!(scenario.health("a"), Unhealthy);

    // A check of the old registration is in flight when the new one is added.
    let due = scenario.checks.next_due();
    let check = scenario.checks.poll_due(due).unwrap();
    scenario.now = due.after(Duration::from_millis(1));
    scenario.upsert(&instance("a", "http://10.0.0.1:1", 2));
    assert_eq!(scenario.health("a"), Unknown);
    let changes = scenario.checks.handle_result(check.id, REFUSED, scenario.now, Timestamp(0), 0);
    assert!(changes.is_empty());
    assert_eq!(scenario.checks.status("a").unwrap().streak, Streak::None);
    assert!(scenario.checks.status("a").unwrap().next_due.is_some(), "the next check is scheduled anyway");

    scenario.set_result("http://10.0.0.1:1", ProbeResult::Healthy);
    let changes = scenario.step();
    assert_eq!((changes[0].generation, changes[0].health), (Generation(2), Healthy));
}

#[test]
fn the_same_registration_again_has_no_effect() {
    let mut scenario = Scenario::new();
    let a = instance("a", "http://10.0.0.1:1", 1);
    scenario.upsert(&a);
    scenario.step();
    let before = scenario.checks.status("a").unwrap();
    scenario.upsert(&a);
    assert_eq!(scenario.checks.status("a").unwrap(), before);
}

#[test]
fn other_timing_keeps_the_health_and_another_target_does_not() {
    let mut scenario = Scenario::new();
    let mut a = instance("a", "http://10.0.0.1:1", 1);
    scenario.upsert(&a);
    scenario.set_result("http://10.0.0.1:1", REFUSED);
    for _ in 0..3 {
        scenario.step();
    }
    a.health_check.interval = Some(Duration::from_secs(60));
    a.health_check.healthy_threshold = NonZeroU8::new(5);
    scenario.upsert(&a);
    let status = scenario.checks.status("a").unwrap();
    assert_eq!((status.health, status.streak), (Unhealthy, Streak::Failures(3)));
    assert_eq!((status.plan.interval, status.thresholds.healthy.get()), (Duration::from_secs(60), 5));
    assert_eq!(scenario.checks.check_count(), 1);

    a.health_check.probe = Probe::http("/health").unwrap();
    scenario.upsert(&a);
    assert_eq!(scenario.health("a"), Unknown);
    scenario.step();
    a.target = Target::parse("http://10.0.0.2:1").unwrap();
    scenario.upsert(&a);
    let status = scenario.checks.status("a").unwrap();
    assert_eq!((status.health, status.last_failure, scenario.checks.check_count()), (Unknown, None, 1));
}

#[test]
fn intervals_and_timeouts_stay_within_their_limits() {
    let mut scenario = Scenario::new();
    for (interval, timeout, expected) in [
        (None, None, (ringway_model::limits::HEALTH_INTERVAL, ringway_model::limits::HEALTH_TIMEOUT)),
        (
            Some(0),
            None,
            (ringway_model::limits::HEALTH_INTERVAL_MIN, ringway_model::limits::HEALTH_INTERVAL_MIN),
        ),
        (
            Some(100_000),
            Some(400_000),
            (ringway_model::limits::HEALTH_INTERVAL_MAX, ringway_model::limits::HEALTH_INTERVAL_MAX),
        ),
        (Some(5), Some(6), (Duration::from_secs(5), Duration::from_secs(5))),
    ] {
        let mut a = instance("a", "http://10.0.0.1:1", 1);
        a.health_check.interval = interval.map(Duration::from_secs);
        a.health_check.timeout = timeout.map(Duration::from_secs);
        scenario.upsert(&a);
        let plan = &scenario.checks.watched["a"].plan;
        assert_eq!((plan.interval, plan.timeout), expected);
    }
}

#[test]
fn replacing_all_targets_adds_keeps_and_removes() {
    let mut scenario = Scenario::new();
    let [a, b, c] = ["a", "b", "c"].map(|id| instance(id, &format!("http://{id}.internal:1"), 1));
    scenario.checks.set_targets([&a, &b], Tick(0), || 0);
    scenario.step();
    assert_eq!(scenario.health("a"), Healthy);
    scenario.checks.set_targets([&a, &c], Tick(0), || 0);
    assert_eq!(scenario.health("a"), Healthy, "kept as it was");
    assert_eq!(scenario.checks.status("b"), None);
    assert_eq!(scenario.health("c"), Unknown);
    scenario.checks.set_targets([], Tick(0), || 0);
    assert!(scenario.checks.is_empty());
    assert_eq!((scenario.checks.check_count(), scenario.checks.next_due()), (0, Tick::NEVER));
}

#[test]
fn an_instance_removed_during_a_check_gets_no_change() {
    let mut scenario = Scenario::new();
    let a = instance("a", "http://10.0.0.1:1", 1);
    scenario.upsert(&a);
    let due = scenario.checks.next_due();
    let check = scenario.checks.poll_due(due).unwrap();
    assert_eq!(scenario.checks.status("a").unwrap().next_due, None);
    scenario.checks.remove(&a.id);
    assert!(scenario.checks.handle_result(check.id, ProbeResult::Healthy, due, Timestamp(0), 0).is_empty());
    assert_eq!(scenario.checks.in_flight(), 0);
}

#[test]
fn five_thousand_instances_are_each_checked_once_per_interval() {
    let mut scenario = Scenario::new();
    for n in 0..5_000 {
        scenario.upsert(&instance(
            &format!("i{n}"),
            &format!("http://10.0.{}.{}:1", n / 250, n % 250 + 1),
            1,
        ));
    }
    let interval = u64::try_from(ringway_model::limits::HEALTH_INTERVAL.as_millis()).unwrap();
    while scenario.checks.next_due().0 <= 4 * interval {
        scenario.step();
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for target in &scenario.probed {
        *counts.entry(target).or_default() += 1;
    }
    assert_eq!(counts.len(), 5_000);
    assert!(counts.values().all(|count| (3..=5).contains(count)), "seed 1");
    assert!((19_000..21_000).contains(&scenario.probed.len()), "seed 1: {}", scenario.probed.len());
}

#[test]
fn a_registered_instance_is_probed_at_once_and_often_until_it_is_healthy() {
    let target = "http://10.0.0.1:1";
    let mut scenario = Scenario::new();
    scenario.now = Tick(1_000);
    scenario.set_result(target, REFUSED);
    scenario.register(&instance("a", target, 1));
    let mut times = Vec::new();
    for _ in 0..7 {
        assert_eq!(scenario.step(), []);
        times.push(scenario.now.0 - 1_000);
    }
    assert_eq!(times, [0, 100, 300, 700, 1_500, 2_500, 3_500], "doubled up to a second");
    assert_eq!(scenario.checks.status("a").unwrap().health, Unknown, "still starting");
    scenario.set_result(target, ProbeResult::Healthy);
    let changes = scenario.step();
    assert_eq!((changes[0].health, scenario.now), (Healthy, Tick(5_500)));
    scenario.step();
    assert!(scenario.now >= Tick(5_500 + 9_000), "from then on at its interval");
}

#[test]
fn a_registered_instance_that_stays_down_is_unhealthy_as_soon_as_any_other() {
    let target = "http://10.0.0.1:1";
    let mut scenario = Scenario::new();
    scenario.set_result(target, REFUSED);
    scenario.register(&instance("a", target, 1));
    let change = loop {
        if let [change] = &scenario.step()[..] {
            break change.clone();
        }
    };
    // Two intervals lie between the first and the third of three failures.
    assert_eq!((change.health, scenario.now.0 / 1_000), (Unhealthy, 20));
    // It is still joining and recovers later.
    scenario.set_result(target, ProbeResult::Healthy);
    assert_eq!(scenario.step(), []);
    let [change] = &scenario.step()[..] else { panic!("two successes") };
    assert_eq!(change.health, Healthy);
    let mut down = Scenario::new();
    down.set_result(target, REFUSED);
    down.register(&instance("a", target, 1));
    while down.now < Tick(0).after(ringway_model::limits::JOINING_TIME) {
        down.step();
    }
    let before = down.now;
    down.step();
    assert!(down.now.since(before) >= Duration::from_secs(9), "no longer joining");
}

#[test]
fn a_registration_hastens_the_check_that_it_shares() {
    let target = "http://10.0.0.1:1";
    let mut scenario = Scenario::new();
    scenario.set_result(target, ProbeResult::Healthy);
    scenario.upsert(&instance("a", target, 1));
    scenario.step();
    let at = scenario.now;
    scenario.register(&instance("b", target, 2));
    let changes = scenario.step();
    assert_eq!(scenario.now, at);
    assert_eq!(changes.iter().map(|change| change.instance.as_str()).collect::<Vec<_>>(), ["b"]);
}
