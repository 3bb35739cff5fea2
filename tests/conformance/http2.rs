//! Requests of HTTP/2: RFC 9113 §8 (fields, pseudo-fields, bodies), §5 and §6 (streams, frames, windows), RFC
//! 8441, and RFC 7541 where a header block is no header block. What reaches the origin is HTTP/1.1, judged as
//! everywhere.

use super::exchange::{looks_like, naming};
use super::*;
use crate::kit::h2::*;
use crate::kit::hpack::literal;
use crate::kit::*;

/// Acceptable outcome of a stream.
enum End {
    /// Malformed (RFC 9113 §8.1.1): a stream error of this type, or an answer with 400 (a size: 431); nothing
    /// arrives whole.
    Malformed,
    /// The proxy sends a local reply with one of these statuses; nothing arrives.
    Answered(&'static [u16]),
    /// One request arrives, like this, and gets a response.
    Forwarded(Seen),
    /// The stream is reset with one of these codes; nothing arrives whole.
    Reset(&'static [u32]),
    /// The connection ends with GOAWAY of one of these codes; nothing arrives whole. Where RFC 9113 §4.3
    /// names COMPRESSION_ERROR the crate says PROTOCOL_ERROR: another word, and the same end; those cases
    /// accept both, and README.md lists them.
    GoAway(&'static [u32]),
    /// The request was whole before the fault, so that it may have arrived; the stream or the connection ends
    /// with one of these codes.
    Late(&'static [u32]),
}
use End::{Answered, Forwarded, GoAway, Late, Malformed, Reset};

impl End {
    /// Number of outcomes.
    fn choices(&self) -> usize {
        match self {
            Malformed | Forwarded(_) => 1,
            Answered(statuses) => statuses.len(),
            Reset(codes) | GoAway(codes) | Late(codes) => codes.len(),
        }
    }
}

struct Stream {
    section: &'static str,
    name: &'static str,
    /// The frames, of which the first opens stream 1.
    sent: Vec<u8>,
    ends: Vec<End>,
}

// RFC 9113 §7.
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const PUSH_PROMISE: u8 = 5;
const WITH_PRIORITY: u8 = 0x20;

fn stream(
    section: &'static str,
    name: &'static str,
    sent: Vec<u8>,
    ends: impl IntoIterator<Item = End>,
) -> Stream {
    let ends: Vec<End> = ends.into_iter().collect();
    // A late request shows by its path, whenever it comes. Both paths are as long, and neither is coded.
    let is_late = ends.iter().any(|end| matches!(end, Late(_)));
    let sent = if is_late { text_replaced(&sent, "/case", LATE) } else { sent };
    Stream { section, name, sent, ends }
}

/// The path of requests that may arrive after their case is over.
const LATE: &str = "/late";

/// Replaces a text by another of the same length.
fn text_replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in 0..bytes.len().saturating_sub(from.len() - 1) {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

const M: (&str, &str) = (":method", "GET");
const S: (&str, &str) = (":scheme", "https");
const A: (&str, &str) = (":authority", "app.test");
const P: (&str, &str) = (":path", "/case");

/// HEADERS that end the stream, of exactly these fields.
fn head(fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields))
}

/// A GET with these fields more.
fn get(more: &[(&str, &str)]) -> Vec<u8> {
    head(&[&[M, S, A, P], more].concat())
}

/// A GET with a field of any bytes.
fn raw(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut fields = block(&[M, S, A, P]);
    literal(&mut fields, name, value);
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)
}

/// A GET with a field of this many bytes, in as many frames as needed.
fn long(bytes: usize) -> Vec<u8> {
    const FRAME_BYTES: usize = 16_384;
    let block = block(&[M, S, A, P, ("x", &"y".repeat(bytes))]);
    let parts: Vec<&[u8]> = block.chunks(FRAME_BYTES).collect();
    let mut sent = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let (kind, flags) = if at == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
        let last = if at + 1 == parts.len() { END_HEADERS } else { 0 };
        sent.extend(frame(kind, flags | last, 1, part));
    }
    sent
}

/// A GET of this path.
fn path(path: &str) -> Vec<u8> {
    head(&[M, S, A, (":path", path)])
}

/// A GET of this authority, and these fields.
fn authority(authority: &str, more: &[(&str, &str)]) -> Vec<u8> {
    head(&[&[M, S, (":authority", authority), P], more].concat())
}

/// A POST with these fields more, and these DATA, the last of which ends the stream.
fn post(more: &[(&str, &str)], data: &[&str]) -> Vec<u8> {
    let fields = [&[(":method", "POST"), S, A, P], more].concat();
    let mut bytes =
        frame(HEADERS, END_HEADERS | if data.is_empty() { END_STREAM } else { 0 }, 1, &block(&fields));
    for (at, part) in data.iter().enumerate() {
        let end = if at + 1 == data.len() { END_STREAM } else { 0 };
        bytes.extend(frame(DATA, end, 1, part.as_bytes()));
    }
    bytes
}

/// A POST with `hello` and then these trailers.
fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = open();
    bytes.extend(frame(DATA, 0, 1, b"hello"));
    bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)));
    bytes
}

/// A POST whose body is still to come.
fn open() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(&[(":method", "POST"), S, A, P]))
}

/// Concatenates frames.
fn all_of(frames: &[&[u8]]) -> Vec<u8> {
    frames.concat()
}

fn once() -> Seen {
    seen(super::GET)
}

fn hello() -> Seen {
    seen(super::POST).body("hello")
}

