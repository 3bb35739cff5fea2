//! Document of a request body: strict JSON (RFC 8259), parsed by simd-json, as a tree of values.
//!
//! Stricter than JSON: the document is one object, names in an object are unique (RFC 8259 §4 leaves open
//! which duplicate counts, and parsers differ), and nesting is limited.

use std::collections::HashSet;

use simd_json::{ErrorType, Node, StaticNode};

use ringway_model::limits;

use super::finding::{Finding, Pointer};

/// One JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Fraction(f64),
    Text(&'a str),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
}

impl Value<'_> {
    /// The type, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Negative(_) | Self::Fraction(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// The members of an object, in the order of the text; names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Object<'a> {
    members: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Object<'a> {
    /// The value of a name.
    pub(crate) fn value(&self, name: &str) -> Option<&Value<'a>> {
        self.members.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Names and values, in the order of the text.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&'a str, &Value<'a>)> {
        self.members.iter().map(|(name, value)| (*name, value))
    }

    /// The names, in the order of the text.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.members.iter().map(|(name, _)| *name)
    }
}

/// Error of a malformed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DocumentError {
    /// Not JSON.
    Syntax {
        /// The parser's complaint.
        reason: &'static str,
        /// The offset in bytes, if known.
        at: Option<usize>,
    },
    /// JSON, but not an object.
    NotAnObject(&'static str),
    /// Nested deeper than [`limits::API_BODY_DEPTH_MAX`] levels.
    TooDeep,
    /// A name occurs twice in an object; one finding each.
    Duplicates(Vec<Finding>),
}

/// Parses a body. The bytes are overwritten: strings are unescaped in place.
pub(crate) fn parse(body: &mut [u8]) -> Result<Object<'_>, DocumentError> {
    // The parser stops at the first error, and has no good message for invalid UTF-8.
    if let Err(error) = std::str::from_utf8(body) {
        return Err(DocumentError::Syntax { reason: "it is not valid UTF-8", at: Some(error.valid_up_to()) });
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DocumentError::Syntax { reason: "it is empty", at: None });
    }
    let length = body.len();
    let tape = simd_json::to_tape(body).map_err(|error| match error.error() {
        ErrorType::DepthLimitExceeded => DocumentError::TooDeep,
        kind => DocumentError::Syntax {
            reason: reason(kind),
            at: Some(error.index()).filter(|at| (1..length).contains(at)),
        },
    })?;
    let mut builder =
        Builder { nodes: tape.0.into_iter(), pointer: Pointer::default(), duplicates: Vec::new() };
    let root = builder.value(0)?;
    if !builder.duplicates.is_empty() {
        return Err(DocumentError::Duplicates(builder.duplicates));
    }
    match root {
        Value::Object(object) => Ok(object),
        other => Err(DocumentError::NotAnObject(other.kind())),
    }
}

struct Builder<'a> {
    nodes: std::vec::IntoIter<Node<'a>>,
    pointer: Pointer,
    duplicates: Vec<Finding>,
}

impl<'a> Builder<'a> {
    fn value(&mut self, depth: usize) -> Result<Value<'a>, DocumentError> {
        if depth > limits::API_BODY_DEPTH_MAX {
            return Err(DocumentError::TooDeep);
        }
        match self.nodes.next() {
            None => Err(DocumentError::Syntax { reason: "it ends too early", at: None }),
            Some(Node::String(text)) => Ok(Value::Text(text)),
            Some(Node::Static(value)) => Ok(scalar(value)),
            Some(Node::Array { len, .. }) => {
                (0..len).map(|_| self.value(depth + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            Some(Node::Object { len, .. }) => self.object(len, depth),
        }
    }

    fn object(&mut self, len: usize, depth: usize) -> Result<Value<'a>, DocumentError> {
        let mut members = Vec::with_capacity(len);
        let mut names = HashSet::<&str, ahash::RandomState>::default();
        for _ in 0..len {
            let Some(Node::String(name)) = self.nodes.next() else {
                return Err(DocumentError::Syntax { reason: "a member has no name", at: None });
            };
            self.pointer.push(name);
            let value = self.value(depth + 1)?;
            if !names.insert(name) && self.duplicates.len() < limits::FINDINGS_MAX {
                self.duplicates.push(Finding::at(
                    &self.pointer,
                    "duplicate",
                    "occurs more than once in its object".to_owned(),
                ));
            }
            self.pointer.pop();
            members.push((name, value));
        }
        Ok(Value::Object(Object { members }))
    }
}

fn scalar(value: StaticNode) -> Value<'static> {
    match value {
        StaticNode::Null => Value::Null,
        StaticNode::Bool(value) => Value::Bool(value),
        StaticNode::U64(value) => Value::Unsigned(value),
        StaticNode::I64(value) => match u64::try_from(value) {
            Ok(value) => Value::Unsigned(value),
            Err(_) => Value::Negative(value),
        },
        StaticNode::F64(value) => whole(value).unwrap_or(Value::Fraction(value)),
    }
}

