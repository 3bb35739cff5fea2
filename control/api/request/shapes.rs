//! Shapes of the requests: the fields of each operation and the change that they describe.

use std::sync::Arc;
use std::time::Duration;

use ringway_certs::CertificateState;
use ringway_config::fields::{client_auth, client_auth_patch, health_check, upstream_tls};
use ringway_config::{Fault, Reader, policy, policy_patch};
use ringway_control::InstanceState;
use ringway_model::{
    AppId, AppSpec, CertificateMode, Change, ClientAuth, Domain, DomainKind, DomainSpec, DomainUpdate,
    Generation, HealthCheck, Hostname, InstanceId, InstanceSpec, Owner, Patch, Percent, RouteId, Target,
    TenantId, Webhook, WebhookSecret, WebhookUrl,
};

use super::fields::{
    AFTER, APP_ID, APP_NAME, CANARY_WEIGHT, CNAME_TARGET, DOMAIN, DRAIN, ENDPOINT, GENERATION, INSTANCE_ID,
    IS_DRAINED, KIND, KIND_CUSTOM, LIMIT, OVERRIDE_REASON, POOL, POOL_OWNER, ROUTE, STATUS_LIMIT, TARGET,
    TENANT_ID, WAIT, WAIT_TIMEOUT, WEBHOOK_SECRET, WEBHOOK_URL, WEIGHT, failures, on_all_unhealthy,
};
use super::tls_fields::{CERTIFICATE_MODE, CERTIFICATE_PEM, KEY_PEM, STATE, Secret};
use crate::limits;

/// `POST /api/apps/register`
pub(crate) fn register_app(reader: &mut Reader<'_>) -> Option<Change> {
    let id = reader.required(&APP_ID);
    let name = reader.optional(&APP_NAME);
    let instance = reader.object("instance", "An instance of the app; optional.", |reader| {
        let id = reader.required(&INSTANCE_ID);
        let target = reader.required(&TARGET);
        let health_check = health_check(reader, target.as_ref()).unwrap_or_default();
        Some((id?, target?, health_check))
    });
    let upstream_tls = upstream_tls(reader);
    let on_all_unhealthy = on_all_unhealthy(reader);
    let failures = failures(reader);
    let policy = policy_patch(reader);
    let app = AppSpec { policy, id: id?, name, upstream_tls, failures, on_all_unhealthy };
    let instance = instance.map(|(id, target, health_check)| InstanceSpec {
        id,
        app: app.id.clone(),
        target,
        health_check,
    });
    Some(Change::Register { app, instance, domain: None })
}

/// `POST /api/apps/instances`
pub(crate) fn add_instance(reader: &mut Reader<'_>) -> Option<Change> {
    let app = reader.required(&APP_ID);
    let id = reader.required(&INSTANCE_ID);
    let target = reader.required(&TARGET);
    let health_check = health_check(reader, target.as_ref()).unwrap_or_default();
    Some(Change::AddInstance(InstanceSpec { id: id?, app: app?, target: target?, health_check }))
}

/// `POST /api/webhooks`
pub(crate) fn put_webhook(reader: &mut Reader<'_>) -> Option<Change> {
    let app = reader.required(&APP_ID);
    let url = reader.required(&WEBHOOK_URL);
    let secret = reader.optional(&WEBHOOK_SECRET).into();
    Some(Change::PutWebhook { app: app?, url: url?, secret })
}

/// `PUT /api/webhooks`, absent fields are kept, a null removes the secret.
pub(crate) fn update_webhook(reader: &mut Reader<'_>) -> Option<WebhookUpdate> {
    let app = reader.key(&APP_ID);
    let url = reader.optional(&WEBHOOK_URL);
    let secret = reader.patch(&WEBHOOK_SECRET);
    Some(WebhookUpdate { app: app?, url, secret })
}

/// New values for a webhook.
#[derive(Clone, Debug)]
pub(crate) struct WebhookUpdate {
    pub(crate) app: AppId,
    url: Option<WebhookUrl>,
    secret: Patch<WebhookSecret>,
}

