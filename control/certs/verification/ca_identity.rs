//! CAA identities of public CAs.

/// Returns the CAA identity of a public CA by its directory URL, for as long as the directory's own
/// `caaIdentities` (RFC 8555 §7.1.1) have not been fetched; `None` for private CAs.
pub(crate) fn caa_identity(directory_url: &str) -> Option<&'static str> {
    let host = directory_url.strip_prefix("https://")?.split(['/', ':']).next()?;
    let is_below =
        |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let (_, identity) = PUBLIC_CAS.iter().find(|(domain, _)| is_below(domain))?;
    Some(identity)
}

/// Domain of the directory, and identity in CAA records.
const PUBLIC_CAS: &[(&str, &str)] = &[
    ("letsencrypt.org", "letsencrypt.org"),
    ("pki.goog", "pki.goog"),
    ("zerossl.com", "sectigo.com"),
    ("ssl.com", "ssl.com"),
    ("buypass.com", "buypass.com"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_public_cas_by_their_directory_url() {
        for (url, expected) in [
            ("https://acme-v02.api.letsencrypt.org/directory", Some("letsencrypt.org")),
            ("https://acme-staging-v02.api.letsencrypt.org/directory", Some("letsencrypt.org")),
            ("https://dv.acme-v02.api.pki.goog/directory", Some("pki.goog")),
            ("https://acme.zerossl.com:443/v2/DV90", Some("sectigo.com")),
            ("https://notletsencrypt.org/directory", None),
            ("https://letsencrypt.org.evil.example/directory", None),
            ("https://localhost:14000/dir", None),
            ("http://acme-v02.api.letsencrypt.org/directory", None),
        ] {
            assert_eq!(caa_identity(url), expected, "{url}");
        }
    }
}
