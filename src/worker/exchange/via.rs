//! `Via`: the name of this proxy in forwarded requests, and the detection of forwarding loops by it (RFC 9110
//! §7.6.3).

use std::hash::{BuildHasher, RandomState};

use crate::limits;
use ringway_wire::h1::RequestHead;
use ringway_wire::headers::{FieldKind, is_token, list_elements};
use ringway_wire::message::Version;

/// Name of this proxy in `Via`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    pseudonym: String,
    /// Lines for requests of HTTP/1.0, HTTP/1.1 and HTTP/2.
    lines: [String; 3],
}

/// Error of a text that is no valid pseudonym in `Via`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPseudonym;

impl std::fmt::Display for NoPseudonym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a name in Via has 1 to {} letters, digits and signs such as - . _",
            limits::VIA_PSEUDONYM_BYTES_MAX
        )
    }
}

impl std::error::Error for NoPseudonym {}

impl Via {
    /// Creates `Via` with a pseudonym: a token (RFC 9110 §5.6.2) of at most
    /// `VIA_PSEUDONYM_BYTES_MAX` bytes. Proxies with the same pseudonym count each other's passes
    /// as their own.
    ///
    /// # Errors
    /// [`NoPseudonym`]
    pub fn named(pseudonym: &str) -> Result<Self, NoPseudonym> {
        if !is_token(pseudonym.as_bytes()) || pseudonym.len() > limits::VIA_PSEUDONYM_BYTES_MAX {
            return Err(NoPseudonym);
        }
        let line = |protocol| format!("Via: {protocol} {pseudonym}\r\n");
        Ok(Self { pseudonym: pseudonym.into(), lines: [line("1.0"), line("1.1"), line("2.0")] })
    }

    /// Creates `Via` with `ringway-` and eight random digits: one proxy behind another is no loop.
    pub fn unique() -> Self {
        let random = RandomState::new().hash_one(std::process::id()) as u32;
        let pseudonym = format!("ringway-{random:08x}");
        Self::named(&pseudonym).unwrap_or_else(|_| unreachable!("a token"))
    }

    /// The pseudonym.
    pub fn pseudonym(&self) -> &str {
        &self.pseudonym
    }

    /// Line that is added below the request's own.
    pub(crate) fn line(&self, version: Version, is_http2: bool) -> &[u8] {
        let [http10, http11, http2] = &self.lines;
        match version {
            _ if is_http2 => http2.as_bytes(),
            Version::Http10 => http10.as_bytes(),
            Version::Http11 => http11.as_bytes(),
        }
    }

    /// Whether the request has passed this proxy before.
    pub(crate) fn has_passed(&self, request: &RequestHead, input: &[u8]) -> bool {
        self.entries(request, input).next().is_some()
    }

    /// Entries of this proxy.
    fn entries<'b>(&'b self, request: &'b RequestHead, input: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        // An entry is protocol, pseudonym and perhaps a comment.
        request.values(input, FieldKind::Via).flat_map(list_elements).filter(|entry| {
            let mut parts = entry.split(|byte| matches!(byte, b' ' | b'\t')).filter(|part| !part.is_empty());
            parts.nth(1) == Some(self.pseudonym.as_bytes())
        })
    }

    /// Whether the request has passed this proxy too often. A few passes are allowed: an app in front of
    /// another (a login, say) forwards the requests that it gets.
    pub(crate) fn is_loop(&self, request: &RequestHead, input: &[u8]) -> bool {
        request.has(FieldKind::Via) && self.entries(request, input).nth(limits::VIA_PASSES_MAX - 1).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_wire::h1::{Limits, Parse};

    fn is_loop(fields: &str) -> bool {
        let text = format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n").into_bytes();
        let mut head = RequestHead::default();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        Via::named("edge-1").unwrap().is_loop(&head, &text)
    }

    #[test]
    fn a_request_may_pass_a_few_times() {
        assert_eq!(limits::VIA_PASSES_MAX, 4);
        assert!(!is_loop(""));
        assert!(!is_loop("Via: 1.1 edge-1, 1.1 edge-1\r\nVia: 1.1 edge-1\r\n"));
        assert!(is_loop("Via: 1.1 edge-1, 1.1 edge-1\r\nVia: 1.1 edge-1,2.0\tedge-1 (a comment)\r\n"));
        assert!(is_loop(
            "Via: 1.0 edge-1,,1.1  edge-1 (x), HTTP/1.1 edge-1,1.1 other\r\nVia: 1.1 edge-1\r\n"
        ));
    }

    #[test]
    fn other_pseudonyms_are_not_counted() {
        let others = ["edge-2", "edge-1x", "x edge-1", "(edge-1)", "edge-1:80", "Edge-1"];
        for other in others {
            assert!(!is_loop(&format!("Via: 1.1 {other}\r\n").repeat(9)), "{other}");
        }
        assert!(!is_loop(&"Via: edge-1\r\n".repeat(9)), "no name, but a protocol");
    }

    #[test]
    fn a_pseudonym_is_a_token_of_bounded_length() {
        for wrong in ["", "a b", "a,b", "a\r\nb", "a:80", "(a)", "ü", &"a".repeat(65)] {
            assert_eq!(Via::named(wrong), Err(NoPseudonym), "{wrong:?}");
        }
        assert_eq!(Via::named(&"a".repeat(64)).unwrap().pseudonym().len(), 64);
    }

    #[test]
    fn each_process_has_its_own_pseudonym() {
        let (one, another) = (Via::unique(), Via::unique());
        assert_ne!(one, another);
        assert!(one.pseudonym().starts_with("ringway-") && one.pseudonym().len() == 16);
    }

    #[test]
    fn the_line_names_the_protocol_of_the_request() {
        let via = Via::named("edge-1").unwrap();
        assert_eq!(via.line(Version::Http10, false), b"Via: 1.0 edge-1\r\n");
        assert_eq!(via.line(Version::Http11, false), b"Via: 1.1 edge-1\r\n");
        assert_eq!(via.line(Version::Http11, true), b"Via: 2.0 edge-1\r\n");
    }
}
