//! What the engine tells of everything: of one instance, of the whole, and the metrics.

use std::cmp::Reverse;
use std::fmt::Write as _;

use crate::limits::{APPLY_DEADLINE, STATUS_INSTANCES_MAX};
use ringway_certs::{Certificates, Overview};
use ringway_health::CheckStatus;
use ringway_model::{Health, Hostname, Instance, InstanceId, Kind, TargetHost, Timestamp};
use ringway_telemetry::{AppReading, CoreReading, Facts, PoolFacts, ProcessReading};
use ringway_traffic::breaker::BreakerView;
use ringway_traffic::snapshot::{Endpoint, Pool};

use super::shutdown::Phase;
use super::{Committing, Engine, no_heartbeat};
use crate::discovery::overlay::ResolvedHosts;
use crate::engine::core_acks::{CoreProgress, CoreState};
use crate::error_chain::with_causes;
use crate::instances::lease::Lease;
use crate::status::{
    AppStatus, BreakerState, BreakerStatus, CoreStatus, Counts, InFlightStatus, InstanceState,
    InstanceStatus, State, Status, StoreStatus,
};
use crate::time::Now;

impl Engine {
    pub(crate) fn instance_status(&self, id: &InstanceId, now: Now) -> Option<InstanceStatus> {
        let instance = self.plane.desired().instance(id.as_str())?;
        let snapshot = self.compiler.snapshot();
        let endpoint = snapshot.endpoint(instance.app.as_str(), id.as_str());
        let checked = self.checker.status(id.as_str());
        let lease = self.leases.lease(id);
        let name = |instance: &Instance| match instance.target.host() {
            TargetHost::Name(name) => Some(name.clone()),
            TargetHost::Address(_) => None,
        };
        let reason = health_reason(checked.as_ref(), lease, now);
        let is_lapsed = lease.is_some_and(|lease| lease.is_lapsed());
        let health = endpoint.map_or(Health::Unknown, |endpoint| endpoint.state.health());
        let streak = checked.as_ref().map_or(0, |checked| checked.streak.len());
        let draining_until = self.drains().until(id).map(|until| now.timestamp_of(until));
        let unresolved =
            endpoint.filter(|endpoint| endpoint.addresses.is_empty()).and_then(|_| name(instance));
        let facts = StateFacts {
            draining_until: instance.draining.map(|until| draining_until.unwrap_or(until)),
            health,
            failure: reason.as_deref(),
            failures: match &checked {
                Some(checked) if checked.not_asked.is_none() && !is_lapsed => streak,
                Some(_) | None => 0,
            },
            is_checked: checked.as_ref().is_some_and(|checked| checked.last_checked_at.is_some()),
            unresolved: unresolved.as_ref(),
            breaker: endpoint.map_or(BreakerView::Closed, |endpoint| endpoint.state.breaker(now.tick)),
        };
        let (state, state_reason) = facts.state(now);
        Some(InstanceStatus {
            generation: instance.generation,
            state,
            state_reason,
            in_flight: endpoint
                .map_or_else(InFlightStatus::default, |endpoint| InFlightStatus::of(&endpoint.in_flight)),
            draining_until: facts.draining_until,
            health,
            reason,
            streak,
            last_checked: checked.as_ref().and_then(|checked| checked.last_checked_at),
            breaker: endpoint.map_or(BREAKER_CLOSED, |endpoint| match endpoint.state.breaker(now.tick) {
                BreakerView::Closed => BREAKER_CLOSED,
                BreakerView::Open { until } => {
                    BreakerStatus { state: BreakerState::Open, until: Some(now.timestamp_of(until)) }
                }
                BreakerView::HalfOpen => BreakerStatus { state: BreakerState::HalfOpen, until: None },
            }),
            last_heartbeat: lease.map(|lease| lease.last_heartbeat),
            lease_expires: lease.map(|lease| now.timestamp_of(lease.expires)),
            deregisters_at: lease.map(|lease| now.timestamp_of(lease.deregisters)),
            addresses: endpoint.map_or_else(Vec::new, |endpoint| endpoint.addresses.to_vec()),
        })
    }

