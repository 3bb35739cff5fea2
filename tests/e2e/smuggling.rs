//! Messages whose two readers could disagree: refused or made unambiguous, never passed on as they came.

use crate::kit::*;

/// Bytes of a request after `Host`, and the statuses that refuse it.
struct Case {
    name: &'static str,
    bytes: String,
    statuses: &'static [u16],
}

fn case(name: &'static str, bytes: impl Into<String>) -> Case {
    Case { name, bytes: bytes.into(), statuses: &[400] }
}

fn coded(name: &'static str, statuses: &'static [u16], bytes: impl Into<String>) -> Case {
    Case { name, bytes: bytes.into(), statuses }
}

/// A POST with these framing fields and this body, and a second request hidden behind it.
fn post(fields: &str, body: &str) -> String {
    format!("POST /first HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n{body}")
}

const HIDDEN: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

fn framing_cases() -> Vec<Case> {
    let chunked = "0\r\n\r\n";
    let te = |value: &str| post(&format!("Transfer-Encoding: {value}\r\n"), &format!("{chunked}{HIDDEN}"));
    vec![
        case(
            "both lengths",
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("{chunked}{HIDDEN}")),
        ),
        case(
            "both lengths, other order",
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("{chunked}{HIDDEN}")),
        ),
        case("two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")),
        case("the same length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")),
        case("a list of lengths", post("Content-Length: 5, 5\r\n", "hello")),
        case("a signed length", post("Content-Length: +5\r\n", "hello")),
        case("a negative length", post("Content-Length: -5\r\n", "hello")),
        case("a hexadecimal length", post("Content-Length: 0x5\r\n", "hello")),
        case("an empty length", post("Content-Length:\r\n", "hello")),
        case("a length with a space inside", post("Content-Length: 1 0\r\n", "hello")),
        coded(
            "a length beyond 64 bits",
            &[400, 413],
            post("Content-Length: 99999999999999999999999\r\n", "hello"),
        ),
        coded("identity", &[400, 501], te("identity")),
        coded("gzip before chunked", &[400, 501], te("gzip, chunked")),
        coded("chunked before gzip", &[400, 501], te("chunked, gzip")),
        coded("chunked twice", &[400, 501], te("chunked, chunked")),
        coded("chunked with a parameter", &[400, 501], te("chunked;q=1")),
        coded("an unknown coding", &[400, 501], te("xchunked")),
        coded("quoted chunked", &[400, 501], te("\"chunked\"")),
        coded("an empty coding", &[400, 501], te("")),
        coded("chunked in two fields", &[400, 501], te("chunked\r\nTransfer-Encoding: chunked")),
        coded(
            "chunked and identity in two fields",
            &[400, 501],
            te("chunked\r\nTransfer-Encoding: identity"),
        ),
        coded("a vertical tab before chunked", &[400, 501], te("\x0bchunked")),
        case("a space before the colon", post("Transfer-Encoding : chunked\r\n", chunked)),
        case("a tab before the colon", post("Content-Length\t: 5\r\n", "hello")),
        case("a folded field", post("Transfer-Encoding:\r\n chunked\r\n", chunked)),
        case("a folded length", post("X: y\r\n Content-Length: 5\r\n", "hello")),
        case("a line that begins with a space", "GET / HTTP/1.1\r\n Host: app.test\r\n\r\n"),
        case(
            "chunked in HTTP/1.0",
            format!(
                "POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{HIDDEN}"
            ),
        ),
    ]
}

