//! The public handle to certificates, on the control thread.
//!
//! ```text
//!  Certificates ─▶ Issuance ─▶ acme: Authority, Order
//!       │              │             │
//!       ├──────────────┼─ Verifier   │
//!       ├──────────────┴─ CertificateStore
//!       └───────▶ Disk, Publisher, Registry ◀── all of the above
//! ```
//! Each part owns its state and knows only parts to its right or below.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use ringway_bridge::{MailboxReceiver, MailboxSender, WakeSource};
use ringway_model::{CertificateMode, Domain, Hostname};
use ringway_net::clock;
use ringway_tls::{Facts, SecretRequest};

use crate::certificate_store::{CertificateStore, InstallError};
use crate::default_certificate::{DefaultCertificate, DefaultChange};
use crate::disk::{Disk, DiskError};
use crate::domains::StoredCertificate;
use crate::event::CertificateEvent;
use crate::host::Host;
use crate::issuance::{Issuance, Parts};
use crate::maintenance::Maintenance;
use crate::metrics;
use crate::open::Opened;
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::report::{CertificateState, DomainState, Overview};
use crate::tasks::spawn_logged;
use crate::upload::{UploadError, check_upload};
use crate::verification::{Verification, Verifier};

/// Handle to the certificates of all domains. Clones share it; all live on the control thread.
#[derive(Clone)]
pub struct Certificates {
    inner: Rc<Inner>,
}

struct Inner {
    registry: Registry,
    publisher: Publisher,
    disk: Disk,
    store: CertificateStore,
    verifier: Verifier,
    issuance: Issuance,
    default: DefaultCertificate,
    /// Changes of the default certificate; taken by [`Certificates::run`].
    default_changes: RefCell<Option<(MailboxReceiver<DefaultChange>, WakeSource)>>,
    /// Keeps the loader's thread alive as long as the handle.
    _requests: MailboxSender<SecretRequest>,
}

impl Certificates {
    /// Creates the handle, on the control thread. Nothing runs until [`Certificates::run`].
    pub fn new(opened: Opened) -> Self {
        let Opened { settings, files, on_disk, default, directory_problem, requests, default_changes, cores } =
            opened;
        let registry = Registry::new(on_disk);
        let publisher = Publisher::new(cores);
        let disk = Disk::new(files, directory_problem, registry.clone(), publisher.clone());
        let store = CertificateStore::new(registry.clone(), disk.clone(), publisher.clone());
        let verifier = Verifier::new(settings.clone(), registry.clone(), publisher.clone());
        let default = DefaultCertificate::new(default);
        let issuance = Issuance::new(
            settings,
            Parts {
                registry: registry.clone(),
                disk: disk.clone(),
                publisher: publisher.clone(),
                store: store.clone(),
                verifier: verifier.clone(),
                default: default.clone(),
            },
        );
        let default_changes = RefCell::new(Some(default_changes));
        let inner = Inner {
            registry,
            publisher,
            disk,
            store,
            verifier,
            issuance,
            default,
            default_changes,
            _requests: requests,
        };
        Self { inner: Rc::new(inner) }
    }

    /// Adds a domain, or updates its registration. Called for all domains at the start, before
    /// [`Certificates::run`], and for each change.
    pub fn put_domain(&self, domain: &Domain) {
        let Inner { registry, publisher, store, issuance, .. } = &*self.inner;
        let is_stale = {
            let mut table = registry.table_mut();
            let entry = table.put(domain);
            issuance.show_missing_ca(entry);
            if !publisher.is_attached() {
                // The first snapshot has the version of `Opened::version`.
                entry.published = entry.wanted_version();
                entry.is_from_start = true;
            }
            entry.published != entry.wanted_version()
        };
        if is_stale {
            let (store, host) = (store.clone(), domain.name.clone());
            spawn_logged(async move { store.publish_logged(&host).await });
        }
        registry.mark_changed(&domain.name);
        store.read_soon();
    }

    /// Removes a domain. Its certificate is soon deleted from the disk, unless it is registered again by
    /// then.
    pub fn remove_domain(&self, host: &Hostname) {
        let Inner { registry, publisher, store, .. } = &*self.inner;
        let had_certificate = match registry.table_mut().remove(host) {
            Some(entry) => entry.stored != StoredCertificate::None,
            None => return,
        };
        registry.mark_changed(host);
        if !publisher.is_attached() {
            // Nothing runs yet: the folder is an orphan, which maintenance deletes.
            return;
        }
        let (store, publisher, host) = (store.clone(), publisher.clone(), host.clone());
        spawn_logged(async move {
            if store.remove_unregistered(&host).await && had_certificate {
                publisher.notify(CertificateEvent::Removed { host });
            }
        });
    }

