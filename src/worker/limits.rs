//! Limits of one core of the data plane: each with its unit and its reason.

use std::time::Duration;

/// Wake-ups of fills that wait for a core; with more, all of its waiting tasks look again.
pub(crate) const FILL_WAKEUPS_MAX: usize = 1024;

// --- Certificates ------------------------------------------------------------------------------------------

/// Retry interval of a secret that failed to load, or whose request timed out.
pub(crate) const SECRET_RETRY: Duration = Duration::from_secs(5);
/// Wait for a newer version of a cached secret: loading takes milliseconds.
pub(crate) const SECRET_REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// Timeout from accept to the end of a handshake, with a PROXY header: a few round trips, and loading a
/// certificate.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same while a core has half of its maximum of handshakes: legitimate ones take less than a second, and
/// stalled ones make room.
pub(crate) const HANDSHAKE_TIMEOUT_CROWDED: Duration = Duration::from_secs(3);
/// Handshakes in progress on one core, from their first byte on, of about 20 KiB each: 160 MiB.
pub(crate) const HANDSHAKES_PER_CORE_MAX: usize = 8_192;
/// Handshakes in progress of one client (an IPv4 address, an IPv6 /64) on one core: an office behind one
/// address.
pub(crate) const HANDSHAKES_PER_CLIENT_MAX: usize = 256;
/// Rate of handshakes per second of one client on one core: about 5 % of a core's capacity.
pub(crate) const HANDSHAKE_RATE_PER_CLIENT: u32 = 100;
/// Burst of that rate: the connections of a page for each person of an office.
pub(crate) const HANDSHAKE_BURST: Duration = Duration::from_secs(5);
/// Clients whose handshakes are counted on one core, 64 bytes each; only the limits of the core hold for
/// others.
pub(crate) const HANDSHAKE_CLIENTS_MAX: usize = 65_536;
/// Handshake steps between two turns of the driver: 0.5 ms with ECDSA, 3 ms with RSA.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: usize = 4;
/// Handshakes that wait for their first step: as many as a core performs in a second.
pub(crate) const HANDSHAKES_QUEUED_MAX: usize = 2_048;
/// Bytes of the subject of a client certificate in a header; a longer one is left out.
pub(crate) const CLIENT_SUBJECT_BYTES_MAX: usize = 1_024;

// --- Resolver: hosts on demand ------------------------------------------------------------------

/// Hosts without a route that a core remembers: those that requests wait for, and those that are absent for
/// now.
pub(crate) const HOSTS_PER_CORE_MAX: usize = 1_024;
/// Lifetime of "no such host" on a core.
pub(crate) const HOST_ABSENT_AGE: Duration = Duration::from_secs(1);
/// Wait of a request for its host's route: the resolver's timeout, and the time to bring the result to the
/// cores.
pub(crate) const HOST_RESOLVE_TIMEOUT: Duration = Duration::from_millis(2_500);

// --- Health ------------------------------------------------------------------------------------------------

/// Health paths of the public listeners: each is compared with the path of every request.
pub(crate) const PUBLIC_HEALTH_PATHS_MAX: usize = 8;

// --- Data plane: time --------------------------------------------------------------------------------------

/// Time for which an idle connection keeps its buffer: the next request usually comes soon.
pub(crate) const IDLE_BUFFER_GRACE: Duration = Duration::from_secs(1);
/// Wait for a response after which the client is watched too. Earlier it would cost system calls, and most
/// responses have come.
pub(crate) const CLIENT_WATCH_DELAY: Duration = Duration::from_millis(500);
/// Interval at which a request that waits for a permit of its route, or for a middleware stage, looks for its
/// client.
pub(crate) const QUEUE_WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Window over which the minimum rate of a body (`BODY_RATE_MIN`) is measured.
pub(crate) const BODY_RATE_WINDOW: Duration = Duration::from_secs(30);
/// Requests of one core that are discarded in full at a time; others have `LINGER_TIMEOUT` and
/// `LINGER_BYTES_MAX`.
pub(crate) const LINGERING_PER_CORE_MAX: usize = 1_024;
/// The same of one client (an IPv4 address, an IPv6 /64); trusted proxies have no such limit.
pub(crate) const LINGERING_PER_CLIENT_MAX: usize = 64;
/// Request body bytes still forwarded after a complete response: more would cost more than two new
/// connections.
pub(crate) const EARLY_RESPONSE_REST_MAX: u64 = 256 * 1024;
/// Time for which a drain leaves idle connections open: a request may be on its way, and a close would lose
/// it. Its response closes the connection.
pub(crate) const DRAIN_IDLE_GRACE: Duration = Duration::from_secs(1);

