//! The operator's rules for changes: each refuses a change, or warns.
//!
//! Rules look at what a change touches, so that a new rule blocks no change of something else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::{Finding, GovernanceRule, Place, Places, Rule, RuleMode, Severity, Share};
use ringway_model::{
    App, Delta, Desired, HostPattern, Kind, Owner, PolicyRef, PolicySettings, PoolRef, Resource, Route,
    RouteAction, Scheme, StageSpec, Timestamp,
};

/// Hosts that only one owner may have, by the rules that refuse: registrations are checked against them too.
pub(super) fn reserved_hosts(rules: &[GovernanceRule]) -> Reserved {
    let refusing = rules.iter().filter(|rule| rule.mode == RuleMode::Refuse);
    let reserved = refusing.filter_map(|rule| match &rule.rule {
        Rule::ReservedHosts { hosts, owner } => Some(hosts.iter().map(|host| (host.clone(), owner.clone()))),
        _ => None,
    });
    reserved.flatten().collect()
}

/// Reserved host patterns and their owners.
pub(crate) type Reserved = Arc<[(HostPattern, Owner)]>;

/// A change to judge.
pub(super) struct Judged<'a> {
    pub(super) before: &'a Desired,
    pub(super) after: &'a Desired,
    pub(super) deltas: &'a [Delta],
    pub(super) owner: &'a Owner,
    /// Reason that the author gave; `None` for a question, which needs none.
    pub(super) reason: Option<&'a str>,
    /// Timeout to the response head of routes without one.
    pub(super) default_timeout: Duration,
}

/// A broken rule: its message, and the resource that breaks it.
struct Breach {
    message: String,
    at: Option<(Kind, Arc<str>)>,
}

