//! Status and health of the process, as the API shows them.

use ringway_control::{AppStatus, CoreState, CoreStatus, State, Status};
use ringway_model::{Desired, InstanceId, Kind};
use ringway_telemetry::{DURATION_LIMITS_US, quantile};
use serde::Serialize;
use utoipa::ToSchema;

use super::apps::AppHealth;
use super::certificates::CertificatesView;

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
            changes: ChangeCounts {
                waiting: status.counts.changes_waiting,
                stored: status.counts.changes_stored,
            },
            names_unresolved: status.names_unresolved,
            store: StoreView {
                kind: status.store.kind,
                path: status.store.path.map(|path| path.display().to_string()),
                bytes: status.store.bytes,
                degraded: status.store.degraded,
            },
            certificates,
            workers: status.cores.into_iter().map(WorkerView::from).collect(),
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
        let has_fallen_behind = status.cores.iter().any(|core| core.state != CoreState::Following);
        Self {
            status: if is_ready { "ok" } else { "unavailable" },
            checks: Checks {
                process: match (is_ready, status.state) {
                    (true, _) => "ok",
                    (false, State::Draining) => "draining",
                    (false, _) => "starting",
                },
                workers: match (status.cores.is_empty(), has_fallen_behind) {
                    (true, _) => "none",
                    (false, true) => "degraded",
                    (false, false) => "ok",
                },
                store: if status.store.degraded.is_empty() { "ok" } else { "degraded" },
            },
        }
    }
}
