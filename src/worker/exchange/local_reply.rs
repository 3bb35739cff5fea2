//! Local replies: responses that ringway gives itself, without an endpoint.
//!
//! Errors are JSON for programs, HTML for browsers, and a trailers-only response for gRPC. Redirects,
//! challenges, the public health path and replies of middlewares are made of the same parts: status, fields,
//! content.

use std::borrow::Cow;

use ringway_middleware::{self as middleware, BodyTransforms, Edits, ReplyBody, ResponseHeadView};
use ringway_model::{FixedResponse, Timestamp};
use ringway_wire::h1::RequestHead;
use ringway_wire::headers::is_field_value;
use ringway_wire::message::{Method, Version};

use crate::exchange::disposition::Disposition;
use crate::exchange::grpc;

/// A response of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalReply<'a> {
    status: u16,
    /// Field lines behind the usual ones, each with its CRLF.
    fields: Vec<u8>,
    content: Content<'a>,
    disposition: Disposition,
}

/// Content of a local reply.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content<'a> {
    /// None, with `Content-Length: 0`.
    Empty,
    /// An error, in the format that the client accepts.
    Error { code: &'static str, message: Cow<'a, str>, grpc: grpc::Status, limit: Option<LimitedBy<'a>> },
    /// Exactly these bytes.
    Text { media_type: &'static str, text: Cow<'a, str> },
    /// Exactly these bytes of a stage or a rule, which says in a field of its own what they are.
    Bytes(Cow<'a, [u8]>),
}

/// Limit that refused a request, named in its reply and in the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitedBy<'a> {
    /// Name of the policy that sets the limit, or of the route where the limit stands in place.
    pub(crate) policy: &'a str,
    /// The limit in words: `100 per second, burst 20`.
    pub(crate) limit: &'a str,
}

/// Properties of the request that decide the form of a local reply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplyOptions {
    /// The request was HEAD: the response has no content.
    pub(crate) is_head: bool,
    /// The client is a browser.
    pub(crate) wants_html: bool,
    /// The request is a call of gRPC.
    pub(crate) is_grpc: bool,
    /// The client speaks HTTP/1.0 and asked to keep the connection.
    pub(crate) keep_alive_1_0: bool,
    /// The connection ends after the response.
    pub(crate) close: bool,
}

/// A local reply as it was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// Status on the wire: 200 for every error of a gRPC call.
    pub(crate) status: u16,
    /// Length of the content.
    pub(crate) body_bytes: usize,
}

/// Replies that follow from the configuration.
impl<'a> LocalReply<'a> {
    /// The method is not served: TRACE and CONNECT.
    pub(crate) fn method_not_allowed() -> Self {
        Self::error(405, "method_not_allowed", "this method is not served here").closing()
    }

    /// The host is not registered.
    pub(crate) fn unknown_host() -> Self {
        Self::error(404, "unknown_host", "no app is registered for this domain")
    }

    /// No rule of the host matches the request.
    pub(crate) fn no_route() -> Self {
        Self::error(404, "no_route", "no route of this domain matches the request")
    }

    /// The rule needs a client certificate, and the client has presented none.
    pub(crate) fn client_certificate_required() -> Self {
        Self::error(403, "client_certificate_required", "this path needs a client certificate")
    }

    /// The rule admits no WebSockets.
    pub(crate) fn websocket_forbidden() -> Self {
        Self::error(403, "websocket_forbidden", "WebSockets are not served at this path")
    }

    /// The domain is not served on this connection: it was made for another, or lacks the client certificate.
    pub(crate) fn misdirected() -> Self {
        Self::error(421, "misdirected", "this domain is not served on this connection; make a new one")
    }

    /// The domain, or this listener, serves nothing but challenges without TLS.
    pub(crate) fn https_only() -> Self {
        Self::error(421, "https_only", "this domain is served over https only")
    }

    /// No certificate order has a challenge of this token.
    pub(crate) fn unknown_challenge() -> Self {
        Self::error(404, "unknown_challenge", "there is no such challenge")
    }

