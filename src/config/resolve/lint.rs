//! Warnings about valid values of several policies that work against each other on a route.

use std::collections::HashMap;

use ringway_model::{PolicyRef, PolicySettings, RouteSpec};

use super::{about, warning};
use crate::draft::Draft;
use crate::values::duration_text;
use crate::{Finding, shapes};

/// Policies by name.
type Named<'d> = HashMap<&'d str, &'d PolicySettings, ahash::RandomState>;

/// Warnings about the routes of a draft.
pub(super) fn lint(draft: &Draft) -> Vec<Finding> {
    let named: Named<'_> =
        draft.policies.iter().map(|policy| (policy.id.as_str(), &policy.settings)).collect();
    let of_pools: HashMap<&str, &PolicyRef, ahash::RandomState> =
        draft.pools.iter().filter_map(|pool| Some((pool.id.as_str(), pool.policy.as_ref()?))).collect();
    let mut findings = Vec::new();
    for route in &draft.routes {
        let of_pool = route.pool().and_then(|pool| of_pools.get(pool.as_str()).copied());
        let layers: Vec<&PolicySettings> =
            route.policies.iter().chain(of_pool).filter_map(|policy| settings(&named, policy)).collect();
        for message in doubts(route, &layers) {
            findings.push(warning(about(draft, route, "conflict", message)));
        }
    }
    findings
}

fn settings<'d>(named: &Named<'d>, policy: &'d PolicyRef) -> Option<&'d PolicySettings> {
    match policy {
        PolicyRef::Named(id) => named.get(id.as_str()).copied(),
        PolicyRef::Inline(settings) => Some(settings),
    }
}

/// Sentences about a route and its policies, the most specific first.
fn doubts(route: &RouteSpec, layers: &[&PolicySettings]) -> Vec<String> {
    let effective = layers.iter().fold(PolicySettings::default(), |all, layer| all.or(layer));
    let mut doubts = Vec::new();
    // Of one policy they are reported there.
    let of_one =
        |name: &str| layers.iter().any(|layer| shapes::doubts(layer).iter().any(|(other, _)| *other == name));
    for (name, message) in shapes::doubts(&effective) {
        if !of_one(name) {
            doubts.push(format!("has policies whose {name} {message}"));
        }
    }
    if let Some(retries) = &effective.retries
        && retries.attempts_max.get() > 1
        && retries.idempotent_only
        && retries.idempotency_key.is_none()
        && !route.matcher.methods.is_empty()
        && !route.matcher.methods.iter().any(|method| is_idempotent(method))
    {
        doubts.push(format!(
            "has retries without effect: {} is not idempotent; idempotency_key, or idempotent_only: false, would \
             repeat it",
            route.matcher.methods.join(", ")
        ));
    }
    if let Some(overload) = route.traffic.as_ref().and_then(|traffic| traffic.overload.as_ref())
        && let Some(timeout) = effective.timeout
        && overload.queue_size > 0
        && overload.queue_timeout >= timeout
    {
        doubts.push(format!(
            "has a queue_timeout of {}, and its timeout {} ends the wait before",
            duration_text(overload.queue_timeout),
            duration_text(timeout)
        ));
    }
    doubts
}

/// Whether a method is idempotent (RFC 9110 §9.2.2).
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}
