//! Sets of networks: sorted ranges of addresses, searched by halves.

use std::net::IpAddr;

use ringway_model::Cidr;

/// Set of networks. An IPv4-mapped address (`::ffff:a.b.c.d`) counts as IPv4.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    v4: Box<[(u128, u128)]>,
    v6: Box<[(u128, u128)]>,
}

impl Networks {
    pub(crate) fn new(networks: &[Cidr]) -> Self {
        let of = |is_ipv4| joined(networks.iter().filter(|network| network.is_ipv4() == is_ipv4));
        Self { v4: of(true), v6: of(false) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in one of the networks. Logarithmic.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let (ranges, address) = match address.to_canonical() {
            IpAddr::V4(address) => (&self.v4, address.to_bits().into()),
            IpAddr::V6(address) => (&self.v6, address.to_bits()),
        };
        let behind = ranges.partition_point(|(first, _)| *first <= address);
        behind.checked_sub(1).is_some_and(|at| address <= ranges[at].1)
    }
}

/// Ranges of networks, sorted, with overlapping and adjacent ones joined.
fn joined<'n>(networks: impl Iterator<Item = &'n Cidr>) -> Box<[(u128, u128)]> {
    let mut ranges: Vec<_> = networks.map(Cidr::range).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::new(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn addresses_are_found_as_by_a_walk_over_all_networks() {
        let texts = [
            "10.0.0.0/8",
            "10.1.0.0/16",
            "192.0.2.7",
            "192.0.2.8/29",
            "2001:db8::/32",
            "::1",
            "0.0.0.0/32",
            "255.255.255.255",
            "203.0.113.0/25",
            "203.0.113.128/25",
        ];
        let (set, all) = (networks(&texts), texts.map(|text| text.parse::<Cidr>().unwrap()));
        for address in [
            "9.255.255.255",
            "10.0.0.0",
            "10.1.2.3",
            "10.255.255.255",
            "11.0.0.0",
            "192.0.2.6",
            "192.0.2.7",
            "192.0.2.8",
            "192.0.2.15",
            "192.0.2.16",
            "2001:db8::",
            "2001:db8:ffff::1",
            "2001:db9::",
            "::1",
            "::2",
            "0.0.0.0",
            "0.0.0.1",
            "255.255.255.255",
            "203.0.113.127",
            "203.0.113.128",
            "203.0.114.0",
            "::ffff:10.0.0.1",
            "::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ] {
            let address: IpAddr = address.parse().unwrap();
            let expected = all.iter().any(|network| network.contains(address));
            assert_eq!(set.contains(address), expected, "{address}");
        }
        assert!(networks(&["0.0.0.0/0"]).contains(IpAddr::from([1, 2, 3, 4])));
        assert!(!networks(&["0.0.0.0/0"]).contains("2001:db8::1".parse().unwrap()));
        assert!(networks(&["::/0"]).contains("2001:db8::1".parse().unwrap()));
        assert!(!networks(&[]).contains(IpAddr::from([1, 2, 3, 4])) && networks(&[]).is_empty());
    }
}
