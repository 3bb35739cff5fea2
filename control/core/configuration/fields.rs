//! Resources of operators as named texts, in the words of the documents: the values that differences and
//! effects are made of. Values that equal their default have no field.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::Hash;
use std::sync::LazyLock;
use std::time::Duration;

use ringway_config::canonical;
use ringway_model::{
    App, Balancer, FailurePolicy, FieldMatch, HealthCheck, Instance, Kind, MiddlewareId, MiddlewareSpec,
    OnAllUnhealthy, PathMatch, PluginSpec, Policy, PolicyRef, PolicySettings, PoolRef, Probe, Resource,
    Rewrite, Route, RouteAction, UpstreamTls, ValueMatch,
};

mod policy;
mod traffic;

/// Fields by path, such as `/path_prefix`.
pub(super) type Fields = BTreeMap<&'static str, String>;

/// Kind of a resource in the words of the documents; `None` for those that no operator configures.
pub(super) fn kind_name(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Policy => Some("policy"),
        Kind::App => Some("pool"),
        Kind::Instance => Some("endpoint"),
        Kind::Route => Some("route"),
        Kind::Certificate => Some("certificate"),
        Kind::Middleware => Some("middleware"),
        Kind::Plugin => Some("plugin"),
        Kind::Script => Some("script"),
        Kind::Domain | Kind::ConfigVersion | Kind::CanaryState | Kind::EndpointOverride => None,
    }
}

/// Fields of a resource. Two resources of one id with the same fields are configured alike, except for the
/// position of a route, which is relative to the other routes.
pub(super) fn fields(resource: &Resource) -> Fields {
    let mut fields = Fields::new();
    match resource {
        Resource::Route(route) => of_route(route, &mut fields),
        Resource::App(pool) => of_pool(pool, &mut fields),
        Resource::Instance(endpoint) => of_endpoint(endpoint, &mut fields),
        Resource::Policy(policy) => of_policy(policy, &mut fields),
        Resource::Certificate(certificate) => {
            fields.insert("/cert_file", certificate.files.certificate.to_string());
            fields.insert("/key_file", certificate.files.key.to_string());
        }
        Resource::Middleware(of) => of_middleware(&of.spec, &mut fields),
        Resource::Plugin(of) => of_plugin(&of.spec, &mut fields),
        Resource::Script(of) => {
            let version = canonical::version(&of.spec.source);
            fields.insert("/file", of.spec.file.to_string());
            fields.insert("/source", format!("{} bytes, {}", of.spec.source.len(), version.as_str()));
        }
        Resource::Domain(_)
        | Resource::ConfigVersion(_)
        | Resource::CanaryState(_)
        | Resource::EndpointOverride(_) => {}
    }
    fields
}

/// All fields in one line: `host: api.example.com, path_prefix: /v1`.
pub(super) fn line(fields: &Fields) -> String {
    let mut line = String::new();
    for (path, value) in fields {
        let separator = if line.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(line, "{separator}{}: {value}", path.trim_start_matches('/'));
    }
    line
}

fn of_route(route: &Route, fields: &mut Fields) {
    let spec = &*route.spec;
    fields.insert("/host", spec.host.to_string());
    if route.is_attached {
        fields.insert("/attached", "true".to_owned());
    }
    if let Some(tenant) = &spec.tenant {
        fields.insert("/tenant", tenant.to_string());
    }
    match &spec.matcher.path {
        PathMatch::Any => {}
        PathMatch::Exact(path) => _ = fields.insert("/path", path.to_string()),
        PathMatch::Prefix(path) => _ = fields.insert("/path_prefix", path.to_string()),
        PathMatch::Regex(pattern) => _ = fields.insert("/path_regex", pattern.to_string()),
    }
    if !spec.matcher.methods.is_empty() {
        fields.insert("/methods", spec.matcher.methods.join(", "));
    }
    if !spec.matcher.headers.is_empty() {
        fields.insert("/headers", conditions(&spec.matcher.headers));
    }
    if !spec.matcher.query.is_empty() {
        fields.insert("/query", conditions(&spec.matcher.query));
    }
    if spec.priority != 0 {
        fields.insert("/priority", spec.priority.to_string());
    }
    of_action(&spec.action, fields);
    if !spec.policies.is_empty() {
        fields.insert("/policy", spec.policies.iter().map(policy).collect::<Vec<_>>().join(", "));
    }
    if let Some(client_auth) = &spec.client_auth {
        fields.insert("/client_ca", format!("{} ({})", client_auth.ca_file, client_auth.need.as_str()));
    }
    if spec.requires_client_cert {
        fields.insert("/require_mtls", "true".to_owned());
    }
    if !spec.middleware.is_empty() {
        let chains: Vec<_> = spec.middleware.iter().map(MiddlewareId::as_str).collect();
        fields.insert("/middleware", chains.join(", "));
    }
    if let Some(spec) = &spec.traffic {
        traffic::of_route(spec, fields);
    }
    if let Some(spec) = &spec.cache {
        fields.extend(canonical::cache_texts(spec));
    }
}

