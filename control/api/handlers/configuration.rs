//! Configuration of operators: validation, changes, history, rollout.

use std::sync::Arc;

use ringway_config::{Input, Reader};
use ringway_control::{Applied, ApplyRequest, ReloadRequest, RollbackRequest};
use ringway_model::Owner;

use super::take;
use crate::access::Identity;
use crate::audit::{ConfigurationTrail, Trail};
use crate::config_operation::ConfigOperation;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::configuration as shape;
use crate::response::{ApiResult, Response};
use crate::views::{
    AppliedView, CurrentSetsView, CurrentView, DiffView, ExplanationView, HistoryView, ReroutingView,
    RolloutView, ValidationView, VersionView, overridden,
};

/// Parts of a request about the configuration.
pub(crate) struct ConfigCall<'a> {
    pub(crate) operation: ConfigOperation,
    pub(crate) input: &'a Input<'a>,
    pub(crate) caller: &'a Identity,
    /// Required version of the owner's set.
    pub(crate) expect: Option<Arc<str>>,
    /// Whether the body is a text in YAML, whose lines the client knows.
    pub(crate) is_yaml: bool,
}

/// Executes an operation on the configuration.
pub(crate) async fn configure<P: Plane>(plane: &P, call: ConfigCall<'_>, trail: &mut Trail) -> ApiResult {
    let ConfigCall { operation, input, caller, expect, is_yaml } = call;
    let refused = |error| Problem::of_configuration(error, is_yaml);
    let by = || Arc::from(caller.to_string());
    match operation {
        ConfigOperation::Validate => {
            let validation = plane.validate(take(input, shape::proposal)?).await.map_err(refused)?;
            Ok(Response::json(200, &ValidationView::new(&validation, is_yaml)))
        }
        ConfigOperation::Diff => {
            let diff = plane.diff(take(input, shape::diff)?).await.map_err(refused)?;
            let overridden = overridden(&plane.desired(), Some(&diff.owner));
            Ok(Response::json(200, &DiffView::new(&diff, is_yaml, overridden)))
        }
        ConfigOperation::Simulate => {
            let rerouting = plane.simulate(take(input, shape::proposal)?).await.map_err(refused)?;
            Ok(Response::json(200, &ReroutingView::from(&rerouting)))
        }
        ConfigOperation::Explain => {
            let explanation = plane.explain(take(input, shape::explain)?).await.map_err(refused)?;
            Ok(Response::json(200, &ExplanationView::from(&explanation)))
        }
        ConfigOperation::Apply => {
            let shape::Application { owner, content, reason, force_size, bake } = take(input, shape::apply)?;
            begin(trail, &owner, &reason);
            let request = ApplyRequest { content, expect, reason, by: by(), force_size, bake };
            let applied = plane.apply(request).await.map_err(refused)?;
            Ok(confirm(plane, &applied, is_yaml, trail))
        }
        ConfigOperation::Rollback => {
            let shape::Rollback { owner, version, reason } = take(input, shape::rollback)?;
            begin(trail, &owner, &reason);
            let request = RollbackRequest { owner, version, expect, reason, by: by() };
            let applied = plane.rollback(request).await.map_err(refused)?;
            Ok(confirm(plane, &applied, is_yaml, trail))
        }
        ConfigOperation::Reload => {
            let (reason, force_size) = take(input, shape::reload)?;
            begin(trail, &Owner::File, &reason);
            let request = ReloadRequest { by: by(), reason, force_size };
            let applied = plane.reload(request).await.map_err(refused)?;
            // The lines are those of the files.
            Ok(confirm(plane, &applied, true, trail))
        }
        ConfigOperation::Promote | ConfigOperation::Abort => {
            take(input, |_| Some(()))?;
            let trial = plane.trial();
            if let Some(trial) = &trial {
                begin(trail, &trial.owner, "");
            }
            let result = match operation == ConfigOperation::Promote {
                true => plane.promote_trial(),
                false => plane.abort_trial(),
            };
            result.map_err(|error| Problem::new(Kind::NoTrial, error.to_string()))?;
            trail.outcome = Some("done");
            Ok(Response::json(200, &RolloutView::new(plane.trial().as_ref())))
        }
        ConfigOperation::Current => {
            let owner = take(input, shape::maybe_owner)?;
            let sets = plane.current(owner).await.map_err(refused)?;
            Ok(Response::json(200, &CurrentSetsView { sets: sets.iter().map(CurrentView::from).collect() }))
        }
        ConfigOperation::History => {
            let owners = match take(input, shape::maybe_owner)? {
                Some(owner) => vec![owner],
                None => vec![Owner::File, Owner::Admin],
            };
            let mut versions = Vec::new();
            for owner in owners {
                versions.extend(plane.history(owner).await.map_err(refused)?);
            }
            versions.sort_by_key(|version| std::cmp::Reverse(version.at));
            let versions = versions.iter().map(VersionView::from).collect();
            Ok(Response::json(200, &HistoryView { versions }))
        }
        ConfigOperation::Version => {
            let (owner, version) = take(input, shape::version)?;
            let current = plane.version(owner, version).await.map_err(refused)?;
            Ok(Response::json(200, &CurrentView::from(&current)))
        }
        ConfigOperation::Rollout => {
            take(input, |_: &mut Reader<'_>| Some(()))?;
            Ok(Response::json(200, &RolloutView::new(plane.trial().as_ref())))
        }
    }
}

fn begin(trail: &mut Trail, owner: &Owner, reason: &str) {
    trail.objects = vec![("configuration", owner.to_string())];
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    trail.configuration =
        Some(ConfigurationTrail { owner: owner.to_string(), reason, ..ConfigurationTrail::default() });
}

/// Builds the response to a change.
fn confirm<P: Plane>(plane: &P, applied: &Applied, is_yaml: bool, trail: &mut Trail) -> Response {
    let receipt = applied.receipt.as_ref();
    let is_on_trial = receipt.is_some_and(|receipt| receipt.trial.is_some());
    let is_pending = receipt.is_some_and(|receipt| !receipt.pending.is_empty());
    trail.outcome = Some(match (receipt, is_on_trial) {
        (None, _) => "unchanged",
        (Some(_), true) => "on_trial",
        (Some(_), false) => "applied",
    });
    if let Some(configuration) = &mut trail.configuration {
        configuration.owner = applied.owner.to_string();
        configuration.before = applied.previous.as_ref().map(ToString::to_string);
        configuration.after = Some(applied.version.to_string());
        configuration.auth_changes.clone_from(&applied.auth_changes);
    }
    let rollout = is_on_trial.then(|| RolloutView::new(plane.trial().as_ref()));
    let status = if is_on_trial || is_pending { 202 } else { 200 };
    let overridden = overridden(&plane.desired(), Some(&applied.owner));
    let view = AppliedView::new(applied, is_yaml, rollout, overridden);
    Response::json(status, &view).with("ETag", format_args!("\"{}\"", applied.version))
}
