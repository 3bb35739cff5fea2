//! Trials in the plane: one by one, and over random interleavings with registrations.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ringway_model::{
    Balancer, Change, CoreId, Delta, Desired, EndpointSpec, FailurePolicy, HealthCheck, HostPattern,
    InstanceId, NewVersion, OnAllUnhealthy, OperatorSet, Outcome, Owner, PoolRef, PoolSpec, Replacement,
    Revision, RouteId, RouteSpec, Serial, SetVersion, Target,
};

use super::plane::{Commit, EndedTrial, Step, Ticket, TrialStart};
use super::plane_tests::{AT, CORES, Scene, add_domain, app, failure, register};
use crate::submission::{Refusal, Submission};
use crate::trial::{RevertReason, TrialId};

const BAKE: Duration = Duration::from_secs(15);

/// A set with a pool and a route for `HOST`; its version is the digit.
fn set(owner: Owner, host: &str, version: u8) -> Change {
    let pool = app(&format!("{owner}-pool"));
    let target = Target::parse(&format!("http://10.0.0.{version}:80")).unwrap();
    let endpoint = EndpointSpec {
        id: InstanceId::of_endpoint(&pool, &target),
        target,
        weight: 1,
        health_check: HealthCheck::default(),
    };
    let spec = PoolSpec {
        traffic: Default::default(),
        id: pool.clone(),
        endpoints: vec![endpoint],
        balancer: Balancer::RoundRobin,
        upstream_tls: None,
        failures: FailurePolicy::default(),
        on_all_unhealthy: OnAllUnhealthy::Trickle,
        policy: None,
    };
    let id = RouteId::parse(&format!("{owner}-route")).unwrap();
    let route = RouteSpec::new(id, HostPattern::parse(host).unwrap(), PoolRef::Pool(pool));
    replacement(
        owner,
        OperatorSet { pools: vec![spec], routes: vec![Arc::new(route)], ..OperatorSet::default() },
        version,
    )
}

fn replacement(owner: Owner, set: OperatorSet, version: u8) -> Change {
    let version = NewVersion {
        version: self::version(version),
        by: "test".into(),
        reason: "".into(),
        source: [].into(),
        is_proven: false,
    };
    let set = Arc::new(set);
    Change::ReplaceOwned(Arc::new(Replacement { owner, set, expect: None, version: Some(version) }))
}

fn version(digit: u8) -> SetVersion {
    SetVersion::parse(&format!("{digit:012x}")).unwrap()
}

fn of_file(host: &str, version: u8) -> Change {
    set(Owner::File, host, version)
}

impl Scene {
    fn try_out(&mut self, change: Change) -> Ticket {
        self.submit_all(Submission::on_trial(change, BAKE))
    }

    fn step(&mut self) -> Option<Step> {
        let step = self.plane.poll_step(self.now, AT);
        self.collect();
        step
    }

    fn next_start(&mut self) -> TrialStart {
        match self.step() {
            Some(Step::BeginTrial(start)) => start,
            step => panic!("{step:?}"),
        }
    }

    fn next_end(&mut self) -> EndedTrial {
        match self.step() {
            Some(Step::EndTrial(ended)) => ended,
            step => panic!("{step:?}"),
        }
    }

    fn next_commit(&mut self) -> Commit {
        match self.step() {
            Some(Step::Commit(commit)) => commit,
            step => panic!("{step:?}"),
        }
    }

    fn begun(&mut self) {
        self.serial += 1;
        self.plane.handle_trial_begun(Serial(self.serial), self.now);
        self.collect();
    }

    /// Begins a trial and acknowledges it.
    fn on_trial(change: Change) -> (Self, Ticket) {
        let mut scene = Self::new();
        let ticket = scene.try_out(change);
        scene.next_start();
        scene.begun();
        scene.ack_all();
        (scene, ticket)
    }
}

fn has_route(desired: &Desired) -> bool {
    desired.route("file-route").is_some()
}

#[test]
fn a_trial_is_acknowledged_and_not_stored_before_its_promotion() {
    let mut scene = Scene::new();
    let ticket = scene.try_out(of_file("shop.example", 1));
    let start = scene.next_start();
    assert!(has_route(&start.desired) && start.owner == Owner::File);
    assert!(scene.step().is_none(), "the engine begins it first");
    scene.begun();
    assert!(!scene.has_reply(ticket), "no core has it");
    scene.ack_all();
    let receipt = scene.receipt(ticket).clone();
    assert_eq!((receipt.trial, receipt.revision), (Some(TrialId(0)), Revision(0)));
    assert!(!has_route(scene.plane.desired()) && has_route(scene.plane.on_trial().unwrap()));
    assert!(scene.plane.handle_promotion());
    let commit = scene.next_commit();
    assert!(commit.promotes && has_route(&commit.desired) && commit.on_trial.is_none());
    assert!(!scene.plane.handle_revert(RevertReason::Aborted), "it is being stored");
    scene.stored();
    assert!(has_route(scene.plane.desired()) && scene.plane.on_trial().is_none());
    assert_eq!(scene.plane.desired().version_of(&Owner::File).unwrap().version, version(1));
    assert!(!scene.plane.handle_promotion() && scene.step().is_none());
}

