//! DNS records of a domain, and the addresses to probe.

use std::net::{IpAddr, SocketAddr};

use ringway_dns::{CaaSet, DnsError, Lookup, Resolver};

use super::VerificationRequest;
use crate::limits::CHALLENGE_PROBE_ADDRESSES_MAX;

/// Results of the DNS lookups of one verification.
#[derive(Clone, Debug)]
pub(crate) struct DnsRecords {
    pub(super) lookup: Result<Lookup, DnsError>,
    /// Addresses of `cname_target`: some providers publish those in place of a CNAME record.
    pub(super) target: Option<Lookup>,
    /// `None` when the domain has no address.
    pub(super) caa: Option<Result<Option<CaaSet>, DnsError>>,
}

impl DnsRecords {
    /// Looks the records up. Blocks for [`Resolver::CHECK_TIMEOUT`] at most.
    pub(crate) fn look_up(request: &VerificationRequest, resolver: &Resolver) -> Self {
        let lookup = resolver.addresses(&request.host);
        let has_address = lookup.as_ref().is_ok_and(|lookup| !lookup.addresses.is_empty());
        if !has_address {
            return Self { lookup, target: None, caa: None };
        }
        let target = request.cname_target.as_ref().and_then(|target| resolver.addresses(target).ok());
        Self { lookup, target, caa: Some(resolver.caa(&request.host)) }
    }

    /// Returns the addresses to probe: a few of each family, unexpected ones first, IPv6 first as CAs prefer
    /// it.
    pub(crate) fn probe_addresses(&self, request: &VerificationRequest) -> Vec<SocketAddr> {
        let Ok(lookup) = &self.lookup else { return Vec::new() };
        let family = |is_v6: bool| {
            let is_expected = |ip: &IpAddr| request.public_addresses.contains(ip);
            let of_family = move |ip: &&IpAddr| ip.is_ipv6() == is_v6;
            let others = lookup.addresses.iter().filter(of_family).filter(move |ip| !is_expected(ip));
            let expected = lookup.addresses.iter().filter(of_family).filter(move |ip| is_expected(ip));
            others.chain(expected).take(CHALLENGE_PROBE_ADDRESSES_MAX)
        };
        family(true).chain(family(false)).map(|ip| SocketAddr::new(*ip, request.http_port)).collect()
    }
}
