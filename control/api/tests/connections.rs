//! HTTP on the wire: keep-alive, pipelining, framing, refusals, the end.

use std::io::Write as _;
use std::net::Shutdown;
use std::time::Duration;

use crate::limits;
use ringway_net::DriverChoice;

use super::Api;
use crate::{Listeners, Settings};

#[test]
fn a_connection_serves_many_requests_on_both_drivers() {
    for driver in [DriverChoice::Auto, DriverChoice::Epoll] {
        let api = Api::with(Settings::default(), driver, Listeners::default());
        let mut client = api.connect();
        for n in 0..20 {
            let body = format!(r#"{{"app_id":"app{n}"}}"#);
            let reply =
                client.ask("POST", "/api/apps/register", &[("Content-Type", "application/json")], &body);
            assert_eq!(reply.status, 201);
            assert_eq!(reply.field("connection"), None);
        }
        assert_eq!(client.ask("GET", "/api/apps", &[], "").json()["total"], 20);
    }
}

#[test]
fn every_answer_has_an_id_of_its_own_and_is_not_for_caches() {
    let api = Api::start();
    let mut client = api.connect();
    let first = client.ask("GET", "/healthz", &[], "");
    let second = client.ask("GET", "/nowhere", &[], "");
    assert_ne!(first.field("x-request-id").unwrap(), second.field("x-request-id").unwrap());
    for reply in [first, second] {
        assert_eq!(reply.field("cache-control"), Some("no-store"));
        assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
        assert!(reply.field("date").unwrap().ends_with(" GMT"));
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let api = Api::start();
    let mut client = api.connect();
    let mut all = String::new();
    for n in 0..5 {
        let body = format!(r#"{{"app_id":"app{n}"}}"#);
        all.push_str(&format!(
            "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    all.push_str("GET /api/apps HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send(all.as_bytes());
    for n in 0..5 {
        assert_eq!(client.reply(false).json()["app_id"], format!("app{n}"));
    }
    assert_eq!(client.reply(false).json()["total"], 5);
}

#[test]
fn requests_may_come_byte_by_byte() {
    let api = Api::start();
    let mut client = api.connect();
    let body = r#"{"app_id":"a"}"#;
    let request = format!(
        "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for byte in request.bytes() {
        client.send(&[byte]);
    }
    assert_eq!(client.reply(false).status, 201);
}

#[test]
fn chunked_bodies_are_read_and_bounded() {
    let api = Api::start();
    let mut client = api.connect();
    let head = "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}5;x=y\r\n{{\"app\r\n9\r\n_id\":\"a\"}}\r\n0\r\nX: y\r\n\r\n").as_bytes());
    assert_eq!(client.reply(false).status, 201);
    assert_eq!(client.ask("GET", "/healthz", &[], "").status, 200, "the connection goes on");

    let mut client = api.connect();
    client.send(head.as_bytes());
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..limits::API_BODY_BYTES_MAX / 0x10000 {
        client.send(chunk.as_bytes());
    }
    client.send(b"1\r\n \r\n");
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.field("connection")), (413, Some("close")));
    assert!(client.is_closed());

    let mut client = api.connect();
    client.send(format!("{head}xyz\r\n").as_bytes());
    assert_eq!(client.reply(false).code(), "bad_request");
}

#[test]
fn the_size_of_a_body_is_bounded_on_both_sides_of_the_limit() {
    let api = Api::start();
    let object = r#"{"app_id":"a"}"#;
    let body = |len: usize| object.to_owned() + &" ".repeat(len - object.len());
    assert_eq!(api.ask("POST", "/api/apps/register", &body(limits::API_BODY_BYTES_MAX)).status, 201);
    let mut client = api.connect();
    let head = format!(
        "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        limits::API_BODY_BYTES_MAX + 1
    );
    client.send(head.as_bytes());
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"));
}

#[test]
fn an_expectation_is_met_or_refused_before_the_body() {
    let api = Api::start();
    let mut client = api.connect();
    let body = r#"{"app_id":"a"}"#;
    let head = |path: &str, expectation: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: {expectation}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
    };
    client.send(head("/api/apps/register", "100-continue").as_bytes());
    assert_eq!(client.reply(false).status, 100);
    client.send(body.as_bytes());
    assert_eq!(client.reply(false).status, 201);
    client.send(head("/nowhere", "100-continue").as_bytes());
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.field("connection")), (404, Some("close")));
    let mut client = api.connect();
    client.send(head("/api/apps/register", "tea").as_bytes());
    assert_eq!(client.reply(false).status, 417);
}

#[test]
fn head_and_http_1_0_get_what_they_understand() {
    let api = Api::start();
    let mut client = api.connect();
    let whole = client.ask("GET", "/api/status", &[], "");
    let head = client.ask("HEAD", "/api/status", &[], "");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.field("content-length"), whole.field("content-length"));
    assert_eq!(client.ask("GET", "/healthz", &[], "").status, 200, "no body of HEAD is in the way");

    let mut client = api.connect();
    client.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let reply = client.reply(false);
    assert_eq!((reply.status, reply.field("connection")), (200, Some("close")));
    assert!(client.is_closed());
    let mut client = api.connect();
    client.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.reply(false).field("connection"), Some("keep-alive"));
    assert_eq!(
        client.ask("GET", "/healthz", &[("Connection", "close")], "").field("connection"),
        Some("close")
    );
    assert!(client.is_closed());
}

