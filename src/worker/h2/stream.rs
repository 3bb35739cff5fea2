//! HTTP/2 stream as a [`Stream`] whose bytes are HTTP/1.1, so that exchanges run over it unchanged.
//!
//! ```text
//! read:   text of the head │ DATA, plain or in chunks │ trailers after the last chunk │ end
//! write:  heads ──► HEADERS (interim ones, then the final one)     101 ──► 200 (RFC 8441)
//!         body  ──► DATA, as the peer's window allows;  trailers ──► HEADERS;  END_STREAM with the last of it
//! abort:  RST_STREAM, so that a truncated body never looks complete
//! ```
//! To an endpoint it is the mirror image: the request is written, and the response is read. [`inbound`]
//! produces the bytes that are read, [`outbound`] parses those that are written; the waits and deadlines
//! around both are here.
//!
//! The bytes of an exchange have a known shape: a head is one write, and the coding of a chunk is never
//! split. Any other shape is a bug, and resets the stream.

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

pub(crate) use self::outbound::NewRequest;

use self::inbound::{Inbound, Source};
use self::outbound::{End, Outbound, Room, State, Step};
use super::fields::Malformed;
use super::head::{Body, Coding};
use super::stream_error::{StreamEnd, StreamError};

mod inbound;
mod outbound;

/// Stream of an HTTP/2 connection: one request and its response.
pub(crate) struct H2Stream {
    waits: Waits,
    inbound: RefCell<Inbound>,
    outbound: RefCell<Outbound>,
    /// Parser of response heads, shared by all streams of a connection.
    heads: Rc<RefCell<ResponseHead>>,
    /// Method of the request.
    method: Cell<Method>,
    /// The peer has reset the stream, or the connection has ended.
    is_gone: Cell<bool>,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl H2Stream {
    /// A stream whose request head was read. `addresses` are those of the peer and the local ones.
    ///
    /// # Errors
    /// If no ringway runtime runs on this thread.
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

    /// A stream to an endpoint: the first write is the head of the request.
    ///
    /// # Errors
    /// If no ringway runtime runs on this thread.
    pub(crate) fn to_endpoint(request: NewRequest) -> io::Result<Self> {
        Ok(Self {
            waits: Waits::new()?,
            inbound: RefCell::new(Inbound::new(Source::Nothing, request.malformed.clone())),
            outbound: RefCell::new(Outbound::new(State::Request(Box::new(request)))),
            heads: Rc::default(),
            method: Cell::default(),
            is_gone: Cell::new(false),
            peer: None,
            local: None,
        })
    }

    /// Returns the state of the request's body without waiting.
    pub(crate) async fn look(&self) -> Body {
        poll_fn(|cx| Poll::Ready(self.inbound.borrow_mut().look(cx))).await
    }

    /// Sets the coding of the body's bytes, and its declared length.
    pub(crate) fn set_coding(&self, coding: Coding, length: Option<u64>) {
        self.inbound.borrow_mut().set_coding(coding, length);
    }

    /// Appends the received part of the body to `buf`, as far as it has room, without waiting.
    pub(crate) async fn read_now(&self, buf: &mut Vec<u8>) {
        // The next read returns the error.
        poll_fn(|cx| {
            let _ = self.inbound.borrow_mut().poll_fill(cx, buf);
            Poll::Ready(())
        })
        .await;
    }

    /// Whether the failure of this stream does not count against its endpoint: it was not opened, because the
    /// endpoint was at its limit of streams; the endpoint reset this stream only; flood protection ended its
    /// connection; or the end of the connection was counted for another stream.
    pub(crate) fn is_excused(&self) -> bool {
        let mut outbound = self.outbound.borrow_mut();
        let is_unopened = outbound.is_unopened();
        let Some(lease) = &outbound.lease else { return false };
        let inbound = self.inbound.borrow();
        is_unopened
            || inbound.is_reset_alone()
            || lease.is_flood()
            || inbound.has_lost_connection() && !lease.count_end()
    }

    /// Whether the whole response was passed to the connection.
    pub(crate) fn is_answered(&self) -> bool {
        self.outbound.borrow().is_done()
    }

    /// Whether the peer has ended its side of the stream, or reset it.
    pub(crate) fn is_received(&self) -> bool {
        self.inbound.borrow().is_received()
    }

    /// Resets the stream.
    pub(crate) fn reset(&self, reason: Reason) {
        self.outbound.borrow_mut().reset(reason);
    }

    /// Sends the bytes of an exchange: whole messages or parts of them.
    async fn write(&self, buf: &mut [u8], rate: WriteRate) -> io::Result<()> {
        let mut at = 0;
        while at < buf.len() {
            let step = self.take(&mut buf[at..])?;
            let data = at + step.data.start..at + step.data.end;
            if step.is_end && step.trailers.is_none() {
                self.send(&buf[data], End::Stream, rate).await?;
                self.outbound.borrow_mut().finish();
            } else if !data.is_empty() {
                self.send(&buf[data], End::Open, rate).await?;
            }
            if let Some(trailers) = step.trailers {
                self.outbound.borrow_mut().send_trailers(trailers)?;
            }
            at += step.consumed;
        }
        Ok(())
    }

    /// Parses the bytes of an exchange: one head, or a part of a body.
    fn take(&self, bytes: &mut [u8]) -> io::Result<Step> {
        let mut outbound = self.outbound.borrow_mut();
        match outbound.state {
            State::Head(_) => outbound.send_head(bytes, self.method.get(), &mut self.heads.borrow_mut()),
            State::Request(_) => {
                let (step, method, response) = outbound.send_request(bytes)?;
                self.method.set(method);
                self.inbound.borrow_mut().expect(response, method);
                Ok(step)
            }
            State::Body { .. } => outbound.take_body(bytes),
            State::Replaced | State::Done { .. } => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Sends data as the peer's window allows.
    async fn send(&self, mut data: &[u8], end: End, rate: WriteRate) -> io::Result<()> {
        loop {
            let room = self.outbound.borrow_mut().send_some(&mut data, end)?;
            if data.is_empty() {
                return Ok(());
            }
            if room == Room::Some {
                continue;
            }
            let begun = clock::now();
            let deadline = match rate.stall {
                Duration::MAX => rate.deadline,
                stall => rate.deadline.min(begun.after(stall)),
            };
            self.waits.write(deadline, |cx| self.outbound.borrow_mut().poll_room(cx)).await?;
            // Without a stall timeout there is no minimum rate either.
            if rate.stall < Duration::MAX {
                self.outbound.borrow_mut().check_rate(clock::now().since(begun))?;
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
            } else if self.inbound.borrow().is_violation() {
                lease.note_violation();
            }
        }
        (read, buf)
    }

    async fn write_all_range(
        &self,
        mut buf: Vec<u8>,
        range: Range<usize>,
        rate: WriteRate,
    ) -> (io::Result<()>, Vec<u8>) {
        let is_request = self.outbound.borrow().is_unsent();
        let mut written = match buf.get_mut(range) {
            Some(part) => self.write(part, rate).await,
            None => Err(ErrorKind::InvalidInput.into()),
        };
        if is_request
            && let Err(error) = &mut written
            && !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted)
            && self.inbound.borrow().is_sent()
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

    /// Ends the direction of a tunnel; a response ends with its last byte.
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
