use std::num::NonZeroU8;

use proptest::prelude::*;
use ringway_model::{Percent, StatusSet};

use super::*;

const FAILED: [Failed; 14] = [
    Failed::Connect,
    Failed::PooledUnsent,
    Failed::Refused,
    Failed::PooledEnded,
    Failed::NewUnsent,
    Failed::Ended,
    Failed::OwnShortage,
    Failed::TryTimeout,
    Failed::HeadTimeout,
    Failed::BadResponse,
    Failed::Status(503),
    Failed::Status(500),
    Failed::Answered,
    Failed::Client,
];
const MAX: u32 = limits::ATTEMPTS_MAX as u32;
const NOW_US: u64 = 1_000_000;

fn all() -> impl Iterator<Item = FailedAttempt> {
    (1..=MAX + 1).flat_map(|attempts| {
        FAILED.into_iter().flat_map(move |failed| {
            [Body::Whole, Body::Consumed].into_iter().flat_map(move |body| {
                [Method::Idempotent, Method::Other].map(|method| FailedAttempt {
                    attempts,
                    replays: 0,
                    failed,
                    body,
                    method,
                })
            })
        })
    })
}

fn failed(failed: Failed) -> FailedAttempt {
    FailedAttempt { attempts: 1, replays: 0, failed, body: Body::Whole, method: Method::Idempotent }
}

fn after(attempt: &FailedAttempt) -> Retry {
    decide(attempt, &Policy::default(), None)
}

fn retries() -> Retries {
    Retries {
        attempts_max: NonZeroU8::new(3).unwrap(),
        budget: Percent::whole(10),
        budget_floor: 3,
        idempotent_only: true,
        statuses: StatusSet::parse("502-504").unwrap(),
        idempotency_key: None,
        backoff_min: Duration::from_millis(25),
        backoff_max: Duration::from_millis(250),
    }
}

/// Decides with a full budget and half a minute left.
fn with(retries: &Retries, attempt: &FailedAttempt) -> Retry {
    decide(attempt, &Policy::default(), Some(&allowance(retries, &RetryBudget::new(1))))
}

fn allowance<'a>(retries: &'a Retries, budget: &'a RetryBudget) -> Allowance<'a> {
    let left = Duration::from_secs(30);
    Allowance { retries, budget, left, retry_after: None, now_us: NOW_US, draw: 0 }
}

const NEXT: Retry = Retry::NextEndpoint(Duration::ZERO);
const LATER: Retry = Retry::NextEndpoint(Duration::from_millis(25));

#[test]
fn without_a_policy_every_combination_is_decided_by_the_table() {
    // All combinations with a retry.
    let table = [
        (Failed::Connect, Method::Idempotent, NEXT),
        (Failed::Connect, Method::Other, NEXT),
        (Failed::PooledUnsent, Method::Idempotent, Retry::SameEndpoint),
        (Failed::PooledUnsent, Method::Other, Retry::SameEndpoint),
        (Failed::Refused, Method::Idempotent, Retry::SameEndpoint),
        (Failed::Refused, Method::Other, Retry::SameEndpoint),
        (Failed::PooledEnded, Method::Idempotent, Retry::SameEndpoint),
        (Failed::TryTimeout, Method::Idempotent, NEXT),
    ];
    for attempt in all() {
        let row =
            table.iter().find(|(failed, method, _)| (*failed, *method) == (attempt.failed, attempt.method));
        let expected = match row {
            Some((_, _, retry)) if attempt.attempts < MAX && attempt.body == Body::Whole => *retry,
            _ => Retry::No(None),
        };
        assert_eq!(after(&attempt), expected, "{attempt:?}");
    }
}

#[test]
fn with_a_policy_every_combination_is_decided_by_the_table() {
    let table = [
        (Failed::Connect, Method::Idempotent, NEXT),
        (Failed::Connect, Method::Other, NEXT),
        (Failed::NewUnsent, Method::Idempotent, NEXT),
        (Failed::NewUnsent, Method::Other, NEXT),
        (Failed::PooledUnsent, Method::Idempotent, Retry::SameEndpoint),
        (Failed::PooledUnsent, Method::Other, Retry::SameEndpoint),
        (Failed::Refused, Method::Idempotent, Retry::SameEndpoint),
        (Failed::Refused, Method::Other, Retry::SameEndpoint),
        (Failed::PooledEnded, Method::Idempotent, Retry::SameEndpoint),
        (Failed::Ended, Method::Idempotent, LATER),
        (Failed::TryTimeout, Method::Idempotent, LATER),
        (Failed::Status(503), Method::Idempotent, LATER),
    ];
    for attempt in all() {
        let row =
            table.iter().find(|(failed, method, _)| (*failed, *method) == (attempt.failed, attempt.method));
        let expected = match (row, attempt.body) {
            (None, _) => Retry::No(None),
            (Some(_), Body::Consumed) => Retry::No(Some(Stopped::Body)),
            (Some((_, _, Retry::SameEndpoint)), _) if attempt.attempts < MAX => Retry::SameEndpoint,
            (Some((_, _, retry)), _) if attempt.attempts < 3 => *retry,
            (Some(_), _) => Retry::No(Some(Stopped::Exhausted)),
        };
        assert_eq!(with(&retries(), &attempt), expected, "{attempt:?}");
    }
}

