use ringway_model::{CoreId, Health};

use super::*;
use crate::balance::tests::{NOW, counts, open_breaker, pick, pool, weighted};
use crate::balance::{Cursors, TriedSet, Unavailable, by_key, sticky};
use crate::breaker::Candidate;
use crate::in_flight::InFlight;
use crate::snapshot::EndpointId;

const DURATION: Duration = Duration::from_secs(10);

fn with(pool: Pool, selection: Selection) -> Pool {
    let mut pool = pool;
    for endpoint in &mut pool.endpoints {
        endpoint.in_flight = Arc::new(InFlight::new(2));
    }
    Pool { selection: Some(Arc::new(selection)), ..pool }
}

fn algorithms() -> [Algorithm; 3] {
    [Algorithm::InTurn, Algorithm::LeastRequest, Algorithm::Hash(KeyTable::default())]
}

fn slow_start(algorithm: Algorithm) -> Selection {
    Selection::new(algorithm, Some(DURATION), None)
}

fn limited(algorithm: Algorithm) -> Selection {
    Selection::new(algorithm, None, Some(2))
}

/// The part of ten thousand requests that the first endpoint gets, in hundredths of a percent.
fn part_of_first(pool: &Pool, now: Tick) -> usize {
    let mut cursors = Cursors::new(CoreId(1));
    counts((0..10_000).map(|_| pick(&mut cursors, pool, now).unwrap()))
        .get(&EndpointId(1))
        .copied()
        .unwrap_or(0)
}

#[test]
fn the_part_of_an_endpoint_that_comes_back_rises() {
    for algorithm in [Algorithm::InTurn, Algorithm::LeastRequest] {
        for (pool, whole) in [(pool(1, 4), 2_500.0), (weighted(&[2, 1, 1, 1]), 4_000.0)] {
            let algorithm = match algorithm {
                Algorithm::LeastRequest => Algorithm::LeastRequest,
                _ => Algorithm::InTurn,
            };
            let pool = with(pool, slow_start(algorithm));
            // After a start, all rise alike.
            let mut at = Tick(0);
            let part = part_of_first(&pool, at) as f64;
            assert!((part - whole).abs() < 300.0, "{part} instead of {whole}");
            at = at.after(DURATION);
            for outage in [0, 1] {
                let first = &pool.endpoints[0];
                match outage {
                    0 => first.state.set_health(Health::Unhealthy),
                    _ => open_breaker(first, at),
                }
                assert_eq!(part_of_first(&pool, at), 0);
                at = at.after(Duration::from_secs(40));
                first.state.set_health(Health::Healthy);
                if outage == 1 {
                    let breaker = &pool.settings.breaker;
                    let probe = first.state.admit(Candidate::Ready, breaker, at).unwrap();
                    first.state.record_success(probe);
                }
                for share in [0.1, 0.55, 1.0] {
                    // With a part of its weight, of the sum with that part.
                    let due = 10_000.0 * whole * share / (10_000.0 - whole + whole * share);
                    let part = part_of_first(&pool, at) as f64;
                    assert!((part - due).abs() < 300.0, "{part} instead of {due} at {share}");
                    at = at.after(DURATION / 2);
                }
            }
        }
    }
}

#[test]
fn a_slow_start_leaves_no_request_without_an_endpoint() {
    for algorithm in algorithms() {
        let pool = with(pool(1, 3), slow_start(algorithm));
        let mut cursors = Cursors::new(CoreId(0));
        for key in 0..1_000 {
            assert!(pick(&mut cursors, &pool, NOW).is_ok());
            assert!(by_key(&pool, key, &TriedSet::default(), Candidate::Ready, NOW).is_ok());
            assert!(sticky(&pool, key, &TriedSet::default(), NOW).is_ok());
        }
    }
}

#[test]
fn a_full_endpoint_is_skipped_and_all_full_ones_are_busy() {
    for algorithm in algorithms() {
        let pool = with(pool(1, 3), limited(algorithm));
        let mut cursors = Cursors::new(CoreId(0));
        let none = TriedSet::default();
        let mut held: Vec<_> = (0..6)
            .map(|number| {
                let picked = cursors.pick(&pool, &none, Candidate::Ready, NOW).expect("one has room");
                pool.begin(picked.endpoint, number % 2).expect("it has room")
            })
            .collect();
        assert!(pool.endpoints.iter().all(|endpoint| endpoint.in_flight.shared_requests() == 2));
        let busy = Some(Unavailable::Busy { max_concurrent: 2 });
        assert_eq!(cursors.pick(&pool, &none, Candidate::Ready, NOW).err(), busy);
        assert_eq!(by_key(&pool, 1, &none, Candidate::Ready, NOW).err(), busy);
        assert_eq!(sticky(&pool, 1, &none, NOW).err(), busy);
        assert!(pool.endpoints.iter().all(|endpoint| pool.begin(endpoint, 0).is_none()));

        // The permit of a stream is given back before the stream ends.
        held[0].release_permit();
        let picked = cursors.pick(&pool, &none, Candidate::Ready, NOW).expect("one has room");
        assert_eq!(picked.endpoint.in_flight.shared_requests(), 1);
        assert_eq!(pool.endpoints.iter().map(|endpoint| endpoint.in_flight.requests()).sum::<u64>(), 6);
        drop(held);
        assert!(pool.endpoints.iter().all(|endpoint| endpoint.in_flight.shared_requests() == 0));
        assert!(pool.endpoints.iter().all(|endpoint| endpoint.in_flight.requests() == 0));
    }
}

#[test]
fn a_busy_endpoint_is_the_reason_before_an_open_breaker() {
    let pool = with(pool(1, 2), limited(Algorithm::InTurn));
    open_breaker(&pool.endpoints[0], NOW);
    let _held = [0, 1].map(|core| pool.begin(&pool.endpoints[1], core).expect("it has room"));
    let mut cursors = Cursors::new(CoreId(0));
    let picked = cursors.pick(&pool, &TriedSet::default(), Candidate::Ready, NOW);
    assert_eq!(picked.err(), Some(Unavailable::Busy { max_concurrent: 2 }));
}
