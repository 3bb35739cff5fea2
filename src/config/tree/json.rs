//! JSON (RFC 8259) as a tree, parsed by simd-json.
//!
//! Stricter than JSON: names in an object are unique (RFC 8259 §4 leaves open which duplicate counts, and
//! parsers differ), and size and nesting are limited.

use std::borrow::Cow;

use simd_json::{ErrorType, Node as Token, StaticNode};

use ringway_model::limits::{API_BODY_DEPTH_MAX, FINDINGS_MAX};

use super::{Bounds, Member, Members, Node, Object, Parsed, Path, Step, Value};
use crate::{Pointer, Position, Report, limits};

/// Error of a malformed document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentError {
    /// Not JSON.
    Syntax {
        /// The parser's complaint.
        reason: &'static str,
        /// The offset in bytes, if known.
        at: Option<usize>,
    },
    /// JSON, but not an object.
    NotAnObject(&'static str),
    /// Nested deeper than [`API_BODY_DEPTH_MAX`] levels.
    TooDeep,
    /// More values than [`limits::DOCUMENT_VALUES_MAX`].
    TooManyValues,
    /// A name occurs twice in an object; one report each.
    Duplicates(Vec<Report>),
}

/// Parses the body of a request: one object, without positions. The bytes are overwritten: strings are
/// unescaped in place.
///
/// # Errors
/// The body is not JSON, not one object, has a name twice in an object, or exceeds a bound.
pub fn parse(body: &mut [u8]) -> Result<Object<'_>, DocumentError> {
    let bounds = Bounds { depth_max: API_BODY_DEPTH_MAX, values_max: limits::DOCUMENT_VALUES_MAX };
    let (root, duplicates) = tree(body, bounds, None)?;
    if !duplicates.is_empty() {
        return Err(DocumentError::Duplicates(duplicates));
    }
    match root.value {
        Value::Object(object) => Ok(object),
        other => Err(DocumentError::NotAnObject(other.kind())),
    }
}

/// Parses a document with positions; `bytes` are those of `text`, and are overwritten.
pub(crate) fn parse_document<'a>(text: &str, bytes: &'a mut [u8]) -> Parsed<'a> {
    let bounds = Bounds { depth_max: limits::DOCUMENT_DEPTH_MAX, values_max: limits::DOCUMENT_VALUES_MAX };
    let (code, message, at) = match tree(bytes, bounds, Some(Scanner::new(text))) {
        Ok((root, reports)) => return Parsed { root: Some(root), reports },
        Err(DocumentError::Syntax { reason, at }) => {
            let at = at.map(|at| position_of(text, at));
            ("syntax", format!("is not valid JSON here: {reason}"), at)
        }
        Err(DocumentError::TooManyValues) => {
            ("range", format!("has more than {} values", bounds.values_max), None)
        }
        Err(_) => ("range", format!("is nested more than {} levels deep", bounds.depth_max), None),
    };
    let at = at.or(Some(Position { line: 1, column: 1 }));
    Parsed { root: None, reports: vec![Report::error(Pointer::default(), code, message, at)] }
}

fn tree<'a>(
    bytes: &'a mut [u8],
    bounds: Bounds,
    positions: Option<Scanner<'_>>,
) -> Result<(Node<'a>, Vec<Report>), DocumentError> {
    // The parser stops at the first error, and has no good message for invalid UTF-8.
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(DocumentError::Syntax { reason: "it is not valid UTF-8", at: Some(error.valid_up_to()) });
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(DocumentError::Syntax { reason: "it is empty", at: None });
    }
    let length = bytes.len();
    let tape = simd_json::to_tape(bytes).map_err(|error| match error.error() {
        ErrorType::DepthLimitExceeded => DocumentError::TooDeep,
        kind => DocumentError::Syntax {
            reason: reason(kind),
            at: Some(error.index()).filter(|at| (1..length).contains(at)),
        },
    })?;
    let mut builder = Builder {
        tokens: tape.0.into_iter(),
        positions,
        bounds,
        values: 0,
        path: Path::default(),
        duplicates: Vec::new(),
    };
    let root = builder.node(0)?;
    Ok((root, builder.duplicates))
}

