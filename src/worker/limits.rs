//! Limits of one core of the data plane: each with its unit and its reason.

use std::time::Duration;

// --- Certificates ------------------------------------------------------------------------------------------

/// When to ask again for something that could not be loaded, or was not answered for.
pub(crate) const SECRET_RETRY: Duration = Duration::from_secs(5);
/// How long a newer version is waited for when there is an older one: loading takes milliseconds.
pub(crate) const SECRET_REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// From accept to the end of a handshake, a PROXY header included: a few round trips, and a certificate to be loaded.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// From accept to the end of a handshake while a core has half of the handshakes that it may have: honest ones take less
/// than a second, and those that stand still make room for them.
pub(crate) const HANDSHAKE_TIMEOUT_CROWDED: Duration = Duration::from_secs(3);
/// Handshakes under way on one core, from the first byte on, each of some 20 KiB: 160 MiB.
pub(crate) const HANDSHAKES_PER_CORE_MAX: usize = 8_192;
/// Handshakes of one client (an IPv4 address, an IPv6 /64) under way on one core: an office behind one address.
pub(crate) const HANDSHAKES_PER_CLIENT_MAX: usize = 256;
/// Handshakes that one client may begin a second on one core, in the long run: some 5 % of what the core can do.
pub(crate) const HANDSHAKE_RATE_PER_CLIENT: u32 = 100;
/// How long a client may begin more than that at once: a page's worth of connections for each person of an office.
pub(crate) const HANDSHAKE_BURST: Duration = Duration::from_secs(5);
/// Clients whose handshakes are counted on one core, 64 bytes each; those beyond it share the core's bounds only.
pub(crate) const HANDSHAKE_CLIENTS_MAX: usize = 65_536;
/// Steps of handshakes between two turns of the driver: 0.5 ms with ECDSA, 3 ms with RSA.
pub(crate) const HANDSHAKE_STEPS_PER_TURN: usize = 4;
/// Handshakes that wait for their first step: as many as a core does within a second.
pub(crate) const HANDSHAKES_QUEUED_MAX: usize = 2_048;
/// Bytes of the name in a client's certificate that an app is told; of a longer one it gets the fingerprint.
pub(crate) const CLIENT_SUBJECT_BYTES_MAX: usize = 1_024;

// --- Resolver: hosts that nobody registered ------------------------------------------------------------------

/// Hosts without a route that a core keeps in mind: those it waits for, and those that are not to be asked for again yet.
pub(crate) const HOSTS_PER_CORE_MAX: usize = 1_024;
/// How long a core takes "no such host" for an answer.
pub(crate) const HOST_ABSENT_AGE: Duration = Duration::from_secs(1);
/// How long a request waits for its host's route: the resolver's time, and what it takes to bring the answer to the cores.
pub(crate) const HOST_PATIENCE: Duration = Duration::from_millis(2_500);

// --- Health ------------------------------------------------------------------------------------------------

/// Health paths of the public listeners: each is compared with every request's path.
pub(crate) const PUBLIC_HEALTH_PATHS_MAX: usize = 8;

// --- Data plane: time --------------------------------------------------------------------------------------

/// An idle connection keeps its buffer this long, for the next request usually comes soon.
pub(crate) const IDLE_BUFFER_GRACE: Duration = Duration::from_secs(1);
/// An endpoint that has been silent for so long has its client watched meanwhile. Before that it would cost system calls, and most
/// have answered.
pub(crate) const CLIENT_WATCH_DELAY: Duration = Duration::from_millis(500);
/// A body must also move at least [`BODY_RATE_MIN`] bytes a second, measured over this window.
pub(crate) const BODY_RATE_WINDOW: Duration = Duration::from_secs(30);
/// Requests of one core that are discarded that way at a time; those beyond it have [`LINGER_TIMEOUT`] and [`LINGER_BYTES_MAX`].
pub(crate) const LINGERING_PER_CORE_MAX: usize = 1_024;
/// The same of one client (an IPv4 address, an IPv6 /64); trusted proxies have no such limit.
pub(crate) const LINGERING_PER_CLIENT_MAX: usize = 64;
/// What is left of a request's body when its answer is complete is still passed on up to this length: dearer than two new
/// connections it is only beyond.
pub(crate) const EARLY_ANSWER_REST_MAX: u64 = 256 * 1024;
/// How long a drain leaves idle connections open: a request may be on its way on one, and closing would lose it. It is
/// served, and told that it is the last.
pub(crate) const DRAIN_IDLE_GRACE: Duration = Duration::from_secs(1);

// --- Data plane: size --------------------------------------------------------------------------------------

/// Bytes of a buffer between the two sides of an exchange: a body's and the head before it, so that one of 64 KiB fits.
pub(crate) const RELAY_BUFFER_BYTES: usize =
    ringway_model::limits::BODY_BUFFER_BYTES + ringway_model::limits::HEAD_BUFFER_BYTES;
