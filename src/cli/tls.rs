//! Settings of TLS and certificates, and their consistency.
//!
//! TLS is served when one of its settings is given: a port, an address, a certificate, a CA or the directory
//! of certificates. Without them, ringway does not bind port 443.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringway_certs::{AcmeSettings, DirectorySettings};
use ringway_model::{CertificateFiles, FilePath};

/// Let's Encrypt (RFC 8555 §7.1.1 directory).
pub(crate) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its staging environment: wide limits, and certificates that no client trusts.
pub(crate) const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Settings of TLS, complete and consistent.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// Public listeners with TLS. Port 0: one free port for all of them.
    pub(crate) https: Vec<SocketAddr>,
    /// TLS 1.3 only.
    pub(crate) modern: bool,
    /// Certificates, accounts, and use of the CA's limits.
    pub(crate) certificates: ringway_certs::CertificateSettings,
}

/// Given settings, each valid by itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) directory_url: Option<String>,
    pub(crate) fallback_url: Option<String>,
    pub(crate) ca_bundle: Option<PathBuf>,
    pub(crate) email: Option<String>,
    pub(crate) staging: bool,
    pub(crate) profile: Option<String>,
    pub(crate) eab_kid: Option<String>,
    pub(crate) eab_hmac: Option<String>,
    pub(crate) renew_before: Option<Duration>,
}

/// Contradiction between settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// The certificate without its key.
    CertificateWithoutKey,
    /// The key without its certificate.
    KeyWithoutCertificate,
    /// Half of the external account binding.
    HalfBinding,
    /// Two CAs for one purpose.
    StagingAndDirectory,
    /// An account binding without its CA.
    BindingWithoutDirectory,
    /// A path that depends on the current directory.
    Path(&'static str),
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CertificateWithoutKey => {
                f.write_str("PROXY_TLS_CERT needs PROXY_TLS_KEY: the file of the certificate's private key")
            }
            Self::KeyWithoutCertificate => {
                f.write_str("PROXY_TLS_KEY needs PROXY_TLS_CERT: the file of the certificate that the key is for")
            }
            Self::HalfBinding => f.write_str(
                "ACME_EAB_KID and ACME_EAB_HMAC must be given together: the CA's key ID and HMAC key",
            ),
            Self::StagingAndDirectory => f.write_str(
                "ACME_STAGING chooses Let's Encrypt's staging environment, and ACME_DIRECTORY_URL another CA; keep one",
            ),
            Self::BindingWithoutDirectory => f.write_str(
                "ACME_EAB_KID needs ACME_DIRECTORY_URL: Let's Encrypt has no external account binding",
            ),
            Self::Path(name) => write!(f, "{name}: a path must not have a part `..`"),
        }
    }
}

impl Given {
    /// Settings of ACME; `None` without a CA.
    pub(crate) fn acme(&self) -> Option<AcmeSettings> {
        if self.email.is_none() && self.directory_url.is_none() {
            return None;
        }
        let first = match (&self.directory_url, self.staging) {
            (Some(url), _) => url.clone(),
            (None, true) => LETS_ENCRYPT_STAGING.to_owned(),
            (None, false) => LETS_ENCRYPT.to_owned(),
        };
        let eab = self.eab_kid.clone().zip(self.eab_hmac.clone());
        let mut directories = vec![DirectorySettings { url: first, eab }];
        directories.extend(self.fallback_url.clone().map(|url| DirectorySettings { url, eab: None }));
        Some(AcmeSettings {
            directories,
            email: self.email.clone(),
            ca_bundle: self.ca_bundle.clone(),
            profile: self.profile.clone(),
        })
    }

    /// Files of the default certificate, if both are given.
    pub(crate) fn default_files(&self) -> Result<Option<CertificateFiles>, Conflict> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(CertificateFiles {
                certificate: file_path("PROXY_TLS_CERT", certificate)?,
                key: file_path("PROXY_TLS_KEY", key)?,
            })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Conflict::CertificateWithoutKey),
            (None, Some(_)) => Err(Conflict::KeyWithoutCertificate),
        }
    }

    /// All contradictions.
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        let mut found: Vec<Conflict> = self.default_files().err().into_iter().collect();
        if self.eab_kid.is_some() != self.eab_hmac.is_some() {
            found.push(Conflict::HalfBinding);
        } else if self.eab_kid.is_some() && self.directory_url.is_none() {
            found.push(Conflict::BindingWithoutDirectory);
        }
        if self.staging && self.directory_url.is_some() {
            found.push(Conflict::StagingAndDirectory);
        }
        found
    }
}

/// Makes a path absolute: the files are read again later, and the current directory may have changed by then.
fn file_path(name: &'static str, path: &Path) -> Result<FilePath, Conflict> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let text = path.to_str().ok_or(Conflict::Path(name))?;
    FilePath::parse(text).map_err(|_| Conflict::Path(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acme_needs_an_email_address_or_a_directory() {
        assert!(Given::default().acme().is_none());
        assert!(Given { staging: true, ..Given::default() }.acme().is_none());
        let email = Some("ops@example.com".to_owned());
        let acme = Given { email: email.clone(), ..Given::default() }.acme().expect("an address will do");
        assert_eq!(acme.directories[0].url, LETS_ENCRYPT);
        let acme = Given { email, staging: true, ..Given::default() }.acme().expect("an address will do");
        assert_eq!(acme.directories[0].url, LETS_ENCRYPT_STAGING);
        let given = Given {
            directory_url: Some("https://ca.example/directory".into()),
            fallback_url: Some("https://other.example/directory".into()),
            eab_kid: Some("kid".into()),
            eab_hmac: Some("hmac".into()),
            ..Given::default()
        };
        let acme = given.acme().expect("a directory will do");
        assert_eq!(acme.directories.len(), 2);
        assert_eq!(acme.directories[0].eab, Some(("kid".into(), "hmac".into())));
        assert_eq!(acme.directories[1].eab, None);
        assert!(given.conflicts().is_empty());
    }

    #[test]
    fn incomplete_pairs_are_reported() {
        let one = |given: Given| given.conflicts();
        let path = || Some(PathBuf::from("/etc/x.pem"));
        assert_eq!(one(Given { tls_key: path(), ..Given::default() }), [Conflict::KeyWithoutCertificate]);
        assert_eq!(
            one(Given { tls_certificate: path(), ..Given::default() }),
            [Conflict::CertificateWithoutKey]
        );
        assert_eq!(one(Given { eab_kid: Some("k".into()), ..Given::default() }), [Conflict::HalfBinding]);
        let both = Given { eab_kid: Some("k".into()), eab_hmac: Some("h".into()), ..Given::default() };
        assert_eq!(one(both), [Conflict::BindingWithoutDirectory]);
        let two = Given { staging: true, directory_url: Some("https://x".into()), ..Given::default() };
        assert_eq!(one(two), [Conflict::StagingAndDirectory]);
        let dots = Given { tls_certificate: Some("/a/../b".into()), tls_key: path(), ..Given::default() };
        assert_eq!(one(dots), [Conflict::Path("PROXY_TLS_CERT")]);
    }
}
