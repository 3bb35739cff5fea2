//! Diagnoses by DNS records and probes, and probes against a scripted web server.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread::JoinHandle;

use ringway_net::{RuntimeOptions, run};

use ringway_dns::testing::{Data, Server, ip};
use ringway_net::clock;

use super::probe::fetch;
use super::*;
use crate::limits::{CHALLENGE_PROBE_ADDRESSES_MAX, CHALLENGE_PROBE_BYTES_MAX};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

fn request() -> VerificationRequest {
    VerificationRequest {
        host: host("shop.example"),
        cname_target: None,
        public_addresses: vec!["192.0.2.1".parse().unwrap()],
        resolver: None,
        caa_identities: vec!["letsencrypt.org".to_owned()],
        is_ca_public: true,
        http_port: 80,
    }
}

fn to_target() -> VerificationRequest {
    VerificationRequest {
        cname_target: Some(host("edge.example")),
        public_addresses: Vec::new(),
        ..request()
    }
}

/// Looks the zone up at a scripted server.
fn records(request: &VerificationRequest, zone: Vec<(&'static str, Data)>) -> DnsRecords {
    let server = Server::zone(zone);
    DnsRecords::look_up(request, &server.resolver())
}

/// All probes have this outcome.
fn diagnosed(
    request: &VerificationRequest,
    zone: Vec<(&'static str, Data)>,
    outcome: ProbeOutcome,
) -> Verification {
    let records = records(request, zone);
    let probes = records.probe_addresses(request).into_iter();
    let probes = probes.map(|address| Probe { address, outcome, is_local: false }).collect();
    diagnose(request, records, probes, NOW)
}

/// The domain has these addresses, with the outcomes of their probes.
fn with_probes(request: &VerificationRequest, probed: &[(&'static str, ProbeOutcome)]) -> Verification {
    let zone = probed.iter().map(|(address, _)| ("shop.example", ip(address))).collect();
    let records = records(request, zone);
    let probes = records.probe_addresses(request).into_iter().map(|address| {
        let (_, outcome) = probed.iter().find(|(text, _)| address.ip().to_string() == *text).unwrap();
        Probe { address, outcome: *outcome, is_local: false }
    });
    let probes = probes.collect();
    diagnose(request, records, probes, NOW)
}

fn check(verification: &Verification, readiness: Readiness, advice: &[&str]) {
    assert_eq!(verification.readiness, readiness, "{}", verification.advice);
    for part in advice {
        assert!(verification.advice.contains(part), "{part:?} is not in {:?}", verification.advice);
    }
}

#[test]
fn a_reached_probe_is_ready() {
    for (request, zone) in [
        (request(), vec![("shop.example", ip("192.0.2.1"))]),
        // An unexpected address, such as that of a load balancer in front.
        (request(), vec![("shop.example", ip("203.0.113.9"))]),
        (
            VerificationRequest { public_addresses: Vec::new(), ..request() },
            vec![("shop.example", ip("203.0.113.9"))],
        ),
        (to_target(), vec![("shop.example", Data::Alias("edge.example")), ("edge.example", ip("192.0.2.1"))]),
    ] {
        let verification = diagnosed(&request, zone, ProbeOutcome::Reached);
        check(&verification, Readiness::Ready, &["points to this server"]);
        assert_eq!(verification.caa, CaaCheck::Allowed);
        assert_eq!(verification.checked_at, NOW);
    }
}

#[test]
fn names_the_record_to_create() {
    let verification = diagnosed(&request(), vec![], ProbeOutcome::Reached);
    check(&verification, Readiness::NoRecords, &["does not exist", "`shop.example A 192.0.2.1`"]);
    assert_eq!(verification.expected, [ExpectedRecord::Address("192.0.2.1".parse().unwrap())]);
    assert_eq!(verification.expected[0].to_string(), "A 192.0.2.1");
    assert_eq!(verification.caa, CaaCheck::Skipped);
    let only_caa = vec![("shop.example", Data::Caa(0, "issue", ";"))];
    check(
        &diagnosed(&request(), only_caa, ProbeOutcome::Reached),
        Readiness::NoRecords,
        &["has no A or AAAA record"],
    );
    let verification = diagnosed(&to_target(), vec![], ProbeOutcome::Reached);
    check(&verification, Readiness::NoRecords, &["`shop.example CNAME edge.example`"]);
    assert_eq!(verification.expected[0].to_string(), "CNAME edge.example");
    let dangling = vec![("shop.example", Data::Alias("old.example"))];
    let verification = diagnosed(&to_target(), dangling, ProbeOutcome::Reached);
    check(&verification, Readiness::NoRecords, &["alias of old.example, which has no address"]);
    assert_eq!(verification.found.aliases, ["old.example"]);
    let unknown = VerificationRequest { public_addresses: Vec::new(), ..request() };
    check(
        &diagnosed(&unknown, vec![], ProbeOutcome::Reached),
        Readiness::NoRecords,
        &["public address of this machine"],
    );
}

#[test]
fn one_wrong_address_is_enough_to_fail() {
    let probed = [("192.0.2.1", ProbeOutcome::Reached), ("2001:db8::bad", ProbeOutcome::OtherServer(404))];
    let verification = with_probes(&request(), &probed);
    check(&verification, Readiness::Elsewhere, &["status 404", "remove the AAAA record 2001:db8::bad."]);
    let alone = with_probes(&request(), &[("203.0.113.9", ProbeOutcome::OtherServer(404))]);
    check(&alone, Readiness::Elsewhere, &["remove the A record 203.0.113.9 and create the record `shop"]);
}

/// CAs prefer IPv6 and rarely fall back: a dead record costs an order.
#[test]
fn an_unexpected_dead_address_is_to_be_removed() {
    use ProbeOutcome::{InvalidResponse, NoRoute, Reached, Refused, TimedOut};
    for dead in [Refused, TimedOut, NoRoute, InvalidResponse] {
        // Also behind NAT, where our own address cannot be probed.
        for own in [Reached, TimedOut, Refused, NoRoute] {
            for (address, kind) in [("2001:db8::dead", "AAAA"), ("203.0.113.9", "A")] {
                let verification = with_probes(&request(), &[("192.0.2.1", own), (address, dead)]);
                check(
                    &verification,
                    Readiness::Unreachable,
                    &[&format!("remove the {kind} record {address}."), "PROXY_PUBLIC_ADDRESSES"],
                );
                assert!(!verification.advice.contains("create"), "{}", verification.advice);
            }
        }
    }
    // Expected addresses count even when unreachable from here, as behind NAT.
    let both = VerificationRequest {
        public_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..request()
    };
    for dead in [Refused, TimedOut, NoRoute] {
        check(&with_probes(&both, &[("192.0.2.1", Reached), ("2001:db8::1", dead)]), Readiness::Ready, &[]);
    }
    // The address of a load balancer is not local, and is accepted.
    check(
        &with_probes(&request(), &[("192.0.2.1", TimedOut), ("2001:db8::2", Reached)]),
        Readiness::Ready,
        &[],
    );
    // Without known public addresses, the probes decide.
    let unknown = VerificationRequest { public_addresses: Vec::new(), ..request() };
    let verification = with_probes(&unknown, &[("192.0.2.1", Reached), ("203.0.113.9", TimedOut)]);
    check(&verification, Readiness::Unreachable, &["remove the A record 203.0.113.9."]);
    assert!(!verification.advice.contains("PROXY_PUBLIC_ADDRESSES"));
}

#[test]
fn one_private_address_among_public_ones_is_to_be_removed() {
    let probed = [("192.0.2.1", ProbeOutcome::Reached), ("fd00::1", ProbeOutcome::Reached)];
    let verification = with_probes(&request(), &probed);
    check(&verification, Readiness::Unreachable, &["remove the AAAA record fd00::1"]);
}

#[test]
fn a_local_address_without_a_listener_is_named() {
    let request = VerificationRequest {
        public_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..request()
    };
    let zone = vec![("shop.example", ip("192.0.2.1")), ("shop.example", ip("2001:db8::1"))];
    let diagnosed = |is_v4_local, is_v6_local| {
        let records = records(&request, zone.clone());
        let probes = records.probe_addresses(&request).into_iter().map(|address| match address.is_ipv6() {
            true => Probe { address, outcome: ProbeOutcome::Refused, is_local: is_v6_local },
            false => Probe { address, outcome: ProbeOutcome::Reached, is_local: is_v4_local },
        });
        let probes = probes.collect();
        diagnose(&request, records, probes, NOW)
    };
    let advice =
        ["nothing listens there at port 80", "PROXY_HTTP_BIND", "remove the AAAA record 2001:db8::1"];
    check(&diagnosed(true, true), Readiness::Unreachable, &advice);
    // A refusal of a foreign address, or behind NAT, proves nothing.
    check(&diagnosed(true, false), Readiness::Ready, &[]);
    check(&diagnosed(false, true), Readiness::Ready, &[]);
}

#[test]
fn a_redirect_is_reported_as_such() {
    let zone = vec![("shop.example", ip("192.0.2.1"))];
    let verification = diagnosed(&request(), zone, ProbeOutcome::OtherServer(301));
    check(&verification, Readiness::Elsewhere, &["redirect", "/.well-known/acme-challenge/"]);
}

#[test]
fn behind_nat_matching_records_are_enough() {
    for outcome in [ProbeOutcome::Refused, ProbeOutcome::TimedOut, ProbeOutcome::NoRoute] {
        let fitting = vec![("shop.example", ip("192.0.2.1"))];
        check(&diagnosed(&request(), fitting, outcome), Readiness::Ready, &["NAT"]);
        let other = vec![("shop.example", ip("203.0.113.9"))];
        check(&diagnosed(&request(), other, outcome), Readiness::Unreachable, &["203.0.113.9", "create"]);
        let alias = vec![("shop.example", Data::Alias("edge.example")), ("edge.example", ip("203.0.113.9"))];
        check(&diagnosed(&to_target(), alias, outcome), Readiness::Ready, &["NAT"]);
        // Some providers publish the addresses of the target in place of a CNAME record.
        let flattened = vec![("shop.example", ip("203.0.113.9")), ("edge.example", ip("203.0.113.9"))];
        check(&diagnosed(&to_target(), flattened, outcome), Readiness::Ready, &[]);
    }
    let fitting = vec![("shop.example", ip("192.0.2.1"))];
    check(
        &diagnosed(&request(), fitting, ProbeOutcome::InvalidResponse),
        Readiness::Unreachable,
        &["does not speak HTTP"],
    );
}

#[test]
fn without_local_ipv6_the_ipv4_probe_decides() {
    let unknown = VerificationRequest { public_addresses: Vec::new(), ..request() };
    let probed = [("203.0.113.9", ProbeOutcome::Reached), ("2001:db8::1", ProbeOutcome::NoRoute)];
    check(&with_probes(&unknown, &probed), Readiness::Ready, &["by IPv4", "AAAA record 2001:db8::1"]);
    let only = with_probes(&unknown, &[("2001:db8::1", ProbeOutcome::NoRoute)]);
    check(&only, Readiness::Unreachable, &["no address of shop.example can be reached"]);
}

#[test]
fn a_public_ca_cannot_reach_a_private_address() {
    for address in [
        "10.1.2.3",
        "192.168.0.1",
        "172.31.255.255",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "fd00::1",
        "::1",
    ] {
        let zone = vec![("shop.example", ip(address))];
        let verification = diagnosed(&request(), zone.clone(), ProbeOutcome::Reached);
        check(&verification, Readiness::Unreachable, &[address, "upload a certificate"]);
        let own_ca = VerificationRequest { is_ca_public: false, ..request() };
        check(&diagnosed(&own_ca, zone, ProbeOutcome::Reached), Readiness::Ready, &[]);
    }
    for address in ["172.32.0.1", "100.128.0.1", "8.8.8.8", "2606:4700::1"] {
        let zone = vec![("shop.example", ip(address))];
        check(&diagnosed(&request(), zone, ProbeOutcome::Reached), Readiness::Ready, &[]);
    }
}

#[test]
fn a_local_shortage_does_not_fail_the_domain() {
    let zone = vec![("shop.example", ip("203.0.113.9"))];
    check(&diagnosed(&request(), zone, ProbeOutcome::NotSent), Readiness::NotChecked, &["retried"]);
}

#[test]
fn caa_is_checked_before_the_probe() {
    let zone = |data: Vec<Data>| {
        let mut zone = vec![("shop.example", ip("192.0.2.1"))];
        zone.extend(data.into_iter().map(|data| ("shop.example", data)));
        zone
    };
    let other = zone(vec![Data::Caa(0, "issue", "pki.goog")]);
    let verification = diagnosed(&request(), other.clone(), ProbeOutcome::Reached);
    check(
        &verification,
        Readiness::CaaForbids,
        &["of shop.example", "only pki.goog", "0 issue \"letsencrypt.org\""],
    );
    let no_ca = zone(vec![Data::Caa(0, "issue", ";")]);
    check(
        &diagnosed(&request(), no_ca.clone(), ProbeOutcome::Reached),
        Readiness::CaaForbids,
        &["allow no CA"],
    );
    let ours = zone(vec![Data::Caa(0, "issue", "letsencrypt.org")]);
    check(&diagnosed(&request(), ours, ProbeOutcome::Reached), Readiness::Ready, &[]);
    // The CAA identity of the CA is unknown.
    let unknown = VerificationRequest { caa_identities: Vec::new(), ..request() };
    let verification = diagnosed(&unknown, other, ProbeOutcome::Reached);
    check(&verification, Readiness::Ready, &[]);
    assert!(matches!(verification.caa, CaaCheck::Unclear { .. }));
    check(&diagnosed(&unknown, no_ca, ProbeOutcome::Reached), Readiness::CaaForbids, &[]);
}

#[test]
fn a_failing_resolver_is_reported() {
    let server = Server::new(|query| vec![query.servfail()]);
    let records = DnsRecords::look_up(&request(), &server.resolver());
    assert!(records.probe_addresses(&request()).is_empty());
    let verification = diagnose(&request(), records, Vec::new(), NOW);
    check(&verification, Readiness::DnsFailed, &["SERVFAIL"]);
    assert_eq!(verification.found.problem, Some(DnsError::ServerFailed));
}

#[test]
fn only_a_few_addresses_of_each_family_are_probed() {
    let mut zone = Vec::new();
    for n in 1..=9 {
        zone.push(("shop.example", ip(&format!("192.0.2.{n}"))));
        zone.push(("shop.example", ip(&format!("2001:db8::{n}"))));
    }
    let request = VerificationRequest { http_port: 8080, ..request() };
    let addresses = records(&request, zone).probe_addresses(&request);
    assert_eq!(addresses.len(), 2 * CHALLENGE_PROBE_ADDRESSES_MAX);
    assert!(addresses[0].is_ipv6(), "CAs prefer IPv6");
    assert!(addresses.iter().all(|address| address.port() == 8080));
    let expected: IpAddr = request.public_addresses[0];
    assert!(addresses.iter().all(|address| address.ip() != expected), "unexpected addresses first");
}

/// Web server that responds to one request.
struct Origin {
    address: SocketAddr,
    request: mpsc::Receiver<String>,
    thread: JoinHandle<()>,
}

impl Origin {
    fn sends(response: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, request) = mpsc::sync_channel(1);
        let response = response.into();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.extend_from_slice(&byte);
            }
            sender.send(String::from_utf8(head).unwrap()).unwrap();
            // The client may close before everything is sent.
            let _ = stream.write_all(&response);
            let _ = stream.shutdown(Shutdown::Both);
        });
        Self { address, request, thread }
    }
}

