//! Caches of rules: settings, and the epoch of their entries.

use std::sync::Arc;

use ringway_cache::{ScopeName, Settings};
use ringway_model::{Route, TenantId};

use super::draft::{Draft, Known};
use crate::cache_rule::CacheRule;
use crate::virtual_host::Rule;

impl Draft<'_> {
    /// The cache of a rule that is complete otherwise, of this tenant; `None` without one, or where the
    /// process has no store. Entries outlive changes of the configuration that change nothing of them.
    pub(super) fn cache(
        &mut self,
        route: &Route,
        tenant: Option<&TenantId>,
        rule: &Rule,
        known: Known<'_>,
    ) -> Option<Arc<CacheRule>> {
        let spec = route.spec.cache.as_deref()?;
        let settings = Settings::compile(spec, self.settings.defaults.cache_ttl?);
        let name = ScopeName {
            tenant: tenant.map(|tenant| tenant.as_str().into()),
            route: route.id().as_str().into(),
        };
        let traffic = route.spec.traffic.as_deref();
        let has_pools = traffic.is_some_and(|of| of.canary.is_some() || of.cohorts.is_some());
        let known = match known {
            Known::Own(known) | Known::Adopted(known) => known.cache.as_ref().map(|cache| (known, cache)),
            Known::New => None,
        };
        if let Some((known, cache)) = known
            && cache.settings == settings
            && cache.name == name
            && cache.has_pools == has_pools
            && known.action == rule.action
            && known.stages == rule.stages
            && known.apps().eq(rule.apps())
        {
            return Some(Arc::clone(cache));
        }
        Some(Arc::new(CacheRule::new(settings, name, self.ids.cache_epoch(), has_pools)))
    }
}
