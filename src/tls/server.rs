//! Server side of TLS: versions, session tickets, and one configuration per certificate.

use std::fmt;
use std::sync::Arc;

use ringway_model::ClientAuthNeed;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::Identity;
use crate::provider::{Alpn, PROTOCOL_VERSIONS, provider};
use crate::upstream::{CaError, parse_roots};

/// TLS settings of all listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerSettings {
    /// TLS 1.3 only.
    pub modern: bool,
}

/// Server side of TLS, one per process and shared by all cores, so that a client can resume its session on
/// any core.
pub struct ServerTls {
    versions: &'static [&'static SupportedProtocolVersion],
    /// Random keys, used for six hours and accepted for six more.
    tickets: Arc<dyn ProducesTickets>,
}

impl ServerTls {
    /// # Errors
    /// When the system's random number generator fails.
    pub fn new(settings: ServerSettings) -> Result<Self, rustls::Error> {
        let versions = if settings.modern { MODERN } else { PROTOCOL_VERSIONS };
        Ok(Self { versions, tickets: Ticketer::new()? })
    }

    /// Builds the configuration of connections with this identity. About ten allocations and no cryptography:
    /// keep it with the identity.
    ///
    /// With `client_auth` no session is resumed: client certificates are verified in every handshake against
    /// the current CAs. Early data are never accepted, because they can be replayed.
    pub fn config(
        &self,
        identity: &Identity,
        client_auth: Option<(&ClientVerifier, ClientAuthNeed)>,
        alpn: Alpn,
    ) -> Arc<ServerConfig> {
        let verifier = client_auth
            .map_or_else(|| Arc::new(NoClientAuth) as _, |(verifier, need)| verifier.verifier(need));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(self.versions)
            .expect("the provider has suites and groups for both versions")
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(identity.resolver());
        // The server's order of suites: all are secure, and scanners see which one is used.
        config.ignore_client_order = true;
        config.alpn_protocols = alpn.to_vec();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if client_auth.is_none() {
            config.ticketer = Arc::clone(&self.tickets);
        } else {
            config.send_tls13_tickets = 0;
        }
        Arc::new(config)
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("versions", &self.versions).finish_non_exhaustive()
    }
}

static MODERN: &[&SupportedProtocolVersion] = &[&TLS13];

/// Verifier of client certificates.
#[derive(Clone)]
pub struct ClientVerifier {
    optional: Arc<dyn ClientCertVerifier>,
    required: Arc<dyn ClientCertVerifier>,
}

impl ClientVerifier {
    /// A verifier that trusts the CAs in `ca_pem`.
    ///
    /// # Errors
    /// When there is none, or one that cannot be parsed.
    pub fn from_pem(ca_pem: &[u8]) -> Result<Self, CaError> {
        let roots = Arc::new(parse_roots(ca_pem)?);
        let builder = || WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
        let optional = builder().allow_unauthenticated().build().map_err(|_| CaError::Empty)?;
        let required = builder().build().map_err(|_| CaError::Empty)?;
        Ok(Self { optional, required })
    }

    fn verifier(&self, need: ClientAuthNeed) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(match need {
            ClientAuthNeed::Optional => &self.optional,
            ClientAuthNeed::Required => &self.required,
        })
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientVerifier").finish_non_exhaustive()
    }
}
