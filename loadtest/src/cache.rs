//! Experiments on the cache: hit ratios of the product's own store beside a cache that evicts the least
//! recently used entry, and the memory of an entry. Requests are drawn; time does not pass.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use ringway_cache::policy::{Freshness, LifetimeSource, ResponseFacts, Times, store};
use ringway_cache::{
    Found, KeyParts, Lines, NewEntry, Scope, ScopeName, ScopeSettings, Settings, Store, StoreSettings,
    StoredHead, Usage, write_key,
};
use ringway_model::Timestamp;

/// Entries of both caches.
const ENTRIES: usize = 10_000;
/// Objects of a popular site.
const OBJECTS: usize = 300_000;
/// Requests before hits are counted, and those that are counted.
const WARM_UP: usize = 1_000_000;
const COUNTED: usize = 2_000_000;
/// Tenants that ask for less than their share, and the objects of each.
const QUIET: usize = 20;
const QUIET_OBJECTS: usize = 400;
/// Requests of the flooding tenant for one of all others.
const FLOOD: u64 = 10;

/// Prints one JSON object per experiment.
pub(crate) fn run() {
    for (name, one_hit_percent, crawler) in [
        ("Zipf 0.9", 0, false),
        ("and as many requests for objects that are asked for once", 50, false),
        ("and a crawler that asks for every object in turn", 0, true),
    ] {
        let trace = |rng: &mut Rng, zipf: &Zipf, at: usize| match at % 3 {
            _ if rng.next() % 100 < one_hit_percent => (OBJECTS + at, false),
            0 if crawler => (OBJECTS * 2 + (at / 3) % (OBJECTS * 4), false),
            _ => (zipf.draw(rng), true),
        };
        let (lru, own) = (of_lru(trace), of_store(trace));
        println!("{{\"kind\":\"trace\",\"trace\":\"{name}\",\"lru\":{lru:.1},\"store\":{own:.1}}}");
    }
    let (lru, own) = flood();
    println!("{{\"kind\":\"flood\",\"lru\":{lru:.1},\"store\":{own:.1}}}");
    memory();
}

/// Draws a request: its object, and whether it counts.
type Trace<'a> = &'a dyn Fn(&mut Rng, &Zipf, usize) -> (usize, bool);

fn of_lru(trace: impl Fn(&mut Rng, &Zipf, usize) -> (usize, bool)) -> f64 {
    let mut lru = Lru::default();
    ratio(&trace, |object| lru.ask(object))
}

fn of_store(trace: impl Fn(&mut Rng, &Zipf, usize) -> (usize, bool)) -> f64 {
    let mut cache = Cache::new(1);
    ratio(&trace, |object| cache.ask(0, object))
}

/// Hits of the requests that count, in percent.
fn ratio(trace: Trace<'_>, mut ask: impl FnMut(usize) -> bool) -> f64 {
    let (mut rng, zipf) = (Rng(0xC0FFEE), Zipf::new(OBJECTS, 0.9));
    let (mut hits, mut requests) = (0_u32, 0_u32);
    for at in 0..WARM_UP + COUNTED {
        let (object, counts) = trace(&mut rng, &zipf, at);
        let is_hit = ask(object);
        if at >= WARM_UP && counts {
            requests += 1;
            hits += u32::from(is_hit);
        }
    }
    100.0 * f64::from(hits) / f64::from(requests)
}

/// Hits of the quiet tenants, in percent, beside one that asks for ten times as much as all of them.
fn flood() -> (f64, f64) {
    let (mut rng, zipf) = (Rng(0xF100D), Zipf::new(QUIET_OBJECTS, 0.9));
    let (mut lru, mut cache) = (Lru::default(), Cache::new(QUIET + 1));
    let (mut hits, mut requests) = ([0_u32; 2], 0_u32);
    for at in 0..WARM_UP + COUNTED {
        if rng.next() % (FLOOD + 1) > 0 {
            lru.ask(OBJECTS + at);
            cache.ask(QUIET, at);
            continue;
        }
        let (tenant, object) = (rng.next() as usize % QUIET, zipf.draw(&mut rng));
        let is_hit = [lru.ask(tenant * QUIET_OBJECTS + object), cache.ask(tenant, object)];
        if at >= WARM_UP {
            requests += 1;
            hits = [0, 1].map(|which| hits[which] + u32::from(is_hit[which]));
        }
    }
    let [lru, own] = hits.map(|hits| 100.0 * f64::from(hits) / f64::from(requests));
    (lru, own)
}

