//! Parsers and schemas of values that several fields share: durations, sizes, numbers, statuses, texts.
//!
//! The functions that return a [`Field`] are for documents; the others serve requests too.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Percent, StatusRangeError, StatusSet, Timestamp, limits::ID_BYTES_MAX};
use serde_json::{Value as Json, json};

use crate::limits::TEXT_BYTES_MAX;
use crate::reader::digits;
use crate::{Fault, Field, Given, Value};

/// Formats a duration: `10s`, or `1500ms` where seconds are not whole.
pub fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// Parses `"10s"`, `"500ms"`, `"2m"`, or whole seconds.
///
/// # Errors
/// The value has another form.
pub fn duration(given: Given<'_>) -> Result<Duration, Fault> {
    parse_duration(given, &UNITS_OF_REQUESTS).ok_or_else(|| match given {
        Given::Text(_) | Given::Json(Value::Text(_)) => {
            Fault::invalid("must be a whole number with a unit of ms, s or m, as in \"10s\"")
        }
        Given::Json(other) => Fault::mistyped("a duration such as \"10s\", or whole seconds", other),
    })
}

/// Parses the durations of documents, which may also be hours and days: `1h`, `7d`.
///
/// # Errors
/// The value has another form.
pub fn long_duration(given: Given<'_>) -> Result<Duration, Fault> {
    const WANTED: &str = "a whole number with a unit of ms, s, m, h or d, as in 10s";
    parse_duration(given, &UNITS).ok_or_else(|| match given {
        Given::Text(_) | Given::Json(Value::Text(_) | Value::Plain(_)) => {
            Fault::invalid(format_args!("must be {WANTED}"))
        }
        Given::Json(other) => Fault::mistyped(WANTED, other),
    })
}

/// Units of a duration in milliseconds.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const UNITS_OF_REQUESTS: [(&str, u64); 3] = [UNITS[0], UNITS[1], UNITS[2]];

fn parse_duration(given: Given<'_>, units: &[(&str, u64)]) -> Option<Duration> {
    let text = match given {
        Given::Json(Value::Unsigned(seconds)) => return Some(Duration::from_secs(*seconds)),
        // A bare number of seconds is a number: in quotes it would be a text.
        Given::Json(Value::Plain(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            return digits(text).map(Duration::from_secs);
        }
        Given::Json(Value::Text(text) | Value::Plain(text)) => text,
        Given::Text(text) => text,
        Given::Json(_) => return None,
    };
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(end);
    let per_unit = units.iter().find(|(name, _)| *name == unit)?.1;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(per_unit).map(Duration::from_millis)
}

/// Refuses a duration that is longer than `most`.
///
/// # Errors
/// It is longer.
pub fn at_most(duration: Duration, most: Duration) -> Result<Duration, Fault> {
    match duration <= most {
        true => Ok(duration),
        false => Err(Fault::range(format_args!("must be at most {}", duration_text(most)))),
    }
}

/// Parses `200`, `"200-399"`, `"200,204"`, or an array of these, into one text.
///
/// # Errors
/// The value has another type.
pub fn status_list(given: Given<'_>) -> Result<String, Fault> {
    let one = |value: &Value<'_>| match value {
        Value::Text(text) | Value::Plain(text) => Ok(text.to_string()),
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

/// Parses statuses from 500 to 599 in the form of [`status_list`]; an empty list is none.
///
/// # Errors
/// The value is something else.
pub(crate) fn failure_statuses(given: Given<'_>) -> Result<StatusSet, Fault> {
    StatusSet::parse(&status_list(given)?).map_err(|error| match error.0 {
        StatusRangeError::Bounds => Fault::range(
            "must be from 500 to 599: other statuses are about the request, not about the endpoint",
        ),
        StatusRangeError::Form | StatusRangeError::Order => Fault::invalid(error),
    })
}

/// Schema of statuses from 500 to 599.
pub(crate) fn status_set_schema() -> Json {
    let one = json!({ "type": "integer", "minimum": 500, "maximum": 599 });
    let range = json!({ "type": "string", "pattern": "^5[0-9]{2}(-5[0-9]{2})?$", "examples": ["502-504"] });
    json!({ "oneOf": [range.clone(), one, { "type": "array", "items": { "oneOf": [range, one] } }] })
}

/// Parses a size: a number of bytes, or one with a unit. `MB` is 10^6 bytes, `MiB` 2^20.
///
/// # Errors
/// The value has another form.
pub fn byte_size(given: Given<'_>) -> Result<u64, Fault> {
    const WANTED: &str = "a number of bytes, or one with a unit such as 10MB or 16KiB";
    let text = match given {
        Given::Json(Value::Unsigned(number)) => return Ok(*number),
        Given::Json(Value::Text(text) | Value::Plain(text)) => text,
        Given::Text(text) => text,
        Given::Json(other) => return Err(Fault::mistyped(WANTED, other)),
    };
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(end);
    let per_unit = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start()));
    digits(number)
        .zip(per_unit)
        .and_then(|(number, (_, per_unit))| number.checked_mul(*per_unit))
        .ok_or_else(|| Fault::invalid(format_args!("must be {WANTED}")))
}

