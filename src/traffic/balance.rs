//! Load balancing: round robin per core, by weights where they differ, and consistent hashing for upgrades.
//!
//! A [`Cursors`] belongs to one core, so that a pick takes no lock and no shared write. A pool's cursor
//! stands behind the endpoint chosen last. An endpoint that is not available is skipped, and its share is
//! spread over all others: the next in order does not get twice as many requests. Cores start at different
//! endpoints, which balances their sum. Endpoints of unlike weights come in the order of a
//! [`Sequence`], and one of weight 0 gets nothing.

use std::collections::HashMap;
use std::time::Duration;

use ringway_model::{CoreId, Health, OnAllUnhealthy, Tick, limits};

use crate::breaker::{Admission, Candidate, PROBE_WAIT};
use crate::snapshot::{Endpoint, EndpointId, Fallback, Pool, PoolId, Snapshot};
use crate::weights::{Sequence, Shares};

/// Selected endpoint, and its admission for one request.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// Destination of the request.
    pub endpoint: &'a Endpoint,
    /// Passed back to the endpoint's state with the result.
    pub admission: Admission,
}

/// Reason for which no endpoint of a pool can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The app has no instance.
    NoEndpoints,
    /// No instance has a resolved address.
    Unresolved,
    /// All instances with an address are unhealthy, and the app's policy does not admit this request.
    AllUnhealthy(OnAllUnhealthy),
    /// All healthy instances have an open breaker.
    BreakersOpen {
        /// Time until the first of them admits a probe; never zero.
        retry_after: Duration,
    },
    /// All available endpoints were already tried for this request.
    Exhausted,
}

/// Round-robin positions of one core, one per pool.
#[derive(Debug)]
pub struct Cursors {
    core: CoreId,
    /// Index of the next endpoint, modulo the pool's size, which changes.
    positions: HashMap<PoolId, usize, ahash::RandomState>,
}

impl Cursors {
    /// Returns cursors at the core's start position, which differs from core to core.
    pub fn new(core: CoreId) -> Self {
        Self { core, positions: HashMap::default() }
    }

    /// Picks the next endpoint that is available, not in `tried`, and admits the request. A joining endpoint
    /// is picked only when no other is available; when all are unhealthy, the pool's [`Fallback`] decides.
    ///
    /// One hash lookup, and two relaxed loads per visited endpoint; allocates only for a pool that is new to
    /// this core.
    ///
    /// # Errors
    /// The reason for which no endpoint is available.
    pub fn pick<'p>(
        &mut self,
        pool: &'p Pool,
        tried: &TriedSet,
        candidate: Candidate,
        now: Tick,
    ) -> Result<Picked<'p>, Unavailable> {
        let count = pool.endpoints.len();
        if count == 0 {
            return Err(Unavailable::NoEndpoints);
        }
        match &pool.shares {
            Shares::Equal => {}
            Shares::Weighted(sequence) => return self.pick_weighted(pool, sequence, tried, candidate, now),
            Shares::None => return Err(Unavailable::NoEndpoints),
        }
        let position = self.positions.entry(pool.id).or_insert(usize::from(self.core.0));
        let start = *position % count;
        let pick = |filter| {
            (start..count).chain(0..start).find_map(|index| {
                let endpoint = &pool.endpoints[index];
                let admission = admit(endpoint, tried, candidate, filter, (pool, now))?;
                *position = index + 1;
                Some(Picked { endpoint, admission })
            })
        };
        by_health(pick, pool, tried, now)
    }

    /// The same by the endpoints' weights.
    fn pick_weighted<'p>(
        &mut self,
        pool: &'p Pool,
        sequence: &Sequence,
        tried: &TriedSet,
        candidate: Candidate,
        now: Tick,
    ) -> Result<Picked<'p>, Unavailable> {
        let position = self.positions.entry(pool.id).or_insert_with(|| sequence.start_of(self.core.0));
        let start = *position % sequence.len();
        let steps = (2 * pool.endpoints.len() + STEPS_SPARE).min(sequence.len());
        let admit = |index: usize, filter| {
            let endpoint = &pool.endpoints[index];
            let admission = admit(endpoint, tried, candidate, filter, (pool, now))?;
            Some(Picked { endpoint, admission })
        };
        let pick = |filter| {
            let found = (start..start + steps).find_map(|at| {
                let picked = admit(sequence.at(at), filter)?;
                *position = at + 1;
                Some(picked)
            });
            found.or_else(|| {
                *position = start + 1;
                let is_candidate =
                    |endpoint: &Endpoint| !tried.contains(endpoint.id) && is_available(endpoint, filter, now);
                admit(weighted_choice(pool, start, is_candidate)?, filter)
            })
        };
        by_health(pick, pool, tried, now)
    }

    /// Removes the cursors of pools that are not in `snapshot`. To be called for every new snapshot: it scans
    /// only when most cursors must be stale, for a constant amortised cost and a bounded number of cursors.
    pub fn keep_only(&mut self, snapshot: &Snapshot) {
        if self.positions.len() > 2 * snapshot.pool_count() + CURSORS_SPARE {
            self.positions.retain(|pool, _| snapshot.pool(*pool).is_some());
        }
    }

    /// Number of pools with a cursor.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether no pool has a cursor.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

