//! HTTP/2 client that writes exactly the given frames (RFC 9113), and reads strictly.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::hpack::{Decoder, literal};
use super::tls::{Authority, Tls};
use super::{Driver, Origin, Proxy, SOON, proxy};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

// RFC 9113 §7.
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// Transport of the frames, mostly TLS.
pub(crate) trait Wire: Read + Write + Send {
    /// Later reads and writes fail after this time.
    fn set_timeout(&mut self, limit: Duration);
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn set_timeout(&mut self, limit: Duration) {
        self.sock.set_read_timeout(Some(limit)).unwrap();
        self.sock.set_write_timeout(Some(limit)).unwrap();
    }
}

/// Connection to the proxy.
pub(crate) struct H2 {
    wire: Box<dyn Wire>,
    buffer: Vec<u8>,
    decoder: Decoder,
    deadline: Instant,
    streams: BTreeMap<u32, Answer>,
    next_stream: u32,
    /// Incomplete header block.
    block: Option<(u32, u8, Vec<u8>)>,
    scheme: &'static str,
    /// Opens the windows as data arrive.
    greedy: bool,
    /// Last stream and code of each GOAWAY.
    pub(crate) goaway: Vec<(u32, u32)>,
    /// The peer's SETTINGS.
    pub(crate) settings: BTreeMap<u16, u32>,
    /// Send windows: of the connection, and of each stream beyond the initial window.
    window: i64,
    windows: BTreeMap<u32, i64>,
    /// Acknowledged PINGs.
    pub(crate) pongs: usize,
    /// End of the connection, clean or not.
    pub(crate) ended: Option<io::Result<()>>,
}

/// Frames received on one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Fields of each HEADERS before the final one.
    pub(crate) interim: Vec<Vec<(String, String)>>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Vec<(String, String)>>,
    /// END_STREAM was received.
    pub(crate) is_ended: bool,
    /// The code of a RST_STREAM.
    pub(crate) reset: Option<u32>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.get(":status").and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the stream has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_ended || self.reset.is_some()
    }

    /// Whether the response is complete.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_ended && self.reset.is_none() && self.status() != 0
    }
}

/// A proxy that serves `app.test` over TLS.
pub(crate) struct Secure {
    proxy: Proxy,
    tls: Tls,
    authority: Authority,
}

impl std::ops::Deref for Secure {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

impl std::ops::DerefMut for Secure {
    fn deref_mut(&mut self) -> &mut Proxy {
        &mut self.proxy
    }
}

impl Secure {
    /// A client that trusts it, and offers HTTP/2.
    pub(crate) fn tls(&self) -> Tls {
        self.tls.clone()
    }

    /// The certificate that a client must trust.
    pub(crate) fn authority(&self) -> String {
        self.authority.pem()
    }
}

/// A proxy that serves `app.test` with `origin`, over TLS.
pub(crate) fn serving(driver: Driver, origin: &Origin) -> Secure {
    serving_as(Proxy::on(driver), origin)
}

/// Like [`serving`], with a given builder.
pub(crate) fn serving_as(builder: proxy::Builder, origin: &Origin) -> Secure {
    let secure = secure(builder);
    secure.serve("app", "app.test", origin);
    secure
}

/// A proxy with a certificate of `app.test`, that serves what its configuration says.
pub(crate) fn secure(builder: proxy::Builder) -> Secure {
    let authority = Authority::new("kit");
    let (certificate, key) = authority.server(&["app.test"]).write(builder.folder(), "default");
    let proxy = builder
        .env("PROXY_HTTPS_PORT", "0")
        .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
        .env("PROXY_TLS_KEY", key.to_str().unwrap())
        .start();
    Secure { proxy, tls: Tls::new(&authority, "app.test").alpn(&["h2"]), authority }
}

impl H2 {
    /// Connects to the proxy.
    pub(crate) fn connect(proxy: &Secure) -> Self {
        Self::with(proxy, &[])
    }

    /// Connects with these SETTINGS.
    pub(crate) fn with(proxy: &Secure, settings: &[(u16, u32)]) -> Self {
        let stream = proxy.tls.stream(proxy.https()).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(b"h2".as_slice()));
        Self::open(Box::new(stream), "https", settings)
    }

    /// Connects and sends the preface without SETTINGS.
    pub(crate) fn without_settings(proxy: &Secure) -> Self {
        let mut client = Self::over(Box::new(proxy.tls.stream(proxy.https()).unwrap()), "https");
        client.send(PREFACE);
        client
    }

