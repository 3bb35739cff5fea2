//! A table with room for so many: what was not asked for the longest makes way.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// See the module's text. Lookups cost one hash; an insertion into a full table looks at all entries.
pub(crate) struct LruCache<K, V> {
    entries: HashMap<K, (u64, V), ahash::RandomState>,
    uses: u64,
    entries_max: usize,
}

impl<K: Clone + Eq + Hash, V> LruCache<K, V> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries: HashMap::default(), uses: 0, entries_max: entries_max.max(1) }
    }

    /// Counts as a use.
    pub(crate) fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    /// Looks without counting it as a use.
    pub(crate) fn peek<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Puts something in, and gives what made way for it.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.uses += 1;
        let mut out = None;
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            out = oldest.and_then(|key| self.entries.remove(&key)).map(|(_, value)| value);
        }
        let before = self.entries.insert(key, (self.uses, value)).map(|(_, value)| value);
        out.or(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_the_longest_makes_way() {
        let mut recent = LruCache::new(2);
        assert_eq!(recent.insert("a", 1), None);
        assert_eq!(recent.insert("b", 2), None);
        assert_eq!(recent.get("a"), Some(&mut 1));
        assert_eq!(recent.peek("b"), Some(&2), "looking is no use");
        assert_eq!(recent.insert("c", 3), Some(2));
        assert_eq!(recent.peek("b"), None);
        assert_eq!(recent.insert("a", 4), Some(1), "the same again replaces only itself");
        assert_eq!(recent.peek("c"), Some(&3));
    }
}
