//! Redirects from HTTP to HTTPS.

use ringway_wire::h1::RequestHead;
use ringway_wire::message::Method;

/// Returns the `Location` of a redirect to https: the normalised host, path and query unchanged.
pub(crate) fn location(request: &RequestHead, input: &[u8], https_port: u16) -> String {
    let (host, target) = (request.host(), request.path_and_query(input));
    let port = if https_port == HTTPS_PORT { String::new() } else { format!(":{https_port}") };
    // `OPTIONS *` addresses the server as a whole.
    let target = if target == "*" { "/" } else { target };
    format!("https://{host}{port}{target}")
}

/// Returns the status of a redirect: only GET and HEAD may be repeated as GET (RFC 9110 §15.4.2 and §15.4.9).
pub(crate) fn status(method: Method) -> u16 {
    match method {
        Method::Get | Method::Head => 301,
        _ => 308,
    }
}

/// Default port of `https` URLs (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    #[test]
    fn a_redirect_keeps_path_and_query_and_normalises_the_host() {
        let location = |target: &str, host: &str, port| {
            let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes();
            let mut head = RequestHead::default();
            assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
            location(&head, &text, port)
        };
        assert_eq!(location("/", "a.example", 443), "https://a.example/");
        assert_eq!(location("/x%2F?q=%41&&", "A.Example.:80", 8443), "https://a.example:8443/x%2F?q=%41&&");
        assert_eq!(location("//evil.example/", "a.example", 443), "https://a.example//evil.example/");
        assert_eq!(location("http://b.example?q", "a.example", 443), "https://b.example/?q");
        assert_eq!(location("*", "a.example", 443), "https://a.example/");
    }

    #[test]
    fn a_redirect_keeps_the_method_unless_it_is_safe_to_repeat_as_get() {
        for (method, expected) in
            [(Method::Get, 301), (Method::Head, 301), (Method::Post, 308), (Method::Options, 308)]
        {
            assert_eq!(status(method), expected);
        }
    }
}
