//! A request head: one verdict however it is split, the same reading as another parser's, and what is written
//! is accepted again as the same request.

use ringway_wire::h1::{Limits, Parse, RequestHead, RequestRewrite, Trust, Underscores, write_request};
use ringway_wire::message::{Framing, Version};

const LIMITS: Limits = Limits { uri_bytes_max: 64, head_bytes_max: 512, fields_max: 8 };

pub(crate) fn check(bytes: &[u8]) {
    let mut head = RequestHead::default();
    let verdict = head.parse(bytes, &LIMITS);
    let mut drip = RequestHead::default();
    let mut last = Ok(Parse::Partial);
    for end in 0..=bytes.len() {
        last = drip.parse(&bytes[..end], &LIMITS);
        if last != Ok(Parse::Partial) {
            break;
        }
    }
    assert_eq!(last, verdict, "in pieces and whole");
    if verdict != Ok(Parse::Complete) {
        return;
    }
    agrees_with_httparse(bytes, &head);
    if head.host().is_empty() {
        return;
    }
    for rewrite in [
        RequestRewrite::default(),
        RequestRewrite { trust: Trust::Trusted, underscores: Underscores::Keep, ..Default::default() },
    ] {
        is_written_as_it_was_read(bytes, &head, &rewrite);
    }
}

fn is_written_as_it_was_read(bytes: &[u8], head: &RequestHead, rewrite: &RequestRewrite<'_>) {
    let mut out = Vec::new();
    write_request(&mut out, bytes, head, rewrite);
    let mut again = RequestHead::default();
    assert_eq!(again.parse(&out, &Limits::default()), Ok(Parse::Complete));
    assert_eq!(
        (again.len(), again.framing(), again.host(), again.port()),
        (out.len(), head.framing(), head.host(), head.port())
    );
    assert_eq!(again.method_str(&out), head.method_str(bytes));
    assert_eq!(again.path_and_query(&out), head.path_and_query(bytes));
    // No field is invented, and the order is kept.
    let mut received = head.fields(bytes);
    for field in again.fields(&out) {
        let is_own = ["host", "content-length", "transfer-encoding"]
            .iter()
            .any(|name| field.name.eq_ignore_ascii_case(name.as_bytes()));
        let is_known = is_own || received.any(|had| had.name == field.name && had.value == field.value);
        assert!(is_known, "{}: not received", field.name.escape_ascii());
    }
    let mut twice = Vec::new();
    write_request(&mut twice, &out, &again, rewrite);
    assert_eq!(twice, out, "written twice");
}

/// httparse accepts and parses all that we accept in the same way.
fn agrees_with_httparse(bytes: &[u8], head: &RequestHead) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut other = httparse::Request::new(&mut fields);
    let length = other.parse(bytes).expect("httparse accepts what we accept");
    assert_eq!(length, httparse::Status::Complete(head.len()));
    assert_eq!(other.method, Some(head.method_str(bytes)));
    assert_eq!(other.path, Some(head.target(bytes)));
    assert_eq!(other.version, Some(u8::from(head.version() == Version::Http11)));
    let theirs: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
    let ours: Vec<_> = head.fields(bytes).map(|field| (field.name, field.value)).collect();
    assert_eq!(ours, theirs);

    // The framing, once more, from what they read.
    let values = |name: &str| -> Vec<&[u8]> {
        other.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value).collect()
    };
    let (codings, lengths) = (values("transfer-encoding"), values("content-length"));
    let framing = match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Framing::Empty,
        ([], [length]) => {
            let text = std::str::from_utf8(length).expect("digits");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit()));
            match text.parse().expect("a length") {
                0 => Framing::Empty,
                length => Framing::Length(length),
            }
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
        other => panic!("accepted with {other:?}"),
    };
    let normal = if head.framing() == Framing::Length(0) { Framing::Empty } else { head.framing() };
    assert_eq!(normal, framing);
    assert!(head.version() == Version::Http10 || values("host").len() == 1, "one host");
}
