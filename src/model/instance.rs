//! Instances of apps and the changes to them.

use std::sync::Arc;

use crate::change::{Draft, room};
use crate::{
    AppId, Configured, Generation, HealthCheck, InstanceId, Kind, Owner, Rejection, Target, Timestamp, limits,
};

/// A running process that serves an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The id, chosen by the app, unique over all apps.
    pub id: InstanceId,
    /// The owner.
    pub owner: Owner,
    /// The app that it serves.
    pub app: AppId,
    /// The address that it listens on.
    pub target: Target,
    /// Share of the requests, relative to the app's other instances, where the balancer takes weights; 0
    /// takes no new ones.
    pub weight: u16,
    /// The settings of its health check.
    pub health_check: HealthCheck,
    /// Time of this registration.
    pub registered_at: Timestamp,
    /// The registration of this id that it belongs to.
    pub generation: Generation,
    /// The latest time of its removal while it drains: it gets no new requests. A new registration ends the
    /// drain.
    pub draining: Option<Timestamp>,
}

impl Configured for Instance {
    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        Some((Kind::App, self.app.as_str()))
    }
}

/// An instance as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// The id.
    pub id: InstanceId,
    /// The app that it serves.
    pub app: AppId,
    /// The address that it listens on.
    pub target: Target,
    /// The settings of its health check.
    pub health_check: HealthCheck,
}

impl Draft<'_> {
    /// Registers an instance. A registration always spends a revision, even when nothing differs: it is a new
    /// generation, and later messages of the previous process are stale.
    pub(crate) fn put_instance(&mut self, spec: &InstanceSpec) -> Result<(), Rejection> {
        self.app(&spec.app)?;
        self.may_change(Kind::App, spec.app.as_str())?;
        self.may_change(Kind::Instance, spec.id.as_str())?;
        match self.desired.instance(spec.id.as_str()) {
            Some(old) if old.app != spec.app => {
                return Err(Rejection::InstanceOfOtherApp(spec.id.clone(), old.app.clone()));
            }
            Some(_) => {}
            None => {
                room(Kind::Instance.plural(), self.desired.count(Kind::Instance), limits::INSTANCES_MAX)?;
                let count = self.desired.instance_count_of(spec.app.as_str());
                room("instances of this app", count, limits::INSTANCES_PER_APP_MAX)?;
                self.created = true;
            }
        }
        self.put(Instance {
            id: spec.id.clone(),
            owner: self.owner.clone(),
            app: spec.app.clone(),
            target: spec.target.clone(),
            weight: 1,
            health_check: spec.health_check.clone(),
            registered_at: self.now,
            generation: Generation(self.desired.revision().0),
            draining: None,
        });
        Ok(())
    }

    /// Starts the drain of an instance; of two drains the earlier end counts.
    pub(crate) fn drain_instance(
        &mut self,
        id: &InstanceId,
        generation: Option<Generation>,
        until: Timestamp,
    ) -> Result<(), Rejection> {
        let old = self.registration(id, generation)?;
        self.may_change(Kind::Instance, id.as_str())?;
        if old.draining.is_none_or(|end| until < end) {
            self.put(Instance { draining: Some(until), ..Instance::clone(&old) });
        }
        Ok(())
    }

    pub(crate) fn remove_instance(
        &mut self,
        id: &InstanceId,
        generation: Option<Generation>,
    ) -> Result<(), Rejection> {
        let instance = self.registration(id, generation)?;
        self.may_change(Kind::Instance, id.as_str())?;
        self.remove(instance);
        Ok(())
    }

    /// The instance, if it is registered, and with this generation if one is given.
    fn registration(
        &self,
        id: &InstanceId,
        generation: Option<Generation>,
    ) -> Result<Arc<Instance>, Rejection> {
        let Some(instance) = self.desired.instance(id.as_str()) else {
            return Err(Rejection::UnknownInstance(id.clone()));
        };
        if generation.is_some_and(|generation| generation != instance.generation) {
            return Err(Rejection::StaleGeneration { id: id.clone(), current: instance.generation });
        }
        Ok(instance.clone())
    }
}
