//! TLS properties of a client connection: SNI, version, and the client certificate.

use std::fmt::Write;
use std::sync::Arc;

use ringway_model::ClientAuth;
use ringway_net::tls::TlsStream;
use ringway_tls::ClientCertificate;
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::{Rule, VirtualHost};

use crate::exchange::match_rule::Match;
use crate::limits;

/// TLS properties of a client connection.
#[derive(Debug)]
pub(crate) struct TlsInfo {
    /// SNI, in lower case.
    server_name: Option<Box<str>>,
    /// Client authentication that the handshake demanded.
    client_auth: Option<ClientAuth>,
    /// The client has presented a certificate that the handshake verified.
    has_client_certificate: bool,
    /// Header lines for apps that demand client certificates.
    client_headers: Box<[u8]>,
    client_subject: Option<Box<str>>,
    /// `TLSv1.3` or `TLSv1.2`.
    pub(crate) version: &'static str,
}

/// Reason why a connection may not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It was made for another host, or without the client authentication of this one.
    OtherHost,
    /// The route needs a client certificate, and the client has presented none.
    NoCertificate,
    /// The same, on a connection without TLS, where none can be presented.
    NoTls,
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
        Self {
            server_name,
            client_auth,
            has_client_certificate: certificate.is_some(),
            client_headers,
            client_subject: certificate.map(|certificate| certificate.subject.into()),
            version: stream.protocol(),
        }
    }

    /// Checks that a request for `host_name` may be served on this connection: for the host of its SNI, or
    /// for hosts of the same tenant with a rule for the same app, since clients reuse connections (RFC 9113
    /// §9.1.1); never for a host whose client authentication the handshake did not demand. A rule may need a
    /// client certificate where its host only asks for one.
    pub(crate) fn check(
        &self,
        snapshot: &Snapshot,
        matched: Match<'_>,
        host_name: &str,
    ) -> Result<(), Unfit> {
        let Match { host, rule } = matched;
        if host.tls.client_auth.is_some() && host.tls.client_auth != self.client_auth {
            return Err(Unfit::OtherHost);
        }
        if rule.requires_client_cert && !self.has_client_certificate {
            return Err(Unfit::NoCertificate);
        }
        let Some(name) = self.server_name.as_deref() else { return Ok(()) };
        if name == host_name {
            return Ok(());
        }
        let serves_the_same = |named: &VirtualHost| {
            let is_same = |of: &Rule| of.app == rule.app && named.tenant_of(of) == host.tenant_of(rule);
            std::ptr::eq(named, Arc::as_ptr(host))
                || rule.app.is_some() && named.rules.iter().any(|of| is_same(of))
        };
        match snapshot.virtual_host(name) {
            Some(named) if serves_the_same(named) => Ok(()),
            _ => Err(Unfit::OtherHost),
        }
    }

    /// Subject of the client's verified certificate.
    pub(crate) fn client_subject(&self) -> Option<&str> {
        self.client_subject.as_deref()
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
