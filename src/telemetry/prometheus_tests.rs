//! Tests of the exposition text, read back by a strict parser of the format.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap, HashSet};

use ringway_model::{CoreId, Serial, Timestamp, limits};

use super::*;
use crate::cache::CacheReading;
use crate::event::{
    AttemptFailed, AuthRefused, BreakerOpened, CacheFilled, CacheResult, CacheUse, CacheWait, Called,
    Compression, ConnectionAbused, ConnectionClosed, ConnectionHandedOver, ConnectionOpened,
    ConnectionRefused, Event, Exchange, FilterAsked, Mirrored, Panicked, Protocol, RefusalReason, Rejected,
    SnapshotApplied, Upgrade, UpgradeEnded, Upgraded, UpstreamError,
};
use crate::observer::Observer;
use crate::shard::Metrics;

const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn exchange(route: u16, pool: u16, status: u16) -> Exchange<'static> {
    Exchange {
        time: Timestamp(0),
        request_id: "r",
        client_ip: CLIENT,
        method: b"GET",
        host: b"shop.example",
        path: b"/",
        query: None,
        protocol: Protocol::Http11,
        status,
        bytes_in: 10,
        bytes_out: 100,
        duration_us: 1_500,
        upstream_us: Some(1_000),
        route,
        pool,
        endpoint: 0,
        route_id: None,
        app: None,
        tenant: None,
        instance: None,
        attempts: 1,
        failure: None,
        upstream_error: None,
        request_error: None,
        user_agent: None,
        referer: None,
        upgrade: None,
        tls: None,
        variant: None,
        queue_us: None,
        stages_us: 0,
        limited_by: None,
        retry: None,
        hedge: None,
        breaker: None,
        middleware: None,
        filter_failure: None,
        compression: None,
        cache: None,
        is_logged: true,
    }
}

fn reading<'a>() -> ControlReading<'a> {
    ControlReading {
        version: "0.1.0",
        commit: "abc",
        uptime: Duration::from_millis(1_500),
        revision: Revision(7),
        apps: 1,
        instances: 2,
        domains: 3,
        pools: &[],
        rate_limits: &[],
        log: None,
        process: ProcessReading::default(),
    }
}

/// Returns a registry with one core, and the metrics of that core.
fn one_core() -> (Registry, Metrics) {
    let mut registry = Registry::new();
    let metrics = registry.add_core(CoreId(0));
    (registry, metrics)
}

/// Scrapes and returns the value of each series, after checking the format.
fn scrape(registry: &Registry, reading: &ControlReading<'_>) -> HashMap<String, f64> {
    let mut text = String::new();
    registry.render(reading, &mut text);
    parse(&text)
}

fn parse(text: &str) -> HashMap<String, f64> {
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut series = HashMap::new();
    let mut families = HashSet::new();
    let mut family = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(!words.is_empty() && families.insert(name.to_owned()), "one block per family: {name}");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, name);
            assert!(["counter", "gauge", "histogram", "summary"].contains(&kind), "{kind}");
            family = (name.to_owned(), kind.to_owned());
            continue;
        }
        let (key, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let name = key.split('{').next().unwrap();
        let suffix = name.strip_prefix(family.0.as_str()).unwrap_or_else(|| panic!("{name} in {family:?}"));
        let allowed: &[&str] = match family.1.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            "summary" => &["_sum", "_count"],
            _ => &[""],
        };
        assert!(allowed.contains(&suffix), "{name} in {family:?}");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
        check_labels(&key[name.len()..]);
        assert!(series.insert(key.to_owned(), value).is_none(), "twice: {key}");
    }
    check_histograms(&series);
    series
}

fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let mut rest = labels.strip_prefix('{').unwrap();
    let mut names = HashSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{labels}");
        assert!(names.insert(name), "{labels}");
        let mut escaped = false;
        let end = value.char_indices().find(|(_, c)| match (*c, escaped) {
            ('\\' | '"' | 'n', true) => {
                escaped = false;
                false
            }
            (_, true) => panic!("unknown escape: {labels}"),
            ('\\', false) => {
                escaped = true;
                false
            }
            (c, false) => c == '"',
        });
        rest = &value[end.unwrap().0 + 1..];
        if rest == "}" {
            return;
        }
        rest = rest.strip_prefix(',').unwrap();
    }
}

