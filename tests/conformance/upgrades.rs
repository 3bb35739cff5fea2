//! The opening handshake of a WebSocket and other upgrades: RFC 6455 §4.1, §4.2, RFC 9110 §7.8, §15.2.2.

use std::sync::{Arc, Mutex};

use super::exchange::looks_like;
use super::*;
use crate::kit::*;

/// Acceptable outcome of an upgrade request.
enum Wish {
    /// The proxy refuses with one of these; nothing reaches the origin.
    Refused(&'static [u16]),
    /// It arrives as a plain request without upgrade, and gets a plain response.
    Plain,
    /// It arrives as a handshake and the origin's 101 opens a tunnel: what follows belongs to it.
    Opened,
    /// It arrives as a handshake, and the client gets this status of the origin's.
    Denied(u16),
    /// It arrives as a handshake, and the origin's response does not match it: 502.
    BadGateway,
}

struct Handshake {
    section: &'static str,
    name: &'static str,
    sent: Vec<u8>,
    /// Response of the origin to a handshake.
    reply: String,
    outcomes: Vec<Wish>,
}

const FIELDS: [&str; 4] = [
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// The handshake with these lines of a GET for another, or none.
fn with(line: usize, other: &str) -> String {
    let mut fields = FIELDS.map(String::from);
    fields[line] = other.to_owned();
    let lines: String =
        fields.iter().filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
    get(&lines)
}

fn good() -> String {
    with(0, FIELDS[0])
}

fn ask(
    section: &'static str,
    name: &'static str,
    sent: impl Into<Vec<u8>>,
    outcomes: impl IntoIterator<Item = Wish>,
) -> Handshake {
    let outcomes = outcomes.into_iter().collect();
    Handshake { section, name, sent: sent.into(), reply: ws::accepted(), outcomes }
}

fn told(
    section: &'static str,
    name: &'static str,
    reply: impl Into<String>,
    outcomes: impl IntoIterator<Item = Wish>,
) -> Handshake {
    let outcomes = outcomes.into_iter().collect();
    Handshake { section, name, sent: good().into(), reply: reply.into(), outcomes }
}

#[rustfmt::skip] // a case is a line
fn handshakes() -> Vec<Handshake> {
    use Wish::{BadGateway, Denied, Opened, Plain, Refused};
    const NO: &[u16] = &[400, 426];
    let no = || [Refused(NO)];
    // An invalid handshake may be served as a request without an upgrade (RFC 9110 §7.8).
    let no_or_plain = || [Refused(NO), Plain];
    let method = |method: &str| good().replacen("GET", method, 1);
    let switching = |fields: &str| format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
    vec![
        ask("6455 §4.1", "a handshake", good(), [Opened]),
        ask("6455 §4.1", "with a protocol and extensions", with(0, "Upgrade: websocket\r\nSec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\nOrigin: http://app.test"), [Opened]),
        ask("6455 §4.2.1", "names and values in other cases", with(0, "UPGRADE: WebSocket").replace("Connection: Upgrade", "connection: upgrade"), [Opened]),
        ask("6455 §4.2.1", "Upgrade within a list of options", with(1, "Connection: keep-alive, Upgrade"), [Opened]),
        ask("6455 §4.2.1", "options on two lines", with(1, "Connection: keep-alive\r\nConnection: Upgrade"), [Opened]),
        ask("6455 §4.2.1", "no key", with(2, ""), no_or_plain()),
        ask("6455 §4.2.1", "an empty key", with(2, "Sec-WebSocket-Key:"), no_or_plain()),
        ask("6455 §4.2.1", "a key of 15 bytes", with(2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j"), no_or_plain()),
        ask("6455 §4.2.1", "a key of 13 bytes", with(2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBubw=="), no_or_plain()),
        ask("6455 §4.2.1", "a key of 19 bytes", with(2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSB4eA=="), no_or_plain()),
        ask("6455 §4.2.1", "a key of 17 bytes", with(2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZXg="), no_or_plain()),
        ask("6455 §4.2.1", "a key that is no base64", with(2, "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), no_or_plain()),
        ask("6455 §4.2.1", "a key without padding", with(2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ"), no_or_plain()),
        ask("6455 §4.2.1", "two keys", with(2, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), no_or_plain()),
        ask("6455 §4.2.1", "no version", with(3, ""), no_or_plain()),
        ask("6455 §4.4", "version 8", with(3, "Sec-WebSocket-Version: 8"), [Refused(&[400, 426])]),
        ask("6455 §4.4", "version 14", with(3, "Sec-WebSocket-Version: 14"), [Refused(&[400, 426])]),
        ask("6455 §4.4", "version 013", with(3, "Sec-WebSocket-Version: 013"), no()),
        ask("6455 §4.4", "versions in a list", with(3, "Sec-WebSocket-Version: 13, 8"), no()),
        ask("6455 §4.4", "two versions", with(3, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8"), no()),
        ask("6455 §4.4", "an empty version", with(3, "Sec-WebSocket-Version:"), no()),
        ask("6455 §4.4", "a version that is no number", with(3, "Sec-WebSocket-Version: x"), no()),
        ask("6455 §4.2.1", "a POST", method("POST"), no_or_plain()),
        ask("6455 §4.2.1", "a PUT", method("PUT"), no_or_plain()),
        ask("6455 §4.2.1", "an OPTIONS", method("OPTIONS"), no_or_plain()),
        ask("6455 §4.2.1", "HTTP/1.0", good().replace("HTTP/1.1", "HTTP/1.0"), no_or_plain()),
        ask("6455 §4.1", "a body with a length", format!("{}abc", with(0, "Upgrade: websocket\r\nContent-Length: 3")), no_or_plain()),
        ask("6455 §4.1", "a chunked body", format!("{}0\r\n\r\n", with(0, "Upgrade: websocket\r\nTransfer-Encoding: chunked")), no_or_plain()),
        ask("6455 §4.2.1", "no Host", good().replace("Host: app.test\r\n", ""), [Refused(&[400])]),
        ask("6455 §4.2.1", "no Connection", with(1, ""), no_or_plain()),
        ask("6455 §4.2.1", "Connection without upgrade", with(1, "Connection: keep-alive"), no_or_plain()),
        ask("6455 §4.2.1", "Connection: websocket", with(1, "Connection: websocket"), no_or_plain()),
        ask("6455 §4.2.1", "Connection: upgraded", with(1, "Connection: upgraded"), no_or_plain()),
        ask("6455 §4.2.1", "a quoted upgrade", with(1, "Connection: \"Upgrade\""), no_or_plain()),
        ask("6455 §4.2.1", "no Upgrade", with(0, ""), [Plain]),
        ask("9110 §7.8", "Upgrade to h2c", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), [Plain]),
        ask("9110 §7.8", "Upgrade to TLS", get("Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n"), [Plain]),
        ask("9110 §7.8", "Upgrade to connect-udp", get("Connection: Upgrade\r\nUpgrade: connect-udp\r\nCapsule-Protocol: ?1\r\n"), [Plain]),
        ask("9110 §7.8", "Upgrade to websocket/13", with(0, "Upgrade: websocket/13"), [Plain, Refused(NO)]),
        ask("9110 §7.8", "Upgrade to websockets", with(0, "Upgrade: websockets"), [Plain]),
        ask("9110 §7.8", "an empty Upgrade", with(0, "Upgrade:"), [Plain]),
        // One of the listed protocols may be chosen; the other must not reach the origin, which might choose
        // it.
        ask("9110 §7.8", "Upgrade to h2c or websocket", with(0, "Upgrade: h2c, websocket"), [Opened, Plain, Refused(NO)]),
        ask("9110 §7.8", "Upgrade on two lines", with(0, "Upgrade: websocket\r\nUpgrade: h2c"), [Opened, Plain, Refused(NO)]),
        // Bytes after a handshake are held back until the 101: after a refusal they would be a request to the
        // origin.
        ask("6455 §4.1", "a frame sent before the 101", [good().as_bytes(), &ws::masked(ws::TEXT, b"early")].concat(), [Opened]),
        told("6455 §4.2.2", "a 101 without accept", switching("Upgrade: websocket\r\nConnection: Upgrade\r\n"), [BadGateway, Opened]),
        told("6455 §4.2.2", "a 101 with another accept", ws::accepted().replace(ws::ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="), [BadGateway, Opened]),
        told("9110 §7.8", "a 101 without Upgrade", switching("Connection: Upgrade\r\n"), [BadGateway]),
        told("9110 §7.8", "a 101 without Connection", switching("Upgrade: websocket\r\n"), [BadGateway]),
        told("9110 §7.8", "a 101 to h2c", switching("Upgrade: h2c\r\nConnection: Upgrade\r\n"), [BadGateway]),
        told("9110 §7.8", "a 101 to two protocols", switching("Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n"), [BadGateway]),
        told("9110 §7.8", "a 101 to a list", switching("Upgrade: websocket, h2c\r\nConnection: Upgrade\r\n"), [BadGateway]),
        told("9112 §6.3", "a 101 with a length", ws::accepted().replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n"), [BadGateway]),
        told("9112 §6.1", "a 101 with a coding", ws::accepted().replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n"), [BadGateway]),
        told("9112 §2.2", "a 101 with bare LFs", ws::accepted().replace("\r\n", "\n"), [BadGateway]),
        told("9110 §7.8", "refused with 200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", [Denied(200)]),
        told("9110 §7.8", "refused with 400", "HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\nno", [Denied(400)]),
        told("9110 §7.8", "refused with 401", "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno", [Denied(401)]),
        told("9110 §7.8", "refused with 403 in chunks", "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", [Denied(403)]),
        told("6455 §4.4", "refused with 426", "HTTP/1.1 426 No\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nno", [Denied(426)]),
        told("9110 §7.8", "refused with a redirect", "HTTP/1.1 302 There\r\nLocation: /\r\nContent-Length: 2\r\n\r\nno", [Denied(302)]),
        told("9110 §7.8", "refused until the end of the connection", "HTTP/1.1 403 No\r\nConnection: close\r\n\r\nno", [Denied(403)]),
        told("9110 §15.2", "a 103 before the 101", format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", ws::accepted()), [Opened]),
    ]
}

fn shake(proxy: &Proxy, origin: &Origin, number: usize, case: &Handshake) -> Result<(), String> {
    let before = origin.request_count();
    let host = format!("app{number}.test");
    let mut client = proxy.client();
    let sent = replace(&case.sent, b"app.test", host.as_bytes());
    client.try_send(&sent).map_err(|error| error.to_string())?;
    let got = client.try_response("GET");
    let arrived = origin.requests().split_off(before);
    let faults: Vec<String> =
        case.outcomes.iter().filter_map(|wish| is(wish, case, &got, &arrived).err()).collect();
    if faults.len() == case.outcomes.len() {
        return Err(format!("{}; the client got {got:?}, the origin {arrived:?}", faults.join("; ")));
    }
    let is_open = got.as_ref().is_ok_and(|answer| answer.status() == 101);
    if is_open {
        if case.sent.ends_with(&ws::masked(ws::TEXT, b"early")) {
            let early = ws::read_frame(&mut client).map_err(|fault| format!("the early frame: {fault:?}"))?;
            if early.1 != b"early" {
                return Err(format!("the early frame became {early:?}"));
            }
        }
        ws::ping_pong(&mut client, "through");
        client = proxy.client();
    } else if got.as_ref().is_ok_and(|answer| answer.closes()) {
        let rest = client.try_rest();
        if !rest.as_ref().is_ok_and(Vec::is_empty) {
            return Err(format!("{rest:?} instead of a close"));
        }
        client = proxy.client();
    }
    for turn in 0..2 {
        let target = format!("/clean/{number}/{turn}");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client
            .try_response("GET")
            .map_err(|fault| format!("a clean request got {fault:?}; before, {got:?}"))?;
        if answer.status() != 200 || answer.text() != target {
            return Err(format!("a clean request got {answer:?}; before, {got:?}"));
        }
    }
    Ok(())
}

fn is(
    wish: &Wish,
    case: &Handshake,
    got: &Result<Message, Fault>,
    arrived: &[Message],
) -> Result<(), String> {
    let Ok(answer) = got else { return Err("no answer".to_owned()) };
    let handshake = || match arrived {
        [request]
            if request.field("upgrade") == Some("websocket")
                && request.lists("connection", "upgrade")
                && request.field("sec-websocket-key") == Some(ws::KEY)
                && request.field("sec-websocket-version") == Some("13") =>
        {
            Ok(())
        }
        _ => Err("no single handshake arrived".to_owned()),
    };
    match wish {
        Wish::Refused(statuses) => {
            if !arrived.is_empty() {
                return Err("it arrived".to_owned());
            }
            if answer.status() == 426 && answer.field("sec-websocket-version") != Some("13") {
                return Err("a 426 that does not tell the version (RFC 6455 §4.4)".to_owned());
            }
            if statuses.contains(&answer.status()) { Ok(()) } else { Err(format!("none of {statuses:?}")) }
        }
        Wish::Plain => {
            let [request] = arrived else { return Err("not one request".to_owned()) };
            // The line, with our version; the host is the case's own.
            let line = case.sent.split(|byte| *byte == b'\r').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line).replace("HTTP/1.0", "HTTP/1.1");
            let host: &'static str = request.all("host").first().map_or("", |host| host.to_string().leak());
            let plain = seen(line).host(host).body(request.body.clone());
            looks_like(request, &plain)?;
            if request.all("sec-websocket-key").is_empty() && answer.text() == "plain" {
                Ok(())
            } else {
                Err("not a plain request with a plain answer".to_owned())
            }
        }
        Wish::Opened => {
            handshake()?;
            // A client may rely on what RFC 6455 §4.1 lets it check.
            let is_switch = answer.status() == 101
                && answer.lists("connection", "upgrade")
                && answer.field("upgrade").is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"));
            if is_switch { Ok(()) } else { Err("not opened".to_owned()) }
        }
        Wish::Denied(status) => {
            handshake()?;
            let is_denied =
                answer.status() == *status && answer.text() == "no" && !answer.lists("connection", "upgrade");
            if is_denied { Ok(()) } else { Err(format!("not denied with {status}")) }
        }
        Wish::BadGateway => {
            handshake()?;
            if answer.status() == 502 { Ok(()) } else { Err("no 502".to_owned()) }
        }
    }
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let Some(at) = bytes.windows(from.len()).position(|window| window == from) else { return bytes.to_vec() };
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

on_both_drivers! {
    fn upgrades(driver) {
        let reply = Arc::new(Mutex::new(String::new()));
        let origin = {
            let reply = Arc::clone(&reply);
            Origin::http(move |request, connection| {
                if request.target().starts_with("/clean/") {
                    connection.reply(200, request.target().as_bytes());
                } else if request.lists("connection", "upgrade") {
                    let reply = reply.lock().unwrap().clone();
                    connection.send(&reply);
                    if !reply.contains("HTTP/1.1 101") {
                        return if reply.contains("close") { After::Close } else { After::Keep };
                    }
                    while connection.echo_frame() {}
                    return After::Close;
                } else {
                    connection.reply(200, b"plain");
                }
                After::Keep
            })
        };
        let proxy = Proxy::start(driver);
        let cases = handshakes();
        all(&cases, |case| format!("{}, {}: sent {}, the origin {}", case.section, case.name, shown(&case.sent), shown(case.reply.as_bytes())), |number, case| {
            proxy.serve(&format!("app{number}"), &format!("app{number}.test"), &origin);
            *reply.lock().unwrap() = case.reply.clone();
            shake(&proxy, &origin, number, case)
        });
    }
}
