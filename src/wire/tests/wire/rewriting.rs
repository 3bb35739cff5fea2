//! Written heads: rewriting of requests and responses for the next hop.

use ringway_wire::h1::{
    ConnectionSignal, ExpectLine, OutFraming, RequestRewrite, ResponseRewrite, SimpleResponse, TeLine, Trust,
    Underscores, UpgradeLine, write_bodiless_request, write_get, write_request, write_response,
    write_simple_response,
};
use ringway_wire::headers::{FieldError, FieldKind, FieldKinds};
use ringway_wire::message::{Method, Version};

use crate::{requests, responses};

fn request(text: &str, rewrite: &RequestRewrite<'_>) -> String {
    let head = requests::complete(text);
    let mut out = Vec::new();
    write_request(&mut out, text.as_bytes(), &head, rewrite);
    String::from_utf8(out).unwrap()
}

fn request_fields(fields: &str, rewrite: &RequestRewrite<'_>) -> String {
    let text = request(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), rewrite);
    let fields = text.strip_prefix("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    fields.strip_suffix("\r\n").unwrap().to_owned()
}

fn response(text: &str, method: Method, rewrite: &ResponseRewrite<'_>) -> String {
    let head = responses::complete(text, method);
    let mut out = Vec::new();
    write_response(&mut out, text.as_bytes(), &head, rewrite);
    String::from_utf8(out).unwrap()
}

#[test]
fn start_line_and_host_are_written_in_normal_form() {
    for (text, expected) in [
        ("GET /x?y HTTP/1.0\r\n", "GET /x?y HTTP/1.1\r\nHost: \r\n\r\n"),
        (
            "GET /x HTTP/1.1\r\nHOST:  Shop.Example.:08080 \r\n",
            "GET /x HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n",
        ),
        ("PROPFIND /x HTTP/1.1\r\nHost: a\r\n", "PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("GET http://B:1?q HTTP/1.1\r\nHost: a\r\n", "GET /?q HTTP/1.1\r\nHost: b:1\r\n\r\n"),
        ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n"),
        ("\r\nGET / HTTP/1.1\r\nX: y\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"),
    ] {
        assert_eq!(request(&format!("{text}\r\n"), &RequestRewrite::default()), expected);
    }
    let rewrite = RequestRewrite { target: Some("/v2/x"), host: Some("inner:81"), ..Default::default() };
    assert_eq!(
        request("GET /x HTTP/1.1\r\nHost: a\r\n\r\n", &rewrite),
        "GET /v2/x HTTP/1.1\r\nHost: inner:81\r\n\r\n"
    );
}

#[test]
fn hop_by_hop_fields_are_removed_rfc9110_7_6_1() {
    let fields = "Accept: x\r\nConnection: keep-alive, X-Hop, Host, Content-Length\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
        Proxy-Connection: x\r\nProxy-Authenticate: x\r\nProxy-Authorization: x\r\nTE: trailers\r\nTrailer: X-T\r\n\
        Upgrade: h2c\r\nHTTP2-Settings: x\r\nx-hop: 2\r\nProxy: evil\r\nCookie: c\r\n";
    assert_eq!(
        request_fields(fields, &RequestRewrite::default()),
        "Accept: x\r\nTrailer: X-T\r\nCookie: c\r\n"
    );
    let text = format!("HTTP/1.1 200 Fine\r\n{fields}Content-Length: 1\r\n\r\n");
    assert_eq!(
        response(&text, Method::Get, &ResponseRewrite::default()),
        "HTTP/1.1 200 Fine\r\nAccept: x\r\nTrailer: X-T\r\nCookie: c\r\nContent-Length: 1\r\n\r\n"
            .replace("Trailer: X-T\r\n", "Trailer: X-T\r\nProxy: evil\r\n")
    );
}

#[test]
fn te_trailers_is_forwarded_with_te_line_keep_rfc9110_10_1_4() {
    let keep = RequestRewrite { te: TeLine::Keep, ..Default::default() };
    let written = "TE: trailers\r\nConnection: TE\r\n";
    for te in ["trailers", "gzip;q=0.5, Trailers"] {
        let fields = format!("Connection: te\r\nTE: {te}\r\n");
        assert_eq!(request_fields(&fields, &keep), written);
        assert_eq!(request_fields(&fields, &RequestRewrite::default()), "");
    }
    for fields in ["TE: gzip\r\n", "TE: trailers;q=0\r\n", "Trailer: x\r\n"] {
        assert!(!request_fields(fields, &keep).contains("TE:"), "{fields}");
    }
}

#[test]
fn nomination_removes_neither_framing_nor_fields_of_the_proxy() {
    let text = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Host, Content-Length, Transfer-Encoding, X-Forwarded-For, \
        X-Tenant-ID, X-Request-ID\r\nContent-Length: 5\r\nX-Forwarded-For: 1.1.1.1\r\nX-Request-ID: r\r\n\r\n";
    let append = b"X-Forwarded-For: 192.0.2.1\r\nX-Tenant-ID: t\r\n";
    assert_eq!(
        request(text, &RequestRewrite { append: [append, b""], ..Default::default() }),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-Forwarded-For: 192.0.2.1\r\nX-Tenant-ID: t\r\n\r\n"
    );
    assert_eq!(
        request(text, &RequestRewrite { trust: Trust::Trusted, ..Default::default() }),
        "POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Request-ID: r\r\nContent-Length: 5\r\n\r\n"
    );
}

#[test]
fn identity_is_accepted_from_trusted_peers_only() {
    let fields = "X-Forwarded-For: 1\r\nx-forwarded-proto: 2\r\nX-FORWARDED-Host: 3\r\nX-Forwarded-Client-Cert: 4\r\n\
        X-Forwarded: 5\r\nX-Real-IP: 6\r\nForwarded: for=7\r\nX-Request-ID: 8\r\nX-Tenant-ID: 9\r\nX-Original-Host: 10\r\n";
    assert_eq!(request_fields(fields, &RequestRewrite::default()), "");
    let trusted = RequestRewrite { trust: Trust::Trusted, ..Default::default() };
    let kept = fields.split_once("X-Tenant-ID").unwrap().0;
    assert_eq!(request_fields(fields, &trusted), kept);
    let rebuilt = RequestRewrite {
        remove_kinds: FieldKinds::of(&[FieldKind::XForwardedFor, FieldKind::XRealIp]),
        append: [b"X-Forwarded-For: 1, 2\r\n", b""],
        ..trusted
    };
    let out = request_fields(fields, &rebuilt);
    assert_eq!(out.matches("X-Forwarded-For").count(), 1);
    assert!(out.ends_with("X-Forwarded-For: 1, 2\r\n") && !out.contains("X-Real-IP"));
}

#[test]
fn forwarded_for_values_can_be_read_in_order() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1, 2\r\nX: y\r\nx-forwarded-for: 3\r\nX_Forwarded_For: 4\r\n\r\n";
    let head = requests::complete(text);
    let values: Vec<_> = head.values(text.as_bytes(), FieldKind::XForwardedFor).collect();
    assert_eq!(values, [b"1, 2".as_slice(), b"3"]);
}