    /// Checks and stores a certificate with its key for a domain whose mode is `provided`, and publishes it
    /// to every core.
    ///
    /// # Errors
    /// See [`UploadError`]; nothing has changed then, except with [`UploadError::NotLive`].
    pub async fn upload(&self, host: &Hostname, chain: &[u8], key: &[u8]) -> Result<Arc<Facts>, UploadError> {
        let Inner { registry, publisher, store, .. } = &*self.inner;
        match registry.table().get(host).map(|entry| entry.domain.certificate) {
            Some(CertificateMode::Provided) => {}
            Some(CertificateMode::Acme | CertificateMode::None) => return Err(UploadError::NotProvided),
            None => return Err(UploadError::UnknownDomain),
        }
        let (pair, identity) = check_upload(host, chain, key, clock::timestamp())?;
        let facts = Arc::new(identity.facts().clone());
        let installed = store.install(host, pair, identity, Arc::clone(&facts)).await;
        if !matches!(installed, Err(InstallError::Disk(_) | InstallError::Unregistered)) {
            publisher.notify(CertificateEvent::Uploaded { host: host.clone(), facts: Arc::clone(&facts) });
        }
        match installed {
            Ok(()) => Ok(facts),
            Err(InstallError::Disk(DiskError::Busy)) => Err(UploadError::Busy),
            Err(InstallError::Disk(error)) => Err(UploadError::NotStored(error.to_string())),
            Err(InstallError::Unregistered) => Err(UploadError::UnknownDomain),
            Err(InstallError::NotLive(error)) => Err(UploadError::NotLive(error)),
        }
    }

    /// Checks a certificate as [`Certificates::upload`] would, whatever the domain's mode, and stores
    /// nothing.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub fn check(&self, host: &Hostname, chain: &[u8], key: &[u8]) -> Result<Arc<Facts>, UploadError> {
        let (_, identity) = check_upload(host, chain, key, clock::timestamp())?;
        Ok(Arc::new(identity.facts().clone()))
    }

    /// Removes a domain's certificate from the disk and from every core. Call it after the mode has left
    /// `provided`: until then, status waits for the file that is being removed.
    ///
    /// # Errors
    /// See [`UploadError`]; with [`UploadError::NotLive`] the certificate is removed all the same.
    pub async fn discard(&self, host: &Hostname) -> Result<(), UploadError> {
        self.inner.store.discard(host).await
    }

    /// Verifies a domain now: DNS records, then our own challenge URL. `None` when the domain is not
    /// registered, or too many verifications are queued. The result is kept for [`Certificates::state`]; a
    /// domain that is ready is retried at once.
    pub async fn verify(&self, host: &Hostname) -> Option<Arc<Verification>> {
        let verification = self.inner.verifier.verify(host).await?;
        if verification.readiness.is_ready() {
            self.inner.issuance.retry_now(host);
        }
        self.inner.registry.mark_changed(host);
        Some(verification)
    }

    /// Returns the state of one domain; `None` when it is not registered.
    pub fn state(&self, host: &Hostname) -> Option<DomainState> {
        let default = self.inner.default.facts();
        let state = self.inner.registry.table().get(host)?.report(default.as_ref());
        Some(DomainState { queue_position: self.inner.issuance.queue_position(host), ..state })
    }

    /// Runs all certificate tasks: reads the certificates on the disk, follows the default certificate's
    /// files, deletes orphans, orders and renews. Never returns; run it once, as a task.
    pub async fn run(self, host: impl Host) {
        let Inner { registry, publisher, disk, store, issuance, default, default_changes, .. } = &*self.inner;
        publisher.attach(host);
        let issuance = issuance.clone();
        spawn_logged(async move { issuance.run().await });
        let Some(default_changes) = default_changes.take() else { return };
        let maintenance = Maintenance {
            registry: registry.clone(),
            publisher: publisher.clone(),
            disk: disk.clone(),
            store: store.clone(),
            default: default.clone(),
        };
        maintenance.run(default_changes).await;
    }

    /// Returns the state of certificates as a whole.
    pub fn overview(&self) -> Overview {
        let mut overview = self.overview_of_files();
        self.inner.issuance.complete_overview(&mut overview);
        overview
    }

    /// Appends the metrics, in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        let ends = self
            .inner
            .registry
            .table()
            .iter()
            .filter_map(|(_, entry)| Some(entry.stored.facts()?.not_after))
            .min();
        metrics::render(&self.overview_of_files(), ends, self.inner.disk.files().opened(), out);
        self.inner.issuance.render_metrics(out);
    }

    #[cfg(test)]
    pub(crate) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    #[cfg(test)]
    pub(crate) fn issuance(&self) -> &Issuance {
        &self.inner.issuance
    }

    /// The part of [`Certificates::overview`] that is not about CAs.
    fn overview_of_files(&self) -> Overview {
        let now = clock::timestamp();
        let table = self.inner.registry.table();
        let mut states: BTreeMap<CertificateState, usize> = BTreeMap::new();
        let mut overview = Overview { orphans: table.orphans().len(), ..Overview::default() };
        let default = self.inner.default.facts();
        for (_, entry) in table.iter() {
            *states.entry(entry.report_state(default.as_deref())).or_default() += 1;
            match &entry.stored {
                StoredCertificate::Unread { .. } => overview.unread += 1,
                StoredCertificate::Damaged { .. } => overview.damaged += 1,
                StoredCertificate::Loaded { facts, .. } if now > facts.not_after => overview.expired += 1,
                StoredCertificate::Loaded { .. } | StoredCertificate::None => {}
            }
        }
        overview.states = CertificateState::ALL
            .iter()
            .map(|state| (*state, states.get(state).copied().unwrap_or(0)))
            .collect();
        overview.directory_problem = self.inner.disk.problem();
        overview.default = self.inner.default.state().clone();
        overview
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "certificates_tests.rs"]
pub(crate) mod tests;
