//! Conditions of a route: path, methods, header fields, query.

use std::sync::Arc;

use ringway_model::{FieldMatch, HostPattern, PathMatch, RouteMatch, ValueMatch, limits::PATTERN_BYTES_MAX};
use serde_json::{Value as Json, json};

use crate::limits::{CONDITIONS_MAX, PATH_BYTES_MAX};
use crate::{Fault, Field, Given, Reader, Value};

/// Reads the conditions of a route.
pub(super) fn conditions(reader: &mut Reader<'_>) -> RouteMatch {
    let path = path(reader);
    let mut methods = reader.optional(&METHODS).unwrap_or_default();
    methods.sort();
    methods.dedup();
    let headers = fields(reader, HEADERS.0, HEADERS.1, FieldKind::Header);
    let query =
        fields(reader, "query", "Parameters of the query that a request must have.", FieldKind::Query);
    RouteMatch { path, methods: methods.into(), headers, query }
}

/// Reads `headers` of a rule.
pub(super) fn headers(reader: &mut Reader<'_>) -> Box<[FieldMatch]> {
    fields(reader, HEADERS.0, HEADERS.1, FieldKind::Header)
}

const HEADERS: (&str, &str) =
    ("headers", "Header fields that a request must have: a value, or {present: true} for any value.");

fn path(reader: &mut Reader<'_>) -> PathMatch {
    let exact = reader.optional(&PATH).map(PathMatch::Exact);
    let prefix = reader.optional(&PATH_PREFIX).map(PathMatch::Prefix);
    let regex = reader.optional(&PATH_REGEX).map(PathMatch::Regex);
    let mut given = [(PATH.name, exact), (PATH_PREFIX.name, prefix), (PATH_REGEX.name, regex)]
        .into_iter()
        .filter_map(|(name, path)| path.map(|path| (name, path)));
    let (Some((first, path)), second) = (given.next(), given.next()) else { return PathMatch::Any };
    if let Some((second, _)) = second {
        reader.fault(second, Fault { code: "conflict", message: format!("cannot stand beside {first}") });
    }
    path
}

/// Kind of the fields of a request that a condition is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FieldKind {
    Header,
    Query,
}

fn fields(
    reader: &mut Reader<'_>,
    name: &'static str,
    doc: &'static str,
    kind: FieldKind,
) -> Box<[FieldMatch]> {
    let parse = match kind {
        FieldKind::Header => |given: Given<'_>| value_match(given, is_field_value),
        FieldKind::Query => |given: Given<'_>| value_match(given, |text| !text.chars().any(char::is_control)),
    };
    let entries = reader.entries(name, doc, (value_match_schema, parse)).unwrap_or_default();
    if entries.len() > CONDITIONS_MAX {
        reader.fault(name, Fault::range(format_args!("must not have more than {CONDITIONS_MAX} fields")));
        return Box::default();
    }
    let mut fields: Vec<FieldMatch> = Vec::with_capacity(entries.len());
    for (given, value) in entries {
        let field: Arc<str> = match kind {
            FieldKind::Header => given.to_ascii_lowercase().into(),
            FieldKind::Query => given.into(),
        };
        let fault = match kind {
            FieldKind::Header if &*field == "host" => Some(Fault::invalid("must not have Host: use host")),
            FieldKind::Header if is_set_by_ringway(&field) => Some(Fault::invalid(format_args!(
                "must not have {given}: ringway sets it itself, and a client's value would match"
            ))),
            FieldKind::Header if !is_token(&field) => {
                Some(Fault::invalid(format_args!("must have names of header fields; {given:?} is none")))
            }
            FieldKind::Query if field.is_empty() || field.len() > NAME_BYTES_MAX => {
                Some(Fault::invalid("must have names of 1 to 256 bytes"))
            }
            _ if fields.iter().any(|known| known.name == field) => {
                Some(Fault { code: "duplicate", message: format!("has {given:?} twice") })
            }
            FieldKind::Header | FieldKind::Query => None,
        };
        match fault {
            Some(fault) => reader.fault(name, fault),
            None => fields.push(FieldMatch { name: field, value }),
        }
    }
    fields.sort();
    fields.into()
}

/// Whether ringway replaces a client's field of this name, in lower case; `_` counts as `-`, as in many apps.
fn is_set_by_ringway(name: &str) -> bool {
    let name = name.replace('_', "-");
    matches!(&*name, "forwarded" | "x-real-ip" | "x-tenant-id" | "x-original-host")
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-client-cert")
}

