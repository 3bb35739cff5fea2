//! Limits of the DNS client: each with its unit and its reason.

use std::time::Duration;

/// All queries about one name: addresses, aliases, and CAA records up the tree.
pub(crate) const DNS_CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// One query to one server.
pub(crate) const DNS_TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Attempts per server for the same query.
pub(crate) const DNS_TRIES: usize = 2;
/// Length of a CNAME chain: the depth that public resolvers follow.
pub(crate) const DNS_ALIASES_MAX: usize = 8;
