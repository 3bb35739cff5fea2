//! Use of a stored response: whether it may answer a request (RFC 9111 §4), and with which status and fields.

use std::ops::Range;

use ringway_model::{CacheMode, Timestamp};
use ringway_wire::message::Method;

use super::outcome::StaleReason;
use super::request::RequestFacts;
use crate::control::{Directive, RangeRequest, is_none_matched, matches_strongly, parse_http_date};
use crate::fields::FieldSource;

use crate::stored_head::StoredHead;

/// Decision about a request for which a response is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers.
    Serve {
        /// Seconds of lifetime that remain.
        ttl: i64,
    },
    /// It answers past its lifetime. With [`StaleReason::Revalidating`], one request refreshes it meanwhile.
    ServeStale {
        /// Seconds past it, negative.
        ttl: i64,
        /// Reason for it.
        reason: StaleReason,
    },
    /// The origin is asked first.
    Revalidate(Revalidation),
    /// The request is passed on, and its response not stored: what is stored is for requests without its
    /// `Cookie`.
    Personal,
    /// The request is passed on as it is: HEAD does not change what is stored for GET.
    Forward,
    /// Nothing that is stored may answer, and the client wants no other: 504 (RFC 9111 §5.2.1.7).
    OnlyIfCached,
}

/// Reason for which the origin is asked about a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revalidation {
    /// It is past its lifetime.
    Stale,
    /// It is to be confirmed for each use (`no-cache`).
    NoCache,
    /// The client asks for it.
    Request,
}

/// Decides whether a stored response answers a request. `fresh_until` is the entry's, which a purge may have
/// moved. Cost: some comparisons; no allocation.
pub fn judge(
    mode: CacheMode,
    request: &RequestFacts,
    head: &StoredHead,
    fresh_until: Timestamp,
    now: Timestamp,
) -> Verdict {
    if request.has_cookie() && !head.is_for_cookies() {
        return match request.directives.has(Directive::OnlyIfCached) {
            true => Verdict::OnlyIfCached,
            false => Verdict::Personal,
        };
    }
    let ttl = ttl(fresh_until, now);
    let is_fresh = now < fresh_until;
    let stale_for = -ttl;
    let revalidation = if head.must_confirm {
        Revalidation::NoCache
    } else if !is_fresh {
        let directives = &request.directives;
        let tolerated =
            directives.max_stale.filter(|_| mode == CacheMode::Rfc9111 && !request.asks_for_no_cache());
        if tolerated.is_some_and(|seconds| !head.forbids_stale && stale_for <= i64::from(seconds)) {
            return Verdict::ServeStale { ttl, reason: StaleReason::Requested };
        }
        if stale_for <= i64::from(head.stale_while_revalidate)
            && head.stale_while_revalidate > 0
            && !(mode == CacheMode::Rfc9111 && wants_newer(request, head, ttl, now))
        {
            return Verdict::ServeStale { ttl, reason: StaleReason::Revalidating };
        }
        Revalidation::Stale
    } else if mode == CacheMode::Rfc9111 && wants_newer(request, head, ttl, now) {
        Revalidation::Request
    } else {
        return Verdict::Serve { ttl };
    };
    if request.directives.has(Directive::OnlyIfCached) {
        Verdict::OnlyIfCached
    } else if request.method == Method::Head {
        Verdict::Forward
    } else {
        Verdict::Revalidate(revalidation)
    }
}

/// Remaining lifetime in whole seconds; negative past it.
pub(crate) fn ttl(fresh_until: Timestamp, now: Timestamp) -> i64 {
    let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX);
    if now < fresh_until {
        signed((fresh_until.0 - now.0) / 1_000)
    } else {
        // Begun seconds count: a window of 0 seconds has no stale moment.
        -signed((now.0 - fresh_until.0).div_ceil(1_000))
    }
}

/// Returns whether the directives of the request ask for a newer response (RFC 9111 §5.2.1).
fn wants_newer(request: &RequestFacts, head: &StoredHead, ttl: i64, now: Timestamp) -> bool {
    let directives = &request.directives;
    let age = head.age(now);
    request.asks_for_no_cache()
        // A browser's reload says `max-age=0`, and means that even a response of this second be confirmed.
        || directives.max_age.is_some_and(|seconds| seconds == 0 || age > seconds)
        || directives.min_fresh.is_some_and(|seconds| ttl < i64::from(seconds))
}

