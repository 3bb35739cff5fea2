//! The API's answers: the objects of document 000, and what is added to them.
//!
//! Added are `revision` (which configuration an answer speaks of), `generation` (fences a registration) and what is
//! known about health beyond one word. No field of the document is left out.

use std::num::{NonZeroU8, NonZeroU16};

use ringway_control::InstanceDrained;
use ringway_model::{
    App, Desired, Domain, HealthCheck, Instance, InstanceId, Kind, Outcome, Probe, ProbeMethod, StatusRanges,
    Timestamp, UpstreamTls,
};
use ringway_telemetry::{DURATION_LIMITS_US, quantile};
use serde::Serialize;
use utoipa::ToSchema;

use crate::certificates::{CertificateView, CertificatesView, ClientAuthView, is_verified};
use crate::fields::duration_text;
use crate::plane::{AppStatus, InstanceStatus, Plane, Receipt, Status, WorkerStatus};

/// A registered app.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppView {
    pub(crate) app_id: String,
    pub(crate) app_name: String,
    /// How many instances it has.
    pub(crate) instance_count: usize,
    /// How many domains point to it.
    pub(crate) domain_count: usize,
    /// How its https:// targets are spoken to; null for the default way.
    pub(crate) upstream_tls: Option<UpstreamTlsView>,
    /// What happens to requests while all instances fail their health checks.
    #[schema(examples("reject", "panic_open", "trickle"))]
    pub(crate) on_all_unhealthy: &'static str,
    pub(crate) failures: FailuresView,
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
            instance_count: desired.instance_count_of(app.id.as_str()),
            domain_count: desired.domain_count_of(app.id.as_str()),
            upstream_tls: app.upstream_tls.as_ref().map(UpstreamTlsView::new),
            on_all_unhealthy: app.on_all_unhealthy.as_str(),
            failures: FailuresView {
                statuses: app.failures.statuses.parts().collect(),
                timeouts: app.failures.timeouts.as_str(),
            },
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

/// How an app's https:// targets are spoken to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpstreamTlsView {
    /// The only CAs that are trusted; null for the system's.
    #[schema(examples("/etc/ringway/apps-ca.pem"))]
    pub(crate) ca_file: Option<String>,
    /// What we prove ourselves with.
    pub(crate) client_certificate: Option<CertificateFilesView>,
    /// The name that is asked for and verified; null for the target's host.
    pub(crate) server_name: Option<String>,
    /// Whether nothing is verified.
    pub(crate) insecure: bool,
}

/// A chain and its key, in two files.
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

/// Where an app hears of what happens to it. Whether there is a secret is told, what it is never.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookView {
    pub(crate) app_id: String,
    /// Where events are posted to.
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

/// One page of webhooks: the schema of what [`Pieces::page`](crate::lists::Pieces::page) writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct WebhookPage {
    webhooks: Vec<WebhookView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// An app with its instances and domains.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppDetails {
    #[serde(flatten)]
    pub(crate) app: AppView,
    /// Its instances, by id.
    pub(crate) instances: Vec<InstanceView>,
    /// Its domains, by name; as many as one page may have. The list of domains has them all.
    pub(crate) domains: Vec<String>,
    /// While no instance is healthy: which checks fail how, and what becomes of requests.
    pub(crate) outage: Option<String>,
    /// The configuration that this shows.
    pub(crate) revision: u64,
}

/// The state of an app in one word.
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
    /// Of an app with so many instances in rotation, and in all.
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
    /// The domains that depend on them, by name; as many as one page may have.
    pub(crate) domains: Vec<String>,
    /// What happens to requests while all instances fail their health checks.
    #[schema(examples("reject", "panic_open", "trickle"))]
    pub(crate) on_all_unhealthy: &'static str,
    /// While no instance is healthy: which checks fail how, and what becomes of requests.
    pub(crate) outage: Option<String>,
    /// The configuration that this shows.
    pub(crate) revision: u64,
}

