//! Does a domain lead here? Asked before an order is spent on it, and by people who want to know what is wrong.
//!
//! ```text
//!  DNS: addresses, aliases, CAA ──▶ our own challenge URL, at each of those addresses ──▶ verdict and advice
//! ```
//!
//! The probe decides, for it is what the CA does: a random token is published to all cores, and
//! `http://<host>/.well-known/acme-challenge/<token>` is fetched from the addresses that DNS gave. DNS records alone decide
//! only where the probe could not connect: a machine behind NAT often cannot reach its own public address.
//!
//! The probe connects to addresses that a stranger's DNS records name, private and loopback ones too, for a
//! self-hosted setup resolves to those. So it asks for that one path only, follows no redirect, reads a few kilobytes,
//! and tells nothing of the answer but its status.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::limits::{CHALLENGE_PROBE_ADDRESSES_MAX, CHALLENGE_PROBE_BYTES_MAX, CHALLENGE_PROBE_TIMEOUT};
use ringway_model::{Hostname, Tick, Timestamp};
use ringway_net::{Stream, WriteRate, clock, connect};
use ringway_wire::h1::{Limits, Parse, ResponseHead, write_get};
use ringway_wire::message::Method;

use crate::dns::{CaaSet, DnsError, Lookup, Resolver, relevant_caa};

/// What was found out about a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// When.
    pub checked_at: Timestamp,
    /// The records of which one, or one of each family, should be there. Empty when this machine's addresses are not known.
    pub expected: Vec<ExpectedRecord>,
    /// The records that are there.
    pub found: Found,
    /// Whether the CA may issue.
    pub caa: CaaVerdict,
    /// What answered at our challenge URL, one for each address that was asked.
    pub probes: Vec<Probe>,
    /// All in all.
    pub verdict: Verdict,
    /// What to do, in plain words; or that the records need no change.
    pub advice: String,
}

/// A record that leads here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedRecord {
    /// A CNAME record to this name.
    Cname(Hostname),
    /// An A or AAAA record with this address.
    Address(IpAddr),
}

/// The records that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The names that CNAME records lead to, in this order.
    pub aliases: Vec<String>,
    /// The addresses at the end of them.
    pub addresses: Vec<IpAddr>,
    /// Why nothing could be found out.
    pub problem: Option<DnsError>,
}

/// Whether CAA records let the CA issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaaVerdict {
    /// There are none, or they name the CA.
    Allowed,
    /// They name others, and how the CA calls itself is not known.
    Unclear {
        /// The name that has the records.
        at: String,
        /// The CAs that they name.
        issuers: Vec<String>,
    },
    /// They do not let it.
    Forbidden {
        /// The name that has the records.
        at: String,
        /// The CAs that they name.
        issuers: Vec<String>,
    },
    /// They could not be looked up, which the CA takes for a no.
    Unanswered(DnsError),
    /// They were not looked at, for the name has no address.
    Unasked,
}

/// What answered at our challenge URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Asked there.
    pub address: SocketAddr,
    /// What came.
    pub outcome: ProbeOutcome,
    /// Whether the address is one of this machine's own.
    pub is_local: bool,
}

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Our own answer.
    Ours,
    /// Nothing listens there.
    Refused,
    /// No connection, or no answer, in time.
    TimedOut,
    /// No way there from this machine.
    NoRoute,
    /// The connection ended, or what came is no HTTP.
    Broken,
    /// Something else answers, with this status.
    Foreign(u16),
    /// It could not be asked: a shortage of ours.
    NotAsked,
}

/// All in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The CA will find our answer.
    Ready,
    /// There is no record yet.
    NoRecords,
    /// DNS gave no answer.
    DnsFailed,
    /// At least one address leads to somebody else.
    Elsewhere,
    /// No connection could be made.
    Unreachable,
    /// CAA records do not let the CA issue.
    CaaForbids,
    /// We could not ask: a shortage of ours, not the domain's fault.
    NotAsked,
}

impl Verdict {
    /// Whether an order makes sense.
    pub fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NoRecords => "no_records",
            Self::DnsFailed => "dns_failed",
            Self::Elsewhere => "elsewhere",
            Self::Unreachable => "unreachable",
            Self::CaaForbids => "caa_forbids",
            Self::NotAsked => "not_asked",
        }
    }
}

