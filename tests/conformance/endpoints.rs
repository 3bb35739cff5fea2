//! Responses of an HTTP/2 endpoint: RFC 9113 §8 (fields, lengths, interim responses, trailers) and §4 to §6
//! (frames, streams), as an HTTP/1.1 client receives them.

use super::*;
use crate::kit::h2::*;
use crate::kit::h2_script::{Line, Scripted};
use crate::kit::*;

/// Acceptable outcome of a response.
enum End {
    /// The client gets 502, and nothing of it is forwarded.
    Refused,
    /// The head was valid; the client's connection ends before the response is complete.
    Cut,
    /// It arrives: status, body, and fields that stand there exactly so, or do not where there is no value.
    Passed(u16, &'static str, &'static [(&'static str, Option<&'static str>)]),
}
use End::{Cut, Passed, Refused};

/// Sends the response on a stream.
type Say = Box<dyn Fn(&mut Line, u32) + Send + Sync>;

struct Reply {
    section: &'static str,
    name: &'static str,
    method: &'static str,
    say: Say,
    ends: Vec<End>,
}

fn reply(
    section: &'static str,
    name: &'static str,
    ends: impl IntoIterator<Item = End>,
    say: impl Fn(&mut Line, u32) + Send + Sync + 'static,
) -> Reply {
    Reply { section, name, method: "POST", say: Box::new(say), ends: ends.into_iter().collect() }
}

impl Reply {
    fn for_head(self) -> Self {
        Self { method: "HEAD", ..self }
    }
}

type Fields = &'static [(&'static str, &'static str)];

/// A head of exactly these fields, and no body.
fn head(
    section: &'static str,
    name: &'static str,
    fields: Fields,
    ends: impl IntoIterator<Item = End>,
) -> Reply {
    reply(section, name, ends, move |line, stream| line.headers(stream, fields, true))
}

/// A head of exactly these fields, and a body of `hello`.
fn full(
    section: &'static str,
    name: &'static str,
    fields: Fields,
    ends: impl IntoIterator<Item = End>,
) -> Reply {
    reply(section, name, ends, move |line, stream| {
        line.headers(stream, fields, false);
        line.data(stream, b"hello", true);
    })
}

/// A frame before a valid response.
fn before(
    section: &'static str,
    name: &'static str,
    frame: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    ends: impl IntoIterator<Item = End>,
) -> Reply {
    reply(section, name, ends, move |line, stream| {
        line.send(&frame(stream));
        hello(line, stream);
    })
}

/// A frame within the body of a valid response.
fn within(
    section: &'static str,
    name: &'static str,
    frame: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static,
    ends: impl IntoIterator<Item = End>,
) -> Reply {
    reply(section, name, ends, move |line, stream| {
        line.headers(stream, OK, false);
        line.data(stream, b"he", false);
        line.send(&frame(stream));
        line.frame(DATA, END_STREAM, stream, b"llo");
    })
}

fn hello(line: &mut Line, stream: u32) {
    line.headers(stream, OK, false);
    line.frame(DATA, END_STREAM, stream, b"hello");
}

const OK: Fields = &[(":status", "200"), ("x", "y")];
const WHOLE: End = Passed(200, "hello", &[("x", Some("y"))]);
const PUSH_PROMISE: u8 = 5;
const WITH_PRIORITY: u8 = 0x20;

