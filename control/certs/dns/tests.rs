//! A scripted name server on real sockets, and what the resolver makes of its answers.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Rtype};
use domain::rdata::{A, Aaaa, Caa, Cname};

use super::*;

type WireName = domain::base::Name<Vec<u8>>;

/// A name server that answers as a script says, over UDP and TCP on one port.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

/// One question.
pub(crate) struct Asked {
    message: Vec<u8>,
    pub(crate) name: String,
    pub(crate) kind: Rtype,
    pub(crate) is_tcp: bool,
}

/// What a record in a script says.
#[derive(Clone)]
pub(crate) enum Data {
    Ip(IpAddr),
    Alias(&'static str),
    Caa(u8, &'static str, &'static str),
}

pub(crate) fn ip(text: &str) -> Data {
    Data::Ip(text.parse().unwrap())
}

/// What is sent for one question: each a message of its own.
type Script = Box<dyn Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync>;

impl Asked {
    fn parse(message: &[u8], is_tcp: bool) -> Self {
        let parsed = Message::from_octets(message).unwrap();
        let question = parsed.sole_question().unwrap();
        let name = question.qname().to_string().trim_end_matches('.').to_ascii_lowercase();
        let kind = question.qtype();
        Self { message: message.to_vec(), name, kind, is_tcp }
    }

    /// An answer with these records.
    pub(crate) fn reply(&self, rcode: Rcode, records: &[(&str, Data)]) -> Vec<u8> {
        let question = Message::from_octets(self.message.clone()).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&question, rcode).unwrap();
        for (owner, data) in records {
            let owner: WireName = owner.parse().unwrap();
            match data {
                Data::Ip(IpAddr::V4(ip)) => answer.push((owner, 60, A::new(*ip))),
                Data::Ip(IpAddr::V6(ip)) => answer.push((owner, 60, Aaaa::new(*ip))),
                Data::Alias(target) => {
                    answer.push((owner, 60, Cname::new(target.parse::<WireName>().unwrap())))
                }
                Data::Caa(flags, tag, value) => {
                    let tag = domain::rdata::caa::CaaTag::from_octets(tag.as_bytes().to_vec()).unwrap();
                    let flags = domain::rdata::caa::CaaFlags::new(*flags);
                    answer.push((owner, 60, Caa::new(flags, tag, value.as_bytes().to_vec())))
                }
            }
            .unwrap();
        }
        answer.finish()
    }

    fn cut(&self) -> Vec<u8> {
        let mut reply = self.reply(Rcode::NOERROR, &[]);
        reply[2] |= 0x02;
        reply
    }
}

