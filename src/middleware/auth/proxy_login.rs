//! Basic credentials for a proxy: `Proxy-Authorization` (RFC 9110 §11.7.2, RFC 7617). The proxy itself judges
//! them, for a CONNECT passes no stages.

use std::sync::Arc;

use crate::credentials::Credentials;
use crate::services::CoreState;

/// Name and password of a request to a proxy.
pub struct ProxyLogin(super::basic::Login);

impl std::fmt::Debug for ProxyLogin {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ProxyLogin({})", self.0.name)
    }
}

/// The hash that a password has to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordHash {
    /// The user's.
    Own(Arc<str>),
    /// Another user's: the name is unknown, and its refusal takes as long.
    Dummy(Arc<str>),
}

impl ProxyLogin {
    /// Reads the value of the field; `None` for another scheme, or a malformed value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, coded) = text.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        super::basic::decode(coded.trim().as_bytes()).ok().map(Self)
    }

    /// Name of the user.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The password.
    pub fn password(&self) -> &[u8] {
        &self.0.password
    }

    /// Whether the password was verified lately on this core, for the same users.
    pub fn is_verified(&self, core: &CoreState, users: &Arc<Credentials>, now_secs: u64) -> bool {
        core.passwords.borrow().has(users, &self.0.name, &self.0.password, now_secs)
    }

    /// The hash to verify; `None` without users.
    pub fn hash(&self, users: &Credentials) -> Option<PasswordHash> {
        let Credentials::Users(users) = users else { return None };
        match users.hash(&self.0.name) {
            (Some(own), _) => Some(PasswordHash::Own(own.clone())),
            (None, dummy) => dummy.cloned().map(PasswordHash::Dummy),
        }
    }

    /// Keeps a password that was verified.
    pub fn keep(&self, core: &CoreState, users: &Arc<Credentials>, now_secs: u64) {
        core.passwords.borrow_mut().put(users, &self.0.name, &self.0.password, now_secs);
    }
}
