//! `docs/api.md`, from the OpenAPI document of a running process and the problems of the API's sources.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::page;
use crate::process::Process;

#[test]
fn the_page_of_the_api_matches_its_description() {
    let document: Value = serde_json::from_str(&Process::start().api("/api/openapi.json")).unwrap();
    page::check(
        "api.md",
        &[("operations", operations(&document)), ("objects", objects(&document)), ("problems", problems())],
    );
}

/// An operation with its paths: the first one is the one to use, the others do the same.
#[derive(Default)]
struct Operation<'a> {
    main: Option<(String, &'a Value)>,
    others: Vec<String>,
}

fn operations(document: &Value) -> String {
    // Paths of one operation have its id with a number behind it.
    let mut by_id: BTreeMap<&str, Operation<'_>> = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            let name = id.trim_end_matches(|last: char| last.is_ascii_digit());
            let path = format!("`{} {path}`", method.to_ascii_uppercase());
            let entry = by_id.entry(name).or_default();
            match name == id {
                true => entry.main = Some((path, operation)),
                false => entry.others.push(path),
            }
        }
    }
    assert!(by_id.len() > 20, "only {} operations", by_id.len());
    let mut sections: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, Operation { main, others }) in &by_id {
        let (path, operation) = main.as_ref().unwrap_or_else(|| panic!("{name} has no first path"));
        let tag = operation["tags"][0].as_str().unwrap();
        let summary = page::cell(operation["summary"].as_str().unwrap());
        let successes: Vec<&str> = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|it| *it < "300")
            .collect();
        let row = format!(
            "| {path} | {summary} | {} | {} | {} |",
            fields(operation),
            successes.join(", "),
            others.join(", ")
        );
        sections.entry(tag).or_default().push(row);
    }
    let mut text = String::new();
    for (tag, mut rows) in sections {
        // By path: the method stands before the first blank.
        rows.sort_by_key(|row| row.split(' ').nth(2).unwrap().to_owned());
        let _ = writeln!(text, "### {}{}\n", tag[..1].to_ascii_uppercase(), &tag[1..]);
        text.push_str(
            "| operation | effect | fields (required in bold) | success | other paths, same effect |\n",
        );
        text.push_str("|---|---|---|---|---|\n");
        for row in rows {
            let _ = writeln!(text, "{row}");
        }
        text.push('\n');
    }
    text
}

/// Lists the fields of an operation's body and of its query, each once.
fn fields(operation: &Value) -> String {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str, required: bool| {
        if !names.iter().any(|known| known.contains(&format!("`{name}`"))) {
            names.push(if required { format!("**`{name}`**") } else { format!("`{name}`") });
        }
    };
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    if let Some(properties) = schema["properties"].as_object() {
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for name in properties.keys() {
            add(name, required.contains(&name.as_str()));
        }
    }
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] != "header" {
            add(parameter["name"].as_str().unwrap(), parameter["required"] == true);
        }
    }
    names.join(", ")
}

/// Renders the objects of responses with their fields.
fn objects(document: &Value) -> String {
    let mut text = String::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let mut properties: Vec<(&String, &Value)> = Vec::new();
        let parts = schema["allOf"].as_array().into_iter().flatten();
        for part in std::iter::once(schema).chain(parts) {
            properties.extend(part["properties"].as_object().into_iter().flatten());
        }
        if properties.is_empty() {
            continue;
        }
        let about = page::cell(schema["description"].as_str().unwrap_or_default());
        let about = page::wrapped(&about);
        let _ = writeln!(text, "### {name}\n\n{about}\n\n| field | type | meaning |\n|---|---|---|");
        for (field, value) in properties {
            let (kind, about) = (kind(value), page::cell(value["description"].as_str().unwrap_or_default()));
            let _ = writeln!(text, "| `{field}` | {} | {about} |", page::cell(&kind));
        }
        text.push('\n');
    }
    text
}

/// Names the type of a field.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap().to_owned();
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let kinds: Vec<String> = choices.iter().map(kind).collect();
        return kinds.join(" or ");
    }
    let plain = |name: &str| match (name, schema["format"].as_str()) {
        ("array", _) => format!("array of {}", kind(&schema["items"])),
        ("string", Some("date-time")) => "time".to_owned(),
        ("string", Some("uri")) => "URL".to_owned(),
        _ => name.to_owned(),
    };
    match &schema["type"] {
        Value::String(name) => plain(name),
        Value::Array(names) => {
            let kinds: Vec<String> = names.iter().filter_map(Value::as_str).map(plain).collect();
            kinds.join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// Lists status, code and title of each problem: the lines
/// `Name = 404 "unknown_app" "The app is not registered",`.
fn problems() -> String {
    let mut rows = Vec::new();
    for file in page::sources("control/api") {
        for line in page::code_of(&file).lines() {
            let Some((_, rest)) = line.split_once(" = ") else { continue };
            let mut parts = rest.splitn(3, '"');
            let (Some(status), Some(code), Some(title)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let (Ok(status), Some(title)) = (status.trim().parse::<u16>(), title.split('"').nth(1)) else {
                continue;
            };
            rows.push((status, format!("| {status} | `{code}` | {title} |")));
        }
    }
    assert!(rows.len() > 20, "only {} problems", rows.len());
    rows.sort_by_key(|(status, _)| *status);
    let rows: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
    format!("| status | `code` | title |\n|---|---|---|\n{}", rows.join("\n"))
}
