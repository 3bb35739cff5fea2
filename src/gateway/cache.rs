//! Settings of the store of responses.

use std::sync::Arc;
use std::time::Duration;

use ringway_cache::{Store, StoreSettings, Usage};

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

impl CacheSettings {
    /// An empty store.
    pub(super) fn store(&self) -> Arc<Store> {
        let max = Usage { bytes: self.bytes_max, entries: self.entries_max };
        Arc::new(Store::new(&StoreSettings { max, ..StoreSettings::default() }))
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { bytes_max: 256_000_000, entries_max: 10_000, default_ttl: Duration::from_secs(300) }
    }
}
