//! Response bodies of the API. Each type is the schema of its JSON in the OpenAPI document, under its own
//! name.

mod apps;
mod auth_check;
mod cache;
mod canaries;
mod certificates;
mod changes;
mod configuration;
mod domains;
mod endpoints;
mod instances;
mod policies;
mod pools;
mod status;

pub(crate) use apps::{
    AppDetails, AppHealth, AppPage, AppStatusView, AppView, RegisteredView, WebhookPage, WebhookView,
};
pub(crate) use auth_check::AuthCheckView;
pub(crate) use cache::{
    CacheExplanationView, CachePartView, CacheStatsView, CachedPage, CachedView, HitRatesView, PurgedView,
};
pub(crate) use canaries::{CanariesView, CanaryView};
pub(crate) use certificates::{
    CertificateItem, CertificatePage, CertificatePageTail, CertificatesView, DnsView, UploadedView,
    VerificationView,
};
pub(crate) use changes::{Accepted, Gone, outcome_name};
pub(crate) use configuration::{
    AppliedView, ConfigFinding, CurrentSetsView, CurrentView, DiffView, ExplanationView, HistoryView,
    ReroutingView, RolloutView, ValidationView, VersionView, findings as config_findings,
};
pub(crate) use domains::{DomainDetails, DomainPage, DomainView};
pub(crate) use endpoints::{EndpointView, PoolDetails, PoolPage, PoolView, overridden};
pub(crate) use instances::{DrainedView, DrainingView, InstancePage, InstanceView, LeaseView, instance_view};
pub(crate) use pools::{
    BreakerPage, BreakerTail, BreakerView, CircuitView, EjectionView, PoolHealthView, TenantPage,
    TenantRoutes, TenantView, takes_traffic, tenant_of,
};
pub(crate) use status::{
    AppOverview, AuditView, HealthView, LivenessView, ReadinessView, StatusView, TenantsHealth,
};