#[test]
fn underscore_names_are_no_alias_of_dropped_fields() {
    let fields =
        "X_Forwarded_For: 1\r\nX-Tenant_ID: 2\r\nContent_Length: 3\r\nX_Custom: 4\r\nX_Filter-Name: 5\r\n";
    assert_eq!(request_fields(fields, &RequestRewrite::default()), "");
    let keep =
        RequestRewrite { underscores: Underscores::Keep, remove: "X-Filter-Name\n", ..Default::default() };
    assert_eq!(request_fields(fields, &keep), "X_Custom: 4\r\n");
    let trusted = RequestRewrite { trust: Trust::Trusted, ..keep };
    assert_eq!(request_fields(fields, &trusted), "X_Forwarded_For: 1\r\nX_Custom: 4\r\n");
}

#[test]
fn fields_are_removed_by_name_and_appended_at_the_end() {
    let rewrite =
        RequestRewrite { remove: "x-a\nCOOKIE\n", append: [b"X-A: ", b"new\r\n"], ..Default::default() };
    assert_eq!(request_fields("X-A: 1\r\nX-B: 2\r\nCookie: c\r\n", &rewrite), "X-B: 2\r\nX-A: new\r\n");
    let rewrite = ResponseRewrite { remove: "server\n", append: [b"X-A: 1\r\n", b""], ..Default::default() };
    let text = "HTTP/1.1 204 x\r\nServer: s\r\nDate: d\r\nX-Tenant-ID: t\r\nX_Y: z\r\n\r\n";
    assert_eq!(
        response(text, Method::Get, &rewrite),
        "HTTP/1.1 204 x\r\nDate: d\r\nX-Tenant-ID: t\r\nX_Y: z\r\nX-A: 1\r\n\r\n"
    );
}

