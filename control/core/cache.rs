//! Store of responses, as the control plane uses it: scopes of the routes in force, readings and purges.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ringway_cache::{Entry, Purge, Purged, Scope, ScopeName, ScopeSettings, Store, StoreStats, Usage};
use ringway_model::{Serial, Tick, Timestamp};
use ringway_telemetry::{CacheReading, Registry};
use ringway_traffic::snapshot::Snapshot;

use crate::view::View;

/// The store, and the snapshots whose routes it follows.
pub(crate) struct Cache {
    store: Arc<Store>,
    followed: Option<Followed>,
    due: Tick,
}

/// State by which scopes were followed last.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Followed {
    serial: Serial,
    serial_on_trial: Option<Serial>,
    scopes: u32,
}

/// State of the cache of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheStatus {
    /// Memory, entries, evictions and purges.
    pub store: StoreStats,
    /// Requests of all routes with a cache, since the start.
    pub requests: CacheReading,
}

/// State of the cache of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheScopeStatus {
    /// The tenant; `None` for routes of the operator.
    pub tenant: Option<Box<str>>,
    /// The route.
    pub route: Box<str>,
    /// Memory in use.
    pub used: Usage,
    /// Maximum of the bytes.
    pub bytes_max: u64,
    /// Entries that were removed for others.
    pub evictions: u64,
    /// Requests since the start, or since the route has had counters; `None` for routes without any of their
    /// own.
    pub requests: Option<CacheReading>,
}

/// Stored response.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedResponse {
    /// URL as it is sent to the endpoint.
    pub url: String,
    /// The tenant; `None` for routes of the operator.
    pub tenant: Option<Box<str>>,
    /// The route.
    pub route: Box<str>,
    /// The pool, where it is part of the key.
    pub pool: Option<Box<str>>,
    /// Status of the response.
    pub status: u16,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Age in seconds (RFC 9111 §4.2.3).
    pub age: u32,
    /// Seconds of lifetime that remain; negative past it.
    pub ttl: i64,
    /// Time of the receipt, or of the last confirmation.
    pub received_at: Timestamp,
    /// Value of `ETag`.
    pub etag: Option<String>,
    /// Names of the request fields that select it among its variants.
    pub vary: Vec<String>,
    /// Number of tags.
    pub tags: usize,
}

/// Selection of stored responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CachedFilter {
    /// Of this host only.
    pub host: Option<Box<str>>,
    /// Of this route only.
    pub route: Option<Box<str>>,
    /// Of this tenant only.
    pub tenant: Option<Box<str>>,
    /// At most as many.
    pub limit: usize,
}

impl Cache {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, followed: None, due: Tick(0) }
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Gives the scopes the settings in force, and drops those of routes that are gone. Walks over all rules,
    /// once a second at most, and only after a change.
    pub(crate) fn advance(&mut self, view: View<'_>) {
        if view.now.tick < self.due {
            return;
        }
        self.due = view.now.tick.after(FOLLOW_INTERVAL);
        let on_trial = view.trial.map(|(_, snapshot)| snapshot);
        let now = Followed {
            serial: view.snapshot.serial,
            serial_on_trial: on_trial.map(|snapshot| snapshot.serial),
            // A core that is behind may have made the scope of a route that is gone.
            scopes: self.store.scopes_made(),
        };
        if now.scopes == 0 || self.followed == Some(now) {
            return;
        }
        self.followed = Some(now);
        let live = live_scopes([Some(view.snapshot), on_trial].into_iter().flatten());
        self.store.retain_scopes(|scope| match live.get(scope.name()) {
            Some((settings, oldest_epoch)) => {
                scope.follow(settings, *oldest_epoch);
                true
            }
            None => false,
        });
    }

    pub(crate) fn status(&self, registry: &Registry) -> CacheStatus {
        CacheStatus { store: self.store.stats(), requests: registry.cache() }
    }

    /// State of the routes' caches, by tenant and route.
    pub(crate) fn scopes(&self, registry: &Registry) -> Vec<CacheScopeStatus> {
        let requests = registry.cache_by_route();
        let mut stats = self.store.scope_stats();
        stats.sort_by(|one, other| one.name.cmp(&other.name));
        let status = |stats: ringway_cache::ScopeStats| CacheScopeStatus {
            requests: requests.get(&*stats.name.route).copied(),
            tenant: stats.name.tenant,
            route: stats.name.route,
            used: stats.used,
            bytes_max: stats.max.bytes,
            evictions: stats.evictions,
        };
        stats.into_iter().map(status).collect()
    }

    /// Stored responses, by tenant and route. Compares all.
    pub(crate) fn responses(&self, filter: &CachedFilter, now: Timestamp) -> Vec<CachedResponse> {
        let CachedFilter { host, route, tenant, limit } = filter;
        let entries = self.store.entries(*limit, |scope, entry| {
            let name = scope.name();
            tenant.as_ref().is_none_or(|tenant| name.tenant.as_ref() == Some(tenant))
                && route.as_ref().is_none_or(|route| name.route == *route)
                && host.as_ref().is_none_or(|host| entry.parts().is_some_and(|of| *of.host == **host))
        });
        entries.iter().map(|(scope, entry)| CachedResponse::new(scope, entry, now)).collect()
    }

    pub(crate) fn purge(&self, purge: &Purge, now: Timestamp) -> Purged {
        self.store.purge(purge, now)
    }
}

/// Settings of the scopes of the routes in force, and the oldest epoch of each: during a trial, two
/// configurations are.
fn live_scopes<'a>(
    snapshots: impl Iterator<Item = &'a Snapshot>,
) -> HashMap<&'a ScopeName, (ScopeSettings, u64)> {
    let mut live: HashMap<&ScopeName, (ScopeSettings, u64)> = HashMap::new();
    for host in snapshots.flat_map(Snapshot::virtual_hosts) {
        for cache in host.rules.iter().filter_map(|rule| rule.cache.as_deref()) {
            let settings = cache.scope_settings();
            let (newest, oldest) = live.entry(&cache.name).or_insert((settings, settings.epoch));
            *oldest = settings.epoch.min(*oldest);
            if settings.epoch > newest.epoch {
                *newest = settings;
            }
        }
    }
    live
}

impl CachedResponse {
    pub(crate) fn new(scope: &Scope, entry: &Entry, now: Timestamp) -> Self {
        let head = entry.head();
        let parts = entry.parts();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let url = parts.map_or_else(String::new, |parts| {
            let (scheme, port) = if parts.is_https { ("https", 443) } else { ("http", 80) };
            let port = if parts.port == port { String::new() } else { format!(":{}", parts.port) };
            format!("{scheme}://{}{port}{}", parts.host, String::from_utf8_lossy(parts.target))
        });
        let vary = entry.variant_of().map(|set| set.marker());
        Self {
            url,
            tenant: scope.name().tenant.clone(),
            route: scope.name().route.clone(),
            pool: parts.map(|parts| parts.pool).filter(|pool| !pool.is_empty()).map(Into::into),
            status: head.status(),
            body_bytes: entry.body().len(),
            age: head.age(now),
            ttl: entry.ttl(now),
            received_at: head.received_at(),
            etag: head.etag().map(text),
            vary: vary.iter().flat_map(|marker| marker.names().iter()).map(str::to_owned).collect(),
            tags: head.tags().len(),
        }
    }
}

/// Interval of comparing the scopes with the routes in force.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
