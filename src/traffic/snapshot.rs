//! The snapshot: immutable routing tables, shared by all cores and replaced as a whole.
//!
//! Tables are persistent maps: two snapshots share all that did not change.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_model::{
    AppId, FailurePolicy, Generation, Hostname, InstanceId, OnAllUnhealthy, Revision, Serial, Target,
    TargetHost, Tick, UpstreamTls,
};
use rpds::HashTrieMapSync;

use crate::breaker::{EndpointState, Trickle};
use crate::in_flight::InFlight;
use crate::policy::PoolSettings;
use crate::retry::Budget;
use crate::virtual_host::{Rule, VirtualHost};

/// A persistent map whose hash has a random key: names that strangers choose cannot be made to collide.
pub(crate) type Map<K, V> = HashTrieMapSync<K, V, ahash::RandomState>;

pub(crate) fn map<K: Eq + std::hash::Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(ahash::RandomState::new())
}

/// Identifies a pool; stays while its app is registered, never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub u64);

/// Identifies an endpoint: an instance at a target. Stays when the instance registers again with the same target,
/// never given to another, so that connections kept under it always lead to the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u64);

/// The counter that something is counted under: 1 to [`ringway_model::limits::METRIC_SLOTS_MAX`](ringway_model::limits::METRIC_SLOTS_MAX),
/// or 0, which all share that have none of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricSlot(pub u16);

impl MetricSlot {
    /// Shared by all that came when the slots were taken.
    pub const SHARED: Self = Self(0);
}

/// Which certificate a name has: another number for every one that is issued, uploaded or found on disk, so that a core
/// can tell that what it holds is out of date. Numbers mean nothing beyond this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateVersion(pub u64);

/// An app's endpoints.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// The app that it serves.
    pub app: AppId,
    /// TLS settings of its `https://` endpoints, where they differ from the default.
    pub tls: Option<UpstreamTls>,
    /// Results that count against its endpoints.
    pub failures: FailurePolicy,
    /// Treatment of requests while no endpoint is healthy.
    pub fallback: Fallback,
    /// Balancer and circuit breaker.
    pub settings: Arc<PoolSettings>,
    /// Budget of repeated attempts, shared with all snapshots that have this pool.
    pub retry_budget: Budget,
    /// One per instance, sorted by instance id, so that the order is the same in every snapshot.
    pub endpoints: Box<[Endpoint]>,
    /// Those that finish their requests and get no new ones, sorted likewise.
    pub draining: Box<[Endpoint]>,
    /// Its metric slot.
    pub metric: MetricSlot,
}

/// Treatment of requests while no endpoint of a pool is healthy.
#[derive(Clone, Debug)]
pub enum Fallback {
    /// None is let through.
    Reject,
    /// All are let through.
    PanicOpen,
    /// One is, each [`PoolSettings::trickle_interval`]; shared with all snapshots that have it.
    Trickle(Arc<Trickle>),
}

impl Fallback {
    /// The app's setting that it stands for.
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

    /// All endpoints, those in rotation first.
    pub fn all_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().chain(&self.draining)
    }
}

fn find<'a>(endpoints: &'a [Endpoint], instance: &str) -> Option<&'a Endpoint> {
    let at = endpoints.binary_search_by(|endpoint| endpoint.instance.as_str().cmp(instance)).ok()?;
    Some(&endpoints[at])
}

/// An instance, ready to be sent to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// The instance behind it.
    pub instance: InstanceId,
    /// Which registration of the instance it is.
    pub generation: Generation,
    /// Where the instance said that it listens.
    pub target: Target,
    /// Where to connect to, in this order; empty while the target's name is not resolved.
    pub addresses: Box<[SocketAddr]>,
    /// Health and breaker, shared with all snapshots that have this endpoint.
    pub state: Arc<EndpointState>,
    /// Its requests under way, shared likewise.
    pub in_flight: Arc<InFlight>,
    /// Its metric slot.
    pub metric: MetricSlot,
    /// The instance id as a number, the same in every process: see [`balance::sticky`](crate::balance::sticky).
    pub(crate) affinity: u64,
}

