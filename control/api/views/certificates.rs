//! Certificates, as the API shows them: their states, DNS records, what is left of the limits of CAs. Nothing
//! of a private key is among it.

use std::collections::BTreeMap;

use ringway_certs::{
    AuthorityState, BudgetState, CaaCheck, CertificateState, DefaultState, DomainState, ExpectedRecord,
    Overview, Probe, ProbeOutcome, QueuePosition, Verification,
};
use ringway_model::{ClientAuth, Domain, Timestamp};
use ringway_tls::{Facts, KeyKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::lists::PageTail;
use crate::plane::Plane;

/// Certificate of a domain and its state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateView {
    /// Source of the certificate.
    #[schema(examples("acme", "provided", "none"))]
    pub(crate) mode: &'static str,
    /// State. An existing certificate is served in every state.
    #[schema(examples(
        "none",
        "default",
        "pending_dns",
        "verifying",
        "issuing",
        "active",
        "failed",
        "parked",
        "provided"
    ))]
    pub(crate) status: &'static str,
    /// Reason why it is not active, and the remedy.
    pub(crate) reason: Option<String>,
    /// Time of the next attempt.
    #[schema(format = "date-time")]
    pub(crate) next_try: Option<String>,
    /// Failed attempts since the last success.
    pub(crate) failures: u32,
    /// End of the served certificate; also null while it was not read since the start.
    #[schema(format = "date-time")]
    pub(crate) expires_at: Option<String>,
    /// Issuer.
    pub(crate) issuer: Option<String>,
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) fingerprint: Option<String>,
    /// Time of the renewal.
    #[schema(format = "date-time")]
    pub(crate) renew_at: Option<String>,
    /// Result of the last verification; null before the first.
    pub(crate) dns: Option<DnsView>,
    /// Position in the issuance queue, if queued.
    pub(crate) queue: Option<QueueView>,
}

impl CertificateView {
    /// Builds the view; `state` is absent where certificates are not managed.
    pub(crate) fn new(domain: &Domain, state: Option<&DomainState>) -> Self {
        let facts = state.and_then(|state| state.certificate.as_ref());
        Self {
            mode: domain.certificate.as_str(),
            status: state.map_or(CertificateState::None, |state| state.state).as_str(),
            reason: state.and_then(|state| state.reason.clone()),
            next_try: state.and_then(|state| state.next_try).map(Timestamp::to_rfc3339_millis),
            failures: state.map_or(0, |state| state.failures),
            expires_at: facts.map(|facts| facts.not_after.to_rfc3339_millis()),
            issuer: facts.map(|facts| facts.issuer.clone()),
            fingerprint: facts.map(|facts| facts.fingerprint.clone()),
            renew_at: state.and_then(|state| state.renewal_at).map(Timestamp::to_rfc3339_millis),
            dns: state.and_then(|state| state.verification.as_deref()).map(DnsView::new),
            queue: state.and_then(|state| state.queue_position).map(QueueView::new),
        }
    }

    /// Builds the view with the present state.
    pub(crate) fn of<P: Plane>(plane: &P, domain: &Domain) -> Self {
        Self::new(domain, plane.certificate(&domain.name).as_ref())
    }
}

/// Whether the domain is proven to lead here: by its certificate from a CA, or by the last verification.
pub(crate) fn is_verified(state: Option<&DomainState>) -> bool {
    state.is_some_and(|state| {
        state.state == CertificateState::Active
            || state.verification.as_ref().is_some_and(|verification| verification.readiness.is_ready())
    })
}

/// Client certificates of a domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientAuthView {
    /// CAs of client certificates.
    #[schema(examples("/etc/ringway/clients-ca.pem"))]
    pub(crate) ca_file: String,
    #[schema(examples("optional", "required"))]
    pub(crate) mode: &'static str,
}

impl ClientAuthView {
    pub(crate) fn new(client_auth: &ClientAuth) -> Self {
        Self { ca_file: client_auth.ca_file.to_string(), mode: client_auth.need.as_str() }
    }
}

