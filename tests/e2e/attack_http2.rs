//! Malicious HTTP/2 clients: their bytes are never taken for another request, and other clients are not
//! affected.

use crate::kit::h2::*;
use crate::kit::hpack::{integer, literal};
use crate::kit::*;

/// A request that must not reach an app.
struct Bad {
    name: &'static str,
    fields: Vec<(&'static str, &'static str)>,
}

fn bad(name: &'static str, fields: &[(&'static str, &'static str)]) -> Bad {
    Bad { name, fields: fields.to_vec() }
}

/// A valid GET with these additional fields.
fn with(name: &'static str, more: &[(&'static str, &'static str)]) -> Bad {
    let mut fields = good();
    fields.extend_from_slice(more);
    Bad { name, fields }
}

/// A valid GET with one pseudo-field changed.
fn but(name: &'static str, field: &'static str, value: &'static str) -> Bad {
    let mut fields = good();
    fields.iter_mut().filter(|(name, _)| *name == field).for_each(|(_, old)| *old = value);
    Bad { name, fields }
}

fn good() -> Vec<(&'static str, &'static str)> {
    vec![(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", "/bad")]
}

fn malformed() -> Vec<Bad> {
    vec![
        // RFC 9113 §8.3: pseudo-fields.
        bad("no method", &[(":scheme", "https"), (":authority", "app.test"), (":path", "/bad")]),
        bad("no scheme", &[(":method", "GET"), (":authority", "app.test"), (":path", "/bad")]),
        bad("no path", &[(":method", "GET"), (":scheme", "https"), (":authority", "app.test")]),
        bad("no path and no authority", &[(":method", "GET"), (":scheme", "https"), ("host", "app.test")]),
        bad("no authority and no host", &[(":method", "GET"), (":scheme", "https"), (":path", "/bad")]),
        with("a method twice", &[(":method", "GET")]),
        with("a path twice", &[(":path", "/bad")]),
        with("an authority twice", &[(":authority", "app.test")]),
        with("a pseudo-field behind others", &[("x", "y"), (":path", "/bad")]),
        with("an unknown pseudo-field", &[(":evil", "x")]),
        with("a response's pseudo-field", &[(":status", "200")]),
        with("a protocol without CONNECT", &[(":protocol", "websocket")]),
        but("an empty path", ":path", ""),
        but("a path that is no path", ":path", "bad"),
        but("a path with a host", ":path", "http://other.test/bad"),
        but("an authority in the path", ":path", "//@other.test\\bad HTTP/1.1"),
        but("a path with a space", ":path", "/bad HTTP/1.1"),
        but("a path with a line end", ":path", "/bad HTTP/1.1\r\nHost: other.test\r\n\r\nGET /smuggled"),
        but("a path with a tab", ":path", "/bad\tx"),
        but("a path with a NUL", ":path", "/bad\0x"),
        but("a path with bytes outside of ASCII", ":path", "/b\u{e4}d"),
        but("a path that is a fragment", ":path", "#bad"),
        but("an asterisk for GET", ":path", "*"),
        but("a query without a path", ":path", "?bad"),
        but("a method with a space", ":method", "GET /smuggled HTTP/1.1\r\n"),
        but("an empty method", ":method", ""),
        but("another scheme", ":scheme", "ftp"),
        but("a scheme with a line end", ":scheme", "http\r\nX: y"),
        but("an authority with user information", ":authority", "user@app.test"),
        but("an authority with a path", ":authority", "app.test/x"),
        but("an authority with a line end", ":authority", "app.test\r\nX: y"),
        but("an authority with a space", ":authority", "app.test x"),
        but("an empty authority", ":authority", ""),
        // RFC 9113 §8.3.1: two names.
        with("another host", &[("host", "other.test")]),
        with("another port", &[("host", "app.test:81")]),
        with("two hosts", &[("host", "app.test"), ("host", "app.test")]),
        // RFC 9113 §8.2.1: names and values.
        with("a name in upper case", &[("X-Upper", "y")]),
        with("a name with a space", &[("x y", "z")]),
        with("a name with a colon", &[("x:y", "z")]),
        with("a name with a line end", &[("x\r\ny", "z")]),
        with("an empty name", &[("", "z")]),
        with("a value with a line end", &[("x", "y\r\nGET /smuggled HTTP/1.1")]),
        with("a value with an LF", &[("x", "y\nz")]),
        with("a value with a CR", &[("x", "y\rz")]),
        with("a value with a NUL", &[("x", "y\0z")]),
        with("a value that begins with a space", &[("x", " y")]),
        with("a value that ends with a tab", &[("x", "y\t")]),
        with("a crumb with a line end", &[("cookie", "a=b"), ("cookie", "c\r\nX: y")]),
        // RFC 9113 §8.2.2: what belongs to a connection of HTTP/1.
        with("connection", &[("connection", "close")]),
        with("keep-alive", &[("keep-alive", "timeout=5")]),
        with("proxy-connection", &[("proxy-connection", "close")]),
        with("transfer-encoding", &[("transfer-encoding", "chunked")]),
        with("transfer-encoding, identity", &[("transfer-encoding", "identity")]),
        with("upgrade", &[("upgrade", "websocket")]),
        with("http2-settings", &[("http2-settings", "AAMAAABkAAQAAP__")]),
        with("te", &[("te", "gzip")]),
        with("te with more", &[("te", "trailers, gzip")]),
        // RFC 9113 §8.1.1: the length of a body that is none.
        with("a length of nothing", &[("content-length", "5")]),
        with("a signed length", &[("content-length", "+0")]),
        with("a length twice", &[("content-length", "0"), ("content-length", "0")]),
        with("a length that is none", &[("content-length", "x")]),
    ]
}

on_both_drivers! {
    fn malformed_requests_reach_no_app_and_spare_the_others(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let mut fatal = Vec::new();
        for Bad { name, fields } in malformed() {
            let stream = client.begin(&fields, true);
            while client.ended.is_none() && !client.answer(stream).is_over() {
                assert!(client.turn(), "{name}: neither refused nor served");
            }
            let answer = client.answer(stream);
            let is_refused = match (&client.ended, answer.reset) {
                (Some(_), _) => {
                    fatal.push(name);
                    client.goaway.last().is_some_and(|(_, code)| *code == PROTOCOL_ERROR)
                }
                (None, Some(code)) => code == PROTOCOL_ERROR,
                (None, None) => answer.is_whole() && answer.status() == 400,
            };
            assert!(is_refused, "{name}: {answer:?}");
            if client.ended.is_some() {
                client = H2::connect(&proxy);
            }
            assert_eq!(origin.request_count(), 0, "{name} reached the app: {:?}", origin.requests());
        }
        assert_eq!(fatal, FATAL);
        let stream = client.get("app.test", "/good");
        assert_eq!(client.response(stream).status(), 200, "the connection serves on");
        assert_eq!(origin.one_request().target(), "/good");
    }

    fn a_truncated_request_body_is_never_complete_at_the_app(driver) {
        let origin = Origin::script(|connection| {
            while let Ok(mut head) = connection.request_head() {
                if head.target() == "/health" {
                    connection.reply(200, b"");
                    continue;
                }
                let whole = connection.body(&mut head).is_ok();
                if whole {
                    connection.remember(&head);
                    connection.reply(200, b"whole");
                } else {
                    return;
                }
            }
        });
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for (name, parts) in [("too short", vec![&b"hell"[..]]), ("too long", vec![&b"hello!"[..]]), ("too long later", vec![b"hel", b"lo!"])] {
            let fields = client.fields("POST", "app.test", "/", &[("content-length", "5")]);
            let stream = client.begin(&fields, false);
            let last = parts.len() - 1;
            for (at, part) in parts.iter().enumerate() {
                client.data(stream, part, at == last);
            }
            let answer = client.response(stream);
            assert_eq!(answer.reset, Some(PROTOCOL_ERROR), "{name}: {answer:?}");
        }
        assert_eq!(origin.request_count(), 0, "{:?}", origin.requests());
        let fields = client.fields("POST", "app.test", "/", &[("content-length", "5")]);
        let stream = client.begin(&fields, false);
        client.data(stream, b"hello", true);
        assert_eq!(client.response(stream).text(), "whole");
    }

    fn a_hidden_request_in_a_body_stays_a_body(driver) {
        let origin = Origin::echo();
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let hidden = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
        for more in [&[][..], &[("content-length", "47")]] {
            let fields = client.fields("POST", "app.test", "/", more);
            let stream = client.begin(&fields, false);
            client.data(stream, hidden, true);
            assert_eq!(client.response(stream).body, hidden);
        }
        // Trailers cannot become a head, nor set its fields.
        let fields = client.fields("POST", "app.test", "/", &[]);
        let stream = client.begin(&fields, false);
        client.data(stream, b"x", false);
        let trailers = [("transfer-encoding", "chunked")];
        client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&trailers));
        let answer = client.response(stream);
        assert!(answer.reset == Some(PROTOCOL_ERROR) || answer.status() == 200, "{answer:?}");
        for request in origin.requests() {
            assert_eq!(request.target(), "/");
            assert!(request.trailers.is_empty(), "{request:?}");
        }
    }

    fn too_many_fields_and_too_large_ones_are_refused(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        let crumbs = vec![("cookie", "a=b"); 200];
        let fields = client.fields("GET", "app.test", "/", &crumbs);
        let stream = client.begin(&fields, true);
        assert_eq!(client.response(stream).status(), 431, "crumbs count, each of them");

        let value = "v".repeat(12_000);
        let large = vec![("x", value.as_str()); 3];
        let fields = client.fields("GET", "app.test", "/", &large);
        let bytes = block(&fields);
        let stream = client.next_stream();
        let pieces: Vec<&[u8]> = bytes.chunks(16_000).collect();
        client.frame(HEADERS, END_STREAM, stream, pieces[0]);
        for (at, piece) in pieces[1..].iter().enumerate() {
            client.frame(CONTINUATION, if at + 2 == pieces.len() { END_HEADERS } else { 0 }, stream, piece);
        }
        let answer = client.until("an answer", |client| {
            let answer = client.answer(stream);
            (answer.status() != 0 || answer.reset.is_some()).then(|| answer.clone())
        });
        assert!(answer.status() == 431 || answer.reset.is_some(), "{answer:?}");
        assert_eq!(origin.request_count(), 0);
        let stream = client.get("app.test", "/");
        assert_eq!(client.response(stream).status(), 200, "the connection serves on");
    }
}

