#![allow(clippy::unwrap_used)]
use ringway_model::{
    AuthMethod, ExternalProtocol, FailMode, JwtKeys, PluginKind, Scheme, StageSpec, TokenPlace,
    UpstreamProtocol,
};

use crate::{Document, Source, read};

fn findings(text: &str) -> Vec<String> {
    let reading = read(&[Source { name: "c".into(), text: text.to_owned() }]);
    reading.findings.iter().map(ToString::to_string).collect()
}

fn document(text: &str) -> Document {
    let reading = read(&[Source { name: "c".into(), text: text.to_owned() }]);
    let findings: Vec<_> = reading.findings.iter().map(ToString::to_string).collect();
    reading.document.unwrap_or_else(|| panic!("{findings:#?}"))
}

/// The stages of one chain.
fn stages(text: &str) -> Vec<StageSpec> {
    let document = document(&format!("middleware: [{{id: c, stages: {text}}}]"));
    document.set.middlewares[0].stages.to_vec()
}

/// Findings about one stage, without their places.
fn about(stage: &str) -> Vec<String> {
    let prefix = "/middleware/0/stages/0";
    findings(&format!("middleware: [{{id: c, stages: [{stage}]}}]"))
        .iter()
        .map(|finding| finding.split_once(prefix).map_or(finding.as_str(), |(_, rest)| rest).to_owned())
        .collect()
}

/// The chain and the plugins of the document that describes the gateway.
const DESCRIBED: &str = r#"
routes: [{id: api, host: api.example.com, pool: api-pool, middleware: api-chain}]
pools: [{id: api-pool, endpoints: [{address: 10.0.1.10:8000}]}]
policies: [{id: strict-policy, rate_limit: {requests_per_second: 100, burst: 20}}]
middleware:
  - id: api-chain
    stages:
      - type: request_id
      - type: auth
        config:
          jwt:
            issuer: https://auth.example.com
            audience: api
      - type: rate_limit
        policy_ref: strict-policy
      - type: header_transform
        config:
          add:
            X-Proxy-Version: "1.0"
          remove:
            - X-Internal-Secret
      - type: tracing
      - type: access_log
plugins:
  - id: custom-auth
    type: external_grpc
    address: localhost:50051
    timeout: 50ms
    fail_mode: closed # or 'open'
  - id: request-logger
    type: builtin
    name: structured_logger
    fail_mode: open
"#;

#[test]
fn the_described_chain_and_plugins_are_read() {
    let document = document(DESCRIBED);
    let chain = &document.set.middlewares[0];
    let types: Vec<_> = chain.stages.iter().map(StageSpec::type_name).collect();
    assert_eq!(types, ["request_id", "auth", "rate_limit", "header_transform", "tracing", "access_log"]);
    let StageSpec::Auth(auth) = &chain.stages[1] else { panic!("{chain:?}") };
    let [AuthMethod::Jwt(jwt)] = &*auth.any_of else { panic!("{auth:?}") };
    assert_eq!(
        (&*jwt.issuer, &jwt.keys, &jwt.token),
        ("https://auth.example.com", &JwtKeys::Discovery, &TokenPlace::Bearer)
    );
    assert_eq!((jwt.leeway.as_secs(), jwt.forward, auth.optional), (30, true, false));
    assert_eq!(document.set.routes[0].middleware[0].as_str(), "api-chain");

    let filter = document.set.plugins[0].external().unwrap();
    assert_eq!((filter.pool.as_str(), &filter.protocol), ("plugin.custom-auth", &ExternalProtocol::Grpc));
    assert_eq!((filter.timeout.as_millis(), filter.fail_mode), (50, FailMode::Closed));
    let pool = document.set.pools.iter().find(|pool| pool.id.as_str() == "plugin.custom-auth").unwrap();
    assert_eq!(pool.endpoints[0].target.to_string(), "h2c://localhost:50051");
    assert_eq!(pool.traffic.protocol, UpstreamProtocol::H2c);
    let PluginKind::Builtin { name, fail_mode } = &document.set.plugins[1].kind else { panic!() };
    assert_eq!((&**name, *fail_mode), ("structured_logger", FailMode::Open));
}

