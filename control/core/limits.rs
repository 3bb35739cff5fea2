//! Limits of the control thread: each with its unit and its reason.

use std::time::Duration;

// --- Certificates -----------------------------------------------------------------------------------------

/// Interval of the checks of files that apps and domains name: soon after an operator broke one, at a few
/// system calls each.
pub(crate) const NAMED_FILES_INTERVAL: Duration = Duration::from_secs(5);
/// Files checked: as many as a core keeps.
pub(crate) const NAMED_FILES_MAX: usize = ringway_model::limits::SECRETS_PER_CORE_MAX;
/// Unusable files listed in the status.
pub(crate) const NAMED_FILES_LISTED_MAX: usize = 20;

// --- Webhooks ---------------------------------------------------------------------------------------------

/// Domains of an app that get an event when its last instance becomes unavailable: all apps share the queue.
pub(crate) const WEBHOOK_DOMAINS_PER_EVENT: usize = 20;

// --- Discovery: hosts of the external resolver ------------------------------------------------------------

/// Threads that call the resolver: it is near, and a slow lookup blocks one thread only.
pub(crate) const RESOLVER_THREADS: usize = 4;
/// Hosts with a lookup or a result; requests for further ones are refused at once.
pub(crate) const RESOLVED_HOSTS_MAX: usize = 10_000;
/// Targets of one host; further ones are ignored.
pub(crate) const RESOLVED_TARGETS_MAX: usize = 64;
/// Idle time after which a host loses its route: the next request waits for a fresh lookup.
pub(crate) const RESOLVED_IDLE: Duration = Duration::from_secs(5);
/// Time for which the last result stays in use while the resolver fails.
pub(crate) const RESOLVED_STALE_MAX: Duration = Duration::from_secs(60);
/// Least age of a result before a failed connection causes a lookup.
pub(crate) const RESOLVED_RETRY: Duration = Duration::from_millis(100);

// --- Health -----------------------------------------------------------------------------------------------

/// Deregistrations for lack of heartbeats that are kept for replies to late messages: 150 KB.
pub(crate) const DEREGISTRATIONS_KEPT_MAX: usize = 1024;

// --- Between the planes -----------------------------------------------------------------------------------

/// Deadline of the acknowledgements of a change: 202 with the names of the slow cores is sent then.
pub(crate) const APPLY_DEADLINE: Duration = Duration::from_millis(1_000);
/// Changes stored and published together.
pub(crate) const CHANGES_PER_BATCH_MAX: usize = 256;
/// Changes without a reply; further ones get 503 with `Retry-After`.
pub(crate) const CHANGES_WAITING_MAX: usize = 4_096;
/// Idempotency keys kept.
pub(crate) const IDEMPOTENCY_KEYS_MAX: usize = 10_000;
/// Lifetime of an idempotency key.
pub(crate) const IDEMPOTENCY_TIME: Duration = Duration::from_secs(24 * 3600);
/// Time without a publication after which the cores get the same configuration again, to prove their
/// liveness.
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_secs(5);
/// Time without an acknowledgement after which a core has stalled and the watchdog is no longer fed.
pub(crate) const CORE_STALL: Duration = Duration::from_secs(10);
/// Timeout of a call from another thread.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of the start of the control thread once the store is loaded.
pub(crate) const CONTROL_START_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of closing the store.
pub(crate) const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

// --- Admin API --------------------------------------------------------------------------------------------

/// Instances listed in the status of one app, for each kind of problem.
pub(crate) const STATUS_INSTANCES_MAX: usize = 10;

// --- Configuration of operators ---------------------------------------------------------------------------

/// Bytes of all documents of a file or folder together: the bound of the reader.
pub(crate) const CONFIG_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Documents of a folder: a generator that writes one for each app stays below it.
pub(crate) const CONFIG_FILES_MAX: usize = 1_000;
/// Symbolic links on the way to one document, as many as the kernel follows.
pub(crate) const CONFIG_LINKS_MAX: usize = 40;
/// Levels of folders with Lua modules.
pub(crate) const SCRIPT_FOLDERS_DEPTH_MAX: usize = 4;
/// Silence after which a save is complete: editors write, rename and delete within a few milliseconds.
pub(crate) const CONFIG_SETTLE: Duration = Duration::from_millis(50);
/// The same for a configuration of one file that its writer has closed: a program that writes it in steps
/// takes the next one sooner. One that was renamed into its place is whole at once.
pub(crate) const CONFIG_SETTLE_CLOSED: Duration = Duration::from_millis(10);
/// Time after which a save is read although events go on.
pub(crate) const CONFIG_SETTLE_MAX: Duration = Duration::from_secs(1);
/// Silence of a writer that keeps a document open, after which it is read all the same.
pub(crate) const CONFIG_WRITE_SILENCE: Duration = Duration::from_secs(2);
/// Time after which a document is read although its writer goes on.
pub(crate) const CONFIG_WRITE_MAX: Duration = Duration::from_secs(10);
/// Interval of readings of the files: at most ten changes a second.
pub(crate) const CONFIG_READ_INTERVAL: Duration = Duration::from_millis(100);
/// Interval of comparing the files' state with the last reading: network file systems report no events.
pub(crate) const CONFIG_STAT_INTERVAL: Duration = Duration::from_secs(10);
/// Changes of the configuration that wait; further ones get 503 with `Retry-After`.
pub(crate) const CONFIG_CHANGES_MAX: usize = 64;
/// Questions about the configuration (validations, differences, explanations, simulations) that wait; further
/// ones get 503 with `Retry-After`: one about a very large document takes a few seconds.
pub(crate) const CONFIG_QUESTIONS_MAX: usize = 16;
/// Deadline of a request about the configuration: reading the largest documents, storing, and the cores'
/// acknowledgements take a few seconds.
pub(crate) const CONFIG_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Plans kept for an application: those that an operator has looked at a while ago.
pub(crate) const CONFIG_PLANS_MAX: usize = 16;
/// Bytes of the reason of a change that the history keeps.
pub(crate) const REASON_BYTES_MAX: usize = 512;
/// Objects of a set below which its size may change at will.
pub(crate) const SIZE_GUARD_FLOOR: usize = 20;
/// Differences listed in the confirmation of a change; a diff lists all.
pub(crate) const CHANGES_REPORTED_MAX: usize = 100;
/// Routes of a host that an explanation lists.
pub(crate) const CANDIDATES_MAX: usize = 100;
/// Mistakes of a refused configuration in the status and in one log entry.
pub(crate) const FINDINGS_REPORTED_MAX: usize = 20;

// --- Blocking calls ---------------------------------------------------------------------------------------

/// Timeout of one DNS lookup.
pub(crate) const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Blocking threads in addition to those of DNS lookups: a disk that hangs must not delay lookups.
pub(crate) const BLOCKING_THREADS: usize = 12;

// --- Security events --------------------------------------------------------------------------------------

/// Interval in which equal security events get one line of the audit log: soon enough to act, and an attack
/// of a day is some thousand lines for each of its kinds.
pub(crate) const SECURITY_EVENT_INTERVAL: Duration = Duration::from_secs(60);
/// Security events of different routes and reasons that have lines of their own within an interval; further
/// ones share one line by kind.
pub(crate) const SECURITY_EVENTS_WATCHED_MAX: usize = 256;
