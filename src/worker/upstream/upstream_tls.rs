//! TLS client configurations for upstream endpoints.

use std::cell::RefCell;
use std::sync::Arc;

use ringway_model::{AppId, Tick, UpstreamTls, limits};
use ringway_tls::{Alpn, Secret, SecretKey, UpstreamSecret, server_name};
use ringway_traffic::snapshot::{Endpoint, Pool};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::accept::secrets::Secrets;
use crate::lru_cache::LruCache;

/// Client configurations of one core, one per app: each holds session tickets, so that later handshakes
/// resume.
pub(crate) struct UpstreamTlsConfigs {
    /// By app and protocols offered.
    configs: RefCell<LruCache<(AppId, Alpn), Cached>>,
}

struct Cached {
    /// Inputs of the configuration; a reload of unchanged files yields the same secret.
    tls: Option<UpstreamTls>,
    secret: Arc<UpstreamSecret>,
    config: Arc<ClientConfig>,
}

impl UpstreamTlsConfigs {
    pub(crate) fn new() -> Self {
        Self { configs: RefCell::new(LruCache::new(limits::SECRETS_PER_CORE_MAX)) }
    }

    /// Returns the configuration and the server name for an endpoint; `None` when the secret cannot be loaded
    /// by the deadline.
    pub(crate) async fn of(
        &self,
        secrets: &Secrets,
        pool: &Pool,
        endpoint: &Endpoint,
        alpn: Alpn,
        (now, deadline): (Tick, Tick),
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let key = SecretKey::Upstream(pool.app.clone(), pool.tls.clone().unwrap_or_default());
        let cached = secrets.get(&key, 0, now, deadline).await.ok()?;
        let Secret::Upstream(secret) = &cached.secret else { return None };
        let mut configs = self.configs.borrow_mut();
        let key = (pool.app.clone(), alpn);
        let known =
            configs.get(&key).filter(|known| Arc::ptr_eq(&known.secret, secret) && known.tls == pool.tls);
        let config = match known {
            Some(known) => known.config.clone(),
            None => {
                let config = secret.client_config(alpn);
                let cached = Cached { tls: pool.tls.clone(), secret: secret.clone(), config: config.clone() };
                configs.insert(key, cached);
                config
            }
        };
        Some((config, server_name(pool.tls.as_ref(), &endpoint.target)?))
    }
}
