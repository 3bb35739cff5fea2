//! Whom health checks believe of the instances that speak TLS: the same as the data plane does.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use ringway_certs::upstream_secret;
use ringway_health::Trust;
use ringway_model::{AppId, Target, Tick, UpstreamTls, limits};
use ringway_net::clock;
use ringway_tls::{Alpn, server_name};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::control::Control;

/// What the apps say, read from their files at most once in [`limits::SECRET_AGE_MAX`].
pub(crate) struct AppTrust {
    control: Control,
    known: RefCell<HashMap<UpstreamTls, Known>>,
}

struct Known {
    config: Arc<ClientConfig>,
    since: Tick,
}

impl AppTrust {
    pub(crate) fn new(control: Control) -> Self {
        Self { control, known: RefCell::default() }
    }

    async fn config(&self, tls: &UpstreamTls) -> Option<Arc<ClientConfig>> {
        let now = clock::now();
        if let Some(known) = self.known.borrow().get(tls)
            && now < known.since.after(limits::SECRET_AGE_MAX)
        {
            return Some(known.config.clone());
        }
        let Ok(material) = upstream_secret(tls.clone()).await else {
            // What was good before is better than nothing, as on the data plane.
            return self.known.borrow().get(tls).map(|known| known.config.clone());
        };
        let config = material.client_config(Alpn::Http1);
        let mut known = self.known.borrow_mut();
        if known.len() >= limits::SECRETS_PER_CORE_MAX {
            known.retain(|_, known| now < known.since.after(limits::SECRET_AGE_MAX));
        }
        if known.len() < limits::SECRETS_PER_CORE_MAX {
            known.insert(tls.clone(), Known { config: config.clone(), since: now });
        }
        Some(config)
    }
}

impl Trust for AppTrust {
    async fn of(
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
