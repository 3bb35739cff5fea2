//! Status of the process, its cores, apps and instances: types for the API and embedders, and their readings.

mod certificate_warnings;
pub(crate) mod circuits;
mod instance_state;
pub(crate) mod metrics;
pub(crate) mod status_report;
mod traffic_metrics;

pub use circuits::{CircuitScope, CircuitStatus, EjectionStatus};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::configuration::ConfigurationStatus;
#[cfg(doc)]
use crate::limits;
use ringway_model::{AppId, CoreId, Generation, Health, InstanceId, Percent, Revision, Serial, Timestamp};
use ringway_telemetry::AppReading;
use ringway_traffic::in_flight::InFlight;

/// State of the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// A core has no snapshot yet.
    #[default]
    Starting,
    /// Serves without problems.
    Ready,
    /// Serves with a problem of the process itself; see [`Status::warnings`].
    Degraded,
    /// Shutting down.
    Draining,
}

impl State {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
        }
    }
}

/// Status of the whole process.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// State of the process.
    pub state: State,
    /// Version of the program.
    pub version: &'static str,
    /// Source revision of the build, or `unknown`.
    pub commit: &'static str,
    /// Time since the start.
    pub uptime: Duration,
    /// Revision of the configuration in force.
    pub revision: Revision,
    /// Newest published snapshot.
    pub serial: Serial,
    /// Data cores, by number.
    pub cores: Vec<CoreStatus>,
    /// Totals.
    pub counts: Counts,
    /// State of the store.
    pub store: StoreStatus,
    /// Instances whose breaker is open or half open.
    pub breakers_open: usize,
    /// Instances that health checks or missing heartbeats took out of rotation.
    pub unhealthy: usize,
    /// Names of targets that have no address.
    pub names_unresolved: usize,
    /// State of the operator's configuration.
    pub configuration: ConfigurationStatus,
    /// Problems that need attention, one sentence each.
    pub warnings: Vec<String>,
}

/// Totals of the configuration and of the work since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Registered apps.
    pub apps: usize,
    /// Registered instances.
    pub instances: usize,
    /// Registered domains.
    pub domains: usize,
    /// Changes without a reply.
    pub changes_waiting: usize,
    /// Changes stored since the start.
    pub changes_stored: u64,
    /// Batches stored since the start; one batch holds all changes that waited together.
    pub batches_stored: u64,
    /// Batches that could not be stored since the start.
    pub batches_failed: u64,
    /// Instances deregistered since the start because their heartbeats stopped.
    pub leases_expired: u64,
    /// Lookups of names since the start with other addresses than before.
    pub names_changed: u64,
}

/// Status of one app: its instances, their problems, and its traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct AppStatus {
    /// Id of the app.
    pub app: AppId,
    /// Number of instances.
    pub total: usize,
    /// Number of instances that can take requests.
    pub available: usize,
    /// Instances out of rotation by checks or heartbeats; the first `STATUS_INSTANCES_MAX`.
    pub unhealthy: Vec<InstanceId>,
    /// Instances whose breaker is open or half open; the first `STATUS_INSTANCES_MAX`.
    pub breakers_open: Vec<InstanceId>,
    /// Traffic since the start; `None` for apps beyond [`ringway_model::limits::METRIC_SLOTS_MAX`].
    pub traffic: Option<AppReading>,
}

/// Status of one data core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreStatus {
    /// Number of the core.
    pub core: CoreId,
    /// Its I/O driver, once it has reported it.
    pub driver: Option<&'static str>,
    /// State with regard to the configuration.
    pub state: CoreState,
    /// Open client connections.
    pub connections: u64,
    /// Open tunnels.
    pub upgrades: u64,
    /// Completed exchanges.
    pub exchanges: u64,
    /// Panicked tasks.
    pub panics: u64,
    /// Last acknowledged snapshot.
    pub serial: Serial,
    /// Time from publication to acknowledgement, when it last caught up.
    pub last_ack_micros: Option<u64>,
    /// Age of the oldest publication that it has not acknowledged.
    pub behind: Option<Duration>,
}

