//! Canonical text of a configuration: its resources as one JSON document.
//!
//! Sections that make resources (`routing`, `tenants`), defaults and short forms are resolved, so that
//! documents that mean the same have the same text; it reads back to the same resources.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use ringway_model::{
    CertificateSpec, ClientAuth, EndpointSpec, FieldMatch, HealthCheck, HostPattern, MiddlewareSpec,
    OperatorSet, PathMatch, PluginSpec, PolicyRef, PolicySettings, PolicySpec, PoolRef, PoolSpec, Probe,
    Rewrite, RouteAction, RouteSpec, ScriptSpec, SetVersion, UpstreamTls, ValueMatch,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value as Json, json};

use crate::fields::HIDDEN;
use crate::governance::{GovernanceRule, Rule, RuleMode, Share};
use crate::values::{duration_text, timestamp_text};

mod cache;
mod middleware;
mod policy;
mod traffic;

pub use cache::cache_texts;
pub use middleware::{plugin_text, stage_text};

/// Treatment of values that may be secrets: those of the header fields of health checks, hashes of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Written out.
    Kept,
    /// Replaced by `***`, to be shown.
    Hidden,
}

/// The canonical text, with secrets: to be stored and hashed, never shown.
pub(crate) fn text(set: &OperatorSet, governance: &[GovernanceRule], bake: Option<Duration>) -> String {
    let canonical = Canonical { set, governance, bake, secrets: Secrets::Kept };
    serde_json::to_string(&canonical).expect("names are texts, and no value refuses to be written")
}

/// The version of a canonical text: the first digits of its SHA-256.
pub fn version(text: &str) -> SetVersion {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let digits: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    SetVersion::parse(&digits[..SetVersion::DIGITS]).expect("digits of a hash")
}

/// The canonical document of a set.
pub fn document(
    set: &OperatorSet,
    governance: &[GovernanceRule],
    bake: Option<Duration>,
    secrets: Secrets,
) -> Json {
    let canonical = Canonical { set, governance, bake, secrets };
    serde_json::to_value(&canonical).expect("names are texts, and no value refuses to be written")
}

/// Parts of a canonical document, which is written resource by resource: no tree of all is made.
struct Canonical<'a> {
    set: &'a OperatorSet,
    governance: &'a [GovernanceRule],
    bake: Option<Duration>,
    secrets: Secrets,
}

impl Serialize for Canonical<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { set, governance, bake, secrets } = self;
        // In the order of the names, as the members of all objects in it: the text is hashed.
        let mut members = serializer.serialize_map(None)?;
        if let Some(bake) = bake {
            members.serialize_entry("canary", &json!({ "bake": duration_text(*bake) }))?;
        }
        if !set.certificates.is_empty() {
            members.serialize_entry("certificates", &List(&set.certificates, certificate))?;
        }
        if !governance.is_empty() {
            members.serialize_entry("governance", &List(governance, governance_rule))?;
        }
        if !set.middlewares.is_empty() {
            let chain = |spec: &Arc<MiddlewareSpec>| middleware::middleware(spec, *secrets);
            members.serialize_entry("middleware", &List(&set.middlewares, chain))?;
        }
        if !set.plugins.is_empty() {
            let plugin = |spec: &Arc<PluginSpec>| middleware::plugin(spec);
            members.serialize_entry("plugins", &List(&set.plugins, plugin))?;
        }
        members.serialize_entry("policies", &List(&set.policies, policy_spec))?;
        members.serialize_entry("pools", &List(&set.pools, |spec: &PoolSpec| pool(spec, *secrets)))?;
        members.serialize_entry("routes", &List(&set.routes, |spec: &Arc<RouteSpec>| route(spec)))?;
        if !set.scripts.is_empty() {
            members.serialize_entry("scripts", &List(&set.scripts, |spec: &Arc<ScriptSpec>| script(spec)))?;
        }
        let managed: Vec<_> = set.routes.iter().filter_map(|spec| traffic::of_route(spec)).collect();
        if !managed.is_empty() {
            members.serialize_entry("traffic_management", &managed)?;
        }
        members.serialize_entry("version", "v1")?;
        members.end()
    }
}

