//! Scripted upstream server that records every received byte.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use socket2::{Domain, SockRef, Socket, Type};

use super::http::{Fault, Message, Reader};
use super::{Gate, SOON, eventually, ws};

/// Listening server; it stops, with all its connections, when dropped.
pub(crate) struct Origin {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    address: SocketAddr,
}

struct Shared {
    listener: Socket,
    script: Box<dyn Fn(&mut Connection) + Send + Sync>,
    /// Records requests and connections.
    remembers: bool,
    /// False while the origin refuses connections.
    listening: AtomicBool,
    ended: AtomicBool,
    wake: Gate,
    healthy: AtomicBool,
    health_checks: AtomicUsize,
    connections: Mutex<Vec<Arc<Record>>>,
    requests: Mutex<Vec<Message>>,
    /// Protocol errors in the proxy's requests.
    malformed: Mutex<Vec<String>>,
}

/// Bytes received on one connection.
pub(crate) struct Record {
    stream: TcpStream,
    bytes: Mutex<Vec<u8>>,
    ended: AtomicBool,
}

impl Record {
    /// Received bytes, in order.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Whether the proxy closed it, or the script ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Fate of a connection after a reply.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    Close,
    Reset,
}

/// Connection, as its script sees it.
pub(crate) struct Connection {
    reader: Reader<Recording>,
    shared: Arc<Shared>,
    /// Number of the accepted connection, from 0.
    pub(crate) index: usize,
}

struct Recording {
    record: Arc<Record>,
    remembers: bool,
}

impl Read for Recording {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = (&self.record.stream).read(buf)?;
        if self.remembers {
            self.record.bytes.lock().unwrap().extend_from_slice(&buf[..count]);
        }
        if count == 0 {
            self.record.ended.store(true, Ordering::SeqCst);
        }
        Ok(count)
    }
}

impl Origin {
    /// Runs `script` once per connection.
    pub(crate) fn script(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::new(script, true)
    }

    /// Like `script`, for hours of traffic: records nothing.
    pub(crate) fn forgetful(script: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        Self::new(script, false)
    }

