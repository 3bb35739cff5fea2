//! Splice: copying between two TCP connections in the kernel.

use crate::limits::{SPLICE_PIPE_BYTES, SPLICE_PIPES_MAX, SPLICE_TURN_BYTES};
use crate::reaper::{Direction, Operation};
use crate::socket::TcpStream;
use crate::stream::WriteRate;
use crate::task::yield_now;
use crate::{clock, core};
use ringway_model::Tick;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Early end of a splice.
#[derive(Debug)]
pub struct SpliceError {
    /// Bytes that were written to the receiving connection.
    pub moved: u64,
    /// Longest wait for the receiving connection.
    pub write_wait: Duration,
    /// Cause.
    pub fault: SpliceFault,
}

/// Cause of an early end. The kinds `TimedOut` and `Interrupted` of reads and writes are not the system's
/// errors.
#[derive(Debug)]
pub enum SpliceFault {
    /// The sending connection failed, stalled (`TimedOut`) or was cancelled (`Interrupted`).
    Read(io::Error),
    /// The sending connection ended before all bytes were read.
    Eof,
    /// The receiving connection failed, stalled or was cancelled.
    Write(io::Error),
    /// No pipe could be created. Nothing was read: a copy through a buffer is possible.
    Unavailable(io::Error),
}

/// Copies exactly `len` bytes from `from` to `to` through a pipe of the core, without a copy to user space.
/// About half the CPU time of a copy at 1 MB; not worth it below some tens of KB.
///
/// `write_rate` holds for each side. Bytes are forwarded as they arrive.
///
/// # Errors
/// See [`SpliceError`]. After any but [`SpliceFault::Unavailable`] an unknown number of bytes is lost: both
/// connections can only be closed; use [`Stream::abort`](crate::Stream::abort) on `to` where the end of the
/// connection would look like the end of the message.
pub async fn splice(
    from: &TcpStream,
    to: &TcpStream,
    len: u64,
    write_rate: WriteRate,
) -> Result<u64, SpliceError> {
    let sender = SenderLimits { stall: write_rate.stall, rate: None };
    splice_at_least(from, to, len, write_rate, sender, &Cell::new(Tick(0))).await
}

/// [`splice`] with limits of the sender: `write_rate` alone lets it send one byte in each `stall`.
/// Sets `progress` to the time of the last byte that was written.
///
/// # Errors
/// As [`splice`]; a sender that is too slow ends it with [`SpliceFault::Read`] and `TimedOut`. After that
/// error nothing is lost: the rest can still be copied.
pub async fn splice_at_least(
    from: &TcpStream,
    to: &TcpStream,
    len: u64,
    write_rate: WriteRate,
    sender: SenderLimits,
    progress: &Cell<Tick>,
) -> Result<u64, SpliceError> {
    let mut done = Done { moved: 0, write_wait: Duration::ZERO };
    match splice_all(from, to, len, write_rate, sender, progress, &mut done).await {
        Ok(()) => Ok(done.moved),
        Err(fault) => Err(SpliceError { moved: done.moved, write_wait: done.write_wait, fault }),
    }
}

/// Limits of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderLimits {
    /// Longest time without a byte.
    pub stall: Duration,
    /// Minimum rate.
    pub rate: Option<Rate>,
}

/// Minimum rate of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Average over a window.
    pub bytes_per_second: u64,
    /// Length of a window, which ends with the first byte after it. Time in which the sender waits for the
    /// receiver does not count.
    pub window: Duration,
}

/// Progress of a splice.
struct Done {
    moved: u64,
    write_wait: Duration,
}

