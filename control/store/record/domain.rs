//! Stored form of a domain.

use ringway_model::{
    AppId, CertificateMode, ClientAuth, ClientAuthNeed, Domain, DomainKind, FilePath, Hostname, TenantId,
    Timestamp,
};
use serde::{Deserialize, Serialize};

use super::policy::StoredPolicyRef;
use super::{StoredOwner, first_format};

/// The format of domains that this version writes. Format 1 had no owner, format 2 no policy,
/// format 3 no traffic settings in it.
const FORMAT: u32 = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredDomain {
    #[serde(default = "first_format")]
    format: u32,
    #[serde(default)]
    owner: StoredOwner,
    name: String,
    app: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cname_target: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_auth: Option<StoredClientAuth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<StoredPolicyRef>,
    created_at: u64,
    updated_at: u64,
}

impl From<&Domain> for StoredDomain {
    fn from(domain: &Domain) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(domain.owner.clone()),
            name: domain.name.to_string(),
            app: domain.app.to_string(),
            tenant: domain.tenant.as_ref().map(TenantId::to_string),
            kind: domain.kind.as_str().to_owned(),
            cname_target: domain.cname_target.as_ref().map(Hostname::to_string),
            // The default is left out.
            certificate: (domain.certificate != CertificateMode::default())
                .then(|| domain.certificate.as_str().to_owned()),
            client_auth: domain.client_auth.as_ref().map(StoredClientAuth::from),
            policy: domain.policy.as_ref().map(StoredPolicyRef::from),
            created_at: domain.created_at.0,
            updated_at: domain.updated_at.0,
        }
    }
}

impl StoredDomain {
    pub(super) fn into_model(self) -> Option<Domain> {
        (self.format <= FORMAT).then_some(())?;
        Some(Domain {
            name: Hostname::parse(&self.name).ok()?,
            owner: self.owner.0,
            app: AppId::parse(&self.app).ok()?,
            tenant: self.tenant.map(|tenant| TenantId::parse(&tenant)).transpose().ok()?,
            kind: DomainKind::parse(&self.kind)?,
            cname_target: self.cname_target.map(|name| Hostname::parse(&name)).transpose().ok()?,
            certificate: match self.certificate {
                Some(mode) => CertificateMode::parse(&mode)?,
                None => CertificateMode::default(),
            },
            client_auth: match self.client_auth {
                Some(auth) => Some(auth.into_model()?),
                None => None,
            },
            policy: match self.policy {
                Some(policy) => Some(policy.into_model()?),
                None => None,
            },
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredClientAuth {
    ca_file: String,
    need: String,
}

impl From<&ClientAuth> for StoredClientAuth {
    fn from(auth: &ClientAuth) -> Self {
        Self { ca_file: auth.ca_file.to_string(), need: auth.need.as_str().to_owned() }
    }
}

impl StoredClientAuth {
    pub(super) fn into_model(self) -> Option<ClientAuth> {
        let ca_file = FilePath::parse(&self.ca_file).ok()?;
        Some(ClientAuth { ca_file, need: ClientAuthNeed::parse(&self.need)? })
    }
}
