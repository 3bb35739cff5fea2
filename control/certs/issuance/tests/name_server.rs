//! The DNS client against the name server of pebble, a second implementation.

use ringway_dns::{DnsError, Resolver};

use super::*;

fn ips(texts: &[&str]) -> Vec<std::net::IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
#[ignore = "needs pebble: run by tests/check.sh"]
fn the_dns_client_understands_an_independent_name_server() {
    let pebble = Pebble::start(Habits::at(80));
    let names = pebble.names();
    let resolver = || Resolver::with(vec![names.dns], clock::now().after(Duration::from_secs(60)));
    assert_eq!(resolver().addresses(&host("any.example")).unwrap().addresses, ips(&["127.0.0.1"]));
    names.set_a("shop.example", &["192.0.2.1", "192.0.2.2"]);
    names.set_aaaa("shop.example", &["2001:db8::1"]);
    let mut found = resolver().addresses(&host("shop.example")).unwrap().addresses;
    found.sort();
    assert_eq!(found, ips(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]));
    names.set_cname("tenant.example", "shop.example");
    let lookup = resolver().addresses(&host("tenant.example")).unwrap();
    assert_eq!(lookup.aliases, ["shop.example"]);
    assert_eq!(lookup.addresses.len(), 3);
    names.set_caa("shop.example", "issue", "letsencrypt.org");
    let set = resolver().caa(&host("www.shop.example")).unwrap().unwrap();
    assert_eq!((set.at.as_str(), set.issuers()), ("shop.example", vec!["letsencrypt.org".to_owned()]));
    names.set_servfail("broken.example");
    assert_eq!(resolver().addresses(&host("broken.example")).unwrap_err(), DnsError::ServerFailed);
    names.clear_servfail("broken.example");
    names.set_default(None);
    assert!(resolver().addresses(&host("broken.example")).unwrap().addresses.is_empty());
    // The CA beside it responds over its own HTTPS.
    assert!(pebble.root().contains("BEGIN CERTIFICATE"));
}
