//! Changes of the configuration and their results.
//!
//! ```text
//! Desired + Change ── apply ──► Applied { desired', deltas, outcome }   or   Rejection (nothing happened)
//! ```
//! The deltas name the resources that changed: the store writes them, the compiler recompiles their
//! dependents.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    AppId, AppSpec, CanaryState, Conflict, Delta, Desired, DomainSpec, DomainUpdate, EndpointOverride,
    Generation, Hostname, InstanceId, InstanceSpec, Kind, Owner, Patch, PolicyId, PolicyRef, Replacement,
    Resource, Revision, RouteId, SetVersion, Timestamp, WebhookSecret, WebhookUrl,
};

/// One change of the configuration, as a user requested it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "the largest is the most common, and changes are few at a time")]
pub enum Change {
    /// Registers an app, an instance of it and a domain for it in one step; each is created or renewed.
    Register {
        /// The app.
        app: AppSpec,
        /// The instance.
        instance: Option<InstanceSpec>,
        /// The domain.
        domain: Option<DomainSpec>,
    },
    /// Adds an instance to an app that exists, or renews its registration.
    AddInstance(InstanceSpec),
    /// Removes an instance.
    RemoveInstance {
        /// The instance.
        id: InstanceId,
        /// The registration that is meant; any when absent.
        generation: Option<Generation>,
    },
    /// Takes an instance out of rotation and removes it once its requests are done. Of two drains the earlier
    /// end counts.
    DrainInstance {
        /// The instance.
        id: InstanceId,
        /// The registration that is meant; any when absent.
        generation: Option<Generation>,
        /// The latest time of the removal.
        until: Timestamp,
    },
    /// Removes an app with its instances. Refused while domains refer to it.
    RemoveApp {
        /// The app.
        id: AppId,
    },
    /// Sets the webhook of an app; replaces the present one.
    PutWebhook {
        /// The app.
        app: AppId,
        /// The URL that events are posted to.
        url: WebhookUrl,
        /// The secret that deliveries are signed with.
        secret: Patch<WebhookSecret>,
    },
    /// Removes the webhook of an app.
    RemoveWebhook {
        /// The app.
        app: AppId,
    },
    /// Adds a domain. An identical domain is accepted, a different one of the same name is refused.
    AddDomain(DomainSpec),
    /// Changes a domain that exists; absent fields are kept.
    UpdateDomain(DomainUpdate),
    /// Removes a domain.
    RemoveDomain {
        /// The domain.
        name: Hostname,
    },
    /// Replaces all resources of an operator's owner.
    ReplaceOwned(Arc<Replacement>),
    /// Records the progress of a canary.
    PutCanaryState(Arc<CanaryState>),
    /// Forgets the progress of a route's canary.
    RemoveCanaryState {
        /// The route.
        route: RouteId,
    },
    /// Overrides weight or rotation of an endpoint.
    PutEndpointOverride(Arc<EndpointOverride>),
    /// Ends the override of an endpoint.
    RemoveEndpointOverride {
        /// The endpoint.
        instance: InstanceId,
    },
    /// Records whether a version of an operator's set is trusted at a start.
    ProveVersion {
        /// Its key.
        key: Arc<str>,
        /// Whether it is.
        is_proven: bool,
    },
}

/// Effect of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A resource was created.
    Created,
    /// A resource was changed.
    Updated,
    /// Nothing differs; no revision was spent.
    Unchanged,
    /// A resource was removed.
    Removed,
}

/// An accepted change.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The configuration after it; its revision is one higher unless the outcome is [`Outcome::Unchanged`].
    pub desired: Desired,
    /// The resources that differ, in the order in which they were written.
    pub deltas: Vec<Delta>,
    /// The effect.
    pub outcome: Outcome,
}

