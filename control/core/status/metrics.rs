//! Metrics of the process as Prometheus text.

use std::fmt::Write as _;

use ringway_auth::{FailureKind, SourceStatus};
use ringway_cache::{Evictions, PurgeKind};
use ringway_certs::Certificates;
use ringway_model::limits::METRIC_SLOTS_MAX;
use ringway_model::{CredentialSource, Health, Kind};
use ringway_telemetry::{ControlReading, PoolReading, ProcessReading};
use ringway_traffic::breaker::BreakerView;
use ringway_traffic::snapshot::Snapshot;

use super::status_report::instance_status;
use super::traffic_metrics;
use super::{CoreState, InstanceState};
use crate::canaries::CanaryStatus;
use crate::discovery::overlay::Overlay;
use crate::engine::Engine;
use crate::time::Now;

/// Appends all metrics.
pub(crate) fn render(engine: &Engine, now: Now, out: &mut String) {
    let desired = engine.desired();
    let pools: Vec<PoolReading<'_>> = engine
        .view(now)
        .snapshot
        .pools()
        .map(|pool| {
            let mut reading =
                PoolReading { pool: pool.app.as_str(), slot: pool.metric.0, ..PoolReading::default() };
            for endpoint in pool.all_endpoints() {
                reading.total += 1;
                let is_offered = pool.offers(endpoint);
                reading.healthy += u32::from(is_offered && endpoint.state.health() != Health::Unhealthy);
                match endpoint.state.breaker(now.tick) {
                    BreakerView::Closed => reading.closed += 1,
                    BreakerView::Open { .. } => reading.open += 1,
                    BreakerView::HalfOpen => reading.half_open += 1,
                }
            }
            reading
        })
        .collect();
    let log = engine.log_reading();
    let rate_limits = rate_limits(engine.view(now).snapshot);
    let reading = ControlReading {
        version: engine.settings().version,
        commit: engine.settings().commit,
        uptime: engine.uptime(now),
        revision: desired.revision(),
        apps: desired.count(Kind::App),
        instances: desired.count(Kind::Instance),
        domains: desired.count(Kind::Domain),
        pools: &pools,
        rate_limits: &rate_limits,
        log: log.as_ref(),
        process: ProcessReading::read(),
    };
    engine.publisher().registry().render(&reading, out);
    traffic_metrics::render(engine, now, out);
    render_scalars(engine, now, out);
    render_configuration(engine, out);
    render_credentials(engine, now, out);
    render_cores(engine, out);
    render_canaries(engine, now, out);
    render_cache(engine, out);
    render_instances(engine, now, out);
    if let Some(certificates) = engine.certificates() {
        certificates.render_metrics(out);
        render_expiries(engine, certificates, now, out);
    }
}

