//! One client connection: sequential requests, each answered before the next one is read.
//!
//! ```text
//! Idle ──byte──► Head ──► (100 Continue) ──► Body ──► Response ──keep-alive──► Idle
//!   │              └──── refused: error response, then closed, because the next request cannot be found
//!   └── idle too long, or draining: closed
//! ```
//! Every read and write has a deadline. A malformed request costs an error response and a lingering close.

use std::rc::Rc;
use std::time::Duration;

use crate::limits;
use ringway_model::Tick;
use ringway_net::{LingerLimits, PeerState, Stream, SystemClock, WriteRate, clock, linger};
use ringway_telemetry::RequestId;
use ringway_wire::h1::{
    BodyState, CHUNK_END, ChunkMode, ChunkedBody, ConnectionSignal, LAST_CHUNK, Limits, Parse, RequestError,
    RequestHead, SimpleResponse, chunk_head, write_simple_response,
};
use ringway_wire::headers::{FieldKind, push_field};
use ringway_wire::message::{Framing, Method, Version, reason_phrase};

use crate::access::{Credentials, Listener, Peer};
use crate::lists::{Pieces, Progress};
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::response::{Body, Response};
use crate::service::{Admission, Head, Service};

/// Activity of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activity {
    /// Waits for the next request.
    Idle,
    /// Reads a request.
    Receiving,
    /// Processes a request.
    Answering,
    /// Sends a response, or lingers.
    Sending,
}

/// Callbacks of a connection to its server.
pub(crate) trait Host {
    /// Reports a new activity.
    fn report(&self, activity: Activity);
    /// Whether connections close after the present response.
    fn is_draining(&self) -> bool;
}

/// Timeouts of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For one request, from its first to its last byte.
    pub(crate) request: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
}

