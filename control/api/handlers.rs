//! One function per operation: read the request, ask the plane, say what came of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_certs::{State, UploadError, names_files};
use ringway_control::{InstanceDrained, InstanceState};
use ringway_model::{
    App, AppId, AppSpec, CertificateMode, Change, Desired, Domain, DomainUpdate, Generation, Health,
    Hostname, Instance, InstanceId, Outcome, Patch, Rejection, Revision, Timestamp,
};
use ringway_net::{clock, sleep_until};
use ringway_tls::SecretKey;

use crate::certificates::{
    CertificateItem, CertificatePageTail, CertificatesView, DnsView, UploadedView, VerificationView,
    slow_cores,
};
use crate::lists::{Pieces, Selection, select};
use crate::openapi;
use crate::plane::{Plane, Receipt, Submission};
use crate::problem::{Kind, Problem};
use crate::reader::{Finding, Input, Pointer, Reader, read};
use crate::requests::{self as shape, Page};
use crate::responses::{
    Accepted, AppDetails, AppHealth, AppOverview, AppStatusView, AppView, DomainDetails, DomainView,
    DrainedView, DrainingView, Gone, InstanceView, LeaseView, LivenessView, ReadinessView, RegisteredView,
    StatusView, WebhookView, instance_view, outcome_word,
};
use crate::route::Operation;
use crate::service::{Audit, Body, Conditions, Response};
use crate::waits::{Patience, Waiter};

type Answer = Result<Response, Problem>;

/// A revision that is never reached: the condition of a request whose entity tags are not ours.
const NO_REVISION: Revision = Revision(u64::MAX);

