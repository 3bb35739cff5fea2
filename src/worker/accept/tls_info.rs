//! TLS properties of a client connection: SNI, version, and the client certificate.

use std::fmt::Write;

use ringway_model::ClientAuth;
use ringway_net::tls::TlsStream;
use ringway_tls::ClientCertificate;
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::VirtualHost;

use crate::exchange::local_reply::LocalReply;
use crate::exchange::match_rule::Match;
use crate::limits;

/// TLS properties of a client connection.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    /// SNI, in lower case.
    server_name: Option<Box<str>>,
    /// Client authentication that the handshake demanded.
    client_auth: Option<ClientAuth>,
    /// Header lines for apps that demand client certificates.
    client_headers: Box<[u8]>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub(crate) version: &'static str,
}

impl TlsInfo {
    pub(crate) fn new(
        server_name: Option<Box<str>>,
        client_auth: Option<ClientAuth>,
        stream: &TlsStream,
    ) -> Self {
        let certificate = match &client_auth {
            Some(_) => stream.peer_certificate_der().and_then(|der| ClientCertificate::from_der(&der)),
            None => None,
        };
        let client_headers = client_headers(certificate.as_ref());
        Self { server_name, client_auth, client_headers, version: stream.protocol() }
    }

    /// Checks that a request may be served on this connection: for the host of its SNI, or for hosts of the
    /// same tenant with a rule for the same app, since clients reuse connections (RFC 9113 §9.1.1); never for
    /// a host whose client authentication the handshake did not demand.
    pub(crate) fn check(
        &self,
        snapshot: &Snapshot,
        matched: Match<'_>,
        host_name: &str,
    ) -> Result<(), LocalReply<'static>> {
        let Match { host, rule } = matched;
        if host.tls.client_auth.is_some() && host.tls.client_auth != self.client_auth {
            return Err(LocalReply::misdirected());
        }
        let Some(name) = self.server_name.as_deref() else { return Ok(()) };
        if name == host_name {
            return Ok(());
        }
        let is_same_app =
            |other: &VirtualHost| rule.app.is_some() && other.rules.iter().any(|of| of.app == rule.app);
        match snapshot.virtual_host(name) {
            Some(named) if is_same_app(named) && named.tenant == host.tenant => Ok(()),
            _ => Err(LocalReply::misdirected()),
        }
    }

    /// Returns the header lines about the client certificate; none unless the host demands one.
    pub(crate) fn client_headers(&self, host: &VirtualHost) -> &[u8] {
        if host.tls.client_auth.is_some() { &self.client_headers } else { b"" }
    }
}

/// Header lines about a client certificate. Clients cannot forge them: their own lines of these names are
/// removed (wire: `OWN_IDENTITY`).
fn client_headers(certificate: Option<&ClientCertificate>) -> Box<[u8]> {
    let mut lines = String::new();
    match certificate {
        None => lines.push_str("X-Client-Cert-Verified: NONE\r\n"),
        Some(certificate) => {
            lines.push_str("X-Client-Cert-Verified: SUCCESS\r\n");
            if certificate.subject.len() <= limits::CLIENT_SUBJECT_BYTES_MAX {
                // Writing to a String cannot fail.
                let _ = write!(lines, "X-Client-Cert-Subject: {}\r\n", certificate.subject);
            }
            let _ = write!(lines, "X-Client-Cert-Fingerprint: {}\r\n", certificate.fingerprint);
        }
    }
    lines.into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(subject: &str) -> ClientCertificate {
        ClientCertificate { subject: subject.to_owned(), fingerprint: "00ff".to_owned() }
    }

    #[test]
    fn client_headers_name_the_certificate_or_its_absence() {
        assert_eq!(&*client_headers(None), b"X-Client-Cert-Verified: NONE\r\n");
        assert_eq!(
            String::from_utf8_lossy(&client_headers(Some(&certificate("CN=alice")))),
            "X-Client-Cert-Verified: SUCCESS\r\nX-Client-Cert-Subject: CN=alice\r\nX-Client-Cert-Fingerprint: 00ff\r\n"
        );
        let longest = "a".repeat(limits::CLIENT_SUBJECT_BYTES_MAX);
        let lines = |subject: &str| {
            String::from_utf8_lossy(&client_headers(Some(&certificate(subject)))).into_owned()
        };
        assert!(lines(&longest).contains("Subject"));
        assert!(!lines(&format!("{longest}a")).contains("Subject"));
    }
}
