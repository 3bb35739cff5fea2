#![allow(clippy::unwrap_used)]

use http::Request;
use ringway_wire::h1::{Limits, Parse, RequestHead, ResponseHead, Upgrade};
use ringway_wire::normalize::AuthorityError;

use super::*;

fn request(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn text_of(request: &Parts, body: Body) -> Result<String, RequestError> {
    let mut out = Vec::new();
    write(&mut out, request, body, "https", 7).map(|_| String::from_utf8(out).unwrap())
}

fn text(method: &str, uri: &str, fields: &[(&'static str, &str)]) -> Result<String, RequestError> {
    text_of(&request(method, uri, fields), Body::None)
}

#[test]
fn pseudo_fields_become_request_line_and_host_rfc9113_8_3_1() {
    for (method, uri, expected) in [
        ("GET", "https://a.test/x?y=z", "GET /x?y=z HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("GET", "https://a.test:8443/", "GET / HTTP/1.1\r\nHost: a.test:8443\r\n\r\n"),
        ("GET", "https://A.test/", "GET / HTTP/1.1\r\nHost: A.test\r\n\r\n"),
        ("GET", "https://[::1]/", "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
        ("PROPFIND", "https://a.test/", "PROPFIND / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("CONNECT", "a.test:443", "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"),
    ] {
        assert_eq!(text(method, uri, &[]).as_deref(), Ok(expected));
    }
    assert_eq!(
        text("OPTIONS", "*", &[("host", "a")]).as_deref(),
        Ok("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    );
    assert_eq!(text("GET", "/x", &[("host", "a")]).as_deref(), Ok("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"));
}

#[test]
fn targets_in_other_forms_are_malformed_rfc9113_8_3_1() {
    assert_eq!(text("GET", "*", &[("host", "a")]), Err(RequestError::BadTarget));
    assert_eq!(text("GET", "https://a.test/\u{e4}", &[]), Err(RequestError::BadTarget));
    // No `:path`, and a fragment alone: the crate shows both as absent.
    let mut absent = request("GET", "/", &[("host", "a")]);
    absent.uri = http::Uri::from_parts(http::uri::Parts::default()).unwrap();
    assert_eq!(text_of(&absent, Body::None), Err(RequestError::BadTarget));
    let mut fragment = http::uri::Parts::default();
    fragment.path_and_query = Some("#x".parse().unwrap());
    absent.uri = http::Uri::from_parts(fragment).unwrap();
    assert_eq!(text_of(&absent, Body::None), Err(RequestError::BadTarget));
}

#[test]
fn the_scheme_is_the_connections_rfc9113_8_3_1() {
    assert_eq!(text("GET", "http://a.test/", &[]), Err(RequestError::UnsupportedScheme));
    assert_eq!(text("GET", "ftp://a.test/", &[]), Err(RequestError::UnsupportedScheme));
}

#[test]
fn authority_and_host_must_agree_rfc9113_8_3_1() {
    let host = |value| text("GET", "https://a.test/", &[("host", value)]);
    for same in ["a.test", "A.TEST", "a.test."] {
        assert_eq!(host(same).as_deref(), Ok("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), "{same}");
    }
    assert_eq!(host("b.test"), Err(RequestError::DuplicateHost));
    assert_eq!(host("a.test:443"), Err(RequestError::DuplicateHost));
    assert_eq!(host("a b"), Err(RequestError::BadHost(AuthorityError::Host)));
    assert_eq!(text("GET", "/", &[]), Err(RequestError::MissingHost));
    assert_eq!(text("GET", "/", &[("host", "a"), ("host", "a")]), Err(RequestError::DuplicateHost));
}

#[test]
fn fields_of_a_connection_are_malformed_rfc9113_8_2_2() {
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("http2-settings", "x"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
    ] {
        let refused = text("GET", "https://a.test/", &[(name, value)]);
        assert!(matches!(refused, Err(RequestError::Head(_))), "{name}: {refused:?}");
    }
    let kept = text("GET", "https://a.test/", &[("te", "trailers")]);
    assert_eq!(kept.as_deref(), Ok("GET / HTTP/1.1\r\nHost: a.test\r\nte: trailers\r\n\r\n"));
}

#[test]
fn values_have_no_outer_white_space_rfc9113_8_2_1() {
    for value in [" y", "y ", "\ty", "y\t"] {
        let refused = text("GET", "https://a.test/", &[("x", value)]);
        assert_eq!(refused, Err(HeadFault::BadFieldValue.into()), "{value:?}");
    }
    assert!(text("GET", "https://a.test/", &[("x", "")]).is_ok());
}

#[test]
fn crumbs_are_joined_and_counted_rfc9113_8_2_3() {
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")];
    assert_eq!(
        text("GET", "https://a.test/", &crumbs).as_deref(),
        Ok("GET / HTTP/1.1\r\nHost: a.test\r\nx: y\r\ncookie: a=1; b=2; c=3\r\n\r\n")
    );
    let most = vec![("cookie", "a=b"); crate::limits::H2_FIELDS_MAX];
    assert!(text("GET", "https://a.test/", &most).is_ok());
    let more = vec![("cookie", "a=b"); crate::limits::H2_FIELDS_MAX + 1];
    assert_eq!(text("GET", "https://a.test/", &more), Err(HeadFault::TooManyFields.into()));
}

#[test]
fn frames_a_body_by_its_state() {
    let framed = |method, fields: &[(&'static str, &str)], body| {
        let text = text_of(&request(method, "https://a.test/", fields), body).unwrap();
        text.strip_prefix(&format!("{method} / HTTP/1.1\r\nHost: a.test\r\n")).unwrap().to_owned()
    };
    assert_eq!(framed("GET", &[], Body::None), "\r\n");
    assert_eq!(framed("POST", &[], Body::None), "Content-Length: 0\r\n\r\n");
    assert_eq!(framed("POST", &[], Body::Whole(3)), "Content-Length: 3\r\n\r\n");
    assert_eq!(framed("GET", &[], Body::Coming), "Transfer-Encoding: chunked\r\n\r\n");
    for body in [Body::None, Body::Whole(3), Body::Coming] {
        assert_eq!(framed("POST", &[("content-length", "3")], body), "content-length: 3\r\n\r\n");
    }
}

#[test]
fn an_extended_connect_is_a_websocket_handshake_rfc8441_5() {
    let connect = |fields: &[(&'static str, &str)], protocol: &'static str| {
        let mut request = request("CONNECT", "https://a.test/chat", fields);
        request.extensions.insert(h2::ext::Protocol::from_static(protocol));
        request
    };
    let parsed = |request: &Parts| {
        let text = text_of(request, Body::Coming).unwrap();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(text.as_bytes(), &Limits::default()), Ok(Parse::Complete), "{text}");
        (head.upgrade(), text)
    };
    let plain = connect(&[("sec-websocket-version", "13"), ("sec-websocket-key", "mine")], "websocket");
    let (upgrade, text) = parsed(&plain);
    assert_eq!(upgrade, Some(Upgrade::WebSocket));
    assert!(text.starts_with("GET /chat HTTP/1.1\r\nHost: a.test\r\n") && !text.contains("mine"), "{text}");
    assert_eq!(parsed(&connect(&[], "websocket")).0, Some(Upgrade::WebSocket));
    let (upgrade, _) = parsed(&connect(&[("sec-websocket-version", "12")], "websocket"));
    assert!(matches!(upgrade, Some(Upgrade::InvalidWebSocket(_))));
    // Other protocols are refused like any CONNECT.
    let other = text_of(&connect(&[], "connect-udp"), Body::Coming).unwrap();
    assert!(other.starts_with("CONNECT a.test HTTP/1.1\r\n"), "{other}");
}

#[test]
fn every_nonce_makes_a_valid_key() {
    for nonce in [0, 1, 0x3f, u64::MAX, 0x9E37_79B9_7F4A_7C15] {
        let mut out = Vec::new();
        write_handshake(&mut out, &request("CONNECT", "https://a.test/", &[]), nonce);
        let text = String::from_utf8(out).unwrap();
        let key = text.split("Key: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(ringway_wire::websocket::is_valid_key(key.as_bytes()), "{key}");
    }
}

#[test]
fn fields_of_a_connection_do_not_leave_it_rfc9113_8_2_2() {
    let text = b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
        Upgrade: h2c\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nSec-WebSocket-Accept: x\r\nX-Kept: a\r\n\
        Set-Cookie: b\r\nset-cookie: c\r\nTrailer: x\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(text, Method::Get, &Limits::default()), Ok(Parse::Complete));
    let map = fields(head.fields(text), text);
    let pairs: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(pairs, [("x-kept", "a"), ("set-cookie", "b"), ("set-cookie", "c"), ("trailer", "x")]);
}

#[test]
fn values_outside_of_ascii_pass_unchanged() {
    let text = b"HTTP/1.1 200 OK\r\nX-Name: J\xfcrgen\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n";
    let mut head = ResponseHead::default();
    assert_eq!(head.parse(text, Method::Get, &Limits::default()), Ok(Parse::Complete));
    let map = fields(head.fields(text), text);
    assert_eq!(map["x-name"].as_bytes(), b"J\xfcrgen");
    assert_eq!(map["x-empty"].as_bytes(), b"");
}
