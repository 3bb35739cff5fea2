//! Messages between the cores and the thread of the forward proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::CoreId;

use crate::Policy;

/// Request of a core: the addresses of a name. The answer is an [`Update::Resolved`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRequest {
    /// The core.
    pub core: CoreId,
    /// The name, normalised.
    pub name: Arc<str>,
}

/// Message to the thread that resolves names.
#[derive(Clone, Debug)]
pub enum NameMessage {
    /// A core wants a name.
    Wanted(NameRequest),
    /// A lookup has ended: the addresses with their TTL.
    Found {
        /// The name.
        name: Arc<str>,
        /// The result.
        found: Result<(Arc<[IpAddr]>, Duration), NameError>,
    },
    /// The hosts file is read again, and results that were kept are forgotten.
    Reload,
    /// The thread ends.
    End,
}

/// Message to a core.
#[derive(Clone, Debug)]
pub enum Update {
    /// New rules, for the requests from now on.
    Policy(Arc<Policy>),
    /// Result for a name.
    Resolved(Resolved),
}

/// Result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The name.
    pub name: Arc<str>,
    /// All its addresses, forbidden ones too, at most
    /// [`ADDRESSES_PER_NAME_MAX`](crate::limits::ADDRESSES_PER_NAME_MAX); or the failure.
    pub addresses: Result<Arc<[IpAddr]>, NameError>,
    /// Time for which it may be used.
    pub ttl: Duration,
}

/// Failure of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The name does not exist, has no addresses, or its servers fail.
    Failed,
    /// No answer in time.
    TimedOut,
    /// Too many names wait.
    Full,
}
