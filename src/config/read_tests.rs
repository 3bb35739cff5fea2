#![allow(clippy::unwrap_used)]
use super::*;
use ringway_model::{HostPattern, PathMatch, PolicyRef, PoolRef, Probe, Rewrite, RouteAction};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn source(name: &str, text: &str) -> Source {
    Source { name: name.into(), text: text.to_owned() }
}

fn read_one(text: &str) -> Reading {
    read(&[source("c.yaml", text)])
}

/// The document of a text without errors.
fn document(text: &str) -> Document {
    let reading = read_one(text);
    let findings: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    reading.document.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// Findings of a text as lines.
fn findings(text: &str) -> Vec<String> {
    read_one(text).findings.iter().map(|finding| format!("{finding} [{}]", finding.code)).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Findings of a file: `line pointer code`, and whether it can be used.
fn findings_of(path: &Path) -> (Vec<String>, bool) {
    let reading = read_one(&std::fs::read_to_string(path).unwrap());
    let shown = |finding: &Finding| {
        let line = finding.place.as_ref().unwrap().line;
        format!("{line} {} {}", finding.pointer, finding.code)
    };
    (reading.findings.iter().map(shown).collect(), reading.document.is_some())
}

/// Documents as other projects write them, and their exact findings: sections of later versions shrink this
/// table as they come.
#[test]
fn documents_are_read_with_these_warnings_and_no_others() {
    let action = |line: u32, index: usize| format!("{line} /routes/{index}/pool missing");
    let documents: &[(&str, &[&str])] = &[
        ("gateway/basic.yaml", &[]),
        ("gateway/static.yaml", &[]),
        ("gateway/plugins.yaml", &[]),
        ("gateway/rollout.yaml", &["1 /rollout unsupported"]),
        ("gateway/policies.yaml", &[]),
        ("gateway/pools.yaml", &[]),
        ("proxy/cache.yaml", &[]),
        ("proxy/circuit_breaker.yaml", &[]),
        ("proxy/cli.yaml", &["1 /cli unsupported"]),
        ("proxy/filtering.yaml", &["1 /filtering unsupported"]),
        ("proxy/limits.yaml", &[]),
        ("proxy/listener.yaml", &[]),
        ("proxy/routing.yaml", &[]),
        (
            "proxy/full.yaml",
            &[
                "25 /logging/file/max_size unsupported",
                "26 /logging/file/max_age unsupported",
                "27 /logging/file/max_backups unsupported",
                "52 /security/filtering unsupported",
                "87 /cli unsupported",
            ],
        ),
    ];
    for (file, expected) in documents {
        let (findings, is_usable) = findings_of(&folder("tests/documents").join(file));
        assert_eq!(findings, *expected, "{file}");
        assert!(is_usable, "{file}");
    }
    // Excerpts whose routes go nowhere: all their keys are known.
    let (findings, _) = findings_of(&folder("tests/documents/gateway/router.yaml"));
    assert_eq!(findings, [action(2, 0), action(6, 1), action(10, 2), action(14, 3)]);
    let (findings, _) = findings_of(&folder("tests/documents/gateway/cache.yaml"));
    assert_eq!(findings, ["2 /cache/0/route reference"]);
    let (findings, _) = findings_of(&folder("tests/documents/gateway/tls.yaml"));
    assert_eq!(findings, [action(13, 0)]);
    let (findings, _) = findings_of(&folder("tests/documents/gateway/traffic_management.yaml"));
    let pools = ["mappings/beta", "mappings/stable"].map(|pool| format!("cohort_routing/{pool}"));
    let names =
        ["route".to_owned(), "stable_pool".to_owned(), "canary_pool".to_owned()].into_iter().chain(pools);
    let expected: Vec<_> = [2, 3, 4, 10, 11]
        .iter()
        .zip(names)
        .map(|(line, name)| format!("{line} /traffic_management/0/{name} reference"))
        .collect();
    assert_eq!(findings, expected);
    // A list of `...` stands for one that is left out.
    let text = std::fs::read_to_string(folder("tests/documents/gateway/dynamic.yaml")).unwrap();
    let reading = read_one(&text.replace("[...]", "[]"));
    let codes: Vec<_> = reading.findings.iter().map(|finding| (&*finding.pointer, finding.code)).collect();
    assert_eq!(codes, [("/signature", "unsupported")]);
    let (findings, _) = findings_of(&folder("tests/documents/gateway/middleware.yaml"));
    assert_eq!(findings, ["11 /middleware/0/stages/2/policy_ref reference"]);
    let listed = 6 + documents.len();
    let files = |name: &str| std::fs::read_dir(folder("tests/documents").join(name)).unwrap().count();
    assert_eq!(listed, files("gateway") + files("proxy"), "a document without a test");
}

#[test]
fn the_examples_are_read_without_errors() {
    let root = folder("../../examples/config");
    let expected: &[(&str, usize, &[&str])] = &[
        ("basic.yaml", 1, &[]),
        ("traffic.yaml", 3, &[]),
        ("cache.yaml", 3, &[]),
        ("middleware.yaml", 3, &[]),
        ("environments/development.yaml", 3, &[]),
        ("environments/staging.yaml", 2, &[]),
        ("environments/production.yaml", 4, &[]),
        ("environments/production-high-load.yaml", 5, &[]),
    ];
    for (file, routes, expected) in expected {
        let (findings, is_usable) = findings_of(&root.join(file));
        assert_eq!(findings, *expected, "{file}");
        assert!(is_usable, "{file}");
        let document = document(&std::fs::read_to_string(root.join(file)).unwrap());
        assert_eq!(document.set.routes.len(), *routes, "{file}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_found_at_once() {
    let text = std::fs::read_to_string(folder("tests/bad/mistakes.yaml")).unwrap();
    let expected = std::fs::read_to_string(folder("tests/bad/mistakes.txt")).unwrap();
    let found = findings(&text).join("\n");
    assert_eq!(found.trim(), expected.trim(), "\n{found}");
    assert!(found.lines().count() >= 20);
}

/// A pool named `p`, for texts about routes.
const POOL: &str = "pools: [{id: p, endpoints: [{address: '10.0.0.1:80'}]}]\n";

fn route(members: &str) -> String {
    format!("{POOL}routes:\n  - {{id: r, {members}}}\n")
}

#[test]
fn routes_have_conditions_actions_and_policies() {
    let text = format!(
        "{POOL}policies: [{{id: strict, timeout: 3s}}]
defaults: {{policy: {{timeout: 9s}}}}
routes:
  - id: full
    host: '*.example.com'
    path_prefix: /v1/
    methods: [POST, GET]
    headers: {{X-API-Version: v2, x-a: {{present: true}}, X-N: 10}}
    query: {{debug: '1'}}
    priority: -5
    tenant: t1
    pool: p
    strip_prefix: true
    policy: [strict, {{body_size_limit: 1MB}}]
  - {{id: old, host: old.example.com, redirect: https://www.example.com}}
  - {{id: app, host: app.example.com, app: shop, replace_path: /x}}
  - {{id: stop, respond: {{status: 503, body: later}}}}
"
    );
    let document = document(&text);
    let [full, old, app, stop] = &document.set.routes[..] else { panic!("four routes") };
    assert_eq!(full.host.to_string(), "*.example.com");
    assert_eq!(full.matcher.path, PathMatch::Prefix("/v1/".into()));
    assert_eq!(full.matcher.methods.iter().map(|method| &**method).collect::<Vec<_>>(), ["GET", "POST"]);
    let headers: Vec<String> =
        full.matcher.headers.iter().map(|field| format!("{} {:?}", field.name, field.value)).collect();
    assert_eq!(headers, ["x-a Present", "x-api-version Exact(\"v2\")", "x-n Exact(\"10\")"]);
    assert_eq!((full.priority, full.order, full.tenant.as_ref().unwrap().as_str()), (-5, 0, "t1"));
    let RouteAction::Proxy { pool: PoolRef::Pool(pool), rewrite: Rewrite::StripPrefix } = &full.action else {
        panic!("{:?}", full.action)
    };
    assert_eq!(pool.as_str(), "p");
    let [PolicyRef::Named(name), PolicyRef::Inline(own), PolicyRef::Inline(default)] = &full.policies[..]
    else {
        panic!("{:?}", full.policies)
    };
    assert_eq!((name.as_str(), own.body_size_limit), ("strict", Some(1_000_000)));
    assert_eq!(default.timeout, Some(Duration::from_secs(9)));
    let RouteAction::Redirect(redirect) = &old.action else { panic!("{:?}", old.action) };
    assert_eq!((&*redirect.to, redirect.status, redirect.keep_path), ("https://www.example.com", 308, false));
    assert!(matches!(
        &app.action,
        RouteAction::Proxy { pool: PoolRef::App(_), rewrite: Rewrite::ReplacePath(_) }
    ));
    assert_eq!((&stop.host, stop.order), (&HostPattern::Any, 3));
    let place = document.places.get(Kind::Route, "old").unwrap();
    assert_eq!(place.to_string(), "c.yaml:16:10");
}

#[test]
fn each_mistake_of_a_route_is_named() {
    for (members, expected) in [
        ("pool: q", "/routes/0/pool names the pool q, which does not exist; did you mean p? [reference]"),
        ("pool: p, policy: x", "/routes/0/policy names the policy x, which does not exist [reference]"),
        ("pool: p, app: a", "/routes/0/app cannot stand beside pool [conflict]"),
        ("host: a", "/routes/0/pool is required, or one of app, redirect, respond [missing]"),
        ("pool: p, path: /a, path_prefix: /b", "/routes/0/path_prefix cannot stand beside path [conflict]"),
        ("pool: p, strip_prefix: true", "/routes/0/strip_prefix needs path_prefix [conflict]"),
        (
            "respond: {}, path_prefix: /a, strip_prefix: true",
            "/routes/0/strip_prefix changes the path of a forwarded request, and respond forwards none [conflict]",
        ),
        ("pool: p, path: a", "/routes/0/path must begin with / [invalid]"),
        (
            "pool: p, path: '/a?b'",
            "/routes/0/path must be a path without query: visible ASCII, other characters percent-encoded, no ?, # and \\ [invalid]",
        ),
        (
            "pool: p, methods: [get]",
            "/routes/0/methods must be a method in upper case, such as GET [invalid]",
        ),
        ("pool: p, methods: []", "/routes/0/methods must have from 1 to 32 methods [range]"),
        ("pool: p, headers: {Host: a}", "/routes/0/headers must not have Host: use host [invalid]"),
        (
            "pool: p, headers: {X_Forwarded-For: a}",
            "/routes/0/headers must not have X_Forwarded-For: ringway sets it itself, and a client's value would match [invalid]",
        ),
        ("pool: p, headers: {X-A: 1, x-a: 2}", "/routes/0/headers has \"x-a\" twice [duplicate]"),
        (
            "pool: p, headers: {X-A: }",
            "/routes/0/headers/X-A has no value: give one, or leave the key out [missing]",
        ),
        ("pool: p, host: 'a*.b'", "/routes/0/host has a wildcard"),
        (
            "pool: p, priority: 3000000000",
            "/routes/0/priority must be from -2147483648 to 2147483647 [range]",
        ),
        ("pool: p, host: ~", "/routes/0/host has no value: give one, or leave the key out [missing]"),
        (
            "redirect: //evil.example",
            "/routes/0/redirect must be an absolute URL such as https://www.example.com, or a path [invalid]",
        ),
        (
            "redirect: {to: 'https://a.example?x=1', keep_path: true}",
            "/routes/0/redirect/to must not have a query or a fragment beside keep_path: the path would follow it [conflict]",
        ),
        (
            "redirect: {to: /a, status: 300}",
            "/routes/0/redirect/status must be one of 301, 302, 303, 307, 308 [range]",
        ),
        ("respond: {status: 204, body: x}", "/routes/0/respond/body must be empty with status 204 [invalid]"),
        (
            "pool: p, require_mtls: true",
            "/routes/0/require_mtls needs the CAs of client certificates: tls.mtls.ca_file, or client_auth of the route [missing]",
        ),
        (
            "pool: p, policy: {timeout: 3s, per_try_timeout: 4s}",
            "/routes/0/policy/per_try_timeout must not be longer than timeout [range]",
        ),
        ("pool: p, policy: [p, 1x!]", "/routes/0/policy"),
        ("pool: p, pol: 1", "/routes/0/pol is not known here; did you mean pool? [unknown]"),
    ] {
        let found = findings(&route(members));
        assert!(found.iter().any(|found| found.contains(expected)), "{members}: {found:#?}");
    }
}

#[test]
fn each_mistake_of_a_pool_is_named() {
    for (members, expected) in [
        (
            "endpoints: [{address: 'x:99999'}]",
            "/endpoints/0/address must have a port from 1 to 65535 [invalid]",
        ),
        ("endpoints: [{weight: 1}]", "/endpoints/0/address is required [missing]"),
        ("balancer: round_robin", "/endpoints is required [missing]"),
        ("endpoints: [{address: 'a:1', weight: 65536}]", "/weight must be from 0 to 65535 [range]"),
        (
            "endpoints: [{address: 'a:1'}, {address: 'http://a:1'}]",
            "/endpoints/1/address is the address of another endpoint of this pool [duplicate]",
        ),
        (
            "endpoints: [{address: 'a:1'}], balancer: least",
            "/balancer must be one of round_robin, weighted_round_robin, least_request, consistent_hash [invalid]",
        ),
        (
            "endpoints: [{address: 'a:1', weight: 2}, {address: 'b:1'}], balancer: round_robin",
            "warning: /pools/0/balancer ignores the weights",
        ),
        (
            "endpoints: [{address: 'a:1'}], health: {active: {path: /h, headers: {Authorization: '***'}}}",
            "/health/active/headers has *** where a hidden value was: give the value itself",
        ),
        (
            "endpoints: [{address: 'a:1'}], health: {active: {expected_status: 200}}",
            "/health/active/expected_status needs path",
        ),
        (
            "endpoints: [{address: 'h2c://a:1'}], health: {active: {path: /h, expected_status: 200}}",
            "/health/active/expected_status needs port",
        ),
        ("endpoints: {}", "/endpoints must be a list, not an object [type]"),
        ("endpoints: [10.0.0.1]", "/endpoints/0 must be an object, not \"10.0.0.1\" [type]"),
        ("endpoints: [~]", "/endpoints/0 has no value [missing]"),
    ] {
        let found = findings(&format!("pools: [{{id: p, {members}}}]\n"));
        assert_eq!(found.len(), 1, "{members}: {found:#?}");
        assert!(found[0].contains(expected), "{members}: {found:#?}");
    }
}

#[test]
fn addresses_of_endpoints_have_schemes_by_the_pool() {
    let text = "pools:
  - {id: a, endpoints: [{address: 10.0.0.1}, {address: 'https://b'}, {address: '[::1]:81', weight: 5}]}
  - {id: b, tls: {server_name: x.example}, endpoints: [{address: 'a:8443'}]}
";
    let document = document(text);
    let targets = |pool: usize| -> Vec<String> {
        document.set.pools[pool].endpoints.iter().map(|endpoint| endpoint.target.to_string()).collect()
    };
    assert_eq!(targets(0), ["http://10.0.0.1:80", "https://b:443", "http://[::1]:81"]);
    assert_eq!(targets(1), ["https://a:8443"]);
    assert_eq!(document.set.pools[0].endpoints[2].id.as_str(), "a@::1:81");
    // Weights that differ are meant to count.
    assert_eq!(document.set.pools[0].balancer, ringway_model::Balancer::WeightedRoundRobin);
}

#[test]
fn routes_of_one_host_with_the_same_conditions_are_refused() {
    let two = |first: &str, second: &str| {
        findings(&format!(
            "{POOL}routes:\n  - {{id: a, pool: p, {first}}}\n  - {{id: b, pool: p, {second}}}\n"
        ))
    };
    for (first, second) in [
        ("host: a.example", "host: A.Example."),
        ("path: /x", "path: /x"),
        ("headers: {X-A: b, X-C: d}", "headers: {x-c: d, x-a: b}"),
        ("methods: [GET, PUT]", "methods: [PUT, GET, GET]"),
    ] {
        let found = two(first, second);
        assert_eq!(
            found,
            [
                "c.yaml:4:10: /routes/1/id has host, conditions and priority of route a at c.yaml:3:10: one of the two would never serve a request [conflict]"
            ]
        );
    }
    for (first, second) in [
        ("host: a.example", "host: b.example"),
        ("path: /x", "path_prefix: /x"),
        ("path: /x", "path: /x, priority: 1"),
        ("path: /x", "path: /x, headers: {a: b}"),
    ] {
        assert_eq!(two(first, second), [""; 0]);
    }
}

#[test]
fn files_are_joined_and_ids_are_unique_over_them() {
    let a =
        source("a.yaml", "defaults: {policy: {timeout: 1s}}\nroutes: [{id: r, host: a.example, pool: p}]\n");
    let b = source("b.yaml", "pools: [{id: p, endpoints: []}]\nroutes: [{id: s, pool: p}]\n");
    let joined = read(&[a.clone(), b.clone()]).document.unwrap();
    // Defaults are those of their file.
    let policies: Vec<_> = joined.set.routes.iter().map(|route| route.policies.len()).collect();
    assert_eq!(policies, [1, 0]);
    assert_eq!(joined.places.get(Kind::App, "p").unwrap().to_string(), "b.yaml:1:14");

    let c = source("c.yaml", "pools: [{id: p, endpoints: []}]\n");
    let found: Vec<_> = read(&[a, b, c]).findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, ["c.yaml:1:14: /pools/0/id is already the id of a pool at b.yaml:1:14"]);
}

#[test]
fn a_file_that_cannot_be_parsed_makes_no_references_dangle() {
    let a = source("a.yaml", "routes: [{id: r, pool: p}]\n");
    let found: Vec<_> = read(&[a, source("b.yaml", "pools: [\n")]).findings;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].code, found[0].place.as_ref().unwrap().file.as_ref()), ("syntax", "b.yaml"));
}

#[test]
fn a_document_stands_beside_others() {
    let base =
        document(&format!("{POOL}routes: [{{id: r, pool: p}}]\ngovernance: [{{rule: require_reason}}]\n"));
    let over = source("request", "routes: [{id: n, host: n.example, pool: p}, {id: m, pool: q}]\n");
    let found = read(std::slice::from_ref(&over)).findings;
    assert_eq!(found.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["reference", "reference"]);
    let is_known = |kind: Kind, id: &str| kind == Kind::App && id == "q";
    let beside = Beside { is_known: &is_known, base: Some(&base), ..Beside::NOTHING };
    let document = read_beside(&[over], &beside).document.unwrap();
    let ids: Vec<_> = document.set.routes.iter().map(|route| route.id.as_str()).collect();
    assert_eq!((ids, document.set.pools.len(), document.governance.len()), (vec!["n", "m"], 1, 1));
    // An empty section removes; pools that are used must then be others'.
    let emptied = read_beside(&[source("request", "pools: []\nroutes: []\n")], &beside).document.unwrap();
    assert!(emptied.set.is_empty() && emptied.version != base.version);
}

#[test]
fn the_object_of_a_request_is_read_like_a_file() {
    let mut body = br#"{"config": {"routes": [{"id": "r", "pool": "p", "priorty": 1}]}}"#.to_vec();
    let body = json::parse(&mut body).unwrap();
    let Some(Value::Object(object)) = body.value("config") else { panic!("an object") };
    let reading = read_object(object, &Beside::NOTHING);
    let found: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "/routes/0/priorty is not known here; did you mean priority?",
            "/routes/0/pool names the pool p, which does not exist",
        ]
    );
}

