//! The `Stream` trait of connections, and the lingering close on it.

use crate::duplex::break_after;
use crate::limits;
use crate::{TcpStream, clock};
use ringway_model::Tick;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// Connection: TCP, a Unix socket, TLS, or a simulated one. Static dispatch.
///
/// Buffers are passed in and returned. All methods take `&self`, so that one part of a task may read while
/// another writes; but at any time there is one reader ([`read`](Self::read) or [`readable`](Self::readable))
/// and one writer. A second one is a bug: a panic in debug builds, `ResourceBusy` in others.
///
/// No future of these methods may be dropped before it is ready; see the crate's documentation.
pub trait Stream: 'static {
    /// Reads into the spare capacity of `buf`, without reallocation; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `TimedOut` at `deadline` (or up to `REAP_INTERVAL` later), with no
    /// byte lost: data that arrives with the deadline is returned. `Interrupted` after
    /// [`cancel_reads`](Self::cancel_reads). `InvalidInput` when `buf` has no spare capacity. Else the
    /// system's.
    fn read(&self, buf: Vec<u8>, deadline: Tick) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Writes all of `buf[range]`.
    ///
    /// # Errors
    /// `TimedOut` when `rate` is not kept, `Interrupted` after [`cancel_writes`](Self::cancel_writes),
    /// `InvalidInput` when `range` is not in `buf`, `WriteZero` when the connection broke after a part was
    /// sent, else the system's: nothing was sent then. The connection can only be closed.
    fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        rate: WriteRate,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Writes all of `buf`; see [`write_all_range`](Self::write_all_range).
    fn write_all(&self, buf: Vec<u8>, rate: WriteRate) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        let range = 0..buf.len();
        self.write_all_range(buf, range, rate)
    }

    /// Writes `head`, and then the part `range` of the bytes that `parts` have together: from where they lie
    /// where that is supported, and otherwise by copies of 64 KiB behind the head. Returns the head's buffer,
    /// with any content.
    ///
    /// # Errors
    /// As [`write_all_range`](Self::write_all_range); `InvalidInput` when `range` is not in `parts`.
    fn write_shared<P: AsRef<[u8]>>(
        &self,
        head: Vec<u8>,
        parts: &[P],
        range: Range<usize>,
        rate: WriteRate,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        async move {
            let Some(slices) = slices(parts, range) else {
                return (Err(ErrorKind::InvalidInput.into()), head);
            };
            let mut buf = head;
            let mut has_written = false;
            for mut slice in slices {
                while !slice.is_empty() {
                    let room = limits::SHARED_COPY_BYTES.saturating_sub(buf.len());
                    let (now, later) = slice.split_at(slice.len().min(room));
                    buf.extend_from_slice(now);
                    slice = later;
                    if buf.len() >= limits::SHARED_COPY_BYTES {
                        let (written, back) = self.write_all(buf, rate).await;
                        buf = back;
                        if let Err(error) = written {
                            return (Err(break_after(has_written, error)), buf);
                        }
                        has_written = true;
                        buf.clear();
                    }
                }
            }
            if buf.is_empty() {
                return (Ok(()), buf);
            }
            let (written, buf) = self.write_all(buf, rate).await;
            (written.map_err(|error| break_after(has_written, error)), buf)
        }
    }

    /// Reads the bytes that have arrived into the spare capacity of `buf`, without waiting. Reads nothing
    /// where that is not supported, or when the stream has ended or failed: the next [`read`](Self::read)
    /// reports it. One system call.
    fn read_more(&self, _buf: &mut Vec<u8>) {}

    /// Passes bytes to the kernel that a [`splice`](crate::splice()) or a write follows at once, so that both
    /// are sent together; returns how many the kernel took. The splice flushes them before it waits; without
    /// either, the kernel sends them after 200 ms. Takes none where that is not supported, or when the stream
    /// has failed: write the rest, which reports it. One system call.
    fn write_held(&self, _bytes: &[u8]) -> usize {
        0
    }

    /// Waits for bytes and discards them; `Ok(0)` is the end of the stream, however it ended. Over TLS they
    /// are not decrypted: after a discard the connection can only be closed.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn discard(&self, deadline: Tick) -> impl Future<Output = io::Result<usize>> {
        async move { self.read(Vec::with_capacity(DISCARD_BUFFER_BYTES), deadline).await.0 }
    }

    /// Returns the sides of the connection that the peer has closed, also while bytes are unread. One system
    /// call; never waits.
    fn hangup(&self) -> Hangup {
        match self.peek_state() {
            PeerState::Closed => Hangup::Whole,
            PeerState::Idle | PeerState::HasData => Hangup::None,
        }
    }

    /// Waits until the stream is readable (data, its end, or an error), without a buffer.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn readable(&self, deadline: Tick) -> impl Future<Output = io::Result<()>>;

    /// Returns the state of the connection without waiting and without reading. One system call.
    fn peek_state(&self) -> PeerState;

    /// Whether the peer's kernel has acknowledged all written bytes; `false` where that is unknown. An
    /// earlier close may lose the rest: the kernel resets the connection when the peer still sends. One
    /// system call.
    fn is_delivered(&self) -> bool {
        false
    }

    /// Sets the time after which unacknowledged bytes, or a closed window of the peer, end the connection
    /// (`TCP_USER_TIMEOUT`). Does nothing for a stream without a TCP connection of its own. One system call.
    fn set_user_timeout(&self, _timeout: Duration) {}

    /// Ends a pending read or wait for readability with `Interrupted`; its buffer is returned.
    ///
    /// Sticky: later reads end the same way until [`resume_reads`](Self::resume_reads), so that it does not
    /// matter whether the reader is waiting at this moment. A read that has its data returns them.
    fn cancel_reads(&self);

    /// Allows reads again.
    fn resume_reads(&self);

    /// Ends a pending write with `Interrupted`; sticky, as [`cancel_reads`](Self::cancel_reads).
    fn cancel_writes(&self);

    /// Allows writes again.
    fn resume_writes(&self);

    /// Closes the writing side; reading goes on.
    ///
    /// # Errors
    /// `TimedOut` where this sends a message, else the system's.
    fn shutdown_write(&self, deadline: Tick) -> impl Future<Output = io::Result<()>>;

    /// Makes the close on drop a reset, so that the peer does not take a truncated message for a complete
    /// one.
    fn abort(&self);

    /// Waits until the peer has reset this stream, where that is known without reading: on streams of an
    /// HTTP/2 connection. Waits for ever elsewhere. May be dropped at any time.
    fn left(&self) -> impl Future<Output = ()> {
        std::future::pending()
    }

    /// Address of the peer; none on Unix sockets.
    fn peer_addr(&self) -> Option<SocketAddr>;

    /// Local address; none on Unix sockets.
    fn local_addr(&self) -> Option<SocketAddr>;

    /// Returns the TCP connection, where its bytes are those of the stream, for [`splice`](crate::splice()).
    fn as_tcp(&self) -> Option<&TcpStream> {
        None
    }
}

