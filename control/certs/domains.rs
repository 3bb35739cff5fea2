//! What is wished for and what is held, domain by domain. Pure: no clock, no disk.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{CertificateMode, Domain, Hostname, Tick, Timestamp};
use ringway_tls::Facts;

use crate::course::Memory;
use crate::issuance::Stage;
use crate::report::{DomainState, QueuePlace, State};
use crate::verification::Verification;

/// All registered domains, and what stands on the disk for those that are not.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    entries: HashMap<Hostname, Entry, ahash::RandomState>,
    /// Domains that were ever registered, so that who was away can tell that one was registered anew.
    numbered: u64,
    /// What stands on the disk for domains that are not registered, with the version that a certificate there would have.
    orphans: OnDisk,
}

/// Domains that have a folder on the disk, and the version of the certificate in it, if there is one.
pub(crate) type OnDisk = HashMap<Hostname, Option<u64>, ahash::RandomState>;

/// A registered domain.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What is wished for.
    pub(crate) domain: Arc<Domain>,
    /// What stands on the disk.
    pub(crate) held: Held,
    /// Where it stands with the CA: written by those who deal with it.
    pub(crate) course: Course,
    /// What the last verification found.
    pub(crate) verification: Option<Arc<Verification>>,
    /// What the cores were last told to serve.
    pub(crate) published: Option<u64>,
    /// Where it stood with the CA, once the disk was asked.
    pub(crate) memory: Option<Memory>,
    /// What is being done for it.
    pub(crate) stage: Stage,
    /// Outages of the CA that orders for it met since the last that were not, and when the first was.
    pub(crate) outages: (u32, Option<Tick>),
    /// The CA has lost an order for it since the last success, and another was made at once.
    pub(crate) was_order_lost: bool,
    /// It was registered before the start, and nothing was tried since.
    pub(crate) is_from_start: bool,
    /// No other entry has had this number, for the same domain neither.
    pub(crate) number: u64,
}

/// What stands on the disk for a domain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Held {
    /// No certificate.
    Nothing,
    /// One that has not been read since the start.
    Unread { version: u64 },
    /// One that can be served.
    Ready { version: u64, facts: Arc<Facts> },
    /// One that cannot.
    Damaged { reason: String },
}

/// Where a domain with mode `acme` stands with the CA.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Course {
    pub(crate) state: State,
    pub(crate) reason: Option<String>,
    pub(crate) next_try: Option<Timestamp>,
    pub(crate) renewal_at: Option<Timestamp>,
    pub(crate) failures: u32,
    pub(crate) place: Option<QueuePlace>,
}

impl Held {
    /// The version that may be served.
    pub(crate) fn version(&self) -> Option<u64> {
        match self {
            Self::Unread { version } | Self::Ready { version, .. } => Some(*version),
            Self::Nothing | Self::Damaged { .. } => None,
        }
    }

    /// What it says, if it was read.
    pub(crate) fn facts(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::Ready { facts, .. } => Some(facts),
            Self::Nothing | Self::Unread { .. } | Self::Damaged { .. } => None,
        }
    }
}

impl Entry {
    /// The version that the cores should serve.
    pub(crate) fn wanted_version(&self) -> Option<u64> {
        match self.domain.certificate {
            CertificateMode::None => None,
            CertificateMode::Acme | CertificateMode::Provided => self.held.version(),
        }
    }

    /// Where it stands. `default`: what the operator's own certificate says.
    pub(crate) fn report_state(&self, default: Option<&Facts>) -> State {
        let state = match self.domain.certificate {
            CertificateMode::None => State::None,
            CertificateMode::Provided => State::Provided,
            CertificateMode::Acme => self.course.state,
        };
        match default {
            Some(default) if state == State::None && default.covers(self.domain.name.as_str()) => {
                State::Default
            }
            Some(_) | None => state,
        }
    }

