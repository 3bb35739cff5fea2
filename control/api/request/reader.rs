//! Parses the fields of a request into typed values and reports all mistakes at once.
//!
//! The shape of a request is one function over a [`Reader`] that reads each field. With a request it returns
//! values and adds findings; without one it describes the fields, and that description is the schema in the
//! OpenAPI document. Parser and documentation cannot differ.
//!
//! A value may be in the body, in the query, and, for the key of an operation, in the last segment of the
//! path. All three have the same meaning; values that differ are refused.

use ringway_model::{Patch, limits};
use serde_json::json;

use super::document::{Object, Value};
use super::finding::{Finding, Pointer};

/// Mistake in one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// See [`Finding::code`].
    pub(crate) code: &'static str,
    /// See [`Finding::message`].
    pub(crate) message: String,
}

impl Fault {
    /// Creates the fault of a value with the right type that cannot be used.
    pub(crate) fn invalid(reason: impl std::fmt::Display) -> Self {
        Self { code: "invalid", message: reason.to_string() }
    }

    /// Creates the fault of a value out of range.
    pub(crate) fn range(reason: impl std::fmt::Display) -> Self {
        Self { code: "range", message: reason.to_string() }
    }
}

/// A value of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Given<'a> {
    /// In the body.
    Json(&'a Value<'a>),
    /// In the path or the query, percent-decoded.
    Text(&'a str),
}

impl<'a> Given<'a> {
    /// The value as a string.
    pub(crate) fn text(self) -> Result<&'a str, Fault> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Json(Value::Text(text)) => Ok(text),
            Self::Json(other) => Err(self.mistyped("a string", other)),
        }
    }

    /// The value as a whole number that is not negative.
    pub(crate) fn unsigned(self) -> Result<u64, Fault> {
        match self {
            Self::Json(Value::Unsigned(number)) => Ok(*number),
            Self::Json(other) => Err(self.mistyped("a whole number that is not negative", other)),
            Self::Text(text) => match text.parse() {
                Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
                _ => {
                    Err(Fault { code: "type", message: "must be a whole number that is not negative".into() })
                }
            },
        }
    }

    /// The value as true or false.
    pub(crate) fn boolean(self) -> Result<bool, Fault> {
        match self {
            Self::Json(Value::Bool(value)) => Ok(*value),
            Self::Text("true") => Ok(true),
            Self::Text("false") => Ok(false),
            Self::Json(other) => Err(self.mistyped("true or false", other)),
            Self::Text(_) => Err(Fault { code: "type", message: "must be true or false".into() }),
        }
    }

    /// Creates the fault of a value of the wrong type.
    pub(crate) fn mistyped(self, wanted: &str, found: &Value<'_>) -> Fault {
        Fault { code: "type", message: format!("must be {wanted}, not {}", found.kind()) }
    }
}

/// A field: name, parser, documentation.
pub(crate) struct Field<T: 'static> {
    /// The name in body and query.
    pub(crate) name: &'static str,
    /// The documentation, one sentence.
    pub(crate) doc: &'static str,
    /// Its JSON Schema without the description.
    pub(crate) schema: fn() -> serde_json::Value,
    /// Parses a value.
    pub(crate) parse: fn(Given<'_>) -> Result<T, Fault>,
}

/// Input of an operation.
#[derive(Debug, Default)]
pub(crate) struct Input<'a> {
    /// The body's members; none when there is no body.
    pub(crate) body: Option<Object<'a>>,
    /// The key in the path, percent-decoded.
    pub(crate) key: Option<String>,
    /// Names and values of the query, percent-decoded.
    pub(crate) query: Vec<(String, String)>,
}

/// Description of a field for the documentation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Described {
    /// The name.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// JSON Schema.
    pub(crate) schema: serde_json::Value,
    /// Whether it is required.
    pub(crate) is_required: bool,
    /// The allowed locations.
    pub(crate) location: Location,
}

/// Allowed locations of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// In the body only.
    Body,
    /// In the body and in the query.
    Query,
    /// In the body, in the query and in the path.
    Key,
}

