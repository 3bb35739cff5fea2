//! `plugins`, and the stage `plugin` that runs one.

use std::sync::Arc;

use ringway_model::{ExternalFilter, FailMode, Kind, PluginId, PluginKind, PluginRef, PluginSpec};
use serde_json::json;

use super::external::{FAILED_OPEN_HEADER, Protocol, external};
use crate::draft::Draft;
use crate::reader::Tag;
use crate::values::id_schema;
use crate::{Fault, Field, Reader};

/// Reads `plugins`.
pub(in crate::shapes) fn plugins(reader: &mut Reader<'_>, draft: &mut Draft) {
    let plugins =
        reader.list("plugins", "Plugins: services that decide about requests, and builtins.", |reader| {
            let id = reader.required(&ID);
            match &id {
                Some(id) => draft.declare(reader, Kind::Plugin, id.as_str(), ID.name),
                None => draft.names.unreadable.push(Kind::Plugin),
            }
            let hidden = id.as_ref().map(|id| format!("{POOL_OF_PLUGIN}{id}"));
            let hidden = hidden.as_deref();
            let kind = reader.variant(&TYPE, |reader, kind| {
                let fail_mode = reader.optional(&FAIL_MODE).unwrap_or_default();
                let failed_open_header = match kind {
                    "builtin" => None,
                    _ => reader.optional(&FAILED_OPEN_HEADER),
                };
                if failed_open_header.is_some() && fail_mode == FailMode::Closed {
                    let message = "has no effect: without a decision, requests are refused (fail_mode)";
                    reader.warn(FAILED_OPEN_HEADER.name, "conflict", message);
                }
                let of = |filter: ExternalFilter| {
                    PluginKind::External(ExternalFilter { fail_mode, failed_open_header, ..filter })
                };
                match kind {
                    "external_grpc" => external(reader, draft, Protocol::Grpc, hidden).map(of),
                    "external_http" => external(reader, draft, Protocol::Http, hidden).map(of),
                    _ => {
                        let name = reader.required(&NAME)?;
                        let reference = draft.reference(reader, Kind::Plugin, &name, NAME.name);
                        draft.builtins.push(reference);
                        Some(PluginKind::Builtin { name, fail_mode })
                    }
                }
            });
            Some(Arc::new(PluginSpec { id: id?, kind: kind? }))
        });
    draft.sections.plugins |= plugins.is_some();
    draft.plugins.extend(plugins.unwrap_or_default());
}

/// Begin of the ids of pools that addresses of plugins become.
pub(super) const POOL_OF_PLUGIN: &str = "plugin.";

/// Reads `plugin`, whose reference stands beside its type.
pub(super) fn plugin_stage(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<PluginRef> {
    let plugin = reader.required(&REF);
    if let Some(plugin) = &plugin {
        draft.refer(reader, Kind::Plugin, plugin.as_str(), REF.name);
    }
    Some(PluginRef { plugin: plugin? })
}

static TYPE: Tag =
    Tag { name: "type", doc: "Kind of the plugin.", words: &["external_grpc", "external_http", "builtin"] };

static ID: Field<PluginId> = Field {
    name: "id",
    doc: "Id of the plugin.",
    schema: || id_schema("custom-auth"),
    parse: |given| PluginId::parse(given.text()?).map_err(Fault::invalid),
};

static REF: Field<PluginId> = Field { name: "ref", doc: "The plugin, one of `plugins`.", ..ID };

pub(super) static FAIL_MODE: Field<FailMode> = Field {
    name: "fail_mode",
    doc: "Treatment of requests without a decision: closed, they are refused; open, they go on. closed when absent.",
    schema: || json!({ "type": "string", "enum": ["closed", "open"] }),
    parse: |given| match given.text()? {
        "closed" => Ok(FailMode::Closed),
        "open" => Ok(FailMode::Open),
        _ => Err(Fault::invalid("must be closed or open")),
    },
};

static NAME: Field<Arc<str>> = Field {
    name: "name",
    doc: "Name of the stage that the program has under it.",
    schema: || id_schema("structured_logger"),
    parse: |given| PluginId::parse(given.text()?).map(|id| id.as_str().into()).map_err(Fault::invalid),
};
