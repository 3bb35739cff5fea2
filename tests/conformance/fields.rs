//! Field lines: RFC 9112 §5 (syntax), §5.2 (folding), §5.4 (size), RFC 9110 §5.1, §5.5, §5.6, and which of
//! them end at this hop: RFC 9110 §7.6.1, §7.8, §10.1.4.

use super::*;
use crate::kit::on_both_drivers;

fn raw(before: &str, bytes: &[u8], after: &str) -> Vec<u8> {
    let head = format!("GET /case HTTP/1.1\r\nHost: app.test\r\n{before}");
    [head.as_bytes(), bytes, after.as_bytes(), b"\r\n\r\n"].concat()
}

#[rustfmt::skip] // a case is a line
fn cases() -> Vec<Case> {
    let once = || seen(GET);
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let mut cases = vec![
        case("9112 §5.1", "a space before the colon", get("X : y\r\n"), bad()),
        case("9112 §5.1", "a tab before the colon", get("X\t: y\r\n"), bad()),
        case("9112 §5.1", "a space before the colon of Content-Length", post("Content-Length : 5\r\n", "hello"), bad()),
        case("9112 §5.1", "a space before the colon of Transfer-Encoding", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), bad()),
        case("9112 §5.1", "no colon", get("nonsense\r\n"), bad()),
        case("9112 §5.1", "no colon, and a field after it", get("nonsense\r\nX: y\r\n"), bad()),
        case("9112 §5.1", "a colon alone", get(":\r\n"), bad()),
        case("9112 §5.1", "no name", get(": y\r\n"), bad()),
        case("9112 §5.1", "a space for a name", get(" : y\r\n"), bad()),
        case("9110 §5.1", "a space in a name", get("X Y: z\r\n"), bad()),
        case("9110 §5.1", "NUL in a name", get("X\0: z\r\n"), bad()),
        case("9110 §5.1", "a control byte in a name", get("X\x01: z\r\n"), bad()),
        case("9110 §5.1", "DEL in a name", get("X\x7f: z\r\n"), bad()),
        case("9110 §5.1", "a comma in a name", get("X,Y: z\r\n"), bad()),
        case("9110 §5.1", "a slash in a name", get("X/Y: z\r\n"), bad()),
        case("9110 §5.1", "an at sign in a name", get("X@Y: z\r\n"), bad()),
        case("9110 §5.1", "brackets in a name", get("X[0]: z\r\n"), bad()),
        case("9110 §5.1", "braces in a name", get("{X}: z\r\n"), bad()),
        case("9110 §5.1", "a quoted name", get("\"X\": z\r\n"), bad()),
        case("9110 §5.1", "an equals sign in a name", get("X=Y: z\r\n"), bad()),
        case("9110 §5.1", "a backslash in a name", get("X\\Y: z\r\n"), bad()),
        case("9110 §5.1", "bytes beyond ASCII in a name", raw("", b"X\xc3\xa9: z", ""), bad()),
        case("9110 §5.1", "a name of every byte of a token", get("X!#$%&'*+-.^`|~9: z\r\n"), once().with("X!#$%&'*+-.^`|~9", "z")),
        // A name with an underscore is valid, and to CGI the same as one with a hyphen: ringway drops it, as
        // nginx does.
        case("9110 §5.1", "an underscore in a name", get("X_Y: z\r\n"), [once().without("x_y").without("x-y").into(), once().with("x_y", "z").into()]),
        case("9110 §5.5", "NUL in a value", get("X: a\0b\r\n"), [bad(), once().with("x", "a b").into()]),
        case("9110 §5.5", "NUL at the end of a value", get("X: a\0\r\n"), [bad(), once().with("x", "a").into()]),
        case("9110 §5.5", "a control byte in a value", get("X: a\x01b\r\n"), bad()),
        case("9110 §5.5", "ESC in a value", get("X: a\x1bb\r\n"), bad()),
        case("9110 §5.5", "BS in a value", get("X: a\x08b\r\n"), bad()),
        case("9110 §5.5", "VT in a value", get("X: a\x0bb\r\n"), bad()),
        case("9110 §5.5", "FF before a value", get("X:\x0ca\r\n"), bad()),
        case("9110 §5.5", "DEL in a value", get("X: a\x7fb\r\n"), bad()),
        case("9110 §5.5", "a control byte in Host", "GET /case HTTP/1.1\r\nHost: app\x01.test\r\n\r\n", bad()),
        case("9110 §5.5", "a tab in a value", get("X: a\tb\r\n"), once().with("x", "a\tb")),
        case("9110 §5.5", "bytes beyond ASCII in a value", raw("", b"X: \xe9\xff", ""), once().with("x", "\u{e9}\u{ff}")),
        case("9110 §5.5", "an empty value", get("X:\r\n"), once().with("x", "")),
        case("9110 §5.5", "a value of white space", get("X: \t \r\n"), once().with("x", "")),
        case("9112 §5.1", "no space after the colon", get("X:y\r\n"), once().with("x", "y")),
        case("9112 §5.1", "much white space around a value", get("X: \t y \t \r\n"), once().with("x", "y")),
        case("9112 §5.1", "colons in a value", get("X: y: z\r\n"), once().with("x", "y: z")),
        case("9110 §5.3", "the order of fields with one name", get("X: a\r\nY: b\r\nX: c\r\nX: \r\n"), once().with_all("x", &["a", "c", ""])),
        case("9112 §5.2", "a folded value", get("X: a\r\n b\r\n"), [bad(), once().with("x", "a b").into()]),
        case("9112 §5.2", "a value folded by a tab", get("X: a\r\n\tb\r\n"), [bad(), once().with("x", "a b").into()]),
        case("9112 §5.2", "a fold of nothing", get("X: a\r\n \r\n"), [bad(), once().with("x", "a").into()]),
        case("9112 §5.2", "a value that begins on the next line", get("X:\r\n a\r\n"), [bad(), once().with("x", "a").into()]),
        case("9112 §5.2", "a fold that looks like a field", get("X: a\r\n Content-Length: 5\r\n"), [bad(), once().with("x", "a Content-Length: 5").into()]),
        case("9112 §5.2", "a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), [bad(), seen(POST).into()]),
        case("9112 §5.2", "a folded Content-Length", post("Content-Length:\r\n 5\r\n", "hello"), [bad(), seen(POST).body("hello").into()]),
        case("9112 §5.2", "a fold in Connection", get("Connection: close,\r\n X\r\nX: y\r\n"), bad()),
        case("9112 §5", "a head without an end", "GET /case HTTP/1.1\r\nHost: app.test\r\nX: y\r\n", [bad(), Outcome::Broken(&[400, 408])]).cut(),
        case("9112 §5", "a field without an end", "GET /case HTTP/1.1\r\nHost: app.test\r\nX: y", [bad(), Outcome::Broken(&[400, 408])]).cut(),
        case("9112 §8", "a request line without an end", "GET /case HT", [bad(), Outcome::Broken(&[400, 408])]).cut(),
        case("9112 §5.4", "a value beyond the limit", get(&format!("X: {}\r\n", "y".repeat(70_000))), refused(&[400, 431])),
        case("9112 §5.4", "a name beyond the limit", get(&format!("{}: y\r\n", "x".repeat(70_000))), refused(&[400, 431])),
        case("9112 §5.4", "ten thousand fields", get(&many(10_000)), refused(&[400, 431])),
        case("9112 §5.4", "90 fields", get(&many(90)), once().with("x-89", "y")),
        // Hop by hop: the client's connection options are not forwarded to the origin.
        case("9110 §7.6.1", "Connection names a field", get("Connection: X-Hop\r\nX-Hop: y\r\nX-End: z\r\n"), once().without("x-hop").with("x-end", "z")),
        case("9110 §7.6.1", "Connection names fields in two lines", get("Connection: X-One\r\nX-One: y\r\nX-Two: y\r\nConnection: x-two\r\n"), once().without("x-one").without("x-two")),
        case("9110 §7.6.1", "Connection behind the field that it names", get("X-Hop: y\r\nConnection: keep-alive, x-hop\r\n"), once().without("x-hop")),
        case("9110 §7.6.1", "Connection names Host", get("Connection: Host\r\n"), [bad(), once().into()]),
        case("9110 §7.6.1", "Connection names Content-Length", post("Connection: Content-Length\r\nContent-Length: 5\r\n", "hello"), [bad(), seen(POST).with("content-length", "5").body("hello").into()]),
        case("9110 §7.6.1", "Connection names Transfer-Encoding", post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), [bad(), seen(POST).body("hello").into()]),
        // The origin trusts this field: a client must not be able to take it away.
        case("9110 §7.6.1", "Connection names X-Forwarded-For", get("Connection: X-Forwarded-For\r\n"), [bad(), once().with("x-forwarded-for", "127.0.0.1").into()]),
        case("9110 §7.6.1", "Connection names itself", get("Connection: Connection\r\n"), [bad(), once().into()]),
        case("9110 §7.6.1", "Connection with empty members", get("Connection: ,, X-Hop ,\r\nX-Hop: y\r\n"), [bad(), once().without("x-hop").into()]),
        case("9110 §7.6.1", "Connection of no tokens", get("Connection: a b\r\n"), [bad(), once().into()]),
        case("9110 §7.6.1", "an empty Connection", get("Connection:\r\n"), [bad(), once().into()]),
        case("9110 §7.6.1", "a thousand connection options", get(&format!("Connection: {}\r\n", "a,".repeat(1000))), [bad(), once().into()]),
        case("9110 §7.6.1", "Keep-Alive", get("Keep-Alive: timeout=5\r\n"), once().without("keep-alive")),
        case("9110 §7.6.1", "Proxy-Connection", get("Proxy-Connection: keep-alive\r\n"), once().without("proxy-connection")),
        case("9110 §7.6.1", "TE that Connection does not name", get("TE: trailers\r\n"), [once().without("te").without("connection").into(), once().with("te", "trailers").with("connection", "TE").into()]),
        case("9110 §10.1.4", "TE of a coding", get("TE: gzip\r\nConnection: TE\r\n"), once().without("te")),
        case("9110 §10.1.4", "TE: trailers and a coding", get("TE: trailers, deflate;q=0.5\r\nConnection: TE\r\n"), [once().without("te").into(), once().with("te", "trailers").with("connection", "TE").into()]),
        case("9110 §11.7.1", "Proxy-Authorization", get("Proxy-Authorization: Basic eDp5\r\n"), once().without("proxy-authorization")),
        case("9110 §7.8", "Upgrade to something unknown", get("Connection: Upgrade\r\nUpgrade: foo/2\r\n"), once().without("upgrade").without("connection")),
        case("9110 §7.8", "Upgrade that Connection does not name", get("Upgrade: foo/2\r\n"), once().without("upgrade")),
        case("9110 §5.6.1", "a list with empty members", get("Accept: ,text/html,,\r\n"), once().with("accept", ",text/html,,")),
        case("9110 §5.6.4", "a quoted comma", get("X: \"a, b\\\"\"\r\n"), once().with("x", "\"a, b\\\"\"")),
    ];
    // Fields whose aliases an application may read as something that frames or identifies: CGI makes `_` of
    // `-`.
    for (name, line) in [("an alias of Content-Length", "Content_Length: 60\r\n"), ("an alias of Transfer-Encoding", "Transfer_Encoding: chunked\r\n"), ("an alias of X-Forwarded-For", "X_Forwarded_For: 192.0.2.1\r\n")] {
        let alias: &'static str = line.split(':').next().unwrap();
        cases.push(case("9110 §5.1", name, get(line), [bad(), once().without(alias).into()]));
    }
    cases
}

on_both_drivers! {
    fn field_lines(driver) {
        exchange::requests(driver, &cases());
    }
}
