//! Request to check a credential by a route's authentication.

use ringway_config::{Fault, Field, Given, Reader, Value};
use ringway_control::{AuthCheckRequest, CredentialKind};
use serde_json::json;

use super::fields::ROUTE;

/// `POST /api/v2/auth/check`
pub(crate) fn auth_check(reader: &mut Reader<'_>) -> Option<AuthCheckRequest> {
    let route = reader.required(&ROUTE);
    let credential = reader.required(&TOKEN);
    let kind = reader.optional(&KIND);
    Some(AuthCheckRequest { route: route?.as_str().into(), credential: credential?, kind })
}

/// 8 KiB: as long as the longest token that routes judge.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// No fault repeats the value.
static TOKEN: Field<Box<str>> = Field {
    name: "token",
    doc: "The credential: a token, the key of a client, or `name:password`. Only in the body; it is neither logged nor kept.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": TOKEN_BYTES_MAX, "writeOnly": true }),
    parse: |given| match given {
        Given::Json(Value::Text(text)) if (1..=TOKEN_BYTES_MAX).contains(&text.len()) => Ok((**text).into()),
        Given::Json(Value::Text(_)) => Err(Fault::range("must have 1 to 8192 bytes")),
        _ => Err(Fault { code: "type", message: "must be a string".to_owned() }),
    },
};

static KIND: Field<CredentialKind> = Field {
    name: "kind",
    doc: "Kind of the credential; that of the route's first method when absent.",
    schema: || json!({ "type": "string", "enum": CredentialKind::ALL.map(CredentialKind::as_str) }),
    parse: |given| {
        let text = given.text()?;
        let found = CredentialKind::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| Fault::invalid("must be token, api_key or password"))
    },
};
