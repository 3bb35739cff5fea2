//! TLS settings of health checks: those of the app's upstream connections.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ringway_certs::upstream_secret;
use ringway_health::ProbeTls;
use ringway_model::{AppId, Target, Tick, UpstreamTls, limits};
use ringway_net::clock;
use ringway_tls::{Alpn, server_name};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::control::Control;

/// TLS settings of the apps, loaded from their files at most once in [`limits::SECRET_AGE_MAX`].
pub(crate) struct AppProbeTls {
    control: Control,
    cache: RefCell<HashMap<UpstreamTls, Cached>>,
}

struct Cached {
    config: Arc<ClientConfig>,
    loaded: Tick,
}

impl AppProbeTls {
    pub(crate) fn new(control: Control) -> Self {
        Self { control, cache: RefCell::default() }
    }

    async fn config(&self, tls: &UpstreamTls) -> Option<Arc<ClientConfig>> {
        let now = clock::now();
        let is_fresh = |cached: &Cached| now < cached.loaded.after(limits::SECRET_AGE_MAX);
        if let Some(cached) = self.cache.borrow().get(tls)
            && is_fresh(cached)
        {
            return Some(cached.config.clone());
        }
        let Ok(secret) = upstream_secret(tls.clone()).await else {
            // The last loaded version stays in use, as on the data plane.
            return self.cache.borrow().get(tls).map(|cached| cached.config.clone());
        };
        let config = secret.client_config(Alpn::Http1);
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= limits::SECRETS_PER_CORE_MAX {
            cache.retain(|_, cached| is_fresh(cached));
        }
        if cache.len() < limits::SECRETS_PER_CORE_MAX {
            cache.insert(tls.clone(), Cached { config: config.clone(), loaded: now });
        }
        Some(config)
    }
}

impl ProbeTls for AppProbeTls {
    async fn settings(
        &self,
        app: &AppId,
        target: &Target,
        _deadline: Tick,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let desired = self.control.desired();
        let tls = desired.app(app.as_str())?.upstream_tls.clone();
        let config = self.config(&tls.clone().unwrap_or_default()).await?;
        Some((config, server_name(tls.as_ref(), target)?))
    }
}
