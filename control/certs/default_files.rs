//! Files of the default certificate: must be valid at the start, then checked every few seconds and replaced
//! without a restart.
//!
//! Two files cannot be replaced atomically, and may not match between the two writes. Invalid files are
//! therefore rejected only when the next check finds them unchanged; the previous certificate is served
//! throughout.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_model::{CertificateFiles, FilePath, Timestamp};
use ringway_tls::{Facts, Identity, IdentityError};

use crate::files::{Files, FilesError, Stamp};

/// Default certificate with the state of its files.
#[derive(Debug)]
pub(crate) struct DefaultFiles {
    files: Files,
    paths: CertificateFiles,
    identity: Identity,
    facts: Arc<Facts>,
    version: u64,
    /// Stamps at the last check.
    stamps: Stamps,
    /// Error of the last check, not reported yet.
    unconfirmed: Option<DefaultCertificateError>,
    /// Whether the current files were reported as invalid.
    is_rejected: bool,
}

/// Stamps of certificate and key; `None` where a file could not be examined.
type Stamps = (Option<Stamp>, Option<Stamp>);

/// Result of a check.
#[derive(Debug)]
pub(crate) enum FileCheck {
    /// No change, or an invalid one that is not confirmed yet.
    Unchanged,
    /// Another certificate is served from now on.
    Replaced,
    /// The files are invalid; the previous certificate stays.
    Rejected(DefaultCertificateError),
    /// Rejected files were replaced by the ones before.
    Restored,
}

/// Reason why the default certificate is invalid, with its file.
#[derive(Debug)]
#[non_exhaustive]
pub enum DefaultCertificateError {
    /// A file is missing or cannot be read.
    Unreadable {
        /// The file.
        path: FilePath,
        /// Error of the system.
        reason: String,
    },
    /// The files are no certificate with its key.
    Invalid {
        /// The chain.
        certificate: FilePath,
        /// The key.
        key: FilePath,
        /// Error of the parser.
        error: IdentityError,
    },
    /// Its extended key usage excludes servers.
    NotForServers {
        /// The chain.
        certificate: FilePath,
    },
    /// It has expired.
    Expired {
        /// The chain.
        certificate: FilePath,
        /// End of its validity.
        not_after: Timestamp,
    },
    /// It is not valid yet, or this machine's clock is wrong.
    NotYetValid {
        /// The chain.
        certificate: FilePath,
        /// Start of its validity.
        not_before: Timestamp,
        /// Time of this machine.
        now: Timestamp,
    },
}

/// Reads and checks the files as a start does, at `now`. Blocks.
///
/// # Errors
/// The reason why a start would fail.
pub fn check_default(paths: &CertificateFiles, now: Timestamp) -> Result<Facts, DefaultCertificateError> {
    let (identity, _) = load(&Files::without_directory(), paths, now)?;
    Ok(identity.facts().clone())
}

impl DefaultFiles {
    /// Reads and checks the files.
    pub(crate) fn load(
        files: &Files,
        paths: CertificateFiles,
        now: Timestamp,
    ) -> Result<Self, DefaultCertificateError> {
        let stamps = read_stamps(&paths);
        let (identity, key_stamp) = load(files, &paths, now)?;
        if key_stamp.is_open_to_others() {
            tracing::warn!(path = %paths.key, "private key of the default certificate is readable by others: chmod 600 it");
        }
        let facts = Arc::new(identity.facts().clone());
        let files = files.clone();
        Ok(Self { files, paths, identity, facts, version: 1, stamps, unconfirmed: None, is_rejected: false })
    }

    /// Certificate that is served.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its facts.
    pub(crate) fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    /// Its version: 1 at the start, incremented with each replacement.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Checks the files, and loads them when they have changed.
    pub(crate) fn check(&mut self, now: Timestamp) -> FileCheck {
        let stamps = read_stamps(&self.paths);
        if stamps == self.stamps {
            // Invalid and unchanged since the last check: no replacement is in progress.
            return match self.unconfirmed.take() {
                Some(error) => {
                    self.is_rejected = true;
                    FileCheck::Rejected(error)
                }
                None => FileCheck::Unchanged,
            };
        }
        self.stamps = stamps;
        match load(&self.files, &self.paths, now) {
            Ok((identity, _)) => {
                self.unconfirmed = None;
                let was_rejected = std::mem::take(&mut self.is_rejected);
                if identity.facts().fingerprint == self.facts.fingerprint {
                    return if was_rejected { FileCheck::Restored } else { FileCheck::Unchanged };
                }
                self.facts = Arc::new(identity.facts().clone());
                self.identity = identity;
                self.version += 1;
                FileCheck::Replaced
            }
            Err(error) => {
                self.unconfirmed = Some(error);
                FileCheck::Unchanged
            }
        }
    }
}

fn read_stamps(paths: &CertificateFiles) -> Stamps {
    (Stamp::read(paths.certificate.as_path()).ok(), Stamp::read(paths.key.as_path()).ok())
}

fn load(
    files: &Files,
    paths: &CertificateFiles,
    now: Timestamp,
) -> Result<(Identity, Stamp), DefaultCertificateError> {
    let read = |path: &FilePath| {
        files.read_named(path.as_path()).map_err(|error| DefaultCertificateError::Unreadable {
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
    let identity = Identity::from_pem(&chain, &key).map_err(|error| DefaultCertificateError::Invalid {
        certificate: paths.certificate.clone(),
        key: paths.key.clone(),
        error,
    })?;
    let facts = identity.facts();
    let certificate = paths.certificate.clone();
    if !facts.for_servers {
        return Err(DefaultCertificateError::NotForServers { certificate });
    }
    if now > facts.not_after {
        return Err(DefaultCertificateError::Expired { certificate, not_after: facts.not_after });
    }
    if now < facts.not_before {
        return Err(DefaultCertificateError::NotYetValid { certificate, not_before: facts.not_before, now });
    }
    Ok((identity, key_stamp))
}

impl DefaultCertificateError {
    /// File that the error is about.
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

impl fmt::Display for DefaultCertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => write!(f, "cannot read {path}: {reason}"),
            Self::Invalid { certificate, key, error } => {
                write!(f, "{certificate} and {key} are not a certificate with its key: {error}")
            }
            Self::NotForServers { certificate } => write!(
                f,
                "the certificate in {certificate} is not for servers: its extended key usage lacks serverAuth, and clients would \
                 reject it"
            ),
            Self::Expired { certificate, not_after } => {
                write!(f, "the certificate in {certificate} has expired on {}", not_after.to_http_date())
            }
            Self::NotYetValid { certificate, not_before, now } => write!(
                f,
                "the certificate in {certificate} is not valid before {}, and this machine's clock says {}",
                not_before.to_http_date(),
                now.to_http_date()
            ),
        }
    }
}

impl std::error::Error for DefaultCertificateError {}

#[cfg(test)]
#[path = "default_files_tests.rs"]
mod tests;
