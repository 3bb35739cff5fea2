//! Every bound of the process, with its unit and its reason. A queue, table, buffer or wait that has no line
//! here (or in `wire`, which may not import this crate) is a defect.

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
/// Certificates of a chain: a leaf, a few intermediates and cross-signed roots. Each client gets them all.
pub const CERTIFICATE_CHAIN_MAX: usize = 10;
/// Bytes of a private key in PEM form: RSA of 8192 bits has 6.3 KiB. A file with the chain beside it has room.
pub const KEY_PEM_BYTES_MAX: usize = CERTIFICATE_PEM_BYTES_MAX + 16 * 1024;
/// Bytes of a file with CAs: a whole distribution's has about 220 KiB.
pub const CA_PEM_BYTES_MAX: usize = 1024 * 1024;
/// Certificates of a file with CAs: a whole distribution's has about 150.
pub const CA_CERTIFICATES_MAX: usize = 1_000;
/// Servers whose TLS sessions one core remembers for one app, so that the next connection is cheap.
pub const UPSTREAM_TLS_SESSIONS_MAX: usize = 32;
/// Bytes of a file with certificates, keys or CAs: a chain has 10 KiB, a bundle of all public CAs 250.
pub const CERTIFICATE_FILE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a JSON file beside the certificates: the largest, the budgets of 5,000 names, has some 500 KiB.
pub const CERTIFICATE_RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Certificates and the like that the loader keeps, to share one among all cores: about 20 MiB.
pub const CERTIFICATES_CACHED_MAX: usize = 1_024;
/// Questions of one core to the loader that wait; when full, a handshake is refused as when nothing could be loaded.
pub const CERTIFICATES_WANTED_MAX: usize = 4_096;
/// Answers of the loader that wait for a core.
pub const CERTIFICATES_LOADED_MAX: usize = 4_096;
/// How often the files of the default certificate are looked at.
pub const CERTIFICATE_WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Certificates that are read in one go after the start, to know when they end: some milliseconds of one thread.
pub const CERTIFICATE_SCAN_BATCH: usize = 32;
/// How long a certificate on the disk whose domain is not registered is kept after a start, and between two clean-ups: a store
/// that lives in memory is filled again by the apps within minutes.
pub const CERTIFICATE_ORPHAN_GRACE: Duration = Duration::from_secs(24 * 3600);
/// Changes of files that wait for the disk; more are refused, for it has stopped.
pub const CERTIFICATE_WRITES_WAITING_MAX: usize = 1_024;
/// Verifications at one time; each occupies a thread for blocking calls while it asks for DNS records.
pub const VERIFICATIONS_IN_FLIGHT_MAX: usize = 8;
/// Verifications that wait for one of those; more are told to come later.
pub const VERIFICATIONS_WAITING_MAX: usize = 1_024;
/// To fetch our own challenge from one address: the CA's own patience is about 10 s.
pub const CHALLENGE_PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of the answer to it that are read: a key authorization has 87.
pub const CHALLENGE_PROBE_BYTES_MAX: usize = 8 * 1024;
/// Addresses of one name that are probed, of each family: the CA tries one or two.
pub const CHALLENGE_PROBE_ADDRESSES_MAX: usize = 3;
/// All DNS questions about one name: addresses, aliases, and CAA records up the tree.
pub const DNS_CHECK_TIMEOUT: Duration = Duration::from_secs(15);
/// One question to one server.
pub const DNS_TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often each server is asked the same question.
pub const DNS_TRIES: usize = 2;
/// CNAME records that follow each other: what resolvers take.
pub const DNS_ALIASES_MAX: usize = 8;
/// Certificates, CAs and the like that one core keeps, and as many configurations made of them: some 2 KiB each, the
/// certificates themselves being the loader's.
pub const MATERIALS_PER_CORE_MAX: usize = 4_096;
/// How long something is used that has no version before it is asked for again.
pub const MATERIAL_AGE_MAX: Duration = Duration::from_secs(30);
/// How often the files are looked at that apps and domains name by their paths: soon enough for somebody who has just broken
/// one, and a few system calls for each.
pub const NAMED_FILES_INTERVAL: Duration = Duration::from_secs(5);
/// So many of them are looked at: as many as a core keeps.
pub const NAMED_FILES_MAX: usize = MATERIALS_PER_CORE_MAX;
/// So many of those that cannot be used are named in the status.
pub const NAMED_FILES_TOLD_MAX: usize = 20;
/// When to ask again for something that could not be loaded, or was not answered for.
pub const MATERIAL_RETRY: Duration = Duration::from_secs(5);
/// How long a newer version is waited for when there is an older one: loading takes milliseconds.
pub const MATERIAL_PATIENCE: Duration = Duration::from_secs(1);
/// From accept to the end of a handshake, a PROXY header included: a few round trips, and a certificate to be loaded.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From accept to the end of a handshake while a core has half of the handshakes that it may have: honest ones take less
/// than a second, and those that stand still make room for them.
pub const HANDSHAKE_TIMEOUT_CROWDED: Duration = Duration::from_secs(3);
/// Handshakes under way on one core, from the first byte on, each of some 20 KiB: 160 MiB.
pub const HANDSHAKES_PER_CORE_MAX: usize = 8_192;
/// Handshakes of one client (an IPv4 address, an IPv6 /64) under way on one core: an office behind one address.
pub const HANDSHAKES_PER_CLIENT_MAX: usize = 256;
/// Handshakes that one client may begin a second on one core, in the long run: some 5 % of what the core can do.
pub const HANDSHAKE_RATE_PER_CLIENT: u32 = 100;
/// How long a client may begin more than that at once: a page's worth of connections for each person of an office.
pub const HANDSHAKE_BURST: Duration = Duration::from_secs(5);
/// Clients whose handshakes are counted on one core, 64 bytes each; those beyond it share the core's bounds only.
pub const HANDSHAKE_CLIENTS_MAX: usize = 65_536;
/// Steps of handshakes between two turns of the driver: 0.5 ms with ECDSA, 3 ms with RSA.
pub const HANDSHAKE_STEPS_PER_TURN: usize = 4;
/// Handshakes that wait for their first step: as many as a core does within a second.
pub const HANDSHAKES_QUEUED_MAX: usize = 2_048;
/// Bytes of the name in a client's certificate that an app is told; of a longer one it gets the fingerprint.
pub const CLIENT_SUBJECT_BYTES_MAX: usize = 1_024;
/// Bytes of a challenge's token: those of public CAs have 43, and one is also a path segment and a line in a log.
pub const CHALLENGE_TOKEN_BYTES_MAX: usize = 256;

