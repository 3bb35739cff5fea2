//! Counters of one core.
//!
//! One thread writes a [`Shard`], the control thread reads it at each scrape. Its size is bounded by the
//! number of metric slots, and the counters of a slot are allocated at its first count: an idle shard has
//! about 60 KiB, each route adds about 0.5 KiB.
//!
//! An exchange is counted once: under its route if the route has a slot, else under its pool. Routes without
//! a slot still appear with their pool, and sums over all series are exact.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::{Arc, OnceLock};

use ringway_model::{CoreId, Variant, limits};

use crate::cache::CachePage;
use crate::counter::{Counter, WordCounters};
use crate::event::{
    CacheResult, CacheUse, CacheWait, Compression, Event, Exchange, FilterAsked, HedgeOutcome, MirrorOutcome,
    PolicyDecision, RefusalReason, RetryOutcome, Upgrade, UpstreamError,
};
use crate::observer::Observer;

/// Metrics observer of one core, the only writer of its shard.
///
/// `Send`, to be moved to its core, but not `Sync` and not `Clone`: a second writer would lose counts.
/// Counting an exchange costs about 15 ns and allocates only at the first count of a slot.
#[derive(Debug)]
pub struct Metrics {
    shard: Arc<Shard>,
    single_writer: PhantomData<Cell<()>>,
}

impl Metrics {
    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        Self { shard, single_writer: PhantomData }
    }

    /// Sets the name of the core's I/O driver; later calls have no effect.
    pub fn set_driver(&self, driver: &'static str) {
        let _ = self.shard.driver.set(driver);
    }
}

impl Observer for Metrics {
    // Always inlined: the compiler weighs all arms of the match, of which one remains where an event is
    // emitted.
    #[inline(always)]
    fn on_event(&self, event: &Event<'_>) {
        let shard = &*self.shard;
        match event {
            Event::Exchange(exchange) => shard.count_exchange(exchange),
            Event::AttemptFailed(attempt) => {
                shard.count_error(attempt.pool, attempt.error);
                let (duration_us, failure) = (attempt.duration_us, Some(attempt.failure));
                shard.count_upstream(attempt.pool, attempt.endpoint, duration_us, failure);
            }
            Event::ConnectionOpened(_) => shard.connections_opened.add(1),
            Event::ConnectionHandedOver(_) => shard.connections_handed_over.add(1),
            Event::ConnectionRefused(refused) => match refused.reason {
                RefusalReason::Full => shard.refused_full.add(1),
                RefusalReason::Draining => shard.refused_draining.add(1),
                RefusalReason::ProxyHeader => shard.refused_proxy_header.add(1),
                RefusalReason::Client => shard.refused_client.add(1),
            },
            Event::ConnectionAbused(abused) => shard.abuses.add(abused.reason),
            Event::ConnectionClosed(_) => shard.connections_closed.add(1),
            Event::HandshakeDone(handshake) => {
                shard.handshakes[usize::from(handshake.resumed)].add(handshake.protocol);
                shard.handshake_us.add(handshake.duration_us);
            }
            Event::HandshakeRefused(handshake) => shard.handshakes_refused.add(handshake.reason),
            Event::SecretLoaded(secret) => shard.secrets[usize::from(secret.is_good)].add(secret.kind),
            Event::Rejected(rejected) => shard.rejections.add(rejected.code),
            Event::Panicked(_) => shard.panics.add(1),
            Event::Upgraded(event) => shard.upgrades_of(event.kind).started.add(1),
            Event::UpgradeEnded(event) => shard.upgrades_of(event.kind).ended.add(1),
            Event::SnapshotApplied(applied) => {
                shard.serial.set(applied.serial.0);
                shard.revision.set(applied.revision.0);
            }
            Event::PolicyDecided(decided) => {
                shard.routes.page(decided.route).policies().decisions[decided.decision as usize].add(1);
            }
            Event::Mirrored(mirrored) => {
                let page = match mirrored.route {
                    0 => shard.pools.page(mirrored.pool),
                    route => shard.routes.page(route),
                };
                page.policies().mirrored[mirrored.outcome as usize].add(1);
            }
            Event::Called(called) => shard.pools.page(called.pool).calls().results.add(called.result),
            Event::FilterAsked(asked) => shard.pools.page(asked.pool).calls().count_decision(asked),
            Event::CacheWait(wait) => shard.count_cache_wait(wait),
            Event::CacheFilled(filled) => shard.cache_fills.add(filled.outcome),
            Event::AuthRefused(refused) => shard.auth_refusals.add(refused.reason),
            Event::BreakerOpened(opened) => shard.pools.page(opened.pool).words[BREAKER_TRIPS].add(1),
        }
    }
}

