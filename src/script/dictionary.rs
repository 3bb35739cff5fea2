//! Shared dictionaries: keys and values that all cores share, with a lifetime, evicted when they are full.
//!
//! A key belongs to one of 64 shards, each a table behind a lock that is held for one operation. A full shard
//! evicts the entry that was used least recently of a few that it looks at.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ahash::RandomState;

use crate::limits;

/// Dictionaries of all namespaces, by namespace and name. They outlive the bundles that use them.
#[derive(Debug, Default)]
pub struct Dictionaries {
    namespaces: Mutex<HashMap<Box<str>, Named>>,
}

/// Dictionaries of a namespace by name.
type Named = HashMap<Box<str>, Arc<Dictionary>>;

impl Dictionaries {
    /// The dictionary of a namespace, created if it is missing; `None` when the namespace has 16 others.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Dictionary>> {
        let mut namespaces = lock(&self.namespaces);
        let names = match namespaces.get_mut(namespace) {
            Some(names) => names,
            None => namespaces.entry(namespace.into()).or_default(),
        };
        if let Some(known) = names.get(name) {
            return Some(known.clone());
        }
        if names.len() >= limits::DICTIONARIES_MAX {
            return None;
        }
        let new = Arc::new(Dictionary::default());
        names.insert(name.into(), new.clone());
        Some(new)
    }

    /// Forgets the dictionaries of namespaces that no longer exist, and those that their bundles no longer
    /// name. `keep` gets namespace and name.
    pub fn retain(&self, keep: impl Fn(&str, &str) -> bool) {
        let mut namespaces = lock(&self.namespaces);
        namespaces.retain(|namespace, names| {
            names.retain(|name, _| keep(namespace, name));
            !names.is_empty()
        });
    }
}

/// Keys and values that all cores share. All methods may be called from any thread at any time; 80 to 100 ns.
pub struct Dictionary {
    hash: RandomState,
    shards: Box<[Mutex<Shard>]>,
    shard_bytes_max: usize,
}

/// Value of a [`Dictionary`].
#[derive(Clone, Debug, PartialEq)]
pub enum SharedValue {
    /// Number.
    Number(f64),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// Truth value.
    Bool(bool),
}

/// Reason why a dictionary does not change an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictionaryError {
    /// The key has more than 1 KiB.
    Key,
    /// The value has more than 64 KiB.
    Value,
    /// The value to be increased is not a number.
    NotANumber,
}

impl std::fmt::Display for DictionaryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key => "the key is longer than 1 KiB",
            Self::Value => "the value is longer than 64 KiB",
            Self::NotANumber => "the value is not a number",
        })
    }
}

impl std::error::Error for DictionaryError {}

#[derive(Default)]
struct Shard {
    entries: HashMap<Box<[u8]>, Entry, RandomState>,
    bytes: usize,
    /// Counts uses, for the order of eviction.
    clock: u64,
}

struct Entry {
    value: SharedValue,
    expires_us: Option<u64>,
    used: u64,
}

impl Default for Dictionary {
    fn default() -> Self {
        Self::with_bytes(limits::DICTIONARY_BYTES_MAX)
    }
}