#[test]
fn stages_of_a_route_become_a_chain_of_their_own() {
    let document = document(
        "pools: [{id: p, endpoints: [{address: x}]}]
routes:
  - id: r
    pool: p
    middleware:
      - {type: request_id}
      - {type: auth, config: {forward: {address: 'https://auth.internal', path: '/check?x'}}}
  - {id: s, path: /s, pool: p, middleware: {type: request_id}}
",
    );
    let chains: Vec<_> = document.set.middlewares.iter().map(|chain| chain.id.as_str()).collect();
    assert_eq!(chains, ["route.r", "route.s"]);
    assert_eq!(document.set.routes[0].middleware[0].as_str(), "route.r");
    let pools: Vec<_> = document.set.pools.iter().map(|pool| pool.id.as_str()).collect();
    assert_eq!(pools, ["middleware.route.r.1", "p"]);
    assert_eq!(document.set.pools[0].endpoints[0].target.scheme(), Scheme::Https);
}

#[test]
fn every_stage_has_defaults_where_it_can() {
    let stages = stages(
        "[{type: request_id}, {type: access_log, config: {enabled: false}}, {type: tracing, config: {trust_client: true}}, \
         {type: security_headers}, {type: maintenance}, {type: cors, config: {allow_origins: [https://a.example]}}]",
    );
    let lines: Vec<_> = stages.iter().map(crate::canonical::stage_text).collect();
    assert_eq!(
        lines,
        [
            r#"{"config":{"header":"X-Request-ID"},"type":"request_id"}"#,
            r#"{"config":{"enabled":false},"type":"access_log"}"#,
            r#"{"config":{"trust_client":true},"type":"tracing"}"#,
            r#"{"config":{"frame_options":"deny","nosniff":true,"referrer_policy":"strict-origin-when-cross-origin"},"type":"security_headers"}"#,
            r#"{"config":{"retry_after":"300s"},"type":"maintenance"}"#,
            r#"{"config":{"allow_credentials":false,"allow_methods":["GET","HEAD","POST"],"allow_origins":["https://a.example"],"max_age":"600s"},"type":"cors"}"#,
        ]
    );
}

#[test]
fn words_that_are_no_stages_and_no_settings_are_named() {
    let words = "request_id, access_log, tracing, header_transform, security_headers, cors, auth, ip_acl, rate_limit, \
                 maintenance, redirect, rewrite, canonical_host, body_limit, error_pages, compress, plugin, lua";
    let unknown = about("{type: rate_limits, policy: x}");
    assert_eq!(unknown, [format!("/type must be one of {words}; did you mean rate_limit?")]);
    assert_eq!(about("{config: {}}"), ["/type is required"]);
    assert_eq!(about("{type: cors}"), ["/config is required"]);
    assert_eq!(about("{type: request_id, ref: x}"), ["/ref is not known here; known are: type, config"]);
    assert_eq!(
        about("{type: plugin, config: {}, ref: x}"),
        ["/config is not known here; known are: type, ref", "/ref names the plugin x, which does not exist",]
    );
    let misspelt = about("{type: cors, config: {allow_origin: '*', allow_origins: '*'}}");
    assert_eq!(misspelt, ["/config/allow_origin is not known here; did you mean allow_origins?"]);
}

