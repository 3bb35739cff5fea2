//! Webhook events: instances, outages and certificates, sent to the webhooks of apps and of the operator.
//!
//! The threads that deliver are started with the first event.

use ahash::{AHashMap, AHashSet};
use ringway_certs::CertificateEvent;
use ringway_model::{AppId, CanaryState, Delta, Hostname, InstanceId, Resource, Timestamp, Webhook};
use ringway_webhooks::{Details, Event, EventKind, WebhookCounters, Webhooks};

use crate::limits::WEBHOOK_DOMAINS_PER_EVENT;
use crate::view::View;

/// Sender of events, and the last known availability of each app.
#[derive(Debug)]
pub(crate) struct Notifications {
    webhooks: Option<Webhooks>,
    /// The operator's webhook, for certificates and canaries.
    certificate_webhook: Option<Webhook>,
    /// Apps without an available instance that had one before. Bounded by the number of apps.
    down: AHashSet<AppId>,
    /// Apps with an available instance.
    up: AHashSet<AppId>,
}

/// Change of an app's availability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// The last available instance is gone.
    Lost,
    /// An instance is available again.
    Recovered,
}

impl Notifications {
    pub(crate) fn new(certificate_webhook: Option<Webhook>) -> Self {
        Self { webhooks: None, certificate_webhook, down: AHashSet::new(), up: AHashSet::new() }
    }

    /// Deliveries so far.
    pub(crate) fn counters(&self) -> WebhookCounters {
        self.webhooks.as_ref().map(Webhooks::counters).unwrap_or_default()
    }

    /// Sends the registrations and deregistrations of stored changes. `reasons`: of deregistrations that have
    /// one.
    pub(crate) fn handle_stored(
        &mut self,
        deltas: &[Delta],
        reasons: &AHashMap<InstanceId, String>,
        view: View<'_>,
    ) {
        for delta in deltas {
            let (kind, app, instance) = match delta {
                // The event follows when the drained instance is removed.
                Delta::Put(Resource::Instance(instance)) if instance.draining.is_some() => continue,
                Delta::Put(Resource::Instance(instance)) => {
                    (EventKind::InstanceRegistered, &instance.app, &instance.id)
                }
                Delta::Remove(Resource::Instance(instance)) => {
                    (EventKind::InstanceDeregistered, &instance.app, &instance.id)
                }
                Delta::Remove(Resource::App(app)) => {
                    self.down.remove(&app.id);
                    self.up.remove(&app.id);
                    continue;
                }
                Delta::Put(Resource::App(_) | Resource::Domain(_)) | Delta::Remove(Resource::Domain(_)) => {
                    continue;
                }
                Delta::Put(
                    Resource::Policy(_)
                    | Resource::Route(_)
                    | Resource::ConfigVersion(_)
                    | Resource::Certificate(_)
                    | Resource::CanaryState(_)
                    | Resource::EndpointOverride(_)
                    | Resource::Middleware(_)
                    | Resource::Plugin(_)
                    | Resource::Script(_),
                )
                | Delta::Remove(
                    Resource::Policy(_)
                    | Resource::Route(_)
                    | Resource::ConfigVersion(_)
                    | Resource::Certificate(_)
                    | Resource::CanaryState(_)
                    | Resource::EndpointOverride(_)
                    | Resource::Middleware(_)
                    | Resource::Plugin(_)
                    | Resource::Script(_),
                ) => {
                    continue;
                }
            };
            let reason = reasons.get(instance).filter(|_| kind == EventKind::InstanceDeregistered).cloned();
            let details = Details { instance: Some(instance.clone()), reason, ..instance_counts(app, view) };
            self.send_to_app(app, kind, None, details, view);
        }
    }

    /// Compares an app's availability with the last known one; sends an event for each of its domains on a
    /// change.
    pub(crate) fn review_app(&mut self, app: &AppId, view: View<'_>) -> Option<Availability> {
        let pool = view.snapshot.pool_of_app(app.as_str())?;
        let is_up = pool.endpoints.iter().any(|endpoint| endpoint.is_available(view.now.tick));
        let change = match is_up {
            true => {
                self.up.insert(app.clone());
                self.down.remove(app).then_some(Availability::Recovered)
            }
            // An app that never had an available instance is not down.
            false => {
                let was_up = self.up.remove(app);
                (was_up && self.down.insert(app.clone())).then_some(Availability::Lost)
            }
        }?;
        let kind = match change {
            Availability::Lost => EventKind::AllInstancesDown,
            Availability::Recovered => EventKind::InstancesRecovered,
        };
        let mut domains: Vec<Hostname> =
            view.desired.domains_of(app.as_str()).map(|domain| domain.name.clone()).collect();
        domains.sort_unstable();
        domains.truncate(WEBHOOK_DOMAINS_PER_EVENT);
        let details = instance_counts(app, view);
        if domains.is_empty() {
            self.send_to_app(app, kind, None, details.clone(), view);
        }
        for domain in domains {
            self.send_to_app(app, kind, Some(domain), details.clone(), view);
        }
        Some(change)
    }

