//! A stream of HTTP/2 as a [`Stream`] whose bytes are HTTP/1.1, so that exchanges run over it unchanged.
//!
//! ```text
//! read:   text of the head │ DATA as they are, or in chunks │ trailers behind the last chunk │ end
//! write:  heads ──► HEADERS (interim ones, then the final one)     101 ──► 200 (RFC 8441)
//!         body  ──► DATA, as the peer's window allows;  trailers ──► HEADERS;  END_STREAM with the last of it
//! abort:  RST_STREAM, so that a cut body never looks complete
//! ```
//! Towards an endpoint it is the mirror image: the request is written, and the response read.
//!
//! What an exchange writes has a known shape, which is relied on: a head comes in one write, and the coding of a chunk
//! is never cut. Anything else is our mistake, and resets the stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use ringway_model::{Tick, limits};
use ringway_net::{Pace, PeerState, Stream, Waits, clock};
use ringway_wire::h1::{self, BodyState, ChunkMode, ChunkedBody, Field, Parse, RequestHead, ResponseHead};
use ringway_wire::headers::{FieldKind, HOP_BY_HOP, push_field};
use ringway_wire::message::{Framing, Method};

use super::client::Lease;
use super::head::{self, Body, Coding};

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
        (peer, local): (Option<SocketAddr>, Option<SocketAddr>),
    ) -> io::Result<Self> {
        Ok(Self {
            waits: Waits::new()?,
            inbound: RefCell::new(Inbound::new(Source::Body(body))),
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
            inbound: RefCell::new(Inbound::new(Source::Nothing)),
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
        let mut inbound = self.inbound.borrow_mut();
        inbound.left = length;
        inbound.begin(coding);
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

    /// Whether the whole response was handed over.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.outbound.borrow().state, State::Done { .. })
    }

    /// Ends the stream early.
    pub(crate) fn reset(&self, reason: Reason) {
        match &mut self.outbound.borrow_mut().state {
            State::Head(respond) => respond.send_reset(reason),
            State::Body { stream, .. } | State::Done { stream } => stream.send_reset(reason),
            State::Ask(_) | State::Answered => {}
        }
    }

    async fn write(&self, buf: &mut [u8], pace: Pace) -> io::Result<()> {
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
        let framing = match &mut outbound.state {
            State::Head(_) => {
                return outbound.send_head(bytes, self.method.get(), &mut self.heads.borrow_mut());
            }
            State::Ask(_) => {
                let (step, method, answer) = outbound.send_request(bytes)?;
                self.method.set(method);
                self.inbound.borrow_mut().expect(answer, method);
                return Ok(step);
            }
            State::Body { framing, .. } => framing,
            State::Answered | State::Done { .. } => return Err(ErrorKind::InvalidData.into()),
        };
        let all = bytes.len();
        match framing {
            BodyFraming::Length(left) => {
                if all as u64 > *left {
                    return Err(ErrorKind::InvalidData.into());
                }
                *left -= all as u64;
                Ok(Step { consumed: all, data: 0..all, is_end: *left == 0, trailers: None })
            }
            BodyFraming::Chunked(chunked) => {
                let fed =
                    chunked.feed(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
                if fed.consumed < all {
                    return Err(ErrorKind::InvalidData.into());
                }
                let data = fed.kept - fed.trailers;
                let trailers =
                    (fed.trailers > 0).then(|| fields(h1::field_lines(&bytes[data..fed.kept]), bytes));
                Ok(Step { consumed: all, data: 0..data, is_end: fed.state == BodyState::Done, trailers })
            }
            BodyFraming::Tunnel => Ok(Step { consumed: all, data: 0..all, is_end: false, trailers: None }),
        }
    }

    /// Sends data as the peer's window allows.
    async fn send(&self, mut data: &[u8], end: End, pace: Pace) -> io::Result<()> {
        loop {
            let room = self.outbound.borrow_mut().send_some(&mut data, end)?;
            if data.is_empty() {
                return Ok(());
            }
            if room == Room::Left {
                continue;
            }
            let begun = clock::now();
            let deadline = match pace.stall {
                Duration::MAX => pace.deadline,
                stall => pace.deadline.min(begun.after(stall)),
            };
            self.waits.write(deadline, |cx| self.outbound.borrow_mut().poll_room(cx)).await?;
            self.outbound.borrow_mut().judge_progress(clock::now().since(begun))?;
        }
    }
}

/// What came of a part of what was written.
struct Step {
    consumed: usize,
    data: Range<usize>,
    is_end: bool,
    trailers: Option<HeaderMap>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Stream,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Left,
    None,
}

/// What the client sends, on its way to the exchange.
struct Inbound {
    source: Source,
    /// Of the request that a response answers.
    method: Method,
    coding: Coding,
    /// Coding that is to be handed on before `data`.
    text: Vec<u8>,
    text_at: usize,
    data: Bytes,
    /// A chunk's end follows `data`.
    in_chunk: bool,
    /// How much of a request's body is still to be handed on, where its head says how long it is.
    left: Option<u64>,
    /// The last of such a body, kept until the stream has ended with it: more DATA make the request malformed (RFC 9113 §8.1.1),
    /// and nobody behind us must take it for whole before that is known.
    last: Bytes,
    end: Option<InboundEnd>,
    /// The peer did on this stream what none may.
    is_foul: bool,
}

enum Source {
    /// The request was not sent yet.
    Nothing,
    /// The response is still to come.
    Answer(ResponseFuture),
    Body(RecvStream),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InboundEnd {
    Ended,
    Failed(ErrorKind),
}

impl Inbound {
    fn new(source: Source) -> Self {
        Self {
            source,
            method: Method::Get,
            coding: Coding::Plain,
            text: Vec::new(),
            text_at: 0,
            data: Bytes::new(),
            in_chunk: false,
            left: None,
            last: Bytes::new(),
            end: None,
            is_foul: false,
        }
    }

    /// What comes is the answer to a request with this method.
    fn expect(&mut self, answer: ResponseFuture, method: Method) {
        self.source = Source::Answer(answer);
        self.method = method;
    }

    fn look(&mut self, cx: &mut Context<'_>) -> Body {
        let Source::Body(body) = &mut self.source else { return Body::Coming };
        if self.data.is_empty() && self.end.is_none() && !body.is_end_stream() {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.data = data,
                Poll::Ready(Some(Err(error))) => {
                    self.end = Some(InboundEnd::Failed(ErrorKind::ConnectionReset));
                    self.is_foul = error.is_library();
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        match (body.is_end_stream(), self.data.len()) {
            (true, 0) => Body::None,
            (true, bytes) => Body::Whole(bytes),
            (false, _) => Body::Coming,
        }
    }

    fn begin(&mut self, coding: Coding) {
        self.coding = coding;
        let data = std::mem::take(&mut self.data);
        self.take_data(data);
    }

    fn take_data(&mut self, data: Bytes) {
        if let Some(left) = &mut self.left {
            // The crate resets the stream before it hands out more than was told.
            *left = left.saturating_sub(data.len() as u64);
            let is_open = matches!(&self.source, Source::Body(body) if !body.is_end_stream());
            if *left == 0 && is_open {
                // What follows an end that was kept is empty.
                if !data.is_empty() {
                    self.last = data;
                }
                return;
            }
        }
        if !data.is_empty() && self.coding == Coding::Chunks {
            self.push_text(&h1::chunk_head(data.len()));
            self.in_chunk = true;
        }
        self.data = data;
    }

    /// Text that follows what is there of it.
    fn push_text(&mut self, text: &[u8]) {
        if self.text_at == self.text.len() {
            self.text.clear();
            self.text_at = 0;
        }
        self.text.extend_from_slice(text);
    }

    /// Fills the spare capacity of `buf`; 0 is the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let before = buf.len();
        loop {
            self.copy(buf);
            let count = buf.len() - before;
            if buf.len() == buf.capacity() {
                return Poll::Ready(Ok(count));
            }
            match self.end {
                None => {}
                Some(InboundEnd::Failed(kind)) if count == 0 => return Poll::Ready(Err(kind.into())),
                Some(_) => return Poll::Ready(Ok(count)),
            }
            if self.poll_more(cx).is_pending() {
                return if count > 0 { Poll::Ready(Ok(count)) } else { Poll::Pending };
            }
        }
    }

    /// Copies what is there, and opens the window by it.
    fn copy(&mut self, buf: &mut Vec<u8>) {
        loop {
            let text = &self.text[self.text_at..];
            let part = &text[..text.len().min(buf.capacity() - buf.len())];
            buf.extend_from_slice(part);
            self.text_at += part.len();
            if self.text_at < self.text.len() {
                return;
            }
            let count = self.data.len().min(buf.capacity() - buf.len());
            if count > 0 {
                buf.extend_from_slice(&self.data[..count]);
                self.data.advance(count);
                if let Source::Body(body) = &mut self.source {
                    // It fails only for more than was received.
                    let _ = body.flow_control().release_capacity(count);
                }
            }
            if !self.data.is_empty() || !std::mem::take(&mut self.in_chunk) {
                return;
            }
            self.push_text(h1::CHUNK_END);
        }
    }

    /// Takes the head of a response, the next DATA, the trailers, or the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let body = match &mut self.source {
            Source::Nothing => return Poll::Pending,
            Source::Answer(answer) => {
                let answer = ready!(poll_answer(answer, cx));
                self.take_answer(answer, cx);
                return Poll::Ready(());
            }
            Source::Body(body) => body,
        };
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => self.take_data(data),
            Some(Err(error)) => self.fail(&error, ErrorKind::ConnectionReset),
            None => match ready!(body.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.end = Some(InboundEnd::Ended);
                    if !self.last.is_empty() {
                        self.data = std::mem::take(&mut self.last);
                    }
                    if self.coding == Coding::Chunks {
                        self.end_chunks(trailers.as_ref());
                    }
                }
                Err(error) => self.fail(&error, ErrorKind::ConnectionReset),
            },
        }
        Poll::Ready(())
    }

    fn take_answer(&mut self, answer: Result<Answer, h2::Error>, cx: &mut Context<'_>) {
        let (parts, body) = match answer {
            Ok(Answer::Interim(parts)) => (parts, Body::None),
            Ok(Answer::Final(parts, body)) => {
                self.source = Source::Body(body);
                (parts, self.look(cx))
            }
            Err(error) => return self.fail(&error, unanswered(&error)),
        };
        let mut text = Vec::with_capacity(limits::H2_RESPONSE_HEAD_BYTES);
        let coding = head::write_response(&mut text, &parts, body, self.method);
        self.push_text(&text);
        if !parts.status.is_informational() {
            self.begin(coding);
        }
    }

    fn fail(&mut self, error: &h2::Error, kind: ErrorKind) {
        self.end = Some(InboundEnd::Failed(kind));
        self.is_foul = error.is_library();
    }

    /// The last chunk, with trailers: which of them may pass is the exchange's business.
    fn end_chunks(&mut self, trailers: Option<&HeaderMap>) {
        self.push_text(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            // One that is no field of HTTP/1.1 is left out, as every recipient may (RFC 9110 §6.5.1).
            let _ = push_field(&mut self.text, name.as_str(), value.as_bytes());
        }
        self.text.extend_from_slice(b"\r\n");
    }
}

