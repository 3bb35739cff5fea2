//! Verified passwords of one core: the hashes are slow by design, and browsers send passwords with every
//! request.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::{hmac, rand};

use crate::credentials::Credentials;
use crate::limits;

/// Verified passwords, as keyed hashes of name and password.
pub(crate) struct PasswordCache {
    /// Drawn at the start: what is kept here is of no use elsewhere.
    key: hmac::Key,
    known: HashMap<[u8; 32], (Arc<Credentials>, u64), ahash::RandomState>,
}

impl std::fmt::Debug for PasswordCache {
    /// Omits the key and the hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PasswordCache({})", self.known.len())
    }
}

impl Default for PasswordCache {
    fn default() -> Self {
        let mut secret = [0; 32];
        // A failure leaves a known key, which an attacker cannot use without the memory of this process.
        let _ = rand::fill(&mut secret);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &secret), known: HashMap::default() }
    }
}

impl PasswordCache {
    /// Whether the password was verified lately, for the same file of users.
    pub(crate) fn has(&self, users: &Arc<Credentials>, name: &str, password: &[u8], now: u64) -> bool {
        let known = self.known.get(&self.hash(name, password));
        known.is_some_and(|(of, until)| Arc::ptr_eq(of, users) && now < *until)
    }

    /// Keeps a verified password.
    pub(crate) fn put(&mut self, users: &Arc<Credentials>, name: &str, password: &[u8], now: u64) {
        if self.known.len() >= limits::PASSWORDS_CACHED_MAX {
            self.known.retain(|_, (_, until)| now < *until);
            if self.known.len() >= limits::PASSWORDS_CACHED_MAX {
                self.known.clear();
            }
        }
        let until = now + limits::PASSWORD_CACHED_SECONDS;
        self.known.insert(self.hash(name, password), (users.clone(), until));
    }

    fn hash(&self, name: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        // The length keeps name and password apart.
        context.update(&(name.len() as u64).to_le_bytes());
        context.update(name.as_bytes());
        context.update(password);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }
}
