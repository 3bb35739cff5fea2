//! The bytes of an HTTP/2 connection, between the `h2` crate and any [`Stream`].
//!
//! The crate polls for bytes; our streams take buffers and give them back, and none of their futures may be dropped.
//! Two pumps stand between them, in one task with the connection that uses the crate:
//!
//! ```text
//!            ┌── input: one buffer, read when the last one is used up ◄── read, with a deadline ──┐
//!  h2 ◄─► Pipe                                                                                  Stream
//!            └── output: what one poll wrote, gathered ──► one send of up to 64 KB, with a pace ──┘
//! ```
//! A connection that has been silent for a moment holds no buffer here and waits for readiness only.

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

/// What looks at the bytes that pass, and may end the reading.
pub(crate) trait Watch: 'static {
    /// The peer sent these bytes; how many of them may pass. Fewer than all: the others are forgotten, and no more are read.
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize;

    /// The crate wrote these bytes.
    fn on_written(&self, bytes: &[u8]);
}

/// Nobody looks.
impl Watch for () {
    fn on_read(&self, bytes: &[u8], _: Tick) -> usize {
        bytes.len()
    }

    fn on_written(&self, _: &[u8]) {}
}

/// A pipe for one connection: the end for the crate, and the end for the one who drives it.
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
        news: Cell::new(false),
        closing: Cell::new(false),
        read_by: Cell::new(Tick::NEVER),
        is_overdue: Cell::new(false),
        is_interrupted: Cell::new(false),
    });
    (Pipe { shared: shared.clone() }, Driver { shared })
}

/// What the crate reads from and writes to. Works only while [`Driver::drive`] polls the future that uses it.
pub(crate) struct Pipe<W> {
    shared: Rc<Shared<W>>,
}

/// The other end: drives the pumps, and tells what the stream says besides bytes.
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
    /// What came and was not taken yet: from `taken` on.
    input: RefCell<Vec<u8>>,
    taken: Cell<usize>,
    /// Nothing more will come; why.
    input_end: Cell<Option<End>>,
    /// What is to be sent.
    output: RefCell<Vec<u8>>,
    /// The buffer of the last send, for the next but one.
    spare: RefCell<Vec<u8>>,
    output_error: Cell<Option<ErrorKind>>,
    /// The crate has more to write than there was room for.
    writer_waits: Cell<bool>,
    /// Something happened that the connection must look at.
    news: Cell<bool>,
    /// The connection is over: what is written is still sent.
    closing: Cell<bool>,
    read_by: Cell<Tick>,
    is_overdue: Cell<bool>,
    is_interrupted: Cell<bool>,
}

#[derive(Clone, Copy)]
enum End {
    /// The peer closed in an orderly way.
    Closed,
    Failed(ErrorKind),
    /// The watch ended it: behind what it let pass it is as if nothing came any more.
    Refused,
}

impl<W: Watch> Driver<W> {
    /// The watch that looks at the bytes.
    pub(crate) fn watch(&self) -> &W {
        &self.shared.watch
    }

    /// The connection is [overdue](Self::take_overdue) then, whatever has come. `NEVER`: it never is. A time that is
    /// moved forward is noticed up to ten seconds late.
    pub(crate) fn set_read_by(&self, deadline: Tick) {
        self.shared.read_by.set(deadline);
    }

    /// Whether that time has passed since the last look. The connection is polled when that happens.
    pub(crate) fn take_overdue(&self) -> bool {
        self.shared.is_overdue.take()
    }

    /// Whether the stream's reads were cancelled since the last look, as the drain does. The connection is polled when
    /// that happens, and reads go on.
    pub(crate) fn take_interrupted(&self) -> bool {
        self.shared.is_interrupted.take()
    }

    /// Whether the pipe can carry nothing more in one of its directions.
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