/// What a verification goes by.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) host: Hostname,
    pub(crate) cname_target: Option<Hostname>,
    pub(crate) public_addresses: Vec<IpAddr>,
    pub(crate) resolver: Option<SocketAddr>,
    /// How the CA calls itself in CAA records; empty: not known.
    pub(crate) caa_identities: Vec<String>,
    /// Whether the CA comes from the internet, as the public ones do.
    pub(crate) is_ca_public: bool,
    pub(crate) http_port: u16,
}

/// What DNS says about it.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    lookup: Result<Lookup, DnsError>,
    /// The addresses of `cname_target`: some providers write those in place of a CNAME.
    target: Option<Lookup>,
    caa: Option<Result<Option<CaaSet>, DnsError>>,
}

impl Records {
    /// Asks. Blocks for [`DNS_CHECK_TIMEOUT`](crate::limits::DNS_CHECK_TIMEOUT) at most.
    pub(crate) fn look_up(question: &Question, resolver: &Resolver) -> Self {
        let lookup = resolver.addresses(&question.host);
        let has_address = lookup.as_ref().is_ok_and(|lookup| !lookup.addresses.is_empty());
        if !has_address {
            return Self { lookup, target: None, caa: None };
        }
        let target = question.cname_target.as_ref().and_then(|target| resolver.addresses(target).ok());
        Self { lookup, target, caa: Some(relevant_caa(resolver, &question.host)) }
    }

    /// Where our challenge is to be fetched: where the CA will come, a few of each family, first those that are not expected.
    pub(crate) fn probe_addresses(&self, question: &Question) -> Vec<SocketAddr> {
        let Ok(lookup) = &self.lookup else { return Vec::new() };
        let family = |is_v6: bool| {
            let is_expected = |ip: &IpAddr| question.public_addresses.contains(ip);
            let of_family = move |ip: &&IpAddr| ip.is_ipv6() == is_v6;
            let others = lookup.addresses.iter().filter(of_family).filter(move |ip| !is_expected(ip));
            let expected = lookup.addresses.iter().filter(of_family).filter(move |ip| is_expected(ip));
            others.chain(expected).take(CHALLENGE_PROBE_ADDRESSES_MAX)
        };
        family(true).chain(family(false)).map(|ip| SocketAddr::new(*ip, question.http_port)).collect()
    }
}

/// A path that only we can answer, and the answer.
#[derive(Clone, Debug)]
pub(crate) struct Challenge {
    pub(crate) token: String,
    pub(crate) key_authorization: String,
}

impl Challenge {
    /// A new one; `None` without randomness.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; 48];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        let text = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let token = format!("ringway-probe-{}", text(&bytes[..16]));
        let key_authorization = format!("{token}.{}", text(&bytes[16..]));
        Some(Self { token, key_authorization })
    }
}

/// Fetches our challenge of `host` at one address.
pub(crate) async fn probe(host: &Hostname, challenge: &Challenge, address: SocketAddr) -> Probe {
    let deadline = clock::now().after(CHALLENGE_PROBE_TIMEOUT);
    let outcome = match fetch(host, challenge, address, deadline).await {
        Ok(outcome) | Err(outcome) => outcome,
    };
    // A port is free in any case; only an address of this machine can be bound.
    let is_local = UdpSocket::bind(SocketAddr::new(address.ip(), 0)).is_ok();
    Probe { address, outcome, is_local }
}

