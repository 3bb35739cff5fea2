//! Explanation of a rule's stages for one request, in words: decided by the stages themselves.

use std::net::IpAddr;
use std::sync::Arc;

use ringway_middleware::{
    FieldChanges, LocalReply, MethodExplanation, ReplyBody, RequestParts, StageExplanation, StageVerdict,
    explain,
};
use ringway_model::{RewriteStage, StageSpec};
use ringway_traffic::rate_limit::RateLimiter;
use ringway_traffic::snapshot::Snapshot;
use ringway_traffic::virtual_host::{Action, Rule};

use super::stage_services::{Passwords, QuestionServices};

/// A stage that a request meets.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedStage {
    /// Its type in documents; `custom` for a stage of an embedder.
    pub stage: &'static str,
    /// The verdict: `passes`, `replies`, `limits`, `undecided` or `not_reached`.
    pub verdict: &'static str,
    /// The verdict in words; empty where the name says all.
    pub detail: Arc<str>,
    /// Methods of authentication, in order.
    pub methods: Vec<MethodExplanation>,
    /// Changes of the request's fields.
    pub request: FieldChanges,
    /// Changes of the response's fields.
    pub response: FieldChanges,
    /// The stage as configured; `None` for one of an embedder.
    spec: Option<StageSpec>,
}

impl ExplainedStage {
    /// A stage that changes nothing.
    fn new(stage: &'static str, verdict: &'static str, detail: String) -> Self {
        Self {
            stage,
            verdict,
            detail: detail.into(),
            methods: Vec::new(),
            request: FieldChanges::default(),
            response: FieldChanges::default(),
            spec: None,
        }
    }
}

/// Stages of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExplainedStages {
    /// The stages, in the order of requests.
    pub stages: Vec<ExplainedStage>,
    /// Fields of the client that are removed, because only stages may set them.
    pub stripped: Vec<String>,
    /// Status and message of the stage that replies.
    pub(super) reply: Option<(u16, Arc<str>)>,
}

/// Explains the stages of a rule.
pub(super) fn explain_stages(
    rule: &Rule,
    request: RequestParts<'_>,
    client: Option<IpAddr>,
    snapshot: &Snapshot,
) -> ExplainedStages {
    let mut explained = ExplainedStages::default();
    let traffic = rule.traffic.as_deref();
    if let Some(limiter) = traffic.and_then(|traffic| traffic.rate_limit.as_deref()) {
        let detail = format!("{}, before all stages", limit(limiter));
        explained.stages.push(ExplainedStage::new("rate_limit", "limits", detail));
    }
    let Some(chain) = &rule.stages else { return explained };
    let services = QuestionServices::new(snapshot, Passwords::Undecided);
    let found = explain(chain, request, client, &services);
    let limits = traffic.map_or(&[][..], |traffic| &traffic.stage_limits);
    explained.stages.extend(found.stages.into_iter().map(|stage| {
        let detail = detail(&stage, found.reply.as_ref(), limits);
        ExplainedStage {
            stage: stage.spec.as_ref().map_or("custom", StageSpec::type_name),
            verdict: verdict(stage.verdict),
            detail: detail.into(),
            methods: stage.methods,
            request: stage.request,
            response: stage.response,
            spec: stage.spec,
        }
    }));
    explained.stripped = found.stripped;
    explained.reply = found.reply.as_ref().map(|reply| (reply.status(), message(reply).into()));
    explained
}

impl ExplainedStages {
    /// Adds the configured stages that are settings of the route, at their places: other phases apply them.
    /// All requests are logged that the setting asks for, also those that a stage replies to.
    pub(super) fn add_settings(&mut self, configured: &[StageSpec]) {
        let mut place =
            self.stages.iter().position(|stage| stage.spec.is_some()).unwrap_or(self.stages.len());
        for spec in configured {
            match self.stages[place..].iter().position(|stage| stage.spec.as_ref() == Some(spec)) {
                Some(ahead) => place += ahead + 1,
                None => {
                    if let Some(detail) = setting(spec) {
                        let is_applied = self.reply.is_none() || matches!(spec, StageSpec::AccessLog(_));
                        let verdict = if is_applied { "passes" } else { "not_reached" };
                        let stage = ExplainedStage::new(spec.type_name(), verdict, detail);
                        self.stages.insert(place, stage);
                        place += 1;
                    }
                }
            }
        }
    }
}

/// The effect of a stage that is a setting of its route, in words.
fn setting(spec: &StageSpec) -> Option<String> {
    match spec {
        StageSpec::AccessLog(log) if log.enabled => Some("requests are logged".to_owned()),
        StageSpec::AccessLog(_) => Some("requests are not logged".to_owned()),
        StageSpec::BodyLimit(limit) => Some(format!("request bodies up to {} bytes", limit.size)),
        StageSpec::Rewrite(RewriteStage::StripPrefix(prefix)) => {
            Some(format!("removes {prefix} from the path"))
        }
        StageSpec::Rewrite(RewriteStage::AddPrefix(prefix)) => Some(format!("adds {prefix} to the path")),
        StageSpec::Rewrite(RewriteStage::ReplacePath(path)) => Some(format!("replaces the path by {path}")),
        _ => None,
    }
}

fn verdict(verdict: StageVerdict) -> &'static str {
    match verdict {
        StageVerdict::Passes => "passes",
        StageVerdict::Replies => "replies",
        StageVerdict::Limits(_) => "limits",
        StageVerdict::Undecided(_) => "undecided",
        StageVerdict::NotReached => "not_reached",
    }
}

fn detail(
    stage: &StageExplanation,
    reply: Option<&LocalReply>,
    limits: &[Option<Arc<RateLimiter>>],
) -> String {
    match stage.verdict {
        StageVerdict::Passes | StageVerdict::NotReached => String::new(),
        StageVerdict::Replies => reply.map_or_else(String::new, |reply| {
            let message = message(reply);
            let separator = if message.is_empty() { "" } else { " " };
            format!("{}{separator}{message}", reply.status())
        }),
        StageVerdict::Limits(number) => match limits.get(number) {
            Some(Some(limiter)) => limit(limiter),
            _ => "its policy has no rate limit".to_owned(),
        },
        StageVerdict::Undecided(by) => match &stage.spec {
            Some(StageSpec::Plugin(of)) => format!("decided by plugin {}: {by}", of.plugin),
            _ => format!("decided by {by}"),
        },
    }
}

/// A rate limit in words.
fn limit(limiter: &RateLimiter) -> String {
    let dry_run = if limiter.is_dry_run() { ", in a dry run" } else { "" };
    format!("policy {}: {}{dry_run}", limiter.policy(), limiter.words())
}

/// A reply in words.
fn message(reply: &LocalReply) -> String {
    match (reply.body(), reply.field("location")) {
        (_, Some(location)) => format!("to {}", String::from_utf8_lossy(location)),
        (ReplyBody::Error { code, message }, None) => format!("{code}: {message}"),
        (ReplyBody::Bytes(bytes), None) if bytes.is_empty() => String::new(),
        (ReplyBody::Bytes(_), None) => "with its own page".to_owned(),
    }
}

/// Path that the endpoint gets, where it is another one.
pub(super) fn rewritten(rule: &Rule, target: &str) -> Option<Arc<str>> {
    let Action::Proxy { rewrite: Some(rewrite), .. } = &rule.action else { return None };
    let mut path = String::new();
    rewrite.apply(&mut path, target);
    Some(path.into())
}
