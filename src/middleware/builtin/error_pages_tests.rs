#![allow(clippy::unwrap_used)]

use ringway_model::{ErrorPage, ErrorPages as Spec, StageSpec};

use crate::LocalReply;
use crate::builtin::test_chain;
use crate::chain::Run;
use crate::testing::{TestServices, reply_lines, request};

/// Media type and content in place of that of a reply to the request.
fn page(text: &str, reply: &LocalReply) -> (String, String) {
    let page = |statuses: &str, body: &str| ErrorPage {
        statuses: statuses.into(),
        content_type: "text/plain".into(),
        body: body.into(),
    };
    let pages = [page("503", "closed ${status}"), page("5xx", "broken ${request_id}")].into();
    let (chain, mut run) = (test_chain(&[StageSpec::ErrorPages(Spec { pages })]), Run::default());
    let _ = request(&chain, text, &TestServices::default(), &mut run);
    let lines = reply_lines(&chain, text, reply, &mut run);
    let mut body = Vec::new();
    run.response_body().on_data(b"{}", &mut body).unwrap();
    run.response_body().on_end(&mut body).unwrap();
    (lines, String::from_utf8(body).unwrap())
}

const TEXT: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn the_first_page_with_the_status_replaces_the_content() {
    let (lines, body) = page(TEXT, &LocalReply::error(503));
    assert_eq!((&*lines, &*body), ("Content-Type: text/plain\r\n", "closed 503"));
    let (_, body) = page(TEXT, &LocalReply::error(502));
    assert_eq!(body, "broken 0123456789abcdef0123456789abcdef");
}

#[test]
fn other_replies_keep_their_content() {
    let grpc =
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n";
    for (text, reply) in [
        (TEXT, LocalReply::error(404)),
        (TEXT, LocalReply::new(503, &b"page"[..])),
        (grpc, LocalReply::error(503)),
    ] {
        assert_eq!(page(text, &reply), (String::new(), "{}".to_owned()));
    }
}
