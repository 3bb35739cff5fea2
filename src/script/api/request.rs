//! `req`: the request, for hooks and handlers. It is dead outside of calls for its request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;

use mlua::{Lua, LuaString, MetaMethod, Table, UserData, UserDataFields, UserDataMethods, Value};
use ringway_model::Direction;

use super::{error, names};
use crate::budget::{Phase, Shared};
use crate::limits;
use crate::request::{RequestState, ScriptRequest};
use crate::route_table::decode;

/// `req`
struct Req {
    shared: Rc<Shared>,
    request: ScriptRequest,
}

/// `req.vars`: texts that hooks of a request leave to each other.
struct Vars(Req);

/// `req:proxy(pool)` as a value, to be returned by a handler.
pub(crate) struct ProxyChoice;

impl UserData for ProxyChoice {}

/// The object of a request.
pub(super) fn object(lua: &Lua, shared: &Rc<Shared>, request: &ScriptRequest) -> mlua::Result<Value> {
    let req = Req { shared: shared.clone(), request: request.clone() };
    lua.create_userdata(req).map(Value::UserData)
}

/// Makes the methods of requests. One of them is asynchronous: that is possible while the VM is open only.
pub(super) fn prepare(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<()> {
    object(lua, shared, &ScriptRequest::empty()).map(drop)
}

impl Req {
    /// The request, where the running call is for it.
    fn alive(&self) -> mlua::Result<&RequestState> {
        let is_its_call = self.shared.current().is_some_and(|call| {
            call.request.as_ref().is_some_and(|request| Rc::ptr_eq(&request.0, &self.request.0))
        });
        match is_its_call {
            true => Ok(&self.request.0),
            false => Err(error("the request is over: req cannot be kept beyond a call")),
        }
    }

    /// The same, while the request can be changed.
    fn changing(&self) -> mlua::Result<&RequestState> {
        let request = self.alive()?;
        match self.shared.current().map(|call| call.phase) {
            Some(Phase::Request) => Ok(request),
            _ => Err(error("the request has been sent already: hooks for responses change res")),
        }
    }

    fn edit(
        &self,
        name: &LuaString,
        change: impl FnOnce(&RequestState, &str) -> mlua::Result<()>,
    ) -> mlua::Result<()> {
        let request = self.changing()?;
        let name = editable(name, Direction::Request)?;
        count_edit(request)?;
        change(request, &name)
    }
}

/// Counts an edit of header fields.
pub(super) fn count_edit(request: &RequestState) -> mlua::Result<()> {
    match request.count_edit() {
        true => Ok(()),
        false => Err(error("a request has at most 64 edits")),
    }
}

/// A name of a header field that scripts may change.
pub(super) fn editable(name: &LuaString, direction: Direction) -> mlua::Result<String> {
    let name = names::utf8("the name of a header field", name)?;
    match direction.protects(&name) {
        true => Err(error(format!("{name:?} is set by the gateway: scripts cannot change it"))),
        false => Ok(name),
    }
}

impl UserData for Req {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("method", |lua, req| lua.create_string(req.alive()?.method()));
        fields.add_field_method_get("host", |lua, req| lua.create_string(req.alive()?.host()));
        fields.add_field_method_get("path", |lua, req| {
            let request = req.alive()?;
            let chosen = request.choice.borrow().path.clone();
            let path = chosen.as_deref().and_then(|path| path.split('?').next());
            lua.create_string(path.unwrap_or(request.path()))
        });
        fields.add_field_method_get("query", |lua, req| {
            req.alive()?.query().map(|query| lua.create_string(query)).transpose()
        });
        fields.add_field_method_get("scheme", |_, req| {
            Ok(if req.alive()?.is_secure { "https" } else { "http" })
        });
        fields.add_field_method_get("client_ip", |lua, req| lua.create_string(&*req.alive()?.client));
        fields.add_field_method_get("id", |lua, req| lua.create_string(&*req.alive()?.id));
        fields.add_field_method_get("route", |lua, req| lua.create_string(&*req.alive()?.route));
        fields.add_field_method_get("tenant", |lua, req| {
            req.alive()?.tenant.as_deref().map(|tenant| lua.create_string(tenant)).transpose()
        });
        fields.add_field_method_get("params", |lua, req| params(lua, req.alive()?));
        fields.add_field_method_get("auth", |lua, req| auth(lua, req.alive()?));
        fields.add_field_method_get("vars", |_, req| {
            req.alive()?;
            Ok(Vars(Req { shared: req.shared.clone(), request: req.request.clone() }))
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("header", |lua, req, name: LuaString| {
            let request = req.alive()?;
            let name = name.as_bytes();
            first(request, &name).map(|value| lua.create_string(value)).transpose()
        });
        methods.add_method("headers", |lua, req, name: Option<LuaString>| {
            let request = req.alive()?;
            match name {
                Some(name) => {
                    let values = all(request, &name.as_bytes());
                    let values = values.into_iter().map(|value| lua.create_string(value));
                    lua.create_sequence_from(values.collect::<mlua::Result<Vec<_>>>()?)
                }
                None => table_of(lua, request),
            }
        });
        methods.add_method("cookie", |lua, req, name: LuaString| {
            let request = req.alive()?;
            let lines = all(request, b"cookie");
            let pairs = lines.iter().flat_map(|line| line.split(|byte| *byte == b';'));
            let value = pairs.map(<[u8]>::trim_ascii).find_map(|pair| cookie_value(pair, &name.as_bytes()));
            value.map(|value| lua.create_string(value)).transpose()
        });
        methods.add_method("arg", |lua, req, name: LuaString| {
            let request = req.alive()?;
            let value = argument(request.query().unwrap_or_default(), &name.as_bytes());
            value.map(|value| lua.create_string(value)).transpose()
        });
        methods.add_method("set_header", |_, req, (name, value): (LuaString, Value)| {
            let value = names::field_value(&value)?;
            req.edit(&name, |request, name| {
                let set = request.edits.borrow_mut().set(name, &value);
                set.map_err(|wrong| error(format!("{name}: {wrong}")))
            })
        });
        methods.add_method("add_header", |_, req, (name, value): (LuaString, Value)| {
            let value = names::field_value(&value)?;
            req.edit(&name, |request, name| {
                let added = request.edits.borrow_mut().append(name, &value);
                added.map_err(|wrong| error(format!("{name}: {wrong}")))
            })
        });
        methods.add_method("remove_header", |_, req, name: LuaString| {
            req.edit(&name, |request, name| {
                request.edits.borrow_mut().unset(name).map_err(|wrong| error(format!("{name:?}: {wrong}")))
            })
        });
        methods.add_method("use_pool", |_, req, pool: LuaString| choose_pool(req.changing()?, &pool));
        methods.add_method("proxy", |_, req, pool: LuaString| {
            choose_pool(req.changing()?, &pool)?;
            Ok(ProxyChoice)
        });
        methods.add_method("set_path", |_, req, path: LuaString| set_path(req.changing()?, &path));
        methods.add_async_method("body", |lua, req, max: Option<Value>| async move {
            let bytes_max = match &max {
                None | Some(Value::Nil) => limits::BODY_BYTES_MAX,
                Some(max) => names::number("max", max, 0.0, limits::BODY_BYTES_MAX as f64)? as usize,
            };
            req.changing()?;
            let body = poll_fn(|cx| req.request.0.poll_body(bytes_max, cx)).await;
            match body {
                Ok(bytes) if bytes.len() <= bytes_max => Ok((Some(lua.create_string(&*bytes)?), None)),
                Ok(_) | Err(_) => Ok((None, Some("the body is too long, or broke off"))),
            }
        });
    }
}

impl UserData for Vars {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |lua, vars, name: LuaString| {
            let values = vars.0.alive()?.vars.borrow();
            values.get(&*name.as_bytes()).map(|value| lua.create_string(value)).transpose()
        });
        methods.add_meta_method(MetaMethod::NewIndex, |_, vars, (name, value): (LuaString, Value)| {
            let request = vars.0.alive()?;
            let name = names::text("the name of a variable", &name)?;
            let mut values = request.vars.borrow_mut();
            values.remove(&*name);
            if value.is_nil() {
                return Ok(());
            }
            let value = names::bytes("a variable of req.vars", &value)?;
            let used: usize = values.iter().map(|(name, value)| name.len() + value.len()).sum();
            if used + name.len() + value.len() > limits::VARS_BYTES_MAX {
                return Err(error("req.vars has room for 4 KiB"));
            }
            values.insert(name.into(), value.into());
            Ok(())
        });
    }
}