/// Counters of one core. Aligned to 128 bytes: no two shards share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Shard {
    pub(crate) core: CoreId,
    pub(crate) driver: OnceLock<&'static str>,
    pub(crate) exchanges: Counter,
    /// Exchanges with status 500, 502, 503 or 504, or cut off by their endpoint.
    pub(crate) errors: Counter,
    pub(crate) connections_opened: Counter,
    pub(crate) connections_closed: Counter,
    pub(crate) connections_handed_over: Counter,
    pub(crate) refused_full: Counter,
    pub(crate) refused_draining: Counter,
    pub(crate) refused_proxy_header: Counter,
    pub(crate) refused_client: Counter,
    pub(crate) websockets: Upgrades,
    pub(crate) tunnels: Upgrades,
    pub(crate) panics: Counter,
    pub(crate) serial: Counter,
    pub(crate) revision: Counter,
    pub(crate) rejections: WordCounters,
    pub(crate) abuses: WordCounters,
    /// By protocol; first the full handshakes, then the resumed ones.
    pub(crate) handshakes: [WordCounters; 2],
    pub(crate) handshake_us: Counter,
    pub(crate) handshakes_refused: WordCounters,
    /// Replies of middleware stages, by type of the stage and error code.
    pub(crate) stages: WordCounters<(&'static str, &'static str)>,
    /// Requests and connections that authentication refused, by reason.
    pub(crate) auth_refusals: WordCounters,
    /// Bytes of compressed bodies, by coding and direction.
    pub(crate) compressed: WordCounters<(&'static str, &'static str)>,
    /// Responses that were not compressed, by reason.
    pub(crate) not_compressed: WordCounters,
    /// Requests of routes with a cache, by [`CacheResult`].
    pub(crate) cache_results: [Counter; CacheResult::ALL.len()],
    /// Requests of caches to endpoints, by outcome.
    pub(crate) cache_fills: WordCounters,
    /// Responses that answered past their lifetime, by reason.
    pub(crate) cache_stale: WordCounters,
    /// Responses that were not stored, by reason.
    pub(crate) cache_not_stored: WordCounters,
    /// By kind; first the failed loads, then the successful ones.
    pub(crate) secrets: [WordCounters; 2],
    pub(crate) failures: WordCounters,
    pub(crate) routes: Pages<TrafficPage>,
    pub(crate) pools: Pages<TrafficPage>,
    pub(crate) endpoints: Pages<UpstreamPage>,
}

/// Counters of the upgraded connections of one kind.
#[derive(Debug, Default)]
pub(crate) struct Upgrades {
    pub(crate) started: Counter,
    pub(crate) ended: Counter,
}

impl Shard {
    fn upgrades_of(&self, kind: Upgrade) -> &Upgrades {
        match kind {
            Upgrade::WebSocket => &self.websockets,
            Upgrade::Connect => &self.tunnels,
        }
    }

    pub(crate) fn new(core: CoreId) -> Self {
        Self {
            core,
            driver: OnceLock::new(),
            exchanges: Counter::default(),
            errors: Counter::default(),
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            connections_handed_over: Counter::default(),
            refused_full: Counter::default(),
            refused_draining: Counter::default(),
            refused_proxy_header: Counter::default(),
            refused_client: Counter::default(),
            websockets: Upgrades::default(),
            tunnels: Upgrades::default(),
            panics: Counter::default(),
            serial: Counter::default(),
            revision: Counter::default(),
            rejections: WordCounters::default(),
            abuses: WordCounters::default(),
            handshakes: Default::default(),
            handshake_us: Counter::default(),
            handshakes_refused: WordCounters::default(),
            stages: WordCounters::default(),
            auth_refusals: WordCounters::default(),
            compressed: WordCounters::default(),
            not_compressed: WordCounters::default(),
            cache_results: Default::default(),
            cache_fills: WordCounters::default(),
            cache_stale: WordCounters::default(),
            cache_not_stored: WordCounters::default(),
            secrets: Default::default(),
            failures: WordCounters::default(),
            routes: Pages::default(),
            pools: Pages::default(),
            endpoints: Pages::default(),
        }
    }

