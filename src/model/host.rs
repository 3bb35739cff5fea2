//! Normalised host names.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::limits;

/// A DNS name in its normal form, for matching, logs and upstream requests: lower case, A-labels, no trailing
/// dot, no port.
///
/// The hot path does not create any: `wire` normalises the bytes of a request in place, and tables are looked
/// up by `&str`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Parses and normalises a name: any case, one trailing dot, U-labels (`bücher.example`).
    ///
    /// # Errors
    /// The text has a port, a path, a wildcard, an IP address, an empty or overlong label, an underscore, or
    /// no IDNA form.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.len() > limits::HOST_BYTES_MAX * 4 {
            return Err(HostError::TooLong);
        }
        if text.contains("://") || text.contains('/') {
            return Err(HostError::Url);
        }
        if text.contains('*') {
            return Err(HostError::Wildcard);
        }
        if text.parse::<std::net::IpAddr>().is_ok() || text.starts_with('[') {
            return Err(HostError::Address);
        }
        if text.contains(':') {
            return Err(HostError::Port);
        }
        let name = idna::domain_to_ascii_strict(text).map_err(|_| HostError::Name)?;
        if name.len() > limits::HOST_BYTES_MAX {
            return Err(HostError::TooLong);
        }
        // `1.2.3.0x4` and the like are addresses to some resolvers (WHATWG URL §3.5, "ends in a number").
        let last = name.rsplit('.').next().unwrap_or(&name);
        if last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x") {
            return Err(HostError::Address);
        }
        Ok(Self(name.into()))
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The normalised name, to share.
    pub fn as_arc(&self) -> &Arc<str> {
        &self.0
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hostname({})", self.0)
    }
}

/// Parse error of a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Empty, or a dot only.
    Empty,
    /// Longer than [`limits::HOST_BYTES_MAX`] in its A-label form.
    TooLong,
    /// A URL or a path.
    Url,
    /// A port was given.
    Port,
    /// A wildcard: each name is registered by itself.
    Wildcard,
    /// An IP address.
    Address,
    /// Not a valid name (RFC 1123 §2.1, UTS 46 strict).
    Name,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong => write!(f, "must not be longer than {} bytes", limits::HOST_BYTES_MAX),
            Self::Url => f.write_str("must be a bare domain name such as shop.example.com, without scheme or path"),
            Self::Port => f.write_str("must be a bare domain name, without a port"),
            Self::Wildcard => f.write_str("must not contain a wildcard; register each name by itself"),
            Self::Address => f.write_str("must be a domain name, not an IP address"),
            Self::Name => f.write_str(
                "is not a valid domain name (labels of 1 to 63 letters, digits and inner hyphens, joined by dots)",
            ),
        }
    }
}

impl std::error::Error for HostError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, HostError>) {
        assert_eq!(
            Hostname::parse(text).as_ref().map(Hostname::as_str).map_err(|e| *e),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn normalises_case_dot_and_idna() {
        check("Shop.Example.COM", Ok("shop.example.com"));
        check("shop.example.com.", Ok("shop.example.com"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("localhost", Ok("localhost"));
        check("tenant-1.app1.com", Ok("tenant-1.app1.com"));
    }

    #[test]
    fn refuses_invalid_names() {
        check("", Err(HostError::Empty));
        check(".", Err(HostError::Empty));
        check("https://a.example", Err(HostError::Url));
        check("a.example/x", Err(HostError::Url));
        check("a.example:80", Err(HostError::Port));
        check("*.a.example", Err(HostError::Wildcard));
        check("10.0.0.1", Err(HostError::Address));
        check("::1", Err(HostError::Address));
        check("[::1]", Err(HostError::Address));
        check("10.0.1", Err(HostError::Address));
        check("a.0x1f", Err(HostError::Address));
        for name in
            ["a..b", "-a.example", "a-.example", "a_b.example", "a b.example", "a\r\n.example", "..", "a\0b"]
        {
            check(name, Err(HostError::Name));
        }
        check(&format!("{}.example", "a".repeat(64)), Err(HostError::Name));
        check(&format!("{}.example", "a".repeat(3000)), Err(HostError::TooLong));
    }
}