/// The slices of `parts` that make up `range` of their bytes; `None` when it is not in them.
pub(crate) fn slices<P: AsRef<[u8]>>(
    parts: &[P],
    range: Range<usize>,
) -> Option<impl Iterator<Item = &[u8]> + Clone> {
    let len: usize = parts.iter().map(|part| part.as_ref().len()).sum();
    if range.start > range.end || range.end > len {
        return None;
    }
    let mut start = 0;
    Some(parts.iter().filter_map(move |part| {
        let part = part.as_ref();
        let (from, to) = (range.start.max(start) - start, range.end.saturating_sub(start).min(part.len()));
        start += part.len();
        part.get(from..to).filter(|slice| !slice.is_empty())
    }))
}

/// State of a connection between reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Open, without unread data.
    Idle,
    /// Unread data.
    HasData,
    /// Closed or reset by the peer.
    Closed,
}

/// Sides of a connection that the peer has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// None.
    None,
    /// Its sending side; it may still read.
    Sending,
    /// Both, or it is not known which: sent bytes are lost.
    Whole,
}

/// Minimum progress of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRate {
    /// Longest time without progress; restarts with every byte.
    pub stall: Duration,
    /// Deadline in any case.
    pub deadline: Tick,
}

impl WriteRate {
    /// Progress at least every `stall`, without a deadline.
    pub fn stall(stall: Duration) -> Self {
        Self { stall, deadline: Tick::NEVER }
    }

    /// A deadline, without a minimum progress.
    pub fn until(deadline: Tick) -> Self {
        Self { stall: Duration::MAX, deadline }
    }

