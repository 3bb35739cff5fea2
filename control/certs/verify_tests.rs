#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::sync::mpsc;
use std::thread::JoinHandle;

use ringway_net::{RuntimeOptions, run};

use super::*;
use crate::dns::tests::{Data, Server, ip};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

fn question() -> Question {
    Question {
        host: host("shop.example"),
        cname_target: None,
        public_addresses: vec!["192.0.2.1".parse().unwrap()],
        resolver: None,
        caa_identities: vec!["letsencrypt.org".to_owned()],
        is_ca_public: true,
        http_port: 80,
    }
}

fn to_target() -> Question {
    Question { cname_target: Some(host("edge.example")), public_addresses: Vec::new(), ..question() }
}

/// What DNS says, by a scripted server.
fn records(question: &Question, zone: Vec<(&'static str, Data)>) -> Records {
    let server = Server::zone(zone);
    Records::look_up(question, &server.resolver())
}

/// Every address that would be probed has this outcome.
fn judged(question: &Question, zone: Vec<(&'static str, Data)>, outcome: ProbeOutcome) -> Verification {
    let records = records(question, zone);
    let probes = records.probe_addresses(question).into_iter();
    let probes = probes.map(|address| Probe { address, outcome, is_local: false }).collect();
    judge(question, records, probes, NOW)
}

/// These addresses, each with what its probe found.
fn with_probes(question: &Question, probed: &[(&'static str, ProbeOutcome)]) -> Verification {
    let zone = probed.iter().map(|(address, _)| ("shop.example", ip(address))).collect();
    let records = records(question, zone);
    let probes = records.probe_addresses(question).into_iter().map(|address| {
        let (_, outcome) = probed.iter().find(|(text, _)| address.ip().to_string() == *text).unwrap();
        Probe { address, outcome: *outcome, is_local: false }
    });
    let probes = probes.collect();
    judge(question, records, probes, NOW)
}

fn check(verification: &Verification, verdict: Verdict, advice: &[&str]) {
    assert_eq!(verification.verdict, verdict, "{}", verification.advice);
    for part in advice {
        assert!(verification.advice.contains(part), "{part:?} is not in {:?}", verification.advice);
    }
}

#[test]
fn our_own_answer_is_enough() {
    for (question, zone) in [
        (question(), vec![("shop.example", ip("192.0.2.1"))]),
        // Not the expected address, such as that of a load balancer before us.
        (question(), vec![("shop.example", ip("203.0.113.9"))]),
        (Question { public_addresses: Vec::new(), ..question() }, vec![("shop.example", ip("203.0.113.9"))]),
        (to_target(), vec![("shop.example", Data::Alias("edge.example")), ("edge.example", ip("192.0.2.1"))]),
    ] {
        let verification = judged(&question, zone, ProbeOutcome::Ours);
        check(&verification, Verdict::Ready, &["leads here"]);
        assert_eq!(verification.caa, CaaVerdict::Allowed);
        assert_eq!(verification.checked_at, NOW);
    }
}

#[test]
fn says_which_record_to_create() {
    let verification = judged(&question(), vec![], ProbeOutcome::Ours);
    check(&verification, Verdict::NoRecords, &["does not exist", "`shop.example A 192.0.2.1`"]);
    assert_eq!(verification.expected, [ExpectedRecord::Address("192.0.2.1".parse().unwrap())]);
    assert_eq!(verification.expected[0].to_string(), "A 192.0.2.1");
    assert_eq!(verification.caa, CaaVerdict::Unasked);
    let only_caa = vec![("shop.example", Data::Caa(0, "issue", ";"))];
    check(
        &judged(&question(), only_caa, ProbeOutcome::Ours),
        Verdict::NoRecords,
        &["has no A or AAAA record"],
    );
    let verification = judged(&to_target(), vec![], ProbeOutcome::Ours);
    check(&verification, Verdict::NoRecords, &["`shop.example CNAME edge.example`"]);
    assert_eq!(verification.expected[0].to_string(), "CNAME edge.example");
    let dangling = vec![("shop.example", Data::Alias("old.example"))];
    let verification = judged(&to_target(), dangling, ProbeOutcome::Ours);
    check(&verification, Verdict::NoRecords, &["alias of old.example, which has no address"]);
    assert_eq!(verification.found.aliases, ["old.example"]);
    let unknown = Question { public_addresses: Vec::new(), ..question() };
    check(
        &judged(&unknown, vec![], ProbeOutcome::Ours),
        Verdict::NoRecords,
        &["public address of this machine"],
    );
}

#[test]
fn one_wrong_address_is_enough_for_a_no() {
    let probed = [("192.0.2.1", ProbeOutcome::Ours), ("2001:db8::bad", ProbeOutcome::Foreign(404))];
    let verification = with_probes(&question(), &probed);
    check(&verification, Verdict::Elsewhere, &["status 404", "remove the AAAA record 2001:db8::bad."]);
    let alone = with_probes(&question(), &[("203.0.113.9", ProbeOutcome::Foreign(404))]);
    check(&alone, Verdict::Elsewhere, &["remove the A record 203.0.113.9 and create the record `shop"]);
}

/// CAs prefer IPv6, and fall back rarely: a dead record costs an order.
#[test]
fn an_address_that_is_not_expected_and_does_not_answer_is_to_be_removed() {
    use ProbeOutcome::{Broken, NoRoute, Ours, Refused, TimedOut};
    for dead in [Refused, TimedOut, NoRoute, Broken] {
        // Also where nothing can be seen of our own address, behind NAT.
        for own in [Ours, TimedOut, Refused, NoRoute] {
            for (address, kind) in [("2001:db8::dead", "AAAA"), ("203.0.113.9", "A")] {
                let verification = with_probes(&question(), &[("192.0.2.1", own), (address, dead)]);
                check(
                    &verification,
                    Verdict::Unreachable,
                    &[&format!("remove the {kind} record {address}."), "PROXY_PUBLIC_ADDRESSES"],
                );
                assert!(!verification.advice.contains("create"), "{}", verification.advice);
            }
        }
    }
    // Expected addresses that cannot be reached from here are believed, as behind NAT.
    let both = Question {
        public_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..question()
    };
    for dead in [Refused, TimedOut, NoRoute] {
        check(&with_probes(&both, &[("192.0.2.1", Ours), ("2001:db8::1", dead)]), Verdict::Ready, &[]);
    }
    // An address of a balancer that leads here is no public address of ours, and as good.
    check(&with_probes(&question(), &[("192.0.2.1", TimedOut), ("2001:db8::2", Ours)]), Verdict::Ready, &[]);
    // Where nothing is known of our addresses, what can be tried from here decides.
    let unknown = Question { public_addresses: Vec::new(), ..question() };
    let verification = with_probes(&unknown, &[("192.0.2.1", Ours), ("203.0.113.9", TimedOut)]);
    check(&verification, Verdict::Unreachable, &["remove the A record 203.0.113.9."]);
    assert!(!verification.advice.contains("PROXY_PUBLIC_ADDRESSES"));
}

#[test]
fn one_private_address_among_public_ones_is_to_be_removed() {
    let probed = [("192.0.2.1", ProbeOutcome::Ours), ("fd00::1", ProbeOutcome::Ours)];
    let verification = with_probes(&question(), &probed);
    check(&verification, Verdict::Unreachable, &["remove the AAAA record fd00::1"]);
}

#[test]
fn an_own_address_without_a_listener_is_named_where_another_one_answers() {
    let question = Question {
        public_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ..question()
    };
    let zone = vec![("shop.example", ip("192.0.2.1")), ("shop.example", ip("2001:db8::1"))];
    let judged = |is_v4_local, is_v6_local| {
        let records = records(&question, zone.clone());
        let probes = records.probe_addresses(&question).into_iter().map(|address| match address.is_ipv6() {
            true => Probe { address, outcome: ProbeOutcome::Refused, is_local: is_v6_local },
            false => Probe { address, outcome: ProbeOutcome::Ours, is_local: is_v4_local },
        });
        let probes = probes.collect();
        judge(&question, records, probes, NOW)
    };
    let advice =
        ["nothing listens there at port 80", "PROXY_HTTP_BIND", "remove the AAAA record 2001:db8::1"];
    check(&judged(true, true), Verdict::Unreachable, &advice);
    // Of an address elsewhere, or behind NAT, a refusal says nothing.
    check(&judged(true, false), Verdict::Ready, &[]);
    check(&judged(false, true), Verdict::Ready, &[]);
}

#[test]
fn a_redirect_is_named_as_what_it_is() {
    let zone = vec![("shop.example", ip("192.0.2.1"))];
    let verification = judged(&question(), zone, ProbeOutcome::Foreign(301));
    check(&verification, Verdict::Elsewhere, &["redirect", "/.well-known/acme-challenge/"]);
}

#[test]
fn behind_nat_fitting_records_are_believed_and_others_are_not() {
    for outcome in [ProbeOutcome::Refused, ProbeOutcome::TimedOut, ProbeOutcome::NoRoute] {
        let fitting = vec![("shop.example", ip("192.0.2.1"))];
        check(&judged(&question(), fitting, outcome), Verdict::Ready, &["NAT"]);
        let other = vec![("shop.example", ip("203.0.113.9"))];
        check(&judged(&question(), other, outcome), Verdict::Unreachable, &["203.0.113.9", "create"]);
        let alias = vec![("shop.example", Data::Alias("edge.example")), ("edge.example", ip("203.0.113.9"))];
        check(&judged(&to_target(), alias, outcome), Verdict::Ready, &["NAT"]);
        // What some providers write in place of a CNAME: the addresses that the target has.
        let flattened = vec![("shop.example", ip("203.0.113.9")), ("edge.example", ip("203.0.113.9"))];
        check(&judged(&to_target(), flattened, outcome), Verdict::Ready, &[]);
    }
    let fitting = vec![("shop.example", ip("192.0.2.1"))];
    check(
        &judged(&question(), fitting, ProbeOutcome::Broken),
        Verdict::Unreachable,
        &["does not speak HTTP"],
    );
}

#[test]
fn a_machine_without_ipv6_judges_by_ipv4() {
    let unknown = Question { public_addresses: Vec::new(), ..question() };
    let probed = [("203.0.113.9", ProbeOutcome::Ours), ("2001:db8::1", ProbeOutcome::NoRoute)];
    check(&with_probes(&unknown, &probed), Verdict::Ready, &["by IPv4", "AAAA record 2001:db8::1"]);
    let only = with_probes(&unknown, &[("2001:db8::1", ProbeOutcome::NoRoute)]);
    check(&only, Verdict::Unreachable, &["no address of shop.example can be reached"]);
}

#[test]
fn a_public_ca_cannot_come_to_a_private_address() {
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
        let verification = judged(&question(), zone.clone(), ProbeOutcome::Ours);
        check(&verification, Verdict::Unreachable, &[address, "upload a certificate"]);
        let own_ca = Question { is_ca_public: false, ..question() };
        check(&judged(&own_ca, zone, ProbeOutcome::Ours), Verdict::Ready, &[]);
    }
    for address in ["172.32.0.1", "100.128.0.1", "8.8.8.8", "2606:4700::1"] {
        let zone = vec![("shop.example", ip(address))];
        check(&judged(&question(), zone, ProbeOutcome::Ours), Verdict::Ready, &[]);
    }
}

#[test]
fn a_shortage_of_ours_is_not_the_domains_fault() {
    let zone = vec![("shop.example", ip("203.0.113.9"))];
    check(&judged(&question(), zone, ProbeOutcome::NotAsked), Verdict::NotAsked, &["tried again"]);
}

#[test]
fn caa_decides_before_the_probe() {
    let zone = |data: Vec<Data>| {
        let mut zone = vec![("shop.example", ip("192.0.2.1"))];
        zone.extend(data.into_iter().map(|data| ("shop.example", data)));
        zone
    };
    let other = zone(vec![Data::Caa(0, "issue", "pki.goog")]);
    let verification = judged(&question(), other.clone(), ProbeOutcome::Ours);
    check(
        &verification,
        Verdict::CaaForbids,
        &["at shop.example", "only pki.goog", "0 issue \"letsencrypt.org\""],
    );
    let nobody = zone(vec![Data::Caa(0, "issue", ";")]);
    check(&judged(&question(), nobody.clone(), ProbeOutcome::Ours), Verdict::CaaForbids, &["only nobody"]);
    let ours = zone(vec![Data::Caa(0, "issue", "letsencrypt.org")]);
    check(&judged(&question(), ours, ProbeOutcome::Ours), Verdict::Ready, &[]);
    // The CA has not said how it calls itself.
    let unknown = Question { caa_identities: Vec::new(), ..question() };
    let verification = judged(&unknown, other, ProbeOutcome::Ours);
    check(&verification, Verdict::Ready, &[]);
    assert!(matches!(verification.caa, CaaVerdict::Unclear { .. }));
    check(&judged(&unknown, nobody, ProbeOutcome::Ours), Verdict::CaaForbids, &[]);
}

#[test]
fn a_resolver_that_fails_is_named() {
    let server = Server::new(|asked| vec![asked.reply(domain::base::iana::Rcode::SERVFAIL, &[])]);
    let records = Records::look_up(&question(), &server.resolver());
    assert!(records.probe_addresses(&question()).is_empty());
    let verification = judge(&question(), records, Vec::new(), NOW);
    check(&verification, Verdict::DnsFailed, &["SERVFAIL"]);
    assert_eq!(verification.found.problem, Some(DnsError::ServerFailed));
}

#[test]
fn only_a_few_addresses_of_each_family_are_probed() {
    let mut zone = Vec::new();
    for n in 1..=9 {
        zone.push(("shop.example", ip(&format!("192.0.2.{n}"))));
        zone.push(("shop.example", ip(&format!("2001:db8::{n}"))));
    }
    let question = Question { http_port: 8080, ..question() };
    let addresses = records(&question, zone).probe_addresses(&question);
    assert_eq!(addresses.len(), 2 * CHALLENGE_PROBE_ADDRESSES_MAX);
    assert!(addresses[0].is_ipv6(), "as the CA prefers it");
    assert!(addresses.iter().all(|address| address.port() == 8080));
    let expected: IpAddr = question.public_addresses[0];
    assert!(addresses.iter().all(|address| address.ip() != expected), "first what is not expected");
}

/// A web server that answers one request.
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
            // Who asks may have seen enough before all is sent.
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
fn asks_as_the_ca_does() {
    let (outcome, request) = probed("HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nringway-probe-1.secret");
    assert_eq!(outcome, ProbeOutcome::Ours);
    assert!(request.starts_with("GET /.well-known/acme-challenge/ringway-probe-1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nHost: shop.example\r\n"), "{request}");
}

#[test]
fn takes_our_answer_in_any_framing_and_nothing_else() {
    for (response, expected) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\nringway-probe-1.secret\r\n0\r\n\r\n",
            ProbeOutcome::Ours,
        ),
        ("HTTP/1.0 200 OK\r\n\r\nringway-probe-1.secret", ProbeOutcome::Ours),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ProbeOutcome::Foreign(200)),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 22\r\n\r\nringway-probe-1.secret",
            ProbeOutcome::Foreign(404),
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
            ProbeOutcome::Foreign(301),
        ),
        // In the head it is not an answer.
        (
            "HTTP/1.1 200 OK\r\nX: ringway-probe-1.secret\r\nContent-Length: 0\r\n\r\n",
            ProbeOutcome::Foreign(200),
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", ProbeOutcome::Broken),
        ("", ProbeOutcome::Broken),
    ] {
        assert_eq!(probed(response).0, expected, "{response:?}");
    }
}

#[test]
fn reads_no_more_than_it_must() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(CHALLENGE_PROBE_BYTES_MAX * 4));
    assert_eq!(probed(&endless).0, ProbeOutcome::Foreign(200));
    let head = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(CHALLENGE_PROBE_BYTES_MAX * 4));
    assert_eq!(probed(&head).0, ProbeOutcome::Broken);
}

#[test]
fn a_closed_port_is_told_from_silence() {
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
fn challenges_are_never_the_same_and_fit_a_path() {
    let (one, other) = (Challenge::random().unwrap(), Challenge::random().unwrap());
    assert_ne!(one.token, other.token);
    assert!(
        one.key_authorization.starts_with(&one.token) && one.key_authorization.len() > one.token.len() + 60
    );
    // RFC 8555 §8.3: the alphabet of base64url.
    assert!(one.token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
}
