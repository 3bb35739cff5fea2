//! Lookups against a scripted name server.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};

use domain::base::Rtype;
use domain::base::iana::Rcode;

use super::*;
use crate::testing::{Data, Server, ip};

fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn looks_up_addresses_of_both_families() {
    let server = Server::zone(vec![
        ("a.example", ip("192.0.2.1")),
        ("a.example", ip("192.0.2.2")),
        ("a.example", ip("192.0.2.1")),
        ("a.example", ip("2001:db8::1")),
    ]);
    let lookup = server.resolver().addresses(&host("a.example")).unwrap();
    assert_eq!(lookup.addresses, ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    assert!(lookup.aliases.is_empty() && !lookup.is_nxdomain);
}

#[test]
fn distinguishes_nxdomain_from_no_data() {
    let server = Server::zone(vec![("a.example", Data::Caa(0, "issue", "x"))]);
    let none = server.resolver().addresses(&host("b.example")).unwrap();
    assert!(none.is_nxdomain && none.addresses.is_empty());
    let empty = server.resolver().addresses(&host("a.example")).unwrap();
    assert!(!empty.is_nxdomain && empty.addresses.is_empty());
}

#[test]
fn follows_aliases_within_one_response_and_across_several() {
    let chain = vec![
        ("shop.example", Data::Alias("Edge.Example")),
        ("edge.example", Data::Alias("pool.example")),
        ("pool.example", ip("192.0.2.7")),
    ];
    // An authoritative server: one response per name.
    let server = Server::zone(chain.clone());
    let lookup = server.resolver().addresses(&host("shop.example")).unwrap();
    assert_eq!(lookup.aliases, ["edge.example", "pool.example"]);
    assert_eq!(lookup.addresses, ips(&["192.0.2.7"]));
    // A recursive resolver: the whole chain in one response.
    let whole = Server::new(move |query| {
        let records: Vec<_> = chain.iter().filter(|_| query.record_type == Rtype::A).cloned().collect();
        vec![query.response(Rcode::NOERROR, &records)]
    });
    let lookup = whole.resolver().addresses(&host("shop.example")).unwrap();
    assert_eq!(lookup.aliases, ["edge.example", "pool.example"]);
    assert_eq!(lookup.addresses, ips(&["192.0.2.7"]));
    assert_eq!(whole.queries().len(), 2, "one query per family");
}

#[test]
fn an_alias_of_a_missing_name_is_nxdomain() {
    let server = Server::zone(vec![("shop.example", Data::Alias("gone.example"))]);
    let lookup = server.resolver().addresses(&host("shop.example")).unwrap();
    assert!(lookup.is_nxdomain);
    assert_eq!(lookup.aliases, ["gone.example"]);
}

#[test]
fn alias_loops_are_detected() {
    let server = Server::zone(vec![
        ("a.example", Data::Alias("b.example")),
        ("b.example", Data::Alias("a.example")),
        ("self.example", Data::Alias("self.example")),
        ("into.example", Data::Alias("b.example")),
    ]);
    for name in ["a.example", "self.example", "into.example"] {
        let error = server.resolver().addresses(&host(name)).unwrap_err();
        assert!(matches!(error, DnsError::Loop(_)), "{name}: {error}");
    }
    let both = Server::new(|query| {
        vec![query.response(
            Rcode::NOERROR,
            &[("a.example", Data::Alias("b.example")), ("b.example", Data::Alias("a.example"))],
        )]
    });
    assert!(matches!(both.resolver().addresses(&host("a.example")).unwrap_err(), DnsError::Loop(_)));
}

#[test]
fn the_alias_limit_is_exact() {
    let name = |n: usize| &*Box::leak(format!("n{n}.example").into_boxed_str());
    let chain = |length: usize| {
        let mut records: Vec<_> = (0..length).map(|n| (name(n), Data::Alias(name(n + 1)))).collect();
        records.push((name(length), ip("192.0.2.1")));
        Server::zone(records)
    };
    let lookup = chain(DNS_ALIASES_MAX).resolver().addresses(&host("n0.example")).unwrap();
    assert_eq!(lookup.addresses.len(), 1);
    let error = chain(DNS_ALIASES_MAX + 1).resolver().addresses(&host("n0.example")).unwrap_err();
    assert_eq!(error, DnsError::TooManyAliases);
}

#[test]
fn a_truncated_response_is_repeated_over_tcp() {
    let server = Server::new(|query| {
        if query.is_tcp {
            let many: Vec<_> = (1..=40).map(|n| ("a.example", ip(&format!("192.0.2.{n}")))).collect();
            let records = if query.record_type == Rtype::A { &many[..] } else { &[] };
            vec![query.response(Rcode::NOERROR, records)]
        } else {
            vec![query.truncated()]
        }
    });
    let lookup = server.resolver().addresses(&host("a.example")).unwrap();
    assert_eq!(lookup.addresses.len(), DNS_ADDRESSES_MAX, "bounded");
    let queries = server.queries();
    assert_eq!(queries[..2], ["udp A a.example", "tcp A a.example"]);
}

#[test]
fn responses_to_other_queries_are_ignored() {
    let server = Server::new(|query| {
        let wrong = ip("203.0.113.66");
        let mut other_id = query.response(Rcode::NOERROR, &[("a.example", wrong.clone())]);
        other_id[0] ^= 0xff;
        let mut no_response_bit = query.response(Rcode::NOERROR, &[("a.example", wrong.clone())]);
        no_response_bit[2] &= 0x7f;
        // The right id, but another name in the question section.
        let mut other_name = query.response(Rcode::NOERROR, &[("b.example", wrong)]);
        other_name[13] = b'b';
        let right = if query.record_type == Rtype::A { vec![("a.example", ip("192.0.2.1"))] } else { vec![] };
        vec![vec![0; 3], other_id, no_response_bit, other_name, query.response(Rcode::NOERROR, &right)]
    });
    let lookup = server.resolver().addresses(&host("a.example")).unwrap();
    assert_eq!(lookup.addresses, ips(&["192.0.2.1"]));
}

#[test]
fn records_of_other_owners_are_ignored() {
    let server = Server::new(|query| {
        vec![query.response(
            Rcode::NOERROR,
            &[("evil.example", ip("203.0.113.66")), ("evil.example", ip("2001:db8::66"))],
        )]
    });
    assert!(server.resolver().addresses(&host("a.example")).unwrap().addresses.is_empty());
}

#[test]
fn a_flood_of_mismatched_datagrams_ends() {
    let server = Server::new(|query| {
        let mut wrong = query.response(Rcode::NOERROR, &[]);
        wrong[0] ^= 0xff;
        vec![wrong; 40]
    });
    assert_eq!(server.resolver().addresses(&host("a.example")).unwrap_err(), DnsError::Malformed);
}

#[test]
fn resolver_failures_are_classified() {
    for (rcode, expected) in [
        (Rcode::SERVFAIL, DnsError::ServerFailed),
        (Rcode::REFUSED, DnsError::Refused),
        (Rcode::FORMERR, DnsError::ServerFailed),
    ] {
        let server = Server::new(move |query| vec![query.response(rcode, &[])]);
        assert_eq!(server.resolver().addresses(&host("a.example")).unwrap_err(), expected);
        assert_eq!(server.queries().len(), DNS_TRIES, "retried first");
    }
}

#[test]
fn the_next_server_is_queried_after_a_failure() {
    let broken = Server::new(|query| vec![query.response(Rcode::SERVFAIL, &[])]);
    let sound = Server::zone(vec![("a.example", ip("192.0.2.1"))]);
    let deadline = clock::now().after(Duration::from_secs(60));
    let resolver = Resolver::with(vec![broken.address, sound.address], deadline);
    assert_eq!(resolver.addresses(&host("a.example")).unwrap().addresses, ips(&["192.0.2.1"]));
}

#[test]
fn silence_is_a_timeout_and_a_closed_port_unreachable() {
    let silent = Server::new(|_| vec![]);
    let soon = clock::now().after(Duration::from_millis(100));
    let resolver = Resolver::with(vec![silent.address], soon);
    assert_eq!(resolver.addresses(&host("a.example")).unwrap_err(), DnsError::TimedOut);
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let resolver = Resolver::with(vec![free], clock::now().after(Duration::from_secs(60)));
    assert_eq!(resolver.addresses(&host("a.example")).unwrap_err(), DnsError::Unreachable(free));
    let no_server = Resolver::with(Vec::new(), Tick::NEVER);
    assert_eq!(no_server.addresses(&host("a.example")).unwrap_err(), DnsError::NoServer);
}

#[test]
fn malformed_records_are_rejected() {
    // A compression pointer to itself, a record longer than the message, a count beyond the records.
    let breakers: [fn(&mut Vec<u8>); 4] = [
        |response| {
            let at = response.len();
            response.extend_from_slice(&[
                0xc0,
                u8::try_from(at).unwrap(),
                0,
                1,
                0,
                1,
                0,
                0,
                0,
                60,
                0,
                4,
                1,
                2,
                3,
                4,
            ]);
            response[7] = 1;
        },
        |response| {
            response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 1, 2]);
            response[7] = 1;
        },
        |response| response[6..8].copy_from_slice(&[0xff, 0xff]),
        |response| {
            response.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 3, 1, 2, 3]);
            response[7] = 1;
        },
    ];
    for (index, breaker) in breakers.into_iter().enumerate() {
        let server = Server::new(move |query| {
            let mut response = query.response(Rcode::NOERROR, &[]);
            breaker(&mut response);
            vec![response]
        });
        assert_eq!(
            server.resolver().addresses(&host("a.example")).unwrap_err(),
            DnsError::Malformed,
            "{index}"
        );
    }
}