fn check_histograms(series: &HashMap<String, f64>) {
    let mut by_labels: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, value) in series {
        let Some((labels, limit)) = key.split_once(",le=\"") else { continue };
        let limit = limit.strip_suffix("\"}").unwrap();
        let limit = if limit == "+Inf" { f64::INFINITY } else { limit.parse().unwrap() };
        by_labels.entry(labels.replace("_bucket{", "_count{") + "}").or_default().push((limit, *value));
    }
    for (count, mut buckets) in by_labels {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(buckets.len(), BUCKETS_US.len() + 1);
        assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "buckets are cumulative: {buckets:?}");
        assert_eq!(buckets.last().unwrap().1, series[&count]);
    }
}

fn sum_of(series: &HashMap<String, f64>, start: &str) -> f64 {
    series.iter().filter(|(key, _)| key.starts_with(start)).map(|(_, value)| value).sum()
}

#[test]
fn an_exchange_is_counted_under_its_route_pool_and_status() {
    let (mut registry, metrics) = one_core();
    registry.name_route(1, "shop.example", "shop");
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 200)));
    metrics.on_event(&Event::Exchange(&Exchange { duration_us: 20_000_000, ..exchange(1, 1, 200) }));
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 418)));
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 0)));

    let series = scrape(&registry, &reading());

    let count = |status: &str| {
        series[&format!("proxy_requests_total{{route=\"shop.example\",pool=\"shop\",status=\"{status}\"}}")]
    };
    assert_eq!((count("200"), count("418"), count("none")), (2.0, 1.0, 1.0));
    assert_eq!(sum_of(&series, "proxy_requests_total"), 4.0);
    let bucket = |limit: &str| {
        let labels = format!("route=\"shop.example\",pool=\"shop\",le=\"{limit}\"");
        series[&format!("proxy_request_duration_seconds_bucket{{{labels}}}")]
    };
    assert_eq!((bucket("0.001"), bucket("0.0025"), bucket("10"), bucket("+Inf")), (0.0, 3.0, 3.0, 4.0));
    let labels = "{route=\"shop.example\",pool=\"shop\"}";
    assert_eq!(series[&format!("proxy_request_duration_seconds_sum{labels}")], 20.0045);
    assert_eq!(series["proxy_request_size_bytes_sum{route=\"shop.example\"}"], 40.0);
    assert_eq!(series["proxy_response_size_bytes_sum{route=\"shop.example\"}"], 400.0);
    assert_eq!(series["proxy_response_size_bytes_count{route=\"shop.example\"}"], 4.0);
    assert_eq!(series["ringway_exchanges_total{core=\"0\"}"], 4.0);
}

#[test]
fn a_core_counts_failed_exchanges_that_no_client_causes() {
    let (registry, metrics) = one_core();
    for status in [200, 404, 499, 500, 501, 502, 503, 504, 505, 508] {
        metrics.on_event(&Event::Exchange(&exchange(0, 0, status)));
    }
    // Cut off after its head.
    let upstream_error = Some(UpstreamError { reason: "cut", text: "cut" });
    let cut = Exchange { upstream_error, failure: Some("response_cut"), ..exchange(0, 0, 200) };
    metrics.on_event(&Event::Exchange(&cut));
    let gone = Exchange { failure: Some("client_closed"), ..exchange(0, 0, 0) };
    metrics.on_event(&Event::Exchange(&gone));
    let core = registry.cores().next().unwrap();
    assert_eq!((core.exchanges, core.errors), (12, 5));
}

#[test]
fn bucket_limits_are_inclusive() {
    let (registry, metrics) = one_core();
    for duration_us in [1_000, 1_001] {
        metrics.on_event(&Event::Exchange(&Exchange { duration_us, ..exchange(0, 0, 200) }));
    }
    let series = scrape(&registry, &reading());
    let bucket = |limit: &str| {
        let labels = format!("route=\"_other\",pool=\"_other\",le=\"{limit}\"");
        series[&format!("proxy_request_duration_seconds_bucket{{{labels}}}")]
    };
    assert_eq!((bucket("0.001"), bucket("0.0025")), (1.0, 2.0));
}

