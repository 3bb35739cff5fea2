use std::num::NonZeroU8;

use super::*;

const FAILED: [Failed; 9] = [
    Failed::Connect,
    Failed::PooledUnsent,
    Failed::Refused,
    Failed::PooledEnded,
    Failed::NewEnded,
    Failed::HeadTimeout,
    Failed::BadResponse,
    Failed::Answered,
    Failed::Client,
];

fn all() -> impl Iterator<Item = Facts> {
    let attempts = 1..=ringway_model::limits::ATTEMPTS_MAX as u32 + 1;
    attempts.flat_map(|attempts| {
        FAILED.into_iter().flat_map(move |failed| {
            [Body::Whole, Body::Consumed].into_iter().flat_map(move |body| {
                [Method::Idempotent, Method::Other].map(|method| Facts { attempts, failed, body, method })
            })
        })
    })
}

fn after(facts: &Facts) -> Retry {
    decide(facts, &Policy::default(), &Budget::Unlimited)
}

#[test]
fn every_combination_is_decided_as_the_table_says() {
    // All that is followed by something; everything else is not.
    let table = [
        (Failed::Connect, Method::Idempotent, Retry::NextEndpoint),
        (Failed::Connect, Method::Other, Retry::NextEndpoint),
        (Failed::PooledUnsent, Method::Idempotent, Retry::SameEndpoint),
        (Failed::PooledUnsent, Method::Other, Retry::SameEndpoint),
        (Failed::Refused, Method::Idempotent, Retry::SameEndpoint),
        (Failed::Refused, Method::Other, Retry::SameEndpoint),
        (Failed::PooledEnded, Method::Idempotent, Retry::SameEndpoint),
    ];
    for facts in all() {
        let in_bounds = facts.attempts < ringway_model::limits::ATTEMPTS_MAX as u32;
        let row = table.iter().find(|(failed, method, _)| (*failed, *method) == (facts.failed, facts.method));
        let expected = match row {
            Some((_, _, retry)) if in_bounds && facts.body == Body::Whole => *retry,
            _ => Retry::No,
        };
        assert_eq!(after(&facts), expected, "{facts:?}");
    }
}

#[test]
fn nothing_that_may_have_been_processed_is_sent_twice_unless_idempotent() {
    for facts in all().filter(|facts| facts.method == Method::Other && after(facts) != Retry::No) {
        assert!(
            matches!(facts.failed, Failed::Connect | Failed::PooledUnsent | Failed::Refused),
            "{facts:?}"
        );
    }
}

#[test]
fn attempts_are_bounded() {
    let facts =
        |attempts| Facts { attempts, failed: Failed::Connect, body: Body::Whole, method: Method::Idempotent };
    let max = ringway_model::limits::ATTEMPTS_MAX as u32;
    assert_eq!(after(&facts(max - 1)), Retry::NextEndpoint);
    assert_eq!(after(&facts(max)), Retry::No);
    assert_eq!(after(&facts(u32::MAX)), Retry::No);
}

#[test]
fn a_policy_lowers_the_attempts_and_cannot_raise_them() {
    let facts =
        |attempts| Facts { attempts, failed: Failed::Connect, body: Body::Whole, method: Method::Other };
    let decide = |attempts, max| {
        let policy = Policy { attempts_max: NonZeroU8::new(max).unwrap(), ..Policy::default() };
        decide(&facts(attempts), &policy, &Budget::Unlimited)
    };
    assert_eq!(decide(1, 1), Retry::No);
    assert_eq!((decide(1, 2), decide(2, 2)), (Retry::NextEndpoint, Retry::No));
    let max = ringway_model::limits::ATTEMPTS_MAX as u32;
    assert_eq!((decide(max - 1, u8::MAX), decide(max, u8::MAX)), (Retry::NextEndpoint, Retry::No));
}