/// Items, each in the form that the function gives it.
struct List<'a, T, F>(&'a [T], F);

impl<T, F: Fn(&T) -> Json> Serialize for List<'_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// A script in the form of `scripts`, with its source.
fn script(spec: &ScriptSpec) -> Json {
    let mut members = Members::default();
    members.add("id", Some(&*spec.id));
    members.add("path", Some(&*spec.file));
    members.add("module", Some(true).filter(|_| spec.is_module));
    members.add("source", Some(&*spec.source));
    members.finish()
}

/// A route in the form of `routes`.
pub fn route(spec: &RouteSpec) -> Json {
    let mut members = Members::default();
    members.add("id", Some(spec.id.as_str()));
    members.add("host", Some(spec.host.to_string()));
    match &spec.matcher.path {
        PathMatch::Any => {}
        PathMatch::Exact(path) => members.add("path", Some(&**path)),
        PathMatch::Prefix(path) => members.add("path_prefix", Some(&**path)),
        PathMatch::Regex(pattern) => members.add("path_regex", Some(&**pattern)),
    }
    let methods: Vec<&str> = spec.matcher.methods.iter().map(|method| &**method).collect();
    members.add("methods", Some(methods).filter(|methods| !methods.is_empty()));
    members.add("headers", fields(&spec.matcher.headers));
    members.add("query", fields(&spec.matcher.query));
    members.add("priority", Some(spec.priority).filter(|priority| *priority != 0));
    members.add("tenant", spec.tenant.as_ref().map(|tenant| tenant.as_str()));
    action(&mut members, &spec.action);
    match &*spec.policies {
        [] => {}
        [one] => members.add("policy", Some(policy_ref(one))),
        several => members.add("policy", Some(several.iter().map(policy_ref).collect::<Vec<_>>())),
    }
    members.add("client_auth", spec.client_auth.as_ref().map(client_auth));
    members.add("require_mtls", Some(true).filter(|_| spec.requires_client_cert));
    let chains: Vec<&str> = spec.middleware.iter().map(|id| id.as_str()).collect();
    members.add("middleware", Some(chains).filter(|chains| !chains.is_empty()));
    members.add("cache", spec.cache.as_deref().map(cache::cache));
    members.finish()
}

fn action(members: &mut Members, action: &RouteAction) {
    match action {
        RouteAction::Proxy { pool, rewrite } => {
            match pool {
                PoolRef::Pool(id) => members.add("pool", Some(id.as_str())),
                PoolRef::App(id) => members.add("app", Some(id.as_str())),
            }
            match rewrite {
                Rewrite::Keep => {}
                Rewrite::StripPrefix => members.add("strip_prefix", Some(true)),
                Rewrite::ReplacePrefix(path) => members.add("replace_prefix", Some(&**path)),
                Rewrite::ReplacePath(path) => members.add("replace_path", Some(&**path)),
            }
        }
        RouteAction::Redirect(redirect) => {
            let (to, status, keep_path) = (&*redirect.to, redirect.status, redirect.keep_path);
            members.add("redirect", Some(json!({ "to": to, "status": status, "keep_path": keep_path })));
        }
        RouteAction::Respond(response) => {
            let (content_type, body) = (&*response.content_type, &*response.body);
            let response = json!({ "status": response.status, "content_type": content_type, "body": body });
            members.add("respond", Some(response));
        }
    }
}

fn fields(fields: &[FieldMatch]) -> Option<Json> {
    let value = |field: &FieldMatch| match &field.value {
        ValueMatch::Present => json!({ "present": true }),
        ValueMatch::Exact(text) => json!(&**text),
    };
    let members: Map<_, _> = fields.iter().map(|field| (field.name.to_string(), value(field))).collect();
    Some(Json::Object(members)).filter(|_| !fields.is_empty())
}