#[rustfmt::skip] // a case is a line
fn pseudo() -> Vec<Stream> {
    let no = || [Malformed];
    vec![
        stream("9113 §8.3.1", "the four pseudo-fields", get(&[]), [Forwarded(once())]),
        stream("9113 §8.3.1", "in another order", head(&[P, A, S, M]), [Forwarded(once())]),
        stream("9113 §8.3.1", "no :method", head(&[S, A, P]), no()),
        stream("9113 §8.3.1", "no :scheme", head(&[M, A, P]), no()),
        stream("9113 §8.3.1", "no :path", head(&[M, S, A]), no()),
        stream("9113 §8.3.1", "no :authority and no host", head(&[M, S, P]), no()),
        stream("9113 §8.3.1", "no field at all", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[]), no()),
        stream("9113 §8.3.1", "two :method", head(&[M, M, S, A, P]), no()),
        stream("9113 §8.3.1", "two different :method", head(&[M, (":method", "POST"), S, A, P]), no()),
        stream("9113 §8.3.1", "two :scheme", head(&[M, S, S, A, P]), no()),
        stream("9113 §8.3.1", "two :path", head(&[M, S, A, P, (":path", "/hidden")]), no()),
        stream("9113 §8.3.1", "two :authority", head(&[M, S, A, (":authority", "other.test"), P]), no()),
        stream("9113 §8.3.1", "the same :authority twice", head(&[M, S, A, A, P]), no()),
        stream("9113 §8.3", "a pseudo-field after a field", head(&[M, S, A, ("x", "y"), P]), no()),
        stream("9113 §8.3", "all pseudo-fields after a field", head(&[("x", "y"), M, S, A, P]), no()),
        stream("9113 §8.3", "an unknown pseudo-field", head(&[M, S, A, P, (":x", "y")]), no()),
        stream("9113 §8.3", "a pseudo-field of responses", head(&[M, S, A, P, (":status", "200")]), no()),
        stream("9113 §8.3", "a pseudo-field in upper case", head(&[(":METHOD", "GET"), S, A, P]), no()),
        stream("9113 §8.3", "a pseudo-field without a name", head(&[M, S, A, P, (":", "y")]), no()),
        stream("8441 §4", ":protocol beside a GET", head(&[M, S, A, P, (":protocol", "websocket")]), no()),
        stream("9113 §8.3.1", "an empty :method", head(&[(":method", ""), S, A, P]), no()),
        stream("9113 §8.3.1", "a :method of two words", head(&[(":method", "GET /hidden"), S, A, P]), no()),
        stream("9113 §8.3.1", "a line end in :method", head(&[(":method", "GET\r\n"), S, A, P]), no()),
        stream("9113 §8.3.1", "a :method that is no token", head(&[(":method", "G(T"), S, A, P]), no()),
        // RFC 9110 §9.1: methods are case-sensitive, and this one is not known here: 501, or the origin's to
        // judge.
        stream("9113 §8.3.1", "a :method in lower case", head(&[(":method", "get"), S, A, P]), [Forwarded(seen("get /case HTTP/1.1")), Answered(&[405, 501])]),
        // RFC 9113 §8.3.1: not restricted to http and https; but the connection's scheme is not the client's
        // to choose.
        stream("9113 §8.3.1", ":scheme http over TLS", head(&[M, (":scheme", "http"), A, P]), [Malformed, Forwarded(once().with("x-forwarded-proto", "https"))]),
        stream("9113 §8.3.1", ":scheme in upper case", head(&[M, (":scheme", "HTTPS"), A, P]), [Malformed, Forwarded(once())]),
        stream("9113 §8.3.1", "another :scheme", head(&[M, (":scheme", "ftp"), A, P]), no()),
        stream("9113 §8.3.1", "an empty :scheme", head(&[M, (":scheme", ""), A, P]), no()),
        stream("9113 §8.3.1", "a :scheme with a URI", head(&[M, (":scheme", "https://app.test/hidden?"), A, P]), no()),
        stream("9113 §8.3.1", "a :scheme with a space", head(&[M, (":scheme", "https x"), A, P]), no()),
        stream("9113 §8.3.1", "a line end in :scheme", head(&[M, (":scheme", "https\r\nx: y"), A, P]), no()),
    ]
}

