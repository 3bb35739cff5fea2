//! Apps without a healthy instance: the failing checks, and the treatment of requests meanwhile.
//!
//! Responses to clients name the setting only, as strangers read them; the log, the status API and the
//! command line have the whole sentence from here.

use std::fmt::Write as _;

use ringway_health::Streak;
use ringway_model::{AppId, Health, Instance, OnAllUnhealthy};
use ringway_traffic::snapshot::Pool;

use super::Instances;
use crate::view::View;

/// Apps listed in the warnings; further ones are counted.
const OUTAGES_LISTED_MAX: usize = 10;
/// Instances listed for one app.
const INSTANCES_LISTED_MAX: usize = 3;

/// Describes the outage of an app; `None` while it has a healthy instance.
pub(crate) fn describe(app: &AppId, instances: &Instances, view: View<'_>) -> Option<String> {
    let pool = view.snapshot.pool_of_app(app.as_str())?;
    is_out(pool).then(|| describe_pool(pool, instances, view))
}

/// One sentence for each app without a healthy instance, by id, and the number of further ones.
pub(crate) fn warnings(instances: &Instances, view: View<'_>) -> Vec<String> {
    let mut pools: Vec<_> =
        view.snapshot.pools().filter(|pool| is_out(pool) && !pool.app.is_resolved()).collect();
    pools.sort_unstable_by(|a, b| a.app.cmp(&b.app));
    let listed = pools.iter().take(OUTAGES_LISTED_MAX);
    let mut warnings: Vec<String> = listed.map(|pool| describe_pool(pool, instances, view)).collect();
    if pools.len() > OUTAGES_LISTED_MAX {
        warnings.push(format!("{} more apps have no healthy instance", pools.len() - OUTAGES_LISTED_MAX));
    }
    warnings
}

fn describe_pool(pool: &Pool, instances: &Instances, view: View<'_>) -> String {
    let mut text = format!("no instance of app {} is healthy: ", pool.app);
    let registered =
        pool.endpoints.iter().filter_map(|endpoint| view.desired.instance(endpoint.instance.as_str()));
    for (number, instance) in registered.take(INSTANCES_LISTED_MAX).enumerate() {
        text.push_str(if number == 0 { "" } else { "; " });
        text.push_str(&describe_instance(instance, instances));
    }
    if pool.endpoints.len() > INSTANCES_LISTED_MAX {
        let _ = write!(text, "; and {} more", pool.endpoints.len() - INSTANCES_LISTED_MAX);
    }
    let policy = pool.fallback.policy();
    let _ = write!(text, "; {} (on_all_unhealthy: {})", consequence(policy), policy.as_str());
    text
}

/// For example `app1-1: GET /health: timed out after 3s waiting for the response, 3 in a row`.
fn describe_instance(instance: &Instance, instances: &Instances) -> String {
    let mut text = instance.id.to_string();
    if instances.has_lapsed(&instance.id) {
        text.push_str(": its heartbeats stopped");
        return text;
    }
    let Some(status) = instances.checker().status(instance.id.as_str()) else { return text };
    match (status.reason(), status.streak) {
        (Some(reason), Streak::Failures(count)) => {
            let _ = write!(text, ": {reason}, {count} in a row");
        }
        (Some(reason), _) => {
            let _ = write!(text, ": {reason}");
        }
        // Checks pass again, but fewer than the threshold.
        (None, streak) => {
            let (passed, due) = (streak.len(), status.thresholds.healthy);
            let _ = write!(text, ": passed {passed} of the {due} checks that it needs");
        }
    }
    text
}

/// Whether no instance with an address is healthy.
fn is_out(pool: &Pool) -> bool {
    let mut reachable = pool.endpoints.iter().filter(|endpoint| !endpoint.addresses.is_empty()).peekable();
    reachable.peek().is_some() && reachable.all(|endpoint| endpoint.state.health() == Health::Unhealthy)
}

fn consequence(policy: OnAllUnhealthy) -> &'static str {
    match policy {
        OnAllUnhealthy::Reject => "requests are refused",
        OnAllUnhealthy::PanicOpen => "requests are sent to them anyway",
        OnAllUnhealthy::Trickle => "one request a second is sent, the others are refused",
    }
}
