//! Caches of rules: settings, and the epoch and the scope of their entries.

use std::sync::Arc;

use ringway_cache::Settings;
use ringway_model::{CacheSpec, TenantId};

use super::draft::{Draft, Known};
use crate::cache_rule::CacheRule;
use crate::virtual_host::Rule;

impl Draft<'_> {
    /// The cache of a rule that is complete otherwise; `None` without one, or where the process has no store.
    /// Entries outlive a change of the configuration that changes nothing of them.
    pub(super) fn cache(
        &mut self,
        spec: Option<&CacheSpec>,
        tenant: Option<&TenantId>,
        rule: &Rule,
        known: Known<'_>,
    ) -> Option<Arc<CacheRule>> {
        let settings = Arc::new(Settings::compile(spec?, self.settings.defaults.cache_ttl?));
        let known = match known {
            Known::Own(known) | Known::Adopted(known) => known.cache.as_ref().map(|cache| (known, cache)),
            Known::New => None,
        };
        let Some((known, cache)) = known.filter(|(_, cache)| cache.tenant.as_ref() == tenant) else {
            let (scope, epoch, tenant) = (self.ids.cache_scope(), self.ids.cache_epoch(), tenant.cloned());
            return Some(Arc::new(CacheRule { settings, scope, epoch, tenant }));
        };
        let is_same = cache.settings == settings
            && known.action == rule.action
            && known.stages == rule.stages
            && known.apps().eq(rule.apps());
        if is_same {
            return Some(Arc::clone(cache));
        }
        let (scope, epoch, tenant) = (cache.scope, self.ids.cache_epoch(), tenant.cloned());
        Some(Arc::new(CacheRule { settings, scope, epoch, tenant }))
    }
}