#[rustfmt::skip] // a case is a line
fn heads() -> Vec<Reply> {
    vec![
        full("9113 §8.3.2", "a good answer", OK, [WHOLE]),
        head("9113 §8.3.2", "no :status", &[("x", "y")], [Refused]),
        head("9113 §8.3.2", "nothing at all", &[], [Refused]),
        head("9113 §8.3.2", "two :status", &[(":status", "200"), (":status", "404")], [Refused]),
        head("9113 §8.3.2", "an empty :status", &[(":status", "")], [Refused]),
        head("9113 §8.3.2", ":status abc", &[(":status", "abc")], [Refused]),
        head("9113 §8.3.2", ":status of two digits", &[(":status", "20")], [Refused]),
        head("9113 §8.3.2", ":status of four digits", &[(":status", "2000")], [Refused]),
        head("9113 §8.3.2", "a reason in :status", &[(":status", "200 OK")], [Refused]),
        head("9110 §15", ":status 099", &[(":status", "099")], [Refused]),
        head("9110 §15", ":status 600", &[(":status", "600")], [Refused]),
        head("9110 §15", ":status 999", &[(":status", "999")], [Refused]),
        head("9113 §8.3", ":status behind a field", &[("x", "y"), (":status", "200")], [Refused]),
        // The crate leaves it out before ringway sees the answer (README.md).
        head("9113 §8.3", "a request's pseudo-field", &[(":status", "200"), (":path", "/")], [Refused, Passed(200, "", &[])]),
        head("9113 §8.3", "an unknown pseudo-field", &[(":status", "200"), (":evil", "1")], [Refused]),
        head("9113 §8.2.1", "a name in upper case", &[(":status", "200"), ("Evil", "1")], [Refused]),
        head("9113 §8.2.1", "a space in a name", &[(":status", "200"), ("x y", "1")], [Refused]),
        head("9113 §8.2.1", "a colon in a name", &[(":status", "200"), ("x:y", "1")], [Refused]),
        head("9113 §8.2.1", "a line end in a name", &[(":status", "200"), ("x\r\nevil", "1")], [Refused]),
        head("9113 §8.2.1", "an empty name", &[(":status", "200"), ("", "1")], [Refused]),
        head("9113 §8.2.1", "CR LF in a value", &[(":status", "200"), ("x", "y\r\nevil: 1")], [Refused]),
        head("9113 §8.2.1", "LF in a value", &[(":status", "200"), ("x", "y\nevil: 1")], [Refused]),
        head("9113 §8.2.1", "CR in a value", &[(":status", "200"), ("x", "y\revil: 1")], [Refused]),
        head("9113 §8.2.1", "NUL in a value", &[(":status", "200"), ("x", "y\0z")], [Refused]),
        // §8.2.1: "MUST NOT start or end with" white space; left out, it is the value that was meant.
        head("9113 §8.2.1", "a space before a value", &[(":status", "200"), ("x", " y")], [Refused, Passed(200, "", &[("x", Some("y"))])]),
        head("9113 §8.2.1", "a tab behind a value", &[(":status", "200"), ("x", "y\t")], [Refused, Passed(200, "", &[("x", Some("y"))])]),
        head("9110 §5.5", "bytes beyond ASCII in a value", &[(":status", "200"), ("x", "é")], [Passed(200, "", &[("x", Some("\u{c3}\u{a9}"))])]),
        head("9113 §8.2.2", "connection", &[(":status", "200"), ("connection", "close")], [Refused]),
        head("9113 §8.2.2", "keep-alive", &[(":status", "200"), ("keep-alive", "timeout=5")], [Refused]),
        head("9113 §8.2.2", "proxy-connection", &[(":status", "200"), ("proxy-connection", "close")], [Refused]),
        head("9113 §8.2.2", "transfer-encoding", &[(":status", "200"), ("transfer-encoding", "chunked")], [Refused]),
        head("9113 §8.2.2", "upgrade", &[(":status", "200"), ("upgrade", "h2c")], [Refused]),
        head("9113 §8.6", "101", &[(":status", "101"), ("x", "y")], [Refused]),
        full("9110 §8.6", "a length", &[(":status", "200"), ("x", "y"), ("content-length", "5")], [WHOLE]),
        full("9113 §8.1.1", "a length too large", &[(":status", "200"), ("content-length", "6")], [Refused, Cut]),
        full("9113 §8.1.1", "a length too small", &[(":status", "200"), ("content-length", "4")], [Refused, Cut]),
        // The head may be on its way when the body comes; of that, nothing may be.
        full("9113 §8.1.1", "a length of 0, and a body", &[(":status", "200"), ("content-length", "0")], [Refused, Cut, Passed(200, "", &[])]),
        head("9113 §8.1.1", "a length, and no body", &[(":status", "200"), ("content-length", "5")], [Refused, Cut]),
        full("9110 §8.6", "two lengths that differ", &[(":status", "200"), ("content-length", "5"), ("content-length", "6")], [Refused]),
        full("9110 §8.6", "a length twice", &[(":status", "200"), ("x", "y"), ("content-length", "5"), ("content-length", "5")], [Refused, WHOLE]),
        full("9110 §8.6", "a signed length", &[(":status", "200"), ("content-length", "+5")], [Refused]),
        full("9110 §8.6", "a length in hexadecimal", &[(":status", "200"), ("content-length", "0x5")], [Refused]),
        full("9110 §8.6", "an empty length", &[(":status", "200"), ("content-length", "")], [Refused]),
        full("9110 §8.6", "a length beyond 64 bits", &[(":status", "200"), ("content-length", "18446744073709551621")], [Refused]),
        head("9110 §8.6", "a length for HEAD", &[(":status", "200"), ("content-length", "5")], [Passed(200, "", &[("content-length", Some("5"))])]).for_head(),
        head("9110 §15.4.5", "a length of a 304", &[(":status", "304"), ("content-length", "5")], [Passed(304, "", &[])]),
        // Over HTTP/1.1 only the head can be sent: the rest must not become the next response.
        full("9110 §9.3.2", "a body for HEAD", OK, [Refused, Cut, Passed(200, "", &[("x", Some("y"))])]).for_head(),
        full("9110 §15.3.5", "a body of a 204", &[(":status", "204")], [Refused, Cut, Passed(204, "", &[])]),
        full("9110 §15.4.5", "a body of a 304", &[(":status", "304")], [Refused, Cut, Passed(304, "", &[])]),
    ]
}

