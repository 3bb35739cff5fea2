//! Tests of the readers: directives, dates, ages, ranges, entity tags, codings.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use ringway_model::Timestamp;

use super::*;

/// 2026-11-30T12:00:00Z
const NOW: Timestamp = Timestamp(1_796_040_000_000);

fn directives(value: &str) -> Directives {
    Directives::parse([value.as_bytes()].into_iter())
}

fn targeted(lines: &[&str]) -> Option<Directives> {
    Directives::parse_targeted(lines.iter().map(|line| line.as_bytes()))
}

/// RFC 9111 §1.2.2: digits, and the largest number instead of an overflow.
#[test]
fn delta_seconds_are_digits_and_saturate() {
    let cases: [(&str, Option<u32>); 9] = [
        ("0", Some(0)),
        ("003600", Some(3600)),
        ("2147483648", Some(DELTA_SECONDS_MAX)),
        ("99999999999999999999999", Some(DELTA_SECONDS_MAX)),
        ("", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        (" 1", None),
    ];
    for (text, expected) in cases {
        assert_eq!(parse_delta_seconds(text.as_bytes()), expected, "{text:?}");
    }
}

/// RFC 9111 §5.1
#[test]
fn age_is_the_first_value_of_the_first_line() {
    let age = |lines: &[&str]| parse_age(lines.iter().map(|line| line.as_bytes()));
    assert_eq!(age(&["7200, 0"]), Some(7200));
    assert_eq!(age(&["0, 7200"]), Some(0));
    assert_eq!(age(&["7200", "0"]), Some(7200));
    assert_eq!(age(&["7200;foo=bar"]), None);
    assert_eq!(age(&["abc"]), None);
    assert_eq!(age(&["-7200"]), None);
    assert_eq!(age(&[]), None);
}

/// RFC 9111 §5.2: names in any case, arguments as tokens and as strings.
#[test]
fn directives_are_read_in_any_case_and_quoted() {
    let read = directives("MAX-age=60, S-MaxAge=\"30\", NO-STORE, pUblic, stale-IF-error=5");
    assert_eq!((read.max_age, read.s_maxage, read.stale_if_error), (Some(60), Some(30), Some(5)));
    assert!(read.has(Directive::NoStore) && read.has(Directive::Public));
    assert!(!read.has(Directive::Private) && !directives("").is_present);
}

/// RFC 9111 §4.2.1: of contradicting numbers the least, and invalid ones make the response stale.
#[test]
fn contradicting_and_invalid_numbers_reuse_less() {
    assert_eq!(directives("max-age=1800, max-age=1").max_age, Some(1));
    assert_eq!(directives("max-age=1, max-age=1800").max_age, Some(1));
    for invalid in ["max-age", "max-age=", "max-age='60'", "max-age=60a", "max-age=-1", "max-age=1.5"] {
        assert_eq!(directives(invalid).max_age, Some(0), "{invalid}");
    }
    for blank in ["max-age =60", "max-age= 60", "max-age\t=60"] {
        assert_eq!(directives(blank).max_age, Some(0), "{blank}");
    }
    assert_eq!(directives("max-age=60, max-age=x").max_age, Some(0));
}

/// RFC 9111 §5.2: a directive within a string of another one is none.
#[test]
fn directives_in_strings_do_not_count() {
    let read = directives(r#"extension="max-age=60, no-store", private="a\", public", max-age=1"#);
    assert_eq!(read.max_age, Some(1));
    assert!(!read.has(Directive::NoStore) && read.has(Directive::Private) && !read.has(Directive::Public));
    // A string without an end hides what follows, but nothing before it.
    let read = directives("no-store, x=\"max-age=60");
    assert!(read.has(Directive::NoStore) && read.max_age.is_none());
}

/// RFC 9111 §5.2.2.4
#[test]
fn no_cache_with_fields_is_another_directive() {
    let has = |value: &str| {
        let read = directives(value);
        (read.has(Directive::NoCache), read.has(Directive::NoCacheFields))
    };
    assert_eq!(has("no-cache"), (true, false));
    assert_eq!(has("no-cache=\"Set-Cookie, X-A\""), (false, true));
    assert_eq!(has("no-cache=x-a"), (false, true));
    for empty in ["no-cache=", "no-cache=\"\"", "no-cache=\" , \"", "no-cache =\"a\""] {
        assert_eq!(has(empty), (true, false), "{empty}");
    }
    let values = || [&b"max-age=1, no-cache=\"a, B\""[..], b"no-cache=c"].into_iter();
    for name in ["a", "b", "C"] {
        assert!(is_named_by_no_cache(values(), name.as_bytes()), "{name}");
    }
    assert!(!is_named_by_no_cache(values(), b"max-age"));
}

/// RFC 9111 §5.2.1
#[test]
fn directives_of_requests_have_their_numbers() {
    let read = directives("max-stale, min-fresh=5, only-if-cached, no-transform");
    assert_eq!((read.max_stale, read.min_fresh), (Some(DELTA_SECONDS_MAX), Some(5)));
    assert!(read.has(Directive::OnlyIfCached) && read.has(Directive::NoTransform));
    assert_eq!(directives("max-stale=10, max-stale=5").max_stale, Some(5));
    assert_eq!(directives("max-stale=x").max_stale, Some(0));
    assert_eq!(directives("min-fresh=x").min_fresh, Some(DELTA_SECONDS_MAX));
    assert_eq!(directives("min-fresh=1, min-fresh=9").min_fresh, Some(9));
}

/// RFC 9213 §2.1: a dictionary, of which the last value of a key counts; else as if it were absent.
#[test]
fn a_targeted_field_is_a_dictionary_or_absent() {
    let read = targeted(&["max-age=600, foo;bar, no-store=?0, must-revalidate"]).unwrap();
    assert_eq!(read.max_age, Some(600));
    assert!(!read.has(Directive::NoStore) && read.has(Directive::MustRevalidate));
    assert_eq!(targeted(&["max-age=1", "max-age=2"]).unwrap().max_age, Some(2));
    assert_eq!(targeted(&["max-age=99999999999"]).unwrap().max_age, Some(DELTA_SECONDS_MAX));
    assert_eq!(targeted(&["max-age=-5"]).unwrap().max_age, Some(0));
    for absent in [
        &[][..],
        &[""],
        &["MaX-age=1"],
        &["max-age =1"],
        &["max-age= 1"],
        &["max-age=1,"],
        &["max-age=1, &&"],
        &["max-age=1", ""],
        &["max-age=1 no-store"],
    ] {
        assert_eq!(targeted(absent), None, "{absent:?}");
    }
}

/// RFC 9213 §2.1: values of a wrong type are not coerced; restrictions hold all the same.
#[test]
fn wrong_types_in_a_targeted_field_reuse_less() {
    for wrong in ["max-age=\"600\"", "max-age=600.5", "max-age", "max-age=(600)", "max-age=:YQ==:"] {
        assert_eq!(targeted(&[wrong]).unwrap().max_age, Some(0), "{wrong}");
    }
    let read = targeted(&["private=\"a\", no-store=1, no-cache=(a), public=1"]).unwrap();
    assert!(read.has(Directive::Private) && read.has(Directive::NoStore) && read.has(Directive::NoCache));
    assert!(!read.has(Directive::Public));
    assert!(targeted(&["no-cache=\"set-cookie\""]).unwrap().has(Directive::NoCacheFields));
}

/// RFC 9651 §4.2: all types, and the faults of each.
#[test]
fn structured_fields_are_parsed_strictly() {
    let parse = |text: &str| {
        let mut members = Vec::new();
        parse_list([text.as_bytes()].into_iter(), |member| members.push(format!("{member:?}")))
            .map(|()| members.len())
    };
    let valid = [
        ("", 0),
        ("a", 1),
        ("a,b , c", 3),
        ("*a:/b", 1),
        ("-12", 1),
        ("999999999999999", 1),
        ("1.123", 1),
        ("\"a\\\\b\\\"\"", 1),
        (":aGk=:", 1),
        ("::", 1),
        ("?0", 1),
        ("@-1659578233", 1),
        ("%\"f%c3%bc\"", 1),
        ("(a \"b\" 1;x)", 1),
        ("( a  b )", 1),
        ("()", 1),
        ("a;b=1;c", 1),
        ("a; b", 1),
        ("\"a,b\", c", 2),
    ];
    for (text, count) in valid {
        assert_eq!(parse(text), Ok(count), "{text:?}");
    }
    let invalid = [
        ",a",
        "a,",
        "a,,b",
        "a b",
        "1000000000000000",
        "1234567890123.1",
        "1.",
        "1.1234",
        "-",
        "--1",
        "1-",
        "\"a",
        "\"a\\n\"",
        "\"\u{7f}\"",
        ":a-b:",
        ":ab",
        "?2",
        "?",
        "@1.5",
        "@",
        "%f",
        "%\"%C3%BC\"",
        "%\"%ff\"",
        "%\"%c\"",
        "(a",
        "(a,b)",
        "(a\"b\")",
        "a;",
        "a;B",
        "a;b=",
        "ä",
        "=",
        "&",
    ];
    for text in invalid {
        assert_eq!(parse(text), Err(SyntaxError), "{text:?}");
    }
}

/// RFC 9651 §3.2, §4.2: lines are joined by commas; keys are in lower case.
#[test]
fn dictionaries_may_have_several_lines() {
    let parse = |lines: &[&'static str]| {
        let mut keys = Vec::new();
        parse_dictionary(lines.iter().map(|line| line.as_bytes()), |key, _| keys.push(key.len()))
            .map(|()| keys.len())
    };
    assert_eq!(parse(&["a=1,b", "c=(x y);z"]), Ok(3));
    assert_eq!(parse(&["", "a"]), Err(SyntaxError));
    for invalid in ["A=1", "a=", "a=1;", "1=a", "a =1", "a= 1"] {
        assert_eq!(parse(&[invalid]), Err(SyntaxError), "{invalid}");
    }
}

/// RFC 9110 §5.6.7
#[test]
fn dates_have_three_forms() {
    let expected = Some(784_111_777);
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "sUN, 06 nOV 1994 08:49:37 gmt",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        // The weekday is not compared.
        "Mon, 06 Nov 1994 08:49:37 GMT",
    ] {
        assert_eq!(parse_http_date(text.as_bytes(), NOW), expected, "{text}");
    }
    let at = |text: &str| parse_http_date(text.as_bytes(), NOW);
    assert_eq!(at("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
    assert_eq!(at("Sun, 21 Nov 2286 04:46:39 GMT"), Some(10_000_039_599));
    assert_eq!(at("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
    assert_eq!(at("Sat, 31 Dec 2016 23:59:60 GMT"), at("Sun, 01 Jan 2017 00:00:00 GMT"));
}

/// RFC 9110 §5.6.7: two digits that seem more than 50 years ahead are in the past.
#[test]
fn two_digit_years_are_within_fifty_years() {
    let year = |text: &str| parse_http_date(text.as_bytes(), NOW).unwrap() / 31_556_952 + 1970;
    assert_eq!(year("Thursday, 18-Aug-50 02:01:18 GMT"), 2050);
    assert_eq!(year("Thursday, 18-Aug-76 02:01:18 GMT"), 2076);
    assert_eq!(year("Thursday, 18-Aug-77 02:01:18 GMT"), 1977);
}

/// RFC 9110 §5.6.7
#[test]
fn what_resembles_a_date_is_none() {
    for text in [
        "",
        "0",
        "-1",
        "Thu, 18 Aug 2050 02:01:18 UTC",
        "Thu, 18 Aug 2050 02:01:18 AEST",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "Thu, 18  Aug  2050 02:01:18 GMT",
        "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT",
        "Thu, 18 Aug 2050 2:01:18 GMT",
        "Thu, 18 Aug 2050 24:01:18 GMT",
        "Thu, 00 Aug 2050 02:01:18 GMT",
        "Thu, 31 Jun 2050 02:01:18 GMT",
        "Thu, 29 Feb 2023 02:01:18 GMT",
        "Xxx, 18 Aug 2050 02:01:18 GMT",
        "Thu, 18 Xxx 2050 02:01:18 GMT",
        "Thu Aug 18 02:01:18 50",
        "Thursday, 18-Aug-50 02:01:18",
        "Thu, 18-Aug-50 02:01:18 GMT",
    ] {
        assert_eq!(parse_http_date(text.as_bytes(), NOW), None, "{text:?}");
    }
}

/// RFC 9110 §14.1.1, §14.2
#[test]
fn ranges_are_one_several_or_none() {
    use {ByteRange as B, RangeRequest as R};
    let cases: [(&str, R); 16] = [
        ("bytes=0-1", R::One(B::FromTo(0, 1))),
        ("BYTES=1-", R::One(B::From(1))),
        ("bytes=-5", R::One(B::Last(5))),
        ("bytes=0-0,", R::One(B::FromTo(0, 0))),
        ("bytes=0-99999999999999999999999", R::One(B::FromTo(0, u64::MAX))),
        ("bytes=0-1, 4-5", R::Several),
        ("bytes=0-1,x", R::None),
        ("bytes=2-1", R::None),
        ("bytes=-", R::None),
        ("bytes=", R::None),
        ("bytes", R::None),
        ("bytes=a-b", R::None),
        ("bytes=0 - 1", R::None),
        ("bytes =0-1", R::None),
        ("items=0-1", R::None),
        ("bytes=--1", R::None),
    ];
    for (text, expected) in cases {
        assert_eq!(R::parse(text.as_bytes()), expected, "{text}");
    }
}

/// RFC 9110 §14.1.2
#[test]
fn a_range_selects_bytes_that_exist() {
    use ByteRange as B;
    assert_eq!(B::FromTo(0, 0).resolve(10), Some(0..1));
    assert_eq!(B::FromTo(5, 100).resolve(10), Some(5..10));
    assert_eq!(B::FromTo(0, u64::MAX).resolve(10), Some(0..10));
    assert_eq!(B::FromTo(10, 11).resolve(10), None);
    assert_eq!(B::From(9).resolve(10), Some(9..10));
    assert_eq!(B::From(10).resolve(10), None);
    assert_eq!(B::Last(3).resolve(10), Some(7..10));
    assert_eq!(B::Last(30).resolve(10), Some(0..10));
    assert_eq!(B::Last(0).resolve(10), None);
    assert_eq!(B::Last(1).resolve(0), None);
}

/// RFC 9110 §8.8.3.2
#[test]
fn entity_tags_compare_strongly_and_weakly() {
    let cases = [
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
        ("1", "1", false, true),
        ("1", "\"1\"", false, false),
        ("w/\"1\"", "\"1\"", false, false),
    ];
    for (one, other, strong, weak) in cases {
        assert_eq!(matches_strongly(one.as_bytes(), other.as_bytes()), strong, "{one} {other}");
        assert_eq!(matches_weakly(one.as_bytes(), other.as_bytes()), weak, "{one} {other}");
    }
}

/// RFC 9110 §13.1.2
#[test]
fn if_none_match_finds_its_tag_in_a_list() {
    let finds =
        |value: &str, tag: &str| is_none_matched([value.as_bytes()].into_iter(), Some(tag.as_bytes()));
    assert!(finds("\"a\", W/\"b\", \"c,d\"", "\"b\""));
    assert!(finds("\"a\", \"c,d\"", "\"c,d\""));
    assert!(!finds("\"a\", \"c,d\"", "\"c\""));
    assert!(finds("*", "\"a\"") && is_none_matched([&b"*"[..]].into_iter(), None));
    assert!(!is_none_matched([&b"\"a\""[..]].into_iter(), None));
}

/// RFC 9110 §12.5.3
#[test]
fn accepted_codings_are_reduced_to_ours() {
    let value = |text: &str| Codings::parse([text.as_bytes()].into_iter()).value();
    assert_eq!(value("gzip, deflate, br, zstd"), Some("zstd, br, gzip"));
    assert_eq!(value("BR;q=1.0, gzip;q=0.8, *;q=0.1"), Some("zstd, br, gzip"));
    assert_eq!(value("*, br;q=0"), Some("zstd, gzip"));
    assert_eq!(value("br;q=0.000, x-gzip"), Some("gzip"));
    assert_eq!(value("gzip;q=2, br;q=0.1234, zstd;q=x"), None);
    assert_eq!(value("identity, deflate"), None);
    assert_eq!(value(""), None);
    assert!(Codings::parse(std::iter::empty()).is_empty());
    let all = Codings::parse([&b"*"[..]].into_iter());
    assert!(all.has(Codings::ZSTD) && all.has(Codings::BR) && all.has(Codings::GZIP));
}

proptest! {
    /// Readers take any bytes.
    #[test]
    fn no_bytes_cause_a_panic(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let one = || std::iter::once(value.as_slice());
        let _ = (Directives::parse(one()), Directives::parse_targeted(one()), parse_age(one()));
        let _ = (parse_http_date(&value, NOW), RangeRequest::parse(&value), Codings::parse(one()));
        let _ = (is_none_matched(one(), Some(b"\"a\"")), parse_list(one(), |_| {}));
    }

    /// Dates written by this proxy are read back.
    #[test]
    fn written_dates_are_read_back(seconds in 0u64..253_402_300_800) {
        let text = Timestamp(seconds * 1_000).to_http_date();
        prop_assert_eq!(parse_http_date(text.as_bytes(), NOW), Some(seconds as i64));
    }

    /// A selected range is part of the body, and never empty.
    #[test]
    fn ranges_stay_within_the_body(first: u64, last: u64, len in 0u64..1_000_000) {
        for range in [ByteRange::FromTo(first.min(last), last), ByteRange::From(first), ByteRange::Last(last)] {
            if let Some(bytes) = range.resolve(len) {
                prop_assert!(bytes.start < bytes.end && bytes.end <= len);
            }
        }
    }

    /// One directive more never lengthens a lifetime, and never removes a restriction.
    #[test]
    fn more_directives_reuse_no_more(
        some in "(max-age=[0-9]{1,3}|no-store|private|s-maxage=[0-9]{1,3}|x)(, (max-age=[0-9x]{1,3}|no-cache))?",
        more in "(max-age=[0-9]{1,3}|no-store|private|public|s-maxage=x|y=\"z\")",
    ) {
        let (before, after) = (directives(&some), directives(&format!("{some}, {more}")));
        for (before, after) in [(before.max_age, after.max_age), (before.s_maxage, after.s_maxage)] {
            prop_assert!(before.is_none_or(|before| after.is_some_and(|after| after <= before)));
        }
        for restriction in [Directive::NoStore, Directive::Private, Directive::NoCache] {
            prop_assert!(!before.has(restriction) || after.has(restriction));
        }
    }
}
