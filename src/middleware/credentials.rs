//! Credentials that the control plane loads: keys of tokens, users, keys of clients.

use std::sync::Arc;

pub use crate::auth::keys::{KeyError, KeySet};
pub use crate::auth::users::{ApiKeyTable, LineError, Users};

/// Credentials of a source that a core has, or none. Equal by identity: a later load is another one.
#[derive(Clone, Debug, Default)]
pub struct KnownCredentials(pub Option<Arc<Credentials>>);

impl PartialEq for KnownCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().map(Arc::as_ptr) == other.0.as_ref().map(Arc::as_ptr)
    }
}

impl Eq for KnownCredentials {}

/// Loaded credentials of one source.
#[derive(Debug)]
pub enum Credentials {
    /// Keys of tokens.
    Keys(KeySet),
    /// Names and hashed passwords.
    Users(Users),
    /// Names and hashed keys.
    ApiKeys(ApiKeyTable),
}

impl Credentials {
    /// Number of keys or users.
    pub fn len(&self) -> usize {
        match self {
            Self::Keys(keys) => keys.len(),
            Self::Users(users) => users.len(),
            Self::ApiKeys(keys) => keys.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
