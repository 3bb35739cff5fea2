//! Header fields: character classes, well-known names, list syntax, and the function that writes a field.
//!
//! Names are classified once, while they are scanned; later code compares a [`FieldKind`] or tests a
//! [`FieldKinds`] set, which is one AND instead of a string comparison.

use std::fmt;

use crate::scan;

/// Well-known field name. All names without special treatment are [`FieldKind::Other`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FieldKind {
    /// Any other field.
    #[default]
    Other,
    /// `Host` (RFC 9110 §7.2)
    Host,
    /// `Content-Length` (RFC 9110 §8.6)
    ContentLength,
    /// `Transfer-Encoding` (RFC 9112 §6.1)
    TransferEncoding,
    /// `Connection` (RFC 9110 §7.6.1)
    Connection,
    /// `Keep-Alive` (RFC 2068 §19.7.1.1)
    KeepAlive,
    /// `Proxy-Connection` (RFC 9110 §7.6.1)
    ProxyConnection,
    /// `Proxy-Authenticate` (RFC 9110 §11.7.1)
    ProxyAuthenticate,
    /// `Proxy-Authorization` (RFC 9110 §11.7.2)
    ProxyAuthorization,
    /// `Proxy-Authentication-Info` (RFC 9110 §11.7.3)
    ProxyAuthenticationInfo,
    /// `Proxy`, which CGI turns into `HTTP_PROXY` (CVE-2016-5385)
    Proxy,
    /// `TE` (RFC 9110 §10.1.4)
    Te,
    /// `Trailer` (RFC 9110 §6.6.2)
    Trailer,
    /// `Upgrade` (RFC 9110 §7.8)
    Upgrade,
    /// `HTTP2-Settings` (RFC 7540 §3.2.1, removed by RFC 9113)
    Http2Settings,
    /// `Expect` (RFC 9110 §10.1.1)
    Expect,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// Any other field whose name begins with `X-Forwarded`
    XForwardedOther,
    /// `X-Real-IP`
    XRealIp,
    /// `Forwarded` (RFC 7239)
    Forwarded,
    /// `X-Request-ID`
    XRequestId,
    /// `X-Tenant-ID`
    XTenantId,
    /// `X-Original-Host`
    XOriginalHost,
    /// Any field whose name begins with `X-Client-Cert`
    XClientCert,
    /// `Sec-WebSocket-Key` (RFC 6455 §11.3.1)
    SecWebSocketKey,
    /// `Sec-WebSocket-Version` (RFC 6455 §11.3.5)
    SecWebSocketVersion,
    /// `Sec-WebSocket-Accept` (RFC 6455 §11.3.3)
    SecWebSocketAccept,
    /// Any other field whose name begins with `Sec-WebSocket-`
    SecWebSocketOther,
    /// `Accept` (RFC 9110 §12.5.1)
    Accept,
    /// `Authorization` (RFC 9110 §11.6.2)
    Authorization,
    /// `Cookie` (RFC 6265 §5.4)
    Cookie,
    /// `Set-Cookie` (RFC 6265 §4.1)
    SetCookie,
    /// `Content-Type` (RFC 9110 §8.3)
    ContentType,
    /// `Content-Encoding` (RFC 9110 §8.4)
    ContentEncoding,
    /// `User-Agent` (RFC 9110 §10.1.5)
    UserAgent,
    /// `Origin` (RFC 6454 §7)
    Origin,
    /// `Date` (RFC 9110 §6.6.1)
    Date,
    /// `Server` (RFC 9110 §10.2.4)
    Server,
    /// `Via` (RFC 9110 §7.6.3)
    Via,
    /// `Retry-After` (RFC 9110 §10.2.3)
    RetryAfter,
    /// `If-Match` (RFC 9110 §13.1.1)
    IfMatch,
    /// `Idempotency-Key`
    IdempotencyKey,
    /// `Max-Forwards` (RFC 9110 §7.6.2)
    MaxForwards,
}

impl FieldKind {
    /// Classifies a name in any case. Cost: a copy of at most 32 bytes and a few comparisons.
    pub fn of(name: &[u8]) -> Self {
        let mut folded = [0; FOLDED_BYTES_MAX];
        for (slot, byte) in folded.iter_mut().zip(name) {
            *slot = byte.to_ascii_lowercase();
        }
        Self::of_folded(&folded, name.len())
    }

