//! Host of a target: a name, or an address in its one form.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Host of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// Name that has to be resolved: lower case, without a trailing dot.
    Name(&'a str),
    /// Address.
    Address(IpAddr),
}

/// A name that some resolvers read as an address: `2130706433`, `127.1`, `0x7f.1`, `01.2.3.4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NumericName;

impl<'a> Host<'a> {
    /// Reads a host as `wire` has normalised it.
    ///
    /// # Errors
    /// [`NumericName`]: its last label is a number, and it is no address of four decimal parts.
    pub fn parse(host: &'a str) -> Result<Self, NumericName> {
        if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return inner
                .parse::<Ipv6Addr>()
                .map(|address| Self::Address(address.into()))
                .map_err(|_| NumericName);
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let last = host.rsplit('.').next().unwrap_or_default();
        if host.is_empty() || is_number(last) { Err(NumericName) } else { Ok(Self::Name(host)) }
    }

    /// The name; `None` for an address.
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }
}

/// Whether a label ends a name that is a number by the URL standard: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let digits = |text: &str, is_digit: fn(&u8) -> bool| text.as_bytes().iter().all(is_digit);
    match label.strip_prefix("0x").or_else(|| label.strip_prefix("0X")) {
        Some(hex) => digits(hex, u8::is_ascii_hexdigit),
        None => digits(label, u8::is_ascii_digit),
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for NumericName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host looks like an address in another form than 192.0.2.1")
    }
}

impl std::error::Error for NumericName {}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
