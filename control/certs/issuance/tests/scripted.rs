//! Scripted CA: creates accounts, and responds to all else by a script, over plain HTTP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Ca {
    pub(super) directory: String,
    orders: Arc<AtomicUsize>,
}

/// Scripted response.
pub(super) struct Answer {
    status: u16,
    /// Header lines, each with its line end.
    fields: String,
    body: String,
}

impl Answer {
    /// Response without a problem document, as from a gateway.
    pub(super) fn bare(status: u16) -> Self {
        Self { status, fields: String::new(), body: String::new() }
    }

    /// Response with a problem document of this type.
    pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let body = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "status": status, "detail": detail,
        });
        Self { status, fields: String::new(), body: body.to_string() }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(&format!("{name}: {value}\r\n"));
        self
    }
}

/// Request to the script.
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    /// Payload of a signed request.
    pub(super) payload: String,
    /// Requests to `/order` before this one.
    pub(super) orders: usize,
    /// URL without the path.
    pub(super) base: &'a str,
}

impl Request<'_> {
    /// New or existing order in this state.
    pub(super) fn order(&self, status: &str) -> Answer {
        let base = self.base;
        let body = serde_json::json!({
            "status": status,
            "authorizations": [format!("{base}/authorization")],
            "finalize": format!("{base}/finalize"),
            "certificate": format!("{base}/certificate"),
        });
        let status = if self.path == "/order" { 201 } else { 200 };
        Answer { status, fields: String::new(), body: body.to_string() }
            .with("Location", &format!("{base}/order/{}", self.orders))
    }

    /// Authorization with a challenge, in this state.
    pub(super) fn authorization(&self, status: &str) -> Answer {
        let body = serde_json::json!({
            "status": status,
            "identifier": { "type": "dns", "value": "any.example" },
            "challenges": [challenge(self.base, "pending")],
        });
        Answer { status: 200, fields: String::new(), body: body.to_string() }
    }
}

impl Ca {
    /// Responds by `script` where it returns a response, else with success.
    pub(super) fn start(script: impl Fn(&Request<'_>) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let orders = Arc::new(AtomicUsize::new(0));
        let (script, url, count) = (Arc::new(script), base.clone(), Arc::clone(&orders));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (script, url, count) = (Arc::clone(&script), url.clone(), Arc::clone(&count));
                std::thread::spawn(move || while serve(stream.as_ref().unwrap(), &url, &*script, &count) {});
            }
        });
        Self { directory: format!("{base}/dir"), orders }
    }

    /// Rate-limits each order, with the next of these as `Retry-After`.
    pub(super) fn that_limits(retry_afters: &'static [&'static str]) -> Self {
        Self::start(|request| {
            let wait = retry_afters[request.orders.min(retry_afters.len() - 1)];
            let detail = "too many new orders (300) from this account in the last 3h0m0s";
            (request.path == "/order")
                .then(|| Answer::problem(429, "rateLimited", detail).with("Retry-After", wait))
        })
    }

    /// Number of order requests.
    pub(super) fn orders(&self) -> usize {
        self.orders.load(Ordering::SeqCst)
    }
}

fn serve(
    stream: &TcpStream,
    base: &str,
    script: &dyn Fn(&Request<'_>) -> Option<Answer>,
    orders: &AtomicUsize,
) -> bool {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return false;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let mut line = head.split_whitespace();
    let (method, path) = (line.next().unwrap(), line.next().unwrap());
    let request = Request { path, payload: payload(&body), orders: orders.load(Ordering::SeqCst), base };
    let answer = script(&request).unwrap_or_else(|| {
        let empty = Answer { body: "{}".to_owned(), ..Answer::bare(200) };
        match path {
            "/dir" => Answer {
                body: format!(
                    r#"{{"newNonce":"{base}/nonce","newAccount":"{base}/account","newOrder":"{base}/order"}}"#
                ),
                ..empty
            },
            "/challenge" => Answer { body: challenge(base, "processing").to_string(), ..empty },
            "/account" => Answer { status: 201, ..empty }.with("Location", &format!("{base}/account/1")),
            _ => empty,
        }
    });
    if path == "/order" {
        orders.fetch_add(1, Ordering::SeqCst);
    }
    let body = if method == "HEAD" { "" } else { &answer.body };
    let answer = format!(
        "HTTP/1.1 {} Scripted\r\nReplay-Nonce: abcd\r\n{}Content-Length: {}\r\n\r\n{body}",
        answer.status,
        answer.fields,
        body.len(),
    );
    (&*stream).write_all(answer.as_bytes()).is_ok()
}

fn challenge(base: &str, status: &str) -> serde_json::Value {
    serde_json::json!({
        "type": "http-01", "status": status, "token": "token", "url": format!("{base}/challenge"),
    })
}

/// Payload of a JSON Web Signature, unverified.
fn payload(body: &[u8]) -> String {
    use base64::Engine as _;
    let jws: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = jws["payload"].as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}