#[rustfmt::skip] // a case is a line
fn targets() -> Vec<Stream> {
    let no = || [Malformed];
    let same = |target: &str| seen(format!("GET {target} HTTP/1.1"));
    let other = &[400, 404, 421];
    let mut streams = vec![
        stream("9113 §8.3.1", "an empty :path", path(""), no()),
        stream("9113 §8.3.1", "a :path without a slash", path("case"), no()),
        stream("9113 §8.3.1", "* with GET", path("*"), no()),
        stream("9113 §8.3.1", "* with OPTIONS", head(&[(":method", "OPTIONS"), S, A, (":path", "*")]), [Forwarded(seen("OPTIONS * HTTP/1.1"))]),
        stream("9113 §8.3.1", "an absolute :path", path("https://app.test/case"), no()),
        stream("9113 §8.3.1", "an absolute :path of another host", path("https://other.test/case"), no()),
        stream("9113 §8.3.1", "an authority for a :path", path("app.test:443"), no()),
        stream("9113 §8.3.1", "a query for a :path", path("?x=y"), no()),
        // RFC 9113 §8.3.1: a :path is path and query. The crate cuts a fragment off first: not conformant,
        // but the fragment is not forwarded.
        stream("9113 §8.3.1", "a fragment", path("/case#part"), [Malformed, Forwarded(once())]),
        stream("9113 §8.3.1", "a fragment alone", path("#part"), no()),
        stream("9113 §8.3.1", "a space in :path", path("/ca se"), no()),
        stream("9113 §8.3.1", "a version in :path", path("/case HTTP/1.1"), no()),
        stream("9113 §8.3.1", "a line end in :path", path("/case HTTP/1.1\r\nX: y"), no()),
        stream("9113 §8.3.1", "an LF in :path", path("/case\n"), no()),
        stream("9113 §8.3.1", "NUL in :path", path("/ca\0se"), no()),
        stream("9113 §8.3.1", "a tab in :path", path("/ca\tse"), no()),
        stream("9113 §8.3.1", "DEL in :path", path("/ca\x7fse"), no()),
        stream("9113 §8.3.1", "a backslash for a slash", path("\\case"), no()),
        stream("9113 §8.3.1", "a space before :path", path(" /case"), no()),
        stream("9113 §8.3.1", "host for :authority", head(&[M, S, P, ("host", "app.test")]), [Forwarded(once())]),
        stream("9113 §8.3.1", "host that says the same", get(&[("host", "app.test")]), [Forwarded(once())]),
        // RFC 9113 §8.3.1 leaves open which comparison of Host and :authority is meant; names have no case
        // (RFC 9110 §4.2.3).
        stream("9113 §8.3.1", "host in another case", get(&[("host", "APP.test")]), [Malformed, Forwarded(once())]),
        stream("9113 §8.3.1", "host that says something else", get(&[("host", "other.test")]), no()),
        stream("9113 §8.3.1", "host with another port", get(&[("host", "app.test:81")]), no()),
        stream("9113 §8.3.1", "an empty host", get(&[("host", "")]), no()),
        stream("9113 §8.3.1", "host twice", get(&[("host", "app.test"), ("host", "app.test")]), no()),
        stream("9113 §8.3.1", "host twice without :authority", head(&[M, S, P, ("host", "app.test"), ("host", "other.test")]), no()),
        stream("9113 §8.3.1", "host that is none", head(&[M, S, P, ("host", "a b")]), no()),
        stream("9113 §8.3.1", "an empty :authority", authority("", &[]), no()),
        stream("9113 §8.3.1", "an empty :authority and a host", authority("", &[("host", "app.test")]), [Malformed, Forwarded(once())]),
        stream("9113 §8.3.1", "userinfo in :authority", authority("user@app.test", &[]), no()),
        stream("9113 §8.3.1", "userinfo with a password", authority("user:pw@app.test", &[]), no()),
        stream("9113 §8.3.1", "userinfo that is a host", authority("app.test@other.test", &[]), no()),
        stream("9113 §8.3.1", "a path in :authority", authority("app.test/hidden", &[]), no()),
        stream("9113 §8.3.1", "a query in :authority", authority("app.test?x", &[]), no()),
        stream("9113 §8.3.1", "a fragment in :authority", authority("app.test#x", &[]), no()),
        stream("9113 §8.3.1", "a space in :authority", authority("app.test x", &[]), no()),
        stream("9113 §8.3.1", "a line end in :authority", authority("app.test\r\nX: y", &[]), no()),
        stream("9113 §8.3.1", "a URI for :authority", authority("https://app.test", &[]), no()),
        stream("9113 §8.3.1", "a port", authority("app.test:8443", &[]), [Forwarded(once().host("app.test:8443"))]),
        // RFC 3986 §3.2.3: a port may be empty, and then should be left out.
        stream("9113 §8.3.1", "an empty port", authority("app.test:", &[]), [Malformed, Forwarded(once())]),
        stream("9113 §8.3.1", "a port beyond 16 bits", authority("app.test:70000", &[]), no()),
        stream("9113 §8.3.1", "a port of letters", authority("app.test:https", &[]), no()),
        stream("9113 §8.3.1", "two ports", authority("app.test:1:2", &[]), no()),
        stream("9113 §8.3.1", "a list of hosts", authority("app.test,other.test", &[]), no()),
        stream("9113 §8.3.1", "an :authority in upper case", authority("APP.TEST", &[]), [Forwarded(once())]),
        stream("9113 §8.3.1", "an unknown :authority", authority("other.test", &[]), [Answered(other)]),
        // RFC 9110 §9.3.6: a server may have no use for CONNECT.
        stream("9113 §8.5", "CONNECT", head(&[(":method", "CONNECT"), (":authority", "app.test:443")]), [Answered(&[400, 405, 501]), Malformed]),
        stream("9113 §8.5", "CONNECT with :scheme and :path", head(&[(":method", "CONNECT"), S, A, P]), no().into_iter().chain([Answered(&[405])])),
        stream("9113 §8.5", "CONNECT without :authority", head(&[(":method", "CONNECT")]), no()),
        stream("8441 §4", "an extended CONNECT without :path", head(&[(":method", "CONNECT"), (":protocol", "websocket"), S, A]), no()),
        stream("8441 §4", "an extended CONNECT without :scheme", head(&[(":method", "CONNECT"), (":protocol", "websocket"), A, P]), no()),
        stream("8441 §4", "an extended CONNECT without :authority", head(&[(":method", "CONNECT"), (":protocol", "websocket"), S, P]), no()),
        stream("8441 §4", "two :protocol", head(&[(":method", "CONNECT"), (":protocol", "websocket"), (":protocol", "websocket"), S, A, P]), no()),
        stream("8441 §4", "an unknown :protocol", head(&[(":method", "CONNECT"), (":protocol", "x"), S, A, P]), [Answered(&[400, 405, 501]), Malformed]),
        stream("8441 §5", "another version of WebSocket", head(&[(":method", "CONNECT"), (":protocol", "websocket"), S, A, P, ("sec-websocket-version", "8")]), [Answered(&[400, 426])]),
        stream("8441 §5", "an Upgrade beside it", head(&[(":method", "CONNECT"), (":protocol", "websocket"), S, A, P, ("upgrade", "websocket"), ("connection", "upgrade")]), no()),
    ];
    for (name, target) in [("two slashes", "//case"), ("two slashes and a host", "//other.test/case"), ("dots", "/a/../case"), ("an encoded slash", "/a%2Fcase"), ("an encoded line end", "/case%0d%0ax"), ("two question marks", "/case?x?y"), ("a URI in a query", "/case?https://other.test/"), ("an at sign", "/@other.test")] {
        streams.push(stream("9113 §8.3.1", name, path(target), [Forwarded(same(target))]));
    }
    streams
}

