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
        assert_eq!(decide(&facts), expected, "{facts:?}");
    }
}

#[test]
fn nothing_that_may_have_been_processed_is_sent_twice_unless_idempotent() {
    for facts in all().filter(|facts| facts.method == Method::Other && decide(facts) != Retry::No) {
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
    assert_eq!(decide(&facts(max - 1)), Retry::NextEndpoint);
    assert_eq!(decide(&facts(max)), Retry::No);
    assert_eq!(decide(&facts(u32::MAX)), Retry::No);
}
