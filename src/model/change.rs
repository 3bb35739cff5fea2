//! What can be done to a configuration, and what comes of it.
//!
//! ```text
//! Desired + Change ── apply ──► Applied { desired', deltas, outcome }   or   Rejection (nothing happened)
//! ```
//! The deltas say which records changed: the store writes them, the compiler recompiles what hangs on them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    App, AppId, CertificateMode, ClientAuth, Desired, Domain, DomainKind, FailurePolicy, Generation,
    HealthCheck, Hostname, Instance, InstanceId, OnAllUnhealthy, Revision, Target, TenantId, Timestamp,
    UpstreamTls, Webhook, limits,
};

/// One change of the configuration, as a user asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "the largest is the most common, and changes are few at a time")]
pub enum Change {
    /// Registers an app, an instance of it and a name for it in one step; each is made or renewed.
    Register {
        /// The app; its name is kept when none is given and the app exists.
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
        /// Which.
        id: InstanceId,
        /// Only this registration of it; any when absent.
        generation: Option<Generation>,
    },
    /// Takes an instance out of rotation, to be removed once its requests are done. Of two drains the earlier end counts.
    DrainInstance {
        /// Which.
        id: InstanceId,
        /// Only this registration of it; any when absent.
        generation: Option<Generation>,
        /// The latest time of the removal.
        until: Timestamp,
    },
    /// Removes an app with its instances. Refused while domains point to it.
    RemoveApp {
        /// Which.
        id: AppId,
    },
    /// Has an app told of what happens to it; takes the place of the webhook that it has.
    PutWebhook {
        /// Whose.
        app: AppId,
        /// Where to. The secret of the one before stays when this has none and `keep_secret` says so.
        webhook: Webhook,
        /// Whether the present secret stays when none is given.
        keep_secret: bool,
    },
    /// Tells an app no more.
    RemoveWebhook {
        /// Whose.
        app: AppId,
    },
    /// Adds a domain. The same domain once more is accepted, a different one of that name is refused.
    AddDomain(DomainSpec),
    /// Changes a domain that exists; what is absent stays.
    UpdateDomain(DomainUpdate),
    /// Removes a domain.
    RemoveDomain {
        /// Which.
        name: Hostname,
    },
}

/// An app as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSpec {
    /// Its id.
    pub id: AppId,
    /// Its name for people.
    pub name: Option<Arc<str>>,
    /// How its `https://` targets are spoken to; as before when absent, in the default way when there is none.
    pub upstream_tls: Option<Option<UpstreamTls>>,
    /// Results that count against an instance; as before when absent.
    pub failures: Option<FailurePolicy>,
    /// Treatment of requests while no instance is healthy; as before when absent.
    pub on_all_unhealthy: Option<OnAllUnhealthy>,
}

impl AppSpec {
    /// An app of which nothing but the id is given.
    pub fn new(id: AppId) -> Self {
        Self { id, name: None, upstream_tls: None, failures: None, on_all_unhealthy: None }
    }
}

/// An instance as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// Its id.
    pub id: InstanceId,
    /// The app that it serves.
    pub app: AppId,
    /// Where it listens.
    pub target: Target,
    /// How its health is checked.
    pub health_check: HealthCheck,
}

/// A domain as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainSpec {
    /// The name.
    pub name: Hostname,
    /// The app that serves it.
    pub app: AppId,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// What it is to its owner.
    pub kind: DomainKind,
    /// Where its CNAME record should point to.
    pub cname_target: Option<Hostname>,
    /// Who brings its certificate; as before when absent.
    pub certificate: Option<CertificateMode>,
    /// Certificates that its clients present; as before when absent.
    pub client_auth: Option<ClientAuth>,
}

/// New values for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainUpdate {
    /// Which domain.
    pub name: Hostname,
    /// Another app.
    pub app: Option<AppId>,
    /// Another tenant, or none.
    pub tenant: Option<Option<TenantId>>,
    /// Another kind.
    pub kind: Option<DomainKind>,
    /// Another CNAME target, or none.
    pub cname_target: Option<Option<Hostname>>,
    /// Somebody else who brings its certificate.
    pub certificate: Option<CertificateMode>,
    /// Other certificates of clients, or none.
    pub client_auth: Option<Option<ClientAuth>>,
}

