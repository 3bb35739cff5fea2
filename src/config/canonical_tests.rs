#![allow(clippy::unwrap_used)]
use std::num::NonZeroU8;
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set};
use proptest::option::of;
use proptest::prelude::*;
use ringway_model::{
    AdaptiveLimit, AppId, Balancer, Ban, BrakeMode, Canary, CanaryStep, CircuitBreaker, Cohorts, Hedge,
    HedgeDelay, InstanceId, Mirror, OnAllUnhealthy, Outliers, Overload, Percent, PolicyId, PoolTraffic,
    RateLimit, RateLimitKey, RequestKey, Retries, RouteId, StatusSet, Target, TrafficSpec, UpstreamProtocol,
};

use super::*;
use crate::shapes::default_failures;
use crate::{Document, Source, read};

fn read_one(text: &str) -> Document {
    let reading = read(&[Source { name: "c".into(), text: text.to_owned() }]);
    let findings: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    reading.document.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// Every resource, with every member.
const FULL: &str = r#"policies:
  - {id: strict, timeout: 3s, per_try_timeout: 500ms, total_timeout: 1h, body_size_limit: 1MiB, require_tls: true, unavailable_status: 503, websocket: false, retries: {max_attempts: 4, budget_percent: 12.5, min_per_second: 9, idempotent_only: true, statuses: [500, 502-504], idempotency_key: X-Key, backoff: {min: 5ms, max: 1s}}, rate_limit: {requests_per_hour: 1000, burst: 7, key: [route, client, tenant, host, 'header:X-A'], ban_after: 3, ban_for: 1h, headers: true, dry_run: true}, circuit_breaker: {error_threshold_percent: 33.33, min_requests: 5, failure_threshold: 9, open_duration: 1s, success_threshold: 1, dry_run: true}, hedge: {delay: 20ms, budget_percent: 1, dry_run: true}}
  - {id: short, retries: {statuses: []}, rate_limit: {requests_per_minute: 90}, circuit_breaker: {failure_threshold: 4}, hedge: {}}
pools:
  - id: b
    endpoints:
      - {address: '10.0.0.1:80', weight: 0, health: {active: {path: /one}}}
      - {address: 'h2c://x.internal:81', weight: 9}
    policy: {timeout: 1s}
    on_all_unhealthy: reject
    balancer: consistent_hash
    hash_by: {header: X-User}
    failure_statuses: [503]
    circuit_breaker: {timeout: 5s}
    outlier_detection: {consecutive_failures: 1, ejection_duration: 5s, error_rate_threshold: 5, max_ejection_percent: 0, dry_run: true}
    slow_start: 1m
    max_concurrent: 3
  - id: a
    tls: {ca_file: /ca.pem, client_certificate: {certificate: /c.pem, key: /k.pem}, server_name: s.example, insecure: true}
    endpoints: [{address: '[::1]:443'}]
    balancer: weighted_round_robin
    protocol: h2
    health:
      active: {path: '/h?x', method: HEAD, host: 'a.example:81', headers: {Authorization: Bearer secret}, expected_status: [200, 300-399], port: 9, interval: 5s, timeout: 1s, unhealthy_threshold: 9, healthy_threshold: 1}
  - {id: c, endpoints: [{address: x}], protocol: h2c, balancer: least_request}
  - {id: d, endpoints: [{address: x}], protocol: h1}
traffic_management:
  - route: r1
    canary_pool: b
    canary_weight: 0.07
    canary_steps: [{weight: 1, after: 1m}, {weight: 100, after: 7d}]
    brake: dry_run
    hash: cookie:user
    sticky_cookie: v
    cohort_routing: {header: X-C, cookie: c, trusted_only: true, mappings: {beta: b, alpha: a}, brake_cohorts: true}
    overload_protection: {max_concurrent: 9, queue_size: 8, queue_timeout: 7ms, adaptive: {target: 1s, min: 2}, dry_run: true}
    mirror: {pool: d, percent: 50, methods: [POST], timeout: 1s}
  - {route: r4, overload_protection: {max_concurrent: 9, adaptive: true}, mirror: {pool: d}}
routes:
  - {id: r1, host: '**.example.com', path_prefix: /v1, methods: [PUT, GET], headers: {X-A: b, X-P: {present: true}}, query: {q: '1'}, priority: -3, tenant: t, pool: a, strip_prefix: true, policy: [strict, {timeout: 2s}], require_mtls: true, client_auth: {ca_file: /ca.pem, mode: optional}}
  - {id: r2, host: '[a-z]+\.example\.com', path_regex: '/v[0-9]+/.*', app: shop, replace_path: /x}
  - {id: r3, path: /p, redirect: {to: /q, status: 302, keep_path: true}}
  - {id: r4, path_prefix: /s, pool: b, replace_prefix: /t}
  - {id: r5, host: s.example, respond: {status: 404, content_type: text/html, body: '<p>'}}
  - {id: r7, host: j.example, pool: b, middleware: [site, more]}
  - {id: r6, host: i.example, pool: b, middleware: [{type: request_id}, {type: auth, config: {forward: {address: 'auth:9'}}}]}
middleware:
  - id: site
    stages:
      - {type: request_id, config: {header: X-Id}}
      - {type: access_log, config: {enabled: false}}
      - {type: tracing, config: {trust_client: true}}
      - {type: ip_acl, config: {allow: [10.0.0.0/8, '2001:db8::/32'], deny: 10.0.0.1}}
      - {type: cors, config: {allow_origins: ['https://*.a.example', 'http://b:8'], allow_methods: [PUT, GET], allow_headers: X-Api, expose_headers: [X-A, X-B], allow_credentials: true, max_age: 1500ms}}
      - {type: security_headers, config: {hsts: {max_age: 730d, include_subdomains: true, preload: true}, nosniff: false, frame_options: sameorigin, content_security_policy: "default-src 'self'", referrer_policy: no-referrer, permissions_policy: 'camera=()'}}
      - {type: rewrite, config: {add_prefix: /v1}}
      - {type: redirect, config: {from: '/old/*', to: 'https://b.example/*', status: 302}}
      - {type: canonical_host, config: {host: WWW.example.com, status: 301}}
      - {type: rate_limit, policy_ref: strict}
      - type: auth
        config:
          optional: true
          any_of:
            - {jwt: {issuer: 'https://i', audience: [b, a], jwks_url: 'https://i/k', token: {header: X-Token}, claims: {sub: X-User, a.b: X-B}, require: {scope: [x, y], role: admin}, leeway: 0, forward: false}}
            - {jwt: {issuer: j, audience: a, jwks_file: /k, token: {cookie: t}}}
            - {basic: {users_file: /u, realm: here, user_header: X-Name}}
            - {api_key: {header: X-Key, keys: {b: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', a: 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb'}, user_header: X-Client}}
            - {api_key: {keys_file: /keys}}
            - {forward: {pool: b, path: '/check?a', timeout: 1s, send: [Cookie, X-A], asserts: X-By, cache: {key: [cookie, path], ttl: 1s}}}
      - {type: header_transform, config: {add: {X-C: '1', X-A: '${claim.sub} $$'}, set: {X-Ip: '${client_ip}'}, remove: [X-Z, X-Y], response: {set: {Server: x}, remove: Via-X}}}
      - {type: plugin, ref: grpc}
      - {type: body_limit, config: {size: 1KiB}}
      - {type: error_pages, config: {pages: [{statuses: 503, content_type: text/plain, body: "a\nb ${status}"}, {statuses: 5xx, body: x}]}}
      - {type: maintenance, config: {retry_after: 1s, page: '<p>', bypass: [127.0.0.1]}}
  - {id: more, stages: [{type: security_headers}, {type: maintenance}]}
plugins:
  - {id: grpc, type: external_grpc, address: 'https://g:1', timeout: 1s, fail_mode: open, asserts: X-G}
  - {id: http, type: external_http, pool: c, path: /x, send: [A], cache: {key: authorization, ttl: 60s}}
  - {id: own, type: builtin, name: structured_logger, fail_mode: open}
security: {acl: {denied_ips: 192.0.2.1}, headers: {X-Frame-Options: DENY}}
tls: {certificates: [{sni: '*.example.com', cert_file: /c.pem, key_file: /k.pem}]}
governance:
  - {rule: reserved_hosts, hosts: ['*.corp.example'], owner: admin}
  - {rule: max_removed, hosts: 20%, routes: 5, endpoints: 0%, mode: warn}
  - {rule: require_tls, hosts: [a.example]}
  - {rule: forbid_insecure_upstream}
  - {rule: max_timeout, timeout: 60s}
  - {rule: max_attempts, count: 2}
  - {rule: require_rate_limit, hosts: [a.example]}
  - {rule: require_middleware, types: [auth, ip_acl], hosts: [a.example]}
  - {rule: min_endpoints, count: 2}
  - {rule: protect, hosts: [a.example], routes: [r1], pools: [a]}
  - {rule: freeze, from: '2026-12-24T00:00:00Z', until: '2027-01-02T00:00:00Z', message: holidays}
  - {rule: require_reason}
canary: {bake: 15s}
"#;

fn reads_back_to_itself(document: &Document) {
    let again = read_one(&document.canonical);
    assert_eq!(again.set, document.set);
    assert_eq!(again.bake, document.bake);
    let rules = |document: &Document| -> Vec<(Rule, RuleMode)> {
        document.governance.iter().map(|rule| (rule.rule.clone(), rule.mode)).collect()
    };
    assert_eq!(rules(&again), rules(document));
    assert_eq!((&again.canonical, &again.version), (&document.canonical, &document.version));
}

#[test]
fn every_value_reads_back_to_itself() {
    let document = read_one(FULL);
    assert_eq!((document.set.routes.len(), document.set.pools.len()), (7, 6));
    assert_eq!((document.set.middlewares.len(), document.set.plugins.len()), (4, 3));
    reads_back_to_itself(&document);
}

#[test]
fn all_forms_of_documents_read_back_to_themselves() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["tests/documents/proxy", "../../examples/config", "../../examples/config/environments"];
    let mut count = 0;
    for folder in folders {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                reads_back_to_itself(&read_one(&std::fs::read_to_string(path).unwrap()));
                count += 1;
            }
        }
    }
    assert!(count >= 13, "{count}");
}

