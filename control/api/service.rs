//! From a request to its answer, without sockets: the order of the checks, the dispatch, the audit trail.
//!
//! ```text
//! head ── admit: site, token, route, media type, preconditions ──► Admitted
//!                                                   body read meanwhile ──► answer ──► Response
//! ```
//! What the head alone forbids is refused before a body is read.

use std::cell::RefCell;
use std::rc::Rc;

use crate::limits;
use ringway_model::Revision;
use ringway_telemetry::{RequestId, RequestIds};
use ringway_wire::headers::list_elements;
use ringway_wire::message::Method;

use crate::document;
use crate::guard::{Credentials, Door, Guard};
use crate::handlers;
use crate::lists::Pieces;
use crate::plane::{Idempotency, Plane};
use crate::problem::{Kind, Problem};
use crate::reader::{Finding, Input};
use crate::route::{self, Found, Operation};
use crate::waits::{Waiter, Waits};

/// What the head of a request says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head<'a> {
    pub(crate) method: Method,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) from: Credentials<'a>,
    /// Whether a body follows, an empty one aside.
    pub(crate) has_body: bool,
    pub(crate) content_type: Vec<&'a [u8]>,
    pub(crate) if_match: Vec<&'a [u8]>,
    pub(crate) idempotency_key: Vec<&'a [u8]>,
    pub(crate) prefer: Vec<&'a [u8]>,
}

/// An answer, still without the fields that all answers have.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names and values; the values are made here and need no escaping.
    pub(crate) fields: Vec<(&'static str, String)>,
    pub(crate) body: Body,
}

/// The body of an answer.
pub(crate) enum Body {
    Empty,
    Whole(&'static str, Vec<u8>),
    Pieces(Pieces),
}

impl Response {
    /// Without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Body::Empty }
    }

    /// With JSON.
    pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        // No answer has a map with keys other than strings, and writing to memory cannot fail.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Self { status, fields: Vec::new(), body: Body::Whole("application/json", bytes) }
    }

    /// With one more field.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }

    /// With the revision that it speaks of.
    pub(crate) fn at(self, revision: Revision) -> Self {
        self.with("ETag", format_args!("\"{revision}\"")).with("X-Ringway-Revision", revision)
    }

    /// A problem.
    pub(crate) fn problem(problem: &Problem, id: &RequestId) -> Self {
        let mut response = Self {
            status: problem.kind.status(),
            fields: Vec::new(),
            body: Body::Whole("application/problem+json", problem.body(id.as_str())),
        };
        if let Some(revision) = problem.revision {
            response = response.at(revision);
        }
        if let Some(seconds) = problem.retry_after_seconds {
            response = response.with("Retry-After", seconds);
        }
        if problem.kind == Kind::Unauthorized {
            response = response.with("WWW-Authenticate", "Bearer realm=\"ringway\"");
        }
        response
    }
}

/// The conditions of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    /// Revisions of which one must be the present one; none when there is no condition.
    pub(crate) if_match: Option<Vec<Revision>>,
    /// The key, and a hash of the request.
    pub(crate) idempotency: Option<Idempotency>,
    /// Whether the client prefers the object to an empty answer.
    pub(crate) wants_representation: bool,
}

/// What comes of the head.
pub(crate) enum Admission<'a> {
    /// Read the body, then ask for the answer.
    Admitted(Admitted<'a>),
    /// The answer is clear already.
    Answered(Response),
}

/// A request whose head is in order.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    operation: Operation,
    method: Method,
    path: &'a str,
    query: Option<&'a str>,
    key: Option<String>,
    if_match: Option<Vec<Revision>>,
    idempotency_key: Option<String>,
    wants_representation: bool,
}

/// The API without its sockets.
pub(crate) struct Service<P> {
    plane: Rc<P>,
    guard: Guard,
    waits: Waits,
    ids: RefCell<RequestIds>,
}

