//! Translation of heads between HTTP/2 and the text of HTTP/1.1 (RFC 9113 §8.3).
//!
//! The strict parser of HTTP/1.1 validates the text like that of any client. Checks that the text cannot show
//! are here: pseudo-fields, connection-specific fields of HTTP/1, and bytes that would end a line early.
//!
//! The `h2` crate checks the order and uniqueness of pseudo-fields, lower-case names, values without line
//! ends, and that DATA match a `content-length`; it refuses connection-specific fields. It removes the
//! fragment of a `:path`, and does not show the `:scheme` of a request without `:authority`.

use crate::limits;
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri};
use ringway_wire::h1::{Field, HeadFault, RequestError, RequestHead};
use ringway_wire::headers::{FieldKind, HOP_BY_HOP, push_field};
use ringway_wire::message::Method;
use ringway_wire::normalize::Authority;

/// State of a body when its head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// No body.
    None,
    /// Complete, with this length and without trailers.
    Whole(usize),
    /// Not complete yet.
    Coming,
}

/// Coding of DATA in the text of HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Plain: no body, a declared length, or a tunnel.
    Plain,
    /// Chunked.
    Chunks,
}

/// Writes a request to `out`. `scheme` is that of the connection; the key of a WebSocket is derived from
/// `nonce`.
///
/// # Errors
/// Error of a malformed request (RFC 9113 §8.1.1); `out` may hold a part of it.
pub(crate) fn write(
    out: &mut Vec<u8>,
    request: &Parts,
    body: Body,
    scheme: &str,
    nonce: u64,
) -> Result<Coding, RequestError> {
    // Each crumb of a cookie counts as a field (RFC 9113 §8.2.3): joining them must not bypass the limit.
    if request.headers.len() > limits::H2_FIELDS_MAX {
        return Err(HeadFault::TooManyFields.into());
    }
    // RFC 9113 §8.3.1: the scheme must be that of the connection.
    if request.uri.scheme_str().is_some_and(|named| !named.eq_ignore_ascii_case(scheme)) {
        return Err(RequestError::UnsupportedScheme);
    }
    let is_websocket = is_websocket(request);
    write_request_line(out, request, is_websocket)?;
    write_host(out, request)?;

    let mut crumbs = 0;
    let mut has_length = false;
    for (name, value) in &request.headers {
        let kind = FieldKind::of(name.as_str().as_bytes());
        match kind {
            FieldKind::Host => {}
            FieldKind::Cookie => crumbs += 1,
            // RFC 9113 §8.2.2.
            FieldKind::Connection
            | FieldKind::ProxyConnection
            | FieldKind::KeepAlive
            | FieldKind::Upgrade
            | FieldKind::Http2Settings => return Err(HeadFault::BadConnection.into()),
            FieldKind::TransferEncoding => return Err(HeadFault::BadTransferEncoding.into()),
            FieldKind::Te if value != "trailers" => return Err(HeadFault::BadConnection.into()),
            // RFC 8441 §5: there is no key; one is written below.
            FieldKind::SecWebSocketKey if is_websocket => {}
            FieldKind::SecWebSocketVersion if is_websocket && value == "13" => {}
            _ => {
                has_length |= kind == FieldKind::ContentLength;
                push(out, name.as_str(), value.as_bytes())?;
            }
        }
    }
    if crumbs > 0 {
        write_cookie(out, request)?;
    }
    let coding = if is_websocket {
        write_handshake(out, request, nonce);
        Coding::Plain
    } else {
        write_framing(out, request, body, has_length)
    };
    out.extend_from_slice(b"\r\n");
    Ok(coding)
}

/// Returns the declared length of a request's body. None for tunnels, which have no body; an invalid length
/// is refused elsewhere.
pub(crate) fn body_length(request: &Parts) -> Option<u64> {
    let declared = request.headers.get(http::header::CONTENT_LENGTH)?;
    let length = || declared.to_str().ok()?.parse().ok();
    if is_websocket(request) { None } else { length() }
}

