//! Raw client: writes exactly the given bytes, and waits no longer than its deadline.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, Stream, StreamOwned};

use super::SOON;
use super::http::{Fault, Message, Reader};

/// Connection to the proxy.
pub(crate) struct Client {
    reader: Reader<Timed>,
}

/// Socket whose reads and writes have a deadline.
struct Timed {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> Duration {
        // For a socket, zero means no timeout.
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()))?;
        match &mut self.tls {
            None => self.stream.read(buf),
            Some(tls) => Stream::new(&mut **tls, &mut self.stream).read(buf),
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()))?;
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => Stream::new(&mut **tls, &mut self.stream).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => Stream::new(&mut **tls, &mut self.stream).flush(),
        }
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, SOON)
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"));
        Self::over(stream)
    }

    /// Connects from another address of the loopback network.
    pub(crate) fn connect_from(source: [u8; 4], address: SocketAddr) -> Self {
        Self::try_connect_from(source, address)
            .unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// Like [`Client::connect_from`]; fails when the proxy refuses: its reset may arrive before `connect`
    /// returns.
    pub(crate) fn try_connect_from(source: [u8; 4], address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect_timeout(&address.into(), SOON)?;
        Ok(Self::over(socket.into()))
    }

    /// Fails instead of panicking, for tests of whether a listener exists.
    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&address, SOON).map(Self::over)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { reader: Reader::new(Timed { stream, tls: None, deadline: Instant::now() + SOON }) }
    }

    /// Client over TLS, after the handshake; see [`Tls`](super::Tls).
    pub(crate) fn over_tls(stream: StreamOwned<ClientConnection, TcpStream>) -> Self {
        let StreamOwned { conn, sock, .. } = stream;
        let mut client = Self::over(sock);
        client.reader.stream().tls = Some(Box::new(conn));
        client
    }

    /// TLS state of this connection.
    pub(crate) fn tls(&mut self) -> &mut ClientConnection {
        self.reader.stream().tls.as_mut().expect("a connection over TLS")
    }

    /// Restarts the deadline with `limit`.
    pub(crate) fn within(&mut self, limit: Duration) -> &mut Self {
        self.reader.stream().deadline = Instant::now() + limit;
        self
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.try_send(bytes).expect("the proxy took no more bytes");
        self
    }

    /// Like `send`; fails when the proxy has closed, as it may after its response.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.within(SOON);
        self.reader.stream().write_all(bytes.as_ref())?;
        self.reader.stream().flush()
    }

    /// Sends a simple request and reads its response.
    pub(crate) fn get(&mut self, host: &str, target: &str) -> Message {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        self.response("GET")
    }

    /// Reads the next final response; panics with the reason without one.
    pub(crate) fn response(&mut self, method: &str) -> Message {
        self.try_response(method).unwrap_or_else(|fault| panic!("no response to {method}: {fault:?}"))
    }

    pub(crate) fn try_response(&mut self, method: &str) -> Result<Message, Fault> {
        self.within(SOON);
        self.reader.response(method)
    }

    /// Reads the next final response, with the deadline of [`within`](Self::within).
    pub(crate) fn patient_response(&mut self, method: &str) -> Message {
        self.patiently(method).unwrap_or_else(|fault| panic!("no response to {method}: {fault:?}"))
    }

    /// Like `patient_response`, without a panic.
    pub(crate) fn patiently(&mut self, method: &str) -> Result<Message, Fault> {
        self.reader.response(method)
    }

    pub(crate) fn response_head(&mut self, method: &str) -> Message {
        self.within(SOON);
        self.reader.response_head(method).unwrap_or_else(|fault| panic!("no response head: {fault:?}"))
    }

    pub(crate) fn try_response_head(&mut self, method: &str) -> Result<Message, Fault> {
        self.within(SOON);
        self.reader.response_head(method)
    }

    /// Reads one response head, also of a 1xx.
    pub(crate) fn one_response_head(&mut self, method: &str) -> Message {
        self.within(SOON);
        self.reader.one_response_head(method).unwrap_or_else(|fault| panic!("no response head: {fault:?}"))
    }

    /// Reads the next chunk of a body; `false` after the last.
    pub(crate) fn chunk(&mut self, message: &mut Message) -> bool {
        self.within(SOON);
        self.reader.chunk(message).unwrap_or_else(|fault| panic!("no chunk: {fault:?}"))
    }

    pub(crate) fn body(&mut self, message: &mut Message) -> Result<(), Fault> {
        self.within(SOON);
        self.reader.body(message)
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Vec<u8> {
        self.within(SOON);
        self.reader.exactly(count).unwrap_or_else(|fault| panic!("not {count} bytes: {fault:?}"))
    }

    pub(crate) fn try_exactly(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        self.within(SOON);
        self.reader.exactly(count)
    }

    /// Reads all bytes until the proxy closes; a reset counts as a close.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.rest_within(SOON)
    }

    /// Like `rest`, with an error instead of a panic when the peer does not close.
    pub(crate) fn try_rest(&mut self) -> Result<Vec<u8>, Fault> {
        self.within(SOON);
        match self.reader.rest() {
            Err(Fault::Reset) => Ok(Vec::new()),
            other => other,
        }
    }

    pub(crate) fn rest_within(&mut self, limit: Duration) -> Vec<u8> {
        self.within(limit);
        match self.reader.rest() {
            Ok(bytes) => bytes,
            Err(Fault::Reset) => Vec::new(),
            Err(fault) => panic!("not closed within {limit:?}: {fault:?}"),
        }
    }

    /// Asserts that the proxy closes without sending anything.
    pub(crate) fn assert_closed(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "more bytes before the close: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Asserts that the next request on the connection gets a response.
    pub(crate) fn assert_open(&mut self, host: &str) {
        let answer = self.get(host, "/still-open");
        assert!(answer.status() < 500, "{}", answer.first_line);
    }

    /// Asserts that nothing arrives for a moment: catches what must not happen, but a slow proxy passes, too.
    pub(crate) fn assert_silent(&mut self, moment: Duration) {
        self.within(moment);
        match self.reader.some() {
            Err(Fault::Deadline) => {}
            other => panic!(
                "expected silence, got {:?}",
                other.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            ),
        }
    }

    /// Half-closes: the proxy reads the end of the stream.
    pub(crate) fn finish(&mut self) {
        if let Some(tls) = &mut self.reader.stream().tls {
            tls.send_close_notify();
            self.reader.stream().flush().unwrap();
        }
        self.reader.stream().stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Returns the socket, for TLS on top of it.
    pub(crate) fn into_socket(mut self) -> TcpStream {
        self.reader.stream().stream.try_clone().unwrap()
    }

    pub(crate) fn local(&mut self) -> SocketAddr {
        self.reader.stream().stream.local_addr().unwrap()
    }
}
