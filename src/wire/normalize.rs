//! Normalisation of the authority (host and port) for routing, logs and the upstream request.
//!
//! Routing attacks use two spellings of one name. The name is normalised once, here, and later code never
//! uses the received bytes. There is no IDNA: browsers send A-labels, and other bytes are rejected.

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;

/// Normalised host and optional port in an inline buffer, without allocation.
///
/// The host is lower case, without a trailing dot; an IPv6 address stands in brackets in the form of RFC
/// 5952.
#[derive(Clone, Copy)]
pub struct Authority {
    bytes: [u8; HOST_BYTES_MAX],
    len: u8,
    port: Option<u16>,
}

impl Authority {
    /// Parses `host [":" port]` (RFC 9110 §7.2, RFC 3986 §3.2.2 and §3.2.3).
    ///
    /// An empty port is no port. Rejected, since no DNS name or address has them: user information,
    /// percent-encoding, sub-delimiters, non-ASCII bytes, zone identifiers, empty labels (but for one
    /// trailing dot), labels over 63 or names over 253 bytes, port 0 or above 65535.
    ///
    /// # Errors
    /// [`AuthorityError`] names the invalid part.
    pub fn parse(text: &[u8]) -> Result<Self, AuthorityError> {
        let mut authority = Self::default();
        authority.read(text)?;
        Ok(authority)
    }

    /// As [`Authority::parse`], in place of the present value; an error leaves the default.
    pub(crate) fn read(&mut self, text: &[u8]) -> Result<(), AuthorityError> {
        self.clear();
        self.fill(text).inspect_err(|_| self.clear())
    }

    /// Sets the parts of an empty authority.
    fn fill(&mut self, text: &[u8]) -> Result<(), AuthorityError> {
        let rest = match text {
            [b'[', rest @ ..] => self.take_ipv6(rest)?,
            _ => self.take_name(text)?,
        };
        self.port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return Err(AuthorityError::Host),
        };
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.port = None;
    }

    /// Returns the host; empty only in the default value.
    pub fn host(&self) -> &str {
        // Only ASCII is ever written into the buffer; the check is a few nanoseconds.
        std::str::from_utf8(self.host_bytes()).unwrap_or_default()
    }

    /// As [`host`](Self::host), without the check that it is ASCII.
    pub(crate) fn host_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// Returns the port, if the authority has one.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    fn take_ipv6<'a>(&mut self, rest: &'a [u8]) -> Result<&'a [u8], AuthorityError> {
        let end = rest.iter().position(|&b| b == b']').ok_or(AuthorityError::Host)?;
        let text = std::str::from_utf8(&rest[..end]).map_err(|_| AuthorityError::Host)?;
        let address: Ipv6Addr = text.parse().map_err(|_| AuthorityError::Host)?;
        write!(self, "[{address}]").map_err(|fmt::Error| AuthorityError::Host)?;
        Ok(&rest[end + 1..])
    }

    fn take_name<'a>(&mut self, text: &'a [u8]) -> Result<&'a [u8], AuthorityError> {
        let mut end = 0;
        // Start of the present label.
        let mut label = 0;
        for (slot, &byte) in self.bytes.iter_mut().zip(text) {
            let fold = HOST_FOLD[usize::from(byte)];
            if fold == 0 {
                break;
            }
            if fold == b'.' {
                if label == end {
                    return Err(AuthorityError::Host);
                }
                label = end + 1;
            } else if end - label == LABEL_BYTES_MAX {
                return Err(AuthorityError::Host);
            }
            *slot = fold;
            end += 1;
        }
        let len = if end > 0 && label == end { end - 1 } else { end };
        // The buffer has room for the longest name and its trailing dot: a longer one ends within a name.
        let is_cut = text.get(end).is_some_and(|byte| HOST_FOLD[usize::from(*byte)] != 0);
        if len == 0 || len > HOST_BYTES_MAX - 1 || is_cut {
            return Err(AuthorityError::Host);
        }
        self.len = len as u8;
        Ok(&text[end..])
    }
}

