//! The `HttpClient` of `instant-acme`: its requests cross to a task on this thread, which speaks HTTP/1.1 over TLS.
//!
//! The futures of `instant-acme` must be `Send`, those of our runtime are not: hence the task, and a queue with a lock that
//! nobody ever waits for, since both ends are on one thread.
//!
//! What `instant-acme` keeps to itself, the status and `Retry-After` of each answer, is noted in [`ResponseMeta`] at the moment
//! at which the answer is handed on: in the very poll in which the caller goes on, so that no other order's answer can
//! come in between.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::limits::{
    ACME_CONNECT_TIMEOUT, ACME_CONNECTIONS_IDLE_MAX, ACME_IDLE_TIMEOUT, ACME_REQUEST_TIMEOUT,
    ACME_REQUESTS_WAITING_MAX, ACME_RESPONSE_BYTES_MAX,
};
use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use ringway_model::limits::HEAD_BUFFER_BYTES;
use ringway_model::{Tick, Timestamp};
use ringway_net::tls::{TlsError, TlsStream, connect_tls};
use ringway_net::{PeerState, Stream, TcpStream, WriteRate, clock, connect, resolve, spawn};
use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody, Limits, Parse, ResponseHead};
use ringway_wire::headers::is_field_value;
use ringway_wire::message::{Framing, Method};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// Requests to one CA. Clones are the same; to be used on the thread of [`Client::start`] only.
#[derive(Clone)]
pub(crate) struct Client(Arc<Shared>);

struct Shared {
    jobs: Mutex<Jobs>,
    answered: Mutex<ResponseMeta>,
}

/// What `instant-acme` does not tell of the answer that it was last handed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseMeta {
    /// 0: there was none.
    pub(crate) status: u16,
    /// How long the CA wants to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Whether a nonce was asked for, on the way to something else.
    pub(crate) is_nonce_request: bool,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    waker: Option<Waker>,
}

struct Job {
    request: http::Request<BodyWrapper<Bytes>>,
    reply: ReplySender,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The URL is none that is spoken to: `https`, or `http` to this machine itself.
    Url(String),
    /// Too many requests wait already.
    Busy,
    /// The name of the CA has no address.
    Resolve(io::Error),
    /// No connection.
    Connect(io::Error),
    /// No TLS connection; a certificate that is not trusted, most likely. As text: the error can hold a connection, which
    /// must not leave its thread.
    Tls(String),
    /// The connection failed, or the CA was too slow.
    Io(io::Error),
    /// What came is no HTTP, or more than an answer may have.
    Answer(&'static str),
    /// Our own task has ended.
    Gone,
}

impl Client {
    /// Begins the task that does the work. It ends with the last clone.
    pub(crate) fn start(tls: Arc<ClientConfig>) -> Self {
        let shared = Arc::new(Shared {
            jobs: Mutex::new(Jobs::default()),
            answered: Mutex::new(ResponseMeta::default()),
        });
        let pool = Rc::new(Pool { tls, idle: RefCell::default() });
        let weak = Arc::downgrade(&shared);
        let next = poll_fn(move |cx| {
            let Some(shared) = weak.upgrade() else { return Poll::Ready(None) };
            let mut jobs = lock(&shared.jobs);
            match jobs.waiting.pop_front() {
                Some(job) => Poll::Ready(Some(job)),
                None => {
                    jobs.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        });
        spawn(serve(next, pool), log_panic);
        Self(shared)
    }

    /// What is known of the answer that this task was just handed. To be called before anything else is awaited.
    pub(crate) fn last_response(&self) -> ResponseMeta {
        lock(&self.0.answered).clone()
    }

    /// Fetches a document without a signature.
    pub(crate) async fn get(&self, url: &str) -> Result<(u16, Bytes), Error> {
        let request = http::Request::builder()
            .uri(url)
            .header(http::header::ACCEPT, "*/*")
            .body(BodyWrapper::default());
        let mut response = self.request(request?).await?;
        let body = response.body.into_bytes().await.map_err(Error::Other)?;
        Ok((response.parts.status.as_u16(), body))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The task finds that nobody is left.
        if let Some(waker) = lock(&self.jobs).waker.take() {
            waker.wake();
        }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (sender, receiver) = reply();
        // RFC 8555 §7.2: nothing else is asked for by this method.
        let is_nonce_request = request.method() == http::Method::HEAD;
        let mut jobs = lock(&self.0.jobs);
        if jobs.waiting.len() >= ACME_REQUESTS_WAITING_MAX {
            return Box::pin(async { Err(Error::Other(Box::new(TransportError::Busy))) });
        }
        jobs.waiting.push_back(Job { request, reply: sender });
        if let Some(waker) = jobs.waker.take() {
            waker.wake();
        }
        drop(jobs);
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let answer = receiver.await;
            // Nothing is awaited from here to the caller's own code.
            let mut answered = lock(&shared.answered);
            match answer {
                Ok(answer) => {
                    let status = answer.parts.status.as_u16();
                    *answered = ResponseMeta { status, retry_after: answer.retry_after, is_nonce_request };
                    Ok(BytesResponse { parts: answer.parts, body: Box::new(answer.body) })
                }
                Err(error) => {
                    *answered = ResponseMeta { is_nonce_request, ..ResponseMeta::default() };
                    Err(Error::Other(Box::new(error)))
                }
            }
        })
    }
}

/// A lock that nobody holds across anything: a panic elsewhere has not left half of a change behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// --- One answer, from task to task --------------------------------------------------------------------------

struct Answer {
    parts: http::response::Parts,
    body: Bytes,
    retry_after: Option<Duration>,
}

#[derive(Default)]
struct Reply {
    answer: Option<Result<Answer, TransportError>>,
    waker: Option<Waker>,
}

struct ReplySender(Option<Arc<Mutex<Reply>>>);

fn reply() -> (ReplySender, impl Future<Output = Result<Answer, TransportError>> + Send + 'static) {
    let shared = Arc::new(Mutex::new(Reply::default()));
    let receiver = Arc::clone(&shared);
    let future = poll_fn(move |cx| {
        let mut reply = lock(&receiver);
        match reply.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                reply.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    });
    (ReplySender(Some(shared)), future)
}

impl ReplySender {
    fn send(mut self, answer: Result<Answer, TransportError>) {
        self.settle(answer);
    }

