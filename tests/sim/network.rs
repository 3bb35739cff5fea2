//! Simulated network: bytes arrive late, in other pieces, or never; connections end in every way that TCP
//! has.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_model::Tick;
use ringway_net::{PeerState, Stream, WriteRate};

use super::engine::Engine;

/// One direction of a connection.
struct Pipe {
    /// Bytes that the reader can take.
    arrived: VecDeque<u8>,
    /// Bytes on their way.
    in_flight: usize,
    /// Arrival time of the last of them.
    last_at: u64,
    /// The writer has ended it; and the end has arrived.
    finishing: bool,
    finished: bool,
    /// The reader has closed.
    is_deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A connection. Side 0 reads from pipe 0 and writes to pipe 1; side 1 the other way round.
struct Connection {
    engine: Rc<Engine>,
    number: u64,
    pipes: [RefCell<Pipe>; 2],
    /// A reset has arrived at the side.
    is_dead: [Cell<bool>; 2],
    room: usize,
    latency: u64,
    fragments: u64,
}

/// One end of a connection; dropping it closes.
pub(super) struct End {
    connection: Rc<Connection>,
    side: usize,
    aborts: Cell<bool>,
}

/// Creates a connection: the end that connects, and the end that accepts.
pub(super) fn pair(engine: &Rc<Engine>, number: u64, is_calm: bool) -> (End, End) {
    let pipe = || {
        RefCell::new(Pipe {
            arrived: VecDeque::new(),
            in_flight: 0,
            last_at: 0,
            finishing: false,
            finished: false,
            is_deaf: false,
            reader: None,
            writer: None,
        })
    };
    let (room, latency) = if is_calm {
        (2_000 + engine.below(200_000), [1, 500, 2_000, 20_000][engine.below(4) as usize])
    } else {
        let room = if engine.chance(20) { 50 + engine.below(4_000) } else { 20_000 + engine.below(200_000) };
        (room, [1, 500, 2_000, 50_000, 400_000][engine.below(5) as usize])
    };
    let connection = Rc::new(Connection {
        engine: engine.clone(),
        number,
        pipes: [pipe(), pipe()],
        is_dead: [Cell::new(false), Cell::new(false)],
        room: room as usize,
        latency,
        fragments: [0, 10, 60][engine.below(3) as usize],
    });
    let end = |side| End { connection: connection.clone(), side, aborts: Cell::new(false) };
    (end(0), end(1))
}

impl Connection {
    fn arrival(&self, pipe: &mut Pipe) -> u64 {
        let at = self.engine.now() + self.engine.below(self.latency);
        pipe.last_at = pipe.last_at.max(at);
        pipe.last_at
    }

    /// Sends a reset to `side`, behind the bytes that are on their way.
    fn send_reset(self: &Rc<Self>, side: usize) {
        let at = self.arrival(&mut self.pipes[side].borrow_mut());
        let connection = self.clone();
        self.engine.at(at, move || {
            connection.is_dead[side].set(true);
            // Some systems keep bytes readable that arrived before.
            if connection.engine.chance(50) {
                connection.pipes[side].borrow_mut().arrived.clear();
            }
            connection.wake(side);
        });
    }

    fn wake(&self, side: usize) {
        let reader = self.pipes[side].borrow_mut().reader.take();
        let writer = self.pipes[1 - side].borrow_mut().writer.take();
        reader.into_iter().chain(writer).for_each(Waker::wake);
    }

