//! Changes of authentication: the routes that a change opens, closes, or protects in another way.

use std::collections::BTreeSet;

use ringway_model::{
    ClientAuth, ClientAuthNeed, Delta, Desired, PluginKind, Resource, Route, RouteId, StageSpec,
};

/// Change of the authentication of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthChange {
    /// The route had authentication, and has none; or it was removed.
    Lost,
    /// Its authentication is another one.
    Changed,
    /// It has authentication, and had none; or it is new.
    Gained,
}

/// Routes whose authentication a change alters, with those that are less protected first.
pub(super) fn auth_changes(
    before: &Desired,
    after: &Desired,
    deltas: &[Delta],
) -> Vec<(AuthChange, RouteId)> {
    let mut ids: BTreeSet<&RouteId> = BTreeSet::new();
    for Delta::Put(resource) | Delta::Remove(resource) in deltas {
        let kind = resource.kind();
        for desired in [before, after] {
            match resource {
                Resource::Route(route) => _ = ids.insert(route.id()),
                Resource::Middleware(_) | Resource::Plugin(_) => {
                    ids.extend(desired.routes_of_middleware(kind, resource.key()).map(|route| route.id()));
                }
                _ => {}
            }
        }
    }
    let guards_in =
        |desired, id: &RouteId| Desired::route(desired, id.as_str()).map(|route| guards(desired, route));
    let change = |id: &RouteId| {
        let (old, new) =
            (guards_in(before, id).unwrap_or_default(), guards_in(after, id).unwrap_or_default());
        match (old.is_empty(), new.is_empty()) {
            _ if old == new => None,
            (true, _) => Some(AuthChange::Gained),
            (_, true) => Some(AuthChange::Lost),
            (false, false) => Some(AuthChange::Changed),
        }
    };
    let mut changed: Vec<_> = ids.into_iter().filter_map(|id| Some((change(id)?, id.clone()))).collect();
    changed.sort_unstable();
    changed
}

/// Part of a route's authentication.
#[derive(PartialEq, Eq)]
enum Guard<'d> {
    /// A client certificate, which the connection or the request needs.
    Certificate(Option<&'d ClientAuth>),
    Stage(&'d StageSpec),
    /// A service that decides about requests.
    Plugin(&'d PluginKind),
}

fn guards<'d>(desired: &'d Desired, route: &'d Route) -> Vec<Guard<'d>> {
    let auth = route.spec.client_auth.as_ref();
    let needs_certificate =
        route.spec.requires_client_cert || auth.is_some_and(|auth| auth.need == ClientAuthNeed::Required);
    let certificate = needs_certificate.then_some(Guard::Certificate(auth));
    let chains = route.spec.middleware.iter().filter_map(|id| desired.middleware(id.as_str()));
    let stages = chains.flat_map(|chain| &chain.spec.stages).filter_map(|stage| match stage {
        // An optional one admits anybody.
        StageSpec::Auth(auth) => (!auth.optional).then_some(Guard::Stage(stage)),
        StageSpec::Plugin(of) => {
            let plugin = desired.plugin(of.plugin.as_str())?;
            matches!(plugin.spec.kind, PluginKind::External(_)).then_some(Guard::Plugin(&plugin.spec.kind))
        }
        _ => None,
    });
    certificate.into_iter().chain(stages).collect()
}

#[cfg(test)]
#[path = "auth_changes_tests.rs"]
mod tests;