// --- Certificates: the CA ----------------------------------------------------------------------------------

/// Orders that CAs work on at one time (NFR-4.8).
pub const ORDERS_IN_FLIGHT_MAX: usize = 5;
/// Domains that may wait for their turn: all of them.
pub const ORDERS_WAITING_MAX: usize = DOMAINS_MAX;
/// From the first request of an order to its certificate; then it is left for later. Let's Encrypt takes seconds, and says
/// itself that minutes are possible.
pub const ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// One request to a CA, connection and answer included: some CAs sign before they answer.
pub const ACME_REQUEST_TIMEOUT: Duration = Duration::from_secs(45);
/// To resolve the CA's name, connect, and greet by TLS.
pub const ACME_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a CA's answer: directories and orders have 2 KiB, chains 10, a problem with many subproblems some more.
pub const ACME_ANSWER_BYTES_MAX: usize = 128 * 1024;
/// Requests to one CA that wait to be sent: several for each order in flight, and renewal information.
pub const ACME_REQUESTS_WAITING_MAX: usize = 64;
/// Connections to a CA that are kept for the next request: one for each order in flight.
pub const ACME_CONNECTIONS_IDLE_MAX: usize = ORDERS_IN_FLIGHT_MAX;
/// How long they are kept.
pub const ACME_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often something is asked again when a CA refuses the nonce; three requests each. A CA that refuses nine of ten lets one
/// of a million such questions fail.
pub const ACME_NONCE_TRIES: usize = 40;
/// How long what a CA says of itself is believed, and an account is not read again.
pub const ACME_DIRECTORY_TTL: Duration = Duration::from_secs(24 * 3600);
/// After an order that the CA refused, the next one for the same domain; twice as long with each failure, at most the second.
pub const RETRY_ORDER_MIN: Duration = Duration::from_secs(5 * 60);
/// See [`RETRY_ORDER_MIN`].
pub const RETRY_ORDER_MAX: Duration = Duration::from_secs(24 * 3600);
/// After a verification that failed, the next one: somebody may be at the DNS records at this moment. Later as above.
pub const RETRY_DNS_MIN: Duration = Duration::from_secs(15);
/// See [`RETRY_DNS_MIN`].
pub const RETRY_DNS_MAX: Duration = Duration::from_secs(12 * 3600);
/// A domain whose DNS leads elsewhere for so long is not tried any more until somebody asks.
pub const PARK_AFTER_DNS: Duration = Duration::from_secs(14 * 24 * 3600);
/// A domain that the CA refuses for so long is not tried any more until somebody asks: CAs pause those themselves.
pub const PARK_AFTER_REFUSALS: Duration = Duration::from_secs(30 * 24 * 3600);
/// Attempts before either, however long the process was off in between.
pub const PARK_ATTEMPTS_MIN: u32 = 10;
/// A CA that is out of order is left alone for this long; twice as long with each failure, at most the second.
pub const AUTHORITY_PAUSE_MIN: Duration = Duration::from_secs(10);
/// See [`AUTHORITY_PAUSE_MIN`].
pub const AUTHORITY_PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// Failures in a row after which the next CA takes over: with the pauses between them, about half a minute.
pub const AUTHORITY_FAILURES_MAX: u32 = 3;
/// It takes over after this time in any case.
pub const AUTHORITY_FAILOVER_AFTER: Duration = Duration::from_secs(5 * 60);
/// Verifications before orders, at one time, so that those that somebody asks for find places.
pub const VERIFICATIONS_OF_QUEUE_MAX: usize = 4;
/// How long a verification is good for, while its domain waits for its turn.
pub const VERIFICATION_TTL: Duration = Duration::from_secs(10 * 60);
/// Memories of domains that are read from the disk in one go: some milliseconds of one thread.
pub const MEMORIES_READ_BATCH: usize = 32;
/// At a start with many domains without a certificate, their first attempts are spread: so much for each.
pub const START_SPREAD: Duration = Duration::from_millis(200);
/// How often a CA is asked about the renewal of a certificate, where it does not say itself (RFC 9773 §4.3.3).
pub const RENEWAL_INFO_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// Questions about renewals at one time.
pub const RENEWAL_INFO_IN_FLIGHT_MAX: usize = 2;
/// The queue is looked at this often whatever happens, so that a clock that jumps is noticed.
pub const CERTIFICATES_ROUND: Duration = Duration::from_secs(30);