#[test]
fn documents_that_mean_the_same_have_the_same_text() {
    let long = read_one(
        "pools:
  - {id: p, endpoints: [{address: 'http://10.0.0.1:80', weight: 1}], balancer: round_robin}
  - {id: a, endpoints: []}
routes: [{id: r, host: A.example., pool: p, priority: 0, policy: {timeout: 60s}}]
",
    );
    let short = read_one(
        r#"{"routes": [{"policy": {"timeout": 60}, "pool": "p", "host": "a.example", "id": "r"}],
            "pools": [{"id": "a", "endpoints": []}, {"id": "p", "endpoints": [{"address": "10.0.0.1"}]}]}"#,
    );
    assert_eq!((&long.canonical, &long.version), (&short.canonical, &short.version));
    // Names are in order, whatever the features of the JSON library: versions are compared over time.
    assert_eq!(
        &*long.canonical,
        concat!(
            r#"{"policies":[],"pools":[{"balancer":"round_robin","endpoints":[],"id":"a","on_all_unhealthy":"trickle"},"#,
            r#"{"balancer":"round_robin","endpoints":[{"address":"http://10.0.0.1:80"}],"id":"p","on_all_unhealthy":"trickle"}],"#,
            r#""routes":[{"host":"a.example","id":"r","policy":{"timeout":"60s"},"pool":"p"}],"version":"v1"}"#,
        )
    );
    assert_eq!(long.version.as_str(), version(&long.canonical).as_str());
    assert_ne!(read_one("routes: []").version, long.version);
}

