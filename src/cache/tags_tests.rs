//! Tests of tags.

use super::*;
use crate::fields::Lines;

fn tags(lines: &str) -> Vec<u64> {
    read_tags(Lines(lines.as_bytes())).into_vec()
}

fn hashes(tags: &[&str]) -> Vec<u64> {
    let mut hashes: Vec<u64> = tags.iter().map(|tag| tag_hash(tag.as_bytes())).collect();
    hashes.sort_unstable();
    hashes
}

#[test]
fn tags_come_from_three_fields() {
    let read = tags(
        "Cache-Tag: a, b c\r\nSurrogate-Key: d  e\r\nCache-Groups: \"f g\";x, \"h\\\"i\"\r\ncache-tag: a\r\n",
    );
    assert_eq!(read, hashes(&["a", "b c", "d", "e", "f g", "h\"i"]));
    assert_ne!(hashes(&["a"]), hashes(&["A"]));
}

/// RFC 9875 §2: a list of strings as a whole, or as if it were absent.
#[test]
fn groups_are_strings() {
    for invalid in ["token", "\"a\", b", "\"a\",", "\"a", "(\"a\")", "1"] {
        assert_eq!(tags(&format!("Cache-Groups: {invalid}\r\n")), [], "{invalid}");
    }
    assert_eq!(tags("Cache-Groups: \"a\"\r\nCache-Groups: \"b\"\r\n"), hashes(&["a", "b"]));
    // RFC 9875 §2: at least 32 groups of 32 characters each.
    let groups: Vec<String> = (0..32).map(|n| format!("{n:032}")).collect();
    let line = format!(
        "Cache-Groups: {}\r\n",
        groups.iter().map(|group| format!("\"{group}\"")).collect::<Vec<_>>().join(", ")
    );
    assert_eq!(tags(&line).len(), 32);
}

#[test]
fn tags_have_limits() {
    let long = "x".repeat(TAG_BYTES_MAX + 1);
    assert_eq!(tags(&format!("Cache-Tag: {long}, a\r\n")), hashes(&["a"]));
    let many = (0..TAGS_MAX + 9).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(tags(&format!("Cache-Tag: {many}\r\n")).len(), TAGS_MAX);
    assert_eq!(tags("Cache-Tag: \r\nSurrogate-Key:\r\nCache-Groups: \"\"\r\n"), []);
}
