//! HTTP/2 server that writes exactly the frames of a test, in plaintext or over TLS, and reads strictly (RFC
//! 9113).

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::h2::*;
use super::hpack::Decoder;
use super::tls::Pair;
use super::{SOON, pause};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Listening server; its connections end when it is dropped.
pub(crate) struct Scripted {
    shared: Arc<Shared>,
    port: u16,
    scheme: &'static str,
}

struct Shared {
    script: Box<dyn Fn(&mut Line) + Send + Sync>,
    settings: Vec<(u16, u32)>,
    ended: AtomicBool,
    /// Connections with an HTTP/2 preface.
    lines: AtomicUsize,
    sockets: Mutex<Vec<TcpStream>>,
    asked: Mutex<Vec<Asked>>,
    /// Protocol errors of the proxy.
    malformed: Mutex<Vec<String>>,
}

/// Request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) stream: u32,
    /// Number of its connection, from 0.
    pub(crate) line: usize,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// END_STREAM was received.
    pub(crate) is_ended: bool,
    /// Code of a RST_STREAM.
    pub(crate) reset: Option<u32>,
}

impl Asked {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn path(&self) -> &str {
        self.get(":path").unwrap_or_default()
    }
}

/// Connection, as its script sees it.
pub(crate) struct Line {
    wire: Box<dyn ServerWire>,
    shared: Arc<Shared>,
    pub(crate) index: usize,
    buffer: Vec<u8>,
    decoder: Decoder,
    streams: BTreeMap<u32, Asked>,
    /// Requests whose head has arrived and that the script has not taken yet.
    fresh: VecDeque<u32>,
    block: Option<(u32, u8, Vec<u8>)>,
    window: i64,
    windows: BTreeMap<u32, i64>,
    initial_window: i64,
    /// Opens the windows as data arrive.
    pub(crate) is_greedy: bool,
    /// The proxy's SETTINGS.
    pub(crate) settings: BTreeMap<u16, u32>,
    pub(crate) pings: usize,
    /// The code of a GOAWAY.
    pub(crate) goaway: Option<u32>,
    is_over: bool,
}

/// Transport of the frames.
trait ServerWire: Read + Write + Send {
    fn socket(&self) -> &TcpStream;
}

impl ServerWire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl ServerWire for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

impl Scripted {
    /// Runs `script` once per connection, in plaintext.
    pub(crate) fn script(script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        Self::open(None, &[], script)
    }

    /// Like `script`, with SETTINGS.
    pub(crate) fn with(settings: &[(u16, u32)], script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        Self::open(None, settings, script)
    }

    /// Like `script`, over TLS, with ALPN `h2` only.
    pub(crate) fn secure(pair: &Pair, script: impl Fn(&mut Line) + Send + Sync + 'static) -> Self {
        Self::open(Some(pair), &[], script)
    }

    /// Responds to each request with 200 and the body from `handler`, in order.
    pub(crate) fn answering(handler: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::script(move |line| line.answer_all(&handler))
    }

    fn open(
        pair: Option<&Pair>,
        settings: &[(u16, u32)],
        script: impl Fn(&mut Line) + Send + Sync + 'static,
    ) -> Self {
        let config = pair.map(|pair| {
            let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            config.alpn_protocols = vec![b"h2".to_vec()];
            Arc::new(config)
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let scheme = if config.is_some() { "https" } else { "h2c" };
        let shared = Arc::new(Shared {
            script: Box::new(script),
            settings: settings.to_vec(),
            ended: AtomicBool::new(false),
            lines: AtomicUsize::new(0),
            sockets: Mutex::default(),
            asked: Mutex::default(),
            malformed: Mutex::default(),
        });
        let sharing = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if sharing.ended.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, config, shared) = (stream.unwrap(), config.clone(), Arc::clone(&sharing));
                shared.sockets.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || accept(stream, config, shared));
            }
        });
        Self { shared, port, scheme }
    }

    pub(crate) fn target(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Number of connections with an HTTP/2 preface.
    pub(crate) fn lines(&self) -> usize {
        self.shared.lines.load(Ordering::SeqCst)
    }

    /// All complete requests that a script has taken, in order.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, which then ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if !std::thread::panicking() {
            let malformed = self.shared.malformed.lock().unwrap();
            assert!(malformed.is_empty(), "the proxy wrote what no client may: {malformed:?}");
        }
    }
}