/// What an endpoint says.
enum Answer {
    Interim(http::response::Parts),
    Final(http::response::Parts, RecvStream),
}

fn poll_answer(answer: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Result<Answer, h2::Error>> {
    if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
        return Poll::Ready(interim.map(|response| Answer::Interim(response.into_parts().0)));
    }
    let response = ready!(Pin::new(answer).poll(cx));
    Poll::Ready(response.map(|response| {
        let (parts, body) = response.into_parts();
        Answer::Final(parts, body)
    }))
}

/// What the exchange sends, on its way to the peer.
struct Outbound {
    state: State,
    lease: Option<Lease>,
    /// Time spent waiting for the peer's window, and bytes sent meanwhile.
    waited: Duration,
    moved: u64,
}

enum State {
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

enum BodyFraming {
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
    /// Counts the stream while it lives.
    pub(crate) lease: Lease,
}

impl Outbound {
    fn new(state: State) -> Self {
        Self { state, lease: None, waited: Duration::ZERO, moved: 0 }
    }

    fn send_request(&mut self, bytes: &[u8]) -> io::Result<(Step, Method, ResponseFuture)> {
        let invalid = || io::Error::from(ErrorKind::InvalidData);
        let State::Ask(ask) = std::mem::replace(&mut self.state, State::Answered) else {
            return Err(invalid());
        };
        let Ask { mut send, heads, scheme, lease } = *ask;
        self.lease = Some(lease);
        let head = &mut *heads.borrow_mut();
        head.reset();
        if head.parse(bytes, &HEADS).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?
            == Parse::Partial
        {
            return Err(invalid());
        }
        let consumed = head.len();
        let request = head::request(head, &bytes[..consumed], scheme).ok_or_else(invalid)?;
        let (mut parts, ()) = request.into_parts();
        parts.headers.extend(fields(head.fields(bytes), &bytes[..consumed]));
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
        self.state = match framing {
            Some(framing) => State::Body { stream, framing },
            None => State::Done { stream },
        };
        Ok((Step { consumed, data: 0..0, is_end: false, trailers: None }, head.method(), answer))
    }