#[test]
fn routes_without_a_slot_are_counted_by_pool_and_the_rest_as_other() {
    let (mut registry, metrics) = one_core();
    registry.name_pool(3, "shop");
    registry.name_pool(4, "blog");
    metrics.on_event(&Event::Exchange(&exchange(0, 3, 200)));
    metrics.on_event(&Event::Exchange(&exchange(0, 4, 200)));
    metrics.on_event(&Event::Exchange(&exchange(0, 0, 404)));
    metrics.on_event(&Event::Exchange(&exchange(9, 3, 200))); // a slot without a route
    metrics.on_event(&Event::Exchange(&exchange(u16::MAX, u16::MAX, 500))); // beyond the last slot

    let series = scrape(&registry, &reading());

    let count = |pool: &str, status: u16| {
        series[&format!("proxy_requests_total{{route=\"_other\",pool=\"{pool}\",status=\"{status}\"}}")]
    };
    assert_eq!((count("shop", 200), count("blog", 200)), (1.0, 1.0));
    assert_eq!((count("_other", 404), count("_other", 200)), (1.0, 1.0));
    assert_eq!(sum_of(&series, "proxy_requests_total"), 5.0);
    assert_eq!(series["proxy_response_size_bytes_count{route=\"_other\"}"], 5.0);
}

#[test]
fn slots_beyond_the_last_are_counted_as_other() {
    let (mut registry, metrics) = one_core();
    let last = u16::try_from(limits::METRIC_SLOTS_MAX).unwrap();
    registry.name_route(last, "last", "p");
    registry.name_route(last + 1, "beyond", "p");
    registry.name_route(0, "zero", "p");
    for slot in [last, last + 1] {
        metrics.on_event(&Event::Exchange(&exchange(slot, 0, 200)));
    }
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_requests_total{route=\"last\",pool=\"p\",status=\"200\"}"], 1.0);
    assert_eq!(series["proxy_requests_total{route=\"_other\",pool=\"_other\",status=\"200\"}"], 1.0);
    assert_eq!(sum_of(&series, "proxy_requests_total"), 2.0);
}

#[test]
fn the_next_owner_of_a_slot_starts_at_zero_without_loss_of_counts() {
    let (mut registry, metrics) = one_core();
    registry.name_route(1, "old", "p");
    for status in [200, 418, 0] {
        metrics.on_event(&Event::Exchange(&exchange(1, 1, status)));
    }

    registry.free_route(1);
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 200))); // in progress when the route was removed

    registry.name_route(1, "new", "p");
    let series = scrape(&registry, &reading());
    assert_eq!(sum_of(&series, "proxy_requests_total{route=\"new\""), 0.0);
    assert_eq!(sum_of(&series, "proxy_requests_total{route=\"old\""), 0.0);
    assert_eq!(sum_of(&series, "proxy_requests_total{route=\"_other\""), 4.0);

    metrics.on_event(&Event::Exchange(&exchange(1, 1, 418)));
    registry.name_route(1, "new", "p"); // repeated: no change
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_requests_total{route=\"new\",pool=\"p\",status=\"418\"}"], 1.0);
    assert_eq!(series["proxy_requests_total{route=\"_other\",pool=\"_other\",status=\"418\"}"], 1.0);
    assert_eq!(series["proxy_response_size_bytes_sum{route=\"new\"}"], 100.0);

    registry.name_route(1, "third", "p"); // not freed in between
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 418)));
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_requests_total{route=\"third\",pool=\"p\",status=\"418\"}"], 1.0);
    assert_eq!(series["proxy_requests_total{route=\"_other\",pool=\"_other\",status=\"418\"}"], 2.0);
    assert_eq!(sum_of(&series, "proxy_requests_total"), 6.0);
}

#[test]
fn a_name_that_moves_to_another_slot_stays_one_series() {
    let (mut registry, metrics) = one_core();
    registry.name_route(1, "a", "p");
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 200)));
    registry.name_route(2, "a", "p");
    metrics.on_event(&Event::Exchange(&exchange(2, 1, 200)));
    registry.free_route(1); // late: must not take the name from slot 2
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_requests_total{route=\"a\",pool=\"p\",status=\"200\"}"], 1.0);
    assert_eq!(sum_of(&series, "proxy_requests_total"), 2.0);
    // One route in two pools, as during a move between apps: two series by pool, one by route.
    registry.name_route(3, "a", "q");
    metrics.on_event(&Event::Exchange(&exchange(3, 1, 200)));
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_response_size_bytes_count{route=\"a\"}"], 2.0);
}

#[test]
fn label_values_are_escaped() {
    let (mut registry, metrics) = one_core();
    registry.name_route(1, "a\"b\\c\nd", "p");
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 200)));
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_requests_total{route=\"a\\\"b\\\\c\\nd\",pool=\"p\",status=\"200\"}"], 1.0);
}

