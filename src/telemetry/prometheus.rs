//! Metrics in the Prometheus text exposition format 0.0.4.
//!
//! `proxy_*` are common metrics of a reverse proxy, `ringway_*` are specific, `process_*` are those of every
//! exporter. Series are bounded: at most [`METRIC_SLOTS_MAX`](ringway_model::limits::METRIC_SLOTS_MAX)
//! routes, pools and endpoints have labels of their own, statuses are three digits, and all other label
//! values come from fixed vocabularies.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::time::Duration;

use ringway_model::{Revision, Variant};

use crate::cache::CacheCounts;
use crate::event::{CacheResult, HedgeOutcome, MirrorOutcome, PolicyDecision, RetryOutcome};
use crate::log::LogReading;
use crate::process::ProcessReading;
use crate::registry::{
    Calls, CoreReading, Names, OTHER, Policies, Registry, Totals, Traffic, Upstream, escape_label,
};
use crate::shard::{
    BREAKER_TRIPS, BUCKETS_AT, BUCKETS_US, BYTES_IN, BYTES_OUT, COMMON_STATUSES, DURATION_US, STATUS_NONE,
    UPSTREAM_FAILURES, UPSTREAM_REQUESTS, UPSTREAM_US,
};

/// Values of the control plane for a scrape, counted by no core.
#[derive(Debug)]
pub struct ControlReading<'a> {
    /// Version of ringway.
    pub version: &'a str,
    /// Source revision of the build, or `unknown`.
    pub commit: &'a str,
    /// Time since the start of the process.
    pub uptime: Duration,
    /// Revision of the configuration in force.
    pub revision: Revision,
    /// Registered apps.
    pub apps: usize,
    /// Registered instances.
    pub instances: usize,
    /// Registered domains.
    pub domains: usize,
    /// Endpoint states of each pool. Pools without a slot are added up.
    pub pools: &'a [PoolReading<'a>],
    /// Routes with a rate limit, each with the policy that has it.
    pub rate_limits: &'a [(&'a str, &'a str)],
    /// Line counts of the access log, if enabled.
    pub log: Option<&'a LogReading>,
    /// Memory, descriptors and threads of the process.
    pub process: ProcessReading,
}

/// States of a pool's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolReading<'a> {
    /// Name of the pool.
    pub pool: &'a str,
    /// Metric slot of the pool, 0 for none.
    pub slot: u16,
    /// All endpoints.
    pub total: u32,
    /// Endpoints that health checks keep in rotation.
    pub healthy: u32,
    /// Endpoints with a closed circuit breaker.
    pub closed: u32,
    /// Endpoints with an open circuit breaker.
    pub open: u32,
    /// Endpoints with a half-open circuit breaker.
    pub half_open: u32,
}

impl Registry {
    /// Appends all metrics as text. Reads the shards without blocking the cores; about 0.1 µs per series.
    pub fn render(&self, reading: &ControlReading<'_>, out: &mut String) {
        let mut text = Text { out };
        self.render_traffic(reading, &mut text);
        render_pools(reading.pools, &mut text);
        self.render_cores(&mut text);
        self.render_words(&mut text);
        self.render_stages(&mut text);
        self.render_auth_refusals(&mut text);
        self.render_compression(&mut text);
        self.render_cache(&mut text);
        self.render_handshakes(&mut text);
        render_control(reading, &mut text);
    }

