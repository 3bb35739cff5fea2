//! The seam between the API and what it administers.
//!
//! The handlers know nothing of stores, cores and threads: they hand over changes and read what is there. The
//! tests put a plane of their own behind it.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_certs::{DomainState, Overview, UploadError, Verification};

use ringway_control::{Control, InFlightStatus, InstanceDrained, InstanceState};
use ringway_model::{
    AppId, Change, CoreId, Desired, Generation, Health, Hostname, InstanceId, Outcome, Rejection, Revision,
    Serial, Timestamp,
};
use ringway_telemetry::AppReading;
use ringway_tls::{Facts, LoadError, SecretKey};

/// What the API administers.
pub trait Plane: 'static {
    /// Applies a change: stored, published, and acknowledged by the cores or by the deadline.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Receipt, Refusal>>;
    /// Takes note that an instance lives.
    ///
    /// # Errors
    /// [`Rejection::UnknownInstance`] or [`Rejection::Deregistered`], and [`Rejection::StaleGeneration`] for the message of a replaced process.
    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection>;
    /// The configuration as it is now. One pointer.
    fn desired(&self) -> Desired;
    /// What is known of an instance besides its registration.
    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus>;
    /// End of the drain of a registration; `None` while it is under way, and when it is long over.
    fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained>;
    /// Why requests for an app find no healthy instance, and what becomes of them; `None` while there is one.
    fn outage(&self, app: &AppId) -> Option<String>;
    /// How the process does.
    fn status(&self) -> Status;
    /// The apps by trouble, then by traffic; `most` of them.
    fn app_statuses(&self, most: usize) -> Vec<AppStatus>;
    /// Whether traffic should be sent here: configuration loaded, listeners open, not draining.
    fn is_ready(&self) -> bool;
    /// Appends the metrics in the Prometheus text format.
    fn metrics(&self, out: &mut String);

    /// Whether somebody looks after certificates here.
    fn has_certificates(&self) -> bool;
    /// Where the certificate of a domain stands; `None` when it is not registered, or nobody looks after certificates.
    fn certificate(&self, host: &Hostname) -> Option<DomainState>;
    /// Certificates as a whole; `None` when nobody looks after them.
    fn certificates(&self) -> Option<Overview>;
    /// Looks at a domain's DNS records and at our own challenge URL, now. `None` when too many verifications wait, or the
    /// domain is not registered.
    fn verify(&self, host: &Hostname) -> impl Future<Output = Option<Arc<Verification>>>;
    /// What an upload would say, as far as it shows without making it.
    ///
    /// # Errors
    /// What is wrong with chain or key; neither is repeated.
    fn check_certificate(&self, host: &Hostname, chain: &[u8], key: &[u8])
    -> Result<Arc<Facts>, UploadError>;
    /// Reads what a change names by its path.
    ///
    /// # Errors
    /// Which file is of no use, and why.
    fn check_files(&self, want: SecretKey) -> impl Future<Output = Result<(), LoadError>>;
    /// Stores a certificate of a domain whose mode is `provided`, and has every core serve it.
    fn upload_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> impl Future<Output = Result<Arc<Facts>, UploadError>>;
    /// Removes what was stored of a domain's certificate; no core serves it any more.
    fn discard_certificate(&self, host: &Hostname) -> impl Future<Output = Result<(), UploadError>>;
}

/// A change with its conditions.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What to do.
    pub change: Change,
    /// Only if the configuration is at this revision.
    pub if_match: Option<Revision>,
    /// Once only: a second submission with the same key is answered with the first one's receipt.
    pub idempotency: Option<Idempotency>,
}

/// An idempotency key and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// A hash of the request that came with it: another request with the same key is refused.
    pub request_hash: u64,
}

/// What became of an accepted change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The revision that has it.
    pub revision: Revision,
    /// What it did.
    pub outcome: Outcome,
    /// The generation of the instance that it registered.
    pub generation: Option<Generation>,
    /// Cores that have not acknowledged it by the deadline.
    pub pending: Vec<CoreId>,
    /// Whether this is the receipt of an earlier submission with the same key.
    pub replayed: bool,
    /// From submission to the last acknowledgement.
    pub applied_in: Duration,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The configuration does not allow it.
    Rejected(Rejection),
    /// The configuration is not at the revision that was asked for.
    RevisionMismatch {
        /// Where it is.
        current: Revision,
    },
    /// The idempotency key came with another request.
    IdempotencyConflict,
    /// Too many changes wait.
    Busy {
        /// When to try again.
        retry_after: Duration,
    },
    /// The store did not take it, and it was not made.
    Storage {
        /// What the store said, and what to do.
        why: String,
    },
    /// The process ends.
    ShuttingDown,
    /// No answer came in time: it may or may not take effect.
    Unconfirmed,
}

