use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use ringway_model::{AppId, FailurePolicy, Generation, InstanceId, Target};

use super::*;
use crate::breaker::{BreakerSettings, EndpointState};
use crate::limits::TALLY_BUCKET;
use crate::policy::PoolSettings;
use crate::retry_budget::RetryBudget;
use crate::snapshot::MetricSlot;
use crate::tally::Tally;
use crate::trickle::{Trickle, TrickleCount};

pub(crate) const NOW: Tick = Tick(5_000);
const BREAKER: BreakerSettings = BreakerSettings::DEFAULT;

pub(crate) fn endpoint(number: usize) -> Endpoint {
    let instance = InstanceId::parse(&format!("instance-{number:03}")).unwrap();
    Endpoint {
        id: EndpointId(number as u64 + 1),
        affinity: affinity(instance.as_str()),
        instance,
        generation: Generation(1),
        target: Target::parse("http://127.0.0.1:3000").unwrap(),
        addresses: [([127, 0, 0, 1], 3000).into()].into(),
        weight: 1,
        state: Arc::new(EndpointState::default()),
        in_flight: Arc::default(),
        tally: Arc::new(Tally::new(1, TALLY_BUCKET)),
        metric: MetricSlot::SHARED,
    }
}

pub(crate) fn pool(id: u64, count: usize) -> Pool {
    Pool {
        traffic: None,
        tls: None,
        failures: FailurePolicy::default(),
        fallback: Fallback::Reject,
        settings: Arc::new(PoolSettings::default()),
        retry_budget: Arc::new(RetryBudget::new(1)),
        id: PoolId(id),
        app: AppId::parse("app").unwrap(),
        endpoints: (0..count).map(endpoint).collect(),
        shares: Shares::Equal,
        selection: None,
        draining: [].into(),
        metric: MetricSlot::SHARED,
        policy: None,
    }
}

pub(crate) fn open_breaker(endpoint: &Endpoint, now: Tick) {
    for _ in 0..crate::limits::BREAKER_FAILURES {
        let admission = endpoint.state.admit(Candidate::Ready, &BREAKER, now).unwrap();
        endpoint.state.record_failure(admission, &BREAKER, now);
    }
}

/// Picks once and reports success, so that probes close their breakers.
pub(crate) fn pick(cursors: &mut Cursors, pool: &Pool, now: Tick) -> Result<EndpointId, Unavailable> {
    let picked = cursors.pick(pool, &TriedSet::default(), Candidate::Ready, now)?;
    picked.endpoint.state.record_success(picked.admission);
    Ok(picked.endpoint.id)
}

