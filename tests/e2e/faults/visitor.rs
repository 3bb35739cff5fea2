//! Client of either protocol for the faults, and its results.

use serde_json::Value;

use super::row::*;
use crate::kit::h2::H2;
use crate::kit::*;

/// One client connection.
pub(super) enum Visitor {
    Http1(Client),
    Http2(Box<H2>),
}

/// Result of a request.
#[derive(Debug)]
#[allow(dead_code, reason = "what was seen instead is printed")]
pub(super) enum Seen {
    Whole { status: u16, body: String, word: Option<String>, circuit_open: bool },
    Cut(String),
    Nothing(String),
}

impl Seen {
    fn whole(status: u16, kind: Option<&str>, circuit_open: bool, body: &[u8]) -> Self {
        let json: Option<Value> =
            kind.filter(|kind| kind.contains("json")).and_then(|_| serde_json::from_slice(body).ok());
        let word = json.and_then(|json| json["error"]["code"].as_str().map(str::to_owned));
        Self::Whole { status, body: String::from_utf8_lossy(body).into_owned(), word, circuit_open }
    }
}

impl Visitor {
    /// Sends one request and returns its result.
    pub(super) fn ask(&mut self, asked: Asked, host: &str, path: &str) -> Seen {
        let (method, length, sent) = match asked {
            Asked::Get => ("GET", 0, 0),
            Asked::Head => ("HEAD", 0, 0),
            Asked::Post => ("POST", 5, 5),
            Asked::Upload => ("POST", 100_000, 100_000),
            Asked::Unfinished => ("POST", 50_000_000, 1_000),
        };
        match self {
            Self::Http1(client) => {
                let framing =
                    if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
                let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n");
                client.send([head.into_bytes(), pattern(sent)].concat());
                match client.try_response(method) {
                    Ok(answer) => Seen::whole(
                        answer.status(),
                        answer.field("content-type"),
                        answer.field("x-proxy-circuit-open").is_some(),
                        &answer.body,
                    ),
                    Err(fault @ (Fault::Cut(_) | Fault::CutHead | Fault::Closed | Fault::Reset)) => {
                        Seen::Cut(format!("{fault:?}"))
                    }
                    Err(fault) => Seen::Nothing(format!("{fault:?}")),
                }
            }
            Self::Http2(client) => {
                client.within(SOON);
                let announced = length.to_string();
                let more = [("content-length", announced.as_str())];
                let fields = client.fields(method, host, path, if length > 0 { &more } else { &[] });
                let stream = client.begin(&fields, length == 0);
                if length > 0 {
                    client.upload(stream, &pattern(sent));
                }
                if length > 0 && asked != Asked::Unfinished {
                    client.data(stream, &[], true);
                }
                let answer = client.response(stream);
                match answer.is_ended {
                    true => Seen::whole(
                        answer.status(),
                        answer.get("content-type"),
                        answer.get("x-proxy-circuit-open").is_some(),
                        &answer.body,
                    ),
                    false => Seen::Cut(format!("{:?}", answer.reset)),
                }
            }
        }
    }
}
impl Sees {
    /// Checks the result of a client against the row.
    ///
    /// # Errors
    /// The actual result.
    pub(super) fn judge(&self, seen: &Seen) -> Result<(), String> {
        let is_told = |wanted: u16, words: &[&str]| matches!(seen, Seen::Whole { status, word: Some(word), .. } if *status == wanted && words.contains(&word.as_str()));
        let is_cut = matches!(seen, Seen::Cut(_));
        let holds = match self {
            Self::Told(status, words) => is_told(*status, words),
            Self::Answer(wanted, text) => {
                matches!(seen, Seen::Whole { status, body, .. } if status == wanted && body == text)
            }
            Self::Cut => is_cut,
            Self::CutOrTold(status, words) => is_cut || is_told(*status, words),
        };
        if holds { Ok(()) } else { Err(format!("its client saw {seen:?}")) }
    }
}
