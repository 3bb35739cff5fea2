//! Operations of the API, and the documentation of each: request fields, responses, problems.

use crate::access::{Access, Scope};
use crate::cache_operation::CacheOperation;
use crate::config_operation::ConfigOperation;
use crate::content::{Content, schema_of, schema_of_accepted};
use crate::limits;
use crate::problem::Kind;
use crate::request::auth_check::auth_check;
use crate::request::shapes as shape;
use crate::views::{
    AppDetails, AppPage, AppStatusView, AuthCheckView, BreakerPage, CanariesView, CanaryView,
    CertificatePage, DomainDetails, DomainPage, DomainView, DrainedView, DrainingView, EndpointView, Gone,
    HealthView, InstancePage, InstanceView, LeaseView, LivenessView, PoolDetails, PoolHealthView, PoolPage,
    ReadinessView, RegisteredView, StatusView, TenantPage, UploadedView, VerificationView, WebhookPage,
    WebhookView,
};
use ringway_config::{Described, describe};

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operation {
    RegisterApp,
    RemoveApp,
    ListApps,
    ShowApp,
    AddInstance,
    RemoveInstance,
    ListInstances,
    ListInstancesOfApp,
    Heartbeat,
    PutWebhook,
    UpdateWebhook,
    RemoveWebhook,
    ListWebhooks,
    ShowWebhook,
    AddDomain,
    AddCustomDomain,
    UpdateDomain,
    RemoveDomain,
    ListDomains,
    ShowDomain,
    VerifyDomain,
    UploadCertificate,
    RemoveCertificate,
    ListCertificates,
    Register,
    Deregister,
    AddRoute,
    Status,
    Health,
    AppStatus,
    ListPools,
    ShowPool,
    PoolHealth,
    SetEndpoint,
    ResetEndpoint,
    ListBreakers,
    ListCanaries,
    ResumeCanary,
    SetCanaryWeight,
    CheckAuth,
    ListTenants,
    Configuration(ConfigOperation),
    Cache(CacheOperation),
    Liveness,
    Readiness,
    Startup,
    Metrics,
    OpenApi,
}

/// Documentation of an operation.
pub(crate) struct Spec {
    /// The operation id.
    pub(crate) id: &'static str,
    /// A summary of one line.
    pub(crate) summary: &'static str,
    /// The fields of the request.
    pub(crate) fields: Vec<Described>,
    /// Whether it changes the configuration, and so accepts `If-Match` and `Idempotency-Key`.
    pub(crate) is_mutation: bool,
    /// Successful responses: status and content.
    pub(crate) responses: Vec<(u16, Option<Content>)>,
    /// Problems.
    pub(crate) problems: Vec<Kind>,
    /// The required access.
    pub(crate) access: Access,
}

impl Operation {
    /// Whether listeners of metrics serve it.
    pub(crate) fn is_for_monitoring(self) -> bool {
        matches!(self, Self::Liveness | Self::Readiness | Self::Startup | Self::Metrics)
    }