    /// Sends an event of a certificate to the domain's app and to the operator.
    pub(crate) fn handle_certificate_event(&mut self, event: &CertificateEvent, view: View<'_>) {
        let expires = |at: Timestamp| Details { expires_at: Some(at), ..Details::default() };
        let failed = |reason: &str, next_try: Option<Timestamp>| Details {
            reason: Some(reason.to_owned()),
            next_try,
            ..Details::default()
        };
        let (kind, host, details) = match event {
            CertificateEvent::Issued { host, facts } => {
                (EventKind::CertificateIssued, Some(host), expires(facts.not_after))
            }
            CertificateEvent::Renewed { host, facts } => {
                (EventKind::CertificateRenewed, Some(host), expires(facts.not_after))
            }
            CertificateEvent::Failed { host, reason, next_try } => {
                (EventKind::CertificateFailed, Some(host), failed(reason, *next_try))
            }
            CertificateEvent::Parked { host, reason } | CertificateEvent::Damaged { host, reason } => {
                (EventKind::CertificateFailed, Some(host), failed(reason, None))
            }
            CertificateEvent::ExpiringSoon { host, not_after } => {
                (EventKind::CertificateExpiring, host.as_ref(), expires(*not_after))
            }
            CertificateEvent::DefaultRefused { reason } | CertificateEvent::DirectoryUnusable { reason } => {
                (EventKind::CertificateFailed, None, failed(reason, None))
            }
            // Actions of the operator.
            _ => return,
        };
        let domain = host.and_then(|host| view.desired.domain(host.as_str()));
        let event = Event {
            kind,
            app: domain.map(|domain| domain.app.clone()),
            domain: host.cloned(),
            tenant: domain.and_then(|domain| domain.tenant.clone()),
            at: view.now.at,
            details,
        };
        let of_app = domain.and_then(|domain| view.desired.app(domain.app.as_str())?.webhook.clone());
        let of_operator = self.certificate_webhook.clone();
        for webhook in [of_app, of_operator].into_iter().flatten() {
            self.send(&webhook, event.clone());
        }
    }

    /// Sends a braked canary to the webhooks of both pools and of the operator.
    pub(crate) fn handle_braked_canary(&mut self, state: &CanaryState, view: View<'_>) {
        let Some(route) = view.desired.route(state.route.as_str()) else { return };
        let canary = route.spec.traffic.as_ref().and_then(|traffic| traffic.canary.as_ref());
        let pools = [route.spec.pool(), canary.map(|canary| canary.pool.id())];
        let apps = pools.into_iter().flatten().filter_map(|pool| view.desired.app(pool.as_str()));
        let webhooks: Vec<Webhook> =
            apps.filter_map(|app| app.webhook.clone()).chain(self.certificate_webhook.clone()).collect();
        let event = Event {
            kind: EventKind::CanaryBraked,
            app: canary.map(|canary| canary.pool.id().clone()),
            domain: None,
            tenant: route.spec.tenant.clone(),
            at: view.now.at,
            details: Details {
                route: Some(state.route.clone()),
                reason: state.braked.as_ref().map(|braked| braked.reason.to_string()),
                ..Details::default()
            },
        };
        for webhook in webhooks {
            self.send(&webhook, event.clone());
        }
    }

    /// Sends the opening or closing of a pool's breaker, or of a route's requests to it, to the app and to
    /// the operator.
    pub(crate) fn handle_circuit_change(
        &mut self,
        pool: &AppId,
        route: Option<&str>,
        open: bool,
        view: View<'_>,
    ) {
        let of_app = view.desired.app(pool.as_str()).and_then(|app| app.webhook.clone());
        let route = route.and_then(|route| view.desired.route(route));
        let event = Event {
            kind: if open { EventKind::CircuitOpened } else { EventKind::CircuitClosed },
            app: Some(pool.clone()),
            domain: None,
            tenant: route.and_then(|route| route.spec.tenant.clone()),
            at: view.now.at,
            details: Details { route: route.map(|route| route.id().clone()), ..instance_counts(pool, view) },
        };
        for webhook in [of_app, self.certificate_webhook.clone()].into_iter().flatten() {
            self.send(&webhook, event.clone());
        }
    }

    fn send_to_app(
        &mut self,
        app: &AppId,
        kind: EventKind,
        domain: Option<Hostname>,
        details: Details,
        view: View<'_>,
    ) {
        let webhook = view.desired.app(app.as_str()).and_then(|app| app.webhook.as_ref());
        let Some(webhook) = webhook else { return };
        let tenant = domain
            .as_ref()
            .and_then(|domain| view.desired.domain(domain.as_str()))
            .and_then(|domain| domain.tenant.clone());
        self.send(webhook, Event { kind, app: Some(app.clone()), domain, tenant, at: view.now.at, details });
    }

    fn send(&mut self, webhook: &Webhook, event: Event) {
        if self.webhooks.is_none() {
            match ringway_webhooks::start() {
                Ok(webhooks) => self.webhooks = Some(webhooks),
                Err(error) => {
                    return tracing::error!(%error, "webhook threads cannot be started; event dropped");
                }
            }
        }
        if let Some(webhooks) = &self.webhooks {
            webhooks.send(webhook, event);
        }
    }
}

/// Available and total instances of an app.
fn instance_counts(app: &AppId, view: View<'_>) -> Details {
    let pool = view.snapshot.pool_of_app(app.as_str());
    let endpoints = pool.map(|pool| &pool.endpoints[..]).unwrap_or_default();
    let available = endpoints.iter().filter(|endpoint| endpoint.is_available(view.now.tick)).count();
    Details {
        healthy_instances: Some(available),
        total_instances: Some(endpoints.len()),
        ..Details::default()
    }
}

/// Apps whose instances changed, without duplicates.
pub(crate) fn changed_apps(deltas: &[Delta]) -> Vec<AppId> {
    let mut apps: Vec<AppId> = deltas
        .iter()
        .filter_map(|delta| match delta {
            Delta::Put(Resource::Instance(instance)) | Delta::Remove(Resource::Instance(instance)) => {
                Some(instance.app.clone())
            }
            Delta::Put(_) | Delta::Remove(_) => None,
        })
        .collect();
    apps.sort_unstable();
    apps.dedup();
    apps
}
