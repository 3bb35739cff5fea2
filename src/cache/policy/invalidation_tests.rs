//! Tests of invalidation: RFC 9111 §4.4, RFC 3986 §5.2, RFC 9875 §3.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fields::Lines;

const REQUEST: RequestTarget<'static> =
    RequestTarget { is_https: true, host: "a.example", port: 443, target: "/shop/cart?x=1" };

fn targets(lines: &str) -> Vec<String> {
    Invalidation::of(Method::Post, 200, &REQUEST, Lines(lines.as_bytes())).unwrap().targets
}

/// RFC 9111 §4.4
#[test]
fn unsafe_and_unknown_methods_invalidate_on_success() {
    let of = |method, status| Invalidation::of(method, status, &REQUEST, Lines(b"")).is_some();
    for method in [Method::Post, Method::Put, Method::Delete, Method::Patch, Method::Extension] {
        assert!(of(method, 200) && of(method, 204) && of(method, 303), "{method}");
        assert!(!of(method, 400) && !of(method, 500) && !of(method, 199), "{method}");
    }
    for method in [Method::Get, Method::Head, Method::Options, Method::Trace] {
        assert!(!of(method, 200), "{method}");
    }
}

/// RFC 9111 §4.4: of the same origin only, or a tenant could empty another's cache.
#[test]
fn locations_of_the_same_origin_are_invalidated() {
    let own = "/shop/cart?x=1";
    for (location, expected) in [
        ("/a?b#c", Some("/a?b")),
        ("https://a.example/a", Some("/a")),
        ("HTTPS://A.Example.:443/a", Some("/a")),
        ("//a.example", Some("/")),
        ("https://a.example?q", Some("/?q")),
        ("list", Some("/shop/list")),
        ("../a/./b/../c", Some("/a/c")),
        ("..", Some("/")),
        ("../../../a", Some("/a")),
        ("?y=2", Some("/shop/cart?y=2")),
        ("a/b/.", Some("/shop/a/b/")),
        ("/a:b", Some("/a:b")),
        ("./a:b", Some("/shop/a:b")),
        ("#top", None),
        ("", None),
        ("http://a.example/a", None),
        ("https://b.example/a", None),
        ("https://a.example:8443/a", None),
        ("https://user@a.example/a", None),
        ("https://a.example:x/a", None),
        ("//b.example/a", None),
        ("mailto:a", None),
        ("https:a", None),
        ("https:/\u{e4}", None),
    ] {
        for name in ["Location", "content-location"] {
            let found = targets(&format!("{name}: {location}\r\n"));
            let expected: Vec<&str> = [Some(own), expected].into_iter().flatten().collect();
            assert_eq!(found, expected, "{location}");
        }
    }
    assert_eq!(
        targets("Location: /a\r\nContent-Location: /a\r\nContent-Location: /b\r\n"),
        [own, "/a", "/b"]
    );
}

/// RFC 9875 §3
#[test]
fn groups_are_invalidated_by_unsafe_methods() {
    let lines = Lines(b"Cache-Group-Invalidation: \"a\", \"b\"\r\n");
    let groups = Invalidation::of(Method::Post, 200, &REQUEST, lines).unwrap().groups;
    assert_eq!(groups, [tag_hash(b"a"), tag_hash(b"b")]);
    assert_eq!(Invalidation::of(Method::Get, 200, &REQUEST, lines), None);
    let invalid = Lines(b"Cache-Group-Invalidation: a\r\n");
    assert_eq!(Invalidation::of(Method::Post, 200, &REQUEST, invalid).unwrap().groups, []);
}
