//! Chains of middleware stages and plugins, whose serialised form is that of documents.

use ringway_model::{MiddlewareSpec, PluginSpec, StageSpec};
use serde_json::Value as Json;

/// A chain as an object.
pub(super) fn middleware(spec: &MiddlewareSpec) -> Json {
    json_of(spec)
}

/// A plugin as an object.
pub(super) fn plugin(spec: &PluginSpec) -> Json {
    json_of(spec)
}

/// A stage in one line, for differences.
pub fn stage_text(stage: &StageSpec) -> String {
    json_of(stage).to_string()
}

/// Kind and settings of a plugin in one line, for differences.
pub fn plugin_text(spec: &PluginSpec) -> String {
    json_of(&spec.kind).to_string()
}

fn json_of(value: &impl serde::Serialize) -> Json {
    serde_json::to_value(value).expect("strings, numbers and lists serialise")
}
