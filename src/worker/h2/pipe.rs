//! Pipe of an HTTP/2 connection between the `h2` crate and any [`Stream`].
//!
//! The crate polls for bytes; a [`Stream`] takes buffers and returns them, and none of its futures may be
//! dropped. Two pumps connect them, in one task with the crate's connection:
//!
//! ```text
//!            ┌── input: one buffer, read when the last one is used up ◄── read, with a deadline ──┐
//!  h2 ◄─► Pipe                                                                                  Stream
//!            └── output: the writes of one poll ──► one send of up to 64 KB, with a minimum rate ─┘
//! ```
//! An idle connection holds no buffer here, and waits for readiness only.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{Stream, WriteRate, clock, yield_now};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Observer of the bytes in both directions, which may end the reading.
pub(crate) trait Watch: 'static {
    /// Observes bytes of the peer; returns the number that may pass. The others are dropped, and no more are
    /// read.
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize;

    /// Observes bytes that the crate wrote.
    fn on_written(&self, bytes: &[u8]);
}

/// No observer.
impl Watch for () {
    fn on_read(&self, bytes: &[u8], _: Tick) -> usize {
        bytes.len()
    }

    fn on_written(&self, _: &[u8]) {}
}

/// Creates a pipe: the end of the crate, and the end that drives it.
pub(crate) fn pipe<W: Watch>(watch: W) -> (Pipe<W>, Driver<W>) {
    let shared = Rc::new(Shared {
        watch,
        input: RefCell::default(),
        taken: Cell::new(0),
        input_end: Cell::new(None),
        output: RefCell::default(),
        spare: RefCell::default(),
        output_error: Cell::new(None),
        writer_waits: Cell::new(false),
        needs_poll: Cell::new(false),
        closing: Cell::new(false),
        read_by: Cell::new(Tick::NEVER),
        is_overdue: Cell::new(false),
        is_interrupted: Cell::new(false),
    });
    (Pipe { shared: shared.clone() }, Driver { shared })
}

/// End of the crate. Works only while [`Driver::drive`] polls the future that uses it.
pub(crate) struct Pipe<W> {
    shared: Rc<Shared<W>>,
}

/// End that drives the pumps, and reports deadlines and interruptions.
pub(crate) struct Driver<W> {
    shared: Rc<Shared<W>>,
}

impl<W> Clone for Driver<W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<W> {
    watch: W,
    /// Received bytes; unread from `taken` on.
    input: RefCell<Vec<u8>>,
    taken: Cell<usize>,
    /// Reason why no more bytes come.
    input_end: Cell<Option<End>>,
    /// Bytes to send.
    output: RefCell<Vec<u8>>,
    /// Buffer of the last send, for the next but one.
    spare: RefCell<Vec<u8>>,
    output_error: Cell<Option<ErrorKind>>,
    /// The crate waits for room to write.
    writer_waits: Cell<bool>,
    /// The connection must be polled again.
    needs_poll: Cell<bool>,
    /// The connection has ended; the output is still sent.
    closing: Cell<bool>,
    read_by: Cell<Tick>,
    is_overdue: Cell<bool>,
    is_interrupted: Cell<bool>,
}

#[derive(Clone, Copy)]
enum End {
    /// The peer closed its side.
    Closed,
    Failed(ErrorKind),
    /// The watch ended it: for the crate, no more bytes come.
    Refused,
}

impl<W: Watch> Driver<W> {
    /// Returns the watch.
    pub(crate) fn watch(&self) -> &W {
        &self.shared.watch
    }

    /// Sets the time at which the connection is [overdue](Self::take_overdue), whatever is received. An
    /// earlier time takes effect up to ten seconds late.
    pub(crate) fn set_read_by(&self, deadline: Tick) {
        self.shared.read_by.set(deadline);
    }

    /// Whether that time has passed since the last call. The connection is polled then.
    pub(crate) fn take_overdue(&self) -> bool {
        self.shared.is_overdue.take()
    }

    /// Whether reads of the stream were cancelled since the last call, as by the drain. The connection is
    /// polled then, and reads go on.
    pub(crate) fn take_interrupted(&self) -> bool {
        self.shared.is_interrupted.take()
    }

    /// Whether one of the directions has failed.
    pub(crate) fn is_broken(&self) -> bool {
        self.shared.output_error.get().is_some()
            || matches!(self.shared.input_end.get(), Some(End::Failed(_)))
    }

