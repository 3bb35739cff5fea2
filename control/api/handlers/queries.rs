//! Lists and single objects.

use std::rc::Rc;
use std::sync::Arc;

use ringway_certs::CertificateState;
use ringway_model::{App, AppId, Desired, Domain, Hostname, Instance, Revision};

use super::instances::wait_for_state;
use super::lookup::{app_of, domain_of};
use crate::lists::{Pieces, Selection, select};
use crate::plane::Plane;
use crate::request::shapes::Page;
use crate::response::{ApiResult, Body, Response};
use crate::views::{
    AppDetails, AppHealth, AppStatusView, AppView, CertificateItem, CertificatePageTail, CertificatesView,
    DomainDetails, DomainView, InstanceView, WebhookView,
};
use crate::waits::Waiter;

pub(crate) async fn list_apps<P: Plane>(plane: &P, page: Page) -> ApiResult {
    let desired = plane.desired();
    let is_wanted = |app: &Arc<App>| page.app.as_ref().is_none_or(|id| app.id == *id);
    let selection = select(desired.apps(), is_wanted, page.after.as_deref(), page.limit).await;
    let revision = desired.revision();
    let pieces = Pieces::page("apps", selection, revision.0, move |app| AppView::new(app, &desired));
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

pub(crate) async fn list_webhooks<P: Plane>(plane: &P, page: Page) -> ApiResult {
    let desired = plane.desired();
    let is_wanted =
        |app: &Arc<App>| app.webhook.is_some() && page.app.as_ref().is_none_or(|id| app.id == *id);
    let selection = select(desired.apps(), is_wanted, page.after.as_deref(), page.limit).await;
    let revision = desired.revision();
    let pieces = Pieces::page("webhooks", selection, revision.0, |app| WebhookView::of(app));
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

pub(crate) async fn list_instances<P: Plane>(
    plane: &Rc<P>,
    page: Page,
    waiter: &mut Waiter<'_>,
) -> ApiResult {
    if let Some(wait) = &page.wait {
        wait_for_state(&**plane, wait, waiter).await?;
    }
    let desired = plane.desired();
    let revision = desired.revision();
    let mut app = page.app.clone();
    if let Some(name) = &page.domain {
        let domain = domain_of(&desired, name)?;
        // Filters by different apps match nothing.
        if app.as_ref().is_some_and(|app| *app != domain.app) {
            let nothing = Selection { items: Vec::new(), total: 0, next: None };
            return Ok(instance_pieces(plane, nothing, revision));
        }
        app = Some(domain.app.clone());
    }
    let (after, limit) = (page.after.as_deref(), page.limit);
    let selection = match (&page.instance, &app) {
        (Some(id), _) => {
            let is_of_app = |instance: &Arc<Instance>| app.as_ref().is_none_or(|app| instance.app == *app);
            select(desired.instance(id.as_str()).into_iter(), is_of_app, after, limit).await
        }
        (None, Some(app)) => select(desired.instances_of(app.as_str()), |_| true, after, limit).await,
        (None, None) => select(desired.instances(), |_| true, after, limit).await,
    };
    Ok(instance_pieces(plane, selection, revision))
}

pub(crate) fn instance_pieces<P: Plane>(
    plane: &Rc<P>,
    selection: Selection<Arc<Instance>>,
    revision: Revision,
) -> Response {
    let plane = Rc::clone(plane);
    let view = move |instance: &Arc<Instance>| InstanceView::of(&*plane, instance);
    let pieces = Pieces::page("instances", selection, revision.0, view);
    Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision)
}

pub(crate) async fn list_domains<P: Plane>(plane: &Rc<P>, page: Page) -> ApiResult {
    let desired = plane.desired();
    let is_wanted = |domain: &Arc<Domain>| {
        page.tenant.as_ref().is_none_or(|tenant| domain.tenant.as_ref() == Some(tenant))
    };
    let selection = select_domains(&desired, &page, is_wanted).await;
    let revision = desired.revision();
    let plane = Rc::clone(plane);
    let view = move |domain: &Arc<Domain>| DomainView::of(&*plane, domain);
    let pieces = Pieces::page("domains", selection, revision.0, view);
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

pub(crate) async fn list_certificates<P: Plane>(plane: &Rc<P>, page: Page) -> ApiResult {
    let desired = plane.desired();
    let state_of = |domain: &Arc<Domain>| {
        plane.certificate(&domain.name).map_or(CertificateState::None, |known| known.state)
    };
    let is_wanted = |domain: &Arc<Domain>| {
        page.tenant.as_ref().is_none_or(|tenant| domain.tenant.as_ref() == Some(tenant))
            && page.state.is_none_or(|state| state_of(domain) == state)
    };
    let selection = select_domains(&desired, &page, is_wanted).await;
    let overview = plane.certificates().as_ref().map(CertificatesView::new).unwrap_or_default();
    let revision = desired.revision();
    let plane = Rc::clone(plane);
    let pieces = Pieces::page_with(
        "certificates",
        selection,
        revision.0,
        |tail| CertificatePageTail { overview, tail },
        move |domain: &Arc<Domain>| CertificateItem::of(&*plane, domain),
    );
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

pub(crate) async fn select_domains(
    desired: &Desired,
    page: &Page,
    is_wanted: impl Fn(&Arc<Domain>) -> bool,
) -> Selection<Arc<Domain>> {
    let (after, limit) = (page.after.as_deref(), page.limit);
    match &page.app {
        Some(app) => select(desired.domains_of(app.as_str()), is_wanted, after, limit).await,
        None => select(desired.domains(), is_wanted, after, limit).await,
    }
}

pub(crate) async fn show_app<P: Plane>(plane: &P, id: AppId) -> ApiResult {
    let desired = plane.desired();
    let app = AppView::new(app_of(&desired, &id)?, &desired);
    let details = AppDetails {
        app,
        instances: instances_of(plane, &desired, &id).await,
        domains: domains_of(&desired, &id).await,
        outage: plane.outage(&id),
        revision: desired.revision().0,
    };
    Ok(Response::json(200, &details).at(desired.revision()))
}

pub(crate) async fn show_app_status<P: Plane>(plane: &P, id: AppId) -> ApiResult {
    let desired = plane.desired();
    let on_all_unhealthy = app_of(&desired, &id)?.on_all_unhealthy.as_str();
    let instances = instances_of(plane, &desired, &id).await;
    let is_draining = |instance: &&InstanceView| instance.state == "draining";
    let takes_traffic = |instance: &&InstanceView| {
        !is_draining(instance) && instance.health != "unhealthy" && instance.circuit_breaker != "open"
    };
    let (healthy_instances, total_instances) =
        (instances.iter().filter(takes_traffic).count(), instances.len());
    // Draining instances are not counted.
    let staying = total_instances - instances.iter().filter(is_draining).count();
    let status = AppHealth::of(healthy_instances, staying);
    let domains = domains_of(&desired, &id).await;
    let revision = desired.revision();
    let view = AppStatusView {
        app_id: id.to_string(),
        status,
        healthy_instances,
        total_instances,
        instances,
        domains,
        on_all_unhealthy,
        outage: plane.outage(&id),
        revision: revision.0,
    };
    Ok(Response::json(200, &view).at(revision))
}

pub(crate) fn show_domain<P: Plane>(plane: &P, name: &Hostname) -> ApiResult {
    let desired = plane.desired();
    let domain = DomainView::of(plane, domain_of(&desired, name)?);
    let revision = desired.revision();
    Ok(Response::json(200, &DomainDetails { domain, revision: revision.0 }).at(revision))
}

pub(crate) async fn instances_of<P: Plane>(plane: &P, desired: &Desired, id: &AppId) -> Vec<InstanceView> {
    let selection = select(desired.instances_of(id.as_str()), |_| true, None, None).await;
    selection.items.iter().map(|instance| InstanceView::of(plane, instance)).collect()
}

pub(crate) async fn domains_of(desired: &Desired, id: &AppId) -> Vec<String> {
    let selection = select(desired.domains_of(id.as_str()), |_| true, None, None).await;
    selection.items.iter().map(|domain| domain.name.to_string()).collect()
}