    pub(crate) fn status(&self, now: Now) -> Status {
        let desired = self.plane.desired();
        let (mut breakers_open, mut unhealthy) = (0, 0);
        for endpoint in self.compiler.snapshot().pools().flat_map(|pool| pool.all_endpoints()) {
            breakers_open += usize::from(endpoint.state.breaker(now.tick) != BreakerView::Closed);
            unhealthy += usize::from(endpoint.state.health() == Health::Unhealthy);
        }
        let is_unresolved =
            |name: &&Hostname| self.compiler.addresses(name.as_str()).is_some_and(<[_]>::is_empty);
        let certificates = self.certificates().map(Certificates::overview);
        let mut warnings = self.warnings(now);
        if let Some(overview) = &certificates {
            warnings.extend(certificate_warnings(overview, now.at));
        }
        let state = match &self.phase {
            Phase::Draining { .. } | Phase::Closing { .. } | Phase::Ended => State::Draining,
            Phase::Running if !self.plane.have_cores_started() => State::Starting,
            Phase::Running if !warnings.is_empty() => State::Degraded,
            Phase::Running => State::Ready,
        };
        // An app that is out, or a domain's certificate, is no fault of this process.
        let domain_warnings = certificates.map(|overview| domain_warnings(&overview)).unwrap_or_default();
        let warnings = [warnings, self.outage_warnings(), domain_warnings].concat();
        let description = &self.store_facts.description;
        Status {
            state,
            version: self.settings.version,
            commit: self.settings.commit,
            uptime: now.micros.since(self.started),
            revision: desired.revision(),
            serial: self.plane.published(),
            cores: self.core_statuses(now),
            counts: Counts {
                apps: desired.count(Kind::App),
                instances: desired.count(Kind::Instance),
                domains: desired.count(Kind::Domain),
                changes_waiting: self.plane.unanswered(),
                changes_stored: self.tally.changes_stored,
                batches_stored: self.tally.batches_stored,
                batches_failed: self.tally.batches_failed,
                leases_expired: self.tally.leases_expired,
                names_changed: self.tally.names_changed,
            },
            store: StoreStatus {
                kind: description.kind,
                path: description.path.clone(),
                bytes: description.bytes,
                degraded: self.store_warnings(now),
            },
            breakers_open,
            unhealthy,
            names_unresolved: self.compiler.names().filter(is_unresolved).count(),
            warnings,
        }
    }

    /// The apps, those with trouble first, then those with the most requests; `most` of them.
    pub(crate) fn app_statuses(&self, most: usize, now: Now) -> Vec<AppStatus> {
        let snapshot = self.compiler.snapshot();
        let traffic = self.registry.apps();
        let mut ranked: Vec<(usize, Reverse<u64>, &Pool)> = snapshot
            .pools()
            .map(|pool| {
                let available =
                    pool.endpoints.iter().filter(|endpoint| endpoint.is_available(now.tick)).count();
                let is_whole = |endpoint: &Endpoint| {
                    endpoint.state.health() != Health::Unhealthy
                        && endpoint.state.breaker(now.tick) == BreakerView::Closed
                };
                let rank = match pool.endpoints.iter().all(is_whole) {
                    _ if available == 0 && !pool.endpoints.is_empty() => 0,
                    false => 1,
                    true => 2,
                };
                let requests = traffic.get(pool.app.as_str()).map_or(0, |reading| reading.requests);
                (rank, Reverse(requests), &**pool)
            })
            .collect();
        ranked.sort_unstable_by_key(|(rank, requests, pool)| (*rank, *requests, &pool.app));
        ranked.truncate(most);
        let named = |pool: &Pool, is_meant: &dyn Fn(&Endpoint) -> bool| {
            let meant = pool.endpoints.iter().filter(|endpoint| is_meant(endpoint));
            meant.take(STATUS_INSTANCES_MAX).map(|endpoint| endpoint.instance.clone()).collect()
        };
        let status = |pool: &Pool| AppStatus {
            app: pool.app.clone(),
            total: pool.endpoints.len(),
            available: pool.endpoints.iter().filter(|endpoint| endpoint.is_available(now.tick)).count(),
            unhealthy: named(pool, &|endpoint| endpoint.state.health() == Health::Unhealthy),
            breakers_open: named(pool, &|endpoint| endpoint.state.breaker(now.tick) != BreakerView::Closed),
            traffic: match traffic.get(pool.app.as_str()) {
                Some(reading) => Some(*reading),
                // It has a slot and did not count yet.
                None => (pool.metric.0 != 0).then(AppReading::default),
            },
        };
        ranked.into_iter().map(|(_, _, pool)| status(pool)).collect()
    }