    fn render_traffic(&self, reading: &ControlReading<'_>, text: &mut Text<'_>) {
        let (routes, routes_other) = self.routes.read(self.shards.iter().map(|shard| &shard.routes));
        let (pools, mut other) = self.pools.read(self.shards.iter().map(|shard| &shard.pools));
        let (endpoints, endpoints_other) =
            self.endpoints.read(self.shards.iter().map(|shard| &shard.endpoints));
        other.add(&routes_other);
        other.upstream.add(&endpoints_other);

        // Labelled by route and pool: each route with a slot, and for each pool the sum of its routes without
        // one.
        let mut by_route_and_pool: Vec<(String, &Traffic)> =
            Vec::with_capacity(routes.len() + pools.len() + 1);
        // Labelled by route only: all routes without a slot are one series.
        let mut by_route: BTreeMap<&str, RouteSums> = BTreeMap::new();
        for (Names { name, pool }, traffic) in &routes {
            by_route_and_pool.push((format!("route=\"{name}\",pool=\"{pool}\""), traffic));
            by_route.entry(name).or_default().add(traffic);
        }
        for (Names { name, .. }, traffic) in &pools {
            by_route_and_pool.push((format!("route=\"{OTHER}\",pool=\"{name}\""), traffic));
            by_route.entry(OTHER).or_default().add(traffic);
        }
        by_route_and_pool.push((format!("route=\"{OTHER}\",pool=\"{OTHER}\""), &other));
        by_route.entry(OTHER).or_default().add(&other);
        by_route_and_pool.retain(|(_, traffic)| requests(traffic) > 0);
        by_route
            .retain(|_, sums| sums.requests > 0 || sums.policies.has_early_counts() || sums.cache.is_used());

        text.family("proxy_requests_total", "counter", "Requests by route, pool and status.");
        for (labels, traffic) in &by_route_and_pool {
            for (status, count) in statuses(traffic) {
                text.sample("proxy_requests_total", format_args!("{labels},status=\"{status}\""), count);
            }
        }
        text.family(
            "proxy_request_duration_seconds",
            "histogram",
            "Time from the first byte of a request to the last byte of its response.",
        );
        let limits: Vec<String> =
            BUCKETS_US.iter().map(|us| Seconds(*us).to_string()).chain(["+Inf".to_owned()]).collect();
        for (labels, traffic) in &by_route_and_pool {
            let sum = traffic.words[DURATION_US];
            text.histogram("proxy_request_duration_seconds", labels, &limits, buckets(traffic), sum);
        }
        text.family("proxy_request_size_bytes", "summary", "Bytes of request bodies.");
        for (route, sums) in &by_route {
            text.summary(
                "proxy_request_size_bytes",
                format_args!("route=\"{route}\""),
                sums.bytes_in,
                sums.requests,
            );
        }
        text.family("proxy_response_size_bytes", "summary", "Bytes of response bodies.");
        for (route, sums) in &by_route {
            text.summary(
                "proxy_response_size_bytes",
                format_args!("route=\"{route}\""),
                sums.bytes_out,
                sums.requests,
            );
        }
        render_policies(&by_route, reading, text);
        render_route_caches(&by_route, text);
        text.family("proxy_breaker_trips_total", "counter", "Openings of the pool's circuit breakers.");
        let named = pools.iter().map(|(names, traffic)| (&*names.name, traffic));
        for (pool, traffic) in named.chain([(OTHER, &other)]) {
            if let trips @ 1.. = traffic.words[BREAKER_TRIPS] {
                text.sample("proxy_breaker_trips_total", format_args!("pool=\"{pool}\""), trips);
            }
        }

        text.family(
            "proxy_upstream_errors_total",
            "counter",
            "Failed attempts at instances of the pool, by reason.",
        );
        let named = pools.iter().map(|(names, traffic)| (&*names.name, traffic));
        for (pool, traffic) in named.chain([(OTHER, &other)]) {
            for (reason, count) in traffic.errors.iter().filter(|(_, count)| **count > 0) {
                let labels = format_args!("pool=\"{pool}\",reason=\"{}\"", escape_label(reason));
                text.sample("proxy_upstream_errors_total", labels, *count);
            }
        }
        let named = pools.iter().map(|(names, traffic)| (&*names.name, &traffic.calls));
        render_calls(&named.chain([(OTHER, &other.calls)]).collect::<Vec<_>>(), &limits, text);

        let mut upstream: Vec<(String, Upstream)> = Vec::with_capacity(endpoints.len() + pools.len() + 1);
        for (Names { name, pool }, totals) in endpoints {
            upstream.push((format!("pool=\"{pool}\",endpoint=\"{name}\""), totals));
        }
        for (Names { name, .. }, traffic) in &pools {
            upstream.push((format!("pool=\"{name}\",endpoint=\"{OTHER}\""), traffic.upstream.clone()));
        }
        upstream.push((format!("pool=\"{OTHER}\",endpoint=\"{OTHER}\""), other.upstream.clone()));
        upstream.retain(|(_, totals)| totals.words[UPSTREAM_REQUESTS] > 0);
        render_upstream(&upstream, text);
    }