/// Bodies at least this long, of known length, are spliced instead of copied.
pub(crate) const SPLICE_BYTES_MIN: u64 = 64 * 1024;
/// Connections by which a core may be ahead of the least busy one before that one gets the next, beside an eighth of what that
/// one has. Crossing to another core costs a few microseconds, and of many short connections none is worth it; but of
/// eight long ones each counts, so that the fixed part is as small as it can be without passing on nearly every one.
pub(crate) const MIGRATION_CONNECTIONS_MARGIN: usize = 1;
/// See [`MIGRATION_CONNECTIONS_MARGIN`]: one of so many parts of what the least busy core has.
pub(crate) const MIGRATION_SHARE_MARGIN: usize = 8;
/// Connections on their way to one core. A core that leaves so many lying has enough to do, and whoever accepted more keeps
/// them. 10 KiB.
pub(crate) const MIGRATIONS_WAITING_MAX: usize = 256;
/// A client that takes longer for a part of its response may be why its endpoint gives up: shorter than any server's
/// timeout for sending.
pub(crate) const CLIENT_WAIT_NOTED: Duration = Duration::from_secs(5);
/// Interim (1xx) responses to one request.
pub(crate) const INTERIM_RESPONSES_MAX: usize = 16;
/// Idle upstream connections kept per endpoint and core: what a thousand busy clients of one app leave over between two waves.
/// With fewer, each wave would connect anew.
pub(crate) const UPSTREAM_IDLE_PER_ENDPOINT_MAX: usize = 1_024;
/// Idle upstream connections kept per core, and no more than half of the clients that it may have: one for each of thousands of
/// endpoints, for with fewer than there are endpoints most requests would have to connect.
pub(crate) const UPSTREAM_IDLE_PER_CORE_MAX: usize = 8_192;
/// An idle upstream connection is closed after this time: shorter than common servers' own (Node 5 s is
/// covered by the check at checkout, Go and nginx 75 s and more).
pub(crate) const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests on one upstream connection before it is renewed.
pub(crate) const UPSTREAM_REQUESTS_MAX: u32 = 100_000;

// --- HTTP/2 ------------------------------------------------------------------------------------------------