/// Units of a size in bytes.
const SIZE_UNITS: [(&str, u64); 8] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Parses a number from `min` to `max`.
///
/// # Errors
/// The value is no whole number, or out of range.
pub fn ranged(given: Given<'_>, min: u64, max: u64) -> Result<u64, Fault> {
    let number = given.unsigned()?;
    match (min..=max).contains(&number) {
        true => Ok(number),
        false => Err(Fault::range(format_args!("must be from {min} to {max}"))),
    }
}

/// Parses a percentage from 0 to 100 with at most two decimals, with or without its sign.
///
/// # Errors
/// The value is something else.
fn parse_percent(given: Given<'_>) -> Result<Percent, Fault> {
    const WANTED: &str = "a percentage, such as 10 or 0.5%";
    let number = match given {
        Given::Json(Value::Text(text) | Value::Plain(text)) if text.ends_with('%') => {
            Given::Text(text.trim_end_matches('%')).decimal()
        }
        given => given.decimal(),
    };
    let number = number.map_err(|_| match given {
        Given::Text(_) | Given::Json(Value::Text(_) | Value::Plain(_)) => {
            Fault::invalid(format_args!("must be {WANTED}"))
        }
        Given::Json(other) => Fault::mistyped(WANTED, other),
    })?;
    if !(0.0..=100.0).contains(&number) {
        return Err(Fault::range("must be from 0 to 100"));
    }
    let hundredths = (number * 100.0).round();
    // 0.07 is no sum of powers of two: its hundredfold is a whole number up to rounding.
    match (number * 100.0 - hundredths).abs() < 1e-6 {
        true => {
            Percent::from_hundredths(hundredths as u16).ok_or_else(|| Fault::range("must be from 0 to 100"))
        }
        false => Err(Fault::range("must have at most two decimals")),
    }
}

/// A percentage as a number of JSON, whole where it is whole.
pub(crate) fn percent_value(percent: Percent) -> Json {
    match percent.hundredths() % 100 {
        0 => json!(percent.hundredths() / 100),
        _ => json!(f64::from(percent.hundredths()) / 100.0),
    }
}

/// Parses a time in UTC: `2026-12-24T00:00:00Z` (RFC 3339 §5.6), without fractions of a second.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator: char, lengths: [usize; 3]| -> Option<[u64; 3]> {
        let mut parts = text.split(separator);
        let mut numbers = [0; 3];
        for (number, length) in numbers.iter_mut().zip(lengths) {
            let part = parts.next().filter(|part| part.len() == length)?;
            *number = part.parse().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        }
        parts.next().is_none().then_some(numbers)
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin on 1 March, so that the leap day is the last of its year.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * shifted_month + 2) / 5 + day.checked_sub(1)?;
    let days = shifted_year * 365 + shifted_year / 4 - shifted_year / 100 + shifted_year / 400 + day_of_year;
    let moment = Timestamp(((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000);
    // A day that its month does not have is another day.
    let civil = moment.civil();
    (u64::from(civil.day) == day && u64::from(civil.month) == month).then_some(moment)
}

/// Formats a time in UTC, without fractions of a second.
pub(crate) fn timestamp_text(moment: Timestamp) -> String {
    let c = moment.civil();
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// Parses a list of strings, or one string.
///
/// # Errors
/// The value, or an item, is something else or longer than [`TEXT_BYTES_MAX`].
pub fn text_list(given: Given<'_>) -> Result<Vec<Arc<str>>, Fault> {
    match given {
        Given::Json(Value::Array(items)) => {
            items.iter().map(|item| bounded_text(Given::Json(&item.value))).collect()
        }
        given => bounded_text(given).map(|text| vec![text]).map_err(|fault| match given {
            Given::Json(other) => Fault::mistyped("a list of strings", other),
            Given::Text(_) => fault,
        }),
    }
}

/// Parses a list of values, or one, of at most `max` items without repetitions.
pub(crate) fn list_of<T: PartialEq>(
    given: Given<'_>,
    max: usize,
    one: impl Fn(Given<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let Given::Json(Value::Array(items)) = given else { return Ok(vec![one(given)?]) };
    if items.len() > max {
        return Err(Fault::range(format_args!("must not have more than {max} items")));
    }
    let mut values = Vec::with_capacity(items.len());
    for item in items {
        let value = one(Given::Json(&item.value))?;
        if values.contains(&value) {
            return Err(Fault { code: "duplicate", message: "has an item twice".to_owned() });
        }
        values.push(value);
    }
    Ok(values)
}

/// Schema of a list of values, or one.
pub(crate) fn strings_schema(one: Json) -> Json {
    json!({ "oneOf": [{ "type": "array", "items": one.clone() }, one] })
}

/// Parses a text of at most [`TEXT_BYTES_MAX`] bytes without control characters.
///
/// # Errors
/// The value is something else.
pub fn bounded_text(given: Given<'_>) -> Result<Arc<str>, Fault> {
    let text = given.text()?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(Fault::range(format_args!("must not be longer than {TEXT_BYTES_MAX} bytes")));
    }
    match text.chars().any(char::is_control) {
        true => Err(Fault::invalid("must not contain control characters")),
        false => Ok(text.into()),
    }
}

/// Schema of an id.
pub fn id_schema(example: &str) -> Json {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": ID_BYTES_MAX,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:@-]*$",
        "examples": [example],
    })
}