/// A registered instance and how it does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstanceView {
    pub(crate) instance_id: String,
    pub(crate) app_id: String,
    pub(crate) target: String,
    pub(crate) health_check: HealthCheckView,
    /// `joining` from the registration to the first successful check: takes traffic only while no other instance can.
    /// `serving`: takes traffic. `draining`: finishes its requests and is removed then. `unhealthy`: checks took it out of
    /// rotation. `ejected`: its circuit breaker did.
    #[schema(examples("joining", "serving", "draining", "unhealthy", "ejected"))]
    pub(crate) state: &'static str,
    /// Why, where the state leaves a question.
    pub(crate) state_reason: Option<String>,
    /// Requests under way, WebSockets among them.
    pub(crate) requests_in_flight: u64,
    /// Upgraded connections that are open.
    pub(crate) websockets_open: u64,
    /// When a draining instance is removed at the latest.
    #[schema(format = "date-time")]
    pub(crate) draining_until: Option<String>,
    /// `unknown` until the first checks are through; such an instance takes traffic.
    #[schema(examples("healthy", "unhealthy", "unknown"))]
    pub(crate) health: &'static str,
    /// Why the last check failed, or that heartbeats are missing: what was asked and what came.
    #[schema(examples("GET /health: status 503, expected 200-399", "no heartbeat for 31 s"))]
    pub(crate) health_reason: Option<String>,
    /// Consecutive results of the last kind.
    pub(crate) health_streak: u32,
    #[schema(format = "date-time")]
    pub(crate) last_check: Option<String>,
    #[schema(examples("closed", "open", "half_open"))]
    pub(crate) circuit_breaker: &'static str,
    /// When an open breaker lets the next request pass.
    #[schema(format = "date-time")]
    pub(crate) circuit_breaker_until: Option<String>,
    /// Null for an instance that never sent one: health checks alone judge it.
    #[schema(format = "date-time")]
    pub(crate) last_heartbeat: Option<String>,
    /// When it leaves the rotation unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) lease_expires: Option<String>,
    /// When it is deregistered unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) deregisters_at: Option<String>,
    /// Where its requests go; empty while the target's name is not resolved.
    pub(crate) addresses: Vec<String>,
    #[schema(format = "date-time")]
    pub(crate) registered_at: String,
    /// Fences the registration: send it with heartbeats and the deregistration, and a replaced process does no harm.
    pub(crate) generation: u64,
}

impl InstanceView {
    pub(crate) fn new(instance: &Instance, status: Option<InstanceStatus>) -> Self {
        let status = status.unwrap_or_default();
        Self {
            instance_id: instance.id.to_string(),
            app_id: instance.app.to_string(),
            target: instance.target.to_string(),
            health_check: HealthCheckView::new(&instance.health_check),
            state: status.state.as_str(),
            state_reason: status.state_reason,
            requests_in_flight: status.in_flight.requests,
            websockets_open: status.in_flight.tunnels,
            draining_until: status.draining_until.map(Timestamp::to_rfc3339_millis),
            health: status.health.as_str(),
            health_reason: status.reason,
            health_streak: status.streak,
            last_check: status.last_check.map(Timestamp::to_rfc3339_millis),
            circuit_breaker: status.circuit_breaker,
            circuit_breaker_until: status.circuit_breaker_until.map(Timestamp::to_rfc3339_millis),
            last_heartbeat: status.last_heartbeat.map(Timestamp::to_rfc3339_millis),
            lease_expires: status.lease_expires.map(Timestamp::to_rfc3339_millis),
            deregisters_at: status.deregisters_at.map(Timestamp::to_rfc3339_millis),
            addresses: status.addresses.iter().map(ToString::to_string).collect(),
            registered_at: instance.registered_at.to_rfc3339_millis(),
            generation: instance.generation.0,
        }
    }

    pub(crate) fn of<P: Plane>(plane: &P, instance: &Instance) -> Self {
        Self::new(instance, plane.instance_status(&instance.id))
    }
}

/// How the drain of a removed instance went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainedView {
    pub(crate) instance_id: String,
    /// Whether all requests were done in time.
    pub(crate) drained: bool,
    /// Milliseconds from the begin of the drain to the removal.
    pub(crate) took_ms: u64,
    /// Requests that were under way when the time was over; they go on, except WebSockets.
    pub(crate) requests_left: u64,
    /// WebSockets among them: they were closed with 1001.
    pub(crate) websockets_left: u64,
}

impl DrainedView {
    pub(crate) fn new(instance: &InstanceId, drained: InstanceDrained) -> Self {
        Self {
            instance_id: instance.to_string(),
            drained: drained.left.requests == 0,
            took_ms: u64::try_from(drained.took.as_millis()).unwrap_or(u64::MAX),
            requests_left: drained.left.requests,
            websockets_left: drained.left.tunnels,
        }
    }
}

