#![allow(clippy::unwrap_used)]

use std::io::Read;

use ringway_model::{Coding, Compress as Spec, StageSpec};
use ringway_wire::h1::{Limits, Parse, ResponseHead};
use ringway_wire::message::Method;

use crate::builtin::test_chain;
use crate::chain::Run;
use crate::edits::Edits;
use crate::response::{ResponseCtx, ResponseHeadView};
use crate::testing::{TestServices, head, request, view};
use crate::{Chain, LocalReply};

fn chain(change: impl FnOnce(&mut Spec)) -> std::sync::Arc<Chain> {
    let mut spec = Spec::default();
    change(&mut spec);
    test_chain(&[StageSpec::Compress(spec)])
}

/// Outcome of a response: removed names, added lines, reason against it, and the run.
struct Outcome {
    removed: Vec<String>,
    lines: String,
    why: Option<&'static str>,
    run: Run,
}

impl Outcome {
    fn coding(&self) -> Option<Coding> {
        self.run.response_body.coded().map(|coded| coded.coding)
    }

    fn removes(&self, name: &str) -> bool {
        self.removed.iter().any(|removed| removed.eq_ignore_ascii_case(name))
    }
}

fn run(chain: &Chain, services: &TestServices, request_lines: &str, status: &str, lines: &str) -> Outcome {
    let (method, request_lines) = request_lines.split_once(' ').unwrap_or(("GET", request_lines));
    let (method, request_lines) = match method {
        "HEAD" | "PUT" => (method, request_lines.to_owned()),
        _ => ("GET", format!("{method} {request_lines}").trim_start_matches("GET ").to_owned()),
    };
    let length = if method == "PUT" { "Content-Length: 0\r\n" } else { "" };
    let text = format!("{method} / HTTP/1.1\r\nHost: a.example\r\n{length}{request_lines}\r\n");
    let mut run = Run::default();
    let _ = request(chain, &text, services, &mut run);
    let buf = format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
    let mut response = ResponseHead::default();
    let method = if method == "HEAD" { Method::Head } else { Method::Get };
    assert_eq!(response.parse(buf.as_bytes(), method, &Limits::default()), Ok(Parse::Complete), "{buf}");
    let (request_head, mut edits) = (head(&text), Edits::default());
    let of = ResponseHeadView::Endpoint(&response, buf.as_bytes());
    chain.on_response(&mut ResponseCtx::new(view(&request_head, &text), of, &mut edits, &mut run));
    Outcome {
        removed: edits.removed().map(str::to_owned).collect(),
        lines: String::from_utf8(edits.lines().to_vec()).unwrap(),
        why: run.not_compressed(),
        run,
    }
}

const GZIP: &str = "Accept-Encoding: gzip\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_response_of_a_configured_type_is_compressed() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    for content_type in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/problem+json",
        "application/vnd.api+json;version=1",
        "application/xml",
        "application/rss+xml",
        "image/svg+xml",
        "text/html",
        "text/plain; charset=utf-8",
        "TEXT/CSS",
        "text/css ; a=b",
        "application/javascript",
    ] {
        let lines = format!("Content-Type: {content_type}\r\nContent-Length: 5000\r\n");
        let outcome = run(&chain, &services, GZIP, "200", &lines);
        assert_eq!((outcome.coding(), outcome.why), (Some(Coding::Gzip), None), "{content_type}");
        assert_eq!(outcome.lines, "Vary: Accept-Encoding\r\nContent-Encoding: gzip\r\n");
        assert!(outcome.removes("Content-Length") && outcome.removes("Accept-Ranges"));
    }
    assert_eq!(
        (services.core.encoders.states(), services.core.encoders.idle()),
        (1, 1),
        "one state served all"
    );
}

