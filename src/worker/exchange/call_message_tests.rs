use std::time::Duration;

use ringway_wire::h1::{Limits, ResponseHead};

use super::*;

fn http<'a>(method: &'a str, path: &'a str, lines: &'a [u8], body: &'a [u8]) -> Call<'a> {
    Call {
        pool: "authz",
        kind: CallKind::Http { method, path },
        lines,
        body,
        timeout: Duration::from_millis(250),
        response_bytes_max: 1_024,
    }
}

fn grpc_call(body: &[u8]) -> Call<'_> {
    Call { kind: CallKind::Grpc { path: "/a.B/C" }, ..http("", "", b"", body) }
}

fn encoded(call: &Call<'_>) -> Option<String> {
    encode(call, "authz.test:80").map(|bytes| String::from_utf8(bytes).expect("text"))
}

fn response(head: &str, data: &[u8], trailers: &str) -> ReceivedResponse {
    let mut parsed = ResponseHead::default();
    let result = parsed.parse(head.as_bytes(), Method::Post, &Limits::default());
    assert_eq!(result, Ok(Parse::Complete));
    ReceivedResponse {
        head: parsed,
        head_bytes: head.into(),
        data: data.to_vec().into(),
        trailers: trailers.as_bytes().to_vec().into(),
    }
}

#[test]
fn a_request_has_its_own_host_and_framing() {
    assert_eq!(
        encoded(&http("GET", "/check?a=b", b"X-A: 1\r\n", b"")).as_deref(),
        Some("GET /check?a=b HTTP/1.1\r\nHost: authz.test:80\r\nX-A: 1\r\n\r\n")
    );
    assert_eq!(
        encoded(&http("POST", "/", b"", b"ab")).as_deref(),
        Some("POST / HTTP/1.1\r\nHost: authz.test:80\r\nContent-Length: 2\r\n\r\nab")
    );
    assert!(encoded(&http("POST", "/", b"", b"")).expect("a request").contains("\r\nContent-Length: 0\r\n"));
}

#[test]
fn a_call_of_grpc_has_a_message_with_its_prefix_and_a_timeout() {
    assert_eq!(
        encoded(&grpc_call(b"abc")).as_deref(),
        Some(
            "POST /a.B/C HTTP/1.1\r\nHost: authz.test:80\r\nContent-Type: application/grpc\r\n\
             grpc-timeout: 250m\r\nTE: trailers\r\nConnection: TE\r\nContent-Length: 8\r\n\r\n\0\0\0\0\x03abc"
        )
    );
    let long = Call { timeout: Duration::MAX, ..grpc_call(b"") };
    assert!(encoded(&long).expect("a request").contains("\r\ngrpc-timeout: 99999999m\r\n"));
}

#[test]
fn nothing_but_the_request_that_is_meant_is_sent() {
    for (method, path, lines) in [
        ("GET", "/a HTTP/1.1\r\nX: y\r\n\r\nGET /b", &b""[..]),
        ("GET", "/a b", b""),
        ("GET", "", b""),
        ("GET", "other.test:443", b""),
        ("G\r\nT", "/", b""),
        ("CONNECT", "authz.test:443", b""),
        ("GET", "/", b"X-A: 1"),
        ("GET", "/", b"X-A: 1\r\n\r\n"),
        ("GET", "/", b"X-A: 1\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n"),
        ("GET", "/", b"Host: other.test\r\n"),
        ("GET", "/", b"Content-Length: 3\r\n"),
        ("GET", "/", b"Transfer-Encoding: chunked\r\n"),
        ("POST", "/", b"Content-Length: 1\r\n"),
        ("GET", "/", b"Upgrade: websocket\r\nConnection: upgrade\r\n"),
        ("GET", "/", b"X A: 1\r\n"),
    ] {
        let call = http(method, path, lines, b"");
        assert_eq!(encoded(&call), None, "{method:?} {path:?} {:?}", lines.escape_ascii().to_string());
    }
    assert_eq!(encoded(&http("POST", "/", b"Expect: 100-continue\r\n", b"ab")), None);
}

#[test]
fn a_response_is_without_the_fields_of_its_connection() {
    let head = "HTTP/1.1 403 No\r\nContent-Length: 2\r\nKeep-Alive: timeout=5\r\nX-Reason: a, b\r\nConnection: close\r\n\r\n";
    let call = http("GET", "/", b"", b"");
    assert_eq!(
        decode(call.kind, &response(head, b"no", "")),
        Ok(CallResponse { status: 403, lines: b"X-Reason: a, b\r\n".to_vec(), body: b"no".to_vec() })
    );
}

