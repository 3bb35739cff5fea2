//! Virtual hosts and their rules: map a host and a request to a policy and an action.
//!
//! ```text
//! SNI ──────► Snapshot::virtual_host ─► VirtualHost ── tls ─────────► certificate, client authentication
//! request ──► Snapshot::virtual_host ─► VirtualHost ── rules.find ──► Rule ─► policy, stages, action
//! ```
//! A registered domain is a virtual host with one rule, whose action is the pool of its app.

use std::sync::Arc;

use ringway_middleware::Chain;
use ringway_model::{
    AppId, ClientAuth, FixedResponse, HostPattern, Owner, Redirect, Rewrite, TenantHash, TenantId,
};
use ringway_wire::h1::RequestHead;

use crate::policy::Policy;
use crate::rule_table::RuleTable;
use crate::snapshot::{CertificateVersion, MetricSlot, PoolId};

/// Host, or pattern of hosts, that this proxy serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Source of its configuration.
    pub owner: Owner,
    /// Its name or pattern.
    pub host: HostPattern,
    /// Tenant that it belongs to.
    pub tenant: Option<Tenant>,
    /// Settings of its TLS handshakes.
    pub tls: TlsSettings,
    /// Rules of its requests.
    pub rules: Rules,
}

impl VirtualHost {
    /// Returns `X-Tenant-ID: <tenant>\r\n`, or nothing without a tenant.
    pub fn tenant_line(&self) -> &[u8] {
        self.tenant.as_ref().map_or(b"", |tenant| &tenant.line)
    }
}

/// Tenant, with the values that each of its requests needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Pseudonym in access logs.
    pub hash: TenantHash,
    /// `X-Tenant-ID: <tenant>\r\n`, copied into the forwarded head.
    pub line: Box<[u8]>,
}

/// TLS handshake settings of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The host's certificate, if it has a usable one.
    pub certificate: Option<CertificateVersion>,
    /// Required client certificates.
    pub client_auth: Option<ClientAuth>,
}

/// Rules of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rules {
    /// One rule for all requests.
    One(Arc<Rule>),
    /// Rules with conditions.
    Table(Arc<RuleTable>),
}

impl Rules {
    /// Finds the rule of a request whose head is in `buf`; `None` when none matches. No cost with a single
    /// rule.
    #[inline]
    pub fn find(&self, request: &RequestHead, buf: &[u8]) -> Option<&Arc<Rule>> {
        match self {
            Self::One(rule) => Some(rule),
            Self::Table(table) => table.find(request, buf),
        }
    }

    /// All rules.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Rule>> {
        let (one, table) = match self {
            Self::One(rule) => (Some(rule), None),
            Self::Table(table) => (None, Some(table.rules())),
        };
        one.into_iter().chain(table.into_iter().flatten())
    }
}

/// Id of a rule; constant while its owner keeps it, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u64);

/// Action and policy of the requests that match. Called a route in the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// Source of its configuration.
    pub owner: Owner,
    /// Its name: the route's id, or the host of a registered domain.
    pub name: Arc<str>,
    /// The app or pool that serves it, if it forwards requests.
    pub app: Option<AppId>,
    /// Tenant of its requests; the host's where absent.
    pub tenant: Option<Arc<Tenant>>,
    /// Whether a request needs a client certificate.
    pub requires_client_cert: bool,
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
    /// The pool that its requests go to, if it forwards them.
    #[inline]
    pub fn pool(&self) -> Option<PoolId> {
        match self.action {
            Action::Proxy { pool, .. } => Some(pool),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }
}

/// Action of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forwards the request to an endpoint of a pool.
    Proxy {
        /// The pool's id and not the pool: a new instance of an app with thousands of domains replaces one
        /// pool and no rule.
        pool: PoolId,
        /// Change of the path.
        rewrite: Rewrite,
    },
    /// Redirects the client.
    Redirect(Redirect),
    /// Answers with a fixed response.
    Respond(FixedResponse),
}