/// The first value of a field, as it is after the edits so far.
fn first<'r>(request: &'r RequestState, name: &[u8]) -> Option<Cow<'r, [u8]>> {
    if !request.has_edits() {
        return request
            .received()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.into());
    }
    all(request, name).into_iter().next().map(Cow::Owned)
}

/// All values of a field, one per line, as they are after the edits so far.
fn all(request: &RequestState, name: &[u8]) -> Vec<Vec<u8>> {
    let edits = request.edits.borrow();
    let is_kept = !edits.removes(name);
    let received = request.received().filter(|(known, _)| is_kept && known.eq_ignore_ascii_case(name));
    let name = String::from_utf8_lossy(name);
    received.map(|(_, value)| value.to_vec()).chain(edits.added(&name).map(<[u8]>::to_vec)).collect()
}

/// All fields: names in lower case, values joined (RFC 9110 §5.3).
fn table_of(lua: &Lua, request: &RequestState) -> mlua::Result<Table> {
    let edits = request.edits.borrow();
    let kept = request.received().filter(|(name, _)| !edits.removes(name));
    joined(lua, kept.chain(edits.fields()))
}

/// A table of fields: names in lower case, values of the same name joined.
pub(super) fn joined<'f>(
    lua: &Lua,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> mlua::Result<Table> {
    let mut values: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (name, value) in fields {
        let name = name.to_ascii_lowercase();
        let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
        match values.get_mut(&name) {
            Some(known) => known.extend(separator.iter().chain(value)),
            None => {
                values.insert(name, value.to_vec());
            }
        }
    }
    let table = lua.create_table()?;
    for (name, value) in values {
        table.raw_set(lua.create_string(name)?, lua.create_string(value)?)?;
    }
    Ok(table)
}

