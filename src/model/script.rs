//! Lua scripts of operators: their sources, which are part of the configuration.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Configured, Kind, Owner, Timestamp};

/// A script of an operator. All scripts together are one bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The values that the owner gave.
    pub spec: Arc<ScriptSpec>,
    /// The owner.
    pub owner: Owner,
    /// Time of its creation.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
}

/// A script as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptSpec {
    /// The id: the path of its file without `.lua`, or a name of its own.
    pub id: Arc<str>,
    /// Path of its file in the bundle, with `/`.
    pub file: Arc<str>,
    /// Whether it runs only where another one requires it.
    pub is_module: bool,
    /// Source.
    pub source: Arc<str>,
}

impl Configured for Script {
    fn key(&self) -> &str {
        &self.spec.id
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn parent(&self) -> Option<(Kind, &str)> {
        None
    }
}
