//! `tls`: client certificates of all routes; `certificates`: certificates by name.

use ringway_model::{
    CertificateFiles, CertificateSpec, ClientAuth, ClientAuthNeed, FilePath, HostPattern, Kind,
};
use serde_json::json;

use crate::draft::Draft;
use crate::values::boolean;
use crate::{Fault, Field, Reader};

/// Reads `tls` and `certificates`.
pub(super) fn tls(reader: &mut Reader<'_>, draft: &mut Draft) {
    reader.object("tls", "Certificates, and client certificates of all routes.", |reader| {
        certificates(reader, draft);
        let auth = reader.object("mtls", "Client certificates of all routes.", |reader| {
            let is_enabled = reader.optional(&ENABLED).unwrap_or(true);
            let ca_file = reader.optional(&CA_FILE);
            let is_required = reader.optional(&REQUIRE_CLIENT_CERT).unwrap_or(false);
            if is_enabled && ca_file.is_none() && !reader.is_faulty(CA_FILE.name) {
                reader.fault(CA_FILE.name, Fault { code: "missing", message: "is required".to_owned() });
            }
            let need = if is_required { ClientAuthNeed::Required } else { ClientAuthNeed::Optional };
            ca_file.filter(|_| is_enabled).map(|ca_file| ClientAuth { ca_file, need })
        });
        if let Some(auth) = auth {
            if draft.client_auth.as_ref().is_some_and(|known| *known != auth) {
                let message = "differs from that of another file".to_owned();
                reader.fault("mtls", Fault { code: "conflict", message });
            }
            draft.client_auth = Some(auth);
        }
        Some(())
    });
    certificates(reader, draft);
}

fn certificates(reader: &mut Reader<'_>, draft: &mut Draft) {
    let given = reader.list("certificates", "Certificates by the name that a client asks for.", |reader| {
        let sni = reader.required(&SNI);
        if let Some(sni) = &sni {
            draft.declare(reader, Kind::Certificate, &sni.to_string(), SNI.name);
        }
        let certificate = reader.required(&CERT_FILE);
        let key = reader.required(&KEY_FILE);
        let files = CertificateFiles { certificate: certificate?, key: key? };
        Some(CertificateSpec { sni: sni?, files })
    });
    draft.sections.certificates |= given.is_some();
    draft.certificates.extend(given.unwrap_or_default());
}

static ENABLED: Field<bool> =
    boolean("enabled", "Whether client certificates are asked for; they are when absent.");

static REQUIRE_CLIENT_CERT: Field<bool> = boolean(
    "require_client_cert",
    "Whether every connection needs a client certificate; when absent, only requests of routes with require_mtls.",
);

static SNI: Field<HostPattern> = Field {
    name: "sni",
    doc: "Name that a client asks for, or *.name for all names with one more label.",
    schema: || json!({ "type": "string", "examples": ["api.example.com"] }),
    parse: |given| match HostPattern::parse(given.text()?).map_err(Fault::invalid)? {
        sni @ (HostPattern::Exact(_) | HostPattern::OneLabel(_)) => Ok(sni),
        _ => Err(Fault::invalid("must be a name such as api.example.com or *.example.com")),
    },
};

static CA_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file with the CAs of client certificates.",
    schema: || json!({ "type": "string", "pattern": "^/" }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static CERT_FILE: Field<FilePath> =
    Field { name: "cert_file", doc: "A PEM file with the certificate and its chain.", ..CA_FILE };

static KEY_FILE: Field<FilePath> =
    Field { name: "key_file", doc: "A PEM file with the private key.", ..CA_FILE };