/// Answer that a stored response gives to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Its status, fields and body.
    Full,
    /// 304: the client has it.
    NotModified,
    /// 206 with these bytes of the body.
    Part(Range<u64>),
    /// 416: the body has no such bytes.
    Unsatisfiable,
}

impl Reply {
    /// Status of the answer.
    pub fn status(&self, head: &StoredHead) -> u16 {
        match self {
            Self::Full => head.status,
            Self::NotModified => 304,
            Self::Part(_) => 206,
            Self::Unsatisfiable => 416,
        }
    }

    /// Value of `Content-Length`; `None` for a 304, which has none.
    pub fn content_length(&self, body_bytes: u64) -> Option<u64> {
        match self {
            Self::Full => Some(body_bytes),
            Self::NotModified => None,
            Self::Part(range) => Some(range.end - range.start),
            Self::Unsatisfiable => Some(0),
        }
    }
}

/// Evaluates conditions and range of a request against a stored response (RFC 9110 §13.2.2). `source` are the
/// request's fields. `body_bytes` is `None` while the length is unknown: then ranges get the whole body.
///
/// Cost: nothing for a request without conditions, otherwise a walk over its fields; no allocation.
pub fn reply<'a>(
    request: &RequestFacts,
    source: impl FieldSource<'a>,
    head: &StoredHead,
    body_bytes: Option<u64>,
) -> Reply {
    if head.status != 200 {
        return Reply::Full;
    }
    if request.has_if_none_match() {
        if is_none_matched(source.values("if-none-match"), head.etag()) {
            return Reply::NotModified;
        }
    } else if let Some(since) = request.if_modified_since {
        // Without `Last-Modified`, the time of the response stands for it (RFC 9111 §4.3.2).
        if head.last_modified_at.unwrap_or(head.date_at) <= since {
            return Reply::NotModified;
        }
    }
    let RangeRequest::One(range) = request.range else { return Reply::Full };
    let Some(len) = body_bytes.filter(|_| request.method == Method::Get) else { return Reply::Full };
    if request.has_if_range() && !is_range_valid(source, head) {
        return Reply::Full;
    }
    match range.resolve(len) {
        // All of the body is no part of it, but what the client asked for.
        Some(range) => Reply::Part(range),
        None => Reply::Unsatisfiable,
    }
}

/// Evaluates `If-Range`: a strong tag, or the date of `Last-Modified` if that is a strong validator
/// (RFC 9110 §13.1.5, §8.8.2.2).
fn is_range_valid<'a>(source: impl FieldSource<'a>, head: &StoredHead) -> bool {
    let mut values = source.values("if-range");
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    if value.starts_with(b"\"") || value.starts_with(b"W/") {
        return head.etag().is_some_and(|tag| matches_strongly(tag, value));
    }
    let Some(modified) = head.last_modified_at else { return false };
    parse_http_date(value, head.received_at) == Some(modified) && head.date_at > modified
}

/// Appends the field lines of an answer, with `Age`. Status line, `Content-Length` and the fields that name
/// the cache's decision are the caller's.
pub fn write_reply_fields(
    out: &mut Vec<u8>,
    head: &StoredHead,
    reply: &Reply,
    body_bytes: u64,
    now: Timestamp,
) {
    match reply {
        Reply::Full => out.extend_from_slice(head.lines()),
        Reply::NotModified => push_lines(out, head, &NOT_IN_304),
        Reply::Part(range) => {
            push_lines(out, head, &["content-range"]);
            out.extend_from_slice(b"Content-Range: bytes ");
            push_number(out, range.start);
            out.push(b'-');
            push_number(out, range.end.saturating_sub(1));
            out.push(b'/');
            push_number(out, body_bytes);
            out.extend_from_slice(b"\r\n");
        }
        Reply::Unsatisfiable => {
            out.extend_from_slice(b"Content-Range: bytes */");
            push_number(out, body_bytes);
            return out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(b"Age: ");
    push_number(out, head.age(now).into());
    out.extend_from_slice(b"\r\n");
}

/// Fields about the content that a 304 does not send (RFC 9110 §15.4.5).
const NOT_IN_304: [&str; 5] =
    ["content-type", "content-encoding", "content-language", "content-range", "content-md5"];

fn push_lines(out: &mut Vec<u8>, head: &StoredHead, except: &[&str]) {
    for (name, value) in head.fields().lines() {
        if !except.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
}

/// Appends a number in decimal, without an allocation.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let (mut rest, mut at) = (number, digits.len());
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}
