//! Fields of TLS settings towards instances and endpoints.

use ringway_model::{CertificateFiles, FilePath, Hostname, Patch, UpstreamTls, limits};
use serde_json::json;

use crate::{Fault, Field, Reader};

/// Reads `upstream_tls` of an app: absent keeps it, null removes it.
pub fn upstream_tls(reader: &mut Reader<'_>) -> Patch<UpstreamTls> {
    reader.patch_object(
        "upstream_tls",
        "TLS settings of the app's https:// targets; kept when absent. By default or with null: verified against the \
         system's trust store.",
        upstream_tls_shape,
    )
}

/// Reads the members of upstream TLS settings.
pub(crate) fn upstream_tls_shape(reader: &mut Reader<'_>) -> Option<UpstreamTls> {
    let ca_file = reader.optional(&UPSTREAM_CA_FILE);
    let client_certificate = reader.object(
        "client_certificate",
        "Client certificate that is sent when an instance asks for one.",
        |reader| {
            let certificate = reader.required(&UPSTREAM_CERTIFICATE_FILE);
            let key = reader.required(&UPSTREAM_KEY_FILE);
            Some(CertificateFiles { certificate: certificate?, key: key? })
        },
    );
    let server_name = reader.optional(&UPSTREAM_SERVER_NAME);
    let insecure = reader.optional(&UPSTREAM_INSECURE).unwrap_or(false);
    Some(UpstreamTls { ca_file, client_certificate, server_name, insecure })
}

/// CAs of an app's instances.
static UPSTREAM_CA_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file on the gateway's machine with the trusted CAs; it must be valid when it is set, and is reloaded when it changes.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/apps-ca.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// Client certificate of an app.
static UPSTREAM_CERTIFICATE_FILE: Field<FilePath> = Field {
    name: "certificate",
    doc: "A PEM file on the gateway's machine: the chain, leaf first.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/gateway.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// Key of the client certificate.
static UPSTREAM_KEY_FILE: Field<FilePath> = Field {
    name: "key",
    doc: "A PEM file on the gateway's machine: the private key of the certificate.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/gateway.key"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// Name for SNI and verification.
static UPSTREAM_SERVER_NAME: Field<Hostname> = Field {
    name: "server_name",
    doc: "Name for SNI and verification, when it is not the target's host.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": limits::HOST_BYTES_MAX, "examples": ["app1.internal"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// Disabled verification.
static UPSTREAM_INSECURE: Field<bool> = Field {
    name: "insecure",
    doc: "Disables verification. For tests.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: |given| given.boolean(),
};