#[rustfmt::skip] // a case is a line
fn fields() -> Vec<Stream> {
    let no = || [Malformed];
    let many: Vec<(String, &str)> = (0..2000).map(|number| (format!("x-{number}"), "y")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let mut streams = vec![
        stream("9113 §8.2.1", "bytes beyond ASCII in a value", raw(b"x", b"\xe9\xff"), [Forwarded(once().with("x", "\u{e9}\u{ff}"))]),
        // RFC 9113 §8.2.1 demands no more; RFC 9110 §5.5 lets a recipient refuse what it holds to be
        // dangerous.
        stream("9113 §8.2.1", "a tab within a value", raw(b"x", b"a\tb"), [Forwarded(once().with("x", "a\tb")), Malformed]),
        stream("9113 §8.2.1", "an empty value", get(&[("x", "")]), [Forwarded(once().with("x", ""))]),
        stream("9113 §8.2.1", "a space before a value", get(&[("x", " y")]), no()),
        stream("9113 §8.2.1", "a space after a value", get(&[("x", "y ")]), no()),
        stream("9113 §8.2.1", "a tab before a value", get(&[("x", "\ty")]), no()),
        stream("9113 §8.2.1", "a tab after a value", get(&[("x", "y\t")]), no()),
        stream("9113 §8.2.1", "a value of a space", get(&[("x", " ")]), no()),
        stream("9113 §8.2.1", "NUL in a value", raw(b"x", b"a\0b"), no()),
        stream("9113 §8.2.1", "CR in a value", raw(b"x", b"a\rb"), no()),
        stream("9113 §8.2.1", "LF in a value", raw(b"x", b"a\nb"), no()),
        stream("9113 §8.2.1", "a request in a value", raw(b"x", b"a\r\n\r\nGET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n"), no()),
        stream("9110 §5.5", "a control byte in a value", raw(b"x", b"a\x01b"), no()),
        stream("9110 §5.5", "DEL in a value", raw(b"x", b"a\x7fb"), no()),
        stream("9113 §8.2.1", "a name in upper case", raw(b"X", b"y"), no()),
        stream("9113 §8.2.1", "a name with one letter in upper case", raw(b"x-Y", b"z"), no()),
        stream("9113 §8.2.1", "an empty name", raw(b"", b"y"), no()),
        stream("9113 §8.2.1", "a space in a name", raw(b"x y", b"z"), no()),
        stream("9113 §8.2.1", "a space after a name", raw(b"x ", b"z"), no()),
        stream("9113 §8.2.1", "a colon in a name", raw(b"x:y", b"z"), no()),
        stream("9113 §8.2.1", "a colon after a name", raw(b"transfer-encoding:", b"chunked"), no()),
        stream("9113 §8.2.1", "NUL in a name", raw(b"x\0", b"z"), no()),
        stream("9113 §8.2.1", "a line end in a name", raw(b"x\r\ny", b"z"), no()),
        stream("9113 §8.2.1", "a field in a name", raw(b"x: y\r\ntransfer-encoding", b"chunked"), no()),
        stream("9113 §8.2.1", "a byte beyond ASCII in a name", raw(b"x\xe9", b"z"), no()),
        stream("9113 §8.2.1", "DEL in a name", raw(b"x\x7f", b"z"), no()),
        stream("9113 §8.2.1", "a bracket in a name", raw(b"x[0]", b"z"), no()),
        stream("9113 §8.2.2", "connection", get(&[("connection", "close")]), no()),
        stream("9113 §8.2.2", "connection that names a field", get(&[("connection", "x"), ("x", "y")]), no()),
        stream("9113 §8.2.2", "keep-alive", get(&[("keep-alive", "timeout=5")]), no()),
        stream("9113 §8.2.2", "proxy-connection", get(&[("proxy-connection", "keep-alive")]), no()),
        stream("9113 §8.2.2", "transfer-encoding", get(&[("transfer-encoding", "chunked")]), no()),
        stream("9113 §8.2.2", "transfer-encoding with a body", post(&[("transfer-encoding", "chunked")], &["0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n"]), no()),
        stream("9113 §8.2.2", "transfer-encoding: identity", post(&[("transfer-encoding", "identity")], &["hello"]), no()),
        stream("9113 §8.2.2", "upgrade", get(&[("upgrade", "websocket")]), no()),
        stream("9113 §8.2.2", "upgrade to h2c", get(&[("upgrade", "h2c"), ("http2-settings", "AAMAAABk")]), no()),
        // RFC 9110 §10.1.4: TE is for the next hop, which may pass on what it keeps itself.
        stream("9113 §8.2.2", "te: trailers", get(&[("te", "trailers")]), [Forwarded(once().with("te", "trailers").with("connection", "TE")), Forwarded(once().without("te"))]),
        stream("9113 §8.2.2", "te: gzip", get(&[("te", "gzip")]), no()),
        stream("9113 §8.2.2", "te: trailers and another", get(&[("te", "trailers, gzip")]), no()),
        stream("9113 §8.2.2", "an empty te", get(&[("te", "")]), no()),
        stream("9113 §8.2.3", "crumbs of a cookie", get(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]), [Forwarded(once().with("cookie", "a=1; b=2").with("x", "y"))]),
        // RFC 6265 §4.2.1 knows no empty pair: joined as it is, or left out, it is the same cookie.
        stream("9113 §8.2.3", "an empty crumb", get(&[("cookie", "a=1"), ("cookie", ""), ("cookie", "b=2")]), [Forwarded(once().with("cookie", "a=1; ; b=2")), Forwarded(once().with("cookie", "a=1; b=2"))]),
        stream("9113 §8.2.3", "a crumb with a line end", get(&[("cookie", "a=1\r\nx: y")]), no()),
        stream("9110 §5.3", "fields of one name in order", get(&[("x", "a"), ("y", "b"), ("x", "c")]), [Forwarded(once().with_all("x", &["a", "c"]))]),
        // RFC 9113 §10.5.1: "A server that receives a larger field block than it is willing to handle can
        // send an HTTP 431".
        stream("9113 §10.5.1", "a field beyond the limit", long(20_000), [Answered(&[431]), Malformed]),
        stream("9113 §10.5.1", "a field beyond what the settings allow", long(40_000), [Answered(&[431]), Malformed]),
        stream("9113 §10.5.1", "two thousand fields", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&many[..1000])), [Malformed, Answered(&[431])]),
        stream("9110 §7.6.2", "OPTIONS with max-forwards: 0", head(&[(":method", "OPTIONS"), S, A, P, ("max-forwards", "0")]), [Answered(&[200, 204])]),
        // RFC 9110 §10.1.1: "MAY respond with a 417".
        stream("9110 §10.1.1", "another expectation", get(&[("expect", "the-moon")]), [Answered(&[417]), Forwarded(once().with("expect", "the-moon"))]),
    ];
    for name in ["x_forwarded_for", "content_length", "transfer_encoding"] {
        streams.push(stream("9110 §5.1", "an alias with underscores", get(&[(name, "1")]), [Forwarded(once().without(name)), Malformed]));
    }
    streams
}

