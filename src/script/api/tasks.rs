//! Functions that wait: `gw.fetch`, `gw.sleep`, `gw.all`, `gw.once`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};
use ringway_middleware::{CallResponse, Edits};
use ringway_model::Direction;

use super::request::joined;
use super::{error, names, serving};
use crate::budget::Shared;
use crate::host::Fetch;
use crate::limits;

/// Adds the functions to `gw`.
pub(super) fn install(lua: &Lua, gw: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let state = shared.clone();
    let sleep = move |_: Lua, millis: Value| {
        let state = state.clone();
        async move {
            let (_, host) = serving(&state, "gw.sleep")?;
            let most = limits::SLEEP_MAX.as_millis() as f64;
            let millis = names::number("the time of gw.sleep in ms", &millis, 0.0, most)?;
            host.sleep(Duration::from_micros((millis * 1000.0) as u64)).await;
            Ok(())
        }
    };
    gw.raw_set("sleep", lua.create_async_function(sleep)?)?;
    let state = shared.clone();
    let fetch = move |lua: Lua, options: Table| {
        let state = state.clone();
        async move { fetch(&lua, &state, &options).await }
    };
    gw.raw_set("fetch", lua.create_async_function(fetch)?)?;
    let state = shared.clone();
    let all = move |_: Lua, tasks: Table| {
        let state = state.clone();
        async move {
            serving(&state, "gw.all")?;
            all(&tasks).await
        }
    };
    gw.raw_set("all", lua.create_async_function(all)?)?;
    let (state, flights) = (shared.clone(), Rc::new(RefCell::new(Flights::default())));
    let once = move |_: Lua, (key, ttl, f): (Value, Value, Function)| {
        let (state, flights) = (state.clone(), flights.clone());
        async move { once(&state, &flights, &key, &ttl, f).await }
    };
    gw.raw_set("once", lua.create_async_function(once)?)
}

// --- gw.fetch ----------------------------------------------------------------------------------------------

async fn fetch(lua: &Lua, shared: &Shared, options: &Table) -> mlua::Result<MultiValue> {
    let (call, host) = serving(shared, "gw.fetch")?;
    let fetch = request_of(shared, options)?;
    let count = call.fetches.get() + 1;
    call.fetches.set(count);
    if count > shared.limits.fetches {
        return Err(error(format!("a call has at most {} fetches", shared.limits.fetches)));
    }
    // Only the call's own future may wait, and not with the call in hand.
    drop(call);
    match host.fetch(fetch).await {
        Ok(response) => response_table(lua, &response)?.into_lua_multi(lua),
        Err(failed) => (Value::Nil, failed.as_str()).into_lua_multi(lua),
    }
}

fn request_of(shared: &Shared, options: &Table) -> mlua::Result<Fetch> {
    let mut fetch = Fetch {
        pool: "".into(),
        method: "GET".into(),
        path: "/".into(),
        lines: Vec::new(),
        body: Vec::new(),
        timeout: shared.limits.deadline,
        response_bytes_max: limits::REPLY_BYTES_MAX.min(shared.limits.memory_bytes / 4),
    };
    for pair in options.pairs::<LuaString, Value>() {
        let (option, value) = pair.map_err(|_| error("gw.fetch takes a table of options"))?;
        match (&*option.as_bytes(), &value) {
            (b"pool", Value::String(text)) => fetch.pool = names::name("pool", text)?,
            (b"method", Value::String(text)) => fetch.method = method(text)?,
            (b"path", Value::String(text)) => fetch.path = path(text)?,
            (b"headers", Value::Table(fields)) => fetch.lines = lines(fields)?,
            (b"body", Value::String(text)) => {
                fetch.body = text.as_bytes().to_vec();
                if fetch.body.len() > limits::BODY_BYTES_MAX {
                    return Err(error("gw.fetch: a body has at most 64 KiB"));
                }
            }
            (b"timeout", value) => {
                let most = shared.limits.deadline.as_millis() as f64;
                let millis = names::number("timeout", value, 1.0, f64::INFINITY)?.min(most);
                fetch.timeout = Duration::from_millis(millis as u64);
            }
            (option, _) => {
                let option = String::from_utf8_lossy(option);
                return Err(error(format!("gw.fetch: {option} is no option, or its value has another type")));
            }
        }
    }
    match fetch.pool.is_empty() {
        true => Err(error("gw.fetch{pool = …} needs a pool")),
        false => Ok(fetch),
    }
}