impl fmt::Write for Authority {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = self.len as usize;
        let slot = self.bytes.get_mut(start..start + text.len()).ok_or(fmt::Error)?;
        slot.copy_from_slice(text.as_bytes());
        self.len += text.len() as u8;
        Ok(())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self { bytes: [0; HOST_BYTES_MAX], len: 0, port: None }
    }
}

impl PartialEq for Authority {
    fn eq(&self, other: &Self) -> bool {
        self.host() == other.host() && self.port == other.port
    }
}

impl Eq for Authority {}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host())?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({self})")
    }
}

/// Invalid part of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthorityError {
    /// Neither a DNS name nor an address (RFC 3986 §3.2.2).
    Host,
    /// Not a number from 1 to 65535 (RFC 3986 §3.2.3).
    Port,
}

impl fmt::Display for AuthorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is neither a DNS name nor an address",
            Self::Port => "the port is not a number from 1 to 65535",
        })
    }
}

impl std::error::Error for AuthorityError {}

fn parse_port(digits: &[u8]) -> Result<u16, AuthorityError> {
    if digits.len() > 5 {
        return Err(AuthorityError::Port);
    }
    let mut port: u32 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return Err(AuthorityError::Port);
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    u16::try_from(port).ok().filter(|&port| port != 0).ok_or(AuthorityError::Port)
}

/// 253 bytes of a DNS name in text form (RFC 1035 §2.3.4: 255 on the wire), and its trailing dot.
const HOST_BYTES_MAX: usize = 254;

/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// Lower-case form of each byte that is valid in a name, 0 for all others. Underscores are accepted: RFC 952
/// excludes them, but they are in use, and the router rejects unknown names.
static HOST_FOLD: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        if b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_' {
            table[byte] = b.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn spellings_of_a_name_have_one_normal_form() {
        for (text, expected) in [
            ("shop.example.com", "shop.example.com"),
            ("SHOP.Example.COM", "shop.example.com"),
            ("shop.example.com.", "shop.example.com"),
            ("shop.example.com.:443", "shop.example.com:443"),
            ("shop.example.com:8080", "shop.example.com:8080"),
            ("shop.example.com:00080", "shop.example.com:80"),
            ("shop.example.com:", "shop.example.com"),
            ("a_b.example", "a_b.example"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]", "[::1]"),
            ("[2001:DB8:0:0:0:0:0:1]:8443", "[2001:db8::1]:8443"),
            ("localhost", "localhost"),
            ("a:65535", "a:65535"),
        ] {
            assert_eq!(Authority::parse(text.as_bytes()).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn invalid_hosts_are_refused() {
        for text in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            ":80",
            "a b",
            "a/b",
            "a@b",
            "user:pw@a",
            "a%20b",
            "a,b",
            "a;b",
            "b\u{fc}cher",
            "a\tb",
            "a\0",
            "[::1",
            "[::1]x",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[]",
            "::1",
            "a:b",
            "[127.0.0.1]",
            "*",
        ] {
            assert!(Authority::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["a:0", "a:65536", "a:-1", "a:+1", "a:1 ", "a:123456", "a:1:2", "[::1]:99999"] {
            assert_eq!(Authority::parse(text.as_bytes()), Err(AuthorityError::Port), "{text:?}");
        }
    }

    #[test]
    fn labels_and_names_are_bounded() {
        let label = |n| "a".repeat(n);
        assert!(Authority::parse(format!("{}.b", label(63)).as_bytes()).is_ok());
        assert!(Authority::parse(format!("{}.b", label(64)).as_bytes()).is_err());
        let name = |last| format!("{0}.{0}.{0}.{1}", label(63), label(last));
        assert_eq!(name(61).len(), 253);
        assert_eq!(Authority::parse(name(61).as_bytes()).unwrap().host(), name(61));
        assert_eq!(Authority::parse(format!("{}.", name(61)).as_bytes()).unwrap().host(), name(61));
        assert!(Authority::parse(name(62).as_bytes()).is_err());
        assert!(Authority::parse(format!("{}.", name(62)).as_bytes()).is_err());
    }
}
