//! Pools, circuit breakers and tenants.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::{Pointer, nearest};
use ringway_model::{
    App, AppId, Balancer, Change, Desired, EndpointOverride, Instance, InstanceId, Owner, TenantId, limits,
};
use ringway_net::clock;

use super::changes::{make, received};
use crate::access::Identity;
use crate::audit::Trail;
use crate::limits::NAMES_SUGGESTED_MAX;
use crate::lists::{Pieces, Selection, Steps, select};
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::Conditions;
use crate::request::finding::Finding;
use crate::request::shapes::{EndpointUpdate, Page};
use crate::response::{ApiResult, Body, Response};
use crate::views::{
    Accepted, AppHealth, BreakerTail, BreakerView, CircuitView, EjectionView, EndpointView, PoolDetails,
    PoolHealthView, PoolView, TenantRoutes, TenantView, TenantsHealth, takes_traffic, tenant_of,
};

/// Lists pools of operators and registered apps.
pub(crate) async fn list_pools<P: Plane>(plane: &Rc<P>, page: Page) -> ApiResult {
    let desired = plane.desired();
    let is_wanted = |app: &Arc<App>| page.owner.as_ref().is_none_or(|owner| app.owner == *owner);
    let selection = select(desired.apps(), is_wanted, page.after.as_deref(), page.limit).await;
    let revision = desired.revision();
    let (plane, shown) = (Rc::clone(plane), desired.clone());
    let view = move |app: &Arc<App>| PoolView::of(&*plane, &shown, app);
    let pieces = Pieces::page("pools", selection, revision.0, view);
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

/// Shows a pool with its endpoints.
pub(crate) async fn show_pool<P: Plane>(plane: &P, id: AppId) -> ApiResult {
    let desired = plane.desired();
    let app = pool_of(&desired, &id).await?;
    let selection = select(desired.instances_of(id.as_str()), |_| true, None, None).await;
    let endpoint = |instance: &Arc<Instance>| {
        let status = plane.instance_status(&instance.id).unwrap_or_default();
        EndpointView::new(instance, status, desired.endpoint_override(instance.id.as_str()))
    };
    let revision = desired.revision();
    let view = PoolDetails {
        pool: PoolView::of(plane, &desired, app),
        endpoints: selection.items.iter().map(endpoint).collect(),
        outage: plane.outage(&id),
        revision: revision.0,
    };
    Ok(Response::json(200, &view).at(revision))
}

/// Finds a pool; the problem names the most similar id. Without one, it costs a walk over all ids.
async fn pool_of<'a>(desired: &'a Desired, id: &AppId) -> Result<&'a Arc<App>, Problem> {
    if let Some(app) = desired.app(id.as_str()) {
        return Ok(app);
    }
    let mut steps = Steps::default();
    let mut similar: Option<&AppId> = None;
    for app in desired.apps() {
        steps.step().await;
        let known = similar.into_iter().chain([&app.id]).map(AppId::as_str);
        if nearest(id.as_str(), known) == Some(app.id.as_str()) {
            similar = Some(&app.id);
        }
    }
    let hint = similar.map(|similar| format!("; did you mean {similar}?")).unwrap_or_default();
    Err(Problem::new(Kind::UnknownPool, format!("there is no pool or app {id}{hint}")))
}

pub(crate) async fn show_pool_health<P: Plane>(plane: &P, id: AppId) -> ApiResult {
    let desired = plane.desired();
    let app = pool_of(&desired, &id).await?;
    let selection = select(desired.instances_of(id.as_str()), |_| true, None, None).await;
    let (mut healthy, mut total, mut endpoints) = (0, 0, Vec::new());
    for instance in &selection.items {
        let status = plane.instance_status(&instance.id).unwrap_or_default();
        healthy += usize::from(takes_traffic(&status));
        total += usize::from(status.state != ringway_control::InstanceState::Draining);
        let known = desired.endpoint_override(instance.id.as_str());
        endpoints.push(EndpointView::new(instance, status, known));
    }
    let revision = desired.revision();
    let view = PoolHealthView {
        pool: id.to_string(),
        owner: app.owner.to_string(),
        status: AppHealth::of(healthy, total),
        balancer: app.balancer.as_str(),
        healthy_endpoints: healthy,
        total_endpoints: total,
        endpoints,
        outage: plane.outage(&id),
        revision: revision.0,
    };
    Ok(Response::json(200, &view).at(revision))
}