#[test]
fn secrets_are_hidden_in_the_document_that_is_shown() {
    let document = read_one(FULL);
    assert!(document.canonical.contains("Bearer secret"));
    let shown = super::document(&document.set, &document.governance, document.bake, Secrets::Hidden);
    assert!(!shown.to_string().contains("secret") && shown.to_string().contains("Authorization"));
}

#[test]
fn keys_of_clients_are_hidden_where_stages_are_shown() {
    let document = read_one(FULL);
    let hash = "a".repeat(64);
    assert!(document.canonical.contains(&hash));
    let shown = super::document(&document.set, &document.governance, document.bake, Secrets::Hidden);
    assert!(!shown.to_string().contains(&hash));
    let chain = document.set.middlewares.iter().find(|chain| chain.id.as_str() == "site").unwrap();
    assert!(chain.stages.iter().all(|stage| !stage_text(stage).contains(&hash)));
}

// --- Any valid set ----------------------------------------------------------------------------------------

fn percents(least: u16) -> impl Strategy<Value = Percent> {
    (least..=10_000).prop_map(|hundredths| Percent::from_hundredths(hundredths).unwrap())
}

fn millis(least: u64, most: u64) -> impl Strategy<Value = Duration> {
    // Whole seconds and others: they are written in different ways.
    (least..=most, any::<bool>()).prop_map(move |(ms, is_whole)| {
        Duration::from_millis(if is_whole { ms.max(1_000) / 1_000 * 1_000 } else { ms })
    })
}

