//! Registered instances at run time: health, leases, drains and outages.
//!
//! An instance receives requests while its checks pass and its heartbeats arrive; either input alone takes it
//! out of rotation, and both must agree before it returns. Removals are effects: the engine submits them as
//! changes.

mod drains;
mod lease;
pub(crate) mod outage;
pub(crate) mod probe_tls;
mod upstream_warnings;

use std::time::Duration;

use ringway_health::{Checker, HealthChange};
use ringway_model::{
    AppId, Delta, Desired, Generation, Health, Instance, InstanceId, Kind, Owner, Rejection, Resource,
    Serial, Tick, limits,
};

use self::drains::Drains;
pub(crate) use self::lease::Lease;
use self::lease::{Deregistered, Deregistration, LeaseEnd, Leases};
use self::upstream_warnings::UpstreamWarnings;
use crate::error_chain::with_causes;
use crate::settings::ControlSettings;
use crate::status::{InFlightStatus, InstanceDrained};
use crate::submission::Refusal;
use crate::view::View;

/// Checks, leases and drains of all registered instances.
#[derive(Debug)]
pub(crate) struct Instances {
    checker: Checker,
    leases: Leases,
    deregistered: Deregistered,
    drains: Drains,
    upstream_warnings: UpstreamWarnings,
    /// Instances deregistered for lack of heartbeats since the start.
    leases_expired: u64,
}

/// Work for the engine.
#[derive(Debug)]
pub(crate) enum Effect {
    /// An instance of the app left the rotation.
    ReviewApp(AppId),
    /// Remove an instance whose heartbeats stopped.
    RemoveExpired(InstanceId, Generation),
    /// Remove a drained instance.
    RemoveDrained(InstanceId, Generation),
}

