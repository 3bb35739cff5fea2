//! Tests of the state of lookups.
#![allow(clippy::unwrap_used)]

use super::*;

const CORE: CoreId = CoreId(0);

fn name(text: &str) -> Arc<str> {
    text.into()
}

fn found(seconds: u64) -> Found {
    Ok(([IpAddr::from([192, 0, 2, 1])].into(), Duration::from_secs(seconds)))
}

#[test]
fn one_lookup_serves_all_that_wait_and_is_kept_for_its_ttl() {
    let (mut lookups, now) = (Lookups::default(), Tick::default());
    let a = name("a.example");
    assert_eq!(lookups.want(CORE, &a, now), Step::Wait);
    assert_eq!(lookups.want(CoreId(1), &a, now), Step::Wait);
    assert_eq!(lookups.begin(), Some(a.clone()));
    assert_eq!(lookups.want(CORE, &a, now), Step::Wait, "in flight");
    assert_eq!(lookups.begin(), None);
    let (resolved, cores) = lookups.handle_found(&a, found(60), now);
    assert_eq!((cores, resolved.ttl), (vec![CORE, CoreId(1)], Duration::from_secs(60)));
    let later = now.after(Duration::from_secs(20));
    let Step::Answer(kept) = lookups.want(CORE, &a, later) else { unreachable!("kept") };
    assert_eq!((kept.ttl, kept.addresses), (Duration::from_secs(40), resolved.addresses));
    assert_eq!(lookups.want(CORE, &a, now.after(Duration::from_secs(60))), Step::Wait, "asked again");
}

#[test]
fn ttls_are_clamped_and_failures_are_kept_shortly() {
    let (mut lookups, now) = (Lookups::default(), Tick::default());
    for (result, ttl) in [
        (found(0), limits::NAME_TTL_MIN),
        (found(1_000_000), limits::NAME_TTL_MAX),
        (Err(NameError::Failed), limits::NAME_FAILURE_TTL),
    ] {
        let name = name(&format!("{ttl:?}{}", result.is_ok()));
        assert_eq!(lookups.want(CORE, &name, now), Step::Wait);
        assert!(lookups.begin().is_some());
        assert_eq!(lookups.handle_found(&name, result, now).0.ttl, ttl);
    }
}

#[test]
fn lookups_in_flight_and_queued_are_bounded() {
    let (mut lookups, now) = (Lookups::default(), Tick::default());
    let all = limits::LOOKUPS_IN_FLIGHT_MAX + limits::LOOKUPS_QUEUED_MAX;
    for number in 0..all {
        assert_eq!(lookups.want(CORE, &name(&format!("n{number}")), now), Step::Wait);
        lookups.begin();
    }
    let Step::Answer(refused) = lookups.want(CORE, &name("more"), now) else {
        unreachable!("the queue is full")
    };
    assert_eq!(refused.addresses, Err(NameError::Full));
    assert_eq!(lookups.begin(), None);
    lookups.handle_found(&name("n0"), Err(NameError::TimedOut), now);
    assert!(lookups.begin().is_some());
    assert_eq!(lookups.want(CORE, &name("more"), now), Step::Wait, "a refusal is not kept");
}

#[test]
fn kept_results_are_bounded() {
    let (mut lookups, now) = (Lookups::default(), Tick::default());
    for number in 0..KEPT_MAX + 10 {
        let name = name(&format!("n{number}"));
        lookups.want(CORE, &name, now);
        lookups.begin();
        lookups.handle_found(&name, found(100), now);
    }
    assert!(lookups.names.len() <= KEPT_MAX);
}
