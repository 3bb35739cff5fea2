//! Questions and answers as bytes (RFC 1035 §4), read and written with `domain`.

use std::net::IpAddr;
use std::str::FromStr;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, ParsedName, Rtype, ToName};
use domain::rdata::{A, Aaaa, Caa, Cname};
use ringway_model::Hostname;

use super::DnsError;

/// A kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Which CA may issue (RFC 8659).
    Caa,
}

impl Kind {
    pub(super) fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Caa => Rtype::CAA,
        }
    }
}

/// A name in the form of the wire, compared without regard to case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(domain::base::Name<Vec<u8>>);

impl Name {
    /// Of a host.
    pub(super) fn of(host: &Hostname) -> Self {
        // A host name has labels of 1 to 63 bytes and 253 bytes in all: RFC 1035 §3.1 is kept by its parser.
        Self(domain::base::Name::from_str(host.as_str()).unwrap_or_else(|_| domain::base::Name::root_vec()))
    }

    /// For people: no trailing dot, lower case.
    pub(super) fn to_text(&self) -> String {
        self.0.to_string().trim_end_matches('.').to_ascii_lowercase()
    }

    /// The name above it; `None` at the top level, above which nobody sets records.
    pub(super) fn parent(&self) -> Option<Self> {
        let parent = self.0.parent()?;
        (!parent.is_root()).then(|| Self(parent.to_name()))
    }
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Alias(Name),
    Caa(CaaRecord),
}

/// One CAA record (RFC 8659 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CaaRecord {
    /// A CA that does not know the tag must not issue.
    pub(crate) is_critical: bool,
    /// The property, in lower case.
    pub(crate) tag: String,
    /// Its value.
    pub(crate) value: String,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Records, or the word that there are none of this kind.
    Found,
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL and everything else that is the resolver's failure.
    ServerFailed,
    /// REFUSED.
    Refused,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    /// It did not fit: ask over TCP.
    pub(super) is_cut: bool,
    records: Vec<(Name, Record)>,
}

impl Reply {
    /// Follows the aliases of this answer from `name`: where they end, and the names on the way, the end included.
    pub(super) fn walk(&self, name: &Name) -> (Name, Vec<Name>) {
        let mut end = name.clone();
        let mut walked = Vec::new();
        // An answer has so many records at most: a circle in it ends here, and is seen by who follows.
        for _ in 0..RECORDS_MAX {
            let next = self.records.iter().find_map(|(owner, record)| match record {
                Record::Alias(target) if *owner == end => Some(target),
                Record::Alias(_) | Record::Address(_) | Record::Caa(_) => None,
            });
            let Some(next) = next else { break };
            let is_known = walked.contains(next) || next == name;
            walked.push(next.clone());
            end = next.clone();
            if is_known {
                break;
            }
        }
        (end, walked)
    }

    /// The records of one kind that `name` has.
    pub(super) fn records_of(&self, name: &Name, kind: Kind) -> Vec<Record> {
        let is_wanted = |record: &Record| match (record, kind) {
            (Record::Address(ip), Kind::A) => ip.is_ipv4(),
            (Record::Address(ip), Kind::Aaaa) => ip.is_ipv6(),
            (Record::Caa(_), Kind::Caa) => true,
            (Record::Address(_) | Record::Alias(_) | Record::Caa(_), _) => false,
        };
        let of_name = self.records.iter().filter(|(owner, record)| owner == name && is_wanted(record));
        of_name.map(|(_, record)| record.clone()).collect()
    }
}

/// A question with a random id, EDNS and the wish that aliases be followed.
pub(super) fn question(id: u16, name: &Name, kind: Kind) -> Result<Vec<u8>, DnsError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((&name.0, kind.rtype())).map_err(|_| DnsError::Malformed)?;
    let mut additional = question.additional();
    let sized = additional.opt(|opt| {
        opt.set_udp_payload_size(UDP_BYTES);
        Ok(())
    });
    sized.map_err(|_| DnsError::Malformed)?;
    Ok(additional.finish())
}

/// Bytes of a datagram that pass everywhere without being cut up (DNS Flag Day 2020).
pub(super) const UDP_BYTES: u16 = 1232;

/// Reads what may be the answer to a question; `None` when it belongs to another one, or is no DNS message at all.
pub(super) fn answer(bytes: &[u8], id: u16, name: &Name, kind: Kind) -> Option<Result<Reply, DnsError>> {
    let message = Message::from_octets(bytes).ok()?;
    let header = message.header();
    if header.id() != id || !header.qr() {
        return None;
    }
    // A resolver that cannot even read our question may leave it out.
    let asked = message.sole_question();
    let is_ours = asked.is_ok_and(|question| {
        question.qname().name_eq(&name.0)
            && question.qtype() == kind.rtype()
            && question.qclass() == Class::IN
    });
    if !is_ours {
        return None;
    }
    Some(read(&message))
}

