//! Rebase: a configuration with a change that is only tried, moved onto what was stored meanwhile.

use std::fmt;
use std::sync::Arc;

use crate::{Configured, Delta, Desired, HostPattern, Kind, Owner, Resource};

/// Reason why a change that was stored cannot stand beside one that is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// Both changed the same resource.
    SameResource(Kind, Arc<str>),
    /// The host of a registered domain belongs to a route that is tried.
    HostTaken {
        /// The domain.
        host: Arc<str>,
        /// The route.
        route: Arc<str>,
        /// Its owner.
        owner: Owner,
    },
    /// A resource refers to one that does not exist.
    Dangling {
        /// Kind and key of the resource.
        of: (Kind, Arc<str>),
        /// Kind and key of the missing one.
        missing: (Kind, Arc<str>),
    },
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameResource(kind, key) => write!(f, "{kind} {key} was changed"),
            Self::HostTaken { host, route, owner } => {
                write!(f, "domain {host} was registered, whose host route {route} of owner {owner} has")
            }
            Self::Dangling { of: (kind, key), missing: (missing, name) } => {
                write!(f, "{kind} {key} refers to {missing} {name}, which does not exist")
            }
        }
    }
}

impl std::error::Error for Contradiction {}

impl Desired {
    /// Applies `deltas`, which led to `onto`, to this configuration, which differs from the one before by a
    /// change of the resources that `is_changed` admits. The result differs from `onto` by that change, and
    /// has the revision after it. The cost follows the deltas.
    ///
    /// # Errors
    /// The two changes contradict each other.
    pub fn rebase(
        &self,
        onto: &Self,
        deltas: &[Delta],
        is_changed: impl Fn(Kind, &str) -> bool,
    ) -> Result<Self, Contradiction> {
        let mut rebased = self.at_revision_after(onto);
        for delta in deltas {
            let (Delta::Put(resource) | Delta::Remove(resource)) = delta;
            if is_changed(resource.kind(), resource.key()) {
                return Err(Contradiction::SameResource(resource.kind(), resource.key().into()));
            }
            match delta {
                Delta::Put(resource) => rebased.put(resource.clone()),
                Delta::Remove(resource) => rebased.remove(resource),
            }
        }
        deltas.iter().try_for_each(|delta| rebased.check(delta))?;
        Ok(rebased)
    }

    /// Checks what a change of other resources may have broken.
    fn check(&self, delta: &Delta) -> Result<(), Contradiction> {
        match delta {
            Delta::Put(resource) => {
                self.check_references(resource)?;
                if let Resource::Domain(domain) = resource {
                    let host = HostPattern::Exact(domain.name.clone());
                    if let Some(route) = self.routes_of_host(&host).find(|route| !route.is_attached) {
                        return Err(Contradiction::HostTaken {
                            host: domain.name.as_str().into(),
                            route: route.key().into(),
                            owner: route.owner.clone(),
                        });
                    }
                }
                Ok(())
            }
            Delta::Remove(Resource::App(app)) if self.app(app.id.as_str()).is_none() => {
                let mut routes = self.routes_of_pool(app.id.as_str());
                routes.try_for_each(|route| self.check_references(&Resource::from(route.clone())))?;
                self.check_unused(Kind::App, app.id.as_str())
            }
            Delta::Remove(Resource::Middleware(of)) if self.middleware(of.key()).is_none() => {
                self.check_unused(Kind::Middleware, of.key())
            }
            Delta::Remove(Resource::Plugin(of)) if self.plugin(of.key()).is_none() => {
                self.check_unused(Kind::Plugin, of.key())
            }
            Delta::Remove(Resource::Policy(policy)) if self.policy(policy.id.as_str()).is_none() => {
                match self.users_of_policy(policy.id.as_str()).next() {
                    Some((kind, key, _)) => Err(Contradiction::Dangling {
                        of: (kind, key),
                        missing: (Kind::Policy, policy.id.as_str().into()),
                    }),
                    None => Ok(()),
                }
            }
            Delta::Remove(_) => Ok(()),
        }
    }

    /// Checks that no middleware refers to a resource that is gone.
    fn check_unused(&self, kind: Kind, id: &str) -> Result<(), Contradiction> {
        match self.users(kind, id).next() {
            Some((user, key)) => {
                Err(Contradiction::Dangling { of: (*user, key.clone()), missing: (kind, id.into()) })
            }
            None => Ok(()),
        }
    }

    fn check_references(&self, resource: &Resource) -> Result<(), Contradiction> {
        let of = || (resource.kind(), resource.key().into());
        if let Some((kind, key)) = resource.parent().filter(|(kind, key)| !self.contains(*kind, key)) {
            return Err(Contradiction::Dangling { of: of(), missing: (kind, key.into()) });
        }
        let used = resource.of_middleware();
        if let Some(missing) = used.into_iter().find(|(kind, key)| !self.contains(*kind, key)) {
            return Err(Contradiction::Dangling { of: of(), missing });
        }
        match resource.policies().find(|policy| self.policy(policy.as_str()).is_none()) {
            Some(policy) => {
                Err(Contradiction::Dangling { of: of(), missing: (Kind::Policy, policy.as_str().into()) })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "rebase_tests.rs"]
mod tests;