/// Buckets of the CAs' limits that are remembered; a bucket is full again, and forgotten, within a week.
pub const BUDGETS_MAX: usize = 100_000;
/// Between two looks at an order: the first, and the longest.
pub const ACME_POLL_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// See [`ACME_POLL_INTERVAL_MIN`].
pub const ACME_POLL_INTERVAL_MAX: Duration = Duration::from_secs(10);
// --- Webhooks ----------------------------------------------------------------------------------------------

/// Bytes of a webhook's URL: what browsers and proxies take without complaint.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;
/// Bytes of a secret that deliveries are signed with: shorter ones can be guessed.
pub const WEBHOOK_SECRET_BYTES_MIN: usize = 16;
/// The longest such secret.
pub const WEBHOOK_SECRET_BYTES_MAX: usize = 256;
/// Deliveries that wait (NFR-4.7). When there are more, the oldest is dropped and counted.
pub const WEBHOOKS_PENDING_MAX: usize = 1_000;
/// Deliveries of one receiver under way: a receiver that hangs holds one thread of those below, not all.
pub const WEBHOOKS_PER_RECEIVER_MAX: usize = 1;
/// Threads that deliver.
pub const WEBHOOK_THREADS: usize = 4;
/// Tries after the first (NFR-2.8).
pub const WEBHOOK_RETRIES_MAX: u32 = 3;
/// Until the first of them; doubled each time (FR-6.10).
pub const WEBHOOK_RETRY_FIRST: Duration = Duration::from_secs(1);
/// Domains of an app that are named when its last instance goes, an event each: the queue is for all apps.
pub const WEBHOOK_DOMAINS_PER_EVENT: usize = 20;
/// For one try, from the name's resolution to the last byte of the answer.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);

// --- Resolver: hosts that nobody registered ------------------------------------------------------------------

/// What a resolver may take for one answer, from the request that asks for the host.
pub const RESOLVER_TIMEOUT: Duration = Duration::from_secs(2);
/// Threads that ask it: a resolver is near, and one answer that takes its time holds up no more than one of them.
pub const RESOLVER_THREADS: usize = 4;
/// Hosts that are resolved or wait for it; what comes beyond is refused at once.
pub const RESOLVED_HOSTS_MAX: usize = 10_000;
/// Targets of one host; the rest is not used.
pub const RESOLVED_TARGETS_MAX: usize = 64;
/// While a host is in use, the resolver is asked about it again when its answer is this old.
pub const RESOLVED_FRESH: Duration = Duration::from_secs(1);
/// A host that nobody has asked for this long loses its route: the next request waits for a fresh answer.
pub const RESOLVED_IDLE: Duration = Duration::from_secs(5);
/// How long a host is served by the last answer while the resolver gives none.
pub const RESOLVED_STALE_MAX: Duration = Duration::from_secs(60);
/// A target that cannot be connected to has the resolver asked at once, but not more often than this.
pub const RESOLVED_RETRY: Duration = Duration::from_millis(100);
/// Hosts without a route that a core keeps in mind: those it waits for, and those that are not to be asked for again yet.
pub const HOSTS_PER_CORE_MAX: usize = 1_024;
/// How long a core takes "no such host" for an answer.
pub const HOST_ABSENT_AGE: Duration = Duration::from_secs(1);
/// How long a request waits for its host's route: the resolver's time, and what it takes to bring the answer to the cores.
pub const HOST_PATIENCE: Duration = Duration::from_millis(2_500);

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
/// First time between two probes of an instance that was registered and has not been well yet; doubled with each failure.
pub const JOINING_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest time between them: a deploy notices within it that its instance is up.
pub const JOINING_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long after its registration an instance is probed that often: longer than any start that somebody waits for.
pub const JOINING_TIME: Duration = Duration::from_secs(300);
/// Checks in flight at once (NFR-4.9).
pub const HEALTH_CHECKS_IN_FLIGHT_MAX: usize = 100;
/// Bytes of a health endpoint's answer that are read before the connection is closed.
pub const HEALTH_RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a health endpoint's body in which the expected text is searched.
pub const HEALTH_BODY_BYTES_MAX: usize = 64 * 1024;
/// Health paths of the public listeners: each is compared with every request's path.
pub const PUBLIC_HEALTH_PATHS_MAX: usize = 8;
/// How long the rest of a health endpoint's answer is waited for, once its status is known.
pub const HEALTH_LINGER: Duration = Duration::from_millis(100);
/// Deregistrations for lack of heartbeats that are remembered, so that late messages can be told what happened: 150 KB.
pub const DEREGISTRATIONS_REMEMBERED_MAX: usize = 1024;
/// An instance that has sent heartbeats leaves the rotation this long after the last one, and is deregistered after as long
/// again (FR-4.4).
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

