//! Cache of a route: rules by which responses are stored and served (RFC 9111).
//!
//! Serde writes the types of this module for stored records and documents alike.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::serde_text::duration;

/// Cache of a route, as configured. Times are whole seconds, but for `coalesce_timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSpec {
    /// Rules that decide what is stored and what is served.
    pub mode: CacheMode,
    /// Lifetime of responses that have none of their own; of all, if `respect_cache_headers` is false.
    /// Absent: responses without a lifetime are not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<CacheTtl>,
    /// Whether the lifetimes of responses come before `ttl`. `no-store` and `private` always do.
    pub respect_cache_headers: bool,
    /// Statuses that are stored, sorted.
    pub statuses: Box<[u16]>,
    /// Whether requests with `Authorization` use the cache.
    pub auth_aware: bool,
    /// Request fields whose values are part of the key: in lower case, sorted.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub vary_headers: Box<[Arc<str>]>,
    /// Treatment of responses with `Set-Cookie`.
    pub set_cookie: SetCookiePolicy,
    /// Whether simultaneous misses for one key share one request to the origin.
    pub coalesce: bool,
    /// Time that a request waits for another's response.
    #[serde(with = "duration")]
    pub coalesce_timeout: Duration,
    /// Time past the lifetime that a response without a directive of its own is served during a refresh.
    #[serde(with = "duration")]
    pub stale_while_revalidate: Duration,
    /// Time past the lifetime that such a response answers for failures of the origin.
    #[serde(with = "duration")]
    pub stale_if_error: Duration,
    /// Time past the lifetime that a response is served while the origin cannot be reached.
    #[serde(with = "duration")]
    pub stale_on_disconnect: Duration,
    /// Fields that target this cache, best first, before `Cache-Control` (RFC 9213); in lower case.
    pub targets: Box<[Arc<str>]>,
    /// Patterns of paths to which `ttl` is limited, such as `*.css`; none: it applies to all.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub patterns: Box<[Arc<str>]>,
    /// Whether the parameters of the query are sorted in the key.
    pub sort_query: bool,
    /// Parameters of the query that are no part of the key, sorted.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub ignore_params: Box<[Arc<str>]>,
    /// Bytes of all entries of the route.
    pub max_size: u64,
    /// Bytes of one entry's body; at most `max_size`.
    pub max_object: u64,
}

/// Rules of a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Stores only what no reading of the headers makes personal.
    #[default]
    Safe,
    /// Everything that RFC 9111 allows a shared cache.
    Rfc9111,
}

/// Lifetime of responses that have none of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheTtl {
    /// The one of the process.
    Default,
    /// This one.
    Fixed(Duration),
}

/// Treatment of responses with `Set-Cookie`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetCookiePolicy {
    /// They are not stored.
    Bypass,
    /// They are stored without the field.
    Strip,
    /// They are stored with the field.
    Store,
}

impl CacheSpec {
    /// The defaults of a mode.
    pub fn of_mode(mode: CacheMode) -> Self {
        let is_safe = mode == CacheMode::Safe;
        Self {
            mode,
            ttl: None,
            respect_cache_headers: true,
            statuses: [200, 301, 404].into(),
            auth_aware: false,
            vary_headers: Box::default(),
            set_cookie: if is_safe { SetCookiePolicy::Bypass } else { SetCookiePolicy::Store },
            coalesce: true,
            coalesce_timeout: Duration::from_secs(5),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            stale_on_disconnect: Duration::from_secs(if is_safe { 60 } else { 86_400 }),
            targets: ["cdn-cache-control".into()].into(),
            patterns: Box::default(),
            sort_query: false,
            ignore_params: Box::default(),
            max_size: ROUTE_BYTES,
            max_object: Self::object_bytes(ROUTE_BYTES),
        }
    }

    /// Bytes of one entry's body where the configuration names only those of all.
    pub fn object_bytes(max_size: u64) -> u64 {
        OBJECT_BYTES.min(max_size / 4)
    }
}

/// 10 MB: entries of one route together.
const ROUTE_BYTES: u64 = 10_000_000;
/// 8 MiB: body of one entry, and at most a quarter of the route's: four do not evict all others.
const OBJECT_BYTES: u64 = 8 * 1024 * 1024;

impl Default for CacheSpec {
    fn default() -> Self {
        Self::of_mode(CacheMode::Safe)
    }
}

impl Serialize for CacheTtl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_str(DEFAULT),
            Self::Fixed(time) => duration::serialize(time, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CacheTtl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        match &*text {
            DEFAULT => Ok(Self::Default),
            text => duration::parse(text)
                .map(Self::Fixed)
                .ok_or_else(|| serde::de::Error::custom("not a lifetime")),
        }
    }
}

/// The word for the lifetime of the process.
const DEFAULT: &str = "default";
