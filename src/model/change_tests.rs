#![allow(clippy::unwrap_used)]
use super::*;
use crate::{
    DomainKind, FailurePolicy, HealthCheck, Kind, OnAllUnhealthy, StatusSet, Target, TenantId, TimeoutPolicy,
    limits,
};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_000);

fn app(id: &str) -> AppId {
    AppId::parse(id).unwrap()
}

fn instance(id: &str, of: &str) -> InstanceSpec {
    InstanceSpec {
        id: InstanceId::parse(id).unwrap(),
        app: app(of),
        target: Target::parse("http://10.0.0.5:3001").unwrap(),
        health_check: HealthCheck::default(),
    }
}

fn domain(name: &str, of: &str, tenant: Option<&str>) -> DomainSpec {
    DomainSpec {
        certificate: None,
        client_auth: None,
        name: Hostname::parse(name).unwrap(),
        app: app(of),
        tenant: tenant.map(|t| TenantId::parse(t).unwrap()),
        kind: DomainKind::Custom,
        cname_target: None,
        policy: None,
    }
}

fn register(id: &str, first: &str) -> Change {
    Change::Register { app: AppSpec::new(app(id)), instance: Some(instance(first, id)), domain: None }
}

fn after(changes: &[Change]) -> Desired {
    changes.iter().fold(Desired::default(), |desired, change| desired.apply(change, NOW).unwrap().desired)
}

#[test]
fn registering_makes_app_and_instance_in_one_revision() {
    let applied = Desired::default().apply(&register("a", "a-1"), NOW).unwrap();
    assert_eq!(applied.outcome, Outcome::Created);
    assert_eq!(applied.revision(), Revision(1));
    assert_eq!(applied.deltas.len(), 2);
    assert_eq!(applied.desired.instances_of("a").count(), 1);
    assert_eq!(applied.desired.instance("a-1").unwrap().generation, Generation(1));
}

#[test]
fn policies_of_an_app_stay_until_others_are_given() {
    let failures =
        FailurePolicy { statuses: StatusSet::parse("502-504").unwrap(), timeouts: TimeoutPolicy::Always };
    let spec = |failures, on_all_unhealthy| Change::Register {
        app: AppSpec { failures, on_all_unhealthy, ..AppSpec::new(app("a")) },
        instance: None,
        domain: None,
    };
    let mut desired = Desired::default();
    for (change, outcome, expected) in [
        (spec(None, None), Outcome::Created, (FailurePolicy::default(), OnAllUnhealthy::Reject)),
        (spec(Some(failures), None), Outcome::Updated, (failures, OnAllUnhealthy::Reject)),
        (spec(None, Some(OnAllUnhealthy::Trickle)), Outcome::Updated, (failures, OnAllUnhealthy::Trickle)),
        (spec(None, None), Outcome::Unchanged, (failures, OnAllUnhealthy::Trickle)),
        (
            spec(Some(FailurePolicy::default()), None),
            Outcome::Updated,
            (FailurePolicy::default(), OnAllUnhealthy::Trickle),
        ),
    ] {
        let applied = desired.apply(&change, NOW).unwrap();
        assert_eq!(applied.outcome, outcome, "{change:?}");
        desired = applied.desired;
        let app = desired.app("a").unwrap();
        assert_eq!((app.failures, app.on_all_unhealthy), expected, "{change:?}");
    }
}

#[test]
fn registering_again_is_a_new_generation_that_fences_the_old() {
    let desired = after(&[register("a", "a-1"), register("a", "a-1")]);
    assert_eq!(desired.instance("a-1").unwrap().generation, Generation(2));
    let remove = |generation| Change::RemoveInstance {
        id: InstanceId::parse("a-1").unwrap(),
        generation: Some(Generation(generation)),
    };
    assert!(matches!(
        desired.apply(&remove(1), NOW),
        Err(Rejection::StaleGeneration { current: Generation(2), .. })
    ));
    assert_eq!(desired.apply(&remove(2), NOW).unwrap().outcome, Outcome::Removed);
}

