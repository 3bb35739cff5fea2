//! Snapshot: immutable routing tables, shared by all cores and replaced as a whole.
//!
//! Tables are persistent maps: two snapshots share all unchanged entries.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_middleware::Credentials;
use ringway_model::{
    AppId, CertificateFiles, CredentialSource, FailurePolicy, Generation, HostPattern, Hostname, InstanceId,
    OnAllUnhealthy, PolicySettings, Revision, Serial, Target, TargetHost, Tick, UpstreamTls,
};
use rpds::HashTrieMapSync;

use crate::breaker::EndpointState;
use crate::host_patterns::HostPatterns;
use crate::in_flight::InFlight;
use crate::policy::PoolSettings;
use crate::retry_budget::RetryBudget;
use crate::rule_traffic::PoolTraffic;
use crate::scripts::Scripts;
use crate::selection::Selection;
use crate::tally::Tally;
use crate::trickle::Trickle;
use crate::virtual_host::{Rule, VirtualHost};
use crate::weights::Shares;

/// Persistent map with a randomly keyed hash: clients cannot choose names that collide.
pub(crate) type Map<K, V> = HashTrieMapSync<K, V, ahash::RandomState>;

pub(crate) fn map<K: Eq + std::hash::Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(ahash::RandomState::new())
}

/// Id of a pool; constant while its app is registered, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u64);

/// Id of an endpoint: an instance at a target. Constant when the instance registers again with the same
/// target, and never reused: pooled connections under an id always lead to the same target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// Index of the counters of a route, pool or endpoint: 1 to
/// [`METRIC_SLOTS_MAX`](ringway_model::limits::METRIC_SLOTS_MAX), or 0, which all without one of their own
/// share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricSlot(pub u16);

impl MetricSlot {
    /// Shared by all that were added when the slots were in use.
    pub const SHARED: Self = Self(0);
}

/// Version of a name's certificate: a new number for each one that is issued, uploaded or found on disk, by
/// which a core detects that its cached one is outdated. Valid within this process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateVersion(pub u64);

/// Endpoints of an app or of an operator's pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// The app that it serves.
    pub app: AppId,
    /// TLS settings of its `https://` endpoints, where they differ from the default.
    pub tls: Option<UpstreamTls>,
    /// Results that count as failures of its endpoints.
    pub failures: FailurePolicy,
    /// Policy for requests while no endpoint is healthy.
    pub fallback: Fallback,
    /// Load balancer and circuit breaker.
    pub settings: Arc<PoolSettings>,
    /// Outliers, circuit breaker and limits, of an operator's pool.
    pub traffic: Option<Arc<PoolTraffic>>,
    /// Retry budget, shared with all snapshots that have this pool.
    pub retry_budget: Arc<RetryBudget>,
    /// One endpoint per instance, sorted by instance id: the same order in every snapshot.
    pub endpoints: Box<[Endpoint]>,
    /// Shares of the endpoints by their weights.
    pub shares: Shares,
    /// Rules for the choice of an endpoint beyond turns and weights.
    pub selection: Option<Arc<Selection>>,
    /// Endpoints that finish their requests and get no new ones, sorted likewise.
    pub draining: Box<[Endpoint]>,
    /// Its metric slot.
    pub metric: MetricSlot,
    /// Policy of the app, for the rules of its domains and routes.
    pub(crate) policy: Option<Arc<PolicySettings>>,
}

/// Policy for requests while no endpoint of a pool is healthy.
#[derive(Clone, Debug)]
pub enum Fallback {
    /// None is admitted.
    Reject,
    /// All are admitted.
    PanicOpen,
    /// One is admitted each [`PoolSettings::trickle_interval`], also where the breakers are open; all
    /// snapshots with this pool share the limiter.
    Trickle(Arc<Trickle>),
}

impl Fallback {
    /// Returns the app's setting.
    pub fn policy(&self) -> OnAllUnhealthy {
        match self {
            Self::Reject => OnAllUnhealthy::Reject,
            Self::PanicOpen => OnAllUnhealthy::PanicOpen,
            Self::Trickle(_) => OnAllUnhealthy::Trickle,
        }
    }
}

impl Pool {
    /// The endpoint of an instance, draining or not. Two binary searches.
    pub fn endpoint(&self, instance: &str) -> Option<&Endpoint> {
        find(&self.endpoints, instance).or_else(|| find(&self.draining, instance))
    }

