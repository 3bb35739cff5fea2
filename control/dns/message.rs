//! Queries and responses in wire format (RFC 1035 §4), encoded and parsed with `domain`.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, ParsedName, Rtype, ToName};
use domain::rdata::{A, Aaaa, Caa, Cname};
use ringway_model::Hostname;

use crate::DnsError;

/// Record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordType {
    /// IPv4 address.
    A,
    /// IPv6 address.
    Aaaa,
    /// Certification authority authorization (RFC 8659).
    Caa,
}

impl RecordType {
    pub(crate) fn rtype(self) -> Rtype {
        match self {
            Self::A => Rtype::A,
            Self::Aaaa => Rtype::AAAA,
            Self::Caa => Rtype::CAA,
        }
    }
}

/// Domain name in wire format; comparison ignores case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(domain::base::Name<Vec<u8>>);

impl Name {
    /// Converts a host name.
    pub(crate) fn of(host: &Hostname) -> Self {
        // `Hostname`'s parser enforces RFC 1035 §3.1: labels of 1 to 63 bytes, 253 bytes in all.
        Self(domain::base::Name::from_str(host.as_str()).unwrap_or_else(|_| domain::base::Name::root_vec()))
    }

    /// Formats the name without trailing dot, in lower case.
    pub(crate) fn to_text(&self) -> String {
        self.0.to_string().trim_end_matches('.').to_ascii_lowercase()
    }

    /// Returns the parent name; `None` at the top level, because the root has no CAA records.
    pub(crate) fn parent(&self) -> Option<Self> {
        let parent = self.0.parent()?;
        (!parent.is_root()).then(|| Self(parent.to_name()))
    }
}

/// Record data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Address(IpAddr),
    Alias(Name),
    Caa(CaaRecord),
}

/// CAA record (RFC 8659 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaaRecord {
    /// A CA that does not support the tag must not issue.
    pub is_critical: bool,
    /// Property tag, in lower case.
    pub tag: String,
    /// Property value.
    pub value: String,
}

/// Response code, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// NOERROR, with or without records of the queried type.
    Found,
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL and every other failure of the resolver.
    ServerFailed,
    /// REFUSED.
    Refused,
}

/// Parsed response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) outcome: Outcome,
    /// TC bit: the message did not fit into a datagram.
    pub(crate) is_truncated: bool,
    /// Shortest time to live of the records.
    pub(crate) ttl: Duration,
    records: Vec<(Name, Record)>,
}

impl Response {
    /// Follows the CNAME records of this response from `name`: returns the last name, and all names after
    /// `name`.
    pub(crate) fn walk(&self, name: &Name) -> (Name, Vec<Name>) {
        let mut end = name.clone();
        let mut walked = Vec::new();
        // Bounds a loop; the caller detects it.
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

    /// Returns the records of one type that `name` owns.
    pub(crate) fn records_of(&self, name: &Name, record_type: RecordType) -> Vec<Record> {
        let is_wanted = |record: &Record| match (record, record_type) {
            (Record::Address(ip), RecordType::A) => ip.is_ipv4(),
            (Record::Address(ip), RecordType::Aaaa) => ip.is_ipv6(),
            (Record::Caa(_), RecordType::Caa) => true,
            (Record::Address(_) | Record::Alias(_) | Record::Caa(_), _) => false,
        };
        let of_name = self.records.iter().filter(|(owner, record)| owner == name && is_wanted(record));
        of_name.map(|(_, record)| record.clone()).collect()
    }
}

/// Encodes a recursive query with EDNS.
pub(crate) fn encode_query(id: u16, name: &Name, record_type: RecordType) -> Result<Vec<u8>, DnsError> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question.push((&name.0, record_type.rtype())).map_err(|_| DnsError::Malformed)?;
    let mut additional = question.additional();
    let sized = additional.opt(|opt| {
        opt.set_udp_payload_size(UDP_BYTES);
        Ok(())
    });
    sized.map_err(|_| DnsError::Malformed)?;
    Ok(additional.finish())
}

