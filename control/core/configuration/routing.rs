//! Routing of single requests by a snapshot, for people: the route that a request meets, and why the others
//! do not apply. Decided by the code that routes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ringway_config::{Finding, Place};
use ringway_middleware::RequestParts;
use ringway_model::{HostPattern, Kind, Owner, RequestKey, StageSpec, Variant};
use ringway_traffic::plan::{PlanRequest, Reason, TrafficPlan};
use ringway_traffic::samples::SampledHeads;
use ringway_traffic::simulate::{Simulated, simulate};
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::{Action, Rule, Rules};
use ringway_wire::h1::{Limits, Parse, RequestHead};
use ringway_wire::message::Method;

use super::explained_cache::{CacheQuestion, Stored, explain_cache};
use super::explained_stages::{explain_stages, rewritten};
use super::judge;
use super::requests::{Candidate, ExplainRequest, ExplainedRoute, Explanation};
use crate::limits::CANDIDATES_MAX;

/// Explains the route of a request. `stored`: what is stored for it; `place`: of a resource of an owner in
/// its documents; `configured`: the stages of a route as they are configured.
///
/// # Errors
/// The description is no valid request.
pub(super) fn explain(
    request: &ExplainRequest,
    snapshot: &Snapshot,
    stored: Stored<'_>,
    place: impl Fn(&Owner, Kind, &str) -> Option<Place>,
    configured: impl Fn(&str) -> Vec<StageSpec>,
) -> Result<Explanation, Finding> {
    let buf = head_of(request)?;
    let mut head = RequestHead::default();
    let invalid = |why: String| judge::error("invalid", format!("the request is invalid: {why}"), None);
    match head.parse(&buf, &Limits::default()) {
        Ok(Parse::Complete) => {}
        Ok(Parse::Partial) => return Err(invalid("it is incomplete".to_owned())),
        Err(error) => return Err(invalid(error.to_string())),
    }
    let mut explanation = Explanation { host: head.host().into(), ..Explanation::default() };
    let Some(host) = snapshot.virtual_host(head.host()) else {
        explanation.status = Some(404);
        explanation.reason = "no owner has this host".into();
        return Ok(explanation);
    };
    explanation.pattern = Some(host.host.to_string().into());
    explanation.tier = Some(tier(&host.host));
    explanation.owner = Some(host.owner.clone());
    let candidate = |rule: &Rule, why: Option<String>| Candidate {
        id: rule.name.clone(),
        owner: rule.owner.clone(),
        mismatch: why.map(Arc::from),
    };
    let found = match &host.rules {
        Rules::One(rule) => {
            explanation.candidates = vec![candidate(rule, None)];
            Some(Arc::clone(rule))
        }
        Rules::Table(table) => {
            if let Err(error) = head.normalize_path(&buf, table.slashes()) {
                explanation.status = Some(400);
                explanation.reason = error.to_string().into();
                return Ok(explanation);
            }
            let tested = table.explain(&head, &buf);
            explanation.candidates_total = tested.len();
            let listed = tested.iter().take(CANDIDATES_MAX);
            explanation.candidates = listed
                .map(|tested| candidate(tested.rule, tested.mismatch.map(|why| why.describe(&head, &buf))))
                .collect();
            table.find(&head, &buf).cloned()
        }
    };
    explanation.candidates_total = explanation.candidates_total.max(explanation.candidates.len());
    explanation.path = head.path(&buf).into();
    let target = match head.query(&buf) {
        Some(query) => format!("{}?{query}", head.path(&buf)),
        None => head.path(&buf).to_owned(),
    };
    match found {
        None => {
            explanation.status = Some(404);
            explanation.reason = "no route of this host applies to the request".into();
        }
        Some(rule) => {
            explanation.status = match &rule.action {
                Action::Proxy { .. } | Action::Script(_) => None,
                Action::Redirect(redirect) => Some(redirect.status),
                Action::Respond(response) => Some(response.status),
            };
            if rule.policy.requires_tls && request.url.starts_with("http://") {
                let (status, reason) = without_tls(head.method());
                (explanation.status, explanation.reason) = (Some(status), reason.into());
            }
            // A request that TLS is required for meets no stage.
            if explanation.reason.is_empty() {
                let request_parts = RequestParts {
                    head: &head,
                    buf: &buf,
                    client: NO_ADDRESS,
                    is_secure: !request.url.starts_with("http://"),
                    request_id: "REQUEST-ID",
                    route: &rule.name,
                    app: rule.app.as_ref().map_or("", |app| app.as_str()),
                    tenant: host.tenant_of(&rule).map(|tenant| tenant.id.as_str()),
                    certificate: None,
                };
                let mut stages = explain_stages(&rule, request_parts, request.client, snapshot);
                stages.add_settings(&configured(&rule.name));
                match &stages.reply {
                    Some((status, message)) => {
                        (explanation.status, explanation.reason) = (Some(*status), message.clone());
                    }
                    None => explanation.rewritten = rewritten(&rule, &target),
                }
                explanation.stages = stages;
            }
            let plan = rule.traffic.as_ref().and_then(|traffic| traffic.plan.as_deref());
            let chosen = plan.filter(|plan| plan.splits()).map(|plan| variant(plan, snapshot, (&head, &buf)));
            let (chosen_pool, variant, variant_reason) = chosen.unwrap_or_default();
            if let Some(cache) = &rule.cache {
                let pool = chosen_pool.clone().or_else(|| {
                    (!cache.has_pools).then(|| rule.app.as_ref().map(|app| app.as_str().into())).flatten()
                });
                let request = CacheQuestion {
                    head: (&head, buf.as_slice()),
                    is_https: has_scheme(&request.url).unwrap_or(true),
                    has_scheme: has_scheme(&request.url).is_some(),
                    target: explanation.rewritten.as_deref().unwrap_or(&target),
                    pool,
                    stages: &explanation.stages,
                    is_answered: explanation.status.is_some(),
                };
                explanation.cache = Some(explain_cache(cache, &request, stored));
            }
            explanation.route = Some(ExplainedRoute {
                id: rule.name.clone(),
                owner: rule.owner.clone(),
                pool: chosen_pool.or_else(|| rule.app.as_ref().map(|app| app.as_str().into())),
                variant,
                variant_reason,
                action: match &rule.action {
                    Action::Proxy { .. } => "proxy",
                    Action::Redirect(_) => "redirect",
                    Action::Respond(_) => "respond",
                    Action::Script(_) => "script",
                },
                tenant: host.tenant_of(&rule).map(|tenant| tenant.id.as_str().into()),
                timeout: matches!(rule.action, Action::Proxy { .. }).then(|| rule.policy.head_timeout()),
                requires_tls: rule.policy.requires_tls,
                body_bytes_max: rule.policy.body_bytes_max,
                is_logged: rule.is_logged,
                place: place(&rule.owner, Kind::Route, &rule.name),
            });
        }
    }
    Ok(explanation)
}

