#![allow(clippy::unwrap_used)]
use std::time::Duration;

use ringway_model::{
    AdaptiveLimit, Balancer, BrakeMode, Percent, PolicyRef, PoolRef, RateLimitKey, RequestKey, RouteAction,
    Scheme, StatusSet, TimeoutPolicy, UpstreamProtocol,
};

use crate::{Beside, Document, Source, read, read_beside};

fn source(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.to_owned() }
}

/// The document of a text without findings, but for those of parts that have no effect yet.
fn document(text: &str) -> Document {
    let reading = read(&[source("c.yaml", text)]);
    assert!(reading.findings.iter().all(|finding| finding.code == "unsupported"), "{text}");
    reading.document.unwrap()
}

/// The findings of a text, but for those of parts that have no effect yet.
fn findings(text: &str) -> Vec<String> {
    let findings = read(&[source("c.yaml", text)]).findings;
    let findings = findings.iter().filter(|finding| finding.code != "unsupported");
    findings.map(|finding| format!("{finding} [{}]", finding.code)).collect()
}

/// Asserts that each text has one finding, which ends so.
fn each_has_one(cases: &[(&str, &str)], document: impl Fn(&str) -> String) {
    for (members, expected) in cases {
        let found = findings(&document(members));
        assert!(found.len() == 1 && found[0].ends_with(expected), "{members}: {found:#?}");
    }
}

fn percent(hundredths: u16) -> Percent {
    Percent::from_hundredths(hundredths).unwrap()
}

/// Two pools, and routes to one of them.
const ROUTES: &str = "pools:
  - {id: v1, endpoints: [{address: '10.0.0.1:80'}]}
  - {id: v2, endpoints: [{address: '10.0.0.2:80'}]}
routes:
  - {id: api, host: a.example, pool: v1}
  - {id: old, host: b.example, redirect: /new}
";

fn managed(members: &str) -> String {
    format!("{ROUTES}traffic_management:\n  - {{{members}}}\n")
}

fn pool(members: &str) -> String {
    format!("pools: [{{id: p, endpoints: [{{address: '10.0.0.1:80'}}], {members}}}]\n")
}

fn policy(members: &str) -> String {
    format!("policies: [{{id: p, {members}}}]\n")
}

// --- Traffic management -----------------------------------------------------------------------------------

#[test]
fn a_route_has_a_canary_cohorts_overload_protection_and_a_mirror() {
    let text = format!(
        "{ROUTES}traffic_management:
  - route: api
    stable_pool: v1
    canary_pool: v2
    canary_weight: 0.5%
    canary_steps: [{{weight: 10, after: 10m}}, {{weight: 100, after: 1h}}]
    brake: on
    sticky_cookie: bucket
    cohort_routing:
      header: X-Cohort
      cookie: cohort
      hash: {{header: X-User}}
      trusted_only: true
      mappings: {{stable: v1, beta: v2}}
      brake_cohorts: true
    overload_protection: {{max_concurrent: 100, queue_size: 50, queue_timeout: 500ms, adaptive: {{target: 200ms}}}}
    mirror: {{pool: v2, percent: 10, methods: [POST, GET], timeout: 1s}}
"
    );
    let document = document(&text);
    let traffic = document.set.routes[0].traffic.as_ref().unwrap();
    let canary = traffic.canary.as_ref().unwrap();
    assert_eq!((canary.pool.id().as_str(), canary.weight, canary.brake), ("v2", percent(50), BrakeMode::On));
    assert_eq!(canary.hash, Some(RequestKey::Header("x-user".into())));
    assert_eq!(canary.cookie.as_deref(), Some("bucket"));
    let steps: Vec<_> = canary.steps.iter().map(|step| (step.weight, step.after.as_secs())).collect();
    assert_eq!(steps, [(percent(1_000), 600), (percent(10_000), 3_600)]);
    let cohorts = traffic.cohorts.as_ref().unwrap();
    assert_eq!((cohorts.header.as_deref(), cohorts.cookie.as_deref()), (Some("x-cohort"), Some("cohort")));
    assert!(cohorts.trusted_only && cohorts.brake);
    let mappings: Vec<_> =
        cohorts.mappings.iter().map(|(name, pool)| (&**name, pool.id().as_str())).collect();
    assert_eq!(mappings, [("beta", "v2"), ("stable", "v1")]);
    let overload = traffic.overload.as_ref().unwrap();
    assert_eq!((overload.max_concurrent, overload.queue_size), (100, 50));
    assert_eq!(overload.queue_timeout, Duration::from_millis(500));
    assert_eq!(overload.adaptive, Some(AdaptiveLimit { target: Some(Duration::from_millis(200)), min: 4 }));
    let mirror = traffic.mirror.as_ref().unwrap();
    assert_eq!((mirror.pool.id().as_str(), mirror.share), ("v2", percent(1_000)));
    assert_eq!(mirror.methods.iter().map(|method| &**method).collect::<Vec<_>>(), ["GET", "POST"]);
    assert!(document.set.routes[1].traffic.is_none());
}