#[rustfmt::skip] // a case is a line
fn bodies() -> Vec<Stream> {
    let no = || [Malformed];
    let length = |value: &str, data: &[&str]| post(&[("content-length", value)], data);
    let nothing = || seen(super::POST);
    vec![
        stream("9113 §8.1", "a body without a length", post(&[], &["hello"]), [Forwarded(hello())]),
        stream("9113 §8.1", "a body in parts", post(&[], &["he", "", "llo"]), [Forwarded(hello())]),
        stream("9113 §8.1", "a body that ends with an empty part", post(&[], &["hello", ""]), [Forwarded(hello())]),
        stream("9113 §8.1", "no body", post(&[], &[]), [Forwarded(nothing())]),
        stream("9113 §8.1.1", "a length that DATA agree with", length("5", &["he", "llo"]), [Forwarded(hello().with("content-length", "5"))]),
        stream("9113 §8.1.1", "more DATA than the length", length("4", &["hello"]), no()),
        stream("9113 §8.1.1", "more DATA than the length, in parts", length("4", &["hell", "o"]), no()),
        stream("9113 §8.1.1", "fewer DATA than the length", length("6", &["hello"]), no()),
        stream("9113 §8.1.1", "a length and no DATA", length("5", &[]), no()),
        stream("9113 §8.1.1", "a length and empty DATA", length("5", &[""]), no()),
        stream("9113 §8.1.1", "a length of 0 and DATA", length("0", &["hello"]), no()),
        stream("9113 §8.1.1", "a length of 0 and no DATA", length("0", &[]), [Forwarded(nothing().with("content-length", "0"))]),
        stream("9110 §8.6", "two lengths", post(&[("content-length", "5"), ("content-length", "6")], &["hello"]), no()),
        // RFC 9110 §8.6: the same number several times may be refused or replaced by one.
        stream("9110 §8.6", "the same length twice", post(&[("content-length", "5"), ("content-length", "5")], &["hello"]), [Malformed, Forwarded(hello().with("content-length", "5"))]),
        stream("9110 §8.6", "a list of lengths", length("5, 5", &["hello"]), [Malformed, Forwarded(hello().with("content-length", "5"))]),
        stream("9110 §8.6", "a signed length", length("+5", &["hello"]), no()),
        stream("9110 §8.6", "a negative length", length("-5", &["hello"]), no()),
        stream("9110 §8.6", "a hexadecimal length", length("0x5", &["hello"]), no()),
        stream("9110 §8.6", "an empty length", length("", &["hello"]), no()),
        stream("9110 §8.6", "a length beyond 64 bits", length("18446744073709551621", &["hello"]), no().into_iter().chain([Answered(&[413])])),
        stream("9113 §8.1.1", "a length and a reset", all_of(&[&frame(HEADERS, END_HEADERS, 1, &block(&[(":method", "POST"), S, A, P, ("content-length", "5")])), &frame(DATA, 0, 1, b"hel"), &frame(DATA, END_STREAM, 1, b"")]), no()),
        // RFC 9110 §6.5.1: trailers may be discarded.
        stream("9113 §8.1", "trailers", trailers(&[("x-sum", "7")]), [Forwarded(hello().trailer("x-sum", "7")), Forwarded(hello())]),
        // Malformed by the RFC. The crate drops pseudo-fields of trailers: the origin must see
        // the request as if they were not there.
        stream("9113 §8.1", "trailers with a pseudo-field", trailers(&[(":path", "/hidden")]), [Malformed, Forwarded(hello())]),
        stream("9113 §8.1", "trailers with :status", trailers(&[("x", "y"), (":status", "200")]), no()),
        stream("9113 §8.1", "trailers that do not end the stream", all_of(&[&open(), &frame(DATA, 0, 1, b"hello"), &frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))]), [Malformed, GoAway(&[PROTOCOL_ERROR])]),
        stream("9113 §8.1", "trailers in upper case", trailers(&[("X-Sum", "7")]), no()),
        stream("9113 §8.2.2", "transfer-encoding as a trailer", trailers(&[("transfer-encoding", "chunked")]), no()),
        stream("9113 §8.2.2", "connection as a trailer", trailers(&[("connection", "close")]), no()),
        // RFC 9110 §6.5.1: who does not know a field to be fit for trailers may discard it.
        stream("9110 §6.5.1", "content-length as a trailer", trailers(&[("content-length", "50")]), [Malformed, Forwarded(hello())]),
        stream("9110 §6.5.1", "host as a trailer", trailers(&[("host", "other.test")]), [Malformed, Forwarded(hello())]),
        stream("9113 §8.2.1", "a line end in a trailer", trailers(&[("x", "a\r\nHost: b")]), no()),
        // RFC 9110 §10.1.1: a proxy may answer it by itself, or pass it on.
        stream("9110 §10.1.1", "expect: 100-continue", post(&[("expect", "100-continue")], &["hello"]), [Forwarded(hello().with_all("expect", &[])), Forwarded(hello().with("expect", "100-continue"))]),
    ]
}

