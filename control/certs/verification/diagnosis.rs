//! Diagnosis of a verification: overall result and advice, from DNS records and probes. Pure.

use std::net::IpAddr;

use ringway_dns::{CaaSet, DnsError, Lookup};
use ringway_model::{Hostname, Timestamp};

use super::{
    CaaCheck, DnsRecords, ExpectedRecord, FoundRecords, Probe, ProbeOutcome, Readiness, Verification,
    VerificationRequest,
};

/// Combines records and probes to a result.
pub(crate) fn diagnose(
    request: &VerificationRequest,
    records: DnsRecords,
    probes: Vec<Probe>,
    now: Timestamp,
) -> Verification {
    let expected = match &request.cname_target {
        Some(target) => vec![ExpectedRecord::Cname(target.clone())],
        None => request.public_addresses.iter().copied().map(ExpectedRecord::Address).collect(),
    };
    let caa = check_caa(records.caa, &request.caa_identities);
    let (found, is_nxdomain) = match records.lookup {
        Ok(Lookup { aliases, addresses, is_nxdomain, ttl: _ }) => {
            (FoundRecords { aliases, addresses, problem: None }, is_nxdomain)
        }
        Err(problem) => (FoundRecords { problem: Some(problem), ..FoundRecords::default() }, false),
    };
    // The addresses that point here by the records alone.
    let target_addresses = records.target.map(|target| target.addresses).unwrap_or_default();
    let is_here = |ip: &IpAddr| request.public_addresses.contains(ip) || target_addresses.contains(ip);
    let names_target = request
        .cname_target
        .as_ref()
        .is_some_and(|target| found.aliases.iter().any(|alias| alias == target.as_str()));
    let fitting = found.addresses.iter().copied().filter(|ip| names_target || is_here(ip)).collect();
    let are_addresses_known = request.cname_target.is_some() || !request.public_addresses.is_empty();

    let diagnosis = Diagnosis {
        request,
        found: &found,
        is_nxdomain,
        caa: &caa,
        probes: &probes,
        fitting,
        are_addresses_known,
    };
    let (readiness, advice) = diagnosis.run();
    Verification { checked_at: now, expected, found, caa, probes, readiness, advice }
}

/// Evidence about one domain.
struct Diagnosis<'a> {
    request: &'a VerificationRequest,
    found: &'a FoundRecords,
    is_nxdomain: bool,
    caa: &'a CaaCheck,
    probes: &'a [Probe],
    /// Addresses that point here by the records alone.
    fitting: Vec<IpAddr>,
    /// Whether the addresses that the records should have are known.
    are_addresses_known: bool,
}

