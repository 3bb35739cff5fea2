//! Audit trail: the subject and the outcome of each change, for the log.

use ringway_model::{Change, Revision};

/// Entry of the audit trail.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Changed object: `app app1`, `domain shop.example`.
    pub(crate) subject: Option<String>,
    /// Outcome of the change.
    pub(crate) outcome: Option<&'static str>,
    /// Revision with the change.
    pub(crate) revision: Option<Revision>,
}

/// Describes the object of a change.
pub(crate) fn subject(change: &Change) -> String {
    match change {
        Change::Register { app, instance, domain } => {
            let mut subject = format!("app {}", app.id);
            if let Some(instance) = instance {
                subject.push_str(&format!(", instance {}", instance.id));
            }
            if let Some(domain) = domain {
                subject.push_str(&format!(", domain {}", domain.name));
            }
            subject
        }
        Change::AddInstance(spec) => format!("instance {}", spec.id),
        Change::RemoveInstance { id, .. } | Change::DrainInstance { id, .. } => format!("instance {id}"),
        Change::RemoveApp { id } => format!("app {id}"),
        Change::AddDomain(spec) => format!("domain {}", spec.name),
        Change::UpdateDomain(update) => format!("domain {}", update.name),
        Change::PutWebhook { app, .. } | Change::RemoveWebhook { app } => format!("webhook of app {app}"),
        Change::RemoveDomain { name } => format!("domain {name}"),
        Change::ReplaceOwned(replacement) => format!("configuration of owner {}", replacement.owner),
        Change::ProveVersion { key, .. } => format!("version {key}"),
    }
}
