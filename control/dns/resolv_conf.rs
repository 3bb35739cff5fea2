//! Resolver addresses of `/etc/resolv.conf`.

use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};

/// Returns the name servers of `/etc/resolv.conf`: the first three, as the C library uses them.
pub(crate) fn servers() -> Vec<SocketAddr> {
    let mut text = String::new();
    let read = File::open("/etc/resolv.conf")
        .and_then(|file| file.take(RESOLV_CONF_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    parse(&text)
}

/// Far beyond any real file.
const RESOLV_CONF_BYTES_MAX: u64 = 64 * 1024;
/// resolv.conf(5): up to MAXNS (3) servers.
const SERVERS_MAX: usize = 3;

fn parse(text: &str) -> Vec<SocketAddr> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
            // `IpAddr` has no scope, so that `fe80::1%eth0` is skipped.
            address.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
        })
        .take(SERVERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parses_the_first_three_servers_only() {
        let text = "# nameserver 1.1.1.1\nsearch example.com\nnameserver 10.0.0.53\n  nameserver\t2001:db8::53 x\n\
                    nameserver\nnameserver fe80::1%eth0\nnameservers 9.9.9.9\nnameserver 9.9.9.9\nnameserver 8.8.8.8\n";
        let expected: Vec<SocketAddr> = ["10.0.0.53:53", "[2001:db8::53]:53", "9.9.9.9:53"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(parse(text), expected);
        assert!(parse("").is_empty());
    }
}