#[test]
fn request_framing_is_written_in_normal_form() {
    let out =
        |fields: &str, framing| request_fields(fields, &RequestRewrite { framing, ..Default::default() });
    assert_eq!(out("content-length:007\r\n", OutFraming::AsReceived), "Content-Length: 7\r\n");
    assert_eq!(out("Content-Length: 0\r\n", OutFraming::AsReceived), "Content-Length: 0\r\n");
    assert_eq!(
        out("transfer-ENCODING: Chunked\r\n", OutFraming::AsReceived),
        "Transfer-Encoding: chunked\r\n"
    );
    assert_eq!(out("", OutFraming::AsReceived), "");
    assert_eq!(
        out("Transfer-Encoding: chunked\r\n", OutFraming::Length(u64::MAX)),
        "Content-Length: 18446744073709551615\r\n"
    );
    assert_eq!(out("Content-Length: 5\r\n", OutFraming::Chunked), "Transfer-Encoding: chunked\r\n");
    assert_eq!(out("Content-Length: 5\r\n", OutFraming::None), "");
}

#[test]
fn expectations_are_forwarded_only_with_expect_line_keep() {
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    let keep = RequestRewrite { expect: ExpectLine::Keep, ..Default::default() };
    assert_eq!(request_fields(fields, &RequestRewrite::default()), "Content-Length: 5\r\n");
    assert_eq!(request_fields(fields, &keep), "Content-Length: 5\r\nExpect: 100-continue\r\n");
    assert_eq!(request_fields("Content-Length: 5\r\n", &keep), "Content-Length: 5\r\n");
}