    fn core_statuses(&self, now: Now) -> Vec<CoreStatus> {
        let readings: Vec<CoreReading> = self.registry.cores().collect();
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
        self.plane.cores().map(status).collect()
    }

    fn store_warnings(&self, now: Now) -> Vec<String> {
        let mut warnings = self.store_facts.found.clone();
        warnings.extend(self.store_facts.description.warnings.iter().cloned());
        if let Some(failure) = &self.store_facts.failure {
            warnings.push(format!("the last change could not be stored: {}", with_causes(failure)));
        }
        if let Some(Committing { since, .. }) = &self.committing
            && now.micros.since(*since) >= APPLY_DEADLINE
        {
            let seconds = now.micros.since(*since).as_secs();
            warnings.push(format!("a change has been with the store for {seconds} s"));
        }
        warnings
    }

    fn warnings(&self, now: Now) -> Vec<String> {
        let mut warnings = Vec::new();
        for core in self.plane.cores() {
            match core.state {
                CoreState::Following | CoreState::Drained => {}
                CoreState::Lagging => {
                    let seconds = core.behind_since.map_or(0, |since| now.micros.since(since).as_secs());
                    warnings.push(format!(
                        "core {} has not acknowledged the configuration for {seconds} s",
                        core.id
                    ));
                }
                CoreState::Dead => {
                    warnings.push(format!("core {} has panicked and serves nothing any more", core.id));
                }
            }
        }
        warnings.extend(self.store_warnings(now).into_iter().map(|warning| format!("store: {warning}")));
        warnings.extend(self.files.warnings());
        warnings
    }

    pub(crate) fn metrics(&self, now: Now, out: &mut String) {
        let desired = self.plane.desired();
        let snapshot = self.compiler.snapshot();
        let pools: Vec<PoolFacts<'_>> = snapshot
            .pools()
            .map(|pool| {
                let mut facts =
                    PoolFacts { pool: pool.app.as_str(), slot: pool.metric.0, ..PoolFacts::default() };
                for endpoint in pool.all_endpoints() {
                    facts.total += 1;
                    let is_offered = pool.offers(endpoint);
                    facts.healthy += u32::from(is_offered && endpoint.state.health() != Health::Unhealthy);
                    match endpoint.state.breaker(now.tick) {
                        BreakerView::Closed => facts.closed += 1,
                        BreakerView::Open { .. } => facts.open += 1,
                        BreakerView::HalfOpen => facts.half_open += 1,
                    }
                }
                facts
            })
            .collect();
        let log = self.log.as_ref().map(|reading| reading());
        let facts = Facts {
            version: self.settings.version,
            commit: self.settings.commit,
            uptime: now.micros.since(self.started),
            revision: desired.revision(),
            apps: desired.count(Kind::App),
            instances: desired.count(Kind::Instance),
            domains: desired.count(Kind::Domain),
            pools: &pools,
            log: log.as_ref(),
            process: ProcessReading::read(),
        };
        self.registry.render(&facts, out);
        self.render_own(now, out);
        self.render_instances(now, out);
        if let Some(certificates) = self.certificates() {
            certificates.render_metrics(out);
            self.render_expiries(certificates, out);
        }
    }

