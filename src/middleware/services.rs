//! Services of the core that stages use: what a pure stage cannot have itself.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ringway_model::CredentialSource;

use crate::auth::failures::Failures;
use crate::auth::password_cache::PasswordCache;
use crate::auth::token_cache::TokenCache;
use crate::credentials::Credentials;

/// Services of the core that serves a request. Stages get them with the request's context.
pub trait Services {
    /// Wall clock, in seconds since 1970.
    fn now(&self) -> u64;

    /// Monotonic clock in microseconds.
    fn now_micros(&self) -> u64;

    /// State of all stages on this core.
    fn core(&self) -> &CoreState;

    /// Credentials as the control plane loaded them last; `None` while they were never loaded.
    fn credentials(&self, source: &CredentialSource) -> Option<&Arc<Credentials>>;

    /// Asks the control plane for newer credentials, and waits for them for a moment. Returns the newest
    /// ones; `None` while they were never loaded. One request to the control plane serves all that wait.
    fn refresh<'s>(&'s self, source: &'s CredentialSource) -> Waiting<'s, Option<Arc<Credentials>>>;

    /// Verifies a password against a hash on a thread for it: `None` when its queue is full.
    fn verify_password(&self, hash: Arc<str>, password: Box<[u8]>) -> Waiting<'_, Option<bool>>;
}

/// Result that is waited for.
pub type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// State of all stages on one core: what they remember between requests.
#[derive(Debug, Default)]
pub struct CoreState {
    pub(crate) tokens: RefCell<TokenCache>,
    pub(crate) passwords: RefCell<PasswordCache>,
    pub(crate) failures: RefCell<Failures>,
}
