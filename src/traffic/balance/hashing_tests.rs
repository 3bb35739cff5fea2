use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use ringway_model::{CoreId, Health, Tick};

use super::*;
use crate::balance::Cursors;
use crate::balance::tests::{NOW, counts, endpoint, pool, weighted};
use crate::snapshot::EndpointId;

fn hashed(pool: Pool, slow_start: Option<Duration>) -> Pool {
    let algorithm = Algorithm::Hash(Default::default());
    let selection = Selection::new(algorithm, slow_start, None);
    Pool { selection: Some(Arc::new(selection)), ..pool }
}

fn of(pool: &Pool, key: u64, now: Tick) -> EndpointId {
    let picked = by_key(pool, key, &TriedSet::default(), Candidate::Ready, now).expect("one is available");
    picked.endpoint.id
}

#[test]
fn keys_spread_by_weight() {
    for (pool, due) in [
        (hashed(pool(1, 4), None), vec![25, 25, 25, 25]),
        (hashed(weighted(&[5, 3, 0, 2]), None), vec![50, 30, 0, 20]),
        (hashed(weighted(&[10, 5, 5, 5, 5, 5, 5, 5, 5]), None), vec![20, 10, 10, 10, 10, 10, 10, 10, 10]),
    ] {
        let counts = counts((0..20_000).map(|key| of(&pool, key, NOW)));
        for (number, percent) in due.into_iter().enumerate() {
            let count = counts.get(&EndpointId(number as u64 + 1)).copied().unwrap_or(0);
            assert!(count.abs_diff(percent * 200) <= 400, "{counts:?}");
        }
    }
}

#[test]
fn a_missing_key_gets_the_next_in_turn() {
    let pool = hashed(pool(1, 3), None);
    let mut cursors = Cursors::new(CoreId(0));
    let none = TriedSet::default();
    let picks = (0..6).map(|_| cursors.pick(&pool, &none, Candidate::Ready, NOW).unwrap().endpoint.id.0);
    assert_eq!(picks.collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
}

proptest! {
    /// Small pools without a table and larger ones with it: one that leaves moves its own keys only, and one
    /// that is not available too.
    #[test]
    fn an_endpoint_that_leaves_moves_only_its_keys(
        count in 2..40_usize, gone in any::<prop::sample::Index>(), keys in prop::collection::vec(any::<u64>(), 1..50),
        weights in prop::option::of(prop::collection::vec(1..20_u16, 40))
    ) {
        let make = |numbers: &[usize]| {
            let mut pool = match &weights {
                None => pool(1, 0),
                Some(weights) => weighted(&numbers.iter().map(|number| weights[*number]).collect::<Vec<_>>()),
            };
            let weight = |number: usize| weights.as_ref().map_or(1, |weights| weights[number]);
            let endpoints = numbers.iter().map(|number| Endpoint { weight: weight(*number), ..endpoint(*number) });
            pool.endpoints = endpoints.collect();
            hashed(pool, None)
        };
        let all: Vec<usize> = (0..count).collect();
        let gone = gone.index(count);
        let left: Vec<usize> = all.iter().copied().filter(|number| *number != gone).collect();
        let (whole, rest) = (make(&all), make(&left));
        let gone = EndpointId(gone as u64 + 1);
        for key in keys {
            let before = of(&whole, key, NOW);
            // Weighted and equal scores differ; both pools have the same kind unless weights happen to be
            // alike.
            if matches!(whole.shares, Shares::Equal) == matches!(rest.shares, Shares::Equal) && before != gone {
                prop_assert_eq!(of(&rest, key, NOW), before);
            }
            let state = &whole.endpoints[gone.0 as usize - 1].state;
            state.set_health(Health::Unhealthy);
            let without = of(&whole, key, NOW);
            prop_assert_eq!(without == before, before != gone);
            state.set_health(Health::Unknown);
            prop_assert_eq!(of(&whole, key, NOW), before);
        }
    }
}

#[test]
fn a_table_has_what_the_scores_say() {
    let pool = hashed(pool(1, 100), None);
    for key in 0..5_000 {
        let slot = Slot::of_key(key);
        let scored = winner(&pool, slot.hash(), |_| true).expect("there are endpoints");
        for _ in 0..2 {
            assert_eq!(of(&pool, key, NOW), pool.endpoints[scored].id);
        }
    }
}

#[test]
fn a_key_moves_once_in_a_slow_start() {
    let duration = Duration::from_secs(10);
    let pool = hashed(pool(1, 12), Some(duration));
    let of_all = |now: Tick| (0..2_000).map(|key| of(&pool, key, now)).collect::<Vec<_>>();
    // All begin together.
    let rising = of_all(Tick(0));
    let whole = of_all(Tick(20_000));
    let mine = EndpointId(5);
    let due = whole.iter().filter(|id| **id == mine).count();
    pool.endpoints[4].state.set_health(Health::Unhealthy);
    let without = of_all(Tick(21_000));
    pool.endpoints[4].state.set_health(Health::Healthy);
    let mut moved: HashSet<usize> = HashSet::new();
    for (percent, now) in [(10, 30_000), (55, 35_000), (100, 40_000)] {
        let now = of_all(Tick(now));
        let back: HashSet<usize> = (0..now.len()).filter(|key| now[*key] == mine).collect();
        assert!(back.is_superset(&moved), "no key moves to and fro");
        assert!((0..now.len()).all(|key| now[key] == without[key] || now[key] == mine));
        assert!(back.len().abs_diff(due * percent / 100) <= due / 5, "{} of {due}", back.len());
        moved = back;
    }
    assert_eq!(of_all(Tick(40_000)), whole);
    assert_eq!(rising.len(), whole.len());
}

#[test]
fn a_pool_without_a_share_takes_nothing() {
    let empty = hashed(pool(1, 0), None);
    let idle = hashed(weighted(&[0, 0]), None);
    for pool in [empty, idle] {
        let picked = by_key(&pool, 1, &TriedSet::default(), Candidate::Ready, NOW);
        assert_eq!(picked.err(), Some(Unavailable::NoEndpoints));
    }
}