    fn render_cores(&self, text: &mut Text<'_>) {
        let cores: Vec<CoreReading> = self.cores().collect();
        type Value = fn(&CoreReading) -> u64;
        let families: [(&str, &str, &str, Value); 7] = [
            ("ringway_connections_open", "gauge", "Open client connections.", |core| core.connections_open),
            ("ringway_connections_accepted_total", "counter", "Client connections accepted.", |core| {
                core.connections_accepted
            }),
            (
                "ringway_connections_handed_over_total",
                "counter",
                "Client connections accepted and migrated to another core.",
                |core| core.connections_handed_over,
            ),
            (
                "ringway_exchanges_total",
                "counter",
                "Completed exchanges (a request with its response).",
                |core| core.exchanges,
            ),
            ("ringway_panics_total", "counter", "Tasks that panicked.", |core| core.panics),
            ("ringway_snapshot_serial", "gauge", "Serial of the snapshot in use.", |core| core.serial),
            ("ringway_snapshot_revision", "gauge", "Revision of the snapshot in use.", |core| core.revision),
        ];
        for (name, kind, help, value) in families {
            text.family(name, kind, help);
            for core in &cores {
                text.sample(name, format_args!("core=\"{}\"", core.core), value(core));
            }
        }
        text.family(
            "ringway_connections_refused_total",
            "counter",
            "Client connections closed without being served, by reason.",
        );
        for core in &cores {
            for (reason, count) in [
                ("full", core.refused_full),
                ("draining", core.refused_draining),
                ("proxy_header", core.refused_proxy_header),
                ("client", core.refused_client),
            ] {
                let labels = format_args!("core=\"{}\",reason=\"{reason}\"", core.core);
                text.sample("ringway_connections_refused_total", labels, count);
            }
        }
        text.family("ringway_upgrades_active", "gauge", "Open tunnels of upgraded connections.");
        for core in &cores {
            let labels = format_args!("core=\"{}\",kind=\"websocket\"", core.core);
            text.sample("ringway_upgrades_active", labels, core.upgrades_active);
            let labels = format_args!("core=\"{}\",kind=\"connect\"", core.core);
            text.sample("ringway_upgrades_active", labels, core.tunnels_active);
        }
        text.family("ringway_upgrades_total", "counter", "Tunnels opened.");
        for core in &cores {
            let labels = format_args!("core=\"{}\",kind=\"websocket\"", core.core);
            text.sample("ringway_upgrades_total", labels, core.upgrades);
            let labels = format_args!("core=\"{}\",kind=\"connect\"", core.core);
            text.sample("ringway_upgrades_total", labels, core.tunnels);
        }
        text.family("ringway_driver_info", "gauge", "I/O driver of the core.");
        for core in &cores {
            if let Some(driver) = core.driver {
                let labels = format_args!("core=\"{}\",driver=\"{driver}\"", core.core);
                text.sample("ringway_driver_info", labels, 1);
            }
        }
    }

    fn render_stages(&self, text: &mut Text<'_>) {
        let mut replies: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for shard in &self.shards {
            for (words, count) in shard.stages.read() {
                *replies.entry(words.unwrap_or((OTHER, OTHER))).or_default() += count;
            }
        }
        text.family(
            "proxy_middleware_total",
            "counter",
            "Replies of middleware stages in place of an instance, by stage and error code; reply without one.",
        );
        for ((stage, result), count) in replies {
            let labels =
                format_args!("stage=\"{}\",result=\"{}\"", escape_label(stage), escape_label(result));
            text.sample("proxy_middleware_total", labels, count);
        }
    }

    fn render_auth_refusals(&self, text: &mut Text<'_>) {
        let mut refusals: BTreeMap<_, u64> = BTreeMap::new();
        for shard in &self.shards {
            for (reason, count) in shard.auth_refusals.read() {
                *refusals.entry(reason.unwrap_or(OTHER)).or_default() += count;
            }
        }
        text.family(
            "proxy_auth_refusals_total",
            "counter",
            "Requests, and connections without their client certificate, that authentication refused, by reason.",
        );
        for (reason, count) in refusals {
            let labels = format_args!("reason=\"{}\"", escape_label(reason));
            text.sample("proxy_auth_refusals_total", labels, count);
        }
    }

