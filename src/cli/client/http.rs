//! Small blocking HTTP/1.1 client: one request per connection, over TCP or a unix socket, with one deadline.
//!
//! For commands and the demo's apps, never for the data plane. Heads and chunked bodies are parsed by
//! `ringway_wire`, as strictly as everywhere else.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::cli::limits::{CLI_RESPONSE_BYTES_MAX, CLI_TIMEOUT};
use ringway_wire::h1::{
    BodyError, BodyState, ChunkMode, ChunkedBody, Limits, Parse, ResponseError, ResponseHead,
};
use ringway_wire::message::{Framing, Method};

use super::address::Address;

/// HttpClient of one server.
#[derive(Clone)]
pub(crate) struct HttpClient {
    address: Address,
    /// Value of `Host`; by default the address.
    host: String,
    token: Option<String>,
    timeout: Duration,
    /// Sent as `If-Match`: visible ASCII without quotes.
    if_match: Option<String>,
}

/// Complete response.
#[derive(Debug)]
pub(crate) struct HttpResponse {
    /// Status.
    pub(crate) status: u16,
    /// Decoded body.
    pub(crate) body: Vec<u8>,
}

/// Error instead of a complete response.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// Host name without an address.
    Resolve(io::Error),
    /// Failed connect.
    Connect(io::Error),
    /// Broken connection.
    Broken(io::Error),
    /// Timeout.
    TimedOut(Duration),
    /// Closed before the response was complete.
    Cut,
    /// Invalid response head.
    Head(ResponseError),
    /// Invalid chunked body.
    Body(BodyError),
    /// Response longer than [`CLI_RESPONSE_BYTES_MAX`].
    TooLarge,
}

impl HttpClient {
    /// Creates a client of the server at this address, with the default timeout.
    pub(crate) fn new(address: Address) -> Self {
        let host = address.authority().to_owned();
        Self { address, host, token: None, timeout: CLI_TIMEOUT, if_match: None }
    }

    /// Sets the bearer token.
    pub(crate) fn token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// Sets the timeout of a request, from connecting to the last byte.
    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Makes changes conditional on this entity tag (`If-Match`), of which only letters and digits are sent.
    pub(crate) fn if_match(self, tag: &str) -> Self {
        let tag = tag.chars().filter(char::is_ascii_alphanumeric).collect();
        Self { if_match: Some(tag), ..self }
    }

    /// Timeout of a request.
    pub(crate) fn request_timeout(&self) -> Duration {
        self.timeout
    }