#[test]
fn no_stage_changes_fields_of_the_connection_or_of_ringway() {
    for name in ["Host", "x_forwarded_for", "X-Tenant-ID", "Transfer-Encoding", "Via", "x.real.ip", "TE"] {
        let set = about(&format!("{{type: header_transform, config: {{set: {{{name}: a}}}}}}"));
        let message = "is a field that ringway sets itself: no stage can change it";
        assert_eq!(set, [format!("/config/set/{name} {message}")]);
        let remove = about(&format!("{{type: header_transform, config: {{remove: [X-A, {name}]}}}}"));
        assert_eq!(remove, [format!("/config/remove has {name:?}, which {message}")]);
        let claim = about(&format!(
            "{{type: auth, config: {{jwt: {{issuer: 'https://i', audience: a, claims: {{sub: {name}}}}}}}}}"
        ));
        let lower = name.to_ascii_lowercase();
        assert_eq!(claim, [format!("/config/jwt/claims/sub has {lower:?}, which {message}")]);
    }
    for name in ["Date", "x-request-id", "Content-Length"] {
        let set = about(&format!("{{type: header_transform, config: {{response: {{add: {{{name}: a}}}}}}}}"));
        assert!(set.len() == 1 && set[0].starts_with(&format!("/config/response/add/{name} ")), "{set:?}");
    }
    let response =
        "{type: header_transform, config: {response: {set: {Server: x, X-Forwarded-Host: x}, remove: Host}}}";
    assert_eq!(about(response), [""; 0]);
}

#[test]
fn values_of_fields_cannot_end_the_line_and_name_known_properties() {
    let set = |value: &str| about(&format!("{{type: header_transform, config: {{set: {{X-A: {value}}}}}}}"));
    assert_eq!(set("'${client_ip} ${claim.sub} $$1'"), [""; 0]);
    assert_eq!(set("7"), [""; 0]);
    let wrong = "/config/set/X-A must be visible ASCII, with spaces inside only";
    for value in [r#""a\r\nSet-Cookie: b""#, r#""a\0""#, "' a'", "'ä'"] {
        assert_eq!(set(value), [wrong], "{value}");
    }
    assert!(set("'${hosts}'")[0].contains("${hosts}, which does not exist; there are client_ip"));
    assert!(set("'${host'")[0].contains("without its }"));
    assert_eq!(set("[a]"), ["/config/set/X-A must be a string, not an array"]);
    let name = about("{type: header_transform, config: {set: {'a b': c}}}");
    assert_eq!(name, ["/config/set/a b is not the name of a header field, such as X-User"]);
    let twice = about("{type: header_transform, config: {set: {X-A: a, x-a: b}}}");
    assert_eq!(twice, ["/config/set/x-a is there twice, but for its case"]);
    for empty in ["{}", "{set: {}}", "{response: {remove: []}}"] {
        let none = about(&format!("{{type: header_transform, config: {empty}}}"));
        assert_eq!(none, ["/config/add is required, or set, remove or response"]);
    }
}

#[test]
fn origins_are_those_that_browsers_send() {
    let origins = |text: &str| about(&format!("{{type: cors, config: {{allow_origins: {text}}}}}"));
    for good in [
        "'*'",
        "https://A.example:443",
        "'http://localhost:3000'",
        "'https://*.example.com'",
        "'http://[::1]:8'",
        "['https://a.example', 'capacitor://localhost']",
    ] {
        assert_eq!(origins(good), [""; 0], "{good}");
    }
    for bad in [
        "a.example",
        "https://a.example/",
        "https://a.example/x",
        "https://",
        "'https://*'",
        "'https://a.*.example'",
        "'https://*.*.example'",
        "'null'",
        "'https://u@a.example'",
        "'https://a.example:0'",
        "'https://a.example:x'",
        "'https://a b'",
        "'*.example.com'",
    ] {
        let found = origins(bad);
        assert!(
            found.len() == 1 && found[0].starts_with("/config/allow_origins must be an origin"),
            "{bad} {found:?}"
        );
    }
    assert_eq!(origins("[]"), ["/config/allow_origins must have at least one origin"]);
    let star = origins("['*', 'https://a.example']");
    assert_eq!(star, ["/config/allow_origins has * beside other origins: it stands for all"]);
    let open = about("{type: cors, config: {allow_origins: '*', allow_credentials: true}}");
    assert!(open[0].starts_with("/config/allow_credentials cannot stand beside the origin *"), "{open:?}");
    let StageSpec::Cors(cors) =
        &stages("[{type: cors, config: {allow_origins: 'HTTPS://A.example:443'}}]")[0]
    else {
        panic!()
    };
    assert_eq!(&*cors.allow_origins[0], "https://a.example");
}

