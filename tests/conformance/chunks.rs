//! The chunked coding: RFC 9112 §7.1 (chunks), §7.1.1 (extensions), §7.1.2 (trailers), RFC 9110 §6.5.

use super::*;
use crate::kit::on_both_drivers;

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

/// Five good bytes, and then these trailers.
fn trailers(lines: &str) -> String {
    chunked(&format!("5\r\nhello\r\n0\r\n{lines}\r\n"))
}

#[rustfmt::skip] // a case is a line
fn cases() -> Vec<Case> {
    let hello = || seen(POST).body("hello");
    let mut cases = vec![
        case("9112 §7.1", "one chunk", chunked("5\r\nhello\r\n0\r\n\r\n"), hello()),
        case("9112 §7.1", "no chunk", chunked("0\r\n\r\n"), seen(POST)),
        case("9112 §7.1", "several chunks", chunked("1\r\nh\r\n3\r\nell\r\n1\r\no\r\n0\r\n\r\n"), hello()),
        case("9112 §7.1", "a size in upper case", chunked(&format!("A\r\n{}\r\n0\r\n\r\n", "x".repeat(10))), seen(POST).body("x".repeat(10))),
        case("9112 §7.1", "a size in lower case", chunked(&format!("1f\r\n{}\r\n0\r\n\r\n", "x".repeat(31))), seen(POST).body("x".repeat(31))),
        case("9112 §7.1", "zeros before a size", chunked("0005\r\nhello\r\n0\r\n\r\n"), hello()),
        case("9112 §7.1", "zeros for the last chunk", chunked("5\r\nhello\r\n000\r\n\r\n"), hello()),
        case("9112 §7.1", "line ends as data", chunked("4\r\n\r\n\r\n\r\n0\r\n\r\n"), seen(POST).body("\r\n\r\n")),
        case("9112 §7.1", "a last chunk as data", chunked("5\r\n0\r\n\r\n\r\n0\r\n\r\n"), seen(POST).body("0\r\n\r\n")),
        case("9112 §7.1", "the next request behind it", format!("{}{HIDDEN}", chunked("5\r\nhello\r\n0\r\n\r\n")), Outcome::Forwarded(vec![hello(), seen("GET /hidden HTTP/1.1")])),
        case("9112 §7.1.1", "an extension", chunked("5;a=b\r\nhello\r\n0;c\r\n\r\n"), hello()),
        case("9112 §7.1.1", "a quoted extension", chunked("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"), hello()),
        // BWS before the semicolon must be parsed and removed; other readers refuse it, so refusing is sound
        // too.
        case("9112 §7.1.1", "white space before an extension", chunked("5 ;a=b\r\nhello\r\n0\r\n\r\n"), [broken(), hello().into()]),
        case("9112 §7.1.1", "white space within an extension", chunked("5; a = b\r\nhello\r\n0\r\n\r\n"), [broken(), hello().into()]),
        // RFC 9112 §7.1.2, RFC 9110 §6.5.1: trailers are passed on, merged or dropped, and none of them
        // frames or routes.
        case("9112 §7.1.2", "a trailer", trailers("X-Sum: 7\r\n"), [hello().trailer("X-Sum", "7").into(), hello().into()]),
        case("9112 §7.1.2", "a trailer that was announced", post("Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"), [hello().trailer("X-Sum", "7").into(), hello().into()]),
        case("9110 §6.5.1", "Content-Length as a trailer", trailers("Content-Length: 50\r\n"), [broken(), hello().without("content-length").into()]),
        case("9110 §6.5.1", "Transfer-Encoding as a trailer", trailers("Transfer-Encoding: chunked\r\n"), [broken(), hello().into()]),
        case("9110 §6.5.1", "Host as a trailer", trailers("Host: other.test\r\n"), [broken(), hello().into()]),
        case("9110 §6.5.1", "Authorization as a trailer", trailers("Authorization: Basic eDp5\r\n"), [broken(), hello().without("authorization").into()]),
        case("9110 §6.5.1", "Cookie as a trailer", trailers("Cookie: a=b\r\n"), [broken(), hello().without("cookie").into()]),
        case("9110 §6.5.1", "X-Forwarded-For as a trailer", trailers("X-Forwarded-For: 192.0.2.1\r\n"), [broken(), hello().with("x-forwarded-for", "127.0.0.1").into()]),
        case("9110 §6.5.1", "Connection as a trailer", trailers("Connection: close\r\n"), [broken(), hello().into()]),
        case("9110 §6.5.1", "Trailer as a trailer", trailers("Trailer: x\r\n"), [broken(), hello().into()]),
        case("9110 §6.5.1", "Content-Type as a trailer", trailers("Content-Type: text/html\r\n"), [broken(), hello().without("content-type").into()]),
        case("9112 §7.1.2", "trailers beyond every limit", trailers(&"X: y\r\n".repeat(20_000)), Outcome::Broken(&[400, 413, 431])),
        case("9112 §7.1.1", "extensions beyond every limit", chunked(&format!("{}0\r\n\r\n", format!("1;{}\r\nx\r\n", "y".repeat(200)).repeat(2000))), Outcome::Broken(&[400, 413])),
        case("9112 §7.1.1", "one extension beyond every limit", chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "y".repeat(100_000))), Outcome::Broken(&[400, 413])),
    ];
    for (section, name, body) in [
        ("9112 §7.1", "no size", "\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "spaces for a size", "  \r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "an extension without a size", ";a\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "0x before a size", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "an underscore in a size", "0_5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "letters beyond f", "5g\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a word for a size", "five\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a fraction", "5.0\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a comma", "5,\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a space before a size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a tab before a size", "\t5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "two sizes", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a quoted size", "\"5\"\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "NUL after a size", "5\0\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a size beyond 63 bits", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a size of thirty zeros and a five", "0000000000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "an LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "a CR too many after the size", "5\r\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "an LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("9112 §7.1", "a CR after the data", "5\r\nhello\r0\r\n\r\n"),
        ("9112 §7.1", "nothing after the data", "5\r\nhello0\r\n\r\n"),
        ("9112 §7.1", "other bytes after the data", "5\r\nhelloXX0\r\n\r\n"),
        ("9112 §7.1", "data longer than the size", "4\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "data shorter than the size", "6\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1", "an LF after the last size", "5\r\nhello\r\n0\n\r\n"),
        ("9112 §7.1", "an LF for the end", "5\r\nhello\r\n0\r\n\n"),
        ("9112 §7.1", "a CR and no LF at the end", "5\r\nhello\r\n0\r\n\rX"),
        ("9112 §7.1", "a negative last chunk", "5\r\nhello\r\n-0\r\n\r\n"),
        ("9112 §7.1.1", "an LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1.1", "a CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1.1", "a quoted line end in an extension", "5;a=\"\r\nhello\r\n\"0\r\n\r\n"),
        ("9112 §7.1.1", "NUL in an extension", "5;a\0\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1.1", "an extension without a semicolon", "5 a=b\r\nhello\r\n0\r\n\r\n"),
        ("9112 §7.1.2", "a trailer without a colon", "5\r\nhello\r\n0\r\nnonsense\r\n\r\n"),
        ("9112 §7.1.2", "a space before a trailer's colon", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
        ("9112 §7.1.2", "a trailer without a name", "5\r\nhello\r\n0\r\n: y\r\n\r\n"),
        ("9112 §7.1.2", "a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
        ("9112 §7.1.2", "an LF after a trailer", "5\r\nhello\r\n0\r\nX: y\n\r\n"),
        ("9112 §7.1.2", "NUL in a trailer", "5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n"),
        ("9112 §7.1.2", "a CR in a trailer", "5\r\nhello\r\n0\r\nX: a\rY: b\r\n\r\n"),
        ("9112 §7.1.2", "a request line for a trailer", "5\r\nhello\r\n0\r\nGET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n"),
    ] {
        // "0\r\n\r\n" of the request behind is never read as the end of this one.
        cases.push(case(section, name, format!("{}{HIDDEN}", chunked(body)), broken()));
    }
    for (name, body) in [("a cut size", "5"), ("a cut size line", "5\r"), ("cut data", "5\r\nhel"), ("a cut chunk end", "5\r\nhello\r"), ("no last chunk", "5\r\nhello\r\n"), ("a cut last chunk", "5\r\nhello\r\n0"), ("no end after the last chunk", "5\r\nhello\r\n0\r\n"), ("half an end after the last chunk", "5\r\nhello\r\n0\r\n\r"), ("a cut trailer", "5\r\nhello\r\n0\r\nX: y\r\n"), ("no byte", "")]
    {
        cases.push(case("9112 §8", name, chunked(body), Outcome::Broken(&[400, 408])).cut());
    }
    cases
}

on_both_drivers! {
    fn the_chunked_coding(driver) {
        exchange::requests(driver, &cases());
    }
}