/// Sets or ends the override of an endpoint. It is in force on all cores before the response.
pub(crate) async fn override_endpoint<P: Plane>(
    plane: &P,
    update: EndpointUpdate,
    caller: &Identity,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    let desired = plane.desired();
    let app = pool_of(&desired, &update.pool).await?;
    let id = endpoint_of(&desired, &update).await?;
    if app.balancer == Balancer::RoundRobin && update.weight.is_some_and(|weight| weight > 1) {
        let mut pointer = Pointer::default();
        pointer.push("weight");
        let message = format!(
            "has no effect in pool {}, whose balancer is round_robin: use 0 or 1, or configure another balancer",
            update.pool
        );
        return Err(Problem::findings(vec![Finding::at(&pointer, "invalid", message)]));
    }
    let change = match (update.weight, update.is_drained) {
        (None, false) => Change::RemoveEndpointOverride { instance: id.clone() },
        (weight, is_drained) => Change::PutEndpointOverride(Arc::new(EndpointOverride {
            instance: id.clone(),
            owner: Owner::Api,
            weight,
            is_drained,
            at: clock::timestamp(),
            by: caller.to_string().into(),
            reason: update.reason,
        })),
    };
    let receipt = make(plane, change, conditions, trail).await?;
    let desired = plane.desired();
    let view = desired.instance(id.as_str()).map(|instance| {
        let status = plane.instance_status(&id).unwrap_or_default();
        EndpointView::new(instance, status, desired.endpoint_override(id.as_str()))
    });
    let status = if receipt.pending.is_empty() { 200 } else { 202 };
    Ok(received(Response::json(status, &Accepted::new(&receipt, view)), &receipt))
}

/// The instance of a pool that a request names by its id, or by its address; the problem lists those there
/// are.
async fn endpoint_of(desired: &Desired, update: &EndpointUpdate) -> Result<InstanceId, Problem> {
    let of_pool = |id: &str| desired.instance(id).filter(|instance| instance.app == update.pool);
    let named = of_pool(update.endpoint.as_str());
    if let Some(found) = named.or_else(|| of_pool(&format!("{}@{}", update.pool, update.endpoint))) {
        return Ok(found.id.clone());
    }
    let (pool, endpoint) = (&update.pool, &update.endpoint);
    let there = select(desired.instances_of(pool.as_str()), |_| true, None, Some(NAMES_SUGGESTED_MAX)).await;
    let names: Vec<&str> = there.items.iter().map(|instance| instance.id.as_str()).collect();
    let more = match there.total - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let there = match names.is_empty() {
        true => "it has none".to_owned(),
        false => format!("it has {}{more}", names.join(", ")),
    };
    Err(Problem::new(Kind::UnknownInstance, format!("pool {pool} has no endpoint {endpoint}; {there}")))
}

