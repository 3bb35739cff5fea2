//! Apps of which no instance is healthy: which check failed how, and what becomes of requests meanwhile.
//!
//! The public answer names the setting only, for strangers read it; log, status API and command line have it all from here.

use std::fmt::Write as _;

use ringway_health::Streak;
use ringway_model::{AppId, Health, Instance, OnAllUnhealthy};
use ringway_traffic::snapshot::Pool;

use crate::engine::Engine;

/// Apps that [`Engine::outage_warnings`] names.
const OUTAGES_TOLD_MAX: usize = 10;
/// Instances whose checks are named for one app.
const INSTANCES_TOLD_MAX: usize = 3;

impl Engine {
    /// Why an app's requests find no healthy instance, and what becomes of them; `None` while there is one.
    pub(crate) fn outage(&self, app: &AppId) -> Option<String> {
        let pool = self.compiler().snapshot().pool_of_app(app.as_str())?;
        is_out(pool).then(|| self.describe(pool))
    }

    /// One sentence for each app without a healthy instance, by id, and how many more there are.
    pub(crate) fn outage_warnings(&self) -> Vec<String> {
        let mut pools: Vec<_> = self
            .compiler()
            .snapshot()
            .pools()
            .filter(|pool| is_out(pool) && !pool.app.is_resolved())
            .collect();
        pools.sort_unstable_by(|a, b| a.app.cmp(&b.app));
        let mut warnings: Vec<String> =
            pools.iter().take(OUTAGES_TOLD_MAX).map(|pool| self.describe(pool)).collect();
        if pools.len() > OUTAGES_TOLD_MAX {
            warnings.push(format!("{} more apps have no healthy instance", pools.len() - OUTAGES_TOLD_MAX));
        }
        warnings
    }

    fn describe(&self, pool: &Pool) -> String {
        let mut text = format!("no instance of app {} is healthy: ", pool.app);
        let instances =
            pool.endpoints.iter().filter_map(|endpoint| self.desired().instance(endpoint.instance.as_str()));
        for (number, instance) in instances.take(INSTANCES_TOLD_MAX).enumerate() {
            text.push_str(if number == 0 { "" } else { "; " });
            text.push_str(&self.finding(instance));
        }
        if pool.endpoints.len() > INSTANCES_TOLD_MAX {
            let _ = write!(text, "; and {} more", pool.endpoints.len() - INSTANCES_TOLD_MAX);
        }
        let policy = pool.fallback.policy();
        let _ = write!(text, "; {} (on_all_unhealthy: {})", consequence(policy), policy.as_str());
        text
    }

    /// `app1-1: GET /health: timed out after 3s waiting for the response, 3 in a row`
    fn finding(&self, instance: &Instance) -> String {
        let mut text = instance.id.to_string();
        if self.has_lapsed(&instance.id) {
            text.push_str(": its heartbeats stopped");
            return text;
        }
        let Some(status) = self.checker().status(instance.id.as_str()) else { return text };
        match (status.reason(), status.streak) {
            (Some(reason), Streak::Failures(count)) => {
                let _ = write!(text, ": {reason}, {count} in a row");
            }
            (Some(reason), _) => {
                let _ = write!(text, ": {reason}");
            }
            // Checks pass again, and not yet often enough.
            (None, streak) => {
                let (passed, due) = (streak.len(), status.thresholds.healthy);
                let _ = write!(text, ": passed {passed} of the {due} times that it takes");
            }
        }
        text
    }
}

/// Whether no instance that has an address is healthy.
fn is_out(pool: &Pool) -> bool {
    let mut reachable = pool.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()).peekable();
    reachable.peek().is_some() && reachable.all(|endpoint| endpoint.state.health() == Health::Unhealthy)
}

fn consequence(policy: OnAllUnhealthy) -> &'static str {
    match policy {
        OnAllUnhealthy::Reject => "requests are refused",
        OnAllUnhealthy::PanicOpen => "requests are sent to them all the same",
        OnAllUnhealthy::Trickle => "one request a second is let through, the others are refused",
    }
}
