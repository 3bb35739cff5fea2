//! Lookups within one deadline: addresses of both families with their CNAME chain, and the relevant CAA set.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ringway_model::limits::DNS_ADDRESSES_MAX;
use ringway_model::{Hostname, Tick};
use ringway_net::clock;

use crate::DnsError;
use crate::caa::{CaaSet, relevant_caa};
use crate::exchange::exchange;
use crate::limits::{DNS_ALIASES_MAX, DNS_TRIES};
use crate::message::{Name, Outcome, Record, RecordType, Response};
use crate::resolv_conf;

/// Client of one or more recursive resolvers, with a deadline for all of its queries.
#[derive(Clone, Debug)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
    deadline: Tick,
}

/// Addresses of a name, and the CNAME chain that leads to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    /// Targets of the CNAME chain, in order.
    pub aliases: Vec<String>,
    /// Addresses at the end of the chain: [`DNS_ADDRESSES_MAX`] of each family at most, without duplicates.
    pub addresses: Vec<IpAddr>,
    /// NXDOMAIN: the last name of the chain has no record of any type.
    pub is_nxdomain: bool,
    /// Shortest time to live of the records.
    pub ttl: Duration,
}

impl Resolver {
    /// Bound on all queries of one resolver.
    pub const CHECK_TIMEOUT: Duration = crate::limits::DNS_CHECK_TIMEOUT;

    /// Starts a check of [`Self::CHECK_TIMEOUT`] against `configured`, else against the servers of
    /// `/etc/resolv.conf`.
    pub fn begin(configured: Option<SocketAddr>) -> Self {
        Self::until(configured, clock::now().after(Self::CHECK_TIMEOUT))
    }

    /// The same with another bound.
    pub fn until(configured: Option<SocketAddr>, deadline: Tick) -> Self {
        let servers = configured.map_or_else(resolv_conf::servers, |server| vec![server]);
        Self::with(servers, deadline)
    }

    /// Queries these servers, in order, until `deadline`.
    pub fn with(servers: Vec<SocketAddr>, deadline: Tick) -> Self {
        Self { servers, deadline }
    }

    /// Looks up A and AAAA records. Blocks.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub fn addresses(&self, host: &Hostname) -> Result<Lookup, DnsError> {
        let mut lookup = Lookup { ttl: Duration::MAX, ..Lookup::default() };
        for record_type in [RecordType::A, RecordType::Aaaa] {
            let found = self.follow(host, record_type)?;
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
            lookup.ttl = lookup.ttl.min(found.ttl);
        }
        Ok(lookup)
    }

    /// Looks up the CAA records of `host`, else of the nearest parent that has any (RFC 8659 §3). `None` when
    /// no name on the way has any. Blocks.
    ///
    /// # Errors
    /// See [`DnsError`].
    pub fn caa(&self, host: &Hostname) -> Result<Option<CaaSet>, DnsError> {
        relevant_caa(self, host)
    }

    /// Queries one record type and follows CNAME records to the end of the chain.
    fn follow(&self, host: &Hostname, record_type: RecordType) -> Result<Followed, DnsError> {
        let mut name = Name::of(host);
        let mut aliases: Vec<String> = Vec::new();
        let mut ttl = Duration::MAX;
        // A recursive resolver follows aliases itself; further rounds serve those that do not.
        for _ in 0..=DNS_ALIASES_MAX {
            let response = self.query(&name, record_type)?;
            ttl = ttl.min(response.ttl);
            let (end, walked) = response.walk(&name);
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
            let records = response.records_of(&end, record_type);
            let is_nxdomain = response.outcome == Outcome::NoSuchName;
            if !records.is_empty() || is_nxdomain || end == name {
                return Ok(Followed { aliases, records, is_nxdomain, ttl });
            }
            name = end;
        }
        Err(DnsError::TooManyAliases)
    }

    /// Sends one query to each server in turn, [`DNS_TRIES`] times.
    pub(crate) fn query(&self, name: &Name, record_type: RecordType) -> Result<Response, DnsError> {
        let mut error = DnsError::NoServer;
        for _ in 0..DNS_TRIES {
            for server in &self.servers {
                if clock::now() >= self.deadline {
                    return Err(DnsError::TimedOut);
                }
                match exchange(*server, name, record_type, self.deadline) {
                    Ok(response) => match response.outcome {
                        Outcome::Found | Outcome::NoSuchName => return Ok(response),
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

/// End of a CNAME chain.
struct Followed {
    aliases: Vec<String>,
    records: Vec<Record>,
    is_nxdomain: bool,
    /// Shortest time to live of the records.
    ttl: Duration,
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