/// What checks, leases and requests say about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceStatus {
    /// In one word.
    pub state: InstanceState,
    /// Why, where the word leaves a question.
    pub state_reason: Option<String>,
    /// Requests under way.
    pub in_flight: InFlightStatus,
    /// When it is removed at the latest, once it drains.
    pub draining_until: Option<Timestamp>,
    /// In rotation or not, by active checks and heartbeats.
    pub health: Health,
    /// Why the last check failed, or which heartbeats are missing, in words.
    pub reason: Option<String>,
    /// Consecutive results of the last kind.
    pub streak: u32,
    /// When the last check ended.
    pub last_check: Option<Timestamp>,
    /// When the last heartbeat came; none if none ever did.
    pub last_heartbeat: Option<Timestamp>,
    /// When it leaves the rotation without another heartbeat.
    pub lease_expires: Option<Timestamp>,
    /// When it is deregistered without another heartbeat.
    pub deregisters_at: Option<Timestamp>,
    /// The circuit breaker: `closed`, `open` or `half_open`.
    pub circuit_breaker: &'static str,
    /// When an open breaker lets the next request pass.
    pub circuit_breaker_until: Option<Timestamp>,
    /// Where requests for it go; empty while its name is not resolved.
    pub addresses: Vec<SocketAddr>,
}

impl Default for InstanceStatus {
    /// One of which nothing is known yet.
    fn default() -> Self {
        Self {
            state: InstanceState::Serving,
            state_reason: None,
            in_flight: InFlightStatus::default(),
            draining_until: None,
            health: Health::Unknown,
            reason: None,
            streak: 0,
            last_check: None,
            last_heartbeat: None,
            lease_expires: None,
            deregisters_at: None,
            circuit_breaker: "closed",
            circuit_breaker_until: None,
            addresses: Vec::new(),
        }
    }
}

/// How the process does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// `starting`, `ready`, `degraded` or `draining`.
    pub state: &'static str,
    /// The program's version.
    pub version: &'static str,
    /// The source revision that it was built from.
    pub commit: &'static str,
    /// Time since the start.
    pub uptime: Duration,
    /// What somebody should look at, one sentence each.
    pub warnings: Vec<String>,
    /// Instances that checks took out of rotation.
    pub unhealthy: usize,
    /// Instances whose breaker is open or half open.
    pub breakers_open: usize,
    /// Names of targets without an address.
    pub names_unresolved: usize,
    /// Instances deregistered since the start because their heartbeats stopped.
    pub leases_expired: u64,
    /// Changes that have no answer yet.
    pub changes_waiting: usize,
    /// Changes stored since the start.
    pub changes_stored: u64,
    /// The store.
    pub store: StoreStatus,
    /// One per core.
    pub workers: Vec<WorkerStatus>,
}

/// How the store does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// Which adapter.
    pub kind: &'static str,
    /// Where it keeps its files.
    pub path: Option<String>,
    /// Bytes that it occupies.
    pub bytes: u64,
    /// What is damaged or fails, one sentence each.
    pub degraded: Vec<String>,
}

/// How a core does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Which.
    pub core: CoreId,
    /// `io_uring…` or `epoll`, once it has told.
    pub driver: Option<&'static str>,
    /// `following`, `lagging`, `drained` or `dead`.
    pub state: &'static str,
    /// Client connections that are open.
    pub connections: u64,
    /// Tunnels that are open.
    pub upgrades: u64,
    /// Exchanges since the start.
    pub exchanges: u64,
    /// Tasks that panicked.
    pub panics: u64,
    /// The snapshot that it serves.
    pub serial: Serial,
    /// How long it took to take up the last one, in microseconds.
    pub last_ack_micros: Option<u64>,
}

/// Totals and state of an app.
#[derive(Clone, Debug, PartialEq)]
pub struct AppStatus {
    /// Which.
    pub app: AppId,
    /// All instances.
    pub total: usize,
    /// Instances that requests can be sent to.
    pub available: usize,
    /// The first instances out of rotation by checks or heartbeats.
    pub unhealthy: Vec<InstanceId>,
    /// The first instances whose breaker is open or half open.
    pub breakers_open: Vec<InstanceId>,
    /// What its requests came to since the start; none for apps that are not counted by themselves.
    pub traffic: Option<AppReading>,
}

impl From<ringway_control::AppStatus> for AppStatus {
    fn from(status: ringway_control::AppStatus) -> Self {
        Self {
            app: status.app,
            total: status.total,
            available: status.available,
            unhealthy: status.unhealthy,
            breakers_open: status.breakers_open,
            traffic: status.traffic,
        }
    }
}

