//! Fields of certificates, client authentication and upstream TLS.

use std::sync::Arc;

use ringway_certs::CertificateState;
use ringway_model::{
    CertificateFiles, CertificateMode, ClientAuth, ClientAuthNeed, FilePath, Hostname, Patch, UpstreamTls,
    limits,
};
use serde_json::{Value as Json, json};

use super::reader::{Fault, Field, Reader};

/// Reads `upstream_tls` of an app: absent leaves it, null removes it.
pub(crate) fn upstream_tls(reader: &mut Reader<'_>) -> Patch<UpstreamTls> {
    reader.patch_object(
        "upstream_tls",
        "How the app's https:// targets are spoken to; kept when absent. Null or never given: verified against the \
         system's trust store.",
        |reader| {
            let ca_file = reader.optional(&UPSTREAM_CA_FILE);
            let client_certificate = reader.object(
                "client_certificate",
                "What ringway proves itself with when an instance asks for a certificate.",
                |reader| {
                    let certificate = reader.required(&UPSTREAM_CERTIFICATE_FILE);
                    let key = reader.required(&UPSTREAM_KEY_FILE);
                    Some(CertificateFiles { certificate: certificate?, key: key? })
                },
            );
            let server_name = reader.optional(&UPSTREAM_SERVER_NAME);
            let insecure = reader.optional(&UPSTREAM_INSECURE).unwrap_or(false);
            Some(UpstreamTls { ca_file, client_certificate, server_name, insecure })
        },
    )
}

/// Reads `client_auth`: none when absent or null.
pub(crate) fn client_auth(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    reader.object(CLIENT_AUTH.0, CLIENT_AUTH.1, client_auth_shape)
}

/// Reads `client_auth` of a domain that is there: absent leaves it, null removes it.
pub(crate) fn client_auth_patch(reader: &mut Reader<'_>) -> Patch<ClientAuth> {
    reader.patch_object(CLIENT_AUTH.0, CLIENT_AUTH.1, client_auth_shape)
}

/// Who brings a domain's certificate.
pub(crate) static CERTIFICATE_MODE: Field<CertificateMode> = Field {
    name: "certificate",
    doc: "Who brings the certificate: acme, a CA issues and renews it; provided, it is uploaded and never touched; none. As before when absent, acme for a new domain.",
    schema: || json!({ "type": "string", "enum": ["acme", "provided", "none"] }),
    parse: |given| {
        CertificateMode::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of acme, provided, none"))
    },
};

/// A certificate chain.
pub(crate) static CERTIFICATE_PEM: Field<Arc<str>> = Field {
    name: "certificate",
    doc: "The certificate and its chain in PEM, the domain's own first; it must cover the domain and be valid now.",
    schema: || pem_schema(limits::CERTIFICATE_PEM_BYTES_MAX, "-----BEGIN CERTIFICATE-----\n…"),
    parse: |given| Ok(pem(given.text()?, limits::CERTIFICATE_PEM_BYTES_MAX)?.into()),
};

/// A private key.
pub(crate) static KEY_PEM: Field<Secret> = Field {
    name: "key",
    doc: "The certificate's private key in PEM, not encrypted. It is never given out again.",
    schema: || {
        let mut schema = pem_schema(limits::KEY_PEM_BYTES_MAX, "-----BEGIN PRIVATE KEY-----\n…");
        schema["writeOnly"] = json!(true);
        schema
    },
    parse: |given| Ok(Secret(pem(given.text()?, limits::KEY_PEM_BYTES_MAX)?.into())),
};

/// A text that is not shown anywhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<str>);

impl Secret {
    /// The text, for who needs it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a domain's certificate stands.
pub(crate) static STATE: Field<CertificateState> = Field {
    name: "state",
    doc: "Only domains whose certificate stands there.",
    schema: || json!({ "type": "string", "enum": CertificateState::ALL.map(CertificateState::as_str) }),
    parse: |given| {
        let word = given.text()?;
        CertificateState::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
            Fault::invalid(format_args!(
                "must be one of {}",
                CertificateState::ALL.map(CertificateState::as_str).join(", ")
            ))
        })
    },
};

/// Whom the instances of an app are believed by.
static UPSTREAM_CA_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file on the gateway's machine with the only CAs that are trusted; it must be good when it is named, and is read again when it changes.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/apps-ca.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// What we show.
static UPSTREAM_CERTIFICATE_FILE: Field<FilePath> = Field {
    name: "certificate",
    doc: "A PEM file on the gateway's machine: the chain, leaf first.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/gateway.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// What we sign with.
static UPSTREAM_KEY_FILE: Field<FilePath> = Field {
    name: "key",
    doc: "A PEM file on the gateway's machine: the private key of the certificate.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/gateway.key"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// Whom to ask for.
static UPSTREAM_SERVER_NAME: Field<Hostname> = Field {
    name: "server_name",
    doc: "The name that is asked for (SNI) and verified, when it is not the target's host.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": limits::HOST_BYTES_MAX, "examples": ["app1.internal"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// Whether anyone is believed.
static UPSTREAM_INSECURE: Field<bool> = Field {
    name: "insecure",
    doc: "Verify nothing: whoever answers is believed. For tests.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: |given| given.boolean(),
};

static CLIENT_AUTH_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file on the proxy's machine with the CAs that may vouch for clients; it must be good when it is named, and is read again when it changes.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": limits::PATH_BYTES_MAX, "examples": ["/etc/ringway/clients-ca.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static CLIENT_AUTH_MODE: Field<ClientAuthNeed> = Field {
    name: "mode",
    doc: "Whether a client without a certificate is refused; required when absent.",
    schema: || json!({ "type": "string", "enum": ["optional", "required"] }),
    parse: |given| {
        ClientAuthNeed::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of optional, required"))
    },
};

/// Its name, and what it is.
const CLIENT_AUTH: (&str, &str) =
    ("client_auth", "Certificates that clients of the domain present over TLS; null when they need none.");

fn client_auth_shape(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    let ca_file = reader.required(&CLIENT_AUTH_FILE);
    let need = reader.optional(&CLIENT_AUTH_MODE).unwrap_or(ClientAuthNeed::Required);
    Some(ClientAuth { ca_file: ca_file?, need })
}

fn pem_schema(bytes_max: usize, example: &str) -> Json {
    json!({ "type": "string", "minLength": 1, "maxLength": bytes_max, "examples": [example] })
}

/// Never repeats the text, which may be a key.
fn pem(text: &str, bytes_max: usize) -> Result<&str, Fault> {
    match text.len() {
        0 => Err(Fault::invalid("must not be empty")),
        length if length > bytes_max => {
            Err(Fault::range(format_args!("must not be longer than {bytes_max} bytes")))
        }
        _ => Ok(text),
    }
}