/// Bytes that wait to be sent on one connection while others are being sent: one send, as with TLS and bodies.
pub(crate) const H2_OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// One send of up to [`H2_OUTPUT_BYTES_MAX`] in all: a peer that takes a byte now and then makes progress, but no end.
pub(crate) const H2_SEND_TIMEOUT: Duration = Duration::from_secs(300);
/// Requests at one time on one connection: browsers use 100, and each may cost what a connection of HTTP/1 costs.
pub(crate) const H2_STREAMS_MAX: u32 = 128;
/// Requests of one connection whose rest is discarded after their answers: a quarter, for each takes the place of another request.
pub(crate) const H2_DISCARDED_STREAMS_MAX: usize = H2_STREAMS_MAX as usize / 4;
/// How long the others stay open after their answers, so that their resets do not go out in one piece with the answers.
pub(crate) const H2_RESET_DELAY: Duration = Duration::from_millis(5);
/// Bytes of a body that a client may send ahead of the app, per request: what fills 100 Mbit/s at 20 ms.
pub(crate) const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all requests of a connection together: what one connection may make us hold of bodies.
pub(crate) const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The most that [`H2_STREAM_WINDOW`] and [`H2_UPSTREAM_WINDOW`] grow to, where bandwidth and delay ask for it: 640 Mbit/s at
/// 50 ms.
pub(crate) const H2_STREAM_WINDOW_MAX: u32 = 4 * 1024 * 1024;
/// Bytes by which the windows of all clients' connections of a core may have grown: what uploads may make it hold of bodies
/// beyond [`H2_CONNECTION_WINDOW`] each.
pub(crate) const H2_WINDOW_GROWTH_PER_CORE: u32 = 64 * 1024 * 1024;
/// The same of one client, by its address.
pub(crate) const H2_WINDOW_GROWTH_PER_CLIENT: u32 = 16 * 1024 * 1024;
/// Between two measurements of a connection that needed no larger windows; doubles up to [`H2_WINDOW_PAUSE_MAX`].
pub(crate) const H2_WINDOW_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two such measurements.
pub(crate) const H2_WINDOW_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Bytes of a response that wait within the connection until they can be sent, per request.
pub(crate) const H2_STREAM_SEND_BYTES_MAX: usize = 64 * 1024;
/// Tasks of a core that wait for a request: what its busiest connections keep busy; some kilobytes each.
pub(crate) const H2_TASKS_KEPT_MAX: usize = 256;
/// Bytes of a decoded header list, with 32 for each field (RFC 9113 §6.5.2): twice a head of HTTP/1, for the 32.
pub(crate) const H2_HEADER_LIST_BYTES_MAX: u32 = 32 * 1024;
/// Fields of a request, each crumb of a cookie counted: ten cost a few bytes on the wire, and each a line with us.
pub(crate) const H2_FIELDS_MAX: usize = 128;
/// Bytes of a response head from an endpoint, as text: what most have.
pub(crate) const H2_RESPONSE_HEAD_BYTES: usize = 512;
/// Requests at one time on one connection to an endpoint: what most servers allow.
pub(crate) const H2_UPSTREAM_STREAMS_MAX: usize = 100;
/// Bytes of a header list that an endpoint may send, counted as above: above what heads of responses may have here, so
/// that one beyond that costs its request, not its connection.
pub(crate) const H2_UPSTREAM_HEADER_LIST_BYTES_MAX: u32 = 256 * 1024;
/// Connections to one endpoint and core: beyond them, requests wait for the endpoint's own limit.
pub(crate) const H2_UPSTREAM_CONNECTIONS_MAX: usize = 64;
/// Interval of looks at a connection to an endpoint.
pub(crate) const H2_UPSTREAM_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Silence on a connection with requests under way before a PING.
pub(crate) const H2_UPSTREAM_PING_SILENCE: Duration = Duration::from_secs(10);
/// Between two PINGs without a message of the endpoint: gRPC servers forgive two that come within 5 minutes in all
/// (grpc-core, grpc-go and grpc-java alike), and end the connection with the third. A margin of 10 s for the network.
pub(crate) const H2_UPSTREAM_PING_INTERVAL: Duration = Duration::from_secs(310);
/// Without a byte after a PING before the connection is over. Half of gRPC's default, so that a request on a dead connection is
/// repeated on another one within [`RESPONSE_HEAD_TIMEOUT`].
pub(crate) const H2_UPSTREAM_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes on a connection to an endpoint that stay unacknowledged for so long end it (`TCP_USER_TIMEOUT`).
pub(crate) const H2_UPSTREAM_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
/// Frames without data that an endpoint may send within [`H2_ABUSE_WINDOW`], whatever it was asked: a hundred answers of
/// each kind there is.
pub(crate) const H2_UPSTREAM_FRAMES_MAX: u32 = 4_000;
/// The same for each request and each piece of a body that it was sent: all interim answers, a long head, and its windows.
pub(crate) const H2_UPSTREAM_FRAMES_PER_REQUEST_MAX: u32 = 40;
/// Bytes of a response that an endpoint may send ahead of its client; each request has it for itself.
pub(crate) const H2_UPSTREAM_WINDOW: u32 = 128 * 1024;
/// A connection is renewed after this time: with it whatever has grown on it, and the choice of the core.
pub(crate) const H2_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// The time in which the following are counted.
pub(crate) const H2_ABUSE_WINDOW: Duration = Duration::from_secs(10);
/// Requests taken back by the client, when they are also most of those begun: a browser that leaves a page takes back
/// what it waits for, at most [`H2_STREAMS_MAX`].
pub(crate) const H2_RESETS_MAX: u32 = 200;
/// Streams that we had to reset for the client's errors: a client that errs has a defect, and errs a few times.
pub(crate) const H2_ERRORS_MAX: u32 = 100;
/// The same in the whole life of a connection.
pub(crate) const H2_CONNECTION_ERRORS_MAX: usize = 1_000;
/// CONTINUATION frames of one header block: [`H2_HEADER_LIST_BYTES_MAX`] fills two frames; some clients cut smaller.
pub(crate) const H2_CONTINUATIONS_MAX: u32 = 16;
/// DATA frames without data and without an end.
pub(crate) const H2_EMPTY_DATA_MAX: u32 = 100;
/// Pings: gRPC measures its windows with one per round trip while data flow, 200 a second at 5 ms.
pub(crate) const H2_PINGS_MAX: u32 = 2_000;
/// SETTINGS frames, acknowledgements included: one or two are usual.
pub(crate) const H2_SETTINGS_MAX: u32 = 100;
/// PRIORITY and unknown frames: a few per request, and not more than four.
pub(crate) const H2_IDLE_FRAMES_MAX: u32 = 1_000;
/// WINDOW_UPDATE frames: two per DATA frame that we sent are usual, four are allowed, and so many in any case.
pub(crate) const H2_WINDOW_UPDATES_MAX: u32 = 2_000;

// --- Via ---------------------------------------------------------------------------------------------------

/// Times that a request may pass this proxy; the next time it is answered with 508. An app in front of another, a login or a
/// gateway, hands requests on twice; a target that leads back here would hand them on until connections are spent.
pub(crate) const VIA_PASSES_MAX: usize = 4;
/// Bytes of this proxy's name in `Via`: as long as a label of a domain name, and a byte.
pub(crate) const VIA_PSEUDONYM_BYTES_MAX: usize = 64;
