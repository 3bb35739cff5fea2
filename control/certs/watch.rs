//! The operator's own certificate: strict at the start, then looked at every few seconds and replaced without a restart.
//!
//! Two files cannot be replaced at once, so between two looks they may not match. Hence what looks wrong is called wrong
//! only when it is still there, unchanged, at the next look; until then, and after that, the old one is served.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_model::{CertificateFiles, FilePath, Timestamp};
use ringway_tls::{Facts, Identity, IdentityError};

use crate::files::{Files, FilesError, Stamp};

/// The default certificate and its files.
#[derive(Debug)]
pub(crate) struct Watched {
    files: Files,
    paths: CertificateFiles,
    identity: Identity,
    facts: Arc<Facts>,
    version: u64,
    /// What was last looked at, whatever came of it. A file that cannot be looked at has none.
    seen: Stamps,
    /// What was wrong at the last look, and is not told yet.
    suspicion: Option<DefaultError>,
    /// Whether what stands there now was told to be wrong.
    is_refused: bool,
}

type Stamps = (Option<Stamp>, Option<Stamp>);

/// What a look has shown.
#[derive(Debug)]
pub(crate) enum Look {
    /// Nothing new.
    Same,
    /// Another certificate is there, which is served from now on.
    Replaced,
    /// What is there cannot be served; the old one goes on being served.
    Refused(DefaultError),
    /// What was wrong has been put back as it was.
    Restored,
}

/// Why the default certificate cannot be served. Names the file.
#[derive(Debug)]
#[non_exhaustive]
pub enum DefaultError {
    /// A file is missing or cannot be read.
    Unreadable {
        /// Which.
        path: FilePath,
        /// Why.
        reason: String,
    },
    /// The files are there and no certificate with its key.
    Invalid {
        /// The chain.
        certificate: FilePath,
        /// The key.
        key: FilePath,
        /// What is wrong.
        error: IdentityError,
    },
    /// It says that servers may not use it.
    NotForServers {
        /// The chain.
        certificate: FilePath,
    },
    /// It is past its end.
    Expired {
        /// The chain.
        certificate: FilePath,
        /// Its end.
        not_after: Timestamp,
    },
    /// It is not valid yet, or this machine's clock is wrong.
    NotYetValid {
        /// The chain.
        certificate: FilePath,
        /// Its beginning.
        not_before: Timestamp,
        /// What this machine takes for the time.
        now: Timestamp,
    },
}

/// Reads and checks the files as a start would, at `now`. Blocks.
///
/// # Errors
/// Why a start would fail.
pub fn check_default(paths: &CertificateFiles, now: Timestamp) -> Result<Facts, DefaultError> {
    // Only paths of the operator's are read: no folder of certificates is needed.
    let (identity, _) = load(&Files::new(Path::new("/")), paths, now)?;
    Ok(identity.facts().clone())
}

impl Watched {
    /// Reads and checks the files.
    pub(crate) fn load(files: &Files, paths: CertificateFiles, now: Timestamp) -> Result<Self, DefaultError> {
        let seen = stamps(&paths);
        let (identity, key_stamp) = load(files, &paths, now)?;
        if key_stamp.is_open_to_others() {
            tracing::warn!(path = %paths.key, "others can read this private key: chmod 600 it");
        }
        let facts = Arc::new(identity.facts().clone());
        let files = files.clone();
        Ok(Self { files, paths, identity, facts, version: 1, seen, suspicion: None, is_refused: false })
    }

    /// The one that is served.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What it says.
    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// Its version.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Looks at the files, and reads them when they have changed.
    pub(crate) fn look(&mut self, now: Timestamp) -> Look {
        let stamps = stamps(&self.paths);
        if stamps == self.seen {
            // Still as it was when it looked wrong: nobody is in the middle of replacing it.
            return match self.suspicion.take() {
                Some(error) => {
                    self.is_refused = true;
                    Look::Refused(error)
                }
                None => Look::Same,
            };
        }
        self.seen = stamps;
        match load(&self.files, &self.paths, now) {
            Ok((identity, _)) => {
                self.suspicion = None;
                let was_refused = std::mem::take(&mut self.is_refused);
                if identity.facts().fingerprint == self.facts.fingerprint {
                    return if was_refused { Look::Restored } else { Look::Same };
                }
                self.facts = Arc::new(identity.facts().clone());
                self.identity = identity;
                self.version += 1;
                Look::Replaced
            }
            Err(error) => {
                self.suspicion = Some(error);
                Look::Same
            }
        }
    }
}

fn stamps(paths: &CertificateFiles) -> Stamps {
    (Stamp::read(paths.certificate.as_path()).ok(), Stamp::read(paths.key.as_path()).ok())
}

fn load(files: &Files, paths: &CertificateFiles, now: Timestamp) -> Result<(Identity, Stamp), DefaultError> {
    let read = |path: &FilePath| {
        files.read_named(path.as_path()).map_err(|error| DefaultError::Unreadable {
            path: path.clone(),
            reason: match error {
                FilesError::Io { source, .. } => source.to_string(),
                FilesError::NotAFile(_) => "it is not a file".to_owned(),
                FilesError::TooLarge { bytes_max, .. } => format!("it has more than {bytes_max} bytes"),
                error @ (FilesError::Damaged { .. } | FilesError::Name(_)) => error.to_string(),
            },
        })
    };
    let (chain, _) = read(&paths.certificate)?;
    let (key, key_stamp) = read(&paths.key)?;
    let identity = Identity::from_pem(&chain, &key).map_err(|error| DefaultError::Invalid {
        certificate: paths.certificate.clone(),
        key: paths.key.clone(),
        error,
    })?;
    let facts = identity.facts();
    let certificate = paths.certificate.clone();
    if !facts.for_servers {
        return Err(DefaultError::NotForServers { certificate });
    }
    if now > facts.not_after {
        return Err(DefaultError::Expired { certificate, not_after: facts.not_after });
    }
    if now < facts.not_before {
        return Err(DefaultError::NotYetValid { certificate, not_before: facts.not_before, now });
    }
    Ok((identity, key_stamp))
}

impl DefaultError {
    /// The file to look at.
    pub fn path(&self) -> PathBuf {
        let path: &Path = match self {
            Self::Unreadable { path, .. } => path.as_path(),
            Self::Invalid { certificate, .. }
            | Self::NotForServers { certificate }
            | Self::Expired { certificate, .. }
            | Self::NotYetValid { certificate, .. } => certificate.as_path(),
        };
        path.to_owned()
    }
}

impl fmt::Display for DefaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(f, "cannot read {path}: {reason}"),
            Self::Invalid { certificate, key, error } => {
                write!(f, "{certificate} and {key} are no certificate with its key: {error}")
            }
            Self::NotForServers { certificate } => write!(
                f,
                "the certificate in {certificate} is not for servers: its extended key usage lacks serverAuth, and no \
                 client would take it"
            ),
            Self::Expired { certificate, not_after } => {
                write!(f, "the certificate in {certificate} has expired on {}", not_after.to_http_date())
            }
            Self::NotYetValid { certificate, not_before, now } => write!(
                f,
                "the certificate in {certificate} is not valid before {}, and by this machine's clock it is {}",
                not_before.to_http_date(),
                now.to_http_date()
            ),
        }
    }
}

impl std::error::Error for DefaultError {}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
