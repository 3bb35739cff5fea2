//! How everything is, for people, monitoring and the metrics.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(doc)]
use crate::limits;
use ringway_model::{AppId, CoreId, Generation, Health, InstanceId, Revision, Serial, Timestamp};
use ringway_telemetry::AppReading;
use ringway_traffic::in_flight::InFlight;

pub use crate::engine::core_acks::CoreState;

/// How the process is, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not every core has its first snapshot yet.
    Starting,
    /// All is well.
    Ready,
    /// It serves, and somebody should look: [`Status::warnings`] says at what.
    Degraded,
    /// It is ending.
    Draining,
}

impl State {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
        }
    }
}

/// A reading of the whole process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// In one word.
    pub state: State,
    /// Version of the program.
    pub version: &'static str,
    /// Source revision that it was built from, or `unknown`.
    pub commit: &'static str,
    /// Time since the start.
    pub uptime: Duration,
    /// The configuration in force.
    pub revision: Revision,
    /// The snapshot that the cores were last given.
    pub serial: Serial,
    /// The data cores, by number.
    pub cores: Vec<CoreStatus>,
    /// How many there are of everything.
    pub counts: Counts,
    /// The store.
    pub store: StoreStatus,
    /// Instances whose breaker is open or half open.
    pub breakers_open: usize,
    /// Instances that health checks or missing heartbeats took out of rotation.
    pub unhealthy: usize,
    /// Names of targets that have no address.
    pub names_unresolved: usize,
    /// What somebody should look at, one sentence each. Empty when all is well.
    pub warnings: Vec<String>,
}

/// How many there are of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Registered apps.
    pub apps: usize,
    /// Registered instances.
    pub instances: usize,
    /// Registered domains.
    pub domains: usize,
    /// Changes that have no answer yet.
    pub changes_waiting: usize,
    /// Changes stored since the start.
    pub changes_stored: u64,
    /// Batches that the store took since the start: one for all changes that waited together.
    pub batches_stored: u64,
    /// Batches that the store refused since the start.
    pub batches_failed: u64,
    /// Instances deregistered since the start because their heartbeats stopped.
    pub leases_expired: u64,
    /// Names resolved anew since the start with other addresses than before.
    pub names_changed: u64,
}

/// One app: its instances, what is wrong with them, and its traffic.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AppStatus {
    /// Which.
    pub app: AppId,
    /// All instances.
    pub total: usize,
    /// Instances that requests can be sent to.
    pub available: usize,
    /// Instances out of rotation by checks or heartbeats; the first [`limits::STATUS_INSTANCES_MAX`].
    pub unhealthy: Vec<InstanceId>,
    /// Instances whose breaker is open or half open; as many at most.
    pub breakers_open: Vec<InstanceId>,
    /// What its requests came to since the start; `None` for apps beyond [`ringway_model::limits::METRIC_SLOTS_MAX`].
    pub traffic: Option<AppReading>,
}

/// One data core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoreStatus {
    /// Which.
    pub core: CoreId,
    /// The I/O driver that it runs on, once it has told.
    pub driver: Option<&'static str>,
    /// Whether it keeps up with the configuration.
    pub state: CoreState,
    /// Client connections that are open now.
    pub connections: u64,
    /// Tunnels that are open now.
    pub upgrades: u64,
    /// Exchanges that are over.
    pub exchanges: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// The snapshot that it last acknowledged.
    pub serial: Serial,
    /// From publication to acknowledgement, last time that it caught up.
    pub last_ack_micros: Option<u64>,
    /// For how long there has been a snapshot that it has not acknowledged.
    pub behind: Option<Duration>,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Which adapter: `memory`, `fjall`.
    pub kind: &'static str,
    /// Where it keeps its files, if it has any.
    pub path: Option<PathBuf>,
    /// Bytes that it occupies.
    pub bytes: u64,
    /// What it found damaged at start, what fails now; one sentence each. Empty when all is well.
    pub degraded: Vec<String>,
}

/// One instance, as far as it is not configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// Which registration of it this is about.
    pub generation: Generation,
    /// In one word.
    pub state: InstanceState,
    /// Why, where the word leaves a question.
    pub state_reason: Option<String>,
    /// Requests under way.
    pub in_flight: InFlightStatus,
    /// When it is removed at the latest, once it drains.
    pub draining_until: Option<Timestamp>,
    /// What health checks and heartbeats say: unhealthy if either does.
    pub health: Health,
    /// Why the last check failed, or which heartbeats are missing; `None` when neither is so.
    pub reason: Option<String>,
    /// Consecutive checks with the same result.
    pub streak: u32,
    /// When the last check ended.
    pub last_checked: Option<Timestamp>,
    /// Its circuit breaker.
    pub breaker: BreakerStatus,
    /// When it last sent a heartbeat; `None` when this registration never did, and only health checks judge it.
    pub last_heartbeat: Option<Timestamp>,
    /// When it leaves the rotation unless it sends another one.
    pub lease_expires: Option<Timestamp>,
    /// When it is deregistered unless it sends another one.
    pub deregisters_at: Option<Timestamp>,
    /// Where it is connected to; empty while its name is not resolved.
    pub addresses: Vec<SocketAddr>,
}

/// What an instance does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It was registered, and no check has succeeded yet: it takes traffic only while no other instance can.
    Joining,
    /// It takes traffic.
    Serving,
    /// It finishes its requests, takes no new ones, and is removed then.
    Draining,
    /// Health checks took it out of rotation.
    Unhealthy,
    /// Its circuit breaker took it out of rotation.
    Ejected,
}

impl InstanceState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Joining, Self::Serving, Self::Draining, Self::Unhealthy, Self::Ejected];

    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }

    /// Reads the word that the API uses.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Requests under way at an instance, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlightStatus {
    /// Requests, tunnels among them.
    pub requests: u64,
    /// Upgraded connections, as WebSockets.
    pub tunnels: u64,
}

impl InFlightStatus {
    pub(crate) fn of(in_flight: &InFlight) -> Self {
        Self { requests: in_flight.requests(), tunnels: in_flight.tunnels() }
    }
}

/// End of the drain of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// From its begin to the removal.
    pub took: Duration,
    /// Requests under way when its time was over.
    pub left: InFlightStatus,
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// What it does with requests.
    pub state: BreakerState,
    /// When an open one lets the next request pass.
    pub until: Option<Timestamp>,
}

/// What a circuit breaker does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// They pass.
    Closed,
    /// None passes.
    Open,
    /// One passes, to find out.
    HalfOpen,
}

impl BreakerState {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}
