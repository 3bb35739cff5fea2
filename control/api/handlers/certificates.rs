//! Upload, removal and verification of certificates.

use ringway_certs::UploadError;
use ringway_control::CoreState;
use ringway_model::{CertificateMode, Change, CoreId, DomainUpdate, Hostname};

use super::changes::{make, received};
use super::lookup::domain_of;
use crate::audit::Trail;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::Conditions;
use crate::request::shapes as shape;
use crate::response::{ApiResult, Response};
use crate::views::{Accepted, DnsView, Gone, UploadedView, VerificationView};

/// Uploads a certificate. First the domain becomes `provided`, after chain and key were checked: conditions
/// and idempotency apply to that change.
pub(crate) async fn upload_certificate<P: Plane>(
    plane: &P,
    upload: shape::Upload,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    let shape::Upload { name, certificate, key } = upload;
    trail.objects = vec![("certificate", name.to_string())];
    check_certificates(plane, &name)?;
    let facts = plane.check_certificate(&name, certificate.as_bytes(), key.as_bytes())?;
    let change = change_mode(&name, CertificateMode::Provided);
    let mut receipt = make(plane, change, conditions, trail).await?;
    trail.objects = vec![("certificate", name.to_string())];
    let is_there = plane
        .certificate(&name)
        .and_then(|state| state.certificate)
        .is_some_and(|present| present.fingerprint == facts.fingerprint);
    // A repeated request is executed again unless the first one was complete, which its client cannot know.
    if !(receipt.replayed && is_there) {
        match plane.upload_certificate(&name, certificate.as_bytes(), key.as_bytes()).await {
            Ok(_) => {}
            Err(UploadError::NotLive(_)) => {
                let slow = slow_cores(plane).into_iter().filter(|core| !receipt.pending.contains(core));
                let slow: Vec<_> = slow.collect();
                receipt.pending.extend(slow);
                let view = UploadedView::new(name.as_str(), &facts);
                let response = Response::json(202, &Accepted::new(&receipt, Some(view)));
                return Ok(received(response, &receipt));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let status = if receipt.pending.is_empty() { 200 } else { 202 };
    let view = UploadedView::new(name.as_str(), &facts);
    Ok(received(Response::json(status, &Accepted::new(&receipt, Some(view))), &receipt))
}

/// Removes an uploaded certificate: the domain gets one from the CA again, if one is configured.
pub(crate) async fn remove_certificate<P: Plane>(
    plane: &P,
    name: Hostname,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    trail.objects = vec![("certificate", name.to_string())];
    let desired = plane.desired();
    let mode = domain_of(&desired, &name)?.certificate;
    check_certificates(plane, &name)?;
    let may_be_repeated = conditions.idempotency.is_some() && mode == CertificateMode::Acme;
    let not_provided = || {
        let detail = format!("the certificate of {name} is `{}`, not an uploaded one", mode.as_str());
        Problem::new(Kind::NotProvided, detail)
    };
    if mode != CertificateMode::Provided && !may_be_repeated {
        return Err(not_provided());
    }
    let receipt = make(plane, change_mode(&name, CertificateMode::Acme), conditions, trail).await?;
    trail.objects = vec![("certificate", name.to_string())];
    if mode != CertificateMode::Provided && !receipt.replayed {
        return Err(not_provided());
    }
    if mode == CertificateMode::Provided {
        match plane.discard_certificate(&name).await {
            // It is removed from the disk, and slow cores will follow.
            Ok(()) | Err(UploadError::NotLive(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let response = match receipt.pending.is_empty() {
        true => Response::empty(204),
        false => Response::json(202, &Accepted::<Gone>::new(&receipt, None)),
    };
    Ok(received(response, &receipt))
}

pub(crate) fn change_mode(name: &Hostname, mode: CertificateMode) -> Change {
    Change::UpdateDomain(DomainUpdate { certificate: Some(mode), ..DomainUpdate::new(name.clone()) })
}

/// Checks that certificates are managed and the domain is registered.
pub(crate) fn check_certificates<P: Plane>(plane: &P, name: &Hostname) -> Result<(), Problem> {
    domain_of(&plane.desired(), name)?;
    match plane.has_certificates() {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::NoCertificates,
            "this process was started without TLS: PROXY_HTTPS_PORT, PROXY_CERT_PATH, PROXY_TLS_CERT or ACME_EMAIL turn it on",
        )),
    }
}

/// Verifies a domain's DNS records and challenge URL.
pub(crate) async fn verify_domain<P: Plane>(plane: &P, name: &Hostname) -> ApiResult {
    check_certificates(plane, name)?;
    let Some(verification) = plane.verify(name).await else {
        // The domain may have been removed meanwhile.
        domain_of(&plane.desired(), name)?;
        return Err(Problem::new(Kind::Busy, "too many verifications wait; try again"));
    };
    let view = VerificationView {
        domain: name.to_string(),
        verified: verification.readiness.is_ready(),
        dns: DnsView::new(&verification),
    };
    Ok(Response::json(200, &view).at(plane.desired().revision()))
}

/// The numbers of cores that do not follow the configuration.
fn slow_cores<P: Plane>(plane: &P) -> Vec<CoreId> {
    let cores = plane.status().cores;
    cores.iter().filter(|core| core.state != CoreState::Following).map(|core| core.core).collect()
}
