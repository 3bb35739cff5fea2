//! What the operator settled about certificates.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway_model::CertificateFiles;

/// What the operator settled.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where certificates, accounts and budgets are kept.
    pub dir: PathBuf,
    /// Who issues; without it no CA is ever asked.
    pub acme: Option<AcmeSettings>,
    /// Who is asked for DNS records; without it those of `/etc/resolv.conf`.
    pub dns_resolver: Option<SocketAddr>,
    /// The port at which the CA, and our own probe, fetch challenges: 80 but in tests.
    pub http_port: u16,
    /// The addresses at which this machine is reached from outside, to compare A and AAAA records with. Empty: unknown, and
    /// the probe of our own challenge decides alone.
    pub public_addresses: Vec<IpAddr>,
    /// The operator's own certificate, for names that have none of their own. Strict: a start without it fails.
    pub default_files: Option<CertificateFiles>,
    /// Renew so long before the end, where that is less than half of the lifetime.
    pub renew_before: Option<Duration>,
}

impl Settings {
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

/// How certificates are asked for.
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The first is asked; the next ones when it is out of order. Never empty.
    pub directories: Vec<DirectorySettings>,
    /// Told to the CA, for accounts.
    pub email: Option<String>,
    /// A PEM file with the roots that the CA's own HTTPS is verified by, in place of the system's.
    pub ca_bundle: Option<PathBuf>,
    /// The profile that is asked for (`tlsserver`, `shortlived`), where the CA offers it.
    pub profile: Option<String>,
}

/// One CA.
#[derive(Clone, PartialEq, Eq)]
pub struct DirectorySettings {
    /// The URL of its directory (RFC 8555 §7.1.1).
    pub url: String,
    /// External account binding (RFC 8555 §7.3.4): key id and HMAC key, as the CA gave them.
    pub eab: Option<(String, String)>,
}

impl fmt::Debug for DirectorySettings {
    /// Without the HMAC key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kid = self.eab.as_ref().map(|(kid, _)| kid);
        f.debug_struct("DirectorySettings")
            .field("url", &self.url)
            .field("eab_kid", &kid)
            .finish_non_exhaustive()
    }
}
