//! Request processing without sockets: order of the checks, dispatch, audit trail.
//!
//! ```text
//! head ── admit: site, route, token and scope, media type, preconditions ──► Admitted
//!                                                   body is read ──► respond ──► Response
//! ```
//! Checks of the head come before the body is read.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ringway_control::Idempotency;
use ringway_model::{Owner, Revision};
use ringway_net::clock;
use ringway_telemetry::{RequestId, RequestIds};
use ringway_wire::message::Method;

use crate::access::{Access, AccessControl, Caller, Credentials, Denied, Identity, Listener, Peer};
use crate::audit::{AuditLog, AuthChanges, ConfigurationTrail, Entry, Object, Refusals, Trail};
use crate::config_operation::ConfigOperation;
use crate::handlers::{self, Call};
use crate::operation::Operation;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::{
    Conditions, idempotency_key, if_match, if_match_version, wants_representation,
};
use crate::request::configuration::{HEADERS_PARAMETER, REQUEST};
use crate::request::target::{Plus, decode, read_query};
use crate::response::{ApiResult, Response};
use crate::route::{self, Found};
use crate::waits::{Waiter, Waits};
use ringway_config::{Input, json};

/// Head of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) from: Credentials<'a>,
    /// Whether a body follows that is not empty.
    pub(crate) has_body: bool,
    pub(crate) content_type: Vec<&'a [u8]>,
    pub(crate) if_match: Vec<&'a [u8]>,
    pub(crate) idempotency_key: Vec<&'a [u8]>,
    pub(crate) prefer: Vec<&'a [u8]>,
}

/// Result of the checks of the head.
pub(crate) enum Admission<'a> {
    /// The body is to be read, then [`Service::respond`] called.
    Admitted(Admitted<'a>),
    /// The response is complete.
    Answered(Response),
}

/// A request whose head passed all checks.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    operation: Operation,
    caller: Caller,
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    key: Option<String>,
    /// Field name and key of the object that the key belongs to.
    parent: Option<(&'static str, String)>,
    if_match: Option<Vec<Revision>>,
    /// Required version of an owner's configuration.
    expect: Option<Arc<str>>,
    is_yaml: bool,
    idempotency_key: Option<String>,
    wants_representation: bool,
}

impl Admitted<'_> {
    /// Bytes of the longest body.
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.operation.body_bytes_max()
    }
}

/// The API without sockets.
pub(crate) struct Service<P> {
    plane: Rc<P>,
    access: Rc<AccessControl>,
    waits: Waits,
    audit: Option<AuditLog>,
    refusals: Refusals,
    ids: RefCell<RequestIds>,
}

impl<P: Plane> Service<P> {
    pub(crate) fn new(
        plane: Rc<P>,
        access: Rc<AccessControl>,
        waits: Waits,
        audit: Option<AuditLog>,
    ) -> Self {
        let (refusals, ids) = (Refusals::default(), RefCell::new(RequestIds::new()));
        Self { plane, access, waits, audit, refusals, ids }
    }

    /// Draws an id for the next request.
    pub(crate) fn draw_id(&self) -> RequestId {
        self.ids.borrow_mut().draw()
    }