    /// All about it, for the API. `default`: what the operator's own certificate says.
    pub(crate) fn report(&self, default: Option<&Arc<Facts>>) -> DomainState {
        let mode = self.domain.certificate;
        let damage = match &self.held {
            Held::Damaged { reason } => Some(reason.clone()),
            Held::Nothing | Held::Unread { .. } | Held::Ready { .. } => None,
        };
        let state = self.report_state(default.map(Arc::as_ref));
        if state == State::Default {
            return DomainState {
                mode,
                state,
                // No CA is missed.
                reason: damage,
                certificate: default.cloned(),
                version: None,
                next_try: None,
                renewal_at: None,
                failures: 0,
                place: None,
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
            place: None,
            verification: self.verification.clone(),
        };
        match mode {
            CertificateMode::None => base,
            CertificateMode::Provided => {
                let awaited = (self.held == Held::Nothing)
                    .then(|| "its certificate has not been uploaded yet".to_owned());
                let certificate = self.held.facts().cloned();
                DomainState { reason: damage.or(awaited), certificate, ..base }
            }
            CertificateMode::Acme => DomainState {
                reason: both(damage, self.course.reason.clone()),
                certificate: self.held.facts().cloned(),
                next_try: self.course.next_try,
                renewal_at: self.course.renewal_at,
                failures: self.course.failures,
                place: self.course.place,
                ..base
            },
        }
    }
}

impl Domains {
    /// With what was found on the disk at the start.
    pub(crate) fn new(on_disk: OnDisk) -> Self {
        Self { entries: HashMap::default(), numbered: 0, orphans: on_disk }
    }

    /// A domain is wished for, or otherwise than before. A certificate that waits on the disk for it is its own.
    pub(crate) fn put(&mut self, domain: &Domain) -> &mut Entry {
        let domain = Arc::new(domain.clone());
        let orphans = &mut self.orphans;
        let numbered = &mut self.numbered;
        let entry = self.entries.entry(domain.name.clone()).or_insert_with(|| {
            let held = orphans
                .remove(&domain.name)
                .flatten()
                .map_or(Held::Nothing, |version| Held::Unread { version });
            let published = None;
            *numbered += 1;
            Entry {
                domain: Arc::clone(&domain),
                held,
                course: Course::default(),
                verification: None,
                published,
                memory: None,
                stage: Stage::default(),
                outages: (0, None),
                was_order_lost: false,
                is_from_start: false,
                number: *numbered,
            }
        });
        if entry.domain.updated_at != domain.updated_at
            && let Some(memory) = &mut entry.memory
        {
            // Whoever changes a registration wants to see what comes of it.
            memory.revive();
        }
        entry.domain = domain;
        entry
    }

    /// A domain is wished for no more. What it has on the disk is nobody's now.
    pub(crate) fn remove(&mut self, host: &Hostname) -> Option<Entry> {
        let entry = self.entries.remove(host)?;
        self.orphans.insert(host.clone(), entry.held.version());
        Some(entry)
    }

    /// What was on the disk for an unregistered domain is gone.
    pub(crate) fn forget_orphan(&mut self, host: &Hostname) {
        self.orphans.remove(host);
    }

    /// What has a folder and no domain.
    pub(crate) fn orphans(&self) -> impl ExactSizeIterator<Item = &Hostname> {
        self.orphans.keys()
    }

    /// A certificate was found on the disk after the start. Whether somebody waits for it.
    pub(crate) fn find(&mut self, host: &Hostname, version: u64) -> bool {
        match self.entries.get_mut(host) {
            Some(entry) if entry.held == Held::Nothing => {
                entry.held = Held::Unread { version };
                true
            }
            Some(_) => false,
            None => {
                self.orphans.insert(host.clone(), Some(version));
                false
            }
        }
    }

    pub(crate) fn get(&self, host: &Hostname) -> Option<&Entry> {
        self.entries.get(host)
    }

    pub(crate) fn get_mut(&mut self, host: &Hostname) -> Option<&mut Entry> {
        self.entries.get_mut(host)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&Hostname, &Entry)> {
        self.entries.iter()
    }
}

/// What is wrong with the certificate that is there, and why no better one is on its way.
fn both(damage: Option<String>, course: Option<String>) -> Option<String> {
    match (damage, course) {
        (Some(damage), Some(course)) => Some(format!("{damage}; {course}")),
        (damage, course) => damage.or(course),
    }
}
