//! Registry of the metrics: names of slots and sums over all cores.
//!
//! The control thread owns the [`Registry`], which maps each metric slot to its route, pool or endpoint and
//! sums the shards at each scrape. Shards are only read here.
//!
//! # Reuse of a slot
//! A counter is written by its core alone and cannot be reset. Instead the registry stores the values of a
//! slot's counters when its owner changes: the count of an owner is the difference to them, and the counts of
//! former owners are added to the series labelled [`OTHER`], which keeps sums monotonic. Counts of a slot
//! without an owner go there too.
//!
//! An exchange that began under the old snapshot may be counted after the slot has its next owner, and would
//! be counted for that one. The allocator of slots therefore assigns the slot that has been free the longest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ringway_model::{CoreId, Variant};

use crate::cache::CacheCounts;
use crate::counter::Counter;
use crate::event::{HedgeOutcome, MirrorOutcome, PolicyDecision, RetryOutcome};
use crate::shard::{
    BUCKETS_US, CallPage, Metrics, Pages, PolicyPage, SLOTS, Shard, TRAFFIC_WORDS, TrafficPage,
    UPSTREAM_WORDS, UpstreamPage,
};

/// Label value of everything without a slot. Not a valid name of an app, instance or domain.
pub const OTHER: &str = "_other";

/// Owners of the metric slots and shards of all cores, on the control thread.
#[derive(Debug, Default)]
pub struct Registry {
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) routes: Slots<TrafficPage>,
    pub(crate) pools: Slots<TrafficPage>,
    pub(crate) endpoints: Slots<UpstreamPage>,
}

impl Registry {
    /// Creates a registry without cores.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the counters of one core; the result is moved to that core. Call once per core.
    pub fn add_core(&mut self, core: CoreId) -> Metrics {
        let shard = Arc::new(Shard::new(core));
        self.shards.push(shard.clone());
        Metrics::new(shard)
    }

    /// Assigns a metric slot to a route and its pool. No effect for slot 0 and slots beyond the limit.
    pub fn name_route(&mut self, slot: u16, route: &str, pool: &str) {
        let pages = self.shards.iter().map(|shard| &shard.routes);
        self.routes.name(slot, Names::new(route, pool), pages);
    }

    /// Frees the slot of a route.
    pub fn free_route(&mut self, slot: u16) {
        self.routes.free(slot, self.shards.iter().map(|shard| &shard.routes));
    }

    /// Assigns a metric slot to a pool.
    pub fn name_pool(&mut self, slot: u16, pool: &str) {
        self.pools.name(slot, Names::new(pool, ""), self.shards.iter().map(|shard| &shard.pools));
    }

    /// Frees the slot of a pool.
    pub fn free_pool(&mut self, slot: u16) {
        self.pools.free(slot, self.shards.iter().map(|shard| &shard.pools));
    }

    /// Assigns a metric slot to an endpoint of a pool; `endpoint` is its address as registered.
    pub fn name_endpoint(&mut self, slot: u16, pool: &str, endpoint: &str) {
        let pages = self.shards.iter().map(|shard| &shard.endpoints);
        self.endpoints.name(slot, Names::new(endpoint, pool), pages);
    }

    /// Frees the slot of an endpoint.
    pub fn free_endpoint(&mut self, slot: u16) {
        self.endpoints.free(slot, self.shards.iter().map(|shard| &shard.endpoints));
    }

    /// Returns the counters of each core, for the status.
    pub fn cores(&self) -> impl Iterator<Item = CoreReading> {
        self.shards.iter().map(|shard| CoreReading::new(shard))
    }
}

/// Counters of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreReading {
    /// Id of the core.
    pub core: CoreId,
    /// I/O driver of the core, once it has been set.
    pub driver: Option<&'static str>,
    /// Completed exchanges.
    pub exchanges: u64,
    /// Those with status 500, 502, 503 or 504, or cut off by their endpoint.
    pub errors: u64,
    /// Client connections accepted and served.
    pub connections_accepted: u64,
    /// Open client connections.
    pub connections_open: u64,
    /// Client connections accepted and migrated to other cores.
    pub connections_handed_over: u64,
    /// Client connections refused because the core had reached its limit.
    pub refused_full: u64,
    /// Client connections refused because the process was draining.
    pub refused_draining: u64,
    /// Client connections refused because the PROXY header of a load balancer was missing.
    pub refused_proxy_header: u64,
    /// Of clients that the forward proxy does not serve.
    pub refused_client: u64,
    /// Open tunnels.
    pub upgrades_active: u64,
    /// Tunnels opened.
    pub upgrades: u64,
    /// Open tunnels of the forward proxy.
    pub tunnels_active: u64,
    /// Tunnels of the forward proxy so far.
    pub tunnels: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// Serial of the snapshot in use.
    pub serial: u64,
    /// Revision of that snapshot.
    pub revision: u64,
}

