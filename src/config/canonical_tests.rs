#![allow(clippy::unwrap_used)]
use super::*;
use crate::{Document, Source, read};

fn read_one(text: &str) -> Document {
    let reading = read(&[Source { name: "c".into(), text: text.to_owned() }]);
    let findings: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    reading.document.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// Every resource, with every member.
const FULL: &str = "policies:
  - {id: strict, timeout: 3s, per_try_timeout: 500ms, total_timeout: 1h, body_size_limit: 1MiB, require_tls: true, unavailable_status: 503, websocket: false}
pools:
  - id: b
    endpoints:
      - {address: '10.0.0.1:80', weight: 0, health: {active: {path: /one}}}
      - {address: 'h2c://x.internal:81', weight: 9}
    policy: {timeout: 1s}
    on_all_unhealthy: reject
  - id: a
    tls: {ca_file: /ca.pem, client_certificate: {certificate: /c.pem, key: /k.pem}, server_name: s.example, insecure: true}
    endpoints: [{address: '[::1]:443'}]
    balancer: weighted_round_robin
    health:
      active: {path: '/h?x', method: HEAD, host: 'a.example:81', headers: {Authorization: Bearer secret}, expected_status: [200, 300-399], port: 9, interval: 5s, timeout: 1s, unhealthy_threshold: 9, healthy_threshold: 1}
routes:
  - {id: r1, host: '**.example.com', path_prefix: /v1, methods: [PUT, GET], headers: {X-A: b, X-P: {present: true}}, query: {q: '1'}, priority: -3, tenant: t, pool: a, strip_prefix: true, policy: [strict, {timeout: 2s}], require_mtls: true, client_auth: {ca_file: /ca.pem, mode: optional}}
  - {id: r2, host: '[a-z]+\\.example\\.com', path_regex: '/v[0-9]+/.*', app: shop, replace_path: /x}
  - {id: r3, path: /p, redirect: {to: /q, status: 302, keep_path: true}}
  - {id: r4, path_prefix: /s, pool: b, replace_prefix: /t}
  - {id: r5, host: s.example, respond: {status: 404, content_type: text/html, body: '<p>'}}
tls: {certificates: [{sni: '*.example.com', cert_file: /c.pem, key_file: /k.pem}]}
governance:
  - {rule: reserved_hosts, hosts: ['*.corp.example'], owner: admin}
  - {rule: max_removed, hosts: 20%, routes: 5, endpoints: 0%, mode: warn}
  - {rule: require_tls, hosts: [a.example]}
  - {rule: forbid_insecure_upstream}
  - {rule: max_timeout, timeout: 60s}
  - {rule: min_endpoints, count: 2}
  - {rule: protect, hosts: [a.example], routes: [r1], pools: [a]}
  - {rule: freeze, from: '2026-12-24T00:00:00Z', until: '2027-01-02T00:00:00Z', message: holidays}
  - {rule: require_reason}
canary: {bake: 15s}
";

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
    assert_eq!((document.set.routes.len(), document.set.pools.len()), (5, 2));
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
