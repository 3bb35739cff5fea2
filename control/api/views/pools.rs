//! Pools, circuit breakers and tenants for operators.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringway_control::{CircuitStatus, EjectionStatus, InstanceState, InstanceStatus};
use ringway_model::{AppId, Desired, Domain, HostPattern, Instance, PathMatch, Route, TenantId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::apps::AppHealth;
use super::endpoints::EndpointView;
use crate::limits::{TENANT_BACKENDS_MAX, TENANT_ROUTES_MAX};
use crate::lists::PageTail;
use crate::plane::Plane;

/// Health of a pool, or of a registered app.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PoolHealthView {
    pub(crate) pool: String,
    #[schema(examples("file", "admin", "api"))]
    pub(crate) owner: String,
    /// Whether all, some or none of the endpoints are in rotation.
    pub(crate) status: AppHealth,
    #[schema(examples("round_robin", "weighted_round_robin"))]
    pub(crate) balancer: &'static str,
    /// Endpoints that requests can be sent to.
    pub(crate) healthy_endpoints: usize,
    /// All endpoints but those that drain.
    pub(crate) total_endpoints: usize,
    /// Endpoints, by id, up to the limit of a page.
    pub(crate) endpoints: Vec<EndpointView>,
    /// While no endpoint is healthy: the failing checks and the treatment of requests.
    pub(crate) outage: Option<String>,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// Whether an endpoint can take requests.
pub(crate) fn takes_traffic(status: &InstanceStatus) -> bool {
    matches!(status.state, InstanceState::Serving | InstanceState::Joining)
}

/// Circuit breaker of an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakerView {
    pub(crate) endpoint: String,
    /// Pool or app of the endpoint.
    pub(crate) pool: String,
    #[schema(examples("closed", "open", "half_open"))]
    pub(crate) state: &'static str,
    /// Time when it left the closed state; null while it is closed.
    #[schema(format = "date-time")]
    pub(crate) since: Option<String>,
    /// Time when an open breaker admits the next request.
    #[schema(format = "date-time")]
    pub(crate) until: Option<String>,
}

impl BreakerView {
    pub(crate) fn of<P: Plane>(plane: &P, instance: &Instance) -> Self {
        let breaker = plane.instance_status(&instance.id).unwrap_or_default().breaker;
        Self {
            endpoint: instance.id.to_string(),
            pool: instance.app.to_string(),
            state: breaker.state.as_str(),
            since: breaker.since.map(Timestamp::to_rfc3339_millis),
            until: breaker.until.map(Timestamp::to_rfc3339_millis),
        }
    }
}

/// Circuit breaker of a pool, or of a route's requests to its pool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CircuitView {
    #[schema(examples("pool", "route"))]
    pub(crate) scope: &'static str,
    /// Id of the pool or route; the name of a registered domain.
    pub(crate) name: String,
    /// The pool.
    pub(crate) pool: Option<String>,
    #[schema(examples("closed", "open", "half_open"))]
    pub(crate) state: &'static str,
    /// Time when it left the closed state; null while it is closed.
    #[schema(format = "date-time")]
    pub(crate) since: Option<String>,
    /// Time when an open breaker admits the next request.
    #[schema(format = "date-time")]
    pub(crate) until: Option<String>,
    /// Whether it refuses nothing, and only counts.
    pub(crate) dry_run: bool,
    /// Attempts of the last 10 seconds that succeeded.
    pub(crate) successes: u64,
    /// Attempts of the last 10 seconds that failed.
    pub(crate) failures: u64,
    /// Number of times that it opened.
    pub(crate) trips: u64,
    /// Number of times that it would have opened in a dry run.
    pub(crate) would_trip: u64,
}

impl From<CircuitStatus> for CircuitView {
    fn from(status: CircuitStatus) -> Self {
        Self {
            scope: status.scope.as_str(),
            name: status.name,
            pool: status.pool.as_ref().map(ToString::to_string),
            state: status.breaker.state.as_str(),
            since: status.breaker.since.map(Timestamp::to_rfc3339_millis),
            until: status.breaker.until.map(Timestamp::to_rfc3339_millis),
            dry_run: status.is_dry_run,
            successes: status.successes,
            failures: status.failures,
            trips: status.trips,
            would_trip: status.would_trip,
        }
    }
}

/// Ejections of a pool's endpoints for one reason.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EjectionView {
    pub(crate) pool: String,
    #[schema(examples("consecutive_failures", "error_rate"))]
    pub(crate) reason: &'static str,
    /// Number of ejections.
    pub(crate) ejections: u64,
    /// Ejections that did not happen: the pool had no place for another one, or its settings are a dry run.
    pub(crate) prevented: u64,
}

impl From<EjectionStatus> for EjectionView {
    fn from(status: EjectionStatus) -> Self {
        let EjectionStatus { pool, reason, ejections, prevented, .. } = status;
        Self { pool: pool.to_string(), reason, ejections, prevented }
    }
}

/// Members after the circuit breakers of endpoints.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakerTail {
    /// Circuit breakers of pools and routes, on the first page.
    pub(crate) circuits: Vec<CircuitView>,
    /// Ejections of the pools that have had any, on the first page.
    pub(crate) ejections: Vec<EjectionView>,
    #[serde(flatten)]
    pub(crate) tail: PageTail,
}

