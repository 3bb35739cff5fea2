//! Drain and removal of the instances that a deploy replaces.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringway_wire::message::Method;
use serde_json::{Value, json};

use super::registration::NewInstance;
use super::{Deploy, OldInstances, POLL_INTERVAL};
use crate::cli::client::instances::InstanceView;
use crate::cli::client::{Failure, parse, pause};
use crate::cli::limits;

impl Deploy<'_> {
    /// Drains and removes the instances that were registered before ours, several at a time.
    pub(super) fn remove_old(
        &self,
        new_instances: &[NewInstance],
    ) -> Result<(Vec<Value>, Vec<String>), Failure> {
        let newest = new_instances.iter().map(|new| new.generation).max().unwrap_or_default();
        let state = self.app_state()?;
        let is_ours =
            |instance: &InstanceView| new_instances.iter().any(|new| new.id == instance.instance_id);
        let others: Vec<&InstanceView> =
            state.instances.iter().filter(|instance| !is_ours(instance)).collect();
        let (old, kept): (Vec<&InstanceView>, Vec<&InstanceView>) = match &self.plan.old {
            OldInstances::All => others.into_iter().partition(|instance| instance.generation < newest),
            OldInstances::None => (Vec::new(), others),
            OldInstances::One(id) => {
                (others.into_iter().filter(|instance| instance.instance_id == *id).collect(), Vec::new())
            }
        };
        let kept: Vec<String> = kept.iter().map(|instance| instance.instance_id.clone()).collect();
        if self.plan.old == OldInstances::All {
            for id in &kept {
                self.report(&format!("{id}: registered after this deploy started; kept"));
            }
        }
        if !old.is_empty() && self.plan.wait_for_drain {
            self.report("Ctrl-C ends the command; the drains continue in ringway");
            self.may_exit.store(true, Ordering::Relaxed);
        }
        let mut removed = Vec::new();
        for batch in old.chunks(CONCURRENT_DRAINS_MAX) {
            for instance in batch {
                self.report(&format!(
                    "{}: draining, {} in flight, up to {}",
                    instance.instance_id,
                    instance.requests_in_flight,
                    humantime::format_duration(self.plan.drain)
                ));
            }
            let ended: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> =
                    batch.iter().map(|instance| scope.spawn(|| self.drain(instance))).collect();
                threads.into_iter().map(|thread| thread.join()).collect()
            });
            for ended in ended {
                match ended {
                    Ok(result) => removed.extend(result?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        }
        Ok((removed, kept))
    }

    /// Drains and removes one instance; `None` when it is gone or registered again.
    fn drain(&self, instance: &InstanceView) -> Result<Option<Value>, Failure> {
        let id = &instance.instance_id;
        let body = json!({
            "instance_id": id,
            "generation": instance.generation,
            "drain": format!("{}ms", self.plan.drain.as_millis()),
        });
        let result = match self.plan.wait_for_drain {
            true => self.api.call_within(self.plan.drain, Method::Delete, "/api/apps/instances", &body),
            false => match self.api.call(Method::Delete, "/api/apps/instances", Some(&body)) {
                Err(Failure::Unreachable { error, .. }) if error.is_timeout() => {
                    return Ok(Some(json!({ "instance_id": id, "drained": null })));
                }
                result => result,
            },
        };
        match result {
            Ok(response) => {
                let mut drained: Value = parse(&response)?;
                if drained["state"] == "draining" && self.plan.wait_for_drain {
                    drained = self.watch_drain(instance)?;
                }
                self.report(&format!("{id}: {}", drained_text(&drained)));
                Ok(Some(drained))
            }
            Err(Failure::Refused(refusal)) if refusal.status == 404 => Ok(None),
            Err(Failure::Refused(refusal)) if refusal.status == 409 => {
                self.report(&format!("{id}: registered again meanwhile; kept"));
                Ok(None)
            }
            Err(failure) => Err(failure
                .with_note("\n  the new version serves; repeat the command to remove the former instances")),
        }
    }

    /// Polls for the end of a drain, where the API responds at once because too many requests wait there
    /// already.
    fn watch_drain(&self, instance: &InstanceView) -> Result<Value, Failure> {
        let deadline = Instant::now() + self.plan.drain + limits::CLI_TIMEOUT;
        while Instant::now() < deadline {
            match self.instance(&instance.instance_id)? {
                Some(view) if view.generation == instance.generation => pause(POLL_INTERVAL),
                _ => break,
            }
        }
        Ok(json!({ "instance_id": instance.instance_id, "drained": null }))
    }
}

/// Describes the end of a drain.
pub(crate) fn drained_text(drained: &Value) -> String {
    let took = Duration::from_millis(drained["took_ms"].as_u64().unwrap_or_default());
    let took = humantime::format_duration(took);
    let left = drained["requests_left"].as_u64().unwrap_or_default();
    let websockets = drained["websockets_left"].as_u64().unwrap_or_default();
    if drained["state"] == "draining" {
        let until = drained["draining_until"].as_str().unwrap_or_default();
        return format!("draining until {until} at the latest; the drain continues in ringway");
    }
    if drained["drained"].is_null() && drained["took_ms"].is_null() {
        return "removed".to_owned();
    }
    match left {
        0 => format!("drained in {took} and removed"),
        _ => format!(
            "removed after {took}; WebSockets closed: {websockets}, requests still in flight: {}",
            requests_left(drained)
        ),
    }
}

/// Requests in flight on an instance after its removal; WebSockets are closed.
pub(super) fn requests_left(drained: &Value) -> u64 {
    let count = |field: &str| drained[field].as_u64().unwrap_or_default();
    count("requests_left").saturating_sub(count("websockets_left"))
}

/// Drains at the same time: each takes a thread and a connection.
const CONCURRENT_DRAINS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_reported_with_its_remaining_requests() {
        assert_eq!(
            drained_text(&json!({ "took_ms": 1_500, "requests_left": 0 })),
            "drained in 1s 500ms and removed"
        );
        assert_eq!(
            drained_text(&json!({ "took_ms": 30_000, "requests_left": 3, "websockets_left": 2 })),
            "removed after 30s; WebSockets closed: 2, requests still in flight: 1"
        );
    }
}
