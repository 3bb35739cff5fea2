//! Registry of the metrics: names of slots and sums over all cores.
//!
//! The control thread owns the [`Registry`]: it knows which route, pool or endpoint each metric slot stands for,
//! and adds the shards up when someone scrapes. Shards are only ever read here.
//!
//! # When a slot gets another owner
//! A counter is written by its core alone, so nobody can reset it. Instead the registry remembers what the
//! counters of a slot stood at when it was given away: what an owner counted is the difference to that, and what the
//! owners before it counted is added to the series labelled [`OTHER`], so that sums never go backwards. What is
//! counted while a slot has no owner goes there too.
//!
//! An exchange that began under the old snapshot may still be counted after the slot has its next owner, and would
//! be counted for that one. Whoever gives out slots therefore gives out the one that has been free the longest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ringway_model::CoreId;

use crate::shard::{Metrics, Pages, SLOTS, Shard, TRAFFIC_WORDS, TrafficPage, UPSTREAM_WORDS, UpstreamPage};

/// The label of everything that has no slot of its own. No app, instance or domain can be called so.
pub const OTHER: &str = "_other";

/// Names the slots and reads the shards of all cores; lives on the control thread.
#[derive(Debug, Default)]
pub struct Registry {
    pub(crate) shards: Vec<Arc<Shard>>,
    pub(crate) routes: Slots<TrafficPage>,
    pub(crate) pools: Slots<TrafficPage>,
    pub(crate) endpoints: Slots<UpstreamPage>,
}

impl Registry {
    /// Without cores.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the counters of one core; the result goes to that core. Call once per core.
    pub fn add_core(&mut self, core: CoreId) -> Metrics {
        let shard = Arc::new(Shard::new(core));
        self.shards.push(shard.clone());
        Metrics::new(shard)
    }

    /// A metric slot stands for a route and its pool from now on. Slot 0 and slots beyond the bound have no name.
    pub fn name_route(&mut self, slot: u16, route: &str, pool: &str) {
        let pages = self.shards.iter().map(|shard| &shard.routes);
        self.routes.name(slot, Names::new(route, pool), pages);
    }

    /// A route's slot is free.
    pub fn free_route(&mut self, slot: u16) {
        self.routes.free(slot, self.shards.iter().map(|shard| &shard.routes));
    }

    /// A metric slot stands for a pool from now on.
    pub fn name_pool(&mut self, slot: u16, pool: &str) {
        self.pools.name(slot, Names::new(pool, ""), self.shards.iter().map(|shard| &shard.pools));
    }

    /// A pool's slot is free.
    pub fn free_pool(&mut self, slot: u16) {
        self.pools.free(slot, self.shards.iter().map(|shard| &shard.pools));
    }

    /// A metric slot stands for an endpoint of a pool from now on; `endpoint` is its address as registered.
    pub fn name_endpoint(&mut self, slot: u16, pool: &str, endpoint: &str) {
        let pages = self.shards.iter().map(|shard| &shard.endpoints);
        self.endpoints.name(slot, Names::new(endpoint, pool), pages);
    }

    /// An endpoint's slot is free.
    pub fn free_endpoint(&mut self, slot: u16) {
        self.endpoints.free(slot, self.shards.iter().map(|shard| &shard.endpoints));
    }

    /// Counters of each core, for the status.
    pub fn cores(&self) -> impl Iterator<Item = CoreReading> {
        self.shards.iter().map(|shard| CoreReading::new(shard))
    }
}

/// Counters of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreReading {
    /// Which core.
    pub core: CoreId,
    /// The I/O driver that it runs on, once it has told.
    pub driver: Option<&'static str>,
    /// Exchanges that are over.
    pub exchanges: u64,
    /// Client connections accepted and served.
    pub connections_accepted: u64,
    /// Client connections that are open now.
    pub connections_open: u64,
    /// Client connections accepted and given to other cores.
    pub connections_handed_over: u64,
    /// Client connections refused because the core had too many.
    pub refused_full: u64,
    /// Client connections refused because the process was ending.
    pub refused_draining: u64,
    /// Client connections refused because a load balancer left out its PROXY header.
    pub refused_proxy_header: u64,
    /// Tunnels that are open now.
    pub upgrades_active: u64,
    /// Tunnels opened.
    pub upgrades: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// The snapshot that the core routes by.
    pub serial: u64,
    /// The revision of that snapshot.
    pub revision: u64,
}

impl CoreReading {
    fn new(shard: &Shard) -> Self {
        // Ended before started: the other order could show more ends than starts.
        let connections_closed = shard.connections_closed.read();
        let upgrades_ended = shard.upgrades_ended.read();
        let connections_accepted = shard.connections_opened.read();
        let upgrades = shard.upgrades_started.read();
        Self {
            core: shard.core,
            driver: shard.driver.get().copied(),
            exchanges: shard.exchanges.read(),
            connections_accepted,
            connections_open: connections_accepted.saturating_sub(connections_closed),
            connections_handed_over: shard.connections_handed_over.read(),
            refused_full: shard.refused_full.read(),
            refused_draining: shard.refused_draining.read(),
            refused_proxy_header: shard.refused_proxy_header.read(),
            upgrades_active: upgrades.saturating_sub(upgrades_ended),
            upgrades,
            panics: shard.panics.read(),
            serial: shard.serial.read(),
            revision: shard.revision.read(),
        }
    }
}

/// The slots of one kind: their owners, and what former owners counted.
#[derive(Debug)]
pub(crate) struct Slots<P: Page> {
    owners: Vec<Slot<P>>,
    by_names: HashMap<Names, u16>,
    folded: P::Totals,
}

#[derive(Debug)]
struct Slot<P: Page> {
    names: Option<Names>,
    /// Values of the counters when the present owner, or the present absence of one, began.
    base: Option<Box<P::Totals>>,
}

/// Meaning of a slot, in label values that are escaped already.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Names {
    /// The thing itself.
    pub(crate) name: Box<str>,
    /// The pool that it belongs to, where there is one.
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
        // One name, one series: a scrape with the same series twice would be refused as a whole.
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

    /// Moves what the slot counted since its base to the folded totals.
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

    /// Everything that was counted: named slots that counted something, then the rest in one.
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

/// The counters of one slot on one core, readable as plain numbers.
pub(crate) trait Page: Default {
    type Totals: Totals;

    fn add_to(&self, totals: &mut Self::Totals);
}

/// The counters of one slot, summed over cores.
pub(crate) trait Totals: Default + Clone {
    fn add(&mut self, other: &Self);
    fn subtract(&mut self, base: &Self);
}

#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    pub(crate) words: [u64; TRAFFIC_WORDS],
    pub(crate) rare: BTreeMap<u16, u64>,
    pub(crate) upstream: Upstream,
    /// Failed attempts of a pool, by their reason.
    pub(crate) errors: BTreeMap<&'static str, u64>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            words: [0; TRAFFIC_WORDS],
            rare: BTreeMap::new(),
            upstream: Upstream::default(),
            errors: BTreeMap::new(),
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

/// A slot's counters over all cores; `None` when no core ever counted in it.
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