    fn render_compression(&self, text: &mut Text<'_>) {
        let (mut bytes, mut skipped): (BTreeMap<_, u64>, BTreeMap<_, u64>) = Default::default();
        for shard in &self.shards {
            for (words, count) in shard.compressed.read() {
                *bytes.entry(words.unwrap_or((OTHER, OTHER))).or_default() += count;
            }
            for (reason, count) in shard.not_compressed.read() {
                *skipped.entry(reason.unwrap_or(OTHER)).or_default() += count;
            }
        }
        text.family(
            "proxy_compress_bytes_total",
            "counter",
            "Bytes of compressed responses before (in) and behind (out) their coding.",
        );
        for ((coding, direction), count) in bytes {
            let labels = format_args!("coding=\"{coding}\",direction=\"{direction}\"");
            text.sample("proxy_compress_bytes_total", labels, count);
        }
        text.family(
            "proxy_compress_skipped_total",
            "counter",
            "Responses that the stage compress forwarded as they came, by reason.",
        );
        for (why, count) in skipped {
            text.sample("proxy_compress_skipped_total", format_args!("why=\"{why}\""), count);
        }
    }

    fn render_cache(&self, text: &mut Text<'_>) {
        text.family(
            "proxy_cache_hit_ratio",
            "gauge",
            "Share of the hits in the hits and misses of all caches since the start, from 0 to 1.",
        );
        let ratio = self.cache().hit_ratio().unwrap_or_default();
        text.line("proxy_cache_hit_ratio", format_args!(" {ratio}"));
        for (name, label, help, words) in [
            (
                "proxy_cache_fills_total",
                "outcome",
                "Requests of caches to endpoints whose responses were to be stored, by outcome.",
                self.words_of_cache(|shard| &shard.cache_fills),
            ),
            (
                "proxy_cache_stale_total",
                "why",
                "Requests that a response past its lifetime answered, by reason.",
                self.words_of_cache(|shard| &shard.cache_stale),
            ),
            (
                "proxy_cache_not_stored_total",
                "why",
                "Responses to misses that were not to be stored, by reason.",
                self.words_of_cache(|shard| &shard.cache_not_stored),
            ),
        ] {
            text.family(name, "counter", help);
            for (word, count) in words {
                text.sample(name, format_args!("{label}=\"{}\"", escape_label(word)), count);
            }
        }
    }

    fn render_handshakes(&self, text: &mut Text<'_>) {
        let mut done: BTreeMap<(&str, usize), u64> = BTreeMap::new();
        let mut refused: BTreeMap<&str, u64> = BTreeMap::new();
        let mut loads: BTreeMap<(&str, usize), u64> = BTreeMap::new();
        let mut duration_us = 0u64;
        for shard in &self.shards {
            for (resumed, words) in shard.handshakes.iter().enumerate() {
                for (protocol, count) in words.read() {
                    *done.entry((protocol.unwrap_or(OTHER), resumed)).or_default() += count;
                }
            }
            for (is_good, words) in shard.secrets.iter().enumerate() {
                for (kind, count) in words.read() {
                    *loads.entry((kind.unwrap_or(OTHER), is_good)).or_default() += count;
                }
            }
            for (reason, count) in shard.handshakes_refused.read() {
                *refused.entry(reason.unwrap_or(OTHER)).or_default() += count;
            }
            duration_us = duration_us.wrapping_add(shard.handshake_us.read());
        }
        text.family("ringway_tls_handshakes_total", "counter", "Completed TLS handshakes with clients.");
        for ((protocol, resumed), count) in &done {
            let labels =
                format_args!("protocol=\"{}\",resumed=\"{}\"", escape_label(protocol), *resumed == 1);
            text.sample("ringway_tls_handshakes_total", labels, *count);
        }
        text.family(
            "ringway_tls_handshake_seconds_total",
            "counter",
            "Total time from accept to the end of completed TLS handshakes.",
        );
        text.line("ringway_tls_handshake_seconds_total", format_args!(" {}", Seconds(duration_us)));
        text.family(
            "ringway_tls_handshakes_refused_total",
            "counter",
            "Failed TLS handshakes with clients, by reason.",
        );
        for (reason, count) in refused {
            let labels = format_args!("reason=\"{}\"", escape_label(reason));
            text.sample("ringway_tls_handshakes_refused_total", labels, count);
        }
        text.family(
            "ringway_tls_loads_total",
            "counter",
            "Loads of certificates and CA files requested by cores, by kind and outcome.",
        );
        for ((kind, is_good), count) in &loads {
            let outcome = if *is_good == 1 { "loaded" } else { "failed" };
            let labels = format_args!("kind=\"{}\",outcome=\"{outcome}\"", escape_label(kind));
            text.sample("ringway_tls_loads_total", labels, *count);
        }
    }