    /// Polls `connection`, which uses the pipe, and carries its bytes over `stream` until it ends; then sends what it
    /// has written last. A peer that takes nothing for `stall` breaks the connection.
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
            shared.news.set(true);
            while shared.news.get() {
                // What came is there before the connection looks for it.
                is_read = is_read || reading.as_mut().poll(cx).is_ready();
                shared.news.set(false);
                if output.is_none()
                    && let Poll::Ready(result) = connection.as_mut().poll(cx)
                {
                    output = Some(result);
                    shared.closing.set(true);
                    stream.cancel_reads();
                }
                // All that it wrote goes out at once, and the next read begins as soon as it has used up the last.
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
    /// Reads whenever the crate has used up what was read.
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
                // A peer that is always ready must not keep the core to itself.
                yield_now().await;
            }
            let mut buf = self.input.take();
            buf.clear();
            self.taken.set(0);
            if buf.capacity() < buffer_bytes {
                buf.reserve_exact(buffer_bytes);
            }
            let now = clock::now();
            self.tell_overdue(now).await;
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
                    self.news.set(true);
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

    /// Waits without a buffer. False when the reading is over.
    async fn wait_for_bytes<S: Stream>(&self, stream: &S) -> bool {
        loop {
            let now = clock::now();
            self.tell_overdue(now).await;
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

    /// LocalReply once: whoever is told sets another time, or ends the connection, before the next wait begins.
    async fn tell_overdue(&self, now: Tick) {
        if now < self.read_by.get() {
            return;
        }
        self.read_by.set(Tick::NEVER);
        self.is_overdue.set(true);
        self.news.set(true);
        // News has this polled again, after the connection was.
        let mut was_told = false;
        poll_fn(|_| if std::mem::replace(&mut was_told, true) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// A cancelled read says that someone wants the connection's attention; all else ends the reading.
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
        self.news.set(true);
        true
    }

    /// Sends what was written, all of it at once.
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
                self.news.set(true);
            }
            let pace = WriteRate::stall(stall).and_until(clock::now().after(limits::H2_SEND_TIMEOUT));
            let (sent, mut back) = stream.write_all(buf, pace).await;
            if let Err(error) = sent {
                self.output_error.set(Some(error.kind()));
                self.output.take();
                self.news.set(true);
                return;
            }
            back.clear();
            self.spare.replace(back);
        }
    }

    /// When the present wait has to be thought over again.
    fn wait_until(&self, now: Tick) -> Tick {
        match self.read_by.get() {
            // It may be moved forward meanwhile.
            Tick::NEVER => now.after(LOOK_INTERVAL),
            read_by => read_by.max(now),
        }
    }

    fn is_used_up(&self) -> bool {
        self.taken.get() >= self.input.borrow().len()
    }

    fn end(&self, end: End) {
        self.input_end.set(Some(end));
        self.news.set(true);
    }

    /// Frees the buffers that nothing is in.
    fn shrink(&self) {
        self.spare.take();
        let mut output = self.output.borrow_mut();
        if output.is_empty() {
            *output = Vec::new();
        }
    }

    /// Takes what there is room for.
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
            // Nothing that comes can be answered.
            return Poll::Ready(Err(kind.into()));
        }
        let input = shared.input.borrow();
        let rest = &input[shared.taken.get().min(input.len())..];
        if rest.is_empty() {
            return match shared.input_end.get() {
                Some(End::Closed) => Poll::Ready(Ok(())),
                Some(End::Failed(kind)) => Poll::Ready(Err(kind.into())),
                // The driver polls again when there is something.
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
        // More than the crate ever hands over.
        let mut slices: [&[u8]; 16] = [&[]; 16];
        for (slice, buf) in slices.iter_mut().zip(bufs) {
            *slice = buf;
        }
        self.shared.write(&slices[..bufs.len().min(16)])
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is written is as good as sent: the pump sends it after this poll.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shared.output_error.get().map_or(Ok(()), |kind| Err(kind.into())))
    }

    /// The driver shuts the stream down, once all is sent.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads in a row before other tasks have their turn.
const READS_PER_TURN: u32 = 64;

/// How often a reader that may wait for ever looks whether that is still so.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