#[rustfmt::skip] // a case is a line
fn messages() -> Vec<Reply> {
    let interim = |line: &mut Line, stream, status: &str, end| line.headers(stream, &[(":status", status), ("x-interim", "1")], end);
    vec![
        reply("9113 §8.1", "an interim answer", [WHOLE], move |line, stream| { interim(line, stream, "103", false); hello(line, stream); }),
        reply("9113 §8.1", "100 that nobody waits for", [WHOLE], move |line, stream| { interim(line, stream, "100", false); hello(line, stream); }),
        reply("9113 §8.1", "an interim answer that ends the stream", [Refused], move |line, stream| interim(line, stream, "103", true)),
        reply("9113 §8.1", "an interim answer behind the final one", [Cut], move |line, stream| {
            line.headers(stream, OK, false);
            interim(line, stream, "103", false);
            line.frame(DATA, END_STREAM, stream, b"hello");
        }),
        reply("9113 §8.1", "two final heads", [Cut], |line, stream| {
            line.headers(stream, OK, false);
            line.headers(stream, &[(":status", "404"), ("evil", "1")], false);
            line.frame(DATA, END_STREAM, stream, b"hello");
        }),
        reply("9113 §8.1", "trailers", [WHOLE], |line, stream| {
            line.headers(stream, OK, false);
            line.data(stream, b"hello", false);
            line.headers(stream, &[("x-sum", "1")], true);
        }),
        reply("9113 §8.1", "trailers that do not end the stream", [Cut], |line, stream| {
            line.headers(stream, OK, false);
            line.data(stream, b"hello", false);
            line.headers(stream, &[("x-sum", "1")], false);
            line.frame(DATA, END_STREAM, stream, b" and more");
        }),
        // The crate leaves the pseudo-field out before ringway sees the trailers (README.md).
        reply("9113 §8.1", "a pseudo-field in trailers", [Cut, WHOLE], |line, stream| {
            line.headers(stream, OK, false);
            line.data(stream, b"hello", false);
            line.headers(stream, &[(":status", "404")], true);
        }),
        reply("9110 §6.5.1", "trailers that frame and route", [WHOLE], |line, stream| {
            line.headers(stream, OK, false);
            line.data(stream, b"hello", false);
            line.headers(stream, &[("content-length", "99"), ("set-cookie", "a=b"), ("host", "evil.test")], true);
        }),
        reply("9113 §8.1", "DATA before the head", [Refused], |line, stream| { line.frame(DATA, 0, stream, b"hello"); hello(line, stream); }),
        reply("9113 §8.1", "DATA after an interim answer", [Refused], move |line, stream| { interim(line, stream, "103", false); line.frame(DATA, END_STREAM, stream, b"hello"); }),
        reply("9113 §5.4.2", "a reset before the head", [Refused], |line, stream| line.reset(stream, 2)),
        reply("9113 §5.4.2", "a reset in the body", [Cut], |line, stream| { line.headers(stream, OK, false); line.data(stream, b"he", false); line.reset(stream, 2); }),
        reply("9113 §8.1", "NO_ERROR in the body", [Cut], |line, stream| { line.headers(stream, OK, false); line.data(stream, b"he", false); line.reset(stream, 0); }),
        reply("9113 §6.8", "GOAWAY, and the answer", [WHOLE], |line, stream| { line.goaway(stream, 0); hello(line, stream); }),
        reply("9113 §6.2", "a head with padding and a priority", [WHOLE], |line, stream| {
            let fields = [&[2, 0, 0, 0, 0, 16], block(OK).as_slice(), &[0, 0]].concat();
            line.frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, stream, &fields);
            line.frame(DATA, END_STREAM, stream, b"hello");
        }),
        reply("9113 §6.1", "DATA with padding", [WHOLE], |line, stream| {
            line.headers(stream, OK, false);
            line.frame(DATA, END_STREAM | PADDED, stream, b"\x03hello\0\0\0");
        }),
        reply("9113 §6.10", "a head in pieces", [WHOLE], |line, stream| {
            let fields = block(OK);
            line.frame(HEADERS, 0, stream, &fields[..3]);
            line.frame(CONTINUATION, 0, stream, &[]);
            line.frame(CONTINUATION, END_HEADERS, stream, &fields[3..]);
            line.frame(DATA, END_STREAM, stream, b"hello");
        }),
        reply("9113 §6.1", "empty DATA among others", [WHOLE], |line, stream| {
            line.headers(stream, OK, false);
            for piece in [&b""[..], b"hel", b"", b"lo", b""] {
                line.frame(DATA, 0, stream, piece);
            }
            line.frame(DATA, END_STREAM, stream, b"");
        }),
    ]
}