#[rustfmt::skip] // a case is a line
fn frames() -> Vec<Stream> {
    let connection = || [GoAway(&[PROTOCOL_ERROR])];
    // RFC 9113 §5.4.1: what would be an error of the stream alone may end the connection.
    let size = || [GoAway(&[FRAME_SIZE_ERROR])];
    let fields = || block(&[M, S, A, P]);
    let both = END_HEADERS | END_STREAM;
    let whole = || frame(HEADERS, both, 1, &fields());
    let padded = |pad: u8, fields: &[u8], zeros: usize| [&[pad], fields, &vec![0; zeros]].concat();
    let priority = |on: u32| [&on.to_be_bytes()[..], &[10]].concat();
    vec![
        stream("9113 §6.2", "padding", frame(HEADERS, both | PADDED, 1, &padded(9, &fields(), 9)), [Forwarded(once())]),
        stream("9113 §6.2", "padding of nothing", frame(HEADERS, both | PADDED, 1, &padded(0, &fields(), 0)), [Forwarded(once())]),
        stream("9113 §6.2", "padding longer than the frame", frame(HEADERS, both | PADDED, 1, &padded(255, &fields(), 0)), connection()),
        stream("9113 §6.2", "priority", frame(HEADERS, both | WITH_PRIORITY, 1, &[priority(0), fields()].concat()), [Forwarded(once())]),
        // RFC 9113 §5.3.2: priorities may be ignored; RFC 7540 §5.3.1, which they come from, made this an
        // error.
        stream("9113 §5.3.1", "a stream that depends on itself", frame(HEADERS, both | WITH_PRIORITY, 1, &[priority(1), fields()].concat()), [GoAway(&[PROTOCOL_ERROR]), Reset(&[PROTOCOL_ERROR]), Forwarded(once())]),
        stream("9113 §6.1", "padded DATA", all_of(&[&open(), &frame(DATA, END_STREAM | PADDED, 1, b"\x05hello\0\0\0\0\0")]), [Forwarded(hello())]),
        stream("9113 §6.1", "DATA of padding only", all_of(&[&open(), &frame(DATA, PADDED, 1, b"\x03\0\0\0"), &frame(DATA, END_STREAM, 1, b"hello")]), [Forwarded(hello())]),
        stream("9113 §6.1", "padding longer than the DATA", all_of(&[&open(), &frame(DATA, END_STREAM | PADDED, 1, b"\x0ahello")]), connection()),
        stream("9113 §6.1", "padded DATA without a length of padding", all_of(&[&open(), &frame(DATA, END_STREAM | PADDED, 1, b"")]), size()),
        stream("9113 §6.1", "DATA on stream 0", all_of(&[&open(), &frame(DATA, END_STREAM, 0, b"hello")]), connection()),
        stream("9113 §5.1", "DATA on an idle stream", frame(DATA, END_STREAM, 1, b"hello"), connection()),
        stream("9113 §5.1", "RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), connection()),
        stream("9113 §5.1", "WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]), connection()),
        stream("9113 §6.2", "HEADERS on stream 0", frame(HEADERS, both, 0, &fields()), connection()),
        stream("9113 §5.1.1", "HEADERS on an even stream", frame(HEADERS, both, 2, &fields()), connection()),
        stream("9113 §5.1.1", "a stream lower than the last", all_of(&[&frame(HEADERS, END_HEADERS, 5, &fields()), &whole()]), connection()),
        stream("9113 §5.1", "DATA after END_STREAM", all_of(&[&post(&[], &["hello"]), &frame(DATA, END_STREAM, 1, b"more")]), [Late(&[STREAM_CLOSED])]),
        stream("9113 §5.1", "empty DATA after END_STREAM", all_of(&[&whole(), &frame(DATA, 0, 1, b"")]), [Late(&[STREAM_CLOSED])]),
        stream("9113 §5.1", "HEADERS after END_STREAM", all_of(&[&whole(), &whole()]), [Late(&[STREAM_CLOSED])]),
        stream("9113 §5.1", "trailers after trailers", all_of(&[&trailers(&[("x", "y")]), &frame(HEADERS, both, 1, &block(&[("x", "z")]))]), [Late(&[STREAM_CLOSED])]),
        stream("9113 §5.1", "what may follow END_STREAM", all_of(&[&whole(), &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]), &frame(PRIORITY, 0, 1, &priority(0))]), [Forwarded(once())]),
        stream("9113 §6.10", "CONTINUATION", all_of(&[&frame(HEADERS, END_STREAM, 1, &fields()[..9]), &frame(CONTINUATION, END_HEADERS, 1, &fields()[9..])]), [Forwarded(once())]),
        stream("9113 §6.10", "CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &fields()), connection()),
        stream("9113 §6.10", "CONTINUATION after the end of a block", all_of(&[&whole(), &frame(CONTINUATION, END_HEADERS, 1, &fields())]), [Late(&[PROTOCOL_ERROR])]),
        stream("9113 §6.10", "CONTINUATION of another stream", all_of(&[&frame(HEADERS, END_STREAM, 1, &fields()), &frame(CONTINUATION, END_HEADERS, 3, &[])]), connection()),
        stream("9113 §6.10", "CONTINUATION on stream 0", all_of(&[&frame(HEADERS, END_STREAM, 1, &fields()), &frame(CONTINUATION, END_HEADERS, 0, &[])]), connection()),
        stream("9113 §4.3", "PING within a block", all_of(&[&frame(HEADERS, END_STREAM, 1, &fields()), &frame(PING, 0, 0, &[0; 8])]), connection()),
        stream("9113 §4.3", "an unknown frame within a block", all_of(&[&frame(HEADERS, END_STREAM, 1, &fields()), &frame(0x77, 0, 1, &[0; 8])]), connection()),
        stream("9113 §5.5", "an unknown frame", all_of(&[&frame(0x77, 0xff, 1, b"x"), &whole()]), [Forwarded(once())]),
        stream("9113 §4.1", "unknown flags", frame(HEADERS, both | 0x92, 1, &fields()), [Forwarded(once())]),
        stream("9113 §4.1", "the reserved bit", frame(HEADERS, both, 0x8000_0001, &fields()), [Forwarded(once())]),
        stream("9113 §4.2", "a frame beyond the limit", all_of(&[&open(), &frame(DATA, END_STREAM, 1, &[0; 16_385])]), size()),
        stream("9113 §6.7", "PING of seven bytes", frame(PING, 0, 0, &[0; 7]), size()),
        stream("9113 §6.7", "PING of nine bytes", frame(PING, 0, 0, &[0; 9]), size()),
        stream("9113 §6.7", "PING on a stream", frame(PING, 0, 1, &[0; 8]), connection()),
        stream("9113 §6.5", "SETTINGS on a stream", frame(SETTINGS, 0, 1, &[]), connection()),
        stream("9113 §6.5", "SETTINGS of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), size()),
        stream("9113 §6.5", "ACK of SETTINGS with bytes", frame(SETTINGS, ACK, 0, &[0; 6]), size()),
        stream("9113 §6.5.2", "ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]), connection()),
        stream("9113 §6.5.2", "a window beyond 2^31-1", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), [GoAway(&[FLOW_CONTROL_ERROR])]),
        stream("9113 §6.5.2", "a window beyond 2^31-1 among others", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9, 0, 4, 0xff, 0xff, 0xff, 0xff, 0, 5, 0, 0, 0x40, 0]), [GoAway(&[FLOW_CONTROL_ERROR])]),
        stream("9113 §6.5.2", "the largest window", all_of(&[&frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]), &whole()]), [Forwarded(once())]),
        stream("9113 §6.9.2", "a window beyond 2^31-1 by what it was and becomes", all_of(&[&open(), &frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0, 0]), &frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff])]), [GoAway(&[FLOW_CONTROL_ERROR])]),
        stream("9113 §6.9.2", "a window that becomes negative", all_of(&[&open(), &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]), &frame(DATA, END_STREAM, 1, b"hello")]), [Forwarded(hello())]),
        stream("9113 §6.5.2", "a frame size below 2^14", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]), connection()),
        stream("9113 §6.5.2", "an unknown setting", all_of(&[&frame(SETTINGS, 0, 0, &[0x77, 0x77, 0, 0, 0, 1]), &whole()]), [Forwarded(once())]),
        stream("9113 §6.4", "RST_STREAM of three bytes", all_of(&[&open(), &frame(RST_STREAM, 0, 1, &[0; 3])]), size()),
        stream("9113 §6.4", "RST_STREAM of five bytes", all_of(&[&open(), &frame(RST_STREAM, 0, 1, &[0; 5])]), size()),
        stream("9113 §6.4", "RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &[0; 4]), connection()),
        stream("9113 §6.9", "WINDOW_UPDATE of 0 on the connection", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), connection()),
        // RFC 9113 §5.4.1: an error of a stream may be treated as one of the connection.
        stream("9113 §6.9", "WINDOW_UPDATE of 0 on a stream", all_of(&[&open(), &frame(WINDOW_UPDATE, 0, 1, &[0; 4])]), [Reset(&[PROTOCOL_ERROR]), GoAway(&[PROTOCOL_ERROR])]),
        stream("9113 §6.9", "WINDOW_UPDATE of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), size()),
        stream("9113 §6.9.1", "a connection's window beyond 2^31-1", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), [GoAway(&[FLOW_CONTROL_ERROR])]),
        stream("9113 §6.9.1", "a stream's window beyond 2^31-1", all_of(&[&open(), &frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])]), [Reset(&[FLOW_CONTROL_ERROR]), GoAway(&[FLOW_CONTROL_ERROR])]),
        stream("9113 §4.2", "WINDOW_UPDATE of five bytes", all_of(&[&open(), &frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8, 0])]), size()),
        stream("9113 §4.2", "HEADERS without a length of padding", frame(HEADERS, both | PADDED, 1, &[]), size()),
        stream("9113 §4.2", "HEADERS with half a priority", frame(HEADERS, both | WITH_PRIORITY, 1, &[0; 4]), size()),
        stream("9113 §4.2", "GOAWAY of seven bytes", frame(GOAWAY, 0, 0, &[0; 7]), size()),
        stream("9113 §4.2", "a header block beyond the limit of a frame", frame(HEADERS, both, 1, &[fields(), vec![0; 16_384]].concat()), size()),
        stream("9113 §6.8", "GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), connection()),
        stream("9113 §8.4", "PUSH_PROMISE from a client", all_of(&[&open(), &frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], fields().as_slice()].concat())]), connection()),
        stream("9113 §6.3", "PRIORITY of four bytes", frame(PRIORITY, 0, 1, &[0; 4]), size()),
        stream("9113 §6.3", "PRIORITY of six bytes", frame(PRIORITY, 0, 1, &[0; 6]), size()),
        stream("9113 §6.3", "PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0; 5]), connection()),
        stream("7541 §6.1", "index 0", frame(HEADERS, both, 1, &[0x80]), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR])]),
        stream("7541 §2.3.3", "an index beyond the tables", frame(HEADERS, both, 1, &[0xff, 0x20]), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR])]),
        stream("7541 §5.1", "an integer without an end", frame(HEADERS, both, 1, &[0xff; 20]), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR])]),
        stream("7541 §5.2", "a text beyond the block", frame(HEADERS, both, 1, &[0, 0x7f, 0x00, b'x']), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR])]),
        stream("7541 §5.2", "EOS in a text", frame(HEADERS, both, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'x']), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR])]),
        stream("7541 §4.2", "a table beyond the limit", frame(HEADERS, both, 1, &[&[0x3f, 0xff, 0xff, 0xff, 0x07], fields().as_slice()].concat()), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR])]),
        stream("7541 §4.2", "a change of the table in the middle", frame(HEADERS, both, 1, &[fields().as_slice(), &[0x20]].concat()), [GoAway(&[COMPRESSION_ERROR, PROTOCOL_ERROR]), Reset(&[PROTOCOL_ERROR])]),
    ]
}

