//! HTTP/2 origin with hand-made frames: checks its requests strictly, and sends the responses of a test.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::SOON;
use super::h2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};
use super::hpack::Decoder;

/// A listening server; it ends, with all its connections, when dropped.
pub(crate) struct H2Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Response to each request.
type Script = Box<dyn Fn(&Asked, &mut Replies) + Send + Sync>;

struct Shared {
    script: Script,
    ended: AtomicBool,
    connections: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
    requests: Mutex<Vec<Asked>>,
    /// Stream and code of each RST_STREAM.
    resets: Mutex<Vec<(u32, u32)>>,
    /// Protocol errors of the proxy.
    malformed: Mutex<Vec<String>>,
}

/// A request, whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) connection: usize,
    pub(crate) stream: u32,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Asked {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Response to send.
#[derive(Default)]
pub(crate) struct Replies {
    bytes: Vec<u8>,
    pub(crate) closes: bool,
}

impl Replies {
    pub(crate) fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> &mut Self {
        self.bytes.extend(frame(kind, flags, stream, payload));
        self
    }

    pub(crate) fn head(&mut self, stream: u32, fields: &[(&str, &str)], end: bool) -> &mut Self {
        self.frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &block(fields))
    }

    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], end: bool) -> &mut Self {
        self.frame(DATA, if end { END_STREAM } else { 0 }, stream, bytes)
    }

    /// 200 with a body.
    pub(crate) fn ok(&mut self, stream: u32, body: &[u8]) -> &mut Self {
        self.head(stream, &[(":status", "200")], false).data(stream, body, true)
    }
}

impl H2Origin {
    /// Runs `script` for every whole request.
    pub(crate) fn new(script: impl Fn(&Asked, &mut Replies) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            ended: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            streams: Mutex::default(),
            requests: Mutex::default(),
            resets: Mutex::default(),
            malformed: Mutex::default(),
        });
        let sharing = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if sharing.ended.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_read_timeout(Some(6 * SOON)).unwrap();
                sharing.streams.lock().unwrap().push(stream.try_clone().unwrap());
                let sharing = Arc::clone(&sharing);
                std::thread::spawn(move || serve(&sharing, stream));
            }
        });
        Self { address, shared }
    }

    /// `h2c://127.0.0.1:PORT`
    pub(crate) fn target(&self) -> String {
        format!("h2c://{}", self.address)
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Connections on which HTTP/2 began: health checks are none.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn resets(&self) -> Vec<(u32, u32)> {
        self.shared.resets.lock().unwrap().clone()
    }
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap().iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.address);
        let malformed = self.shared.malformed.lock().unwrap();
        if !std::thread::panicking() {
            assert!(malformed.is_empty(), "the proxy wrote malformed requests: {malformed:?}");
        }
    }
}

fn serve(shared: &Shared, mut stream: TcpStream) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).is_err() {
        return;
    }
    if &preface != b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        return shared.malformed.lock().unwrap().push(format!("preface {preface:?}"));
    }
    let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
    let mut decoder = Decoder::default();
    let mut open: Vec<Asked> = Vec::new();
    let mut pending: Option<(u32, u8, Vec<u8>)> = None;
    if stream.write_all(&frame(SETTINGS, 0, 0, &[])).is_err() {
        return;
    }
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (kind, mut flags) = (head[3], head[4]);
        let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        if stream.read_exact(&mut payload).is_err() {
            return;
        }
        let mut replies = Replies::default();
        let mut done = None;
        match kind {
            HEADERS | CONTINUATION => {
                let (id, first, mut bytes) = pending.take().unwrap_or((id, flags, Vec::new()));
                flags |= first;
                bytes.extend_from_slice(&payload);
                if flags & END_HEADERS == 0 {
                    pending = Some((id, flags, bytes));
                    continue;
                }
                let fields = decoder.decode(&bytes).unwrap_or_default();
                match open.iter().position(|asked| asked.stream == id) {
                    Some(at) => open[at].trailers = fields,
                    None => {
                        judge(shared, &fields);
                        open.push(Asked { connection, stream: id, fields, ..Asked::default() });
                    }
                }
                done = (flags & END_STREAM != 0).then_some(id);
            }
            DATA => {
                if let Some(asked) = open.iter_mut().find(|asked| asked.stream == id) {
                    asked.body.extend_from_slice(&payload);
                }
                if length > 0 {
                    let bytes = (length as u32).to_be_bytes();
                    replies.frame(WINDOW_UPDATE, 0, 0, &bytes).frame(WINDOW_UPDATE, 0, id, &bytes);
                }
                done = (flags & END_STREAM != 0).then_some(id);
            }
            RST_STREAM => {
                let code = u32::from_be_bytes(payload[..4].try_into().unwrap());
                open.retain(|asked| asked.stream != id);
                shared.resets.lock().unwrap().push((id, code));
            }
            SETTINGS if flags & ACK == 0 => {
                replies.frame(SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => {
                replies.frame(PING, ACK, 0, &payload);
            }
            GOAWAY => return,
            _ => {}
        }
        if let Some(at) = done.and_then(|id| open.iter().position(|asked| asked.stream == id)) {
            let asked = open.remove(at);
            shared.requests.lock().unwrap().push(asked.clone());
            (shared.script)(&asked, &mut replies);
        }
        if stream.write_all(&replies.bytes).is_err() || replies.closes {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
    }
}

/// RFC 9113 §8.2 and §8.3.
fn judge(shared: &Shared, fields: &[(String, String)]) {
    let mut wrong = Vec::new();
    let pseudo: Vec<&str> =
        fields.iter().map(|(name, _)| name.as_str()).take_while(|name| name.starts_with(':')).collect();
    for name in [":method", ":scheme", ":authority", ":path"] {
        if pseudo.iter().filter(|known| **known == name).count() != 1 {
            wrong.push(format!("{name} in {pseudo:?}"));
        }
    }
    for (name, value) in &fields[pseudo.len()..] {
        let forbidden =
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"];
        let is_wrong = name.starts_with(':')
            || name.bytes().any(|byte| byte.is_ascii_uppercase())
            || forbidden.contains(&name.as_str())
            || name == "te" && value != "trailers"
            || value.trim() != value;
        if is_wrong {
            wrong.push(format!("{name}: {value}"));
        }
    }
    shared.malformed.lock().unwrap().extend(wrong);
}