/// Serves a connection until it ends. Connection errors are not reported.
pub(crate) async fn serve<S: Stream, P: Plane>(
    stream: Rc<S>,
    (listener, peer): (Rc<Listener>, Peer),
    service: Rc<Service<P>>,
    host: impl Host,
    timeouts: Timeouts,
) {
    let wire_limits = Limits::default();
    let mut connection = Connection {
        stream,
        listener,
        service,
        host,
        peer,
        timeouts,
        wire_limits,
        pending: Vec::with_capacity(wire_limits.head_bytes_max),
        head: RequestHead::default(),
    };
    while connection.exchange().await == Next::Request {}
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

struct Connection<S, P, H> {
    stream: Rc<S>,
    listener: Rc<Listener>,
    service: Rc<Service<P>>,
    host: H,
    peer: Peer,
    timeouts: Timeouts,
    wire_limits: Limits,
    /// Input that is not processed yet.
    pending: Vec<u8>,
    head: RequestHead,
}

/// Result of reading more bytes.
enum More {
    Bytes,
    End,
    TimedOut,
}

impl<S: Stream, P: Plane, H: Host> Connection<S, P, H> {
    /// Serves one request.
    async fn exchange(&mut self) -> Next {
        self.host.report(Activity::Idle);
        if self.host.is_draining() {
            return Next::Close;
        }
        if self.pending.is_empty() {
            let deadline = clock::now().after(self.timeouts.idle);
            if self.stream.readable(deadline).await.is_err() {
                return Next::Close;
            }
        }
        self.host.report(Activity::Receiving);
        let deadline = clock::now().after(self.timeouts.request);
        let id = self.service.draw_id();
        match self.read_head(deadline).await {
            Ok(Some(head_bytes)) => self.answer(&head_bytes, deadline, &id).await,
            Ok(None) => Next::Close,
            Err(problem) => self.refuse(&problem, &id).await,
        }
    }

    /// Reads a complete head and returns its bytes, or none when the client disconnects.
    async fn read_head(&mut self, deadline: Tick) -> Result<Option<Vec<u8>>, Problem> {
        self.head.reset();
        loop {
            match self.head.parse(&self.pending, &self.wire_limits) {
                Ok(Parse::Complete) => {
                    let rest = self.pending.split_off(self.head.len());
                    return Ok(Some(std::mem::replace(&mut self.pending, rest)));
                }
                Ok(Parse::Partial) => {}
                Err(error) => return Err(refused(error)),
            }
            match self.read_more(deadline).await {
                More::Bytes => {}
                More::TimedOut if self.head.has_begun() => return Err(too_slow()),
                More::End | More::TimedOut => return Ok(None),
            }
        }
    }

    async fn answer(&mut self, head_bytes: &[u8], deadline: Tick, id: &RequestId) -> Next {
        let wire = std::mem::take(&mut self.head);
        let next = self.answer_head(&wire, head_bytes, deadline, id).await;
        self.head = wire;
        next
    }

    async fn answer_head(
        &mut self,
        wire: &RequestHead,
        bytes: &[u8],
        deadline: Tick,
        id: &RequestId,
    ) -> Next {
        let authority = match wire.port() {
            Some(port) => format!("{}:{port}", wire.host()),
            None => wire.host().to_owned(),
        };
        let values = |name| wire.field(bytes, name).collect::<Vec<_>>();
        let head = Head {
            method: wire.method(),
            path: wire.path(bytes),
            query: wire.query(bytes),
            from: Credentials {
                host: wire.host(),
                authority: &authority,
                origin: single(wire.field(bytes, "origin")),
                fetch_site: single(wire.field(bytes, "sec-fetch-site")),
                authorization: single(wire.field(bytes, "authorization")),
                is_forwarded: [FieldKind::Via, FieldKind::Forwarded, FieldKind::XForwardedFor]
                    .into_iter()
                    .any(|kind| wire.has(kind)),
            },
            has_body: wire.framing().has_body(),
            content_type: values("content-type"),
            if_match: values("if-match"),
            idempotency_key: values("idempotency-key"),
            prefer: values("prefer"),
        };
        let admitted = match self.service.admit(&self.listener, &self.peer, &head, id) {
            Admission::Admitted(admitted) => admitted,
            Admission::Answered(response) => {
                let after = if head.has_body { After::Linger } else { After::for_client(wire) };
                return self.write(response, wire, after, id).await;
            }
        };
        let mut body = match self.read_body(wire, admitted.body_bytes_max(), deadline).await {
            Ok(Some(body)) => body,
            Ok(None) => return Next::Close,
            Err(problem) => {
                let response = self.service.refuse(admitted, problem, &self.peer, id);
                return self.write(response, wire, After::Linger, id).await;
            }
        };
        self.host.report(Activity::Answering);
        let service = Rc::clone(&self.service);
        // Peeks only: input is the next request.
        let is_wanted = || !self.host.is_draining() && self.stream.peek_state() != PeerState::Closed;
        let response = service.respond(admitted, &mut body, &self.peer, id, &is_wanted).await;
        self.write(response, wire, After::for_client(wire), id).await
    }

    /// Reads a complete body, or none when the client disconnects.
    async fn read_body(
        &mut self,
        wire: &RequestHead,
        bytes_max: usize,
        deadline: Tick,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let mut framing = match wire.framing() {
            Framing::Empty | Framing::UntilClose => return Ok(Some(Vec::new())),
            Framing::Length(length) => match usize::try_from(length) {
                Ok(left) if left <= bytes_max => Coding::Length { left },
                _ => return Err(too_large(bytes_max)),
            },
            Framing::Chunked => Coding::Chunked(ChunkedBody::new(ChunkMode::Decode)),
        };
        if wire.expects_continue() && self.pending.is_empty() {
            let pace = WriteRate::until(deadline);
            let (result, _) = self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), pace).await;
            if result.is_err() {
                return Ok(None);
            }
        }
        let mut body = Vec::new();
        loop {
            if framing.take(&mut self.pending, &mut body, bytes_max)? == BodyState::Done {
                return Ok(Some(body));
            }
            if body.len() > bytes_max {
                return Err(too_large(bytes_max));
            }
            match self.read_more(deadline).await {
                More::Bytes => {}
                More::End => return Ok(None),
                More::TimedOut => return Err(too_slow()),
            }
        }
    }

    async fn read_more(&mut self, deadline: Tick) -> More {
        let mut buf = std::mem::take(&mut self.pending);
        buf.reserve(self.wire_limits.head_bytes_max.saturating_sub(buf.len()).max(1));
        let (result, buf) = self.stream.read(buf, deadline).await;
        self.pending = buf;
        match result {
            Ok(0) => More::End,
            Ok(_) => More::Bytes,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => More::TimedOut,
            Err(_) => More::End,
        }
    }

    /// Sends an error response to a malformed request and closes the connection.
    async fn refuse(&mut self, problem: &Problem, id: &RequestId) -> Next {
        let response = Response::problem(problem, id);
        self.write_as(response, Method::Get, Version::Http11, After::Linger, id).await
    }

    async fn write(&mut self, response: Response, wire: &RequestHead, after: After, id: &RequestId) -> Next {
        self.write_as(response, wire.method(), wire.version(), after, id).await
    }

    async fn write_as(
        &mut self,
        response: Response,
        method: Method,
        version: Version,
        after: After,
        id: &RequestId,
    ) -> Next {
        self.host.report(Activity::Sending);
        let after = if self.host.is_draining() && after == After::Keep { After::Close } else { after };
        let Response { status, fields, body } = response;
        let fields = field_lines(&fields, id);
        let is_head = method == Method::Head;
        let signal = ConnectionSignal::for_client(version, after == After::Keep);
        let simple = |content_type: &str, body: &[u8]| {
            let mut out = Vec::new();
            let response =
                SimpleResponse { status, connection: signal, fields: &fields, content_type, body, is_head };
            write_simple_response(&mut out, &response);
            out
        };
        let (is_written, after) = match body {
            Body::Empty => (self.send(simple("", b"")).await, after),
            Body::Whole(content_type, bytes) => (self.send(simple(content_type, &bytes)).await, after),
            Body::Pieces(mut pieces) => {
                let mut first = Vec::new();
                match pieces.write(&mut first) {
                    Progress::Done => (self.send(simple("application/json", &first)).await, after),
                    Progress::More => {
                        // For an HTTP/1.0 client the end of the connection ends a body of unknown length.
                        let after = if version == Version::Http10 { After::Close } else { after };
                        let head = long_head(status, &fields, version, after);
                        let rest = if is_head { None } else { Some((first, pieces)) };
                        (self.send_pieces(head, rest, version).await, after)
                    }
                }
            }
        };
        if !is_written {
            return Next::Close;
        }
        match after {
            After::Keep => Next::Request,
            After::Close => Next::Close,
            After::Linger => {
                self.pending = Vec::new();
                linger(&*self.stream, LingerLimits::UPLOAD, &SystemClock).await;
                Next::Close
            }
        }
    }

    /// Sends a response in pieces, each one after the previous one was written.
    async fn send_pieces(&self, head: Vec<u8>, rest: Option<(Vec<u8>, Pieces)>, version: Version) -> bool {
        let Some((mut data, mut pieces)) = rest else { return self.send(head).await };
        let mut out = head;
        let mut progress = Progress::More;
        loop {
            push_piece(&mut out, &data, version);
            if progress == Progress::Done && version == Version::Http11 {
                out.extend_from_slice(LAST_CHUNK);
            }
            if !self.send(std::mem::take(&mut out)).await {
                return false;
            }
            if progress == Progress::Done {
                return true;
            }
            data.clear();
            progress = pieces.write(&mut data);
        }
    }

    async fn send(&self, bytes: Vec<u8>) -> bool {
        self.stream.write_all(bytes, WriteRate::stall(limits::API_WRITE_TIMEOUT)).await.0.is_ok()
    }
}

