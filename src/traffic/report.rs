//! Messages between control plane and data plane, other than snapshots.

use std::fmt;
use std::sync::Arc;

use ringway_middleware::KnownCredentials;
use ringway_model::{AppId, CoreId, CredentialSource, Hostname, InstanceId, Serial, Tick};

use crate::samples::SampledHeads;
use crate::security_event::{SecurityCount, SecurityEvent};
use crate::snapshot::EndpointId;

/// Message of a data core to the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Acknowledgement of a snapshot: no later exchange on the core uses an older one.
    Applied {
        /// The core.
        core: CoreId,
        /// Serial of the snapshot.
        serial: Serial,
    },
    /// A breaker opened or closed. Sent once, by the core whose result caused the transition.
    BreakerChanged {
        /// The endpoint.
        endpoint: EndpointId,
        /// The instance behind it.
        instance: InstanceId,
        /// Whether it is open now.
        open: bool,
    },
    /// Ejected endpoints of a pool were reinstated: too few others were left.
    Reinstated {
        /// The pool.
        pool: AppId,
    },
    /// The breaker of a pool or of a route opened or closed. Sent once, likewise.
    CircuitChanged {
        /// The pool.
        pool: AppId,
        /// Name of the route whose policy has the breaker; `None` for that of the pool.
        route: Option<Arc<str>>,
        /// Whether it is open now.
        open: bool,
    },
    /// A connection attempt failed: the instance should be checked, and its name resolved, soon.
    ConnectFailed {
        /// The instance.
        instance: InstanceId,
    },
    /// Attempts at an instance failed: sent by each core at a limited rate, for the log.
    AttemptsFailed {
        /// The app.
        app: AppId,
        /// The instance.
        instance: InstanceId,
        /// Code of the last failure, or of the protocol rule that it violated, from a fixed vocabulary.
        reason: &'static str,
        /// The same as readable text.
        text: Box<str>,
        /// Failures since the core's last report about this instance.
        failures: u32,
    },
    /// Security events of the core since its last report: sent once a second, if there are any.
    Security {
        /// Events, with their numbers.
        events: Box<[(SecurityEvent, SecurityCount)]>,
    },
    /// A request needs a host without a route, or with a discovered route that is due for a refresh. The
    /// reply is a snapshot with its route, or [`Order::HostAbsent`]; there is none when its route is fresh.
    HostWanted {
        /// The core.
        core: CoreId,
        /// The host.
        host: Hostname,
    },
    /// Requests wait for newer credentials. The reply is a snapshot with them, if there are any, and
    /// [`Order::CredentialsSettled`].
    CredentialsWanted {
        /// The core.
        core: CoreId,
        /// The source.
        source: CredentialSource,
        /// Credentials that the core has. Newer ones may be on their way to it.
        known: KnownCredentials,
    },
    /// A password has to be verified. The reply is [`Order::PasswordVerified`].
    PasswordWanted {
        /// The core.
        core: CoreId,
        /// The password and its hash.
        job: PasswordJob,
    },
    /// The core has drained: no connection is left after [`Order::Drain`].
    Drained {
        /// The core.
        core: CoreId,
    },
    /// Samples of the core's requests: the reply to [`Order::ReportSamples`].
    Samples {
        /// The core.
        core: CoreId,
        /// The samples.
        heads: Arc<SampledHeads>,
    },
    /// The core's thread ended by a panic, and its connections with it. A panic of one connection is not
    /// reported here.
    WorkerPanicked {
        /// The core.
        core: CoreId,
    },
}

/// A password to verify.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordJob {
    /// Number of the request on its core.
    pub ticket: u64,
    /// Hash of bcrypt or argon2.
    pub hash: Arc<str>,
    /// The password.
    pub password: Box<[u8]>,
}

impl fmt::Debug for PasswordJob {
    /// Omits hash and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordJob").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// Message of the control thread to a data core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Drains: no new connections, idle ones are closed, the others finish.
    Drain {
        /// Deadline at which unfinished requests are aborted.
        deadline: Tick,
    },
    /// A requested host has no route.
    HostAbsent {
        /// The host.
        host: Hostname,
        /// The reason.
        why: Absence,
    },
    /// The refresh of credentials has ended: requests that wait for it go on.
    CredentialsSettled {
        /// The source.
        source: CredentialSource,
    },
    /// A password was verified.
    PasswordVerified {
        /// Number of the request.
        ticket: u64,
        /// Whether it is right; `None` when too many wait.
        is_right: Option<bool>,
    },
    /// Reports the samples of requests, with [`Report::Samples`].
    ReportSamples,
    /// Stops at once.
    Stop,
}

/// Reason for which an unregistered host has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The resolver does not know the host.
    Unknown,
    /// The resolver could not be reached, or did not respond.
    Unresolved,
}