#[test]
fn shards_of_several_threads_are_summed() {
    const CORES: u16 = 4;
    const EACH: u16 = 5_000;
    let mut registry = Registry::new();
    registry.name_route(1, "a", "p");
    let cores: Vec<Metrics> = (0..CORES).map(|core| registry.add_core(CoreId(core))).collect();
    let threads: Vec<_> = cores
        .into_iter()
        .map(|metrics| {
            std::thread::spawn(move || {
                for n in 0..EACH {
                    metrics.on_event(&Event::Exchange(&exchange(n % 2, 0, 200 + n % 2)));
                }
            })
        })
        .collect();
    let mut last = 0.0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        // Concurrent scrapes are well-formed and monotonic.
        let now = sum_of(&scrape(&registry, &reading()), "proxy_requests_total");
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let series = scrape(&registry, &reading());
    let half = f64::from(CORES * EACH / 2);
    assert_eq!(series["proxy_requests_total{route=\"a\",pool=\"p\",status=\"201\"}"], half);
    assert_eq!(series["proxy_requests_total{route=\"_other\",pool=\"_other\",status=\"200\"}"], half);
    assert_eq!(series["ringway_exchanges_total{core=\"3\"}"], f64::from(EACH));
}

#[test]
fn attempts_are_counted_by_endpoint_or_else_by_pool() {
    let (mut registry, metrics) = one_core();
    registry.name_pool(1, "shop");
    registry.name_endpoint(1, "shop", "10.0.0.5:3001");
    registry.name_endpoint(2, "shop", "10.0.0.6:3001");
    let failed = |endpoint| AttemptFailed {
        request_id: "r",
        pool: 1,
        endpoint,
        instance: "shop-1",
        failure: "refused",
        error: None,
        duration_us: 500_000,
    };
    metrics.on_event(&Event::from(failed(1)));
    metrics.on_event(&Event::Exchange(&Exchange { endpoint: 2, attempts: 2, ..exchange(0, 1, 200) }));
    metrics.on_event(&Event::Exchange(&Exchange {
        endpoint: 0,
        failure: Some("reset"),
        ..exchange(0, 1, 502)
    }));
    metrics.on_event(&Event::Exchange(&Exchange { attempts: 0, upstream_us: None, ..exchange(0, 1, 502) }));
    metrics.on_event(&Event::Exchange(&Exchange {
        attempts: 4,
        failure: Some("refused"),
        endpoint: 9,
        ..exchange(0, 0, 502)
    }));

    let series = scrape(&registry, &reading());

    let of = |family: &str, endpoint: &str| {
        series.get(&format!("{family}{{pool=\"shop\",endpoint=\"{endpoint}\"}}")).copied()
    };
    assert_eq!(of("proxy_upstream_requests_total", "10.0.0.5:3001"), Some(1.0));
    assert_eq!(of("ringway_upstream_failures_total", "10.0.0.5:3001"), Some(1.0));
    assert_eq!(of("proxy_upstream_duration_seconds_sum", "10.0.0.5:3001"), Some(0.5));
    assert_eq!(of("proxy_upstream_requests_total", "10.0.0.6:3001"), Some(1.0));
    assert_eq!(of("ringway_upstream_failures_total", "10.0.0.6:3001"), None);
    assert_eq!(of("proxy_upstream_requests_total", "_other"), Some(1.0));
    assert_eq!(sum_of(&series, "proxy_upstream_requests_total"), 4.0);
    assert_eq!(series["proxy_retries_total{route=\"_other\",outcome=\"success\"}"], 1.0);
    assert_eq!(series["proxy_retries_total{route=\"_other\",outcome=\"exhausted\"}"], 1.0);
    assert_eq!(series["ringway_failures_total{failure=\"refused\"}"], 1.0);
    assert_eq!(series["ringway_failures_total{failure=\"reset\"}"], 1.0);
}

