//! Index of the store: keys to entries and sets of variants, in shards of read-write locks.

use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use super::variant_set::VariantSet;
use crate::entry::Entry;
use crate::sync::{OwnLine, RwLock};

/// Shared table of all cores, by a keyed hash: keys that strangers choose cannot be made to collide.
#[derive(Debug)]
pub(crate) struct Index {
    hasher: RandomState,
    shards: Box<[OwnLine<RwLock<HashTable<Slot>>>]>,
}

/// Value of a key.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// A response.
    Entry(Arc<Entry>),
    /// Variants of a response, under keys of their own.
    Variants(Arc<VariantSet>),
}

impl Slot {
    fn hash(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.hash,
            Self::Variants(set) => set.hash,
        }
    }

    fn has_key(&self, key: &[u8]) -> bool {
        match self {
            Self::Entry(entry) => entry.key() == key,
            Self::Variants(set) => set.primary() == key,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry(one), Self::Entry(other)) => Arc::ptr_eq(one, other),
            (Self::Variants(one), Self::Variants(other)) => Arc::ptr_eq(one, other),
            (Self::Entry(_), Self::Variants(_)) | (Self::Variants(_), Self::Entry(_)) => false,
        }
    }
}

impl Index {
    pub(crate) fn new(hasher: RandomState) -> Self {
        Self { hasher, shards: (0..SHARDS).map(|_| OwnLine::default()).collect() }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Finds the value of a key: a read lock, one comparison, one reference counted.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        self.shard(hash).read().find(hash, |slot| slot.hash() == hash && slot.has_key(key)).cloned()
    }

    /// Puts a value under its key and returns the one that was there, unless `is_refused` returns true under
    /// the lock. The same value again changes nothing.
    pub(crate) fn put(&self, new: &Slot, is_refused: impl FnOnce() -> bool) -> Result<Option<Slot>, Refused> {
        let hash = new.hash();
        let key = match new {
            Slot::Entry(entry) => entry.key(),
            Slot::Variants(set) => set.primary(),
        };
        let mut shard = self.shard(hash).write();
        if is_refused() {
            return Err(Refused);
        }
        match shard.entry(hash, |slot| slot.hash() == hash && slot.has_key(key), Slot::hash) {
            Place::Occupied(mut known) if !known.get().is_same(new) => {
                Ok(Some(std::mem::replace(known.get_mut(), new.clone())))
            }
            Place::Occupied(_) => Ok(None),
            Place::Vacant(place) => {
                place.insert(new.clone());
                Ok(None)
            }
        }
    }

    /// Removes this value; one that replaced it stays.
    pub(crate) fn remove(&self, value: &Slot) {
        let mut shard = self.shard(value.hash()).write();
        let removed =
            shard.find_entry(value.hash(), |slot| slot.is_same(value)).ok().map(|place| place.remove().0);
        drop(shard);
        drop(removed);
    }

    /// Removes the value of a key.
    pub(crate) fn take(&self, hash: u64, key: &[u8]) -> Option<Slot> {
        let mut shard = self.shard(hash).write();
        shard
            .find_entry(hash, |slot| slot.hash() == hash && slot.has_key(key))
            .ok()
            .map(|place| place.remove().0)
    }

    /// Number of entries and sets.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }

    /// By the highest bits but seven, for the table takes the lowest ones, and those seven.
    fn shard(&self, hash: u64) -> &RwLock<HashTable<Slot>> {
        &self.shards[(hash >> 48) as usize % SHARDS].0
    }
}

/// The condition of [`Index::put`] was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

/// Shards: cores that insert meet in one of them rarely, and readers share a lock word with one in so many.
/// Models have one, for each lock multiplies their interleavings.
const SHARDS: usize = if cfg!(all(test, loom)) { 1 } else { 64 };