/// A drain that goes on without the request that began it, because too many requests wait already. All fields are absent
/// in the answer to a removal without drain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainingView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance_id: Option<String>,
    /// `draining`: the drain is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("draining"))]
    pub(crate) state: Option<&'static str>,
    /// When the instance is removed at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub(crate) draining_until: Option<String>,
    /// Advice for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl DrainingView {
    pub(crate) fn new(instance: &InstanceId, until: Timestamp) -> Self {
        let detail = "too many requests wait already: the drain is stored and goes on without this one; the instance is gone \
                      when GET /api/status/instances?instance_id=ID lists none";
        Self {
            instance_id: Some(instance.to_string()),
            state: Some(ringway_control::InstanceState::Draining.as_str()),
            draining_until: Some(until.to_rfc3339_millis()),
            detail: Some(detail.to_owned()),
        }
    }
}

/// The lease of an instance after a heartbeat.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeaseView {
    pub(crate) instance_id: String,
    /// The registration that it belongs to.
    pub(crate) generation: u64,
    #[schema(format = "date-time")]
    pub(crate) last_heartbeat: Option<String>,
    /// When the instance leaves the rotation unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) lease_expires: Option<String>,
    /// When it is deregistered unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) deregisters_at: Option<String>,
}

/// A health check, in the shortest form that says it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum HealthCheckView {
    /// Null for a TCP connection, else the path.
    Short(Option<String>),
    /// With settings of its own.
    Full {
        /// The path; null for a TCP connection.
        path: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("HEAD"))]
        method: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("app1.com"))]
        host: Option<String>,
        /// The names of the header fields; their values are not shown.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expect: Option<ExpectView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("10s"))]
        interval: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("3s"))]
        timeout: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        unhealthy_threshold: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthy_threshold: Option<u8>,
    },
}

/// The response that counts as healthy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExpectView {
    /// Accepted statuses, ranges separated by commas.
    #[schema(examples("200-399"))]
    pub(crate) status: String,
    /// Text that the body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

impl HealthCheckView {
    fn new(check: &HealthCheck) -> Self {
        let http = match &check.probe {
            Probe::Tcp => None,
            Probe::Http(probe) => Some(probe),
        };
        let path = http.map(|probe| probe.path.as_str().to_owned());
        let HealthCheck { probe: _, port, interval, timeout, unhealthy_threshold, healthy_threshold } = check;
        if (port, interval, timeout, unhealthy_threshold, healthy_threshold)
            == (&None, &None, &None, &None, &None)
            && http.is_none_or(|probe| probe.is_plain())
        {
            return Self::Short(path);
        }
        let expect = http.filter(|probe| probe.statuses != StatusRanges::default() || probe.body.is_some());
        Self::Full {
            path,
            port: port.map(NonZeroU16::get),
            method: http
                .map(|probe| probe.method)
                .filter(|method| *method != ProbeMethod::Get)
                .map(ProbeMethod::as_str),
            host: http.and_then(|probe| probe.host.as_ref()).map(ToString::to_string),
            headers: http.map(|probe| probe.headers.names().map(str::to_owned).collect()).unwrap_or_default(),
            expect: expect.map(|probe| ExpectView {
                status: probe.statuses.to_string(),
                body: probe.body.as_ref().map(|text| text.as_str().to_owned()),
            }),
            interval: interval.map(duration_text),
            timeout: timeout.map(duration_text),
            unhealthy_threshold: unhealthy_threshold.map(NonZeroU8::get),
            healthy_threshold: healthy_threshold.map(NonZeroU8::get),
        }
    }
}

/// A registered domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainView {
    pub(crate) domain: String,
    pub(crate) app_id: String,
    pub(crate) tenant_id: Option<String>,
    #[serde(rename = "type")]
    #[schema(examples("subdomain", "custom", "cname_target"))]
    pub(crate) kind: &'static str,
    pub(crate) cname_target: Option<String>,
    /// As `status` in `certificate`.
    #[schema(examples("active", "pending_dns", "failed"))]
    pub(crate) certificate_status: &'static str,
    /// As `expires_at` in `certificate`.
    #[schema(format = "date-time")]
    pub(crate) certificate_expiry: Option<String>,
    /// Whether the domain was shown to lead here: by its certificate from a CA, or by the last verification.
    pub(crate) verified: bool,
    pub(crate) certificate: CertificateView,
    /// Certificates that its clients present; null when they need none.
    pub(crate) client_auth: Option<ClientAuthView>,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    #[schema(format = "date-time")]
    pub(crate) updated_at: String,
}

