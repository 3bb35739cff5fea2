//! `routing`: rules with a target each, in the order in which they are tried, and a default target.
//!
//! Rule N becomes the route `rule-N` and the pool `rule-N` with one endpoint; `default_backend` the route and
//! the pool `default`, for all requests that no other route serves.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, Balancer, EndpointSpec, HostPattern, InstanceId, Kind, OnAllUnhealthy, PathMatch, PolicyRef,
    PolicySettings, PoolRef, PoolSpec, Rewrite, RouteAction, RouteId, RouteMatch, RouteSpec, Target,
};
use serde_json::json;

use super::cache;
use super::matcher::{HOST, headers, parse_path};
use super::pool::default_failures;
use crate::draft::Draft;
use crate::values::boolean;
use crate::{Fault, Field, Reader};

/// Reads `routing`.
pub(super) fn routing(reader: &mut Reader<'_>, draft: &mut Draft) {
    let given = reader.object("routing", "Rules with a target each, and a default target.", |reader| {
        let default = reader.optional(&DEFAULT_BACKEND);
        if let Some(target) = default {
            add(reader, draft, "default", DEFAULT_BACKEND.name, Rule::to(target));
        }
        let mut number = 0;
        reader.list("rules", "Rules, in the order in which they are tried.", |reader| {
            number += 1;
            let rule = rule(reader)?;
            add(reader, draft, &format!("rule-{number}"), "forward", rule);
            Some(())
        });
        Some(())
    });
    draft.sections.routes |= given.is_some();
    draft.sections.pools |= given.is_some();
}

/// A rule: conditions, and the target of the requests that meet them.
struct Rule {
    host: HostPattern,
    matcher: RouteMatch,
    target: Target,
    timeout: Option<Duration>,
    rewrite: Rewrite,
    is_cached: bool,
}

impl Rule {
    fn to(target: Target) -> Self {
        let (host, matcher) = (HostPattern::Any, RouteMatch::default());
        Self { host, matcher, target, timeout: None, rewrite: Rewrite::Keep, is_cached: false }
    }
}

fn rule(reader: &mut Reader<'_>) -> Option<Rule> {
    let matched = reader.object("match", "Conditions; a rule without any serves all requests.", |reader| {
        let host = reader.optional(&HOST).unwrap_or(HostPattern::Any);
        let path = reader.optional(&PATH).unwrap_or_default();
        let headers = headers(reader);
        Some((host, RouteMatch { path, headers, ..RouteMatch::default() }))
    });
    let forward = reader.object("forward", "The target.", |reader| {
        let target = reader.required(&TARGET);
        let timeout = reader.optional(&TIMEOUT);
        let strip = reader.optional(&STRIP_PREFIX).unwrap_or(false);
        let cache = cache::of_forward(reader);
        Some((target?, timeout, strip, cache))
    });
    if !reader.has("forward") {
        reader.fault("forward", Fault { code: "missing", message: "is required".to_owned() });
    }
    if reader.is_faulty_below("match") {
        return None;
    }
    let (target, timeout, strip, is_cached) = forward?;
    let (host, matcher) = matched.unwrap_or((HostPattern::Any, RouteMatch::default()));
    if strip && !matches!(matcher.path, PathMatch::Prefix(_)) {
        let message = "cannot strip a prefix: match.path has none, such as /static/*".to_owned();
        reader.fault("forward", Fault { code: "conflict", message });
        return None;
    }
    let rewrite = if strip { Rewrite::StripPrefix } else { Rewrite::Keep };
    Some(Rule { host, matcher, target, timeout, rewrite, is_cached })
}

/// Adds route and pool of a rule.
fn add(reader: &mut Reader<'_>, draft: &mut Draft, name: &str, member: &'static str, rule: Rule) {
    let (Ok(id), Ok(pool)) = (RouteId::parse(name), AppId::parse(name)) else { return };
    draft.declare(reader, Kind::Route, name, member);
    draft.declare(reader, Kind::App, name, member);
    let settings = PolicySettings { timeout: rule.timeout, ..PolicySettings::default() };
    let own = rule.timeout.map(|_| PolicyRef::Inline(Arc::new(settings)));
    let policies = own.into_iter().chain(draft.defaults.policy.clone()).collect();
    if rule.is_cached {
        cache::add_to_forward(reader, draft, id.clone(), member);
    }
    let order = draft.next_order();
    draft.routes.push(RouteSpec {
        id,
        host: rule.host,
        tenant: None,
        matcher: rule.matcher,
        priority: 0,
        order,
        action: RouteAction::Proxy { pool: PoolRef::Pool(pool.clone()), rewrite: rule.rewrite },
        policies,
        client_auth: None,
        requires_client_cert: false,
        traffic: None,
        middleware: Box::default(),
        cache: None,
    });
    let endpoint = EndpointSpec {
        id: InstanceId::of_endpoint(&pool, &rule.target),
        target: rule.target,
        weight: 1,
        health_check: draft.defaults.health.clone(),
    };
    draft.pools.push(PoolSpec {
        id: pool,
        endpoints: vec![endpoint],
        balancer: Balancer::default(),
        upstream_tls: None,
        failures: default_failures(),
        on_all_unhealthy: draft.defaults.on_all_unhealthy.unwrap_or(OnAllUnhealthy::Trickle),
        policy: None,
        traffic: Arc::default(),
    });
}

static DEFAULT_BACKEND: Field<Target> = Field {
    name: "default_backend",
    doc: "URL of the endpoint for requests to hosts that no rule names; they get 404 when absent.",
    schema: || json!({ "type": "string", "examples": ["http://localhost:8000"] }),
    parse: |given| Target::parse(given.text()?).map_err(Fault::invalid),
};

static TARGET: Field<Target> =
    Field { name: "target", doc: "URL of the endpoint; requests keep their path.", ..DEFAULT_BACKEND };

static TIMEOUT: Field<Duration> = crate::values::time("timeout", "Timeout to the head of the response.");

static STRIP_PREFIX: Field<bool> =
    boolean("strip_prefix", "Whether the part of match.path before the * is removed from the path.");

static PATH: Field<PathMatch> = Field {
    name: "path",
    doc: "The whole path, or its beginning followed by a *.",
    schema: || json!({ "type": "string", "pattern": "^/[^*]*[*]?$", "examples": ["/static/*"] }),
    parse: |given| {
        let text = given.text()?;
        match text.strip_suffix('*') {
            Some(prefix) if prefix.contains('*') => Err(Fault::invalid("must have one * at its end only")),
            Some(prefix) => parse_path(prefix).map(PathMatch::Prefix),
            None if text.contains('*') => Err(Fault::invalid("must have a * at its end only")),
            None => parse_path(text).map(PathMatch::Exact),
        }
    },
};
