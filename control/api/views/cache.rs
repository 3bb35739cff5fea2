//! The cache: memory, stored responses, purges, explanations.

use std::collections::BTreeMap;

use ringway_control::{
    CacheScopeStatus, CacheStatus, CachedResponse, Evictions, ExplainedCache, Explanation, Purged,
};
use ringway_telemetry::CacheReading;
use serde::Serialize;
use utoipa::ToSchema;

/// Result of a purge.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PurgedView {
    /// Stored responses that were removed or made stale; in a dry run, that would have been.
    pub(crate) invalidated: u64,
    /// Stored responses that remain; with a token of a tenant, of that tenant.
    pub(crate) remaining: u64,
}

impl From<Purged> for PurgedView {
    fn from(purged: Purged) -> Self {
        Self { invalidated: purged.invalidated, remaining: purged.remaining }
    }
}

/// Size and hit rate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HitRatesView {
    /// Memory of stored responses, in bytes.
    pub(crate) size: u64,
    /// Stored responses.
    pub(crate) entries: u64,
    /// Share of the hits in hits and misses, from 0 to 1; 0 before the first.
    #[schema(examples(0.73))]
    pub(crate) hit_rate: f64,
    /// The same of the misses.
    #[schema(examples(0.27))]
    pub(crate) miss_rate: f64,
    /// Stored responses that were removed for others.
    pub(crate) evictions: u64,
}

impl HitRatesView {
    pub(crate) fn new(status: &CacheStatus) -> Self {
        let Evictions { store, tenant, scope } = status.store.evictions;
        let (size, entries) = (status.store.used.bytes, status.store.used.entries);
        Self::of(size, entries, store + tenant + scope, status.requests)
    }

    /// Numbers of some routes together.
    pub(crate) fn of_scopes(scopes: &[CacheScopeStatus]) -> Self {
        let part = CachePartView::of("", None, scopes.iter());
        let requests = CacheReading { hits: part.hits, misses: part.misses, bypasses: part.bypasses };
        Self::of(part.bytes, part.entries, part.evictions, requests)
    }

    fn of(size: u64, entries: u64, evictions: u64, requests: CacheReading) -> Self {
        let ratio = requests.hit_ratio();
        let hit_rate = ratio.map_or(0.0, rounded);
        Self {
            size,
            entries,
            hit_rate,
            miss_rate: ratio.map_or(0.0, |ratio| rounded(1.0 - ratio)),
            evictions,
        }
    }
}

/// State of the cache.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheStatsView {
    /// Memory of stored responses, in bytes.
    pub(crate) bytes: u64,
    /// Its maximum; null with a token of a tenant, for all share it.
    pub(crate) bytes_max: Option<u64>,
    /// Stored responses.
    pub(crate) entries: u64,
    /// Their maximum.
    pub(crate) entries_max: Option<u64>,
    /// Requests that a stored response answered alone.
    pub(crate) hits: u64,
    /// Requests of which an endpoint was asked.
    pub(crate) misses: u64,
    /// Requests that the cache let pass.
    pub(crate) bypasses: u64,
    /// Share of the hits in hits and misses, from 0 to 1; null before the first.
    pub(crate) hit_rate: Option<f64>,
    /// Responses that were removed for others.
    pub(crate) evictions: u64,
    /// Responses that were stored since the start; null with a token of a tenant.
    pub(crate) stored: Option<u64>,
    /// Responses that were removed or made stale by purges; null with a token of a tenant.
    pub(crate) purged: Option<u64>,
    /// Responses that were removed because they were past all use; null with a token of a tenant.
    pub(crate) expired: Option<u64>,
    /// The same by route or tenant, where it is asked for; those with the most memory first.
    pub(crate) parts: Vec<CachePartView>,
    /// Number of all parts.
    pub(crate) parts_total: usize,
}

/// Cache of a route, or of a tenant's routes together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CachePartView {
    /// The tenant; null for routes of the operator.
    pub(crate) tenant: Option<String>,
    /// The route; null for a tenant.
    pub(crate) route: Option<String>,
    pub(crate) bytes: u64,
    /// Maximum of a route's bytes; null for a tenant.
    pub(crate) bytes_max: Option<u64>,
    pub(crate) entries: u64,
    /// Responses that were removed for others.
    pub(crate) evictions: u64,
    /// Requests that a stored response answered alone. Routes without counters of their own have none: there
    /// are too many.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) bypasses: u64,
    pub(crate) hit_rate: Option<f64>,
}

