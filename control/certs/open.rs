//! Start before the control thread: checks the default certificate, lists the directory, starts the loader's
//! thread.

use std::fmt;
use std::io;
use std::sync::Arc;

use ringway_bridge::{MailboxReceiver, MailboxSender, WakeSource, blocking_mailbox, mailbox, wake_pair};
use ringway_model::{CertificateMode, Domain};
use ringway_net::clock;
use ringway_tls::{IdentityName, Secret, SecretKey, SecretRequest, SecretUpdate};

use crate::default_certificate::DefaultChange;
use crate::default_files::{DefaultCertificateError, DefaultFiles};
use crate::domains::OnDisk;
use crate::files::Files;
use crate::limits::CERTIFICATES_WANTED_MAX;
use crate::loader::Loader;
use crate::report::DefaultState;
use crate::settings::CertificateSettings;

/// Reason for a failed start. An unusable certificate directory is none: it is reported and retried.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The operator's default certificate is invalid.
    Default(DefaultCertificateError),
    /// No thread or file descriptor is available.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(error) => error.fmt(f),
            Self::Thread(_) => f.write_str("the certificate loader thread cannot be started"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Default(error) => std::error::Error::source(error),
            Self::Thread(error) => Some(error),
        }
    }
}

/// Result of [`open()`]: versions for the first snapshot, and the parts of
/// [`Certificates`](super::Certificates).
#[derive(Debug)]
pub struct Opened {
    pub(crate) settings: CertificateSettings,
    pub(crate) files: Files,
    pub(crate) on_disk: OnDisk,
    pub(crate) default: Option<DefaultState>,
    pub(crate) directory_problem: Option<String>,
    pub(crate) requests: MailboxSender<SecretRequest>,
    pub(crate) default_changes: DefaultChanges,
    pub(crate) cores: Vec<MailboxSender<SecretUpdate>>,
}

/// Receiving end of the loader's reports.
pub(crate) type DefaultChanges = (MailboxReceiver<DefaultChange>, WakeSource);

/// Checks the default certificate, creates and lists the directory, and starts the loader's thread, which
/// sends to each core through the mailbox at its index.
///
/// Blocks: for the two files of the default certificate, one listing, and one look at a name in each domain's
/// folder. No certificate of a domain is opened.
///
/// The thread ends when all clones of [`Opened::requests`] are dropped, including that of
/// [`Certificates::new`](super::Certificates::new).
///
/// # Errors
/// See [`StartError`].
pub fn open(
    settings: CertificateSettings,
    cores: Vec<MailboxSender<SecretUpdate>>,
) -> Result<Opened, StartError> {
    let files = Files::new(&settings.dir);
    let default_files =
        settings.default_files.clone().map(|paths| DefaultFiles::load(&files, paths, clock::timestamp()));
    let default_files = default_files.transpose().map_err(StartError::Default)?;
    let default = default_files.as_ref().map(|default| DefaultState {
        facts: Arc::clone(default.facts()),
        version: default.version(),
        problem: None,
    });
    if let Some(default) = &default_files {
        // Sent before a core accepts: the names that it covers decide about the redirect of the first
        // request.
        for core in &cores {
            let key = SecretKey::Identity(IdentityName::Default);
            let result = Ok(Secret::Identity(default.identity().clone()));
            // The mailbox is still empty.
            let _ = core.send(SecretUpdate { key, version: default.version(), result });
        }
    }
    let (on_disk, directory_problem) = survey(&files);
    let (requests, default_changes) =
        spawn_loader(files.clone(), default_files, cores.clone()).map_err(StartError::Thread)?;
    Ok(Opened { settings, files, on_disk, default, directory_problem, requests, default_changes, cores })
}

/// Starts the loader's thread alone, for a process without a certificate directory: it loads the files that
/// apps and domains name by their paths. The thread ends when all clones of the returned sender are dropped.
///
/// # Errors
/// When no thread or file descriptor is available.
pub fn start_loader(
    cores: Vec<MailboxSender<SecretUpdate>>,
) -> Result<MailboxSender<SecretRequest>, StartError> {
    let (requests, _) = spawn_loader(Files::without_directory(), None, cores).map_err(StartError::Thread)?;
    Ok(requests)
}

fn spawn_loader(
    files: Files,
    default: Option<DefaultFiles>,
    cores: Vec<MailboxSender<SecretUpdate>>,
) -> io::Result<(MailboxSender<SecretRequest>, DefaultChanges)> {
    let capacity = CERTIFICATES_WANTED_MAX.saturating_mul(cores.len().max(1));
    let (requests, received) = blocking_mailbox(capacity);
    let (waker, source) = wake_pair()?;
    let (changes_sender, changes) = mailbox(DEFAULT_CHANGES_QUEUED, waker);
    let loader = Loader::new(files, received, cores, default, changes_sender);
    std::thread::Builder::new().name("ringway-certs".into()).spawn(move || loader.run())?;
    Ok((requests, (changes, source)))
}

/// Queued changes of the default certificate: only the latest matters.
pub(crate) const DEFAULT_CHANGES_QUEUED: usize = 4;

/// Prepares and lists the directory; returns its folders, and the problem that makes it unusable.
fn survey(files: &Files) -> (OnDisk, Option<String>) {
    let log_findings = |findings: &[String]| {
        for finding in findings {
            tracing::warn!(%finding, "unexpected content of the certificate directory");
        }
    };
    let problem = match files.prepare() {
        Ok(findings) => {
            log_findings(&findings);
            None
        }
        Err(error) => Some(error.to_string()),
    };
    let mut on_disk = OnDisk::default();
    match files.list() {
        Ok(listing) => {
            log_findings(&listing.findings);
            on_disk.extend(listing.with_identity.into_iter().map(|host| (host, Some(FIRST_VERSION))));
            on_disk.extend(listing.without.into_iter().map(|host| (host, None)));
            if let Some(problem) = &problem {
                tracing::error!(%problem, "certificate directory is not writable; new certificates cannot be stored");
            }
            (on_disk, problem)
        }
        Err(error) => {
            let problem = problem.unwrap_or_else(|| error.to_string());
            tracing::error!(%problem, "certificate directory is unusable; only the default certificate is served");
            (on_disk, Some(problem))
        }
    }
}

/// Version of the certificates found on the disk at the start; later ones have higher versions.
pub(crate) const FIRST_VERSION: u64 = 1;

impl Opened {
    /// Mailbox through which the cores request secrets.
    pub fn requests(&self) -> MailboxSender<SecretRequest> {
        self.requests.clone()
    }

    /// Certificate version of a domain, for its route in the first snapshot.
    pub fn version(&self, domain: &Domain) -> Option<u64> {
        match domain.certificate {
            CertificateMode::None => None,
            CertificateMode::Acme | CertificateMode::Provided => {
                self.on_disk.get(&domain.name).copied().flatten()
            }
        }
    }

    /// Version of the default certificate, for the first snapshot.
    pub fn default_version(&self) -> Option<u64> {
        self.default.as_ref().map(|default| default.version)
    }
}
