//! Validation: the question to the origin about a stored response (RFC 9111 §4.3), and the meaning of its
//! answers.

use ringway_model::{SetCookiePolicy, Timestamp};

use super::freshness::Freshness;
use super::outcome::StaleReason;
use super::request::RequestFacts;
use super::response::ResponseFacts;
use super::serve::ttl;
use super::storage::{NotStored, ResponseSource, Times, storable, store};
use crate::control::is_strong;
use crate::fields::{FieldSource, Lines};
use crate::limits::VARIANTS_MAX;
use crate::settings::Settings;
use crate::stored_head::StoredHead;

/// Fields of the client that are left out of a request that validates: the cache asks for itself, and
/// evaluates them on the answer.
pub const CONDITIONAL_FIELDS: [&str; 6] =
    ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"];

/// Appends the lines that ask whether a stored response is still valid (RFC 9111 §4.3.1): its validators.
pub fn write_conditions(out: &mut Vec<u8>, head: &StoredHead) {
    for (name, value) in [("If-None-Match", head.etag()), ("If-Modified-Since", head.last_modified())] {
        if let Some(value) = value {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
}

/// Appends the line that asks which of several variants answers a request that selects none of them: their
/// strong tags (RFC 9111 §4.3.1). Returns whether there is one. The variant is the one whose tag the 304 has.
pub fn write_variant_conditions<'a>(
    out: &mut Vec<u8>,
    variants: impl Iterator<Item = &'a StoredHead>,
) -> bool {
    let start = out.len();
    let tags = variants.filter(|head| head.status == 200).filter_map(StoredHead::etag);
    for tag in tags.filter(|tag| is_strong(tag)).take(VARIANTS_MAX) {
        out.extend_from_slice(if out.len() == start { b"If-None-Match: " } else { b", " });
        out.extend_from_slice(tag);
    }
    let has_tags = out.len() > start;
    if has_tags {
        out.extend_from_slice(b"\r\n");
    }
    has_tags
}

/// Returns whether a field of the client is left out of a request that refreshes an entry for all clients:
/// its conditions and directives, and credentials that are no part of the key.
pub fn is_removed_on_refresh(settings: &Settings, head: &StoredHead, name: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
    let is_keyed = |known: &str| {
        settings.vary_headers.iter().any(|keyed| **keyed == *known)
            || Lines(&head.selecting).values(known).next().is_some()
    };
    CONDITIONAL_FIELDS.into_iter().chain(["cache-control", "pragma"]).any(is)
        || ["cookie", "authorization"].into_iter().any(|known| is(known) && !is_keyed(known))
}

/// Stored response after a 304.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshened {
    /// The updated head: it answers this request, whatever becomes of the entry.
    pub head: StoredHead,
    /// Change of the entry.
    pub change: EntryChange,
}

/// Change of an entry after the origin was asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// It is replaced by what the origin's answer makes of it.
    Replace,
    /// It stays as it was: this client's request allows no storing, or the origin failed.
    Keep,
    /// It is removed: the origin's answer is not to be stored.
    Drop(NotStored),
}

impl EntryChange {
    /// Returns the change for an answer with a status, of which `stored` says whether it is stored itself.
    pub fn of(status: u16, stored: Result<(), NotStored>) -> Self {
        match stored {
            Ok(()) => Self::Replace,
            Err(NotStored::Request) => Self::Keep,
            Err(_) if status >= 500 => Self::Keep,
            Err(reason) => Self::Drop(reason),
        }
    }
}

/// Updates a stored head with the fields of a 304 (RFC 9111 §3.2, §4.3.4). Those that describe the stored
/// body stay: `Content-Length`, `-Encoding`, `-Range`, `ETag`. `Set-Cookie` is for the client of this
/// request, unless the settings store it.
///
/// `request` are the fields that were sent to the origin, `facts` those of the client, whose conditions do
/// not count, `path` the target.
/// Allocates the new head.
pub fn freshen<'a, 'b>(
    settings: &Settings,
    head: &StoredHead,
    facts: &RequestFacts,
    request: impl FieldSource<'a>,
    path: &[u8],
    not_modified: impl FieldSource<'b>,
    times: Times,
) -> Freshened {
    let is_kept = |name: &[u8]| {
        KEPT_IN_UPDATE.iter().any(|kept| name.eq_ignore_ascii_case(kept.as_bytes()))
            || (settings.set_cookies != SetCookiePolicy::Store && name.eq_ignore_ascii_case(b"set-cookie"))
    };
    let mut merged = Vec::with_capacity(head.text.len());
    let mut push = |(name, value): (&[u8], &[u8])| {
        for part in [name, b": ", value, b"\r\n"] {
            merged.extend_from_slice(part);
        }
    };
    for (name, value) in head.fields().lines() {
        // The date of the stored response would make the updated one old.
        let is_replaced = name.eq_ignore_ascii_case(b"date")
            || not_modified.lines().any(|(new, _)| name.eq_ignore_ascii_case(new));
        if is_kept(name) || !is_replaced {
            push((name, value));
        }
    }
    not_modified.lines().filter(|(name, _)| !is_kept(name)).for_each(&mut push);

    let facts = &facts.without_conditions();
    let fields = Lines(&merged);
    let response = ResponseFacts::read(settings, head.status, fields, times.received_at);
    let source = ResponseSource::new(path, fields);
    let stored = storable(settings, facts, &response, &source, times);
    let freshness = stored.unwrap_or_else(|_| Freshness::of(settings, facts, &response, &source, times));
    let reason = head.status_text().get(4..).unwrap_or_default();
    let head = store(settings, request, &response, fields, reason, freshness, times);
    Freshened { head, change: EntryChange::of(304, stored.map(|_| ())) }
}

/// Fields that a 304 does not change, for they describe the body that is stored (RFC 9111 §3.2).
const KEPT_IN_UPDATE: [&str; 4] = ["content-length", "content-encoding", "content-range", "etag"];

/// Failure of a request to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// It answered with this status.
    Status(u16),
    /// No connection, or one that ended before a complete head.
    Unreachable,
}

/// Decides whether a stored response answers for a failure of its origin (RFC 9111 §4.2.4, RFC 5861 §4). Only
/// 500, 502, 503 and 504 are failures; other statuses are answers.
pub fn may_serve_stale(
    head: &StoredHead,
    fresh_until: Timestamp,
    failure: OriginFailure,
    now: Timestamp,
) -> Option<StaleReason> {
    if head.must_confirm {
        return None;
    }
    let stale_for = -ttl(fresh_until, now);
    let is_within = |seconds: u32| stale_for <= i64::from(seconds);
    let is_fresh = now < fresh_until;
    match failure {
        OriginFailure::Status(500 | 502..=504) | OriginFailure::Unreachable
            if is_fresh || (head.stale_if_error > 0 && is_within(head.stale_if_error)) =>
        {
            Some(StaleReason::IfError)
        }
        OriginFailure::Unreachable if head.stale_on_disconnect > 0 && is_within(head.stale_on_disconnect) => {
            Some(StaleReason::Disconnected)
        }
        OriginFailure::Status(_) | OriginFailure::Unreachable => None,
    }
}
