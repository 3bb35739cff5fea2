//! Request heads: RFC 9112 §2 to §7, RFC 9110, RFC 6455 §4.

use ringway_wire::h1::{HeadFault, Limits, Parse, RequestError, RequestHead, TargetForm, Upgrade};
use ringway_wire::headers::FieldKind;
use ringway_wire::message::{Framing, Method, Version};
use ringway_wire::normalize::AuthorityError;
use ringway_wire::websocket::HandshakeError;

use HeadFault::*;

/// Parses at once and byte by byte, which must give the same result.
pub(crate) fn parse(bytes: impl AsRef<[u8]>) -> Result<(Parse, RequestHead), RequestError> {
    parse_with(bytes, &Limits::default())
}

fn parse_with(bytes: impl AsRef<[u8]>, limits: &Limits) -> Result<(Parse, RequestHead), RequestError> {
    let bytes = bytes.as_ref();
    let mut head = RequestHead::default();
    let verdict = head.parse(bytes, limits);
    let mut drip = RequestHead::default();
    let mut last = Ok(Parse::Partial);
    for end in 0..=bytes.len() {
        last = drip.parse(&bytes[..end], limits);
        if last != Ok(Parse::Partial) {
            break;
        }
    }
    assert_eq!(last, verdict, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
    assert_eq!(drip.len(), head.len());
    verdict.map(|parse| (parse, head))
}

pub(crate) fn complete(bytes: impl AsRef<[u8]>) -> RequestHead {
    let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    let (verdict, head) = parse(bytes).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(verdict, Parse::Complete, "{text:?}");
    head
}

fn refused(bytes: impl AsRef<[u8]>) -> RequestError {
    let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    parse(bytes).err().unwrap_or_else(|| panic!("accepted: {text:?}"))
}

fn with_fields(fields: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn reads_a_plain_request() {
    let buf = b"GET /a/b?c=d&e HTTP/1.1\r\nHost: Example.COM:8080\r\nX-One:1\r\nX-Two: \t 2 \t\r\nX-Empty:\r\n\r\nrest";
    let head = complete(buf);
    assert_eq!(head.len(), buf.len() - 4);
    assert_eq!((head.method(), head.method_str(buf)), (Method::Get, "GET"));
    assert_eq!((head.target_form(), head.target(buf)), (TargetForm::Origin, "/a/b?c=d&e"));
    assert_eq!((head.path(buf), head.query(buf)), ("/a/b", Some("c=d&e")));
    assert_eq!((head.host(), head.port()), ("example.com", Some(8080)));
    assert_eq!((head.version(), head.framing(), head.keep_alive()), (Version::Http11, Framing::Empty, true));
    let values = |name| head.field(buf, name).collect::<Vec<_>>();
    assert_eq!(values("x-one"), [b"1"]);
    assert_eq!(values("X-TWO"), [b"2"]);
    assert_eq!(values("x-empty"), [b""]);
    assert!(values("x-none").is_empty());
    assert!(head.has(FieldKind::Host) && !head.has(FieldKind::Cookie));
}

#[test]
fn a_reused_head_keeps_nothing_of_the_last_message() {
    let mut head = RequestHead::default();
    let first = b"GET http://a?x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nUpgrade: websocket\r\nConnection: close\r\n\r\n";
    assert_eq!(head.parse(first, &Limits::default()), Ok(Parse::Complete));
    assert!(head.expects_continue() && head.upgrade().is_some());
    head.reset();
    assert!(!head.has_begun() && !head.is_complete());
    let second = b"GET / HTTP/1.0\r\n\r\n";
    assert_eq!(head.parse(second, &Limits::default()), Ok(Parse::Complete));
    assert_eq!((head.host(), head.framing(), head.upgrade()), ("", Framing::Empty, None));
    assert!(!head.expects_continue() && !head.keep_alive() && !head.has(FieldKind::Host));
    assert_eq!((head.path_and_query(second), head.fields(second).count()), ("/", 0));
}

#[test]
fn pipelined_requests_are_read_one_after_another() {
    let buf = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    let head = complete(buf);
    assert_eq!(head.path(buf), "/1");
    let rest = &buf[head.len()..];
    assert_eq!(complete(rest).path(rest), "/2");
}

#[test]
fn empty_lines_rfc9112_2_2() {
    let buf = b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(complete(buf).len(), buf.len());
    assert_eq!(refused(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::EmptyLines);
    assert_eq!(refused(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::BadRequestLine);
    assert_eq!(refused(b"\r\n\nGET / HTTP/1.1\r\n"), RequestError::EmptyLines);
    assert_eq!(refused(b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::LeadingWhitespace);
}

#[test]
fn request_line_rfc9112_3() {
    let cases: &[(&[u8], RequestError)] = &[
        (b"GET  / HTTP/1.1\r\n", RequestError::BadRequestLine),
        (b"GET /  HTTP/1.1\r\n", RequestError::BadRequestLine),
        (b"GET / HTTP/1.1 \r\n", RequestError::BadRequestLine),
        (b"GET\t/ HTTP/1.1\r\n", RequestError::BadRequestLine),
        (b"GET /\tHTTP/1.1\r\n", RequestError::BadRequestLine),
        (b"GET /a b HTTP/1.1\r\n", RequestError::BadRequestLine),
        (b"GET /\r\n", RequestError::BadRequestLine),
        (b"GET\r\n", RequestError::BadRequestLine),
        (b"GET / \r\n", RequestError::BadRequestLine),
        (b"GET / HTTP/1.1\n", RequestError::Head(BareLf)),
        (b"GET /\n HTTP/1.1\r\n", RequestError::Head(BareLf)),
        (b"GET /\r HTTP/1.1\r\n", RequestError::Head(BareCr)),
        (b"GET / HTTP/1.1\r\r\n", RequestError::Head(BareCr)),
        (b"GET / HTTP/\r1.1\r\n", RequestError::Head(BareCr)),
        (b"GE\x00T / HTTP/1.1\r\n", RequestError::BadMethod),
        (b"GE(T / HTTP/1.1\r\n", RequestError::BadMethod),
        (b"G\xc3\xa9T / HTTP/1.1\r\n", RequestError::BadMethod),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", RequestError::TlsHandshake),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", RequestError::Http2Preface),
    ];
    for (bytes, error) in cases {
        assert_eq!(refused(bytes), *error, "{:?}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(RequestError::Http2Preface.status(), 505);
}

#[test]
fn versions_rfc9112_2_3() {
    for (version, error, status) in [
        ("HTTP/1.2", RequestError::UnsupportedVersion, 505),
        ("HTTP/2.0", RequestError::UnsupportedVersion, 505),
        ("HTTP/0.9", RequestError::UnsupportedVersion, 505),
        ("http/1.1", RequestError::BadVersion, 400),
        ("HTTP/1", RequestError::BadVersion, 400),
        ("HTTP/1.10", RequestError::BadVersion, 400),
        ("HTTP/11", RequestError::BadVersion, 400),
        ("HTTP/x.1", RequestError::BadVersion, 400),
        ("HTTPS/1.1", RequestError::BadVersion, 400),
    ] {
        let got = refused(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!((got, got.status()), (error, status), "{version}");
    }
    assert_eq!(complete("GET / HTTP/1.0\r\nHost: a\r\n\r\n").version(), Version::Http10);
}

#[test]
fn methods_rfc9110_9() {
    for (name, method) in [
        ("PATCH", Method::Patch),
        ("TRACE", Method::Trace),
        ("PROPFIND", Method::Extension),
        ("get", Method::Extension),
    ] {
        let buf = format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = complete(&buf);
        assert_eq!((head.method(), head.method_str(buf.as_bytes())), (method, name));
    }
    let request = |len| format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(len));
    assert_eq!(complete(request(32)).method(), Method::Extension);
    assert_eq!(refused(request(33)), RequestError::BadMethod);
    assert_eq!(refused("M".repeat(33)), RequestError::BadMethod);
}

#[test]
fn target_bytes_rfc9112_3_2() {
    for byte in 0..=255u8 {
        let mut buf = b"GET /a".to_vec();
        buf.push(byte);
        buf.extend(b"b HTTP/1.1\r\nHost: a\r\n\r\n");
        let verdict = parse(&buf).map(|(parse, _)| parse);
        let expected = match byte {
            b'#' => Err(RequestError::FragmentInTarget),
            b'\n' => Err(RequestError::Head(BareLf)),
            b'\r' => Err(RequestError::Head(BareCr)),
            b' ' | b'\t' => Err(RequestError::BadRequestLine),
            b'!'..=b'~' => Ok(Parse::Complete),
            _ => Err(RequestError::BadTarget),
        };
        assert_eq!(verdict, expected, "{byte:#x}");
    }
}

#[test]
fn target_forms_rfc9112_3_2() {
    struct Case(&'static str, &'static str, TargetForm, &'static str, &'static str);
    for Case(method, target, form, authority, path) in [
        Case("GET", "/x?y", TargetForm::Origin, "field:1", "/x?y"),
        Case("GET", "//evil/x", TargetForm::Origin, "field:1", "//evil/x"),
        Case("OPTIONS", "*", TargetForm::Asterisk, "field:1", "*"),
        Case("OPTIONS", "/x", TargetForm::Origin, "field:1", "/x"),
        Case("GET", "http://Target.Example/x?y", TargetForm::Absolute, "target.example", "/x?y"),
        Case("GET", "HTTPS://target:8443/x", TargetForm::Absolute, "target:8443", "/x"),
        Case("GET", "http://target", TargetForm::Absolute, "target", "/"),
        Case("GET", "http://target?y=/", TargetForm::Absolute, "target", "/?y=/"),
        Case("OPTIONS", "http://target", TargetForm::Absolute, "target", "*"),
        Case("OPTIONS", "http://target/", TargetForm::Absolute, "target", "/"),
        Case("CONNECT", "target:443", TargetForm::Authority, "target:443", "target:443"),
    ] {
        let buf = format!("{method} {target} HTTP/1.1\r\nHost: field:1\r\n\r\n");
        let head = complete(&buf);
        let buf = buf.as_bytes();
        assert_eq!((head.target_form(), head.path_and_query(buf)), (form, path), "{target}");
        assert_eq!(head.authority().to_string(), authority, "{target}");
        assert_eq!(head.target(buf), target);
    }
    for (method, target, error) in [
        ("GET", "*", RequestError::BadTarget),
        ("GET", "x", RequestError::BadTarget),
        ("GET", "a:80", RequestError::BadTarget),
        ("GET", "http:/a", RequestError::BadTarget),
        ("GET", "ftp://a/", RequestError::UnsupportedScheme),
        ("GET", "http:///x", RequestError::BadHost(AuthorityError::Host)),
        ("GET", "http://user@a/x", RequestError::BadHost(AuthorityError::Host)),
        ("GET", "http://a:0/x", RequestError::BadHost(AuthorityError::Port)),
        ("CONNECT", "a", RequestError::BadTarget),
        ("CONNECT", "a:", RequestError::BadTarget),
        ("CONNECT", "/x", RequestError::BadHost(AuthorityError::Host)),
        ("CONNECT", "http://a/", RequestError::BadHost(AuthorityError::Port)),
    ] {
        assert_eq!(
            refused(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n")),
            error,
            "{method} {target}"
        );
    }
}

#[test]
fn host_rfc9112_3_2() {
    for (fields, error) in [
        ("", RequestError::MissingHost),
        ("Host: a\r\nHost: a\r\n", RequestError::DuplicateHost),
        ("Host: a\r\nX: y\r\nhOST: b\r\n", RequestError::DuplicateHost),
        ("Host:\r\n", RequestError::BadHost(AuthorityError::Host)),
        ("Host: a, b\r\n", RequestError::BadHost(AuthorityError::Host)),
        ("Host: a/b\r\n", RequestError::BadHost(AuthorityError::Host)),
        ("Host: u@a\r\n", RequestError::BadHost(AuthorityError::Host)),
        ("Host: a:x\r\n", RequestError::BadHost(AuthorityError::Port)),
    ] {
        assert_eq!(refused(format!("GET / HTTP/1.1\r\n{fields}\r\n")), error, "{fields:?}");
        // The authority of the target does not replace an invalid field.
        assert_eq!(refused(format!("GET http://t/ HTTP/1.1\r\n{fields}\r\n")), error, "{fields:?}");
    }
    assert_eq!(complete("GET / HTTP/1.0\r\n\r\n").host(), "");
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"), RequestError::DuplicateHost);
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a b\r\n\r\n"), RequestError::BadHost(AuthorityError::Host));
    assert_eq!(complete("GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n").host(), "[2001:db8::1]");
}

#[test]
fn field_lines_rfc9112_5() {
    for (fields, fault) in [
        ("X: a\n", BareLf),
        ("X: a\nY: b\r\n", BareLf),
        ("X\n", BareLf),
        ("X: a\rb\r\n", BareCr),
        ("X: a\r\r\n", BareCr),
        ("X\r: a\r\n", BareCr),
        ("X: a\r\n b\r\n", ObsFold),
        ("X: a\r\n\tb\r\n", ObsFold),
        ("X : a\r\n", SpaceBeforeColon),
        ("X\t: a\r\n", SpaceBeforeColon),
        ("X y: a\r\n", SpaceBeforeColon),
        (": a\r\n", EmptyFieldName),
        ("X\r\n", MissingColon),
        ("X(: a\r\n", BadFieldName),
        ("X\0: a\r\n", BadFieldName),
        ("Tränsfer: a\r\n", BadFieldName),
        ("X: a\0b\r\n", BadFieldValue),
        ("X: \x0b\r\n", BadFieldValue),
        ("X: a\x7f\r\n", BadFieldValue),
        ("X: a\x1b[0m\r\n", BadFieldValue),
    ] {
        let error = refused(with_fields(fields));
        assert_eq!((error, error.status()), (RequestError::Head(fault), 400), "{fields:?}");
    }
    assert_eq!(
        refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        RequestError::Head(LeadingWhitespace),
        "RFC 9112 §2.2"
    );
    let buf = with_fields("X: caf\u{e9}\r\nY:a\tb\r\n");
    let head = complete(&buf);
    assert_eq!(head.field(buf.as_bytes(), "y").collect::<Vec<_>>(), [b"a\tb"]);
}

#[test]
fn content_length_rfc9110_8_6() {
    for (value, length) in [("0", 0), ("5", 5), ("0005", 5), ("9223372036854775807", i64::MAX as u64)] {
        let head = complete(with_fields(&format!("Content-Length: {value}\r\n")));
        assert_eq!(head.framing(), Framing::Length(length));
    }
    for value in [
        "",
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 5",
        "0x5",
        "5.0",
        "5a",
        "9223372036854775808",
        "18446744073709551616",
        "00000000000000000005",
        "\"5\"",
        "５",
    ] {
        let error = refused(with_fields(&format!("Content-Length: {value}\r\n")));
        assert_eq!(error, RequestError::Head(BadContentLength), "{value:?}");
    }
    for fields in
        ["Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nX: y\r\ncontent-length: 6\r\n"]
    {
        assert_eq!(refused(with_fields(fields)), RequestError::Head(DuplicateContentLength), "RFC 9112 §6.3");
    }
}

#[test]
fn transfer_encoding_rfc9112_6() {
    for value in ["chunked", "Chunked", "\t CHUNKED "] {
        let head = complete(with_fields(&format!("Transfer-Encoding:{value}\r\n")));
        assert_eq!(head.framing(), Framing::Chunked);
    }
    for (fields, fault) in [
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", LengthAndTransferEncoding),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndTransferEncoding),
        ("Content-Length: 0\r\nTransfer-Encoding: identity\r\n", LengthAndTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", DuplicateTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", DuplicateTransferEncoding),
        ("Transfer-Encoding: chunked, chunked\r\n", BadTransferEncoding),
        ("Transfer-Encoding: chunked, identity\r\n", BadTransferEncoding),
        ("Transfer-Encoding: chunked,\r\n", BadTransferEncoding),
        ("Transfer-Encoding: ,chunked\r\n", BadTransferEncoding),
        ("Transfer-Encoding:\r\n", BadTransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", BadTransferEncoding),
        ("Transfer-Encoding: chunked;q=1\r\n", BadTransferEncoding),
        ("Transfer-Encoding: identity\r\n", UnsupportedTransferCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", UnsupportedTransferCoding),
        ("Transfer-Encoding: xchunked\r\n", UnsupportedTransferCoding),
        ("Transfer-Encoding: \x0bchunked\r\n", BadFieldValue),
        ("Transfer-Encoding : chunked\r\n", SpaceBeforeColon),
        ("Transfer-Encoding:\r\n chunked\r\n", ObsFold),
    ] {
        assert_eq!(refused(with_fields(fields)), RequestError::Head(fault), "{fields:?}");
    }
    assert_eq!(
        refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        RequestError::Head(TransferEncodingInHttp10)
    );
    assert_eq!(RequestError::Head(UnsupportedTransferCoding).status(), 501);
}

#[test]
fn underscore_names_have_no_effect_on_framing_and_routing() {
    let buf = with_fields("Content_Length: 5\r\nTransfer_Encoding: chunked\r\n");
    assert_eq!(complete(&buf).framing(), Framing::Empty);
}

#[test]
fn persistence_rfc9112_9_3() {
    for (version, fields, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: Keep-Alive, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.1", "Proxy-Connection: close\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = complete(format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(head.keep_alive(), expected, "{version} {fields:?}");
    }
}

#[test]
fn connection_options_are_bounded_tokens_rfc9110_7_6_1() {
    let options = |n: usize| format!("Connection: {}\r\n", vec!["x"; n].join(","));
    complete(with_fields(&options(16)));
    assert_eq!(refused(with_fields(&options(17))), RequestError::Head(TooManyConnectionOptions));
    assert_eq!(refused(with_fields("Connection: \"x\"\r\n")), RequestError::Head(BadConnection));
    complete(with_fields("Connection: , keep-alive ,,\r\n"));
}

#[test]
fn expectations_rfc9110_10_1_1() {
    let expects = |text: &str| complete(text).expects_continue();
    assert!(expects(&with_fields("Expect: 100-Continue\r\nContent-Length: 5\r\n")));
    assert!(expects(&with_fields("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")));
    assert!(!expects(&with_fields("Expect: 100-continue\r\n")), "nothing to continue with");
    assert!(!expects(&with_fields("Expect: 100-continue\r\nContent-Length: 0\r\n")));
    assert!(!expects("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    for value in ["200-ok", "100-continue, x", "", "100-continue x"] {
        let error = refused(with_fields(&format!("Expect: {value}\r\n")));
        assert_eq!((error, error.status()), (RequestError::UnsupportedExpectation, 417), "{value}");
    }
}

#[test]
fn accepts_html_only_if_it_is_listed() {
    for (value, expected) in [
        ("text/html", true),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
        ("application/json, Text/HTML;q=0.1", true),
        ("text/html;q=0", false),
        ("text/html ; q=0.000", false),
        ("*/*", false),
        ("text/htmlx", false),
        ("", false),
    ] {
        let buf = with_fields(&format!("Accept: {value}\r\n"));
        assert_eq!(complete(&buf).accepts_html(buf.as_bytes()), expected, "{value}");
    }
    let buf = with_fields("");
    assert!(!complete(&buf).accepts_html(buf.as_bytes()));
}

#[test]
fn websocket_handshake_rfc6455_4_2_1() {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const REST: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n";
    const V13: &str = "Sec-WebSocket-Version: 13\r\n";
    let upgrade = |line: &str, fields: &[&str]| {
        complete(format!("{line}\r\nHost: a\r\n{}\r\n", fields.concat())).upgrade()
    };
    let get = "GET / HTTP/1.1";
    let invalid = |error| Some(Upgrade::InvalidWebSocket(error));
    assert_eq!(upgrade(get, &[REST, KEY, V13]), Some(Upgrade::WebSocket));
    assert_eq!(upgrade(get, &[REST, KEY, V13, "Content-Length: 0\r\n"]), Some(Upgrade::WebSocket));
    assert_eq!(upgrade("POST / HTTP/1.1", &[REST, KEY, V13]), invalid(HandshakeError::Method));
    assert_eq!(upgrade(get, &["Upgrade: websocket\r\n", KEY, V13]), invalid(HandshakeError::Connection));
    assert_eq!(upgrade(get, &[REST, V13]), invalid(HandshakeError::Key));
    assert_eq!(upgrade(get, &[REST, KEY, KEY, V13]), invalid(HandshakeError::Key));
    assert_eq!(upgrade(get, &[REST, "Sec-WebSocket-Key: short\r\n", V13]), invalid(HandshakeError::Key));
    assert_eq!(upgrade(get, &[REST, KEY]), invalid(HandshakeError::Version));
    assert_eq!(upgrade(get, &[REST, KEY, "Sec-WebSocket-Version: 8\r\n"]), invalid(HandshakeError::Version));
    assert_eq!(upgrade(get, &[REST, KEY, V13, V13]), invalid(HandshakeError::Version));
    assert_eq!(upgrade(get, &[REST, KEY, V13, "Content-Length: 1\r\n"]), invalid(HandshakeError::Body));
    assert_eq!(
        upgrade(get, &[REST, KEY, V13, "Transfer-Encoding: chunked\r\n"]),
        invalid(HandshakeError::Body)
    );
    assert_eq!((HandshakeError::Version.status(), HandshakeError::Key.status()), (426, 400));

    assert_eq!(
        upgrade(get, &["Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n"]),
        None
    );
    assert_eq!(upgrade(get, &["Connection: upgrade\r\nUpgrade: websocket2\r\n"]), None);
    assert_eq!(upgrade("GET / HTTP/1.0", &[REST, KEY, V13]), None, "RFC 9110 §7.8");
    assert_eq!(upgrade(get, &[KEY, V13]), None);
}

#[test]
fn limits_are_exact() {
    let limits = Limits { uri_bytes_max: 20, head_bytes_max: 100, fields_max: 3 };
    let uri = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1));
    assert_eq!(parse_with(uri(20), &limits).unwrap().0, Parse::Complete);
    let error = parse_with(uri(21), &limits).unwrap_err();
    assert_eq!((error, error.status()), (RequestError::UriTooLong, 414));
    assert_eq!(
        parse_with(format!("GET /{}", "x".repeat(20)), &limits).unwrap_err(),
        RequestError::UriTooLong,
        "before the line ends"
    );

    let frame = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
    let head = |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(len - frame));
    assert_eq!(parse_with(head(100), &limits).unwrap().0, Parse::Complete);
    assert_eq!(parse_with(head(100) + "body", &limits).unwrap().0, Parse::Complete);
    let error = parse_with(head(101), &limits).unwrap_err();
    assert_eq!((error, error.status()), (RequestError::Head(HeadTooLarge), 431));
    assert_eq!(parse_with(&head(101)[..99], &limits).unwrap().0, Parse::Partial);
    assert_eq!(parse_with("M".repeat(5) + " " + &"/".repeat(19), &limits).unwrap().0, Parse::Partial);

    let fields = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    assert_eq!(parse_with(fields(3), &limits).unwrap().0, Parse::Complete);
    let error = parse_with(fields(4), &limits).unwrap_err();
    assert_eq!((error, error.status()), (RequestError::Head(TooManyFields), 431));
}

#[test]
fn the_default_limits_are_8_kib_16_kib_and_100_fields() {
    let uri = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(len - 1));
    complete(uri(8192));
    assert_eq!(refused(uri(8193)).status(), 414);
    let frame = with_fields("X: \r\n").len();
    let head = |len: usize| with_fields(&format!("X: {}\r\n", "x".repeat(len - frame)));
    complete(head(16384));
    assert_eq!(refused(head(16385)).status(), 431);
    complete(with_fields(&"X: y\r\n".repeat(99)));
    assert_eq!(refused(with_fields(&"X: y\r\n".repeat(100))).status(), 431);
}

#[test]
fn every_truncation_is_partial() {
    let buf = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nCookie: a=b; c=d\r\n\r\n";
    for end in 0..buf.len() {
        assert_eq!(parse(&buf[..end]).unwrap().0, Parse::Partial, "{end}");
    }
}