    /// Classifies a name that is in lower case; `len` is its full length, `folded` may hold only its
    /// beginning.
    pub(crate) fn of_folded(folded: &[u8; FOLDED_BYTES_MAX], len: usize) -> Self {
        let name = &folded[..len.min(FOLDED_BYTES_MAX)];
        // By length first: two or three candidates remain for each field of a browser's request.
        let kind = match len {
            2 if name == b"te" => Self::Te,
            3 if name == b"via" => Self::Via,
            4 => match name {
                b"host" => Self::Host,
                b"date" => Self::Date,
                _ => Self::Other,
            },
            5 if name == b"proxy" => Self::Proxy,
            6 => match name {
                b"accept" => Self::Accept,
                b"cookie" => Self::Cookie,
                b"expect" => Self::Expect,
                b"origin" => Self::Origin,
                b"server" => Self::Server,
                _ => Self::Other,
            },
            7 => match name {
                b"upgrade" => Self::Upgrade,
                b"trailer" => Self::Trailer,
                _ => Self::Other,
            },
            8 if name == b"if-match" => Self::IfMatch,
            9 => match name {
                b"forwarded" => Self::Forwarded,
                b"x-real-ip" => Self::XRealIp,
                _ => Self::Other,
            },
            10 => match name {
                b"connection" => Self::Connection,
                b"keep-alive" => Self::KeepAlive,
                b"user-agent" => Self::UserAgent,
                b"set-cookie" => Self::SetCookie,
                _ => Self::Other,
            },
            11 => match name {
                b"x-tenant-id" => Self::XTenantId,
                b"retry-after" => Self::RetryAfter,
                _ => Self::Other,
            },
            12 => match name {
                b"content-type" => Self::ContentType,
                b"x-request-id" => Self::XRequestId,
                b"max-forwards" => Self::MaxForwards,
                _ => Self::Other,
            },
            13 if name == b"authorization" => Self::Authorization,
            14 => match name {
                b"content-length" => Self::ContentLength,
                b"http2-settings" => Self::Http2Settings,
                _ => Self::Other,
            },
            15 => match name {
                b"x-forwarded-for" => Self::XForwardedFor,
                b"x-original-host" => Self::XOriginalHost,
                b"idempotency-key" => Self::IdempotencyKey,
                _ => Self::Other,
            },
            16 => match name {
                b"content-encoding" => Self::ContentEncoding,
                b"proxy-connection" => Self::ProxyConnection,
                b"x-forwarded-host" => Self::XForwardedHost,
                _ => Self::Other,
            },
            17 => match name {
                b"transfer-encoding" => Self::TransferEncoding,
                b"x-forwarded-proto" => Self::XForwardedProto,
                b"sec-websocket-key" => Self::SecWebSocketKey,
                _ => Self::Other,
            },
            18 if name == b"proxy-authenticate" => Self::ProxyAuthenticate,
            19 if name == b"proxy-authorization" => Self::ProxyAuthorization,
            20 if name == b"sec-websocket-accept" => Self::SecWebSocketAccept,
            21 if name == b"sec-websocket-version" => Self::SecWebSocketVersion,
            25 if name == b"proxy-authentication-info" => Self::ProxyAuthenticationInfo,
            _ => Self::Other,
        };
        if kind != Self::Other {
            return kind;
        }
        if name.starts_with(b"x-forwarded") {
            return Self::XForwardedOther;
        }
        if name.starts_with(b"x-client-cert") {
            return Self::XClientCert;
        }
        if name.starts_with(b"sec-websocket-") {
            return Self::SecWebSocketOther;
        }
        Self::Other
    }
}

/// Set of [`FieldKind`]s, for example those that a rewrite removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldKinds(u64);

impl FieldKinds {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Builds a set. [`FieldKind::Other`] cannot be a member and is ignored.
    pub const fn of(kinds: &[FieldKind]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < kinds.len() {
            bits |= 1 << kinds[i] as u8;
            i += 1;
        }
        Self(bits & !1)
    }