/// Reason why a change was refused; nothing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The app is not registered.
    UnknownApp(AppId),
    /// The instance is not registered.
    UnknownInstance(InstanceId),
    /// The instance was deregistered because its heartbeats stopped.
    Deregistered {
        /// The instance.
        id: InstanceId,
        /// Time of the deregistration.
        at: Timestamp,
        /// Time since its last heartbeat by then.
        silence: Duration,
    },
    /// The domain is not registered.
    UnknownDomain(Hostname),
    /// The instance id belongs to another app.
    InstanceOfOtherApp(InstanceId, AppId),
    /// The domain is registered with other values.
    DomainTaken(Hostname, AppId),
    /// The registration that the message names was replaced by a newer one.
    StaleGeneration {
        /// The instance.
        id: InstanceId,
        /// Its present generation.
        current: Generation,
    },
    /// The app has no webhook.
    UnknownWebhook(AppId),
    /// The app still has domains.
    AppHasDomains(AppId, usize),
    /// The resource belongs to another owner.
    NotOwned {
        /// The kind.
        kind: Kind,
        /// The key.
        key: Arc<str>,
        /// The owner.
        owner: Owner,
    },
    /// The host is served by a route of an operator.
    HostClaimed {
        /// The host.
        host: Hostname,
        /// The route.
        route: RouteId,
        /// Its owner.
        owner: Owner,
    },
    /// The operator keeps the host for another owner.
    HostReserved {
        /// The host.
        host: Hostname,
        /// The owner.
        owner: Owner,
    },
    /// There is no policy of this id.
    UnknownPolicy(PolicyId),
    /// The set cannot be in force beside the resources of other owners.
    Conflicts(Box<[Conflict]>),
    /// Another version of the owner's set is in force by now.
    StaleVersion {
        /// The owner.
        owner: Owner,
        /// The present version.
        current: Option<SetVersion>,
    },
    /// A limit is reached.
    Full {
        /// The things that are limited.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownApp(id) => {
                write!(f, "app {id} is not registered; register it first with POST /api/apps/register")
            }
            Self::UnknownInstance(id) => write!(f, "instance {id} is not registered; register it again"),
            Self::Deregistered { id, at, silence } => write!(
                f,
                "{id} was deregistered at {}: no heartbeat for {} s; register it again",
                at.to_rfc3339(),
                silence.as_secs()
            ),
            Self::UnknownDomain(name) => write!(f, "domain {name} is not registered"),
            Self::InstanceOfOtherApp(id, app) => {
                write!(f, "instance id {id} belongs to app {app}; instance ids are unique over all apps")
            }
            Self::DomainTaken(name, app) => {
                write!(
                    f,
                    "domain {name} is registered for app {app}; change it with PUT /api/tenants/domains"
                )
            }
            Self::StaleGeneration { id, current } => {
                write!(f, "instance {id} was registered again meanwhile; its generation is now {current}")
            }
            Self::UnknownWebhook(id) => write!(f, "app {id} has no webhook"),
            Self::AppHasDomains(id, count) => {
                write!(f, "app {id} still serves {count} domain(s); delete or move them first")
            }
            Self::NotOwned { kind, key, owner } => {
                write!(f, "{kind} {key} belongs to owner {owner} and can be changed there only")
            }
            Self::HostClaimed { host, route, owner } => {
                write!(f, "host {host} belongs to route {route} of owner {owner}")
            }
            Self::HostReserved { host, owner } => write!(f, "host {host} is reserved for owner {owner}"),
            Self::UnknownPolicy(id) => write!(f, "there is no policy {id}"),
            Self::Conflicts(conflicts) => {
                for (at, conflict) in conflicts.iter().enumerate() {
                    let separator = if at == 0 { "" } else { "; " };
                    write!(f, "{separator}{conflict}")?;
                }
                Ok(())
            }
            Self::StaleVersion { owner, current: Some(version) } => {
                write!(f, "the configuration of owner {owner} is at version {version} by now; compare again")
            }
            Self::StaleVersion { owner, current: None } => {
                write!(f, "owner {owner} has no configuration yet")
            }
            Self::Full { what, max } => write!(f, "there are {max} {what} already, which is the limit"),
        }
    }
}

impl std::error::Error for Rejection {}

impl Desired {
    /// Applies one change to the resources of the registration API; pure. The cost follows the change, not
    /// the configuration.
    ///
    /// # Errors
    /// The reason of the refusal; the configuration is unchanged.
    pub fn apply(&self, change: &Change, now: Timestamp) -> Result<Applied, Rejection> {
        self.apply_as(&Owner::Api, change, now)
    }