/// Does what an operation says.
pub(crate) async fn handle<P: Plane>(
    plane: &Rc<P>,
    operation: Operation,
    input: &Input<'_>,
    conditions: Conditions,
    audit: &mut Audit,
    waiter: &mut Waiter<'_>,
) -> Answer {
    match operation {
        Operation::RegisterApp => {
            let change = take(input, shape::register_app)?;
            submit(&**plane, change, conditions, audit).await
        }
        Operation::AddInstance => {
            let change = take(input, shape::add_instance)?;
            submit(&**plane, change, conditions, audit).await
        }
        Operation::RemoveInstance => {
            let removal = take(input, shape::removal)?;
            remove_instance(&**plane, removal, conditions, audit, waiter).await
        }
        Operation::RemoveApp => {
            let id = take(input, shape::app_key)?;
            submit(&**plane, Change::RemoveApp { id }, conditions, audit).await
        }
        Operation::PutWebhook => {
            let change = take(input, shape::put_webhook)?;
            submit(&**plane, change, conditions, audit).await
        }
        Operation::UpdateWebhook => {
            let update = take(input, shape::update_webhook)?;
            let desired = plane.desired();
            let app = app_of(&desired, &update.app)?;
            let known = app.webhook.as_ref().ok_or(Rejection::UnknownWebhook(update.app.clone()))?;
            submit(&**plane, update.change(known), conditions, audit).await
        }
        Operation::RemoveWebhook => {
            let app = take(input, shape::app_key)?;
            submit(&**plane, Change::RemoveWebhook { app }, conditions, audit).await
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
            submit(&**plane, change, conditions, audit).await
        }
        Operation::AddCustomDomain => {
            let change = take(input, shape::add_custom_domain)?;
            submit(&**plane, change, conditions, audit).await
        }
        Operation::AddRoute => {
            let change = take(input, shape::add_route)?;
            submit(&**plane, change, conditions, audit).await
        }
        Operation::UpdateDomain => {
            let change = take(input, shape::update_domain)?;
            submit(&**plane, change, conditions, audit).await
        }
        Operation::RemoveDomain => {
            let name = take(input, shape::domain_key)?;
            submit(&**plane, Change::RemoveDomain { name }, conditions, audit).await
        }
        Operation::Register => {
            let registration = take(input, shape::register)?;
            let desired = plane.desired();
            let known = desired.domain(registration.domain().as_str()).cloned();
            submit(&**plane, registration.change(known.as_deref()), conditions, audit).await
        }
        Operation::Deregister => deregister(&**plane, input, conditions, audit, waiter).await,
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
            upload_certificate(&**plane, take(input, shape::upload)?, conditions, audit).await
        }
        Operation::RemoveCertificate => {
            remove_certificate(&**plane, take(input, shape::domain_key)?, conditions, audit).await
        }
        Operation::ShowApp => show_app(&**plane, take(input, shape::app_key)?).await,
        Operation::AppStatus => show_app_status(&**plane, take(input, shape::app_key)?).await,
        Operation::ShowDomain => show_domain(&**plane, &take(input, shape::domain_key)?),
        Operation::Status => {
            let most = take(input, shape::status)?;
            let desired = plane.desired();
            let certificates = plane.certificates().as_ref().map(CertificatesView::new);
            let apps = plane.app_statuses(most).into_iter().map(AppOverview::from).collect();
            let view = StatusView::new(plane.status(), apps, certificates, &desired);
            Ok(Response::json(200, &view).at(desired.revision()))
        }
        Operation::Liveness => {
            take(input, shape::nothing)?;
            Ok(Response::json(200, &LivenessView { status: "ok" }))
        }
        Operation::Readiness | Operation::Startup => {
            take(input, shape::nothing)?;
            let is_ready = plane.is_ready();
            let view = ReadinessView::new(is_ready, &plane.status());
            Ok(Response::json(if is_ready { 200 } else { 503 }, &view))
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

/// Reads a request by its shape.
fn take<T>(input: &Input<'_>, shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<T, Problem> {
    read(input, shape).map_err(Problem::findings)
}

/// The instance must be of the app that the client names: a deregistration that speaks of another app is a mistake.
async fn deregister<P: Plane>(
    plane: &P,
    input: &Input<'_>,
    conditions: Conditions,
    audit: &mut Audit,
    waiter: &mut Waiter<'_>,
) -> Answer {
    let request = take(input, shape::deregister)?;
    let desired = plane.desired();
    if let (Some(app), Some(instance)) = (&request.app, desired.instance(request.removal.key.id.as_str()))
        && instance.app != *app
    {
        return Err(Rejection::InstanceOfOtherApp(request.removal.key.id, instance.app.clone()).into());
    }
    remove_instance(plane, request.removal, conditions, audit, waiter).await
}

/// Removes an instance, at once or when its requests are done. Whoever does not wait for the answer changes nothing about
/// the drain.
async fn remove_instance<P: Plane>(
    plane: &P,
    removal: shape::Removal,
    conditions: Conditions,
    audit: &mut Audit,
    waiter: &mut Waiter<'_>,
) -> Answer {
    let shape::Removal { key: shape::InstanceKey { id, generation }, drain } = removal;
    let Some(drain) = drain else {
        return submit(plane, Change::RemoveInstance { id, generation }, conditions, audit).await;
    };
    let millis = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
    let until = Timestamp(clock::timestamp().0.saturating_add(millis));
    let change = Change::DrainInstance { id: id.clone(), generation, until };
    let mut receipt = make(plane, change, conditions, audit).await?;
    // The one that drains: a receipt without generation says that it did so already.
    let draining = receipt
        .generation
        .or_else(|| plane.desired().instance(id.as_str()).map(|instance| instance.generation));
    let drained = match draining {
        Some(generation) => wait_for_drain(plane, &id, generation, waiter).await?,
        None => Some(InstanceDrained::default()),
    };
    let Some(drained) = drained else {
        // An earlier drain may end before this one would.
        let end = plane.desired().instance(id.as_str()).and_then(|instance| instance.draining);
        let view = DrainingView::new(&id, end.unwrap_or(until));
        return Ok(received(Response::json(202, &Accepted::new(&receipt, Some(view))), &receipt));
    };
    receipt.outcome = Outcome::Removed;
    receipt.revision = plane.desired().revision();
    receipt.pending.clear();
    let view = DrainedView::new(&id, drained);
    Ok(received(Response::json(200, &Accepted::new(&receipt, Some(view))), &receipt))
}

/// Waits until a drain is over. It has an end, so that this has one. None when the drain goes on without the request, because
/// its client has left or too many wait already.
async fn wait_for_drain<P: Plane>(
    plane: &P,
    id: &InstanceId,
    generation: Generation,
    waiter: &mut Waiter<'_>,
) -> Result<Option<InstanceDrained>, Problem> {
    loop {
        if let Some(drained) = plane.drained(id, generation) {
            return Ok(Some(drained));
        }
        match plane.desired().instance(id.as_str()) {
            // Removed, and too long ago to know more.
            None => return Ok(Some(InstanceDrained::default())),
            Some(instance) if instance.generation != generation => {
                let current = instance.generation;
                return Err(Rejection::StaleGeneration { id: id.clone(), current }.into());
            }
            Some(_) => {}
        }
        if !plane.is_ready() && plane.status().state == "draining" {
            let detail =
                "the process is ending; the drain is stored, and the instance is removed at the next start";
            return Err(Problem::new(Kind::ShuttingDown, detail));
        }
        match waiter.patience() {
            Patience::Waits => sleep_until(clock::now().after(LOOK_AGAIN)).await,
            Patience::Over | Patience::Crowded => return Ok(None),
        }
    }
}

/// Waits until an instance is in a state.
async fn wait_for_state<P: Plane>(
    plane: &P,
    wait: &shape::Wait,
    waiter: &mut Waiter<'_>,
) -> Result<(), Problem> {
    let deadline = clock::now().after(wait.timeout);
    loop {
        let Some(status) = plane.instance_status(&wait.instance) else {
            return Err(Rejection::UnknownInstance(wait.instance.clone()).into());
        };
        // After a restart an instance serves before it was probed: whoever waits for it wants to know that it can.
        let is_probed = status.health == Health::Healthy || wait.state != InstanceState::Serving;
        if status.state == wait.state && is_probed {
            return Ok(());
        }
        let patience = if clock::now() < deadline { waiter.patience() } else { Patience::Over };
        if patience == Patience::Crowded {
            let detail = "too many requests wait already; ask without wait, about once a second, until the state is reached";
            return Err(Problem::new(Kind::TooManyWaits, detail));
        }
        if patience == Patience::Over {
            let (id, wanted, state) = (&wait.instance, wait.state.as_str(), status.state.as_str());
            let why = status.state_reason.map(|why| format!("; {why}")).unwrap_or_default();
            let not =
                if state == wanted { "not probed successfully".to_owned() } else { format!("not {wanted}") };
            let detail = format!("instance {id} is {state}, {not}{why}");
            return Err(Problem::new(Kind::NotReached, detail));
        }
        sleep_until(clock::now().after(LOOK_AGAIN).min(deadline)).await;
    }
}

/// Between two looks at what is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Hands a change over and says what it did.
async fn submit<P: Plane>(plane: &P, change: Change, conditions: Conditions, audit: &mut Audit) -> Answer {
    let is_update = matches!(change, Change::UpdateDomain(_));
    audit.subject = Some(subject(&change));
    check_files(plane, &change).await?;
    let receipt = make(plane, change.clone(), conditions, audit).await?;
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

/// A file that a change names must be good when it is named. What is said again of a domain or an app that has it is no news:
/// an instance must be able to register although somebody has broken a file since, whose last good content stays in force.
async fn check_files<P: Plane>(plane: &P, change: &Change) -> Result<(), Problem> {
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
        | Change::RemoveDomain { .. } => return Ok(()),
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

/// Hands a change over, and notes it in the audit trail.
async fn make<P: Plane>(
    plane: &P,
    change: Change,
    conditions: Conditions,
    audit: &mut Audit,
) -> Result<Receipt, Problem> {
    audit.subject = Some(subject(&change));
    // The plane decides, for a repeated request is answered whatever the revision is by now.
    let if_match = conditions.if_match.map(|revisions| {
        let current = plane.desired().revision();
        let any = revisions.first().copied().unwrap_or(NO_REVISION);
        revisions.into_iter().find(|revision| *revision == current).unwrap_or(any)
    });
    let submission = Submission { change, if_match, idempotency: conditions.idempotency };
    let receipt = plane.submit(submission).await?;
    audit.outcome = Some(if receipt.replayed { "replayed" } else { outcome_word(receipt.outcome) });
    audit.revision = Some(receipt.revision);
    Ok(receipt)
}

/// With what a receipt says in the head.
fn received(response: Response, receipt: &Receipt) -> Response {
    let micros = receipt.applied_in.as_micros();
    let response = response.at(receipt.revision).with("X-Ringway-Applied-Micros", micros);
    match receipt.replayed {
        true => response.with("Idempotency-Replayed", true),
        false => response,
    }
}

/// Takes a certificate that somebody brings. The domain is told to be `provided` first, which is what conditions and
/// idempotency are about; but only when chain and key are known to be good.
async fn upload_certificate<P: Plane>(
    plane: &P,
    upload: shape::Upload,
    conditions: Conditions,
    audit: &mut Audit,
) -> Answer {
    let shape::Upload { name, certificate, key } = upload;
    audit.subject = Some(format!("certificate of {name}"));
    check_certificates(plane, &name)?;
    let facts = plane.check_certificate(&name, certificate.as_bytes(), key.as_bytes())?;
    let change = change_mode(&name, CertificateMode::Provided);
    let mut receipt = make(plane, change, conditions, audit).await?;
    audit.subject = Some(format!("certificate of {name}"));
    let is_there = plane
        .certificate(&name)
        .and_then(|state| state.certificate)
        .is_some_and(|present| present.fingerprint == facts.fingerprint);
    // A request that is repeated is done again, unless the first time it came to its end: who repeats it does not know.
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

/// Forgets a certificate that somebody brought: the domain asks a CA again, where there is one.
async fn remove_certificate<P: Plane>(
    plane: &P,
    name: Hostname,
    conditions: Conditions,
    audit: &mut Audit,
) -> Answer {
    audit.subject = Some(format!("certificate of {name}"));
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
    let receipt = make(plane, change_mode(&name, CertificateMode::Acme), conditions, audit).await?;
    audit.subject = Some(format!("certificate of {name}"));
    if mode != CertificateMode::Provided && !receipt.replayed {
        return Err(not_provided());
    }
    if mode == CertificateMode::Provided {
        match plane.discard_certificate(&name).await {
            // It is gone from the disk, and a slow core will hear of it.
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

fn change_mode(name: &Hostname, mode: CertificateMode) -> Change {
    Change::UpdateDomain(DomainUpdate { certificate: Some(mode), ..DomainUpdate::new(name.clone()) })
}

/// Somebody must look after certificates, and the domain must be registered.
fn check_certificates<P: Plane>(plane: &P, name: &Hostname) -> Result<(), Problem> {
    domain_of(&plane.desired(), name)?;
    match plane.has_certificates() {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::NoCertificates,
            "this process was started without TLS: PROXY_HTTPS_PORT, PROXY_CERT_PATH, PROXY_TLS_CERT or ACME_EMAIL turn it on",
        )),
    }
}

/// Asks DNS and our own challenge URL, now.
async fn verify_domain<P: Plane>(plane: &P, name: &Hostname) -> Answer {
    check_certificates(plane, name)?;
    let Some(verification) = plane.verify(name).await else {
        // It may have been removed meanwhile, which is told in its own words.
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

/// The object that a change was about, as it is now.
fn object<P: Plane>(plane: &P, change: &Change, receipt: &Receipt, status: u16) -> Response {
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
        | Change::RemoveDomain { .. } => Response::json(status, &Accepted::<Gone>::new(receipt, None)),
    }
}

/// What a change is about, for the audit trail.
fn subject(change: &Change) -> String {
    match change {
        Change::Register { app, instance, domain } => {
            let mut subject = format!("app {}", app.id);
            if let Some(instance) = instance {
                subject.push_str(&format!(", instance {}", instance.id));
            }
            if let Some(domain) = domain {
                subject.push_str(&format!(", domain {}", domain.name));
            }
            subject
        }
        Change::AddInstance(spec) => format!("instance {}", spec.id),
        Change::RemoveInstance { id, .. } | Change::DrainInstance { id, .. } => format!("instance {id}"),
        Change::RemoveApp { id } => format!("app {id}"),
        Change::AddDomain(spec) => format!("domain {}", spec.name),
        Change::UpdateDomain(update) => format!("domain {}", update.name),
        Change::PutWebhook { app, .. } | Change::RemoveWebhook { app } => format!("webhook of app {app}"),
        Change::RemoveDomain { name } => format!("domain {name}"),
    }
}

fn app_of<'a>(desired: &'a Desired, id: &AppId) -> Result<&'a Arc<App>, Problem> {
    desired
        .app(id.as_str())
        .ok_or_else(|| Problem::new(Kind::UnknownApp, format!("app {id} is not registered")))
}

/// Effect of a heartbeat.
fn lease<P: Plane>(plane: &P, id: &InstanceId) -> Response {
    let status = plane.instance_status(id).unwrap_or_default();
    let desired = plane.desired();
    let view = LeaseView {
        instance_id: id.to_string(),
        generation: desired.instance(id.as_str()).map_or(0, |instance| instance.generation.0),
        last_heartbeat: status.last_heartbeat.map(Timestamp::to_rfc3339_millis),
        lease_expires: status.lease_expires.map(Timestamp::to_rfc3339_millis),
        deregisters_at: status.deregisters_at.map(Timestamp::to_rfc3339_millis),
    };
    Response::json(200, &view).with("Preference-Applied", "return=representation")
}

async fn list_apps<P: Plane>(plane: &P, page: Page) -> Answer {
    let desired = plane.desired();
    let is_wanted = |app: &Arc<App>| page.app.as_ref().is_none_or(|id| app.id == *id);
    let selection = select(desired.apps(), is_wanted, page.after.as_deref(), page.limit).await;
    let revision = desired.revision();
    let pieces = Pieces::page("apps", selection, revision.0, move |app| AppView::new(app, &desired));
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

async fn list_webhooks<P: Plane>(plane: &P, page: Page) -> Answer {
    let desired = plane.desired();
    let is_wanted =
        |app: &Arc<App>| app.webhook.is_some() && page.app.as_ref().is_none_or(|id| app.id == *id);
    let selection = select(desired.apps(), is_wanted, page.after.as_deref(), page.limit).await;
    let revision = desired.revision();
    let pieces = Pieces::page("webhooks", selection, revision.0, |app| WebhookView::of(app));
    Ok(Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision))
}

async fn list_instances<P: Plane>(plane: &Rc<P>, page: Page, waiter: &mut Waiter<'_>) -> Answer {
    if let Some(wait) = &page.wait {
        wait_for_state(&**plane, wait, waiter).await?;
    }
    let desired = plane.desired();
    let revision = desired.revision();
    let mut app = page.app.clone();
    if let Some(name) = &page.domain {
        let domain = domain_of(&desired, name)?;
        // Two filters that name different apps leave nothing.
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

fn instance_pieces<P: Plane>(
    plane: &Rc<P>,
    selection: Selection<Arc<Instance>>,
    revision: Revision,
) -> Response {
    let plane = Rc::clone(plane);
    let view = move |instance: &Arc<Instance>| InstanceView::of(&*plane, instance);
    let pieces = Pieces::page("instances", selection, revision.0, view);
    Response { status: 200, fields: Vec::new(), body: Body::Pieces(pieces) }.at(revision)
}

async fn list_certificates<P: Plane>(plane: &Rc<P>, page: Page) -> Answer {
    let desired = plane.desired();
    let state_of =
        |domain: &Arc<Domain>| plane.certificate(&domain.name).map_or(State::None, |known| known.state);
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

async fn select_domains(
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

async fn list_domains<P: Plane>(plane: &Rc<P>, page: Page) -> Answer {
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

async fn show_app<P: Plane>(plane: &P, id: AppId) -> Answer {
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

async fn show_app_status<P: Plane>(plane: &P, id: AppId) -> Answer {
    let desired = plane.desired();
    let on_all_unhealthy = app_of(&desired, &id)?.on_all_unhealthy.as_str();
    let instances = instances_of(plane, &desired, &id).await;
    let is_draining = |instance: &&InstanceView| instance.state == "draining";
    let takes_traffic = |instance: &&InstanceView| {
        !is_draining(instance) && instance.health != "unhealthy" && instance.circuit_breaker != "open"
    };
    let (healthy_instances, total_instances) =
        (instances.iter().filter(takes_traffic).count(), instances.len());
    // One that leaves is not missed.
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

async fn instances_of<P: Plane>(plane: &P, desired: &Desired, id: &AppId) -> Vec<InstanceView> {
    let selection = select(desired.instances_of(id.as_str()), |_| true, None, None).await;
    selection.items.iter().map(|instance| InstanceView::of(plane, instance)).collect()
}

async fn domains_of(desired: &Desired, id: &AppId) -> Vec<String> {
    let selection = select(desired.domains_of(id.as_str()), |_| true, None, None).await;
    selection.items.iter().map(|domain| domain.name.to_string()).collect()
}

fn domain_of<'a>(desired: &'a Desired, name: &Hostname) -> Result<&'a Arc<Domain>, Problem> {
    desired
        .domain(name.as_str())
        .ok_or_else(|| Problem::new(Kind::UnknownDomain, format!("domain {name} is not registered")))
}

fn show_domain<P: Plane>(plane: &P, name: &Hostname) -> Answer {
    let desired = plane.desired();
    let domain = DomainView::of(plane, domain_of(&desired, name)?);
    let revision = desired.revision();
    Ok(Response::json(200, &DomainDetails { domain, revision: revision.0 }).at(revision))
}
