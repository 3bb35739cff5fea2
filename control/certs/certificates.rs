//! The handle to everything about certificates, on the control thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use crate::limits::{CERTIFICATE_WRITES_WAITING_MAX, VERIFICATIONS_IN_FLIGHT_MAX, VERIFICATIONS_WAITING_MAX};
use ringway_bridge::{MailboxReceiver, MailboxSender, SendError, WakeSource};
use ringway_dns::Resolver;
use ringway_model::{CertificateMode, Domain, Hostname};
use ringway_net::{blocking, clock, join, spawn};
use ringway_tls::{Facts, Identity, IdentityName, Secret, SecretKey, SecretRequest, SecretUpdate};

use crate::domains::{Domains, Held};
use crate::event::CertificateEvent;
use crate::files::{Files, FilesError, Pair};
use crate::host::{AnyHost, Host, Unpublished};
use crate::issuance::Issuance;
use crate::lane::{Crowded, Lane};
use crate::loader::News;
use crate::report::{DefaultState, DomainState, Overview, State};
use crate::settings::Settings;
use crate::stir::Stir;
use crate::upload::{UploadError, check_upload};
use crate::verification::{
    Challenge, DnsRecords, Probe, ProbeOutcome, Verification, VerificationRequest, caa_identity, diagnose,
    probe,
};

mod metrics;
mod opening;
mod upkeep;

use opening::FIRST_VERSION;
pub use opening::{Opened, StartError, lend, open, upstream_secret};

/// The handle. Clones are the same; all live on the control thread.
#[derive(Clone)]
pub struct Certificates {
    pub(crate) shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) files: Files,
    pub(crate) domains: RefCell<Domains>,
    /// Domains of which something changed since [`Certificates::take_touched`]: at most all of them.
    pub(crate) touched: RefCell<HashSet<Hostname, ahash::RandomState>>,
    /// Stirred with every touch.
    pub(crate) stir: Stir,
    /// Stirred when there may be something to read from the disk.
    unread: Stir,
    host: RefCell<Option<Rc<dyn AnyHost>>>,
    default: RefCell<Option<DefaultState>>,
    directory_problem: RefCell<Option<String>>,
    /// How the CA calls itself in CAA records, once its directory has told.
    pub(crate) caa_identities: RefCell<Vec<String>>,
    last_version: Cell<u64>,
    /// Changes of files, one at a time.
    disk: Lane,
    verifications: Lane,
    pub(crate) issuance: Issuance,
    news: RefCell<Option<(MailboxReceiver<News>, WakeSource)>>,
    /// Where each core takes what is new of something that it has.
    cores: Vec<MailboxSender<SecretUpdate>>,
    /// Keeps the loader's thread alive as long as the handle.
    _wants: MailboxSender<SecretRequest>,
}

/// Why a change of files came to nothing.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// The disk, or what is on it.
    Files(FilesError),
    /// Too much waits for the disk.
    Busy,
    /// There is no thread to do it on, or it panicked there.
    Thread(io::Error),
}

/// Why a certificate could not be put in place.
#[derive(Debug)]
pub(crate) enum InstallError {
    /// It could not be stored.
    Disk(DiskError),
    /// The domain is not registered any more.
    Gone,
    /// It is stored, and not every core has acknowledged it.
    NotLive(Unpublished),
}

impl Certificates {
    /// The handle, for the control thread. Nothing happens by itself until [`Certificates::run`].
    pub fn new(opened: Opened) -> Self {
        let Opened { settings, files, on_disk, default, directory_problem, wants, news, cores } = opened;
        let issuance = Issuance::new(&settings);
        let shared = Shared {
            settings,
            issuance,
            files,
            domains: RefCell::new(Domains::new(on_disk)),
            touched: RefCell::default(),
            stir: Stir::default(),
            unread: Stir::default(),
            host: RefCell::default(),
            default: RefCell::new(default),
            directory_problem: RefCell::new(directory_problem),
            caa_identities: RefCell::default(),
            last_version: Cell::new(FIRST_VERSION),
            disk: Lane::new(1, CERTIFICATE_WRITES_WAITING_MAX),
            verifications: Lane::new(VERIFICATIONS_IN_FLIGHT_MAX, VERIFICATIONS_WAITING_MAX),
            news: RefCell::new(Some(news)),
            cores,
            _wants: wants,
        };
        Self { shared: Rc::new(shared) }
    }

