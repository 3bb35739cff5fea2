//! Chains of middleware stages and plugins, in the form of documents.
//!
//! Most stages serialise to it. Written here are those whose documents are shorter than their types:
//! references beside the type, authentication, external services.

use ringway_model::{
    ApiKeys, AuthMethod, AuthStage, ExternalFilter, ExternalProtocol, FailMode, JwtAuth, JwtKeys,
    MiddlewareSpec, PluginKind, PluginSpec, StageSpec,
};
use serde_json::{Map, Value as Json, json};

use super::{Members, Secrets};
use crate::fields::HIDDEN;
use crate::values::duration_text;

/// A chain as an object.
pub(super) fn middleware(spec: &MiddlewareSpec, secrets: Secrets) -> Json {
    let stages: Vec<_> = spec.stages.iter().map(|spec| stage(spec, secrets)).collect();
    json!({ "id": spec.id.as_str(), "stages": stages })
}

/// A plugin as an object.
pub(super) fn plugin(spec: &PluginSpec) -> Json {
    let mut members = plugin_members(spec);
    members.add("id", Some(spec.id.as_str()));
    members.finish()
}

/// A stage in one line, for differences; without hashes of keys.
pub fn stage_text(spec: &StageSpec) -> String {
    stage(spec, Secrets::Hidden).to_string()
}

/// Kind and settings of a plugin in one line, for differences.
pub fn plugin_text(spec: &PluginSpec) -> String {
    plugin_members(spec).finish().to_string()
}

fn stage(spec: &StageSpec, secrets: Secrets) -> Json {
    let kind = spec.type_name();
    match spec {
        StageSpec::RateLimit(limit) => json!({ "type": kind, "policy_ref": limit.policy_ref.as_str() }),
        StageSpec::Plugin(of) => json!({ "type": kind, "ref": of.plugin.as_str() }),
        StageSpec::Lua(of) => {
            let mut members = Members::default();
            members.add("type", Some(kind));
            members.add("script", Some(&*of.script));
            members.add("fail_mode", Some("open").filter(|_| of.fail_mode == FailMode::Open));
            let asserts: Vec<&str> = of.asserts.iter().map(|name| &**name).collect();
            members.add("asserts", Some(asserts).filter(|asserts| !asserts.is_empty()));
            members.finish()
        }
        StageSpec::Auth(spec) => json!({ "type": kind, "config": auth(spec, secrets) }),
        spec => serde_json::to_value(spec).expect("strings, numbers and lists serialise"),
    }
}

fn auth(spec: &AuthStage, secrets: Secrets) -> Json {
    let methods: Vec<_> = spec.any_of.iter().map(|spec| method(spec, secrets)).collect();
    let mut members = Members::default();
    members.add("any_of", Some(methods));
    members.add("optional", Some(true).filter(|_| spec.optional));
    members.finish()
}

fn method(spec: &AuthMethod, secrets: Secrets) -> Json {
    match spec {
        AuthMethod::Jwt(spec) => json!({ "jwt": jwt(spec) }),
        AuthMethod::ApiKey(spec) => json!({ "api_key": api_key(spec, secrets) }),
        AuthMethod::Forward(spec) => json!({ "forward": external(spec).finish() }),
        AuthMethod::ClientCertificate {} => json!({ "client_certificate": true }),
        basic @ AuthMethod::Basic(_) => serde_json::to_value(basic).expect("strings serialise"),
    }
}

fn jwt(spec: &JwtAuth) -> Json {
    let mut members = Members::default();
    members.add("issuer", Some(&*spec.issuer));
    members.add("audience", Some(texts(&spec.audience)));
    match &spec.keys {
        JwtKeys::Discovery => {}
        JwtKeys::Jwks(url) => members.add("jwks_url", Some(&**url)),
        JwtKeys::File(path) => members.add("jwks_file", Some(&**path)),
    }
    members.add("token", serde_json::to_value(&spec.token).ok());
    let claims = spec.claims.iter().map(|of| (of.claim.to_string(), json!(&*of.header)));
    members.add("claims", object(claims));
    let require = spec.require.iter().map(|of| (of.claim.to_string(), json!(texts(&of.values))));
    members.add("require", object(require));
    members.add("leeway", Some(duration_text(spec.leeway)));
    members.add("forward", Some(spec.forward));
    members.finish()
}

fn api_key(spec: &ApiKeys, secrets: Secrets) -> Json {
    let mut members = Members::default();
    members.add("header", Some(&*spec.header));
    let keys = spec.keys.iter().map(|key| match secrets {
        Secrets::Kept => (key.name.to_string(), json!(&*key.sha256)),
        // The beginning distinguishes keys, so that a difference shows a change of one.
        Secrets::Hidden => (key.name.to_string(), json!(format!("{}{HIDDEN}", &key.sha256[..8]))),
    });
    members.add("keys", object(keys));
    members.add("keys_file", spec.keys_file.as_deref());
    members.add("user_header", spec.user_header.as_deref());
    members.finish()
}

fn plugin_members(spec: &PluginSpec) -> Members {
    let mode = |mode| if mode == FailMode::Open { "open" } else { "closed" };
    match &spec.kind {
        PluginKind::External(filter) => {
            let mut members = external(filter);
            members.add(
                "type",
                Some(match filter.protocol {
                    ExternalProtocol::Http { .. } => "external_http",
                    ExternalProtocol::Grpc => "external_grpc",
                }),
            );
            members.add("fail_mode", Some(mode(filter.fail_mode)));
            members
        }
        PluginKind::Builtin { name, fail_mode } => {
            let mut members = Members::default();
            members.add("type", Some("builtin"));
            members.add("name", Some(&**name));
            members.add("fail_mode", Some(mode(*fail_mode)));
            members
        }
    }
}

fn external(spec: &ExternalFilter) -> Members {
    let mut members = Members::default();
    members.add("pool", Some(spec.pool.as_str()));
    if let ExternalProtocol::Http { path } = &spec.protocol {
        members.add("path", Some(&**path));
    }
    members.add("timeout", Some(duration_text(spec.timeout)));
    members.add("send", Some(texts(&spec.send)).filter(|names| !names.is_empty()));
    members.add("asserts", Some(texts(&spec.asserts)).filter(|names| !names.is_empty()));
    members.add("failed_open_header", spec.failed_open_header.as_deref());
    let cache = spec.cache.as_ref();
    members.add(
        "cache",
        cache.map(|cache| json!({ "key": texts(&cache.key), "ttl": duration_text(cache.ttl) })),
    );
    members
}

fn texts(texts: &[std::sync::Arc<str>]) -> Vec<&str> {
    texts.iter().map(|text| &**text).collect()
}

fn object(members: impl Iterator<Item = (String, Json)>) -> Option<Json> {
    let members: Map<_, _> = members.collect();
    (!members.is_empty()).then_some(Json::Object(members))
}

#[cfg(test)]
#[path = "middleware_tests.rs"]
pub(super) mod tests;