impl Endpoint {
    /// Whether a request could be sent to it now. Two relaxed loads.
    pub fn is_available(&self, now: Tick) -> bool {
        !self.addresses.is_empty() && self.state.is_available(now)
    }

    /// The name that has to be resolved for it, if its target is one.
    pub fn name(&self) -> Option<&Hostname> {
        match self.target.host() {
            TargetHost::Name(name) => Some(name),
            TargetHost::Address(_) => None,
        }
    }
}

/// All virtual hosts and pools at one revision. Made by [`Compiler`](crate::compile::Compiler); the pool of each rule is in it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts what was published.
    pub serial: Serial,
    /// The configuration that it was compiled from.
    pub revision: Revision,
    /// Endpoints that have ever been removed. While it is unchanged no [`EndpointId`] is gone, and tables that are kept
    /// by them need no cleaning.
    pub endpoints_removed: u64,
    /// Rules that have ever been removed or got another pool, likewise.
    pub rules_removed: u64,
    /// The operator's certificate for names that have none of their own.
    pub default_certificate: Option<CertificateVersion>,
    pub(crate) challenges: Map<Arc<str>, Arc<str>>,
    pub(crate) hosts: Map<Hostname, Arc<VirtualHost>>,
    pub(crate) pools: Map<PoolId, Arc<Pool>>,
    pub(crate) pool_ids: Map<AppId, PoolId>,
    pub(crate) endpoints: Map<EndpointId, PoolId>,
}

impl Default for Snapshot {
    /// Without hosts: serial 0, revision 0.
    fn default() -> Self {
        Self {
            serial: Serial(0),
            revision: Revision(0),
            endpoints_removed: 0,
            rules_removed: 0,
            default_certificate: None,
            challenges: map(),
            hosts: map(),
            pools: map(),
            pool_ids: map(),
            endpoints: map(),
        }
    }
}

impl Snapshot {
    /// Finds a host whose name is normalised. One hash lookup, no allocation.
    pub fn virtual_host(&self, host: &str) -> Option<&Arc<VirtualHost>> {
        self.hosts.get(host)
    }

    /// Key authorization for `GET /.well-known/acme-challenge/<token>` (RFC 8555 §8.3); `None` when no order waits for the
    /// token. One hash lookup.
    pub fn challenge(&self, token: &str) -> Option<&Arc<str>> {
        self.challenges.get(token)
    }

    /// A pool by its id. One hash lookup.
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(&id).map(|pool| &**pool)
    }

    /// The pool of a rule of this very snapshot. One hash lookup.
    ///
    /// # Panics
    /// The rule was taken from another snapshot, whose pools this one need not have.
    pub fn pool_of(&self, rule: &Rule) -> &Pool {
        self.pool(rule.pool()).expect("the compiler gives a snapshot the pool of each of its rules")
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

    /// Whether the wait for a host is over: it is known, and its rules' endpoints have addresses, at least one of each pool
    /// that has any. Two hash lookups.
    pub fn is_settled(&self, host: &str) -> bool {
        self.virtual_host(host).is_some_and(|host| {
            host.rules.iter().all(|rule| {
                let endpoints = &self.pool_of(rule).endpoints;
                endpoints.is_empty() || endpoints.iter().any(|endpoint| !endpoint.addresses.is_empty())
            })
        })
    }

    /// Number of virtual hosts.
    pub fn host_count(&self) -> usize {
        self.hosts.size()
    }

    /// Number of pools.
    pub fn pool_count(&self) -> usize {
        self.pools.size()
    }

    /// Number of endpoints in all pools.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.size()
    }

    /// All virtual hosts, in no order.
    pub fn virtual_hosts(&self) -> impl Iterator<Item = &Arc<VirtualHost>> {
        self.hosts.values()
    }

    /// All pools, in no order.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.pools.values()
    }
}

const _: () = {
    const fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Snapshot>();
};