impl Diagnosis<'_> {
    fn run(&self) -> (Readiness, String) {
        let host = &self.request.host;
        let wanted = self.wanted_record();
        if let Some(problem) = &self.found.problem {
            return (Readiness::DnsFailed, format!("the DNS lookup of {host} failed: {problem}."));
        }
        if self.found.addresses.is_empty() {
            let what = match (self.is_nxdomain, self.found.aliases.last()) {
                (_, Some(end)) => format!("{host} is an alias of {end}, which has no address"),
                (true, None) => format!("{host} does not exist in DNS"),
                (false, None) => format!("{host} has no A or AAAA record"),
            };
            return (Readiness::NoRecords, format!("{what}: create {wanted}."));
        }
        match self.caa {
            CaaCheck::Forbidden { at, issuers } => {
                let only = if issuers.is_empty() {
                    "no CA".to_owned()
                } else {
                    format!("only {}", issuers.join(", "))
                };
                let ours = match self.request.caa_identities.first() {
                    Some(ours) => format!("add a CAA record `0 issue \"{ours}\"` there"),
                    None => "add a CAA record for your CA there".to_owned(),
                };
                let advice = format!(
                    "the CAA records of {at} allow {only} to issue certificates: {ours}, or remove them."
                );
                return (Readiness::CaaForbids, advice);
            }
            CaaCheck::LookupFailed(error) => {
                let advice =
                    format!("the CAA lookup of {host} failed, and the CA refuses to issue then: {error}.");
                return (Readiness::DnsFailed, advice);
            }
            CaaCheck::Allowed | CaaCheck::Unclear { .. } | CaaCheck::Skipped => {}
        }
        self.check_probes(&wanted)
    }

    /// Checks all addresses: one that does not point here is enough to fail, because the CA may use it. CAs
    /// prefer IPv6, and rarely try a second address.
    fn check_probes(&self, wanted: &str) -> (Readiness, String) {
        let host = &self.request.host;
        let is_unreachable = |ip: &IpAddr| self.request.is_ca_public && is_private(*ip);
        if let Some(ip) = self.found.addresses.iter().copied().find(is_unreachable) {
            let advice = format!(
                "{host} has the private address {ip}, which the CA cannot reach from the internet: {}, or upload a \
                 certificate.",
                match self.found.addresses.iter().all(is_unreachable) {
                    true => format!("create {wanted}"),
                    false => format!("remove the {} record {ip}", record(ip)),
                }
            );
            return (Readiness::Unreachable, advice);
        }
        if let Some((ip, status)) = self.probes.iter().find_map(|probe| match probe.outcome {
            ProbeOutcome::OtherServer(status) => Some((probe.address.ip(), status)),
            _ => None,
        }) {
            let what = match status {
                300..=399 => format!(
                    "{host} at {ip} redirects the challenge (status {status}): exclude \
                     http://{host}/.well-known/acme-challenge/ from the redirect, or {}",
                    self.correction(ip, wanted)
                ),
                status => format!(
                    "another server responds for {host} at {ip} (status {status}): {}",
                    self.correction(ip, wanted)
                ),
            };
            return (Readiness::Elsewhere, format!("{what}."));
        }
        if self.probes.iter().any(|probe| probe.outcome == ProbeOutcome::NotSent) {
            let advice = format!("{host} could not be probed for lack of local resources; it is retried.");
            return (Readiness::NotChecked, advice);
        }
        if let Some(reason) = self.probes.iter().find_map(|probe| self.check_probe(probe, wanted)) {
            return (Readiness::Unreachable, reason);
        }
        let unroutable = self.probes.iter().find(|probe| {
            probe.outcome == ProbeOutcome::NoRoute && !self.fitting.contains(&probe.address.ip())
        });
        match unroutable.map(|probe| probe.address.ip()) {
            Some(ip) if self.is_reached() => {
                let advice = format!(
                    "{host} points to this server by IPv4. This machine has no IPv6 and cannot check {ip}: if that is not \
                     its public address, remove the AAAA record {ip}, because CAs prefer IPv6."
                );
                (Readiness::Ready, advice)
            }
            None if self.is_reached() => {
                (Readiness::Ready, format!("{host} points to this server: its records need no change."))
            }
            None if self.fitting.len() == self.found.addresses.len() => {
                (Readiness::Ready, unreachable_behind_nat(host))
            }
            Some(_) | None => {
                let advice =
                    format!("no address of {host} can be reached from this machine: create {wanted}.");
                (Readiness::Unreachable, advice)
            }
        }
    }

    /// Explains why a probed address does not point here, and what to do; `None` when it does or may.
    fn check_probe(&self, probe: &Probe, wanted: &str) -> Option<String> {
        let host = &self.request.host;
        let (ip, port) = (probe.address.ip(), probe.address.port());
        let kind = record(ip);
        let fits = self.fitting.contains(&ip);
        let what = match probe.outcome {
            ProbeOutcome::Reached | ProbeOutcome::OtherServer(_) | ProbeOutcome::NotSent => return None,
            ProbeOutcome::InvalidResponse => {
                format!("the server at {ip} port {port} does not speak HTTP")
            }
            // NAT is no explanation where another address of this machine responds.
            ProbeOutcome::Refused if probe.is_local && self.is_reached_locally() => {
                return Some(format!(
                    "{ip} is an address of this machine, but nothing listens there at port {port}: let PROXY_HTTP_BIND \
                     include it, as its default `::,0.0.0.0` does, or remove the {kind} record {ip}."
                ));
            }
            // Behind NAT, a machine often cannot reach its own public address.
            ProbeOutcome::Refused | ProbeOutcome::TimedOut | ProbeOutcome::NoRoute if fits => return None,
            // Without local IPv6, an address that may be ours cannot be checked.
            ProbeOutcome::NoRoute if ip.is_ipv6() && !self.are_addresses_known => return None,
            ProbeOutcome::Refused => format!("nothing listens at {ip} port {port}"),
            ProbeOutcome::TimedOut => format!("nothing responds at {ip} port {port}"),
            ProbeOutcome::NoRoute => format!("this machine has no route to {ip}"),
        };
        let correction = match self.is_reached_without(ip) {
            true => self.correction(ip, wanted),
            false => format!("create {wanted}, and open port {port} to the internet"),
        };
        let or_known = match self.request.public_addresses.is_empty() || fits {
            true => String::new(),
            false => format!(" If {ip} does point to this server, add it to PROXY_PUBLIC_ADDRESSES."),
        };
        Some(format!("{host} has the {kind} record {ip}, but {what}: {correction}.{or_known}"))
    }

    /// Correction for an address that does not point here.
    fn correction(&self, ip: IpAddr, wanted: &str) -> String {
        let remove = format!("remove the {} record {ip}", record(ip));
        match self.is_reached_without(ip) {
            true => remove,
            false => format!("{remove} and create {wanted}"),
        }
    }

    /// Whether another address of the domain points here.
    fn is_reached_without(&self, without: IpAddr) -> bool {
        let is_reached =
            |probe: &Probe| probe.outcome == ProbeOutcome::Reached && probe.address.ip() != without;
        self.fitting.iter().any(|ip| *ip != without) || self.probes.iter().any(is_reached)
    }

    fn is_reached(&self) -> bool {
        self.probes.iter().any(|probe| probe.outcome == ProbeOutcome::Reached)
    }

    fn is_reached_locally(&self) -> bool {
        self.probes.iter().any(|probe| probe.is_local && probe.outcome == ProbeOutcome::Reached)
    }

    /// Describes the record to create.
    fn wanted_record(&self) -> String {
        let host = &self.request.host;
        if let Some(target) = &self.request.cname_target {
            return format!("the record `{host} CNAME {target}`");
        }
        let records: Vec<String> = self
            .request
            .public_addresses
            .iter()
            .map(|ip| format!("`{host} {} {ip}`", if ip.is_ipv6() { "AAAA" } else { "A" }))
            .collect();
        if records.is_empty() {
            format!("an A record for {host} with the public address of this machine")
        } else {
            format!("the record {}", records.join(" and "))
        }
    }
}

/// Whether an address is not routed on the internet (RFC 1918, RFC 4193, RFC 6598, and link-local ones).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || is_shared
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

/// Type of the record for this address.
fn record(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "AAAA" } else { "A" }
}

fn unreachable_behind_nat(host: &Hostname) -> String {
    format!(
        "the records of {host} point to this server; this machine cannot reach itself under them, as is usual behind NAT."
    )
}

fn check_caa(caa: Option<Result<Option<CaaSet>, DnsError>>, identities: &[String]) -> CaaCheck {
    match caa {
        None => CaaCheck::Skipped,
        Some(Err(error)) => CaaCheck::LookupFailed(error),
        Some(Ok(None)) => CaaCheck::Allowed,
        Some(Ok(Some(set))) => {
            let (at, issuers) = (set.at.clone(), set.issuers());
            if identities.is_empty() {
                match (set.forbids_all(), issuers.is_empty()) {
                    (true, _) => CaaCheck::Forbidden { at, issuers },
                    (false, true) => CaaCheck::Allowed,
                    (false, false) => CaaCheck::Unclear { at, issuers },
                }
            } else if set.allows(identities) {
                CaaCheck::Allowed
            } else {
                CaaCheck::Forbidden { at, issuers }
            }
        }
    }
}