/// One record that a change wrote or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// The app is now this.
    PutApp(Arc<App>),
    /// The app is gone.
    RemoveApp(AppId),
    /// The instance is now this.
    PutInstance(Arc<Instance>),
    /// The instance is gone from this app.
    RemoveInstance(AppId, InstanceId),
    /// The domain is now this.
    PutDomain(Arc<Domain>),
    /// The domain is gone.
    RemoveDomain(Hostname),
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something is there that was not.
    Created,
    /// Something is different.
    Updated,
    /// All was so already; no revision was spent.
    Unchanged,
    /// Something is gone.
    Removed,
}

/// An accepted change.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The configuration after it; its revision is one higher unless the outcome is [`Outcome::Unchanged`].
    pub desired: Desired,
    /// The records that differ, in the order in which they were written.
    pub deltas: Vec<Delta>,
    /// What it did.
    pub outcome: Outcome,
}

/// Why a change was refused; nothing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The app is not registered.
    UnknownApp(AppId),
    /// The instance is not registered.
    UnknownInstance(InstanceId),
    /// The instance is not registered any more: its heartbeats stopped.
    Deregistered {
        /// The instance.
        id: InstanceId,
        /// When it was deregistered.
        at: Timestamp,
        /// Time since its last heartbeat by then.
        silence: Duration,
    },
    /// The domain is not registered.
    UnknownDomain(Hostname),
    /// The instance id belongs to another app.
    InstanceOfOtherApp(InstanceId, AppId),
    /// The domain is registered, and differently.
    DomainTaken(Hostname, AppId),
    /// The registration that the message speaks of has been replaced by a newer one.
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
    /// A bound was reached.
    Full {
        /// What there are too many of.
        what: &'static str,
        /// How many there may be.
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
            Self::Full { what, max } => write!(f, "there are {max} {what} already, which is the limit"),
        }
    }
}

impl std::error::Error for Rejection {}

impl Desired {
    /// Applies one change; pure. The cost follows the change, not the configuration.
    ///
    /// # Errors
    /// Why it is refused; what it was applied to is as it was.
    pub fn apply(&self, change: &Change, now: Timestamp) -> Result<Applied, Rejection> {
        let mut draft = Draft {
            desired: Desired { revision: self.revision.next(), ..self.clone() },
            deltas: Vec::new(),
            created: false,
            now,
        };
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
            Change::PutWebhook { app, webhook, keep_secret } => {
                draft.put_webhook(app, webhook, *keep_secret)?
            }
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
        }
        Ok(draft.written(self))
    }
}

/// A configuration in the making: the next state and what was done to get there.
struct Draft {
    desired: Desired,
    deltas: Vec<Delta>,
    created: bool,
    now: Timestamp,
}

impl Draft {
    fn put_app(&mut self, spec: &AppSpec) -> Result<(), Rejection> {
        let app = match self.desired.apps.get(&spec.id) {
            Some(old) => {
                let app = App {
                    name: spec.name.clone().unwrap_or_else(|| old.name.clone()),
                    upstream_tls: spec.upstream_tls.clone().unwrap_or_else(|| old.upstream_tls.clone()),
                    failures: spec.failures.unwrap_or(old.failures),
                    on_all_unhealthy: spec.on_all_unhealthy.unwrap_or(old.on_all_unhealthy),
                    ..App::clone(old)
                };
                if app == **old {
                    return Ok(());
                }
                App { updated_at: self.now, ..app }
            }
            None => {
                room("apps", self.desired.apps.size(), limits::APPS_MAX)?;
                self.created = true;
                let name = spec.name.clone().unwrap_or_else(|| spec.id.as_str().into());
                App {
                    id: spec.id.clone(),
                    name,
                    upstream_tls: spec.upstream_tls.clone().flatten(),
                    failures: spec.failures.unwrap_or_default(),
                    on_all_unhealthy: spec.on_all_unhealthy.unwrap_or_default(),
                    webhook: None,
                    created_at: self.now,
                    updated_at: self.now,
                }
            }
        };
        self.write_app(app);
        Ok(())
    }

