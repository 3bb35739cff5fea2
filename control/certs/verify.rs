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
use std::net::{IpAddr, SocketAddr};

use ringway_model::limits::{
    CHALLENGE_PROBE_ADDRESSES_MAX, CHALLENGE_PROBE_BYTES_MAX, CHALLENGE_PROBE_TIMEOUT,
};
use ringway_model::{Hostname, Tick, Timestamp};
use ringway_net::{Pace, Stream, clock, connect};
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
    /// What to do, in plain words; or that nothing is to be done.
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
    /// Asks. Blocks for [`DNS_CHECK_TIMEOUT`](ringway_model::limits::DNS_CHECK_TIMEOUT) at most.
    pub(crate) fn look_up(question: &Question, resolver: &Resolver) -> Self {
        let lookup = resolver.addresses(&question.host);
        let has_address = lookup.as_ref().is_ok_and(|lookup| !lookup.addresses.is_empty());
        if !has_address {
            return Self { lookup, target: None, caa: None };
        }
        let target = question.cname_target.as_ref().and_then(|target| resolver.addresses(target).ok());
        Self { lookup, target, caa: Some(relevant_caa(resolver, &question.host)) }
    }

    /// Where our challenge is to be fetched: where the CA will come, a few of each family.
    pub(crate) fn probe_addresses(&self, port: u16) -> Vec<SocketAddr> {
        let Ok(lookup) = &self.lookup else { return Vec::new() };
        let family = |is_v6: bool| {
            let of_family = lookup.addresses.iter().filter(move |ip| ip.is_ipv6() == is_v6);
            of_family.take(CHALLENGE_PROBE_ADDRESSES_MAX).map(|ip| SocketAddr::new(*ip, port))
        };
        family(true).chain(family(false)).collect()
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
    Probe { address, outcome }
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
    let (written, mut buf) = stream.write_all(buf, Pace::until(deadline)).await;
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
    let records_fit = !found.addresses.is_empty() && (names_target || found.addresses.iter().all(is_here));

    let case = Case { question, found: &found, is_nxdomain, caa: &caa, probes: &probes, records_fit };
    let (verdict, advice) = case.judge();
    Verification { checked_at: now, expected, found, caa, probes, verdict, advice }
}

struct Case<'a> {
    question: &'a Question,
    found: &'a Found,
    is_nxdomain: bool,
    caa: &'a CaaVerdict,
    probes: &'a [Probe],
    records_fit: bool,
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

    /// One address that answers wrongly is enough for a no: the CA may come there.
    fn judge_probes(&self, wanted: &str) -> (Verdict, String) {
        let host = &self.question.host;
        if let Some(ip) = self.found.addresses.first()
            && self.question.is_ca_public
            && self.found.addresses.iter().copied().all(is_private)
        {
            let advice = format!(
                "{host} leads to {ip}, which nobody can reach from the internet, and so neither can the CA: create \
                 {wanted}, or upload a certificate."
            );
            return (Verdict::Unreachable, advice);
        }
        let first = |wanted: fn(ProbeOutcome) -> bool| self.probes.iter().find(|probe| wanted(probe.outcome));
        if let Some(Probe { address, outcome: ProbeOutcome::Foreign(status) }) =
            first(|outcome| matches!(outcome, ProbeOutcome::Foreign(_)))
        {
            let ip = address.ip();
            let what = match status {
                300..=399 => format!(
                    "{host} at {ip} answers the challenge with a redirect (status {status}): let \
                     http://{host}/.well-known/acme-challenge/ through without one, or create {wanted}"
                ),
                status => format!(
                    "another server answers for {host} at {ip} (status {status}): remove {} for {ip} and create {wanted}",
                    if ip.is_ipv6() { "the AAAA record" } else { "the A record" }
                ),
            };
            return (Verdict::Elsewhere, format!("{what}."));
        }
        let is_ours = |probe: &Probe| probe.outcome == ProbeOutcome::Ours;
        let failed: Vec<&Probe> = self
            .probes
            .iter()
            // Without IPv6 of our own we cannot tell; the CA comes from outside.
            .filter(|probe| {
                !(is_ours(probe) || probe.outcome == ProbeOutcome::NoRoute && probe.address.is_ipv6())
            })
            .collect();
        let has_ours = self.probes.iter().any(is_ours);
        let Some(worst) = failed.first() else {
            if has_ours {
                return (Verdict::Ready, format!("{host} leads here; nothing is to be done."));
            }
            if self.records_fit {
                return (Verdict::Ready, unprobed(host));
            }
            let advice = format!("no address of {host} can be reached from here: create {wanted}.");
            return (Verdict::Unreachable, advice);
        };
        let (ip, port) = (worst.address.ip(), worst.address.port());
        let what = match worst.outcome {
            ProbeOutcome::Refused => format!("nothing listens at {ip} port {port}"),
            ProbeOutcome::TimedOut => format!("nothing answers at {ip} port {port}"),
            ProbeOutcome::NoRoute => format!("there is no way from here to {ip}"),
            ProbeOutcome::Broken | ProbeOutcome::Ours | ProbeOutcome::Foreign(_) => {
                format!("what answers at {ip} port {port} does not speak HTTP as it should")
            }
            ProbeOutcome::NotAsked => {
                return (
                    Verdict::NotAsked,
                    format!("{host} could not be probed for want of resources; it is tried again."),
                );
            }
        };
        let is_silent = |probe: &&&Probe| {
            matches!(probe.outcome, ProbeOutcome::Refused | ProbeOutcome::TimedOut | ProbeOutcome::NoRoute)
        };
        if self.records_fit && failed.iter().filter(is_silent).count() == failed.len() {
            return (Verdict::Ready, unprobed(host));
        }
        let record = if ip.is_ipv6() { "AAAA" } else { "A" };
        let advice = format!(
            "{host} has the {record} record {ip}, but {what}: create {wanted}, and open port {port} to the internet."
        );
        (Verdict::Unreachable, advice)
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
mod tests;
