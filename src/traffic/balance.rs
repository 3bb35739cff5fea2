//! Load balancing: round robin per core, by weights where they differ, least request, and consistent hashing.
//!
//! A [`Cursors`] belongs to one core, so that a pick takes no lock and no shared write. A pool's cursor
//! stands behind the endpoint chosen last. An endpoint that is not available is skipped, and its share is
//! spread over all others: the next in order does not get twice as many requests. A retry takes no turn and
//! goes to a random endpoint: of two in turn, all requests would otherwise begin at the one that fails. Cores
//! start at different endpoints, which balances their sum. Endpoints of unlike weights come in the order of a
//! [`Sequence`], and one of weight 0 gets nothing.
//!
//! Everything beyond that is a pool's [`Selection`]: `least_request`, `hashing`, slow starts and limits
//! of each endpoint. All of them skip what is not available, and fall back alike.

pub(crate) mod hashing;
pub(crate) mod key_table;
mod least_request;

use std::collections::HashMap;
use std::time::Duration;

use ringway_model::{CoreId, Health, OnAllUnhealthy, Tick, limits};

pub use self::hashing::{by_key, sticky};
use crate::breaker::{Admission, Candidate, PROBE_WAIT};
use crate::pool_breaker::Passed;
use crate::selection::{Algorithm, Selection};
use crate::snapshot::{Endpoint, EndpointId, Fallback, Pool, PoolId, Snapshot};
use crate::weights::{Sequence, Shares};

/// Selected endpoint, and its admission for one request.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a> {
    /// Destination of the request.
    pub endpoint: &'a Endpoint,
    /// Passed back to the endpoint's state with the result.
    pub admission: Admission,
    /// Passed back to the breakers of pool and route likewise.
    pub passed: Passed,
    /// Whether the pool's excess of ejected endpoints was reinstated for it.
    pub has_reinstated: bool,
}

impl<'a> Picked<'a> {
    fn new(endpoint: &'a Endpoint, admission: Admission) -> Self {
        Self { endpoint, admission, passed: Passed::default(), has_reinstated: false }
    }
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
    /// All available endpoints have as many requests in flight as they may.
    Busy {
        /// The maximum of each endpoint.
        max_concurrent: u32,
    },
}

/// Round-robin positions of one core, one per pool, and its random numbers.
#[derive(Debug)]
pub struct Cursors {
    core: CoreId,
    /// Number of even draws so far.
    even: u64,
    /// Number of random draws so far; each core has a sequence of its own.
    draws: u64,
    /// Index of the next endpoint, modulo the pool's size, which changes.
    positions: HashMap<PoolId, usize, ahash::RandomState>,
}

impl Cursors {
    /// Returns cursors at the core's start position, which differs from core to core.
    pub fn new(core: CoreId) -> Self {
        let start = spread(u64::from(core.0) + 1);
        Self { core, even: start, draws: start, positions: HashMap::default() }
    }

