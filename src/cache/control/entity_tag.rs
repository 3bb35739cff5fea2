//! Entity tags (RFC 9110 §8.8.3) and `If-None-Match`.
//!
//! A tag is compared as it was received, quotes included: one without quotes, which some origins send, equals
//! itself only.

use super::elements;

/// Returns whether a tag is strong: quoted, and without `W/`.
pub fn is_strong(tag: &[u8]) -> bool {
    tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"")
}

/// Compares two tags strongly: both must be strong.
pub fn matches_strongly(one: &[u8], other: &[u8]) -> bool {
    is_strong(one) && one == other
}

/// Compares two tags weakly: `W/` does not count.
pub fn matches_weakly(one: &[u8], other: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    opaque(one) == opaque(other)
}

/// Returns whether `If-None-Match` names this tag, by weak comparison, or any with `*` (RFC 9110 §13.1.2):
/// the client has the response.
pub fn is_none_matched<'a>(mut values: impl Iterator<Item = &'a [u8]>, tag: Option<&[u8]>) -> bool {
    values.any(|value| {
        elements(value).any(|one| one == b"*" || tag.is_some_and(|tag| matches_weakly(one, tag)))
    })
}