impl WebhookUpdate {
    /// Builds the change, given the present webhook.
    pub(crate) fn change(self, known: &Webhook) -> Change {
        let url = self.url.unwrap_or_else(|| known.url.clone());
        Change::PutWebhook { app: self.app, url, secret: self.secret }
    }
}

/// Instance and registration.
#[derive(Clone, Debug)]
pub(crate) struct InstanceKey {
    pub(crate) id: InstanceId,
    pub(crate) generation: Option<Generation>,
}

/// `POST /api/apps/heartbeat`
pub(crate) fn instance_key(reader: &mut Reader<'_>) -> Option<InstanceKey> {
    let id = reader.key(&INSTANCE_ID);
    let generation = reader.filter(&GENERATION);
    Some(InstanceKey { id: id?, generation })
}

/// Removal of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub(crate) key: InstanceKey,
    /// Time to finish its requests; removed at once when absent.
    pub(crate) drain: Option<Duration>,
}

/// `DELETE /api/apps/instances`
pub(crate) fn removal(reader: &mut Reader<'_>) -> Option<Removal> {
    let key = instance_key(reader);
    let drain = reader.filter(&DRAIN);
    Some(Removal { key: key?, drain })
}

/// Registration in one step: an instance, its app and a domain.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    app: AppSpec,
    instance: InstanceSpec,
    domain: Hostname,
    tenant: Option<TenantId>,
    kind: Option<DomainKind>,
    cname_target: Option<Hostname>,
    certificate: Option<CertificateMode>,
    client_auth: Option<ClientAuth>,
}

/// `POST /api/register`
pub(crate) fn register(reader: &mut Reader<'_>) -> Option<Registration> {
    let domain = reader.required(&DOMAIN);
    let instance = reader.required(&INSTANCE_ID);
    let target = reader.required(&TARGET);
    let app = reader.required(&APP_ID);
    let health_check = health_check(reader, target.as_ref()).unwrap_or_default();
    let name = reader.optional(&APP_NAME);
    let tenant = reader.optional(&TENANT_ID);
    let kind = reader.optional(&KIND);
    let cname_target = cname_target(reader, domain.as_ref());
    let certificate = reader.optional(&CERTIFICATE_MODE);
    let client_auth = client_auth(reader);
    let upstream_tls = upstream_tls(reader);
    let on_all_unhealthy = on_all_unhealthy(reader);
    let failures = failures(reader);
    let policy = policy_patch(reader);
    let app = AppSpec { policy, id: app?, name, upstream_tls, failures, on_all_unhealthy };
    let instance = InstanceSpec { id: instance?, app: app.id.clone(), target: target?, health_check };
    Some(Registration {
        app,
        instance,
        domain: domain?,
        tenant,
        kind,
        cname_target,
        certificate,
        client_auth,
    })
}

impl Registration {
    /// Builds the change, given the present domain. Absent fields are kept: an instance that registers itself
    /// knows its app and its name, not the settings that an operator has added.
    pub(crate) fn change(self, domain: Option<&Domain>) -> Change {
        let known = domain.filter(|domain| domain.app == self.app.id);
        let spec = DomainSpec {
            policy: known.and_then(|domain| domain.policy.clone()),
            certificate: self.certificate.or(known.map(|domain| domain.certificate)),
            client_auth: self.client_auth.or_else(|| known.and_then(|domain| domain.client_auth.clone())),
            name: self.domain,
            app: self.app.id.clone(),
            tenant: self.tenant.or_else(|| known.and_then(|domain| domain.tenant.clone())),
            kind: self.kind.or(known.map(|domain| domain.kind)).unwrap_or(DomainKind::Subdomain),
            cname_target: self.cname_target.or_else(|| known.and_then(|domain| domain.cname_target.clone())),
        };
        Change::Register { app: self.app, instance: Some(self.instance), domain: Some(spec) }
    }

    /// The domain.
    pub(crate) fn domain(&self) -> &Hostname {
        &self.domain
    }
}

