//! Filters over gRPC: `envoy.service.auth.v3.Authorization/Check`.

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message as _;
use ringway_model::{Direction, ExternalFilter};
use ringway_wire::message::{Framing, Version};

use super::grant::Action;
use super::messages::{
    Address, AppendAction, Attributes, BoolValue, CheckRequest, CheckResponse, Denied, HeaderOption, Http,
    Okay, Peer, Request, SocketAddress, Timestamp, Verdict,
};
use super::partial_message::PartialCheck;
use super::{
    ClientKind, Content, Decision, Grant, Reason, denial, denial_of, http, partial_message, sent_fields,
};
use crate::request::RequestCtx;
use crate::services::CallKind;

/// The request to the service.
pub(super) fn content<'a>(filter: &ExternalFilter, request: &RequestCtx<'_>) -> Content<'a> {
    let parts = &request.view.parts;
    let head = request.view.head();
    let client = request.client().to_string();
    let extensions =
        [("route", parts.route), ("app", parts.app), ("tenant", parts.tenant.unwrap_or_default())];
    let extensions = extensions.into_iter().filter(|(_, value)| !value.is_empty());
    let http = Http {
        id: parts.request_id.to_owned(),
        method: request.method().to_owned(),
        headers: headers(filter, request),
        path: head.path_and_query(request.view.buf()).to_owned(),
        host: head.authority().to_string(),
        scheme: request.view.scheme().to_owned(),
        size: match head.framing() {
            Framing::Empty => 0,
            Framing::Length(length) => i64::try_from(length).unwrap_or(i64::MAX),
            Framing::Chunked | Framing::UntilClose => -1,
        },
        protocol: match head.version() {
            Version::Http10 => "HTTP/1.0".to_owned(),
            Version::Http11 => "HTTP/1.1".to_owned(),
        },
    };
    let seconds = i64::try_from(request.services.now()).unwrap_or(0);
    let message = CheckRequest {
        attributes: Some(Attributes {
            source: Some(Peer {
                address: Some(Address { socket_address: Some(SocketAddress { address: client }) }),
                principal: parts.certificate.unwrap_or_default().to_owned(),
            }),
            request: Some(Request { time: Some(Timestamp { seconds }), http: Some(http) }),
            context_extensions: extensions.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }),
    };
    Content { kind: CallKind::Grpc { path: CHECK }, lines: Vec::new(), body: message.encode_to_vec() }
}

/// Fields of the request by name, in lower case, and Envoy's pseudo-fields beside them.
fn headers(filter: &ExternalFilter, request: &RequestCtx<'_>) -> HashMap<String, String> {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in sent_fields(filter, request) {
        let (name, value) = (name.to_ascii_lowercase(), String::from_utf8_lossy(value));
        // RFC 9110 §5.3, and RFC 6265 §5.4 for cookies.
        let separator = if name == "cookie" { "; " } else { "," };
        headers
            .entry(name)
            .and_modify(|known| {
                known.push_str(separator);
                known.push_str(&value);
            })
            .or_insert_with(|| value.into_owned());
    }
    let head = request.view.head();
    let pseudo = [
        (":method", request.method()),
        (":path", head.path_and_query(request.view.buf())),
        (":authority", &head.authority().to_string()),
        (":scheme", request.view.scheme()),
        ("x-request-id", request.view.parts.request_id),
    ];
    headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())));
    headers.extend(http::own_fields(request).map(|(name, value)| (name.to_ascii_lowercase(), value)));
    headers
}

/// The decision of a response's message.
pub(super) fn decision(
    filter: &ExternalFilter,
    message: &[u8],
    client: ClientKind,
) -> Result<Decision, Reason> {
    let response = CheckResponse::decode(message).map_err(|_| "invalid")?;
    // A server that leaves the status out has said nothing yet, unless it names the decision.
    let code = response.status.map(|status| status.code);
    match (code, response.verdict) {
        (_, Some(Verdict::Error(_))) => Err("error"),
        (Some(0) | None, Some(Verdict::Ok(okay))) => allowed(filter, &okay),
        (Some(0), None) => allowed(filter, &Okay::default()),
        // One says yes and the other no.
        (Some(0), Some(Verdict::Denied(_))) | (None, None) => Err("invalid"),
        (_, Some(Verdict::Denied(denied))) => Ok(Decision::Denied(denied_reply(denied, client))),
        (Some(_), None | Some(Verdict::Ok(_))) => {
            Ok(Decision::Denied(denied_reply(Denied::default(), client)))
        }
    }
}

