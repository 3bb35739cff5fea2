//! Domains and the changes to them.

use crate::change::{Draft, room};
use crate::{
    AppId, CertificateMode, ClientAuth, Configured, HostPattern, Hostname, Kind, Owner, Patch, PolicyRef,
    Rejection, TenantId, Timestamp, limits,
};

/// A host name that an app serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The host name.
    pub name: Hostname,
    /// The owner.
    pub owner: Owner,
    /// The app that serves it.
    pub app: AppId,
    /// The tenant, sent to the app in `X-Tenant-ID`, whatever the kind.
    pub tenant: Option<TenantId>,
    /// The relation to the app's own domain.
    pub kind: DomainKind,
    /// The name that its CNAME record should point to.
    pub cname_target: Option<Hostname>,
    /// The source of its certificate.
    pub certificate: CertificateMode,
    /// Client certificates, if any are asked for.
    pub client_auth: Option<ClientAuth>,
    /// Policy of its requests; absent values come from the app's.
    pub policy: Option<PolicyRef>,
    /// Time of the registration.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

impl Configured for Domain {
    fn key(&self) -> &str {
        self.name.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        Some((Kind::App, self.app.as_str()))
    }
}

/// Relation of a domain to the app's own domain. Routing treats all alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DomainKind {
    /// A name below the app's own.
    Subdomain,
    /// A tenant's own name.
    Custom,
    /// A name below the app's own that tenants' CNAME records point to.
    CnameTarget,
}

impl DomainKind {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subdomain => "subdomain",
            Self::Custom => "custom",
            Self::CnameTarget => "cname_target",
        }
    }

    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Subdomain, Self::Custom, Self::CnameTarget].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A domain as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSpec {
    /// The host name.
    pub name: Hostname,
    /// The app that serves it.
    pub app: AppId,
    /// The tenant.
    pub tenant: Option<TenantId>,
    /// The relation to the app's own domain.
    pub kind: DomainKind,
    /// The name that its CNAME record should point to.
    pub cname_target: Option<Hostname>,
    /// The source of its certificate; kept when absent.
    pub certificate: Option<CertificateMode>,
    /// Client certificates; kept when absent.
    pub client_auth: Option<ClientAuth>,
    /// Policy of its requests; kept when absent.
    pub policy: Option<PolicyRef>,
}

/// New values for a domain; fields that are absent are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainUpdate {
    /// The host name.
    pub name: Hostname,
    /// The app that serves it.
    pub app: Option<AppId>,
    /// The tenant.
    pub tenant: Patch<TenantId>,
    /// The relation to the app's own domain.
    pub kind: Option<DomainKind>,
    /// The name that its CNAME record should point to.
    pub cname_target: Patch<Hostname>,
    /// The source of its certificate.
    pub certificate: Option<CertificateMode>,
    /// Client certificates.
    pub client_auth: Patch<ClientAuth>,
    /// Policy of its requests.
    pub policy: Patch<PolicyRef>,
}

impl DomainUpdate {
    /// An update that keeps everything.
    pub fn new(name: Hostname) -> Self {
        Self {
            name,
            app: None,
            tenant: Patch::Keep,
            kind: None,
            cname_target: Patch::Keep,
            certificate: None,
            client_auth: Patch::Keep,
            policy: Patch::Keep,
        }
    }
}

impl Draft<'_> {
    pub(crate) fn put_domain(&mut self, spec: &DomainSpec) -> Result<(), Rejection> {
        self.app(&spec.app)?;
        self.may_change(Kind::Domain, spec.name.as_str())?;
        self.has_policy(spec.policy.as_ref())?;
        if let Some(old) = self.desired.domain(spec.name.as_str()) {
            let same = old.app == spec.app
                && old.tenant == spec.tenant
                && old.kind == spec.kind
                && old.cname_target == spec.cname_target
                && spec.certificate.is_none_or(|mode| mode == old.certificate)
                && (spec.client_auth.is_none() || spec.client_auth == old.client_auth)
                && (spec.policy.is_none() || spec.policy == old.policy);
            return match same {
                true => Ok(()),
                false => Err(Rejection::DomainTaken(spec.name.clone(), old.app.clone())),
            };
        }
        self.is_unclaimed(&spec.name)?;
        room(Kind::Domain.plural(), self.desired.count(Kind::Domain), limits::DOMAINS_MAX)?;
        self.created = true;
        self.put(Domain {
            name: spec.name.clone(),
            owner: self.owner.clone(),
            app: spec.app.clone(),
            tenant: spec.tenant.clone(),
            kind: spec.kind,
            cname_target: spec.cname_target.clone(),
            certificate: spec.certificate.unwrap_or_default(),
            client_auth: spec.client_auth.clone(),
            policy: spec.policy.clone(),
            created_at: self.now,
            updated_at: self.now,
        });
        Ok(())
    }

    pub(crate) fn update_domain(&mut self, update: &DomainUpdate) -> Result<(), Rejection> {
        let Some(old) = self.desired.domain(update.name.as_str()) else {
            return Err(Rejection::UnknownDomain(update.name.clone()));
        };
        let new = Domain {
            app: update.app.clone().unwrap_or_else(|| old.app.clone()),
            tenant: update.tenant.apply(&old.tenant),
            kind: update.kind.unwrap_or(old.kind),
            cname_target: update.cname_target.apply(&old.cname_target),
            certificate: update.certificate.unwrap_or(old.certificate),
            client_auth: update.client_auth.apply(&old.client_auth),
            policy: update.policy.apply(&old.policy),
            ..Domain::clone(old)
        };
        let is_changed = new != **old;
        self.app(&new.app)?;
        self.may_change(Kind::Domain, update.name.as_str())?;
        self.has_policy(update.policy.value())?;
        if is_changed {
            self.put(Domain { updated_at: self.now, ..new });
        }
        Ok(())
    }

    pub(crate) fn remove_domain(&mut self, name: &Hostname) -> Result<(), Rejection> {
        let Some(domain) = self.desired.domain(name.as_str()).cloned() else {
            return Err(Rejection::UnknownDomain(name.clone()));
        };
        self.may_change(Kind::Domain, name.as_str())?;
        self.remove(domain);
        Ok(())
    }

    /// Refuses a name that routes of an operator serve; attached routes wait for such a domain.
    fn is_unclaimed(&self, name: &Hostname) -> Result<(), Rejection> {
        let host = HostPattern::Exact(name.clone());
        match self.desired.routes_of_host(&host).find(|route| !route.is_attached) {
            Some(route) => Err(Rejection::HostClaimed {
                host: name.clone(),
                route: route.id().clone(),
                owner: route.owner.clone(),
            }),
            None => Ok(()),
        }
    }
}