    /// Returns the union of both sets.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether `kind` is in the set.
    pub const fn has(self, kind: FieldKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    pub(crate) fn insert(&mut self, kind: FieldKind) {
        self.0 |= Self::of(&[kind]).0;
    }
}

/// Hop-by-hop fields, whether nominated by `Connection` or not (RFC 9110 §7.6.1), and those that frame the
/// message. They are removed in both directions; the fields that the next hop needs are generated.
pub const HOP_BY_HOP: FieldKinds = FieldKinds::of(&[
    FieldKind::Connection,
    FieldKind::ContentLength,
    FieldKind::KeepAlive,
    FieldKind::ProxyAuthenticate,
    FieldKind::ProxyAuthenticationInfo,
    FieldKind::ProxyAuthorization,
    FieldKind::ProxyConnection,
    FieldKind::Te,
    FieldKind::TransferEncoding,
    FieldKind::Upgrade,
    FieldKind::Http2Settings,
]);

/// Fields about the client and its original request. Accepted from trusted peers only, and never removable
/// through `Connection` (the `Connection: X-Forwarded-For` attack).
pub const IDENTITY: FieldKinds = FieldKinds::of(&[
    FieldKind::XForwardedFor,
    FieldKind::XForwardedProto,
    FieldKind::XForwardedHost,
    FieldKind::XForwardedOther,
    FieldKind::XRealIp,
    FieldKind::Forwarded,
    FieldKind::XRequestId,
]);

/// Identity fields that only this proxy sets; removed even from requests of trusted peers.
pub const OWN_IDENTITY: FieldKinds =
    FieldKinds::of(&[FieldKind::XTenantId, FieldKind::XOriginalHost, FieldKind::XClientCert]);

/// Fields of a WebSocket handshake, without meaning in other requests (RFC 6455 §11.3).
pub(crate) const WEBSOCKET: FieldKinds = FieldKinds::of(&[
    FieldKind::SecWebSocketKey,
    FieldKind::SecWebSocketVersion,
    FieldKind::SecWebSocketAccept,
    FieldKind::SecWebSocketOther,
]);

/// Error of [`push_field`] and [`crate::h1::write_bodiless_request`]. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldError {
    /// The name is not a token (RFC 9110 §5.1).
    Name,
    /// The value contains a control byte, such as a line end, or begins or ends with white space (RFC 9110
    /// §5.5).
    Value,
    /// The request target has bytes outside visible ASCII, or does not begin with `/`.
    Target,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the field name is not a token",
            Self::Value => "the field value holds a control byte or outer white space",
            Self::Target => "the request target is not a visible ASCII path",
        })
    }
}

impl std::error::Error for FieldError {}

/// Appends `name: value` and CRLF. All generated fields are written with it: it rejects names and values that
/// would end the line early (header injection).
///
/// # Errors
/// [`FieldError`]; `out` is unchanged.
pub fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), FieldError> {
    if !is_token(name.as_bytes()) {
        return Err(FieldError::Name);
    }
    if !is_field_value(value) {
        return Err(FieldError::Value);
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Returns whether the bytes are a token (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&b| TOKEN_FOLD[b as usize] != 0)
}

/// Returns whether the bytes are a field value: visible ASCII, obs-text, and inner spaces and tabs (RFC 9110
/// §5.5).
pub fn is_field_value(bytes: &[u8]) -> bool {
    value_end(bytes) == bytes.len() && trim(bytes).len() == bytes.len()
}

/// Iterates over the trimmed elements of a comma-separated list; empty ones are skipped (RFC 9110 §5.6.1.2).
/// Not for fields with quoted commas.
pub fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(trim).filter(|element| !element.is_empty())
}

/// Removes leading and trailing optional white space (RFC 9110 §5.6.3: spaces and tabs only).
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// Removes leading optional white space.
pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Removes trailing optional white space.
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Returns the offset of the first byte that is invalid in a field value: a control other than HTAB, or DEL.
pub(crate) fn value_end(bytes: &[u8]) -> usize {
    let mut at = scan::first(bytes, scan::controls);
    while let Some(b'\t') = bytes.get(at) {
        at += 1 + scan::first(&bytes[at + 1..], scan::controls);
    }
    at
}

/// Field name at the beginning of a line.
pub(crate) struct Name {
    /// The beginning in lower case, and zeros.
    pub(crate) folded: [u8; FOLDED_BYTES_MAX],
    /// Length of the name: the offset of the first byte that is none of a token (RFC 9110 §5.6.2).
    pub(crate) len: usize,
    /// An underscore is in it.
    pub(crate) has_underscore: bool,
}

