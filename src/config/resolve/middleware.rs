//! Order of the stages that a route's requests pass, and stages that work against each other.
//!
//! `request_id`, `access_log` and `tracing` wrap all others wherever they stand; no rule is about them.

use std::collections::HashMap;
use std::sync::Arc;

use ringway_model::{
    AuthMethod, CacheSpec, HeaderTransform, MiddlewareId, MiddlewareSpec, PluginId, PluginSpec, PolicyId,
    PolicyRef, PolicySettings, RateLimit, RateLimitKey, Rewrite, RouteAction, RouteSpec, StageSpec, Template,
    TemplatePart, Variable,
};

use super::about;
use crate::draft::Draft;
use crate::{Beside, Finding, Severity};

/// Findings about chains, and about routes that pass several.
pub(super) fn judge(draft: &Draft, beside: &Beside<'_>) -> Vec<Finding> {
    let known = Known::new(draft, beside);
    let mut findings = Vec::new();
    for chain in &draft.middlewares {
        let stages: Vec<&StageSpec> = chain.stages.iter().collect();
        let doubts = known.order(&stages).into_iter().chain(known.each(&stages));
        findings.extend(doubts.map(|doubt| of_stage(draft, chain, doubt)));
    }
    for route in draft.routes.iter().filter(|route| !route.middleware.is_empty()) {
        let passed = route.middleware.iter().filter_map(|id| known.chains.get(id).copied());
        let stages: Vec<&StageSpec> = passed.flat_map(|chain| chain.stages.iter()).collect();
        let mut doubts = known.of_route(route, &stages);
        // Of one chain they are reported there.
        if route.middleware.len() > 1 {
            let alone: Vec<String> = route
                .middleware
                .iter()
                .filter_map(|id| known.chains.get(id))
                .flat_map(|chain| known.order(&chain.stages.iter().collect::<Vec<_>>()))
                .map(|doubt| doubt.message)
                .collect();
            doubts.extend(known.order(&stages).into_iter().filter(|doubt| !alone.contains(&doubt.message)));
        }
        for doubt in doubts {
            let message =
                format!("passes the stage {}, which {}", stages[doubt.at].type_name(), doubt.message);
            findings.push(Finding { severity: doubt.severity, ..about(draft, route, "conflict", message) });
        }
    }
    findings
}

/// Finding about the stage of an index: a predicate.
struct Doubt {
    at: usize,
    severity: Severity,
    message: String,
}

fn error(at: usize, message: String) -> Doubt {
    Doubt { at, severity: Severity::Error, message }
}

fn warning(at: usize, message: String) -> Doubt {
    Doubt { at, severity: Severity::Warning, message }
}

fn of_stage(draft: &Draft, chain: &MiddlewareSpec, doubt: Doubt) -> Finding {
    let declared = draft.stages.get(&chain.id).and_then(|stages| stages.get(doubt.at));
    let message = match declared {
        Some(_) => doubt.message,
        // A chain that another section makes.
        None => format!("has a stage {}, which {}", chain.stages[doubt.at].type_name(), doubt.message),
    };
    Finding {
        severity: doubt.severity,
        code: "conflict",
        pointer: declared.map_or_else(String::new, |declared| declared.pointer.to_string()),
        message,
        place: declared.and_then(|declared| declared.place.clone()),
    }
}

/// Resources of the document, and of the present one where the new one leaves them out.
struct Known<'d> {
    chains: HashMap<&'d MiddlewareId, &'d Arc<MiddlewareSpec>, ahash::RandomState>,
    plugins: HashMap<&'d PluginId, &'d PluginSpec, ahash::RandomState>,
    policies: HashMap<&'d PolicyId, &'d PolicySettings, ahash::RandomState>,
}

impl<'d> Known<'d> {
    fn new(draft: &'d Draft, beside: &Beside<'d>) -> Self {
        let base = beside.base.map(|base| &base.set);
        let (chains, plugins, policies) = base
            .map_or((&[][..], &[][..], &[][..]), |set| (&*set.middlewares, &*set.plugins, &*set.policies));
        Self {
            chains: chains.iter().chain(&draft.middlewares).map(|of| (&of.id, of)).collect(),
            plugins: plugins.iter().chain(&draft.plugins).map(|of| (&of.id, &**of)).collect(),
            policies: policies.iter().chain(&draft.policies).map(|of| (&of.id, &of.settings)).collect(),
        }
    }