    /// Forwarding loop seen in `Via`.
    pub(crate) fn loop_detected() -> Self {
        Self::error(
            508,
            "loop_detected",
            "the request came back here again and again: a target of this domain's app leads to this proxy",
        )
    }

    /// Nothing that is stored answers the request, and the client wants no other answer (RFC 9111 §5.2.1.7).
    pub(crate) fn only_if_cached() -> Self {
        Self::error(
            504,
            "only_if_cached",
            "nothing is stored that answers this request, which asks for stored responses only",
        )
    }

    /// A request stage waited longer than the rule allows for a response head.
    pub(crate) fn middleware_timeout() -> Self {
        Self::error(504, "middleware_timeout", "a middleware did not decide on the request in time")
    }

    /// No route of a script is for this method.
    #[cfg(feature = "lua")]
    pub(crate) fn other_method(allowed: &str) -> Self {
        let text = "no route of this path is for this method";
        let grpc = grpc::Status::of_http(405);
        let content = Content::Error { code: "method_not_allowed", message: text.into(), grpc, limit: None };
        Self::new(405, content).with_field("Allow", allowed.as_bytes())
    }

    /// A script raised an error, or a limit stopped it.
    #[cfg(feature = "lua")]
    pub(crate) fn script_failed() -> Self {
        Self::error(500, "script_failed", "a script failed; the request's id leads to the line of the log")
    }

    /// Too many calls of scripts wait on this core.
    #[cfg(feature = "lua")]
    pub(crate) fn script_busy() -> Self {
        Self::error(503, "script_busy", "too many requests wait for scripts").with_field("Retry-After", b"1")
    }

    /// The circuit breaker of a script is open.
    #[cfg(feature = "lua")]
    pub(crate) fn script_unavailable(wait: std::time::Duration) -> Self {
        let seconds = wait.as_secs().max(1).to_string();
        Self::error(503, "script_unavailable", "a script failed again and again and rests for a while")
            .with_field("Retry-After", seconds.as_bytes())
    }

    /// The reply of a stage.
    pub(crate) fn of_stage(reply: middleware::LocalReply) -> Self {
        let mut own = match reply.body() {
            ReplyBody::Error { code, message } => Self::error(reply.status(), code, message.clone()),
            ReplyBody::Bytes(bytes) => Self::new(reply.status(), Content::Bytes(bytes.clone())),
        };
        own.fields.extend_from_slice(reply.lines());
        own
    }

    /// Key authorization of a challenge (RFC 8555 §8.3).
    pub(crate) fn challenge(authorization: &'a str) -> Self {
        Self::new(200, Content::Text { media_type: "application/octet-stream", text: authorization.into() })
    }

    /// The response of a rule.
    pub(crate) fn fixed(response: &'a FixedResponse) -> Self {
        let reply = Self::new(response.status, Content::Bytes(response.body.as_bytes().into()));
        match is_field_value(response.content_type.as_bytes()) && !response.content_type.is_empty() {
            true => reply.with_field("Content-Type", response.content_type.as_bytes()),
            false => reply,
        }
    }