fn challenge() -> Challenge {
    Challenge { token: "ringway-probe-1".to_owned(), key_authorization: "ringway-probe-1.secret".to_owned() }
}

fn probed(response: &str) -> (ProbeOutcome, String) {
    let origin = Origin::sends(response);
    let address = origin.address;
    let probe = run(RuntimeOptions::default(), |_| async move {
        probe(&host("shop.example"), &challenge(), address).await
    });
    origin.thread.join().unwrap();
    (probe.unwrap().outcome, origin.request.recv().unwrap())
}

#[test]
fn requests_the_challenge_as_the_ca_does() {
    let (outcome, request) = probed("HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nringway-probe-1.secret");
    assert_eq!(outcome, ProbeOutcome::Reached);
    assert!(request.starts_with("GET /.well-known/acme-challenge/ringway-probe-1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nHost: shop.example\r\n"), "{request}");
}

#[test]
fn accepts_the_key_authorization_in_any_framing_only() {
    for (response, expected) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\nringway-probe-1.secret\r\n0\r\n\r\n",
            ProbeOutcome::Reached,
        ),
        ("HTTP/1.0 200 OK\r\n\r\nringway-probe-1.secret", ProbeOutcome::Reached),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ProbeOutcome::OtherServer(200)),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\nringway-probe-1.secret",
            ProbeOutcome::OtherServer(404),
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
            ProbeOutcome::OtherServer(301),
        ),
        // In the head it does not count.
        (
            "HTTP/1.1 200 OK\r\nX: ringway-probe-1.secret\r\nContent-Length: 0\r\n\r\n",
            ProbeOutcome::OtherServer(200),
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", ProbeOutcome::InvalidResponse),
        ("", ProbeOutcome::InvalidResponse),
    ] {
        assert_eq!(probed(response).0, expected, "{response:?}");
    }
}