impl CacheStatsView {
    pub(crate) fn new(status: &CacheStatus) -> Self {
        let (store, requests) = (&status.store, &status.requests);
        let Evictions { store: by_store, tenant, scope } = store.evictions;
        Self {
            bytes: store.used.bytes,
            bytes_max: Some(store.max.bytes),
            entries: store.used.entries,
            entries_max: Some(store.max.entries),
            hits: requests.hits,
            misses: requests.misses,
            bypasses: requests.bypasses,
            hit_rate: requests.hit_ratio().map(rounded),
            evictions: by_store + tenant + scope,
            stored: Some(store.insertions),
            purged: Some(store.purged.iter().sum()),
            expired: Some(store.expired),
            parts: Vec::new(),
            parts_total: 0,
        }
    }

    /// State of some routes together.
    pub(crate) fn of_scopes(scopes: &[CacheScopeStatus]) -> Self {
        let part = CachePartView::of("", None, scopes.iter());
        Self {
            bytes: part.bytes,
            bytes_max: None,
            entries: part.entries,
            entries_max: None,
            hits: part.hits,
            misses: part.misses,
            bypasses: part.bypasses,
            hit_rate: part.hit_rate,
            evictions: part.evictions,
            stored: None,
            purged: None,
            expired: None,
            parts: Vec::new(),
            parts_total: 0,
        }
    }

    pub(crate) fn with_parts(self, mut parts: Vec<CachePartView>, limit: usize) -> Self {
        let parts_total = parts.len();
        parts.sort_by(|one, other| {
            let names = |part: &CachePartView| (part.tenant.clone(), part.route.clone());
            other.bytes.cmp(&one.bytes).then_with(|| names(one).cmp(&names(other)))
        });
        parts.truncate(limit);
        Self { parts, parts_total, ..self }
    }
}

impl CachePartView {
    pub(crate) fn of_route(scope: &CacheScopeStatus) -> Self {
        let tenant = scope.tenant.as_deref().map(str::to_owned);
        let part = Self::of(&scope.route, tenant, [scope].into_iter());
        Self { bytes_max: Some(scope.bytes_max).filter(|max| *max < u64::MAX), ..part }
    }

    /// The routes of each tenant together; those of the operator are one part.
    pub(crate) fn by_tenant(scopes: &[CacheScopeStatus]) -> Vec<Self> {
        let mut tenants: BTreeMap<Option<&str>, Vec<&CacheScopeStatus>> = BTreeMap::new();
        for scope in scopes {
            tenants.entry(scope.tenant.as_deref()).or_default().push(scope);
        }
        let part = |(tenant, scopes): (Option<&str>, Vec<&CacheScopeStatus>)| {
            Self::of("", tenant.map(str::to_owned), scopes.into_iter())
        };
        tenants.into_iter().map(part).collect()
    }

    fn of<'a>(
        route: &str,
        tenant: Option<String>,
        scopes: impl Iterator<Item = &'a CacheScopeStatus>,
    ) -> Self {
        let route = Some(route.to_owned()).filter(|route| !route.is_empty());
        let (mut bytes, mut entries, mut evictions, mut requests) = (0, 0, 0, CacheReading::default());
        for scope in scopes {
            bytes += scope.used.bytes;
            entries += scope.used.entries;
            evictions += scope.evictions;
            let CacheReading { hits, misses, bypasses } = scope.requests.unwrap_or_default();
            requests.hits += hits;
            requests.misses += misses;
            requests.bypasses += bypasses;
        }
        let CacheReading { hits, misses, bypasses } = requests;
        let hit_rate = requests.hit_ratio().map(rounded);
        Self { tenant, route, bytes, bytes_max: None, entries, evictions, hits, misses, bypasses, hit_rate }
    }
}

/// Ratio with four digits, as people read it.
fn rounded(ratio: f64) -> f64 {
    (ratio * 10_000.0).round() / 10_000.0
}

/// Stored responses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CachedPage {
    pub(crate) entries: Vec<CachedView>,
    /// Whether there are more than the limit.
    pub(crate) has_more: bool,
}

