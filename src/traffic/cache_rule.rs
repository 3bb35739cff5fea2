//! Cache of a rule.

use std::sync::Arc;

use ringway_cache::{ScopeId, Settings};
use ringway_model::TenantId;

/// Cache of a rule's responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheRule {
    /// Settings of its decisions.
    pub settings: Arc<Settings>,
    /// Tenant and route that entries belong to; constant while both are the same, never reused.
    pub scope: ScopeId,
    /// Version of all that makes a response what it is: settings, pool, path and stages. Entries of another
    /// one are not served. Never reused.
    pub epoch: u64,
    /// The tenant of its requests.
    pub tenant: Option<TenantId>,
}