    fn new(script: impl Fn(&mut Connection) + Send + Sync + 'static, remembers: bool) -> Self {
        // The kernel frees a port that it chose itself when a socket stops listening; an explicit one
        // stays. Hence a first socket finds the port and a second one binds it explicitly.
        let finder = reusable();
        finder.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = finder.local_addr().unwrap().as_socket().unwrap();
        let listener = reusable();
        listener.bind(&address.into()).unwrap();
        drop(finder);
        listener.listen(1024).unwrap();
        let shared = Arc::new(Shared {
            listener,
            script: Box::new(script),
            remembers,
            listening: AtomicBool::new(true),
            ended: AtomicBool::new(false),
            wake: Gate::new(),
            healthy: AtomicBool::new(true),
            health_checks: AtomicUsize::new(0),
            connections: Mutex::default(),
            requests: Mutex::default(),
            malformed: Mutex::default(),
        });
        let acceptor = {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || accept(&shared))
        };
        Self { shared, acceptor: Some(acceptor), address }
    }

    /// Responds to every request with `handler`, with keep-alive; `/health` is built in.
    pub(crate) fn http(handler: impl Fn(&Message, &mut Connection) -> After + Send + Sync + 'static) -> Self {
        Self::script(move |connection| {
            while let Ok(request) = connection.request() {
                let after = if request.target() == "/health" {
                    connection.health();
                    After::Keep
                } else {
                    connection.shared.requests.lock().unwrap().push(request.clone());
                    handler(&request, connection)
                };
                match after {
                    After::Keep => {}
                    After::Close => break,
                    After::Reset => {
                        connection.reset();
                        break;
                    }
                }
            }
        })
    }

    /// Responds with 200, `X-Origin` and its name as the body.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::http(move |request, connection| {
            let body = if request.method() == "HEAD" { "" } else { name };
            let length = name.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nX-Origin: {name}\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
            After::Keep
        })
    }

    /// Echoes the request's body, with a length.
    pub(crate) fn echo() -> Self {
        Self::http(|request, connection| {
            connection.reply(200, &request.body);
            After::Keep
        })
    }

    /// Sends these bytes for every request.
    pub(crate) fn fixed(bytes: impl Into<Vec<u8>>, after: After) -> Self {
        let bytes = bytes.into();
        Self::http(move |_, connection| {
            connection.send(&bytes);
            after
        })
    }

    /// WebSocket server that echoes text frames, and other bytes after its 101.
    pub(crate) fn websocket_echo(name: &'static str) -> Self {
        Self::script(move |connection| {
            while let Ok(request) = connection.request() {
                if request.target() == "/health" {
                    connection.health();
                    continue;
                }
                connection.shared.requests.lock().unwrap().push(request.clone());
                if !request.lists("connection", "upgrade") {
                    connection.reply(200, name.as_bytes());
                    continue;
                }
                let accepted = ws::accepted_for(request.field("sec-websocket-key").unwrap_or_default());
                connection.send(accepted.replace("\r\n\r\n", &format!("\r\nX-Origin: {name}\r\n\r\n")));
                while connection.echo_frame() {}
                return;
            }
        })
    }

    /// Accepts and reads, and never responds.
    pub(crate) fn silent() -> Self {
        Self::script(|connection| {
            let _ = connection.reader.rest();
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn target(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests of handlers, in order, without health checks.
    pub(crate) fn requests(&self) -> Vec<Message> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn request_count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// Asserts a single request, and returns it.
    pub(crate) fn one_request(&self) -> Message {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the origin: {requests:?}");
        requests.into_iter().next().unwrap()
    }

    /// Connections with at least one byte, in order: without TCP health checks.
    pub(crate) fn connections(&self) -> Vec<Arc<Record>> {
        let connections = self.shared.connections.lock().unwrap();
        connections.iter().filter(|record| !record.bytes.lock().unwrap().is_empty()).cloned().collect()
    }

    pub(crate) fn health_checks(&self) -> usize {
        self.shared.health_checks.load(Ordering::SeqCst)
    }

    /// Sets the result of `/health`.
    pub(crate) fn set_healthy(&self, healthy: bool) {
        self.shared.healthy.store(healthy, Ordering::SeqCst);
    }

    /// Cuts and refuses connections; the port stays ours.
    pub(crate) fn die(&self) {
        self.shared.listening.store(false, Ordering::SeqCst);
        // On Linux this stops listening, and keeps the socket bound: connections are refused.
        self.shared.listener.shutdown(Shutdown::Both).unwrap();
        eventually("the origin refuses connections", || {
            TcpStream::connect_timeout(&self.address, SOON).is_err().then_some(())
        });
        self.cut();
    }

    /// Simulates a killed process: connections are reset and refused; the port stays ours.
    pub(crate) fn kill(&self) {
        self.shared.listening.store(false, Ordering::SeqCst);
        self.shared.listener.shutdown(Shutdown::Both).unwrap();
        for record in self.shared.connections.lock().unwrap().iter() {
            abort(&record.stream);
        }
    }

    /// Listens again on the same port.
    pub(crate) fn revive(&self) {
        self.shared.listener.listen(1024).unwrap();
        self.shared.listening.store(true, Ordering::SeqCst);
        self.shared.wake.open();
    }

    /// Closes every connection, as a server with an idle timeout.
    pub(crate) fn cut(&self) {
        for record in self.shared.connections.lock().unwrap().iter() {
            let _ = record.stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let _ = self.shared.listener.shutdown(Shutdown::Both);
        self.shared.wake.open();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut();
        let malformed = self.shared.malformed.lock().unwrap();
        if !std::thread::panicking() {
            assert!(malformed.is_empty(), "the proxy wrote malformed requests: {malformed:?}");
        }
    }
}

impl Connection {
    /// Reads the next request with its body.
    pub(crate) fn request(&mut self) -> Result<Message, Fault> {
        let request = self.reader.request();
        self.judge(request)
    }

    pub(crate) fn request_head(&mut self) -> Result<Message, Fault> {
        let head = self.reader.request_head();
        self.judge(head)
    }

    pub(crate) fn body(&mut self, message: &mut Message) -> Result<(), Fault> {
        let body = self.reader.body(message);
        self.judge(body)
    }

    pub(crate) fn chunk(&mut self, message: &mut Message) -> Result<bool, Fault> {
        let chunk = self.reader.chunk(message);
        self.judge(chunk)
    }

    /// Records a violation by the proxy, which must write well-formed messages; a truncated one is allowed.
    fn judge<T>(&self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(Fault::Malformed(what)) = &result {
            self.shared.malformed.lock().unwrap().push(what.clone());
        }
        result
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        self.reader.exactly(count)
    }

    /// Adds a request to those that [`Origin::requests`] shows.
    pub(crate) fn remember(&self, request: &Message) {
        self.shared.requests.lock().unwrap().push(request.clone());
    }

    /// Writes bytes; returns `false` when the proxy has closed.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        (&self.reader.stream().record.stream).write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a response with a length.
    pub(crate) fn reply(&mut self, status: u16, body: &[u8]) {
        let mut bytes =
            format!("HTTP/1.1 {status} Reply\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
    }

    /// Waits until the proxy closes its side.
    pub(crate) fn until_closed(&mut self) -> Vec<u8> {
        self.reader.rest().unwrap_or_default()
    }

    /// Ends the connection with a RST.
    pub(crate) fn reset(&mut self) {
        let stream = &self.reader.stream().record.stream;
        let _ = SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    }

    fn health(&mut self) {
        self.shared.health_checks.fetch_add(1, Ordering::SeqCst);
        let status = if self.shared.healthy.load(Ordering::SeqCst) { 200 } else { 503 };
        self.reply(status, b"");
    }

    /// Echoes one frame, unmasked; `false` at the end, or after a close frame.
    pub(crate) fn echo_frame(&mut self) -> bool {
        let Ok(head) = self.reader.exactly(2) else { return false };
        let length = match head[1] & 0x7f {
            126 => match self.reader.exactly(2) {
                Ok(bytes) => usize::from(u16::from_be_bytes([bytes[0], bytes[1]])),
                Err(_) => return false,
            },
            small => usize::from(small),
        };
        let mask = if head[1] & 0x80 != 0 { self.reader.exactly(4).unwrap_or_default() } else { vec![0; 4] };
        let Ok(body) = self.reader.exactly(length) else { return false };
        let body: Vec<u8> = body.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        let opcode = head[0] & 0x0f;
        self.send(ws::frame(opcode, &body)) && opcode != ws::CLOSE
    }
}

/// Listener with a full queue: connections to it are neither accepted nor refused.
pub(crate) struct Full {
    listener: Socket,
    _waiting: Vec<TcpStream>,
}

impl Full {
    pub(crate) fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let moment = std::time::Duration::from_millis(200);
        let connect = || TcpStream::connect_timeout(&address, moment).ok();
        let waiting: Vec<TcpStream> = std::iter::from_fn(connect).take(16).collect();
        assert!(waiting.len() < 16, "the queue does not fill");
        Self { listener, _waiting: waiting }
    }

    pub(crate) fn target(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap().as_socket().unwrap())
    }
}

fn reusable() -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
}

fn accept(shared: &Arc<Shared>) {
    loop {
        match shared.listener.accept() {
            Ok((socket, _)) => {
                let stream: TcpStream = socket.into();
                stream.set_nodelay(true).unwrap();
                // A script waits for the proxy with a timeout.
                stream.set_read_timeout(Some(6 * SOON)).unwrap();
                stream.set_write_timeout(Some(3 * SOON)).unwrap();
                let record =
                    Arc::new(Record { stream, bytes: Mutex::default(), ended: AtomicBool::new(false) });
                let mut connections = shared.connections.lock().unwrap();
                if !shared.remembers {
                    connections.retain(|record| !record.has_ended());
                }
                let index = connections.len();
                connections.push(Arc::clone(&record));
                drop(connections);
                let shared = Arc::clone(shared);
                std::thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || serve(&shared, record, index))
                    .unwrap();
            }
            Err(_) if shared.ended.load(Ordering::SeqCst) => return,
            Err(_) if !shared.listening.load(Ordering::SeqCst) => {
                shared.wake.pass();
            }
            Err(_) => super::pause(),
        }
        if shared.ended.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn serve(shared: &Arc<Shared>, record: Arc<Record>, index: usize) {
    let reader = Reader::new(Recording { record: Arc::clone(&record), remembers: shared.remembers });
    let mut connection = Connection { reader, shared: Arc::clone(shared), index };
    (shared.script)(&mut connection);
    record.ended.store(true, Ordering::SeqCst);
    // A pending linger of zero turns this into a RST only when the descriptor itself goes; drop it from the
    // list.
    if SockRef::from(&record.stream).linger().ok().flatten().is_some() {
        abort(&record.stream);
    } else {
        let _ = record.stream.shutdown(Shutdown::Both);
    }
}

/// Sends a RST while the descriptor is open elsewhere: connecting to AF_UNSPEC disconnects.
fn abort(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as u16, sa_data: [0; 14] };
    // SAFETY: the descriptor is open for as long as `stream` is borrowed, and the address outlives the call.
    unsafe {
        libc::connect(stream.as_raw_fd(), &raw const nowhere, size_of::<libc::sockaddr>() as libc::socklen_t);
    }
}
