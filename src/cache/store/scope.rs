//! Scopes: the entries of one route of one tenant, with limits of their own.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

use super::account::{Account, Level, Usage};
use super::journal::Journal;
use super::partition::Partition;
use super::purge::Record;
use super::uncacheable::Uncacheable;
use crate::key::ScopeId;
use crate::limits;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, RwLock};

/// Name of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeName {
    /// The tenant; `None` for routes of the operator, which no tenant's share limits.
    pub tenant: Option<Box<str>>,
    /// The route.
    pub route: Box<str>,
}

/// Settings of a scope in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeSettings {
    /// Number that changes with all that makes older entries unusable.
    pub epoch: u64,
    /// Bytes of its entries.
    pub bytes_max: u64,
    /// Weight of its share of the store's memory; one, unless some routes matter more.
    pub weight: NonZeroU32,
    /// Whether its requests go to several pools, which are part of the keys.
    pub has_pools: bool,
}

/// Entries of one route of one tenant. Outlives snapshots; its settings follow them.
pub struct Scope {
    id: ScopeId,
    name: ScopeName,
    pub(crate) tenant: Option<Arc<Tenant>>,
    /// Newest epoch that was used.
    epoch: AtomicU64,
    /// Entries of an earlier epoch are of no use.
    oldest_epoch: AtomicU64,
    weight: AtomicU32,
    has_pools: AtomicBool,
    current: RwLock<Arc<Partition>>,
    /// Account above those of its partitions.
    parent: Arc<Account>,
    pub(crate) invalidations: Journal<Record>,
    pub(crate) uncacheable: Uncacheable,
    pub(crate) evictions: AtomicU64,
}

/// Scopes of a tenant together.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) account: Arc<Account>,
    scopes: Mutex<Vec<Weak<Scope>>>,
}

impl Scope {
    pub(crate) fn new(
        id: ScopeId,
        name: ScopeName,
        settings: &ScopeSettings,
        tenant: Option<Arc<Tenant>>,
        store: &Arc<Account>,
        uncacheable: Uncacheable,
    ) -> Self {
        let parent = tenant.as_ref().map_or(store, |tenant| &tenant.account).clone();
        let scope = Self {
            id,
            name,
            tenant,
            epoch: AtomicU64::new(0),
            oldest_epoch: AtomicU64::new(u64::MAX),
            weight: AtomicU32::new(1),
            has_pools: AtomicBool::new(false),
            current: RwLock::new(Arc::new(new_partition(&parent, settings.bytes_max))),
            parent,
            invalidations: Journal::new(limits::INVALIDATIONS_KEPT),
            uncacheable,
            evictions: AtomicU64::new(0),
        };
        scope.set(settings);
        scope
    }

    /// Its number, the first part of its keys. Never used again for another scope.
    pub fn id(&self) -> ScopeId {
        self.id
    }

    /// Tenant and route.
    pub fn name(&self) -> &ScopeName {
        &self.name
    }

    /// Epoch of the newest settings.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    /// Oldest epoch whose entries are in use: two configurations may be in force at a time.
    pub fn oldest_epoch(&self) -> u64 {
        self.oldest_epoch.load(Ordering::Relaxed)
    }

    /// Takes the settings of a rule at its first use. A core may be behind the others: older settings do not
    /// replace newer ones, and entries of both stay until [`follow`](Self::follow) decides.
    pub(crate) fn set(&self, settings: &ScopeSettings) {
        self.oldest_epoch.fetch_min(settings.epoch, Ordering::Relaxed);
        if settings.epoch >= self.epoch() {
            self.put(settings);
        }
    }

    /// Takes the settings in force, whatever was used before. Entries of epochs before `oldest_epoch` are
    /// freed by the sweeper.
    pub fn follow(&self, settings: &ScopeSettings, oldest_epoch: u64) {
        self.oldest_epoch.store(oldest_epoch, Ordering::Relaxed);
        self.put(settings);
    }

    fn put(&self, settings: &ScopeSettings) {
        self.epoch.store(settings.epoch, Ordering::Relaxed);
        self.weight.store(settings.weight.get(), Ordering::Relaxed);
        self.has_pools.store(settings.has_pools, Ordering::Relaxed);
        self.current.read().account.set_max(usage_max(settings.bytes_max));
    }

    pub(crate) fn has_pools(&self) -> bool {
        self.has_pools.load(Ordering::Relaxed)
    }

    /// Entries since the last purge of the scope.
    pub(crate) fn partition(&self) -> Arc<Partition> {
        self.current.read().clone()
    }

    /// Memory in use by its entries.
    pub fn used(&self) -> Usage {
        self.current.read().account.used()
    }

    /// Share of the store that it uses, by bytes or by entries, whichever is more, for its weight.
    pub(crate) fn share(&self, store: Usage) -> f64 {
        let used = self.used();
        let part = |used: u64, max: u64| used as f64 / max.max(1) as f64;
        let share = part(used.bytes, store.bytes).max(part(used.entries, store.entries));
        share / f64::from(self.weight.load(Ordering::Relaxed).max(1))
    }

    /// Ends the scope: it stores nothing from now on. Returns its partition.
    pub(crate) fn close(&self) -> Arc<Partition> {
        let old = self.replace_partition();
        self.partition().retire();
        old
    }

    /// Replaces the partition, and returns the former one: its entries are misses from now on.
    pub(crate) fn replace_partition(&self) -> Arc<Partition> {
        let mut current = self.current.write();
        let new = Arc::new(new_partition(&self.parent, current.account.max().bytes));
        let old = std::mem::replace(&mut *current, new);
        drop(current);
        old.retire();
        old
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl Tenant {
    pub(crate) fn new(store: &Arc<Account>, max: Usage) -> Self {
        Self {
            account: Arc::new(Account::new(Level::Tenant, Some(store.clone()), max)),
            scopes: Mutex::default(),
        }
    }

    pub(crate) fn add(&self, scope: &Arc<Scope>) {
        let mut scopes = self.scopes.lock();
        scopes.retain(|known| known.strong_count() > 0);
        scopes.push(Arc::downgrade(scope));
    }

    /// Copies its scopes.
    pub(crate) fn scopes(&self) -> Vec<Arc<Scope>> {
        self.scopes.lock().iter().filter_map(Weak::upgrade).collect()
    }
}

fn new_partition(parent: &Arc<Account>, bytes_max: u64) -> Partition {
    Partition::new(Account::new(Level::Scope, Some(parent.clone()), usage_max(bytes_max)))
}

fn usage_max(bytes: u64) -> Usage {
    Usage { bytes, ..Usage::UNLIMITED }
}
