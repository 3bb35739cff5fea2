//! Limits of sockets, TLS streams, tasks and descriptors: each with its unit and its reason.

use std::time::Duration;

// --- Data plane: time --------------------------------------------------------------------------------------

/// TCP keepalive of client connections: time without bytes before the first probe. Streams may be idle for
/// any time, and their peers may vanish meanwhile.
pub(crate) const KEEPALIVE_CLIENT_IDLE: Duration = Duration::from_secs(60);
/// TCP keepalive of connections to endpoints. With four probes a dead one ends within 35 s, about as long as
/// a response may take.
pub(crate) const KEEPALIVE_UPSTREAM_IDLE: Duration = Duration::from_secs(15);
/// TCP keepalive: interval of probes.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// TCP keepalive: unanswered probes after which the connection ends.
pub(crate) const KEEPALIVE_PROBES: u32 = 4;
/// Lingering close of a client that is still sending its request: many read no response before they have sent
/// it. As in nginx.
pub(crate) const LINGER_UPLOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time without a byte of such a request before the connection is closed. As in nginx.
pub(crate) const LINGER_IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of such a request that are discarded per second, so that it cannot keep a link busy: 128 Mbit/s.
pub(crate) const LINGER_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Bytes that one system call discards before a turn of the driver.
pub(crate) const DISCARD_BYTES: usize = 256 * 1024;
/// Bytes that a lingering close discards of other peers.
pub(crate) const LINGER_BYTES_MAX: usize = 256 * 1024;

// --- Data plane: size --------------------------------------------------------------------------------------

/// Retry time for an address in use at the start: after a `kill -9` the kernel closes the sockets of io_uring
/// milliseconds after the end of the process, which must not fail a restart.
pub(crate) const BIND_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes that a stream which cannot send shared bytes from where they lie copies at a time.
pub(crate) const SHARED_COPY_BYTES: usize = 64 * 1024;

// --- TLS ---------------------------------------------------------------------------------------------------

/// Bytes of a ClientHello with its record headers: one full record, and a few fragments. Browsers send 2 KiB.
pub(crate) const TLS_HELLO_BYTES_MAX: usize = 18 * 1024;
/// Bytes in a row that a peer may send without data: handshake, tickets, key updates, empty records. A long
/// certificate chain has 16 KiB, and a record of data yields nothing before all its 16 KiB were received.
pub(crate) const TLS_FRUITLESS_BYTES_MAX: usize = 64 * 1024;
/// Bytes of plaintext that are encrypted and sent in one call: four records.
pub(crate) const TLS_SEND_BYTES: usize = ringway_model::limits::BODY_BUFFER_BYTES;
/// Bytes of a core's buffer between sockets and records: as much as a caller's buffer.
pub(crate) const TLS_SCRATCH_BYTES: usize = ringway_model::limits::BODY_BUFFER_BYTES;
/// Bytes that one connection encrypts or decrypts without a wait before it yields: about 100 µs.
pub(crate) const TLS_TURN_BYTES: usize = 256 * 1024;

// --- Data plane: runtime -----------------------------------------------------------------------------------

/// Submission entries of a core's ring. Large, because the runtime panics on a full queue.
pub(crate) const RING_ENTRIES: u32 = 4_096;
/// Completion entries of a core's ring.
pub(crate) const RING_COMPLETIONS: u32 = 8_192;
/// Minimum interval of scans for expired deadlines, and the maximum delay of an expiry.
pub(crate) const REAP_INTERVAL: Duration = Duration::from_millis(100);
/// Pause after an accept that failed because file descriptors or memory were exhausted.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Idle connections that are resumed in a row before other tasks run.
pub(crate) const IDLE_BATCH_MAX: usize = 64;
/// Bytes of a splice pipe, which one step copies.
pub(crate) const SPLICE_PIPE_BYTES: usize = 256 * 1024;
/// Unsent bytes in the kernel beyond one splice or send (TCP_NOTSENT_LOWAT). Without it the kernel buffers up
/// to 4 MB (`net.ipv4.tcp_wmem`) for each client that reads nothing, and as much from its app. A quarter of
/// this costs a tenth more CPU time while 1 MB is sent.
pub(crate) const UNSENT_BYTES_MAX: u32 = 1024 * 1024;
/// Empty splice pipes kept per core; each is two file descriptors.
pub(crate) const SPLICE_PIPES_MAX: usize = 32;
/// Bytes spliced without a wait before other tasks run.
pub(crate) const SPLICE_TURN_BYTES: u64 = 1024 * 1024;
/// Characters kept of a panic message: enough to find it, too few to fill a log.
pub(crate) const PANIC_CHARS_MAX: usize = 512;
/// Rounds in which the tasks of an ending runtime end: a task may spawn one more, and that one more; deeper
/// nesting is a loop.
pub(crate) const STOP_ROUNDS_MAX: usize = 64;

// --- Names, logs, metrics ----------------------------------------------------------------------------------

/// Blocking calls of one runtime that run or wait for a thread, without resolutions.
pub(crate) const BLOCKING_CALLS_MAX: usize = 64;
