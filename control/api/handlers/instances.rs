//! Removal and drain of instances, and waiting for their states.

use std::time::Duration;

use ringway_control::{InstanceDrained, InstanceState, State};
use ringway_model::{Change, Generation, Health, InstanceId, Outcome, Rejection, Timestamp};
use ringway_net::{clock, sleep_until};

use super::changes::{make, received, submit};
use crate::audit::Trail;
use crate::plane::Plane;
use crate::problem::{Kind, Problem};
use crate::request::conditions::Conditions;
use crate::request::shapes as shape;
use crate::response::{ApiResult, Response};
use crate::views::{Accepted, DrainedView, DrainingView, LeaseView};
use crate::waits::{Patience, Waiter};

/// Deregisters an instance, which must belong to the given app.
pub(crate) async fn deregister<P: Plane>(
    plane: &P,
    request: shape::Deregistration,
    conditions: Conditions,
    trail: &mut Trail,
    waiter: &mut Waiter<'_>,
) -> ApiResult {
    let desired = plane.desired();
    if let (Some(app), Some(instance)) = (&request.app, desired.instance(request.removal.key.id.as_str()))
        && instance.app != *app
    {
        return Err(Rejection::InstanceOfOtherApp(request.removal.key.id, instance.app.clone()).into());
    }
    remove_instance(plane, request.removal, conditions, trail, waiter).await
}

/// Removes an instance, at once or after a drain. The drain continues if the client disconnects.
pub(crate) async fn remove_instance<P: Plane>(
    plane: &P,
    removal: shape::Removal,
    conditions: Conditions,
    trail: &mut Trail,
    waiter: &mut Waiter<'_>,
) -> ApiResult {
    let shape::Removal { key: shape::InstanceKey { id, generation }, drain } = removal;
    let Some(drain) = drain else {
        return submit(plane, Change::RemoveInstance { id, generation }, conditions, trail).await;
    };
    let millis = u64::try_from(drain.as_millis()).unwrap_or(u64::MAX);
    let until = Timestamp(clock::timestamp().0.saturating_add(millis));
    let change = Change::DrainInstance { id: id.clone(), generation, until };
    let mut receipt = make(plane, change, conditions, trail).await?;
    // Without a generation in the receipt, the instance was draining already.
    let draining = receipt
        .generation
        .or_else(|| plane.desired().instance(id.as_str()).map(|instance| instance.generation));
    let drained = match draining {
        Some(generation) => wait_for_drain(plane, &id, generation, waiter).await?,
        None => Some(InstanceDrained::default()),
    };
    let Some(drained) = drained else {
        // An earlier drain may have an earlier end.
        let end = plane.desired().instance(id.as_str()).and_then(|instance| instance.draining);
        let view = DrainingView::new(&id, end.unwrap_or(until));
        return Ok(received(Response::json(202, &Accepted::new(&receipt, Some(view))), &receipt));
    };
    receipt.outcome = Outcome::Removed;
    receipt.revision = plane.desired().revision();
    receipt.pending.clear();
    let view = DrainedView::new(&id, drained);
    Ok(received(Response::json(200, &Accepted::new(&receipt, Some(view))), &receipt))
}

/// Waits for the end of a drain, whose time is limited. None when the drain continues without the request:
/// its client has disconnected, or too many requests wait.
pub(crate) async fn wait_for_drain<P: Plane>(
    plane: &P,
    id: &InstanceId,
    generation: Generation,
    waiter: &mut Waiter<'_>,
) -> Result<Option<InstanceDrained>, Problem> {
    loop {
        if let Some(drained) = plane.drained(id, generation) {
            return Ok(Some(drained));
        }
        match plane.desired().instance(id.as_str()) {
            // Removed, and the result is no longer known.
            None => return Ok(Some(InstanceDrained::default())),
            Some(instance) if instance.generation != generation => {
                let current = instance.generation;
                return Err(Rejection::StaleGeneration { id: id.clone(), current }.into());
            }
            Some(_) => {}
        }
        if !plane.is_ready() && plane.status().state == State::Draining {
            let detail = "the process is shutting down; the drain is stored, and the instance is removed at the next start";
            return Err(Problem::new(Kind::ShuttingDown, detail));
        }
        match waiter.patience() {
            Patience::Waits => sleep_until(clock::now().after(POLL_INTERVAL)).await,
            Patience::Over | Patience::Crowded => return Ok(None),
        }
    }
}

/// Waits until an instance has a state.
pub(crate) async fn wait_for_state<P: Plane>(
    plane: &P,
    wait: &shape::Wait,
    waiter: &mut Waiter<'_>,
) -> Result<(), Problem> {
    let deadline = clock::now().after(wait.timeout);
    loop {
        let Some(status) = plane.instance_status(&wait.instance) else {
            return Err(Rejection::UnknownInstance(wait.instance.clone()).into());
        };
        // After a restart an instance serves before it was probed; a wait for `serving` needs a successful
        // probe.
        let is_probed = status.health == Health::Healthy || wait.state != InstanceState::Serving;
        if status.state == wait.state && is_probed {
            return Ok(());
        }
        let patience = if clock::now() < deadline { waiter.patience() } else { Patience::Over };
        if patience == Patience::Crowded {
            let detail = "too many requests wait already; ask without wait, about once a second, until the state is reached";
            return Err(Problem::new(Kind::TooManyWaits, detail));
        }
        if patience == Patience::Over {
            let (id, wanted, state) = (&wait.instance, wait.state.as_str(), status.state.as_str());
            let why = status.state_reason.map(|why| format!("; {why}")).unwrap_or_default();
            let not =
                if state == wanted { "not probed successfully".to_owned() } else { format!("not {wanted}") };
            let detail = format!("instance {id} is {state}, {not}{why}");
            return Err(Problem::new(Kind::NotReached, detail));
        }
        sleep_until(clock::now().after(POLL_INTERVAL).min(deadline)).await;
    }
}

/// Interval of polls while a request waits.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Builds the response to a heartbeat.
pub(crate) fn lease<P: Plane>(plane: &P, id: &InstanceId) -> Response {
    let status = plane.instance_status(id).unwrap_or_default();
    let desired = plane.desired();
    let view = LeaseView {
        instance_id: id.to_string(),
        generation: desired.instance(id.as_str()).map_or(0, |instance| instance.generation.0),
        last_heartbeat: status.last_heartbeat.map(Timestamp::to_rfc3339_millis),
        lease_expires: status.lease_expires.map(Timestamp::to_rfc3339_millis),
        deregisters_at: status.deregisters_at.map(Timestamp::to_rfc3339_millis),
    };
    Response::json(200, &view).with("Preference-Applied", "return=representation")
}
