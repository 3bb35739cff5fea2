//! Traffic management, circuit breaker and rate limit of the document, given to its routes and pools.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{Kind, PolicyRef, PolicySettings, PolicySpec, PoolRef, RouteAction, RouteId, RouteSpec};

use crate::draft::{Draft, Reference, TrafficEntry, noun};
use crate::reader::nearest;
use crate::{Beside, Finding, Severity};

/// Takes the routes of the present document where the new one has traffic management for them, and no routes.
pub(super) fn take_routes(draft: &mut Draft, beside: &Beside<'_>) {
    if let Some(base) = beside.base
        && draft.sections.traffic
        && !draft.sections.routes
    {
        let unmanaged = |route: &Arc<RouteSpec>| RouteSpec { traffic: None, ..RouteSpec::clone(route) };
        draft.routes = base.set.routes.iter().map(unmanaged).collect();
        draft.sections.routes = true;
    }
}

/// Gives each pool without a circuit breaker that of the document.
pub(super) fn circuit_breakers(draft: &mut Draft) {
    let Some(breaker) = &draft.circuit_breaker else { return };
    for pool in &mut draft.pools {
        Arc::make_mut(&mut pool.traffic).circuit_breaker.get_or_insert_with(|| breaker.clone());
    }
}

/// Gives each route without a rate limit that of the document.
pub(super) fn rate_limit(draft: &mut Draft) {
    let Some(default) = draft.rate_limit.take() else { return };
    let named: HashMap<&str, bool, ahash::RandomState> = draft
        .policies
        .iter()
        .map(|policy| (policy.id.as_str(), policy.settings.rate_limit.is_some()))
        .collect();
    let limits = |policy: &PolicyRef| match policy {
        PolicyRef::Named(id) => named.get(id.as_str()).copied().unwrap_or(false),
        PolicyRef::Inline(settings) => settings.rate_limit.is_some(),
    };
    let limited_pools: HashMap<&str, bool, ahash::RandomState> =
        draft.pools.iter().map(|pool| (pool.id.as_str(), pool.policy.as_ref().is_some_and(limits))).collect();
    let is_limited = |route: &RouteSpec| {
        route.policies.iter().any(limits)
            || route.pool().is_some_and(|pool| limited_pools.get(pool.as_str()) == Some(&true))
    };
    let unlimited: Vec<usize> =
        draft.routes.iter().enumerate().filter(|(_, route)| !is_limited(route)).map(|(at, _)| at).collect();
    for at in unlimited {
        let policies = std::mem::take(&mut draft.routes[at].policies).into_vec();
        let default = PolicyRef::Named(default.id.clone());
        draft.routes[at].policies = policies.into_iter().chain([default]).collect();
    }
    let settings = PolicySettings { rate_limit: Some(default.limit), ..PolicySettings::default() };
    draft.policies.push(PolicySpec { id: default.id, settings });
}

/// Positions of the routes by their ids.
pub(super) fn index(draft: &Draft) -> HashMap<RouteId, usize, ahash::RandomState> {
    draft.routes.iter().enumerate().map(|(at, route)| (route.id.clone(), at)).collect()
}

/// Gives each route its traffic management.
pub(super) fn manage(draft: &mut Draft) -> Vec<Finding> {
    let index = index(draft);
    let mut seen: HashMap<RouteId, Reference, ahash::RandomState> = HashMap::default();
    let mut findings = Vec::new();
    for entry in std::mem::take(&mut draft.traffic) {
        if let Some(first) = seen.get(&entry.route) {
            let at = first.place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
            let message = format!("has an entry{at} already, and a route has one");
            findings.push(error(&entry.route_at, "duplicate", message));
            continue;
        }
        let outcome = match index.get(&entry.route) {
            Some(at) => apply(&mut draft.routes[*at], &entry),
            None => unknown(draft, &entry.route, &entry.route_at),
        };
        findings.extend(outcome.err());
        seen.insert(entry.route, entry.route_at);
    }
    findings
}

/// Gives a route its traffic management.
fn apply(route: &mut RouteSpec, entry: &TrafficEntry) -> Result<(), Finding> {
    let RouteAction::Proxy { pool, .. } = &mut route.action else {
        let message = format!(
            "names the route {}, which forwards no requests: it has no pool to share or protect",
            route.id
        );
        return Err(error(&entry.route_at, "conflict", message));
    };
    if let Some(stable) = &entry.stable {
        *pool = PoolRef::Pool(stable.clone());
    }
    let canary = entry.spec.as_ref().and_then(|spec| spec.canary.as_ref());
    if canary.is_some_and(|canary| canary.pool.id() == pool.id()) {
        let message = format!("is the stable pool {} of the route itself", pool.id());
        return Err(error(&entry.canary_at, "conflict", message));
    }
    route.traffic.clone_from(&entry.spec);
    Ok(())
}

/// Reports a route that does not exist; one that has mistakes of its own is none of these.
pub(super) fn unknown(draft: &Draft, route: &RouteId, at: &Reference) -> Result<(), Finding> {
    let names = &draft.names;
    let id = route.as_str();
    if names.declared.contains_key(&(Kind::Route, id.into())) || names.unreadable.contains(&Kind::Route) {
        return Ok(());
    }
    let mut message = format!("names the {} {id}, which this configuration does not have", noun(Kind::Route));
    if let Some(near) = nearest(id, draft.routes.iter().map(|route| route.id.as_str())) {
        message.push_str(&format!("; did you mean {near}?"));
    }
    Err(error(at, "reference", message))
}

pub(super) fn error(at: &Reference, code: &'static str, message: String) -> Finding {
    Finding {
        severity: Severity::Error,
        code,
        pointer: at.pointer.to_string(),
        message,
        place: at.place.clone(),
    }
}