/// Reads fields one by one; see the module.
pub(crate) struct Reader<'a> {
    mode: Mode<'a>,
}

enum Mode<'a> {
    Reads(Reads<'a>),
    Describes(Vec<Described>),
}

struct Reads<'a> {
    body: Option<&'a Object<'a>>,
    key: Option<&'a str>,
    query: &'a [(String, String)],
    /// Names of the fields read so far: all others are unknown.
    asked: Vec<&'static str>,
    asked_in_query: Vec<&'static str>,
    pointer: Pointer,
    findings: Vec<Finding>,
}

/// Parses a request by its shape. Findings are in the order of the shape; there is a value or at least one
/// finding.
pub(crate) fn read<T>(
    input: &Input<'_>,
    shape: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, Vec<Finding>> {
    let mut reader = Reader {
        mode: Mode::Reads(Reads {
            body: input.body.as_ref(),
            key: input.key.as_deref(),
            query: &input.query,
            asked: Vec::new(),
            asked_in_query: Vec::new(),
            pointer: Pointer::default(),
            findings: Vec::new(),
        }),
    };
    let value = shape(&mut reader);
    let Mode::Reads(mut reads) = reader.mode else { return Err(Vec::new()) };
    reads.finish();
    reads.findings.truncate(limits::FINDINGS_MAX);
    match value {
        Some(value) if reads.findings.is_empty() => Ok(value),
        _ => Err(reads.findings),
    }
}

/// Describes the fields of a shape.
pub(crate) fn describe<T>(shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Vec<Described> {
    let mut reader = Reader { mode: Mode::Describes(Vec::new()) };
    shape(&mut reader);
    match reader.mode {
        Mode::Describes(fields) => fields,
        Mode::Reads(_) => Vec::new(),
    }
}

/// Builds the JSON Schema of an object with these fields.
pub(crate) fn object_schema(fields: &[Described]) -> serde_json::Value {
    let properties: serde_json::Map<_, _> = fields
        .iter()
        .map(|field| {
            let mut schema = field.schema.clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("description".into(), field.doc.into());
            }
            (field.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> = fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

impl<'a> Reader<'a> {
    /// Reads the key of the operation: required, in the path, the query or the body.
    pub(crate) fn key<T: PartialEq>(&mut self, field: &'static Field<T>) -> Option<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                fields.push(described(field, true, Location::Key));
                None
            }
            Mode::Reads(reads) => reads
                .take(field, Location::Key)
                .missing(|| reads.report(field.name, "missing", "is required".into())),
        }
    }

    /// Reads an optional value in the query or the body; null means absent.
    pub(crate) fn filter<T: PartialEq>(&mut self, field: &'static Field<T>) -> Option<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                fields.push(described(field, false, Location::Query));
                None
            }
            Mode::Reads(reads) => reads.take(field, Location::Query).missing(|| ()),
        }
    }

    /// Reads a required value of the body.
    pub(crate) fn required<T: PartialEq>(&mut self, field: &'static Field<T>) -> Option<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                fields.push(described(field, true, Location::Body));
                None
            }
            Mode::Reads(reads) => reads
                .take(field, Location::Body)
                .missing(|| reads.report(field.name, "missing", "is required".into())),
        }
    }

    /// Reads an optional value of the body; null means absent.
    pub(crate) fn optional<T: PartialEq>(&mut self, field: &'static Field<T>) -> Option<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                fields.push(nullable(described(field, false, Location::Body)));
                None
            }
            Mode::Reads(reads) => reads.take(field, Location::Body).missing(|| ()),
        }
    }

    /// Reads an update of a value: absent keeps it, null removes it.
    pub(crate) fn patch<T: PartialEq>(&mut self, field: &'static Field<T>) -> Patch<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                fields.push(nullable(described(field, false, Location::Body)));
                Patch::Keep
            }
            Mode::Reads(reads) => match reads.take(field, Location::Body) {
                Found::Value(value) => Patch::Set(value),
                Found::Null => Patch::Clear,
                Found::Absent | Found::Wrong => Patch::Keep,
            },
        }
    }

    /// Reads an optional nested object; null means absent.
    pub(crate) fn object<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                let outer = std::mem::take(fields);
                shape(self);
                let Mode::Describes(fields) = &mut self.mode else { return None };
                let schema = object_schema(fields);
                *fields = outer;
                fields.push(nullable(Described {
                    name,
                    doc,
                    schema,
                    is_required: false,
                    location: Location::Body,
                }));
                None
            }
            Mode::Reads(reads) => match reads.body.and_then(|body| body.value(name)) {
                None | Some(Value::Null) => {
                    reads.asked.push(name);
                    None
                }
                Some(Value::Object(object)) => {
                    reads.asked.push(name);
                    self.nested(name, object, shape)
                }
                Some(other) => {
                    reads.asked.push(name);
                    let fault = Given::Json(other).mistyped("an object", other);
                    reads.report(name, fault.code, fault.message);
                    None
                }
            },
        }
    }

    /// Reads an update of a nested object: absent keeps it, null removes it.
    pub(crate) fn patch_object<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Patch<T> {
        if let Mode::Reads(reads) = &mut self.mode
            && let Some(Value::Null) = reads.body.and_then(|body| body.value(name))
        {
            reads.asked.push(name);
            return Patch::Clear;
        }
        self.object(name, doc, shape).map_or(Patch::Keep, Patch::Set)
    }

    /// Reads a value in a short form, or an object.
    pub(crate) fn short_or_object<T: PartialEq>(
        &mut self,
        field: &'static Field<T>,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        match &mut self.mode {
            Mode::Describes(fields) => {
                let outer = std::mem::take(fields);
                shape(self);
                let Mode::Describes(fields) = &mut self.mode else { return None };
                let object = object_schema(fields);
                *fields = outer;
                let mut whole = described(field, false, Location::Body);
                whole.schema = json!({ "oneOf": [whole.schema, object, { "type": "null" }] });
                fields.push(whole);
                None
            }
            Mode::Reads(reads) => match reads.body.and_then(|body| body.value(field.name)) {
                Some(Value::Object(object)) => {
                    reads.asked.push(field.name);
                    self.nested(field.name, object, shape)
                }
                Some(_) | None => reads.take(field, Location::Body).missing(|| ()),
            },
        }
    }

    /// Adds a finding about a valid field that contradicts others.
    pub(crate) fn fault(&mut self, name: &'static str, fault: Fault) {
        if let Mode::Reads(reads) = &mut self.mode {
            reads.report(name, fault.code, fault.message);
        }
    }

    /// Whether there is a finding about a field of this object.
    pub(crate) fn is_faulty(&self, name: &str) -> bool {
        let Mode::Reads(reads) = &self.mode else { return false };
        let mut pointer = reads.pointer.clone();
        pointer.push(name);
        reads.findings.iter().any(|finding| finding.field == pointer.dotted())
    }

    /// Reads a nested object.
    fn nested<T>(
        &mut self,
        name: &'static str,
        object: &'a Object<'a>,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let Mode::Reads(reads) = &mut self.mode else { return None };
        reads.pointer.push(name);
        let inner = Reads {
            body: Some(object),
            key: None,
            query: &[],
            asked: Vec::new(),
            asked_in_query: Vec::new(),
            pointer: reads.pointer.clone(),
            findings: std::mem::take(&mut reads.findings),
        };
        let before = inner.findings.len();
        let mut inner = Self { mode: Mode::Reads(inner) };
        let value = shape(&mut inner);
        let Mode::Reads(mut inner) = inner.mode else { return None };
        inner.finish();
        reads.pointer.pop();
        let is_clean = inner.findings.len() == before;
        reads.findings = inner.findings;
        value.filter(|_| is_clean)
    }
}