    /// Order of stages, and stages of which there is one.
    fn order(&self, stages: &[&StageSpec]) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let first = |up_to: usize, is: &dyn Fn(&StageSpec) -> bool| {
            stages[..up_to].iter().find(|stage| is(stage)).map(|stage| stage.type_name())
        };
        let is_auth = |stage: &StageSpec| matches!(stage, StageSpec::Auth(_));
        for (at, stage) in stages.iter().enumerate() {
            match stage {
                StageSpec::Cors(_) if first(at, &is_auth).is_some() => doubts.push(error(
                    at,
                    "stands after auth: preflights have no credentials, and all of them would be refused"
                        .to_owned(),
                )),
                StageSpec::Rewrite(_) => {
                    if let Some(judge) = first(at, &judges_the_path) {
                        doubts.push(error(
                            at,
                            format!("stands after {judge}, which judges the path: the endpoint would get another one"),
                        ));
                    }
                    if first(at, &|stage| matches!(stage, StageSpec::Rewrite(_))).is_some() {
                        doubts.push(error(at, "is the second rewrite: one changes the path".to_owned()));
                    }
                }
                StageSpec::RateLimit(limit) => {
                    let counts = |stage: &StageSpec| stage.policy() == Some(&limit.policy_ref);
                    if first(at, &counts).is_some() {
                        let policy = &limit.policy_ref;
                        doubts.push(error(at, format!("counts the policy {policy} a second time")));
                    }
                    let settings = self.policies.get(&limit.policy_ref).and_then(|of| of.rate_limit.as_ref());
                    for name in settings.into_iter().flat_map(header_keys) {
                        if let Some(later) = self.asserting(&stages[at + 1..], name) {
                            let stage = stages[at + 1 + later].type_name();
                            doubts.push(warning(
                                at,
                                format!("counts by {name}, which the stage {stage} behind it sets: it has to stand there"),
                            ));
                        }
                    }
                }
                StageSpec::HeaderTransform(transform) => {
                    let edits = &transform.request;
                    let set = edits.add.iter().chain(&edits.set).map(|(name, _)| name).chain(&edits.remove);
                    let asserted = self.asserted(stages);
                    for name in set.filter(|name| asserted.contains(&folded(name))) {
                        doubts.push(error(
                            at,
                            format!(
                                "changes {name}, which only authentication sets: its value would be no proof"
                            ),
                        ));
                    }
                    for name in fields_read(transform).filter(|name| asserted.contains(&folded(name))) {
                        doubts.push(error(
                            at,
                            format!(
                                "reads {name} of the client, which may be forged, for authentication sets this field: \
                                 take ${{user}} or ${{claim.NAME}}"
                            ),
                        ));
                    }
                }
                StageSpec::Compress(_) => {
                    if let Some(earlier) = stages[..at].iter().find_map(|stage| changes_encoded(stage)) {
                        doubts.push(error(at, format!("stands after {earlier} of compressed responses")));
                    }
                    if first(at, &|stage| matches!(stage, StageSpec::Compress(_))).is_some() {
                        doubts.push(error(at, "is the second compress: content is encoded once".to_owned()));
                    }
                }
                StageSpec::Maintenance(of) if of.bypass.is_empty() => {
                    let later = stages[at + 1..].iter().find(|stage| !wraps(stage));
                    if let Some(later) = later {
                        doubts.push(warning(
                            at,
                            format!(
                                "answers all requests: the stage {} after it never runs",
                                later.type_name()
                            ),
                        ));
                    }
                }
                _ => {}
            }
        }
        doubts
    }

    /// Stages without effect, whatever the others are.
    fn each(&self, stages: &[&StageSpec]) -> Vec<Doubt> {
        let limitless = |(at, stage): (usize, &&StageSpec)| {
            let policy = stage.policy()?;
            let settings = self.policies.get(policy)?;
            settings
                .rate_limit
                .is_none()
                .then(|| error(at, format!("names the policy {policy}, which has no rate_limit")))
        };
        stages.iter().enumerate().filter_map(limitless).collect()
    }

    /// Stages that do not fit the route.
    fn of_route(&self, route: &RouteSpec, stages: &[&StageSpec]) -> Vec<Doubt> {
        let own = route.policies.iter().filter_map(|policy| match policy {
            PolicyRef::Named(id) => self.policies.get(id).copied(),
            PolicyRef::Inline(settings) => Some(&**settings),
        });
        let policy = own.fold(PolicySettings::default(), |all, layer| all.or(layer));
        let mut doubts = self.forgeable_keys(route, &policy, stages);
        if let Some(cache) = &route.cache {
            doubts.extend(self.unkeyed(cache, stages));
        }
        for (at, stage) in stages.iter().enumerate() {
            match stage {
                StageSpec::Rewrite(_) => match &route.action {
                    RouteAction::Proxy { rewrite: Rewrite::Keep, .. } => {}
                    RouteAction::Proxy { .. } => doubts.push(error(
                        at,
                        "changes the path, and so does the route itself: one of both has to go".to_owned(),
                    )),
                    RouteAction::Redirect(_) | RouteAction::Respond(_) => doubts.push(error(
                        at,
                        "changes the path of forwarded requests, and the route forwards none".to_owned(),
                    )),
                },
                StageSpec::Auth(auth) => {
                    let needs = |method: &AuthMethod| matches!(method, AuthMethod::ClientCertificate {});
                    if route.client_auth.is_none() && auth.any_of.iter().any(needs) {
                        let message = "needs client certificates, and the handshake asks for none: tls.mtls, or \
                                       client_auth of the route, names their CAs";
                        doubts.push(error(at, message.to_owned()));
                    }
                }
                StageSpec::Cors(_) => {
                    let methods = &route.matcher.methods;
                    if !methods.is_empty() && !methods.iter().any(|method| &**method == "OPTIONS") {
                        let message = "answers preflights, and the route's methods leave out OPTIONS";
                        doubts.push(warning(at, message.to_owned()));
                    }
                }
                StageSpec::SecurityHeaders(of) if of.hsts.is_some() && policy.require_tls == Some(false) => {
                    let message =
                        "sends Strict-Transport-Security, and the route serves requests without TLS";
                    doubts.push(warning(at, message.to_owned()));
                }
                StageSpec::BodyLimit(limit) => {
                    if let Some(lower) = policy.body_size_limit.filter(|lower| *lower < limit.size) {
                        doubts.push(warning(
                            at,
                            format!("has no effect: the route's policy admits {lower} bytes only"),
                        ));
                    }
                }
                _ => {}
            }
        }
        doubts
    }

    /// Stages that set a field by which the route's own policy counts requests, which it does before all
    /// stages.
    fn forgeable_keys(
        &self,
        route: &RouteSpec,
        policy: &PolicySettings,
        stages: &[&StageSpec],
    ) -> Vec<Doubt> {
        let Some(limit) = &policy.rate_limit else { return Vec::new() };
        // One that a stage names is counted there.
        let is_counted_by_a_stage = route.policies.iter().any(|of| match of {
            PolicyRef::Named(id) => stages.iter().any(|stage| stage.policy() == Some(id)),
            PolicyRef::Inline(_) => false,
        });
        if is_counted_by_a_stage {
            return Vec::new();
        }
        let doubt = |name: &str| {
            let message = format!(
                "sets {name}, and the route's policy counts by it before all stages, as the client sends it: it may \
                 be forged; a stage rate_limit with policy_ref behind this one counts by the verified value"
            );
            Some(warning(self.asserting(stages, name)?, message))
        };
        header_keys(limit).filter_map(doubt).collect()
    }

    /// Index of the first stage that asserts a field.
    fn asserting(&self, stages: &[&StageSpec], name: &str) -> Option<usize> {
        let name = folded(name);
        stages.iter().position(|stage| self.asserted_by(stage).into_iter().any(|of| folded(of) == name))
    }

    /// Fields by which the endpoint may tell clients apart, and the cache does not.
    fn unkeyed(&self, cache: &CacheSpec, stages: &[&StageSpec]) -> Vec<Doubt> {
        let is_keyed = |name: &str| cache.vary_headers.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut doubts = Vec::new();
        for (at, stage) in stages.iter().enumerate() {
            for name in self.asserted_by(stage).into_iter().filter(|name| !is_keyed(name)) {
                doubts.push(error(
                    at,
                    format!(
                        "sets {name}, and the cache does not distinguish it: the response for one user would be \
                         served to another; vary_headers has to name it"
                    ),
                ));
            }
            let StageSpec::HeaderTransform(transform) = stage else { continue };
            for (name, value) in transform.request.add.iter().chain(&transform.request.set) {
                if !is_keyed(name) && value.parts().iter().any(|part| differs_by_client(part, &is_keyed)) {
                    doubts.push(warning(
                        at,
                        format!(
                            "sets {name} for each client, and the cache does not distinguish it: the response for \
                             one would be served to another; vary_headers can name it"
                        ),
                    ));
                }
            }
        }
        doubts
    }

    /// Fields that authentication sets, folded.
    fn asserted(&self, stages: &[&StageSpec]) -> Vec<String> {
        stages.iter().flat_map(|stage| self.asserted_by(stage)).map(folded).collect()
    }

    fn asserted_by<'s>(&'s self, stage: &'s StageSpec) -> Vec<&'s str> {
        match stage {
            StageSpec::Auth(auth) => auth.any_of.iter().flat_map(AuthMethod::asserts).collect(),
            StageSpec::Lua(of) => of.asserts.iter().map(|name| &**name).collect(),
            StageSpec::Plugin(of) => {
                let filter = self.plugins.get(&of.plugin).and_then(|plugin| plugin.external());
                filter.iter().flat_map(|filter| filter.asserted().map(|name| &**name)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Fields of a request by which a limit counts.
fn header_keys(limit: &RateLimit) -> impl Iterator<Item = &str> {
    limit.key.iter().filter_map(|key| match key {
        RateLimitKey::Header(name) => Some(&**name),
        _ => None,
    })
}

/// Whether a part of a field's value depends on the client by more than the cache distinguishes.
fn differs_by_client(part: &TemplatePart, is_keyed: &dyn Fn(&str) -> bool) -> bool {
    match part {
        TemplatePart::Variable(Variable::ClientIp | Variable::User | Variable::Claim(_)) => true,
        TemplatePart::Variable(Variable::Header(name)) => !is_keyed(name),
        _ => false,
    }
}

/// A change of responses that must not follow their compression: of two stages, the first in a chain is the
/// last that gets the response.
fn changes_encoded(stage: &StageSpec) -> Option<String> {
    const ENCODED: [&str; 5] = ["content-encoding", "content-type", "vary", "etag", "cache-control"];
    match stage {
        StageSpec::ErrorPages(_) => Some("error_pages, which replaces the content".to_owned()),
        StageSpec::HeaderTransform(of) => {
            let edits = &of.response;
            let mut names = edits.add.iter().chain(&edits.set).map(|(name, _)| name).chain(&edits.remove);
            let changed = names.find(|name| ENCODED.iter().any(|known| known.eq_ignore_ascii_case(name)));
            changed.map(|name| format!("header_transform, which changes {name}"))
        }
        _ => None,
    }
}

/// A name as the most careless app reads it.
fn folded(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// Names of the client's fields in values of a transform.
fn fields_read(transform: &HeaderTransform) -> impl Iterator<Item = &str> {
    let edits = [&transform.request, &transform.response].into_iter();
    let values = edits.flat_map(|edits| edits.add.iter().chain(&edits.set)).map(|(_, value)| value);
    values.flat_map(Template::parts).filter_map(|part| match part {
        TemplatePart::Variable(Variable::Header(name)) => Some(&**name),
        TemplatePart::Variable(_) | TemplatePart::Text(_) => None,
    })
}

/// Whether a stage asks a service that sees the path.
fn judges_the_path(stage: &StageSpec) -> bool {
    match stage {
        StageSpec::Auth(auth) => auth.any_of.iter().any(|method| method.filter().is_some()),
        StageSpec::Plugin(_) => true,
        _ => false,
    }
}

fn wraps(stage: &StageSpec) -> bool {
    matches!(stage, StageSpec::RequestId(_) | StageSpec::AccessLog(_) | StageSpec::Tracing(_))
}

#[cfg(test)]
#[path = "middleware_tests.rs"]
mod tests;