fn names() -> impl Strategy<Value = Arc<str>> {
    "[a-z][a-z0-9-]{0,8}".prop_map(Arc::from)
}

fn statuses() -> impl Strategy<Value = StatusSet> {
    btree_set(500_u16..600, 0..6).prop_map(|statuses| {
        let texts: Vec<_> = statuses.iter().map(u16::to_string).collect();
        StatusSet::parse(&texts.join(",")).unwrap()
    })
}

fn keys() -> impl Strategy<Value = RequestKey> {
    prop_oneof![
        Just(RequestKey::Client),
        names().prop_map(RequestKey::Header),
        names().prop_map(RequestKey::Cookie)
    ]
}

prop_compose! {
    fn retries()(
        attempts in 1_u8..=4, budget in percents(1), budget_floor in 0_u16..=10_000, statuses in statuses(),
        idempotency_key in of(names()), bounds in (millis(0, 10_000), millis(0, 10_000)), only in any::<bool>(),
    ) -> Retries {
        Retries {
            attempts_max: NonZeroU8::new(attempts).unwrap(),
            budget,
            budget_floor,
            idempotent_only: only || idempotency_key.is_some(),
            statuses,
            idempotency_key,
            backoff_min: bounds.0.min(bounds.1),
            backoff_max: bounds.0.max(bounds.1),
        }
    }
}

prop_compose! {
    fn rate_limits()(
        requests in 1_u32..1_000_000, per in prop_oneof![Just(1_u64), Just(60), Just(3_600)], share in 1_u32..20,
        parts in btree_set(0_usize..5, 1..5), ban in of((1_u32..1_000, millis(1_000, 86_400_000))),
        sends_fields in any::<bool>(), dry_run in any::<bool>(),
    ) -> RateLimit {
        let part = |at: usize| match at {
            0 => RateLimitKey::Route,
            1 => RateLimitKey::Client,
            2 => RateLimitKey::Tenant,
            3 => RateLimitKey::Host,
            _ => RateLimitKey::Header("x-a".into()),
        };
        RateLimit {
            requests,
            per: Duration::from_secs(per),
            burst: (requests / share).clamp(1, 10_000_000),
            key: parts.into_iter().map(part).collect(),
            ban: ban.map(|(after, duration)| Ban { after, duration }),
            sends_fields,
            dry_run,
        }
    }
}

prop_compose! {
    fn breakers()(
        threshold in of(percents(1)), requests_min in 1_u32..1_000_000, failures in of(1_u32..1_000_000),
        open in millis(100, 3_600_000), successes in 1_u8..=100, dry_run in any::<bool>(),
    ) -> CircuitBreaker {
        let error_threshold = threshold.or(failures.is_none().then(|| Percent::from_hundredths(1).unwrap()));
        let requests_min = if error_threshold.is_some() { requests_min } else { CircuitBreaker::default().requests_min };
        CircuitBreaker { error_threshold, requests_min, failures, open, successes, dry_run }
    }
}