/// Bytes of a datagram that cross the internet without fragmentation (DNS Flag Day 2020).
pub(crate) const UDP_BYTES: u16 = 1232;

/// Parses the response to a query; `None` when the bytes belong to another query or are no DNS message.
pub(crate) fn parse_response(
    bytes: &[u8],
    id: u16,
    name: &Name,
    record_type: RecordType,
) -> Option<Result<Response, DnsError>> {
    let message = Message::from_octets(bytes).ok()?;
    let header = message.header();
    if header.id() != id || !header.qr() {
        return None;
    }
    // A response without a question section, as some FORMERR are, cannot be matched.
    let question = message.sole_question();
    let is_match = question.is_ok_and(|question| {
        question.qname().name_eq(&name.0)
            && question.qtype() == record_type.rtype()
            && question.qclass() == Class::IN
    });
    if !is_match {
        return None;
    }
    Some(parse_records(&message))
}

fn parse_records(message: &Message<&[u8]>) -> Result<Response, DnsError> {
    let header = message.header();
    let outcome = match header.rcode() {
        Rcode::NOERROR => Outcome::Found,
        Rcode::NXDOMAIN => Outcome::NoSuchName,
        Rcode::REFUSED => Outcome::Refused,
        _ => Outcome::ServerFailed,
    };
    let mut response =
        Response { outcome, is_truncated: header.tc(), ttl: Duration::MAX, records: Vec::new() };
    if response.is_truncated {
        return Ok(response);
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
        response.ttl = response.ttl.min(record.ttl().into_duration());
        response.records.push((owner, value));
    }
    Ok(response)
}

fn caa_record(caa: &Caa<&[u8]>) -> CaaRecord {
    CaaRecord {
        is_critical: caa.flags().bits() & CRITICAL != 0,
        tag: caa.tag().to_string().to_ascii_lowercase(),
        value: String::from_utf8_lossy(caa.value()).into_owned(),
    }
}

/// RFC 8659 §4.1: bit 0, the most significant.
const CRITICAL: u8 = 0x80;

fn malformed<E>(_: E) -> DnsError {
    DnsError::Malformed
}

/// Records parsed per response: far beyond what one name has.
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

    /// Response with an alias, two addresses and a CAA record, as a resolver sends it.
    fn valid_response(name: &Name, record_type: RecordType) -> Vec<u8> {
        let question = encode_query(7, name, record_type).unwrap();
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
    fn mutated_responses_never_panic() {
        let name = Name::of(&Hostname::parse("shop.example").unwrap());
        let (mut parsed, mut rejected, mut ignored) = (0, 0, 0);
        for seed in 0..30_000 {
            let mut dice = Dice(seed);
            let record_type = [RecordType::A, RecordType::Aaaa, RecordType::Caa][dice.roll(3)];
            let mut bytes = valid_response(&name, record_type);
            for _ in 0..=dice.roll(6) {
                let at = dice.roll(bytes.len());
                match dice.roll(4) {
                    0 => bytes[at] = dice.roll(256) as u8,
                    1 => bytes[at] ^= 1 << dice.roll(8),
                    2 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, [0xc0, 0x0c, 0xff, 0x00][dice.roll(4)]),
                }
            }
            // A panic reports its seed.
            let read = std::panic::catch_unwind(|| parse_response(&bytes, 7, &name, record_type));
            match read.unwrap_or_else(|_| panic!("seed {seed}: {bytes:02x?}")) {
                Some(Ok(response)) => {
                    parsed += 1;
                    let (end, walked) = response.walk(&name);
                    assert!(
                        walked.len() <= RECORDS_MAX
                            && response.records_of(&end, record_type).len() <= RECORDS_MAX
                    );
                }
                Some(Err(_)) => rejected += 1,
                None => ignored += 1,
            }
        }
        assert!(parsed > 1_000 && rejected > 1_000 && ignored > 1_000, "{parsed} {rejected} {ignored}");
    }
}
