//! Cache of a rule.

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};

use ringway_cache::{Scope, ScopeName, ScopeSettings, Settings, Store};

/// Cache of a rule's responses. Kept over snapshots while nothing of it has changed.
#[derive(Debug)]
pub struct CacheRule {
    /// Settings of its decisions.
    pub settings: Settings,
    /// Tenant and route that its entries belong to.
    pub name: ScopeName,
    /// Version of all that makes a response what it is: settings, pools, path and stages. Entries of another
    /// one are not served. Never used again for others.
    pub epoch: u64,
    /// Whether its requests go to several pools, which are then part of the keys.
    pub has_pools: bool,
    scope: OnceLock<Arc<Scope>>,
}

impl CacheRule {
    /// A cache without entries.
    pub fn new(settings: Settings, name: ScopeName, epoch: u64, has_pools: bool) -> Self {
        Self { settings, name, epoch, has_pools, scope: OnceLock::new() }
    }

    /// Its scope in the store of the process. The first call takes a lock of the store: rules are compiled
    /// for questions and trials too, and only those that serve requests belong into the store.
    #[inline]
    pub fn scope(&self, store: &Store) -> &Arc<Scope> {
        self.scope.get_or_init(|| store.scope(&self.name, &self.scope_settings()))
    }

    /// Settings of its scope.
    pub fn scope_settings(&self) -> ScopeSettings {
        ScopeSettings {
            epoch: self.epoch,
            bytes_max: self.settings.bytes_max,
            weight: NonZeroU32::MIN,
            has_pools: self.has_pools,
        }
    }
}

impl PartialEq for CacheRule {
    fn eq(&self, other: &Self) -> bool {
        let Self { settings, name, epoch, has_pools, scope: _ } = self;
        (settings, name, epoch, has_pools) == (&other.settings, &other.name, &other.epoch, &other.has_pools)
    }
}

impl Eq for CacheRule {}