#[test]
fn reasons_against_it() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    let vary = "Vary: Accept-Encoding\r\n";
    let with = |lines: &str| format!("{JSON}Content-Length: 5000\r\n{lines}");
    let cross = "Accept-Encoding: gzip\r\nSec-Fetch-Site: cross-site\r\nCookie: a=b\r\n";
    for (request, status, lines, why, added) in [
        (GZIP, "200", "Content-Type: image/png\r\n".to_owned(), "type", ""),
        (GZIP, "200", "Content-Type: text\r\n".to_owned(), "type", ""),
        (GZIP, "200", "Content-Type: text/\r\n".to_owned(), "type", ""),
        (GZIP, "200", "Content-Type: application/+json\r\n".to_owned(), "type", ""),
        (GZIP, "200", "Content-Type: application/jsonx\r\n".to_owned(), "type", ""),
        (GZIP, "200", "Content-Length: 5000\r\n".to_owned(), "type", ""),
        (GZIP, "200", "Content-Type: text/event-stream\r\n".to_owned(), "stream", ""),
        (GZIP, "200", "Content-Type: text/event-stream;charset=utf-8\r\n".to_owned(), "stream", ""),
        (GZIP, "200", "Content-Type: application/grpc\r\n".to_owned(), "stream", ""),
        (GZIP, "200", "Content-Type: application/grpc+json\r\n".to_owned(), "stream", ""),
        (GZIP, "200", "Content-Type: application/grpc-web+json\r\n".to_owned(), "stream", ""),
        (GZIP, "204", JSON.to_owned(), "status", ""),
        (GZIP, "206", with("Content-Range: bytes 0-4999/9000\r\n"), "range", vary),
        (GZIP, "206", with(""), "range", vary),
        (GZIP, "416", with("Content-Range: bytes */9000\r\n"), "range", vary),
        (GZIP, "200", with("Content-Encoding: br\r\n"), "coded", vary),
        (GZIP, "200", with("Content-Encoding: identity\r\n"), "coded", vary),
        (GZIP, "200", with("Content-Encoding:\r\n"), "coded", vary),
        (GZIP, "200", with("Cache-Control: no-transform\r\n"), "no_transform", vary),
        (
            GZIP,
            "200",
            with("Cache-Control: max-age=1\r\nCache-Control: public , No-Transform\r\n"),
            "no_transform",
            vary,
        ),
        (GZIP, "200", with("Content-Digest: sha-256=:AA==:\r\n"), "digest", vary),
        (GZIP, "200", with("Repr-Digest: sha-256=:AA==:\r\n"), "digest", vary),
        (GZIP, "200", with("Digest: sha-256=AA==\r\n"), "digest", vary),
        (GZIP, "200", with("Content-MD5: AA==\r\n"), "digest", vary),
        (
            GZIP,
            "200",
            format!("{JSON}Trailer: a, content-digest\r\nTransfer-Encoding: chunked\r\n"),
            "digest",
            vary,
        ),
        (GZIP, "200", format!("{JSON}Content-Length: 1023\r\n"), "small", vary),
        (GZIP, "200", format!("{JSON}Content-Length: 0\r\n"), "small", vary),
        ("", "200", with(""), "not_accepted", vary),
        ("Accept-Encoding: deflate\r\n", "200", with(""), "not_accepted", vary),
        ("Accept-Encoding: gzip;q=0\r\n", "200", with(""), "not_accepted", vary),
        (cross, "200", with(""), "cross_site", vary),
    ] {
        let outcome = run(&chain, &services, request, status, &lines);
        assert_eq!((outcome.why, &*outcome.lines), (Some(why), added), "{request}{status} {lines}");
        let removed: &[&str] = if added.is_empty() { &[] } else { &["Vary"] };
        assert_eq!(outcome.coding(), None, "{lines}");
        assert_eq!(outcome.removed, removed, "{lines}");
    }
    assert_eq!(services.core.encoders.states(), 0);
}

