//! Filters over HTTP: one GET for each decision.

use std::net::IpAddr;
use std::sync::Arc;

use ringway_model::{Direction, ExternalFilter};
use ringway_wire::h1;
use ringway_wire::headers::push_field;

use super::grant::Action;
use super::{ClientKind, Content, Decision, Grant, Reason, denial, denial_of, sent_fields};
use crate::request::RequestCtx;
use crate::services::{CallKind, CallResponse, PartialResponse};

/// The request to the service.
pub(super) fn content<'a>(filter: &ExternalFilter, path: &'a str, request: &RequestCtx<'_>) -> Content<'a> {
    let mut lines = Vec::with_capacity(512);
    let mut push = |name: &str, value: &[u8]| {
        // All of them stand in the head of the request already, or are made of its valid parts.
        let _ = push_field(&mut lines, name, value);
    };
    for (name, value) in own_fields(request) {
        push(name, value.as_bytes());
    }
    for (name, value) in sent_fields(filter, request) {
        let is_sent = match filter.send.is_empty() {
            true => !is_of_representation(name),
            // The content of a denial goes to the client without its coding.
            false => !name.eq_ignore_ascii_case("accept-encoding"),
        };
        if is_sent {
            push(name, value);
        }
    }
    Content { kind: CallKind::Http { method: "GET", path }, lines, body: Vec::new() }
}

/// The fields about the request itself.
pub(super) fn own_fields(request: &RequestCtx<'_>) -> [(&'static str, String); 5] {
    let head = request.view.head();
    [
        ("X-Forwarded-Method", request.method().to_owned()),
        ("X-Forwarded-Proto", request.view.scheme().to_owned()),
        ("X-Forwarded-Host", head.authority().to_string()),
        ("X-Forwarded-Uri", head.path_and_query(request.view.buf()).to_owned()),
        ("X-Forwarded-For", IpAddr::to_string(&request.client())),
    ]
}

/// Whether a field is about the content, or the state of it that the client has: it would change the response
/// of the service, which has another content.
fn is_of_representation(name: &str) -> bool {
    let begins =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    begins("content-")
        || begins("if-")
        || ["range", "accept-encoding"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The decision of a response.
pub(super) fn decision(
    filter: &ExternalFilter,
    response: CallResponse,
    client: ClientKind,
) -> Result<Decision, Reason> {
    let fields = h1::field_lines(&response.lines)
        .filter_map(|field| Some((std::str::from_utf8(field.name).ok()?, field.value)));
    match response.status {
        200..=299 => {
            let mut grant = Grant::default();
            // Those that it does not set are no longer of earlier stages either.
            for asserted in &filter.asserts {
                grant.push(Direction::Request, Action::Remove, asserted, b"")?;
            }
            for (name, value) in fields {
                if let Some(asserted) = filter.asserts.iter().find(|known| known.eq_ignore_ascii_case(name)) {
                    grant.push(Direction::Request, Action::Append, asserted, value)?;
                }
            }
            Ok(Decision::Allowed(Arc::new(grant)))
        }
        status if denies(status) => {
            let is_listed = |name: &str| DENIAL_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name));
            let listed = fields.filter(|(name, _)| is_listed(name));
            Ok(Decision::Denied(denial(status, response.body, listed, client)))
        }
        _ => Err("status"),
    }
}

/// The decision of a response that is not whole: a denial, for its status has denied the request. Its content
/// is not sent on.
pub(super) fn partial_decision(partial: &PartialResponse, client: ClientKind) -> Option<Decision> {
    denies(partial.status).then(|| denial_of(partial.status, client))
}

/// Whether a status denies the request. A 304 is about content that the client has, and says nothing.
fn denies(status: u16) -> bool {
    matches!(status, 300..=499) && status != 304
}

/// Fields of a denial that the client gets.
const DENIAL_FIELDS: [&str; 6] =
    ["WWW-Authenticate", "Location", "Set-Cookie", "Content-Type", "Cache-Control", "Retry-After"];