async fn fetch(
    host: &Hostname,
    challenge: &Challenge,
    address: SocketAddr,
    deadline: Tick,
) -> Result<ProbeOutcome, ProbeOutcome> {
    let stream = connect(address, deadline).await.map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => ProbeOutcome::Refused,
        ErrorKind::TimedOut => ProbeOutcome::TimedOut,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => ProbeOutcome::Broken,
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::PermissionDenied
        | ErrorKind::InvalidInput => ProbeOutcome::NoRoute,
        _ => ProbeOutcome::NotAsked,
    })?;
    let mut buf = Vec::with_capacity(CHALLENGE_PROBE_BYTES_MAX);
    let path = format!("/.well-known/acme-challenge/{}", challenge.token);
    write_get(&mut buf, host.as_str(), &path, USER_AGENT).map_err(|_| ProbeOutcome::NotAsked)?;
    let broken = |error: std::io::Error| match error.kind() {
        ErrorKind::TimedOut => ProbeOutcome::TimedOut,
        _ => ProbeOutcome::Broken,
    };
    let (written, mut buf) = stream.write_all(buf, WriteRate::until(deadline)).await;
    written.map_err(broken)?;
    buf.clear();
    let mut head = ResponseHead::default();
    let bounds = Limits { head_bytes_max: CHALLENGE_PROBE_BYTES_MAX, ..Limits::default() };
    let mut is_complete = false;
    while buf.len() < CHALLENGE_PROBE_BYTES_MAX {
        let (read, back) = stream.read(buf, deadline).await;
        buf = back;
        let has_ended = match read {
            Ok(count) => count == 0,
            Err(error) if !is_complete => return Err(broken(error)),
            Err(_) => true,
        };
        if !is_complete {
            is_complete = match head.parse(&buf, Method::Get, &bounds) {
                Ok(parse) => parse == Parse::Complete,
                Err(_) => return Err(ProbeOutcome::Broken),
            };
        }
        if is_complete {
            // In whatever framing it comes: nobody else knows these bytes.
            let body = &buf[head.len()..];
            let ours = challenge.key_authorization.as_bytes();
            if head.status() == 200 && body.windows(ours.len()).any(|window| window == ours) {
                return Ok(ProbeOutcome::Ours);
            }
        }
        if has_ended || (is_complete && head.status() != 200) {
            break;
        }
    }
    if is_complete { Ok(ProbeOutcome::Foreign(head.status())) } else { Err(ProbeOutcome::Broken) }
}

const USER_AGENT: &str = concat!("ringway-probe/", env!("CARGO_PKG_VERSION"));

/// Puts everything together.
pub(crate) fn judge(
    question: &Question,
    records: Records,
    probes: Vec<Probe>,
    now: Timestamp,
) -> Verification {
    let expected = match &question.cname_target {
        Some(target) => vec![ExpectedRecord::Cname(target.clone())],
        None => question.public_addresses.iter().copied().map(ExpectedRecord::Address).collect(),
    };
    let caa = judge_caa(records.caa, &question.caa_identities);
    let (found, is_nxdomain) = match records.lookup {
        Ok(Lookup { aliases, addresses, is_nxdomain }) => {
            (Found { aliases, addresses, problem: None }, is_nxdomain)
        }
        Err(problem) => (Found { problem: Some(problem), ..Found::default() }, false),
    };
    // Whether the records by themselves are what they should be.
    let target_addresses = records.target.map(|target| target.addresses).unwrap_or_default();
    let is_here = |ip: &IpAddr| question.public_addresses.contains(ip) || target_addresses.contains(ip);
    let names_target = question
        .cname_target
        .as_ref()
        .is_some_and(|target| found.aliases.iter().any(|alias| alias == target.as_str()));
    let fitting = found.addresses.iter().copied().filter(|ip| names_target || is_here(ip)).collect();
    let are_addresses_known = question.cname_target.is_some() || !question.public_addresses.is_empty();

    let case = Case {
        question,
        found: &found,
        is_nxdomain,
        caa: &caa,
        probes: &probes,
        fitting,
        are_addresses_known,
    };
    let (verdict, advice) = case.judge();
    Verification { checked_at: now, expected, found, caa, probes, verdict, advice }
}

struct Case<'a> {
    question: &'a Question,
    found: &'a Found,
    is_nxdomain: bool,
    caa: &'a CaaVerdict,
    probes: &'a [Probe],
    /// The addresses that lead here by the records alone.
    fitting: Vec<IpAddr>,
    /// Whether it is known where the records should lead.
    are_addresses_known: bool,
}