/// Applies the rules to a change. `places`: of the proposed documents.
pub(super) fn judge(
    rules: Vec<&Vec<GovernanceRule>>,
    change: &Judged<'_>,
    places: &Places,
    now: Timestamp,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for rule in rules.into_iter().flatten() {
        let at = rule.place.as_ref().map_or_else(String::new, |place| format!(" at {place}"));
        for breach in breaches(&rule.rule, change, now) {
            let finding = Finding {
                severity: match rule.mode {
                    RuleMode::Refuse => Severity::Error,
                    RuleMode::Warn => Severity::Warning,
                },
                code: "governance",
                pointer: String::new(),
                message: format!("{} (rule {}{})", breach.message, name(&rule.rule), at),
                place: breach.at.and_then(|(kind, id)| Place::clone(places.get(kind, &id)?).into()),
            };
            // The present documents and the proposed ones usually have the same rules.
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }
    findings
}

fn breaches(rule: &Rule, change: &Judged<'_>, now: Timestamp) -> Vec<Breach> {
    match rule {
        Rule::ReservedHosts { hosts, owner } if owner != change.owner => routes(change)
            .filter(|route| {
                // The default host serves names that no other route knows, reserved ones too.
                route.spec.host == HostPattern::Any || may_be_among(hosts, &route.spec.host)
            })
            .map(|route| {
                let (id, host) = (route.id(), &route.spec.host);
                of_route(route, format!("host {host} of route {id} is reserved for owner {owner}"))
            })
            .collect(),
        Rule::ReservedHosts { .. } => Vec::new(),
        Rule::MaxRemoved { hosts, routes, endpoints } => {
            let counts = [
                ("hosts", hosts, hosts_of(change.before, change.owner), hosts_of(change.after, change.owner)),
                (
                    "routes",
                    routes,
                    keys(change.before, change, Kind::Route),
                    keys(change.after, change, Kind::Route),
                ),
                (
                    "endpoints",
                    endpoints,
                    keys(change.before, change, Kind::Instance),
                    keys(change.after, change, Kind::Instance),
                ),
            ];
            let breach =
                |(what, share, before, after): (&str, &Option<Share>, BTreeSet<Arc<str>>, BTreeSet<_>)| {
                    let removed = before.difference(&after).count();
                    let max = allowed(share.as_ref()?, before.len());
                    (removed > max).then(|| Breach {
                        message: format!(
                            "{removed} of {} {what} would be removed, {max} are allowed",
                            before.len()
                        ),
                        at: None,
                    })
                };
            counts.into_iter().filter_map(breach).collect()
        }
        Rule::RequireTls { hosts } => routes(change)
            .filter(|route| selects(hosts, &route.spec.host))
            .filter(|route| setting(change.after, route, |policy| policy.require_tls) != Some(true))
            .map(|route| of_route(route, format!("route {} serves requests without TLS", route.id())))
            .collect(),
        Rule::ForbidInsecureUpstream { hosts } => insecure_upstreams(change, hosts),
        Rule::MaxTimeout { max } => {
            let too_long = |policy: &PolicySettings| {
                [policy.timeout, policy.per_try_timeout, policy.total_timeout].into_iter().flatten().max()
                    > Some(*max)
            };
            let seconds = max.as_secs_f64();
            let mut breaches = policies_with(change, too_long, &|what| {
                format!("a timeout of {what} is longer than {seconds} s")
            });
            if change.default_timeout > *max {
                let of_process = change.default_timeout.as_secs_f64();
                let without = routes(change).filter(|route| inherits_timeout(change.after, route));
                breaches.extend(without.map(|route| {
                    let message = format!(
                        "route {} has no timeout, and that of the process, {of_process} s, is longer than \
                         {seconds} s",
                        route.id()
                    );
                    of_route(route, message)
                }));
            }
            breaches
        }
        Rule::MaxAttempts { max } => {
            let too_many = |policy: &PolicySettings| {
                policy.retries.as_ref().is_some_and(|retries| retries.attempts_max.get() > *max)
            };
            let sentence = |what: &str| format!("{what} admits more than {max} attempts");
            policies_with(change, too_many, &sentence)
        }
        Rule::RequireRateLimit { hosts } => routes(change)
            .filter(|route| selects(hosts, &route.spec.host))
            .filter(|route| !has_rate_limit(change.after, route))
            .map(|route| of_route(route, format!("route {} has no rate limit that is in force", route.id())))
            .collect(),
        Rule::RequireMiddleware { types, hosts } => passing(change)
            .into_iter()
            .filter(|route| selects(hosts, &route.spec.host))
            .filter_map(|route| {
                let missing: Vec<&str> = types
                    .iter()
                    .map(|name| &**name)
                    .filter(|name| !passes(change.after, route, name))
                    .collect();
                let sentence = || format!("route {} passes no stage {}", route.id(), missing.join(", "));
                (!missing.is_empty()).then(|| of_route(route, sentence()))
            })
            .collect(),
        Rule::MinEndpoints { min } => pools(change)
            .into_iter()
            .filter_map(|pool| {
                let endpoints = change.after.instances_of(pool.id.as_str());
                // One without weight takes no requests.
                let count = endpoints.filter(|endpoint| endpoint.weight > 0).count();
                (count < *min as usize).then(|| Breach {
                    message: format!("pool {} has {count} endpoints, {min} are required", pool.id),
                    at: Some((Kind::App, pool.id.as_str().into())),
                })
            })
            .collect(),
        Rule::Protect { hosts, routes, pools } => touched(change)
            .into_iter()
            .filter(|(kind, id)| match (kind, change.before.resource(*kind, id)) {
                (_, Some(Resource::Route(route))) => {
                    routes.contains(route.id()) || may_be_among(hosts, &route.spec.host)
                }
                (_, Some(Resource::App(pool))) => pools.contains(&pool.id),
                (_, Some(Resource::Instance(endpoint))) => pools.contains(&endpoint.app),
                _ => false,
            })
            .map(|(kind, id)| Breach {
                message: format!(
                    "{} {id} is protected and must not be changed",
                    super::fields::kind_name(kind).unwrap_or(kind.as_str())
                ),
                at: Some((kind, id)),
            })
            .collect(),
        Rule::Freeze { from, until, message } => {
            let is_frozen = from.is_none_or(|from| from <= now) && until.is_none_or(|until| now < until);
            let until = until.map_or_else(String::new, |until| format!(" until {}", until.to_rfc3339()));
            (is_frozen && !touched(change).is_empty())
                .then(|| Breach { message: format!("{message}{until}"), at: None })
                .into_iter()
                .collect()
        }
        Rule::RequireReason => change
            .reason
            .filter(|reason| reason.trim().is_empty())
            .map(|_| Breach { message: "a change needs a reason".to_owned(), at: None })
            .into_iter()
            .collect(),
    }
}

/// Breaches by policies that the change writes, named ones and those in place in routes and pools.
fn policies_with(
    change: &Judged<'_>,
    is_broken: impl Fn(&PolicySettings) -> bool,
    sentence: &dyn Fn(&str) -> String,
) -> Vec<Breach> {
    let of_routes = routes(change)
        .filter(|route| inline(&route.spec.policies).any(&is_broken))
        .map(|route| of_route(route, sentence(&format!("route {}", route.id()))));
    let of_others = put(change).filter_map(|resource| match resource {
        Resource::App(pool) if inline(pool.policy.as_slice()).any(&is_broken) => Some(Breach {
            message: sentence(&format!("pool {}", pool.id)),
            at: Some((Kind::App, pool.id.as_str().into())),
        }),
        Resource::Policy(policy) if is_broken(&policy.settings) => Some(Breach {
            message: sentence(&format!("policy {}", policy.id)),
            at: Some((Kind::Policy, policy.id.as_str().into())),
        }),
        _ => None,
    });
    of_routes.chain(of_others).collect()
}

/// Whether a route has a rate limit that refuses requests: of its own policies, or of its pool's.
fn has_rate_limit(desired: &Desired, route: &Route) -> bool {
    effective(desired, route, |policy| policy.rate_limit.clone()).is_some_and(|limit| !limit.dry_run)
}

/// Whether only the process's timeout ends the wait of a route's request for its response.
fn inherits_timeout(desired: &Desired, route: &Route) -> bool {
    let timeout = |policy: &PolicySettings| policy.timeout.or(policy.total_timeout);
    route.spec.pool().is_some() && effective(desired, route, timeout).is_none()
}

/// A value of a route: of its own policies, or of its pool's.
fn effective<T>(desired: &Desired, route: &Route, value: impl Fn(&PolicySettings) -> Option<T>) -> Option<T> {
    let of_pool = || {
        let pool = desired.app(route.spec.pool()?.as_str())?;
        in_force(desired, pool.policy.as_slice(), &value)
    };
    in_force(desired, &route.spec.policies, &value).or_else(of_pool)
}

/// Name of a rule in documents.
fn name(rule: &Rule) -> &'static str {
    match rule {
        Rule::ReservedHosts { .. } => "reserved_hosts",
        Rule::MaxRemoved { .. } => "max_removed",
        Rule::RequireTls { .. } => "require_tls",
        Rule::ForbidInsecureUpstream { .. } => "forbid_insecure_upstream",
        Rule::MaxTimeout { .. } => "max_timeout",
        Rule::MaxAttempts { .. } => "max_attempts",
        Rule::RequireRateLimit { .. } => "require_rate_limit",
        Rule::RequireMiddleware { .. } => "require_middleware",
        Rule::MinEndpoints { .. } => "min_endpoints",
        Rule::Protect { .. } => "protect",
        Rule::Freeze { .. } => "freeze",
        Rule::RequireReason => "require_reason",
    }
}