/// Value of a field in all of its locations.
enum Found<T> {
    Value(T),
    Null,
    Absent,
    /// Already reported.
    Wrong,
}

impl<T> Found<T> {
    fn missing(self, report: impl FnOnce()) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Null | Self::Absent => {
                report();
                None
            }
            Self::Wrong => None,
        }
    }
}

impl<'a> Reads<'a> {
    fn take<T: PartialEq>(&mut self, field: &'static Field<T>, location: Location) -> Found<T> {
        self.asked.push(field.name);
        let mut found: Option<T> = None;
        let mut is_wrong = false;
        let mut is_null = false;
        let (key, query): (Option<&'a str>, &'a [(String, String)]) = (self.key, self.query);
        if location == Location::Key
            && let Some(text) = key
        {
            self.key = None;
            is_wrong |= !self.parse(field, Given::Text(text), Source::Address, &mut found);
        }
        if location != Location::Body {
            self.asked_in_query.push(field.name);
            for (_, text) in query.iter().filter(|(name, _)| name == field.name) {
                is_wrong |= !self.parse(field, Given::Text(text), Source::Address, &mut found);
            }
        }
        match self.body.and_then(|body| body.value(field.name)) {
            None => {}
            Some(Value::Null) => is_null = true,
            Some(value) => is_wrong |= !self.parse(field, Given::Json(value), Source::Body, &mut found),
        }
        match (is_wrong, found, is_null) {
            (true, _, _) => Found::Wrong,
            (false, Some(value), _) => Found::Value(value),
            (false, None, true) => Found::Null,
            (false, None, false) => Found::Absent,
        }
    }