fn read(message: &Message<&[u8]>) -> Result<Reply, DnsError> {
    let header = message.header();
    let outcome = match header.rcode() {
        Rcode::NOERROR => Outcome::Found,
        Rcode::NXDOMAIN => Outcome::NoSuchName,
        Rcode::REFUSED => Outcome::Refused,
        _ => Outcome::ServerFailed,
    };
    let mut reply = Reply { outcome, is_cut: header.tc(), records: Vec::new() };
    if reply.is_cut {
        return Ok(reply);
    }
    for record in message.answer().map_err(malformed)?.take(RECORDS_MAX) {
        let record = record.map_err(malformed)?;
        if record.class() != Class::IN {
            continue;
        }
        let owner = Name(record.owner().to_name());
        let value = if let Some(a) = record.to_record::<A>().map_err(malformed)? {
            Record::Address(a.data().addr().into())
        } else if let Some(aaaa) = record.to_record::<Aaaa>().map_err(malformed)? {
            Record::Address(aaaa.data().addr().into())
        } else if let Some(cname) = record.to_record::<Cname<ParsedName<&[u8]>>>().map_err(malformed)? {
            Record::Alias(Name(cname.data().cname().to_name()))
        } else if let Some(caa) = record.to_record::<Caa<&[u8]>>().map_err(malformed)? {
            Record::Caa(caa_record(caa.data()))
        } else {
            continue;
        };
        reply.records.push((owner, value));
    }
    Ok(reply)
}

fn caa_record(caa: &Caa<&[u8]>) -> CaaRecord {
    CaaRecord {
        is_critical: caa.flags().bits() & CRITICAL != 0,
        tag: caa.tag().to_string().to_ascii_lowercase(),
        value: String::from_utf8_lossy(caa.value()).into_owned(),
    }
}

/// RFC 8659 §4.1: bit 0, which is the highest.
const CRITICAL: u8 = 0x80;

fn malformed<E>(_: E) -> DnsError {
    DnsError::Malformed
}

/// Records of one answer that are read: far beyond what one name has.
const RECORDS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.0;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (word ^ (word >> 31)) as usize % below
        }
    }

    /// A chain of two aliases, two addresses and a CAA record, as a resolver sends it.
    fn sound_reply(name: &Name, kind: Kind) -> Vec<u8> {
        let question = question(7, name, kind).unwrap();
        let question = Message::from_octets(question).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&question, Rcode::NOERROR).unwrap();
        let edge = Name::of(&Hostname::parse("edge.example").unwrap());
        answer.push((&name.0, 60, Cname::new(edge.0.clone()))).unwrap();
        answer.push((&edge.0, 60, A::from_octets(192, 0, 2, 1))).unwrap();
        answer.push((&edge.0, 60, Aaaa::new("2001:db8::1".parse().unwrap()))).unwrap();
        let tag = domain::rdata::caa::CaaTag::from_octets(b"issue".to_vec()).unwrap();
        answer
            .push((&edge.0, 60, Caa::new(domain::rdata::caa::CaaFlags::new(0), tag, b"ca.test".to_vec())))
            .unwrap();
        answer.finish()
    }

    #[test]
    fn no_bytes_do_harm() {
        let name = Name::of(&Hostname::parse("shop.example").unwrap());
        let (mut answered, mut refused, mut passed_over) = (0, 0, 0);
        for seed in 0..30_000 {
            let mut dice = Dice(seed);
            let kind = [Kind::A, Kind::Aaaa, Kind::Caa][dice.roll(3)];
            let mut bytes = sound_reply(&name, kind);
            for _ in 0..=dice.roll(6) {
                let at = dice.roll(bytes.len());
                match dice.roll(4) {
                    0 => bytes[at] = dice.roll(256) as u8,
                    1 => bytes[at] ^= 1 << dice.roll(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, [0xc0, 0x0c, 0xff, 0x00][dice.roll(4)]),
                }
            }
            // A panic shows its seed.
            let read = std::panic::catch_unwind(|| answer(&bytes, 7, &name, kind));
            match read.unwrap_or_else(|_| panic!("seed {seed}: {bytes:02x?}")) {
                Some(Ok(reply)) => {
                    answered += 1;
                    let (end, walked) = reply.walk(&name);
                    assert!(walked.len() <= RECORDS_MAX && reply.records_of(&end, kind).len() <= RECORDS_MAX);
                }
                Some(Err(_)) => refused += 1,
                None => passed_over += 1,
            }
        }
        assert!(
            answered > 1_000 && refused > 1_000 && passed_over > 1_000,
            "{answered} {refused} {passed_over}"
        );
    }
}