impl Server {
    pub(crate) fn new(script: impl Fn(&Asked) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
                break (listener, socket);
            }
        };
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let script: Arc<Script> = Arc::new(Box::new(script));
        let note = |asked: &Mutex<Vec<String>>, question: &Asked| {
            let transport = if question.is_tcp { "tcp" } else { "udp" };
            asked.lock().unwrap().push(format!("{transport} {} {}", question.kind, question.name));
        };
        let udp = {
            let (asked, script) = (Arc::clone(&asked), Arc::clone(&script));
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                loop {
                    let (count, peer) = socket.recv_from(&mut buf).unwrap();
                    if count < 12 {
                        return;
                    }
                    let question = Asked::parse(&buf[..count], false);
                    note(&asked, &question);
                    for reply in script(&question) {
                        socket.send_to(&reply, peer).unwrap();
                    }
                }
            })
        };
        let tcp = {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                    let mut length = [0; 2];
                    if stream.read_exact(&mut length).is_err() {
                        return;
                    }
                    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut message).unwrap();
                    let question = Asked::parse(&message, true);
                    note(&asked, &question);
                    for reply in script(&question) {
                        let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                        stream.write_all(&[&length[..], &reply].concat()).unwrap();
                    }
                }
            })
        };
        Self { address, asked, threads: vec![udp, tcp] }
    }

    /// Answers from these records, following no alias; names that have none do not exist.
    pub(crate) fn zone(records: Vec<(&'static str, Data)>) -> Self {
        Self::new(move |asked| vec![answer_from(&records, asked)])
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::with(vec![self.address], clock::now().after(Duration::from_secs(60)))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let local = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        local.send_to(b"stop", self.address).unwrap();
        drop(TcpStream::connect(self.address).unwrap());
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn answer_from(records: &[(&'static str, Data)], asked: &Asked) -> Vec<u8> {
    let of_name: Vec<(&str, Data)> =
        records.iter().filter(|(owner, _)| *owner == asked.name).cloned().collect();
    if of_name.is_empty() {
        return asked.reply(Rcode::NXDOMAIN, &[]);
    }
    let fits = |data: &Data| match data {
        Data::Ip(IpAddr::V4(_)) => asked.kind == Rtype::A,
        Data::Ip(IpAddr::V6(_)) => asked.kind == Rtype::AAAA,
        Data::Alias(_) => true,
        Data::Caa(..) => asked.kind == Rtype::CAA,
    };
    let fitting: Vec<(&str, Data)> = of_name.into_iter().filter(|(_, data)| fits(data)).collect();
    asked.reply(Rcode::NOERROR, &fitting)
}

fn host(name: &str) -> Hostname {
    Hostname::parse(name).unwrap()
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn finds_addresses_of_both_families() {
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
fn tells_no_such_name_from_no_such_record() {
    let server = Server::zone(vec![("a.example", Data::Caa(0, "issue", "x"))]);
    let none = server.resolver().addresses(&host("b.example")).unwrap();
    assert!(none.is_nxdomain && none.addresses.is_empty());
    let empty = server.resolver().addresses(&host("a.example")).unwrap();
    assert!(!empty.is_nxdomain && empty.addresses.is_empty());
}

#[test]
fn follows_aliases_in_one_answer_and_over_several() {
    let chain = vec![
        ("shop.example", Data::Alias("Edge.Example")),
        ("edge.example", Data::Alias("pool.example")),
        ("pool.example", ip("192.0.2.7")),
    ];
    // A server that answers each name by itself.
    let server = Server::zone(chain.clone());
    let lookup = server.resolver().addresses(&host("shop.example")).unwrap();
    assert_eq!(lookup.aliases, ["edge.example", "pool.example"]);
    assert_eq!(lookup.addresses, ips(&["192.0.2.7"]));
    // A resolver that gives the whole chain.
    let whole = Server::new(move |asked| {
        let records: Vec<_> = chain.iter().filter(|_| asked.kind == Rtype::A).cloned().collect();
        vec![asked.reply(Rcode::NOERROR, &records)]
    });
    let lookup = whole.resolver().addresses(&host("shop.example")).unwrap();
    assert_eq!(lookup.aliases, ["edge.example", "pool.example"]);
    assert_eq!(lookup.addresses, ips(&["192.0.2.7"]));
    assert_eq!(whole.asked().len(), 2, "one question for each family");
}

#[test]
fn an_alias_to_nowhere_is_no_address() {
    let server = Server::zone(vec![("shop.example", Data::Alias("gone.example"))]);
    let lookup = server.resolver().addresses(&host("shop.example")).unwrap();
    assert!(lookup.is_nxdomain);
    assert_eq!(lookup.aliases, ["gone.example"]);
}

#[test]
fn circles_and_endless_chains_end() {
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
    let both = Server::new(|asked| {
        vec![asked.reply(
            Rcode::NOERROR,
            &[("a.example", Data::Alias("b.example")), ("b.example", Data::Alias("a.example"))],
        )]
    });
    assert!(matches!(both.resolver().addresses(&host("a.example")).unwrap_err(), DnsError::Loop(_)));
}

#[test]
fn as_many_aliases_as_allowed_and_not_one_more() {
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
fn a_cut_answer_is_asked_for_over_tcp() {
    let server = Server::new(|asked| {
        if asked.is_tcp {
            let many: Vec<_> = (1..=40).map(|n| ("a.example", ip(&format!("192.0.2.{n}")))).collect();
            let records = if asked.kind == Rtype::A { &many[..] } else { &[] };
            vec![asked.reply(Rcode::NOERROR, records)]
        } else {
            vec![asked.cut()]
        }
    });
    let lookup = server.resolver().addresses(&host("a.example")).unwrap();
    assert_eq!(lookup.addresses.len(), DNS_ADDRESSES_MAX, "bounded, whatever the answer holds");
    let asked = server.asked();
    assert_eq!(asked[..2], ["udp A a.example", "tcp A a.example"]);
}

#[test]
fn what_answers_another_question_is_passed_over() {
    let server = Server::new(|asked| {
        let wrong = ip("203.0.113.66");
        let mut other_id = asked.reply(Rcode::NOERROR, &[("a.example", wrong.clone())]);
        other_id[0] ^= 0xff;
        let mut no_reply = asked.reply(Rcode::NOERROR, &[("a.example", wrong.clone())]);
        no_reply[2] &= 0x7f;
        // Ours, but the name of the question changed in its first letter.
        let mut other_name = asked.reply(Rcode::NOERROR, &[("b.example", wrong)]);
        other_name[13] = b'b';
        let right = if asked.kind == Rtype::A { vec![("a.example", ip("192.0.2.1"))] } else { vec![] };
        vec![vec![0; 3], other_id, no_reply, other_name, asked.reply(Rcode::NOERROR, &right)]
    });
    let lookup = server.resolver().addresses(&host("a.example")).unwrap();
    assert_eq!(lookup.addresses, ips(&["192.0.2.1"]));
}

#[test]
fn records_of_other_names_are_not_taken() {
    let server = Server::new(|asked| {
        vec![asked.reply(
            Rcode::NOERROR,
            &[("evil.example", ip("203.0.113.66")), ("evil.example", ip("2001:db8::66"))],
        )]
    });
    assert!(server.resolver().addresses(&host("a.example")).unwrap().addresses.is_empty());
}

#[test]
fn a_flood_of_strays_ends() {
    let server = Server::new(|asked| {
        let mut wrong = asked.reply(Rcode::NOERROR, &[]);
        wrong[0] ^= 0xff;
        vec![wrong; 40]
    });
    assert_eq!(server.resolver().addresses(&host("a.example")).unwrap_err(), DnsError::Malformed);
}

#[test]
fn failures_of_the_resolver_are_told_apart() {
    for (rcode, expected) in [
        (Rcode::SERVFAIL, DnsError::ServerFailed),
        (Rcode::REFUSED, DnsError::Refused),
        (Rcode::FORMERR, DnsError::ServerFailed),
    ] {
        let server = Server::new(move |asked| vec![asked.reply(rcode, &[])]);
        assert_eq!(server.resolver().addresses(&host("a.example")).unwrap_err(), expected);
        assert_eq!(server.asked().len(), DNS_TRIES, "tried again before it is believed");
    }
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    let broken = Server::new(|asked| vec![asked.reply(Rcode::SERVFAIL, &[])]);
    let sound = Server::zone(vec![("a.example", ip("192.0.2.1"))]);
    let deadline = clock::now().after(Duration::from_secs(60));
    let resolver = Resolver::with(vec![broken.address, sound.address], deadline);
    assert_eq!(resolver.addresses(&host("a.example")).unwrap().addresses, ips(&["192.0.2.1"]));
}

#[test]
fn silence_is_a_time_out_and_a_closed_port_is_said() {
    let silent = Server::new(|_| vec![]);
    let soon = clock::now().after(Duration::from_millis(100));
    let resolver = Resolver::with(vec![silent.address], soon);
    assert_eq!(resolver.addresses(&host("a.example")).unwrap_err(), DnsError::TimedOut);
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let resolver = Resolver::with(vec![free], clock::now().after(Duration::from_secs(60)));
    assert_eq!(resolver.addresses(&host("a.example")).unwrap_err(), DnsError::Unreachable(free));
    let nobody = Resolver::with(Vec::new(), Tick::NEVER);
    assert_eq!(nobody.addresses(&host("a.example")).unwrap_err(), DnsError::NoServer);
}

#[test]
fn broken_answers_do_no_harm() {
    // A name that points at itself, a record longer than the message, counts that promise more.
    let breakers: [fn(&mut Vec<u8>); 4] = [
        |reply| {
            let at = reply.len();
            reply.extend_from_slice(&[
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
            reply[7] = 1;
        },
        |reply| {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0xff, 0xff, 1, 2]);
            reply[7] = 1;
        },
        |reply| reply[6..8].copy_from_slice(&[0xff, 0xff]),
        |reply| {
            reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 3, 1, 2, 3]);
            reply[7] = 1;
        },
    ];
    for (index, breaker) in breakers.into_iter().enumerate() {
        let server = Server::new(move |asked| {
            let mut reply = asked.reply(Rcode::NOERROR, &[]);
            breaker(&mut reply);
            vec![reply]
        });
        assert_eq!(
            server.resolver().addresses(&host("a.example")).unwrap_err(),
            DnsError::Malformed,
            "{index}"
        );
    }
}

#[test]
fn caa_records_of_the_nearest_name_count() {
    let server = Server::zone(vec![
        ("example", Data::Caa(0, "issue", "top.test")),
        ("shop.example", Data::Caa(0, "issue", "letsencrypt.org")),
        ("shop.example", Data::Caa(128, "Iodef", "mailto:x@shop.example")),
        ("a.b.shop.example", ip("192.0.2.1")),
    ]);
    let set = relevant_caa(&server.resolver(), &host("a.b.shop.example")).unwrap().unwrap();
    assert_eq!(set.at, "shop.example");
    assert_eq!(set.records.len(), 2);
    assert!(set.records[1].is_critical && set.records[1].tag == "iodef");
    assert!(set.allows(&["letsencrypt.org".to_owned()]));
    assert_eq!(
        server.asked(),
        ["udp CAA a.b.shop.example", "udp CAA b.shop.example", "udp CAA shop.example"]
    );
    assert_eq!(relevant_caa(&server.resolver(), &host("a.other")).unwrap(), None);
    assert_eq!(relevant_caa(&server.resolver(), &host("localhost")).unwrap(), None);
}

#[test]
fn caa_records_behind_an_alias_count_for_the_name_itself() {
    let by_name: HashMap<&str, Vec<(&str, Data)>> = HashMap::from([(
        "shop.example",
        vec![("shop.example", Data::Alias("edge.other")), ("edge.other", Data::Caa(0, "issue", ";"))],
    )]);
    let server = Server::new(move |asked| {
        let records = by_name.get(asked.name.as_str()).map_or(&[][..], Vec::as_slice);
        vec![asked.reply(Rcode::NOERROR, records)]
    });
    let set = relevant_caa(&server.resolver(), &host("shop.example")).unwrap().unwrap();
    assert_eq!(set.at, "shop.example");
    assert!(set.forbids_all());
}

#[test]
fn caa_records_that_cannot_be_looked_up_are_not_taken_for_none() {
    let server = Server::new(|asked| vec![asked.reply(Rcode::SERVFAIL, &[])]);
    assert_eq!(relevant_caa(&server.resolver(), &host("a.example")).unwrap_err(), DnsError::ServerFailed);
}

#[test]
fn a_name_server_that_is_not_ours_is_understood() {
    let pebble = crate::testing::pebble::Pebble::start(crate::testing::pebble::Habits::at(80));
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
    let set = relevant_caa(&resolver(), &host("www.shop.example")).unwrap().unwrap();
    assert_eq!((set.at.as_str(), set.issuers()), ("shop.example", vec!["letsencrypt.org".to_owned()]));
    names.set_servfail("broken.example");
    assert_eq!(resolver().addresses(&host("broken.example")).unwrap_err(), DnsError::ServerFailed);
    names.clear_servfail("broken.example");
    names.set_default(None);
    assert!(resolver().addresses(&host("broken.example")).unwrap().addresses.is_empty());
    // And the CA beside it answers, over its own HTTPS.
    assert!(pebble.root().contains("BEGIN CERTIFICATE"));
}
