//! Structured fields: lists and dictionaries.

use ringway_cache::control::{Bare, Member, parse_dictionary, parse_list};

/// A valid line twice is a field with all members twice; a comma at either end makes it invalid; strings have
/// no quote without an escape.
pub(crate) fn check(bytes: &[u8]) {
    let count = |lines: &[&[u8]]| {
        let mut members = 0;
        parse_list(lines.iter().copied(), |member| {
            members += 1;
            if let Member::Item(Bare::String(text)) = member {
                let quotes = text.iter().filter(|byte| **byte == b'"').count();
                let escapes = text.iter().filter(|byte| **byte == b'\\').count();
                assert!(quotes <= escapes, "{}", text.escape_ascii());
            }
        })
        .ok()
        .map(|()| members)
    };
    if let Some(members) = count(&[bytes]).filter(|members| *members > 0) {
        assert_eq!(count(&[bytes, bytes]), Some(members * 2));
        assert_eq!(count(&[&[bytes, b","].concat()]), None);
        assert_eq!(count(&[&[b",", bytes].concat()]), None);
    }
    let keys = |lines: &[&[u8]]| {
        let mut keys = 0;
        parse_dictionary(lines.iter().copied(), |key, _| {
            keys += 1;
            assert!(key.iter().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()));
        })
        .ok()
        .map(|()| keys)
    };
    if let Some(members) = keys(&[bytes]).filter(|members| *members > 0) {
        assert_eq!(keys(&[bytes, b"a"]), Some(members + 1));
        assert_eq!(keys(&[bytes, b"A"]), None);
    }
}
