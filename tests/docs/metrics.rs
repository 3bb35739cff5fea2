//! `docs/metrics.md`, from the metrics of a running process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::page;
use crate::process::Process;

#[test]
fn the_page_of_metrics_matches_a_scrape() {
    let process = Process::start();
    process.public("/");
    let scraped = process.api("/metrics");
    let mut families: Vec<(String, String, String)> = Vec::new();
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in scraped.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            families.push((name.to_owned(), String::new(), help.to_owned()));
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let family = families.iter_mut().find(|(known, _, _)| known == name).unwrap();
            kind.clone_into(&mut family.1);
        } else if let Some((name, rest)) = line.split_once('{') {
            let labels = rest.rsplit_once('}').unwrap().0;
            let names = labels.split("\",").map(|pair| pair.split('=').next().unwrap());
            shown.entry(name).or_default().extend(names);
        }
    }
    assert!(families.len() > 40, "only {} families", families.len());

    // Labels are known from series only, and most series appear with traffic: those are listed here.
    let listed: BTreeMap<&str, &str> = LABELS.iter().copied().collect();
    let mut text = String::new();
    for (title, prefixes) in SECTIONS {
        let _ = writeln!(text, "### {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|");
        for (name, kind, help) in &families {
            let section =
                SECTIONS.iter().position(|(_, prefixes)| prefixes.iter().any(|one| name.starts_with(one)));
            let section = section.unwrap_or_else(|| panic!("{name} belongs to no section"));
            if SECTIONS[section].1 != *prefixes {
                continue;
            }
            let labels = listed.get(name.as_str()).copied().unwrap_or("");
            for label in shown.get(name.as_str()).into_iter().flatten() {
                assert!(
                    labels.split(", ").any(|known| known == *label),
                    "{name}: label {label} is not listed"
                );
            }
            let labels: Vec<String> = labels
                .split(", ")
                .filter(|label| !label.is_empty())
                .map(|label| format!("`{label}`"))
                .collect();
            let _ = writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(", "), page::cell(help));
        }
        text.push('\n');
    }
    for (name, _) in LABELS {
        assert!(
            families.iter().any(|(known, _, _)| known == name),
            "{name} is listed with labels and not exported"
        );
    }
    page::check("metrics.md", &[("metrics", text)]);
}

/// Sections of the page, by the beginning of names; the first that matches has the metric.
const SECTIONS: &[(&str, &[&str])] = &[
    ("TLS handshakes", &["ringway_tls_"]),
    ("Certificates", &["ringway_certificate", "ringway_acme_", "ringway_challenge"]),
    (
        "Requests",
        &[
            "proxy_requests",
            "proxy_request_",
            "proxy_response_",
            "proxy_retries",
            "ringway_exchanges",
            "ringway_failures",
            "ringway_bad_requests",
        ],
    ),
    (
        "Upstreams: pools, instances, circuit breakers",
        &[
            "proxy_upstream",
            "ringway_upstream",
            "proxy_pool",
            "proxy_breaker",
            "proxy_endpoint",
            "ringway_instance_states",
        ],
    ),
    (
        "Traffic policies",
        &[
            "proxy_ratelimited",
            "proxy_refused",
            "proxy_retry_budget",
            "proxy_trickle",
            "proxy_circuit",
            "proxy_ejections",
            "proxy_overload",
            "proxy_queue",
            "proxy_hedged",
            "proxy_mirrored",
            "proxy_canary",
            "ringway_rate_limit",
        ],
    ),
    (
        "Middleware",
        &["proxy_stage_calls", "proxy_filter", "proxy_auth", "proxy_middleware", "proxy_compress"],
    ),
    ("Cache", &["proxy_cache"]),
    ("Client connections", &["ringway_connections", "ringway_upgrades"]),
    ("Access log", &["ringway_access_log"]),
    ("Webhooks", &["ringway_webhooks"]),
    ("Target resolver and DNS", &["ringway_resolver", "ringway_names"]),
    (
        "Configuration, store and cores",
        &[
            "ringway_config",
            "ringway_changes",
            "ringway_store",
            "ringway_core",
            "ringway_published",
            "ringway_snapshot",
            "ringway_apps",
            "ringway_instances",
            "ringway_domains",
            "ringway_leases",
            "ringway_named_files",
        ],
    ),
    ("Process", &["process_", "ringway_"]),
];

