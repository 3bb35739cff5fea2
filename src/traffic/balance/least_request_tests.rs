use std::sync::Arc;

use ringway_model::{CoreId, Health};

use crate::balance::tests::{NOW, counts, open_breaker, pick, pool, weighted};
use crate::balance::{Cursors, TriedSet, Unavailable};
use crate::breaker::Candidate;
use crate::in_flight::{Guard, InFlight};
use crate::selection::{Algorithm, Selection};
use crate::snapshot::{EndpointId, Pool};

fn least_request(pool: Pool) -> Pool {
    let mut pool = pool;
    for endpoint in &mut pool.endpoints {
        endpoint.in_flight = Arc::new(InFlight::new(4));
    }
    let selection = Selection::new(Algorithm::LeastRequest, None, None);
    Pool { selection: Some(Arc::new(selection)), ..pool }
}

/// Picks by one core, and counts the request.
fn begin<'p>(cursors: &mut Cursors, core: usize, pool: &'p Pool) -> (EndpointId, Guard<'p>) {
    let picked = cursors.pick(pool, &TriedSet::default(), Candidate::Ready, NOW).expect("one is available");
    (picked.endpoint.id, pool.begin(picked.endpoint, core).expect("there is no maximum"))
}

#[test]
fn idle_endpoints_get_their_weights_shares() {
    for (pool, due) in [(pool(1, 2), [5_000, 5_000]), (weighted(&[3, 1]), [7_500, 2_500])] {
        let pool = least_request(pool);
        let mut cursors = Cursors::new(CoreId(0));
        let counts = counts((0..10_000).map(|_| pick(&mut cursors, &pool, NOW).unwrap()));
        // A standard deviation of 50 at most.
        for (count, due) in counts.values().zip(due) {
            assert!(count.abs_diff(due) < 250, "{counts:?}");
        }
    }
}

#[test]
fn busy_endpoints_fill_by_their_weights() {
    for (pool, due) in [(pool(1, 4), [100, 100, 100, 100]), (weighted(&[5, 3, 1, 1]), [200, 120, 40, 40])] {
        let pool = least_request(pool);
        let mut cores: Vec<Cursors> = (0..4).map(|core| Cursors::new(CoreId(core))).collect();
        let held: Vec<_> = (0..400).map(|number| begin(&mut cores[number % 4], number % 4, &pool)).collect();
        for (endpoint, due) in pool.endpoints.iter().zip(due) {
            let count = endpoint.in_flight.shared_requests();
            assert!(count.abs_diff(due) <= 8, "{count} of {due}");
        }
        drop(held);
        assert!(pool.endpoints.iter().all(|endpoint| endpoint.in_flight.shared_requests() == 0));
    }
}

/// Ten requests a step from eight cores to four endpoints that finish three a step each, but for one that
/// finishes one: in turn its queue would grow without end.
#[test]
fn a_slow_endpoint_gets_what_it_can_do() {
    let pool = least_request(pool(1, 4));
    let mut cores: Vec<Cursors> = (0..4).map(|core| Cursors::new(CoreId(core))).collect();
    let mut queues: Vec<Vec<Guard<'_>>> = (0..4).map(|_| Vec::new()).collect();
    let (mut longest, mut slow) = (0, 0);
    for step in 0..2_000 {
        for number in 0..9 {
            let core = (step + number) % 4;
            let (endpoint, guard) = begin(&mut cores[core], core, &pool);
            queues[endpoint.0 as usize - 1].push(guard);
            slow += usize::from(endpoint.0 == 1);
        }
        longest = longest.max(queues.iter().map(Vec::len).max().unwrap_or(0));
        for (queue, rate) in queues.iter_mut().zip([1, 3, 3, 3]) {
            queue.truncate(queue.len().saturating_sub(rate));
        }
    }
    assert!(longest <= 12, "{longest} requests at one endpoint");
    // One of ten by its speed; a quarter in turn.
    assert!((1_800..2_200).contains(&slow), "{slow} of 18,000");
}

#[test]
fn endpoints_that_are_not_available_are_skipped() {
    let mut pool = least_request(pool(1, 100));
    for (index, endpoint) in pool.endpoints.iter_mut().enumerate().filter(|(index, _)| index % 50 != 7) {
        match index % 3 {
            0 => endpoint.state.set_health(Health::Unhealthy),
            1 => open_breaker(endpoint, NOW),
            _ => endpoint.addresses = [].into(),
        }
    }
    let mut cursors = Cursors::new(CoreId(0));
    let held: Vec<_> = (0..100).map(|_| begin(&mut cursors, 0, &pool)).collect();
    let counts = counts(held.iter().map(|(id, _)| *id));
    assert_eq!(counts.len(), 2);
    assert!(counts.values().all(|count| count.abs_diff(50) <= 4), "{counts:?}");
    let mut tried = TriedSet::default();
    for endpoint in [8, 58].map(EndpointId) {
        assert_ne!(cursors.pick(&pool, &tried, Candidate::Ready, NOW).unwrap().endpoint.id.0, 0);
        tried.insert(endpoint);
    }
    assert_eq!(cursors.pick(&pool, &tried, Candidate::Ready, NOW).err(), Some(Unavailable::Exhausted));
}

#[test]
fn an_endpoint_without_weight_gets_nothing() {
    let pool = least_request(weighted(&[2, 0, 1]));
    let mut cursors = Cursors::new(CoreId(3));
    for _ in 0..1_000 {
        assert_ne!(pick(&mut cursors, &pool, NOW), Ok(EndpointId(2)));
    }
}

#[test]
fn one_endpoint_gets_all() {
    let pool = least_request(pool(1, 1));
    let mut cursors = Cursors::new(CoreId(0));
    let _held = begin(&mut cursors, 0, &pool);
    assert_eq!(pick(&mut cursors, &pool, NOW), Ok(EndpointId(1)));
}
