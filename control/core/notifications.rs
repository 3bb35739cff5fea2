//! What happens to apps, told to those who named a webhook.
//!
//! Where the control thread learns of something it comes by here: a change that was stored, a verdict of the health checks, a
//! breaker that opened, a certificate. Threads to deliver exist from the first webhook on.

use crate::limits::WEBHOOK_DOMAINS_PER_EVENT;
use ahash::{AHashMap, AHashSet};
use ringway_certs::CertificateEvent;
use ringway_model::{AppId, Delta, Hostname, InstanceId, Resource, Timestamp, Webhook};
use ringway_webhooks::{Details, Event, EventKind, Reading, Webhooks};

use crate::engine::Engine;
use crate::time::Now;

/// Who is told of what.
#[derive(Debug, Default)]
pub(crate) struct Hooks {
    webhooks: Option<Webhooks>,
    /// Apps none of whose instances could be sent to, as of the last look. Bounded by the apps.
    down: AHashSet<AppId>,
    /// Those that could.
    up: AHashSet<AppId>,
}

impl Hooks {
    /// How deliveries have gone.
    pub(crate) fn reading(&self) -> Reading {
        self.webhooks.as_ref().map(Webhooks::reading).unwrap_or_default()
    }

    fn send(&mut self, webhook: &Webhook, event: Event) {
        if self.webhooks.is_none() {
            match ringway_webhooks::start() {
                Ok(webhooks) => self.webhooks = Some(webhooks),
                Err(error) => {
                    return tracing::error!(%error, "webhooks cannot be delivered: no thread is left");
                }
            }
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.send(webhook, event);
        }
    }
}

impl Engine {
    /// Tells of the instances that a stored change brought or took, with the reasons that there are, and of apps that it left
    /// without any.
    pub(crate) fn tell_of_changes(
        &mut self,
        deltas: &[Delta],
        reasons: &AHashMap<InstanceId, String>,
        now: Now,
    ) {
        for delta in deltas {
            let (kind, app, instance) = match delta {
                // It is told of when it is gone.
                Delta::Put(Resource::Instance(instance)) if instance.draining.is_some() => continue,
                Delta::Put(Resource::Instance(instance)) => {
                    (EventKind::InstanceRegistered, &instance.app, &instance.id)
                }
                Delta::Remove(Resource::Instance(instance)) => {
                    (EventKind::InstanceDeregistered, &instance.app, &instance.id)
                }
                Delta::Remove(Resource::App(app)) => {
                    self.hooks_mut().down.remove(&app.id);
                    self.hooks_mut().up.remove(&app.id);
                    continue;
                }
                Delta::Put(Resource::App(_) | Resource::Domain(_)) | Delta::Remove(Resource::Domain(_)) => {
                    continue;
                }
            };
            let reason = reasons.get(instance).filter(|_| kind == EventKind::InstanceDeregistered).cloned();
            let details = Details { instance: Some(instance.clone()), reason, ..self.counts(app, now) };
            self.tell_app(app, kind, None, details, now.at);
        }
        let mut apps: Vec<&AppId> = deltas
            .iter()
            .filter_map(|delta| match delta {
                Delta::Put(Resource::Instance(instance)) | Delta::Remove(Resource::Instance(instance)) => {
                    Some(&instance.app)
                }
                Delta::Put(_) | Delta::Remove(_) => None,
            })
            .collect();
        apps.sort_unstable();
        apps.dedup();
        for app in apps {
            self.look_at_app(app, now);
        }
    }