/// The decision of a message that did not come whole, or whose call did not end: a denial, where that is
/// certain. Its fields and content are not sent on.
pub(super) fn partial_decision(message: &[u8], client: ClientKind) -> Option<Decision> {
    let PartialCheck { code, has_denied, has_error, denied_status } = partial_message::read(message);
    let is_denied = !has_error && code.map_or(has_denied, |code| code != 0);
    let status = denied_status.and_then(|status| u16::try_from(status).ok()).filter(is_denial);
    is_denied.then(|| denial_of(status.unwrap_or(DENIED_STATUS), client))
}

/// Edits of a request that is allowed.
fn allowed(filter: &ExternalFilter, okay: &Okay) -> Result<Decision, Reason> {
    let changes_query =
        !okay.query_parameters_to_set.is_empty() || !okay.query_parameters_to_remove.is_empty();
    if changes_query {
        return Err("invalid");
    }
    let mut grant = Grant::default();
    // Those that it does not set are no longer of earlier stages either.
    for asserted in &filter.asserts {
        grant.push(Direction::Request, Action::Remove, asserted, b"")?;
    }
    let mut removals = Grant::default();
    for name in &okay.headers_to_remove {
        removals.push(Direction::Request, Action::Remove, name, b"")?;
        grant.push(Direction::Request, Action::Remove, name, b"")?;
    }
    for option in &okay.headers {
        push(&mut grant, option, Direction::Request)?;
        // Kept by the one and removed by the other.
        if option.header.as_ref().is_some_and(|header| removals.edits_request_field(&header.key)) {
            return Err("invalid");
        }
    }
    for option in &okay.response_headers_to_add {
        push(&mut grant, option, Direction::Response)?;
    }
    Ok(Decision::Allowed(Arc::new(grant)))
}

/// Adds a field as its option says. Without a word about others of its name, it takes their place in the
/// request, and stands beside them in the response.
fn push(grant: &mut Grant, option: &HeaderOption, direction: Direction) -> Result<(), Reason> {
    let asked = AppendAction::try_from(option.append_action).map_err(|_| "invalid")?;
    let action = match (&option.append, asked, direction) {
        (Some(BoolValue { value: true }), _, _) => Action::Append,
        (Some(BoolValue { value: false }), _, _) => Action::Set,
        (None, AppendAction::AppendIfExistsOrAdd, Direction::Request) => Action::Set,
        (None, AppendAction::AppendIfExistsOrAdd, Direction::Response) => Action::Append,
        (None, AppendAction::AddIfAbsent, _) => Action::SetIfAbsent,
        (None, AppendAction::OverwriteIfExistsOrAdd, _) => Action::Set,
        (None, AppendAction::OverwriteIfExists, _) => Action::SetIfPresent,
    };
    let (name, value) = field(option).ok_or("invalid")?;
    grant.push(direction, action, name, value)
}

fn field(option: &HeaderOption) -> Option<(&str, &[u8])> {
    let header = option.header.as_ref()?;
    let value = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    Some((&header.key, value))
}

/// The reply of a denial: its status from 300 on, or 403.
fn denied_reply(denied: Denied, client: ClientKind) -> crate::LocalReply {
    let status = denied.status.and_then(|status| u16::try_from(status.code).ok());
    let status = status.filter(is_denial).unwrap_or(DENIED_STATUS);
    let fields = denied.headers.iter().filter_map(field);
    let fields = fields.filter(|(name, _)| !Direction::Response.protects(name));
    denial(status, denied.body.into_bytes(), fields, client)
}

/// Whether a denial may have this status.
fn is_denial(status: &u16) -> bool {
    (300..=599).contains(status)
}

/// Status of a denial that names none.
const DENIED_STATUS: u16 = 403;
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