#[test]
fn the_stable_pool_takes_the_place_of_the_pool_of_the_route() {
    let document = document(&managed("route: api, stable_pool: v2"));
    let RouteAction::Proxy { pool: PoolRef::Pool(pool), .. } = &document.set.routes[0].action else {
        panic!()
    };
    assert_eq!(pool.as_str(), "v2");
    assert!(document.set.routes[0].traffic.is_none(), "nothing else was given");
}

#[test]
fn each_mistake_of_traffic_management_is_named() {
    each_has_one(
        &[
            ("stable_pool: v1", "c.yaml:8:5: /traffic_management/0/route is required [missing]"),
            (
                "route: ap, canary_pool: v2, canary_weight: 1",
                "/route names the route ap, which this configuration does not have; did you mean api? [reference]",
            ),
            (
                "route: old, overload_protection: {max_concurrent: 5}",
                "/route names the route old, which forwards no requests: it has no pool to share or protect [conflict]",
            ),
            (
                "route: api, canary_pool: v3, canary_weight: 1",
                "which does not exist; did you mean v1? [reference]",
            ),
            (
                "route: api, cohort_routing: {header: X-C, mappings: {beta: v9}}",
                "c.yaml:8:65: /traffic_management/0/cohort_routing/mappings/beta names the pool v9, which does not exist; did you mean v1? [reference]",
            ),
            (
                "route: api, canary_pool: v1, canary_weight: 1",
                "/canary_pool is the stable pool v1 of the route itself [conflict]",
            ),
            (
                "route: api, stable_pool: v2, canary_pool: v2, canary_weight: 1",
                "/canary_pool is the stable pool v2 of the route itself [conflict]",
            ),
            (
                "route: api, canary_weight: 10",
                "/canary_weight needs canary_pool, the pool of the canary [missing]",
            ),
            ("route: api, brake: off", "/brake needs canary_pool, the pool of the canary [missing]"),
            (
                "route: api, sticky_cookie: a",
                "/sticky_cookie needs canary_pool, the pool of the canary [missing]",
            ),
            ("route: api, hash: client", "/hash needs canary_pool, the pool of the canary [missing]"),
            (
                "route: api, cohort_routing: {hash: client}",
                "/cohort_routing has hash, which needs canary_pool: it decides who is sent there [missing]",
            ),
            (
                "route: api, canary_pool: v2",
                "/canary_weight is required beside canary_pool: the share of the requests for it, such as 10 [missing]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 101",
                "/canary_weight must be from 0 to 100 [range]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 0.001",
                "/canary_weight must have at most two decimals [range]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, canary_steps: [{weight: 10, after: 1m}]",
                "/canary_steps/0/weight must be above the weight before it [range]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, canary_steps: [{weight: 20}]",
                "/canary_steps/0/after is required [missing]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, brake: off, canary_steps: [{weight: 20, after: 1m}]",
                "/brake must not be off beside canary_steps: each step needs its test [conflict]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, brake: yes",
                "/brake must be one of on, dry_run, off [invalid]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, hash: client, cohort_routing: {hash: 'cookie:a'}",
                "/hash differs from hash of cohort_routing, which means the same: give one of them [conflict]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, hash: {header: a, cookie: b}",
                "/hash/cookie cannot stand beside header [conflict]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, hash: {}",
                "/hash/header is required, or cookie [missing]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, hash: X-User",
                "/hash must be client, header:NAME or cookie:NAME [invalid]",
            ),
            (
                "route: api, canary_pool: v2, canary_weight: 10, sticky_cookie: 'a b'",
                "/sticky_cookie must be the name of a cookie: at most 128 letters, digits, - and _ [invalid]",
            ),
            (
                "route: api, cohort_routing: {mappings: {beta: v2}}",
                "/cohort_routing/header is required, or cookie: the cohort of a request [missing]",
            ),
            (
                "route: api, cohort_routing: {header: X-Cohort}",
                "/cohort_routing/mappings is required: the pool of each cohort, such as {beta: api-v2} [missing]",
            ),
            (
                "route: api, cohort_routing: {header: X-Cohort, mappings: {' b': v2}}",
                "visible characters; \" b\" is none [invalid]",
            ),
            (
                "route: api, overload_protection: {queue_size: 1}",
                "/overload_protection/max_concurrent is required [missing]",
            ),
            (
                "route: api, overload_protection: {max_concurrent: 0}",
                "/overload_protection/max_concurrent must be from 1 to 1000000 [range]",
            ),
            (
                "route: api, overload_protection: {max_concurrent: 5, queue_size: 65537}",
                "/overload_protection/queue_size must be from 0 to 65536 [range]",
            ),
            (
                "route: api, overload_protection: {max_concurrent: 5, queue_timeout: 1s}",
                "/queue_timeout needs queue_size: without a queue nothing waits [missing]",
            ),
            (
                "route: api, overload_protection: {max_concurrent: 3, adaptive: true}",
                "/adaptive must leave room below max_concurrent: its lowest limit is 4 [range]",
            ),
            ("route: api, mirror: {percent: 5}", "/mirror/pool is required [missing]"),
            ("route: api, mirror: {pool: v2, percent: 0}", "/mirror/percent must be above 0 [range]"),
            (
                "route: api, mirror: {pool: v2, methods: [get]}",
                "/mirror/methods must be a method in upper case, such as GET [invalid]",
            ),
        ],
        managed,
    );
}

