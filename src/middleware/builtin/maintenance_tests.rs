#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ringway_model::{Maintenance as Spec, StageSpec};

use crate::builtin::test_chain;
use crate::chain::Run;
use crate::testing::{TestServices, request};
use crate::{Flow, LocalReply, ReplyBody};

const TEXT: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Reply to a request of 192.0.2.1.
fn reply(page: Option<&str>, bypass: &str, text: &str) -> Option<LocalReply> {
    let chain = test_chain(&[StageSpec::Maintenance(Spec {
        retry_after: Duration::from_secs(300),
        page: page.map(Into::into),
        bypass: [bypass.parse().unwrap()].into(),
    })]);
    match request(&chain, text, &TestServices::default(), &mut Run::default()) {
        Flow::Continue => None,
        Flow::Reply(reply) => Some(reply),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_get_503_except_those_of_some_clients() {
    assert_eq!(reply(None, "192.0.2.0/24", TEXT), None);
    let refusal = reply(None, "10.0.0.0/8", TEXT).unwrap();
    assert_eq!((refusal.status(), refusal.lines()), (503, &b"Retry-After: 300\r\n"[..]));
    let page = reply(Some("<h1>back soon</h1>"), "10.0.0.0/8", TEXT).unwrap();
    assert_eq!(page.body(), &ReplyBody::Bytes(b"<h1>back soon</h1>".to_vec().into()));
    assert_eq!(
        String::from_utf8_lossy(page.lines()),
        "Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\nRetry-After: 300\r\n"
    );
}

#[test]
fn calls_of_grpc_get_no_page() {
    let text =
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    let refusal = reply(Some("<h1>back soon</h1>"), "10.0.0.0/8", text).unwrap();
    assert!(matches!(refusal.body(), ReplyBody::Error { code: "maintenance", .. }));
}
