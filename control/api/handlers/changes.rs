//! Changes: submission to the plane and the response with the object afterwards.

use ringway_certs::names_files;
use ringway_config::Pointer;
use ringway_control::{Receipt, Submission};
use ringway_model::{AppSpec, Change, Hostname, Outcome, Patch, Revision};
use ringway_tls::SecretKey;

use crate::audit::{Trail, objects};
use crate::plane::Plane;
use crate::problem::Problem;
use crate::request::conditions::Conditions;
use crate::request::finding::Finding;
use crate::response::{ApiResult, Response};
use crate::views::{
    Accepted, AppView, DomainView, Gone, RegisteredView, WebhookView, instance_view, outcome_name,
};

/// Submits a change and builds the response.
pub(crate) async fn submit<P: Plane>(
    plane: &P,
    change: Change,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    let is_update = matches!(change, Change::UpdateDomain(_));
    trail.objects = objects(&change);
    check_files(plane, &change).await?;
    let receipt = make(plane, change.clone(), conditions, trail).await?;
    let status = match (receipt.pending.is_empty(), receipt.outcome) {
        (false, _) => 202,
        (true, Outcome::Removed) => 204,
        (true, Outcome::Created) if !is_update => 201,
        (true, Outcome::Created | Outcome::Updated | Outcome::Unchanged) => 200,
    };
    let response = match status {
        204 => Response::empty(204),
        status => object(plane, &change, &receipt, status),
    };
    Ok(received(response, &receipt))
}

/// Submits a change and records it in the audit trail.
pub(crate) async fn make<P: Plane>(
    plane: &P,
    change: Change,
    conditions: Conditions,
    trail: &mut Trail,
) -> Result<Receipt, Problem> {
    trail.objects = objects(&change);
    // The plane checks the condition, because a repeated request is answered at any revision.
    let if_match = conditions.if_match.map(|revisions| {
        let current = plane.desired().revision();
        let any = revisions.first().copied().unwrap_or(NO_REVISION);
        revisions.into_iter().find(|revision| *revision == current).unwrap_or(any)
    });
    let submission = Submission { if_match, idempotency: conditions.idempotency, ..Submission::of(change) };
    let receipt = plane.submit(submission).await?;
    trail.outcome = Some(if receipt.replayed { "replayed" } else { outcome_name(receipt.outcome) });
    trail.revision = Some(receipt.revision);
    Ok(receipt)
}

/// Adds the header fields of a receipt.
pub(crate) fn received(response: Response, receipt: &Receipt) -> Response {
    let micros = receipt.applied_in.as_micros();
    let response = response.at(receipt.revision).with("X-Ringway-Applied-Micros", micros);
    match receipt.replayed {
        true => response.with("Idempotency-Replayed", true),
        false => response,
    }
}

/// Builds the response with the object of a change as it is now.
pub(crate) fn object<P: Plane>(plane: &P, change: &Change, receipt: &Receipt, status: u16) -> Response {
    let desired = plane.desired();
    let domain_of =
        |name: &Hostname| desired.domain(name.as_str()).map(|domain| DomainView::of(plane, domain));
    match change {
        Change::Register { app, instance, domain } => {
            let registered = desired.app(app.id.as_str()).map(|app| RegisteredView {
                app: AppView::new(app, &desired),
                generation: receipt.generation.map(|generation| generation.0),
                instance: instance.as_ref().and_then(|spec| instance_view(plane, &desired, &spec.id)),
                domain: domain.as_ref().and_then(|spec| domain_of(&spec.name)),
            });
            Response::json(status, &Accepted::new(receipt, registered))
        }
        Change::AddInstance(spec) => {
            Response::json(status, &Accepted::new(receipt, instance_view(plane, &desired, &spec.id)))
        }
        Change::AddDomain(spec) => Response::json(status, &Accepted::new(receipt, domain_of(&spec.name))),
        Change::UpdateDomain(update) => {
            Response::json(status, &Accepted::new(receipt, domain_of(&update.name)))
        }
        Change::PutWebhook { app, .. } => {
            let view = desired.app(app.as_str()).and_then(|app| WebhookView::of(app));
            Response::json(status, &Accepted::new(receipt, view))
        }
        Change::RemoveInstance { .. }
        | Change::DrainInstance { .. }
        | Change::RemoveApp { .. }
        | Change::RemoveWebhook { .. }
        | Change::RemoveDomain { .. }
        | Change::ReplaceOwned(_)
        | Change::PutCanaryState(_)
        | Change::RemoveCanaryState { .. }
        | Change::PutEndpointOverride(_)
        | Change::RemoveEndpointOverride { .. }
        | Change::ProveVersion { .. } => Response::json(status, &Accepted::<Gone>::new(receipt, None)),
    }
}

/// Checks the files that a change names for the first time. Files that the domain or app already has are not
/// checked again: an instance must be able to register while a file is broken, whose last good content stays
/// in use.
pub(crate) async fn check_files<P: Plane>(plane: &P, change: &Change) -> Result<(), Problem> {
    let desired = plane.desired();
    let (app, domain) = match change {
        Change::Register { app, domain, .. } => {
            (Some(app), domain.as_ref().map(|domain| (&domain.name, domain.client_auth.as_ref())))
        }
        Change::AddDomain(domain) => (None, Some((&domain.name, domain.client_auth.as_ref()))),
        Change::UpdateDomain(update) => (None, Some((&update.name, update.client_auth.value()))),
        Change::AddInstance(_)
        | Change::RemoveInstance { .. }
        | Change::DrainInstance { .. }
        | Change::RemoveApp { .. }
        | Change::PutWebhook { .. }
        | Change::RemoveWebhook { .. }
        | Change::RemoveDomain { .. }
        | Change::ReplaceOwned(_)
        | Change::PutCanaryState(_)
        | Change::RemoveCanaryState { .. }
        | Change::PutEndpointOverride(_)
        | Change::RemoveEndpointOverride { .. }
        | Change::ProveVersion { .. } => return Ok(()),
    };
    let mut named = Vec::new();
    if let Some((name, Some(client_auth))) = domain {
        let known = desired.domain(name.as_str()).and_then(|domain| domain.client_auth.as_ref());
        if known.is_none_or(|known| known.ca_file != client_auth.ca_file) {
            named.push((&["client_auth", "ca_file"][..], SecretKey::ClientCa(client_auth.ca_file.clone())));
        }
    }
    if let Some(AppSpec { id, upstream_tls: Patch::Set(tls), .. }) = app {
        let known = desired.app(id.as_str()).and_then(|app| app.upstream_tls.as_ref());
        if known.is_none_or(|known| {
            (&known.ca_file, &known.client_certificate) != (&tls.ca_file, &tls.client_certificate)
        }) {
            named.push((&["upstream_tls"][..], SecretKey::Upstream(id.clone(), tls.clone())));
        }
    }
    let mut findings = Vec::new();
    for (field, want) in named.into_iter().filter(|(_, want)| names_files(want)) {
        if let Err(why) = plane.check_files(want).await {
            let mut pointer = Pointer::default();
            field.iter().for_each(|name| pointer.push(name));
            findings.push(Finding::at(
                &pointer,
                "invalid",
                format!("names a file that cannot be used: {why}"),
            ));
        }
    }
    if findings.is_empty() { Ok(()) } else { Err(Problem::findings(findings)) }
}

/// A revision that never exists: the condition of a request with foreign entity tags only.
pub(crate) const NO_REVISION: Revision = Revision(u64::MAX);