#[test]
fn addresses_of_keys_are_secure() {
    let jwt = |text: &str| about(&format!("{{type: auth, config: {{jwt: {{audience: a, {text}}}}}}}"));
    for good in [
        "issuer: 'https://auth.example.com/realms/x'",
        "issuer: 'http://127.0.0.1:8080'",
        "issuer: 'http://localhost'",
        "issuer: 'http://[::1]:1'",
        "issuer: anything, jwks_url: 'https://auth.example.com/keys?x=1'",
        "issuer: anything, jwks_file: /etc/keys.json",
    ] {
        assert_eq!(jwt(good), [""; 0], "{good}");
    }
    for (bad, member) in [
        ("issuer: 'http://auth.example.com'", "issuer"),
        ("issuer: 'http://127.0.0.1.example.com'", "issuer"),
        ("issuer: 'http://10.0.0.1'", "issuer"),
        ("issuer: auth", "issuer"),
        ("issuer: 'ftp://auth'", "issuer"),
        ("issuer: i, jwks_url: 'http://auth.example.com/keys'", "jwks_url"),
        ("issuer: i, jwks_url: 'https://u:p@auth.example.com/keys'", "jwks_url"),
        ("issuer: i, jwks_url: 'https://auth.example.com/keys#x'", "jwks_url"),
        ("issuer: i, jwks_url: 'http://127.0.0.1@auth.example.com/'", "jwks_url"),
        ("issuer: i, jwks_file: keys.json", "jwks_file"),
        ("issuer: i, jwks_file: /k, jwks_url: 'https://i/k'", "jwks_file"),
    ] {
        let found = jwt(bad);
        assert!(
            found.len() == 1 && found[0].starts_with(&format!("/config/jwt/{member} ")),
            "{bad} {found:?}"
        );
    }
    let missing = about("{type: auth, config: {jwt: {}}}");
    assert_eq!(missing, ["/config/jwt/issuer is required", "/config/jwt/audience is required"]);
}

#[test]
fn a_stage_of_auth_has_one_method_or_several() {
    let auth = |text: &str| about(&format!("{{type: auth, config: {{{text}}}}}"));
    assert_eq!(
        auth(""),
        ["/config/jwt is required, or one of basic, api_key, forward, client_certificate, any_of"]
    );
    let two = auth("basic: {users_file: /u}, api_key: {keys_file: /k}");
    assert_eq!(two, ["/config/api_key cannot stand beside basic; several belong into any_of"]);
    let beside = auth("basic: {users_file: /u}, any_of: [{api_key: {keys_file: /k}}]");
    assert_eq!(beside, ["/config/basic cannot stand beside any_of: write it there"]);
    assert_eq!(auth("any_of: []"), ["/config/any_of must have from 1 to 8 methods"]);
    let item = auth("any_of: [{basic: {users_file: /u}, client_certificate: true}, {}]");
    assert_eq!(
        item,
        [
            "/config/any_of/0/client_certificate cannot stand beside basic; several belong into any_of",
            "/config/any_of/1/jwt is required, or one of basic, api_key, forward, client_certificate, any_of",
        ]
    );
    assert_eq!(auth("client_certificate: false"), ["/config/client_certificate must be true, or left out"]);
    let key = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF";
    assert_eq!(auth(&format!("api_key: {{keys: {{one: '{key}'}}}}")), [""; 0]);
    let same = auth(&format!("api_key: {{keys: {{one: '{key}', two: '{key}'}}}}"));
    assert_eq!(same, ["/config/api_key/keys has one key for two clients, of which one is two"]);
    let plain = auth("api_key: {keys: {one: secret}}");
    assert_eq!(plain, ["/config/api_key/keys/one must be the SHA-256 of the key: 64 hexadecimal digits"]);
    assert_eq!(auth("api_key: {}"), ["/config/api_key/keys is required, or keys_file"]);
    assert!(auth("basic: {users_file: /u, realm: 'a\"b'}")[0].starts_with("/config/basic/realm must have"));
}