    /// Whether new requests may go to an endpoint. A binary search.
    pub fn offers(&self, endpoint: &Endpoint) -> bool {
        find(&self.endpoints, endpoint.instance.as_str()).is_some_and(|found| found.id == endpoint.id)
    }

    /// Whether an endpoint could take a new request now, and the pool's breaker would admit it. Two relaxed
    /// loads per endpoint until one can.
    pub fn has_available(&self, now: Tick) -> bool {
        let breaker = self.traffic.as_ref().and_then(|traffic| traffic.breaker.as_deref());
        let admits = breaker.is_none_or(|breaker| breaker.is_due(now));
        admits && self.endpoints.iter().any(|endpoint| endpoint.weight > 0 && endpoint.is_available(now))
    }

    /// All endpoints, those in rotation first.
    pub fn all_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().chain(&self.draining)
    }
}

fn find<'a>(endpoints: &'a [Endpoint], instance: &str) -> Option<&'a Endpoint> {
    let at = endpoints.binary_search_by(|endpoint| endpoint.instance.as_str().cmp(instance)).ok()?;
    Some(&endpoints[at])
}

/// Instance at a target, with its state.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The instance behind it.
    pub instance: InstanceId,
    /// Registration of the instance.
    pub generation: Generation,
    /// Target that the instance registered.
    pub target: Target,
    /// Socket addresses in the order of connection attempts; empty while the target's name is not resolved.
    pub addresses: Box<[SocketAddr]>,
    /// Its share of the requests, among the weights of all endpoints; 0 takes nothing new.
    pub weight: u16,
    /// Health and breaker, shared with all snapshots that have this endpoint.
    pub state: Arc<EndpointState>,
    /// Its requests in flight, shared likewise.
    pub in_flight: Arc<InFlight>,
    /// Its attempts of the last ten seconds, where its pool detects outliers by their error rate.
    pub tally: Arc<Tally>,
    /// Its metric slot.
    pub metric: MetricSlot,
    /// Hash of the instance id, the same in every process: see [`balance::sticky`](crate::balance::sticky).
    pub(crate) affinity: u64,
}

impl Endpoint {
    /// Whether a request could be sent to it now. Two relaxed loads.
    pub fn is_available(&self, now: Tick) -> bool {
        !self.addresses.is_empty() && self.state.is_available(now)
    }

    /// Returns the host name of its target, if that has to be resolved.
    pub fn name(&self) -> Option<&Hostname> {
        match self.target.host() {
            TargetHost::Name(name) => Some(name),
            TargetHost::Address(_) => None,
        }
    }
}

/// All virtual hosts and pools at one revision, from a [`Compiler`](crate::compile::Compiler). Contains the
/// pool of each of its rules.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Number of the publication.
    pub serial: Serial,
    /// Revision of the configuration that it was compiled from.
    pub revision: Revision,
    /// Number of endpoints removed so far. While it is unchanged, no [`EndpointId`] became invalid, and
    /// tables keyed by them need no cleaning.
    pub endpoints_removed: u64,
    /// Number of rules that were removed or got another pool so far, likewise.
    pub rules_removed: u64,
    /// The operator's certificate for names without one.
    pub default_certificate: Option<CertificateVersion>,
    /// Certificates of operators by the names that they are served for.
    pub(crate) certificates: Map<HostPattern, CertificateFiles>,
    /// Lua scripts, where there are any.
    pub scripts: Option<Arc<Scripts>>,
    /// Credentials of middleware stages, as they were loaded last.
    pub(crate) credentials: Map<CredentialSource, Arc<Credentials>>,
    pub(crate) challenges: Map<Arc<str>, Arc<str>>,
    pub(crate) hosts: Map<Hostname, Arc<VirtualHost>>,
    /// Virtual hosts with a pattern, where there are any.
    pub(crate) host_patterns: Option<Arc<HostPatterns>>,
    pub(crate) pools: Map<PoolId, Arc<Pool>>,
    pub(crate) pool_ids: Map<AppId, PoolId>,
    /// Whether each endpoint takes new requests: its weight is above 0.
    pub(crate) endpoints: Map<EndpointId, bool>,
}

impl Default for Snapshot {
    /// Returns an empty snapshot: serial 0, revision 0.
    fn default() -> Self {
        Self {
            serial: Serial(0),
            revision: Revision(0),
            endpoints_removed: 0,
            rules_removed: 0,
            default_certificate: None,
            certificates: map(),
            scripts: None,
            credentials: map(),
            challenges: map(),
            hosts: map(),
            host_patterns: None,
            pools: map(),
            pool_ids: map(),
            endpoints: map(),
        }
    }
}

