//! The stage `lua`, which runs the hooks of a script.

use std::sync::Arc;

use ringway_model::{FailMode, Kind, LuaStage};

use super::external::ASSERTS;
use super::plugins::FAIL_MODE;
use crate::draft::Draft;
use crate::values::text;
use crate::{Field, Reader};

/// Reads `lua`, whose script stands beside its type.
pub(super) fn lua_stage(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<LuaStage> {
    let script = reader.required(&SCRIPT);
    if let Some(script) = &script {
        draft.refer(reader, Kind::Script, script, SCRIPT.name);
    }
    let fail_mode: FailMode = reader.optional(&FAIL_MODE).unwrap_or_default();
    let asserts = reader.optional(&ASSERTS).unwrap_or_default().into();
    Some(LuaStage { script: script?, fail_mode, asserts })
}

static SCRIPT: Field<Arc<str>> = text("script", "The script, one of `scripts`: its hooks of `gw.use` run.");
