//! Catalogue of malformed, ambiguous and unusual messages, with the outcomes that RFC 9110, 9112, 9113 and
//! 6455 allow.
//!
//! ```text
//! case: section │ name │ bytes │ acceptable outcomes
//! run:  bytes ──► ringway ──► origin      the outcome, judged by the kit's strict readers on both sides
//!       then two clean requests, on the same connection if it was kept: each gets its own response
//! ```
//! Nothing here uses `ringway_wire`. Where an RFC leaves a choice, every allowed outcome is acceptable; where
//! ringway is stricter than required, a comment beside the case has the reason.

mod cache;
mod chunks;
mod endpoints;
mod exchange;
mod fields;
mod framing;
mod http2;
mod lines;
mod responses;
mod semantics;
mod targets;
mod upgrades;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Acceptable outcome of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The proxy replies with one of these statuses and closes; nothing reaches the origin.
    Refused(&'static [u16]),
    /// The proxy answers by itself with one of these statuses; nothing reaches the origin. The connection may
    /// live on.
    Answered(&'static [u16]),
    /// The head was good, so that it may have gone on; the message never arrives as a whole. One of these
    /// statuses, or a cut, and the connection is closed.
    Broken(&'static [u16]),
    /// This number of requests reach the origin, each like this, and each gets a response.
    Forwarded(Vec<Seen>),
}

/// Expected form of a request at the origin, beyond being well-formed.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    line: String,
    host: &'static str,
    fields: Vec<(&'static str, Vec<&'static str>)>,
    body: Vec<u8>,
    trailers: Vec<(&'static str, &'static str)>,
}

/// HTTP/1.1 request with its acceptable outcomes.
pub(crate) struct Case {
    section: &'static str,
    name: &'static str,
    sent: Vec<u8>,
    outcomes: Vec<Outcome>,
    /// The client ends its side after the last byte.
    is_cut: bool,
}

/// A case; `section` is of the RFC that it names, as in `9112 §5.1`.
pub(crate) fn case(
    section: &'static str,
    name: &'static str,
    sent: impl Into<Vec<u8>>,
    outcomes: impl Into<Vec<Outcome>>,
) -> Case {
    Case { section, name, sent: sent.into(), outcomes: outcomes.into(), is_cut: false }
}

impl Case {
    /// The client half-closes after these bytes.
    pub(crate) fn cut(mut self) -> Self {
        self.is_cut = true;
        self
    }
}

impl From<Outcome> for Vec<Outcome> {
    fn from(outcome: Outcome) -> Self {
        vec![outcome]
    }
}

/// [`Outcome::Refused`]
pub(crate) fn refused(statuses: &'static [u16]) -> Outcome {
    Outcome::Refused(statuses)
}

/// [`Outcome::Refused`] with 400, the outcome of most faults.
pub(crate) fn bad() -> Outcome {
    Outcome::Refused(&[400])
}

/// [`Outcome::Answered`]
pub(crate) fn answered(statuses: &'static [u16]) -> Outcome {
    Outcome::Answered(statuses)
}

/// [`Outcome::Broken`] with 400.
pub(crate) fn broken() -> Outcome {
    Outcome::Broken(&[400])
}

/// [`Outcome::Forwarded`] as a request with this line.
pub(crate) fn seen(line: impl Into<String>) -> Seen {
    let host = "app.test";
    Seen { line: line.into(), host, fields: Vec::new(), body: Vec::new(), trailers: Vec::new() }
}

impl Seen {
    pub(crate) fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    /// The field is present with exactly this value.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, vec![value]));
        self
    }

    /// The field is present this number of times.
    pub(crate) fn with_all(mut self, name: &'static str, values: &[&'static str]) -> Self {
        self.fields.push((name, values.to_vec()));
        self
    }

    /// The field is absent.
    pub(crate) fn without(mut self, name: &'static str) -> Self {
        self.fields.push((name, Vec::new()));
        self
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn trailer(mut self, name: &'static str, value: &'static str) -> Self {
        self.trailers.push((name, value));
        self
    }
}

impl From<Seen> for Outcome {
    fn from(seen: Seen) -> Self {
        Self::Forwarded(vec![seen])
    }
}

impl From<Seen> for Vec<Outcome> {
    fn from(seen: Seen) -> Self {
        vec![seen.into()]
    }
}

/// Runs all cases, prints a line for each that failed and one for each section, and fails if any case did.
/// `name` begins with the section; `run` says what is wrong, and a kit that panics within it has found
/// something too.
pub(crate) fn all<C>(
    cases: &[C],
    name: impl Fn(&C) -> String,
    mut run: impl FnMut(usize, &C) -> Result<(), String>,
) {
    let mut failed = 0;
    let mut sections: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (number, case) in cases.iter().enumerate() {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(number, case))).unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().cloned();
            Err(said.unwrap_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or("a panic").to_owned()))
        });
        let name = name(case);
        let (passed, all) =
            sections.entry(name.split(',').next().unwrap_or_default().to_owned()).or_default();
        *all += 1;
        match outcome {
            Ok(()) => *passed += 1,
            Err(what) => {
                failed += 1;
                eprintln!("FAILED {name}: {what}");
            }
        }
    }
    for (section, (passed, all)) in &sections {
        eprintln!("SECTION {section}: {passed} of {all}");
    }
    assert_eq!(failed, 0, "of {} cases", cases.len());
}

/// Bytes for a line of a report.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 600;
    let text = bytes[..bytes.len().min(SHOWN_MAX)].escape_ascii().to_string();
    if bytes.len() > SHOWN_MAX {
        format!("\"{text}\"… ({} bytes)", bytes.len())
    } else {
        format!("\"{text}\"")
    }
}

/// A GET with these further field lines, each with its CRLF.
pub(crate) fn get(fields: &str) -> String {
    format!("GET /case HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

/// A POST with these further field lines and this body.
pub(crate) fn post(fields: &str, body: &str) -> String {
    format!("POST /case HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n{body}")
}

/// Request that an attacker smuggles behind a message: its response would go to the next client.
pub(crate) const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// The line of what [`get`] sends.
pub(crate) const GET: &str = "GET /case HTTP/1.1";

/// The line of what [`post`] sends.
pub(crate) const POST: &str = "POST /case HTTP/1.1";
