//! Certificates before the control thread has begun: opened, looked over, and the thread that loads them.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::limits::CERTIFICATES_WANTED_MAX;
use ringway_bridge::{MailboxReceiver, MailboxSender, WakeSource, blocking_mailbox, mailbox, wake_pair};
use ringway_model::{CertificateMode, Domain, UpstreamTls};
use ringway_net::{blocking, clock};
use ringway_tls::{IdentityName, LoadError, Secret, SecretKey, SecretRequest, SecretUpdate, UpstreamSecret};

use crate::domains::OnDisk;
use crate::files::Files;
use crate::loader::{Cache, Loader, News, read_upstream};
use crate::report::DefaultState;
use crate::settings::Settings;
use crate::watch::{DefaultError, Watched};

/// Why certificates could not be opened. A certificate directory that cannot be used is no reason: it is reported.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The operator named a default certificate that cannot be served.
    Default(DefaultError),
    /// No thread or no file descriptor is left.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default(error) => error.fmt(f),
            Self::Thread(_) => f.write_str("the thread that loads certificates cannot be started"),
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

/// Certificates, opened and looked over, before the control thread has begun: what the first snapshot needs to know.
#[derive(Debug)]
pub struct Opened {
    pub(super) settings: Settings,
    pub(super) files: Files,
    pub(super) on_disk: OnDisk,
    pub(super) default: Option<DefaultState>,
    pub(super) directory_problem: Option<String>,
    pub(super) wants: MailboxSender<SecretRequest>,
    pub(super) news: (MailboxReceiver<News>, WakeSource),
    pub(super) cores: Vec<MailboxSender<SecretUpdate>>,
}

/// Checks the default certificate, makes the directory, lists what is in it, and starts the loader's thread, which
/// answers each core through the mailbox at that core's number.
///
/// Blocks: for the default certificate's two files, and for one look at the directory and at one name in each domain's
/// folder. No certificate of a domain is opened.
///
/// The thread ends when all clones of [`Opened::wants`] are gone, and with them what [`Certificates::new`](super::Certificates::new) made.
///
/// # Errors
/// See [`StartError`].
pub fn open(settings: Settings, cores: Vec<MailboxSender<SecretUpdate>>) -> Result<Opened, StartError> {
    let files = Files::new(&settings.dir);
    let watched =
        settings.default_files.clone().map(|paths| Watched::load(&files, paths, clock::timestamp()));
    let watched = watched.transpose().map_err(StartError::Default)?;
    let default = watched.as_ref().map(|watched| DefaultState {
        facts: Arc::clone(watched.facts()),
        version: watched.version(),
        problem: None,
    });
    if let Some(watched) = &watched {
        // Each core takes it before it accepts: whether it covers a host decides about the redirect of the first request.
        for core in &cores {
            let (key, result) = (
                SecretKey::Identity(IdentityName::Default),
                Ok(Secret::Identity(watched.identity().clone())),
            );
            // There is room: nothing was sent before.
            let _ = core.send(SecretUpdate { key, version: watched.version(), result });
        }
    }
    let (on_disk, directory_problem) = survey(&files);
    let (wants, news) = start_loader(files.clone(), watched, cores.clone()).map_err(StartError::Thread)?;
    Ok(Opened { settings, files, on_disk, default, directory_problem, wants, news, cores })
}

/// Starts the loader's thread alone, for a process that keeps no certificates: what apps and domains name by their
/// paths is read all the same. The thread ends when all clones of what this returns are gone.
///
/// # Errors
/// When no thread or no file descriptor is left.
pub fn lend(cores: Vec<MailboxSender<SecretUpdate>>) -> Result<MailboxSender<SecretRequest>, StartError> {
    let (wants, _news) = start_loader(nowhere(), None, cores).map_err(StartError::Thread)?;
    Ok(wants)
}

/// What an app's `https://` targets are spoken to with, read from its files now, on a thread for blocking calls.
///
/// # Errors
/// Which file is of no use, and why.
pub async fn upstream_secret(tls: UpstreamTls) -> Result<UpstreamSecret, LoadError> {
    let read = blocking(move || read_upstream(&nowhere(), &tls)).await;
    read.unwrap_or_else(|error| Err(LoadError::new(&error.to_string())))
}

/// No directory: for files that are named by their paths.
fn nowhere() -> Files {
    Files::new(Path::new("/dev/null"))
}

#[allow(clippy::type_complexity)] // the two ends that are left of four
fn start_loader(
    files: Files,
    watched: Option<Watched>,
    cores: Vec<MailboxSender<SecretUpdate>>,
) -> io::Result<(MailboxSender<SecretRequest>, (MailboxReceiver<News>, WakeSource))> {
    let (wants, wanted) = blocking_mailbox(CERTIFICATES_WANTED_MAX.saturating_mul(cores.len().max(1)));
    let (waker, source) = wake_pair()?;
    let (news_sender, news) = mailbox(NEWS_WAITING, waker);
    let loader = Loader {
        files,
        wants: wanted,
        cores,
        watched,
        news: news_sender,
        cache: Cache::default(),
        untold: None,
    };
    std::thread::Builder::new().name("ringway-certs".into()).spawn(move || loader.run())?;
    Ok((wants, (news, source)))
}

/// News of the default certificate that wait: a newer one says all that counts.
pub(super) const NEWS_WAITING: usize = 4;

/// What stands in the directory, and what is wrong with it.
fn survey(files: &Files) -> (OnDisk, Option<String>) {
    let prepared = files.prepare();
    let problem = match &prepared {
        Ok(findings) => {
            findings
                .iter()
                .for_each(|finding| tracing::warn!(%finding, "found in the certificate directory"));
            None
        }
        Err(error) => Some(error.to_string()),
    };
    let mut on_disk = OnDisk::default();
    match files.list() {
        Ok(listing) => {
            for finding in &listing.findings {
                tracing::warn!(%finding, "found in the certificate directory");
            }
            on_disk.extend(listing.with_identity.into_iter().map(|host| (host, Some(FIRST_VERSION))));
            on_disk.extend(listing.without.into_iter().map(|host| (host, None)));
            let problem = problem.inspect(|problem| {
                tracing::error!(%problem, "the certificate directory cannot be written to: nothing new can be stored");
            });
            (on_disk, problem)
        }
        Err(error) => {
            let problem = problem.unwrap_or_else(|| error.to_string());
            tracing::error!(%problem, "the certificate directory cannot be used: only the default certificate is served");
            (on_disk, Some(problem))
        }
    }
}

/// What is found on the disk at the start has this version, what comes later a higher one.
pub(super) const FIRST_VERSION: u64 = 1;

impl Opened {
    /// What the cores ask for certificates through.
    pub fn wants(&self) -> MailboxSender<SecretRequest> {
        self.wants.clone()
    }

    /// The version of a domain's certificate, for its route in the first snapshot.
    pub fn version(&self, domain: &Domain) -> Option<u64> {
        match domain.certificate {
            CertificateMode::None => None,
            CertificateMode::Acme | CertificateMode::Provided => {
                self.on_disk.get(&domain.name).copied().flatten()
            }
        }
    }

    /// The version of the default certificate, for the first snapshot.
    pub fn default_version(&self) -> Option<u64> {
        self.default.as_ref().map(|default| default.version)
    }
}