#[test]
fn a_handshake_is_forwarded_completely_or_not_at_all() {
    let fields = "Connection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c, websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\nOrigin: o\r\n";
    let upgrade = RequestRewrite { upgrade: UpgradeLine::WebSocket, ..Default::default() };
    assert_eq!(
        request_fields(fields, &upgrade),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\
        Origin: o\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    );
    assert_eq!(request_fields(fields, &RequestRewrite::default()), "Origin: o\r\n");
    let text = "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let rewrite = ResponseRewrite { connection: ConnectionSignal::WebSocket, ..Default::default() };
    assert_eq!(
        response(text, Method::Get, &rewrite),
        "HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
}

#[test]
fn response_framing_matches_the_client() {
    let out = |method, text: &str, framing| {
        let rewrite = ResponseRewrite { framing, ..Default::default() };
        response(&format!("{text}\r\n"), method, &rewrite).strip_suffix("\r\n").unwrap().to_owned()
    };
    use OutFraming::{AsReceived, Chunked, Length, None};
    let length = "HTTP/1.1 200 x\r\nContent-Length: 5\r\n";
    let chunked = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n";
    let plain = "HTTP/1.1 200 x\r\n";
    assert_eq!(out(Method::Get, length, AsReceived), length);
    assert_eq!(out(Method::Head, length, AsReceived), length);
    assert_eq!(
        out(Method::Get, "HTTP/1.1 304 x\r\nContent-Length: 5\r\n", AsReceived),
        "HTTP/1.1 304 x\r\nContent-Length: 5\r\n"
    );
    assert_eq!(out(Method::Get, chunked, AsReceived), chunked);
    assert_eq!(out(Method::Head, chunked, AsReceived), plain);
    assert_eq!(out(Method::Get, plain, AsReceived), plain);
    assert_eq!(out(Method::Get, plain, Chunked), chunked);
    assert_eq!(out(Method::Get, chunked, None), plain);
    assert_eq!(out(Method::Get, chunked, Length(5)), length);
    // RFC 9110 §8.6
    assert_eq!(out(Method::Get, "HTTP/1.1 204 x\r\nContent-Length: 0\r\n", AsReceived), "HTTP/1.1 204 x\r\n");
    assert_eq!(out(Method::Get, "HTTP/1.1 204 x\r\n", Chunked), "HTTP/1.1 204 x\r\n");
    assert_eq!(out(Method::Get, "HTTP/1.1 103 x\r\nLink: y\r\n", Length(0)), "HTTP/1.1 103 x\r\nLink: y\r\n");
}

#[test]
fn status_lines_have_http_1_1_and_keep_the_reason() {
    let rewrite = ResponseRewrite { connection: ConnectionSignal::Close, ..Default::default() };
    assert_eq!(
        response("HTTP/1.0 418 I'm a teapot\r\n\r\n", Method::Get, &rewrite),
        "HTTP/1.1 418 I'm a teapot\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        response("HTTP/1.1 200\r\n\r\n", Method::Get, &rewrite),
        "HTTP/1.1 200 \r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        response("HTTP/1.1 200 \r\n\r\n", Method::Get, &rewrite),
        "HTTP/1.1 200 \r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn the_connection_field_matches_the_client_version() {
    assert_eq!(ConnectionSignal::for_client(Version::Http11, true), ConnectionSignal::Implicit);
    assert_eq!(ConnectionSignal::for_client(Version::Http11, false), ConnectionSignal::Close);
    assert_eq!(ConnectionSignal::for_client(Version::Http10, true), ConnectionSignal::KeepAlive);
    assert_eq!(ConnectionSignal::for_client(Version::Http10, false), ConnectionSignal::Close);
    let rewrite = ResponseRewrite { connection: ConnectionSignal::KeepAlive, ..Default::default() };
    assert_eq!(
        response("HTTP/1.1 204 x\r\nConnection: close\r\n\r\n", Method::Get, &rewrite),
        "HTTP/1.1 204 x\r\nConnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn writes_simple_responses() {
    let write = |response: SimpleResponse<'_>| {
        let mut out = Vec::new();
        write_simple_response(&mut out, &response);
        String::from_utf8(out).unwrap()
    };
    let answer = SimpleResponse {
        status: 502,
        connection: ConnectionSignal::Close,
        fields: b"Retry-After: 5\r\n",
        content_type: "application/json",
        body: b"{}",
        is_head: false,
    };
    let head = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: application/json\r\nRetry-After: 5\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    assert_eq!(write(answer), format!("{head}{{}}"));
    assert_eq!(write(SimpleResponse { is_head: true, ..answer }), head);
    for status in [204, 304] {
        let text =
            write(SimpleResponse { status, fields: b"", connection: ConnectionSignal::Implicit, ..answer });
        let parsed = responses::complete(&text, Method::Get);
        assert_eq!((parsed.status(), parsed.len(), parsed.content_length()), (status, text.len(), None));
    }
    let text = write(SimpleResponse { status: 200, ..Default::default() });
    assert_eq!(text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn a_written_get_parses() {
    let mut out = Vec::new();
    assert_eq!(write_get(&mut out, "a:1\r\nX: y", "/", "u"), Err(FieldError::Value));
    assert_eq!(write_get(&mut out, "a", "/x y", "u"), Err(FieldError::Target));
    assert_eq!(write_get(&mut out, "a", "x", "u"), Err(FieldError::Target));
    assert_eq!(write_get(&mut out, "a", "/\r\nX:y", "u"), Err(FieldError::Target));
    assert!(out.is_empty());
    assert_eq!(write_get(&mut out, "127.0.0.1:3000", "/health?a=b", "probe/1"), Ok(()));
    let head = requests::complete(&out);
    assert_eq!((head.len(), head.method(), head.keep_alive()), (out.len(), Method::Get, false));
    assert_eq!(
        (head.path_and_query(&out), head.authority().to_string()),
        ("/health?a=b", "127.0.0.1:3000".to_owned())
    );
}

#[test]
fn a_bodiless_request_has_the_callers_fields_or_is_not_written() {
    let mut out = Vec::new();
    let bad_name = [("X-A", "1"), ("X A", "2")];
    assert_eq!(write_bodiless_request(&mut out, Method::Head, "a", "/", bad_name), Err(FieldError::Name));
    let bad_value = [("X-A", "1\r\nHost: b")];
    assert_eq!(write_bodiless_request(&mut out, Method::Head, "a", "/", bad_value), Err(FieldError::Value));
    assert_eq!(write_bodiless_request(&mut out, Method::Extension, "a", "/", []), Err(FieldError::Target));
    assert!(out.is_empty());
    let fields = [("Authorization", "Bearer x"), ("X-Forwarded-Proto", "https")];
    assert_eq!(write_bodiless_request(&mut out, Method::Head, "a.example", "/up", fields), Ok(()));
    let text = "HEAD /up HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer x\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), text);
}
