//! `tenants`: each with hosts, paths and the services behind them.
//!
//! Tenant T becomes the pool T with an endpoint for each service, and a route for each pair of a host and a
//! path: `T` where there is one, else `T-1`, `T-2` and so on.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, EndpointSpec, HealthCheck, HostPattern, InstanceId, Kind, OnAllUnhealthy, PathMatch, PolicyRef,
    PoolRef, PoolSpec, PoolTraffic, Probe, Rewrite, RouteAction, RouteId, RouteMatch, RouteSpec, Target,
    TenantId,
    limits::{HEALTH_INTERVAL_MAX, HEALTH_INTERVAL_MIN},
};
use serde_json::json;

use super::defaults::check_or;
use super::later;
use super::matcher::{host, parse_path};
use super::policy::policy_ref;
use super::pool::{Endpoint, balancer, default_failures, refuse_twice};
use super::tenant_id;
use crate::draft::Draft;
use crate::fields::active_check;
use crate::limits::TENANT_ROUTES_MAX;
use crate::values::{boolean, duration_text, id_schema, long_duration, long_duration_schema};
use crate::{Fault, Field, Given, Reader, Value};

/// Reads `tenants`.
pub(super) fn tenants(reader: &mut Reader<'_>, draft: &mut Draft) {
    let given = reader.list("tenants", "Tenants: services by host and path.", |reader| tenant(reader, draft));
    draft.sections.routes |= given.is_some();
    draft.sections.pools |= given.is_some();
}

fn tenant(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<()> {
    let (id, id_name) = either(reader, &ID, &NAME, "id");
    let (hosts, hosts_name) = either(reader, &HOSTS, &DOMAINS, "hosts");
    let (hosts, paths) = (hosts.unwrap_or_default(), reader.optional(&PATHS).unwrap_or_default());
    let strip = reader.optional(&STRIP_PREFIX).unwrap_or(false);
    let interval = reader.optional(&HEALTH_INTERVAL);
    let health = reader.object("health", "Health checks of all services.", |reader| {
        reader.object("active", "Requests that check a service.", |reader| active_check(reader, false))
    });
    let services = services(reader);
    let (balancer, hash_by) = balancer(reader, &services);
    let policy = policy_ref(reader, draft);
    later::lua_of_tenant(reader);

    if id.is_none() && !reader.is_faulty(id_name) {
        reader.fault("id", Fault { code: "missing", message: "is required".to_owned() });
    }
    if services.is_empty() && !reader.has("services") {
        reader.fault("services", Fault { code: "missing", message: "is required".to_owned() });
    }
    let is_readable = !reader.is_faulty(hosts_name) && !reader.is_faulty(PATHS.name);
    if hosts.is_empty() && paths.is_empty() && is_readable {
        let message = "is required, or path_prefix: without both the tenant gets no request".to_owned();
        reader.fault("hosts", Fault { code: "missing", message });
    }
    if strip && paths.is_empty() && is_readable {
        reader.fault(STRIP_PREFIX.name, Fault { code: "conflict", message: "needs path_prefix".to_owned() });
    }
    let id = id?;
    draft.declare(reader, Kind::App, id.as_str(), id_name);
    let pool = AppId::parse(id.as_str()).ok()?;
    add_routes(reader, draft, &Tenant { id: &id, id_name, pool: &pool, hosts, paths, strip, policy })?;
    let defaults = HealthCheck {
        interval: interval.or(draft.defaults.health.interval),
        ..draft.defaults.health.clone()
    };
    let health = check_or(health, &defaults);
    let endpoint = |given: Endpoint| EndpointSpec {
        id: InstanceId::of_endpoint(&pool, &given.target),
        target: given.target,
        weight: given.weight.unwrap_or(1),
        health_check: check_or(given.health, &health),
    };
    draft.pools.push(PoolSpec {
        endpoints: services.into_iter().map(endpoint).collect(),
        id: pool.clone(),
        balancer,
        upstream_tls: None,
        failures: default_failures(),
        on_all_unhealthy: draft.defaults.on_all_unhealthy.unwrap_or(OnAllUnhealthy::Trickle),
        policy: None,
        traffic: Arc::new(PoolTraffic { hash_by, ..PoolTraffic::default() }),
    });
    Some(())
}

/// Values of the routes of a tenant.
struct Tenant<'t> {
    id: &'t TenantId,
    id_name: &'static str,
    pool: &'t AppId,
    hosts: Vec<HostPattern>,
    paths: Vec<Arc<str>>,
    strip: bool,
    policy: Option<PolicyRef>,
}