#[rustfmt::skip] // a case is a line
fn frames() -> Vec<Reply> {
    vec![
        before("9113 §4.1", "an unknown frame", |stream| frame(0x77, 0xff, stream, b"x"), [WHOLE]),
        within("9113 §4.1", "an unknown frame in the body", |stream| frame(0x77, 0xff, stream, b"x"), [WHOLE]),
        before("9113 §4.2", "a frame beyond the limit", |_| frame(0x77, 0, 0, &[0; 16_385]), [Refused]),
        within("9113 §4.2", "DATA beyond the limit", |stream| frame(DATA, 0, stream, &[0; 16_385]), [Cut]),
        before("9113 §4.3", "a header block that is none", |stream| frame(HEADERS, END_HEADERS, stream, &[0xff, 0x20]), [Refused]),
        before("9113 §4.3", "a frame within a header block", |stream| [frame(HEADERS, 0, stream, &block(OK)), frame(PING, 0, 0, &[0; 8])].concat(), [Refused]),
        before("9113 §5.1", "a head on an idle stream", |stream| frame(HEADERS, END_HEADERS, stream + 100, &block(OK)), [Refused]),
        before("9113 §5.1", "DATA on an idle stream", |stream| frame(DATA, 0, stream + 100, b"x"), [Refused]),
        before("9113 §5.1", "a reset of an idle stream", |stream| frame(RST_STREAM, 0, stream + 100, &[0; 4]), [Refused]),
        before("9113 §5.1.1", "a head on a stream of the server's own", |_| frame(HEADERS, END_HEADERS, 2, &block(OK)), [Refused]),
        before("9113 §6.1", "DATA on stream 0", |_| frame(DATA, 0, 0, b"x"), [Refused]),
        within("9113 §6.1", "padding longer than its frame", |stream| frame(DATA, PADDED, stream, &[9, b'x']), [Cut]),
        before("9113 §6.2", "HEADERS on stream 0", |_| frame(HEADERS, END_HEADERS, 0, &block(OK)), [Refused]),
        before("9113 §6.4", "RST_STREAM of three bytes", |stream| frame(RST_STREAM, 0, stream, &[0; 3]), [Refused]),
        before("9113 §6.4", "RST_STREAM on stream 0", |_| frame(RST_STREAM, 0, 0, &[0; 4]), [Refused]),
        before("9113 §6.5", "SETTINGS of five bytes", |_| frame(SETTINGS, 0, 0, &[0; 5]), [Refused]),
        before("9113 §6.5", "SETTINGS on a stream", |stream| frame(SETTINGS, 0, stream, &[]), [Refused]),
        before("9113 §6.5.2", "a window beyond 2^31-1", |_| frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]), [Refused]),
        before("9113 §6.5.2", "a frame size below 2^14", |_| frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff]), [Refused]),
        before("9113 §6.5.2", "an unknown setting", |_| frame(SETTINGS, 0, 0, &[0x77, 0x77, 0, 0, 0, 1]), [WHOLE]),
        before("9113 §8.4", "a push that was ruled out", |stream| frame(PUSH_PROMISE, END_HEADERS, stream, &[&[0, 0, 0, 2], block(&[(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/")]).as_slice()].concat()), [Refused]),
        before("9113 §6.7", "PING of seven bytes", |_| frame(PING, 0, 0, &[0; 7]), [Refused]),
        before("9113 §6.7", "PING on a stream", |stream| frame(PING, 0, stream, &[0; 8]), [Refused]),
        before("9113 §6.8", "GOAWAY on a stream", |stream| frame(GOAWAY, 0, stream, &[0; 8]), [Refused]),
        before("9113 §6.9", "WINDOW_UPDATE of 0 on the connection", |_| frame(WINDOW_UPDATE, 0, 0, &[0; 4]), [Refused]),
        before("9113 §6.9", "WINDOW_UPDATE of three bytes", |_| frame(WINDOW_UPDATE, 0, 0, &[0; 3]), [Refused]),
        before("9113 §6.9.1", "a connection's window beyond 2^31-1", |_| frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), [Refused]),
        before("9113 §6.10", "CONTINUATION of nothing", |stream| frame(CONTINUATION, END_HEADERS, stream, &block(OK)), [Refused]),
    ]
}

fn table(driver: Driver, replies: Vec<Reply>) {
    let replies = std::sync::Arc::new(replies);
    let says = std::sync::Arc::clone(&replies);
    let endpoint = Scripted::script(move |line| {
        while let Some(asked) = line.request() {
            match asked.path().strip_prefix("/case/").and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => (says[number].say)(line, asked.stream),
                None => line.reply(asked.stream, asked.path().as_bytes()),
            }
        }
    });
    let proxy = Proxy::start(driver);
    proxy.api().register("app", "app-1", &endpoint.target());
    proxy.api().domain("app.test", "app", None);
    all(
        &replies,
        |one| format!("{}, {}", one.section, one.name),
        |number, one| judge(&proxy, &endpoint, number, one),
    );
}

fn judge(proxy: &Proxy, endpoint: &Scripted, number: usize, case: &Reply) -> Result<(), String> {
    let path = format!("/case/{number}");
    let mut client = proxy.client();
    // A POST is not repeated, so that the endpoint's one answer is what the client sees.
    let body = if case.method == "POST" { "Content-Length: 4\r\n\r\nbody" } else { "\r\n" };
    client.send(format!("{} {path} HTTP/1.1\r\nHost: app.test\r\n{body}", case.method));
    let answer = client.try_response(case.method);
    let is = |end: &End| match (end, &answer) {
        (Refused, Ok(answer)) => {
            let is_own =
                || answer.json()["error"]["code"].as_str().is_some_and(|code| code.starts_with("upstream_"));
            answer.status() == 502 && is_own() && answer.all("x").is_empty()
        }
        (Cut, Err(fault)) => matches!(fault, Fault::Cut(_) | Fault::CutHead | Fault::Reset | Fault::Closed),
        (Passed(status, body, fields), Ok(answer)) => {
            let has = |(name, value): &(&str, Option<&str>)| {
                answer.all(name) == value.iter().copied().collect::<Vec<_>>()
            };
            answer.status() == *status && answer.text() == *body && fields.iter().all(has)
        }
        _ => false,
    };
    let said = || format!("{answer:?}");
    if !case.ends.iter().any(is) {
        return Err(said());
    }
    if let Ok(answer) = &answer {
        let odd: Vec<_> = answer
            .fields
            .iter()
            .chain(&answer.trailers)
            .filter(|(name, _)| name.starts_with(':') || name.eq_ignore_ascii_case("evil"))
            .collect();
        if !odd.is_empty() {
            return Err(format!("{odd:?} passed: {}", said()));
        }
        if answer.trailers.iter().any(|(name, _)| {
            ["content-length", "set-cookie", "host"].contains(&name.to_ascii_lowercase().as_str())
        }) {
            return Err(format!("a trailer passed that may not: {}", said()));
        }
    }
    let asked = endpoint.asked().iter().filter(|asked| asked.path() == path).count();
    if asked != 1 && case.method == "POST" {
        return Err(format!("it was asked {asked} times: {}", said()));
    }
    if answer.as_ref().map_or(true, Message::closes) {
        client = proxy.client();
    }
    for turn in 0..2 {
        let target = format!("/clean/{number}/{turn}");
        client
            .try_send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"))
            .map_err(|error| format!("{error}; before, {}", said()))?;
        let clean = client
            .try_response("GET")
            .map_err(|fault| format!("a clean request got {fault:?}; before, {}", said()))?;
        if clean.status() != 200 || clean.text() != target {
            return Err(format!("a clean request got {clean:?}; before, {}", said()));
        }
    }
    Ok(())
}

on_both_drivers! {
    fn heads_of_an_endpoint(driver) {
        table(driver, heads());
    }

    fn messages_of_an_endpoint(driver) {
        table(driver, messages());
    }

    fn frames_of_an_endpoint(driver) {
        table(driver, frames());
    }
}
