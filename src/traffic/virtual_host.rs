//! Virtual hosts and their rules: map a host and a request to a policy and an action.
//!
//! ```text
//! SNI ──────► Snapshot::virtual_host ─► VirtualHost ── tls ─────────► certificate, client authentication
//! request ──► Snapshot::virtual_host ─► VirtualHost ── rules.find ──► Rule ─► policy, stages, action
//! ```
//! A registered domain is a virtual host with one rule, whose action is the pool of its app. A virtual host
//! of an operator has a table of rules, and its name may be a pattern.

use std::sync::Arc;

use ringway_middleware::{Chain, Stage};
use ringway_model::{
    AppId, ClientAuth, FixedResponse, HostPattern, Hostname, Owner, Redirect, TenantHash, TenantId,
};
use ringway_wire::h1::RequestHead;

use crate::cache_rule::CacheRule;
use crate::policy::Policy;
use crate::rewrite::Rewrite;
use crate::rule_table::RuleTable;
use crate::rule_traffic::RuleTraffic;
use crate::scripts::ScriptRoutes;
use crate::snapshot::{CertificateVersion, MetricSlot, PoolId};

/// Host, or pattern of hosts, that this proxy serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// Source of its configuration.
    pub owner: Owner,
    /// Its name, or pattern of names. The host of a request is the request's own.
    pub host: HostPattern,
    /// Tenant that it belongs to.
    pub tenant: Option<Tenant>,
    /// Settings of its TLS handshakes.
    pub tls: TlsSettings,
    /// Rules of its requests.
    pub rules: Rules,
}

impl VirtualHost {
    /// Its name; `None` for a pattern.
    pub fn name(&self) -> Option<&Hostname> {
        match &self.host {
            HostPattern::Exact(name) => Some(name),
            HostPattern::OneLabel(_) | HostPattern::Suffix(_) | HostPattern::Regex(_) | HostPattern::Any => {
                None
            }
        }
    }

    /// Tenant of the requests of one of its rules: the rule's own, or else the host's.
    #[inline]
    pub fn tenant_of<'h>(&'h self, rule: &'h Rule) -> Option<&'h Tenant> {
        rule.tenant.as_deref().or(self.tenant.as_ref())
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
    /// Rules with conditions. Paths are normalised before they are matched.
    Table(Arc<RuleTable>),
}

impl Rules {
    /// Finds the rule of a request whose head is in `buf`. No cost with a single rule.
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
            Self::Table(table) => (None, Some(table)),
        };
        one.into_iter().chain(table.into_iter().flat_map(|table| table.rules()))
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
    /// Name in logs and metrics: the id of its route, or the domain.
    pub name: Arc<str>,
    /// The app or pool that serves it, if one does.
    pub app: Option<AppId>,
    /// Action for a request.
    pub action: Action,
    /// Timeouts and limits of a request.
    pub policy: Arc<Policy>,
    /// Retries, rate limit, breaker, canary and overload protection, where it has any.
    pub traffic: Option<Arc<RuleTraffic>>,
    /// Its tenant, where that is not its host's.
    pub tenant: Option<Arc<Tenant>>,
    /// Whether its requests need a client certificate that the handshake verified.
    pub requires_client_cert: bool,
    /// Middleware around its requests.
    pub stages: Option<Arc<Chain>>,
    /// Whether the access log gets its requests.
    pub is_logged: bool,
    /// Cache of its responses.
    pub cache: Option<Arc<CacheRule>>,
    /// Its metric slot.
    pub metric: MetricSlot,
}

impl Rule {
    /// Id of its route; `None` for a registered domain.
    #[inline]
    pub fn route_id(&self) -> Option<&str> {
        self.owner.is_operator().then_some(&self.name)
    }

    /// Whether not all requests for its path are served: it needs credentials, or a network.
    pub fn is_guarded(&self) -> bool {
        self.requires_client_cert || self.guards().next().is_some()
    }

    /// Whether it serves the same requests as another rule, as far as its guards decide.
    pub fn is_guarded_as(&self, other: &Self) -> bool {
        self.requires_client_cert == other.requires_client_cert && self.guards().eq(other.guards())
    }

    fn guards(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().flat_map(|chain| chain.guards())
    }

    /// All apps and pools that its requests or copies of them may go to; one may come twice.
    pub fn apps(&self) -> impl Iterator<Item = &AppId> {
        let plan = self.traffic.as_deref().and_then(|traffic| traffic.plan.as_deref());
        self.app.iter().chain(plan.into_iter().flat_map(|plan| plan.spec.pool_ids()))
    }

    /// The pool that its requests go to, if they go to one; the stable one beside a canary.
    #[inline]
    pub fn pool(&self) -> Option<PoolId> {
        match self.action {
            Action::Proxy { pool, .. } => Some(pool),
            Action::Redirect(_) | Action::Respond(_) | Action::Script(_) => None,
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
        rewrite: Option<Arc<Rewrite>>,
    },
    /// Redirects the client.
    Redirect(Arc<Redirect>),
    /// Sends the same response to each request.
    Respond(Arc<FixedResponse>),
    /// Runs the routes of scripts.
    Script(Arc<ScriptRoutes>),
}
