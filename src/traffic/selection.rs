//! Selection of endpoints beyond turns and weights: least request, consistent hashing, slow start and limits
//! of each endpoint.
//!
//! Compiled once per pool; a pool without any of it has none, and its picks cost nothing for it. The pool's
//! [`Shares`](crate::weights::Shares) give the weights to all algorithms.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Balancer, Percent, PoolTraffic, Tick};

use crate::balance::key_table::KeyTable;
use crate::balance::spread;
use crate::in_flight::Guard;
use crate::slow_start::Share;
use crate::snapshot::{Endpoint, Pool};

/// Rules of a pool for the choice of an endpoint.
#[derive(Debug)]
pub struct Selection {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// Time in which an endpoint that comes into rotation gets its whole share.
    pub slow_start: Option<Duration>,
    /// Maximum requests in flight at each endpoint, over all cores; a full one is skipped.
    pub endpoint_max_concurrent: Option<u32>,
    /// The maximum in words, for refusals.
    limit: Box<str>,
}

/// Algorithm by which an endpoint is chosen.
#[derive(Debug)]
pub enum Algorithm {
    /// The next in turn, by weights where they differ.
    InTurn,
    /// The less loaded of two random ones: [`Cursors::pick`](crate::balance::Cursors::pick).
    LeastRequest,
    /// By a key of the request: [`by_key`](crate::balance::by_key). A request without one gets the next in
    /// turn.
    Hash(KeyTable),
}

impl Selection {
    /// Rules of these values.
    pub fn new(
        algorithm: Algorithm,
        slow_start: Option<Duration>,
        endpoint_max_concurrent: Option<u32>,
    ) -> Self {
        let limit = endpoint_max_concurrent.map(|max| format!("{max} requests at a time per endpoint"));
        Self { algorithm, slow_start, endpoint_max_concurrent, limit: limit.unwrap_or_default().into() }
    }

    /// Rules of a pool with these settings; `None` where turns and weights are all. Remembered winners of
    /// keys are those of `known`, whose endpoints and weights must be the same.
    pub(crate) fn of(
        balancer: Balancer,
        traffic: Option<&PoolTraffic>,
        known: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let slow_start = traffic.and_then(|traffic| traffic.slow_start);
        let max = traffic.and_then(|traffic| traffic.endpoint_max_concurrent);
        let algorithm = match balancer {
            Balancer::RoundRobin | Balancer::WeightedRoundRobin if slow_start.is_none() && max.is_none() => {
                return None;
            }
            Balancer::RoundRobin | Balancer::WeightedRoundRobin => Algorithm::InTurn,
            Balancer::LeastRequest => Algorithm::LeastRequest,
            Balancer::ConsistentHash => Algorithm::Hash(KeyTable::default()),
        };
        let new = Self::new(algorithm, slow_start, max);
        match known.filter(|known| known.is_like(&new)) {
            Some(known) => Some(known.clone()),
            None => Some(Arc::new(new)),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.algorithm) == std::mem::discriminant(&other.algorithm)
            && self.slow_start == other.slow_start
            && self.endpoint_max_concurrent == other.endpoint_max_concurrent
    }

    /// Whether an endpoint may take a request: it has a permit left, and in a slow start the request is of
    /// its share, by a `draw` that is uniform over all numbers. Without a draw, shares do not count.
    pub(crate) fn admits(&self, endpoint: &Endpoint, draw: Option<u64>, now: Tick) -> bool {
        if self.is_full(endpoint) {
            return false;
        }
        match (self.share(endpoint, now), draw) {
            (Some(share), Some(draw)) => share.takes(spread(draw ^ endpoint.affinity)),
            _ => true,
        }
    }

    /// Whether no permit of the endpoint is left. One relaxed load where there is a maximum.
    pub(crate) fn is_full(&self, endpoint: &Endpoint) -> bool {
        self.endpoint_max_concurrent.is_some_and(|max| endpoint.in_flight.shared_requests() >= max)
    }

    /// Requests in flight for its weight, as a fraction: more is heavier. A rising share counts as a lower
    /// weight, for an endpoint that has just come would have the least load of all.
    pub(crate) fn load(&self, endpoint: &Endpoint, now: Tick) -> Load {
        let weight = self.weight(endpoint, endpoint.weight, now);
        Load { requests: endpoint.in_flight.shared_requests(), weight }
    }

    /// The share of a weight that a slow start allows, in parts of one that are the same for all endpoints.
    pub(crate) fn weight(&self, endpoint: &Endpoint, weight: u16, now: Tick) -> u64 {
        self.share(endpoint, now).unwrap_or(Share::FULL).of(weight)
    }

    /// The part of its share that an endpoint has in its slow start; `None` unless one is in progress. For
    /// displays: begins none.
    pub fn slow_start_progress(&self, endpoint: &Endpoint, now: Tick) -> Option<Percent> {
        let is_settled = endpoint.state.is_settled();
        endpoint.state.ramp().progress(self.slow_start.filter(|_| is_settled)?, now)
    }

    /// The part of its share that a slow start allows; `None` without one, or out of rotation.
    fn share(&self, endpoint: &Endpoint, now: Tick) -> Option<Share> {
        let duration = self.slow_start?;
        if endpoint.state.is_settled() {
            return Some(endpoint.state.ramp().share(duration, now));
        }
        endpoint.state.ramp().leave();
        None
    }
}

/// Load of an endpoint: its requests in flight for each part of its weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    requests: u32,
    weight: u64,
}

impl Load {
    /// Whether this one is lighter. Both weights are above 0.
    pub(crate) fn is_below(self, other: Self) -> bool {
        u128::from(self.requests) * u128::from(other.weight)
            < u128::from(other.requests) * u128::from(self.weight)
    }
}

impl Pool {
    /// Counts a request at an endpoint that was picked; `None` where another core took the last permit since
    /// then. A pool without limits and load balancing counts on the core's own line alone.
    #[inline]
    pub fn begin<'a>(&self, endpoint: &'a Endpoint, core: usize) -> Option<Guard<'a>> {
        match self.selection.as_deref() {
            None => Some(endpoint.in_flight.begin(core)),
            Some(selection) => selection.begin(endpoint, core),
        }
    }

    /// The maximum of requests in flight at each endpoint, in words.
    pub fn endpoint_limit(&self) -> Option<&str> {
        self.selection.as_ref().map(|selection| &*selection.limit)
    }

    /// Whether its endpoints are chosen by keys of requests.
    pub fn is_keyed(&self) -> bool {
        matches!(self.selection.as_deref(), Some(Selection { algorithm: Algorithm::Hash(_), .. }))
    }

    /// Requests that a full endpoint of this pool has in flight.
    pub fn endpoint_max_concurrent(&self) -> Option<u32> {
        self.selection.as_ref()?.endpoint_max_concurrent
    }
}

impl Selection {
    fn begin<'a>(&self, endpoint: &'a Endpoint, core: usize) -> Option<Guard<'a>> {
        match (self.endpoint_max_concurrent, &self.algorithm) {
            (Some(max), _) => endpoint.in_flight.begin_shared(core, max),
            (None, Algorithm::LeastRequest) => endpoint.in_flight.begin_shared(core, u32::MAX),
            (None, Algorithm::InTurn | Algorithm::Hash(_)) => Some(endpoint.in_flight.begin(core)),
        }
    }
}

#[cfg(test)]
#[path = "selection_tests.rs"]
mod tests;
