//! Limits that several crates use: each with its unit and its reason. Limits of one crate are in its
//! `limits.rs`.

use std::time::Duration;

// --- Registered objects ------------------------------------------------------------------------------------

/// Bytes of an identifier: fits a metric label and a path segment.
pub const ID_BYTES_MAX: usize = 128;
/// Bytes of an app's display name.
pub const APP_NAME_BYTES_MAX: usize = 256;
/// Bytes of a domain name without its trailing dot (RFC 1035 §3.1: 255 octets on the wire).
pub const HOST_BYTES_MAX: usize = 253;
/// Bytes of a health-check path.
pub const HEALTH_PATH_BYTES_MAX: usize = 1024;
/// Header fields of one health check.
pub const HEALTH_HEADERS_MAX: usize = 16;
/// Bytes of the name of such a field.
pub const HEALTH_HEADER_NAME_BYTES_MAX: usize = 64;
/// Bytes of its value: a bearer token has room.
pub const HEALTH_HEADER_VALUE_BYTES_MAX: usize = 4096;
/// Ranges of statuses that one health check accepts.
pub const HEALTH_STATUS_RANGES_MAX: usize = 16;
/// Bytes of the text that a health endpoint's body must contain.
pub const HEALTH_BODY_TEXT_BYTES_MAX: usize = 256;
/// Bytes of the path of a file (Linux: PATH_MAX without its NUL).
pub const PATH_BYTES_MAX: usize = 4095;
/// Apps in one process: a hundred times a large installation; stops a runaway client.
pub const APPS_MAX: usize = 100_000;
/// Instances of one app: ten times the 100 that an app is expected to have.
pub const INSTANCES_PER_APP_MAX: usize = 1_000;
/// Instances in one process.
pub const INSTANCES_MAX: usize = 200_000;
/// Domains in one process: routing takes nanoseconds, the tables about a gigabyte.
pub const DOMAINS_MAX: usize = 1_000_000;
/// Routes of operators in one process: ten times the largest configurations of other proxies.
pub const ROUTES_MAX: usize = 200_000;
/// Certificates of operators in one process.
pub const CERTIFICATES_MAX: usize = 10_000;
/// Named policies in one process.
pub const POLICIES_MAX: usize = 10_000;

/// Chains of middleware stages: those in place on routes are among them.
pub const MIDDLEWARES_MAX: usize = 10_000;
/// Stages of one chain: each may cost every request time.
pub const STAGES_MAX: usize = 32;
/// Plugins.
pub const PLUGINS_MAX: usize = 1_000;
/// 1,000: Lua scripts, all of which are one bundle.
pub const SCRIPTS_MAX: usize = 1_000;
/// Bytes of a pattern (regular expression) of a host or path: longer ones cannot be understood.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// Bytes of a fixed response's content: a page of text; it is in every core's snapshot.
pub const FIXED_BODY_BYTES_MAX: usize = 16 * 1024;
/// Versions kept of an operator's configuration.
pub const VERSIONS_PER_OWNER_MAX: usize = 100;
/// Bytes of their compressed documents: 100 versions of 10,000 routes.
pub const VERSION_BYTES_PER_OWNER_MAX: usize = 16 * 1024 * 1024;

// --- Certificates ------------------------------------------------------------------------------------------

/// CA challenges served at one time: ten times the 5 orders in flight with a few names each.
pub const CHALLENGES_MAX: usize = 256;
/// Bytes of a certificate chain in PEM form: ten certificates of 4 KiB, and their Base64.
pub const CERTIFICATE_PEM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a private key in PEM form: 6.3 KiB for RSA of 8192 bits, and the chain in the same file.
pub const KEY_PEM_BYTES_MAX: usize = CERTIFICATE_PEM_BYTES_MAX + 16 * 1024;
/// Loaded secrets queued for one core.
pub const CERTIFICATES_LOADED_MAX: usize = 4_096;
/// Secrets (certificates, CAs) cached by one core, and as many TLS configurations: some 2 KiB each; the
/// certificates themselves are shared with the loader.
pub const SECRETS_PER_CORE_MAX: usize = 4_096;
/// Age at which a secret without a version is loaded again.
pub const SECRET_AGE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a challenge's token: public CAs use 43; it is also a path segment and part of a log line.
pub const CHALLENGE_TOKEN_BYTES_MAX: usize = 256;

// --- Webhooks ----------------------------------------------------------------------------------------------

/// Bytes of a webhook's URL: the length that browsers and proxies accept.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Bytes of a secret that deliveries are signed with: shorter ones can be guessed.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 16;
/// The longest such secret.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 256;

// --- Target discovery: hosts that are not registered ------------------------------------------------------

/// Timeout of one target discovery, from the request for the host.
pub const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Age at which the discovered targets of a host in use are refreshed.
pub const RESOLVED_FRESH: Duration = Duration::from_secs(1);

// --- Health ------------------------------------------------------------------------------------------------

