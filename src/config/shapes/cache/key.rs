//! Names and patterns that decide which requests share a response.

use std::sync::Arc;

use serde_json::json;

use crate::limits::{CACHE_NAME_BYTES_MAX, CACHE_NAMES_MAX};
use crate::shapes::matcher::is_token;
use crate::values::{list_of, strings_schema};
use crate::{Fault, Field, Given};

/// Request fields of the key, in lower case.
pub(super) static VARY_HEADERS: Field<Vec<Arc<str>>> = Field {
    name: "vary_headers",
    doc: "Header fields of requests that a stored response holds for, beside those that its Vary names.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["Accept-Language"] })),
    parse: |given| list_of(given, CACHE_NAMES_MAX, keyed_field),
};

/// Parameters that are no part of the key.
pub(super) static IGNORED_PARAMS: Field<Vec<Arc<str>>> = Field {
    name: "ignore_params",
    doc: "Parameters of the query that make no difference to responses; they are still sent to the endpoint.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["utm_source"] })),
    parse: |given| list_of(given, CACHE_NAMES_MAX, parameter),
};

/// Bytes of a pattern.
pub(super) const PATTERNS_MAX_TEXT: usize = CACHE_NAME_BYTES_MAX;
/// Stars of a pattern: each may cost a request the length of its path.
const STARS_MAX: usize = 4;

/// Fields that are about one connection or one transfer, or that the cache itself answers.
const NEVER_KEYED: [&str; 19] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn keyed_field(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let name = given.text()?.to_ascii_lowercase();
    if name == "*" {
        return Err(Fault::invalid("must name fields: with * no two requests would share a response"));
    }
    if !is_token(&name) {
        return Err(Fault::invalid("must have names of header fields, such as Accept-Language"));
    }
    if name == "host" {
        return Err(Fault::invalid("must not have Host, which is part of every key"));
    }
    match NEVER_KEYED.contains(&&*name) {
        true => Err(Fault::invalid(format_args!(
            "must not have {name}: it is about one connection or transfer, and no two responses differ by it"
        ))),
        false => Ok(name.into()),
    }
}

fn parameter(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let name = given.text()?;
    let is_name = (1..=CACHE_NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"&=#?*".contains(&byte));
    match is_name {
        true => Ok(name.into()),
        false => Err(Fault::invalid(format_args!(
            "must have names as they stand in the query: from 1 to {CACHE_NAME_BYTES_MAX} visible ASCII characters \
             without &, =, #, ? and *"
        ))),
    }
}

/// Parses a pattern of paths.
pub(super) fn pattern(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    if text.len() > CACHE_NAME_BYTES_MAX {
        return Err(Fault::range(format_args!("must not be longer than {CACHE_NAME_BYTES_MAX} bytes")));
    }
    if !text.starts_with(['/', '*']) {
        return Err(Fault::invalid("must have paths that begin with / or *, such as *.css or /static/*"));
    }
    if text.bytes().filter(|byte| *byte == b'*').count() > STARS_MAX {
        return Err(Fault::range(format_args!("must not have a pattern with more than {STARS_MAX} *")));
    }
    match text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\[]{}".contains(&byte)) {
        true => Ok(text.into()),
        false => Err(Fault::invalid(
            "must have paths in visible ASCII; * stands for any characters, and ?, #, \\, brackets and braces are \
             not supported",
        )),
    }
}
