#![allow(clippy::unwrap_used)]

use super::*;

fn is_match(selector: &Selector, host: &str, target: &str) -> bool {
    let scope = ScopeName { tenant: Some("t".into()), route: "r".into() };
    let parts =
        KeyParts { scope: ScopeId(3), is_https: true, port: 443, host, target: target.as_bytes(), pool: "" };
    selector.matches(&Subject { scope: &scope, parts, asked: Some(b"/asked"), tags: Some(&[1, 5]) })
}

#[test]
fn patterns_select_by_host_and_path() {
    for (pattern, host, target, expected) in [
        ("*.example.com", "a.example.com", "/", true),
        ("*.example.com", "a.b.example.com", "/x?y", true),
        ("*.example.com", "example.com", "/", false),
        ("*.example.com", "a.example.com.evil.test", "/", false),
        ("EXAMPLE.com", "example.com", "/any", true),
        ("example.com/img/*", "example.com", "/img/a.png", true),
        ("example.com/img/*", "example.com", "/img", false),
        ("example.com/a", "example.com", "/a", true),
        ("example.com/a", "example.com", "/ab", false),
        ("https://example.com/a*", "example.com", "/a?u=http://x", true),
        ("*/favicon.ico", "any.test", "/favicon.ico", true),
        ("*.test/*.js*", "cdn.test", "/lib/a.js?v=1", true),
        ("*.test/*a*a*a", "cdn.test", "/aa", false),
        ("*.test/*a*a*a", "cdn.test", "/xaaya", true),
        ("*", "any.test", "/", true),
        ("*/asked", "any.test", "/sent", true),
    ] {
        let selector = Selector::pattern(pattern).unwrap();
        assert_eq!(is_match(&selector, host, target), expected, "{pattern} {host}{target}");
    }
}

#[test]
fn patterns_that_cannot_be_meant_are_refused() {
    assert_eq!(Selector::pattern(""), Err(SelectorError::NoHost));
    assert_eq!(Selector::pattern("/img/*"), Err(SelectorError::NoHost));
    assert_eq!(Selector::pattern("ftp://a.test/"), Err(SelectorError::Scheme));
    assert_eq!(Selector::pattern(&"*a".repeat(9)), Err(SelectorError::TooManyStars));
    assert_eq!(Selector::pattern(&"a".repeat(1_025)), Err(SelectorError::TooLong));
}

#[test]
fn urls_select_one_target_of_both_schemes() {
    for (url, host, target, expected) in [
        ("https://a.test/x", "a.test", "/x", true),
        ("http://a.test/x", "a.test", "/x", true),
        ("a.test/x#part", "a.test", "/x", true),
        ("A.test.", "a.test", "/", true),
        ("a.test?q=1", "a.test", "/?q=1", true),
        ("a.test/x", "a.test", "/x?", false),
        ("a.test:443/x", "a.test", "/x", true),
        ("a.test:80/x", "a.test", "/x", false),
        ("[::1]/x", "[::1]", "/x", true),
        ("[::1]:443/x", "[::1]", "/x", true),
        ("a.test/asked", "a.test", "/sent", true),
    ] {
        assert_eq!(is_match(&Selector::url(url).unwrap(), host, target), expected, "{url} {host}{target}");
    }
    assert_eq!(Selector::url("https:///x"), Err(SelectorError::NoHost));
    assert_eq!(Selector::url("a.test:99999/"), Err(SelectorError::Port));
    assert_eq!(Selector::url("gopher://a.test/"), Err(SelectorError::Scheme));
}

#[test]
fn prefixes_select_what_begins_with_them() {
    let prefix = Selector::prefix("a.test/img/").unwrap();
    assert!(is_match(&prefix, "a.test", "/img/x") && is_match(&prefix, "a.test", "/img/"));
    assert!(!is_match(&prefix, "a.test", "/im") && !is_match(&prefix, "b.test", "/img/x"));
    assert!(is_match(&Selector::prefix("a.test").unwrap(), "a.test", "/anything"));
}

#[test]
fn tenants_routes_tags_and_groups_select_their_own() {
    let tenant = |name: &str| Selector::Tenant(name.into());
    let route = |tenant: Option<&str>, route: &str| Selector::Route {
        tenant: tenant.map(Into::into),
        route: route.into(),
    };
    let tags = |tags: &[u64]| Selector::Tags(tags.into());
    let groups = |scope, host: &str, tag| Selector::Groups {
        scope: ScopeId(scope),
        host: host.into(),
        tags: [tag].into(),
    };
    for (selector, expected) in [
        (Selector::All, true),
        (tenant("t"), true),
        (tenant("u"), false),
        (route(None, "r"), true),
        (route(Some("t"), "r"), true),
        (route(Some("u"), "r"), false),
        (route(None, "q"), false),
        (tags(&[2, 5]), true),
        (tags(&[2, 3]), false),
        (groups(3, "a.test", 1), true),
        (groups(4, "a.test", 1), false),
        (groups(3, "b.test", 1), false),
        (groups(3, "a.test", 2), false),
    ] {
        assert_eq!(is_match(&selector, "a.test", "/"), expected, "{selector:?}");
    }
}

#[test]
fn tags_that_are_not_known_yet_may_be_any() {
    let scope = ScopeName { tenant: None, route: "r".into() };
    let parts =
        KeyParts { scope: ScopeId(3), is_https: true, port: 443, host: "a.test", target: b"/", pool: "" };
    let subject = Subject { scope: &scope, parts, asked: None, tags: None };
    assert!(Selector::Tags([9].into()).matches(&subject));
}

#[test]
fn long_patterns_against_long_targets_take_no_time() {
    let pattern = format!("a.test/{}", "*a".repeat(8));
    let target = format!("/{}b", "a".repeat(16_000));
    assert!(!is_match(&Selector::pattern(&pattern).unwrap(), "a.test", &target));
}