fn params(lua: &Lua, request: &RequestState) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, value) in &request.parameters {
        table.raw_set(&**name, lua.create_string(value)?)?;
    }
    Ok(table)
}

fn auth(lua: &Lua, request: &RequestState) -> mlua::Result<Option<Table>> {
    let Some(identity) = &request.identity else { return Ok(None) };
    let claims = lua.create_table()?;
    for (name, value) in &identity.claims {
        claims.raw_set(&**name, &**value)?;
    }
    let table = lua.create_table()?;
    table.raw_set("user", &*identity.user)?;
    table.raw_set("claims", claims)?;
    Ok(Some(table))
}

/// Value of a pair with this name. Spaces around both do not count, as for servers that trim them.
fn cookie_value<'p>(pair: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let end = pair.iter().position(|byte| *byte == b'=')?;
    (pair[..end].trim_ascii() == name).then(|| pair[end + 1..].trim_ascii())
}

/// Value of an argument of the query, decoded.
fn argument(query: &str, name: &[u8]) -> Option<Vec<u8>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut found = pairs.filter(|(known, _)| decode(known.as_bytes(), true) == name);
    found.next().map(|(_, value)| decode(value.as_bytes(), true))
}

fn choose_pool(request: &RequestState, pool: &LuaString) -> mlua::Result<()> {
    let pool = names::name("pool", pool)?;
    if !request.may_use(&pool) {
        return Err(error(format!("the route does not list the pool {pool}")));
    }
    request.choice.borrow_mut().pool = Some(pool);
    Ok(())
}

/// The worker normalizes the path as it does with that of a client.
fn set_path(request: &RequestState, path: &LuaString) -> mlua::Result<()> {
    if !request.may_set_path() {
        return Err(error("set_path has to stand before authentication, which judges the path"));
    }
    let path = names::utf8("the path", path)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !path.starts_with('/') || path.len() > PATH_BYTES_MAX || !path.bytes().all(is_plain) {
        return Err(error("a path begins with / and has visible ASCII characters only, at most 8 KiB"));
    }
    request.choice.borrow_mut().path = Some(path.into());
    Ok(())
}

/// 8 KiB: a path that scripts set, with its query.
const PATH_BYTES_MAX: usize = 8 * 1024;
