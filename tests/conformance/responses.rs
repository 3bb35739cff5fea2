//! Responses of an origin: RFC 9112 §4 (status line), §5, §6, §7, RFC 9110 §15 (statuses), §7.6.1. The client
//! gets one well-formed response, or one that is visibly truncated.

use std::sync::{Arc, Mutex};

use super::*;
use crate::kit::*;

/// Acceptable outcome at the client.
enum Got {
    /// 502 from the proxy, and nothing of the origin's response.
    BadGateway,
    /// The response had started: the client sees that it is incomplete.
    Cut,
    /// The response, with this status and body.
    Passed(u16, &'static str, Vec<(&'static str, &'static [&'static str])>),
}

struct Reply {
    section: &'static str,
    name: &'static str,
    method: &'static str,
    sent: Vec<u8>,
    after: After,
    outcomes: Vec<Got>,
}

fn reply(
    section: &'static str,
    name: &'static str,
    sent: impl Into<Vec<u8>>,
    outcomes: impl Into<Vec<Got>>,
) -> Reply {
    Reply { section, name, method: "GET", sent: sent.into(), after: After::Close, outcomes: outcomes.into() }
}

impl Reply {
    /// To a request with this method.
    fn to(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    /// The origin leaves its connection open.
    fn kept(mut self) -> Self {
        self.after = After::Keep;
        self
    }
}

impl From<Got> for Vec<Got> {
    fn from(got: Got) -> Self {
        vec![got]
    }
}

fn passed(body: &'static str) -> Got {
    Got::Passed(200, body, Vec::new())
}

fn with(body: &'static str, fields: &[(&'static str, &'static [&'static str])]) -> Got {
    Got::Passed(200, body, fields.to_vec())
}

fn head(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n")
}

fn ok(fields: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n{fields}\r\nabc")
}

/// A second response behind the first: a proxy that reads it would send it to the wrong client.
const BEHIND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nHIDDEN";