// --- Data plane: size --------------------------------------------------------------------------------------

/// Bytes of a buffer between the two sides of an exchange: a body part of 64 KiB and the head before it.
pub(crate) const RELAY_BUFFER_BYTES: usize =
    ringway_model::limits::BODY_BUFFER_BYTES + ringway_model::limits::HEAD_BUFFER_BYTES;
/// Minimum length of bodies that are spliced instead of copied.
pub(crate) const SPLICE_BYTES_MIN: u64 = 64 * 1024;
/// Bytes of a body that the transforms of stages get at once: at most half a millisecond of compression,
/// after which other requests of the core are served.
pub(crate) const TRANSFORM_STEP_BYTES: usize = 16 * 1024;
/// Bytes of transformed data that are sent while more of the body is there: as much as one TLS record holds.
pub(crate) const TRANSFORMED_BYTES: usize = 16 * 1024;
/// Reads of a body that is transformed before what came of it is sent: at most 288 KiB, whose output a client
/// does not wait for.
pub(crate) const TRANSFORM_FILLS_MAX: usize = 4;
/// Connections by which a core may be ahead of the least busy one before that one gets the next, beside
/// [`MIGRATION_SHARE_MARGIN`]. A migration costs a few microseconds, too much for many short connections; but
/// of eight long ones each counts, so that the fixed part is as small as it can be without migrating nearly
/// every connection.
pub(crate) const MIGRATION_CONNECTIONS_MARGIN: usize = 1;
/// Divisor of the least busy core's connections: its eighth is added to [`MIGRATION_CONNECTIONS_MARGIN`].
pub(crate) const MIGRATION_SHARE_MARGIN: usize = 8;
/// Connections in the mailbox of one core, 10 KiB. A core with a full mailbox is busy: further connections
/// stay where they were accepted.
pub(crate) const MIGRATIONS_WAITING_MAX: usize = 256;
/// A client that takes longer for a part of its response may be the cause when its endpoint gives up: shorter
/// than the send timeout of any server.
pub(crate) const CLIENT_WAIT_NOTED: Duration = Duration::from_secs(5);
/// Interim (1xx) responses to one request.
pub(crate) const INTERIM_RESPONSES_MAX: usize = 16;
/// Idle upstream connections kept per endpoint and core: those of a thousand busy clients of one app between
/// two bursts. With fewer, each burst would reconnect.
pub(crate) const UPSTREAM_IDLE_PER_ENDPOINT_MAX: usize = 1_024;
/// Idle upstream connections kept per core, at most half of its maximum of clients: one for each of thousands
/// of endpoints, since with fewer than endpoints most requests would have to connect.
pub(crate) const UPSTREAM_IDLE_PER_CORE_MAX: usize = 8_192;
/// Idle timeout of upstream connections: shorter than that of common servers (Go and nginx 75 s and more; the
/// 5 s of Node are covered by the check at checkout).
pub(crate) const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests on one upstream connection before it is replaced.
pub(crate) const UPSTREAM_REQUESTS_MAX: u32 = 100_000;

// --- HTTP/2 ------------------------------------------------------------------------------------------------

