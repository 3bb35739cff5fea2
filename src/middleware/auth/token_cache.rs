//! Verified tokens of one core: a token that comes again costs a hash.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::JwtAuth;

use super::token::TokenError;
use crate::credentials::Credentials;
use crate::identity::SharedIdentity;
use crate::limits;

/// Verified tokens, in two generations: a full young one takes the place of the old one.
#[derive(Debug, Default)]
pub(crate) struct TokenCache {
    young: Generation,
    old: Generation,
}

type Generation = HashMap<Box<[u8]>, Entry, ahash::RandomState>;

/// A verified token.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) identity: SharedIdentity,
    /// Whether it has the claims that its route needs.
    pub(crate) rules: Result<(), TokenError>,
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
            let (token, entry) = self.old.remove_entry(token)?;
            self.put(token, entry);
        }
        self.young.get(token).filter(|entry| {
            let is_same_spec = Arc::ptr_eq(&entry.spec, spec) || entry.spec == *spec;
            is_same_spec && Arc::ptr_eq(&entry.keys, keys) && now < entry.until
        })
    }

    /// Keeps a verified token.
    pub(crate) fn put(&mut self, token: Box<[u8]>, entry: Entry) {
        if self.young.len() >= limits::TOKENS_CACHED_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, entry);
    }
}