impl CoreReading {
    fn new(shard: &Shard) -> Self {
        // Ends are read before starts: the other order could show more ends than starts.
        let connections_closed = shard.connections_closed.read();
        let websockets_ended = shard.websockets.ended.read();
        let tunnels_ended = shard.tunnels.ended.read();
        let connections_accepted = shard.connections_opened.read();
        let websockets = shard.websockets.started.read();
        let tunnels = shard.tunnels.started.read();
        Self {
            core: shard.core,
            driver: shard.driver.get().copied(),
            exchanges: shard.exchanges.read(),
            errors: shard.errors.read(),
            connections_accepted,
            connections_open: connections_accepted.saturating_sub(connections_closed),
            connections_handed_over: shard.connections_handed_over.read(),
            refused_full: shard.refused_full.read(),
            refused_draining: shard.refused_draining.read(),
            refused_proxy_header: shard.refused_proxy_header.read(),
            refused_client: shard.refused_client.read(),
            upgrades_active: websockets.saturating_sub(websockets_ended),
            upgrades: websockets,
            tunnels_active: tunnels.saturating_sub(tunnels_ended),
            tunnels,
            panics: shard.panics.read(),
            serial: shard.serial.read(),
            revision: shard.revision.read(),
        }
    }
}

/// Slots of one kind: their owners, and the sum of the counts of former owners.
#[derive(Debug)]
pub(crate) struct Slots<P: Page> {
    owners: Vec<Slot<P>>,
    by_names: HashMap<Names, u16>,
    folded: P::Totals,
}

#[derive(Debug)]
struct Slot<P: Page> {
    names: Option<Names>,
    /// Values of the counters when the owner last changed.
    base: Option<Box<P::Totals>>,
}

/// Owner of a slot, as escaped label values.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Names {
    /// Name of the route, pool or endpoint.
    pub(crate) name: Box<str>,
    /// Pool of the route or endpoint; empty for a pool.
    pub(crate) pool: Box<str>,
}

impl Names {
    fn new(name: &str, pool: &str) -> Self {
        Self { name: escape_label(name).into(), pool: escape_label(pool).into() }
    }
}

impl<P: Page> Slots<P> {
    fn name<'a>(&mut self, slot: u16, names: Names, pages: impl Iterator<Item = &'a Pages<P>> + Clone)
    where
        P: 'a,
    {
        let Some(owner) = self.owners.get(usize::from(slot)).filter(|_| slot != 0) else { return };
        if owner.names.as_ref() == Some(&names) {
            return;
        }
        self.free(slot, pages.clone());
        // One series per name: Prometheus rejects a scrape with a duplicate series as a whole.
        if let Some(previous) = self.by_names.insert(names.clone(), slot) {
            self.settle(previous, pages);
            self.owners[usize::from(previous)].names = None;
        }
        self.owners[usize::from(slot)].names = Some(names);
    }

    fn free<'a>(&mut self, slot: u16, pages: impl Iterator<Item = &'a Pages<P>>)
    where
        P: 'a,
    {
        if slot == 0 || usize::from(slot) >= self.owners.len() {
            return;
        }
        self.settle(slot, pages);
        if let Some(names) = self.owners[usize::from(slot)].names.take() {
            self.by_names.remove(&names);
        }
    }

    /// Adds the slot's counts since its base to the folded totals.
    fn settle<'a>(&mut self, slot: u16, pages: impl Iterator<Item = &'a Pages<P>>)
    where
        P: 'a,
    {
        let Some(now) = sum(usize::from(slot), pages) else { return };
        let owner = &mut self.owners[usize::from(slot)];
        let mut since = now.clone();
        if let Some(base) = &owner.base {
            since.subtract(base);
        }
        self.folded.add(&since);
        owner.base = Some(Box::new(now));
    }

    /// Returns the totals of each named slot that counted, and the sum of all the rest.
    pub(crate) fn read<'a>(
        &self,
        pages: impl Iterator<Item = &'a Pages<P>> + Clone,
    ) -> (Vec<(&Names, P::Totals)>, P::Totals)
    where
        P: 'a,
    {
        let mut named = Vec::new();
        let mut other = self.folded.clone();
        for (slot, owner) in self.owners.iter().enumerate() {
            let Some(mut totals) = sum(slot, pages.clone()) else { continue };
            if let Some(base) = &owner.base {
                totals.subtract(base);
            }
            match &owner.names {
                Some(names) => named.push((names, totals)),
                None => other.add(&totals),
            }
        }
        (named, other)
    }
}