fn method(text: &LuaString) -> mlua::Result<Box<str>> {
    let method = names::utf8("the method", text)?;
    let is_token =
        !method.is_empty() && method.len() <= 32 && method.bytes().all(|byte| byte.is_ascii_uppercase());
    match is_token && !matches!(&*method, "CONNECT" | "TRACE") {
        true => Ok(method.into()),
        false => Err(error("gw.fetch: a method has upper-case letters, and is not CONNECT or TRACE")),
    }
}

fn path(text: &LuaString) -> mlua::Result<Box<str>> {
    let path = names::utf8("the path", text)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    match path.starts_with('/') && path.len() <= PATH_BYTES_MAX && path.bytes().all(is_plain) {
        true => Ok(path.into()),
        false => Err(error("gw.fetch: a path begins with / and has visible ASCII characters, at most 8 KiB")),
    }
}

/// 8 KiB: path and query of a fetch.
const PATH_BYTES_MAX: usize = 8 * 1024;

/// Field lines. Fields of the connection and those that the gateway sets are refused.
fn lines(fields: &Table) -> mlua::Result<Vec<u8>> {
    let mut edits = Edits::default();
    for (count, pair) in fields.pairs::<LuaString, Value>().enumerate() {
        let (name, value) = pair.map_err(|_| error("headers is a table of names and values"))?;
        if count >= limits::EDITS_MAX as usize {
            return Err(error("gw.fetch: at most 64 headers"));
        }
        let name = super::request::editable(&name, Direction::Request)?;
        if value.is_nil() {
            continue;
        }
        let value = names::field_value(&value)?;
        edits.append(&name, &value).map_err(|wrong| error(format!("{name}: {wrong}")))?;
    }
    match edits.lines().len() > limits::FIELDS_BYTES_MAX {
        true => Err(error("gw.fetch: the headers have at most 64 KiB")),
        false => Ok(edits.lines().to_vec()),
    }
}

fn response_table(lua: &Lua, response: &CallResponse) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("status", response.status)?;
    table.raw_set("body", lua.create_string(&response.body)?)?;
    table.raw_set("headers", joined(lua, crate::request::fields(&response.lines))?)?;
    Ok(table)
}

// --- gw.all ------------------------------------------------------------------------------------------------

/// Task of `gw.all`, or its results.
enum Task {
    Runs(Pin<Box<dyn Future<Output = mlua::Result<Value>>>>),
    Ended(Value),
}