/// Violations that end the connection: the HPACK decoder does not distinguish bytes that make no field from a
/// broken block, and a stream error may be treated as a connection error.
const FATAL: &[&str] = &[
    "an unknown pseudo-field",
    "a method with a space",
    "an empty method",
    "a name in upper case",
    "a name with a space",
    "a name with a colon",
    "a name with a line end",
    "an empty name",
    "a value with a line end",
    "a value with an LF",
    "a value with a CR",
    "a value with a NUL",
    "a crumb with a line end",
];

/// The n-th piece of a flood.
pub(crate) type Flood = fn(&mut H2, usize) -> Vec<u8>;

/// A request that begins on the next stream.
fn request(client: &mut H2, end: bool) -> (u32, Vec<u8>) {
    let stream = client.next_stream();
    let flags = END_HEADERS | if end { END_STREAM } else { 0 };
    let fields = client.fields("GET", "app.test", "/flood", &[]);
    (stream, frame(HEADERS, flags, stream, &block(&fields)))
}

/// Ten thousand fields of a byte each on the wire: an indexed one of 4 KB (the HPACK bomb).
fn bomb(client: &mut H2, at: usize) -> Vec<u8> {
    let stream = client.next_stream();
    let mut bytes = Vec::new();
    literal(&mut bytes, b":method", b"GET");
    literal(&mut bytes, b":scheme", b"https");
    literal(&mut bytes, b":authority", b"app.test");
    literal(&mut bytes, b":path", b"/flood");
    if at == 0 {
        bytes.push(0x40);
        for text in [b"x".as_slice(), &[b'v'; 4000]] {
            integer(&mut bytes, 0, 7, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes.extend(std::iter::repeat_n(0x80 | 62, 10_000));
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &bytes)
}

pub(crate) const FLOODS: &[(&str, Flood)] = &[
    ("rapid reset", |client, _| {
        let (stream, mut bytes) = request(client, true);
        bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        bytes
    }),
    ("made you reset: a window that overflows", |client, _| {
        let (stream, mut bytes) = request(client, true);
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes()));
        bytes
    }),
    ("made you reset: a window update of nothing", |client, _| {
        let (stream, mut bytes) = request(client, true);
        bytes.extend(frame(WINDOW_UPDATE, 0, stream, &0u32.to_be_bytes()));
        bytes
    }),
    ("made you reset: data behind the end", |client, _| {
        let (stream, mut bytes) = request(client, true);
        bytes.extend(frame(DATA, 0, stream, b"x"));
        bytes
    }),
    ("made you reset: a stream that depends on itself", |client, _| {
        let (stream, mut bytes) = request(client, true);
        bytes.extend(frame(PRIORITY, 0, stream, &[stream.to_be_bytes().as_slice(), &[1]].concat()));
        bytes
    }),
    ("made you reset: malformed heads", |client, _| {
        let stream = client.next_stream();
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&[(":method", "GET"), ("connection", "x")]))
    }),
    ("continuation without end", |client, at| {
        let stream = if at == 0 { client.next_stream() } else { 1 };
        let bytes = block(&[("x", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy")]);
        if at == 0 {
            frame(HEADERS, 0, stream, &block(&good()))
        } else {
            frame(CONTINUATION, 0, stream, &bytes)
        }
    }),
    ("empty continuation", |client, at| {
        let stream = if at == 0 { client.next_stream() } else { 1 };
        if at == 0 { frame(HEADERS, 0, stream, &block(&good())) } else { frame(CONTINUATION, 0, stream, &[]) }
    }),
    ("continuation of full frames", |client, at| {
        let stream = if at == 0 { client.next_stream() } else { 1 };
        let full = block(&[("x", &"y".repeat(16_376))]);
        if at == 0 {
            frame(HEADERS, 0, stream, &block(&good()))
        } else {
            frame(CONTINUATION, 0, stream, &full)
        }
    }),
    ("data that are padding", |client, at| match at {
        0 => request(client, false).1,
        _ => frame(DATA, PADDED, 1, &[[100].as_slice(), &[0; 100]].concat()),
    }),
    ("empty data", |client, at| if at == 0 { request(client, false).1 } else { frame(DATA, 0, 1, &[]) }),
    ("settings", |_, _| frame(SETTINGS, 0, 0, &[])),
    ("pings", |_, _| frame(PING, 0, 0, b"pingping")),
    ("priorities", |_, _| frame(PRIORITY, 0, 1001, &[0, 0, 0, 0, 16])),
    ("unknown frames", |_, _| frame(99, 0, 0, &[0; 8])),
    ("window updates", |_, _| frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes())),
    ("header bombs", bomb),
];

on_both_drivers! {
    fn floods_end_their_connection_and_no_other(driver) {
        let origin = Origin::named("o");
        let proxy = serving(driver, &origin);
        let mut other = H2::connect(&proxy);
        let stream = other.get("app.test", "/");
        assert_eq!(other.response(stream).status(), 200);
        let before = memory(&proxy);
        for (name, flood) in FLOODS {
            let mut client = H2::connect(&proxy);
            // A flood that is not stopped would be 200,000 pieces long.
            let mut sent = 0;
            while sent < 200_000 {
                let mut bytes = Vec::new();
                for _ in 0..50 {
                    bytes.extend(flood(&mut client, sent));
                    sent += 1;
                }
                if !client.try_send(&bytes) {
                    break;
                }
            }
            assert!(sent < 200_000, "{name}: never stopped");
            // A connection that is closed over unread bytes may lose its last words, and many do: what counts
            // is that it ended.
            client.until_ended();
            assert!(
                client.goaway.iter().all(|(_, code)| [ENHANCE_YOUR_CALM, PROTOCOL_ERROR, 5, 9].contains(code)),
                "{name}: {:?}",
                client.goaway
            );
            other.within(SOON);
            let stream = other.get("app.test", "/");
            assert_eq!(other.response(stream).status(), 200, "{name}: others are served");
        }
        let after = memory(&proxy);
        assert!(after < before + (64 << 20), "memory went from {before} to {after}");
        let metrics = proxy.api().get("/metrics").is(200).message.text();
        let counted: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("ringway_connections_abused_total{")).collect();
        for reason in
            ["resets", "errors", "continuations", "empty_data", "settings", "pings", "idle_frames", "window_updates"]
        {
            assert!(counted.iter().any(|line| line.contains(&format!("\"{reason}\""))), "{reason}: {counted:?}");
        }
    }

    fn requests_taken_back_do_not_pile_up_at_an_app(driver) {
        // Connections that are accepted and never answered: each request would wait for its whole time.
        let origin = Origin::silent();
        let proxy = serving(driver, &origin);
        let mut client = H2::connect(&proxy);
        for _ in 0..150 {
            let stream = client.get("app.test", "/");
            client.try_send(&frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
        }
        client.frame(PING, 0, 0, b"ping-one");
        client.until("the connection goes on", |client| (client.pongs > 0).then_some(()));
        eventually("no request is left at the app", || {
            origin.connections().iter().all(|connection| connection.has_ended()).then_some(())
        });
    }

    fn silent_windows_cost_their_connection_only(driver) {
        let body = pattern(1 << 20);
        let origin = Origin::http(move |request, connection| {
            connection.reply(200, if request.target() == "/long" { &body } else { b"short" });
            After::Keep
        });
        let proxy = serving(driver, &origin);
        let before = memory(&proxy);
        let mut stalled: Vec<H2> = (0..3)
            .map(|_| {
                let mut client = H2::with(&proxy, &[(INITIAL_WINDOW_SIZE, 0)]);
                client.stingy();
                for _ in 0..100 {
                    client.get("app.test", "/long");
                }
                client
            })
            .collect();
        for client in &mut stalled {
            client.within(3 * SOON).until("all heads", |client| (1..200).step_by(2).all(|stream| client.answer(stream).status() == 200).then_some(()));
        }
        let after = memory(&proxy);
        // A response in work is a buffer on our side, as one of HTTP/1 is: 64 KiB, and some for the request.
        assert!(after < before + 300 * (160 << 10), "memory went from {before} to {after}");
        let mut other = H2::connect(&proxy);
        let stream = other.get("app.test", "/");
        assert_eq!(other.response(stream).status(), 200, "others are served");
    }
}

/// Bytes that the process holds.
fn memory(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
