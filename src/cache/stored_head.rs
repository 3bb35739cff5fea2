//! Head of a stored response: ready field lines, and the numbers that decisions need.

use std::ops::Range;

use ringway_model::Timestamp;

use crate::fields::Lines;

/// Head of a stored response. Immutable: a 304 makes a new one on the same body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// `200 OK` and CRLF, then the field lines with CRLF each: no hop-by-hop fields, no `Age`, no
    /// `Content-Length`, always a `Date`.
    pub(crate) text: Box<[u8]>,
    pub(crate) lines_start: u16,
    pub(crate) status: u16,
    /// Whether each use needs the origin's confirmation (`no-cache`).
    pub(crate) must_confirm: bool,
    /// Whether the response forbids its use past its lifetime (RFC 9111 §4.2.4).
    pub(crate) forbids_stale: bool,
    /// Whether it answers only requests without `Cookie`: the settings alone gave it its lifetime.
    pub(crate) is_anonymous: bool,
    /// Freshness lifetime (RFC 9111 §4.2.1), in seconds.
    pub(crate) lifetime: u32,
    /// Age at `received_at` (RFC 9111 §4.2.3: `corrected_initial_age`), in seconds.
    pub(crate) initial_age: u32,
    /// Receipt of the response, or of the 304 that updated it last.
    pub(crate) received_at: Timestamp,
    /// Seconds past the lifetime during which it is served while it is refreshed.
    pub(crate) stale_while_revalidate: u32,
    /// Seconds past the lifetime during which it is served for an error of the origin.
    pub(crate) stale_if_error: u32,
    /// Seconds past the lifetime during which it is served if the origin cannot be reached.
    pub(crate) stale_on_disconnect: u32,
    /// Value of `ETag` in `text`; empty without one.
    pub(crate) etag: Range<u32>,
    /// Value of `Last-Modified` in `text`; empty without a valid one.
    pub(crate) last_modified: Range<u32>,
    /// `Last-Modified`, in seconds since the epoch.
    pub(crate) last_modified_at: Option<i64>,
    /// `Date`, or the receipt.
    pub(crate) date_at: i64,
    /// Request fields that `Vary` lists, as they were sent to the origin, ready as lines: for refreshes.
    pub(crate) selecting: Box<[u8]>,
    /// Hashes of the tags, sorted.
    pub(crate) tags: Box<[u64]>,
}

impl StoredHead {
    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Status and reason, such as `200 OK`.
    pub fn status_text(&self) -> &[u8] {
        self.text.get(..usize::from(self.lines_start).saturating_sub(2)).unwrap_or_default()
    }

    /// Field lines, with CRLF each.
    pub fn lines(&self) -> &[u8] {
        self.text.get(usize::from(self.lines_start)..).unwrap_or_default()
    }

    /// Fields, in their order.
    pub fn fields(&self) -> Lines<'_> {
        Lines(self.lines())
    }

    /// Value of `ETag`.
    pub fn etag(&self) -> Option<&[u8]> {
        self.part(&self.etag)
    }

    /// Value of `Last-Modified`, if it is a date.
    pub fn last_modified(&self) -> Option<&[u8]> {
        self.part(&self.last_modified)
    }

    fn part(&self, range: &Range<u32>) -> Option<&[u8]> {
        let part = self.text.get(range.start as usize..range.end as usize)?;
        (!part.is_empty()).then_some(part)
    }

    /// Returns whether the origin can be asked whether it is still valid.
    pub fn has_validator(&self) -> bool {
        !self.etag.is_empty() || !self.last_modified.is_empty()
    }

    /// Returns whether it may answer requests with `Cookie`. One that lives by `ttl` alone, in the mode
    /// `safe`, was stored for a request without: a client with a session may have to get another.
    pub fn is_for_cookies(&self) -> bool {
        !self.is_anonymous
    }

    /// End of the freshness lifetime: fresh before, stale from then on. A purge may move the end of an entry
    /// to an earlier time.
    pub fn fresh_until(&self) -> Timestamp {
        let seconds = u64::from(self.lifetime.saturating_sub(self.initial_age));
        // A response that was stale at its receipt has been so since an earlier time.
        let overdue = u64::from(self.initial_age.saturating_sub(self.lifetime));
        Timestamp(self.received_at.0.saturating_add(seconds * 1_000).saturating_sub(overdue * 1_000))
    }

    /// End of all use, the last moment at which it may be served without its origin; with a validator it is
    /// still worth keeping, for it saves a body.
    pub fn usable_until(&self) -> Timestamp {
        let longest = self.stale_while_revalidate.max(self.stale_if_error).max(self.stale_on_disconnect);
        Timestamp(self.fresh_until().0.saturating_add(u64::from(longest) * 1_000))
    }

    /// Age in seconds (RFC 9111 §4.2.3), for the field `Age`.
    pub fn age(&self, now: Timestamp) -> u32 {
        let resident = now.0.saturating_sub(self.received_at.0) / 1_000;
        self.initial_age
            .saturating_add(u32::try_from(resident).unwrap_or(u32::MAX))
            .min(crate::limits::DELTA_SECONDS_MAX)
    }

    /// Time of receipt, or of the last confirmation.
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// Request fields that selected it, as lines with CRLF each, for requests that refresh it.
    pub fn selecting(&self) -> &[u8] {
        &self.selecting
    }

    /// Hashes of the tags, sorted: of [`tag_hash`](crate::tag_hash).
    pub fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// Returns whether it has a tag, by its hash.
    pub fn has_tag(&self, hash: u64) -> bool {
        self.tags.binary_search(&hash).is_ok()
    }

    /// Bytes that it occupies beside the size of the type.
    pub fn heap_bytes(&self) -> usize {
        self.text.len() + self.selecting.len() + std::mem::size_of_val::<[u64]>(&self.tags)
    }
}
