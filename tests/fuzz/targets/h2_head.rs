//! The head of an HTTP/2 request: whatever a client's HEADERS say, the text of HTTP/1.1 that comes of it is
//! read by the strict parser as exactly that request, or refused.
//!
//! The fields go through a real server of the `h2` crate, as they would in a connection. An input is a byte
//! of flags and then lines of `name TAB value`; in both, 1 stands for a line end, 2 for a tab and 3 for a
//! NUL.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::request::Parts;
use ringway_wire::h1::{Limits, Parse, RequestHead};
use ringway_wire::message::Framing;
use ringway_wire::normalize::Authority;
use ringway_worker::fuzzing::h2_request_text;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) fn check(bytes: &[u8]) {
    let Some((&flags, lines)) = bytes.split_first() else { return };
    let fields: Vec<(Vec<u8>, Vec<u8>)> =
        lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(field).collect();
    let is_whole = flags & 1 == 0;
    // Declared length of a body that has not arrived.
    let length = if flags & 2 == 0 { None } else { Some(usize::from(flags >> 2)) };
    let Some(request) = accept(&fields, is_whole) else { return };
    let body = if is_whole { Some(0) } else { length };
    let Ok((text, is_chunked)) = h2_request_text(&request, body) else { return };
    let mut head = RequestHead::default();
    match head.parse(&text, &Limits::default()) {
        Ok(Parse::Complete) => {}
        Ok(Parse::Partial) => panic!("half a request: {}", text.escape_ascii()),
        Err(_) => return,
    }
    assert_eq!(head.len(), text.len(), "more than a request: {}", text.escape_ascii());
    is_the_request(&fields, &text, &head);
    is_framed(&fields, &head, body, is_chunked);
}

/// The name and value of a line.
fn field(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut parts = line.splitn(2, |&byte| byte == b'\t');
    let mut part = || {
        let mut part = parts.next().unwrap_or_default().to_vec();
        for byte in &mut part {
            match byte {
                1 => *byte = b'\n',
                2 => *byte = b'\t',
                3 => *byte = 0,
                _ => {}
            }
        }
        part
    };
    (part(), part())
}

fn is_the_request(fields: &[(Vec<u8>, Vec<u8>)], text: &[u8], head: &RequestHead) {
    let pseudo =
        |name: &str| fields.iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| &**value);
    let is_websocket = pseudo(":protocol").is_some();
    let method = if is_websocket { Some(b"GET".as_slice()) } else { pseudo(":method") };
    assert_eq!(Some(head.method_str(text).as_bytes()), method);
    if method == Some(b"CONNECT") {
        assert_eq!(pseudo(":path"), None);
    } else {
        // The crate takes the fragment away.
        let path = pseudo(":path").map(|path| path.split(|&byte| byte == b'#').next().unwrap_or_default());
        assert_eq!(Some(head.path_and_query(text).as_bytes()), path);
    }
    assert!(
        pseudo(":scheme")
            .is_none_or(|scheme| scheme.eq_ignore_ascii_case(b"https") || pseudo(":authority").is_none())
    );
    for authority in [pseudo(":authority"), pseudo("host")].into_iter().flatten() {
        assert_eq!(Authority::parse(authority).as_ref(), Ok(head.authority()));
    }

    let mut expected: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in fields {
        if name.starts_with(b":") || name == b"host" {
            continue;
        }
        if is_websocket
            && (name == b"sec-websocket-key" || name == b"sec-websocket-version" && value == b"13")
        {
            continue;
        }
        expected.entry(name).or_default().push(value.clone());
    }
    if let Some(crumbs) = expected.get_mut(b"cookie".as_slice()) {
        *crumbs = vec![crumbs.join(b"; ".as_slice())];
    }
    let own: &[&[u8]] = match is_websocket {
        true => &[b"Host", b"Connection", b"Upgrade", b"Sec-WebSocket-Key", b"Sec-WebSocket-Version"],
        false => &[b"Host", b"Content-Length", b"Transfer-Encoding"],
    };
    let mut found: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    for field in head.fields(text) {
        // Ours have capitals, and those of a client of HTTP/2 have none.
        if !own.contains(&field.name) {
            found.entry(field.name).or_default().push(field.value.to_vec());
        }
    }
    assert_eq!(found, expected);
}

fn is_framed(fields: &[(Vec<u8>, Vec<u8>)], head: &RequestHead, body: Option<usize>, is_chunked: bool) {
    let told = fields.iter().find(|(name, _)| name == b"content-length").map(|(_, value)| &**value);
    let length = match head.framing() {
        Framing::Empty => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
        Framing::UntilClose => panic!("a request that ends with its connection"),
    };
    assert_eq!(is_chunked, length.is_none(), "DATA and head disagree");
    if head.upgrade().is_some() {
        return;
    }
    if let Some(told) = told {
        assert_eq!(length.map(|length| length.to_string().into_bytes()), Some(unpadded(told.to_vec())));
    } else {
        assert_eq!(length, body.map(|bytes| bytes as u64));
    }
}

/// A number without leading zeros.
fn unpadded(digits: Vec<u8>) -> Vec<u8> {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count().min(digits.len() - 1);
    digits[zeros..].to_vec()
}

// --- A connection ------------------------------------------------------------------------------------------

/// Request that a server of the `h2` crate reads from these fields; `None` when it refuses them.
fn accept(fields: &[(Vec<u8>, Vec<u8>)], is_whole: bool) -> Option<Parts> {
    let mut block = Vec::new();
    for (name, value) in fields {
        // RFC 7541 §6.2.2: a literal with a new name, not indexed, no Huffman code.
        block.push(0);
        push_string(&mut block, name);
        push_string(&mut block, value);
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    push_frame(&mut bytes, SETTINGS, 0, 0, &[]);
    if block.len() > FRAME_BYTES_MAX {
        return None;
    }
    push_frame(&mut bytes, HEADERS, END_HEADERS | u8::from(is_whole), 1, &block);

    let mut context = Context::from_waker(Waker::noop());
    let mut settings = h2::server::Builder::new();
    settings.enable_connect_protocol();
    let mut handshake = std::pin::pin!(settings.handshake::<_, bytes::Bytes>(Recorded { bytes, at: 0 }));
    let Poll::Ready(Ok(mut connection)) = handshake.as_mut().poll(&mut context) else { return None };
    match connection.poll_accept(&mut context) {
        Poll::Ready(Some(Ok((request, _)))) => Some(request.into_parts().0),
        _ => None,
    }
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;
/// Default of the largest frame (RFC 9113 §4.2).
const FRAME_BYTES_MAX: usize = 16_384;

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// RFC 7541 §5.1 and §5.2.
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(rest as u8);
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text);
}

/// A peer that has sent all that it will, and listens to nothing.
struct Recorded {
    bytes: Vec<u8>,
    at: usize,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Poll::Pending;
        }
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        self.at += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
