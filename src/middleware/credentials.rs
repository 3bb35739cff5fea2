//! Credentials that the control plane loads: keys of tokens, users, keys of clients.

/// Loaded credentials of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {}