/// Deregistration of an instance.
#[derive(Clone, Debug)]
pub(crate) struct Deregistration {
    pub(crate) removal: Removal,
    /// The app that the instance must belong to.
    pub(crate) app: Option<AppId>,
}

/// `DELETE /api/register`: accepts the body of the registration, of which only the ids count.
pub(crate) fn deregister(reader: &mut Reader<'_>) -> Option<Deregistration> {
    let removal = removal(reader);
    let app = reader.filter(&APP_ID);
    let _: Option<Hostname> = reader.optional(&DOMAIN);
    let target: Option<Target> = reader.optional(&TARGET);
    let _: Option<HealthCheck> = health_check(reader, target.as_ref());
    Some(Deregistration { removal: removal?, app })
}

/// `POST /api/tenants/domains`
pub(crate) fn add_domain(reader: &mut Reader<'_>) -> Option<Change> {
    let name = reader.required(&DOMAIN);
    let app = reader.required(&APP_ID);
    let kind = reader.optional(&KIND).unwrap_or(DomainKind::Subdomain);
    let tenant = reader.optional(&TENANT_ID);
    let cname_target = cname_target(reader, name.as_ref());
    let certificate = reader.optional(&CERTIFICATE_MODE);
    let client_auth = client_auth(reader);
    let policy = policy(reader);
    Some(Change::AddDomain(DomainSpec {
        policy,
        certificate,
        client_auth,
        name: name?,
        app: app?,
        tenant,
        kind,
        cname_target,
    }))
}

/// `POST /api/tenants/custom-domains`
pub(crate) fn add_custom_domain(reader: &mut Reader<'_>) -> Option<Change> {
    let name = reader.required(&DOMAIN);
    let app = reader.required(&APP_ID);
    let tenant = reader.required(&TENANT_ID);
    let cname_target = cname_target(reader, name.as_ref());
    let kind = reader.optional(&KIND_CUSTOM).unwrap_or(DomainKind::Custom);
    let certificate = reader.optional(&CERTIFICATE_MODE);
    let client_auth = client_auth(reader);
    let policy = policy(reader);
    Some(Change::AddDomain(DomainSpec {
        policy,
        certificate,
        client_auth,
        name: name?,
        app: app?,
        tenant: Some(tenant?),
        kind,
        cname_target,
    }))
}

/// `POST /api/routes`: custom with a tenant, otherwise a subdomain.
pub(crate) fn add_route(reader: &mut Reader<'_>) -> Option<Change> {
    let name = reader.required(&DOMAIN);
    let app = reader.required(&APP_ID);
    let tenant = reader.optional(&TENANT_ID);
    let kind = reader.optional(&KIND).unwrap_or(match tenant {
        Some(_) => DomainKind::Custom,
        None => DomainKind::Subdomain,
    });
    let cname_target = cname_target(reader, name.as_ref());
    let certificate = reader.optional(&CERTIFICATE_MODE);
    let client_auth = client_auth(reader);
    let policy = policy(reader);
    Some(Change::AddDomain(DomainSpec {
        policy,
        certificate,
        client_auth,
        name: name?,
        app: app?,
        tenant,
        kind,
        cname_target,
    }))
}

/// `PUT /api/tenants/domains`
pub(crate) fn update_domain(reader: &mut Reader<'_>) -> Option<Change> {
    let name = reader.key(&DOMAIN);
    let app = reader.optional(&APP_ID);
    let tenant = reader.patch(&TENANT_ID);
    let kind = reader.optional(&KIND);
    let cname_target = reader.patch(&CNAME_TARGET);
    distinct(reader, name.as_ref(), cname_target.value());
    let certificate = reader.optional(&CERTIFICATE_MODE);
    let client_auth = client_auth_patch(reader);
    let policy = policy_patch(reader);
    Some(Change::UpdateDomain(DomainUpdate {
        policy,
        certificate,
        client_auth,
        name: name?,
        app,
        tenant,
        kind,
        cname_target,
    }))
}

