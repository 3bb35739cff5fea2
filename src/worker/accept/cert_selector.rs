//! Which certificate a client is answered with, and what it must prove itself.
//!
//! ```text
//! name ─► route ─► its own certificate ──────────────► served, with what the route demands of clients
//!   │       └──── none (yet), or not to be loaded ─┐
//!   └──► no route ─────────────────────────────────┴─► the default certificate, if it covers the name
//!                                                       └─► none: refused, before anything is calculated
//! ```

use std::cell::RefCell;
use std::sync::Arc;

use ringway_model::{ClientAuth, ClientAuthNeed, FilePath, Hostname, Tick, limits};
use ringway_net::tls::Alert;
use ringway_tls::{Alpn, ClientVerifier, Identity, IdentityName, Material, ServerTls, Want};
use ringway_traffic::snapshot::{CertificateVersion, Route, Snapshot};
use rustls::ServerConfig;

use crate::accept::secrets::{Held, Secrets};
use crate::lru_cache::LruCache;

/// What the TLS listeners of a core answer with.
pub(crate) struct Identities {
    tls: Option<Arc<ServerTls>>,
    configs: RefCell<LruCache<Key, Cached>>,
}

type Key = (IdentityName, Option<(FilePath, ClientAuthNeed)>);

struct Cached {
    /// The loads that it was made of.
    loads: (u64, Option<u64>),
    config: Arc<ServerConfig>,
}

/// What a handshake is finished with.
pub(crate) struct Chosen {
    pub(crate) config: Arc<ServerConfig>,
    /// What was demanded of the client.
    pub(crate) client_auth: Option<ClientAuth>,
}

/// Why a client is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// It named nobody, and there is no default certificate.
    NoName,
    /// Nobody here has that name.
    UnknownName,
    /// The domain has no certificate that can be served, for now.
    NoCertificate,
    /// Who vouches for the domain's clients is not to be found out.
    NoClientCa,
}

impl Unserved {
    /// The word in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::UnknownName => "unknown_name",
            Self::NoCertificate => "no_certificate",
            Self::NoClientCa => "no_client_ca",
        }
    }

    /// What the client is told.
    pub(crate) fn alert(self) -> Alert {
        match self {
            Self::NoName | Self::UnknownName | Self::NoCertificate => Alert::UnrecognizedName,
            Self::NoClientCa => Alert::InternalError,
        }
    }
}

impl Identities {
    pub(crate) fn new(tls: Option<Arc<ServerTls>>) -> Self {
        Self { tls, configs: RefCell::new(LruCache::new(limits::MATERIALS_PER_CORE_MAX)) }
    }

    /// Decides, and waits for what is not there yet, until `deadline` at most.
    pub(crate) async fn choose(
        &self,
        secrets: &Secrets,
        snapshot: &Snapshot,
        name: Option<&str>,
        (now, deadline): (Tick, Tick),
    ) -> Result<Chosen, Unserved> {
        let Some(tls) = &self.tls else { return Err(Unserved::NoCertificate) };
        let route = name.and_then(|name| snapshot.route(name));
        let (of, held) = self.identity(secrets, snapshot, (name, route), (now, deadline)).await?;
        let Material::Identity(identity) = &held.material else { return Err(Unserved::NoCertificate) };
        let client_auth = route.and_then(|route| route.client_auth.clone());
        let verifier = match &client_auth {
            None => None,
            Some(auth) => match verifier(secrets, &auth.ca_file, (now, deadline)).await {
                Some(verifier) => Some((verifier, auth.need)),
                // Whoever may come without a certificate comes as one without.
                None if auth.need == ClientAuthNeed::Optional => None,
                None => return Err(Unserved::NoClientCa),
            },
        };
        let key = (
            of,
            client_auth.as_ref().zip(verifier.as_ref()).map(|(auth, _)| (auth.ca_file.clone(), auth.need)),
        );
        let config = self.config(tls, key, (identity, held.load), verifier);
        Ok(Chosen { config, client_auth })
    }

    async fn identity(
        &self,
        secrets: &Secrets,
        snapshot: &Snapshot,
        (name, route): (Option<&str>, Option<&Route>),
        (now, deadline): (Tick, Tick),
    ) -> Result<(IdentityName, std::rc::Rc<Held>), Unserved> {
        let mut unserved = match (name, route) {
            (None, _) => Unserved::NoName,
            (Some(_), None) => Unserved::UnknownName,
            (Some(_), Some(_)) => Unserved::NoCertificate,
        };
        if let Some(route) = route
            && let Some(CertificateVersion(version)) = route.certificate
        {
            let of = IdentityName::Domain(route.host.clone());
            match secrets.get(&Want::Identity(of.clone()), version, now, deadline).await {
                Ok(held) => return Ok((of, held)),
                Err(_) => unserved = Unserved::NoCertificate,
            }
        }
        let Some(CertificateVersion(version)) = snapshot.default_certificate else { return Err(unserved) };
        let held = secrets.get(&want_default(), version, now, deadline).await.map_err(|_| unserved)?;
        match (&held.material, name) {
            (Material::Identity(identity), Some(name)) if !identity.facts().covers(name) => Err(unserved),
            _ => Ok((IdentityName::Default, held)),
        }
    }

    /// The configuration for an identity, made once for each load of what it is made of.
    fn config(
        &self,
        tls: &ServerTls,
        key: Key,
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
        configs.insert(key, Cached { loads, config: config.clone() });
        config
    }
}

/// Whether a host without a certificate of its own is covered by the default one, as far as this core has seen it.
pub(crate) fn is_covered_by_default(secrets: &Secrets, snapshot: &Snapshot, host: &Hostname) -> bool {
    snapshot.default_certificate.is_some()
        && secrets.held(&want_default()).is_some_and(|held| match &held.material {
            Material::Identity(identity) => identity.facts().covers(host.as_str()),
            Material::ClientCa(_) | Material::Upstream(_) => false,
        })
}

/// The default certificate is asked for ahead: whether it covers a host decides about redirects, which do not wait.
pub(crate) fn prepare_default(secrets: &Secrets, snapshot: &Snapshot, now: Tick) {
    if let Some(CertificateVersion(version)) = snapshot.default_certificate {
        secrets.prepare(&want_default(), version, now);
    }
}

fn want_default() -> Want {
    Want::Identity(IdentityName::Default)
}

/// Who vouches for clients, and which load of it that is. A file has no version, so that it counts as 0.
async fn verifier(
    secrets: &Secrets,
    ca_file: &FilePath,
    (now, deadline): (Tick, Tick),
) -> Option<(ClientVerifier, u64)> {
    let held = secrets.get(&Want::ClientCa(ca_file.clone()), 0, now, deadline).await.ok()?;
    match &held.material {
        Material::ClientCa(verifier) => Some((verifier.clone(), held.load)),
        Material::Identity(_) | Material::Upstream(_) => None,
    }
}
