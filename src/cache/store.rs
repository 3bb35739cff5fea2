//! Store of responses, one for the process, shared by all cores.
//!
//! ```text
//! find    index shard (read) ─► entry of this epoch, of a partition in use ─► count the use
//! insert  charge (evict for room) ─► queues ─► index shard (write), unless purged meanwhile ─► drop the old one
//! purge   journal ─► scan of the queues by slices, or a new partition ─► index shard (write)
//! ```
//! - [`index`] finds an entry by its key. A hit takes a read lock, counts one reference, and writes one byte.
//! - [`scope`] holds the entries of a route of a tenant: a [`partition`] with its [`queues`] and its
//!   [`account`], replaced by purges of the whole scope.
//! - [`journal`] keeps what was asked of an origin before a purge from being stored after it.
//! - [`variant_set`] connects the variants of a resource.
//!
//! A lock is held for one operation on one table. No lock is held while entries are compared or freed, and
//! none while another one is taken.

pub(crate) mod account;
mod index;
pub(crate) mod insert;
mod journal;
pub(crate) mod partition;
pub(crate) mod purge;
mod purging;
mod queues;
mod room;
pub(crate) mod scope;
pub(crate) mod select;
pub(crate) mod sweep;
mod uncacheable;
pub(crate) mod variant_set;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use ahash::RandomState;
use ringway_model::Timestamp;

use crate::entry::Entry;
use crate::key::ScopeId;
use crate::limits;
use crate::sync::{AtomicU64, Mutex, Ordering, RwLock};
use account::{Account, Level, Usage};
use index::{Index, Slot};
use journal::Journal;
use partition::Partition;
use purge::{PurgeKind, Record};
use scope::{Scope, ScopeName, ScopeSettings, Tenant};
use uncacheable::Uncacheable;
use variant_set::VariantSet;

/// Responses of all scopes. All methods may be called from any thread at any time.
pub struct Store {
    index: Index,
    total: Arc<Account>,
    /// Share of one tenant, in percent.
    tenant_share: AtomicU64,
    uncacheable: Arc<Account>,
    scopes: RwLock<Scopes>,
    purges: Journal<Record>,
    /// Partitions that were replaced and have entries to free.
    retired: Mutex<Vec<Arc<Partition>>>,
    sweep: Mutex<sweep::Cursor>,
    /// Scope that was evicted from last.
    largest: Mutex<Weak<Scope>>,
    /// Advances with each draw of a scope, and with each generation of variants.
    draws: AtomicU64,
    counters: Counters,
}

/// Memory of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// Bytes and entries of all scopes.
    pub max: Usage,
    /// Share of a tenant of both, in percent.
    pub tenant_share_percent: u64,
}

/// Value of a key.
#[derive(Clone, Debug)]
pub enum Found {
    /// A response, fresh or stale.
    Entry(Arc<Entry>),
    /// The response varies: its variants have keys of their own.
    Variants(Arc<VariantSet>),
}

/// State of a store, or of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Memory in use, with entries that readers still hold.
    pub used: Usage,
    /// Its maximum.
    pub max: Usage,
    /// Entries that were stored.
    pub insertions: u64,
    /// Entries that were removed for others.
    pub evictions: Evictions,
    /// Entries that were removed or made stale by purges, by [`PurgeKind`].
    pub purged: [u64; PurgeKind::ALL.len()],
    /// Entries that were removed because they were past all use.
    pub expired: u64,
}

/// Entries that were removed for others, by the limit that had no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// The store's.
    pub store: u64,
    /// A tenant's share.
    pub tenant: u64,
    /// A route's.
    pub scope: u64,
}

/// State of one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeStats {
    /// Tenant and route.
    pub name: ScopeName,
    /// Memory in use.
    pub used: Usage,
    /// Its maximum.
    pub max: Usage,
    /// Entries that were removed for others.
    pub evictions: u64,
}

#[derive(Debug)]
struct Scopes {
    by_name: HashMap<ScopeName, Arc<Scope>, RandomState>,
    tenants: HashMap<Box<str>, Arc<Tenant>, RandomState>,
    /// All scopes, replaced as a whole: readers take a reference and leave the lock.
    list: Arc<[Arc<Scope>]>,
    next_id: u32,
}

#[derive(Debug, Default)]
struct Counters {
    insertions: AtomicU64,
    evictions: [AtomicU64; 3],
    purged: [AtomicU64; PurgeKind::ALL.len()],
    expired: AtomicU64,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            max: Usage { bytes: limits::STORE_BYTES_MAX, entries: limits::STORE_ENTRIES_MAX },
            tenant_share_percent: limits::TENANT_SHARE_PERCENT,
        }
    }
}