#[test]
fn failed_attempts_are_counted_by_pool_and_reason() {
    let (mut registry, metrics) = one_core();
    registry.name_pool(1, "shop");
    let error = |reason| Some(UpstreamError { reason, text: "text" });
    let failed = |pool, error| AttemptFailed {
        request_id: "r",
        pool,
        endpoint: 0,
        instance: "shop-1",
        failure: "upstream_bad_response",
        error,
        duration_us: 1,
    };
    metrics.on_event(&Event::from(failed(1, error("bad_field_name"))));
    metrics.on_event(&Event::from(failed(1, None)));
    metrics.on_event(&Event::from(failed(0, error("connect_refused"))));
    metrics.on_event(&Event::Exchange(&Exchange {
        upstream_error: error("bad_field_name"),
        ..exchange(1, 1, 502)
    }));
    let of = |series: &HashMap<String, f64>, pool: &str, reason: &str| {
        series.get(&format!("proxy_upstream_errors_total{{pool=\"{pool}\",reason=\"{reason}\"}}")).copied()
    };
    let series = scrape(&registry, &reading());
    assert_eq!(of(&series, "shop", "bad_field_name"), Some(2.0));
    assert_eq!(of(&series, "_other", "connect_refused"), Some(1.0));
    assert_eq!(sum_of(&series, "proxy_upstream_errors_total"), 3.0);
    // The next owner of the slot starts at zero, without loss of counts.
    registry.free_pool(1);
    registry.name_pool(1, "blog");
    let series = scrape(&registry, &reading());
    assert_eq!(of(&series, "blog", "bad_field_name"), None);
    assert_eq!(of(&series, "_other", "bad_field_name"), Some(2.0));
}

#[test]
fn connections_tunnels_panics_and_snapshots_are_shown_per_core() {
    let mut registry = Registry::new();
    let _idle = registry.add_core(CoreId(0));
    let metrics = registry.add_core(CoreId(1));
    metrics.set_driver("io_uring");
    metrics.set_driver("epoll");
    for _ in 0..3 {
        metrics.on_event(&Event::from(ConnectionOpened { client_ip: CLIENT }));
    }
    metrics.on_event(&Event::from(ConnectionClosed { client_ip: CLIENT, exchanges: 1 }));
    metrics.on_event(&Event::from(ConnectionHandedOver { client_ip: CLIENT, to: CoreId(0) }));
    metrics.on_event(&Event::from(ConnectionRefused { client_ip: CLIENT, reason: RefusalReason::Full }));
    for _ in 0..2 {
        metrics.on_event(&Event::from(Upgraded { kind: Upgrade::WebSocket, route: 1 }));
    }
    let ended = UpgradeEnded { kind: Upgrade::WebSocket, route: 1, bytes_in: 1, bytes_out: 2 };
    metrics.on_event(&Event::from(ended));
    metrics.on_event(&Event::from(Panicked { request_id: None }));
    metrics.on_event(&Event::from(SnapshotApplied { serial: Serial(9), revision: Revision(7) }));
    metrics.on_event(&Event::from(ConnectionAbused { client_ip: CLIENT, reason: "resets" }));
    for code in ["bare_lf", "two_lengths", "bare_lf"] {
        metrics.on_event(&Event::from(Rejected { client_ip: CLIENT, code, status: 400 }));
    }

    let series = scrape(&registry, &reading());

    for (key, value) in [
        ("ringway_connections_open{core=\"1\"}", 2.0),
        ("ringway_connections_open{core=\"0\"}", 0.0),
        ("ringway_connections_accepted_total{core=\"1\"}", 3.0),
        ("ringway_connections_handed_over_total{core=\"1\"}", 1.0),
        ("ringway_connections_handed_over_total{core=\"0\"}", 0.0),
        ("ringway_connections_refused_total{core=\"1\",reason=\"full\"}", 1.0),
        ("ringway_connections_refused_total{core=\"1\",reason=\"draining\"}", 0.0),
        ("ringway_upgrades_active{core=\"1\",kind=\"websocket\"}", 1.0),
        ("ringway_upgrades_total{core=\"1\",kind=\"websocket\"}", 2.0),
        ("ringway_panics_total{core=\"1\"}", 1.0),
        ("ringway_snapshot_serial{core=\"1\"}", 9.0),
        ("ringway_snapshot_revision{core=\"1\"}", 7.0),
        ("ringway_driver_info{core=\"1\",driver=\"io_uring\"}", 1.0),
        ("ringway_connections_abused_total{reason=\"resets\"}", 1.0),
        ("ringway_bad_requests_total{code=\"bare_lf\"}", 2.0),
        ("ringway_bad_requests_total{code=\"two_lengths\"}", 1.0),
    ] {
        assert_eq!(series.get(key), Some(&value), "{key}");
    }
    assert_eq!(sum_of(&series, "ringway_driver_info"), 1.0);
}

