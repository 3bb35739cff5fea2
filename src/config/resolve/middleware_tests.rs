#![allow(clippy::unwrap_used)]
use crate::{Source, read};

/// Findings about a document with one pool and two policies.
fn findings(text: &str) -> Vec<String> {
    let text = format!(
        "pools: [{{id: p, endpoints: [{{address: x}}]}}]
policies: [{{id: slow, rate_limit: {{requests_per_second: 1}}}}, {{id: none, timeout: 1s}}]
{text}"
    );
    let reading = read(&[Source { name: "c".into(), text }]);
    reading.findings.iter().map(ToString::to_string).collect()
}

/// Findings about the stages of one chain, from their index on.
fn chain(stages: &str) -> Vec<String> {
    let found = findings(&format!("middleware: [{{id: c, stages: [{stages}]}}]"));
    let rest = |line: &String| match line.split_once("/middleware/0/stages/") {
        Some((place, rest)) => format!("{}{rest}", if place.contains("warning") { "warning " } else { "" }),
        None => line.clone(),
    };
    found.iter().map(rest).collect()
}

const JWT: &str = "{type: auth, config: {jwt: {issuer: 'https://i', audience: a, claims: {sub: X-User}}}}";
const FORWARD: &str = "{type: auth, config: {forward: {pool: p, asserts: X-Name}}}";
const CORS: &str = "{type: cors, config: {allow_origins: 'https://a.example'}}";
const REWRITE: &str = "{type: rewrite, config: {strip_prefix: /api}}";

#[test]
fn preflights_must_not_meet_auth() {
    let message = "stands after auth: preflights have no credentials, and all of them would be refused";
    assert_eq!(chain(&format!("{JWT}, {CORS}")), [format!("1 {message}")]);
    assert_eq!(chain(&format!("{CORS}, {JWT}")), [""; 0]);
}

#[test]
fn the_path_that_was_judged_is_forwarded() {
    let message = "stands after auth, which judges the path: the endpoint would get another one";
    assert_eq!(chain(&format!("{FORWARD}, {REWRITE}")), [format!("1 {message}")]);
    assert_eq!(chain(&format!("{REWRITE}, {FORWARD}")), [""; 0]);
    assert_eq!(chain(&format!("{JWT}, {REWRITE}")), [""; 0]);
    let twice = chain(&format!("{REWRITE}, {REWRITE}"));
    assert_eq!(twice, ["1 is the second rewrite: one changes the path"]);
}

#[test]
fn limits_count_once_and_count_something() {
    let limit = |policy: &str| format!("{{type: rate_limit, policy_ref: {policy}}}");
    let twice = chain(&format!("{}, {}", limit("slow"), limit("slow")));
    assert_eq!(twice, ["1 counts the policy slow a second time"]);
    assert_eq!(chain(&limit("none")), ["0 names the policy none, which has no rate_limit"]);
    let unknown = "0/policy_ref names the policy slo, which does not exist; did you mean slow?";
    assert_eq!(chain(&limit("slo")), [unknown]);
}

