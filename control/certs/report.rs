//! States of certificates, for the API, status and metrics.

use std::sync::Arc;

use ringway_model::{CertificateMode, Timestamp};
use ringway_tls::Facts;

use crate::verification::Verification;

/// Certificate state of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateState {
    /// No certificate is wanted, or no CA is configured.
    #[default]
    None,
    /// As `None`, and the default certificate covers the domain.
    Default,
    /// Its DNS records do not point to this server yet.
    PendingDns,
    /// It is being verified, or waits in the order queue.
    Verifying,
    /// The CA processes its order.
    Issuing,
    /// It has a certificate, which is renewed automatically.
    Active,
    /// The last attempt failed and is retried. An existing certificate stays in service.
    Failed,
    /// Attempts stopped until the domain is verified or changed.
    Parked,
    /// Its certificate is uploaded, or still to be.
    Provided,
}

impl CertificateState {
    /// All states.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Default,
        Self::PendingDns,
        Self::Verifying,
        Self::Issuing,
        Self::Active,
        Self::Failed,
        Self::Parked,
        Self::Provided,
    ];

    /// Name in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Default => "default",
            Self::PendingDns => "pending_dns",
            Self::Verifying => "verifying",
            Self::Issuing => "issuing",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Provided => "provided",
        }
    }
}

/// State of the certificate of one domain.
#[derive(Clone, Debug)]
pub struct DomainState {
    /// Source of the certificate.
    pub mode: CertificateMode,
    /// State.
    pub state: CertificateState,
    /// Reason why it is not active, and the remedy, in one sentence.
    pub reason: Option<String>,
    /// Certificate that is served; `None` also until it was read after the start, see
    /// [`DomainState::version`].
    pub certificate: Option<Arc<Facts>>,
    /// Version published to the cores.
    pub version: Option<u64>,
    /// Time of the next attempt.
    pub next_try: Option<Timestamp>,
    /// Time of the renewal.
    pub renewal_at: Option<Timestamp>,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Position in the order queue.
    pub queue_position: Option<QueuePosition>,
    /// Last verification.
    pub verification: Option<Arc<Verification>>,
}

/// Position in the order queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePosition {
    /// 1 for the next order.
    pub position: usize,
    /// Expected start of its order by the current budgets; `None` while the CA is unavailable.
    pub expected_at: Option<Timestamp>,
}

/// State of certificates as a whole.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Number of domains by state.
    pub states: Vec<(CertificateState, usize)>,
    /// Problem with the certificate directory, and the remedy.
    pub directory_problem: Option<String>,
    /// Certificates on the disk not read yet since the start.
    pub unread: usize,
    /// Domains whose certificate on the disk is damaged.
    pub damaged: usize,
    /// Expired certificates.
    pub expired: usize,
    /// Certificates past two thirds of their life whose renewal is overdue.
    pub late: usize,
    /// Problem with the clock: renewals are suspended meanwhile.
    pub clock_problem: Option<String>,
    /// Folders on the disk whose domain is not registered.
    pub orphans: usize,
    /// Default certificate.
    pub default: Option<DefaultState>,
    /// CAs, in order of preference.
    pub authorities: Vec<AuthorityState>,
    /// Remaining rate-limit budgets.
    pub budgets: Vec<BudgetState>,
    /// Domains in the order queue.
    pub queued: usize,
    /// Orders in flight.
    pub orders_in_flight: usize,
    /// Expected start of the last queued order.
    pub queue_ends_at: Option<Timestamp>,
}

/// Default certificate.
#[derive(Clone, Debug)]
pub struct DefaultState {
    /// Certificate that is served.
    pub facts: Arc<Facts>,
    /// Version.
    pub version: u64,
    /// Problem with its current files.
    pub problem: Option<String>,
}

/// CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityState {
    /// URL of its directory.
    pub url: String,
    /// Whether orders are sent to it.
    pub is_usable: bool,
    /// Last failure.
    pub problem: Option<String>,
    /// End of its pause.
    pub paused_until: Option<Timestamp>,
    /// Orders in flight at this CA.
    pub orders_in_flight: usize,
}

/// Remaining budget of a CA's rate limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetState {
    /// Name of the limit.
    pub limit: &'static str,
    /// URL of the CA's directory.
    pub authority: String,
    /// Registered domain, account or host with the least budget left, where the limit is counted for each.
    pub subject: Option<String>,
    /// Tokens left.
    pub left: u32,
    /// Capacity.
    pub capacity: u32,
    /// Time of the next token.
    pub next_at: Option<Timestamp>,
}
