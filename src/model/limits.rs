//! Limits that several crates keep to: each with its unit and its reason. A limit of one crate alone stands in its `limits.rs`.

use std::time::Duration;

// --- What users register -----------------------------------------------------------------------------------

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
/// Bytes of the path of a file (Linux: PATH_MAX, its NUL included).
pub const PATH_BYTES_MAX: usize = 4095;
/// Apps in one process. Documents ask for 1,000 routes; the bound only stops a runaway client.
pub const APPS_MAX: usize = 100_000;
/// Instances of one app: ten times what NFR-4.2 asks for.
pub const INSTANCES_PER_APP_MAX: usize = 1_000;
/// Instances in one process.
pub const INSTANCES_MAX: usize = 200_000;
/// Domains in one process: routing stays in nanoseconds, and the tables in about a gigabyte.
pub const DOMAINS_MAX: usize = 1_000_000;

// --- Certificates ------------------------------------------------------------------------------------------

/// Challenges of the CA that are answered at one time: the orders in flight (5, NFR-4.8) with a few names each, tenfold.
pub const CHALLENGES_MAX: usize = 256;
/// Bytes of a certificate chain in PEM form: ten certificates of 4 KiB, and their Base64.
pub const CERTIFICATE_PEM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a private key in PEM form: RSA of 8192 bits has 6.3 KiB. A file with the chain beside it has room.
pub const KEY_PEM_BYTES_MAX: usize = CERTIFICATE_PEM_BYTES_MAX + 16 * 1024;
/// Answers of the loader that wait for a core.
pub const CERTIFICATES_LOADED_MAX: usize = 4_096;
/// Certificates, CAs and the like that one core keeps, and as many configurations made of them: some 2 KiB each, the
/// certificates themselves being the loader's.
pub const SECRETS_PER_CORE_MAX: usize = 4_096;
/// How long something is used that has no version before it is asked for again.
pub const SECRET_AGE_MAX: Duration = Duration::from_secs(30);
/// Bytes of a challenge's token: those of public CAs have 43, and one is also a path segment and a line in a log.
pub const CHALLENGE_TOKEN_BYTES_MAX: usize = 256;

// --- Webhooks ----------------------------------------------------------------------------------------------

/// Bytes of a webhook's URL: what browsers and proxies take without complaint.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Bytes of a secret that deliveries are signed with: shorter ones can be guessed.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 16;
/// The longest such secret.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 256;

// --- Resolver: hosts that nobody registered ------------------------------------------------------------------

/// What a resolver may take for one answer, from the request that asks for the host.
pub const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
/// While a host is in use, the resolver is asked about it again when its answer is this old.
pub const RESOLVED_FRESH: Duration = Duration::from_secs(1);

// --- Health ------------------------------------------------------------------------------------------------

/// Time between two checks of one instance (FR-3.1).
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// The shortest interval: more often is load, not information.
pub const HEALTH_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// The longest interval.
pub const HEALTH_INTERVAL_MAX: Duration = Duration::from_secs(300);
/// How long one check may take.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// Consecutive failures that make an instance unhealthy (FR-3.2).
pub const UNHEALTHY_THRESHOLD: u8 = 3;
/// Consecutive successes that make it healthy again (FR-3.4).
pub const HEALTHY_THRESHOLD: u8 = 2;
/// How long after its registration an instance is probed that often: longer than any start that somebody waits for.
pub const JOINING_TIME: Duration = Duration::from_secs(300);
/// An instance that has sent heartbeats leaves the rotation this long after the last one, and is deregistered after as long
/// again (FR-4.4).
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

// --- Data plane: time --------------------------------------------------------------------------------------

/// From the first byte of a request head, or from accept, to its last (slowloris).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of one connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// To connect to one address (NFR-2.5).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the last byte of a request to the last of its final response's head.
pub const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a single byte of a body, in either direction, before a transfer is given up. Never a total.
pub const BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes a second that a client must send of a body until its response has begun: a slow one costs a bounded time.
pub const BODY_RATE_MIN: u64 = 64;
/// How long an upgraded connection may be silent in both directions.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a finished connection is read after our last byte, so that the client gets the answer, not a reset, when nothing
/// is known to be under way.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// From SIGTERM to the end of the process.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest drain of an instance: whoever has longer requests removes it without waiting.
pub const INSTANCE_DRAIN_MAX: Duration = Duration::from_secs(3600);

