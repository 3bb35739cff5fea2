//! The global `gw`: everything that scripts can do beside computing.
//!
//! Functions check the phase of the call: routes are declared while a bundle is loaded, everything that is
//! not the same in each VM happens in calls only.

mod json;
mod log;
mod names;
mod request;
mod response;
mod routes;
mod shared;
mod tasks;
mod text;

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};

use crate::budget::{CallState, Phase, Shared};
use crate::bundle::{Bundle, ConfigValue};
use crate::host::Host;
use crate::request::ScriptRequest;

pub(crate) use request::ProxyChoice;
pub(crate) use routes::Registry;

/// Adds `gw` and `require` to the globals of a VM.
pub(crate) fn install(
    lua: &Lua,
    shared: &Rc<Shared>,
    registry: &Rc<RefCell<Registry>>,
    bundle: &Bundle,
) -> mlua::Result<()> {
    let gw = lua.create_table()?;
    routes::install(lua, &gw, shared, registry)?;
    tasks::install(lua, &gw, shared)?;
    shared::install(lua, &gw, shared, registry)?;
    text::install(lua, &gw, shared)?;
    json::install(lua, &gw, shared)?;
    log::install(lua, &gw, shared)?;
    gw.raw_set("config", config(lua, bundle)?)?;
    request::prepare(lua, shared)?;
    gw.set_readonly(true);
    lua.globals().raw_set("gw", gw)?;
    lua.globals().raw_set("require", routes::require(lua, shared, bundle)?)
}

/// Arguments of a hook or handler.
pub(crate) fn arguments(
    lua: &Lua,
    shared: &Rc<Shared>,
    phase: Phase,
    request: &ScriptRequest,
) -> mlua::Result<MultiValue> {
    let req = request::object(lua, shared, request)?;
    match phase {
        Phase::Load | Phase::Request => req.into_lua_multi(lua),
        Phase::Response | Phase::Log => (req, response::object(lua, shared, request)?).into_lua_multi(lua),
    }
}

fn config(lua: &Lua, bundle: &Bundle) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in bundle.config() {
        let value = match value {
            ConfigValue::Bool(value) => Value::Boolean(*value),
            ConfigValue::Number(value) => Value::Number(*value),
            ConfigValue::Text(text) => Value::String(lua.create_string(text.as_bytes())?),
        };
        table.raw_set(&**name, value)?;
    }
    table.set_readonly(true);
    Ok(table)
}

/// The running call and the host; an error while a bundle is loaded.
fn serving(shared: &Shared, name: &str) -> mlua::Result<(Rc<CallState>, Rc<dyn Host>)> {
    match (shared.current(), &shared.host) {
        (Some(call), Some(host)) if call.phase != Phase::Load => Ok((call, host.clone())),
        _ => Err(error(format!("{name} works in handlers and hooks, not while a script is loaded"))),
    }
}

/// An error of a function of the API.
fn error(message: impl Into<String>) -> mlua::Error {
    mlua::Error::runtime(message.into())
}
