//! `gw.shared` and `gw.limit`: state that all cores share.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{Lua, LuaString, Table, UserData, UserDataMethods, Value};

use super::routes::Registry;
use super::{error, names, serving};
use crate::budget::{Phase, Shared};
use crate::declarations::RateLimit;
use crate::dictionary::{Dictionary, SharedValue};
use crate::limits;

/// `gw.shared(name)`
struct Dict {
    shared: Rc<Shared>,
    name: Box<str>,
    opened: OnceCell<Arc<Dictionary>>,
}

/// `gw.limit{…}`
struct Limit {
    shared: Rc<Shared>,
    limit: RateLimit,
}

/// Adds both functions to `gw`. They declare names while a bundle is loaded.
pub(super) fn install(
    lua: &Lua,
    gw: &Table,
    shared: &Rc<Shared>,
    registry: &Rc<RefCell<Registry>>,
) -> mlua::Result<()> {
    let (state, names) = (shared.clone(), registry.clone());
    let dictionary = move |_: &Lua, name: LuaString| {
        loading(&state, "gw.shared")?;
        let name = names::name("dictionary", &name)?;
        let declared = &mut names.borrow_mut().declarations.dictionaries;
        declared.insert(name.clone());
        if declared.len() > limits::DICTIONARIES_MAX {
            return Err(error("a bundle has at most 16 dictionaries"));
        }
        Ok(Dict { shared: state.clone(), name, opened: OnceCell::new() })
    };
    gw.raw_set("shared", lua.create_function(dictionary)?)?;
    let (state, names) = (shared.clone(), registry.clone());
    let limit = move |_: &Lua, options: Table| {
        loading(&state, "gw.limit")?;
        let limit = rate_limit(&options)?;
        names.borrow_mut().declare_limit(&limit)?;
        Ok(Limit { shared: state.clone(), limit })
    };
    gw.raw_set("limit", lua.create_function(limit)?)
}

fn loading(shared: &Shared, name: &str) -> mlua::Result<()> {
    match shared.current() {
        Some(call) if call.phase == Phase::Load => Ok(()),
        _ => Err(error(format!("{name} stands outside of functions: it declares a name"))),
    }
}

/// `{name = "login", rate = 10, per = 60, burst = 5}`; `per` is in seconds.
fn rate_limit(options: &Table) -> mlua::Result<RateLimit> {
    let (mut name, mut requests, mut per, mut burst) = (None, None, 1.0, None);
    for pair in options.pairs::<LuaString, Value>() {
        let (option, value) = pair.map_err(|_| error("gw.limit takes a table of options"))?;
        let most = f64::from(limits::LIMIT_RATE_MAX);
        match (&*option.as_bytes(), &value) {
            (b"name", Value::String(text)) => name = Some(names::name("limit", text)?),
            (b"rate", value) => requests = Some(names::number("rate", value, 1.0, most)? as u32),
            (b"per", value) => per = names::number("per", value, 1.0, PER_SECONDS_MAX)?,
            (b"burst", value) => burst = Some(names::number("burst", value, 1.0, most)? as u32),
            (option, _) => {
                let option = String::from_utf8_lossy(option);
                return Err(error(format!("gw.limit: {option} is no option, or its value has another type")));
            }
        }
    }
    let (Some(name), Some(requests)) = (name, requests) else {
        return Err(error("gw.limit{name = …, rate = …} needs a name and a rate"));
    };
    Ok(RateLimit { name, requests, per: Duration::from_secs(per as u64), burst: burst.unwrap_or(requests) })
}

/// 1 day: the longest period of a limit.
const PER_SECONDS_MAX: f64 = 86_400.0;

impl UserData for Limit {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("take", |_, limit, key: Value| {
            let (_, host) = serving(&limit.shared, "limit:take")?;
            let key = key_of(&key)?;
            Ok(match host.take(&limit.limit, &key) {
                Ok(()) => (true, None),
                Err(wait) => (false, Some(wait.as_secs_f64())),
            })
        });
    }
}