    /// Checks the head.
    pub(crate) fn admit<'a>(
        &self,
        listener: &Listener,
        peer: &Peer,
        head: &Head<'a>,
        id: &RequestId,
    ) -> Admission<'a> {
        match self.check(listener, peer, head) {
            Ok(admission) => admission,
            Err(Refused { denied, operation, methods }) => {
                self.record_refusal(&denied, operation, peer, id);
                let mut response = Response::problem(&denied.problem, id);
                if !methods.is_empty() {
                    response = response.with("Allow", route::allow(&methods));
                }
                Admission::Answered(response)
            }
        }
    }

    fn check<'a>(&self, listener: &Listener, peer: &Peer, head: &Head<'a>) -> Result<Admission<'a>, Refused> {
        self.access.guard().check_site(listener, &head.from)?;
        let is_metrics = matches!(listener, Listener::Metrics(_));
        if is_metrics && !route::is_for_monitoring(head.path) {
            let detail =
                format!("{} is not on the listener of metrics and probes; use the admin API", head.path);
            return Err(Problem::new(Kind::NoSuchPath, detail).into());
        }
        if head.method == Method::Options {
            return Ok(Admission::Answered(options(head.path)?));
        }
        let (operation, keys) = match route::find(head.method, head.path) {
            Found::Operation(operation, keys) => (operation, keys),
            Found::OtherMethods(methods) => {
                let allowed = route::allow(&methods);
                let problem = Problem::new(Kind::WrongMethod, format!("{} takes {allowed}", head.path));
                return Err(Refused { methods, ..problem.into() });
            }
            Found::Nothing if known(head.method) => return Err(no_such_path(head.path).into()),
            Found::Nothing => {
                return Err(Problem::new(Kind::UnknownMethod, "the API has no such method").into());
            }
        };
        let access = if is_metrics { Access::Open } else { operation.access() };
        let refused = |denied: Denied| Refused { operation: Some(operation), ..denied.into() };
        let caller = self
            .access
            .guard()
            .authorize(listener, peer, access, &head.from, clock::timestamp())
            .map_err(refused)?;
        let identity = caller.identity.clone();
        let refused = |problem| refused(Denied { problem, identity: identity.clone() });
        let takes_documents = operation.configuration().is_some_and(ConfigOperation::takes_documents);
        let is_yaml = takes_documents && is_yaml(&head.content_type);
        if head.has_body && !is_yaml && !is_json(&head.content_type) {
            let detail = match takes_documents {
                true => "send the body as application/json or application/yaml in UTF-8",
                false => "send the body as application/json in UTF-8, or leave Content-Type out",
            };
            return Err(refused(Problem::new(Kind::NotJson, detail)));
        }
        let expect = match operation.configuration().is_some_and(ConfigOperation::takes_version) {
            true => if_match_version(&head.if_match).map_err(refused)?,
            false => None,
        };
        let key = keys.own.map(|key| decode(key, Plus::Literal)).transpose().map_err(refused)?;
        let parent = match keys.parent {
            Some((name, key)) => Some((name, decode(key, Plus::Literal).map_err(refused)?)),
            None => None,
        };
        let (if_match, idempotency_key) = match operation.is_mutation() {
            true => (
                if_match(&head.if_match).map_err(refused)?,
                idempotency_key(&head.idempotency_key).map_err(refused)?,
            ),
            false => (None, None),
        };
        Ok(Admission::Admitted(Admitted {
            operation,
            caller,
            method: head.method,
            path: head.path,
            query: head.query,
            key,
            parent,
            if_match,
            expect,
            is_yaml,
            idempotency_key,
            wants_representation: wants_representation(&head.prefer),
        }))
    }

    /// Executes the operation. `body` is overwritten; `peer` is for the audit trail. A wait ends when
    /// `is_wanted` is false.
    pub(crate) async fn respond(
        &self,
        admitted: Admitted<'_>,
        body: &mut [u8],
        peer: &Peer,
        id: &RequestId,
        is_wanted: &dyn Fn() -> bool,
    ) -> Response {
        let Admitted {
            operation,
            caller,
            method,
            path,
            query,
            key,
            parent,
            if_match,
            expect,
            is_yaml,
            idempotency_key,
            wants_representation,
        } = admitted;
        let mut document;
        let body = match is_yaml {
            true => {
                document = quoted_document(body);
                document.as_mut_slice()
            }
            false => body,
        };
        let idempotency = idempotency_key.map(|key| Idempotency {
            key: key.into(),
            request_hash: request_hash(operation, path, query, body),
        });
        let conditions = Conditions { if_match, idempotency, wants_representation };
        let before = self.plane.desired().revision();
        let mut trail = Trail::default();
        let result = match read_input((key, parent), query, body) {
            Ok(mut input) => {
                if operation.takes_header_fields() {
                    join_headers(&mut input.query);
                }
                let (warnings, audit) = (self.warnings(), self.audit.as_ref());
                let (caller, tenant) = (&caller.identity, caller.tenant.as_ref());
                let input = &input;
                let call =
                    Call { operation, input, conditions, warnings, audit, caller, tenant, expect, is_yaml };
                let mut waiter = Waiter::new(&self.waits, is_wanted);
                handlers::handle(&self.plane, call, &mut trail, &mut waiter).await
            }
            Err(problem) => Err(problem),
        };
        if operation.is_action() {
            let (outcome, revision) = match &result {
                Ok(_) => (trail.outcome.unwrap_or(""), trail.revision),
                Err(problem) => (problem.kind.code(), problem.revision),
            };
            tracing::info!(
                target: "ringway::audit",
                method = %method,
                path,
                subject = trail.subject(),
                outcome,
                revision = revision.map(|revision| revision.0),
                request_id = %id,
                caller = %caller.identity,
                remote = %peer,
                "change"
            );
            self.record(operation, &caller.identity, peer, id, (before, trail), &result);
        }
        result.unwrap_or_else(|problem| Response::problem(&problem, id))
    }

    /// Answers a request whose body cannot be read.
    pub(crate) fn refuse(
        &self,
        admitted: Admitted<'_>,
        problem: Problem,
        peer: &Peer,
        id: &RequestId,
    ) -> Response {
        let response = Response::problem(&problem, id);
        let denied = Denied { problem, identity: admitted.caller.identity };
        self.record_refusal(&denied, Some(admitted.operation), peer, id);
        response
    }

    /// Problems of the API itself, one sentence each.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.access.warnings();
        if let Some(audit) = &self.audit {
            warnings.extend(audit.reading().warnings());
        }
        warnings
    }

    /// Adds a change to the audit log.
    fn record(
        &self,
        operation: Operation,
        identity: &Identity,
        peer: &Peer,
        id: &RequestId,
        (before, trail): (Revision, Trail),
        result: &ApiResult,
    ) {
        let Some(audit) = &self.audit else { return };
        let Trail { objects, outcome, revision, configuration } = trail;
        let (status, result) = match result {
            Ok(response) => (response.status, outcome.unwrap_or("done")),
            Err(problem) => (problem.kind.status(), problem.kind.code()),
        };
        let configuration = configuration.unwrap_or_else(|| ConfigurationTrail {
            owner: Owner::Api.to_string(),
            before: Some(before.to_string()),
            after: revision.map(|revision| revision.to_string()),
            ..ConfigurationTrail::default()
        });
        let ConfigurationTrail { owner, before, after, reason, auth_changes } = configuration;
        audit.record(&Entry {
            at: clock::timestamp().to_rfc3339_millis(),
            who: identity.to_string(),
            remote: peer.to_string(),
            action: operation.spec().id,
            owner: Some(owner).filter(|owner| !owner.is_empty()),
            objects: objects.into_iter().map(|(kind, id)| Object { kind, id }).collect(),
            before,
            after,
            reason,
            authentication: AuthChanges::of(&auth_changes),
            result,
            status,
            request_id: id.to_string(),
            suppressed: self.refusals.take_suppressed(),
        });
    }

    /// Adds a refusal before the body to the audit log: of a change, or by access control.
    fn record_refusal(&self, denied: &Denied, operation: Option<Operation>, peer: &Peer, id: &RequestId) {
        let Some(audit) = &self.audit else { return };
        let kind = denied.problem.kind;
        let is_access =
            matches!(kind, Kind::Unauthorized | Kind::MissingScope | Kind::CrossSite | Kind::Misdirected);
        if !is_access && !operation.is_some_and(Operation::is_action) {
            return;
        }
        if denied.identity == Identity::Unknown && !self.refusals.admit(clock::now()) {
            return;
        }
        audit.record(&Entry {
            at: clock::timestamp().to_rfc3339_millis(),
            who: denied.identity.to_string(),
            remote: peer.to_string(),
            action: operation.map_or("request", |operation| operation.spec().id),
            owner: None,
            objects: Vec::new(),
            before: None,
            after: None,
            reason: None,
            authentication: None,
            result: kind.code(),
            status: kind.status(),
            request_id: id.to_string(),
            suppressed: self.refusals.take_suppressed(),
        });
    }
}