fn accept(mut stream: TcpStream, config: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let limit = Some(3 * SOON);
    stream.set_read_timeout(limit).unwrap();
    stream.set_write_timeout(limit).unwrap();
    let mut wire: Box<dyn ServerWire> = match config {
        None => Box::new(stream),
        Some(config) => {
            let mut tls = ServerConnection::new(config).unwrap();
            while tls.is_handshaking() {
                if tls.complete_io(&mut stream).is_err() {
                    return;
                }
            }
            Box::new(StreamOwned::new(tls, stream))
        }
    };
    let mut preface = [0; PREFACE.len()];
    // A TCP health check sends nothing.
    if wire.read_exact(&mut preface).is_err() {
        return;
    }
    if preface != PREFACE {
        let said = String::from_utf8_lossy(&preface).into_owned();
        shared.malformed.lock().unwrap().push(format!("no preface: {said:?}"));
        return;
    }
    let index = shared.lines.fetch_add(1, Ordering::SeqCst);
    let settings: Vec<u8> = shared
        .settings
        .iter()
        .flat_map(|(id, value)| [id.to_be_bytes().as_slice(), value.to_be_bytes().as_slice()].concat())
        .collect();
    let mut line = Line {
        wire,
        index,
        buffer: Vec::new(),
        decoder: Decoder::default(),
        streams: BTreeMap::new(),
        fresh: VecDeque::new(),
        block: None,
        window: 65_535,
        windows: BTreeMap::new(),
        initial_window: 65_535,
        is_greedy: true,
        settings: BTreeMap::new(),
        pings: 0,
        goaway: None,
        is_over: false,
        shared: Arc::clone(&shared),
    };
    line.frame(SETTINGS, 0, 0, &settings);
    (shared.script)(&mut line);
    let _ = line.wire.socket().shutdown(Shutdown::Write);
    // Further bytes are read: unread ones would make the close a reset, which overtakes the last frames.
    while line.turn() {}
}

impl Line {
    /// Takes the next complete request; `None` when the connection ends.
    pub(crate) fn request(&mut self) -> Option<Asked> {
        let head = self.head()?;
        self.rest(head.stream)
    }

    /// Takes the next request with its head alone.
    pub(crate) fn head(&mut self) -> Option<Asked> {
        loop {
            if let Some(stream) = self.fresh.pop_front() {
                return Some(self.streams[&stream].clone());
            }
            if !self.turn() {
                return None;
            }
        }
    }

    /// Waits for body and trailers of a request; `None` when it is reset, or the connection ends.
    pub(crate) fn rest(&mut self, stream: u32) -> Option<Asked> {
        let asked = self.until(|line| {
            let asked = &line.streams[&stream];
            (asked.is_ended || asked.reset.is_some()).then(|| asked.clone())
        })?;
        if asked.reset.is_some() {
            return None;
        }
        self.shared.asked.lock().unwrap().push(asked.clone());
        Some(asked)
    }

    /// Reads frames until `done` returns a value; `None` when the connection ends before.
    pub(crate) fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> Option<T> {
        loop {
            if let Some(value) = done(self) {
                return Some(value);
            }
            if !self.turn() {
                return None;
            }
        }
    }

    /// Waits until the request is reset; returns the code.
    pub(crate) fn until_reset(&mut self, stream: u32) -> Option<u32> {
        self.until(|line| line.streams[&stream].reset)
    }

    /// Frames received on a stream so far.
    pub(crate) fn seen(&self, stream: u32) -> &Asked {
        &self.streams[&stream]
    }

