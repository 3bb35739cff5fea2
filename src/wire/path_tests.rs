#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::h1::{Limits, Parse, RequestHead};

fn normal(path: &str, slashes: Slashes) -> Result<String, PathError> {
    let mut out = String::new();
    normalize(&mut out, path, slashes).map(|()| out)
}

fn merged(path: &str) -> Result<String, PathError> {
    normal(path, Slashes::Merge)
}

#[test]
fn spellings_of_one_path_have_one_normal_form() {
    for (path, expected) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/%61%2D%5f%7E", "/a-_~"),
        ("/caf%c3%a9%20%2a", "/caf%C3%A9%20%2A"),
        ("/a/./b/.", "/a/b/"),
        ("/a/../b/..", "/"),
        ("/a/b/../../c", "/c"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/.a/..b/c./d../...", "/.a/..b/c./d../..."),
        ("//a///b//", "/a/b/"),
        ("/a//../b", "/b"),
        ("/a/;x=1/b;y", "/a/;x=1/b;y"),
        ("/a%252fb", "/a%252fb"),
        ("//", "/"),
        ("/a//", "/a/"),
        ("/a/.//", "/a/"),
    ] {
        assert_eq!(merged(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn empty_segments_are_kept_on_request() {
    for (path, expected) in [
        ("//a//b//", "//a//b//"),
        ("/a//../b", "/a/b"),
        ("/x/https://a.example/", "/x/https://a.example/"),
        ("/a//..", "/a/"),
        ("//..", "/"),
        ("//../a", "/a"),
    ] {
        assert_eq!(normal(path, Slashes::Keep).as_deref(), Ok(expected), "{path}");
    }
    assert_eq!(normal("//../..", Slashes::Keep), Err(PathError::AboveRoot));
}

#[test]
fn ambiguous_paths_are_refused() {
    use PathError::{AboveRoot, Backslash, BadEscape, DotParameter, EscapedDelimiter};
    for (path, error) in [
        ("/a%2fb", EscapedDelimiter),
        ("/a%2Fb", EscapedDelimiter),
        ("/a%5c..%5cb", EscapedDelimiter),
        ("/a%00", EscapedDelimiter),
        ("/a%3bb", EscapedDelimiter),
        ("/a%3F", EscapedDelimiter),
        ("/a%23", EscapedDelimiter),
        ("/a\\..\\b", Backslash),
        ("/..", AboveRoot),
        ("/../a", AboveRoot),
        ("/a/../../b", AboveRoot),
        ("//../a", AboveRoot),
        ("/%2e%2e/a", AboveRoot),
        ("/a/..;/b", DotParameter),
        ("/a/.;x=1/b", DotParameter),
        ("/a/%2e%2e;/b", DotParameter),
        ("/%", BadEscape),
        ("/%4", BadEscape),
        ("/%zz", BadEscape),
        ("/%%32f", BadEscape),
        ("/%4%31", BadEscape),
    ] {
        assert_eq!(merged(path), Err(error), "{path}");
    }
}

fn head_of(target: &str) -> (RequestHead, Vec<u8>) {
    let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let mut head = RequestHead::default();
    assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
    (head, text)
}

#[test]
fn a_head_has_the_normal_path_and_the_query_as_received() {
    for (target, expected) in [
        ("/a/../b?c=/../%2f//", "/b?c=/../%2f//"),
        ("/a?x/../y", "/a?x/../y"),
        ("http://h.example//a//./b?q", "/a/b?q"),
        ("http://h.example?q=//", "/?q=//"),
        ("http://h.example", "/"),
        ("/plain", "/plain"),
    ] {
        let (mut head, text) = head_of(target);
        assert_eq!(head.normalize_path(&text, Slashes::Merge), Ok(()), "{target}");
        assert_eq!(head.path_and_query(&text), expected, "{target}");
        // The memory of one request does not leak into the next.
        head.reset();
        assert_eq!(head.parse(&text, &Limits::default()), Ok(Parse::Complete));
        assert_ne!(head.target(&text), "", "{target}");
    }
    let (mut head, text) = head_of("/x/..%2f");
    assert_eq!(head.normalize_path(&text, Slashes::Merge), Err(PathError::EscapedDelimiter));
    assert_eq!(head.path_and_query(&text), "/x/..%2f");
}

/// Paths made of the pieces that attacks are made of.
fn paths() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/", "//", ".", "..", "%2e", "%2E", "%2f", "%5C", "%25", "%", "%4", "%41", "%c3", ";", "\\", "a",
        "b", "%00", "%3b", "~", "32", "65", "2e", "2f", "=", ":",
    ]);
    prop::collection::vec(pieces, 0..24).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn any_slashes() -> impl Strategy<Value = Slashes> {
    prop_oneof![Just(Slashes::Merge), Just(Slashes::Keep)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_normal_path_stays_the_same(path in paths(), slashes in any_slashes()) {
        if let Ok(once) = normal(&path, slashes) {
            prop_assert_eq!(normal(&once, slashes), Ok(once));
        }
    }

    /// Nothing is left that an endpoint could resolve or decode into another path.
    #[test]
    fn a_normal_path_is_read_in_one_way(path in paths(), slashes in any_slashes()) {
        let Ok(normal) = normal(&path, slashes) else { return Ok(()) };
        prop_assert!(normal.starts_with('/') && normal.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(!normal.contains('\\'));
        for segment in normal.split('/').skip(1) {
            let name = segment.split(';').next().unwrap();
            prop_assert!(!matches!(name, "." | ".."), "{}", normal);
        }
        if slashes == Slashes::Merge {
            prop_assert!(!normal.contains("//"), "{}", normal);
        }
        for (at, _) in normal.match_indices('%') {
            let byte = u8::from_str_radix(&normal[at + 1..at + 3], 16).unwrap();
            prop_assert!(!is_unreserved(byte) && !b"/\\;?#\0".contains(&byte), "{}", normal);
        }
    }

    /// The fast check never passes a path that would change.
    #[test]
    fn a_plain_path_is_normal(path in paths(), slashes in any_slashes()) {
        if is_plain(path.as_bytes()) {
            prop_assert_eq!(normal(&path, slashes), Ok(path));
        }
    }

    /// The same path as RFC 3986 §5.2.4 gives, where no rule beyond it applies.
    #[test]
    fn dot_segments_are_removed_as_the_rfc_says(
        segments in prop::collection::vec(prop::sample::select(vec![".", "..", "a", "b", "..."]), 0..12)
    ) {
        let path = format!("/{}", segments.join("/"));
        let mut stack: Vec<&str> = Vec::new();
        let mut is_folder = segments.is_empty();
        for segment in &segments {
            is_folder = matches!(*segment, "." | "..");
            match *segment {
                "." => {}
                ".." if stack.is_empty() => {
                    prop_assert_eq!(merged(&path), Err(PathError::AboveRoot));
                    return Ok(());
                }
                ".." => drop(stack.pop()),
                name => stack.push(name),
            }
        }
        let slash = if is_folder && !stack.is_empty() { "/" } else { "" };
        prop_assert_eq!(merged(&path), Ok(format!("/{}{slash}", stack.join("/"))));
    }
}