/// Bytes of output buffered on one connection while others are being sent: one send, as with TLS and bodies.
pub(crate) const H2_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Timeout of one send of up to [`H2_OUTPUT_BYTES_MAX`]: a peer that takes a byte now and then makes progress
/// without an end.
pub(crate) const H2_SEND_TIMEOUT: Duration = Duration::from_secs(300);
/// Concurrent requests of one connection: browsers use 100, and each may cost as much as a connection of
/// HTTP/1.
pub(crate) const H2_STREAMS_MAX: u32 = 128;
/// Requests of one connection whose rest is discarded after their responses: a quarter, since each occupies
/// the place of another request.
pub(crate) const H2_DISCARDED_STREAMS_MAX: usize = H2_STREAMS_MAX as usize / 4;
/// Time for which the others stay open after their responses, so that their resets are not sent together with
/// the responses.
pub(crate) const H2_RESET_DELAY: Duration = Duration::from_millis(5);
/// Window of a client's stream: bytes that it may send ahead of the app, which fill 100 Mbit/s at 20 ms.
pub(crate) const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// Window of a client's connection: bytes of bodies that one connection can make the proxy hold.
pub(crate) const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Maximum of [`H2_STREAM_WINDOW`] and [`H2_UPSTREAM_WINDOW`] as they grow with bandwidth and delay: 640
/// Mbit/s at 50 ms.
pub(crate) const H2_STREAM_WINDOW_MAX: u32 = 4 * 1024 * 1024;
/// Growth of the windows of all client connections of a core: bytes of uploads that it may hold beyond
/// [`H2_CONNECTION_WINDOW`] each.
pub(crate) const H2_WINDOW_GROWTH_PER_CORE: u32 = 64 * 1024 * 1024;
/// The same of one client, by its address.
pub(crate) const H2_WINDOW_GROWTH_PER_CLIENT: u32 = 16 * 1024 * 1024;
/// Pause after a measurement that needed no larger window; doubles up to [`H2_WINDOW_PAUSE_MAX`].
pub(crate) const H2_WINDOW_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two such measurements.
pub(crate) const H2_WINDOW_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a response that are buffered in the connection, per request.
pub(crate) const H2_STREAM_SEND_BYTES_MAX: usize = 64 * 1024;
/// Idle tasks of a core's pool for requests: as many as its busiest connections use; some kilobytes each.
pub(crate) const H2_TASKS_KEPT_MAX: usize = 256;
/// Bytes of a decoded header list, with 32 for each field (RFC 9113 §6.5.2): twice a head of HTTP/1, because
/// of the 32.
pub(crate) const H2_HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Fields of a request, with each crumb of a cookie: compressed ones cost few bytes on the wire, but a line
/// each in the proxy.
pub(crate) const H2_FIELDS_MAX: usize = 128;
/// Initial buffer for a response head of an endpoint as text, which fits most.
pub(crate) const H2_RESPONSE_HEAD_BYTES: usize = 512;
/// Concurrent requests of one connection to an endpoint: the limit of most servers.
pub(crate) const H2_UPSTREAM_STREAMS_MAX: usize = 100;
/// Bytes of a header list of an endpoint, counted as above: above the limit of response heads, so that one
/// beyond that fails its request, not its connection.
pub(crate) const H2_UPSTREAM_HEADER_LIST_BYTES_MAX: u32 = 256 * 1024;
/// Connections of one core to one endpoint; beyond them, requests wait for the endpoint's own limit.
pub(crate) const H2_UPSTREAM_CONNECTIONS_MAX: usize = 64;
/// Interval of the checks of a connection to an endpoint.
pub(crate) const H2_UPSTREAM_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Time without bytes on a connection with requests in progress before a PING.
pub(crate) const H2_UPSTREAM_PING_SILENCE: Duration = Duration::from_secs(10);
/// Interval of PINGs without a message of the endpoint: gRPC servers allow two extra ones within 5 minutes
/// (grpc-core, grpc-go and grpc-java alike), and end the connection with the third. A margin of 10 s for the
/// network.
pub(crate) const H2_UPSTREAM_PING_INTERVAL: Duration = Duration::from_secs(310);
/// Timeout of a PING, after which the connection ends. Half of gRPC's default, so that a request on a dead
/// connection is retried on another one within `RESPONSE_HEAD_TIMEOUT`.
pub(crate) const H2_UPSTREAM_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Time after which unacknowledged bytes end a connection to an endpoint (`TCP_USER_TIMEOUT`).
pub(crate) const H2_UPSTREAM_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// Frames without data that an endpoint may send within [`H2_FLOOD_WINDOW`], whatever its requests: a hundred
/// of each kind.
pub(crate) const H2_UPSTREAM_FRAMES_MAX: u32 = 4_000;
/// The same for each request and each DATA frame sent to it: all interim responses, a long head, and its
/// window updates.
pub(crate) const H2_UPSTREAM_FRAMES_PER_REQUEST_MAX: u32 = 40;
/// Window of a stream to an endpoint: bytes of a response that it may send ahead of the client, per request.
pub(crate) const H2_UPSTREAM_WINDOW: u32 = 128 * 1024;
/// Maximum age of a client connection: its state, and the choice of its core, are renewed.
pub(crate) const H2_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// Time window of the following limits.
pub(crate) const H2_FLOOD_WINDOW: Duration = Duration::from_secs(10);
/// Streams reset by the client, when they are also most of its requests: a browser that leaves a page resets
/// its pending requests, at most [`H2_STREAMS_MAX`].
pub(crate) const H2_RESETS_MAX: u32 = 200;
/// Streams that were reset for errors of the client: a defective client causes a few.
pub(crate) const H2_ERRORS_MAX: u32 = 100;
/// The same in the lifetime of a connection.
pub(crate) const H2_CONNECTION_ERRORS_MAX: usize = 1_000;
/// CONTINUATION frames of one header block: [`H2_HEADER_LIST_BYTES_MAX`] fills two frames; some clients send
/// smaller ones.
pub(crate) const H2_CONTINUATIONS_MAX: u32 = 16;
/// DATA frames without data and without END_STREAM.
pub(crate) const H2_EMPTY_DATA_MAX: u32 = 100;
/// PING frames: gRPC measures its windows with one per round trip while data flow, 200 per second at 5 ms.
pub(crate) const H2_PINGS_MAX: u32 = 2_000;
/// SETTINGS frames, with acknowledgements: one or two are usual.
pub(crate) const H2_SETTINGS_MAX: u32 = 100;
/// PRIORITY and unknown frames; in any case four per request are allowed.
pub(crate) const H2_IDLE_FRAMES_MAX: u32 = 1_000;
/// WINDOW_UPDATE frames; in any case four per sent DATA frame are allowed, of which two are usual.
pub(crate) const H2_WINDOW_UPDATES_MAX: u32 = 2_000;