/// Whether a URL is one of https; `None` without a scheme.
fn has_scheme(url: &str) -> Option<bool> {
    match url {
        url if url.starts_with("https://") => Some(true),
        url if url.starts_with("http://") => Some(false),
        _ => None,
    }
}

/// Address of a client that is not described.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Pool, variant and reason of a request that came from no trusted proxy. The pool and the variant are `None`
/// where the head alone does not decide.
fn variant(
    plan: &TrafficPlan,
    snapshot: &Snapshot,
    (head, buf): (&RequestHead, &[u8]),
) -> (Option<Arc<str>>, Option<Variant>, Option<Arc<str>>) {
    let request = PlanRequest { head, buf, client: NO_ADDRESS, is_trusted: false, draw: u64::MAX };
    let choice = plan.choose(&request, |_| true);
    let by_proxy = plan.choose(&PlanRequest { is_trusted: true, ..request }, |_| true);
    let note = match by_proxy.reason {
        Reason::CohortHeader | Reason::CohortCookie if choice.reason != by_proxy.reason => {
            "; its cohort counts only in requests of trusted proxies"
        }
        _ => "",
    };
    let weight = plan.weight();
    let by_client =
        plan.canary.as_ref().is_some_and(|canary| matches!(canary.settings.hash, Some(RequestKey::Client)));
    let undecided = match choice.reason {
        Reason::Draw(_) => format!("{weight} % of such requests, drawn by weight, go to the canary{note}"),
        Reason::Hash(_) if by_client => {
            format!("the client's address decides; {weight} % of all clients go to the canary{note}")
        }
        reason => {
            let pool = snapshot.pool(choice.pool).map(|pool| pool.app.as_str().into());
            return (pool, Some(choice.variant), Some(format!("{reason}{note}").into()));
        }
    };
    (None, None, Some(undecided.into()))
}

/// Head of the described request as HTTP/1.1.
fn head_of(request: &ExplainRequest) -> Result<Vec<u8>, Finding> {
    let ExplainRequest { url, method, headers, .. } = request;
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or(url);
    let (authority, target) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let slash = if target.starts_with('/') { "" } else { "/" };
    let target = target.split_once('#').map_or(target, |(target, _)| target);
    let mut head = format!("{method} {slash}{target} HTTP/1.1\r\nHost: {authority}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // A line break in a value would begin another field.
    let breaks = head.matches('\n').count();
    if breaks != 2 + headers.len() {
        return Err(judge::error("invalid", "the request has a line break in a value".to_owned(), None));
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

/// Reply to a request over plain http whose route requires TLS, as the data plane gives it.
fn without_tls(method: Method) -> (u16, &'static str) {
    match method {
        Method::Get | Method::Head => {
            (308, "the route requires TLS: redirected to https (421 while its host is not served over https)")
        }
        _ => (421, "the route requires TLS, and only GET and HEAD are redirected to https"),
    }
}

fn tier(host: &HostPattern) -> &'static str {
    match host {
        HostPattern::Exact(_) => "exact",
        HostPattern::OneLabel(_) => "one_label",
        HostPattern::Suffix(_) => "suffix",
        HostPattern::Regex(_) => "regex",
        HostPattern::Any => "default",
    }
}

/// Requests that a proposed configuration would route to another place, among the last ones; the most
/// frequent examples first.
pub(super) fn rerouted(samples: &[Arc<SampledHeads>], old: &Snapshot, new: &Snapshot) -> Simulated {
    let mut simulated = simulate(samples.iter().map(|heads| &**heads), old, new);
    simulated.examples.sort_by(|a, b| (b.count, &a.host, &a.path).cmp(&(a.count, &b.host, &b.path)));
    simulated
}
