//! Which endpoint of a pool takes the next request.
//!
//! Round robin, per core: a [`Cursors`] belongs to one core and is shared with nobody, so that picking takes no lock
//! and no shared write. It stands behind the endpoint that was chosen last; an endpoint that cannot be used is stepped
//! over without giving its turn to its neighbour twice. Cores begin at different endpoints, so that all of them
//! together are fair too.

use std::collections::HashMap;
use std::time::Duration;

use ringway_model::{CoreId, Health, OnAllUnhealthy, Tick, limits};

use crate::breaker::{Admission, Candidate, PROBE_WAIT};
use crate::policy::Balancer;
use crate::snapshot::{Endpoint, EndpointId, Fallback, Pool, PoolId, Snapshot};

/// An endpoint that was picked, and the leave to send one request to it.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// Where to send the request.
    pub endpoint: &'a Endpoint,
    /// Handed back to the endpoint's state with the result.
    pub admission: Admission,
}

/// Why no endpoint of a pool can take a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// The app has no instance.
    NoEndpoints,
    /// No instance's name has an address.
    Unresolved,
    /// All instances with an address are unhealthy, and the app's policy lets this request not pass.
    AllUnhealthy(OnAllUnhealthy),
    /// All healthy instances have an open breaker.
    BreakersOpen {
        /// When the first of them may be tried again; never zero.
        retry_after: Duration,
    },
    /// All that could take a request were tried for this one already.
    Exhausted,
}

/// Where a core's round robin stands in each pool.
#[derive(Debug)]
pub struct Cursors {
    core: CoreId,
    /// The index of the endpoint whose turn is next; taken modulo the pool's size, which changes.
    positions: HashMap<PoolId, usize, ahash::RandomState>,
}

impl Cursors {
    /// At the beginning, which is another one on every core.
    pub fn new(core: CoreId) -> Self {
        Self { core, positions: HashMap::default() }
    }

    /// Picks the next endpoint that is available and not in `tried`, and asks it for admission. One that joins is picked
    /// only when no other can be; when all of them are unhealthy, the pool's [`Fallback`] decides.
    ///
    /// One hash lookup, and two relaxed loads for each endpoint that is looked at; no allocation but for a pool that
    /// this core sees for the first time.
    ///
    /// # Errors
    /// Why none of them can be asked.
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
        let Balancer::RoundRobin = pool.settings.balancer;
        let position = self.positions.entry(pool.id).or_insert(usize::from(self.core.0));
        let start = *position % count;
        let mut pick = |regard| {
            (start..count).chain(0..start).find_map(|index| {
                let endpoint = &pool.endpoints[index];
                let admission = admit(endpoint, tried, candidate, regard, (pool, now))?;
                *position = index + 1;
                Some(Picked { endpoint, admission })
            })
        };
        if let Some(picked) = pick(Regard::Rotation) {
            return Ok(picked);
        }
        if let Some(picked) = pick(Regard::Joining) {
            return Ok(picked);
        }
        let picked = if falls_back(pool, now) { pick(Regard::Anything) } else { None };
        picked.ok_or_else(|| why(pool, tried, now))
    }

    /// Forgets pools that `snapshot` does not have. Call it for every new snapshot: it looks at the cursors only when
    /// most of them must be stale, so that its cost is constant on average and their number bounded by the pools'.
    pub fn keep_only(&mut self, snapshot: &Snapshot) {
        if self.positions.len() > 2 * snapshot.pool_count() + CURSORS_SPARE {
            self.positions.retain(|pool, _| snapshot.pool(*pool).is_some());
        }
    }

    /// Number of pools with a cursor.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether no pool is remembered.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }
}

/// Cursors of removed pools that are not worth a search.
const CURSORS_SPARE: usize = 64;

