//! Response heads: RFC 9112 §4, §6.3, §9.3.

use std::time::Duration;

use ringway_wire::h1::{FaultyField, HeadFault, Limits, Parse, ResponseError, ResponseHead, Switch};
use ringway_wire::message::{Framing, Method, Version};

use HeadFault::*;

/// Parses at once and byte by byte, which must give the same result.
pub(crate) fn parse(bytes: impl AsRef<[u8]>, method: Method) -> Result<(Parse, ResponseHead), ResponseError> {
    let (bytes, limits) = (bytes.as_ref(), Limits::default());
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
    assert_eq!(last, verdict, "byte by byte: {:?}", String::from_utf8_lossy(bytes));
    verdict.map(|parse| (parse, head))
}

pub(crate) fn complete(bytes: impl AsRef<[u8]>, method: Method) -> ResponseHead {
    let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    let (verdict, head) = parse(bytes, method).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    assert_eq!(verdict, Parse::Complete, "{text:?}");
    head
}

fn refused(bytes: impl AsRef<[u8]>) -> ResponseError {
    let text = String::from_utf8_lossy(bytes.as_ref()).into_owned();
    parse(bytes, Method::Get).err().unwrap_or_else(|| panic!("accepted: {text:?}"))
}

#[test]
fn reads_a_plain_response() {
    let buf = b"HTTP/1.1 200 All right\r\nContent-Length: 2\r\nKeep-Alive: max=5, timeout=15\r\n\r\nok";
    let head = complete(buf, Method::Get);
    assert_eq!((head.len(), head.status(), head.reason(buf)), (buf.len() - 2, 200, b"All right".as_slice()));
    assert_eq!(
        (head.version(), head.framing(), head.keep_alive()),
        (Version::Http11, Framing::Length(2), true)
    );
    assert_eq!(head.keep_alive_timeout(), Some(Duration::from_secs(15)));
    assert_eq!(head.field(buf, "content-LENGTH").collect::<Vec<_>>(), [b"2"]);
    assert!(!head.is_interim() && head.switch().is_none());
}

