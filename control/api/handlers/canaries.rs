//! Canaries of routes: list, resume, weight.

use std::sync::Arc;

use ringway_control::CanaryError;
use ringway_model::{CanaryState, Change, RouteId, SetWeight, limits};
use ringway_net::clock;

use super::changes::{make, received};
use crate::access::Identity;
use crate::audit::Trail;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::Conditions;
use crate::request::shapes::CanaryWeight;
use crate::response::{ApiResult, Response};
use crate::views::{Accepted, CanariesView, CanaryView};

pub(crate) fn list_canaries<P: Plane>(plane: &P) -> Response {
    let (statuses, revision) = (plane.canaries(), plane.desired().revision());
    let canaries = statuses.iter().take(limits::PAGE_ITEMS_MAX).map(CanaryView::from).collect();
    let view = CanariesView { canaries, total: statuses.len(), revision: revision.0 };
    Response::json(200, &view).at(revision)
}

/// Resumes a braked canary. It is in force on all cores before the response.
pub(crate) async fn resume_canary<P: Plane>(
    plane: &P,
    route: RouteId,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    trail.objects = vec![("canary", route.to_string())];
    let state = plane.resumed_canary(&route).map_err(|error| refused(&route, error))?;
    put(plane, state, conditions, trail).await
}

/// Sets the weight of a canary, or ends that. It is in force on all cores before the response.
pub(crate) async fn set_canary_weight<P: Plane>(
    plane: &P,
    update: CanaryWeight,
    caller: &Identity,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    let CanaryWeight { route, weight, reason } = update;
    trail.objects = vec![("canary", route.to_string())];
    let (at, by) = (clock::timestamp(), Arc::from(caller.to_string()));
    let set = weight.map(|weight| SetWeight { weight, at, by, reason });
    let state = plane.weighted_canary(&route, set).map_err(|error| refused(&route, error))?;
    put(plane, state, conditions, trail).await
}

fn refused(route: &RouteId, error: CanaryError) -> Problem {
    let (kind, detail) = match error {
        CanaryError::NoCanary => (Kind::UnknownCanary, format!("route {route} has no canary")),
        CanaryError::NotBraked => (Kind::NotBraked, format!("the canary of {route} is not braked")),
        CanaryError::Braked => (
            Kind::CanaryBraked,
            format!("the canary of {route} is braked and gets no requests by weight; resume it first"),
        ),
        CanaryError::Stepping => (
            Kind::CanarySteps,
            format!(
                "the canary of {route} has steps before it; its next one would replace the weight: \
                 configure it without canary_steps"
            ),
        ),
    };
    Problem::new(kind, detail)
}

async fn put<P: Plane>(
    plane: &P,
    state: CanaryState,
    conditions: Conditions,
    trail: &mut Trail,
) -> ApiResult {
    let route = state.route.clone();
    let receipt = make(plane, Change::PutCanaryState(Arc::new(state)), conditions, trail).await?;
    let status = if receipt.pending.is_empty() { 200 } else { 202 };
    let statuses = plane.canaries();
    let view = statuses.iter().find(|status| status.route == route).map(CanaryView::from);
    Ok(received(Response::json(status, &Accepted::new(&receipt, view)), &receipt))
}