/// Number of a share, rounded down.
fn allowed(share: &Share, total: usize) -> usize {
    match share {
        Share::Percent(percent) => total * usize::from(*percent) / 100,
        Share::Count(count) => *count as usize,
    }
}

fn of_route(route: &Route, message: String) -> Breach {
    Breach { message, at: Some((Kind::Route, route.id().as_str().into())) }
}

/// Resources that the change writes, as they are afterwards.
fn put<'a>(change: &'a Judged<'_>) -> impl Iterator<Item = &'a Resource> {
    change.deltas.iter().filter_map(|delta| match delta {
        Delta::Put(resource) => Some(resource),
        Delta::Remove(_) => None,
    })
}

/// Routes that the change writes.
fn routes<'a>(change: &'a Judged<'_>) -> impl Iterator<Item = &'a Route> {
    put(change).filter_map(|resource| match resource {
        Resource::Route(route) => Some(&**route),
        _ => None,
    })
}

/// Routes that the change writes, or chains of.
fn passing<'a>(change: &'a Judged<'_>) -> Vec<&'a Route> {
    let of_chains = put(change).flat_map(|resource| match resource {
        Resource::Middleware(of) => {
            change.after.routes_of_middleware(Kind::Middleware, of.spec.id.as_str()).collect()
        }
        _ => Vec::new(),
    });
    let mut passing: Vec<&Route> = routes(change).chain(of_chains.map(|route| &**route)).collect();
    passing.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    passing.dedup_by(|a, b| a.id() == b.id());
    passing
}

/// Whether requests of a route pass a stage of a type; one of `auth` that admits anybody does not count.
fn passes(desired: &Desired, route: &Route, name: &str) -> bool {
    let chains = route.spec.middleware.iter().filter_map(|id| desired.middleware(id.as_str()));
    let mut stages = chains.flat_map(|chain| &chain.spec.stages);
    stages.any(|stage| match stage {
        StageSpec::Auth(auth) if auth.optional => false,
        stage => stage.type_name() == name,
    })
}

