//! The `HttpClient` of `instant-acme`, over ureq on threads of its own.
//!
//! ```text
//!  instant-acme ─▶ Client::request ─▶ queue ─▶ worker thread: ureq ─▶ CA
//!       ▲                                          │
//!       └────────────── reply, ResponseMeta ◀──────┘
//! ```
//!
//! Worker threads start on demand, up to a bound, and end with an empty queue. Dropping the last [`Client`]
//! shuts the connections down, so that a request in flight ends at once.
//!
//! ureq's `unversioned` API, for the wrappers that keep errors apart by their stage, may change with any
//! release: Cargo.lock pins it.
//!
//! `instant-acme` does not expose status and `Retry-After` of a response. They are stored in [`ResponseMeta`]
//! in the poll that hands the response over, so that the caller, on the same thread, reads those of its own
//! response.

use std::collections::VecDeque;
use std::error::Error as StdError;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use ringway_model::Timestamp;
use ringway_model::limits::HEAD_BUFFER_BYTES;
use ringway_net::clock;
use ureq::config::Config;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};
use ureq::{Agent, http};

use crate::limits::{
    ACME_CONNECT_TIMEOUT, ACME_CONNECTIONS_IDLE_MAX, ACME_IDLE_TIMEOUT, ACME_REQUEST_TIMEOUT,
    ACME_REQUESTS_WAITING_MAX, ACME_RESPONSE_BYTES_MAX, ACME_THREADS_MAX,
};

/// HTTP client of one CA. Clones share it.
#[derive(Clone)]
pub(crate) struct Client(Arc<Handle>);

/// Shuts the connections down when the last client is dropped.
struct Handle(Arc<Shared>);

struct Shared {
    agent: Agent,
    jobs: Mutex<Jobs>,
    last_response: Mutex<ResponseMeta>,
}

/// Status and headers of a response that `instant-acme` does not expose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResponseMeta {
    /// 0 without a response.
    pub(crate) status: u16,
    /// `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
    /// Whether the request was for a nonce, ahead of the actual one.
    pub(crate) is_nonce_request: bool,
}

#[derive(Default)]
struct Jobs {
    queue: VecDeque<Job>,
    threads: usize,
}

struct Job {
    request: http::Request<Bytes>,
    reply: ReplySender,
}

/// Received response.
struct Response {
    parts: http::response::Parts,
    body: Vec<u8>,
}

/// Reason for a failed request.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The URL is neither `https`, nor `http` to this machine.
    Url(String),
    /// The queue is full.
    Busy,
    /// The CA's name could not be resolved.
    Resolve(io::Error),
    /// No connection.
    Connect(io::Error),
    /// The TLS handshake failed, most likely for an untrusted certificate.
    Tls(String),
    /// The connection failed, or a timeout expired.
    Io(io::Error),
    /// The response is malformed, or exceeds a limit.
    Response(String),
    /// The worker thread could not be started, or ended.
    Thread,
}

impl Client {
    /// Creates a client that trusts these roots. No thread is started yet.
    pub(crate) fn new(roots: RootCerts) -> Self {
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(ringway_tls::provider())
            .root_certs(roots)
            .build();
        let config = Agent::config_builder()
            .timeout_global(Some(ACME_REQUEST_TIMEOUT))
            .timeout_resolve(Some(ACME_CONNECT_TIMEOUT))
            .timeout_connect(Some(ACME_CONNECT_TIMEOUT))
            .max_response_header_size(HEAD_BUFFER_BYTES)
            .max_idle_connections(ACME_CONNECTIONS_IDLE_MAX)
            .max_idle_connections_per_host(ACME_CONNECTIONS_IDLE_MAX)
            .max_idle_age(ACME_IDLE_TIMEOUT)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(USER_AGENT)
            .tls_config(tls)
            .build();
        let connector =
            ().chain(Stage { connector: TcpConnector::default(), classify: connect_error })
                .chain(Stage { connector: RustlsConnector::default(), classify: tls_error });
        let shared = Shared {
            agent: Agent::with_parts(config, connector, CheckedResolver::default()),
            jobs: Mutex::default(),
            last_response: Mutex::default(),
        };
        Self(Arc::new(Handle(Arc::new(shared))))
    }

    /// Status and headers of the response that this task just received. Read it before anything is awaited.
    pub(crate) fn last_response(&self) -> ResponseMeta {
        lock(&self.0.0.last_response).clone()
    }

    /// Whether no request is queued or in flight.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.0.0.jobs).threads == 0
    }

    /// Fetches a document, unsigned.
    pub(crate) async fn get(&self, url: &str) -> Result<(u16, Bytes), Error> {
        let request = http::Request::builder().uri(url).body(BodyWrapper::default())?;
        let mut response = self.request(request).await?;
        let body = response.body.into_bytes().await.map_err(Error::Other)?;
        Ok((response.parts.status.as_u16(), body))
    }
}

/// RFC 8555 §6.1 requires one.
const USER_AGENT: &str = concat!("ringway/", env!("CARGO_PKG_VERSION"), " instant-acme");