    fn deliver(self: &Rc<Self>, side: usize, bytes: &[u8]) {
        let mut pipe = self.pipes[side].borrow_mut();
        pipe.in_flight -= bytes.len();
        if pipe.is_deaf {
            drop(pipe);
            return self.send_reset(1 - side);
        }
        if self.is_dead[side].get() {
            return;
        }
        pipe.arrived.extend(bytes);
        let reader = pipe.reader.take();
        drop(pipe);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl End {
    pub(super) fn number(&self) -> u64 {
        self.connection.number
    }

    fn engine(&self) -> &Rc<Engine> {
        &self.connection.engine
    }

    fn poll_read(&self, cx: &mut Context<'_>, bytes_max: usize) -> Poll<io::Result<Vec<u8>>> {
        let connection = &self.connection;
        let mut pipe = connection.pipes[self.side].borrow_mut();
        if pipe.arrived.is_empty() {
            if connection.is_dead[self.side].get() {
                return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
            }
            if pipe.finished {
                return Poll::Ready(Ok(Vec::new()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut count = pipe.arrived.len().min(bytes_max);
        if self.engine().chance(connection.fragments) {
            count = 1 + self.engine().below(count as u64) as usize;
        }
        let bytes = pipe.arrived.drain(..count).collect();
        let writer = pipe.writer.take();
        drop(pipe);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(bytes))
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.peek() != PeerState::Idle {
            return Poll::Ready(());
        }
        self.connection.pipes[self.side].borrow_mut().reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let connection = &self.connection;
        let mut pipe = connection.pipes[1 - self.side].borrow_mut();
        if connection.is_dead[self.side].get() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        if pipe.finishing {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let room = connection.room.saturating_sub(pipe.arrived.len() + pipe.in_flight);
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut count = bytes.len().min(room);
        if self.engine().chance(connection.fragments) {
            count = 1 + self.engine().below(count as u64) as usize;
        }
        pipe.in_flight += count;
        let at = connection.arrival(&mut pipe);
        let (to, side, bytes) = (connection.clone(), 1 - self.side, bytes[..count].to_vec());
        self.engine().at(at, move || to.deliver(side, &bytes));
        Poll::Ready(Ok(count))
    }

    /// Ends the writing side.
    pub(super) fn finish(&self) {
        let connection = self.connection.clone();
        let side = 1 - self.side;
        let mut pipe = connection.pipes[side].borrow_mut();
        if std::mem::replace(&mut pipe.finishing, true) {
            return;
        }
        let at = connection.arrival(&mut pipe);
        drop(pipe);
        self.engine().at(at, move || {
            connection.pipes[side].borrow_mut().finished = true;
            connection.wake(side);
        });
    }

    /// Closes both directions, while a reader is still waiting.
    pub(super) fn close(&self) {
        self.finish();
        let connection = &self.connection;
        connection.pipes[self.side].borrow_mut().is_deaf = true;
        connection.is_dead[self.side].set(true);
        connection.wake(self.side);
    }

    /// Makes the drop reset the connection.
    pub(super) fn abort(&self) {
        self.aborts.set(true);
    }

    fn peek(&self) -> PeerState {
        let pipe = self.connection.pipes[self.side].borrow();
        match () {
            () if !pipe.arrived.is_empty() => PeerState::HasData,
            () if pipe.finished || self.connection.is_dead[self.side].get() => PeerState::Closed,
            () => PeerState::Idle,
        }
    }

    /// Whether this side has read everything that the other one wrote.
    pub(super) fn is_quiet(&self) -> bool {
        let pipe = self.connection.pipes[self.side].borrow();
        pipe.in_flight == 0 && pipe.arrived.is_empty() && !pipe.finishing
    }

    /// Delivers bytes without latency; false when others are on their way.
    pub(super) fn place(&self, bytes: &[u8]) -> bool {
        let side = 1 - self.side;
        let mut pipe = self.connection.pipes[side].borrow_mut();
        // Never overtakes bytes on their way.
        let may = pipe.in_flight == 0 && !pipe.is_deaf;
        if may {
            pipe.in_flight = bytes.len();
            drop(pipe);
            self.connection.deliver(side, bytes);
        }
        may
    }

    /// Reads available bytes; empty at the end and after an error.
    pub(super) async fn receive(&self) -> Vec<u8> {
        poll_fn(|cx| self.poll_read(cx, 8_192)).await.unwrap_or_default()
    }

    /// Writes all; false when the connection broke.
    pub(super) async fn send(&self, bytes: &[u8]) -> bool {
        let mut sent = 0;
        while sent < bytes.len() {
            match poll_fn(|cx| self.poll_write(cx, &bytes[sent..])).await {
                Ok(count) => sent += count,
                Err(_) => return false,
            }
        }
        true
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if self.engine().is_ending() {
            return;
        }
        let mut pipe = self.connection.pipes[self.side].borrow_mut();
        pipe.is_deaf = true;
        let is_unread = !pipe.arrived.is_empty();
        drop(pipe);
        // Unread bytes cause a reset, as in the kernel.
        if self.aborts.get() || is_unread {
            self.connection.send_reset(1 - self.side);
        } else {
            self.finish();
        }
        self.connection.wake(1 - self.side);
    }
}

/// The core's end of a connection, with deadlines and cancellation.
pub(super) struct SimStream {
    end: End,
    peer: SocketAddr,
    sides: [Side; 2],
    live: Rc<Cell<usize>>,
}

#[derive(Default)]
struct Side {
    is_cancelled: Cell<bool>,
    is_busy: Cell<bool>,
}

const READ: usize = 0;
const WRITE: usize = 1;
/// Largest buffer of a connection.
const BUFFER_BYTES_MAX: usize = 160 * 1024;

impl SimStream {
    pub(super) fn new(end: End, peer: SocketAddr, live: &Rc<Cell<usize>>) -> Self {
        live.set(live.get() + 1);
        Self { end, peer, sides: Default::default(), live: live.clone() }
    }

    fn cancel(&self, side: usize) {
        self.sides[side].is_cancelled.set(true);
        self.end.connection.wake(self.end.side);
    }

    /// Polls until it is ready, the deadline has passed, or the wait is cancelled.
    async fn wait<T>(
        &self,
        side: usize,
        deadline: Tick,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> io::Result<T> {
        if self.sides[side].is_cancelled.get() {
            return Err(ErrorKind::Interrupted.into());
        }
        let engine = self.end.engine();
        let expiry = expiry(engine, deadline);
        let mut is_armed = false;
        let turn = Turn::new(engine, &self.sides[side]);
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = poll(cx) {
                return Poll::Ready(result);
            }
            if self.sides[side].is_cancelled.get() {
                return Poll::Ready(Err(ErrorKind::Interrupted.into()));
            }
            let Some(expiry) = expiry else { return Poll::Pending };
            if engine.now() >= expiry {
                return Poll::Ready(Err(ErrorKind::TimedOut.into()));
            }
            if !std::mem::replace(&mut is_armed, true) {
                engine.wake_at(expiry, cx.waker());
            }
            Poll::Pending
        })
        .await;
        turn.end();
        result
    }
}

/// Time at which the reaper, which runs ten times a second, cancels a wait.
fn expiry(engine: &Engine, deadline: Tick) -> Option<u64> {
    (deadline != Tick::NEVER)
        .then(|| deadline.0.saturating_mul(1_000).max(engine.now()) + engine.below(100_000))
}

/// Check of the contract: one reader and one writer at a time, and none that is dropped before it is ready.
struct Turn<'a> {
    engine: &'a Engine,
    side: &'a Side,
}

impl<'a> Turn<'a> {
    fn new(engine: &'a Engine, side: &'a Side) -> Self {
        engine
            .check(!side.is_busy.replace(true), || "two readers or two writers of one connection".to_owned());
        Self { engine, side }
    }

    fn end(self) {
        self.side.is_busy.set(false);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.side.is_busy.replace(false) {
            self.engine.violate("a read or write was dropped before it was ready".to_owned());
        }
    }
}

impl Stream for SimStream {
    async fn read(&self, mut buf: Vec<u8>, deadline: Tick) -> (io::Result<usize>, Vec<u8>) {
        let spare = buf.capacity() - buf.len();
        let engine = self.end.engine();
        engine.check(spare > 0, || "a read without room".to_owned());
        engine.check(buf.capacity() <= BUFFER_BYTES_MAX, || format!("a buffer of {} bytes", buf.capacity()));
        match self.wait(READ, deadline, |cx| self.end.poll_read(cx, spare)).await {
            Ok(bytes) => {
                buf.extend_from_slice(&bytes);
                (Ok(bytes.len()), buf)
            }
            Err(error) => (Err(error), buf),
        }
    }

    async fn write_all_range(
        &self,
        buf: Vec<u8>,
        range: Range<usize>,
        pace: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        let engine = self.end.engine();
        engine.check(buf.capacity() <= BUFFER_BYTES_MAX, || format!("a buffer of {} bytes", buf.capacity()));
        let mut from = range.start;
        while from < range.end {
            let stall = Tick(engine.now() / 1_000).after(pace.stall);
            let deadline = pace.deadline.min(stall);
            let part = &buf[from..range.end];
            match self.wait(WRITE, deadline, |cx| self.end.poll_write(cx, part)).await {
                Ok(count) => from += count,
                Err(error) if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {
                    return (Err(error), buf);
                }
                Err(_) if from > range.start => return (Err(ErrorKind::WriteZero.into()), buf),
                Err(error) => return (Err(error), buf),
            }
        }
        (Ok(()), buf)
    }

    async fn readable(&self, deadline: Tick) -> io::Result<()> {
        self.wait(READ, deadline, |cx| self.end.poll_readable(cx).map(Ok)).await
    }

    fn peek_state(&self) -> PeerState {
        self.end.peek()
    }

    fn cancel_reads(&self) {
        self.cancel(READ);
    }

    fn resume_reads(&self) {
        self.sides[READ].is_cancelled.set(false);
    }

    fn cancel_writes(&self) {
        self.cancel(WRITE);
    }

    fn resume_writes(&self) {
        self.sides[WRITE].is_cancelled.set(false);
    }

    async fn shutdown_write(&self, _deadline: Tick) -> io::Result<()> {
        if self.end.connection.is_dead[self.end.side].get() {
            return Err(ErrorKind::NotConnected.into());
        }
        self.end.finish();
        Ok(())
    }

    fn abort(&self) {
        self.end.abort();
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        Some(self.peer)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.live.set(self.live.get() - 1);
    }
}
