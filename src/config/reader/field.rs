//! Fields: name, parser and documentation of one value.

use crate::Value;

/// Mistake in one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// See [`Finding::code`](crate::Finding::code).
    pub code: &'static str,
    /// See [`Finding::message`](crate::Finding::message).
    pub message: String,
}

impl Fault {
    /// Creates the fault of a value with the right type that cannot be used.
    pub fn invalid(reason: impl std::fmt::Display) -> Self {
        Self { code: "invalid", message: reason.to_string() }
    }

    /// Creates the fault of a value out of range.
    pub fn range(reason: impl std::fmt::Display) -> Self {
        Self { code: "range", message: reason.to_string() }
    }

    /// Creates the fault of a value of the wrong type.
    pub fn mistyped(wanted: &str, found: &Value<'_>) -> Self {
        let message = match found {
            Value::Plain(text) => format!("must be {wanted}, not {}", shown(text)),
            found => format!("must be {wanted}, not {}", found.kind()),
        };
        Self { code: "type", message }
    }
}

/// A text of a document as a finding repeats it: escaped and cut.
fn shown(text: &str) -> String {
    /// Characters: a host name or an address has room.
    const SHOWN_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?} and so on", &text[..end]),
    }
}

/// A value of a request or a document.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// In the body.
    Json(&'a Value<'a>),
    /// In the path or the query, percent-decoded.
    Text(&'a str),
}

impl<'a> Given<'a> {
    /// The value as a string.
    ///
    /// # Errors
    /// The value is no string and no plain scalar.
    pub fn text(self) -> Result<&'a str, Fault> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Json(Value::Text(text) | Value::Plain(text)) => Ok(text),
            Self::Json(other) => Err(Fault::mistyped("a string", other)),
        }
    }

    /// The value as a whole number that is not negative.
    ///
    /// # Errors
    /// The value is something else. A number with leading zeros is refused: some parsers read it as octal.
    pub fn unsigned(self) -> Result<u64, Fault> {
        const WANTED: &str = "a whole number that is not negative";
        match self {
            Self::Json(Value::Unsigned(number)) => Ok(*number),
            Self::Json(value @ Value::Plain(text)) => {
                digits(text).ok_or_else(|| match text.starts_with('0') && text.bytes().all(is_digit) {
                    true => Fault::invalid(format_args!("must be {WANTED}, written without leading zeros")),
                    false => Fault::mistyped(WANTED, value),
                })
            }
            Self::Json(Value::Negative(_) | Value::Fraction(_)) => {
                Err(Fault { code: "type", message: format!("must be {WANTED}") })
            }
            Self::Json(other) => Err(Fault::mistyped(WANTED, other)),
            Self::Text(text) => match text.parse() {
                Ok(number) if text.bytes().all(is_digit) => Ok(number),
                _ => Err(Fault { code: "type", message: format!("must be {WANTED}") }),
            },
        }
    }

    /// The value as true or false.
    ///
    /// # Errors
    /// The value is something else; so are `yes`, `no`, `on` and `off`.
    pub fn boolean(self) -> Result<bool, Fault> {
        match self {
            Self::Json(Value::Bool(value)) => Ok(*value),
            Self::Text("true") => Ok(true),
            Self::Text("false") => Ok(false),
            Self::Json(Value::Plain(text)) if text == "true" => Ok(true),
            Self::Json(Value::Plain(text)) if text == "false" => Ok(false),
            Self::Json(other) => Err(Fault::mistyped("true or false", other)),
            Self::Text(_) => Err(Fault { code: "type", message: "must be true or false".into() }),
        }
    }

    /// The value as a whole number of 32 bits.
    ///
    /// # Errors
    /// The value is something else.
    pub fn integer(self) -> Result<i32, Fault> {
        const WANTED: &str = "a whole number";
        let number = match self {
            Self::Json(Value::Negative(number)) => i32::try_from(*number).ok(),
            Self::Json(Value::Plain(text)) if text.starts_with('-') => {
                digits(&text[1..]).and_then(|number| i32::try_from(-i128::from(number)).ok())
            }
            given => match given.unsigned() {
                Ok(number) => i32::try_from(number).ok(),
                Err(_) => match self {
                    Self::Json(other) => return Err(Fault::mistyped(WANTED, other)),
                    Self::Text(_) => None,
                },
            },
        };
        number.ok_or_else(|| Fault::range(format_args!("must be from {} to {}", i32::MIN, i32::MAX)))
    }

    /// The value as a finite number.
    ///
    /// # Errors
    /// The value is something else.
    pub fn decimal(self) -> Result<f64, Fault> {
        const WANTED: &str = "a number";
        match self {
            Self::Json(Value::Unsigned(number)) => Ok(*number as f64),
            Self::Json(Value::Negative(number)) => Ok(*number as f64),
            Self::Json(Value::Fraction(number)) => Ok(*number),
            Self::Json(value @ Value::Plain(text)) => {
                parse_decimal(text).ok_or_else(|| Fault::mistyped(WANTED, value))
            }
            Self::Text(text) => parse_decimal(text)
                .ok_or_else(|| Fault { code: "type", message: format!("must be {WANTED}") }),
            Self::Json(other) => Err(Fault::mistyped(WANTED, other)),
        }
    }
}

/// Parses digits without leading zeros.
pub(crate) fn digits(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(is_digit) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

/// Parses `-1.5` or `1e3`; the words that Rust takes, such as `inf`, are none.
fn parse_decimal(text: &str) -> Option<f64> {
    let is_number = text.bytes().all(|byte| is_digit(byte) || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| is_number && number.is_finite())
}

/// A field: name, parser, documentation.
pub struct Field<T: 'static> {
    /// The name in body and query.
    pub name: &'static str,
    /// The documentation, one sentence.
    pub doc: &'static str,
    /// Its JSON Schema without the description.
    pub schema: fn() -> serde_json::Value,
    /// Parses a value.
    pub parse: fn(Given<'_>) -> Result<T, Fault>,
}

/// Description of a field for the documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// The name.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// JSON Schema.
    pub schema: serde_json::Value,
    /// Whether it is required.
    pub is_required: bool,
    /// The allowed locations.
    pub location: Location,
}

/// Allowed locations of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In the body only.
    Body,
    /// In the body and in the query.
    Query,
    /// In the body, in the query and in the path.
    Key,
}

/// Builds the JSON Schema of an object with these fields.
pub fn object_schema(fields: &[Described]) -> serde_json::Value {
    let properties: serde_json::Map<_, _> = fields
        .iter()
        .map(|field| {
            let mut schema = field.schema.clone();
            if let Some(schema) = schema.as_object_mut() {
                let description = match schema.contains_key(NO_EFFECT) {
                    true => format!("{} Not supported by this version: no effect.", sentence(field.doc)),
                    false => field.doc.to_owned(),
                };
                schema.insert("description".into(), description.into());
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> = fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema =
        serde_json::json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = serde_json::json!(required);
    }
    schema
}

/// Key in the schema of a member that is read and checked, and has no effect in this version.
pub(crate) const NO_EFFECT: &str = "x-no-effect";

/// Ends a text with a full stop.
fn sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}