prop_compose! {
    fn hedges()(delay in of(millis(1, 60_000)), budget in percents(1), dry_run in any::<bool>()) -> Hedge {
        Hedge { delay: delay.map_or(HedgeDelay::P95, HedgeDelay::After), budget, dry_run }
    }
}

prop_compose! {
    fn pool_traffic()(
        outliers in (1_u8..=100, millis(100, 3_600_000), of(percents(1)), percents(0), any::<bool>()),
        circuit_breaker in of(breakers()), hash_by in of(keys()), slow_start in of(millis(1_000, 3_600_000)),
        endpoint_max_concurrent in of(1_u32..1_000_000),
        protocol in prop_oneof![Just(UpstreamProtocol::Auto), Just(UpstreamProtocol::Http1), Just(UpstreamProtocol::Http2), Just(UpstreamProtocol::H2c)],
    ) -> PoolTraffic {
        let (consecutive_failures, ejection, error_rate, max_ejection, dry_run) = outliers;
        let outliers = Outliers { consecutive_failures, ejection, error_rate, max_ejection, dry_run };
        PoolTraffic { outliers, circuit_breaker, hash_by, slow_start, endpoint_max_concurrent, protocol }
    }
}

fn pool_named(name: &str) -> PoolRef {
    PoolRef::Pool(AppId::parse(name).unwrap())
}

prop_compose! {
    fn canaries()(
        weights in btree_set(0_u16..=10_000, 1..6), after in millis(1_000, 86_400_000), hash in of(keys()),
        cookie in of(names()), brake in 0_usize..3,
    ) -> Canary {
        let mut weights = weights.into_iter().map(|weight| Percent::from_hundredths(weight).unwrap());
        let weight = weights.next().unwrap();
        let steps: Box<[_]> = weights.map(|weight| CanaryStep { weight, after }).collect();
        let brake = if steps.is_empty() { BrakeMode::ALL[brake] } else { BrakeMode::On };
        Canary { pool: pool_named("b"), weight, steps, hash, cookie, brake }
    }
}

prop_compose! {
    fn traffic()(
        canary in of(canaries()), header in of(names()), cookie in of(names()), trusted_only in any::<bool>(),
        mappings in btree_map("[!-~]{1,9}", 0_usize..2, 1..4), brake in any::<bool>(),
        overload in of((4_u32..1_000_000, 0_u32..=65_536, millis(1, 300_000), of(of(millis(1, 300_000))), any::<bool>())),
        mirror in of((percents(1), btree_set(0_usize..3, 0..3), millis(1, 60_000))),
    ) -> TrafficSpec {
        let mappings = mappings.into_iter().map(|(cohort, pool)| (cohort.into(), pool_named(["a", "b"][pool])));
        let cohorts = (header.is_some() || cookie.is_some())
            .then(|| Cohorts { header, cookie, trusted_only, mappings: mappings.collect(), brake });
        let overload = overload.map(|(max_concurrent, queue_size, queue_timeout, adaptive, dry_run)| Overload {
            max_concurrent,
            queue_size,
            queue_timeout: if queue_size == 0 { Duration::from_secs(1) } else { queue_timeout },
            adaptive: adaptive.map(|target| AdaptiveLimit { target, min: 4 }),
            dry_run,
        });
        let mirror = mirror.map(|(share, methods, timeout)| Mirror {
            pool: pool_named("a"),
            share,
            methods: methods.into_iter().map(|at| ["GET", "POST", "PUT"][at].into()).collect(),
            timeout,
        });
        TrafficSpec { canary, cohorts, overload, mirror }
    }
}