#[test]
fn pools_and_control_values_are_shown_and_pools_without_slot_are_summed() {
    let (mut registry, metrics) = one_core();
    registry.name_pool(1, "shop");
    metrics.on_event(&Event::from(BreakerOpened { pool: 1, instance: "shop-1" }));
    metrics.on_event(&Event::from(BreakerOpened { pool: 0, instance: "x" }));
    let pool = |pool, slot, total, healthy, open| PoolReading {
        pool,
        slot,
        total,
        healthy,
        closed: total - open,
        open,
        half_open: 0,
    };
    let pools = [pool("shop", 1, 3, 2, 1), pool("a", 0, 5, 5, 0), pool("b", 0, 7, 1, 2)];
    let log = LogReading { cores: vec![(CoreId(0), 4)], lines: 10, lines_lost: 2, write_errors: 1 };
    let process = ProcessReading { resident_bytes: 123_456, ..ProcessReading::default() };

    let series = scrape(&registry, &ControlReading { pools: &pools, log: Some(&log), process, ..reading() });

    for (key, value) in [
        ("proxy_pool_total_endpoints{pool=\"shop\"}", 3.0),
        ("proxy_pool_healthy_endpoints{pool=\"shop\"}", 2.0),
        ("proxy_pool_total_endpoints{pool=\"_other\"}", 12.0),
        ("proxy_pool_healthy_endpoints{pool=\"_other\"}", 6.0),
        ("proxy_breaker_state{pool=\"shop\",state=\"open\"}", 1.0),
        ("proxy_breaker_state{pool=\"shop\",state=\"closed\"}", 2.0),
        ("proxy_breaker_state{pool=\"_other\",state=\"half_open\"}", 0.0),
        ("proxy_breaker_trips_total{pool=\"shop\"}", 1.0),
        ("proxy_breaker_trips_total{pool=\"_other\"}", 1.0),
        ("ringway_build_info{version=\"0.1.0\",commit=\"abc\"}", 1.0),
        ("ringway_config_revision", 7.0),
        ("ringway_apps", 1.0),
        ("ringway_instances", 2.0),
        ("ringway_domains", 3.0),
        ("ringway_uptime_seconds", 1.5),
        ("process_resident_memory_bytes", 123_456.0),
        ("ringway_access_log_lines_total", 10.0),
        ("ringway_access_log_lines_dropped_total{core=\"0\"}", 4.0),
        ("ringway_access_log_lines_lost_total", 2.0),
        ("ringway_access_log_errors_total", 1.0),
    ] {
        assert_eq!(series.get(key), Some(&value), "{key}");
    }
    assert_eq!(sum_of(&series, "proxy_requests_total"), 0.0);
}

#[test]
fn every_valid_status_has_its_own_series() {
    let (registry, metrics) = one_core();
    for status in 0..=700 {
        metrics.on_event(&Event::Exchange(&exchange(0, 0, status)));
    }
    let series = scrape(&registry, &reading());
    for status in 100..600 {
        let key = format!("proxy_requests_total{{route=\"_other\",pool=\"_other\",status=\"{status}\"}}");
        assert_eq!(series.get(&key), Some(&1.0), "{key}");
    }
    let none = series["proxy_requests_total{route=\"_other\",pool=\"_other\",status=\"none\"}"];
    assert_eq!(none, 201.0);
}

#[test]
fn seconds_have_no_trailing_zeros() {
    for (us, text) in [
        (0, "0"),
        (1, "0.000001"),
        (2_500, "0.0025"),
        (1_000_000, "1"),
        (10_500_000, "10.5"),
        (1_000_001, "1.000001"),
    ] {
        assert_eq!(Seconds(us).to_string(), text);
    }
}

