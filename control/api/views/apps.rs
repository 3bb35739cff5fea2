//! Apps, their webhooks and their health, as the API shows them.

use ringway_model::{App, Desired, UpstreamTls};
use serde::Serialize;
use utoipa::ToSchema;

use super::domains::DomainView;
use super::instances::InstanceView;
use super::policies::PolicyView;
use crate::lists::PageTail;

/// A registered app.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppView {
    pub(crate) app_id: String,
    pub(crate) app_name: String,
    /// Source of its configuration; `api` is this API.
    #[schema(examples("api", "file", "admin"))]
    pub(crate) owner: String,
    /// Number of instances.
    pub(crate) instance_count: usize,
    /// Number of domains.
    pub(crate) domain_count: usize,
    /// TLS settings of its https:// targets; null for the default.
    pub(crate) upstream_tls: Option<UpstreamTlsView>,
    /// Treatment of requests while all instances fail their health checks.
    #[schema(examples("reject", "panic_open", "trickle"))]
    pub(crate) on_all_unhealthy: &'static str,
    pub(crate) failures: FailuresView,
    /// Timeouts and limits of its requests; null for the defaults.
    pub(crate) policy: Option<PolicyView>,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    #[schema(format = "date-time")]
    pub(crate) updated_at: String,
}

impl AppView {
    pub(crate) fn new(app: &App, desired: &Desired) -> Self {
        Self {
            app_id: app.id.to_string(),
            app_name: app.name.to_string(),
            owner: app.owner.to_string(),
            instance_count: desired.instance_count_of(app.id.as_str()),
            domain_count: desired.domain_count_of(app.id.as_str()),
            upstream_tls: app.upstream_tls.as_ref().map(UpstreamTlsView::new),
            on_all_unhealthy: app.on_all_unhealthy.as_str(),
            failures: FailuresView {
                statuses: app.failures.statuses.parts().collect(),
                timeouts: app.failures.timeouts.as_str(),
            },
            policy: app.policy.as_ref().map(PolicyView::new),
            created_at: app.created_at.to_rfc3339_millis(),
            updated_at: app.updated_at.to_rfc3339_millis(),
        }
    }
}

/// Results that count against an instance besides connection failures and broken messages.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailuresView {
    /// Statuses of the app, single or in ranges.
    #[schema(examples(json!(["502-504"])))]
    pub(crate) statuses: Vec<String>,
    /// Whether late responses count.
    #[schema(examples("unchecked", "always", "never"))]
    pub(crate) timeouts: &'static str,
}

/// TLS settings of an app's https:// targets.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpstreamTlsView {
    /// Trusted CAs; null for the system's.
    #[schema(examples("/etc/ringway/apps-ca.pem"))]
    pub(crate) ca_file: Option<String>,
    /// Client certificate.
    pub(crate) client_certificate: Option<CertificateFilesView>,
    /// Name for SNI and verification; null for the target's host.
    pub(crate) server_name: Option<String>,
    /// Whether verification is disabled.
    pub(crate) insecure: bool,
}

/// Files of a certificate chain and its key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CertificateFilesView {
    /// The chain.
    pub(crate) certificate: String,
    /// Its key.
    pub(crate) key: String,
}

impl UpstreamTlsView {
    fn new(tls: &UpstreamTls) -> Self {
        let client = tls.client_certificate.as_ref();
        Self {
            ca_file: tls.ca_file.as_ref().map(ToString::to_string),
            client_certificate: client.map(|files| CertificateFilesView {
                certificate: files.certificate.to_string(),
                key: files.key.to_string(),
            }),
            server_name: tls.server_name.as_ref().map(ToString::to_string),
            insecure: tls.insecure,
        }
    }
}

/// An app with its instances and domains.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppDetails {
    #[serde(flatten)]
    pub(crate) app: AppView,
    /// Instances, by id.
    pub(crate) instances: Vec<InstanceView>,
    /// Domains, by name, up to the limit of a page. The list of domains has all of them.
    pub(crate) domains: Vec<String>,
    /// While no instance is healthy: the failing checks and the treatment of requests.
    pub(crate) outage: Option<String>,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// One page of apps, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct AppPage {
    apps: Vec<AppView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// A registered app with its instance and domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegisteredView {
    #[serde(flatten)]
    pub(crate) app: AppView,
    /// The generation of the instance's registration.
    pub(crate) generation: Option<u64>,
    /// The instance.
    pub(crate) instance: Option<InstanceView>,
    /// The domain, where one was registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) domain: Option<DomainView>,
}

/// State of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AppHealth {
    /// All instances are in rotation.
    Healthy,
    /// Some are.
    Degraded,
    /// None is.
    Down,
}

impl AppHealth {
    /// State of an app with this many instances in rotation, and in total.
    pub(crate) fn of(healthy: usize, total: usize) -> Self {
        match healthy {
            0 => Self::Down,
            all if all == total => Self::Healthy,
            _ => Self::Degraded,
        }
    }
}

/// An app's health.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppStatusView {
    pub(crate) app_id: String,
    /// All, some or none of the instances are in rotation.
    pub(crate) status: AppHealth,
    /// Instances in rotation.
    pub(crate) healthy_instances: usize,
    /// All instances.
    pub(crate) total_instances: usize,
    /// The instances, by id.
    pub(crate) instances: Vec<InstanceView>,
    /// Domains of the app, by name, up to the limit of a page.
    pub(crate) domains: Vec<String>,
    /// Treatment of requests while all instances fail their health checks.
    #[schema(examples("reject", "panic_open", "trickle"))]
    pub(crate) on_all_unhealthy: &'static str,
    /// While no instance is healthy: the failing checks and the treatment of requests.
    pub(crate) outage: Option<String>,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// Webhook of an app. The secret is never shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookView {
    pub(crate) app_id: String,
    /// URL that events are posted to.
    #[schema(format = "uri")]
    pub(crate) url: String,
    /// Whether deliveries are signed.
    pub(crate) signed: bool,
}

impl WebhookView {
    pub(crate) fn of(app: &App) -> Option<Self> {
        let webhook = app.webhook.as_ref()?;
        Some(Self {
            app_id: app.id.to_string(),
            url: webhook.url.to_string(),
            signed: webhook.secret.is_some(),
        })
    }
}

/// One page of webhooks, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct WebhookPage {
    webhooks: Vec<WebhookView>,
    #[serde(flatten)]
    tail: PageTail,
}