impl<P: Plane> Service<P> {
    pub(crate) fn new(plane: Rc<P>, guard: Guard, waits: Waits) -> Self {
        Self { plane, guard, waits, ids: RefCell::new(RequestIds::new()) }
    }

    /// An id for the next request.
    pub(crate) fn draw_id(&self) -> RequestId {
        self.ids.borrow_mut().draw()
    }

    /// Judges the head.
    pub(crate) fn admit<'a>(&self, door: &Door, head: &Head<'a>, id: &RequestId) -> Admission<'a> {
        match self.judge(door, head) {
            Ok(admission) => admission,
            Err((problem, methods)) => {
                let mut response = Response::problem(&problem, id);
                if !methods.is_empty() {
                    response = response.with("Allow", route::allow(&methods));
                }
                Admission::Answered(response)
            }
        }
    }

    fn judge<'a>(&self, door: &Door, head: &Head<'a>) -> Result<Admission<'a>, (Problem, Vec<Method>)> {
        let plain = |problem| (problem, Vec::new());
        self.guard.check_site(door, &head.from).map_err(plain)?;
        if head.method == Method::Options {
            return Ok(Admission::Answered(options(head.path).map_err(plain)?));
        }
        let (operation, key) = match route::find(head.method, head.path) {
            Found::Operation(operation, key) => (operation, key),
            Found::OtherMethods(methods) => {
                let allowed = route::allow(&methods);
                let detail = format!("{} takes {allowed}", head.path);
                return Err((Problem::new(Kind::WrongMethod, detail), methods));
            }
            Found::Nothing if known(head.method) => return Err(plain(no_such_path(head.path))),
            Found::Nothing => {
                return Err(plain(Problem::new(Kind::UnknownMethod, "the API has no such method")));
            }
        };
        self.guard.check_token(door, operation.access(), &head.from).map_err(plain)?;
        if head.has_body && !is_json(&head.content_type) {
            return Err(plain(Problem::new(
                Kind::NotJson,
                "send the body as application/json in UTF-8, or leave Content-Type out",
            )));
        }
        let key = key.map(|key| decode(key, Plus::Literal)).transpose().map_err(plain)?;
        let (if_match, idempotency_key) = match operation.is_mutation() {
            true => (
                if_match(&head.if_match).map_err(plain)?,
                idempotency_key(&head.idempotency_key).map_err(plain)?,
            ),
            false => (None, None),
        };
        Ok(Admission::Admitted(Admitted {
            operation,
            method: head.method,
            path: head.path,
            query: head.query,
            key,
            if_match,
            idempotency_key,
            wants_representation: wants_representation(&head.prefer),
        }))
    }

    /// Does what was asked. `body` is overwritten. `remote` is told to the audit trail. A wait ends when `is_wanted` says
    /// that nobody takes the answer.
    pub(crate) async fn answer(
        &self,
        admitted: Admitted<'_>,
        body: &mut [u8],
        remote: &str,
        id: &RequestId,
        is_wanted: &dyn Fn() -> bool,
    ) -> Response {
        let Admitted { operation, method, path, query, key, if_match, idempotency_key, wants_representation } =
            admitted;
        let idempotency = idempotency_key
            .map(|key| Idempotency { key, request_hash: request_hash(operation, path, query, body) });
        let conditions = Conditions { if_match, idempotency, wants_representation };
        let mut audit = Audit::default();
        let result = match read_input(key, query, body) {
            Ok(input) => {
                let mut waiter = Waiter::new(&self.waits, is_wanted);
                handlers::handle(&self.plane, operation, &input, conditions, &mut audit, &mut waiter).await
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
                remote,
                "change"
            );
        }
        result.unwrap_or_else(|problem| Response::problem(&problem, id))
    }
}

/// What the audit trail says about a change.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// What it was about: `app app1`, `domain shop.example`.
    pub(crate) subject: Option<String>,
    /// What it did.
    pub(crate) outcome: Option<&'static str>,
    /// The revision that has it.
    pub(crate) revision: Option<Revision>,
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

