#![allow(clippy::unwrap_used)]
use super::*;

fn pattern(text: &str) -> Result<Pattern, PatternError> {
    Pattern::new(&text.into())
}

fn is_match(text: &str, subject: &str) -> bool {
    pattern(text).unwrap().is_match(subject.as_bytes())
}

#[test]
fn a_pattern_matches_whole_texts_with_and_without_anchors() {
    for text in ["/v[0-9]+/.*", "^/v[0-9]+/.*", "^/v[0-9]+/.*$", "(?:^/v[0-9]+/.*$)"] {
        assert!(is_match(text, "/v1/x") && is_match(text, "/v12/"), "{text}");
        for subject in ["/v1", "/a/v1/x", "/v/x", "v1/x", ""] {
            assert!(!is_match(text, subject), "{text} {subject}");
        }
    }
    // An alternative that is a beginning of another one does not hide it.
    assert!(is_match("/a|/ab|/abc", "/abc") && is_match("/a|/ab", "/ab") && !is_match("/a|/ab", "/abx"));
    assert!(
        is_match(r".*\.example\.com", "a.b.example.com") && !is_match(r".*\.example\.com", "example.com")
    );
    assert!(is_match("", "") && !is_match("", "/"));
    assert!(!is_match("/a$", "/ab") && is_match("(?i)/API", "/api") && is_match(r"/\w+", "/a_1"));
    // A line feed cannot stand in a target, and does not end a text either.
    assert!(!is_match("/a.*", "/a\n") && is_match("(?s)/a.*", "/a\n"));
}

#[test]
fn an_unbalanced_pattern_cannot_leave_the_whole_match() {
    for text in ["a)|(b", "(", "[", "*", "a{2", "(?P<x", r"\p{Greek}", r"(a)\1", "(?=a)"] {
        assert!(matches!(pattern(text), Err(PatternError::Syntax(_))), "{text}: {:?}", pattern(text));
    }
    let Err(PatternError::Syntax(reason)) = pattern("/a(b") else { panic!("it was accepted") };
    assert_eq!(&*reason, "unclosed group");
}

#[test]
fn the_literal_beginning_is_what_every_match_begins_with() {
    for (text, literal) in [
        ("^/v[0-9]+/.*", "/v"),
        ("/api/(users|groups)", "/api/"),
        ("/api/(user|users)", "/api/user"),
        ("/exact", "/exact"),
        ("(?i)/api", "/"),
        ("/a?b", "/"),
        (".*", ""),
        ("/a*", "/"),
        ("", ""),
        ("/x{3}y", "/xxxy"),
        ("(/a/b|/a/c)", "/a/"),
    ] {
        let pattern = pattern(text).unwrap();
        assert_eq!(String::from_utf8_lossy(pattern.literal()), literal, "{text}");
    }
    // Nothing matches: no byte leads on.
    assert!(!pattern("a$b").unwrap().is_match(b"ab"));
}

#[test]
fn hostile_patterns_are_refused_in_time() {
    let nested = format!("{}a{}", "(".repeat(100), ")".repeat(100));
    for text in ["(a|aa|aaa){900}", "((((.{9}){9}){9}){9}){9}", r"[\w-]*a[\w-]{14}", "(.*a.{12}){3}"] {
        assert_eq!(pattern(text), Err(PatternError::TooLarge), "{text}");
    }
    assert!(matches!(pattern(&nested), Err(PatternError::Syntax(_))));
    assert_eq!(pattern(&"a".repeat(PATTERN_BYTES_MAX + 1)), Err(PatternError::TooLong));
    assert!(pattern(&"a".repeat(PATTERN_BYTES_MAX)).is_ok());
}

#[test]
fn equal_texts_share_a_table_while_one_is_in_use() {
    let patterns = Patterns::default();
    let text: Arc<str> = "/v[0-9]+".into();
    let first = patterns.compile(&text).unwrap();
    assert!(Arc::ptr_eq(&first, &patterns.compile(&text).unwrap()));
    for number in 0..1_000 {
        patterns.compile(&format!("/{number}").into()).unwrap();
    }
    let known = patterns.0.lock().unwrap().by_text.len();
    assert!(known < 200, "{known}");
    assert!(Arc::ptr_eq(&first, &patterns.compile(&text).unwrap()));
    assert!(patterns.compile(&"(".into()).is_err());
}

#[test]
fn a_pattern_without_a_slash_matches_no_path() {
    for (text, may) in [
        ("/v[0-9]+/.*", true),
        ("^/a$", true),
        (".*", true),
        ("(/a|b)", true),
        ("(?i)/A", true),
        ("", false),
        ("v1/.*", false),
        ("^(a|b)", false),
        ("[a-z]+", false),
    ] {
        assert_eq!(Pattern::new(&text.into()).unwrap().may_match_path(), may, "{text}");
    }
}