#[test]
fn registrations_are_in_both_and_survive_promotion_and_revert() {
    for promoted in [true, false] {
        let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
        let ticket = scene.submit(register("a"));
        let commit = scene.next_commit();
        assert!(commit.on_trial.as_ref().unwrap().app("a").is_some() && commit.desired.app("a").is_some());
        assert!(!has_route(&commit.desired) && has_route(commit.on_trial.as_ref().unwrap()));
        assert!(scene.plane.on_trial().unwrap().app("a").is_none(), "not before it is stored");
        scene.stored();
        scene.ack_all();
        assert_eq!((scene.receipt(ticket).revision, scene.receipt(ticket).trial), (Revision(1), None));
        assert!(scene.plane.on_trial().unwrap().app("a").is_some());
        if promoted {
            scene.plane.handle_promotion();
            let commit = scene.next_commit();
            assert_eq!(commit.desired.revision(), Revision(2));
            assert!(commit.deltas.iter().all(|delta| !matches!(delta, Delta::Put(put) if put.key() == "a")));
            scene.stored();
        } else {
            assert!(scene.plane.handle_revert(RevertReason::Worse));
            assert_eq!(scene.next_end().reason, RevertReason::Worse);
        }
        assert!(scene.plane.desired().app("a").is_some());
        assert_eq!(has_route(scene.plane.desired()), promoted);
    }
}

#[test]
fn a_registration_that_is_not_stored_is_in_neither() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.submit(register("a"));
    scene.next_commit();
    scene.not_stored();
    assert!(scene.plane.desired().app("a").is_none() && scene.plane.on_trial().unwrap().app("a").is_none());
}

#[test]
fn a_promotion_that_is_not_stored_reverts() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.plane.handle_promotion();
    scene.next_commit();
    scene.not_stored();
    assert!(matches!(scene.next_end().reason, RevertReason::NotStored(_)));
    assert!(!has_route(scene.plane.desired()) && scene.plane.on_trial().is_none());
}

#[test]
fn a_revert_while_a_registration_is_stored_keeps_it() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    let ticket = scene.submit(register("a"));
    scene.next_commit();
    assert!(scene.plane.handle_revert(RevertReason::Panicked));
    assert_eq!(scene.next_end().reason, RevertReason::Panicked);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(ticket).outcome, Outcome::Created);
    assert!(scene.plane.on_trial().is_none() && scene.plane.desired().app("a").is_some());
}

#[test]
fn a_promotion_waits_for_the_registration_that_is_stored() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.submit(register("a"));
    scene.next_commit();
    scene.plane.handle_promotion();
    assert!(scene.step().is_none());
    scene.stored();
    let commit = scene.next_commit();
    assert!(commit.promotes && commit.desired.app("a").is_some());
}

#[test]
fn a_registration_that_contradicts_the_trial_ends_it() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.submit(register("a"));
    let ticket = scene.submit(add_domain("shop.example", "a"));
    let RevertReason::Conflict(why) = scene.next_end().reason else { panic!("no conflict") };
    assert!(why.contains("shop.example"), "{why}");
    let commit = scene.next_commit();
    assert!(commit.on_trial.is_none());
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(ticket).outcome, Outcome::Created);
}

#[test]
fn a_newer_change_of_the_owner_takes_the_place_of_the_trial() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    let next = scene.try_out(of_file("shop.example", 2));
    assert_eq!(scene.next_end().reason, RevertReason::Superseded);
    assert_eq!(scene.next_start().version, Some(version(2)));
    scene.begun();
    scene.ack_all();
    assert_eq!(scene.receipt(next).trial, Some(TrialId(1)));
    // The same version again is the same trial.
    let again = scene.try_out(of_file("shop.example", 2));
    assert!(scene.step().is_none());
    let receipt = scene.receipt(again);
    assert_eq!((receipt.trial, receipt.outcome), (Some(TrialId(1)), Outcome::Unchanged));
    // A rollback needs no trial.
    let rollback = scene.submit(of_file("shop.example", 3));
    assert_eq!(scene.next_end().reason, RevertReason::Superseded);
    assert!(!scene.next_commit().promotes);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(rollback).trial, None);
    assert_eq!(scene.plane.desired().version_of(&Owner::File).unwrap().version, version(3));
}

