//! Tests of `Vary` and of the normal form of selecting values.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fields::Lines;

fn names(lines: &[&str]) -> Vary {
    Vary::parse(lines.iter().map(|line| line.as_bytes()))
}

fn marker(vary: &str) -> Marker {
    let Vary::Names(names) = names(&[vary]) else { panic!("{vary} has no names") };
    Marker::new(names, 1)
}

fn key_in(mode: CacheMode, vary: &str, lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    marker(vary).write_key(&mut out, b"primary", Lines(lines.as_bytes()), mode).unwrap();
    out
}

fn key(vary: &str, lines: &str) -> Vec<u8> {
    key_in(CacheMode::Safe, vary, lines)
}

/// RFC 9110 §12.5.5
#[test]
fn a_star_anywhere_selects_nothing() {
    for lines in
        [&["*"][..], &["*, *"], &["*", "*"], &[", *"], &["", "*"], &["*, Foo"], &["Foo, *"], &["a", "b,*"]]
    {
        assert_eq!(names(lines), Vary::Anything, "{lines:?}");
    }
    assert_eq!(names(&[]), Vary::Nothing);
    assert_eq!(names(&["", ","]), Vary::Nothing);
    assert_eq!(names(&["a b"]), Vary::Unusable);
}

#[test]
fn names_are_folded_sorted_and_limited() {
    let Vary::Names(listed) = names(&["Foo, bar", "FOO"]) else { panic!("no names") };
    assert_eq!(listed.iter().collect::<Vec<_>>(), ["bar", "foo"]);
    let many = |count: usize| (0..count).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
    assert!(matches!(names(&[&many(VARY_NAMES_MAX)]), Vary::Names(_)));
    assert_eq!(names(&[&many(VARY_NAMES_MAX + 1)]), Vary::Unusable);
    assert_eq!(names(&[&format!("{}, *", many(VARY_NAMES_MAX + 5))]), Vary::Anything);
}

/// RFC 9111 §4.1
#[test]
fn absent_differs_from_empty_and_lines_are_joined() {
    assert_ne!(key("Foo", ""), key("Foo", "Foo: \r\n"));
    assert_eq!(key("Foo", "Foo: 1, 2\r\n"), key("Foo", "foo: 1\r\nFOO: 2\r\n"));
    assert_eq!(key("Foo", "Foo: 1,2\r\n"), key("Foo", "Foo:  1 ,  2 \r\n"));
    assert_ne!(key("Foo", "Foo: 1,2\r\n"), key("Foo", "Foo: 2,1\r\n"));
    assert_ne!(key("Foo", "Foo: \"1, 2\"\r\n"), key("Foo", "Foo: \"1,2\"\r\n"));
    assert_ne!(key("A, B", "A: x\r\n"), key("A, B", "B: x\r\n"));
    assert_eq!(key("A, B", "A: x\r\nB: y\r\n"), key("b, a", "B: y\r\nA: x\r\nC: z\r\n"));
}

/// RFC 9110 §12.5.3
#[test]
fn codings_are_compared_by_what_remains_of_them() {
    let key = |lines: &str| key("Accept-Encoding", lines);
    assert_eq!(key("Accept-Encoding: gzip, deflate\r\n"), key("Accept-Encoding: gzip;q=0.5\r\n"));
    assert_eq!(key(""), key("Accept-Encoding: identity\r\n"));
    assert_ne!(key("Accept-Encoding: br\r\n"), key("Accept-Encoding: gzip\r\n"));
}

/// RFC 9110 §12.5.4: weights decide, not the order.
#[test]
fn the_order_of_languages_counts_in_safe_mode_only() {
    let keys = |mode| {
        let key = |value: &str| key_in(mode, "Accept-Language", &format!("Accept-Language: {value}\r\n"));
        (key("en, de") == key("de, en"), key("en, de") == key(" eN ,  DE"), key("en;q=0.5") == key("en"))
    };
    assert_eq!(keys(CacheMode::Safe), (false, true, false));
    assert_eq!(keys(CacheMode::Rfc9111), (true, true, false));
    let long = (0..40).map(|n| format!("l{n}")).collect::<Vec<_>>().join(", ");
    let lines = format!("Accept-Language: {long}\r\n");
    assert_eq!(key_in(CacheMode::Rfc9111, "Accept-Language", &lines), key("Accept-Language", &lines));
}

/// RFC 9111 §4.1: the variant in the language that the request prefers.
#[test]
fn a_language_finds_its_variant() {
    let primary = b"primary";
    let first = Lines(b"Accept-Language: en, de\r\n");
    let response = Lines(b"Content-Language: de\r\n");
    let known = marker("Accept-Language").with_language(first, response, CacheMode::Rfc9111).unwrap();
    let (mut stored, mut found) = (Vec::new(), Vec::new());
    known.write_key(&mut stored, primary, first, CacheMode::Rfc9111).unwrap();
    let mut find = |lines: &str| {
        let lines = Lines(lines.as_bytes());
        known.write_language_key(&mut found, primary, lines, CacheMode::Rfc9111).unwrap() && found == stored
    };
    assert!(find("Accept-Language: fr;q=0.5, DE;q=1.0\r\n"));
    assert!(!find("Accept-Language: fr, de;q=0.9\r\n"));
    assert!(!find("Accept-Language: fr, de\r\n"));
    assert!(!find("Accept-Language: de;q=0\r\n"));
    assert!(!find("Accept-Language: de;q=x\r\n"));
    assert!(!find(""));
    // Known already, of several languages, or in safe mode: no other marker.
    assert_eq!(known.with_language(first, response, CacheMode::Rfc9111), None);
    let two = Lines(b"Content-Language: fr, it\r\n");
    assert_eq!(known.with_language(first, two, CacheMode::Rfc9111), None);
    assert_eq!(marker("Accept-Language").with_language(first, response, CacheMode::Safe), None);
    assert_eq!(marker("Foo").with_language(first, response, CacheMode::Rfc9111), None);
}

#[test]
fn a_new_generation_hides_all_variants() {
    let mut keys = [Vec::new(), Vec::new()];
    for (generation, out) in [1, 2].into_iter().zip(&mut keys) {
        let marker = Marker::new(marker("a").names().clone(), generation);
        marker.write_key(out, b"primary", Lines(b"a: 1\r\n"), CacheMode::Safe).unwrap();
    }
    assert_ne!(keys[0], keys[1]);
}

#[test]
fn cookies_select_without_being_kept() {
    let key = key("Cookie", "Cookie: session=abcdef\r\n");
    assert!(!key.windows(6).any(|part| part == b"abcdef"));
}
