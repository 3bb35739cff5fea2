//! `basic` and `api_key`: credentials in files, or hashed in place.

use std::sync::Arc;

use ringway_model::{ApiKey, ApiKeys, BasicAuth, FilePath};
use serde_json::json;

use super::{USER_HEADER, asserted_name, named};
use crate::{Fault, Field, Given, Reader};

/// Reads `basic`.
pub(super) fn basic(reader: &mut Reader<'_>) -> Option<BasicAuth> {
    let users_file = reader.required(&USERS_FILE);
    let realm = reader.optional(&REALM).unwrap_or_else(|| "restricted".into());
    let user_header = reader.optional(&USER_HEADER);
    Some(BasicAuth { users_file: users_file?.as_str().into(), realm, user_header })
}

/// Reads `api_key`.
pub(super) fn api_key(reader: &mut Reader<'_>) -> Option<ApiKeys> {
    let header = reader.optional(&HEADER).unwrap_or_else(|| "x-api-key".into());
    let keys = named(
        reader,
        (KEYS, "Keys: name of the client, and SHA-256 of the key in hexadecimal digits."),
        (|| json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" }), sha256),
        client_name,
    );
    let keys_file = reader.optional(&KEYS_FILE);
    match (reader.has(KEYS), reader.has(KEYS_FILE.name)) {
        (true, true) => {
            let message = "cannot stand beside keys".to_owned();
            reader.fault(KEYS_FILE.name, Fault { code: "conflict", message });
        }
        (false, false) => {
            let message = "is required, or keys_file".to_owned();
            reader.fault(KEYS, Fault { code: "missing", message });
        }
        _ => {}
    }
    if let Some(at) = (1..keys.len()).find(|at| keys[..*at].iter().any(|(_, known)| *known == keys[*at].1)) {
        let message = format!("has one key for two clients, of which one is {}", keys[at].0);
        reader.fault(KEYS, Fault { code: "duplicate", message });
    }
    let user_header = reader.optional(&USER_HEADER);
    Some(ApiKeys {
        header,
        keys: keys.into_iter().map(|(name, sha256)| ApiKey { name, sha256 }).collect(),
        keys_file: keys_file.map(|path| path.as_str().into()),
        user_header,
    })
}

const KEYS: &str = "keys";

fn sha256(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase().into()),
        false => Err(Fault::invalid("must be the SHA-256 of the key: 64 hexadecimal digits")),
    }
}

/// Bytes of the name of a client.
const NAME_BYTES_MAX: usize = 128;

fn client_name(name: &str) -> Result<(), Fault> {
    let is_good = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    match is_good {
        true => Ok(()),
        false => Err(Fault::invalid(format_args!(
            "must be the name of a client: from 1 to {NAME_BYTES_MAX} visible characters, and no colon"
        ))),
    }
}

static USERS_FILE: Field<FilePath> = Field {
    name: "users_file",
    doc: "File with a line name:hash for each user; hashes of bcrypt or argon2.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/users"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static KEYS_FILE: Field<FilePath> = Field {
    name: "keys_file",
    doc: "File with a line name:sha256 for each client, in place of keys.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/keys"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static REALM: Field<Arc<str>> = Field {
    name: "realm",
    doc: "Realm that clients show; restricted when absent.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": NAME_BYTES_MAX }),
    parse: |given| {
        let text = given.text()?;
        let is_plain = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && !b"\"\\".contains(&byte);
        match (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
            true => Ok(text.into()),
            false => Err(Fault::invalid(format_args!(
                "must have from 1 to {NAME_BYTES_MAX} visible ASCII characters without quotes and backslashes"
            ))),
        }
    },
};

static HEADER: Field<Arc<str>> = Field {
    name: "header",
    doc: "The field; X-API-Key when absent. The endpoint does not get it.",
    schema: || json!({ "type": "string", "examples": ["X-API-Key"] }),
    parse: asserted_name,
};
