//! The request line and the ends of lines: RFC 9112 §2.2 (parsing), §2.3 (version), §3 and §3.1 (request
//! line, method).

use super::*;
use crate::kit::on_both_drivers;

/// A request with this line.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: app.test\r\n\r\n")
}

#[rustfmt::skip] // a case is a line
fn cases() -> Vec<Case> {
    let once = || seen(GET);
    // RFC 9112 §2.2: a single LF may be taken for a line's end; ringway does not, since other readers do not
    // either.
    let lf = || vec![bad(), once().into()];
    vec![
        case("9112 §2.2", "one empty line before the request", format!("\r\n{}", get("")), seen(GET)),
        // "At least one" may be ignored; more than one is no longer robustness.
        case("9112 §2.2", "two empty lines before", format!("\r\n\r\n{}", get("")), [bad(), once().into()]),
        case("9112 §2.2", "an LF before the request", format!("\n{}", get("")), [bad(), once().into()]),
        case("9112 §2.2", "a CR before the request", format!("\r{}", get("")), bad()),
        case("9112 §2.2", "LF after the request line", "GET /case HTTP/1.1\nHost: app.test\r\n\r\n", lf()),
        case("9112 §2.2", "LF after a field", "GET /case HTTP/1.1\r\nHost: app.test\n\r\n", lf()),
        case("9112 §2.2", "LF for the empty line", "GET /case HTTP/1.1\r\nHost: app.test\r\n\n", lf()),
        case("9112 §2.2", "LF everywhere", "GET /case HTTP/1.1\nHost: app.test\n\n", lf()),
        case("9112 §2.2", "LF, with a request behind it", format!("GET /case HTTP/1.1\nHost: app.test\n\n{HIDDEN}"), [bad(), Outcome::Forwarded(vec![once(), seen("GET /hidden HTTP/1.1")])]),
        case("9112 §2.2", "CR for the request line's end", "GET /case HTTP/1.1\rHost: app.test\r\n\r\n", bad()),
        case("9112 §2.2", "CR CR LF after the request line", "GET /case HTTP/1.1\r\r\nHost: app.test\r\n\r\n", bad()),
        case("9112 §2.2", "CR in the target", line("GET /ca\rse HTTP/1.1"), bad()),
        case("9112 §2.2", "CR in a value", get("X: a\rb\r\n"), [bad(), once().with("x", "a b").into()]),
        case("9112 §2.2", "CR for a field's end", get("X: a\rEvil: b\r\n"), [bad(), once().with("x", "a Evil: b").without("evil").into()]),
        case("9112 §2.2", "CR CR LF after a field", get("X: a\r\r\n"), [bad(), once().with("x", "a").into()]),
        case("9112 §2.2", "CR CR LF for the empty line", "GET /case HTTP/1.1\r\nHost: app.test\r\n\r\r\n\r\n", bad()),
        case("9112 §2.2", "a space before the first field", "GET /case HTTP/1.1\r\n Host: app.test\r\n\r\n", bad()),
        case("9112 §2.2", "a tab before the first field", "GET /case HTTP/1.1\r\n\tHost: app.test\r\n\r\n", bad()),
        // A line there that begins with white space must be refused, or every such line consumed.
        case("9112 §2.2", "a line of white space before the first field", "GET /case HTTP/1.1\r\n \r\nHost: app.test\r\n\r\n", [bad(), once().into()]),
        case("9112 §2.2", "an odd line before the first field", "GET /case HTTP/1.1\r\n X: y\r\nHost: app.test\r\n\r\n", [bad(), once().without("x").into()]),
        case("9112 §2.3", "HTTP/1.0 is answered and closed", "GET /case HTTP/1.0\r\nHost: app.test\r\n\r\n", seen(GET)),
        case("9112 §2.3", "a version in lower case", line("GET /case http/1.1"), bad()),
        case("9112 §2.3", "HTTP/2.0", line("GET /case HTTP/2.0"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/0.9 with a version", line("GET /case HTTP/0.9"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/3.1", line("GET /case HTTP/3.1"), refused(&[400, 505])),
        // RFC 9110 §2.5: a higher minor version is to be read as the highest known one. None exists, and
        // other readers take 1.2 for a digit too many or as 1.0.
        case("9112 §2.3", "HTTP/1.2", line("GET /case HTTP/1.2"), [refused(&[400, 505]), once().into()]),
        case("9112 §2.3", "HTTP/1.9", line("GET /case HTTP/1.9"), [refused(&[400, 505]), once().into()]),
        case("9112 §2.3", "HTTP/1.10", line("GET /case HTTP/1.10"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/01.1", line("GET /case HTTP/01.1"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/1", line("GET /case HTTP/1"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/1.", line("GET /case HTTP/1."), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/.1", line("GET /case HTTP/.1"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/1,1", line("GET /case HTTP/1,1"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP/+1.1", line("GET /case HTTP/+1.1"), refused(&[400, 505])),
        case("9112 §2.3", "HTTP /1.1", line("GET /case HTTP /1.1"), bad()),
        case("9112 §2.3", "HTTP/1.1x", line("GET /case HTTP/1.1x"), refused(&[400, 505])),
        case("9112 §2.3", "HTTPS/1.1", line("GET /case HTTPS/1.1"), refused(&[400, 505])),
        case("9112 §2.3", "another protocol", line("GET /case ICY/1.1"), refused(&[400, 505])),
        case("9112 §2.3", "no version", line("GET /case"), bad()),
        case("9112 §2.3", "no version but a space", line("GET /case "), bad()),
        case("9112 §2.3", "HTTP/0.9 without a version, alone", "GET /case\r\n", bad()).cut(),
        case("9113 §3.4", "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", refused(&[400, 505])),
        case("9112 §3", "two spaces after the method", line("GET  /case HTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "two spaces before the version", line("GET /case  HTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "a tab after the method", line("GET\t/case HTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "a tab before the version", line("GET /case\tHTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "VT before the version", line("GET /case\x0bHTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "FF before the version", line("GET /case\x0cHTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "a space before the method", line(" GET /case HTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "a tab before the method", line("\tGET /case HTTP/1.1"), [bad(), once().into()]),
        case("9112 §3", "a space after the version", line("GET /case HTTP/1.1 "), [bad(), once().into()]),
        case("9112 §3", "a tab after the version", line("GET /case HTTP/1.1\t"), [bad(), once().into()]),
        case("9112 §3", "a fourth word", line("GET /case HTTP/1.1 x"), bad()),
        case("9112 §3", "a version twice", line("GET /case HTTP/1.1 HTTP/1.1"), bad()),
        case("9112 §3", "only a method", line("GET"), bad()),
        case("9112 §3", "no target", line("GET HTTP/1.1"), bad()),
        case("9112 §3", "no target but two spaces", line("GET  HTTP/1.1"), bad()),
        case("9112 §3", "no method", line("/case HTTP/1.1"), bad()),
        case("9112 §3", "NUL in the request line", line("GET /ca\0se HTTP/1.1"), bad()),
        case("9112 §3", "NUL after the version", line("GET /case HTTP/1.1\0"), refused(&[400, 505])),
        case("9112 §3.1", "an unknown method", line("BREW /case HTTP/1.1"), vec![answered(&[405, 501]), seen("BREW /case HTTP/1.1").into()]),
        // The method is case-sensitive: get is not GET, and must not become it.
        case("9112 §3.1", "a method in lower case", line("get /case HTTP/1.1"), vec![answered(&[400, 405, 501]), seen("get /case HTTP/1.1").into()]),
        case("9112 §3.1", "all bytes of a token as method", line("M!#$%&'*+-.^_`|~9 /case HTTP/1.1"), vec![answered(&[400, 405, 501]), seen("M!#$%&'*+-.^_`|~9 /case HTTP/1.1").into()]),
        case("9112 §3.1", "a colon in the method", line("GE:T /case HTTP/1.1"), bad()),
        case("9112 §3.1", "a parenthesis in the method", line("G(T /case HTTP/1.1"), bad()),
        case("9112 §3.1", "a quoted method", line("\"GET\" /case HTTP/1.1"), bad()),
        case("9112 §3.1", "a slash in the method", line("GE/T /case HTTP/1.1"), bad()),
        case("9112 §3.1", "NUL in the method", line("G\0T /case HTTP/1.1"), bad()),
        case("9112 §3.1", "a byte beyond ASCII in the method", b"G\xcbT /case HTTP/1.1\r\nHost: app.test\r\n\r\n".as_slice(), bad()),
        case("9112 §3.1", "a method of 10,000 letters", line(&format!("{} /case HTTP/1.1", "A".repeat(10_000))), refused(&[400, 414, 431, 501])),
        case("9112 §3", "a target beyond the limit", line(&format!("GET /{} HTTP/1.1", "a".repeat(20_000))), refused(&[414, 431])),
        case("9112 §3", "8,000 bytes of target pass", line(&format!("GET /{} HTTP/1.1", "a".repeat(7_999))), seen(format!("GET /{} HTTP/1.1", "a".repeat(7_999)))),
        case("9112 §2.1", "a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".as_slice(), bad()),
        case("9112 §2.1", "bytes of nothing", b"\x00\x01\x02\x03\r\n\r\n".as_slice(), bad()),
        case("9112 §2.1", "a response for a request", "HTTP/1.1 200 OK\r\nHost: app.test\r\n\r\n", bad()),
    ]
}

on_both_drivers! {
    fn the_request_line_and_the_ends_of_lines(driver) {
        exchange::requests(driver, &cases());
    }
}