    fn send_head(&mut self, bytes: &[u8], method: Method, head: &mut ResponseHead) -> io::Result<Step> {
        let invalid = |_| io::Error::from(ErrorKind::InvalidData);
        head.reset();
        if head.parse(bytes, method, &HEADS).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?
            == Parse::Partial
        {
            return Err(ErrorKind::InvalidData.into());
        }
        let consumed = head.len();
        let step = Step { consumed, data: 0..0, is_end: false, trailers: None };
        let is_tunnel = head.status() == 101;
        let mut response = Response::new(());
        let status = if is_tunnel { 200 } else { head.status() };
        *response.status_mut() =
            StatusCode::from_u16(status).map_err(|_| io::Error::from(ErrorKind::InvalidData))?;
        *response.headers_mut() = fields(head.fields(bytes), &bytes[..consumed]);
        if let Some(length) = head.content_length() {
            response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
        }
        let State::Head(respond) = &mut self.state else { return Err(ErrorKind::InvalidData.into()) };
        if head.is_interim() {
            respond.send_informational(response).map_err(broken)?;
            return Ok(step);
        }
        let framing = match head.framing() {
            _ if is_tunnel => Some(BodyFraming::Tunnel),
            Framing::Empty | Framing::Length(0) => None,
            Framing::Length(length) => Some(BodyFraming::Length(length)),
            Framing::Chunked => Some(BodyFraming::Chunked(ChunkedBody::new(ChunkMode::Separate))),
            Framing::UntilClose => return Err(invalid(())),
        };
        let stream = respond.send_response(response, framing.is_none()).map_err(broken)?;
        self.state = match framing {
            Some(framing) => State::Body { stream, framing },
            None => State::Done { stream },
        };
        Ok(step)
    }

