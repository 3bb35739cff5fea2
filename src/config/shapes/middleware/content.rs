//! Stages about content: `body_limit`, `error_pages`.

use std::sync::Arc;

use ringway_model::{BodyLimit, ErrorPage, ErrorPages};
use serde_json::json;

use super::config;
use crate::limits::{ERROR_PAGES_MAX, PAGE_BYTES_MAX};
use crate::shapes::route::CONTENT_TYPE;
use crate::values::size;
use crate::{Fault, Field, Given, Reader, Value};

/// Reads `body_limit`.
pub(super) fn body_limit(reader: &mut Reader<'_>) -> Option<BodyLimit> {
    config(reader, |reader| Some(BodyLimit { size: reader.required(&SIZE)? }))
}

/// Reads `error_pages`.
pub(super) fn error_pages(reader: &mut Reader<'_>) -> Option<ErrorPages> {
    config(reader, |reader| {
        let mut statuses: Vec<Arc<str>> = Vec::new();
        let pages = reader.list(PAGES, "Pages; the first that fits is taken.", |reader| {
            let page = error_page(reader)?;
            if statuses.contains(&page.statuses) {
                let message = "are those of another page".to_owned();
                reader.fault(STATUSES.name, Fault { code: "duplicate", message });
            }
            statuses.push(page.statuses.clone());
            Some(page)
        });
        match pages.as_ref().map(Vec::len) {
            None | Some(0) if !reader.is_faulty_below(PAGES) => {
                reader.fault(PAGES, Fault { code: "missing", message: "is required".to_owned() });
            }
            Some(count) if count > ERROR_PAGES_MAX => {
                let most = format!("must not have more than {ERROR_PAGES_MAX} items");
                reader.fault(PAGES, Fault::range(most));
            }
            _ => {}
        }
        Some(ErrorPages { pages: pages?.into() })
    })
}

fn error_page(reader: &mut Reader<'_>) -> Option<ErrorPage> {
    let statuses = reader.required(&STATUSES);
    let content_type = reader.optional(&PAGE_TYPE).unwrap_or_else(|| "text/html; charset=utf-8".into());
    let body = reader.required(&BODY);
    Some(ErrorPage { statuses: statuses?, content_type, body: body? })
}

const PAGES: &str = "pages";

static SIZE: Field<u64> = size("size", "Largest request body; a larger one is answered with 413.");

static STATUSES: Field<Arc<str>> = Field {
    name: "statuses",
    doc: "Statuses of errors: 503, 5xx or 400-499.",
    schema: || {
        json!({ "oneOf": [
            { "type": "string", "pattern": "^[45]([0-9]{2}(-[45][0-9]{2})?|xx)$", "examples": ["5xx", "400-499"] },
            { "type": "integer", "minimum": 400, "maximum": 599 },
        ] })
    },
    parse: |given| {
        let text = match given {
            Given::Json(Value::Unsigned(status)) => status.to_string(),
            given => given.text()?.to_owned(),
        };
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (400..=599).contains(status));
        let is_known = matches!(&*text, "4xx" | "5xx")
            || match text.split_once('-') {
                Some((low, high)) => {
                    matches!((status(low), status(high)), (Some(low), Some(high)) if low <= high)
                }
                None => status(&text).is_some(),
            };
        match is_known {
            true => Ok(text.into()),
            false => Err(Fault::invalid("must be a status from 400 to 599, 4xx, 5xx, or a range as 400-499")),
        }
    },
};

static PAGE_TYPE: Field<Arc<str>> =
    Field { doc: "Media type; text/html in UTF-8 when absent.", ..CONTENT_TYPE };

static BODY: Field<Arc<str>> = Field {
    parse: |given| {
        let text = (page("", "").parse)(given)?;
        let mut names = text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap_or(rest));
        match names.find(|name| !matches!(*name, "request_id" | "status")) {
            Some(other) => {
                let shown: String = other.chars().take(40).collect();
                Err(Fault::invalid(format_args!(
                    "has the variable {shown:?}, which does not exist; there are request_id, status"
                )))
            }
            None => Ok(text),
        }
    },
    ..page("body", "Content; ${request_id} and ${status} are replaced.")
};

/// A page, of several lines.
pub(super) const fn page(name: &'static str, doc: &'static str) -> Field<Arc<str>> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "string", "maxLength": PAGE_BYTES_MAX }),
        parse: |given| {
            let text = given.text()?;
            match text.len() <= PAGE_BYTES_MAX {
                true => Ok(text.into()),
                false => Err(Fault::range(format_args!("must not be longer than {PAGE_BYTES_MAX} bytes"))),
            }
        },
    }
}