/// Result of a verification.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DnsView {
    #[schema(format = "date-time")]
    pub(crate) checked_at: String,
    /// `ready` means that a certificate can be issued.
    #[schema(examples(
        "ready",
        "no_records",
        "dns_failed",
        "elsewhere",
        "unreachable",
        "caa_forbids",
        "not_asked"
    ))]
    pub(crate) verdict: &'static str,
    /// Next step of the operator, or that the records need no change.
    pub(crate) advice: String,
    /// Expected records, of which one is needed; empty while the public addresses are unknown.
    pub(crate) expected: Vec<RecordView>,
    /// Found records: the chain of CNAMEs, then the addresses.
    pub(crate) found: Vec<RecordView>,
    /// Error of the DNS lookup.
    pub(crate) problem: Option<String>,
    /// Result of the CAA check.
    pub(crate) caa: CaaView,
    /// Results of probing the challenge URL, by address.
    pub(crate) probes: Vec<ProbeView>,
}

impl DnsView {
    pub(crate) fn new(verification: &Verification) -> Self {
        let found = &verification.found;
        let aliases = found.aliases.iter().map(|name| RecordView { kind: "CNAME", value: name.clone() });
        let addresses = found.addresses.iter().map(|address| RecordView::address(*address));
        Self {
            checked_at: verification.checked_at.to_rfc3339_millis(),
            verdict: verification.readiness.as_str(),
            advice: verification.advice.clone(),
            expected: verification.expected.iter().map(RecordView::expected).collect(),
            found: aliases.chain(addresses).collect(),
            problem: found.problem.as_ref().map(ToString::to_string),
            caa: CaaView::new(&verification.caa),
            probes: verification.probes.iter().map(ProbeView::new).collect(),
        }
    }
}

/// A DNS record.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RecordView {
    #[serde(rename = "type")]
    #[schema(examples("A", "AAAA", "CNAME"))]
    pub(crate) kind: &'static str,
    #[schema(examples("203.0.113.7"))]
    pub(crate) value: String,
}

impl RecordView {
    fn address(address: std::net::IpAddr) -> Self {
        Self { kind: if address.is_ipv4() { "A" } else { "AAAA" }, value: address.to_string() }
    }

    fn expected(record: &ExpectedRecord) -> Self {
        match record {
            ExpectedRecord::Cname(name) => Self { kind: "CNAME", value: name.to_string() },
            ExpectedRecord::Address(address) => Self::address(*address),
        }
    }
}

/// Result of a CAA check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaaView {
    #[schema(examples("allowed", "unclear", "forbidden", "unanswered", "unasked"))]
    pub(crate) verdict: &'static str,
    /// Name with the relevant records.
    pub(crate) at: Option<String>,
    /// CAs in the records.
    pub(crate) issuers: Vec<String>,
    /// Error of the lookup.
    pub(crate) problem: Option<String>,
}

impl CaaView {
    fn new(verdict: &CaaCheck) -> Self {
        let plain = |verdict| Self { verdict, at: None, issuers: Vec::new(), problem: None };
        match verdict {
            CaaCheck::Allowed => plain("allowed"),
            CaaCheck::Unclear { at, issuers } => {
                Self { at: Some(at.clone()), issuers: issuers.clone(), ..plain("unclear") }
            }
            CaaCheck::Forbidden { at, issuers } => {
                Self { at: Some(at.clone()), issuers: issuers.clone(), ..plain("forbidden") }
            }
            CaaCheck::LookupFailed(error) => Self { problem: Some(error.to_string()), ..plain("unanswered") },
            CaaCheck::Skipped => plain("unasked"),
        }
    }
}

/// Result of probing the challenge URL.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProbeView {
    #[schema(examples("203.0.113.7:80"))]
    pub(crate) address: String,
    /// `ours` is the response that a CA needs; `foreign` comes from another server.
    #[schema(examples("ours", "refused", "timed_out", "no_route", "broken", "foreign", "not_asked"))]
    pub(crate) outcome: &'static str,
    /// Status of a foreign response.
    pub(crate) status: Option<u16>,
}

