//! Traffic management of a route: canary, cohorts, overload protection, mirroring.

use std::sync::Arc;
use std::time::Duration;

use crate::{AppId, Percent, PoolRef, RequestKey};

/// Traffic management of a route. Its pool is the stable one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficSpec {
    /// The next version, for a share of the requests.
    pub canary: Option<Canary>,
    /// Pools of named groups of users.
    pub cohorts: Option<Cohorts>,
    /// Limit of concurrent requests.
    pub overload: Option<Overload>,
    /// Copies of requests for another pool.
    pub mirror: Option<Mirror>,
}

impl TrafficSpec {
    /// All pools that it names.
    pub fn pools(&self) -> impl Iterator<Item = &PoolRef> {
        let canary = self.canary.iter().map(|canary| &canary.pool);
        let cohorts = self.cohorts.iter().flat_map(|cohorts| cohorts.mappings.iter().map(|(_, pool)| pool));
        canary.chain(cohorts).chain(self.mirror.iter().map(|mirror| &mirror.pool))
    }

    /// Ids of all pools and apps that it names.
    pub fn pool_ids(&self) -> impl Iterator<Item = &AppId> {
        self.pools().map(PoolRef::id)
    }
}

/// A share of a route's requests for another pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Canary {
    /// Pool of the next version.
    pub pool: PoolRef,
    /// Share of the requests at first.
    pub weight: Percent,
    /// Later shares, in order.
    pub steps: Box<[CanaryStep]>,
    /// Property of a request that decides about its variant; chance when absent.
    pub hash: Option<RequestKey>,
    /// Cookie that keeps a client with its variant.
    pub cookie: Option<Arc<str>>,
    /// Handling of a canary that fails.
    pub brake: BrakeMode,
}

/// A later share of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CanaryStep {
    /// Share of the requests.
    pub weight: Percent,
    /// Time at the share before.
    pub after: Duration,
}

/// Handling of a canary that fails more often than the stable pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BrakeMode {
    /// Its share becomes 0.
    #[default]
    On,
    /// Only counted and reported.
    DryRun,
    /// None.
    Off,
}

impl BrakeMode {
    /// All values.
    pub const ALL: [Self; 3] = [Self::On, Self::DryRun, Self::Off];

    /// The name in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::DryRun => "dry_run",
            Self::Off => "off",
        }
    }

    /// Parses the name in documents.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Pools of named groups of users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cohorts {
    /// Header field with the name of the group, in lower case.
    pub header: Option<Arc<str>>,
    /// Cookie with the name of the group.
    pub cookie: Option<Arc<str>>,
    /// Whether the header field counts only from trusted proxies.
    pub trusted_only: bool,
    /// The pool of each group, by its name in alphabetical order.
    pub mappings: Box<[(Arc<str>, PoolRef)]>,
    /// Whether a braked canary takes no requests of groups either.
    pub brake: bool,
}

/// Limit of a route's concurrent requests, over all cores.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Overload {
    /// Requests at a time; at least 1.
    pub max_concurrent: u32,
    /// Requests that wait for a place.
    pub queue_size: u32,
    /// Longest wait.
    pub queue_timeout: Duration,
    /// Limit that follows the latency, up to `max_concurrent`.
    pub adaptive: Option<AdaptiveLimit>,
    /// Whether it only counts the requests that it would refuse or delay.
    pub dry_run: bool,
}

/// Limit of concurrent requests that follows the latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdaptiveLimit {
    /// Latency above which it falls; half of the route's timeout when absent.
    pub target: Option<Duration>,
    /// Lowest value.
    pub min: u32,
}

/// Copies of requests for another pool, whose responses are discarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mirror {
    /// The pool.
    pub pool: PoolRef,
    /// Share of the requests that are copied.
    pub share: Percent,
    /// Methods, upper case; the safe ones when empty.
    pub methods: Box<[Arc<str>]>,
    /// Timeout of a copy.
    pub timeout: Duration,
}