    /// A registration always spends a revision, even when nothing differs: it is a new generation, and
    /// messages of the process before it are stale from now on.
    fn put_instance(&mut self, spec: &InstanceSpec) -> Result<(), Rejection> {
        if !self.desired.apps.contains_key(&spec.app) {
            return Err(Rejection::UnknownApp(spec.app.clone()));
        }
        match self.desired.instances.get(&spec.id) {
            Some(old) if old.app != spec.app => {
                return Err(Rejection::InstanceOfOtherApp(spec.id.clone(), old.app.clone()));
            }
            Some(_) => {}
            None => {
                room("instances", self.desired.instances.size(), limits::INSTANCES_MAX)?;
                let count = self.desired.instance_count_of(spec.app.as_str());
                room("instances of this app", count, limits::INSTANCES_PER_APP_MAX)?;
                self.created = true;
            }
        }
        let instance = Instance {
            id: spec.id.clone(),
            app: spec.app.clone(),
            target: spec.target.clone(),
            health_check: spec.health_check.clone(),
            registered_at: self.now,
            generation: Generation(self.desired.revision.0),
            draining: None,
        };
        self.deltas.push(Delta::PutInstance(Arc::new(instance.clone())));
        self.desired.put_instance(instance);
        Ok(())
    }

    fn put_webhook(&mut self, id: &AppId, webhook: &Webhook, keep_secret: bool) -> Result<(), Rejection> {
        let Some(old) = self.desired.apps.get(id).cloned() else {
            return Err(Rejection::UnknownApp(id.clone()));
        };
        let mut webhook = webhook.clone();
        match &old.webhook {
            Some(known) if keep_secret && webhook.secret.is_none() => webhook.secret = known.secret.clone(),
            Some(_) => {}
            None => self.created = true,
        }
        if old.webhook.as_ref() != Some(&webhook) {
            self.write_app(App { webhook: Some(webhook), updated_at: self.now, ..App::clone(&old) });
        }
        Ok(())
    }

    fn remove_webhook(&mut self, id: &AppId) -> Result<(), Rejection> {
        let Some(old) = self.desired.apps.get(id).cloned() else {
            return Err(Rejection::UnknownApp(id.clone()));
        };
        if old.webhook.is_none() {
            return Err(Rejection::UnknownWebhook(id.clone()));
        }
        self.write_app(App { webhook: None, updated_at: self.now, ..App::clone(&old) });
        Ok(())
    }

    fn write_app(&mut self, app: App) {
        self.deltas.push(Delta::PutApp(Arc::new(app.clone())));
        self.desired.put_app(app);
    }

    fn put_domain(&mut self, spec: &DomainSpec) -> Result<(), Rejection> {
        if !self.desired.apps.contains_key(&spec.app) {
            return Err(Rejection::UnknownApp(spec.app.clone()));
        }
        if let Some(old) = self.desired.domains.get(&spec.name) {
            let same = old.app == spec.app
                && old.tenant == spec.tenant
                && old.kind == spec.kind
                && old.cname_target == spec.cname_target
                && spec.certificate.is_none_or(|mode| mode == old.certificate)
                && (spec.client_auth.is_none() || spec.client_auth == old.client_auth);
            return match same {
                true => Ok(()),
                false => Err(Rejection::DomainTaken(spec.name.clone(), old.app.clone())),
            };
        }
        room("domains", self.desired.domains.size(), limits::DOMAINS_MAX)?;
        self.created = true;
        self.write_domain(Domain {
            name: spec.name.clone(),
            app: spec.app.clone(),
            tenant: spec.tenant.clone(),
            kind: spec.kind,
            cname_target: spec.cname_target.clone(),
            certificate: spec.certificate.unwrap_or_default(),
            client_auth: spec.client_auth.clone(),
            created_at: self.now,
            updated_at: self.now,
        });
        Ok(())
    }

