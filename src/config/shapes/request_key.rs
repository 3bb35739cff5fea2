//! Properties of a request that limits and hashes count by: header fields, cookies, the client's address.

use std::sync::Arc;

use ringway_model::RequestKey;
use serde_json::json;

use super::matcher::is_token;
use crate::limits::COOKIE_NAME_BYTES_MAX;
use crate::{Fault, Field, Given, Reader};

/// Reads a request key: `client`, `header:NAME`, `cookie:NAME`, or an object with `header` or `cookie`.
pub(super) fn request_key(reader: &mut Reader<'_>, field: &Field<RequestKey>) -> Option<RequestKey> {
    reader.short_or_object(field, |reader| {
        let header = reader.optional(&HEADER).map(RequestKey::Header);
        let cookie = reader.optional(&COOKIE).map(RequestKey::Cookie);
        match (header, cookie) {
            (Some(_), Some(_)) => {
                let message = "cannot stand beside header".to_owned();
                reader.fault(COOKIE.name, Fault { code: "conflict", message });
                None
            }
            (None, None) => {
                if !reader.is_faulty(HEADER.name) && !reader.is_faulty(COOKIE.name) {
                    let message = "is required, or cookie".to_owned();
                    reader.fault(HEADER.name, Fault { code: "missing", message });
                }
                None
            }
            (header, cookie) => header.or(cookie),
        }
    })
}

/// A request key in its short form.
pub(super) const fn short_key(name: &'static str, doc: &'static str) -> Field<RequestKey> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "string", "examples": ["client", "header:X-User", "cookie:session"] }),
        parse: |given| {
            let text = given.text()?;
            match text.split_once(':') {
                Some(("header", name)) => header_name(Given::Text(name)).map(RequestKey::Header),
                Some(("cookie", name)) => cookie_name(Given::Text(name)).map(RequestKey::Cookie),
                None if text == "client" => Ok(RequestKey::Client),
                _ => Err(Fault::invalid("must be client, header:NAME or cookie:NAME")),
            }
        },
    }
}

/// Parses the name of a header field, in lower case.
pub(super) fn header_name(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let name = given.text()?.to_ascii_lowercase();
    match is_token(&name) {
        true => Ok(name.into()),
        false => Err(Fault::invalid("must be the name of a header field, such as X-User")),
    }
}

/// Parses the name of a cookie (RFC 6265 §4.1.1).
pub(super) fn cookie_name(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let name = given.text()?;
    match is_token(name) && name.len() <= COOKIE_NAME_BYTES_MAX {
        true => Ok(name.into()),
        false => Err(Fault::invalid(format_args!(
            "must be the name of a cookie: at most {COOKIE_NAME_BYTES_MAX} letters, digits, - and _"
        ))),
    }
}

/// The name of a header field.
pub(super) const fn header_field(name: &'static str, doc: &'static str) -> Field<Arc<str>> {
    Field { name, doc, schema: || json!({ "type": "string", "examples": ["X-User"] }), parse: header_name }
}

/// The name of a cookie.
pub(super) const fn cookie_field(name: &'static str, doc: &'static str) -> Field<Arc<str>> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "string", "maxLength": COOKIE_NAME_BYTES_MAX, "examples": ["session"] }),
        parse: cookie_name,
    }
}

static HEADER: Field<Arc<str>> = header_field("header", "Header field whose value counts.");

static COOKIE: Field<Arc<str>> = cookie_field("cookie", "Cookie whose value counts.");