impl Case<'_> {
    fn judge(&self) -> (Verdict, String) {
        let host = &self.question.host;
        let wanted = self.wanted_record();
        if let Some(problem) = &self.found.problem {
            return (Verdict::DnsFailed, format!("{host} could not be looked up: {problem}."));
        }
        if self.found.addresses.is_empty() {
            let what = match (self.is_nxdomain, self.found.aliases.last()) {
                (_, Some(end)) => format!("{host} is an alias of {end}, which has no address"),
                (true, None) => format!("{host} does not exist in DNS"),
                (false, None) => format!("{host} has no A or AAAA record"),
            };
            return (Verdict::NoRecords, format!("{what}: create {wanted}."));
        }
        match self.caa {
            CaaVerdict::Forbidden { at, issuers } => {
                let names = if issuers.is_empty() { "nobody".to_owned() } else { issuers.join(", ") };
                let ours = match self.question.caa_identities.first() {
                    Some(ours) => format!("add a CAA record `0 issue \"{ours}\"` there"),
                    None => "add a CAA record for your CA there".to_owned(),
                };
                let advice = format!(
                    "CAA records at {at} let only {names} issue certificates: {ours}, or remove them."
                );
                return (Verdict::CaaForbids, advice);
            }
            CaaVerdict::Unanswered(error) => {
                let advice = format!(
                    "the CAA records of {host} could not be looked up, which the CA takes for a no: {error}."
                );
                return (Verdict::DnsFailed, advice);
            }
            CaaVerdict::Allowed | CaaVerdict::Unclear { .. } | CaaVerdict::Unasked => {}
        }
        self.judge_probes(&wanted)
    }

    /// One address that does not lead here is enough for a no: the CA may come there, it prefers IPv6, and hardly ever tries a
    /// second one.
    fn judge_probes(&self, wanted: &str) -> (Verdict, String) {
        let host = &self.question.host;
        let is_unreachable = |ip: &IpAddr| self.question.is_ca_public && is_private(*ip);
        if let Some(ip) = self.found.addresses.iter().copied().find(is_unreachable) {
            let advice = format!(
                "{host} leads to {ip}, which nobody can reach from the internet, and so neither can the CA: {}, or upload a \
                 certificate.",
                match self.found.addresses.iter().all(is_unreachable) {
                    true => format!("create {wanted}"),
                    false => format!("remove the {} record {ip}", record(ip)),
                }
            );
            return (Verdict::Unreachable, advice);
        }
        if let Some((ip, status)) = self.probes.iter().find_map(|probe| match probe.outcome {
            ProbeOutcome::Foreign(status) => Some((probe.address.ip(), status)),
            _ => None,
        }) {
            let what = match status {
                300..=399 => format!(
                    "{host} at {ip} answers the challenge with a redirect (status {status}): let \
                     http://{host}/.well-known/acme-challenge/ through without one, or {}",
                    self.correction(ip, wanted)
                ),
                status => format!(
                    "another server answers for {host} at {ip} (status {status}): {}",
                    self.correction(ip, wanted)
                ),
            };
            return (Verdict::Elsewhere, format!("{what}."));
        }
        if self.probes.iter().any(|probe| probe.outcome == ProbeOutcome::NotAsked) {
            let advice = format!("{host} could not be probed for want of resources; it is tried again.");
            return (Verdict::NotAsked, advice);
        }
        if let Some(no) = self.probes.iter().find_map(|probe| self.judge_probe(probe, wanted)) {
            return (Verdict::Unreachable, no);
        }
        let unseen = self.probes.iter().find(|probe| {
            probe.outcome == ProbeOutcome::NoRoute && !self.fitting.contains(&probe.address.ip())
        });
        match unseen.map(|probe| probe.address.ip()) {
            Some(ip) if self.has_ours() => {
                let advice = format!(
                    "{host} leads here by IPv4. Whether it does at {ip} cannot be seen from this machine, which has no \
                     IPv6: if that is not its address from outside, remove the AAAA record {ip}, for CAs prefer it."
                );
                (Verdict::Ready, advice)
            }
            None if self.has_ours() => {
                (Verdict::Ready, format!("{host} leads here: its records need no change."))
            }
            None if self.fitting.len() == self.found.addresses.len() => (Verdict::Ready, unprobed(host)),
            Some(_) | None => {
                let advice = format!("no address of {host} can be reached from here: create {wanted}.");
                (Verdict::Unreachable, advice)
            }
        }
    }

    /// Why an address that was probed does not lead here, and what to do.
    fn judge_probe(&self, probe: &Probe, wanted: &str) -> Option<String> {
        let host = &self.question.host;
        let (ip, port) = (probe.address.ip(), probe.address.port());
        let kind = record(ip);
        let fits = self.fitting.contains(&ip);
        let what = match probe.outcome {
            ProbeOutcome::Ours | ProbeOutcome::Foreign(_) | ProbeOutcome::NotAsked => return None,
            ProbeOutcome::Broken => {
                format!("what answers at {ip} port {port} does not speak HTTP as it should")
            }
            // No NAT is in the way where another address of this machine answers.
            ProbeOutcome::Refused if probe.is_local && self.has_local_ours() => {
                return Some(format!(
                    "{ip} is an address of this machine, but nothing listens there at port {port}: let PROXY_HTTP_BIND \
                     include it, as its default `::,0.0.0.0` does, or remove the {kind} record {ip}."
                ));
            }
            // Behind NAT, a machine often does not reach its own public address.
            ProbeOutcome::Refused | ProbeOutcome::TimedOut | ProbeOutcome::NoRoute if fits => return None,
            // Without IPv6 of our own nothing is known of an address that may be ours.
            ProbeOutcome::NoRoute if ip.is_ipv6() && !self.are_addresses_known => return None,
            ProbeOutcome::Refused => format!("nothing listens at {ip} port {port}"),
            ProbeOutcome::TimedOut => format!("nothing answers at {ip} port {port}"),
            ProbeOutcome::NoRoute => format!("there is no way from here to {ip}"),
        };
        let correction = match self.is_wanted_there(ip) {
            true => self.correction(ip, wanted),
            false => format!("create {wanted}, and open port {port} to the internet"),
        };
        let or_known = match self.question.public_addresses.is_empty() || fits {
            true => String::new(),
            false => format!(" If {ip} does lead here, add it to PROXY_PUBLIC_ADDRESSES."),
        };
        Some(format!("{host} has the {kind} record {ip}, but {what}: {correction}.{or_known}"))
    }

    /// What makes an address right that does not lead here.
    fn correction(&self, ip: IpAddr, wanted: &str) -> String {
        let remove = format!("remove the {} record {ip}", record(ip));
        match self.is_wanted_there(ip) {
            true => remove,
            false => format!("{remove} and create {wanted}"),
        }
    }

    /// Whether, without this address, the domain still has one that leads here.
    fn is_wanted_there(&self, without: IpAddr) -> bool {
        let is_ours = |probe: &Probe| probe.outcome == ProbeOutcome::Ours && probe.address.ip() != without;
        self.fitting.iter().any(|ip| *ip != without) || self.probes.iter().any(is_ours)
    }

    fn has_ours(&self) -> bool {
        self.probes.iter().any(|probe| probe.outcome == ProbeOutcome::Ours)
    }

    fn has_local_ours(&self) -> bool {
        self.probes.iter().any(|probe| probe.is_local && probe.outcome == ProbeOutcome::Ours)
    }

    /// The record to create, as one would say it to somebody on the phone.
    fn wanted_record(&self) -> String {
        let host = &self.question.host;
        if let Some(target) = &self.question.cname_target {
            return format!("the record `{host} CNAME {target}`");
        }
        let records: Vec<String> = self
            .question
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

/// Whether an address means something else on every network (RFC 1918, RFC 4193, RFC 6598, and link-local ones).
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

/// The type of the record that has this address.
fn record(ip: IpAddr) -> &'static str {
    if ip.is_ipv6() { "AAAA" } else { "A" }
}