prop_compose! {
    fn sets()(
        retries in of(retries()), rate_limit in of(rate_limits()), circuit_breaker in of(breakers()),
        hedge in of(hedges()), pool in pool_traffic(), statuses in statuses(), balancer in 0_usize..4,
        traffic in traffic(), (middlewares, plugins) in super::middleware::tests::middleware(),
    ) -> OperatorSet {
        let settings = PolicySettings { retries, rate_limit, circuit_breaker, hedge, ..PolicySettings::default() };
        let scheme = match pool.protocol {
            UpstreamProtocol::Auto | UpstreamProtocol::Http1 => "http",
            UpstreamProtocol::Http2 => "https",
            UpstreamProtocol::H2c => "h2c",
        };
        let target = Target::parse(&format!("{scheme}://10.0.0.1:80")).unwrap();
        let hashed = pool.hash_by.is_some();
        let balancer = if hashed { Balancer::ConsistentHash } else { Balancer::ALL[balancer] };
        let pool = PoolTraffic {
            hash_by: pool.hash_by.or_else(|| (balancer == Balancer::ConsistentHash).then_some(RequestKey::Client)),
            ..pool
        };
        let spec = |name: &str, endpoints, traffic: PoolTraffic| PoolSpec {
            id: AppId::parse(name).unwrap(),
            endpoints,
            balancer,
            upstream_tls: None,
            failures: ringway_model::FailurePolicy { statuses, ..default_failures() },
            on_all_unhealthy: OnAllUnhealthy::Trickle,
            policy: Some(PolicyRef::Inline(Arc::new(settings.clone()))),
            traffic: Arc::new(traffic),
        };
        let endpoint = EndpointSpec {
            id: InstanceId::of_endpoint(&AppId::parse("a").unwrap(), &target),
            target,
            weight: 1,
            health_check: HealthCheck::default(),
        };
        let mut route = RouteSpec::new(RouteId::parse("r").unwrap(), HostPattern::Any, pool_named("a"));
        route.policies = Box::new([PolicyRef::Named(PolicyId::parse("p").unwrap())]);
        route.traffic = (traffic != TrafficSpec::default()).then(|| Arc::new(traffic));
        route.middleware = middlewares.iter().map(|chain| chain.id.clone()).collect();
        let files = ringway_model::FilePath::parse("/ca.pem").unwrap();
        route.client_auth = Some(ClientAuth { ca_file: files, need: ringway_model::ClientAuthNeed::Optional });
        let one = RateLimit {
            requests: 1,
            per: Duration::from_secs(1),
            burst: 1,
            key: Box::new([RateLimitKey::Client]),
            ban: None,
            sends_fields: false,
            dry_run: false,
        };
        let limited = PolicySettings { rate_limit: Some(one), ..PolicySettings::default() };
        let script = |id: &str, is_module| {
            let source = "gw.get(\"/\", function(req)\n\treturn 200, '\u{e4}'\nend)\n".into();
            Arc::new(ringway_model::ScriptSpec { id: id.into(), file: format!("{id}.lua").into(), is_module, source })
        };
        OperatorSet {
            scripts: vec![script("lib/m", true), script("s", false)],
            policies: vec![
                PolicySpec { id: PolicyId::parse("limited").unwrap(), settings: limited },
                PolicySpec { id: PolicyId::parse("p").unwrap(), settings: settings.clone() },
            ],
            middlewares,
            plugins,
            pools: vec![spec("a", vec![endpoint], pool.clone()), spec("b", Vec::new(), pool)],
            routes: vec![Arc::new(route)],
            ..OperatorSet::default()
        }
    }
}

proptest! {
    #[test]
    fn the_canonical_text_of_any_set_reads_back_to_it(set in sets()) {
        let text = text(&set, &[], None);
        let reading = read(&[Source { name: "c".into(), text: text.clone() }]);
        let findings: Vec<_> = reading.findings.iter().filter(|finding| finding.is_error()).collect();
        prop_assert!(findings.is_empty(), "{findings:?}\n{text}");
        let document = reading.document.unwrap();
        prop_assert_eq!(&*document.set, &set);
        prop_assert_eq!(&*document.canonical, &text);
    }
}