fn add_routes(reader: &mut Reader<'_>, draft: &mut Draft, tenant: &Tenant<'_>) -> Option<()> {
    let hosts = if tenant.hosts.is_empty() { vec![HostPattern::Any] } else { tenant.hosts.clone() };
    let paths: Vec<PathMatch> = match tenant.paths.is_empty() {
        true => vec![PathMatch::Any],
        false => tenant.paths.iter().cloned().map(PathMatch::Prefix).collect(),
    };
    let count = hosts.len() * paths.len();
    if count > TENANT_ROUTES_MAX {
        let message =
            format!("has {count} pairs of a host and a path, and at most {TENANT_ROUTES_MAX} are possible");
        reader.fault(tenant.id_name, Fault::range(message));
        return None;
    }
    let pairs = hosts.iter().flat_map(|host| paths.iter().map(move |path| (host, path)));
    for (index, (host, path)) in pairs.enumerate() {
        let name = match count {
            1 => tenant.id.to_string(),
            _ => format!("{}-{}", tenant.id, index + 1),
        };
        let Ok(id) = RouteId::parse(&name) else {
            reader.fault(tenant.id_name, Fault::range("is too long to make the ids of several routes from"));
            return None;
        };
        draft.declare(reader, Kind::Route, &name, tenant.id_name);
        let rewrite = if tenant.strip { Rewrite::StripPrefix } else { Rewrite::Keep };
        let order = draft.next_order();
        draft.routes.push(RouteSpec {
            tenant: Some(tenant.id.clone()),
            matcher: RouteMatch { path: path.clone(), ..RouteMatch::default() },
            order,
            action: RouteAction::Proxy { pool: PoolRef::Pool(tenant.pool.clone()), rewrite },
            policies: tenant.policy.iter().chain(&draft.defaults.policy).cloned().collect(),
            ..RouteSpec::new(id, host.clone(), PoolRef::Pool(tenant.pool.clone()))
        });
    }
    Some(())
}

fn services(reader: &mut Reader<'_>) -> Vec<Endpoint> {
    let mut targets = Vec::new();
    let services = reader.list("services", "Services that requests are balanced over.", |reader| {
        reader.optional(&SERVICE_NAME);
        let target = reader.required(&URL);
        if let Some(target) = &target {
            refuse_twice(reader, &mut targets, target, URL.name);
        }
        let probe = reader.optional(&HEALTH_PATH);
        let weight = reader.optional(&WEIGHT).map(|weight| weight as u16);
        let health = probe.map(|probe| HealthCheck { probe, ..HealthCheck::default() });
        Some(Endpoint { target: target?, weight, health })
    });
    services.unwrap_or_default()
}

/// Reads a field that has two names. Returns the value and the name that was given.
fn either<T: PartialEq>(
    reader: &mut Reader<'_>,
    first: &Field<T>,
    second: &Field<T>,
    doc_name: &'static str,
) -> (Option<T>, &'static str) {
    let (one, two) = (reader.optional(first), reader.optional(second));
    if reader.has(first.name) && reader.has(second.name) {
        let message = format!("means the same as {doc_name}: give one of them");
        reader.fault(second.name, Fault { code: "conflict", message });
    }
    let name = if reader.has(second.name) { second.name } else { first.name };
    (one.or(two), name)
}

static ID: Field<TenantId> = Field {
    name: "id",
    doc: "Id of the tenant; sent to its services in X-Tenant-ID.",
    schema: || id_schema("shop"),
    parse: tenant_id,
};

static NAME: Field<TenantId> = Field { name: "name", doc: "The same as id.", ..ID };

static HOSTS: Field<Vec<HostPattern>> = Field {
    name: "hosts",
    doc: "Hosts; all hosts that no other route knows when absent.",
    schema: || {
        let one = json!({ "type": "string", "examples": ["shop.example.com"] });
        json!({ "oneOf": [{ "type": "array", "items": one.clone() }, one] })
    },
    parse: |given| match given {
        Given::Json(Value::Array(items)) => items.iter().map(|item| host(Given::Json(&item.value))).collect(),
        given => host(given).map(|one| vec![one]),
    },
};

static DOMAINS: Field<Vec<HostPattern>> = Field { name: "domains", doc: "The same as hosts.", ..HOSTS };

static PATHS: Field<Vec<Arc<str>>> = Field {
    name: "path_prefix",
    doc: "Beginnings of the paths, by whole segments; all paths when absent.",
    schema: || {
        let one = json!({ "type": "string", "pattern": "^/" });
        json!({ "oneOf": [{ "type": "array", "items": one.clone() }, one] })
    },
    parse: |given| match given {
        Given::Json(Value::Array(items)) => {
            items.iter().map(|item| parse_path(Given::Json(&item.value).text()?)).collect()
        }
        given => parse_path(given.text()?).map(|one| vec![one]),
    },
};

static STRIP_PREFIX: Field<bool> =
    boolean("strip_prefix", "Whether path_prefix is removed from the path before it is forwarded.");

static HEALTH_INTERVAL: Field<Duration> = Field {
    name: "health_interval",
    doc: "Time between two checks of a service; a bare number is seconds.",
    schema: long_duration_schema,
    parse: |given| {
        let interval = long_duration(given)?;
        match (HEALTH_INTERVAL_MIN..=HEALTH_INTERVAL_MAX).contains(&interval) {
            true => Ok(interval),
            false => Err(Fault::range(format_args!(
                "must be from {} to {}",
                duration_text(HEALTH_INTERVAL_MIN),
                duration_text(HEALTH_INTERVAL_MAX)
            ))),
        }
    },
};

static SERVICE_NAME: Field<Arc<str>> = crate::values::text("name", "Name of the service, for people.");

static URL: Field<Target> = Field {
    name: "url",
    doc: "URL of the service; requests keep their path.",
    schema: || json!({ "type": "string", "examples": ["http://10.0.1.10:8000"] }),
    parse: |given| Target::parse(given.text()?).map_err(Fault::invalid),
};

static HEALTH_PATH: Field<Probe> = Field {
    name: "health",
    doc: "Path of the request that checks the service; a TCP connection when absent.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/health"] }),
    parse: |given| Probe::http(given.text()?).map_err(Fault::invalid),
};

static WEIGHT: Field<u64> =
    crate::values::number::<0, 65_535>("weight", "Share of the requests; 1 when absent.");