/// A pool in the form of `pools`.
pub fn pool(spec: &PoolSpec, secrets: Secrets) -> Json {
    let shared = match spec.endpoints.split_first() {
        Some((first, others)) if others.iter().all(|other| other.health_check == first.health_check) => {
            Some(&first.health_check)
        }
        _ => None,
    };
    let endpoint = |endpoint: &EndpointSpec| {
        let mut members = Members::default();
        members.add("address", Some(endpoint.target.to_string()));
        members.add("weight", Some(endpoint.weight).filter(|weight| *weight != 1));
        if shared.is_none() {
            members.add("health", health(&endpoint.health_check, secrets));
        }
        members.finish()
    };
    let mut members = Members::default();
    members.add("id", Some(spec.id.as_str()));
    members.add("endpoints", Some(spec.endpoints.iter().map(endpoint).collect::<Vec<_>>()));
    members.add("balancer", Some(spec.balancer.as_str()));
    traffic::of_pool(&mut members, spec);
    members.add("health", shared.and_then(|check| health(check, secrets)));
    members.add("on_all_unhealthy", Some(spec.on_all_unhealthy.as_str()));
    members.add("tls", spec.upstream_tls.as_ref().map(upstream_tls));
    members.add("policy", spec.policy.as_ref().map(policy_ref));
    members.finish()
}

fn health(check: &HealthCheck, secrets: Secrets) -> Option<Json> {
    if *check == HealthCheck::default() {
        return None;
    }
    let mut members = Members::default();
    if let Probe::Http(probe) = &check.probe {
        members.add("path", Some(probe.path.as_str()));
        members.add("method", Some(probe.method.as_str()));
        members.add("host", probe.host.as_ref().map(ToString::to_string));
        let headers = probe.headers.expose().map(|(name, value)| match secrets {
            Secrets::Kept => (name.to_owned(), json!(value)),
            Secrets::Hidden => (name.to_owned(), json!(HIDDEN)),
        });
        members.add("headers", Some(headers.collect::<Map<_, _>>()).filter(|headers| !headers.is_empty()));
        members.add("expected_status", Some(probe.statuses.to_string()));
        members.add("expected_body", probe.body.as_ref().map(|body| body.as_str()));
    }
    members.add("port", check.port.map(u16::from));
    members.add("interval", check.interval.map(duration_text));
    members.add("timeout", check.timeout.map(duration_text));
    members.add("unhealthy_threshold", check.unhealthy_threshold.map(u8::from));
    members.add("healthy_threshold", check.healthy_threshold.map(u8::from));
    Some(json!({ "active": members.finish() }))
}

fn upstream_tls(tls: &UpstreamTls) -> Json {
    let mut members = Members::default();
    members.add("ca_file", tls.ca_file.as_ref().map(|file| file.as_str()));
    let files = tls.client_certificate.as_ref();
    let files =
        files.map(|files| json!({ "certificate": files.certificate.as_str(), "key": files.key.as_str() }));
    members.add("client_certificate", files);
    members.add("server_name", tls.server_name.as_ref().map(|name| name.as_str()));
    members.add("insecure", Some(true).filter(|_| tls.insecure));
    members.finish()
}

fn client_auth(auth: &ClientAuth) -> Json {
    json!({ "ca_file": auth.ca_file.as_str(), "mode": auth.need.as_str() })
}

fn policy_ref(policy: &PolicyRef) -> Json {
    match policy {
        PolicyRef::Named(id) => json!(id.as_str()),
        PolicyRef::Inline(settings) => policy_settings(settings),
    }
}

/// The values of a policy in the form of `policies`, without an id.
pub fn policy_settings(settings: &PolicySettings) -> Json {
    policy_members(settings).finish()
}

/// A policy in the form of `policies`.
pub fn policy_spec(spec: &PolicySpec) -> Json {
    let mut members = policy_members(&spec.settings);
    members.add("id", Some(spec.id.as_str()));
    members.finish()
}

