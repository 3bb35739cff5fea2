//! DNS records as they are now, for people who ask why their domain has no certificate.
//!
//! A small client of a recursive resolver: one question at a time over UDP, over TCP when the answer was cut, aliases
//! followed, every answer checked against its question. It caches nothing, for who asks wants to know what is there now.
//! Not for the data plane, whose names the system's resolver resolves.
//!
//! Everything here blocks, within [`DNS_CHECK_TIMEOUT`] per name: it runs on the
//! threads for blocking calls.

mod caa;
mod exchange;
mod message;
mod system;

pub(crate) use caa::{CaaSet, public_ca, relevant_caa};
pub(crate) use message::Kind;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::limits::{DNS_ALIASES_MAX, DNS_CHECK_TIMEOUT, DNS_TRIES};
use ringway_model::limits::DNS_ADDRESSES_MAX;
use ringway_model::{Hostname, Tick};
use ringway_net::clock;

use exchange::exchange;
use message::{Name, Outcome, Record, Reply};

/// Asks a resolver.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    /// All questions of one check end by then.
    deadline: Tick,
}

/// What a name leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// The names that CNAME records lead to, in this order.
    pub(crate) aliases: Vec<String>,
    /// The addresses at the end, [`DNS_ADDRESSES_MAX`] of each family at most, none twice.
    pub(crate) addresses: Vec<IpAddr>,
    /// The name at the end does not exist: no record of any kind.
    pub(crate) is_nxdomain: bool,
}

/// Why there is no answer. An answer that says "nothing" is none of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// No resolver is configured and `/etc/resolv.conf` names none.
    NoServer,
    /// No server answered in time.
    TimedOut,
    /// The resolver could not be reached.
    Unreachable(SocketAddr),
    /// The resolver says that it could not find out: the servers of the zone do not answer, or its signatures are wrong.
    ServerFailed,
    /// The resolver does not answer us.
    Refused,
    /// What came is no answer to the question.
    Malformed,
    /// The CNAME records lead in a circle.
    Loop(String),
    /// There are more CNAME records in a row than resolvers follow.
    TooManyAliases,
}

impl Resolver {
    /// For one check, which begins now: of `configured`, else of the servers that the system uses.
    pub(crate) fn begin(configured: Option<SocketAddr>) -> Self {
        let servers = configured.map_or_else(system::servers, |server| vec![server]);
        Self { servers, deadline: clock::now().after(DNS_CHECK_TIMEOUT) }
    }

    #[cfg(test)]
    pub(crate) fn with(servers: Vec<SocketAddr>, deadline: Tick) -> Self {
        Self { servers, deadline }
    }

    /// The addresses of a name, of both families.
    pub(crate) fn addresses(&self, host: &Hostname) -> Result<Lookup, DnsError> {
        let mut lookup = Lookup::default();
        for kind in [Kind::A, Kind::Aaaa] {
            let found = self.follow(host, kind)?;
            let mut count = 0;
            for record in &found.records {
                if let Record::Address(ip) = record
                    && count < DNS_ADDRESSES_MAX
                    && !lookup.addresses.contains(ip)
                {
                    lookup.addresses.push(*ip);
                    count += 1;
                }
            }
            if found.aliases.len() >= lookup.aliases.len() {
                lookup.aliases = found.aliases;
            }
            lookup.is_nxdomain = found.is_nxdomain;
        }
        Ok(lookup)
    }

    /// Asks for one kind of record and follows aliases to their end.
    fn follow(&self, host: &Hostname, kind: Kind) -> Result<Followed, DnsError> {
        let mut name = Name::of(host);
        let mut aliases: Vec<String> = Vec::new();
        // A resolver follows aliases itself; each further round is for one that does not.
        for _ in 0..=DNS_ALIASES_MAX {
            let reply = self.ask(&name, kind)?;
            let (end, walked) = reply.walk(&name);
            for alias in walked {
                let text = alias.to_text();
                if text == host.as_str() || aliases.contains(&text) {
                    return Err(DnsError::Loop(text));
                }
                if aliases.len() == DNS_ALIASES_MAX {
                    return Err(DnsError::TooManyAliases);
                }
                aliases.push(text);
            }
            let records = reply.records_of(&end, kind);
            let is_nxdomain = reply.outcome == Outcome::NoSuchName;
            if !records.is_empty() || is_nxdomain || end == name {
                return Ok(Followed { aliases, records, is_nxdomain });
            }
            name = end;
        }
        Err(DnsError::TooManyAliases)
    }

    /// One question, to each server in turn, a few times over.
    fn ask(&self, name: &Name, kind: Kind) -> Result<Reply, DnsError> {
        let mut error = DnsError::NoServer;
        for _ in 0..DNS_TRIES {
            for server in &self.servers {
                if clock::now() >= self.deadline {
                    return Err(DnsError::TimedOut);
                }
                match exchange(*server, name, kind, self.deadline) {
                    Ok(reply) => match reply.outcome {
                        Outcome::Found | Outcome::NoSuchName => return Ok(reply),
                        Outcome::ServerFailed => error = DnsError::ServerFailed,
                        Outcome::Refused => error = DnsError::Refused,
                    },
                    Err(failed) => error = failed,
                }
            }
        }
        Err(error)
    }
}

struct Followed {
    aliases: Vec<String>,
    records: Vec<Record>,
    is_nxdomain: bool,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer => f.write_str("no DNS resolver is known; set DNS_RESOLVER or mend /etc/resolv.conf"),
            Self::TimedOut => f.write_str("the DNS resolver did not answer in time"),
            Self::Unreachable(server) => write!(f, "the DNS resolver {server} cannot be reached"),
            Self::ServerFailed => f.write_str(
                "the DNS resolver could not find out (SERVFAIL): the name servers of the domain do not answer, or its DNSSEC is wrong",
            ),
            Self::Refused => f.write_str("the DNS resolver refuses to answer this machine"),
            Self::Malformed => f.write_str("the DNS resolver sent something that is no answer"),
            Self::Loop(name) => write!(f, "the CNAME records lead in a circle at {name}"),
            Self::TooManyAliases => write!(f, "more than {DNS_ALIASES_MAX} CNAME records follow each other"),
        }
    }
}

impl std::error::Error for DnsError {}

#[cfg(test)]
pub(crate) mod tests;