    /// A redirect to `location`.
    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        Self::new(status, Content::Empty).with_field("Location", location.as_bytes())
    }

    /// Methods that are served: for an OPTIONS whose `Max-Forwards` is used up.
    pub(crate) fn methods() -> Self {
        Self::new(200, Content::Empty).with_field("Allow", METHODS)
    }

    /// Health of this process: 503 while it drains.
    pub(crate) fn health(is_draining: bool) -> Self {
        let (status, text) = if is_draining { (503, "draining") } else { (200, "ok") };
        Self::new(status, Content::Text { media_type: "text/plain", text: text.into() })
    }

    /// An error with its code and a text for people.
    pub(crate) fn error(status: u16, code: &'static str, message: impl Into<Cow<'a, str>>) -> Self {
        let grpc = grpc::Status::of_http(status);
        let reply = Self::new(status, Content::Error { code, message: message.into(), grpc, limit: None });
        match status {
            405 => reply.with_field("Allow", METHODS),
            426 => reply.with_field("Sec-WebSocket-Version", b"13"),
            _ => reply,
        }
    }

    fn new(status: u16, content: Content<'a>) -> Self {
        Self { status, fields: Vec::new(), content, disposition: Disposition::Keep }
    }

    /// The same, and the client connection is closed after it.
    pub(crate) fn closing(self) -> Self {
        self.with_disposition(Disposition::Close)
    }

    /// The same with this handling of the client connection.
    pub(crate) fn with_disposition(self, disposition: Disposition) -> Self {
        Self { disposition, ..self }
    }

    /// The same with a field added. Name and value must be valid in a head.
    pub(crate) fn with_field(mut self, name: &str, value: &[u8]) -> Self {
        push_field(&mut self.fields, name, value);
        self
    }

    /// The same with the field lines that `push` appends, which must be valid in a head.
    pub(crate) fn with_lines(mut self, push: impl FnOnce(&mut Vec<u8>)) -> Self {
        push(&mut self.fields);
        self
    }

    /// The same with another status for calls of gRPC.
    pub(crate) fn with_grpc_status(mut self, status: grpc::Status) -> Self {
        if let Content::Error { grpc, .. } = &mut self.content {
            *grpc = status;
        }
        self
    }

    /// The same, and an error names the limit that caused it.
    pub(crate) fn with_limit(mut self, by: LimitedBy<'a>) -> Self {
        if let Content::Error { limit, .. } = &mut self.content {
            *limit = Some(by);
        }
        self
    }

    /// Status over HTTP.
    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// Its head for response stages: the fields behind the usual ones.
    pub(crate) fn head(&self) -> ResponseHeadView<'_> {
        ResponseHeadView::Local { status: self.status, lines: &self.fields, is_error: self.code().is_some() }
    }

    /// Code of an error.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self.content {
            Content::Error { code, .. } => Some(code),
            Content::Empty | Content::Text { .. } | Content::Bytes(_) => None,
        }
    }

    /// Handling of the client connection after the reply.
    pub(crate) fn disposition(&self) -> Disposition {
        self.disposition
    }

    /// Appends the whole response to `out`. Header and content of an error have `request_id`, so that a
    /// user's report leads to the log line.
    pub(crate) fn encode(
        &self,
        out: &mut Vec<u8>,
        options: &ReplyOptions,
        request_id: &str,
        now: Timestamp,
        stages: Option<(&Edits, &mut BodyTransforms)>,
    ) -> Encoded {
        let (mut status, mut fields) = (self.status, Cow::Borrowed(self.fields.as_slice()));
        let mut body = Vec::with_capacity(512);
        let media_type: &[u8] = match &self.content {
            Content::Empty => b"",
            Content::Text { media_type, text } => {
                body.extend_from_slice(text.as_bytes());
                media_type.as_bytes()
            }
            Content::Bytes(bytes) => {
                body.extend_from_slice(bytes);
                b""
            }
            Content::Error { message, grpc, limit, .. } if options.is_grpc => {
                status = 200;
                let mut trailers = Vec::new();
                push_field(&mut trailers, "grpc-status", (*grpc as u8).to_string().as_bytes());
                let message = match limit {
                    Some(by) => Cow::Owned(format!("{message} ({})", by.words())),
                    None => Cow::Borrowed(&**message),
                };
                push_field(&mut trailers, "grpc-message", grpc::percent_encoded(&message).as_bytes());
                fields = trailers.into();
                grpc::MEDIA_TYPE
            }
            Content::Error { message, limit, .. } if options.wants_html => {
                html(&mut body, status, message, *limit, request_id);
                b"text/html; charset=utf-8"
            }
            Content::Error { code, message, limit, .. } => {
                json(&mut body, code, message, *limit, request_id, now);
                b"application/json"
            }
        };
        let edits = stages.map(|(edits, transforms)| {
            transform(transforms, &mut body);
            edits
        });
        let (reason, date) = (ringway_wire::message::reason_phrase(status), now.to_http_date());
        out.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
        let fields_at = out.len();
        push_field(out, "Date", date.as_bytes());
        if !media_type.is_empty() {
            push_field(out, "Content-Type", media_type);
        }
        // RFC 9110 §8.6 and §15.4.5: neither has content, and a 204 has no length either.
        if matches!(status, 204 | 304) {
            body.clear();
        } else {
            push_field(out, "Content-Length", body.len().to_string().as_bytes());
        }
        if !matches!(self.content, Content::Bytes(_)) {
            push_field(out, "Cache-Control", b"no-store");
        }
        push_field(out, "X-Request-ID", request_id.as_bytes());
        out.extend_from_slice(&fields);
        if let Some(edits) = edits.filter(|edits| !edits.is_empty()) {
            let mut lines = out.split_off(fields_at);
            edits.apply(&mut lines);
            out.append(&mut lines);
        }
        if options.close {
            push_field(out, "Connection", b"close");
        } else if options.keep_alive_1_0 {
            push_field(out, "Connection", b"keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        if options.is_head {
            body.clear();
        }
        out.extend_from_slice(&body);
        Encoded { status, body_bytes: body.len() }
    }
}

