#![allow(clippy::unwrap_used)]
use super::*;
use crate::{Finding, Source, read};
use proptest::prelude::*;
use serde_json::Map;

/// Errors that the reader has for a JSON document.
fn errors(document: &Json) -> Vec<Finding> {
    let reading = read(&[Source { name: "c".into(), text: document.to_string() }]);
    reading.findings.into_iter().filter(Finding::is_error).collect()
}

/// Errors that the schema should have too: about types and names. It does not say which of the two types of
/// `hosts` and `routes` belongs to which rule of governance.
fn schematic(errors: &[Finding]) -> Vec<String> {
    let depends_on_rule = |pointer: &str| {
        pointer.starts_with("/governance/") && (pointer.contains("/hosts") || pointer.contains("/routes"))
    };
    errors
        .iter()
        .filter(|finding| matches!(finding.code, "type" | "unknown") && !depends_on_rule(&finding.pointer))
        .map(ToString::to_string)
        .collect()
}

/// Whether a value has the types, names and words of a schema; patterns, lengths and formats are left out.
fn fits(schema: &Json, value: &Json) -> bool {
    if let Some(forms) = schema["oneOf"].as_array() {
        return forms.iter().any(|form| fits(form, value));
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.contains(value);
    }
    if let Some(only) = schema.get("const") {
        return only == value;
    }
    let types: Vec<&str> = match &schema["type"] {
        Json::String(one) => vec![one.as_str()],
        Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
        _ => panic!("{schema}"),
    };
    types.iter().any(|name| match (*name, value) {
        ("string", Json::String(_)) | ("boolean", Json::Bool(_)) | ("number", Json::Number(_)) => true,
        ("integer", Json::Number(number)) => {
            number.as_i64().is_some_and(|n| schema["minimum"].as_i64().is_none_or(|min| n >= min))
                && number.as_i64() <= schema["maximum"].as_i64().or(Some(i64::MAX))
        }
        ("array", Json::Array(items)) => items.iter().all(|item| fits(&schema["items"], item)),
        ("object", Json::Object(members)) => {
            let known = schema["properties"].as_object();
            let required = schema["required"].as_array().into_iter().flatten();
            required.filter_map(Json::as_str).all(|name| members.contains_key(name))
                && members.iter().all(|(name, value)| match known.and_then(|known| known.get(name)) {
                    Some(schema) => fits(schema, value),
                    None => match &schema["additionalProperties"] {
                        Json::Bool(may) => *may,
                        Json::Null => true,
                        schema => fits(schema, value),
                    },
                })
        }
        _ => false,
    })
}

/// Deterministic choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, count: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % count
    }
}

/// A value of the types of a schema; strings are examples, so that few are refused for their content.
fn value_of(schema: &Json, choices: &mut Choices, share: usize) -> Json {
    if let Some(forms) = schema["oneOf"].as_array() {
        let form = choices.below(forms.len());
        return value_of(&forms[form], choices, share);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words[choices.below(words.len())].clone();
    }
    if let Some(only) = schema.get("const") {
        return only.clone();
    }
    let name = schema["type"].as_str().or(schema["type"][0].as_str()).unwrap();
    match name {
        "string" => schema["examples"][0].as_str().unwrap_or("/x").into(),
        "boolean" => (choices.below(2) == 0).into(),
        "integer" => {
            let min = schema["minimum"].as_i64().unwrap_or(0);
            let max = schema["maximum"].as_i64().unwrap_or(i64::MAX).min(min.saturating_add(1_000));
            (min + choices.below((max - min + 1) as usize) as i64).into()
        }
        "number" => 1.5.into(),
        "array" => (0..choices.below(3)).map(|_| value_of(&schema["items"], choices, share)).collect(),
        "object" => {
            let mut members = Map::new();
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                if choices.below(100) < share {
                    members.insert(name.clone(), value_of(schema, choices, share));
                }
            }
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                let schema = &schema["properties"][name];
                members.entry(name).or_insert_with(|| value_of(schema, choices, share));
            }
            Json::Object(members)
        }
        other => panic!("{other}"),
    }
}

/// Puts a wrong value, or an unknown name, at some place of a document.
fn damage(value: &mut Json, choices: &mut Choices) {
    let wrong = [
        Json::from("x"),
        Json::from(7),
        Json::from(-7),
        Json::from(true),
        Json::from(1.5),
        Json::Array(vec![Json::from(1)]),
        Json::Object(Map::new()),
    ];
    let count = match value {
        Json::Array(items) => items.len(),
        Json::Object(members) => members.len(),
        _ => 0,
    };
    if count == 0 || choices.below(5) == 0 {
        match value {
            Json::Object(members) if choices.below(2) == 0 => {
                members.insert("no_such_name".to_owned(), 1.into());
            }
            value => *value = wrong[choices.below(wrong.len())].clone(),
        }
        return;
    }
    let at = choices.below(count);
    match value {
        Json::Array(items) => damage(&mut items[at], choices),
        Json::Object(members) => damage(members.values_mut().nth(at).unwrap(), choices),
        _ => {}
    }
}

/// Schema and reader agree on one document.
fn agree(schema: &Json, document: &Json) -> Result<(), TestCaseError> {
    let errors = errors(document);
    match fits(schema, document) {
        true => {
            let wrong = schematic(&errors);
            prop_assert!(
                wrong.is_empty(),
                "the schema takes it, and the reader says: {wrong:?}\n{document:#}"
            );
        }
        false => {
            prop_assert!(!errors.is_empty(), "the reader takes it, and the schema does not\n{document:#}")
        }
    }
    Ok(())
}

#[test]
fn every_section_of_the_reader_is_described() {
    let schema = schema();
    let names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    for name in ["routes", "pools", "policies", "routing", "tenants", "tls", "governance", "server", "cache"]
    {
        assert!(names.contains(&name), "{name}");
    }
    let mut undescribed = Vec::new();
    fn look(schema: &Json, path: &str, found: &mut Vec<String>) {
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}/{name}");
            if member["description"].as_str().is_none_or(str::is_empty) {
                found.push(path.clone());
            }
            look(member, &path, found);
            look(&member["items"], &format!("{path}/*"), found);
        }
    }
    look(&schema, "", &mut undescribed);
    undescribed.retain(|path| !path.ends_with("/present"));
    assert_eq!(undescribed, [""; 0]);
}

#[test]
fn every_key_of_the_schema_is_known_to_the_reader() {
    let schema = schema();
    for seed in 1..=40 {
        let document = value_of(&schema, &mut Choices(seed * 0x9E37_79B9), 100);
        let strange = schematic(&errors(&document));
        assert_eq!(strange, [""; 0], "{document:#}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn schema_and_reader_agree(seed in 1_u64.., share in 5_usize..60, damages in 0_usize..3) {
        let (schema, mut choices) = (schema(), Choices(seed));
        let mut document = value_of(&schema, &mut choices, share);
        for _ in 0..damages {
            damage(&mut document, &mut choices);
        }
        agree(&schema, &document)?;
    }
}
