//! `docs/middleware.md`: a table for each type of stage and plugin, from the JSON Schema that
//! `ringway config schema` prints.

use serde_json::Value;

use crate::configuration_file::Table;
use crate::{page, process};

#[test]
fn the_page_of_middleware_matches_the_schema() {
    let schema: Value = serde_json::from_str(&process::output(&["config", "schema"])).unwrap();
    let stages = &schema["properties"]["middleware"]["items"]["properties"]["stages"]["items"];
    let plugins = &schema["properties"]["plugins"]["items"];
    let mut regions: Vec<(&str, String)> = Vec::new();
    for form in [stages, plugins].into_iter().flat_map(|of| of["oneOf"].as_array().unwrap()) {
        let name = form["properties"]["type"]["const"].as_str().unwrap();
        let required: Vec<&str> =
            form["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let mut table = Table::default();
        let members = form["properties"].as_object().unwrap().iter();
        for (member, schema) in members.filter(|(member, _)| !matches!(member.as_str(), "type" | "id")) {
            table.add(member, schema, required.contains(&member.as_str()));
        }
        regions.push((name, table.text()));
    }
    assert!(regions.len() >= 19, "{}", regions.len());
    page::check("middleware.md", &regions);
}