// --- Breaker -----------------------------------------------------------------------------------------------

/// Consecutive request failures that open an instance's breaker (FR-3.7).
pub const BREAKER_FAILURES: u32 = 5;
/// First time that a breaker stays open (FR-3.8).
pub const BREAKER_OPEN: Duration = Duration::from_secs(30);
/// Longest time that a breaker stays open (FR-3.9: 30, 60, 120 s).
pub const BREAKER_OPEN_MAX: Duration = Duration::from_secs(120);
/// From one probe of a half-open breaker to the next, while none has ended: what a slow one holds up.
pub const BREAKER_PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// From one request to the next that is let through to an app without a healthy instance (`trickle`).
pub const TRICKLE_INTERVAL: Duration = Duration::from_secs(1);

// --- Data plane: time --------------------------------------------------------------------------------------

/// From the first byte of a request head, or from accept, to its last (slowloris).
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two requests of one connection.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// An idle connection keeps its buffer this long, for the next request usually comes soon.
pub const IDLE_BUFFER_GRACE: Duration = Duration::from_secs(1);
/// To connect to one address (NFR-2.5).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the last byte of a request to the last of its final response's head.
pub const RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// An endpoint that has been silent for so long has its client watched meanwhile. Before that it would cost system calls, and most
/// have answered.
pub const CLIENT_WATCH_DELAY: Duration = Duration::from_millis(500);
/// Without a single byte of a body, in either direction, before a transfer is given up. Never a total.
pub const BODY_PROGRESS_TIMEOUT: Duration = Duration::from_secs(60);
/// A body must also move at least [`BODY_RATE_MIN`] bytes a second, measured over this window.
pub const BODY_RATE_WINDOW: Duration = Duration::from_secs(30);
/// Bytes a second that a client must send of a body until its response has begun: a slow one costs a bounded time.
pub const BODY_RATE_MIN: u64 = 64;
/// TCP keepalive: silence before the first probe on a client's connection. Streams may be silent for as long as they like, and
/// their peers may vanish meanwhile.
pub const KEEPALIVE_CLIENT_IDLE: Duration = Duration::from_secs(60);
/// The same on a connection to an endpoint. With four probes it is over within 35 s, about as long as a response may take.
pub const KEEPALIVE_UPSTREAM_IDLE: Duration = Duration::from_secs(15);
/// TCP keepalive: between two probes.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// TCP keepalive: unanswered probes after which the connection is over.
pub const KEEPALIVE_PROBES: u32 = 4;
/// How long an upgraded connection may be silent in both directions.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// How long a finished connection is read after our last byte, so that the client gets the answer, not a reset, when nothing
/// is known to be under way.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// The same for a client that has not sent all of its request: many read no answer before they have. nginx takes as long.
pub const LINGER_UPLOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a single byte of such a request before the connection is closed. nginx takes as long.
pub const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of such a request that are discarded in a second, so that it is no way to keep a link busy: what fills 128 Mbit/s.
pub const LINGER_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Requests of one core that are discarded that way at a time; those beyond it have [`LINGER_TIMEOUT`] and [`LINGER_BYTES_MAX`].
pub const LINGERING_PER_CORE_MAX: usize = 1_024;
/// The same of one client (an IPv4 address, an IPv6 /64); trusted proxies have no such limit.
pub const LINGERING_PER_CLIENT_MAX: usize = 64;
/// Bytes that one system call discards, and a turn of the driver follows.
pub const DISCARD_BYTES: usize = 256 * 1024;
/// What is left of a request's body when its answer is complete is still passed on up to this length: dearer than two new
/// connections it is only beyond.
pub const EARLY_ANSWER_REST_MAX: u64 = 256 * 1024;
/// Bytes that are read and thrown away meanwhile.
pub const LINGER_BYTES_MAX: usize = 256 * 1024;
/// How long a drain leaves idle connections open: a request may be on its way on one, and closing would lose it. It is
/// served, and told that it is the last.
pub const DRAIN_IDLE_GRACE: Duration = Duration::from_secs(1);
/// From SIGTERM to the end of the process.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest drain of an instance: whoever has longer requests removes it without waiting.
pub const INSTANCE_DRAIN_MAX: Duration = Duration::from_secs(3600);
/// Longest time that an answer of the admin API about an instance can be waited for: a wait occupies a place of
/// [`API_WAITS_MAX`], and whoever waits longer asks again.
pub const API_WAIT_MAX: Duration = Duration::from_secs(300);

// --- Data plane: size --------------------------------------------------------------------------------------