impl Plane for Control {
    async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let Submission { change, if_match, idempotency } = submission;
        let idempotency = idempotency.map(|given| (given.key.into_boxed_str(), given.request_hash));
        let submission = ringway_control::Submission { change, if_match, idempotency };
        match Self::submit(self, submission).await {
            Ok(receipt) => Ok(Receipt {
                revision: receipt.revision,
                outcome: receipt.outcome,
                generation: receipt.generation,
                pending: receipt.pending,
                replayed: receipt.replayed,
                applied_in: receipt.applied_in,
            }),
            Err(refusal) => Err(Refusal::from(refusal)),
        }
    }

    fn heartbeat(&self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection> {
        Self::heartbeat(self, id, generation)
    }

    fn desired(&self) -> Desired {
        Self::desired(self)
    }

    fn instance_status(&self, id: &InstanceId) -> Option<InstanceStatus> {
        let status = Self::instance_status(self, id)?;
        Some(InstanceStatus {
            state: status.state,
            state_reason: status.state_reason,
            in_flight: status.in_flight,
            draining_until: status.draining_until,
            health: status.health,
            reason: status.reason,
            streak: status.streak,
            last_check: status.last_checked,
            last_heartbeat: status.last_heartbeat,
            lease_expires: status.lease_expires,
            deregisters_at: status.deregisters_at,
            circuit_breaker: status.breaker.state.as_str(),
            circuit_breaker_until: status.breaker.until,
            addresses: status.addresses,
        })
    }

    fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained> {
        Self::drained(self, id, generation)
    }

    fn outage(&self, app: &AppId) -> Option<String> {
        Self::outage(self, app)
    }

    fn status(&self) -> Status {
        let status = Self::status(self);
        Status {
            state: status.state.as_str(),
            version: status.version,
            commit: status.commit,
            uptime: status.uptime,
            warnings: status.warnings,
            unhealthy: status.unhealthy,
            breakers_open: status.breakers_open,
            names_unresolved: status.names_unresolved,
            leases_expired: status.counts.leases_expired,
            changes_waiting: status.counts.changes_waiting,
            changes_stored: status.counts.changes_stored,
            store: StoreStatus {
                kind: status.store.kind,
                path: status.store.path.map(|path| path.display().to_string()),
                bytes: status.store.bytes,
                degraded: status.store.degraded,
            },
            workers: status
                .cores
                .iter()
                .map(|core| WorkerStatus {
                    core: core.core,
                    driver: core.driver,
                    state: core.state.as_str(),
                    connections: core.connections,
                    upgrades: core.upgrades,
                    exchanges: core.exchanges,
                    panics: core.panics,
                    serial: core.serial,
                    last_ack_micros: core.last_ack_micros,
                })
                .collect(),
        }
    }

    fn app_statuses(&self, most: usize) -> Vec<AppStatus> {
        Self::app_statuses(self, most).into_iter().map(AppStatus::from).collect()
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn metrics(&self, out: &mut String) {
        Self::metrics(self, out);
    }

    fn has_certificates(&self) -> bool {
        Self::certificates(self).is_some()
    }

    fn certificate(&self, host: &Hostname) -> Option<DomainState> {
        Self::certificates(self)?.state(host)
    }

    fn certificates(&self) -> Option<Overview> {
        Some(Self::certificates(self)?.overview())
    }

    async fn verify(&self, host: &Hostname) -> Option<Arc<Verification>> {
        Self::certificates(self)?.verify(host).await
    }

    fn check_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> Result<Arc<Facts>, UploadError> {
        let certificates = Self::certificates(self).ok_or(UploadError::UnknownDomain)?;
        certificates.check(host, chain, key)
    }

    async fn check_files(&self, want: SecretKey) -> Result<(), LoadError> {
        ringway_certs::check_files(want).await
    }

    async fn upload_certificate(
        &self,
        host: &Hostname,
        chain: &[u8],
        key: &[u8],
    ) -> Result<Arc<Facts>, UploadError> {
        let certificates = Self::certificates(self).ok_or(UploadError::UnknownDomain)?;
        certificates.upload(host, chain, key).await
    }

    async fn discard_certificate(&self, host: &Hostname) -> Result<(), UploadError> {
        let certificates = Self::certificates(self).ok_or(UploadError::UnknownDomain)?;
        certificates.discard(host).await
    }
}

impl From<ringway_control::Refusal> for Refusal {
    fn from(refusal: ringway_control::Refusal) -> Self {
        use ringway_control::Refusal as Theirs;
        match refusal {
            Theirs::Rejected(rejection) => Self::Rejected(rejection),
            Theirs::RevisionMismatch { current } => Self::RevisionMismatch { current },
            Theirs::IdempotencyConflict => Self::IdempotencyConflict,
            Theirs::Busy { retry_after } => Self::Busy { retry_after },
            Theirs::Storage(failure) => Self::Storage { why: ringway_control::with_causes(&failure) },
            Theirs::ShuttingDown => Self::ShuttingDown,
            // A refusal that is newer than this crate is one of which nothing may be promised.
            _ => Self::Unconfirmed,
        }
    }
}
