//! Socket of the runtime with deadlines and cancellation: the common half of TCP and Unix streams.

use crate::limits::DISCARD_BYTES;
use crate::reaper::{Direction, Operation, Registration};
use crate::stream::{Hangup, PeerState, WriteRate, slices};
use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{CancelableAsyncReadRent, CancelableAsyncWriteRent};
use ringway_model::Tick;
use socket2::SockRef;
use std::cell::{Cell, UnsafeCell};
use std::io::{self, ErrorKind, IoSlice};
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Stream type of the runtime.
pub(crate) trait Device:
    CancelableAsyncReadRent + CancelableAsyncWriteRent + AsRawFd + IntoRawFd + 'static
{
    /// Waits until it is readable. May be dropped at any time.
    fn wait_readable(&self) -> impl Future<Output = io::Result<()>>;
    /// Waits until it is writable. May be dropped at any time.
    fn wait_writable(&self) -> impl Future<Output = io::Result<()>>;
}

/// Socket, non-blocking on either driver so that direct system calls never wait.
pub(crate) struct Duplex<D: Device> {
    device: UnsafeCell<ManuallyDrop<D>>,
    fd: RawFd,
    /// Operations of the runtime that have not ended, or were dropped before their end.
    pending: Cell<usize>,
    registration: Registration,
}

impl<D: Device> Duplex<D> {
    /// # Errors
    /// When no runtime runs on this thread.
    pub(crate) fn new(device: D) -> io::Result<Self> {
        let fd = device.as_raw_fd();
        let registration = Registration::new()?;
        let device = UnsafeCell::new(ManuallyDrop::new(device));
        Ok(Self { device, fd, pending: Cell::new(0), registration })
    }

    /// See [`Stream::read`](crate::Stream::read).
    pub(crate) async fn read(&self, mut buf: Vec<u8>, deadline: Tick) -> (io::Result<usize>, Vec<u8>) {
        let range = buf.len()..buf.capacity();
        if range.is_empty() {
            return (Err(ErrorKind::InvalidInput.into()), buf);
        }
        let operation = match self.registration.begin(Direction::Read) {
            Ok(operation) => operation,
            Err(error) => return (Err(error), buf),
        };
        operation.arm(deadline);
        loop {
            // SAFETY: monoio takes `&mut self` here only to clone its reference-counted descriptor before the
            // first suspension, and declares (its `Split`) that reads and writes may go on at the same time;
            // the operation ensures that there is one reader. The device lives as long as `self`, which the
            // future borrows.
            let device = unsafe { &mut *self.device.get() };
            let pending = self.start_pending();
            let (read, slice) =
                device.cancelable_read(buf.slice_mut(range.clone()), operation.handle()).await;
            pending.ended();
            buf = slice.into_inner();
            match read {
                Err(error) => match next_step(&operation, error) {
                    Step::Again => {}
                    Step::Wait => {
                        if let Err(error) = self.wait(&operation, Direction::Read).await {
                            return (Err(error), buf);
                        }
                    }
                    // Data that came between the deadline and the cancellation are returned.
                    Step::Fail(error) if error.kind() == ErrorKind::TimedOut => {
                        return match self.receive_now(&mut buf, usize::MAX) {
                            Err(empty) if empty.kind() == ErrorKind::WouldBlock => (Err(error), buf),
                            received => (received, buf),
                        };
                    }
                    Step::Fail(error) => return (Err(error), buf),
                },
                read => return (read, buf),
            }
        }
    }

    /// See [`Stream::write_all_range`](crate::Stream::write_all_range).
    pub(crate) async fn write_all_range(
        &self,
        mut buf: Vec<u8>,
        range: Range<usize>,
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        if range.start > range.end || range.end > buf.len() {
            return (Err(ErrorKind::InvalidInput.into()), buf);
        }
        let operation = match self.registration.begin(Direction::Write) {
            Ok(operation) => operation,
            Err(error) => return (Err(error), buf),
        };
        let mut from = range.start;
        operation.arm(rate.next_deadline());
        while from < range.end {
            // SAFETY: as in `read`, with the one writer.
            let device = unsafe { &mut *self.device.get() };
            let pending = self.start_pending();
            let (written, slice) =
                device.cancelable_write(buf.slice(from..range.end), operation.handle()).await;
            pending.ended();
            buf = slice.into_inner();
            match written {
                Ok(0) => return (Err(ErrorKind::WriteZero.into()), buf),
                Ok(count) => {
                    from += count;
                    if from < range.end {
                        operation.arm(rate.next_deadline());
                    }
                }
                Err(error) => match next_step(&operation, error) {
                    Step::Again => {}
                    Step::Wait => {
                        if let Err(error) = self.wait(&operation, Direction::Write).await {
                            return (Err(break_after(from > range.start, error)), buf);
                        }
                    }
                    Step::Fail(error) => return (Err(break_after(from > range.start, error)), buf),
                },
            }
        }
        (Ok(()), buf)
    }

