//! A stream of HTTP/2 as a [`Stream`] whose bytes are HTTP/1.1, so that exchanges run over it unchanged.
//!
//! ```text
//! read:   text of the head │ DATA as they are, or in chunks │ trailers behind the last chunk │ end
//! write:  heads ──► HEADERS (interim ones, then the final one)     101 ──► 200 (RFC 8441)
//!         body  ──► DATA, as the peer's window allows;  trailers ──► HEADERS;  END_STREAM with the last of it
//! abort:  RST_STREAM, so that a cut body never looks complete
//! ```
//! Towards an endpoint it is the mirror image: the request is written, and the response read. What is read is
//! made in [`inbound`], what was written is understood in [`outbound`]; here stand the waits and the
//! deadlines around both.
//!
//! What an exchange writes has a known shape, which is relied on: a head comes in one write, and the coding
//! of a chunk is never cut. Anything else is our mistake, and resets the stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use ringway_model::Tick;
use ringway_net::{PeerState, Stream, Waits, WriteRate, clock};
use ringway_wire::h1::ResponseHead;
use ringway_wire::message::Method;

pub(crate) use self::outbound::Ask;

use self::inbound::{Inbound, Source};
use self::outbound::{End, Outbound, Room, State, Step};
use super::fields::Malformed;
use super::head::{Body, Coding};
use super::stream_error::{StreamEnd, StreamError};

mod inbound;
mod outbound;

