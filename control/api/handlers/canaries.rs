//! Canaries of routes: list, resume.

use std::sync::Arc;

use ringway_control::ResumeError;
use ringway_model::{Change, RouteId, limits};

use super::changes::{make, received};
use crate::audit::Trail;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::Conditions;
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
    let state = plane.resumed_canary(&route).map_err(|error| match error {
        ResumeError::NoCanary => Problem::new(Kind::UnknownCanary, format!("route {route} has no canary")),
        ResumeError::NotBraked => {
            Problem::new(Kind::NotBraked, format!("the canary of {route} is not braked"))
        }
    })?;
    let receipt = make(plane, Change::PutCanaryState(Arc::new(state)), conditions, trail).await?;
    let status = if receipt.pending.is_empty() { 200 } else { 202 };
    let statuses = plane.canaries();
    let view = statuses.iter().find(|status| status.route == route).map(CanaryView::from);
    Ok(received(Response::json(status, &Accepted::new(&receipt, view)), &receipt))
}
