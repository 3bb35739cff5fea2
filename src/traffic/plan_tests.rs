#![allow(clippy::unwrap_used)]
use std::time::Duration;

use proptest::prelude::*;
use ringway_model::{BrakeMode, Owner, PoolRef, RequestKey, Timestamp};
use ringway_wire::h1::{Limits, Parse};

use super::*;

const STABLE: PoolId = PoolId(1);
const CANARY: PoolId = PoolId(2);
const BETA: PoolId = PoolId(3);

fn percent(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).unwrap()
}

fn app(id: &str) -> AppId {
    AppId::parse(id).unwrap()
}

fn pool(id: &str) -> PoolRef {
    PoolRef::Pool(app(id))
}

fn canary(weight: u16) -> Canary {
    Canary {
        pool: pool("v2"),
        weight: percent(weight),
        steps: Box::default(),
        hash: None,
        cookie: None,
        brake: BrakeMode::On,
    }
}

fn cohorts() -> Cohorts {
    Cohorts {
        header: Some("x-cohort".into()),
        cookie: Some("cohort".into()),
        trusted_only: false,
        mappings: [("beta".into(), pool("beta")), ("next".into(), pool("v2")), ("stable".into(), pool("v1"))]
            .into(),
        brake: false,
    }
}

fn plan(canary: Option<Canary>, cohorts: Option<Cohorts>) -> TrafficPlan {
    compiled(canary, cohorts, None, None)
}

fn compiled(
    canary: Option<Canary>,
    cohorts: Option<Cohorts>,
    stored: Option<&CanaryState>,
    known: Option<&TrafficPlan>,
) -> TrafficPlan {
    let spec = Arc::new(TrafficSpec { canary, cohorts, ..TrafficSpec::default() });
    let source = PlanSource {
        route: "shop",
        stable: (&app("v1"), STABLE),
        spec: &spec,
        stored,
        known,
        cores: 1,
        secret: b"secret",
    };
    TrafficPlan::new(&source, |app| match app.as_str() {
        "v1" => STABLE,
        "v2" => CANARY,
        _ => BETA,
    })
}

struct Sent {
    head: RequestHead,
    buf: Vec<u8>,
    is_trusted: bool,
    draw: u64,
    available: bool,
}

fn sent(fields: &str) -> Sent {
    let buf = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").into_bytes();
    let mut head = RequestHead::default();
    assert_eq!(head.parse(&buf, &Limits::default()).unwrap(), Parse::Complete);
    Sent { head, buf, is_trusted: false, draw: u64::MAX, available: true }
}

impl Sent {
    fn draw(self, draw: u64) -> Self {
        Self { draw, ..self }
    }

    fn choice(&self, plan: &TrafficPlan) -> Choice {
        let request = PlanRequest {
            head: &self.head,
            buf: &self.buf,
            client: IpAddr::from([10, 0, 0, 1]),
            is_trusted: self.is_trusted,
            draw: self.draw,
        };
        plan.choose(&request, |_| self.available)
    }

    fn variant(&self, plan: &TrafficPlan) -> (PoolId, Variant) {
        let choice = self.choice(plan);
        (choice.pool, choice.variant)
    }
}

#[test]
fn cohorts_come_before_hash_cookie_and_weight() {
    let hashed = Canary { hash: Some(RequestKey::Header("x-user".into())), ..canary(10_000) };
    let plan = plan(Some(hashed), Some(cohorts()));
    let variant = |fields: &str| sent(fields).variant(&plan);
    assert_eq!(variant("X-Cohort: beta\r\nCookie: cohort=stable\r\nX-User: 1\r\n"), (BETA, Variant::Cohort));
    assert_eq!(variant("X-Cohort: what\r\nCookie: cohort=stable\r\n"), (STABLE, Variant::Cohort));
    assert_eq!(variant("Cookie: cohort=beta\r\n"), (BETA, Variant::Cohort));
    assert_eq!(variant("X-Cohort: Beta\r\n"), (CANARY, Variant::Canary), "an unknown cohort: by weight");
    assert_eq!(variant(""), (CANARY, Variant::Canary));
}

#[test]
fn trusted_proxies_alone_may_name_a_cohort_where_that_is_set() {
    let plan = plan(Some(canary(0)), Some(Cohorts { trusted_only: true, ..cohorts() }));
    let mut request = sent("X-Cohort: beta\r\nCookie: cohort=beta\r\n");
    assert_eq!(request.variant(&plan), (STABLE, Variant::Stable));
    request.is_trusted = true;
    assert_eq!(request.variant(&plan), (BETA, Variant::Cohort));
}