#[test]
fn a_route_has_one_entry_over_all_files() {
    let entry = "traffic_management: [{route: api, overload_protection: {max_concurrent: 5}}]\n";
    let sources = [source("a.yaml", &format!("{ROUTES}{entry}")), source("b.yaml", entry)];
    let found: Vec<_> = read(&sources).findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["b.yaml:1:30: /traffic_management/0/route has an entry at a.yaml:7:30 already, and a route has one"]
    );
    // A route that could not be read is no unknown one, and neither is a canary without a readable pool.
    let found =
        findings(&managed("route: api, canary_pool: v2, canary_weight: x").replace("pool: v1", "pool: 1x!"));
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn traffic_management_alone_is_that_of_the_present_routes() {
    let base = document(&managed("route: api, overload_protection: {max_concurrent: 5}"));
    let beside = Beside { base: Some(&base), ..Beside::NOTHING };
    let text = "traffic_management: [{route: api, canary_pool: v2, canary_weight: 5}]\n";
    let over = read_beside(&[source("request", text)], &beside).document.unwrap();
    let traffic = over.set.routes[0].traffic.as_ref().unwrap();
    assert!(traffic.canary.is_some() && traffic.overload.is_none());
    assert_eq!((over.set.routes.len(), over.set.pools.len()), (2, 2));
    let none = read_beside(&[source("request", "traffic_management: []\n")], &beside).document.unwrap();
    assert!(none.set.routes.iter().all(|route| route.traffic.is_none()));
    let unknown = read_beside(&[source("request", "traffic_management: [{route: x}]\n")], &beside);
    assert_eq!(unknown.findings.len(), 1, "{:?}", unknown.findings);
}

// --- Pools ------------------------------------------------------------------------------------------------

#[test]
fn pools_count_failures_and_outliers_by_default() {
    let text = format!(
        "{}routing: {{default_backend: 'http://a:1'}}\ntenants: [{{id: t, hosts: t.example, services: [{{url: 'http://b:1'}}]}}]\n",
        pool("balancer: round_robin")
    );
    let document = document(&text);
    assert_eq!(document.set.pools.len(), 3);
    for pool in &document.set.pools {
        assert_eq!(pool.failures.statuses, StatusSet::parse("500,502-504").unwrap());
        assert_eq!(pool.failures.timeouts, TimeoutPolicy::Always);
        let traffic = &pool.traffic;
        let outliers = &traffic.outliers;
        assert_eq!((outliers.consecutive_failures, outliers.ejection.as_secs()), (5, 30));
        assert_eq!(
            (outliers.max_ejection, outliers.error_rate, outliers.dry_run),
            (percent(5_000), None, false)
        );
        assert_eq!((&traffic.circuit_breaker, traffic.protocol), (&None, UpstreamProtocol::Auto));
    }
}

