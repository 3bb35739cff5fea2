//! Certificates, as the API shows them: their states, DNS records, what is left of the limits of CAs. Nothing of a
//! private key is among it.

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

/// A domain's certificate and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateView {
    /// Who brings it.
    #[schema(examples("acme", "provided", "none"))]
    pub(crate) mode: &'static str,
    /// Where it stands. A certificate that is there goes on being served in every state.
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
    /// Why it is not active, and what to do.
    pub(crate) reason: Option<String>,
    /// When the next attempt is made.
    #[schema(format = "date-time")]
    pub(crate) next_try: Option<String>,
    /// Attempts that failed since the last success.
    pub(crate) failures: u32,
    /// When the one that is served ends; null while it has not been read since the start, too.
    #[schema(format = "date-time")]
    pub(crate) expires_at: Option<String>,
    /// Who issued it.
    pub(crate) issuer: Option<String>,
    /// SHA-256 of it, in hexadecimal.
    pub(crate) fingerprint: Option<String>,
    /// When it will be renewed.
    #[schema(format = "date-time")]
    pub(crate) renew_at: Option<String>,
    /// What the last verification found; null before the first.
    pub(crate) dns: Option<DnsView>,
    /// Where it waits for its turn, if it does.
    pub(crate) queue: Option<QueueView>,
}

impl CertificateView {
    /// Of a domain; `state` is absent where nobody looks after certificates.
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

    /// Of a domain, as it is now.
    pub(crate) fn of<P: Plane>(plane: &P, domain: &Domain) -> Self {
        Self::new(domain, plane.certificate(&domain.name).as_ref())
    }
}

/// Whether the domain was shown to lead here: by its certificate from a CA, or by the last verification.
pub(crate) fn is_verified(state: Option<&DomainState>) -> bool {
    state.is_some_and(|state| {
        state.state == CertificateState::Active
            || state.verification.as_ref().is_some_and(|verification| verification.readiness.is_ready())
    })
}

/// Certificates that clients present.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClientAuthView {
    /// The CAs that may vouch for clients.
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

/// What a verification found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DnsView {
    #[schema(format = "date-time")]
    pub(crate) checked_at: String,
    /// `ready` is the one with which a certificate can be issued.
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
    /// Records of which one should be there; empty where this machine's public addresses are not known.
    pub(crate) expected: Vec<RecordView>,
    /// Records that are there: the chain of CNAMEs, then the addresses at its end.
    pub(crate) found: Vec<RecordView>,
    /// Why DNS could not be asked.
    pub(crate) problem: Option<String>,
    /// Whether CAA records let the CA issue.
    pub(crate) caa: CaaView,
    /// What answered at our own challenge URL, by address.
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

/// What CAA records say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CaaView {
    #[schema(examples("allowed", "unclear", "forbidden", "unanswered", "unasked"))]
    pub(crate) verdict: &'static str,
    /// The name that has the records that count.
    pub(crate) at: Option<String>,
    /// The CAs that they name.
    pub(crate) issuers: Vec<String>,
    /// Why they could not be looked up.
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

/// What answered at our challenge URL.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProbeView {
    #[schema(examples("203.0.113.7:80"))]
    pub(crate) address: String,
    /// `ours` is what a CA needs to find; `foreign` is another server.
    #[schema(examples("ours", "refused", "timed_out", "no_route", "broken", "foreign", "not_asked"))]
    pub(crate) outcome: &'static str,
    /// The status of a foreign answer.
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

/// A place in the queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueueView {
    /// 1 is next.
    pub(crate) position: usize,
    /// When its turn should come, by what is left of the CA's limits; null while the CA is out of order.
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

/// A verification that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerificationView {
    pub(crate) domain: String,
    /// Whether a CA will find our answer.
    pub(crate) verified: bool,
    #[serde(flatten)]
    pub(crate) dns: DnsView,
}

/// A certificate that was uploaded.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UploadedView {
    pub(crate) domain: String,
    /// Names that it is good for.
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) serial: String,
    /// SHA-256 of it, in hexadecimal.
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

/// One page of certificates: the schema of what [`Pieces::page_with`](crate::lists::Pieces::page_with) writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct CertificatePage {
    certificates: Vec<CertificateItem>,
    #[serde(flatten)]
    tail: CertificatePageTail,
}

/// What follows the items of a page of certificates.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificatePageTail {
    /// All of them together, whatever the filters let through.
    pub(crate) overview: CertificatesView,
    #[serde(flatten)]
    pub(crate) tail: PageTail,
}

/// Certificates as a whole.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CertificatesView {
    /// How many domains stand where, by state.
    pub(crate) states: BTreeMap<&'static str, usize>,
    /// Certificates of domains that are past their end.
    pub(crate) expired: usize,
    /// Certificates of domains past two thirds of their life whose renewal is overdue.
    pub(crate) late: usize,
    /// Domains whose files on the disk cannot be served.
    pub(crate) damaged: usize,
    /// Certificates on the disk that have not been read since the start; a matter of seconds.
    pub(crate) unread: usize,
    /// What is wrong with the certificate directory.
    pub(crate) directory_problem: Option<String>,
    /// What is wrong with this machine's clock.
    pub(crate) clock_problem: Option<String>,
    /// The operator's own certificate, for names that have none of their own.
    pub(crate) default: Option<DefaultView>,
    /// The CAs, in the order in which they are asked. Empty: none is.
    pub(crate) authorities: Vec<AuthorityView>,
    /// What is left of the CAs' limits.
    pub(crate) budgets: Vec<BudgetView>,
    pub(crate) queue: QueueTotals,
}

/// All that wait.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct QueueTotals {
    /// Domains that wait for their turn.
    pub(crate) waiting: usize,
    /// Orders that a CA works on.
    pub(crate) in_flight: usize,
    /// When the last of those that wait should have had its turn.
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

/// The operator's own certificate.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DefaultView {
    pub(crate) names: Vec<String>,
    pub(crate) issuer: String,
    pub(crate) fingerprint: String,
    #[schema(format = "date-time")]
    pub(crate) expires_at: String,
    /// What is wrong with its files as they are now; the certificate above is the one that is served.
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
    /// Its directory.
    #[schema(format = "uri")]
    pub(crate) url: String,
    /// Whether orders go to it.
    pub(crate) usable: bool,
    /// What it last did that was wrong.
    pub(crate) problem: Option<String>,
    /// It is left alone until then.
    #[schema(format = "date-time")]
    pub(crate) paused_until: Option<String>,
    /// Orders that it works on.
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

/// What is left of one of a CA's limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BudgetView {
    /// Which limit.
    pub(crate) limit: &'static str,
    /// Of which CA.
    pub(crate) authority: String,
    /// Of which registered domain, account or host, where it is counted for each: the one nearest to its end.
    pub(crate) subject: Option<String>,
    /// What may still be done now.
    pub(crate) left: u32,
    /// What it is when nothing was done for long.
    pub(crate) capacity: u32,
    /// When one more is there.
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