fn value_match(given: Given<'_>, is_good: fn(&str) -> bool) -> Result<ValueMatch, Fault> {
    if let Given::Json(Value::Object(object)) = given {
        return match object.members() {
            [member] if member.name == "present" && Given::Json(&member.node.value).boolean() == Ok(true) => {
                Ok(ValueMatch::Present)
            }
            _ => Err(Fault::invalid("must be a value, or {present: true}")),
        };
    }
    let text = match given {
        // A version or a number needs no quotes in YAML, and none in JSON.
        Given::Json(Value::Unsigned(number)) => number.to_string(),
        given => given.text()?.to_owned(),
    };
    match text.len() <= VALUE_BYTES_MAX && is_good(&text) {
        true => Ok(ValueMatch::Exact(text.into())),
        false => Err(Fault::invalid(format_args!(
            "must be at most {VALUE_BYTES_MAX} visible characters, with spaces inside only"
        ))),
    }
}

fn value_match_schema() -> Json {
    json!({ "oneOf": [
        { "type": "string", "maxLength": VALUE_BYTES_MAX },
        { "type": "integer", "minimum": 0 },
        {
            "type": "object",
            "properties": { "present": { "const": true } },
            "required": ["present"],
            "additionalProperties": false,
        },
    ] })
}

/// Bytes of a name of a header field or a parameter.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a value that a condition compares.
const VALUE_BYTES_MAX: usize = 4_096;

/// Hosts of a route.
pub(super) static HOST: Field<HostPattern> = Field {
    name: "host",
    doc: "Host: a name, *.name for one label below it, **.name for one or more, a regular expression of the whole host, \
          or * for hosts that no other route knows, which is the default.",
    schema: || json!({ "type": "string", "examples": ["api.example.com", "*.apps.example.com"] }),
    parse: host,
};

/// Parses a host pattern.
pub(super) fn host(given: Given<'_>) -> Result<HostPattern, Fault> {
    HostPattern::parse(given.text()?).map_err(Fault::invalid)
}

static PATH: Field<Arc<str>> = Field {
    name: "path",
    doc: "The whole path.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": PATH_BYTES_MAX }),
    parse: |given| parse_path(given.text()?),
};

/// Prefix of a path.
pub(super) static PATH_PREFIX: Field<Arc<str>> =
    Field { name: "path_prefix", doc: "Beginning of the path, by whole segments.", ..PATH };

/// Regular expression of a path.
pub(super) static PATH_REGEX: Field<Arc<str>> = Field {
    name: "path_regex",
    doc: "Regular expression of the whole path.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": PATTERN_BYTES_MAX }),
    parse: |given| {
        let text = given.text()?;
        if text.starts_with('~') {
            return Err(Fault::invalid(
                "begins with ~, which no path does; write the regular expression alone: it is compared with the \
                 whole path, and (?i) at its begin ignores case",
            ));
        }
        match (1..=PATTERN_BYTES_MAX).contains(&text.len()) {
            true => Ok(text.into()),
            false => Err(Fault::range(format_args!("must have from 1 to {PATTERN_BYTES_MAX} bytes"))),
        }
    },
};

pub(super) static METHODS: Field<Vec<Arc<str>>> = Field {
    name: "methods",
    doc: "Methods; any when absent.",
    schema: || {
        let one = json!({ "type": "string", "pattern": "^[A-Z][A-Z-]*$", "maxLength": METHOD_BYTES_MAX });
        json!({ "oneOf": [{ "type": "array", "items": one.clone(), "minItems": 1 }, one] })
    },
    parse: |given| match given {
        Given::Json(Value::Array(items)) if items.is_empty() || items.len() > CONDITIONS_MAX => {
            Err(Fault::range(format_args!("must have from 1 to {CONDITIONS_MAX} methods")))
        }
        Given::Json(Value::Array(items)) => {
            items.iter().map(|item| method(Given::Json(&item.value))).collect()
        }
        given => method(given).map(|one| vec![one]),
    },
};

/// Bytes of a method.
const METHOD_BYTES_MAX: usize = 32;

fn method(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    let is_method = (1..=METHOD_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    match is_method {
        true => Ok(text.into()),
        false => Err(Fault::invalid("must be a method in upper case, such as GET")),
    }
}

/// Parses a path of a request or a rewrite: visible ASCII that begins with a slash.
pub(super) fn parse_path(text: &str) -> Result<Arc<str>, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::invalid("must begin with /"));
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(Fault::range(format_args!("must not be longer than {PATH_BYTES_MAX} bytes")));
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte)) {
        true => Ok(text.into()),
        false => Err(Fault::invalid(
            "must be a path without query: visible ASCII, other characters percent-encoded, no ?, # and \\",
        )),
    }
}

/// Whether a text is a `token` (RFC 9110 §5.6.2).
pub(super) fn is_token(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Whether a text is a field value (RFC 9110 §5.5) in visible ASCII.
pub(super) fn is_field_value(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
        && text.trim_matches([' ', '\t']) == text
}
