//! Strict HTTP/1.1 parser that shares no code with the product: it reads one message at a time and rejects
//! everything that RFC 9112 forbids a sender.

use std::io::{self, Read};

/// Complete request or response.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) first_line: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) framing: Framing,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// 1xx responses before it.
    pub(crate) interim: Vec<Message>,
    /// Raw head with its empty line.
    pub(crate) head: Vec<u8>,
}

/// Framing of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// Error instead of a complete message.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Closed before the first byte of a message.
    Closed,
    /// Closed within a head.
    CutHead,
    /// Closed within a body, with the part that arrived.
    Cut(Box<Message>),
    /// Reset by the peer.
    Reset,
    /// Timeout.
    Deadline,
    /// Violation of HTTP/1.1 by the peer.
    Malformed(String),
    /// Other error of the socket.
    Socket(io::Error),
}

impl Message {
    /// Values of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.fields.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    /// Value of a field that must be unique.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} stands {} times in {self:?}", all.len());
        all.first().copied()
    }

    /// Whether a list-valued field has this member.
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        self.all(name)
            .iter()
            .flat_map(|value| value.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(member))
    }

    pub(crate) fn status(&self) -> u16 {
        let code = self.first_line.split(' ').nth(1).unwrap_or_default();
        code.parse().unwrap_or_else(|_| panic!("no status in {:?}", self.first_line))
    }

    pub(crate) fn method(&self) -> &str {
        self.first_line.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.first_line.split(' ').nth(1).unwrap_or_default()
    }

    /// `HTTP/1.1` of a request.
    pub(crate) fn request_version(&self) -> &str {
        self.first_line.rsplit(' ').next().unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// Whether the sender will close the connection after this response.
    pub(crate) fn closes(&self) -> bool {
        self.lists("connection", "close")
            || self.framing == Framing::UntilClose
            || (self.first_line.starts_with("HTTP/1.0") && !self.lists("connection", "keep-alive"))
    }

    fn new(first_line: String, fields: Vec<(String, String)>, head: Vec<u8>) -> Self {
        Self {
            first_line,
            fields,
            framing: Framing::None,
            body: Vec::new(),
            trailers: Vec::new(),
            interim: Vec::new(),
            head,
        }
    }
}

/// Reader of messages from a stream. Bytes beyond a message stay for the next one.
pub(crate) struct Reader<S> {
    stream: S,
    buffer: Vec<u8>,
    at: usize,
}

