//! Discovery of addresses: DNS refresh for named targets, and an external resolver for hosts without a
//! registration.

pub(crate) mod dns_refresh;
pub(crate) mod overlay;
mod schedule;
mod target_resolver;
pub(crate) mod threads;

pub use target_resolver::{Resolved, ResolvedTarget, ResolverError, TargetResolver};