#[test]
fn a_drain_keeps_the_generation_and_its_earlier_end() {
    let drain = |generation: Option<u64>, until| Change::DrainInstance {
        id: InstanceId::parse("a-1").unwrap(),
        generation: generation.map(Generation),
        until: Timestamp(until),
    };
    let desired = after(&[register("a", "a-1"), drain(Some(1), 9_000)]);
    let instance = desired.instance("a-1").unwrap();
    assert_eq!((instance.generation, instance.draining), (Generation(1), Some(Timestamp(9_000))));
    let later = desired.apply(&drain(None, 9_001), NOW).unwrap();
    assert_eq!(later.outcome, Outcome::Unchanged);
    let earlier = desired.apply(&drain(None, 8_999), NOW).unwrap();
    assert_eq!(earlier.outcome, Outcome::Updated);
    assert_eq!(earlier.desired.instance("a-1").unwrap().draining, Some(Timestamp(8_999)));
    assert!(matches!(desired.apply(&drain(Some(7), 1), NOW), Err(Rejection::StaleGeneration { .. })));
    let again = desired.apply(&register("a", "a-1"), NOW).unwrap().desired;
    assert_eq!(again.instance("a-1").unwrap().draining, None, "a new registration ends the drain");
    assert!(matches!(after(&[]).apply(&drain(None, 1), NOW), Err(Rejection::UnknownInstance(_))));
}

#[test]
fn an_instance_id_cannot_move_to_another_app() {
    let desired = after(&[register("a", "x"), register("b", "b-1")]);
    assert_eq!(
        desired.apply(&Change::AddInstance(instance("x", "b")), NOW).unwrap_err(),
        Rejection::InstanceOfOtherApp(InstanceId::parse("x").unwrap(), app("a"))
    );
}

#[test]
fn the_same_domain_again_is_unchanged_and_a_different_one_is_refused() {
    let desired = after(&[register("a", "a-1"), Change::AddDomain(domain("d.example", "a", Some("t")))]);
    let again = desired.apply(&Change::AddDomain(domain("d.example", "a", Some("t"))), NOW).unwrap();
    assert_eq!((again.outcome, again.revision()), (Outcome::Unchanged, desired.revision()));
    let other = desired.apply(&Change::AddDomain(domain("d.example", "a", Some("u"))), NOW);
    assert!(matches!(other, Err(Rejection::DomainTaken(..))));
}

#[test]
fn updating_moves_a_domain_between_apps() {
    let desired = after(&[
        register("a", "a-1"),
        register("b", "b-1"),
        Change::AddDomain(domain("d.example", "a", Some("t"))),
        Change::UpdateDomain(DomainUpdate {
            app: Some(app("b")),
            tenant: Patch::Clear,
            ..DomainUpdate::new(Hostname::parse("d.example").unwrap())
        }),
    ]);
    assert_eq!(desired.domain_count_of("a"), 0);
    assert_eq!(desired.domains_of("b").count(), 1);
    assert_eq!(desired.domain("d.example").unwrap().tenant, None);
}

#[test]
fn an_app_goes_only_when_no_domain_needs_it() {
    let desired = after(&[register("a", "a-1"), Change::AddDomain(domain("d.example", "a", None))]);
    let remove = Change::RemoveApp { id: app("a") };
    assert_eq!(desired.apply(&remove, NOW).unwrap_err(), Rejection::AppHasDomains(app("a"), 1));
    let name = Hostname::parse("d.example").unwrap();
    let desired = desired.apply(&Change::RemoveDomain { name }, NOW).unwrap().desired;
    let gone = desired.apply(&remove, NOW).unwrap();
    assert_eq!(gone.deltas.len(), 2);
    assert_eq!(Kind::ALL.map(|kind| gone.desired.count(kind)), [0; Kind::COUNT]);
}

