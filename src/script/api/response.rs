//! `res`: the response, for hooks of responses and of finished requests.

use std::rc::Rc;

use mlua::{Lua, LuaString, UserData, UserDataFields, UserDataMethods, Value};
use ringway_model::Direction;

use super::request::{count_edit, editable, joined};
use super::{error, names};
use crate::budget::{Phase, Shared};
use crate::request::{ResponseState, ScriptRequest};

/// `res`
struct Res {
    shared: Rc<Shared>,
    request: ScriptRequest,
}

/// The object of a response.
pub(super) fn object(lua: &Lua, shared: &Rc<Shared>, request: &ScriptRequest) -> mlua::Result<Value> {
    let res = Res { shared: shared.clone(), request: request.clone() };
    lua.create_userdata(res).map(Value::UserData)
}

impl Res {
    /// Reads the response, where the running call is for it.
    fn read<T>(&self, read: impl FnOnce(&ResponseState) -> mlua::Result<T>) -> mlua::Result<T> {
        self.phase()?;
        match &*self.request.0.response.borrow() {
            Some(response) => read(response),
            None => Err(error("there is no response")),
        }
    }

    fn phase(&self) -> mlua::Result<Phase> {
        let call = self.shared.current().filter(|call| {
            call.request.as_ref().is_some_and(|request| Rc::ptr_eq(&request.0, &self.request.0))
        });
        match call {
            Some(call) => Ok(call.phase),
            None => Err(error("the request is over: res cannot be kept beyond a call")),
        }
    }

    fn edit(
        &self,
        name: &LuaString,
        change: impl FnOnce(&mut ResponseState, &str) -> mlua::Result<()>,
    ) -> mlua::Result<()> {
        if self.phase()? != Phase::Response {
            return Err(error("the response has been sent already: hooks for responses change it"));
        }
        let name = editable(name, Direction::Response)?;
        count_edit(&self.request.0)?;
        match self.request.0.response.borrow_mut().as_mut() {
            Some(response) => change(response, &name),
            None => Err(error("there is no response")),
        }
    }
}

impl ResponseState {
    /// Fields of the response, as they are after the edits so far.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let received = crate::request::fields(&self.lines).filter(|(name, _)| !self.edits.removes(name));
        received.chain(self.edits.fields())
    }

    fn values(&self, name: &LuaString) -> impl Iterator<Item = &[u8]> {
        let name = name.as_bytes().to_vec();
        self.fields().filter(move |(known, _)| known.eq_ignore_ascii_case(&name)).map(|(_, value)| value)
    }
}

impl UserData for Res {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("status", |_, res| res.read(|response| Ok(response.status)));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("header", |lua, res, name: LuaString| {
            res.read(|response| {
                response.values(&name).next().map(|value| lua.create_string(value)).transpose()
            })
        });
        methods.add_method("headers", |lua, res, name: Option<LuaString>| {
            res.read(|response| match &name {
                Some(name) => {
                    let values = response.values(name).map(|value| lua.create_string(value));
                    lua.create_sequence_from(values.collect::<mlua::Result<Vec<_>>>()?)
                }
                None => joined(lua, response.fields()),
            })
        });
        methods.add_method("set_header", |_, res, (name, value): (LuaString, Value)| {
            let value = names::field_value(&value)?;
            res.edit(&name, |response, name| {
                response.edits.set(name, &value).map_err(|wrong| error(format!("{name}: {wrong}")))
            })
        });
        methods.add_method("add_header", |_, res, (name, value): (LuaString, Value)| {
            let value = names::field_value(&value)?;
            res.edit(&name, |response, name| {
                response.edits.append(name, &value).map_err(|wrong| error(format!("{name}: {wrong}")))
            })
        });
        methods.add_method("remove_header", |_, res, name: LuaString| {
            res.edit(&name, |response, name| {
                response.edits.unset(name).map_err(|wrong| error(format!("{name:?}: {wrong}")))
            })
        });
    }
}