    /// Bytes that the pipe holds in both directions.
    #[cfg(test)]
    pub(crate) fn bytes_held(&self) -> usize {
        let Shared { input, output, spare, .. } = &*self.shared;
        input.borrow().capacity() + output.borrow().capacity() + spare.borrow().capacity()
    }

    /// Polls `connection`, which uses the pipe, and moves its bytes over `stream` until it ends; then sends
    /// the rest of its output. A peer that takes no bytes for `stall` breaks the connection.
    ///
    /// The stream is neither shut down nor closed; its reads are left cancelled.
    pub(crate) async fn drive<S: Stream, C: Future>(
        &self,
        stream: &S,
        stall: Duration,
        connection: C,
    ) -> C::Output {
        let shared = &*self.shared;
        let mut reading = pin!(shared.pump_in(stream));
        let mut writing = pin!(shared.pump_out(stream, stall));
        let mut connection = pin!(connection);
        let (mut is_read, mut is_written, mut output) = (false, false, None);
        poll_fn(|cx| {
            shared.needs_poll.set(true);
            while shared.needs_poll.get() {
                // Received bytes are there before the connection is polled.
                is_read = is_read || reading.as_mut().poll(cx).is_ready();
                shared.needs_poll.set(false);
                if output.is_none()
                    && let Poll::Ready(result) = connection.as_mut().poll(cx)
                {
                    output = Some(result);
                    shared.closing.set(true);
                    stream.cancel_reads();
                }
                // Its output is sent at once, and the next read begins as soon as the last is used up.
                is_written = is_written || writing.as_mut().poll(cx).is_ready();
                is_read = is_read || reading.as_mut().poll(cx).is_ready();
            }
            match is_read && is_written {
                true => output.take().map_or(Poll::Pending, Poll::Ready),
                false => Poll::Pending,
            }
        })
        .await
    }
}