/// Picks among the endpoints in rotation, else among those that join, else among all where the pool falls
/// back.
#[inline]
fn by_health<'p>(
    mut pick: impl FnMut(HealthFilter) -> Option<Picked<'p>>,
    pool: &Pool,
    tried: &TriedSet,
    now: Tick,
) -> Result<Picked<'p>, Unavailable> {
    if let Some(picked) = pick(HealthFilter::Rotation).or_else(|| pick(HealthFilter::Joining)) {
        return Ok(picked);
    }
    let picked = if falls_back(pool, now) { pick(HealthFilter::Any) } else { None };
    picked.ok_or_else(|| unavailable_reason(pool, tried, now))
}

/// Steps along the sequence, beyond two for each endpoint, after which an endpoint is chosen by its weight
/// alone: where a heavy one is not available, the sequence may have thousands of its entries in a row.
const STEPS_SPARE: usize = 16;

/// Chooses among the candidates with a probability of their weights; the same `draw` chooses the same one.
#[cold]
fn weighted_choice(pool: &Pool, draw: usize, is_candidate: impl Fn(&Endpoint) -> bool) -> Option<usize> {
    let candidates = || {
        let endpoints = pool.endpoints.iter().enumerate();
        endpoints.filter(|(_, endpoint)| endpoint.weight > 0 && is_candidate(endpoint))
    };
    let sum: u64 = candidates().map(|(_, endpoint)| u64::from(endpoint.weight)).sum();
    let mut left = spread(draw as u64).checked_rem(sum)?;
    let chosen = candidates().find(|(_, endpoint)| {
        let is_chosen = left < endpoint.weight.into();
        left = left.saturating_sub(endpoint.weight.into());
        is_chosen
    });
    chosen.map(|(index, _)| index)
}

/// Stale cursors that are not worth a scan.
const CURSORS_SPARE: usize = 64;

/// Picks the endpoint of `client` by rendezvous hashing: the same one on every core and in every process
/// while it is available. When it is not, its clients are spread over the others; clients of other endpoints
/// do not move.
///
/// `client` is a hash of the client's identity. The cost is linear in the pool's size, which suits upgrades
/// and not every request.
///
/// # Errors
/// As [`Cursors::pick`].
pub fn sticky<'p>(
    pool: &'p Pool,
    client: u64,
    tried: &TriedSet,
    now: Tick,
) -> Result<Picked<'p>, Unavailable> {
    if pool.endpoints.is_empty() || pool.shares == Shares::None {
        return Err(Unavailable::NoEndpoints);
    }
    let pick = |filter| {
        // An endpoint can refuse after it was found available, when another core takes the probe: repeat.
        for _ in 0..pool.endpoints.len() {
            let candidates = pool.endpoints.iter().filter(|endpoint| {
                endpoint.weight > 0 && !tried.contains(endpoint.id) && is_available(endpoint, filter, now)
            });
            let hash = |endpoint: &&Endpoint| spread(client ^ endpoint.affinity);
            let endpoint = match pool.shares {
                Shares::Equal | Shares::None => candidates.max_by_key(hash)?,
                Shares::Weighted(_) => candidates.max_by(|a, b| {
                    let (a, b) = (weighted_score(hash(a), a.weight), weighted_score(hash(b), b.weight));
                    a.total_cmp(&b)
                })?,
            };
            // Only upgrades are sticky, and they have no body.
            if let Some(admission) = admit(endpoint, tried, Candidate::Ready, filter, (pool, now)) {
                return Some(Picked { endpoint, admission });
            }
        }
        None
    };
    by_health(pick, pool, tried, now)
}