    /// See [`Stream::write_shared`](crate::Stream::write_shared): one system call for as much as the kernel
    /// takes, and waits in between.
    pub(crate) async fn write_shared<P: AsRef<[u8]>>(
        &self,
        head: &[u8],
        parts: &[P],
        range: Range<usize>,
        rate: WriteRate,
    ) -> io::Result<()> {
        let operation = self.begin(Direction::Write)?;
        operation.arm(rate.next_deadline());
        let Some(body) = slices(parts, range) else { return Err(ErrorKind::InvalidInput.into()) };
        let mut rest = Some(head).into_iter().filter(|head| !head.is_empty()).chain(body).peekable();
        // Bytes of the next slice that were sent, and whether any byte was.
        let (mut sent, mut has_sent) = (0, false);
        while rest.peek().is_some() {
            let batch = Batch::of(rest.clone(), sent);
            let result = self
                .socket()
                .send_vectored_with_flags(batch.slices(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL);
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(mut count) => {
                    has_sent = true;
                    while let Some(slice) = rest.peek() {
                        let left = slice.len() - sent;
                        if count < left {
                            sent += count;
                            break;
                        }
                        count -= left;
                        sent = 0;
                        rest.next();
                    }
                    operation.arm(rate.next_deadline());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(break_after(has_sent, error)),
            }
            if rest.peek().is_some() {
                // Through the driver: a peer that always has room must not starve other tasks.
                let waited = self.wait(&operation, Direction::Write).await;
                waited.map_err(|error| break_after(has_sent, error))?;
            }
        }
        Ok(())
    }

    /// See [`Stream::discard`](crate::Stream::discard). TCP only: the kernel frees the bytes without a copy.
    pub(crate) async fn discard(&self, deadline: Tick) -> io::Result<usize> {
        let operation = self.begin(Direction::Read)?;
        operation.arm(deadline);
        loop {
            // Through the driver first: a peer that always has data must not starve other tasks.
            self.wait(&operation, Direction::Read).await?;
            match self.discard_now() {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                discarded => return discarded,
            }
        }
    }

    fn discard_now(&self) -> io::Result<usize> {
        // SAFETY: the descriptor is open. With this flag TCP writes nothing to memory (tcp(7)); any other
        // socket would refuse the null address.
        let count = unsafe {
            libc::recv(self.fd, std::ptr::null_mut(), DISCARD_BYTES, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// See [`Stream::readable`](crate::Stream::readable).
    pub(crate) async fn readable(&self, deadline: Tick) -> io::Result<()> {
        let operation = self.begin(Direction::Read)?;
        operation.arm(deadline);
        self.wait(&operation, Direction::Read).await
    }

    /// Waits until the socket is writable.
    pub(crate) async fn writable(&self, deadline: Tick) -> io::Result<()> {
        let operation = self.begin(Direction::Write)?;
        operation.arm(deadline);
        self.wait(&operation, Direction::Write).await
    }

    /// Starts an operation of several steps.
    pub(crate) fn begin(&self, direction: Direction) -> io::Result<Operation<'_>> {
        self.registration.begin(direction)
    }

    /// Waits for readiness within an operation, until its deadline.
    pub(crate) async fn wait(&self, operation: &Operation<'_>, direction: Direction) -> io::Result<()> {
        match direction {
            Direction::Read => operation.ready(self.count_pending(self.device().wait_readable())).await,
            Direction::Write => operation.ready(self.count_pending(self.device().wait_writable())).await,
        }
    }

    pub(crate) fn cancel(&self, direction: Direction) {
        self.registration.cancel(direction);
    }

    pub(crate) fn resume(&self, direction: Direction) {
        self.registration.resume(direction);
    }

    pub(crate) fn peek_state(&self) -> PeerState {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        loop {
            match self.socket().recv_with_flags(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
                Ok(0) => return PeerState::Closed,
                Ok(_) => return PeerState::HasData,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return PeerState::Idle,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return PeerState::Closed,
            }
        }
    }

    /// See [`Stream::hangup`](crate::Stream::hangup).
    pub(crate) fn hangup(&self) -> Hangup {
        let mut asked = libc::pollfd { fd: self.fd, events: libc::POLLRDHUP, revents: 0 };
        // SAFETY: one entry, which lives on the stack; a timeout of zero waits for nothing.
        let count = unsafe { libc::poll(&raw mut asked, 1, 0) };
        match asked.revents {
            _ if count <= 0 => Hangup::None,
            events if events & (libc::POLLHUP | libc::POLLERR) != 0 => Hangup::Whole,
            _ => Hangup::Sending,
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket().shutdown(Shutdown::Write)
    }

    pub(crate) fn abort(&self) {
        // It fails only for a descriptor that is no socket.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    /// Returns the socket, for options and direct calls.
    pub(crate) fn socket(&self) -> SockRef<'_> {
        SockRef::from(self)
    }

    pub(crate) fn raw_fd(&self) -> RawFd {
        self.fd
    }

    /// Reads into the spare capacity of `buf` without waiting, at most `bytes_max`; `WouldBlock` when there
    /// is nothing.
    pub(crate) fn receive_now(&self, buf: &mut Vec<u8>, bytes_max: usize) -> io::Result<usize> {
        let spare = buf.spare_capacity_mut();
        let room = spare.len().min(bytes_max);
        let count = self.socket().recv_with_flags(&mut spare[..room], libc::MSG_DONTWAIT)?;
        // SAFETY: the kernel wrote `count` bytes behind the old length, within the capacity.
        unsafe { buf.set_len(buf.len() + count) };
        Ok(count)
    }

    /// See [`Stream::read_more`](crate::Stream::read_more).
    pub(crate) fn read_more(&self, buf: &mut Vec<u8>) {
        if buf.len() == buf.capacity() {
            return;
        }
        // Not beside a reader, which would get later bytes first.
        let Ok(_turn) = self.registration.begin(Direction::Read) else { return };
        // The next read reports an error.
        let _ = self.receive_now(buf, usize::MAX);
    }

    /// Awaits a small operation of the runtime, counted as pending if it is dropped before its end.
    async fn count_pending<F: Future>(&self, operation: F) -> F::Output {
        let pending = self.start_pending();
        let output = operation.await;
        pending.ended();
        output
    }

    /// Counts an operation of the runtime as pending until [`Pending::ended`]; for ever when it is dropped
    /// before.
    fn start_pending(&self) -> Pending<'_> {
        self.pending.update(|count| count + 1);
        Pending(&self.pending)
    }

    fn device(&self) -> &D {
        // SAFETY: the mutable references of `read` and `write_all_range` are used only while those clone the
        // descriptor, which does not suspend, so none is in use now.
        unsafe { &*self.device.get() }
    }
}

impl<D: Device> Drop for Duplex<D> {
    /// Closes the socket: directly where nothing is pending on it, which is one system call. The runtime
    /// would close it by an operation of the ring, and a second one that cancels the first because it is not
    /// awaited.
    fn drop(&mut self) {
        // SAFETY: the device is taken here only, and not used afterwards.
        let device = unsafe { ManuallyDrop::take(self.device.get_mut()) };
        if self.pending.get() == 0 {
            // SAFETY: the device has just given up its descriptor.
            drop(unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) });
        }
    }
}

impl<D: Device> AsFd for Duplex<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the device, which lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Error of a write: `WriteZero` when the connection broke after a part was sent, which the peer may act on.
/// Deadlines and cancellations are unchanged.
pub(crate) fn break_after(has_taken: bool, error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::Interrupted => error,
        _ if has_taken => ErrorKind::WriteZero.into(),
        _ => error,
    }
}