/// The stages in their document form, one after the other.
fn of_middleware(spec: &MiddlewareSpec, fields: &mut Fields) {
    let stages: Vec<_> = spec.stages.iter().map(canonical::stage_text).collect();
    fields.insert("/stages", stages.join(" > "));
}

fn of_plugin(spec: &PluginSpec, fields: &mut Fields) {
    fields.insert("/kind", canonical::plugin_text(spec));
}

fn of_action(action: &RouteAction, fields: &mut Fields) {
    match action {
        RouteAction::Proxy { pool, rewrite } => {
            match pool {
                PoolRef::Pool(id) => fields.insert("/pool", id.to_string()),
                PoolRef::App(id) => fields.insert("/app", id.to_string()),
            };
            match rewrite {
                Rewrite::Keep => {}
                Rewrite::StripPrefix => _ = fields.insert("/strip_prefix", "true".to_owned()),
                Rewrite::ReplacePrefix(to) => _ = fields.insert("/replace_prefix", to.to_string()),
                Rewrite::ReplacePath(to) => _ = fields.insert("/replace_path", to.to_string()),
            }
        }
        RouteAction::Redirect(redirect) => {
            let path = if redirect.keep_path { ", with the path" } else { "" };
            fields.insert("/redirect", format!("{} {}{path}", redirect.status, redirect.to));
        }
        RouteAction::Respond(response) => {
            let (status, media, body) = (response.status, &response.content_type, &response.body);
            fields.insert("/respond", format!("{status} {media}: {body}"));
        }
    }
}

fn of_pool(pool: &App, fields: &mut Fields) {
    if pool.balancer != Balancer::default() {
        fields.insert("/balancer", pool.balancer.as_str().to_owned());
    }
    if let Some(tls) = &pool.upstream_tls {
        fields.insert("/tls", upstream_tls(tls));
    }
    if pool.failures != FailurePolicy::default() {
        let FailurePolicy { statuses, timeouts } = &pool.failures;
        fields.insert("/failures", format!("statuses {statuses}, timeouts {}", timeouts.as_str()));
    }
    if pool.on_all_unhealthy != OnAllUnhealthy::default() {
        fields.insert("/on_all_unhealthy", pool.on_all_unhealthy.as_str().to_owned());
    }
    if let Some(spec) = &pool.traffic {
        traffic::of_pool(spec, fields);
    }
    if let Some(reference) = &pool.policy {
        fields.insert("/policy", policy(reference));
    }
}

fn of_endpoint(endpoint: &Instance, fields: &mut Fields) {
    fields.insert("/pool", endpoint.app.to_string());
    fields.insert("/address", endpoint.target.to_string());
    if endpoint.weight != 1 {
        fields.insert("/weight", endpoint.weight.to_string());
    }
    if endpoint.health_check != HealthCheck::default() {
        fields.insert("/health", health(&endpoint.health_check));
    }
}

fn of_policy(policy: &Policy, fields: &mut Fields) {
    for (path, value) in settings(&policy.settings) {
        fields.insert(path, value);
    }
}

