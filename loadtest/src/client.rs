//! Blocking clients with timeouts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Timeout of every operation of a load test.
const LIMIT: Duration = Duration::from_secs(10);

/// Keep-alive connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Response: its status and its body.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)
            .map_err(|error| format!("connect to {address}: {error}"))?;
        let set = stream.set_nodelay(true).and(stream.set_read_timeout(Some(LIMIT)));
        set.and(stream.set_write_timeout(Some(LIMIT))).map_err(|error| error.to_string())?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Returns the socket; no unread response may be left in it.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("write: {error}"))
    }

    /// Reads a response with a length (or none, for 101 and 204).
    pub(crate) fn response(&mut self) -> Result<Response, String> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_ascii_lowercase();
        let status =
            head.get(9..12).and_then(|code| code.parse().ok()).ok_or(format!("no status in {head}"))?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        while self.buffer.len() < end + length {
            self.fill()?;
        }
        let body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        Ok(Response { status, body })
    }

    pub(crate) fn get(&mut self, host: &str, target: &str) -> Result<Response, String> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        self.response()
    }

    /// Sends a request to the admin API.
    pub(crate) fn call(
        &mut self,
        api: SocketAddr,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Response, String> {
        let length = body.len();
        self.send(
            format!(
                "{method} {path} HTTP/1.1\r\nHost: {api}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        )?;
        self.response()
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn fill(&mut self) -> Result<(), String> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
            Err(error) => Err(format!("read: {error}")),
        }
    }
}

/// Opens idle connections.
pub(crate) fn idle(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>, String> {
    let limit = libc::rlimit { rlim_cur: 1 << 16, rlim_max: 1 << 16 };
    // SAFETY: a plain system call with a struct that outlives it. Where it is refused, the connects
    // will fail.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    let connect = || TcpStream::connect_timeout(&address, LIMIT).map_err(|error| format!("connect: {error}"));
    (0..count).map(|_| connect()).collect()
}

/// Quantile of sorted values.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
