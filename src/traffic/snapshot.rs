//! What a core routes by: immutable tables, shared by all cores and replaced as a whole.
//!
//! A [`Route`] names its [`Pool`] by id instead of holding it, so that a new instance of an app with thousands of
//! domains replaces one pool and no route. Tables are persistent maps: two snapshots share all that did not change.

use std::net::SocketAddr;
use std::sync::Arc;

use ringway_model::{
    AppId, ClientAuth, DomainKind, FailurePolicy, Generation, Hostname, InstanceId, OnAllUnhealthy, Revision,
    Serial, Target, TargetHost, TenantId, Tick, UpstreamTls,
};
use rpds::HashTrieMapSync;

use crate::breaker::{EndpointState, Trickle};
use crate::in_flight::InFlight;

/// A persistent map whose hash has a random key: names that strangers choose cannot be made to collide.
pub(crate) type Map<K, V> = HashTrieMapSync<K, V, ahash::RandomState>;

pub(crate) fn map<K: Eq + std::hash::Hash, V>() -> Map<K, V> {
    Map::new_with_hasher_and_ptr_kind(ahash::RandomState::new())
}

/// Identifies a route; stays while its domain is registered, never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u64);

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

/// A domain, ready to be routed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its id.
    pub id: RouteId,
    /// The name that it is found by.
    pub host: Hostname,
    /// The app that serves it.
    pub app: AppId,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// Stands for the tenant in access logs: `telemetry::TenantHash::new(key, tenant).0` for the compiler's key.
    pub tenant_hash: Option<u64>,
    /// The pool of the app.
    pub pool: PoolId,
    /// `X-Tenant-ID: <tenant>\r\n`, or empty: copied into the forwarded head as it is.
    pub tenant_line: Box<[u8]>,
    /// What it is counted under.
    pub metric: MetricSlot,
    /// What the domain is to its owner. All kinds are routed alike.
    pub kind: DomainKind,
    /// The domain's own certificate, if it has one that can be served.
    pub certificate: Option<CertificateVersion>,
    /// What its clients must prove.
    pub client_auth: Option<ClientAuth>,
}

/// An app's endpoints.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its id.
    pub id: PoolId,
    /// The app that it serves.
    pub app: AppId,
    /// How its `https://` endpoints are spoken to, when not in the default way.
    pub tls: Option<UpstreamTls>,
    /// Results that count against its endpoints.
    pub failures: FailurePolicy,
    /// Treatment of requests while no endpoint is healthy.
    pub fallback: Fallback,
    /// One per instance, sorted by instance id, so that the order is the same in every snapshot.
    pub endpoints: Box<[Endpoint]>,
    /// Those that finish their requests and get no new ones, sorted likewise.
    pub draining: Box<[Endpoint]>,
    /// What it is counted under.
    pub metric: MetricSlot,
}

/// Treatment of requests while no endpoint of a pool is healthy.
#[derive(Clone, Debug)]
pub enum Fallback {
    /// None is let through.
    Reject,
    /// All are let through.
    PanicOpen,
    /// One is, each [`TRICKLE_INTERVAL`](crate::limits::TRICKLE_INTERVAL); shared with all snapshots that have it.
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
    /// What it is counted under.
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

/// All routes and pools at one revision. Made by [`Compiler`](crate::compile::Compiler); every route's pool is in it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Counts what was published.
    pub serial: Serial,
    /// The configuration that it was compiled from.
    pub revision: Revision,
    /// How many endpoints have ever been removed. Unchanged since the snapshot before: no id is gone that was there,
    /// and whoever keeps things by [`EndpointId`] has nothing to look for.
    pub endpoints_removed: u64,
    /// How many routes have ever been removed or led to another app, likewise.
    pub routes_removed: u64,
    /// The operator's certificate for names that have none of their own.
    pub default_certificate: Option<CertificateVersion>,
    pub(crate) challenges: Map<Arc<str>, Arc<str>>,
    pub(crate) routes: Map<Hostname, Arc<Route>>,
    pub(crate) pools: Map<PoolId, Arc<Pool>>,
    pub(crate) pool_ids: Map<AppId, PoolId>,
    pub(crate) endpoints: Map<EndpointId, PoolId>,
}

impl Default for Snapshot {
    /// Without routes: serial 0, revision 0.
    fn default() -> Self {
        Self {
            serial: Serial(0),
            revision: Revision(0),
            endpoints_removed: 0,
            routes_removed: 0,
            default_certificate: None,
            challenges: map(),
            routes: map(),
            pools: map(),
            pool_ids: map(),
            endpoints: map(),
        }
    }
}

impl Snapshot {
    /// The route of a host that is normalised already. One hash lookup, no allocation.
    pub fn route(&self, host: &str) -> Option<&Route> {
        self.routes.get(host).map(|route| &**route)
    }

    /// What to answer to `GET /.well-known/acme-challenge/<token>` (RFC 8555 §8.3); `None` when no order of ours asks for it.
    /// One hash lookup.
    pub fn challenge(&self, token: &str) -> Option<&Arc<str>> {
        self.challenges.get(token)
    }

    /// A pool by its id. One hash lookup.
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(&id).map(|pool| &**pool)
    }

    /// The pool of a route of this very snapshot. One hash lookup.
    ///
    /// # Panics
    /// When the route was taken from another snapshot, whose pools this one need not have.
    pub fn pool_of(&self, route: &Route) -> &Pool {
        self.pool(route.pool).expect("the compiler gives a snapshot the pool of each of its routes")
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

    /// Whether a request for this host can be sent on, or never will be: it has a route, and its endpoints' names have been
    /// resolved, one of them at least. Two hash lookups.
    pub fn is_settled(&self, host: &str) -> bool {
        self.route(host).is_some_and(|route| {
            let endpoints = &self.pool_of(route).endpoints;
            endpoints.is_empty() || endpoints.iter().any(|endpoint| !endpoint.addresses.is_empty())
        })
    }

    /// How many routes there are.
    pub fn route_count(&self) -> usize {
        self.routes.size()
    }

    /// How many pools there are.
    pub fn pool_count(&self) -> usize {
        self.pools.size()
    }

    /// How many endpoints there are in all pools.
    pub fn endpoint_count(&self) -> usize {
        self.endpoints.size()
    }

    /// All routes, in no order.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
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