/// `DELETE /api/tenants/domains`, `POST /api/tenants/domains/get`
pub(crate) fn domain_key(reader: &mut Reader<'_>) -> Option<Hostname> {
    reader.key(&DOMAIN)
}

/// Upload of a certificate.
#[derive(Debug)]
pub(crate) struct Upload {
    pub(crate) name: Hostname,
    pub(crate) certificate: Arc<str>,
    pub(crate) key: Secret,
}

/// `POST /api/tenants/domains/certificate`
pub(crate) fn upload(reader: &mut Reader<'_>) -> Option<Upload> {
    let name = reader.key(&DOMAIN);
    let certificate = reader.required(&CERTIFICATE_PEM);
    let key = reader.required(&KEY_PEM);
    Some(Upload { name: name?, certificate: certificate?, key: key? })
}

/// `GET /api/v2/pools/{pool}/health`
pub(crate) fn pool_key(reader: &mut Reader<'_>) -> Option<AppId> {
    reader.key(&POOL)
}

/// Override of an endpoint as requested.
pub(crate) struct EndpointUpdate {
    pub(crate) pool: AppId,
    pub(crate) endpoint: InstanceId,
    pub(crate) weight: Option<u16>,
    pub(crate) is_drained: bool,
    pub(crate) reason: Arc<str>,
}

/// `PUT /api/v2/pools/{pool}/endpoints/{endpoint}`
pub(crate) fn set_endpoint(reader: &mut Reader<'_>) -> Option<EndpointUpdate> {
    let pool = reader.parent(&POOL);
    let endpoint = reader.key(&ENDPOINT);
    let is_empty = !reader.has(WEIGHT.name) && !reader.has(IS_DRAINED.name);
    let weight = reader.optional(&WEIGHT);
    let is_drained = reader.optional(&IS_DRAINED).unwrap_or(false);
    let reason = reader.optional(&OVERRIDE_REASON).unwrap_or_default();
    if is_empty {
        let message = "is required, or drain; DELETE gives the endpoint its configured values again".into();
        reader.fault(WEIGHT.name, Fault { code: "missing", message });
        return None;
    }
    Some(EndpointUpdate { pool: pool?, endpoint: endpoint?, weight, is_drained, reason })
}

/// `DELETE /api/v2/pools/{pool}/endpoints/{endpoint}`: the configured values again.
pub(crate) fn reset_endpoint(reader: &mut Reader<'_>) -> Option<EndpointUpdate> {
    let pool = reader.parent(&POOL);
    let endpoint = reader.key(&ENDPOINT);
    Some(EndpointUpdate {
        pool: pool?,
        endpoint: endpoint?,
        weight: None,
        is_drained: false,
        reason: Arc::default(),
    })
}

/// `POST /api/v2/traffic/canary/{route}/resume`
pub(crate) fn route_key(reader: &mut Reader<'_>) -> Option<RouteId> {
    reader.key(&ROUTE)
}

/// Weight of a canary as requested; the plan's without one.
pub(crate) struct CanaryWeight {
    pub(crate) route: RouteId,
    pub(crate) weight: Option<Percent>,
    pub(crate) reason: Arc<str>,
}

/// `POST /api/v2/traffic/canary/{route}/weight`
pub(crate) fn canary_weight(reader: &mut Reader<'_>) -> Option<CanaryWeight> {
    let route = reader.key(&ROUTE);
    if !reader.has(CANARY_WEIGHT.name) {
        let message = "is required; null gives the canary the weight of its plan again".into();
        reader.fault(CANARY_WEIGHT.name, Fault { code: "missing", message });
    }
    let weight = reader.optional(&CANARY_WEIGHT);
    let reason = reader.optional(&OVERRIDE_REASON).unwrap_or_default();
    Some(CanaryWeight { route: route?, weight, reason })
}

/// `GET /api/v2/pools`
pub(crate) fn pool_page(reader: &mut Reader<'_>) -> Option<Page> {
    let owner = reader.filter(&POOL_OWNER);
    page(reader).map(|page| Page { owner, ..page })
}

