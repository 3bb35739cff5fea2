//! Tests of patterns, and of their guards against cache deception.

use super::*;

fn permits(pattern: &str, path: &str, content_type: &str) -> bool {
    permit(&[pattern.into()], path.as_bytes(), Some(content_type.as_bytes()))
}

#[test]
fn stars_stand_for_any_bytes() {
    for (pattern, path, expected) in [
        ("*.css", "/a/b.css", true),
        ("*.css", "/a/b.css2", false),
        ("/static/*", "/static/a/b", true),
        ("/static/*", "/other/a", false),
        ("/a*b*c", "/aXXbbYYcZc", true),
        ("/a*b*c", "/aXXc", false),
        ("*", "/anything", true),
        ("/", "/", true),
        ("/", "/a", false),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
    }
    // A pattern with many stars takes no exponential time.
    assert!(!matches(b"*a*a*a*a*b", &[b'a'; 4000]));
}

/// Cache deception: the page of an account, under a name that looks like a file.
#[test]
fn a_response_must_be_of_the_type_that_its_path_promises() {
    assert!(permits("*.css", "/site.css", "text/css; charset=utf-8"));
    assert!(permits("*.css", "/site.css?v=2", "TEXT/CSS"));
    assert!(!permits("*.css", "/account/x.css", "text/html"));
    assert!(!permits("*.js", "/account/x.js", "application/json"));
    assert!(permits("*.PNG", "/a.PNG", "image/png"));
    assert!(!permits("*.woff9", "/account/x.woff9", "text/html;charset=utf-8"));
    assert!(permits("*.woff9", "/x.woff9", "application/octet-stream"));
    assert!(permits("/static/*", "/static/readme", "text/html"));
    assert!(!permit(&["*.css".into()], b"/site.css", None));
}

#[test]
fn paths_with_two_readings_are_not_permitted() {
    for path in [
        "/account;/x.css",
        "/account%2Fx.css",
        "/a/..%2f/x.css",
        "/a/../x.css",
        "/a\\x.css",
        "/a%5cx.css",
        "/account%3bx.css",
        "/account%00.css",
        "/account%0a.css",
        "/account%23.css",
        "/account%3f.css",
        "/%2e%2e/x.css",
        "/account%252Fx.css",
        "/account%25252fx.css",
    ] {
        assert!(!permits("*.css", path, "text/css"), "{path}");
    }
}