/// Labels of each metric that has some.
const LABELS: &[(&str, &str)] = &[
    ("proxy_compress_bytes_total", "coding, direction"),
    ("proxy_compress_skipped_total", "why"),
    ("proxy_cache_requests_total", "route, result"),
    ("proxy_cache_coalesced_total", "route"),
    ("proxy_cache_coalesce_waiters", "route"),
    ("proxy_cache_evictions_total", "why"),
    ("proxy_cache_purged_total", "by"),
    ("proxy_cache_fills_total", "outcome"),
    ("proxy_cache_stale_total", "why"),
    ("proxy_cache_not_stored_total", "why"),
    ("proxy_requests_total", "route, pool, status"),
    ("proxy_request_duration_seconds", "route, pool, le"),
    ("proxy_request_size_bytes", "route"),
    ("proxy_response_size_bytes", "route"),
    ("proxy_retries_total", "route, outcome"),
    ("proxy_retry_budget_tokens", "route"),
    ("proxy_hedged_total", "route, outcome"),
    ("proxy_mirrored_total", "route, outcome"),
    ("proxy_canary_weight", "route"),
    ("proxy_canary_braked", "route"),
    ("proxy_canary_fallbacks_total", "route"),
    ("proxy_canary_brakes_total", "mode"),
    ("proxy_ratelimited_total", "route, policy, reason, mode"),
    ("proxy_refused_total", "route, code"),
    ("proxy_circuit_breaker_state", "scope, name, state"),
    ("proxy_circuit_breaker_trips_total", "scope, name, mode"),
    ("proxy_ejections_total", "pool, reason, mode"),
    ("proxy_trickle_requests_total", ""),
    ("proxy_overload_limit", "route"),
    ("proxy_overload_in_flight", "route"),
    ("proxy_overload_queued", "route"),
    ("proxy_overload_would_queue_total", "route"),
    ("proxy_overload_would_refuse_total", "route"),
    ("proxy_queue_seconds", "route"),
    ("proxy_stage_calls_total", "pool, result"),
    ("proxy_compress_bytes_total", "coding, direction"),
    ("proxy_compress_skipped_total", "why"),
    ("proxy_filter_decisions_total", "pool, decision"),
    ("proxy_filter_failures_total", "pool, reason"),
    ("proxy_auth_refusals_total", "reason"),
    ("proxy_filter_duration_seconds", "pool, le"),
    ("proxy_middleware_total", "stage, result"),
    ("proxy_canary_requests_total", "route, variant"),
    ("proxy_canary_errors_total", "route, variant"),
    ("proxy_breaker_trips_total", "pool"),
    ("proxy_upstream_errors_total", "pool, reason"),
    ("proxy_upstream_requests_total", "pool, endpoint"),
    ("ringway_upstream_failures_total", "pool, endpoint"),
    ("proxy_upstream_duration_seconds", "pool, endpoint"),
    ("proxy_pool_healthy_endpoints", "pool"),
    ("proxy_pool_total_endpoints", "pool"),
    ("proxy_breaker_state", "pool, state"),
    ("proxy_endpoint_requests_in_flight", "pool, endpoint"),
    ("ringway_instance_states", "pool, state"),
    ("ringway_connections_open", "core"),
    ("ringway_connections_accepted_total", "core"),
    ("ringway_connections_handed_over_total", "core"),
    ("ringway_connections_refused_total", "core, reason"),
    ("ringway_connections_abused_total", "reason"),
    ("ringway_upgrades_active", "core, kind"),
    ("ringway_upgrades_total", "core, kind"),
    ("ringway_exchanges_total", "core"),
    ("ringway_panics_total", "core"),
    ("ringway_snapshot_serial", "core"),
    ("ringway_snapshot_revision", "core"),
    ("ringway_driver_info", "core, driver"),
    ("ringway_bad_requests_total", "code"),
    ("ringway_failures_total", "failure"),
    ("ringway_tls_handshakes_total", "protocol, resumed"),
    ("ringway_tls_handshakes_refused_total", "reason"),
    ("ringway_tls_loads_total", "kind, outcome"),
    ("ringway_build_info", "version, commit"),
    ("ringway_access_log_lines_dropped_total", "core"),
    ("ringway_core_ack_microseconds", "core"),
    ("ringway_core_serial", "core"),
    ("ringway_core_lagging", "core"),
    ("ringway_certificate_domains", "state"),
    ("ringway_certificate_orders_total", "outcome"),
    ("ringway_acme_usable", "directory"),
    ("ringway_acme_budget_left", "directory, limit"),
];
