//! Operations on the cache, and the documentation of each.

use ringway_config::{Described, describe};

use crate::access::{Access, Scope};
use crate::content::{Content, schema_of};
use crate::problem::Kind;
use crate::request::cache as shape;
use crate::views::{CacheExplanationView, CacheStatsView, CachedPage, HitRatesView, PurgedView};

/// An operation on the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum CacheOperation {
    Purge,
    /// By the parameter `pattern` alone.
    PurgePattern,
    Stats,
    /// The five numbers that dashboards read.
    HitRates,
    Entries,
    Explain,
}

/// Documentation: id, summary, fields, responses, own problems.
pub(crate) type CacheSpec =
    (&'static str, &'static str, Vec<Described>, Vec<(u16, Option<Content>)>, &'static [Kind]);

impl CacheOperation {
    /// The required access.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Purge | Self::PurgePattern => Access::Scoped(Scope::Purge),
            Self::Stats | Self::HitRates | Self::Entries | Self::Explain => Access::Cache,
        }
    }

    /// Whether it changes what is stored.
    pub(crate) fn is_change(self) -> bool {
        self.access() == Access::Scoped(Scope::Purge)
    }

    /// The documentation.
    pub(crate) fn spec(self) -> CacheSpec {
        use Kind::*;
        let json = |content: Content| vec![(200, Some(content))];
        match self {
            Self::Purge => (
                "purgeCache",
                "Remove stored responses, or make them stale; in force on all cores with the response. What was requested from an endpoint before is not stored afterwards.",
                describe(shape::purge),
                json(schema_of::<PurgedView>()),
                &[CacheOff, ForeignTenant, UnknownRoute, Conflicting],
            ),
            Self::PurgePattern => (
                "purgeCachePattern",
                "Remove the stored responses of hosts and paths that a pattern matches.",
                describe(shape::purge_pattern),
                json(schema_of::<PurgedView>()),
                &[CacheOff, Conflicting],
            ),
            Self::Stats => (
                "cacheStats",
                "Show memory, entries and requests of the cache, by route or tenant too.",
                describe(shape::stats),
                json(schema_of::<CacheStatsView>()),
                &[CacheOff, Conflicting],
            ),
            Self::HitRates => (
                "cacheHitRates",
                "Show size, entries, hit rate and evictions of the cache.",
                describe(crate::request::shapes::nothing),
                json(schema_of::<HitRatesView>()),
                &[CacheOff],
            ),
            Self::Entries => (
                "cacheEntries",
                "List stored responses, by tenant and route.",
                describe(shape::entries),
                json(schema_of::<CachedPage>()),
                &[CacheOff, ForeignTenant, Conflicting],
            ),
            Self::Explain => (
                "explainCache",
                "Explain the part of the cache in a request: its route, the stored response, and the decision about it.",
                describe(shape::explain),
                json(schema_of::<CacheExplanationView>()),
                &[ConfigInvalid, ConfigFailed, UnknownRoute, Busy, Unconfirmed, ShuttingDown, Conflicting],
            ),
        }
    }
}