#[test]
fn passive_health_and_outliers_are_one_machine() {
    let document = document(&pool(
        "health: {passive: {consecutive_failures: 3, dry_run: true}}, outlier_detection: {consecutive_failures: 3, \
         ejection_duration: 10s, error_rate_threshold: 50, max_ejection_percent: 20%}",
    ));
    let outliers = &document.set.pools[0].traffic.outliers;
    assert_eq!((outliers.consecutive_failures, outliers.ejection.as_secs()), (3, 10));
    assert_eq!((outliers.error_rate, outliers.max_ejection), (Some(percent(5_000)), percent(2_000)));
    assert!(outliers.dry_run);
    let found = findings(&pool(
        "health: {passive: {consecutive_failures: 3, ejection_duration: 1m}}, outlier_detection: {consecutive_failures: 4, ejection_duration: 30s}",
    ));
    assert_eq!(
        found,
        [
            "c.yaml:1:167: /pools/0/outlier_detection/consecutive_failures is 4 here and 3 in health.passive at c.yaml:1:97: both mean the same; give it once [conflict]",
            "c.yaml:1:189: /pools/0/outlier_detection/ejection_duration is 30s here and 60s in health.passive at c.yaml:1:119: both mean the same; give it once [conflict]",
        ]
    );
}

#[test]
fn pools_have_balancers_protocols_and_limits() {
    let document = document(
        "pools:
  - id: a
    endpoints: [{address: '10.0.0.1'}]
    balancer: consistent_hash
    hash_by: {cookie: session}
    protocol: h2c
    slow_start: 30s
    max_concurrent: 100
    failure_statuses: [503, 505-507]
    circuit_breaker: {failure_threshold: 5, timeout: 10s}
  - {id: b, endpoints: [{address: '10.0.0.1'}], balancer: least_request, protocol: h2}
  - {id: c, endpoints: [{address: '10.0.0.1'}], protocol: h1, failure_statuses: []}
  - {id: d, endpoints: [{address: '10.0.0.1', weight: 2}, {address: '10.0.0.2'}], balancer: consistent_hash, hash_by: client}
",
    );
    let [a, b, c, d] = &document.set.pools[..] else { panic!("four pools") };
    assert_eq!(a.balancer, Balancer::ConsistentHash);
    let traffic = &a.traffic;
    assert_eq!(traffic.hash_by, Some(RequestKey::Cookie("session".into())));
    assert_eq!(
        (traffic.slow_start, traffic.endpoint_max_concurrent),
        (Some(Duration::from_secs(30)), Some(100))
    );
    assert_eq!((traffic.protocol, a.endpoints[0].target.scheme()), (UpstreamProtocol::H2c, Scheme::H2c));
    assert_eq!(a.failures.statuses, StatusSet::parse("503,505-507").unwrap());
    let breaker = traffic.circuit_breaker.as_ref().unwrap();
    assert_eq!((breaker.error_threshold, breaker.failures, breaker.open.as_secs()), (None, Some(5), 10));
    assert_eq!((b.balancer, b.endpoints[0].target.scheme()), (Balancer::LeastRequest, Scheme::Https));
    assert_eq!(c.traffic.protocol, UpstreamProtocol::Http1);
    assert!(c.failures.statuses.is_empty());
    assert_eq!(d.traffic.hash_by, Some(RequestKey::Client));
}

