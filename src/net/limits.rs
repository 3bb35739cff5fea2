//! Limits of sockets, TLS streams, tasks and descriptors: each with its unit and its reason.

use std::time::Duration;

// --- Data plane: time --------------------------------------------------------------------------------------

/// TCP keepalive: silence before the first probe on a client's connection. Streams may be silent for as long as they like, and
/// their peers may vanish meanwhile.
pub(crate) const KEEPALIVE_CLIENT_IDLE: Duration = Duration::from_secs(60);
/// The same on a connection to an endpoint. With four probes it is over within 35 s, about as long as a response may take.
pub(crate) const KEEPALIVE_UPSTREAM_IDLE: Duration = Duration::from_secs(15);
/// TCP keepalive: between two probes.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// TCP keepalive: unanswered probes after which the connection is over.
pub(crate) const KEEPALIVE_PROBES: u32 = 4;
/// The same for a client that has not sent all of its request: many read no answer before they have. nginx takes as long.
pub(crate) const LINGER_UPLOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Without a single byte of such a request before the connection is closed. nginx takes as long.
pub(crate) const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of such a request that are discarded in a second, so that it is no way to keep a link busy: what fills 128 Mbit/s.
pub(crate) const LINGER_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Bytes that one system call discards, and a turn of the driver follows.
pub(crate) const DISCARD_BYTES: usize = 256 * 1024;
/// Bytes that are read and thrown away meanwhile.
pub(crate) const LINGER_BYTES_MAX: usize = 256 * 1024;

// --- Data plane: size --------------------------------------------------------------------------------------

/// How long a start waits for an address that is in use: after a `kill -9` the kernel takes io_uring's sockets down on
/// its own time, milliseconds after the process is gone, and a restart must not fail over that.
pub(crate) const BIND_PATIENCE: Duration = Duration::from_secs(2);

// --- TLS ---------------------------------------------------------------------------------------------------

/// Bytes of a client's first message with its frames: one full record, and a header for each of a few fragments.
/// Browsers send 2 KiB.
pub(crate) const TLS_HELLO_BYTES_MAX: usize = 18 * 1024;
/// Bytes that a peer may send in a row without a byte of data among them: the handshake, tickets, key updates, empty
/// records. A long certificate chain is 16 KiB, and a record of data shows nothing before all its 16 KiB are there.
pub(crate) const TLS_FRUITLESS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of plaintext that are encrypted and sent in one call: four records.
pub(crate) const TLS_SEND_BYTES: usize = ringway_model::limits::BODY_BUFFER_BYTES;
/// Bytes of a core's buffer between the sockets and the records: as much as a caller's buffer takes.
pub(crate) const TLS_SCRATCH_BYTES: usize = ringway_model::limits::BODY_BUFFER_BYTES;
/// Bytes that one connection encrypts or decrypts without a wait before other tasks have their turn: about 100 µs.
pub(crate) const TLS_TURN_BYTES: usize = 256 * 1024;

// --- Data plane: runtime -----------------------------------------------------------------------------------

/// Submission entries of a core's ring: a full queue is a panic in the runtime, so it is large.
pub(crate) const RING_ENTRIES: u32 = 4_096;
/// Completion entries of a core's ring.
pub(crate) const RING_COMPLETIONS: u32 = 8_192;
/// Shortest time between two scans for passed deadlines; a deadline is noticed at most this much late.
pub(crate) const REAP_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after an accept that failed for want of file descriptors or memory.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Silent connections that are taken up again in a row before other tasks have their turn.
pub(crate) const IDLE_BATCH_MAX: usize = 64;
/// Bytes of a splice pipe: what one turn moves.
pub(crate) const SPLICE_PIPE_BYTES: usize = 256 * 1024;
/// Bytes of an answer that the kernel holds and has not sent yet, beyond one splice or send. Left to itself it takes up to 4 MB
/// (`net.ipv4.tcp_wmem`) for each client that reads nothing, and as much from its app. With a quarter of this, a tenth more CPU time
/// goes into waiting while 1 MB is sent.
pub(crate) const UNSENT_BYTES_MAX: u32 = 1024 * 1024;
/// Empty splice pipes kept per core; each is two file descriptors.
pub(crate) const SPLICE_PIPES_MAX: usize = 32;
/// Bytes spliced without a wait before other tasks have their turn.
pub(crate) const SPLICE_TURN_BYTES: u64 = 1024 * 1024;
/// Characters kept of a panic's message: enough to find it, and no way to fill a log.
pub(crate) const PANIC_CHARS_MAX: usize = 512;
/// Rounds in which the tasks of an ending runtime end: a task may spawn one more, and that one more; deeper is a loop.
pub(crate) const STOP_ROUNDS_MAX: usize = 64;

// --- Names, logs, metrics ----------------------------------------------------------------------------------

/// Blocking calls of one runtime that run or wait for a thread, resolutions aside.
pub(crate) const BLOCKING_CALLS_MAX: usize = 64;
