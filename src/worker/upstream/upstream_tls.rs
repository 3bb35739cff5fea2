//! Whom to believe when an endpoint speaks TLS, and what to ask it for.

use std::cell::RefCell;
use std::sync::Arc;

use ringway_model::{AppId, Tick, UpstreamTls, limits};
use ringway_tls::{Alpn, Material, UpstreamMaterial, Want, server_name};
use ringway_traffic::snapshot::{Endpoint, Pool};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::accept::secrets::Secrets;
use crate::lru_cache::LruCache;

/// The configurations of one core, one per app: each remembers the sessions of its servers, so that the next handshake
/// with one is cheap.
pub(crate) struct UpstreamTlsConfigs {
    /// By app, and whether HTTP/2 will do.
    configs: RefCell<LruCache<(AppId, bool), Cached>>,
}

struct Cached {
    /// What it was made for and of: loaded anew, it is the same as long as its files are.
    tls: Option<UpstreamTls>,
    material: Arc<UpstreamMaterial>,
    config: Arc<ClientConfig>,
}

impl UpstreamTlsConfigs {
    pub(crate) fn new() -> Self {
        Self { configs: RefCell::new(LruCache::new(limits::MATERIALS_PER_CORE_MAX)) }
    }

    /// With what and under which name to speak to an endpoint; `None` when that cannot be loaded, or not by the deadline.
    pub(crate) async fn of(
        &self,
        secrets: &Secrets,
        pool: &Pool,
        endpoint: &Endpoint,
        alpn: Alpn,
        (now, deadline): (Tick, Tick),
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let want = Want::Upstream(pool.app.clone(), pool.tls.clone().unwrap_or_default());
        let held = secrets.get(&want, 0, now, deadline).await.ok()?;
        let Material::Upstream(material) = &held.material else { return None };
        let mut configs = self.configs.borrow_mut();
        let key = (pool.app.clone(), matches!(alpn, Alpn::Http2OrHttp1));
        let known =
            configs.get(&key).filter(|known| Arc::ptr_eq(&known.material, material) && known.tls == pool.tls);
        let config = match known {
            Some(known) => known.config.clone(),
            None => {
                let config = material.client_config(alpn);
                let cached =
                    Cached { tls: pool.tls.clone(), material: material.clone(), config: config.clone() };
                configs.insert(key, cached);
                config
            }
        };
        Some((config, server_name(pool.tls.as_ref(), &endpoint.target)?))
    }
}
