//! Table of registered domains: registration, stored certificate and issuance state of each. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{CertificateMode, Domain, Hostname, Tick, Timestamp};
use ringway_tls::Facts;

use crate::issuance_state::{IssuanceRecord, Stage};
use crate::report::{CertificateState, DomainState};
use crate::verification::Verification;

/// All registered domains, and the folders of unregistered ones.
#[derive(Debug, Default)]
pub(crate) struct DomainTable {
    entries: HashMap<Hostname, DomainEntry, ahash::RandomState>,
    /// Registrations so far: numbers the entries, so that a task detects that its domain was registered
    /// again.
    numbered: u64,
    /// Folders of unregistered domains.
    orphans: OnDisk,
}

/// Domains with a folder on the disk, and the version of the certificate in it, if there is one.
pub(crate) type OnDisk = HashMap<Hostname, Option<u64>, ahash::RandomState>;

/// Registered domain.
#[derive(Debug)]
pub(crate) struct DomainEntry {
    /// Registration.
    pub(crate) domain: Arc<Domain>,
    /// Certificate on the disk.
    pub(crate) stored: StoredCertificate,
    /// Issuance status, written by the issuance task.
    pub(crate) status: IssuanceStatus,
    /// Last verification.
    pub(crate) verification: Option<Arc<Verification>>,
    /// Version last published to the cores.
    pub(crate) published: Option<u64>,
    /// Persisted issuance record, once read from the disk.
    pub(crate) record: Option<IssuanceRecord>,
    /// Issuance step in progress.
    pub(crate) stage: Stage,
    /// Failures of the CA to serve its orders since the last success.
    pub(crate) outages: Outages,
    /// Whether the CA lost an order since the last success, which was replaced at once.
    pub(crate) was_order_lost: bool,
    /// Whether it was registered before the start, and no attempt was made since.
    pub(crate) is_from_start: bool,
    /// Unique number of the registration.
    pub(crate) number: u64,
}

/// Certificate of a domain on the disk.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StoredCertificate {
    /// No certificate.
    None,
    /// Not read yet since the start.
    Unread { version: u64 },
    /// Valid.
    Loaded { version: u64, facts: Arc<Facts> },
    /// Not servable.
    Damaged { reason: String },
}

/// Issuance status of a domain with mode `acme`, for the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct IssuanceStatus {
    pub(crate) state: CertificateState,
    pub(crate) reason: Option<String>,
    pub(crate) next_try: Option<Timestamp>,
    pub(crate) renewal_at: Option<Timestamp>,
    pub(crate) failures: u32,
}

/// Consecutive failures of the CA to serve the orders of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outages {
    pub(crate) count: u32,
    pub(crate) since: Option<Tick>,
}

impl StoredCertificate {
    /// Version that may be served.
    pub(crate) fn version(&self) -> Option<u64> {
        match self {
            Self::Unread { version } | Self::Loaded { version, .. } => Some(*version),
            Self::None | Self::Damaged { .. } => None,
        }
    }

    /// Facts of a certificate that was read.
    pub(crate) fn facts(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::Loaded { facts, .. } => Some(facts),
            Self::None | Self::Unread { .. } | Self::Damaged { .. } => None,
        }
    }
}

impl DomainEntry {
    /// Version that the cores should serve.
    pub(crate) fn wanted_version(&self) -> Option<u64> {
        match self.domain.certificate {
            CertificateMode::None => None,
            CertificateMode::Acme | CertificateMode::Provided => self.stored.version(),
        }
    }

    /// State for the API. `default`: facts of the default certificate.
    pub(crate) fn report_state(&self, default: Option<&Facts>) -> CertificateState {
        let state = match self.domain.certificate {
            CertificateMode::None => CertificateState::None,
            CertificateMode::Provided => CertificateState::Provided,
            CertificateMode::Acme => self.status.state,
        };
        match default {
            Some(default) if state == CertificateState::None && default.covers(self.domain.name.as_str()) => {
                CertificateState::Default
            }
            Some(_) | None => state,
        }
    }