#[test]
fn a_call_of_grpc_succeeds_by_one_status_and_one_whole_message() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\n\r\n";
    let kind = CallKind::Grpc { path: "/a.B/C" };
    let body = |head: &str, data: &[u8], trailers: &str| {
        decode(kind, &response(head, data, trailers)).map(|response| response.body)
    };
    assert_eq!(body(HEAD, b"\0\0\0\0\x02ok", "x: y\r\nGrpc-Status: 0\r\n"), Ok(b"ok".to_vec()));
    assert_eq!(body(HEAD, b"\0\0\0\0\0", "grpc-status: 0\r\n"), Ok(Vec::new()));
    let at_once = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 14\r\n\r\n";
    for (head, data, trailers, error) in [
        (HEAD, &b"\0\0\0\0\x02ok"[..], "grpc-status: 7\r\n", CallError::Status),
        (at_once, b"", "", CallError::Status),
        // The status of the trailers is the call's, whatever the head says.
        (HEAD, b"\0\0\0\0\x02ok", "", CallError::Invalid),
        (HEAD, b"\0\0\0\0\x02ok", "grpc-status: 0\r\ngrpc-status: 7\r\n", CallError::Invalid),
        (HEAD, b"\0\0\0\0\x02ok", "grpc-status: 00\r\n", CallError::Status),
        (HEAD, b"\0\0\0\0\x02ok", "grpc-status: ok\r\n", CallError::Invalid),
        (HEAD, b"", "grpc-status: 0\r\n", CallError::Invalid),
        (HEAD, b"\0\0\0\0\x03ok", "grpc-status: 0\r\n", CallError::Invalid),
        (HEAD, b"\0\0\0\0\x01ok", "grpc-status: 0\r\n", CallError::Invalid),
        (HEAD, b"\x01\0\0\0\x02ok", "grpc-status: 0\r\n", CallError::Invalid),
        (HEAD, b"\0\xff\xff\xff\xffok", "grpc-status: 0\r\n", CallError::Invalid),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n",
            b"\0\0\0\0\0",
            "grpc-status: 0\r\n",
            CallError::Invalid,
        ),
        (
            "HTTP/1.1 503 No\r\ncontent-type: application/grpc\r\n\r\n",
            b"",
            "grpc-status: 0\r\n",
            CallError::Invalid,
        ),
    ] {
        assert_eq!(body(head, data, trailers), Err(error), "{head:?} {trailers:?}");
    }
}

#[test]
fn a_response_that_did_not_come_whole_has_what_came() {
    let partial = |kind, head: &str, data: &[u8]| decode_partial(kind, &response(head, data, ""));
    let refused = "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n";
    let expected = PartialResponse { status: 403, content: b"no".to_vec() };
    assert_eq!(partial(http("GET", "/", b"", b"").kind, refused, b"no"), Some(expected));

    let grpc = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n\r\n";
    let kind = CallKind::Grpc { path: "/a.B/C" };
    let message = |data: &[u8]| Some(partial(kind, grpc, data)?.content);
    assert_eq!(message(b"\0\0\0\0\x09abc").as_deref(), Some(&b"abc"[..]));
    // Only the first message is the answer.
    assert_eq!(message(b"\0\0\0\0\x01abc").as_deref(), Some(&b"a"[..]));
    assert_eq!(message(b"\x01\0\0\0\x09abc"), None, "compressed");
    assert_eq!(message(b"\0\0\0"), None, "no whole prefix");
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n",
        "HTTP/1.1 403 No\r\ncontent-type: application/grpc\r\n\r\n",
    ] {
        assert_eq!(partial(kind, head, b"\0\0\0\0\x09abc"), None, "{head:?}");
    }
}

#[test]
fn the_core_s_maximum_of_content_holds_beside_the_call_s() {
    let call = |response_bytes_max| Call { response_bytes_max, ..http("GET", "/", b"", b"") };
    assert_eq!(response_bytes_max(&call(10)), 10);
    assert_eq!(response_bytes_max(&call(usize::MAX)), crate::limits::CALL_RESPONSE_BYTES_MAX);
    let grpc = Call { response_bytes_max: 10, ..grpc_call(b"") };
    assert_eq!(response_bytes_max(&grpc), 15);
}