    /// When the certificate of each domain ends that has a counter of its own: a bounded number of them.
    fn render_expiries(&self, certificates: &Certificates, out: &mut String) {
        out.push_str(
            "# HELP ringway_certificate_expiry_timestamp_seconds When the certificate that a domain is served with ends.\n",
        );
        out.push_str("# TYPE ringway_certificate_expiry_timestamp_seconds gauge\n");
        let counted = self.compiler.snapshot();
        for host in counted.virtual_hosts().filter(|host| host.rules.iter().any(|rule| rule.metric.0 != 0)) {
            let facts = certificates.state(&host.host).and_then(|state| state.certificate);
            if let Some(facts) = facts {
                let (host, end) = (&host.host, facts.not_after.0 / 1000);
                let _ =
                    writeln!(out, "ringway_certificate_expiry_timestamp_seconds{{domain=\"{host}\"}} {end}");
            }
        }
    }

    /// States of instances, and requests in flight of the endpoints that have a counter of their own: a bounded number.
    fn render_instances(&self, now: Now, out: &mut String) {
        // Writing to a string cannot fail.
        let mut states = [0_u64; InstanceState::ALL.len()];
        for instance in self.plane.desired().instances() {
            if let Some(status) = self.instance_status(&instance.id, now) {
                states[status.state as usize] += 1;
            }
        }
        out.push_str(
            "# HELP ringway_instance_states Instances by state.\n# TYPE ringway_instance_states gauge\n",
        );
        for (state, count) in InstanceState::ALL.into_iter().zip(states) {
            let _ = writeln!(out, "ringway_instance_states{{state=\"{}\"}} {count}", state.as_str());
        }
        out.push_str(
            "# HELP proxy_endpoint_requests_in_flight Requests under way, tunnels among them.\n\
             # TYPE proxy_endpoint_requests_in_flight gauge\n",
        );
        for pool in self.compiler.snapshot().pools() {
            for endpoint in pool.all_endpoints().filter(|endpoint| endpoint.metric.0 != 0) {
                let (app, instance) = (&pool.app, &endpoint.instance);
                let requests = endpoint.in_flight.requests();
                let _ = writeln!(
                    out,
                    "proxy_endpoint_requests_in_flight{{pool=\"{app}\",instance=\"{instance}\"}} {requests}"
                );
            }
        }
    }