    /// Sends the preface with these settings, and opens all windows as data arrive.
    pub(crate) fn open(wire: Box<dyn Wire>, scheme: &'static str, settings: &[(u16, u32)]) -> Self {
        let mut client = Self::over(wire, scheme);
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [id.to_be_bytes().as_slice(), value.to_be_bytes().as_slice()].concat())
            .collect();
        client.send(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat());
        client
    }

    fn over(wire: Box<dyn Wire>, scheme: &'static str) -> Self {
        Self {
            wire,
            buffer: Vec::new(),
            decoder: Decoder::default(),
            deadline: Instant::now() + SOON,
            streams: BTreeMap::new(),
            next_stream: 1,
            block: None,
            scheme,
            greedy: true,
            goaway: Vec::new(),
            settings: BTreeMap::new(),
            window: 65_535,
            windows: BTreeMap::new(),
            pongs: 0,
            ended: None,
        }
    }

    /// Restarts the deadline with `limit`.
    pub(crate) fn within(&mut self, limit: Duration) -> &mut Self {
        self.deadline = Instant::now() + limit;
        self
    }

    /// Stops opening windows.
    pub(crate) fn stingy(&mut self) -> &mut Self {
        self.greedy = false;
        self
    }

    /// Writes bytes; returns whether the proxy took them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.wire.set_timeout(left);
        self.wire.write_all(bytes).and_then(|()| self.wire.flush()).is_ok()
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> &mut Self {
        assert!(self.try_send(bytes), "the proxy took no more bytes");
        self
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.send(&frame(kind, flags, stream, payload))
    }

    /// Stream number of the next request.
    pub(crate) fn next_stream(&mut self) -> u32 {
        self.next_stream += 2;
        self.next_stream - 2
    }

    /// Pseudo-fields of a request, and more fields.
    pub(crate) fn fields<'a>(
        &self,
        method: &'a str,
        authority: &'a str,
        path: &'a str,
        more: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let mut fields =
            vec![(":method", method), (":scheme", self.scheme), (":authority", authority), (":path", path)];
        fields.extend_from_slice(more);
        fields
    }

    /// Starts a request with exactly these fields; returns its stream number.
    pub(crate) fn begin(&mut self, fields: &[(&str, &str)], end: bool) -> u32 {
        let stream = self.next_stream();
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields));
        stream
    }

    /// Starts a GET.
    pub(crate) fn get(&mut self, authority: &str, path: &str) -> u32 {
        let fields = self.fields("GET", authority, path, &[]);
        self.begin(&fields, true)
    }

    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> &mut Self {
        self.frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes)
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) -> &mut Self {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    pub(crate) fn window(&mut self, stream: u32, bytes: u32) -> &mut Self {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
    }

    /// Sends a body as the windows allow.
    pub(crate) fn upload(&mut self, stream: u32, body: &[u8]) -> &mut Self {
        let mut rest = body;
        while !rest.is_empty() {
            let room = self.until("an open window", |client| {
                let initial = i64::from(client.settings.get(&INITIAL_WINDOW_SIZE).copied().unwrap_or(65_535));
                let room = client.window.min(initial + client.windows.get(&stream).copied().unwrap_or(0));
                (room > 0).then_some(room as usize)
            });
            let (part, left) = rest.split_at(room.min(rest.len()).min(16_384));
            self.data(stream, part, false);
            self.window -= part.len() as i64;
            *self.windows.entry(stream).or_default() -= part.len() as i64;
            rest = left;
        }
        self
    }

    /// Frames received on a stream so far.
    pub(crate) fn answer(&self, stream: u32) -> &Answer {
        const NOTHING: &Answer = &Answer {
            interim: Vec::new(),
            fields: Vec::new(),
            body: Vec::new(),
            trailers: None,
            is_ended: false,
            reset: None,
        };
        self.streams.get(&stream).unwrap_or(NOTHING)
    }

    /// Reads until the response of a stream has ended or is reset.
    pub(crate) fn response(&mut self, stream: u32) -> Answer {
        self.until(&format!("the end of stream {stream}"), |client| {
            let answer = client.answer(stream);
            answer.is_over().then(|| answer.clone())
        })
    }

    /// Reads until `done` returns a value; panics at the deadline, or when the connection ends before.
    pub(crate) fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        loop {
            if let Some(value) = done(self) {
                return value;
            }
            assert!(
                self.ended.is_none(),
                "the connection ended before {what}: {:?} {:?}",
                self.ended,
                self.goaway
            );
            assert!(self.turn(), "not in time: {what}");
        }
    }

    /// Reads until the proxy ends the connection; returns the code of its last GOAWAY.
    pub(crate) fn until_ended(&mut self) -> Option<u32> {
        while self.ended.is_none() {
            assert!(self.turn(), "the connection did not end in time");
        }
        self.goaway.last().map(|(_, code)| *code)
    }

    /// Reads the next frame; `false` at the deadline.
    pub(crate) fn turn(&mut self) -> bool {
        while self.buffer.len() < 9 || self.buffer.len() < 9 + length(&self.buffer) {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.wire.set_timeout(left.max(Duration::from_millis(1)));
            let mut piece = vec![0; 64 * 1024];
            match self.wire.read(&mut piece) {
                Ok(0) => {
                    self.ended = Some(Ok(()));
                    return true;
                }
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return false;
                }
                Err(error) => {
                    self.ended = Some(Err(error));
                    return true;
                }
            }
        }
        let bytes: Vec<u8> = self.buffer.drain(..9 + length(&self.buffer)).collect();
        let stream = u32::from_be_bytes([bytes[5] & 0x7f, bytes[6], bytes[7], bytes[8]]);
        self.take(bytes[3], bytes[4], stream, &bytes[9..]);
        true
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        assert!(payload.len() <= 16_384, "a frame of {} bytes", payload.len());
        assert!(self.block.is_none() || kind == CONTINUATION, "frame {kind} within a header block");
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match kind {
            DATA => {
                assert_eq!(flags & !END_STREAM, 0, "padding");
                let answer = self.streams.entry(stream).or_default();
                assert!(!answer.is_ended && answer.status() >= 200, "DATA on stream {stream}: {answer:?}");
                answer.body.extend_from_slice(payload);
                answer.is_ended = flags & END_STREAM != 0;
                if self.greedy && !payload.is_empty() {
                    let bytes = (payload.len() as u32).to_be_bytes();
                    let mut updates = frame(WINDOW_UPDATE, 0, 0, &bytes);
                    updates.extend(frame(WINDOW_UPDATE, 0, stream, &bytes));
                    self.try_send(&updates);
                }
            }
            HEADERS => self.block(stream, flags, payload.to_vec()),
            CONTINUATION => {
                let (begun, first, mut bytes) = self.block.take().expect("CONTINUATION of nothing");
                assert_eq!(begun, stream);
                bytes.extend_from_slice(payload);
                self.block(stream, first | flags, bytes);
            }
            RST_STREAM => self.streams.entry(stream).or_default().reset = Some(word(0)),
            SETTINGS if flags & ACK != 0 => {}
            SETTINGS => {
                for setting in payload.chunks_exact(6) {
                    let id = u16::from_be_bytes([setting[0], setting[1]]);
                    let value = u32::from_be_bytes(setting[2..6].try_into().unwrap());
                    self.settings.insert(id, value);
                }
                self.try_send(&frame(SETTINGS, ACK, 0, &[]));
            }
            PING if flags & ACK != 0 => self.pongs += 1,
            PING => {
                self.try_send(&frame(PING, ACK, 0, payload));
            }
            GOAWAY => self.goaway.push((word(0), word(4))),
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(word(0)),
            WINDOW_UPDATE => *self.windows.entry(stream).or_default() += i64::from(word(0)),
            kind => panic!("a frame of kind {kind}"),
        }
    }

    fn block(&mut self, stream: u32, flags: u8, bytes: Vec<u8>) {
        if flags & END_HEADERS == 0 {
            self.block = Some((stream, flags, bytes));
            return;
        }
        let fields = self.decoder.decode(&bytes).unwrap_or_else(|error| panic!("a header block: {error}"));
        for (name, value) in &fields {
            assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "upper case in {name:?}");
            let forbidden =
                ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"];
            assert!(!forbidden.contains(&name.as_str()), "{name}: {value} in HTTP/2");
        }
        let answer = self.streams.entry(stream).or_default();
        assert!(!answer.is_ended, "HEADERS after the end of stream {stream}");
        let is_ended = flags & END_STREAM != 0;
        if answer.status() >= 200 {
            assert!(is_ended, "trailers without an end");
            assert!(fields.iter().all(|(name, _)| !name.starts_with(':')), "{fields:?}");
            answer.trailers = Some(fields);
        } else {
            assert_eq!(fields.iter().filter(|(name, _)| name == ":status").count(), 1, "{fields:?}");
            assert_eq!(fields[0].0, ":status", "{fields:?}");
            let interim = fields[0].1.starts_with('1');
            if interim {
                assert!(!is_ended, "an interim response ended the stream");
                answer.interim.push(fields);
            } else {
                answer.fields = fields;
            }
        }
        answer.is_ended = is_ended;
    }
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block of exactly these fields.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        literal(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

fn length(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}