impl<P: Page> Default for Slots<P> {
    fn default() -> Self {
        Self {
            owners: (0..SLOTS).map(|_| Slot { names: None, base: None }).collect(),
            by_names: HashMap::new(),
            folded: P::Totals::default(),
        }
    }
}

/// Counters of one slot on one core, readable as plain numbers.
pub(crate) trait Page: Default {
    type Totals: Totals;

    fn add_to(&self, totals: &mut Self::Totals);
}

/// Counters of one slot, summed over cores.
pub(crate) trait Totals: Default + Clone {
    fn add(&mut self, other: &Self);
    fn subtract(&mut self, base: &Self);
}

#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) words: [u64; TRAFFIC_WORDS],
    pub(crate) rare: BTreeMap<u16, u64>,
    pub(crate) upstream: Upstream,
    /// Failed attempts of a pool by reason.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    pub(crate) policies: Policies,
    /// Calls of middleware stages to a pool.
    pub(crate) calls: Calls,
    pub(crate) cache: CacheCounts,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            words: [0; TRAFFIC_WORDS],
            rare: BTreeMap::new(),
            upstream: Upstream::default(),
            errors: BTreeMap::new(),
            policies: Policies::default(),
            calls: Calls::default(),
            cache: CacheCounts::default(),
        }
    }
}

impl Page for TrafficPage {
    type Totals = Traffic;

    fn add_to(&self, totals: &mut Traffic) {
        for (total, counter) in totals.words.iter_mut().zip(&self.words) {
            *total += counter.read();
        }
        let rare = self.rare.get().into_iter().flat_map(|rare| (100..).zip(&**rare));
        for (status, count) in rare.map(|(status, counter)| (status, counter.read())) {
            if count > 0 {
                *totals.rare.entry(status).or_default() += count;
            }
        }
        self.upstream.add_to(&mut totals.upstream);
        for (reason, count) in self.errors.get().into_iter().flat_map(|errors| errors.read()) {
            *totals.errors.entry(reason.unwrap_or(OTHER)).or_default() += count;
        }
        if let Some(page) = self.policies.get() {
            page.add_to(&mut totals.policies);
        }
        if let Some(page) = self.calls.get() {
            page.add_to(&mut totals.calls);
        }
        if let Some(page) = self.cache.get() {
            page.add_to(&mut totals.cache);
        }
    }
}

impl Totals for Traffic {
    fn add(&mut self, other: &Self) {
        for (total, count) in self.words.iter_mut().zip(&other.words) {
            *total += count;
        }
        for (status, count) in &other.rare {
            *self.rare.entry(*status).or_default() += count;
        }
        self.upstream.add(&other.upstream);
        for (reason, count) in &other.errors {
            *self.errors.entry(reason).or_default() += count;
        }
        self.policies.add(&other.policies);
        self.calls.add(&other.calls);
        self.cache.add(&other.cache);
    }

    fn subtract(&mut self, base: &Self) {
        for (total, count) in self.words.iter_mut().zip(&base.words) {
            *total = total.saturating_sub(*count);
        }
        for (status, count) in &base.rare {
            if let Some(total) = self.rare.get_mut(status) {
                *total = total.saturating_sub(*count);
            }
        }
        self.upstream.subtract(&base.upstream);
        for (reason, count) in &base.errors {
            if let Some(total) = self.errors.get_mut(reason) {
                *total = total.saturating_sub(*count);
            }
        }
        self.policies.subtract(&base.policies);
        self.calls.subtract(&base.calls);
        self.cache.subtract(&base.cache);
    }
}

/// Counts of calls of middleware stages, as in [`CallPage`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) results: BTreeMap<&'static str, u64>,
    pub(crate) decisions: BTreeMap<&'static str, u64>,
    pub(crate) failures: BTreeMap<&'static str, u64>,
    pub(crate) decided: [u64; BUCKETS_US.len() + 1],
    pub(crate) decided_us: u64,
}

impl Page for CallPage {
    type Totals = Calls;

    fn add_to(&self, totals: &mut Calls) {
        let words = [
            (&self.results, &mut totals.results),
            (&self.decisions, &mut totals.decisions),
            (&self.failures, &mut totals.failures),
        ];
        for (words, sums) in words {
            for (word, count) in words.read() {
                *sums.entry(word.unwrap_or(OTHER)).or_default() += count;
            }
        }
        for (total, counter) in totals.decided.iter_mut().zip(&self.decided) {
            *total += counter.read();
        }
        totals.decided_us += self.decided_us.read();
    }
}