impl StoreSettings {
    fn tenant_max(max: Usage, percent: u64) -> Usage {
        let of =
            |amount: u64| u64::try_from(u128::from(amount) * u128::from(percent) / 100).unwrap_or(amount);
        Usage { bytes: of(max.bytes), entries: of(max.entries).max(1) }
    }
}

impl Store {
    /// Returns a store without scopes.
    pub fn new(settings: &StoreSettings) -> Self {
        let bytes = limits::UNCACHEABLE_BYTES_MAX;
        Self {
            index: Index::new(hasher()),
            total: Arc::new(Account::new(Level::Store, None, settings.max)),
            tenant_share: AtomicU64::new(settings.tenant_share_percent),
            uncacheable: Arc::new(Account::new(Level::Store, None, Usage { bytes, ..Usage::UNLIMITED })),
            scopes: RwLock::new(Scopes {
                by_name: HashMap::with_hasher(hasher()),
                tenants: HashMap::with_hasher(hasher()),
                list: Arc::new([]),
                next_id: 0,
            }),
            purges: Journal::new(limits::PURGES_KEPT),
            retired: Mutex::default(),
            sweep: Mutex::default(),
            largest: Mutex::default(),
            draws: AtomicU64::new(0),
            counters: Counters::default(),
        }
    }

    /// Changes the settings. Memory above lowered limits is given back by [`sweep`](Self::sweep) and by
    /// insertions.
    pub fn set(&self, settings: &StoreSettings) {
        self.total.set_max(settings.max);
        self.tenant_share.store(settings.tenant_share_percent, Ordering::Relaxed);
        let tenant_max = self.tenant_max();
        for tenant in self.scopes.read().tenants.values() {
            tenant.account.set_max(tenant_max);
        }
    }

    /// Finds the value of a key, and counts its use. Entries of another epoch are misses. About 100 ns; takes
    /// a read lock for one comparison, and allocates nothing.
    #[inline]
    pub fn find(&self, key: &[u8], epoch: u64) -> Option<Found> {
        self.find_hashed(self.index.hash(key), key, epoch)
    }

    #[inline]
    pub(crate) fn find_hashed(&self, hash: u64, key: &[u8], epoch: u64) -> Option<Found> {
        match self.index.find(hash, key)? {
            Slot::Entry(entry) => (entry.epoch() == epoch && !entry.partition.is_retired()).then(|| {
                entry.touch();
                Found::Entry(entry)
            }),
            Slot::Variants(set) => (!set.partition.is_retired()).then_some(Found::Variants(set)),
        }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.index.hash(key)
    }

    /// Returns the scope of this name, with these settings from now on.
    pub fn scope(&self, name: &ScopeName, settings: &ScopeSettings) -> Arc<Scope> {
        let mut scopes = self.scopes.write();
        if let Some(scope) = scopes.by_name.get(name) {
            scope.set(settings);
            return scope.clone();
        }
        let tenant = name.tenant.as_ref().map(|tenant| {
            let new = || Arc::new(Tenant::new(&self.total, self.tenant_max()));
            scopes.tenants.entry(tenant.clone()).or_insert_with(new).clone()
        });
        let id = ScopeId(scopes.next_id);
        // Numbers are not used again: keys of a scope that was dropped stay apart from all others.
        scopes.next_id += 1;
        let uncacheable = Uncacheable::new(self.uncacheable.clone());
        let scope =
            Arc::new(Scope::new(id, name.clone(), settings, tenant.clone(), &self.total, uncacheable));
        if let Some(tenant) = tenant {
            tenant.add(&scope);
        }
        scopes.by_name.insert(name.clone(), scope.clone());
        scopes.list = scopes.by_name.values().cloned().collect();
        scope
    }

    /// Finds the scope of this name.
    pub fn find_scope(&self, name: &ScopeName) -> Option<Arc<Scope>> {
        self.scopes.read().by_name.get(name).cloned()
    }

    /// Number of scopes that were ever made. A read lock and a load.
    pub fn scopes_made(&self) -> u32 {
        self.scopes.read().next_id
    }

