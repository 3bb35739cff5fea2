//! Domain verification: whether the CA would reach this server under a domain, checked before an order and on
//! request.
//!
//! ```text
//!  records: addresses, aliases, CAA ─▶ probe: challenge URL at each address ─▶ diagnosis: result, advice
//! ```
//! [`Verifier`] runs the steps; all but the first two are pure.
//!
//! The probe decides, because it does what the CA does: a random token is published to all cores, and
//! `http://<host>/.well-known/acme-challenge/<token>` is fetched from the addresses in DNS. DNS records alone
//! decide only where the probe could not connect: a machine behind NAT often cannot reach its own public
//! address.
//!
//! The probe connects to addresses from a stranger's DNS records, private and loopback ones included, because
//! self-hosted setups resolve to those. It therefore requests one fixed path, follows no redirect, reads a
//! few kilobytes, and reports nothing of the response but its status.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ringway_dns::DnsError;
use ringway_model::{Hostname, Timestamp};

mod ca_identity;
mod diagnosis;
mod probe;
mod records;
mod verifier;

use ca_identity::caa_identity;
use diagnosis::diagnose;
use probe::{Challenge, probe};
use records::DnsRecords;
pub(crate) use verifier::Verifier;

/// Result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// Time of the check.
    pub checked_at: Timestamp,
    /// Records that should exist: one of them, or one of each family. Empty when this machine's addresses are
    /// unknown.
    pub expected: Vec<ExpectedRecord>,
    /// Records that exist.
    pub found: FoundRecords,
    /// Whether the CA may issue.
    pub caa: CaaCheck,
    /// Probes of our challenge URL, one per address.
    pub probes: Vec<Probe>,
    /// Overall result.
    pub readiness: Readiness,
    /// Action to take, in plain words; or a statement that none is needed.
    pub advice: String,
}

/// Record that points to this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedRecord {
    /// CNAME record to this name.
    Cname(Hostname),
    /// A or AAAA record with this address.
    Address(IpAddr),
}

/// Address records of a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundRecords {
    /// Targets of the CNAME chain, in order.
    pub aliases: Vec<String>,
    /// Addresses at the end of the chain.
    pub addresses: Vec<IpAddr>,
    /// Reason for a failed lookup.
    pub problem: Option<DnsError>,
}

/// Result of the CAA check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaaCheck {
    /// There are no CAA records, or they name the CA.
    Allowed,
    /// They name other CAs, and the identity of the configured CA is unknown.
    Unclear {
        /// Owner of the records.
        at: String,
        /// CAs that they name.
        issuers: Vec<String>,
    },
    /// They exclude the CA.
    Forbidden {
        /// Owner of the records.
        at: String,
        /// CAs that they name.
        issuers: Vec<String>,
    },
    /// The lookup failed, which forbids issuance (RFC 8659 §3).
    LookupFailed(DnsError),
    /// Skipped, because the domain has no address.
    Skipped,
}

/// Probe of our challenge URL at one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Address probed.
    pub address: SocketAddr,
    /// Result.
    pub outcome: ProbeOutcome,
    /// Whether the address belongs to this machine.
    pub is_local: bool,
}

/// Result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// This server responded with the key authorization.
    Reached,
    /// Connection refused.
    Refused,
    /// No connection or no response in time.
    TimedOut,
    /// No route from this machine.
    NoRoute,
    /// The connection ended early, or the response is not HTTP.
    InvalidResponse,
    /// Another server responded, with this status.
    OtherServer(u16),
    /// Not sent for lack of local resources.
    NotSent,
}

/// Overall result of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The CA will find our challenge response.
    Ready,
    /// The domain has no address record.
    NoRecords,
    /// A DNS lookup failed.
    DnsFailed,
    /// At least one address belongs to another server.
    Elsewhere,
    /// No connection could be made.
    Unreachable,
    /// CAA records exclude the CA.
    CaaForbids,
    /// Not checked for lack of local resources: not the domain's fault.
    NotChecked,
}

impl Readiness {
    /// Whether an order makes sense.
    pub fn is_ready(self) -> bool {
        self == Self::Ready
    }

    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NoRecords => "no_records",
            Self::DnsFailed => "dns_failed",
            Self::Elsewhere => "elsewhere",
            Self::Unreachable => "unreachable",
            Self::CaaForbids => "caa_forbids",
            Self::NotChecked => "not_asked",
        }
    }
}

/// Inputs of a verification.
#[derive(Clone, Debug)]
pub(crate) struct VerificationRequest {
    pub(crate) host: Hostname,
    pub(crate) cname_target: Option<Hostname>,
    pub(crate) public_addresses: Vec<IpAddr>,
    pub(crate) resolver: Option<SocketAddr>,
    /// Identities of the CA in CAA records; empty when unknown.
    pub(crate) caa_identities: Vec<String>,
    /// Whether the CA validates from the internet, as public CAs do.
    pub(crate) is_ca_public: bool,
    pub(crate) http_port: u16,
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
            Self::Reached => f.write_str("reached this server"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::NoRoute => f.write_str("not reachable from this machine"),
            Self::InvalidResponse => f.write_str("no HTTP response"),
            Self::OtherServer(status) => write!(f, "response of another server, status {status}"),
            Self::NotSent => f.write_str("not sent"),
        }
    }
}

#[cfg(test)]
#[path = "verification_tests.rs"]
mod tests;
