//! Fields of client certificates.

use ringway_model::{ClientAuth, ClientAuthNeed, FilePath, Patch, limits};
use serde_json::json;

use crate::{Fault, Field, Reader};

/// Reads `client_auth`: none when absent or null.
pub fn client_auth(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    reader.object(CLIENT_AUTH.0, CLIENT_AUTH.1, client_auth_shape)
}

/// Reads `client_auth` of a domain that is there: absent keeps it, null removes it.
pub fn client_auth_patch(reader: &mut Reader<'_>) -> Patch<ClientAuth> {
    reader.patch_object(CLIENT_AUTH.0, CLIENT_AUTH.1, client_auth_shape)
}

static CLIENT_AUTH_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file on the gateway's machine with the CAs of client certificates; it must be valid when it is set, and is reloaded when it changes.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": limits::PATH_BYTES_MAX, "examples": ["/etc/ringway/clients-ca.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static CLIENT_AUTH_MODE: Field<ClientAuthNeed> = Field {
    name: "mode",
    doc: "Whether a client certificate is optional or required; required when absent.",
    schema: || json!({ "type": "string", "enum": ["optional", "required"] }),
    parse: |given| {
        ClientAuthNeed::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of optional, required"))
    },
};

/// Name and documentation of the field.
const CLIENT_AUTH: (&str, &str) =
    ("client_auth", "Client certificates of the domain; null when none are required.");

fn client_auth_shape(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    let ca_file = reader.required(&CLIENT_AUTH_FILE);
    let need = reader.optional(&CLIENT_AUTH_MODE).unwrap_or(ClientAuthNeed::Required);
    Some(ClientAuth { ca_file: ca_file?, need })
}
