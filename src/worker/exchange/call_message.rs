//! Calls of stages as messages of HTTP/1.1, and the responses to them; HTTP/2 is translated where they are
//! sent.
//!
//! A unary call of gRPC is a POST with one message behind a prefix of five bytes, and succeeds by its
//! trailers alone: `grpc-status: 0`.

use std::io::Write as _;

use ringway_middleware::{Call, CallError, CallKind, CallResponse, PartialResponse};
use ringway_wire::h1::{self, Parse, RequestHead};
use ringway_wire::headers::{FieldKind, HOP_BY_HOP};
use ringway_wire::message::{Framing, Method};

use crate::exchange::grpc;
use crate::upstream::ReceivedResponse;

/// Method of a call.
pub(super) fn method_of(kind: CallKind<'_>) -> Method {
    match kind {
        CallKind::Http { method, .. } => Method::from_bytes(method.as_bytes()),
        CallKind::Grpc { .. } => Method::Post,
    }
}

/// The request: head and content in one piece. `None` for one that would be another message than its caller
/// means: the strict parser judges it as that of a client.
pub(super) fn encode(call: &Call<'_>, authority: &str) -> Option<Vec<u8>> {
    let Call { kind, lines, body, .. } = *call;
    let (method, path) = match kind {
        CallKind::Http { method, path } => (method, path),
        CallKind::Grpc { path } => ("POST", path),
    };
    let length = match kind {
        CallKind::Http { .. } => body.len(),
        CallKind::Grpc { .. } => body.len() + MESSAGE_PREFIX_BYTES,
    };
    let mut out = Vec::with_capacity(lines.len() + length + path.len() + OWN_LINES_BYTES);
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{method} {path} HTTP/1.1\r\nHost: {authority}\r\n");
    out.extend_from_slice(lines);
    if let CallKind::Grpc { .. } = kind {
        let timeout = call.timeout.as_millis().min(TIMEOUT_MS_MAX);
        let _ = write!(
            out,
            "Content-Type: application/grpc\r\ngrpc-timeout: {timeout}m\r\nTE: trailers\r\nConnection: TE\r\n"
        );
    }
    if length > 0 || !matches!(method_of(kind), Method::Get | Method::Head) {
        let _ = write!(out, "Content-Length: {length}\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !is_meant(&out, path, length) {
        return None;
    }
    if let CallKind::Grpc { .. } = kind {
        // Not compressed, and the length ("Length-Prefixed-Message" of gRPC over HTTP/2).
        out.push(0);
        out.extend_from_slice(&u32::try_from(body.len()).ok()?.to_be_bytes());
    }
    out.extend_from_slice(body);
    Some(out)
}

/// Whether a head is one request to this path, with so much content, and asks for nothing else.
fn is_meant(head: &[u8], path: &str, length: usize) -> bool {
    let mut parsed = RequestHead::default();
    let framing_is_meant = |framing| match framing {
        Framing::Empty => length == 0,
        Framing::Length(parsed) => parsed == length as u64,
        Framing::Chunked | Framing::UntilClose => false,
    };
    parsed.parse(head, &HEADS) == Ok(Parse::Complete)
        && parsed.len() == head.len()
        && parsed.method() != Method::Connect
        && parsed.target(head) == path
        && framing_is_meant(parsed.framing())
        && parsed.upgrade().is_none()
        && !parsed.expects_continue()
}

/// The whole response for the caller; of gRPC its message.
///
/// # Errors
/// It is none of gRPC, or of a call that failed.
pub(super) fn decode(kind: CallKind<'_>, response: &ReceivedResponse) -> Result<CallResponse, CallError> {
    let ReceivedResponse { head, head_bytes, data, trailers } = response;
    let (mut data, trailers) = (data.take(), trailers.take());
    if let CallKind::Grpc { .. } = kind {
        if !is_grpc(response) {
            return Err(CallError::Invalid);
        }
        // A call that failed at once has its status in the head, and neither content nor trailers.
        let in_head = head.field(head_bytes, GRPC_STATUS).filter(|_| trailers.is_empty());
        let in_trailers = h1::field_lines(&trailers)
            .filter(|field| field.name.eq_ignore_ascii_case(GRPC_STATUS.as_bytes()))
            .map(|field| field.value);
        let mut statuses = in_head.chain(in_trailers);
        match (statuses.next(), statuses.next()) {
            (Some(b"0"), None) => {}
            (Some(status), None) if is_status(status) => return Err(CallError::Status),
            _ => return Err(CallError::Invalid),
        }
        let (prefix, message) = data.split_first_chunk::<MESSAGE_PREFIX_BYTES>().ok_or(CallError::Invalid)?;
        let [0, length @ ..] = *prefix else { return Err(CallError::Invalid) };
        if u32::from_be_bytes(length) as usize != message.len() {
            return Err(CallError::Invalid);
        }
        data.drain(..MESSAGE_PREFIX_BYTES);
    }
    let mut lines = Vec::with_capacity(head.len());
    for field in head.fields(head_bytes).filter(|field| !HOP_BY_HOP.has(field.kind)) {
        for part in [field.name, b": ", field.value, b"\r\n"] {
            lines.extend_from_slice(part);
        }
    }
    Ok(CallResponse { status: head.status(), lines, body: data })
}

/// A response that did not come whole, for the caller; of gRPC what came of its message.
pub(super) fn decode_partial(kind: CallKind<'_>, response: &ReceivedResponse) -> Option<PartialResponse> {
    let mut content = response.data.take();
    if let CallKind::Grpc { .. } = kind {
        let (prefix, message) = content.split_first_chunk::<MESSAGE_PREFIX_BYTES>()?;
        let [0, length @ ..] = *prefix else { return None };
        if !is_grpc(response) {
            return None;
        }
        let length = message.len().min(u32::from_be_bytes(length) as usize);
        content.drain(..MESSAGE_PREFIX_BYTES);
        content.truncate(length);
    }
    Some(PartialResponse { status: response.head.status(), content })
}

/// Whether a response is one of gRPC, whatever the status of its call.
fn is_grpc(response: &ReceivedResponse) -> bool {
    let media_type = response.head.values(&response.head_bytes, FieldKind::ContentType).next();
    response.head.status() == 200 && media_type.is_some_and(|value| grpc::is_grpc(grpc::media_type(value)))
}

/// Most bytes of the content of a response.
pub(super) fn response_bytes_max(call: &Call<'_>) -> usize {
    let bytes_max = call.response_bytes_max.min(crate::limits::CALL_RESPONSE_BYTES_MAX);
    match call.kind {
        CallKind::Http { .. } => bytes_max,
        CallKind::Grpc { .. } => bytes_max + MESSAGE_PREFIX_BYTES,
    }
}

/// Whether it is the number of a status of gRPC.
fn is_status(value: &[u8]) -> bool {
    (1..=3).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// A byte for the compression, and four for the length of the message.
const MESSAGE_PREFIX_BYTES: usize = 5;
const GRPC_STATUS: &str = "grpc-status";
/// Eight digits (gRPC over HTTP/2, "Timeout").
const TIMEOUT_MS_MAX: u128 = 99_999_999;
/// Usual bytes of the request line and of the lines that are added.
const OWN_LINES_BYTES: usize = 256;
/// A request of ringway's own is not judged by its size.
const HEADS: h1::Limits =
    h1::Limits { uri_bytes_max: usize::MAX, head_bytes_max: usize::MAX, fields_max: 1_024 };

#[cfg(test)]
#[path = "call_message_tests.rs"]
mod tests;