impl DomainView {
    /// As it is now.
    pub(crate) fn of<P: Plane>(plane: &P, domain: &Domain) -> Self {
        let state = plane.certificate(&domain.name);
        let certificate = CertificateView::new(domain, state.as_ref());
        Self {
            domain: domain.name.to_string(),
            app_id: domain.app.to_string(),
            tenant_id: domain.tenant.as_ref().map(ToString::to_string),
            kind: domain.kind.as_str(),
            cname_target: domain.cname_target.as_ref().map(ToString::to_string),
            certificate_status: certificate.status,
            certificate_expiry: certificate.expires_at.clone(),
            verified: is_verified(state.as_ref()),
            certificate,
            client_auth: domain.client_auth.as_ref().map(ClientAuthView::new),
            created_at: domain.created_at.to_rfc3339_millis(),
            updated_at: domain.updated_at.to_rfc3339_millis(),
        }
    }
}

/// What a change did, beside the object that it was about.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Accepted<T> {
    /// The object after the change; its fields are absent when another change has removed it since.
    #[serde(flatten)]
    pub(crate) object: Option<T>,
    /// The revision that has the change.
    pub(crate) revision: u64,
    #[schema(examples("created", "updated", "unchanged", "removed"))]
    pub(crate) outcome: &'static str,
    /// Cores that do not serve the change yet, by number; only in a 202.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pending: Vec<u16>,
}

impl<T> Accepted<T> {
    pub(crate) fn new(receipt: &Receipt, object: Option<T>) -> Self {
        Self {
            object,
            revision: receipt.revision.0,
            outcome: outcome_word(receipt.outcome),
            pending: receipt.pending.iter().map(|core| core.0).collect(),
        }
    }
}

/// Nothing: the object is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Gone {}

/// An app, and what was registered with it.
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

/// A domain as an answer to a question.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainDetails {
    #[serde(flatten)]
    pub(crate) domain: DomainView,
    /// The configuration that this shows.
    pub(crate) revision: u64,
}

/// One page of apps: the schema of what [`Pieces::page`](crate::lists::Pieces::page) writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct AppPage {
    apps: Vec<AppView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// One page of instances: the schema of what [`Pieces::page`](crate::lists::Pieces::page) writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct InstancePage {
    instances: Vec<InstanceView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// One page of domains: the schema of what [`Pieces::page`](crate::lists::Pieces::page) writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct DomainPage {
    domains: Vec<DomainView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// What follows the items of a page.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PageTail {
    /// All items that the filters let through, on this page or not.
    pub(crate) total: usize,
    /// What to send as `after` for the next page; null on the last one.
    pub(crate) next: Option<String>,
    /// The configuration that this shows.
    pub(crate) revision: u64,
}

/// How the process does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusView {
    /// In one word; what is wrong stands in `warnings`.
    #[schema(examples("ready", "starting", "degraded", "draining"))]
    pub(crate) status: &'static str,
    pub(crate) version: &'static str,
    /// The source revision that the program was built from.
    pub(crate) commit: &'static str,
    /// The configuration in force.
    pub(crate) revision: u64,
    pub(crate) uptime_seconds: u64,
    /// What somebody should look at, one sentence each.
    pub(crate) warnings: Vec<String>,
    pub(crate) apps: usize,
    /// The apps, those with trouble first, then those with the most requests; 20, or as many as `limit` says.
    pub(crate) app_overview: Vec<AppOverview>,
    pub(crate) instances: InstanceCounts,
    pub(crate) domains: usize,
    pub(crate) changes: ChangeCounts,
    /// Names of targets without an address.
    pub(crate) names_unresolved: usize,
    pub(crate) store: StoreView,
    /// Null where nobody looks after certificates.
    pub(crate) certificates: Option<CertificatesView>,
    pub(crate) workers: Vec<WorkerView>,
}

impl StatusView {
    pub(crate) fn new(
        status: Status,
        apps: Vec<AppOverview>,
        certificates: Option<CertificatesView>,
        desired: &Desired,
    ) -> Self {
        Self {
            status: status.state,
            version: status.version,
            commit: status.commit,
            revision: desired.revision().0,
            uptime_seconds: status.uptime.as_secs(),
            warnings: status.warnings,
            apps: desired.count(Kind::App),
            instances: InstanceCounts {
                total: desired.count(Kind::Instance),
                unhealthy: status.unhealthy,
                breakers_open: status.breakers_open,
                leases_expired: status.leases_expired,
            },
            app_overview: apps,
            domains: desired.count(Kind::Domain),
            changes: ChangeCounts { waiting: status.changes_waiting, stored: status.changes_stored },
            names_unresolved: status.names_unresolved,
            store: StoreView {
                kind: status.store.kind,
                path: status.store.path,
                bytes: status.store.bytes,
                degraded: status.store.degraded,
            },
            certificates,
            workers: status.workers.into_iter().map(WorkerView::from).collect(),
        }
    }
}

