//! Certificates of an operator, named by their files.

use crate::{CertificateFiles, Configured, HostPattern, Kind, Owner, Timestamp};

/// Certificate that is served for names of the TLS handshake (SNI), before those that domains have of their
/// own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The key: the text form of the names.
    pub key: std::sync::Arc<str>,
    /// The owner.
    pub owner: Owner,
    /// The names: one, or those with one more label.
    pub sni: HostPattern,
    /// The files.
    pub files: CertificateFiles,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A certificate as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateSpec {
    /// The names: [`HostPattern::Exact`] or [`HostPattern::OneLabel`].
    pub sni: HostPattern,
    /// The files.
    pub files: CertificateFiles,
}

impl Configured for Certificate {
    fn key(&self) -> &str {
        &self.key
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}
