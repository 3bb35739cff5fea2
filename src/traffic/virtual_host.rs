//! Virtual hosts and their rules: the tables from a host and a request to a policy and an action.
//!
//! ```text
//! SNI ──────► Snapshot::virtual_host ─► VirtualHost ── tls ─────────► certificate, client authentication
//! request ──► Snapshot::virtual_host ─► VirtualHost ── rules.find ──► Rule ─► policy, stages, action
//! ```
//! A registered domain is a virtual host with one rule, whose action is the pool of its app.

use std::sync::Arc;

use ringway_middleware::Chain;
use ringway_model::{AppId, ClientAuth, Hostname, Owner, TenantHash, TenantId};
use ringway_wire::h1::RequestHead;

use crate::policy::Policy;
use crate::snapshot::{CertificateVersion, MetricSlot, PoolId};

/// A host that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Source of its configuration.
    pub owner: Owner,
    /// The name that it is found by.
    pub host: Hostname,
    /// Tenant of its owner that it belongs to.
    pub tenant: Option<Tenant>,
    /// Its settings for TLS handshakes.
    pub tls: TlsSettings,
    /// Decisions about its requests.
    pub rules: Rules,
}

impl VirtualHost {
    /// `X-Tenant-ID: <tenant>\r\n`, or empty.
    pub fn tenant_line(&self) -> &[u8] {
        self.tenant.as_ref().map_or(b"", |tenant| &tenant.line)
    }
}

/// A tenant, with what each of its requests needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Pseudonym in access logs.
    pub hash: TenantHash,
    /// `X-Tenant-ID: <tenant>\r\n`: copied into the forwarded head as it is.
    pub line: Box<[u8]>,
}

/// Settings of a host for TLS handshakes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The host's own certificate, if it has one that can be served.
    pub certificate: Option<CertificateVersion>,
    /// Certificates that are demanded of clients.
    pub client_auth: Option<ClientAuth>,
}

/// Rules of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// One rule for all requests.
    One(Arc<Rule>),
}

impl Rules {
    /// Finds the rule of a request whose head stands in `_buf`. Free of cost while there is one rule.
    #[inline]
    pub fn find(&self, _request: &RequestHead, _buf: &[u8]) -> &Arc<Rule> {
        match self {
            Self::One(rule) => rule,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        match self {
            Self::One(rule) => std::iter::once(rule),
        }
    }
}

/// Identifies a rule; stays while its owner keeps it, never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

/// Decision about the requests that it matches. Users see it as a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Source of its configuration.
    pub owner: Owner,
    /// The app that serves it.
    pub app: AppId,
    /// Action for a request.
    pub action: Action,
    /// Timeouts and limits of a request.
    pub policy: Arc<Policy>,
    /// Middleware around its requests.
    pub stages: Option<Arc<Chain>>,
    /// Its metric slot.
    pub metric: MetricSlot,
}

impl Rule {
    /// The pool that its requests go to.
    #[inline]
    pub fn pool(&self) -> PoolId {
        match self.action {
            Action::Proxy(pool) => pool,
        }
    }
}

/// Action of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sends it to an endpoint of a pool. The pool is named and not held: a new instance of an app with thousands of
    /// domains replaces one pool and no rule.
    Proxy(PoolId),
}
