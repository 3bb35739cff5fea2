//! Check of a credential by a route's authentication.

use ringway_control::AuthCheckRequest;

use crate::audit::{ConfigurationTrail, Trail};
use crate::plane::Plane;
use crate::problem::Problem;
use crate::response::{ApiResult, Response};
use crate::views::AuthCheckView;

/// Checks a credential. The trail gets the route and nothing of the credential.
pub(crate) async fn check_auth<P: Plane>(
    plane: &P,
    request: AuthCheckRequest,
    trail: &mut Trail,
) -> ApiResult {
    trail.objects = vec![("route", request.route.to_string())];
    // Nothing changes: the line has neither owner nor revisions.
    trail.configuration = Some(ConfigurationTrail::default());
    let checked = plane.check_auth(request).await;
    let checked = checked.map_err(|error| Problem::of_configuration(error, false))?;
    trail.outcome = Some("checked");
    Ok(Response::json(200, &AuthCheckView::from(&checked)).with("Cache-Control", "no-store"))
}