pub(crate) fn counts(picks: impl Iterator<Item = EndpointId>) -> BTreeMap<EndpointId, usize> {
    let mut counts = BTreeMap::new();
    for id in picks {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

proptest! {
    /// All available endpoints get equal shares, for every cause of unavailability of the others.
    #[test]
    fn every_available_endpoint_gets_an_equal_share(
        kinds in prop::collection::vec(0..4_u8, 1..40), core in 0..64_u16, picks in 1..200_usize
    ) {
        let mut pool = pool(1, kinds.len());
        for (endpoint, kind) in pool.endpoints.iter_mut().zip(&kinds) {
            match kind {
                0 => endpoint.state.set_health(Health::Unhealthy),
                1 => open_breaker(endpoint, NOW),
                2 => endpoint.addresses = [].into(),
                _ => endpoint.state.set_health(Health::Healthy),
            }
        }
        let available = kinds.iter().filter(|kind| **kind == 3).count();
        let mut cursors = Cursors::new(CoreId(core));
        if available == 0 {
            prop_assert!(pick(&mut cursors, &pool, NOW).is_err());
            return Ok(());
        }
        let counts = counts((0..picks).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
        for id in counts.keys() {
            prop_assert_eq!(kinds[id.0 as usize - 1], 3);
        }
        let most = counts.values().max().copied().unwrap_or(0);
        let least = if counts.len() == available { counts.values().min().copied().unwrap_or(0) } else { 0 };
        prop_assert!(most - least <= 1, "{counts:?}");
    }

    #[test]
    fn an_unhealthy_endpoints_share_is_spread_over_all_others(count in 3..20_usize, dead in any::<prop::sample::Index>()) {
        let pool = pool(1, count);
        pool.endpoints[dead.index(count)].state.set_health(Health::Unhealthy);
        let mut cursors = Cursors::new(CoreId(0));
        let rounds = 10;
        let counts = counts((0..(count - 1) * rounds).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
        prop_assert_eq!(counts.len(), count - 1);
        prop_assert!(counts.values().all(|n| *n == rounds), "{counts:?}");
    }

    #[test]
    fn a_sticky_client_leaves_its_endpoint_only_while_it_is_unavailable(
        count in 2..30_usize, client in any::<u64>(), other in any::<u64>()
    ) {
        let pool = pool(1, count);
        let none = TriedSet::default();
        let choose = |client| sticky(&pool, client, &none, NOW).map(|picked| picked.endpoint);
        let mine = choose(client).unwrap();
        prop_assert_eq!(choose(client).unwrap().id, mine.id);
        let of_other = choose(other).unwrap();

        mine.state.set_health(Health::Unhealthy);
        let next = choose(client).unwrap();
        prop_assert_ne!(next.id, mine.id);
        if of_other.id != mine.id {
            prop_assert_eq!(choose(other).unwrap().id, of_other.id);
        }
        mine.state.set_health(Health::Healthy);
        prop_assert_eq!(choose(client).unwrap().id, mine.id);

        let mut tried = TriedSet::default();
        tried.insert(mine.id);
        prop_assert_eq!(sticky(&pool, client, &tried, NOW).unwrap().endpoint.id, next.id);
    }
}

#[test]
fn sticky_clients_spread_over_all_endpoints() {
    let pool = pool(1, 8);
    let none = TriedSet::default();
    let picks = (0..8_000_u64).map(|client| {
        sticky(&pool, client.wrapping_mul(0x9E37_79B9_7F4A_7C15), &none, NOW).unwrap().endpoint.id
    });
    let counts = counts(picks);
    assert_eq!(counts.len(), 8);
    // 1,000 expected, with a standard deviation of 30.
    assert!(counts.values().all(|n| (800..1200).contains(n)), "{counts:?}");
}

#[test]
fn a_sticky_clients_endpoint_is_the_same_in_every_process() {
    // Published values of FNV-1a and SplitMix64: a different function would move every WebSocket client after
    // an update of ringway.
    assert_eq!(affinity("a"), 0xAF63_DC4C_8601_EC8C);
    assert_eq!(affinity("foobar"), 0x8594_4171_F739_67E8);
    assert_eq!(spread(0x9E37_79B9_7F4A_7C15), 0xE220_A839_7B1D_CDAF);
}

#[test]
fn a_sticky_client_goes_to_the_next_best_while_its_endpoint_is_probed() {
    let pool = pool(1, 3);
    let none = TriedSet::default();
    let mine = sticky(&pool, 1, &none, NOW).unwrap().endpoint;
    open_breaker(mine, NOW);
    let due = NOW.after(crate::limits::BREAKER_OPEN);
    let probe = sticky(&pool, 1, &none, due).unwrap();
    assert_eq!((probe.endpoint.id, probe.admission.is_probe()), (mine.id, true));
    assert_ne!(sticky(&pool, 1, &none, due).unwrap().endpoint.id, mine.id);
}

#[test]
fn cores_begin_at_different_endpoints() {
    let pool = pool(1, 4);
    let firsts = (0..8).map(|core| pick(&mut Cursors::new(CoreId(core)), &pool, NOW).unwrap());
    assert_eq!(counts(firsts).into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
}

#[test]
fn pools_are_balanced_independently() {
    let (one, two) = (pool(1, 2), pool(2, 2));
    let mut cursors = Cursors::new(CoreId(0));
    let picks: Vec<u64> = (0..4)
        .flat_map(|_| [pick(&mut cursors, &one, NOW).unwrap().0, pick(&mut cursors, &two, NOW).unwrap().0])
        .collect();
    assert_eq!(picks, [1, 1, 2, 2, 1, 1, 2, 2]);
}

#[test]
fn a_cursor_survives_a_pool_that_shrinks_and_grows() {
    let mut cursors = Cursors::new(CoreId(0));
    for count in [5, 5, 5, 5, 1, 3, 2, 7] {
        let pool = pool(1, count);
        assert!(pick(&mut cursors, &pool, NOW).unwrap().0 <= count as u64);
    }
    assert_eq!(cursors.len(), 1);
}

#[test]
fn a_tried_endpoint_is_not_picked_again() {
    let pool = pool(1, 3);
    let mut cursors = Cursors::new(CoreId(0));
    let mut tried = TriedSet::default();
    assert!(tried.is_empty());
    for _ in 0..3 {
        let picked = cursors.pick(&pool, &tried, Candidate::Ready, NOW).unwrap();
        assert!(!tried.contains(picked.endpoint.id));
        tried.insert(picked.endpoint.id);
    }
    assert!(!tried.is_empty());
    assert_eq!(cursors.pick(&pool, &tried, Candidate::Ready, NOW).err(), Some(Unavailable::Exhausted));
    assert_eq!(sticky(&pool, 1, &tried, NOW).err(), Some(Unavailable::Exhausted));
}

/// Of two endpoints, one of which fails: first attempts alternate although each failed one is repeated.
#[test]
fn a_retry_takes_no_turn() {
    for pool in [pool(1, 2), weighted(&[2, 1]), pool(2, 5)] {
        let bad = EndpointId(1);
        let (mut with_retries, mut without) = (Cursors::new(CoreId(0)), Cursors::new(CoreId(0)));
        for _ in 0..30 {
            let mut tried = TriedSet::default();
            let first = with_retries.pick(&pool, &tried, Candidate::Ready, NOW).unwrap().endpoint.id;
            assert_eq!(Ok(first), pick(&mut without, &pool, NOW));
            if first == bad {
                tried.insert(first);
                let second = with_retries.pick(&pool, &tried, Candidate::Ready, NOW).unwrap().endpoint.id;
                assert_ne!(second, bad);
                tried.restart();
                assert!(
                    with_retries.pick(&pool, &tried, Candidate::Ready, NOW).is_ok(),
                    "any may be tried again"
                );
            }
        }
    }
}

/// The one after the endpoint that fails does not get all of its retries.
#[test]
fn retries_are_spread_over_the_other_endpoints() {
    let pool = pool(1, 4);
    let mut cursors = Cursors::new(CoreId(0));
    let mut tried = TriedSet::default();
    tried.insert(EndpointId(1));
    let counts =
        counts((0..3_000).map(|_| cursors.pick(&pool, &tried, Candidate::Ready, NOW).unwrap().endpoint.id));
    assert_eq!(counts.len(), 3);
    assert!(counts.values().all(|count| (850..1_150).contains(count)), "{counts:?}");
}

#[test]
fn the_set_of_tried_endpoints_holds_all_attempts_of_a_request() {
    let mut tried = TriedSet::default();
    for id in 1..=ringway_model::limits::ATTEMPTS_MAX as u64 {
        tried.insert(EndpointId(id));
        tried.insert(EndpointId(id));
    }
    assert!((1..=ringway_model::limits::ATTEMPTS_MAX as u64).all(|id| tried.contains(EndpointId(id))));
    tried.insert(EndpointId(99));
    assert!(tried.contains(EndpointId(99)) && !tried.contains(EndpointId(1)));
}

#[test]
fn a_probe_is_one_request_of_one_core() {
    let pool = pool(1, 2);
    open_breaker(&pool.endpoints[0], NOW);
    let due = NOW.after(crate::limits::BREAKER_OPEN);
    let (mut one, mut two) = (Cursors::new(CoreId(0)), Cursors::new(CoreId(0)));
    let none = TriedSet::default();
    let probe = one.pick(&pool, &none, Candidate::Ready, due).unwrap();
    assert_eq!((probe.endpoint.id, probe.admission.is_probe()), (EndpointId(1), true));
    assert_eq!(two.pick(&pool, &none, Candidate::Ready, due).unwrap().endpoint.id, EndpointId(2));
}

#[test]
fn an_empty_pick_returns_its_reason() {
    let check = |pool: &Pool, now: Tick, expected: Unavailable| {
        let none = TriedSet::default();
        assert_eq!(Cursors::new(CoreId(3)).pick(pool, &none, Candidate::Ready, now).err(), Some(expected));
        assert_eq!(sticky(pool, 42, &none, now).err(), Some(expected));
    };
    check(&pool(1, 0), NOW, Unavailable::NoEndpoints);

    let mut two = pool(1, 2);
    for endpoint in &mut two.endpoints {
        endpoint.addresses = [].into();
    }
    check(&two, NOW, Unavailable::Unresolved);

    let mut two = pool(1, 2);
    two.endpoints[0].addresses = [].into();
    two.endpoints[1].state.set_health(Health::Unhealthy);
    check(&two, NOW, Unavailable::AllUnhealthy(OnAllUnhealthy::Reject));

    let three = pool(1, 3);
    three.endpoints[0].state.set_health(Health::Unhealthy);
    open_breaker(&three.endpoints[1], Tick(NOW.0 - 1_500));
    open_breaker(&three.endpoints[2], NOW);
    check(&three, NOW, Unavailable::BreakersOpen { retry_after: Duration::from_millis(28_500) });
    let due = NOW.after(Duration::from_millis(28_500));
    let probe = three.endpoints[1].state.admit(Candidate::Ready, &BREAKER, due).unwrap();
    check(&three, due, Unavailable::BreakersOpen { retry_after: PROBE_WAIT });
    three.endpoints[1].state.record_success(probe);
    assert_eq!(pick(&mut Cursors::new(CoreId(0)), &three, due), Ok(EndpointId(2)));
}

/// A pool of three: the first is healthy, the second joins, the third is unhealthy.
fn rolling() -> Pool {
    let pool = pool(1, 3);
    for (endpoint, health) in pool.endpoints.iter().zip([Health::Healthy, Health::Joining, Health::Unhealthy])
    {
        endpoint.state.set_health(health);
    }
    pool
}

#[test]
fn a_joining_endpoint_is_picked_only_when_no_other_is_available() {
    let pool = rolling();
    let mut cursors = Cursors::new(CoreId(0));
    let [first, joining, _] = [0, 1, 2].map(|at| pool.endpoints[at].id);
    for _ in 0..6 {
        assert_eq!(pick(&mut cursors, &pool, NOW), Ok(first));
    }
    for client in 0..32 {
        let picked = sticky(&pool, client, &TriedSet::default(), NOW).unwrap();
        assert_eq!(picked.endpoint.id, first);
    }
    // A tried endpoint, one with an open breaker and an unhealthy one are not available.
    let mut tried = TriedSet::default();
    tried.insert(first);
    assert_eq!(cursors.pick(&pool, &tried, Candidate::Ready, NOW).unwrap().endpoint.id, joining);
    assert_eq!(sticky(&pool, 7, &tried, NOW).unwrap().endpoint.id, joining);
    open_breaker(&pool.endpoints[0], NOW);
    assert_eq!(pick(&mut cursors, &pool, NOW), Ok(joining));
    pool.endpoints[1].state.set_health(Health::Healthy);
    assert_eq!(pick(&mut cursors, &pool, NOW), Ok(joining));
}

#[test]
fn a_first_registration_gets_traffic_at_once() {
    let pool = pool(1, 2);
    pool.endpoints.iter().for_each(|endpoint| endpoint.state.set_health(Health::Joining));
    let mut cursors = Cursors::new(CoreId(0));
    let picks = counts((0..10).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
    assert_eq!(picks.values().copied().collect::<Vec<_>>(), [5, 5]);
}

fn unhealthy(count: usize, fallback: Fallback) -> Pool {
    let pool = Pool { fallback, ..pool(1, count) };
    pool.endpoints.iter().for_each(|endpoint| endpoint.state.set_health(Health::Unhealthy));
    pool
}

#[test]
fn panic_open_ignores_health_and_respects_breakers() {
    let pool = unhealthy(3, Fallback::PanicOpen);
    let mut cursors = Cursors::new(CoreId(0));
    let picks = counts((0..9).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
    assert_eq!(picks.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    assert!(sticky(&pool, 7, &TriedSet::default(), NOW).is_ok());

    // The first endpoint that is healthy again gets all requests.
    pool.endpoints[1].state.set_health(Health::Healthy);
    assert!((0..4).all(|_| pick(&mut cursors, &pool, NOW) == Ok(EndpointId(2))));
    // An open breaker does not cause a fallback to unhealthy endpoints: it becomes half open by itself.
    open_breaker(&pool.endpoints[1], NOW);
    let wait = Unavailable::BreakersOpen { retry_after: crate::limits::BREAKER_OPEN };
    assert_eq!(pick(&mut cursors, &pool, NOW), Err(wait));

    let pool = unhealthy(2, Fallback::PanicOpen);
    for endpoint in &pool.endpoints {
        for _ in 0..crate::limits::BREAKER_FAILURES {
            let admission = endpoint.state.admit_ignoring_health(Candidate::Ready, &BREAKER, NOW).unwrap();
            endpoint.state.record_failure(admission, &BREAKER, NOW);
        }
    }
    assert_eq!(pick(&mut cursors, &pool, NOW), Err(wait));
    assert_eq!(sticky(&pool, 7, &TriedSet::default(), NOW).err(), Some(wait));
}

#[test]
fn panic_open_tries_each_once() {
    let pool = unhealthy(2, Fallback::PanicOpen);
    let mut tried = TriedSet::default();
    let mut cursors = Cursors::new(CoreId(0));
    for _ in 0..2 {
        tried.insert(cursors.pick(&pool, &tried, Candidate::Ready, NOW).unwrap().endpoint.id);
    }
    assert_eq!(cursors.pick(&pool, &tried, Candidate::Ready, NOW).err(), Some(Unavailable::Exhausted));
}

#[test]
fn a_trickle_is_one_request_a_second_over_all_cores() {
    let pool = unhealthy(2, Fallback::Trickle(Arc::default()));
    let none = TriedSet::default();
    let refused = Err(Unavailable::AllUnhealthy(OnAllUnhealthy::Trickle));
    let (mut one, mut two) = (Cursors::new(CoreId(0)), Cursors::new(CoreId(1)));
    assert!(pick(&mut one, &pool, NOW).is_ok());
    assert_eq!(pick(&mut one, &pool, NOW), refused);
    assert_eq!(pick(&mut two, &pool, NOW), refused);
    assert_eq!(sticky(&pool, 7, &none, NOW).err(), refused.err());
    let later = NOW.after(crate::limits::TRICKLE_INTERVAL);
    assert!(pick(&mut two, &pool, later).is_ok());
    assert_eq!(pick(&mut one, &pool, later), refused);
    // With a healthy endpoint no request is refused.
    pool.endpoints[0].state.set_health(Health::Healthy);
    assert!((0..4).all(|_| pick(&mut one, &pool, later) == Ok(EndpointId(1))));
}

/// One request a second for each pool, which is a probe of the endpoint that it goes to.
#[test]
fn a_trickle_passes_open_breakers_and_takes_nothing_from_other_pools() {
    let count: Arc<TrickleCount> = Arc::default();
    let trickle = || Fallback::Trickle(Arc::new(Trickle::counted_by(count.clone())));
    let pools = [1, 2].map(|id| Pool { fallback: trickle(), ..pool(id, 2) });
    for pool in &pools {
        open_breaker(&pool.endpoints[0], NOW);
        pool.endpoints[1].state.set_health(Health::Unhealthy);
    }
    let (mut cursors, none) = (Cursors::new(CoreId(0)), TriedSet::default());
    let mut probes = 0;
    for second in 0..4 {
        let now = NOW.after(crate::limits::TRICKLE_INTERVAL * second);
        // The requests of a busy pool do not take the place of the other one's.
        for pool in &pools {
            let picked = cursors.pick(pool, &none, Candidate::Ready, now).unwrap();
            probes += usize::from(picked.admission.is_probe());
            picked.endpoint.state.record_failure(picked.admission, &BREAKER, now);
            assert!(matches!(pick(&mut cursors, pool, now), Err(Unavailable::BreakersOpen { .. })));
        }
    }
    assert_eq!((probes, count.get()), (4, 8), "in turn, the other one has a closed breaker");
    // A success brings the endpoint back long before its breaker is due.
    let now = NOW.after(crate::limits::TRICKLE_INTERVAL * 4);
    assert_eq!(pick(&mut cursors, &pools[0], now), Ok(EndpointId(1)));
    assert!((0..4).all(|_| pick(&mut cursors, &pools[0], now) == Ok(EndpointId(1))));
    // Tried endpoints cost no turn of the trickle.
    let later = now.after(crate::limits::TRICKLE_INTERVAL);
    let mut tried = TriedSet::default();
    pools[1].endpoints.iter().for_each(|endpoint| tried.insert(endpoint.id));
    assert!(cursors.pick(&pools[1], &tried, Candidate::Ready, later).is_err());
    assert_eq!(count.get(), 9);
}

#[test]
fn a_fallback_needs_an_endpoint_with_an_address() {
    for fallback in [Fallback::PanicOpen, Fallback::Trickle(Arc::default())] {
        let mut pool = unhealthy(2, fallback);
        pool.endpoints[0].addresses = [].into();
        assert_eq!(pick(&mut Cursors::new(CoreId(0)), &pool, NOW), Ok(EndpointId(2)));
        pool.endpoints[1].addresses = [].into();
        let later = NOW.after(crate::limits::TRICKLE_INTERVAL);
        assert_eq!(pick(&mut Cursors::new(CoreId(0)), &pool, later), Err(Unavailable::Unresolved));
    }
}

/// An upload is not a probe while another endpoint is available; a request without a body is.
#[test]
fn an_upload_goes_to_an_endpoint_that_needs_no_probe() {
    let pool = pool(1, 2);
    open_breaker(&pool.endpoints[0], NOW);
    let due = NOW.after(crate::limits::BREAKER_OPEN);
    let none = TriedSet::default();
    let mut cursors = Cursors::new(CoreId(0));
    for _ in 0..4 {
        let picked = cursors.pick(&pool, &none, Candidate::Streaming, due).unwrap();
        assert_eq!((picked.endpoint.id, picked.admission.is_probe()), (EndpointId(2), false));
    }
    assert!(cursors.pick(&pool, &none, Candidate::Ready, due).unwrap().admission.is_probe());
}

/// Pool of endpoints with these weights.
pub(crate) fn weighted(weights: &[u16]) -> Pool {
    let mut pool = pool(1, weights.len());
    for (endpoint, weight) in pool.endpoints.iter_mut().zip(weights) {
        endpoint.weight = *weight;
    }
    Pool { shares: Shares::new(weights), ..pool }
}

#[test]
fn requests_follow_the_weights() {
    let pool = weighted(&[5, 0, 1, 2]);
    let mut cursors = Cursors::new(CoreId(0));
    let counts = counts((0..80).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
    let expected = [(EndpointId(1), 50), (EndpointId(3), 10), (EndpointId(4), 20)];
    assert_eq!(counts, BTreeMap::from(expected));
}

#[test]
fn an_endpoint_without_weight_gets_nothing_whatever_happens_to_the_others() {
    let pool = weighted(&[1, 0]);
    pool.endpoints[0].state.set_health(Health::Unhealthy);
    let mut cursors = Cursors::new(CoreId(0));
    assert!(pick(&mut cursors, &pool, NOW).is_err());
    assert!(sticky(&pool, 7, &TriedSet::default(), NOW).is_err());
    let none = weighted(&[0, 0]);
    assert_eq!(pick(&mut cursors, &none, NOW), Err(Unavailable::NoEndpoints));
    assert_eq!(
        sticky(&none, 7, &TriedSet::default(), NOW).map(|picked| picked.endpoint.id),
        Err(Unavailable::NoEndpoints)
    );
}

#[test]
fn the_share_of_a_heavy_endpoint_that_fails_is_spread_by_weight() {
    // 9,999 of 10,000 entries are those of the one that fails.
    let pool = weighted(&[60_000, 3, 1]);
    pool.endpoints[0].state.set_health(Health::Unhealthy);
    let mut cursors = Cursors::new(CoreId(0));
    let counts = counts((0..4_000).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
    assert_eq!(counts.len(), 2);
    let heavier = counts[&EndpointId(2)];
    assert!((2_800..3_200).contains(&heavier), "{heavier} of 4000");
}

#[test]
fn sticky_clients_are_spread_by_weight_and_stay() {
    let pool = weighted(&[3, 1, 0]);
    let of = |client| sticky(&pool, client, &TriedSet::default(), NOW).unwrap().endpoint.id;
    let counts = counts((0..4_000).map(of));
    assert_eq!(counts.len(), 2);
    assert!((2_850..3_150).contains(&counts[&EndpointId(1)]), "{counts:?}");
    // More weight moves clients to that endpoint only.
    let heavier = weighted(&[3, 2, 0]);
    for client in 0..1_000 {
        let (before, after) =
            (of(client), sticky(&heavier, client, &TriedSet::default(), NOW).unwrap().endpoint.id);
        assert!(before == after || after == EndpointId(2), "{client}");
    }
}

proptest! {
    /// The available endpoints get their weights' parts, whichever they are.
    #[test]
    fn available_endpoints_get_their_parts(
        rows in prop::collection::vec((0..20_u16, any::<bool>()), 2..30), core in 0..64_u16
    ) {
        let weights: Vec<u16> = rows.iter().map(|(weight, _)| *weight).collect();
        let mut pool = weighted(&weights);
        for (endpoint, (_, is_there)) in pool.endpoints.iter_mut().zip(&rows) {
            if !is_there {
                endpoint.addresses = [].into();
            }
        }
        let sum = |count_all: bool| {
            let rows = rows.iter().filter(|(_, is_there)| count_all || *is_there);
            rows.map(|(weight, _)| u32::from(*weight)).sum::<u32>()
        };
        let (there, sum) = (sum(false), sum(true));
        if pool.shares == Shares::Equal {
            return Ok(());
        }
        let mut cursors = Cursors::new(CoreId(core));
        if there == 0 {
            prop_assert!(pick(&mut cursors, &pool, NOW).is_err());
            return Ok(());
        }
        // Steps along a sequence that is mostly of others end in a choice by chance: only without that.
        if sum > 2 * rows.len() as u32 {
            return Ok(());
        }
        let counts = counts((0..2 * there).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
        for (endpoint, (weight, is_there)) in pool.endpoints.iter().zip(&rows) {
            let count = counts.get(&endpoint.id).copied().unwrap_or(0);
            let due = if *is_there { 2 * usize::from(*weight) } else { 0 };
            prop_assert!(count.abs_diff(due) <= 2, "{} picks of {}", count, due);
        }
    }
}