    /// Parses one occurrence and compares it with the others; false when a finding was added.
    fn parse<T: PartialEq>(
        &mut self,
        field: &'static Field<T>,
        given: Given<'_>,
        source: Source,
        found: &mut Option<T>,
    ) -> bool {
        let fault = match (field.parse)(given) {
            Ok(value) => match found {
                Some(other) if *other != value => Fault {
                    code: "conflict",
                    message: "is given more than once, with different values".to_owned(),
                },
                _ => {
                    *found = Some(value);
                    return true;
                }
            },
            Err(fault) => fault,
        };
        match source {
            Source::Body => self.report(field.name, fault.code, fault.message),
            Source::Address => self.report_address(field.name, fault.code, fault.message),
        }
        false
    }

    /// Adds a finding about a member of this object.
    fn report(&mut self, name: &str, code: &'static str, message: String) {
        self.pointer.push(name);
        let finding = Finding::at(&self.pointer, code, message);
        self.pointer.pop();
        self.findings.push(finding);
    }

    /// Adds a finding about a value of the path or the query.
    fn report_address(&mut self, name: &str, code: &'static str, message: String) {
        let mut pointer = Pointer::default();
        pointer.push(name);
        self.findings.push(Finding { field: pointer.dotted(), code, message, pointer: None });
    }

    /// Adds findings about unknown fields.
    fn finish(&mut self) {
        let body: Vec<&str> = self.body.map(|body| body.names().collect()).unwrap_or_default();
        let unknowns = body.into_iter().filter(|name| !self.asked.contains(name));
        for name in unknowns.take(limits::FINDINGS_MAX).collect::<Vec<_>>() {
            self.report(name, "unknown", unknown(&self.asked));
        }
        for (name, _) in self.query {
            let name = name.as_str();
            if self.asked_in_query.contains(&name) {
                continue;
            }
            let message = match self.asked.contains(&name) {
                // Known, but not allowed in the query.
                true => "belongs into the body".to_owned(),
                false => unknown(&self.asked_in_query),
            };
            self.report_address(name, "unknown", message);
        }
    }
}

fn unknown(known: &[&str]) -> String {
    match known {
        [] => "is not known here; this takes no such fields".to_owned(),
        known => format!("is not known here; known are: {}", known.join(", ")),
    }
}

#[derive(Clone, Copy)]
enum Source {
    Body,
    Address,
}

fn described<T>(field: &'static Field<T>, is_required: bool, location: Location) -> Described {
    Described { name: field.name, doc: field.doc, schema: (field.schema)(), is_required, location }
}

/// Adds null to the values of a field.
fn nullable(mut field: Described) -> Described {
    field.schema = json!({ "oneOf": [field.schema, { "type": "null" }] });
    field
}
