//! The operator's settings for certificates.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway_model::CertificateFiles;

/// The operator's settings for certificates.
#[derive(Clone, Debug)]
pub struct CertificateSettings {
    /// Directory of certificates, accounts and budgets.
    pub dir: PathBuf,
    /// The CAs; without them no certificate is ordered.
    pub acme: Option<AcmeSettings>,
    /// DNS resolver for verifications; without it those of `/etc/resolv.conf`.
    pub dns_resolver: Option<SocketAddr>,
    /// Port at which the CA and the probe fetch challenges: 80 outside of tests.
    pub http_port: u16,
    /// Public addresses of this machine, to compare A and AAAA records with. Empty when unknown: then the
    /// probe decides alone.
    pub public_addresses: Vec<IpAddr>,
    /// Files of the default certificate, for names without their own. The start fails when they are invalid.
    pub default_files: Option<CertificateFiles>,
    /// Renewal time before expiry, where that is less than half of the lifetime.
    pub renew_before: Option<Duration>,
}

impl CertificateSettings {
    /// Certificates in `dir`, no CA, the system's resolver, challenges on port 80.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            acme: None,
            dns_resolver: None,
            http_port: 80,
            public_addresses: Vec::new(),
            default_files: None,
            renew_before: None,
        }
    }
}

/// ACME settings.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// CAs in order of preference: the next one takes over while one is unavailable. Never empty.
    pub directories: Vec<DirectorySettings>,
    /// Contact address of the accounts.
    pub email: Option<String>,
    /// PEM file with the roots for the CA's HTTPS, in place of the system's trust store.
    pub ca_bundle: Option<PathBuf>,
    /// Certificate profile (`tlsserver`, `shortlived`), where the CA offers it.
    pub profile: Option<String>,
}

/// CA.
#[derive(Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// URL of its directory (RFC 8555 §7.1.1).
    pub url: String,
    /// External account binding (RFC 8555 §7.3.4): key id and HMAC key, as issued by the CA.
    pub eab: Option<(String, String)>,
}

impl fmt::Debug for DirectorySettings {
    /// Omits the HMAC key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kid = self.eab.as_ref().map(|(kid, _)| kid);
        f.debug_struct("DirectorySettings")
            .field("url", &self.url)
            .field("eab_kid", &kid)
            .finish_non_exhaustive()
    }
}
