//! Credentials that the control plane loads: keys of tokens, users, keys of clients.

pub use crate::auth::keys::{KeyError, KeySet};
pub use crate::auth::users::{ApiKeyTable, LineError, Users};

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