impl Snapshot {
    /// Finds the virtual host of a normalised host: by its name, or else by the patterns. One hash lookup for
    /// a name, no allocation.
    pub fn virtual_host(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        match self.hosts.get(host) {
            Some(found) => Some(found),
            None => self.host_patterns.as_ref()?.find(host),
        }
    }

    /// The virtual host that was configured with this name or pattern.
    pub fn virtual_host_of(&self, host: &HostPattern) -> Option<&Arc<VirtualHost>> {
        match host {
            HostPattern::Exact(name) => self.hosts.get(name),
            pattern => self.host_patterns.as_ref()?.get(pattern),
        }
    }

    /// An operator's certificate for a name of the TLS handshake: of this name before one of its parent. No
    /// cost without such certificates, else up to two hash lookups and an allocation.
    pub fn certificate_files(&self, name: &str) -> Option<&CertificateFiles> {
        if self.certificates.is_empty() {
            return None;
        }
        let by_name = |name: &str| Hostname::parse(name).ok();
        let exact = by_name(name).and_then(|name| self.certificates.get(&HostPattern::Exact(name)));
        exact.or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.certificates.get(&HostPattern::OneLabel(by_name(parent)?))
        })
    }

    /// Key authorization for `GET /.well-known/acme-challenge/<token>` (RFC 8555 §8.3); `None` when the token
    /// has no pending order. One hash lookup.
    pub fn challenge(&self, token: &str) -> Option<&Arc<str>> {
        self.challenges.get(token)
    }

    /// A pool by its id. One hash lookup.
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(&id).map(|pool| &**pool)
    }

    /// The pool of a rule of this snapshot, where its requests go to one. One hash lookup.
    ///
    /// # Panics
    /// The rule is from another snapshot, whose pools may be missing in this one.
    pub fn pool_of(&self, rule: &Rule) -> Option<&Pool> {
        let pool = rule.pool()?;
        Some(self.pool(pool).expect("a snapshot has the pool of each of its rules"))
    }

    /// Credentials of a source; `None` while they were never loaded. One hash lookup.
    pub fn credentials(&self, source: &CredentialSource) -> Option<&Arc<Credentials>> {
        self.credentials.get(source)
    }

    /// The pool of an app. Two hash lookups.
    pub fn pool_of_app(&self, app: &str) -> Option<&Pool> {
        self.pool(*self.pool_ids.get(app)?)
    }

    /// The endpoint of an app's instance. Two hash lookups and a binary search.
    pub fn endpoint(&self, app: &str, instance: &str) -> Option<&Endpoint> {
        self.pool_of_app(app)?.endpoint(instance)
    }

    /// Whether an endpoint is in any pool. One hash lookup.
    pub fn has_endpoint(&self, id: EndpointId) -> bool {
        self.endpoints.contains_key(&id)
    }

    /// Whether an endpoint takes new requests, so that a connection to it may have a use: it is in a pool,
    /// and its weight there is above 0. One hash lookup.
    pub fn keeps_connections(&self, id: EndpointId) -> bool {
        self.endpoints.get(&id).is_some_and(|takes_requests| *takes_requests)
    }

    /// Whether a host is ready for requests: it is known, other than to the default host, and each non-empty
    /// pool of its rules has an endpoint with an address. Two hash lookups.
    pub fn is_settled(&self, host: &str) -> bool {
        self.virtual_host(host).filter(|host| host.host != HostPattern::Any).is_some_and(|host| {
            host.rules.iter().filter_map(|rule| self.pool_of(rule)).all(|pool| {
                let endpoints = &pool.endpoints;
                endpoints.is_empty() || endpoints.iter().any(|endpoint| !endpoint.addresses.is_empty())
            })
        })
    }

    /// Number of virtual hosts.
    pub fn host_count(&self) -> usize {
        self.hosts.size() + self.host_patterns.as_ref().map_or(0, |patterns| patterns.len())
    }

    /// Number of pools.
    pub fn pool_count(&self) -> usize {
        self.pools.size()
    }

    /// Number of endpoints in all pools.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.size()
    }

    /// All virtual hosts, in no particular order.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.hosts.values().chain(self.host_patterns.iter().flat_map(|patterns| patterns.iter()))
    }

    /// All pools, in no particular order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }
}

const _: () = {
    const fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Snapshot>();
};