    #[inline]
    fn count_exchange(&self, event: &Exchange<'_>) {
        self.exchanges.add(1);
        let page = match event.route {
            0 => self.pools.page(event.pool),
            route => self.routes.page(route),
        };
        page.count_status(event.status);
        page.words[BUCKETS_AT + BUCKETS_US.partition_point(|limit| *limit < event.duration_us)].add(1);
        page.words[DURATION_US].add(event.duration_us);
        page.words[BYTES_IN].add(event.bytes_in);
        page.words[BYTES_OUT].add(event.bytes_out);
        let retry = event.retry.or_else(|| {
            let is_good = event.failure.is_none();
            (event.retries() > 0).then_some(if is_good {
                RetryOutcome::Success
            } else {
                RetryOutcome::Exhausted
            })
        });
        if retry.is_some()
            || event.hedge.is_some()
            || event.variant.is_some()
            || event.queue_us.is_some()
            || event.limited_by.is_some()
            || event.middleware.is_some()
        {
            page.count_policies(event, retry);
            if let Some(stage) = event.middleware {
                self.stages.add((stage, event.failure.unwrap_or("reply")));
            }
        }
        if let Some(compression) = event.compression {
            self.count_compression(compression);
        }
        if let Some(used) = event.cache {
            self.count_cache(page, used);
        }
        if event.attempts > 0 {
            self.count_upstream(event.pool, event.endpoint, event.upstream_us.unwrap_or(0), event.failure);
        }
        if event.failure.is_some() || event.upstream_error.is_some() || event.status >= 500 {
            self.count_failure(event);
        }
    }

    /// Counts a failed exchange, and its codes. Not inlined: its searches would cost every exchange saved
    /// registers.
    #[cold]
    #[inline(never)]
    fn count_failure(&self, event: &Exchange<'_>) {
        if let Some(failure) = event.failure {
            self.failures.add(failure);
        }
        if matches!(event.status, 500 | 502..=504) || event.upstream_error.is_some() {
            self.errors.add(1);
        }
        self.count_error(event.pool, event.upstream_error);
    }

    #[inline(never)]
    fn count_cache(&self, page: &TrafficPage, used: CacheUse) {
        self.cache_results[used.result as usize].add(1);
        page.cache().count(used);
        if let Some(reason) = used.stale {
            self.cache_stale.add(reason);
        }
        if let Some(reason) = used.not_stored {
            self.cache_not_stored.add(reason);
        }
    }

    #[cold]
    #[inline(never)]
    fn count_cache_wait(&self, wait: &CacheWait) {
        let page = match wait.route {
            0 => self.pools.page(wait.pool),
            route => self.routes.page(route),
        };
        match wait.has_ended {
            false => page.cache().waits_begun.add(1),
            true => page.cache().waits_ended.add(1),
        }
    }

    #[cold]
    #[inline(never)]
    fn count_compression(&self, compression: Compression) {
        match compression {
            Compression::Coded { coding, bytes_in, bytes_out } => {
                self.compressed.add_many((coding, "in"), bytes_in);
                self.compressed.add_many((coding, "out"), bytes_out);
            }
            Compression::Skipped(reason) => self.not_compressed.add(reason),
        }
    }

    fn count_error(&self, pool: u16, error: Option<UpstreamError<'_>>) {
        if let Some(error) = error {
            self.pools.page(pool).errors.get_or_init(Box::default).add(error.reason);
        }
    }

    #[inline]
    fn count_upstream(&self, pool: u16, endpoint: u16, duration_us: u64, failure: Option<&'static str>) {
        let words = match endpoint {
            0 => &self.pools.page(pool).upstream.words,
            endpoint => &self.endpoints.page(endpoint).words,
        };
        words[UPSTREAM_REQUESTS].add(1);
        words[UPSTREAM_US].add(duration_us);
        if failure.is_some() {
            words[UPSTREAM_FAILURES].add(1);
        }
    }
}