    /// A domain is registered, or its registration has changed. Called for all of them at the start, before
    /// [`Certificates::run`], and for each change.
    pub fn put_domain(&self, domain: &Domain) {
        let is_stale = {
            let mut domains = self.shared.domains.borrow_mut();
            let entry = domains.put(domain);
            self.show_outlook(entry);
            if self.host().is_none() {
                // The first snapshot has what `Opened::version` said.
                entry.published = entry.wanted_version();
                entry.is_from_start = true;
            }
            entry.published != entry.wanted_version()
        };
        if is_stale {
            let (this, host) = (self.clone(), domain.name.clone());
            spawn(async move { this.publish_logged(&host).await }, log_panic);
        }
        self.touch(&domain.name);
        self.shared.unread.stir();
    }

    /// A domain is registered no more. Its certificate is removed from the disk soon, unless it is registered again by then.
    pub fn remove_domain(&self, host: &Hostname) {
        let had_certificate = match self.shared.domains.borrow_mut().remove(host) {
            Some(entry) => entry.held != Held::Nothing,
            None => return,
        };
        self.touch(host);
        if self.host().is_none() {
            // Nothing runs yet: what is left is an orphan, and orphans are looked after.
            return;
        }
        let (this, host) = (self.clone(), host.clone());
        spawn(
            async move {
                if this.remove_files(&host).await && had_certificate {
                    this.notify(CertificateEvent::Removed { host });
                }
            },
            log_panic,
        );
    }

    /// Takes a certificate and its key for a domain whose mode is `provided`: checks them, stores them, and has every core
    /// serve them.
    ///
    /// # Errors
    /// See [`UploadError`]; nothing has changed then, but for [`UploadError::NotLive`].
    pub async fn upload(&self, host: &Hostname, chain: &[u8], key: &[u8]) -> Result<Arc<Facts>, UploadError> {
        match self.shared.domains.borrow().get(host).map(|entry| entry.domain.certificate) {
            Some(CertificateMode::Provided) => {}
            Some(CertificateMode::Acme | CertificateMode::None) => return Err(UploadError::NotProvided),
            None => return Err(UploadError::UnknownDomain),
        }
        let (pair, identity) = check_upload(host, chain, key, clock::timestamp())?;
        let facts = Arc::new(identity.facts().clone());
        let installed = self.install(host, pair, identity, Arc::clone(&facts)).await;
        if !matches!(installed, Err(InstallError::Disk(_) | InstallError::Gone)) {
            self.notify(CertificateEvent::Uploaded { host: host.clone(), facts: Arc::clone(&facts) });
        }
        match installed {
            Ok(()) => Ok(facts),
            Err(InstallError::Disk(DiskError::Busy)) => Err(UploadError::Busy),
            Err(InstallError::Disk(error)) => Err(UploadError::NotStored(error.to_string())),
            Err(InstallError::Gone) => Err(UploadError::UnknownDomain),
            Err(InstallError::NotLive(error)) => Err(UploadError::NotLive(error)),
        }
    }

    /// Whether [`Certificates::upload`] would take a certificate, as far as it shows without storing it; whose mode it
    /// is does not count.
    ///
    /// # Errors
    /// See [`UploadError`].
    pub fn check(&self, host: &Hostname, chain: &[u8], key: &[u8]) -> Result<Arc<Facts>, UploadError> {
        let (_, identity) = check_upload(host, chain, key, clock::timestamp())?;
        Ok(Arc::new(identity.facts().clone()))
    }

    /// Removes a domain's certificate from the disk, and has every core serve none. To be called when its mode is not
    /// `provided` any more, lest somebody wait for what is being removed.
    ///
    /// # Errors
    /// See [`UploadError`]; the certificate is gone all the same with [`UploadError::NotLive`].
    pub async fn discard(&self, host: &Hostname) -> Result<(), UploadError> {
        let place = self.shared.disk.enter().await.map_err(|Crowded| UploadError::Busy)?;
        let name = host.clone();
        self.work_on_disk(move |files| files.remove_domain(&name))
            .await
            .map_err(|error| UploadError::NotStored(error.to_string()))?;
        match self.shared.domains.borrow_mut().get_mut(host) {
            Some(entry) => entry.held = Held::Nothing,
            None => return Err(UploadError::UnknownDomain),
        }
        drop(place);
        self.touch(host);
        self.publish(host).await.map_err(UploadError::NotLive)
    }

