//! Configuration of operators, as the API shows it.

use ringway_config::Finding;
use ringway_control::{
    Applied, Candidate, Current, Destination, Diff, Effects, ExplainedRoute, ExplainedStage, Explanation,
    FieldChange, Rerouted, RevertReason, Simulated, TrialState, TrialStatus, Validation, Version,
};
use ringway_model::Variant;
use serde::Serialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::auth_check::{AuthMethodView, FieldChangesView};
use super::cache::ExplainedCacheView;
use super::endpoints::OverriddenView;
use crate::request::configuration::REQUEST;

/// Mistake or warning about a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct ConfigFinding {
    #[schema(examples("error", "warning"))]
    pub(crate) severity: &'static str,
    /// Kind, for programs.
    #[schema(examples("unknown", "claims"))]
    pub(crate) code: String,
    /// JSON pointer into the document (RFC 6901).
    #[schema(examples("/routes/0/hosts"))]
    pub(crate) pointer: String,
    #[schema(examples("is not known here; did you mean host?"))]
    pub(crate) message: String,
    /// File or source; null where the position is not known.
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) column: Option<u32>,
}

impl From<&Finding> for ConfigFinding {
    fn from(finding: &Finding) -> Self {
        let place = finding.place.as_ref();
        Self {
            severity: finding.severity.as_str(),
            code: finding.code.to_owned(),
            pointer: finding.pointer.clone(),
            message: finding.message.clone(),
            file: place.map(|place| place.file.to_string()),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
        }
    }
}

/// Findings of a request. Those of a JSON body, which was read as an object, have no lines: its pointers are
/// exact, and its text was formatted by somebody else.
pub(crate) fn findings(findings: &[Finding], is_yaml: bool) -> Vec<ConfigFinding> {
    let view = |finding: &Finding| {
        let mut view = ConfigFinding::from(finding);
        if !is_yaml && view.file.as_deref() == Some(REQUEST) {
            (view.file, view.line, view.column) = (None, None, None);
        }
        view
    };
    findings.iter().map(view).collect()
}

/// Result of a validation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidationView {
    /// Whether it would be accepted.
    pub(crate) valid: bool,
    /// Version that the owner's configuration would have.
    pub(crate) version: Option<String>,
    pub(crate) findings: Vec<ConfigFinding>,
    pub(crate) effects: Option<EffectsView>,
}

impl ValidationView {
    pub(crate) fn new(validation: &Validation, is_yaml: bool) -> Self {
        Self {
            valid: validation.is_valid(),
            version: validation.version.as_ref().map(ToString::to_string),
            findings: findings(&validation.findings, is_yaml),
            effects: validation.effects.as_ref().map(EffectsView::from),
        }
    }
}

/// Effects on traffic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EffectsView {
    pub(crate) hosts_added: Vec<String>,
    pub(crate) hosts_removed: Vec<String>,
    /// Hosts whose routes, pools or policies change.
    pub(crate) hosts_changed: Vec<String>,
    pub(crate) endpoints_added: usize,
    pub(crate) endpoints_removed: usize,
    /// Recent requests, and those that would take another route; null without samples.
    pub(crate) sampled: Option<SampledView>,
}

/// Sample of recent requests, one in 16.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SampledView {
    pub(crate) requests: usize,
    pub(crate) rerouted: usize,
}

impl From<&Effects> for EffectsView {
    fn from(effects: &Effects) -> Self {
        let texts = |hosts: &[std::sync::Arc<str>]| hosts.iter().map(ToString::to_string).collect();
        Self {
            hosts_added: texts(&effects.hosts_added),
            hosts_removed: texts(&effects.hosts_removed),
            hosts_changed: texts(&effects.hosts_changed),
            endpoints_added: effects.endpoints_added,
            endpoints_removed: effects.endpoints_removed,
            sampled: effects
                .sampled
                .as_ref()
                .map(|sampled| SampledView { requests: sampled.requests, rerouted: sampled.rerouted }),
        }
    }
}

/// Differences between two configurations of one owner.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DiffView {
    /// Plan to apply; null for a comparison of versions.
    pub(crate) plan: Option<String>,
    pub(crate) owner: String,
    pub(crate) from: Option<String>,
    pub(crate) to: String,
    pub(crate) changes: Vec<ChangeView>,
    pub(crate) effects: EffectsView,
    pub(crate) findings: Vec<ConfigFinding>,
    /// Endpoints of this owner whose configured weight is not in force; the first 100.
    pub(crate) overridden: Vec<OverriddenView>,
}

