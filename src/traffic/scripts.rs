//! Lua scripts of a snapshot: the bundle, and the state of scripts that all cores and snapshots share.
//!
//! Without the feature `lua` there are none: [`check`] refuses a configuration with scripts.

#[cfg(not(feature = "lua"))]
mod absent;
#[cfg(feature = "lua")]
mod breaker;
#[cfg(feature = "lua")]
mod compiled;
#[cfg(feature = "lua")]
mod state;

use std::sync::Arc;

use ringway_model::HostPattern;

#[cfg(not(feature = "lua"))]
pub use self::absent::{Scripts, check};
#[cfg(feature = "lua")]
pub use self::breaker::{Admission, ScriptBreaker};
#[cfg(feature = "lua")]
pub use self::compiled::{Scripts, check, hosts};
#[cfg(feature = "lua")]
pub use self::state::ScriptState;

/// Routes of scripts for one host: the action of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptRoutes {
    /// The scripts.
    pub scripts: Arc<Scripts>,
    /// The host that they name; `None` for those that name none.
    pub host: Option<HostPattern>,
}

impl ScriptRoutes {
    /// Name of the rule.
    pub fn name(&self) -> String {
        match &self.host {
            Some(host) => format!("scripts@{host}"),
            None => "scripts".to_owned(),
        }
    }
}

/// Mistake in a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptFinding {
    /// Path of the file in the bundle, and line from 1.
    pub place: Option<(Box<str>, u32)>,
    /// Message.
    pub message: Box<str>,
}