    /// Looks at a domain's DNS records and at our own challenge URL, now. `None` when the domain is not registered, or too
    /// many verifications wait already. What was found is kept for [`Certificates::state`], and whoever deals with the domain
    /// looks at it again.
    pub async fn verify(&self, host: &Hostname) -> Option<Arc<Verification>> {
        let verification = self.examine(host).await?;
        if verification.readiness.is_ready() {
            self.revive(host);
        }
        self.touch(host);
        Some(verification)
    }

    /// The same for those who deal with the domain themselves.
    pub(crate) async fn examine(&self, host: &Hostname) -> Option<Arc<Verification>> {
        let question = {
            let domains = self.shared.domains.borrow();
            let domain = &domains.get(host)?.domain;
            let settings = &self.shared.settings;
            let directories = settings.acme.iter().flat_map(|acme| &acme.directories);
            let public_cas: Vec<&str> =
                directories.filter_map(|directory| caa_identity(&directory.url)).collect();
            let mut caa_identities = self.shared.caa_identities.borrow().clone();
            if caa_identities.is_empty() {
                caa_identities = public_cas.iter().map(|&identity| identity.to_owned()).collect();
            }
            VerificationRequest {
                host: host.clone(),
                cname_target: domain.cname_target.clone(),
                public_addresses: settings.public_addresses.clone(),
                resolver: settings.dns_resolver,
                caa_identities,
                is_ca_public: !public_cas.is_empty(),
                http_port: settings.http_port,
            }
        };
        let place = self.shared.verifications.enter().await.ok()?;
        let asked = question.clone();
        let records =
            blocking(move || DnsRecords::look_up(&asked, &Resolver::begin(asked.resolver))).await.ok()?;
        let addresses = records.probe_addresses(&question);
        let probes = self.probe_all(host, addresses).await;
        drop(place);
        let verification = Arc::new(diagnose(&question, records, probes, clock::timestamp()));
        if let Some(entry) = self.shared.domains.borrow_mut().get_mut(host) {
            entry.verification = Some(Arc::clone(&verification));
        }
        Some(verification)
    }

    /// All about one domain; `None` when it is not registered.
    pub fn state(&self, host: &Hostname) -> Option<DomainState> {
        let default = self.default_facts();
        let state = self.shared.domains.borrow().get(host)?.report(default.as_ref());
        Some(DomainState { place: self.place(host), ..state })
    }

    /// The part of [`Certificates::overview`] that is not about CAs.
    pub(crate) fn overview_of_files(&self) -> Overview {
        let now = clock::timestamp();
        let domains = self.shared.domains.borrow();
        let mut states: BTreeMap<State, usize> = BTreeMap::new();
        let mut overview = Overview { orphans: domains.orphans().len(), ..Overview::default() };
        let default = self.default_facts();
        for (_, entry) in domains.iter() {
            *states.entry(entry.report_state(default.as_deref())).or_default() += 1;
            match &entry.held {
                Held::Unread { .. } => overview.unread += 1,
                Held::Damaged { .. } => overview.damaged += 1,
                Held::Ready { facts, .. } if now > facts.not_after => overview.expired += 1,
                Held::Ready { .. } | Held::Nothing => {}
            }
        }
        overview.states =
            State::ALL.iter().map(|state| (*state, states.get(state).copied().unwrap_or(0))).collect();
        overview.directory_problem = self.directory_problem();
        overview.default = self.shared.default.borrow().clone();
        overview
    }

    /// Looks after everything, for ever: reads what was found at the start, follows the default certificate's files, clears
    /// away what nobody wants. To be run once, as a task.
    pub async fn run(self, host: impl Host) {
        self.attach(host);
        let orders = self.clone();
        spawn(async move { orders.look_after_orders().await }, log_panic);
        self.look_after_files().await;
    }

    /// All about certificates as a whole.
    pub fn overview(&self) -> Overview {
        let mut overview = self.overview_of_files();
        self.complete_overview(&mut overview);
        overview
    }

    /// Appends the metrics, in the text format of Prometheus.
    pub fn render_metrics(&self, out: &mut String) {
        self.render_metrics_of_files(out);
        self.render_metrics_of_orders(out);
    }

    /// Lends the handle its host. Whatever is published from now on goes there.
    pub(crate) fn attach(&self, host: impl Host) {
        *self.shared.host.borrow_mut() = Some(Rc::new(host));
    }