fn conditions(conditions: &[FieldMatch]) -> String {
    let condition = |condition: &FieldMatch| match &condition.value {
        ValueMatch::Present => condition.name.to_string(),
        ValueMatch::Exact(value) => format!("{}={value}", condition.name),
    };
    conditions.iter().map(condition).collect::<Vec<_>>().join(", ")
}

fn policy(reference: &PolicyRef) -> String {
    match reference {
        PolicyRef::Named(id) => id.to_string(),
        PolicyRef::Inline(values) => format!("{{{}}}", line(&settings(values).into_iter().collect())),
    }
}

fn settings(values: &PolicySettings) -> Vec<(&'static str, String)> {
    let PolicySettings {
        timeout,
        per_try_timeout,
        total_timeout,
        body_size_limit,
        require_tls,
        unavailable_status,
        websocket,
        retries,
        rate_limit,
        circuit_breaker,
        hedge,
    } = values;
    let mut fields = Vec::new();
    let times =
        [("/timeout", timeout), ("/per_try_timeout", per_try_timeout), ("/total_timeout", total_timeout)];
    fields.extend(times.into_iter().filter_map(|(path, time)| Some((path, seconds(*(time.as_ref()?))))));
    fields.extend(body_size_limit.map(|bytes| ("/body_size_limit", bytes.to_string())));
    fields.extend(require_tls.map(|is_required| ("/require_tls", is_required.to_string())));
    fields.extend(unavailable_status.map(|status| ("/unavailable_status", status.to_string())));
    fields.extend(websocket.map(|is_admitted| ("/websocket", is_admitted.to_string())));
    fields.extend(retries.iter().flat_map(|retries| policy::retries(retries)));
    fields.extend(rate_limit.iter().flat_map(|limit| policy::rate_limit(limit)));
    fields.extend(circuit_breaker.iter().flat_map(|breaker| policy::circuit_breaker(breaker)));
    fields.extend(hedge.iter().flat_map(|hedge| policy::hedge(hedge)));
    fields
}

fn upstream_tls(tls: &UpstreamTls) -> String {
    let mut parts = Vec::new();
    parts.extend(tls.ca_file.as_ref().map(|file| format!("ca_file {file}")));
    parts.extend(
        tls.client_certificate
            .as_ref()
            .map(|files| format!("certificate {} {}", files.certificate, files.key)),
    );
    parts.extend(tls.server_name.as_ref().map(|name| format!("server_name {name}")));
    parts.extend(tls.insecure.then(|| "insecure".to_owned()));
    parts.join(", ")
}

fn health(check: &HealthCheck) -> String {
    let mut parts = vec![match &check.probe {
        Probe::Tcp => "tcp".to_owned(),
        Probe::Http(probe) => {
            let mut text = format!("{} {} {}", probe.method.as_str(), probe.path.as_str(), probe.statuses);
            if let Some(host) = &probe.host {
                let _ = write!(text, " host {host}");
            }
            if probe.headers != Default::default() {
                let _ = write!(text, " headers {}", secret(&probe.headers));
            }
            if let Some(body) = &probe.body {
                let _ = write!(text, " body {:?}", body.as_str());
            }
            text
        }
    }];
    parts.extend(check.port.map(|port| format!("port {port}")));
    parts.extend(check.interval.map(|time| format!("interval {}", seconds(time))));
    parts.extend(check.timeout.map(|time| format!("timeout {}", seconds(time))));
    parts.extend(check.unhealthy_threshold.map(|count| format!("unhealthy_threshold {count}")));
    parts.extend(check.healthy_threshold.map(|count| format!("healthy_threshold {count}")));
    parts.join(", ")
}

/// Text in place of a value that may be a secret: another one for another value.
fn secret(value: &impl Hash) -> String {
    static KEY: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    format!("#{:08x}", KEY.hash_one(value) as u32)
}

fn seconds(time: Duration) -> String {
    match time.subsec_nanos() {
        0 => format!("{}s", time.as_secs()),
        _ => format!("{}ms", time.as_secs_f64() * 1000.0),
    }
}