#[test]
fn the_nearest_caa_set_is_relevant() {
    let server = Server::zone(vec![
        ("example", Data::Caa(0, "issue", "top.test")),
        ("shop.example", Data::Caa(0, "issue", "letsencrypt.org")),
        ("shop.example", Data::Caa(128, "Iodef", "mailto:x@shop.example")),
        ("a.b.shop.example", ip("192.0.2.1")),
    ]);
    let set = server.resolver().caa(&host("a.b.shop.example")).unwrap().unwrap();
    assert_eq!(set.at, "shop.example");
    assert_eq!(set.records.len(), 2);
    assert!(set.records[1].is_critical && set.records[1].tag == "iodef");
    assert!(set.allows(&["letsencrypt.org".to_owned()]));
    assert_eq!(
        server.queries(),
        ["udp CAA a.b.shop.example", "udp CAA b.shop.example", "udp CAA shop.example"]
    );
    assert_eq!(server.resolver().caa(&host("a.other")).unwrap(), None);
    assert_eq!(server.resolver().caa(&host("localhost")).unwrap(), None);
}

#[test]
fn caa_records_behind_an_alias_belong_to_the_name() {
    let by_name: HashMap<&str, Vec<(&str, Data)>> = HashMap::from([(
        "shop.example",
        vec![("shop.example", Data::Alias("edge.other")), ("edge.other", Data::Caa(0, "issue", ";"))],
    )]);
    let server = Server::new(move |query| {
        let records = by_name.get(query.name.as_str()).map_or(&[][..], Vec::as_slice);
        vec![query.response(Rcode::NOERROR, records)]
    });
    let set = server.resolver().caa(&host("shop.example")).unwrap().unwrap();
    assert_eq!(set.at, "shop.example");
    assert!(set.forbids_all());
}

#[test]
fn a_failed_caa_lookup_is_an_error() {
    let server = Server::new(|query| vec![query.response(Rcode::SERVFAIL, &[])]);
    assert_eq!(server.resolver().caa(&host("a.example")).unwrap_err(), DnsError::ServerFailed);
}
