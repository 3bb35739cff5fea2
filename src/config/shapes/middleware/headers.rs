//! Stages about header fields: `header_transform`, `security_headers`.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Direction, FrameOptions, HeaderEdits, HeaderTransform, Hsts, SecurityHeaders, Template};
use serde_json::{Value as Json, json};

use super::{NAMED_MAX, config, config_or, named};
use crate::limits::TEXT_BYTES_MAX;
use crate::shapes::matcher::{is_field_value, is_token};
use crate::values::{boolean, duration_text, long_duration, long_duration_schema, time_within};
use crate::values::{list_of, strings_schema};
use crate::{Fault, Field, Given, Reader, Value};

/// Reads `header_transform`.
pub(super) fn header_transform(reader: &mut Reader<'_>) -> Option<HeaderTransform> {
    config(reader, |reader| {
        let request = edits(reader, Direction::Request);
        let response =
            reader.object("response", "Changes of the response, also of local replies.", |reader| {
                Some(edits(reader, Direction::Response))
            });
        let response = response.unwrap_or_default();
        let is_faulty = ["add", "set", "remove", "response"].iter().any(|name| reader.is_faulty_below(name));
        if request.is_empty() && response.is_empty() && !is_faulty {
            let message = "is required, or set, remove or response".to_owned();
            reader.fault("add", Fault { code: "missing", message });
        }
        Some(HeaderTransform { request, response })
    })
}

fn edits(reader: &mut Reader<'_>, direction: Direction) -> HeaderEdits {
    let check = move |name: &str| may_change(name, direction);
    let value = (value_schema as fn() -> Json, template as fn(Given<'_>) -> Result<Template, Fault>);
    let add = named(reader, ("add", "Fields that are added to those of the same name."), value, check);
    let set = named(reader, ("set", "Fields that replace those of the same name."), value, check);
    let remove = reader.optional(match direction {
        Direction::Request => &REMOVE,
        Direction::Response => &REMOVE_OF_RESPONSE,
    });
    HeaderEdits { add: add.into(), set: set.into(), remove: remove.unwrap_or_default().into() }
}

/// Reads an object of fields that are set in responses.
pub(in crate::shapes) fn response_fields(
    reader: &mut Reader<'_>,
    name: (&'static str, &'static str),
) -> Box<[(Arc<str>, Template)]> {
    named(reader, name, (value_schema, fixed), |name| may_change(name, Direction::Response)).into()
}

/// Refuses names of fields that no stage may change.
pub(super) fn may_change(name: &str, direction: Direction) -> Result<(), Fault> {
    if !is_token(name) {
        return Err(Fault::invalid("is not the name of a header field, such as X-User"));
    }
    match direction.protects(name) {
        true => Err(Fault::invalid("is a field that ringway sets itself: no stage can change it")),
        false => Ok(()),
    }
}

fn value_schema() -> Json {
    json!({ "oneOf": [
        { "type": "string", "maxLength": TEXT_BYTES_MAX, "examples": ["${client_ip}"] },
        { "type": "integer", "minimum": 0 },
    ] })
}

/// Parses the value of a field, with variables.
fn template(given: Given<'_>) -> Result<Template, Fault> {
    Template::parse(&value_text(given)?).map_err(Fault::invalid)
}

/// Parses the value of a field, in which a dollar sign is one.
fn fixed(given: Given<'_>) -> Result<Template, Fault> {
    Template::parse(&value_text(given)?.replace('$', "$$")).map_err(Fault::invalid)
}

fn value_text(given: Given<'_>) -> Result<String, Fault> {
    let text = match given {
        // A version or a number needs no quotes.
        Given::Json(Value::Unsigned(number)) => number.to_string(),
        given => given.text()?.to_owned(),
    };
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault::range(format_args!("must not be longer than {TEXT_BYTES_MAX} bytes")));
    }
    match is_field_value(&text) {
        true => Ok(text),
        false => Err(Fault::invalid("must be visible ASCII, with spaces inside only")),
    }
}

static REMOVE: Field<Vec<Arc<str>>> = Field {
    name: "remove",
    doc: "Names of fields that are removed.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["X-Internal-Secret"] })),
    parse: |given| list_of(given, NAMED_MAX, |given| removed(given, Direction::Request)),
};

static REMOVE_OF_RESPONSE: Field<Vec<Arc<str>>> =
    Field { parse: |given| list_of(given, NAMED_MAX, |given| removed(given, Direction::Response)), ..REMOVE };

