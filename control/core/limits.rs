//! Limits of the control thread: each with its unit and its reason.

use std::time::Duration;

// --- Certificates ------------------------------------------------------------------------------------------

/// How often the files are looked at that apps and domains name by their paths: soon enough for somebody who has just broken
/// one, and a few system calls for each.
pub(crate) const NAMED_FILES_INTERVAL: Duration = Duration::from_secs(5);
/// So many of them are looked at: as many as a core keeps.
pub(crate) const NAMED_FILES_MAX: usize = ringway_model::limits::SECRETS_PER_CORE_MAX;
/// So many of those that cannot be used are named in the status.
pub(crate) const NAMED_FILES_TOLD_MAX: usize = 20;

// --- Webhooks ----------------------------------------------------------------------------------------------

/// Domains of an app that are named when its last instance goes, an event each: the queue is for all apps.
pub(crate) const WEBHOOK_DOMAINS_PER_EVENT: usize = 20;

// --- Resolver: hosts that nobody registered ------------------------------------------------------------------

/// Threads that ask it: a resolver is near, and one answer that takes its time holds up no more than one of them.
pub(crate) const RESOLVER_THREADS: usize = 4;
/// Hosts that are resolved or wait for it; what comes beyond is refused at once.
pub(crate) const RESOLVED_HOSTS_MAX: usize = 10_000;
/// Targets of one host; the rest is not used.
pub(crate) const RESOLVED_TARGETS_MAX: usize = 64;
/// A host that nobody has asked for this long loses its route: the next request waits for a fresh answer.
pub(crate) const RESOLVED_IDLE: Duration = Duration::from_secs(5);
/// How long a host is served by the last answer while the resolver gives none.
pub(crate) const RESOLVED_STALE_MAX: Duration = Duration::from_secs(60);
/// A target that cannot be connected to has the resolver asked at once, but not more often than this.
pub(crate) const RESOLVED_RETRY: Duration = Duration::from_millis(100);

// --- Health ------------------------------------------------------------------------------------------------

/// Deregistrations for lack of heartbeats that are remembered, so that late messages can be told what happened: 150 KB.
pub(crate) const DEREGISTRATIONS_REMEMBERED_MAX: usize = 1024;

// --- Between the planes ------------------------------------------------------------------------------------

/// A change whose cores have not all acknowledged by then is answered with 202 and the names of the slow ones.
pub(crate) const APPLY_DEADLINE: Duration = Duration::from_millis(1_000);
/// Changes that are stored and published together.
pub(crate) const CHANGES_PER_BATCH_MAX: usize = 256;
/// Changes that wait; more are refused with 503 and `Retry-After`.
pub(crate) const CHANGES_WAITING_MAX: usize = 4_096;
/// Idempotency keys remembered.
pub(crate) const IDEMPOTENCY_KEYS_MAX: usize = 10_000;
/// How long an idempotency key is remembered.
pub(crate) const IDEMPOTENCY_TIME: Duration = Duration::from_secs(24 * 3600);
/// Cores that had nothing to acknowledge for this time get the same configuration again, to show that they live.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_secs(5);
/// A core that has not acknowledged for this time has stalled: the watchdog is fed no more.
pub(crate) const CORE_STALL: Duration = Duration::from_secs(10);
/// How long another thread waits for the control thread's answer.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the control thread may take to come up once the store is loaded.
pub(crate) const CONTROL_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the store may take to close.
pub(crate) const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

// --- Admin API ---------------------------------------------------------------------------------------------

/// Instances that a status names of one app, of each kind of trouble.
pub(crate) const STATUS_INSTANCES_MAX: usize = 10;

// --- Names, logs, metrics ----------------------------------------------------------------------------------

/// One resolution.
pub(crate) const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads for them, beside those of resolutions: a disk that hangs must not keep names from being resolved.
pub(crate) const BLOCKING_THREADS: usize = 12;
