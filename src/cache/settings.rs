//! Settings of a route's cache, as compiled from its configuration.

use std::time::Duration;

use ringway_model::{CacheMode, CacheSpec, CacheTtl, SetCookiePolicy};

/// Settings of one route's cache. Seconds are whole ones, as in the directives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Rules that decide.
    pub mode: CacheMode,
    /// Lifetime, in seconds, of responses that have none of their own; of all, if `respects_headers` is
    /// false.
    pub ttl: Option<u32>,
    /// Whether the lifetimes of responses come before `ttl`. `no-store` and `private` always do.
    pub respects_headers: bool,
    /// Statuses that are stored; in the mode `rfc9111`, those that are stored without a lifetime of their
    /// own.
    pub statuses: Box<[u16]>,
    /// Whether requests with `Authorization` use the cache, which `vary_headers` must then have.
    pub is_auth_aware: bool,
    /// Request fields whose values are part of the key, in lower case.
    pub vary_headers: Box<[Box<str>]>,
    /// Treatment of responses with `Set-Cookie`.
    pub set_cookies: SetCookiePolicy,
    /// Whether simultaneous misses for one key share one request to the origin.
    pub coalesces: bool,
    /// Time that a request waits for another's fill.
    pub coalesce_timeout: Duration,
    /// Seconds past the lifetime that a response without `stale-while-revalidate` is served during a refresh.
    pub stale_while_revalidate: u32,
    /// Seconds past the lifetime that a response without `stale-if-error` answers for failures of the origin.
    pub stale_if_error: u32,
    /// Seconds past the lifetime that a response is served while the origin cannot be reached.
    pub stale_on_disconnect: u32,
    /// Fields that target this cache, best first, before `Cache-Control` (RFC 9213).
    pub targets: Box<[Box<str>]>,
    /// Bytes of all entries of the route.
    pub bytes_max: u64,
    /// Bytes of one entry's body.
    pub object_bytes_max: u64,
    /// Patterns of paths to which `ttl` is limited, such as `*.css`; none: it applies to all.
    pub patterns: Box<[Box<str>]>,
    /// Whether the parameters of the query are sorted in the key.
    pub sorts_query: bool,
    /// Parameters of the query that are no part of the key.
    pub ignored_params: Box<[Box<str>]>,
}

impl Settings {
    /// Compiles the cache of a route. `default_ttl` is the lifetime of the process, for routes that name it.
    pub fn compile(spec: &CacheSpec, default_ttl: Duration) -> Self {
        let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let texts = |texts: &[std::sync::Arc<str>]| texts.iter().map(|text| (**text).into()).collect();
        Self {
            mode: spec.mode,
            ttl: spec.ttl.map(|ttl| match ttl {
                CacheTtl::Default => seconds(default_ttl),
                CacheTtl::Fixed(time) => seconds(time),
            }),
            respects_headers: spec.respect_cache_headers,
            statuses: spec.statuses.clone(),
            is_auth_aware: spec.auth_aware,
            vary_headers: texts(&spec.vary_headers),
            set_cookies: spec.set_cookie,
            coalesces: spec.coalesce,
            coalesce_timeout: spec.coalesce_timeout,
            stale_while_revalidate: seconds(spec.stale_while_revalidate),
            stale_if_error: seconds(spec.stale_if_error),
            stale_on_disconnect: seconds(spec.stale_on_disconnect),
            targets: texts(&spec.targets),
            bytes_max: spec.max_size,
            object_bytes_max: spec.max_object,
            patterns: texts(&spec.patterns),
            sorts_query: spec.sort_query,
            ignored_params: texts(&spec.ignore_params),
        }
    }

    /// The defaults of a mode.
    pub fn of_mode(mode: CacheMode) -> Self {
        Self::compile(&CacheSpec::of_mode(mode), Duration::ZERO)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::of_mode(CacheMode::Safe)
    }
}