/// One page of circuit breakers, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct BreakerPage {
    breakers: Vec<BreakerView>,
    #[serde(flatten)]
    tail: BreakerTail,
}

/// A tenant with its routes and backends.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantView {
    pub(crate) tenant_id: String,
    /// Whether all, some or none of its backends are in rotation.
    pub(crate) status: AppHealth,
    /// Its routes, registered domains first; at most 100.
    pub(crate) routes: Vec<TenantRouteView>,
    /// Number of its routes.
    pub(crate) routes_total: usize,
    /// Endpoints of the pools that its routes lead to; at most 100.
    pub(crate) backends: Vec<BackendView>,
    /// Number of its backends.
    pub(crate) backends_total: usize,
}

/// A route of a tenant, or a registered domain, which is one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantRouteView {
    /// Id of an operator's route; null for a registered domain.
    pub(crate) route_id: Option<String>,
    #[schema(examples("shop.example", "*.shop.example"))]
    pub(crate) host: String,
    /// Path, with `*` at its end for all paths below it; null for every path.
    #[schema(examples("/v1*"))]
    pub(crate) path: Option<String>,
    #[schema(examples("api", "file", "admin"))]
    pub(crate) owner: String,
    /// Pool or app; null for a redirect or a fixed response.
    pub(crate) pool: Option<String>,
}

/// A backend and its health.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BackendView {
    #[schema(examples("http://10.0.1.10:8000"))]
    pub(crate) url: String,
    #[schema(examples("healthy", "unhealthy", "unknown"))]
    pub(crate) status: &'static str,
    /// Pool or app.
    pub(crate) pool: String,
}

impl BackendView {
    pub(crate) fn new(instance: &Instance, status: &InstanceStatus) -> Self {
        // A backend that its circuit breaker or a drain took out of rotation is not one to rely on.
        let health = if takes_traffic(status) { status.health.as_str() } else { "unhealthy" };
        Self { url: instance.target.to_string(), status: health, pool: instance.app.to_string() }
    }
}

/// Routes of one tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantRoutes {
    pub(crate) tenant: TenantId,
    pub(crate) domains: Vec<Arc<Domain>>,
    pub(crate) routes: Vec<Arc<Route>>,
}

/// Tenant of a route: its own, else that of the registered domain whose host it attaches to.
pub(crate) fn tenant_of<'a>(desired: &'a Desired, route: &'a Route) -> Option<&'a TenantId> {
    route.spec.tenant.as_ref().or_else(|| match &route.spec.host {
        HostPattern::Exact(host) => desired.domain(host.as_str())?.tenant.as_ref(),
        _ => None,
    })
}

impl TenantView {
    pub(crate) fn of<P: Plane>(plane: &P, desired: &Desired, tenant: &TenantRoutes) -> Self {
        let mut routes: Vec<TenantRouteView> =
            tenant.domains.iter().map(|domain| of_domain(domain)).collect();
        routes.extend(tenant.routes.iter().map(|route| of_route(route)));
        let routes_total = routes.len();
        routes.truncate(TENANT_ROUTES_MAX);
        let mut pools: BTreeSet<&AppId> = tenant.domains.iter().map(|domain| &domain.app).collect();
        pools.extend(tenant.routes.iter().filter_map(|route| route.spec.pool()));
        let (mut backends, mut total, mut available) = (Vec::new(), 0, 0);
        for instance in pools.into_iter().flat_map(|pool| desired.instances_of(pool.as_str())) {
            let status = plane.instance_status(&instance.id).unwrap_or_default();
            total += 1;
            available += usize::from(takes_traffic(&status));
            if backends.len() < TENANT_BACKENDS_MAX {
                backends.push(BackendView::new(instance, &status));
            }
        }
        backends.sort_by(|a, b| (&a.pool, &a.url).cmp(&(&b.pool, &b.url)));
        Self {
            tenant_id: tenant.tenant.to_string(),
            status: AppHealth::of(available, total),
            routes,
            routes_total,
            backends,
            backends_total: total,
        }
    }
}

fn of_domain(domain: &Domain) -> TenantRouteView {
    TenantRouteView {
        route_id: None,
        host: domain.name.to_string(),
        path: None,
        owner: domain.owner.to_string(),
        pool: Some(domain.app.to_string()),
    }
}

fn of_route(route: &Route) -> TenantRouteView {
    TenantRouteView {
        route_id: Some(route.spec.id.to_string()),
        host: route.spec.host.to_string(),
        path: match &route.spec.matcher.path {
            PathMatch::Any => None,
            PathMatch::Exact(path) | PathMatch::Regex(path) => Some(path.to_string()),
            PathMatch::Prefix(path) => Some(format!("{path}*")),
        },
        owner: route.owner.to_string(),
        pool: route.spec.pool().map(ToString::to_string),
    }
}

/// One page of tenants, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct TenantPage {
    tenants: Vec<TenantView>,
    #[serde(flatten)]
    tail: PageTail,
}