fn table(driver: Driver, streams: &[Stream]) {
    let origin = naming();
    let proxy = serving(driver, &origin);
    all(
        streams,
        |one| format!("{}, {}: sent {}", one.section, one.name, shown(&one.sent)),
        |number, one| judge(&proxy, &origin, number, one),
    );
    let exact = streams.iter().filter(|one| one.ends.iter().map(End::choices).sum::<usize>() == 1).count();
    eprintln!("EXACT {exact} of {}", streams.len());
    // None of them more than once.
    let late = streams.iter().filter(|one| one.ends.iter().any(|end| matches!(end, Late(_)))).count();
    let arrived = origin.requests().iter().filter(|request| request.target() == LATE).count();
    assert!(arrived <= late, "{arrived} late requests of {late}");
}

/// Requests that arrived since `count`, without [`Late`] ones.
fn since(origin: &Origin, before: usize) -> Vec<Message> {
    let mut requests = origin.requests().split_off(before);
    requests.retain(|request| request.target() != LATE);
    requests
}

fn judge(proxy: &Secure, origin: &Origin, number: usize, case: &Stream) -> Result<(), String> {
    let before = origin.request_count();
    let mut client = H2::connect(proxy);
    client.try_send(&case.sent);
    // An answer to this comes after everything that is wrong with the frames, but not after answers of the
    // origin.
    client.try_send(&frame(PING, 0, 0, b"after-it"));
    loop {
        let is_gone = client.ended.is_some() || client.goaway.iter().any(|(_, code)| *code != 0);
        if is_gone || client.answer(1).is_over() && client.pongs > 0 {
            break;
        }
        if !client.turn() {
            return Err(format!("nothing in time: {:?}", client.answer(1)));
        }
    }
    let answer = client.answer(1).clone();
    let goaway = client.goaway.iter().map(|(_, code)| *code).find(|code| *code != 0);
    // RFC 9113 §5.4.1: after GOAWAY for an error the connection must be closed.
    while goaway.is_some() && client.ended.is_none() {
        if !client.turn() {
            return Err(format!("GOAWAY {goaway:?}, and the connection goes on"));
        }
    }
    let arrived = since(origin, before);
    let is_own = answer.get("x-asked").is_none();
    let is = |end: &End| match end {
        Malformed => {
            let is_reset = answer.reset == Some(PROTOCOL_ERROR) && answer.status() == 0;
            let is_told = answer.is_whole() && is_own && [400, 431].contains(&answer.status());
            // RFC 9113 §5.4.1: a stream error may be treated as one of the connection. The crate does where
            // it cannot represent a name or a value, and its table of the block's fields would be out of
            // step.
            let is_over = goaway == Some(PROTOCOL_ERROR);
            arrived.is_empty() && (is_reset || is_told || is_over)
        }
        Answered(statuses) => {
            arrived.is_empty() && answer.is_whole() && is_own && statuses.contains(&answer.status())
        }
        Reset(codes) => {
            arrived.is_empty() && goaway.is_none() && answer.reset.is_some_and(|code| codes.contains(&code))
        }
        GoAway(codes) => arrived.is_empty() && goaway.is_some_and(|code| codes.contains(&code)),
        Late(codes) => {
            arrived.is_empty() && goaway.or(answer.reset).is_some_and(|code| codes.contains(&code))
        }
        Forwarded(seen) => {
            let [request] = arrived.as_slice() else { return false };
            looks_like(request, seen).is_ok()
                && answer.is_whole()
                && answer.get("x-asked") == request.field("x-request-id")
        }
    };
    let said = || {
        let requests: Vec<String> =
            arrived.iter().map(|request| shown(&[request.head.as_slice(), &request.body].concat())).collect();
        format!("{answer:?}, GOAWAY {goaway:?}; the origin got {requests:?}")
    };
    if !case.ends.iter().any(is) {
        return Err(said());
    }
    // A stream error is no reason to end the connection (RFC 9113 §5.4.2).
    if goaway.is_some() || client.ended.is_some() {
        client = H2::connect(proxy);
    } else {
        client.next_stream();
    }
    for turn in 0..2 {
        let target = format!("/clean/{number}/{turn}");
        let stream = client.get("app.test", &target);
        let answer = client.response(stream);
        if answer.status() != 200 || answer.text() != target {
            return Err(format!("a clean request got {answer:?}; before, {}", said()));
        }
    }
    let count = since(origin, before).len();
    if count != arrived.len() + 2 {
        return Err(format!("{count} requests and not {}; {}", arrived.len() + 2, said()));
    }
    Ok(())
}