impl Dict {
    /// The dictionary, and the time.
    fn open(&self) -> mlua::Result<(Arc<Dictionary>, u64)> {
        let (_, host) = serving(&self.shared, "a dictionary")?;
        if let Some(dictionary) = self.opened.get() {
            return Ok((dictionary.clone(), host.now_micros()));
        }
        match host.dictionary(&self.name) {
            Some(dictionary) => Ok((self.opened.get_or_init(|| dictionary).clone(), host.now_micros())),
            None => Err(error("the namespace has 16 other dictionaries")),
        }
    }
}

impl UserData for Dict {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("get", |lua, dict, key: Value| {
            let (dictionary, now_us) = dict.open()?;
            Ok(match dictionary.get(&key_of(&key)?, now_us) {
                None => Value::Nil,
                Some(SharedValue::Number(number)) => Value::Number(number),
                Some(SharedValue::Bool(value)) => Value::Boolean(value),
                Some(SharedValue::Bytes(bytes)) => Value::String(lua.create_string(&*bytes)?),
            })
        });
        methods.add_method("set", |_, dict, (key, value, ttl): (Value, Value, Value)| {
            let (dictionary, now_us) = dict.open()?;
            let (key, value, ttl) = (key_of(&key)?, value_of(&value)?, ttl_of(&ttl)?);
            match value {
                Some(value) => {
                    dictionary.set(&key, value, ttl, now_us).map_err(|wrong| error(wrong.to_string()))
                }
                None => {
                    dictionary.delete(&key);
                    Ok(())
                }
            }
        });
        methods.add_method("add", |_, dict, (key, value, ttl): (Value, Value, Value)| {
            let (dictionary, now_us) = dict.open()?;
            let Some(value) = value_of(&value)? else { return Err(error("add takes a value")) };
            let added = dictionary.add(&key_of(&key)?, value, ttl_of(&ttl)?, now_us);
            added.map_err(|wrong| error(wrong.to_string()))
        });
        methods.add_method("incr", |_, dict, (key, by, ttl): (Value, Value, Value)| {
            let (dictionary, now_us) = dict.open()?;
            let by =
                if by.is_nil() { 1.0 } else { names::number("the increment", &by, -NUMBER_MAX, NUMBER_MAX)? };
            let sum = dictionary.incr(&key_of(&key)?, by, ttl_of(&ttl)?, now_us);
            sum.map_err(|wrong| error(wrong.to_string()))
        });
        methods.add_method("delete", |_, dict, key: Value| {
            let (dictionary, _) = dict.open()?;
            dictionary.delete(&key_of(&key)?);
            Ok(())
        });
    }
}

fn key_of(key: &Value) -> mlua::Result<Vec<u8>> {
    let key = names::bytes("a key", key)?;
    match key.len() > limits::KEY_BYTES_MAX {
        true => Err(error("a key has at most 1 KiB")),
        false => Ok(key),
    }
}

fn value_of(value: &Value) -> mlua::Result<Option<SharedValue>> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Boolean(value) => SharedValue::Bool(*value),
        Value::Integer(number) => SharedValue::Number(*number as f64),
        Value::Number(number) => SharedValue::Number(*number),
        Value::String(text) if text.as_bytes().len() > limits::VALUE_BYTES_MAX => {
            return Err(error("a value has at most 64 KiB"));
        }
        Value::String(text) => SharedValue::Bytes(text.as_bytes().to_vec().into()),
        other => {
            let kind = other.type_name();
            return Err(error(format!("a dictionary holds strings, numbers and booleans, not a {kind}")));
        }
    }))
}

/// Seconds as microseconds.
fn ttl_of(ttl: &Value) -> mlua::Result<Option<u64>> {
    match ttl {
        Value::Nil => Ok(None),
        ttl => Ok(Some((names::number("ttl", ttl, 0.001, TTL_SECONDS_MAX)? * 1e6) as u64)),
    }
}

/// 1 year: the longest lifetime of an entry.
const TTL_SECONDS_MAX: f64 = 365.0 * 86_400.0;
/// 2^53: integers up to it are exact.
const NUMBER_MAX: f64 = 9_007_199_254_740_992.0;
