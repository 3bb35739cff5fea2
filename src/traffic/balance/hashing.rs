//! Consistent hashing: the same endpoint for the same key, on every core and in every process.
//!
//! Weighted rendezvous hashing: each endpoint has a score for a key, and the highest wins. An endpoint that
//! leaves moves its own keys alone, spread over all others by their weights, and one that comes takes only
//! what it keeps. A ring of points would need hundreds for each endpoint to come near to the weights.
//!
//! The scores cost about 5 ns for each endpoint, and 20 ns where weights differ. Tunnels ([`sticky`]) can pay
//! that in any pool. For requests ([`by_key`]), keys fall into slots, and a larger pool remembers the winner
//! of each slot ([`KeyTable`](super::key_table::KeyTable)).

use ringway_model::Tick;

use super::key_table::Slot;
use super::{Filter, Pick, Picked, TriedSet, Unavailable, by_health, spread};
use crate::breaker::Candidate;
use crate::selection::{Algorithm, Selection};
use crate::snapshot::{Endpoint, Pool};
use crate::weights::Shares;

/// Picks the endpoint of `client` by rendezvous hashing: the same one on every core and in every process
/// while it is available. When it is not, its clients are spread over the others; clients of other endpoints
/// do not move.
///
/// `client` is a hash of the client's identity. The cost is linear in the pool's size, which suits upgrades
/// and not every request.
///
/// # Errors
/// As [`Cursors::pick`](super::Cursors::pick).
pub fn sticky<'p>(
    pool: &'p Pool,
    client: u64,
    tried: &TriedSet,
    now: Tick,
) -> Result<Picked<'p>, Unavailable> {
    // Only upgrades are sticky, and they have no body.
    let pick = of_key(pool, client, tried, Candidate::Ready, now);
    if pool.endpoints.is_empty() || pool.shares == Shares::None {
        return Err(Unavailable::NoEndpoints);
    }
    by_health(|filter| highest(&pick, client, filter), &pick)
}

/// Picks the endpoint of a request's key, in a pool with [`Algorithm::Hash`]: the same one on every core and
/// in every process while it is available and has a permit left. Otherwise the key has the next best one,
/// always the same too.
///
/// `key` is a hash of the key. The cost is a table look-up; linear for small pools, and for the keys of
/// endpoints that are not available.
///
/// # Errors
/// As [`Cursors::pick`](super::Cursors::pick).
pub fn by_key<'p>(
    pool: &'p Pool,
    key: u64,
    tried: &TriedSet,
    candidate: Candidate,
    now: Tick,
) -> Result<Picked<'p>, Unavailable> {
    let slot = Slot::of_key(key);
    let pick = of_key(pool, slot.hash(), tried, candidate, now);
    if pool.endpoints.is_empty() || pool.shares == Shares::None {
        return Err(Unavailable::NoEndpoints);
    }
    let home = match pool.selection.as_deref() {
        Some(Selection { algorithm: Algorithm::Hash(table), .. }) => {
            table.endpoint(slot, pool.endpoints.len(), || {
                winner(pool, slot.hash(), |endpoint| endpoint.weight > 0)
            })
        }
        _ => None,
    };
    let choose = |filter: Filter| {
        // The winner of all endpoints is that of every part with it.
        let at_home = home.filter(|_| filter.is_in_rotation());
        at_home
            .and_then(|home| pick.admit(&pool.endpoints[home], filter))
            .or_else(|| highest(&pick, slot.hash(), filter))
    };
    by_health(choose, &pick)
}

fn of_key<'p, 'r>(
    pool: &'p Pool,
    hash: u64,
    tried: &'r TriedSet,
    candidate: Candidate,
    now: Tick,
) -> Pick<'p, 'r> {
    // The draw of a slow start is the key's: its requests do not move to and fro while the share rises. Apart
    // from the scores, or an endpoint would refuse just the keys that it wins.
    let rules = pool.selection.as_deref().map(|selection| (selection, spread(hash ^ SLOW_START)));
    Pick { pool, tried, candidate, now, rules }
}

/// Any number but 0.
const SLOW_START: u64 = 0x9E37_79B9_7F4A_7C15;

/// Admits the request to the endpoint with the highest score of those that pass.
fn highest<'p>(pick: &Pick<'p, '_>, hash: u64, filter: Filter) -> Option<Picked<'p>> {
    let pool = pick.pool;
    // An endpoint can refuse after it passed, when another core takes the probe: repeat.
    for _ in 0..pool.endpoints.len() {
        let index = winner(pool, hash, |endpoint| endpoint.weight > 0 && pick.passes(endpoint, filter))?;
        if let Some(picked) = pick.admit(&pool.endpoints[index], filter) {
            return Some(picked);
        }
    }
    None
}

/// The index of the endpoint with the highest score for a hash, among candidates.
fn winner(pool: &Pool, hash: u64, is_candidate: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let score = |endpoint: &Endpoint| spread(hash ^ endpoint.affinity);
    match pool.shares {
        Shares::Equal | Shares::None => highest_score(&pool.endpoints, score, is_candidate),
        Shares::Weighted(_) => {
            let weighted = |endpoint: &Endpoint| weighted_score(score(endpoint), endpoint.weight);
            highest_score(&pool.endpoints, weighted, is_candidate)
        }
    }
}

/// The index of the candidate with the highest score. Only an endpoint that scores higher than the best so
/// far is checked for being one: of a hundred, about five.
fn highest_score<S: PartialOrd>(
    endpoints: &[Endpoint],
    score: impl Fn(&Endpoint) -> S,
    is_candidate: impl Fn(&Endpoint) -> bool,
) -> Option<usize> {
    let mut best: Option<(usize, S)> = None;
    for (index, endpoint) in endpoints.iter().enumerate() {
        let score = score(endpoint);
        if best.as_ref().is_none_or(|(_, highest)| score >= *highest) && is_candidate(endpoint) {
            best = Some((index, score));
        }
    }
    best.map(|(index, _)| index)
}

/// Score of an endpoint for a client: the highest one wins with a probability of the endpoint's weight
/// (weighted rendezvous hashing).
fn weighted_score(hash: u64, weight: u16) -> f64 {
    // Between 0 and 1, without both.
    let uniform = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -f64::from(weight) / uniform.ln()
}

#[cfg(test)]
#[path = "hashing_tests.rs"]
mod tests;