/// One request and its response, within a connection.
pub(crate) struct H2Stream {
    waits: Waits,
    inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
    /// Reads the heads of responses; one for all streams of a connection.
    heads: Rc<RefCell<ResponseHead>>,
    /// Of the request.
    method: Cell<Method>,
    /// The peer has reset the stream, or the connection is over.
    is_gone: Cell<bool>,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl H2Stream {
    /// A stream whose head was read. `addresses` are the peer's and ours.
    ///
    /// # Errors
    /// When no runtime of ours runs on this thread.
    pub(crate) fn new(
        body: RecvStream,
        respond: SendResponse<Bytes>,
        method: Method,
        heads: Rc<RefCell<ResponseHead>>,
        malformed: Rc<Malformed>,
        (peer, local): (Option<SocketAddr>, Option<SocketAddr>),
    ) -> io::Result<Self> {
        Ok(Self {
            waits: Waits::new()?,
            inbound: RefCell::new(Inbound::new(Source::Body(body), malformed)),
            outbound: RefCell::new(Outbound::new(State::Head(respond))),
            heads,
            method: Cell::new(method),
            is_gone: Cell::new(false),
            peer,
            local,
        })
    }

    /// A stream to an endpoint: what is written first is the head of the request.
    ///
    /// # Errors
    /// When no runtime of ours runs on this thread.
    pub(crate) fn ask(ask: Ask) -> io::Result<Self> {
        Ok(Self {
            waits: Waits::new()?,
            inbound: RefCell::new(Inbound::new(Source::Nothing, ask.malformed.clone())),
            outbound: RefCell::new(Outbound::new(State::Ask(Box::new(ask)))),
            heads: Rc::default(),
            method: Cell::default(),
            is_gone: Cell::new(false),
            peer: None,
            local: None,
        })
    }

    /// Looks at what is there of the body, without waiting.
    pub(crate) async fn look(&self) -> Body {
        poll_fn(|cx| Poll::Ready(self.inbound.borrow_mut().look(cx))).await
    }

    /// How the body is read from now on, and how long its head says it is.
    pub(crate) fn set_coding(&self, coding: Coding, length: Option<u64>) {
        self.inbound.borrow_mut().set_coding(coding, length);
    }

    /// Appends to `buf` what is there of the body, as far as it has room, without waiting.
    pub(crate) async fn read_now(&self, buf: &mut Vec<u8>) {
        // An error is told to the next read.
        poll_fn(|cx| {
            let _ = self.inbound.borrow_mut().poll_fill(cx, buf);
            Poll::Ready(())
        })
        .await;
    }

    /// Whether the failure of this stream to an endpoint says nothing about that: it was not opened yet, for
    /// the endpoint has as many as it takes; the endpoint ended this one alone, as an answer to what was
    /// asked; a limit of ours ended its connection; or the connection's end was counted for another stream.
    pub(crate) fn is_excused(&self) -> bool {
        let mut outbound = self.outbound.borrow_mut();
        let is_unopened = outbound.is_unopened();
        let Some(lease) = &outbound.lease else { return false };
        let inbound = self.inbound.borrow();
        is_unopened
            || inbound.is_given_up()
            || lease.is_flood()
            || inbound.has_lost_connection() && !lease.count_end()
    }

    /// Whether the whole response was handed over.
    pub(crate) fn is_answered(&self) -> bool {
        self.outbound.borrow().is_done()
    }

    /// Whether the peer has ended its side of the stream, or given it up.
    pub(crate) fn is_received(&self) -> bool {
        self.inbound.borrow().is_received()
    }

    /// Ends the stream early.
    pub(crate) fn reset(&self, reason: Reason) {
        self.outbound.borrow_mut().reset(reason);
    }

    /// Sends what an exchange wrote, whole messages or parts of them.
    async fn write(&self, buf: &mut [u8], pace: WriteRate) -> io::Result<()> {
        let mut at = 0;
        while at < buf.len() {
            let step = self.take(&mut buf[at..])?;
            let data = at + step.data.start..at + step.data.end;
            if step.is_end && step.trailers.is_none() {
                self.send(&buf[data], End::Stream, pace).await?;
                self.outbound.borrow_mut().finish();
            } else if !data.is_empty() {
                self.send(&buf[data], End::Open, pace).await?;
            }
            if let Some(trailers) = step.trailers {
                self.outbound.borrow_mut().send_trailers(trailers)?;
            }
            at += step.consumed;
        }
        Ok(())
    }

    /// Judges what an exchange wrote: one head, or a part of a body.
    fn take(&self, bytes: &mut [u8]) -> io::Result<Step> {
        let mut outbound = self.outbound.borrow_mut();
        match outbound.state {
            State::Head(_) => outbound.send_head(bytes, self.method.get(), &mut self.heads.borrow_mut()),
            State::Ask(_) => {
                let (step, method, answer) = outbound.send_request(bytes)?;
                self.method.set(method);
                self.inbound.borrow_mut().expect(answer, method);
                Ok(step)
            }
            State::Body { .. } => outbound.take_body(bytes),
            State::Answered | State::Done { .. } => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Sends data as the peer's window allows.
    async fn send(&self, mut data: &[u8], end: End, pace: WriteRate) -> io::Result<()> {
        loop {
            let room = self.outbound.borrow_mut().send_some(&mut data, end)?;
            if data.is_empty() {
                return Ok(());
            }
            if room == Room::Wakeup {
                continue;
            }
            let begun = clock::now();
            let deadline = match pace.stall {
                Duration::MAX => pace.deadline,
                stall => pace.deadline.min(begun.after(stall)),
            };
            self.waits.write(deadline, |cx| self.outbound.borrow_mut().poll_room(cx)).await?;
            // Who may wait for ever may take as little as it likes.
            if pace.stall < Duration::MAX {
                self.outbound.borrow_mut().judge_progress(clock::now().since(begun))?;
            }
        }
    }
}

impl Stream for H2Stream {
    async fn read(&self, mut buf: Vec<u8>, deadline: Tick) -> (io::Result<usize>, Vec<u8>) {
        if buf.len() == buf.capacity() {
            return (Err(ErrorKind::InvalidInput.into()), buf);
        }
        let read = self.waits.read(deadline, |cx| self.inbound.borrow_mut().poll_fill(cx, &mut buf)).await;
        if read.is_err() && self.inbound.borrow_mut().take_malformed() {
            self.reset(Reason::PROTOCOL_ERROR);
        }
        if let (Err(error), Some(lease)) = (&read, &self.outbound.borrow().lease) {
            if StreamEnd::of(error) == Some(StreamEnd::Refused) {
                lease.note_refused();
            } else if self.inbound.borrow().is_foul() {
                lease.note_violation();
            }
        }
        (read, buf)
    }

    async fn write_all_range(
        &self,
        mut buf: Vec<u8>,
        range: Range<usize>,
        pace: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        let is_request = self.outbound.borrow().is_unasked();
        let mut written = match buf.get_mut(range) {
            Some(part) => self.write(part, pace).await,
            None => Err(ErrorKind::InvalidInput.into()),
        };
        if is_request
            && let Err(error) = &mut written
            && !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted)
            && self.inbound.borrow().is_asked()
        {
            // The head was sent, and there may be a response to it.
            *error = StreamError::after_request().into();
        }
        (written, buf)
    }

    async fn discard(&self, deadline: Tick) -> io::Result<usize> {
        self.waits.read(deadline, |cx| self.inbound.borrow_mut().poll_discard(cx)).await
    }

    async fn readable(&self, deadline: Tick) -> io::Result<()> {
        self.waits.read(deadline, |cx| self.inbound.borrow_mut().poll_readable(cx).map(Ok)).await
    }

    fn peek_state(&self) -> PeerState {
        if self.is_gone.get() { PeerState::Closed } else { self.inbound.borrow().peer_state() }
    }

    fn cancel_reads(&self) {
        self.waits.cancel_reads();
    }

    fn resume_reads(&self) {
        self.waits.resume_reads();
    }

    fn cancel_writes(&self) {
        self.waits.cancel_writes();
    }

    fn resume_writes(&self) {
        self.waits.resume_writes();
    }

    /// The end of a tunnel's direction; a response has its end with its last byte.
    async fn shutdown_write(&self, _: Tick) -> io::Result<()> {
        if self.outbound.borrow().is_tunnel() {
            self.outbound.borrow_mut().send_some(&mut &[][..], End::Stream)?;
            self.outbound.borrow_mut().finish();
        }
        Ok(())
    }

    fn abort(&self) {
        self.reset(Reason::INTERNAL_ERROR);
    }

    fn peer_addr(&self) -> Option<SocketAddr> {
        self.peer
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.local
    }

    async fn left(&self) {
        poll_fn(|cx| self.outbound.borrow_mut().poll_reset(cx)).await;
        self.is_gone.set(true);
    }
}
