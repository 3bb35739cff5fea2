//! Settings of the process: the static sections, by the table of their keys.

use serde_json::{Value as Json, json};

use super::later;
use crate::statics::{STATIC_KEYS, StaticKey, StaticKind};
use crate::values::{bounded_text, byte_size, long_duration, long_duration_schema, ranged, size_schema};
use crate::{Fault, Given, Reader, SettingForm};

/// Reads all static sections, but for those that have other members too.
pub(super) fn settings(reader: &mut Reader<'_>) {
    let keys: Vec<Entry> = entries().filter(|entry| !MIXED.contains(&split(entry.rest).0)).collect();
    members(reader, &keys, "");
}

/// Reads the settings among the members of a section that has others too, in its object.
pub(super) fn members_of_section(reader: &mut Reader<'_>, section: &str) {
    let keys: Vec<Entry> = entries().filter(|entry| split(entry.rest).0 == section).collect();
    members(reader, &descend(&keys), "");
}

/// Sections of settings with other members, which their own modules read.
const MIXED: [&str; 1] = ["cache"];

fn entries() -> impl Iterator<Item = Entry> {
    STATIC_KEYS.iter().map(|key| Entry { key, rest: &key.path[1..] })
}

/// A key, and the part of its path below the object under reading.
#[derive(Clone, Copy)]
struct Entry {
    key: &'static StaticKey,
    rest: &'static str,
}

/// Reads the members of one object; keys with the same next name stand together in the table.
fn members(reader: &mut Reader<'_>, keys: &[Entry], path: &str) {
    let mut rest = keys;
    while let Some(first) = rest.first() {
        let (name, below) = split(first.rest);
        let end = rest.iter().position(|entry| split(entry.rest).0 != name).unwrap_or(rest.len());
        let (group, others) = rest.split_at(end);
        rest = others;
        match below {
            None => setting(reader, name, first.key),
            Some(below) if below.starts_with("*/") => {
                let inner = descend(&descend(group));
                reader.list(name, SECTION, |reader| {
                    members(reader, &inner, "");
                    Some(())
                });
            }
            Some(_) => {
                let (inner, path) = (descend(group), format!("{path}/{name}"));
                reader.object(name, SECTION, |reader| {
                    members(reader, &inner, &path);
                    later::members_of_settings(reader, &path);
                    Some(())
                });
            }
        }
    }
}

/// Documentation of an object of settings.
const SECTION: &str = "Settings of the process; a change takes effect with the next start.";

fn split(rest: &'static str) -> (&'static str, Option<&'static str>) {
    match rest.split_once('/') {
        Some((name, below)) => (name, Some(below)),
        None => (rest, None),
    }
}

fn descend(keys: &[Entry]) -> Vec<Entry> {
    keys.iter().filter_map(|entry| split(entry.rest).1.map(|rest| Entry { key: entry.key, rest })).collect()
}

fn setting(reader: &mut Reader<'_>, name: &'static str, key: &'static StaticKey) {
    let form = if key.is_list { SettingForm::ScalarOrList } else { SettingForm::Scalar };
    reader.setting(name, key.doc, form, || schema(key.kind), &|given| check(key.kind, given));
    if let Some(reason) = key.unsupported {
        reader.has_no_effect_because(name, reason);
    }
}

/// Checks the form of a value; the process parses it.
fn check(kind: StaticKind, given: Given<'_>) -> Result<(), Fault> {
    match kind {
        StaticKind::Text | StaticKind::Path => scalar_text(given),
        StaticKind::Bool => given.boolean().map(|_| ()),
        StaticKind::Count => given.unsigned().map(|_| ()),
        StaticKind::Bytes => byte_size(given).map(|_| ()),
        StaticKind::Time => long_duration(given).map(|_| ()),
        StaticKind::Port => ranged(given, 0, u64::from(u16::MAX)).map(|_| ()),
        StaticKind::Address => {
            let text = given.text()?;
            let port = text.rsplit_once(':').map(|(_, port)| port);
            match port.is_some_and(|port| port.parse::<u16>().is_ok()) {
                true => Ok(()),
                false => {
                    Err(Fault::invalid("must be an address with a port, such as 10.0.0.5:8080 or :8080"))
                }
            }
        }
        StaticKind::Word(words) => {
            let text = scalar(given)?;
            match words.contains(&&*text) {
                true => Ok(()),
                false => Err(Fault::invalid(format_args!("must be one of {}", words.join(", ")))),
            }
        }
    }
}

/// The text of a scalar; a number of JSON is one too.
fn scalar(given: Given<'_>) -> Result<String, Fault> {
    match given {
        Given::Json(crate::Value::Unsigned(number)) => Ok(number.to_string()),
        given => given.text().map(str::to_owned),
    }
}

fn scalar_text(given: Given<'_>) -> Result<(), Fault> {
    match given {
        Given::Json(crate::Value::Unsigned(_)) => Ok(()),
        given => bounded_text(given).map(|_| ()),
    }
}

fn schema(kind: StaticKind) -> Json {
    match kind {
        StaticKind::Text | StaticKind::Path => json!({ "type": ["string", "integer"], "minimum": 0 }),
        StaticKind::Bool => json!({ "type": "boolean" }),
        StaticKind::Count => json!({ "type": "integer", "minimum": 0 }),
        StaticKind::Bytes => size_schema(),
        StaticKind::Time => long_duration_schema(),
        StaticKind::Port => json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
        StaticKind::Address => json!({ "type": "string", "pattern": ":[0-9]+$" }),
        StaticKind::Word(words) => {
            let numbers: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
            match numbers.is_empty() {
                true => json!({ "enum": words }),
                false => {
                    json!({ "enum": words.iter().map(|word| json!(word)).chain(numbers.into_iter().map(Json::from)).collect::<Vec<_>>() })
                }
            }
        }
    }
}
