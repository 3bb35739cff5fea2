//! Requests of a run and their results, and a strict HTTP reader for both peers, independent of `wire`.

use std::cell::RefCell;
use std::rc::Rc;

use super::engine::Engine;
use super::network::End;

/// Parameters and requests of a run.
pub(super) struct Case {
    /// No faults: every request has to be served.
    pub(super) is_calm: bool,
    /// The hosts of [`copied_routes`](super::copied_routes) are routes, which are hedged and copied.
    pub(super) is_copied: bool,
    /// Probability of endpoints to misbehave, in percent.
    pub(super) evil: u64,
    /// Probability of clients to misbehave, in percent.
    pub(super) rude: u64,
    pub(super) requests: RefCell<Vec<Request>>,
}

/// One request, identified by its index in the table, which stands in its path and in a field.
pub(super) struct Request {
    pub(super) app: usize,
    pub(super) host: String,
    pub(super) method: &'static str,
    pub(super) body_bytes: usize,
    pub(super) is_chunked: bool,
    pub(super) is_upgrade: bool,
    /// A second attempt may be made beside the first one.
    pub(super) is_hedged: bool,
    /// Attempts that reached endpoints.
    pub(super) attempts: Vec<Attempt>,
    /// Number of its finish events.
    pub(super) finishes: u32,
    /// Status of the final response that the client got.
    pub(super) status: Option<u16>,
}

/// A request as an endpoint received it, and its response.
pub(super) struct Attempt {
    /// It was the first on its connection.
    pub(super) is_fresh: bool,
    /// The endpoint sends nothing and leaves the connection open.
    pub(super) is_silent: bool,
    pub(super) body_bytes: usize,
    /// The response was sent to its end.
    pub(super) is_whole: bool,
}

impl Case {
    pub(super) fn add(&self, request: Request) -> usize {
        self.requests.borrow_mut().push(request);
        self.requests.borrow().len() - 1
    }
}

impl Request {
    pub(super) fn may_repeat(&self) -> bool {
        !matches!(self.method, "POST" | "PATCH")
    }
}

/// Body of request `id`.
pub(super) fn request_body(id: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (id * 31 + at * 7 + (at >> 8) * 13) as u8).collect()
}

/// Body of the response to an attempt.
pub(super) fn response_body(id: usize, attempt: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (id * 17 + attempt * 101 + at * 11 + (at >> 8) * 3) as u8).collect()
}

/// Frames of a WebSocket, each of [`FRAME_BYTES`] and from the client, which masks.
pub(super) fn frames(id: usize, count: usize, is_masked: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..count {
        let mask = if is_masked { 4 } else { 0 };
        let payload = FRAME_BYTES - 2 - mask;
        bytes.extend([0x82, payload as u8 | if is_masked { 0x80 } else { 0 }]);
        bytes.extend((0..FRAME_BYTES - 2).map(|at| (id * 5 + number * 3 + at) as u8));
    }
    bytes
}

pub(super) const FRAME_BYTES: usize = 22;

/// Whether the received bytes are those sent, or a beginning of them up to a frame boundary and a close
/// frame.
pub(super) fn is_tunnelled(received: &[u8], sent: &[u8]) -> bool {
    if sent.starts_with(received) {
        return true;
    }
    let common = received.iter().zip(sent).take_while(|(a, b)| a == b).count();
    let whole = common / FRAME_BYTES * FRAME_BYTES;
    let rest = &received[whole..];
    // A close frame may itself have been cut short.
    rest.first() == Some(&0x88) && rest.len() <= 8
}

/// Cuts a body into chunks of various lengths.
pub(super) fn chunked(engine: &Engine, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let count = 1 + engine.below(rest.len() as u64) as usize;
        bytes.extend(format!("{count:x}\r\n").bytes());
        bytes.extend(&rest[..count]);
        bytes.extend(b"\r\n");
        rest = &rest[count..];
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// A head as it was received.
pub(super) struct Head {
    pub(super) first: String,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// Framing of the body; ambiguous framing is an error.
    pub(super) fn framing(&self) -> Result<Option<Framing>, String> {
        let count = |name: &str| self.fields.iter().filter(|(field, _)| field == name).count();
        match (count("content-length"), count("transfer-encoding")) {
            (0, 0) => Ok(None),
            (1, 0) => {
                let length = self.get("content-length").and_then(|length| length.parse().ok());
                length.map(|length| Some(Framing::Length(length))).ok_or("an invalid length".to_owned())
            }
            (0, 1) if self.get("transfer-encoding") == Some("chunked") => Ok(Some(Framing::Chunked)),
            _ => Err(format!("ambiguous framing: {:?}", self.fields)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reader of messages from the other end.
pub(super) struct Inbox {
    pub(super) end: Rc<End>,
    pub(super) bytes: Vec<u8>,
}

impl Inbox {
    pub(super) fn new(end: Rc<End>) -> Self {
        Self { end, bytes: Vec::new() }
    }

    /// Reads on; false at the end.
    pub(super) async fn more(&mut self) -> bool {
        let received = self.end.receive().await;
        self.bytes.extend(&received);
        !received.is_empty()
    }

    /// Reads the next head; `None` when the connection ends before, an error when it is invalid.
    pub(super) async fn head(&mut self) -> Result<Option<Head>, String> {
        loop {
            if let Some(at) = self.bytes.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let text: Vec<u8> = self.bytes.drain(..at + 4).collect();
                let text = String::from_utf8(text).map_err(|_| "a head that is not UTF-8".to_owned())?;
                let mut lines = text.trim_end().split("\r\n");
                let first = lines.next().unwrap_or_default().to_owned();
                let mut fields = Vec::new();
                for line in lines {
                    let (name, value) = line.split_once(':').ok_or_else(|| format!("a line {line:?}"))?;
                    fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
                }
                return Ok(Some(Head { first, fields }));
            }
            if !self.more().await {
                return Ok(None);
            }
        }
    }

    /// Reads the body, as far as it came, and returns whether it is complete.
    pub(super) async fn body(&mut self, framing: Framing) -> Result<(Vec<u8>, bool), String> {
        match framing {
            Framing::Length(length) => {
                while self.bytes.len() < length && self.more().await {}
                let is_whole = self.bytes.len() >= length;
                Ok((self.bytes.drain(..length.min(self.bytes.len())).collect(), is_whole))
            }
            Framing::UntilClose => {
                while self.more().await {}
                Ok((std::mem::take(&mut self.bytes), true))
            }
            Framing::Chunked => {
                let mut body = Vec::new();
                loop {
                    let Some(line) = self.line().await else { return Ok((body, false)) };
                    let size = usize::from_str_radix(&line, 16).map_err(|_| format!("a chunk {line:?}"))?;
                    if size == 0 {
                        return match self.line().await {
                            None => Ok((body, false)),
                            Some(line) if line.is_empty() => Ok((body, true)),
                            Some(line) => Err(format!("a trailer {line:?}")),
                        };
                    }
                    while self.bytes.len() < size + 2 && self.more().await {}
                    let is_whole = self.bytes.len() >= size + 2;
                    body.extend(self.bytes.drain(..size.min(self.bytes.len())));
                    if !is_whole {
                        return Ok((body, false));
                    }
                    if self.bytes.drain(..2).as_slice() != b"\r\n" {
                        return Err("a chunk without an end".to_owned());
                    }
                }
            }
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(2).position(|bytes| bytes == b"\r\n") {
                let line: Vec<u8> = self.bytes.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }
}
