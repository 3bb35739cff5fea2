#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use ringway_wire::path;

use super::*;

fn rewritten(rewrite: &model::Rewrite, matched: &PathMatch, target: &str) -> String {
    match Rewrite::new(rewrite, matched, Slashes::Merge).unwrap() {
        None => target.to_owned(),
        Some(rewrite) => {
            let mut out = String::new();
            rewrite.apply(&mut out, target);
            out
        }
    }
}

fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix(text.into())
}

#[test]
fn a_prefix_is_stripped_at_a_segment_s_end() {
    for (matched, target, expected) in [
        ("/api", "/api/x", "/x"),
        ("/api", "/api", "/"),
        ("/api", "/api/", "/"),
        ("/api", "/api?q=/api//x", "/?q=/api//x"),
        ("/api/", "/api/x/", "/x/"),
        ("/api/", "/api/", "/"),
        ("/%61pi", "/api/x", "/x"),
        ("/caf\u{e9}", "/caf%C3%A9/x", "/x"),
        ("/", "/x", "/x"),
    ] {
        assert_eq!(rewritten(&model::Rewrite::StripPrefix, &prefix(matched), target), expected, "{target}");
    }
    let exact = PathMatch::Exact("/a/b".into());
    assert_eq!(rewritten(&model::Rewrite::StripPrefix, &exact, "/a/b?x"), "/?x");
    assert_eq!(rewritten(&model::Rewrite::StripPrefix, &PathMatch::Any, "/a/b?x"), "/a/b?x");
}

#[test]
fn a_prefix_is_replaced_with_one_slash_between() {
    for (by, target, expected) in [
        ("/v2", "/api/x?q", "/v2/x?q"),
        ("/v2/", "/api/x", "/v2/x"),
        ("/v2", "/api", "/v2"),
        ("/v2/", "/api", "/v2/"),
        ("/v2", "/api/", "/v2/"),
        ("/", "/api/x", "/x"),
        ("/", "/api", "/"),
        ("/a b", "/api/x", "/a%20b/x"),
    ] {
        let rewrite = model::Rewrite::ReplacePrefix(by.into());
        assert_eq!(rewritten(&rewrite, &prefix("/api"), target), expected, "{by} {target}");
    }
    let rewrite = model::Rewrite::ReplacePrefix("/v2".into());
    assert_eq!(rewritten(&rewrite, &PathMatch::Any, "/x"), "/v2/x");
}

#[test]
fn a_path_is_replaced_and_the_query_kept() {
    let rewrite = model::Rewrite::ReplacePath("/status".into());
    let pattern = PathMatch::Regex("/.*".into());
    assert_eq!(rewritten(&rewrite, &pattern, "/a/b?c=d?"), "/status?c=d?");
    assert_eq!(rewritten(&rewrite, &PathMatch::Any, "/"), "/status");
}

#[test]
fn replacements_that_no_request_could_have_are_refused() {
    use RoutePathError::{NoSlash, NotOnlyPath, Unreachable};
    for (by, error) in [
        ("", NoSlash),
        ("v2", NoSlash),
        ("/v2?x", NotOnlyPath),
        ("/v2#x", NotOnlyPath),
        ("/../x", Unreachable(path::PathError::AboveRoot)),
        ("/a%2fb", Unreachable(path::PathError::EscapedDelimiter)),
    ] {
        let rewrite = model::Rewrite::ReplacePrefix(by.into());
        assert_eq!(Rewrite::new(&rewrite, &prefix("/api"), Slashes::Merge), Err(error), "{by}");
    }
}

proptest! {
    /// Whatever an endpoint gets is normal: a prefix that is stripped uncovers no dot segment, and no second
    /// slash that makes a host of the path.
    #[test]
    fn a_rewritten_path_is_normal(
        segments in prop::collection::vec(prop::sample::select(vec!["", ".", "..", "a", "b", "a%2eb", ";x"]), 0..8),
        taken in 0..4_usize,
        keeps in any::<bool>(),
        by in prop::sample::select(vec!["", "/", "/v2", "/v2/", "/v2//x"]),
    ) {
        let slashes = if keeps { Slashes::Keep } else { Slashes::Merge };
        let mut target = String::new();
        if path::normalize(&mut target, &format!("/{}", segments.join("/")), slashes).is_err() {
            return Ok(());
        }
        let beginning: Vec<&str> = target.split('/').skip(1).take(taken).collect();
        let matched = PathMatch::Prefix(format!("/{}", beginning.join("/")).into());
        let rewrite = match by {
            "" => model::Rewrite::StripPrefix,
            by => model::Rewrite::ReplacePrefix(by.into()),
        };
        let Some(rewrite) = Rewrite::new(&rewrite, &matched, slashes).unwrap() else { return Ok(()) };
        let (mut out, mut again) = (String::new(), String::new());
        rewrite.apply(&mut out, &target);
        prop_assert!(out.starts_with('/') && !out.starts_with("//"), "{}", out);
        prop_assert_eq!(path::normalize(&mut again, &out, slashes), Ok(()));
        prop_assert_eq!(out, again);
    }
}
