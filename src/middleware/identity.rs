//! Identity of an authenticated request.

use std::sync::Arc;

/// Result of authentication, which later stages and templates read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user: subject of the token, name of the password or of the key.
    pub user: Box<str>,
    /// Claims as text, by name; dots lead into objects.
    pub claims: Vec<(Box<str>, Box<str>)>,
}

impl Identity {
    /// Text of a claim.
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
    }
}

/// Shared: verified tokens are kept with their identity.
pub(crate) type SharedIdentity = Arc<Identity>;