#[test]
fn each_mistake_of_a_pools_traffic_is_named() {
    each_has_one(
        &[
            ("balancer: consistent_hash", "/hash_by is required with balancer: consistent_hash [missing]"),
            ("hash_by: client", "/hash_by needs balancer: consistent_hash [conflict]"),
            (
                "outlier_detection: {consecutive_failures: 0}",
                "/outlier_detection/consecutive_failures must be from 1 to 100 [range]",
            ),
            (
                "outlier_detection: {error_rate_threshold: 0}",
                "/outlier_detection/error_rate_threshold must be above 0 [range]",
            ),
            (
                "health: {passive: {ejection_duration: 2h}}",
                "/health/passive/ejection_duration must be from 100ms to 3600s [range]",
            ),
            (
                "failure_statuses: [404]",
                "/failure_statuses must be from 500 to 599: other statuses are about the request, not about the endpoint [range]",
            ),
            (
                "protocol: h2, tls: {insecure: true}, circuit_breaker: {open_duration: 1s, timeout: 1s}",
                "/circuit_breaker/timeout means the same as open_duration: give one of them [conflict]",
            ),
            (
                "protocol: h2c, tls: {insecure: true}",
                "/protocol is HTTP/2 without TLS, and the pool has tls: write h2 [conflict]",
            ),
            ("max_concurrent: 0", "/max_concurrent must be from 1 to 1000000 [range]"),
            ("slow_start: 10ms", "/slow_start must be from 1s to 3600s [range]"),
            ("protocol: http2", "/protocol must be one of auto, h1, h2, h2c [invalid]"),
        ],
        pool,
    );
    for (address, protocol, expected) in [
        ("http://a:1", "h2", "h2 needs https:// addresses; HTTP/2 without TLS is h2c"),
        ("https://a:1", "h2c", "h2c needs addresses with h2c:// or without a scheme"),
        ("h2c://a:1", "h1", "h2c:// is HTTP/2"),
    ] {
        let found = findings(&format!(
            "pools: [{{id: p, endpoints: [{{address: '{address}'}}], protocol: {protocol}}}]\n"
        ));
        let expected = format!("/protocol does not fit the endpoint {address}: {expected} [conflict]");
        assert!(found.len() == 1 && found[0].ends_with(&expected), "{found:#?}");
    }
}

#[test]
fn a_circuit_breaker_of_the_document_is_that_of_all_pools_without_one() {
    let text = "circuit_breaker: {failure_threshold: 5, timeout: 30s, success_threshold: 2}
pools:
  - {id: a, endpoints: []}
  - {id: b, endpoints: [], circuit_breaker: {error_threshold_percent: 10}}
routing: {default_backend: 'http://localhost:8000'}
";
    let document = document(text);
    let breaker = |pool: &str| {
        let pool = document.set.pools.iter().find(|known| known.id.as_str() == pool).unwrap();
        pool.traffic.circuit_breaker.clone().unwrap()
    };
    assert_eq!(
        (breaker("a").failures, breaker("a").error_threshold, breaker("a").successes),
        (Some(5), None, 2)
    );
    assert_eq!(breaker("default"), breaker("a"));
    assert_eq!((breaker("b").failures, breaker("b").error_threshold), (None, Some(percent(1_000))));
    let other = source("b.yaml", "circuit_breaker: {failure_threshold: 6}\n");
    let found: Vec<_> =
        read(&[source("a.yaml", text), other]).findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["b.yaml:1:18: /circuit_breaker differs from that of another file"]);
}

// --- Policies ---------------------------------------------------------------------------------------------

#[test]
fn policies_have_retries_limits_breakers_and_hedges() {
    let document = document(&policy(
        "timeout: 3s, retries: {max_attempts: 2, budget_percent: 20, min_per_second: 0, statuses: 503, idempotency_key: \
         Idempotency-Key, backoff: {min: 1s}}, rate_limit: {requests_per_minute: 90, key: [tenant, 'header:X-API-Key'], \
         ban_after: 10}, circuit_breaker: {}, hedge: {delay: 100ms}",
    ));
    let settings = &document.set.policies[0].settings;
    let retries = settings.retries.as_ref().unwrap();
    assert_eq!((retries.attempts_max.get(), retries.budget, retries.budget_floor), (2, percent(2_000), 0));
    assert_eq!(retries.statuses, StatusSet::parse("503").unwrap());
    assert_eq!(retries.idempotency_key.as_deref(), Some("idempotency-key"));
    assert_eq!((retries.backoff_min.as_millis(), retries.backoff_max.as_millis()), (1_000, 1_000));
    let limit = settings.rate_limit.as_ref().unwrap();
    assert_eq!((limit.requests, limit.per.as_secs(), limit.burst), (90, 60, 2), "a burst of one second");
    assert_eq!(*limit.key, [RateLimitKey::Tenant, RateLimitKey::Header("x-api-key".into())]);
    let ban = limit.ban.as_ref().unwrap();
    assert_eq!((ban.after, ban.duration.as_secs()), (10, 60));
    let breaker = settings.circuit_breaker.as_ref().unwrap();
    assert_eq!(
        (breaker.error_threshold, breaker.requests_min, breaker.failures),
        (Some(percent(5_000)), 20, None)
    );
    assert_eq!(settings.hedge.as_ref().unwrap().budget, percent(500));
}