/// JSON has one type of numbers: `1.0` and `1e3` are integers (JSON Schema §4.2.3). Beyond 2^53 not every
/// integer has an exact double.
fn whole(value: f64) -> Option<Value<'static>> {
    /// 2^53: every integer up to it has an exact double (IEEE 754 binary64).
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let is_whole = value.fract() == 0.0 && value.abs() <= EXACT_MAX;
    is_whole.then_some(if value < 0.0 {
        Value::Negative(value as i64)
    } else {
        Value::Unsigned(value as u64)
    })
}

/// Describes a parse error.
fn reason(kind: &ErrorType) -> &'static str {
    match kind {
        ErrorType::ExpectedArrayComma | ErrorType::ExpectedMapComma => "a comma is missing",
        ErrorType::ExpectedObjectColon => "a colon is missing between a name and its value",
        ErrorType::ExpectedMapEnd | ErrorType::Eof => "it ends too early",
        ErrorType::KeyMustBeAString | ErrorType::BadKeyType | ErrorType::ExpectedObjectKey => {
            "a name is not a string in double quotes"
        }
        ErrorType::InvalidEscape | ErrorType::InvalidUnicodeEscape | ErrorType::InvalidUnicodeCodepoint => {
            "a string has an invalid escape"
        }
        ErrorType::InvalidNumber | ErrorType::InvalidExponent | ErrorType::ExpectedNumber => {
            "a number is malformed or out of range"
        }
        ErrorType::InvalidUtf8 => "it is not valid UTF-8",
        ErrorType::UnterminatedString => "a string does not end",
        ErrorType::TrailingData => "unexpected text follows the value",
        ErrorType::InputTooLarge | ErrorType::Overflow => "it is too large",
        // The enumeration is non-exhaustive; the other errors concern the parser, not the text.
        _ => "malformed",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

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
        assert!(
            matches!(result, Err(DocumentError::Syntax { .. })),
            "{:?}: {result:?}",
            bytes.escape_ascii()
        );
    }

    #[test]
    fn reads_an_object() {
        let mut bytes = br#" {"a": "x\u0041", "b": null, "c": {"d": -1, "e": [1, [2]], "f": 1.5}, "g": 18446744073709551615} "#.to_vec();
        let object = parse(&mut bytes).unwrap();
        assert_eq!(object.value("a"), Some(&Value::Text("xA")));
        assert_eq!(object.value("b"), Some(&Value::Null));
        assert_eq!(object.value("g"), Some(&Value::Unsigned(u64::MAX)));
        let Some(Value::Object(inner)) = object.value("c") else { panic!("c is an object") };
        assert_eq!(inner.value("d"), Some(&Value::Negative(-1)));
        let inmost = Value::Array(vec![Value::Unsigned(2)]);
        assert_eq!(inner.value("e"), Some(&Value::Array(vec![Value::Unsigned(1), inmost])));
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
        let fields: Vec<_> = findings.iter().map(|f| (f.field.as_str(), f.pointer.as_deref())).collect();
        assert_eq!(fields, [("b.x/y", Some("/b/x~1y")), ("a", Some("/a")), ("c.d", Some("/c/d"))]);
    }

    #[test]
    fn bounds_the_number_of_duplicates_reported() {
        let body = format!("{{{}}}", vec!["\"a\":1"; 10_000].join(","));
        let Err(DocumentError::Duplicates(findings)) = parsed(&body) else {
            panic!("duplicates are refused")
        };
        assert_eq!(findings.len(), limits::FINDINGS_MAX);
    }

    #[test]
    fn bounds_nesting_on_both_sides_of_the_limit() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parsed(&nested(limits::API_BODY_DEPTH_MAX)).is_ok());
        assert_eq!(parsed(&nested(limits::API_BODY_DEPTH_MAX + 1)), Err(DocumentError::TooDeep));
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
}