/// Counters of the slots of one kind, each allocated at its first count.
#[derive(Debug)]
pub(crate) struct Pages<P>(Box<[OnceLock<Box<P>>]>);

impl<P: Default> Pages<P> {
    /// Returns the counters of a slot; those of slot 0 for a slot beyond the limit.
    #[inline]
    fn page(&self, slot: u16) -> &P {
        let slot = self.0.get(usize::from(slot)).unwrap_or(&self.0[0]);
        slot.get_or_init(Box::default)
    }

    /// Returns the counters of a slot, or `None` if it never counted.
    pub(crate) fn read(&self, slot: usize) -> Option<&P> {
        self.0.get(slot)?.get().map(|page| &**page)
    }
}

impl<P> Default for Pages<P> {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| OnceLock::new()).collect())
    }
}

/// Traffic counters of a route, or of a pool for its routes without a slot.
#[derive(Debug)]
pub(crate) struct TrafficPage {
    pub(crate) words: [Counter; TRAFFIC_WORDS],
    /// Statuses outside of [`COMMON_STATUSES`]; the index is the status minus 100.
    pub(crate) rare: OnceLock<Box<[Counter; 500]>>,
    /// Pools only: attempts at endpoints without a slot.
    pub(crate) upstream: UpstreamPage,
    /// Pools only: failed attempts by reason.
    pub(crate) errors: OnceLock<Box<WordCounters>>,
    /// Decisions of the traffic policies.
    pub(crate) policies: OnceLock<Box<PolicyPage>>,
    /// Pools only: calls of middleware stages.
    pub(crate) calls: OnceLock<Box<CallPage>>,
    pub(crate) cache: OnceLock<Box<CachePage>>,
}

/// Counters of a pool that middleware stages call.
#[derive(Debug, Default)]
pub(crate) struct CallPage {
    /// Calls by result.
    pub(crate) results: WordCounters,
    /// External filters: decisions by their word.
    pub(crate) decisions: WordCounters,
    /// Filters that have given none, by reason.
    pub(crate) failures: WordCounters,
    /// Those that were asked for, by their time.
    pub(crate) decided: [Counter; BUCKETS_US.len() + 1],
    pub(crate) decided_us: Counter,
}

impl CallPage {
    fn count_decision(&self, asked: &FilterAsked) {
        self.decisions.add(asked.decision);
        if let Some(reason) = asked.failure {
            self.failures.add(reason);
        }
        if let Some(duration_us) = asked.duration_us {
            self.decided[BUCKETS_US.partition_point(|limit| *limit < duration_us)].add(1);
            self.decided_us.add(duration_us);
        }
    }
}

/// Counters of the traffic policies of a route, or of a pool for its routes without a slot.
#[derive(Debug, Default)]
pub(crate) struct PolicyPage {
    /// By [`PolicyDecision`].
    pub(crate) decisions: [Counter; PolicyDecision::ALL.len()],
    /// Exchanges with retries, by [`RetryOutcome`].
    pub(crate) retries: [Counter; RetryOutcome::ALL.len()],
    /// Exchanges with a hedge that was due, by [`HedgeOutcome`].
    pub(crate) hedged: [Counter; HedgeOutcome::ALL.len()],
    /// Copies of requests, by [`MirrorOutcome`].
    pub(crate) mirrored: [Counter; MirrorOutcome::ALL.len()],
    /// Exchanges by [`Variant`].
    pub(crate) variants: [Counter; Variant::ALL.len()],
    /// Those of them that failed: status 500 and above, or cut off by their endpoint.
    pub(crate) variant_errors: [Counter; Variant::ALL.len()],
    /// Exchanges that waited in the queue of their route.
    pub(crate) queued: Counter,
    pub(crate) queue_us: Counter,
    /// Refused exchanges by code.
    pub(crate) refused: OnceLock<Box<WordCounters>>,
}

impl TrafficPage {
    /// Counters of the traffic policies, allocated at the first count.
    fn policies(&self) -> &PolicyPage {
        self.policies.get_or_init(Box::default)
    }