#[test]
fn a_refused_change_leaves_the_trial_alone() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.submit(register("a"));
    scene.submit(add_domain("a.example", "a"));
    scene.next_commit();
    scene.stored();
    let taken = scene.try_out(of_file("a.example", 2));
    assert!(scene.step().is_none());
    assert!(matches!(scene.refusal(taken), Refusal::Rejected(_)));
    assert!(scene.plane.on_trial().is_some());
}

#[test]
fn another_owner_waits_for_the_end_of_the_trial() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    let refused = scene.try_out(set(Owner::Admin, "other.example", 1));
    assert!(scene.step().is_none());
    let Refusal::OnTrial { owner, trial } = scene.refusal(refused) else { panic!("not refused") };
    assert_eq!((owner, *trial), (&Owner::File, TrialId(0)));
    // Directly, it is a change like a registration.
    scene.submit(set(Owner::Admin, "other.example", 1));
    let commit = scene.next_commit();
    assert!(commit.on_trial.unwrap().route("admin-route").is_some());
}

#[test]
fn a_change_that_affects_no_request_needs_no_trial() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.plane.handle_promotion();
    scene.next_commit();
    scene.stored();
    // Only the entry of the history differs.
    let Change::ReplaceOwned(same) = of_file("shop.example", 1) else { panic!() };
    let entry = NewVersion { version: version(9), ..same.version.clone().unwrap() };
    let renamed = Replacement { version: Some(entry), ..Replacement::clone(&same) };
    let ticket = scene.try_out(Change::ReplaceOwned(Arc::new(renamed)));
    assert!(!scene.next_commit().promotes);
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(ticket).trial, None);
    // Nothing differs.
    let ticket = scene.try_out(of_file("shop.example", 9));
    scene.next_start();
    scene.plane.handle_trial_needless();
    assert!(scene.plane.on_trial().is_none());
    assert!(!scene.next_commit().promotes, "stored like any other");
    scene.stored();
    scene.ack_all();
    assert_eq!(scene.receipt(ticket).trial, None);
}

#[test]
fn no_bake_time_is_no_trial() {
    let mut scene = Scene::new();
    scene.submit_all(Submission::on_trial(of_file("shop.example", 1), Duration::ZERO));
    assert!(!scene.next_commit().promotes);
}

#[test]
fn a_trial_that_does_not_compile_is_refused() {
    let mut scene = Scene::new();
    let ticket = scene.try_out(of_file("shop.example", 1));
    scene.next_start();
    scene.plane.handle_trial_failed(failure(), scene.now);
    scene.collect();
    assert!(matches!(scene.refusal(ticket), Refusal::Storage(_)));
    assert!(scene.plane.on_trial().is_none() && scene.step().is_none());
}

#[test]
fn a_shutdown_ends_the_trial_and_begins_none() {
    let mut scene = Scene::new();
    let waiting = scene.try_out(of_file("shop.example", 1));
    scene.plane.handle_shutdown();
    assert!(scene.step().is_none());
    assert!(matches!(scene.refusal(waiting), Refusal::ShuttingDown));
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.plane.handle_shutdown();
    assert_eq!(scene.next_end().reason, RevertReason::ShuttingDown);
    assert!(scene.plane.is_idle());
}

#[test]
fn a_dead_core_is_named_while_a_trial_runs() {
    let (mut scene, _) = Scene::on_trial(of_file("shop.example", 1));
    scene.plane.handle_dead(CORES[0], scene.now);
    let ticket = scene.submit(register("a"));
    scene.next_commit();
    scene.stored();
    scene.ack(CORES[1]);
    assert_eq!(scene.receipt(ticket).pending, [CoreId(0)]);
}

