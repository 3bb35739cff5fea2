//! `Sec-WebSocket-Accept`: whether the endpoint has agreed to a WebSocket (RFC 6455 §4.1).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ringway_wire::h1::{RequestHead, ResponseHead, Switch};
use ringway_wire::headers::FieldKind;
use ringway_wire::websocket;

/// Value of `Sec-WebSocket-Accept` that belongs to the key of a request.
#[derive(Clone, Copy)]
pub(crate) struct Accept([u8; websocket::ACCEPT_BYTES]);

impl Accept {
    /// Value for the request whose head stands in `client_in`; `None` where it has no key.
    pub(crate) fn of(request: &RequestHead, client_in: &[u8]) -> Option<Self> {
        let key = request.values(client_in, FieldKind::SecWebSocketKey).next()?;
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, websocket::KEY_SUFFIX].concat());
        Some(Self(websocket::accept_value(hash.as_ref().try_into().ok()?)))
    }

    /// Whether a 101 switches to WebSocket and proves that the key was read: the value, once.
    pub(crate) fn is_given_by(&self, response: &ResponseHead, upstream_in: &[u8]) -> bool {
        let mut values = response.values(upstream_in, FieldKind::SecWebSocketAccept);
        response.switch() == Some(Switch::WebSocket)
            && values.next() == Some(self.0.as_slice())
            && values.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway_wire::h1::{Limits, Parse};
    use ringway_wire::message::Method;

    const VALUE: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    fn is_accepted(fields: &str) -> bool {
        let input = "GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let mut request = RequestHead::default();
        assert_eq!(request.parse(input.as_bytes(), &Limits::default()).unwrap(), Parse::Complete);
        let text = format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n");
        let mut response = ResponseHead::default();
        response.parse(text.as_bytes(), Method::Get, &Limits::default()).unwrap();
        Accept::of(&request, input.as_bytes()).unwrap().is_given_by(&response, text.as_bytes())
    }

    #[test]
    fn the_key_of_rfc_6455_has_the_accept_value_of_rfc_6455() {
        let switch = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        assert!(is_accepted(&format!("{switch}{VALUE}")));
        assert!(!is_accepted(switch), "none");
        assert!(
            !is_accepted(&format!("{switch}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n")),
            "another key's"
        );
        assert!(!is_accepted(&format!("{switch}{VALUE}{VALUE}")), "twice");
        assert!(!is_accepted(&format!("Connection: Upgrade\r\nUpgrade: h2c\r\n{VALUE}")), "another protocol");
    }
}
