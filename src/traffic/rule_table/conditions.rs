//! Conditions of one rule, and their test against a request.

use std::sync::Arc;

use ringway_model::{FieldMatch, ValueMatch};
use ringway_wire::h1::RequestHead;
use ringway_wire::path::hex;

use crate::pattern::Pattern;

/// Conditions of a rule: all have to be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) path: PathTest,
    /// One of these methods; any when empty. GET does not imply HEAD.
    pub(super) methods: Box<[Arc<str>]>,
    /// Values of a field in several lines are joined with `, ` (RFC 9110 §5.3).
    pub(super) headers: Box<[FieldMatch]>,
    /// The first parameter of a name counts, decoded.
    pub(super) query: Box<[FieldMatch]>,
}

/// Condition on the path, in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathTest {
    /// Every path.
    Any,
    /// This path.
    Exact(Arc<str>),
    /// A path that begins with these segments. With a slash at the end, only paths below.
    Prefix(Arc<str>),
    /// A path that matches as a whole.
    Pattern(Arc<Pattern>),
}

/// First condition that a request does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'t> {
    /// The path.
    Path(&'t PathTest),
    /// The method, which is none of these.
    Method(&'t [Arc<str>]),
    /// A header, absent or with another value.
    Header(&'t FieldMatch),
    /// A parameter of the query, absent or with another value.
    Query(&'t FieldMatch),
}

impl Mismatch<'_> {
    /// Describes the condition and the part of the request that does not meet it: `path /v2 is not below
    /// /v1`.
    pub fn describe(&self, head: &RequestHead, buf: &[u8]) -> String {
        let path = head.path(buf);
        match self {
            Self::Path(PathTest::Any) => format!("path {path} is refused"),
            Self::Path(PathTest::Exact(text)) => format!("path {path} is not {text}"),
            Self::Path(PathTest::Prefix(prefix)) => format!("path {path} is not below {prefix}"),
            Self::Path(PathTest::Pattern(pattern)) => {
                format!("path {path} does not match {}", pattern.as_str())
            }
            Self::Method(allowed) => {
                format!("method {} is not among {}", head.method_str(buf), allowed.join(", "))
            }
            Self::Header(FieldMatch { name, value }) => {
                let is_given = head.field(buf, name).next().is_some();
                format!("header {name} {}", unmet(value, is_given))
            }
            Self::Query(FieldMatch { name, value }) => {
                let is_given = head.query(buf).is_some_and(|query| parameter(query, name).is_some());
                format!("parameter {name} {}", unmet(value, is_given))
            }
        }
    }
}

fn unmet(value: &ValueMatch, is_given: bool) -> String {
    match value {
        ValueMatch::Exact(value) if is_given => format!("is not {value}"),
        ValueMatch::Exact(_) | ValueMatch::Present => "is missing".to_owned(),
    }
}

/// Parts of a request that rules have conditions on.
pub(super) struct Request<'r> {
    head: &'r RequestHead,
    buf: &'r [u8],
    pub(super) path: &'r str,
}

impl<'r> Request<'r> {
    pub(super) fn new(head: &'r RequestHead, buf: &'r [u8]) -> Self {
        Self { head, buf, path: head.path(buf) }
    }

    /// The same request with another path.
    pub(super) fn at<'p>(&self, path: &'p str) -> Request<'p>
    where
        'r: 'p,
    {
        Request { head: self.head, buf: self.buf, path }
    }
}

impl PathTest {
    /// Bytes of a path that are compared as they are.
    pub(super) fn literal_bytes(&self) -> usize {
        match self {
            Self::Any => 0,
            Self::Exact(text) | Self::Prefix(text) => text.len(),
            Self::Pattern(pattern) => pattern.literal().len(),
        }
    }

    fn is_met(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => **text == *path,
            Self::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')),
            Self::Pattern(pattern) => pattern.is_match(path.as_bytes()),
        }
    }
}

impl Conditions {
    /// Returns the first condition that a request does not meet.
    pub(super) fn mismatch(&self, request: &Request<'_>) -> Option<Mismatch<'_>> {
        if !self.path.is_met(request.path) {
            return Some(Mismatch::Path(&self.path));
        }
        self.field_mismatch(request)
    }

    /// The same for a request whose path matches.
    pub(super) fn field_mismatch(&self, request: &Request<'_>) -> Option<Mismatch<'_>> {
        let Request { head, buf, .. } = request;
        if !self.methods.is_empty() {
            let method = head.method_str(buf);
            if !self.methods.iter().any(|allowed| **allowed == *method) {
                return Some(Mismatch::Method(&self.methods));
            }
        }
        for field @ FieldMatch { name, value } in &self.headers {
            let mut lines = head.field(buf, name);
            let is_met = match value {
                ValueMatch::Present => lines.next().is_some(),
                ValueMatch::Exact(value) => is_joined(lines, value.as_bytes()),
            };
            if !is_met {
                return Some(Mismatch::Header(field));
            }
        }
        for field @ FieldMatch { name, value } in &self.query {
            let found = head.query(buf).and_then(|query| parameter(query, name));
            let is_met = match (value, found) {
                (_, None) => false,
                (ValueMatch::Present, Some(_)) => true,
                (ValueMatch::Exact(value), Some(found)) => is_decoded(found, value),
            };
            if !is_met {
                return Some(Mismatch::Query(field));
            }
        }
        None
    }
}

/// Whether lines joined with `, ` are `value`. Without any line there is no value.
fn is_joined<'v>(lines: impl Iterator<Item = &'v [u8]>, value: &[u8]) -> bool {
    let mut rest = Some(value);
    let mut has_line = false;
    for line in lines {
        rest = match (rest, has_line) {
            (Some(left), false) => left.strip_prefix(line),
            (Some(left), true) => left.strip_prefix(b", ").and_then(|left| left.strip_prefix(line)),
            (None, _) => return false,
        };
        has_line = true;
    }
    has_line && rest == Some(b"")
}

/// Returns the value of the first parameter of a name, as received; empty for one without `=`.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|part| {
        let (found, value) = part.split_once('=').unwrap_or((part, ""));
        (!part.is_empty() && is_decoded(found, name)).then_some(value)
    })
}

/// Whether a part of a query is `text` once it is decoded: `+` is a space, and `%` without two hexadecimal
/// digits stands for itself (WHATWG URL §5.1).
fn is_decoded(part: &str, text: &str) -> bool {
    let (mut part, mut text) = (part.as_bytes(), text.as_bytes());
    loop {
        let (byte, taken) = match part {
            [] => return text.is_empty(),
            [b'%', high, low, ..] if let (Some(high), Some(low)) = (hex(*high), hex(*low)) => {
                (high << 4 | low, 3)
            }
            [b'+', ..] => (b' ', 1),
            [byte, ..] => (*byte, 1),
        };
        match text {
            [first, rest @ ..] if *first == byte => text = rest,
            _ => return false,
        }
        part = &part[taken..];
    }
}