fn syntax_cases() -> Vec<Case> {
    vec![
        case("a bare LF after the request line", format!("GET / HTTP/1.1\nHost: app.test\r\n\r\n{HIDDEN}")),
        case("a bare LF after a field", format!("GET / HTTP/1.1\r\nHost: app.test\nX: y\r\n\r\n{HIDDEN}")),
        case("bare LFs only", format!("GET / HTTP/1.1\nHost: app.test\n\n{HIDDEN}")),
        case("a bare CR in a value", "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\rb\r\n\r\n"),
        case("a bare CR as the end of a line", "GET / HTTP/1.1\r\nHost: app.test\rX: b\r\n\r\n"),
        case("NUL in a value", "GET / HTTP/1.1\r\nHost: app.test\r\nX: a\0b\r\n\r\n"),
        case("NUL in a name", "GET / HTTP/1.1\r\nHost: app.test\r\nX\0: a\r\n\r\n"),
        case("a line without a colon", "GET / HTTP/1.1\r\nHost: app.test\r\nnonsense\r\n\r\n"),
        case("an empty name", "GET / HTTP/1.1\r\nHost: app.test\r\n: x\r\n\r\n"),
        case("a space in a name", "GET / HTTP/1.1\r\nHost: app.test\r\nX Y: z\r\n\r\n"),
        case("a name beyond ASCII", "GET / HTTP/1.1\r\nHost: app.test\r\nX\u{e9}: z\r\n\r\n"),
        case("two spaces in the request line", "GET  / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        case("a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        case("a space in the target", "GET /a b HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        case("a control character in the target", "GET /a\x01b HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        case("a space after the version", "GET / HTTP/1.1 \r\nHost: app.test\r\n\r\n"),
        case("no version", "GET /\r\nHost: app.test\r\n\r\n"),
        coded("version 2.0", &[400, 505], "GET / HTTP/2.0\r\nHost: app.test\r\n\r\n"),
        coded("version 0.9", &[400, 505], "GET / HTTP/0.9\r\nHost: app.test\r\n\r\n"),
        coded("version 1.10", &[400, 505], "GET / HTTP/1.10\r\nHost: app.test\r\n\r\n"),
        case("a version in small letters", "GET / http/1.1\r\nHost: app.test\r\n\r\n"),
        case("a method that is no token", "G(T / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        case("no method", " / HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        coded("the preface of HTTP/2", &[400, 505], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        case("a TLS hello", "\x16\x03\x01\x02\0\x01\0\x01\u{7f}\x03\x03\r\n\r\n"),
    ]
}

/// A chunked request whose body is broken; its head may be on its way already.
fn chunk_cases() -> Vec<(&'static str, String)> {
    let cases = [
        ("an empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("a size of spaces", "  \r\nhello\r\n0\r\n\r\n"),
        ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size with an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "zz\r\nhello\r\n0\r\n\r\n"),
        ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("a size of 17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("a bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("a bare LF after the chunk", "5\r\nhello\n0\r\n\r\n"),
        ("no CRLF after the chunk", "5\r\nhello0\r\n\r\n"),
        ("more bytes than the size", "5\r\nhello!\r\n0\r\n\r\n"),
        ("a bare LF at the end", "5\r\nhello\r\n0\n\n"),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        ("a broken trailer", "5\r\nhello\r\n0\r\nno colon\r\n\r\n"),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
    ];
    let mut cases: Vec<(&'static str, String)> =
        cases.into_iter().map(|(name, body)| (name, format!("{body}{HIDDEN}"))).collect();
    cases.push((
        "an extension beyond 256 bytes",
        format!("5;{}\r\nhello\r\n0\r\n\r\n{HIDDEN}", "x".repeat(300)),
    ));
    cases.push((
        "trailers beyond every limit",
        format!("5\r\nhello\r\n0\r\n{}\r\n{HIDDEN}", "X: y\r\n".repeat(5000)),
    ));
    cases
}

fn refused(proxy: &Proxy, origin: &Origin, case: &Case) {
    let mut client = proxy.client();
    // The proxy may answer and close before it has read everything.
    let _ = client.try_send(&case.bytes);
    let answer = client.try_response("GET").unwrap_or_else(|fault| panic!("{}: {fault:?}", case.name));
    assert!(
        case.statuses.contains(&answer.status()),
        "{}: {} {}",
        case.name,
        answer.first_line,
        answer.text()
    );
    let rest = client.rest();
    assert!(rest.is_empty(), "{}: a second answer {:?}", case.name, String::from_utf8_lossy(&rest));
    let seen = origin.requests();
    assert!(seen.is_empty(), "{}: passed on {seen:?}", case.name);
}

/// Invalid response of an origin, and whether a 502 can still be sent.
fn response_cases() -> Vec<(&'static str, Vec<u8>, bool)> {
    let early = |name, text: &str| (name, text.as_bytes().to_vec(), true);
    let late = |name, text: &str| (name, text.as_bytes().to_vec(), false);
    let hidden = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nSMUGGLED";
    vec![
        early(
            "both lengths",
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        early("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        early("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: 3x\r\n\r\nabc"),
        early("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"),
        early("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        early("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        early("a bare LF", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"),
        early("a space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc"),
        early("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 3\r\n\r\nabc"),
        early("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 3\r\n\r\nabc"),
        early(
            "a bare CR in a value",
            "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: x\r\nContent-Length: 3\r\n\r\nabc",
        ),
        early("no HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        early("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        early("a status beyond 599", "HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"),
        early("HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        early("a head cut off", "HTTP/1.1 200 OK\r\nContent-Le"),
        early("nothing", ""),
        early(
            "a 101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nSMUGGLED",
        ),
        early("interim responses without end", &"HTTP/1.1 102 Processing\r\n\r\n".repeat(200)),
        early(
            "a head beyond every limit",
            &format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(300_000)),
        ),
        late("a body cut off", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        late("a chunk cut off", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        late("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
        late(
            "no end after the last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        ),
        late(
            "a chunk size that is none",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n\r\n0\r\n\r\n",
        ),
        late(
            "no CRLF after a chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabXX0\r\n\r\n",
        ),
        late(
            "a bare LF after a size",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n",
        ),
    ]
}

on_both_drivers! {
    fn ambiguous_framing_is_refused_and_the_connection_closed(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for case in framing_cases() {
            refused(&proxy, &origin, &case);
        }
    }

    fn broken_syntax_is_refused_and_the_connection_closed(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for case in syntax_cases() {
            refused(&proxy, &origin, &case);
        }
    }

    fn a_broken_chunked_request_never_arrives_as_a_whole_one(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        for (name, body) in chunk_cases() {
            let mut client = proxy.client();
            let _ = client.try_send(post("Transfer-Encoding: chunked\r\n", &body));
            match client.try_response("POST") {
                Ok(answer) => {
                    assert!([400, 413, 431].contains(&answer.status()), "{name}: {}", answer.first_line);
                    let rest = client.rest();
                    assert!(rest.is_empty(), "{name}: {:?}", String::from_utf8_lossy(&rest));
                }
                // The origin's response had started: it can only be cut.
                Err(Fault::Closed | Fault::Reset | Fault::Cut(_)) => {}
                Err(fault) => panic!("{name}: {fault:?}"),
            }
            let seen = origin.requests();
            assert!(seen.is_empty(), "{name}: passed on as whole {seen:?}");
        }
    }

    fn a_request_that_is_cut_off_never_arrives_as_a_whole_one(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        for bytes in [
            post("Content-Length: 10\r\n", "hello"),
            post("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
            "GET / HTTP/1.1\r\nHost: app.test\r\n".to_owned(),
        ] {
            let mut client = proxy.client();
            client.send(&bytes);
            client.finish();
            let rest = String::from_utf8_lossy(&client.rest()).into_owned();
            assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{bytes:?}: {rest}");
            assert_eq!(origin.request_count(), 0, "{bytes:?}");
        }
    }

    fn good_requests_are_not_mistaken_for_bad_ones(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for (bytes, body) in [
            (post("Content-Length: 5\r\n", "hello"), "hello"),
            (post("content-length:5\r\n", "hello"), "hello"),
            (post("Content-Length:   5  \r\n", "hello"), "hello"),
            (post("Content-Length: 0005\r\n", "hello"), "hello"),
            (post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "hello"),
            (post("TRANSFER-ENCODING: Chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), "hello"),
            (post("Transfer-Encoding: chunked\r\n", "005;a=b;c=\"d e\"\r\nhello\r\n0\r\n\r\n"), "hello"),
            (post("Transfer-Encoding: chunked\r\n", "3\r\nhel\r\n2\r\nlo\r\n00\r\nX-Trailer: t\r\n\r\n"), "hello"),
            (post("Content-Length: 0\r\n", ""), ""),
            (format!("\r\n{}", post("Content-Length: 5\r\n", "hello")), "hello"),
            ("GET / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "hello"),
            ("DELETE /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "hello"),
            ("PATCH /x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "hello"),
        ] {
            client.send(&bytes);
            let answer = client.response("POST");
            assert_eq!((answer.status(), answer.text().as_str()), (200, body), "{bytes:?}");
        }
    }

    fn alias_fields_with_underscores_are_dropped(driver) {
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send(post("Content-Length: 5\r\nContent_Length: 60\r\nTransfer_Encoding: chunked\r\n", "hello"));
        assert_eq!(client.response("POST").text(), "hello");
        let request = origin.one_request();
        assert!(request.all("content_length").is_empty() && request.all("transfer_encoding").is_empty());
    }

    fn a_broken_response_is_never_passed_on_as_it_came(driver) {
        let script = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let origin = {
            let script = std::sync::Arc::clone(&script);
            Origin::http(move |_, connection| {
                let bytes: Vec<u8> = script.lock().unwrap().clone();
                connection.send(&bytes);
                After::Close
            })
        };
        // The breaker would open before the table is through.
        let proxy = Proxy::start(driver);
        for (number, (name, bytes, early)) in response_cases().into_iter().enumerate() {
            proxy.serve(&format!("app{number}"), &format!("app{number}.test"), &origin);
            *script.lock().unwrap() = bytes;
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/1.1\r\nHost: app{number}.test\r\n\r\n"));
            match client.try_response("GET") {
                Ok(answer) => {
                    assert!(early, "{name}: passed on as whole: {answer:?}");
                    assert_eq!(answer.status(), 502, "{name}: {answer:?}");
                    assert!(!answer.text().contains("SMUGGLED"), "{name}");
                }
                Err(Fault::Closed | Fault::Cut(_) | Fault::CutHead | Fault::Reset) => {
                    assert!(!early, "{name}: no answer although one was possible");
                }
                Err(fault) => panic!("{name}: {fault:?}"),
            }
        }
    }

    fn bytes_after_a_response_are_discarded(driver) {
        let origin = Origin::fixed(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nSMUGGLED",
            After::Keep,
        );
        let proxy = Proxy::serving(driver, &origin);
        let mut clients = [proxy.client(), proxy.client()];
        for _ in 0..4 {
            for client in &mut clients {
                assert_eq!(client.get("app.test", "/").text(), "ok");
            }
        }
        // Such a connection is not used again.
        assert_eq!(origin.connections().len(), 8);
    }
}
