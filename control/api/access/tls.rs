//! TLS of the API: its certificate, and the CA of its clients.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway_model::ClientAuthNeed;
use ringway_model::limits::CERTIFICATE_PEM_BYTES_MAX;
use ringway_tls::{Alpn, CaError, ClientVerifier, Identity, IdentityError, ServerSettings, ServerTls};
use rustls::ServerConfig;

use super::tokens_file::Stamp;

/// Certificate of the API and CA of its clients, from files that are read again when they change.
#[derive(Clone)]
pub struct AdminTls {
    server: Arc<ServerTls>,
    files: Files,
    identity: Identity,
    config: Arc<ServerConfig>,
    stamps: Vec<Stamp>,
}

#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
}

impl AdminTls {
    /// Reads the PEM files. With `client_ca`, every client must present a certificate of one of its CAs.
    /// Blocks.
    ///
    /// # Errors
    /// The file that cannot be used, and the reason.
    pub fn open(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, AdminTlsError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: client_ca.map(Path::to_owned),
        };
        let server = ServerTls::new(ServerSettings::default()).map_err(|_| AdminTlsError::Random)?;
        Self::load(Arc::new(server), files)
    }

    fn load(server: Arc<ServerTls>, files: Files) -> Result<Self, AdminTlsError> {
        // Before the content: a change in between is read once more.
        let stamps = files.stamps()?;
        let (chain, key) = (read(&files.certificate)?, read(&files.key)?);
        let identity = Identity::from_pem(&chain, &key)
            .map_err(|error| AdminTlsError::Identity(files.certificate.clone(), error))?;
        let verifier = match &files.client_ca {
            Some(path) => {
                let ca = read(path)?;
                Some(ClientVerifier::from_pem(&ca).map_err(|error| AdminTlsError::Ca(path.clone(), error))?)
            }
            None => None,
        };
        let client_auth = verifier.as_ref().map(|verifier| (verifier, ClientAuthNeed::Required));
        let config = server.config(&identity, client_auth, Alpn::Http1);
        Ok(Self { server, files, identity, config, stamps })
    }

    /// Reads the files again if one has changed. Blocks.
    ///
    /// # Errors
    /// As [`AdminTls::open`].
    pub(crate) fn reopen(&self) -> Result<Option<Self>, AdminTlsError> {
        match self.files.stamps() {
            Ok(stamps) if stamps == self.stamps => Ok(None),
            _ => Self::load(Arc::clone(&self.server), self.files.clone()).map(Some),
        }
    }

    /// Whether clients must present a certificate.
    pub fn verifies_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Certificate of the API.
    pub(crate) fn identity(&self) -> Identity {
        self.identity.clone()
    }

    /// Configuration of new connections.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

impl Files {
    fn stamps(&self) -> Result<Vec<Stamp>, AdminTlsError> {
        let paths = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let stamp = |path: &PathBuf| {
            Stamp::read(path).map_err(|error| AdminTlsError::Read(path.clone(), error.kind()))
        };
        paths.into_iter().flatten().map(stamp).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, AdminTlsError> {
    let failed = |error: io::Error| AdminTlsError::Read(path.to_owned(), error.kind());
    let mut bytes = Vec::new();
    // One byte more than is allowed: the parsers report what is too long.
    let most = CERTIFICATE_PEM_BYTES_MAX as u64 + 1;
    fs::File::open(path).map_err(failed)?.take(most).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

impl fmt::Debug for AdminTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AdminTls").field(&self.files).finish()
    }
}

/// Error of the files of the API's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminTlsError {
    /// A file cannot be read.
    Read(PathBuf, io::ErrorKind),
    /// The certificate or its key cannot be used.
    Identity(PathBuf, IdentityError),
    /// The CA of clients cannot be used.
    Ca(PathBuf, CaError),
    /// The system's random number generator failed.
    Random,
}

impl fmt::Display for AdminTlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, kind) => write!(f, "cannot read {}: {kind}", path.display()),
            Self::Identity(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Ca(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Random => f.write_str("the system's random number generator failed"),
        }
    }
}

impl std::error::Error for AdminTlsError {}