/// Score of an endpoint for a client: the highest one wins with a probability of the endpoint's weight
/// (weighted rendezvous hashing).
fn weighted_score(hash: u64, weight: u16) -> f64 {
    // Between 0 and 1, without both.
    let uniform = ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    -f64::from(weight) / uniform.ln()
}

/// Endpoints already tried for one request, as many as a request has attempts.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriedSet {
    ids: [Option<EndpointId>; limits::ATTEMPTS_MAX],
    /// Index of the next entry; beyond the allowed attempts it overwrites the oldest.
    next: usize,
}

impl TriedSet {
    /// Adds an endpoint.
    pub fn insert(&mut self, id: EndpointId) {
        if !self.contains(id) {
            self.ids[self.next] = Some(id);
            self.next = (self.next + 1) % self.ids.len();
        }
    }

    /// Whether the set contains an endpoint.
    pub fn contains(&self, id: EndpointId) -> bool {
        self.ids.contains(&Some(id))
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.ids[0].is_none()
    }
}

/// Hashes an instance id to the same number in every process (FNV-1a).
pub(crate) fn affinity(instance: &str) -> u64 {
    instance.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Mixes the bits: each bit of the result depends on all bits of the argument (finalizer of SplitMix64).
fn spread(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Filter of the endpoints by their health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HealthFilter {
    Rotation,
    Joining,
    Any,
}

fn admit(
    endpoint: &Endpoint,
    tried: &TriedSet,
    candidate: Candidate,
    filter: HealthFilter,
    (pool, now): (&Pool, Tick),
) -> Option<Admission> {
    if endpoint.addresses.is_empty() || tried.contains(endpoint.id) {
        return None;
    }
    let breaker = &pool.settings.breaker;
    match filter {
        HealthFilter::Rotation => endpoint.state.admit(candidate, breaker, now),
        HealthFilter::Joining => endpoint.state.admit_joining(candidate, breaker, now),
        HealthFilter::Any => endpoint.state.admit_ignoring_health(candidate, breaker, now),
    }
}

fn is_available(endpoint: &Endpoint, filter: HealthFilter, now: Tick) -> bool {
    match filter {
        HealthFilter::Rotation => endpoint.state.is_in_rotation() && endpoint.is_available(now),
        HealthFilter::Joining => endpoint.is_available(now),
        HealthFilter::Any => !endpoint.addresses.is_empty() && endpoint.state.breaker_wait(now).is_none(),
    }
}

/// Whether this request is admitted although no endpoint is healthy.
#[cold]
fn falls_back(pool: &Pool, now: Tick) -> bool {
    match &pool.fallback {
        Fallback::Reject => false,
        Fallback::PanicOpen => are_all_unhealthy(pool),
        Fallback::Trickle(trickle) => {
            are_all_unhealthy(pool) && trickle.admit(pool.settings.trickle_interval, now)
        }
    }
}

/// Whether all endpoints with an address are unhealthy, and there is one.
fn are_all_unhealthy(pool: &Pool) -> bool {
    let mut reachable = pool.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()).peekable();
    reachable.peek().is_some() && reachable.all(|endpoint| endpoint.state.health() == Health::Unhealthy)
}

fn unavailable_reason(pool: &Pool, tried: &TriedSet, now: Tick) -> Unavailable {
    let ignores_health = matches!(pool.fallback, Fallback::PanicOpen) && are_all_unhealthy(pool);
    let mut unhealthy = false;
    let mut retry_after: Option<Duration> = None;
    for endpoint in pool.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()) {
        if !ignores_health && endpoint.state.health() == Health::Unhealthy {
            unhealthy = true;
            continue;
        }
        let wait = match endpoint.state.breaker_wait(now) {
            None if tried.contains(endpoint.id) => return Unavailable::Exhausted,
            // It became available after the pick.
            None => PROBE_WAIT,
            Some(wait) => wait,
        };
        retry_after = Some(retry_after.map_or(wait, |least| least.min(wait)));
    }
    match retry_after {
        Some(retry_after) => Unavailable::BreakersOpen { retry_after },
        None if unhealthy => Unavailable::AllUnhealthy(pool.fallback.policy()),
        None => Unavailable::Unresolved,
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
mod tests;