    /// What only the control plane counts.
    fn render_own(&self, now: Now, out: &mut String) {
        let tally = &self.tally;
        let hooks = self.hooks().reading();
        let resolver = self.resolved().map(ResolvedHosts::tally).unwrap_or_default();
        let is_degraded = u64::from(!self.store_warnings(now).is_empty());
        for (name, kind, help, value) in [
            ("ringway_ready", "gauge", "Whether the process takes traffic.", u64::from(self.is_ready())),
            ("ringway_changes_stored_total", "counter", "Changes stored.", tally.changes_stored),
            (
                "ringway_named_files_unusable",
                "gauge",
                "Apps and CA files of domains whose files cannot be read, or make no sense.",
                self.files.len() as u64,
            ),
            (
                "ringway_changes_waiting",
                "gauge",
                "Changes without an answer.",
                self.plane.unanswered() as u64,
            ),
            ("ringway_store_batches_total", "counter", "Batches that the store took.", tally.batches_stored),
            (
                "ringway_store_failures_total",
                "counter",
                "Batches that the store refused.",
                tally.batches_failed,
            ),
            (
                "ringway_store_microseconds_total",
                "counter",
                "Time that batches were stored in.",
                tally.store_micros,
            ),
            ("ringway_store_degraded", "gauge", "Whether the store needs attention.", is_degraded),
            (
                "ringway_leases_expired_total",
                "counter",
                "Instances deregistered: no heartbeat.",
                tally.leases_expired,
            ),
            (
                "ringway_names_changed_total",
                "counter",
                "Names that got other addresses.",
                tally.names_changed,
            ),
            ("ringway_names_failed_total", "counter", "Resolutions that failed.", tally.names_failed),
            (
                "ringway_resolver_hosts",
                "gauge",
                "Hosts that are served as the resolver says.",
                self.resolved().map_or(0, ResolvedHosts::served) as u64,
            ),
            ("ringway_resolver_known_total", "counter", "Answers of the resolver: targets.", resolver.known),
            (
                "ringway_resolver_unknown_total",
                "counter",
                "Answers of the resolver: no app.",
                resolver.unknown,
            ),
            (
                "ringway_resolver_failures_total",
                "counter",
                "Questions that the resolver did not answer.",
                resolver.failed,
            ),
            ("ringway_webhooks_pending", "gauge", "Webhook deliveries that wait.", hooks.pending),
            ("ringway_webhooks_delivered_total", "counter", "Webhooks delivered.", hooks.delivered),
            (
                "ringway_webhooks_retried_total",
                "counter",
                "Tries of webhooks that were followed by another.",
                hooks.retried,
            ),
            ("ringway_webhooks_failed_total", "counter", "Webhooks given up.", hooks.failed),
            (
                "ringway_webhooks_dropped_total",
                "counter",
                "Webhooks dropped because too many waited.",
                hooks.dropped,
            ),
        ] {
            // Writing to a string cannot fail.
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
        out.push_str(
            "# HELP ringway_core_ack_microseconds From publication to acknowledgement, last time.\n",
        );
        out.push_str("# TYPE ringway_core_ack_microseconds gauge\n");
        for core in self.plane.cores() {
            if let Some(micros) = core.last_ack_micros {
                let _ = writeln!(out, "ringway_core_ack_microseconds{{core=\"{}\"}} {micros}", core.id);
            }
        }
        // Which certificates a core serves follows from the snapshot that it has: it is behind in neither or in both.
        out.push_str(
            "# HELP ringway_published_serial The newest snapshot of configuration and certificates.\n",
        );
        let serial = self.plane.published();
        let _ = writeln!(out, "# TYPE ringway_published_serial gauge\nringway_published_serial {}", serial.0);
        out.push_str(
            "# HELP ringway_core_serial The snapshot that the core serves, certificates included.\n",
        );
        out.push_str("# TYPE ringway_core_serial gauge\n");
        for core in self.plane.cores() {
            if let Some(serial) = core.acknowledged {
                let _ = writeln!(out, "ringway_core_serial{{core=\"{}\"}} {}", core.id, serial.0);
            }
        }
        out.push_str("# HELP ringway_core_lagging Whether the core is behind the configuration.\n");
        out.push_str("# TYPE ringway_core_lagging gauge\n");
        for core in self.plane.cores() {
            let lags = u64::from(matches!(core.state, CoreState::Lagging | CoreState::Dead));
            let _ = writeln!(out, "ringway_core_lagging{{core=\"{}\"}} {lags}", core.id);
        }
    }
}

const BREAKER_CLOSED: BreakerStatus = BreakerStatus { state: BreakerState::Closed, until: None };

/// What is wrong with certificates here, whatever the domains do.
fn certificate_warnings(overview: &Overview, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(problem) = &overview.clock_problem {
        warnings.push(format!("certificates: {problem}"));
    } else if now < CLOCK_PLAUSIBLE {
        warnings.push(format!(
            "this machine's clock says {}: certificates cannot be judged, and no CA can be asked, until it is right",
            now.to_rfc3339()
        ));
    }
    if let Some(problem) = &overview.directory_problem {
        warnings.push(format!("certificates: {problem}"));
    }
    if let Some(default) = &overview.default {
        let (begin, end) = (default.facts.not_before, default.facts.not_after);
        if let Some(problem) = &default.problem {
            warnings.push(format!("the default certificate's files have changed and cannot be served, the old one stays: {problem}"));
        }
        if now > end {
            warnings.push(format!("the default certificate has expired on {}", end.to_rfc3339()));
        } else if is_late(begin, end, now) {
            warnings
                .push(format!("the default certificate ends on {} and was not replaced", end.to_rfc3339()));
        }
    }
    for authority in overview.authorities.iter().filter(|authority| !authority.is_usable) {
        let problem = authority.problem.as_deref().unwrap_or("it is left alone for a while");
        warnings.push(format!("the CA {} is out of order: {problem}", authority.url));
    }
    warnings
}

/// What is wrong with certificates of single domains, or will be: worth a look, and no fault of this process.
fn domain_warnings(overview: &Overview) -> Vec<String> {
    let mut warnings = Vec::new();
    let domains = |count: usize| if count == 1 { "1 domain".to_owned() } else { format!("{count} domains") };
    if overview.expired > 0 {
        warnings.push(format!("the certificates of {} have expired", domains(overview.expired)));
    }
    if overview.late > 0 {
        let count = domains(overview.late);
        warnings.push(format!("the certificates of {count} are late in their life and were not renewed"));
    }
    if overview.damaged > 0 {
        let count = domains(overview.damaged);
        warnings
            .push(format!("the certificates of {count} on the disk cannot be served; the log names them"));
    }
    if overview.queued > 0 {
        for budget in overview.budgets.iter().filter(|budget| budget.left == 0) {
            let of = budget.subject.as_ref().map(|subject| format!(" of {subject}")).unwrap_or_default();
            let until = budget.next_at.map(|at| format!(" until {}", at.to_rfc3339())).unwrap_or_default();
            let waiting = overview.queued;
            warnings.push(format!(
                "the CA's limit \"{}\"{of} is used up{until}, with {} waiting",
                budget.limit,
                domains(waiting)
            ));
        }
    }
    warnings
}

/// Why an instance is, or is about to be, out of rotation: missing heartbeats, then its checks.
fn health_reason(checked: Option<&CheckStatus>, lease: Option<Lease>, now: Now) -> Option<String> {
    let lapsed = lease.filter(Lease::is_lapsed).map(|lease| no_heartbeat(lease.silence(now.tick)));
    let reasons: Vec<String> = lapsed.into_iter().chain(checked.and_then(CheckStatus::reason)).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Facts that decide on the state of an instance.
struct StateFacts<'a> {
    draining_until: Option<Timestamp>,
    health: Health,
    /// Why the last check failed, or could not be made, or that heartbeats are missing.
    failure: Option<&'a str>,
    /// Checks in a row that failed; 0 for one that could not be made, and where heartbeats are missing.
    failures: u32,
    /// Whether any check has ended.
    is_checked: bool,
    /// The target's name, if that has no address.
    unresolved: Option<&'a Hostname>,
    breaker: BreakerView,
}

impl StateFacts<'_> {
    /// The state, and the reason where the word leaves a question.
    fn state(&self, now: Now) -> (InstanceState, Option<String>) {
        let failed = |failure: &str| match self.failures {
            0 => failure.to_owned(),
            1 => format!("the last probe failed: {failure}"),
            failures => format!("the last {failures} probes failed: {failure}"),
        };
        let failure = match self.unresolved {
            Some(name) => Some(format!("the name {name} has no address")),
            None => self.failure.map(failed),
        };
        if let Some(until) = self.draining_until {
            let until = until.to_rfc3339();
            return (
                InstanceState::Draining,
                Some(format!("removed with its last request, at {until} at the latest")),
            );
        }
        match (self.health, self.breaker) {
            (Health::Unhealthy, _) => (InstanceState::Unhealthy, failure),
            (Health::Joining, _) => {
                let waiting = || "waiting for the first successful probe".to_owned();
                (InstanceState::Joining, Some(failure.unwrap_or_else(waiting)))
            }
            (_, _) if self.unresolved.is_some() => (InstanceState::Unhealthy, failure),
            (_, BreakerView::Open { until }) => {
                let until = now.timestamp_of(until).to_rfc3339();
                (
                    InstanceState::Ejected,
                    Some(format!("requests failed; the circuit breaker is open until {until}")),
                )
            }
            (_, BreakerView::HalfOpen) => {
                (InstanceState::Ejected, Some("requests failed; the next one decides".to_owned()))
            }
            (Health::Unknown, BreakerView::Closed) if !self.is_checked => {
                (InstanceState::Serving, Some("not probed since the start".to_owned()))
            }
            (Health::Unknown | Health::Healthy, BreakerView::Closed) => (InstanceState::Serving, failure),
        }
    }
}