#[test]
fn services_have_one_address_and_short_times() {
    let plugin = |text: &str| findings(&format!("plugins: [{{id: g, {text}}}]"));
    assert_eq!(plugin("type: external_grpc, address: 'http://localhost:1'"), [""; 0]);
    for (text, message) in [
        ("type: external_grpc", "/address is required, or pool"),
        ("type: external_http, address: x, pool: y", "/pool cannot stand beside address"),
        ("type: external_http, pool: y", "/pool names the pool y, which does not exist"),
        ("type: external_grpc, address: x, path: /", "/path is not known here; known are"),
        ("type: external_http, address: x, timeout: 11s", "/timeout must be from 1ms to 10s"),
        ("type: external_http, address: x, fail_mode: ajar", "/fail_mode must be closed or open"),
        ("type: external_http, address: x, path: check", "/path must be a path such as /check"),
        (
            "type: external_http, address: x, cache: {key: [], ttl: 1s}",
            "/cache/key must have at least one part",
        ),
        (
            "type: external_http, address: x, cache: {key: cookie, ttl: 2m}",
            "/cache/ttl must be from 1ms to 60s",
        ),
        ("type: external_http, address: x, cache: {key: [path], ttl: 1s}", "/cache/key has no header field"),
        (
            "type: external_http, address: x, fail_mode: open, failed_open_header: Host",
            "/failed_open_header has \"host\", which is a field that",
        ),
        (
            "type: external_http, address: x, cache: {key: [authorization, X-Request-ID], ttl: 1s}",
            "/cache/key has \"x-request-id\", which is a field that the service does not get: no decision depends on it",
        ),
        ("type: external_http, address: x, asserts: [Host]", "/asserts has \"host\", which is a field that"),
        ("type: builtin", "/name is required"),
        ("type: wasm", "/type must be one of external_grpc, external_http, builtin"),
    ] {
        let found = plugin(text);
        assert!(found.iter().any(|line| line.contains(&format!("/plugins/0{message}"))), "{text} {found:?}");
    }
    let document = document("plugins: [{id: g, type: external_grpc, address: 'http://localhost:1'}]");
    assert_eq!(document.set.pools[0].endpoints[0].target.to_string(), "h2c://localhost:1");
    let taken = findings(
        "pools: [{id: plugin.g, endpoints: [{address: x}]}]
plugins: [{id: g, type: external_http, address: y}]",
    );
    assert_eq!(taken, ["c:2:49: /plugins/0/address is already the id of a pool at c:1:14"]);
}