pub(crate) async fn list_breakers<P: Plane>(plane: &Rc<P>, page: Page) -> ApiResult {
    let desired = plane.desired();
    let (after, limit) = (page.after.as_deref(), page.limit);
    let selection = match &page.app {
        Some(app) => select(desired.instances_of(app.as_str()), |_| true, after, limit).await,
        None => select(desired.instances(), |_| true, after, limit).await,
    };
    let revision = desired.revision();
    let plane = Rc::clone(plane);
    let is_wanted = |pool: Option<&AppId>| page.app.is_none() || pool == page.app.as_ref();
    let (mut circuits, mut ejections) = (plane.circuits(), plane.ejections());
    circuits.retain(|circuit| after.is_none() && is_wanted(circuit.pool.as_ref()));
    ejections.retain(|status| after.is_none() && is_wanted(Some(&status.pool)));
    let tail = |tail| BreakerTail {
        circuits: circuits.into_iter().map(CircuitView::from).collect(),
        ejections: ejections.into_iter().map(EjectionView::from).collect(),
        tail,
    };
    let view = move |instance: &Arc<Instance>| BreakerView::of(&*plane, instance);
    let pieces = Pieces::page_with("breakers", selection, revision.0, tail, view);
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

/// Lists the tenants of domains and of routes.
pub(crate) async fn list_tenants<P: Plane>(plane: &Rc<P>, page: Page) -> ApiResult {
    let desired = plane.desired();
    let selection = select_tenants(&desired, &page).await;
    let revision = desired.revision();
    let (plane, shown) = (Rc::clone(plane), desired.clone());
    let view = move |tenant: &TenantRoutes| TenantView::of(&*plane, &shown, tenant);
    let pieces = Pieces::page("tenants", selection, revision.0, view);
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

/// The health of the first tenants by name.
pub(crate) async fn tenants_health<P: Plane>(plane: &Rc<P>, most: usize) -> TenantsHealth {
    let desired = plane.desired();
    let page = Page { limit: Some(most), ..Page::default() };
    let Selection { items, total, .. } = select_tenants(&desired, &page).await;
    let tenants = items.iter().map(|tenant| TenantView::of(&**plane, &desired, tenant)).collect();
    TenantsHealth { tenants, tenants_total: total }
}

/// Selects a page of tenants. Two walks over domains and routes: one for the names of the page, one for its
/// routes.
async fn select_tenants(desired: &Desired, page: &Page) -> Selection<TenantRoutes> {
    let limit = page.limit.unwrap_or(limits::PAGE_ITEMS_MAX);
    let is_wanted = |tenant: &TenantId| page.tenant.as_ref().is_none_or(|wanted| wanted == tenant);
    let mut steps = Steps::default();
    let (mut all, mut names) = (HashSet::new(), BTreeSet::new());
    let mut is_cut = false;
    let of_domains = desired.domains().map(|domain| domain.tenant.as_ref());
    let of_routes = desired.routes().map(|route| tenant_of(desired, route));
    for tenant in of_domains.chain(of_routes) {
        steps.step().await;
        let Some(tenant) = tenant.filter(|tenant| is_wanted(tenant)) else { continue };
        if !all.insert(tenant) || page.after.as_deref().is_some_and(|after| tenant.as_str() <= after) {
            continue;
        }
        names.insert(tenant);
        if names.len() > limit {
            names.pop_last();
            is_cut = true;
        }
    }
    let of_tenant =
        |tenant: &TenantId| TenantRoutes { tenant: tenant.clone(), domains: Vec::new(), routes: Vec::new() };
    let mut tenants: BTreeMap<&TenantId, TenantRoutes> =
        names.into_iter().map(|tenant| (tenant, of_tenant(tenant))).collect();
    for domain in desired.domains() {
        steps.step().await;
        if let Some(tenant) = domain.tenant.as_ref().and_then(|tenant| tenants.get_mut(tenant)) {
            tenant.domains.push(domain.clone());
        }
    }
    for route in desired.routes() {
        steps.step().await;
        if let Some(tenant) = tenant_of(desired, route).and_then(|tenant| tenants.get_mut(tenant)) {
            tenant.routes.push(route.clone());
        }
    }
    let total = all.len();
    let mut items: Vec<TenantRoutes> = tenants.into_values().collect();
    for item in &mut items {
        item.domains.sort_by(|a, b| a.name.cmp(&b.name));
        item.routes.sort_by(|a, b| a.spec.id.cmp(&b.spec.id));
    }
    let next = items.last().filter(|_| is_cut).map(|last| last.tenant.to_string());
    Selection { items, total, next }
}