impl Name {
    /// Reads the name that `line` begins with.
    #[inline]
    pub(crate) fn read(line: &[u8]) -> Self {
        let mut name = Self { folded: [0; FOLDED_BYTES_MAX], len: 0, has_underscore: false };
        // Letters and dashes, of which nearly all names consist, by words.
        let (slots, _) = name.folded.as_chunks_mut::<8>();
        for (slot, chunk) in slots.iter_mut().zip(line.as_chunks::<8>().0) {
            let word = scan::Word::from_le_bytes(*chunk);
            let letters = scan::letters(word);
            let lower = scan::lower_case(word, letters);
            let others = !(letters | scan::equal(word, b'-')) & scan::HIGHS;
            if others != 0 {
                let len = scan::position(others);
                *slot = scan::truncate(lower, len).to_le_bytes();
                name.len += len;
                break;
            }
            *slot = lower.to_le_bytes();
            name.len += 8;
        }
        while let Some(byte) = line.get(name.len)
            && let fold @ 1.. = TOKEN_FOLD[usize::from(*byte)]
        {
            if let Some(slot) = name.folded.get_mut(name.len) {
                *slot = fold;
            }
            name.has_underscore |= *byte == b'_';
            name.len += 1;
        }
        name
    }
}

/// Bytes of a name that the classification uses.
pub(crate) const FOLDED_BYTES_MAX: usize = 32;

/// Lower-case form of each token byte (RFC 9110 §5.6.2), 0 for all others.
pub(crate) static TOKEN_FOLD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let is_tchar = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        if is_tchar {
            table[byte] = b.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classifies_names_in_any_case() {
        assert_eq!(FieldKind::of(b"HOST"), FieldKind::Host);
        assert_eq!(FieldKind::of(b"Transfer-Encoding"), FieldKind::TransferEncoding);
        assert_eq!(FieldKind::of(b"x-forwarded-FOR"), FieldKind::XForwardedFor);
        assert_eq!(FieldKind::of(b"X-Forwarded-Client-Cert"), FieldKind::XForwardedOther);
        assert_eq!(
            FieldKind::of(format!("X-Forwarded-{}", "a".repeat(100)).as_bytes()),
            FieldKind::XForwardedOther
        );
        assert_eq!(FieldKind::of(b"Sec-WebSocket-Protocol"), FieldKind::SecWebSocketOther);
        for name in
            ["X-Client-Cert", "x-client-cert-subject", "X-CLIENT-CERT-Verified", "X-Client-Certificate"]
        {
            assert_eq!(FieldKind::of(name.as_bytes()), FieldKind::XClientCert, "{name}");
        }
        assert_eq!(FieldKind::of(b"Hosts"), FieldKind::Other);
        assert_eq!(FieldKind::of(b""), FieldKind::Other);
    }

    #[test]
    fn a_set_never_holds_other() {
        let set = FieldKinds::of(&[FieldKind::Other, FieldKind::Te]);
        assert!(set.has(FieldKind::Te) && !set.has(FieldKind::Other) && !set.has(FieldKind::Host));
    }

    #[test]
    fn a_field_cannot_end_its_line_early() {
        let mut out = Vec::new();
        assert_eq!(push_field(&mut out, "X-A", b"one\r\nHost: evil"), Err(FieldError::Value));
        assert_eq!(push_field(&mut out, "X-A", b"one\0"), Err(FieldError::Value));
        assert_eq!(push_field(&mut out, "X-A", b" one"), Err(FieldError::Value));
        assert_eq!(push_field(&mut out, "X A", b"one"), Err(FieldError::Name));
        assert_eq!(push_field(&mut out, "", b"one"), Err(FieldError::Name));
        assert!(out.is_empty());
        assert_eq!(push_field(&mut out, "X-A", b"one\ttwo"), Ok(()));
        assert_eq!(out, b"X-A: one\ttwo\r\n");
    }

    #[test]
    fn every_byte_is_a_value_byte_at_every_position_or_at_none() {
        for byte in 0..=255u8 {
            let allowed = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            for position in 0..20 {
                let mut value = [b'a'; 20];
                value[position] = byte;
                assert_eq!(value_end(&value), if allowed { 20 } else { position }, "{byte:#x} at {position}");
            }
        }
    }

    #[test]
    fn lists_skip_empty_elements() {
        let elements: Vec<&[u8]> = list_elements(b" a ,,\tb,c , ").collect();
        assert_eq!(elements, [b"a", b"b", b"c"]);
    }
}