/// Memory of an entry: as the store counts it, and resident.
fn memory() {
    let count = 200_000;
    let mut cache = Cache::with_entries(1, count);
    let before = resident();
    for object in 0..count {
        cache.ask(0, object);
    }
    let resident = (resident().saturating_sub(before)) as f64 / count as f64;
    let used = cache.store.stats().used;
    let counted = used.bytes as f64 / used.entries as f64;
    let content = (cache.key.len() + cache.head.heap_bytes() + CONTENT.len()) as f64;
    println!(
        "{{\"kind\":\"memory\",\"entries\":{},\"content\":{content:.0},\"counted\":{counted:.0},\"resident\":{resident:.0}}}",
        used.entries
    );
}

/// Resident bytes of this process.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<usize> = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    pages.unwrap_or(0) * 4096
}

const CONTENT: &[u8] = b"content";

/// The product's store, with a scope for each tenant.
struct Cache {
    store: Store,
    scopes: Vec<Arc<Scope>>,
    head: Arc<StoredHead>,
    settings: Settings,
    key: Vec<u8>,
}

impl Cache {
    fn new(tenants: usize) -> Self {
        Self::with_entries(tenants, ENTRIES)
    }

    fn with_entries(tenants: usize, entries: usize) -> Self {
        let max = Usage { bytes: u64::MAX, entries: entries as u64 };
        let store = Store::new(&StoreSettings { max, tenant_share_percent: 100 });
        let settings =
            ScopeSettings { epoch: 0, bytes_max: u64::MAX, weight: NonZeroU32::MIN, has_pools: false };
        let name = |tenant: usize| ScopeName { tenant: Some(tenant.to_string().into()), route: "r".into() };
        let scopes = (0..tenants).map(|tenant| store.scope(&name(tenant), &settings)).collect();
        let settings = Settings::default();
        let (now, lines) = (Timestamp(1), Lines(b"Cache-Control: max-age=60\r\n"));
        let facts = ResponseFacts::read(&settings, 200, lines, now);
        let freshness = Freshness { lifetime: 60, source: LifetimeSource::Explicit, initial_age: 0 };
        let times = Times { asked_at: now, received_at: now };
        let head = store_head(&settings, &facts, lines, freshness, times);
        Self { store, scopes, head, settings, key: Vec::new() }
    }

    /// Asks for an object, and stores it if it is not there; whether it was.
    fn ask(&mut self, tenant: usize, object: usize) -> bool {
        let scope = &self.scopes[tenant];
        let target = format!("/{object}");
        let parts = KeyParts {
            scope: scope.id(),
            is_https: true,
            port: 443,
            host: "site.test",
            target: target.as_bytes(),
            pool: "",
        };
        write_key(&mut self.key, &parts, &self.settings, Lines(b"")).expect("a short key");
        if matches!(self.store.find(&self.key, 0), Some(Found::Entry(_))) {
            return true;
        }
        let ticket = self.store.ticket(scope);
        let body = self.store.body(&ticket, vec![bytes::Bytes::from_static(CONTENT)]).expect("room");
        let new = NewEntry {
            key: self.key.as_slice().into(),
            asked: None,
            epoch: 0,
            head: self.head.clone(),
            body,
            variant_of: None,
        };
        self.store.insert(&ticket, new).expect("room after an eviction");
        false
    }
}

fn store_head(
    settings: &Settings,
    facts: &ResponseFacts,
    lines: Lines<'_>,
    freshness: Freshness,
    times: Times,
) -> Arc<StoredHead> {
    Arc::new(store(settings, Lines(b""), facts, lines, b"OK", freshness, times))
}

/// Cache that evicts the least recently used entry.
#[derive(Default)]
struct Lru {
    used: HashMap<usize, u64>,
    order: BTreeMap<u64, usize>,
    uses: u64,
}

impl Lru {
    fn ask(&mut self, object: usize) -> bool {
        self.uses += 1;
        let before = self.used.insert(object, self.uses);
        if let Some(before) = before {
            self.order.remove(&before);
        } else if self.used.len() > ENTRIES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.used.remove(&oldest);
        }
        self.order.insert(self.uses, object);
        before.is_some()
    }
}

/// Popularity of objects: the n-th is asked for in proportion to n^-s.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(objects: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=objects).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self(cumulated.collect())
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.0.last().copied().unwrap_or(0.0);
        let point = rng.next() as f64 / u64::MAX as f64 * total;
        self.0.partition_point(|sum| *sum < point).min(self.0.len() - 1)
    }
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