#[test]
fn statuses_and_requests_that_are_compressed() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    let lines = format!("{JSON}Content-Length: 1024\r\n");
    for status in ["200", "203", "404", "500", "416"] {
        assert!(run(&chain, &services, GZIP, status, &lines).coding().is_some(), "{status}");
    }
    for request in [
        "Accept-Encoding: gzip\r\nSec-Fetch-Site: same-origin\r\nCookie: a=b\r\n",
        "Accept-Encoding: gzip\r\nSec-Fetch-Site: cross-site\r\n",
        "Accept-Encoding: gzip\r\nCookie: a=b\r\n",
    ] {
        assert!(run(&chain, &services, request, "200", &lines).coding().is_some(), "{request}");
    }
    let unknown_length = format!("{JSON}Transfer-Encoding: chunked\r\n");
    assert!(run(&chain, &services, GZIP, "200", &unknown_length).coding().is_some());
    assert!(run(&chain, &services, GZIP, "200", JSON).coding().is_some(), "until the end of the connection");
    let all = "Accept-Encoding: gzip, deflate, br, zstd\r\n";
    assert_eq!(run(&chain, &services, all, "200", &lines).coding(), Some(Coding::Zstd));
}

#[test]
fn vary_has_accept_encoding_once() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    for (received, removes, added) in [
        ("", true, "Vary: Accept-Encoding\r\n"),
        ("Vary: Origin\r\n", true, "Vary: Origin, Accept-Encoding\r\n"),
        (
            "Vary: Origin\r\nVary: Cookie,Accept\r\n",
            true,
            "Vary: Origin, Cookie, Accept, Accept-Encoding\r\n",
        ),
        ("Vary: accept-encoding\r\n", false, ""),
        ("Vary: Origin, Accept-Encoding\r\n", false, ""),
        ("Vary: *\r\n", false, ""),
        ("Vary:\r\n", true, "Vary: Accept-Encoding\r\n"),
    ] {
        let outcome = run(&chain, &services, "", "200", &format!("{JSON}{received}"));
        assert_eq!((outcome.removes("Vary"), &*outcome.lines), (removes, added), "{received}");
    }
    let cors = ringway_model::Cors {
        allow_origins: ["https://b.example".into()].into(),
        allow_methods: [].into(),
        allow_headers: [].into(),
        expose_headers: [].into(),
        allow_credentials: false,
        max_age: std::time::Duration::ZERO,
    };
    let both = test_chain(&[StageSpec::Compress(Spec::default()), StageSpec::Cors(cors)]);
    let outcome = run(&both, &services, "", "200", JSON);
    assert_eq!(outcome.lines, "Vary: Origin, Accept-Encoding\r\n", "fields of other stages stay");
}

#[test]
fn tags_of_coded_responses_are_weak() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    for (received, expected) in [("\"a\"", "ETag: W/\"a\"\r\n"), ("W/\"a\"", ""), ("a", ""), ("\"a", "")] {
        let lines = format!("{JSON}ETag: {received}\r\n");
        let outcome = run(&chain, &services, GZIP, "200", &lines);
        assert_eq!(outcome.lines, format!("Vary: Accept-Encoding\r\nContent-Encoding: gzip\r\n{expected}"));
        let plain = run(&chain, &services, "", "200", &lines);
        assert!(
            !plain.lines.contains("ETag") && !plain.removes("ETag"),
            "a response as it came keeps its tag"
        );
    }
}

#[test]
fn a_304_has_the_tag_that_the_client_knows() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    let weak = "Vary: Accept-Encoding\r\nETag: W/\"a\"\r\n";
    let plain = "Vary: Accept-Encoding\r\n";
    for (known, tag, expected) in [
        ("W/\"a\"", "\"a\"", weak),
        ("\"b\", W/\"a\"", "\"a\"", weak),
        ("\"a\"", "\"a\"", plain),
        ("\"a\", W/\"a\"", "\"a\"", plain),
        ("W/\"b\"", "\"a\"", plain),
        ("W/\"a\"", "W/\"a\"", plain),
        ("*", "\"a\"", plain),
    ] {
        let request = format!("If-None-Match: {known}\r\n");
        let outcome = run(&chain, &services, &request, "304", &format!("ETag: {tag}\r\n"));
        assert_eq!((&*outcome.lines, outcome.why), (expected, None), "{known} {tag}");
    }
    let image = run(
        &chain,
        &services,
        "If-None-Match: W/\"a\"\r\n",
        "304",
        "Content-Type: image/png\r\nETag: \"a\"\r\n",
    );
    assert_eq!(image.lines, "");
}

