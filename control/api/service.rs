//! Request processing without sockets: order of the checks, dispatch, audit trail.
//!
//! ```text
//! head ── admit: site, route, token and scope, media type, preconditions ──► Admitted
//!                                                   body is read ──► respond ──► Response
//! ```
//! Checks of the head come before the body is read.

use std::cell::RefCell;
use std::rc::Rc;

use ringway_control::Idempotency;
use ringway_model::Revision;
use ringway_net::clock;
use ringway_telemetry::{RequestId, RequestIds};
use ringway_wire::message::Method;

use crate::access::{Access, AccessControl, Caller, Credentials, Denied, Listener, Peer};
use crate::audit::Audit;
use crate::handlers::{self, Call};
use crate::operation::Operation;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::{Conditions, idempotency_key, if_match, wants_representation};
use crate::request::target::{Plus, decode, read_query};
use crate::response::Response;
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
    if_match: Option<Vec<Revision>>,
    idempotency_key: Option<String>,
    wants_representation: bool,
}

/// The API without sockets.
pub(crate) struct Service<P> {
    plane: Rc<P>,
    access: Rc<AccessControl>,
    waits: Waits,
    ids: RefCell<RequestIds>,
}

impl<P: Plane> Service<P> {
    pub(crate) fn new(plane: Rc<P>, access: Rc<AccessControl>, waits: Waits) -> Self {
        Self { plane, access, waits, ids: RefCell::new(RequestIds::new()) }
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
            Err(Refused { denied, methods }) => {
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
        let (operation, key) = match route::find(head.method, head.path) {
            Found::Operation(operation, key) => (operation, key),
            Found::OtherMethods(methods) => {
                let allowed = route::allow(&methods);
                let problem = Problem::new(Kind::WrongMethod, format!("{} takes {allowed}", head.path));
                return Err(Refused { denied: problem.into(), methods });
            }
            Found::Nothing if known(head.method) => return Err(no_such_path(head.path).into()),
            Found::Nothing => {
                return Err(Problem::new(Kind::UnknownMethod, "the API has no such method").into());
            }
        };
        let access = if is_metrics { Access::Open } else { operation.access() };
        let caller = self.access.guard().authorize(listener, peer, access, &head.from, clock::timestamp())?;
        if head.has_body && !is_json(&head.content_type) {
            return Err(Problem::new(
                Kind::NotJson,
                "send the body as application/json in UTF-8, or leave Content-Type out",
            )
            .into());
        }
        let key = key.map(|key| decode(key, Plus::Literal)).transpose()?;
        let (if_match, idempotency_key) = match operation.is_mutation() {
            true => (if_match(&head.if_match)?, idempotency_key(&head.idempotency_key)?),
            false => (None, None),
        };
        Ok(Admission::Admitted(Admitted {
            operation,
            caller,
            method: head.method,
            path: head.path,
            query: head.query,
            key,
            if_match,
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
            if_match,
            idempotency_key,
            wants_representation,
        } = admitted;
        let idempotency = idempotency_key.map(|key| Idempotency {
            key: key.into(),
            request_hash: request_hash(operation, path, query, body),
        });
        let conditions = Conditions { if_match, idempotency, wants_representation };
        let mut audit = Audit::default();
        let result = match read_input(key, query, body) {
            Ok(input) => {
                let call = Call { operation, input: &input, conditions, warnings: self.access.warnings() };
                let mut waiter = Waiter::new(&self.waits, is_wanted);
                handlers::handle(&self.plane, call, &mut audit, &mut waiter).await
            }
            Err(problem) => Err(problem),
        };
        let (outcome, revision) = match &result {
            Ok(_) => (audit.outcome.unwrap_or(""), audit.revision),
            Err(problem) => (problem.kind.code(), problem.revision),
        };
        if operation.is_mutation() {
            tracing::info!(
                target: "ringway::audit",
                method = %method,
                path,
                subject = audit.subject.as_deref().unwrap_or(""),
                outcome,
                revision = revision.map(|revision| revision.0),
                request_id = %id,
                caller = %caller.identity,
                remote = %peer,
                "change"
            );
        }
        result.unwrap_or_else(|problem| Response::problem(&problem, id))
    }
}

/// Refusal of a request by its head.
struct Refused {
    denied: Denied,
    /// Methods of the path, when the request's is not one of them.
    methods: Vec<Method>,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self { denied, methods: Vec::new() }
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

/// Hash of a request, to detect another request under the same idempotency key. Not a secret: a client that
/// may send the key may make the change.
fn request_hash(operation: Operation, path: &str, query: Option<&str>, body: &[u8]) -> u64 {
    // Constant seeds: the hashes are compared within this process only.
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one((operation, path, query, body))
}

fn read_input<'a>(
    key: Option<String>,
    query: Option<&str>,
    body: &'a mut [u8],
) -> Result<Input<'a>, Problem> {
    let query = match query {
        Some(query) => read_query(query)?,
        None => Vec::new(),
    };
    let body = match body.is_empty() {
        true => None,
        false => Some(json::parse(body)?),
    };
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