    /// Picks the next endpoint that is available, not in `tried`, and admits the request. A joining endpoint
    /// is picked only when no other is available; when all are unhealthy, the pool's [`Fallback`] decides. A
    /// pool with [`Algorithm::LeastRequest`] has the less loaded of two random ones instead of the next.
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
        if pool.endpoints.is_empty() || pool.shares == Shares::None {
            return Err(Unavailable::NoEndpoints);
        }
        let rules = pool.selection.as_deref().map(|selection| (selection, self.draw()));
        let pick = Pick { pool, tried, candidate, now, rules };
        if let Some((selection, draw)) = rules
            && matches!(selection.algorithm, Algorithm::LeastRequest)
        {
            return by_health(|filter| least_request::pick(&pick, selection, draw, filter), &pick);
        }
        if tried.is_retry {
            return pick_at_random(&pick, self.draw());
        }
        match &pool.shares {
            Shares::Weighted(sequence) => self.pick_weighted(&pick, sequence),
            Shares::Equal | Shares::None => self.pick_next(&pick),
        }
    }

    /// Picks the next one in turn.
    #[inline]
    fn pick_next<'p>(&mut self, pick: &Pick<'p, '_>) -> Result<Picked<'p>, Unavailable> {
        let endpoints = &pick.pool.endpoints;
        let count = endpoints.len();
        let position = self.positions.entry(pick.pool.id).or_insert(usize::from(self.core.0));
        let start = *position % count;
        let next = |filter| {
            (start..start + count).find_map(|at| {
                let index = if at < count { at } else { at - count };
                let picked = pick.admit(&endpoints[index], filter)?;
                *position = index + 1;
                Some(picked)
            })
        };
        by_health(next, pick)
    }

    /// The same by the endpoints' weights.
    fn pick_weighted<'p>(
        &mut self,
        pick: &Pick<'p, '_>,
        sequence: &Sequence,
    ) -> Result<Picked<'p>, Unavailable> {
        let endpoints = &pick.pool.endpoints;
        let position = self.positions.entry(pick.pool.id).or_insert_with(|| sequence.start_of(self.core.0));
        let start = *position % sequence.len();
        let steps = (2 * endpoints.len() + STEPS_SPARE).min(sequence.len());
        let next = |filter: Filter| {
            let found = (start..start + steps).find_map(|at| {
                let picked = pick.admit(&endpoints[sequence.at(at)], filter.at_visit(at as u64))?;
                *position = at + 1;
                Some(picked)
            });
            if found.is_none() {
                *position = start + 1;
                return by_weight_alone(pick, start, filter);
            }
            found
        };
        by_health(next, pick)
    }

    /// The next of numbers that cover all numbers evenly: of any hundred, about ten are in the lowest tenth
    /// (Weyl's sequence).
    pub fn draw_evenly(&mut self) -> u64 {
        self.even = self.even.wrapping_add(GOLDEN_RATIO);
        self.even
    }

    /// A uniform random number (SplitMix64).
    pub fn draw(&mut self) -> u64 {
        self.draws = self.draws.wrapping_add(GOLDEN_RATIO);
        spread(self.draws)
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

/// Picks by the weights alone: a retry takes no turn. Linear in the pool's size.
#[cold]
fn pick_at_random<'p>(pick: &Pick<'p, '_>, draw: u64) -> Result<Picked<'p>, Unavailable> {
    let endpoints = &pick.pool.endpoints;
    let choose = |filter: Filter| {
        let chosen = &endpoints[weighted_choice(pick, draw, filter)?];
        let filter = filter.without_shares();
        // Another core may have taken the probe of a breaker.
        pick.admit(chosen, filter).or_else(|| {
            let mut others = endpoints.iter().filter(|endpoint| endpoint.weight > 0);
            others.find_map(|endpoint| pick.admit(endpoint, filter))
        })
    };
    by_health(choose, pick)
}

/// Picks among the endpoints in rotation, else among those that join, else among all where the pool falls
/// back. In a pool with slow starts, first among those whose share the request is of.
#[inline]
fn by_health<'p>(
    mut choose: impl FnMut(Filter) -> Option<Picked<'p>>,
    pick: &Pick<'p, '_>,
) -> Result<Picked<'p>, Unavailable> {
    let first = match pick.rules {
        Some((Selection { slow_start: Some(_), .. }, _)) => Filter::OfShare { visit: 0 },
        _ => Filter::Rotation,
    };
    match choose(first) {
        Some(picked) => Ok(picked),
        None => by_health_after(first, &mut choose, pick),
    }
}

/// The same where the first filter leaves none. Apart, and with a pointer to the choice: the compiler then
/// inlines the first choice, which nearly all picks end with.
#[cold]
fn by_health_after<'p>(
    first: Filter,
    choose: &mut dyn FnMut(Filter) -> Option<Picked<'p>>,
    pick: &Pick<'p, '_>,
) -> Result<Picked<'p>, Unavailable> {
    let of_any_share = if first == Filter::Rotation { None } else { choose(Filter::Rotation) };
    if let Some(picked) = of_any_share.or_else(|| choose(Filter::Joining)) {
        return Ok(picked);
    }
    if pick.pool.traffic.is_some()
        && pick.pool.reinstate_excess().count() > 0
        && let Some(picked) = choose(Filter::Rotation)
    {
        return Ok(Picked { has_reinstated: true, ..picked });
    }
    let picked = fallback(pick).and_then(choose);
    picked.ok_or_else(|| unavailable_reason(pick.pool, pick.tried, pick.now))
}

/// Steps along the sequence, beyond two for each endpoint, after which an endpoint is chosen by its weight
/// alone: where a heavy one is not available, the sequence may have thousands of its entries in a row.
const STEPS_SPARE: usize = 16;

/// Picks by weight alone, where the steps from `start` on met no endpoint that is available.
#[cold]
fn by_weight_alone<'p>(pick: &Pick<'p, '_>, start: usize, filter: Filter) -> Option<Picked<'p>> {
    let chosen = weighted_choice(pick, spread(start as u64), filter)?;
    pick.admit(&pick.pool.endpoints[chosen], filter.without_shares())
}

