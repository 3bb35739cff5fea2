//! Verified tokens of one core: a token that comes again costs a hash.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::JwtAuth;

use super::reason::Reason;
use crate::credentials::Credentials;
use crate::identity::SharedIdentity;
use crate::limits;

/// Verified tokens, in two generations: a full young one takes the place of the old one.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    young: Generation,
    old: Generation,
}

/// A token may be used at routes with different settings, which have an entry each.
type Generation = HashMap<Box<[u8]>, Vec<Entry>, ahash::RandomState>;

/// A verified token.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) identity: SharedIdentity,
    /// Whether it has the claims that its route needs.
    pub(crate) rules: Result<(), Reason>,
    /// Seconds since 1970 from which it must be verified again.
    pub(crate) until: u64,
    /// Settings that it was verified by.
    pub(crate) spec: Arc<JwtAuth>,
    /// Keys that it was verified with.
    pub(crate) keys: Arc<Credentials>,
}

impl TokenCache {
    /// A token that was verified by these settings and with these keys.
    pub(crate) fn get(
        &mut self,
        token: &[u8],
        spec: &Arc<JwtAuth>,
        keys: &Arc<Credentials>,
        now: u64,
    ) -> Option<&Entry> {
        if !self.young.contains_key(token) {
            let (token, entries) = self.old.remove_entry(token)?;
            self.make_room();
            self.young.insert(token, entries);
        }
        let is_current = |entry: &&Entry| Arc::ptr_eq(&entry.keys, keys) && now < entry.until;
        self.young.get(token)?.iter().find(|entry| entry.is_of(spec)).filter(is_current)
    }

    /// Keeps a verified token.
    pub(crate) fn put(&mut self, token: &[u8], entry: Entry) {
        if let Some(entries) = self.young.get_mut(token) {
            entries.retain(|known| !known.is_of(&entry.spec));
            entries.truncate(limits::TOKEN_SETTINGS_MAX - 1);
            entries.insert(0, entry);
            return;
        }
        self.make_room();
        self.young.insert(token.into(), vec![entry]);
    }

    fn make_room(&mut self) {
        if self.young.len() >= limits::TOKENS_CACHED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

impl Entry {
    fn is_of(&self, spec: &Arc<JwtAuth>) -> bool {
        Arc::ptr_eq(&self.spec, spec) || self.spec == *spec
    }
}
