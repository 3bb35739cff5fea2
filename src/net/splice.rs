//! Moving bytes from one connection to another inside of the kernel.

use crate::limits::{SPLICE_PIPE_BYTES, SPLICE_PIPES_MAX, SPLICE_TURN_BYTES};
use crate::reaper::{Direction, Turn};
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

/// Why a splice ended early, and after how much.
#[derive(Debug)]
pub struct SpliceError {
    /// Bytes that were handed to the receiving connection.
    pub moved: u64,
    /// The longest time that the receiving connection took nothing.
    pub write_wait: Duration,
    /// What happened.
    pub fault: SpliceFault,
}

/// Whose fault it was. Reading and writing tell `TimedOut` and `Interrupted` apart from the system's errors by
/// their kind.
#[derive(Debug)]
pub enum SpliceFault {
    /// The sending connection failed, stalled (`TimedOut`) or was cancelled (`Interrupted`).
    Read(io::Error),
    /// The sending connection ended before all bytes had come.
    Eof,
    /// The receiving connection failed, stalled or was cancelled.
    Write(io::Error),
    /// No pipe could be made. Nothing was read: copying is possible.
    Unavailable(io::Error),
}

/// Moves exactly `len` bytes from `from` to `to` through a pipe of the core's, without copying them to user space.
/// About half the CPU of a copy at 1 MB; not worth it below some tens of KB.
///
/// `pace` holds for each side: either may make the other wait. Nothing is held back: bytes go on as they come.
///
/// # Errors
/// See [`SpliceError`]. After any but [`SpliceFault::Unavailable`] an unknown part of what was read is lost, so both
/// connections are good for nothing but closing; use [`Stream::abort`](crate::Stream::abort) on `to` where the
/// end of the connection would look like the end of the message.
pub async fn splice(from: &TcpStream, to: &TcpStream, len: u64, pace: WriteRate) -> Result<u64, SpliceError> {
    splice_at_least(from, to, len, pace, None, &Cell::new(Tick(0))).await
}

/// [`splice`], from a sender that must keep a least rate: `pace` alone lets it send one byte in each `stall`. Sets `progress` to
/// the time of the last byte that was moved.
///
/// # Errors
/// As [`splice`]; a sender that is too slow gives [`SpliceFault::Read`] with `TimedOut`. After that error nothing is lost: the
/// rest can still be moved.
pub async fn splice_at_least(
    from: &TcpStream,
    to: &TcpStream,
    len: u64,
    pace: WriteRate,
    rate: Option<Rate>,
    progress: &Cell<Tick>,
) -> Result<u64, SpliceError> {
    let mut done = Done { moved: 0, write_wait: Duration::ZERO };
    match splice_all(from, to, len, pace, rate, progress, &mut done).await {
        Ok(()) => Ok(done.moved),
        Err(fault) => Err(SpliceError { moved: done.moved, write_wait: done.write_wait, fault }),
    }
}

/// How much a sender must send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// On average over a window.
    pub bytes_per_second: u64,
    /// It is measured at the first byte after so much time. Time in which the receiver made it wait does not count.
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
    pace: WriteRate,
    rate: Option<Rate>,
    progress: &Cell<Tick>,
    done: &mut Done,
) -> Result<(), SpliceFault> {
    let core = core::current().map_err(SpliceFault::Unavailable)?;
    let pipe = core.pipes.take().map_err(SpliceFault::Unavailable)?;
    let reading = from.duplex.begin(Direction::Read).map_err(SpliceFault::Read)?;
    let writing = to.duplex.begin(Direction::Write).map_err(SpliceFault::Write)?;
    let mut left = len;
    let mut without_wait = 0;
    let mut window = rate.map(Window::begin);
    while left > 0 {
        let want = left.min(SPLICE_PIPE_BYTES as u64) as usize;
        let mut in_pipe = loop {
            check(&reading).map_err(SpliceFault::Read)?;
            match splice_now(from.raw_fd(), pipe.writer.as_raw_fd(), want, 0) {
                Ok(0) => return Err(SpliceFault::Eof),
                Ok(count) => break count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The pipe is empty here, so it is the connection that has nothing.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    without_wait = 0;
                    to.release_held();
                    reading.arm(pace.next_deadline());
                    from.duplex.wait(&reading, Direction::Read).await.map_err(SpliceFault::Read)?;
                }
                Err(error) => return Err(SpliceFault::Read(error)),
            }
        };
        left -= in_pipe as u64;
        let is_too_slow = window.as_mut().is_some_and(|window| !window.is_fast_enough(in_pipe));
        // More is likely to follow at once only when this was as much as fits: else the kernel would be made to hold the
        // last segment back for nothing.
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
                    writing.arm(pace.next_deadline());
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
        // With nothing in the pipe, so that the caller may go on.
        if is_too_slow && left > 0 {
            return Err(SpliceFault::Read(ErrorKind::TimedOut.into()));
        }
        if without_wait >= SPLICE_TURN_BYTES {
            without_wait = 0;
            yield_now().await;
        }
    }
    // Only here is the pipe known to be empty.
    core.pipes.give(pipe);
    Ok(())
}

/// A stretch of time in which a sender must have sent enough.
struct Window {
    rate: Rate,
    since: Tick,
    bytes: u64,
}

impl Window {
    fn begin(rate: Rate) -> Self {
        Self { rate, since: clock::now(), bytes: 0 }
    }

    /// Whether the sender keeps the rate, now that so many bytes more have come.
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

/// A cancellation between two waits counts as well. A deadline cannot pass unseen, for it is armed only to wait.
fn check(turn: &Turn<'_>) -> io::Result<()> {
    turn.verdict().filter(|verdict| verdict.kind() == ErrorKind::Interrupted).map_or(Ok(()), Err)
}

fn splice_now(from: RawFd, to: RawFd, bytes: usize, more: u32) -> io::Result<usize> {
    let none = std::ptr::null_mut();
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE | more;
    // SAFETY: both descriptors are open, for their owners are borrowed by the caller, and no memory is handed over.
    let count = unsafe { libc::splice(from, none, to, none, bytes, flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// The empty pipes of one core.
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

    fn give(&self, pipe: Pipe) {
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
        // SAFETY: the kernel has just made both for us, and nobody else knows them.
        let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
        // Refused to a user who has many pipes already (pipe-user-pages-soft): a small one is only slower.
        // SAFETY: the descriptor is open, and this command takes a number.
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
            SpliceFault::Unavailable(_) => f.write_str("no pipe could be made"),
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