/// Chooses among the endpoints that pass the filter, with a probability of their weights; in a slow start of
/// the part that has risen. The same `draw` chooses the same one. Linear in the pool's size.
#[cold]
fn weighted_choice(pick: &Pick<'_, '_>, draw: u64, filter: Filter) -> Option<usize> {
    let candidates = || {
        let endpoints = pick.pool.endpoints.iter().enumerate();
        endpoints
            .filter(|(_, endpoint)| endpoint.weight > 0 && pick.passes(endpoint, filter.without_shares()))
    };
    let sum: u64 = candidates().map(|(_, endpoint)| pick.weight(endpoint, filter)).sum();
    let mut left = draw.checked_rem(sum)?;
    let chosen = candidates().find(|(_, endpoint)| {
        let weight = pick.weight(endpoint, filter);
        let is_chosen = left < weight;
        left = left.saturating_sub(weight);
        is_chosen
    });
    chosen.map(|(index, _)| index)
}

/// Stale cursors that are not worth a scan.
const CURSORS_SPARE: usize = 64;

/// Endpoints already tried for one request, as many as a request has attempts.
#[derive(Clone, Copy, Debug)]
pub struct TriedSet {
    ids: [EndpointId; limits::ATTEMPTS_MAX],
    /// Number of insertions; beyond the allowed attempts they overwrite the oldest entries.
    inserted: usize,
    /// Whether the request has had an attempt, also after [`restart`](TriedSet::restart).
    is_retry: bool,
}

impl Default for TriedSet {
    fn default() -> Self {
        Self { ids: [EndpointId(0); limits::ATTEMPTS_MAX], inserted: 0, is_retry: false }
    }
}

impl TriedSet {
    /// Adds an endpoint.
    pub fn insert(&mut self, id: EndpointId) {
        self.is_retry = true;
        if !self.contains(id) {
            self.ids[self.inserted % limits::ATTEMPTS_MAX] = id;
            self.inserted += 1;
        }
    }

    /// Forgets the endpoints, so that each of them may be tried again by the same request.
    pub fn restart(&mut self) {
        self.inserted = 0;
    }

    /// Whether the set contains an endpoint. One comparison while it is empty.
    #[inline]
    pub fn contains(&self, id: EndpointId) -> bool {
        self.ids.iter().take(self.inserted).any(|known| *known == id)
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.inserted == 0
    }
}