    /// Applies one change; resources that it creates belong to this owner.
    ///
    /// # Errors
    /// The reason of the refusal; the configuration is unchanged.
    pub fn apply_as(&self, owner: &Owner, change: &Change, now: Timestamp) -> Result<Applied, Rejection> {
        let mut draft =
            Draft { desired: self.at_next_revision(), deltas: Vec::new(), created: false, owner, now };
        match change {
            Change::Register { app, instance, domain } => {
                draft.put_app(app)?;
                if let Some(instance) = instance {
                    draft.put_instance(instance)?;
                }
                if let Some(domain) = domain {
                    draft.put_domain(domain)?;
                }
            }
            Change::AddInstance(spec) => draft.put_instance(spec)?,
            Change::RemoveInstance { id, generation } => {
                draft.remove_instance(id, *generation)?;
                return Ok(draft.removed());
            }
            Change::DrainInstance { id, generation, until } => {
                draft.drain_instance(id, *generation, *until)?;
            }
            Change::RemoveApp { id } => {
                draft.remove_app(id)?;
                return Ok(draft.removed());
            }
            Change::PutWebhook { app, url, secret } => draft.put_webhook(app, url, secret)?,
            Change::RemoveWebhook { app } => {
                draft.remove_webhook(app)?;
                return Ok(draft.removed());
            }
            Change::AddDomain(spec) => draft.put_domain(spec)?,
            Change::UpdateDomain(update) => draft.update_domain(update)?,
            Change::RemoveDomain { name } => {
                draft.remove_domain(name)?;
                return Ok(draft.removed());
            }
            Change::ReplaceOwned(replacement) => draft.replace_owned(replacement)?,
            Change::PutCanaryState(state) => draft.put_canary_state(state),
            Change::RemoveCanaryState { route } => draft.remove_canary_state(route),
            Change::PutEndpointOverride(of) => draft.put_endpoint_override(of)?,
            Change::RemoveEndpointOverride { instance } => draft.remove_endpoint_override(instance),
            Change::ProveVersion { key, is_proven } => draft.prove_version(key, *is_proven),
        }
        Ok(draft.written(self))
    }
}

/// A change being applied: the next configuration and the deltas so far. Each kind's file has the changes of
/// its kind.
pub(crate) struct Draft<'a> {
    pub(crate) desired: Desired,
    deltas: Vec<Delta>,
    pub(crate) created: bool,
    pub(crate) owner: &'a Owner,
    pub(crate) now: Timestamp,
}

impl Draft<'_> {
    pub(crate) fn put(&mut self, resource: impl Into<Resource>) {
        let resource = resource.into();
        self.deltas.push(Delta::Put(resource.clone()));
        self.desired.put(resource);
    }

    pub(crate) fn remove(&mut self, resource: impl Into<Resource>) {
        let resource = resource.into();
        if let Resource::Instance(instance) = &resource {
            self.remove_endpoint_override(&instance.id);
        }
        self.desired.remove(&resource);
        self.deltas.push(Delta::Remove(resource));
    }

    /// Refuses a change of another owner's resource.
    pub(crate) fn may_change(&self, kind: Kind, key: &str) -> Result<(), Rejection> {
        match self.desired.owner_of(kind, key).filter(|owner| *owner != self.owner) {
            Some(owner) => Err(Rejection::NotOwned { kind, key: key.into(), owner: owner.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses the name of a policy that does not exist.
    pub(crate) fn has_policy(&self, policy: Option<&PolicyRef>) -> Result<(), Rejection> {
        match policy.and_then(PolicyRef::name).filter(|id| self.desired.policy(id.as_str()).is_none()) {
            Some(id) => Err(Rejection::UnknownPolicy(id.clone())),
            None => Ok(()),
        }
    }

    fn removed(self) -> Applied {
        Applied { desired: self.desired, deltas: self.deltas, outcome: Outcome::Removed }
    }

    fn written(self, before: &Desired) -> Applied {
        let outcome = match (self.deltas.is_empty(), self.created) {
            (true, _) => {
                return Applied { desired: before.clone(), deltas: self.deltas, outcome: Outcome::Unchanged };
            }
            (false, true) => Outcome::Created,
            (false, false) => Outcome::Updated,
        };
        Applied { desired: self.desired, deltas: self.deltas, outcome }
    }
}

/// Refuses one more than the limit.
pub(crate) fn room(what: &'static str, count: usize, max: usize) -> Result<(), Rejection> {
    if count < max { Ok(()) } else { Err(Rejection::Full { what, max }) }
}

impl Applied {
    /// The revision after the change.
    pub fn revision(&self) -> Revision {
        self.desired.revision()
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
