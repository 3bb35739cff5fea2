//! Response bodies of the API. Each type is the schema of its JSON in the OpenAPI document, under its own
//! name.

mod apps;
mod certificates;
mod changes;
mod domains;
mod instances;
mod status;

pub(crate) use apps::{
    AppDetails, AppHealth, AppPage, AppStatusView, AppView, RegisteredView, WebhookPage, WebhookView,
};
pub(crate) use certificates::{
    CertificateItem, CertificatePage, CertificatePageTail, CertificatesView, DnsView, UploadedView,
    VerificationView,
};
pub(crate) use changes::{Accepted, Gone, outcome_name};
pub(crate) use domains::{DomainDetails, DomainPage, DomainView};
pub(crate) use instances::{DrainedView, DrainingView, InstancePage, InstanceView, LeaseView, instance_view};
pub(crate) use status::{AppOverview, AuditView, LivenessView, ReadinessView, StatusView};