/// Treatment of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Keep,
    Close,
    /// Lingering close: input is read for a while, so that a reset does not destroy the response.
    Linger,
}

impl After {
    fn for_client(wire: &RequestHead) -> Self {
        if wire.keep_alive() { Self::Keep } else { Self::Close }
    }
}

/// Framing of a body.
enum Coding {
    Length { left: usize },
    Chunked(ChunkedBody),
}

impl Coding {
    /// Moves bytes of the body.
    fn take(
        &mut self,
        pending: &mut Vec<u8>,
        body: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<BodyState, Problem> {
        match self {
            Self::Length { left } => {
                let count = pending.len().min(*left);
                body.extend(pending.drain(..count));
                *left -= count;
                Ok(if *left == 0 { BodyState::Done } else { BodyState::More })
            }
            Self::Chunked(chunked) => {
                let fed = chunked.feed(pending).map_err(|error| {
                    Problem::new(Kind::BadRequest, format!("the chunked body is broken: {error}"))
                })?;
                body.extend_from_slice(&pending[..fed.kept]);
                pending.drain(..fed.consumed);
                match body.len() > bytes_max {
                    true => Err(too_large(bytes_max)),
                    false => Ok(fed.state),
                }
            }
        }
    }
}

/// Returns the only value of a field; a repeated field counts as an empty value.
fn single<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let first = values.next()?;
    match values.next() {
        None => Some(first),
        Some(_) => Some(b""),
    }
}

/// Serialises the header fields of a response, including the common ones.
fn field_lines(fields: &[(&'static str, String)], id: &RequestId) -> Vec<u8> {
    let mut lines = Vec::with_capacity(256);
    let common = [
        ("Date", clock::timestamp().to_http_date()),
        ("X-Request-ID", id.to_string()),
        // Responses change at any moment and must not be in shared caches.
        ("Cache-Control", "no-store".to_owned()),
        ("X-Content-Type-Options", "nosniff".to_owned()),
    ];
    for (name, value) in common.iter().chain(fields) {
        let pushed = push_field(&mut lines, name, value.as_bytes());
        debug_assert!(pushed.is_ok(), "values of our own fields are clean: {name}");
    }
    lines
}

/// Serialises the head of a response of unknown length.
fn long_head(status: u16, fields: &[u8], version: Version, after: After) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).into_bytes();
    out.extend_from_slice(b"Content-Type: application/json\r\n");
    out.extend_from_slice(fields);
    if version == Version::Http11 {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if after != After::Keep {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn push_piece(out: &mut Vec<u8>, data: &[u8], version: Version) {
    // An empty chunk would be the last one.
    if version == Version::Http10 || data.is_empty() {
        out.extend_from_slice(data);
        return;
    }
    out.extend_from_slice(&chunk_head(data.len()));
    out.extend_from_slice(data);
    out.extend_from_slice(CHUNK_END);
}

fn refused(error: RequestError) -> Problem {
    let kind = match error.status() {
        414 => Kind::UriTooLong,
        417 => Kind::Expectation,
        431 => Kind::HeadTooLarge,
        505 => Kind::Version,
        501 => Kind::UnknownMethod,
        _ => Kind::BadRequest,
    };
    Problem::new(kind, format!("the request is refused: {error}"))
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Kind::TooLarge, format!("the body may have at most {bytes_max} bytes"))
}

fn too_slow() -> Problem {
    Problem::new(Kind::Timeout, "the request did not arrive in time")
}