/// Hashes an instance id to the same number in every process (FNV-1a).
pub(crate) fn affinity(instance: &str) -> u64 {
    instance.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Mixes the bits: each bit of the result depends on all bits of the argument (finalizer of SplitMix64).
pub(crate) fn spread(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// The `number`th of the random numbers that follow from one draw.
fn nth_draw(draw: u64, number: u64) -> u64 {
    spread(draw.wrapping_add(number.wrapping_mul(GOLDEN_RATIO)))
}

/// Increment of SplitMix64.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// Filter of the endpoints by their health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    /// In rotation, and in a slow start only for the requests of its share.
    OfShare {
        /// Number of the endpoint's visit by this pick: one that is visited more often has more chances.
        visit: u64,
    },
    Rotation,
    Joining,
    /// Whatever its health.
    Any,
    /// Whatever its health and its breaker: a request of the trickle.
    Trickle,
}

impl Filter {
    fn is_in_rotation(self) -> bool {
        matches!(self, Self::OfShare { .. } | Self::Rotation)
    }

    /// The same filter for a request of every share.
    fn without_shares(self) -> Self {
        match self {
            Self::OfShare { .. } => Self::Rotation,
            Self::Rotation | Self::Joining | Self::Any | Self::Trickle => self,
        }
    }

    /// The same filter at another visit.
    fn at_visit(self, visit: u64) -> Self {
        match self {
            Self::OfShare { .. } => Self::OfShare { visit },
            Self::Rotation | Self::Joining | Self::Any | Self::Trickle => self,
        }
    }
}

/// Conditions of one pick.
struct Pick<'p, 'r> {
    pool: &'p Pool,
    tried: &'r TriedSet,
    candidate: Candidate,
    now: Tick,
    /// The rules beyond health and breaker, and a random number for them.
    rules: Option<(&'p Selection, u64)>,
}

impl<'p> Pick<'p, '_> {
    /// Admits the request to an endpoint, where it passes.
    #[inline]
    fn admit(&self, endpoint: &'p Endpoint, filter: Filter) -> Option<Picked<'p>> {
        if !self.offers(endpoint, filter) {
            return None;
        }
        let breaker = &self.pool.settings.breaker;
        let admission = match filter {
            Filter::OfShare { .. } | Filter::Rotation => {
                endpoint.state.admit(self.candidate, breaker, self.now)
            }
            Filter::Joining => endpoint.state.admit_joining(self.candidate, breaker, self.now),
            Filter::Any => endpoint.state.admit_ignoring_health(self.candidate, breaker, self.now),
            Filter::Trickle => endpoint.state.admit_early(self.candidate, breaker, self.now),
        }?;
        Some(Picked::new(endpoint, admission))
    }

    /// Whether [`admit`](Self::admit) would admit the request.
    fn passes(&self, endpoint: &Endpoint, filter: Filter) -> bool {
        let is_available = match filter {
            Filter::OfShare { .. } | Filter::Rotation => {
                endpoint.state.is_in_rotation() && endpoint.is_available(self.now)
            }
            Filter::Joining => endpoint.is_available(self.now),
            Filter::Any => endpoint.state.breaker_wait(self.now).is_none(),
            Filter::Trickle => true,
        };
        self.offers(endpoint, filter) && is_available
    }

    /// Its part in a choice by chance: its weight, of which the filter may leave a share.
    fn weight(&self, endpoint: &Endpoint, filter: Filter) -> u64 {
        let weight = match self.pool.shares {
            Shares::Weighted(_) => endpoint.weight,
            Shares::Equal | Shares::None => 1,
        };
        match (filter, self.rules) {
            (Filter::OfShare { .. }, Some((selection, _))) => selection.weight(endpoint, weight, self.now),
            _ => weight.into(),
        }
    }

    /// Whether it would, as far as neither health nor breaker decide.
    #[inline]
    fn offers(&self, endpoint: &Endpoint, filter: Filter) -> bool {
        !endpoint.addresses.is_empty()
            && !self.tried.contains(endpoint.id)
            && self.rules.is_none_or(|(selection, draw)| {
                let draw = match filter {
                    Filter::OfShare { visit } => Some(nth_draw(draw, visit)),
                    Filter::Rotation | Filter::Joining | Filter::Any | Filter::Trickle => None,
                };
                selection.admits(endpoint, draw, self.now)
            })
    }
}

/// Returns the filter by which this request is admitted although no endpoint is available.
#[cold]
fn fallback(pick: &Pick<'_, '_>) -> Option<Filter> {
    let (pool, now) = (pick.pool, pick.now);
    match &pool.fallback {
        Fallback::Reject => None,
        Fallback::PanicOpen => are_all_unhealthy(pool).then_some(Filter::Any),
        Fallback::Trickle(trickle) => {
            let is_down = |endpoint: &Endpoint| endpoint.weight == 0 || !endpoint.is_available(now);
            let takes = |endpoint: &Endpoint| endpoint.weight > 0 && pick.offers(endpoint, Filter::Trickle);
            let passes = pool.endpoints.iter().all(is_down)
                && pool.endpoints.iter().any(takes)
                && trickle.admit(pool.settings.trickle_interval, now);
            passes.then_some(Filter::Trickle)
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
    let (mut unhealthy, mut full) = (false, false);
    let mut retry_after: Option<Duration> = None;
    for endpoint in pool.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()) {
        if !ignores_health && endpoint.state.health() == Health::Unhealthy {
            unhealthy = true;
            continue;
        }
        let wait = match endpoint.state.breaker_wait(now) {
            None if tried.contains(endpoint.id) => return Unavailable::Exhausted,
            None if pool.selection.as_ref().is_some_and(|selection| selection.is_full(endpoint)) => {
                full = true;
                continue;
            }
            // It became available after the pick.
            None => PROBE_WAIT,
            Some(wait) => wait,
        };
        retry_after = Some(retry_after.map_or(wait, |least| least.min(wait)));
    }
    if let (true, Some(max_concurrent)) = (full, pool.endpoint_max_concurrent()) {
        return Unavailable::Busy { max_concurrent };
    }
    match retry_after {
        Some(retry_after) => Unavailable::BreakersOpen { retry_after },
        None if unhealthy => Unavailable::AllUnhealthy(pool.fallback.policy()),
        None => Unavailable::Unresolved,
    }
}

#[cfg(test)]
#[path = "balance_tests.rs"]
pub(crate) mod tests;
