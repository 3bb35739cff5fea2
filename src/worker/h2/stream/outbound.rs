//! What an exchange writes in the bytes of HTTP/1.1, as HEADERS, DATA and trailers.
//!
//! ```text
//! Ask ──request──►┐
//!                 ├──► Body ──last byte or trailers──► Done
//! Head ─response─►┘    (or Done at once: no body follows)
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

/// What the exchange sends, on its way to the peer.
pub(super) struct Outbound {
    pub(super) state: State,
    /// Of a stream to an endpoint, once its request was sent.
    pub(super) lease: Option<Lease>,
    /// What the request was sent with: knows whether its stream was opened.
    asked: Option<SendRequest<Bytes>>,
    /// Time spent waiting for the peer's window, and bytes sent meanwhile.
    waited: Duration,
    moved: u64,
}

/// How far it has come.
pub(super) enum State {
    /// The request is still to come.
    Ask(Box<Ask>),
    /// The final head is still to come.
    Head(SendResponse<Bytes>),
    /// The body is.
    Body { stream: SendStream<Bytes>, framing: BodyFraming },
    /// All was handed over.
    Done { stream: SendStream<Bytes> },
    /// Only while one state becomes the next.
    Answered,
}

/// Where a body ends.
pub(super) enum BodyFraming {
    /// So many bytes are missing.
    Length(u64),
    Chunked(ChunkedBody),
    /// Bytes in both directions, until one of them ends.
    Tunnel,
}

/// What a request to an endpoint is made with.
pub(crate) struct Ask {
    pub(crate) send: SendRequest<Bytes>,
    /// Reads the heads of requests; one for all streams of a connection.
    pub(crate) heads: Rc<RefCell<RequestHead>>,
    pub(crate) scheme: &'static str,
    /// Streams whose trailers are malformed.
    pub(crate) malformed: Rc<Malformed>,
    /// Counts the stream while it lives.
    pub(crate) lease: Lease,
}

impl Outbound {
    pub(super) fn new(state: State) -> Self {
        Self { state, lease: None, asked: None, waited: Duration::ZERO, moved: 0 }
    }

    /// Whether the request waits for the endpoint to take another stream.
    pub(super) fn is_unopened(&mut self) -> bool {
        let mut now = Context::from_waker(Waker::noop());
        self.asked.as_mut().is_some_and(|asked| asked.poll_ready(&mut now).is_pending())
    }

    /// Sends a request, whose head `bytes` begin with; the answer is still to come.
    pub(super) fn send_request(&mut self, bytes: &[u8]) -> io::Result<(Step, Method, ResponseFuture)> {
        let State::Ask(ask) = std::mem::replace(&mut self.state, State::Answered) else {
            return Err(invalid());
        };
        let Ask { mut send, heads, scheme, lease, .. } = *ask;
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
        let (answer, stream) = send.send_request(request, framing.is_none()).map_err(broken)?;
        self.asked = Some(send);
        self.begin_body(stream, framing);
        Ok((Step { consumed, ..Step::default() }, head.method(), answer))
    }

    /// Sends the head of a response to a request with this method, which `bytes` begin with; after an interim
    /// one, another follows.
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

    /// The head was sent; with it all, where no body follows.
    fn begin_body(&mut self, stream: SendStream<Bytes>, framing: Option<BodyFraming>) {
        self.state = match framing {
            Some(framing) => State::Body { stream, framing },
            None => State::Done { stream },
        };
    }

    /// Judges a part of a body, and takes the coding of chunks off it, in place.
    pub(super) fn take_body(&mut self, bytes: &mut [u8]) -> io::Result<Step> {
        let State::Body { framing, .. } = &mut self.state else { return Err(invalid()) };
        let all = bytes.len();
        match framing {
            BodyFraming::Length(left) => {
                if all as u64 > *left {
                    return Err(invalid());
                }
                *left -= all as u64;
                Ok(Step { consumed: all, data: 0..all, is_end: *left == 0, trailers: None })
            }
            BodyFraming::Chunked(chunked) => {
                let fed = chunked.feed(bytes).map_err(malformed)?;
                if fed.consumed < all {
                    return Err(invalid());
                }
                let data = fed.kept - fed.trailers;
                let trailers =
                    (fed.trailers > 0).then(|| head::fields(h1::field_lines(&bytes[data..fed.kept]), bytes));
                Ok(Step { consumed: all, data: 0..data, is_end: fed.state == BodyState::Done, trailers })
            }
            BodyFraming::Tunnel => Ok(Step { consumed: all, data: 0..all, is_end: false, trailers: None }),
        }
    }

    /// Sends what there is room for now.
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
        self.moved += room as u64;
        *data = rest;
        Ok(Room::Wakeup)
    }

    /// Ends the message with trailers.
    pub(super) fn send_trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        if let State::Body { stream, .. } = &mut self.state {
            stream.send_trailers(trailers).map_err(broken)?;
        }
        self.finish();
        Ok(())
    }

    /// The last byte was sent, and the end with it.
    pub(super) fn finish(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Answered) {
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

    /// A window that is opened by a byte now and then lets a response make progress for ever. Only waiting
    /// counts: an app may be as slow as it likes.
    pub(super) fn judge_progress(&mut self, waited: Duration) -> io::Result<()> {
        self.waited += waited;
        if self.waited < limits::BODY_RATE_WINDOW {
            return Ok(());
        }
        let enough = self.moved >= ringway_model::limits::BODY_RATE_MIN * self.waited.as_secs();
        self.waited = Duration::ZERO;
        self.moved = 0;
        if enough { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }

    /// Whether the whole message was handed over.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    /// Whether the request is still to come.
    pub(super) fn is_unasked(&self) -> bool {
        matches!(self.state, State::Ask(_))
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Body { framing: BodyFraming::Tunnel, .. })
    }

    /// Ends the stream early; one that was never asked for has none to end.
    pub(super) fn reset(&mut self, reason: Reason) {
        match &mut self.state {
            State::Head(respond) => respond.send_reset(reason),
            State::Body { stream, .. } | State::Done { stream } => stream.send_reset(reason),
            State::Ask(_) | State::Answered => {}
        }
    }

    /// Ready when the peer has given the stream up.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(respond) => respond.poll_reset(cx).map(drop),
            State::Body { stream, .. } => stream.poll_reset(cx).map(drop),
            State::Ask(_) | State::Done { .. } | State::Answered => Poll::Pending,
        }
    }
}

/// What came of a part of what was written.
#[derive(Default)]
pub(super) struct Step {
    /// How much of it is settled.
    pub(super) consumed: usize,
    /// Where the bytes of the body lie that are to be sent.
    pub(super) data: Range<usize>,
    /// The message is over.
    pub(super) is_end: bool,
    pub(super) trailers: Option<HeaderMap>,
}

/// Whether the stream ends with what is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Open,
    Stream,
}

/// What the peer's window had left for what was to be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Wakeup,
    None,
}

/// What an exchange writes was judged before: this is our mistake.
fn invalid() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// The same, where a parser says what is wrong with it.
fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// The stream or its connection is over, or the crate does not take what it is given.
fn broken(error: h2::Error) -> io::Error {
    match error.is_reset() || error.is_io() || error.is_go_away() {
        true => ErrorKind::ConnectionReset.into(),
        false => io::Error::new(ErrorKind::BrokenPipe, error),
    }
}

/// What our own exchange writes was judged before, and has grown by a few lines.
const HEADS: h1::Limits =
    h1::Limits { uri_bytes_max: usize::MAX, head_bytes_max: usize::MAX, fields_max: 1024 };

#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
