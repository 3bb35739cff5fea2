//! Limits of the admin API: each with its unit and its reason.

use std::time::Duration;

// --- Admin API ---------------------------------------------------------------------------------------------

/// Longest long poll of the admin API: a wait occupies one of [`API_WAITS_MAX`].
pub(crate) const API_WAIT_MAX: Duration = Duration::from_secs(300);

/// Bytes of an API request's body.
pub(crate) const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a request's body with a configuration: the largest document, and what JSON adds to quote it.
pub(crate) const API_CONFIG_BYTES_MAX: usize = 9 * 1024 * 1024;
/// Documents of one request.
pub(crate) const CONFIG_SOURCES_MAX: usize = 1_000;
/// Bytes of the reason of a change.
pub(crate) const CONFIG_REASON_BYTES_MAX: usize = 512;
/// Longest trial of a change on one core.
pub(crate) const CONFIG_BAKE_MAX: Duration = Duration::from_secs(3_600);
/// Connections of the admin API. At the limit an idle connection is closed for a new one.
pub(crate) const API_CONNECTIONS_MAX: usize = 512;
/// Waiting requests of the admin API. They are not closed for new connections, so they are limited to an
/// eighth of all: the others stay free for heartbeats, registrations and metrics.
pub(crate) const API_WAITS_MAX: usize = API_CONNECTIONS_MAX / 8;
/// Timeout of reading one API request.
pub(crate) const API_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle timeout of an API connection.
pub(crate) const API_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an `Idempotency-Key`: a UUID has 36.
pub(crate) const API_KEY_BYTES_MAX: usize = 255;
/// Bytes of the shortest API token: 16 random hex digits are 64 bits.
pub(crate) const API_TOKEN_BYTES_MIN: usize = 16;
/// Bytes of the longest API token: fits a request head with room to spare.
pub(crate) const API_TOKEN_BYTES_MAX: usize = 1024;
/// Named tokens: each request is compared with all of them, at some 50 ns each.
pub(crate) const TOKENS_MAX: usize = 1_000;
/// Bytes of a file of tokens: room for [`TOKENS_MAX`] lines of 250 bytes, and for comments.
pub(crate) const TOKENS_FILE_BYTES_MAX: u64 = 512 * 1024;
/// Bytes of a token's name, which each line of the audit log may have.
pub(crate) const TOKEN_NAME_BYTES_MAX: usize = 64;
/// Time between two looks at the files of tokens and certificates of the API: a token that was removed is
/// refused that much later at most.
pub(crate) const ACCESS_FILES_INTERVAL: Duration = Duration::from_secs(2);
/// Timeout of a TLS handshake with the API.
pub(crate) const API_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// TLS handshakes with the API in progress: each takes up to a millisecond of the control thread.
pub(crate) const API_HANDSHAKES_MAX: usize = 64;
/// Connections of the metrics listener: apart from the API's, for a flood there must not close the API.
pub(crate) const METRICS_CONNECTIONS_MAX: usize = 64;
/// Timeout of writing an API response without progress.
pub(crate) const API_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Routes of one tenant in the list of tenants.
pub(crate) const TENANT_ROUTES_MAX: usize = 100;
/// Backends of one tenant in the list of tenants.
pub(crate) const TENANT_BACKENDS_MAX: usize = 100;
/// Backends in a readiness report, which anyone may request.
pub(crate) const READINESS_BACKENDS_MAX: usize = 100;
/// Overridden endpoints in a status, and with a change of the configuration.
pub(crate) const OVERRIDES_SHOWN_MAX: usize = 100;
/// Names that a problem about an unknown one lists.
pub(crate) const NAMES_SUGGESTED_MAX: usize = 10;
/// Stored responses in a list by default: as many as a person reads.
pub(crate) const CACHE_ENTRIES_SHOWN: usize = 100;
/// Tags of one purge: as many as one response may have.
pub(crate) const PURGE_TAGS_MAX: usize = 64;
/// Apps in a status by default: as many as fit on a screen.
pub(crate) const STATUS_APPS: usize = 20;

// --- Audit log ---------------------------------------------------------------------------------------------

/// Lines of the audit log that wait for its file: some seconds of changes, half a megabyte.
pub(crate) const AUDIT_QUEUE_MAX: usize = 1_024;
/// Bytes of a file of the audit log before it is rotated: some 60,000 lines.
pub(crate) const AUDIT_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Rotated files of the audit log that are kept; with the present one 352 MiB.
pub(crate) const AUDIT_FILES_MAX: usize = 10;
/// Bytes of a line of the audit log: several times the longest, which has a client's reason and some ids.
pub(crate) const AUDIT_LINE_BYTES_MAX: usize = 64 * 1024;
/// Routes in a line of the audit log whose authentication a change altered: enough for a person, and less
/// than a third of a line.
pub(crate) const AUDIT_ROUTES_MAX: usize = 100;
/// Pause before a file of the audit log that could not be written is tried again.
pub(crate) const AUDIT_RETRY: Duration = Duration::from_secs(1);
/// Time for the last lines of the audit log at the end of the process.
pub(crate) const AUDIT_FINISH_TIMEOUT: Duration = Duration::from_secs(2);
/// Refused requests of unidentified clients with a line in the audit log, within [`AUDIT_REFUSALS_WINDOW`]:
/// enough to see an attack, too few to rotate the lines of others away.
pub(crate) const AUDIT_REFUSALS_MAX: usize = 60;
/// Window of [`AUDIT_REFUSALS_MAX`].
pub(crate) const AUDIT_REFUSALS_WINDOW: Duration = Duration::from_secs(60);