/// Builds the pseudo-fields of a request, and `te: trailers`, from the text of an exchange.
pub(crate) fn request(head: &RequestHead, text: &[u8], scheme: &str) -> Option<Request<()>> {
    let path = head.path_and_query(text);
    // Characters that HTTP/1.1 allows and a URI does not are percent-encoded (RFC 3986 §2.1).
    let target = PathAndQuery::try_from(path).or_else(|_| {
        PathAndQuery::try_from(path.replace('<', "%3C").replace('>', "%3E").replace('`', "%60"))
    });
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(head.authority().to_string())
        .path_and_query(target.ok()?)
        .build()
        .ok()?;
    let mut request = Request::builder().method(head.method_str(text)).uri(uri).body(()).ok()?;
    if head.accepts_trailers(text) {
        request.headers_mut().insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Some(request)
}

/// Builds the fields of a head or of trailers, without connection-specific ones (RFC 9113 §8.2.2). `lines`
/// are slices of `bytes`.
pub(crate) fn fields<'a>(lines: impl Iterator<Item = Field<'a>>, bytes: &[u8]) -> HeaderMap {
    let shared = Bytes::copy_from_slice(bytes);
    let base = bytes.as_ptr() as usize;
    let mut map = HeaderMap::with_capacity(FIELDS_EXPECTED);
    for field in lines {
        // The response of a WebSocket handshake is a status here, and the host a pseudo-field.
        let is_told_otherwise = matches!(field.kind, FieldKind::SecWebSocketAccept | FieldKind::Host);
        if HOP_BY_HOP.has(field.kind) || is_told_otherwise {
            continue;
        }
        let start = field.value.as_ptr() as usize - base;
        let value = shared.slice(start..start + field.value.len());
        // Both were validated by the parser; fields that the types of the crate refuse are left out.
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(field.name), HeaderValue::from_maybe_shared(value))
        {
            let _ = map.try_append(name, value);
        }
    }
    map
}

/// Writes a response to `out`, for the parser of HTTP/1.1. `method` is that of the request.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    response: &http::response::Parts,
    body: Body,
    method: Method,
) -> Coding {
    let status = response.status.as_u16();
    let line = format!("HTTP/1.1 {status} {}\r\n", ringway_wire::message::reason_phrase(status));
    out.extend_from_slice(line.as_bytes());
    let mut has_length = false;
    for (name, value) in &response.headers {
        has_length |= name == http::header::CONTENT_LENGTH;
        // Fields that are invalid in HTTP/1.1 are left out; the crate refuses those that would end a line.
        let _ = push_field(out, name.as_str(), value.as_bytes().trim_ascii());
    }
    let has_body = method != Method::Head && status >= 200 && status != 204 && status != 304;
    let coding = match body {
        _ if has_length || !has_body => Coding::Plain,
        Body::None | Body::Whole(_) => {
            let bytes = if let Body::Whole(bytes) = body { bytes } else { 0 };
            out.extend_from_slice(format!("Content-Length: {bytes}\r\n").as_bytes());
            Coding::Plain
        }
        Body::Coming => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Coding::Chunks
        }
    };
    out.extend_from_slice(b"\r\n");
    coding
}

