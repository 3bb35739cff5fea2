//! Duties of a proxy for valid messages: RFC 9110 §7.6, §9.3, §10.1.1, and connections: RFC 9112 §9.

use super::*;
use crate::kit::on_both_drivers;

fn with_method(method: &str, fields: &str) -> String {
    format!("{method} /case HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

fn old(fields: &str) -> String {
    format!("GET /case HTTP/1.0\r\nHost: app.test\r\n{fields}\r\n")
}

#[rustfmt::skip] // a case is a line
fn cases() -> Vec<Case> {
    let once = || seen(GET);
    let twice = || Outcome::Forwarded(vec![seen(GET), seen("GET /hidden HTTP/1.1")]);
    let post = |fields: &str, body: &str| super::post(fields, body);
    vec![
        case("9110 §9.3.2", "HEAD", with_method("HEAD", ""), seen("HEAD /case HTTP/1.1")),
        case("9110 §9.3.7", "OPTIONS", with_method("OPTIONS", ""), seen("OPTIONS /case HTTP/1.1")),
        case("9110 §9.3.5", "DELETE", with_method("DELETE", ""), seen("DELETE /case HTTP/1.1")),
        case("9110 §9.3.3", "POST without a length", with_method("POST", ""), vec![answered(&[411]), seen(POST).into()]),
        // A TRACE shows an application's own fields to scripts: refused, as everywhere.
        case("9110 §9.3.8", "TRACE", with_method("TRACE", ""), vec![answered(&[405, 501]), seen("TRACE /case HTTP/1.1").into()]),
        case("9110 §9.3.8", "TRACE with a body", format!("{}hello", with_method("TRACE", "Content-Length: 5\r\n")), answered(&[400, 405, 501])),
        case("9110 §7.6.2", "TRACE with Max-Forwards: 0 goes no further", with_method("TRACE", "Max-Forwards: 0\r\n"), answered(&[200, 405, 501])),
        case("9110 §7.6.2", "OPTIONS with Max-Forwards: 0 goes no further", with_method("OPTIONS", "Max-Forwards: 0\r\n"), answered(&[200, 204])),
        case("9110 §7.6.2", "OPTIONS with Max-Forwards: 1 goes on with 0", with_method("OPTIONS", "Max-Forwards: 1\r\n"), seen("OPTIONS /case HTTP/1.1").with("max-forwards", "0")),
        case("9110 §7.6.2", "OPTIONS with Max-Forwards: 10 goes on with 9", with_method("OPTIONS", "Max-Forwards: 10\r\n"), seen("OPTIONS /case HTTP/1.1").with("max-forwards", "9")),
        case("9110 §7.6.2", "Max-Forwards of a GET passes", with_method("GET", "Max-Forwards: 0\r\n"), once().with("max-forwards", "0")),
        case("9110 §10.1.1", "Expect: 100-continue with a body at once", post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), [seen(POST).with_all("expect", &[]).body("hello").into(), seen(POST).with("expect", "100-continue").body("hello").into()]),
        case("9110 §10.1.1", "Expect in another case", post("Expect: 100-Continue\r\nContent-Length: 5\r\n", "hello"), [seen(POST).with_all("expect", &[]).body("hello").into(), seen(POST).with("expect", "100-continue").body("hello").into()]),
        case("9110 §10.1.1", "Expect: 100-continue without a body", get("Expect: 100-continue\r\n"), once()),
        case("9110 §10.1.1", "Expect: 100-continue in HTTP/1.0", "POST /case HTTP/1.0\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", seen(POST).body("hello")),
        case("9110 §10.1.1", "another expectation", get("Expect: the-moon\r\n"), vec![answered(&[417]), once().with("expect", "the-moon").into()]),
        case("9110 §10.1.1", "two expectations", post("Expect: 100-continue, x\r\nContent-Length: 5\r\n", "hello"), refused(&[400, 417])),
        case("9112 §9.3", "HTTP/1.1 persists", format!("{}{HIDDEN}", get("")), twice()),
        case("9112 §9.3.2", "ten requests at once", get("").repeat(10), Outcome::Forwarded(vec![seen(GET); 10])),
        case("9112 §9.3.2", "a body between two requests", format!("{}{}{HIDDEN}", get(""), post("Content-Length: 5\r\n", "hello")), Outcome::Forwarded(vec![seen(GET), seen(POST).body("hello"), seen("GET /hidden HTTP/1.1")])),
        case("9112 §9.6", "nothing after Connection: close is served", format!("{}{HIDDEN}", get("Connection: close\r\n")), once()),
        case("9112 §9.6", "close in another case", format!("{}{HIDDEN}", get("Connection: CLOSE\r\n")), once()),
        case("9112 §9.6", "close within a list", format!("{}{HIDDEN}", get("Connection: keep-alive, close\r\n")), once()),
        case("9112 §9.6", "close in a second line", format!("{}{HIDDEN}", get("Connection: keep-alive\r\nConnection: close\r\n")), once()),
        case("9112 §9.6", "a quoted close is no option", get("Connection: \"close\"\r\n"), [bad(), once().into()]),
        case("9112 §9.3", "HTTP/1.0 does not persist", format!("{}{HIDDEN}", old("")), once()),
        case("9112 §9.3", "HTTP/1.0 with keep-alive", old("Connection: keep-alive\r\n"), once()),
        case("9112 §9.3", "HTTP/1.0 with keep-alive and close", format!("{}{HIDDEN}", old("Connection: keep-alive, close\r\n")), once()),
        case("9112 §9.3", "HTTP/1.0 with Proxy-Connection is not persistent", format!("{}{HIDDEN}", old("Proxy-Connection: keep-alive\r\n")), once()),
        case("9112 §9.5", "a client that half-closes gets its answer", get(""), once()).cut(),
        case("9110 §7.6.3", "a gateway adds itself to Via", get(""), once().with_all("via", &["1.1 edge"])),
        case("9110 §7.6.3", "Via says how the request came", old(""), once().with_all("via", &["1.0 edge"])),
        case("9110 §7.6.3", "who passed it on before stands before us", get("Via: 1.0 a (one, two)\r\nVia: HTTP/2.0 b\r\n"), once().with_all("via", &["1.0 a (one, two)", "HTTP/2.0 b", "1.1 edge"])),
        case("9110 §7.6.3", "Via may be nominated away, but for ours", get("Connection: via\r\nVia: 1.1 a\r\n"), once().with_all("via", &["1.1 edge"])),
        case("9110 §7.6.3", "Via with our name is no loop yet", get("Via: 1.1 edge\r\n"), once().with_all("via", &["1.1 edge", "1.1 edge"])),
        case("9110 §7.6.3", "Via with our name again and again is a loop", get("Via: 1.1 edge, 1.1 a, 1.1 edge\r\nVia: 1.0 edge,2.0 edge\r\n"), answered(&[508])),
        case("9110 §14.2", "Range passes", get("Range: bytes=0-1,,5-\r\n"), once().with("range", "bytes=0-1,,5-")),
        case("9110 §13.1.1", "conditions pass", get("If-Match: *\r\nIf-None-Match: \"x\"\r\n"), once().with("if-match", "*").with("if-none-match", "\"x\"")),
    ]
}

on_both_drivers! {
    fn semantics_and_connections(driver) {
        exchange::requests(driver, &cases());
    }
}
