//! Tests of keys.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use ringway_model::CacheMode;

use super::*;
use crate::fields::Lines;

fn parts(target: &[u8]) -> KeyParts<'_> {
    KeyParts { scope: ScopeId(7), is_https: true, port: 443, host: "a.example", target, pool: "" }
}

fn key(parts: &KeyParts<'_>, settings: &Settings, lines: &str) -> Vec<u8> {
    let mut out = Vec::new();
    write_key(&mut out, parts, settings, Lines(lines.as_bytes())).unwrap();
    out
}

#[test]
fn every_part_makes_another_key() {
    let settings = Settings::default();
    let base = parts(b"/");
    let keys = [
        base,
        KeyParts { scope: ScopeId(8), ..base },
        KeyParts { is_https: false, ..base },
        KeyParts { port: 8443, ..base },
        KeyParts { host: "b.example", ..base },
        KeyParts { target: b"/?", ..base },
        KeyParts { target: b"//", ..base },
        KeyParts { pool: "canary", ..base },
    ]
    .map(|parts| key(&parts, &settings, ""));
    for (index, one) in keys.iter().enumerate() {
        assert!(keys[..index].iter().all(|other| other != one), "{index}");
    }
}

#[test]
fn parts_are_read_back() {
    let settings = Settings::default();
    let parts = KeyParts { pool: "p", ..parts(b"/a?b=c") };
    let primary = key(&parts, &settings, "");
    assert_eq!(KeyParts::parse(&primary), Some(parts));
    let mut variant = Vec::new();
    begin_variant_key(&mut variant, &primary, 5);
    assert_eq!(KeyParts::parse(&variant), Some(parts));
    assert_ne!(primary, variant);
    for len in 0..primary.len() {
        assert_eq!(KeyParts::parse(&primary[..len]), None, "{len}");
    }
    assert_eq!(KeyParts::parse(b"\x02rest"), None);
}

#[test]
fn values_of_vary_headers_are_part_of_the_key() {
    let settings =
        Settings { vary_headers: ["x-a".into(), "authorization".into()].into(), ..Settings::default() };
    let key = |lines: &str| key(&parts(b"/"), &settings, lines);
    assert_ne!(key(""), key("X-A: \r\n"));
    assert_ne!(key("X-A: 1\r\n"), key("X-A: 2\r\n"));
    assert_eq!(key("X-A: 1\r\nX-B: 2\r\n"), key("x-a: 1\r\n"));
    // Credentials distinguish keys, and cannot be read in them.
    let (one, other) =
        (key("Authorization: Bearer one-secret\r\n"), key("Authorization: Bearer another\r\n"));
    assert_ne!(one, other);
    assert!(!one.windows(6).any(|part| part == b"secret"));
    assert_eq!(one, key("authorization: Bearer one-secret\r\n"));
}

#[test]
fn the_query_is_raw_unless_the_settings_normalise_it() {
    let target = |settings: &Settings, target: &str| {
        let mut out = Vec::new();
        write_key_target(&mut out, target.as_bytes(), settings);
        String::from_utf8(out).unwrap()
    };
    let raw = Settings::default();
    assert_eq!(target(&raw, "/?b=2&a=1&&utm=x"), "/?b=2&a=1&&utm=x");
    let sorted = Settings { sorts_query: true, ..Settings::default() };
    assert_eq!(target(&sorted, "/?b=2&a=2&a=1&ab"), "/?a=2&a=1&ab&b=2");
    assert_eq!(target(&sorted, "/a"), "/a");
    let ignoring = Settings { ignored_params: ["utm".into()].into(), ..Settings::default() };
    assert_eq!(target(&ignoring, "/?utm=1&b=2&utm&utmx=3"), "/?b=2&utmx=3");
    assert_eq!(target(&ignoring, "/?utm=1"), "/");
    // A longer query than is sorted keeps its order, and is cut nowhere.
    let long = format!("/?{}", (0..100).rev().map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&"));
    assert_eq!(target(&sorted, &long), long);
}

#[test]
fn a_key_has_a_limit() {
    let long = vec![b'a'; KEY_BYTES_MAX];
    let mut out = vec![1];
    let error = write_key(&mut out, &parts(&long), &Settings::of_mode(CacheMode::Safe), Lines(b""));
    assert_eq!((error, out.len()), (Err(KeyError::TooLong), 0));
}

proptest! {
    /// No way to move bytes from one part to the next makes the same key.
    #[test]
    fn different_parts_never_have_one_key(
        host in "[a-c.]{0,4}", other_host in "[a-c.]{0,4}",
        target in "[a-c/?]{0,4}", other_target in "[a-c/?]{0,4}",
        pool in "[a-c]{0,3}", other_pool in "[a-c]{0,3}",
        value in "[a-c]{0,3}", other_value in "[a-c]{0,3}",
    ) {
        let settings = Settings { vary_headers: ["x".into()].into(), ..Settings::default() };
        let make = |host: &str, target: &str, pool: &str, value: &str| {
            let parts = KeyParts { host, pool, ..parts(target.as_bytes()) };
            key(&parts, &settings, &format!("x: {value}\r\n"))
        };
        let same = (&host, &target, &pool, &value) == (&other_host, &other_target, &other_pool, &other_value);
        let (one, other) = (make(&host, &target, &pool, &value), make(&other_host, &other_target, &other_pool, &other_value));
        prop_assert_eq!(one == other, same);
    }

    /// A key is read back, and other bytes never cause a panic.
    #[test]
    fn any_bytes_may_be_parsed(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = KeyParts::parse(&bytes);
    }
}