#[test]
fn rules_with_targets_become_routes_and_pools() {
    let document = document(
        "routing:
  default_backend: http://localhost:8000
  rules:
    - match: {host: api.example.com, path: '/v1/*', headers: {X-A: b}}
      forward: {target: 'http://b:8080', timeout: 30s, strip_prefix: true}
    - match: {path: /health}
      forward: {target: 'https://c'}
health_checks: {enabled: true, interval: 10s, timeout: 5s}
",
    );
    let shown: Vec<String> = document
        .set
        .routes
        .iter()
        .map(|route| {
            format!("{} {} {:?} {}", route.id, route.host, route.matcher.path, route.pool().unwrap())
        })
        .collect();
    assert_eq!(
        shown,
        [
            "default * Any default",
            "rule-1 api.example.com Prefix(\"/v1/\") rule-1",
            "rule-2 * Exact(\"/health\") rule-2",
        ]
    );
    let pools: Vec<String> =
        document.set.pools.iter().map(|pool| pool.endpoints[0].target.to_string()).collect();
    assert_eq!(pools, ["http://localhost:8000", "http://b:8080", "https://c:443"]);
    assert_eq!(document.set.pools[1].endpoints[0].health_check.interval, Some(Duration::from_secs(10)));
    for (rule, expected) in [
        ("{match: {path: /a*b}, forward: {target: 'http://b'}}", "/match/path must have a * at its end only"),
        (
            "{match: {path: /a}, forward: {target: 'http://b', strip_prefix: true}}",
            "/forward cannot strip a prefix",
        ),
        ("{match: {path: /a}}", "/forward is required"),
        ("{forward: {target: 'http://b/x'}}", "/forward/target must not have a path"),
    ] {
        let found = findings(&format!("routing: {{rules: [{rule}]}}\n"));
        assert!(found.len() == 1 && found[0].contains(expected), "{rule}: {found:?}");
    }
}

