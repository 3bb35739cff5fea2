//! Apps, their webhooks, and the changes to both.

use std::sync::Arc;

use crate::change::{Draft, room};
use crate::{
    AppId, Balancer, Configured, FailurePolicy, InstanceId, Kind, OnAllUnhealthy, Owner, Patch, PolicyRef,
    PoolTraffic, Rejection, Timestamp, UpstreamTls, Webhook, WebhookSecret, WebhookUrl, limits,
};

/// An app: a set of interchangeable instances. A pool of an operator is one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// The id, chosen by the app.
    pub id: AppId,
    /// The owner.
    pub owner: Owner,
    /// The display name; the id where none was given.
    pub name: Arc<str>,
    /// TLS settings of its `https://` targets; `None` means the defaults.
    pub upstream_tls: Option<UpstreamTls>,
    /// Results that count against an instance.
    pub failures: FailurePolicy,
    /// Treatment of requests while no instance is healthy.
    pub on_all_unhealthy: OnAllUnhealthy,
    /// Load balancing algorithm.
    pub balancer: Balancer,
    /// Policy of its requests, where their domain or route leaves a value out.
    pub policy: Option<PolicyRef>,
    /// Traffic settings of an operator's pool; an app has the process's.
    pub traffic: Option<Arc<PoolTraffic>>,
    /// The webhook that its events are posted to.
    pub webhook: Option<Webhook>,
    /// Time of the first registration.
    pub created_at: Timestamp,
    /// Time of the last change of the app or its set of instances.
    pub updated_at: Timestamp,
}

impl Configured for App {
    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}

/// An app as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// The id.
    pub id: AppId,
    /// The display name; kept when absent.
    pub name: Option<Arc<str>>,
    /// TLS settings of its `https://` targets.
    pub upstream_tls: Patch<UpstreamTls>,
    /// Results that count against an instance; kept when absent.
    pub failures: Option<FailurePolicy>,
    /// Treatment of requests while no instance is healthy; kept when absent.
    pub on_all_unhealthy: Option<OnAllUnhealthy>,
    /// Policy of its requests.
    pub policy: Patch<PolicyRef>,
}

impl AppSpec {
    /// An app with nothing given but its id.
    pub fn new(id: AppId) -> Self {
        Self {
            id,
            name: None,
            upstream_tls: Patch::Keep,
            failures: None,
            on_all_unhealthy: None,
            policy: Patch::Keep,
        }
    }
}

impl Draft<'_> {
    pub(crate) fn put_app(&mut self, spec: &AppSpec) -> Result<(), Rejection> {
        self.may_change(Kind::App, spec.id.as_str())?;
        self.has_policy(spec.policy.value())?;
        let app = match self.desired.app(spec.id.as_str()) {
            Some(old) => {
                let app = App {
                    name: spec.name.clone().unwrap_or_else(|| old.name.clone()),
                    upstream_tls: spec.upstream_tls.apply(&old.upstream_tls),
                    failures: spec.failures.unwrap_or(old.failures),
                    on_all_unhealthy: spec.on_all_unhealthy.unwrap_or(old.on_all_unhealthy),
                    policy: spec.policy.apply(&old.policy),
                    ..App::clone(old)
                };
                if app == **old {
                    return Ok(());
                }
                App { updated_at: self.now, ..app }
            }
            None => {
                room(Kind::App.plural(), self.desired.count(Kind::App), limits::APPS_MAX)?;
                self.created = true;
                let name = spec.name.clone().unwrap_or_else(|| spec.id.as_str().into());
                App {
                    id: spec.id.clone(),
                    owner: self.owner.clone(),
                    name,
                    upstream_tls: spec.upstream_tls.apply(&None),
                    failures: spec.failures.unwrap_or_default(),
                    on_all_unhealthy: spec.on_all_unhealthy.unwrap_or_default(),
                    balancer: Balancer::default(),
                    policy: spec.policy.apply(&None),
                    traffic: None,
                    webhook: None,
                    created_at: self.now,
                    updated_at: self.now,
                }
            }
        };
        self.put(app);
        Ok(())
    }

    /// Removes an app with its instances; domains that refer to it refuse that.
    pub(crate) fn remove_app(&mut self, id: &AppId) -> Result<(), Rejection> {
        let app = self.app(id)?;
        self.may_change(Kind::App, id.as_str())?;
        let domains = self.desired.domain_count_of(id.as_str());
        if domains > 0 {
            return Err(Rejection::AppHasDomains(id.clone(), domains));
        }
        let instances: Vec<InstanceId> =
            self.desired.instances_of(id.as_str()).map(|instance| instance.id.clone()).collect();
        for instance in instances {
            self.remove_instance(&instance, None)?;
        }
        self.remove(app);
        Ok(())
    }

    pub(crate) fn put_webhook(
        &mut self,
        id: &AppId,
        url: &WebhookUrl,
        secret: &Patch<WebhookSecret>,
    ) -> Result<(), Rejection> {
        let old = self.app(id)?;
        self.may_change(Kind::App, id.as_str())?;
        let present = old.webhook.as_ref().and_then(|webhook| webhook.secret.clone());
        let webhook = Webhook { url: url.clone(), secret: secret.apply(&present) };
        self.created |= old.webhook.is_none();
        if old.webhook.as_ref() != Some(&webhook) {
            self.put(App { webhook: Some(webhook), updated_at: self.now, ..App::clone(&old) });
        }
        Ok(())
    }

    pub(crate) fn remove_webhook(&mut self, id: &AppId) -> Result<(), Rejection> {
        let old = self.app(id)?;
        self.may_change(Kind::App, id.as_str())?;
        if old.webhook.is_none() {
            return Err(Rejection::UnknownWebhook(id.clone()));
        }
        self.put(App { webhook: None, updated_at: self.now, ..App::clone(&old) });
        Ok(())
    }

    /// The app, if it is registered.
    pub(crate) fn app(&self, id: &AppId) -> Result<Arc<App>, Rejection> {
        self.desired.app(id.as_str()).cloned().ok_or_else(|| Rejection::UnknownApp(id.clone()))
    }
}