#[derive(Clone, Debug)]
enum Event {
    Register(u8),
    Domain(u8),
    Try { host: u8, version: u8 },
    Direct { host: u8, version: u8 },
    Step,
    Stored(bool),
    Promote,
    Revert,
    Ack,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..3_u8).prop_map(Event::Register),
        2 => (0..3_u8).prop_map(Event::Domain),
        3 => (0..4_u8, 1..9_u8).prop_map(|(host, version)| Event::Try { host, version }),
        1 => (0..4_u8, 1..9_u8).prop_map(|(host, version)| Event::Direct { host, version }),
        8 => Just(Event::Step),
        6 => prop::bool::weighted(0.8).prop_map(Event::Stored),
        2 => Just(Event::Promote),
        1 => Just(Event::Revert),
        3 => Just(Event::Ack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Every submission gets one reply, the configuration on trial is that on disk with its change, and what
    /// is stored is in force.
    #[test]
    fn trials_and_registrations_do_not_disturb_each_other(events in prop::collection::vec(event(), 1..60)) {
        let mut scene = Scene::new();
        let mut submitted = Vec::new();
        let mut storing: Option<Commit> = None;
        // Records of the trial that has begun.
        let mut own: BTreeMap<(usize, String), bool> = BTreeMap::new();
        let mut starting: Option<TrialStart> = None;
        let host = |host: u8| format!("h{host}.example");
        for event in events {
            match event {
                Event::Register(id) => submitted.push(scene.submit(register(&format!("a{id}")))),
                Event::Domain(at) => {
                    submitted.push(scene.submit(add_domain(&host(at), &format!("a{at}"))));
                }
                Event::Try { host: at, version } => {
                    submitted.push(scene.try_out(of_file(&host(at), version)));
                }
                Event::Direct { host: at, version } => {
                    submitted.push(scene.submit(of_file(&host(at), version)));
                }
                Event::Step if starting.is_some() => {
                    let start = starting.take().unwrap();
                    own = keys(&start.deltas);
                    scene.begun();
                }
                Event::Step => match scene.step() {
                    Some(Step::Commit(commit)) => {
                        prop_assert!(storing.is_none(), "one commit at a time");
                        prop_assert_eq!(commit.desired.revision() > scene.plane.desired().revision(), true);
                        storing = Some(commit);
                    }
                    Some(Step::BeginTrial(start)) => {
                        prop_assert!(storing.is_none() && scene.plane.on_trial().is_none());
                        starting = Some(start);
                    }
                    Some(Step::EndTrial(_)) => own.clear(),
                    None => {}
                },
                Event::Stored(works) => if let Some(commit) = storing.take() {
                    if works {
                        scene.stored();
                        prop_assert_eq!(records(scene.plane.desired()), records(&commit.desired));
                    } else {
                        scene.not_stored();
                    }
                },
                Event::Promote => _ = scene.plane.handle_promotion(),
                Event::Revert => _ = scene.plane.handle_revert(RevertReason::Aborted),
                Event::Ack => scene.ack_all(),
            }
            scene.collect();
            if let Some(on_trial) = scene.plane.on_trial() {
                prop_assert_eq!(on_trial.revision(), scene.plane.desired().revision().next());
                let others = |desired: &Desired| -> Vec<String> {
                    let all = desired.resources();
                    let others = all.filter(|one| !own.contains_key(&(one.kind().index(), one.key().to_owned())));
                    let mut others: Vec<_> = others.map(|one| format!("{one:?}")).collect();
                    others.sort_unstable();
                    others
                };
                prop_assert_eq!(others(on_trial), others(scene.plane.desired()));
                for ((kind, key), is_put) in &own {
                    let kind = ringway_model::Kind::ALL[*kind];
                    prop_assert_eq!(on_trial.contains(kind, key), *is_put);
                }
            }
        }
        // The end: whatever is on trial is promoted, and everything is answered.
        for _ in 0..submitted.len() * 3 + 8 {
            if let Some(start) = starting.take() {
                drop(start);
                scene.begun();
            }
            if storing.take().is_some() {
                scene.stored();
            }
            scene.plane.handle_promotion();
            match scene.step() {
                Some(Step::Commit(commit)) => storing = Some(commit),
                Some(Step::BeginTrial(start)) => starting = Some(start),
                Some(Step::EndTrial(_)) | None => {}
            }
            scene.ack_all();
        }
        prop_assert!(scene.plane.on_trial().is_none());
        prop_assert!(submitted.iter().all(|ticket| scene.has_reply(*ticket)));
        prop_assert!(scene.plane.is_idle());
    }
}

/// Keys of changed records, and whether they were written.
fn keys(deltas: &[Delta]) -> BTreeMap<(usize, String), bool> {
    let key = |delta: &Delta| {
        let (Delta::Put(one) | Delta::Remove(one)) = delta;
        ((one.kind().index(), one.key().to_owned()), matches!(delta, Delta::Put(_)))
    };
    deltas.iter().map(key).collect()
}

fn records(desired: &Desired) -> Vec<String> {
    let mut records: Vec<_> = desired.resources().map(|one| format!("{one:?}")).collect();
    records.sort_unstable();
    records
}
