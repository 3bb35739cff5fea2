//! Messages between a core and the certificate loader: a core never reads a file, it requests a secret and
//! goes on.

use std::fmt;
use std::sync::Arc;

use ringway_model::{AppId, CertificateFiles, CoreId, FilePath, Hostname, UpstreamTls};

use crate::{ClientVerifier, Identity, UpstreamSecret};

/// Key of a server certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentityName {
    /// Default certificate, for names that have none of their own.
    Default,
    /// Certificate of a domain.
    Domain(Hostname),
    /// Certificate of an operator, named by its files. It has no version: cores load it again as it ages.
    Files(CertificateFiles),
}

/// Key of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretKey {
    /// Certificate chain and private key of the server.
    Identity(IdentityName),
    /// CA that client certificates are verified with.
    ClientCa(FilePath),
    /// CA and client certificate for an app's `https://` targets.
    Upstream(AppId, UpstreamTls),
}

/// Secret as the cores hold it: shared by all of them, never copied.
#[derive(Clone, Debug)]
pub enum Secret {
    /// For [`SecretKey::Identity`].
    Identity(Identity),
    /// For [`SecretKey::ClientCa`].
    ClientCa(ClientVerifier),
    /// For [`SecretKey::Upstream`].
    Upstream(Arc<UpstreamSecret>),
}

/// Request of a core to the loader.
#[derive(Clone, Debug)]
pub struct SecretRequest {
    /// Core that receives the [`SecretUpdate`].
    pub core: CoreId,
    /// Requested secret.
    pub key: SecretKey,
    /// Version in the core's snapshot; 0 for secrets without versions.
    pub version: u64,
}

/// Secret pushed to a core: the response to a [`SecretRequest`], or a new certificate ahead of the snapshot
/// that names it.
#[derive(Clone, Debug)]
pub struct SecretUpdate {
    /// Key of the secret.
    pub key: SecretKey,
    /// Version that was requested.
    pub version: u64,
    /// The secret, or the reason why it cannot be loaded.
    pub result: Result<Secret, LoadError>,
}

/// Reason why a secret cannot be loaded, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError(pub Arc<str>);

impl LoadError {
    /// An error with this text.
    pub fn new(reason: &str) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}
