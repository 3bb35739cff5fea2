//! Cost of the metrics of an exchange.

use std::net::{IpAddr, Ipv4Addr};

use ringway_model::{CoreId, Timestamp};
use ringway_telemetry::{Exchange, Protocol, Registry, Telemetry};

use crate::harness::Harness;

pub(crate) fn run(bench: &mut Harness) {
    let mut registry = Registry::new();
    let telemetry = Telemetry::new(registry.add_core(CoreId(0)), None, None);
    for slot in 1..=100 {
        registry.name_route(slot, &format!("tenant-{slot}.bench.test"), "app-0");
    }
    let mut exchange = Exchange {
        time: Timestamp(1_700_000_000_000),
        request_id: "0123456789abcdef-42",
        client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        method: b"GET",
        host: b"tenant-1.bench.test",
        path: b"/products/42",
        query: None,
        protocol: Protocol::Http11,
        status: 200,
        bytes_in: 0,
        bytes_out: 1024,
        duration_us: 850,
        upstream_us: Some(700),
        route: 1,
        pool: 1,
        endpoint: 1,
        route_id: None,
        app: Some("app-0"),
        tenant: None,
        instance: Some("app-0-1"),
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
    };
    bench.line("metrics: count an exchange", || {
        exchange.route = exchange.route % 100 + 1;
        exchange.duration_us = exchange.duration_us % 5_000 + 37;
        telemetry.emit(&exchange);
    });
}