/// An app in the status: its instances, what is wrong with them, and its traffic since the start. Counts only grow, so that two
/// readings tell what happened between them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppOverview {
    pub(crate) app_id: String,
    /// All, some or none of the instances are in rotation.
    pub(crate) status: AppHealth,
    /// Instances that requests can be sent to.
    pub(crate) healthy_instances: usize,
    /// All instances but those that drain.
    pub(crate) total_instances: usize,
    /// Instances out of rotation by checks or missing heartbeats, by id; the first 10.
    pub(crate) unhealthy: Vec<String>,
    /// Instances whose circuit breaker is open or half open, by id; the first 10.
    pub(crate) breakers_open: Vec<String>,
    /// Requests that are over; null for an app that is not counted by itself because there are too many.
    pub(crate) requests: Option<u64>,
    /// Those of them that were answered with 500 to 599, by an instance or by ringway.
    pub(crate) errors: Option<u64>,
    /// Half of the requests took no longer, in milliseconds; null without requests. As exact as the histogram is.
    pub(crate) p50_ms: Option<f64>,
    /// 99 % of the requests took no longer; the histogram's last limit stands for all that is longer.
    pub(crate) p99_ms: Option<f64>,
    /// Requests by duration: each bucket has those above the limit before.
    pub(crate) durations: Vec<DurationBucket>,
}

/// Requests that took as long as a bucket of the histogram says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DurationBucket {
    /// The bucket's upper limit in milliseconds; null for no limit.
    pub(crate) le_ms: Option<f64>,
    pub(crate) count: u64,
}

impl From<AppStatus> for AppOverview {
    fn from(status: AppStatus) -> Self {
        let traffic = status.traffic;
        let millis = |us: f64| us / 1_000.0;
        let percentile = |q| {
            let us = quantile(&DURATION_LIMITS_US, &traffic?.durations, q)?;
            // A thousandth of a millisecond is finer than any clock here.
            Some((us.round()) / 1_000.0)
        };
        let limits = DURATION_LIMITS_US.iter().map(|us| Some(millis(*us as f64))).chain([None]);
        let counts = traffic.iter().flat_map(|traffic| traffic.durations);
        let names = |ids: Vec<InstanceId>| ids.iter().map(ToString::to_string).collect();
        Self {
            app_id: status.app.to_string(),
            status: AppHealth::of(status.available, status.total),
            healthy_instances: status.available,
            total_instances: status.total,
            unhealthy: names(status.unhealthy),
            breakers_open: names(status.breakers_open),
            requests: traffic.map(|traffic| traffic.requests),
            errors: traffic.map(|traffic| traffic.errors),
            p50_ms: percentile(0.5),
            p99_ms: percentile(0.99),
            durations: limits.zip(counts).map(|(le_ms, count)| DurationBucket { le_ms, count }).collect(),
        }
    }
}

/// Instances, and what is wrong with some.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstanceCounts {
    pub(crate) total: usize,
    /// Out of rotation by health checks or missing heartbeats.
    pub(crate) unhealthy: usize,
    /// With a circuit breaker that is open or half open.
    pub(crate) breakers_open: usize,
    /// Deregistered since the start because their heartbeats stopped.
    pub(crate) leases_expired: u64,
}

/// Changes since the start.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeCounts {
    /// Not answered yet.
    pub(crate) waiting: usize,
    /// Stored.
    pub(crate) stored: u64,
}

/// Where the configuration is kept.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoreView {
    #[schema(examples("fjall", "memory"))]
    pub(crate) kind: &'static str,
    pub(crate) path: Option<String>,
    pub(crate) bytes: u64,
    /// What is damaged or fails, one sentence each.
    pub(crate) degraded: Vec<String>,
}