#[test]
fn each_mistake_of_a_policy_is_named() {
    each_has_one(
        &[
            (
                "retries: {max_attempts: 5}",
                "/retries/max_attempts must be from 1 to 4, the first attempt included: more multiply the load on endpoints that fail already [range]",
            ),
            ("retries: {max_attempts: 0}", "endpoints that fail already [range]"),
            ("retries: {budget_percent: 120}", "/retries/budget_percent must be from 0 to 100 [range]"),
            ("retries: {statuses: [429]}", "not about the endpoint [range]"),
            (
                "retries: {idempotency_key: 'Idempotency Key'}",
                "/retries/idempotency_key must be the name of a header field, such as X-User [invalid]",
            ),
            (
                "retries: {idempotency_key: Idempotency-Key, idempotent_only: false}",
                "/retries/idempotency_key has no use beside idempotent_only: false, which repeats all requests [conflict]",
            ),
            (
                "retries: {budget_percent: 0, min_per_second: 0}",
                "/retries/budget_percent must not be 0 beside min_per_second: 0: nothing would be repeated [conflict]",
            ),
            (
                "retries: {backoff: {min: 2s, max: 1s}}",
                "/retries/backoff/min must not be longer than max [range]",
            ),
            (
                "rate_limit: {}",
                "/rate_limit/requests_per_second is required, or requests_per_minute or requests_per_hour [missing]",
            ),
            (
                "rate_limit: {requests_per_second: 1, requests_per_hour: 5}",
                "/rate_limit/requests_per_hour cannot stand beside requests_per_second [conflict]",
            ),
            (
                "rate_limit: {requests_per_second: 0}",
                "/requests_per_second must be from 1 to 1000000 [range]",
            ),
            (
                "rate_limit: {requests_per_second: 1, burst: 0}",
                "/rate_limit/burst must be at least 1: with 0 every request would be refused [range]",
            ),
            (
                "rate_limit: {requests_per_hour: 1, burst: 100}",
                "/rate_limit/burst takes 100 h to be free again at this rate, and 24 h is the longest [range]",
            ),
            (
                "rate_limit: {requests_per_second: 1, key: ip}",
                "/rate_limit/key must be route, client, tenant, host or header:NAME [invalid]",
            ),
            (
                "rate_limit: {requests_per_second: 1, key: [client, 'header:a', 'header:A']}",
                "/rate_limit/key has header:a twice [duplicate]",
            ),
            (
                "rate_limit: {requests_per_second: 1, key: []}",
                "/rate_limit/key must have from 1 to 8 parts [range]",
            ),
            (
                "rate_limit: {requests_per_second: 1, ban_for: 10s}",
                "/rate_limit/ban_after is required beside ban_for: the refusals that lead to a ban [missing]",
            ),
            (
                "circuit_breaker: {error_threshold_percent: 0}",
                "/circuit_breaker/error_threshold_percent must be above 0 [range]",
            ),
            ("hedge: {delay: p99}", "/hedge/delay must be p95, or a duration such as 100ms [invalid]"),
            ("hedge: {delay: 0}", "/hedge/delay must be from 1ms to 60s [range]"),
            ("hedge: {budget_percent: 0}", "/hedge/budget_percent must be above 0 [range]"),
            (
                "timeout: 2s, per_try_timeout: 1s, retries: {}",
                "warning: /policies/0/retries of 3 attempts with per_try_timeout 1s each do not fit into timeout 2s: the last of them are cut short [conflict]",
            ),
            (
                "timeout: 2s, hedge: {delay: 2s}",
                "warning: /policies/0/hedge has no effect: its delay 2s is not shorter than timeout 2s [conflict]",
            ),
        ],
        policy,
    );
}