impl ProbeView {
    fn new(probe: &Probe) -> Self {
        let (outcome, status) = match probe.outcome {
            ProbeOutcome::Reached => ("ours", None),
            ProbeOutcome::Refused => ("refused", None),
            ProbeOutcome::TimedOut => ("timed_out", None),
            ProbeOutcome::NoRoute => ("no_route", None),
            ProbeOutcome::InvalidResponse => ("broken", None),
            ProbeOutcome::OtherServer(status) => ("foreign", Some(status)),
            ProbeOutcome::NotSent => ("not_asked", None),
        };
        Self { address: probe.address.to_string(), outcome, status }
    }
}

/// Position in the issuance queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueView {
    /// 1 is next.
    pub(crate) position: usize,
    /// Expected time, by the remaining limits of the CA; null while the CA is not usable.
    #[schema(format = "date-time")]
    pub(crate) expected_at: Option<String>,
}

impl QueueView {
    fn new(position: QueuePosition) -> Self {
        Self {
            position: position.position,
            expected_at: position.expected_at.map(Timestamp::to_rfc3339_millis),
        }
    }
}

/// Result of a requested verification.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerificationView {
    pub(crate) domain: String,
    /// Whether a CA will reach the challenge.
    pub(crate) verified: bool,
    #[serde(flatten)]
    pub(crate) dns: DnsView,
}

/// An uploaded certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadedView {
    pub(crate) domain: String,
    /// Names in the certificate.
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) serial: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) fingerprint: String,
    #[schema(examples("ecdsa", "rsa", "ed25519"))]
    pub(crate) key_type: &'static str,
    #[schema(format = "date-time")]
    pub(crate) not_before: String,
    #[schema(format = "date-time")]
    pub(crate) expires_at: String,
}

impl UploadedView {
    pub(crate) fn new(domain: &str, facts: &Facts) -> Self {
        Self {
            domain: domain.to_owned(),
            names: facts.names.clone(),
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            fingerprint: facts.fingerprint.clone(),
            key_type: match facts.key {
                KeyKind::Ecdsa => "ecdsa",
                KeyKind::Rsa => "rsa",
                KeyKind::Ed25519 => "ed25519",
            },
            not_before: facts.not_before.to_rfc3339_millis(),
            expires_at: facts.not_after.to_rfc3339_millis(),
        }
    }
}

/// One domain in the list of certificates.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateItem {
    pub(crate) domain: String,
    pub(crate) app_id: String,
    pub(crate) tenant_id: Option<String>,
    #[serde(flatten)]
    pub(crate) certificate: CertificateView,
}

impl CertificateItem {
    pub(crate) fn of<P: Plane>(plane: &P, domain: &Domain) -> Self {
        Self {
            domain: domain.name.to_string(),
            app_id: domain.app.to_string(),
            tenant_id: domain.tenant.as_ref().map(ToString::to_string),
            certificate: CertificateView::of(plane, domain),
        }
    }
}

/// One page of certificates, as [`Pieces::page_with`](crate::lists::Pieces::page_with) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct CertificatePage {
    certificates: Vec<CertificateItem>,
    #[serde(flatten)]
    tail: CertificatePageTail,
}

/// Members after the items of a page of certificates.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificatePageTail {
    /// Overview of all certificates, independent of filters.
    pub(crate) overview: CertificatesView,
    #[serde(flatten)]
    pub(crate) tail: PageTail,
}

