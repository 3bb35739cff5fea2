#![allow(clippy::unwrap_used)]
use ringway_model::{
    AuthMethod, Direction, ExternalProtocol, FailMode, JwtKeys, PluginKind, Scheme, StageSpec, TokenPlace,
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