/// Picks the endpoint that `client` belongs to: the same one for the same number, on every core and in every process,
/// as long as it is available; when it is not, its clients are spread over the others, and nobody else moves.
///
/// `client` is a hash of what identifies the client. Rendezvous hashing: the cost follows the pool's size, so it
/// is for upgrades, not for every request.
///
/// # Errors
/// As [`Cursors::pick`].
pub fn sticky<'p>(
    pool: &'p Pool,
    client: u64,
    tried: &TriedSet,
    now: Tick,
) -> Result<Picked<'p>, Unavailable> {
    if pool.endpoints.is_empty() {
        return Err(Unavailable::NoEndpoints);
    }
    let pick = |regard| {
        // Admission can be refused to what was available a moment ago, when another core takes the probe: look again.
        for _ in 0..pool.endpoints.len() {
            let candidates = pool
                .endpoints
                .iter()
                .filter(|endpoint| !tried.contains(endpoint.id) && is_available(endpoint, regard, now));
            let endpoint = candidates.max_by_key(|endpoint| spread(client ^ endpoint.affinity))?;
            // Only upgrades stick, and they have no body.
            if let Some(admission) = admit(endpoint, tried, Candidate::Ready, regard, (pool, now)) {
                return Some(Picked { endpoint, admission });
            }
        }
        None
    };
    if let Some(picked) = pick(Regard::Rotation).or_else(|| pick(Regard::Joining)) {
        return Ok(picked);
    }
    let picked = if falls_back(pool, now) { pick(Regard::Anything) } else { None };
    picked.ok_or_else(|| why(pool, tried, now))
}

/// The endpoints that one request was sent to, or tried to. Holds as many as a request has attempts.
#[derive(Clone, Copy, Debug, Default)]
pub struct TriedSet {
    ids: [Option<EndpointId>; limits::ATTEMPTS_MAX],
    /// Where the next one goes; beyond the attempts that are allowed the oldest is forgotten.
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

    /// Whether an endpoint is in it.
    pub fn contains(&self, id: EndpointId) -> bool {
        self.ids.contains(&Some(id))
    }

    /// Whether nothing was tried.
    pub fn is_empty(&self) -> bool {
        self.ids[0].is_none()
    }
}

/// A number for an instance id that is the same in every process (FNV-1a).
pub(crate) fn affinity(instance: &str) -> u64 {
    instance.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Makes every bit of the result depend on every bit of the argument (the finalizer of SplitMix64).
fn spread(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Endpoints that a request may go to, as far as their health has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Regard {
    Rotation,
    Joining,
    Anything,
}

fn admit(
    endpoint: &Endpoint,
    tried: &TriedSet,
    candidate: Candidate,
    regard: Regard,
    (pool, now): (&Pool, Tick),
) -> Option<Admission> {
    if endpoint.addresses.is_empty() || tried.contains(endpoint.id) {
        return None;
    }
    let breaker = &pool.settings.breaker;
    match regard {
        Regard::Rotation => endpoint.state.admit(candidate, breaker, now),
        Regard::Joining => endpoint.state.admit_joining(candidate, breaker, now),
        Regard::Anything => endpoint.state.admit_whatever_its_health(candidate, breaker, now),
    }
}

fn is_available(endpoint: &Endpoint, regard: Regard, now: Tick) -> bool {
    match regard {
        Regard::Rotation => endpoint.state.is_in_rotation() && endpoint.is_available(now),
        Regard::Joining => endpoint.is_available(now),
        Regard::Anything => !endpoint.addresses.is_empty() && endpoint.state.breaker_wait(now).is_none(),
    }
}

/// Whether this request is let through although no endpoint is healthy.
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

/// Whether no endpoint could be healthy: one without an address is nothing at all.
fn are_all_unhealthy(pool: &Pool) -> bool {
    let mut reachable = pool.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()).peekable();
    reachable.peek().is_some() && reachable.all(|endpoint| endpoint.state.health() == Health::Unhealthy)
}

fn why(pool: &Pool, tried: &TriedSet, now: Tick) -> Unavailable {
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
            // It became available between two looks at it.
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