    /// The required access.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Liveness | Self::Readiness | Self::Startup => Access::Open,
            Self::Configuration(operation) => operation.access(),
            Self::Cache(operation) => operation.access(),
            Self::ListApps
            | Self::ShowApp
            | Self::ListInstances
            | Self::ListInstancesOfApp
            | Self::AppStatus
            | Self::ListDomains
            | Self::ShowDomain
            | Self::ListCertificates
            | Self::ListWebhooks
            | Self::ShowWebhook
            | Self::OpenApi => Access::Registrations,
            Self::Status
            | Self::Health
            | Self::ListPools
            | Self::ShowPool
            | Self::PoolHealth
            | Self::ListBreakers
            | Self::ListCanaries
            | Self::ListTenants
            | Self::Metrics => Access::Scoped(Scope::Read),
            Self::CheckAuth => Access::Scoped(Scope::Admin),
            Self::ResumeCanary | Self::SetCanaryWeight | Self::SetEndpoint | Self::ResetEndpoint => {
                Access::Scoped(Scope::Apply)
            }
            Self::RegisterApp
            | Self::RemoveApp
            | Self::AddInstance
            | Self::RemoveInstance
            | Self::Heartbeat
            | Self::PutWebhook
            | Self::UpdateWebhook
            | Self::RemoveWebhook
            | Self::AddDomain
            | Self::AddCustomDomain
            | Self::UpdateDomain
            | Self::RemoveDomain
            // Makes DNS queries and HTTP requests.
            | Self::VerifyDomain
            | Self::UploadCertificate
            | Self::RemoveCertificate
            | Self::Register
            | Self::Deregister
            | Self::AddRoute => Access::Scoped(Scope::Register),
        }
    }

    /// The documentation.
    pub(crate) fn spec(self) -> Spec {
        use Kind::*;
        let registered = |content: fn() -> Content| {
            vec![(201, Some(content())), (200, Some(content())), (202, Some(content()))]
        };
        let removed = || vec![(204, None), (202, Some(schema_of_accepted::<Gone>()))];
        let drained = || {
            let drained = (200, Some(schema_of_accepted::<DrainedView>()));
            vec![(204, None), drained, (202, Some(schema_of_accepted::<DrainingView>()))]
        };
        let json = |content: Content| vec![(200, Some(content))];
        let (id, summary, fields, responses, own): (_, _, _, _, &[Kind]) = match self {
            Self::RegisterApp => (
                "registerApp",
                "Register an app, with an instance; what exists already is renewed.",
                describe(shape::register_app),
                registered(schema_of_accepted::<RegisteredView>),
                &[InstanceOfOtherApp, LimitReached],
            ),
            Self::RemoveApp => (
                "removeApp",
                "Remove an app and its instances; refused while domains refer to it.",
                describe(shape::app_key),
                removed(),
                &[UnknownApp, AppHasDomains, Conflicting],
            ),
            Self::ListApps => (
                "listApps",
                "List the apps, by id.",
                describe(shape::app_page),
                json(schema_of::<AppPage>()),
                &[Conflicting],
            ),
            Self::ShowApp => (
                "showApp",
                "Show an app with its instances and domains.",
                describe(shape::app_key),
                json(schema_of::<AppDetails>()),
                &[UnknownApp, Conflicting],
            ),
            Self::AddInstance => (
                "addInstance",
                "Add an instance to an app, or renew its registration.",
                describe(shape::add_instance),
                registered(schema_of_accepted::<InstanceView>),
                &[UnknownApp, InstanceOfOtherApp, LimitReached],
            ),
            Self::RemoveInstance => (
                "removeInstance",
                "Remove an instance; it gets no further requests. With drain: answered when its requests are done, or with 202 when too many requests wait already; the drain continues then.",
                describe(shape::removal),
                drained(),
                &[UnknownInstance, StaleGeneration, Conflicting],
            ),
            Self::ListInstances => (
                "listInstances",
                "List instances, their state and their health, by id. With wait: answered when the instance is in a state.",
                describe(shape::instance_page),
                json(schema_of::<InstancePage>()),
                &[UnknownInstance, UnknownDomain, Conflicting, TooManyWaits, NotReached],
            ),
            Self::ListInstancesOfApp => (
                "listInstancesOfApp",
                "List an app's instances and their health, by id.",
                describe(shape::instance_page_of_app),
                json(schema_of::<InstancePage>()),
                &[UnknownApp, Conflicting],
            ),
            Self::Heartbeat => (
                "heartbeat",
                "Send a heartbeat of an instance. Heartbeats are required from the first one on; without any, only health checks decide. Prefer: return=representation is answered with 200 and the lease.",
                describe(shape::instance_key),
                vec![(204, None), (200, Some(schema_of::<LeaseView>()))],
                &[UnknownInstance, StaleGeneration, Conflicting],
            ),
            Self::PutWebhook => (
                "putWebhook",
                "Set the webhook of an app; replaces the present one.",
                describe(shape::put_webhook),
                registered(schema_of_accepted::<WebhookView>),
                &[UnknownApp],
            ),
            Self::UpdateWebhook => (
                "updateWebhook",
                "Change an app's webhook; absent fields are kept, a null removes the secret.",
                describe(shape::update_webhook),
                vec![
                    (200, Some(schema_of_accepted::<WebhookView>())),
                    (202, Some(schema_of_accepted::<WebhookView>())),
                ],
                &[UnknownApp, UnknownWebhook, Conflicting],
            ),
            Self::RemoveWebhook => (
                "removeWebhook",
                "Remove the webhook of an app.",
                describe(shape::app_key),
                removed(),
                &[UnknownApp, UnknownWebhook, Conflicting],
            ),
            Self::ListWebhooks => (
                "listWebhooks",
                "List the webhooks, by app.",
                describe(shape::app_page),
                json(schema_of::<WebhookPage>()),
                &[Conflicting],
            ),
            Self::ShowWebhook => (
                "showWebhook",
                "Show an app's webhook; its secret is never shown.",
                describe(shape::app_key),
                json(schema_of::<WebhookView>()),
                &[UnknownApp, UnknownWebhook, Conflicting],
            ),
            Self::AddDomain => (
                "addDomain",
                "Add a domain of an app.",
                describe(shape::add_domain),
                registered(schema_of_accepted::<DomainView>),
                &[UnknownApp, DomainTaken, LimitReached],
            ),
            Self::AddCustomDomain => (
                "addCustomDomain",
                "Add a tenant's own domain.",
                describe(shape::add_custom_domain),
                registered(schema_of_accepted::<DomainView>),
                &[UnknownApp, DomainTaken, LimitReached],
            ),
            Self::UpdateDomain => (
                "updateDomain",
                "Change a domain; absent fields are kept, null removes.",
                describe(shape::update_domain),
                vec![
                    (200, Some(schema_of_accepted::<DomainView>())),
                    (202, Some(schema_of_accepted::<DomainView>())),
                ],
                &[UnknownDomain, UnknownApp, Conflicting],
            ),
            Self::RemoveDomain => (
                "removeDomain",
                "Remove a domain; requests for it are answered with 404.",
                describe(shape::domain_key),
                removed(),
                &[UnknownDomain, Conflicting],
            ),
            Self::ListDomains => (
                "listDomains",
                "List the domains, by name.",
                describe(shape::domain_page),
                json(schema_of::<DomainPage>()),
                &[Conflicting],
            ),
            Self::ShowDomain => (
                "showDomain",
                "Show a domain.",
                describe(shape::domain_key),
                json(schema_of::<DomainDetails>()),
                &[UnknownDomain, Conflicting],
            ),
            Self::VerifyDomain => (
                "verifyDomain",
                "Check a domain's DNS records and the ACME challenge URL now.",
                describe(shape::domain_key),
                json(schema_of::<VerificationView>()),
                &[UnknownDomain, NoCertificates, Conflicting, Busy],
            ),
            Self::UploadCertificate => (
                "uploadCertificate",
                "Serve a certificate of your own for a domain; from then on it is `provided`, and no CA is used.",
                describe(shape::upload),
                vec![
                    (200, Some(schema_of_accepted::<UploadedView>())),
                    (202, Some(schema_of_accepted::<UploadedView>())),
                ],
                &[UnknownDomain, NoCertificates, NotProvided, BadCertificate, Conflicting],
            ),
            Self::RemoveCertificate => (
                "removeCertificate",
                "Remove an uploaded certificate; the domain is `acme` again.",
                describe(shape::domain_key),
                removed(),
                &[UnknownDomain, NoCertificates, NotProvided, Conflicting],
            ),
            Self::ListCertificates => (
                "listCertificates",
                "List the state of each domain's certificate, by name, and the remaining limits of the CA.",
                describe(shape::certificate_page),
                json(schema_of::<CertificatePage>()),
                &[Conflicting],
            ),
            Self::Register => (
                "register",
                "Register an app, an instance and a domain in one step; what exists already is renewed.",
                describe(shape::register),
                registered(schema_of_accepted::<RegisteredView>),
                &[InstanceOfOtherApp, DomainTaken, LimitReached],
            ),
            Self::Deregister => (
                "deregister",
                "Remove an instance; takes the body that it registered with. With drain: answered when its requests are done, or with 202 when too many requests wait already; the drain continues then.",
                describe(shape::deregister),
                drained(),
                &[UnknownInstance, InstanceOfOtherApp, StaleGeneration, Conflicting],
            ),
            Self::AddRoute => (
                "addRoute",
                "Add a domain of an app; with a tenant it is a custom domain.",
                describe(shape::add_route),
                registered(schema_of_accepted::<DomainView>),
                &[UnknownApp, DomainTaken, LimitReached],
            ),
            Self::Status => (
                "status",
                "Show the status of the process.",
                describe(shape::status),
                json(schema_of::<StatusView>()),
                &[],
            ),
            Self::Health => (
                "health",
                "Show the status of the process, with the health of its tenants.",
                describe(shape::status),
                json(schema_of::<HealthView>()),
                &[],
            ),
            Self::AppStatus => (
                "appStatus",
                "Show an app's health, by instance.",
                describe(shape::app_key),
                json(schema_of::<AppStatusView>()),
                &[UnknownApp, Conflicting],
            ),
            Self::Configuration(operation) => operation.spec(),
            Self::Cache(operation) => operation.spec(),
            Self::ListPools => (
                "listPools",
                "List the pools of operators and the registered apps, by id: endpoints, their states, overrides.",
                describe(shape::pool_page),
                json(schema_of::<PoolPage>()),
                &[Conflicting],
            ),
            Self::ShowPool => (
                "showPool",
                "Show a pool with its endpoints: weights, overrides, states, requests in flight.",
                describe(shape::pool_key),
                json(schema_of::<PoolDetails>()),
                &[UnknownPool, Conflicting],
            ),
            Self::PoolHealth => (
                "poolHealth",
                "Show the health of a pool's endpoints.",
                describe(shape::pool_key),
                json(schema_of::<PoolHealthView>()),
                &[UnknownPool, Conflicting],
            ),
            Self::ListBreakers => (
                "listBreakers",
                "List the circuit breakers of endpoints, by endpoint; then those of pools and routes, and ejections.",
                describe(shape::app_page),
                json(schema_of::<BreakerPage>()),
                &[Conflicting],
            ),
            Self::ListCanaries => (
                "listCanaries",
                "List the canaries of routes, by route: weights, errors of both variants, brakes.",
                describe(shape::nothing),
                json(schema_of::<CanariesView>()),
                &[],
            ),
            Self::SetEndpoint => (
                "setEndpoint",
                "Override the weight of an endpoint, or drain it, at run time. Outlives restarts and reloads, and ends with the endpoint.",
                describe(shape::set_endpoint),
                [200, 202].map(|status| (status, Some(schema_of_accepted::<EndpointView>()))).into(),
                &[UnknownPool, UnknownInstance, Conflicting],
            ),
            Self::ResetEndpoint => (
                "resetEndpoint",
                "End the override of an endpoint: it has its configured weight again.",
                describe(shape::reset_endpoint),
                [200, 202].map(|status| (status, Some(schema_of_accepted::<EndpointView>()))).into(),
                &[UnknownPool, UnknownInstance, Conflicting],
            ),
            Self::ResumeCanary => (
                "resumeCanary",
                "Resume a canary that was braked: it gets its weight again, and is compared from now on.",
                describe(shape::route_key),
                [200, 202].map(|status| (status, Some(schema_of_accepted::<CanaryView>()))).into(),
                &[UnknownCanary, NotBraked, Conflicting],
            ),
            Self::SetCanaryWeight => (
                "setCanaryWeight",
                "Set the weight of a canary at run time, or end that. Outlives restarts and reloads, and ends with the plan.",
                describe(shape::canary_weight),
                [200, 202].map(|status| (status, Some(schema_of_accepted::<CanaryView>()))).into(),
                &[UnknownCanary, CanaryBraked, CanarySteps, Conflicting],
            ),
            Self::CheckAuth => (
                "checkAuth",
                "Check a credential by the authentication of a route: the verdict, its reason, the claims, and the fields that an endpoint would get. The audit log gets a line without the credential.",
                describe(auth_check),
                json(schema_of::<AuthCheckView>()),
                &[UnknownRoute, NotCheckable],
            ),
            Self::ListTenants => (
                "listTenants",
                "List the tenants with their routes, and the health of their backends.",
                describe(shape::tenant_page),
                json(schema_of::<TenantPage>()),
                &[Conflicting],
            ),
            Self::Liveness => (
                "liveness",
                "Liveness of the process.",
                describe(shape::nothing),
                json(schema_of::<LivenessView>()),
                &[],
            ),
            Self::Readiness | Self::Startup => (
                if self == Self::Readiness { "readiness" } else { "startup" },
                "Readiness for traffic.",
                describe(shape::nothing),
                vec![(200, Some(schema_of::<ReadinessView>())), (503, Some(schema_of::<ReadinessView>()))],
                &[],
            ),
            Self::Metrics => (
                "metrics",
                "Metrics in the Prometheus text format.",
                describe(shape::nothing),
                vec![(200, Some(Content::text("text/plain; version=0.0.4; charset=utf-8")))],
                &[],
            ),
            Self::OpenApi => (
                "openApi",
                "This document.",
                describe(shape::nothing),
                vec![(200, Some(Content::any_json()))],
                &[],
            ),
        };
        let mut problems = own.to_vec();
        problems.extend([BadDocument, CrossSite, TooLarge, NotJson, Misdirected, Invalid]);
        match self.access() {
            Access::Open => {}
            Access::Registrations | Access::Cache | Access::Scoped(_) => {
                problems.extend([Unauthorized, MissingScope])
            }
        }
        if self.changes_registrations() {
            problems.push(NotOwned);
        }
        if matches!(self, Self::Register | Self::AddDomain | Self::AddCustomDomain | Self::AddRoute) {
            problems.push(Claimed);
        }
        if self.takes_policy() {
            problems.push(UnknownPolicy);
        }
        if self.configuration().is_some_and(ConfigOperation::is_asked) {
            problems.extend([Busy, ConfigFailed, Unconfirmed]);
        }
        if self.is_mutation() {
            problems.extend([
                BadHeader,
                RevisionMismatch,
                KeyReused,
                Busy,
                Storage,
                ShuttingDown,
                Unconfirmed,
            ]);
        }
        problems.sort_unstable_by_key(|kind| (kind.status(), *kind));
        Spec {
            id,
            summary,
            fields,
            is_mutation: self.is_mutation(),
            responses,
            problems,
            access: self.access(),
        }
    }

    /// Whether it changes resources of the owner `api`, and so none of other owners.
    fn changes_registrations(self) -> bool {
        match self {
            Self::UploadCertificate | Self::RemoveCertificate => false,
            _ => self.access() == Access::Scoped(Scope::Register) && self.is_mutation(),
        }
    }

    /// Whether it may name a policy.
    fn takes_policy(self) -> bool {
        matches!(
            self,
            Self::RegisterApp
                | Self::Register
                | Self::AddDomain
                | Self::AddCustomDomain
                | Self::AddRoute
                | Self::UpdateDomain
        )
    }

    /// The operation on the configuration of operators, if it is one.
    pub(crate) fn configuration(self) -> Option<ConfigOperation> {
        match self {
            Self::Configuration(operation) => Some(operation),
            _ => None,
        }
    }

    /// Whether it is an action of the audit log.
    pub(crate) fn is_action(self) -> bool {
        self == Self::CheckAuth
            || self.is_mutation()
            || self.configuration().is_some_and(ConfigOperation::is_change)
            || matches!(self, Self::Cache(operation) if operation.is_change())
    }

    /// Whether its query may have header fields of another request, one parameter each.
    pub(crate) fn takes_header_fields(self) -> bool {
        matches!(self, Self::Configuration(ConfigOperation::Explain) | Self::Cache(CacheOperation::Explain))
    }

    /// Bytes of the longest body.
    pub(crate) fn body_bytes_max(self) -> usize {
        match self.configuration().is_some_and(ConfigOperation::takes_documents) {
            true => limits::API_CONFIG_BYTES_MAX,
            false => limits::API_BODY_BYTES_MAX,
        }
    }

    /// Whether it changes registrations.
    pub(crate) fn is_mutation(self) -> bool {
        match self {
            Self::RegisterApp
            | Self::RemoveApp
            | Self::AddInstance
            | Self::RemoveInstance
            | Self::AddDomain
            | Self::AddCustomDomain
            | Self::UpdateDomain
            | Self::RemoveDomain
            | Self::UploadCertificate
            | Self::RemoveCertificate
            | Self::PutWebhook
            | Self::UpdateWebhook
            | Self::RemoveWebhook
            | Self::Register
            | Self::Deregister
            | Self::AddRoute
            | Self::SetEndpoint
            | Self::ResetEndpoint
            | Self::ResumeCanary
            | Self::SetCanaryWeight => true,
            Self::ListApps
            | Self::ShowApp
            | Self::ListInstances
            | Self::ListInstancesOfApp
            | Self::Heartbeat
            | Self::ListDomains
            | Self::ShowDomain
            | Self::ListWebhooks
            | Self::ShowWebhook
            | Self::VerifyDomain
            | Self::ListCertificates
            | Self::Status
            | Self::Health
            | Self::AppStatus
            | Self::ListPools
            | Self::ShowPool
            | Self::PoolHealth
            | Self::ListBreakers
            | Self::ListCanaries
            | Self::ListTenants
            | Self::CheckAuth
            | Self::Configuration(_)
            | Self::Cache(_)
            | Self::Liveness
            | Self::Readiness
            | Self::Startup
            | Self::Metrics
            | Self::OpenApi => false,
        }
    }
}
