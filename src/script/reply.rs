//! Outcomes of what hooks and handlers return.

use std::borrow::Cow;

use mlua::{AnyUserData, MultiValue, Table, Value};
use ringway_middleware::LocalReply;
use ringway_model::Direction;

use crate::api::ProxyChoice;
use crate::limits;
use crate::outcome::Outcome;
use crate::request::RequestState;
use crate::vm::Call;

/// Outcome of a hook for requests, or of a handler.
pub(crate) fn of_request(call: Call, values: &MultiValue, request: &RequestState) -> Result<Outcome, String> {
    let is_handler = matches!(call, Call::Handler(_));
    match values.front() {
        None | Some(Value::Nil) if is_handler => {
            Err("a handler returns status, body, headers, or req:proxy(pool)".to_owned())
        }
        None | Some(Value::Nil) => Ok(Outcome::Continue(request.request_effects())),
        Some(Value::UserData(data)) if is_choice(data) => match is_handler {
            true => Ok(Outcome::Proxy(request.request_effects())),
            false => Err("a hook chooses a pool by req:use_pool(name), and returns nothing".to_owned()),
        },
        Some(status) => reply(status, values.get(1), values.get(2)).map(Outcome::Reply),
    }
}

/// Outcome of a hook for responses, or for finished requests.
pub(crate) fn of_response(values: &MultiValue, request: &RequestState) -> Result<Outcome, String> {
    match values.front() {
        None | Some(Value::Nil) => Ok(Outcome::Continue(request.response_effects())),
        Some(_) => Err("a hook for responses returns nothing".to_owned()),
    }
}

fn is_choice(data: &AnyUserData) -> bool {
    data.is::<ProxyChoice>()
}

fn reply(status: &Value, body: Option<&Value>, headers: Option<&Value>) -> Result<LocalReply, String> {
    let number = match status {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        other => return Err(format!("the status is a number, not a {}", other.type_name())),
    };
    if !(200.0..600.0).contains(&number) || number.fract() != 0.0 {
        return Err(format!("{number} is no status: a reply has one from 200 to 599"));
    }
    let body: Vec<u8> = match body {
        None | Some(Value::Nil) => Vec::new(),
        Some(Value::String(text)) if text.as_bytes().len() > limits::REPLY_BYTES_MAX => {
            return Err("the body of a reply has at most 1 MiB".to_owned());
        }
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(other) => return Err(format!("the body is a string, not a {}", other.type_name())),
    };
    let has_body = !body.is_empty();
    let mut reply = LocalReply::new(number as u16, Cow::Owned(body));
    let mut has_type = false;
    match headers {
        None | Some(Value::Nil) => {}
        Some(Value::Table(fields)) => {
            for (count, pair) in fields.pairs::<Value, Value>().enumerate() {
                let (name, value) = pair.map_err(|error| error.to_string())?;
                if count >= limits::EDITS_MAX as usize {
                    return Err("a reply has at most 64 header fields".to_owned());
                }
                let name = field_name(&name)?;
                has_type |= name.eq_ignore_ascii_case("content-type");
                for value in field_values(&name, &value)? {
                    reply = reply.with_field(&name, &value).map_err(|error| format!("{name}: {error}"))?;
                    if reply.lines().len() > limits::FIELDS_BYTES_MAX {
                        return Err("the headers of a reply have at most 64 KiB".to_owned());
                    }
                }
            }
        }
        Some(other) => return Err(format!("the headers are a table, not a {}", other.type_name())),
    }
    if has_body && !has_type {
        let text = reply.with_field("Content-Type", b"text/plain; charset=utf-8");
        reply = text.map_err(|error| error.to_string())?;
    }
    Ok(reply)
}

fn field_name(name: &Value) -> Result<String, String> {
    let Value::String(name) = name else {
        return Err("the headers are a table of names and values".to_owned());
    };
    let name = name.to_string_lossy();
    match Direction::Response.protects(&name) {
        true => Err(format!("{name:?} is set by the gateway")),
        false => Ok(name),
    }
}

/// Values of a field: one, or a list.
fn field_values(name: &str, value: &Value) -> Result<Vec<Vec<u8>>, String> {
    let list = |list: &Table| -> Result<Vec<Vec<u8>>, String> {
        if list.raw_len() > limits::EDITS_MAX as usize {
            return Err(format!("{name}: at most 64 values"));
        }
        let values = list.sequence_values::<Value>();
        values.map(|value| one_value(name, &value.map_err(|error| error.to_string())?)).collect()
    };
    match value {
        Value::Table(table) => list(table),
        value => Ok(vec![one_value(name, value)?]),
    }
}

fn one_value(name: &str, value: &Value) -> Result<Vec<u8>, String> {
    match value {
        Value::String(text) if text.as_bytes().len() > limits::FIELD_BYTES_MAX => {
            Err(format!("{name}: a value has at most 8 KiB"))
        }
        Value::String(text) => Ok(text.as_bytes().to_vec()),
        Value::Integer(_) | Value::Number(_) => {
            value.to_string().map(Into::into).map_err(|error| error.to_string())
        }
        other => Err(format!("{name}: a value is a string, not a {}", other.type_name())),
    }
}