// --- Data plane: size --------------------------------------------------------------------------------------

/// Bytes of a buffer that holds a request head.
pub const HEAD_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of a buffer for a body on its way.
pub const BODY_BUFFER_BYTES: usize = 64 * 1024;
/// Connections of one core; more are refused with 503. 16,384 × 16 cores is beyond the port range of one client address.
pub const CONNECTIONS_PER_CORE_MAX: usize = 65_536;
/// Connections of one core that are told with a 503 that there is no room, at a time; each may take [`LINGER_TIMEOUT`].
/// More are closed without a word.
pub const TURNED_AWAY_PER_CORE_MAX: usize = 1_024;
/// The same where one core has so many open files for connections: a sixteenth of them.
pub const fn rejections_max(connection_files: usize) -> usize {
    let part = connection_files / 16;
    if part < TURNED_AWAY_PER_CORE_MAX { part } else { TURNED_AWAY_PER_CORE_MAX }
}
/// Attempts upstream for one request, the first included.
pub const ATTEMPTS_MAX: usize = 4;
/// Pending connections of a listener.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// Free ports that a start tries when one port has to be free on several addresses and the kernel names it for the first.
pub const FREE_PORT_TRIES: usize = 32;
/// Worker threads.
pub const WORKERS_MAX: usize = 256;

// --- Data plane: runtime -----------------------------------------------------------------------------------

/// Connections accepted in a row before other tasks have their turn.
pub const ACCEPT_BATCH_MAX: u32 = 64;

// --- Between the planes ------------------------------------------------------------------------------------

/// Reports of one core that wait for the control thread; when full, acknowledgements are retried and statistics dropped.
pub const REPORTS_MAX: usize = 1_024;
/// Orders that wait for a core.
pub const ORDERS_MAX: usize = 16;

// --- Admin API ---------------------------------------------------------------------------------------------

/// Levels of nesting in an API body: the deepest that it takes has three.
pub const API_BODY_DEPTH_MAX: usize = 16;
/// Findings reported for one request.
pub const FINDINGS_MAX: usize = 64;
/// Bytes of a name from outside that are repeated in a finding.
pub const FINDING_NAME_BYTES_MAX: usize = 64;
/// Items of one page of a list.
pub const PAGE_ITEMS_MAX: usize = 10_000;

// --- Names, logs, metrics ----------------------------------------------------------------------------------

/// How long the addresses of a name are used when the resolver gives no time to live.
pub const DNS_TTL: Duration = Duration::from_secs(30);
/// Addresses used of one name.
pub const DNS_ADDRESSES_MAX: usize = 16;
/// Resolutions in flight.
pub const DNS_IN_FLIGHT_MAX: usize = 16;
/// Routes and pools with metrics of their own; the rest shares one overflow label.
pub const METRIC_SLOTS_MAX: usize = 1_000;
/// Bytes of the text that says why an attempt upstream, or a request, was given up.
pub const UPSTREAM_ERROR_BYTES_MAX: usize = 256;
/// Time between two warnings about failed attempts at one instance.
pub const UPSTREAM_WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Instances whose last warning a core, or the control thread, remembers; beyond them the oldest is forgotten.
pub const UPSTREAM_WARNINGS_MAX: usize = 1_024;
/// Bytes of a request id taken over from a trusted proxy.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

// --- The process -------------------------------------------------------------------------------------------

/// For a worker to build its runtime and listen.
pub const WORKER_START_TIMEOUT: Duration = Duration::from_secs(10);
/// The control thread or a worker that has shown no progress for this long is not alive.
pub const LIVENESS_AGE_MAX: Duration = Duration::from_secs(15);
/// For the access log's writer to write what it has at the end.
pub const LOG_FINISH_TIMEOUT: Duration = Duration::from_secs(5);