/// The store of responses: zeros without one.
fn render_cache(engine: &Engine, out: &mut String) {
    let stats = engine.cache().map(|cache| cache.store().stats()).unwrap_or_default();
    for (name, kind, help, value) in [
        ("proxy_cache_bytes", "gauge", "Memory of stored responses, in bytes.", stats.used.bytes),
        ("proxy_cache_bytes_max", "gauge", "Maximum of that memory.", stats.max.bytes),
        ("proxy_cache_entries", "gauge", "Stored responses.", stats.used.entries),
        (
            "proxy_cache_expired_total",
            "counter",
            "Stored responses that were removed because they were past all use.",
            stats.expired,
        ),
    ] {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    out.push_str(
        "# HELP proxy_cache_evictions_total Stored responses that were removed for others, by the limit that had no room.\n\
         # TYPE proxy_cache_evictions_total counter\n",
    );
    let Evictions { store, tenant, scope } = stats.evictions;
    for (why, count) in [("store", store), ("tenant", tenant), ("route", scope)] {
        let _ = writeln!(out, "proxy_cache_evictions_total{{why=\"{why}\"}} {count}");
    }
    out.push_str(
        "# HELP proxy_cache_purged_total Stored responses that were removed or made stale by purges, by their kind; method: \
         after a request with an unsafe one.\n# TYPE proxy_cache_purged_total counter\n",
    );
    for (kind, count) in PurgeKind::ALL.into_iter().zip(stats.purged) {
        let _ = writeln!(out, "proxy_cache_purged_total{{by=\"{}\"}} {count}", kind.as_str());
    }
}

/// Canaries: weights, brakes, and requests without an endpoint, of the first routes.
fn render_canaries(engine: &Engine, now: Now, out: &mut String) {
    let mut statuses = engine.canaries().statuses(now.at);
    statuses.truncate(METRIC_SLOTS_MAX);
    type Value = fn(&CanaryStatus) -> f64;
    let gauges: [(&str, &str, &str, Value); 3] = [
        ("proxy_canary_weight", "gauge", "Share of the requests of the canary, in percent.", |status| {
            f64::from(status.weight.hundredths()) / 100.0
        }),
        ("proxy_canary_braked", "gauge", "Whether the canary is braked.", |status| {
            f64::from(u8::from(status.braked.is_some()))
        }),
        (
            "proxy_canary_fallbacks_total",
            "counter",
            "Requests that the stable pool took because the canary had no available endpoint.",
            |status| status.fallbacks as f64,
        ),
    ];
    for (name, kind, help, value) in gauges {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for status in &statuses {
            let _ = writeln!(out, "{name}{{route=\"{}\"}} {}", status.route, value(status));
        }
    }
    let counters = engine.canaries().counters();
    out.push_str("# HELP proxy_canary_brakes_total Canaries that were, or would have been, braked.\n");
    out.push_str("# TYPE proxy_canary_brakes_total counter\n");
    for (mode, count) in [("on", counters.braked), ("dry_run", counters.would_brake)] {
        let _ = writeln!(out, "proxy_canary_brakes_total{{mode=\"{mode}\"}} {count}");
    }
    let _ = writeln!(
        out,
        "# HELP proxy_canary_steps_total Steps that canaries have taken.\n\
         # TYPE proxy_canary_steps_total counter\nproxy_canary_steps_total {}",
        counters.steps
    );
}

/// Sources of credentials: loads, failures, content; those of the first in order.
fn render_credentials(engine: &Engine, now: Now, out: &mut String) {
    let sources: Vec<_> = engine.credentials().statuses().take(CREDENTIAL_SOURCES_MAX).collect();
    if sources.is_empty() {
        return;
    }
    type Value = fn(&SourceStatus, Now) -> Option<u64>;
    let gauges: [(&str, &str, Value); 3] = [
        (
            "proxy_credentials_last_success_timestamp_seconds",
            "Time of the last good load of a source of keys or users, in seconds since 1970; none before the first.",
            |status, _| status.loaded_at.map(|at| at.0 / 1000),
        ),
        (
            "proxy_credentials_age_seconds",
            "Time since the last good load of a source of keys or users.",
            |status, now| status.loaded_at.map(|at| now.at.0.saturating_sub(at.0) / 1000),
        ),
        ("proxy_credentials_entries", "Keys or users in use of a source.", |status, _| {
            Some(status.entries as u64)
        }),
    ];
    for (name, help, value) in gauges {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (source, status) in &sources {
            if let Some(value) = value(status, now) {
                let _ = writeln!(out, "{name}{{source=\"{}\"}} {value}", label(source));
            }
        }
    }
    out.push_str(
        "# HELP proxy_credentials_failures_total Failed loads of a source of keys or users, by reason.\n\
         # TYPE proxy_credentials_failures_total counter\n",
    );
    for (source, status) in &sources {
        for kind in FailureKind::ALL {
            let (source, reason, count) = (label(source), kind.as_str(), status.failed.of(kind));
            let _ = writeln!(
                out,
                "proxy_credentials_failures_total{{source=\"{source}\",reason=\"{reason}\"}} {count}"
            );
        }
    }
}

/// 100: sources of credentials with metrics of their own; operators have one to ten.
const CREDENTIAL_SOURCES_MAX: usize = 100;

/// A source as the value of a label.
fn label(source: &CredentialSource) -> String {
    let mut text = String::new();
    for c in source.to_string().chars() {
        match c {
            '\\' | '"' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
    text
}

/// Policy of the rate limit of each route with a metric slot, which are bounded.
fn rate_limits(snapshot: &Snapshot) -> Vec<(&str, &str)> {
    let rules = snapshot.virtual_hosts().flat_map(|host| host.rules.iter());
    let limited = rules.filter(|rule| rule.metric.0 != 0).filter_map(|rule| {
        let limiter = rule.traffic.as_deref()?.rate_limit.as_deref()?;
        Some((&*rule.name, limiter.policy()))
    });
    limited.collect()
}

/// Expiry of the certificate of each domain with a metric slot, which are bounded.
fn render_expiries(engine: &Engine, certificates: &Certificates, now: Now, out: &mut String) {
    out.push_str(
        "# HELP ringway_certificate_expiry_timestamp_seconds Expiry of the certificate that a domain is served with.\n",
    );
    out.push_str("# TYPE ringway_certificate_expiry_timestamp_seconds gauge\n");
    let hosts = engine.view(now).snapshot.virtual_hosts();
    for host in hosts.filter(|host| host.rules.iter().any(|rule| rule.metric.0 != 0)) {
        let Some(name) = host.host.exact() else { continue };
        let certificate = certificates.state(name).and_then(|state| state.certificate);
        if let Some(certificate) = certificate {
            let (host, end) = (name, certificate.not_after.0 / 1000);
            let _ = writeln!(out, "ringway_certificate_expiry_timestamp_seconds{{domain=\"{host}\"}} {end}");
        }
    }
}

/// States of instances, and requests in flight of the endpoints with a metric slot, which are bounded.
fn render_instances(engine: &Engine, now: Now, out: &mut String) {
    let mut states = [0_u64; InstanceState::ALL.len()];
    for instance in engine.desired().instances() {
        if let Some(status) = instance_status(engine, &instance.id, now) {
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
        "# HELP proxy_endpoint_requests_in_flight Requests in flight, tunnels included.\n\
         # TYPE proxy_endpoint_requests_in_flight gauge\n",
    );
    for pool in engine.view(now).snapshot.pools() {
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

/// Gauges and counters of the control plane without labels.
fn render_scalars(engine: &Engine, now: Now, out: &mut String) {
    let commits = engine.commits().counters();
    let webhooks = engine.notifications().counters();
    let resolver = engine.overlay().map(Overlay::counters).unwrap_or_default();
    let trials = engine.trial_counters();
    let is_on_trial = u64::from(engine.plane().on_trial().is_some());
    let is_degraded = u64::from(!engine.commits().warnings(now.micros).is_empty());
    for (name, kind, help, value) in [
        ("ringway_ready", "gauge", "Whether the process takes traffic.", u64::from(engine.is_ready())),
        ("ringway_changes_stored_total", "counter", "Changes stored.", commits.changes_stored),
        (
            "ringway_named_files_unusable",
            "gauge",
            "Files of apps and domains that cannot be read or parsed.",
            engine.files().len() as u64,
        ),
        ("ringway_changes_waiting", "gauge", "Changes without a reply.", engine.plane().pending() as u64),
        ("ringway_store_batches_total", "counter", "Batches stored.", commits.batches_stored),
        (
            "ringway_store_failures_total",
            "counter",
            "Batches that could not be stored.",
            commits.batches_failed,
        ),
        ("ringway_store_microseconds_total", "counter", "Time spent storing batches.", commits.store_micros),
        ("ringway_store_degraded", "gauge", "Whether the store has a problem.", is_degraded),
        ("ringway_trial_running", "gauge", "Whether a configuration is on trial on one core.", is_on_trial),
        (
            "ringway_trials_promoted_total",
            "counter",
            "Configurations promoted after a trial.",
            trials.promoted,
        ),
        ("ringway_trials_reverted_total", "counter", "Configurations reverted on trial.", trials.reverted),
        (
            "ringway_leases_expired_total",
            "counter",
            "Instances deregistered for lack of heartbeats.",
            engine.instances().leases_expired(),
        ),
        (
            "ringway_names_changed_total",
            "counter",
            "Lookups of names with other addresses than before.",
            engine.dns_counters().changed,
        ),
        (
            "ringway_names_failed_total",
            "counter",
            "Lookups of names that failed.",
            engine.dns_counters().failed,
        ),
        (
            "ringway_resolver_hosts",
            "gauge",
            "Hosts routed by the resolver.",
            engine.overlay().map_or(0, Overlay::hosts_routed) as u64,
        ),
        ("ringway_resolver_known_total", "counter", "Resolver lookups with targets.", resolver.found),
        ("ringway_resolver_unknown_total", "counter", "Resolver lookups without an app.", resolver.unknown),
        ("ringway_resolver_failures_total", "counter", "Resolver lookups that failed.", resolver.failed),
        ("ringway_webhooks_pending", "gauge", "Webhook deliveries waiting.", webhooks.pending),
        ("ringway_webhooks_delivered_total", "counter", "Webhooks delivered.", webhooks.delivered),
        (
            "ringway_webhooks_retried_total",
            "counter",
            "Webhook attempts followed by a retry.",
            webhooks.retried,
        ),
        (
            "ringway_webhooks_failed_total",
            "counter",
            "Webhooks not delivered after all attempts.",
            webhooks.failed,
        ),
        (
            "ringway_webhooks_dropped_total",
            "counter",
            "Webhooks dropped from a full queue.",
            webhooks.dropped,
        ),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
}

/// State of the operator's configuration.
fn render_configuration(engine: &Engine, out: &mut String) {
    let configuration = engine.configuration();
    let seconds = configuration.last_success.map_or(0, |at| at.0 / 1000);
    for (name, kind, help, value) in [
        (
            "ringway_config_last_success",
            "gauge",
            "Time at which a configuration of the operator was last put into force, in seconds since 1970; 0 for never.",
            seconds,
        ),
        (
            "ringway_config_refused_total",
            "counter",
            "Configurations of the operator that were refused.",
            configuration.refused,
        ),
        (
            "ringway_config_drift",
            "gauge",
            "Whether the content of the configuration files is not the one in force.",
            u64::from(configuration.has_drifted),
        ),
        (
            "ringway_config_quarantined",
            "gauge",
            "Parts of the configuration files that were left out at the start.",
            configuration.quarantined.len() as u64,
        ),
        (
            "ringway_config_restart_needed",
            "gauge",
            "Static settings in the configuration files that need a restart.",
            configuration.restart_needed.len() as u64,
        ),
    ] {
        // Writing to a string cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    out.push_str("# HELP ringway_config_version_info Version in force of each owner's set.\n");
    out.push_str("# TYPE ringway_config_version_info gauge\n");
    for (owner, version) in &configuration.versions {
        let _ = writeln!(out, "ringway_config_version_info{{owner=\"{owner}\",version=\"{version}\"}} 1");
    }
}

/// Acknowledgements by core.
fn render_cores(engine: &Engine, out: &mut String) {
    out.push_str(
        "# HELP ringway_core_ack_microseconds Time from publication to acknowledgement of the last snapshot.\n",
    );
    out.push_str("# TYPE ringway_core_ack_microseconds gauge\n");
    for core in engine.plane().cores() {
        if let Some(micros) = core.last_ack_micros {
            let _ = writeln!(out, "ringway_core_ack_microseconds{{core=\"{}\"}} {micros}", core.id);
        }
    }
    // The snapshot decides about certificates as well: a core is behind in both or in neither.
    out.push_str("# HELP ringway_published_serial Newest snapshot of configuration and certificates.\n");
    let serial = engine.plane().published();
    let _ = writeln!(out, "# TYPE ringway_published_serial gauge\nringway_published_serial {}", serial.0);
    out.push_str("# HELP ringway_core_serial Snapshot that the core serves, certificates included.\n");
    out.push_str("# TYPE ringway_core_serial gauge\n");
    for core in engine.plane().cores() {
        if let Some(serial) = core.acknowledged {
            let _ = writeln!(out, "ringway_core_serial{{core=\"{}\"}} {}", core.id, serial.0);
        }
    }
    out.push_str("# HELP ringway_core_lagging Whether the core is behind the configuration.\n");
    out.push_str("# TYPE ringway_core_lagging gauge\n");
    for core in engine.plane().cores() {
        let lags = u64::from(matches!(core.state, CoreState::Lagging | CoreState::Dead));
        let _ = writeln!(out, "ringway_core_lagging{{core=\"{}\"}} {lags}", core.id);
    }
}