/// Refusal of a request by its head.
struct Refused {
    denied: Denied,
    /// The operation, when it was found.
    operation: Option<Operation>,
    /// Methods of the path, when the request's is not one of them.
    methods: Vec<Method>,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self { denied, operation: None, methods: Vec::new() }
    }
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Denied::from(problem).into()
    }
}

fn known(method: Method) -> bool {
    matches!(
        method,
        Method::Get
            | Method::Head
            | Method::Post
            | Method::Put
            | Method::Delete
            | Method::Options
            | Method::Patch
    )
}

fn no_such_path(path: &str) -> Problem {
    let nearest = route::nearest(path).join(", ");
    Problem::new(Kind::NoSuchPath, format!("there is nothing at this path; known and similar: {nearest}"))
}

/// Responds to OPTIONS (RFC 9110 §9.3.7); `*` means the server as a whole.
fn options(path: &str) -> Result<Response, Problem> {
    let methods = match path {
        "*" => vec![Method::Get, Method::Post, Method::Put, Method::Delete],
        path => route::methods_of(path),
    };
    match methods.is_empty() {
        true => Err(no_such_path(path)),
        false => Ok(Response::empty(204).with("Allow", route::allow(&methods))),
    }
}

/// Whether a body may be JSON: no type, `application/json` in UTF-8, or the form type that `curl -d` sends by
/// default. A form of another site encodes braces and so is not JSON, and a script's request has an Origin.
/// Other types could be sent by such a page without a preflight.
fn is_json(values: &[&[u8]]) -> bool {
    let [value] = values else { return values.is_empty() };
    let mut parts = value.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let taken = [b"application/json".as_slice(), b"application/x-www-form-urlencoded"];
    let is_json = parts.next().is_some_and(|media| taken.iter().any(|name| media.eq_ignore_ascii_case(name)));
    let is_utf8 = |parameter: &[u8]| {
        let Some(charset) = parameter.get(..8).filter(|name| name.eq_ignore_ascii_case(b"charset=")) else {
            return true;
        };
        let value = &parameter[charset.len()..];
        [b"utf-8".as_slice(), b"\"utf-8\"", b"utf8"].iter().any(|name| value.eq_ignore_ascii_case(name))
    };
    is_json && parts.all(is_utf8)
}

