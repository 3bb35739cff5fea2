//! `gw.json`: `encode` and `decode`.
//!
//! Arrays are tables with the keys 1 to n; an empty table is an object. `null` in an array or object is
//! `gw.json.null`, since tables have no nil.

use std::fmt;
use std::rc::Rc;

use mlua::{LightUserData, Lua, LuaString, Table, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{error, names};
use crate::budget::Shared;

/// Adds `gw.json`.
pub(super) fn install(lua: &Lua, gw: &Table, shared: &Rc<Shared>) -> mlua::Result<()> {
    let json = lua.create_table()?;
    let state = shared.clone();
    let decode = move |lua: &Lua, text: LuaString| {
        let text = names::text("JSON", &text)?;
        state.charge(text.len() * COST)?;
        let mut reader = serde_json::Deserializer::from_slice(&text);
        let read = Reader(lua).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        Ok(match read {
            Ok(value) => (value, None),
            Err(wrong) => (Value::Nil, Some(wrong.to_string())),
        })
    };
    json.raw_set("decode", lua.create_function(decode)?)?;
    let state = shared.clone();
    let encode = move |lua: &Lua, value: Value| {
        let mut out = Writer { text: Vec::new(), shared: state.clone() };
        out.write(&value, 0)?;
        lua.create_string(out.text)
    };
    json.raw_set("encode", lua.create_function(encode)?)?;
    json.raw_set("null", null())?;
    json.set_readonly(true);
    gw.raw_set("json", json)
}

/// `gw.json.null`
fn null() -> Value {
    Value::LightUserData(LightUserData(std::ptr::null_mut()))
}

/// Steps of reading or writing a byte in those of going through it.
const COST: usize = 4;
/// 64: tables in each other.
const DEPTH_MAX: usize = 64;

/// Reads a value into the VM, whose memory is limited; serde_json stops at 128 values in each other.
struct Reader<'l>(&'l Lua);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.create_string(value).map(Value::String).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let table = self.0.create_table().map_err(serde::de::Error::custom)?;
        while let Some(value) = values.next_element_seed(Reader(self.0))? {
            table.raw_push(value).map_err(serde::de::Error::custom)?;
        }
        Ok(Value::Table(table))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let table = self.0.create_table().map_err(serde::de::Error::custom)?;
        while let Some(name) = values.next_key::<String>()? {
            let value = values.next_value_seed(Reader(self.0))?;
            table.raw_set(name, value).map_err(serde::de::Error::custom)?;
        }
        Ok(Value::Table(table))
    }
}

struct Writer {
    text: Vec<u8>,
    shared: Rc<Shared>,
}

impl Writer {
    fn write(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        if depth > DEPTH_MAX {
            return Err(error("gw.json.encode: tables in each other more than 64 deep, or in a circle"));
        }
        match value {
            Value::Nil => self.push(b"null"),
            value if *value == null() => self.push(b"null"),
            Value::Boolean(true) => self.push(b"true"),
            Value::Boolean(false) => self.push(b"false"),
            Value::Integer(number) => self.push(number.to_string().as_bytes()),
            Value::Number(number) if number.is_finite() => self.number(*number),
            Value::Number(_) => Err(error("gw.json.encode: the number is not finite")),
            Value::String(text) => self.string(text),
            Value::Table(table) => self.table(table, depth),
            other => Err(error(format!("gw.json.encode: a {} has no JSON", other.type_name()))),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> mlua::Result<()> {
        self.shared.charge(bytes.len() * COST + COST)?;
        self.text.extend_from_slice(bytes);
        match self.text.len() > crate::limits::STRING_BYTES_MAX {
            true => Err(error("gw.json.encode: the text is longer than 256 KiB")),
            false => Ok(()),
        }
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        match number.fract() == 0.0 && number.abs() < 1e15 {
            true => self.push((number as i64).to_string().as_bytes()),
            false => self.push(number.to_string().as_bytes()),
        }
    }

    fn string(&mut self, text: &LuaString) -> mlua::Result<()> {
        let text = names::utf8("a string of JSON", text)?;
        let quoted = serde_json::to_string(&text).map_err(|wrong| error(wrong.to_string()))?;
        self.push(quoted.as_bytes())
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let length = table.raw_len();
        if length > 0 {
            for index in 1..=length {
                self.push(if index == 1 { b"[" } else { b"," })?;
                self.write(&table.raw_get(index)?, depth + 1)?;
            }
            return self.push(b"]");
        }
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (name, value) = pair?;
            let Value::String(name) = &name else {
                return Err(error("gw.json.encode: the keys of a table are strings, or 1 to n"));
            };
            self.push(if is_first { b"{" } else { b"," })?;
            is_first = false;
            self.string(name)?;
            self.push(b":")?;
            self.write(&value, depth + 1)?;
        }
        self.push(if is_first { b"{}" } else { b"}" })
    }
}
