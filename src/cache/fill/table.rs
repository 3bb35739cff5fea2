//! Fills by their keys, in shards of locks.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use super::Fill;
use crate::sync::{Mutex, OwnLine};

/// Fills that requests can join. One that streams a variant stands under both keys.
pub(super) struct Table<F>(Box<[OwnLine<Shard<F>>]>);

type Shard<F> = Mutex<HashTable<Listing<F>>>;

struct Listing<F> {
    hash: u64,
    key: Arc<[u8]>,
    fill: Arc<Fill<F>>,
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| OwnLine(Mutex::new(HashTable::new()))).collect())
    }
}

impl<F> Table<F> {
    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<Arc<Fill<F>>> {
        let shard = self.shard(hash).lock();
        shard.find(hash, |known| known.has_key(hash, key)).map(|known| known.fill.clone())
    }

    /// Lists a fill under its key; `false` if there is one.
    pub(super) fn insert(&self, fill: &Arc<Fill<F>>) -> bool {
        self.insert_as(fill.hash, fill.key.clone(), fill)
    }

    /// Lists a fill under a key; `false` if there is one.
    pub(super) fn insert_as(&self, hash: u64, key: Arc<[u8]>, fill: &Arc<Fill<F>>) -> bool {
        let mut shard = self.shard(hash).lock();
        match shard.entry(hash, |known| known.has_key(hash, &key), |known| known.hash) {
            Place::Occupied(_) => false,
            Place::Vacant(place) => {
                place.insert(Listing { hash, key: key.clone(), fill: fill.clone() });
                true
            }
        }
    }

    /// Lists a fill in the place of another one; `false` if that has left its place.
    pub(super) fn replace(&self, old: &Arc<Fill<F>>, new: &Arc<Fill<F>>) -> bool {
        let mut shard = self.shard(old.hash).lock();
        match shard.find_mut(old.hash, |known| known.is_of(old)) {
            Some(listing) if listing.key == new.key => {
                listing.fill = new.clone();
                true
            }
            _ => false,
        }
    }

    pub(super) fn remove(&self, hash: u64, fill: &Arc<Fill<F>>) {
        let mut shard = self.shard(hash).lock();
        let removed = shard.find_entry(hash, |known| known.is_of(fill)).ok().map(|place| place.remove().0);
        drop(shard);
        drop(removed);
    }

    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.0.lock().len()).sum()
    }

    fn shard(&self, hash: u64) -> &Shard<F> {
        &self.0[(hash >> 48) as usize % SHARDS].0
    }
}

impl<F> Listing<F> {
    fn has_key(&self, hash: u64, key: &[u8]) -> bool {
        self.hash == hash && *self.key == *key
    }

    fn is_of(&self, fill: &Arc<Fill<F>>) -> bool {
        Arc::ptr_eq(&self.fill, fill)
    }
}

/// Shards: misses are rarer than hits, and wait for an origin anyway.
const SHARDS: usize = if cfg!(all(test, loom)) { 1 } else { 16 };