fn policy_members(settings: &PolicySettings) -> Members {
    let mut members = Members::default();
    members.add("timeout", settings.timeout.map(duration_text));
    members.add("per_try_timeout", settings.per_try_timeout.map(duration_text));
    members.add("total_timeout", settings.total_timeout.map(duration_text));
    members.add("body_size_limit", settings.body_size_limit);
    members.add("require_tls", settings.require_tls);
    members.add("unavailable_status", settings.unavailable_status);
    members.add("websocket", settings.websocket);
    members.add("retries", settings.retries.as_ref().map(policy::retries));
    members.add("rate_limit", settings.rate_limit.as_ref().map(policy::rate_limit));
    members.add("circuit_breaker", settings.circuit_breaker.as_ref().map(policy::circuit_breaker));
    members.add("hedge", settings.hedge.as_ref().map(policy::hedge));
    members
}

/// A certificate in the form of `certificates`.
pub fn certificate(spec: &CertificateSpec) -> Json {
    let (certificate, key) = (spec.files.certificate.as_str(), spec.files.key.as_str());
    json!({ "sni": spec.sni.to_string(), "cert_file": certificate, "key_file": key })
}

fn governance_rule(rule: &GovernanceRule) -> Json {
    let mut members = Members::default();
    let texts = |hosts: &[HostPattern]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>();
    let some_texts = |hosts: &[HostPattern]| Some(texts(hosts)).filter(|hosts| !hosts.is_empty());
    let share = |share: Share| match share {
        Share::Percent(percent) => json!(format!("{percent}%")),
        Share::Count(count) => json!(count),
    };
    match &rule.rule {
        Rule::ReservedHosts { hosts, owner } => {
            members.add("hosts", Some(texts(hosts)));
            members.add("owner", Some(owner.to_string()));
        }
        Rule::MaxRemoved { hosts, routes, endpoints } => {
            members.add("hosts", hosts.map(share));
            members.add("routes", routes.map(share));
            members.add("endpoints", endpoints.map(share));
        }
        Rule::RequireTls { hosts } => {
            members.add("hosts", some_texts(hosts));
        }
        Rule::ForbidInsecureUpstream { hosts } => {
            members.add("hosts", some_texts(hosts));
        }
        Rule::MaxTimeout { max } => {
            members.add("timeout", Some(duration_text(*max)));
        }
        Rule::MaxAttempts { max } => {
            members.add("count", Some(*max));
        }
        Rule::RequireRateLimit { hosts } => {
            members.add("hosts", some_texts(hosts));
        }
        Rule::RequireMiddleware { types, hosts } => {
            members.add("types", Some(types.iter().map(|name| &**name).collect::<Vec<_>>()));
            members.add("hosts", some_texts(hosts));
        }
        Rule::MinEndpoints { min } => {
            members.add("count", Some(*min));
        }
        Rule::Protect { hosts, routes, pools } => {
            members.add("hosts", some_texts(hosts));
            let ids: Vec<&str> = routes.iter().map(|id| id.as_str()).collect();
            members.add("routes", Some(ids));
            members.add("pools", Some(pools.iter().map(|id| id.as_str()).collect::<Vec<_>>()));
        }
        Rule::Freeze { from, until, message } => {
            members.add("from", from.map(timestamp_text));
            members.add("until", until.map(timestamp_text));
            members.add("message", Some(&**message));
        }
        Rule::RequireReason => {}
    }
    members.add("rule", Some(rule.rule.name()));
    members.add("mode", Some(if rule.mode == RuleMode::Warn { "warn" } else { "refuse" }));
    members.finish()
}

/// Members of an object; absent values are left out.
#[derive(Default)]
struct Members(Map<String, Json>);

impl Members {
    fn add<T>(&mut self, name: &str, value: Option<T>)
    where
        Json: From<T>,
    {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), Json::from(value));
        }
    }

    fn finish(self) -> Json {
        Json::Object(self.0)
    }
}

#[cfg(test)]
#[path = "canonical_tests.rs"]
mod tests;
