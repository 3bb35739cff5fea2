//! Messages between the two planes beside snapshots.

use ringway_model::{AppId, CoreId, Hostname, InstanceId, Serial, Tick};

use crate::snapshot::EndpointId;

/// Message of a data core to the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The core routes by this snapshot: no exchange that begins on it from now on sees an older one.
    Applied {
        /// Which core.
        core: CoreId,
        /// Which snapshot.
        serial: Serial,
    },
    /// A breaker opened, or closed again. Told once, by the core whose result made the difference.
    BreakerChanged {
        /// The endpoint.
        endpoint: EndpointId,
        /// The instance behind it.
        instance: InstanceId,
        /// Whether it is open now.
        open: bool,
    },
    /// No connection could be made: a reason to check the instance, and to resolve its name, soon.
    ConnectFailed {
        /// Which instance.
        instance: InstanceId,
    },
    /// Attempts at an instance failed: reported by each core once in a while, for the log.
    AttemptsFailed {
        /// Which app.
        app: AppId,
        /// Which instance.
        instance: InstanceId,
        /// The rule that was broken, or the kind of failure, of the last one; a word from a fixed vocabulary.
        reason: &'static str,
        /// The same for people.
        text: Box<str>,
        /// Failures since the core's last report about this instance.
        failures: u32,
    },
    /// A request asks for a host that has no route, or one that a resolver gave and that should be asked for again. A
    /// snapshot with its route follows, or [`Order::HostAbsent`]; nothing when its route is fresh.
    HostWanted {
        /// Which core.
        core: CoreId,
        /// Which host.
        host: Hostname,
    },
    /// The core was told to drain and has no connection left.
    Drained {
        /// Which core.
        core: CoreId,
    },
    /// The core's thread ended by a panic: it serves nothing any more. A panic of one connection is not told here.
    WorkerPanicked {
        /// Which core.
        core: CoreId,
    },
}

/// Message of the control thread to a data core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Takes no new connections, ends those that are idle, and lets the rest finish.
    Drain {
        /// Unfinished requests are cut off then.
        deadline: Tick,
    },
    /// There is no route for a host that the core asked for.
    HostAbsent {
        /// Which host.
        host: Hostname,
        /// Why.
        why: Absence,
    },
    /// Ends at once.
    Stop,
}

/// Why a host that nobody registered has no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The resolver does not know it.
    Unknown,
    /// The resolver could not be asked, or did not answer.
    Unresolved,
}
