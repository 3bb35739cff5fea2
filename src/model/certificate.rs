//! What users say about TLS: who brings a domain's certificate, who may connect, and how an app's instances are
//! reached securely. Files are named, never held: what stands in them is read by those who need it.

use std::fmt;
use std::sync::Arc;

use crate::{Hostname, limits};

/// Who brings the certificate of a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CertificateMode {
    /// The CA issues it and it is renewed without anyone's hand, when a CA is configured.
    #[default]
    Acme,
    /// It is uploaded; renewal and clean-up never touch it.
    Provided,
    /// There is none: the domain is served without TLS, or with the default certificate when that covers it.
    None,
}

impl CertificateMode {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Provided => "provided",
            Self::None => "none",
        }
    }

    /// Reads the word that the API uses.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Acme, Self::Provided, Self::None].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Certificates that clients of a domain present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// A PEM file with the certificates of those who may vouch for a client.
    pub ca_file: FilePath,
    /// Whether a client without one is served.
    pub need: ClientAuthNeed,
}

/// Whether a client must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthNeed {
    /// It may; a bad one is refused.
    Optional,
    /// It must.
    Required,
}

impl ClientAuthNeed {
    /// The word that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// Reads the word that the API uses.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Optional, Self::Required].into_iter().find(|need| need.as_str() == text)
    }
}

/// How the `https://` targets of an app are spoken to. Without it: verified against the system's trust store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// A PEM file with the only CAs that are trusted.
    pub ca_file: Option<FilePath>,
    /// What we prove ourselves with, when an instance asks.
    pub client_certificate: Option<CertificateFiles>,
    /// The name that is asked for and verified, when it is not the target's host.
    pub server_name: Option<Hostname>,
    /// Nothing is verified: whoever answers is believed. Explicit, never a default.
    pub insecure: bool,
}

/// A certificate chain and its key, in two PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub certificate: FilePath,
    /// The private key.
    pub key: FilePath,
}

/// The absolute path of a file on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(Arc<str>);

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePathError {
    /// It does not begin with a slash.
    Relative,
    /// It has a part `..`, or a NUL.
    Unsafe,
    /// It has more than [`limits::PATH_BYTES_MAX`] bytes.
    TooLong,
}

impl fmt::Display for FilePathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Relative => f.write_str("a path must be absolute, as /etc/ringway/ca.pem"),
            Self::Unsafe => f.write_str("a path must not have a part `..` or a NUL"),
            Self::TooLong => write!(f, "a path has at most {} bytes", limits::PATH_BYTES_MAX),
        }
    }
}

impl std::error::Error for FilePathError {}

impl FilePath {
    /// Parses an absolute path. Whether there is such a file is not asked.
    ///
    /// # Errors
    /// See [`FilePathError`].
    pub fn parse(text: &str) -> Result<Self, FilePathError> {
        if text.len() > limits::PATH_BYTES_MAX {
            return Err(FilePathError::TooLong);
        }
        if !text.starts_with('/') {
            return Err(FilePathError::Relative);
        }
        if text.contains('\0') || text.split('/').any(|part| part == "..") {
            return Err(FilePathError::Unsafe);
        }
        Ok(Self(text.into()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For the file system.
    pub fn as_path(&self) -> &std::path::Path {
        std::path::Path::new(&*self.0)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_stays_where_it_points() {
        assert!(FilePath::parse("/etc/ringway/ca.pem").is_ok());
        assert_eq!(FilePath::parse("ca.pem"), Err(FilePathError::Relative));
        assert_eq!(FilePath::parse(""), Err(FilePathError::Relative));
        assert_eq!(FilePath::parse("/etc/../ca.pem"), Err(FilePathError::Unsafe));
        assert_eq!(FilePath::parse("/etc/ca\0.pem"), Err(FilePathError::Unsafe));
        assert!(FilePath::parse("/a..b/c").is_ok());
        let longest = "/".repeat(limits::PATH_BYTES_MAX);
        assert!(FilePath::parse(&longest).is_ok());
        assert_eq!(FilePath::parse(&(longest + "/")), Err(FilePathError::TooLong));
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for mode in [CertificateMode::Acme, CertificateMode::Provided, CertificateMode::None] {
            assert_eq!(CertificateMode::parse(mode.as_str()), Some(mode));
        }
        for need in [ClientAuthNeed::Optional, ClientAuthNeed::Required] {
            assert_eq!(ClientAuthNeed::parse(need.as_str()), Some(need));
        }
        assert_eq!(CertificateMode::parse("ACME"), None);
    }
}
