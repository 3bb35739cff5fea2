//! `docs/configuration-file.md`, from the JSON Schema that `ringway config schema` prints.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::{page, process};

/// Sections of the page, each with the sections of a document that it describes.
const SECTIONS: &[(&str, &[&str])] = &[
    ("routes", &["routes"]),
    ("pools", &["pools"]),
    ("policies", &["policies"]),
    ("traffic", &["traffic_management", "circuit_breaker"]),
    ("cache", &["cache", "compression"]),
    ("security", &["security"]),
    ("defaults", &["defaults", "health_checks"]),
    ("routing", &["routing"]),
    ("tenants", &["tenants"]),
    ("tls", &["tls", "certificates"]),
    ("governance", &["governance", "canary"]),
    ("listeners", &["listeners", "listener"]),
    ("server", &["server"]),
    ("short", &["http_address", "https_address", "admin_address", "read_header_timeout", "idle_timeout"]),
    ("limits", &["limits"]),
    ("logging", &["logging"]),
    ("metrics", &["metrics"]),
    ("acme", &["acme"]),
    ("storage", &["storage", "providers"]),
    ("forward", &["forward"]),
    ("scripts", &["scripts", "lua_routing"]),
];

/// Members that one table describes for all others.
const SHARED: &[(&str, &str)] = &[
    ("policy", "id of a [policy](#policies), or its members in place"),
    ("health.active", "as [`pools[].health.active`](#pools)"),
    ("middleware", "id of a [chain](middleware.md), a list of them, or stages in place"),
    ("routes[].cache", "`true`, or the settings of a rule of [`cache`](#cache)"),
    ("cache.rules", "list of rules, as `cache[]`"),
    (
        "routes[].compress",
        "`true`, `false`, or settings of the stage [`compress`](middleware.md#compression)",
    ),
    ("any_of", "list of objects, each with one of the methods above"),
];

/// Key in the schema of a member without effect.
const NO_EFFECT: &str = "x-no-effect";

#[test]
fn the_page_of_the_configuration_file_matches_the_schema() {
    let schema: Value = serde_json::from_str(&process::output(&["config", "schema"])).unwrap();
    let all = schema["properties"].as_object().unwrap();
    let mut regions: Vec<(&str, String)> = Vec::new();
    // Chains and plugins have a page of their own.
    let mut shown: Vec<&str> = vec!["version", "middleware", "plugins"];
    for (region, names) in SECTIONS {
        let mut table = Table::default();
        for name in *names {
            let section = all.get(*name).unwrap_or_else(|| panic!("no section {name}"));
            table.add(name, section, false);
            shown.push(name);
        }
        regions.push((region, table.text()));
    }
    let mut later = String::from("| section | meaning |\n|---|---|\n");
    for (name, section) in all.iter().filter(|(name, _)| !shown.contains(&name.as_str())) {
        // Whatever has an effect belongs to a table above.
        assert!(section.get(NO_EFFECT).is_some(), "{name} is in no section of the page");
        let _ = writeln!(later, "| `{name}` | {} |", about(section));
    }
    regions.push(("later", later));
    page::check("configuration-file.md", &regions);
}

/// Rows of one table.
#[derive(Default)]
pub(crate) struct Table {
    /// By path, in the order of the schema.
    rows: Vec<[String; 3]>,
    /// Paths of members without effect, with their meaning.
    without_effect: BTreeMap<String, String>,
}

