//! Stored form of an app.

use std::sync::Arc;

use ringway_model::{
    App, AppId, Balancer, CertificateFiles, FailurePolicy, FilePath, Hostname, OnAllUnhealthy, StatusSet,
    TimeoutPolicy, Timestamp, UpstreamTls, Webhook, WebhookSecret, WebhookUrl, limits,
};
use serde::{Deserialize, Serialize};

use super::policy::StoredPolicyRef;
use super::traffic::StoredPoolTraffic;
use super::{StoredOwner, first_format};

/// The format of apps that this version writes. Format 1 had no owner, format 2 no policy and no balancer,
/// format 3 no traffic settings.
const FORMAT: u32 = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredApp {
    #[serde(default = "first_format")]
    format: u32,
    #[serde(default)]
    owner: StoredOwner,
    id: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream_tls: Option<StoredUpstreamTls>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failures: Option<StoredFailures>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    on_all_unhealthy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<StoredWebhook>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    balancer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<StoredPolicyRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traffic: Option<StoredPoolTraffic>,
    created_at: u64,
    updated_at: u64,
}

impl From<&App> for StoredApp {
    fn from(app: &App) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(app.owner.clone()),
            id: app.id.to_string(),
            name: app.name.to_string(),
            upstream_tls: app.upstream_tls.as_ref().map(StoredUpstreamTls::from),
            // Defaults are left out.
            failures: (app.failures != FailurePolicy::default()).then(|| StoredFailures::from(app.failures)),
            on_all_unhealthy: (app.on_all_unhealthy != OnAllUnhealthy::default())
                .then(|| app.on_all_unhealthy.as_str().to_owned()),
            webhook: app.webhook.as_ref().map(StoredWebhook::from),
            balancer: (app.balancer != Balancer::default()).then(|| app.balancer.as_str().to_owned()),
            policy: app.policy.as_ref().map(StoredPolicyRef::from),
            traffic: app.traffic.as_deref().map(StoredPoolTraffic::from),
            created_at: app.created_at.0,
            updated_at: app.updated_at.0,
        }
    }
}

impl StoredApp {
    pub(super) fn into_model(self) -> Option<App> {
        (self.format <= FORMAT).then_some(())?;
        (self.name.len() <= limits::APP_NAME_BYTES_MAX).then_some(())?;
        Some(App {
            id: AppId::parse(&self.id).ok()?,
            name: self.name.into(),
            upstream_tls: match self.upstream_tls {
                Some(tls) => Some(tls.into_model()?),
                None => None,
            },
            failures: match self.failures {
                Some(failures) => failures.into_model()?,
                None => FailurePolicy::default(),
            },
            on_all_unhealthy: match self.on_all_unhealthy {
                Some(policy) => OnAllUnhealthy::parse(&policy)?,
                None => OnAllUnhealthy::default(),
            },
            webhook: match self.webhook {
                Some(webhook) => Some(webhook.into_model()?),
                None => None,
            },
            balancer: match self.balancer {
                Some(balancer) => Balancer::parse(&balancer)?,
                None => Balancer::default(),
            },
            policy: match self.policy {
                Some(policy) => Some(policy.into_model()?),
                None => None,
            },
            traffic: match self.traffic {
                Some(traffic) => Some(Arc::new(traffic.into_model()?)),
                None if self.owner.0.is_operator() => Some(Arc::default()),
                None => None,
            },
            owner: self.owner.0,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFailures {
    /// In the text form of [`StatusSet`].
    statuses: String,
    timeouts: String,
}

impl From<FailurePolicy> for StoredFailures {
    fn from(policy: FailurePolicy) -> Self {
        Self { statuses: policy.statuses.to_string(), timeouts: policy.timeouts.as_str().to_owned() }
    }
}

impl StoredFailures {
    fn into_model(self) -> Option<FailurePolicy> {
        Some(FailurePolicy {
            statuses: StatusSet::parse(&self.statuses).ok()?,
            timeouts: TimeoutPolicy::parse(&self.timeouts)?,
        })
    }
}

/// A webhook. The secret is in clear because deliveries are signed with it; only the owner can read the
/// store's files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredWebhook {
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl From<&Webhook> for StoredWebhook {
    fn from(webhook: &Webhook) -> Self {
        let secret = webhook.secret.as_ref().map(|secret| secret.expose().to_owned());
        Self { url: webhook.url.to_string(), secret }
    }
}

impl StoredWebhook {
    fn into_model(self) -> Option<Webhook> {
        let secret = self.secret.map(|secret| WebhookSecret::parse(&secret)).transpose().ok()?;
        Some(Webhook { url: WebhookUrl::parse(&self.url).ok()?, secret })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredUpstreamTls {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ca_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_certificate_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_key_file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
    #[serde(default)]
    insecure: bool,
}

impl From<&UpstreamTls> for StoredUpstreamTls {
    fn from(tls: &UpstreamTls) -> Self {
        let files = tls.client_certificate.as_ref();
        Self {
            ca_file: tls.ca_file.as_ref().map(FilePath::to_string),
            client_certificate_file: files.map(|files| files.certificate.to_string()),
            client_key_file: files.map(|files| files.key.to_string()),
            server_name: tls.server_name.as_ref().map(Hostname::to_string),
            insecure: tls.insecure,
        }
    }
}

impl StoredUpstreamTls {
    fn into_model(self) -> Option<UpstreamTls> {
        let path = |text: Option<String>| text.map(|text| FilePath::parse(&text)).transpose().ok();
        let client_certificate = match (path(self.client_certificate_file)?, path(self.client_key_file)?) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return None,
        };
        Some(UpstreamTls {
            ca_file: path(self.ca_file)?,
            client_certificate,
            server_name: self.server_name.map(|name| Hostname::parse(&name)).transpose().ok()?,
            insecure: self.insecure,
        })
    }
}
