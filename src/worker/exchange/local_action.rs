//! Replies that rules give without an endpoint: redirects and fixed responses.

use ringway_model::Redirect;
use ringway_traffic::virtual_host::{Action, Rule};
use ringway_wire::h1::RequestHead;

use crate::core::ConnBuffers;
use crate::exchange::local_reply::LocalReply;
use crate::exchange::{Exchange, Interrupt, match_rule};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Returns the reply of a rule whose requests go to no pool.
    pub(super) fn local_action(&self, rule: &'a Rule) -> Interrupt<'a> {
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        match &rule.action {
            Action::Redirect(redirect) => {
                let is_https = match_rule::is_secure(self.client, request, client_in);
                let location = location(redirect, request, client_in, is_https);
                LocalReply::redirect(redirect.status, &location).into()
            }
            Action::Respond(response) => LocalReply::fixed(response).into(),
            // A pool of the snapshot was chosen for these.
            Action::Proxy { .. } => LocalReply::no_route().into(),
        }
    }
}

/// Returns the `Location` of a redirect. It is always absolute: of a path alone, `//other.example` would lead
/// to another host.
fn location(redirect: &Redirect, request: &RequestHead, input: &[u8], is_https: bool) -> String {
    let mut location = String::with_capacity(redirect.to.len() + 128);
    if redirect.to.starts_with('/') {
        location.push_str(if is_https { "https://" } else { "http://" });
        location.push_str(request.host());
        if let Some(port) = request.port() {
            location.push_str(&format!(":{port}"));
        }
    }
    for byte in redirect.to.bytes() {
        match byte {
            b'!'..=b'~' => location.push(byte.into()),
            // Nothing else can stand in a field (RFC 3986 §2.1).
            _ => location.push_str(&format!("%{byte:02X}")),
        }
    }
    let path = request.path_and_query(input);
    if redirect.keep_path && path.starts_with('/') {
        location.truncate(location.trim_end_matches('/').len());
        location.push_str(path);
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    fn location_of(to: &str, keep_path: bool, target: &str) -> String {
        let text = format!("OPTIONS {target} HTTP/1.1\r\nHost: A.Example:8080\r\n\r\n").into_bytes();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        location(&Redirect { to: to.into(), status: 308, keep_path }, &head, &text, false)
    }

    #[test]
    fn a_location_is_absolute_and_keeps_path_and_query_on_request() {
        assert_eq!(location_of("https://new.example/base/", false, "/a?b"), "https://new.example/base/");
        assert_eq!(location_of("https://new.example/base/", true, "/a?b"), "https://new.example/base/a?b");
        assert_eq!(location_of("https://new.example", true, "/"), "https://new.example/");
        assert_eq!(
            location_of("https://new.example", true, "//evil.example"),
            "https://new.example//evil.example"
        );
        assert_eq!(location_of("https://new.example", true, "*"), "https://new.example");
        assert_eq!(location_of("/login", false, "/a"), "http://a.example:8080/login");
        assert_eq!(location_of("/v2", true, "/a?b"), "http://a.example:8080/v2/a?b");
        assert_eq!(location_of("//evil.example", false, "/a"), "http://a.example:8080//evil.example");
    }

    #[test]
    fn a_location_cannot_add_a_field() {
        let location = location_of("/a b\r\nX-Evil: 1\u{e9}", false, "/");
        assert_eq!(location, "http://a.example:8080/a%20b%0D%0AX-Evil:%201%C3%A9");
    }
}