impl<W: Watch> Shared<W> {
    /// Reads whenever the crate has used up the last read.
    async fn pump_in<S: Stream>(&self, stream: &S) {
        let mut buffer_bytes = ringway_model::limits::HEAD_BUFFER_BYTES;
        let mut turns = 0;
        loop {
            poll_fn(
                |_| if self.closing.get() || self.is_used_up() { Poll::Ready(()) } else { Poll::Pending },
            )
            .await;
            if self.closing.get() {
                return;
            }
            turns += 1;
            if turns % READS_PER_TURN == 0 {
                // A peer that always has data must not starve other tasks.
                yield_now().await;
            }
            let mut buf = self.input.take();
            buf.clear();
            self.taken.set(0);
            if buf.capacity() < buffer_bytes {
                buf.reserve_exact(buffer_bytes);
            }
            let now = clock::now();
            self.report_overdue(now).await;
            let (read, mut back) =
                stream.read(buf, self.wait_until(now).min(now.after(limits::IDLE_BUFFER_GRACE))).await;
            match read {
                Ok(0) => return self.end(End::Closed),
                Ok(count) => {
                    // A full buffer is the middle of an upload.
                    if count == back.capacity() {
                        buffer_bytes = ringway_model::limits::BODY_BUFFER_BYTES;
                    }
                    let passed = self.watch.on_read(&back, clock::now());
                    let is_refused = passed < back.len();
                    back.truncate(passed);
                    self.input.replace(back);
                    self.needs_poll.set(true);
                    if is_refused {
                        return self.end(End::Refused);
                    }
                }
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    drop(back);
                    buffer_bytes = ringway_model::limits::HEAD_BUFFER_BYTES;
                    self.shrink();
                    if !self.wait_for_bytes(stream).await {
                        return;
                    }
                }
                Err(error) => {
                    self.input.replace(back);
                    if !self.survives(stream, &error) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits without a buffer; `false` at the end of the reading.
    async fn wait_for_bytes<S: Stream>(&self, stream: &S) -> bool {
        loop {
            let now = clock::now();
            self.report_overdue(now).await;
            match stream.readable(self.wait_until(now)).await {
                Ok(()) => return true,
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Err(error) => {
                    if !self.survives(stream, &error) {
                        return false;
                    }
                }
            }
        }
    }

    /// Reports an overdue connection once: the connection sets another time, or ends, before the next wait
    /// begins.
    async fn report_overdue(&self, now: Tick) {
        if now < self.read_by.get() {
            return;
        }
        self.read_by.set(Tick::NEVER);
        self.is_overdue.set(true);
        self.needs_poll.set(true);
        // This is polled again after the connection.
        let mut was_polled = false;
        poll_fn(|_| if std::mem::replace(&mut was_polled, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// Handles a failed read: a cancelled one interrupts the connection, any other ends the reading.
    fn survives<S: Stream>(&self, stream: &S, error: &io::Error) -> bool {
        if self.closing.get() {
            return false;
        }
        if error.kind() != ErrorKind::Interrupted {
            self.end(End::Failed(error.kind()));
            return false;
        }
        stream.resume_reads();
        self.is_interrupted.set(true);
        self.needs_poll.set(true);
        true
    }

    /// Sends the output, all of it at once.
    async fn pump_out<S: Stream>(&self, stream: &S, stall: Duration) {
        loop {
            poll_fn(|_| match self.closing.get() || !self.output.borrow().is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
            if self.output.borrow().is_empty() {
                return;
            }
            let buf = self.output.replace(self.spare.take());
            if self.writer_waits.take() {
                self.needs_poll.set(true);
            }
            let rate = WriteRate::stall(stall).and_until(clock::now().after(limits::H2_SEND_TIMEOUT));
            let (sent, mut back) = stream.write_all(buf, rate).await;
            if let Err(error) = sent {
                self.output_error.set(Some(error.kind()));
                self.output.take();
                self.needs_poll.set(true);
                return;
            }
            back.clear();
            self.spare.replace(back);
        }
    }

    /// Deadline of the next wait.
    fn wait_until(&self, now: Tick) -> Tick {
        match self.read_by.get() {
            // `read_by` may be set meanwhile.
            Tick::NEVER => now.after(LOOK_INTERVAL),
            read_by => read_by.max(now),
        }
    }

    fn is_used_up(&self) -> bool {
        self.taken.get() >= self.input.borrow().len()
    }

    fn end(&self, end: End) {
        self.input_end.set(Some(end));
        self.needs_poll.set(true);
    }

    /// Frees empty buffers.
    fn shrink(&self) {
        self.spare.take();
        let mut output = self.output.borrow_mut();
        if output.is_empty() {
            *output = Vec::new();
        }
    }

    /// Appends to the output, as far as there is room.
    fn write(&self, slices: &[&[u8]]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.output_error.get() {
            return Poll::Ready(Err(kind.into()));
        }
        let mut output = self.output.borrow_mut();
        let mut written = 0;
        for slice in slices {
            let part = &slice[..slice.len().min(limits::H2_OUTPUT_BYTES_MAX.saturating_sub(output.len()))];
            output.extend_from_slice(part);
            self.watch.on_written(part);
            written += part.len();
        }
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            self.writer_waits.set(true);
            return Poll::Pending;
        }
        Poll::Ready(Ok(written))
    }
}

impl<W: Watch> AsyncRead for Pipe<W> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let shared = &*self.shared;
        if let Some(kind) = shared.output_error.get() {
            // No response could be sent.
            return Poll::Ready(Err(kind.into()));
        }
        let input = shared.input.borrow();
        let rest = &input[shared.taken.get().min(input.len())..];
        if rest.is_empty() {
            return match shared.input_end.get() {
                Some(End::Closed) => Poll::Ready(Ok(())),
                Some(End::Failed(kind)) => Poll::Ready(Err(kind.into())),
                // The driver polls again once there are bytes.
                Some(End::Refused) | None => Poll::Pending,
            };
        }
        let part = &rest[..rest.len().min(buf.remaining())];
        buf.put_slice(part);
        shared.taken.set(shared.taken.get() + part.len());
        Poll::Ready(Ok(()))
    }
}

impl<W: Watch> AsyncWrite for Pipe<W> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.write(&[buf])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // More than the crate ever passes.
        let mut slices: [&[u8]; 16] = [&[]; 16];
        for (slice, buf) in slices.iter_mut().zip(bufs) {
            *slice = buf;
        }
        self.shared.write(&slices[..bufs.len().min(16)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the pump sends the output after this poll.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.output_error.get().map_or(Ok(()), |kind| Err(kind.into())))
    }

    /// Does nothing: the driver's user shuts the stream down once the output is sent.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads in a row before other tasks run.
const READS_PER_TURN: u32 = 64;

/// Interval at which a wait without a deadline checks `read_by`.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