#[test]
fn instances_of_one_app_are_bounded() {
    let mut desired = after(&[register("a", "a-0")]);
    for i in 1..limits::INSTANCES_PER_APP_MAX {
        desired = desired.apply(&Change::AddInstance(instance(&format!("a-{i}"), "a")), NOW).unwrap().desired;
    }
    let one_more = desired.apply(&Change::AddInstance(instance("one-more", "a")), NOW);
    assert!(matches!(one_more, Err(Rejection::Full { max: limits::INSTANCES_PER_APP_MAX, .. })));
}

fn any_change() -> impl Strategy<Value = Change> {
    let (a, i, d) = ("[ab]", "[ijk]", "[xyz]\\.example");
    prop_oneof![
        (a, i).prop_map(|(a, i)| register(&a, &i)),
        (i, a).prop_map(|(i, a)| Change::AddInstance(instance(&i, &a))),
        (i, 0..9u64).prop_map(|(i, g)| Change::RemoveInstance {
            id: InstanceId::parse(&i).unwrap(),
            generation: (g > 4).then_some(Generation(g)),
        }),
        (i, 0..9u64).prop_map(|(i, until)| Change::DrainInstance {
            id: InstanceId::parse(&i).unwrap(),
            generation: None,
            until: Timestamp(until),
        }),
        a.prop_map(|a| Change::RemoveApp { id: app(&a) }),
        (d, a).prop_map(|(d, a)| Change::AddDomain(domain(&d, &a, None))),
        (d, a).prop_map(|(d, a)| Change::UpdateDomain(DomainUpdate {
            app: Some(app(&a)),
            kind: Some(DomainKind::Subdomain),
            ..DomainUpdate::new(Hostname::parse(&d).unwrap())
        })),
        d.prop_map(|d| Change::RemoveDomain { name: Hostname::parse(&d).unwrap() }),
    ]
}

/// Everything about a configuration that its indexes must agree on, in comparable form.
fn contents(desired: &Desired) -> (Vec<String>, Vec<String>, Vec<String>) {
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    (
        sorted(desired.apps().map(|a| format!("{a:?}")).collect()),
        sorted(desired.instances().map(|i| format!("{i:?}")).collect()),
        sorted(desired.domains().map(|d| format!("{d:?}")).collect()),
    )
}

proptest! {
    #[test]
    fn any_history_keeps_the_indexes_true(changes in proptest::collection::vec(any_change(), 1..60)) {
        let mut desired = Desired::default();
        for change in &changes {
            let before = contents(&desired);
            match desired.apply(change, NOW) {
                Ok(applied) => {
                    let spent = applied.outcome != Outcome::Unchanged;
                    prop_assert_eq!(applied.revision().0, desired.revision().0 + u64::from(spent));
                    prop_assert_eq!(applied.deltas.is_empty(), !spent);
                    prop_assert_eq!(contents(&desired), before, "apply must not touch its input");
                    desired = applied.desired;
                }
                Err(_) => prop_assert_eq!(contents(&desired), before),
            }
            let by_app: usize = desired.apps().map(|a| desired.instances_of(a.id.as_str()).count()).sum();
            prop_assert_eq!(by_app, desired.count(Kind::Instance));
            let by_app: usize = desired.apps().map(|a| desired.domains_of(a.id.as_str()).count()).sum();
            prop_assert_eq!(by_app, desired.count(Kind::Domain));
            prop_assert!(desired.instances().all(|i| desired.instances_of(i.app.as_str()).any(|o| o.id == i.id)));
            prop_assert!(desired.domains().all(|d| desired.domains_of(d.app.as_str()).any(|o| o.name == d.name)));
        }
        let (copy, orphans) = Desired::restore(desired.revision(), desired.resources());
        prop_assert_eq!(contents(&copy), contents(&desired));
        prop_assert!(orphans.is_empty());
    }
}