/// Runs functions beside each other, and returns a list of their first results. The first error ends all.
async fn all(tasks: &Table) -> mlua::Result<Table> {
    let functions = tasks.sequence_values::<Function>().collect::<mlua::Result<Vec<_>>>();
    let functions = functions.map_err(|_| error("gw.all takes a list of functions"))?;
    if functions.len() > limits::TASKS_MAX {
        return Err(error("gw.all takes at most 64 functions"));
    }
    let Some(lua) = functions.first().map(|function| function.weak_lua().upgrade()) else {
        return Err(error("gw.all takes a list of functions"));
    };
    let run = |function: &Function| Task::Runs(Box::pin(function.call_async::<Value>(())));
    let mut tasks: Vec<Task> = functions.iter().map(run).collect();
    poll_fn(|cx| {
        let mut waits = false;
        for task in &mut tasks {
            let Task::Runs(future) = task else { continue };
            match future.as_mut().poll(cx) {
                Poll::Ready(Ok(value)) => *task = Task::Ended(value),
                Poll::Ready(Err(failed)) => return Poll::Ready(Err(failed)),
                Poll::Pending => waits = true,
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    let results = lua.create_table()?;
    for (index, task) in tasks.into_iter().enumerate() {
        if let Task::Ended(value) = task {
            results.raw_set(index + 1, value)?;
        }
    }
    Ok(results)
}

// --- gw.once -----------------------------------------------------------------------------------------------

/// Results of `gw.once` by key, and the calls that wait for them.
#[derive(Default)]
struct Flights(HashMap<Box<[u8]>, Flight>);

enum Flight {
    /// A call runs the function; these wait for it.
    Runs(Vec<Waker>),
    /// The result, until a time.
    Landed(Value, u64),
}

/// Removes the flight of a call that fails or is dropped: one of those that wait runs the function itself.
struct Lead<'f> {
    flights: &'f RefCell<Flights>,
    key: Option<&'f [u8]>,
}

impl Lead<'_> {
    fn land(mut self, value: Value, until_us: u64) {
        if let Some(key) = self.key.take() {
            self.end(key, Some(Flight::Landed(value, until_us)));
        }
    }

    fn end(&self, key: &[u8], next: Option<Flight>) {
        let flights = &mut self.flights.borrow_mut().0;
        let ended = flights.remove(key);
        if let Some(next) = next {
            flights.insert(key.into(), next);
        }
        if let Some(Flight::Runs(wakers)) = ended {
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.end(key, None);
        }
    }
}

/// `gw.once(key, ttl, f)`: the result of `f`, which runs at most once at a time and `ttl` seconds on a core.
async fn once(
    shared: &Shared,
    flights: &RefCell<Flights>,
    key: &Value,
    ttl: &Value,
    f: Function,
) -> mlua::Result<Value> {
    let (_, host) = serving(shared, "gw.once")?;
    let key = names::bytes("the key", key)?;
    if key.len() > limits::KEY_BYTES_MAX {
        return Err(error("a key has at most 1 KiB"));
    }
    let ttl_us = (names::number("ttl", ttl, 0.0, ONCE_SECONDS_MAX)? * 1e6) as u64;
    let known = poll_fn(|cx| {
        let now_us = host.now_micros();
        let flights = &mut flights.borrow_mut().0;
        match flights.get_mut(&*key) {
            Some(Flight::Landed(value, until_us)) if *until_us > now_us => {
                Poll::Ready(Ok(Some(value.clone())))
            }
            Some(Flight::Runs(wakers)) => {
                if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                    wakers.push(cx.waker().clone());
                }
                Poll::Pending
            }
            Some(Flight::Landed(..)) | None => {
                if flights.len() >= limits::ONCE_KEYS_MAX {
                    flights.retain(|_, flight| flight.is_used(now_us));
                }
                if flights.len() >= limits::ONCE_KEYS_MAX {
                    return Poll::Ready(Err(error("gw.once keeps at most 1,000 results")));
                }
                flights.insert((*key).into(), Flight::Runs(Vec::new()));
                Poll::Ready(Ok(None))
            }
        }
    })
    .await?;
    if let Some(value) = known {
        return Ok(value);
    }
    let lead = Lead { flights, key: Some(&key) };
    let value = f.call_async::<Value>(()).await?;
    // A table would be shared by requests that do not know of each other.
    let value = match value {
        Value::String(text) if text.as_bytes().len() > limits::VALUE_BYTES_MAX => {
            return Err(error("gw.once keeps strings of at most 64 KiB"));
        }
        Value::Nil | Value::Boolean(_) | Value::Integer(_) | Value::Number(_) | Value::String(_) => value,
        other => {
            let kind = other.type_name();
            return Err(error(format!("gw.once keeps strings, numbers and booleans, not a {kind}")));
        }
    };
    lead.land(value.clone(), host.now_micros().saturating_add(ttl_us));
    Ok(value)
}

impl Flight {
    fn is_used(&self, now_us: u64) -> bool {
        match self {
            Self::Runs(_) => true,
            Self::Landed(_, until_us) => *until_us > now_us,
        }
    }
}

/// 1 h: longest time that a result is kept.
const ONCE_SECONDS_MAX: f64 = 3_600.0;