    /// Counters of the cache, allocated at the first count.
    fn cache(&self) -> &CachePage {
        self.cache.get_or_init(Box::default)
    }

    /// Counters of the calls of stages, allocated at the first count.
    #[cold]
    fn calls(&self) -> &CallPage {
        self.calls.get_or_init(Box::default)
    }

    /// Counts an exchange on which a traffic policy decided.
    #[cold]
    fn count_policies(&self, event: &Exchange<'_>, retry: Option<RetryOutcome>) {
        let page = self.policies();
        if let Some(outcome) = retry {
            page.retries[outcome as usize].add(1);
        }
        if let Some(outcome) = event.hedge {
            page.hedged[outcome as usize].add(1);
        }
        if let Some(variant) = event.variant {
            page.variants[variant as usize].add(1);
            if event.status >= 500 || event.upstream_error.is_some() {
                page.variant_errors[variant as usize].add(1);
            }
        }
        if let Some(queue_us) = event.queue_us {
            page.queued.add(1);
            page.queue_us.add(queue_us);
        }
        if let (Some(_), Some(code)) = (event.limited_by.or(event.middleware), event.failure) {
            page.refused.get_or_init(Box::default).add(code);
        }
    }

    #[inline]
    fn count_status(&self, status: u16) {
        match STATUS_INDEX.get(usize::from(status)) {
            Some(&RARE) => {
                let rare = self.rare.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())));
                rare[usize::from(status) - 100].add(1);
            }
            Some(&index) => self.words[usize::from(index)].add(1),
            None => self.words[STATUS_NONE].add(1),
        }
    }
}

impl Default for TrafficPage {
    fn default() -> Self {
        Self {
            words: std::array::from_fn(|_| Counter::default()),
            rare: OnceLock::new(),
            upstream: UpstreamPage::default(),
            errors: OnceLock::new(),
            policies: OnceLock::new(),
            calls: OnceLock::new(),
            cache: OnceLock::new(),
        }
    }
}

/// Attempt counters of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct UpstreamPage {
    pub(crate) words: [Counter; UPSTREAM_WORDS],
}

/// Metric slots of one kind, slot 0 included.
pub(crate) const SLOTS: usize = limits::METRIC_SLOTS_MAX + 1;

/// Upper bounds of the duration histogram, in microseconds: from a cached response on the same host to the
/// longest wait of a person for a page. Few, because every route has all of them.
pub(crate) const BUCKETS_US: [u64; 10] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000, 10_000_000];

/// Common response statuses, counted in place. Others get a page when they first occur.
pub(crate) const COMMON_STATUSES: [u16; 31] = [
    101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 412,
    413, 416, 422, 429, 499, 500, 501, 502, 503, 504,
];

// Indexes into the words of a TrafficPage, after the common statuses.
/// No status, or one outside 100 to 599.
pub(crate) const STATUS_NONE: usize = COMMON_STATUSES.len();
pub(crate) const BUCKETS_AT: usize = STATUS_NONE + 1;
pub(crate) const DURATION_US: usize = BUCKETS_AT + BUCKETS_US.len() + 1;
pub(crate) const BYTES_IN: usize = DURATION_US + 1;
pub(crate) const BYTES_OUT: usize = DURATION_US + 2;
pub(crate) const BREAKER_TRIPS: usize = DURATION_US + 3;
pub(crate) const TRAFFIC_WORDS: usize = DURATION_US + 4;

// Indexes into the words of an UpstreamPage.
pub(crate) const UPSTREAM_REQUESTS: usize = 0;
pub(crate) const UPSTREAM_FAILURES: usize = 1;
pub(crate) const UPSTREAM_US: usize = 2;
pub(crate) const UPSTREAM_WORDS: usize = 3;

/// Entry of [`STATUS_INDEX`] for a status that is not common.
const RARE: u8 = u8::MAX;

/// Index of each status in the words of a TrafficPage.
static STATUS_INDEX: [u8; 600] = {
    let mut index = [RARE; 600];
    let mut status = 0;
    while status < 100 {
        index[status] = STATUS_NONE as u8;
        status += 1;
    }
    let mut at = 0;
    while at < COMMON_STATUSES.len() {
        index[COMMON_STATUSES[at] as usize] = at as u8;
        at += 1;
    }
    index
};