#[test]
fn values_of_several_policies_that_work_against_each_other_are_named() {
    let route = |methods: &str, policies: &str, traffic: &str| {
        findings(&format!(
            "policies: [{{id: again, retries: {{max_attempts: 2}}, per_try_timeout: 1s}}]
pools: [{{id: p, endpoints: [], policy: {{timeout: 1s}}}}]
routes: [{{id: r, pool: p, {methods}policy: {policies}}}]
traffic_management: [{traffic}]
"
        ))
    };
    assert_eq!(
        route("", "again", ""),
        [
            "c.yaml:3:15: warning: /routes/0/id has policies whose retries of 2 attempts with per_try_timeout 1s each do not fit into timeout 1s: the last of them are cut short [conflict]"
        ]
    );
    assert_eq!(route("", "[{timeout: 5s}, again]", ""), [""; 0]);
    let posts = route("methods: [POST], ", "[{timeout: 5s}, again]", "");
    assert_eq!(
        posts,
        [
            "c.yaml:3:15: warning: /routes/0/id has retries without effect: POST is not idempotent; idempotency_key, or idempotent_only: false, would repeat it [conflict]"
        ]
    );
    let with_key = "[{timeout: 5s, retries: {idempotency_key: K}}, again]";
    assert_eq!(route("methods: [POST], ", with_key, ""), [""; 0]);
    assert_eq!(route("methods: [POST, PUT], ", "[{timeout: 5s}, again]", ""), [""; 0]);
    let queue = "{route: r, overload_protection: {max_concurrent: 1, queue_size: 1, queue_timeout: 5s}}";
    let found = route("", "{timeout: 5s}", queue);
    assert!(
        found.len() == 1 && found[0].contains("has a queue_timeout of 5s, and its timeout 5s"),
        "{found:?}"
    );
}

#[test]
fn a_rate_limit_of_clients_is_one_policy_of_all_routes_without_another() {
    let text = "security: {rate_limiting: {enabled: true, requests_per_second: 50}}
policies: [{id: own, rate_limit: {requests_per_second: 1}}]
pools: [{id: p, endpoints: [], policy: own}, {id: q, endpoints: []}]
routes:
  - {id: a, path: /a, pool: q, policy: {timeout: 1s}}
  - {id: b, path: /b, pool: q, policy: own}
  - {id: c, path: /c, pool: p}
  - {id: d, path: /d, redirect: /x}
";
    let document = document(text);
    let limit =
        document.set.policies.iter().find(|policy| policy.id.as_str() == "security.rate_limiting").unwrap();
    let limit = limit.settings.rate_limit.as_ref().unwrap();
    assert_eq!((limit.requests, limit.burst, &*limit.key), (50, 50, &[RateLimitKey::Client][..]));
    let limited: Vec<_> = document
        .set
        .routes
        .iter()
        .filter(|route| {
            let last = route.policies.last().and_then(PolicyRef::name);
            last.is_some_and(|id| id.as_str() == "security.rate_limiting")
        })
        .map(|route| route.id.as_str())
        .collect();
    assert_eq!(limited, ["a", "d"]);
    let off =
        self::document("security: {rate_limiting: {enabled: false}}\nroutes: [{id: a, redirect: /x}]\n");
    assert!(off.set.policies.is_empty() && off.set.routes[0].policies.is_empty());
    let default = self::document("security: {rate_limiting: {}}\n");
    let limit = default.set.policies[0].settings.rate_limit.clone().unwrap();
    assert_eq!((limit.requests, limit.burst), (100, 200));
    for (text, expected) in [
        (
            "security: {rate_limiting: {burst: 0}}",
            "/security/rate_limiting/burst must be from 1 to 10000000 [range]",
        ),
        (
            "security: {rate_limiting: {requests_per_second: 1, burst: 1000000}}",
            "/burst takes 277 h to be free again at this rate, and 24 h is the longest [range]",
        ),
        (
            "security: {rate_limiting: {}}\npolicies: [{id: security.rate_limiting}]",
            "/security/rate_limiting is already the id of a policy at c.yaml:2:17 [duplicate]",
        ),
    ] {
        let found = findings(text);
        assert!(found.len() == 1 && found[0].ends_with(expected), "{text}: {found:?}");
    }
}

// --- Documentation ----------------------------------------------------------------------------------------

#[test]
fn every_example_of_the_page_is_read_without_findings() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/traffic-policies.md");
    let page = std::fs::read_to_string(path).unwrap();
    let mut blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let beside = source("beside.yaml", blocks.next().unwrap());
    let mut count = 0;
    for block in blocks {
        let reading = read(&[beside.clone(), source("example.yaml", block)]);
        assert_eq!(reading.findings, [], "{block}");
        count += 1;
    }
    assert!(count >= 9, "{count}");
}
