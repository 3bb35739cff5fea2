use std::num::NonZeroU8;

use super::*;

const FAILED: [Failed; 10] = [
    Failed::Connect,
    Failed::PooledUnsent,
    Failed::Refused,
    Failed::PooledEnded,
    Failed::NewEnded,
    Failed::TryTimeout,
    Failed::HeadTimeout,
    Failed::BadResponse,
    Failed::Answered,
    Failed::Client,
];

fn all() -> impl Iterator<Item = FailedAttempt> {
    let attempts = 1..=ringway_model::limits::ATTEMPTS_MAX as u32 + 1;
    attempts.flat_map(|attempts| {
        FAILED.into_iter().flat_map(move |failed| {
            [Body::Whole, Body::Consumed].into_iter().flat_map(move |body| {
                [Method::Idempotent, Method::Other].map(|method| FailedAttempt {
                    attempts,
                    failed,
                    body,
                    method,
                })
            })
        })
    })
}

fn after(failure: &FailedAttempt) -> Retry {
    decide(failure, &Policy::default(), &Budget::Unlimited)
}

#[test]
fn every_combination_is_decided_by_the_table() {
    // All combinations with a retry.
    let table = [
        (Failed::Connect, Method::Idempotent, Retry::NextEndpoint),
        (Failed::Connect, Method::Other, Retry::NextEndpoint),
        (Failed::PooledUnsent, Method::Idempotent, Retry::SameEndpoint),
        (Failed::PooledUnsent, Method::Other, Retry::SameEndpoint),
        (Failed::Refused, Method::Idempotent, Retry::SameEndpoint),
        (Failed::Refused, Method::Other, Retry::SameEndpoint),
        (Failed::PooledEnded, Method::Idempotent, Retry::SameEndpoint),
        (Failed::TryTimeout, Method::Idempotent, Retry::NextEndpoint),
    ];
    for failure in all() {
        let in_bounds = failure.attempts < ringway_model::limits::ATTEMPTS_MAX as u32;
        let row =
            table.iter().find(|(failed, method, _)| (*failed, *method) == (failure.failed, failure.method));
        let expected = match row {
            Some((_, _, retry)) if in_bounds && failure.body == Body::Whole => *retry,
            _ => Retry::No,
        };
        assert_eq!(after(&failure), expected, "{failure:?}");
    }
}

#[test]
fn a_request_that_may_have_been_processed_is_retried_only_if_idempotent() {
    for failure in all().filter(|failure| failure.method == Method::Other && after(failure) != Retry::No) {
        assert!(
            matches!(failure.failed, Failed::Connect | Failed::PooledUnsent | Failed::Refused),
            "{failure:?}"
        );
    }
}

#[test]
fn attempts_are_bounded() {
    let failure = |attempts| FailedAttempt {
        attempts,
        failed: Failed::Connect,
        body: Body::Whole,
        method: Method::Idempotent,
    };
    let max = ringway_model::limits::ATTEMPTS_MAX as u32;
    assert_eq!(after(&failure(max - 1)), Retry::NextEndpoint);
    assert_eq!(after(&failure(max)), Retry::No);
    assert_eq!(after(&failure(u32::MAX)), Retry::No);
}

#[test]
fn a_policy_can_lower_the_attempts_but_not_raise_them() {
    let failure = |attempts| FailedAttempt {
        attempts,
        failed: Failed::Connect,
        body: Body::Whole,
        method: Method::Other,
    };
    let decide = |attempts, max| {
        let policy = Policy { attempts_max: NonZeroU8::new(max).unwrap(), ..Policy::default() };
        decide(&failure(attempts), &policy, &Budget::Unlimited)
    };
    assert_eq!(decide(1, 1), Retry::No);
    assert_eq!((decide(1, 2), decide(2, 2)), (Retry::NextEndpoint, Retry::No));
    let max = ringway_model::limits::ATTEMPTS_MAX as u32;
    assert_eq!((decide(max - 1, u8::MAX), decide(max, u8::MAX)), (Retry::NextEndpoint, Retry::No));
}