    /// Sends what there is room for now.
    fn send_some(&mut self, data: &mut &[u8], end: End) -> io::Result<Room> {
        let State::Body { stream, .. } = &mut self.state else { return Err(ErrorKind::InvalidData.into()) };
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
        Ok(Room::Left)
    }

    fn send_trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        if let State::Body { stream, .. } = &mut self.state {
            stream.send_trailers(trailers).map_err(broken)?;
        }
        self.finish();
        Ok(())
    }

    fn finish(&mut self) {
        self.state = match std::mem::replace(&mut self.state, State::Answered) {
            State::Body { stream, .. } => State::Done { stream },
            state => state,
        };
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Body { stream, .. } = &mut self.state else {
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        };
        match ready!(stream.poll_capacity(cx)) {
            Some(Ok(_)) => Poll::Ready(Ok(())),
            Some(Err(error)) => Poll::Ready(Err(broken(error))),
            None => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    /// A window that is opened by a byte now and then lets a response make progress for ever. Only waiting counts: an
    /// app may be as slow as it likes.
    fn judge_progress(&mut self, waited: Duration) -> io::Result<()> {
        self.waited += waited;
        if self.waited < limits::BODY_RATE_WINDOW {
            return Ok(());
        }
        let enough = self.moved >= limits::BODY_RATE_MIN * self.waited.as_secs();
        self.waited = Duration::ZERO;
        self.moved = 0;
        if enough { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
    }

    /// Ready when the peer has given the stream up.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Head(respond) => respond.poll_reset(cx).map(drop),
            State::Body { stream, .. } => stream.poll_reset(cx).map(drop),
            State::Ask(_) | State::Done { .. } | State::Answered => Poll::Pending,
        }
    }
}

/// The fields of a head or of trailers as HTTP/2 has them: without those that mean something on one connection only
/// (RFC 9113 §8.2.2). `bytes` are what they are slices of.
fn fields<'a>(lines: impl Iterator<Item = Field<'a>>, bytes: &[u8]) -> HeaderMap {
    let shared = Bytes::copy_from_slice(bytes);
    let base = bytes.as_ptr() as usize;
    let mut map = HeaderMap::with_capacity(FIELDS_EXPECTED);
    for field in lines {
        // The handshake's answer is a status here, and the host a pseudo-field.
        let is_told_otherwise = matches!(field.kind, FieldKind::SecWebSocketAccept | FieldKind::Host);
        if HOP_BY_HOP.has(field.kind) || is_told_otherwise {
            continue;
        }
        let start = field.value.as_ptr() as usize - base;
        let value = shared.slice(start..start + field.value.len());
        // The parser has judged both; what the types of the crate do not take is left out.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_maybe_shared(value))
        {
            let _ = map.try_append(name, value);
        }
    }
    map
}