impl DiffView {
    pub(crate) fn new(diff: &Diff, is_yaml: bool, overridden: Vec<OverriddenView>) -> Self {
        Self {
            plan: diff.plan.as_ref().map(ToString::to_string),
            owner: diff.owner.to_string(),
            from: diff.from.as_ref().map(ToString::to_string),
            to: diff.to.to_string(),
            changes: diff.changes.iter().map(ChangeView::from).collect(),
            effects: EffectsView::from(&diff.effects),
            findings: findings(&diff.findings, is_yaml),
            overridden,
        }
    }
}

/// One difference.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangeView {
    #[schema(examples("add", "remove", "change"))]
    pub(crate) op: &'static str,
    #[schema(examples("route", "pool", "endpoint", "policy"))]
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// Field of the resource; empty for the resource itself.
    pub(crate) path: String,
    pub(crate) from: Option<String>,
    pub(crate) to: Option<String>,
    pub(crate) owner: String,
}

impl From<&FieldChange> for ChangeView {
    fn from(change: &FieldChange) -> Self {
        Self {
            op: change.op.as_str(),
            kind: change.kind,
            id: change.id.to_string(),
            path: change.path.to_string(),
            from: change.from.as_ref().map(ToString::to_string),
            to: change.to.as_ref().map(ToString::to_string),
            owner: change.owner.to_string(),
        }
    }
}

/// Confirmation of a change of the configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppliedView {
    pub(crate) owner: String,
    pub(crate) version: String,
    pub(crate) previous: Option<String>,
    /// Revision of all configuration; null when nothing was changed.
    pub(crate) revision: Option<u64>,
    pub(crate) changes: ChangesView,
    pub(crate) effects: EffectsView,
    pub(crate) findings: Vec<ConfigFinding>,
    /// Endpoints of this owner whose configured weight is not in force; the first 100.
    pub(crate) overridden: Vec<OverriddenView>,
    /// Static settings that need a restart.
    pub(crate) restart_needed: Vec<String>,
    /// Cores that do not serve it yet.
    pub(crate) pending: Vec<u16>,
    /// Trial on one core, which the change begins with.
    pub(crate) rollout: Option<RolloutView>,
    /// Whether this configuration was in force already.
    pub(crate) is_unchanged: bool,
}

/// Differences of a change.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChangesView {
    /// Number of all.
    pub(crate) count: usize,
    /// The first ones.
    pub(crate) items: Vec<ChangeView>,
}

impl AppliedView {
    pub(crate) fn new(
        applied: &Applied,
        is_yaml: bool,
        rollout: Option<RolloutView>,
        overridden: Vec<OverriddenView>,
    ) -> Self {
        let receipt = applied.receipt.as_ref();
        Self {
            owner: applied.owner.to_string(),
            version: applied.version.to_string(),
            previous: applied.previous.as_ref().map(ToString::to_string),
            revision: receipt.map(|receipt| receipt.revision.0),
            changes: ChangesView {
                count: applied.changes.0,
                items: applied.changes.1.iter().map(ChangeView::from).collect(),
            },
            effects: EffectsView::from(&applied.effects),
            findings: findings(&applied.findings, is_yaml),
            overridden,
            restart_needed: applied.restart_needed.iter().map(ToString::to_string).collect(),
            pending: receipt.iter().flat_map(|receipt| &receipt.pending).map(|core| core.0).collect(),
            rollout,
            is_unchanged: receipt.is_none(),
        }
    }
}

/// Trial of a configuration on one core.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct RolloutView {
    #[schema(examples("none", "running", "promoting", "promoted", "reverted"))]
    pub(crate) state: &'static str,
    pub(crate) owner: Option<String>,
    pub(crate) version: Option<String>,
    #[schema(format = "date-time")]
    pub(crate) started_at: Option<String>,
    /// Time of its promotion.
    #[schema(format = "date-time")]
    pub(crate) ends_at: Option<String>,
    /// The core on which it runs.
    pub(crate) core: Option<u16>,
    /// Reason of the reversal.
    pub(crate) reason: Option<String>,
    /// The reason for programs.
    #[schema(examples("worse", "aborted"))]
    pub(crate) reason_code: Option<&'static str>,
    /// Whether its core had enough requests to compare; null before its end.
    pub(crate) is_judged: Option<bool>,
    /// Requests of its core, and those that failed.
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