impl std::fmt::Debug for Dictionary {
    /// Omits keys and values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Dictionary {
    fn with_bytes(bytes_max: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hash: RandomState::new(), shards, shard_bytes_max: bytes_max / SHARDS }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8], now_us: u64) -> Option<SharedValue> {
        let mut shard = self.shard(key);
        let used = shard.tick();
        let entry = shard.entries.get_mut(key).filter(|entry| !entry.is_expired(now_us))?;
        entry.used = used;
        Some(entry.value.clone())
    }

    /// Sets the value of a key, which expires after `ttl_us`.
    ///
    /// # Errors
    /// Key or value is too long.
    pub fn set(
        &self,
        key: &[u8],
        value: SharedValue,
        ttl_us: Option<u64>,
        now_us: u64,
    ) -> Result<(), DictionaryError> {
        check(key, &value)?;
        self.shard(key).insert(key, value, expiry(ttl_us, now_us), self.shard_bytes_max, now_us);
        Ok(())
    }

    /// Sets the value of a key that has none; whether it had none.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn add(
        &self,
        key: &[u8],
        value: SharedValue,
        ttl_us: Option<u64>,
        now_us: u64,
    ) -> Result<bool, DictionaryError> {
        check(key, &value)?;
        let mut shard = self.shard(key);
        if shard.entries.get(key).is_some_and(|entry| !entry.is_expired(now_us)) {
            return Ok(false);
        }
        shard.insert(key, value, expiry(ttl_us, now_us), self.shard_bytes_max, now_us);
        Ok(true)
    }

    /// Adds to the number of a key, and returns the sum. A key without value has 0, and expires after
    /// `ttl_us`; others keep their expiry.
    ///
    /// # Errors
    /// The key is too long, or its value is not a number.
    pub fn incr(
        &self,
        key: &[u8],
        by: f64,
        ttl_us: Option<u64>,
        now_us: u64,
    ) -> Result<f64, DictionaryError> {
        let mut shard = self.shard(key);
        let used = shard.tick();
        if let Some(entry) = shard.entries.get_mut(key).filter(|entry| !entry.is_expired(now_us)) {
            let SharedValue::Number(number) = &mut entry.value else {
                return Err(DictionaryError::NotANumber);
            };
            *number += by;
            entry.used = used;
            return Ok(*number);
        }
        check(key, &SharedValue::Number(by))?;
        let expires_us = expiry(ttl_us, now_us);
        shard.insert(key, SharedValue::Number(by), expires_us, self.shard_bytes_max, now_us);
        Ok(by)
    }

    /// Removes a key.
    pub fn delete(&self, key: &[u8]) {
        self.shard(key).remove(key);
    }

    /// Bytes of all entries, with what tables cost.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let hash = self.hash.hash_one(key);
        lock(&self.shards[(hash >> 57) as usize % SHARDS])
    }
}

/// Locks; a shard is valid after a panic too, as no operation leaves it half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(key: &[u8], value: &SharedValue) -> Result<(), DictionaryError> {
    if key.len() > limits::KEY_BYTES_MAX {
        return Err(DictionaryError::Key);
    }
    match value.len() > limits::VALUE_BYTES_MAX {
        true => Err(DictionaryError::Value),
        false => Ok(()),
    }
}

fn expiry(ttl_us: Option<u64>, now_us: u64) -> Option<u64> {
    ttl_us.map(|ttl_us| now_us.saturating_add(ttl_us))
}

impl SharedValue {
    fn len(&self) -> usize {
        match self {
            Self::Number(_) | Self::Bool(_) => 0,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl Entry {
    fn is_expired(&self, now_us: u64) -> bool {
        self.expires_us.is_some_and(|expires_us| expires_us <= now_us)
    }
}

impl Shard {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn insert(
        &mut self,
        key: &[u8],
        value: SharedValue,
        expires_us: Option<u64>,
        bytes_max: usize,
        now_us: u64,
    ) {
        self.remove(key);
        self.bytes += cost(key, &value);
        let used = self.tick();
        self.entries.insert(key.into(), Entry { value, expires_us, used });
        while self.bytes > bytes_max && self.entries.len() > 1 {
            self.evict(key, now_us);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some((key, entry)) = self.entries.remove_entry(key) {
            self.bytes -= cost(&key, &entry.value);
        }
    }

    /// Removes an entry other than `kept`: an expired one, or the one that was used least recently, of those
    /// at which it looks.
    fn evict(&mut self, kept: &[u8], now_us: u64) {
        let order = |entry: &Entry| if entry.is_expired(now_us) { 0 } else { entry.used };
        let others = self.entries.iter().filter(|(key, _)| &***key != kept).take(SAMPLED);
        let oldest = others.min_by_key(|(_, entry)| order(entry)).map(|(key, _)| key.clone());
        if let Some(key) = oldest {
            self.remove(&key);
        }
    }
}

fn cost(key: &[u8], value: &SharedValue) -> usize {
    key.len() + value.len() + ENTRY_OVERHEAD_BYTES
}

/// Shards of a dictionary; more cores than that do not wait for each other often.
const SHARDS: usize = 64;
/// Entries that an eviction looks at.
const SAMPLED: usize = 16;
/// Bytes of an entry beside key and value: itself, its place in the table, the allocator's rounding.
const ENTRY_OVERHEAD_BYTES: usize = 128;

#[cfg(test)]
#[path = "dictionary_tests.rs"]
mod tests;