fn removed(given: Given<'_>, direction: Direction) -> Result<Arc<str>, Fault> {
    let name = given.text()?;
    may_change(name, direction)
        .map_err(|fault| Fault { message: format!("has {name:?}, which {}", fault.message), ..fault })?;
    Ok(name.into())
}

/// Reads `security_headers`.
pub(super) fn security_headers(reader: &mut Reader<'_>) -> Option<SecurityHeaders> {
    let default = SecurityHeaders {
        nosniff: true,
        frame_options: Some(FrameOptions::Deny),
        referrer_policy: Some("strict-origin-when-cross-origin".into()),
        ..SecurityHeaders::default()
    };
    config_or(reader, default, |reader| {
        let hsts = reader.short_or_object(&HSTS, |reader| {
            let max_age = reader.optional(&MAX_AGE).unwrap_or(HSTS_AGE);
            let include_subdomains = reader.optional(&SUBDOMAINS).unwrap_or(false);
            let preload = reader.optional(&PRELOAD).unwrap_or(false);
            if preload && (!include_subdomains || max_age < HSTS_AGE) {
                let age = duration_text(HSTS_AGE);
                let message = format!("needs include_subdomains, and a max_age of {age} or more");
                reader.fault(PRELOAD.name, Fault { code: "conflict", message });
            }
            Some(Some(Hsts { max_age, include_subdomains, preload }))
        });
        Some(SecurityHeaders {
            hsts: hsts.flatten(),
            nosniff: reader.optional(&NOSNIFF).unwrap_or(true),
            frame_options: reader.optional(&FRAME_OPTIONS),
            content_security_policy: reader.optional(&CSP),
            referrer_policy: reader.optional(&REFERRER_POLICY),
            permissions_policy: reader.optional(&PERMISSIONS_POLICY),
        })
    })
}

/// A year: browsers list no host with less.
const HSTS_AGE: Duration = Duration::from_secs(31_536_000);
/// Longest `max-age` in milliseconds: two years, as the preload list recommends.
const HSTS_MS_MAX: u64 = 2 * 31_536_000_000;

static HSTS: Field<Option<Hsts>> = Field {
    name: "hsts",
    doc: "Strict-Transport-Security over TLS: true for a year, a duration, or an object; none when absent.",
    schema: || json!({ "oneOf": [{ "type": "boolean" }, long_duration_schema()] }),
    parse: |given| {
        let of = |max_age| Hsts { max_age, include_subdomains: false, preload: false };
        match given.boolean() {
            Ok(is_on) => Ok(is_on.then(|| of(HSTS_AGE))),
            Err(_) => {
                long_duration(given)?;
                (MAX_AGE.parse)(given).map(|age| Some(of(age)))
            }
        }
    },
};

static MAX_AGE: Field<Duration> =
    time_within::<0, HSTS_MS_MAX>("max_age", "Time that browsers keep it; a year when absent.");

static SUBDOMAINS: Field<bool> =
    boolean("include_subdomains", "Whether it holds for all names below the host; not when absent.");

static PRELOAD: Field<bool> = boolean("preload", "Whether browsers may list the host; not when absent.");

static NOSNIFF: Field<bool> =
    boolean("nosniff", "Whether responses have X-Content-Type-Options: nosniff; they do when absent.");

static FRAME_OPTIONS: Field<FrameOptions> = Field {
    name: "frame_options",
    doc: "X-Frame-Options: deny or sameorigin; none when absent.",
    schema: || json!({ "type": "string", "enum": ["deny", "sameorigin"] }),
    parse: |given| match given.text()? {
        "deny" => Ok(FrameOptions::Deny),
        "sameorigin" => Ok(FrameOptions::Sameorigin),
        _ => Err(Fault::invalid("must be deny or sameorigin")),
    },
};

static CSP: Field<Arc<str>> = field_value("content_security_policy", "Content-Security-Policy.");

static REFERRER_POLICY: Field<Arc<str>> = field_value("referrer_policy", "Referrer-Policy.");

static PERMISSIONS_POLICY: Field<Arc<str>> = field_value("permissions_policy", "Permissions-Policy.");

const fn field_value(name: &'static str, doc: &'static str) -> Field<Arc<str>> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "string", "maxLength": TEXT_BYTES_MAX }),
        parse: |given| {
            let text = given.text()?;
            match !text.is_empty() && text.len() <= TEXT_BYTES_MAX && is_field_value(text) {
                true => Ok(text.into()),
                false => Err(Fault::invalid(format_args!(
                    "must be from 1 to {TEXT_BYTES_MAX} visible ASCII characters, with spaces inside only"
                ))),
            }
        },
    }
}