#[rustfmt::skip] // a case is a line
fn heads() -> Vec<Reply> {
    use Got::{BadGateway, Cut};
    let no = || BadGateway;
    // RFC 9112 §2.2 and §5.2 let a recipient repair bare LFs, bare CRs and folds; ringway refuses them from
    // origins too.
    let line = |line: &str| format!("{line}\r\nContent-Length: 3\r\n\r\nabc");
    vec![
        reply("9112 §4", "an answer", ok(""), passed("abc")).kept(),
        reply("9112 §4", "no reason and no space", line("HTTP/1.1 200"), [no(), passed("abc")]),
        reply("9112 §4", "no reason", line("HTTP/1.1 200 "), passed("abc")),
        reply("9112 §4", "bytes beyond ASCII in the reason", [b"HTTP/1.1 200 \xe9\r\n".as_slice(), b"Content-Length: 3\r\n\r\nabc"].concat(), [no(), passed("abc")]),
        reply("9112 §4", "an unknown status", line("HTTP/1.1 299 Fine"), Got::Passed(299, "abc", vec![])),
        reply("9112 §4", "an unknown status of errors", line("HTTP/1.1 599 No"), Got::Passed(599, "abc", vec![])),
        reply("9112 §4", "a status of two digits", line("HTTP/1.1 20 OK"), no()),
        reply("9112 §4", "a status of four digits", line("HTTP/1.1 2000 OK"), no()),
        reply("9112 §4", "a status of letters", line("HTTP/1.1 abc OK"), no()),
        reply("9112 §4", "a signed status", line("HTTP/1.1 +20 OK"), no()),
        reply("9112 §4", "no status", line("HTTP/1.1 OK"), no()),
        reply("9110 §15", "status 000", line("HTTP/1.1 000 OK"), no()),
        reply("9110 §15", "status 099", line("HTTP/1.1 099 OK"), no()),
        reply("9110 §15", "status 600", line("HTTP/1.1 600 OK"), no()),
        reply("9110 §15", "status 999", line("HTTP/1.1 999 OK"), no()),
        reply("9112 §4", "two spaces before the status", line("HTTP/1.1  200 OK"), [no(), passed("abc")]),
        reply("9112 §4", "a tab before the status", line("HTTP/1.1\t200 OK"), [no(), passed("abc")]),
        reply("9112 §4", "a space before the version", line(" HTTP/1.1 200 OK"), no()),
        reply("9112 §4", "NUL in the reason", line("HTTP/1.1 200 O\0K"), no()),
        reply("9112 §4", "a control byte in the reason", line("HTTP/1.1 200 O\x01K"), no()),
        reply("9112 §4", "a CR in the reason", line("HTTP/1.1 200 O\rK"), no()),
        reply("9112 §2.3", "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", passed("abc")),
        reply("9112 §2.3", "HTTP/2.0", line("HTTP/2.0 200 OK"), no()),
        reply("9112 §2.3", "HTTP/0.9", line("HTTP/0.9 200 OK"), no()),
        // As in a request: a higher minor version exists nowhere.
        reply("9112 §2.3", "HTTP/1.2", line("HTTP/1.2 200 OK"), [no(), passed("abc")]),
        reply("9112 §2.3", "a version in lower case", line("http/1.1 200 OK"), no()),
        reply("9112 §2.3", "another protocol", line("ICY 200 OK"), no()),
        reply("9112 §2.3", "no version", "abc", no()),
        reply("9112 §2.1", "another server", "SSH-2.0-OpenSSH_9.2\r\n", no()),
        reply("9112 §2.1", "a TLS alert", b"\x15\x03\x01\x00\x02\x02\x0a".as_slice(), no()),
        reply("9112 §2.1", "a request for an answer", HIDDEN, no()),
        reply("9112 §8", "nothing", "", no()),
        reply("9112 §8", "half a status line", "HTTP/1.1 20", no()),
        reply("9112 §8", "half a head", "HTTP/1.1 200 OK\r\nContent-Le", no()),
        reply("9112 §8", "a head without its end", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", no()),
        reply("9112 §2.2", "an empty line before", format!("\r\n{}", ok("")), [no(), passed("abc")]),
        reply("9112 §2.2", "LF everywhere", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", [no(), passed("abc")]),
        reply("9112 §2.2", "LF after a field", "HTTP/1.1 200 OK\r\nContent-Length: 3\n\r\nabc", [no(), passed("abc")]),
        reply("9112 §2.2", "LF for the empty line", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\nabc", [no(), passed("abc")]),
        reply("9112 §2.2", "a CR in a value", ok("X: a\rSet-Cookie: b\r\n"), [no(), with("abc", &[("set-cookie", &[])])]),
        reply("9112 §2.2", "a space before the first field", format!("HTTP/1.1 200 OK\r\n X: y\r\n{}", "Content-Length: 3\r\n\r\nabc"), [no(), with("abc", &[("x", &[])])]),
        // RFC 9112 §5.1 wants a proxy to remove the space; refusing keeps the two readings apart as well.
        reply("9112 §5.1", "a space before a colon", ok("X : y\r\n"), [no(), with("abc", &[("x", &["y"])])]),
        reply("9112 §5.1", "a space before Content-Length's colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", [no(), passed("abc")]),
        reply("9112 §5.1", "no colon", ok("nonsense\r\n"), no()),
        reply("9112 §5.1", "no name", ok(": y\r\n"), no()),
        reply("9110 §5.1", "a name that is no token", ok("X(Y): z\r\n"), no()),
        reply("9110 §5.1", "NUL in a name", ok("X\0: y\r\n"), no()),
        reply("9110 §5.5", "NUL in a value", ok("X: a\0b\r\n"), [no(), with("abc", &[("x", &["a b"])])]),
        reply("9110 §5.5", "a control byte in a value", ok("X: a\x01b\r\n"), no()),
        reply("9112 §5.2", "a folded value", ok("X: a\r\n b\r\n"), [no(), with("abc", &[("x", &["a b"])])]),
        reply("9112 §5.2", "a folded Transfer-Encoding", format!("{}0\r\n\r\n", head("Transfer-Encoding:\r\n chunked\r\n")), [no(), passed("")]),
        reply("9112 §5.4", "a field beyond every limit", ok(&format!("X: {}\r\n", "y".repeat(300_000))), no()),
        reply("9112 §5.4", "twenty thousand fields", ok(&"X: y\r\n".repeat(20_000)), no()),
        reply("9110 §5.3", "fields of one name in order", ok("Set-Cookie: a\r\nX: y\r\nSet-Cookie: b\r\n"), with("abc", &[("set-cookie", &["a", "b"])])),
        reply("9110 §7.6.1", "Connection names a field", ok("Connection: X-Hop\r\nX-Hop: y\r\n"), with("abc", &[("x-hop", &[])])).kept(),
        reply("9110 §7.6.1", "Connection names Content-Length", ok("Connection: Content-Length\r\n"), [no(), passed("abc")]).kept(),
        reply("9110 §7.6.1", "hop-by-hop fields", ok("Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: x\r\n"), with("abc", &[("keep-alive", &[]), ("proxy-connection", &[]), ("upgrade", &[]), ("te", &[])])).kept(),
        reply("9110 §7.6.1", "Connection: close of the origin is not the client's", ok("Connection: close\r\n"), with("abc", &[("connection", &[])])),
        reply("9110 §15.2", "an interim response", format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{}", ok("")), passed("abc")),
        reply("9110 §15.2", "a 100 that nobody waited for", format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("")), passed("abc")),
        reply("9110 §15.2", "an unknown interim response", format!("HTTP/1.1 199 Odd\r\n\r\n{}", ok("")), passed("abc")),
        reply("9110 §15.2", "interim responses without an end", "HTTP/1.1 102 Processing\r\n\r\n".repeat(500), [no(), Cut]),
        reply("9110 §15.2", "an interim response and no final one", "HTTP/1.1 103 Early Hints\r\n\r\n", [no(), Cut]),
        reply("9110 §15.2", "an interim response, then nonsense", "HTTP/1.1 103 Early Hints\r\n\r\nnonsense\r\n\r\n", [no(), Cut]),
        reply("9112 §6.3", "an interim response with a length", format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 6\r\n\r\nHIDDEN{}", ok("")), [no(), Cut]),
        reply("9112 §6.1", "an interim response with a coding", format!("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{}", ok("")), [no(), Cut, passed("abc")]),
        reply("9110 §15.2.2", "a 101 that nobody asked for", format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n{BEHIND}"), no()),
        reply("9110 §15.2.2", "a 101 to h2c", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", no()),
    ]
}

#[rustfmt::skip] // a case is a line
fn bodies() -> Vec<Reply> {
    use Got::{BadGateway, Cut};
    let no = || BadGateway;
    let coded = |value: &str| format!("{}0\r\n\r\n{BEHIND}", head(&format!("Transfer-Encoding: {value}\r\n")));
    let chunks = |body: &str| format!("{}{body}", head("Transfer-Encoding: chunked\r\n"));
    let mut replies = vec![
        reply("9112 §6.3", "a length and more bytes", format!("{}{BEHIND}", ok("")), passed("abc")).kept(),
        reply("9112 §6.3", "a length and fewer bytes", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Cut),
        reply("9112 §6.3", "neither length nor coding", "HTTP/1.1 200 OK\r\n\r\nabc", passed("abc")),
        reply("9112 §6.3", "length and coding", format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{BEHIND}"), [no(), passed("")]),
        reply("9112 §6.3", "coding and length", format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n{BEHIND}"), [no(), passed("")]),
        reply("9112 §6.3", "two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", no()),
        reply("9112 §6.3", "different lengths in a list", "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\nabcd", no()),
        reply("9110 §8.6", "the same length twice", ok("Content-Length: 3\r\n"), [no(), with("abc", &[("content-length", &["3"])])]),
        reply("9110 §8.6", "the same length in a list", "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nabc", [no(), with("abc", &[("content-length", &["3"])])]),
        reply("9110 §8.6", "a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\nabc", no()),
        reply("9110 §8.6", "a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc", no()),
        reply("9110 §8.6", "a hexadecimal length", "HTTP/1.1 200 OK\r\nContent-Length: 0x3\r\n\r\nabc", no()),
        reply("9110 §8.6", "an empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nabc", no()),
        reply("9110 §8.6", "a length of letters", "HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\nabc", no()),
        reply("9110 §8.6", "a length beyond 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551619\r\n\r\nabc", no()),
        reply("9112 §6.3", "a HEAD with a length and no body", head("Content-Length: 3\r\n"), with("", &[("content-length", &["3"])])).to("HEAD").kept(),
        reply("9112 §6.3", "a HEAD with a body", ok(""), with("", &[("content-length", &["3"])])).to("HEAD").kept(),
        reply("9112 §6.3", "a HEAD with a coding and no body", head("Transfer-Encoding: chunked\r\n"), passed("")).to("HEAD").kept(),
        reply("9112 §6.3", "a 204", "HTTP/1.1 204 No Content\r\n\r\n", Got::Passed(204, "", vec![])).kept(),
        reply("9110 §8.6", "a 204 with a length", format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{BEHIND}", BEHIND.len()), [no(), Got::Passed(204, "", vec![("content-length", &[])])]).kept(),
        reply("9112 §6.1", "a 204 with a coding", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [no(), Got::Passed(204, "", vec![("transfer-encoding", &[])])]).kept(),
        reply("9110 §15.4.5", "a 304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Got::Passed(304, "", vec![("content-length", &["9"])])).kept(),
        reply("9110 §15.4.5", "a 304 with a body", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{BEHIND}", BEHIND.len()), Got::Passed(304, "", vec![])).kept(),
        reply("9110 §15.3.6", "a 205 with a length of 0", "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", Got::Passed(205, "", vec![])).kept(),
        reply("9112 §6.1", "chunked", chunks("3\r\nabc\r\n0\r\n\r\n"), passed("abc")).kept(),
        reply("9112 §6.1", "chunked and more bytes", format!("{}{BEHIND}", chunks("3\r\nabc\r\n0\r\n\r\n")), passed("abc")).kept(),
        reply("9112 §6.1", "chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", [no(), passed("abc")]),
        reply("9112 §7.1.1", "an extension", chunks("3;x=\"y\"\r\nabc\r\n0\r\n\r\n"), passed("abc")).kept(),
        reply("9112 §7.1.2", "a trailer", chunks("3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n"), passed("abc")).kept(),
        reply("9110 §6.5.1", "Content-Length as a trailer", chunks("3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"), [passed("abc"), Cut]).kept(),
        reply("9110 §6.5.1", "Set-Cookie as a trailer", chunks("3\r\nabc\r\n0\r\nSet-Cookie: a=b\r\n\r\n"), [with("abc", &[("set-cookie", &[])]), Cut]).kept(),
    ];
    for (name, value) in [("identity", "identity"), ("an unknown coding", "x-foo"), ("gzip, then chunked", "gzip, chunked"), ("chunked, then gzip", "chunked, gzip"), ("chunked twice", "chunked, chunked"), ("chunked in two lines", "chunked\r\nTransfer-Encoding: chunked"), ("quoted chunked", "\"chunked\""), ("a parameter", "chunked;q=1"), ("a vertical tab", "\x0bchunked"), ("an empty coding", "")] {
        replies.push(reply("9112 §6.1", name, coded(value), no()));
    }
    for (section, name, body) in [
        ("9112 §7.1", "a chunk size that is none", "zz\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "an empty chunk size", "\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "a negative chunk size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "0x before a chunk size", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "a chunk size beyond 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "a space before a chunk size", " 3\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "an LF after a chunk size", "3\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "an LF after data", "3\r\nabc\n0\r\n\r\n"),
        ("9112 §7.1", "data longer than their size", "2\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1", "no CRLF after data", "3\r\nabc0\r\n\r\n"),
        ("9112 §7.1.1", "an LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("9112 §7.1.2", "a trailer without a colon", "3\r\nabc\r\n0\r\nnonsense\r\n\r\n"),
        ("9112 §7.1.2", "a folded trailer", "3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n"),
        ("9112 §7.1.2", "NUL in a trailer", "3\r\nabc\r\n0\r\nX: a\0b\r\n\r\n"),
        ("9112 §8", "a cut chunk", "9\r\nabc"),
        ("9112 §8", "no last chunk", "3\r\nabc\r\n"),
        ("9112 §8", "no end after the last chunk", "3\r\nabc\r\n0\r\n"),
        ("9112 §8", "nothing of a chunked body", ""),
    ] {
        // The head was good; whether it has gone on when the fault is seen is a matter of time.
        replies.push(reply(section, name, chunks(body), [Cut, no()]));
    }
    replies
}

fn table(driver: Driver, replies: &[Reply]) {
    let script = Arc::new(Mutex::new((Vec::new(), After::Close)));
    let origin = {
        let script = Arc::clone(&script);
        Origin::http(move |request, connection| {
            if request.target() != "/case" {
                connection.reply(200, request.target().as_bytes());
                return After::Keep;
            }
            let (bytes, after) = script.lock().unwrap().clone();
            connection.send(bytes);
            after
        })
    };
    let proxy = Proxy::start(driver);
    all(
        replies,
        |reply| format!("{}, {}: the origin sent {}", reply.section, reply.name, shown(&reply.sent)),
        |number, reply| {
            // An app for each: the breaker of one would open before the table is through.
            let host = format!("app{number}.test");
            proxy.serve(&format!("app{number}"), &host, &origin);
            *script.lock().unwrap() = (reply.sent.clone(), reply.after);
            judge(&proxy, &host, number, reply)
        },
    );
}

fn judge(proxy: &Proxy, host: &str, number: usize, reply: &Reply) -> Result<(), String> {
    let mut client = proxy.client();
    client.send(format!("{} /case HTTP/1.1\r\nHost: {host}\r\n\r\n", reply.method));
    let got = client.try_response(reply.method);
    if matches!(got, Err(Fault::Deadline | Fault::Malformed(_) | Fault::Socket(_))) {
        return Err(format!("the client got {got:?}"));
    }
    let faults: Vec<String> = reply.outcomes.iter().filter_map(|outcome| is(outcome, &got).err()).collect();
    if faults.len() == reply.outcomes.len() {
        return Err(format!("{}; the client got {got:?}", faults.join("; ")));
    }
    if got.as_ref().is_ok_and(Message::closes) {
        let rest = client.try_rest();
        if !rest.as_ref().is_ok_and(Vec::is_empty) {
            return Err(format!("{rest:?} instead of a close, after {got:?}"));
        }
    }
    if !got.as_ref().is_ok_and(|answer| !answer.closes()) {
        client = proxy.client();
    }
    for turn in 0..2 {
        let target = format!("/clean/{number}/{turn}");
        let answer = client
            .try_send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .map_err(|error| format!("a clean request could not be sent: {error}; before, {got:?}"))
            .and_then(|()| {
                client
                    .try_response("GET")
                    .map_err(|fault| format!("a clean request got {fault:?}; before, {got:?}"))
            })?;
        if answer.status() != 200 || answer.text() != target {
            return Err(format!("a clean request got {answer:?}; before, {got:?}"));
        }
    }
    Ok(())
}

fn is(outcome: &Got, got: &Result<Message, Fault>) -> Result<(), String> {
    match (outcome, got) {
        (Got::BadGateway, Ok(answer)) if answer.status() == 502 && !answer.text().contains("HIDDEN") => {
            Ok(())
        }
        (Got::BadGateway, _) => Err("no 502".to_owned()),
        (Got::Cut, Err(_)) => Ok(()),
        (Got::Cut, Ok(_)) => Err("it looks whole".to_owned()),
        (Got::Passed(status, body, fields), Ok(answer)) => {
            if answer.status() != *status || answer.text() != *body {
                return Err(format!("not {status} with {body:?}"));
            }
            if !answer.first_line.starts_with("HTTP/1.1 ") {
                return Err("another version than ours".to_owned());
            }
            match fields.iter().find(|(name, values)| answer.all(name) != *values) {
                Some((name, values)) => Err(format!("{name} is {:?} and not {values:?}", answer.all(name))),
                None => Ok(()),
            }
        }
        (Got::Passed(..), Err(_)) => Err("not whole".to_owned()),
    }
}

on_both_drivers! {
    fn heads_of_responses(driver) {
        table(driver, &heads());
    }

    fn bodies_of_responses(driver) {
        table(driver, &bodies());
    }
}
