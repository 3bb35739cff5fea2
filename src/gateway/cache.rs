//! Settings of the store of responses.

use std::time::Duration;

/// Store of the responses of routes that have a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Memory of all stored responses, in bytes.
    pub bytes_max: u64,
    /// Most stored responses.
    pub entries_max: u64,
    /// Lifetime of responses without one of their own, for caches whose `ttl` is `default`.
    pub default_ttl: Duration,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { bytes_max: 256_000_000, entries_max: 10_000, default_ttl: Duration::from_secs(300) }
    }
}