// --- Via ---------------------------------------------------------------------------------------------------

/// Passes of a request through this proxy; the next one gets 508. An app in front of another (a login, a
/// gateway) causes two; a target that leads back here would forward requests until connections are exhausted.
pub(crate) const VIA_PASSES_MAX: usize = 4;
/// Bytes of this proxy's pseudonym in `Via`: those of a label of a domain name, and one.
pub(crate) const VIA_PSEUDONYM_BYTES_MAX: usize = 64;

/// 1 s: longest wait of a request for newer credentials, and shortest time between two questions for them.
pub(crate) const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(1);
/// 1,024: sources of credentials that requests of one core have waited for.
pub(crate) const CREDENTIAL_SOURCES_MAX: usize = 1024;
/// 256: passwords of one core that wait for their verification; the requests of further ones get 503.
pub(crate) const PASSWORDS_WAITING_MAX: usize = 256;

// --- Calls of middleware stages ----------------------------------------------------------------------------

/// Calls of stages to pools under way on one core, of some 100 KiB each at most. A pool has at most as many
/// as are free for others: a filter that does not answer leaves room for those of other tenants.
pub(crate) const CALLS_PER_CORE_MAX: usize = 1_024;
/// Bytes of the content of a call's response: a decision with its fields, or the page of a denial.
pub(crate) const CALL_RESPONSE_BYTES_MAX: usize = 64 * 1024;

// --- Copies of requests ------------------------------------------------------------------------------------

/// Copies of requests under way on one core, each of some 100 KiB at most; further ones are not made.
pub(crate) const MIRRORS_PER_CORE_MAX: usize = 64;
/// Bytes of the response to a copy that are read, so that its connection can be used again; a longer one
/// closes it.
pub(crate) const MIRROR_RESPONSE_BYTES_MAX: usize = 256 * 1024;
/// Bytes by which a forwarded request head is usually longer than the client's.
pub(crate) const ADDED_HEAD_BYTES: usize = 512;

/// 16 KiB: buffer of one direction of a tunnel, while bytes move; a full one is followed by copying in the
/// kernel.
pub(crate) const FORWARD_BUFFER_BYTES: usize = 16 * 1024;
/// 10 s: verification of a password of the forward proxy, with the wait for its turn.
pub(crate) const FORWARD_PASSWORD_TIMEOUT: Duration = Duration::from_secs(10);
