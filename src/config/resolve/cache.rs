//! Caches of the document, given to its routes.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{CacheSpec, CacheTtl, RouteAction, RouteId, RouteSpec};

use super::traffic::{error, index, unknown};
use super::{about, warning};
use crate::draft::{CacheDefaults, CacheEntry, Draft, Reference};
use crate::{Beside, Finding};

/// Takes the routes of the present document where the new one has rules of caches, and no routes.
pub(super) fn take_routes(draft: &mut Draft, beside: &Beside<'_>) {
    if let Some(base) = beside.base
        && draft.sections.cache
        && !draft.sections.routes
    {
        let bare = |route: &Arc<RouteSpec>| RouteSpec { cache: None, ..RouteSpec::clone(route) };
        draft.routes = base.set.routes.iter().map(bare).collect();
        draft.sections.routes = true;
    }
}

/// Gives each route its cache.
pub(super) fn give(draft: &mut Draft) -> Vec<Finding> {
    let index = index(draft);
    let mut seen: HashMap<RouteId, Reference, ahash::RandomState> = HashMap::default();
    let mut findings = Vec::new();
    for entry in std::mem::take(&mut draft.caches) {
        if let Some(first) = seen.get(&entry.route) {
            let at = first.place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
            let message = format!("is of the route {}, which has a cache{at} already", entry.route);
            findings.push(error(&entry.route_at, "duplicate", message));
            continue;
        }
        let outcome = match index.get(&entry.route) {
            Some(at) => apply(&mut draft.routes[*at], &entry, &draft.cache_defaults),
            None => unknown(draft, &entry.route, &entry.route_at),
        };
        findings.extend(outcome.err());
        seen.insert(entry.route, entry.route_at);
    }
    findings.extend(doubts(draft));
    findings
}

/// Gives a route its cache, with the defaults of the document.
fn apply(route: &mut RouteSpec, entry: &CacheEntry, defaults: &CacheDefaults) -> Result<(), Finding> {
    if !matches!(route.action, RouteAction::Proxy { .. }) {
        let message =
            format!("is of the route {}, which forwards no requests: there is nothing to store", route.id);
        return Err(error(&entry.route_at, "conflict", message));
    }
    let mut spec = entry.fields.spec.clone();
    if entry.fields.inherits_headers
        && let Some(respects_headers) = defaults.respects_headers
    {
        spec.respect_cache_headers = respects_headers;
    }
    if entry.fields.inherits_patterns
        && let Some(patterns) = &defaults.patterns
    {
        spec.patterns.clone_from(patterns);
    }
    if spec.ttl.is_none() && defaults.has_ttl {
        spec.ttl = Some(CacheTtl::Default);
    }
    if !spec.respect_cache_headers && spec.ttl.is_none() {
        let message =
            "has respect_cache_headers: false and no ttl: no response would have a lifetime".to_owned();
        return Err(error(&entry.route_at, "conflict", message));
    }
    route.cache = Some(Arc::new(spec));
    Ok(())
}

/// Warnings about caches without effect.
fn doubts(draft: &Draft) -> Vec<Finding> {
    let cached = draft.routes.iter().filter_map(|route| Some((route, route.cache.as_deref()?)));
    let doubt = |(route, spec): (&RouteSpec, &CacheSpec)| {
        let methods = &route.matcher.methods;
        let message = if !methods.is_empty() && !methods.iter().any(|method| &**method == "GET") {
            "has a cache without effect: its methods leave out GET"
        } else if spec.ttl.is_none() && !spec.patterns.is_empty() && !spec.targets.is_empty() {
            "has a cache whose patterns have no effect: they limit its ttl, and it has none"
        } else {
            return None;
        };
        Some(warning(about(draft, route, "conflict", message.to_owned())))
    };
    cached.filter_map(doubt).collect()
}