/// Why an endpoint gave no answer: it says that it took nothing (RFC 9113 §6.8, §8.7), it gave up this request only, or the
/// connection is over.
fn unanswered(error: &h2::Error) -> ErrorKind {
    let is_refused = error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM);
    match error.is_reset() || error.is_go_away() {
        true if error.is_remote() && is_refused => TOOK_NOTHING,
        true if error.is_reset() => GAVE_UP,
        _ => ErrorKind::ConnectionReset,
    }
}

/// The error of a read from an endpoint that has done nothing with the request, and says so.
pub(crate) const TOOK_NOTHING: ErrorKind = ErrorKind::ConnectionRefused;
/// The error of an endpoint that gave this request up, and this one only: it may have acted on it.
pub(crate) const GAVE_UP: ErrorKind = ErrorKind::ConnectionAborted;

fn broken(error: h2::Error) -> io::Error {
    match error.is_reset() || error.is_io() || error.is_go_away() {
        true => ErrorKind::ConnectionReset.into(),
        false => io::Error::new(ErrorKind::BrokenPipe, error),
    }
}

impl Stream for H2Stream {
    async fn read(&self, mut buf: Vec<u8>, deadline: Tick) -> (io::Result<usize>, Vec<u8>) {
        if buf.len() == buf.capacity() {
            return (Err(ErrorKind::InvalidInput.into()), buf);
        }
        let read = self.waits.read(deadline, |cx| self.inbound.borrow_mut().poll_fill(cx, &mut buf)).await;
        if let (Err(error), Some(lease)) = (&read, &self.outbound.borrow().lease) {
            if error.kind() == TOOK_NOTHING {
                lease.note_refused();
            } else if self.inbound.borrow().is_foul {
                lease.note_foul();
            }
        }
        (read, buf)
    }

    async fn write_all_range(
        &self,
        mut buf: Vec<u8>,
        range: Range<usize>,
        pace: Pace,
    ) -> (io::Result<()>, Vec<u8>) {
        let is_request = matches!(self.outbound.borrow().state, State::Ask(_));
        let mut written = match buf.get_mut(range) {
            Some(part) => self.write(part, pace).await,
            None => Err(ErrorKind::InvalidInput.into()),
        };
        if is_request
            && let Err(error) = &mut written
            && !matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted)
            && !matches!(self.inbound.borrow().source, Source::Nothing)
        {
            // The head went out, and there may be an answer to it.
            *error = GAVE_UP.into();
        }
        (written, buf)
    }

    async fn readable(&self, deadline: Tick) -> io::Result<()> {
        self.waits
            .read(deadline, |cx| {
                let mut inbound = self.inbound.borrow_mut();
                let is_ready =
                    inbound.text_at < inbound.text.len() || !inbound.data.is_empty() || inbound.end.is_some();
                if is_ready { Poll::Ready(Ok(())) } else { inbound.poll_more(cx).map(Ok) }
            })
            .await
    }

    fn peek_state(&self) -> PeerState {
        let inbound = self.inbound.borrow();
        if self.is_gone.get() || matches!(inbound.end, Some(InboundEnd::Failed(_))) {
            PeerState::Closed
        } else if inbound.data.is_empty() {
            PeerState::Idle
        } else {
            PeerState::HasData
        }
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
        let is_tunnel =
            matches!(self.outbound.borrow().state, State::Body { framing: BodyFraming::Tunnel, .. });
        if is_tunnel {
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

/// What our own exchange writes was judged before, and has grown by a few lines.
const HEADS: h1::Limits =
    h1::Limits { uri_bytes_max: usize::MAX, head_bytes_max: usize::MAX, fields_max: 1024 };

/// Fields of a usual response.
const FIELDS_EXPECTED: usize = 16;

#[cfg(test)]
mod tests;
