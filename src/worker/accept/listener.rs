//! The doors of a core: what its listeners are for, and what is answered there before any app is asked.
//!
//! ```text
//! http   plain       challenges, then apps
//!        redirect    challenges, then redirects to https for hosts that can be served there, apps for the others
//!        https_only  challenges and refusals
//! https              challenges (a CA may follow a redirect), then apps
//! ```

use std::rc::Rc;

use ringway_model::{ClientAuthNeed, limits};
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::VirtualHost;
use ringway_wire::h1::RequestHead;
use ringway_wire::message::Method;

use crate::accept::tls_accept::Secure;
use crate::exchange::Match;
use crate::exchange::failure::Failure;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP without TLS.
    Http(HttpMode),
    /// TLS.
    Https,
}

/// What is served without TLS. Challenges of the CA are, in every mode (RFC 8555 §8.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpMode {
    /// Everything, as over TLS.
    Plain,
    /// Hosts that can be served over TLS are redirected there; the others are served.
    #[default]
    Redirect,
    /// Nothing else.
    HttpsOnly,
}

/// Where a client came in.
#[derive(Clone, Debug)]
pub(crate) enum Door {
    /// Without TLS.
    Http(HttpMode),
    /// Over TLS.
    Https(Rc<Secure>),
}

impl Door {
    /// What the app is told in `X-Forwarded-Proto`.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Https(_) => "https",
        }
    }

    /// The version of TLS.
    pub(crate) fn tls(&self) -> Option<&'static str> {
        match self {
            Self::Http(_) => None,
            Self::Https(secure) => Some(secure.protocol),
        }
    }

    /// Whether a request may be served to a client that came in here.
    pub(crate) fn check(&self, snapshot: &Snapshot, matched: Match<'_>) -> Result<(), Failure> {
        match self {
            // Whoever needs a certificate of its clients is not served where they cannot present one.
            Self::Http(_) if needs_certificate(matched.host) => Err(Failure::HttpsOnly),
            Self::Http(_) => Ok(()),
            Self::Https(secure) => secure.check(snapshot, matched),
        }
    }

    /// Header lines about the client's certificate for the host's app; none unless the host demands one.
    pub(crate) fn client_lines(&self, host: &VirtualHost) -> &[u8] {
        match self {
            Self::Http(_) if host.tls.client_auth.is_some() => b"X-Client-Cert-Verified: NONE\r\n",
            Self::Http(_) => b"",
            Self::Https(secure) => secure.lines(host),
        }
    }
}

fn needs_certificate(host: &VirtualHost) -> bool {
    host.tls.client_auth.as_ref().is_some_and(|auth| auth.need == ClientAuthNeed::Required)
}

/// The token of a request that looks like a CA's: anything else with that path is an app's business.
pub(crate) fn challenge_token<'a>(request: &'a RequestHead, input: &'a [u8]) -> Option<&'a str> {
    let token = request.path_and_query(input).strip_prefix(CHALLENGE_PATH)?;
    let is_asked = matches!(request.method(), Method::Get | Method::Head);
    (is_asked && is_token(token)).then_some(token)
}

/// RFC 8555 §8.3: characters of the base64url alphabet, without padding.
fn is_token(text: &str) -> bool {
    let is_short = (1..=limits::CHALLENGE_TOKEN_BYTES_MAX).contains(&text.len());
    is_short && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Where a request is asked again, over TLS: the host as it is matched, path and query as they came.
pub(crate) fn location(request: &RequestHead, input: &[u8], https_port: u16) -> String {
    let (host, target) = (request.host(), request.path_and_query(input));
    let port = if https_port == HTTPS_PORT { String::new() } else { format!(":{https_port}") };
    // `OPTIONS *` asks about the server as a whole.
    let target = if target == "*" { "/" } else { target };
    format!("https://{host}{port}{target}")
}

/// The status of a redirect: only GET and HEAD may be repeated as GET (RFC 9110 §15.4.2 and §15.4.9).
pub(crate) fn redirect_status(method: Method) -> u16 {
    match method {
        Method::Get | Method::Head => 301,
        _ => 308,
    }
}

/// RFC 8555 §8.3.
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
/// The default of `https` URLs (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    fn head(text: &str) -> (RequestHead, Vec<u8>) {
        let text = text.as_bytes().to_vec();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        (head, text)
    }

    fn token(request_line: &str) -> Option<String> {
        let (head, text) = head(&format!("{request_line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        challenge_token(&head, &text).map(str::to_owned)
    }

    #[test]
    fn only_a_cas_request_has_a_token() {
        let path = "/.well-known/acme-challenge/";
        assert_eq!(token(&format!("GET {path}aB3-_")).as_deref(), Some("aB3-_"));
        assert_eq!(token(&format!("HEAD {path}a")).as_deref(), Some("a"));
        assert_eq!(token(&format!("POST {path}a")), None);
        for token_text in ["", "a/b", "a?b", "a.b", "a%41", "a=", "../a"] {
            assert_eq!(token(&format!("GET {path}{token_text}")), None, "{token_text}");
        }
        let longest = "a".repeat(limits::CHALLENGE_TOKEN_BYTES_MAX);
        assert_eq!(token(&format!("GET {path}{longest}")), Some(longest.clone()));
        assert_eq!(token(&format!("GET {path}{longest}a")), None);
        assert_eq!(token("GET /.well-known/acme-challenge"), None);
        assert_eq!(token("GET /x/.well-known/acme-challenge/a"), None);
    }

    #[test]
    fn a_redirect_keeps_path_and_query_and_normalises_the_host() {
        let location = |target: &str, host: &str, port| {
            let (head, text) = head(&format!("OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            location(&head, &text, port)
        };
        assert_eq!(location("/", "a.example", 443), "https://a.example/");
        assert_eq!(location("/x%2F?q=%41&&", "A.Example.:80", 8443), "https://a.example:8443/x%2F?q=%41&&");
        assert_eq!(location("//evil.example/", "a.example", 443), "https://a.example//evil.example/");
        assert_eq!(location("http://b.example?q", "a.example", 443), "https://b.example/?q");
        assert_eq!(location("*", "a.example", 443), "https://a.example/");
    }

    #[test]
    fn only_get_and_head_may_change_their_method() {
        for (method, status) in
            [(Method::Get, 301), (Method::Head, 301), (Method::Post, 308), (Method::Options, 308)]
        {
            assert_eq!(redirect_status(method), status);
        }
    }
}