/// Slices of one vectored write.
struct Batch<'a> {
    slices: [IoSlice<'a>; BATCH_SLICES_MAX],
    count: usize,
}

impl<'a> Batch<'a> {
    /// The first of `slices`, without the first `skipped` bytes.
    fn of(slices: impl Iterator<Item = &'a [u8]>, mut skipped: usize) -> Self {
        let mut batch = Self { slices: [IoSlice::new(&[]); BATCH_SLICES_MAX], count: 0 };
        for (place, slice) in batch.slices.iter_mut().zip(slices) {
            *place = IoSlice::new(slice.get(std::mem::take(&mut skipped)..).unwrap_or_default());
            batch.count += 1;
        }
        batch
    }

    fn slices(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

/// Slices of one vectored write: more bytes than the kernel takes at once with usual buffers, in chunks of
/// 64 KiB.
const BATCH_SLICES_MAX: usize = 32;

/// Pending operation of the runtime.
struct Pending<'a>(&'a Cell<usize>);

impl Pending<'_> {
    fn ended(self) {
        self.0.update(|count| count - 1);
    }
}

/// Step after a failed operation.
enum Step {
    Again,
    Wait,
    Fail(io::Error),
}

fn next_step(operation: &Operation<'_>, error: io::Error) -> Step {
    match error.raw_os_error() {
        // Without an interruption, the cancellation was meant for an earlier operation, which had ended.
        Some(libc::ECANCELED | libc::EINTR) => operation.interruption().map_or(Step::Again, Step::Fail),
        // On some kernels the ring honours O_NONBLOCK instead of waiting.
        Some(libc::EAGAIN) => Step::Wait,
        _ => Step::Fail(error),
    }
}

impl Device for monoio::net::TcpStream {
    fn wait_readable(&self) -> impl Future<Output = io::Result<()>> {
        self.readable(false)
    }

    fn wait_writable(&self) -> impl Future<Output = io::Result<()>> {
        self.writable(false)
    }
}

impl Device for monoio::net::UnixStream {
    fn wait_readable(&self) -> impl Future<Output = io::Result<()>> {
        self.readable(false)
    }

    fn wait_writable(&self) -> impl Future<Output = io::Result<()>> {
        self.writable(false)
    }
}