/// Bytes of a buffer that holds a request head.
pub const HEAD_BUFFER_BYTES: usize = 16 * 1024;
/// Bytes of a buffer for a body on its way.
pub const BODY_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of a buffer between the two sides of an exchange: a body's and the head before it, so that one of 64 KiB fits.
pub const RELAY_BUFFER_BYTES: usize = BODY_BUFFER_BYTES + HEAD_BUFFER_BYTES;
/// Bodies at least this long, of known length, are spliced instead of copied.
pub const SPLICE_BYTES_MIN: u64 = 64 * 1024;
/// What a connection costs that has sent half a request, and means no good: its buffers of 16 KiB on both sides, and what the
/// kernel keeps. (Idle ones cost 3 to 9 KB.)
pub const CONNECTION_BYTES: u64 = 40 * 1024;
/// Connections may fill one part in so many of the memory, when nobody says how many there may be: the rest is for what they do.
pub const CONNECTIONS_MEMORY_PART: u64 = 2;
/// Connections of one core; more are refused with 503. 16,384 × 16 cores is beyond the port range of one client address.
pub const CONNECTIONS_PER_CORE_MAX: usize = 65_536;
/// Connections by which a core may be ahead of the least busy one before that one gets the next, beside an eighth of what that
/// one has. Crossing to another core costs a few microseconds, and of many short connections none is worth it; but of
/// eight long ones each counts, so that the fixed part is as small as it can be without passing on nearly every one.
pub const HANDOVER_CONNECTIONS_MARGIN: usize = 1;
/// See [`HANDOVER_CONNECTIONS_MARGIN`]: one of so many parts of what the least busy core has.
pub const HANDOVER_SHARE_MARGIN: usize = 8;
/// Connections on their way to one core. A core that leaves so many lying has enough to do, and whoever accepted more keeps
/// them. 10 KiB.
pub const HANDOVERS_WAITING_MAX: usize = 256;
/// Connections of one core that are told with a 503 that there is no room, at a time; each may take [`LINGER_TIMEOUT`].
/// More are closed without a word.
pub const TURNED_AWAY_PER_CORE_MAX: usize = 1_024;
/// The same where one core has so many open files for connections: a sixteenth of them.
pub const fn turned_away_max(connection_files: usize) -> usize {
    let part = connection_files / 16;
    if part < TURNED_AWAY_PER_CORE_MAX { part } else { TURNED_AWAY_PER_CORE_MAX }
}
/// A client that takes longer for a part of its response may be why its endpoint gives up: shorter than any server's
/// timeout for sending.
pub const CLIENT_WAIT_NOTED: Duration = Duration::from_secs(5);
/// Interim (1xx) responses to one request.
pub const INTERIM_RESPONSES_MAX: usize = 16;
/// Attempts upstream for one request, the first included.
pub const ATTEMPTS_MAX: usize = 4;
/// Idle upstream connections kept per endpoint and core: what a thousand busy clients of one app leave over between two waves.
/// With fewer, each wave would connect anew.
pub const UPSTREAM_IDLE_PER_ENDPOINT_MAX: usize = 1_024;
/// Idle upstream connections kept per core, and no more than half of the clients that it may have: one for each of thousands of
/// endpoints, for with fewer than there are endpoints most requests would have to connect.
pub const UPSTREAM_IDLE_PER_CORE_MAX: usize = 8_192;
/// An idle upstream connection is closed after this time: shorter than common servers' own (Node 5 s is
/// covered by the check at checkout, Go and nginx 75 s and more).
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests on one upstream connection before it is renewed.
pub const UPSTREAM_REQUESTS_MAX: u32 = 100_000;
/// Pending connections of a listener.
pub const LISTEN_BACKLOG: u32 = 4_096;
/// How long a start waits for an address that is in use: after a `kill -9` the kernel takes io_uring's sockets down on
/// its own time, milliseconds after the process is gone, and a restart must not fail over that.
pub const BIND_PATIENCE: Duration = Duration::from_secs(2);
/// Free ports that a start tries when one port has to be free on several addresses and the kernel names it for the first.
pub const FREE_PORT_TRIES: usize = 32;
/// Worker threads.
pub const WORKERS_MAX: usize = 256;

// --- TLS ---------------------------------------------------------------------------------------------------

/// Bytes of a client's first message with its frames: one full record, and a header for each of a few fragments.
/// Browsers send 2 KiB.
pub const TLS_HELLO_BYTES_MAX: usize = 18 * 1024;
/// Bytes that a peer may send in a row without a byte of data among them: the handshake, tickets, key updates, empty
/// records. A long certificate chain is 16 KiB, and a record of data shows nothing before all its 16 KiB are there.
pub const TLS_FRUITLESS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of plaintext that are encrypted and sent in one call: four records.
pub const TLS_SEND_BYTES: usize = BODY_BUFFER_BYTES;
/// Bytes of a core's buffer between the sockets and the records: as much as a caller's buffer takes.
pub const TLS_SCRATCH_BYTES: usize = BODY_BUFFER_BYTES;
/// Bytes that one connection encrypts or decrypts without a wait before other tasks have their turn: about 100 µs.
pub const TLS_TURN_BYTES: usize = 256 * 1024;

