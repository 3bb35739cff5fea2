//! Fields of certificates.

use std::sync::Arc;

use ringway_certs::CertificateState;
use ringway_config::{Fault, Field};
use ringway_model::{CertificateMode, limits};
use serde_json::{Value as Json, json};

/// Source of a domain's certificate.
pub(crate) static CERTIFICATE_MODE: Field<CertificateMode> = Field {
    name: "certificate",
    doc: "Source of the certificate: acme, issued and renewed by a CA; provided, uploaded and never changed; none. Kept when absent, acme for a new domain.",
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
    doc: "The certificate's private key in PEM, not encrypted. Never shown again.",
    schema: || {
        let mut schema = pem_schema(limits::KEY_PEM_BYTES_MAX, "-----BEGIN PRIVATE KEY-----\n…");
        schema["writeOnly"] = json!(true);
        schema
    },
    parse: |given| Ok(Secret(pem(given.text()?, limits::KEY_PEM_BYTES_MAX)?.into())),
};

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<str>);

impl Secret {
    /// The text.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// State of a domain's certificate.
pub(crate) static STATE: Field<CertificateState> = Field {
    name: "state",
    doc: "Only domains whose certificate has this state.",
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

fn pem_schema(bytes_max: usize, example: &str) -> Json {
    json!({ "type": "string", "minLength": 1, "maxLength": bytes_max, "examples": [example] })
}

/// Checks the length; errors never repeat the text, which may be a key.
fn pem(text: &str, bytes_max: usize) -> Result<&str, Fault> {
    match text.len() {
        0 => Err(Fault::invalid("must not be empty")),
        length if length > bytes_max => {
            Err(Fault::range(format_args!("must not be longer than {bytes_max} bytes")))
        }
        _ => Ok(text),
    }
}