/// State of a core with regard to the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreState {
    /// Acknowledges in time.
    Following,
    /// Missed a deadline and has not caught up; changes do not wait for it.
    Lagging,
    /// Drained and ended.
    Drained,
    /// Its thread panicked: it serves nothing, and its acknowledgements are void.
    Dead,
}

impl CoreState {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Lagging => "lagging",
            Self::Drained => "drained",
            Self::Dead => "dead",
        }
    }
}

/// Status of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Adapter: `memory` or `fjall`.
    pub kind: &'static str,
    /// Folder of its files, if it has any.
    pub path: Option<PathBuf>,
    /// Size in bytes.
    pub bytes: u64,
    /// Damage found at start and present failures, one sentence each.
    pub degraded: Vec<String>,
}

/// Status of one instance, without its configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// Registration that this status belongs to.
    pub generation: Generation,
    /// State in the rotation.
    pub state: InstanceState,
    /// Reason of the state, where there is one.
    pub state_reason: Option<String>,
    /// Requests in flight.
    pub in_flight: InFlightStatus,
    /// Deadline of its drain.
    pub draining_until: Option<Timestamp>,
    /// Health by checks and heartbeats: unhealthy if either fails.
    pub health: Health,
    /// Failure of the last check, or missing heartbeats.
    pub reason: Option<String>,
    /// Consecutive checks with the same result.
    pub streak: u32,
    /// Time of the last check.
    pub last_checked: Option<Timestamp>,
    /// Its circuit breaker.
    pub breaker: BreakerStatus,
    /// Failed requests in a row, 0 after a success; `None` while its breaker is not closed.
    pub failures_in_a_row: Option<u32>,
    /// Part of its share of the requests, while its slow start is in progress.
    pub slow_start: Option<Percent>,
    /// Time of the last heartbeat; `None` if this registration never sent one and only health checks decide.
    pub last_heartbeat: Option<Timestamp>,
    /// Time at which it leaves the rotation without another heartbeat.
    pub lease_expires: Option<Timestamp>,
    /// Time at which it is deregistered without another heartbeat.
    pub deregisters_at: Option<Timestamp>,
    /// Addresses of its target; empty while its name is not resolved.
    pub addresses: Vec<SocketAddr>,
}

impl Default for InstanceStatus {
    /// Status of an instance that was neither checked nor used.
    fn default() -> Self {
        Self {
            generation: Generation::default(),
            state: InstanceState::Serving,
            state_reason: None,
            in_flight: InFlightStatus::default(),
            draining_until: None,
            health: Health::Unknown,
            reason: None,
            streak: 0,
            last_checked: None,
            breaker: BreakerStatus::default(),
            failures_in_a_row: Some(0),
            slow_start: None,
            last_heartbeat: None,
            lease_expires: None,
            deregisters_at: None,
            addresses: Vec::new(),
        }
    }
}

/// State of an instance in the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Registered, and no check has passed yet: takes traffic only while no other instance can.
    Joining,
    /// Takes traffic.
    Serving,
    /// Finishes its requests, takes no new ones, and is removed afterwards.
    Draining,
    /// Out of rotation by health checks or missing heartbeats.
    Unhealthy,
    /// Out of rotation by its circuit breaker.
    Ejected,
}

impl InstanceState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Joining, Self::Serving, Self::Draining, Self::Unhealthy, Self::Ejected];

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }

    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Requests in flight to an instance, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightStatus {
    /// Requests, tunnels included.
    pub requests: u64,
    /// Upgraded connections such as WebSockets.
    pub tunnels: u64,
}

impl InFlightStatus {
    pub(crate) fn of(in_flight: &InFlight) -> Self {
        Self { requests: in_flight.requests(), tunnels: in_flight.tunnels() }
    }
}

/// Result of the drain of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstanceDrained {
    /// Time from its start to the removal.
    pub took: Duration,
    /// Requests in flight at the removal.
    pub left: InFlightStatus,
}

/// Status of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BreakerStatus {
    /// State of the breaker.
    pub state: BreakerState,
    /// Time at which it left the closed state.
    pub since: Option<Timestamp>,
    /// Time at which an open breaker lets a probe request pass.
    pub until: Option<Timestamp>,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    #[default]
    Closed,
    /// No request passes.
    Open,
    /// Probe requests pass.
    HalfOpen,
}

impl BreakerState {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