struct Builder<'a, 't> {
    tokens: std::vec::IntoIter<Token<'a>>,
    positions: Option<Scanner<'t>>,
    bounds: Bounds,
    values: usize,
    path: Path<'a>,
    duplicates: Vec<Report>,
}

impl<'a> Builder<'a, '_> {
    fn next(&mut self) -> Result<(Token<'a>, Option<Position>), DocumentError> {
        let at = self.positions.as_mut().and_then(Iterator::next);
        let token = self.tokens.next();
        token.map(|token| (token, at)).ok_or(DocumentError::Syntax { reason: "it ends too early", at: None })
    }

    fn node(&mut self, depth: usize) -> Result<Node<'a>, DocumentError> {
        if depth > self.bounds.depth_max {
            return Err(DocumentError::TooDeep);
        }
        self.values += 1;
        if self.values > self.bounds.values_max {
            return Err(DocumentError::TooManyValues);
        }
        let (token, at) = self.next()?;
        let value = match token {
            Token::String(text) => Value::Text(Cow::Borrowed(text)),
            Token::Static(value) => scalar(value),
            Token::Array { len, .. } => self.array(len, depth)?,
            Token::Object { len, .. } => self.object(len, depth)?,
        };
        Ok(Node { value, at })
    }

    fn array(&mut self, len: usize, depth: usize) -> Result<Value<'a>, DocumentError> {
        let mut items = Vec::with_capacity(len);
        for index in 0..len {
            self.path.steps.push(Step::Index(index));
            items.push(self.node(depth + 1)?);
            self.path.steps.pop();
        }
        Ok(Value::Array(items))
    }

    fn object(&mut self, len: usize, depth: usize) -> Result<Value<'a>, DocumentError> {
        let mut members = Members::default();
        for _ in 0..len {
            let (Token::String(name), at) = self.next()? else {
                return Err(DocumentError::Syntax { reason: "a member has no name", at: None });
            };
            self.path.steps.push(Step::Name(Cow::Borrowed(name)));
            let node = self.node(depth + 1)?;
            if members.push(Member { name: Cow::Borrowed(name), at, node }).is_err()
                && self.duplicates.len() < FINDINGS_MAX
            {
                let message = "occurs more than once in its object".to_owned();
                self.duplicates.push(Report::error(self.path.pointer(), "duplicate", message, at));
            }
            self.path.steps.pop();
        }
        Ok(Value::Object(members.finish()))
    }
}

/// Positions of all names and values of a valid JSON text, in its order.
struct Scanner<'t> {
    bytes: std::iter::Peekable<std::str::Bytes<'t>>,
    line: u32,
    column: u32,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str) -> Self {
        Self { bytes: text.bytes().peekable(), line: 1, column: 1 }
    }

    fn step(&mut self) -> Option<u8> {
        let byte = self.bytes.next()?;
        match byte {
            b'\n' => (self.line, self.column) = (self.line.saturating_add(1), 1),
            // The further bytes of a character (RFC 3629 §3).
            0x80..=0xbf => {}
            _ => self.column = self.column.saturating_add(1),
        }
        Some(byte)
    }
}

impl Iterator for Scanner<'_> {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' | b']' | b'}') = self.bytes.peek() {
            self.step();
        }
        let at = Position { line: self.line, column: self.column };
        match self.step()? {
            b'"' => loop {
                match self.step()? {
                    b'\\' => {
                        self.step();
                    }
                    b'"' => break,
                    _ => {}
                }
            },
            b'{' | b'[' => {}
            _ => {
                while let Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.') =
                    self.bytes.peek()
                {
                    self.step();
                }
            }
        }
        Some(at)
    }
}

/// Position of an offset in bytes.
fn position_of(text: &str, at: usize) -> Position {
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: number(line), column: number(column) }
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
#[path = "json_tests.rs"]
mod tests;