    /// Adds a deadline.
    pub fn and_until(self, deadline: Tick) -> Self {
        Self { deadline: self.deadline.min(deadline), ..self }
    }

    /// Deadline of the next progress. Reads the clock only where a stall counts.
    pub(crate) fn next_deadline(self) -> Tick {
        if self.stall == Duration::MAX {
            self.deadline
        } else {
            self.deadline.min(clock::now().after(self.stall))
        }
    }
}

/// Limits of the reading after the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LingerLimits {
    /// Total time.
    pub timeout: Duration,
    /// Time without a byte.
    pub idle_timeout: Duration,
    /// Total bytes.
    pub bytes_max: u64,
    /// Bytes per second; the bytes of one second may come at once.
    pub bytes_per_second: u64,
}

impl LingerLimits {
    /// For a peer that is not known to be sending.
    pub const BRIEF: Self = Self {
        timeout: ringway_model::limits::LINGER_TIMEOUT,
        idle_timeout: ringway_model::limits::LINGER_TIMEOUT,
        bytes_max: limits::LINGER_BYTES_MAX as u64,
        bytes_per_second: u64::MAX,
    };
    /// For a peer that is known to be sending.
    pub const UPLOAD: Self = Self {
        timeout: limits::LINGER_UPLOAD_TIMEOUT,
        idle_timeout: limits::LINGER_IDLE_TIMEOUT,
        bytes_max: u64::MAX,
        bytes_per_second: limits::LINGER_BYTES_PER_SECOND,
    };

    /// Adds a deadline.
    pub fn and_until(self, deadline: Tick, now: Tick) -> Self {
        Self { timeout: self.timeout.min(now.until(deadline)), ..self }
    }

    /// Pause before the next read, `elapsed` after the start.
    fn pause(&self, bytes: u64, elapsed: Duration) -> Duration {
        let due = bytes.saturating_mul(1000) / self.bytes_per_second.max(1);
        Duration::from_millis(due).saturating_sub(elapsed + Duration::from_secs(1))
    }
}

/// Clock of [`discard_all`]: the system's, or a simulated one.
pub trait Clock {
    /// Monotonic time.
    fn now(&self) -> Tick;
    /// Waits for a duration.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

/// Clock of the system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Tick {
        clock::now()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> {
        crate::sleep(duration)
    }
}

/// Lingering close of a connection whose peer may still be sending: closes the writing side, then discards
/// bytes until the peer closes or a limit is reached. Without this the kernel resets a connection with unread
/// bytes, and the peer may lose the last message (RFC 9112 §9.6). Drop the stream afterwards.
pub async fn linger<S: Stream>(stream: &S, limits: LingerLimits, clock: &impl Clock) {
    stream.resume_reads();
    if stream.shutdown_write(clock.now().after(limits.timeout)).await.is_ok() {
        discard_all(stream, limits, clock).await;
    }
}

/// Discards bytes until the end of the stream, an error, a cancellation, or a limit.
pub async fn discard_all<S: Stream>(stream: &S, limits: LingerLimits, clock: &impl Clock) {
    let begun = clock.now();
    let deadline = begun.after(limits.timeout);
    let mut bytes = 0;
    loop {
        let now = clock.now();
        if now >= deadline || bytes >= limits.bytes_max {
            return;
        }
        match limits.pause(bytes, now.since(begun)) {
            Duration::ZERO => {}
            pause => clock.sleep(pause.min(now.until(deadline))).await,
        }
        match stream.discard(clock.now().after(limits.idle_timeout).min(deadline)).await {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes += count as u64,
        }
    }
}

/// Buffer of streams that cannot discard without one.
const DISCARD_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lingering_reads_one_second_at_once_and_then_at_its_rate() {
        let limits = LingerLimits { bytes_per_second: 1000, ..LingerLimits::UPLOAD };
        let pause = |bytes, elapsed| limits.pause(bytes, Duration::from_millis(elapsed)).as_millis();
        assert_eq!(pause(1000, 0), 0);
        assert_eq!(pause(1500, 0), 500);
        assert_eq!(pause(1500, 500), 0);
        assert_eq!(pause(10_000, 1_000), 8_000);
        assert_eq!(LingerLimits::BRIEF.pause(u64::MAX, Duration::ZERO), Duration::ZERO);
    }
}