#[test]
fn a_request_that_may_have_been_processed_is_retried_only_if_idempotent() {
    for attempt in all().filter(|attempt| attempt.method == Method::Other) {
        for retry in [after(&attempt), with(&retries(), &attempt)] {
            let may_be = matches!(
                attempt.failed,
                Failed::Connect | Failed::PooledUnsent | Failed::NewUnsent | Failed::Refused
            );
            assert!(may_be || matches!(retry, Retry::No(None)), "{attempt:?}: {retry:?}");
        }
    }
}

#[test]
fn a_policy_can_lower_the_attempts_but_not_raise_them() {
    let connect = |attempts| FailedAttempt { attempts, ..failed(Failed::Connect) };
    let decide = |attempts, max| {
        let attempts_max = NonZeroU8::new(max).unwrap();
        let policy = Policy { attempts_max, ..Policy::default() };
        let plain = super::decide(&connect(attempts), &policy, None);
        let configured = with(&Retries { attempts_max, ..retries() }, &connect(attempts));
        assert_eq!(plain == NEXT, configured == NEXT);
        configured
    };
    let exhausted = Retry::No(Some(Stopped::Exhausted));
    assert_eq!(decide(1, 1), exhausted);
    assert_eq!((decide(1, 2), decide(2, 2)), (NEXT, exhausted));
    assert_eq!((decide(MAX - 1, u8::MAX), decide(MAX, u8::MAX)), (NEXT, exhausted));
    assert_eq!(decide(u32::MAX, u8::MAX), exhausted);
}

#[test]
fn replays_count_neither_as_attempts_of_a_policy_nor_for_its_budget() {
    let retries = Retries { attempts_max: NonZeroU8::new(2).unwrap(), budget_floor: 0, ..retries() };
    for replay in [Failed::PooledUnsent, Failed::Refused, Failed::PooledEnded] {
        assert_eq!(with(&retries, &failed(replay)), Retry::SameEndpoint, "{replay:?}");
    }
    let retries = Retries { budget_floor: 1, ..retries };
    let replayed = FailedAttempt { attempts: 2, replays: 1, ..failed(Failed::Status(503)) };
    assert_eq!(with(&retries, &replayed), LATER);
    let all_replayed = FailedAttempt { attempts: MAX, replays: MAX - 1, ..failed(Failed::Status(503)) };
    assert_eq!(with(&retries, &all_replayed), Retry::No(Some(Stopped::Exhausted)));
}

#[test]
fn a_retry_is_withdrawn_from_the_budget_and_none_follows_an_exhausted_one() {
    let (retries, budget) = (retries(), RetryBudget::new(1));
    let attempt = failed(Failed::Status(502));
    let decide =
        |attempt: &FailedAttempt| decide(attempt, &Policy::default(), Some(&allowance(&retries, &budget)));
    for _ in 0..30 {
        assert_eq!(decide(&attempt), LATER);
    }
    assert_eq!(decide(&attempt), Retry::No(Some(Stopped::Budget)));
    // A refused retry withdraws nothing, and has its own reason.
    assert_eq!(decide(&FailedAttempt { attempts: 3, ..attempt }), Retry::No(Some(Stopped::Exhausted)));
    assert_eq!(decide(&FailedAttempt { body: Body::Consumed, ..attempt }), Retry::No(Some(Stopped::Body)));
    assert_eq!(decide(&failed(Failed::PooledEnded)), Retry::SameEndpoint);
}

#[test]
fn no_retry_begins_after_its_deadline_or_before_its_endpoint_wants_it() {
    let (retries, budget) = (retries(), RetryBudget::new(1));
    let decide = |left, retry_after: Option<u64>| {
        let allowance = Allowance {
            left: Duration::from_millis(left),
            retry_after: retry_after.map(Duration::from_millis),
            ..allowance(&retries, &budget)
        };
        super::decide(&failed(Failed::Status(503)), &Policy::default(), Some(&allowance))
    };
    let exhausted = Retry::No(Some(Stopped::Exhausted));
    assert_eq!((decide(25, None), decide(26, None)), (exhausted, LATER));
    assert_eq!((decide(1_000, Some(1_000)), decide(1_001, Some(1_000))), (exhausted, LATER));
    assert_eq!(decide(0, None), exhausted);
}

proptest! {
    #[test]
    fn a_pause_is_between_its_limits_and_grows_with_the_attempts(
        min in 0..500_u64, max in 0..2_000_u64, attempts in 1..40_u32, draw: u64,
    ) {
        let millis = Duration::from_millis;
        let retries = Retries { backoff_min: millis(min), backoff_max: millis(max), ..retries() };
        let budget = RetryBudget::new(1);
        let pause = Allowance { draw, ..allowance(&retries, &budget) }.pause(attempts);
        prop_assert!(pause >= millis(min));
        prop_assert!(pause <= millis(max.max(min)));
        prop_assert!(attempts > 5 || pause <= millis(min << attempts), "{pause:?}");
    }
}