on_both_drivers! {
    fn pseudo_fields(driver) {
        table(driver, &pseudo());
    }

    fn paths_and_authorities(driver) {
        table(driver, &targets());
    }

    fn field_lines(driver) {
        table(driver, &fields());
    }

    fn lengths_and_trailers(driver) {
        table(driver, &bodies());
    }

    /// Frames that come only after those before them were answered to, and so were passed on as far as they
    /// ever will be.
    fn a_length_is_held_to_over_time(driver) {
        let origin = naming();
        let proxy = serving(driver, &origin);
        for (length, parts, is_good) in [
            ("4", &["hell", ""][..], true),
            ("4", &["he", "ll", ""], true),
            ("4", &["", "hell", "", ""], true),
            ("0", &["", ""], true),
            ("4", &["hell", "o"], false),
            ("4", &["he", "ll", "", "o"], false),
            ("0", &["", "o"], false),
        ] {
            let what = format!("{length}: {parts:?}");
            let before = origin.request_count();
            let mut client = H2::connect(&proxy);
            let fields = [(":method", "POST"), S, A, P, ("content-length", length)];
            let stream = client.begin(&fields, false);
            for (at, part) in parts.iter().enumerate() {
                client.data(stream, part.as_bytes(), at + 1 == parts.len());
                let pongs = client.pongs;
                client.frame(PING, 0, 0, b"after-it");
                client.until("an answer to a ping", |client| (client.pongs > pongs).then_some(()));
                let is_last = at + 1 == parts.len();
                assert!(is_last || origin.request_count() == before, "{what}: it went on before its end");
            }
            let answer = client.response(stream);
            if is_good {
                assert_eq!((answer.status(), answer.get("x-asked").is_some()), (200, true), "{what}: {answer:?}");
            } else {
                assert_eq!((answer.status(), answer.reset), (0, Some(PROTOCOL_ERROR)), "{what}: {answer:?}");
            }
            let stream = client.get("app.test", "/clean");
            assert_eq!(client.response(stream).text(), "/clean", "{what}");
            assert_eq!(origin.request_count(), before + 1 + usize::from(is_good), "{what}");
        }
    }

    fn frames_and_streams(driver) {
        table(driver, &frames());
    }

    /// RFC 9113 §3.4.
    fn a_connection_begins_with_settings(driver) {
        let origin = naming();
        let proxy = serving(driver, &origin);
        for first in [get(&[]), frame(PING, 0, 0, &[0; 8]), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 8]), frame(0x77, 0, 0, b"")] {
            let mut client = H2::without_settings(&proxy);
            client.try_send(&all_of(&[&first, &frame(SETTINGS, 0, 0, &[])]));
            assert_eq!(client.until_ended(), Some(PROTOCOL_ERROR), "{}", shown(&first));
        }
        assert_eq!(origin.request_count(), 0);
    }

    /// RFC 9113 §6.8: a client may send all that GOAWAY does not name once more, and nothing else.
    fn goaway_names_the_last_request_that_was_taken(driver) {
        let origin = naming();
        let proxy = serving(driver, &origin);
        let size = || frame(PING, 0, 0, &[0; 7]);
        let hidden = || frame(HEADERS, END_HEADERS | END_STREAM, 9, &block(&[M, S, A, (":path", "/hidden")]));
        for (sent, expected) in [
            (all_of(&[&size(), &hidden()]), (0, FRAME_SIZE_ERROR)),
            (all_of(&[&open(), &size(), &hidden()]), (1, FRAME_SIZE_ERROR)),
            (all_of(&[&post(&[], &["hello"]), &frame(DATA, 0, 1, b"more"), &hidden()]), (1, STREAM_CLOSED)),
            (all_of(&[&frame(HEADERS, END_HEADERS, 7, &block(&[M, S, A, P])), &size(), &hidden()]), (7, FRAME_SIZE_ERROR)),
        ] {
            // With the preface, and once the connection has settled.
            for pings in 0..2 {
                let mut client = H2::connect(&proxy);
                for _ in 0..pings {
                    client.frame(PING, 0, 0, b"settled?");
                    client.until("an answer to a ping", |client| (client.pongs > 0).then_some(()));
                }
                client.try_send(&sent);
                client.until_ended();
                assert_eq!(client.goaway, [expected], "{}", shown(&sent));
                assert!(client.ended.as_ref().is_some_and(Result::is_ok), "{:?}", client.ended);
            }
        }
        assert!(origin.requests().iter().all(|request| request.target() != "/hidden"));
    }
}
