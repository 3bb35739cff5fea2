//! Canonical form of traffic management, and of the traffic of pools.

use ringway_model::{
    BrakeMode, Canary, Cohorts, Mirror, Outliers, Overload, PoolSpec, RequestKey, RouteSpec, UpstreamProtocol,
};
use serde_json::{Map, Value as Json, json};

use super::Members;
use super::policy::circuit_breaker;
use crate::shapes::default_failures;
use crate::values::{duration_text, percent_value};

/// Adds the members of a pool that differ from the defaults.
pub(super) fn of_pool(members: &mut Members, spec: &PoolSpec) {
    let statuses = spec.failures.statuses;
    let statuses = Some(statuses).filter(|statuses| *statuses != default_failures().statuses);
    members.add("failure_statuses", statuses.map(|statuses| statuses.parts().collect::<Vec<_>>()));
    let traffic = &spec.traffic;
    members.add("hash_by", traffic.hash_by.as_ref().map(request_key));
    members.add("circuit_breaker", traffic.circuit_breaker.as_ref().map(circuit_breaker));
    members.add("outlier_detection", outliers(&traffic.outliers));
    members.add("slow_start", traffic.slow_start.map(duration_text));
    members.add("max_concurrent", traffic.endpoint_max_concurrent);
    let protocol = Some(traffic.protocol).filter(|protocol| *protocol != UpstreamProtocol::Auto);
    members.add("protocol", protocol.map(UpstreamProtocol::as_str));
}

fn outliers(outliers: &Outliers) -> Option<Json> {
    if *outliers == Outliers::default() {
        return None;
    }
    let mut members = Members::default();
    members.add("consecutive_failures", Some(outliers.consecutive_failures));
    members.add("ejection_duration", Some(duration_text(outliers.ejection)));
    members.add("error_rate_threshold", outliers.error_rate.map(percent_value));
    members.add("max_ejection_percent", Some(percent_value(outliers.max_ejection)));
    members.add("dry_run", Some(true).filter(|_| outliers.dry_run));
    Some(members.finish())
}

/// The entry of a route in `traffic_management`, if it has any.
pub(super) fn of_route(spec: &RouteSpec) -> Option<Json> {
    let traffic = spec.traffic.as_ref()?;
    let mut members = Members::default();
    members.add("route", Some(spec.id.as_str()));
    if let Some(canary) = &traffic.canary {
        of_canary(&mut members, canary);
    }
    members.add("cohort_routing", traffic.cohorts.as_ref().map(cohorts));
    members.add("overload_protection", traffic.overload.as_ref().map(overload));
    members.add("mirror", traffic.mirror.as_ref().map(mirror));
    Some(members.finish())
}

fn of_canary(members: &mut Members, canary: &Canary) {
    members.add("canary_pool", Some(canary.pool.id().as_str()));
    members.add("canary_weight", Some(percent_value(canary.weight)));
    let step = |step: &ringway_model::CanaryStep| json!({ "weight": percent_value(step.weight), "after": duration_text(step.after) });
    let steps: Vec<_> = canary.steps.iter().map(step).collect();
    members.add("canary_steps", Some(steps).filter(|steps| !steps.is_empty()));
    members.add("brake", Some(canary.brake.as_str()).filter(|_| canary.brake != BrakeMode::On));
    members.add("hash", canary.hash.as_ref().map(request_key));
    members.add("sticky_cookie", canary.cookie.as_deref());
}

fn cohorts(cohorts: &Cohorts) -> Json {
    let mut members = Members::default();
    members.add("header", cohorts.header.as_deref());
    members.add("cookie", cohorts.cookie.as_deref());
    members.add("trusted_only", Some(true).filter(|_| cohorts.trusted_only));
    let mappings: Map<_, _> = cohorts
        .mappings
        .iter()
        .map(|(cohort, pool)| (cohort.to_string(), json!(pool.id().as_str())))
        .collect();
    members.add("mappings", Some(mappings));
    members.add("brake_cohorts", Some(true).filter(|_| cohorts.brake));
    members.finish()
}

fn overload(overload: &Overload) -> Json {
    let mut members = Members::default();
    members.add("max_concurrent", Some(overload.max_concurrent));
    if overload.queue_size > 0 {
        members.add("queue_size", Some(overload.queue_size));
        members.add("queue_timeout", Some(duration_text(overload.queue_timeout)));
    }
    let adaptive = overload.adaptive.as_ref().map(|adaptive| {
        let mut members = Members::default();
        members.add("target", adaptive.target.map(duration_text));
        members.add("min", Some(adaptive.min));
        members.finish()
    });
    members.add("adaptive", adaptive);
    members.add("dry_run", Some(true).filter(|_| overload.dry_run));
    members.finish()
}

fn mirror(mirror: &Mirror) -> Json {
    let mut members = Members::default();
    members.add("pool", Some(mirror.pool.id().as_str()));
    members.add("percent", Some(percent_value(mirror.share)));
    let methods: Vec<&str> = mirror.methods.iter().map(|method| &**method).collect();
    members.add("methods", Some(methods).filter(|methods| !methods.is_empty()));
    members.add("timeout", Some(duration_text(mirror.timeout)));
    members.finish()
}

/// A request key in its short form.
fn request_key(key: &RequestKey) -> String {
    match key {
        RequestKey::Client => "client".to_owned(),
        RequestKey::Header(name) => format!("header:{name}"),
        RequestKey::Cookie(name) => format!("cookie:{name}"),
    }
}