async fn splice_all(
    from: &TcpStream,
    to: &TcpStream,
    len: u64,
    write_rate: WriteRate,
    sender: SenderLimits,
    progress: &Cell<Tick>,
    done: &mut Done,
) -> Result<(), SpliceFault> {
    let core = core::current().map_err(SpliceFault::Unavailable)?;
    let pipe = core.pipes.take().map_err(SpliceFault::Unavailable)?;
    let reading = from.duplex.begin(Direction::Read).map_err(SpliceFault::Read)?;
    let writing = to.duplex.begin(Direction::Write).map_err(SpliceFault::Write)?;
    let mut left = len;
    let mut without_wait = 0;
    let mut window = sender.rate.map(Window::begin);
    let read_rate = WriteRate { stall: sender.stall, ..write_rate };
    while left > 0 {
        let want = left.min(SPLICE_PIPE_BYTES as u64) as usize;
        let mut in_pipe = loop {
            check(&reading).map_err(SpliceFault::Read)?;
            match splice_now(from.raw_fd(), pipe.writer.as_raw_fd(), want, 0) {
                Ok(0) => return Err(SpliceFault::Eof),
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The pipe is empty here: it is the connection that has no bytes.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    without_wait = 0;
                    to.release_held();
                    reading.arm(read_rate.next_deadline());
                    from.duplex.wait(&reading, Direction::Read).await.map_err(SpliceFault::Read)?;
                }
                Err(error) => return Err(SpliceFault::Read(error)),
            }
        };
        left -= in_pipe as u64;
        let is_too_slow = window.as_mut().is_some_and(|window| !window.is_fast_enough(in_pipe));
        // More bytes are likely to follow at once only when the pipe was filled: else the kernel would hold
        // back the last segment for nothing.
        let more = if left > 0 && in_pipe == want { libc::SPLICE_F_MORE } else { 0 };
        to.held.set(more != 0);
        while in_pipe > 0 {
            check(&writing).map_err(SpliceFault::Write)?;
            match splice_now(pipe.reader.as_raw_fd(), to.raw_fd(), in_pipe, more) {
                Ok(0) => return Err(SpliceFault::Write(ErrorKind::WriteZero.into())),
                Ok(count) => {
                    in_pipe -= count;
                    done.moved += count as u64;
                    without_wait += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    without_wait = 0;
                    writing.arm(write_rate.next_deadline());
                    let begun = clock::now();
                    to.duplex.wait(&writing, Direction::Write).await.map_err(SpliceFault::Write)?;
                    done.write_wait = done.write_wait.max(clock::now().since(begun));
                    if let Some(window) = &mut window {
                        *window = Window::begin(window.rate);
                    }
                }
                Err(error) => return Err(SpliceFault::Write(error)),
            }
        }
        progress.set(clock::now());
        // The pipe is empty, so that the caller may go on.
        if is_too_slow && left > 0 {
            return Err(SpliceFault::Read(ErrorKind::TimedOut.into()));
        }
        if without_wait >= SPLICE_TURN_BYTES {
            without_wait = 0;
            yield_now().await;
        }
    }
    // Only here is the pipe known to be empty.
    core.pipes.put_back(pipe);
    Ok(())
}

/// Window of the sender's rate.
struct Window {
    rate: Rate,
    since: Tick,
    bytes: u64,
}

impl Window {
    fn begin(rate: Rate) -> Self {
        Self { rate, since: clock::now(), bytes: 0 }
    }

    /// Counts bytes; returns whether the sender keeps the rate.
    fn is_fast_enough(&mut self, count: usize) -> bool {
        self.bytes += count as u64;
        let elapsed = clock::now().since(self.since);
        if elapsed < self.rate.window {
            return true;
        }
        let due = u128::from(self.rate.bytes_per_second) * elapsed.as_millis();
        let is_enough = u128::from(self.bytes) * 1000 >= due;
        *self = Self::begin(self.rate);
        is_enough
    }
}

/// Checks for a cancellation between two waits. Deadlines are armed for waits only.
fn check(operation: &Operation<'_>) -> io::Result<()> {
    operation.interruption().filter(|error| error.kind() == ErrorKind::Interrupted).map_or(Ok(()), Err)
}

fn splice_now(from: RawFd, to: RawFd, bytes: usize, more: u32) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE | more;
    // SAFETY: both descriptors are open, as their owners are borrowed by the caller, and no memory is passed.
    let count = unsafe { libc::splice(from, none, to, none, bytes, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Empty pipes of one core.
#[derive(Default)]
pub(crate) struct Pipes {
    free: RefCell<Vec<Pipe>>,
}

struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipes {
    fn take(&self) -> io::Result<Pipe> {
        match self.free.borrow_mut().pop() {
            Some(pipe) => Ok(pipe),
            None => Pipe::new(),
        }
    }

    fn put_back(&self, pipe: Pipe) {
        let mut free = self.free.borrow_mut();
        if free.len() < SPLICE_PIPES_MAX {
            free.push(pipe);
        }
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let mut fds = [0; 2];
        // SAFETY: the kernel writes two descriptors into the array.
        if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just created both, and nothing else owns them.
        let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
        // Refused to a user with many pipes (pipe-user-pages-soft): a small pipe is only slower.
        // SAFETY: the descriptor is open, and this command takes an integer.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, SPLICE_PIPE_BYTES as libc::c_int) };
        Ok(Self { reader, writer })
    }
}

impl fmt::Display for SpliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moved = self.moved;
        match &self.fault {
            SpliceFault::Read(_) => write!(f, "reading failed after {moved} bytes"),
            SpliceFault::Eof => write!(f, "the sender ended after {moved} bytes"),
            SpliceFault::Write(_) => write!(f, "writing failed after {moved} bytes"),
            SpliceFault::Unavailable(_) => f.write_str("no pipe could be created"),
        }
    }
}

impl std::error::Error for SpliceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            SpliceFault::Read(error) | SpliceFault::Write(error) | SpliceFault::Unavailable(error) => {
                Some(error)
            }
            SpliceFault::Eof => None,
        }
    }
}
