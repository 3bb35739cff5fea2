//! Memory of keys whose responses could not be stored: their requests do not wait for each other.

use std::collections::{HashMap, VecDeque};

use std::sync::Arc;

use ringway_model::Tick;

use super::account::{Account, Charge, Usage};
use crate::limits;
use crate::sync::{AtomicU32, Mutex, Ordering};

/// Hashes of keys with the time until which they count, of one scope.
///
/// The oldest one is forgotten for a new one beyond [`limits::UNCACHEABLE_KEYS_MAX`]; without any, a lookup
/// is one load. All scopes share the memory for it; without any left, a new key is not remembered.
#[derive(Debug)]
pub(crate) struct Uncacheable {
    memory: Arc<Account>,
    /// Number of keys, read without the lock.
    len: AtomicU32,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    until: HashMap<u64, Tick, ahash::RandomState>,
    /// In the order of insertion; keys that were removed since are skipped.
    order: VecDeque<(u64, Tick)>,
    charge: Option<Charge>,
}

impl Uncacheable {
    pub(crate) fn new(memory: Arc<Account>) -> Self {
        Self { memory, len: AtomicU32::new(0), keys: Mutex::default() }
    }

    pub(crate) fn contains(&self, hash: u64, now: Tick) -> bool {
        self.len.load(Ordering::Relaxed) > 0
            && self.keys.lock().until.get(&hash).is_some_and(|until| *until > now)
    }

    /// Remembers a key for [`limits::UNCACHEABLE_TIME`].
    pub(crate) fn insert(&self, hash: u64, now: Tick) {
        let mut keys = self.keys.lock();
        keys.forget_until(now);
        // One that is inserted again stands in the order twice.
        if keys.order.len() >= limits::UNCACHEABLE_KEYS_MAX {
            keys.forget_oldest();
        }
        let Ok(charge) = self.memory.charge(Usage { bytes: KEY_BYTES, entries: 0 }) else { return };
        match &mut keys.charge {
            Some(known) => known.merge(charge),
            None => keys.charge = Some(charge),
        }
        let until = now.after(limits::UNCACHEABLE_TIME);
        keys.until.insert(hash, until);
        keys.order.push_back((hash, until));
        self.update_len(&keys);
    }

    /// Forgets a key: a response could be stored.
    pub(crate) fn remove(&self, hash: u64) {
        if self.len.load(Ordering::Relaxed) > 0 {
            let mut keys = self.keys.lock();
            keys.until.remove(&hash);
            self.update_len(&keys);
        }
    }

    /// Forgets all keys whose time has passed, and frees their memory.
    pub(crate) fn sweep(&self, now: Tick) {
        if self.len.load(Ordering::Relaxed) > 0 {
            let mut keys = self.keys.lock();
            keys.forget_until(now);
            keys.order.shrink_to_fit();
            keys.until.shrink_to_fit();
            self.update_len(&keys);
        }
    }

    fn update_len(&self, keys: &Keys) {
        self.len.store(u32::try_from(keys.until.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
}

impl Keys {
    fn forget_until(&mut self, now: Tick) {
        while self.order.front().is_some_and(|(_, until)| *until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((hash, until)) = self.order.pop_front() else { return };
        if self.until.get(&hash) == Some(&until) {
            self.until.remove(&hash);
        }
        if let Some(charge) = &mut self.charge {
            charge.shrink(self.order.len() as u64 * KEY_BYTES);
        }
    }
}

/// Memory of a key in both tables.
const KEY_BYTES: u64 = 64;

#[cfg(all(test, not(loom)))]
#[path = "uncacheable_tests.rs"]
mod tests;