#[test]
fn pages_lists_and_addresses_are_bounded() {
    let page = "x".repeat(16 * 1024 + 1);
    let maintenance = about(&format!("{{type: maintenance, config: {{page: {page}}}}}"));
    assert_eq!(maintenance, ["/config/page must not be longer than 16384 bytes"]);
    let pages = |pages: &str| about(&format!("{{type: error_pages, config: {{pages: {pages}}}}}"));
    assert_eq!(
        pages("[{statuses: 503, body: '${status} ${request_id}'}, {statuses: 5xx, body: x}]"),
        [""; 0]
    );
    assert_eq!(pages("[]"), ["/config/pages is required"]);
    for statuses in ["200", "600", "50", "6xx", "500-", "504-500", "400-499-500", "'5XX'"] {
        let found = pages(&format!("[{{statuses: {statuses}, body: x}}]"));
        assert!(found[0].starts_with("/config/pages/0/statuses must be"), "{statuses} {found:?}");
    }
    let twice = pages("[{statuses: 503, body: x}, {statuses: 503, body: y}]");
    assert_eq!(twice, ["/config/pages/1/statuses are those of another page"]);
    let variable = pages("[{statuses: 503, body: '${host}'}]");
    assert!(variable[0].contains("has the variable \"host\", which does not exist"), "{variable:?}");
    let network = about("{type: ip_acl, config: {deny: [10.0.0.0/8, 10.0.0.0/33]}}");
    assert!(network[0].starts_with("/config/deny must be networks such as"), "{network:?}");
    for empty in ["{}", "{allow: []}", "{allow: [], deny: []}"] {
        let found = about(&format!("{{type: ip_acl, config: {empty}}}"));
        assert_eq!(found, ["/config/allow is required, or deny"]);
    }
    let stages = vec!["{type: request_id}"; 33].join(", ");
    let many = findings(&format!("middleware: [{{id: c, stages: [{stages}]}}]"));
    assert!(many.len() == 1 && many[0].contains("stages must not have more than 32 items"), "{many:?}");
    let circle = about("{type: redirect, config: {from: '/a/*', to: '/a/b/*'}}");
    assert!(circle[0].starts_with("/config/to is redirected by this stage again"), "{circle:?}");
    assert_eq!(
        about("{type: redirect, config: {from: '/a/*', to: 'https://b.example/*', status: 301}}"),
        [""; 0]
    );
    let rest = about("{type: redirect, config: {from: /a, to: '/b/*'}}");
    assert!(rest[0].starts_with("/config/to has a final *, and from has none"), "{rest:?}");
    let other = about("{type: redirect, config: {from: /a, to: //evil}}");
    assert!(other[0].starts_with("/config/to must be an absolute URL"), "{other:?}");
    let two = about("{type: rewrite, config: {strip_prefix: /a, add_prefix: /b}}");
    assert_eq!(two, ["/config/add_prefix cannot stand beside strip_prefix"]);
}

#[test]
fn routes_name_chains_or_have_stages() {
    let route = |middleware: &str| {
        findings(&format!(
            "middleware: [{{id: c, stages: []}}, {{id: d, stages: []}}]
pools: [{{id: p, endpoints: [{{address: x}}]}}]
routes: [{{id: r, pool: p, middleware: {middleware}}}]"
        ))
    };
    for good in ["c", "[c, d]", "[]", "{type: request_id}", "[{type: request_id}, {type: tracing}]"] {
        assert_eq!(route(good), [""; 0], "{good}");
    }
    let near = route("[c, e]");
    assert!(
        near[0].ends_with("/middleware names the middleware e, which does not exist; did you mean c?")
            || near[0].ends_with("did you mean d?"),
        "{near:?}"
    );
    assert!(route("[c, c]")[0].ends_with("/middleware names the chain c twice"));
    let mixed = route("[c, {type: request_id}]");
    assert!(mixed[0].ends_with("/middleware must be chains by their ids, or stages; not both"), "{mixed:?}");
    let deep = route("[{type: request_id, config: {headers: x}}]");
    assert!(deep[0].contains("/routes/0/middleware/0/config/headers is not known here"), "{deep:?}");
    let taken = findings(
        "middleware: [{id: route.r, stages: []}]
routes: [{id: r, respond: {}, middleware: {type: request_id}}]",
    );
    assert!(taken.iter().any(|line| line.contains("is already the id of a middleware")), "{taken:?}");
}

