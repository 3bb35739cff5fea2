//! Client side of TLS: verification of an app's instances, and the client certificate.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::limits::{CA_CERTIFICATES_MAX, CA_PEM_BYTES_MAX, UPSTREAM_TLS_SESSIONS_MAX};
use ringway_model::{Target, TargetHost, UpstreamTls};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::Identity;
use crate::provider::{Alpn, PROTOCOL_VERSIONS, provider};

/// CAs and client certificate for the `https://` targets of an app. Built by the loader, used by the cores.
#[derive(Clone)]
pub struct UpstreamSecret {
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Identity>,
    insecure: bool,
}

/// Error of a file with CAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaError {
    /// More than `CA_PEM_BYTES_MAX` bytes, or more than `CA_CERTIFICATES_MAX` certificates.
    TooLarge,
    /// It has no certificate.
    Empty,
    /// The PEM text of this certificate, counted from 1, is damaged.
    Pem(usize),
    /// This certificate, counted from 1, cannot be parsed.
    Unreadable(usize),
}

impl UpstreamSecret {
    /// Trusts the CAs in `ca_pem`, else those of the [`trust_store`] (which the first call reads: it may
    /// block); with `insecure`, every certificate. `identity` is presented to instances that request a client
    /// certificate.
    ///
    /// # Errors
    /// When `ca_pem` cannot be used, also with `insecure`.
    pub fn new(ca_pem: Option<&[u8]>, identity: Option<Identity>, insecure: bool) -> Result<Self, CaError> {
        let roots = ca_pem.map(parse_roots).transpose()?.map(Arc::new);
        let verifier: Arc<dyn ServerCertVerifier> = if insecure {
            Arc::new(NoVerification(provider().signature_verification_algorithms))
        } else {
            let roots = roots.unwrap_or_else(trust_store);
            WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|_| CaError::Empty)?
        };
        Ok(Self { verifier, identity, insecure })
    }

    /// Whether verification is disabled.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// Builds the configuration of connections that offer `alpn`. It stores session tickets, so that later
    /// connections to the same server resume: keep it, one per core and app. Reads no file.
    pub fn client_config(&self, alpn: Alpn) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(PROTOCOL_VERSIONS)
            .expect("the provider has suites and groups for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier));
        let mut config = match &self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity.resolver()),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.to_vec();
        config.resumption = Resumption::in_memory_sessions(UPSTREAM_TLS_SESSIONS_MAX);
        Arc::new(config)
    }
}

impl fmt::Debug for UpstreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamSecret")
            .field("identity", &self.identity)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

/// Returns the server name of a target, for SNI and verification: the configured one, else the target's host.
pub fn server_name(tls: Option<&UpstreamTls>, target: &Target) -> Option<ServerName<'static>> {
    let chosen = tls.and_then(|tls| tls.server_name.as_ref());
    match (chosen, target.host()) {
        (Some(name), _) | (None, TargetHost::Name(name)) => name.as_str().to_owned().try_into().ok(),
        (None, TargetHost::Address(address)) => Some((*address).into()),
    }
}

/// Returns the CAs of the system's trust store; where it is empty, Mozilla's as of the build. Read by the
/// first call, which may block; later changes of the system's store take effect after a restart.
pub fn trust_store() -> Arc<RootCertStore> {
    static STORE: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        // Certificates that cannot be parsed are skipped.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        Arc::new(roots)
    });
    Arc::clone(&STORE)
}

pub(crate) fn parse_roots(ca_pem: &[u8]) -> Result<RootCertStore, CaError> {
    if ca_pem.len() > CA_PEM_BYTES_MAX {
        return Err(CaError::TooLarge);
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(ca_pem).enumerate() {
        if index == CA_CERTIFICATES_MAX {
            return Err(CaError::TooLarge);
        }
        let certificate = certificate.map_err(|_| CaError::Pem(index + 1))?;
        roots.add(certificate).map_err(|_| CaError::Unreadable(index + 1))?;
    }
    if roots.is_empty() { Err(CaError::Empty) } else { Ok(roots) }
}

impl fmt::Display for CaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => write!(
                f,
                "the CA file has more than {CA_PEM_BYTES_MAX} bytes or {CA_CERTIFICATES_MAX} certificates: name the \
                 few that are meant"
            ),
            Self::Empty => f.write_str("the CA file has no certificate: it needs at least one, in PEM form"),
            Self::Pem(position) => {
                write!(f, "the PEM text of certificate {position} in the CA file is damaged: export it again")
            }
            Self::Unreadable(position) => {
                write!(f, "certificate {position} in the CA file is not a usable X.509 certificate")
            }
        }
    }
}

impl std::error::Error for CaError {}

/// Verifier that accepts every certificate. The peer still proves that it has the key of its certificate.
#[derive(Debug)]
struct NoVerification(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
