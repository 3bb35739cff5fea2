//! Reads the fields of a request or a document into typed values and reports all mistakes at once.
//!
//! The shape of an input is one function over a [`Reader`] that reads each field. With an input it returns
//! values and adds reports; without one it describes the fields, and that description is the schema in the
//! OpenAPI document and of configuration files. Parser and documentation cannot differ.
//!
//! A value of a request may be in the body, in the query, and, for the key of an operation, in the last
//! segment of the path. All three have the same meaning; values that differ are refused.

use ringway_model::{Patch, limits};
use serde_json::json;

use crate::{Object, Pointer, Position, Severity, Value};

mod document;
mod field;
mod nearest;
mod reads;
mod report;
mod variant;

pub use document::SettingForm;
pub(crate) use document::{Outcome, RawStatic, read_document};
pub use field::{Described, Fault, Field, Given, Location, object_schema};
pub(crate) use field::{NO_EFFECT, digits};
pub use nearest::nearest;
use reads::{Found, Reads};
pub use report::{Origin, Report};
pub(crate) use variant::Tag;

/// Input of an operation.
#[derive(Debug, Default)]
pub struct Input<'a> {
    /// The body's members; none when there is no body.
    pub body: Option<Object<'a>>,
    /// The key in the path, percent-decoded.
    pub key: Option<String>,
    /// Names and values of the query, percent-decoded.
    pub query: Vec<(String, String)>,
}

/// Reads fields one by one; see the module.
pub struct Reader<'a> {
    mode: Mode<'a>,
    form: Form,
}

enum Mode<'a> {
    Reads(Reads<'a>),
    Describes(Description),
}

/// Description of an object.
#[derive(Default)]
struct Description {
    fields: Vec<Described>,
    /// Further fields, by the word of its tag; see [`Reader::variant`].
    forms: Vec<Vec<Described>>,
}

impl Description {
    fn schema(self) -> serde_json::Value {
        if self.forms.is_empty() {
            return object_schema(&self.fields);
        }
        let forms = self.forms.into_iter().map(|form| {
            let fields: Vec<_> = self.fields.iter().cloned().chain(form).collect();
            object_schema(&fields)
        });
        json!({ "oneOf": forms.collect::<Vec<_>>() })
    }
}

/// Kind of the input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A request: null means absent.
    Request,
    /// A configuration document: null is a mistake, because a key whose value got lost looks like it.
    Document,
}