#[test]
fn status_lines_rfc9112_4() {
    assert_eq!(complete("HTTP/1.1 200 \r\n\r\n", Method::Get).reason(b"HTTP/1.1 200 \r\n\r\n"), b"");
    assert_eq!(complete("HTTP/1.1 200\r\n\r\n", Method::Get).reason(b"HTTP/1.1 200\r\n\r\n"), b"");
    complete(b"HTTP/1.0 404 caf\xe9 \t x\r\n\r\n", Method::Get);
    complete("HTTP/1.1 599 x\r\n\r\n", Method::Get);
    let cases: &[(&[u8], ResponseError)] = &[
        (b"HTTP/1.1 600 x\r\n\r\n", ResponseError::BadStatus),
        (b"HTTP/1.1 099 x\r\n\r\n", ResponseError::BadStatus),
        (b"HTTP/1.1 20x x\r\n\r\n", ResponseError::BadStatus),
        (b"HTTP/1.1 2000 x\r\n\r\n", ResponseError::BadStatusLine),
        (b"HTTP/1.1  200 x\r\n\r\n", ResponseError::BadStatus),
        (b"HTTP/1.1\t200 x\r\n\r\n", ResponseError::BadStatusLine),
        (b"HTTP/1.1 200\tx\r\n\r\n", ResponseError::BadStatusLine),
        (b"HTTP/1.1 200 a\0b\r\n\r\n", ResponseError::BadStatusLine),
        (b"http/1.1 200 x\r\n\r\n", ResponseError::BadStatusLine),
        (b"HTTP/2.0 200 x\r\n\r\n", ResponseError::UnsupportedVersion),
        (b"HTTP/1.2 200 x\r\n\r\n", ResponseError::UnsupportedVersion),
        (b"ICY 200 OK\r\n\r\n", ResponseError::BadStatusLine),
        (b"\r\nHTTP/1.1 200 x\r\n\r\n", ResponseError::BadStatusLine),
        (b"<html>\r\n", ResponseError::BadStatusLine),
        (b"HTTP/1.1 20\r\n\r\n", ResponseError::BadStatusLine),
        (b"HTTP/1.1 200 x\n\r\n", ResponseError::Head(BareLf)),
        (b"HTTP/1.1 200 x\ry\r\n\r\n", ResponseError::Head(BareCr)),
    ];
    for (bytes, error) in cases {
        assert_eq!(refused(bytes), *error, "{:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn framing_rfc9112_6_3() {
    const LENGTH: &str = "Content-Length: 5\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    for (method, status, fields, framing, content_length) in [
        (Method::Get, 200, LENGTH, Framing::Length(5), Some(5)),
        (Method::Get, 200, "Content-Length: 0\r\n", Framing::Length(0), Some(0)),
        (Method::Get, 200, CHUNKED, Framing::Chunked, None),
        (Method::Get, 200, "", Framing::UntilClose, None),
        (Method::Get, 205, "", Framing::UntilClose, None),
        (Method::Post, 404, LENGTH, Framing::Length(5), Some(5)),
        (Method::Head, 200, LENGTH, Framing::Empty, Some(5)),
        (Method::Head, 200, CHUNKED, Framing::Empty, None),
        (Method::Head, 200, "", Framing::Empty, None),
        (Method::Get, 304, LENGTH, Framing::Empty, Some(5)),
        (Method::Get, 304, CHUNKED, Framing::Empty, None),
        (Method::Get, 204, "", Framing::Empty, None),
        (Method::Get, 204, LENGTH, Framing::Empty, Some(5)),
        (Method::Get, 100, "", Framing::Empty, None),
        (Method::Get, 103, "Link: x\r\n", Framing::Empty, None),
        (Method::Get, 101, "Content-Length: 0\r\n", Framing::Empty, Some(0)),
    ] {
        let head = complete(format!("HTTP/1.1 {status} x\r\n{fields}\r\n"), method);
        assert_eq!(
            (head.framing(), head.content_length()),
            (framing, content_length),
            "{method} {status} {fields:?}"
        );
    }
}

#[test]
fn smuggling_is_refused_in_responses_too() {
    for (fields, fault) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", LengthAndTransferEncoding),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", DuplicateContentLength),
        ("Content-Length: 5, 5\r\n", BadContentLength),
        ("Content-Length: +5\r\n", BadContentLength),
        ("Transfer-Encoding: identity\r\n", UnsupportedTransferCoding),
        ("Transfer-Encoding: gzip, chunked\r\n", UnsupportedTransferCoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", DuplicateTransferEncoding),
        ("X: a\n", BareLf),
        ("X: a\rb\r\n", BareCr),
        ("X: a\r\n b\r\n", ObsFold),
        (" X: a\r\n", LeadingWhitespace),
        ("X : a\r\n", SpaceBeforeColon),
        (": a\r\n", EmptyFieldName),
        ("X: a\0\r\n", BadFieldValue),
        ("X\r\n", MissingColon),
    ] {
        assert_eq!(
            refused(format!("HTTP/1.1 200 x\r\n{fields}\r\n")),
            ResponseError::Head(fault),
            "{fields:?}"
        );
    }
    assert_eq!(
        refused("HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ResponseError::Head(TransferEncodingInHttp10)
    );
    for fields in ["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n"] {
        assert_eq!(refused(format!("HTTP/1.1 103 x\r\n{fields}\r\n")), ResponseError::InterimWithBody);
        assert_eq!(refused(format!("HTTP/1.1 101 x\r\n{fields}\r\n")), ResponseError::InterimWithBody);
    }
    assert_eq!(
        refused(format!("HTTP/1.1 200 x\r\n{}\r\n", "X: y\r\n".repeat(101))),
        ResponseError::Head(TooManyFields)
    );
    assert_eq!(refused(format!("HTTP/1.1 200 {}", "x".repeat(16384))), ResponseError::Head(HeadTooLarge));
}

#[test]
fn persistence_rfc9112_9_3() {
    for (version, status, fields, expected) in [
        ("1.1", 200, "Content-Length: 0\r\n", true),
        ("1.1", 200, "Content-Length: 0\r\nConnection: close\r\n", false),
        ("1.1", 200, "", false),
        ("1.0", 200, "Content-Length: 0\r\n", false),
        ("1.0", 200, "Content-Length: 0\r\nConnection: keep-alive\r\n", true),
        ("1.1", 204, "", true),
        ("1.1", 204, "Content-Length: 0\r\n", true),
        ("1.1", 204, "Content-Length: 5\r\n", false),
        ("1.1", 204, "Transfer-Encoding: chunked\r\n", false),
        ("1.1", 304, "Content-Length: 5\r\n", true),
    ] {
        let head = complete(format!("HTTP/{version} {status} x\r\n{fields}\r\n"), Method::Get);
        assert_eq!(head.keep_alive(), expected, "{version} {status} {fields:?}");
    }
    for value in ["max=5", "timeout", "timeout=x", "timeout=-1", ""] {
        let head = complete(format!("HTTP/1.1 204 x\r\nKeep-Alive: {value}\r\n\r\n"), Method::Get);
        assert_eq!(head.keep_alive_timeout(), None, "{value}");
    }
}

#[test]
fn interim_responses_are_distinguished_from_final_ones() {
    let buf = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let mut head = ResponseHead::default();
    let mut at = 0;
    let mut statuses = Vec::new();
    loop {
        head.reset();
        assert_eq!(head.parse(&buf[at..], Method::Post, &Limits::default()), Ok(Parse::Complete));
        at += head.len();
        statuses.push(head.status());
        if !head.is_interim() {
            break;
        }
    }
    assert_eq!((statuses, at), (vec![100, 103, 204], buf.len()));
}

#[test]
fn a_101_names_the_protocol_it_switches_to_rfc9110_15_2_2() {
    for (fields, switch) in [
        ("Connection: Upgrade\r\nUpgrade: WebSocket\r\n", Switch::WebSocket),
        ("Upgrade: websocket\r\n", Switch::Other),
        ("Connection: upgrade\r\n", Switch::Other),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", Switch::Other),
        ("Connection: upgrade\r\nUpgrade: websocket, h2c\r\n", Switch::Other),
        ("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n", Switch::Other),
    ] {
        let head = complete(format!("HTTP/1.1 101 x\r\n{fields}\r\n"), Method::Get);
        assert_eq!((head.switch(), head.is_interim()), (Some(switch), false), "{fields:?}");
    }
}

#[test]
fn a_fault_names_its_field_without_a_value() {
    use FaultyField::{After, Named};
    let long = [b"HTTP/1.1 200 OK\r\nX-Big: ".as_slice(), &[b'a'; 20_000], b"\r\n\r\n"].concat();
    for (bytes, fault, field) in [
        (&b"HTTP/1.1 200 OK\r\nfoo bar: x\r\n\r\n"[..], SpaceBeforeColon, Some(Named(b"foo bar"))),
        (b"HTTP/1.1 200 OK\r\nA: 1\r\nX-Y(z: x\r\n\r\n", BadFieldName, Some(Named(b"X-Y"))),
        (b"HTTP/1.1 200 OK\r\nX-Y: a\x01b\r\n\r\n", BadFieldValue, Some(Named(b"X-Y"))),
        (b"HTTP/1.1 200 OK\r\nX-Y: a\nsecret\r\n\r\n", BareLf, Some(Named(b"X-Y"))),
        (b"HTTP/1.1 200 OK\r\nX-Y: a\r\n secret: b\r\n\r\n", ObsFold, Some(After(b"X-Y"))),
        (b"HTTP/1.1 200 OK\r\nX-Y: a\r\nsecret\r\n\r\n", MissingColon, Some(After(b"X-Y"))),
        (b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n", MissingColon, None),
        (
            b"HTTP/1.1 200 OK\r\nSet-Cookie id=secret; Expires=Wed, 21 Oct 2015 07:28:00\r\n\r\n",
            SpaceBeforeColon,
            Some(Named(b"Set-Cookie id")),
        ),
        (b"HTTP/1.1 200 OK\r\nA b secret: c\r\n\r\n", SpaceBeforeColon, Some(Named(b"A b"))),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            DuplicateTransferEncoding,
            None,
        ),
        (b"HTTP/1.1 200 O:K\n\r\n", BareLf, None),
        (&long, HeadTooLarge, Some(Named(b"X-Big"))),
    ] {
        let mut head = ResponseHead::default();
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(head.parse(bytes, Method::Get, &Limits::default()), Err(fault.into()), "{text:?}");
        assert_eq!(head.faulty_field(bytes, fault), field, "{text:?}");
    }
}