impl<S: Read> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), at: 0 }
    }

    pub(crate) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Reads the next request with its body.
    pub(crate) fn request(&mut self) -> Result<Message, Fault> {
        let mut message = self.request_head()?;
        self.body(&mut message)?;
        Ok(message)
    }

    /// Reads and checks the head of the next request; its body follows with [`body`](Self::body).
    pub(crate) fn request_head(&mut self) -> Result<Message, Fault> {
        let mut message = self.head()?;
        let parts: Vec<&str> = message.first_line.split(' ').collect();
        let well_formed = parts.len() == 3
            && is_token(parts[0].as_bytes())
            && !parts[1].is_empty()
            && parts[1].bytes().all(|byte| byte.is_ascii_graphic())
            && matches!(parts[2], "HTTP/1.1" | "HTTP/1.0");
        if !well_formed {
            return Err(Fault::Malformed(format!("request line {:?}", message.first_line)));
        }
        if parts[2] == "HTTP/1.1" && message.all("host").len() != 1 {
            return Err(Fault::Malformed(format!("Host {:?}", message.all("host"))));
        }
        message.framing = match declared(&message)? {
            Framing::UntilClose => Framing::None,
            framing => framing,
        };
        Ok(message)
    }

    /// Reads the next final response to a request with `method`, its body, and the 1xx responses before it.
    pub(crate) fn response(&mut self, method: &str) -> Result<Message, Fault> {
        let mut message = self.response_head(method)?;
        self.body(&mut message)?;
        Ok(message)
    }

    /// Reads the head of the next final response, and the 1xx responses before it (a 101 is final).
    pub(crate) fn response_head(&mut self, method: &str) -> Result<Message, Fault> {
        let mut interim = Vec::new();
        loop {
            let mut message = self.one_response_head(method)?;
            let status = message.status();
            if (100..200).contains(&status) && status != 101 {
                interim.push(message);
                continue;
            }
            message.interim = interim;
            return Ok(message);
        }
    }

    /// Reads the next response head, also of a 1xx.
    pub(crate) fn one_response_head(&mut self, method: &str) -> Result<Message, Fault> {
        let mut message = self.head()?;
        let line = message.first_line.as_bytes();
        let well_formed = line.len() >= 13
            && (line.starts_with(b"HTTP/1.1 ") || line.starts_with(b"HTTP/1.0 "))
            && line[9..12].iter().all(u8::is_ascii_digit)
            && (b'1'..=b'5').contains(&line[9])
            && line[12] == b' ';
        if !well_formed {
            return Err(Fault::Malformed(format!("status line {:?}", message.first_line)));
        }
        let status = message.status();
        let framing = declared(&message)?;
        let bodiless = status < 200 || status == 204 || status == 304 || method == "HEAD";
        if (status < 200 || status == 204) && framing != Framing::UntilClose {
            // RFC 9112 §6.1 and RFC 9110 §8.6: neither field is allowed there.
            return Err(Fault::Malformed(format!("{status} with {framing:?}")));
        }
        message.framing = if bodiless { Framing::None } else { framing };
        Ok(message)
    }

    /// Reads the body that the head of `message` announces.
    pub(crate) fn body(&mut self, message: &mut Message) -> Result<(), Fault> {
        match message.framing {
            Framing::None => Ok(()),
            Framing::Length(length) => {
                while self.available() < length {
                    if !self.fill()? {
                        message.body = self.take(self.available());
                        return Err(Fault::Cut(Box::new(message.clone())));
                    }
                }
                message.body = self.take(length);
                Ok(())
            }
            Framing::Chunked => match self.chunks(message) {
                Err(Fault::Closed) => Err(Fault::Cut(Box::new(message.clone()))),
                other => other,
            },
            Framing::UntilClose => {
                while self.fill()? {}
                message.body = self.take(self.available());
                Ok(())
            }
        }
    }

    /// Reads one chunk into the body; `false` after the last one and its trailers.
    pub(crate) fn chunk(&mut self, message: &mut Message) -> Result<bool, Fault> {
        let line = self.line()?;
        let line = String::from_utf8(line).map_err(|error| Fault::Malformed(error.to_string()))?;
        let size = line.split(';').next().unwrap_or_default();
        if size.is_empty() || size.len() > 8 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::Malformed(format!("chunk size {line:?}")));
        }
        let size = usize::from_str_radix(size, 16).map_err(|error| Fault::Malformed(error.to_string()))?;
        if size == 0 {
            message.trailers = self.fields(&mut Vec::new())?;
            return Ok(false);
        }
        while self.available() < size + 2 {
            if !self.fill()? {
                let rest = self.available().min(size);
                let rest = self.take(rest);
                message.body.extend_from_slice(&rest);
                return Err(Fault::Closed);
            }
        }
        let bytes = self.take(size);
        message.body.extend_from_slice(&bytes);
        if self.take(2) != b"\r\n" {
            return Err(Fault::Malformed("no CRLF after a chunk".into()));
        }
        Ok(true)
    }

    fn chunks(&mut self, message: &mut Message) -> Result<(), Fault> {
        while self.chunk(message)? {}
        Ok(())
    }

    /// Reads exactly `count` bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Fault> {
        while self.available() < count {
            if !self.fill()? {
                return Err(Fault::Closed);
            }
        }
        Ok(self.take(count))
    }

    /// Reads at least one byte; empty at the end of the stream.
    pub(crate) fn some(&mut self) -> Result<Vec<u8>, Fault> {
        if self.available() == 0 {
            self.fill()?;
        }
        Ok(self.take(self.available()))
    }

    /// Reads all bytes until the peer closes.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>, Fault> {
        while self.fill()? {}
        Ok(self.take(self.available()))
    }

    /// Number of unparsed bytes.
    pub(crate) fn available(&self) -> usize {
        self.buffer.len() - self.at
    }

    fn head(&mut self) -> Result<Message, Fault> {
        let mut head = Vec::new();
        if self.available() == 0 && !self.fill()? {
            return Err(Fault::Closed);
        }
        let inside = |fault| match fault {
            Fault::Closed => Fault::CutHead,
            other => other,
        };
        let first = self.line().map_err(inside)?;
        head.extend_from_slice(&first);
        head.extend_from_slice(b"\r\n");
        // A reason may hold bytes beyond ASCII (RFC 9112 §4); a request line is judged by its parts.
        let first: String = first.into_iter().map(char::from).collect();
        if first.chars().any(|byte| byte < ' ' || byte == '\x7f') {
            return Err(Fault::Malformed(format!("first line {first:?}")));
        }
        let fields = self.fields(&mut head).map_err(inside)?;
        Ok(Message::new(first, fields, head))
    }

    fn fields(&mut self, head: &mut Vec<u8>) -> Result<Vec<(String, String)>, Fault> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            head.extend_from_slice(&line);
            head.extend_from_slice(b"\r\n");
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let name = &line[..colon.unwrap_or(0)];
            if !is_token(name) {
                return Err(Fault::Malformed(format!("field line {:?}", String::from_utf8_lossy(&line))));
            }
            let value = line[name.len() + 1..].trim_ascii();
            if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
                return Err(Fault::Malformed(format!("field line {:?}", String::from_utf8_lossy(&line))));
            }
            let text = |bytes: &[u8]| bytes.iter().map(|byte| char::from(*byte)).collect::<String>();
            fields.push((text(name), text(value)));
        }
    }

    /// A line without its CRLF. A bare CR or LF is a fault.
    fn line(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            let waiting = &self.buffer[self.at..];
            if let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
                let line = self.take(end + 1);
                let Some(text) = line.strip_suffix(b"\r\n") else {
                    return Err(Fault::Malformed(format!("bare LF in {:?}", String::from_utf8_lossy(&line))));
                };
                if text.contains(&b'\r') {
                    return Err(Fault::Malformed(format!("bare CR in {:?}", String::from_utf8_lossy(&line))));
                }
                return Ok(text.to_vec());
            }
            if !self.fill()? {
                return Err(Fault::Closed);
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.buffer[self.at..self.at + count].to_vec();
        self.at += count;
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        }
        bytes
    }

    fn fill(&mut self) -> Result<bool, Fault> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    return Ok(true);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(Fault::Deadline),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => return Err(Fault::Reset),
                    _ => return Err(Fault::Socket(error)),
                },
            }
        }
    }
}

/// Framing that a head declares; both declarations, or an invalid one, are a fault.
fn declared(message: &Message) -> Result<Framing, Fault> {
    let lengths = message.all("content-length");
    let codings = message.all("transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::UntilClose),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| Fault::Malformed(format!("Content-Length {length}")))?;
            Ok(Framing::Length(length))
        }
        _ => Err(Fault::Malformed(format!("Content-Length {lengths:?} with Transfer-Encoding {codings:?}"))),
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}