    fn update_domain(&mut self, update: &DomainUpdate) -> Result<(), Rejection> {
        let Some(old) = self.desired.domains.get(&update.name).cloned() else {
            return Err(Rejection::UnknownDomain(update.name.clone()));
        };
        let new = Domain {
            app: update.app.clone().unwrap_or_else(|| old.app.clone()),
            tenant: update.tenant.clone().unwrap_or_else(|| old.tenant.clone()),
            kind: update.kind.unwrap_or(old.kind),
            cname_target: update.cname_target.clone().unwrap_or_else(|| old.cname_target.clone()),
            certificate: update.certificate.unwrap_or(old.certificate),
            client_auth: update.client_auth.clone().unwrap_or_else(|| old.client_auth.clone()),
            ..Domain::clone(&old)
        };
        if !self.desired.apps.contains_key(&new.app) {
            return Err(Rejection::UnknownApp(new.app));
        }
        if new != *old {
            self.write_domain(Domain { updated_at: self.now, ..new });
        }
        Ok(())
    }

    fn write_domain(&mut self, domain: Domain) {
        self.deltas.push(Delta::PutDomain(Arc::new(domain.clone())));
        self.desired.put_domain(domain);
    }

    fn drain_instance(
        &mut self,
        id: &InstanceId,
        generation: Option<Generation>,
        until: Timestamp,
    ) -> Result<(), Rejection> {
        let old = self.registration(id, generation)?;
        if old.draining.is_none_or(|end| until < end) {
            let instance = Instance { draining: Some(until), ..Instance::clone(&old) };
            self.deltas.push(Delta::PutInstance(Arc::new(instance.clone())));
            self.desired.put_instance(instance);
        }
        Ok(())
    }

    /// The instance, if it is registered, and by this registration if one is given.
    fn registration(
        &self,
        id: &InstanceId,
        generation: Option<Generation>,
    ) -> Result<Arc<Instance>, Rejection> {
        let Some(instance) = self.desired.instances.get(id).cloned() else {
            return Err(Rejection::UnknownInstance(id.clone()));
        };
        if generation.is_some_and(|generation| generation != instance.generation) {
            return Err(Rejection::StaleGeneration { id: id.clone(), current: instance.generation });
        }
        Ok(instance)
    }

    fn remove_instance(&mut self, id: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection> {
        let instance = self.registration(id, generation)?;
        self.desired.remove_instance(&instance.app, id);
        self.deltas.push(Delta::RemoveInstance(instance.app.clone(), id.clone()));
        Ok(())
    }

    fn remove_app(&mut self, id: &AppId) -> Result<(), Rejection> {
        if !self.desired.apps.contains_key(id) {
            return Err(Rejection::UnknownApp(id.clone()));
        }
        let domains = self.desired.domain_count_of(id.as_str());
        if domains > 0 {
            return Err(Rejection::AppHasDomains(id.clone(), domains));
        }
        let instances: Vec<InstanceId> =
            self.desired.instances_of(id.as_str()).map(|i| i.id.clone()).collect();
        for instance in instances {
            self.desired.remove_instance(id, &instance);
            self.deltas.push(Delta::RemoveInstance(id.clone(), instance));
        }
        self.desired.remove_app(id);
        self.deltas.push(Delta::RemoveApp(id.clone()));
        Ok(())
    }

    fn remove_domain(&mut self, name: &Hostname) -> Result<(), Rejection> {
        let Some(domain) = self.desired.domains.get(name).cloned() else {
            return Err(Rejection::UnknownDomain(name.clone()));
        };
        self.desired.remove_domain(&domain.app, name);
        self.deltas.push(Delta::RemoveDomain(name.clone()));
        Ok(())
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

fn room(what: &'static str, count: usize, max: usize) -> Result<(), Rejection> {
    if count < max { Ok(()) } else { Err(Rejection::Full { what, max }) }
}

impl Applied {
    /// The revision after the change.
    pub fn revision(&self) -> Revision {
        self.desired.revision
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
mod tests;
