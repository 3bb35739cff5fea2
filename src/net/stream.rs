//! What every connection can do, whatever carries it.

use crate::limits;
use crate::{TcpStream, clock};
use ringway_model::Tick;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// A connection, as the code above sees it: TCP, a Unix socket, TLS, or a simulated one. Static dispatch.
///
/// Buffers go in and come back. All methods take `&self`, so that one part of a task may read while another
/// writes; but at any time there is one reader ([`read`](Self::read) or [`readable`](Self::readable)) and one
/// writer. A second one is our mistake: a panic in debug builds, `ResourceBusy` in others.
///
/// No future of these may be dropped before it is ready; see the crate's documentation.
pub trait Stream: 'static {
    /// Reads into the spare capacity behind `buf.len()`, never reallocating; `Ok(0)` is the end of the stream.
    ///
    /// # Errors
    /// `TimedOut` at `deadline` (or up to [`REAP_INTERVAL`](crate::limits::REAP_INTERVAL) later), with no
    /// byte lost: data that raced the deadline wins. `Interrupted` after [`cancel_reads`](Self::cancel_reads).
    /// `InvalidInput` when `buf` has no spare capacity. Else the system's.
    fn read(&self, buf: Vec<u8>, deadline: Tick) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Writes `buf[range]`, all of it.
    ///
    /// # Errors
    /// `TimedOut` when `pace` is not kept, `Interrupted` after [`cancel_writes`](Self::cancel_writes),
    /// `InvalidInput` when `range` is not in `buf`, `WriteZero` when the connection broke after it had taken a part, else
    /// the system's: it has then taken nothing. It is good for nothing but closing.
    fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        pace: WriteRate,
    ) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Writes all of `buf`; see [`write_all_range`](Self::write_all_range).
    fn write_all(&self, buf: Vec<u8>, pace: WriteRate) -> impl Future<Output = (io::Result<()>, Vec<u8>)> {
        let range = 0..buf.len();
        self.write_all_range(buf, range, pace)
    }

    /// Adds what has come already to the spare capacity of `buf`, without waiting; where that cannot be had, or when
    /// the stream has ended or failed, nothing, and the next [`read`](Self::read) tells. One system call.
    fn read_more(&self, _buf: &mut Vec<u8>) {}

    /// Gives the kernel bytes that a [`splice`](crate::splice()) or a write follows at once, so that both go out together; how many
    /// it took. The splice sends what the kernel holds back before it waits; without either the kernel does after 200 ms. Nothing
    /// where that cannot be had, or when the stream has failed: write the rest, which tells. One system call.
    fn write_held(&self, _bytes: &[u8]) -> usize {
        0
    }

    /// Waits for what comes next and discards a piece of it; `Ok(0)` is the end of the stream, however it ended. What was discarded
    /// has no meaning: over TLS it is not even decrypted. A connection of which something was discarded is good for nothing but
    /// closing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn discard(&self, deadline: Tick) -> impl Future<Output = io::Result<usize>> {
        async move { self.read(Vec::with_capacity(DISCARD_BUFFER_BYTES), deadline).await.0 }
    }

    /// Which sides of the connection the peer has ended, whatever of it is unread. One system call; never waits.
    fn hangup(&self) -> Hangup {
        match self.peek_state() {
            PeerState::Closed => Hangup::Whole,
            PeerState::Idle | PeerState::HasData => Hangup::None,
        }
    }

    /// Waits until a read would not wait (data, the end, or an error), holding no buffer.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn readable(&self, deadline: Tick) -> impl Future<Output = io::Result<()>>;

    /// Looks at the connection without waiting and without taking anything from it. One system call.
    fn peek_state(&self) -> PeerState;

    /// Whether everything that was written has arrived in the peer's kernel; no where that cannot be known. A connection that is
    /// closed before may lose the rest: the kernel answers what the peer still sends with a reset, and sends nothing more.
    /// One system call.
    fn is_delivered(&self) -> bool {
        false
    }

    /// Ends the connection when bytes stay unacknowledged for so long, or the peer's window stays shut (`TCP_USER_TIMEOUT`); nothing
    /// where it is none of its own over TCP. One system call.
    fn set_user_timeout(&self, _timeout: Duration) {}

    /// Ends a pending read or wait for readability with `Interrupted`, its buffer given back.
    ///
    /// Sticky: reads that begin later end the same way, until [`resume_reads`](Self::resume_reads), so that it
    /// does not matter whether the reader was waiting at this moment. A read that had its data already still
    /// returns them.
    fn cancel_reads(&self);

    /// Allows reads again.
    fn resume_reads(&self);

    /// Ends a pending write with `Interrupted`; sticky, as [`cancel_reads`](Self::cancel_reads).
    fn cancel_writes(&self);

    /// Allows writes again.
    fn resume_writes(&self);

    /// Tells the peer that nothing more will come; reading goes on.
    ///
    /// # Errors
    /// `TimedOut` where this takes a message of its own, else the system's.
    fn shutdown_write(&self, deadline: Tick) -> impl Future<Output = io::Result<()>>;

    /// Makes the close at drop a reset, so that the peer cannot take a cut message for a complete one.
    fn abort(&self);

    /// Waits until the peer has given this exchange up, where that is told without reading: on a stream within a
    /// connection. Everywhere else for ever. May be dropped at any time.
    fn left(&self) -> impl Future<Output = ()> {
        std::future::pending()
    }

    /// The peer's address; `None` where there is none, as on Unix sockets.
    fn peer_addr(&self) -> Option<SocketAddr>;

    /// Our address; `None` where there is none.
    fn local_addr(&self) -> Option<SocketAddr>;

    /// The plain TCP connection that this is, if its bytes are the stream's bytes, for [`splice`](crate::splice()).
    fn as_tcp(&self) -> Option<&TcpStream> {
        None
    }
}