/// Schema of a duration in requests.
pub fn duration_schema(example: &str) -> Json {
    json!({
        "oneOf": [
            { "type": "string", "pattern": "^[0-9]+(ms|s|m)$", "examples": [example] },
            { "type": "integer", "minimum": 0, "description": "Seconds." },
        ],
    })
}

/// Schema of a duration in documents.
pub(crate) fn long_duration_schema() -> Json {
    json!({
        "oneOf": [
            { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["10s"] },
            { "type": "integer", "minimum": 0, "description": "Seconds." },
        ],
    })
}

/// Schema of a size.
pub(crate) fn size_schema() -> Json {
    json!({
        "oneOf": [
            { "type": "string", "pattern": "^[0-9]+ *([KkMmGg][Ii]?)?[Bb]?$", "examples": ["10MB", "16KiB"] },
            { "type": "integer", "minimum": 0, "description": "Bytes." },
        ],
    })
}

/// A text.
pub(crate) const fn text(name: &'static str, doc: &'static str) -> Field<Arc<str>> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "string", "maxLength": TEXT_BYTES_MAX }),
        parse: bounded_text,
    }
}

/// A list of texts; one text alone is a list of one.
pub(crate) const fn texts(name: &'static str, doc: &'static str) -> Field<Vec<Arc<str>>> {
    Field {
        name,
        doc,
        schema: || {
            let one = json!({ "type": "string", "maxLength": TEXT_BYTES_MAX });
            json!({ "oneOf": [{ "type": "array", "items": one.clone() }, one] })
        },
        parse: text_list,
    }
}

/// A duration.
pub(crate) const fn time(name: &'static str, doc: &'static str) -> Field<Duration> {
    Field { name, doc, schema: long_duration_schema, parse: long_duration }
}

/// A size in bytes.
pub(crate) const fn size(name: &'static str, doc: &'static str) -> Field<u64> {
    Field { name, doc, schema: size_schema, parse: byte_size }
}

/// True or false.
pub(crate) const fn boolean(name: &'static str, doc: &'static str) -> Field<bool> {
    Field { name, doc, schema: || json!({ "type": "boolean" }), parse: |given| given.boolean() }
}

/// A whole number from `MIN` to `MAX`.
pub(crate) const fn number<const MIN: u64, const MAX: u64>(
    name: &'static str,
    doc: &'static str,
) -> Field<u64> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "integer", "minimum": MIN, "maximum": MAX }),
        parse: |given| ranged(given, MIN, MAX),
    }
}

/// Any number.
pub(crate) const fn decimal(name: &'static str, doc: &'static str) -> Field<f64> {
    Field { name, doc, schema: || json!({ "type": "number" }), parse: |given| given.decimal() }
}

