//! Purges, readings and explanations of the cache.

use ringway_config::Input;
use ringway_control::{CacheScopeStatus, CachedFilter, ExplainRequest, Purge, PurgeEffect, PurgeSelector};
use ringway_model::{TenantId, limits};

use super::take;
use crate::audit::{ConfigurationTrail, Trail};
use crate::cache_operation::CacheOperation;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::cache as shape;
use crate::request::cache::{PurgeRequest, StatsBy};
use crate::request::shapes::nothing;
use crate::response::{ApiResult, Response};
use crate::views::{
    CacheExplanationView, CachePartView, CacheStatsView, CachedPage, CachedView, HitRatesView, PurgedView,
};

/// Parts of a request about the cache.
pub(crate) struct CacheCall<'a> {
    pub(crate) operation: CacheOperation,
    pub(crate) input: &'a Input<'a>,
    /// Tenant of the caller's token: the caller sees and purges nothing of others.
    pub(crate) tenant: Option<&'a TenantId>,
}

/// Executes an operation on the cache.
pub(crate) async fn cache<P: Plane>(plane: &P, call: CacheCall<'_>, trail: &mut Trail) -> ApiResult {
    let CacheCall { operation, input, tenant } = call;
    match operation {
        CacheOperation::Purge => purge(plane, take(input, shape::purge)?, tenant, trail),
        CacheOperation::PurgePattern => purge(plane, take(input, shape::purge_pattern)?, tenant, trail),
        CacheOperation::Stats => stats(plane, take(input, shape::stats)?, tenant),
        CacheOperation::HitRates => {
            take(input, nothing)?;
            let view = match tenant {
                Some(tenant) => HitRatesView::of_scopes(&scopes(plane, Some(tenant))?),
                None => HitRatesView::new(&plane.cache_status().ok_or_else(off)?),
            };
            Ok(Response::json(200, &view))
        }
        CacheOperation::Entries => entries(plane, take(input, shape::entries)?, tenant),
        CacheOperation::Explain => explain(plane, take(input, shape::explain)?, tenant).await,
    }
}

/// Purges. The trail gets the selection without queries.
fn purge<P: Plane>(
    plane: &P,
    request: PurgeRequest,
    tenant: Option<&TenantId>,
    trail: &mut Trail,
) -> ApiResult {
    let PurgeRequest { mut purge, subject } = request;
    trail.objects = vec![("cache", subject)];
    // No revision changes.
    trail.configuration = Some(ConfigurationTrail::default());
    if tenant.is_none() {
        check_names(plane, &purge)?;
    }
    purge.tenant = own_tenant(tenant, purge.tenant)?;
    trail.outcome = Some(match purge.effect {
        PurgeEffect::Remove => "purged",
        PurgeEffect::Expire => "expired",
        PurgeEffect::DryRun => "counted",
    });
    let purged = plane.purge_cache(&purge).ok_or_else(off)?;
    Ok(Response::json(200, &PurgedView::from(purged)))
}

/// Refuses a route or a tenant that there is not: a purge of a wrong name would look like one of nothing.
/// Those of a tenant's token learn nothing about others.
fn check_names<P: Plane>(plane: &P, purge: &Purge) -> Result<(), Problem> {
    let scopes = plane.cache_scopes().ok_or_else(off)?;
    let desired = plane.desired();
    if let PurgeSelector::Route { route, .. } = &purge.selector
        && desired.route(route).is_none()
        && !scopes.iter().any(|scope| scope.route == *route)
    {
        let detail =
            format!("there is no route {route}; `ringway cache --by route` lists those with responses");
        return Err(Problem::new(Kind::UnknownRoute, detail));
    }
    let of_routes = desired.routes().filter_map(|route| route.spec.tenant.as_ref());
    let mut tenants = of_routes.chain(desired.domains().filter_map(|domain| domain.tenant.as_ref()));
    if let Some(tenant) = &purge.tenant
        && !tenants.any(|of| of.as_str() == &**tenant)
        && !scopes.iter().any(|scope| scope.tenant.as_ref() == Some(tenant))
    {
        return Err(Problem::new(Kind::UnknownRoute, format!("no route is one of tenant {tenant}")));
    }
    Ok(())
}

/// The tenant to which a request is limited: that of the token, or the one that it names.
fn own_tenant(token: Option<&TenantId>, named: Option<Box<str>>) -> Result<Option<Box<str>>, Problem> {
    match (token, named) {
        (Some(own), Some(named)) if *named != *own.as_str() => Err(Problem::new(
            Kind::ForeignTenant,
            format!("the token is one of tenant {own}, which cannot see or purge what others have"),
        )),
        (Some(own), _) => Ok(Some(own.as_str().into())),
        (None, named) => Ok(named),
    }
}

fn stats<P: Plane>(
    plane: &P,
    (by, limit): (Option<StatsBy>, Option<usize>),
    tenant: Option<&TenantId>,
) -> ApiResult {
    let scopes = scopes(plane, tenant)?;
    let view = match tenant {
        Some(_) => CacheStatsView::of_scopes(&scopes),
        None => CacheStatsView::new(&plane.cache_status().ok_or_else(off)?),
    };
    let parts = match by {
        None => Vec::new(),
        Some(StatsBy::Route) => scopes.iter().map(CachePartView::of_route).collect(),
        Some(StatsBy::Tenant) => CachePartView::by_tenant(&scopes),
    };
    Ok(Response::json(200, &view.with_parts(parts, limit.unwrap_or(limits::PAGE_ITEMS_MAX))))
}

/// Caches of the routes, of one tenant or of all.
fn scopes<P: Plane>(plane: &P, tenant: Option<&TenantId>) -> Result<Vec<CacheScopeStatus>, Problem> {
    let mut scopes = plane.cache_scopes().ok_or_else(off)?;
    if let Some(tenant) = tenant {
        scopes.retain(|scope| scope.tenant.as_deref() == Some(tenant.as_str()));
    }
    Ok(scopes)
}

fn entries<P: Plane>(plane: &P, filter: CachedFilter, tenant: Option<&TenantId>) -> ApiResult {
    let limit = filter.limit;
    let tenant = own_tenant(tenant, filter.tenant)?;
    let filter = CachedFilter { tenant, limit: limit + 1, ..filter };
    let mut found = plane.cached_responses(&filter).ok_or_else(off)?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let entries = found.iter().map(CachedView::from).collect();
    // URLs may have secrets in their queries.
    Ok(Response::json(200, &CachedPage { entries, has_more }).with("Cache-Control", "no-store"))
}

async fn explain<P: Plane>(plane: &P, request: ExplainRequest, tenant: Option<&TenantId>) -> ApiResult {
    let explanation = plane.explain(request).await;
    let explanation = explanation.map_err(|error| Problem::of_configuration(error, false))?;
    let of = explanation.route.as_ref().and_then(|route| route.tenant.as_deref());
    if let Some(tenant) = tenant.filter(|tenant| of != Some(tenant.as_str())) {
        // The same for hosts of others and for unknown ones.
        let detail = format!("no route of tenant {tenant} applies to the request");
        return Err(Problem::new(Kind::UnknownRoute, detail));
    }
    Ok(Response::json(200, &CacheExplanationView::from(&explanation)).with("Cache-Control", "no-store"))
}

fn off() -> Problem {
    Problem::new(Kind::CacheOff, "the process was started without a cache (CACHE_ENABLED)")
}