    fn settle(&mut self, answer: Result<Answer, TransportError>) {
        let Some(shared) = self.0.take() else { return };
        let mut reply = lock(&shared);
        reply.answer = Some(answer);
        if let Some(waker) = reply.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for ReplySender {
    /// A task that panicked leaves nobody waiting.
    fn drop(&mut self) {
        self.settle(Err(TransportError::Gone));
    }
}

// --- The task ------------------------------------------------------------------------------------------------

async fn serve<F>(mut next: F, pool: Rc<Pool>)
where
    F: Future<Output = Option<Job>> + Unpin,
{
    // Bounded by the queue: what was taken from it ends at its own deadline.
    while let Some(job) = poll_fn(|cx| Pin::new(&mut next).poll(cx)).await {
        let pool = Rc::clone(&pool);
        spawn(
            async move {
                let Job { request, reply } = job;
                let answer = pool.request(request).await;
                reply.send(answer);
            },
            log_panic,
        );
    }
}

fn log_panic(panic: ringway_net::PanicMessage) {
    tracing::error!(?panic, "a request to the CA panicked");
}

/// Connections that wait for the next request.
struct Pool {
    tls: Arc<ClientConfig>,
    idle: RefCell<HashMap<Origin, Vec<Idle>>>,
}

struct Idle {
    link: Link,
    since: Tick,
}

enum Link {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Origin {
    is_tls: bool,
    host: String,
    port: u16,
}

/// What came back.
struct Raw {
    head: http::response::Parts,
    body: Vec<u8>,
    is_reusable: bool,
}

impl Pool {
    async fn request(&self, request: http::Request<BodyWrapper<Bytes>>) -> Result<Answer, TransportError> {
        let deadline = clock::now().after(ACME_REQUEST_TIMEOUT);
        let (parts, body) = request.into_parts();
        // The crate hands out the bytes of a response only.
        let mut body = BytesResponse::from(http::Response::new(body)).body;
        let body = body.into_bytes().await.map_err(|_| TransportError::Answer("a request has no body"))?;
        let origin = Origin::of(&parts.uri)?;
        let method = if parts.method == http::Method::HEAD { Method::Head } else { Method::Post };
        let bytes = write_request(&parts, &origin, &body)?;
        // A kept connection may have been closed by the CA a moment ago, and any may break when the CA, or what is before
        // it, is restarted. Nonces make it safe to ask again: what the CA did see it does not do twice.
        let first = match self.take(&origin) {
            Some(link) => Ok(link),
            None => self.connect(&origin, deadline).await,
        };
        let first = match first {
            Ok(link) => self.ask(link, &origin, bytes.clone(), method, deadline).await,
            Err(error) => Err(error),
        };
        match first {
            Err(TransportError::Io(error)) if error.kind() != ErrorKind::TimedOut => {}
            answer => return answer,
        }
        let link = self.connect(&origin, deadline).await?;
        self.ask(link, &origin, bytes, method, deadline).await
    }

    fn take(&self, origin: &Origin) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(origin)?;
        let now = clock::now();
        while let Some(Idle { link, since }) = links.pop() {
            let is_open = match &link {
                Link::Plain(stream) => stream.peek_state() == PeerState::Idle,
                Link::Tls(stream) => stream.peek_state() == PeerState::Idle,
            };
            if is_open && now.since(since) < ACME_IDLE_TIMEOUT {
                return Some(link);
            }
        }
        idle.remove(origin);
        None
    }

    fn keep(&self, origin: &Origin, link: Link) {
        let now = clock::now();
        let mut idle = self.idle.borrow_mut();
        let links = idle.entry(origin.clone()).or_default();
        links.retain(|idle| now.since(idle.since) < ACME_IDLE_TIMEOUT);
        if links.len() < ACME_CONNECTIONS_IDLE_MAX {
            links.push(Idle { link, since: now });
        }
    }

    async fn ask(
        &self,
        link: Link,
        origin: &Origin,
        bytes: Vec<u8>,
        method: Method,
        deadline: Tick,
    ) -> Result<Answer, TransportError> {
        let raw = match &link {
            Link::Plain(stream) => exchange(stream, bytes, method, deadline).await?,
            Link::Tls(stream) => exchange(&**stream, bytes, method, deadline).await?,
        };
        if raw.is_reusable {
            self.keep(origin, link);
        }
        let retry_after = raw
            .head
            .headers
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, clock::timestamp()));
        Ok(Answer { parts: raw.head, body: raw.body.into(), retry_after })
    }

