//! Plans: proposals that were compared with the present sets, to be applied as shown or not at all.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use ringway_config::Document;
use ringway_model::{Desired, Owner, SetVersion};

use super::error::ConfigError;
use super::replacement::OPERATORS;
use crate::limits::CONFIG_PLANS_MAX;

/// The last plans, newest first. Clones share them: a question makes a plan, and a change applies it.
#[derive(Clone, Default)]
pub(super) struct Plans(Arc<Mutex<VecDeque<Plan>>>);

/// A proposal that an operator has looked at.
struct Plan {
    id: Arc<str>,
    owner: Owner,
    document: Document,
    /// Versions of all operators' sets that it was compared with.
    base: Vec<Option<SetVersion>>,
}

impl Plans {
    /// Keeps a proposal that was compared with a configuration. Returns the id of the plan.
    pub(super) fn keep(&self, base: &Desired, owner: Owner, document: Document) -> Arc<str> {
        let id = plan_id(base, &owner, &document.version);
        let plan = Plan { id: id.clone(), owner, document, base: versions(base) };
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|known| known.id != id);
        plans.truncate(CONFIG_PLANS_MAX - 1);
        plans.push_front(plan);
        id
    }

    /// Owner and document of a plan.
    ///
    /// # Errors
    /// [`ConfigError::PlanOutdated`] for an unknown plan, and when a set has changed since.
    pub(super) fn find(&self, id: &str, present: &Desired) -> Result<(Owner, Document), ConfigError> {
        let plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plans.iter().find(|plan| &*plan.id == id).filter(|plan| plan.base == versions(present));
        plan.map(|plan| (plan.owner.clone(), plan.document.clone())).ok_or(ConfigError::PlanOutdated)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Versions of all operators' sets.
fn versions(desired: &Desired) -> Vec<Option<SetVersion>> {
    let version = |owner| desired.version_of(owner).map(|version| version.version.clone());
    OPERATORS.iter().map(version).collect()
}

fn plan_id(desired: &Desired, owner: &Owner, version: &SetVersion) -> Arc<str> {
    // Plans live as long as this process.
    static KEY: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    format!("{:016x}", KEY.hash_one((owner, version, versions(desired)))).into()
}
