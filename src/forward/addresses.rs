//! Addresses that a proxy never connects to on behalf of strangers, whatever name led there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reason why an address is forbidden; `None` for a public one. Each form of IPv6 that carries an address of
/// IPv4 is judged by that. Some nanoseconds.
pub fn forbidden(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

/// Special-purpose addresses of IPv4 (IANA registry), and one that Azure gives to its hosts.
const SPECIAL_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "shared by a carrier"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "special purpose"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmarks"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([168, 63, 129, 16], 32, "host of a cloud"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

fn forbidden_v4(address: Ipv4Addr) -> Option<&'static str> {
    let bits = u32::from(address);
    let is_in = |network: [u8; 4], len: u32| bits >> (32 - len) == u32::from_be_bytes(network) >> (32 - len);
    SPECIAL_V4.iter().find(|(network, len, _)| is_in(*network, *len)).map(|(_, _, reason)| *reason)
}

fn forbidden_v6(address: Ipv6Addr) -> Option<&'static str> {
    let bits = u128::from(address);
    let embedded = |shift: u32| Ipv4Addr::from((bits >> shift) as u32);
    if address.to_ipv4_mapped().is_some() {
        // Connected to, it is IPv4: a client writes it as that.
        return Some("mapped IPv4");
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, ..] => Some("unspecified, loopback or compatible with IPv4"),
        // NAT64 (RFC 6052): the network translates to the address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => forbidden_v4(embedded(0)),
        [0x64, 0xff9b, 1, ..] => Some("local NAT64"),
        [0x2002, ..] => Some("6to4"),
        [0x2001, 0, ..] => Some("Teredo"),
        [0x2001, second, ..] if second < 0x200 => Some("special purpose"),
        [0x2001, 0xdb8, ..] | [0x3fff, ..] => Some("documentation"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("unique local"),
        [first, ..] if first & 0xffc0 == 0xfe80 || first & 0xffc0 == 0xfec0 => Some("link-local"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("multicast"),
        [first, ..] if first & 0xe000 != 0x2000 => Some("not global unicast"),
        // ISATAP (RFC 5214 §6.1): the last four bytes are an address of IPv4.
        [.., fifth, 0x5efe, _, _] if fifth & 0xfdff == 0 => forbidden_v4(embedded(0)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "addresses_tests.rs"]
mod tests;