    /// Sets the value of `Host`.
    pub(crate) fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    /// Address of the server.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends one request and reads its response.
    pub(crate) fn send(
        &self,
        method: Method,
        target: &str,
        body: Option<&[u8]>,
    ) -> Result<HttpResponse, HttpError> {
        let deadline = Deadline { end: Instant::now() + self.timeout, timeout: self.timeout };
        let mut stream = self.connect(deadline)?;
        deadline.apply(&stream)?;
        // A server may respond and close before it has read everything, as with a body that is too large: its
        // response takes precedence over the failed write.
        let written = stream.write_all(&self.request(method, target, body));
        match read_response(&mut stream, method, deadline) {
            Err(HttpError::Cut | HttpError::Broken(_)) if written.is_err() => {
                Err(deadline.failure(written.err().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
            }
            result => result,
        }
    }

    fn request(&self, method: Method, target: &str, body: Option<&[u8]>) -> Vec<u8> {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ringway/{}\r\nAccept: application/json, */*\r\nConnection: close\r\n",
            self.host,
            env!("CARGO_PKG_VERSION"),
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if let Some(tag) = &self.if_match {
            head.push_str(&format!("If-Match: \"{tag}\"\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        bytes
    }

    fn connect(&self, deadline: Deadline) -> Result<Connection, HttpError> {
        match &self.address {
            Address::Unix(path) => {
                UnixStream::connect(path).map(Connection::Unix).map_err(HttpError::Connect)
            }
            Address::Tcp(authority) => {
                let addresses = authority.as_str().to_socket_addrs().map_err(HttpError::Resolve)?;
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in addresses {
                    match TcpStream::connect_timeout(&address, deadline.left()?) {
                        Ok(stream) => return Ok(Connection::Tcp(stream)),
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            return Err(HttpError::TimedOut(deadline.timeout));
                        }
                        Err(error) => last = error,
                    }
                }
                Err(HttpError::Connect(last))
            }
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpClient({})", self.address)
    }
}

impl HttpError {
    /// Whether the request may still be in flight.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }
}

/// Reads heads until the final one, then its body.
fn read_response(
    stream: &mut Connection,
    method: Method,
    deadline: Deadline,
) -> Result<HttpResponse, HttpError> {
    let limits = Limits::default();
    let mut head = ResponseHead::default();
    let mut buf = Vec::new();
    loop {
        match head.parse(&buf, method, &limits).map_err(HttpError::Head)? {
            Parse::Partial => {
                if fill(stream, &mut buf, deadline)? == 0 {
                    return Err(HttpError::Cut);
                }
            }
            Parse::Complete => {
                let len = head.len();
                buf.drain(..len);
                if !head.is_interim() {
                    break;
                }
                head.reset();
            }
        }
    }
    let body = match head.framing() {
        Framing::Empty => Vec::new(),
        Framing::Length(length) => {
            let length = usize::try_from(length).ok().filter(|length| *length <= CLI_RESPONSE_BYTES_MAX);
            let length = length.ok_or(HttpError::TooLarge)?;
            while buf.len() < length {
                if fill(stream, &mut buf, deadline)? == 0 {
                    return Err(HttpError::Cut);
                }
            }
            buf.truncate(length);
            buf
        }
        Framing::Chunked => {
            let mut body = Vec::new();
            let mut chunks = ChunkedBody::new(ChunkMode::Decode);
            loop {
                let fed = chunks.feed(&mut buf).map_err(HttpError::Body)?;
                body.extend_from_slice(&buf[..fed.kept]);
                buf.drain(..fed.consumed);
                if body.len() > CLI_RESPONSE_BYTES_MAX {
                    return Err(HttpError::TooLarge);
                }
                if fed.state == BodyState::Done {
                    break body;
                }
                if fill(stream, &mut buf, deadline)? == 0 {
                    return Err(HttpError::Cut);
                }
            }
        }
        Framing::UntilClose => {
            while fill(stream, &mut buf, deadline)? > 0 {
                if buf.len() > CLI_RESPONSE_BYTES_MAX {
                    return Err(HttpError::TooLarge);
                }
            }
            buf
        }
    };
    Ok(HttpResponse { status: head.status(), body })
}

/// Reads once and appends the bytes.
fn fill(stream: &mut Connection, buf: &mut Vec<u8>, deadline: Deadline) -> Result<usize, HttpError> {
    let mut piece = [0; 16 * 1024];
    loop {
        deadline.apply(stream)?;
        match stream.read(&mut piece) {
            Ok(count) => {
                buf.extend_from_slice(&piece[..count]);
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(deadline.failure(error)),
        }
    }
}

/// Deadline of a request.
#[derive(Clone, Copy)]
struct Deadline {
    end: Instant,
    timeout: Duration,
}

impl Deadline {
    fn left(self) -> Result<Duration, HttpError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(HttpError::TimedOut(self.timeout)) } else { Ok(left) }
    }

    /// Limits reads and writes of the stream to the time left.
    fn apply(self, stream: &Connection) -> Result<(), HttpError> {
        let left = Some(self.left()?);
        match stream {
            Connection::Tcp(stream) => {
                stream.set_read_timeout(left).and_then(|()| stream.set_write_timeout(left))
            }
            Connection::Unix(stream) => {
                stream.set_read_timeout(left).and_then(|()| stream.set_write_timeout(left))
            }
        }
        .map_err(HttpError::Broken)
    }

    /// Maps an error of the system, which reports a timeout of a socket as "would block".
    fn failure(self, error: io::Error) -> HttpError {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => HttpError::TimedOut(self.timeout),
            _ => HttpError::Broken(error),
        }
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Connection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(_) => f.write_str("the host name has no address"),
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("connection refused: no process listens there")
            }
            Self::Connect(error) if error.kind() == io::ErrorKind::NotFound => {
                f.write_str("there is no such socket")
            }
            Self::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                f.write_str("this user has no permission to connect to it")
            }
            Self::Connect(_) => f.write_str("cannot connect"),
            Self::Broken(_) => f.write_str("the connection broke"),
            Self::TimedOut(after) => {
                write!(f, "no complete response within {}", humantime::format_duration(*after))
            }
            Self::Cut => f.write_str("the connection was closed before the response was complete"),
            Self::Head(error) => write!(f, "the server there does not speak HTTP/1.1 ({error})"),
            Self::Body(error) => write!(f, "the response body is malformed ({error})"),
            Self::TooLarge => write!(f, "the response is longer than {} MiB", CLI_RESPONSE_BYTES_MAX >> 20),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Connect(error) | Self::Broken(error) => Some(error),
            // Part of the text already.
            Self::Head(_) | Self::Body(_) | Self::TimedOut(_) | Self::Cut | Self::TooLarge => None,
        }
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
