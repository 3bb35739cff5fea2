//! What is known about certificates, for the API, the status and the metrics.

use std::sync::Arc;

use ringway_model::{CertificateMode, Timestamp};
use ringway_tls::Facts;

use crate::verification::Verification;

/// Where a domain stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It wants no certificate, or no CA is configured.
    #[default]
    None,
    /// The same, and the operator's default certificate covers it.
    Default,
    /// Its DNS records do not lead here yet.
    PendingDns,
    /// Its DNS records and our own challenge URL are being looked at, or it waits for its turn.
    Verifying,
    /// The CA works on it.
    Issuing,
    /// It has a certificate, which is looked after.
    Active,
    /// The last attempt came to nothing; it is tried again. A certificate that it has goes on being served.
    Failed,
    /// It is not tried any more until somebody asks for it.
    Parked,
    /// Its certificate is uploaded, or awaits the upload.
    Provided,
}

impl State {
    /// All of them.
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

    /// The word in the API and in metrics.
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

/// All about the certificate of one domain.
#[derive(Clone, Debug)]
pub struct DomainState {
    /// Who brings it.
    pub mode: CertificateMode,
    /// Where it stands.
    pub state: State,
    /// Why it is not active, and what to do: one sentence.
    pub reason: Option<String>,
    /// The certificate that is served; `None` also while it has not been read since the start, see [`DomainState::version`].
    pub certificate: Option<Arc<Facts>>,
    /// The version that is published to the cores.
    pub version: Option<u64>,
    /// When the next attempt is made.
    pub next_try: Option<Timestamp>,
    /// When it will be renewed.
    pub renewal_at: Option<Timestamp>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Where it waits, if it does.
    pub place: Option<QueuePlace>,
    /// What the last verification found.
    pub verification: Option<Arc<Verification>>,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueuePlace {
    /// 1 is next.
    pub position: usize,
    /// When its turn should come, by the budgets as they are; `None` while the CA is out of order.
    pub expected_at: Option<Timestamp>,
}

/// All about certificates as a whole.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// How many domains stand where.
    pub states: Vec<(State, usize)>,
    /// What is wrong with the certificate directory, and what to do.
    pub directory_problem: Option<String>,
    /// Certificates on the disk that have not been read since the start: a task does so by and by.
    pub unread: usize,
    /// Domains whose files on the disk cannot be served.
    pub damaged: usize,
    /// Certificates that are past their end.
    pub expired: usize,
    /// Certificates past two thirds of their life whose renewal is overdue.
    pub late: usize,
    /// Why the clock is not believed: no certificate is judged by it meanwhile.
    pub clock_problem: Option<String>,
    /// Folders on the disk whose domain is not registered.
    pub orphans: usize,
    /// The operator's own certificate.
    pub default: Option<DefaultState>,
    /// The CAs, in the order in which they are asked.
    pub authorities: Vec<AuthorityState>,
    /// What may still be asked of them.
    pub budgets: Vec<BudgetState>,
    /// Domains that wait for their turn.
    pub queued: usize,
    /// Orders that the CA works on.
    pub orders_in_flight: usize,
    /// When the last of those that wait should have had its turn.
    pub queue_ends_at: Option<Timestamp>,
}

/// The operator's own certificate.
#[derive(Clone, Debug)]
pub struct DefaultState {
    /// The one that is served.
    pub facts: Arc<Facts>,
    /// Its version.
    pub version: u64,
    /// What is wrong with its files as they are now.
    pub problem: Option<String>,
}

/// One CA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityState {
    /// The URL of its directory.
    pub url: String,
    /// Whether orders go to it.
    pub is_usable: bool,
    /// What it did last that was wrong.
    pub problem: Option<String>,
    /// It is left alone until then.
    pub paused_until: Option<Timestamp>,
    /// Orders that it works on.
    pub orders_in_flight: usize,
}

/// What is left of one of the CA's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetState {
    /// Which limit.
    pub limit: &'static str,
    /// Of which CA.
    pub authority: String,
    /// Of which registered domain, account or host, where it is counted for each: the one that is nearest to its end.
    pub subject: Option<String>,
    /// What may still be done now.
    pub left: u32,
    /// What it is when nothing was done for long.
    pub capacity: u32,
    /// When one more is there.
    pub next_at: Option<Timestamp>,
}
