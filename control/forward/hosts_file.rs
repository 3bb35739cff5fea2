//! The hosts file of the machine.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;

use ahash::RandomState;

/// Addresses by name, in lower case.
#[derive(Debug, Default)]
pub(crate) struct HostsFile(HashMap<Box<str>, Vec<IpAddr>, RandomState>);

impl HostsFile {
    /// Reads `/etc/hosts`; empty where there is none.
    pub(crate) fn read() -> Self {
        let mut text = String::new();
        let read = File::open("/etc/hosts").and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
        if read.is_err() {
            return Self::default();
        }
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut names: HashMap<Box<str>, Vec<IpAddr>, RandomState> = HashMap::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
            for name in words {
                let addresses = names.entry(name.to_ascii_lowercase().into()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(names)
    }

    /// Addresses of a name. `localhost` and the names below it are the machine itself, whatever the file has
    /// (RFC 6761 §6.3).
    pub(crate) fn find(&self, name: &str) -> Option<Arc<[IpAddr]>> {
        if name == "localhost" || name.ends_with(".localhost") {
            return Some([IpAddr::from([127, 0, 0, 1])].into());
        }
        self.0.get(name).map(|addresses| addresses.as_slice().into())
    }
}

/// 1 MiB: far beyond any real file.
const BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_all_their_addresses_and_localhost_is_this_machine() {
        let hosts = HostsFile::parse(
            "# x\n192.0.2.1 A.example b.example # c.example\n::1 a.example\nnot an address\n",
        );
        let found = |name: &str| hosts.find(name).map(|addresses| addresses.len());
        assert_eq!(found("a.example"), Some(2));
        assert_eq!(found("b.example"), Some(1));
        assert_eq!(found("c.example"), None);
        assert_eq!(found("address"), None);
        assert_eq!(hosts.find("x.localhost").as_deref(), Some(&[IpAddr::from([127, 0, 0, 1])][..]));
    }
}