/// Whether two thirds of its time are over.
fn is_late(begin: Timestamp, end: Timestamp, now: Timestamp) -> bool {
    let lifetime = end.0.saturating_sub(begin.0);
    now.0.saturating_sub(begin.0) > lifetime / 3 * 2
}

/// 2025-01-01T00:00:00Z. Earlier than every build of this program: a machine that believes this has lost its clock.
const CLOCK_PLAUSIBLE: Timestamp = Timestamp(1_735_689_600_000);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_certs::{AuthorityState, BudgetState, DefaultState};
    use ringway_tls::{Facts as CertificateFacts, KeyKind};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const DAY: u64 = 86_400_000;

    fn default_ending(left_days: u64) -> DefaultState {
        let facts = CertificateFacts {
            names: vec!["*.example".to_owned()],
            not_before: Timestamp(NOW.0 + left_days * DAY - 90 * DAY),
            not_after: Timestamp(NOW.0 + left_days * DAY),
            serial: "01".to_owned(),
            issuer: "CN=A".to_owned(),
            fingerprint: "ab".to_owned(),
            key: KeyKind::Ecdsa,
            for_servers: true,
        };
        DefaultState { facts: Arc::new(facts), version: 1, problem: None }
    }

    const WELL: StateFacts<'static> = StateFacts {
        draining_until: None,
        health: Health::Healthy,
        failure: None,
        failures: 3,
        is_checked: true,
        unresolved: None,
        breaker: BreakerView::Closed,
    };

    /// The whole table: a drain before health, health before the breaker.
    #[test]
    fn the_state_of_an_instance_and_its_reason() {
        use InstanceState::{Draining, Ejected, Joining, Serving, Unhealthy};
        let now = Now { tick: ringway_model::Tick(0), at: NOW, ..Now::default() };
        let open = BreakerView::Open { until: ringway_model::Tick(30_000) };
        let name = Hostname::parse("app.internal").unwrap();
        for (facts, state, words) in [
            (StateFacts { ..WELL }, Serving, ""),
            (
                StateFacts { failure: Some("status 503"), failures: 1, ..WELL },
                Serving,
                "the last probe failed: status 503",
            ),
            (
                StateFacts { health: Health::Unknown, is_checked: false, ..WELL },
                Serving,
                "not probed since the start",
            ),
            (
                StateFacts { health: Health::Joining, ..WELL },
                Joining,
                "waiting for the first successful probe",
            ),
            (
                StateFacts { health: Health::Joining, failure: Some("connection refused"), ..WELL },
                Joining,
                "the last 3 probes failed: connection refused",
            ),
            (
                StateFacts { health: Health::Unhealthy, failure: Some("status 503"), breaker: open, ..WELL },
                Unhealthy,
                "the last 3 probes failed: status 503",
            ),
            (
                StateFacts { unresolved: Some(&name), ..WELL },
                Unhealthy,
                "the name app.internal has no address",
            ),
            (
                StateFacts { health: Health::Joining, unresolved: Some(&name), ..WELL },
                Joining,
                "the name app.internal has no address",
            ),
            (
                StateFacts { breaker: open, ..WELL },
                Ejected,
                "the circuit breaker is open until 2027-01-15T08:00:30Z",
            ),
            (StateFacts { breaker: BreakerView::HalfOpen, ..WELL }, Ejected, "the next one decides"),
            (
                StateFacts { draining_until: Some(NOW), health: Health::Unhealthy, breaker: open, ..WELL },
                Draining,
                "removed with its last request, at 2027-01-15T08:00:00Z at the latest",
            ),
        ] {
            let (found, reason) = facts.state(now);
            let reason = reason.unwrap_or_default();
            assert_eq!(found, state, "{words}: {reason}");
            assert!(reason.contains(words) && reason.is_empty() == words.is_empty(), "{reason}");
        }
        for state in InstanceState::ALL {
            assert_eq!(InstanceState::parse(state.as_str()), Some(state));
            assert_eq!(InstanceState::ALL[state as usize], state);
        }
    }

    #[test]
    fn nothing_is_said_where_all_is_well() {
        let overview = Overview { default: Some(default_ending(31)), ..Overview::default() };
        assert_eq!(certificate_warnings(&overview, NOW), [""; 0]);
        assert_eq!(domain_warnings(&overview), [""; 0]);
    }

    #[test]
    fn a_default_certificate_in_its_last_third_is_told() {
        let overview = Overview { default: Some(default_ending(29)), ..Overview::default() };
        assert!(certificate_warnings(&overview, NOW)[0].contains("was not replaced"));
        let later = Timestamp(NOW.0 + 30 * DAY);
        assert!(certificate_warnings(&overview, later)[0].contains("has expired"));
        let mut refused = default_ending(90);
        refused.problem = Some("the key does not match".to_owned());
        let overview = Overview { default: Some(refused), ..Overview::default() };
        assert!(
            certificate_warnings(&overview, NOW)[0].contains("the old one stays: the key does not match")
        );
    }

    #[test]
    fn what_stops_all_certificates_is_told() {
        let overview = Overview {
            directory_problem: Some("/var/lib/x cannot be written".to_owned()),
            authorities: vec![AuthorityState {
                url: "https://ca.example/dir".to_owned(),
                is_usable: false,
                problem: Some("it does not answer".to_owned()),
                paused_until: None,
                orders_in_flight: 0,
            }],
            ..Overview::default()
        };
        let told = certificate_warnings(&overview, Timestamp(0)).join("\n");
        for words in [
            "1970-01-01",
            "/var/lib/x cannot be written",
            "https://ca.example/dir is out of order: it does not answer",
        ] {
            assert!(told.contains(words), "{words} in {told}");
        }
    }

    #[test]
    fn an_empty_budget_is_told_when_somebody_waits_for_it() {
        let budget = BudgetState {
            limit: "new orders",
            authority: "https://ca.example/dir".to_owned(),
            subject: None,
            left: 0,
            capacity: 300,
            next_at: Some(NOW),
        };
        let mut overview = Overview { budgets: vec![budget], ..Overview::default() };
        assert_eq!(domain_warnings(&overview), [""; 0]);
        overview.queued = 2;
        overview.expired = 1;
        overview.late = 3;
        let told = domain_warnings(&overview);
        assert!(told[0].starts_with("the certificates of 1 domain have expired"), "{told:?}");
        assert!(told[1].contains("3 domains are late"), "{told:?}");
        assert!(
            told[2].contains("\"new orders\" is used up until 2027-") && told[2].contains("2 domains"),
            "{told:?}"
        );
    }
}