#[test]
fn tenants_become_routes_and_pools() {
    let document = document(
        "tenants:
  - id: shop
    hosts: [shop.example.com, '*.shop.example.com']
    path_prefix: [/api/, /v2/]
    strip_prefix: true
    health_interval: 30
    services:
      - {name: one, url: 'http://a:1', health: /health}
      - {name: two, url: 'http://b:1'}
  - {name: other, path_prefix: /lb/, services: [{url: 'http://c:1'}]}
",
    );
    let shown: Vec<String> = document
        .set
        .routes
        .iter()
        .map(|route| format!("{} {} {}", route.id, route.host, route.tenant.as_ref().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            "shop-1 shop.example.com shop",
            "shop-2 shop.example.com shop",
            "shop-3 *.shop.example.com shop",
            "shop-4 *.shop.example.com shop",
            "other * other",
        ]
    );
    let shop = document.set.pools.iter().find(|pool| pool.id.as_str() == "shop").unwrap();
    let checks: Vec<_> = shop.endpoints.iter().map(|endpoint| endpoint.health_check.clone()).collect();
    assert!(checks.iter().all(|check| check.interval == Some(Duration::from_secs(30))));
    assert_ne!(checks[0].probe, checks[1].probe);
    for (tenant, expected) in [
        ("{id: a, services: []}", "/hosts is required, or path_prefix"),
        ("{hosts: a.example, services: []}", "/id is required"),
        ("{id: a, name: b, hosts: a.example, services: []}", "/name means the same as id: give one of them"),
        ("{id: a, hosts: a.example}", "/services is required"),
        ("{id: a, hosts: [a.example, 1.2.3.4], services: []}", "/hosts must"),
    ] {
        let found = findings(&format!("tenants: [{tenant}]\n"));
        assert!(found.len() == 1 && found[0].contains(expected), "{tenant}: {found:?}");
    }
}