#[test]
fn what_is_no_request_is_answered_and_ends_the_connection() {
    let api = Api::start();
    for (bytes, status) in [
        ("GET /\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (
            "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
        ),
        ("GET /healthz HTTP/1.1\nHost: localhost\n\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0", 400),
        (&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(9000)), 414),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000)), 431),
        (&format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(200)), 431),
    ] {
        let mut client = api.connect();
        client.send(bytes.as_bytes());
        let reply = client.reply(false);
        let shown: String = bytes.chars().take(60).collect();
        assert_eq!((reply.status, reply.field("connection")), (status, Some("close")), "{shown:?}");
        assert!(!reply.code().is_empty());
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("the request is refused: "), "{detail}");
        assert!(client.is_closed(), "{shown:?}");
    }
}

#[test]
fn clients_that_leave_in_the_middle_free_their_places() {
    let settings = Settings { connections_max: 2, ..Settings::default() };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    let begun = "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
    for bytes in ["", "GET /hea", begun, "", "GET /hea", begun] {
        let mut client = api.connect();
        client.send(bytes.as_bytes());
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.is_closed(), "{bytes:?}");
        // The close is seen before the permit is free, and these requests hold permits, too.
        let is_served = (0..10_000).any(|_| api.ask("GET", "/healthz", "").status == 200);
        assert!(is_served, "the place of a client that left is not free again");
    }
    assert!(api.state().submissions.is_empty());
}

#[test]
fn connections_are_bounded_and_who_waits_longest_for_its_client_gives_way() {
    const MAX: usize = 4;
    let settings = Settings { connections_max: MAX, ..Settings::default() };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    let mut idle = api.connect();
    assert_eq!(idle.ask("GET", "/healthz", &[], "").status, 200);
    let mut waiting = vec![idle];
    waiting.extend((1..MAX).map(|_| {
        let mut slow = api.connect();
        slow.send(b"POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n");
        assert_eq!(slow.reply(false).status, 100, "the rest is waited for");
        slow
    }));
    let mut served = Vec::new();
    for mut longest in waiting {
        let mut new = api.connect();
        assert_eq!(new.ask("GET", "/healthz", &[], "").status, 200);
        assert!(longest.is_closed());
        served.push(new);
    }
    for client in &mut served {
        assert_eq!(client.ask("GET", "/healthz", &[], "").status, 200, "the newest are still in");
    }
    assert!(api.state().submissions.is_empty());
}

#[test]
fn one_more_than_all_that_wait_for_us_is_told_so() {
    let settings = Settings { connections_max: 2, ..Settings::default() };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    api.state().is_held = true;
    let mut waiting: Vec<_> = (0..2)
        .map(|number| {
            let mut client = api.connect();
            let body = format!(r#"{{"app_id":"a{number}"}}"#);
            client.send(
                format!(
                    "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                )
                .as_bytes(),
            );
            let begun = std::time::Instant::now();
            while api.state().submissions.len() <= number {
                assert!(begun.elapsed() < crate::tests::PATIENCE, "the request does not arrive");
                std::thread::yield_now();
            }
            client
        })
        .collect();
    let mut third = api.connect();
    let reply = third.reply(false);
    assert_eq!((reply.status, reply.field("retry-after")), (503, Some("1")));
    assert_eq!(reply.json()["code"], "too_many_connections");
    api.state().is_held = false;
    for client in &mut waiting {
        assert_eq!(client.reply(false).status, 201, "those who are in stay in");
    }
}

#[test]
fn the_end_waits_for_requests_under_way_and_for_nobody_else() {
    let mut api = Api::start();
    let mut idle = api.connect();
    assert_eq!(idle.ask("GET", "/healthz", &[], "").status, 200);
    let mut busy = api.connect();
    assert_eq!(busy.ask("GET", "/healthz", &[], "").status, 200);
    let body = r#"{"app_id":"a"}"#;
    let head = format!(
        "POST /api/apps/register HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    busy.send(head.as_bytes());
    assert_eq!(busy.reply(false).status, 100, "the request is under way");
    api.begin_stop();
    assert!(idle.is_closed());
    busy.send(body.as_bytes());
    let reply = busy.reply(false);
    assert_eq!((reply.status, reply.field("connection")), (201, Some("close")));
    assert!(busy.is_closed());
    api.finish().unwrap();
    assert!(std::net::TcpStream::connect(api.address).is_err(), "nobody listens any more");
}

#[test]
fn requests_under_way_are_given_up_after_the_drain() {
    let settings = Settings { drain_timeout: Duration::ZERO, ..Settings::default() };
    let mut api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    let mut client = api.connect();
    client.stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /healthz HT").unwrap();
    assert_eq!(client.reply(false).status, 200);
    api.finish().unwrap();
    assert!(client.is_closed());
}

#[test]
fn a_slow_request_is_answered_and_a_silent_client_is_not_kept() {
    let settings = Settings {
        request_timeout: Duration::from_millis(30),
        idle_timeout: Duration::from_millis(30),
        ..Settings::default()
    };
    let api = Api::with(settings, DriverChoice::Auto, Listeners::default());
    for begun in ["GET /hea", "POST /api/apps HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"] {
        let mut client = api.connect();
        client.send(begun.replace("/api/apps", "/api/apps/register").as_bytes());
        let reply = client.reply(false);
        assert_eq!((reply.status, reply.field("connection")), (408, Some("close")), "{begun}");
        assert_eq!(reply.code(), "request_timeout");
        assert!(client.is_closed());
    }
    assert!(api.connect().is_closed());
    assert!(api.state().submissions.is_empty());
}
