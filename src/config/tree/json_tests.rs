#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn node(value: Value<'_>) -> Node<'_> {
    Node { value, at: None }
}

#[test]
fn whole_numbers_are_integers_however_they_are_written() {
    for (text, value) in [
        ("1.0", Value::Unsigned(1)),
        ("1e3", Value::Unsigned(1_000)),
        ("-0.0", Value::Unsigned(0)),
        ("-2.0", Value::Negative(-2)),
        ("9007199254740992.0", Value::Unsigned(1 << 53)),
        ("1.5", Value::Fraction(1.5)),
        ("1e300", Value::Fraction(1e300)),
        ("9007199254740994.0", Value::Fraction(9_007_199_254_740_994.0)),
    ] {
        let mut body = format!("{{\"n\":{text}}}").into_bytes();
        assert_eq!(parse(&mut body).unwrap().value("n"), Some(&value), "{text}");
    }
}

fn parsed(text: &str) -> Result<Vec<String>, DocumentError> {
    let mut bytes = text.as_bytes().to_vec();
    parse(&mut bytes).map(|object| object.names().map(str::to_owned).collect())
}

fn syntax(bytes: &[u8]) {
    let mut copy = bytes.to_vec();
    let result = parse(&mut copy).map(|_| ());
    assert!(matches!(result, Err(DocumentError::Syntax { .. })), "{:?}: {result:?}", bytes.escape_ascii());
}

#[test]
fn reads_an_object() {
    let mut bytes = br#" {"a": "x\u0041", "b": null, "c": {"d": -1, "e": [1, [2]], "f": 1.5}, "g": 18446744073709551615} "#.to_vec();
    let object = parse(&mut bytes).unwrap();
    assert_eq!(object.value("a"), Some(&text("xA")));
    assert_eq!(object.value("b"), Some(&Value::Null));
    assert_eq!(object.value("g"), Some(&Value::Unsigned(u64::MAX)));
    let Some(Value::Object(inner)) = object.value("c") else { panic!("c is an object") };
    assert_eq!(inner.value("d"), Some(&Value::Negative(-1)));
    let inmost = Value::Array(vec![node(Value::Unsigned(2))]);
    assert_eq!(inner.value("e"), Some(&Value::Array(vec![node(Value::Unsigned(1)), node(inmost)])));
    assert_eq!(inner.value("f"), Some(&Value::Fraction(1.5)));
    assert_eq!(inner.value("z"), None);
}

#[test]
fn refuses_what_is_not_json() {
    for text in [
        "",
        "  \r\n",
        "{",
        "}",
        "{]",
        "[",
        "nul",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\" 1}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":1,}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":1e999}",
        "{\"a\":NaN}",
        "{\"a\":Infinity}",
        "{} {}",
        "{}x",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"",
        "// c\n{}",
        "{\"a\":99999999999999999999999999999}",
        "\u{feff}{}",
    ] {
        syntax(text.as_bytes());
    }
    syntax(b"{\"a\":\"\xff\"}");
    syntax(b"\xc3\x28");
    syntax(b"{\"a\":\"\0\"}");
    syntax(b"\0");
    syntax(b"{\"\xed\xa0\x80\":1}");
}

#[test]
fn refuses_other_values_than_objects() {
    for (text, kind) in [
        ("null", "null"),
        ("1", "a number"),
        ("true", "a boolean"),
        ("\"x\"", "a string"),
        ("[{}]", "an array"),
    ] {
        assert_eq!(parsed(text), Err(DocumentError::NotAnObject(kind)), "{text}");
    }
}

#[test]
fn refuses_duplicate_names_at_every_level_and_names_all() {
    let Err(DocumentError::Duplicates(findings)) =
        parsed(r#"{"a":1,"b":{"x/y":1,"\u0078/y":2},"\u0061":2,"c":[{"d":1,"d":2}]}"#)
    else {
        panic!("duplicates are refused");
    };
    let fields: Vec<_> = findings.iter().map(|f| (f.field.dotted(), f.field.to_string())).collect();
    let expected = [("b.x/y", "/b/x~1y"), ("a", "/a"), ("c.0.d", "/c/0/d")];
    assert_eq!(fields, expected.map(|(dotted, pointer)| (dotted.to_owned(), pointer.to_owned())));
}

#[test]
fn bounds_the_number_of_duplicates_reported() {
    let body = format!("{{{}}}", vec!["\"a\":1"; 10_000].join(","));
    let Err(DocumentError::Duplicates(findings)) = parsed(&body) else { panic!("duplicates are refused") };
    assert_eq!(findings.len(), FINDINGS_MAX);
}

#[test]
fn bounds_nesting_on_both_sides_of_the_limit() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(parsed(&nested(API_BODY_DEPTH_MAX)).is_ok());
    assert_eq!(parsed(&nested(API_BODY_DEPTH_MAX + 1)), Err(DocumentError::TooDeep));
    assert_eq!(parsed(&nested(400_000)), Err(DocumentError::TooDeep));
    assert!(parsed(&"[".repeat(1_000_000)).is_err());
    assert!(parsed(&"{\"a\":".repeat(200_000)).is_err());
}

#[test]
fn takes_a_megabyte_in_one_string() {
    let mut bytes = format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)).into_bytes();
    let object = parse(&mut bytes).unwrap();
    assert!(matches!(object.value("a"), Some(Value::Text(text)) if text.len() == 1 << 20));
}

proptest! {
    #[test]
    fn never_panics_on_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse(&mut bytes);
    }

    /// Accepts nothing that another parser rejects.
    #[test]
    fn accepts_only_what_serde_json_accepts(text in r#"[\[\]{}:,"\\ \na0-9.eE+\-tfn]{0,40}"#) {
        let mut bytes = text.clone().into_bytes();
        if parse(&mut bytes).is_ok() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
        }
    }
}