/// Pools that the change writes, or endpoints of, as far as they exist afterwards.
fn pools<'a>(change: &Judged<'a>) -> Vec<&'a Arc<App>> {
    let pool = |delta: &Delta| match delta {
        Delta::Put(Resource::App(pool)) => Some(pool.id.clone()),
        Delta::Put(Resource::Instance(endpoint)) | Delta::Remove(Resource::Instance(endpoint)) => {
            Some(endpoint.app.clone())
        }
        _ => None,
    };
    let ids: BTreeSet<_> = change.deltas.iter().filter_map(pool).collect();
    ids.iter().filter_map(|id| change.after.app(id.as_str())).collect()
}

/// Resources that the change writes or removes, without the history.
fn touched(change: &Judged<'_>) -> BTreeSet<(Kind, Arc<str>)> {
    let resource = |delta: &Delta| match delta {
        Delta::Put(resource) | Delta::Remove(resource) => (resource.kind(), Arc::from(resource.key())),
    };
    change.deltas.iter().map(resource).filter(|(kind, _)| *kind != Kind::ConfigVersion).collect()
}

fn keys(desired: &Desired, change: &Judged<'_>, kind: Kind) -> BTreeSet<Arc<str>> {
    desired.owned_of(change.owner, kind).cloned().collect()
}

fn hosts_of(desired: &Desired, owner: &Owner) -> BTreeSet<Arc<str>> {
    let routes = desired.owned_of(owner, Kind::Route);
    routes.filter_map(|id| Some(desired.route(id)?.spec.host.to_string().into())).collect()
}

fn insecure_upstreams(change: &Judged<'_>, hosts: &[HostPattern]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let changed: BTreeSet<&str> = pools(change).into_iter().map(|pool| pool.id.as_str()).collect();
    let mut checked: BTreeSet<&str> = changed.clone();
    checked.extend(routes(change).filter_map(|route| named_pool(route)));
    for id in checked {
        let is_selected =
            hosts.is_empty() || change.after.routes_of_pool(id).any(|route| selects(hosts, &route.spec.host));
        let Some(pool) = change.after.app(id).filter(|_| is_selected) else { continue };
        let is_unverified = pool.upstream_tls.as_ref().is_some_and(|tls| tls.insecure);
        let plain = change.after.instances_of(id).find(|endpoint| endpoint.target.scheme() == Scheme::Http);
        let message = match plain {
            Some(endpoint) => format!("endpoint {} of pool {id} is not an https:// address", endpoint.target),
            None if is_unverified => format!("pool {id} does not verify its endpoints' certificates"),
            None => continue,
        };
        breaches.push(Breach { message, at: Some((Kind::App, id.into())) });
    }
    breaches
}

fn named_pool(route: &Route) -> Option<&str> {
    match &route.spec.action {
        RouteAction::Proxy { pool: PoolRef::Pool(pool), .. } => Some(pool.as_str()),
        _ => None,
    }
}

fn inline(policies: &[PolicyRef]) -> impl Iterator<Item = &PolicySettings> {
    policies.iter().filter_map(|policy| match policy {
        PolicyRef::Inline(settings) => Some(&**settings),
        PolicyRef::Named(_) => None,
    })
}

/// A setting of a route: of the most specific policy that has it.
fn setting<T>(desired: &Desired, route: &Route, value: impl Fn(&PolicySettings) -> Option<T>) -> Option<T> {
    in_force(desired, &route.spec.policies, value)
}

/// The value of the first policy that has it.
fn in_force<T>(
    desired: &Desired,
    policies: &[PolicyRef],
    value: impl Fn(&PolicySettings) -> Option<T>,
) -> Option<T> {
    policies.iter().find_map(|policy| match policy {
        PolicyRef::Inline(settings) => value(settings),
        PolicyRef::Named(id) => value(&desired.policy(id.as_str())?.settings),
    })
}

/// Whether a list of hosts, all when empty, has one in common with a pattern.
fn selects(hosts: &[HostPattern], host: &HostPattern) -> bool {
    hosts.is_empty() || may_be_among(hosts, host)
}

/// Whether a pattern may match a host of a list. A regular expression may match any: rules are no place to
/// guess.
fn may_be_among(hosts: &[HostPattern], host: &HostPattern) -> bool {
    let is_regex = matches!(host, HostPattern::Regex(_)) && !hosts.is_empty();
    is_regex || hosts.iter().any(|listed| matches!(listed, HostPattern::Regex(_)) || listed.overlaps(host))
}

#[cfg(test)]
#[path = "governance_tests.rs"]
mod tests;