#[test]
fn client_certificates_hold_for_all_routes() {
    let text = format!(
        "{POOL}tls: {{mtls: {{ca_file: /etc/ca.crt}}}}\nroutes: [{{id: a, pool: p, require_mtls: true}}, {{id: b, host: b.example, pool: p}}]\n"
    );
    let document = document(&text);
    assert!(document.set.routes.iter().all(|route| route.client_auth.is_some()));
    let needs: Vec<_> = document.set.routes.iter().map(|route| route.requires_client_cert).collect();
    assert_eq!(needs, [true, false]);
    let off = findings("tls: {mtls: {enabled: false}}\n");
    assert_eq!(off, [""; 0]);
    assert_eq!(findings("tls: {mtls: {}}\n"), ["c.yaml:1:13: /tls/mtls/ca_file is required [missing]"]);
}

#[test]
fn settings_of_the_process_are_kept_as_written() {
    let document = document(
        "server:
  port: 8080
  http: {bind: ['::', 0.0.0.0]}
  timeouts: {idle: 90s}
listeners:
  - {address: ':8080', protocol: http}
  - {address: ':8443', limits: {max_header_bytes: 16KiB}}
",
    );
    let shown: Vec<String> = document
        .statics
        .iter()
        .map(|value| format!("{} {} {}", value.place, value.path, value.value))
        .collect();
    assert_eq!(
        shown,
        [
            "c.yaml:2:9 /server/port 8080",
            "c.yaml:3:17 /server/http/bind/0 ::",
            "c.yaml:3:23 /server/http/bind/1 0.0.0.0",
            "c.yaml:4:20 /server/timeouts/idle 90s",
            "c.yaml:6:15 /listeners/0/address :8080",
            "c.yaml:6:34 /listeners/0/protocol http",
            "c.yaml:7:15 /listeners/1/address :8443",
            "c.yaml:7:51 /listeners/1/limits/max_header_bytes 16KiB",
        ]
    );
    for (text, expected) in [
        ("server: {port: x}", "/server/port must be a whole number"),
        ("server: {prt: 1}", "did you mean port?"),
        ("listeners: {}", "/listeners must be a list"),
        ("storage: {kind: postgres}", "/storage/kind must be one of"),
        ("idle_timeout: [1s]", "/idle_timeout must be"),
        ("metrics:", "/metrics has no value"),
    ] {
        let found = findings(text);
        assert!(found.len() == 1 && found[0].contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn health_checks_are_a_request_or_a_connection() {
    let checks = |text: &str| {
        let text =
            format!("health_checks: {text}\npools: [{{id: p, endpoints: [{{address: '10.0.0.1:80'}}]}}]\n");
        document(&text).set.pools[0].endpoints[0].health_check.clone()
    };
    let check = checks("{path: /up, method: HEAD, expected_status: '204', interval: 5s}");
    let Probe::Http(probe) = &check.probe else { panic!("{check:?}") };
    assert_eq!((probe.path.as_str(), probe.method.as_str()), ("/up", "HEAD"));
    assert_eq!((probe.statuses.to_string().as_str(), check.interval), ("204", Some(Duration::from_secs(5))));
    assert_eq!(checks("{interval: 5s}").probe, Probe::Tcp);
    let found = findings("health_checks: {expected_status: 200}\n");
    assert!(found.len() == 1 && found[0].contains("expected_status needs path"), "{found:?}");
    let schema = crate::schema();
    let described = &schema["properties"]["health_checks"]["properties"];
    for name in ["path", "method", "expected_status", "interval"] {
        assert!(described[name].is_object(), "{name}: {described}");
    }
}

#[test]
fn patterns_of_other_proxies_are_named_with_the_right_spelling() {
    for (route, expected) in [
        (r"host: '~^(www\.)?a\.example$', pool: p", "/routes/0/host begins with ~, which no host has"),
        ("host: 'x.*.com', pool: p", "/routes/0/host has a wildcard in a place where none is possible"),
        ("host: 'www.a.*', pool: p", "write *.example.com for one label"),
        ("path_regex: '~* /images/', pool: p", "/routes/0/path_regex begins with ~"),
    ] {
        let found = findings(&format!("pools: [{{id: p, endpoints: []}}]\nroutes: [{{id: r, {route}}}]\n"));
        assert!(found.iter().any(|found| found.contains(expected)), "{route}: {found:?}");
    }
}

#[test]
fn governance_has_a_fixed_list_of_rules() {
    let document = document(
        "governance:
  - {rule: reserved_hosts, hosts: ['*.corp.example'], owner: file, mode: refuse}
  - {rule: max_removed, hosts: 20%, routes: 5, mode: warn}
  - {rule: freeze, from: '2026-12-24T00:00:00Z', message: holidays}
  - {rule: min_endpoints, count: 2}
  - {rule: max_timeout, timeout: 60s}
  - {rule: protect, pools: [a]}
  - {rule: require_tls}
canary: {bake: 15s}
",
    );
    let names: Vec<_> = document.governance.iter().map(|rule| rule.rule.name()).collect();
    assert_eq!(
        names,
        ["reserved_hosts", "max_removed", "freeze", "min_endpoints", "max_timeout", "protect", "require_tls"]
    );
    assert_eq!(document.bake, Some(Duration::from_secs(15)));
    for (rule, expected) in [
        ("{rule: reserved_host}", "/rule must be one of reserved_hosts"),
        ("{rule: reserved_hosts}", "/hosts is required"),
        ("{mode: warn}", "/rule is required"),
        ("{rule: max_removed, hosts: 120%}", "/hosts must be from 0% to 100%"),
        ("{rule: max_timeout, hosts: [a]}", "/timeout is required"),
        ("{rule: freeze, from: tomorrow}", "/from must be a time in UTC"),
        ("{rule: require_signatures}", "warning: /governance/0/rule is not supported"),
    ] {
        let found = findings(&format!("governance: [{rule}]\n"));
        assert!(found.iter().any(|found| found.contains(expected)), "{rule}: {found:?}");
    }
}

#[test]
fn a_configuration_is_bounded_and_never_blank() {
    assert_eq!(findings(""), ["c.yaml:1:1: is empty [missing]"]);
    assert_eq!(findings("# nothing\n"), ["c.yaml:1:1: is empty [missing]"]);
    assert_eq!(findings("- a\n"), ["c.yaml:1:1: must be an object, not an array [type]"]);
    assert_eq!(findings("[1]"), ["c.yaml:1:1: must be an object, not an array [type]"]);
    assert_eq!(read(&[]).findings[0].code, "missing");
    let long = "a".repeat(limits::DOCUMENT_BYTES_MAX + 1);
    assert_eq!(read_one(&long).findings[0].code, "range");
    let many = vec![source("c", "version: v1"); limits::SOURCES_MAX + 1];
    assert_eq!(read(&many).findings[0].code, "range");
    let mistakes: String = (0..5_000).map(|n| format!("k{n}: 1\n")).collect();
    let found = findings(&mistakes);
    assert_eq!(found.last().unwrap(), "and 4936 more [more]");
    let mistakes: String = (0..5_000).map(|n| format!("  - {{id: p{n}, x: 1, endpoints: []}}\n")).collect();
    let found = findings(&format!("pools:\n{mistakes}"));
    assert_eq!(found.len(), limits::DOCUMENT_FINDINGS_MAX + 1);
    assert_eq!(found.last().unwrap(), "and 4900 more [more]");
}

#[test]
fn keys_cannot_forge_lines_of_a_log() {
    let found = findings("\"a\\nroutes.yaml:1:1: ok\\u202e\\e[31m\": 1\n");
    assert!(
        found[0].starts_with("c.yaml:1:1: /a\\u{a}routes.yaml:1:1: ok\\u{202e}\\u{1b}[31m is not"),
        "{found:?}"
    );
}

#[test]
fn sections_without_effect_give_one_warning_for_each_name() {
    let text = "pools:
  - {id: a, discover: {srv: a.example}}
  - {id: b, discover: {srv: b.example}}
rollout: {stages: []}
";
    assert_eq!(
        findings(text),
        [
            "c.yaml:2:13: warning: /pools/0/discover is not supported by this version and has no effect; there are 1 more of this name [unsupported]",
            "c.yaml:4:1: warning: /rollout is not supported by this version and has no effect [unsupported]",
        ]
    );
}