    fn render_words(&self, text: &mut Text<'_>) {
        let mut rejections: BTreeMap<&str, u64> = BTreeMap::new();
        let mut failures: BTreeMap<&str, u64> = BTreeMap::new();
        let mut abuses: BTreeMap<&str, u64> = BTreeMap::new();
        for shard in &self.shards {
            for (word, count) in shard.rejections.read() {
                *rejections.entry(word.unwrap_or(OTHER)).or_default() += count;
            }
            for (word, count) in shard.abuses.read() {
                *abuses.entry(word.unwrap_or(OTHER)).or_default() += count;
            }
            for (word, count) in shard.failures.read() {
                *failures.entry(word.unwrap_or(OTHER)).or_default() += count;
            }
        }
        text.family(
            "ringway_bad_requests_total",
            "counter",
            "Requests rejected before routing, by error code.",
        );
        for (code, count) in rejections {
            let labels = format_args!("code=\"{}\"", escape_label(code));
            text.sample("ringway_bad_requests_total", labels, count);
        }
        text.family(
            "ringway_connections_abused_total",
            "counter",
            "HTTP/2 connections closed by flood protection, by violation.",
        );
        for (reason, count) in abuses {
            let labels = format_args!("reason=\"{}\"", escape_label(reason));
            text.sample("ringway_connections_abused_total", labels, count);
        }
        text.family("ringway_failures_total", "counter", "Failed exchanges, by error code.");
        for (failure, count) in failures {
            let labels = format_args!("failure=\"{}\"", escape_label(failure));
            text.sample("ringway_failures_total", labels, count);
        }
    }
}

/// Requests of the routes that have a cache.
fn render_route_caches(by_route: &BTreeMap<&str, RouteSums>, text: &mut Text<'_>) {
    let used = || by_route.iter().filter(|(_, sums)| sums.cache.is_used());
    text.family(
        "proxy_cache_requests_total",
        "counter",
        "Requests of routes with a cache: answered by it alone (hit), by an endpoint (miss), or passed by it.",
    );
    for (route, sums) in used() {
        for (result, count) in counted(&CacheResult::ALL, &sums.cache.results) {
            let labels = format_args!("route=\"{route}\",result=\"{}\"", result.as_str());
            text.sample("proxy_cache_requests_total", labels, count);
        }
    }
    text.family(
        "proxy_cache_coalesced_total",
        "counter",
        "Requests that got the response to another one, which was under way.",
    );
    for (route, sums) in used().filter(|(_, sums)| sums.cache.coalesced > 0) {
        text.sample("proxy_cache_coalesced_total", format_args!("route=\"{route}\""), sums.cache.coalesced);
    }
    text.family(
        "proxy_cache_coalesce_waiters",
        "gauge",
        "Requests that wait for the response to another one.",
    );
    for (route, sums) in used() {
        text.sample("proxy_cache_coalesce_waiters", format_args!("route=\"{route}\""), sums.cache.waiters());
    }
}

