//! Networks in CIDR form, for lists of trusted peers.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: an address and the length of its prefix (RFC 4632 §3.1). A bare address is a network of one
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix_bits: u8,
}

impl Cidr {
    /// Whether the network contains `address`. An IPv4-mapped address (`::ffff:a.b.c.d`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
                u32::from(ours) & mask == u32::from(theirs) & mask
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
                u128::from(ours) & mask == u128::from(theirs) & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl Cidr {
    /// Whether it is a network of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// The first and last address, as numbers.
    pub fn range(&self) -> (u128, u128) {
        let (address, bits) = match self.address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let host_bits = bits - u32::from(self.prefix_bits);
        let rest = u128::MAX.checked_shr(128 - host_bits).unwrap_or(0);
        (address & !rest, address | rest)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match prefix {
            None => bits_max,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= bits_max).ok_or(CidrError::Prefix)?
            }
            Some(_) => return Err(CidrError::Prefix),
        };
        Ok(Self { address, prefix_bits })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// Parse error of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CidrError {
    /// The part before `/` is not an IP address.
    Address,
    /// The part after `/` is not a number from 0 to 32 (IPv4) or 128 (IPv6).
    Prefix,
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "must begin with an IP address, as in 10.0.0.0/8 or fd00::/8",
            Self::Prefix => "must end in a prefix length from 0 to 32 (IPv4) or 128 (IPv6)",
        })
    }
}

impl std::error::Error for CidrError {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(network: &str, address: &str, inside: bool) {
        let cidr: Cidr = network.parse().unwrap();
        assert_eq!(cidr.contains(address.parse().unwrap()), inside, "{address} in {network}");
    }

    #[test]
    fn contains_addresses_with_its_prefix() {
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("fd00::/8", "fdff::1", true);
        check("fd00::/8", "fe80::1", false);
        check("::/0", "fe80::1", true);
        check("::1/128", "::1", true);
    }

    #[test]
    fn names_the_wrong_part() {
        assert_eq!("example".parse::<Cidr>(), Err(CidrError::Address));
        assert_eq!("10.0.0.0/33".parse::<Cidr>(), Err(CidrError::Prefix));
        assert_eq!("10.0.0.0/+8".parse::<Cidr>(), Err(CidrError::Prefix));
        assert_eq!("10.0.0.0/".parse::<Cidr>(), Err(CidrError::Prefix));
        assert_eq!("::/129".parse::<Cidr>(), Err(CidrError::Prefix));
    }
}