fn unprobed(host: &Hostname) -> String {
    format!(
        "the records of {host} lead here; it could not be reached from this machine itself, as is usual behind NAT."
    )
}

fn judge_caa(caa: Option<Result<Option<CaaSet>, DnsError>>, identities: &[String]) -> CaaVerdict {
    match caa {
        None => CaaVerdict::Unasked,
        Some(Err(error)) => CaaVerdict::Unanswered(error),
        Some(Ok(None)) => CaaVerdict::Allowed,
        Some(Ok(Some(set))) => {
            let (at, issuers) = (set.at.clone(), set.issuers());
            if identities.is_empty() {
                match (set.forbids_all(), issuers.is_empty()) {
                    (true, _) => CaaVerdict::Forbidden { at, issuers },
                    (false, true) => CaaVerdict::Allowed,
                    (false, false) => CaaVerdict::Unclear { at, issuers },
                }
            } else if set.allows(identities) {
                CaaVerdict::Allowed
            } else {
                CaaVerdict::Forbidden { at, issuers }
            }
        }
    }
}

impl fmt::Display for ExpectedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cname(name) => write!(f, "CNAME {name}"),
            Self::Address(ip @ IpAddr::V4(_)) => write!(f, "A {ip}"),
            Self::Address(ip @ IpAddr::V6(_)) => write!(f, "AAAA {ip}"),
        }
    }
}

impl fmt::Display for ProbeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("answered by us"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::NoRoute => f.write_str("not reachable from this machine"),
            Self::Broken => f.write_str("no HTTP answer"),
            Self::Foreign(status) => write!(f, "answered by another server, status {status}"),
            Self::NotAsked => f.write_str("not asked"),
        }
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
