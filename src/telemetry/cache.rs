//! Counters of the cache: of each route, and of all.

use std::collections::{BTreeMap, HashMap};

use crate::counter::Counter;
use crate::event::{CacheResult, CacheUse};
use crate::registry::{Names, OTHER, Page, Registry, Totals, Traffic};
use crate::shard::Shard;

/// Counters of a route with a cache, or of a pool for its routes without a slot.
#[derive(Debug, Default)]
pub(crate) struct CachePage {
    /// By [`CacheResult`].
    pub(crate) results: [Counter; CacheResult::ALL.len()],
    /// Exchanges that got the response to another one's request.
    pub(crate) coalesced: Counter,
    pub(crate) waits_begun: Counter,
    pub(crate) waits_ended: Counter,
}

impl CachePage {
    pub(crate) fn count(&self, used: CacheUse) {
        self.results[used.result as usize].add(1);
        if used.is_coalesced {
            self.coalesced.add(1);
        }
    }
}

/// Counts of a route, as in [`CachePage`].
#[derive(Clone, Debug, Default)]
pub(crate) struct CacheCounts {
    pub(crate) results: [u64; CacheResult::ALL.len()],
    pub(crate) coalesced: u64,
    pub(crate) waits_begun: u64,
    pub(crate) waits_ended: u64,
}

impl CacheCounts {
    fn words(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { results, coalesced, waits_begun, waits_ended } = self;
        results.iter_mut().chain([coalesced, waits_begun, waits_ended])
    }

    /// Requests that wait for another one's response.
    pub(crate) fn waiters(&self) -> u64 {
        self.waits_begun.saturating_sub(self.waits_ended)
    }

    /// Whether the route has a cache that was asked.
    pub(crate) fn is_used(&self) -> bool {
        self.waits_begun > 0 || self.results.iter().any(|count| *count > 0)
    }
}

impl Page for CachePage {
    type Totals = CacheCounts;

    fn add_to(&self, totals: &mut CacheCounts) {
        let Self { results, coalesced, waits_begun, waits_ended } = self;
        // Ends are read before starts: the other order could show more ends than starts.
        let ended = waits_ended.read();
        for (total, count) in totals.results.iter_mut().zip(results) {
            *total += count.read();
        }
        totals.coalesced += coalesced.read();
        totals.waits_begun += waits_begun.read();
        totals.waits_ended += ended;
    }
}

impl Totals for CacheCounts {
    fn add(&mut self, other: &Self) {
        for (total, count) in self.words().zip(other.clone().words()) {
            *total += *count;
        }
    }

    fn subtract(&mut self, base: &Self) {
        for (total, count) in self.words().zip(base.clone().words()) {
            *total = total.saturating_sub(*count);
        }
    }
}

/// Requests of routes that have a cache, by its part in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheReading {
    /// Answered by a stored response alone.
    pub hits: u64,
    /// Of which an endpoint was asked.
    pub misses: u64,
    /// Passed by the cache.
    pub bypasses: u64,
}

impl CacheReading {
    fn new([hits, misses, bypasses]: [u64; CacheResult::ALL.len()]) -> Self {
        Self { hits, misses, bypasses }
    }

    /// Share of the hits in hits and misses, from 0 to 1; `None` before the first of either.
    pub fn hit_ratio(&self) -> Option<f64> {
        let looked_up = self.hits + self.misses;
        (looked_up > 0).then(|| self.hits as f64 / looked_up as f64)
    }

    fn add(&mut self, traffic: &Traffic) {
        let Self { hits, misses, bypasses } = Self::new(traffic.cache.results);
        self.hits += hits;
        self.misses += misses;
        self.bypasses += bypasses;
    }
}

impl Registry {
    /// Returns the requests to all caches since the start. Some loads for each core.
    pub fn cache(&self) -> CacheReading {
        let sum = |result: usize| self.shards.iter().map(|shard| shard.cache_results[result].read()).sum();
        CacheReading::new(std::array::from_fn(sum))
    }

    /// Returns the requests to the caches of the routes that have metric slots, by route, since the slot was
    /// assigned. Reads the shards without blocking the cores.
    pub fn cache_by_route(&self) -> HashMap<&str, CacheReading> {
        let (routes, _) = self.routes.read(self.shards.iter().map(|shard| &shard.routes));
        let mut readings: HashMap<&str, CacheReading> = HashMap::new();
        for (Names { name, .. }, traffic) in routes.iter().filter(|(_, traffic)| traffic.cache.is_used()) {
            readings.entry(name).or_default().add(traffic);
        }
        readings
    }

    /// Counts of words that all cores have counted, summed.
    pub(crate) fn words_of_cache(
        &self,
        of: impl Fn(&Shard) -> &crate::counter::WordCounters,
    ) -> BTreeMap<&str, u64> {
        let mut words = BTreeMap::new();
        for (word, count) in self.shards.iter().flat_map(|shard| of(shard).read()) {
            *words.entry(word.unwrap_or(OTHER)).or_default() += count;
        }
        words
    }
}
