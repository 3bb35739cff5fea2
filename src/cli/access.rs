//! Settings of the admin API's access control, and their consistency.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ringway_api::{AccessSettings, AdminTls, AdminTlsError, Token, TokensFile, TokensFileError};

/// Given settings, each valid by itself.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) token: Option<Token>,
    pub(crate) tokens_file: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
}

/// Contradiction between settings, or a file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessProblem {
    /// The certificate without its key, or the key without its certificate.
    HalfIdentity,
    /// A CA of clients without a certificate of the API.
    ClientCaAlone,
    /// Unusable file of tokens.
    Tokens(PathBuf, TokensFileError),
    /// Unusable certificate, key or CA.
    Tls(AdminTlsError),
}

impl fmt::Display for AccessProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfIdentity => f.write_str(
                "PROXY_API_CERT and PROXY_API_KEY must be given together: the admin API's certificate and its private key",
            ),
            Self::ClientCaAlone => f.write_str(
                "PROXY_API_CLIENT_CA needs PROXY_API_CERT and PROXY_API_KEY: clients send their certificates over TLS only",
            ),
            Self::Tokens(path, error) => write!(f, "PROXY_API_TOKENS_FILE: {}: {error}", path.display()),
            Self::Tls(error) => write!(f, "PROXY_API_CERT, PROXY_API_KEY, PROXY_API_CLIENT_CA: {error}"),
        }
    }
}

impl Given {
    /// Reads the files.
    ///
    /// # Errors
    /// All problems.
    pub(crate) fn open(self) -> Result<AccessSettings, Vec<AccessProblem>> {
        let mut problems = Vec::new();
        let tokens = self.tokens_file.and_then(|path| {
            TokensFile::open(&path).map_err(|error| problems.push(AccessProblem::Tokens(path, error))).ok()
        });
        let tls = match (&self.certificate, &self.key, &self.client_ca) {
            (Some(certificate), Some(key), ca) => AdminTls::open(certificate, key, ca.as_deref())
                .map_err(|error| problems.push(AccessProblem::Tls(error)))
                .ok(),
            (None, None, None) => None,
            (None, None, Some(_)) => {
                problems.push(AccessProblem::ClientCaAlone);
                None
            }
            _ => {
                problems.push(AccessProblem::HalfIdentity);
                None
            }
        };
        match problems.is_empty() {
            true => Ok(AccessSettings { token: self.token, tokens, tls, hosts: Vec::new() }),
            false => Err(problems),
        }
    }
}

/// Whether a certificate was given that no address uses.
pub(crate) fn is_certificate_unused(access: &AccessSettings, api: &[SocketAddr]) -> bool {
    access.tls.is_some() && !api.iter().any(|address| access.uses_tls(*address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn contradictions_and_unusable_files_are_reported_together() {
        let path = |name: &str| Some(PathBuf::from(format!("/nowhere/{name}")));
        let problems =
            Given { tokens_file: path("tokens"), key: path("key"), ..Given::default() }.open().unwrap_err();
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(text.len() == 2 && text[0].contains("/nowhere/tokens"), "{text:?}");
        assert_eq!(problems[1], AccessProblem::HalfIdentity);
        let problems = Given { client_ca: path("ca"), ..Given::default() }.open().unwrap_err();
        assert_eq!(problems, [AccessProblem::ClientCaAlone]);
        let both =
            Given { certificate: path("cert"), key: path("key"), ..Given::default() }.open().unwrap_err();
        assert!(both[0].to_string().contains("/nowhere/cert"), "{both:?}");
        assert!(Given::default().open().unwrap().token.is_none());
    }
}
