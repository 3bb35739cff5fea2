//! Parts of the reader that only documents have: lists, free names, settings, sections without effect.

use serde_json::{Value as Json, json};

use super::{Fault, Field, Form, Given, Mode, NO_EFFECT, Need, Reader, Reads};
use crate::{Node, Object, Position, Report, Severity, Value};

/// A value of a static section, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawStatic {
    /// JSON pointer.
    pub(crate) path: String,
    /// The scalar's text.
    pub(crate) value: String,
    pub(crate) at: Option<Position>,
}

/// Result of reading one document by its shape.
pub(crate) struct Outcome {
    pub(crate) reports: Vec<Report>,
    /// Reports that are not among them.
    pub(crate) omitted: usize,
    pub(crate) statics: Vec<RawStatic>,
}

/// Reads a document by its shape.
pub(crate) fn read_document(
    root: &Object<'_>,
    at: Option<Position>,
    shape: impl FnOnce(&mut Reader<'_>),
) -> Outcome {
    let mut reader = Reader { mode: Mode::Reads(Reads::new(Some(root), at)), form: Form::Document };
    shape(&mut reader);
    let Mode::Reads(mut reads) = reader.mode else {
        return Outcome { reports: Vec::new(), omitted: 0, statics: Vec::new() };
    };
    reads.finish();
    reads.log.finish();
    Outcome { reports: reads.log.reports, omitted: reads.log.omitted, statics: reads.statics }
}

impl<'a> Reader<'a> {
    /// Reads an optional list of objects. Items with mistakes are left out; `None` when the list is absent.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        mut shape: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        if self.is_describing() {
            let schema = list_schema(self.describe_nested(shape));
            self.add_described(name, doc, schema, Need::Nullable);
            return None;
        }
        match self.reads()?.ask(name)? {
            Value::Array(items) => Some(self.items(name, items, &mut shape)),
            other => {
                self.mistyped(name, "a list", other);
                None
            }
        }
    }

    /// Reads a section that is a list of objects in one form and one object in another.
    pub fn list_or_object(
        &mut self,
        name: &'static str,
        doc: &'static str,
        mut item: impl FnMut(&mut Self) -> Option<()>,
        object: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        if self.is_describing() {
            let list = list_schema(self.describe_nested(item));
            let object = self.describe_nested(object);
            self.add_described(name, doc, json!({ "oneOf": [list, object] }), Need::Nullable);
            return None;
        }
        match self.reads()?.ask(name)? {
            Value::Array(items) => {
                self.items(name, items, &mut item);
                Some(())
            }
            Value::Object(members) => self.nested(name, members, object),
            other => {
                self.mistyped(name, "a list or an object", other);
                None
            }
        }
    }

    /// Reads an object with free names: one value each. Entries with mistakes are left out.
    #[allow(clippy::type_complexity)] // a schema and a parser, as two plain functions
    pub fn entries<T>(
        &mut self,
        name: &'static str,
        doc: &'static str,
        value: (fn() -> Json, fn(Given<'_>) -> Result<T, Fault>),
    ) -> Option<Vec<(&'a str, T)>> {
        let (schema, parse) = value;
        if self.is_describing() {
            let schema = json!({ "type": "object", "additionalProperties": schema() });
            self.add_described(name, doc, schema, Need::Nullable);
            return None;
        }
        let object = match self.reads()?.ask(name)? {
            Value::Object(object) => object,
            other => {
                self.mistyped(name, "an object", other);
                return None;
            }
        };
        let mut entries = Vec::with_capacity(object.members().len());
        self.nested(name, object, |reader| {
            let reads = reader.reads()?;
            reads.has_free_names = true;
            for member in object.members() {
                let result = match &member.node.value {
                    Value::Refused => continue,
                    Value::Null => Err(Fault { code: "missing", message: super::NO_VALUE.to_owned() }),
                    value => parse(Given::Json(value)),
                };
                match result {
                    Ok(value) => entries.push((&*member.name, value)),
                    Err(fault) => reads.report(&member.name, fault.code, fault.message),
                }
            }
            Some(())
        });
        Some(entries)
    }

    /// Reads one value, in a short form or as an object, or a list of such values.
    pub fn one_or_more<T: PartialEq>(
        &mut self,
        field: &Field<T>,
        mut shape: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        let name = field.name;
        if self.is_describing() {
            let object = self.describe_nested(shape);
            let one = json!({ "oneOf": [(field.schema)(), object] });
            let schema = json!({ "oneOf": [one.clone(), { "type": "array", "items": one }] });
            self.add_described(name, field.doc, schema, Need::Nullable);
            return None;
        }
        let items = match self.reads()?.ask(name)? {
            Value::Array(items) => items,
            _ => return self.short_or_object(field, shape).map(|one| vec![one]),
        };
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Value::Object(_) = item.value {
                values.extend(self.item(name, index, item, &mut shape));
                continue;
            }
            match (field.parse)(Given::Json(&item.value)) {
                Ok(value) => values.push(value),
                Err(_) if item.value == Value::Refused => {}
                Err(fault) => {
                    let reads = self.reads()?;
                    let pointer = reads.pointer.child(name).child(&index.to_string());
                    reads.log.push(Report::error(pointer, fault.code, fault.message, item.at));
                }
            }
        }
        Some(values)
    }

    /// Reads a word of a list.
    pub fn one_of(
        &mut self,
        name: &'static str,
        doc: &'static str,
        words: &'static [&'static str],
    ) -> Option<&'static str> {
        if self.is_describing() {
            self.add_described(name, doc, json!({ "type": "string", "enum": words }), Need::Nullable);
            return None;
        }
        let given = self.optional(&Field::<String> {
            name,
            doc,
            schema: || Json::Null,
            parse: |given| given.text().map(str::to_owned),
        })?;
        let known = words.iter().copied().find(|word| *word == given);
        if known.is_none() {
            self.fault(name, Fault::invalid(format_args!("must be one of {}", words.join(", "))));
        }
        known
    }

    /// Reads a scalar, or each item of a list of scalars, as a setting of the process: its text as written.
    /// `parse` checks it.
    pub fn setting(
        &mut self,
        name: &'static str,
        doc: &'static str,
        form: SettingForm,
        schema: impl FnOnce() -> Json,
        parse: &dyn Fn(Given<'_>) -> Result<(), Fault>,
    ) {
        if self.is_describing() {
            let one = schema();
            let schema = match form {
                SettingForm::Scalar => one,
                SettingForm::ScalarOrList => {
                    json!({ "oneOf": [one.clone(), { "type": "array", "items": one }] })
                }
            };
            self.add_described(name, doc, schema, Need::Nullable);
            return;
        }
        let Some(reads) = self.reads() else { return };
        let Some(value) = reads.ask(name) else { return };
        let (at, pointer) = (reads.position(name), reads.pointer.child(name));
        match value {
            Value::Null | Value::Refused => self.mistyped(name, "a value", value),
            Value::Array(items) if form == SettingForm::ScalarOrList => {
                for (index, item) in items.iter().enumerate() {
                    let pointer = pointer.child(&index.to_string());
                    match parse(Given::Json(&item.value)) {
                        Ok(()) => self.add_static(pointer.to_string(), &item.value, item.at),
                        Err(fault) => {
                            if let Some(reads) = self.reads() {
                                reads.log.push(Report::error(pointer, fault.code, fault.message, item.at));
                            }
                        }
                    }
                }
            }
            value => match parse(Given::Json(value)) {
                Ok(()) => self.add_static(pointer.to_string(), value, at),
                Err(fault) => self.fault(name, fault),
            },
        }
    }

    fn add_static(&mut self, path: String, value: &Value<'_>, at: Option<Position>) {
        let value = match value {
            Value::Text(text) | Value::Plain(text) => text.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Unsigned(number) => number.to_string(),
            Value::Negative(number) => number.to_string(),
            Value::Fraction(number) => number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) | Value::Refused => return,
        };
        if let Some(reads) = self.reads() {
            reads.statics.push(RawStatic { path, value, at });
        }
    }

    /// Warns that a member which this version knows has no effect, if it is given. Read it first: its own
    /// mistakes are errors all the same.
    pub fn has_no_effect(&mut self, name: &'static str) {
        self.describe_without_effect(name);
        if let Some(reads) = self.reads()
            && reads.object.is_some_and(|object| object.member(name).is_some())
        {
            let at = reads.name_position(name);
            let field = reads.pointer.child(name);
            reads.log.warn_unsupported(name, field, at);
        }
    }

    /// The same with the reason.
    pub fn has_no_effect_because(&mut self, name: &'static str, reason: &'static str) {
        self.describe_without_effect(name);
        if self.has(name) {
            let message = format!("is not supported by this version and has no effect: {reason}");
            self.warn(name, "unsupported", message);
        }
    }

    /// Refuses a member that has no place beside the others, if it is given; once.
    pub fn refuse(&mut self, name: &'static str, message: &str) {
        if let Some(reads) = self.reads()
            && !reads.is_asked(name)
            && reads.ask(name).is_some()
        {
            reads.report(name, "conflict", message.to_owned());
        }
    }

    /// Marks a described member as one without effect.
    fn describe_without_effect(&mut self, name: &str) {
        if let Mode::Describes(description) = &mut self.mode
            && let Some(field) = description.fields.iter_mut().rfind(|field| field.name == name)
        {
            field.schema[NO_EFFECT] = json!(true);
        }
    }

    /// Adds a warning about a member of this object.
    pub fn warn(&mut self, name: &'static str, code: &'static str, message: impl Into<String>) {
        if let Some(reads) = self.reads() {
            let at = reads.name_position(name);
            let field = reads.pointer.child(name);
            let report = Report::error(field, code, message.into(), at);
            reads.log.push(Report { severity: Severity::Warning, ..report });
        }
    }

    /// Whether the input is a document, and not a request.
    pub fn is_document(&self) -> bool {
        self.form == Form::Document
    }

    /// Adds an error about a value of any object of the document.
    pub(crate) fn report(&mut self, report: Report) {
        if let Some(reads) = self.reads() {
            reads.log.push(report);
        }
    }

    fn items<T>(
        &mut self,
        name: &'static str,
        items: &'a [Node<'a>],
        shape: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            values.extend(self.item(name, index, item, shape));
        }
        values
    }

    fn item<T>(
        &mut self,
        name: &'static str,
        index: usize,
        item: &'a Node<'a>,
        shape: &mut impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<T> {
        let form = self.form;
        let reads = self.reads()?;
        let object = match &item.value {
            Value::Object(object) => object,
            Value::Refused => return None,
            other => {
                let field = reads.pointer.child(name).child(&index.to_string());
                let fault = match other {
                    Value::Null => Fault { code: "missing", message: "has no value".to_owned() },
                    other => Fault::mistyped("an object", other),
                };
                reads.log.push(Report::error(field, fault.code, fault.message, item.at));
                return None;
            }
        };
        reads.pointer.push(name);
        reads.pointer.push(&index.to_string());
        let inner = reads.descend(object, item.at);
        let before = inner.log.errors;
        let mut inner = Self { mode: Mode::Reads(inner), form };
        let value = shape(&mut inner);
        let Mode::Reads(mut inner) = inner.mode else { return None };
        inner.finish();
        let is_clean = inner.log.errors == before;
        let reads = self.reads()?;
        reads.ascend(inner);
        reads.pointer.pop();
        reads.pointer.pop();
        value.filter(|_| is_clean)
    }
}

/// Form of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingForm {
    /// One scalar.
    Scalar,
    /// One scalar, or a list of scalars.
    ScalarOrList,
}

fn list_schema(items: Json) -> Json {
    json!({ "type": "array", "items": items })
}
