//! Discovery of addresses: DNS refresh for named targets, and an external resolver for hosts without a registration.

pub(crate) mod dns_refresh;
pub(crate) mod overlay;
pub(crate) mod schedule;
pub(crate) mod threads;
