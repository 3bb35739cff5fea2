//! Client certificates, as text for an app.

use aws_lc_rs::digest::{SHA256, digest};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::identity::hex;

/// Subject and fingerprint of a client certificate. Verified in the handshake, not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Subject, as in `CN=alice, O=Example`: printable ASCII, valid in a header field. Other characters are
    /// escaped as `\` and two hexadecimal digits for each byte of their UTF-8 (RFC 4514 §2.4). Of any length.
    pub subject: String,
    /// SHA-256 fingerprint, in hexadecimal.
    pub fingerprint: String,
}

impl ClientCertificate {
    /// Parses a certificate; `None` if it is malformed.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        let fingerprint = hex(digest(&SHA256, der).as_ref());
        rest.is_empty().then(|| Self { subject: printable(&parsed.subject().to_string()), fingerprint })
    }
}

/// Escapes control bytes, line ends and ambiguous bytes, and outer white space, which is not part of a
/// field's value.
fn printable(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let is_outer_space = byte == b' ' && (at == 0 || at == last);
        if (b' '..=b'~').contains(&byte) && byte != b'\\' && !is_outer_space {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_cannot_break_out_of_its_line() {
        assert_eq!(printable("CN=alice, O=Example"), "CN=alice, O=Example");
        assert_eq!(printable("CN=a\r\nX-Tenant-ID: b"), "CN=a\\0d\\0aX-Tenant-ID: b");
        assert_eq!(printable("CN=Jürgen\0\x7f"), "CN=J\\c3\\bcrgen\\00\\7f");
        assert_eq!(printable(" a "), "\\20a\\20");
        assert_eq!(
            printable("CN=a\\0d"),
            "CN=a\\5c0d",
            "one that looks escaped is not taken for one that is"
        );
        assert_eq!(printable(""), "");
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        assert_eq!(ClientCertificate::from_der(b""), None);
        assert_eq!(ClientCertificate::from_der(&[0x30, 0x80]), None);
    }
}