#[test]
fn reads_a_bounded_response() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(CHALLENGE_PROBE_BYTES_MAX * 4));
    assert_eq!(probed(&endless).0, ProbeOutcome::OtherServer(200));
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(CHALLENGE_PROBE_BYTES_MAX * 4));
    assert_eq!(probed(&head).0, ProbeOutcome::InvalidResponse);
}

#[test]
fn distinguishes_a_closed_port_from_silence() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let closed =
        run(RuntimeOptions::default(), |_| async { probe(&host("a.example"), &challenge(), free).await });
    assert_eq!(closed.unwrap().outcome, ProbeOutcome::Refused);
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let outcome = run(RuntimeOptions::default(), |_| async {
        fetch(
            &host("a.example"),
            &challenge(),
            address,
            clock::now().after(std::time::Duration::from_millis(50)),
        )
        .await
    });
    assert_eq!(outcome.unwrap(), Err(ProbeOutcome::TimedOut));
}

#[test]
fn challenges_are_unique_path_segments() {
    let (one, other) = (Challenge::random().unwrap(), Challenge::random().unwrap());
    assert_ne!(one.token, other.token);
    assert!(
        one.key_authorization.starts_with(&one.token) && one.key_authorization.len() > one.token.len() + 60
    );
    // RFC 8555 §8.3: the alphabet of base64url.
    assert!(one.token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}
