//! Answers that ringway gives itself: errors, as JSON for programs and as HTML for browsers; challenges; redirects.

use std::time::Duration;

use ringway_model::Timestamp;

use crate::exchange::failure::Consequence;
use crate::exchange::grpc;

/// What an answer depends on besides the failure.
pub(crate) struct Asked {
    /// The request was HEAD: the answer has no body.
    pub(crate) head: bool,
    /// The client is a browser.
    pub(crate) html: bool,
    /// The client speaks HTTP/1.0 and asked to keep the connection.
    pub(crate) keep_alive_1_0: bool,
    /// The connection ends after the answer.
    pub(crate) close: bool,
}

/// What is answered.
pub(crate) enum Answer<'a> {
    /// What went wrong.
    Failure(&'a Consequence),
    /// What went wrong, for a client of gRPC: the response is its trailers only.
    Call(grpc::Status, &'a str),
    /// Exactly these bytes, for a program.
    Text(&'a str),
    /// The same elsewhere.
    Elsewhere(&'a str),
    /// What may be asked here: an OPTIONS that goes no further.
    Methods,
    /// The health of this process, in a word.
    Health(&'a str),
}

/// Appends the whole answer to `out` and returns the length of its body. `request_id` is quoted in header and body of a
/// failure, so that a user's report leads to the log line.
pub(crate) fn write(
    out: &mut Vec<u8>,
    status: u16,
    answer: &Answer<'_>,
    asked: &Asked,
    request_id: &str,
    now: Timestamp,
) -> usize {
    let reason = ringway_wire::message::reason_phrase(status);
    let mut body = Vec::with_capacity(512);
    let media_type: &[u8] = match answer {
        Answer::Failure(consequence) if asked.html => {
            html(&mut body, status, reason, &consequence.message, request_id);
            b"text/html; charset=utf-8"
        }
        Answer::Failure(consequence) => {
            json(&mut body, consequence, request_id, now);
            b"application/json"
        }
        Answer::Text(text) => {
            body.extend_from_slice(text.as_bytes());
            b"application/octet-stream"
        }
        Answer::Health(word) => {
            body.extend_from_slice(word.as_bytes());
            b"text/plain"
        }
        Answer::Call(..) => grpc::MEDIA_TYPE,
        Answer::Elsewhere(_) | Answer::Methods => b"",
    };
    let date = now.to_http_date();
    out.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\nDate: {date}\r\n").as_bytes());
    let mut field = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    if !media_type.is_empty() {
        field("Content-Type", media_type);
    }
    field("Content-Length", body.len().to_string().as_bytes());
    field("Cache-Control", b"no-store");
    field("X-Request-ID", request_id.as_bytes());
    match answer {
        Answer::Failure(consequence) => {
            if let Some(after) = consequence.retry_after {
                field("Retry-After", seconds(after).to_string().as_bytes());
            }
            if consequence.circuit_open {
                field("X-Proxy-Circuit-Open", b"true");
            }
        }
        Answer::Call(status, message) => {
            field("grpc-status", (*status as u8).to_string().as_bytes());
            field("grpc-message", grpc::percent_encoded(message).as_bytes());
        }
        Answer::Elsewhere(location) => field("Location", location.as_bytes()),
        Answer::Methods => field("Allow", METHODS),
        Answer::Text(_) | Answer::Health(_) => {}
    }
    match status {
        405 => field("Allow", METHODS),
        426 => field("Sec-WebSocket-Version", b"13"),
        _ => {}
    }
    if asked.close {
        field("Connection", b"close");
    } else if asked.keep_alive_1_0 {
        field("Connection", b"keep-alive");
    }
    out.extend_from_slice(b"\r\n");
    if asked.head {
        return 0;
    }
    out.extend_from_slice(&body);
    body.len()
}

/// The value of `Allow`.
const METHODS: &[u8] = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";

fn json(body: &mut Vec<u8>, consequence: &Consequence, request_id: &str, now: Timestamp) {
    // Words are ours and ids are validated: neither has a character that JSON would escape.
    body.extend_from_slice(b"{\"error\":{\"code\":\"");
    body.extend_from_slice(consequence.word.as_bytes());
    body.extend_from_slice(b"\",\"message\":\"");
    escape_json(body, &consequence.message);
    body.extend_from_slice(b"\",\"request_id\":\"");
    body.extend_from_slice(request_id.as_bytes());
    body.extend_from_slice(b"\",\"timestamp\":\"");
    body.extend_from_slice(now.to_rfc3339().as_bytes());
    body.extend_from_slice(b"\"}}\n");
}

/// Messages are ours too, but some quote what was wrong.
fn escape_json(body: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' | '\\' => body.extend_from_slice(&[b'\\', c as u8]),
            c if c.is_control() => body.extend_from_slice(format!("\\u{:04x}", c as u32).as_bytes()),
            c => body.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn html(body: &mut Vec<u8>, status: u16, reason: &str, message: &str, request_id: &str) {
    body.extend_from_slice(
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>{status} {reason}</title>\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:34em;margin:18vh auto;padding:0 1.5em;color:#222}}\
             h1{{font-size:1.6em;margin:0 0 .4em}}p{{margin:.4em 0}}small{{color:#777}}\
             @media(prefers-color-scheme:dark){{body{{background:#181818;color:#ddd}}}}</style></head>\n\
             <body><h1>{status} {reason}</h1><p>{message}.</p><p><small>Request {request_id}</small></p></body></html>\n",
            message = capitalised(message).replace('&', "&amp;").replace('<', "&lt;"),
        )
        .as_bytes(),
    );
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Whole seconds, rounded up: a client that comes back too early would only be refused again.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::failure::Failure;
    use ringway_traffic::balance::Unavailable;

    fn text(failure: Failure, asked: &Asked) -> String {
        let mut out = Vec::new();
        let consequence = failure.consequence(502);
        let status = consequence.status.unwrap_or(0);
        let answer = Answer::Failure(&consequence);
        write(&mut out, status, &answer, asked, "id1", Timestamp(784_111_777_000));
        String::from_utf8_lossy(&out).into_owned()
    }

    const PLAIN: Asked = Asked { head: false, html: false, keep_alive_1_0: false, close: false };

    #[test]
    fn programs_get_json() {
        let body = "{\"error\":{\"code\":\"unknown_host\",\"message\":\"no app is registered for this domain\",\
                    \"request_id\":\"id1\",\"timestamp\":\"1994-11-06T08:49:37Z\"}}\n";
        assert_eq!(
            text(Failure::UnknownHost, &PLAIN),
            format!(
                "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nCache-Control: no-store\r\nX-Request-ID: id1\r\n\r\n{body}",
                body.len()
            )
        );
    }

    #[test]
    fn browsers_get_a_page_and_head_gets_no_body() {
        let page = text(Failure::UnknownHost, &Asked { html: true, ..PLAIN });
        assert!(
            page.contains("Content-Type: text/html") && page.contains("<h1>404 Not Found</h1>"),
            "{page}"
        );
        let head = text(Failure::UnknownHost, &Asked { head: true, close: true, ..PLAIN });
        assert!(head.ends_with("Connection: close\r\n\r\n") && !head.contains("Content-Length: 0"), "{head}");
    }

    #[test]
    fn a_redirect_says_where_and_a_challenge_is_exact() {
        let mut out = Vec::new();
        let now = Timestamp(784_111_777_000);
        write(&mut out, 308, &Answer::Elsewhere("https://a.example/x?y"), &PLAIN, "id1", now);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 0\r\n"), "{text}");
        assert!(text.ends_with("\r\nLocation: https://a.example/x?y\r\n\r\n"), "{text}");
        out.clear();
        assert_eq!(write(&mut out, 200, &Answer::Text("a.b"), &PLAIN, "id1", now), 3);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.contains("Content-Length: 3\r\n") && text.ends_with("\r\n\r\na.b"), "{text}");
    }

    #[test]
    fn a_client_of_grpc_gets_trailers_only() {
        let mut out = Vec::new();
        let answer = Answer::Call(grpc::Status::Unavailable, "100 % down");
        assert_eq!(write(&mut out, 200, &answer, &PLAIN, "id1", Timestamp(784_111_777_000)), 0);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n"), "{text}");
        assert!(text.ends_with("\r\ngrpc-status: 14\r\ngrpc-message: 100 %25 down\r\n\r\n"), "{text}");
    }

    #[test]
    fn an_open_circuit_is_told_in_fields() {
        let retry_after = Duration::from_millis(29_001);
        let answer = text(Failure::Unavailable(Unavailable::BreakersOpen { retry_after }), &PLAIN);
        assert!(answer.contains("\r\nRetry-After: 30\r\nX-Proxy-Circuit-Open: true\r\n"), "{answer}");
    }
}