#[test]
fn a_canary_without_an_endpoint_is_passed_over_and_a_cohort_is_not() {
    let plan = plan(Some(canary(10_000)), Some(cohorts()));
    let mut request = sent("");
    request.available = false;
    let choice = request.choice(&plan);
    assert_eq!((choice.pool, choice.variant, choice.reason), (STABLE, Variant::Stable, Reason::Fallback));
    let mut cohort = sent("X-Cohort: next\r\n");
    cohort.available = false;
    assert_eq!(cohort.variant(&plan), (CANARY, Variant::Cohort));
}

#[test]
fn the_brake_holds_at_once_and_for_cohorts_only_where_that_is_set() {
    let lenient = plan(Some(canary(10_000)), Some(cohorts()));
    let strict = plan(Some(canary(10_000)), Some(Cohorts { brake: true, ..cohorts() }));
    for plan in [&lenient, &strict] {
        assert_eq!(sent("").draw(0).variant(plan), (CANARY, Variant::Canary));
        plan.state.set_position(Position { is_braked: true, ..Position::default() });
        assert_eq!(sent("").draw(0).variant(plan), (STABLE, Variant::Stable));
        assert_eq!(plan.weight(), Percent::ZERO);
        assert_eq!(sent("X-Cohort: beta\r\n").variant(plan), (BETA, Variant::Cohort), "another pool");
    }
    assert_eq!(sent("X-Cohort: next\r\n").variant(&lenient), (CANARY, Variant::Cohort));
    assert_eq!(sent("X-Cohort: next\r\n").variant(&strict), (STABLE, Variant::Stable));
}

#[test]
fn steps_follow_the_first_weight() {
    let step = |weight| CanaryStep { weight: percent(weight), after: Duration::from_secs(60) };
    let stepped = Canary { steps: [step(2_500), step(10_000)].into(), ..canary(1_000) };
    let stepped = plan(Some(stepped), None).canary.unwrap();
    let at = |step| Position { step, ..Position::default() };
    assert_eq!(
        [0, 1, 2, 9].map(|step| stepped.weight_at(at(step)).hundredths()),
        [1_000, 2_500, 10_000, 10_000]
    );
    assert_eq!(stepped.next_step(at(1)), Some(&step(10_000)));
    assert_eq!(stepped.next_step(at(2)), None);
    assert_eq!(stepped.next_step(Position { is_braked: true, ..Position::default() }), None);
}

#[test]
fn a_client_keeps_its_bucket_by_a_cookie_that_was_made_here() {
    let sticky = Canary { cookie: Some("bucket".into()), ..canary(5_000) };
    let foreign = BucketKey::new(b"other", "shop").seal(Bucket::draw(0)).to_string();
    let plan = plan(Some(sticky), None);
    let first = sent("").draw(0).choice(&plan);
    assert_eq!((first.variant, first.new_bucket), (Variant::Canary, Some(Bucket::draw(0))));
    let stable = sent("").choice(&plan);
    assert_eq!((stable.variant, stable.new_bucket), (Variant::Stable, Some(Bucket::draw(u64::MAX))));

    let line = plan.set_cookie(Bucket::draw(0), true).unwrap();
    let (value, attributes) = line.strip_prefix("bucket=").unwrap().split_once(';').unwrap();
    assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax; Secure");
    let again = sent(&format!("Cookie: bucket={value}\r\n")).choice(&plan);
    assert_eq!((again.variant, again.reason), (Variant::Canary, Reason::Cookie(Bucket::draw(0))));
    assert_eq!(again.new_bucket, None);

    for forged in [foreign.as_str(), "0000.00000000000000000000000000000000", "canary", ""] {
        let choice = sent(&format!("Cookie: bucket={forged}\r\n")).choice(&plan);
        assert_eq!((choice.variant, choice.new_bucket.is_some()), (Variant::Stable, true), "{forged}");
    }
}

#[test]
fn a_hash_key_needs_no_cookie_and_its_absence_does() {
    let both = Canary {
        hash: Some(RequestKey::Header("x-user".into())),
        cookie: Some("bucket".into()),
        ..canary(5_000)
    };
    let plan = plan(Some(both), None);
    let known = sent("X-User: ann\r\n").choice(&plan);
    assert!(matches!(known.reason, Reason::Hash(_)) && known.new_bucket.is_none());
    assert!(sent("X-User:\r\n").choice(&plan).new_bucket.is_some());
}