impl RolloutView {
    pub(crate) fn new(trial: Option<&TrialStatus>) -> Self {
        let Some(trial) = trial else { return Self { state: "none", ..Self::default() } };
        let bake = u64::try_from(trial.bake.as_millis()).unwrap_or(u64::MAX);
        let ends_at = ringway_model::Timestamp(trial.started_at.0.saturating_add(bake));
        let reason = match &trial.state {
            TrialState::Reverted(reason) => Some(reason),
            _ => None,
        };
        Self {
            state: trial.state.as_str(),
            owner: Some(trial.owner.to_string()),
            version: Some(trial.version.to_string()),
            started_at: Some(trial.started_at.to_rfc3339_millis()),
            ends_at: Some(ends_at.to_rfc3339_millis()),
            core: Some(trial.core.0),
            reason: reason.map(ToString::to_string),
            reason_code: reason.map(RevertReason::code),
            is_judged: match trial.state {
                TrialState::Promoted { is_judged } => Some(is_judged),
                _ => None,
            },
            requests: trial.on_trial.requests,
            errors: trial.on_trial.errors,
        }
    }
}

/// Kept version of an owner's configuration.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionView {
    pub(crate) owner: String,
    pub(crate) version: String,
    /// Number of the revision of this owner's configuration, from 1.
    pub(crate) sequence: u64,
    #[schema(format = "date-time")]
    pub(crate) at: String,
    pub(crate) by: String,
    pub(crate) reason: String,
    /// Whether it has served long enough to be trusted at a start.
    pub(crate) is_proven: bool,
    pub(crate) is_current: bool,
}

impl From<&Version> for VersionView {
    fn from(version: &Version) -> Self {
        Self {
            owner: version.owner.to_string(),
            version: version.version.to_string(),
            sequence: version.sequence,
            at: version.at.to_rfc3339_millis(),
            by: version.by.to_string(),
            reason: version.reason.to_string(),
            is_proven: version.is_proven,
            is_current: version.is_current,
        }
    }
}

/// A version with its document.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CurrentView {
    #[serde(flatten)]
    pub(crate) version: VersionView,
    /// The document; secrets in it are not shown.
    #[schema(value_type = Object)]
    pub(crate) config: Json,
}

impl From<&Current> for CurrentView {
    fn from(current: &Current) -> Self {
        Self {
            version: VersionView::from(&current.version),
            config: serde_json::from_str(&current.document).unwrap_or(Json::Null),
        }
    }
}

/// Present configurations of all owners.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CurrentSetsView {
    pub(crate) sets: Vec<CurrentView>,
}

/// Kept versions of an owner, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryView {
    pub(crate) versions: Vec<VersionView>,
}

/// Route of a request, and why the others do not apply.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplanationView {
    /// Host, normalised.
    pub(crate) host: String,
    /// Host pattern that decides; null for an unknown host.
    pub(crate) pattern: Option<String>,
    #[schema(examples("exact", "one_label", "suffix", "regex", "default"))]
    pub(crate) tier: Option<&'static str>,
    /// Owner of the host.
    pub(crate) owner: Option<String>,
    /// Path that is compared.
    pub(crate) path: String,
    pub(crate) route: Option<ExplainedRouteView>,
    /// Status of a response without an endpoint.
    pub(crate) status: Option<u16>,
    /// Reason of that response.
    pub(crate) reason: String,
    /// Routes of the host in the order in which they are tried.
    pub(crate) candidates: Vec<CandidateView>,
    pub(crate) candidates_total: usize,
    /// Fields of the client that are removed before all stages, because only stages may set them.
    pub(crate) stripped: Vec<String>,
    /// Stages that the request meets, in their order.
    pub(crate) stages: Vec<ExplainedStageView>,
    /// Path and query that the endpoint gets; null where they are the request's.
    pub(crate) rewritten: Option<String>,
    /// Part of the cache; null for a route without one.
    pub(crate) cache: Option<ExplainedCacheView>,
}

/// A stage, and its verdict about the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainedStageView {
    /// Type in documents; `custom` for a stage of the program.
    #[schema(examples("auth", "cors"))]
    pub(crate) stage: &'static str,
    /// `undecided`: judged by what is not asked here; later stages are explained as if it passed.
    #[schema(examples("passes", "replies", "limits", "undecided", "not_reached"))]
    pub(crate) verdict: &'static str,
    /// The verdict in words; empty where the name says all.
    pub(crate) detail: String,
    /// Methods of authentication, in order.
    pub(crate) methods: Vec<AuthMethodView>,
    /// Changes of the request's fields.
    pub(crate) request: FieldChangesView,
    /// Changes of the response's fields.
    pub(crate) response: FieldChangesView,
}

