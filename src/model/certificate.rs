//! TLS settings of domains and apps: source of a certificate, client authentication, upstream TLS. Files are
//! referenced by their paths, not loaded.

use std::fmt;
use std::sync::Arc;

use crate::{Hostname, limits};

/// Source of a domain's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CertificateMode {
    /// Issued and renewed by a CA, if one is configured.
    #[default]
    Acme,
    /// Uploaded; never renewed or removed automatically.
    Provided,
    /// None: the domain is served without TLS, or with the default certificate when that covers it.
    None,
}

impl CertificateMode {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Acme => "acme",
            Self::Provided => "provided",
            Self::None => "none",
        }
    }

    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Acme, Self::Provided, Self::None].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Client certificates of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    /// A PEM file with the CAs of client certificates.
    pub ca_file: FilePath,
    /// Whether clients without a certificate are served.
    pub need: ClientAuthNeed,
}

/// Whether a client must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthNeed {
    /// It may; an invalid one is refused.
    Optional,
    /// It must.
    Required,
}

impl ClientAuthNeed {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Optional => "optional",
            Self::Required => "required",
        }
    }

    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Optional, Self::Required].into_iter().find(|need| need.as_str() == text)
    }
}

/// TLS settings of an app's `https://` targets. Default: verified against the system's trust store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// A PEM file with the only CAs that are trusted.
    pub ca_file: Option<FilePath>,
    /// The client certificate, sent when an instance asks for one.
    pub client_certificate: Option<CertificateFiles>,
    /// The name for SNI and verification, when it is not the target's host.
    pub server_name: Option<Hostname>,
    /// Disables verification. Explicit, never a default.
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

/// Parse error of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilePathError {
    /// Not beginning with a slash.
    Relative,
    /// A part `..`, or a NUL.
    Unsafe,
    /// Longer than [`limits::PATH_BYTES_MAX`] bytes.
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
    /// Parses an absolute path; the file is not looked up.
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

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path for the file system.
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
    fn a_path_is_absolute_without_parent_parts() {
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
    fn api_names_round_trip() {
        for mode in [CertificateMode::Acme, CertificateMode::Provided, CertificateMode::None] {
            assert_eq!(CertificateMode::parse(mode.as_str()), Some(mode));
        }
        for need in [ClientAuthNeed::Optional, ClientAuthNeed::Required] {
            assert_eq!(ClientAuthNeed::parse(need.as_str()), Some(need));
        }
        assert_eq!(CertificateMode::parse("ACME"), None);
    }
}