/// A percentage, with or without its sign.
pub(crate) const fn percent(name: &'static str, doc: &'static str) -> Field<Percent> {
    Field {
        name,
        doc,
        schema: || {
            json!({ "oneOf": [
                { "type": "number", "minimum": 0, "maximum": 100 },
                { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$", "examples": ["10%"] },
            ] })
        },
        parse: parse_percent,
    }
}

/// A percentage above 0.
pub(crate) const fn some_percent(name: &'static str, doc: &'static str) -> Field<Percent> {
    Field {
        parse: |given| match parse_percent(given)? {
            none if none.hundredths() == 0 => Err(Fault::range("must be above 0")),
            percent => Ok(percent),
        },
        ..percent(name, doc)
    }
}

/// A whole number of 32 bits from `MIN` to `MAX`.
pub(crate) const fn count<const MIN: u32, const MAX: u32>(
    name: &'static str,
    doc: &'static str,
) -> Field<u32> {
    Field {
        name,
        doc,
        schema: || json!({ "type": "integer", "minimum": MIN, "maximum": MAX }),
        parse: |given| ranged(given, u64::from(MIN), u64::from(MAX)).map(|number| number as u32),
    }
}

/// A duration from `MIN` to `MAX` milliseconds.
pub(crate) const fn time_within<const MIN: u64, const MAX: u64>(
    name: &'static str,
    doc: &'static str,
) -> Field<Duration> {
    Field {
        name,
        doc,
        schema: long_duration_schema,
        parse: |given| {
            let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
            let time = long_duration(given)?;
            match (min..=max).contains(&time) {
                true => Ok(time),
                false => Err(Fault::range(format_args!(
                    "must be from {} to {}",
                    duration_text(min),
                    duration_text(max)
                ))),
            }
        },
    }
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

    #[test]
    fn percentages_have_two_decimals() {
        for (text, hundredths) in [
            ("0", 0),
            ("0.07", 7),
            ("0.5%", 50),
            ("12.34", 1_234),
            ("29.29%", 2_929),
            ("100", 10_000),
            ("1e1", 1_000),
        ] {
            let value = Value::Plain(text.into());
            let percent = parse_percent(Given::Json(&value)).unwrap();
            assert_eq!(percent.hundredths(), hundredths, "{text}");
            let shown = percent_value(percent).to_string();
            assert_eq!(parse_percent(Given::Text(&shown)), Ok(percent), "{text}");
        }
        for text in ["-1", "100.01", "101%", "0.001", "33.333%", "1%%x", "ten", "", "%", "NaN", "inf%"] {
            assert!(parse_percent(Given::Json(&Value::Plain(text.into()))).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for text in
            ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z", "2026-12-24T00:00:00Z", "2100-03-01T12:00:00Z"]
        {
            let shown = timestamp_text(timestamp(text).unwrap());
            assert_eq!(shown, text);
        }
        for text in [
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-12-24",
            "2026-12-24T24:00:00Z",
            "2026-12-24T00:00:00",
            "2026-00-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(timestamp(text), None, "{text}");
        }
        assert_eq!(timestamp("1970-01-02T00:00:01Z"), Some(Timestamp(86_401_000)));
    }

    #[test]
    fn plain_scalars_have_the_type_that_is_asked_for() {
        let plain = |text: &'static str| Value::Plain(text.into());
        for (text, expected) in
            [("5s", Some(5_000)), ("500ms", Some(500)), ("300", Some(300_000)), ("7d", Some(604_800_000))]
        {
            let value = plain(text);
            let duration = long_duration(Given::Json(&value)).ok().map(|time| time.as_millis());
            assert_eq!(duration, expected, "{text}");
        }
        for text in ["010", "5 s", "-5s", "5x", "1.5s", "s", "99999999999999999d", "0x10"] {
            assert!(long_duration(Given::Json(&plain(text))).is_err(), "{text}");
        }
        assert!(long_duration(Given::Json(&Value::Text("300".into()))).is_err());
        for (text, expected) in [
            ("10MB", Some(10_000_000)),
            ("1MiB", Some(1 << 20)),
            ("16384", Some(16_384)),
            ("16 KiB", Some(16_384)),
            ("1mb", Some(1_000_000)),
            ("010MB", None),
            ("10XB", None),
            ("MB", None),
            ("99999999999GB", None),
        ] {
            assert_eq!(byte_size(Given::Json(&plain(text))).ok(), expected, "{text}");
        }
        for text in ["010", "1.0", "1e3", "0x1f", "-1", "+1", "1_000", "", "18446744073709551616"] {
            assert!(Given::Json(&plain(text)).unsigned().is_err(), "{text}");
        }
        for text in ["yes", "no", "on", "off", "True", "y"] {
            assert!(Given::Json(&plain(text)).boolean().is_err(), "{text}");
        }
        for text in ["inf", "NaN", ".5x", "1e999"] {
            assert!(Given::Json(&plain(text)).decimal().is_err(), "{text}");
        }
        assert_eq!(Given::Json(&plain("no")).text().unwrap(), "no");
    }
}