/// Overview of all certificates.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CertificatesView {
    /// Number of domains by state.
    pub(crate) states: BTreeMap<&'static str, usize>,
    /// Expired certificates of domains.
    pub(crate) expired: usize,
    /// Certificates past two thirds of their life whose renewal is overdue.
    pub(crate) late: usize,
    /// Domains whose files on the disk are not usable.
    pub(crate) damaged: usize,
    /// Certificates on the disk that are not read yet; takes seconds after a start.
    pub(crate) unread: usize,
    /// Problem of the certificate directory.
    pub(crate) directory_problem: Option<String>,
    /// Problem of the system clock.
    pub(crate) clock_problem: Option<String>,
    /// Default certificate, for names without one of their own.
    pub(crate) default: Option<DefaultView>,
    /// CAs in order of preference; empty when none is configured.
    pub(crate) authorities: Vec<AuthorityView>,
    /// Remaining limits of the CAs.
    pub(crate) budgets: Vec<BudgetView>,
    pub(crate) queue: QueueTotals,
}

/// Issuance queue.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct QueueTotals {
    /// Queued domains.
    pub(crate) waiting: usize,
    /// Orders in progress.
    pub(crate) in_flight: usize,
    /// Expected time of the last queued domain.
    #[schema(format = "date-time")]
    pub(crate) ends_at: Option<String>,
}

impl CertificatesView {
    pub(crate) fn new(overview: &Overview) -> Self {
        Self {
            states: overview.states.iter().map(|(state, count)| (state.as_str(), *count)).collect(),
            expired: overview.expired,
            late: overview.late,
            damaged: overview.damaged,
            unread: overview.unread,
            directory_problem: overview.directory_problem.clone(),
            clock_problem: overview.clock_problem.clone(),
            default: overview.default.as_ref().map(DefaultView::new),
            authorities: overview.authorities.iter().map(AuthorityView::new).collect(),
            budgets: overview.budgets.iter().map(BudgetView::new).collect(),
            queue: QueueTotals {
                waiting: overview.queued,
                in_flight: overview.orders_in_flight,
                ends_at: overview.queue_ends_at.map(Timestamp::to_rfc3339_millis),
            },
        }
    }
}

/// Default certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultView {
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) fingerprint: String,
    #[schema(format = "date-time")]
    pub(crate) expires_at: String,
    /// Problem of its present files; the certificate above is served.
    pub(crate) problem: Option<String>,
}

impl DefaultView {
    fn new(default: &DefaultState) -> Self {
        Self {
            names: default.facts.names.clone(),
            issuer: default.facts.issuer.clone(),
            fingerprint: default.facts.fingerprint.clone(),
            expires_at: default.facts.not_after.to_rfc3339_millis(),
            problem: default.problem.clone(),
        }
    }
}

/// A CA.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuthorityView {
    /// Directory URL.
    #[schema(format = "uri")]
    pub(crate) url: String,
    /// Whether it is used for orders.
    pub(crate) usable: bool,
    /// Its last failure.
    pub(crate) problem: Option<String>,
    /// End of a pause.
    #[schema(format = "date-time")]
    pub(crate) paused_until: Option<String>,
    /// Orders in progress.
    pub(crate) in_flight: usize,
}

impl AuthorityView {
    fn new(authority: &AuthorityState) -> Self {
        Self {
            url: authority.url.clone(),
            usable: authority.is_usable,
            problem: authority.problem.clone(),
            paused_until: authority.paused_until.map(Timestamp::to_rfc3339_millis),
            in_flight: authority.orders_in_flight,
        }
    }
}

/// Remainder of a limit of a CA.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetView {
    /// Name of the limit.
    pub(crate) limit: &'static str,
    /// CA.
    pub(crate) authority: String,
    /// Registered domain, account or host with the smallest remainder, where the limit is counted for each.
    pub(crate) subject: Option<String>,
    /// Remaining number.
    pub(crate) left: u32,
    /// Full limit.
    pub(crate) capacity: u32,
    /// Time when the remainder increases.
    #[schema(format = "date-time")]
    pub(crate) next_at: Option<String>,
}

impl BudgetView {
    fn new(budget: &BudgetState) -> Self {
        Self {
            limit: budget.limit,
            authority: budget.authority.clone(),
            subject: budget.subject.clone(),
            left: budget.left,
            capacity: budget.capacity,
            next_at: budget.next_at.map(Timestamp::to_rfc3339_millis),
        }
    }
}
