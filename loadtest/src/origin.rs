//! Origin on one thread and one epoll: responds to `GET /…/N` with N bytes, discards request bodies, and
//! echoes upgraded connections. For trusted clients only: it parses no more than a proxy sends.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};

/// Largest body.
const BODY_BYTES_MAX: usize = 16 << 20;
const BACKLOG: libc::c_int = 4096;
/// Accept value for the key of RFC 6455 §1.3, which the churn client sends.
const UPGRADE: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Bytes of `output` that are sent.
    sent: usize,
    /// Remaining bytes of a request body.
    body_left: usize,
    /// Size of the response after it, and whether it is JSON.
    due: Option<(usize, Kind)>,
    is_tunnel: bool,
    is_waiting_to_write: bool,
}

/// Serves until the process is killed.
pub(crate) fn run(port: u16) -> Result<(), String> {
    serve(port).map_err(|error| error.to_string())
}

fn serve(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    // A thousand connections arrive at once; with the standard library's backlog of 128 most of them would
    // wait for a second. SAFETY: a plain system call on an open socket.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    println!("{}", listener.local_addr()?.port());
    // SAFETY: a plain system call.
    let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if epoll < 0 {
        return Err(io::Error::last_os_error());
    }
    watch(epoll, libc::EPOLL_CTL_ADD, listener.as_raw_fd(), libc::EPOLLIN)?;
    let mut connections: HashMap<RawFd, Connection> = HashMap::new();
    let mut bodies: HashMap<(usize, Kind), Vec<u8>> = HashMap::new();
    let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    loop {
        // SAFETY: the buffer is ours and has the length that is passed.
        let count = unsafe { libc::epoll_wait(epoll, events.as_mut_ptr(), 1024, -1) };
        for event in &events[..usize::try_from(count).unwrap_or(0)] {
            let fd = event.u64 as RawFd;
            if fd == listener.as_raw_fd() {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let fd = stream.as_raw_fd();
                    watch(epoll, libc::EPOLL_CTL_ADD, fd, libc::EPOLLIN)?;
                    connections.insert(fd, Connection::new(stream));
                }
                continue;
            }
            let Some(connection) = connections.get_mut(&fd) else { continue };
            match connection.turn(&mut bodies) {
                Ok(true) => {
                    let waits = connection.sent < connection.output.len();
                    if waits != connection.is_waiting_to_write {
                        connection.is_waiting_to_write = waits;
                        let interest = if waits { libc::EPOLLIN | libc::EPOLLOUT } else { libc::EPOLLIN };
                        watch(epoll, libc::EPOLL_CTL_MOD, fd, interest)?;
                    }
                }
                Ok(false) | Err(_) => drop(connections.remove(&fd)),
            }
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            body_left: 0,
            due: None,
            is_tunnel: false,
            is_waiting_to_write: false,
        }
    }

    /// Reads, responds and writes as much as possible. Returns `false` at the end of the connection.
    fn turn(&mut self, bodies: &mut HashMap<(usize, Kind), Vec<u8>>) -> io::Result<bool> {
        let mut piece = [0; 64 * 1024];
        // Backpressure: a client that does not read is not read from.
        while self.output.len() - self.sent < BODY_BYTES_MAX {
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.input.extend_from_slice(&piece[..count]);
                    if count < piece.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.answer(bodies)?;
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(true)
    }

    fn answer(&mut self, bodies: &mut HashMap<(usize, Kind), Vec<u8>>) -> io::Result<()> {
        let mut at = 0;
        loop {
            if self.is_tunnel {
                self.output.extend_from_slice(&self.input[at..]);
                at = self.input.len();
            }
            let swallowed = self.body_left.min(self.input.len() - at);
            self.body_left -= swallowed;
            at += swallowed;
            // As most servers do: the whole request first, then the response.
            if self.body_left == 0
                && let Some((size, kind)) = self.due.take()
            {
                if bodies.len() > 16 {
                    bodies.clear();
                }
                self.output
                    .extend_from_slice(bodies.entry((size, kind)).or_insert_with(|| response(size, kind)));
            }
            let Some(end) = find(&self.input[at..], b"\r\n\r\n") else { break };
            let head = &self.input[at..at + end + 2];
            at += end + 4;
            if let Some(length) = field(head, b"content-length:") {
                self.body_left = number(length);
            }
            if field(head, b"upgrade:").is_some() {
                self.is_tunnel = true;
                self.output.extend_from_slice(UPGRADE);
                continue;
            }
            let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let size = target.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
            self.due = Some((number(size).min(BODY_BYTES_MAX), Kind::of(target)));
        }
        self.input.drain(..at);
        Ok(())
    }
}

/// Kind of a response, by the beginning of the target.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Bytes,
    /// `/json/`
    Json,
    /// `/undated/`: without `Date`, whose age would keep a cache from using it.
    Undated,
}

impl Kind {
    fn of(target: &[u8]) -> Self {
        match target {
            target if target.starts_with(b"/json/") => Self::Json,
            target if target.starts_with(b"/undated/") => Self::Undated,
            _ => Self::Bytes,
        }
    }
}

fn response(size: usize, kind: Kind) -> Vec<u8> {
    let media_type = if kind == Kind::Json { "application/json" } else { "application/octet-stream" };
    let date = if kind == Kind::Undated { "" } else { "Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n" };
    let mut bytes = format!(
        "HTTP/1.1 200 OK\r\nServer: origin\r\n{date}Content-Type: {media_type}\r\nContent-Length: {size}\r\n\r\n"
    )
    .into_bytes();
    match kind {
        Kind::Json => bytes.extend(json().take(size)),
        Kind::Bytes | Kind::Undated => bytes.extend((0..size).map(|at| b'a' + (at % 26) as u8)),
    }
    bytes
}

/// Rows of an API: names that repeat, values that do not; about a fifth is left by gzip.
fn json() -> impl Iterator<Item = u8> {
    const WORDS: [&str; 8] = ["berlin", "oslo", "pending", "shipped", "lisbon", "returned", "prague", "paid"];
    (1_u64..).flat_map(|row| {
        let noise = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = |shift: u32| WORDS[(noise >> shift) as usize % WORDS.len()];
        format!(
            "{{\"id\":{row},\"customer\":\"{}-{}\",\"city\":\"{}\",\"state\":\"{}\",\"total\":{}.{:02},\"token\":\"{:08x}\"}},\n",
            word(3),
            noise >> 44,
            word(11),
            word(19),
            noise >> 50,
            noise % 100,
            noise as u32
        )
        .into_bytes()
    })
}

fn watch(epoll: RawFd, operation: i32, fd: RawFd, interest: i32) -> io::Result<()> {
    let mut event = libc::epoll_event { events: interest as u32, u64: fd as u64 };
    // SAFETY: both descriptors are open, and the event outlives the call.
    match unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|part| part == needle)
}

fn field<'a>(head: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let line =
        lines.find(|line| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name))?;
    Some(line[name.len()..].trim_ascii())
}

fn number(text: &[u8]) -> usize {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |value: usize, digit| value.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}
