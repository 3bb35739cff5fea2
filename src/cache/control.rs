//! Readers of the fields that control caches: directives, structured fields, dates, ages, ranges, entity tags
//! and accepted codings.
//!
//! All of them take bytes of strangers, never fail for the whole message, and allocate nothing unless they
//! say so. What is invalid is read in the way that reuses less.

mod codings;
mod date;
mod directives;
mod entity_tag;
mod range;
mod structured;

pub use codings::Codings;
pub use date::parse_http_date;
pub use directives::{Directive, Directives};
pub(crate) use directives::{elements, is_named_by_no_cache};
pub use entity_tag::{is_none_matched, is_strong, matches_strongly, matches_weakly};
pub use range::{ByteRange, RangeRequest};
pub use structured::{Bare, Member, SyntaxError, parse_dictionary, parse_list};

use crate::limits::DELTA_SECONDS_MAX;

/// Parses delta-seconds (RFC 9111 §1.2.2): digits only; larger numbers become [`DELTA_SECONDS_MAX`].
pub fn parse_delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let max = u64::from(DELTA_SECONDS_MAX);
    let seconds = text.iter().fold(0u64, |sum, digit| (sum * 10 + u64::from(digit - b'0')).min(max));
    u32::try_from(seconds).ok()
}

/// Parses `Age` (RFC 9111 §5.1): the first value of the first line counts, an invalid one is ignored.
pub fn parse_age<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<u32> {
    let first = values.next()?.split(|byte| *byte == b',').next()?;
    parse_delta_seconds(first.trim_ascii())
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
