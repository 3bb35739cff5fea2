//! Names of header fields that no stage may change: framing, hop-by-hop fields, and those of ringway itself.

/// Direction of a message whose header fields a stage changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The forwarded request.
    Request,
    /// The response, and local replies.
    Response,
}

impl Direction {
    /// Whether no stage may change fields of this name. Case and punctuation do not matter: many apps read
    /// `X_Tenant_ID` as `X-Tenant-ID`.
    pub fn protects(self, name: &str) -> bool {
        let fold = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
        let name: Vec<u8> = name.bytes().map(fold).collect();
        let has = |names: &[&str]| names.iter().any(|known| known.as_bytes() == name);
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix.as_bytes()));
        has(FRAMING)
            || begins(&["sec-websocket-"])
            || match self {
                Self::Request => has(OWN_REQUEST) || begins(&["x-forwarded", "x-client-cert"]),
                Self::Response => has(OWN_RESPONSE),
            }
    }
}

/// Framing and hop-by-hop fields (RFC 9110 §7.6.1), and what belongs to the connection.
const FRAMING: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields of requests that ringway sets, or that select what is asked for.
const OWN_REQUEST: &[&str] = &[
    "forwarded",
    "host",
    "max-forwards",
    "via",
    "x-original-host",
    "x-real-ip",
    "x-request-id",
    "x-tenant-id",
];

/// Fields of responses that ringway sets.
const OWN_RESPONSE: &[&str] = &["date", "via", "x-request-id"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_punctuation_do_not_matter() {
        for name in ["X-Tenant-ID", "x_tenant_id", "X.Real.IP", "Transfer-Encoding", "x-forwarded", "HOST"] {
            assert!(Direction::Request.protects(name), "{name}");
        }
        for name in ["X-User", "Authorization", "Cookie", "X-Forward", "Date"] {
            assert!(!Direction::Request.protects(name), "{name}");
        }
        for name in ["Date", "X-Request-Id", "content_length", "Sec-WebSocket-Accept", "TE"] {
            assert!(Direction::Response.protects(name), "{name}");
        }
        for name in ["Server", "Host", "X-Forwarded-For", "Set-Cookie"] {
            assert!(!Direction::Response.protects(name), "{name}");
        }
    }
}
