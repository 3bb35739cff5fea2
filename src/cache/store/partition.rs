//! Entries of a scope between two purges of the whole scope.
//!
//! A purge of a route, a tenant or everything replaces the partition: entries of a retired one are misses at
//! once, on all cores, and are freed in slices later.

use std::sync::Arc;

use super::account::Account;
use super::queues::Queues;
use crate::entry::Entry;
use crate::limits;
use crate::sync::{AtomicBool, Mutex, Ordering, OwnLine};

/// Entries of a scope with their account and their queues of eviction.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Read by every hit; the rest is written by inserts and evictions.
    is_retired: OwnLine<AtomicBool>,
    pub(crate) account: Arc<Account>,
    pub(crate) queues: Mutex<Queues>,
}

impl Partition {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            is_retired: OwnLine(AtomicBool::new(false)),
            account: Arc::new(account),
            queues: Mutex::new(Queues::default()),
        }
    }

    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.is_retired.0.load(Ordering::Acquire)
    }

    pub(crate) fn retire(&self) {
        self.is_retired.0.store(true, Ordering::SeqCst);
    }

    /// Entries that are in the queues.
    pub(crate) fn len(&self) -> usize {
        self.queues.lock().len()
    }

    /// Calls `visit` with each entry until it returns `false`. Entries are copied by slices under the lock
    /// and visited outside; those that are inserted meanwhile may be missed.
    pub(crate) fn scan(&self, mut visit: impl FnMut(&Arc<Entry>) -> bool) {
        let mut slice = Vec::with_capacity(limits::SCAN_SLICE);
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.queues.lock().slice(from, limits::SCAN_SLICE, &mut slice);
            if !slice.iter().all(&mut visit) {
                return;
            }
            slice.clear();
        }
    }
}