    /// Something about an app's instances has changed: tells when the last one that could be sent to is gone, and when
    /// one is back.
    pub(crate) fn look_at_app(&mut self, app: &AppId, now: Now) {
        let snapshot = self.compiler().snapshot();
        let Some(pool) = snapshot.pool_of_app(app.as_str()) else { return };
        let is_up = pool.endpoints.iter().any(|endpoint| endpoint.is_available(now.tick));
        let hooks = self.hooks_mut();
        let kind = match is_up {
            true => {
                hooks.up.insert(app.clone());
                hooks.down.remove(app).then_some(EventKind::InstancesRecovered)
            }
            // An app that has never had an instance is not down: it has not begun.
            false => {
                let fell = hooks.up.remove(app);
                (fell && hooks.down.insert(app.clone())).then_some(EventKind::AllInstancesDown)
            }
        };
        let Some(kind) = kind else { return };
        if kind == EventKind::AllInstancesDown {
            match self.outage(app) {
                Some(outage) => tracing::warn!(%app, "{outage}"),
                None => tracing::warn!(%app, "no instance of the app can be sent to"),
            }
        }
        let mut domains: Vec<Hostname> =
            self.desired().domains_of(app.as_str()).map(|domain| domain.name.clone()).collect();
        domains.sort_unstable();
        domains.truncate(WEBHOOK_DOMAINS_PER_EVENT);
        let details = self.counts(app, now);
        if domains.is_empty() {
            self.tell_app(app, kind, None, details.clone(), now.at);
        }
        for domain in domains {
            self.tell_app(app, kind, Some(domain), details.clone(), now.at);
        }
    }

    /// Tells of a certificate: the domain's app, and the operator.
    pub(crate) fn tell_of_certificate(&mut self, event: &CertificateEvent, now: Now) {
        let expires = |at: Timestamp| Details { expires_at: Some(at), ..Details::default() };
        let (kind, host, details) = match event {
            CertificateEvent::Issued { host, facts } => {
                (EventKind::CertificateIssued, Some(host), expires(facts.not_after))
            }
            CertificateEvent::Renewed { host, facts } => {
                (EventKind::CertificateRenewed, Some(host), expires(facts.not_after))
            }
            CertificateEvent::Failed { host, reason, next_try } => {
                let details =
                    Details { reason: Some(reason.clone()), next_try: *next_try, ..Details::default() };
                (EventKind::CertificateFailed, Some(host), details)
            }
            CertificateEvent::Parked { host, reason } | CertificateEvent::Damaged { host, reason } => {
                let details = Details { reason: Some(reason.clone()), ..Details::default() };
                (EventKind::CertificateFailed, Some(host), details)
            }
            CertificateEvent::ExpiringSoon { host, not_after } => {
                (EventKind::CertificateExpiring, host.as_ref(), expires(*not_after))
            }
            CertificateEvent::DefaultRefused { reason } | CertificateEvent::DirectoryUnusable { reason } => {
                let details = Details { reason: Some(reason.clone()), ..Details::default() };
                (EventKind::CertificateFailed, None, details)
            }
            // Done by the operator, who knows.
            _ => return,
        };
        let domain = host.and_then(|host| self.desired().domain(host.as_str()).cloned());
        let event = Event {
            kind,
            app: domain.as_ref().map(|domain| domain.app.clone()),
            domain: host.cloned(),
            tenant: domain.as_ref().and_then(|domain| domain.tenant.clone()),
            at: now.at,
            details,
        };
        let of_app = event.app.as_ref().and_then(|app| self.desired().app(app.as_str())?.webhook.clone());
        let of_operator = self.settings().certificate_webhook.clone();
        for webhook in [of_app, of_operator].into_iter().flatten() {
            self.hooks_mut().send(&webhook, event.clone());
        }
    }

    fn tell_app(
        &mut self,
        app: &AppId,
        kind: EventKind,
        domain: Option<Hostname>,
        details: Details,
        at: Timestamp,
    ) {
        let desired = self.desired();
        let Some(webhook) = desired.app(app.as_str()).and_then(|app| app.webhook.clone()) else { return };
        let tenant = domain
            .as_ref()
            .and_then(|domain| desired.domain(domain.as_str()))
            .and_then(|domain| domain.tenant.clone());
        let event = Event { kind, app: Some(app.clone()), domain, tenant, at, details };
        self.hooks_mut().send(&webhook, event);
    }

    fn counts(&self, app: &AppId, now: Now) -> Details {
        let pool = self.compiler().snapshot().pool_of_app(app.as_str());
        let endpoints = pool.map(|pool| &pool.endpoints[..]).unwrap_or_default();
        Details {
            healthy_instances: Some(
                endpoints.iter().filter(|endpoint| endpoint.is_available(now.tick)).count(),
            ),
            total_instances: Some(endpoints.len()),
            ..Details::default()
        }
    }
}