#[test]
fn limits_count_by_verified_values_of_asserted_fields() {
    let with = |key: &str, policy: &str, stages: &str| {
        let text = format!(
            "pools: [{{id: p, endpoints: [{{address: x}}]}}]
policies: [{{id: by, rate_limit: {{requests_per_second: 1, key: {key}}}}}]
middleware: [{{id: c, stages: [{stages}]}}]
routes: [{{id: r, host: a.example, pool: p, middleware: c{policy}}}]"
        );
        let reading = read(&[Source { name: "c".into(), text }]);
        reading.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let own = ", policy: by";
    for key in ["'header:X-User'", "['route', 'header:x_user']"] {
        let found = with(key, own, JWT);
        assert!(found.len() == 1 && found[0].contains("warning"), "{key}: {found:?}");
        assert!(
            found[0].contains("passes the stage auth, which sets x") && found[0].contains("may be forged"),
            "{found:?}"
        );
    }
    assert_eq!(with("'header:X-Other'", own, JWT), [""; 0]);
    assert_eq!(with("'header:X-User'", own, CORS), [""; 0]);
    let limit = "{type: rate_limit, policy_ref: by}";
    assert_eq!(with("'header:X-User'", own, &format!("{JWT}, {limit}")), [""; 0], "counted at the stage");
    assert_eq!(with("'header:X-User'", "", &format!("{JWT}, {limit}")), [""; 0]);
    let found = with("'header:X-User'", "", &format!("{limit}, {JWT}"));
    assert!(found.len() == 1 && found[0].contains("which the stage auth behind it sets"), "{found:?}");
}

#[test]
fn content_is_compressed_after_all_its_changes() {
    const COMPRESS: &str = "{type: compress}";
    let pages = "{type: error_pages, config: {pages: [{statuses: 5xx, body: x}]}}";
    let edits =
        |name: &str| format!("{{type: header_transform, config: {{response: {{set: {{{name}: x}}}}}}}}");
    let after = "1 stands after error_pages, which replaces the content of compressed responses";
    assert_eq!(chain(&format!("{pages}, {COMPRESS}")), [after]);
    assert_eq!(chain(&format!("{COMPRESS}, {pages}")), [""; 0]);
    let after = "1 stands after header_transform, which changes Vary of compressed responses";
    assert_eq!(chain(&format!("{}, {COMPRESS}", edits("Vary"))), [after]);
    assert_eq!(chain(&format!("{}, {COMPRESS}", edits("X-A"))), [""; 0]);
    assert_eq!(chain(&format!("{COMPRESS}, {}", edits("Vary"))), [""; 0]);
    let twice = chain(&format!("{COMPRESS}, {COMPRESS}"));
    assert_eq!(twice, ["1 is the second compress: content is encoded once"]);
}

#[test]
fn responses_for_one_user_are_not_cached_for_all() {
    let found = |cache: &str, stage: &str| {
        findings(&format!("routes: [{{id: r, pool: p, middleware: [{stage}], cache: {cache}}}]"))
    };
    let rest = "and the cache does not distinguish it: the response for one user would be served to another; \
                vary_headers has to name it";
    let expected = format!("c:3:15: /routes/0/id passes the stage auth, which sets x-user, {rest}");
    assert_eq!(found("true", JWT), [expected]);
    assert_eq!(found("{vary_headers: x-user}", JWT), [""; 0]);
    assert_eq!(found("{enabled: false}", JWT), [""; 0]);
    assert!(found("true", FORWARD)[0].contains("sets x-name"));
    let sets = |value: &str| format!("{{type: header_transform, config: {{set: {{X-A: '{value}'}}}}}}");
    for (value, count) in [("${client_ip}", 1), ("${header.x-b}", 1), ("${header.x-k}", 0), ("${path}", 0)] {
        let found = found("{vary_headers: X-K}", &sets(value));
        assert_eq!(found.len(), count, "{value}: {found:?}");
        assert!(
            found.iter().all(|found| found.contains("warning") && found.contains("sets X-A for each client"))
        );
    }
    assert_eq!(found("{vary_headers: X-A}", &sets("${client_ip}")), [""; 0]);
}

#[test]
fn asserted_fields_are_set_by_authentication_alone() {
    let set = |name: &str| format!("{{type: header_transform, config: {{set: {{{name}: x}}}}}}");
    let message =
        |name: &str| format!("1 changes {name}, which only authentication sets: its value would be no proof");
    for name in ["X-User", "x_user", "X.USER"] {
        assert_eq!(chain(&format!("{JWT}, {}", set(name))), [message(name)]);
    }
    assert_eq!(chain(&format!("{FORWARD}, {}", set("X-Name"))), [message("X-Name")]);
    assert_eq!(chain(&format!("{JWT}, {}", set("X-Name"))), [""; 0]);
    let of_plugin = findings(&format!(
        "plugins: [{{id: g, type: external_http, pool: p, asserts: [X-User]}}]
middleware: [{{id: c, stages: [{}, {{type: plugin, ref: g}}]}}]",
        set("X-User")
    ));
    assert!(of_plugin.len() == 1 && of_plugin[0].contains("stages/0 changes X-User"), "{of_plugin:?}");
}

#[test]
fn values_are_not_made_of_a_clients_asserted_fields() {
    let refused = || {
        "1 reads x-user of the client, which may be forged, for authentication sets this field: take ${user} or \
         ${claim.NAME}"
            .to_owned()
    };
    for (place, name) in [("set", "X-User"), ("add", "x-user")] {
        let copies =
            format!("{{type: header_transform, config: {{{place}: {{X-Copy: 'a ${{header.{name}}}'}}}}}}");
        assert_eq!(chain(&format!("{JWT}, {copies}")), [refused()]);
    }
    let returns = "{type: header_transform, config: {response: {set: {X-Copy: '${header.X-User}'}}}}";
    assert_eq!(chain(&format!("{JWT}, {returns}")), [refused()]);
    let others = "{type: header_transform, config: {set: {X-Copy: '${header.X-Name} ${user}'}}}";
    assert_eq!(chain(&format!("{JWT}, {others}")), [""; 0]);
}

#[test]
fn a_stage_after_maintenance_never_runs() {
    let message = "warning 0 answers all requests: the stage cors after it never runs";
    assert_eq!(chain(&format!("{{type: maintenance}}, {{type: request_id}}, {CORS}")), [message]);
    assert_eq!(chain("{type: maintenance}, {type: access_log}"), [""; 0]);
    assert_eq!(chain(&format!("{{type: maintenance, config: {{bypass: 10.0.0.0/8}}}}, {CORS}")), [""; 0]);
}

#[test]
fn chains_of_a_route_are_judged_together() {
    let found = findings(&format!(
        "middleware:
  - {{id: a, stages: [{JWT}]}}
  - {{id: b, stages: [{CORS}, {REWRITE}]}}
routes:
  - {{id: r, path_prefix: /x, pool: p, strip_prefix: true, middleware: [a, b]}}
  - {{id: s, path: /s, methods: [GET], pool: p, middleware: [b, a]}}
  - {{id: t, path: /t, redirect: /x, middleware: b}}"
    ));
    let found: Vec<_> = found.iter().map(|line| line.split_once("/routes/").unwrap().1).collect();
    assert_eq!(
        found,
        [
            "0/id passes the stage rewrite, which changes the path, and so does the route itself: one of both has to \
             go",
            "0/id passes the stage cors, which stands after auth: preflights have no credentials, and all of them \
             would be refused",
            "1/id passes the stage cors, which answers preflights, and the route's methods leave out OPTIONS",
            "2/id passes the stage rewrite, which changes the path of forwarded requests, and the route forwards none",
        ]
    );
}

#[test]
fn stages_fit_the_policy_and_the_handshake_of_their_route() {
    let found = findings(
        "routes:
  - id: r
    pool: p
    policy: {require_tls: false, body_size_limit: 1KiB}
    middleware:
      - {type: security_headers, config: {hsts: true}}
      - {type: body_limit, config: {size: 1MiB}}
      - {type: auth, config: {client_certificate: true}}",
    );
    let found: Vec<_> = found.iter().map(|line| line.split_once("passes the stage ").unwrap().1).collect();
    assert_eq!(
        found,
        [
            "auth, which needs client certificates, and the handshake asks for none: tls.mtls, or client_auth of the \
             route, names their CAs",
            "security_headers, which sends Strict-Transport-Security, and the route serves requests without TLS",
            "body_limit, which has no effect: the route's policy admits 1024 bytes only",
        ]
    );
    let asked = findings(
        "routes: [{id: r, pool: p, client_auth: {ca_file: /ca.pem}, middleware: {type: auth, config: \
         {client_certificate: true}}}]",
    );
    assert_eq!(asked, [""; 0]);
}