impl Totals for Calls {
    fn add(&mut self, other: &Self) {
        let words = [
            (&mut self.results, &other.results),
            (&mut self.decisions, &other.decisions),
            (&mut self.failures, &other.failures),
        ];
        for (sums, others) in words {
            for (word, count) in others {
                *sums.entry(word).or_default() += count;
            }
        }
        for (total, count) in self.decided.iter_mut().zip(&other.decided) {
            *total += count;
        }
        self.decided_us += other.decided_us;
    }

    fn subtract(&mut self, base: &Self) {
        let words = [
            (&mut self.results, &base.results),
            (&mut self.decisions, &base.decisions),
            (&mut self.failures, &base.failures),
        ];
        for (sums, bases) in words {
            for (word, count) in bases {
                if let Some(total) = sums.get_mut(word) {
                    *total = total.saturating_sub(*count);
                }
            }
        }
        for (total, count) in self.decided.iter_mut().zip(&base.decided) {
            *total = total.saturating_sub(*count);
        }
        self.decided_us = self.decided_us.saturating_sub(base.decided_us);
    }
}

/// Counts of the traffic policies, as in [`PolicyPage`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    pub(crate) decisions: [u64; PolicyDecision::ALL.len()],
    pub(crate) retries: [u64; RetryOutcome::ALL.len()],
    pub(crate) hedged: [u64; HedgeOutcome::ALL.len()],
    pub(crate) mirrored: [u64; MirrorOutcome::ALL.len()],
    pub(crate) variants: [u64; Variant::ALL.len()],
    pub(crate) variant_errors: [u64; Variant::ALL.len()],
    pub(crate) queued: u64,
    pub(crate) queue_us: u64,
    /// Refused exchanges by code.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

impl Policies {
    /// Whether something was counted that may precede the first response.
    pub(crate) fn has_early_counts(&self) -> bool {
        self.decisions.iter().chain(&self.mirrored).any(|count| *count > 0)
    }

    fn words(&mut self) -> impl Iterator<Item = &mut u64> {
        let Self { decisions, retries, hedged, mirrored, variants, variant_errors, queued, queue_us, .. } =
            self;
        let lists = decisions.iter_mut().chain(retries).chain(hedged).chain(mirrored);
        let lists = lists.chain(variants).chain(variant_errors);
        lists.chain([queued, queue_us])
    }
}

impl Page for PolicyPage {
    type Totals = Policies;

    fn add_to(&self, totals: &mut Policies) {
        let Self {
            decisions,
            retries,
            hedged,
            mirrored,
            variants,
            variant_errors,
            queued,
            queue_us,
            refused,
        } = self;
        let lists = decisions.iter().chain(retries).chain(hedged).chain(mirrored);
        let lists = lists.chain(variants).chain(variant_errors);
        let counters = lists.chain([queued, queue_us]).map(Counter::read);
        for (total, count) in totals.words().zip(counters) {
            *total += count;
        }
        for (code, count) in refused.get().into_iter().flat_map(|refused| refused.read()) {
            *totals.refused.entry(code.unwrap_or(OTHER)).or_default() += count;
        }
    }
}

impl Totals for Policies {
    fn add(&mut self, other: &Self) {
        for (total, count) in self.words().zip(other.clone().words()) {
            *total += *count;
        }
        for (code, count) in &other.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }

    fn subtract(&mut self, base: &Self) {
        for (total, count) in self.words().zip(base.clone().words()) {
            *total = total.saturating_sub(*count);
        }
        for (code, count) in &base.refused {
            if let Some(total) = self.refused.get_mut(code) {
                *total = total.saturating_sub(*count);
            }
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Upstream {
    pub(crate) words: [u64; UPSTREAM_WORDS],
}

impl Page for UpstreamPage {
    type Totals = Upstream;

    fn add_to(&self, totals: &mut Upstream) {
        for (total, counter) in totals.words.iter_mut().zip(&self.words) {
            *total += counter.read();
        }
    }
}

impl Totals for Upstream {
    fn add(&mut self, other: &Self) {
        for (total, count) in self.words.iter_mut().zip(&other.words) {
            *total += count;
        }
    }

    fn subtract(&mut self, base: &Self) {
        for (total, count) in self.words.iter_mut().zip(&base.words) {
            *total = total.saturating_sub(*count);
        }
    }
}

/// Sums a slot's counters over all cores; `None` if no core has counted in it.
fn sum<'a, P: Page + 'a>(slot: usize, pages: impl Iterator<Item = &'a Pages<P>>) -> Option<P::Totals> {
    let mut totals = None;
    for page in pages.filter_map(|pages| pages.read(slot)) {
        page.add_to(totals.get_or_insert_with(P::Totals::default));
    }
    totals
}

/// Escapes a label value (Prometheus text format 0.0.4: backslash, double quote, line feed).
pub(crate) fn escape_label(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped
}