    /// Takes a request whose head has arrived already.
    pub(crate) fn head_at_hand(&mut self) -> Option<Asked> {
        let stream = self.fresh.pop_front()?;
        Some(self.streams[&stream].clone())
    }

    /// Bytes that the windows allow on a stream.
    pub(crate) fn room(&self, stream: u32) -> usize {
        let own = self.initial_window + self.windows.get(&stream).copied().unwrap_or(0);
        self.window.min(own).max(0) as usize
    }

    /// Sends 200 with a body.
    pub(crate) fn reply(&mut self, stream: u32, body: &[u8]) {
        self.headers(stream, &[(":status", "200")], body.is_empty());
        if !body.is_empty() {
            self.data(stream, body, true);
        }
    }

    /// Serves requests in order until the connection ends.
    pub(crate) fn answer_all(&mut self, handler: &dyn Fn(&Asked) -> Vec<u8>) {
        while let Some(asked) = self.request() {
            let body = handler(&asked);
            self.reply(asked.stream, &body);
        }
    }

    pub(crate) fn headers(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) {
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.frame(HEADERS, flags, stream, &block(fields));
    }

    /// Sends a body, or a piece of one, as the windows allow; `false` when the stream or the connection ends
    /// before.
    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> bool {
        let mut rest = bytes;
        loop {
            let part = rest.len().min(16_384);
            let Some(Some(room)) = self.until(|line| {
                if line.streams[&stream].reset.is_some() {
                    return Some(None);
                }
                let room = line.room(stream);
                (room > 0 || part == 0).then_some(Some(room))
            }) else {
                return false;
            };
            let (piece, left) = rest.split_at(part.min(room));
            self.window -= piece.len() as i64;
            *self.windows.entry(stream).or_default() -= piece.len() as i64;
            let is_last = left.is_empty();
            self.frame(DATA, if end && is_last { END_STREAM } else { 0 }, stream, piece);
            rest = left;
            if is_last {
                return true;
            }
        }
    }