/// A stored response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CachedView {
    /// URL as it is sent to the endpoint.
    #[schema(examples("https://www.example.com/img/logo.png"))]
    pub(crate) url: String,
    /// The tenant; null for routes of the operator.
    pub(crate) tenant: Option<String>,
    pub(crate) route: String,
    /// The pool, where the route has several.
    pub(crate) pool: Option<String>,
    pub(crate) status: u16,
    /// Bytes of the body.
    pub(crate) body_bytes: u64,
    /// Age in seconds.
    pub(crate) age: u32,
    /// Seconds of lifetime that remain; negative past it.
    pub(crate) ttl: i64,
    /// Time of receipt, or of the last confirmation by the endpoint.
    #[schema(format = "date-time")]
    pub(crate) received_at: String,
    /// Its `ETag`.
    pub(crate) etag: Option<String>,
    /// Request fields that select it among the variants of its URL.
    pub(crate) vary: Vec<String>,
    /// Number of its tags.
    pub(crate) tags: usize,
}

impl From<&CachedResponse> for CachedView {
    fn from(response: &CachedResponse) -> Self {
        Self {
            url: response.url.clone(),
            tenant: response.tenant.as_deref().map(str::to_owned),
            route: response.route.to_string(),
            pool: response.pool.as_deref().map(str::to_owned),
            status: response.status,
            body_bytes: response.body_bytes,
            age: response.age,
            ttl: response.ttl,
            received_at: response.received_at.to_rfc3339_millis(),
            etag: response.etag.clone(),
            vary: response.vary.clone(),
            tags: response.tags,
        }
    }
}

/// Part of a route's cache in a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainedCacheView {
    /// `hit`, `stale` (it answers past its lifetime), `revalidate` (the endpoint is asked about it), `miss`,
    /// `bypass`, `refused` (504 to `only-if-cached`), or `undecided`.
    #[schema(examples("hit", "stale", "revalidate", "miss", "bypass", "refused", "undecided"))]
    pub(crate) verdict: &'static str,
    /// The verdict in words.
    #[schema(examples("fresh for 42 s more"))]
    pub(crate) reason: String,
    #[schema(examples("safe", "rfc9111"))]
    pub(crate) mode: &'static str,
    /// Seconds of lifetime that the configuration gives responses without one; null for none.
    pub(crate) ttl: Option<u32>,
    /// Whether the response to a miss would be stored, if it may be.
    pub(crate) fills: bool,
    /// Request fields that are part of the key, with those that `Vary` lists.
    pub(crate) key_fields: Vec<String>,
    /// Stored variants of the URL, where its response varies.
    pub(crate) variants: usize,
    /// The stored response that decides.
    pub(crate) response: Option<CachedView>,
}

impl From<&ExplainedCache> for ExplainedCacheView {
    fn from(cache: &ExplainedCache) -> Self {
        Self {
            verdict: cache.verdict,
            reason: cache.reason.clone(),
            mode: cache.mode,
            ttl: cache.ttl,
            fills: cache.fills,
            key_fields: cache.key_fields.clone(),
            variants: cache.variants,
            response: cache.response.as_ref().map(CachedView::from),
        }
    }
}

/// Explanation of the cache's part in a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheExplanationView {
    /// Host, normalised.
    pub(crate) host: String,
    /// Path and query as the endpoint gets them.
    pub(crate) path: String,
    /// The route; null when none applies.
    pub(crate) route: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) pool: Option<String>,
    /// Part of the cache; null for a route without one.
    pub(crate) cache: Option<ExplainedCacheView>,
    /// Reason why there is no cache; empty otherwise.
    pub(crate) reason: String,
}

impl From<&Explanation> for CacheExplanationView {
    fn from(found: &Explanation) -> Self {
        let route = found.route.as_ref();
        let reason = match (&found.cache, route) {
            (Some(_), _) => String::new(),
            (None, Some(_)) => "the route has no cache".to_owned(),
            (None, None) => found.reason.to_string(),
        };
        Self {
            host: found.host.to_string(),
            path: found.rewritten.as_ref().unwrap_or(&found.path).to_string(),
            route: route.map(|route| route.id.to_string()),
            tenant: route.and_then(|route| Some(route.tenant.as_ref()?.to_string())),
            pool: route.and_then(|route| Some(route.pool.as_ref()?.to_string())),
            cache: found.cache.as_ref().map(ExplainedCacheView::from),
            reason,
        }
    }
}