/// RFC 9110 §9.3.7: `*` asks about the server as a whole.
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

/// Absent, or `application/json` in UTF-8, or what `curl -d` says when it is told nothing: a form that a page of another
/// site sends that way has its braces encoded and is no JSON, and a script's request names its origin. Anything else
/// such a page could send without asking us first.
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

/// `If-Match` (RFC 9110 §13.1.1): `*` is no condition here, for the configuration always exists; weak tags, and tags
/// that are not ours, match nothing.
fn if_match(values: &[&[u8]]) -> Result<Option<Vec<Revision>>, Problem> {
    let elements: Vec<&[u8]> = values.iter().flat_map(|value| list_elements(value)).collect();
    if values.is_empty() || elements == [b"*"] {
        return Ok(None);
    }
    let malformed = || {
        let detail = "If-Match must be * or a list of entity tags, as in If-Match: \"12\"";
        Problem::new(Kind::BadHeader, detail)
    };
    if elements.is_empty() {
        return Err(malformed());
    }
    let mut revisions = Vec::new();
    for element in elements {
        let (is_weak, tag) = match element.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, element),
        };
        let inner = tag.strip_prefix(b"\"").and_then(|tag| tag.strip_suffix(b"\"")).ok_or_else(malformed)?;
        if inner.contains(&b'"') {
            return Err(malformed());
        }
        let is_ours = !is_weak && inner.iter().all(u8::is_ascii_digit);
        if let Some(number) = std::str::from_utf8(inner).ok().filter(|_| is_ours).and_then(|n| n.parse().ok())
        {
            revisions.push(Revision(number));
        }
    }
    Ok(Some(revisions))
}

/// `Idempotency-Key`: one field of visible ASCII, in quotes or not.
fn idempotency_key(values: &[&[u8]]) -> Result<Option<String>, Problem> {
    let malformed = || {
        let detail = format!(
            "Idempotency-Key must be 1 to {} visible ASCII characters, once",
            limits::API_KEY_BYTES_MAX
        );
        Problem::new(Kind::BadHeader, detail)
    };
    let value = match values {
        [] => return Ok(None),
        [value] => *value,
        _ => return Err(malformed()),
    };
    let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    let is_fine = (1..=limits::API_KEY_BYTES_MAX).contains(&value.len())
        && value.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
    match std::str::from_utf8(value) {
        Ok(text) if is_fine => Ok(Some(text.to_owned())),
        _ => Err(malformed()),
    }
}

/// `Prefer: return=representation` (RFC 7240 §4.2). The first `return` counts (§2); preferences that are not known are ignored.
fn wants_representation(values: &[&[u8]]) -> bool {
    let value_of_return = |element: &[u8]| {
        // Parameters of a preference follow a semicolon; this one has none.
        let preference = element.split(|byte| *byte == b';').next()?;
        let (name, value) = preference.split_at_checked(preference.iter().position(|byte| *byte == b'=')?)?;
        let value = value[1..].trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.trim_ascii().eq_ignore_ascii_case(b"return").then(|| value == b"representation")
    };
    values.iter().flat_map(|value| list_elements(value)).find_map(value_of_return).unwrap_or(false)
}

/// Tells requests under one idempotency key apart. Not a secret: whoever may send the key may make the change.
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
        false => Some(document::parse(body)?),
    };
    Ok(Input { body, key, query })
}

/// `name=value` pairs (WHATWG URL §5.1).
fn read_query(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .take(ringway_model::limits::FINDINGS_MAX)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, Plus::Space)?, decode(value, Plus::Space)?))
        })
        .collect()
}

/// What a plus sign means: in queries, and only there, a space.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Literal,
    Space,
}

