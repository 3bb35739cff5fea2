//! Updates of the snapshot that come from certificates, compiled on top of the present one.

use std::sync::Arc;

use ringway_certs::PublishError;
use ringway_model::{Desired, Hostname};
use ringway_traffic::compile::{Compiled, Compiler};
use ringway_traffic::snapshot::CertificateVersion;

/// One update; `None` removes.
#[derive(Clone, Debug)]
pub(crate) enum CertificateUpdate<'a> {
    /// Response to an HTTP-01 challenge.
    Challenge { token: &'a str, key_authorization: Option<Arc<str>> },
    /// Certificate version of a domain.
    Domain { host: &'a Hostname, version: Option<u64> },
    /// Version of the default certificate.
    Default { version: Option<u64> },
}

impl CertificateUpdate<'_> {
    /// Compiles the update; `None` when the snapshot has it already.
    ///
    /// # Errors
    /// [`PublishError::Full`] beyond the limit of challenges, [`PublishError::UnknownDomain`] for the
    /// certificate of a domain that is not registered.
    pub(crate) fn compile(
        &self,
        desired: &Desired,
        compiler: &mut Compiler,
    ) -> Result<Option<Compiled>, PublishError> {
        match self {
            Self::Challenge { token, key_authorization } => {
                let compiled = compiler.update_challenge(token, key_authorization.clone());
                if compiled.is_none() && compiler.snapshot().challenge(token) != key_authorization.as_ref() {
                    return Err(PublishError::Full);
                }
                Ok(compiled)
            }
            Self::Domain { host, version } => {
                if version.is_some() && desired.domain(host.as_str()).is_none() {
                    return Err(PublishError::UnknownDomain);
                }
                Ok(compiler.update_certificates(&[((*host).clone(), version.map(CertificateVersion))]))
            }
            Self::Default { version } => {
                Ok(compiler.update_default_certificate(version.map(CertificateVersion)))
            }
        }
    }
}
