//! Selection of the server certificate by SNI, and of the requirements for client certificates.
//!
//! ```text
//! SNI ─► virtual host ─► its own certificate ───────────► served, with the host's client authentication
//!   │       └──── none yet, or it cannot be loaded ─┐
//!   └──► no virtual host ───────────────────────────┴─► the default certificate, if it covers the name
//!                                                        └─► none: refused before any cryptography
//! ```

use std::cell::RefCell;
use std::sync::Arc;

use ringway_model::{ClientAuth, ClientAuthNeed, FilePath, Tick, limits};
use ringway_net::tls::Alert;
use ringway_tls::{Alpn, ClientVerifier, Identity, IdentityName, Secret, SecretKey, ServerTls};
use ringway_traffic::snapshot::{CertificateVersion, Snapshot};
use ringway_traffic::virtual_host::VirtualHost;
use rustls::ServerConfig;

use crate::accept::secrets::{CachedSecret, Secrets};
use crate::lru_cache::LruCache;

/// Certificate selection of one core, with a cache of server configurations.
pub(crate) struct CertSelector {
    tls: Option<Arc<ServerTls>>,
    configs: RefCell<LruCache<ConfigKey, CachedConfig>>,
}

type ConfigKey = (IdentityName, Option<(FilePath, ClientAuthNeed)>);

struct CachedConfig {
    /// Loads of the secrets that it was built from.
    loads: (u64, Option<u64>),
    config: Arc<ServerConfig>,
}

/// Selected configuration of a handshake.
pub(crate) struct Selected {
    pub(crate) config: Arc<ServerConfig>,
    /// Client authentication that `config` demands.
    pub(crate) client_auth: Option<ClientAuth>,
}

/// Reason why no certificate is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoCertificate {
    /// No SNI, and no default certificate.
    NoName,
    /// No domain of that name.
    UnknownName,
    /// The domain has no certificate that can be served now.
    Unavailable,
    /// The CA for the domain's clients cannot be loaded.
    NoClientCa,
}

impl NoCertificate {
    /// Label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::UnknownName => "unknown_name",
            Self::Unavailable => "no_certificate",
            Self::NoClientCa => "no_client_ca",
        }
    }

    /// TLS alert to the client.
    pub(crate) fn alert(self) -> Alert {
        match self {
            Self::NoName | Self::UnknownName | Self::Unavailable => Alert::UnrecognizedName,
            Self::NoClientCa => Alert::InternalError,
        }
    }
}

