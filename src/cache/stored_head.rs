//! Head of a stored response: ready field lines, and the numbers that decisions need.

use std::ops::Range;

use ringway_model::Timestamp;

/// Head of a stored response. Immutable: a 304 makes a new one on the same body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredHead {
    /// `200 OK` and CRLF, then the field lines with CRLF each: no hop-by-hop fields, no `Age`, no
    /// `Content-Length`.
    pub(crate) text: Box<[u8]>,
    pub(crate) lines_start: u16,
    pub(crate) status: u16,
    pub(crate) flags: Flags,
    /// Freshness lifetime (RFC 9111 §4.2.1), in seconds.
    pub(crate) lifetime: u32,
    /// Age at `received_at` (RFC 9111 §4.2.3: `corrected_initial_age`), in seconds.
    pub(crate) initial_age: u32,
    /// Receipt of the response, or of the 304 that updated it last.
    pub(crate) received_at: Timestamp,
    /// Seconds past the lifetime for `stale-while-revalidate`.
    pub(crate) stale_while_revalidate: u32,
    /// Seconds past the lifetime for `stale-if-error`.
    pub(crate) stale_if_error: u32,
    /// Value of `ETag` in `text`; empty without one.
    pub(crate) etag: Range<u32>,
    /// Value of `Last-Modified` in `text`; empty without a valid one.
    pub(crate) last_modified: Range<u32>,
    /// `Last-Modified`, else `Date`, else the receipt, in seconds since the epoch: for `If-Modified-Since`.
    pub(crate) modified_at: i64,
    /// Request fields that `Vary` lists, as they were sent to the origin, ready as lines: for refreshes.
    pub(crate) selecting: Box<[u8]>,
    /// Hashes of the tags, sorted.
    pub(crate) tags: Box<[u64]>,
}

/// Directives of a stored response that limit its use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

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

    /// End of the freshness lifetime: fresh before, stale from then on.
    pub fn fresh_until(&self) -> Timestamp {
        let seconds = u64::from(self.lifetime.saturating_sub(self.initial_age));
        Timestamp(self.received_at.0.saturating_add(seconds * 1_000))
    }

    /// Hashes of the tags, sorted.
    pub fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// Bytes that it occupies beside the size of the type.
    pub fn heap_bytes(&self) -> usize {
        self.text.len() + self.selecting.len() + std::mem::size_of_val::<[u64]>(&self.tags)
    }
}