impl Drop for Handle {
    fn drop(&mut self) {
        lock(&self.0.jobs).queue.clear();
        self.0.agent.clone().shutdown();
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let shared = Arc::clone(&self.0.0);
        Box::pin(async move {
            // RFC 8555 §7.2: the only use of this method.
            let is_nonce_request = request.method() == http::Method::HEAD;
            let (parts, body) = request.into_parts();
            // The library exposes the bytes of a response only.
            let mut body = BytesResponse::from(http::Response::new(body)).body;
            let body = body.into_bytes().await.map_err(Error::Other)?;
            let result = match Shared::enqueue(&shared, http::Request::from_parts(parts, body)) {
                Ok(reply) => reply.await,
                Err(error) => Err(error),
            };
            // No await from here to the caller's code.
            let mut last = lock(&shared.last_response);
            match result {
                Ok(Response { parts, body }) => {
                    let (status, retry_after) = (parts.status.as_u16(), retry_after(&parts.headers));
                    *last = ResponseMeta { status, retry_after, is_nonce_request };
                    Ok(BytesResponse { parts, body: Box::new(Bytes::from(body)) })
                }
                Err(error) => {
                    *last = ResponseMeta { is_nonce_request, ..ResponseMeta::default() };
                    Err(Error::Other(Box::new(error)))
                }
            }
        })
    }
}

impl Shared {
    /// Queues a request, and starts a worker thread if there may be another.
    fn enqueue(shared: &Arc<Self>, request: http::Request<Bytes>) -> Result<ReplyReceiver, TransportError> {
        let (reply, receiver) = reply();
        let mut jobs = lock(&shared.jobs);
        if jobs.queue.len() >= ACME_REQUESTS_WAITING_MAX {
            return Err(TransportError::Busy);
        }
        if jobs.threads < ACME_THREADS_MAX {
            let worker = Arc::clone(shared);
            let thread = std::thread::Builder::new().name("ringway-acme".into()).spawn(move || worker.work());
            match thread {
                Ok(_) => jobs.threads += 1,
                // Another thread serves the queue.
                Err(_) if jobs.threads > 0 => {}
                Err(_) => return Err(TransportError::Thread),
            }
        }
        jobs.queue.push_back(Job { request, reply });
        Ok(receiver)
    }

    /// Serves the queue until it is empty.
    fn work(&self) {
        while let Some(Job { request, reply }) = self.next_job() {
            // A panic drops the reply, which reports it, and must not end the count of threads.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.send(&request)));
            match result {
                Ok(result) => reply.send(result),
                Err(_) => tracing::error!("request to the CA panicked"),
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut jobs = lock(&self.jobs);
        let job = jobs.queue.pop_front();
        if job.is_none() {
            jobs.threads -= 1;
        }
        job
    }

    /// Sends a request, and repeats it once when the connection breaks: the CA may have closed an idle one,
    /// or was restarted. A nonce is valid once, so that the CA never processes a request twice.
    fn send(&self, request: &http::Request<Bytes>) -> Result<Response, TransportError> {
        match self.send_once(request, ACME_IDLE_TIMEOUT) {
            Err(TransportError::Io(error)) if error.kind() != ErrorKind::TimedOut => {}
            result => return result,
        }
        // On a new connection.
        self.send_once(request, Duration::ZERO)
    }

    fn send_once(
        &self,
        request: &http::Request<Bytes>,
        idle_age_max: Duration,
    ) -> Result<Response, TransportError> {
        let mut builder = http::Request::builder().method(request.method()).uri(request.uri());
        for (name, value) in request.headers() {
            if *name != http::header::USER_AGENT {
                builder = builder.header(name, value);
            }
        }
        let invalid = |error: http::Error| TransportError::Url(error.to_string());
        let agent = &self.agent;
        let response = if request.method() == http::Method::POST {
            let request = builder.body(&request.body()[..]).map_err(invalid)?;
            agent.run(agent.configure_request(request).max_idle_age(idle_age_max).build())
        } else {
            let request = builder.body(()).map_err(invalid)?;
            agent.run(agent.configure_request(request).max_idle_age(idle_age_max).build())
        };
        let (parts, body) = response.map_err(classify)?.into_parts();
        let body = body.into_with_config().limit(ACME_RESPONSE_BYTES_MAX as u64).read_to_vec();
        let body = body.map_err(|error| match error {
            ureq::Error::Io(error) if error.kind() == ErrorKind::UnexpectedEof => {
                TransportError::Response("the CA's response ended early".to_owned())
            }
            error => classify(error),
        })?;
        Ok(Response { parts, body })
    }
}

/// Locks a mutex that is never held across a panic or a wait.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parses `Retry-After`: seconds, or a date (RFC 9110 §10.2.3). A past date is a wait of zero.
fn retry_after(headers: &http::HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    parse_retry_after(value, clock::timestamp())
}

fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(Duration::from_millis(now.0)))
}

// --- Errors by the stage in which they occur ---------------------------------------------------------------

/// Resolver that admits plain HTTP to this machine only: on the network, others could read and change it.
#[derive(Debug, Default)]
struct CheckedResolver(DefaultResolver);

