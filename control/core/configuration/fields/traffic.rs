//! Fields of traffic management, and of the traffic of pools.

use ringway_model::{
    BrakeMode, Canary, CanaryStep, Cohorts, Mirror, Outliers, Overload, PoolTraffic, RequestKey, TrafficSpec,
    UpstreamProtocol,
};

use super::{Fields, policy, seconds};

pub(super) fn of_pool(traffic: &PoolTraffic, fields: &mut Fields) {
    let PoolTraffic { outliers, circuit_breaker, hash_by, slow_start, endpoint_max_concurrent, protocol } =
        traffic;
    fields.extend(circuit_breaker.iter().flat_map(policy::circuit_breaker));
    of_outliers(outliers, fields);
    fields.extend(hash_by.as_ref().map(|key| ("/hash_by", request_key(key))));
    fields.extend(slow_start.map(|time| ("/slow_start", seconds(time))));
    fields.extend(endpoint_max_concurrent.map(|count| ("/max_concurrent", count.to_string())));
    if *protocol != UpstreamProtocol::Auto {
        fields.insert("/protocol", protocol.as_str().to_owned());
    }
}

fn of_outliers(outliers: &Outliers, fields: &mut Fields) {
    let Outliers { consecutive_failures, ejection, error_rate, max_ejection, dry_run } = outliers;
    let defaults = Outliers::default();
    if *consecutive_failures != defaults.consecutive_failures {
        fields.insert("/outlier_detection/consecutive_failures", consecutive_failures.to_string());
    }
    if *ejection != defaults.ejection {
        fields.insert("/outlier_detection/ejection_duration", seconds(*ejection));
    }
    if let Some(rate) = error_rate {
        fields.insert("/outlier_detection/error_rate_threshold", rate.to_string());
    }
    if *max_ejection != defaults.max_ejection {
        fields.insert("/outlier_detection/max_ejection_percent", max_ejection.to_string());
    }
    if *dry_run {
        fields.insert("/outlier_detection/dry_run", "true".to_owned());
    }
}

pub(super) fn of_route(traffic: &TrafficSpec, fields: &mut Fields) {
    let TrafficSpec { canary, cohorts, overload, mirror } = traffic;
    if let Some(canary) = canary {
        of_canary(canary, fields);
    }
    if let Some(cohorts) = cohorts {
        of_cohorts(cohorts, fields);
    }
    if let Some(overload) = overload {
        of_overload(overload, fields);
    }
    if let Some(mirror) = mirror {
        of_mirror(mirror, fields);
    }
}

fn of_canary(canary: &Canary, fields: &mut Fields) {
    let Canary { pool, weight, steps, hash, cookie, brake } = canary;
    fields.insert("/canary_pool", pool.id().to_string());
    fields.insert("/canary_weight", weight.to_string());
    if !steps.is_empty() {
        let step = |CanaryStep { weight, after }: &CanaryStep| format!("{weight} after {}", seconds(*after));
        fields.insert("/canary_steps", steps.iter().map(step).collect::<Vec<_>>().join(", "));
    }
    fields.extend(hash.as_ref().map(|key| ("/hash", request_key(key))));
    fields.extend(cookie.as_ref().map(|name| ("/sticky_cookie", name.to_string())));
    if *brake != BrakeMode::On {
        fields.insert("/brake", brake.as_str().to_owned());
    }
}

fn of_cohorts(cohorts: &Cohorts, fields: &mut Fields) {
    let Cohorts { header, cookie, trusted_only, mappings, brake } = cohorts;
    fields.extend(header.as_ref().map(|name| ("/cohort_routing/header", name.to_string())));
    fields.extend(cookie.as_ref().map(|name| ("/cohort_routing/cookie", name.to_string())));
    let pools: Vec<_> = mappings.iter().map(|(cohort, pool)| format!("{cohort}={}", pool.id())).collect();
    fields.insert("/cohort_routing/mappings", pools.join(", "));
    fields.extend(trusted_only.then(|| ("/cohort_routing/trusted_only", "true".to_owned())));
    fields.extend(brake.then(|| ("/cohort_routing/brake_cohorts", "true".to_owned())));
}

fn of_overload(overload: &Overload, fields: &mut Fields) {
    let Overload { max_concurrent, queue_size, queue_timeout, adaptive, dry_run } = overload;
    fields.insert("/overload_protection/max_concurrent", max_concurrent.to_string());
    if *queue_size > 0 {
        fields.insert("/overload_protection/queue_size", queue_size.to_string());
        fields.insert("/overload_protection/queue_timeout", seconds(*queue_timeout));
    }
    if let Some(adaptive) = adaptive {
        let target = adaptive.target.map_or_else(|| "half of the timeout".to_owned(), seconds);
        fields.insert("/overload_protection/adaptive", format!("target {target}, min {}", adaptive.min));
    }
    fields.extend(dry_run.then(|| ("/overload_protection/dry_run", "true".to_owned())));
}

fn of_mirror(mirror: &Mirror, fields: &mut Fields) {
    let Mirror { pool, share, methods, timeout } = mirror;
    fields.insert("/mirror/pool", pool.id().to_string());
    fields.insert("/mirror/percent", share.to_string());
    if !methods.is_empty() {
        fields.insert("/mirror/methods", methods.join(", "));
    }
    fields.insert("/mirror/timeout", seconds(*timeout));
}

fn request_key(key: &RequestKey) -> String {
    match key {
        RequestKey::Client => "client".to_owned(),
        RequestKey::Header(name) => format!("header:{name}"),
        RequestKey::Cookie(name) => format!("cookie:{name}"),
    }
}
