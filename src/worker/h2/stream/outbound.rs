//! Sending half of a stream: the bytes of HTTP/1.1 that the exchange writes, as HEADERS, DATA and trailers.
//!
//! ```text
//! Request ──────►┐
//!               ├──► Body ──last byte or trailers──► Done
//! Head ────────►┘    (or Done at once: no body follows)
//! ```

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::limits;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{HeaderMap, Response, StatusCode};
use ringway_wire::h1::{self, BodyState, ChunkMode, ChunkedBody, Parse, RequestHead, ResponseHead};
use ringway_wire::message::{Framing, Method};

use crate::h2::client::Lease;
use crate::h2::fields::Malformed;
use crate::h2::head;

/// Message of the exchange.
pub(super) struct Outbound {
    pub(super) state: State,
    /// Lease of a stream to an endpoint, once its request was sent.
    pub(super) lease: Option<Lease>,
    /// Handle that the request was sent with: knows whether its stream is open.
    sent_by: Option<SendRequest<Bytes>>,
    /// Time spent waiting for the peer's window, and bytes sent meanwhile.
    waited: Duration,
    sent_bytes: u64,
}

/// State of the message.
pub(super) enum State {
    /// Before the head of a request.
    Request(Box<NewRequest>),
    /// Before the final head of a response.
    Head(SendResponse<Bytes>),
    /// In the body.
    Body { stream: SendStream<Bytes>, framing: BodyFraming },
    /// Complete.
    Done { stream: SendStream<Bytes> },
    /// Transient, while one state is replaced by the next.
    Replaced,
}

/// Framing of a body.
pub(super) enum BodyFraming {
    /// Missing bytes.
    Length(u64),
    Chunked(ChunkedBody),
    /// Tunnel: bytes in both directions, until one of them ends.
    Tunnel,
}

/// Parts of a request to an endpoint.
pub(crate) struct NewRequest {
    pub(crate) send: SendRequest<Bytes>,
    /// Parser of request heads, shared by all streams of a connection.
    pub(crate) heads: Rc<RefCell<RequestHead>>,
    pub(crate) scheme: &'static str,
    /// Streams whose trailers are malformed.
    pub(crate) malformed: Rc<Malformed>,
    /// Counts the stream while it lives.
    pub(crate) lease: Lease,
}

impl Outbound {
    pub(super) fn new(state: State) -> Self {
        Self { state, lease: None, sent_by: None, waited: Duration::ZERO, sent_bytes: 0 }
    }

    /// Whether the request waits, because the endpoint is at its limit of streams.
    pub(super) fn is_unopened(&mut self) -> bool {
        let mut now = Context::from_waker(Waker::noop());
        self.sent_by.as_mut().is_some_and(|sent_by| sent_by.poll_ready(&mut now).is_pending())
    }

    /// Sends a request, whose head is at the start of `bytes`.
    pub(super) fn send_request(&mut self, bytes: &[u8]) -> io::Result<(Step, Method, ResponseFuture)> {
        let State::Request(request) = std::mem::replace(&mut self.state, State::Replaced) else {
            return Err(invalid());
        };
        let NewRequest { mut send, heads, scheme, lease, .. } = *request;
        self.lease = Some(lease);
        let head = &mut *heads.borrow_mut();
        head.reset();
        if head.parse(bytes, &HEADS).map_err(malformed)? == Parse::Partial {
            return Err(invalid());
        }
        let consumed = head.len();
        let request = head::request(head, &bytes[..consumed], scheme).ok_or_else(invalid)?;
        let (mut parts, ()) = request.into_parts();
        parts.headers.extend(head::fields(head.fields(bytes), &bytes[..consumed]));
        let framing = match head.framing() {
            Framing::Empty | Framing::UntilClose => None,
            Framing::Length(length) => {
                parts.headers.insert(http::header::CONTENT_LENGTH, length.into());
                (length > 0).then_some(BodyFraming::Length(length))
            }
            Framing::Chunked => Some(BodyFraming::Chunked(ChunkedBody::new(ChunkMode::Separate))),
        };
        let request = http::Request::from_parts(parts, ());
        let (response, stream) = send.send_request(request, framing.is_none()).map_err(broken)?;
        self.sent_by = Some(send);
        self.begin_body(stream, framing);
        Ok((Step { consumed, ..Step::default() }, head.method(), response))
    }

