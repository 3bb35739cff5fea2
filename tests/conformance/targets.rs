//! Target resource: RFC 9112 §3.2 (the four forms of a target, `Host`), RFC 9110 §4.2, §7.1, §7.2.

use super::*;
use crate::kit::on_both_drivers;

/// A GET of this target.
fn to(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n")
}

/// A GET with these `Host` lines.
fn host(lines: &str) -> String {
    format!("GET /case HTTP/1.1\r\n{lines}\r\n")
}

/// It arrives with the target as it was sent: a proxy must not rewrite a path (RFC 9112 §3.2.4, RFC 9110
/// §7.7).
fn same(target: &str) -> Seen {
    seen(format!("GET {target} HTTP/1.1"))
}

#[rustfmt::skip] // a case is a line
fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("9112 §3.2.1", "no slash in front", to("case"), bad()),
        case("9112 §3.2.1", "a query alone", to("?x=y"), bad()),
        case("9112 §3.2.1", "a backslash in front", to("\\case"), bad()),
        case("9112 §3.2.1", "a relative path", to("../case"), bad()),
        case("9112 §3.2", "a fragment", to("/case#part"), bad()),
        case("9112 §3.2", "a fragment alone", to("#"), bad()),
        case("9112 §3.2", "a fragment in an absolute form", to("http://app.test/case#part"), bad()),
        case("9112 §3.2", "a space in the target", to("/ca se"), bad()),
        case("9112 §3.2", "DEL in the target", to("/ca\x7fse"), bad()),
        case("9112 §3.2", "a control byte in the target", to("/ca\x01se"), bad()),
        case("9112 §3.2", "a byte beyond ASCII in the target", b"GET /ca\xe9se HTTP/1.1\r\nHost: app.test\r\n\r\n".as_slice(), bad()),
        case("9112 §3.2.2", "absolute form", to("http://app.test/case?x=y"), same("/case?x=y")),
        case("9112 §3.2.2", "absolute form without a path", to("http://app.test"), same("/")),
        case("9112 §3.2.2", "absolute form with a query and no path", to("http://app.test?x=y"), same("/?x=y")),
        case("9112 §3.2.2", "absolute form in upper case", to("HTTP://APP.TEST/Case"), same("/Case")),
        case("9112 §3.2.2", "absolute form with a port", to("http://app.test:8080/case"), same("/case").host("app.test:8080")),
        // The target's authority replaces Host, so the origin must never see the other one.
        case("9112 §3.2.2", "absolute form against Host", "GET http://app.test/case HTTP/1.1\r\nHost: other.test\r\n\r\n", [bad(), same("/case").into()]),
        case("9112 §3.2.2", "absolute form of an unknown host against Host", "GET http://other.test/case HTTP/1.1\r\nHost: app.test\r\n\r\n", answered(&[400, 404, 421])),
        case("9112 §3.2.2", "absolute form without Host", "GET http://app.test/case HTTP/1.1\r\n\r\n", bad()),
        case("9112 §3.2.2", "absolute form with a bad Host", "GET http://app.test/case HTTP/1.1\r\nHost: a b\r\n\r\n", bad()),
        case("9112 §3.2.2", "absolute form with two Hosts", "GET http://app.test/case HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n", bad()),
        case("9110 §4.2.1", "absolute form without a host", to("http:///case"), bad()),
        case("9110 §4.2.1", "absolute form with a port alone", to("http://:80/case"), bad()),
        case("9110 §4.2.4", "userinfo in an absolute form", to("http://user@app.test/case"), bad()),
        case("9110 §4.2.4", "userinfo that names another host", to("http://app.test@other.test/case"), bad()),
        case("9110 §4.2", "another scheme", to("ftp://app.test/case"), bad()),
        case("9110 §4.2", "a scheme without an authority", to("http:/case"), bad()),
        case("9110 §4.2", "javascript:", to("javascript:alert(1)"), bad()),
        case("9110 §4.2", "no scheme", to("//"), [bad(), same("//").into()]),
        case("9112 §3.2.3", "authority form for a GET", to("app.test:80"), bad()),
        case("9112 §3.2.3", "CONNECT", "CONNECT app.test:443 HTTP/1.1\r\nHost: app.test\r\n\r\n", answered(&[400, 405, 501])),
        case("9112 §3.2.3", "CONNECT without a port", "CONNECT app.test HTTP/1.1\r\nHost: app.test\r\n\r\n", answered(&[400, 405, 501])),
        case("9112 §3.2.3", "CONNECT to a path", "CONNECT /case HTTP/1.1\r\nHost: app.test\r\n\r\n", answered(&[400, 405, 501])),
        case("9112 §3.2.3", "CONNECT with bytes behind it", format!("CONNECT app.test:443 HTTP/1.1\r\nHost: app.test\r\n\r\n{HIDDEN}"), refused(&[400, 405, 501])),
        case("9112 §3.2.4", "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n", vec![answered(&[200, 204]), seen("OPTIONS * HTTP/1.1").into()]),
        case("9112 §3.2.4", "OPTIONS of an authority alone", "OPTIONS http://app.test HTTP/1.1\r\nHost: app.test\r\n\r\n", seen("OPTIONS * HTTP/1.1")),
        case("9112 §3.2.4", "OPTIONS of an authority and a slash", "OPTIONS http://app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n", seen("OPTIONS / HTTP/1.1")),
        case("9112 §3.2.4", "GET *", to("*"), bad()),
        case("9112 §3.2.4", "OPTIONS *x", "OPTIONS *x HTTP/1.1\r\nHost: app.test\r\n\r\n", bad()),
        case("9112 §3.2", "no Host", host(""), bad()),
        case("9112 §3.2", "an empty Host", host("Host:\r\n"), bad()),
        case("9112 §3.2", "two Hosts", host("Host: app.test\r\nHost: other.test\r\n"), bad()),
        case("9112 §3.2", "the same Host twice", host("Host: app.test\r\nHost: app.test\r\n"), bad()),
        case("9112 §3.2", "a second, empty Host", host("Host: app.test\r\nHost:\r\n"), bad()),
        case("9112 §3.2", "Host in another case, twice", host("HOST: app.test\r\nhost: other.test\r\n"), bad()),
        case("9112 §3.2", "two hosts in a list", host("Host: app.test, other.test\r\n"), bad()),
        case("9112 §3.2", "a space before Host's colon", host("Host : app.test\r\n"), bad()),
        case("9112 §3.2", "Host on two lines", host("Host: app\r\n .test\r\n"), bad()),
        case("9110 §7.2", "userinfo in Host", host("Host: user@app.test\r\n"), bad()),
        case("9110 §7.2", "a path in Host", host("Host: app.test/x\r\n"), bad()),
        case("9110 §7.2", "a scheme in Host", host("Host: http://app.test\r\n"), bad()),
        case("9110 §7.2", "a space in Host", host("Host: app.test x\r\n"), bad()),
        case("9110 §7.2", "a tab in Host", host("Host: app.test\tx\r\n"), bad()),
        case("9110 §7.2", "a query in Host", host("Host: app.test?x\r\n"), bad()),
        case("9110 §7.2", "a fragment in Host", host("Host: app.test#x\r\n"), bad()),
        case("9110 §7.2", "a percent sign in Host", host("Host: app%2etest\r\n"), answered(&[400, 404, 421])),
        case("9110 §7.2", "a backslash in Host", host("Host: app.test\\x\r\n"), bad()),
        case("9110 §7.2", "a port of letters", host("Host: app.test:http\r\n"), bad()),
        case("9110 §7.2", "a negative port", host("Host: app.test:-80\r\n"), bad()),
        case("9110 §7.2", "a signed port", host("Host: app.test:+80\r\n"), bad()),
        case("9110 §7.2", "a port beyond 16 bits", host("Host: app.test:65616\r\n"), bad()),
        case("9110 §7.2", "two ports", host("Host: app.test:80:81\r\n"), bad()),
        case("9110 §7.2", "half a bracket", host("Host: [::1\r\n"), bad()),
        case("9110 §7.2", "bytes behind a bracket", host("Host: [::1]app.test\r\n"), bad()),
        case("9110 §7.2", "an address of six groups too many", host("Host: [1:2:3:4:5:6:7:8:9]\r\n"), bad()),
        case("9110 §7.2", "an address without brackets", host("Host: ::1\r\n"), bad()),
        case("9110 §7.2", "two dots", host("Host: app..test\r\n"), bad()),
        case("9110 §7.2", "a label beyond 63 bytes", host(&format!("Host: {}.test\r\n", "a".repeat(64))), answered(&[400, 404, 421])),
        case("9110 §7.2", "bytes beyond ASCII in Host", b"GET /case HTTP/1.1\r\nHost: \xc3\xa9.test\r\n\r\n".as_slice(), answered(&[400, 404, 421])),
        case("9110 §7.2", "an unknown host", host("Host: unknown.test\r\n"), answered(&[404, 421])),
        case("9110 §7.2", "Host in upper case", host("Host: APP.TEST\r\n"), same("/case")),
        case("9110 §7.2", "Host with a port", host("Host: app.test:8080\r\n"), same("/case").host("app.test:8080")),
        case("9110 §7.2", "Host with an empty port", host("Host: app.test:\r\n"), same("/case")),
        case("9110 §7.2", "Host with a trailing dot", host("Host: app.test.\r\n"), same("/case")),
        case("9110 §7.2", "Host after other fields", "GET /case HTTP/1.1\r\nX: y\r\nHost: app.test\r\n\r\n", same("/case").with("x", "y")),
        case("9112 §3.2", "HTTP/1.0 without Host", "GET /case HTTP/1.0\r\n\r\n", answered(&[400, 404, 421])),
        case("9112 §3.2", "HTTP/1.0 with two Hosts", "GET /case HTTP/1.0\r\nHost: app.test\r\nHost: other.test\r\n\r\n", bad()),
    ];
    // RFC 9110 §4.2.3, §7.7: what two readers might take for one another passes byte by byte, neither decoded
    // nor joined.
    for (name, target) in [
        ("two slashes", "//case"),
        ("two slashes and a host", "//other.test/case"),
        ("dots", "/a/../case"),
        ("dots that lead out", "/../../case"),
        ("one dot", "/./case"),
        ("an encoded slash", "/a%2fcase"),
        ("an encoded NUL", "/case%00"),
        ("an encoded line end", "/case%0d%0aX:%20y"),
        ("encoded dots", "/%2e%2e/case"),
        ("half an encoding", "/case%"),
        ("an encoding of other letters", "/case%zz"),
        ("a semicolon", "/case;x=y"),
        ("two question marks", "/case?x?y"),
        ("an empty query", "/case?"),
        ("an absolute URI as a query", "/case?http://other.test/"),
        ("a colon and an at sign", "/user:pw@other.test"),
        ("quotes and brackets", "/\"<>[]{}|^`\\"),
    ] {
        cases.push(case("9110 §4.2.3", name, to(target), [bad(), same(target).into()]));
    }
    cases
}

on_both_drivers! {
    fn the_target_and_the_host(driver) {
        exchange::requests(driver, &cases());
    }
}
