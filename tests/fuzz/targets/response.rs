//! A response head: one verdict however it is split, the same reading as another parser's, and what is
//! written is accepted again as the same response.

use ringway_wire::h1::{Limits, Parse, ResponseHead, ResponseRewrite, write_response};
use ringway_wire::message::{Framing, Method, Version};

pub(crate) fn check(bytes: &[u8]) {
    let limits = Limits { head_bytes_max: 512, fields_max: 8, ..Limits::default() };
    for method in [Method::Get, Method::Head] {
        let mut head = ResponseHead::default();
        let verdict = head.parse(bytes, method, &limits);
        let mut drip = ResponseHead::default();
        let mut last = Ok(Parse::Partial);
        for end in 0..=bytes.len() {
            last = drip.parse(&bytes[..end], method, &limits);
            if last != Ok(Parse::Partial) {
                break;
            }
        }
        assert_eq!(last, verdict, "in pieces and whole");
        if verdict != Ok(Parse::Complete) {
            continue;
        }
        agrees_with_httparse(bytes, method, &head);
        let mut out = Vec::new();
        write_response(&mut out, bytes, &head, &ResponseRewrite::default());
        let mut again = ResponseHead::default();
        assert_eq!(again.parse(&out, method, &Limits::default()), Ok(Parse::Complete));
        assert_eq!(
            (again.len(), again.framing(), again.status(), again.reason(&out)),
            (out.len(), head.framing(), head.status(), head.reason(bytes))
        );
        let mut twice = Vec::new();
        write_response(&mut twice, &out, &again, &ResponseRewrite::default());
        assert_eq!(twice, out, "written twice");
    }
}

/// httparse accepts and parses all that we accept in the same way.
fn agrees_with_httparse(bytes: &[u8], method: Method, head: &ResponseHead) {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let mut other = httparse::Response::new(&mut fields);
    let length = other.parse(bytes).expect("httparse accepts what we accept");
    assert_eq!(length, httparse::Status::Complete(head.len()));
    assert_eq!(other.code, Some(head.status()));
    assert_eq!(other.version, Some(u8::from(head.version() == Version::Http11)));
    // It shows no reason that has bytes outside of ASCII.
    if head.reason(bytes).is_ascii() {
        assert_eq!(other.reason.map(str::as_bytes), Some(head.reason(bytes)));
    }
    let theirs: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
    let ours: Vec<_> = head.fields(bytes).map(|field| (field.name, field.value)).collect();
    assert_eq!(ours, theirs);

    let has = |name: &str| other.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).count();
    assert!(has("transfer-encoding") + has("content-length") <= 1, "two framings");
    let is_bodiless = method == Method::Head || head.status() < 200 || [204, 304].contains(&head.status());
    match head.framing() {
        Framing::Empty => assert!(is_bodiless),
        Framing::Chunked => assert!(!is_bodiless && has("transfer-encoding") == 1),
        Framing::Length(_) => assert!(!is_bodiless && has("content-length") == 1),
        Framing::UntilClose => assert!(!head.keep_alive() && !is_bodiless),
    }
}