/// Decisions of the traffic policies of each route.
fn render_policies(by_route: &BTreeMap<&str, RouteSums>, reading: &ControlReading<'_>, text: &mut Text<'_>) {
    text.family("proxy_retries_total", "counter", "Requests with more than one attempt, by outcome.");
    for (route, sums) in by_route {
        for (outcome, count) in counted(&RetryOutcome::ALL, &sums.policies.retries) {
            let labels = format_args!("route=\"{route}\",outcome=\"{}\"", outcome.as_str());
            text.sample("proxy_retries_total", labels, count);
        }
    }
    text.family(
        "proxy_hedged_total",
        "counter",
        "Requests whose response was late enough for a second attempt, by outcome.",
    );
    for (route, sums) in by_route {
        for (outcome, count) in counted(&HedgeOutcome::ALL, &sums.policies.hedged) {
            let labels = format_args!("route=\"{route}\",outcome=\"{}\"", outcome.as_str());
            text.sample("proxy_hedged_total", labels, count);
        }
    }
    text.family("proxy_mirrored_total", "counter", "Copies of requests for another pool, by outcome.");
    for (route, sums) in by_route {
        for (outcome, count) in counted(&MirrorOutcome::ALL, &sums.policies.mirrored) {
            let labels = format_args!("route=\"{route}\",outcome=\"{}\"", outcome.as_str());
            text.sample("proxy_mirrored_total", labels, count);
        }
    }
    text.family(
        "proxy_ratelimited_total",
        "counter",
        "Requests beyond a rate limit, by policy. Those of a dry run passed.",
    );
    let policies: HashMap<String, &str> =
        reading.rate_limits.iter().map(|(route, policy)| (escape_label(route), *policy)).collect();
    for (route, sums) in by_route {
        let policy = policies.get(*route).map_or_else(|| OTHER.into(), |name| escape_label(name));
        for (decision, count) in counted(&PolicyDecision::ALL, &sums.policies.decisions) {
            let (reason, mode) = match decision {
                PolicyDecision::Limited => ("rate_limited", "enforced"),
                PolicyDecision::Banned => ("banned", "enforced"),
                PolicyDecision::WouldLimit => ("rate_limited", "dry_run"),
                PolicyDecision::WouldBan => ("banned", "dry_run"),
            };
            let labels =
                format_args!("route=\"{route}\",policy=\"{policy}\",reason=\"{reason}\",mode=\"{mode}\"");
            text.sample("proxy_ratelimited_total", labels, count);
        }
    }
    text.family(
        "proxy_refused_total",
        "counter",
        "Requests refused by a traffic policy or a middleware stage, by error code.",
    );
    for (route, sums) in by_route {
        for (code, count) in sums.policies.refused.iter().filter(|(_, count)| **count > 0) {
            let labels = format_args!("route=\"{route}\",code=\"{}\"", escape_label(code));
            text.sample("proxy_refused_total", labels, *count);
        }
    }
    text.family("proxy_canary_requests_total", "counter", "Requests of routes with a canary, by variant.");
    for (route, sums) in by_route {
        for (variant, count) in counted(&Variant::ALL, &sums.policies.variants) {
            let labels = format_args!("route=\"{route}\",variant=\"{}\"", variant.as_str());
            text.sample("proxy_canary_requests_total", labels, count);
        }
    }
    text.family(
        "proxy_canary_errors_total",
        "counter",
        "Requests of routes with a canary that failed: status 500 and above, or cut off, by variant.",
    );
    for (route, sums) in by_route {
        for (variant, count) in counted(&Variant::ALL, &sums.policies.variant_errors) {
            let labels = format_args!("route=\"{route}\",variant=\"{}\"", variant.as_str());
            text.sample("proxy_canary_errors_total", labels, count);
        }
    }
    text.family("proxy_queue_seconds", "summary", "Time of requests in the queue of their route.");
    for (route, sums) in by_route.iter().filter(|(_, sums)| sums.policies.queued > 0) {
        let Policies { queued, queue_us, .. } = sums.policies;
        text.summary("proxy_queue_seconds", format_args!("route=\"{route}\""), Seconds(queue_us), queued);
    }
}

/// Returns the values that were counted, with their counts.
fn counted<'a, T: Copy>(all: &'a [T], counts: &'a [u64]) -> impl Iterator<Item = (T, u64)> {
    all.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0)
}

/// Calls of middleware stages to each pool.
fn render_calls(by_pool: &[(&str, &Calls)], limits: &[String], text: &mut Text<'_>) {
    text.family("proxy_stage_calls_total", "counter", "Calls of middleware stages to a pool, by result.");
    for (pool, calls) in by_pool {
        for (result, count) in calls.results.iter().filter(|(_, count)| **count > 0) {
            let labels = format_args!("pool=\"{pool}\",result=\"{}\"", escape_label(result));
            text.sample("proxy_stage_calls_total", labels, *count);
        }
    }
    text.family(
        "proxy_filter_decisions_total",
        "counter",
        "Decisions of external filters, by the pool of their service.",
    );
    for (pool, calls) in by_pool {
        for (decision, count) in calls.decisions.iter().filter(|(_, count)| **count > 0) {
            let labels = format_args!("pool=\"{pool}\",decision=\"{}\"", escape_label(decision));
            text.sample("proxy_filter_decisions_total", labels, *count);
        }
    }
    text.family(
        "proxy_filter_failures_total",
        "counter",
        "Requests without a decision of an external filter, by the pool of its service and the reason.",
    );
    for (pool, calls) in by_pool {
        for (reason, count) in calls.failures.iter().filter(|(_, count)| **count > 0) {
            let labels = format_args!("pool=\"{pool}\",reason=\"{}\"", escape_label(reason));
            text.sample("proxy_filter_failures_total", labels, *count);
        }
    }
    text.family(
        "proxy_filter_duration_seconds",
        "histogram",
        "Time of decisions of external filters that no earlier one spared.",
    );
    for (pool, Calls { decided, decided_us, .. }) in by_pool {
        if decided.iter().any(|count| *count > 0) {
            let labels = format!("pool=\"{pool}\"");
            text.histogram("proxy_filter_duration_seconds", &labels, limits, decided, *decided_us);
        }
    }
}