/// How a core does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerView {
    pub(crate) core: u16,
    #[schema(examples("io_uring", "epoll"))]
    pub(crate) driver: Option<&'static str>,
    #[schema(examples("following", "lagging", "drained", "dead"))]
    pub(crate) state: &'static str,
    /// Client connections that are open.
    pub(crate) connections: u64,
    /// Tunnels that are open, WebSockets among them.
    pub(crate) upgrades: u64,
    /// Exchanges since the start.
    pub(crate) exchanges: u64,
    /// Tasks that panicked since the start.
    pub(crate) panics: u64,
    /// The snapshot that it serves.
    pub(crate) serial: u64,
    /// How long it took to take up the last one.
    pub(crate) last_ack_micros: Option<u64>,
}

impl From<WorkerStatus> for WorkerView {
    fn from(worker: WorkerStatus) -> Self {
        Self {
            core: worker.core.0,
            driver: worker.driver,
            state: worker.state,
            connections: worker.connections,
            upgrades: worker.upgrades,
            exchanges: worker.exchanges,
            panics: worker.panics,
            serial: worker.serial.0,
            last_ack_micros: worker.last_ack_micros,
        }
    }
}

/// That the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LivenessView {
    /// Always `ok`: who cannot say so says nothing.
    #[schema(examples("ok"))]
    pub(crate) status: &'static str,
}

/// Whether traffic should be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadinessView {
    /// `ok` or `unavailable`.
    #[schema(examples("ok", "unavailable"))]
    pub(crate) status: &'static str,
    /// What was looked at.
    pub(crate) checks: Checks,
}

/// What readiness consists of. Each is `ok` or says what is missing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    /// The process has started and is not ending.
    pub(crate) process: &'static str,
    /// The cores serve. One that lags or died is told, and does not take the others out of service.
    pub(crate) workers: &'static str,
    /// The store is whole. A degraded one does not take the process out of service.
    pub(crate) store: &'static str,
}

impl ReadinessView {
    pub(crate) fn new(is_ready: bool, status: &Status) -> Self {
        let has_fallen_behind = status.workers.iter().any(|worker| worker.state != "following");
        Self {
            status: if is_ready { "ok" } else { "unavailable" },
            checks: Checks {
                process: match (is_ready, status.state) {
                    (true, _) => "ok",
                    (false, "draining") => "draining",
                    (false, _) => "starting",
                },
                workers: match (status.workers.is_empty(), has_fallen_behind) {
                    (true, _) => "none",
                    (false, true) => "degraded",
                    (false, false) => "ok",
                },
                store: if status.store.degraded.is_empty() { "ok" } else { "degraded" },
            },
        }
    }
}

/// The word for an outcome.
pub(crate) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Unchanged => "unchanged",
        Outcome::Removed => "removed",
    }
}

/// The instance of an id, as it is now.
pub(crate) fn instance_view<P: Plane>(plane: &P, desired: &Desired, id: &InstanceId) -> Option<InstanceView> {
    desired.instance(id.as_str()).map(|instance| InstanceView::of(plane, instance))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::{BodyText, HttpProbe, ProbeHeaders, ProbeHost};
    use std::time::Duration;

    #[test]
    fn health_checks_are_written_as_short_as_they_were_given() {
        let json = |check: &HealthCheck| serde_json::to_string(&HealthCheckView::new(check)).unwrap();
        let http = HealthCheck { probe: Probe::http("/health").unwrap(), ..HealthCheck::default() };
        assert_eq!(json(&HealthCheck::default()), "null");
        assert_eq!(json(&http), r#""/health""#);
        let slow = HealthCheck { interval: Some(Duration::from_secs(30)), ..http };
        assert_eq!(json(&slow), r#"{"path":"/health","interval":"30s"}"#);
        let tcp = HealthCheck { healthy_threshold: NonZeroU8::new(1), ..HealthCheck::default() };
        assert_eq!(json(&tcp), r#"{"path":null,"healthy_threshold":1}"#);
        let probe = HttpProbe {
            method: ProbeMethod::Options,
            host: Some(ProbeHost::parse("app.example").unwrap()),
            headers: ProbeHeaders::new([("Authorization", "correct-horse")]).unwrap(),
            body: Some(BodyText::parse("ok").unwrap()),
            ..HttpProbe::new("/up").unwrap()
        };
        let full = HealthCheck {
            probe: Probe::Http(probe.into()),
            port: NonZeroU16::new(9000),
            ..HealthCheck::default()
        };
        assert_eq!(
            json(&full),
            r#"{"path":"/up","port":9000,"method":"OPTIONS","host":"app.example","headers":["Authorization"],"expect":{"status":"200-399","body":"ok"}}"#
        );
    }
}