impl Resolver for CheckedResolver {
    fn resolve(
        &self,
        uri: &http::Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let addresses = self.0.resolve(uri, config, timeout).map_err(|error| match error {
            ureq::Error::Io(error) => stage_error(TransportError::Resolve(error)),
            ureq::Error::HostNotFound => stage_error(TransportError::Resolve(ErrorKind::NotFound.into())),
            ureq::Error::Timeout(_) => stage_error(TransportError::Resolve(ErrorKind::TimedOut.into())),
            error => error,
        })?;
        let is_plain = uri.scheme() == Some(&http::uri::Scheme::HTTP);
        if is_plain && addresses.iter().any(|address| !address.ip().is_loopback()) {
            return Err(stage_error(TransportError::Url(uri.to_string())));
        }
        Ok(addresses)
    }
}

/// Connector whose errors are classified by their stage.
#[derive(Debug)]
struct Stage<C> {
    connector: C,
    classify: fn(ureq::Error) -> ureq::Error,
}

impl<In: Transport, C: Connector<In>> Connector<In> for Stage<C> {
    type Out = C::Out;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        self.connector.connect(details, chained).map_err(self.classify)
    }
}

fn stage_error(error: TransportError) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

fn connect_error(error: ureq::Error) -> ureq::Error {
    match error {
        ureq::Error::Io(error) => stage_error(TransportError::Connect(error)),
        ureq::Error::ConnectionFailed => {
            stage_error(TransportError::Connect(ErrorKind::ConnectionRefused.into()))
        }
        ureq::Error::Timeout(_) => stage_error(TransportError::Connect(ErrorKind::TimedOut.into())),
        error => error,
    }
}

/// A connection that the CA closes during the handshake remains an I/O error, and is repeated.
fn tls_error(error: ureq::Error) -> ureq::Error {
    match error {
        ureq::Error::Io(error) => {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(inner) => stage_error(TransportError::Tls(inner.to_string())),
                None => ureq::Error::Io(error),
            }
        }
        ureq::Error::Rustls(error) => stage_error(TransportError::Tls(error.to_string())),
        ureq::Error::Tls(error) => stage_error(TransportError::Tls(error.to_owned())),
        ureq::Error::Timeout(_) => stage_error(TransportError::Tls("timed out".to_owned())),
        error => error,
    }
}

/// Classifies what remains: errors of the stages, timeouts, and errors of the exchange.
fn classify(error: ureq::Error) -> TransportError {
    match error {
        ureq::Error::Other(error) => match error.downcast::<TransportError>() {
            Ok(error) => *error,
            Err(error) => TransportError::Response(error.to_string()),
        },
        ureq::Error::Timeout(_) => TransportError::Io(ErrorKind::TimedOut.into()),
        ureq::Error::Io(error) => TransportError::Io(error),
        ureq::Error::BadUri(url) => TransportError::Url(url),
        ureq::Error::BodyExceedsLimit(_) | ureq::Error::LargeResponseHeader(..) => {
            TransportError::Response("the CA's response is too long".to_owned())
        }
        error => TransportError::Response(format!("the CA's response is not valid HTTP: {error}")),
    }
}

// --- Reply from a worker thread to a task ------------------------------------------------------------------

type Reply = Result<Response, TransportError>;

#[derive(Default)]
struct ReplyState {
    reply: Option<Reply>,
    waker: Option<Waker>,
}

/// Sending half. Dropping it replies with [`TransportError::Thread`].
struct ReplySender(Option<Arc<Mutex<ReplyState>>>);

type ReplyReceiver = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Creates a one-shot channel between threads: `net::sync` has one within a thread, and the futures of
/// `instant-acme` must be `Send`.
fn reply() -> (ReplySender, ReplyReceiver) {
    let state = Arc::new(Mutex::new(ReplyState::default()));
    let receiver = Arc::clone(&state);
    let future = poll_fn(move |cx| {
        let mut state = lock(&receiver);
        match state.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    });
    (ReplySender(Some(state)), Box::pin(future))
}

impl ReplySender {
    fn send(mut self, reply: Reply) {
        self.complete(reply);
    }

    fn complete(&mut self, reply: Reply) {
        let Some(state) = self.0.take() else { return };
        let mut state = lock(&state);
        state.reply = Some(reply);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for ReplySender {
    fn drop(&mut self) {
        self.complete(Err(TransportError::Thread));
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => write!(f, "{url} is not an https URL"),
            Self::Busy => f.write_str("too many requests to the CA are queued"),
            Self::Resolve(error) => write!(f, "the name of the CA could not be resolved: {error}"),
            Self::Connect(error) => write!(f, "the CA could not be reached: {error}"),
            Self::Tls(error) => write!(f, "the TLS handshake with the CA failed: {error}"),
            Self::Io(error) if error.kind() == ErrorKind::TimedOut => {
                f.write_str("the CA did not respond in time")
            }
            Self::Io(error) => write!(f, "the connection to the CA failed: {error}"),
            Self::Response(reason) => f.write_str(reason),
            Self::Thread => f.write_str("the request to the CA was abandoned: no thread was available"),
        }
    }
}

impl StdError for TransportError {}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