// --- HTTP/2 ------------------------------------------------------------------------------------------------

/// Bytes that wait to be sent on one connection while others are being sent: one send, as with TLS and bodies.
pub const H2_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// One send of up to [`H2_OUTPUT_BYTES_MAX`] in all: a peer that takes a byte now and then makes progress, but no end.
pub const H2_SEND_TIMEOUT: Duration = Duration::from_secs(300);
/// Requests at one time on one connection: browsers use 100, and each may cost what a connection of HTTP/1 costs.
pub const H2_STREAMS_MAX: u32 = 128;
/// Requests of one connection whose rest is discarded after their answers: a quarter, for each takes the place of another request.
pub const H2_DISCARDED_STREAMS_MAX: usize = H2_STREAMS_MAX as usize / 4;
/// How long the others stay open after their answers, so that their resets do not go out in one piece with the answers.
pub const H2_RESET_DELAY: Duration = Duration::from_millis(5);
/// Bytes of a body that a client may send ahead of the app, per request: what fills 100 Mbit/s at 20 ms.
pub const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all requests of a connection together: what one connection may make us hold of bodies.
pub const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most that [`H2_STREAM_WINDOW`] and [`H2_UPSTREAM_WINDOW`] grow to, where bandwidth and delay ask for it: 640 Mbit/s at
/// 50 ms.
pub const H2_STREAM_WINDOW_MAX: u32 = 4 * 1024 * 1024;
/// Bytes by which the windows of all clients' connections of a core may have grown: what uploads may make it hold of bodies
/// beyond [`H2_CONNECTION_WINDOW`] each.
pub const H2_WINDOW_GROWTH_PER_CORE: u32 = 64 * 1024 * 1024;
/// The same of one client, by its address.
pub const H2_WINDOW_GROWTH_PER_CLIENT: u32 = 16 * 1024 * 1024;
/// Between two measurements of a connection that needed no larger windows; doubles up to [`H2_WINDOW_PAUSE_MAX`].
pub const H2_WINDOW_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two such measurements.
pub const H2_WINDOW_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a response that wait within the connection until they can be sent, per request.
pub const H2_STREAM_SEND_BYTES_MAX: usize = 64 * 1024;
/// Tasks of a core that wait for a request: what its busiest connections keep busy; some kilobytes each.
pub const H2_TASKS_KEPT_MAX: usize = 256;
/// Bytes of a decoded header list, with 32 for each field (RFC 9113 §6.5.2): twice a head of HTTP/1, for the 32.
pub const H2_HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Fields of a request, each crumb of a cookie counted: ten cost a few bytes on the wire, and each a line with us.
pub const H2_FIELDS_MAX: usize = 128;
/// Bytes of a response head from an endpoint, as text: what most have.
pub const H2_RESPONSE_HEAD_BYTES: usize = 512;
/// Requests at one time on one connection to an endpoint: what most servers allow.
pub const H2_UPSTREAM_STREAMS_MAX: usize = 100;
/// Bytes of a header list that an endpoint may send, counted as above: above what heads of responses may have here, so
/// that one beyond that costs its request, not its connection.
pub const H2_UPSTREAM_HEADER_LIST_BYTES_MAX: u32 = 256 * 1024;
/// Connections to one endpoint and core: beyond them, requests wait for the endpoint's own limit.
pub const H2_UPSTREAM_CONNECTIONS_MAX: usize = 64;
/// Interval of looks at a connection to an endpoint.
pub const H2_UPSTREAM_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Silence on a connection with requests under way before a PING.
pub const H2_UPSTREAM_PING_SILENCE: Duration = Duration::from_secs(10);
/// Between two PINGs without a message of the endpoint: gRPC servers forgive two that come within 5 minutes in all
/// (grpc-core, grpc-go and grpc-java alike), and end the connection with the third. A margin of 10 s for the network.
pub const H2_UPSTREAM_PING_INTERVAL: Duration = Duration::from_secs(310);
/// Without a byte after a PING before the connection is over. Half of gRPC's default, so that a request on a dead connection is
/// repeated on another one within [`RESPONSE_HEAD_TIMEOUT`].
pub const H2_UPSTREAM_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes on a connection to an endpoint that stay unacknowledged for so long end it (`TCP_USER_TIMEOUT`).
pub const H2_UPSTREAM_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// Frames without data that an endpoint may send within [`H2_ABUSE_WINDOW`], whatever it was asked: a hundred answers of
/// each kind there is.
pub const H2_UPSTREAM_FRAMES_MAX: u32 = 4_000;
/// The same for each request and each piece of a body that it was sent: all interim answers, a long head, and its windows.
pub const H2_UPSTREAM_FRAMES_PER_REQUEST_MAX: u32 = 40;
/// Bytes of a response that an endpoint may send ahead of its client; each request has it for itself.
pub const H2_UPSTREAM_WINDOW: u32 = 128 * 1024;
/// A connection is renewed after this time: with it whatever has grown on it, and the choice of the core.
pub const H2_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// The time in which the following are counted.
pub const H2_ABUSE_WINDOW: Duration = Duration::from_secs(10);
/// Requests taken back by the client, when they are also most of those begun: a browser that leaves a page takes back
/// what it waits for, at most [`H2_STREAMS_MAX`].
pub const H2_RESETS_MAX: u32 = 200;
/// Streams that we had to reset for the client's errors: a client that errs has a defect, and errs a few times.
pub const H2_ERRORS_MAX: u32 = 100;
/// The same in the whole life of a connection.
pub const H2_CONNECTION_ERRORS_MAX: usize = 1_000;
/// CONTINUATION frames of one header block: [`H2_HEADER_LIST_BYTES_MAX`] fills two frames; some clients cut smaller.
pub const H2_CONTINUATIONS_MAX: u32 = 16;
/// DATA frames without data and without an end.
pub const H2_EMPTY_DATA_MAX: u32 = 100;
/// Pings: gRPC measures its windows with one per round trip while data flow, 200 a second at 5 ms.
pub const H2_PINGS_MAX: u32 = 2_000;
/// SETTINGS frames, acknowledgements included: one or two are usual.
pub const H2_SETTINGS_MAX: u32 = 100;
/// PRIORITY and unknown frames: a few per request, and not more than four.
pub const H2_IDLE_FRAMES_MAX: u32 = 1_000;
/// WINDOW_UPDATE frames: two per DATA frame that we sent are usual, four are allowed, and so many in any case.
pub const H2_WINDOW_UPDATES_MAX: u32 = 2_000;