/// Whether a body is a configuration in YAML.
fn is_yaml(values: &[&[u8]]) -> bool {
    let [value] = values else { return false };
    let media = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let names = [b"application/yaml".as_slice(), b"application/x-yaml", b"text/yaml", b"text/x-yaml"];
    names.iter().any(|name| media.eq_ignore_ascii_case(name))
}

/// Quotes a document as the `sources` of a body in JSON. Bytes that are not UTF-8 become replacement
/// characters, which no reader of documents takes for something else.
fn quoted_document(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    serde_json::json!({ "sources": [{ "name": REQUEST, "text": text }] }).to_string().into_bytes()
}

/// Joins the header fields of a request to explain, one on each line: a query may have several.
fn join_headers(query: &mut Vec<(String, String)>) {
    let is_header = |pair: &mut (String, String)| pair.0 == HEADERS_PARAMETER;
    let lines: Vec<String> = query.extract_if(.., is_header).map(|(_, line)| line).collect();
    if !lines.is_empty() {
        query.push((HEADERS_PARAMETER.to_owned(), lines.join("\n")));
    }
}

/// Hash of a request, to detect another request under the same idempotency key. Not a secret: a client that
/// may send the key may make the change.
fn request_hash(operation: Operation, path: &str, query: Option<&str>, body: &[u8]) -> u64 {
    // Constant seeds: the hashes are compared within this process only.
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one((operation, path, query, body))
}

fn read_input<'a>(
    (key, parent): (Option<String>, Option<(&'static str, String)>),
    query: Option<&str>,
    body: &'a mut [u8],
) -> Result<Input<'a>, Problem> {
    let mut query = match query {
        Some(query) => read_query(query)?,
        None => Vec::new(),
    };
    let body = match body.is_empty() {
        true => None,
        false => Some(json::parse(body)?),
    };
    // A value of the address like those of the query, in which it may be repeated.
    query.extend(parent.map(|(name, key)| (name.to_owned(), key)));
    Ok(Input { body, key, query })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bodies_are_json_by_name() {
        for text in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; profile=x",
        ] {
            assert!(is_json(&[text.as_bytes()]), "{text}");
        }
        assert!(is_json(&[]));
        for text in [
            "",
            "text/plain",
            "application/jsonp",
            "application/json; charset=latin1",
            "text/plain; application/json",
        ] {
            assert!(!is_json(&[text.as_bytes()]), "{text}");
        }
        assert!(!is_json(&[b"application/json", b"application/json"]));
    }

    proptest! {
        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = is_json(&[&bytes]);
        }
    }
}