impl Instances {
    /// Starts the checks of the registered instances.
    pub(crate) fn new<'a>(
        settings: &ControlSettings,
        registered: impl Iterator<Item = &'a Instance>,
    ) -> Self {
        let checker = Checker::new(settings.health);
        checker.set_targets(registered);
        Self {
            checker,
            leases: Leases::new(settings.heartbeat_timeout),
            deregistered: Deregistered::default(),
            drains: Drains::default(),
            upstream_warnings: UpstreamWarnings::default(),
            leases_expired: 0,
        }
    }

    /// Marks instances as joining that were registered shortly before the start: whether their checks ever
    /// passed is unknown, and a deploy may be waiting for them. Older instances take traffic at once.
    pub(crate) fn mark_joining(&self, view: View<'_>) {
        for instance in view.desired.instances() {
            let age = Duration::from_millis(view.now.at.0.saturating_sub(instance.registered_at.0));
            if age < limits::JOINING_TIME
                && let Some(endpoint) = view.endpoint(&instance.id)
            {
                endpoint.state.set_health(Health::Joining);
                self.checker.hasten(&instance.id);
            }
        }
    }

    /// Continues the drains of an earlier process.
    pub(crate) fn resume_drains(&mut self, serial: Serial, view: View<'_>) {
        for instance in view.desired.instances().filter(|instance| instance.draining.is_some()) {
            self.update_drain(instance, serial, view);
        }
    }

    pub(crate) fn checker(&self) -> &Checker {
        &self.checker
    }

    pub(crate) fn lease(&self, id: &InstanceId) -> Option<Lease> {
        self.leases.lease(id)
    }

    /// Whether an instance sent heartbeats and stopped.
    pub(crate) fn has_lapsed(&self, id: &InstanceId) -> bool {
        self.leases.lease(id).is_some_and(|lease| lease.is_lapsed())
    }

    /// Deadline of a drain; `None` for an instance that does not drain.
    pub(crate) fn drains_until(&self, id: &InstanceId) -> Option<Tick> {
        self.drains.until(id)
    }

    /// Result of the drain of a registration; `None` while it drains, and when it ended long ago.
    pub(crate) fn drained(&self, id: &InstanceId, generation: Generation) -> Option<InstanceDrained> {
        self.drains.ended(id, generation)
    }

    pub(crate) fn leases_expired(&self) -> u64 {
        self.leases_expired
    }

    /// Time at which [`Instances::poll_effect`] is due.
    pub(crate) fn next_deadline(&self, now: Tick) -> Tick {
        self.leases.next_deadline().min(self.drains.next_deadline(now))
    }

    /// Rejection of a message about an instance that is not registered.
    pub(crate) fn unknown(&self, id: &InstanceId) -> Rejection {
        match self.deregistered.get(id) {
            Some(Deregistration { at, silence }) => Rejection::Deregistered { id: id.clone(), at, silence },
            None => Rejection::UnknownInstance(id.clone()),
        }
    }

    /// Renews a lease. Returns the app of an instance whose heartbeats resumed.
    pub(crate) fn handle_heartbeat(
        &mut self,
        id: &InstanceId,
        generation: Option<Generation>,
        view: View<'_>,
    ) -> Result<Option<AppId>, Rejection> {
        let Some(instance) = view.desired.instance(id.as_str()) else { return Err(self.unknown(id)) };
        if instance.owner != Owner::Api {
            // A lease would take an endpoint out of rotation that never sends heartbeats itself.
            let (kind, owner) = (Kind::Instance, instance.owner.clone());
            return Err(Rejection::NotOwned { kind, key: id.as_str().into(), owner });
        }
        let (current, app) = (instance.generation, &instance.app);
        if generation.is_some_and(|generation| generation != current) {
            return Err(Rejection::StaleGeneration { id: id.clone(), current });
        }
        let now = view.now;
        let silence = self.leases.lease(id).map(|lease| lease.silence(now.tick)).unwrap_or_default();
        if !self.leases.handle_heartbeat(id, current, now.tick, now.at) {
            return Ok(None);
        }
        let checked = self.checker.status(id.as_str()).map_or(Health::Unknown, |checked| checked.health);
        // Not known to be healthy: traffic only while no other instance can take it.
        let health = if checked == Health::Unknown { Health::Joining } else { checked };
        let seconds = silence.as_secs();
        tracing::info!(instance = %id, %app, seconds, health = health.as_str(), "heartbeats resumed");
        self.update_health(instance, health, view);
        Ok(Some(app.clone()))
    }

    /// Applies a result of the health checks. Returns the app of an instance whose health changed.
    pub(crate) fn handle_health_change(&mut self, change: &HealthChange, view: View<'_>) -> Option<AppId> {
        let instance = view.instance(&change.instance)?;
        let endpoint = view.endpoint(&instance.id)?;
        if endpoint.generation != change.generation {
            return None;
        }
        let (before, health) = self.update_health(instance, change.health, view)?;
        if before == health {
            // Without heartbeats it stays out of rotation, whatever its checks report.
            return None;
        }
        let (app, streak) = (&instance.app, change.streak.len());
        let instance = &instance.id;
        match (change.health, &change.reason) {
            (Health::Unhealthy, Some(reason)) => {
                let reason = change.plan.explain(*reason);
                tracing::warn!(%instance, %app, streak, %reason, "instance is unhealthy and leaves the rotation");
            }
            (Health::Unhealthy, None) => {
                tracing::warn!(%instance, %app, streak, "instance is unhealthy and leaves the rotation");
            }
            (Health::Healthy, _) if before == Health::Unhealthy => {
                tracing::info!(%instance, %app, streak, "instance is healthy again and returns to the rotation");
            }
            (Health::Healthy, _) if before == Health::Joining => {
                tracing::info!(%instance, %app, "instance is healthy and joins the rotation");
            }
            (Health::Healthy | Health::Unknown | Health::Joining, _) => {}
        }
        Some(app.clone())
    }

    /// Counts failed upstream attempts. Returns the number to log when a warning is due.
    pub(crate) fn count_failed_attempts(
        &mut self,
        instance: &InstanceId,
        failures: u32,
        now: Tick,
    ) -> Option<u64> {
        self.upstream_warnings.count(instance, failures, now)
    }

    /// Takes over a stored record; `serial` is the snapshot that has it. Returns the reason of a
    /// deregistration for lack of heartbeats.
    pub(crate) fn handle_stored(&mut self, delta: &Delta, serial: Serial, view: View<'_>) -> Option<String> {
        match delta {
            Delta::Put(Resource::Instance(instance)) => {
                self.deregistered.forget(&instance.id);
                self.leases.handle_registered(&instance.id, instance.generation);
                self.checker.upsert(instance);
                self.update_drain(instance, serial, view);
                None
            }
            Delta::Remove(Resource::Instance(instance)) => {
                let (app, id) = (&instance.app, &instance.id);
                let lease = self.leases.lease(id).filter(Lease::is_expired);
                self.leases.handle_gone(id);
                self.checker.remove(id);
                self.drains.handle_gone(id, view.now.tick);
                let silence = lease?.silence(view.now.tick);
                self.deregistered.insert(id.clone(), Deregistration { at: view.now.at, silence });
                let seconds = silence.as_secs();
                tracing::warn!(instance = %id, %app, seconds, "no heartbeat: instance is deregistered");
                Some(no_heartbeat(silence))
            }
            Delta::Put(_) | Delta::Remove(_) => None,
        }
    }

    /// Checks the instances that a configuration on trial adds, until it is stored or dropped.
    pub(crate) fn begin_trial(&self, deltas: &[Delta], desired: &Desired) {
        added(deltas, desired).for_each(|instance| self.checker.upsert(instance));
    }

    /// Ends the checks of instances that a dropped configuration would have added.
    pub(crate) fn drop_trial(&self, deltas: &[Delta], desired: &Desired) {
        added(deltas, desired).for_each(|instance| self.checker.remove(&instance.id));
    }

    /// Next effect that is due. `is_acknowledged`: whether all cores have a snapshot.
    pub(crate) fn poll_effect(
        &mut self,
        is_acknowledged: impl Fn(Serial) -> bool,
        view: View<'_>,
    ) -> Option<Effect> {
        while let Some(end) = self.leases.poll_end(view.now.tick) {
            match end {
                LeaseEnd::Expired(id, generation) => return Some(Effect::RemoveExpired(id, generation)),
                LeaseEnd::Lapsed(id) => {
                    if let Some(app) = self.handle_lapsed(&id, view) {
                        return Some(Effect::ReviewApp(app));
                    }
                }
            }
        }
        let in_flight = |id: &InstanceId| {
            view.endpoint(id).map_or_else(InFlightStatus::default, |at| InFlightStatus::of(&at.in_flight))
        };
        let (id, generation, left) = self.drains.poll_removal(view.now.tick, is_acknowledged, in_flight)?;
        if let Some(endpoint) = view.endpoint(&id) {
            // Before the snapshot without the instance: open tunnels end with it.
            endpoint.in_flight.set_drained(true);
        }
        match left.requests {
            0 => tracing::info!(instance = %id, "instance drained; removing it"),
            requests => tracing::warn!(
                instance = %id,
                requests,
                tunnels = left.tunnels,
                "drain timed out; removing the instance with requests in flight, closing its tunnels"
            ),
        }
        Some(Effect::RemoveDrained(id, generation))
    }

    /// Records the reply to [`Effect::RemoveExpired`].
    pub(crate) fn handle_expired_removal(&mut self, instance: &InstanceId, refusal: Option<&Refusal>) {
        match refusal {
            None => self.leases_expired += 1,
            // Registered again or removed meanwhile.
            Some(Refusal::Rejected(_)) => {}
            Some(refusal) => {
                let error = with_causes(refusal);
                tracing::warn!(%instance, error, "instance without heartbeats not deregistered yet; will retry");
            }
        }
    }

    /// Records the reply to [`Effect::RemoveDrained`].
    pub(crate) fn handle_drained_removal(&mut self, instance: &InstanceId, refusal: Option<&Refusal>) {
        match refusal {
            // Registered again or removed meanwhile, or left to the next start.
            None | Some(Refusal::Rejected(_) | Refusal::ShuttingDown) => {}
            Some(refusal) => {
                let error = with_causes(refusal);
                tracing::warn!(%instance, error, "drained instance not removed yet; will retry");
            }
        }
    }

    fn handle_lapsed(&mut self, id: &InstanceId, view: View<'_>) -> Option<AppId> {
        let instance = view.desired.instance(id.as_str())?;
        let lease = self.leases.lease(id)?;
        let (app, seconds) = (&instance.app, lease.silence(view.now.tick).as_secs());
        let deregistered_in = view.now.tick.until(lease.deregisters).as_secs();
        tracing::warn!(
            instance = %id, %app, seconds, deregistered_in,
            "no heartbeat: instance is unhealthy and leaves the rotation"
        );
        self.update_health(instance, Health::Unhealthy, view);
        Some(app.clone())
    }

    /// Writes the health of an instance to its endpoint, where the cores read it: the result of its checks,
    /// unless its heartbeats are missing. Returns the health before and now.
    fn update_health(
        &self,
        instance: &Instance,
        checked: Health,
        view: View<'_>,
    ) -> Option<(Health, Health)> {
        let health = if self.has_lapsed(&instance.id) { Health::Unhealthy } else { checked };
        let endpoint = view.endpoint(&instance.id)?;
        let before = endpoint.state.health();
        endpoint.state.set_health(health);
        Some((before, health))
    }

    /// Starts, shortens or drops the drain of an instance that was stored, or was there at the start.
    fn update_drain(&mut self, instance: &Instance, serial: Serial, view: View<'_>) {
        let now = view.now;
        let until = instance.draining.map(|until| {
            // The deadline is wall-clock time, and that clock may have been set since.
            let left = Duration::from_millis(until.0.saturating_sub(now.at.0));
            now.tick.after(left.min(limits::INSTANCE_DRAIN_MAX))
        });
        let (id, app) = (&instance.id, &instance.app);
        match until {
            Some(until) if self.drains.until(id).is_none() => {
                let time = now.tick.until(until);
                tracing::info!(instance = %id, %app, ?time, "instance draining; no new requests");
            }
            Some(_) => {}
            None => {
                if let Some(endpoint) = view.snapshot.endpoint(app.as_str(), id.as_str()) {
                    endpoint.in_flight.set_drained(false);
                }
            }
        }
        self.drains.handle_put(instance, until, serial, now.tick);
    }
}

/// Instances that a change would add to a configuration.
fn added<'a>(deltas: &'a [Delta], desired: &'a Desired) -> impl Iterator<Item = &'a Instance> {
    deltas.iter().filter_map(|delta| match delta {
        Delta::Put(Resource::Instance(instance))
            if !desired.contains(Kind::Instance, instance.id.as_str()) =>
        {
            Some(&**instance)
        }
        Delta::Put(_) | Delta::Remove(_) => None,
    })
}

/// Reason of an instance whose heartbeats stopped.
pub(crate) fn no_heartbeat(silence: Duration) -> String {
    format!("no heartbeat for {} s", silence.as_secs())
}
