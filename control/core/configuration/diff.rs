//! Differences between two configurations: what a change adds, removes and changes, and its effects.
//!
//! ```text
//!  Desired before, deltas of the change ──► FieldChange, one for each field ──► as before + changes = after
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::AHashSet;
use ringway_model::{Delta, Desired, HostPattern, Kind, Owner, Resource};

use super::fields::{fields, kind_name, line};
use super::requests::{ChangeOp, Effects, FieldChange};

/// Differences that a change of `owner` makes to `before`, by kind and id.
pub(super) fn changes(
    before: &Desired,
    after: &Desired,
    deltas: &[Delta],
    owner: &Owner,
) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    for (kind, id) in touched(deltas) {
        let Some(kind_name) = kind_name(kind) else { continue };
        let old = before.resource(kind, &id).map(|resource| fields(&resource));
        let new = after.resource(kind, &id).map(|resource| fields(&resource));
        let change = |op, path: &str, from: Option<String>, to: Option<String>| FieldChange {
            op,
            kind: kind_name,
            id: id.clone(),
            path: path.into(),
            from: from.map(Arc::from),
            to: to.map(Arc::from),
            owner: owner.clone(),
        };
        match (old, new) {
            (None, None) => {}
            (None, Some(new)) => changes.push(change(ChangeOp::Add, "", None, Some(line(&new)))),
            (Some(old), None) => changes.push(change(ChangeOp::Remove, "", Some(line(&old)), None)),
            (Some(old), Some(new)) => {
                let paths: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
                let differ = paths.into_iter().filter(|path| old.get(path) != new.get(path));
                changes.extend(differ.map(|path| {
                    change(ChangeOp::Change, path, old.get(path).cloned(), new.get(path).cloned())
                }));
            }
        }
    }
    changes.extend(moves((before, after), deltas, owner));
    changes.sort_by(|a, b| (a.kind, &a.id, &a.path).cmp(&(b.kind, &b.id, &b.path)));
    changes
}

/// Resources that the deltas name.
fn touched(deltas: &[Delta]) -> BTreeSet<(Kind, Arc<str>)> {
    let resource = |delta: &Delta| match delta {
        Delta::Put(resource) | Delta::Remove(resource) => (resource.kind(), Arc::from(resource.key())),
    };
    deltas.iter().map(resource).collect()
}

/// Routes of an owner whose rank among the routes that stay is another one: their documents list them in
/// another order, which decides between routes that are alike otherwise.
fn moves((before, after): (&Desired, &Desired), deltas: &[Delta], owner: &Owner) -> Vec<FieldChange> {
    // A rank changes with the position of a route that stays, which is part of it.
    let order = |desired: &Desired, id: &str| Some(desired.route(id)?.spec.order);
    let is_moved = |delta: &Delta| match delta {
        Delta::Put(Resource::Route(route)) => order(before, route.id().as_str())
            .is_some_and(|known| Some(known) != order(after, route.id().as_str())),
        _ => false,
    };
    if !deltas.iter().any(is_moved) {
        return Vec::new();
    }
    let (old, new) = (ranks(before, after, owner), ranks(after, before, owner));
    let moved = new.iter().filter(|(id, rank)| old.get(*id) != Some(rank));
    let change = |(id, rank): (&Arc<str>, &usize)| FieldChange {
        op: ChangeOp::Change,
        kind: "route",
        id: id.clone(),
        path: "/order".into(),
        from: old.get(id).map(|rank| rank.to_string().into()),
        to: Some(rank.to_string().into()),
        owner: owner.clone(),
    };
    moved.map(change).collect()
}

/// Rank of each route of an owner among those that the other configuration has too, from 1.
fn ranks(of: &Desired, other: &Desired, owner: &Owner) -> BTreeMap<Arc<str>, usize> {
    let mut routes: Vec<(u32, &Arc<str>)> = of
        .owned_of(owner, Kind::Route)
        .filter(|id| other.route(id).is_some_and(|route| route.owner == *owner))
        .filter_map(|id| Some((of.route(id)?.spec.order, id)))
        .collect();
    routes.sort_unstable();
    routes.into_iter().zip(1..).map(|((_, id), rank)| (id.clone(), rank)).collect()
}

/// Effects of a change on hosts and endpoints.
pub(super) fn effects(before: &Desired, after: &Desired, deltas: &[Delta]) -> Effects {
    let mut effects = Effects::default();
    let mut hosts: AHashSet<HostPattern> = AHashSet::new();
    // Once each: all routes may name one pool.
    let mut pools: BTreeSet<Arc<str>> = BTreeSet::new();
    for (kind, id) in touched(deltas) {
        for desired in [before, after] {
            match kind {
                Kind::Route => hosts.extend(desired.route(&id).map(|route| route.spec.host.clone())),
                Kind::App => _ = pools.insert(id.clone()),
                Kind::Instance => {
                    pools.extend(desired.instance(&id).map(|endpoint| endpoint.app.as_str().into()));
                }
                Kind::Policy => hosts.extend(hosts_of_policy(desired, &id)),
                Kind::Certificate => hosts.extend(desired.certificate(&id).map(|known| known.sni.clone())),
                Kind::Middleware | Kind::Plugin => {
                    let routes = desired.routes_of_middleware(kind, &id);
                    hosts.extend(routes.map(|route| route.spec.host.clone()));
                }
                // Hosts of scripts are known once they are compiled.
                Kind::Script => {}
                Kind::Domain | Kind::ConfigVersion | Kind::CanaryState | Kind::EndpointOverride => {}
            }
        }
        if kind == Kind::Instance {
            let (old, new) = (before.instance(&id).is_some(), after.instance(&id).is_some());
            effects.endpoints_added += usize::from(!old && new);
            effects.endpoints_removed += usize::from(old && !new);
        }
    }
    for pool in &pools {
        for desired in [before, after] {
            let routes = desired.routes_of_pool(pool);
            let of_pool: AHashSet<&HostPattern> = routes.map(|route| &route.spec.host).collect();
            hosts.extend(of_pool.into_iter().cloned());
        }
    }
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    hosts.sort_unstable();
    for host in hosts {
        let list = match (is_served(before, &host), is_served(after, &host)) {
            (false, true) => &mut effects.hosts_added,
            (true, false) => &mut effects.hosts_removed,
            (true, true) => &mut effects.hosts_changed,
            // An attached route whose domain is not registered.
            (false, false) => continue,
        };
        list.push(host.to_string().into());
    }
    effects
}

fn hosts_of_pool(desired: &Desired, pool: &str) -> impl Iterator<Item = HostPattern> {
    desired.routes_of_pool(pool).map(|route| route.spec.host.clone())
}

fn hosts_of_policy(desired: &Desired, policy: &str) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (kind, key, _) in desired.users_of_policy(policy) {
        match desired.resource(kind, &key) {
            Some(Resource::Route(route)) => hosts.push(route.spec.host.clone()),
            Some(Resource::Domain(domain)) => hosts.push(HostPattern::Exact(domain.name.clone())),
            Some(Resource::App(app)) => {
                hosts.extend(hosts_of_pool(desired, app.id.as_str()));
                let domains = desired.domains_of(app.id.as_str());
                hosts.extend(domains.map(|domain| HostPattern::Exact(domain.name.clone())));
            }
            _ => {}
        }
    }
    hosts
}

fn is_served(desired: &Desired, host: &HostPattern) -> bool {
    let has_domain = host.exact().is_some_and(|name| desired.domain(name.as_str()).is_some());
    has_domain || desired.routes_of_host(host).any(|route| !route.is_attached)
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
