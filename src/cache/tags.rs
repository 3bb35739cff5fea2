//! Tags of responses, for purges: `Cache-Tag`, `Surrogate-Key`, and `Cache-Groups` (RFC 9875).

use std::hash::{DefaultHasher, Hasher};

use ringway_wire::headers::list_elements;

use crate::control::{Bare, Member, parse_list};
use crate::fields::FieldSource;
use crate::limits::{TAG_BYTES_MAX, TAGS_MAX};

/// Hash of a tag, by which entries keep and compare it. The same in every process; case counts.
pub fn tag_hash(tag: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(tag);
    hasher.finish()
}

/// Hashes of a response's tags, sorted, each once. Tags beyond [`TAGS_MAX`], and longer ones than
/// [`TAG_BYTES_MAX`], are left out.
pub(crate) fn read_tags<'a>(source: impl FieldSource<'a>) -> Box<[u64]> {
    let mut tags = Vec::new();
    let mut add = |tag: &[u8]| {
        if (1..=TAG_BYTES_MAX).contains(&tag.len()) && tags.len() < TAGS_MAX {
            tags.push(tag_hash(tag));
        }
    };
    for value in source.values("cache-tag") {
        list_elements(value).for_each(&mut add);
    }
    for value in source.values("surrogate-key") {
        value.split(|byte| byte.is_ascii_whitespace()).for_each(&mut add);
    }
    read_groups(source.values("cache-groups"), add);
    tags.sort_unstable();
    tags.dedup();
    tags.into()
}

/// Calls `on_group` for each string of a list; not at all if the field is no list of strings as a whole
/// (RFC 9875 §2, RFC 9651 §4.2).
pub(crate) fn read_groups<'a>(values: impl Iterator<Item = &'a [u8]>, mut on_group: impl FnMut(&[u8])) {
    let mut groups: Vec<&[u8]> = Vec::new();
    let mut is_valid = true;
    let parsed = parse_list(values, |member| match member {
        Member::Item(Bare::String(group)) => groups.push(group),
        _ => is_valid = false,
    });
    if parsed.is_ok() && is_valid {
        for group in groups {
            if group.contains(&b'\\') {
                on_group(&unescape(group));
            } else {
                on_group(group);
            }
        }
    }
}

/// Removes the escapes of a valid string.
fn unescape(string: &[u8]) -> Vec<u8> {
    let mut is_escaped = false;
    string
        .iter()
        .copied()
        .filter(|byte| {
            is_escaped = *byte == b'\\' && !is_escaped;
            !is_escaped
        })
        .collect()
}

#[cfg(test)]
#[path = "tags_tests.rs"]
mod tests;