#[test]
fn decisions_of_policies_are_counted_by_route() {
    let (mut registry, metrics) = one_core();
    registry.name_route(1, "api", "shop");
    for (decision, times) in PolicyDecision::ALL.into_iter().zip(1..) {
        for _ in 0..times {
            metrics.on_event(&decision.of(1).into());
        }
    }
    metrics.on_event(&PolicyDecision::Limited.of(0).into());
    let queued = Exchange {
        variant: Some(Variant::Canary),
        queue_us: Some(2_000_000),
        retry: Some(RetryOutcome::Budget),
        hedge: Some(HedgeOutcome::Won),
        limited_by: Some("api"),
        failure: Some("queue_timeout"),
        ..exchange(1, 1, 503)
    };
    metrics.on_event(&Event::Exchange(&queued));
    metrics.on_event(&Mirrored { route: 1, pool: 1, outcome: MirrorOutcome::Limit }.into());
    let rate_limits = [("api", "strict")];
    let series = scrape(&registry, &ControlReading { rate_limits: &rate_limits, ..reading() });
    let limited = |reason: &str, mode: &str| {
        let labels = format!("route=\"api\",policy=\"strict\",reason=\"{reason}\",mode=\"{mode}\"");
        series[&format!("proxy_ratelimited_total{{{labels}}}")]
    };
    assert_eq!((limited("rate_limited", "enforced"), limited("banned", "enforced")), (1.0, 2.0));
    assert_eq!((limited("rate_limited", "dry_run"), limited("banned", "dry_run")), (3.0, 4.0));
    let other = "route=\"_other\",policy=\"_other\",reason=\"rate_limited\",mode=\"enforced\"";
    assert_eq!(series[&format!("proxy_ratelimited_total{{{other}}}")], 1.0);
    assert_eq!(series["proxy_retries_total{route=\"api\",outcome=\"budget\"}"], 1.0);
    assert_eq!(series["proxy_hedged_total{route=\"api\",outcome=\"won\"}"], 1.0);
    assert_eq!(series["proxy_mirrored_total{route=\"api\",outcome=\"limit\"}"], 1.0);
    assert_eq!(series["proxy_canary_requests_total{route=\"api\",variant=\"canary\"}"], 1.0);
    assert_eq!(series["proxy_canary_errors_total{route=\"api\",variant=\"canary\"}"], 1.0);
    assert_eq!(series["proxy_queue_seconds_sum{route=\"api\"}"], 2.0);
    assert_eq!(series["proxy_queue_seconds_count{route=\"api\"}"], 1.0);
    assert_eq!(series["proxy_refused_total{route=\"api\",code=\"queue_timeout\"}"], 1.0);
}

#[test]
fn the_part_of_the_cache_is_counted_by_route() {
    let (mut registry, metrics) = one_core();
    registry.name_route(1, "api", "pool");
    let used = |result, stale, not_stored, is_coalesced| CacheUse {
        status: "",
        result,
        stale,
        not_stored,
        is_coalesced,
    };
    for used in [
        used(CacheResult::Hit, None, None, false),
        used(CacheResult::Hit, Some("disconnected"), None, false),
        used(CacheResult::Hit, None, None, false),
        used(CacheResult::Miss, None, Some("private"), false),
        used(CacheResult::Bypass, None, None, false),
    ] {
        metrics.on_event(&Event::Exchange(&Exchange { cache: Some(used), ..exchange(1, 1, 200) }));
    }
    let collapsed = used(CacheResult::Miss, None, None, true);
    metrics.on_event(&Event::Exchange(&Exchange { cache: Some(collapsed), ..exchange(0, 1, 200) }));
    metrics.on_event(&Event::Exchange(&exchange(1, 1, 200)));
    for has_ended in [false, false, true] {
        metrics.on_event(&Event::CacheWait(CacheWait { route: 1, pool: 1, has_ended }));
    }
    for outcome in ["stored", "stored", "cut"] {
        metrics.on_event(&Event::CacheFilled(CacheFilled { outcome }));
    }
    let series = scrape(&registry, &reading());
    let requests = |route, result| {
        series[&format!("proxy_cache_requests_total{{route=\"{route}\",result=\"{result}\"}}")]
    };
    assert_eq!((requests("api", "hit"), requests("api", "miss"), requests("api", "bypass")), (3.0, 1.0, 1.0));
    assert_eq!(requests("_other", "miss"), 1.0);
    assert_eq!(series["proxy_cache_coalesced_total{route=\"_other\"}"], 1.0);
    assert_eq!(series["proxy_cache_coalesce_waiters{route=\"api\"}"], 1.0);
    assert_eq!(series["proxy_cache_hit_ratio"], 0.6);
    assert_eq!(series["proxy_cache_fills_total{outcome=\"stored\"}"], 2.0);
    assert_eq!(series["proxy_cache_stale_total{why=\"disconnected\"}"], 1.0);
    assert_eq!(series["proxy_cache_not_stored_total{why=\"private\"}"], 1.0);
    assert_eq!(registry.cache(), CacheReading { hits: 3, misses: 2, bypasses: 1 });
    let by_route = registry.cache_by_route();
    assert_eq!(by_route.get("api"), Some(&CacheReading { hits: 3, misses: 1, bypasses: 1 }));
    assert_eq!(by_route.len(), 1);
    assert_eq!(CacheReading::default().hit_ratio(), None);
}

