//! Values of one object, or of a request, and the names asked for.

use ringway_model::limits;

use super::report::Log;
use super::{Fault, Given, Location, Origin, Report, nearest};
use crate::reader::document::RawStatic;
use crate::{Object, Pointer, Position, Severity, Value};

/// Values under reading.
pub(super) struct Reads<'a> {
    pub(super) object: Option<&'a Object<'a>>,
    /// Position of the object.
    at: Option<Position>,
    key: Option<&'a str>,
    query: &'a [(String, String)],
    /// Names of the fields read so far: all others are unknown.
    asked: Vec<&'static str>,
    asked_in_query: Vec<&'static str>,
    /// Whether the names are the document's own: none is unknown.
    pub(super) has_free_names: bool,
    pub(super) pointer: Pointer,
    pub(super) log: Log,
    pub(super) statics: Vec<RawStatic>,
}

/// Value of a field in all of its locations.
pub(super) enum Found<T> {
    Value(T),
    Null,
    Absent,
    /// Already reported.
    Wrong,
}

impl<T> Found<T> {
    pub(super) fn into_value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Null | Self::Absent | Self::Wrong => None,
        }
    }
}

impl<'a> Reads<'a> {
    pub(super) fn new(object: Option<&'a Object<'a>>, at: Option<Position>) -> Self {
        Self {
            object,
            at,
            key: None,
            query: &[],
            asked: Vec::new(),
            asked_in_query: Vec::new(),
            has_free_names: false,
            pointer: Pointer::default(),
            log: Log::default(),
            statics: Vec::new(),
        }
    }

    pub(super) fn with_address(mut self, key: Option<&'a str>, query: &'a [(String, String)]) -> Self {
        (self.key, self.query) = (key, query);
        self
    }

    /// Passes the state on to the reading of a nested object; [`Self::ascend`] brings it back.
    pub(super) fn descend(&mut self, object: &'a Object<'a>, at: Option<Position>) -> Self {
        Self {
            pointer: std::mem::take(&mut self.pointer),
            log: std::mem::take(&mut self.log),
            statics: std::mem::take(&mut self.statics),
            ..Self::new(Some(object), at)
        }
    }

    pub(super) fn ascend(&mut self, inner: Self) {
        (self.pointer, self.log, self.statics) = (inner.pointer, inner.log, inner.statics);
    }

    /// The value of a member, which counts as known from then on.
    pub(super) fn ask(&mut self, name: &'static str) -> Option<&'a Value<'a>> {
        self.asked.push(name);
        self.object.and_then(|object| object.value(name))
    }

    /// Whether a member was asked for.
    pub(super) fn is_asked(&self, name: &str) -> bool {
        self.asked.contains(&name)
    }

    /// Position of a member's value, or of the object.
    pub(super) fn position(&self, name: &str) -> Option<Position> {
        self.object.and_then(|object| object.member(name)).map_or(self.at, |member| member.node.at)
    }

    /// Position of a member's name, or of the object.
    pub(super) fn name_position(&self, name: &str) -> Option<Position> {
        self.object.and_then(|object| object.member(name)).map_or(self.at, |member| member.at)
    }

    pub(super) fn take<T: PartialEq>(
        &mut self,
        name: &'static str,
        parse: &dyn Fn(Given<'_>) -> Result<T, Fault>,
        location: Location,
    ) -> Found<T> {
        let mut found: Option<T> = None;
        let mut is_wrong = false;
        let mut is_null = false;
        let (key, query): (Option<&'a str>, &'a [(String, String)]) = (self.key, self.query);
        if location == Location::Key
            && let Some(text) = key
        {
            self.key = None;
            is_wrong |= !self.parse(name, parse, Given::Text(text), Origin::Address, &mut found);
        }
        if location != Location::Body {
            self.asked_in_query.push(name);
            for (_, text) in query.iter().filter(|(given, _)| given == name) {
                is_wrong |= !self.parse(name, parse, Given::Text(text), Origin::Address, &mut found);
            }
        }
        match self.ask(name) {
            None => {}
            Some(Value::Null) => is_null = true,
            Some(Value::Refused) => is_wrong = true,
            Some(value) => {
                is_wrong |= !self.parse(name, parse, Given::Json(value), Origin::Body, &mut found);
            }
        }
        match (is_wrong, found, is_null) {
            (true, _, _) => Found::Wrong,
            (false, Some(value), _) => Found::Value(value),
            (false, None, true) => Found::Null,
            (false, None, false) => Found::Absent,
        }
    }

    /// Parses one occurrence and compares it with the others; false when a report was added.
    fn parse<T: PartialEq>(
        &mut self,
        name: &'static str,
        parse: &dyn Fn(Given<'_>) -> Result<T, Fault>,
        given: Given<'_>,
        origin: Origin,
        found: &mut Option<T>,
    ) -> bool {
        let fault = match parse(given) {
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
        match origin {
            Origin::Body => self.report(name, fault.code, fault.message),
            Origin::Address => self.report_address(name, fault.code, fault.message),
        }
        false
    }

    /// Adds a report about a member of this object.
    pub(super) fn report(&mut self, name: &str, code: &'static str, message: String) {
        let at = self.position(name);
        self.log.push(Report::error(self.pointer.child(name), code, message, at));
    }

    /// Adds a report about a value of the path or the query.
    fn report_address(&mut self, name: &str, code: &'static str, message: String) {
        let field = Pointer::default().child(name);
        let (severity, origin) = (Severity::Error, Origin::Address);
        self.log.push(Report { severity, code, message, field, origin, at: None });
    }

    /// Adds reports about unknown fields.
    pub(super) fn finish(&mut self) {
        if !self.has_free_names {
            let members = self.object.map(|object| object.members()).unwrap_or_default();
            let mut unknowns = members.iter().filter(|member| !self.asked.contains(&&*member.name));
            for member in unknowns.by_ref().take(limits::FINDINGS_MAX) {
                let message = unknown(&member.name, &self.asked);
                let field = self.pointer.child(&member.name);
                self.log.push(Report::error(field, "unknown", message, member.at));
            }
            self.log.omit(unknowns.count());
        }
        for (name, _) in self.query {
            let name = name.as_str();
            if self.asked_in_query.contains(&name) {
                continue;
            }
            let message = match self.asked.contains(&name) {
                // Known, but not allowed in the query.
                true => "belongs into the body".to_owned(),
                false => unknown(name, &self.asked_in_query),
            };
            self.report_address(name, "unknown", message);
        }
    }
}

fn unknown(name: &str, known: &[&'static str]) -> String {
    if let Some(near) = nearest(name, known.iter().copied()) {
        return format!("is not known here; did you mean {near}?");
    }
    match known {
        [] => "is not known here; this takes no such fields".to_owned(),
        known => {
            let mut names: Vec<&str> = Vec::with_capacity(known.len());
            for name in known {
                // A field may have been asked for twice: as one of two forms.
                if !names.contains(name) {
                    names.push(name);
                }
            }
            format!("is not known here; known are: {}", names.join(", "))
        }
    }
}