/// Whether a request is an extended CONNECT to a WebSocket, the opening handshake of RFC 8441 §4.
pub(crate) fn is_websocket(request: &Parts) -> bool {
    request.method == http::Method::CONNECT
        && request
            .extensions
            .get::<h2::ext::Protocol>()
            .is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Returns the method, as far as it decides about the response's framing.
pub(crate) fn method(request: &Parts) -> Method {
    if is_websocket(request) { Method::Get } else { Method::from_bytes(request.method.as_str().as_bytes()) }
}

fn write_request_line(out: &mut Vec<u8>, request: &Parts, is_websocket: bool) -> Result<(), RequestError> {
    let method = if is_websocket { "GET" } else { request.method.as_str() };
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    if method == "CONNECT" {
        // Refused later, whatever its target, which the parser requires.
        let authority = request.uri.authority().ok_or(RequestError::BadTarget)?;
        push_visible(out, authority.as_str())?;
    } else {
        let target = request.uri.path_and_query().ok_or(RequestError::BadTarget)?;
        // A missing target, or a fragment alone, is shown as `/`, but differs from it.
        let is_absent = target.as_str() == "/" && *target != PathAndQuery::from_static("/");
        // RFC 9113 §8.3.1: origin-form; any other form would be parsed as an absolute-form of another host.
        let is_target = target.as_str().starts_with('/') || method == "OPTIONS" && target == "*";
        if is_absent || !is_target {
            return Err(RequestError::BadTarget);
        }
        push_visible(out, target.as_str())?;
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    Ok(())
}

/// Writes `:authority` as `Host`; a `host` field must agree with it (RFC 9113 §8.3.1).
fn write_host(out: &mut Vec<u8>, request: &Parts) -> Result<(), RequestError> {
    let mut named = request.headers.get_all(http::header::HOST).iter();
    let (host, another) = (named.next(), named.next());
    if another.is_some() {
        return Err(RequestError::DuplicateHost);
    }
    let Some(authority) = request.uri.authority() else {
        return match host {
            Some(host) => push(out, "Host", host.as_bytes()),
            None => Err(RequestError::MissingHost),
        };
    };
    if let Some(host) = host {
        let normal = |text: &[u8]| Authority::parse(text).map_err(RequestError::BadHost);
        if normal(host.as_bytes())? != normal(authority.as_str().as_bytes())? {
            return Err(RequestError::DuplicateHost);
        }
    }
    push(out, "Host", authority.as_str().as_bytes())
}

/// Writes the crumbs of a cookie as one field, with empty ones (RFC 9113 §8.2.3).
fn write_cookie(out: &mut Vec<u8>, request: &Parts) -> Result<(), RequestError> {
    let mut cookie = Vec::new();
    for (index, crumb) in request.headers.get_all(http::header::COOKIE).iter().enumerate() {
        if index > 0 {
            cookie.extend_from_slice(b"; ");
        }
        cookie.extend_from_slice(crumb.as_bytes());
    }
    push(out, "cookie", &cookie)
}

fn write_framing(out: &mut Vec<u8>, request: &Parts, body: Body, has_length: bool) -> Coding {
    match body {
        // A declared length is among the fields; the parser checks it, and the crate that DATA match it.
        _ if has_length => {}
        // RFC 9110 §8.6: the app must not wait for a body where one is usual.
        Body::None
            if matches!(request.method, http::Method::POST | http::Method::PUT | http::Method::PATCH) =>
        {
            out.extend_from_slice(b"Content-Length: 0\r\n");
        }
        Body::None => {}
        Body::Whole(bytes) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(bytes.to_string().as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Body::Coming => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            return Coding::Chunks;
        }
    }
    Coding::Plain
}

fn write_handshake(out: &mut Vec<u8>, request: &Parts, nonce: u64) {
    out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ");
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = u128::from(nonce) | u128::from(nonce.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 64;
    // 16 bytes in 22 letters; the last has four spare bits (RFC 4648 §4).
    for _ in 0..21 {
        out.push(LETTERS[(bits & 0x3f) as usize]);
        bits >>= 6;
    }
    out.push(LETTERS[((bits & 0x3) << 4) as usize]);
    out.extend_from_slice(b"==\r\n");
    // Another version is among the fields, and is refused by the parser.
    let other_version =
        request.headers.get_all("sec-websocket-version").iter().any(|version| version != "13");
    if !other_version {
        out.extend_from_slice(b"Sec-WebSocket-Version: 13\r\n");
    }
}

/// Writes a field whose value cannot end its line early, and has no outer white space (RFC 9113 §8.2.1).
fn push(out: &mut Vec<u8>, name: &str, value: &[u8]) -> Result<(), RequestError> {
    push_field(out, name, value).map_err(|_| HeadFault::BadFieldValue.into())
}

/// Writes a part of the request line, which cannot end that part early.
fn push_visible(out: &mut Vec<u8>, text: &str) -> Result<(), RequestError> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(RequestError::BadTarget);
    }
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Fields of a usual response.
const FIELDS_EXPECTED: usize = 16;

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