    async fn connect(&self, origin: &Origin, deadline: Tick) -> Result<Link, TransportError> {
        let deadline = deadline.min(clock::now().after(ACME_CONNECT_TIMEOUT));
        let addresses = match origin.host.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, origin.port)],
            Err(_) => resolve(&origin.host, origin.port, deadline).await.map_err(TransportError::Resolve)?,
        };
        let mut error = io::Error::from(ErrorKind::NotFound);
        for address in addresses {
            if !origin.is_tls && !address.ip().is_loopback() {
                return Err(TransportError::Url(format!("http://{}", origin.host)));
            }
            match connect(address, deadline).await {
                Ok(stream) => return self.secure(stream, origin, deadline).await,
                Err(failed) => error = failed,
            }
        }
        Err(TransportError::Connect(error))
    }

    async fn secure(
        &self,
        stream: TcpStream,
        origin: &Origin,
        deadline: Tick,
    ) -> Result<Link, TransportError> {
        if !origin.is_tls {
            return Ok(Link::Plain(stream));
        }
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|_| TransportError::Url(origin.host.clone()))?;
        let stream =
            connect_tls(stream, Arc::clone(&self.tls), name, deadline).await.map_err(
                |error| match error {
                    TlsError::Closed => TransportError::Io(ErrorKind::ConnectionReset.into()),
                    error => TransportError::Tls(with_source(&error)),
                },
            )?;
        Ok(Link::Tls(Box::new(stream)))
    }
}

impl Origin {
    fn of(uri: &http::Uri) -> Result<Self, TransportError> {
        let wrong = || TransportError::Url(uri.to_string());
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            // For CAs on this machine; anybody between could read and change what is said.
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let host = uri.host().ok_or_else(wrong)?.trim_matches(['[', ']']).to_ascii_lowercase();
        Ok(Self { is_tls, host, port: uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }) })
    }
}