impl LimitedBy<'_> {
    /// Policy and limit in one phrase.
    fn words(self) -> String {
        format!("{}: {}", self.policy, self.limit)
    }
}

impl ReplyOptions {
    /// Of a request whose head may be incomplete; `keep` says whether its connection stays.
    pub(crate) fn of(request: &RequestHead, client_in: &[u8], is_grpc: bool, keep: bool) -> Self {
        let complete = request.is_complete();
        Self {
            is_head: complete && request.method() == Method::Head,
            wants_html: complete && request.accepts_html(client_in),
            is_grpc: is_grpc || complete && grpc::is_call(request, client_in),
            keep_alive_1_0: keep && request.version() == Version::Http10,
            close: !keep,
        }
    }
}

/// Passes a whole body through transforms. One that is not passed on becomes empty.
fn transform(transforms: &mut BodyTransforms, body: &mut Vec<u8>) {
    if transforms.is_empty() || body.is_empty() {
        return;
    }
    let mut transformed = Vec::new();
    let passed =
        transforms.on_data(body, &mut transformed).and_then(|()| transforms.on_end(&mut transformed));
    if passed.is_err() {
        transformed.clear();
    }
    *body = transformed;
}

/// Value of `Allow`.
const METHODS: &[u8] = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

fn push_field(lines: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        lines.extend_from_slice(part);
    }
}

fn json(
    body: &mut Vec<u8>,
    code: &str,
    message: &str,
    limit: Option<LimitedBy<'_>>,
    request_id: &str,
    now: Timestamp,
) {
    // Codes are ours and ids are validated: neither has a character that JSON would escape.
    body.extend_from_slice(b"{\"error\":{\"code\":\"");
    body.extend_from_slice(code.as_bytes());
    body.extend_from_slice(b"\",\"message\":\"");
    escape_json(body, message);
    if let Some(by) = limit {
        body.extend_from_slice(b"\",\"policy\":\"");
        escape_json(body, by.policy);
        body.extend_from_slice(b"\",\"limit\":\"");
        escape_json(body, by.limit);
    }
    body.extend_from_slice(b"\",\"request_id\":\"");
    body.extend_from_slice(request_id.as_bytes());
    body.extend_from_slice(b"\",\"timestamp\":\"");
    body.extend_from_slice(now.to_rfc3339().as_bytes());
    body.extend_from_slice(b"\"}}\n");
}

