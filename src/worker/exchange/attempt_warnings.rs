//! Rate limit of warnings about instances, so that an operator sees why attempts fail without an access log.
//!
//! A data core writes no log: it reports to the control thread, once per instance and
//! [`limits::UPSTREAM_WARNING_INTERVAL`], with the number of failures since its last report.

use std::cell::RefCell;

use ringway_model::{Tick, limits};
use ringway_traffic::report::Report;
use ringway_traffic::snapshot::{Endpoint, EndpointId, Pool};

use crate::core::Core;
use crate::exchange::cause::Cause;
use crate::lru_cache::LruCache;
use crate::runtime::Runtime;

/// Instances with failed attempts.
pub(crate) struct Warnings(RefCell<LruCache<EndpointId, Warned>>);

#[derive(Clone, Copy)]
struct Warned {
    at: Tick,
    /// Failures since the last report.
    unreported: u32,
}

impl Default for Warnings {
    fn default() -> Self {
        Self(RefCell::new(LruCache::new(limits::UPSTREAM_WARNINGS_MAX)))
    }
}

impl Warnings {
    /// Counts a failure, and returns the number of failures to report when it is time for a report.
    fn count(&self, endpoint: EndpointId, now: Tick) -> Option<u32> {
        let mut recent = self.0.borrow_mut();
        match recent.get(&endpoint) {
            Some(warned) if now.since(warned.at) < limits::UPSTREAM_WARNING_INTERVAL => {
                warned.unreported = warned.unreported.saturating_add(1);
                None
            }
            Some(warned) => {
                warned.at = now;
                Some(std::mem::take(&mut warned.unreported).saturating_add(1))
            }
            None => {
                recent.insert(endpoint, Warned { at: now, unreported: 0 });
                Some(1)
            }
        }
    }
}

/// Reports a failed attempt, unless the instance was reported lately. A full mailbox may lose it.
#[cold]
pub(crate) fn report<R: Runtime>(
    core: &Core<R>,
    pool: &Pool,
    endpoint: &Endpoint,
    cause: &Cause,
    code: &'static str,
) {
    let Some(failures) = core.warnings.count(endpoint.id, core.runtime.now()) else { return };
    let _ = core.reports.send(Report::AttemptsFailed {
        app: pool.app.clone(),
        instance: endpoint.instance.clone(),
        reason: cause.upstream_error(code).reason,
        text: cause.text().into(),
        failures,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_reported_once_in_an_interval_with_all_its_failures() {
        let warnings = Warnings::default();
        let at = |millis: u64| Tick(0).after(std::time::Duration::from_millis(millis));
        let (one, other) = (EndpointId(1), EndpointId(2));
        assert_eq!(warnings.count(one, at(0)), Some(1));
        assert_eq!(warnings.count(one, at(1)), None);
        assert_eq!(warnings.count(one, at(9_999)), None);
        assert_eq!(warnings.count(other, at(9_999)), Some(1));
        assert_eq!(warnings.count(one, at(10_000)), Some(3));
        assert_eq!(warnings.count(one, at(19_999)), None);
        assert_eq!(warnings.count(one, at(20_000)), Some(2));
    }
}