/// What a look at an unused connection shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Open, and nothing to read.
    Idle,
    /// Something to read.
    HasData,
    /// The peer ended or reset it.
    Closed,
}

/// Sides of a connection that its peer has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// None.
    None,
    /// Its own: it sends nothing more, and may still read.
    Sending,
    /// Both, or nobody knows which: what is sent to it is lost.
    Whole,
}

/// How fast a transfer must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteRate {
    /// Longest time without a single byte of progress; begins anew with every bit of it.
    pub stall: Duration,
    /// The end in any case.
    pub deadline: Tick,
}

impl WriteRate {
    /// As long as it takes, while something moves at least every `stall`.
    pub fn stall(stall: Duration) -> Self {
        Self { stall, deadline: Tick::NEVER }
    }

    /// Until `deadline`, however slowly.
    pub fn until(deadline: Tick) -> Self {
        Self { stall: Duration::MAX, deadline }
    }

    /// The same with an end.
    pub fn and_until(self, deadline: Tick) -> Self {
        Self { deadline: self.deadline.min(deadline), ..self }
    }

    /// When the next bit of progress is due. Reads the clock only where a stall counts.
    pub(crate) fn next_deadline(self) -> Tick {
        if self.stall == Duration::MAX {
            self.deadline
        } else {
            self.deadline.min(clock::now().after(self.stall))
        }
    }
}

/// Bounds of the reading after our last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LingerLimits {
    /// The longest time in all.
    pub timeout: Duration,
    /// The longest time without a byte.
    pub idle_timeout: Duration,
    /// Bytes in all.
    pub bytes_max: u64,
    /// Bytes a second; a second's worth may come at once.
    pub bytes_per_second: u64,
}

impl LingerLimits {
    /// For a peer of which nothing is known to be under way.
    pub const BRIEF: Self = Self {
        timeout: ringway_model::limits::LINGER_TIMEOUT,
        idle_timeout: ringway_model::limits::LINGER_TIMEOUT,
        bytes_max: limits::LINGER_BYTES_MAX as u64,
        bytes_per_second: u64::MAX,
    };
    /// For a peer that is known to be sending still.
    pub const UPLOAD: Self = Self {
        timeout: limits::LINGER_UPLOAD_TIMEOUT,
        idle_timeout: limits::LINGER_IDLE_TIMEOUT,
        bytes_max: u64::MAX,
        bytes_per_second: limits::LINGER_BYTES_PER_SECOND,
    };

    /// The same, ended at `deadline` at the latest.
    pub fn and_until(self, deadline: Tick, now: Tick) -> Self {
        Self { timeout: self.timeout.min(now.until(deadline)), ..self }
    }

    /// How long to wait before more is read, `elapsed` after the beginning.
    fn pause(&self, bytes: u64, elapsed: Duration) -> Duration {
        let due = bytes.saturating_mul(1000) / self.bytes_per_second.max(1);
        Duration::from_millis(due).saturating_sub(elapsed + Duration::from_secs(1))
    }
}

/// The clock of [`discard_all`]: this process's, or a simulated one.
pub trait Clock {
    /// The time for deadlines.
    fn now(&self) -> Tick;
    /// Waits for so long.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
}

/// The clock of this process.
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

/// Ends a connection on which the peer may still be sending: ends our side, then discards what comes, until the peer closes or
/// a limit is reached. Without this the kernel answers unread bytes with a reset, which overtakes our last message (RFC 9112
/// §9.6). Close the stream afterwards.
pub async fn linger<S: Stream>(stream: &S, limits: LingerLimits, clock: &impl Clock) {
    stream.resume_reads();
    if stream.shutdown_write(clock.now().after(limits.timeout)).await.is_ok() {
        discard_all(stream, limits, clock).await;
    }
}

/// Discards what comes until the end of the stream, an error, a cancellation, or a limit.
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

/// One read of a stream that cannot discard without a buffer.
const DISCARD_BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lingering_takes_a_second_at_once_and_its_rate_from_then_on() {
        let limits = LingerLimits { bytes_per_second: 1000, ..LingerLimits::UPLOAD };
        let pause = |bytes, elapsed| limits.pause(bytes, Duration::from_millis(elapsed)).as_millis();
        assert_eq!(pause(1000, 0), 0);
        assert_eq!(pause(1500, 0), 500);
        assert_eq!(pause(1500, 500), 0);
        assert_eq!(pause(10_000, 1_000), 8_000);
        assert_eq!(LingerLimits::BRIEF.pause(u64::MAX, Duration::ZERO), Duration::ZERO);
    }
}