/// Messages are ours too, but some quote a part of the request.
fn escape_json(body: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' => body.extend_from_slice(&[b'\\', c as u8]),
            c if c.is_control() => body.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => body.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn html(body: &mut Vec<u8>, status: u16, message: &str, limit: Option<LimitedBy<'_>>, request_id: &str) {
    let reason = ringway_wire::message::reason_phrase(status);
    let limit = limit.map(|by| format!("<p><small>{}</small></p>", escaped_html(&by.words())));
    body.extend_from_slice(
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{status} {reason}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:18vh auto;padding:0 1.5em;color:#222}}\
             h1{{font-size:1.6em;margin:0 0 .4em}}p{{margin:.4em 0}}small{{color:#777}}\
             @media(prefers-color-scheme:dark){{body{{background:#181818;color:#ddd}}}}</style></head>\n\
             <body><h1>{status} {reason}</h1><p>{message}.</p>{limit}<p><small>Request {request_id}</small></p></body></html>\n",
            message = escaped_html(&capitalised(message)),
            limit = limit.unwrap_or_default(),
        )
        .as_bytes(),
    );
}

fn escaped_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::failure::Failure;
    use ringway_traffic::balance::Unavailable;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp(784_111_777_000);
    const PLAIN: ReplyOptions = ReplyOptions {
        is_head: false,
        wants_html: false,
        is_grpc: false,
        keep_alive_1_0: false,
        close: false,
    };

    fn text(reply: &LocalReply<'_>, options: &ReplyOptions) -> String {
        let mut out = Vec::new();
        reply.encode(&mut out, options, "id1", NOW, None);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn programs_get_json() {
        let body = "{\"error\":{\"code\":\"unknown_host\",\"message\":\"no app is registered for this domain\",\
                    \"request_id\":\"id1\",\"timestamp\":\"1994-11-06T08:49:37Z\"}}\n";
        assert_eq!(
            text(&LocalReply::unknown_host(), &PLAIN),
            format!(
                "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nCache-Control: no-store\r\nX-Request-ID: id1\r\n\r\n{body}",
                body.len()
            )
        );
    }

    #[test]
    fn browsers_get_a_page_and_head_gets_no_body() {
        let page = text(&LocalReply::unknown_host(), &ReplyOptions { wants_html: true, ..PLAIN });
        assert!(
            page.contains("Content-Type: text/html") && page.contains("<h1>404 Not Found</h1>"),
            "{page}"
        );
        let head = text(&LocalReply::unknown_host(), &ReplyOptions { is_head: true, close: true, ..PLAIN });
        assert!(head.ends_with("Connection: close\r\n\r\n") && !head.contains("Content-Length: 0"), "{head}");
    }

    #[test]
    fn a_redirect_has_a_location_and_a_challenge_is_exact() {
        let redirect = text(&LocalReply::redirect(308, "https://a.example/x?y"), &PLAIN);
        assert!(redirect.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{redirect}");
        assert!(redirect.contains("\r\nContent-Length: 0\r\n"), "{redirect}");
        assert!(redirect.ends_with("\r\nLocation: https://a.example/x?y\r\n\r\n"), "{redirect}");
        let challenge = text(&LocalReply::challenge("a.b"), &PLAIN);
        assert!(
            challenge.contains("Content-Length: 3\r\n") && challenge.ends_with("\r\n\r\na.b"),
            "{challenge}"
        );
    }

    #[test]
    fn an_error_of_a_grpc_call_is_trailers_only() {
        let mut out = Vec::new();
        let reply = LocalReply::error(503, "x", "100 % down").with_field("Retry-After", b"1");
        let options = ReplyOptions { is_grpc: true, ..PLAIN };
        let encoded = reply.encode(&mut out, &options, "id1", NOW, None);
        assert_eq!(encoded, Encoded { status: 200, body_bytes: 0 });
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n"), "{text}");
        assert!(
            text.ends_with("X-Request-ID: id1\r\ngrpc-status: 14\r\ngrpc-message: 100 %25 down\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn a_refusal_names_policy_and_limit_in_each_form() {
        let by = LimitedBy { policy: "strict", limit: "100 per second, burst <20>" };
        let reply = LocalReply::error(429, "rate_limited", "too many requests").with_limit(by);
        let json = text(&reply, &PLAIN);
        assert!(
            json.contains(
                "\"message\":\"too many requests\",\"policy\":\"strict\",\
                 \"limit\":\"100 per second, burst <20>\",\"request_id\":\"id1\""
            ),
            "{json}"
        );
        let html = text(&reply, &ReplyOptions { wants_html: true, ..PLAIN });
        assert!(html.contains("<p><small>strict: 100 per second, burst &lt;20></small></p>"), "{html}");
        let grpc = text(&reply, &ReplyOptions { is_grpc: true, ..PLAIN });
        assert!(
            grpc.contains("grpc-message: too many requests (strict: 100 per second, burst <20>)"),
            "{grpc}"
        );
    }

    #[test]
    fn an_open_circuit_is_named_in_fields() {
        let retry_after = Duration::from_millis(29_001);
        let failure = Failure::Unavailable(Unavailable::BreakersOpen { retry_after });
        let response = text(&failure.reply(502).expect("a reply"), &PLAIN);
        assert!(response.contains("\r\nRetry-After: 30\r\nX-Proxy-Circuit-Open: true\r\n"), "{response}");
    }

    #[test]
    fn refusals_by_configuration_have_their_statuses() {
        for (reply, status, disposition) in [
            (LocalReply::method_not_allowed(), 405, Disposition::Close),
            (LocalReply::unknown_host(), 404, Disposition::Keep),
            (LocalReply::no_route(), 404, Disposition::Keep),
            (LocalReply::client_certificate_required(), 403, Disposition::Keep),
            (LocalReply::websocket_forbidden(), 403, Disposition::Keep),
            (LocalReply::misdirected(), 421, Disposition::Keep),
            (LocalReply::https_only(), 421, Disposition::Keep),
            (LocalReply::unknown_challenge(), 404, Disposition::Keep),
            (LocalReply::loop_detected(), 508, Disposition::Keep),
            (LocalReply::of_stage(middleware::LocalReply::error(403)), 403, Disposition::Keep),
        ] {
            assert_eq!((reply.status(), reply.disposition()), (status, disposition), "{reply:?}");
        }
    }

    #[test]
    fn a_stage_decides_about_fields_and_body_of_its_reply_and_of_others() {
        let stage = middleware::LocalReply::new(203, &b"hello"[..]).with_field("X-Own", b"1").unwrap();
        assert_eq!(
            text(&LocalReply::of_stage(stage), &PLAIN),
            "HTTP/1.1 203 Non-Authoritative Information\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Length: 5\r\nX-Request-ID: id1\r\nX-Own: 1\r\n\r\nhello"
        );
        let (mut edits, mut out) = (Edits::default(), Vec::new());
        edits.set("Cache-Control", b"private").unwrap();
        edits.remove("Content-Length");
        LocalReply::unknown_host().encode(
            &mut out,
            &PLAIN,
            "id1",
            NOW,
            Some((&edits, &mut BodyTransforms::default())),
        );
        let edited = String::from_utf8_lossy(&out).into_owned();
        assert!(edited.contains("\r\nContent-Length: ") && !edited.contains("no-store"), "{edited}");
        assert!(edited.contains("\r\nX-Request-ID: id1\r\nCache-Control: private\r\n\r\n{"), "{edited}");
    }

    #[test]
    fn a_fixed_response_has_its_type_and_no_field_of_an_error() {
        let response = |status, body: &str| FixedResponse {
            status,
            content_type: "text/plain".into(),
            body: body.into(),
        };
        let ok = response(200, "hello");
        assert_eq!(
            text(&LocalReply::fixed(&ok), &PLAIN),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\
             X-Request-ID: id1\r\nContent-Type: text/plain\r\n\r\nhello"
        );
        let empty = response(204, "ignored");
        let empty = text(&LocalReply::fixed(&empty), &PLAIN);
        assert!(!empty.contains("Content-Length") && empty.ends_with("\r\n\r\n"), "{empty}");
        let evil = FixedResponse { content_type: "a\r\nX-Evil: 1".into(), ..ok };
        assert!(!text(&LocalReply::fixed(&evil), &PLAIN).contains("X-Evil"));
    }

    #[test]
    fn a_method_that_is_refused_is_answered_with_those_that_are_not() {
        let response = text(&LocalReply::method_not_allowed(), &PLAIN);
        assert!(response.contains("\r\nAllow: GET, HEAD, POST"), "{response}");
    }
}
