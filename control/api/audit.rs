//! Audit trail: the subject and the outcome of each change, for the log.

use ringway_model::{Change, Revision};

/// What the audit trail says about a change.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// What it was about: `app app1`, `domain shop.example`.
    pub(crate) subject: Option<String>,
    /// What it did.
    pub(crate) outcome: Option<&'static str>,
    /// The revision that has it.
    pub(crate) revision: Option<Revision>,
}

/// What a change is about, for the audit trail.
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
    }
}
