//! Trail of one request: the objects and the outcome of its change.

use ringway_control::AuthChange;
use ringway_model::{Change, Revision, RouteId};

/// Facts about a change that its handler collects.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    /// Changed objects: kind and id.
    pub(crate) objects: Vec<(&'static str, String)>,
    /// Outcome of the change.
    pub(crate) outcome: Option<&'static str>,
    /// Revision with the change.
    pub(crate) revision: Option<Revision>,
    /// Change of an owner's whole set.
    pub(crate) configuration: Option<ConfigurationTrail>,
}

/// Change of the configuration of an owner.
#[derive(Debug, Default)]
pub(crate) struct ConfigurationTrail {
    pub(crate) owner: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
    pub(crate) reason: Option<String>,
    /// Routes whose authentication is another one, with those that have lost it first.
    pub(crate) auth_changes: Vec<(AuthChange, RouteId)>,
}

impl Trail {
    /// Objects as one text: `app app1, domain shop.example`.
    pub(crate) fn subject(&self) -> String {
        let mut text = String::new();
        for (kind, id) in &self.objects {
            let separator = if text.is_empty() { "" } else { ", " };
            text.extend([separator, kind, " ", id]);
        }
        text
    }
}

/// Objects of a change.
pub(crate) fn objects(change: &Change) -> Vec<(&'static str, String)> {
    match change {
        Change::Register { app, instance, domain } => {
            let instance = instance.as_ref().map(|instance| ("instance", instance.id.to_string()));
            let domain = domain.as_ref().map(|domain| ("domain", domain.name.to_string()));
            [Some(("app", app.id.to_string())), instance, domain].into_iter().flatten().collect()
        }
        Change::AddInstance(spec) => vec![("instance", spec.id.to_string())],
        Change::RemoveInstance { id, .. } | Change::DrainInstance { id, .. } => {
            vec![("instance", id.to_string())]
        }
        Change::RemoveApp { id } => vec![("app", id.to_string())],
        Change::AddDomain(spec) => vec![("domain", spec.name.to_string())],
        Change::UpdateDomain(update) => vec![("domain", update.name.to_string())],
        Change::PutWebhook { app, .. } | Change::RemoveWebhook { app } => vec![("webhook", app.to_string())],
        Change::RemoveDomain { name } => vec![("domain", name.to_string())],
        Change::ReplaceOwned(replacement) => vec![("configuration", replacement.owner.to_string())],
        Change::PutCanaryState(state) => vec![("canary", state.route.to_string())],
        Change::RemoveCanaryState { route } => vec![("canary", route.to_string())],
        Change::PutEndpointOverride(of) => vec![("endpoint", of.instance.to_string())],
        Change::RemoveEndpointOverride { instance } => vec![("endpoint", instance.to_string())],
        Change::ProveVersion { key, .. } => vec![("version", key.to_string())],
    }
}
