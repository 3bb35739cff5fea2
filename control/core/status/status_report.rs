//! Status of instances, apps and the whole process, read from the engine.

use std::cmp::Reverse;

use ringway_certs::Certificates;
use ringway_model::{Health, Hostname, Instance, InstanceId, Kind, TargetHost, Tick};
use ringway_telemetry::{AppReading, CoreReading};
use ringway_traffic::breaker::BreakerView;
use ringway_traffic::snapshot::{Endpoint, Pool};

use super::certificate_warnings::{certificate_warnings, domain_warnings};
use super::instance_state::{StateInputs, health_reason};
use super::{
    AppStatus, BreakerState, BreakerStatus, CoreState, CoreStatus, Counts, InFlightStatus, InstanceStatus,
    State, Status, StoreStatus,
};
use crate::engine::Engine;
use crate::engine::core_acks::CoreProgress;
use crate::instances::outage;
use crate::limits::STATUS_INSTANCES_MAX;
use crate::time::Now;

/// Status of one instance; `None` when it is not registered.
pub(crate) fn instance_status(engine: &Engine, id: &InstanceId, now: Now) -> Option<InstanceStatus> {
    let view = engine.view(now);
    let instance = view.desired.instance(id.as_str())?;
    let endpoint = view.endpoint(id);
    let checked = engine.instances().checker().status(id.as_str());
    let lease = engine.instances().lease(id);
    let name = |instance: &Instance| match instance.target.host() {
        TargetHost::Name(name) => Some(name.clone()),
        TargetHost::Address(_) => None,
    };
    let reason = health_reason(checked.as_ref(), lease, now);
    let is_lapsed = lease.is_some_and(|lease| lease.is_lapsed());
    let health = endpoint.map_or(Health::Unknown, |endpoint| endpoint.state.health());
    let streak = checked.as_ref().map_or(0, |checked| checked.streak.len());
    let draining_until = engine.instances().drains_until(id).map(|until| now.timestamp_of(until));
    let unresolved = endpoint.filter(|endpoint| endpoint.addresses.is_empty()).and_then(|_| name(instance));
    let inputs = StateInputs {
        draining_until: instance.draining.map(|until| draining_until.unwrap_or(until)),
        health,
        failure: reason.as_deref(),
        failures: match &checked {
            Some(checked) if checked.not_probed.is_none() && !is_lapsed => streak,
            Some(_) | None => 0,
        },
        is_checked: checked.as_ref().is_some_and(|checked| checked.last_checked_at.is_some()),
        unresolved: unresolved.as_ref(),
        breaker: endpoint.map_or(BreakerView::Closed, |endpoint| endpoint.state.breaker(now.tick)),
    };
    let opened_at = endpoint.and_then(|endpoint| endpoint.state.opened_at());
    let (state, state_reason) = inputs.state(now);
    Some(InstanceStatus {
        generation: instance.generation,
        state,
        state_reason,
        in_flight: endpoint
            .map_or_else(InFlightStatus::default, |endpoint| InFlightStatus::of(&endpoint.in_flight)),
        draining_until: inputs.draining_until,
        breaker: breaker_status(inputs.breaker, opened_at, now),
        failures_in_a_row: endpoint.map_or(Some(0), |endpoint| endpoint.state.failures_in_a_row()),
        slow_start: view
            .snapshot
            .pool_of_app(instance.app.as_str())
            .zip(endpoint)
            .and_then(|(pool, endpoint)| pool.selection.as_deref()?.slow_start_progress(endpoint, now.tick)),
        health,
        reason,
        streak,
        last_checked: checked.as_ref().and_then(|checked| checked.last_checked_at),
        last_heartbeat: lease.map(|lease| lease.last_heartbeat),
        lease_expires: lease.map(|lease| now.timestamp_of(lease.expires)),
        deregisters_at: lease.map(|lease| now.timestamp_of(lease.deregisters)),
        addresses: endpoint.map_or_else(Vec::new, |endpoint| endpoint.addresses.to_vec()),
    })
}

/// Status of the whole process.
pub(crate) fn status(engine: &Engine, now: Now) -> Status {
    let view = engine.view(now);
    let (desired, compiler) = (view.desired, engine.publisher().compiler());
    let (mut breakers_open, mut unhealthy) = (0, 0);
    for endpoint in view.snapshot.pools().flat_map(|pool| pool.all_endpoints()) {
        breakers_open += usize::from(endpoint.state.breaker(now.tick) != BreakerView::Closed);
        unhealthy += usize::from(endpoint.state.health() == Health::Unhealthy);
    }
    let is_unresolved = |name: &&Hostname| compiler.addresses(name.as_str()).is_some_and(<[_]>::is_empty);
    let certificates = engine.certificates().map(Certificates::overview);
    let mut warnings = process_warnings(engine, now);
    if let Some(overview) = &certificates {
        warnings.extend(certificate_warnings(overview, now.at));
    }
    let state = match engine.is_running() {
        false => State::Draining,
        true if !engine.plane().have_cores_started() => State::Starting,
        true if !warnings.is_empty() => State::Degraded,
        true => State::Ready,
    };
    // Outages of apps and problems of single domains do not degrade the process.
    warnings.extend(outage::warnings(engine.instances(), view));
    warnings.extend(engine.credentials().warnings());
    warnings.extend(certificates.map(|overview| domain_warnings(&overview)).unwrap_or_default());
    let (commits, description) = (engine.commits().counters(), engine.commits().description());
    Status {
        state,
        version: engine.settings().version,
        commit: engine.settings().commit,
        uptime: engine.uptime(now),
        revision: desired.revision(),
        serial: engine.plane().published(),
        cores: core_statuses(engine, now),
        counts: Counts {
            apps: desired.count(Kind::App),
            instances: desired.count(Kind::Instance),
            domains: desired.count(Kind::Domain),
            changes_waiting: engine.plane().pending(),
            changes_stored: commits.changes_stored,
            batches_stored: commits.batches_stored,
            batches_failed: commits.batches_failed,
            leases_expired: engine.instances().leases_expired(),
            names_changed: engine.dns_counters().changed,
        },
        store: StoreStatus {
            kind: description.kind,
            path: description.path.clone(),
            bytes: description.bytes,
            degraded: engine.commits().warnings(now.micros),
        },
        configuration: engine.configuration().clone(),
        breakers_open,
        unhealthy,
        names_unresolved: compiler.names().filter(is_unresolved).count(),
        warnings,
    }
}

