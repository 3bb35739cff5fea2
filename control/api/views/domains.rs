//! Domains, as the API shows them.

use ringway_model::Domain;
use serde::Serialize;
use utoipa::ToSchema;

use super::certificates::{CertificateView, ClientAuthView, is_verified};
use super::policies::PolicyView;
use crate::lists::PageTail;
use crate::plane::Plane;

/// A registered domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainView {
    pub(crate) domain: String,
    pub(crate) app_id: String,
    pub(crate) tenant_id: Option<String>,
    #[serde(rename = "type")]
    #[schema(examples("subdomain", "custom", "cname_target"))]
    pub(crate) kind: &'static str,
    pub(crate) cname_target: Option<String>,
    /// Same as `status` in `certificate`.
    #[schema(examples("active", "pending_dns", "failed"))]
    pub(crate) certificate_status: &'static str,
    /// Same as `expires_at` in `certificate`.
    #[schema(format = "date-time")]
    pub(crate) certificate_expiry: Option<String>,
    /// Whether the domain is proven to lead here: by its certificate from a CA, or by the last verification.
    pub(crate) verified: bool,
    pub(crate) certificate: CertificateView,
    /// Client certificates; null when none are required.
    pub(crate) client_auth: Option<ClientAuthView>,
    /// Timeouts and limits of its requests; null for those of the app.
    pub(crate) policy: Option<PolicyView>,
    #[schema(format = "date-time")]
    pub(crate) created_at: String,
    #[schema(format = "date-time")]
    pub(crate) updated_at: String,
}

impl DomainView {
    /// Builds the view with the present state of the certificate.
    pub(crate) fn of<P: Plane>(plane: &P, domain: &Domain) -> Self {
        let state = plane.certificate(&domain.name);
        let certificate = CertificateView::new(domain, state.as_ref());
        Self {
            domain: domain.name.to_string(),
            app_id: domain.app.to_string(),
            tenant_id: domain.tenant.as_ref().map(ToString::to_string),
            kind: domain.kind.as_str(),
            cname_target: domain.cname_target.as_ref().map(ToString::to_string),
            certificate_status: certificate.status,
            certificate_expiry: certificate.expires_at.clone(),
            verified: is_verified(state.as_ref()),
            certificate,
            client_auth: domain.client_auth.as_ref().map(ClientAuthView::new),
            policy: domain.policy.as_ref().map(PolicyView::new),
            created_at: domain.created_at.to_rfc3339_millis(),
            updated_at: domain.updated_at.to_rfc3339_millis(),
        }
    }
}

/// A domain with the revision of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainDetails {
    #[serde(flatten)]
    pub(crate) domain: DomainView,
    /// Revision of the configuration.
    pub(crate) revision: u64,
}

/// One page of domains, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct DomainPage {
    domains: Vec<DomainView>,
    #[serde(flatten)]
    tail: PageTail,
}