/// Parses a request by its shape. Reports are in the order of the shape; there is a value or at least one
/// report.
///
/// # Errors
/// The mistakes, at most [`limits::FINDINGS_MAX`].
pub fn read<T>(
    input: &Input<'_>,
    shape: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> Result<T, Vec<Report>> {
    let reads = Reads::new(input.body.as_ref(), None).with_address(input.key.as_deref(), &input.query);
    let mut reader = Reader { mode: Mode::Reads(reads), form: Form::Request };
    let value = shape(&mut reader);
    let Mode::Reads(mut reads) = reader.mode else { return Err(Vec::new()) };
    reads.finish();
    let mut reports = reads.log.reports;
    reports.truncate(limits::FINDINGS_MAX);
    match value {
        Some(value) if reports.is_empty() => Ok(value),
        _ => Err(reports),
    }
}

/// Describes the fields of a request's shape.
pub fn describe<T>(shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Vec<Described> {
    describe_form(Form::Request, shape)
}

/// Describes the fields of a document's shape.
pub(crate) fn describe_document<T>(shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Vec<Described> {
    describe_form(Form::Document, shape)
}

fn describe_form<T>(form: Form, shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Vec<Described> {
    let mut reader = Reader { mode: Mode::Describes(Description::default()), form };
    shape(&mut reader);
    match reader.mode {
        Mode::Describes(description) => description.fields,
        Mode::Reads(_) => Vec::new(),
    }
}

impl<'a> Reader<'a> {
    /// Reads the key of the operation: required, in the path, the query or the body.
    pub fn key<T: PartialEq>(&mut self, field: &Field<T>) -> Option<T> {
        self.take(field, Location::Key, Need::Required).into_value()
    }

    /// Reads the key of the object that the operation's key belongs to: required, and in the path where the
    /// operation has two.
    pub fn parent<T: PartialEq>(&mut self, field: &Field<T>) -> Option<T> {
        self.take(field, Location::Query, Need::Required).into_value()
    }

    /// Reads an optional value in the query or the body; null means absent.
    pub fn filter<T: PartialEq>(&mut self, field: &Field<T>) -> Option<T> {
        self.take(field, Location::Query, Need::Optional).into_value()
    }

    /// Reads a required value of the body.
    pub fn required<T: PartialEq>(&mut self, field: &Field<T>) -> Option<T> {
        self.take(field, Location::Body, Need::Required).into_value()
    }

    /// Reads an optional value of the body; null means absent.
    pub fn optional<T: PartialEq>(&mut self, field: &Field<T>) -> Option<T> {
        self.take(field, Location::Body, Need::Nullable).into_value()
    }

    /// Reads an update of a value: absent keeps it, null removes it.
    pub fn patch<T: PartialEq>(&mut self, field: &Field<T>) -> Patch<T> {
        match self.take(field, Location::Body, Need::Nullable) {
            Found::Value(value) => Patch::Set(value),
            Found::Null => Patch::Clear,
            Found::Absent | Found::Wrong => Patch::Keep,
        }
    }

    /// Reads an optional nested object; null means absent.
    pub fn object<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.is_describing() {
            let schema = self.describe_nested(shape);
            self.add_described(name, doc, schema, Need::Nullable);
            return None;
        }
        let reads = self.reads()?;
        match reads.ask(name) {
            Some(Value::Object(object)) => self.nested(name, object, shape),
            Some(other) => {
                let other: &Value<'_> = other;
                self.mistyped(name, "an object", other);
                None
            }
            None => None,
        }
    }

    /// Reads an update of a nested object: absent keeps it, null removes it.
    pub fn patch_object<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Patch<T> {
        if let Mode::Reads(reads) = &mut self.mode
            && let Some(Value::Null) = reads.ask(name)
        {
            return Patch::Clear;
        }
        self.object(name, doc, shape).map_or(Patch::Keep, Patch::Set)
    }

    /// Reads a value in a short form, or an object.
    pub fn short_or_object<T: PartialEq>(
        &mut self,
        field: &Field<T>,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        if self.is_describing() {
            let object = self.describe_nested(shape);
            let mut forms = vec![(field.schema)(), object];
            if self.form == Form::Request {
                forms.push(json!({ "type": "null" }));
            }
            self.add_described(field.name, field.doc, json!({ "oneOf": forms }), Need::Optional);
            return None;
        }
        let reads = self.reads()?;
        match reads.object.and_then(|object| object.value(field.name)) {
            Some(Value::Object(object)) => {
                reads.ask(field.name);
                self.nested(field.name, object, shape)
            }
            _ => self.take(field, Location::Body, Need::Nullable).into_value(),
        }
    }

    /// Adds a report about a valid field that contradicts others.
    pub fn fault(&mut self, name: &'static str, fault: Fault) {
        if let Mode::Reads(reads) = &mut self.mode {
            reads.report(name, fault.code, fault.message);
        }
    }

    /// Whether there is a report about a field of this object.
    pub fn is_faulty(&self, name: &str) -> bool {
        let Mode::Reads(reads) = &self.mode else { return false };
        let field = reads.pointer.child(name);
        reads.log.reports.iter().any(|report| report.severity == Severity::Error && report.field == field)
    }

    /// Whether there is a report about a field of this object, or about a value below it.
    pub fn is_faulty_below(&self, name: &str) -> bool {
        let Mode::Reads(reads) = &self.mode else { return false };
        let field = reads.pointer.child(name);
        let is_error = |report: &Report| report.severity == Severity::Error;
        reads.log.reports.iter().any(|report| is_error(report) && report.field.is_below(&field))
    }

    /// Whether this object has a member, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        let Mode::Reads(reads) = &self.mode else { return false };
        reads.object.is_some_and(|object| object.member(name).is_some())
    }

    /// Whether the value of a member is null.
    pub fn is_null(&self, name: &str) -> bool {
        let Mode::Reads(reads) = &self.mode else { return false };
        reads.object.is_some_and(|object| matches!(object.value(name), Some(Value::Null)))
    }

    /// Path of a member of this object.
    pub fn pointer(&self, name: &str) -> Pointer {
        match &self.mode {
            Mode::Reads(reads) => reads.pointer.child(name),
            Mode::Describes(_) => Pointer::default(),
        }
    }

    /// Position of a member's value, or of this object where it has no such member.
    pub fn position(&self, name: &str) -> Option<Position> {
        let Mode::Reads(reads) = &self.mode else { return None };
        reads.position(name)
    }

    /// Position of an entry, by its name or its index, in a member of this object.
    pub(crate) fn position_below(&self, name: &str, entry: &str) -> Option<Position> {
        let Mode::Reads(reads) = &self.mode else { return None };
        match reads.object?.value(name) {
            Some(Value::Object(object)) => object.member(entry)?.node.at,
            Some(Value::Array(items)) => items.get(entry.parse::<usize>().ok()?)?.at,
            _ => reads.position(name),
        }
    }

    fn is_describing(&self) -> bool {
        matches!(self.mode, Mode::Describes(_))
    }

    fn reads(&mut self) -> Option<&mut Reads<'a>> {
        match &mut self.mode {
            Mode::Reads(reads) => Some(reads),
            Mode::Describes(_) => None,
        }
    }

    /// Reads a value of a field, or describes the field.
    fn take<T: PartialEq>(&mut self, field: &Field<T>, location: Location, need: Need) -> Found<T> {
        let form = self.form;
        let Mode::Reads(reads) = &mut self.mode else {
            let described = Described { location, ..described(form, field, need) };
            if let Mode::Describes(description) = &mut self.mode {
                description.fields.push(described);
            }
            return Found::Absent;
        };
        let found = reads.take(field.name, &field.parse, location);
        match (&found, need, form) {
            (Found::Null, _, Form::Document) => {
                reads.report(field.name, "missing", NO_VALUE.to_owned());
                Found::Wrong
            }
            (Found::Null | Found::Absent, Need::Required, _) => {
                reads.report(field.name, "missing", "is required".to_owned());
                Found::Wrong
            }
            _ => found,
        }
    }

    /// The schema of a nested object.
    fn describe_nested<T>(&mut self, shape: impl FnOnce(&mut Self) -> Option<T>) -> serde_json::Value {
        let mut inner = Self { mode: Mode::Describes(Description::default()), form: self.form };
        shape(&mut inner);
        match inner.mode {
            Mode::Describes(description) => description.schema(),
            Mode::Reads(_) => serde_json::Value::Null,
        }
    }

    fn add_described(
        &mut self,
        name: &'static str,
        doc: &'static str,
        schema: serde_json::Value,
        need: Need,
    ) {
        let schema = match need == Need::Nullable && self.form == Form::Request {
            true => nullable(schema),
            false => schema,
        };
        if let Mode::Describes(description) = &mut self.mode {
            let is_required = need == Need::Required;
            description.fields.push(Described { name, doc, schema, is_required, location: Location::Body });
        }
    }

    /// Reports a member of the wrong type, or without a value.
    fn mistyped(&mut self, name: &'static str, wanted: &str, found: &Value<'_>) {
        let form = self.form;
        let Mode::Reads(reads) = &mut self.mode else { return };
        match (found, form) {
            (Value::Null, Form::Request) | (Value::Refused, _) => {}
            (Value::Null, Form::Document) => reads.report(name, "missing", NO_VALUE.to_owned()),
            (found, _) => {
                let fault = Fault::mistyped(wanted, found);
                reads.report(name, fault.code, fault.message);
            }
        }
    }

    /// Reads a nested object, a member of this one.
    fn nested<T>(
        &mut self,
        name: &str,
        object: &'a Object<'a>,
        shape: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let form = self.form;
        let reads = self.reads()?;
        let at = reads.position(name);
        reads.pointer.push(name);
        let inner = reads.descend(object, at);
        let before = inner.log.errors;
        let mut inner = Self { mode: Mode::Reads(inner), form };
        let value = shape(&mut inner);
        let Mode::Reads(mut inner) = inner.mode else { return None };
        inner.finish();
        let is_clean = inner.log.errors == before;
        let reads = self.reads()?;
        reads.ascend(inner);
        reads.pointer.pop();
        value.filter(|_| is_clean)
    }
}

/// Whether a field must be given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    Optional,
    /// Optional, and described with null.
    Nullable,
}

/// Message about null in a document.
const NO_VALUE: &str = "has no value: give one, or leave the key out";

fn described<T>(form: Form, field: &Field<T>, need: Need) -> Described {
    let schema = match need == Need::Nullable && form == Form::Request {
        true => nullable((field.schema)()),
        false => (field.schema)(),
    };
    Described {
        name: field.name,
        doc: field.doc,
        schema,
        is_required: need == Need::Required,
        location: Location::Body,
    }
}

/// Adds null to the values of a schema.
fn nullable(schema: serde_json::Value) -> serde_json::Value {
    json!({ "oneOf": [schema, { "type": "null" }] })
}