    /// Full state for the API. `default`: facts of the default certificate.
    pub(crate) fn report(&self, default: Option<&Arc<Facts>>) -> DomainState {
        let mode = self.domain.certificate;
        let damage = match &self.stored {
            StoredCertificate::Damaged { reason } => Some(reason.clone()),
            StoredCertificate::None | StoredCertificate::Unread { .. } | StoredCertificate::Loaded { .. } => {
                None
            }
        };
        let state = self.report_state(default.map(Arc::as_ref));
        if state == CertificateState::Default {
            return DomainState {
                mode,
                state,
                reason: damage,
                certificate: default.cloned(),
                version: None,
                next_try: None,
                renewal_at: None,
                failures: 0,
                queue_position: None,
                verification: self.verification.clone(),
            };
        }
        let base = DomainState {
            mode,
            state,
            reason: None,
            certificate: None,
            version: self.wanted_version(),
            next_try: None,
            renewal_at: None,
            failures: 0,
            queue_position: None,
            verification: self.verification.clone(),
        };
        match mode {
            CertificateMode::None => base,
            CertificateMode::Provided => {
                let awaited = (self.stored == StoredCertificate::None)
                    .then(|| "its certificate has not been uploaded yet".to_owned());
                let certificate = self.stored.facts().cloned();
                DomainState { reason: damage.or(awaited), certificate, ..base }
            }
            CertificateMode::Acme => DomainState {
                reason: join(damage, self.status.reason.clone()),
                certificate: self.stored.facts().cloned(),
                next_try: self.status.next_try,
                renewal_at: self.status.renewal_at,
                failures: self.status.failures,
                ..base
            },
        }
    }
}

impl DomainTable {
    /// Creates an empty table, with the folders found on the disk.
    pub(crate) fn new(on_disk: OnDisk) -> Self {
        Self { entries: HashMap::default(), numbered: 0, orphans: on_disk }
    }

    /// Adds or updates a domain. A new one takes over the certificate in its folder.
    pub(crate) fn put(&mut self, domain: &Domain) -> &mut DomainEntry {
        let domain = Arc::new(domain.clone());
        let orphans = &mut self.orphans;
        let numbered = &mut self.numbered;
        let entry = self.entries.entry(domain.name.clone()).or_insert_with(|| {
            let stored = orphans
                .remove(&domain.name)
                .flatten()
                .map_or(StoredCertificate::None, |version| StoredCertificate::Unread { version });
            let published = None;
            *numbered += 1;
            DomainEntry {
                domain: Arc::clone(&domain),
                stored,
                status: IssuanceStatus::default(),
                verification: None,
                published,
                record: None,
                stage: Stage::default(),
                outages: Outages::default(),
                was_order_lost: false,
                is_from_start: false,
                number: *numbered,
            }
        });
        if entry.domain.updated_at != domain.updated_at
            && let Some(record) = &mut entry.record
        {
            // The user who changes a registration expects an attempt.
            record.retry_now();
        }
        entry.domain = domain;
        entry
    }

    /// Removes a domain. Its folder becomes an orphan.
    pub(crate) fn remove(&mut self, host: &Hostname) -> Option<DomainEntry> {
        let entry = self.entries.remove(host)?;
        self.orphans.insert(host.clone(), entry.stored.version());
        Some(entry)
    }

    /// Forgets the folder of an unregistered domain.
    pub(crate) fn forget_orphan(&mut self, host: &Hostname) {
        self.orphans.remove(host);
    }

    /// Unregistered domains with a folder.
    pub(crate) fn orphans(&self) -> impl ExactSizeIterator<Item = &Hostname> {
        self.orphans.keys()
    }

    /// Records a certificate that appeared on the disk after the start; returns whether its domain had none.
    pub(crate) fn find(&mut self, host: &Hostname, version: u64) -> bool {
        match self.entries.get_mut(host) {
            Some(entry) if entry.stored == StoredCertificate::None => {
                entry.stored = StoredCertificate::Unread { version };
                true
            }
            Some(_) => false,
            None => {
                self.orphans.insert(host.clone(), Some(version));
                false
            }
        }
    }

    pub(crate) fn get(&self, host: &Hostname) -> Option<&DomainEntry> {
        self.entries.get(host)
    }

    pub(crate) fn get_mut(&mut self, host: &Hostname) -> Option<&mut DomainEntry> {
        self.entries.get_mut(host)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Hostname, &DomainEntry)> {
        self.entries.iter()
    }
}

/// Joins the damage of the stored certificate and the reason why no other was issued.
fn join(damage: Option<String>, reason: Option<String>) -> Option<String> {
    match (damage, reason) {
        (Some(damage), Some(reason)) => Some(format!("{damage}; {reason}")),
        (damage, reason) => damage.or(reason),
    }
}