#[test]
fn weak_tags_of_the_client_go_upstream_in_both_forms() {
    let chain = chain(|_| {});
    let sent = |text: &str| {
        let mut run = Run::default();
        let _ = request(&chain, text, &TestServices::default(), &mut run);
        String::from_utf8(run.request_edits().lines().to_vec()).unwrap()
    };
    let get = |lines: &str| sent(&format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
    assert_eq!(get("If-None-Match: W/\"a\"\r\n"), "If-None-Match: W/\"a\", \"a\"\r\n");
    assert_eq!(get("If-None-Match: \"a\"\r\n"), "");
    assert_eq!(get("If-None-Match: *\r\n"), "");
    // A range of a coded response is not one of the original.
    assert_eq!(get("If-Range: W/\"a\"\r\nRange: bytes=0-1\r\n"), "");
    assert_eq!(get("If-Match: W/\"a\"\r\nRange: bytes=0-1\r\n"), "");
    let put = "PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nIf-Match: W/\"a\"\r\n\r\n";
    assert_eq!(sent(put), "If-Match: W/\"a\", \"a\"\r\n");
}

#[test]
fn a_response_to_head_has_the_fields_of_the_one_to_get() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    for lines in [
        format!("{JSON}Content-Length: 5000\r\nETag: \"a\"\r\nVary: Origin\r\nAccept-Ranges: bytes\r\n"),
        format!("{JSON}Content-Length: 5\r\nETag: \"a\"\r\n"),
        "Content-Type: image/png\r\nContent-Length: 5000\r\n".to_owned(),
    ] {
        let get = run(&chain, &services, GZIP, "200", &lines);
        let head = run(&chain, &services, "HEAD Accept-Encoding: gzip\r\n", "200", &lines);
        assert_eq!((&head.lines, &head.removed, head.why), (&get.lines, &get.removed, get.why), "{lines}");
        assert!(head.coding().is_none(), "it has no body");
    }
}

#[test]
fn without_a_free_state_the_response_is_sent_as_it_is() {
    let (chain, services) = (chain(|_| {}), TestServices::default());
    let lines = format!("{JSON}Content-Length: 5000\r\nETag: \"a\"\r\n");
    let mut open = Vec::new();
    let refused = loop {
        let outcome = run(&chain, &services, GZIP, "200", &lines);
        if outcome.coding().is_none() {
            break outcome;
        }
        open.push(outcome);
    };
    assert_eq!((open.len(), refused.why), (64, Some("busy")));
    assert_eq!(refused.lines, "Vary: Accept-Encoding\r\n");
    assert_eq!(refused.removed, ["Vary"], "all other fields stay");
    open.pop();
    assert!(run(&chain, &services, GZIP, "200", &lines).coding().is_some(), "a client that left made room");
}

#[test]
fn a_body_is_encoded_and_counted() {
    let (chain, services) = (chain(|spec| spec.min_bytes = 0), TestServices::default());
    let mut outcome = run(&chain, &services, GZIP, "200", JSON);
    let (transforms, mut out) = (outcome.run.response_body(), Vec::new());
    for _ in 0..100 {
        transforms.on_data(b"{\"hello\": \"world\"}", &mut out).unwrap();
    }
    transforms.on_pause(&mut out).unwrap();
    assert!(!out.is_empty(), "a pause brings out what came");
    transforms.on_end(&mut out).unwrap();
    let coded = transforms.coded().unwrap();
    assert_eq!((coded.bytes_in, coded.bytes_out), (1800, out.len() as u64));
    let mut decoded = Vec::new();
    flate2::read::GzDecoder::new(&*out).read_to_end(&mut decoded).unwrap();
    assert_eq!(decoded, b"{\"hello\": \"world\"}".repeat(100));
}

#[test]
fn local_replies_are_left_alone() {
    let chain = chain(|spec| spec.min_bytes = 0);
    let text = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{GZIP}\r\n");
    let mut run = Run::default();
    let _ = request(&chain, &text, &TestServices::default(), &mut run);
    let reply = LocalReply::new(200, vec![b'x'; 5000]).with_field("Content-Type", b"text/html").unwrap();
    assert_eq!(crate::testing::reply_lines(&chain, &text, &reply, &mut run), "");
    assert!(run.response_body().is_empty());
}
