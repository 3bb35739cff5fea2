//! `gw.log(text)`, `gw.log(level, text)`: lines of the log.

use std::rc::Rc;

use mlua::{Lua, LuaString, Table};

use super::{error, routes, serving};
use crate::budget::Shared;
use crate::host::{LogLevel, LogLine};
use crate::limits;

/// Adds `gw.log`.
pub(super) fn install(lua: &Lua, gw: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let state = shared.clone();
    let log = move |lua: &Lua, (first, second): (LuaString, Option<LuaString>)| {
        let (call, host) = serving(&state, "gw.log")?;
        let (level, text) = match second {
            Some(text) => match LogLevel::parse(&first.as_bytes()) {
                Some(level) => (level, text),
                None => return Err(error("the level of gw.log is debug, info, warn or error")),
            },
            None => (LogLevel::Info, first),
        };
        call.log_lines.set(call.log_lines.get().saturating_add(1));
        if call.log_lines.get() > limits::LOG_LINES_MAX {
            return Ok(());
        }
        let place = routes::place(lua);
        let request_id = call.request.as_ref().map(|request| &*request.0.id).unwrap_or_default();
        let text = printable(&text.as_bytes());
        host.log(LogLine { level, file: &place.file, line: place.line, request_id, text: &text });
        Ok(())
    };
    gw.raw_set("log", lua.create_function(log)?)
}

/// Text for a line of the log: no control characters, no more than 2 KiB.
fn printable(text: &[u8]) -> String {
    let text = &text[..text.len().min(limits::LOG_LINE_BYTES_MAX)];
    let text = String::from_utf8_lossy(text);
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}