/// Percent-decodes (RFC 3986 §2.1) into UTF-8.
fn decode(text: &str, plus: Plus) -> Result<String, Problem> {
    let malformed = || {
        Problem::findings(vec![Finding {
            field: "(target)".to_owned(),
            code: "invalid",
            message: "must be percent-encoded UTF-8".to_owned(),
            pointer: None,
        }])
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2).ok_or_else(malformed)?;
                let digit = |b: u8| char::from(b).to_digit(16);
                let (high, low) = digit(digits[0]).zip(digit(digits[1])).ok_or_else(malformed)?;
                bytes.push((high << 4 | low) as u8);
                rest = tail;
            }
            b'+' if plus == Plus::Space => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entity_tags_are_read_as_the_standard_says() {
        let read = |text: &str| if_match(&[text.as_bytes()]).map_err(|problem| problem.kind);
        assert_eq!(if_match(&[]), Ok(None));
        assert_eq!(read("*"), Ok(None));
        assert_eq!(read("\"12\""), Ok(Some(vec![Revision(12)])));
        assert_eq!(read("\"12\", \"13\""), Ok(Some(vec![Revision(12), Revision(13)])));
        assert_eq!(read("W/\"12\""), Ok(Some(vec![])));
        assert_eq!(read("\"abc\""), Ok(Some(vec![])));
        assert_eq!(read("\"99999999999999999999\""), Ok(Some(vec![])));
        for text in ["", "12", "\"12", "12\"", "*, \"1\"", "\"", "\"1\"\"2\"", "w/\"1\""] {
            assert_eq!(read(text), Err(Kind::BadHeader), "{text:?}");
        }
    }

    #[test]
    fn idempotency_keys_are_bounded_and_single() {
        let read = |text: &str| idempotency_key(&[text.as_bytes()]).map_err(|problem| problem.kind);
        assert_eq!(idempotency_key(&[]), Ok(None));
        assert_eq!(read("abc"), Ok(Some("abc".into())));
        assert_eq!(read("\"abc\""), Ok(Some("abc".into())));
        assert!(read(&"x".repeat(limits::API_KEY_BYTES_MAX)).is_ok());
        for text in ["", "\"\"", "a b", "\"a", "ä", &"x".repeat(limits::API_KEY_BYTES_MAX + 1)] {
            assert_eq!(read(text), Err(Kind::BadHeader), "{text:?}");
        }
        assert!(idempotency_key(&[b"a", b"a"]).is_err());
    }

    #[test]
    fn a_representation_is_sent_to_who_prefers_one() {
        for text in [
            "return=representation",
            "Return = \"representation\"",
            "respond-async, wait=100, return=representation; x=y",
            "return=representation, return=minimal",
        ] {
            assert!(wants_representation(&[text.as_bytes()]), "{text}");
        }
        for text in [
            "",
            "return",
            "return=minimal",
            "return=minimal, return=representation",
            "x; return=representation",
        ] {
            assert!(!wants_representation(&[text.as_bytes()]), "{text}");
        }
        assert!(wants_representation(&[b"wait=1", b"return=representation"]));
        assert!(!wants_representation(&[]));
    }

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

    #[test]
    fn queries_are_decoded() {
        assert_eq!(
            read_query("a=1&b=%C3%A4+x&c&&d=%26%3d").unwrap(),
            [("a", "1"), ("b", "ä x"), ("c", ""), ("d", "&=")].map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff", "%c3=1"] {
            assert!(read_query(query).is_err(), "{query}");
        }
        assert_eq!(decode("a+b", Plus::Literal).unwrap(), "a+b");
    }

    proptest! {
        #[test]
        fn reading_headers_and_targets_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), text in ".{0,64}") {
            let _ = if_match(&[&bytes]);
            let _ = idempotency_key(&[&bytes]);
            let _ = is_json(&[&bytes]);
            let _ = wants_representation(&[&bytes]);
            let _ = read_query(&text);
        }
    }
}
