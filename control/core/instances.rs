//! Registered instances at run time: leases, drains, health and outages.

pub(crate) mod attempt_warnings;
pub(crate) mod drains;
pub(crate) mod lease;
pub(crate) mod outage;
pub(crate) mod probe_tls;