impl CertSelector {
    pub(crate) fn new(tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, configs: RefCell::new(LruCache::new(limits::SECRETS_PER_CORE_MAX)) }
    }

    /// Selects the configuration for a server name. Waits until `deadline` at most for secrets that are not
    /// cached.
    pub(crate) async fn select(
        &self,
        secrets: &Secrets,
        snapshot: &Snapshot,
        name: Option<&str>,
        (now, deadline): (Tick, Tick),
    ) -> Result<Selected, NoCertificate> {
        let Some(tls) = &self.tls else { return Err(NoCertificate::Unavailable) };
        let host = name.and_then(|name| snapshot.virtual_host(name)).map(|host| &**host);
        let (of, cached) = self.identity(secrets, snapshot, (name, host), (now, deadline)).await?;
        let Secret::Identity(identity) = &cached.secret else { return Err(NoCertificate::Unavailable) };
        let client_auth = host.and_then(|host| host.tls.client_auth.clone());
        let verifier = match &client_auth {
            None => None,
            Some(auth) => match verifier(secrets, &auth.ca_file, (now, deadline)).await {
                Some(verifier) => Some((verifier, auth.need)),
                // Optional client certificates cannot be verified: none is requested.
                None if auth.need == ClientAuthNeed::Optional => None,
                None => return Err(NoCertificate::NoClientCa),
            },
        };
        let key = (
            of,
            client_auth.as_ref().zip(verifier.as_ref()).map(|(auth, _)| (auth.ca_file.clone(), auth.need)),
        );
        let config = self.config(tls, key, (identity, cached.load), verifier);
        Ok(Selected { config, client_auth })
    }

    async fn identity(
        &self,
        secrets: &Secrets,
        snapshot: &Snapshot,
        (name, host): (Option<&str>, Option<&VirtualHost>),
        (now, deadline): (Tick, Tick),
    ) -> Result<(IdentityName, std::rc::Rc<CachedSecret>), NoCertificate> {
        let reason = match (name, host) {
            (None, _) => NoCertificate::NoName,
            (Some(_), None) => NoCertificate::UnknownName,
            (Some(_), Some(_)) => NoCertificate::Unavailable,
        };
        if let Some(files) = name.and_then(|name| snapshot.certificate_files(name)) {
            let of = IdentityName::Files(files.clone());
            if let Ok(cached) =
                secrets.get(&SecretKey::Identity(of.clone()), UNVERSIONED, now, deadline).await
            {
                return Ok((of, cached));
            }
        }
        if let Some(host) = host
            && let (Some(name), Some(CertificateVersion(version))) = (host.name(), host.tls.certificate)
        {
            let of = IdentityName::Domain(name.clone());
            if let Ok(cached) = secrets.get(&SecretKey::Identity(of.clone()), version, now, deadline).await {
                return Ok((of, cached));
            }
        }
        let Some(CertificateVersion(version)) = snapshot.default_certificate else { return Err(reason) };
        let cached = secrets.get(&default_key(), version, now, deadline).await.map_err(|_| reason)?;
        match (&cached.secret, name) {
            (Secret::Identity(identity), Some(name)) if !identity.facts().covers(name) => Err(reason),
            _ => Ok((IdentityName::Default, cached)),
        }
    }

    /// Returns the server configuration for an identity, built once for each load of its secrets.
    fn config(
        &self,
        tls: &ServerTls,
        key: ConfigKey,
        (identity, load): (&Identity, u64),
        verifier: Option<((ClientVerifier, u64), ClientAuthNeed)>,
    ) -> Arc<ServerConfig> {
        let loads = (load, verifier.as_ref().map(|((_, load), _)| *load));
        let mut configs = self.configs.borrow_mut();
        if let Some(cached) = configs.get(&key)
            && cached.loads == loads
        {
            return cached.config.clone();
        }
        let client_auth = verifier.as_ref().map(|((verifier, _), need)| (verifier, *need));
        let config = tls.config(identity, client_auth, Alpn::Http2OrHttp1);
        configs.insert(key, CachedConfig { loads, config: config.clone() });
        config
    }
}

/// Whether the default certificate covers a host. `false` while this core has not loaded it.
pub(crate) fn is_covered_by_default(secrets: &Secrets, snapshot: &Snapshot, host: &str) -> bool {
    snapshot.default_certificate.is_some()
        && secrets.cached(&default_key()).is_some_and(|cached| match &cached.secret {
            Secret::Identity(identity) => identity.facts().covers(host),
            Secret::ClientCa(_) | Secret::Upstream(_) => false,
        })
}

/// Requests the default certificate ahead: redirects depend on the names that it covers, and do not wait.
pub(crate) fn prefetch_default(secrets: &Secrets, snapshot: &Snapshot, now: Tick) {
    if let Some(CertificateVersion(version)) = snapshot.default_certificate {
        secrets.prefetch(&default_key(), version, now);
    }
}

/// Version of secrets that have none.
const UNVERSIONED: u64 = 0;

fn default_key() -> SecretKey {
    SecretKey::Identity(IdentityName::Default)
}

/// Returns the verifier of client certificates and its load. The file has no version: 0.
async fn verifier(
    secrets: &Secrets,
    ca_file: &FilePath,
    (now, deadline): (Tick, Tick),
) -> Option<(ClientVerifier, u64)> {
    let cached = secrets.get(&SecretKey::ClientCa(ca_file.clone()), 0, now, deadline).await.ok()?;
    match &cached.secret {
        Secret::ClientCa(verifier) => Some((verifier.clone(), cached.load)),
        Secret::Identity(_) | Secret::Upstream(_) => None,
    }
}