#[test]
fn counts_are_kept_by_variant() {
    use crate::verdict::Verdict;
    let state = PlanState::new(2, Position::default());
    for verdict in [Verdict::Success, Verdict::Failure, Verdict::Neutral] {
        for variant in [Variant::Stable, Variant::Canary, Variant::Cohort] {
            state.count(0, variant, verdict);
        }
    }
    state.count(1, Variant::Canary, Verdict::Failure);
    state.count_fallback(1);
    let totals = state.totals();
    assert_eq!((totals.stable.successes, totals.stable.failures), (1, 1));
    assert_eq!((totals.canary.successes, totals.canary.failures), (1, 2));
    assert_eq!(state.fallbacks(), 1);
}

#[test]
fn a_plan_keeps_its_state_and_another_one_begins_at_its_own() {
    let braked = ringway_model::Braked { at: Timestamp(1), reason: "it failed".into() };
    let first = plan(Some(canary(1_000)), None);
    let stored = CanaryState {
        route: ringway_model::RouteId::parse("shop").unwrap(),
        owner: Owner::Api,
        plan: first.canary.as_ref().unwrap().id,
        braked: Some(braked),
        step: 0,
        stepped_at: Timestamp(0),
        set_weight: None,
    };
    let restarted = compiled(Some(canary(1_000)), None, Some(&stored), None);
    assert!(restarted.state.position().is_braked, "after a restart");
    let with_cookie = Canary { cookie: Some("bucket".into()), ..canary(1_000) };
    let again = compiled(Some(with_cookie), None, None, Some(&restarted));
    assert!(Arc::ptr_eq(&again.state, &restarted.state), "the same pools and weights");
    assert_ne!(again, restarted);
    let other = compiled(Some(canary(2_000)), None, Some(&stored), Some(&restarted));
    assert_eq!(other.state.position(), Position::default());
}

#[test]
fn another_plan_has_another_id() {
    let (stable, spec) = (app("v1"), canary(1_000));
    let id = plan_id(&stable, &spec);
    assert_eq!(id, 9_199_267_921_513_299_366, "the same in every release: it is stored");
    let changed = [
        Canary { weight: percent(1_001), ..spec.clone() },
        Canary { brake: BrakeMode::Off, ..spec.clone() },
        Canary { pool: pool("v3"), ..spec.clone() },
        Canary {
            steps: [CanaryStep { weight: percent(5_000), after: Duration::from_secs(1) }].into(),
            ..spec.clone()
        },
    ];
    for other in changed {
        assert_ne!(plan_id(&stable, &other), id, "{other:?}");
    }
    assert_ne!(plan_id(&app("v2"), &spec), id);
    assert_eq!(plan_id(&stable, &Canary { cookie: Some("bucket".into()), ..spec }), id, "routed alike");
}

proptest! {
    #[test]
    fn raising_a_weight_moves_users_to_the_canary_only(
        user in "[a-z0-9]{1,12}", low in 0_u16..=10_000, high in 0_u16..=10_000,
    ) {
        let (low, high) = (low.min(high), low.max(high));
        let of = |weight| {
            let hashed = Canary { hash: Some(RequestKey::Header("x-user".into())), ..canary(weight) };
            sent(&format!("X-User: {user}\r\n")).choice(&plan(Some(hashed), None)).variant
        };
        prop_assert!(!(of(low) == Variant::Canary && of(high) == Variant::Stable));
        prop_assert_eq!(of(0), Variant::Stable);
        prop_assert_eq!(of(10_000), Variant::Canary);
    }

    #[test]
    fn drawn_buckets_follow_the_weight(weight in 0_u16..=10_000) {
        let plan = plan(Some(canary(weight)), None);
        let request = sent("");
        let draws = (0..1_000_u64).map(|request| request.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let canaries = draws.filter(|draw| {
            let request = PlanRequest {
                head: &request.head, buf: &request.buf, client: IpAddr::from([10, 0, 0, 1]),
                is_trusted: false, draw: *draw,
            };
            plan.choose(&request, |_| true).variant == Variant::Canary
        });
        let difference = canaries.count() as i64 * 10 - i64::from(weight);
        prop_assert!(difference.abs() <= 40, "{difference}");
    }
}