    pub(crate) fn reset(&mut self, stream: u32, code: u32) {
        self.frame(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Sends a GOAWAY: no requests beyond `last`.
    pub(crate) fn goaway(&mut self, last: u32, code: u32) {
        self.frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    pub(crate) fn open_window(&mut self, stream: u32, bytes: u32) {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send(&frame(kind, flags, stream, payload))
    }

    /// Writes bytes; returns whether the proxy took them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.write_all(bytes).and_then(|()| self.wire.flush()).is_ok()
    }

    /// Reads until the proxy closes the connection.
    pub(crate) fn until_closed(&mut self) {
        while self.turn() {}
    }

    /// Stops reading and writing, as a machine without power, until the origin is dropped.
    pub(crate) fn play_dead(&mut self) {
        while !self.shared.ended.load(Ordering::SeqCst) {
            pause();
        }
        self.is_over = true;
    }

    /// Reads the next frame; `false` when the connection ends.
    pub(crate) fn turn(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        while self.buffer.len() < 9 || self.buffer.len() < 9 + length(&self.buffer) {
            let mut piece = vec![0; 64 * 1024];
            match self.wire.read(&mut piece) {
                Ok(0) | Err(_) => {
                    self.is_over = true;
                    return false;
                }
                Ok(count) => self.buffer.extend_from_slice(&piece[..count]),
            }
        }
        let bytes: Vec<u8> = self.buffer.drain(..9 + length(&self.buffer)).collect();
        let stream = u32::from_be_bytes([bytes[5] & 0x7f, bytes[6], bytes[7], bytes[8]]);
        if let Err(why) = self.take(bytes[3], bytes[4], stream, &bytes[9..]) {
            self.shared.malformed.lock().unwrap().push(why);
            self.is_over = true;
        }
        true
    }

    fn take(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), String> {
        if payload.len() > 16_384 {
            return Err(format!("a frame of {} bytes", payload.len()));
        }
        if self.block.is_some() && kind != CONTINUATION {
            return Err(format!("frame {kind} within a header block"));
        }
        let word = |at: usize| {
            payload
                .get(at..at + 4)
                .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
                .ok_or(format!("frame {kind} is too short"))
        };
        match kind {
            DATA => {
                let asked = self.streams.get_mut(&stream).ok_or("DATA of no request")?;
                if asked.is_ended || asked.reset.is_some() {
                    return Err(format!("DATA after the end of stream {stream}"));
                }
                asked.body.extend_from_slice(payload);
                asked.is_ended = flags & END_STREAM != 0;
                if self.is_greedy && !payload.is_empty() {
                    let bytes = payload.len() as u32;
                    self.open_window(0, bytes);
                    self.open_window(stream, bytes);
                }
            }
            HEADERS => self.take_block(stream, flags, payload.to_vec())?,
            CONTINUATION => {
                let (begun, first, mut bytes) = self.block.take().ok_or("CONTINUATION of nothing")?;
                if begun != stream {
                    return Err("CONTINUATION of another stream".into());
                }
                bytes.extend_from_slice(payload);
                self.take_block(stream, first | flags, bytes)?;
            }
            RST_STREAM => {
                self.streams.get_mut(&stream).ok_or("RST_STREAM of no request")?.reset = Some(word(0)?)
            }
            SETTINGS if flags & ACK != 0 => {}
            SETTINGS => {
                for setting in payload.chunks_exact(6) {
                    let id = u16::from_be_bytes([setting[0], setting[1]]);
                    let value = u32::from_be_bytes(setting[2..6].try_into().unwrap());
                    self.settings.insert(id, value);
                    if id == INITIAL_WINDOW_SIZE {
                        self.initial_window = i64::from(value);
                    }
                }
                self.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK != 0 => {}
            PING => {
                self.pings += 1;
                self.frame(PING, ACK, 0, payload);
            }
            GOAWAY => self.goaway = Some(word(4)?),
            WINDOW_UPDATE if stream == 0 => self.window += i64::from(word(0)?),
            WINDOW_UPDATE => *self.windows.entry(stream).or_default() += i64::from(word(0)?),
            kind => return Err(format!("a frame of kind {kind}")),
        }
        Ok(())
    }

    fn take_block(&mut self, stream: u32, flags: u8, bytes: Vec<u8>) -> Result<(), String> {
        if flags & END_HEADERS == 0 {
            self.block = Some((stream, flags, bytes));
            return Ok(());
        }
        let fields = self.decoder.decode(&bytes)?;
        for (name, value) in &fields {
            let forbidden =
                ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"];
            let is_bad = name.bytes().any(|byte| byte.is_ascii_uppercase())
                || forbidden.contains(&name.as_str())
                || name == "te" && value != "trailers";
            if is_bad {
                return Err(format!("{name}: {value} in HTTP/2"));
            }
        }
        let is_ended = flags & END_STREAM != 0;
        if let Some(asked) = self.streams.get_mut(&stream) {
            if asked.is_ended || !is_ended || fields.iter().any(|(name, _)| name.starts_with(':')) {
                return Err(format!("trailers that are none: {fields:?}"));
            }
            asked.trailers = fields;
            asked.is_ended = true;
            return Ok(());
        }
        if stream.is_multiple_of(2) || self.streams.keys().next_back().is_some_and(|last| *last > stream) {
            return Err(format!("stream {stream} is not a new one"));
        }
        let count = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).count();
        if [":method", ":scheme", ":authority", ":path"].into_iter().any(|name| count(name) != 1) {
            return Err(format!("pseudo-fields of {fields:?}"));
        }
        let asked = Asked { stream, line: self.index, fields, is_ended, ..Asked::default() };
        self.streams.insert(stream, asked);
        self.fresh.push_back(stream);
        Ok(())
    }
}

fn length(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}
