//! Stored form of a certificate of an operator.

use ringway_model::{Certificate, CertificateFiles, FilePath, HostPattern, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;

/// The format of certificates that this version writes.
const FORMAT: u32 = 3;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredCertificate {
    format: u32,
    owner: StoredOwner,
    sni: String,
    certificate_file: String,
    key_file: String,
    created_at: u64,
    updated_at: u64,
}

impl From<&Certificate> for StoredCertificate {
    fn from(certificate: &Certificate) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(certificate.owner.clone()),
            sni: certificate.sni.to_string(),
            certificate_file: certificate.files.certificate.to_string(),
            key_file: certificate.files.key.to_string(),
            created_at: certificate.created_at.0,
            updated_at: certificate.updated_at.0,
        }
    }
}

impl StoredCertificate {
    pub(super) fn into_model(self) -> Option<Certificate> {
        (self.format <= FORMAT).then_some(())?;
        let sni = HostPattern::parse(&self.sni).ok()?;
        Some(Certificate {
            key: sni.to_string().into(),
            owner: self.owner.0,
            sni,
            files: CertificateFiles {
                certificate: FilePath::parse(&self.certificate_file).ok()?,
                key: FilePath::parse(&self.key_file).ok()?,
            },
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}