// --- Data plane: runtime -----------------------------------------------------------------------------------

/// Submission entries of a core's ring: a full queue is a panic in the runtime, so it is large.
pub const RING_ENTRIES: u32 = 4_096;
/// Completion entries of a core's ring.
pub const RING_COMPLETIONS: u32 = 8_192;
/// Shortest time between two scans for passed deadlines; a deadline is noticed at most this much late.
pub const REAP_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after an accept that failed for want of file descriptors or memory.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Connections accepted in a row before other tasks have their turn.
pub const ACCEPT_BATCH_MAX: u32 = 64;
/// Silent connections that are taken up again in a row before other tasks have their turn.
pub const LOT_BATCH_MAX: usize = 64;
/// Bytes of a splice pipe: what one turn moves.
pub const SPLICE_PIPE_BYTES: usize = 256 * 1024;
/// Bytes of an answer that the kernel holds and has not sent yet, beyond one splice or send. Left to itself it takes up to 4 MB
/// (`net.ipv4.tcp_wmem`) for each client that reads nothing, and as much from its app. With a quarter of this, a tenth more CPU time
/// goes into waiting while 1 MB is sent.
pub const UNSENT_BYTES_MAX: u32 = 1024 * 1024;
/// Empty splice pipes kept per core; each is two file descriptors.
pub const SPLICE_PIPES_MAX: usize = 32;
/// Bytes spliced without a wait before other tasks have their turn.
pub const SPLICE_TURN_BYTES: u64 = 1024 * 1024;
/// Characters kept of a panic's message: enough to find it, and no way to fill a log.
pub const PANIC_CHARS_MAX: usize = 512;
/// Rounds in which the tasks of an ending runtime end: a task may spawn one more, and that one more; deeper is a loop.
pub const STOP_ROUNDS_MAX: usize = 64;

// --- Between the planes ------------------------------------------------------------------------------------

/// Reports of one core that wait for the control thread; when full, acknowledgements are retried and statistics dropped.
pub const REPORTS_MAX: usize = 1_024;
/// Orders that wait for a core.
pub const ORDERS_MAX: usize = 16;
/// A change whose cores have not all acknowledged by then is answered with 202 and the names of the slow ones.
pub const APPLY_DEADLINE: Duration = Duration::from_millis(1_000);
/// Changes that are stored and published together.
pub const CHANGES_PER_BATCH_MAX: usize = 256;
/// Changes that wait; more are refused with 503 and `Retry-After`.
pub const CHANGES_WAITING_MAX: usize = 4_096;
/// Idempotency keys remembered.
pub const IDEMPOTENCY_KEYS_MAX: usize = 10_000;
/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_TIME: Duration = Duration::from_secs(24 * 3600);
/// Cores that had nothing to acknowledge for this time get the same configuration again, to show that they live.
pub const LIVENESS_INTERVAL: Duration = Duration::from_secs(5);
/// A core that has not acknowledged for this time has stalled: the watchdog is fed no more.
pub const CORE_STALL: Duration = Duration::from_secs(10);
/// How long another thread waits for the control thread's answer.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the control thread may take to come up once the store is loaded.
pub const CONTROL_START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the store may take to close.
pub const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

// --- Store ---------------------------------------------------------------------------------------------------

/// Findings that are listed about a damaged store; beyond that they are counted. Enough to see what happened.
pub const STORE_FINDINGS_MAX: usize = 1_000;
/// Copies of damaged store files that are kept: the last damages, not all there ever were.
pub const STORE_COPIES_MAX: usize = 3;
/// Commits after which a logical export is due at the latest, in a small store.
pub const STORE_EXPORT_COMMITS: u64 = 1_000;