fn render_upstream(upstream: &[(String, Upstream)], text: &mut Text<'_>) {
    text.family("proxy_upstream_requests_total", "counter", "Upstream attempts.");
    for (labels, totals) in upstream {
        text.sample(
            "proxy_upstream_requests_total",
            format_args!("{labels}"),
            totals.words[UPSTREAM_REQUESTS],
        );
    }
    text.family("ringway_upstream_failures_total", "counter", "Failed upstream attempts.");
    for (labels, totals) in upstream.iter().filter(|(_, totals)| totals.words[UPSTREAM_FAILURES] > 0) {
        text.sample(
            "ringway_upstream_failures_total",
            format_args!("{labels}"),
            totals.words[UPSTREAM_FAILURES],
        );
    }
    text.family(
        "proxy_upstream_duration_seconds",
        "summary",
        "Time from the start of an upstream attempt to the first byte of its response head.",
    );
    for (labels, totals) in upstream {
        let seconds = Seconds(totals.words[UPSTREAM_US]);
        let count = totals.words[UPSTREAM_REQUESTS];
        text.summary("proxy_upstream_duration_seconds", format_args!("{labels}"), seconds, count);
    }
}

fn render_pools(pools: &[PoolReading<'_>], text: &mut Text<'_>) {
    let mut by_pool: BTreeMap<String, PoolReading<'_>> = BTreeMap::new();
    for pool in pools {
        let name = if pool.slot == 0 { OTHER.to_owned() } else { escape_label(pool.pool) };
        let sum = by_pool.entry(name).or_default();
        sum.total += pool.total;
        sum.healthy += pool.healthy;
        sum.closed += pool.closed;
        sum.open += pool.open;
        sum.half_open += pool.half_open;
    }
    text.family("proxy_pool_healthy_endpoints", "gauge", "Endpoints in rotation.");
    for (pool, reading) in &by_pool {
        text.sample("proxy_pool_healthy_endpoints", format_args!("pool=\"{pool}\""), reading.healthy.into());
    }
    text.family("proxy_pool_total_endpoints", "gauge", "Endpoints registered.");
    for (pool, reading) in &by_pool {
        text.sample("proxy_pool_total_endpoints", format_args!("pool=\"{pool}\""), reading.total.into());
    }
    text.family("proxy_breaker_state", "gauge", "Endpoints by state of their circuit breaker.");
    for (pool, reading) in &by_pool {
        for (state, count) in
            [("closed", reading.closed), ("open", reading.open), ("half_open", reading.half_open)]
        {
            let labels = format_args!("pool=\"{pool}\",state=\"{state}\"");
            text.sample("proxy_breaker_state", labels, count.into());
        }
    }
}

fn render_control(reading: &ControlReading<'_>, text: &mut Text<'_>) {
    text.family("ringway_build_info", "gauge", "Version and source revision of ringway.");
    let (version, commit) = (escape_label(reading.version), escape_label(reading.commit));
    text.sample("ringway_build_info", format_args!("version=\"{version}\",commit=\"{commit}\""), 1);
    for (name, help, value) in [
        ("ringway_config_revision", "Revision of the configuration in force.", reading.revision.0),
        ("ringway_apps", "Registered apps.", reading.apps as u64),
        ("ringway_instances", "Registered instances.", reading.instances as u64),
        ("ringway_domains", "Registered domains.", reading.domains as u64),
        ("process_resident_memory_bytes", "Resident memory in bytes.", reading.process.resident_bytes),
        ("process_virtual_memory_bytes", "Virtual memory in bytes.", reading.process.virtual_bytes),
        ("process_open_fds", "Open file descriptors.", reading.process.open_fds),
        ("process_max_fds", "Limit of open file descriptors.", reading.process.max_fds),
        ("process_threads", "Number of threads.", reading.process.threads),
    ] {
        text.family(name, "gauge", help);
        text.bare(name, value);
    }
    text.family("ringway_uptime_seconds", "gauge", "Time since the start of the process.");
    let uptime_us = u64::try_from(reading.uptime.as_micros()).unwrap_or(u64::MAX);
    text.line("ringway_uptime_seconds", format_args!(" {}", Seconds(uptime_us)));
    let Some(log) = reading.log else { return };
    text.family("ringway_access_log_lines_total", "counter", "Access-log lines passed to the writer thread.");
    text.bare("ringway_access_log_lines_total", log.lines);
    text.family(
        "ringway_access_log_lines_dropped_total",
        "counter",
        "Access-log lines dropped because the writer thread did not keep up.",
    );
    for (core, dropped) in &log.cores {
        let labels = format_args!("core=\"{core}\"");
        text.sample("ringway_access_log_lines_dropped_total", labels, *dropped);
    }
    text.family("ringway_access_log_lines_lost_total", "counter", "Access-log lines lost to write errors.");
    text.bare("ringway_access_log_lines_lost_total", log.lines_lost);
    text.family("ringway_access_log_errors_total", "counter", "Failures to write or open the access log.");
    text.bare("ringway_access_log_errors_total", log.write_errors);
}

/// Sums of a route over its pools.
#[derive(Default)]
struct RouteSums {
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    policies: Policies,
    cache: CacheCounts,
}

impl RouteSums {
    fn add(&mut self, traffic: &Traffic) {
        self.requests += requests(traffic);
        self.bytes_in += traffic.words[BYTES_IN];
        self.bytes_out += traffic.words[BYTES_OUT];
        self.policies.add(&traffic.policies);
        self.cache.add(&traffic.cache);
    }
}

/// Returns the statuses that occurred, with their counts. Requests without a status have the label value
/// `none`.
fn statuses(traffic: &Traffic) -> impl Iterator<Item = (Status, u64)> {
    let common =
        COMMON_STATUSES.iter().zip(&traffic.words).map(|(status, count)| (Status::Code(*status), *count));
    let rare = traffic.rare.iter().map(|(status, count)| (Status::Code(*status), *count));
    let none = (Status::None, traffic.words[STATUS_NONE]);
    common.chain(rare).chain([none]).filter(|(_, count)| *count > 0)
}

enum Status {
    Code(u16),
    None,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

fn buckets(traffic: &Traffic) -> &[u64] {
    &traffic.words[BUCKETS_AT..=BUCKETS_AT + BUCKETS_US.len()]
}

fn requests(traffic: &Traffic) -> u64 {
    buckets(traffic).iter().sum()
}

/// Writer of the text format.
struct Text<'a> {
    out: &'a mut String,
}

impl Text<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line("# HELP ", format_args!("{name} {help}"));
        self.line("# TYPE ", format_args!("{name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: fmt::Arguments<'_>, value: u64) {
        self.line(name, format_args!("{{{labels}}} {value}"));
    }

    fn bare(&mut self, name: &str, value: u64) {
        self.line(name, format_args!(" {value}"));
    }

    fn summary(&mut self, name: &str, labels: fmt::Arguments<'_>, sum: impl fmt::Display, count: u64) {
        self.line(name, format_args!("_sum{{{labels}}} {sum}"));
        self.line(name, format_args!("_count{{{labels}}} {count}"));
    }

    /// Appends a histogram. Most lines come from here, hence without `core::fmt`. `limits` are the buckets'
    /// upper bounds as text.
    fn histogram(&mut self, name: &str, labels: &str, limits: &[String], counts: &[u64], sum_us: u64) {
        let mut below = 0;
        for (limit, count) in limits.iter().zip(counts) {
            below += count;
            for part in [name, "_bucket{", labels, ",le=\"", limit, "\"} "] {
                self.out.push_str(part);
            }
            push_number(self.out, below);
            self.out.push('\n');
        }
        self.summary(name, format_args!("{labels}"), Seconds(sum_us), below);
    }

    fn line(&mut self, start: &str, rest: fmt::Arguments<'_>) {
        self.out.push_str(start);
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(rest);
        self.out.push('\n');
    }
}

fn push_number(out: &mut String, value: u64) {
    if value >= 10 {
        push_number(out, value / 10);
    }
    out.push(char::from(b'0' + (value % 10) as u8));
}

/// Microseconds, displayed as seconds without trailing zeros.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, mut micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if micros == 0 {
            return write!(f, "{seconds}");
        }
        let mut width = 6;
        while micros % 10 == 0 {
            micros /= 10;
            width -= 1;
        }
        write!(f, "{seconds}.{micros:0width$}")
    }
}

#[cfg(test)]
#[path = "prometheus_tests.rs"]
mod tests;
