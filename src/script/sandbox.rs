//! Sandbox: the libraries that scripts have, with functions in them that no limit would stop replaced.
//!
//! Functions of C++ look at no interrupt. Those that take long for large arguments are charged for their
//! bytes, or search in linear time, or call back into Lua, which can be interrupted (`sandbox.luau`).

use std::rc::Rc;

use memchr::memmem;
use mlua::chunk::ChunkMode;
use mlua::{Lua, LuaOptions, LuaString, StdLib, Table, Value, VmState};

use crate::budget::Shared;
use crate::bundle;

/// Returns a VM with limits, before its libraries are closed.
pub(crate) fn open(shared: &Rc<Shared>) -> mlua::Result<Lua> {
    let libraries =
        StdLib::TABLE | StdLib::STRING | StdLib::UTF8 | StdLib::BIT | StdLib::MATH | StdLib::BUFFER;
    // Panics of ours must not end in a script's pcall. mlua's own way to see to that makes pcall a function
    // that cannot yield; the sandbox has a pcall that resumes them (`reraise`).
    let lua =
        Lua::new_with(libraries, LuaOptions::new().catch_rust_panics(true).thread_pool_size(THREADS_KEPT))?;
    lua.set_memory_limit(shared.limits.memory_bytes)?;
    let interrupt = shared.clone();
    lua.set_interrupt(move |lua| -> mlua::Result<VmState> { interrupt.step(lua) });
    Ok(lua)
}

/// Replaces and removes functions, and makes libraries read-only. All asynchronous functions exist by now:
/// making one needs the library `coroutine`, which scripts must not have (they would get its tokens).
pub(crate) fn close(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<()> {
    let globals = lua.globals();
    let code = bundle::compiler().compile(include_str!("sandbox.luau"))?;
    let replace = lua.load(&code[..]).set_mode(ChunkMode::Binary).set_name("=sandbox").into_function()?;
    let native = lua.create_table()?;
    let charge = shared.clone();
    native.raw_set("charge", lua.create_function(move |_, bytes: f64| charge.charge(bytes as usize))?)?;
    // Converting an error that is a panic of ours resumes it.
    native.raw_set("reraise", lua.create_function(|_, _: Value| Ok(()))?)?;
    native.raw_set("globals", &globals)?;
    native.raw_set("find", lua.create_function(find)?)?;
    native.raw_set("is_plain", lua.create_function(is_plain)?)?;
    native.raw_set("split", lua.create_function(split)?)?;
    let random = shared.clone();
    native.raw_set(
        "random",
        lua.create_function(move |_, ()| match &random.host {
            Some(host) => Ok((host.random() >> 11) as f64 / (1_u64 << 53) as f64),
            None => Err(mlua::Error::runtime("there are no random numbers while a script is loaded")),
        })?,
    )?;
    replace.call::<()>(native)?;
    for name in REMOVED {
        globals.raw_set(*name, Value::Nil)?;
    }
    lua.sandbox(true)
}

/// Makes globals read-only. Variables outside of functions stay what they are: each core has its own.
pub(crate) fn freeze(lua: &Lua) {
    lua.globals().set_readonly(true);
}

/// Globals that scripts do not have.
const REMOVED: &[&str] =
    &["collectgarbage", "coroutine", "gcinfo", "getfenv", "loadstring", "newproxy", "print", "setfenv"];

/// Coroutines that are kept for later calls.
const THREADS_KEPT: usize = 64;

/// `string.find` of plain text: linear.
fn find(
    _: &Lua,
    (text, plain, init): (LuaString, LuaString, Option<f64>),
) -> mlua::Result<(Option<usize>, Option<usize>)> {
    let (text, plain) = (text.as_bytes(), plain.as_bytes());
    let begin = match init.unwrap_or(1.0) as i64 {
        init @ 1.. => (init - 1) as usize,
        0 => 0,
        init => text.len().saturating_sub(init.unsigned_abs() as usize),
    };
    let Some(rest) = text.get(begin..) else { return Ok((None, None)) };
    Ok(match memmem::find(rest, &plain) {
        Some(at) => (Some(begin + at + 1), Some(begin + at + plain.len())),
        None => (None, None),
    })
}

/// Whether a pattern is text: it has no special characters.
fn is_plain(_: &Lua, pattern: LuaString) -> mlua::Result<bool> {
    Ok(!pattern.as_bytes().iter().any(|byte| b"^$*+?.([%-".contains(byte)))
}

/// `string.split`: linear.
fn split(lua: &Lua, (text, separator): (LuaString, LuaString)) -> mlua::Result<Table> {
    let (text, separator) = (text.as_bytes(), separator.as_bytes());
    let parts = lua.create_table()?;
    if separator.is_empty() {
        for byte in text.iter() {
            parts.raw_push(lua.create_string([*byte])?)?;
        }
        return Ok(parts);
    }
    let mut begin = 0;
    for at in memmem::find_iter(&text, &separator) {
        parts.raw_push(lua.create_string(&text[begin..at])?)?;
        begin = at + separator.len();
    }
    parts.raw_push(lua.create_string(&text[begin..])?)?;
    Ok(parts)
}

#[cfg(test)]
#[path = "sandbox_tests.rs"]
mod tests;
