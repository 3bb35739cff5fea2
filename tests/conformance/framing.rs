//! Where a message ends: RFC 9112 §6 (Transfer-Encoding, Content-Length, message body length), RFC 9110 §8.6.

use super::*;
use crate::kit::on_both_drivers;

const LAST: &str = "0\r\n\r\n";
const HELLO: &str = "5\r\nhello\r\n0\r\n\r\n";

/// A POST with this Content-Length and five bytes.
fn length(value: &str) -> String {
    post(&format!("Content-Length: {value}\r\n"), "hello")
}

/// A POST with this Transfer-Encoding, an empty chunked body, and a request hidden behind it.
fn coded(value: &str) -> String {
    post(&format!("Transfer-Encoding: {value}\r\n"), &format!("{LAST}{HIDDEN}"))
}

#[rustfmt::skip] // a case is a line
fn cases() -> Vec<Case> {
    let hello = || seen(POST).body("hello");
    // RFC 9112 §6.3 item 4: 400; §6.1: 501 for a coding that is not known. Never as it came.
    let no = || refused(&[400, 501]);
    let mut cases = vec![
        case("9112 §6.3", "a length", length("5"), hello().with("content-length", "5")),
        case("9112 §6.3", "a length of zero", post("Content-Length: 0\r\n", ""), seen(POST).with("content-length", "0")),
        case("9112 §6.3", "neither length nor coding: no body", get(""), seen(GET).without("content-length").without("transfer-encoding")),
        case("9112 §6.3", "bytes behind no body are the next request", format!("{}{HIDDEN}", post("", "")), Outcome::Forwarded(vec![seen(POST), seen("GET /hidden HTTP/1.1")])),
        case("9112 §6.3", "bytes behind a body are the next request", format!("{}{HIDDEN}", length("5")), Outcome::Forwarded(vec![hello(), seen("GET /hidden HTTP/1.1")])),
        case("9112 §6.3", "a request within a body is none", post(&format!("Content-Length: {}\r\n", HIDDEN.len()), HIDDEN), seen(POST).body(HIDDEN)),
        case("9112 §6.3", "a body of a GET", format!("{}hello", get("Content-Length: 5\r\n")), [bad(), seen(GET).body("hello").into()]),
        case("9112 §6.3", "a chunked body of a GET", format!("{}{HELLO}", get("Transfer-Encoding: chunked\r\n")), [bad(), seen(GET).body("hello").into()]),
        case("9112 §6.3", "a body of a HEAD", "HEAD /case HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello", [bad(), seen("HEAD /case HTTP/1.1").body("hello").into()]),
        case("9112 §6.3", "a body of a DELETE", "DELETE /case HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello", [bad(), seen("DELETE /case HTTP/1.1").body("hello").into()]),
        case("9112 §6.3", "a body of an OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello", [bad(), seen("OPTIONS * HTTP/1.1").body("hello").into()]),
        case("9112 §6.3", "length and coding", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("{LAST}{HIDDEN}")), bad()),
        case("9112 §6.3", "coding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", &format!("{LAST}{HIDDEN}")), bad()),
        case("9112 §6.3", "coding and a length that agrees with the coded bytes", post("Transfer-Encoding: chunked\r\nContent-Length: 15\r\n", HELLO), bad()),
        case("9112 §6.3", "coding and a length of zero", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", HELLO), bad()),
        case("9112 §6.3", "coding and a bad length", post("Transfer-Encoding: chunked\r\nContent-Length: x\r\n", HELLO), bad()),
        case("9112 §6.3", "a length and a coding that is none", post("Content-Length: 5\r\nTransfer-Encoding: x\r\n", "hello"), no()),
        case("9112 §6.3", "a length and an empty coding", post("Content-Length: 5\r\nTransfer-Encoding:\r\n", "hello"), no()),
        case("9112 §6.3", "a length and identity", post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "hello"), no()),
        case("9112 §6.3", "two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), bad()),
        case("9112 §6.3", "two lengths, the second empty", post("Content-Length: 5\r\nContent-Length:\r\n", "hello"), bad()),
        case("9112 §6.3", "two lengths in different cases", post("Content-Length: 5\r\ncontent-length: 50\r\n", "hello"), bad()),
        case("9112 §6.3", "different lengths in a list", length("5, 6"), bad()),
        // RFC 9110 §8.6 lets a recipient take equal lengths for one. Ringway refuses: who sends them is
        // broken, or an attacker.
        case("9110 §8.6", "the same length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), [bad(), hello().with("content-length", "5").into()]),
        case("9110 §8.6", "the same length in a list", length("5, 5"), [bad(), hello().with("content-length", "5").into()]),
        case("9110 §8.6", "a length and a comma", length("5,"), [bad(), hello().with("content-length", "5").into()]),
        case("9110 §8.6", "a length with zeros in front", length("0005"), [bad(), hello().with("content-length", "5").into()]),
        case("9110 §8.6", "a length with white space around it", length(" \t5\t "), hello().with("content-length", "5")),
        case("9112 §6.3", "a body that is cut", post("Content-Length: 10\r\n", "hello"), Outcome::Broken(&[400, 408])).cut(),
        case("9112 §6.3", "no byte of a body", post("Content-Length: 10\r\n", ""), Outcome::Broken(&[400, 408])).cut(),
        case("9112 §6.1", "chunked", post("Transfer-Encoding: chunked\r\n", HELLO), hello().without("content-length").with("transfer-encoding", "chunked")),
        case("9112 §6.1", "chunked in upper case", post("Transfer-Encoding: CHUNKED\r\n", HELLO), hello().with("transfer-encoding", "chunked")),
        case("9112 §6.1", "chunked with white space around it", post("Transfer-Encoding: \t chunked \t\r\n", HELLO), hello().with("transfer-encoding", "chunked")),
        case("9112 §6.1", "chunked in HTTP/1.0", format!("POST /case HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{LAST}{HIDDEN}"), bad()),
        case("9112 §6.1", "chunked in HTTP/1.0 with a length", format!("POST /case HTTP/1.0\r\nHost: app.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{LAST}{HIDDEN}"), bad()),
        case("9112 §6.1", "chunked in HTTP/1.0 with keep-alive", format!("POST /case HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n{LAST}{HIDDEN}"), bad()),
        case("9112 §6.1", "a space before chunked's colon", post("Transfer-Encoding : chunked\r\n", &format!("{LAST}{HIDDEN}")), bad()),
        case("9112 §6.1", "two lines of coding", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &format!("{LAST}{HIDDEN}")), no()),
        case("9112 §6.1", "identity and chunked in two lines", post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", &format!("{LAST}{HIDDEN}")), no()),
        case("9112 §6.1", "chunked and identity in two lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &format!("{LAST}{HIDDEN}")), no()),
        case("9112 §6.1", "a coding on a request without one", format!("{}{LAST}{HIDDEN}", get("Transfer-Encoding: gzip\r\n")), no()),
        case("9112 §6.1", "NUL after chunked", coded("chunked\0"), bad()),
    ];
    for (name, value) in [
        ("a signed length", "+5"),
        ("a negative length", "-5"),
        ("a negative zero", "-0"),
        ("a hexadecimal length", "0x5"),
        ("an octal length", "0o5"),
        ("a length with a letter", "5a"),
        ("a length with a fraction", "5.0"),
        ("a length with an exponent", "5e0"),
        ("a length with an underscore", "0_5"),
        ("a space inside a length", "1 0"),
        ("a quoted length", "\"5\""),
        ("an empty length", ""),
        ("a length and a semicolon", "5;"),
        ("a length and a word", "5 bytes"),
    ] {
        cases.push(case("9110 §8.6", name, length(value), bad()));
    }
    for (name, value) in [("a length beyond 64 bits", "18446744073709551621"), ("a length beyond 63 bits", "9223372036854775813"), ("a length of thirty digits", "999999999999999999999999999999")] {
        cases.push(case("9110 §8.6", name, length(value), refused(&[400, 413])));
    }
    // Digits, but not of ASCII (here: fullwidth 5).
    cases.push(case("9110 §8.6", "a length of other digits", length("\u{ff15}"), bad()));
    for (name, value) in [
        ("identity", "identity"),
        ("an unknown coding", "x-foo"),
        ("gzip alone", "gzip"),
        ("gzip, then chunked", "gzip, chunked"),
        ("chunked, then gzip", "chunked, gzip"),
        ("chunked, then identity", "chunked, identity"),
        ("identity, then chunked", "identity, chunked"),
        ("chunked twice", "chunked, chunked"),
        ("chunked with a parameter", "chunked;q=1"),
        ("chunked with an empty parameter", "chunked;"),
        ("quoted chunked", "\"chunked\""),
        ("chunked in single quotes", "'chunked'"),
        ("xchunked", "xchunked"),
        ("chunkedx", "chunkedx"),
        ("chunk", "chunk"),
        ("a space within chunked", "chun ked"),
        ("two words", "chunked foo"),
        ("an empty coding", ""),
        ("a vertical tab before chunked", "\x0bchunked"),
        ("a form feed after chunked", "chunked\x0c"),
        ("a backspace before chunked", "\x08chunked"),
        ("a letter that folds to k", "chun\u{212a}ed"),
    ] {
        cases.push(case("9112 §6.1", name, coded(value), no()));
    }
    // RFC 9110 §5.6.1.2: empty members of a list are to be ignored; other readers see something else in them.
    for (name, value) in [("a comma before chunked", ", chunked"), ("a comma after chunked", "chunked,")] {
        let both = Outcome::Forwarded(vec![seen(POST).with("transfer-encoding", "chunked"), seen("GET /hidden HTTP/1.1")]);
        cases.push(case("9112 §6.1", name, coded(value), [no(), both]));
    }
    cases
}

on_both_drivers! {
    fn the_length_of_a_body(driver) {
        exchange::requests(driver, &cases());
    }
}