/// The bytes of a request, in one go.
fn write_request(
    parts: &http::request::Parts,
    origin: &Origin,
    body: &[u8],
) -> Result<Vec<u8>, TransportError> {
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let authority = parts.uri.authority().map_or(origin.host.as_str(), http::uri::Authority::as_str);
    let mut out = Vec::with_capacity(512 + body.len());
    for part in [parts.method.as_str(), " ", path, " HTTP/1.1\r\nHost: ", authority, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(USER_AGENT_LINE.as_bytes());
    for (name, value) in &parts.headers {
        if *name == http::header::USER_AGENT || !is_field_value(value.as_bytes()) {
            continue;
        }
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if parts.method == http::Method::POST {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    Ok(out)
}

/// RFC 8555 §6.1 asks for one.
const USER_AGENT_LINE: &str = concat!("User-Agent: ringway/", env!("CARGO_PKG_VERSION"), " instant-acme\r\n");

/// Sends a request and reads the answer to its end.
async fn exchange<S: Stream>(
    stream: &S,
    request: Vec<u8>,
    method: Method,
    deadline: Tick,
) -> Result<Raw, TransportError> {
    let (written, _) = stream.write_all(request, WriteRate::until(deadline)).await;
    written.map_err(TransportError::Io)?;
    let mut reader = Reader { stream, buf: Vec::with_capacity(HEAD_BUFFER_BYTES), deadline };
    let bounds = Limits { head_bytes_max: HEAD_BUFFER_BYTES, ..Limits::default() };
    let mut head = ResponseHead::default();
    let mut read_any = false;
    loop {
        if reader.buf.len() >= bounds.head_bytes_max {
            return Err(TransportError::Answer("the head of the answer is too long"));
        }
        if reader.read_more().await? == 0 {
            let closed = io::Error::from(ErrorKind::UnexpectedEof);
            return Err(match read_any {
                false => TransportError::Io(closed),
                true => TransportError::Answer("the answer ended early"),
            });
        }
        read_any = true;
        let parsed = head.parse(&reader.buf, method, &bounds);
        match parsed.map_err(|_| TransportError::Answer("the answer is no HTTP"))? {
            Parse::Partial => {}
            Parse::Complete if head.is_interim() => {
                return Err(TransportError::Answer("an interim answer was not asked for"));
            }
            Parse::Complete => break,
        }
    }
    let parts = parts_of(&head, &reader.buf)?;
    let mut rest = reader.buf.split_off(head.len());
    let mut is_reusable = head.keep_alive();
    let body = match head.framing() {
        Framing::Empty => {
            is_reusable &= rest.is_empty();
            Vec::new()
        }
        Framing::Length(length) => {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > ACME_RESPONSE_BYTES_MAX {
                return Err(TransportError::Answer("the answer is too long"));
            }
            reader.buf = rest;
            while reader.buf.len() < length {
                if reader.read_more().await? == 0 {
                    return Err(TransportError::Answer("the answer ended early"));
                }
            }
            is_reusable &= reader.buf.len() == length;
            reader.buf.truncate(length);
            reader.buf
        }
        Framing::Chunked => {
            let mut body = Vec::new();
            let mut chunks = ChunkedBody::new(ChunkMode::Decode);
            loop {
                let fed = chunks
                    .feed(&mut rest)
                    .map_err(|_| TransportError::Answer("the answer's chunks are broken"))?;
                body.extend_from_slice(&rest[..fed.kept]);
                if body.len() > ACME_RESPONSE_BYTES_MAX {
                    return Err(TransportError::Answer("the answer is too long"));
                }
                rest.drain(..fed.consumed);
                if fed.state == BodyState::Done {
                    is_reusable &= rest.is_empty();
                    break body;
                }
                reader.buf = rest;
                if reader.read_more().await? == 0 {
                    return Err(TransportError::Answer("the answer ended early"));
                }
                rest = std::mem::take(&mut reader.buf);
            }
        }
        Framing::UntilClose => {
            is_reusable = false;
            reader.buf = rest;
            while reader.read_more().await? > 0 {
                if reader.buf.len() > ACME_RESPONSE_BYTES_MAX {
                    return Err(TransportError::Answer("the answer is too long"));
                }
            }
            reader.buf
        }
    };
    Ok(Raw { head: parts, body, is_reusable })
}

struct Reader<'a, S> {
    stream: &'a S,
    buf: Vec<u8>,
    deadline: Tick,
}

impl<S: Stream> Reader<'_, S> {
    /// Reads what is there, behind what was read; 0 at the end.
    async fn read_more(&mut self) -> Result<usize, TransportError> {
        let mut buf = std::mem::take(&mut self.buf);
        if buf.capacity() - buf.len() < READ_BYTES_MIN {
            buf.reserve(HEAD_BUFFER_BYTES);
        }
        let (read, buf) = self.stream.read(buf, self.deadline).await;
        self.buf = buf;
        read.map_err(TransportError::Io)
    }
}

/// Below this, a buffer is made larger before it is read into.
const READ_BYTES_MIN: usize = 1024;

fn parts_of(head: &ResponseHead, buf: &[u8]) -> Result<http::response::Parts, TransportError> {
    let mut builder = http::Response::builder().status(head.status());
    for field in head.fields(buf) {
        builder = builder.header(field.name, field.value);
    }
    let response = builder.body(()).map_err(|_| TransportError::Answer("the answer's head is broken"))?;
    Ok(response.into_parts().0)
}

/// How long `Retry-After` asks to wait: seconds, or a date (RFC 9110 §10.2.3). A date that has passed is no wait at all.
pub(crate) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_millis(now.0)))
}

fn with_source(error: &TlsError) -> String {
    match StdError::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url} is no https URL"),
            Self::Busy => f.write_str("too many requests wait for the CA already"),
            Self::Resolve(error) => write!(f, "the name of the CA could not be resolved: {error}"),
            Self::Connect(error) => write!(f, "the CA could not be reached: {error}"),
            Self::Tls(error) => write!(f, "no TLS connection to the CA: {error}"),
            Self::Io(error) if error.kind() == ErrorKind::TimedOut => {
                f.write_str("the CA did not answer in time")
            }
            Self::Io(error) => write!(f, "the connection to the CA failed: {error}"),
            Self::Answer(what) => f.write_str(what),
            Self::Gone => f.write_str("the request to the CA was given up"),
        }
    }
}

impl StdError for TransportError {}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
