//! Bounded map that evicts its least recently used entry.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Least-recently-used cache. A lookup costs one hash; an insertion into a full cache scans all entries.
pub(crate) struct LruCache<K, V> {
    entries: HashMap<K, (u64, V), ahash::RandomState>,
    uses: u64,
    entries_max: usize,
}

impl<K: Clone + Eq + Hash, V> LruCache<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::default(), uses: 0, entries_max: entries_max.max(1) }
    }

    /// Returns a value, and counts as a use.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    /// Returns a value without counting as a use.
    pub(crate) fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Inserts a value; returns the one that was evicted or replaced.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.uses += 1;
        let mut evicted = None;
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            evicted = oldest.and_then(|key| self.entries.remove(&key)).map(|(_, value)| value);
        }
        let replaced = self.entries.insert(key, (self.uses, value)).map(|(_, value)| value);
        evicted.or(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evicts_the_least_recently_used_entry() {
        let mut cache = LruCache::new(2);
        assert_eq!(cache.insert("a", 1), None);
        assert_eq!(cache.insert("b", 2), None);
        assert_eq!(cache.get("a"), Some(&mut 1));
        assert_eq!(cache.peek("b"), Some(&2), "a peek is no use");
        assert_eq!(cache.insert("c", 3), Some(2));
        assert_eq!(cache.peek("b"), None);
        assert_eq!(cache.insert("a", 4), Some(1), "the same key replaces its own value only");
        assert_eq!(cache.peek("c"), Some(&3));
    }
}