    /// Drops all scopes that `keep` refuses: those of routes that were removed. Their entries are misses from
    /// now on and are freed in slices. Handles of a dropped scope find and store nothing; [`scope`] makes a
    /// new one for the name.
    ///
    /// [`scope`]: Self::scope
    pub fn retain_scopes(&self, mut keep: impl FnMut(&Scope) -> bool) {
        let known = self.scopes();
        let dropped: Vec<_> = known.iter().filter(|scope| !keep(scope)).cloned().collect();
        if dropped.is_empty() {
            return;
        }
        let mut scopes = self.scopes.write();
        for scope in &dropped {
            scopes.by_name.remove(scope.name());
        }
        scopes.list = scopes.by_name.values().cloned().collect();
        let tenants: Vec<_> = scopes.by_name.keys().filter_map(|name| name.tenant.clone()).collect();
        let tenants: std::collections::HashSet<_, RandomState> = tenants.into_iter().collect();
        scopes.tenants.retain(|tenant, _| tenants.contains(tenant));
        drop(scopes);
        for scope in dropped {
            let partition = scope.close();
            self.bury(partition);
        }
    }

    /// Copies the entries that `matches` selects, `limit` at most, with their scopes: for listings. Scopes
    /// come by name. Compares all entries, by slices; for the control thread.
    pub fn entries(
        &self,
        limit: usize,
        mut matches: impl FnMut(&Scope, &Entry) -> bool,
    ) -> Vec<(Arc<Scope>, Arc<Entry>)> {
        let mut found = Vec::new();
        let mut scopes = self.scopes().to_vec();
        scopes.sort_by(|one, other| one.name().cmp(other.name()));
        for scope in scopes {
            scope.partition().scan(|entry| {
                if found.len() < limit && matches(&scope, entry) {
                    found.push((scope.clone(), entry.clone()));
                }
                found.len() < limit
            });
        }
        found
    }

    /// State of the store. A few loads.
    pub fn stats(&self) -> StoreStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [scope, tenant, store] = &self.counters.evictions;
        StoreStats {
            used: self.total.used(),
            max: self.total.max(),
            insertions: load(&self.counters.insertions),
            evictions: Evictions { store: load(store), tenant: load(tenant), scope: load(scope) },
            purged: std::array::from_fn(|kind| load(&self.counters.purged[kind])),
            expired: load(&self.counters.expired),
        }
    }

    /// State of each scope.
    pub fn scope_stats(&self) -> Vec<ScopeStats> {
        let stats = |scope: &Arc<Scope>| ScopeStats {
            name: scope.name().clone(),
            used: scope.used(),
            max: scope.partition().account.max(),
            evictions: scope.evictions.load(Ordering::Relaxed),
        };
        self.scopes().iter().map(stats).collect()
    }

    fn scopes(&self) -> Arc<[Arc<Scope>]> {
        self.scopes.read().list.clone()
    }

    fn tenant_max(&self) -> Usage {
        StoreSettings::tenant_max(self.total.max(), self.tenant_share.load(Ordering::Relaxed))
    }

    /// Random number that no client can guess.
    fn draw(&self) -> u64 {
        self.index.hash(&self.draws.fetch_add(1, Ordering::Relaxed).to_le_bytes())
    }

    /// Removes an entry from all tables, unless that was done.
    fn remove(&self, entry: &Arc<Entry>) -> bool {
        let is_first = entry.mark_retired();
        if is_first {
            self.index.remove(&Slot::Entry(entry.clone()));
            entry.partition.queues.lock().remove(entry);
            self.leave_set(entry);
        }
        is_first
    }

    /// Removes a variant from its set, and the set after the last one.
    fn leave_set(&self, entry: &Arc<Entry>) {
        if let Some(set) = &entry.variant_of
            && set.remove(entry)
        {
            self.index.remove(&Slot::Variants(set.clone()));
        }
    }

    /// Removes a value that is not in the index any longer: an entry, or a set with its variants.
    fn remove_replaced(&self, slot: Slot) -> u64 {
        match slot {
            Slot::Entry(entry) => u64::from(self.remove(&entry)),
            Slot::Variants(set) => set.drop_all().iter().map(|variant| u64::from(self.remove(variant))).sum(),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// Hasher with a secret of this process. Models need the same one in every execution.
fn hasher() -> RandomState {
    if cfg!(all(test, loom)) { RandomState::with_seeds(1, 2, 3, 4) } else { RandomState::new() }
}

/// Whether an entry is past all use.
fn is_past_use(entry: &Entry, now: Timestamp) -> bool {
    let kept = limits::KEEP_UNUSABLE.as_millis() as u64;
    entry.head().usable_until().0.saturating_add(kept) < now.0
}

#[cfg(all(test, loom))]
#[path = "store_models.rs"]
mod models;
#[cfg(all(test, not(loom)))]
#[path = "store_tests.rs"]
mod tests;
