//! Parsers and schemas of values that several fields share.

use std::time::Duration;

use ringway_config::{Fault, Given, Value};
use ringway_model::limits;
use serde_json::{Value as Json, json};

/// Formats a duration: `10s`, or `1500ms` where seconds are not whole.
pub(crate) fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// Parses `"10s"`, `"500ms"`, `"2m"`, or whole seconds.
pub(crate) fn duration(given: Given<'_>) -> Result<Duration, Fault> {
    let text = match given {
        Given::Json(Value::Unsigned(seconds)) => return Ok(Duration::from_secs(*seconds)),
        Given::Json(Value::Text(text)) => text,
        Given::Text(text) => text,
        Given::Json(other) => {
            return Err(Fault::mistyped("a duration such as \"10s\", or whole seconds", other));
        }
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let per_unit = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(per_unit)
        .and_then(|(number, per_unit)| number.checked_mul(per_unit))
        .map(Duration::from_millis)
        .ok_or_else(|| Fault::invalid("must be a whole number with a unit of ms, s or m, as in \"10s\""))
}

pub(crate) fn at_most(duration: Duration, most: Duration) -> Result<Duration, Fault> {
    match duration <= most {
        true => Ok(duration),
        false => Err(Fault::range(format_args!("must be at most {}", duration_text(most)))),
    }
}

/// Parses `200`, `"200-399"`, `"200,204"`, or an array of these, into one text.
pub(crate) fn status_list(given: Given<'_>) -> Result<String, Fault> {
    let one = |value: &Value<'_>| match value {
        Value::Text(text) => Ok(text.to_string()),
        Value::Unsigned(number) => Ok(number.to_string()),
        other => {
            let wanted = "a status such as 503, a range such as \"502-504\", or an array of these";
            Err(Fault::mistyped(wanted, other))
        }
    };
    match given {
        Given::Text(text) => Ok(text.to_owned()),
        Given::Json(Value::Array(items)) => {
            Ok(items.iter().map(|item| one(&item.value)).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Given::Json(value) => one(value),
    }
}

pub(crate) fn id_schema(example: &str) -> Json {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": limits::ID_BYTES_MAX,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:@-]*$",
        "examples": [example],
    })
}

pub(crate) fn duration_schema(example: &str) -> Json {
    json!({
        "oneOf": [
            { "type": "string", "pattern": "^[0-9]+(ms|s|m)$", "examples": [example] },
            { "type": "integer", "minimum": 0, "description": "Seconds." },
        ],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_round_trip() {
        for text in ["10s", "1500ms", "300s"] {
            assert_eq!(duration_text(duration(Given::Text(text)).unwrap()), text);
        }
    }
}