    /// Sends the head of a response to a request with this method, which is at the start of `bytes`. Another
    /// head follows an interim one.
    pub(super) fn send_head(
        &mut self,
        bytes: &[u8],
        method: Method,
        head: &mut ResponseHead,
    ) -> io::Result<Step> {
        head.reset();
        if head.parse(bytes, method, &HEADS).map_err(malformed)? == Parse::Partial {
            return Err(invalid());
        }
        let consumed = head.len();
        let step = Step { consumed, ..Step::default() };
        let is_tunnel = head.status() == 101;
        let mut response = Response::new(());
        let status = if is_tunnel { 200 } else { head.status() };
        *response.status_mut() = StatusCode::from_u16(status).map_err(|_| invalid())?;
        *response.headers_mut() = head::fields(head.fields(bytes), &bytes[..consumed]);
        if let Some(length) = head.content_length() {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let State::Head(respond) = &mut self.state else { return Err(invalid()) };
        if head.is_interim() {
            respond.send_informational(response).map_err(broken)?;
            return Ok(step);
        }
        let framing = match head.framing() {
            _ if is_tunnel => Some(BodyFraming::Tunnel),
            Framing::Empty | Framing::Length(0) => None,
            Framing::Length(length) => Some(BodyFraming::Length(length)),
            Framing::Chunked => Some(BodyFraming::Chunked(ChunkedBody::new(ChunkMode::Separate))),
            Framing::UntilClose => return Err(invalid()),
        };
        let stream = respond.send_response(response, framing.is_none()).map_err(broken)?;
        self.begin_body(stream, framing);
        Ok(step)
    }

    /// Ends the head, and the message if no body follows.
    fn begin_body(&mut self, stream: SendStream<Bytes>, framing: Option<BodyFraming>) {
        self.state = match framing {
            Some(framing) => State::Body { stream, framing },
            None => State::Done { stream },
        };
    }

    /// Checks a part of a body, and removes the chunked coding, in place.
    pub(super) fn take_body(&mut self, bytes: &mut [u8]) -> io::Result<Step> {
        let State::Body { framing, .. } = &mut self.state else { return Err(invalid()) };
        let len = bytes.len();
        match framing {
            BodyFraming::Length(left) => {
                if len as u64 > *left {
                    return Err(invalid());
                }
                *left -= len as u64;
                Ok(Step { consumed: len, data: 0..len, is_end: *left == 0, trailers: None })
            }
            BodyFraming::Chunked(chunked) => {
                let fed = chunked.feed(bytes).map_err(malformed)?;
                if fed.consumed < len {
                    return Err(invalid());
                }
                let data = fed.kept - fed.trailers;
                let trailers =
                    (fed.trailers > 0).then(|| head::fields(h1::field_lines(&bytes[data..fed.kept]), bytes));
                Ok(Step { consumed: len, data: 0..data, is_end: fed.state == BodyState::Done, trailers })
            }
            BodyFraming::Tunnel => Ok(Step { consumed: len, data: 0..len, is_end: false, trailers: None }),
        }
    }

    /// Sends as much as the peer's window allows now.
    pub(super) fn send_some(&mut self, data: &mut &[u8], end: End) -> io::Result<Room> {
        let State::Body { stream, .. } = &mut self.state else { return Err(invalid()) };
        let room = match data.len() {
            0 => 0,
            wanted => {
                stream.reserve_capacity(wanted);
                stream.capacity().min(wanted)
            }
        };
        if room == 0 && !data.is_empty() {
            return Ok(Room::None);
        }
        let (part, rest) = data.split_at(room);
        stream
            .send_data(Bytes::copy_from_slice(part), end == End::Stream && rest.is_empty())
            .map_err(broken)?;
        self.sent_bytes += room as u64;
        *data = rest;
        Ok(Room::Some)
    }

    /// Ends the message with trailers.
    pub(super) fn send_trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        if let State::Body { stream, .. } = &mut self.state {
            stream.send_trailers(trailers).map_err(broken)?;
        }
        self.finish();
        Ok(())
    }

    /// Ends the message, whose last byte was sent with END_STREAM.
    pub(super) fn finish(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Replaced) {
            State::Body { stream, .. } => State::Done { stream },
            state => state,
        };
    }

    /// Ready when the peer's window has room.
    pub(super) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Body { stream, .. } = &mut self.state else {
            return Poll::Ready(Err(invalid()));
        };
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(broken(error))),
            None => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    /// Checks the minimum rate: a window that is opened by single bytes would let a response progress for
    /// ever. Only waits for the window count; the app may be slow.
    pub(super) fn check_rate(&mut self, waited: Duration) -> io::Result<()> {
        self.waited += waited;
        if self.waited < limits::BODY_RATE_WINDOW {
            return Ok(());
        }
        let enough = self.sent_bytes >= ringway_model::limits::BODY_RATE_MIN * self.waited.as_secs();
        self.waited = Duration::ZERO;
        self.sent_bytes = 0;
        if enough { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }

    /// Whether the message is complete.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    /// Whether the request was not sent yet.
    pub(super) fn is_unsent(&self) -> bool {
        matches!(self.state, State::Request(_))
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Body { framing: BodyFraming::Tunnel, .. })
    }

    /// Resets the stream; one whose request was not sent has none.
    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.state {
            State::Head(respond) => respond.send_reset(reason),
            State::Body { stream, .. } | State::Done { stream } => stream.send_reset(reason),
            State::Request(_) | State::Replaced => {}
        }
    }

    /// Ready when the peer has reset the stream.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(respond) => respond.poll_reset(cx).map(drop),
            State::Body { stream, .. } => stream.poll_reset(cx).map(drop),
            State::Request(_) | State::Done { .. } | State::Replaced => Poll::Pending,
        }
    }
}

/// Result of a part of the written bytes.
#[derive(Default)]
pub(super) struct Step {
    /// Consumed bytes.
    pub(super) consumed: usize,
    /// Range of the bytes of the body to send.
    pub(super) data: Range<usize>,
    /// The message ends.
    pub(super) is_end: bool,
    pub(super) trailers: Option<HeaderMap>,
}

/// Whether the stream ends with the data.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Stream,
}

/// Room in the peer's window.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Some,
    None,
}

/// Error of an exchange that wrote an unexpected shape, which is a bug.
fn invalid() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// The same, with the error of a parser.
fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// Error of a send: the stream or its connection has ended, or the crate refuses the message.
fn broken(error: h2::Error) -> io::Error {
    match error.is_reset() || error.is_io() || error.is_go_away() {
        true => ErrorKind::ConnectionReset.into(),
        false => io::Error::new(ErrorKind::BrokenPipe, error),
    }
}

/// No limits: heads of an exchange were checked before, and have grown by a few lines.
const HEADS: h1::Limits =
    h1::Limits { uri_bytes_max: usize::MAX, head_bytes_max: usize::MAX, fields_max: 1024 };

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