/// Status of the apps: those in trouble first, then by requests; at most `most`.
pub(crate) fn app_statuses(engine: &Engine, most: usize, now: Now) -> Vec<AppStatus> {
    let traffic = engine.publisher().registry().apps();
    let is_breaker_open = |endpoint: &Endpoint| endpoint.state.breaker(now.tick) != BreakerView::Closed;
    let is_unhealthy = |endpoint: &Endpoint| endpoint.state.health() == Health::Unhealthy;
    let available =
        |pool: &Pool| pool.endpoints.iter().filter(|endpoint| endpoint.is_available(now.tick)).count();
    let mut ranked: Vec<(usize, Reverse<u64>, &Pool)> = engine
        .view(now)
        .snapshot
        .pools()
        .map(|pool| {
            let is_intact = |endpoint: &Endpoint| !is_unhealthy(endpoint) && !is_breaker_open(endpoint);
            let rank = match pool.endpoints.iter().all(is_intact) {
                _ if available(pool) == 0 && !pool.endpoints.is_empty() => 0,
                false => 1,
                true => 2,
            };
            let requests = traffic.get(pool.app.as_str()).map_or(0, |reading| reading.requests);
            (rank, Reverse(requests), &**pool)
        })
        .collect();
    ranked.sort_unstable_by_key(|(rank, requests, pool)| (*rank, *requests, &pool.app));
    ranked.truncate(most);
    let listed = |pool: &Pool, is_listed: &dyn Fn(&Endpoint) -> bool| {
        let endpoints = pool.endpoints.iter().filter(|endpoint| is_listed(endpoint));
        endpoints.take(STATUS_INSTANCES_MAX).map(|endpoint| endpoint.instance.clone()).collect()
    };
    let status = |pool: &Pool| AppStatus {
        app: pool.app.clone(),
        total: pool.endpoints.len(),
        available: available(pool),
        unhealthy: listed(pool, &is_unhealthy),
        breakers_open: listed(pool, &is_breaker_open),
        traffic: match traffic.get(pool.app.as_str()) {
            Some(reading) => Some(*reading),
            // It has a metric slot and no requests so far.
            None => (pool.metric.0 != 0).then(AppReading::default),
        },
    };
    ranked.into_iter().map(|(_, _, pool)| status(pool)).collect()
}

pub(super) fn breaker_status(breaker: BreakerView, opened_at: Option<Tick>, now: Now) -> BreakerStatus {
    let (state, until) = match breaker {
        BreakerView::Closed => (BreakerState::Closed, None),
        BreakerView::Open { until } => (BreakerState::Open, Some(until)),
        BreakerView::HalfOpen => (BreakerState::HalfOpen, None),
    };
    // It may have opened or closed between the two readings.
    let since = opened_at.filter(|_| state != BreakerState::Closed);
    BreakerStatus {
        state,
        since: since.map(|since| now.timestamp_of(since)),
        until: until.map(|until| now.timestamp_of(until)),
    }
}

fn core_statuses(engine: &Engine, now: Now) -> Vec<CoreStatus> {
    let readings: Vec<CoreReading> = engine.publisher().registry().cores().collect();
    let status = |progress: CoreProgress| {
        let reading = readings.iter().find(|reading| reading.core == progress.id);
        CoreStatus {
            core: progress.id,
            driver: reading.and_then(|reading| reading.driver),
            state: progress.state,
            connections: reading.map_or(0, |reading| reading.connections_open),
            upgrades: reading.map_or(0, |reading| reading.upgrades_active),
            exchanges: reading.map_or(0, |reading| reading.exchanges),
            panics: reading.map_or(0, |reading| reading.panics),
            serial: progress.acknowledged.unwrap_or_default(),
            last_ack_micros: progress.last_ack_micros,
            behind: progress.behind_since.map(|since| now.micros.since(since)),
        }
    };
    engine.plane().cores().map(status).collect()
}

/// Warnings about cores, store and files.
fn process_warnings(engine: &Engine, now: Now) -> Vec<String> {
    let mut warnings = Vec::new();
    for core in engine.plane().cores() {
        match core.state {
            CoreState::Following | CoreState::Drained => {}
            CoreState::Lagging => {
                let seconds = core.behind_since.map_or(0, |since| now.micros.since(since).as_secs());
                warnings
                    .push(format!("core {} has not acknowledged the configuration for {seconds} s", core.id));
            }
            CoreState::Dead => warnings.push(format!("core {} panicked and serves no requests", core.id)),
        }
    }
    let of_store = engine.commits().warnings(now.micros);
    warnings.extend(of_store.into_iter().map(|warning| format!("store: {warning}")));
    warnings.extend(engine.files().warnings());
    warnings.extend(engine.configuration().problems());
    warnings.extend(engine.probation().warnings());
    warnings
}