impl From<&ExplainedStage> for ExplainedStageView {
    fn from(stage: &ExplainedStage) -> Self {
        Self {
            stage: stage.stage,
            verdict: stage.verdict,
            detail: stage.detail.to_string(),
            methods: stage.methods.iter().map(AuthMethodView::from).collect(),
            request: FieldChangesView::from(&stage.request),
            response: FieldChangesView::from(&stage.response),
        }
    }
}

/// The route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainedRouteView {
    /// Id, or the registered domain.
    pub(crate) id: String,
    pub(crate) owner: String,
    /// Pool; where chance decides about a canary, the stable one.
    pub(crate) pool: Option<String>,
    /// Variant; null without canary and cohorts, and where chance or the client's address decides.
    #[schema(examples("stable", "canary", "cohort"))]
    pub(crate) variant: Option<&'static str>,
    /// Reason for the variant.
    pub(crate) variant_reason: Option<String>,
    #[schema(examples("proxy", "redirect", "respond"))]
    pub(crate) action: &'static str,
    pub(crate) tenant: Option<String>,
    /// Timeout to the response head of a backend; null for a redirect or a fixed response.
    pub(crate) timeout: Option<String>,
    pub(crate) requires_tls: bool,
    /// Maximum bytes of a request body; null without a limit.
    pub(crate) body_bytes_max: Option<u64>,
    /// Whether the access log gets a line.
    pub(crate) is_logged: bool,
    /// File, line and column.
    pub(crate) place: Option<String>,
}

/// A route of the host.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CandidateView {
    pub(crate) id: String,
    pub(crate) owner: String,
    pub(crate) is_match: bool,
    /// First condition that is not met.
    pub(crate) why: Option<String>,
}

impl From<&Explanation> for ExplanationView {
    fn from(found: &Explanation) -> Self {
        Self {
            host: found.host.to_string(),
            pattern: found.pattern.as_ref().map(ToString::to_string),
            tier: found.tier,
            owner: found.owner.as_ref().map(ToString::to_string),
            path: found.path.to_string(),
            route: found.route.as_ref().map(ExplainedRouteView::from),
            status: found.status,
            reason: found.reason.to_string(),
            candidates: found.candidates.iter().map(CandidateView::from).collect(),
            candidates_total: found.candidates_total,
            stripped: found.stages.stripped.clone(),
            stages: found.stages.stages.iter().map(ExplainedStageView::from).collect(),
            rewritten: found.rewritten.as_ref().map(ToString::to_string),
            cache: found.cache.as_ref().map(ExplainedCacheView::from),
        }
    }
}

impl From<&ExplainedRoute> for ExplainedRouteView {
    fn from(route: &ExplainedRoute) -> Self {
        Self {
            id: route.id.to_string(),
            owner: route.owner.to_string(),
            pool: route.pool.as_ref().map(ToString::to_string),
            variant: route.variant.map(Variant::as_str),
            variant_reason: route.variant_reason.as_ref().map(ToString::to_string),
            action: route.action,
            tenant: route.tenant.as_ref().map(ToString::to_string),
            timeout: route.timeout.map(ringway_config::values::duration_text),
            requires_tls: route.requires_tls,
            body_bytes_max: route.body_bytes_max,
            is_logged: route.is_logged,
            place: route.place.as_ref().map(ToString::to_string),
        }
    }
}

impl From<&Candidate> for CandidateView {
    fn from(candidate: &Candidate) -> Self {
        Self {
            id: candidate.id.to_string(),
            owner: candidate.owner.to_string(),
            is_match: candidate.mismatch.is_none(),
            why: candidate.mismatch.as_ref().map(ToString::to_string),
        }
    }
}

/// Recent requests by the present configuration and by a proposed one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReroutingView {
    pub(crate) requests: usize,
    pub(crate) rerouted: usize,
    pub(crate) examples: Vec<ReroutedView>,
}

/// Requests that would take another route.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReroutedView {
    pub(crate) method: String,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) count: usize,
    /// Route now, or the status of the response.
    pub(crate) from: String,
    pub(crate) to: String,
}

impl From<&Simulated> for ReroutingView {
    fn from(simulated: &Simulated) -> Self {
        let place = |place: &Option<Destination>| {
            place.as_ref().map_or_else(|| "no route".to_owned(), ToString::to_string)
        };
        let view = |one: &Rerouted| ReroutedView {
            method: one.method.to_string(),
            host: one.host.to_string(),
            path: one.path.to_string(),
            count: one.count,
            from: place(&one.before),
            to: place(&one.after),
        };
        Self {
            requests: simulated.requests,
            rerouted: simulated.rerouted,
            examples: simulated.examples.iter().map(view).collect(),
        }
    }
}
