//! Dispatch of the operations: parses the request, calls the plane, builds the response.

mod auth_check;
mod cache;
mod canaries;
mod certificates;
mod changes;
mod configuration;
mod instances;
mod lookup;
mod pools;
mod queries;

use std::rc::Rc;
use std::sync::Arc;

use ringway_model::{Change, Rejection, TenantId};

use self::auth_check::check_auth;
use self::cache::{CacheCall, cache};
use self::canaries::{list_canaries, resume_canary, set_canary_weight};
use self::certificates::{remove_certificate, upload_certificate, verify_domain};
use self::changes::submit;
use self::configuration::{ConfigCall, configure};
use self::instances::{deregister, lease, remove_instance};
use self::lookup::app_of;
use self::pools::{
    list_breakers, list_pools, list_tenants, override_endpoint, show_pool, show_pool_health, tenants_health,
};
use self::queries::{
    list_apps, list_certificates, list_domains, list_instances, list_webhooks, show_app, show_app_status,
    show_domain,
};
use crate::access::Identity;
use crate::audit::{AuditLog, Trail};
use crate::openapi;
use crate::operation::Operation;
use crate::plane::Plane;
use crate::problem::Problem;
use crate::request::auth_check::auth_check;
use crate::request::conditions::Conditions;
use crate::request::shapes as shape;
use crate::response::{ApiResult, Body, Response};
use crate::views::{
    AppOverview, AuditView, CertificatesView, HealthView, LivenessView, ReadinessView, StatusView,
    WebhookView,
};
use crate::waits::Waiter;
use ringway_config::{Input, Reader, read_request};

/// A request for an operation.
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    pub(crate) input: &'a Input<'a>,
    pub(crate) conditions: Conditions,
    /// Problems of the API itself, one sentence each.
    pub(crate) warnings: Vec<String>,
    pub(crate) audit: Option<&'a AuditLog>,
    pub(crate) caller: &'a Identity,
    /// Tenant of the caller's token.
    pub(crate) tenant: Option<&'a TenantId>,
    /// Required version of the configuration of an owner.
    pub(crate) expect: Option<Arc<str>>,
    /// Whether the body is a configuration in YAML.
    pub(crate) is_yaml: bool,
}

