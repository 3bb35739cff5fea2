//! Status and health of the process, as the API shows them.

use std::sync::Arc;

use ringway_control::{AppStatus, CoreState, CoreStatus, State, Status};
use ringway_model::{Desired, Instance, InstanceId, Kind, Owner};
use ringway_net::clock;
use ringway_telemetry::{DURATION_LIMITS_US, quantile};
use serde::Serialize;
use utoipa::ToSchema;

use super::apps::AppHealth;
use super::certificates::CertificatesView;
use super::endpoints::{OverriddenView, overridden};
use super::pools::{BackendView, TenantView};
use crate::audit::{AuditLog, AuditReading};
use crate::limits::READINESS_BACKENDS_MAX;
use crate::plane::Plane;

/// Status of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StatusView {
    /// State of the process; problems are in `warnings`.
    #[schema(examples("ready", "starting", "degraded", "draining"))]
    pub(crate) status: &'static str,
    pub(crate) version: &'static str,
    /// Source revision of the build.
    pub(crate) commit: &'static str,
    /// Revision of the configuration.
    pub(crate) revision: u64,
    pub(crate) uptime_seconds: u64,
    /// Problems, one sentence each.
    pub(crate) warnings: Vec<String>,
    pub(crate) apps: usize,
    /// Apps: those with problems first, then by number of requests; 20, or `limit`.
    pub(crate) app_overview: Vec<AppOverview>,
    pub(crate) instances: InstanceCounts,
    pub(crate) domains: usize,
    /// Routes of the operator.
    pub(crate) routes: usize,
    pub(crate) changes: ChangeCounts,
    /// Names of targets without an address.
    pub(crate) names_unresolved: usize,
    /// Endpoints whose configured weight is overridden at run time; the first 100.
    pub(crate) overridden: Vec<OverriddenView>,
    pub(crate) store: StoreView,
    /// Null without an audit log.
    pub(crate) audit_log: Option<AuditView>,
    /// Null where certificates are not managed.
    pub(crate) certificates: Option<CertificatesView>,
    pub(crate) workers: Vec<WorkerView>,
}

impl StatusView {
    /// `warnings` are those of the API itself.
    pub(crate) fn new(
        mut status: Status,
        mut warnings: Vec<String>,
        audit_log: Option<AuditView>,
        apps: Vec<AppOverview>,
        certificates: Option<CertificatesView>,
        desired: &Desired,
    ) -> Self {
        if !warnings.is_empty() && status.state == State::Ready {
            status.state = State::Degraded;
        }
        status.warnings.append(&mut warnings);
        Self {
            status: status.state.as_str(),
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
                leases_expired: status.counts.leases_expired,
            },
            app_overview: apps,
            domains: desired.count(Kind::Domain),
            routes: desired.count(Kind::Route),
            changes: ChangeCounts {
                waiting: status.counts.changes_waiting,
                stored: status.counts.changes_stored,
            },
            names_unresolved: status.names_unresolved,
            overridden: overridden(desired, None),
            store: StoreView {
                kind: status.store.kind,
                path: status.store.path.map(|path| path.display().to_string()),
                bytes: status.store.bytes,
                degraded: status.store.degraded,
            },
            audit_log,
            certificates,
            workers: status.cores.into_iter().map(WorkerView::from).collect(),
        }
    }
}

/// Status of the process with the health of its tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthView {
    #[serde(flatten)]
    pub(crate) status: StatusView,
    #[serde(flatten)]
    pub(crate) tenants: TenantsHealth,
}

/// Health of tenants.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantsHealth {
    /// Tenants by id, with their routes and backends; 20, or `limit`. `GET /admin/tenants` has all.
    pub(crate) tenants: Vec<TenantView>,
    /// Number of all tenants.
    pub(crate) tenants_total: usize,
}

/// An app in the status: its instances, their problems, and its traffic since the start. Counters never
/// decrease.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppOverview {
    pub(crate) app_id: String,
    /// Whether all, some or none of the instances are in rotation.
    pub(crate) status: AppHealth,
    /// Instances that requests can be sent to.
    pub(crate) healthy_instances: usize,
    /// All instances but those that drain.
    pub(crate) total_instances: usize,
    /// Instances out of rotation by checks or missing heartbeats, by id; the first 10.
    pub(crate) unhealthy: Vec<String>,
    /// Instances whose circuit breaker is open or half open, by id; the first 10.
    pub(crate) breakers_open: Vec<String>,
    /// Finished requests; null for an app without counters of its own, because there are too many apps.
    pub(crate) requests: Option<u64>,
    /// Requests answered with 500 to 599, by an instance or by ringway.
    pub(crate) errors: Option<u64>,
    /// Median duration in milliseconds, from the histogram; null without requests.
    pub(crate) p50_ms: Option<f64>,
    /// 99th percentile of the duration in milliseconds, at most the last limit of the histogram.
    pub(crate) p99_ms: Option<f64>,
    /// Requests by duration: each bucket counts those above the limit of the previous one.
    pub(crate) durations: Vec<DurationBucket>,
}

/// A bucket of the histogram of durations.
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
            // Microseconds are exact enough.
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

/// Numbers of instances.
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
    /// Changes in progress.
    pub(crate) waiting: usize,
    /// Stored changes.
    pub(crate) stored: u64,
}

/// Store of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoreView {
    #[schema(examples("fjall", "memory"))]
    pub(crate) kind: &'static str,
    pub(crate) path: Option<String>,
    pub(crate) bytes: u64,
    /// Damage and failures, one sentence each.
    pub(crate) degraded: Vec<String>,
}

/// Audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditView {
    pub(crate) path: String,
    /// Number of the last line; 0 before the first one of this process.
    pub(crate) lines: u64,
    /// Hash of the last line. Kept elsewhere, it shows later that the log was not replaced as a whole.
    pub(crate) hash: String,
    /// Lines lost since the start.
    pub(crate) lost: u64,
}

impl AuditView {
    pub(crate) fn new(log: &AuditLog) -> Self {
        let AuditReading { sequence, hash, lost, .. } = log.reading();
        Self { path: log.path().display().to_string(), lines: sequence, hash, lost }
    }
}

/// Status of a core.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerView {
    pub(crate) core: u16,
    #[schema(examples("io_uring", "epoll"))]
    pub(crate) driver: Option<&'static str>,
    #[schema(examples("following", "lagging", "drained", "dead"))]
    pub(crate) state: &'static str,
    /// Open client connections.
    pub(crate) connections: u64,
    /// Open tunnels, including WebSockets.
    pub(crate) upgrades: u64,
    /// Exchanges since the start.
    pub(crate) exchanges: u64,
    /// Tasks that panicked since the start.
    pub(crate) panics: u64,
    /// Serial of the applied snapshot.
    pub(crate) serial: u64,
    /// Duration of the last application of a snapshot.
    pub(crate) last_ack_micros: Option<u64>,
}

impl From<CoreStatus> for WorkerView {
    fn from(core: CoreStatus) -> Self {
        Self {
            core: core.core.0,
            driver: core.driver,
            state: core.state.as_str(),
            connections: core.connections,
            upgrades: core.upgrades,
            exchanges: core.exchanges,
            panics: core.panics,
            serial: core.serial.0,
            last_ack_micros: core.last_ack_micros,
        }
    }
}

/// Liveness of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LivenessView {
    /// Always `ok`.
    #[schema(examples("ok"))]
    pub(crate) status: &'static str,
    /// Time of the response.
    #[schema(format = "date-time")]
    pub(crate) timestamp: String,
}

impl LivenessView {
    pub(crate) fn now() -> Self {
        Self { status: "ok", timestamp: clock::timestamp().to_rfc3339_millis() }
    }
}

/// Readiness for traffic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReadinessView {
    /// `ready` or `not_ready`.
    #[schema(examples("ready", "not_ready"))]
    pub(crate) status: &'static str,
    /// Single checks.
    pub(crate) checks: Checks,
}

/// Checks of readiness. Only `process` decides: a process that serves with a problem is better than none.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Checks {
    /// `ok`, or the phase before or after: `starting`, `draining`.
    #[schema(examples("ok", "starting", "draining"))]
    pub(crate) process: &'static str,
    /// `ok` once the configuration is loaded.
    #[schema(examples("ok", "loading"))]
    pub(crate) configuration: &'static str,
    /// State of the cores.
    #[schema(examples("ok", "degraded", "none"))]
    pub(crate) workers: &'static str,
    /// State of the store.
    #[schema(examples("ok", "degraded"))]
    pub(crate) store: &'static str,
    /// `ok`, or `off` for a process without a cache.
    #[schema(examples("ok", "off"))]
    pub(crate) cache: &'static str,
    /// Endpoints of operators' pools, by pool; at most 100.
    pub(crate) backends: Vec<BackendView>,
    /// Number of these endpoints.
    pub(crate) backends_total: usize,
}

impl ReadinessView {
    pub(crate) fn of<P: Plane>(plane: &P) -> Self {
        let (is_ready, status, desired) = (plane.is_ready(), plane.status(), plane.desired());
        let has_fallen_behind = status.cores.iter().any(|core| core.state != CoreState::Following);
        let (backends, backends_total) = backends(plane, &desired);
        Self {
            status: if is_ready { "ready" } else { "not_ready" },
            checks: Checks {
                process: match (is_ready, status.state) {
                    (true, _) => "ok",
                    (false, State::Draining) => "draining",
                    (false, _) => "starting",
                },
                configuration: if status.state == State::Starting { "loading" } else { "ok" },
                workers: match (status.cores.is_empty(), has_fallen_behind) {
                    (true, _) => "none",
                    (false, true) => "degraded",
                    (false, false) => "ok",
                },
                store: if status.store.degraded.is_empty() { "ok" } else { "degraded" },
                cache: if plane.cache_status().is_some() { "ok" } else { "off" },
                backends,
                backends_total,
            },
        }
    }

    /// Whether the process serves.
    pub(crate) fn is_ready(&self) -> bool {
        self.status == "ready"
    }
}

/// Endpoints of operators' pools: the first by pool and URL, and their number.
fn backends<P: Plane>(plane: &P, desired: &Desired) -> (Vec<BackendView>, usize) {
    let of_operators = [Owner::File, Owner::Admin];
    let endpoints = of_operators.iter().flat_map(|owner| desired.owned_of(owner, Kind::Instance));
    let mut instances: Vec<&Arc<Instance>> = endpoints.filter_map(|id| desired.instance(id)).collect();
    let total = instances.len();
    instances.sort_unstable_by(|a, b| (&a.app, &a.id).cmp(&(&b.app, &b.id)));
    instances.truncate(READINESS_BACKENDS_MAX);
    let view = |instance: &Arc<Instance>| {
        BackendView::new(instance, &plane.instance_status(&instance.id).unwrap_or_default())
    };
    (instances.into_iter().map(view).collect(), total)
}