    pub(crate) fn host(&self) -> Option<Rc<dyn AnyHost>> {
        self.shared.host.borrow().clone()
    }

    pub(crate) fn notify(&self, event: CertificateEvent) {
        if let Some(host) = self.host() {
            host.notify(event);
        }
    }

    /// What is wrong with the certificate directory: while it lasts, an order would be wasted.
    pub(crate) fn directory_problem(&self) -> Option<String> {
        self.shared.directory_problem.borrow().clone()
    }

    /// Something changed about a domain: whoever deals with it should look.
    pub(crate) fn touch(&self, host: &Hostname) {
        self.shared.touched.borrow_mut().insert(host.clone());
        self.shared.stir.stir();
    }

    /// The domains of which something changed since the last call: registered, changed, removed, uploaded, or read from
    /// the disk.
    pub(crate) fn take_touched(&self) -> Vec<Hostname> {
        self.shared.touched.borrow_mut().drain().collect()
    }

    /// Does something with the files, off this thread, in turn with everything else that does.
    pub(crate) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let _place = self.shared.disk.enter().await.map_err(|Crowded| DiskError::Busy)?;
        self.work_on_disk(work).await
    }

    /// The same for one domain's files, if it is still registered when its turn comes: nothing is written for one whose
    /// folder is being removed. `None` if it is not.
    pub(crate) async fn on_disk_of<T: Send + 'static>(
        &self,
        host: &Hostname,
        work: impl FnOnce(&Files) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<Option<T>, DiskError> {
        let _place = self.shared.disk.enter().await.map_err(|Crowded| DiskError::Busy)?;
        if self.shared.domains.borrow().get(host).is_none() {
            return Ok(None);
        }
        self.work_on_disk(work).await.map(Some)
    }

    /// What the default certificate says.
    pub(crate) fn default_facts(&self) -> Option<Arc<Facts>> {
        self.shared.default.borrow().as_ref().map(|default| Arc::clone(&default.facts))
    }

    /// Puts a certificate in place of what a domain has: on the disk, and on every core.
    pub(crate) async fn install(
        &self,
        host: &Hostname,
        pair: Pair,
        identity: Identity,
        facts: Arc<Facts>,
    ) -> Result<(), InstallError> {
        let place = self.shared.disk.enter().await.map_err(|Crowded| InstallError::Disk(DiskError::Busy))?;
        if self.shared.domains.borrow().get(host).is_none() {
            return Err(InstallError::Gone);
        }
        let name = host.clone();
        self.work_on_disk(move |files| files.write_identity(&name, &pair))
            .await
            .map_err(InstallError::Disk)?;
        let version = self.next_version();
        let is_registered = match self.shared.domains.borrow_mut().get_mut(host) {
            Some(entry) => {
                entry.held = Held::Ready { version, facts };
                true
            }
            None => false,
        };
        // Whoever removed the domain meanwhile waits for the disk behind us, and clears it away.
        drop(place);
        if !is_registered {
            return Err(InstallError::Gone);
        }
        self.touch(host);
        let has_reached_all = self.hand_over(host, version, &identity);
        self.publish(host).await.map_err(InstallError::NotLive)?;
        if has_reached_all { Ok(()) } else { Err(InstallError::NotLive(Unpublished::SlowCores)) }
    }

    /// Gives a new certificate to all cores before they are told of it: one that acknowledges its version and has an older one
    /// would serve that one on for as long as the loader takes to read what stands on a slow disk. Whether all had room.
    fn hand_over(&self, host: &Hostname, version: u64, identity: &Identity) -> bool {
        let key = SecretKey::Identity(IdentityName::Domain(host.clone()));
        let mut has_reached_all = true;
        for core in &self.shared.cores {
            let result = Ok(Secret::Identity(identity.clone()));
            if let Err(SendError::Full(_)) = core.send(SecretUpdate { key: key.clone(), version, result }) {
                has_reached_all = false;
            }
        }
        has_reached_all
    }

    /// Has every core serve what the domain has now.
    async fn publish(&self, host: &Hostname) -> Result<(), Unpublished> {
        let Some(port) = self.host() else { return Err(Unpublished::Stopping) };
        let version = {
            let mut domains = self.shared.domains.borrow_mut();
            let entry = domains.get_mut(host).ok_or(Unpublished::UnknownDomain)?;
            // What is wanted at this moment, and told at this moment: two of us never publish in the wrong order.
            entry.published = entry.wanted_version();
            entry.published
        };
        port.publish_certificate(host.clone(), version).await
    }

    async fn publish_logged(&self, host: &Hostname) {
        match self.publish(host).await {
            Ok(()) | Err(Unpublished::UnknownDomain | Unpublished::Stopping) => {}
            Err(error) => tracing::warn!(%host, %error, "a certificate is not live on every core yet"),
        }
    }

    fn next_version(&self) -> u64 {
        let version = self.shared.last_version.get() + 1;
        self.shared.last_version.set(version);
        version
    }

    /// Does it, and remembers what it says about the directory. For who is in the lane.
    async fn work_on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, FilesError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let files = self.shared.files.clone();
        let result = blocking(move || work(&files)).await.map_err(DiskError::Thread)?;
        let problem = match &result {
            Ok(_) => None,
            Err(error) if error.is_common() => Some(error.to_string()),
            // Says nothing about the directory.
            Err(_) => return result.map_err(DiskError::Files),
        };
        let had_problem = self.shared.directory_problem.replace(problem).is_some();
        let has_problem = self.shared.directory_problem.borrow().is_some();
        match (had_problem, has_problem) {
            (false, true) => self.tell_directory_problem(),
            (true, false) => tracing::info!("the certificate directory can be used again"),
            (true, true) | (false, false) => {}
        }
        result.map_err(DiskError::Files)
    }

    fn tell_directory_problem(&self) {
        let Some(reason) = self.directory_problem() else { return };
        self.notify(CertificateEvent::DirectoryUnusable { reason });
    }

    /// Removes what a domain has on the disk, if it is not registered by then. Whether it did.
    async fn remove_files(&self, host: &Hostname) -> bool {
        let Ok(_place) = self.shared.disk.enter().await else {
            tracing::warn!(%host, "too much waits for the disk: a removed domain's certificate is removed later");
            return false;
        };
        if self.shared.domains.borrow().get(host).is_some() {
            return false;
        }
        // From here on, who registers it begins anew.
        self.shared.domains.borrow_mut().forget_orphan(host);
        let name = host.clone();
        match self.work_on_disk(move |files| files.remove_domain(&name)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%host, %error, "a removed domain's certificate could not be removed");
                false
            }
        }
    }

    /// Asks for our challenge at each address.
    async fn probe_all(&self, host: &Hostname, addresses: Vec<std::net::SocketAddr>) -> Vec<Probe> {
        let not_asked = |addresses: Vec<std::net::SocketAddr>| {
            let not_asked = |address| Probe { address, outcome: ProbeOutcome::NotSent, is_local: false };
            addresses.into_iter().map(not_asked).collect()
        };
        let (Some(port), Some(challenge)) = (self.host(), Challenge::random()) else {
            return not_asked(addresses);
        };
        if addresses.is_empty() {
            return Vec::new();
        }
        let (token, answer) = (challenge.token.clone(), challenge.key_authorization.clone());
        let mut probes = Vec::with_capacity(addresses.len());
        match port.publish_challenge(token.clone(), Some(answer)).await {
            // A slow core is no reason not to ask: most of them answer.
            Ok(()) | Err(Unpublished::SlowCores) => {
                // Two at a time: the CA's own patience is not ours to spend one after the other.
                for pair in addresses.chunks(2) {
                    match pair {
                        [first, second] => {
                            let (first, second) =
                                join(probe(host, &challenge, *first), probe(host, &challenge, *second)).await;
                            probes.extend([first, second]);
                        }
                        rest => {
                            for address in rest {
                                probes.push(probe(host, &challenge, *address).await);
                            }
                        }
                    }
                }
            }
            Err(Unpublished::Full | Unpublished::UnknownDomain | Unpublished::Stopping) => {
                probes = not_asked(addresses);
            }
        }
        // A core that is slow to forget it answers a name that nobody knows.
        let _ = port.publish_challenge(token, None).await;
        probes
    }
}

pub(crate) fn log_panic(panic: ringway_net::PanicMessage) {
    tracing::error!(?panic, "a task of the certificates panicked");
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(error) => error.fmt(f),
            Self::Busy => f.write_str("too much waits for the disk"),
            Self::Thread(error) => write!(f, "the disk was not asked: {error}"),
        }
    }
}

impl std::error::Error for DiskError {}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Gone => f.write_str("the domain is not registered any more"),
            Self::NotLive(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for InstallError {}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("dir", &self.shared.settings.dir).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
