//! Stored form of chains of middleware stages, of plugins and of scripts.
//!
//! Their content has the form that the model's types define: unlike the other records it is not listed a
//! second time here. A stage that changes reads its earlier forms.

use std::sync::Arc;

use ringway_model::{Middleware, MiddlewareSpec, Plugin, PluginSpec, Script, ScriptSpec, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;

/// The format of chains, plugins and scripts that this version writes.
const FORMAT: u32 = 6;

/// A chain, a plugin or a script.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSpec<T> {
    format: u32,
    owner: StoredOwner,
    spec: Arc<T>,
    created_at: u64,
    updated_at: u64,
}

impl From<&Middleware> for StoredSpec<MiddlewareSpec> {
    fn from(of: &Middleware) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(of.owner.clone()),
            spec: of.spec.clone(),
            created_at: of.created_at.0,
            updated_at: of.updated_at.0,
        }
    }
}

impl From<&Plugin> for StoredSpec<PluginSpec> {
    fn from(of: &Plugin) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(of.owner.clone()),
            spec: of.spec.clone(),
            created_at: of.created_at.0,
            updated_at: of.updated_at.0,
        }
    }
}

impl From<&Script> for StoredSpec<ScriptSpec> {
    fn from(of: &Script) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(of.owner.clone()),
            spec: of.spec.clone(),
            created_at: of.created_at.0,
            updated_at: of.updated_at.0,
        }
    }
}

impl StoredSpec<MiddlewareSpec> {
    pub(super) fn into_model(self) -> Option<Middleware> {
        (self.format <= FORMAT).then_some(())?;
        Some(Middleware {
            spec: self.spec,
            owner: self.owner.0,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

impl StoredSpec<PluginSpec> {
    pub(super) fn into_model(self) -> Option<Plugin> {
        (self.format <= FORMAT).then_some(())?;
        Some(Plugin {
            spec: self.spec,
            owner: self.owner.0,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

impl StoredSpec<ScriptSpec> {
    pub(super) fn into_model(self) -> Option<Script> {
        (self.format <= FORMAT).then_some(())?;
        Some(Script {
            spec: self.spec,
            owner: self.owner.0,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}