#[test]
fn addresses_and_fields_of_security_are_a_chain_of_all_routes() {
    let document = document(
        "security:
  acl: {allowed_ips: [10.0.0.0/8], denied_ips: 10.0.0.1}
  headers: {X-Frame-Options: DENY, X-Price: '$5'}
middleware: [{id: c, stages: [{type: request_id}]}]
routes: [{id: r, respond: {}, middleware: c}, {id: s, path: /s, redirect: /x}]
",
    );
    let security = document.set.middlewares.iter().find(|chain| chain.id.as_str() == "security").unwrap();
    let [StageSpec::IpAcl(acl), StageSpec::HeaderTransform(fields)] = &*security.stages else { panic!() };
    assert_eq!(
        (acl.allow[0].to_string(), acl.deny[0].to_string()),
        ("10.0.0.0/8".into(), "10.0.0.1/32".into())
    );
    let set: Vec<_> =
        fields.response.set.iter().map(|(name, value)| (&**name, value.fixed().unwrap())).collect();
    assert_eq!(set, [("X-Frame-Options", "DENY"), ("X-Price", "$5")]);
    let chains =
        |at: usize| -> Vec<_> { document.set.routes[at].middleware.iter().map(|id| id.as_str()).collect() };
    assert_eq!((chains(0), chains(1)), (vec!["security", "c"], vec!["security"]));
    let off = findings("security: {acl: {enabled: false, denied_ips: 0.0.0.0/0}}\nroutes: []");
    assert_eq!(off, [""; 0]);
    let bad = findings("security: {acl: {allowed_ips: [x]}, headers: {Date: x}}\nroutes: []");
    assert_eq!(bad.len(), 2, "{bad:?}");
}

#[test]
fn sections_that_are_left_out_keep_what_was_made_of_them() {
    let base = document(
        "pools: [{id: p, endpoints: [{address: x}]}]
plugins: [{id: g, type: external_grpc, address: y}]
middleware: [{id: c, stages: [{type: plugin, ref: g}]}]
routes: [{id: r, pool: p, middleware: [{type: auth, config: {forward: {address: z}}}]}, {id: s, path: /s, pool: p, middleware: c}]
",
    );
    let beside = crate::Beside { base: Some(&base), ..crate::Beside::NOTHING };
    let read = |text: &str| {
        let source = Source { name: "c".into(), text: text.to_owned() };
        let reading = crate::read_beside(&[source], &beside);
        let set = reading.document.unwrap_or_else(|| panic!("{:?}", reading.findings)).set;
        let pools: Vec<_> = set.pools.iter().map(|pool| pool.id.to_string()).collect();
        let chains: Vec<_> = set.middlewares.iter().map(|chain| chain.id.to_string()).collect();
        (pools.join(" "), chains.join(" "), set.plugins.len())
    };
    let all = "middleware.route.r.1 p plugin.g".to_owned();
    assert_eq!(read("policies: []"), (all.clone(), "c route.r".into(), 1));
    assert_eq!(
        read("pools: [{id: q, endpoints: []}, {id: p, endpoints: []}]"),
        ("middleware.route.r.1 p plugin.g q".into(), "c route.r".into(), 1)
    );
    assert_eq!(read("routes: []"), ("p plugin.g".into(), "c".into(), 1));
    assert_eq!(read("middleware: [{id: c, stages: []}]"), (all.clone(), "c route.r".into(), 1));
    assert_eq!(
        read("plugins: [{id: g, type: builtin, name: structured_logger}]").0,
        "middleware.route.r.1 p"
    );
    assert_eq!(read("routes: [{id: t, pool: p, middleware: c}]").1, "c");
    assert_eq!(read("middleware: [{id: d, stages: []}]\nroutes: []").1, "d");
}

#[test]
fn builtins_are_those_of_the_program() {
    let text =
        "plugins: [{id: a, type: builtin, name: structured_logger}, {id: b, type: builtin, name: own}]";
    let sources = [Source { name: "c".into(), text: text.to_owned() }];
    let findings = |builtins: Option<&[std::sync::Arc<str>]>| {
        let reading = crate::read_beside(&sources, &crate::Beside { builtins, ..crate::Beside::NOTHING });
        reading.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        findings(Some(&["other".into()])),
        [
            "c:1:89: /plugins/1/name names the builtin own, which this program does not have; it has structured_logger, other"
        ]
    );
    assert_eq!(findings(Some(&["own".into()])), [""; 0]);
    assert_eq!(findings(None), [""; 0]);
}