/// Executes an operation.
pub(crate) async fn handle<P: Plane>(
    plane: &Rc<P>,
    call: Call<'_>,
    trail: &mut Trail,
    waiter: &mut Waiter<'_>,
) -> ApiResult {
    let Call { operation, input, conditions, warnings, audit, caller, tenant, expect, is_yaml } = call;
    match operation {
        Operation::RegisterApp => {
            let change = take(input, shape::register_app)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::AddInstance => {
            let change = take(input, shape::add_instance)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::RemoveInstance => {
            let removal = take(input, shape::removal)?;
            remove_instance(&**plane, removal, conditions, trail, waiter).await
        }
        Operation::RemoveApp => {
            let id = take(input, shape::app_key)?;
            submit(&**plane, Change::RemoveApp { id }, conditions, trail).await
        }
        Operation::PutWebhook => {
            let change = take(input, shape::put_webhook)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::UpdateWebhook => {
            let update = take(input, shape::update_webhook)?;
            let desired = plane.desired();
            let app = app_of(&desired, &update.app)?;
            let known = app.webhook.as_ref().ok_or(Rejection::UnknownWebhook(update.app.clone()))?;
            submit(&**plane, update.change(known), conditions, trail).await
        }
        Operation::RemoveWebhook => {
            let app = take(input, shape::app_key)?;
            submit(&**plane, Change::RemoveWebhook { app }, conditions, trail).await
        }
        Operation::ShowWebhook => {
            let id = take(input, shape::app_key)?;
            let desired = plane.desired();
            let app = app_of(&desired, &id)?;
            let view = WebhookView::of(app).ok_or(Rejection::UnknownWebhook(id.clone()))?;
            Ok(Response::json(200, &view).at(desired.revision()))
        }
        Operation::ListWebhooks => list_webhooks(&**plane, take(input, shape::app_page)?).await,
        Operation::AddDomain => {
            let change = take(input, shape::add_domain)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::AddCustomDomain => {
            let change = take(input, shape::add_custom_domain)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::AddRoute => {
            let change = take(input, shape::add_route)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::UpdateDomain => {
            let change = take(input, shape::update_domain)?;
            submit(&**plane, change, conditions, trail).await
        }
        Operation::RemoveDomain => {
            let name = take(input, shape::domain_key)?;
            submit(&**plane, Change::RemoveDomain { name }, conditions, trail).await
        }
        Operation::Register => {
            let registration = take(input, shape::register)?;
            let desired = plane.desired();
            let known = desired.domain(registration.domain().as_str()).cloned();
            submit(&**plane, registration.change(known.as_deref()), conditions, trail).await
        }
        Operation::Deregister => {
            let request = take(input, shape::deregister)?;
            deregister(&**plane, request, conditions, trail, waiter).await
        }
        Operation::Heartbeat => {
            let key = take(input, shape::instance_key)?;
            plane.heartbeat(&key.id, key.generation)?;
            match conditions.wants_representation {
                true => Ok(lease(&**plane, &key.id)),
                false => Ok(Response::empty(204)),
            }
        }
        Operation::ListApps => list_apps(&**plane, take(input, shape::app_page)?).await,
        Operation::ListInstances => list_instances(plane, take(input, shape::instance_page)?, waiter).await,
        Operation::ListInstancesOfApp => {
            let page = take(input, shape::instance_page_of_app)?;
            if let Some(id) = &page.app {
                app_of(&plane.desired(), id)?;
            }
            list_instances(plane, page, waiter).await
        }
        Operation::ListDomains => list_domains(plane, take(input, shape::domain_page)?).await,
        Operation::ListCertificates => list_certificates(plane, take(input, shape::certificate_page)?).await,
        Operation::VerifyDomain => verify_domain(&**plane, &take(input, shape::domain_key)?).await,
        Operation::UploadCertificate => {
            upload_certificate(&**plane, take(input, shape::upload)?, conditions, trail).await
        }
        Operation::RemoveCertificate => {
            remove_certificate(&**plane, take(input, shape::domain_key)?, conditions, trail).await
        }
        Operation::ShowApp => show_app(&**plane, take(input, shape::app_key)?).await,
        Operation::AppStatus => show_app_status(&**plane, take(input, shape::app_key)?).await,
        Operation::Configuration(operation) => {
            configure(&**plane, ConfigCall { operation, input, caller, expect, is_yaml }, trail).await
        }
        Operation::Cache(operation) => cache(&**plane, CacheCall { operation, input, tenant }, trail).await,
        Operation::CheckAuth => check_auth(&**plane, take(input, auth_check)?, trail).await,
        Operation::ListPools => list_pools(plane, take(input, shape::pool_page)?).await,
        Operation::ShowPool => show_pool(&**plane, take(input, shape::pool_key)?).await,
        Operation::PoolHealth => show_pool_health(&**plane, take(input, shape::pool_key)?).await,
        Operation::SetEndpoint => {
            override_endpoint(&**plane, take(input, shape::set_endpoint)?, caller, conditions, trail).await
        }
        Operation::ResetEndpoint => {
            override_endpoint(&**plane, take(input, shape::reset_endpoint)?, caller, conditions, trail).await
        }
        Operation::ListBreakers => list_breakers(plane, take(input, shape::app_page)?).await,
        Operation::ListCanaries => {
            take(input, shape::nothing)?;
            Ok(list_canaries(&**plane))
        }
        Operation::ResumeCanary => {
            let route = take(input, shape::route_key)?;
            resume_canary(&**plane, route, conditions, trail).await
        }
        Operation::SetCanaryWeight => {
            let weight = take(input, shape::canary_weight)?;
            set_canary_weight(&**plane, weight, caller, conditions, trail).await
        }
        Operation::ListTenants => list_tenants(plane, take(input, shape::tenant_page)?).await,
        Operation::ShowDomain => show_domain(&**plane, &take(input, shape::domain_key)?),
        Operation::Status | Operation::Health => {
            let most = take(input, shape::status)?;
            let tenants = match operation {
                Operation::Health => Some(tenants_health(plane, most).await),
                _ => None,
            };
            let desired = plane.desired();
            let certificates = plane.certificates().as_ref().map(CertificatesView::new);
            let apps = plane.app_statuses(most).into_iter().map(AppOverview::from).collect();
            let audit = audit.map(AuditView::new);
            let status = StatusView::new(plane.status(), warnings, audit, apps, certificates, &desired);
            let response = match tenants {
                Some(tenants) => Response::json(200, &HealthView { status, tenants }),
                None => Response::json(200, &status),
            };
            Ok(response.at(desired.revision()))
        }
        Operation::Liveness => {
            take(input, shape::nothing)?;
            Ok(Response::json(200, &LivenessView::now()))
        }
        Operation::Readiness | Operation::Startup => {
            take(input, shape::nothing)?;
            let view = ReadinessView::of(&**plane);
            Ok(Response::json(if view.is_ready() { 200 } else { 503 }, &view))
        }
        Operation::Metrics => {
            take(input, shape::nothing)?;
            let mut text = String::new();
            plane.metrics(&mut text);
            let media_type = "text/plain; version=0.0.4; charset=utf-8";
            let body = Body::Whole(media_type, text.into_bytes());
            Ok(Response { status: 200, fields: Vec::new(), body })
        }
        Operation::OpenApi => {
            take(input, shape::nothing)?;
            Ok(Response::json(200, &openapi::document()))
        }
    }
}

/// Parses a request by its shape.
fn take<T>(input: &Input<'_>, shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T, Problem> {
    read_request(input, shape)
        .map_err(|reports| Problem::findings(reports.into_iter().map(Into::into).collect()))
}
