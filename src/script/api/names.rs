//! Checks of arguments that several functions share.

use mlua::{LuaString, Value};

use super::error;
use crate::limits;

/// A name: letters, digits, `_`, `-` and `.`.
pub(super) fn name(what: &str, text: &LuaString) -> mlua::Result<Box<str>> {
    let bytes = text.as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    if bytes.is_empty() || bytes.len() > limits::NAME_BYTES_MAX || !bytes.iter().all(is_plain) {
        return Err(error(format!(
            "the name of a {what} has 1 to {} letters, digits, '_', '-' and '.'",
            limits::NAME_BYTES_MAX
        )));
    }
    Ok(text.to_string_lossy().into())
}

/// A text as bytes, no longer than the API takes.
pub(super) fn text(what: &str, text: &LuaString) -> mlua::Result<Vec<u8>> {
    let bytes = text.as_bytes();
    match bytes.len() > limits::STRING_BYTES_MAX {
        true => Err(error(format!("{what} is longer than 256 KiB"))),
        false => Ok(bytes.to_vec()),
    }
}

/// A text that has to be UTF-8.
pub(super) fn utf8(what: &str, value: &LuaString) -> mlua::Result<String> {
    String::from_utf8(text(what, value)?).map_err(|_| error(format!("{what} is not UTF-8")))
}

/// A number within bounds.
pub(super) fn number(what: &str, value: &Value, least: f64, most: f64) -> mlua::Result<f64> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        other => return Err(error(format!("{what} is a number, not a {}", other.type_name()))),
    };
    // Not a number is in no range.
    match (least..=most).contains(&number) {
        true => Ok(number),
        false => Err(error(format!("{what} is a number from {least} to {most}"))),
    }
}

/// Value of a header field.
pub(super) fn field_value(value: &Value) -> mlua::Result<Vec<u8>> {
    let value = bytes("the value of a header field", value)?;
    match value.len() > limits::FIELD_BYTES_MAX {
        true => Err(error("the value of a header field has at most 8 KiB")),
        false => Ok(value),
    }
}

/// Bytes of a value that header fields and keys take: a string or a number.
pub(super) fn bytes(what: &str, value: &Value) -> mlua::Result<Vec<u8>> {
    match value {
        Value::String(value) => text(what, value),
        Value::Integer(_) | Value::Number(_) => Ok(value.to_string()?.into_bytes()),
        other => Err(error(format!("{what} is a string, not a {}", other.type_name()))),
    }
}