impl Table {
    /// Adds a member and those below it.
    pub(crate) fn add(&mut self, path: &str, schema: &Value, is_required: bool) {
        if schema.get(NO_EFFECT).is_some() {
            self.without_effect.insert(path.to_owned(), about(schema));
            return;
        }
        let is_section = !path.contains(['.', '[']);
        let shared = SHARED.iter().find(|(name, _)| path == *name || path.ends_with(&format!(".{name}")));
        if let Some((_, text)) = shared.filter(|_| path != "pools[].health.active") {
            self.rows.push([shown(path, is_required), (*text).to_owned(), about(schema)]);
            return;
        }
        let objects = objects(path, schema);
        let kind = kind(schema);
        // A section, and an object that is nothing but its members, needs no row of its own.
        if objects.is_empty() || !kind.is_empty() && !is_section {
            let kind = if kind.is_empty() { "mapping".to_owned() } else { kind };
            self.rows.push([shown(path, is_required), kind, about(schema)]);
        }
        for (path, object) in objects {
            let required: Vec<&str> =
                object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            for (name, member) in object["properties"].as_object().unwrap() {
                self.add(&format!("{path}.{name}"), member, required.contains(&name.as_str()));
            }
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::from("| key (required in bold) | value | meaning |\n|---|---|---|\n");
        for [path, kind, about] in &self.rows {
            let _ = writeln!(text, "| {path} | {} | {about} |", page::cell(kind));
        }
        if !self.without_effect.is_empty() {
            let names: Vec<String> = self.without_effect.keys().map(|path| format!("`{path}`")).collect();
            let sentence = format!("Accepted, with a warning and without effect: {}.", names.join(", "));
            let _ = write!(text, "\n{}\n", page::wrapped(&sentence));
        }
        text
    }
}

fn shown(path: &str, is_required: bool) -> String {
    let name = format!("`{path}`");
    if is_required { format!("**{name}**") } else { name }
}

fn about(schema: &Value) -> String {
    let text = page::cell(schema["description"].as_str().unwrap_or_default());
    let text = text.replace(" Not supported by this version: no effect.", "");
    if text.ends_with('.') || text.is_empty() { text } else { format!("{text}.") }
}

/// Lists the objects that may stand at a path: `path` itself, or `path[]` for the items of a list.
fn objects<'a>(path: &str, schema: &'a Value) -> Vec<(String, &'a Value)> {
    if schema["properties"].is_object() {
        return vec![(path.to_owned(), schema)];
    }
    if schema["type"] == "array" {
        return objects(&format!("{path}[]"), &schema["items"]);
    }
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    choices.flat_map(|choice| objects(path, choice)).collect()
}

/// Names the values of a schema; empty for an object with members, and for a list of such.
fn kind(schema: &Value) -> String {
    if let Some(choices) = schema["oneOf"].as_array() {
        if let Some(unit) = unit(choices) {
            return unit.to_owned();
        }
        let mut kinds: Vec<String> = choices.iter().map(kind).filter(|kind| !kind.is_empty()).collect();
        // One value, or a list of the same.
        if let [one, other] = &kinds[..]
            && let Some(single) = [(one, other), (other, one)]
                .iter()
                .find_map(|(one, list)| (**list == format!("list of {one}")).then_some(*one))
        {
            return format!("{single}, or a list");
        }
        kinds.dedup();
        return kinds.join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        let mut words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().map_or_else(|| word.to_string(), str::to_owned)))
            .collect();
        words.sort();
        words.dedup();
        return words.join(", ");
    }
    let kind =
        schema["type"].as_array().map_or_else(|| schema["type"].as_str().unwrap_or_default(), |_| "string");
    match kind {
        "array" => match kind_of_items(&schema["items"]) {
            items if items.is_empty() => items,
            items => format!("list of {items}"),
        },
        "object" if schema["properties"].is_object() => String::new(),
        "object" => "mapping of names to values".to_owned(),
        "integer" => match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            (Some(min), Some(max)) if min >= 0 => format!("{min} to {max}"),
            (Some(0), None) => "number".to_owned(),
            _ => "whole number".to_owned(),
        },
        "number" => "number".to_owned(),
        "boolean" => "`true`, `false`".to_owned(),
        "string" => match (schema["format"].as_str(), schema["pattern"].as_str()) {
            (Some("date-time"), _) => "time in UTC".to_owned(),
            (_, Some(":[0-9]+$")) => "address".to_owned(),
            _ => example(schema),
        },
        _ => panic!("no type: {schema}"),
    }
}

fn kind_of_items(items: &Value) -> String {
    kind(items)
}

/// `duration` or `size`, where the choices are a text with a unit and a number of the smallest one.
fn unit(choices: &[Value]) -> Option<&'static str> {
    match choices.iter().find_map(|choice| choice["description"].as_str())? {
        "Seconds." => Some("duration"),
        "Bytes." => Some("size"),
        _ => None,
    }
}

/// A text, with an example where the schema has one.
fn example(schema: &Value) -> String {
    match schema["examples"][0].as_str() {
        Some(example) => format!("string, as `{example}`"),
        None => "string".to_owned(),
    }
}
