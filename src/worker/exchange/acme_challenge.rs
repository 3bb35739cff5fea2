//! ACME HTTP-01 challenge requests (RFC 8555 §8.3).

use ringway_model::limits;
use ringway_wire::h1::RequestHead;
use ringway_wire::message::Method;

/// Returns the token of a challenge request. Other requests below that path are routed like any other.
pub(crate) fn token<'a>(request: &'a RequestHead, input: &'a [u8]) -> Option<&'a str> {
    let token = request.path_and_query(input).strip_prefix(PATH)?;
    let is_read = matches!(request.method(), Method::Get | Method::Head);
    (is_read && is_token(token)).then_some(token)
}

/// Whether a text is a token: base64url without padding (RFC 8555 §8.3).
fn is_token(text: &str) -> bool {
    let is_short = (1..=limits::CHALLENGE_TOKEN_BYTES_MAX).contains(&text.len());
    is_short && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// RFC 8555 §8.3.
const PATH: &str = "/.well-known/acme-challenge/";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    fn token_of(request_line: &str) -> Option<String> {
        let text = format!("{request_line} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        token(&head, &text).map(str::to_owned)
    }

    #[test]
    fn only_challenge_requests_have_a_token() {
        let path = "/.well-known/acme-challenge/";
        assert_eq!(token_of(&format!("GET {path}aB3-_")).as_deref(), Some("aB3-_"));
        assert_eq!(token_of(&format!("HEAD {path}a")).as_deref(), Some("a"));
        assert_eq!(token_of(&format!("POST {path}a")), None);
        for text in ["", "a/b", "a?b", "a.b", "a%41", "a=", "../a"] {
            assert_eq!(token_of(&format!("GET {path}{text}")), None, "{text}");
        }
        let longest = "a".repeat(limits::CHALLENGE_TOKEN_BYTES_MAX);
        assert_eq!(token_of(&format!("GET {path}{longest}")), Some(longest.clone()));
        assert_eq!(token_of(&format!("GET {path}{longest}a")), None);
        assert_eq!(token_of("GET /.well-known/acme-challenge"), None);
        assert_eq!(token_of("GET /x/.well-known/acme-challenge/a"), None);
    }
}