/// Time between two health checks of one instance.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest interval: more often is load, not information.
pub const HEALTH_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest interval.
pub const HEALTH_INTERVAL_MAX: Duration = Duration::from_secs(300);
/// Timeout of one health check.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// Consecutive failures that make an instance unhealthy.
pub const UNHEALTHY_THRESHOLD: u8 = 3;
/// Consecutive successes that make it healthy again.
pub const HEALTHY_THRESHOLD: u8 = 2;
/// Time after a registration in which an instance is probed at the joining interval: longer than the start of
/// an app.
pub const JOINING_TIME: Duration = Duration::from_secs(300);
/// Time after the last heartbeat at which an instance leaves the rotation; after twice this time it is
/// deregistered.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

// --- Data plane: time --------------------------------------------------------------------------------------

/// From accept, or the first byte of a request head, to its last byte (slowloris protection).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of one connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// To connect to one address.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the last byte of a request to the last of its final response's head.
pub const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle timeout of a body transfer, in either direction; never a total.
pub const BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Minimum rate of a request body, in bytes a second, until the response head: bounds the time of a slow
/// upload.
pub const BODY_RATE_MIN: u64 = 64;
/// Idle timeout of an upgraded connection, in both directions.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// Lingering close: input read after the last byte sent, so that the client gets the response and not a
/// reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// From SIGTERM to the end of the process.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest drain of an instance.
pub const INSTANCE_DRAIN_MAX: Duration = Duration::from_secs(3600);

// --- Data plane: size --------------------------------------------------------------------------------------

/// Bytes of a buffer that holds a request head.
pub const HEAD_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of a buffer for bodies.
pub const BODY_BUFFER_BYTES: usize = 64 * 1024;
/// Connections of one core; more are refused with 503. 16,384 × 16 cores is beyond the port range of one
/// client address.
pub const CONNECTIONS_PER_CORE_MAX: usize = 65_536;
/// Connections of one core that are answered with 503 at one time because the core is full; each may take
/// [`LINGER_TIMEOUT`]. More are closed without a response.
pub const TURNED_AWAY_PER_CORE_MAX: usize = 1_024;
/// Returns [`TURNED_AWAY_PER_CORE_MAX`], or a sixteenth of a core's open files where these are few.
pub const fn rejections_max(connection_files: usize) -> usize {
    let part = connection_files / 16;
    if part < TURNED_AWAY_PER_CORE_MAX { part } else { TURNED_AWAY_PER_CORE_MAX }
}
/// Attempts upstream for one request, the first included.
pub const ATTEMPTS_MAX: usize = 4;
/// Pending connections of a listener.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Tries to find a port that is free on several addresses, when the kernel chose it for the first address.
pub const FREE_PORT_TRIES: usize = 32;
/// Worker threads.
pub const WORKERS_MAX: usize = 256;
/// Public listening sockets of a worker: several addresses for each of some purposes.
pub const LISTENERS_MAX: usize = 256;

// --- Data plane: runtime -----------------------------------------------------------------------------------

/// Connections accepted in a row before other tasks run.
pub const ACCEPT_BATCH_MAX: u32 = 64;

// --- Between the planes ------------------------------------------------------------------------------------

/// Reports of one core that wait for the control thread; when full, acknowledgements are retried and
/// statistics dropped.
pub const REPORTS_MAX: usize = 1_024;
/// Commands queued for one core.
pub const ORDERS_MAX: usize = 16;

// --- Admin API ---------------------------------------------------------------------------------------------

/// Nesting levels of an API body: the deepest valid one has three.
pub const API_BODY_DEPTH_MAX: usize = 16;
/// Findings reported for one request.
pub const FINDINGS_MAX: usize = 64;
/// Bytes of a client's name that are repeated in a finding.
pub const FINDING_NAME_BYTES_MAX: usize = 64;
/// Items of one page of a list.
pub const PAGE_ITEMS_MAX: usize = 10_000;

// --- Names, logs, metrics ----------------------------------------------------------------------------------

/// Time to live of addresses whose resolver reports none.
pub const DNS_TTL: Duration = Duration::from_secs(30);
/// Addresses used of one name.
pub const DNS_ADDRESSES_MAX: usize = 16;
/// Resolutions in flight.
pub const DNS_IN_FLIGHT_MAX: usize = 16;
/// Routes and pools with metrics of their own; the rest shares one overflow label.
pub const METRIC_SLOTS_MAX: usize = 1_000;
/// Bytes of the reason of a failed attempt or request.
pub const UPSTREAM_ERROR_BYTES_MAX: usize = 256;
/// Time between two warnings about failed attempts at one instance.
pub const UPSTREAM_WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Instances whose last warning a core, or the control thread, keeps; the oldest is dropped.
pub const UPSTREAM_WARNINGS_MAX: usize = 1_024;
/// Bytes of a request id accepted from a trusted proxy.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

// --- The process -------------------------------------------------------------------------------------------

/// Timeout of the start of a worker: runtime and listeners.
pub const WORKER_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Age of the last progress at which the control thread or a worker counts as stalled.
pub const LIVENESS_AGE_MAX: Duration = Duration::from_secs(15);
/// Timeout of the access log's final flush.
pub const LOG_FINISH_TIMEOUT: Duration = Duration::from_secs(5);