// --- Admin API ---------------------------------------------------------------------------------------------

/// Bytes of an API request's body.
pub const API_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Connections of the admin API. Whoever is slow gives way to whoever comes.
pub const API_CONNECTIONS_MAX: usize = 512;
/// Requests of the admin API that wait for a state of an instance at one time. They do not give way to new connections, so
/// that these are an eighth of all: the rest stays free for heartbeats, registrations and metrics.
pub const API_WAITS_MAX: usize = API_CONNECTIONS_MAX / 8;
/// To read one API request.
pub const API_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time of an API connection.
pub const API_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes of an `Idempotency-Key`: a UUID has 36.
pub const API_KEY_BYTES_MAX: usize = 255;
/// Levels of nesting in an API body: the deepest that it takes has three.
pub const API_BODY_DEPTH_MAX: usize = 16;
/// Bytes of the shortest API token: 16 random hex digits are 64 bits.
pub const API_TOKEN_BYTES_MIN: usize = 16;
/// Bytes of the longest API token: fits a request head with room to spare.
pub const API_TOKEN_BYTES_MAX: usize = 1024;
/// Without a single byte taken of an API answer before the connection is closed.
pub const API_WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Findings reported for one request.
pub const FINDINGS_MAX: usize = 64;
/// Bytes of a name from outside that are repeated in a finding.
pub const FINDING_NAME_BYTES_MAX: usize = 64;
/// Apps that a status names unless more are asked for: what fits on a screen.
pub const STATUS_APPS: usize = 20;
/// Instances that a status names of one app, of each kind of trouble.
pub const STATUS_INSTANCES_MAX: usize = 10;
/// Items of one page of a list.
pub const PAGE_ITEMS_MAX: usize = 10_000;

// --- Names, logs, metrics ----------------------------------------------------------------------------------

/// How long the addresses of a name are used when the resolver gives no time to live.
pub const DNS_TTL: Duration = Duration::from_secs(30);
/// Addresses used of one name.
pub const DNS_ADDRESSES_MAX: usize = 16;
/// One resolution.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(5);
/// Resolutions in flight.
pub const DNS_IN_FLIGHT_MAX: usize = 16;
/// Blocking calls of one runtime that run or wait for a thread, resolutions aside.
pub const BLOCKING_CALLS_MAX: usize = 64;
/// Threads for them, beside those of resolutions: a disk that hangs must not keep names from being resolved.
pub const BLOCKING_THREADS: usize = 12;
/// Routes and pools with metrics of their own; the rest shares one overflow label.
pub const METRIC_SLOTS_MAX: usize = 1_000;
/// Bytes of one block of access-log lines.
pub const LOG_BLOCK_BYTES: usize = 64 * 1024;
/// Blocks that wait for the writer thread; when full, lines are dropped and counted.
pub const LOG_BLOCKS_MAX: usize = 64;
/// How long a line waits at most for its block to fill.
pub const LOG_FLUSH_AGE: Duration = Duration::from_secs(1);
/// Bytes of the text that says why an attempt upstream, or a request, was given up.
pub const UPSTREAM_ERROR_BYTES_MAX: usize = 256;
/// Time between two warnings about failed attempts at one instance.
pub const UPSTREAM_WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Instances whose last warning a core, or the control thread, remembers; beyond them the oldest is forgotten.
pub const UPSTREAM_WARNINGS_MAX: usize = 1_024;
/// Bytes of a path or user agent in a log line.
pub const LOG_FIELD_BYTES_MAX: usize = 1_024;
/// Bytes of a request id taken over from a trusted proxy.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

// --- Via ---------------------------------------------------------------------------------------------------

/// Times that a request may pass this proxy; the next time it is answered with 508. An app in front of another, a login or a
/// gateway, hands requests on twice; a target that leads back here would hand them on until connections are spent.
pub const VIA_PASSES_MAX: usize = 4;
/// Bytes of this proxy's name in `Via`: as long as a label of a domain name, and a byte.
pub const VIA_PSEUDONYM_BYTES_MAX: usize = 64;

// --- The process -------------------------------------------------------------------------------------------

/// For a worker to build its runtime and listen.
pub const WORKER_START_TIMEOUT: Duration = Duration::from_secs(10);
/// The control thread or a worker that has shown no progress for this long is not alive.
pub const PULSE_AGE_MAX: Duration = Duration::from_secs(15);
/// For the access log's writer to write what it has at the end.
pub const LOG_FINISH_TIMEOUT: Duration = Duration::from_secs(5);

// --- Commands ----------------------------------------------------------------------------------------------

/// How long a command waits for a whole answer of the API: longer than a change may take there.
pub const CLI_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that a command reads: a page of the largest list has some 10 MiB.
pub const CLI_RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections of one sample app of the demo; more are closed.
pub const DEMO_CONNECTIONS_MAX: usize = 256;
/// Instances that the demo counts requests of; further ones are counted together.
pub const DEMO_INSTANCES_MAX: usize = 32;
