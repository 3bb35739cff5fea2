//! Stages that observe requests: `request_id`, `access_log`, `tracing`. They wrap all others.

use std::sync::Arc;

use ringway_model::{AccessLogStage, Direction, RequestIdStage, TracingStage};
use serde_json::json;

use super::config_or;
use crate::shapes::matcher::is_token;
use crate::values::boolean;
use crate::{Fault, Field, Reader};

/// Reads `request_id`.
pub(super) fn request_id(reader: &mut Reader<'_>) -> Option<RequestIdStage> {
    let default = || Arc::from("X-Request-ID");
    config_or(reader, RequestIdStage { header: default() }, |reader| {
        Some(RequestIdStage { header: reader.optional(&HEADER).unwrap_or_else(default) })
    })
}

/// Reads `access_log`.
pub(super) fn access_log(reader: &mut Reader<'_>) -> Option<AccessLogStage> {
    config_or(reader, AccessLogStage { enabled: true }, |reader| {
        Some(AccessLogStage { enabled: reader.optional(&ENABLED).unwrap_or(true) })
    })
}

/// Reads `tracing`.
pub(super) fn tracing(reader: &mut Reader<'_>) -> Option<TracingStage> {
    config_or(reader, TracingStage { trust_client: false }, |reader| {
        Some(TracingStage { trust_client: reader.optional(&TRUST_CLIENT).unwrap_or(false) })
    })
}

static HEADER: Field<Arc<str>> = Field {
    name: "header",
    doc: "Field of the response with the id; X-Request-ID when absent.",
    schema: || json!({ "type": "string", "examples": ["X-Request-ID"] }),
    parse: |given| {
        let name = given.text()?;
        let is_own = name.eq_ignore_ascii_case("x-request-id");
        match is_token(name) && (is_own || !Direction::Response.protects(name)) {
            true => Ok(name.into()),
            false => Err(Fault::invalid("must be the name of a header field, such as X-Request-ID")),
        }
    },
};

static ENABLED: Field<bool> = boolean("enabled", "Whether requests are logged; they are when absent.");

static TRUST_CLIENT: Field<bool> = boolean(
    "trust_client",
    "Whether a client's traceparent is continued; when absent, each request begins a trace.",
);