#[test]
fn compression_is_counted_by_coding_and_reason() {
    let (registry, metrics) = one_core();
    let coded = |coding, bytes_in, bytes_out| Compression::Coded { coding, bytes_in, bytes_out };
    for compression in
        [coded("gzip", 1000, 200), coded("gzip", 500, 100), coded("br", 7, 9), Compression::Skipped("small")]
    {
        metrics
            .on_event(&Event::Exchange(&Exchange { compression: Some(compression), ..exchange(1, 1, 200) }));
    }
    let series = scrape(&registry, &reading());
    let bytes = |coding, direction| {
        series[&format!("proxy_compress_bytes_total{{coding=\"{coding}\",direction=\"{direction}\"}}")]
    };
    assert_eq!((bytes("gzip", "in"), bytes("gzip", "out")), (1500.0, 300.0));
    assert_eq!((bytes("br", "in"), bytes("br", "out")), (7.0, 9.0));
    assert_eq!(series["proxy_compress_skipped_total{why=\"small\"}"], 1.0);
}

#[test]
fn calls_of_stages_and_decisions_of_filters_are_counted_by_pool() {
    let (mut registry, metrics) = one_core();
    registry.name_pool(1, "authz");
    for result in ["ok", "ok", "timeout"] {
        metrics.on_event(&Called { pool: 1, result }.into());
    }
    metrics.on_event(&Called { pool: 0, result: "unavailable" }.into());
    for (decision, duration_us) in [("allowed", Some(2_000)), ("denied", Some(3_000)), ("cached", None)] {
        metrics.on_event(&FilterAsked { pool: 1, decision, failure: None, duration_us }.into());
    }
    for (decision, reason) in
        [("failed_open", "timeout"), ("failed_closed", "timeout"), ("failed_open", "connect")]
    {
        metrics.on_event(&FilterAsked { pool: 1, decision, failure: Some(reason), duration_us: None }.into());
    }
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_stage_calls_total{pool=\"authz\",result=\"ok\"}"], 2.0);
    assert_eq!(series["proxy_stage_calls_total{pool=\"authz\",result=\"timeout\"}"], 1.0);
    assert_eq!(series["proxy_stage_calls_total{pool=\"_other\",result=\"unavailable\"}"], 1.0);
    let failures =
        |reason| series[&format!("proxy_filter_failures_total{{pool=\"authz\",reason=\"{reason}\"}}")];
    assert_eq!((failures("timeout"), failures("connect")), (2.0, 1.0));
    for decision in ["allowed", "denied", "cached"] {
        let name = format!("proxy_filter_decisions_total{{pool=\"authz\",decision=\"{decision}\"}}");
        assert_eq!(series[&name], 1.0, "{decision}");
    }
    let bucket = |limit: &str| {
        series[&format!("proxy_filter_duration_seconds_bucket{{pool=\"authz\",le=\"{limit}\"}}")]
    };
    assert_eq!((bucket("0.001"), bucket("0.0025"), bucket("+Inf")), (0.0, 1.0, 2.0));
    assert_eq!(series["proxy_filter_duration_seconds_sum{pool=\"authz\"}"], 0.005);
    // The next owner of the slot begins at zero, and nothing is lost.
    registry.free_pool(1);
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_stage_calls_total{pool=\"_other\",result=\"ok\"}"], 2.0);
    assert_eq!(series["proxy_filter_duration_seconds_count{pool=\"_other\"}"], 2.0);
    assert_eq!(series["proxy_filter_failures_total{pool=\"_other\",reason=\"timeout\"}"], 2.0);
}

#[test]
fn refusals_of_authentication_are_counted_by_reason() {
    let (registry, metrics) = one_core();
    for reason in ["expired", "client_certificate_missing", "expired"] {
        metrics.on_event(&AuthRefused { reason }.into());
    }
    let series = scrape(&registry, &reading());
    assert_eq!(series["proxy_auth_refusals_total{reason=\"expired\"}"], 2.0);
    assert_eq!(series["proxy_auth_refusals_total{reason=\"client_certificate_missing\"}"], 1.0);
}