/// `GET /admin/tenants`
pub(crate) fn tenant_page(reader: &mut Reader<'_>) -> Option<Page> {
    let tenant = reader.filter(&TENANT_ID);
    page(reader).map(|page| Page { tenant, ..page })
}

/// `DELETE /api/apps`, `POST /api/apps/get`, `POST /api/status/app`
pub(crate) fn app_key(reader: &mut Reader<'_>) -> Option<AppId> {
    reader.key(&APP_ID)
}

/// `GET /api/status`: the number of apps.
pub(crate) fn status(reader: &mut Reader<'_>) -> Option<usize> {
    Some(reader.filter(&STATUS_LIMIT).unwrap_or(limits::STATUS_APPS))
}

/// No fields.
pub(crate) fn nothing(_: &mut Reader<'_>) -> Option<()> {
    Some(())
}

/// Filters and page of a list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) limit: Option<usize>,
    pub(crate) after: Option<String>,
    pub(crate) app: Option<AppId>,
    pub(crate) owner: Option<Owner>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) domain: Option<Hostname>,
    pub(crate) state: Option<CertificateState>,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) wait: Option<Wait>,
}

/// Long poll of a list.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    pub(crate) instance: InstanceId,
    pub(crate) state: InstanceState,
    pub(crate) timeout: Duration,
}

/// `GET /api/apps`
pub(crate) fn app_page(reader: &mut Reader<'_>) -> Option<Page> {
    let app = reader.filter(&APP_ID);
    page(reader).map(|page| Page { app, ..page })
}

/// `POST /api/apps/instances/list`
pub(crate) fn instance_page_of_app(reader: &mut Reader<'_>) -> Option<Page> {
    let app = reader.key(&APP_ID);
    let page = page(reader);
    Some(Page { app: Some(app?), ..page? })
}

/// `GET /api/status/instances`, `GET /api/apps/instances`
pub(crate) fn instance_page(reader: &mut Reader<'_>) -> Option<Page> {
    let app = reader.filter(&APP_ID);
    let domain = reader.filter(&DOMAIN);
    let instance = reader.filter(&INSTANCE_ID);
    let state = reader.filter(&WAIT);
    let timeout = reader.filter(&WAIT_TIMEOUT).unwrap_or(WAIT_TIMEOUT_DEFAULT);
    if state.is_some() && instance.is_none() {
        reader.fault(WAIT.name, Fault::invalid("needs instance_id: one instance can be waited for"));
    }
    let wait = instance.clone().zip(state).map(|(instance, state)| Wait { instance, state, timeout });
    page(reader).map(|page| Page { app, domain, instance, wait, ..page })
}

/// The usual timeout of HTTP clients.
const WAIT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// `GET /api/tenants/domains`
pub(crate) fn domain_page(reader: &mut Reader<'_>) -> Option<Page> {
    let app = reader.filter(&APP_ID);
    let tenant = reader.filter(&TENANT_ID);
    page(reader).map(|page| Page { app, tenant, ..page })
}

/// `GET /api/status/certificates`
pub(crate) fn certificate_page(reader: &mut Reader<'_>) -> Option<Page> {
    let state = reader.filter(&STATE);
    domain_page(reader).map(|page| Page { state, ..page })
}

fn page(reader: &mut Reader<'_>) -> Option<Page> {
    let limit = reader.filter(&LIMIT);
    let after = reader.filter(&AFTER);
    Some(Page { limit, after, ..Page::default() })
}

fn cname_target(reader: &mut Reader<'_>, domain: Option<&Hostname>) -> Option<Hostname> {
    let target = reader.optional(&CNAME_TARGET);
    distinct(reader, domain, target.as_ref());
    target
}

/// Refuses a CNAME target that equals the domain.
fn distinct(reader: &mut Reader<'_>, domain: Option<&Hostname>, target: Option<&Hostname>) {
    if domain.is_some() && domain == target {
        reader.fault(CNAME_TARGET.name, Fault::invalid("must be another name than domain"));
    }
}
